//! Explaining: why a group or a host is as it is, and what would become of it. By the very rules that decide: see
//! [`leader::placement`](super::leader::placement) and [`leader::rehearse`](super::leader::rehearse).

mod group;
mod host;

use super::Engine;
use super::leader::rehearse::{has_quorum, rehearse};
use super::leader::reports::Reports;
use super::leader::{Leader, View};
use super::ledger::Standing;
use crate::config;
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
        let name = |host: Option<HostId>| host.map(|host| self.name(host));
        match rehearsed {
            Some(rehearsed) => {
                let moves = rehearsed.moved.into_iter().map(|one| PlannedMove {
                    group: one.group,
                    from: name(one.from),
                    to: self.name(one.to),
                    step: one.step,
                    memory_mib: one.need.memory_mib,
                });
                case.moves = moves.collect();
                let stuck = rehearsed.left.into_iter();
                case.stuck = stuck
                    .map(|one| Stuck { group: one.group, from: name(one.from), reason: one.reason })
                    .collect();
            }
            None => {
                case.quorum = false;
                let reason = "no majority of the voters would be left: nothing is decided, and hosts without a lease run nothing";
                let wanted = self.config.groups.iter().map(|group| (group, self.ledger.group(&group.name)));
                let wanted = wanted.filter(|(_, record)| record.intent == Intent::Online);
                case.stuck = wanted
                    .map(|(group, record)| Stuck {
                        group: group.name.clone(),
                        from: name(record.owner),
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
