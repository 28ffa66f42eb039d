//! Processes, held by descriptors that never mean another one: pidfd_open(2), pidfd_send_signal(2).

use core::time::Duration;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Instant;

/// A descriptor of process `pid`, which becomes readable when all of its threads have ended (Linux 5.3).
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    let (pid, no_flags): (libc::c_long, libc::c_long) = (pid.into(), 0);
    // SAFETY: the call takes two numbers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, no_flags) };
    let fd = RawFd::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether the process that `pidfd` holds ends within `limit`. It is not waited for: its number means no other process yet.
pub fn ends_within(pidfd: BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
    let until = Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let millis = left.as_nanos().div_ceil(1_000_000);
        let wait = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], wait) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends a signal to the process that `pidfd` holds, and to no other (Linux 5.1).
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    let (fd, signal): (libc::c_long, libc::c_long) = (pidfd.as_raw_fd().into(), (signal as i32).into());
    let no_info = core::ptr::null::<libc::siginfo_t>();
    let no_flags: libc::c_long = 0;
    // SAFETY: without information about the signal the call reads no memory of ours, and it writes none.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, no_info, no_flags) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::process::Command;

    #[test]
    fn a_process_is_ended_by_its_descriptor_which_tells_so() {
        let mut child = Command::new("sleep").arg("100").spawn().expect("a child");
        let pidfd = pidfd_open(child.id().cast_signed()).expect("a pidfd");
        let ends = |limit| ends_within(pidfd.as_fd(), limit).expect("it is looked at");
        assert!(!ends(Duration::ZERO));
        pidfd_send_signal(pidfd.as_fd(), Signal::SIGKILL).expect("it is our own child");
        assert!(ends(Duration::from_secs(20)), "it has ended, and nobody has waited for it yet");
        child.wait().expect("it ended");
        let gone = pidfd_send_signal(pidfd.as_fd(), Signal::SIGKILL).map_err(|error| error.raw_os_error());
        assert_eq!(gone, Err(Some(libc::ESRCH)));
    }
}
