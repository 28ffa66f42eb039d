//! What the shell holds of one resource.

use crate::agent::Agent;
use crate::child::Child;
use crate::config::Kind;
use crate::kinds::file::Freshness;
use crate::kinds::{Seen, Stage};
use crate::probe::Probe;
use crate::process::Capture;
use crate::reactor::Key;
use crate::subcluster::{Action, OpId};
use core::time::Duration;
use roost_proto::local::ProcessId;
use roost_proto::time::Instant;

/// A resource.
#[derive(Debug, Default)]
pub(super) struct Unit {
    /// What was last seen of it.
    pub(super) seen: Seen,
    /// A `process`; the main process of a systemd unit.
    pub(super) child: Option<Child>,
    /// The group of a `process` that has ended by itself; some of it may live.
    pub(super) remains: Option<i32>,
    /// The captured output of a `process`.
    pub(super) capture: Option<Capture>,
    /// Of a `file`.
    pub(super) freshness: Freshness,
    /// An agent of the controller's last life, which must have ended before another is run.
    pub(super) predecessor: Option<ProcessId>,
    /// What is under way.
    pub(super) work: Option<Work>,
}

/// An operation under way.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) order: Order,
    pub(super) action: Action,
    pub(super) limit: Duration,
    pub(super) deadline: Instant,
    pub(super) force: Force,
    pub(super) stage: Doing,
}

/// Who wants it done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The machine.
    Machine(OpId),
    /// The shell: a unit's main process has ended, and what systemd makes of that decides whether it is gone.
    Inquiry,
}

/// What the work is at.
#[derive(Debug)]
pub(super) enum Doing {
    /// A program runs.
    Agent(Agent, Stage),
    /// It took too long and was killed; its end is waited for.
    Killed(Agent),
    /// A pause, until then.
    Pause(Instant, Stage),
    /// A connection is tried.
    Probe(Probe),
    /// A process group is to end; the member is one of it that is waited for, when the leader has ended.
    Group { group: i32, member: Option<Child>, force: Force },
    /// An agent of the controller's last life is to end.
    Predecessor(Child),
}

/// How something is made to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Force {
    /// It was asked to.
    Asked,
    /// It was killed.
    Killed,
}

/// What of a unit an event belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Child,
    Capture,
    AgentEnd,
    AgentOutput,
    Probe,
    Member,
    Predecessor,
}

impl Unit {
    /// When it has something to do if nothing happens before.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let work = self.work.as_ref()?;
        Some(match work.stage {
            Doing::Pause(until, _) => until.min(work.deadline),
            _ => work.deadline,
        })
    }

    /// What `key` belongs to.
    pub(super) fn part(&self, key: Key) -> Option<Part> {
        if self.child.as_ref().is_some_and(|child| child.key() == key) {
            return Some(Part::Child);
        }
        if self.capture.as_ref().is_some_and(|capture| capture.owns(key)) {
            return Some(Part::Capture);
        }
        match &self.work.as_ref()?.stage {
            Doing::Agent(agent, _) | Doing::Killed(agent) if agent.ends_with(key) => Some(Part::AgentEnd),
            Doing::Agent(agent, _) | Doing::Killed(agent) if agent.writes_to(key) => Some(Part::AgentOutput),
            Doing::Probe(probe) if probe.owns(key) => Some(Part::Probe),
            Doing::Group { member: Some(member), .. } if member.key() == key => Some(Part::Member),
            Doing::Predecessor(child) if child.key() == key => Some(Part::Predecessor),
            _ => None,
        }
    }

    /// Every process that is waited for.
    pub(super) fn children(&mut self) -> impl Iterator<Item = &mut Child> {
        let working = match self.work.as_mut().map(|work| &mut work.stage) {
            Some(Doing::Agent(agent, _) | Doing::Killed(agent)) => Some(agent.child()),
            Some(Doing::Group { member, .. }) => member.as_mut(),
            Some(Doing::Predecessor(child)) => Some(child),
            Some(Doing::Pause(..) | Doing::Probe(_)) | None => None,
        };
        self.child.iter_mut().chain(working)
    }
}

/// Whether the shell keeps the child of such a resource in the runtime file.
pub(super) const fn has_process(kind: &Kind) -> bool {
    matches!(kind, Kind::Process(_))
}
