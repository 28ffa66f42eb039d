//! What a host may do with a group, as the ledger and the lease have it.

use super::super::ledger::Preparing;
use roost_proto::cluster::HostId;
use roost_proto::cluster::decision::{Carry, RecallReason};
use roost_proto::cluster::raft::Index;
use roost_proto::control::Intent;

/// What this host may do with one group, and what is wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// Whose it is.
    pub hold: Hold,
    /// The epoch of its ownership.
    pub epoch: u64,
    /// The index of the ledger's newest word about the group. What is reported names it.
    pub changed: u64,
    /// The index of the newest order of an operator about it: a greater one, or a new epoch, starts the ladder afresh.
    pub ordered: u64,
    /// What is wanted.
    pub intent: Intent,
    /// Watched, not touched.
    pub frozen: bool,
    /// What this host has to do with its memory.
    pub journey: Journey,
    /// A file of saved memory that counts no more, and may be left: by the beginning of its move.
    pub left: Option<Index>,
    /// Where it is, while somebody owns it: inside a VM, or on its owner.
    pub target: Option<HostId>,
    /// Where it was before.
    pub last: Option<HostId>,
    /// The target that is made ready for it.
    pub preparing: Option<Preparing>,
    /// Why it is to be given back, if it is.
    pub recalled: Option<RecallReason>,
}

impl Right {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        hold: Hold::Unknown,
        epoch: 0,
        changed: 0,
        ordered: 0,
        intent: Intent::Online,
        frozen: false,
        journey: Journey::None,
        left: None,
        target: None,
        last: None,
        preparing: None,
        recalled: None,
    };
}

/// Where a group's memory is on its way, from where this host stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Journey {
    /// Nowhere, as far as it concerns this host.
    None,
    /// From here to another host.
    Goes {
        /// The move.
        begun: Index,
        /// How.
        carry: Carry,
        /// Where to.
        to: HostId,
    },
    /// To this host, which has no right to it yet.
    Comes {
        /// The move.
        begun: Index,
    },
    /// It has come, and this host takes it over: only that, and only now, may let it run.
    Taken {
        /// The move.
        begun: Index,
        /// How it came.
        carry: Carry,
    },
}

/// Whose a group is, from where this host stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// This host's, and its lease holds: it is kept as wanted.
    Owned,
    /// This host's, and the lease ran out: what runs of it is made to stand still, by the hardest means if need be, and
    /// goes on when it is `Owned` again in the same epoch.
    Suspended,
    /// This host's, and to be given back: it is shut down and not started again. Frozen or not.
    Recalled,
    /// This host's, and the cluster is disarmed: nothing is done about it, but that what this host itself made to stand still
    /// goes on.
    Disarmed,
    /// It was this host's, which was evicted: whatever is left of it is destroyed.
    Lost,
    /// Not this host's: nothing is done about it, but that it runs is told.
    Elsewhere,
    /// It is not known yet whose: nothing is done about it.
    Unknown,
}
