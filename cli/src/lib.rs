//! The polkashots command.
