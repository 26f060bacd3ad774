//! A real Kubernetes API server on free ports of the loopback, for tests.
//!
//! It comes as envtest lays it out: `KUBEBUILDER_ASSETS` is a folder with `etcd`, `kube-apiserver` and
//! `kube-controller-manager`. Of the controllers only the one that protects claims in use runs; there is no kubelet and
//! no CSI driver, [`super::csi`] plays that.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Config, ResourceExt};
use polkashots_shared::testkit::skip::skipped;

/// How long a slow machine may take until the server answers.
const PATIENCE: Duration = Duration::from_secs(180);
const SCRIPT: &str = include_str!("api_server.sh");
const ADMIN_TOKEN: &str = "admin-of-a-test";

/// A running API server; it stops when this is dropped, or the process ends in whatever way.
pub struct ApiServer {
    folder: PathBuf,
    port: u16,
    script: Child,
}

impl ApiServer {
    /// The one server of this process, with the CRDs of volume snapshots; none, and said so, where its parts are missing.
    ///
    /// # Panics
    ///
    /// Where the parts are there and it does not start.
    pub async fn shared(test: &str) -> Option<&'static Self> {
        static SHARED: OnceLock<ApiServer> = OnceLock::new();
        let parts = parts_or_skip(test)?;
        let start = move || SHARED.get_or_init(|| Self::start(&parts.assets, &parts.crds));
        Some(tokio::task::spawn_blocking(start).await.expect("the API server starts"))
    }

    /// Starts a server and installs the CRDs of `crds`, whatever runtime the caller is in.
    ///
    /// # Panics
    ///
    /// Where it does not start.
    pub fn start(assets: &Path, crds: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("polkashots-api-").tempdir().expect("a folder").keep();
        let [etcd, peer, port] = free_ports();
        fs::write(folder.join("tokens.csv"), format!("{ADMIN_TOKEN},admin,admin,system:masters\n")).expect("written");
        fs::write(folder.join("controllers.kubeconfig"), kubeconfig(port, None)).expect("written");
        let mut command = Command::new("sh");
        command.arg("-c").arg(SCRIPT).arg("api_server.sh").arg(assets).arg(&folder);
        command.args([etcd, peer, port].map(|port| port.to_string()));
        let script = command.stdin(Stdio::piped()).spawn().expect("sh runs");
        let mut server = Self { folder, port, script };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            server.wait_until_ready().await;
            server.install(crds).await;
        });
        let go = server.script.stdin.as_mut().map(|leash| leash.write_all(b"controllers\n"));
        go.expect("a leash").expect("the script reads");
        server
    }

    /// A client that may do everything.
    pub async fn client(&self) -> Client {
        self.client_of(None).await
    }

    /// A client that may do what RBAC allows `user`, as in `system:serviceaccount:NAMESPACE:NAME`.
    pub async fn client_as(&self, user: &str) -> Client {
        self.client_of(Some(user)).await
    }

    /// A kubeconfig file for `user`, or for one who may do everything; it goes with the server.
    pub fn kubeconfig(&self, user: Option<&str>) -> PathBuf {
        let path = self.folder.join(format!("{}.kubeconfig", user.unwrap_or("admin").replace(':', "-")));
        fs::write(&path, kubeconfig(self.port, user)).expect("written");
        path
    }

    /// Makes a namespace.
    pub async fn create_namespace(&self, name: &str) {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.to_owned());
        let created = Api::all(self.client().await).create(&PostParams::default(), &namespace).await;
        created.expect("a namespace is created");
    }

    async fn client_of(&self, user: Option<&str>) -> Client {
        let kubeconfig = Kubeconfig::from_yaml(&kubeconfig(self.port, user)).expect("our own kubeconfig");
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        Client::try_from(config.expect("our own kubeconfig")).expect("a client")
    }

    async fn wait_until_ready(&self) {
        let start = Instant::now();
        let client = self.client().await;
        let ready = || async {
            let request = http::Request::get("/readyz").body(Vec::new()).expect("a request");
            client.request_text(request).await.is_ok_and(|answer| answer == "ok")
        };
        while !ready().await {
            assert!(start.elapsed() < PATIENCE, "the API server does not come up: {}", self.logs());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn install(&self, crds: &Path) {
        let api: Api<CustomResourceDefinition> = Api::all(self.client().await);
        for name in ["volumesnapshotclasses", "volumesnapshotcontents", "volumesnapshots"] {
            let path = crds.join(format!("snapshot.storage.k8s.io_{name}.yaml"));
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let crd: CustomResourceDefinition = serde_saphyr::from_str(&text).expect("a CRD");
            api.create(&PostParams::default(), &crd).await.expect("a CRD is created");
            let name = crd.name_any();
            let established = await_condition(api.clone(), &name, conditions::is_crd_established());
            tokio::time::timeout(PATIENCE, established).await.expect("in time").expect("a CRD is established");
        }
    }

    fn logs(&self) -> String {
        let logs = ["openssl.log", "etcd.log", "kube-apiserver.log"].map(|name| {
            let text = fs::read_to_string(self.folder.join(name)).unwrap_or_default();
            let lines: Vec<_> = text.lines().rev().take(5).collect();
            format!("{name}: {}", lines.join(" | "))
        });
        logs.join("\n")
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        // The end of its input is what ends the script.
        drop(self.script.stdin.take());
        let _ended = self.script.wait();
    }
}

struct Parts {
    assets: PathBuf,
    crds: PathBuf,
}

/// The server's programs and the CRDs, which are looked for beside the repository too.
fn parts_or_skip(test: &str) -> Option<Parts> {
    let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from) else {
        skipped(test, "KUBEBUILDER_ASSETS is not set: `setup-envtest use -p path` prints a folder for it");
        return None;
    };
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/crds");
    let crds = std::env::var_os("POLKASHOTS_CRDS").map_or_else(beside, PathBuf::from);
    let program = |name: &str| assets.join(name).is_file();
    if !["etcd", "kube-apiserver", "kube-controller-manager"].into_iter().all(program) {
        skipped(test, "KUBEBUILDER_ASSETS has no etcd, kube-apiserver and kube-controller-manager");
        return None;
    }
    if !crds.join("snapshot.storage.k8s.io_volumesnapshots.yaml").is_file() {
        skipped(test, "the CRDs of volume snapshots are missing: set POLKASHOTS_CRDS to a folder with them");
        return None;
    }
    polkashots_shared::testkit::skip::program_or_skip(test, "openssl")?;
    Some(Parts { assets, crds })
}

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind(("127.0.0.1", 0)).expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("bound").port())
}

/// The certificate is one that the server makes for itself at its start.
fn kubeconfig(port: u16, user: Option<&str>) -> String {
    let mut identity = serde_json::json!({ "token": ADMIN_TOKEN });
    if let Some(user) = user {
        identity["as"] = user.into();
    }
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{ "name": "test", "cluster": {
            "server": format!("https://127.0.0.1:{port}"), "insecure-skip-tls-verify": true,
        } }],
        "users": [{ "name": "test", "user": identity }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
    });
    kubeconfig.to_string()
}
