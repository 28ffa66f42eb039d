//! Sockets, where neither the standard library nor nix has a safe call.

use nix::sys::socket::{SockFlag, accept4};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Groups of a peer that are looked at, at most; Linux allows 65,536, and no person is in so many.
const MAX_GROUPS: usize = 4096;

/// Takes a connection, non-blocking and not inherited by children.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let fd = accept4(listener.as_raw_fd(), SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: accept4 has just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The supplementary groups of the process at the other end of a Unix socket, when it connected (`SO_PEERGROUPS`,
/// unix(7), Linux 4.13).
pub fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; MAX_GROUPS];
    let mut bytes = libc::socklen_t::try_from(core::mem::size_of_val(groups.as_slice())).expect("16 KiB");
    // SAFETY: the buffer is as long as `bytes` says, and gid_t is a u32.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(bytes as usize / core::mem::size_of::<u32>());
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_peer_is_asked_for_its_groups() {
        let (here, _there) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let groups = peer_groups(here.as_fd()).expect("Linux 4.13 or later");
        let own = nix::unistd::getgroups().expect("our own");
        assert_eq!(groups, own.iter().map(|gid| gid.as_raw()).collect::<Vec<_>>());
    }
}
