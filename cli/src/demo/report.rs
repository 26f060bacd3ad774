//! What the demo proved and where to look, for a person who has never seen the program.

use std::time::Duration;

use polkashots_importer::Restored;
use polkashots_shared::names;
use polkashots_shared::ports::chain_database::Identity;

use super::compare::Equal;
use super::folder::Folder;
use crate::output::{bytes, line};

/// One target whose restored database was found equal to the original.
pub(super) struct Proof {
    pub target: &'static str,
    pub restored: Restored,
    pub identity: Identity,
    pub equal: Equal,
}

/// Prints the summary.
pub(super) fn print(folder: &Folder, base_url: &str, proofs: &[Proof], elapsed: Duration) {
    line(format_args!("\nWhat this proved, in {:.1} s:", elapsed.as_secs_f64()));
    for proof in proofs {
        print_proof(proof);
    }
    line("");
    line("  - each head was read from the database itself and equals what the node said that wrote it");
    line("  - each restore came from the served site, its signature and every frame checked before a byte was written");
    line("  - each restored file equals the node's own; keystore/ and network/ beside it were not published");
    print_places(folder, base_url);
    if let Some(proof) = proofs.first() {
        print_next(folder, proof);
    }
}

fn print_proof(proof: &Proof) {
    let (identity, manifest) = (&proof.identity, &proof.restored.manifest);
    let size = manifest.artifacts.iter().map(|artifact| artifact.size).sum();
    line(format_args!(
        "  {:18} {} finalized #{} best #{}\n    {} published, {} files ({}) restored and equal\n    {}",
        proof.target,
        manifest.version,
        identity.finalized.height,
        identity.best.height,
        bytes(size),
        proof.equal.files,
        bytes(proof.equal.bytes),
        identity.finalized.hash,
    ));
}

fn print_places(folder: &Folder, base_url: &str) {
    let root = folder.root().display();
    line("\nWhere to look:");
    line(format_args!("  site       {base_url}  ({root}/site)"));
    line(format_args!("  bucket     {root}/bucket"));
    line(format_args!("  restored   {root}/restored"));
    line(format_args!("  config     {}", folder.config_path().display()));
}

fn print_next(folder: &Folder, proof: &Proof) {
    let root = folder.root().display();
    let manifest = &proof.restored.manifest;
    let manifest_key = names::manifest_key(&manifest.target, manifest.version);
    line("\nWhat to try:");
    line(format_args!("  minisign -Vm {root}/bucket/{manifest_key} -p {}", folder.public_key().display()));
    line(format_args!("  (cd {root}/bucket/{} && sha256sum -c {}.SHA256SUMS)", manifest.target, manifest.version));
    line(format_args!("  polkashots serve --dir {root}"));
    line(format_args!("  polkashots status --config {}", folder.config_path().display()));
}
