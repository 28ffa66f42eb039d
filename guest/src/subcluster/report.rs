//! A group as it is told to the host, and as it is kept across the controller's restarts. Its state is derived here and
//! nowhere else.

use super::group::{Care, Course, Goal, Group};
use super::resource::{Health, Phase, Resource};
use crate::config;
use roost_proto::link::{GroupReport, GroupState};
use roost_proto::local::GroupRuntime;
use roost_proto::time::Instant;

impl Group {
    fn state(&self) -> GroupState {
        if self.goal == Goal::Down {
            let is_down = self.resources.iter().all(Resource::is_at_rest);
            return if is_down { GroupState::Offline } else { GroupState::Stopping };
        }
        if let Some(fault) = &self.fault {
            return GroupState::Faulted(fault.clone());
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

    pub(super) fn report(&self, plan: &config::Group, now: Instant) -> GroupReport {
        let left_alone = self.is_left_alone() || self.goal == Goal::Down;
        let resources = self.resources.iter().zip(&plan.resources);
        GroupReport {
            name: plan.name.clone(),
            state: self.state(),
            frozen: self.care == Care::Frozen,
            resources: resources.map(|(resource, plan)| resource.report(plan, now, left_alone)).collect(),
        }
    }

    /// The report, if it is another than the last one.
    pub(super) fn news(&mut self, plan: &config::Group, now: Instant) -> Option<GroupReport> {
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
            resources: resources.map(|(resource, plan)| resource.runtime(plan)).collect(),
        }
    }
}
