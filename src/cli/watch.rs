//! `roost watch`: the state of the cluster, shown on and on. It is asked for anew at each event, and once a second, since time
//! alone changes what is shown.

use super::client::{self, Client};
use super::error::Error;
use super::screen::Screen;
use super::show::{Clock, Look};
use super::status;
use core::time::Duration;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use roost_proto::control::{Ask, Reply, Status};
use roost_proto::exit::Exit;
use roost_proto::text::printable;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Instant;

/// Without an event it is asked again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Between two looks, at least: a hundred events at once are one change to look at.
const LOOK_AT_MOST: Duration = Duration::from_millis(200);
/// What ends it, beside Ctrl-C: q and Q.
const QUIT: [u8; 3] = [b'q', b'Q', 3];
/// Rows of a terminal that does not tell its size.
const USUAL_ROWS: usize = 24;

/// Shows the state until a key or a signal ends it.
pub fn run(socket: &Path, json: bool, out: &mut impl Write) -> Result<Exit, Error> {
    if json {
        return stream(socket, out);
    }
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Error::NoTerminal);
    }
    // A daemon that cannot be asked at all is told of as by any other command.
    let first = client::status(socket)?;
    let mut mask = SigSet::empty();
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGWINCH]
        .into_iter()
        .for_each(|signal| mask.add(signal));
    let signals = mask
        .thread_block()
        .and_then(|()| SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK))
        .map_err(|error| Error::Output(error.into()))?;
    let screen = Screen::take(out).map_err(Error::Output)?;
    let mut watch =
        Watch { socket, signals, screen, seen: Seen::Good(Box::new(first)), events: None, asked: None };
    let end = watch.run();
    drop(watch); // the terminal is as before when an error is told
    end.map(|()| Exit::Ok)
}

/// What was seen last.
enum Seen {
    Good(Box<Status>),
    /// The daemon does not answer; what it said before it did not.
    Lost(Option<Box<Status>>, String),
}

struct Watch<'a, W: Write> {
    socket: &'a Path,
    signals: SignalFd,
    screen: Screen<W>,
    seen: Seen,
    /// Tells that something happened.
    events: Option<Client>,
    /// A question under way.
    asked: Option<Client>,
}

/// What became readable.
#[derive(Clone, Copy, Debug, Default)]
struct Ready {
    keys: bool,
    signals: bool,
    events: bool,
    answer: bool,
}

impl<W: Write> Watch<'_, W> {
    fn run(&mut self) -> Result<(), Error> {
        let mut looked = Instant::now();
        let mut changed = false;
        self.show()?;
        loop {
            let wait = if changed { LOOK_AT_MOST } else { LOOK_AGAIN };
            let left = wait.saturating_sub(looked.elapsed());
            if left.is_zero() && self.asked.is_none() {
                (looked, changed) = (Instant::now(), false);
                self.look();
            }
            let ready = self.wait(if self.asked.is_some() { LOOK_AGAIN } else { left })?;
            if ready.keys && self.quits()? {
                return Ok(());
            }
            if ready.signals && self.is_told_to_end() {
                return Ok(());
            }
            if ready.events {
                changed |= self.take_events();
            }
            if ready.answer {
                self.take_answer();
            }
            if ready.answer || ready.signals || matches!(self.seen, Seen::Lost(..)) {
                self.show()?;
            }
        }
    }

    fn wait(&self, left: Duration) -> Result<Ready, Error> {
        let stdin = io::stdin();
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![readable(stdin.as_fd()), readable(self.signals.as_fd())];
        let place = |fds: &mut Vec<PollFd<'_>>, client: Option<BorrowedFd<'_>>| client.map(|_| fds.len());
        let events = place(&mut fds, self.events.as_ref().map(Client::fd));
        fds.extend(self.events.as_ref().map(|client| readable(client.fd())));
        let answer = place(&mut fds, self.asked.as_ref().map(Client::fd));
        fds.extend(self.asked.as_ref().map(|client| readable(client.fd())));
        let millis = u16::try_from(left.as_millis() + 1).unwrap_or(u16::MAX);
        match poll(&mut fds, PollTimeout::from(millis)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(Error::Output(error.into())),
        }
        let is = |nth: usize| fds.get(nth).and_then(PollFd::any).unwrap_or(false);
        Ok(Ready {
            keys: is(0),
            signals: is(1),
            events: events.is_some_and(is),
            answer: answer.is_some_and(is),
        })
    }

    /// Asks anew, and follows the events if it does not.
    fn look(&mut self) {
        if self.events.is_none() {
            let ask = Ask::Events { after: u64::MAX, group: None, follow: true };
            self.events = Client::ask(self.socket, ask).ok();
        }
        match Client::ask(self.socket, Ask::Cluster) {
            Ok(client) => self.asked = Some(client),
            Err(error) => self.lose(&error),
        }
    }

    fn lose(&mut self, error: &Error) {
        let before = core::mem::replace(&mut self.seen, Seen::Lost(None, String::new()));
        let status = match before {
            Seen::Good(status) => Some(status),
            Seen::Lost(status, _) => status,
        };
        self.seen = Seen::Lost(status, error.to_string());
        (self.events, self.asked) = (None, None);
    }

    /// Whether something happened.
    fn take_events(&mut self) -> bool {
        let Some(client) = &mut self.events else { return false };
        loop {
            match client.poll() {
                Ok(Some(_)) if client.has_more() => {}
                Ok(_) => return true,
                Err(_) => {
                    self.events = None; // it is followed again at the next look
                    return true;
                }
            }
        }
    }

    fn take_answer(&mut self) {
        let Some(mut client) = self.asked.take() else { return };
        match client.next_reply() {
            Ok(Reply::Status(status)) => self.seen = Seen::Good(Box::new(status)),
            Ok(_) => self.lose(&client::unexpected()),
            Err(error) => self.lose(&error),
        }
    }

    fn quits(&self) -> Result<bool, Error> {
        match self.screen.keys() {
            // The terminal is gone, and it was readable: nobody watches any more.
            Ok(keys) => Ok(keys.is_empty() || keys.iter().any(|key| QUIT.contains(key))),
            Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => Ok(false),
            Err(error) => Err(Error::Output(error.into())),
        }
    }

    fn is_told_to_end(&mut self) -> bool {
        let mut ends = false;
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if signal.ssi_signo == Signal::SIGWINCH as u32 {
                self.screen.resized();
            } else {
                ends = true;
            }
        }
        ends
    }

    fn show(&mut self) -> Result<(), Error> {
        let look = Look::of_stdout();
        let rows = terminal_size::terminal_size().map_or(USUAL_ROWS, |(_, height)| usize::from(height.0));
        let clock = Clock::now();
        let mut text = match &self.seen {
            Seen::Good(status) | Seen::Lost(Some(status), _) => status::render(status, &clock, look),
            Seen::Lost(None, _) => String::new(),
        };
        if let Seen::Lost(_, error) = &self.seen {
            let words = format!("{error}; what stands here was so before; it is tried again each second");
            let words = super::show::wrap(&printable(&words), 0, look.width);
            let lines: Vec<String> =
                words.lines().map(|line| look.paint(super::show::Ink::Bad, line)).collect();
            text = format!("{}\n{text}", lines.join("\n"));
        }
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.push(look.paint(super::show::Ink::Faint, "q ends this"));
        self.screen.show(&lines, rows.max(1)).map_err(Error::Output)
    }
}

/// One object a line, now and whenever it changed in more than its times.
fn stream(socket: &Path, out: &mut impl Write) -> Result<Exit, Error> {
    let mut events = Client::ask(socket, Ask::Events { after: u64::MAX, group: None, follow: true })?;
    events.wait_for(Some(LOOK_AGAIN))?;
    let mut told = None;
    loop {
        let status = client::status(socket)?;
        let bare = timeless(status.clone());
        if told.as_ref() != Some(&bare) {
            let line = serde_json::to_string(&status).expect("a status is plain data") + "\n";
            out.write_all(line.as_bytes()).and_then(|()| out.flush()).map_err(Error::Output)?;
            told = Some(bare);
        }
        events.poll()?;
        while events.has_more() {
            events.poll()?;
        }
    }
}

/// Without what changes by itself.
fn timeless(mut status: Status) -> Status {
    status.groups.iter_mut().for_each(|group| group.since_ms = 0);
    if let Some(quorum) = &mut status.quorum {
        quorum.means.clear();
    }
    status
}
