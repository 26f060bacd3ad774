//! Whole-system tests and the consistency check.
