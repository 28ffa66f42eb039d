//! This host among the others: whom it hears, who hears it, and until when its lease runs.
//!
//! A host stamps its beats with its own clock; a voter answers with the newest stamp, as admitted only while its applied
//! ledger has that life of the host in the cluster. The lease runs from the newest stamp that a majority of voters
//! answered. Nothing here compares the clocks of two machines.

#[cfg(test)]
mod tests;

use core::time::Duration;
use roost_proto::cluster::raft::Voters;
use roost_proto::cluster::{Beat, Echo, Hello, HostId, Incarnation, LedgerId, Life, Stamp};
use roost_proto::time::Instant;
use std::collections::BTreeMap;

/// How much longer than its silence a host's deafness must last to count as much: an echo is as old as the way there and
/// back and two beats' waits.
const ECHO_BEATS: u32 = 4;

/// Another host, as it is heard.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// The newest life that was heard.
    pub life: Option<Incarnation>,
    /// When its newest beat arrived.
    pub heard: Option<Instant>,
    /// That beat's stamp.
    stamp: Option<Stamp>,
    /// The newest of our stamps that it has seen.
    confirmed: Option<Instant>,
    /// The newest of our stamps that it answered as a voter that admits us.
    granted: Option<Instant>,
    /// When the newest beat that we answered as a voter arrived, in this life of the host or one before.
    answered: Option<Instant>,
    /// How it is.
    pub state: Life,
    /// How much of the ledger it has applied.
    pub applied: u64,
    /// Which ledger it keeps.
    pub ledger: LedgerId,
    /// When this life was first heard.
    pub since: Instant,
    /// When a life before it, or another machine of its name, was last heard beside it.
    pub rival: Option<Instant>,
    /// Who it is, if it has said so in this life.
    pub hello: Option<Hello>,
}

/// How long a host has not been heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// For so long.
    pub age: Duration,
    /// The life that was heard last, if one was since this daemon started.
    pub life: Option<Incarnation>,
}

/// What this host knows of the others.
#[derive(Debug)]
pub struct Member {
    me: HostId,
    incarnation: Incarnation,
    beat: Duration,
    lease: Duration,
    born: Instant,
    /// Silence before this is not counted.
    judges_from: Instant,
    carried: Option<Instant>,
    peers: BTreeMap<HostId, Peer>,
    /// When this host, as a voter, last answered itself.
    own_grant: Option<Instant>,
}

impl Member {
    /// A host that has heard nobody. `carried` is when the lease of its life before ends, in the same boot.
    pub const fn new(
        me: HostId,
        incarnation: Incarnation,
        beat: Duration,
        lease: Duration,
        carried: Option<Instant>,
        born: Instant,
    ) -> Self {
        Self {
            me,
            incarnation,
            beat,
            lease,
            born,
            judges_from: born,
            carried,
            peers: BTreeMap::new(),
            own_grant: None,
        }
    }

    /// This host was not awake until now: what it did not hear meanwhile is nobody's fault.
    pub const fn awoke(&mut self, now: Instant) {
        self.judges_from = now;
    }

    /// Another host, if it was heard.
    pub fn peer(&self, host: HostId) -> Option<&Peer> {
        self.peers.get(&host)
    }

    /// Every host that was heard.
    pub fn peers(&self) -> impl Iterator<Item = (HostId, &Peer)> {
        self.peers.iter().map(|(host, peer)| (*host, peer))
    }

    /// Whether a datagram of this life of that host is to be listened to: a newer life than the known one begins with it.
    pub fn listens(&mut self, now: Instant, from: HostId, life: Incarnation, ledger: LedgerId) -> bool {
        let peer = self.peers.entry(from).or_default();
        match peer.life {
            Some(known) if known == life => {}
            Some(known) if known.start >= life.start => {
                peer.rival = Some(now);
                return false;
            }
            _ => {
                // What was answered is still asked for when the life before is evicted. What it granted lasts: it counts its
                // start as the moment of its last answer.
                let (answered, granted) = (peer.answered, peer.granted);
                *peer = Peer { life: Some(life), since: now, answered, granted, ..Peer::default() };
            }
        }
        peer.ledger = ledger;
        true
    }

    /// A beat of a host that is listened to.
    pub fn beat(&mut self, now: Instant, from: HostId, beat: &Beat) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if peer.stamp.is_none_or(|newest| beat.stamp > newest) {
            peer.stamp = Some(beat.stamp);
            peer.heard = Some(now);
            peer.state = beat.life;
            peer.applied = peer.applied.max(beat.applied);
        }
        let Some(echo) = beat.echo.filter(|echo| echo.start == low(self.incarnation)) else { return };
        let stamped = Instant::from_nanos(echo.stamp.0.saturating_mul(1_000_000));
        if stamped > now {
            return; // no stamp of ours: it lies in the future
        }
        peer.confirmed = peer.confirmed.max(Some(stamped));
        if echo.admitted {
            peer.granted = peer.granted.max(Some(stamped));
        }
    }

    /// The controller of a machine that is watched said something, in that life of the machine. It keeps no ledger, and so
    /// lacks nothing of it.
    pub fn watched(&mut self, now: Instant, host: HostId, life: Incarnation) {
        let peer = self.peers.entry(host).or_default();
        if peer.life != Some(life) {
            *peer = Peer { life: Some(life), since: now, ..Peer::default() };
        }
        peer.heard = Some(now);
        peer.confirmed = Some(now);
        peer.applied = u64::MAX;
    }

    /// A host says who it is.
    pub fn hello(&mut self, from: HostId, hello: Hello) {
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.hello = Some(hello);
        }
    }

    /// The beat for a host. `admits` tells whether this host is a voter whose applied ledger has that life admitted.
    pub fn beat_for(&mut self, now: Instant, to: HostId, admits: bool, applied: u64, life: Life) -> Beat {
        let stamp = Stamp(now.as_nanos() / 1_000_000);
        let echo = self.peers.get_mut(&to).and_then(|peer| {
            let (incarnation, stamp, heard) = (peer.life?, peer.stamp?, peer.heard?);
            if admits {
                peer.answered = Some(heard);
            }
            Some(Echo { start: low(incarnation), stamp, admitted: admits })
        });
        Beat { stamp, echo, applied, life }
    }

    /// This host, as a voter that admits itself, answers itself.
    pub const fn answer_self(&mut self, now: Instant) {
        self.own_grant = Some(now);
    }

    /// The newest moment at which this voter may have given a host a lease: the arrival of the newest beat that it
    /// answered, or else its own start, before which it may have answered too. In whichever life of the host: the next one
    /// in the same boot lives on what the lease of the one before has left.
    pub fn last_answered(&self, host: HostId) -> Instant {
        if host == self.me {
            return self.own_grant.unwrap_or(self.born);
        }
        self.peers.get(&host).and_then(|peer| peer.answered).map_or(self.born, |at| at.max(self.born))
    }

    /// The voters are others from now on: what a majority of those `before` answered still counts. Each eviction is reported by
    /// a majority of the new ones, of which at least one is in any majority of those before, as long as only one voter
    /// changes within a lease; see the leader's `change_voters`.
    pub fn voters_change(&mut self, before: &Voters) {
        self.carried = self.carried.max(self.granted_until(before));
    }

    /// Until when the lease runs, if it ever did: from the newest stamp that a majority of `voters` answered, or what the
    /// voters, or the life, before have left.
    pub fn lease_until(&self, voters: &Voters) -> Option<Instant> {
        self.granted_until(voters).max(self.carried)
    }

    fn granted_until(&self, voters: &Voters) -> Option<Instant> {
        let mut grants: Vec<Instant> = voters
            .keys()
            .filter_map(
                |voter| {
                    if *voter == self.me { self.own_grant } else { self.peers.get(voter)?.granted }
                },
            )
            .collect();
        grants.sort_unstable_by(|a, b| b.cmp(a));
        grants.get(voters.len() / 2).map(|stamp| *stamp + self.lease)
    }

    /// How long a host was not heard, or does not hear.
    pub fn silence(&self, now: Instant, host: HostId) -> Silence {
        let Some((peer, heard)) = self.peers.get(&host).and_then(|peer| Some((peer, peer.heard?))) else {
            // A life that said something, and has not beaten yet, has just begun.
            let begun =
                self.peers.get(&host).map_or(self.judges_from, |peer| peer.since.max(self.judges_from));
            return Silence { age: now.since(begun), life: None };
        };
        let deaf = now.since(peer.confirmed.unwrap_or(heard)).saturating_sub(self.beat * ECHO_BEATS);
        let age = now.since(heard).max(deaf).min(now.since(self.judges_from));
        Silence { age, life: peer.life }
    }

    /// When this life began.
    pub const fn born(&self) -> Instant {
        self.born
    }
}

/// What an answer names a life by.
const fn low(life: Incarnation) -> u16 {
    (life.start & 0xffff) as u16
}
