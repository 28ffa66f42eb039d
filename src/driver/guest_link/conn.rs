//! One connection from a controller: greeting, framing, pace, and beats.

use super::offence::Offence;
use crate::engine::keeper::{Controller, Hush};
use core::time::Duration;
use nix::errno::Errno;
use nix::unistd::{read, write};
use roost_proto::frame::{Decoder, MAX_PAYLOAD, encode};
use roost_proto::link::{
    GuestMessage, Hello, HostMessage, LINK_VERSIONS, MAGIC, MAX_GROUPS, MAX_SOFTWARE, ORDERS_SINCE,
};
use roost_proto::text::clip;
use roost_proto::time::Instant;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A peer that has not said `Hello` by then is cut off.
pub const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// A frame that is begun must be whole by then.
pub const FRAME_WITHIN: Duration = Duration::from_secs(5);
/// Messages that a guest may send at once: two snapshots of every group, and their beats.
pub const BURST: u32 = 2 * MAX_GROUPS as u32 + 16;
/// Messages each second that a guest may send for long: its groups change far less often.
pub const PACE: u32 = 32;
/// Bytes that may wait to be sent: an order and a question for each group that a controller may have, at some 250 bytes, and
/// beats. More means that nobody reads.
const MAX_UNSENT: usize = 32 * 1024;
/// Bytes read before others have their turn.
const MAX_READ: usize = 4 * MAX_PAYLOAD;

/// What a guest said, its greeting answered.
#[derive(Debug)]
pub enum Said {
    /// A good greeting.
    Hello {
        /// The guest kernel's boot id.
        boot_id: [u8; 16],
        /// Name and version.
        software: String,
        /// The version of the link that both speak.
        version: u16,
    },
    /// Something later.
    Message(GuestMessage),
}

/// Whether the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// It does.
    Yes,
    /// The guest closed it.
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Greeting {
        since: Instant,
    },
    /// Welcomed, in this version of the link.
    Welcome {
        version: u16,
    },
}

/// One connection.
pub struct Conn {
    /// Whom its socket or CID belongs to.
    pub who: Controller,
    socket: OwnedFd,
    stage: Stage,
    decoder: Decoder,
    partial_since: Option<Instant>,
    unsent: Vec<u8>,
    allowance: u32,
    refilled: Instant,
}

impl Conn {
    /// A new one; its guest has to greet.
    pub fn new(socket: OwnedFd, who: Controller, now: Instant) -> Self {
        Self {
            who,
            socket,
            stage: Stage::Greeting { since: now },
            decoder: Decoder::default(),
            partial_since: None,
            unsent: Vec::new(),
            allowance: BURST,
            refilled: now,
        }
    }

    /// Whether its greeting was good.
    pub const fn is_welcome(&self) -> bool {
        matches!(self.stage, Stage::Welcome { .. })
    }

    /// Its socket.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether something waits to be sent.
    pub fn wants_to_write(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Reads what is there, up to a fair share.
    pub fn read(&mut self, now: Instant, host: &str, said: &mut Vec<Said>) -> Result<Open, Offence> {
        let mut buffer = [0; 4096];
        let mut total = 0;
        while total < MAX_READ {
            match read(&self.socket, &mut buffer) {
                Ok(0) => return Ok(Open::No),
                Ok(count) => {
                    total += count;
                    self.decoder.push(&buffer[..count]);
                    self.decode(now, host, said)?;
                }
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(Errno::ECONNRESET) => return Ok(Open::No),
                Err(_) => return Err(Offence::Broken),
            }
        }
        self.partial_since = if self.decoder.is_partial() { self.partial_since.or(Some(now)) } else { None };
        Ok(Open::Yes)
    }

    fn decode(&mut self, now: Instant, host: &str, said: &mut Vec<Said>) -> Result<(), Offence> {
        while let Some(message) = self.decoder.next::<GuestMessage>().map_err(|_| Offence::Garbage)? {
            self.partial_since = None;
            self.spend(now)?;
            said.push(match (self.stage, message) {
                (Stage::Welcome { .. }, message) => Said::Message(message),
                (Stage::Greeting { .. }, GuestMessage::Hello(hello)) => self.greet(hello, host)?,
                (Stage::Greeting { .. }, _) => return Err(Offence::NoHello),
            });
        }
        Ok(())
    }

    fn greet(&mut self, hello: Hello, host: &str) -> Result<Said, Offence> {
        if hello.magic != MAGIC {
            return Err(Offence::Garbage);
        }
        let Some(version) = hello.versions.common(LINK_VERSIONS) else {
            self.send(&HostMessage::Refused { versions: LINK_VERSIONS })?;
            return Err(Offence::Version);
        };
        self.stage = Stage::Welcome { version };
        let group = match &self.who {
            Controller::Machine => String::new(),
            Controller::Guest(group) => group.clone(),
        };
        self.send(&HostMessage::Welcome { version, host: host.to_owned(), group })?;
        let software = clip(&hello.software, MAX_SOFTWARE).to_owned();
        Ok(Said::Hello { boot_id: hello.boot_id, software, version })
    }

    /// Takes one message off the allowance, which refills with time.
    fn spend(&mut self, now: Instant) -> Result<(), Offence> {
        let refill = now.since(self.refilled).as_millis() * u128::from(PACE) / 1000;
        if refill > 0 {
            self.allowance = u32::try_from(refill).unwrap_or(BURST).saturating_add(self.allowance).min(BURST);
            self.refilled = now;
        }
        self.allowance = self.allowance.checked_sub(1).ok_or(Offence::TooFast)?;
        Ok(())
    }

    fn send(&mut self, message: &HostMessage) -> Result<(), Offence> {
        encode(message, &mut self.unsent).expect("names are short, and so are the host's messages");
        self.flush()
    }

    /// Says something to a controller that was welcomed. One that is too old to know of it is told nothing.
    pub fn say(&mut self, message: &HostMessage) -> Result<(), Offence> {
        match self.stage {
            Stage::Welcome { version } if version >= ORDERS_SINCE => self.send(message),
            Stage::Welcome { .. } | Stage::Greeting { .. } => Ok(()),
        }
    }

    /// Sends what can be sent.
    pub fn flush(&mut self) -> Result<(), Offence> {
        while !self.unsent.is_empty() {
            match write(&self.socket, &self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(Errno::EPIPE | Errno::ECONNRESET) => {
                    self.unsent.clear(); // it is closed, as the next read will tell
                }
                Err(_) => return Err(Offence::Broken),
            }
        }
        if self.unsent.len() > MAX_UNSENT { Err(Offence::Deaf) } else { Ok(()) }
    }

    /// A second passed.
    pub fn tick(&mut self, now: Instant, hush: Hush) -> Result<(), Offence> {
        if self.partial_since.is_some_and(|since| now.since(since) >= FRAME_WITHIN) {
            return Err(Offence::Half);
        }
        match self.stage {
            Stage::Greeting { since } if now.since(since) >= HELLO_WITHIN => match self.partial_since {
                Some(_) => Err(Offence::Half), // it did say something, if only just now
                None => Err(Offence::Mute),
            },
            Stage::Greeting { .. } => Ok(()),
            Stage::Welcome { .. } if hush == Hush::Quiet => Ok(()),
            Stage::Welcome { .. } => self.send(&HostMessage::Beat),
        }
    }
}
