//! What leaves the machine, and what one turn of a group has at hand.

use super::{OpId, Output, Report};
use crate::config;
use roost_proto::local::Runtime;
use roost_proto::retry::Jitter;
use roost_proto::time::Instant;
use std::collections::VecDeque;

/// Outputs that wait for the shell. It takes all of them after each input, so there are never more than one input
/// can bring about.
#[derive(Debug)]
pub(super) struct Desk {
    outputs: VecDeque<Output>,
    /// Said last, so that a slow log delays no start.
    logs: Vec<String>,
    pub(super) jitter: Jitter,
    next_op: u64,
    /// Something changed that must survive the controller.
    unsaved: bool,
}

impl Desk {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            outputs: VecDeque::new(),
            logs: Vec::new(),
            jitter: Jitter::new(seed),
            next_op: 1,
            unsaved: false,
        }
    }

    pub(super) const fn new_op(&mut self) -> OpId {
        let op = OpId(self.next_op);
        self.next_op += 1;
        op
    }

    pub(super) fn put(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn log(&mut self, text: String) {
        self.logs.push(text);
    }

    /// What must survive the controller changed.
    pub(super) const fn save(&mut self) {
        self.unsaved = true;
    }

    /// Ends a turn: what was done comes first, then what the host is told, what is kept, and what is logged.
    pub(super) fn close(&mut self, reports: Vec<Report>, runtime: impl FnOnce() -> Runtime) {
        self.outputs.extend(reports.into_iter().map(Output::Report));
        if core::mem::take(&mut self.unsaved) {
            self.put(Output::Persist(runtime()));
        }
        self.outputs.extend(self.logs.drain(..).map(Output::Log));
    }

    /// What is to be kept as of now, among the outputs.
    pub(super) fn kept(&self) -> Option<&Runtime> {
        self.outputs.iter().rev().find_map(|output| match output {
            Output::Persist(runtime) => Some(runtime),
            _ => None,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }

    pub(super) fn take(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}

/// What may be started while a reload waits for the moment at which nothing is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// No reload waits.
    Nothing,
    /// Only a process, which is started in no time: the reload waits for the rest, and must come to an end.
    Slow,
    /// Nothing: this group is about to change.
    Everything,
}

/// What a group has at hand while it acts.
pub(super) struct Turn<'a> {
    pub(super) now: Instant,
    /// Its index.
    pub(super) group: usize,
    pub(super) plan: &'a config::Group,
    pub(super) hold: Hold,
    pub(super) desk: &'a mut Desk,
}

impl Turn<'_> {
    /// Logs something about resource `r`.
    pub(super) fn log(&mut self, r: usize, text: &str) {
        let (group, resource) = (&self.plan.name, &self.plan.resources[r].name);
        self.desk.log(format!("'{resource}' of group '{group}' {text}"));
    }
}
