//! What is counted of decisions, for monitoring. Nothing is decided by it.

use super::ledger::{Effect, Ledger, Standing};
use roost_proto::cluster::HostId;
use roost_proto::cluster::decision::{Decision, FencedBy};
use std::collections::BTreeSet;

/// Counts since the start of this life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Elections that this host won.
    pub elections_won: u64,
    /// How often this host had another leader than before.
    pub leader_changes: u64,
    /// How often this host's lease ran out.
    pub leases_lost: u64,
    /// Evictions of any host.
    pub evictions: u64,
    /// Evicted hosts that were known to run nothing.
    pub fenced: Fenced,
    /// Groups that this host was given.
    pub assigned: u64,
    /// Those of them whose host before was lost.
    pub failovers: u64,
    /// Groups whose host was lost, and that nobody was given since. There are never more than groups.
    lost: BTreeSet<String>,
}

/// Evicted hosts that were known to run nothing, by how that was known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fenced {
    /// By fence agents.
    pub agent: u64,
    /// By time.
    pub time: u64,
    /// By the host itself.
    pub itself: u64,
    /// By an operator.
    pub operator: u64,
}

impl Tally {
    /// A decision was applied: `before`, which [`owned`] told, is what the host that it is about had until then.
    pub fn applied(
        &mut self,
        me: HostId,
        ledger: &Ledger,
        decision: &Decision,
        effect: Effect,
        before: Vec<String>,
    ) {
        if effect != Effect::Done {
            return;
        }
        self.lost.extend(before.into_iter().filter(|group| ledger.group(group).owner.is_none()));
        match decision {
            Decision::Evict { .. } => self.evictions += 1,
            Decision::Fenced { by, .. } => match by {
                FencedBy::Agent => self.fenced.agent += 1,
                FencedBy::Time => self.fenced.time += 1,
                FencedBy::Itself => self.fenced.itself += 1,
                FencedBy::Operator => self.fenced.operator += 1,
            },
            Decision::Assign { group, to, .. } | Decision::AssignInside { group, to, .. } => {
                let lost = self.lost.remove(group);
                if *to == me {
                    self.assigned += 1;
                    self.failovers += u64::from(lost);
                }
            }
            _ => {}
        }
    }
}

/// The groups that a decision may take from its host because that was lost.
pub fn owned(ledger: &Ledger, decision: &Decision) -> Vec<String> {
    let host = match decision {
        Decision::Fenced { host, .. } => host,
        Decision::Admit { host, incarnation, .. } => match ledger.standing(*host) {
            Standing::In(before) if before.incarnation.boot != incarnation.boot => host,
            _ => return Vec::new(),
        },
        _ => return Vec::new(),
    };
    ledger.owned(*host).iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use roost_proto::cluster::decision::{Entry, Proof};
    use roost_proto::cluster::{Incarnation, Need};

    struct Told {
        ledger: Ledger,
        tally: Tally,
        index: u64,
    }

    impl Told {
        fn is(&mut self, decision: Decision) {
            self.index += 1;
            let before = owned(&self.ledger, &decision);
            let entry = Entry { asked: None, decision };
            let effect = self.ledger.apply(self.index, &entry);
            self.tally.applied(host("hv1"), &self.ledger, &entry.decision, effect, before);
        }

        fn admit(&mut self, name: &str, incarnation: Incarnation) {
            self.is(Decision::Admit {
                host: host(name),
                name: name.to_owned(),
                incarnation,
                machine: u64::from(host(name).0),
                proof: Proof::None,
            });
        }

        fn assign(&mut self, group: &str, epoch: u64, to: &str) {
            let need = Need { memory_mib: 0, cpus: 0 };
            let group = group.to_owned();
            self.is(Decision::Assign { group, epoch, to: host(to), incarnation: FIRST, need });
        }
    }

    const FIRST: Incarnation = Incarnation { boot: 1, start: 1 };

    fn host(name: &str) -> HostId {
        HostId::of(name)
    }

    #[test]
    fn a_failover_is_a_group_that_comes_here_because_its_host_was_lost() {
        let mut told = Told { ledger: Ledger::default(), tally: Tally::default(), index: 0 };
        for name in ["hv1", "hv2", "hv3"] {
            told.admit(name, FIRST);
        }
        told.assign("own", 0, "hv1");
        told.assign("db", 0, "hv2");
        told.assign("web", 0, "hv2");
        assert_eq!((told.tally.assigned, told.tally.failovers), (1, 0));
        told.is(Decision::Evict { host: host("hv2"), incarnation: FIRST });
        told.is(Decision::Evict { host: host("hv2"), incarnation: FIRST }); // passed over: it is not in any more
        told.is(Decision::Fenced { host: host("hv2"), incarnation: FIRST, by: FencedBy::Agent });
        told.assign("db", 1, "hv1");
        told.assign("web", 1, "hv3");
        assert_eq!((told.tally.assigned, told.tally.failovers), (2, 1), "the other one went elsewhere");
        assert_eq!(told.tally.evictions, 1);
        assert_eq!(told.tally.fenced, Fenced { agent: 1, ..Fenced::default() });

        told.is(Decision::Release {
            group: "db".to_owned(),
            epoch: 2,
            changed: told.ledger.group("db").changed,
        });
        told.assign("db", 2, "hv1");
        assert_eq!((told.tally.assigned, told.tally.failovers), (3, 1), "what was given back was not lost");

        told.admit("hv3", Incarnation { boot: 2, start: 2 }); // its machine was booted: what it had runs no more
        told.is(Decision::Assign {
            group: "web".to_owned(),
            epoch: 2,
            to: host("hv1"),
            incarnation: FIRST,
            need: Need { memory_mib: 0, cpus: 0 },
        });
        assert_eq!((told.tally.assigned, told.tally.failovers), (4, 2));
    }
}
