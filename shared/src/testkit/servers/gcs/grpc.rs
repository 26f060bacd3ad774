//! The control API: gRPC.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use prost::Message;

use super::Shared;
use super::answers::{grpc, grpc_code, grpc_failed, grpc_refused, reset};
use super::bucket::{NewObject, Refusal, StoredObject};
use super::faults::{Call, Fault, Operation};
use super::messages::{
    ComposeObjectRequest, DeleteObjectRequest, Empty, GetObjectRequest, ListObjectsRequest, ListObjectsResponse,
    Object, ObjectChecksums, Timestamp,
};

pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
const MAX_PAGE: usize = 1000;
/// The bytes before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// A request that was understood.
pub enum Asked {
    Get(GetObjectRequest),
    List(ListObjectsRequest),
    Delete(DeleteObjectRequest),
    Compose(Box<ComposeObjectRequest>),
}

pub async fn answer(shared: &Shared, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let Ok(body) = to_bytes(request.into_body(), MAX_MESSAGE_BYTES).await else { return reset() };
    let asked = match Asked::decode(&path, body) {
        Ok(asked) => asked,
        Err(response) => return *response,
    };
    if asked.bucket() != format!("projects/_/buckets/{}", shared.bucket_name) {
        return grpc_failed(5, &format!("the bucket {} does not exist", asked.bucket()));
    }
    let fault = shared.faults().of(&asked.call());
    match fault {
        Some(Fault::Status(status)) => return grpc_failed(grpc_code(status), "failed on purpose"),
        Some(Fault::Reset) => return reset(),
        _ => {}
    }
    let answered = asked.answer(shared, fault == Some(Fault::ReportWrongCrc));
    if fault == Some(Fault::LoseAnswer) { reset() } else { answered }
}

impl Asked {
    pub fn decode(path: &str, body: Bytes) -> Result<Self, Box<Response>> {
        let message = body.slice(PREFIX_BYTES.min(body.len())..);
        let decoded = match path.strip_prefix("/google.storage.v2.Storage/") {
            Some("GetObject") => GetObjectRequest::decode(message).map(Self::Get),
            Some("ListObjects") => ListObjectsRequest::decode(message).map(Self::List),
            Some("DeleteObject") => DeleteObjectRequest::decode(message).map(Self::Delete),
            Some("ComposeObject") => ComposeObjectRequest::decode(message).map(Box::new).map(Self::Compose),
            _ => return Err(Box::new(grpc_failed(12, &format!("{path} is not implemented")))),
        };
        decoded.map_err(|error| Box::new(grpc_failed(3, &error.to_string())))
    }

    pub fn bucket(&self) -> String {
        match self {
            Self::Get(get) => get.bucket.clone(),
            Self::List(list) => list.parent.clone(),
            Self::Delete(delete) => delete.bucket.clone(),
            Self::Compose(compose) => compose.destination.clone().unwrap_or_default().bucket,
        }
    }

    fn call(&self) -> Call {
        let (operation, key) = match self {
            Self::Get(get) => (Operation::Get, get.object.clone()),
            Self::List(list) => (Operation::List, list.prefix.clone()),
            Self::Delete(delete) => (Operation::Delete, delete.object.clone()),
            Self::Compose(compose) => (Operation::Compose, compose.destination.clone().unwrap_or_default().name),
        };
        Call { operation, key }
    }

    fn answer(self, shared: &Shared, wrong_crc: bool) -> Response {
        let answered = match self {
            Self::Get(get) => shared.bucket().find(&get.object).map(|found| shared.message(&get.object, found)),
            Self::List(list) => return grpc(&shared.list(&list)),
            Self::Compose(compose) => shared.compose(*compose),
            Self::Delete(delete) => {
                let deleted = shared.bucket().delete(&delete.object, delete.if_generation_match);
                return deleted.map_or_else(|refusal| grpc_refused(&refusal), |()| grpc(&Empty {}));
            }
        };
        match answered {
            Ok(mut object) => {
                if let Some(crc32c) = object.checksums.as_mut().and_then(|sums| sums.crc32c.as_mut()) {
                    *crc32c ^= u32::from(wrong_crc);
                }
                grpc(&object)
            }
            Err(refusal) => grpc_refused(&refusal),
        }
    }
}

impl Shared {
    fn list(&self, request: &ListObjectsRequest) -> ListObjectsResponse {
        let limit = usize::try_from(request.page_size).ok().filter(|size| (1..=MAX_PAGE).contains(size));
        let bucket = self.bucket();
        let (page, more) = bucket.page(&request.prefix, &request.page_token, limit.unwrap_or(MAX_PAGE));
        let objects: Vec<Object> = page.into_iter().map(|(name, object)| self.message(name, object)).collect();
        let last = objects.last().map(|object| object.name.clone()).unwrap_or_default();
        ListObjectsResponse { objects, next_page_token: if more { last } else { String::new() } }
    }

    fn compose(&self, request: ComposeObjectRequest) -> Result<Object, Refusal> {
        let destination = request.destination.unwrap_or_default();
        let new = NewObject {
            name: destination.name.clone(),
            content_type: destination.content_type,
            cache_control: destination.cache_control,
            metadata: destination.metadata,
            crc32c: request.object_checksums.and_then(|sums| sums.crc32c),
            if_generation_match: request.if_generation_match,
        };
        let sources: Vec<String> = request.source_objects.into_iter().map(|source| source.name).collect();
        let mut bucket = self.bucket();
        bucket.compose(new, &sources).map(|object| self.message(&destination.name, object))
    }

    fn message(&self, name: &str, object: &StoredObject) -> Object {
        Object {
            name: name.to_owned(),
            bucket: format!("projects/_/buckets/{}", self.bucket_name),
            generation: object.generation,
            metageneration: 1,
            storage_class: "STANDARD".to_owned(),
            size: i64::try_from(object.size).unwrap_or(i64::MAX),
            cache_control: object.cache_control.clone(),
            content_type: object.content_type.clone(),
            create_time: Some(timestamp(object.created)),
            checksums: Some(ObjectChecksums { crc32c: Some(object.crc32c) }),
            update_time: Some(timestamp(object.created)),
            metadata: object.metadata.clone(),
        }
    }
}

pub fn timestamp(time: DateTime<Utc>) -> Timestamp {
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap_or_default();
    Timestamp { seconds: time.timestamp(), nanos }
}
