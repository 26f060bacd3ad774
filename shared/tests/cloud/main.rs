//! Holds the adapters of the cloud to the contracts of their ports; one binary, because linking Google's clients is slow.
#![cfg(feature = "test-servers")]

mod fake_gcs;
mod gcs;
mod pubsub;
mod s3;
mod subscribers;
mod traces;
