//! What voters say to each other so that all of them keep one log (Raft, after Ongaro's dissertation, 2014), and the
//! entries of that log.

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
pub struct StorageId(pub u64);

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

/// Between hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RaftMessage {}
