//! Reads a binary's settings from its flags and variables.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Command};

use super::schema::schema;

/// The subcommand that prints the settings as JSON.
pub const SCHEMA_COMMAND: &str = "config-schema";

/// The settings of one binary: a clap struct, the binary's name and what it is.
pub trait Settings: Args {
    /// The binary's name: `polkashots-engine`.
    const NAME: &'static str;
    /// One line about the binary.
    const ABOUT: &'static str;

    /// Further subcommands, for the help; the binary's `main` runs them and never hands them to [`parse`].
    fn subcommands() -> Vec<Command> {
        Vec::new()
    }

    /// The whole command line.
    fn command() -> Command {
        let schema = Command::new(SCHEMA_COMMAND)
            .about("Print every setting as JSON: name, flag, env, required, default, help, secret");
        let command = Command::new(Self::NAME)
            .version(env!("CARGO_PKG_VERSION"))
            .about(Self::ABOUT)
            .after_help("Each setting is a flag or a variable; the flag wins.")
            .subcommand_negates_reqs(true)
            .disable_help_subcommand(true);
        Self::augment_args(command).subcommand(schema).subcommands(Self::subcommands())
    }
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Parsed<S> {
    /// Run with these settings.
    Run(S),
    /// Print this text; help, version or the settings' schema.
    Print(String),
    /// The command line or a variable is wrong; the text says what and the way out.
    Wrong(String),
}

/// Reads the process's own flags and variables; where there is nothing to run, prints and gives the code to exit with.
pub fn parse<S: Settings>() -> Result<S, ExitCode> {
    match parse_from(std::env::args_os()) {
        Parsed::Run(settings) => Ok(settings),
        Parsed::Print(text) => {
            // A reader that went away is no reason to fail.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            Err(ExitCode::SUCCESS)
        }
        Parsed::Wrong(text) => {
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
            Err(ExitCode::from(2))
        }
    }
}

/// Reads `arguments`, the program's name first, and the process's variables.
pub fn parse_from<S: Settings>(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Parsed<S> {
    let mut command = S::command();
    let matches = match command.try_get_matches_from_mut(arguments) {
        Ok(matches) => matches,
        Err(error) => return explain(&command, &error),
    };
    if matches.subcommand_name() == Some(SCHEMA_COMMAND) {
        return match serde_json::to_string_pretty(&schema(&command)) {
            Ok(text) => Parsed::Print(text + "\n"),
            Err(error) => Parsed::Wrong(format!("error: {error}\n")),
        };
    }
    match S::from_arg_matches(&matches) {
        Ok(settings) => Parsed::Run(settings),
        Err(error) => explain(&command, &error),
    }
}

fn explain<S>(command: &Command, error: &clap::Error) -> Parsed<S> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Parsed::Print(error.to_string()),
        ErrorKind::MissingRequiredArgument => Parsed::Wrong(missing(command, error)),
        _ => Parsed::Wrong(format!("{}{}", error, variable_of(command, error))),
    }
}

/// Names flag, variable and meaning of each setting that is missing.
fn missing(command: &Command, error: &clap::Error) -> String {
    let mut text = "error: settings are missing:\n".to_owned();
    for arg in named_in(command, error) {
        let flag = arg.get_long().unwrap_or_default();
        let variable = arg.get_env().map(|variable| variable.to_string_lossy()).unwrap_or_default();
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        text += &format!("  --{flag} or {variable}: {help}\n");
    }
    text + &format!("\nSee {} --help for all settings.\n", command.get_name())
}

/// A wrong value may have come from the variable, which clap's own message does not name.
fn variable_of(command: &Command, error: &clap::Error) -> String {
    let wrong = matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue);
    let variables = named_in(command, error).filter_map(|arg| arg.get_env()).map(|variable| variable.to_string_lossy());
    let variables: Vec<_> = variables.collect();
    if !wrong || variables.is_empty() {
        return String::new();
    }
    format!("\nThe setting's variable is {}; unset it to have the default.\n", variables.join(", "))
}

fn named_in<'a>(command: &'a Command, error: &clap::Error) -> impl Iterator<Item = &'a clap::Arg> {
    let named = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(named)) => named.clone(),
        Some(ContextValue::String(named)) => vec![named.clone()],
        _ => Vec::new(),
    };
    let flag = |text: &str| text.split([' ', '=']).next().unwrap_or_default().trim_start_matches("--").to_owned();
    let flags: Vec<String> = named.iter().map(|text| flag(text)).collect();
    command.get_arguments().filter(move |arg| arg.get_long().is_some_and(|long| flags.iter().any(|flag| flag == long)))
}
