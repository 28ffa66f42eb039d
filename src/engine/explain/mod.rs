//! Explaining: why a group or a host is as it is, and what would become of it. By the very rules that decide: see
//! [`leader::placement`](super::leader::placement) and [`leader::rehearse`](super::leader::rehearse).

mod app;
mod group;
mod host;

use super::Engine;
use super::leader::rehearse::{Place, has_quorum, rehearse};
use super::leader::reports::Reports;
use super::leader::{Leader, View};
use super::ledger::Standing;
use crate::config::{self, Standby, Target};
use roost_proto::cluster::HostId;
use roost_proto::cluster::decision::Proof;
use roost_proto::control::{CONTROL_VERSION, Intent};
use roost_proto::insight::{Explanation, FencingBy, PlanCase, PlannedMove, Stuck, Subject};
use roost_proto::time::Instant;
use std::collections::BTreeSet;

impl Engine {
    /// What a leader looks at, as this host sees it.
    fn looks<T>(&self, now: Instant, look: impl FnOnce(&View<'_>) -> T) -> T {
        let (own, caught_up) = (self.hello(), BTreeSet::new());
        look(&self.view(now, &own, &caught_up))
    }

    /// A group that this host, if it leads, would decide something about, and does not look at. There is none: that is for tests.
    pub fn overlooked(&self, now: Instant) -> Option<String> {
        self.looks(now, |view| self.leader.as_ref()?.overlooked(view))
    }

    /// What hosts reported, if this host leads.
    fn reports_here(&self) -> Option<&Reports> {
        self.leader.as_ref().filter(|_| self.whom_to_ask() == Some(self.me)).map(Leader::reports)
    }

    fn explanation(&self, now: Instant, subject: Subject) -> Explanation {
        Explanation {
            version: CONTROL_VERSION,
            host: self.name(self.me),
            leader: self.reports_here().map(|_| self.name(self.me)),
            quorum: self.quorum(now),
            subject,
        }
    }

    fn is_evicted(&self, host: HostId) -> bool {
        matches!(self.ledger.standing(host), Standing::Evicted(_))
    }

    /// Where a group is, by name: a host, or `vm:` and the group of a VM.
    fn place(&self, place: &Place) -> String {
        place.inside.as_ref().map_or_else(|| self.name(place.host), |vm| Target::Vm(vm.clone()).to_string())
    }

    /// What would become of the groups without these hosts.
    pub(super) fn plan_case(&self, now: Instant, without: &BTreeSet<HostId>) -> PlanCase {
        let none = Reports::default();
        let reports = self.reports_here().unwrap_or(&none);
        let names = without.iter().map(|host| self.name(*host)).collect();
        let unguarded = |id: &&HostId| {
            let host = self.config.hosts.iter().find(|host| HostId::of(&host.name) == **id);
            let Standing::In(member) = self.ledger.standing(**id) else { return false };
            !self.ledger.owned(**id).is_empty()
                && host.is_some_and(|host| fencing(host, member.proof) == FencingBy::None)
        };
        let unfenced = without.iter().filter(unguarded).map(|host| self.name(*host)).collect();
        let mut case =
            PlanCase { without: names, quorum: true, moves: Vec::new(), stuck: Vec::new(), unfenced };
        let rehearsed =
            self.looks(now, |view| has_quorum(view, without).then(|| rehearse(view, reports, without)));
        let place = |place: Option<Place>| place.map(|place| self.place(&place));
        match rehearsed {
            Some(rehearsed) => {
                let moves = rehearsed.moved.into_iter().map(|one| PlannedMove {
                    group: one.group,
                    host: one.to.inside.as_ref().map(|_| self.name(one.to.host)),
                    from: place(one.from),
                    to: self.place(&one.to),
                    step: one.step,
                    memory_mib: one.need.memory_mib,
                    needed_by: one.needed_by,
                });
                case.moves = moves.collect();
                let stuck = rehearsed.left.into_iter();
                case.stuck = stuck
                    .map(|one| Stuck { group: one.group, from: place(one.from), reason: one.reason })
                    .collect();
            }
            None => {
                case.quorum = false;
                let reason = "no majority of the voters would be left: nothing is decided, and hosts without a lease run nothing";
                let wanted = self.config.groups.iter().filter(|group| {
                    let record = self.ledger.group(&group.name);
                    let off = group.standby == Standby::Cold && record.owner.is_none();
                    record.intent == Intent::Online && !off
                });
                case.stuck = wanted
                    .map(|group| Stuck {
                        group: group.name.clone(),
                        from: place(Place::of(&self.ledger, &group.name)),
                        reason: reason.to_owned(),
                    })
                    .collect();
            }
        }
        case
    }
}

/// How a host becomes known to run nothing.
fn fencing(host: &config::Host, proof: Proof) -> FencingBy {
    match (host.fence.is_empty(), proof) {
        (false, _) => FencingBy::Agent,
        (true, Proof::Watchdog { .. }) => FencingBy::Time,
        (true, Proof::None) => FencingBy::None,
    }
}
