//! Somebody who has connected over a network, and has not said who he is.

use super::offence::Offence;
use nix::errno::Errno;
use nix::unistd::read;
use roost_proto::sealed::{Broken, Call, Called};
use roost_proto::time::Instant;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

/// What he said.
pub enum Heard {
    /// Who he is, as he says.
    Call(Call),
    /// Not enough yet.
    Nothing,
    /// He has hung up.
    Closed,
}

/// He.
pub struct Caller {
    /// His address.
    pub from: IpAddr,
    /// When he connected.
    pub since: Instant,
    socket: OwnedFd,
    called: Called,
}

impl Caller {
    /// A new one.
    pub fn new(socket: OwnedFd, from: IpAddr, now: Instant) -> Self {
        Self { from, since: now, socket, called: Called::default() }
    }

    /// His socket, for what follows.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// What it is called that he has not said more.
    pub const fn slow(&self) -> Offence {
        if self.called.has_heard() { Offence::Half } else { Offence::Mute }
    }

    /// Reads what is there. No greeting is longer, and nobody says more before he is answered.
    pub fn read(&mut self) -> Result<Heard, Offence> {
        let mut buffer = [0; 128];
        match read(&self.socket, &mut buffer) {
            Ok(0) | Err(Errno::ECONNRESET) => Ok(Heard::Closed),
            Ok(count) => match self.called.hear(&buffer[..count]) {
                Ok(call) => Ok(call.map_or(Heard::Nothing, Heard::Call)),
                Err(Broken::Version(_)) => Err(Offence::Version),
                Err(_) => Err(Offence::Garbage),
            },
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Heard::Nothing),
            Err(_) => Err(Offence::Broken),
        }
    }
}
