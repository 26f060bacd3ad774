//! Adapters of the publisher's own port.

pub mod bucket_host;
mod content_type;
pub mod directory_host;
#[cfg(feature = "cloud")]
pub mod firebase;
