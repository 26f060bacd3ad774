//! Contract suites, in-memory adapters and the fault plan, for tests only.

pub mod fault;
pub mod faulty_ports;
pub mod memory_queue;
pub mod memory_store;
pub mod object_store_contract;
pub mod published_blocks;
pub mod queue_contract;
#[cfg(feature = "test-servers")]
pub mod servers;
pub mod settings_contract;
pub mod skip;

pub use fault::{Fault, FaultPlan, Faulty, Injected};
pub use memory_queue::{MemoryQueue, MemoryQueues};
pub use memory_store::{MemoryStore, StoredObject};
