//! The Kubernetes adapter on answers that a healthy API server never gives.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use polkashots_engine::adapters::kubernetes::{KubernetesSettings, KubernetesVolumes};
use polkashots_engine::{Acquire, VolumeSnapshotError, VolumeSnapshots};
use polkashots_shared::ids::{TargetId, Version};
use serde_json::{Value, json};

const CLAIM: &str = "/api/v1/namespaces/dot/persistentvolumeclaims/first-restore";
const SNAPSHOT: &str = "/apis/snapshot.storage.k8s.io/v1/namespaces/dot/volumesnapshots/first-20261122-040000";
const SNAPSHOTS: &str = "/apis/snapshot.storage.k8s.io/v1/namespaces/dot/volumesnapshots";

fn target() -> TargetId {
    "first".parse().expect("legal")
}

fn version() -> Version {
    "20261122-040000".parse().expect("legal")
}

/// Status code and body; none means that the API never answers.
type Answer = Option<(u16, String)>;

/// The adapter before an API that gives these answers to `METHOD path`, `WATCH path` for watches.
fn volumes(answer: impl Fn(&str, &str) -> Answer + Send + Sync + 'static) -> KubernetesVolumes {
    let answer = Arc::new(answer);
    let service = tower::service_fn(move |request: Request<Body>| {
        let is_watch = request.uri().query().unwrap_or_default().contains("watch=true");
        let method = if is_watch { "WATCH" } else { request.method().as_str() };
        let answer = answer(method, request.uri().path());
        async move {
            let Some((code, body)) = answer else { return std::future::pending().await };
            let response = Response::builder().status(code).header("content-type", "application/json");
            Ok::<_, Infallible>(response.body(Body::from(body.into_bytes())).expect("a response"))
        }
    });
    let client = Client::new(service, "dot");
    KubernetesVolumes::new(client, BTreeMap::from([(target(), KubernetesSettings::new("dot", "data"))]))
}

fn ok(body: &Value) -> Answer {
    Some((200, body.to_string()))
}

fn refusal(code: u16, reason: &str) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": format!("no: {reason}"),
        "reason": reason, "code": code,
    });
    Some((code, status.to_string()))
}

fn meta(name: &str) -> Value {
    json!({
        "name": name, "namespace": "dot", "uid": format!("uid-{name}"), "resourceVersion": "7",
        "creationTimestamp": "2026-11-22T04:00:01Z",
        "labels": { "app.kubernetes.io/managed-by": "polkashots", "polkashots.io/target": "first" },
        "annotations": { "polkashots.io/version": "20261122-040000" },
    })
}

fn claim() -> Value {
    json!({
        "kind": "PersistentVolumeClaim", "apiVersion": "v1", "metadata": meta("first-restore"),
        "spec": { "resources": { "requests": { "storage": "10Gi" } } }, "status": { "phase": "Pending" },
    })
}

fn source() -> Value {
    json!({
        "kind": "PersistentVolumeClaim", "apiVersion": "v1", "metadata": { "name": "data", "namespace": "dot", "uid": "u" },
        "spec": {}, "status": { "phase": "Bound", "capacity": { "storage": "10Gi" } },
    })
}

fn snapshot(status: &Value) -> Value {
    json!({
        "kind": "VolumeSnapshot", "apiVersion": "snapshot.storage.k8s.io/v1", "metadata": meta("first-20261122-040000"),
        "spec": { "source": { "persistentVolumeClaimName": "data" } }, "status": status,
    })
}

fn list(snapshot: &Value) -> Value {
    json!({
        "kind": "VolumeSnapshotList", "apiVersion": "snapshot.storage.k8s.io/v1", "metadata": { "resourceVersion": "7" },
        "items": [snapshot],
    })
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_transient_and_what_stays_is_permanent() {
    for (code, transient) in
        [(500, true), (503, true), (429, true), (401, true), (409, true), (403, false), (422, false)]
    {
        let volumes = volumes(move |_, _| refusal(code, "Reason"));
        for error in [
            volumes.acquire(&target(), version()).await.expect_err("refused"),
            volumes.release(&target(), version()).await.expect_err("refused"),
            volumes.held().await.expect_err("refused"),
        ] {
            assert_eq!(error.is_transient(), transient, "{error}");
            assert!(error.to_string().contains(&format!("no: Reason (HTTP {code})")), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_that_never_answers_is_not_waited_for_for_ever() {
    let error = volumes(|_, _| None).acquire(&target(), version()).await.expect_err("silence");
    assert!(
        error.is_transient() && error.to_string().contains("no answer from the Kubernetes API within 60 s"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_creation_was_not_answered_is_found_to_be_ours() {
    let created = Arc::new(Mutex::new(false));
    let volumes = volumes(move |method, path| {
        let mut created = created.lock().expect("one at a time");
        match (method, path) {
            ("GET", CLAIM) if *created => ok(&claim()),
            ("GET", path) if path.ends_with("/data") => ok(&source()),
            ("POST", _) => {
                *created = true;
                refusal(504, "Timeout")
            }
            _ => refusal(404, "NotFound"),
        }
    });
    let error = volumes.acquire(&target(), version()).await.expect_err("no answer");
    assert!(error.is_transient(), "{error}");
    assert_eq!(volumes.acquire(&target(), version()).await.expect("found"), Acquire::Acquired);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_breaks_is_started_again() {
    let lists = Arc::new(Mutex::new(0));
    let volumes = volumes(move |method, path| {
        let waiting = json!({ "boundVolumeSnapshotContentName": "c", "readyToUse": false });
        let ready = json!({
            "boundVolumeSnapshotContentName": "c", "readyToUse": true, "creationTime": "2026-11-22T04:00:07Z",
        });
        match (method, path) {
            ("GET" | "PATCH", CLAIM) => ok(&claim()),
            ("GET", path) if path.ends_with("/data") => ok(&source()),
            ("GET", SNAPSHOT) => ok(&snapshot(&waiting)),
            ("WATCH", SNAPSHOTS) => Some((
                200,
                r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","code":410,
                "status":"Failure","reason":"Expired","message":"too old","metadata":{}}}"#
                    .replace('\n', ""),
            )),
            ("GET", SNAPSHOTS) => {
                let mut lists = lists.lock().expect("one at a time");
                *lists += 1;
                match *lists {
                    1 => ok(&list(&snapshot(&waiting))),
                    2 => Some((200, r#"{"kind": "VolumeSnapshotLi"#.into())),
                    3 => refusal(500, "InternalError"),
                    _ => ok(&list(&snapshot(&ready))),
                }
            }
            _ => refusal(404, "NotFound"),
        }
    });
    let ready = volumes.ensure_snapshot(&target(), version()).await.expect("ready after all");
    assert_eq!(ready.taken_at.to_rfc3339(), "2026-11-22T04:00:07+00:00");
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_lost_while_waiting_ends_the_wait() {
    let volumes = volumes(|method, path| match (method, path) {
        ("GET", CLAIM) => ok(&claim()),
        ("GET", path) if path.ends_with("/data") => ok(&source()),
        ("GET", SNAPSHOT) => ok(&snapshot(&json!({}))),
        ("GET", SNAPSHOTS) => refusal(403, "Forbidden"),
        _ => refusal(404, "NotFound"),
    });
    let error = volumes.ensure_snapshot(&target(), version()).await.expect_err("forbidden");
    assert!(matches!(error, VolumeSnapshotError::Permanent { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_delete_is_of_the_very_object_that_was_looked_at() {
    for (code, released) in [(409, false), (404, true)] {
        let volumes = volumes(move |method, path| match (method, path) {
            ("GET", SNAPSHOT) => ok(&snapshot(&json!({}))),
            ("GET", CLAIM) => ok(&claim()),
            ("DELETE", _) => refusal(code, "Reason"),
            _ => refusal(404, "NotFound"),
        });
        match volumes.release(&target(), version()).await {
            Ok(()) => assert!(released, "a conflict was taken for success"),
            Err(error) => assert!(!released && error.is_transient(), "{error}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_whole_and_not_understood_is_a_permanent_error() {
    let volumes = volumes(|_, _| Some((200, r#"{"kind": "PersistentVolumeClaim", "metadata": 7}"#.into())));
    let error = volumes.acquire(&target(), version()).await.expect_err("no claim");
    assert!(matches!(error, VolumeSnapshotError::Permanent { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_volume_snapshot_is_deleted_before_the_claim_which_is_the_lock() {
    let deleted = Arc::new(Mutex::new(Vec::new()));
    let seen = deleted.clone();
    let volumes = volumes(move |method, path| match (method, path) {
        ("GET", SNAPSHOT) => ok(&snapshot(&json!({}))),
        ("GET", CLAIM) => ok(&claim()),
        ("DELETE", path) => {
            let mut seen = seen.lock().expect("one at a time");
            seen.push(path.to_owned());
            // The first try breaks off after the volume snapshot: the claim still says that there is something to do.
            if seen.len() == 2 { refusal(500, "InternalError") } else { ok(&json!({ "kind": "Status" })) }
        }
        _ => refusal(404, "NotFound"),
    });
    assert!(volumes.release(&target(), version()).await.expect_err("cut short").is_transient());
    volumes.release(&target(), version()).await.expect("released");
    assert_eq!(*deleted.lock().expect("one at a time"), [SNAPSHOT, CLAIM, SNAPSHOT, CLAIM]);
}
