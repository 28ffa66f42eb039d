//! What can go wrong for `roost`, in an operator's words, with the exit status that scripts see.

use super::since::Never;
use crate::config::LoadError;
use crate::driver::udp::keys::KeyError;
use core::fmt;
use core::time::Duration;
use roost_proto::control::Refusal;
use roost_proto::exit::Exit;
use roost_proto::text::printable;
use roost_proto::time::Span;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// What a shell reports of a program that SIGPIPE ended: whoever closed our output early wants to hear no more, and
/// sees what other programs show then.
const SIGPIPE_STATUS: u8 = 128 + 13;

/// Why `roost` could not do what it was asked.
#[derive(Debug)]
pub enum Error {
    /// Nobody listens on the socket.
    NotRunning {
        /// The socket.
        socket: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// The socket may not be opened.
    NoPermission {
        /// The socket.
        socket: PathBuf,
    },
    /// No answer came.
    NoAnswer {
        /// How long it was waited for.
        after: Duration,
    },
    /// The daemon ended the connection, or it broke.
    Closed {
        /// How.
        how: String,
    },
    /// What the daemon said means nothing to this version.
    NotUnderstood {
        /// What is wrong with it.
        what: String,
    },
    /// The daemon is of a later version, and what it said means nothing to this one.
    NewerDaemon {
        /// What it said.
        what: String,
    },
    /// The daemon refused.
    Refused {
        /// What kind of refusal.
        code: Refusal,
        /// Why, and what to do.
        reason: String,
    },
    /// The configuration was refused, or cannot be read.
    Configuration(LoadError),
    /// The command line says what cannot be.
    Usage(Never),
    /// No key could be made.
    Key(KeyError),
    /// What needs a terminal has none.
    NoTerminal,
    /// Standard output does not take what is written.
    Output(io::Error),
}

impl Error {
    /// The exit status for it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NotRunning { .. } | Self::NoAnswer { .. } | Self::Closed { .. } => Exit::Unavailable,
            Self::NoPermission { .. } => Exit::NotPermitted,
            Self::NotUnderstood { .. } | Self::NewerDaemon { .. } => Exit::Protocol,
            Self::Refused { code, .. } => match code {
                Refusal::UnknownGroup | Refusal::UnknownHost => Exit::UnknownGroup,
                Refusal::NotPermitted => Exit::NotPermitted,
                Refusal::BadRequest => Exit::Protocol,
                Refusal::BadConfiguration => Exit::Configuration,
                Refusal::NotStored | Refusal::Busy | Refusal::NotDone | Refusal::NoQuorum => Exit::TryAgain,
            },
            Self::Configuration(_) => Exit::Configuration,
            Self::Usage(_) => Exit::Usage,
            Self::Key(KeyError::Exists(_)) => Exit::TryAgain,
            Self::Key(KeyError::System { error, .. }) if error.kind() == io::ErrorKind::PermissionDenied => {
                Exit::NotPermitted
            }
            Self::Key(KeyError::System { .. } | KeyError::Missing(_)) => Exit::System,
            Self::Key(KeyError::Open { .. } | KeyError::Malformed { .. }) => Exit::Configuration,
            Self::NoTerminal => Exit::Usage,
            Self::Output(_) => Exit::System,
        }
    }

    /// Tells it on standard error, unless nobody is left to care, and gives the exit status.
    pub fn report(&self) -> ExitCode {
        if let Self::Output(error) = self
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            return ExitCode::from(SIGPIPE_STATUS);
        }
        match self {
            Self::Configuration(error) => eprintln!("{}", printable(&error.to_string())),
            _ => eprintln!("roost: {}", printable(&self.to_string())),
        }
        self.exit().into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning { socket, error } => write!(
                f,
                "roostd does not answer on '{}': {error}; if it should run, see 'systemctl status roostd'",
                socket.display()
            ),
            Self::NoPermission { socket } => {
                write!(
                    f,
                    "'{}' may not be opened: be root, or a member of the group 'roost'",
                    socket.display()
                )
            }
            Self::NoAnswer { after } => {
                write!(f, "roostd did not answer within {}; see 'systemctl status roostd'", Span(*after))
            }
            Self::Closed { how } => write!(f, "{how}; see 'systemctl status roostd'"),
            Self::NotUnderstood { what } => write!(
                f,
                "roostd does not speak as this roost {} does: {what}; compare with 'roostd --version'",
                env!("CARGO_PKG_VERSION")
            ),
            Self::NewerDaemon { what } => write!(
                f,
                "roostd is newer than this roost {}, and says what it does not know ({what}): upgrade roost",
                env!("CARGO_PKG_VERSION")
            ),
            Self::Refused { code: Refusal::BadRequest, reason } => write!(
                f,
                "roostd did not understand this roost {}: {reason}; compare with 'roostd --version': as a rule roostd is the older, so \
                 upgrade it, and restart it",
                env!("CARGO_PKG_VERSION")
            ),
            Self::Refused { reason, .. } => f.write_str(reason),
            Self::Configuration(error) => error.fmt(f),
            Self::Usage(never) => never.fmt(f),
            Self::Key(error) => error.fmt(f),
            Self::NoTerminal => f.write_str(
                "'roost watch' needs a terminal; programs ask with 'roost watch --json' or 'roost events --follow'",
            ),
            Self::Output(error) => write!(f, "standard output cannot be written: {error}"),
        }
    }
}

impl core::error::Error for Error {}
