//! Adapters of the engine's port.

#[cfg(feature = "local")]
pub mod btrfs;
#[cfg(feature = "local")]
pub mod copy;
#[cfg(feature = "local")]
mod error;
#[cfg(feature = "cloud")]
pub mod kubernetes;
#[cfg(feature = "local")]
pub mod local;
#[cfg(feature = "local")]
pub mod quiesce;
#[cfg(feature = "local")]
mod state;
#[cfg(feature = "local")]
mod tree;
