//! What a host says and does by itself must be true: votes and entries that it speaks of are on its disk, what is decided is on
//! a majority of disks, and the watchdog gets no food while something runs without right.

use super::World;
use super::host::Libvirt;
use core::time::Duration;
use roost::config::OnQuorumLoss;
use roost::engine::raft::{Record, Stored};
use roost_proto::cluster::raft::{Ballot, Index, RaftMessage};
use roost_proto::cluster::{Datagram, HostId, Message};

/// What runs stands still within so long after the lease ended: a start that is under way, an event of it that is lost, and the
/// next look at everything.
const STANDS_STILL: Duration = Duration::from_secs(5);

/// Where the log on a disk ends after a record, with what was acknowledged.
pub fn end_after(end: Index, record: &Record) -> Index {
    match record {
        Record::Vote { .. } => end,
        Record::Append { first, entries } => first + entries.len() as u64 - 1,
        Record::Snapshot { snapshot, keep: true } => end.max(snapshot.index),
        Record::Snapshot { snapshot, keep: false } => snapshot.index,
    }
}

/// Where the log that was found on a disk ends.
pub fn end_of(stored: &Stored) -> Index {
    stored.snapshot.as_ref().map_or(0, |snapshot| snapshot.index) + stored.entries.len() as u64
}

impl World {
    /// A host says something: whatever it claims to have on its disk must be there.
    pub(super) fn check_said(&mut self, from: usize, to: HostId, datagram: &Datagram) {
        for message in &datagram.messages {
            let Message::Raft(message) = message else { continue };
            let name = &self.hosts[from].name;
            let what = match message {
                RaftMessage::Vote {
                    term,
                    ballot: Ballot::Election | Ballot::Transfer,
                    granted: true,
                    ..
                } if self.check.terms[from] != (*term, Some(to)) => {
                    format!("durability: {name} gives its vote in term {term}, and its disk does not hold it")
                }
                RaftMessage::Matched { index, .. } if *index > self.check.ends[from] => {
                    let end = self.check.ends[from];
                    format!("durability: {name} says that it has entry {index}, and its disk ends at {end}")
                }
                _ => continue,
            };
            self.violated(what);
            return;
        }
    }

    /// An entry was applied for the first time: a majority of the voters must have it on disk.
    pub(super) fn check_decided(&mut self, host: usize) {
        let Some(daemon) = &self.hosts[host].daemon else { return };
        if self.disk_lost {
            return; // of a disk that is gone it cannot be told any more what was on it
        }
        let applied = daemon.engine.applied();
        let voters = daemon.engine.raft().voters();
        let have = |id: &&HostId| self.ids.get(*id).is_some_and(|host| self.check.ends[*host] >= applied);
        // With one voter more the host may know of a change that the leader counted without, or the other way round.
        let needed = voters.len().div_ceil(2);
        let having = voters.keys().filter(have).count();
        if having < needed {
            let text = format!(
                "durability: {} has applied entry {applied}, which {having} of {} voters have on disk",
                self.hosts[host].name,
                voters.len()
            );
            self.violated(text);
        }
    }

    /// Nothing of a host's own runs on long after its lease ended, while libvirt obeys.
    pub(super) fn check_stands_still(&mut self, host: usize) {
        let it = &self.hosts[host];
        let Some(daemon) = &it.daemon else { return };
        let now = it.clock.show(self.now);
        let leased = daemon.engine.lease_until().is_some_and(|until| now < until);
        let able = it.libvirt == Libvirt::Up && daemon.connected && !it.frozen && !it.stopped;
        let able = able && !it.domains.values().any(|domain| domain.stuck);
        let exempt = leased || !able || self.may_run_on(host) || self.is_hands_off(host);
        let runs = if exempt { None } else { self.runs_of_its_own(host) };
        let Some(vm) = runs else {
            self.check.unleased[host] = None;
            return;
        };
        let since = self.check.unleased[host].unwrap_or(self.now);
        if self.now.since(since) > STANDS_STILL {
            let text = format!("lease: {vm} runs on {}, which has had no lease for 5 s", it.name);
            self.violated(text);
        }
        self.check.unleased[host] = Some(since);
    }

    /// Whether a host was told to run on without a majority, by its file or the one that it began with.
    pub(super) fn may_run_on(&self, host: usize) -> bool {
        [&self.config, &self.hosts[host].file]
            .iter()
            .any(|file| file.cluster.on_quorum_loss == OnQuorumLoss::Keep)
    }

    /// A VM that runs on a host and is its own, by its own ledger.
    fn runs_of_its_own(&self, host: usize) -> Option<&str> {
        let it = &self.hosts[host];
        let ledger = it.daemon.as_ref()?.engine.ledger();
        let own = |vm: &str| {
            let group = self.check.group_of(vm);
            group.is_some_and(|group| ledger.group(&group).owner == Some(it.id))
        };
        let mut domains = it.domains.iter().filter(|(vm, domain)| domain.lives() && own(vm));
        domains.next().map(|(vm, _)| vm.as_str())
    }

    /// A host feeds its watchdog: its lease holds, or nothing that is its own runs.
    pub(super) fn check_fed(&mut self, host: usize) {
        if self.check.off {
            return;
        }
        let it = &self.hosts[host];
        let Some(daemon) = &it.daemon else { return };
        let now = it.clock.show(self.now);
        let exempt = self.may_run_on(host) || self.is_hands_off(host);
        if daemon.engine.lease_until().is_some_and(|until| now < until) || exempt {
            return;
        }
        let runs = self.runs_of_its_own(host).map(str::to_owned).or_else(|| self.metal_of_its_own(host));
        if let Some(vm) = runs {
            let text = format!("watchdog: {} feeds it without a lease, and {vm} runs there", it.name);
            self.violated(text);
        }
    }
}
