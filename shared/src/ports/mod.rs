//! The ports that more than one worker uses, in our own types only.

pub mod chain_database;
pub mod object_store;
pub mod queue;
