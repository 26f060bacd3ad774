//! The same pipeline from the manifests that Terraform applies: their containers' commands, arguments, variables and mounts,
//! their ServiceAccount's own token, and their Role.
//!
//! What a cluster, Terraform or Google supply, and no manifest can, is all in this table; the rest is the manifests'.
//!
//! | in the cloud | here | in |
//! |---|---|---|
//! | Terraform's values for the `${placeholders}` | the test's project, bucket, target and keys | [`of_target`], [`of_publisher`] |
//! | Pub/Sub | Google's emulator, by `PUBSUB_EMULATOR_HOST` | [`Cloud::endpoints`] |
//! | Cloud Storage | the strict server, by `POLKASHOTS_GCS_{DATA,CONTROL}_ENDPOINT` | [`Cloud::endpoints`] |
//! | Firebase Hosting | a folder, by `POLKASHOTS_SITE_HOST` | [`Cloud::publisher`] |
//! | the API server's address and the token that is mounted | a kubeconfig with a token of that ServiceAccount, by `KUBECONFIG` | [`Cloud::engine`] |
//! | a restore claim's volume, the node's volume | folders | [`Cloud::snapshotter`], [`restored`] |
//! | Secret Manager's file with the signing key | a folder with the file | [`Cloud::publisher`] |
//! | mounts, `/tmp`, the image's files and `PATH` | folders, `TMPDIR`, cargo's binaries and our `PATH` | `pod.rs` |
//! | user and group, read-only roots | left out: script/check-images has them | |

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use polkashots_engine::testkit::TargetNamespace;
use polkashots_engine::testkit::api_server::ApiServer;
use polkashots_engine::testkit::csi::{Script, bound, ready};
use polkashots_shared::adapters::chain::{Databases, locate};
use polkashots_shared::names;
use polkashots_shared::ports::chain_database::{ChainDatabase, Identity};
use polkashots_shared::testkit::skip::program_or_skip;
use serde_json::{Value, json};

use crate::assert_listed;
use crate::bucket::Bucket;
use crate::host::{Host, PREFIX, PROJECT};
use crate::manifests::Manifests;
use crate::pod::{Pod, Supplied};

const CHAIN_ID: &str = "fixture_relay";

#[tokio::test(flavor = "multi_thread")]
async fn the_manifests_own_settings_and_rights_end_in_a_published_snapshot_that_restores() -> Result<()> {
    let test = "the_manifests_own_settings_and_rights_end_in_a_published_snapshot_that_restores";
    let Some(_kubectl) = program_or_skip(test, "kubectl") else { return Ok(()) };
    let Some(server) = ApiServer::shared(test).await else { return Ok(()) };
    let bucket = Bucket::start().await?;
    let Some(host) = Host::start_or_skip(test, "relay-manifests", bucket).await? else { return Ok(()) };
    let target = Manifests::read("target-gcs-gcp-pubsub.yaml", &of_target(&host)?)?;
    let publisher = Manifests::read("publisher-gcs-gcp-pubsub.yaml", &of_publisher(&host)?)?;
    let script = Script::new([bound(), ready("10Gi")]);
    let namespace = TargetNamespace::without_rights(server, &host.target, &target.node_claim()?, script).await;
    let kubeconfig = grant(&host, &target, &server.kubeconfig(None))?;
    let cloud = Cloud { host: &host, target, publisher, kubeconfig };
    whole_cycle(&cloud, &namespace).await.with_context(|| host.logs())
}

/// What Terraform fills into the manifests of a target.
fn of_target(host: &Host) -> Result<BTreeMap<&'static str, String>> {
    let mut values = of_both(host)?;
    let public_key = fs::read_to_string(host.path("polkashots.pub"))?;
    values.extend([
        ("target", host.target.to_string()),
        ("permalink", "relay/rocksdb".into()),
        ("chain", "/etc/polkashots/fixture_relay.json".into()),
        ("chain_id", CHAIN_ID.into()),
        ("database", "rocksdb".into()),
        ("pruning", "256".into()),
        ("sync", "warp".into()),
        ("bootstrap_url", host.bucket.public_url()),
        ("bootstrap_key", public_key.lines().last().context("a key")?.to_owned()),
        ("disk_size", "10Gi".into()),
        ("node_image", "docker.io/parity/polkadot:v1.25.1".into()),
        ("node_cpu", "1".into()),
        ("node_memory", "4Gi".into()),
    ]);
    Ok(values)
}

/// What Terraform fills into the publisher's manifests.
fn of_publisher(host: &Host) -> Result<BTreeMap<&'static str, String>> {
    let mut values = of_both(host)?;
    values.extend([
        ("namespace", "polkashots".into()),
        ("archive_url", host.bucket.public_url()),
        ("site_url", "http://site.example.org/".into()),
        ("site_id", "dot-site".into()),
        ("site_title", "Polkashots".into()),
        ("signing_secret", "signing-key".into()),
    ]);
    Ok(values)
}

fn of_both(host: &Host) -> Result<BTreeMap<&'static str, String>> {
    Ok([
        ("project", PROJECT.into()),
        ("topic_prefix", PREFIX.into()),
        ("dead_letter_topic", format!("{PREFIX}dead-letters")),
        ("store", host.bucket.location()),
        ("targets_json", fs::read_to_string(host.path("targets.json"))?),
        ("registry", "registry.example.org/polkashots".into()),
        ("release", "v0.0.0".into()),
    ]
    .into())
}

/// Applies the manifests' ServiceAccounts, Roles and RoleBindings; a kubeconfig with a token of the engine's account.
fn grant(host: &Host, target: &Manifests, admin: &Path) -> Result<PathBuf> {
    for kind in ["ServiceAccount", "Role", "RoleBinding"] {
        for object in target.of_kind(kind) {
            kubectl(admin, &["apply", "--server-side", "--validate=false", "-f", "-"], object)?;
        }
    }
    let engine = Pod::new(target, "ScaledJob", "engine", &host.folder("accounts")?, Supplied::default())?;
    let account = engine.account().context("the engine's pods have a token")?;
    let path = format!("/api/v1/namespaces/{}/serviceaccounts/{account}/token", host.target);
    let request = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {} });
    let answer: Value = serde_json::from_str(&kubectl(admin, &["create", "--raw", &path, "-f", "-"], &request)?)?;
    let mut kubeconfig: Value = serde_json::from_str(&fs::read_to_string(admin)?)?;
    kubeconfig["users"][0]["user"] = json!({ "token": answer["status"]["token"].as_str().context("a token")? });
    let place = host.path("engine.kubeconfig");
    fs::write(&place, kubeconfig.to_string())?;
    Ok(place)
}

fn kubectl(kubeconfig: &Path, arguments: &[&str], input: &Value) -> Result<String> {
    let mut command = Command::new("kubectl");
    command.arg("--kubeconfig").arg(kubeconfig).args(arguments).env("HOME", kubeconfig.with_extension("home"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("an input")?.write_all(input.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kubectl {arguments:?} {}: {said}", input["metadata"]["name"]);
    Ok(String::from_utf8(output.stdout)?)
}

/// The manifests, and what stands in for Google's services.
struct Cloud<'a> {
    host: &'a Host,
    target: Manifests,
    publisher: Manifests,
    kubeconfig: PathBuf,
}

impl Cloud<'_> {
    fn endpoints(&self) -> Vec<(&'static str, String)> {
        vec![
            ("PUBSUB_EMULATOR_HOST", self.host.pubsub_host().to_owned()),
            ("POLKASHOTS_GCS_DATA_ENDPOINT", self.host.bucket.data_endpoint()),
            ("POLKASHOTS_GCS_CONTROL_ENDPOINT", self.host.bucket.control_endpoint()),
        ]
    }

    async fn engine(&self, job: &str) -> Result<()> {
        let mut env = self.endpoints();
        env.push(("KUBECONFIG", self.kubeconfig.display().to_string()));
        let supplied = Supplied { env, ..Supplied::default() };
        let pod = Pod::new(&self.target, "ScaledJob", "engine", &self.host.folder(job)?, supplied)?;
        self.run(&pod, job).await
    }

    async fn snapshotter(&self, job: &str, claim: &Path) -> Result<()> {
        let supplied = Supplied { env: self.endpoints(), volumes: vec![("claim", claim.to_owned())] };
        let pod = Pod::new(&self.target, "ScaledJob", "snapshotter", &self.host.folder(job)?, supplied)?;
        let (mounted, made) = (pod.claim("claim"), names::claim_name(&self.host.target));
        ensure!(mounted == Some(made.as_str()), "the pod mounts {mounted:?}, the engine makes {made}");
        self.run(&pod, job).await
    }

    async fn publisher(&self, job: &str) -> Result<()> {
        let secret = self.host.folder("secret")?;
        fs::copy(self.host.path("polkashots.key"), secret.join("polkashots.key"))?;
        let mut env = self.endpoints();
        env.push(("POLKASHOTS_SITE_HOST", self.host.path("site").display().to_string()));
        let supplied = Supplied { env, volumes: vec![("mounted-keys", secret)] };
        let pod = Pod::new(&self.publisher, "ScaledJob", "publisher", &self.host.folder(job)?, supplied)?;
        self.run(&pod, job).await
    }

    /// Runs the containers of a pod one after the other: the init containers, and then the only other.
    async fn run(&self, pod: &Pod<'_>, job: &str) -> Result<()> {
        for (number, command) in pod.commands()?.into_iter().enumerate() {
            self.host.run(command, &format!("{job}-{number}")).await?;
        }
        Ok(())
    }
}

async fn whole_cycle(cloud: &Cloud<'_>, namespace: &TargetNamespace) -> Result<()> {
    let host = cloud.host;
    let waited_for = [cloud.target.subscriptions(), cloud.publisher.subscriptions()].concat();
    assert_eq!(sorted(waited_for), sorted(host.subscriptions().iter().map(String::as_str).collect()));

    host.publish_tick_by_hand()?;
    cloud.engine("engine-tick").await?;
    namespace.mount_claim().await;
    let claim = host.mount_claim()?;
    cloud.snapshotter("snapshotter", &claim).await?;
    cloud.publisher("publisher").await?;
    let (published, ids) = host.published(Duration::from_secs(2)).await?;
    assert_eq!((published.height, ids.len()), (396, 1), "{published:?} {ids:?}");
    assert_listed(host, &published).await?;
    // The tick's subscription is looked at first, and has nothing more.
    cloud.engine("engine-end").await?;
    namespace.wait_until_torn_down().await;

    let (before, after) = (head(&claim).await?, head(&restored(cloud).await?).await?);
    assert_eq!((after.finalized.height, after.finalized.hash), (published.height, published.hash));
    assert_eq!(serde_json::to_value(before)?, serde_json::to_value(after)?);
    Ok(())
}

fn sorted(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_unstable();
    names
}

/// The node's volume, after the init container of its StatefulSet.
async fn restored(cloud: &Cloud<'_>) -> Result<PathBuf> {
    let data = cloud.host.folder("node-data")?;
    let supplied = Supplied { env: Vec::new(), volumes: vec![("chain-data", data.clone())] };
    let node = Pod::new(&cloud.target, "StatefulSet", "node", &cloud.host.folder("node")?, supplied)?;
    cloud.host.run(node.init_container("importer")?, "importer").await?;
    Ok(data)
}

async fn head(base_path: &Path) -> Result<Identity> {
    Ok(Databases::default().identity(&locate(base_path, None, Some(CHAIN_ID))?).await?)
}
