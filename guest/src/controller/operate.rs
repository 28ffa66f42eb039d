//! Operations: begun as the machine wants, carried on as their events come, answered once.

use super::unit::{Doing, Force, Order, Work};
use super::{Controller, KILL_PATIENCE};
use crate::agent::Agent;
use crate::child::Child;
use crate::config::Kind;
use crate::kinds::{self, Seen, Stage, Step, Task, systemd, words};
use crate::log::Level;
use crate::probe::{Begun, Probe};
use crate::procfs;
use crate::subcluster::{Action, Input, OpId, Outcome, ResourceId};
use core::time::Duration;

/// How long a stop by force may take, all of it: systemd kills within moments, and what cannot be killed is not waited for.
const FORCE_LIMIT: Duration = Duration::from_secs(10);

impl Controller {
    /// The machine wants `action` done.
    pub(super) fn begin(&mut self, op: OpId, id: ResourceId, action: Action, limit: Duration) {
        self.drop_work(id); // an inquiry, at most, which this operation makes needless
        self.set_work(id, Order::Machine(op), action, limit, None);
        let unit = self.units.get_mut(&id).expect("each resource has a unit");
        if let Some(before) = unit.predecessor.take()
            && let Some(child) = Child::adopted(&mut self.reactor, before)
        {
            let label = self.label(id);
            self.log.line(
                Level::Info,
                format_args!(
                    "{label}: waiting for an agent of the controller before this one, process {}",
                    before.pid
                ),
            );
            self.doing(id, Doing::Predecessor(child));
            return;
        }
        self.go(id);
    }

    /// Begins the work for real.
    pub(super) fn go(&mut self, id: ResourceId) {
        let config = self.config.clone();
        let resource = &config.groups[id.group].resources[id.resource];
        let Some(action) = self.units[&id].work.as_ref().map(|work| work.action) else { return };
        if action == Action::Start {
            self.refresh_dependents(id);
        }
        match &resource.kind {
            Kind::Process(process) => self.go_process(id, process, action),
            Kind::Tcp { .. } | Kind::Http(_) | Kind::File { .. } if action == Action::Stop => {
                self.finish(id, Outcome::Stopped);
            }
            Kind::Tcp { .. } | Kind::Http(_) => match Probe::begin(&mut self.reactor, &resource.kind) {
                Begun::Running(probe) => self.doing(id, Doing::Probe(probe)),
                Begun::Done(outcome) => self.finish(id, outcome),
            },
            Kind::File { path, max_age } => {
                let now = self.now;
                let outcome = self.units.get_mut(&id).map(|unit| unit.freshness.look(now, path, *max_age));
                self.finish(id, outcome.expect("each resource has a unit"));
            }
            _ => {
                let step = self.with_task(id, kinds::begin);
                self.take(id, step);
            }
        }
    }

    /// What changes files is being restarted, and has its time again.
    fn refresh_dependents(&mut self, id: ResourceId) {
        let config = self.config.clone();
        for (index, resource) in config.groups[id.group].resources.iter().enumerate() {
            let other = ResourceId { group: id.group, resource: index };
            if resource.needs.contains(&id.resource)
                && let Some(unit) = self.units.get_mut(&other)
            {
                unit.freshness.forget();
            }
        }
    }

    pub(super) fn set_work(
        &mut self,
        id: ResourceId,
        order: Order,
        action: Action,
        limit: Duration,
        stage: Option<Doing>,
    ) {
        let deadline = self.now + limit;
        let stage = stage.unwrap_or(Doing::Pause(deadline, Stage::Act));
        let work = Work { order, action, limit, deadline, force: Force::Asked, stage };
        self.units.get_mut(&id).expect("each resource has a unit").work = Some(work);
    }

    pub(super) fn doing(&mut self, id: ResourceId, stage: Doing) {
        if let Some(work) = self.units.get_mut(&id).and_then(|unit| unit.work.as_mut()) {
            work.stage = stage;
        }
    }

    pub(super) fn with_task<T>(&self, id: ResourceId, of: impl FnOnce(&Task<'_>) -> T) -> T {
        let group = &self.config.groups[id.group];
        let unit = &self.units[&id];
        let work = unit.work.as_ref().expect("only work has a task");
        of(&Task {
            group: &group.name,
            resource: &group.resources[id.resource],
            action: work.action,
            seen: unit.seen,
            limit: work.limit,
        })
    }

    /// Takes the next step.
    pub(super) fn take(&mut self, id: ResourceId, step: Step) {
        match step {
            Step::Done(outcome) => self.finish(id, outcome),
            Step::Wait(pause, stage) => self.doing(id, Doing::Pause(self.now + pause, stage)),
            Step::Run(mut spec, stage) => {
                if self.with_task(id, |task| task.action != Action::Monitor) {
                    spec.note = Some(self.note_path(id));
                }
                match Agent::start(&mut self.reactor, &self.origin, &spec) {
                    Ok(agent) => self.doing(id, Doing::Agent(agent, stage)),
                    Err(error) => self.take_failure(id, stage, kinds::not_started(error)),
                }
            }
        }
    }

    /// Without the journal the outcome stays what it is; any other program is missed.
    fn take_failure(&mut self, id: ResourceId, stage: Stage, outcome: Outcome) {
        match stage {
            Stage::Systemd(systemd::Stage::Journal(known)) => self.finish(id, *known),
            _ => self.finish(id, outcome),
        }
    }

    /// The agent of `id` has ended.
    pub(super) fn agent_ended(&mut self, id: ResourceId) {
        let Some(work) = self.units.get_mut(&id).and_then(|unit| unit.work.as_mut()) else { return };
        match core::mem::replace(&mut work.stage, Doing::Pause(work.deadline, Stage::Act)) {
            Doing::Agent(agent, stage) => {
                let end = agent.end();
                let main = systemd::main_pid(&end.output).filter(|_| is_look(&stage));
                let step = self.with_task(id, |task| kinds::ended(task, stage, end));
                let step = self.follow_main(id, main, step);
                self.take(id, step);
            }
            Doing::Killed(agent) => {
                let output = agent.end().output;
                self.overrun(id, output);
            }
            other => work.stage = other,
        }
    }

    /// Watches the main process of a unit that runs. One that has ended by now is news to systemd, too: it is asked again.
    fn follow_main(&mut self, id: ResourceId, main: Option<i32>, step: Step) -> Step {
        let (Some(pid), Step::Done(Outcome::Running)) = (main, &step) else { return step };
        let unit = self.units.get_mut(&id).expect("each resource has a unit");
        if unit.child.as_ref().is_some_and(|child| child.id().pid == pid) {
            return step;
        }
        unit.child = procfs::identify(pid).and_then(|process| Child::adopted(&mut self.reactor, process));
        if unit.child.is_some() {
            return step;
        }
        let Kind::Systemd { unit } = &self.config.groups[id.group].resources[id.resource].kind else {
            unreachable!("only units of systemd have a main process")
        };
        match systemd::look(unit) {
            Step::Run(_, stage) => Step::Wait(systemd::FIRST_PAUSE, stage),
            step => step,
        }
    }

    /// Time is over, and what ran has ended.
    fn overrun(&mut self, id: ResourceId, output: String) {
        let step = self.with_task(id, |task| kinds::overran(task, output));
        let Some(work) = self.units.get_mut(&id).and_then(|unit| unit.work.as_mut()) else { return };
        if work.force == Force::Killed {
            self.finish(id, Outcome::Failed(words("it could not be stopped, not even by force")));
            return;
        }
        work.force = Force::Killed;
        work.deadline = self.now + FORCE_LIMIT; // for force, if this kind has any
        self.take(id, step);
    }

    /// The work of `id` has come to a deadline, or the end of a pause.
    pub(super) fn is_due(&mut self, id: ResourceId) {
        let now = self.now;
        let Some(work) = self.units.get_mut(&id).and_then(|unit| unit.work.as_mut()) else { return };
        let is_over = work.deadline <= now;
        match &mut work.stage {
            Doing::Agent(agent, _) => {
                agent.kill();
                work.deadline = now + KILL_PATIENCE;
                if let Doing::Agent(agent, _) =
                    core::mem::replace(&mut work.stage, Doing::Pause(now, Stage::Act))
                {
                    work.stage = Doing::Killed(agent);
                }
            }
            Doing::Killed(agent) => {
                let output = agent.output();
                self.give_up_agent(id);
                self.overrun(id, output);
            }
            Doing::Pause(..) if is_over => self.overrun(id, String::new()),
            Doing::Pause(_, stage) => {
                let stage = stage.clone();
                self.resume(id, stage);
            }
            Doing::Probe(_) => {
                let late = format!("no answer within {} ms", work.limit.as_millis());
                self.finish(id, Outcome::TimedOut(words(late)));
            }
            Doing::Group { .. } => self.group_is_due(id),
            Doing::Predecessor(child) => {
                let _ = child.signal(libc::SIGKILL); // gone is what it should be
                work.deadline = now + work.limit;
                self.go(id);
            }
        }
    }

    fn resume(&mut self, id: ResourceId, stage: Stage) {
        let kind = &self.config.groups[id.group].resources[id.resource].kind;
        if let (Kind::Systemd { unit }, Stage::Systemd(stage)) = (kind, stage) {
            let step = systemd::again(unit, stage);
            self.take(id, step);
        }
    }

    fn give_up_agent(&mut self, id: ResourceId) {
        if let Some(work) = self.units.get_mut(&id).and_then(|unit| unit.work.as_mut())
            && let Doing::Killed(agent) | Doing::Agent(agent, _) =
                core::mem::replace(&mut work.stage, Doing::Pause(self.now, Stage::Act))
        {
            self.dying.push(agent);
        }
    }

    /// The probe of `id` has news.
    pub(super) fn probe_ready(&mut self, id: ResourceId) {
        let kind = &self.config.groups[id.group].resources[id.resource].kind;
        let Some(work) = self.units.get_mut(&id).and_then(|unit| unit.work.as_mut()) else { return };
        let Doing::Probe(probe) = &mut work.stage else { return };
        if let Some(outcome) = probe.advance(&self.reactor, kind) {
            self.finish(id, outcome);
        }
    }

    /// The work of `id` is done, and whoever wanted it is told.
    pub(super) fn finish(&mut self, id: ResourceId, outcome: Outcome) {
        let unit = self.units.get_mut(&id).expect("each resource has a unit");
        let Some(work) = unit.work.take() else { return };
        match (&outcome, work.action) {
            (Outcome::Running | Outcome::Degraded(_), _) => unit.seen = Seen::Up,
            (Outcome::Stopped, _) => unit.seen = Seen::NotUp,
            _ => {}
        }
        match work.order {
            Order::Machine(op) => self.machine.handle(self.now, Input::Done { op, outcome }),
            Order::Inquiry => self.answer_inquiry(id, outcome),
        }
    }

    fn answer_inquiry(&mut self, id: ResourceId, outcome: Outcome) {
        let cause = match outcome {
            Outcome::Running | Outcome::Degraded(_) => {
                let label = self.label(id);
                self.log.line(Level::Info, format_args!("{label}: systemd has restarted it by itself"));
                return;
            }
            Outcome::Stopped => words("its main process ended, and systemd says that it is stopped"),
            Outcome::Failed(cause) | Outcome::TimedOut(cause) | Outcome::Misconfigured(cause) => cause,
        };
        self.machine.handle(self.now, Input::Gone { id, cause });
    }

    /// The machine no longer wants `op`.
    pub(super) fn cancel(&mut self, op: OpId) {
        let is_its = |work: &Work| work.order == Order::Machine(op);
        let id =
            self.units.iter().find(|(_, unit)| unit.work.as_ref().is_some_and(is_its)).map(|(&id, _)| id);
        match id {
            Some(id) => self.drop_work(id),
            None => self.drop_job(op),
        }
    }

    /// Ends whatever is under way for `id`, without an answer.
    pub(super) fn drop_work(&mut self, id: ResourceId) {
        let Some(work) = self.units.get_mut(&id).and_then(|unit| unit.work.take()) else { return };
        match work.stage {
            Doing::Agent(agent, _) => {
                agent.kill();
                self.dying.push(agent);
            }
            Doing::Killed(agent) => self.dying.push(agent),
            Doing::Group { .. } | Doing::Pause(..) | Doing::Probe(_) | Doing::Predecessor(_) => {}
        }
    }
}

const fn is_look(stage: &Stage) -> bool {
    matches!(stage, Stage::Systemd(systemd::Stage::Look(_)))
}
