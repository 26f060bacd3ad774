//! Turns a restore claim into artifacts and a manifest in the object store.
