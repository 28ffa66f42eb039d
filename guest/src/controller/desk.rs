//! Answers to what a person in the guest asks.

use crate::config::Config;
use crate::control::Answer;
use crate::log::Log;
use crate::state::StateFile;
use crate::subcluster::{Input, Report, ResourceId, SubCluster};
use roost_proto::local::{LinkStatus, ProcessId, Reply, Request};
use roost_proto::text::{clip, nearest};
use roost_proto::time::Instant;
use std::collections::BTreeMap;

/// What it takes to answer.
pub(super) struct Desk<'a> {
    pub(super) now: Instant,
    pub(super) config: &'a Config,
    pub(super) machine: &'a mut SubCluster,
    pub(super) link: Option<LinkStatus>,
    pub(super) state: &'a mut StateFile,
    /// The processes that run.
    pub(super) processes: BTreeMap<ResourceId, ProcessId>,
    pub(super) log: Log,
}

impl Answer for Desk<'_> {
    fn answer(&mut self, request: Request) -> Vec<Reply> {
        match request {
            Request::Status => {
                let heard = self.machine.last_heard().map(|at| self.now.since(at).as_millis());
                let heard_ms = heard.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX));
                let groups = self.machine.reports().into_iter().map(|report| match report {
                    Report::Group(report) => Reply::Group(report),
                    Report::Managed(report) => Reply::Managed { report, heard_ms },
                });
                let end = Reply::End(self.link.clone().unwrap_or(LinkStatus::None));
                groups.chain([end]).collect()
            }
            Request::Freeze { group } => self.tell(&group, |group| Input::Freeze { group }),
            Request::Thaw { group } => self.tell(&group, |group| Input::Thaw { group }),
        }
    }
}

impl Desk<'_> {
    fn tell(&mut self, name: &str, input: impl FnOnce(usize) -> Input) -> Vec<Reply> {
        let names = || self.config.groups.iter().map(|group| group.name.as_str());
        match names().position(|group| group == name) {
            Some(group) => {
                self.machine.handle(self.now, input(group));
                // It is answered, so it must outlast this controller from here on.
                if let Some(runtime) = self.machine.kept() {
                    self.state.keep(runtime.clone());
                }
                self.state.store(self.config, &self.processes, self.log);
                vec![Reply::Done]
            }
            None => {
                let meant = nearest(name, names()).map(|name| format!(" (did you mean '{name}'?)"));
                let reason = format!("there is no group '{}'{}", clip(name, 64), meant.unwrap_or_default());
                vec![Reply::Refused { reason }]
            }
        }
    }
}
