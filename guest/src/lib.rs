//! The sub-cluster controller.

pub mod config;
pub mod subcluster;
