//! Consensus: one log, the same on every voter. Raft, after Ongaro's dissertation ("Consensus: Bridging Theory and
//! Practice", 2014; sections are cited from there), made for datagrams that are lost, doubled, late and out of order.
//!
//! Messages, time and acknowledged writes go in; messages, writes and committed entries come out. What depends on a write is
//! held until the write is durable. A leader's heartbeats and the answers to them ride in the host's own beats.

mod election;
mod log;
mod paging;
mod replication;
#[cfg(test)]
mod tests;

use core::time::Duration;
use election::Votes;
use log::Log;
use paging::Incoming;
use replication::Progress;
use roost_proto::cluster::raft::{Ballot, Index, LogEntry, Payload, RaftMessage, StorageId, Term, Voters};
use roost_proto::cluster::{HostId, LedgerId};
use roost_proto::retry::Jitter;
use roost_proto::time::Instant;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Bytes of one proposal, at most: an entry must fit a message.
pub const MAX_DATA: usize = 700;
/// Terms and indexes grow by one; a message with one beyond this is from a daemon that has lost its way, and sums with it would
/// overflow.
const MAX_NUMBER: u64 = 1 << 62;
/// Answers that wait for the disk, at most: while it hangs the leader asks again with each beat. What does not fit is lost as
/// datagrams are.
const MAX_HELD: usize = 256;

/// What a host is to its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It follows whoever leads.
    Follower,
    /// It asks whether it would be elected.
    Trying,
    /// It stands for election.
    Candidate,
    /// It leads.
    Leader,
}

/// What does not change in one life.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// This host.
    pub me: HostId,
    /// How long a leader may be silent, at least; the wait before an election is drawn between that and twice that.
    pub election: Duration,
    /// Between two calls of [`Raft::beat`].
    pub beat: Duration,
    /// Encoded bytes of one message, at most.
    pub max_message: usize,
    /// Whether this host can read what an entry or a snapshot says. What it cannot it does not take in, and so stays behind.
    pub reads: fn(Content<'_>) -> bool,
}

/// What the state machine is to be able to read.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// An entry's data.
    Entry(&'a [u8]),
    /// A snapshot's data.
    Snapshot(&'a [u8]),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this.
    Send {
        /// To whom.
        to: HostId,
        /// What.
        message: RaftMessage,
        /// When.
        when: When,
    },
    /// Write this, and call [`Raft::written`] once it is durable.
    Write(Write),
    /// The entry at `index` is committed, and on this host's disk. Each is told once in one life, in order.
    Apply {
        /// Its index.
        index: Index,
        /// Its term.
        term: Term,
        /// What it says.
        payload: Payload,
    },
    /// The state as of a snapshot takes the place of what was applied.
    Restore(Snapshot),
    /// A leader sent what this host cannot read, see [`Settings::reads`].
    Unreadable {
        /// The leader.
        from: HostId,
    },
}

/// How urgent a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once.
    Now,
    /// With the next beat.
    Beat,
}

/// Why a proposal was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This host does not lead.
    NotLeader,
    /// It is longer than [`MAX_DATA`].
    TooLong,
    /// Another change of the voters is under way, or this leader has not committed anything yet (the fix of the single-server
    /// change, Ongaro, raft-dev, 2015).
    NotYet,
    /// More than one voter would change, or none would be left.
    NotOne,
}

/// The ledger as it was at one index, in place of the log up to there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// A message that waits for a write.
#[derive(Debug)]
struct Held {
    write: u64,
    to: HostId,
    message: RaftMessage,
    when: When,
}

/// A write that is under way.
#[derive(Debug)]
struct Pending {
    number: u64,
    /// The log's end when it was ordered, less what was cut off since.
    covers: Index,
    since: Instant,
}

/// One host's part in the log.
#[derive(Debug)]
pub struct Raft {
    settings: Settings,
    storage: StorageId,
    jitter: Jitter,
    term: Term,
    voted_for: Option<HostId>,
    log: Log,
    commit: Index,
    applied: Index,
    role: Role,
    leader: Option<HostId>,
    /// When the leader was last heard, or this host began.
    leader_heard: Option<Instant>,
    /// When an election begins, if no leader is heard.
    election_at: Instant,
    votes: Votes,
    progress: BTreeMap<HostId, Progress>,
    learners: BTreeSet<HostId>,
    incoming: Option<Incoming>,
    /// The encoded snapshot that is being sent, and its index.
    outgoing: Option<(Index, Arc<[u8]>)>,
    records: Vec<Record>,
    next_write: u64,
    pending: VecDeque<Pending>,
    held: VecDeque<Held>,
    /// A snapshot that replaces the state once it is durable.
    restoring: Option<(u64, Snapshot)>,
    out: VecDeque<Output>,
}

impl Raft {
    /// The host's part, with what was found on its disk.
    pub fn new(settings: Settings, stored: Stored, seed: u64, now: Instant) -> Self {
        let (storage, term, voted_for) = (stored.storage, stored.term, stored.voted_for);
        let log = Log::new(stored);
        let base = log.base().index;
        let mut raft = Self {
            settings,
            storage,
            jitter: Jitter::new(seed),
            term,
            voted_for,
            commit: base,
            applied: base,
            role: Role::Follower,
            leader: None,
            leader_heard: None,
            election_at: now,
            votes: Votes::default(),
            progress: BTreeMap::new(),
            learners: BTreeSet::new(),
            incoming: None,
            outgoing: None,
            records: Vec::new(),
            next_write: 1,
            pending: VecDeque::new(),
            held: VecDeque::new(),
            restoring: None,
            out: VecDeque::new(),
            log,
        };
        if let Some(snapshot) = raft.log.snapshot.clone() {
            raft.out.push_back(Output::Restore(snapshot));
        }
        raft.wait_for_leader(now);
        if raft.is_alone() {
            raft.election_at = now; // nobody else could lead
        }
        raft
    }

    /// Begins a ledger with this host as its only voter. Its storage must be empty.
    pub fn found(&mut self, now: Instant, ledger: LedgerId, data: Arc<[u8]>) {
        assert!(self.ledger() == LedgerId::NONE && self.log.last().index == 0, "a ledger is founded once");
        let voters = Voters::from([(self.settings.me, self.storage)]);
        let snapshot = Snapshot { ledger, index: 1, term: 1, voters, data };
        self.term = self.term.max(1);
        self.install(snapshot);
        self.stand(now, Ballot::Election);
        self.finish(now);
    }

    /// Takes in what another host of the same ledger said.
    pub fn handle(&mut self, now: Instant, from: HostId, message: RaftMessage) {
        if message.greatest() > MAX_NUMBER {
            return;
        }
        match message {
            RaftMessage::AskVote { term, ballot, last, storage } => {
                if storage == self.storage {
                    self.asked_for_vote(now, from, term, ballot, last);
                }
            }
            RaftMessage::Vote { term, ballot, granted, storage } => {
                self.got_vote(now, from, (term, ballot, granted), storage);
            }
            RaftMessage::Append { term, previous, commit, entries } => {
                if self.follows(now, from, term) {
                    self.append(from, previous, commit, entries);
                } else {
                    self.refuse(from, term, previous.index);
                }
            }
            RaftMessage::Page { term, position, total, offset, bytes } => {
                if self.follows(now, from, term) {
                    self.got_page(from, position, (total, offset), &bytes);
                } else {
                    self.refuse(from, term, position.index);
                }
            }
            RaftMessage::Matched { term, index, storage } => {
                if self.is_answered(now, from, term, storage) {
                    self.matched_up_to(now, from, index);
                }
            }
            RaftMessage::Differs { term, at, hint, storage } => {
                if self.is_answered(now, from, term, storage) {
                    self.differs(from, at, hint);
                }
            }
            RaftMessage::PageHeard { term, index, next, storage } => {
                if self.is_answered(now, from, term, storage) {
                    self.page_heard(from, index, next);
                }
            }
            RaftMessage::StandNow { term } => {
                if term == self.term
                    && self.leader == Some(from)
                    && self.may_stand()
                    && self.disk_answers(now)
                {
                    self.stand(now, Ballot::Transfer);
                }
            }
        }
        self.finish(now);
    }

    /// The moment before beats are sent: a leader adds its heartbeats, and what seems lost; who asks whether it would be
    /// elected asks again, so that there is a leader soon after a majority can talk.
    pub fn beat(&mut self, now: Instant) {
        match self.role {
            Role::Leader => self.heartbeat(),
            Role::Trying => self.ask_for_votes(self.term + 1, Ballot::Trial, When::Beat),
            Role::Follower | Role::Candidate => {}
        }
        self.finish(now);
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.role == Role::Leader {
            if now >= self.quorum_until() || !self.disk_answers(now) {
                self.step_down(now); // section 6.2
                self.try_if_able(now); // whoever it lost may be back sooner than an election takes
            }
        } else if now >= self.election_at {
            self.wait_for_leader(now);
            self.try_if_able(now);
        }
        self.finish(now);
    }

    /// When to call [`Raft::handle_timeout`], if nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.role {
            Role::Leader => {
                let disk = self.pending.front().map(|write| write.since + self.settings.election * 2);
                Some(disk.map_or(self.quorum_until(), |disk| disk.min(self.quorum_until())))
            }
            Role::Follower | Role::Trying | Role::Candidate => Some(self.election_at),
        }
    }

    /// All writes up to this number are durable.
    pub fn written(&mut self, now: Instant, number: u64) {
        while let Some(write) = self.pending.pop_front_if(|write| write.number <= number) {
            self.log.durable = self.log.durable.max(write.covers.min(self.log.last().index));
        }
        while let Some(held) = self.held.pop_front_if(|held| held.write <= number) {
            if held.message.term() == self.term {
                self.out.push_back(Output::Send { to: held.to, message: held.message, when: held.when });
            }
        }
        if let Some((_, snapshot)) = self.restoring.take_if(|(write, _)| *write <= number) {
            self.applied = self.applied.max(snapshot.index);
            self.out.push_back(Output::Restore(snapshot));
        }
        self.own_vote_is_durable(now, number);
        self.look_at_commit(now);
        self.finish(now);
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// Proposes data for the log; it holds once it comes out of [`Output::Apply`].
    pub fn propose(&mut self, now: Instant, data: Vec<u8>) -> Result<Index, Refused> {
        if self.role != Role::Leader {
            return Err(Refused::NotLeader);
        }
        if data.len() > MAX_DATA {
            return Err(Refused::TooLong);
        }
        let index = self.add(now, Payload::Data(data));
        self.finish(now);
        Ok(index)
    }

    /// Proposes other voters: one more, or one fewer.
    pub fn change_voters(&mut self, now: Instant, voters: Voters) -> Result<Index, Refused> {
        if self.role != Role::Leader {
            return Err(Refused::NotLeader);
        }
        if self.log.voters_since() > self.commit || self.log.term(self.commit) != Some(self.term) {
            return Err(Refused::NotYet);
        }
        let now_voters = self.log.voters();
        let gone = now_voters.iter().filter(|(host, storage)| voters.get(host) != Some(storage)).count();
        let new = voters.iter().filter(|(host, storage)| now_voters.get(host) != Some(storage)).count();
        if gone + new != 1 || voters.is_empty() {
            return Err(Refused::NotOne);
        }
        let index = self.add(now, Payload::Voters(voters));
        self.finish(now);
        Ok(index)
    }

    /// The hosts that get the log besides the voters.
    pub fn set_learners(&mut self, learners: BTreeSet<HostId>) {
        self.learners = learners;
        self.look_at_peers();
    }

    /// A host was restarted: how much it has is asked again, for its disk may have lost what it once said it had. If it led it does so
    /// no more, and a leader that cannot come back is not waited for.
    pub fn begins_anew(&mut self, now: Instant, host: HostId) {
        let last = self.log.last().index;
        if let Some(progress) = self.progress.get_mut(&host) {
            progress.begin_anew(last + 1);
        }
        if self.role == Role::Follower && self.leader == Some(host) {
            self.leader = None;
            self.leader_heard = None;
            // Not all at once, so that one has asked before the next begins.
            let beat = u64::try_from(self.settings.beat.as_nanos()).unwrap_or(u64::MAX).max(1);
            self.election_at = now + Duration::from_nanos((self.jitter.draw() >> 8) % beat);
        }
    }

    /// The state machine as of `index`, which is applied: the log up to there is not needed any more.
    pub fn compact(&mut self, now: Instant, index: Index, data: Arc<[u8]>) {
        let Some(term) =
            self.log.term(index).filter(|_| index > self.log.base().index && index <= self.applied)
        else {
            return;
        };
        let voters = self.log.voters_at(index);
        let snapshot = Snapshot { ledger: self.ledger(), index, term, voters, data };
        self.log.replace(snapshot.clone());
        self.outgoing = None;
        self.records.push(Record::Snapshot { snapshot, keep: true });
        self.finish(now);
    }

    /// Lets another voter lead, if it has the whole log.
    pub fn transfer(&mut self, to: HostId) {
        if self.role == Role::Leader && self.caught_up(to) && self.log.voters().contains_key(&to) {
            let message = RaftMessage::StandNow { term: self.term };
            self.out.push_back(Output::Send { to, message, when: When::Now });
        }
    }

    /// What this host is to the log.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Whether this host leads.
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }

    /// Who leads, as far as is known.
    pub const fn leader(&self) -> Option<HostId> {
        self.leader
    }

    /// The term.
    pub const fn term(&self) -> Term {
        self.term
    }

    /// Up to where the log is known to be committed.
    pub const fn commit(&self) -> Index {
        self.commit
    }

    /// The end of the log.
    pub fn last_index(&self) -> Index {
        self.log.last().index
    }

    /// Entries since the snapshot.
    pub fn log_len(&self) -> usize {
        self.log.len()
    }

    /// The ledger that the log is of.
    pub fn ledger(&self) -> LedgerId {
        self.log.snapshot.as_ref().map_or(LedgerId::NONE, |snapshot| snapshot.ledger)
    }

    /// This host's storage.
    pub const fn storage(&self) -> StorageId {
        self.storage
    }

    /// The voters, by the newest word in the log.
    pub fn voters(&self) -> &Voters {
        self.log.voters()
    }

    /// Whether this host votes, with the storage that it has.
    pub fn is_voter(&self) -> bool {
        self.log.voters().get(&self.settings.me) == Some(&self.storage)
    }

    /// Whether a host has all of this leader's log, but for what is on its way.
    pub fn caught_up(&self, host: HostId) -> bool {
        self.progress.get(&host).is_some_and(|progress| progress.matched >= self.commit && self.commit > 0)
    }

    /// Whether this host may be elected. One that an uncommitted change takes out of the voters may: it can be the only one
    /// that has the change (section 4.2.2).
    fn may_stand(&self) -> bool {
        let me = self.settings.me;
        self.is_voter() || self.log.voters_at(self.commit).get(&me) == Some(&self.storage)
    }

    fn is_alone(&self) -> bool {
        self.is_voter() && self.log.voters().len() == 1
    }

    /// Whether no write is out for longer than an election takes: who cannot write must not lead.
    fn disk_answers(&self, now: Instant) -> bool {
        self.pending.front().is_none_or(|write| now.since(write.since) < self.settings.election * 2)
    }

    fn wait_for_leader(&mut self, now: Instant) {
        let election = u64::try_from(self.settings.election.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.election_at =
            now + self.settings.election + Duration::from_nanos((self.jitter.draw() >> 8) % election);
    }

    fn send(&mut self, to: HostId, message: RaftMessage, when: When) {
        self.out.push_back(Output::Send { to, message, when });
    }

    /// Sends once all that is ordered until now is durable.
    fn send_when_written(&mut self, to: HostId, message: RaftMessage, when: When) {
        if self.records.is_empty() && self.pending.is_empty() {
            self.send(to, message, when);
        } else if self.held.len() < MAX_HELD {
            let write = if self.records.is_empty() { self.next_write - 1 } else { self.next_write };
            self.held.push_back(Held { write, to, message, when });
        }
    }

    /// Moves to a newer term, as a follower of nobody yet.
    fn enter(&mut self, now: Instant, term: Term) {
        assert!(term > self.term, "terms only grow");
        self.term = term;
        self.voted_for = None;
        self.leader = None;
        self.records.push(Record::Vote { term, voted_for: None });
        self.step_down(now);
    }

    /// Leads no more, and stands for nothing.
    fn step_down(&mut self, now: Instant) {
        if self.role == Role::Leader {
            self.leader = None;
        }
        self.role = Role::Follower;
        self.progress.clear();
        self.votes = Votes::default();
        self.wait_for_leader(now);
    }

    /// A snapshot takes the place of the log up to its index.
    fn install(&mut self, snapshot: Snapshot) {
        let position = roost_proto::cluster::raft::Position { term: snapshot.term, index: snapshot.index };
        let keep = self.log.has(position);
        self.log.replace(snapshot.clone());
        if !keep {
            self.pending.iter_mut().for_each(|write| write.covers = 0);
        }
        self.commit = self.commit.max(snapshot.index);
        self.outgoing = None;
        self.records.push(Record::Snapshot { snapshot: snapshot.clone(), keep });
        self.restoring = Some((self.next_write, snapshot));
    }

    /// Ends an input: orders what is to be written, and hands out what is committed and durable.
    fn finish(&mut self, now: Instant) {
        if !self.records.is_empty() {
            let number = self.next_write;
            self.next_write += 1;
            self.pending.push_back(Pending { number, covers: self.log.last().index, since: now });
            let records = core::mem::take(&mut self.records);
            self.out.push_back(Output::Write(Write { number, records }));
        }
        while self.restoring.is_none() && self.applied < self.commit.min(self.log.durable) {
            let index = self.applied + 1;
            let Some(LogEntry { term, payload }) = self.log.entry(index).cloned() else { break };
            self.applied = index;
            self.out.push_back(Output::Apply { index, term, payload });
        }
    }
}
