//! What each kind of resource needs done, and what it means when it is done: command lines, and the reading of exit statuses.
//!
//! Nothing here starts or reads anything; the shell does, as a [`Step`] says.

pub mod exec;
pub mod file;
pub mod http;
pub mod lsb;
pub mod mount;
pub mod ocf;
pub mod systemd;

use crate::agent::End;
use crate::config::{Kind, Resource};
use crate::spawn::{SpawnError, Spec};
use crate::subcluster::{Action, Cause, Outcome};
use core::time::Duration;
use roost_proto::link::{Exit, MAX_REASON};
use roost_proto::text::{clip, printable};

/// What is to be done, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// The group's name.
    pub group: &'a str,
    /// The resource.
    pub resource: &'a Resource,
    /// What.
    pub action: Action,
    /// Whether the resource is known to run.
    pub seen: Seen,
    /// The longest it may take.
    pub limit: Duration,
}

/// What the shell last saw of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seen {
    /// It is not known to run: a monitor is what OCF calls a probe.
    #[default]
    NotUp,
    /// It was started, or seen running.
    Up,
}

/// What the shell does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: this is how it ended.
    Done(Outcome),
    /// Run this program; what it is run for is told back with its end.
    Run(Spec, Stage),
    /// Ask again after a pause.
    Wait(Duration, Stage),
}

/// What a program is run for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// To carry out the action, and nothing else follows.
    Act,
    /// One of a conversation with systemd.
    Systemd(systemd::Stage),
}

/// The first step of `task`, for kinds whose every action runs a program.
pub fn begin(task: &Task<'_>) -> Step {
    match &task.resource.kind {
        Kind::Ocf { .. } => Step::Run(ocf::command(task), Stage::Act),
        Kind::Lsb { script } => Step::Run(lsb::command(script, task.action), Stage::Act),
        Kind::Exec { start, stop, monitor } => {
            let command = match task.action {
                Action::Start => start,
                Action::Stop => stop,
                Action::Monitor => monitor,
            };
            Step::Run(Spec { command: command.clone(), ..Spec::default() }, Stage::Act)
        }
        Kind::Systemd { unit } => systemd::begin(unit, task.action),
        Kind::Mount { .. } => mount::begin(task),
        Kind::Process(_) | Kind::Tcp { .. } | Kind::Http(_) | Kind::File { .. } => {
            unreachable!("the shell itself does what these need")
        }
    }
}

/// What follows when the program of `stage` has ended.
pub fn ended(task: &Task<'_>, stage: Stage, end: End) -> Step {
    match (&task.resource.kind, stage) {
        (Kind::Ocf { .. }, _) => Step::Done(ocf::outcome(task.action, end)),
        (Kind::Lsb { .. }, _) => Step::Done(lsb::outcome(task.action, end)),
        (Kind::Exec { .. }, _) => Step::Done(exec::outcome(task.action, end)),
        (Kind::Mount { .. }, _) => mount::ended(task, end),
        (Kind::Systemd { unit }, Stage::Systemd(stage)) => systemd::ended(unit, stage, &end),
        (Kind::Systemd { .. }, Stage::Act)
        | (Kind::Process(_) | Kind::Tcp { .. } | Kind::Http(_) | Kind::File { .. }, _) => {
            unreachable!("no such program is ever run for this kind")
        }
    }
}

/// What follows when the limit is over and the program was killed.
pub fn overran(task: &Task<'_>, output: String) -> Step {
    let late = Cause {
        reason: format!("{} took longer than {} s and was killed", word(task.action), seconds(task.limit)),
        exit: Exit::Signal(libc::SIGKILL),
        output,
    };
    match (&task.resource.kind, task.action) {
        (Kind::Systemd { unit }, Action::Stop) => systemd::force(unit),
        _ => Step::Done(Outcome::TimedOut(late)),
    }
}

fn seconds(limit: Duration) -> String {
    let ms = limit.as_millis();
    if ms.is_multiple_of(1000) { format!("{}", ms / 1000) } else { format!("{}.{:03}", ms / 1000, ms % 1000) }
}

/// What could not be started.
pub fn not_started(error: SpawnError) -> Outcome {
    let cause = |reason: String| Cause { reason, exit: Exit::Unknown, output: String::new() };
    match error {
        SpawnError::Misconfigured(reason) => Outcome::Misconfigured(cause(reason)),
        SpawnError::Failed(reason) => Outcome::Failed(cause(reason)),
    }
}

/// A cause in words, with the limits of a fault.
pub fn cause(reason: &str, end: End) -> Cause {
    Cause { reason: clip(&printable(reason), MAX_REASON).to_owned(), exit: end.exit, output: end.output }
}

/// A cause without a program.
pub fn words(reason: impl Into<String>) -> Cause {
    let reason: String = reason.into();
    Cause { reason: clip(&reason, MAX_REASON).to_owned(), exit: Exit::Unknown, output: String::new() }
}

/// An action as a word.
pub const fn word(action: Action) -> &'static str {
    match action {
        Action::Start => "start",
        Action::Stop => "stop",
        Action::Monitor => "monitor",
    }
}

/// What a program said last, if it said anything: the best reason that there is.
pub fn last_line(output: &str) -> Option<&str> {
    output.lines().rev().map(str::trim).find(|line| !line.is_empty())
}
