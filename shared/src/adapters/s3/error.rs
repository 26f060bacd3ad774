//! What S3's errors mean for a caller of the port.

use object_store::Error;

use crate::ports::object_store::{Precondition, StoreError};

/// Sorts an error by what a caller can do.
pub fn classify(operation: &'static str, key: &str, error: Error) -> StoreError {
    let key = key.to_owned();
    match error {
        Error::NotFound { .. } => StoreError::NotFound { key },
        Error::AlreadyExists { .. } => StoreError::AlreadyExists { key },
        Error::Precondition { .. } | Error::NotModified { .. } => StoreError::Changed { key },
        Error::PermissionDenied { .. }
        | Error::Unauthenticated { .. }
        | Error::InvalidPath { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::UnknownConfigurationKey { .. } => StoreError::Permanent { operation, key, source: error.into() },
        error => StoreError::Transient { operation, key, source: error.into() },
    }
}

/// Sorts an error of a call that only a missing bucket lets end with "not found".
pub fn classify_bucket(operation: &'static str, key: &str, bucket: &str, error: Error) -> StoreError {
    // A listing's errors come without a kind, only with the service's own words.
    let is_missing = matches!(error, Error::NotFound { .. }) || error.to_string().contains("NoSuchBucket");
    if !is_missing {
        return classify(operation, key, error);
    }
    let source = format!("bucket not found: {bucket}").into();
    StoreError::Permanent { operation, key: key.to_owned(), source }
}

/// Sorts an error of a write by the precondition that it had.
pub fn classify_write(key: &str, bucket: &str, precondition: &Precondition, error: Error) -> StoreError {
    match (classify_bucket("write", key, bucket, error), precondition) {
        (StoreError::Changed { key }, Precondition::Create) => StoreError::AlreadyExists { key },
        (StoreError::AlreadyExists { key }, Precondition::Generation(_)) => StoreError::Changed { key },
        (error, _) => error,
    }
}
