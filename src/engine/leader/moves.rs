//! Moving on purpose: what operators ask for, hosts that are to be emptied, and the ends of moves with memory.
//!
//! The owner of a group moves it; the leader decides that it does, when its memory is another host's, and when the move is over.

use super::super::LEAVE_WITHIN;
use super::super::ledger::{GroupRecord, Moving, Standing};
use super::groups::{Owned, is_leaving};
use super::kept::on_shutdown;
use super::placement::{Nowhere, Plan};
use super::reports::Reports;
use super::{Act, Leader, View};
use crate::config::{self, OnShutdown};
use roost_proto::cluster::decision::{Carry, Decision, HostMode, MoveOutcome, RecallReason};
use roost_proto::cluster::{GroupReport, GroupState, HostId, MoveAsk, Whither};
use roost_proto::control::{EventKind, Intent, Level, MoveMethod};
use std::collections::BTreeMap;

/// Moves with memory from one host, or to one, that are begun at the same time when a host is emptied: more would share its
/// network, and each VM would be slow for longer.
pub const MOVES_AT_ONCE: usize = 2;

/// A group that is to leave its host.
#[derive(Debug)]
pub struct Drained<'a> {
    /// Which.
    pub group: &'a config::Group,
    /// Its host.
    pub owner: HostId,
    /// How it is there.
    pub state: GroupState,
}

/// How memory goes by a method, if it goes at all.
pub const fn carry(method: MoveMethod) -> Option<Carry> {
    match method {
        MoveMethod::Live => Some(Carry::Live),
        MoveMethod::Suspend => Some(Carry::Suspend),
        MoveMethod::Cold => None,
    }
}

/// The method by which memory goes so.
pub const fn method(carry: Carry) -> MoveMethod {
    match carry {
        Carry::Live => MoveMethod::Live,
        Carry::Suspend => MoveMethod::Suspend,
    }
}

/// Whether there is memory that could be moved.
const fn has_memory(state: &GroupState) -> bool {
    matches!(state, GroupState::Well | GroupState::Unwell)
}

/// How many moves with memory go from and to each host.
fn under_way(view: &View<'_>) -> BTreeMap<HostId, usize> {
    let mut counts = BTreeMap::new();
    for (_, record) in view.ledger.groups() {
        if let (Some(moving), Some(owner)) = (record.moving, record.owner) {
            *counts.entry(owner).or_insert(0) += 1;
            *counts.entry(moving.to).or_insert(0) += 1;
        }
    }
    counts
}

impl Leader {
    /// What is decided of a group whose memory is on its way, by what its owner says.
    pub(super) fn travels(
        &mut self,
        view: &View<'_>,
        group: &config::Group,
        record: &GroupRecord,
        owner: HostId,
        told: Option<&GroupReport>,
    ) -> Owned {
        let state = told.map(|told| &told.state);
        if let Some(handover) = record.handover {
            return match state {
                Some(GroupState::Taken) => Owned::MoveEnd(handover.begun, MoveOutcome::Taken),
                Some(GroupState::NotTaken { reason }) => {
                    Owned::MoveEnd(handover.begun, MoveOutcome::Lost { reason: reason.clone() })
                }
                _ => Owned::Nothing,
            };
        }
        let Some(moving) = record.moving else { return Owned::Nothing };
        let outcome = match state {
            Some(GroupState::Gone { still_ms }) if self.can_take(view, &moving) => {
                MoveOutcome::Over { still_ms: *still_ms }
            }
            // It is silent: it comes back, or is evicted.
            Some(GroupState::Gone { .. }) if is_there(view, &moving) && !is_leaving(view, moving.to) => {
                self.wake(view.now + view.config.cluster.timing.beat);
                return Owned::Nothing;
            }
            Some(GroupState::Gone { still_ms }) if moving.carry == Carry::Suspend => {
                MoveOutcome::Back { still_ms: *still_ms }
            }
            Some(GroupState::Gone { .. }) => {
                MoveOutcome::Failed { reason: format!("its memory was lost with '{}'", view.name(moving.to)) }
            }
            Some(GroupState::Stayed { reason }) => {
                let refused = self.refused.entry(group.name.clone()).or_default();
                if refused.0 != record.epoch {
                    *refused = (record.epoch, Vec::new());
                }
                refused.1.push(method(moving.carry));
                MoveOutcome::Failed { reason: reason.clone() }
            }
            _ => match self.cannot_go_on(view, group, owner, &moving) {
                Some(reason) => MoveOutcome::Failed { reason },
                None => return Owned::Nothing,
            },
        };
        Owned::MoveEnd(moving.begun, outcome)
    }

    /// Whether the target of a move may be given the group now. One that leaves cannot be spared what only it has.
    fn can_take(&self, view: &View<'_>, moving: &Moving) -> bool {
        let leaves = is_leaving(view, moving.to) && moving.carry == Carry::Live;
        is_there(view, moving) && (view.is_here(moving.to) || leaves)
    }

    /// Why a move that is under way is ended.
    fn cannot_go_on(
        &mut self,
        view: &View<'_>,
        group: &config::Group,
        owner: HostId,
        moving: &Moving,
    ) -> Option<String> {
        let to = view.name(moving.to);
        if !is_there(view, moving) {
            return Some(format!("'{to}' is not in the cluster any more"));
        }
        if is_leaving(view, moving.to) {
            return Some(format!("'{to}' is about to leave"));
        }
        if view.ledger.host(moving.to).is_some_and(|host| host.mode == HostMode::Maintenance) {
            return Some(format!("'{to}' is in maintenance"));
        }
        self.has_no_time(view, group, owner).then(|| format!("'{}' must not wait longer", view.name(owner)))
    }

    /// Whether a host that leaves has only the time left that its guest may need to shut down.
    pub(super) fn has_no_time(&mut self, view: &View<'_>, group: &config::Group, host: HostId) -> bool {
        if !is_leaving(view, host) {
            self.leaving.remove(&host);
            return false;
        }
        let since = *self.leaving.entry(host).or_insert(view.now);
        let at = since + LEAVE_WITHIN.saturating_sub(group.stop_timeout).max(LEAVE_WITHIN / 3);
        if view.now < at {
            self.wake(at);
        }
        view.now >= at
    }

    /// Groups that are to leave their hosts go, the most important first, by the best of their methods that works.
    pub(super) fn drain<'a>(
        &mut self,
        view: &'a View<'_>,
        reports: &'a Reports,
        mut drained: Vec<Drained<'a>>,
        recalled: &mut Vec<(&'a str, HostId)>,
        acts: &mut Vec<Act>,
    ) {
        if drained.is_empty() {
            return;
        }
        drained.sort_by_key(|one| (core::cmp::Reverse(one.group.priority), &one.group.name));
        let mut plan = Plan::new(view, reports);
        let mut counts = under_way(view);
        for one in drained {
            let Drained { group, owner, ref state } = one;
            let record = view.ledger.group(&group.name);
            let epoch = record.epoch;
            let leaves = is_leaving(view, owner);
            // Memory is carried unless the file wants guests shut down.
            let stops = leaves && on_shutdown(view, owner) == Some(OnShutdown::Stop);
            let late = self.has_no_time(view, group, owner) || stops;
            let place = plan.place_beside(group);
            let next = self.next_method(group, epoch);
            let cold = |acts: &mut Vec<Act>| {
                let why = RecallReason::Emptied;
                let group = group.name.clone();
                acts.push(Act::Decide(Decision::Recall { group, epoch, to: None, why }));
            };
            let carried = next.and_then(carry).filter(|_| !late);
            match (carried, place) {
                (Some(carry), Ok(to)) if has_memory(state) => {
                    let Standing::In(target) = view.ledger.standing(to) else { continue };
                    let busy = |host| counts.get(&host).copied().unwrap_or(0) >= MOVES_AT_ONCE;
                    if busy(owner) || busy(to) {
                        continue; // the end of a move is a reason to look again
                    }
                    *counts.entry(owner).or_insert(0) += 1;
                    *counts.entry(to).or_insert(0) += 1;
                    plan.expect(&group.name, to, plan.need(group));
                    acts.push(Act::Decide(Decision::MoveBegin {
                        group: group.name.clone(),
                        epoch,
                        to,
                        incarnation: target.incarnation,
                        carry,
                        why: RecallReason::Emptied,
                    }));
                }
                // It comes up here, or cannot run for the moment: that has an end.
                (Some(_), Ok(_)) if !leaves => {}
                (_, Err(_)) if !leaves => {}
                (None, Ok(_)) if !leaves && next.is_none() => {
                    let text = format!(
                        "it stays on '{}', for none of its 'moves' works; `roost switch {} --cold` stops it there and starts it elsewhere",
                        view.name(owner),
                        group.name
                    );
                    if self.stuck.insert(group.name.clone(), epoch) != Some(epoch) {
                        acts.push(Act::Tell(
                            Level::Error,
                            EventKind::MoveFailed,
                            Some(group.name.clone()),
                            text,
                        ));
                    }
                }
                _ => {
                    recalled.push((&group.name, owner));
                    cold(acts);
                }
            }
        }
    }

    /// The best of a group's methods that was not refused in this epoch.
    fn next_method(&self, group: &config::Group, epoch: u64) -> Option<MoveMethod> {
        let refused = self.refused.get(&group.name).filter(|refused| refused.0 == epoch);
        let is_refused = |method: &MoveMethod| refused.is_some_and(|refused| refused.1.contains(method));
        group.moves.iter().copied().find(|method| !is_refused(method))
    }

    /// Groups that must be with one that is moved go with it.
    pub(super) fn follow(
        &mut self,
        view: &View<'_>,
        reports: &Reports,
        plan: &Plan<'_>,
        acts: &mut Vec<Act>,
    ) {
        let moving = view.config.groups.iter().filter_map(|group| {
            let record = view.ledger.group(&group.name);
            Some((group, record.owner?, record.moving?))
        });
        for (group, owner, moving) in moving {
            for mate in plan.mates(&group.name, owner) {
                let record = view.ledger.group(mate);
                let Some(config) = view.config.group(mate) else { continue };
                let still = record.moving.is_none() && record.handover.is_none() && record.recalled.is_none();
                let wanted = record.intent == Intent::Online && !record.frozen;
                if !still || !wanted || !is_there(view, &moving) {
                    continue;
                }
                let to = moving.to;
                let carried = self.next_method(config, record.epoch).and_then(carry);
                let carried = carried.filter(|_| has_memory(reports.state(owner, mate)));
                let (group, epoch) = (mate.to_owned(), record.epoch);
                let decision = match carried {
                    Some(carry) => {
                        let (incarnation, why) = (moving.incarnation, RecallReason::Displaced);
                        Decision::MoveBegin { group, epoch, to, incarnation, carry, why }
                    }
                    None => Decision::Recall { group, epoch, to: Some(to), why: RecallReason::Displaced },
                };
                acts.push(Act::Decide(decision));
            }
        }
    }

    /// What is decided of an operator's wish, or why nothing is; nothing if that is not known yet.
    pub fn plan_move(&self, view: &View<'_>, ask: &MoveAsk) -> Option<Result<Decision, String>> {
        let wait = view.config.cluster.timing.suspect_after * 2;
        let owner = view.ledger.group(&ask.group).owner;
        if owner.is_some_and(|owner| !self.reports.is_told(view.now, owner, wait)) {
            return None; // a leader that has just begun
        }
        Some(self.planned(view, ask))
    }

    fn planned(&self, view: &View<'_>, ask: &MoveAsk) -> Result<Decision, String> {
        let record = view.ledger.group(&ask.group);
        let Some(group) = view.config.group(&ask.group) else {
            return Err(format!("the leader's configuration has no group '{}'", ask.group));
        };
        if view.ledger.is_disarmed() {
            return Err("the cluster is disarmed, and moves nothing: `roost arm` comes first".to_owned());
        }
        let owner = movable(view, group, record)?;
        if let Some(app) = &group.app {
            return self.plan_app(view, (group, app), ask);
        }
        let plan = Plan::new(view, &self.reports);
        let to = whither(view, &plan, group, owner, ask.whither)?;
        let (name, epoch) = (ask.group.clone(), record.epoch);
        let recall = |to, why| Ok(Decision::Recall { group: name.clone(), epoch, to, why });
        if ask.whither == Whither::Failover {
            return recall(None, RecallReason::Failed);
        }
        let method = ask.method.or(group.moves.first().copied()).unwrap_or(MoveMethod::Cold);
        if method == MoveMethod::Suspend && view.config.cluster.save_dir.is_none() {
            return Err("[cluster] has no 'save_dir' where its memory could be saved: name one, or move it \
                        otherwise"
                .to_owned());
        }
        let Some(carry) = carry(method) else { return recall(Some(to), RecallReason::Moved) };
        if !has_memory(self.reports.state(owner, &ask.group)) {
            return Err(format!(
                "its VM does not run steadily on '{}' now, and so has no memory to move: `roost switch {} --to {} --cold` moves it \
                 all the same",
                view.name(owner),
                ask.group,
                view.name(to)
            ));
        }
        let Standing::In(target) = view.ledger.standing(to) else {
            return Err(format!("'{}' is not in the cluster", view.name(to)));
        };
        let (incarnation, why) = (target.incarnation, RecallReason::Moved);
        Ok(Decision::MoveBegin { group: name, epoch, to, incarnation, carry, why })
    }
}

/// Whether the host that a group moves to is in the cluster, and was not booted since.
fn is_there(view: &View<'_>, moving: &Moving) -> bool {
    matches!(view.ledger.standing(moving.to), Standing::In(member) if member.incarnation.boot == moving.incarnation.boot)
}

/// The owner of a group that can be moved; or why it cannot.
fn movable(view: &View<'_>, group: &config::Group, record: &GroupRecord) -> Result<HostId, String> {
    let name = &group.name;
    let Some(owner) = record.owner else {
        return Err("it is on no host now: it goes where it can as soon as it can".to_owned());
    };
    let at = view.name(owner);
    if !matches!(view.ledger.standing(owner), Standing::In(_)) {
        return Err(format!("its host '{at}' was evicted, and is not known to run nothing"));
    }
    if let Some(moving) = record.moving {
        return Err(format!(
            "it is being moved from '{at}' to '{}' already ({})",
            view.name(moving.to),
            method(moving.carry).word()
        ));
    }
    if record.handover.is_some() {
        return Err(format!("it has just been moved, and '{at}' takes it over"));
    }
    if let Some(recall) = record.recalled {
        let to = recall.to.map(|to| format!(", and then goes to '{}'", view.name(to)));
        return Err(format!("it is being stopped on '{at}' already{}", to.unwrap_or_default()));
    }
    if record.intent == Intent::Offline {
        return Err(format!("it is wanted offline: `roost online {name}` first"));
    }
    if record.frozen {
        return Err(format!("it is frozen: `roost thaw {name}` first"));
    }
    Ok(owner)
}

/// Where a group goes.
fn whither(
    view: &View<'_>,
    plan: &Plan<'_>,
    group: &config::Group,
    owner: HostId,
    whither: Whither,
) -> Result<HostId, String> {
    let at = view.name(owner);
    let other = |nowhere| match nowhere {
        Nowhere::NoHost(why) => format!("no other host can take it: {why}"),
        Nowhere::NoRoom(_) => "no other host that may run it has room".to_owned(),
        Nowhere::FailedEverywhere => "it failed on every other host that may run it".to_owned(),
    };
    match whither {
        Whither::Elsewhere | Whither::Failover => plan.place_beside(group).map_err(other),
        Whither::Host(to) if to == owner => Err(format!("it is on '{at}' already")),
        Whither::Host(to) => match group.on.iter().find(|name| HostId::of(name) == to) {
            Some(name) => plan.fits_beside(group, name).map(|()| to),
            None => Err(format!("its 'on' does not name '{}', so it may not run there", view.name(to))),
        },
        Whither::Home if !group.ranked => {
            Err("it has no home: its 'on' names no hosts, of which the first would be it".to_owned())
        }
        Whither::Home => {
            let mut why = Vec::new();
            for name in group.on.iter() {
                if HostId::of(name) == owner {
                    let better = if why.is_empty() { String::new() } else { format!(": {}", why.join("; ")) };
                    return Err(format!("it is as near to its home as it can be, on '{at}'{better}"));
                }
                match plan.fits_beside(group, name) {
                    Ok(()) => return Ok(HostId::of(name)),
                    Err(reason) => why.push(reason),
                }
            }
            Err(format!("none of its hosts can take it: {}", why.join("; ")))
        }
    }
}
