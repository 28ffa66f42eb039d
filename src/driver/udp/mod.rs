//! Datagrams between hosts.

pub mod keys;
pub mod replay;
pub mod seal;
