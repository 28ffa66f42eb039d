//! The shell around the sub-cluster's machine: it turns descriptors, processes and time into inputs, and outputs into deeds.
//!
//! One thread, one epoll. It decides nothing about applications.

mod desk;
mod ending;
mod event;
mod hook;
mod operate;
mod process;
mod reload;
mod start;
mod unit;

pub use start::Failure;

use crate::agent::Agent;
use crate::clock;
use crate::config::Config;
use crate::control::Control;
use crate::link::wire::{Surroundings, Wire};
use crate::log::{Level, Log};
use crate::reactor::{Interest, Key, Reactor, Watched};
use crate::spawn::Origin;
use crate::state::StateFile;
use crate::subcluster::{Output, Report, ResourceId, SubCluster};
use core::time::Duration;
use ending::Ending;
use hook::Job;
use nix::sys::signalfd::SignalFd;
use roost_proto::exit::Exit;
use roost_proto::link::Hello;
use roost_proto::time::Instant;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use unit::Unit;

/// What this process is to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// A service among others.
    Service,
    /// Process 1: all orphans are its children, and its end is the machine's.
    Init,
}

/// The controller.
#[derive(Debug)]
pub struct Controller {
    log: Log,
    role: Role,
    origin: Origin,
    config_path: PathBuf,
    run_dir: PathBuf,
    /// Held locked, so that no second controller uses the same run directory.
    _lock: File,
    reactor: Reactor,
    signals: SignalFd,
    signals_key: Watched,
    /// `/proc/self/mountinfo`, while some resource is a mount.
    mounts: Option<Watched>,
    config: Arc<Config>,
    /// What a reload that is under way leads to.
    next: Option<Arc<Config>>,
    machine: SubCluster,
    units: BTreeMap<ResourceId, Unit>,
    /// The commands of managed groups that are under way.
    jobs: Vec<Job>,
    /// Agents that were killed and are no longer waited for, until they are reaped.
    dying: Vec<Agent>,
    state: StateFile,
    hello: Hello,
    wire: Option<Wire>,
    control: Option<Control>,
    seed: u64,
    ending: Option<Ending>,
    now: Instant,
}

impl Controller {
    /// Works until it is told to end.
    pub fn run(mut self) -> Exit {
        let mut ready: Vec<(Key, Interest)> = Vec::new();
        loop {
            self.settle();
            if let Some(exit) = self.end_if_due() {
                return exit;
            }
            let limit = self.poll_timeout().map(|due| due.since(self.now));
            if let Err(error) = self.reactor.wait(limit, &mut ready) {
                self.log.line(Level::Error, format_args!("cannot wait for events: {error}"));
                return Exit::System; // whoever started it starts it again, and it adopts what runs
            }
            self.now = clock::now();
            for (key, interest) in ready.drain(..) {
                self.dispatch(key, interest);
            }
            self.do_what_is_due();
        }
    }

    /// Carries out all that the machine wants, until it wants nothing more.
    fn settle(&mut self) {
        loop {
            let batch = self.next_batch();
            let is_idle = batch.is_empty();
            batch.into_iter().for_each(|output| self.carry_out(output));
            if is_idle {
                self.turn_wire(); // what the host orders comes by it
                if !self.machine.has_output() {
                    break;
                }
            }
        }
        self.store();
    }

    /// Keeps what changed.
    fn store(&mut self) {
        let processes = self.processes();
        self.state.store(&self.config, &processes, self.log);
    }

    /// What the machine wants, up to a change of the configuration. The host is told first: it costs microseconds, and only so
    /// does it see that something was down which is up again in the next millisecond.
    fn next_batch(&mut self) -> Vec<Output> {
        let mut batch = Vec::new();
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Report(report) => self.tell(report),
                Output::Ready { group, number, readiness } => {
                    if let Some(wire) = &mut self.wire {
                        wire.answer(group, number, readiness);
                    }
                }
                Output::Persist(runtime) => self.state.keep(runtime),
                Output::Switch => {
                    batch.push(output);
                    break;
                }
                output => batch.push(output),
            }
        }
        batch
    }

    /// Tells the host. What it may build upon, that a managed group is offline in an epoch, must outlast this controller before.
    fn tell(&mut self, report: Report) {
        if matches!(report, Report::Managed(_)) {
            if let Some(runtime) = self.machine.kept() {
                self.state.keep(runtime.clone());
            }
            self.store();
        }
        if let Some(wire) = &mut self.wire {
            wire.report(report);
            wire.flush(self.now, &self.reactor);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Run { op, id, action, limit } => self.begin(op, id, action, limit),
            Output::Cancel { op } => self.cancel(op),
            Output::Hook { op, group, hook, circumstances, epoch, limit } => {
                self.begin_hook(op, group, hook, circumstances, epoch, limit);
            }
            Output::Switch => self.switch(),
            Output::Log(text) => self.log.line(Level::Info, format_args!("{text}")),
            Output::Report(_) | Output::Ready { .. } | Output::Persist(_) => {
                unreachable!("they were seen to before")
            }
        }
    }

    fn turn_wire(&mut self) {
        if let Some(wire) = &mut self.wire {
            let mut around =
                Surroundings { reactor: &mut self.reactor, hello: &self.hello, groups: &mut self.machine };
            let log = self.log;
            wire.turn(self.now, &mut around, |text| log.line(Level::Info, format_args!("{text}")));
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let units = self.units.values().filter_map(Unit::poll_timeout);
        let others = [
            self.machine.poll_timeout(),
            self.wire.as_ref().map(Wire::poll_timeout),
            self.control.as_ref().and_then(Control::poll_timeout),
            self.ending.as_ref().and_then(Ending::poll_timeout),
        ];
        let jobs = self.jobs.iter().map(|job| job.deadline);
        units.chain(jobs).chain(others.into_iter().flatten()).min()
    }

    fn do_what_is_due(&mut self) {
        let due: Vec<ResourceId> = self
            .units
            .iter()
            .filter(|(_, unit)| unit.poll_timeout().is_some_and(|due| due <= self.now))
            .map(|(&id, _)| id)
            .collect();
        for id in due {
            self.is_due(id);
        }
        self.jobs_are_due();
        if self.machine.poll_timeout().is_some_and(|due| due <= self.now) {
            self.machine.handle_timeout(self.now);
        }
        if let Some(control) = &mut self.control {
            control.turn(self.now, &self.reactor);
        }
    }

    /// `GROUP/RESOURCE`, for messages.
    fn label(&self, id: ResourceId) -> String {
        let group = &self.config.groups[id.group];
        format!("{}/{}", group.name, group.resources[id.resource].name)
    }
}

/// How long what was killed may take to end, before it is said that it cannot be killed: a process that waits for a dead disk may
/// never end, and nothing else may wait for it.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
