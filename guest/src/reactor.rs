//! Waiting for descriptors: epoll(7), level-triggered, each descriptor known by a key that is never used twice, so that an
//! event of something that is gone already cannot be taken for one of something new.

use core::time::Duration;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollTimeout};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

pub use nix::sys::epoll::EpollFlags as Interest;

/// Events that are taken at once; the others come with the next wait, and none is left behind for long.
const BATCH: usize = 32;

/// What tells one watched descriptor from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(u64);

/// The descriptors that are waited for.
#[derive(Debug)]
pub struct Reactor {
    epoll: Epoll,
    next: u64,
}

/// A descriptor that is waited for until this is dropped: closing it ends that by itself, as no copy of it exists.
#[derive(Debug)]
pub struct Watched {
    fd: OwnedFd,
    key: Key,
}

impl Watched {
    /// Its key.
    pub const fn key(&self) -> Key {
        self.key
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Reactor {
    /// Waits for nothing yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?, next: 1 })
    }

    /// Waits for `fd` from now on.
    pub fn watch(&mut self, fd: impl Into<OwnedFd>, interest: Interest) -> io::Result<Watched> {
        let watched = Watched { fd: fd.into(), key: Key(self.next) };
        self.next += 1;
        self.epoll.add(&watched, EpollEvent::new(interest, watched.key.0))?;
        Ok(watched)
    }

    /// Waits for other events of `watched`.
    pub fn change(&self, watched: &Watched, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.modify(watched, &mut EpollEvent::new(interest, watched.key.0))?)
    }

    /// Waits for an event, at most for `limit` (rounded up to a millisecond, so that nothing is ever too early), and adds
    /// what is ready to `ready`. A signal ends it early.
    pub fn wait(&self, limit: Option<Duration>, ready: &mut Vec<(Key, Interest)>) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); BATCH];
        let timeout = limit.map_or(EpollTimeout::NONE, |limit| {
            let ms = i32::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
            EpollTimeout::try_from(ms).unwrap_or(EpollTimeout::MAX)
        });
        match self.epoll.wait(&mut events, timeout) {
            Ok(count) => {
                ready.extend(events[..count].iter().map(|event| (Key(event.data()), event.events())));
                Ok(())
            }
            Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_ready_is_told_and_what_is_dropped_is_not() {
        let mut reactor = Reactor::new().expect("epoll");
        let mut ready = Vec::new();
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let watched = reactor.watch(reader, Interest::EPOLLIN).expect("watched");
        reactor.wait(Some(Duration::ZERO), &mut ready).expect("no wait");
        assert!(ready.is_empty());
        writer.write_all(b"x").expect("room");
        reactor.wait(Some(Duration::from_secs(10)), &mut ready).expect("no wait");
        assert_eq!(ready, [(watched.key(), Interest::EPOLLIN)]);
        ready.clear();
        drop(watched);
        reactor.wait(Some(Duration::ZERO), &mut ready).expect("no wait");
        assert!(ready.is_empty());
    }
}
