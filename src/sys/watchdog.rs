//! The ioctls of watchdog devices, from linux/watchdog.h.

use nix::libc;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct watchdog_info`.
#[repr(C)]
#[derive(Debug, Default)]
struct Info {
    options: u32,
    firmware: u32,
    identity: [u8; 32],
}

/// `WDIOF_MAGICCLOSE`: the device is disarmed by a close only after the letter V was written to it.
const MAGIC_CLOSE: u32 = 0x0100;

mod raw {
    use super::{Info, libc};
    nix::ioctl_read!(get_support, b'W', 0, Info);
    nix::ioctl_readwrite!(set_timeout, b'W', 6, libc::c_int);
    nix::ioctl_read!(get_timeout, b'W', 7, libc::c_int);
    nix::ioctl_read!(set_options, b'W', 4, libc::c_int); // it is declared so, and reads
}

/// `WDIOS_DISABLECARD`.
const DISABLE: libc::c_int = 1;

/// Stops the device; one that was loaded with `nowayout` refuses that (`EBUSY`), and goes on.
pub fn stop(device: BorrowedFd<'_>) -> nix::Result<()> {
    let mut options = DISABLE;
    // SAFETY: the descriptor is open, and `options` is an int that the kernel reads.
    unsafe { raw::set_options(device.as_raw_fd(), &raw mut options) }?;
    Ok(())
}

/// Whether the device stays armed when whoever opened it dies.
pub fn has_magic_close(device: BorrowedFd<'_>) -> nix::Result<bool> {
    let mut info = Info::default();
    // SAFETY: the descriptor is open, and `info` is what the kernel fills in.
    unsafe { raw::get_support(device.as_raw_fd(), &raw mut info) }?;
    Ok(info.options & MAGIC_CLOSE != 0)
}

/// Sets the time after which an unfed device resets the machine, in seconds; the device may choose another.
pub fn set_timeout(device: BorrowedFd<'_>, seconds: i32) -> nix::Result<()> {
    let mut seconds = seconds;
    // SAFETY: the descriptor is open, and `seconds` is an int that the kernel reads and writes.
    unsafe { raw::set_timeout(device.as_raw_fd(), &raw mut seconds) }?;
    Ok(())
}

/// The time after which an unfed device resets the machine, in seconds.
pub fn timeout(device: BorrowedFd<'_>) -> nix::Result<i32> {
    let mut seconds = 0;
    // SAFETY: the descriptor is open, and `seconds` is an int that the kernel writes.
    unsafe { raw::get_timeout(device.as_raw_fd(), &raw mut seconds) }?;
    Ok(seconds)
}
