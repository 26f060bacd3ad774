//! The schemas that are checked in are those of the types.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use polkashots_shared::schema;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas")
}

/// `POLKASHOTS_BLESS=1 cargo test -p polkashots-shared --test schemas` rewrites the files.
#[test]
fn checked_in_schemas_do_not_drift() -> Result<()> {
    let folder = folder();
    if std::env::var_os("POLKASHOTS_BLESS").is_some() {
        std::fs::create_dir_all(&folder)?;
        for (file, schema) in schema::all() {
            std::fs::write(folder.join(file), schema::to_text(&schema))?;
        }
    }
    for (file, schema) in schema::all() {
        let path = folder.join(&file);
        let found = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        assert!(found == schema::to_text(&schema), "schemas/{file} drifted: POLKASHOTS_BLESS=1 cargo test rewrites it");
    }
    Ok(())
}

#[test]
fn every_checked_in_schema_is_of_a_type_that_exists() -> Result<()> {
    let known: BTreeSet<_> = schema::all().into_iter().map(|(file, _)| file).collect();
    for entry in std::fs::read_dir(folder())? {
        let file = entry?.file_name().to_string_lossy().into_owned();
        assert!(known.contains(&file), "schemas/{file} belongs to no type: delete it");
    }
    Ok(())
}

#[test]
fn every_schema_has_its_own_id() {
    for (file, schema) in schema::all() {
        let id = schema.get("$id").and_then(|id| id.as_str()).map(str::to_owned);
        assert_eq!(id, Some(format!("https://polkashots.io/schemas/{file}")));
    }
}
