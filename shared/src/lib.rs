//! The library that every Polkashots worker stands on: events, manifest, names, ports and their adapters.
//!
//! It holds no word that belongs to one worker.

pub mod adapters;
pub mod block_stream;
pub mod chain;
pub mod clock;
pub mod event;
pub mod failure;
pub mod frames;
pub mod ids;
pub mod index;
pub mod manifest;
pub mod minisign;
pub mod names;
pub mod node;
pub mod ports;
pub mod retry;
pub mod rotation;
pub mod schema;
#[cfg(feature = "service")]
pub mod service;
pub mod settings;
pub mod tar_header;
pub mod target;
pub mod telemetry;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod tree;
pub mod worker;
