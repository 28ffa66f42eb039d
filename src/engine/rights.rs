//! What this host may do with each of its groups: the applied ledger's word, and the lease.

use super::keeper::right::{Hold, Journey, Right};
use super::ledger::{GroupRecord, Ledger, Standing};
use roost_proto::cluster::decision::Decision;
use roost_proto::cluster::raft::Index;
use roost_proto::cluster::{HostId, Incarnation};
use roost_proto::time::Instant;
use std::collections::BTreeSet;

/// How this life of this host stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// It has no ledger, or is not in it yet; a life before it may be.
    Waiting,
    /// The same, for longer than a lease lasts: what a life before it left running runs without any right, whatever its
    /// own ledger, which may be an old one, says of it.
    Stranded,
    /// It is admitted.
    Admitted,
    /// It was admitted, and is not any more: what it held is to go.
    Over,
}

/// Whether the lease holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// It does.
    Held,
    /// It ran out, or there never was one.
    Out,
}

/// Whether this host acts, or lives by it that the cluster is disarmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hands {
    /// It acts, under its lease.
    On,
    /// It has applied the disarming, at this index, or a life before it in the same boot has: what runs, runs on, without lease
    /// and watchdog.
    Off {
        /// The index.
        at: Index,
    },
    /// It has applied the arming, and lives on as if it had not until its watchdog is open and it has a lease, at the latest then.
    Returning {
        /// When.
        until: Instant,
    },
}

/// The one group that a decision is about; of all others nothing changes with it, but of the applications inside its VM.
pub const fn only_group(decision: &Decision) -> Option<&str> {
    match decision {
        Decision::Assign { group, .. }
        | Decision::AssignInside { group, .. }
        | Decision::Prepare { group, .. }
        | Decision::Recall { group, .. }
        | Decision::Release { group, .. }
        | Decision::Order { group, .. }
        | Decision::GiveUp { group, .. }
        | Decision::Forgive { group, .. }
        | Decision::MoveBegin { group, .. }
        | Decision::MoveEnd { group, .. } => Some(group.as_str()),
        Decision::Admit { .. }
        | Decision::Evict { .. }
        | Decision::Fenced { .. }
        | Decision::Leave { .. }
        | Decision::Mode { .. }
        | Decision::Arm { .. }
        | Decision::Renew { .. } => None,
    }
}

/// How a life stands in the ledger; `waits` if it was not admitted yet.
pub fn stand(ledger: &Ledger, me: HostId, incarnation: Incarnation, waits: Stand) -> Stand {
    let was = ledger.host(me).is_some_and(|record| record.newest >= incarnation.start);
    match (ledger.admits(me, incarnation), was) {
        (true, _) => Stand::Admitted,
        (false, true) => Stand::Over,
        (false, false) => waits,
    }
}

/// What may be done with one group. `held` are the groups that this life held when it was thrown out, `was_here` tells whether
/// the group was started or watched here since this machine booted.
pub fn right(
    ledger: &Ledger,
    me: HostId,
    group: &str,
    (stand, lease, hands): (Stand, Lease, Hands),
    held: &BTreeSet<String>,
    was_here: bool,
) -> Right {
    let record = ledger.group(group);
    let mine = record.owner == Some(me);
    let hold = match (stand, lease) {
        (Stand::Admitted, _) if mine && hands != Hands::On => Hold::Disarmed,
        _ if hands != Hands::On => Hold::Unknown,
        (Stand::Over, _) if held.contains(group) || mine => Hold::Lost,
        (Stand::Over, _) => Hold::Unknown,
        (Stand::Waiting | Stand::Stranded, _)
            if mine && matches!(ledger.standing(me), Standing::Evicted(_)) =>
        {
            Hold::Lost
        }
        // A life before this one owns it: what runs goes on while that one's lease lasts, and nothing is begun.
        (Stand::Waiting | Stand::Stranded, Lease::Held) => Hold::Unknown,
        (Stand::Waiting | Stand::Stranded, Lease::Out) if mine => Hold::Suspended,
        (Stand::Stranded, Lease::Out) if was_here => Hold::Suspended,
        (Stand::Waiting | Stand::Stranded, Lease::Out) => Hold::Unknown,
        (Stand::Admitted, Lease::Out) if mine => Hold::Suspended,
        (Stand::Admitted, Lease::Held) if mine && record.recalled.is_some() => Hold::Recalled,
        (Stand::Admitted, Lease::Held) if mine => Hold::Owned,
        (Stand::Admitted, _) => Hold::Elsewhere,
    };
    Right {
        hold,
        epoch: record.epoch,
        changed: record.changed,
        ordered: record.ordered,
        intent: record.intent,
        frozen: record.frozen,
        journey: journey(record, me),
        left: record.left,
        target: ledger.target(group),
        last: record.last,
        preparing: ledger.preparing(group),
        recalled: record.recalled.map(|recall| recall.why),
    }
}

fn journey(record: &GroupRecord, me: HostId) -> Journey {
    let mine = record.owner == Some(me);
    match (record.moving, record.handover) {
        (Some(moving), _) if mine => {
            Journey::Goes { begun: moving.begun, carry: moving.carry, to: moving.to }
        }
        (Some(moving), _) if moving.to == me => Journey::Comes { begun: moving.begun },
        (_, Some(handover)) if mine => Journey::Taken { begun: handover.begun, carry: handover.carry },
        _ => Journey::None,
    }
}
