//! What `roostd` tells systemd, by the protocol of sd_notify(3): datagrams to the socket that `NOTIFY_SOCKET` names.

use core::time::Duration;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, sendto, socket};
use std::os::fd::{AsRawFd, OwnedFd};

/// systemd, or nobody.
pub struct Systemd {
    socket: Option<(OwnedFd, UnixAddr)>,
    watchdog: Option<Duration>,
}

impl Systemd {
    /// Reads the environment that systemd gives.
    pub fn from_environment() -> Self {
        let address = std::env::var("NOTIFY_SOCKET").ok().and_then(|path| match path.strip_prefix('@') {
            Some(name) => UnixAddr::new_abstract(name.as_bytes()).ok(),
            None => UnixAddr::new(path.as_str()).ok(),
        });
        let open = || {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            socket(AddressFamily::Unix, SockType::Datagram, flags, None).ok()
        };
        let watchdog =
            std::env::var("WATCHDOG_USEC").ok().and_then(|us| us.parse().ok()).map(Duration::from_micros);
        Self { socket: address.and_then(|address| Some((open()?, address))), watchdog }
    }

    /// Says `words`, as `READY=1`. Never waits; that systemd does not listen is no reason to stop.
    pub fn say(&self, words: &str) {
        if let Some((socket, address)) = &self.socket {
            let _ = sendto(socket.as_raw_fd(), words.as_bytes(), address, MsgFlags::empty());
        }
    }

    /// Whether this was started by systemd.
    pub const fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// How often systemd wants to hear `WATCHDOG=1`: twice within its limit.
    pub fn beat(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }
}
