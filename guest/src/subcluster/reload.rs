//! A change of the configuration while everything runs: what changed is stopped by the old plan, then started by the new
//! one; the rest does not notice.

use super::desk::Hold;
use super::group::{Goal, Group};
use super::managed::Managed;
use super::order::Set;
use super::resource::{Arrival, Phase, Resource};
use super::{Output, SubCluster};
use crate::config::{self, Config};
use roost_proto::link::Wanted;
use roost_proto::time::Instant;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A reload that waits until nothing but monitors is under way.
#[derive(Debug)]
pub(super) struct Reload {
    config: Arc<Config>,
    /// Groups of the old configuration that the new one has otherwise, or not at all.
    changed: BTreeSet<usize>,
}

impl Reload {
    /// What may be started meanwhile in group `group`. The wait is as long as the longest start or stop under way,
    /// and no longer, for no other slow one is begun; yet a process that dies is restarted at once as ever.
    pub(super) fn hold(&self, group: usize) -> Hold {
        if self.changed.contains(&group) { Hold::Everything } else { Hold::Slow }
    }
}

impl SubCluster {
    pub(super) fn begin_reload(&mut self, config: Arc<Config>) {
        let old = Arc::clone(&self.config);
        let mut changed = BTreeSet::new();
        for (index, plan) in old.groups.iter().enumerate() {
            let new = config.groups.iter().find(|new| new.name == plan.name);
            let retired = retired(plan, new);
            if new != Some(plan) {
                changed.insert(index);
            }
            self.groups[index].retired = retired;
        }
        self.reload = Some(Reload { config, changed: changed.clone() });
        for index in changed {
            self.with(index, Group::forgive);
        }
    }

    /// Whether the reload that waits, if one does, need wait no longer.
    pub(super) fn may_switch(&self) -> bool {
        self.reload.is_some() && self.groups.iter().all(Group::is_quiet)
    }

    /// From here on the new configuration is the one that counts.
    pub(super) fn switch(&mut self) {
        let reload = self.reload.take().expect("a reload waits");
        for index in 0..self.groups.len() {
            self.with(index, |group, turn| {
                for r in 0..group.resources.len() {
                    group.cancel(turn, r);
                }
                group.put_off_questions(turn);
            });
        }
        let old = core::mem::replace(&mut self.config, reload.config);
        let mut groups: Vec<Option<Group>> = self.groups.drain(..).map(Some).collect();
        let mut freed = Vec::new();
        for plan in &self.config.groups {
            let before = old.groups.iter().position(|old| old.name == plan.name);
            let group = match before {
                None => Group::new(plan, None, Arrival::ByReload, self.now),
                Some(index) => {
                    let group = groups[index].take().expect("names of groups are unique");
                    let was_faulted = group.fault.is_some();
                    let group = group.carried(&old.groups[index], plan, self.now);
                    if was_faulted && group.fault.is_none() {
                        freed.push(self.groups.len());
                    }
                    group
                }
            };
            self.groups.push(group);
        }
        for (group, plan) in groups.iter().zip(&old.groups) {
            if let Some(group) = group
                && group.resources.iter().any(Resource::is_up)
            {
                self.desk.log(format!(
                    "group '{}' was left alone when it was taken out of the configuration; what runs of it is left \
                     running",
                    plan.name
                ));
            }
        }
        self.desk.put(Output::Switch);
        self.desk.save();
        self.desk.log("the new configuration is in use".to_owned());
        for index in freed {
            self.with(index, Group::start_afresh);
        }
    }
}

/// What of `plan` is to be stopped before `new` counts. A probe is not: there is nothing to stop.
fn retired(plan: &config::Group, new: Option<&config::Group>) -> Set {
    let stays = |resource: &config::Resource| {
        let same = |new: &&config::Resource| new.name == resource.name;
        let new = new.and_then(|new| new.resources.iter().find(same));
        resource.kind.is_probe() || new.is_some_and(|new| new.fingerprint() == resource.fingerprint())
    };
    plan.resources.iter().enumerate().filter(|(_, resource)| !stays(resource)).map(|(r, _)| r).collect()
}

impl Group {
    /// The group is about to change: a fault of what was configured before is forgiven.
    fn forgive(&mut self, turn: &mut super::Turn<'_>) {
        if self.fault.is_some() {
            turn.desk.log(format!(
                "the fault of group '{}' is cleared: its configuration changed",
                turn.plan.name
            ));
            self.start_afresh(turn);
        }
    }

    /// Whether the configuration may change: all that is to be stopped is, and nothing but monitors is under way.
    fn is_quiet(&self) -> bool {
        let is_hooked = self.managed.as_ref().is_some_and(Managed::is_busy);
        let is_busy = self.resources.iter().any(Resource::is_busy) || self.is_unseen() || is_hooked;
        let is_retired = self.retired.iter().all(|r| self.resources[r].is_at_rest());
        !is_busy && (is_retired || self.is_left_alone())
    }

    /// The same group under `plan`, with all that is known of the resources that it keeps.
    fn carried(mut self, old: &config::Group, plan: &config::Group, now: Instant) -> Self {
        let left_alone = self.is_left_alone();
        let resource = |new: &config::Resource| {
            let before = old.resources.iter().position(|old| old.name == new.name);
            before.and_then(|r| self.resources[r].carried(&old.resources[r], new, left_alone, now))
        };
        let carry = |new: &config::Resource| {
            resource(new).unwrap_or_else(|| Resource::new(new, None, Arrival::ByReload, now))
        };
        self.resources = plan.resources.iter().map(carry).collect();
        self.fault = self.fault.take().filter(|fault| plan.has(&fault.resource)); // what is no more binds nobody
        match (&plan.managed, &self.managed) {
            (Some(_), None) => self.managed = Some(Managed::new(Wanted::Online)), // until its host says otherwise
            (None, Some(_)) => (self.managed, self.goal) = (None, Goal::Up),
            (Some(_), Some(_)) | (None, None) => {}
        }
        self.order = super::order::Order::new(plan);
        self.retired = Set::default();
        self.stale = true;
        self
    }
}

impl Resource {
    /// The same resource under another plan, if what was started for it is still right; in a group that is left alone,
    /// also if it is not, for then it still runs.
    fn carried(
        &self,
        old: &config::Resource,
        new: &config::Resource,
        left_alone: bool,
        now: Instant,
    ) -> Option<Self> {
        let is_right = old.fingerprint() == new.fingerprint();
        if old.kind.is_probe() != new.kind.is_probe() || !(is_right || left_alone) {
            return None;
        }
        let mut carried = self.clone();
        carried.next_check = now;
        let is_other_probe = new.kind.is_probe() && old.kind != new.kind;
        match &mut carried.phase {
            // It is given its time for a first success again.
            Phase::Up(_) | Phase::Trying(_) if is_other_probe && !left_alone => carried.phase = Phase::Down,
            Phase::Trying(trial) => trial.next = now,
            _ => {}
        }
        Some(carried)
    }
}
