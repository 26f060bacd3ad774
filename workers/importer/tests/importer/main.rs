//! The importer's tests, one binary so that it is linked once.

mod common;
mod disk;
mod faults;
mod hostile;
mod kill;
mod restore;
mod update;
mod verify;
