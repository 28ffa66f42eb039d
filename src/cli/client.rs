//! The control socket, from the operator's side: one request on each connection, as one line of JSON, and the lines that
//! answer it.

use super::error::Error;
use core::time::Duration;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use roost_proto::control::{Ask, CONTROL_VERSION, MAX_LINE, Reply, Request, Status};
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
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
        let reply = serde_json::from_slice(&self.line);
        self.line.clear();
        match reply {
            Ok(Reply::Refused { code, reason }) => Err(Error::Refused { code, reason }),
            Ok(reply) => Ok(Some(reply)),
            Err(error) => Err(Error::NotUnderstood { what: error.to_string() }),
        }
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

/// What is wrong with a reply that does not answer the question.
pub fn unexpected() -> Error {
    Error::NotUnderstood { what: "another answer than the question calls for".to_owned() }
}

/// Asks how everything is.
pub fn status(socket: &Path) -> Result<Status, Error> {
    match Client::ask(socket, Ask::Status)?.next_reply()? {
        Reply::Status(status) => Ok(status),
        _ => Err(unexpected()),
    }
}

/// Orders something; what will be done, in the daemon's words.
pub fn order(socket: &Path, ask: Ask) -> Result<String, Error> {
    match Client::ask(socket, ask)?.next_reply()? {
        Reply::Done { text } => Ok(text),
        _ => Err(unexpected()),
    }
}
