//! The guest link's host side: listens where guests connect, knows each by its CID or socket, and hands on what they say.
//!
//! Nothing that comes in is trusted. A peer that sends garbage, half a frame, too much, too fast or nothing is cut off;
//! that is counted, and told once for each cause.

mod conn;
mod offence;

use super::clock;
use crate::config::{self, GuestLink};
use crate::engine::keeper::Hush;
use crate::engine::keeper::remote_agent::GuestInput;
use crate::sys::socket::accept;
pub use conn::{BURST, FRAME_WITHIN, HELLO_WITHIN, PACE};
use conn::{Conn, Said};
use core::time::Duration;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, VsockAddr, bind, getpeername, listen, socket,
};
use offence::{Offence, Offences};
use roost_proto::link::{BEAT, LINK_PORT, PRIVILEGED_PORTS};
use roost_proto::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Connections of one guest that have not been welcomed, at most: a controller makes one at a time.
const MAX_GREETING: usize = 4;
/// Connections taken from one listener before others have their turn.
const MAX_ACCEPTS: usize = 8;
/// How often a listener that could not be set up is tried again.
const LISTEN_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Any CID: what a listener binds to (`VMADDR_CID_ANY`).
const ANY_CID: u32 = u32::MAX;

/// What the link tells the daemon.
pub type GuestEvent = (String, GuestInput);

struct Listener {
    /// The group, if its guest has a socket of its own; AF_VSOCK serves them all.
    group: Option<String>,
    path: Option<PathBuf>,
    socket: Option<OwnedFd>,
    again: Instant,
    token: u64,
}

/// All listeners and connections.
pub struct GuestLinks {
    host: String,
    epoll: Epoll,
    listeners: Vec<Listener>,
    conns: BTreeMap<u64, Conn>,
    /// The welcomed connection of each group.
    current: BTreeMap<String, u64>,
    cids: BTreeMap<u32, String>,
    /// Groups whose guests cannot hear.
    quiet: BTreeSet<String>,
    offences: Offences,
    next_token: u64,
    next_beat: Instant,
    events: Vec<GuestEvent>,
    /// Complaints about listeners, for the log.
    complaints: Vec<String>,
}

impl GuestLinks {
    /// None yet; `host` is what guests are told.
    pub fn new(host: &str) -> io::Result<Self> {
        Ok(Self {
            host: host.to_owned(),
            epoll: Epoll::new(nix::sys::epoll::EpollCreateFlags::EPOLL_CLOEXEC)?,
            listeners: Vec::new(),
            conns: BTreeMap::new(),
            current: BTreeMap::new(),
            cids: BTreeMap::new(),
            quiet: BTreeSet::new(),
            offences: Offences::default(),
            next_token: 1,
            next_beat: clock::now() + BEAT,
            events: Vec::new(),
            complaints: Vec::new(),
        })
    }

    /// What becomes readable when a guest speaks.
    pub fn fd(&self) -> &Epoll {
        &self.epoll
    }

    /// Listens for the groups of `wanted`, and no longer for others. Connections of groups that stay live on.
    pub fn listen(&mut self, wanted: &[config::Group]) {
        let mut before = core::mem::take(&mut self.listeners);
        let mut places: Vec<(Option<String>, Option<PathBuf>)> = wanted
            .iter()
            .filter_map(|group| match &group.link {
                GuestLink::Hybrid(path) => Some((Some(group.name.clone()), Some(hybrid_path(path)))),
                GuestLink::Vsock => None,
            })
            .collect();
        if wanted.iter().any(|group| group.link == GuestLink::Vsock) {
            places.push((None, None));
        }
        for (group, path) in places {
            let known = before.iter().position(|l| l.group == group && l.path == path);
            let listener = match known {
                Some(index) => before.swap_remove(index),
                None => Listener { group, path, socket: None, again: clock::now(), token: self.token() },
            };
            self.listeners.push(listener);
        }
        for gone in before {
            if let (Some(_), Some(path)) = (&gone.socket, &gone.path) {
                let _ = std::fs::remove_file(path); // ours; a new one may never come
            }
        }
        let gone: Vec<u64> = (self.conns.iter())
            .filter(|(_, conn)| !wanted.iter().any(|g| g.name == conn.group))
            .map(|(token, _)| *token)
            .collect();
        for token in gone {
            self.close(token, "its group is gone from the configuration");
        }
        self.open_listeners(clock::now());
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    fn open_listeners(&mut self, now: Instant) {
        for listener in self.listeners.iter_mut().filter(|l| l.socket.is_none() && now >= l.again) {
            let opened = match &listener.path {
                Some(path) => listen_unix(path),
                None => listen_vsock(),
            };
            let opened = opened.and_then(|socket| {
                self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, listener.token))?;
                Ok(socket)
            });
            match opened {
                Ok(socket) => listener.socket = Some(socket),
                Err(error) => {
                    if listener.again <= now {
                        let place = match &listener.path {
                            Some(path) => format!("'{}'", path.display()),
                            None => format!("AF_VSOCK port {LINK_PORT} (is the module vhost_vsock loaded?)"),
                        };
                        self.complaints
                            .push(format!("cannot listen for guests on {place}: {error}; trying again"));
                    }
                    listener.again = now + LISTEN_AGAIN_AFTER;
                }
            }
        }
    }

    /// The guest with this CID is the one of `group`; `None`: it has none now.
    pub fn set_cid(&mut self, group: &str, cid: Option<u32>) {
        self.cids.retain(|_, known| known != group);
        if let Some(cid) = cid {
            self.cids.insert(cid, group.to_owned());
        }
    }

    /// The group's guest cannot hear, or can again.
    pub fn hush(&mut self, group: &str, hush: Hush) {
        match hush {
            Hush::Quiet => drop(self.quiet.insert(group.to_owned())),
            Hush::Speak => drop(self.quiet.remove(group)),
        }
    }

    /// Ends the connection of the group's controller.
    pub fn drop_guest(&mut self, group: &str) {
        if let Some(token) = self.current.get(group).copied() {
            self.close(token, "roostd ended it");
        }
    }

    /// What was learnt since the last call.
    pub fn take_events(&mut self) -> Vec<GuestEvent> {
        core::mem::take(&mut self.events)
    }

    /// What is wrong with the listeners, once each.
    pub fn take_complaints(&mut self) -> Vec<String> {
        core::mem::take(&mut self.complaints)
    }

    /// Reads and writes what can be read and written.
    pub fn handle(&mut self, now: Instant) {
        let mut ready = [EpollEvent::empty(); 64];
        let count = self.epoll.wait(&mut ready, nix::sys::epoll::EpollTimeout::ZERO).unwrap_or(0);
        for event in &ready[..count] {
            let token = event.data();
            if let Some(index) = self.listeners.iter().position(|l| l.token == token) {
                self.accept(index, now);
            } else {
                self.serve(token, event.events(), now);
            }
        }
    }

    /// Time passed: beats are due, and the slow are cut off.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now < self.next_beat {
            return;
        }
        self.next_beat = now + BEAT;
        self.open_listeners(now);
        let tokens: Vec<u64> = self.conns.keys().copied().collect();
        for token in tokens {
            let Some(conn) = self.conns.get_mut(&token) else { continue };
            let hush = if self.quiet.contains(&conn.group) { Hush::Quiet } else { Hush::Speak };
            if let Err(offence) = conn.tick(now, hush) {
                self.offend(token, offence, now);
            } else {
                self.rearm(token);
            }
        }
    }

    /// When to call [`GuestLinks::handle_timeout`].
    pub const fn poll_timeout(&self) -> Instant {
        self.next_beat
    }

    fn accept(&mut self, index: usize, now: Instant) {
        for _ in 0..MAX_ACCEPTS {
            let listener = &self.listeners[index];
            let Some(socket) = &listener.socket else { return };
            let Ok(peer) = accept(socket.as_fd()) else {
                return; // nobody is left, or gave up meanwhile, or no descriptor is free: the next round tells
            };
            let group = match &listener.group {
                Some(group) => group.clone(),
                None => match self.vsock_group(&peer) {
                    Ok(group) => group,
                    Err(complaint) => {
                        if self.offences.note("", Offence::Stranger, now).is_some() {
                            self.complaints.push(complaint);
                        }
                        continue;
                    }
                },
            };
            self.take_in(peer, group, now);
        }
    }

    fn vsock_group(&self, peer: &OwnedFd) -> Result<String, String> {
        let address: VsockAddr = getpeername(peer.as_raw_fd()).map_err(|error| error.to_string())?;
        if address.port() >= PRIVILEGED_PORTS {
            let (cid, port) = (address.cid(), address.port());
            return Err(format!("CID {cid} connected from port {port}, which is not root's alone: cut off"));
        }
        let unknown =
            || format!("CID {} connected, which belongs to no group of this host: cut off", address.cid());
        self.cids.get(&address.cid()).cloned().ok_or_else(unknown)
    }

    fn take_in(&mut self, peer: OwnedFd, group: String, now: Instant) {
        let greeting = self.conns.values().filter(|conn| conn.group == group && !conn.is_welcome()).count();
        if greeting >= MAX_GREETING {
            self.tell_offence(&group, Offence::TooMany, now);
            return;
        }
        let token = self.token();
        if self.epoll.add(&peer, EpollEvent::new(EpollFlags::EPOLLIN, token)).is_ok() {
            self.conns.insert(token, Conn::new(peer, group, now));
        }
    }

    fn serve(&mut self, token: u64, flags: EpollFlags, now: Instant) {
        let Some(conn) = self.conns.get_mut(&token) else { return };
        if flags.contains(EpollFlags::EPOLLOUT)
            && let Err(offence) = conn.flush()
        {
            return self.offend(token, offence, now);
        }
        let mut said = Vec::new();
        let result = conn.read(now, &self.host, &mut said);
        let group = conn.group.clone();
        for said in said {
            self.said(token, &group, said);
        }
        match result {
            Ok(conn::Open::Yes) => self.rearm(token),
            Ok(conn::Open::No) => self.close(token, "the guest closed it"),
            Err(offence) => self.offend(token, offence, now),
        }
    }

    fn said(&mut self, token: u64, group: &str, said: Said) {
        let input = match said {
            Said::Hello { boot_id, software, version } => {
                if let Some(old) = self.current.insert(group.to_owned(), token) {
                    self.forget(old); // its successor speaks
                }
                GuestInput::Connected { boot_id, software, version }
            }
            Said::Message(message) => GuestInput::Message(message),
        };
        if self.current.get(group) == Some(&token) {
            self.events.push((group.to_owned(), input));
        }
    }

    /// Asks to be told of what the connection waits for.
    fn rearm(&mut self, token: u64) {
        if let Some(conn) = self.conns.get(&token) {
            let write = if conn.wants_to_write() { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
            let mut event = EpollEvent::new(EpollFlags::EPOLLIN | write, token);
            let _ = self.epoll.modify(conn.fd(), &mut event); // it is ours and open
        }
    }

    fn offend(&mut self, token: u64, offence: Offence, now: Instant) {
        let Some(conn) = self.conns.get(&token) else { return };
        let group = conn.group.clone();
        if self.current.get(&group) == Some(&token) {
            self.offences.note(&group, offence, now);
            self.close(token, offence.words());
        } else {
            self.forget(token);
            self.tell_offence(&group, offence, now);
        }
    }

    fn tell_offence(&mut self, group: &str, offence: Offence, now: Instant) {
        if let Some(count) = self.offences.note(group, offence, now) {
            let times = if count > 1 { format!(" ({count} times)") } else { String::new() };
            let reason = format!("{}{times}", offence.words());
            self.events.push((group.to_owned(), GuestInput::Refused { reason }));
        }
    }

    /// Ends a connection; if it was the group's, that is told.
    fn close(&mut self, token: u64, reason: &str) {
        let Some(conn) = self.forget(token) else { return };
        if self.current.get(&conn.group) == Some(&token) {
            self.current.remove(&conn.group);
            self.events.push((conn.group, GuestInput::Lost { reason: reason.to_owned() }));
        }
    }

    fn forget(&mut self, token: u64) -> Option<Conn> {
        let conn = self.conns.remove(&token)?;
        let _ = self.epoll.delete(conn.fd()); // it is closed right after
        Some(conn)
    }
}

impl Drop for GuestLinks {
    fn drop(&mut self) {
        for path in self.listeners.iter().filter(|l| l.socket.is_some()).filter_map(|l| l.path.as_ref()) {
            let _ = std::fs::remove_file(path); // guests try again until the next daemon listens
        }
    }
}

/// Where a guest's connections to the link's port arrive with hybrid vsock: `PATH_961`.
pub fn hybrid_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("_{LINK_PORT}"));
    PathBuf::from(name)
}

fn listen_unix(path: &Path) -> io::Result<OwnedFd> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let listener = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    bind(listener.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&listener, Backlog::new(16)?)?;
    Ok(listener)
}

fn listen_vsock() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let listener = socket(AddressFamily::Vsock, SockType::Stream, flags, None)?;
    bind(listener.as_raw_fd(), &VsockAddr::new(ANY_CID, LINK_PORT))?;
    listen(&listener, Backlog::new(128)?)?;
    Ok(listener)
}
