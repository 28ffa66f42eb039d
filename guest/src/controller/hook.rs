//! The commands of managed groups: run for the machine, each with a deadline, answered once.

use super::{Controller, KILL_PATIENCE};
use crate::agent::{Agent, End};
use crate::child::Child;
use crate::config::Hook;
use crate::kinds::words;
use crate::log::Level;
use crate::reactor::{Interest, Key};
use crate::spawn::{SpawnError, Spec, read_note};
use crate::subcluster::{Cause, Input, OpId};
use core::time::Duration;
use roost_proto::link::{Circumstances, Exit};
use roost_proto::time::{Instant, Span};
use std::path::PathBuf;

/// A command under way.
#[derive(Debug)]
pub(super) struct Job {
    op: OpId,
    spec: Spec,
    limit: Duration,
    pub(super) deadline: Instant,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// One that was run before, for the same end, is to end first.
    Predecessor(Child),
    Running(Agent),
    /// It took too long and was killed; its end is waited for.
    Killed(Agent),
}

impl Job {
    /// Whether `key` is one of its descriptors.
    pub(super) fn owns(&self, key: Key) -> bool {
        match &self.stage {
            Stage::Predecessor(child) => child.key() == key,
            Stage::Running(agent) | Stage::Killed(agent) => agent.ends_with(key) || agent.writes_to(key),
        }
    }

    /// The process that is waited for.
    pub(super) const fn child(&mut self) -> &mut Child {
        match &mut self.stage {
            Stage::Predecessor(child) => child,
            Stage::Running(agent) | Stage::Killed(agent) => agent.child(),
        }
    }
}

impl Controller {
    /// The machine wants the command of `hook` run.
    pub(super) fn begin_hook(
        &mut self,
        op: OpId,
        group: usize,
        hook: Hook,
        circumstances: Circumstances,
        epoch: u64,
        limit: Duration,
    ) {
        let plan = &self.config.groups[group];
        let managed = plan.managed.as_ref().expect("only a managed group has commands");
        let note = self.hook_note(&plan.name, hook);
        let variables = [
            ("ROOST_GROUP", plan.name.clone()),
            ("ROOST_TARGET", circumstances.target),
            ("ROOST_PREVIOUS", circumstances.previous),
            ("ROOST_REASON", circumstances.reason.word().to_owned()),
            ("ROOST_EPOCH", epoch.to_string()),
        ];
        let spec = Spec {
            command: managed.command(hook).to_vec(),
            environment: variables.map(|(name, value)| (name.to_owned(), value)).into(),
            note: Some(note.clone()),
            ..Spec::default()
        };
        let label = format!("{}/{}", plan.name, hook.key());
        let before = read_note(&note, self.origin.boot_id());
        match before.and_then(|before| Child::adopted(&mut self.reactor, before)) {
            Some(child) => {
                let pid = child.id().pid;
                self.log.line(
                    Level::Info,
                    format_args!("{label}: waiting for the end of process {pid} before it"),
                );
                let stage = Stage::Predecessor(child);
                self.jobs.push(Job { op, spec, limit, deadline: self.now + limit, stage });
            }
            None => self.start_job(op, spec, limit),
        }
    }

    /// `before_online` and `after_offline` share one, for never do two of them run.
    fn hook_note(&self, group: &str, hook: Hook) -> PathBuf {
        let name = match hook {
            Hook::BeforeOnline | Hook::AfterOffline => "hook",
            Hook::Ready => "ready",
        };
        self.run_dir.join(format!("{group}:.{name}")) // no resource's name begins with a dot
    }

    fn start_job(&mut self, op: OpId, spec: Spec, limit: Duration) {
        match Agent::start(&mut self.reactor, &self.origin, &spec) {
            Ok(agent) => {
                let stage = Stage::Running(agent);
                self.jobs.push(Job { op, spec, limit, deadline: self.now + limit, stage });
            }
            Err(SpawnError::Misconfigured(reason) | SpawnError::Failed(reason)) => {
                self.machine.handle(self.now, Input::HookDone { op, result: Err(words(reason)) });
            }
        }
    }

    /// A descriptor of the job at `index` has news.
    pub(super) fn job_ready(&mut self, index: usize, key: Key, interest: Interest) {
        match &mut self.jobs[index].stage {
            Stage::Running(agent) | Stage::Killed(agent) if agent.writes_to(key) => {
                agent.read(interest.contains(Interest::EPOLLHUP));
            }
            Stage::Predecessor(_) | Stage::Running(_) | Stage::Killed(_) => self.end_job(index),
        }
    }

    /// What the job at `index` waited for has ended.
    fn end_job(&mut self, index: usize) {
        let job = self.jobs.swap_remove(index);
        let result = match job.stage {
            Stage::Predecessor(child) => {
                let _ = child.end(); // whose it was is not known
                self.start_job(job.op, job.spec, job.limit);
                return;
            }
            Stage::Running(agent) => result(agent.end()),
            Stage::Killed(agent) => Err(late(job.limit, agent.end().output)),
        };
        self.machine.handle(self.now, Input::HookDone { op: job.op, result });
    }

    /// Ends the waits that are over.
    pub(super) fn jobs_are_due(&mut self) {
        while let Some(index) = self.jobs.iter().position(|job| job.deadline <= self.now) {
            let job = self.jobs.swap_remove(index);
            self.job_is_due(job);
        }
    }

    fn job_is_due(&mut self, mut job: Job) {
        match job.stage {
            Stage::Predecessor(child) => {
                let _ = child.signal(libc::SIGKILL); // gone is what it should be
                self.start_job(job.op, job.spec, job.limit);
            }
            Stage::Running(agent) => {
                agent.kill();
                job.stage = Stage::Killed(agent);
                job.deadline = self.now + KILL_PATIENCE;
                self.jobs.push(job);
            }
            Stage::Killed(agent) => {
                let result = Err(late(job.limit, agent.output()));
                self.dying.push(agent);
                self.machine.handle(self.now, Input::HookDone { op: job.op, result });
            }
        }
    }

    /// Ends job `op`, without an answer.
    pub(super) fn drop_job(&mut self, op: OpId) {
        let Some(index) = self.jobs.iter().position(|job| job.op == op) else { return };
        match self.jobs.swap_remove(index).stage {
            Stage::Running(agent) => {
                agent.kill();
                self.dying.push(agent);
            }
            Stage::Killed(agent) => self.dying.push(agent),
            Stage::Predecessor(child) => {
                let _ = child.signal(libc::SIGKILL); // gone is what it should be
            }
        }
    }
}

fn result(end: End) -> Result<(), Cause> {
    match end.exit {
        Exit::Code(0) => Ok(()),
        exit => Err(Cause { reason: exit.to_string(), exit, output: end.output }),
    }
}

fn late(limit: Duration, output: String) -> Cause {
    let reason = format!("it took longer than {} and was killed", Span(limit));
    Cause { reason, exit: Exit::Signal(libc::SIGKILL), output }
}
