//! The host side of Roost: everything behind `roostd` and `roost`.

pub mod cli;
pub mod config;
pub mod daemon;
pub mod driver;
pub mod engine;
pub mod metrics;
pub mod store;
#[allow(unsafe_code)]
pub mod sys;
