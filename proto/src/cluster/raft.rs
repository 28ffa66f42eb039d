//! What voters say to each other so that all of them keep one log (Raft, after Ongaro's dissertation, "Consensus: Bridging
//! Theory and Practice", 2014), and the entries of that log.

use super::HostId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A leader's time in office.
pub type Term = u64;
/// A place in the log, from 1.
pub type Index = u64;

/// The storage that holds one host's log: a random number, made with it. A voter whose disk was lost has another one, and its
/// votes do not count until it was taken out of the voters and in again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StorageId(pub u32);

/// The voters, each with its storage.
pub type Voters = BTreeMap<HostId, StorageId>;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// The term of the leader that took it in.
    pub term: Term,
    /// What it says.
    pub payload: Payload,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// Nothing: a leader's first.
    Blank,
    /// These hosts vote from here on.
    Voters(Voters),
    /// For the ledger: an encoded [`super::decision::Entry`].
    Data(Vec<u8>),
}

/// A place in a log and the term of the entry there: two logs that agree in one position agree in all before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The term. It comes first: of two logs the one whose last entry has the greater term is newer.
    pub term: Term,
    /// The index.
    pub index: Index,
}

/// For what a vote is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ballot {
    /// Nothing yet: whether there would be a vote, if it came to an election. No term is changed by it (section 9.6).
    Trial,
    /// An election.
    Election,
    /// An election that the leader itself wants: that it was heard does not count (section 3.10).
    Transfer,
}

/// Between hosts. New kinds are added at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RaftMessage {
    /// A vote is asked for.
    AskVote {
        /// The term of the election.
        term: Term,
        /// For what.
        ballot: Ballot,
        /// The end of the asker's log.
        last: Position,
        /// The receiver's storage, as the asker's voters have it: a host with another one has forgotten what it voted.
        storage: StorageId,
    },
    /// The answer.
    Vote {
        /// The term of the election, or a newer one that the voter knows.
        term: Term,
        /// For what.
        ballot: Ballot,
        /// Whether it is given.
        granted: bool,
        /// The voter's storage.
        storage: StorageId,
    },
    /// The leader's entries; without any, its heartbeat.
    Append {
        /// The leader's term.
        term: Term,
        /// The position before the first entry.
        previous: Position,
        /// Up to where the leader knows the log to be committed.
        commit: Index,
        /// The entries.
        entries: Vec<LogEntry>,
    },
    /// The answer: the log agrees with the leader's up to there, durably.
    Matched {
        /// The leader's term.
        term: Term,
        /// Up to there.
        index: Index,
        /// The answerer's storage.
        storage: StorageId,
    },
    /// The answer: the log differs at that position.
    Differs {
        /// The leader's term, or a newer one.
        term: Term,
        /// The index of the position that was asked about.
        at: Index,
        /// The last index that may agree.
        hint: Index,
        /// The answerer's storage.
        storage: StorageId,
    },
    /// A part of a snapshot.
    Page {
        /// The leader's term.
        term: Term,
        /// What the snapshot stands for.
        position: Position,
        /// Its whole length, in bytes.
        total: u32,
        /// Where this part begins.
        offset: u32,
        /// The part.
        bytes: Vec<u8>,
    },
    /// The answer: the snapshot is here up to that offset.
    PageHeard {
        /// The leader's term.
        term: Term,
        /// The index of the snapshot.
        index: Index,
        /// What is wanted next.
        next: u32,
        /// The answerer's storage.
        storage: StorageId,
    },
    /// The leader wants the receiver to stand for election at once.
    StandNow {
        /// The leader's term.
        term: Term,
    },
}

impl RaftMessage {
    /// The term that it is of.
    pub const fn term(&self) -> Term {
        match self {
            Self::AskVote { term, .. }
            | Self::Vote { term, .. }
            | Self::Append { term, .. }
            | Self::Matched { term, .. }
            | Self::Differs { term, .. }
            | Self::Page { term, .. }
            | Self::PageHeard { term, .. }
            | Self::StandNow { term } => *term,
        }
    }

    /// The greatest term or index that it names.
    pub fn greatest(&self) -> u64 {
        let named = match self {
            Self::Vote { .. } | Self::StandNow { .. } => 0,
            Self::AskVote { last: Position { term, index }, .. } => *term.max(index),
            Self::Append { previous: Position { term, index }, commit, entries, .. } => {
                let terms = entries.iter().map(|entry| entry.term);
                terms.chain([*term, *index, *commit]).max().unwrap_or(0)
            }
            Self::Matched { index, .. } | Self::PageHeard { index, .. } => *index,
            Self::Differs { at, hint, .. } => *at.max(hint),
            Self::Page { position: Position { term, index }, .. } => *term.max(index),
        };
        named.max(self.term())
    }
}
