//! The command as people and scripts meet it: the built binary, its files, its web server.

mod bad_input;
mod before_a_restore;
mod config;
mod cycle;
mod docs;
mod existing;
mod export_blocks;
mod full_disk;
mod import_blocks;
mod killed;
mod messages;
mod permission;
mod published;
mod rotation;
mod stock_tools;
mod support;
mod web;
