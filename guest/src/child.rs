//! A process that is watched: its end is an event, and its group can be signalled.

use crate::procfs;
use crate::reactor::{Interest, Key, Reactor, Watched};
use crate::sys;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use roost_proto::link::Exit;
use roost_proto::local::ProcessId;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// A process, ours or adopted.
#[derive(Debug)]
pub struct Child {
    id: ProcessId,
    pidfd: Watched,
    /// How it ended, when process 1 reaped it among others.
    reaped: Option<Exit>,
}

impl Child {
    /// Watches the child `pid` that was just started: its number cannot be another's before we wait for it.
    pub fn started(reactor: &mut Reactor, pid: i32) -> io::Result<Self> {
        let pidfd = reactor.watch(sys::pidfd_open(pid)?, Interest::EPOLLIN)?;
        let id = procfs::identify(pid).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { id, pidfd, reaped: None })
    }

    /// Watches `id`, which somebody else started, if it still lives.
    pub fn adopted(reactor: &mut Reactor, id: ProcessId) -> Option<Self> {
        let pidfd = sys::pidfd_open(id.pid).ok()?;
        // Only now, with the descriptor held, does the number surely mean one process.
        if !procfs::is_alive(id) {
            return None;
        }
        let pidfd = reactor.watch(pidfd, Interest::EPOLLIN).ok()?;
        Some(Self { id, pidfd, reaped: None })
    }

    /// Who it is.
    pub const fn id(&self) -> ProcessId {
        self.id
    }

    /// The key of its end.
    pub const fn key(&self) -> Key {
        self.pidfd.key()
    }

    /// Process 1 has reaped it.
    pub fn was_reaped(&mut self, status: ExitStatus) {
        self.reaped = Some(exit(status));
    }

    /// How it ended, now that its pidfd says so. What is no child of ours tells nobody but its parent.
    pub fn end(self) -> Exit {
        self.reaped
            .or_else(|| sys::reap(self.id.pid).map(|(_, status)| exit(status)))
            .unwrap_or(Exit::Unknown)
    }

    /// Sends `signal` to all of its process group.
    pub fn signal(&self, signal: i32) -> nix::Result<()> {
        signal_group(self.id.pid, signal)
    }
}

/// Sends `signal` to the process group `group`.
pub fn signal_group(group: i32, signal: i32) -> nix::Result<()> {
    assert!(group > 1, "a process group of ours is led by a child of ours");
    let signal = Signal::try_from(signal)?;
    nix::sys::signal::killpg(Pid::from_raw(group), signal)
}

/// Kills what is left of the group of a leader that has ended and was waited for. While one member lives, no new process gets
/// the leader's number; so when there is a process of that number, the group is empty and the number another's.
pub fn kill_remains(group: i32) -> Remains {
    if procfs::stat(group).is_some() {
        return Remains::Nothing;
    }
    match signal_group(group, libc::SIGKILL) {
        Err(Errno::ESRCH) => Remains::Nothing,
        _ => Remains::Dying,
    }
}

/// What is left of a process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remains {
    /// No process.
    Nothing,
    /// Processes that were killed, and may take a moment to end.
    Dying,
}

/// How a process ended, in the words of the link.
pub fn exit(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Unknown,
    }
}
