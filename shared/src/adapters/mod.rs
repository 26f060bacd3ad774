//! The adapters of the ports that more than one worker uses.

#[cfg(feature = "chain-databases")]
pub mod chain;
pub mod directory_store;
#[cfg(feature = "cloud")]
pub mod gcs;
#[cfg(feature = "cloud")]
mod mark;
#[cfg(feature = "cloud")]
mod parts;
#[cfg(feature = "cloud")]
pub mod pubsub;
#[cfg(feature = "cloud")]
pub mod s3;
#[cfg(feature = "embedded")]
pub mod sqlite_queue;
pub mod subscription;
#[cfg(any(feature = "embedded", feature = "testkit"))]
pub(crate) mod waiting;
