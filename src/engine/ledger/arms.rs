//! Whether the cluster acts: disarmed for as long as somebody works on what it stands on, and armed again.
//!
//! A host that has applied the disarming lives without lease and watchdog, and may not hear of the arming. So its silence
//! proves nothing any more, until it says itself that it has applied the arming and lives under its lease: what was said
//! before names an older arming, and is passed over.

use super::{Effect, GroupRecord, Ledger, Standing};
use roost_proto::cluster::decision::{Arms, Decision, Proof};
use roost_proto::cluster::raft::Index;
use roost_proto::cluster::{HostId, Incarnation};
use serde::{Deserialize, Serialize};

/// What the ledger holds of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arming {
    /// Whether the cluster acts.
    pub arms: Arms,
    /// The index of the last decision about that.
    pub changed: Index,
    /// Who wanted it so.
    pub by: String,
}

impl Ledger {
    /// Whether the cluster acts, and since when.
    pub const fn arming(&self) -> &Arming {
        &self.arming
    }

    /// Whether the cluster keeps its hands off everything.
    pub fn is_disarmed(&self) -> bool {
        self.arming.arms == Arms::Disarmed
    }

    pub(super) fn arm(&mut self, index: Index, arms: Arms, by: &str) -> Effect {
        if self.arming.arms == arms {
            return Effect::Passed("it is so already");
        }
        let travels = |group: &GroupRecord| group.moving.is_some() || group.handover.is_some();
        if arms == Arms::Disarmed && self.groups.iter().any(|(_, group)| travels(group)) {
            return Effect::Passed("a group is being moved: wait until it is there, as `roost status` shows");
        }
        self.arming = Arming { arms, changed: index, by: by.to_owned() };
        if arms == Arms::Disarmed {
            for record in self.hosts.values_mut() {
                if let Standing::In(member) | Standing::Evicted(member) = &mut record.standing {
                    member.proof = Proof::None;
                }
            }
        }
        Effect::Done
    }

    pub(super) fn renew(
        &mut self,
        index: Index,
        host: HostId,
        incarnation: Incarnation,
        proof: Proof,
        armed: Index,
    ) -> Effect {
        if self.is_disarmed() || self.arming.changed != armed {
            return Effect::Passed("it was disarmed since");
        }
        let Some(record) = self.hosts.get_mut(&host) else {
            return Effect::Passed("it never was in the cluster");
        };
        match &mut record.standing {
            Standing::In(member) if member.incarnation == incarnation && member.proof == Proof::None => {
                member.proof = proof;
                record.changed = index;
                Effect::Done
            }
            _ => Effect::Passed(
                "that life of it is not in the cluster, or its silence proves something already",
            ),
        }
    }
}

/// Whether a decision waits until the cluster is armed: it would have something started, stopped, moved or fenced.
pub(super) const fn waits_for_arming(decision: &Decision) -> bool {
    match decision {
        Decision::Evict { .. }
        | Decision::Assign { .. }
        | Decision::AssignInside { .. }
        | Decision::Prepare { .. }
        | Decision::Recall { .. }
        | Decision::Release { .. }
        | Decision::GiveUp { .. }
        | Decision::MoveBegin { .. } => true,
        Decision::Admit { .. }
        | Decision::Fenced { .. }
        | Decision::Leave { .. }
        | Decision::Mode { .. }
        | Decision::Order { .. }
        | Decision::Forgive { .. }
        | Decision::MoveEnd { .. }
        | Decision::Arm { .. }
        | Decision::Renew { .. } => false,
    }
}
