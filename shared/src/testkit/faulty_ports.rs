//! [`Faulty`] as each port of this crate.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::fault::{FaultPlan, Faulty};
use crate::event::{Message, TARGET_ATTRIBUTE, Topic};
use crate::ports::chain_database::{ChainDatabase, ChainDatabaseError, DatabaseLocation, Identity};
use crate::ports::object_store::{
    ByteStream, Expected, Headers, Object, ObjectMeta, ObjectStore, Precondition, StoreError, Upload,
};
use crate::ports::queue::{Delivery, EventSink, Queue, QueueError, Receipt};

#[async_trait]
impl<T: ObjectStore + ?Sized + 'static> ObjectStore for Faulty<T> {
    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, StoreError> {
        self.plan.around(format!("object_store.head {key}"), || self.inner.head(key)).await
    }

    async fn get(&self, key: &str, max_bytes: u64) -> Result<Object, StoreError> {
        self.plan.around(format!("object_store.get {key}"), || self.inner.get(key, max_bytes)).await
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<ByteStream, StoreError> {
        self.plan.around(format!("object_store.read {key}"), || self.inner.read(key, range)).await
    }

    async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        precondition: Precondition,
        headers: &Headers,
    ) -> Result<ObjectMeta, StoreError> {
        let put = || self.inner.put(key, bytes, precondition, headers);
        self.plan.around(format!("object_store.put {key}"), put).await
    }

    async fn upload(&self, key: &str, headers: &Headers) -> Result<Box<dyn Upload>, StoreError> {
        let upload = || self.inner.upload(key, headers);
        let inner = self.plan.around(format!("object_store.upload {key}"), upload).await?;
        Ok(Box::new(FaultyUpload { inner, key: key.to_owned(), plan: self.plan.clone() }))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        self.plan.around(format!("object_store.list {prefix}"), || self.inner.list(prefix)).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.plan.around(format!("object_store.delete {key}"), || self.inner.delete(key)).await
    }

    async fn sweep_uploads(&self, min_age: Duration) -> Result<usize, StoreError> {
        self.plan.around("object_store.sweep_uploads", || self.inner.sweep_uploads(min_age)).await
    }
}

/// An upload whose calls go through the plan of the store that began it.
struct FaultyUpload {
    inner: Box<dyn Upload>,
    key: String,
    plan: FaultPlan,
}

#[async_trait]
impl Upload for FaultyUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let inner = &mut self.inner;
        self.plan.around(format!("upload.write {}", self.key), || inner.write(bytes)).await
    }

    async fn finish(self: Box<Self>, expected: Expected) -> Result<ObjectMeta, StoreError> {
        let Self { inner, key, plan } = *self;
        plan.around(format!("upload.finish {key}"), || inner.finish(expected)).await
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        let Self { inner, key, plan } = *self;
        plan.around(format!("upload.abort {key}"), || inner.abort()).await
    }
}

#[async_trait]
impl<T: EventSink + ?Sized + 'static> EventSink for Faulty<T> {
    async fn publish(&self, topic: Topic, message: &Message) -> Result<(), QueueError> {
        let target = message.attributes.get(TARGET_ATTRIBUTE).map_or("", String::as_str);
        self.plan.around(format!("event_sink.publish {topic} {target}"), || self.inner.publish(topic, message)).await
    }
}

#[async_trait]
impl<T: Queue + ?Sized + 'static> Queue for Faulty<T> {
    fn topic(&self) -> Topic {
        self.inner.topic()
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn receive(&self, wait: Duration) -> Result<Option<Delivery>, QueueError> {
        self.plan.around(format!("queue.receive {}", self.name()), || self.inner.receive(wait)).await
    }

    async fn extend(&self, receipt: &Receipt) -> Result<(), QueueError> {
        self.plan.around(format!("queue.extend {}", self.name()), || self.inner.extend(receipt)).await
    }

    async fn ack(&self, receipt: &Receipt) -> Result<(), QueueError> {
        self.plan.around(format!("queue.ack {}", self.name()), || self.inner.ack(receipt)).await
    }

    async fn nack(&self, receipt: &Receipt, delay: Duration) -> Result<(), QueueError> {
        self.plan.around(format!("queue.nack {}", self.name()), || self.inner.nack(receipt, delay)).await
    }

    async fn reject(&self, receipt: &Receipt, reason: &str) -> Result<(), QueueError> {
        self.plan.around(format!("queue.reject {}", self.name()), || self.inner.reject(receipt, reason)).await
    }

    fn lease(&self) -> Duration {
        self.inner.lease()
    }

    fn max_attempts(&self) -> u32 {
        self.inner.max_attempts()
    }
}

#[async_trait]
impl<T: ChainDatabase + ?Sized + 'static> ChainDatabase for Faulty<T> {
    async fn identity(&self, location: &DatabaseLocation) -> Result<Identity, ChainDatabaseError> {
        let name = format!("chain_database.identity {}", location.chain_dir.display());
        self.plan.around(name, || self.inner.identity(location)).await
    }
}
