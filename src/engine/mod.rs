//! Every decision of the host, as pure machines: no I/O, no clock, no thread.

pub mod vm;
