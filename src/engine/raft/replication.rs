//! Replication: a leader's view of each other host's log, and a follower's answers (sections 3.5, 3.6, 10.2).

use super::paging::Sending;
use super::{Content, Output, Raft, Record, Role, When};
use roost_proto::cluster::HostId;
use roost_proto::cluster::raft::{Index, LogEntry, Payload, Position, RaftMessage, StorageId, Term};
use roost_proto::time::Instant;
use std::collections::BTreeSet;

/// Messages with entries that may be on their way to one host.
const WINDOW: u32 = 8;
/// Encoded bytes that a message takes besides its entries, at most.
const HEAD: usize = 48;

/// How far one host is, as its leader sees it.
#[derive(Debug)]
pub(super) struct Progress {
    /// Its log agrees with the leader's up to here, durably.
    pub(super) matched: Index,
    next: Index,
    flow: Flow,
    /// `matched` at the beat before: what did not move since was lost.
    at_beat: Index,
    /// When it last answered in this term.
    heard: Option<Instant>,
    storage: Option<StorageId>,
    /// The commit index that it was last told.
    told: Index,
    pub(super) sending: Option<Sending>,
}

/// How entries are sent to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// It is not known where its log agrees: one message at a time.
    Probing,
    /// So many messages are on their way.
    Streaming(u32),
}

impl Progress {
    fn new(next: Index) -> Self {
        Self {
            matched: 0,
            next,
            flow: Flow::Probing,
            at_beat: 0,
            heard: None,
            storage: None,
            told: 0,
            sending: None,
        }
    }

    pub(super) fn begin_anew(&mut self, next: Index) {
        *self = Self { heard: self.heard, ..Self::new(next) };
    }
}

impl Raft {
    /// This host was elected.
    pub(super) fn lead(&mut self, now: Instant) {
        self.role = Role::Leader;
        self.leader = Some(self.settings.me);
        self.leader_heard = Some(now);
        self.progress.clear();
        self.look_at_peers();
        self.progress.values_mut().for_each(|progress| progress.heard = Some(now));
        self.add(now, Payload::Blank); // only with an entry of its own term it knows what is committed (3.6.2)
        for to in self.peers() {
            self.send_entries(to, When::Now);
        }
    }

    /// Everybody who gets the log.
    pub(super) fn look_at_peers(&mut self) {
        if self.role != Role::Leader {
            return;
        }
        let next = self.log.last().index + 1;
        let peers: BTreeSet<HostId> = self.log.voters().keys().chain(&self.learners).copied().collect();
        self.progress.retain(|host, _| peers.contains(host));
        for host in peers.into_iter().filter(|host| *host != self.settings.me) {
            self.progress.entry(host).or_insert_with(|| Progress::new(next));
        }
    }

    /// Adds an entry of this leader, and sends it.
    pub(super) fn add(&mut self, now: Instant, payload: Payload) -> Index {
        let entry = LogEntry { term: self.term, payload };
        let first = self.log.last().index + 1;
        self.records.push(Record::Append { first, entries: vec![entry.clone()] });
        let voters = matches!(entry.payload, Payload::Voters(_));
        self.log.push(vec![entry]);
        if voters {
            self.look_at_peers();
        }
        for to in self.peers() {
            self.replicate(to);
        }
        self.look_at_commit(now);
        first
    }

    fn peers(&self) -> Vec<HostId> {
        self.progress.keys().copied().collect()
    }

    /// Until when the leader may believe that a majority hears it.
    pub(super) fn quorum_until(&self) -> Instant {
        let voters = self.log.voters();
        let mut heard: Vec<Instant> = voters
            .iter()
            .filter(|(host, _)| **host != self.settings.me)
            .map(|(host, storage)| {
                let progress =
                    self.progress.get(host).filter(|p| p.storage.is_none_or(|known| known == *storage));
                progress.and_then(|progress| progress.heard).unwrap_or_default()
            })
            .collect();
        heard.sort_unstable_by(|a, b| b.cmp(a));
        let own = usize::from(self.is_voter());
        let others = (voters.len() / 2 + 1).saturating_sub(own);
        let Some(last_needed) = others.checked_sub(1) else {
            return Instant::from_nanos(u64::MAX); // a majority of itself
        };
        heard.get(last_needed).copied().unwrap_or_default()
            + self.settings.election
            + self.settings.election / 2
    }

    /// Sends a host what it lacks, as far as the window allows.
    fn replicate(&mut self, to: HostId) {
        loop {
            let Some(progress) = self.progress.get(&to) else { return };
            if progress.next <= self.log.base().index {
                self.send_pages(to);
                return;
            }
            if progress.next > self.log.last().index {
                return;
            }
            match progress.flow {
                Flow::Streaming(on_their_way) if on_their_way < WINDOW => {}
                Flow::Probing | Flow::Streaming(_) => return,
            }
            self.send_entries(to, When::Now);
        }
    }

    /// Sends a host the entries from its next on, as many as fit a message.
    fn send_entries(&mut self, to: HostId, when: When) {
        let Some(progress) = self.progress.get_mut(&to) else { return };
        let previous_index = progress.next - 1;
        let Some(term) = self.log.term(previous_index) else { return };
        let mut entries = Vec::new();
        let mut room = self.settings.max_message.saturating_sub(HEAD);
        while let Some(entry) = self.log.entry(progress.next + entries.len() as u64) {
            let size = size_of(entry);
            if size > room && !entries.is_empty() {
                break;
            }
            room = room.saturating_sub(size);
            entries.push(entry.clone());
        }
        if let Flow::Streaming(on_their_way) = &mut progress.flow {
            progress.next += entries.len() as u64;
            *on_their_way += 1;
        }
        progress.told = self.commit;
        let previous = Position { term, index: previous_index };
        let message = RaftMessage::Append { term: self.term, previous, commit: self.commit, entries };
        self.send(to, message, when);
    }

    /// Tells a host how far the log is committed.
    fn send_heartbeat(&mut self, to: HostId, when: When) {
        let Some(progress) = self.progress.get_mut(&to) else { return };
        let index = if progress.flow == Flow::Probing { progress.next - 1 } else { progress.matched };
        let Some(term) = self.log.term(index) else { return };
        progress.told = self.commit;
        let previous = Position { term, index };
        let message =
            RaftMessage::Append { term: self.term, previous, commit: self.commit, entries: Vec::new() };
        self.send(to, message, when);
    }

    /// Tells a host at once, and not with the next beat, that what it has is committed.
    fn tell_commit(&mut self, to: HostId) {
        let Some(progress) = self.progress.get(&to) else { return };
        if progress.told < self.commit.min(progress.matched) && progress.flow != Flow::Probing {
            self.send_heartbeat(to, When::Now);
        }
    }

    /// Once a beat: whoever did not get on since the beat before is asked again.
    pub(super) fn heartbeat(&mut self) {
        for to in self.peers() {
            let base = self.log.base().index;
            let last = self.log.last().index;
            let Some(progress) = self.progress.get_mut(&to) else { continue };
            let stuck = progress.matched == progress.at_beat;
            progress.at_beat = progress.matched;
            if stuck && progress.matched < last && progress.flow != Flow::Probing {
                progress.flow = Flow::Probing;
                progress.next = progress.matched + 1;
            }
            if progress.next <= base {
                self.resend_pages(to);
                if let Some(message) = self.still_here() {
                    self.send(to, message, When::Beat); // pages may all be lost; that it leads must be heard
                }
            } else if progress.flow == Flow::Probing && progress.next <= last {
                self.send_entries(to, When::Beat);
            } else {
                self.send_heartbeat(to, When::Beat);
            }
        }
    }

    /// An append that no follower can disagree with.
    fn still_here(&self) -> Option<RaftMessage> {
        let previous = self.log.base();
        (previous.index > 0).then(|| RaftMessage::Append {
            term: self.term,
            previous,
            commit: self.commit,
            entries: Vec::new(),
        })
    }

    /// Whether an answer is to this leader in this term.
    pub(super) fn is_answered(&mut self, now: Instant, from: HostId, term: Term, storage: StorageId) -> bool {
        if term > self.term {
            self.enter(now, term); // it can follow no older one
        }
        if self.role != Role::Leader || term != self.term {
            return false;
        }
        let last = self.log.last().index;
        let Some(progress) = self.progress.get_mut(&from) else { return false };
        if progress.storage.is_some_and(|known| known != storage) {
            *progress = Progress::new(last + 1); // its disk is another one: nothing of what it had is there
        }
        progress.storage = Some(storage);
        progress.heard = Some(now);
        true
    }

    pub(super) fn matched_up_to(&mut self, now: Instant, from: HostId, index: Index) {
        let last = self.log.last().index;
        let Some(progress) = self.progress.get_mut(&from) else { return };
        if index > last || index < progress.matched {
            return;
        }
        let news = index > progress.matched;
        progress.matched = index;
        progress.next = progress.next.max(index + 1);
        progress.sending = progress.sending.take().filter(|sending| sending.index > index);
        match &mut progress.flow {
            Flow::Streaming(on_their_way) if progress.next == index + 1 => *on_their_way = 0, // what was lost is not waited for
            Flow::Probing => {
                progress.flow = Flow::Streaming(0);
                progress.next = index + 1;
            }
            Flow::Streaming(on_their_way) if news => *on_their_way = on_their_way.saturating_sub(1),
            Flow::Streaming(_) => {}
        }
        if news {
            self.look_at_commit(now);
        }
        self.replicate(from);
        self.tell_commit(from);
    }

    pub(super) fn differs(&mut self, from: HostId, at: Index, hint: Index) {
        let Some(progress) = self.progress.get_mut(&from) else { return };
        if at <= progress.matched || at >= progress.next {
            return; // an old answer
        }
        progress.flow = Flow::Probing;
        progress.next = (hint + 1).min(at).max(progress.matched + 1);
        if progress.next <= self.log.base().index {
            self.send_pages(from);
        } else {
            self.send_entries(from, When::Now);
        }
    }

    /// What a majority of voters has on disk is committed, if it is of this term or followed by what is (3.6.2).
    pub(super) fn look_at_commit(&mut self, now: Instant) {
        if self.role != Role::Leader {
            return;
        }
        let voters = self.log.voters();
        let mut matched: Vec<Index> = voters
            .iter()
            .map(|(host, storage)| {
                if *host == self.settings.me {
                    return if *storage == self.storage { self.log.durable } else { 0 };
                }
                let progress = self.progress.get(host).filter(|progress| progress.storage == Some(*storage));
                progress.map_or(0, |progress| progress.matched)
            })
            .collect();
        matched.sort_unstable_by(|a, b| b.cmp(a));
        let Some(index) = matched.get(voters.len() / 2).copied() else { return };
        if index <= self.commit || self.log.term(index) != Some(self.term) {
            return;
        }
        self.commit = index;
        for to in self.peers() {
            self.tell_commit(to);
        }
        let out = !self.is_voter() && self.log.voters_since() <= self.commit;
        if out {
            self.step_down(now); // the change that took it out of the voters is committed (4.2.2)
        }
    }

    /// A message of a leader: whether this host follows it.
    pub(super) fn follows(&mut self, now: Instant, from: HostId, term: Term) -> bool {
        if term < self.term || (term == self.term && self.role == Role::Leader) {
            return false;
        }
        if term > self.term {
            self.enter(now, term);
        }
        if self.role != Role::Follower {
            self.step_down(now);
        }
        self.leader = Some(from);
        self.leader_heard = Some(now);
        self.wait_for_leader(now);
        true
    }

    /// Tells a leader of an older term that there is a newer one.
    pub(super) fn refuse(&mut self, from: HostId, _term: Term, at: Index) {
        let (term, storage) = (self.term, self.storage);
        self.send_when_written(from, RaftMessage::Differs { term, at, hint: 0, storage }, When::Now);
    }

    pub(super) fn append(&mut self, from: HostId, previous: Position, commit: Index, entries: Vec<LogEntry>) {
        let base = self.log.base();
        let (mut previous, mut entries) = (previous, entries);
        if previous.index < base.index {
            let known = usize::try_from(base.index - previous.index).unwrap_or(usize::MAX).min(entries.len());
            entries.drain(..known); // what a snapshot stands for is committed, and so the same
            previous = if entries.is_empty() { Position { index: base.index, ..base } } else { base };
        }
        let (term, storage) = (self.term, self.storage);
        if !self.log.has(previous) {
            let last = self.log.last().index;
            let hint = if previous.index > last {
                last
            } else {
                self.log
                    .first_of_term(previous.index)
                    .saturating_sub(1)
                    .max(self.commit.min(previous.index.saturating_sub(1)))
            };
            let at = previous.index;
            self.send_when_written(from, RaftMessage::Differs { term, at, hint, storage }, When::Now);
            return;
        }
        let takes_back = |(nth, entry): (usize, &LogEntry)| {
            let index = previous.index + 1 + nth as u64;
            index <= self.commit && self.log.term(index) != Some(entry.term)
        };
        if entries.iter().enumerate().any(takes_back) {
            return; // no leader by these rules writes over what is committed
        }
        let unread = |entry: &LogEntry| match &entry.payload {
            Payload::Data(data) => !(self.settings.reads)(Content::Entry(data)),
            Payload::Blank | Payload::Voters(_) => false,
        };
        if let Some(first) = entries.iter().position(unread) {
            entries.truncate(first);
            self.out.push_back(Output::Unreadable { from });
        }
        let end = previous.index + entries.len() as u64;
        let new = self.take_in(previous.index + 1, entries);
        self.commit = self.commit.max(commit.min(end));
        if new {
            self.send_when_written(from, RaftMessage::Matched { term, index: end, storage }, When::Now);
        } else {
            let index = end.min(self.log.durable);
            self.send_when_written(from, RaftMessage::Matched { term, index, storage }, When::Beat);
        }
    }

    /// Takes entries in from `first` on; whether any was new.
    fn take_in(&mut self, first: Index, entries: Vec<LogEntry>) -> bool {
        let known = entries
            .iter()
            .enumerate()
            .take_while(|(nth, entry)| self.log.term(first + *nth as u64) == Some(entry.term))
            .count();
        let new: Vec<LogEntry> = entries.into_iter().skip(known).collect();
        if new.is_empty() {
            return false;
        }
        let first = first + known as u64;
        if first <= self.log.last().index {
            assert!(first > self.commit, "what is committed is never taken back");
            self.log.cut(first);
            self.pending.iter_mut().for_each(|write| write.covers = write.covers.min(first - 1));
        }
        self.log.push(new.clone());
        self.records.push(Record::Append { first, entries: new });
        true
    }
}

/// Encoded bytes of an entry, at most.
fn size_of(entry: &LogEntry) -> usize {
    match &entry.payload {
        Payload::Blank => 12,
        Payload::Voters(voters) => 16 + voters.len() * 15,
        Payload::Data(data) => 16 + data.len(),
    }
}
