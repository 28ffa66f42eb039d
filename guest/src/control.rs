//! The control socket: what `roost-guest status`, `freeze` and `thaw` speak to. One request a connection; only root can open it.

use crate::reactor::{Interest, Key, Reactor, Watched};
use core::time::Duration;
use nix::unistd::{read, write};
use roost_proto::frame::{Decoder, encode};
use roost_proto::local::{Reply, Request};
use roost_proto::time::Instant;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// Clients at once, at most; others wait in the kernel's queue. Each may have a full status, so they are few.
const MAX_CLIENTS: usize = 4;
/// A client that has not asked, or not read its answer, by then is cut off.
const PATIENCE: Duration = Duration::from_secs(5);

/// The socket and its clients.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    listening: Listening,
    /// A copy of the listener's descriptor that the reactor holds.
    watched: Watched,
    clients: Vec<Client>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listening {
    Yes,
    /// There is no room for another client.
    Paused,
}

#[derive(Debug)]
struct Client {
    socket: Watched,
    stage: Stage,
    until: Instant,
}

#[derive(Debug)]
enum Stage {
    Asking(Decoder),
    /// The answer's rest.
    Answering(Vec<u8>),
    Done,
}

/// Who answers.
pub trait Answer {
    /// All replies to `request`, the last of which is no group.
    fn answer(&mut self, request: Request) -> Vec<Reply>;
}

impl Control {
    /// Listens at `path`; a socket that an earlier controller left is replaced.
    pub fn open(reactor: &mut Reactor, path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?; // the run directory is root's alone until the next line, too
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let watched = reactor.watch(listener.try_clone()?, Interest::EPOLLIN)?;
        Ok(Self { listener, listening: Listening::Yes, watched, clients: Vec::new() })
    }

    /// When [`Control::turn`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.clients.iter().map(|client| client.until).min()
    }

    /// Cuts off who takes too long.
    pub fn turn(&mut self, now: Instant, reactor: &Reactor) {
        self.clients.retain(|client| client.until > now);
        self.listen(reactor);
    }

    /// Handles `key`, if it belongs to the socket or a client; says whether it did.
    pub fn ready(&mut self, now: Instant, key: Key, reactor: &mut Reactor, answer: &mut dyn Answer) -> bool {
        if key == self.watched.key() {
            self.accept(now, reactor);
        } else if let Some(client) = self.clients.iter_mut().find(|client| client.socket.key() == key) {
            client.advance(reactor, answer);
            self.clients.retain(|client| !matches!(client.stage, Stage::Done));
        } else {
            return false;
        }
        self.listen(reactor);
        true
    }

    fn accept(&mut self, now: Instant, reactor: &mut Reactor) {
        if self.clients.len() < MAX_CLIENTS
            && let Ok((socket, _)) = self.listener.accept()
            && socket.set_nonblocking(true).is_ok()
            && let Ok(socket) = reactor.watch(socket, Interest::EPOLLIN)
        {
            let stage = Stage::Asking(Decoder::default());
            self.clients.push(Client { socket, stage, until: now + PATIENCE });
        }
    }

    /// Listens while there is room.
    fn listen(&mut self, reactor: &Reactor) {
        let wanted = if self.clients.len() < MAX_CLIENTS { Listening::Yes } else { Listening::Paused };
        let interest = match wanted {
            Listening::Yes => Interest::EPOLLIN,
            Listening::Paused => Interest::empty(),
        };
        if wanted != self.listening && reactor.change(&self.watched, interest).is_ok() {
            self.listening = wanted;
        }
    }
}

impl Client {
    fn advance(&mut self, reactor: &Reactor, answer: &mut dyn Answer) {
        let result = match &mut self.stage {
            Stage::Asking(_) => self.ask(reactor, answer),
            Stage::Answering(_) => self.send(),
            Stage::Done => Ok(()),
        };
        if result.is_err() {
            self.stage = Stage::Done; // it hears nothing any more
        }
    }

    fn ask(&mut self, reactor: &Reactor, answer: &mut dyn Answer) -> io::Result<()> {
        let Stage::Asking(decoder) = &mut self.stage else { return Ok(()) };
        let mut piece = [0; 256]; // larger than any request
        let count = match read(&self.socket, &mut piece) {
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Ok(()),
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            result => result?,
        };
        decoder.push(&piece[..count]);
        let replies = match decoder.next::<Request>() {
            Ok(None) => return Ok(()),
            Ok(Some(request)) => answer.answer(request),
            Err(error) => vec![Reply::Refused { reason: format!("it was sent {error}") }],
        };
        let mut out = Vec::new();
        for reply in replies {
            encode(&reply, &mut out).map_err(io::Error::other)?;
        }
        self.stage = Stage::Answering(out);
        reactor.change(&self.socket, Interest::EPOLLOUT)?;
        self.send()
    }

    fn send(&mut self) -> io::Result<()> {
        let Stage::Answering(rest) = &mut self.stage else { return Ok(()) };
        match write(&self.socket, rest) {
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Ok(()),
            result => drop(rest.drain(..result?)),
        }
        if rest.is_empty() {
            self.stage = Stage::Done;
        }
        Ok(())
    }
}
