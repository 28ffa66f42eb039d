//! What neither the standard library nor `nix` offers: the only unsafe code of this crate.

#![allow(unsafe_code)]

use libc::{c_int, c_long, c_uint};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

/// A descriptor that becomes readable when process `pid` ends: see pidfd_open(2), Linux 5.3 and later.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    let (pid, no_flags): (c_long, c_long) = (pid.into(), 0);
    // SAFETY: the call takes two numbers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, no_flags) };
    let fd = RawFd::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has every descriptor from `first` up closed when a program is executed: see close_range(2), Linux 5.11 and later.
pub fn close_on_exec_from(first: c_uint) -> io::Result<()> {
    let (first, last): (c_long, c_long) = (first.into(), c_uint::MAX.into());
    let flags: c_long = libc::CLOSE_RANGE_CLOEXEC.into();
    // SAFETY: it sets a flag of descriptors, and neither closes nor replaces one.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// So many random bytes, see getrandom(2). Right after the first boot of a machine the kernel may have too little chance for it yet;
/// that is an error, and not waited for.
pub fn random<const LEN: usize>() -> io::Result<[u8; LEN]> {
    let mut bytes = [0; LEN];
    // SAFETY: the kernel writes at most as many bytes as it is told, to an array of ours that is as long.
    let count = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), LEN, libc::GRND_NONBLOCK) };
    match usize::try_from(count) {
        Ok(count) if count == LEN => Ok(bytes), // always whole up to 256 bytes
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// A child that has ended and was not waited for: its number, and how it ended. `pid` -1 means any child.
/// `None`: there is none now.
pub fn reap(pid: i32) -> Option<(i32, ExitStatus)> {
    let mut status: c_int = 0;
    loop {
        // SAFETY: the kernel writes one int, to `status`, which outlives the call.
        let reaped = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
        match reaped {
            0 => return None,
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return None,
            reaped => return Some((reaped, ExitStatus::from_raw(status))),
        }
    }
}

/// Has `prepare` run in the child between fork and exec. An error from it is what spawning then fails with.
///
/// This process has one thread, so the child of a fork may do all that its parent may.
pub fn before_exec<F>(command: &mut Command, prepare: F)
where
    F: FnMut() -> io::Result<()> + Send + Sync + 'static,
{
    // SAFETY: with one thread no lock can be held by another across the fork, so even allocation is safe in the child.
    unsafe { command.pre_exec(prepare) };
}

/// Every signal back to what it does by default, for this process and for what it starts: a parent may have had some ignored.
pub fn default_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: the default action is no handler of ours; numbers that are reserved or fixed are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: ignoring is no handler of ours; a peer that went away is told by an error of write(2).
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// The unwinder that the standard library is linked with, replaced by one that finds an empty stack. The released program aborts on
/// a panic, after its message and place; it is stripped, so a backtrace would have no names to show. Without this the unwinder
/// and a reader of debug information make up a third of the program.
#[cfg(all(target_env = "musl", panic = "abort"))]
mod no_unwinder {
    use core::ffi::{c_int, c_void};

    /// `_URC_END_OF_STACK` of the Itanium C++ ABI, which these functions are of.
    const END_OF_STACK: c_int = 5;

    // SAFETY: the signature is that of the function it replaces; it calls nobody back, as for an empty stack.
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Backtrace(_step: *const c_void, _argument: *mut c_void) -> c_int {
        END_OF_STACK
    }

    // SAFETY: reached only while a stack is unwound, which a program that aborts on a panic never does.
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Resume(_exception: *mut c_void) -> ! {
        std::process::abort()
    }

    /// Functions that are asked about a frame of the stack, of which there is none.
    macro_rules! about_no_frame {
        ($($name:ident($($argument:ident: $type:ty),*);)*) => {$(
            // SAFETY: the arguments are those of the function it replaces, and are left alone. Without a frame nobody calls it.
            #[unsafe(no_mangle)]
            extern "C" fn $name($($argument: $type),*) -> usize {
                0
            }
        )*};
    }

    about_no_frame! {
        _Unwind_GetIPInfo(_context: *mut c_void, _before: *mut c_int);
        _Unwind_GetCFA(_context: *mut c_void);
        _Unwind_FindEnclosingFunction(_address: *mut c_void);
        _Unwind_GetTextRelBase(_context: *mut c_void);
        _Unwind_GetDataRelBase(_context: *mut c_void);
        _Unwind_GetLanguageSpecificData(_context: *mut c_void);
        _Unwind_GetRegionStart(_context: *mut c_void);
        _Unwind_SetGR(_context: *mut c_void, _register: c_int, _value: usize);
        _Unwind_SetIP(_context: *mut c_void, _value: usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, poll};
    use std::os::fd::AsFd;
    use std::process::Stdio;

    #[test]
    fn a_pidfd_tells_of_the_end_and_the_child_is_reaped_once() {
        #[expect(clippy::zombie_processes, reason = "waiting for it is what is tested")]
        let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().expect("cat(1)");
        let pid = i32::try_from(child.id()).expect("a pid");
        let pidfd = pidfd_open(pid).expect("a pidfd");
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, 0_u8), Ok(0), "it lives");
        assert_eq!(reap(pid), None);
        drop(child.stdin.take());
        assert_eq!(poll(&mut fds, 10_000_u16), Ok(1), "it ended");
        let (reaped, status) = reap(pid).expect("there to be reaped");
        assert_eq!((reaped, status.code()), (pid, Some(0)));
        assert_eq!(reap(pid), None);
    }

    #[test]
    fn there_is_no_pidfd_of_nobody() {
        assert_eq!(pidfd_open(0).map_err(|e| e.kind()).err(), Some(io::ErrorKind::InvalidInput));
    }
}
