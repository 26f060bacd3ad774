//! A Cloud Storage server as strict as Google's, for tests: one bucket, JSON data API and gRPC control API on one port.
//!
//! It holds what the fake servers let pass: generations and their preconditions (412), checksums that were announced
//! (400, and nothing is stored), resumable sessions with their status queries, the limit of 32 composed objects, pages of
//! a listing. It does not remember a request that is sent again after its answer was lost: that is the client's to solve.

mod answers;
mod bridge;
mod bucket;
mod faults;
mod grpc;
mod http;
mod messages;
mod resumable;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use self::bridge::ControlBridge;
use self::bucket::Bucket;
use self::faults::Faults;
pub use self::faults::{Call, Fault, Operation};
use self::resumable::Sessions;

/// A running server; dropping it stops it and forgets its objects.
#[derive(Debug)]
pub struct StrictGcs {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What the requests share.
#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    bucket_name: String,
    bucket: Mutex<Bucket>,
    sessions: Mutex<Sessions>,
    faults: Mutex<Faults>,
}

impl StrictGcs {
    /// Starts a server with an empty bucket on a free port of 127.0.0.1.
    pub async fn start(bucket_name: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let shared = Arc::new(Shared {
            address: listener.local_addr()?,
            bucket_name: bucket_name.to_owned(),
            bucket: Mutex::default(),
            sessions: Mutex::default(),
            faults: Mutex::default(),
        });
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let task = tokio::spawn(async move {
            // Serves until the task is aborted.
            let _ended = axum::serve(listener, router).await;
        });
        Ok(Self { shared, task })
    }

    /// Its address, for the data and for the control endpoint: `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.shared.address)
    }

    /// The bucket's name.
    pub fn bucket_name(&self) -> &str {
        &self.shared.bucket_name
    }

    /// From now on every `nth` request gets one of `faults` in turn; none clears them.
    pub fn fail_every(&self, nth: u64, faults: &[Fault]) {
        self.shared.faults().every(nth, faults);
    }

    /// The next request that `applies` to gets this fault.
    pub fn fail_next(&self, fault: Fault, applies: impl Fn(&Call) -> bool + Send + 'static) {
        self.shared.faults().next(fault, Box::new(applies));
    }

    /// Waits this long before each answer.
    pub fn slow_down(&self, by: Duration) {
        self.shared.faults().slow_down(by);
    }

    /// How many requests got a fault so far.
    pub fn faults_injected(&self) -> u64 {
        self.shared.faults().injected()
    }

    /// Makes the objects whose name starts with `prefix` older.
    pub fn age(&self, prefix: &str, by: Duration) {
        self.shared.bucket().age(prefix, by);
    }

    /// The names of all objects, those of unfinished uploads too.
    pub fn names(&self) -> Vec<String> {
        self.shared.bucket().names()
    }

    /// `Content-Type` and `Cache-Control` of an object.
    pub fn headers(&self, name: &str) -> Option<(String, String)> {
        let bucket = self.shared.bucket();
        bucket.get(name).map(|object| (object.content_type.clone(), object.cache_control.clone()))
    }
}

impl Drop for StrictGcs {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let delay = shared.faults().delay();
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type.is_some_and(|value| value.starts_with("application/grpc")) {
        return grpc::answer(&shared, request).await;
    }
    http::answer(&shared, request).await
}
