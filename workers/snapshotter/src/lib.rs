//! Turns a restore claim into artifacts and a manifest in the object store.
//!
//! The way of the bytes: [`walk`] decides what may leave the machine, [`layout`] plans the tar stream and its frames,
//! [`reader`] fills frames, [`compress`] makes them independent zstd frames with digests, [`pipeline`] runs all that on
//! threads in bounded memory and hands the frames to the store in order. `snapshot` writes the objects of one snapshot, the
//! manifest last; [`handle`] decides whether there is anything to do.

pub mod binary;
pub mod blocks;
mod claim;
pub mod compress;
pub mod error;
mod handle;
pub mod index;
pub mod layout;
pub mod pipeline;
pub mod reader;
pub mod seek_table;
pub mod settings;
mod snapshot;
mod store;
pub mod walk;

pub use claim::ClaimMount;
pub use handle::{Deps, SnapshotError, Snapshotter, handle};
