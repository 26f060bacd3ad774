//! The worker's own binary, which runs before a node starts.

mod run;
mod settings;

pub use self::run::run;
pub use self::settings::ImporterSettings;
