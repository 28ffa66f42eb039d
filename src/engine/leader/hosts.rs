//! Hosts: who is admitted, who is evicted, and when an evicted host is known to run nothing.

use super::super::Contact;
use super::super::fence::FenceAction;
use super::super::ledger::{Member as Admitted, Standing};
use super::fencing::{Fencing, MARGIN, at_most};
use super::{Act, EVIDENCE_BEATS, Leader, View};
use crate::config;
use core::time::Duration;
use roost_proto::cluster::decision::{Decision, FencedBy, HostMode, Proof};
use roost_proto::cluster::{Hello, HostId, Incarnation, Life, Running};
use roost_proto::control::{EventKind, Level};
use roost_proto::time::Instant;
use std::collections::BTreeSet;

/// How long a host that no voter has heard since the voters themselves started may take to come: machines that lost
/// their power together do not boot in the same second, and to fence one that boots only delays it.
pub const COLD_START_GRACE: Duration = Duration::from_secs(30);
/// Groups that were taken from a host because they failed there, within [`FAILED_WITHIN`], before it is quarantined: one bad
/// VM fails anywhere, three tell of the host.
const FAILURES: usize = 3;
const FAILED_WITHIN: Duration = Duration::from_secs(600);
/// The index at which a ledger is founded, with its first voter.
const FOUNDED: u64 = 1;

/// How long a majority of voters has not heard a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Absence {
    age: Duration,
    /// None of them has heard it since they started.
    never: bool,
}

/// Until when two lives of a host count as going on beside each other, if they do.
fn rival_until(view: &View<'_>, id: HostId) -> Option<Instant> {
    let counts = view.config.cluster.timing.evict_after;
    let at = view.member.peer(id)?.rival.filter(|at| view.now.since(*at) < counts)?;
    Some(at + counts)
}

/// A host that the cluster was disarmed under says that it lives under its lease again.
fn renew(view: &View<'_>, id: HostId, admitted: Admitted, acts: &mut Vec<Act>) {
    let hello =
        if id == view.me { view.own } else { view.member.peer(id).and_then(|peer| peer.hello.as_ref()) };
    let armed = view.ledger.arming().changed;
    let says_so = |hello: &&Hello| hello.proof != Proof::None && hello.armed == armed;
    if admitted.proof == Proof::None
        && !view.ledger.is_disarmed()
        && let Some(hello) = hello.filter(says_so)
    {
        let (incarnation, proof) = (admitted.incarnation, hello.proof);
        acts.push(Act::Decide(Decision::Renew { host: id, incarnation, proof, armed }));
    }
}

impl Leader {
    pub(super) fn watch_hosts(&mut self, view: &View<'_>, acts: &mut Vec<Act>) {
        let mut named = BTreeSet::new();
        for host in &view.config.hosts {
            let id = HostId::of(&host.name);
            named.insert(id);
            match view.ledger.standing(id) {
                Standing::Out => self.watch_outsider(view, host, id, acts),
                Standing::In(admitted) => self.watch_member(view, host, id, admitted, acts),
                Standing::Evicted(admitted) => self.watch_evicted(view, host, id, admitted, acts),
            }
        }
        let forgotten: Vec<HostId> =
            view.ledger.hosts().map(|(id, _)| id).filter(|id| !named.contains(id)).collect();
        for id in forgotten {
            self.watch_removed(view, id, acts);
        }
        self.change_voters(view, acts);
    }

    /// The life of a host that asks to be admitted.
    fn candidate<'a>(&self, view: &View<'a>, id: HostId) -> Option<(Incarnation, &'a Hello)> {
        if id == view.me {
            return Some((view.incarnation, view.own?));
        }
        let peer = view.member.peer(id)?;
        let here = view.member.silence(view.now, id).age < view.suspect_after(id);
        if !here || peer.state == Life::Leaving {
            return None;
        }
        Some((peer.life?, peer.hello.as_ref()?))
    }

    fn watch_outsider(&mut self, view: &View<'_>, host: &config::Host, id: HostId, acts: &mut Vec<Act>) {
        self.fencing.remove(&id);
        let newest = view.ledger.host(id).map_or(0, |record| record.newest);
        if let Some((life, hello)) = self.candidate(view, id).filter(|(life, _)| life.start > newest) {
            self.admit(view, host, id, (life, hello), acts);
        }
    }

    fn admit(
        &mut self,
        view: &View<'_>,
        host: &config::Host,
        id: HostId,
        (incarnation, hello): (Incarnation, &Hello),
        acts: &mut Vec<Act>,
    ) {
        if self.has_rival(view, id) {
            let text = format!(
                "two daemons call themselves '{}': give each machine its own name, and make certain that both do not run the same VMs",
                host.name
            );
            self.tell_host(id, Level::Error, EventKind::HostRefused, text, acts);
            return;
        }
        self.told.remove(&id);
        self.reports.begin(view.now, id, incarnation);
        acts.push(Act::Decide(Decision::Admit {
            host: id,
            name: host.name.clone(),
            incarnation,
            machine: hello.machine,
            proof: hello.proof,
        }));
    }

    /// Whether a life before the newest, or another machine of that name, was heard beside it lately.
    fn has_rival(&mut self, view: &View<'_>, id: HostId) -> bool {
        let until = rival_until(view, id);
        until.into_iter().for_each(|at| self.wake(at));
        until.is_some()
    }

    fn watch_member(
        &mut self,
        view: &View<'_>,
        host: &config::Host,
        id: HostId,
        admitted: Admitted,
        acts: &mut Vec<Act>,
    ) {
        match self.candidate(view, id) {
            Some((life, hello)) if life.start > admitted.incarnation.start => {
                let since = view.member.peer(id).map_or(view.member.born(), |peer| peer.since);
                let settled = since + view.config.cluster.timing.evict_after;
                if hello.machine == admitted.machine && life.boot == admitted.incarnation.boot {
                    self.admit(view, host, id, (life, hello), acts);
                } else if hello.machine == admitted.machine && view.now < settled {
                    // With another boot the earlier life counts as over. A copy of the machine looks the same: until then the
                    // earlier life, if it goes on, is heard.
                    self.wake(settled);
                } else if hello.machine == admitted.machine {
                    self.admit(view, host, id, (life, hello), acts);
                } else {
                    self.replaced(view, host, id, admitted, acts);
                }
                return;
            }
            Some((life, _)) if life == admitted.incarnation => {
                self.reports.begin(view.now, id, life);
                self.unquarantine(view, id, acts);
                renew(view, id, admitted, acts);
            }
            Some(_) | None => {}
        }
        if id == view.me {
            return;
        }
        self.leaves(view, id, admitted, acts);
        if view.ledger.is_disarmed() {
            return; // its silence is nobody's business
        }
        let (suspect_after, evict_after) = (view.suspect_after(id), view.evict_after(id));
        let absence = self.absence(view, id, admitted.incarnation);
        if absence.age < suspect_after {
            self.wake(view.now + (suspect_after - absence.age));
            return;
        }
        let limit = if absence.never { COLD_START_GRACE.max(evict_after) } else { evict_after };
        if self.is_off(view, host, id, admitted.incarnation, acts) || absence.age >= limit {
            let how = if absence.age >= limit { "" } else { ", and has no power" };
            let text =
                format!("'{}' is silent for {} ms{how}: it is evicted", host.name, absence.age.as_millis());
            self.tell_host(id, Level::Error, EventKind::HostLost, text, acts);
            acts.push(Act::Decide(Decision::Evict { host: id, incarnation: admitted.incarnation }));
        } else {
            self.wake(view.now + (limit - absence.age));
        }
    }

    /// Another machine has come under the name of one that is in the cluster.
    fn replaced(
        &mut self,
        view: &View<'_>,
        host: &config::Host,
        id: HostId,
        admitted: Admitted,
        acts: &mut Vec<Act>,
    ) {
        let text = format!(
            "another machine has come under the name '{}': the one before is evicted once it is silent, and has to be fenced before this one is admitted",
            host.name
        );
        self.tell_host(id, Level::Error, EventKind::HostRefused, text, acts);
        let peer = view.member.peer(id);
        let limit = view.config.cluster.timing.evict_after;
        if view.ledger.is_disarmed() {
            return;
        }
        // While both go on none is thrown out for the other's sake.
        let since = peer.map_or(view.now, |peer| peer.rival.unwrap_or(peer.since).max(peer.since));
        if view.now.since(since) >= limit {
            acts.push(Act::Decide(Decision::Evict { host: id, incarnation: admitted.incarnation }));
        } else {
            self.wake(since + limit);
        }
    }

    /// A host that leaves, and has given everything back, goes.
    fn leaves(&self, view: &View<'_>, id: HostId, admitted: Admitted, acts: &mut Vec<Act>) {
        let leaving = view
            .member
            .peer(id)
            .is_some_and(|peer| peer.state == Life::Leaving && peer.life == Some(admitted.incarnation));
        if leaving && view.ledger.owned(id).is_empty() {
            acts.push(Act::Decide(Decision::Leave { host: id, incarnation: admitted.incarnation }));
        }
    }

    /// How long a majority of voters has not heard a life of a host. The host itself does not count.
    fn absence(&self, view: &View<'_>, host: HostId, life: Incarnation) -> Absence {
        if view.contact == Contact::Few {
            return Absence { age: Duration::ZERO, never: false };
        }
        if view.watched.contains(&host) {
            // This leader alone hears it, and not before it led.
            let silence = view.member.silence(view.now, host);
            let judged = view.armed.map_or(self.since, |at| at.max(self.since));
            let age = silence.age.min(view.now.since(judged));
            return Absence { age, never: silence.life.is_none() };
        }
        let both_go_on = rival_until(view, host).is_some();
        let fresh = view.config.cluster.timing.beat * EVIDENCE_BEATS;
        let mut ages: Vec<Absence> = Vec::new();
        for voter in view.voters.keys().filter(|voter| **voter != host) {
            let (age, heard) = if *voter == view.me {
                let silence = view.member.silence(view.now, host);
                (silence.age, silence.life)
            } else {
                let told = self.evidence.get(&host).and_then(|by| by.get(voter));
                let Some(told) = told.filter(|told| view.now.since(told.arrived) <= fresh) else { continue };
                (told.age + view.now.since(told.arrived), told.life)
            };
            match heard {
                None => ages.push(Absence { age, never: true }),
                Some(heard) if heard == life => ages.push(Absence { age, never: false }),
                Some(_) if both_go_on => {} // which of them it does not hear is not known
                // A later life came and went before it was admitted: with it the one before is silent, too.
                Some(_) => ages.push(Absence { age, never: false }),
            }
        }
        ages.sort_by_key(|absence| core::cmp::Reverse(absence.age));
        let majority = view.voters.len() / 2 + 1;
        match ages.get(majority - 1) {
            Some(least) => {
                // What nobody was to judge by does not count.
                let judged = view.armed.map_or(Duration::MAX, |at| view.now.since(at));
                let never = ages[..majority].iter().all(|absence| absence.never);
                Absence { age: least.age.min(judged), never }
            }
            None => Absence { age: Duration::ZERO, never: false },
        }
    }

    fn fencing_of(&mut self, name: &str, id: HostId) -> &mut Fencing {
        self.fencing.entry(id).or_insert_with(|| Fencing::new(name.to_owned()))
    }

    /// Whether that life of a silent host is known to be dead, for want of power; asks if not.
    fn is_off(
        &mut self,
        view: &View<'_>,
        host: &config::Host,
        id: HostId,
        life: Incarnation,
        acts: &mut Vec<Act>,
    ) -> bool {
        let off = self.is_off_now(view, id, life);
        if !off {
            self.ask(view, host, id, FenceAction::Status, acts);
        }
        off
    }

    fn ask(
        &mut self,
        view: &View<'_>,
        host: &config::Host,
        id: HostId,
        action: FenceAction,
        acts: &mut Vec<Act>,
    ) {
        let mut ticket = self.next_ticket;
        let (order, again) = self.fencing_of(&host.name, id).next(view.now, host, action, &mut ticket);
        self.next_ticket = ticket;
        acts.extend(order.map(Act::Fence));
        again.into_iter().for_each(|at| self.wake(at));
    }

    fn watch_evicted(
        &mut self,
        view: &View<'_>,
        host: &config::Host,
        id: HostId,
        admitted: Admitted,
        acts: &mut Vec<Act>,
    ) {
        if let Some(by) = self.proof(view, host, id, admitted, acts) {
            self.told.remove(&id);
            self.last_answers.remove(&(id, admitted.incarnation));
            acts.push(Act::Decide(Decision::Fenced { host: id, incarnation: admitted.incarnation, by }));
            if by == FencedBy::Agent && !view.ledger.is_disarmed() {
                acts.extend(self.spares(id));
                let mut on = Fencing::new(host.name.clone());
                let (order, _) = on.next(view.now, host, FenceAction::On, &mut self.next_ticket);
                self.fencing.insert(id, on);
                acts.extend(order.map(Act::Fence)); // as far as its agents can: it is wanted back
            }
        }
    }

    /// What proves that an evicted life runs nothing, if something does; sees to it if not.
    fn proof(
        &mut self,
        view: &View<'_>,
        host: &config::Host,
        id: HostId,
        admitted: Admitted,
        acts: &mut Vec<Act>,
    ) -> Option<FencedBy> {
        if self.is_off_now(view, id, admitted.incarnation) {
            return Some(FencedBy::Agent);
        }
        let switching = self.fencing.get(&id).is_some_and(Fencing::is_switching);
        if let Some((life, hello)) = self.candidate(view, id)
            && hello.machine == admitted.machine
            && life.start > admitted.incarnation.start
            && !switching
            && !self.has_rival(view, id)
        {
            let booted = life.boot != admitted.incarnation.boot;
            if booted || hello.running == Running::Nothing {
                return Some(FencedBy::Itself);
            }
        }
        if view.ledger.is_disarmed() {
            return None;
        }
        if self.is_past(view, id, admitted) {
            return Some(FencedBy::Time);
        }
        self.ask(view, host, id, FenceAction::Off, acts);
        if host.fence.is_empty() && admitted.proof == Proof::None {
            let why = match host.watchdog {
                Some(_) => {
                    "has no fence agent, and was not seen under its lease and its watchdog since the cluster was armed"
                }
                None => "has neither a fence agent nor a watchdog",
            };
            let text = format!(
                "'{0}' {why}: its groups stay blocked until it is back, or until you make certain \
                 that it runs nothing and say `roost fence {0} --confirm`",
                host.name
            );
            self.tell_host(id, Level::Error, EventKind::HostBlocked, text, acts);
        }
        None
    }

    /// Whether the machine was off after it was last heard in the boot of that life, whose VMs a later life in it may find.
    fn is_off_now(&self, view: &View<'_>, id: HostId, life: Incarnation) -> bool {
        let heard = view.member.peer(id).and_then(|peer| match peer.life {
            Some(newest) if newest.boot == life.boot => peer.heard,
            // Another boot, or another machine of that name: that life was heard before it, or beside it.
            Some(_) => Some(peer.rival.map_or(peer.since, |rival| rival.max(peer.since))),
            None => None,
        });
        self.fencing.get(&id).is_some_and(|fencing| fencing.was_off_after(heard.unwrap_or(self.since)))
    }

    /// Whether lease, watchdog and margin have passed since a majority of voters last answered that life.
    fn is_past(&mut self, view: &View<'_>, id: HostId, admitted: Admitted) -> bool {
        let Proof::Watchdog { timeout_ms, lease_ms } = admitted.proof else { return false };
        let told = self.last_answers.get(&(id, admitted.incarnation));
        let mut answers: Vec<_> = view
            .voters
            .keys()
            .filter_map(|voter| {
                if *voter == view.me {
                    return Some(view.member.last_answered(id));
                }
                told?.get(voter).copied()
            })
            .collect();
        answers.sort_unstable();
        let Some(newest) = answers.get(view.voters.len() / 2) else { return false };
        let lasts = Duration::from_millis(u64::from(timeout_ms) + u64::from(lease_ms));
        let over = *newest + at_most(lasts) + MARGIN;
        if view.now < over {
            self.wake(over);
        }
        view.now >= over
    }

    /// A host that the configuration does not name any more.
    fn watch_removed(&mut self, view: &View<'_>, id: HostId, acts: &mut Vec<Act>) {
        match view.ledger.standing(id) {
            Standing::Out => {}
            Standing::In(admitted) => {
                self.leaves(view, id, admitted, acts);
                if view.ledger.is_disarmed() {
                    return;
                }
                if self.absence(view, id, admitted.incarnation).age >= view.evict_after(id) {
                    acts.push(Act::Decide(Decision::Evict { host: id, incarnation: admitted.incarnation }));
                }
            }
            Standing::Evicted(admitted) => {
                // Whoever has removed it looks after it.
                acts.extend(self.spares(id));
                if self.is_past(view, id, admitted) {
                    let (incarnation, by) = (admitted.incarnation, FencedBy::Time);
                    acts.push(Act::Decide(Decision::Fenced { host: id, incarnation, by }));
                }
            }
        }
    }

    /// A group was taken from a host because it failed there.
    pub(super) fn failed_on(&mut self, view: &View<'_>, id: HostId, group: &str, acts: &mut Vec<Act>) {
        let failures = self.failures.entry(id).or_default();
        failures.retain(|_, at| view.now.since(*at) < FAILED_WITHIN);
        failures.insert(group.to_owned(), view.now);
        let others = view.config.hosts.iter().any(|host| {
            let other = HostId::of(&host.name);
            other != id
                && view.is_here(other)
                && view.ledger.host(other).is_some_and(|h| h.mode == HostMode::Active)
        });
        if failures.len() >= FAILURES && others {
            failures.clear();
            let text = format!(
                "'{}' is quarantined: {FAILURES} groups failed there within {} minutes",
                view.name(id),
                FAILED_WITHIN.as_secs() / 60
            );
            acts.push(Act::Tell(Level::Error, EventKind::HostQuarantined, None, text));
            let by = "roost".to_owned();
            acts.push(Act::Decide(Decision::Mode { host: id, mode: HostMode::Quarantined, by }));
        }
    }

    /// Ends a quarantine that lasted long enough.
    fn unquarantine(&mut self, view: &View<'_>, id: HostId, acts: &mut Vec<Act>) {
        if view.ledger.host(id).is_none_or(|host| host.mode != HostMode::Quarantined) {
            self.quarantined.remove(&id);
            return;
        }
        let since = *self.quarantined.entry(id).or_insert(view.now);
        let until = since + view.config.cluster.quarantine;
        if view.now >= until {
            let by = "roost".to_owned();
            acts.push(Act::Decide(Decision::Mode { host: id, mode: HostMode::Active, by }));
        } else {
            self.wake(until);
        }
    }

    /// One voter at a time is taken in or out, when every host in the cluster has seen the change before: so whatever
    /// voters a host counts its lease by, and whatever voters bound it, have one in common. A lease that the voters before
    /// granted may still run, and is bounded only by those that were among them: so the next change waits until it is over.
    fn change_voters(&mut self, view: &View<'_>, acts: &mut Vec<Act>) {
        if self.voters_since.0 != view.voters_since {
            self.voters_since = (view.voters_since, view.now);
        }
        let next = self.voters_since.1 + at_most(view.config.cluster.timing.lease) + MARGIN;
        if view.voters_since > FOUNDED && view.now < next {
            self.wake(next);
            return;
        }
        let all_know = view.ledger.hosts().all(|(id, record)| {
            !matches!(record.standing, Standing::In(_) | Standing::Evicted(_))
                || id == view.me
                || view.member.peer(id).is_some_and(|peer| peer.applied >= view.voters_since)
        });
        if !all_know {
            return;
        }
        let wanted =
            |id: HostId| view.config.hosts.iter().any(|host| host.votes && HostId::of(&host.name) == id);
        let mut voters = view.voters.clone();
        let gone = view.voters.iter().find(|(id, storage)| {
            let other = view.member.peer(**id).and_then(|peer| peer.hello.as_ref());
            **id != view.me && (!wanted(**id) || other.is_some_and(|hello| hello.storage != **storage))
        });
        if let Some((id, _)) = gone {
            voters.remove(id);
            acts.push(Act::Voters(voters));
            return;
        }
        let new = view.config.hosts.iter().filter(|host| host.votes).find_map(|host| {
            let id = HostId::of(&host.name);
            let hello = view.member.peer(id)?.hello.as_ref()?;
            let ready = !view.voters.contains_key(&id) && view.is_here(id) && view.caught_up.contains(&id);
            ready.then_some((id, hello.storage))
        });
        if let Some((id, storage)) = new {
            voters.insert(id, storage);
            acts.push(Act::Voters(voters));
        } else if !wanted(view.me) && view.voters.len() > 1 {
            voters.remove(&view.me);
            acts.push(Act::Voters(voters));
        }
    }
}
