//! Events: whose they are, and what follows at once.

use super::unit::{Doing, Order, Part};
use super::{Controller, Role};
use crate::config::Kind;
use crate::control::{Answer, Control};
use crate::kinds::{Seen, mount, systemd, words};
use crate::log::Level;
use crate::reactor::{Interest, Key};
use crate::subcluster::{Action, Input, ResourceId};
use crate::sys;

impl Controller {
    /// Handles an event.
    pub(super) fn dispatch(&mut self, key: Key, interest: Interest) {
        if let Some((id, part)) = self.units.iter().find_map(|(&id, unit)| Some((id, unit.part(key)?))) {
            self.unit_ready(id, part, interest);
        } else if self.wire.as_ref().is_some_and(|wire| wire.owns(key)) {
            if let Some(wire) = &mut self.wire {
                wire.ready(self.now, interest);
                if let Some(heard) = wire.heard() {
                    self.machine.heard(heard);
                }
            }
        } else if let Some(index) = self.jobs.iter().position(|job| job.owns(key)) {
            self.job_ready(index, key, interest);
        } else if key == self.signals_key.key() {
            self.read_signals();
        } else if self.mounts.as_ref().is_some_and(|mounts| mounts.key() == key) {
            self.look_at_mounts();
        } else if let Some(at) = self.dying.iter().position(|agent| agent.ends_with(key)) {
            drop(self.dying.swap_remove(at).end());
        } else if let Some(agent) = self.dying.iter_mut().find(|agent| agent.writes_to(key)) {
            agent.read(interest.contains(Interest::EPOLLHUP));
        } else {
            self.control_ready(key);
        }
    }

    fn unit_ready(&mut self, id: ResourceId, part: Part, interest: Interest) {
        match part {
            Part::Child => self.child_ended(id),
            Part::Capture => {
                if let Some(capture) = self.units.get_mut(&id).and_then(|unit| unit.capture.as_mut()) {
                    capture.read();
                }
            }
            Part::AgentEnd => self.agent_ended(id),
            Part::AgentOutput => self.agent_wrote(id, interest),
            Part::Probe => self.probe_ready(id),
            Part::Member => self.member_ended(id),
            Part::Predecessor => self.go(id),
        }
    }

    fn child_ended(&mut self, id: ResourceId) {
        let config = self.config.clone();
        match &config.groups[id.group].resources[id.resource].kind {
            Kind::Process(process) => self.process_ended(id, process),
            Kind::Systemd { unit } => self.main_ended(id, unit),
            _ => unreachable!("only these have a child"),
        }
    }

    /// The main process of a systemd unit has ended. Systemd may restart it by itself, so it is asked; unless an operation is
    /// under way, which sees to it anyhow.
    fn main_ended(&mut self, id: ResourceId, name: &str) {
        let unit = self.units.get_mut(&id).expect("each resource has a unit");
        drop(unit.child.take());
        if unit.work.is_none() {
            let limit = self.config.groups[id.group].resources[id.resource].start_timeout;
            self.set_work(id, Order::Inquiry, Action::Monitor, limit, None);
            self.take(id, systemd::look(name));
        }
    }

    fn agent_wrote(&mut self, id: ResourceId, interest: Interest) {
        if let Some(work) = self.units.get_mut(&id).and_then(|unit| unit.work.as_mut())
            && let Doing::Agent(agent, _) | Doing::Killed(agent) = &mut work.stage
        {
            agent.read(interest.contains(Interest::EPOLLHUP));
        }
    }

    fn member_ended(&mut self, id: ResourceId) {
        let Some(work) = self.units.get_mut(&id).and_then(|unit| unit.work.as_mut()) else { return };
        let Doing::Group { group, member, .. } = &mut work.stage else { return };
        let group = *group;
        drop(member.take());
        if self.units[&id].child.is_none() {
            self.wait_for_group(id, group);
        }
    }

    fn look_at_mounts(&mut self) {
        let config = self.config.clone();
        let units = self.units.iter_mut();
        let mut gone = Vec::new();
        for (&id, unit) in units.filter(|(_, unit)| unit.seen == Seen::Up && unit.work.is_none()) {
            if let Kind::Mount { target, options, .. } = &config.groups[id.group].resources[id.resource].kind
                && mount::state(target, options) == mount::State::NotMounted
            {
                unit.seen = Seen::NotUp;
                gone.push((id, words(format!("'{}' was unmounted", target.display()))));
            }
        }
        for (id, cause) in gone {
            self.machine.handle(self.now, Input::Gone { id, cause });
        }
    }

    fn read_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            match i32::try_from(info.ssi_signo).unwrap_or_default() {
                libc::SIGHUP => self.reload(),
                libc::SIGCHLD => self.reap(),
                signal => self.end_by(signal),
            }
        }
    }

    /// Process 1 is every orphan's parent. What is watched beside is told how it ended, and finds that with its own event.
    fn reap(&mut self) {
        debug_assert_eq!(self.role, Role::Init, "a service waits for its own children alone");
        while let Some((pid, status)) = sys::reap(-1) {
            let units = self.units.values_mut().flat_map(super::unit::Unit::children);
            let jobs = self.jobs.iter_mut().map(super::hook::Job::child);
            let mut children = units.chain(jobs).chain(self.dying.iter_mut().map(crate::agent::Agent::child));
            if let Some(child) = children.find(|child| child.id().pid == pid) {
                child.was_reaped(status);
            }
        }
    }

    fn control_ready(&mut self, key: Key) {
        let Some(mut control) = self.control.take() else { return };
        let now = self.now;
        self.hand_over(|reactor, answer| control.ready(now, key, reactor, answer));
        self.control = Some(control);
    }

    /// The control socket cannot be had: said, and gone without.
    pub(super) fn without_control(&self, error: &std::io::Error) -> Option<Control> {
        self.log.line(
            Level::Error,
            format_args!(
                "cannot open '{}': {}; applications are kept running, but nobody can ask about them",
                self.run_dir.join("control.sock").display(),
                crate::spawn::reason(error)
            ),
        );
        None
    }

    fn hand_over(&mut self, act: impl FnOnce(&mut crate::reactor::Reactor, &mut dyn Answer) -> bool) {
        let processes = self.processes();
        let mut desk = super::desk::Desk {
            now: self.now,
            config: &self.config,
            machine: &mut self.machine,
            link: self.wire.as_ref().map(crate::link::wire::Wire::status),
            state: &mut self.state,
            processes,
            log: self.log,
        };
        act(&mut self.reactor, &mut desk);
    }
}
