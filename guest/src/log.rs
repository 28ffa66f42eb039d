//! Messages for people: one line each to standard error, never in the way of the work.

use core::fmt;
use core::time::Duration;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use roost_proto::text::{clip, printable};
use std::io::Write;
use std::os::fd::AsFd;

/// How grave it is, as syslog(3) numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    /// Something does not work.
    Error = 3,
    /// Something needs a look.
    Warning = 4,
    /// Something happened.
    Info = 6,
}

/// Bytes of a line, at most. A pipe takes that much at once or says that it has no room.
const MAX_LINE: usize = 1024;

/// Where messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Standard error is systemd's journal, which takes the level from a line's start.
    style: Style,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Journal,
    Plain,
}

impl Log {
    /// Finds out who reads.
    pub fn new() -> Self {
        let style = if std::env::var_os("JOURNAL_STREAM").is_some() { Style::Journal } else { Style::Plain };
        Self { style }
    }

    /// Writes each line of `text` as one.
    pub fn lines(self, level: Level, text: &str) {
        text.lines().for_each(|text| self.line(level, format_args!("{text}")));
    }

    /// Writes a line, unless whoever reads has left no room: a message may be lost, time may not.
    pub fn line(self, level: Level, text: fmt::Arguments<'_>) {
        let text = printable(&text.to_string()).replace('\n', " ");
        let text = clip(&text, MAX_LINE - 32);
        let line = match self.style {
            Style::Journal => format!("<{}>{text}\n", level as u8),
            Style::Plain => format!("roost-guest: {text}\n"),
        };
        let error = std::io::stderr();
        let mut fds = [PollFd::new(error.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut fds, PollTimeout::try_from(Duration::ZERO).unwrap_or(PollTimeout::ZERO)) == Ok(1) {
            let _ = error.lock().write_all(line.as_bytes()); // there is nobody else to tell
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self::new()
    }
}
