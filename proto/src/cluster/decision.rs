//! The decisions that make up the ledger. Each names what it was decided on, an epoch or an incarnation, and is passed over
//! where that no longer holds.

use super::raft::Index;
use super::{GroupOrder, HostId, Incarnation, Need};
use serde::{Deserialize, Serialize};

/// One entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Who asked for it, so that the asker knows it again.
    pub asked: Option<Asked>,
    /// What is decided.
    pub decision: Decision,
}

/// What tells one request from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Asked {
    /// By which host.
    pub host: HostId,
    /// In which life of it.
    pub start: u32,
    /// The how many-th.
    pub number: u64,
}

/// What is decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// This life of a host is in the cluster. Over an earlier life in the same boot of the same machine it keeps its groups;
    /// after another boot nothing runs there, and they are free.
    Admit {
        /// The host.
        host: HostId,
        /// Its name.
        name: String,
        /// The life.
        incarnation: Incarnation,
        /// The machine.
        machine: u64,
        /// What follows from its silence.
        proof: Proof,
    },
    /// This life of a host is out; its groups are blocked until it is known to run nothing.
    Evict {
        /// The host.
        host: HostId,
        /// The life.
        incarnation: Incarnation,
    },
    /// An evicted host runs nothing: its groups are free.
    Fenced {
        /// The host.
        host: HostId,
        /// The life that was evicted.
        incarnation: Incarnation,
        /// How that is known.
        by: FencedBy,
    },
    /// A host that gave everything back goes, and is not missed.
    Leave {
        /// The host.
        host: HostId,
        /// The life.
        incarnation: Incarnation,
    },
    /// What a host may be used for.
    Mode {
        /// The host.
        host: HostId,
        /// What for.
        mode: HostMode,
        /// Who wants it so.
        by: String,
    },
    /// A free group is a host's from now on, in the next epoch.
    Assign {
        /// The group.
        group: String,
        /// The epoch before.
        epoch: u64,
        /// The host.
        to: HostId,
        /// Its life.
        incarnation: Incarnation,
        /// What the group needs there, as far as is known.
        need: Need,
    },
    /// The owner is to stop a group and give it back.
    Recall {
        /// The group.
        group: String,
        /// The epoch in which it is owned.
        epoch: u64,
        /// Where it shall go next, if anywhere in particular.
        to: Option<HostId>,
        /// Why it goes.
        why: RecallReason,
    },
    /// A group is stopped and free. Holds only when nothing was decided about the group since.
    Release {
        /// The group.
        group: String,
        /// The epoch in which it is owned.
        epoch: u64,
        /// The index of the last decision about it that its owner had seen when it said that the group is down.
        changed: u64,
    },
    /// An operator's order, or what somebody did to the VM and is respected as one.
    Order {
        /// The group.
        group: String,
        /// What.
        order: GroupOrder,
        /// Of whom.
        by: String,
    },
    /// There is nothing left to try.
    GiveUp {
        /// The group.
        group: String,
        /// The epoch that this was decided on.
        epoch: u64,
        /// Why.
        reason: String,
    },
    /// A group has been well for long: what failed before counts no more.
    Forgive {
        /// The group.
        group: String,
        /// The epoch that this was decided on.
        epoch: u64,
    },
    /// A group goes to another host with its memory. Until the end of that is decided it stays its owner's.
    MoveBegin {
        /// The group.
        group: String,
        /// The epoch in which it is owned.
        epoch: u64,
        /// Where it goes.
        to: HostId,
        /// The life of that host.
        incarnation: Incarnation,
        /// How its memory goes.
        carry: Carry,
        /// Why it goes.
        why: RecallReason,
    },
    /// How a move with memory went on. Holds only for the move that it names.
    MoveEnd {
        /// The group.
        group: String,
        /// The epoch in which it is owned.
        epoch: u64,
        /// The index of the move's beginning.
        begun: Index,
        /// How it went on.
        outcome: MoveOutcome,
    },
    /// All hands off, for as long as somebody works on what the cluster stands on; or on again.
    Arm {
        /// Which.
        arms: Arms,
        /// Who wants it so.
        by: String,
    },
    /// A host that the cluster was disarmed under lives under its lease again, as it says itself: its silence proves something
    /// from now on.
    Renew {
        /// The host.
        host: HostId,
        /// Its life.
        incarnation: Incarnation,
        /// What follows from its silence.
        proof: Proof,
        /// The index of the arming that it has applied.
        armed: u64,
    },
    /// A free application is to run inside a VM, whose owner gives its orders: in the next epoch it is that host's.
    AssignInside {
        /// The application's group.
        group: String,
        /// Its epoch before.
        epoch: u64,
        /// The host that owns the VM.
        to: HostId,
        /// Its life.
        incarnation: Incarnation,
        /// The VM's group.
        inside: String,
        /// The epoch in which that is owned.
        inside_epoch: u64,
    },
    /// An application is to be moved on purpose: its new target is made ready while it still runs where it is. Or not any more.
    Prepare {
        /// The application's group.
        group: String,
        /// The epoch in which it is owned.
        epoch: u64,
        /// The new target, by its number; none: it stays.
        to: Option<HostId>,
        /// Why it goes.
        why: RecallReason,
        /// Who wants it so.
        by: String,
    },
}

/// How the memory of a VM goes to another host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Carry {
    /// From QEMU to QEMU, while the VM runs.
    Live,
    /// In a file on storage that both hosts see.
    Suspend,
}

/// How a move with memory went on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoveOutcome {
    /// The memory has left the owner, which runs nothing of it any more: the target owns the group from now on, in the next
    /// epoch, and takes the memory over.
    Over {
        /// How long the VM had stood still by then, in milliseconds.
        still_ms: u32,
    },
    /// The memory is in its file and the target cannot take it: its owner takes it back, in the next epoch.
    Back {
        /// How long the VM had stood still by then, in milliseconds.
        still_ms: u32,
    },
    /// The group stays its owner's. Whatever of its memory is elsewhere counts no more.
    Failed {
        /// Why.
        reason: String,
    },
    /// The memory was taken over: the VM runs.
    Taken,
    /// The memory could not be taken over, and counts no more.
    Lost {
        /// Why.
        reason: String,
    },
}

impl Decision {
    /// The first of the [`super::DATAGRAM_VERSIONS`] whose hosts know it. A host that does not know a decision cannot keep the
    /// ledger, so nothing is decided that a host of the cluster does not know.
    pub const fn since(&self) -> u16 {
        match self {
            Self::Admit { .. }
            | Self::Evict { .. }
            | Self::Fenced { .. }
            | Self::Leave { .. }
            | Self::Mode { .. }
            | Self::Assign { .. }
            | Self::Recall { .. }
            | Self::Release { .. }
            | Self::Order { .. }
            | Self::GiveUp { .. }
            | Self::Forgive { .. }
            | Self::MoveBegin { .. }
            | Self::MoveEnd { .. }
            | Self::Arm { .. }
            | Self::Renew { .. } => 1,
            Self::AssignInside { .. } | Self::Prepare { .. } => 2,
        }
    }
}

/// What follows from the silence of a host that was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proof {
    /// Nothing: it may run on for ever.
    None,
    /// When its lease has been over for so long, its watchdog has reset it, unless nothing that it owned ran any more.
    Watchdog {
        /// The device's own timeout, in milliseconds.
        timeout_ms: u32,
        /// The longest lease that the host takes, in milliseconds.
        lease_ms: u32,
    },
}

/// Whether the cluster acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arms {
    /// It does.
    #[default]
    Armed,
    /// Nobody is evicted or fenced, and nothing is started, stopped, paused or moved; leases do not matter.
    Disarmed,
}

/// How an evicted host is known to run nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FencedBy {
    /// Its fence agents say that it is off.
    Agent,
    /// Lease, watchdog and margin have passed.
    Time,
    /// It is back after another boot, or says itself that it runs nothing.
    Itself,
    /// An operator said so.
    Operator,
}

/// What a host may be used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostMode {
    /// Everything.
    #[default]
    Active,
    /// Nothing: its groups go elsewhere.
    Maintenance,
    /// Nothing new: starts keep failing there.
    Quarantined,
}

/// Why a group is recalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecallReason {
    /// It could not be kept up there.
    Failed,
    /// Its host is to be emptied.
    Emptied,
    /// An operator wants it elsewhere.
    Moved,
    /// Something more important needs the room, or a rule about company does.
    Displaced,
    /// Its host is shut down, and it is kept for it until it is back.
    Kept,
    /// It goes home. Of [`super::DATAGRAM_VERSIONS`] 2.
    Home,
    /// It is a cold standby, and no application needs it. Of [`super::DATAGRAM_VERSIONS`] 2.
    Unneeded,
}
