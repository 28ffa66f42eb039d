//! The machine's own controller: it keeps the applications of this host itself, by the same protocol as a guest's.

use super::remote_agent::{GuestInput, Kept, News, RemoteAgent, Voice, describe};
use super::{Controller, Outbox, Output, draft};
use core::time::Duration;
use roost_proto::control::{EventKind, Level};
use roost_proto::link::GroupState;
use roost_proto::text::printable;
use roost_proto::time::Instant;

/// A controller that is connected and says nothing for so long hangs: ten of its beats.
const SILENT_AFTER: Duration = Duration::from_secs(10);

/// Whether its silence was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    Heard,
    Told,
}

/// What is known of it.
#[derive(Debug)]
pub struct Own {
    remote: RemoteAgent,
    silence: Silence,
}

impl Own {
    /// Waits for it, from `now`.
    pub const fn new(now: Instant) -> Self {
        Self { remote: RemoteAgent::new(now), silence: Silence::Heard }
    }

    /// What it says.
    pub const fn remote(&self) -> &RemoteAgent {
        &self.remote
    }

    /// Whether it is connected, and hangs.
    pub fn is_silent(&self) -> bool {
        self.silence == Silence::Told
    }

    /// This host stood still until now.
    pub const fn awoke(&mut self, now: Instant) {
        self.remote.excuse(now);
    }

    /// When its silence is to be told, if it says nothing before.
    pub fn deadline(&self) -> Option<Instant> {
        let listening = self.remote.voice() == Voice::Connected && self.silence == Silence::Heard;
        listening.then(|| self.remote.heard() + SILENT_AFTER)
    }

    /// Notices the beginning and the end of a silence, and tells of it.
    pub fn step(&mut self, now: Instant, out: &mut Outbox) {
        let connected = self.remote.voice() == Voice::Connected;
        let silent = connected && now.since(self.remote.heard()) >= SILENT_AFTER;
        match (silent, self.silence) {
            (true, Silence::Heard) => {
                self.silence = Silence::Told;
                let text = format!(
                    "the machine's own roost-guest says nothing for {} s: its applications are not watched meanwhile",
                    SILENT_AFTER.as_secs()
                );
                out.push(Output::Event(draft(Level::Error, EventKind::ControllerLost, None, text)));
            }
            (false, Silence::Told) => {
                self.silence = Silence::Heard;
                if connected {
                    let text = "the machine's own roost-guest speaks again".to_owned();
                    out.push(Output::Event(draft(Level::Info, EventKind::ControllerConnected, None, text)));
                }
            }
            _ => {}
        }
    }

    /// Takes in what its link says; `of` is the group whose application a service group is.
    pub fn handle(
        &mut self,
        now: Instant,
        input: GuestInput,
        of: impl Fn(&str) -> Option<String>,
        out: &mut Outbox,
    ) {
        if let GuestInput::Refused { reason } = &input {
            let text = format!("a peer on the link of the machine's own roost-guest was cut off: {reason}");
            out.push(Output::Event(draft(Level::Warning, EventKind::ControllerRefused, None, text)));
        }
        match self.remote.handle(now, input) {
            Ok(news) => news.into_iter().for_each(|news| tell(news, &of, out)),
            Err(breach) => {
                let text = format!("the machine's own roost-guest was cut off: {breach}");
                out.push(Output::Event(draft(Level::Warning, EventKind::ControllerRefused, None, text)));
                out.push(Output::Drop(Controller::Machine));
            }
        }
    }
}

fn tell(news: News, of: impl Fn(&str) -> Option<String>, out: &mut Outbox) {
    let event = match news {
        News::Connected { software, .. } => {
            let text = format!("the machine's own roost-guest is connected ({software})");
            draft(Level::Info, EventKind::ControllerConnected, None, text)
        }
        News::Past => return, // of guests whose VM was reset
        News::Lost { reason } => {
            let text = format!("the link to the machine's own roost-guest ended: {reason}");
            draft(Level::Warning, EventKind::ControllerLost, None, text)
        }
        News::TooMuch => {
            let text =
                "the machine's service groups change too often; the rest of this minute is not recorded";
            draft(Level::Warning, EventKind::App, None, text.to_owned())
        }
        News::App { name, state: GroupState::Faulted(fault), .. } => {
            let text = format!(
                "'{name}' on this machine was given up on: {}: {} ({})",
                fault.resource, fault.reason, fault.exit
            );
            let mut event = draft(Level::Error, EventKind::Fault, of(&name), printable(&text));
            event.output = printable(&fault.output);
            event
        }
        News::App { name, state, outage, trouble, kept } => {
            let ordered = matches!(kept, Kept::ToOrder(_)) && state == GroupState::Offline;
            let level = if ordered || state == GroupState::Online { Level::Info } else { Level::Warning };
            let after = outage.map(|time| format!(" after {} ms", time.as_millis())).unwrap_or_default();
            let text = format!("'{name}' on this machine is {}{after}", describe(&state, &trouble));
            draft(level, EventKind::App, of(&name), text)
        }
    };
    out.push(Output::Event(event));
}
