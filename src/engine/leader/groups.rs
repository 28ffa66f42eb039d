//! Groups: which are given back, recalled, given to a host, or given up on.

use super::super::ledger::Preparing;
use super::super::ledger::{GroupRecord, Standing};
use super::apps::{Demand, Seat, demand, is_unneeded, priority};
use super::kept::stays;
use super::moves::Drained;
use super::placement::{Going, Nowhere, Plan};
use super::reports::Reports;
use super::rounds::Round;
use super::{Act, Leader, View, Waiting};
use crate::config::{self, Standby};
use core::cell::OnceCell;
use core::time::Duration;
use roost_proto::cluster::decision::{Decision, HostMode, MoveOutcome, RecallReason};
use roost_proto::cluster::raft::Index;
use roost_proto::cluster::{GroupState, HostId, Life, MAX_REASON, Need};
use roost_proto::control::{EventKind, Intent, Level};
use roost_proto::text::clip;
use roost_proto::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// How long a start counts among those that a host makes at the same time.
const START_LASTS: Duration = Duration::from_secs(3);
/// How long after a group made room its host may take to tell of it: three looks at libvirt. Before that, nothing else has to go.
const ROOM_TOLD: Duration = Duration::from_secs(6);
/// What is to make room is waited for as long as its guest may take to shut down, and so much longer.
const GONE_AFTER: Duration = Duration::from_secs(60);
/// How long a group waits for a host where it has not failed: a machine that was fenced boots within it, as a rule.
const LAST_RESORT_AFTER: Duration = Duration::from_secs(60);
/// A group that waits shorter than this is not told of.
const TELL_AFTER: Duration = Duration::from_secs(2);

/// What is decided of one owned group.
pub(super) enum Owned {
    Nothing,
    Release,
    Recall(RecallReason),
    GiveUp(String),
    Forgive,
    /// It is to leave its host, where it is so.
    Drain(GroupState),
    /// How the move that began so went on.
    MoveEnd(Index, MoveOutcome),
    /// This target is to be made ready for it.
    Prepare(HostId, RecallReason),
    /// It goes to this target, which is ready.
    Go(HostId, RecallReason),
    /// It stays, for its new target does not get ready.
    Stay(Preparing, String),
}

impl Leader {
    pub(super) fn settle_groups(&mut self, view: &View<'_>, acts: &mut Vec<Act>) {
        let reports = core::mem::take(&mut self.reports);
        let mut rounds = core::mem::take(&mut self.rounds);
        let round = rounds.begin(view, &reports);
        let demand = demand(view, &reports, &Lazy::new(view, &reports), rounds.apps(view));
        let busy = self.settle_owned(view, &reports, (&round, &demand), acts);
        rounds.end(round, &busy);
        self.give_out(view, &reports, (rounds.free(view), &demand), acts);
        self.rounds = rounds;
        self.reports = reports;
    }

    /// Decides about what is owned, and tells whose groups are to be looked at again, come what may.
    fn settle_owned(
        &mut self,
        view: &View<'_>,
        reports: &Reports,
        (round, demand): (&Round<'_>, &Demand),
        acts: &mut Vec<Act>,
    ) -> BTreeSet<HostId> {
        let plan = Lazy::new(view, reports);
        let mut busy = BTreeSet::new();
        let mut recalled: Vec<(&str, HostId)> = Vec::new();
        let mut drained: Vec<Drained<'_>> = Vec::new();
        let mut travels = false;
        for group in &round.groups {
            let record = view.ledger.group(&group.name);
            let Some(owner) = record.owner else { continue };
            travels |= record.moving.is_some();
            let (name, epoch) = (group.name.clone(), record.epoch);
            let owned = self.owned(view, reports, &plan, demand, (group, owner));
            if !is_still(group, record, &owned) {
                busy.insert(owner);
            }
            match owned {
                Owned::Nothing => {}
                Owned::Drain(state) => drained.push(Drained { group, owner, state }),
                Owned::MoveEnd(begun, outcome) => {
                    acts.push(Act::Decide(Decision::MoveEnd { group: name, epoch, begun, outcome }));
                }
                Owned::Release => {
                    acts.push(Act::Decide(Decision::Release { group: name, epoch, changed: record.changed }));
                }
                Owned::Forgive => acts.push(Act::Decide(Decision::Forgive { group: name, epoch })),
                Owned::GiveUp(reason) => {
                    let reason = clip(&reason, MAX_REASON).to_owned();
                    let text = format!("nothing is left to try: {reason}");
                    acts.push(Act::Tell(Level::Error, EventKind::GivenUp, Some(name.clone()), text));
                    acts.push(Act::Decide(Decision::GiveUp { group: name, epoch, reason }));
                }
                Owned::Prepare(to, why) => {
                    let (to, by) = (Some(to), "the leader".to_owned());
                    acts.push(Act::Decide(Decision::Prepare { group: name, epoch, to, why, by }));
                }
                Owned::Go(to, why) => {
                    acts.push(Act::Decide(Decision::Recall { group: name, epoch, to: Some(to), why }));
                }
                Owned::Stay(preparing, reason) => {
                    self.tell_not_ready(view, group, (preparing, &reason), acts);
                    let (to, why, by) = (None, preparing.why, "the leader".to_owned());
                    acts.push(Act::Decide(Decision::Prepare { group: name, epoch, to, why, by }));
                }
                Owned::Recall(why) => {
                    if why == RecallReason::Failed && group.app.is_none() {
                        self.failed_on(view, owner, &name, acts);
                    }
                    let to = Some(owner).filter(|_| why == RecallReason::Kept);
                    if to.is_none() {
                        recalled.push((&group.name, owner)); // of a host that is shut down each is recalled by itself
                    }
                    acts.push(Act::Decide(Decision::Recall { group: name, epoch, to, why }));
                }
            }
        }
        self.drain(view, reports, drained, &mut recalled, acts);
        if travels {
            self.follow(view, reports, plan.get(), acts);
        }
        if !recalled.is_empty() {
            self.recall_mates(view, plan.get(), &recalled, acts);
        }
        self.settle_left_out(view, reports, &round.left_out, &mut busy, acts);
        busy
    }

    /// Groups that somebody owns and the configuration does not name any more: they are left as they are, but given back once
    /// they are off, and sooner if their host leaves.
    fn settle_left_out(
        &self,
        view: &View<'_>,
        reports: &Reports,
        left_out: &[&str],
        busy: &mut BTreeSet<HostId>,
        acts: &mut Vec<Act>,
    ) {
        for name in left_out {
            let record = view.ledger.group(name);
            let Some(owner) = record.owner else { continue };
            busy.insert(owner);
            let told = reports.group(owner, name).filter(|told| told.changed == record.changed);
            let (group, epoch) = ((*name).to_owned(), record.epoch);
            match told.map(|told| &told.state) {
                Some(GroupState::Down) if matches!(view.ledger.standing(owner), Standing::In(_)) => {
                    acts.push(Act::Decide(Decision::Release { group, epoch, changed: record.changed }));
                }
                _ if record.recalled.is_none() && !record.frozen && is_leaving(view, owner) => {
                    let why = RecallReason::Emptied;
                    acts.push(Act::Decide(Decision::Recall { group, epoch, to: None, why }));
                }
                _ => {}
            }
        }
    }

    /// Groups that must be together go together.
    fn recall_mates<'a>(
        &self,
        view: &View<'_>,
        plan: &Plan<'a>,
        recalled: &[(&'a str, HostId)],
        acts: &mut Vec<Act>,
    ) {
        let mut gone: Vec<&str> = recalled.iter().map(|(name, _)| *name).collect();
        for (name, owner) in recalled {
            for mate in plan.mates(name, *owner) {
                let record = view.ledger.group(mate);
                if record.recalled.is_none() && !gone.contains(&mate) {
                    gone.push(mate);
                    acts.push(Act::Decide(Decision::Recall {
                        group: mate.to_owned(),
                        epoch: record.epoch,
                        to: None,
                        why: RecallReason::Displaced,
                    }));
                }
            }
        }
    }

    fn owned(
        &mut self,
        view: &View<'_>,
        reports: &Reports,
        plan: &Lazy<'_>,
        demand: &Demand,
        (group, owner): (&config::Group, HostId),
    ) -> Owned {
        let record = view.ledger.group(&group.name);
        if !matches!(view.ledger.standing(owner), Standing::In(_)) {
            return Owned::Nothing; // it is blocked until the host is fenced
        }
        let told = reports.group(owner, &group.name).filter(|told| told.changed == record.changed);
        if record.moving.is_some() || record.handover.is_some() {
            return self.travels(view, group, record, owner, told);
        }
        let Some(told) = told else { return Owned::Nothing };
        let wanted = record.intent == Intent::Online && record.recalled.is_none();
        match &told.state {
            GroupState::Down if !wanted => Owned::Release,
            _ if !wanted || record.frozen => Owned::Nothing,
            _ if is_unneeded(demand, group) => Owned::Recall(RecallReason::Unneeded),
            _ if let Some(app) = &group.app => self.owned_app(view, reports, plan, (group, app), owner, told),
            GroupState::GivenUp { reason } => self.failed(plan.get(), group, record, reason.clone()),
            GroupState::Undefined => {
                let reason = format!("libvirt on '{}' does not know its VM '{}'", view.name(owner), group.vm);
                self.failed(plan.get(), group, record, reason)
            }
            _ if is_leaving(view, owner) && stays(view, owner) => Owned::Recall(RecallReason::Kept),
            state => {
                if self.is_emptied(view, owner) {
                    return Owned::Drain(state.clone());
                }
                self.is_forgiven(view, group, record, *state == GroupState::Well)
            }
        }
    }

    /// Whether nothing is to be decided of a group that is owned, nor will be for as long as nothing changes.
    pub(super) fn is_still(
        &mut self,
        view: &View<'_>,
        reports: &Reports,
        group: &config::Group,
        owner: HostId,
    ) -> bool {
        let demand = demand(view, reports, &Lazy::new(view, reports), view.config.groups.iter());
        let owned = self.owned(view, reports, &Lazy::new(view, reports), &demand, (group, owner));
        is_still(group, view.ledger.group(&group.name), &owned)
    }

    /// A group cannot be kept up where it is.
    fn failed(&self, plan: &Plan<'_>, group: &config::Group, record: &GroupRecord, reason: String) -> Owned {
        if record.given_up.is_some() {
            return Owned::Nothing;
        }
        let tries = record.failed_on.len();
        if tries >= group.recovery.hosts as usize {
            return Owned::GiveUp(format!("{tries} other hosts were tried; here: {reason}"));
        }
        match plan.place_beside(group) {
            Ok(_) | Err(Nowhere::NoRoom(_)) => Owned::Recall(RecallReason::Failed),
            Err(Nowhere::FailedEverywhere | Nowhere::NoHost(_)) => Owned::GiveUp(reason),
        }
    }

    fn is_emptied(&self, view: &View<'_>, host: HostId) -> bool {
        is_leaving(view, host)
            || view.ledger.host(host).is_some_and(|record| record.mode == HostMode::Maintenance)
    }

    pub(super) fn is_forgiven(
        &mut self,
        view: &View<'_>,
        group: &config::Group,
        record: &GroupRecord,
        well: bool,
    ) -> Owned {
        if record.failed_on.is_empty() || !well {
            self.well.remove(&group.name);
            return Owned::Nothing;
        }
        let since = *self.well.entry(group.name.clone()).or_insert(view.now);
        let at = since + group.recovery.window;
        if view.now >= at {
            return Owned::Forgive;
        }
        self.wake(at);
        Owned::Nothing
    }

    /// Gives free groups to hosts: the most important first.
    fn give_out<'a>(
        &mut self,
        view: &View<'a>,
        reports: &Reports,
        (mut free, demand): (Vec<&'a config::Group>, &'a Demand),
        acts: &mut Vec<Act>,
    ) {
        let strays = strays(view, reports);
        free.retain(|group| {
            let record = view.ledger.group(&group.name);
            // What runs since before it was ever given is given to its host even if it is wanted offline: to be shut down.
            let wanted = record.intent == Intent::Online
                || (record.epoch == 0 && strays.contains_key(group.name.as_str()));
            wanted && !is_unneeded(demand, group) && !record.frozen && record.given_up.is_none()
        });
        let names: BTreeSet<&str> = free.iter().map(|group| group.name.as_str()).collect();
        self.waiting.retain(|name, _| names.contains(name.as_str()));
        if free.is_empty() {
            return;
        }
        self.assigned.retain(|_, (_, at)| view.now.since(*at) < START_LASTS);
        let mut starting: BTreeMap<HostId, (u32, Instant)> = BTreeMap::new();
        for (host, at) in self.assigned.values() {
            let entry = starting.entry(*host).or_insert((0, *at));
            entry.0 += 1;
            entry.1 = entry.1.min(*at);
        }
        let mut plan = Lazy::new(view, reports);
        free.sort_by_key(|group| (core::cmp::Reverse(priority(demand, group)), &group.name));
        if !demand.is_empty() {
            plan.get_mut().raise(demand);
        }
        let mut displaced = false;
        for group in free {
            if let Some(app) = &group.app {
                self.give_app(view, reports, plan.get(), (group, app), &strays, acts);
                continue;
            }
            let found = self
                .is_given(view, reports, group)
                .and_then(|()| self.is_free(view, reports, group))
                .and_then(|()| needs(view, reports, group))
                .and_then(|()| self.whither(view, &strays, plan.get(), group));
            let host = match found {
                Ok(host) => host,
                Err(Why::Room(hosts)) => {
                    let going = self.going(view);
                    let may = !displaced && going != Going::InTime;
                    let go = plan.get().displace(group, &hosts, going).filter(|_| may);
                    for name in go.into_iter().flatten() {
                        displaced = true;
                        self.making_room = Some((view.now, view.now));
                        let epoch = view.ledger.group(&name).epoch;
                        let why = RecallReason::Displaced;
                        acts.push(Act::Decide(Decision::Recall { group: name, epoch, to: None, why }));
                    }
                    self.wait(view.now, group, "no host that may run it has room".to_owned(), acts);
                    continue;
                }
                Err(Why::Everywhere) => {
                    let reason = "it failed on every host that may run it".to_owned();
                    let epoch = view.ledger.group(&group.name).epoch;
                    let name = group.name.clone();
                    acts.push(Act::Tell(
                        Level::Error,
                        EventKind::GivenUp,
                        Some(name.clone()),
                        reason.clone(),
                    ));
                    acts.push(Act::Decide(Decision::GiveUp { group: name, epoch, reason }));
                    continue;
                }
                Err(Why::Kept(reason)) => {
                    self.wait(view.now, group, reason, acts);
                    continue;
                }
                Err(Why::Other(reason)) => {
                    self.wait(view.now, group, reason, acts);
                    self.last_resort(view, group, acts);
                    continue;
                }
            };
            // It has one in a beat or two. A VM that runs there already would be paused, if it were given to it before.
            if !view.has_lease(host) {
                self.wait(view.now, group, format!("'{}' has no lease yet", view.name(host)), acts);
                continue;
            }
            let starts = starting.entry(host).or_insert((0, view.now));
            let runs = strays.contains_key(group.name.as_str()); // there: nothing is started
            if !runs && starts.0 >= view.config.cluster.starts_at_once {
                self.wake(starts.1 + START_LASTS);
                self.wait(view.now, group, format!("'{}' starts others first", view.name(host)), acts);
                continue;
            }
            starts.0 += u32::from(!runs);
            let Standing::In(member) = view.ledger.standing(host) else { continue };
            let need = plan.get().need(group);
            plan.get_mut().give(&group.name, host, need, false);
            if !runs {
                self.assigned.insert(group.name.clone(), (host, view.now));
            }
            self.waiting.remove(&group.name);
            let epoch = view.ledger.group(&group.name).epoch;
            let text = format!("it is given to '{}'", view.name(host));
            acts.push(Act::Tell(Level::Info, EventKind::Assigned, Some(group.name.clone()), text));
            acts.push(Act::Decide(Decision::Assign {
                group: group.name.clone(),
                epoch,
                to: host,
                incarnation: member.incarnation,
                need,
            }));
        }
    }

    /// Gives a free application to the best of its targets, if one can take it.
    fn give_app(
        &mut self,
        view: &View<'_>,
        reports: &Reports,
        plan: &Plan<'_>,
        (group, app): (&config::Group, &config::App),
        strays: &BTreeMap<&str, Vec<HostId>>,
        acts: &mut Vec<Act>,
    ) {
        let found = self
            .is_given(view, reports, group)
            .and_then(|()| match strays.get(group.name.as_str()) {
                None => Ok(()),
                Some(hosts) => {
                    let names: Vec<String> = hosts.iter().map(|id| format!("'{}'", view.name(*id))).collect();
                    Err(Why::Other(format!("it still runs on {}, and is stopped there", names.join(" and "))))
                }
            })
            .and_then(|()| needs(view, reports, group))
            .and_then(|()| self.place_app(view, reports, plan, group, app))
            .and_then(|(target, seat)| match view.ledger.standing(seat.host) {
                Standing::In(member) if view.has_lease(seat.host) => Ok((target, seat, member)),
                _ => Err(Why::Other(format!("'{}' has no lease yet", view.name(seat.host)))),
            });
        let (name, epoch) = (group.name.clone(), view.ledger.group(&group.name).epoch);
        match found {
            Ok((target, Seat { host, inside }, member)) => {
                self.waiting.remove(&name);
                let text = format!("it is given to '{target}'");
                acts.push(Act::Tell(Level::Info, EventKind::Assigned, Some(name.clone()), text));
                let (group, to, incarnation) = (name, host, member.incarnation);
                acts.push(Act::Decide(match inside {
                    None => Decision::Assign { group, epoch, to, incarnation, need: Need::default() },
                    Some((inside, inside_epoch)) => {
                        Decision::AssignInside { group, epoch, to, incarnation, inside, inside_epoch }
                    }
                }));
            }
            Err(Why::Everywhere) => {
                let reason = "it failed on every target".to_owned();
                acts.push(Act::Tell(Level::Error, EventKind::GivenUp, Some(name.clone()), reason.clone()));
                acts.push(Act::Decide(Decision::GiveUp { group: name, epoch, reason }));
            }
            Err(Why::Kept(reason)) => self.wait(view.now, group, reason, acts),
            Err(Why::Room(_)) => {} // VMs wait for room, and not what is inside
            Err(Why::Other(reason)) => {
                self.wait(view.now, group, reason, acts);
                self.last_resort(view, group, acts);
            }
        }
    }

    /// How far groups are that were displaced: while they are on their way, nothing more is displaced.
    fn going(&mut self, view: &View<'_>) -> Going {
        let leaving = view.config.groups.iter().filter(|group| {
            let record = view.ledger.group(&group.name);
            let goes = record.recalled.is_some_and(|recall| recall.why == RecallReason::Displaced);
            goes && record.owner.is_some_and(|owner| view.is_here(owner))
        });
        let longest = leaving.map(|group| group.stop_timeout).max();
        let Some((since, last)) = self.making_room.or(longest.map(|_| (view.now, view.now))) else {
            return Going::None;
        };
        let last = if longest.is_some() { view.now } else { last };
        self.making_room = Some((since, last));
        let until = match longest {
            Some(longest) => since + longest + GONE_AFTER,
            None => last + ROOM_TOLD,
        };
        match longest {
            _ if view.now < until => {
                self.wake(until);
                Going::InTime
            }
            Some(_) => Going::Overdue,
            None => {
                self.making_room = None;
                Going::None
            }
        }
    }

    /// Notes why a group is not given to anybody, and tells it once, unless it passes soon.
    fn wait(&mut self, now: Instant, group: &config::Group, reason: String, acts: &mut Vec<Act>) {
        let waiting = self.waiting.entry(group.name.clone()).or_insert_with(|| Waiting {
            reason: reason.clone(),
            since: now,
            told: false,
        });
        if waiting.reason != reason {
            waiting.reason = reason;
            waiting.told = false;
        }
        let tell_at = waiting.since + TELL_AFTER;
        if waiting.told {
            return;
        }
        if now < tell_at {
            self.wake(tell_at);
            return;
        }
        waiting.told = true;
        let text = format!("it waits: {}", waiting.reason);
        acts.push(Act::Tell(Level::Warning, EventKind::Blocked, Some(group.name.clone()), text));
    }

    /// A group that waits for hosts that do not come is tried again where it failed: better there than nowhere. If it fails
    /// once more it is given up on.
    fn last_resort(&mut self, view: &View<'_>, group: &config::Group, acts: &mut Vec<Act>) {
        let record = view.ledger.group(&group.name);
        let able = |id: &HostId| match &group.app {
            Some(app) => app.targets.iter().any(|target| target.id() == *id),
            None => {
                view.is_here(*id)
                    && is_active(view, *id)
                    && group.on.iter().any(|name| HostId::of(name) == *id)
            }
        };
        let Some(waiting) = self.waiting.get(&group.name) else { return };
        let at = waiting.since + LAST_RESORT_AFTER;
        if !record.failed_on.iter().any(able) {
            return;
        }
        if view.now < at {
            self.wake(at);
            return;
        }
        let text = "no other host has come: it is tried again where it failed".to_owned();
        acts.push(Act::Tell(Level::Warning, EventKind::Recovery, Some(group.name.clone()), text));
        acts.push(Act::Decide(Decision::Forgive { group: group.name.clone(), epoch: record.epoch }));
    }

    /// Whether a group that nobody owns is known to run nowhere. Of one that never had an owner every host that may run
    /// it must have said so: it may have been started by hand before there was a cluster.
    fn is_free(&mut self, view: &View<'_>, reports: &Reports, group: &config::Group) -> Result<(), Why> {
        let first = view.ledger.group(&group.name).epoch == 0;
        let wait = view.config.cluster.timing.suspect_after * 2;
        for name in group.on.iter() {
            let id = HostId::of(name);
            match (view.ledger.host(id).map(|record| record.standing), first) {
                (None, true) => {
                    return Err(Why::Other(format!(
                        "'{name}' was never seen, and may run it: start roostd there, or make certain that it does not and say \
                         `roost fence {name} --confirm`"
                    )));
                }
                (None | Some(Standing::Out), _) | (Some(Standing::Evicted(_)), false) => {}
                (Some(Standing::In(_) | Standing::Evicted(_)), true) => {
                    let told = reports.group(id, &group.name).map(|told| &told.state);
                    match told {
                        Some(GroupState::Unknown) => {
                            return Err(Why::Other(format!(
                                "libvirt on '{name}' has not said whether it runs there"
                            )));
                        }
                        None if !reports.is_whole(id) => {
                            return Err(Why::Other(format!("'{name}' has not said whether it runs there")));
                        }
                        _ => {}
                    }
                }
                (Some(Standing::In(_)), false) => {
                    if !reports.is_told(view.now, id, wait) {
                        self.wake(self.since.max(view.now) + wait);
                        return Err(Why::Other(format!("'{name}' has not reported yet")));
                    }
                }
            }
        }
        Ok(())
    }

    /// The host for a free group: where it runs already, without right, or else by the rules.
    fn whither(
        &self,
        view: &View<'_>,
        strays: &BTreeMap<&str, Vec<HostId>>,
        plan: &Plan<'_>,
        group: &config::Group,
    ) -> Result<HostId, Why> {
        let strays = strays.get(group.name.as_str()).map_or(&[][..], Vec::as_slice);
        match strays {
            [] => plan.place(group).map_err(|nowhere| match nowhere {
                Nowhere::NoRoom(hosts) => Why::Room(hosts),
                Nowhere::FailedEverywhere => Why::Everywhere,
                Nowhere::NoHost(reason) => Why::Other(reason),
            }),
            [host]
                if view.is_here(*host)
                    && is_active(view, *host)
                    && group.on.iter().any(|name| HostId::of(name) == *host) =>
            {
                Ok(*host)
            }
            _ => {
                let names: Vec<String> = strays.iter().map(|id| format!("'{}'", view.name(*id))).collect();
                Err(Why::Other(format!(
                    "its VM already runs on {}, without right: stop it there",
                    names.join(" and ")
                )))
            }
        }
    }
}

/// Why a group is not given to a host.
pub(super) enum Why {
    Room(Vec<HostId>),
    Everywhere,
    Kept(String),
    Other(String),
}

/// Whether a host is on its way out of the cluster.
pub(super) fn is_leaving(view: &View<'_>, host: HostId) -> bool {
    if host == view.me {
        return view.own.is_none();
    }
    view.member.peer(host).is_some_and(|peer| peer.state == Life::Leaving)
}

pub(super) fn is_active(view: &View<'_>, host: HostId) -> bool {
    view.ledger.host(host).is_some_and(|record| record.mode == HostMode::Active)
}

/// The hosts where VMs run without right, by group.
fn strays<'a>(view: &View<'_>, reports: &'a Reports) -> BTreeMap<&'a str, Vec<HostId>> {
    let mut found: BTreeMap<&str, Vec<HostId>> = BTreeMap::new();
    for host in &view.config.hosts {
        let id = HostId::of(&host.name);
        for group in reports.strays(id) {
            found.entry(group).or_default().push(id);
        }
    }
    found
}

/// The plan, made when it is first looked at: mostly nothing has to be placed, and of many groups it is long.
pub(super) struct Lazy<'a> {
    view: &'a View<'a>,
    reports: &'a Reports,
    plan: OnceCell<Plan<'a>>,
}

impl<'a> Lazy<'a> {
    pub(super) const fn new(view: &'a View<'a>, reports: &'a Reports) -> Self {
        Self { view, reports, plan: OnceCell::new() }
    }

    pub(super) fn get(&self) -> &Plan<'a> {
        self.plan.get_or_init(|| Plan::new(self.view, self.reports))
    }

    fn get_mut(&mut self) -> &mut Plan<'a> {
        self.get();
        self.plan.get_mut().expect("it was made")
    }
}

/// Whether, for as long as nothing changes, nothing will be decided about a group of which this is decided now.
fn is_still(group: &config::Group, record: &GroupRecord, owned: &Owned) -> bool {
    let waits = record.moving.is_some() || record.handover.is_some() || !record.failed_on.is_empty();
    let depends = group.app.is_some() || group.standby == Standby::Cold; // on what other hosts say
    matches!(owned, Owned::Nothing) && !waits && !depends
}

/// Whether all that a group needs is well.
fn needs(view: &View<'_>, reports: &Reports, group: &config::Group) -> Result<(), Why> {
    for name in &group.needs {
        let owner = view.ledger.group(name).owner;
        if owner.is_none_or(|owner| *reports.state(owner, name) != GroupState::Well) {
            return Err(Why::Other(format!("it needs '{name}', which is not well yet")));
        }
    }
    Ok(())
}
