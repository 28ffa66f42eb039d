//! One resource: what is believed of it, what is under way for it, and what is wanted of it.

use super::{Cause, OpId};
use crate::config;
use core::time::Duration;
use roost_proto::link::{MAX_DETAIL, ResourceReport, ResourceState};
use roost_proto::local::ResourceRuntime;
use roost_proto::retry::Attempts;
use roost_proto::text::clip;
use roost_proto::time::Instant;

/// An operation that ends this much later than its limit did not take that long: the machine stood still meanwhile
/// (suspended, or the whole VM stopped), and what came of it says nothing. A busy machine is late by less.
const STOOD_STILL: Duration = Duration::from_secs(5);

/// What is believed of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing: it is to be looked at.
    Unseen(Arrival),
    /// It does not run, and nothing of it is left.
    Down,
    /// It is being started, or looked at right after.
    Starting,
    /// A probe that did not succeed yet.
    Trying(Trial),
    /// It runs.
    Up(Health),
    /// It failed.
    Failed(Remains),
    /// It is being stopped.
    Stopping,
}

/// How a resource that is to be looked at came to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// With all the others: if it does not run, what depends on it must not run either.
    WithOthers,
    /// By a reload: what depends on it has done without it so far, and goes on.
    ByReload,
}

/// How well something runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Good,
    Degraded,
}

/// What a failure left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remains {
    /// Nothing that has to be stopped.
    Nothing,
    /// Something, perhaps: it is stopped before it is started.
    Perhaps,
}

/// The first success of a probe is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trial {
    /// A try that fails from here on is the last.
    pub(super) until: Instant,
    /// The next try.
    pub(super) next: Instant,
    /// The pause after that.
    pub(super) pause: Duration,
}

/// Where a resource has to go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Up, or to stay as it is.
    Up,
    /// Down, whatever comes then.
    Down,
}

/// What an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A monitor: what is there already?
    Look,
    Start,
    /// A monitor right after a start.
    Confirm,
    /// A monitor of a probe that did not succeed yet.
    Try,
    /// A monitor each interval.
    Check,
    Stop,
}

/// An operation under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) op: OpId,
    pub(super) purpose: Purpose,
    pub(super) begun: Instant,
    pub(super) limit: Duration,
}

impl Flight {
    /// How long the machine stood still during an operation that ended `now`; zero if it did not.
    pub(super) fn stood_still(&self, now: Instant) -> Duration {
        let over = now.since(self.begun).saturating_sub(self.limit);
        if over > STOOD_STILL { over } else { Duration::ZERO }
    }
}

impl Trial {
    /// The deadline moves by the time for which the machine stood still during the pause.
    pub(super) fn excuse_pause(&mut self, now: Instant) {
        let over = now.since(self.next);
        if over > STOOD_STILL {
            self.until = self.until + over;
        }
    }
}

/// What happened last, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Last {
    #[default]
    Nothing,
    Failed(String),
    Degraded(String),
}

/// A resource.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    pub(super) phase: Phase,
    pub(super) wish: Wish,
    pub(super) flight: Option<Flight>,
    /// When it is checked next.
    pub(super) next_check: Instant,
    /// It is not started before.
    pub(super) not_before: Instant,
    pub(super) attempts: Attempts,
    /// The fingerprint of what was started; 0 if that is not known.
    pub(super) started_with: u64,
    pub(super) last: Last,
}

impl Resource {
    /// One of which nothing is known but what a controller before this one kept.
    pub(super) fn new(
        plan: &config::Resource,
        saved: Option<&ResourceRuntime>,
        arrival: Arrival,
        now: Instant,
    ) -> Self {
        Self {
            phase: if plan.kind.is_probe() { Phase::Down } else { Phase::Unseen(arrival) },
            wish: Wish::Up,
            flight: None,
            next_check: now,
            not_before: now,
            attempts: saved.map_or_else(Attempts::default, |saved| saved.attempts.clone()),
            started_with: saved.map_or(0, |saved| saved.fingerprint),
            last: Last::Nothing,
        }
    }

    pub(super) const fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up(_))
    }

    /// Whether it runs, and is not about to be stopped.
    pub(super) const fn stays_up(&self) -> bool {
        self.is_up() && matches!(self.wish, Wish::Up)
    }

    /// Whether what it needs may be stopped without pulling it away from under it.
    pub(super) const fn is_at_rest(&self) -> bool {
        match self.phase {
            Phase::Down | Phase::Failed(Remains::Nothing) => true,
            // All that can be done was done: this is a shutdown, and its stop failed.
            Phase::Failed(Remains::Perhaps) => matches!(self.wish, Wish::Up),
            _ => false,
        }
    }

    /// Whether something is under way that a change of the configuration has to wait for. A check or a try is not:
    /// it can be cancelled and made again.
    pub(super) const fn is_busy(&self) -> bool {
        match self.flight {
            None => false,
            Some(flight) => !matches!(flight.purpose, Purpose::Check | Purpose::Try),
        }
    }

    /// For the host and for people; `left_alone` when nothing is started or stopped in its group.
    pub(super) fn report(&self, plan: &config::Resource, now: Instant, left_alone: bool) -> ResourceReport {
        let state = match self.phase {
            Phase::Unseen(_) | Phase::Starting | Phase::Trying(_) => ResourceState::Starting,
            Phase::Down if left_alone => ResourceState::Stopped,
            Phase::Down => ResourceState::Waiting,
            Phase::Up(Health::Good) => ResourceState::Running,
            Phase::Up(Health::Degraded) => ResourceState::Degraded,
            Phase::Failed(_) if self.wish == Wish::Up => ResourceState::Failed,
            Phase::Failed(_) | Phase::Stopping => ResourceState::Stopping,
        };
        let detail = match &self.last {
            Last::Nothing => String::new(),
            Last::Degraded(reason) => reason.clone(),
            Last::Failed(reason) if self.is_up() => format!("runs again after: {reason}"),
            Last::Failed(reason) => reason.clone(),
        };
        ResourceReport {
            name: plan.name.clone(),
            state,
            restarts: self.attempts.within(now, plan.window),
            detail: clip(&detail, MAX_DETAIL).to_owned(),
        }
    }

    pub(super) fn runtime(&self, plan: &config::Resource) -> ResourceRuntime {
        ResourceRuntime {
            name: plan.name.clone(),
            fingerprint: self.started_with,
            process: None, // the shell's to fill in
            attempts: self.attempts.clone(),
        }
    }
}

impl Cause {
    /// A cause of which nothing is known but the words.
    pub(super) fn of(reason: &str) -> Self {
        Self { reason: reason.to_owned(), exit: roost_proto::link::Exit::Unknown, output: String::new() }
    }

    /// The same, told as `reason`.
    pub(super) fn told_as(self, reason: String) -> Self {
        Self { reason, ..self }
    }
}
