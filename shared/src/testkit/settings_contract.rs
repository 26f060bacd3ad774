//! What holds for the settings of every binary.

use std::collections::BTreeSet;
use std::path::Path;

use crate::settings::{Parsed, SCHEMA_COMMAND, Setting, Settings, parse_from};

/// Variables that a whole ecosystem agrees on.
const AGREED: [&str; 8] = [
    "ARCHIVE_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "CHAIN",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "PUBSUB_EMULATOR_HOST",
    "STORAGE_EMULATOR_HOST",
];

/// Checks every setting of `S`, and `config-schema` against the golden file, which `POLKASHOTS_BLESS=1` rewrites.
///
/// # Panics
///
/// Where one of the promises is broken, which the message names.
pub fn holds<S: Settings>(golden: &Path) {
    S::command().debug_assert();
    let settings = crate::settings::schema(&S::command());
    each_has_flag_variable_and_help(&settings);
    let printed = match parse_from::<S>([S::NAME, SCHEMA_COMMAND]) {
        Parsed::Print(printed) => printed,
        other => panic!("{SCHEMA_COMMAND} printed nothing: {}", words(other)),
    };
    if std::env::var_os("POLKASHOTS_BLESS").is_some() {
        std::fs::write(golden, &printed).expect("the golden file can be written");
    }
    let found = std::fs::read_to_string(golden).unwrap_or_default();
    assert!(found == printed, "{} drifted: POLKASHOTS_BLESS=1 cargo test rewrites it", golden.display());
    missing_ones_are_named::<S>(&settings);
}

fn each_has_flag_variable_and_help(settings: &[Setting]) {
    let mut variables = BTreeSet::new();
    for Setting { name, flag, env, help, .. } in settings {
        assert!(flag.len() > 2, "{name} has no flag");
        assert!(!help.is_empty(), "{name} has no help");
        let variable = env.clone().unwrap_or_default();
        let known = variable.starts_with("POLKASHOTS_") || AGREED.contains(&variable.as_str());
        assert!(known, "{name} has the variable {variable:?}, expected POLKASHOTS_*");
        assert!(variables.insert(variable), "{name} shares its variable with another setting");
    }
}

/// Without any of the required settings the error names each with flag and variable.
fn missing_ones_are_named<S: Settings>(settings: &[Setting]) {
    let required: Vec<_> = settings.iter().filter(|setting| setting.required).collect();
    if required.is_empty() {
        return;
    }
    let Parsed::Wrong(told) = parse_from::<S>([S::NAME]) else { panic!("started without {required:?}") };
    for Setting { flag, env, .. } in required {
        let expected = format!("{flag} or {}", env.as_deref().unwrap_or_default());
        assert!(told.contains(&expected), "expected {expected:?} in {told:?}");
    }
}

fn words<S>(parsed: Parsed<S>) -> String {
    match parsed {
        Parsed::Run(_) => "it ran".into(),
        Parsed::Print(text) | Parsed::Wrong(text) => text,
    }
}
