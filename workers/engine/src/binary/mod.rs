//! The worker's own binary: its settings, and the adapters that they name.

mod name_pattern;
#[cfg(feature = "cloud")]
mod observed;
mod settings;
#[cfg(feature = "cloud")]
mod wiring;

pub use self::name_pattern::NamePattern;
pub use self::settings::{EngineSettings, VolumeSettings};
#[cfg(feature = "cloud")]
pub use self::wiring::service;
