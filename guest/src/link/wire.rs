//! One connection to the host: a socket, the frames that come in, and what waits to go out.
//!
//! What waits is bounded by what there is: one frame, the latest report of each group, and the answers to a few questions. A host
//! that reads slowly misses what a group was in between, and never what it is.

use super::key;
use super::machine::{Command, Event, Machine, Search};
use crate::config::{Link, Tcp};
use crate::procfs::host_name;
use crate::reactor::{Interest, Key, Reactor, Watched};
use crate::spawn::reason;
use crate::subcluster::{Input, Report, SubCluster};
use crate::sys::random;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, VsockAddr, bind,
    connect, getsockopt, recv, send, setsockopt, socket, sockopt,
};
use roost_proto::frame::{Decoder, encode};
use roost_proto::link::{
    GuestMessage, Hello, LINK_PORT, MAX_GROUPS, ORDERS_SINCE, PRIVILEGED_PORTS, Readiness,
};
use roost_proto::local::LinkStatus;
use roost_proto::name::{NAME_RULE, is_name};
use roost_proto::sealed::{Caller, Session};
use roost_proto::time::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// The host, see vsock(7).
const HOST_CID: u32 = libc::VMADDR_CID_HOST;

/// The lowest source port that is tried: those below belong to services, as on any other network.
const LOWEST_PORT: u32 = 512;

/// Bytes that are read at once: the host has little to say.
const PIECE: usize = 1024;
/// Bytes that are read before others have their turn.
const TURN: usize = 8 * PIECE;

/// Answers to the host's questions that wait to be sent, at most; it has one question about each group as a rule. The oldest is
/// dropped: who asks without reading gives an old one up anyway.
const MAX_ANSWERS: usize = 2 * MAX_GROUPS;

/// The link.
#[derive(Debug)]
pub struct Wire {
    transport: Link,
    machine: Machine,
    conn: Option<Conn>,
    /// The source port that is tried next.
    next_port: u32,
}

/// How far a connection is, and how what is said on it stands in its bytes.
#[derive(Debug)]
enum Line {
    /// The kernel is making it. If it is to be sealed, this greets then.
    Dialing(Option<Caller>),
    /// The host has to greet.
    Greeting(Caller),
    Plain,
    Sealed(Session),
}

#[derive(Debug)]
struct Conn {
    socket: Watched,
    line: Line,
    decoder: Decoder,
    /// A frame, or the rest of one.
    out: Vec<u8>,
    interest: Interest,
    /// `None` until a snapshot is wanted.
    news: Option<News>,
}

/// What the host is to be told.
#[derive(Debug)]
struct News {
    /// The version of the link.
    version: u16,
    /// The rest of a snapshot. The host counts its groups, so nothing else may come between.
    snapshot: VecDeque<Report>,
    /// What changed since.
    changed: BTreeMap<String, Report>,
    answers: VecDeque<GuestMessage>,
}

/// What the link needs to know of the controller when it acts.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// Waits for the socket.
    pub reactor: &'a mut Reactor,
    /// The greeting.
    pub hello: &'a Hello,
    /// The groups: asked for a snapshot, and told what the host orders. It must have no output left, for that would be older than
    /// the snapshot, and sent after it.
    pub groups: &'a mut SubCluster,
}

impl Wire {
    /// A link over `transport`, which must not be [`Link::None`].
    pub fn new(transport: Link, seed: u64, now: Instant) -> Self {
        let ports = u64::from(PRIVILEGED_PORTS - LOWEST_PORT);
        let offset = u32::try_from(seed % ports).expect("less than 512");
        let search = match &transport {
            Link::Tcp(tcp) => Search::Among { hosts: tcp.hosts.clone(), at: 0, round: Vec::new() },
            Link::Vsock | Link::Unix(_) | Link::None => Search::One,
        };
        let machine = Machine::new(search, seed, now);
        Self { transport, machine, conn: None, next_port: LOWEST_PORT + offset }
    }

    /// How it is reached.
    pub const fn transport(&self) -> &Link {
        &self.transport
    }

    /// How it is, for people.
    pub fn status(&self) -> LinkStatus {
        self.machine.status()
    }

    /// Whether `key` is its socket's.
    pub fn owns(&self, key: Key) -> bool {
        self.conn.as_ref().is_some_and(|conn| conn.socket.key() == key)
    }

    /// When [`Wire::turn`] is due.
    pub fn poll_timeout(&self) -> Instant {
        self.machine.poll_timeout()
    }

    /// When the host said something last, while the link is up.
    pub const fn heard(&self) -> Option<Instant> {
        self.machine.heard()
    }

    /// A group changed.
    pub fn report(&mut self, report: Report) {
        let Some(news) = self.news() else { return };
        let name = &report.group().name;
        match news.snapshot.iter_mut().find(|waiting| waiting.group().name == *name) {
            Some(waiting) => *waiting = report,
            None => drop(news.changed.insert(name.clone(), report)),
        }
    }

    /// A question of the host is answered.
    pub fn answer(&mut self, group: String, number: u32, readiness: Readiness) {
        let Some(news) = self.news() else { return };
        if news.answers.len() == MAX_ANSWERS {
            news.answers.pop_front();
        }
        news.answers.push_back(GuestMessage::Ready { group, number, readiness });
    }

    fn news(&mut self) -> Option<&mut News> {
        self.conn.as_mut()?.news.as_mut()
    }

    /// The groups themselves are others now: the host is told all of them anew.
    pub fn renew(&mut self, groups: &SubCluster) {
        if let Some(conn) = &mut self.conn
            && let Some(news) = conn.news.take()
        {
            conn.tell_all(groups, news.version, news.answers);
        }
    }

    /// The socket has something to say.
    pub fn ready(&mut self, now: Instant, interest: Interest) {
        let Some(conn) = &mut self.conn else { return };
        if matches!(conn.line, Line::Dialing(_)) {
            let result =
                getsockopt(&conn.socket, sockopt::SocketError).map_or_else(Err, |error| match error {
                    0 => Ok(()),
                    error => Err(Errno::from_raw(error)),
                });
            match result {
                Ok(()) => self.dialed(now),
                Err(error) => self.machine.handle(now, Event::Lost { reason: reason(&error.into()) }),
            }
        } else if interest.intersects(Interest::EPOLLIN | Interest::EPOLLHUP | Interest::EPOLLERR) {
            let mut heard = Vec::new();
            let result = conn.read(&mut heard);
            for event in heard {
                self.machine.handle(now, event);
            }
            if let Err(reason) = result {
                self.machine.handle(now, Event::Lost { reason });
            }
        }
    }

    /// Does what is due, and sends what can be sent; calls `log` with what people should read.
    pub fn turn(&mut self, now: Instant, around: &mut Surroundings<'_>, mut log: impl FnMut(&str)) {
        if self.machine.poll_timeout() <= now {
            self.machine.handle_timeout(now);
        }
        loop {
            while let Some(command) = self.machine.poll_output() {
                if let Command::Log(text) = &command {
                    log(text);
                }
                self.obey(now, command, around);
            }
            self.flush(now, around.reactor);
            if !self.machine.has_output() {
                return;
            }
        }
    }

    fn obey(&mut self, now: Instant, command: Command, around: &mut Surroundings<'_>) {
        match (command, &mut self.conn) {
            (Command::Connect, _) => self.connect(now, around.reactor),
            (Command::Disconnect, _) => self.conn = None,
            (Command::Hello, Some(conn)) => conn.put(&GuestMessage::Hello(around.hello.clone())),
            (Command::Snapshot { version }, Some(conn)) => {
                around.groups.handle(now, Input::Met);
                conn.tell_all(around.groups, version, VecDeque::new());
            }
            (Command::Order(order), Some(_)) => around.groups.handle(now, Input::Order(order)),
            (Command::AskReady { group, number, circumstances }, Some(_)) => {
                around.groups.handle(now, Input::AskReady { group, number, circumstances });
            }
            (Command::Beat, Some(conn)) if conn.out.is_empty() => conn.put(&GuestMessage::Beat),
            (Command::Log(_) | Command::Beat, _)
            | (
                Command::Hello | Command::Snapshot { .. } | Command::Order(_) | Command::AskReady { .. },
                None,
            ) => {}
        }
    }

    fn connect(&mut self, now: Instant, reactor: &mut Reactor) {
        let opened = match &self.transport {
            Link::Unix(path) => {
                UnixAddr::new(path).and_then(|address| open(AddressFamily::Unix, None, &address)).map(plain)
            }
            Link::Vsock => open_vsock(&mut self.next_port).map(plain),
            Link::Tcp(tcp) => match caller(tcp) {
                Ok(caller) => {
                    let host = self.machine.host().expect("a link over TCP has hosts");
                    open_tcp(host).map(|(fd, progress)| (fd, progress, Some(caller)))
                }
                Err(reason) => return self.machine.handle(now, Event::Lost { reason }),
            },
            Link::None => unreachable!("there is no link to connect"),
        };
        let result = opened.map_err(std::io::Error::from).and_then(|(fd, progress, caller)| {
            let interest = match progress {
                Progress::Connected => Interest::EPOLLIN,
                Progress::Begun => Interest::EPOLLOUT,
            };
            Ok((Conn::new(reactor.watch(fd, interest)?, interest, caller), progress))
        });
        match result {
            Ok((conn, progress)) => {
                self.conn = Some(conn);
                if progress == Progress::Connected {
                    self.dialed(now);
                }
            }
            Err(error) => self.machine.handle(now, Event::Lost { reason: reason(&error) }),
        }
    }

    /// The kernel has made the connection.
    fn dialed(&mut self, now: Instant) {
        let Some(conn) = &mut self.conn else { return };
        let Line::Dialing(caller) = &mut conn.line else { return };
        if let Some(caller) = caller.take() {
            conn.out.extend_from_slice(caller.greeting());
            conn.line = Line::Greeting(caller);
        } else {
            conn.line = Line::Plain;
            self.machine.handle(now, Event::Connected);
        }
    }

    /// Sends what can be sent.
    pub fn flush(&mut self, now: Instant, reactor: &Reactor) {
        let Some(conn) = &mut self.conn else { return };
        if matches!(conn.line, Line::Dialing(_)) {
            return;
        }
        match conn.flush() {
            Ok(Flushed::Nothing) => {}
            Ok(Flushed::All) => self.machine.handle(now, Event::Sent),
            Ok(Flushed::Part) => self.machine.handle(now, Event::Blocked),
            Err(error) => self.machine.handle(now, Event::Lost { reason: reason(&error.into()) }),
        }
        if conn.wait_as_needed(reactor).is_err() {
            let reason = "the kernel no longer waits for its socket".to_owned();
            self.machine.handle(now, Event::Lost { reason });
        }
    }
}

/// How far sending went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flushed {
    Nothing,
    All,
    Part,
}

impl Conn {
    fn new(socket: Watched, interest: Interest, caller: Option<Caller>) -> Self {
        Self {
            socket,
            line: Line::Dialing(caller),
            decoder: Decoder::default(),
            out: Vec::new(),
            interest,
            news: None,
        }
    }

    fn fd(&self) -> RawFd {
        self.socket.as_fd().as_raw_fd()
    }

    fn put(&mut self, message: &GuestMessage) {
        let mut frame = Vec::new();
        encode(message, &mut frame).expect("reports are within the link's limits, and fit a frame");
        match &mut self.line {
            Line::Sealed(session) => session.seal(&frame, &mut self.out),
            Line::Plain | Line::Dialing(_) | Line::Greeting(_) => self.out.append(&mut frame),
        }
    }

    fn tell_all(&mut self, groups: &SubCluster, version: u16, answers: VecDeque<GuestMessage>) {
        let snapshot: VecDeque<Report> = groups.reports().into();
        let groups = u16::try_from(snapshot.len()).expect("at most MAX_GROUPS");
        // If one is half told, the host takes the new number for the end of it, and starts afresh.
        self.put(&GuestMessage::Snapshot { groups });
        self.news = Some(News { version, snapshot, changed: BTreeMap::new(), answers });
    }

    /// Reads what is there, and adds what it means.
    fn read(&mut self, heard: &mut Vec<Event>) -> Result<(), String> {
        let mut piece = [0; PIECE];
        let mut total = 0;
        while total < TURN {
            match recv(self.fd(), &mut piece, MsgFlags::empty()) {
                Ok(0) | Err(Errno::ECONNRESET) => return Err(self.closed().to_owned()),
                Ok(count) => {
                    total += count;
                    self.take_in(&piece[..count], heard)?;
                    if count < piece.len() {
                        break; // that was all
                    }
                }
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(reason(&error.into())),
            }
        }
        Ok(())
    }

    /// What it means that the host has closed the connection.
    const fn closed(&self) -> &'static str {
        match &self.line {
            Line::Greeting(_) => "it does not lead now, or watches no such machine",
            Line::Sealed(session) if !session.is_proven() => {
                "it closed the connection: is its key of this machine the same as the one here?"
            }
            Line::Sealed(_) | Line::Plain | Line::Dialing(_) => "the host closed the connection",
        }
    }

    fn take_in(&mut self, bytes: &[u8], heard: &mut Vec<Event>) -> Result<(), String> {
        let sent = |error: &dyn core::fmt::Display| format!("the host sent {error}");
        match &mut self.line {
            Line::Greeting(caller) => {
                if let Some(session) = caller.hear(bytes).map_err(|error| sent(&error))? {
                    self.line = Line::Sealed(session);
                    heard.push(Event::Connected);
                }
            }
            Line::Sealed(session) => {
                let mut contents = Vec::new();
                session.open(bytes, &mut contents).map_err(|error| sent(&error))?;
                self.decoder.push(&contents);
            }
            Line::Plain | Line::Dialing(_) => self.decoder.push(bytes),
        }
        while let Some(message) = self.decoder.next().map_err(|error| sent(&error))? {
            heard.push(Event::Heard(message));
        }
        Ok(())
    }

    fn flush(&mut self) -> nix::Result<Flushed> {
        let mut flushed = Flushed::Nothing;
        while self.fill() {
            match send(self.fd(), &self.out, MsgFlags::MSG_NOSIGNAL) {
                Ok(count) => {
                    self.out.drain(..count);
                    flushed = Flushed::All;
                }
                Err(Errno::EAGAIN) => return Ok(Flushed::Part),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(flushed)
    }

    /// Has the next frame ready to be sent; says whether there is one.
    fn fill(&mut self) -> bool {
        if self.out.is_empty()
            && let Some(news) = &mut self.news
        {
            let report =
                news.snapshot.pop_front().or_else(|| news.changed.pop_first().map(|(_, report)| report));
            let next = match report {
                Some(Report::Managed(managed)) if news.version >= ORDERS_SINCE => {
                    Some(GuestMessage::Managed(managed))
                }
                Some(Report::Managed(managed)) => Some(GuestMessage::Group(managed.report)),
                Some(Report::Group(report)) => Some(GuestMessage::Group(report)),
                None => news.answers.pop_front(),
            };
            if let Some(message) = next {
                self.put(&message);
            }
        }
        !self.out.is_empty()
    }

    fn wait_as_needed(&mut self, reactor: &Reactor) -> std::io::Result<()> {
        let wanted =
            if self.out.is_empty() { Interest::EPOLLIN } else { Interest::EPOLLIN | Interest::EPOLLOUT };
        if wanted != self.interest {
            reactor.change(&self.socket, wanted)?;
            self.interest = wanted;
        }
        Ok(())
    }
}

/// How far connecting went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Connected,
    Begun,
}

fn open(
    family: AddressFamily,
    from: Option<&VsockAddr>,
    to: &dyn SockaddrLike,
) -> nix::Result<(OwnedFd, Progress)> {
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
    if let Some(from) = from {
        bind(fd.as_raw_fd(), from)?;
    }
    match connect(fd.as_raw_fd(), to) {
        Ok(()) => Ok((fd, Progress::Connected)),
        Err(Errno::EINPROGRESS) => Ok((fd, Progress::Begun)),
        Err(error) => Err(error),
    }
}

/// A connection that needs no seal: the kernel says who is at its other end.
fn plain((fd, progress): (OwnedFd, Progress)) -> (OwnedFd, Progress, Option<Caller>) {
    (fd, progress, None)
}

/// Who calls, with the key that proves it; or why it cannot be.
fn caller(tcp: &Tcp) -> Result<Caller, String> {
    let machine = tcp.machine.clone().unwrap_or_else(host_name);
    if !is_name(&machine) {
        return Err(format!(
            "this machine is called '{machine}', and {NAME_RULE}: write 'machine' below [controller]"
        ));
    }
    let random = random().map_err(|error| format!("no random numbers: {}", reason(&error)))?;
    Ok(Caller::new(key::read(&tcp.key)?, &machine, random))
}

fn open_tcp(host: SocketAddr) -> nix::Result<(OwnedFd, Progress)> {
    let family = if host.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let (fd, progress) = open(family, None, &SockaddrStorage::from(host))?;
    setsockopt(&fd, sockopt::TcpNoDelay, &true)?; // an order's answer is not to wait for anything
    Ok((fd, progress))
}

/// Connects from a port that only root may have, as rcmd(3) did; each try takes the next, for one that was just used may still be
/// held by the connection before.
fn open_vsock(next_port: &mut u32) -> nix::Result<(OwnedFd, Progress)> {
    let host = VsockAddr::new(HOST_CID, LINK_PORT);
    for _ in LOWEST_PORT..PRIVILEGED_PORTS {
        let port = *next_port;
        *next_port = if port + 1 < PRIVILEGED_PORTS { port + 1 } else { LOWEST_PORT };
        if port == LINK_PORT {
            continue;
        }
        match open(AddressFamily::Vsock, Some(&VsockAddr::new(libc::VMADDR_CID_ANY, port)), &host) {
            Err(Errno::EADDRINUSE) => {}
            result => return result,
        }
    }
    Err(Errno::EADDRINUSE)
}
