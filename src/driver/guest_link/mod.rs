//! The guest link's host side: listens where controllers connect, guests' and the machine's own, knows each by its CID or socket,
//! and hands on what they say.
//!
//! Nothing that comes in is trusted. A peer that sends garbage, half a frame, too much, too fast or nothing is cut off;
//! that is counted, and told once for each cause.

mod conn;
mod offence;

use super::clock;
use crate::config::{self, GuestLink};
use crate::engine::keeper::remote_agent::GuestInput;
use crate::engine::keeper::{Controller, Hush};
use crate::sys::socket::accept;
pub use conn::{BURST, FRAME_WITHIN, HELLO_WITHIN, PACE};
use conn::{Conn, Said};
use core::time::Duration;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, VsockAddr, bind, getpeername, getsockopt, listen,
    socket,
};
use nix::unistd::geteuid;
use offence::{Offence, Offences};
use roost_proto::link::{BEAT, HostMessage, LINK_PORT, PRIVILEGED_PORTS};
use roost_proto::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Connections of one controller that have not been welcomed, at most: a controller makes one at a time.
const MAX_GREETING: usize = 4;
/// Connections taken from one listener before others have their turn.
const MAX_ACCEPTS: usize = 8;
/// How often a listener that could not be set up is tried again.
const LISTEN_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Any CID: what a listener binds to (`VMADDR_CID_ANY`).
const ANY_CID: u32 = u32::MAX;

/// What the link tells the daemon.
pub type GuestEvent = (Controller, GuestInput);

/// Where controllers connect.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// AF_VSOCK, for all guests.
    Vsock,
    /// The socket of this group's guest.
    Hybrid(String, PathBuf),
    /// The socket of the machine's own controller.
    Machine(PathBuf),
}

impl Place {
    fn path(&self) -> Option<&Path> {
        match self {
            Self::Vsock => None,
            Self::Hybrid(_, path) | Self::Machine(path) => Some(path),
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
    /// The welcomed connection of each controller.
    current: BTreeMap<Controller, u64>,
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

    /// Listens for the guests of the groups of `wanted` that are VMs, and for the machine's own controller at `machine`, and no
    /// longer for others. Connections of those that stay live on.
    pub fn listen(&mut self, wanted: &[config::Group], machine: &Path) {
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
        let stays = |who: &Controller| match who {
            Controller::Machine => true,
            Controller::Guest(group) => vms.iter().any(|vm| vm.name == *group),
        };
        let gone: Vec<u64> =
            self.conns.iter().filter(|(_, conn)| !stays(&conn.who)).map(|(token, _)| *token).collect();
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
            let opened = match &listener.place {
                Place::Vsock => listen_vsock(),
                Place::Hybrid(_, path) => bind_unix(path).and_then(listening),
                Place::Machine(path) => bind_unix(path).and_then(|socket| {
                    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
                    listening(socket)
                }),
            };
            let opened = opened.and_then(|socket| {
                self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, listener.token))?;
                Ok(socket)
            });
            match opened {
                Ok(socket) => listener.socket = Some(socket),
                Err(error) => {
                    if listener.again <= now {
                        let place = match listener.place.path() {
                            Some(path) => format!("'{}'", path.display()),
                            None => format!("AF_VSOCK port {LINK_PORT} (is the module vhost_vsock loaded?)"),
                        };
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

    /// The group's guest cannot hear, or can again.
    pub fn hush(&mut self, group: &str, hush: Hush) {
        match hush {
            Hush::Quiet => drop(self.quiet.insert(group.to_owned())),
            Hush::Speak => drop(self.quiet.remove(group)),
        }
    }

    /// Ends the connection of a controller.
    pub fn drop_controller(&mut self, who: &Controller) {
        if let Some(token) = self.current.get(who).copied() {
            self.close(token, "roostd ended it");
        }
    }

    /// Says this to a controller, if it is connected and knows of such.
    pub fn say(&mut self, to: &Controller, message: &HostMessage) {
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
            let quiet = matches!(&conn.who, Controller::Guest(group) if self.quiet.contains(group));
            let hush = if quiet { Hush::Quiet } else { Hush::Speak };
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
            let who = match &listener.place {
                Place::Hybrid(group, _) => Ok(Controller::Guest(group.clone())),
                Place::Machine(_) => machine(&peer),
                Place::Vsock => self.vsock_group(&peer).map(Controller::Guest),
            };
            match who {
                Ok(who) => self.take_in(peer, who, now),
                Err(complaint) => {
                    if self.offences.note(None, Offence::Stranger, now).is_some() {
                        self.complaints.push(complaint);
                    }
                }
            }
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

    fn take_in(&mut self, peer: OwnedFd, who: Controller, now: Instant) {
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

    fn said(&mut self, token: u64, who: &Controller, said: Said) {
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
        if self.current.get(&who) == Some(&token) {
            self.offences.note(Some(&who), offence, now);
            self.close(token, offence.words());
        } else {
            self.forget(token);
            self.tell_offence(&who, offence, now);
        }
    }

    fn tell_offence(&mut self, who: &Controller, offence: Offence, now: Instant) {
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
