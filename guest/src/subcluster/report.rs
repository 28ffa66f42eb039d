//! A group as it is told to the host, and as it is kept across the controller's restarts. Its state is derived here and
//! nowhere else.

use super::Report;
use super::group::{Care, Course, Goal, Group};
use super::resource::{Health, Phase, Resource};
use crate::config;
use roost_proto::link::{GroupReport, GroupState, ManagedReport};
use roost_proto::local::GroupRuntime;
use roost_proto::time::Instant;

impl Group {
    fn state(&self) -> GroupState {
        let is_offline = match self.goal {
            // For the host, Offline is a promise; a shutdown leaves `after_offline` out, and what does not stop.
            Goal::Down => self.managed.is_none() && self.resources.iter().all(Resource::is_at_rest),
            Goal::Offline => self.is_all_down(),
            Goal::Up | Goal::Preparing | Goal::Leaving(_) => false,
        };
        if is_offline {
            return GroupState::Offline;
        }
        match (self.goal, &self.fault) {
            (Goal::Up | Goal::Preparing | Goal::Leaving(_), Some(fault)) => {
                return GroupState::Faulted(fault.clone());
            }
            (Goal::Down | Goal::Offline, _) | (Goal::Leaving(_), None) => return GroupState::Stopping,
            (Goal::Preparing, None) => return GroupState::Starting,
            (Goal::Up, None) => {}
        }
        if self.resources.iter().all(Resource::is_up) {
            let is_degraded = |resource: &Resource| resource.phase == Phase::Up(Health::Degraded);
            let any = self.resources.iter().any(is_degraded);
            return if any { GroupState::Degraded } else { GroupState::Online };
        }
        match self.course {
            Course::Calm => GroupState::Starting,
            Course::Recovering | Course::Sweeping => GroupState::Recovering,
        }
    }

    pub(super) fn report(&self, plan: &config::Group, now: Instant) -> Report {
        let is_wanted = matches!(self.goal, Goal::Up | Goal::Preparing);
        let left_alone = !is_wanted || (self.is_left_alone() && self.goal == Goal::Up);
        let resources = self.resources.iter().zip(&plan.resources);
        let report = GroupReport {
            name: plan.name.clone(),
            state: self.state(),
            frozen: self.care == Care::Frozen,
            resources: resources.map(|(resource, plan)| resource.report(plan, now, left_alone)).collect(),
        };
        match &self.managed {
            None => Report::Group(report),
            Some(managed) => Report::Managed(ManagedReport {
                report,
                wanted: managed.wanted,
                epoch: managed.epoch,
                obeys: managed.obeys,
            }),
        }
    }

    /// The report, if it is another than the last one.
    pub(super) fn news(&mut self, plan: &config::Group, now: Instant) -> Option<Report> {
        if !core::mem::take(&mut self.stale) {
            return None;
        }
        let report = self.report(plan, now);
        if self.told.as_ref() == Some(&report) {
            return None;
        }
        self.told = Some(report.clone());
        Some(report)
    }

    pub(super) fn runtime(&self, plan: &config::Group) -> GroupRuntime {
        let resources = self.resources.iter().zip(&plan.resources);
        GroupRuntime {
            name: plan.name.clone(),
            frozen: self.care == Care::Frozen,
            fault: self.fault.clone(),
            restarts: self.restarts.clone(),
            managed: self.managed.as_ref().map(|managed| managed.runtime(self.progress())),
            resources: resources.map(|(resource, plan)| resource.runtime(plan)).collect(),
        }
    }
}
