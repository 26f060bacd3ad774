//! The importer's tests, one binary so that it is linked once.

mod common;
mod disk;
mod faults;
mod foreign;
mod foreign_archives;
mod hostile;
mod hostile_list;
mod init;
mod kill;
mod no_holes;
mod restore;
mod rotation;
mod tls;
mod update;
mod verify;
