//! The port's contract suite, its adapter in memory, and the port behind a fault plan; for tests only.

mod faulty;
mod memory;
pub mod volume_snapshots_contract;

pub use memory::MemoryVolumeSnapshots;
