//! The roads that operators use already, with their own commands, against what a service publishes over HTTP.
//!
//! Each ends with a database that opens and has the head of the fixture. The commands are those of Parity's `node` chart
//! (`charts/node/templates/statefulset.yaml`, init container `download-chain-snapshot`), of polkadot-k8s
//! (`polkadot-archive-downloader/entrypoint.sh`) and of our own pages; only their folders and addresses are the test's.

mod aria2;
mod foreign;
mod node;
#[path = "../cli/support.rs"]
#[expect(dead_code, reason = "the other tests of the command use the rest")]
mod support;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use polkashots_shared::testkit::skip::program_or_skip;
use serde_json::Value;

use crate::support::{Host, Running, config_text, is_published, polkashots, unpack};

const CHAIN: &str = "fixture_relay";

/// A service that has published one snapshot of a fixture in every format that needs no node.
struct Published {
    host: Host,
    running: Running,
    version: String,
    _node: tempfile::TempDir,
}

impl Published {
    fn of(kind: &str, more_config: &str) -> Result<Self> {
        let node = tempfile::tempdir()?;
        unpack(&format!("relay400-{kind}"), node.path())?;
        let host = Host::with_target(node.path(), CHAIN, kind)?;
        let config = config_text(node.path(), CHAIN, kind).replacen("[site]\n", &format!("[site]\n{more_config}"), 1);
        host.write_config(&format!("{config}formats = [\"tar.zst\", \"tar.lz4\", \"tree\"]\n"))?;
        let triggered: Value = serde_json::from_str(&host.run(&["trigger", "relay/db", "--json"])?.succeeded()?.out)?;
        let version = triggered["version"].as_str().context("no version")?.to_owned();
        let running = host.start()?;
        host.wait_for("the snapshot", |status| is_published(status, &version))?;
        Ok(Self { host, running, version, _node: node })
    }

    fn site(&self) -> String {
        format!("http://{}", self.running.address)
    }

    /// Runs a script as an operator's pod does, in an empty folder, and gives that folder.
    fn road(&self, name: &str, script: &str, variables: &[(&str, &str)]) -> Result<std::path::PathBuf> {
        let folder = self.host.path(name);
        std::fs::create_dir(&folder)?;
        let output = Command::new("bash")
            .args(["-eu", "-o", "pipefail", "-c", script])
            .current_dir(&folder)
            .env("DATA", &folder)
            .env("HOME", &folder)
            .envs(variables.iter().copied())
            .output()?;
        let said = [output.stdout, output.stderr].concat();
        ensure!(output.status.success(), "{name}: {}: {}", output.status, String::from_utf8_lossy(&said));
        Ok(folder)
    }
}

/// Parity's chart with `method: http-single-tar-lz4`, but for its `--error-on-no-transfer`: Debian's rclone does not count what
/// goes to its standard output and then ends with 9 whatever the server.
const CHART_LZ4: &str = r#"
mkdir -p $DATA/chains/${CHAIN_PATH}/$DATABASE/
rclone copyurl --stdout --retries 1 --no-gzip-encoding ${SNAPSHOT_URL} | lz4 -c -d - | tar -x -C $DATA/chains/${CHAIN_PATH}/
"#;

/// Parity's chart with `method: http-filelist`, but for its `--inplace`, which Debian's rclone does not know yet.
const CHART_FILELIST: &str = r#"
PARALLEL_TRANFERS="$(($(nproc --all) * 5 < 50 ? $(nproc --all) * 5 : 50))" # MIN(vCPU_count * 5, 50)
mkdir -p $DATA/chains/${CHAIN_PATH}/$DATABASE/
LATEST=$(rclone copyurl --stdout ${SNAPSHOT_URL}/latest_version.meta.txt )
if [ -z "$LATEST" ]; then
  echo "Failed to retrieve latest_version.meta.txt file. Will download everything from ${SNAPSHOT_URL} instead"
else
  SNAPSHOT_URL="${SNAPSHOT_URL}/${LATEST}"
fi
rclone copyurl --retries 6 --retries-sleep 10s --error-on-no-transfer --no-gzip-encoding ${SNAPSHOT_URL}/files.txt $DATA/filelist.txt
rclone copy --transfers $PARALLEL_TRANFERS --progress --retries 6 --retries-sleep 10s --error-on-no-transfer --no-gzip-encoding --http-url ${SNAPSHOT_URL} --no-traverse --http-no-head --disable-http2 --size-only --files-from $DATA/filelist.txt :http: $DATA/chains/${CHAIN_PATH}/$DATABASE/
"#;

/// polkadot-k8s's downloader; its last line, `chown -R 1000:1000`, needs root and is left out.
const POLKADOT_K8S: &str = r#"
if [ "${CHAIN}" == "polkadot" ]; then
    chain_dir=polkadot
else
    chain_dir=ksmcc3
fi
if [ -d $DATA/chains/${chain_dir}/*db/ ]; then
    echo "Blockchain database already exists, no need to import, exiting"
    exit 0
elif [ -z "$ARCHIVE_URL" ]; then
    echo "No archive download url specified, exiting"
    exit 0
else
    rm -rf $DATA/chains/${chain_dir}-tmp/ || true
    mkdir -p $DATA/chains/${chain_dir}-tmp/
    curl --http1.1 -o - -L $ARCHIVE_URL | lz4 -c -d - | tar -x -C $DATA/chains/${chain_dir}-tmp
    mv -v $DATA/chains/${chain_dir}-tmp/ $DATA/chains/${chain_dir}/
    chmod -R 777 $DATA
fi
"#;

/// What the target's page says for stock tools.
const CURL: &str = r#"
mkdir -p $DATA/chains/${CHAIN_PATH}
curl -fL "$PERMALINK" | zstd -d | tar -x -C $DATA/chains/${CHAIN_PATH}
"#;

#[test]
fn every_road_to_a_rocksdb_gives_the_head_of_the_fixture() -> Result<()> {
    roads("every_road_to_a_rocksdb_gives_the_head_of_the_fixture", "rocksdb", "db")
}

#[test]
fn every_road_to_a_paritydb_gives_the_head_of_the_fixture() -> Result<()> {
    roads("every_road_to_a_paritydb_gives_the_head_of_the_fixture", "paritydb", "paritydb")
}

fn roads(test: &str, kind: &str, folder: &str) -> Result<()> {
    if ["rclone", "lz4", "zstd", "curl", "tar", "diff"].iter().any(|program| program_or_skip(test, program).is_none()) {
        return Ok(());
    }
    let published = Published::of(kind, "")?;
    let (lz4, tree) = (format!("{}/relay/db.tar.lz4", published.site()), format!("{}/relay", published.site()));
    let chart = |url| [("CHAIN_PATH", CHAIN), ("DATABASE", folder), ("SNAPSHOT_URL", url)];
    let permalink = format!("{}/relay/db", published.site());
    let roads = [
        published.road("curl", CURL, &[("CHAIN_PATH", CHAIN), ("PERMALINK", &permalink)])?,
        published.road("chart-lz4", CHART_LZ4, &chart(&lz4))?,
        published.road("chart-filelist", CHART_FILELIST, &chart(&tree))?,
    ];
    for road in &roads {
        let database = |road: &Path| road.join("chains").join(CHAIN).join(folder);
        let same = Command::new("diff").arg("-rq").arg(database(&roads[0])).arg(database(road)).output()?;
        ensure!(same.status.success(), "{}", String::from_utf8_lossy(&same.stdout));
        has_the_head_of(road, kind)?;
    }
    let k8s = published.road("polkadot-k8s", POLKADOT_K8S, &[("CHAIN", "kusama"), ("ARCHIVE_URL", &lz4)])?;
    ensure!(k8s.join("chains/ksmcc3").join(folder).is_dir());
    has_the_head_of(&k8s, kind)?;
    let meta = published.host.path("bucket/relay").join(format!("{}.meta.txt", published.version));
    ensure!(std::fs::read_to_string(meta)?.contains("\nlastBlock: 396\n"));
    Ok(())
}

/// Opens the database below a base path and compares what it says with what its node said.
fn has_the_head_of(base_path: &Path, kind: &str) -> Result<()> {
    let truth = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(format!("relay400-{kind}.json"));
    let truth: Value = serde_json::from_slice(&std::fs::read(truth)?)?;
    let output = polkashots().arg("inspect").arg(base_path).arg("--json").output()?;
    ensure!(output.status.success(), "{}: {}", base_path.display(), String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(found["genesis_hash"] == truth["genesis_hash"], "{found:#}");
    ensure!(
        found["best"]["height"] == truth["best_number"] && found["best"]["hash"] == truth["best_hash"],
        "{found:#}"
    );
    let finalized = (&found["finalized"]["height"], &found["finalized"]["hash"]);
    ensure!(finalized == (&truth["finalized_number"], &truth["finalized_hash"]), "{found:#}");
    Ok(())
}
