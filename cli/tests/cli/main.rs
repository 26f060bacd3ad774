//! The command as people and scripts meet it: the built binary, its files, its web server.

mod bad_input;
mod config;
mod cycle;
mod docs;
mod full_disk;
mod killed;
mod messages;
mod permission;
mod rotation;
mod stock_tools;
mod support;
mod web;
