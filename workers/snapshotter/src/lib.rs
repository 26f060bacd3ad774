//! Turns a restore claim into artifacts and a manifest in the object store.
//!
//! The way of the bytes: [`walk`] decides what may leave the machine, [`layout`] plans the tar stream and its frames,
//! [`reader`] fills frames, [`compress`] makes them independent zstd frames with digests (and [`lz4`] blocks where they are
//! asked for), [`pipeline`] runs all that on threads in bounded memory and hands the frames to the store in order. `archive`
//! and `tree` store the forms, `snapshot` puts the objects of one snapshot in their order, the manifest last; [`handle`]
//! decides whether there is anything to do.

mod archive;
pub mod binary;
pub mod blocks;
mod claim;
pub mod compress;
pub mod error;
mod handle;
pub mod index;
pub mod layout;
pub mod lz4;
pub mod pipeline;
pub mod reader;
pub mod seek_table;
pub mod settings;
mod snapshot;
mod store;
mod tree;
pub mod walk;

pub use claim::ClaimMount;
pub use handle::{Deps, SnapshotError, Snapshotter, handle};
