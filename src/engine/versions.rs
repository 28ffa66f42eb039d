//! What the other hosts know: in an upgrade, host by host, nothing is decided that one of them could not read.
//!
//! A host that was not heard in this life is taken for one of the oldest version that is understood. One that is out of the
//! cluster, and so runs nothing, is not asked: it has to be upgraded before it comes back. So is a voter that is out, and was
//! not heard: else a host that stays dead would keep from the others what came with its own version.

use super::Engine;
use super::ledger::Standing;
use roost_proto::cluster::{DATAGRAM_VERSIONS, HostId};
use std::collections::BTreeMap;

/// The newest version that each host knows.
#[derive(Debug, Default)]
pub struct Known(BTreeMap<HostId, u16>);

impl Known {
    /// A host shows which version it knows.
    pub fn shows(&mut self, host: HostId, newest: u16) {
        self.0.insert(host, newest);
    }

    /// Whether a host has shown anything.
    fn has(&self, host: HostId) -> bool {
        self.0.contains_key(&host)
    }

    /// Whether a host knows what came with version `since`.
    fn knows(&self, host: HostId, since: u16) -> bool {
        self.0.get(&host).copied().unwrap_or(DATAGRAM_VERSIONS.oldest) >= since
    }

    /// The first of `hosts` that does not know what came with version `since`.
    fn lacking(&self, since: u16, mut hosts: impl Iterator<Item = HostId>) -> Option<HostId> {
        hosts.find(|host| !self.knows(*host, since))
    }
}

impl Engine {
    /// Whether a host knows what came with version `since`.
    pub(super) fn knows(&self, host: HostId, since: u16) -> bool {
        host == self.me || self.known.knows(host, since)
    }

    /// A host that keeps the ledger and does not know what came with version `since`.
    pub(super) fn lacking(&self, since: u16) -> Option<HostId> {
        let members = self.ledger.hosts().filter(|(_, host)| host.standing != Standing::Out);
        let there = |host: &HostId| self.ledger.standing(*host) != Standing::Out || self.known.has(*host);
        let hosts = self.voters.keys().copied().filter(there).chain(members.map(|(host, _)| host));
        self.known.lacking(since, hosts.filter(|host| *host != self.me && !self.watched.contains(host)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_host_does_not_know_is_not_decided() {
        const A: HostId = HostId(1);
        const B: HostId = HostId(2);
        let (mut known, hosts) = (Known::default(), || [A, B].into_iter());
        let oldest = DATAGRAM_VERSIONS.oldest;
        assert_eq!(known.lacking(oldest, hosts()), None);
        assert_eq!(known.lacking(oldest + 1, hosts()), Some(A), "nobody was heard");
        known.shows(A, oldest + 1);
        assert_eq!(known.lacking(oldest + 1, hosts()), Some(B));
        known.shows(B, oldest + 1);
        assert_eq!(known.lacking(oldest + 1, hosts()), None);
        assert!(
            known.knows(A, oldest + 1) && !known.knows(HostId(3), oldest + 1),
            "who was not heard is old"
        );
        known.shows(A, oldest);
        assert_eq!(known.lacking(oldest + 1, hosts()), Some(A), "it was put back to the version before");
    }
}
