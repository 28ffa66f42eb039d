//! Every message that crosses a wire or a file in Roost, with its limits and its frozen bytes, and the
//! arithmetic that both sides must agree on: time, names, and attempts in a window.
//!
//! The crate does no I/O, reads no clock and draws no random number: time and seeds are arguments.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod cluster;
pub mod control;
pub mod exit;
pub mod frame;
pub mod insight;
pub mod key;
pub mod link;
pub mod local;
pub mod name;
pub mod retry;
pub mod sealed;
pub mod state;
pub mod text;
pub mod time;
