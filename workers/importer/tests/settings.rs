//! The settings of `polkashots-importer`, as manifests and images rely on them.

use std::path::Path;

use polkashots_importer::binary::ImporterSettings;
use polkashots_shared::testkit::settings_contract;

/// `POLKASHOTS_BLESS=1 cargo test -p polkashots-importer --test settings` rewrites the golden file.
#[test]
fn every_setting_has_a_flag_a_variable_and_a_line_of_help() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config-schema.json");
    settings_contract::holds::<ImporterSettings>(&golden);
}
