//! The control socket, from the operator's side: one request on each connection, as one line of JSON, and the lines that
//! answer it.

use super::error::Error;
use core::time::Duration;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use roost_proto::control::{Ask, CONTROL_VERSION, MAX_LINE, Reply, Request, Status};
use roost_proto::insight::{Explanation, PlanReport};
use roost_proto::text::clip;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// How long the daemon may take for an answer. It decides in microseconds, and waits for nothing but its disk; a
/// disk that is busier than this is worth a message.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A request under way.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    line: Vec<u8>,
    patience: Option<Duration>,
}

impl Client {
    /// Connects and asks. Answers are waited for [`PATIENCE`] each.
    pub fn ask(socket: &Path, ask: Ask) -> Result<Self, Error> {
        let stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Error::NoPermission { socket: socket.to_owned() },
            _ => Error::NotRunning { socket: socket.to_owned(), error },
        })?;
        let mut client = Self { stream: BufReader::new(stream), line: Vec::new(), patience: None };
        client.wait_for(Some(PATIENCE))?;
        client.send(&Request { version: CONTROL_VERSION, ask })?;
        Ok(client)
    }

    /// How long each further answer may take; without end if `None`.
    pub fn wait_for(&mut self, patience: Option<Duration>) -> Result<(), Error> {
        self.patience = patience;
        let stream = self.stream.get_ref();
        stream
            .set_read_timeout(patience)
            .and_then(|()| stream.set_write_timeout(patience))
            .map_err(|e| closed(&e))
    }

    /// Sends without the SIGPIPE or error that a daemon causes which answered and hung up before it had read all: its
    /// answer says more.
    fn send(&self, request: &Request) -> Result<(), Error> {
        let mut line = serde_json::to_vec(request).expect("a request is plain data");
        line.push(b'\n');
        let fd = self.stream.get_ref().as_raw_fd();
        let mut rest = line.as_slice();
        while !rest.is_empty() {
            match send(fd, rest, MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::EINTR) => {}
                Err(Errno::EPIPE | Errno::ECONNRESET) => break,
                Err(Errno::EAGAIN) => return Err(Error::NoAnswer { after: PATIENCE }),
                Err(error) => return Err(closed(&error.into())),
            }
        }
        Ok(())
    }

    /// The next answer; `None` if none came in the time that [`Client::wait_for`] allows. A refusal is an error.
    pub fn poll(&mut self) -> Result<Option<Reply>, Error> {
        let room = MAX_LINE + 1 - self.line.len();
        match (&mut self.stream).take(room as u64).read_until(b'\n', &mut self.line) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(None),
            Err(error) => return Err(closed(&error)),
            Ok(_) if self.line.ends_with(b"\n") => {}
            Ok(_) if self.line.len() > MAX_LINE => {
                return Err(Error::NotUnderstood { what: format!("a line of more than {MAX_LINE} bytes") });
            }
            Ok(_) => return Err(Error::Closed { how: "roostd hung up before it had answered".to_owned() }),
        }
        let text = core::mem::take(&mut self.line);
        let reply = serde_json::from_slice(&text);
        match reply {
            Ok(Reply::Refused { code, reason }) => Err(Error::Refused { code, reason }),
            Ok(reply) => Ok(Some(reply)),
            Err(error) => Err(not_understood(&text, &error)),
        }
    }

    /// What becomes readable when an answer comes.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.get_ref().as_fd()
    }

    /// Whether more has come in than was taken.
    pub fn has_more(&self) -> bool {
        !self.stream.buffer().is_empty()
    }

    /// The next answer, which must come in time.
    pub fn next_reply(&mut self) -> Result<Reply, Error> {
        self.poll()?.ok_or_else(|| Error::NoAnswer { after: self.patience.unwrap_or(PATIENCE) })
    }
}

fn closed(error: &io::Error) -> Error {
    Error::Closed { how: format!("the connection to roostd broke: {error}") }
}

/// What is wrong with a reply that cannot be read: one that names a later version, or is of a kind that is not known here, is a
/// later daemon's.
fn not_understood(text: &[u8], error: &serde_json::Error) -> Error {
    let known = ["status", "event", "end", "done", "refused", "explanation", "plan"];
    let value: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    let later = value["version"].as_u64().is_some_and(|version| version > u64::from(CONTROL_VERSION));
    match value["reply"].as_str() {
        Some(kind) if later || !known.contains(&kind) => {
            Error::NewerDaemon { what: format!("a reply '{}'", clip(kind, 40)) }
        }
        _ => Error::NotUnderstood { what: error.to_string() },
    }
}

/// What is wrong with a reply that does not answer the question.
pub fn unexpected() -> Error {
    Error::NotUnderstood { what: "another answer than the question calls for".to_owned() }
}

/// Asks how everything is, in the whole cluster.
pub fn status(socket: &Path) -> Result<Status, Error> {
    match Client::ask(socket, Ask::Cluster)?.next_reply()? {
        Reply::Status(status) => checked(status.version, status),
        _ => Err(unexpected()),
    }
}

/// Asks why something is as it is.
pub fn explain(socket: &Path, subject: &str) -> Result<Explanation, Error> {
    match Client::ask(socket, Ask::Explain { subject: subject.to_owned() })?.next_reply()? {
        Reply::Explanation(explanation) => checked(explanation.version, explanation),
        _ => Err(unexpected()),
    }
}

/// Asks what would become of the groups.
pub fn plan(socket: &Path, ask: Ask) -> Result<PlanReport, Error> {
    match Client::ask(socket, ask)?.next_reply()? {
        Reply::Plan(plan) => checked(plan.version, plan),
        _ => Err(unexpected()),
    }
}

/// What a later version says is not read as if it were this one's.
fn checked<T>(version: u16, told: T) -> Result<T, Error> {
    if version > CONTROL_VERSION {
        return Err(Error::NewerDaemon {
            what: format!("version {version} of its answers, and {CONTROL_VERSION} is known here"),
        });
    }
    Ok(told)
}

/// Orders something; what will be done, in the daemon's words.
pub fn order(socket: &Path, ask: Ask) -> Result<String, Error> {
    match Client::ask(socket, ask)?.next_reply()? {
        Reply::Done { text } => Ok(text),
        _ => Err(unexpected()),
    }
}
