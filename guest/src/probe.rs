//! Looking at a service over TCP or HTTP, without waiting: a connection is begun, and its events do the rest.

use crate::config::{Http, Kind};
use crate::kinds::http::{Ended, MAX_HEAD, outcome, request};
use crate::kinds::words;
use crate::reactor::{Interest, Key, Reactor, Watched};
use crate::spawn::reason;
use crate::subcluster::Outcome;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, SockaddrIn6, connect, getsockopt, recv, send,
    socket, sockopt,
};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// One look.
#[derive(Debug)]
pub struct Probe {
    socket: Watched,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Connecting,
    /// The request's rest.
    Sending(Vec<u8>),
    /// The answer's head so far.
    Receiving(Vec<u8>),
}

/// How beginning went.
#[derive(Debug)]
pub enum Begun {
    /// Events will tell.
    Running(Probe),
    /// It is over already.
    Done(Outcome),
}

impl Probe {
    /// Begins to look at `kind`, which is `tcp` or `http`.
    pub fn begin(reactor: &mut Reactor, kind: &Kind) -> Begun {
        let address = match kind {
            Kind::Tcp { address } => *address,
            Kind::Http(http) => http.address,
            _ => unreachable!("only these are looked at over the network"),
        };
        let refused = |error: &io::Error| {
            Begun::Done(Outcome::Failed(words(format!("cannot connect to {address}: {}", reason(error)))))
        };
        match open(address) {
            Ok(socket) => match reactor.watch(socket, Interest::EPOLLOUT) {
                Ok(socket) => Begun::Running(Self { socket, stage: Stage::Connecting }),
                Err(error) => refused(&error),
            },
            Err(error) => refused(&error.into()),
        }
    }

    /// Whether `key` is its socket's.
    pub fn owns(&self, key: Key) -> bool {
        self.socket.key() == key
    }

    /// Its socket has something to say: how it ended, if it did.
    pub fn advance(&mut self, reactor: &Reactor, kind: &Kind) -> Option<Outcome> {
        let address = match kind {
            Kind::Http(http) => http.address,
            Kind::Tcp { address } => *address,
            _ => unreachable!("only these are looked at over the network"),
        };
        let result = match kind {
            Kind::Http(http) => self.converse(reactor, http),
            _ => self.connected().map(|()| Some(Outcome::Running)),
        };
        result.unwrap_or_else(|error| {
            Some(Outcome::Failed(words(format!("{address} does not answer: {}", reason(&error.into())))))
        })
    }

    fn connected(&self) -> nix::Result<()> {
        match getsockopt(&self.socket, sockopt::SocketError)? {
            0 => Ok(()),
            error => Err(Errno::from_raw(error)),
        }
    }

    fn converse(&mut self, reactor: &Reactor, http: &Http) -> nix::Result<Option<Outcome>> {
        if matches!(self.stage, Stage::Connecting) {
            self.connected()?;
            self.stage = Stage::Sending(request(http).into_bytes());
        }
        let fd = self.socket_fd();
        if let Stage::Sending(rest) = &mut self.stage {
            let sent = unless_blocked(send(fd, rest, MsgFlags::MSG_NOSIGNAL))?;
            rest.drain(..sent.unwrap_or(0));
            if rest.is_empty() {
                self.stage = Stage::Receiving(Vec::new());
                reactor.change(&self.socket, Interest::EPOLLIN).map_err(|_| Errno::EIO)?;
            }
            return Ok(None);
        }
        self.receive(http)
    }

    fn receive(&mut self, http: &Http) -> nix::Result<Option<Outcome>> {
        let fd = self.socket_fd();
        let Stage::Receiving(head) = &mut self.stage else { return Ok(None) };
        let mut piece = [0; 512];
        let room = (MAX_HEAD - head.len()).min(piece.len());
        match unless_blocked(recv(fd, &mut piece[..room], MsgFlags::empty()))? {
            None => Ok(None),
            Some(0) => Ok(outcome(http, head, Ended::Yes)),
            Some(count) => {
                head.extend_from_slice(&piece[..count]);
                Ok(outcome(http, head, Ended::No))
            }
        }
    }

    fn socket_fd(&self) -> i32 {
        self.socket.as_fd().as_raw_fd()
    }
}

fn unless_blocked(result: nix::Result<usize>) -> nix::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(error) => Err(error),
    }
}

fn open(address: SocketAddr) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, flags, None)?;
    let result = match address {
        SocketAddr::V4(v4) => connect(fd.as_raw_fd(), &SockaddrIn::from(v4)),
        SocketAddr::V6(v6) => connect(fd.as_raw_fd(), &SockaddrIn6::from(v6)),
    };
    match result {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd),
        Err(error) => Err(error),
    }
}
