//! The sub-cluster: the service groups of this machine and every decision about them.
//!
//! A pure machine. The shell tells it what happened ([`Input`]) and does what it says ([`Output`]); it opens nothing,
//! starts nothing, and reads no clock. It has at most one operation under way for each resource.

use core::time::Duration;
use roost_proto::link::{Exit, GroupReport};
use roost_proto::local::Runtime;

/// A resource: indices of its group in the configuration and of itself in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceId {
    /// Its group's place in [`crate::config::Config::groups`].
    pub group: usize,
    /// Its place in [`crate::config::Group::resources`].
    pub resource: usize,
}

/// What tells one operation from another; never used twice in one life of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// What can be done with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Bring it up.
    Start,
    /// Take it down. Ends in [`Outcome::Stopped`] when it no longer runs, however that came about; the shell forces it when
    /// the limit is over.
    Stop,
    /// See how it is.
    Monitor,
}

/// How an operation ended. For `Start`, `Running` or `Degraded` is success; for `Stop`, `Stopped`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It runs.
    Running,
    /// It runs below its best.
    Degraded(Cause),
    /// It does not run, and that is all there is to it.
    Stopped,
    /// It failed.
    Failed(Cause),
    /// The limit was over; whatever was started for the operation has been killed.
    TimedOut(Cause),
    /// It is set up wrongly (OCF 2, 3, 4, 5, 6; no such program, agent, unit or user): no restart mends that.
    Misconfigured(Cause),
}

/// Why, as told to people and to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// In a few words, at most `MAX_REASON` bytes.
    pub reason: String,
    /// How the process or agent ended.
    pub exit: Exit,
    /// The last lines of output, at most `MAX_OUTPUT` bytes.
    pub output: String,
}

/// What the shell tells the machine.
#[derive(Clone, Debug)]
pub enum Input {
    /// Operation `op` ended. Each is answered once, unless it was cancelled.
    Done {
        /// Which.
        op: OpId,
        /// How.
        outcome: Outcome,
    },
    /// A resource that was running was seen to end, by an event of the kernel: its process died, its mount went away.
    Gone {
        /// Which.
        id: ResourceId,
        /// Why.
        cause: Cause,
    },
    /// A person wants the group watched and not touched.
    Freeze {
        /// Its index.
        group: usize,
    },
    /// A person wants the group taken care of again; a faulted one is started afresh.
    Thaw {
        /// Its index.
        group: usize,
    },
}

/// What the machine tells the shell to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Carry out `action`, and answer with [`Input::Done`] within `limit` (a stop: soon after, when it had to be forced).
    Run {
        /// The operation's name.
        op: OpId,
        /// On what.
        id: ResourceId,
        /// What.
        action: Action,
        /// The longest it may take.
        limit: Duration,
    },
    /// Kill whatever runs for operation `op`, and do not answer it. (A start that is no longer wanted; a stop follows.)
    Cancel {
        /// Which.
        op: OpId,
    },
    /// This group changed: tell the host.
    Report(GroupReport),
    /// Keep this, so that a restarted controller can go on from here. The shell adds what only it knows: boot, starts, processes.
    Persist(Runtime),
    /// A reload reached the point where nothing of the old configuration is under way: from here on every [`ResourceId`]
    /// speaks of the new one. The shell carries its processes over by name.
    Switch,
    /// Something that a person would want to read in the log.
    Log(String),
}

/// The machine.
#[derive(Debug)]
pub struct SubCluster {}

impl SubCluster {
    /// A machine that begins to look after `config`; `saved` is empty on a fresh boot.
    pub fn new(
        _config: std::sync::Arc<crate::config::Config>,
        _saved: &Runtime,
        _seed: u64,
        _now: roost_proto::time::Instant,
    ) -> Self {
        Self {}
    }
    /// Takes in what happened.
    pub fn handle(&mut self, _now: roost_proto::time::Instant, _input: Input) {}
    /// Changes to another configuration.
    pub fn reload(
        &mut self,
        _now: roost_proto::time::Instant,
        _config: std::sync::Arc<crate::config::Config>,
    ) {
    }
    /// Stops all groups, in reverse order, for good.
    pub fn shut_down(&mut self, _now: roost_proto::time::Instant) {}
    /// Whether, after `shut_down`, nothing runs any more.
    pub fn is_down(&self) -> bool {
        false
    }
    /// Does what is due.
    pub fn handle_timeout(&mut self, _now: roost_proto::time::Instant) {}
    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }
    /// When `handle_timeout` is due.
    pub fn poll_timeout(&self) -> Option<roost_proto::time::Instant> {
        None
    }
    /// Every group as it is now.
    pub fn reports(&self) -> Vec<GroupReport> {
        Vec::new()
    }
}
