//! Consensus: one log, the same on every voter (Raft).

use roost_proto::cluster::raft::{Index, LogEntry, StorageId, Term, Voters};
use roost_proto::cluster::{HostId, LedgerId};
use std::sync::Arc;

/// The ledger as it was at one index, in place of the log up to there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The ledger's id, from its founding.
    pub ledger: LedgerId,
    /// The last index that is in it.
    pub index: Index,
    /// The term of that entry.
    pub term: Term,
    /// The voters as of that index.
    pub voters: Voters,
    /// The state machine, encoded.
    pub data: Arc<[u8]>,
}

/// What is to be written to disk, in this order; it counts once all of it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Grows by one with each write.
    pub number: u64,
    /// What.
    pub records: Vec<Record>,
}

/// One thing to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The current term, and who was voted for in it.
    Vote {
        /// The term.
        term: Term,
        /// Who got the vote.
        voted_for: Option<HostId>,
    },
    /// Entries that take the place of whatever stood at `first` and after it.
    Append {
        /// The index of the first.
        first: Index,
        /// At least one.
        entries: Vec<LogEntry>,
    },
    /// A snapshot takes the place of the log up to its index; what stood after it stays if `keep` and goes otherwise.
    Snapshot {
        /// The snapshot.
        snapshot: Snapshot,
        /// Whether later entries stay.
        keep: bool,
    },
}

/// What was found on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The storage's own id.
    pub storage: StorageId,
    /// The newest term.
    pub term: Term,
    /// Who was voted for in it.
    pub voted_for: Option<HostId>,
    /// The newest snapshot; a host that is in no cluster yet has none.
    pub snapshot: Option<Snapshot>,
    /// The entries after the snapshot (from index 1 without one).
    pub entries: Vec<LogEntry>,
}
