//! What the uploads in parts have in common: bytes are cut into parts, and a few parts are on their way at once.

use bytes::{Bytes, BytesMut};
use sha2::Digest;
use tokio::task::JoinSet;

use crate::ids::Sha256;
use crate::ports::object_store::{Expected, StoreError};

/// Cuts what is written into parts of one size, and knows what it all amounts to.
pub(crate) struct PartBuffer {
    part_size_bytes: usize,
    filling: BytesMut,
    cut: usize,
    size: u64,
    sha256: sha2::Sha256,
}

impl PartBuffer {
    /// Nothing was written yet.
    pub(crate) fn new(part_size_bytes: usize) -> Self {
        Self { part_size_bytes, filling: BytesMut::new(), cut: 0, size: 0, sha256: sha2::Sha256::new() }
    }

    /// Takes from `bytes` until a part is full and gives that; `None` once all is taken.
    pub(crate) fn fill(&mut self, bytes: &mut Bytes) -> Option<Bytes> {
        let taken = bytes.split_to(bytes.len().min(self.part_size_bytes - self.filling.len()));
        self.size += taken.len() as u64;
        self.sha256.update(&taken);
        self.filling.extend_from_slice(&taken);
        if self.filling.len() < self.part_size_bytes {
            return None;
        }
        self.cut += 1;
        Some(self.filling.split().freeze())
    }

    /// Checks that what was written is what was announced, and gives the last part, if there is one; an empty object has
    /// one empty part.
    pub(crate) fn finish(&mut self, key: &str, expected: Expected) -> Result<Option<Bytes>, StoreError> {
        let found = Expected { size: self.size, sha256: Sha256(self.sha256.clone().finalize().into()) };
        if found != expected {
            return Err(StoreError::Corrupt { key: key.to_owned(), reason: expected.difference(&found) });
        }
        let has_last = !self.filling.is_empty() || self.cut == 0;
        Ok(has_last.then(|| self.filling.split().freeze()))
    }

    /// How many bytes were written.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }
}

/// The parts that are on their way, and what those that arrived gave.
pub(crate) struct Sending<T> {
    key: String,
    at_once: usize,
    tasks: JoinSet<Result<T, StoreError>>,
    arrived: Vec<T>,
}

impl<T: Send + 'static> Sending<T> {
    /// No part of `key` was sent yet; at most `at_once` will be on their way.
    pub(crate) fn new(key: &str, at_once: usize) -> Self {
        Self { key: key.to_owned(), at_once, tasks: JoinSet::new(), arrived: Vec::new() }
    }

    /// Sends a part as soon as there is room; the error may be that of a part before it.
    pub(crate) async fn send(
        &mut self,
        part: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<(), StoreError> {
        while self.tasks.len() >= self.at_once {
            self.join_one().await?;
        }
        self.tasks.spawn(part);
        Ok(())
    }

    /// Waits until all have arrived and gives what each gave, in any order.
    pub(crate) async fn join_all(&mut self) -> Result<Vec<T>, StoreError> {
        while !self.tasks.is_empty() {
            self.join_one().await?;
        }
        Ok(std::mem::take(&mut self.arrived))
    }

    /// Gives up what is on its way.
    pub(crate) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }

    async fn join_one(&mut self) -> Result<(), StoreError> {
        let failed =
            |error| StoreError::Transient { operation: "upload", key: self.key.clone(), source: Box::new(error) };
        if let Some(joined) = self.tasks.join_next().await {
            self.arrived.push(joined.map_err(failed)??);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_pieces_all_parts_but_the_last_are_full() {
        let all: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for piece in [1, 7, 64, 65, 300, 1000] {
            let mut buffer = PartBuffer::new(64);
            let mut parts = Vec::new();
            for chunk in all.chunks(piece) {
                let mut bytes = Bytes::copy_from_slice(chunk);
                while let Some(part) = buffer.fill(&mut bytes) {
                    parts.push(part);
                }
                assert!(bytes.is_empty(), "pieces of {piece}");
            }
            let expected = Expected { size: 1000, sha256: Sha256::of(&all) };
            parts.extend(buffer.finish("key", expected).expect("as announced"));
            assert!(parts[..15].iter().all(|part| part.len() == 64) && parts.len() == 16, "pieces of {piece}");
            assert_eq!(parts.concat(), all, "pieces of {piece}");
        }
    }

    #[test]
    fn nothing_is_one_empty_part_and_a_full_part_has_none_after_it() {
        let expected = |bytes: &[u8]| Expected { size: bytes.len() as u64, sha256: Sha256::of(bytes) };
        let last = PartBuffer::new(4).finish("key", expected(b"")).expect("as announced");
        assert_eq!(last, Some(Bytes::new()));
        let mut buffer = PartBuffer::new(4);
        assert_eq!(buffer.fill(&mut "full".into()), Some("full".into()));
        assert_eq!(buffer.finish("key", expected(b"full")).expect("as announced"), None);
        assert!(matches!(buffer.finish("key", expected(b"fool")), Err(StoreError::Corrupt { .. })));
    }
}
