//! Logs for a person on a terminal and for Cloud Logging elsewhere.
