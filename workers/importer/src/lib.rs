//! Restores a published snapshot: verified, resumable, in place.
//!
//! A restore puts a node's database where the node looks for it. Nothing is believed that does not follow from a
//! pinned public key: the signature covers the manifest, the manifest has the SHA-256 of the frames index, and the frames
//! index has the SHA-256 of every frame. A frame reaches the disk only after its digest was right, in a staging folder
//! that no node opens; the whole becomes visible by one rename.
//!
//! What lies in a chain folder `chains/<id>` beside the node's own folders, all of it inside `.polkashots/`, which a
//! node ignores (`<folder>` is `db` or `paritydb`):
//!
//! | name | what it is |
//! |---|---|
//! | `<folder>.partial/` | an unfinished restore: the same command continues it |
//! | `<folder>.partial/old/` | what is left of the old database while an update puts the new one together |
//! | `<folder>.complete.json` | the completion marker: the manifest of what was restored |
//! | `<folder>.unsigned.json` | the marker of what was unpacked from an archive that nobody signed (`--allow-unsigned`) |
//! | `<folder>.newest.json` | rollback memory: the newest snapshot ever accepted here |
//! | `<folder>.lock` | held while a restore works here |

pub mod binary;
pub mod blocks;
mod compare;
mod destination;
mod durable;
mod error;
pub mod flags;
mod foreign;
mod journal;
mod memory;
pub mod outcome;
mod plan;
pub mod progress;
pub mod request;
mod resolve;
mod restore;
mod source;
mod staging;
mod switch;
mod transfer;
mod trust;
mod update;
mod verify;
mod verify_restored;

pub use error::{ErrorKind, RestoreError};
pub use foreign::EntryError;
pub use outcome::{AlreadyThere, Outcome, Preview, Restored, RestoredReport, Unsigned, VerifiedFile, VerifyReport};
pub use plan::PlanError;
pub use progress::{NoProgress, Phase, Progress, Update};
pub use request::{Destination, Existing, Key, Owner, RestoreRequest, Transfer, Trust};
pub use resolve::ResolveError;
pub use restore::{preview, restore};
pub use source::SourceError;
pub use trust::TrustError;
pub use verify::{VerifyRequest, verify};
pub use verify_restored::verify_restored;
