//! The log as it is in memory: a snapshot, the entries after it, and how much of them is durable.

use super::{Snapshot, Stored};
use roost_proto::cluster::raft::{Index, LogEntry, Payload, Position, Term, Voters};
use std::collections::VecDeque;

/// The log.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) snapshot: Option<Snapshot>,
    entries: VecDeque<LogEntry>,
    /// Up to here, what stands in the log now is on disk.
    pub(super) durable: Index,
    /// The voters after each entry that changed them, oldest first; those of the snapshot are not in it.
    voters: Vec<(Index, Voters)>,
}

impl Log {
    pub(super) fn new(stored: Stored) -> Self {
        let mut log = Self { snapshot: stored.snapshot, ..Self::default() };
        log.push(stored.entries);
        log.durable = log.last().index;
        log
    }

    /// The position that the snapshot stands for; zero without one.
    pub(super) fn base(&self) -> Position {
        self.snapshot.as_ref().map_or(Position::default(), |s| Position { term: s.term, index: s.index })
    }

    pub(super) fn last(&self) -> Position {
        let base = self.base();
        let index = base.index + self.entries.len() as u64;
        Position { term: self.entries.back().map_or(base.term, |entry| entry.term), index }
    }

    /// The number of entries after the snapshot.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn entry(&self, index: Index) -> Option<&LogEntry> {
        let nth = index.checked_sub(self.base().index + 1)?;
        self.entries.get(usize::try_from(nth).ok()?)
    }

    /// The term at `index`, if that is still known.
    pub(super) fn term(&self, index: Index) -> Option<Term> {
        let base = self.base();
        if index == base.index { Some(base.term) } else { self.entry(index).map(|entry| entry.term) }
    }

    /// Whether the log has this very position.
    pub(super) fn has(&self, position: Position) -> bool {
        self.term(position.index) == Some(position.term)
    }

    /// The first index of the run of entries with one term that `index` is in.
    pub(super) fn first_of_term(&self, index: Index) -> Index {
        let term = self.term(index);
        let mut first = index;
        while first > self.base().index + 1 && self.term(first - 1) == term {
            first -= 1;
        }
        first
    }

    /// Adds entries at the end.
    pub(super) fn push(&mut self, entries: Vec<LogEntry>) {
        for entry in entries {
            if let Payload::Voters(voters) = &entry.payload {
                self.voters.push((self.last().index + 1, voters.clone()));
            }
            self.entries.push_back(entry);
        }
    }

    /// Takes away the entry at `first` and all after it.
    pub(super) fn cut(&mut self, first: Index) {
        let keep = first.saturating_sub(self.base().index + 1);
        self.entries.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
        self.voters.retain(|(index, _)| *index < first);
        self.durable = self.durable.min(first.saturating_sub(1));
    }

    /// A snapshot takes the place of everything up to its index, and of all else unless the log has that position.
    pub(super) fn replace(&mut self, snapshot: Snapshot) {
        let position = Position { term: snapshot.term, index: snapshot.index };
        if self.has(position) {
            let drop = snapshot.index - self.base().index;
            self.entries.drain(..usize::try_from(drop).unwrap_or(usize::MAX).min(self.entries.len()));
            self.voters.retain(|(index, _)| *index > snapshot.index);
        } else {
            self.entries.clear();
            self.voters.clear();
            self.durable = 0;
        }
        self.snapshot = Some(snapshot);
    }

    /// The voters by the newest word in the log, committed or not (section 4.1).
    pub(super) fn voters(&self) -> &Voters {
        static NOBODY: Voters = Voters::new();
        match self.voters.last() {
            Some((_, voters)) => voters,
            None => self.snapshot.as_ref().map_or(&NOBODY, |snapshot| &snapshot.voters),
        }
    }

    /// The voters as of `index`, which is not before the snapshot.
    pub(super) fn voters_at(&self, index: Index) -> Voters {
        match self.voters.iter().rev().find(|(at, _)| *at <= index) {
            Some((_, voters)) => voters.clone(),
            None => self.snapshot.as_ref().map_or_else(Voters::new, |snapshot| snapshot.voters.clone()),
        }
    }

    /// The index of the newest word about the voters.
    pub(super) fn voters_since(&self) -> Index {
        self.voters.last().map_or(self.base().index, |(index, _)| *index)
    }
}
