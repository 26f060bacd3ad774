//! The worker's own binary, which runs before a node starts.

mod settings;

pub use self::settings::{ImporterSettings, TransferSettings, TrustSettings};
