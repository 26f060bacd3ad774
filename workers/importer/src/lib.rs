//! Restores a published snapshot: verified, resumable, in place.
