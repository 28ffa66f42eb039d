//! The network between hosts: one UDP socket on each of this host's addresses. What is said to a host goes to each of its
//! addresses, sealed once; of what comes in the first genuine copy counts.
//!
//! Nothing that comes in is trusted before its seal is checked, and however much comes in, only so much is looked at before the
//! daemon has its turn. Genuine datagrams are taken from any address, since the seal says who speaks; one that is not in the
//! configuration is told of.

pub mod complaints;
pub mod keys;
pub mod replay;
pub mod seal;

use complaints::{Complaint, Complaints, Kind};
use keys::Keys;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};
use roost_proto::cluster::{DATAGRAM_VERSIONS, Datagram, HostId, Incarnation, MAX_DATAGRAM};
use roost_proto::time::Instant;
use seal::{Opened, Refused, Seal};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

/// Datagrams that are read before the daemon has its turn: a few milliseconds of work, which is little of a beat, and more than
/// a leader of 1,000 hosts is sent meanwhile.
const MAX_READS: u32 = 256;
/// Bytes that wait in a socket, as asked of the kernel, which counts about 800 for a short datagram and doubles the request:
/// at 50,000 a second it lasts for 50 ms of a daemon that is busy.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Bytes on a wire around a datagram's: Ethernet's and UDP's, without the IP header.
const FRAME: u64 = 14 + 8;

/// Another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Which.
    pub id: HostId,
    /// Its name, for people.
    pub name: String,
    /// Where it is reached.
    pub addresses: Vec<SocketAddr>,
}

/// What the network needs to know.
#[derive(Clone, Debug)]
pub struct Setup {
    /// This host's name.
    pub name: String,
    /// The cluster's.
    pub cluster: String,
    /// This life of the host.
    pub incarnation: Incarnation,
    /// The cluster's keys.
    pub keys: Keys,
    /// This host's addresses: the first is on one network with the first of each other host, and so on.
    pub addresses: Vec<SocketAddr>,
    /// The other hosts.
    pub peers: Vec<Peer>,
}

/// A number of datagrams, and their bytes with Ethernet, IP and UDP headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Traffic {
    fn count(&mut self, payload: usize, of: &SocketAddr) {
        let ip = if of.is_ipv4() { 20 } else { 40 };
        self.datagrams += 1;
        self.bytes += payload as u64 + ip + FRAME;
    }
}

/// What was counted since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// On all paths.
    pub sent: Traffic,
    /// Datagrams that the system did not take: it had no room, or no way.
    pub not_sent: u64,
    /// Whatever came in.
    pub received: Traffic,
    /// What of it was handed on.
    pub accepted: u64,
    /// Copies of what had come by another path.
    pub copies: u64,
    /// What was dropped, by its kind.
    pub refused: BTreeMap<Kind, u64>,
}

#[derive(Debug)]
struct Socket {
    address: SocketAddr,
    socket: UdpSocket,
}

/// All sockets of one host.
#[derive(Debug)]
pub struct Udp {
    me: String,
    id: HostId,
    seal: Seal,
    epoll: Epoll,
    sockets: Vec<Socket>,
    peers: BTreeMap<HostId, Peer>,
    /// Which socket has its turn, so that a flood on one network does not drown another.
    turn: usize,
    /// Datagrams read since the daemon had its turn.
    reads: u32,
    stats: Stats,
    complaints: Complaints,
}

impl Udp {
    /// Listens on the host's addresses. One that the machine does not have yet is no mistake: its network may come up later.
    pub fn new(setup: Setup) -> io::Result<Self> {
        let id = HostId::of(&setup.name);
        let seal = Seal::new(id, setup.incarnation, &setup.cluster, DATAGRAM_VERSIONS, setup.keys);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let (stats, complaints) = (Stats::default(), Complaints::default());
        let (sockets, peers) = (Vec::new(), BTreeMap::new());
        let mut udp =
            Self { me: setup.name, id, seal, epoll, sockets, peers, turn: 0, reads: 0, stats, complaints };
        udp.set_addresses(&setup.addresses)?;
        udp.set_peers(setup.peers);
        Ok(udp)
    }

    /// Takes other keys from now on, and returns the marks of those before.
    pub fn set_keys(&mut self, keys: Keys) -> Vec<u8> {
        self.seal.set_keys(keys).marks()
    }

    /// Speaks with these hosts from now on; what those that stay have said is remembered.
    pub fn set_peers(&mut self, peers: Vec<Peer>) {
        let peers: BTreeMap<HostId, Peer> =
            peers.into_iter().filter(|peer| peer.id != self.id).map(|peer| (peer.id, peer)).collect();
        self.seal.set_peers(peers.keys().copied());
        self.peers = peers;
    }

    /// Listens on these addresses from now on. When one cannot be had, all stays as it was.
    pub fn set_addresses(&mut self, addresses: &[SocketAddr]) -> io::Result<()> {
        let mut new = BTreeMap::new();
        for (at, address) in addresses.iter().enumerate() {
            if !self.sockets.iter().any(|socket| socket.address == *address) {
                let socket = listen(*address)
                    .and_then(|socket| {
                        self.epoll.add(socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, at as u64))?;
                        Ok(socket)
                    })
                    .map_err(|error| {
                        io::Error::new(error.kind(), format!("cannot listen on '{address}': {error}"))
                    })?;
                new.insert(*address, socket);
            }
        }
        let mut before = core::mem::take(&mut self.sockets);
        for address in addresses {
            if let Some(at) = before.iter().position(|socket| socket.address == *address) {
                self.sockets.push(before.swap_remove(at));
            } else if let Some(socket) = new.remove(address) {
                let address = socket.local_addr().unwrap_or(*address); // port 0 stands for any that is free
                self.sockets.push(Socket { address, socket });
            }
        }
        self.turn = 0; // what is left of `before` is closed, and so out of the epoll
        Ok(())
    }

    /// Where it listens, with the ports that the system chose for port 0.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|one| one.address).collect()
    }

    /// Readable when [`Udp::poll`] has something.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// The newest format that a host understands, if it was heard.
    pub fn newest(&self, host: HostId) -> Option<u16> {
        self.seal.newest(host)
    }

    /// What was counted.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What is wrong, and is to be told now.
    pub fn take_complaints(&mut self, now: Instant) -> Vec<Complaint> {
        self.complaints.take(now)
    }

    /// Says something to another host, on all of its addresses. It may get lost, as on the way.
    pub fn send(&mut self, to: HostId, datagram: &Datagram) {
        let Some(peer) = self.peers.get(&to) else {
            self.stats.not_sent += 1; // a reload took it out of the configuration
            return;
        };
        let bytes = self.seal.seal(to, datagram);
        for (at, address) in peer.addresses.iter().enumerate() {
            let sent = match socket_for(&self.sockets, at, address) {
                Some(from) => from.socket.send_to(&bytes, address).map(|_| ()),
                None => Err(io::Error::other("this host has no address of its kind in roost.toml")),
            };
            match sent {
                Ok(()) => self.stats.sent.count(bytes.len(), address),
                Err(error) => {
                    self.stats.not_sent += 1;
                    if error.kind() != io::ErrorKind::WouldBlock {
                        self.complaints.note(Kind::NotSent, address.ip(), &peer.name, Some(&error));
                    }
                }
            }
        }
    }

    /// What another host said. Of a life of it that is older than another and goes on, only that is told, by an empty datagram: what
    /// runs there must not be taken for over. `None` means that nothing is left, or that the daemon should do something else first: then
    /// [`Udp::fd`] stays readable.
    pub fn poll(&mut self) -> Option<Opened> {
        let mut buffer = [0; MAX_DATAGRAM + 1]; // one more shows what is too long
        let mut silent = 0;
        while silent < self.sockets.len() && self.reads < MAX_READS {
            self.reads += 1;
            let at = self.turn % self.sockets.len();
            self.turn = (at + 1) % self.sockets.len();
            let one = &self.sockets[at];
            match one.socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    silent = 0;
                    self.stats.received.count(length, &from);
                    if let Some(opened) = self.take(&buffer[..length], from) {
                        return Some(opened);
                    }
                }
                Err(error) => {
                    silent += 1;
                    if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
                        self.complaints.note(Kind::Socket, one.address.ip(), "", Some(&error));
                    }
                }
            }
        }
        self.reads = 0;
        None
    }

    fn take(&mut self, bytes: &[u8], from: SocketAddr) -> Option<Opened> {
        let refused = match self.seal.open(bytes) {
            Ok(opened) => {
                self.stats.accepted += 1;
                if let Some(peer) = self.peers.get(&opened.from)
                    && !peer.addresses.iter().any(|address| address.ip() == canonical(from.ip()))
                {
                    self.complaints.note(Kind::Elsewhere, from.ip(), &peer.name, None);
                }
                return Some(opened);
            }
            Err(refused) => refused,
        };
        let (kind, host) = match refused {
            Refused::Garbage => (Kind::Garbage, None),
            Refused::OtherVersion(_) => (Kind::OtherVersion, None),
            Refused::OtherCluster => (Kind::OtherCluster, None),
            Refused::UnknownSender(host) if host == self.id => (Kind::OwnName, Some(host)),
            Refused::UnknownSender(host) => (Kind::UnknownHost, Some(host)),
            Refused::NoKey(host) => (Kind::NoKey, Some(host)),
            Refused::Forged(host) => (Kind::Forged, Some(host)),
            Refused::Copy(host) if self.peers.get(&host).is_some_and(|peer| peer.addresses.len() > 1) => {
                self.stats.copies += 1;
                return None;
            }
            Refused::Copy(host) => (Kind::Doubled, Some(host)),
            Refused::Replayed(host) => (Kind::Replayed, Some(host)),
            Refused::OldLife(host) => (Kind::OldLife, Some(host)),
            Refused::Twin(host) => (Kind::Twin, Some(host)),
            Refused::Malformed(host) => (Kind::Malformed, Some(host)),
        };
        *self.stats.refused.entry(kind).or_default() += 1;
        let name = match host {
            Some(host) if host == self.id => self.me.as_str(),
            Some(host) => self.peers.get(&host).map_or("", |peer| peer.name.as_str()),
            None => "",
        };
        self.complaints.note(kind, from.ip(), name, None);
        let (host, incarnation) = host
            .filter(|_| matches!(kind, Kind::OldLife | Kind::Twin))
            .and_then(|host| Some((host, self.seal.rival(host)?)))?;
        Some(Opened { from: host, incarnation, datagram: Datagram::default() })
    }
}

/// The socket that reaches a host's address: that of the same place in the lists, since those are on one network; else the first
/// of the same kind.
fn socket_for<'a>(sockets: &'a [Socket], at: usize, to: &SocketAddr) -> Option<&'a Socket> {
    let fits = |socket: &&Socket| socket.address.is_ipv4() == to.is_ipv4();
    sockets.get(at).filter(fits).or_else(|| sockets.iter().find(fits))
}

/// An IPv4 address as such, also when an IPv6 socket shows it.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn listen(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Datagram, flags, None)?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?; // IPv4 has sockets of its own
    }
    setsockopt(&fd, sockopt::IpFreebind, &true)?;
    // Beyond the system's limit if root may; otherwise up to that limit, which works as well but for floods.
    if setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
    }
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrStorage::from(address))?;
    Ok(UdpSocket::from(fd))
}
