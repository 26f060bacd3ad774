//! The adapters of the ports that more than one worker uses.

#[cfg(feature = "cloud")]
pub mod pubsub;
