//! Buffers of compressed frames, used again: memory that is new to a process has to be cleared by the system first, which
//! costs as much as the copy into it.

use std::sync::{Mutex, PoisonError};

/// Most bytes that are kept for later; beyond it memory goes back.
const KEPT_BYTES: usize = 32 * 1024 * 1024;

/// Buffers that nobody uses at the moment.
#[derive(Debug, Default)]
pub struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// An empty buffer with room for `size` bytes.
    pub fn take(&self, size: usize) -> Vec<u8> {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        buffer.reserve_exact(size);
        buffer
    }

    /// Keeps a buffer that was dealt with.
    pub fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: usize = kept.iter().map(Vec::capacity).sum();
        if bytes + buffer.capacity() <= KEPT_BYTES {
            kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_and_not_too_much_is_kept() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take(1000);
        buffer.extend([1; 1000]);
        let place = buffer.as_ptr();
        buffers.give(buffer);
        let again = buffers.take(500);
        assert!(again.is_empty() && again.as_ptr() == place && again.capacity() >= 500);
        (0..9).for_each(|_| buffers.give(Vec::with_capacity(KEPT_BYTES / 4)));
        assert_eq!(buffers.0.lock().expect("nobody panicked").len(), 4);
    }
}
