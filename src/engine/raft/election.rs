//! Elections: trials before them, votes, and who may not disturb whom (sections 3.4, 4.2.3, 6.2, 9.6).

use super::{Raft, Record, Role, When};
use roost_proto::cluster::HostId;
use roost_proto::cluster::raft::{Ballot, Position, RaftMessage, StorageId, Term};
use roost_proto::time::Instant;
use std::collections::BTreeSet;

/// The votes that a host got in its trial or election.
#[derive(Debug, Default)]
pub(super) struct Votes {
    granted: BTreeSet<HostId>,
    /// The write that holds this host's vote for itself, until it is durable.
    own: Option<u64>,
}

impl Raft {
    /// Asks whether there would be a majority, unless this host could not lead; no term changes for it.
    pub(super) fn try_if_able(&mut self, now: Instant) {
        if !self.may_stand() || !self.disk_answers(now) {
            return;
        }
        self.role = Role::Trying;
        self.leader = None;
        self.votes = Votes { granted: BTreeSet::from([self.settings.me]), own: None };
        self.ask_for_votes(self.term + 1, Ballot::Trial, When::Now);
        self.count_votes(now);
    }

    /// Stands for election in the next term.
    pub(super) fn stand(&mut self, now: Instant, ballot: Ballot) {
        self.role = Role::Candidate;
        self.term += 1;
        self.voted_for = Some(self.settings.me);
        self.leader = None;
        self.records.push(Record::Vote { term: self.term, voted_for: self.voted_for });
        self.votes = Votes { granted: BTreeSet::new(), own: Some(self.next_write) };
        self.wait_for_leader(now);
        self.ask_for_votes(self.term, ballot, When::Now);
    }

    pub(super) fn ask_for_votes(&mut self, term: Term, ballot: Ballot, when: When) {
        let last = self.log.last();
        let mut others = self.log.voters().clone();
        others.remove(&self.settings.me);
        for (to, storage) in others {
            self.send(to, RaftMessage::AskVote { term, ballot, last, storage }, when);
        }
    }

    /// This host's vote for itself counts from when it cannot be forgotten.
    pub(super) fn own_vote_is_durable(&mut self, now: Instant, number: u64) {
        if self.votes.own.take_if(|write| *write <= number).is_some() {
            self.votes.granted.insert(self.settings.me);
            self.count_votes(now);
        }
    }

    fn count_votes(&mut self, now: Instant) {
        let voters = self.log.voters();
        let granted = self.votes.granted.iter().filter(|host| voters.contains_key(host)).count();
        if voters.is_empty() || granted <= voters.len() / 2 {
            return;
        }
        match self.role {
            Role::Trying => self.stand(now, Ballot::Election),
            Role::Candidate => self.lead(now),
            Role::Follower | Role::Leader => {}
        }
    }

    /// Whether a leader is at work, so that whoever wants another one only did not hear it.
    fn has_leader(&self, now: Instant) -> bool {
        match self.role {
            Role::Leader => true,
            Role::Follower | Role::Trying | Role::Candidate => {
                self.leader_heard.is_some_and(|at| now.since(at) < self.settings.election)
            }
        }
    }

    pub(super) fn asked_for_vote(
        &mut self,
        now: Instant,
        from: HostId,
        term: Term,
        ballot: Ballot,
        last: Position,
    ) {
        // Whether it votes by its own log does not matter: that may be older than the word that made it a voter (4.2.2).
        if ballot != Ballot::Transfer && self.has_leader(now) {
            return; // the term is not taken over either
        }
        let newer = last >= self.log.last();
        if ballot == Ballot::Trial {
            let granted = newer && term > self.term;
            let answer = if granted { term } else { self.term };
            let message = RaftMessage::Vote { term: answer, ballot, granted, storage: self.storage };
            self.send(from, message, When::Now);
            return;
        }
        if term > self.term {
            self.enter(now, term);
        }
        let free = self.voted_for.is_none() || self.voted_for == Some(from);
        let granted = term == self.term && free && newer && self.role == Role::Follower;
        if granted && self.voted_for.is_none() {
            self.voted_for = Some(from);
            self.records.push(Record::Vote { term, voted_for: self.voted_for });
            self.wait_for_leader(now);
        }
        let message = RaftMessage::Vote { term: self.term, ballot, granted, storage: self.storage };
        self.send_when_written(from, message, When::Now);
    }

    pub(super) fn got_vote(
        &mut self,
        now: Instant,
        from: HostId,
        (term, ballot, granted): (Term, Ballot, bool),
        storage: StorageId,
    ) {
        let wanted = match (self.role, ballot) {
            (Role::Trying, Ballot::Trial) => self.term + 1,
            (Role::Candidate, Ballot::Election | Ballot::Transfer) => self.term,
            _ => return,
        };
        if !granted {
            if term > self.term {
                self.enter(now, term);
            }
            return;
        }
        if term == wanted && self.log.voters().get(&from) == Some(&storage) {
            self.votes.granted.insert(from);
            self.count_votes(now);
        }
    }
}
