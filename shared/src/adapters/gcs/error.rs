//! What Cloud Storage's errors mean for a caller of the port.

use google_cloud_gax::error::rpc::Code;
use google_cloud_storage::Error;

use crate::ports::object_store::StoreError;

/// True where the object or the bucket is not there.
pub fn is_not_found(error: &Error) -> bool {
    code(error) == Some(Code::NotFound) || error.http_status_code() == Some(404)
}

/// Sorts an error by what a caller can do; `if_generation` is the precondition that was sent.
pub fn classify(operation: &'static str, key: &str, error: Error, if_generation: Option<i64>) -> StoreError {
    let key = key.to_owned();
    if is_not_found(&error) {
        return StoreError::NotFound { key };
    }
    if precondition_failed(&error) {
        return match if_generation {
            Some(0) => StoreError::AlreadyExists { key },
            _ => StoreError::Changed { key },
        };
    }
    if needs_a_person(&error) {
        return StoreError::Permanent { operation, key, source: error.into() };
    }
    StoreError::Transient { operation, key, source: error.into() }
}

/// True where the service found another checksum than the one that was announced.
pub fn is_checksum_refusal(error: &Error) -> bool {
    let refused = code(error) == Some(Code::InvalidArgument);
    let message = error.status().map(|status| status.message.to_lowercase()).unwrap_or_default();
    refused && (message.contains("crc32c") || message.contains("checksum"))
}

/// A transient error of our own finding.
pub fn broken(operation: &'static str, key: &str, reason: String) -> StoreError {
    StoreError::Transient { operation, key: key.to_owned(), source: reason.into() }
}

fn precondition_failed(error: &Error) -> bool {
    error.http_status_code() == Some(412)
        || matches!(code(error), Some(Code::FailedPrecondition | Code::AlreadyExists | Code::Aborted))
}

fn needs_a_person(error: &Error) -> bool {
    matches!(error.http_status_code(), Some(400 | 401 | 403))
        || error.is_authentication()
        || matches!(code(error), Some(Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument))
}

fn code(error: &Error) -> Option<Code> {
    error.status().map(|status| status.code)
}
