//! The publisher on memory adapters: its handler, its retention and its site.

mod common;
mod handler;
mod hosts;
mod keys;
mod retention;
mod site;
mod trees;
