//! The worker's own binary: its settings, and the adapters that they name.

#[cfg(feature = "cloud")]
mod observed;
mod settings;
#[cfg(feature = "cloud")]
mod wiring;

pub use self::settings::{PublisherSettings, SigningSettings, SiteHostLocation, SiteHostSettings};
#[cfg(feature = "cloud")]
pub use self::wiring::service;
