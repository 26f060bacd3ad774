//! Signing and verifying in minisign's format.
