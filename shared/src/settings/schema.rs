//! The settings of a binary as JSON, for the check that compares them with manifests and images.

use clap::{Arg, ArgAction, Command};
use serde::Serialize;

/// One setting, as `config-schema` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its name in the code.
    pub name: String,
    /// Its flag: `--store`.
    pub flag: String,
    /// Its variable: `POLKASHOTS_STORE`.
    pub env: Option<String>,
    /// True where the binary does not start without it.
    pub required: bool,
    /// Its value where none is given.
    pub default: Option<String>,
    /// The values that it can have, where they are few.
    pub values: Vec<String>,
    /// What it says.
    pub help: String,
    /// True where its value is kept out of logs and help.
    pub secret: bool,
}

/// Every setting of `command`, in the order of its help.
pub fn schema(command: &Command) -> Vec<Setting> {
    let settings = command.get_arguments().filter(|arg| !is_about_the_program(arg));
    settings.map(setting).collect()
}

fn is_about_the_program(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version)
}

fn setting(arg: &Arg) -> Setting {
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let takes_value = arg.get_action().takes_values();
    let values = arg.get_possible_values().into_iter().filter(|value| takes_value && !value.is_hide_set());
    let default = if takes_value { defaults.join(",") } else { "false".to_owned() };
    Setting {
        name: arg.get_id().to_string(),
        flag: format!("--{}", arg.get_long().unwrap_or_default()),
        env: arg.get_env().map(|variable| variable.to_string_lossy().into_owned()),
        required: arg.is_required_set(),
        default: (!default.is_empty()).then_some(default),
        values: values.map(|value| value.get_name().to_owned()).collect(),
        help: arg.get_help().map(ToString::to_string).unwrap_or_default(),
        secret: arg.is_hide_env_values_set(),
    }
}
