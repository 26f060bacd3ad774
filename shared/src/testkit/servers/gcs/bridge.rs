//! The control API in front of a server that has only the JSON API: each gRPC call becomes one JSON request.
//!
//! fake-gcs-server speaks `google.storage.v1`, which Google's client no longer does. What it gets wrong stays wrong: nothing
//! is checked or added here.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::DateTime;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

use super::answers::{grpc, grpc_code, grpc_failed, reset};
use super::grpc::{Asked, MAX_MESSAGE_BYTES, timestamp};
use super::messages::{ComposeObjectRequest, Empty, ListObjectsResponse, Object, ObjectChecksums};

/// A running bridge; dropping it stops it.
#[derive(Debug)]
pub struct ControlBridge {
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// The JSON API behind the bridge.
#[derive(Debug)]
struct Behind {
    endpoint: Url,
    client: Client,
}

/// What the JSON API answered instead of success: its status and body.
struct Refused(u16, String);

impl ControlBridge {
    /// Starts a bridge to the JSON API at `endpoint` on a free port of 127.0.0.1.
    pub async fn start(endpoint: &Url) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let behind = Arc::new(Behind { endpoint: endpoint.clone(), client: Client::new() });
        let router = Router::new().fallback(answer).with_state(behind);
        let task = tokio::spawn(async move {
            // Serves until the task is aborted.
            let _ended = axum::serve(listener, router).await;
        });
        Ok(Self { address, task })
    }

    /// Its address, for the control endpoint: `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for ControlBridge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(behind): State<Arc<Behind>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let Ok(body) = to_bytes(request.into_body(), MAX_MESSAGE_BYTES).await else { return reset() };
    let asked = match Asked::decode(&path, body) {
        Ok(asked) => asked,
        Err(response) => return *response,
    };
    let bucket = asked.bucket();
    let answered = match asked {
        Asked::Get(get) => behind.object(&bucket, &get.object).await.map(|object| grpc(&object)),
        Asked::List(list) => behind.list(&bucket, &list.prefix, &list.page_token).await.map(|page| grpc(&page)),
        Asked::Delete(delete) => {
            let deleted = behind.delete(&bucket, &delete.object, delete.if_generation_match).await;
            deleted.map(|()| grpc(&Empty {}))
        }
        Asked::Compose(compose) => behind.compose(&bucket, *compose).await.map(|object| grpc(&object)),
    };
    answered.unwrap_or_else(|Refused(status, reason)| match status {
        404 => grpc_failed(5, &reason),
        412 => grpc_failed(9, &reason),
        400..500 => grpc_failed(3, &reason),
        other => grpc_failed(grpc_code(other), &reason),
    })
}

impl Behind {
    async fn object(&self, bucket: &str, name: &str) -> Result<Object, Refused> {
        let found = send(self.client.get(self.address(bucket, &[name]))).await?;
        Ok(object(bucket, &found))
    }

    async fn list(&self, bucket: &str, prefix: &str, page_token: &str) -> Result<ListObjectsResponse, Refused> {
        let mut address = self.address(bucket, &[]);
        address.query_pairs_mut().append_pair("prefix", prefix).append_pair("pageToken", page_token);
        let page = send(self.client.get(address)).await?;
        let items = page["items"].as_array().cloned().unwrap_or_default();
        Ok(ListObjectsResponse {
            objects: items.iter().map(|item| object(bucket, item)).collect(),
            next_page_token: text(&page, "nextPageToken"),
        })
    }

    async fn delete(&self, bucket: &str, name: &str, if_generation: Option<i64>) -> Result<(), Refused> {
        let address = conditional(self.address(bucket, &[name]), if_generation);
        send(self.client.delete(address)).await.map(drop)
    }

    async fn compose(&self, bucket: &str, request: ComposeObjectRequest) -> Result<Object, Refused> {
        let destination = request.destination.unwrap_or_default();
        let address = self.address(bucket, &[&destination.name, "compose"]);
        let sources: Vec<Value> = request.source_objects.iter().map(|source| json!({"name": source.name})).collect();
        let body = json!({
            "sourceObjects": sources,
            "destination": {
                "contentType": destination.content_type,
                "cacheControl": destination.cache_control,
                "metadata": destination.metadata,
            },
        });
        let composed = send(self.client.post(conditional(address, request.if_generation_match)).json(&body)).await?;
        Ok(object(bucket, &composed))
    }

    /// The address of a bucket's objects, and of what is below.
    fn address(&self, bucket: &str, below: &[&str]) -> Url {
        let bucket = bucket.trim_start_matches("projects/_/buckets/");
        let mut address = self.endpoint.clone();
        let inside = ["storage", "v1", "b", bucket, "o"];
        address.path_segments_mut().expect("an http address").extend(inside.iter().chain(below));
        address
    }
}

fn conditional(mut address: Url, if_generation: Option<i64>) -> Url {
    if let Some(generation) = if_generation {
        address.query_pairs_mut().append_pair("ifGenerationMatch", &generation.to_string());
    }
    address
}

/// The JSON of the answer; null where it has none.
async fn send(request: RequestBuilder) -> Result<Value, Refused> {
    let unreachable = |error: reqwest::Error| Refused(503, error.to_string());
    let answer = request.send().await.map_err(unreachable)?;
    let status = answer.status();
    let body = answer.text().await.map_err(unreachable)?;
    if !status.is_success() {
        return Err(Refused(status.as_u16(), body));
    }
    Ok(serde_json::from_str(&body).unwrap_or_default())
}

fn text(json: &Value, field: &str) -> String {
    json[field].as_str().unwrap_or_default().to_owned()
}

/// The JSON API writes 64-bit numbers as text.
fn number(json: &Value, field: &str) -> i64 {
    text(json, field).parse().unwrap_or_default()
}

fn object(bucket: &str, json: &Value) -> Object {
    let time = |field: &str| DateTime::parse_from_rfc3339(&text(json, field)).ok().map(|time| timestamp(time.to_utc()));
    let crc32c = BASE64_STANDARD.decode(text(json, "crc32c")).ok().and_then(|bytes| bytes.try_into().ok());
    let metadata = json["metadata"].as_object().cloned().unwrap_or_default();
    Object {
        name: text(json, "name"),
        bucket: bucket.to_owned(),
        generation: number(json, "generation"),
        metageneration: number(json, "metageneration"),
        storage_class: text(json, "storageClass"),
        size: number(json, "size"),
        cache_control: text(json, "cacheControl"),
        content_type: text(json, "contentType"),
        create_time: time("timeCreated"),
        checksums: Some(ObjectChecksums { crc32c: crc32c.map(u32::from_be_bytes) }),
        update_time: time("updated"),
        metadata: metadata.into_iter().map(|(key, value)| (key, value.as_str().unwrap_or("").to_owned())).collect(),
    }
}
