//! Servers that tests of the cloud adapters start on free loopback ports and stop when they are dropped.

mod collector;
mod fake_gcs;
pub mod gcs;
mod moto;
mod process;
mod pubsub_emulator;

pub use collector::{CollectedSpan, Collector};
pub use fake_gcs::FakeGcs;
pub use gcs::StrictGcs;
pub use moto::Moto;
pub use process::Process;
pub use pubsub_emulator::{NewSubscription, PubSubAdmin, PubSubEmulator};
