//! A program that is run for one operation, and its end waited for: an OCF agent, an init script, systemctl(1), mount(8).
//!
//! Its end is the end of its process, and not that of its output: a service that it started may hold that open for ever.

use crate::child::Child;
use crate::reactor::{Interest, Key, Reactor, Watched};
use crate::spawn::{Origin, SpawnError, Spec, reason};
use crate::sys;
use crate::tail::Tail;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::read;
use roost_proto::link::Exit;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

/// A running one.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    /// `None` once every writer has closed it.
    output: Option<Watched>,
    tail: Tail,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Its exit status.
    pub exit: Exit,
    /// The last of what it wrote.
    pub output: String,
}

struct Pipe<'a>(&'a Watched);

impl Read for Pipe<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(read(self.0, buffer)?)
    }
}

impl Agent {
    /// Starts `spec`.
    pub fn start(reactor: &mut Reactor, origin: &Origin, spec: &Spec) -> Result<Self, SpawnError> {
        let failed =
            |error: &io::Error| SpawnError::Failed(format!("cannot start an agent: {}", reason(error)));
        let (reader, writer) = std::io::pipe().map_err(|error| failed(&error))?;
        let reader = OwnedFd::from(reader);
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|error| failed(&error.into()))?;
        let output = reactor.watch(reader, Interest::EPOLLIN).map_err(|error| failed(&error))?;
        let pid = origin.spawn(spec, writer.into())?;
        match Child::started(reactor, pid) {
            Ok(child) => Ok(Self { child, output: Some(output), tail: Tail::default() }),
            Err(error) => {
                disown(pid);
                Err(failed(&error))
            }
        }
    }

    /// The process.
    pub const fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether `key` is the end of its process.
    pub fn ends_with(&self, key: Key) -> bool {
        self.child.key() == key
    }

    /// Whether `key` is its output.
    pub fn writes_to(&self, key: Key) -> bool {
        self.output.as_ref().is_some_and(|output| output.key() == key)
    }

    /// Reads what it wrote; `hung_up` when nobody has the other end any more.
    pub fn read(&mut self, hung_up: bool) {
        if let Some(output) = &self.output
            && (self.tail.fill(Pipe(output)).is_err() || hung_up)
        {
            self.output = None;
        }
    }

    /// The last of what it wrote so far.
    pub fn output(&self) -> String {
        self.tail.text()
    }

    /// Kills it with its process group.
    pub fn kill(&self) {
        let _ = self.child.signal(libc::SIGKILL); // gone is what it should be
    }

    /// Its process has ended.
    pub fn end(mut self) -> End {
        self.read(false);
        End { exit: self.child.end(), output: self.tail.text() }
    }
}

/// A child that cannot be watched is not left running. It is reaped when process 1 or nobody needs its number any more.
pub fn disown(pid: i32) {
    let _ = crate::child::signal_group(pid, libc::SIGKILL); // there may be nothing left to kill
    let _ = sys::reap(pid); // it may not have ended yet: then it stays a zombie, which harms nobody
}
