//! The worker's own binary: its settings, and the adapters that they name.

mod name_pattern;
mod settings;

pub use self::name_pattern::NamePattern;
pub use self::settings::{EngineSettings, VolumeSettings};
