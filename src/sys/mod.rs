//! The only unsafe code of the host: calls of the system's and of libvirt's that nobody wraps.

pub mod libvirt;
pub mod memory;
pub mod process;
pub mod socket;
pub mod watchdog;
