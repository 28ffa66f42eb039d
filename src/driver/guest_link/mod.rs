//! The guest link's host side: listens where controllers connect, guests', the machine's own, and those of machines that are
//! watched over TCP; knows each by its CID, its socket or its key; and hands on what they say.
//!
//! Nothing that comes in is trusted. A peer that sends garbage, half a frame, too much, too fast or nothing is cut off;
//! that is counted, and told once for each cause.

mod caller;
mod conn;
mod offence;

use super::clock;
use crate::config::{self, GuestLink};
use crate::engine::keeper::remote_agent::GuestInput;
use crate::engine::keeper::{Controller, Hush};
use crate::sys::socket::accept;
use caller::{Caller, Heard};
pub use conn::{BURST, FRAME_WITHIN, HELLO_WITHIN, PACE};
use conn::{Conn, Said};
use core::fmt;
use core::time::Duration;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::sockopt::{Ipv6V6Only, PeerCredentials, ReuseAddr, TcpNoDelay, TcpUserTimeout};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, UnixAddr, VsockAddr, bind, getpeername,
    getsockopt, listen, setsockopt, socket,
};
use nix::unistd::geteuid;
use offence::{Offence, Offences};
use roost_proto::key::Secret;
use roost_proto::link::{BEAT, HostMessage, LINK_PORT, PRIVILEGED_PORTS};
use roost_proto::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Connections of one controller that have not been welcomed, at most: a controller makes one at a time.
const MAX_GREETING: usize = 4;
/// Connections over a network that have not been welcomed, at most, whoever they say they are. Beyond it the oldest is cut off: an
/// honest one needs a few milliseconds, so whoever wants to keep it out has to open thousands a second.
const MAX_CALLERS: usize = 64;
/// What was sent over a network and is not acknowledged for this long is not any more: the machine will call again.
const UNHEARD_FOR: Duration = Duration::from_secs(10);
/// Connections taken from one listener before others have their turn.
const MAX_ACCEPTS: usize = 8;
/// How often a listener that could not be set up is tried again.
const LISTEN_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Any CID: what a listener binds to (`VMADDR_CID_ANY`).
const ANY_CID: u32 = u32::MAX;

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// A controller on this machine, or in one of its guests.
    Here(Controller),
    /// That of a machine that runs no `roostd`.
    Watched(String),
}

/// What the link tells the daemon.
pub type GuestEvent = (Peer, GuestInput);

/// The machines that are watched over a network, and how.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// This host's addresses, at which they call.
    pub addresses: BTreeSet<SocketAddr>,
    /// Their keys, by their names.
    pub machines: BTreeMap<String, Vec<Secret>>,
}

/// Where controllers connect.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// AF_VSOCK, for all guests.
    Vsock,
    /// The socket of this group's guest.
    Hybrid(String, PathBuf),
    /// The socket of the machine's own controller.
    Machine(PathBuf),
    /// TCP, for machines that are watched.
    Tcp(SocketAddr),
}

impl Place {
    fn path(&self) -> Option<&Path> {
        match self {
            Self::Vsock | Self::Tcp(_) => None,
            Self::Hybrid(_, path) | Self::Machine(path) => Some(path),
        }
    }
}

/// For people.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vsock => write!(f, "AF_VSOCK port {LINK_PORT} (is the module vhost_vsock loaded?)"),
            Self::Hybrid(_, path) | Self::Machine(path) => write!(f, "'{}'", path.display()),
            Self::Tcp(address) => write!(f, "TCP {address}"),
        }
    }
}

struct Listener {
    place: Place,
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
    /// Who has not said who he is.
    callers: BTreeMap<u64, Caller>,
    /// The welcomed connection of each controller.
    current: BTreeMap<Peer, u64>,
    watched: Watched,
    /// Whether this host speaks with machines that are watched: one of the cluster does.
    watches: bool,
    cids: BTreeMap<u32, String>,
    /// Whether that is every CID of this host's groups.
    knows_cids: bool,
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
            callers: BTreeMap::new(),
            watched: Watched::default(),
            watches: false,
            current: BTreeMap::new(),
            cids: BTreeMap::new(),
            knows_cids: false,
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

    /// Listens for the guests of the groups of `wanted` that are VMs, for the machine's own controller at `machine`, and for those
    /// that are `watched`; and no longer for others. Connections of those that stay live on.
    pub fn listen(&mut self, wanted: &[config::Group], machine: &Path, watched: Watched) {
        let mut before = core::mem::take(&mut self.listeners);
        let vms: Vec<&config::Group> = wanted.iter().filter(|group| group.app.is_none()).collect();
        let mut places = vec![Place::Machine(machine.to_owned())];
        places.extend(vms.iter().filter_map(|group| match &group.link {
            GuestLink::Hybrid(path) => Some(Place::Hybrid(group.name.clone(), hybrid_path(path))),
            GuestLink::Vsock => None,
        }));
        if vms.iter().any(|group| group.link == GuestLink::Vsock) {
            places.push(Place::Vsock);
        }
        if !watched.machines.is_empty() {
            places.extend(watched.addresses.iter().copied().map(Place::Tcp));
        }
        self.watched = watched;
        for place in places {
            let known = before.iter().position(|listener| listener.place == place);
            let listener = match known {
                Some(index) => before.swap_remove(index),
                None => Listener { place, socket: None, again: clock::now(), token: self.token() },
            };
            self.listeners.push(listener);
        }
        for gone in before {
            if let (Some(_), Some(path)) = (&gone.socket, gone.place.path()) {
                let _ = std::fs::remove_file(path); // ours; a new one may never come
            }
        }
        self.close_all("the configuration does not have it any more", |who, watched| match who {
            Peer::Here(Controller::Machine) => false,
            Peer::Here(Controller::Guest(group)) => !vms.iter().any(|vm| vm.name == *group),
            Peer::Watched(name) => !watched.machines.contains_key(name),
        });
        self.open_listeners(clock::now());
    }

    /// The keys of the machines that are watched.
    pub fn machines(&self) -> BTreeMap<String, Vec<Secret>> {
        self.watched.machines.clone()
    }

    /// From now on this host speaks with the controllers of machines that are watched, or does not any more: then it hangs up on
    /// them, and they look for the one that does.
    pub fn set_watches(&mut self, watches: bool) {
        if core::mem::replace(&mut self.watches, watches) && !watches {
            self.callers.clear(); // the kernel forgets their descriptors with them
            self.close_all("this host does not lead any more", |who, _| matches!(who, Peer::Watched(_)));
        }
    }

    fn close_all(&mut self, why: &str, of: impl Fn(&Peer, &Watched) -> bool) {
        let those = self.conns.iter().filter(|(_, conn)| of(&conn.who, &self.watched));
        let those: Vec<u64> = those.map(|(token, _)| *token).collect();
        those.into_iter().for_each(|token| self.close(token, why));
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    fn open_listeners(&mut self, now: Instant) {
        for listener in self.listeners.iter_mut().filter(|l| l.socket.is_none() && now >= l.again) {
            let opened = match &listener.place {
                Place::Vsock => listen_vsock(),
                Place::Hybrid(_, path) => bind_unix(path).and_then(listening),
                Place::Machine(path) => bind_unix(path).and_then(|socket| {
                    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
                    listening(socket)
                }),
                Place::Tcp(address) => listen_tcp(*address),
            };
            let opened = opened.and_then(|socket| {
                self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, listener.token))?;
                Ok(socket)
            });
            match opened {
                Ok(socket) => listener.socket = Some(socket),
                Err(error) => {
                    if listener.again <= now {
                        let place = &listener.place;
                        self.complaints
                            .push(format!("cannot listen for controllers on {place}: {error}; trying again"));
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

    /// Whether [`GuestLinks::set_cid`] has told of every guest that runs. Until then, as after a start, one that is cut off as a
    /// stranger may be ours, and nobody is told: it connects again within seconds.
    pub const fn set_knows_cids(&mut self, knows: bool) {
        self.knows_cids = knows;
    }

    /// The group's guest cannot hear, or can again.
    pub fn hush(&mut self, group: &str, hush: Hush) {
        match hush {
            Hush::Quiet => drop(self.quiet.insert(group.to_owned())),
            Hush::Speak => drop(self.quiet.remove(group)),
        }
    }

    /// Ends the connection of a controller.
    pub fn drop_controller(&mut self, who: &Peer) {
        if let Some(token) = self.current.get(who).copied() {
            self.close(token, "roostd ended it");
        }
    }

    /// Says this to a controller, if it is connected and knows of such.
    pub fn say(&mut self, to: &Peer, message: &HostMessage) {
        let Some(token) = self.current.get(to).copied() else { return };
        let Some(conn) = self.conns.get_mut(&token) else { return };
        match conn.say(message) {
            Ok(()) => self.rearm(token),
            Err(offence) => self.offend(token, offence, clock::now()),
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
            let quiet =
                matches!(&conn.who, Peer::Here(Controller::Guest(group)) if self.quiet.contains(group));
            let hush = if quiet { Hush::Quiet } else { Hush::Speak };
            if let Err(offence) = conn.tick(now, hush) {
                self.offend(token, offence, now);
            } else {
                self.rearm(token);
            }
        }
        let slow = self.callers.iter().filter(|(_, caller)| now.since(caller.since) >= HELLO_WITHIN);
        let slow: Vec<(u64, Offence)> = slow.map(|(token, caller)| (*token, caller.slow())).collect();
        slow.into_iter().for_each(|(token, offence)| self.hang_up(token, offence, now));
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
            let who = match &listener.place {
                Place::Hybrid(group, _) => Ok(Controller::Guest(group.clone())),
                Place::Machine(_) => machine(&peer).map_err(Some),
                Place::Vsock => match getpeername::<VsockAddr>(peer.as_raw_fd()) {
                    Ok(address) => self.vsock_group(&address).map(Controller::Guest),
                    Err(error) => Err(Some(error.to_string())),
                },
                Place::Tcp(_) => {
                    self.take_call(peer, now);
                    continue;
                }
            };
            match who {
                Ok(who) => self.take_in(peer, Peer::Here(who), now),
                Err(None) => {}
                Err(Some(complaint)) => {
                    if self.offences.note(None, Offence::Stranger, now).is_some() {
                        self.complaints.push(complaint);
                    }
                }
            }
        }
    }

    /// Whose guest calls from there; else what is to be said of it, if anything.
    fn vsock_group(&self, address: &VsockAddr) -> Result<String, Option<String>> {
        let (cid, port) = (address.cid(), address.port());
        if port >= PRIVILEGED_PORTS {
            return Err(Some(format!(
                "CID {cid} connected from port {port}, which is not root's alone: cut off"
            )));
        }
        let unknown = || format!("CID {cid} connected, which belongs to no group of this host: cut off");
        self.cids.get(&cid).cloned().ok_or_else(|| self.knows_cids.then(unknown))
    }

    /// Somebody calls over a network.
    fn take_call(&mut self, peer: OwnedFd, now: Instant) {
        let Some(from) = from(&peer).filter(|_| self.watches) else {
            return; // not here: he hears no word, and tries the next host
        };
        let unknown =
            self.conns.iter().filter(|(_, conn)| matches!(conn.who, Peer::Watched(_)) && !conn.is_welcome());
        let waiting: BTreeSet<u64> =
            unknown.map(|(token, _)| *token).chain(self.callers.keys().copied()).collect();
        if let Some(oldest) = waiting.first().filter(|_| waiting.len() >= MAX_CALLERS) {
            self.callers.remove(oldest);
            self.forget(*oldest);
            if self.offences.note(None, Offence::TooMany, now).is_some() {
                let text = format!("{from} and others connect over TCP without end: the oldest are cut off");
                self.complaints.push(text);
            }
        }
        let token = self.token();
        if self.epoll.add(&peer, EpollEvent::new(EpollFlags::EPOLLIN, token)).is_ok() {
            self.callers.insert(token, Caller::new(peer, from, now));
        }
    }

    /// A caller said something.
    fn hear(&mut self, token: u64, now: Instant) {
        let Some(caller) = self.callers.get_mut(&token) else { return };
        let call = match caller.read() {
            Ok(Heard::Call(call)) => call,
            Ok(Heard::Nothing) => return,
            Ok(Heard::Closed) => return drop(self.callers.remove(&token)),
            Err(offence) => return self.hang_up(token, offence, now),
        };
        let keys = self.watched.machines.get(call.machine());
        let (Some(keys), Ok(random)) = (keys, clock::random()) else {
            return self.hang_up(token, Offence::Unknown, now);
        };
        let Some(caller) = self.callers.remove(&token) else { return };
        let (who, from, since) = (Peer::Watched(call.machine().to_owned()), caller.from, caller.since);
        let conn = Conn::sealed(caller.into_socket(), who, from, call.answer(keys, random), since);
        self.conns.insert(token, conn);
        self.serve(token, EpollFlags::EPOLLOUT, now);
    }

    /// Ends a caller's connection, and tells why.
    fn hang_up(&mut self, token: u64, offence: Offence, now: Instant) {
        let Some(caller) = self.callers.remove(&token) else { return };
        if self.offences.note(None, offence, now).is_some() {
            let (from, words) = (caller.from, offence.words());
            self.complaints.push(format!("{from} connected over TCP, and is not watched: {words}: cut off"));
        }
    }

    fn take_in(&mut self, peer: OwnedFd, who: Peer, now: Instant) {
        let greeting = self.conns.values().filter(|conn| conn.who == who && !conn.is_welcome()).count();
        if greeting >= MAX_GREETING {
            self.tell_offence(&who, Offence::TooMany, now);
            return;
        }
        let token = self.token();
        if self.epoll.add(&peer, EpollEvent::new(EpollFlags::EPOLLIN, token)).is_ok() {
            self.conns.insert(token, Conn::new(peer, who, now));
        }
    }

    fn serve(&mut self, token: u64, flags: EpollFlags, now: Instant) {
        if self.callers.contains_key(&token) {
            return self.hear(token, now);
        }
        let Some(conn) = self.conns.get_mut(&token) else { return };
        if flags.contains(EpollFlags::EPOLLOUT)
            && let Err(offence) = conn.flush()
        {
            return self.offend(token, offence, now);
        }
        let mut said = Vec::new();
        let result = conn.read(now, &self.host, &mut said);
        let who = conn.who.clone();
        for said in said {
            self.said(token, &who, said);
        }
        match result {
            Ok(conn::Open::Yes) => self.rearm(token),
            Ok(conn::Open::No) => self.close(token, "the controller closed it"),
            Err(offence) => self.offend(token, offence, now),
        }
    }

    fn said(&mut self, token: u64, who: &Peer, said: Said) {
        let input = match said {
            Said::Hello { boot_id, software, version } => {
                if let Some(old) = self.current.insert(who.clone(), token) {
                    self.forget(old); // its successor speaks
                }
                GuestInput::Connected { boot_id, software, version }
            }
            Said::Message(message) => GuestInput::Message(message),
        };
        if self.current.get(who) == Some(&token) {
            self.events.push((who.clone(), input));
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
        let who = conn.who.clone();
        if let (Some(from), Peer::Watched(name)) = (conn.stranger(), &who) {
            if self.offences.note(Some(&who), offence, now).is_some() {
                let words = offence.words();
                self.complaints.push(format!("{from} connected as the machine '{name}': {words}: cut off"));
            }
            self.forget(token);
        } else if self.current.get(&who) == Some(&token) {
            self.offences.note(Some(&who), offence, now);
            self.close(token, offence.words());
        } else {
            self.forget(token);
            self.tell_offence(&who, offence, now);
        }
    }

    fn tell_offence(&mut self, who: &Peer, offence: Offence, now: Instant) {
        if let Some(count) = self.offences.note(Some(who), offence, now) {
            let times = if count > 1 { format!(" ({count} times)") } else { String::new() };
            let reason = format!("{}{times}", offence.words());
            self.events.push((who.clone(), GuestInput::Refused { reason }));
        }
    }

    /// Ends a connection; if it was the controller's, that is told.
    fn close(&mut self, token: u64, reason: &str) {
        let Some(conn) = self.forget(token) else { return };
        if self.current.get(&conn.who) == Some(&token) {
            self.current.remove(&conn.who);
            self.events.push((conn.who, GuestInput::Lost { reason: reason.to_owned() }));
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
        for path in self.listeners.iter().filter(|l| l.socket.is_some()).filter_map(|l| l.place.path()) {
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

/// Whether who connects is the machine's own controller: root's, or of whom this daemon is.
fn machine(peer: &OwnedFd) -> Result<Controller, String> {
    let uid = getsockopt(peer, PeerCredentials).map_err(|error| error.to_string())?.uid();
    if uid == 0 || uid == geteuid().as_raw() {
        return Ok(Controller::Machine);
    }
    Err(format!("user {uid} connected as the machine's own controller, which is root's: cut off"))
}

/// The address that a connection over TCP comes from. What it is sent goes out at once, and is not waited for longer than
/// [`UNHEARD_FOR`].
fn from(peer: &OwnedFd) -> Option<IpAddr> {
    let millis = u32::try_from(UNHEARD_FOR.as_millis()).expect("seconds");
    setsockopt(peer, TcpNoDelay, &true).and_then(|()| setsockopt(peer, TcpUserTimeout, &millis)).ok()?;
    let address: SockaddrStorage = getpeername(peer.as_raw_fd()).ok()?;
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

fn listen_tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let listener = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&listener, ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&listener, Ipv6V6Only, &true)?;
    }
    bind(listener.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&listener, Backlog::new(128)?)?;
    Ok(listener)
}

fn bind_unix(path: &Path) -> io::Result<OwnedFd> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let listener = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    bind(listener.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(listener)
}

fn listening(socket: OwnedFd) -> io::Result<OwnedFd> {
    listen(&socket, Backlog::new(16)?)?;
    Ok(socket)
}

fn listen_vsock() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let listener = socket(AddressFamily::Vsock, SockType::Stream, flags, None)?;
    bind(listener.as_raw_fd(), &VsockAddr::new(ANY_CID, LINK_PORT))?;
    listen(&listener, Backlog::new(128)?)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_is_told_of_once_every_guest_is_known() {
        let mut links = GuestLinks::new("a").expect("descriptors are free");
        let calls = |links: &GuestLinks, cid, port| links.vsock_group(&VsockAddr::new(cid, port));
        assert_eq!(calls(&links, 50, 1000), Err(None), "libvirt has not said yet whose it is");
        links.set_cid("web", Some(50));
        links.set_knows_cids(true);
        assert_eq!(calls(&links, 50, 1000), Ok("web".to_owned()));
        let stranger = calls(&links, 51, 1000).expect_err("it is nobody's").expect("it is told");
        assert!(stranger.contains("CID 51") && stranger.contains("no group"), "{stranger}");
        let user = calls(&links, 50, PRIVILEGED_PORTS).expect_err("not root's").expect("it is told");
        assert!(user.contains("not root's alone"), "{user}");
    }
}
