//! The port's contract suite, its adapter in memory, and the port behind a fault plan; for tests only.

#[cfg(feature = "test-servers")]
pub mod api_server;
#[cfg(feature = "test-servers")]
pub mod csi;
mod faulty;
mod memory;
#[cfg(feature = "test-servers")]
pub mod rights;
#[cfg(feature = "test-servers")]
mod target_namespace;
pub mod volume_snapshots_contract;

pub use memory::MemoryVolumeSnapshots;
#[cfg(feature = "test-servers")]
pub use target_namespace::TargetNamespace;
