//! What is wrong with datagrams, for an operator: each kind and address is told at once, and then once a minute with its count.
//! Anybody can send from any address, so those that are remembered are few.

use core::fmt;
use core::time::Duration;
use roost_proto::time::Instant;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The same is told again after so long, with its count.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Kinds and addresses that are remembered. More than that is an attack, and its addresses are made up: they are told as one.
pub const MAX_REMEMBERED: usize = 64;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It is nothing that Roost sends.
    Garbage,
    /// It is of a format that is not understood here.
    OtherVersion,
    /// It is another cluster's.
    OtherCluster,
    /// Its sender is none of the hosts.
    UnknownHost,
    /// Its sender has this host's own name.
    OwnName,
    /// It is sealed with a key that is not known here.
    NoKey,
    /// The key does not open it.
    Forged,
    /// It came twice, where there is one path only.
    Doubled,
    /// It is old.
    Replayed,
    /// It is of a life of its sender that is over.
    OldLife,
    /// Two hosts have one name.
    Twin,
    /// It is genuine, and makes no sense.
    Malformed,
    /// It is genuine, and comes from an address that is not its sender's.
    Elsewhere,
    /// A datagram cannot be sent.
    NotSent,
    /// A socket does not work.
    Socket,
}

impl Kind {
    /// Those that are about a datagram which came in and was dropped.
    pub const OF_DATAGRAMS: [Self; 12] = [
        Self::Garbage,
        Self::OtherVersion,
        Self::OtherCluster,
        Self::UnknownHost,
        Self::OwnName,
        Self::NoKey,
        Self::Forged,
        Self::Doubled,
        Self::Replayed,
        Self::OldLife,
        Self::Twin,
        Self::Malformed,
    ];

    /// In one word, for monitoring systems.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::OtherVersion => "other-version",
            Self::OtherCluster => "other-cluster",
            Self::UnknownHost => "unknown-host",
            Self::OwnName => "own-name",
            Self::NoKey => "no-key",
            Self::Forged => "forged",
            Self::Doubled => "doubled",
            Self::Replayed => "replayed",
            Self::OldLife => "old-life",
            Self::Twin => "twin",
            Self::Malformed => "malformed",
            Self::Elsewhere => "elsewhere",
            Self::NotSent => "not-sent",
            Self::Socket => "socket",
        }
    }

    /// What about it, of the host that is named, and what to do.
    fn words(self, host: &str) -> String {
        match self {
            Self::Garbage => "it sends what is no datagram of Roost: something else uses this port, or floods it".into(),
            Self::OtherVersion => {
                "its roostd speaks a version that is not understood here: upgrade the older of the two, one version at a time"
                    .into()
            }
            Self::OtherCluster => {
                "it sends datagrams of another cluster: compare 'name' under [cluster] and the addresses in both \
                 configurations"
                    .into()
            }
            Self::UnknownHost => {
                "it sends as a host that the configuration here does not name: bring roost.toml to the same state on all \
                 hosts"
                    .into()
            }
            Self::OwnName => {
                format!("it sends as '{host}', which is this host: give one of the two another name, and both their own addresses")
            }
            Self::NoKey => format!(
                "host '{host}' has a key that is not in the key file here: copy the same file to all hosts, and read KEYS in \
                 roost(8)"
            ),
            Self::Forged => format!(
                "what it sends as host '{host}' is not genuine: it was changed on the way or made up, or it is meant for \
                 another host: compare the addresses in roost.toml"
            ),
            Self::Doubled => format!("datagrams of host '{host}' come twice: somebody repeats them, or the network does"),
            Self::Replayed => format!("old datagrams of host '{host}' come again: somebody repeats them"),
            Self::OldLife => {
                format!("datagrams from before the last start of roostd on host '{host}' come: somebody repeats them, or they were late")
            }
            Self::Twin => format!(
                "two hosts go by the name '{host}', and the one at this address is not listened to: give one another name, \
                 remove what was copied of '/var/lib/roost', and restart roostd on both"
            ),
            Self::Malformed => {
                format!("host '{host}' sends what is genuine and makes no sense: compare 'roostd --version' on both")
            }
            Self::Elsewhere => format!(
                "host '{host}' sends from this address, which is none of its addresses in roost.toml: it is listened to, and \
                 may not hear the answers"
            ),
            Self::NotSent => format!("nothing can be sent to host '{host}' there"),
            Self::Socket => "the socket on this address does not work".into(),
        }
    }
}

/// One complaint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// What is wrong.
    pub kind: Kind,
    /// Where it comes from; `None` stands for addresses beyond those that are remembered.
    pub address: Option<IpAddr>,
    /// How often since it was told last.
    pub count: u64,
    words: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "{address}: {}", self.words)?,
            None => write!(f, "many addresses: {}", self.words)?,
        }
        if self.count > 1 {
            write!(f, " ({} times)", self.count)?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Entry {
    /// When it was told last.
    told: Option<Instant>,
    count: u64,
    words: String,
}

/// What was noted.
#[derive(Debug, Default)]
pub struct Complaints(BTreeMap<(Kind, Option<IpAddr>), Entry>);

impl Complaints {
    /// Notes one. `host` is who sent it, or says so; `cause` is the system's word.
    pub fn note(&mut self, kind: Kind, address: IpAddr, host: &str, cause: Option<&dyn fmt::Display>) {
        let mut place = (kind, Some(address));
        if self.0.len() >= MAX_REMEMBERED && !self.0.contains_key(&place) {
            place.1 = None; // one more for each kind, and no more
        }
        if let Some(entry) = self.0.get_mut(&place) {
            entry.count += 1; // the words are those of the first
            return;
        }
        let mut words = kind.words(host);
        if let Some(cause) = cause {
            words += &format!(": {cause}");
        }
        self.0.insert(place, Entry { told: None, count: 1, words });
    }

    /// What is to be told now.
    pub fn take(&mut self, now: Instant) -> Vec<Complaint> {
        let mut told = Vec::new();
        self.0.retain(|(kind, address), entry| {
            if entry.told.is_some_and(|told| now.since(told) < TELL_AGAIN_AFTER) {
                return true;
            }
            if entry.count == 0 {
                return false; // a minute without another
            }
            let count = core::mem::take(&mut entry.count);
            entry.told = Some(now);
            told.push(Complaint { kind: *kind, address: *address, count, words: entry.words.clone() });
            true
        });
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    fn address(last: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + last))
    }

    #[test]
    fn each_kind_of_each_address_is_told_at_once_and_then_once_a_minute() {
        let mut complaints = Complaints::default();
        complaints.note(Kind::NoKey, address(1), "hv1", None);
        complaints.note(Kind::NoKey, address(2), "hv2", None);
        complaints.note(Kind::Garbage, address(1), "", None);
        assert_eq!(complaints.take(at(100)).len(), 3);
        (0..500).for_each(|_| complaints.note(Kind::NoKey, address(1), "hv1", None));
        assert_eq!(complaints.take(at(159)), []);
        let told = complaints.take(at(160));
        assert_eq!(told.len(), 1);
        let text = told[0].to_string();
        assert!(
            text.starts_with("10.0.0.1: host 'hv1' has a key") && text.ends_with("(500 times)"),
            "{text}"
        );
        assert_eq!(complaints.take(at(300)), []);
        complaints.note(Kind::NoKey, address(1), "hv1", None);
        assert_eq!(complaints.take(at(300)).len(), 1, "after a quiet minute at once again");
    }

    #[test]
    fn made_up_addresses_fill_nothing() {
        let mut complaints = Complaints::default();
        for source in 0..100_000 {
            complaints.note(Kind::Garbage, address(source), "", None);
            complaints.note(Kind::OtherCluster, address(source), "", None);
        }
        let told = complaints.take(at(1));
        assert_eq!(told.len(), MAX_REMEMBERED + 2);
        assert_eq!(told.iter().map(|complaint| complaint.count).sum::<u64>(), 200_000, "none is lost");
        assert!(told[0].address.is_none() && told[0].to_string().starts_with("many addresses: "));
        complaints.take(at(62));
        complaints.note(Kind::NoKey, address(1), "hv1", None);
        assert_eq!(complaints.take(at(62)).first().and_then(|told| told.address), Some(address(1)));
    }
}
