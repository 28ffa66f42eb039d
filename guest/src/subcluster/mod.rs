//! The sub-cluster: the service groups of this machine and every decision about them.
//!
//! A pure machine. The shell tells it what happened ([`Input`]) and does what it says ([`Output`]); it opens nothing,
//! starts nothing, and reads no clock. It has at most one operation under way for each resource.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod desk;
mod group;
mod managed;
mod order;
mod outcome;
mod reload;
mod report;
mod resource;
mod restart;
mod watch;

use crate::config::{self, Config, Hook};
use core::time::Duration;
use desk::{Desk, Hold, Turn};
use group::Group;
use reload::Reload;
use resource::{Arrival, Resource};
use roost_proto::link::{Circumstances, Exit, GroupReport, ManagedReport, Order, Readiness};
use roost_proto::local::{RUNTIME_VERSION, Runtime};
use roost_proto::time::Instant;
use std::sync::Arc;
use watch::TOGETHER;

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

/// What can be done with a resource. A probe is only ever monitored.
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
    /// The limit was over; whatever was started for the operation has been killed. When the machine stood still meanwhile
    /// (suspended), the shell need not know: an answer that is late by more than a busy machine explains is not believed.
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
    /// What a `process` left of its process group the shell has killed already, here and when its monitor ends in
    /// [`Outcome::Stopped`]: such a resource is started next, without a stop.
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
    /// The connection to the host is a new one. All groups are told on it as [`SubCluster::reports`] has them next.
    Met,
    /// The host orders a managed group online or offline. What is not configured, or not managed, is ignored.
    Order(Order),
    /// The host asks whether a managed group could be brought online here.
    AskReady {
        /// Its name.
        group: String,
        /// What the answer names.
        number: u32,
        /// For the command's environment.
        circumstances: Circumstances,
    },
    /// The command of [`Output::Hook`] ended: well, or not. It is answered once, unless it was cancelled.
    HookDone {
        /// Which.
        op: OpId,
        /// How.
        result: Result<(), Cause>,
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
    /// Run a command of a managed group, and answer with [`Input::HookDone`] within `limit`. One that a controller before this
    /// one, or a cancelled order, has left running for the same end is let end, or killed, before.
    Hook {
        /// The operation's name.
        op: OpId,
        /// The group's index.
        group: usize,
        /// Which command.
        hook: Hook,
        /// For its environment.
        circumstances: Circumstances,
        /// For its environment: that of the group's last order.
        epoch: u64,
        /// The longest it may take.
        limit: Duration,
    },
    /// This group changed: tell the host.
    Report(Report),
    /// The answer to [`Input::AskReady`], for the host.
    Ready {
        /// The group's name.
        group: String,
        /// The question's number.
        number: u32,
        /// Whether it could.
        readiness: Readiness,
    },
    /// Keep this, so that a restarted controller can go on from here. The shell adds what only it knows: boot, starts, processes.
    Persist(Runtime),
    /// A reload reached the point where nothing of the old configuration is under way: from here on every [`ResourceId`]
    /// speaks of the new one. The shell carries its processes over by name.
    Switch,
    /// Something that a person would want to read in the log.
    Log(String),
}

/// A group as the host is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// One that is kept running always.
    Group(GroupReport),
    /// One that the host orders about.
    Managed(ManagedReport),
}

impl Report {
    /// How it is.
    pub const fn group(&self) -> &GroupReport {
        match self {
            Self::Group(report) => report,
            Self::Managed(managed) => &managed.report,
        }
    }
}

/// The machine. The shell gives it each event by [`SubCluster::handle`], calls [`SubCluster::handle_timeout`] when
/// [`SubCluster::poll_timeout`] says, and after either takes every [`Output`] before it does anything else.
#[derive(Debug)]
pub struct SubCluster {
    config: Arc<Config>,
    groups: Vec<Group>,
    reload: Option<Reload>,
    life: Life,
    now: Instant,
    /// When the host was heard last; nothing before it was in this life of the controller.
    heard: Option<Instant>,
    /// When this life began: a host that was not heard since had no chance before.
    begun: Instant,
    desk: Desk,
}

/// Whether the machine's groups are to run at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Running,
    ShuttingDown,
    Down,
}

impl SubCluster {
    /// Begins to look after `config`. `saved` is what the controller before this one kept in the same boot of the
    /// machine, or empty; `seed` should be drawn at random, and serves only to spread moments.
    pub fn new(config: Arc<Config>, saved: &Runtime, seed: u64, now: Instant) -> Self {
        let group = |plan: &config::Group| {
            let saved = saved.groups.iter().find(|saved| saved.name == plan.name);
            Group::new(plan, saved, Arrival::WithOthers, now)
        };
        let groups = config.groups.iter().map(group).collect();
        let mut machine = Self {
            config,
            groups,
            reload: None,
            life: Life::Running,
            now,
            heard: None,
            begun: now,
            desk: Desk::new(seed),
        };
        machine.settle();
        machine
    }

    /// Takes in what happened.
    ///
    /// # Panics
    /// If `input` names a group or resource that the configuration does not have.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.advance(now);
        match input {
            Input::Done { op, outcome } => self.done(op, outcome),
            Input::Gone { id, cause } => {
                self.with(id.group, |group, turn| group.gone(turn, id.resource, cause));
            }
            Input::Freeze { group } => self.with(group, Group::freeze),
            Input::Thaw { group } => self.with(group, Group::thaw),
            Input::Met => (0..self.groups.len()).for_each(|group| self.with(group, Group::meet)),
            Input::Order(order) => {
                if let Some(group) = self.index(&order.group) {
                    self.with(group, |group, turn| group.order(turn, order));
                }
            }
            Input::AskReady { group, number, circumstances } => self.ask_ready(group, number, circumstances),
            Input::HookDone { op, result } => {
                if let Some(index) = self.groups.iter().position(|group| group.has_hook(op)) {
                    self.with(index, |group, turn| group.hook_done(turn, op, result));
                }
            }
        }
        self.settle();
    }

    /// The host was heard at `at`: managed groups may go on for another lease.
    pub fn heard(&mut self, at: Instant) {
        self.heard = self.heard.max(Some(at));
    }

    /// When the host was heard last, in this life of the controller.
    pub const fn last_heard(&self) -> Option<Instant> {
        self.heard
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.config.groups.iter().position(|group| group.name == name)
    }

    fn ask_ready(&mut self, group: String, number: u32, circumstances: Circumstances) {
        match self.index(&group) {
            Some(index) => self.with(index, |group, turn| group.ask_ready(turn, number, circumstances)),
            None => {
                let readiness = managed::not_ready("there is no such group");
                self.desk.put(Output::Ready { group, number, readiness });
            }
        }
    }

    /// Changes to `config`. What is removed or starts otherwise than before is stopped first, with all that depends on
    /// it, and when nothing but monitors is under way, [`Output::Switch`] is put out. A reload that comes while another
    /// waits replaces it; one that comes after [`SubCluster::shut_down`] is ignored.
    pub fn reload(&mut self, now: Instant, config: Arc<Config>) {
        self.advance(now);
        if self.life == Life::Running {
            self.begin_reload(config);
        }
        self.settle();
    }

    /// Stops every group that is not frozen, for good: the groups at once, in each what depends on something before
    /// that. A reload that waits is given up.
    pub fn shut_down(&mut self, now: Instant) {
        self.advance(now);
        if self.life == Life::Running {
            self.life = Life::ShuttingDown;
            self.reload = None;
            (0..self.groups.len()).for_each(|group| self.with(group, Group::shut_down));
        }
        self.settle();
    }

    /// Whether [`SubCluster::shut_down`] was called and has nothing more to do. What could not be stopped, and what is
    /// frozen, may still run.
    pub fn is_down(&self) -> bool {
        self.life == Life::Down
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        let heard = self.lease_begin();
        let mut begun = 0;
        for group in 0..self.groups.len() {
            self.with(group, |group, turn| group.expire(turn, heard));
        }
        for group in 0..self.groups.len() {
            begun += self.with(group, Group::begin_due);
        }
        for group in 0..self.groups.len() {
            if begun > 0 && begun < TOGETHER {
                begun += self.with(group, |group, turn| group.begin_early(turn, TOGETHER - begun));
            }
        }
        self.settle();
    }

    /// What is to be kept as of now, if an output that says so was not taken yet: for whoever answers before it is.
    pub fn kept(&self) -> Option<&Runtime> {
        self.desk.kept()
    }

    /// The next thing to do; `None` when nothing is left.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.desk.take()
    }

    /// Whether something is to be done.
    pub fn has_output(&self) -> bool {
        !self.desk.is_empty()
    }

    /// When [`SubCluster::handle_timeout`] is to be called, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let heard = self.lease_begin();
        let groups = self.groups.iter().zip(&self.config.groups);
        groups.filter_map(|(group, plan)| group.next_timeout(plan, self.now, heard)).min()
    }

    /// When the leases of the managed groups begin.
    fn lease_begin(&self) -> Instant {
        self.heard.unwrap_or(self.begun)
    }

    /// Every group as it is now, in the order of the configuration.
    pub fn reports(&self) -> Vec<Report> {
        let groups = self.groups.iter().zip(&self.config.groups);
        groups.map(|(group, plan)| group.report(plan, self.now)).collect()
    }

    /// The clock never goes back, whatever the caller says.
    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    fn done(&mut self, op: OpId, outcome: Outcome) {
        let is_its = |resource: &Resource| resource.flight.is_some_and(|flight| flight.op == op);
        for group in 0..self.groups.len() {
            let Some(r) = self.groups[group].resources.iter().position(is_its) else { continue };
            self.with(group, |group, turn| {
                let flight = group.resources[r].flight.take().expect("it was just found");
                group.done(turn, r, flight, outcome);
            });
            return;
        }
        // It was cancelled while its answer was on the way.
    }

    /// Lets group `index` act.
    fn with<T>(&mut self, index: usize, act: impl FnOnce(&mut Group, &mut Turn<'_>) -> T) -> T {
        let hold = self.reload.as_ref().map_or(Hold::Nothing, |reload| reload.hold(index));
        let mut turn = Turn {
            now: self.now,
            group: index,
            plan: &self.config.groups[index],
            hold,
            desk: &mut self.desk,
        };
        act(&mut self.groups[index], &mut turn)
    }

    /// After every input: begins what may begin now, and tells what changed.
    fn settle(&mut self) {
        self.step();
        if self.may_switch() {
            self.switch();
            self.step();
        }
        if self.life == Life::ShuttingDown && self.groups.iter().all(Group::is_down) {
            self.life = Life::Down;
            self.desk.log("all groups are stopped".to_owned());
        }
        let groups = self.groups.iter_mut().zip(&self.config.groups);
        let reports = groups.filter_map(|(group, plan)| group.news(plan, self.now)).collect();
        let groups = self.groups.iter().zip(&self.config.groups);
        self.desk.close(reports, || Runtime {
            version: RUNTIME_VERSION,
            groups: groups.map(|(group, plan)| group.runtime(plan)).collect(),
            ..Runtime::default() // the rest is the shell's to fill in
        });
    }

    fn step(&mut self) {
        for group in 0..self.groups.len() {
            self.with(group, Group::step);
        }
    }
}
