//! Servers that tests of the cloud adapters start on free loopback ports and stop when they are dropped.

pub mod gcs;
mod moto;
mod process;
mod pubsub_emulator;

pub use gcs::StrictGcs;
pub use moto::Moto;
pub use process::Process;
pub use pubsub_emulator::{NewSubscription, PubSubAdmin, PubSubEmulator};
