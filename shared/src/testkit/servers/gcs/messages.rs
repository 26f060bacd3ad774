//! The messages of `google.storage.v2` that the adapter sends and reads, with the fields that matter here.
//!
//! Source of the format: `google/storage/v2/storage.proto`.

use std::collections::HashMap;

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct ObjectChecksums {
    #[prost(fixed32, optional, tag = "1")]
    pub crc32c: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Object {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub bucket: String,
    #[prost(int64, tag = "3")]
    pub generation: i64,
    #[prost(int64, tag = "4")]
    pub metageneration: i64,
    #[prost(string, tag = "5")]
    pub storage_class: String,
    #[prost(int64, tag = "6")]
    pub size: i64,
    #[prost(string, tag = "9")]
    pub cache_control: String,
    #[prost(string, tag = "13")]
    pub content_type: String,
    #[prost(message, optional, tag = "14")]
    pub create_time: Option<Timestamp>,
    #[prost(message, optional, tag = "16")]
    pub checksums: Option<ObjectChecksums>,
    #[prost(message, optional, tag = "17")]
    pub update_time: Option<Timestamp>,
    #[prost(map = "string, string", tag = "22")]
    pub metadata: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct GetObjectRequest {
    #[prost(string, tag = "1")]
    pub bucket: String,
    #[prost(string, tag = "2")]
    pub object: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct DeleteObjectRequest {
    #[prost(string, tag = "1")]
    pub bucket: String,
    #[prost(string, tag = "2")]
    pub object: String,
    #[prost(int64, optional, tag = "5")]
    pub if_generation_match: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ListObjectsRequest {
    #[prost(string, tag = "1")]
    pub parent: String,
    #[prost(int32, tag = "2")]
    pub page_size: i32,
    #[prost(string, tag = "3")]
    pub page_token: String,
    #[prost(string, tag = "6")]
    pub prefix: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct ListObjectsResponse {
    #[prost(message, repeated, tag = "1")]
    pub objects: Vec<Object>,
    #[prost(string, tag = "3")]
    pub next_page_token: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct SourceObject {
    #[prost(string, tag = "1")]
    pub name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct ComposeObjectRequest {
    #[prost(message, optional, tag = "1")]
    pub destination: Option<Object>,
    #[prost(message, repeated, tag = "2")]
    pub source_objects: Vec<SourceObject>,
    #[prost(int64, optional, tag = "4")]
    pub if_generation_match: Option<i64>,
    #[prost(message, optional, tag = "10")]
    pub object_checksums: Option<ObjectChecksums>,
}

/// The answer of calls that have none.
#[derive(Clone, PartialEq, Message)]
pub struct Empty {}
