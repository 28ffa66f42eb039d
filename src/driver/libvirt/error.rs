//! What went wrong in a call to libvirt, and what to do about it.

use crate::engine::keeper::vm::ActionError;
use core::fmt;
use roost_proto::text::{clip, printable};
use virt::error::{Error, ErrorNumber};

/// The longest message of libvirt's that is passed on, in bytes; QEMU's last words can be a page.
const MAX_MESSAGE: usize = 600;

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The connection is gone; the call may still have had its effect.
    Gone(String),
    /// There is no such domain.
    NoDomain,
    /// The domain is as wanted already.
    AlreadySo,
    /// The domain's state does not allow it.
    State(String),
    /// `roostd` may not do this.
    Denied(String),
    /// There is nothing to connect to.
    Absent(String),
    /// Another call for the same domain does not end.
    Locked(String),
    /// Whatever else libvirt or the system says.
    Failed(String),
}

impl CallError {
    /// Reads libvirt's error. `alive` tells whether the connection still is: without it no error means what it says.
    pub fn from_libvirt(error: &Error, alive: bool) -> Self {
        let words = message(error.message());
        if !alive {
            return Self::Gone(words);
        }
        match error.code().known() {
            Some(ErrorNumber::NoDomain) => Self::NoDomain,
            Some(ErrorNumber::OperationInvalid) => Self::State(words),
            Some(
                ErrorNumber::AuthFailed
                | ErrorNumber::AuthCancelled
                | ErrorNumber::AuthUnavailable
                | ErrorNumber::AccessDenied
                | ErrorNumber::OperationDenied,
            ) => Self::Denied(words),
            Some(ErrorNumber::OperationTimeout) => Self::Locked(words),
            _ => Self::Failed(words),
        }
    }

    /// Reads libvirt's error about opening a connection.
    pub fn from_open(error: &Error) -> Self {
        let refused = Self::from_libvirt(error, true);
        match (error.code().known(), refused) {
            (_, Self::Failed(words)) if words.contains("Permission denied") => Self::Denied(words),
            (Some(ErrorNumber::SystemError | ErrorNumber::NoConnect), Self::Failed(words)) => {
                Self::Absent(words)
            }
            (_, refused) => refused,
        }
    }
}

/// One line of what libvirt says, harmless on a terminal.
fn message(text: &str) -> String {
    let text = printable(text).split_whitespace().collect::<Vec<_>>().join(" ");
    clip(&text, MAX_MESSAGE).to_owned()
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone(words) => {
                write!(f, "the connection to libvirt ended during the call, which may have worked: {words}")
            }
            Self::NoDomain => write!(f, "{}", ActionError::NoDomain),
            Self::AlreadySo => write!(f, "{}", ActionError::AlreadySo),
            Self::State(words) | Self::Failed(words) => write!(f, "{words}"),
            Self::Denied(words) => {
                write!(f, "{words}; roostd needs to be root, or be allowed by libvirt's polkit rules")
            }
            Self::Absent(words) => {
                write!(f, "{words}; start libvirtd (or virtqemud), or set the host's 'libvirt' in roost.toml")
            }
            Self::Locked(words) => {
                write!(f, "{words}; another libvirt call for it does not end, `virsh domcontrol` shows more")
            }
        }
    }
}

impl core::error::Error for CallError {}

impl From<CallError> for ActionError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NoDomain => Self::NoDomain,
            CallError::AlreadySo => Self::AlreadySo,
            other => Self::Failed(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_harmless_line() {
        assert_eq!(message("qemu exited\n  \x1b[31mbadly\n"), "qemu exited \u{fffd}[31mbadly");
        assert_eq!(message(&"x".repeat(9000)).len(), MAX_MESSAGE);
    }

    #[test]
    fn errors_say_what_to_do() {
        let words = || "no".to_owned();
        assert!(CallError::Denied(words()).to_string().contains("root"));
        assert!(CallError::Absent(words()).to_string().contains("start libvirtd"));
        assert!(CallError::Locked(words()).to_string().contains("virsh domcontrol"));
        assert!(CallError::Gone(words()).to_string().contains("may have worked"));
        assert_eq!(ActionError::from(CallError::NoDomain), ActionError::NoDomain);
        assert_eq!(ActionError::from(CallError::AlreadySo), ActionError::AlreadySo);
    }
}
