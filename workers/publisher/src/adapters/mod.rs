//! Adapters of the publisher's own port.

pub mod directory_host;
