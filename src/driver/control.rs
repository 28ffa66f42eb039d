//! The control socket, `RUN_DIR/roostd.sock`: operators ask, one JSON object a line, and are answered.
//!
//! Everybody on the host may look; root and the members of the group `roost` may change things.

use crate::engine::keeper::RequestId;
use crate::sys::socket::{accept, peer_groups};
use core::time::Duration;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, getsockopt, listen, socket,
};
use nix::unistd::{Group, read, write};
use roost_proto::control::{Ask, CONTROL_VERSION, Event, Refusal, Reply, Request};
use roost_proto::text::clip;
use roost_proto::time::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Operators at once, at most.
const MAX_CLIENTS: usize = 32;
/// The longest request, in bytes.
const MAX_REQUEST: usize = 4096;
/// Bytes that may wait for an operator who does not read; then the connection ends.
const MAX_UNSENT: usize = 4 * 1024 * 1024;
/// A request must be whole by then.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// The listener's token; clients count from above it.
const LISTENER: u64 = 0;
/// The system group whose members may change things.
const OPERATORS: &str = "roost";

struct Client {
    socket: OwnedFd,
    line: Vec<u8>,
    unsent: VecDeque<u8>,
    since: Instant,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// Has not asked yet.
    Asking,
    /// Waits for an answer of the daemon.
    Waiting,
    /// Gets each new event, of this group or of all.
    Following(Option<String>),
    /// Is answered; the connection ends when all is sent.
    Answered,
}

/// What an operator asked, with the right to.
#[derive(Debug)]
pub struct Asked {
    /// To be named in the answer.
    pub request: RequestId,
    /// Who, for the record.
    pub who: String,
    /// What.
    pub ask: Ask,
}

/// The socket and its clients.
pub struct Control {
    path: PathBuf,
    epoll: Epoll,
    listener: OwnedFd,
    clients: BTreeMap<u64, Client>,
    next: u64,
    /// The number of the system group [`OPERATORS`], if there is one.
    operators: Option<u32>,
}

impl Control {
    /// Listens at `path`. An old socket there is replaced, unless a daemon still answers on it.
    pub fn listen(path: &Path) -> io::Result<Self> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            let text = format!("another roostd answers at '{}'; stop it first", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let listener = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        bind(listener.as_raw_fd(), &UnixAddr::new(path)?)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?; // each request is checked
        listen(&listener, Backlog::new(16)?)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        Ok(Self {
            path: path.to_owned(),
            epoll,
            listener,
            clients: BTreeMap::new(),
            next: LISTENER + 1,
            operators: operators(),
        })
    }

    /// Looks the operators' group up again.
    pub fn reload(&mut self) {
        self.operators = operators();
    }

    /// What becomes readable when an operator speaks.
    pub const fn fd(&self) -> &Epoll {
        &self.epoll
    }

    /// Reads and writes what can be read and written; returns what was asked.
    pub fn handle(&mut self, now: Instant) -> Vec<Asked> {
        let mut ready = [EpollEvent::empty(); 16];
        let count = self.epoll.wait(&mut ready, EpollTimeout::ZERO).unwrap_or(0);
        let mut asked = Vec::new();
        for event in &ready[..count] {
            match event.data() {
                LISTENER => self.accept(now),
                token => asked.extend(self.serve(token, event.events())),
            }
        }
        asked
    }

    /// Ends connections that asked for nothing in time.
    pub fn handle_timeout(&mut self, now: Instant) {
        let slow = |c: &Client| c.stage == Stage::Asking && now.since(c.since) >= REQUEST_WITHIN;
        self.clients.retain(|_, client| !slow(client));
    }

    fn accept(&mut self, now: Instant) {
        let Ok(peer) = accept(self.listener.as_fd()) else { return };
        let token = self.next;
        self.next += 1;
        let client = Client {
            socket: peer,
            line: Vec::new(),
            unsent: VecDeque::new(),
            since: now,
            stage: Stage::Asking,
        };
        if self.epoll.add(&client.socket, EpollEvent::new(EpollFlags::EPOLLIN, token)).is_err() {
            return;
        }
        self.clients.insert(token, client);
        if self.clients.len() > MAX_CLIENTS {
            let reason = format!("{MAX_CLIENTS} operators are connected already; try again later");
            self.answer(RequestId(token), &Reply::Refused { code: Refusal::Busy, reason });
        }
    }

    fn serve(&mut self, token: u64, flags: EpollFlags) -> Option<Asked> {
        let client = self.clients.get_mut(&token)?;
        if flags.contains(EpollFlags::EPOLLOUT) {
            self.flush(token);
            return None;
        }
        let mut buffer = [0; MAX_REQUEST];
        let count = match read(&client.socket, &mut buffer) {
            Ok(count) if count > 0 => count,
            Err(Errno::EAGAIN | Errno::EINTR) => return None,
            _ => {
                self.clients.remove(&token);
                return None;
            }
        };
        if client.stage != Stage::Asking {
            return None; // one question a connection
        }
        client.line.extend_from_slice(&buffer[..count]);
        let end = client.line.iter().position(|b| *b == b'\n');
        let question = match end {
            Some(end) if end <= MAX_REQUEST => question(&client.line[..end], &client.socket, self.operators),
            None if client.line.len() <= MAX_REQUEST => return None,
            _ => Err((Refusal::BadRequest, format!("a request of more than {MAX_REQUEST} bytes"))),
        };
        let request = RequestId(token);
        match question {
            Ok((who, ask)) => {
                client.stage = Stage::Waiting;
                Some(Asked { request, who, ask })
            }
            Err((code, reason)) => {
                self.answer(request, &Reply::Refused { code, reason });
                None
            }
        }
    }

    /// Sends the last reply to a request.
    pub fn answer(&mut self, request: RequestId, reply: &Reply) {
        if let Some(client) = self.clients.get_mut(&request.0) {
            client.queue(reply);
            client.stage = Stage::Answered;
        }
        self.flush(request.0);
    }

    /// Sends one of several replies to a request.
    pub fn reply(&mut self, request: RequestId, reply: &Reply) {
        if let Some(client) = self.clients.get_mut(&request.0) {
            client.queue(reply);
        }
    }

    /// From now on, the asker gets each new event.
    pub fn follow(&mut self, request: RequestId, group: Option<String>) {
        if let Some(client) = self.clients.get_mut(&request.0) {
            client.stage = Stage::Following(group);
        }
        self.flush(request.0);
    }

    /// Sends an event to all who follow.
    pub fn publish(&mut self, event: &Event) {
        let reply = Reply::Event(event.clone());
        let wants = |client: &Client| match &client.stage {
            Stage::Following(group) => group.is_none() || *group == event.group,
            _ => false,
        };
        let followers: Vec<u64> =
            self.clients.iter().filter(|(_, c)| wants(c)).map(|(token, _)| *token).collect();
        for token in followers {
            self.reply(RequestId(token), &reply);
            self.flush(token);
        }
    }

    fn flush(&mut self, token: u64) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        let sent = client.flush();
        if sent.is_ok() && client.unsent.is_empty() && client.stage == Stage::Answered {
            client.hear_out();
        }
        if sent.is_err() || (client.unsent.is_empty() && client.stage == Stage::Answered) {
            self.clients.remove(&token);
            return;
        }
        let write = if client.unsent.is_empty() { EpollFlags::empty() } else { EpollFlags::EPOLLOUT };
        let mut event = EpollEvent::new(EpollFlags::EPOLLIN | write, token);
        if self.epoll.modify(&client.socket, &mut event).is_err() {
            self.clients.remove(&token);
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path); // a later daemon would replace it
    }
}

impl Client {
    fn queue(&mut self, reply: &Reply) {
        let line = serde_json::to_vec(reply).expect("replies hold nothing that JSON cannot");
        self.unsent.extend(line);
        self.unsent.push_back(b'\n');
    }

    /// Reads what was sent beyond the request: closed with it unread, the connection would be reset, and the reply lost.
    fn hear_out(&self) {
        let mut buffer = [0; MAX_REQUEST];
        for _ in 0..16 {
            if !read(&self.socket, &mut buffer).is_ok_and(|count| count > 0) {
                return;
            }
        }
    }

    fn flush(&mut self) -> Result<(), Errno> {
        while !self.unsent.is_empty() {
            match write(&self.socket, self.unsent.as_slices().0) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        if self.unsent.len() > MAX_UNSENT { Err(Errno::ENOBUFS) } else { Ok(()) }
    }
}

/// Reads a question, and checks that the asker may ask it.
fn question(
    line: &[u8],
    socket: &OwnedFd,
    operators: Option<u32>,
) -> Result<(String, Ask), (Refusal, String)> {
    let request: Request = serde_json::from_slice(line).map_err(|error| {
        let text = String::from_utf8_lossy(line);
        let reason = format!(
            "'{}' is no request that roostd {} knows ({error}); are roost and roostd of one version?",
            clip(&text, 80),
            env!("CARGO_PKG_VERSION")
        );
        (Refusal::BadRequest, reason)
    })?;
    if request.version > CONTROL_VERSION {
        let reason = format!(
            "the request is of version {}, and this roostd speaks {CONTROL_VERSION}: update roostd",
            request.version
        );
        return Err((Refusal::BadRequest, reason));
    }
    let who =
        getsockopt(socket, PeerCredentials).map_err(|error| (Refusal::NotPermitted, error.to_string()))?;
    let name = if who.uid() == 0 { "root".to_owned() } else { format!("user {}", who.uid()) };
    let looks = matches!(
        request.ask,
        Ask::Status
            | Ask::Events { .. }
            | Ask::Metrics
            | Ask::Cluster
            | Ask::Explain { .. }
            | Ask::Plan { .. }
    );
    if looks || who.uid() == 0 || is_operator(who.gid(), socket, operators) {
        return Ok((name, request.ask));
    }
    let reason =
        format!("{name} may look, but only root and the members of group '{OPERATORS}' may change things");
    Err((Refusal::NotPermitted, reason))
}

fn is_operator(gid: u32, socket: &OwnedFd, operators: Option<u32>) -> bool {
    let Some(operators) = operators else { return false };
    gid == operators || peer_groups(socket.as_fd()).is_ok_and(|groups| groups.contains(&operators))
}

fn operators() -> Option<u32> {
    Group::from_name(OPERATORS).ok().flatten().map(|group| group.gid.as_raw())
}
