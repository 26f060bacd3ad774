//! The mark by which a write knows its own object again, when a request was sent twice because its answer was lost.

use crate::ports::object_store::StoreError;

/// The metadata field that holds the mark of the write that made an object.
pub(crate) const MARK_FIELD: &str = "polkashots-write";

/// A mark that no other write has.
pub(crate) fn new_mark(key: &str) -> Result<String, StoreError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| StoreError::Transient {
        operation: "draw a random number for",
        key: key.to_owned(),
        source: error.to_string().into(),
    })?;
    Ok(hex::encode(random))
}
