//! Sealing: what hosts say to each other is encrypted and proven genuine, by XChaCha20-Poly1305 under the cluster's key.
//!
//! A nonce must never come twice under one key. With 24 bytes it can name the datagram: sender, boot, start and counter. No two
//! hosts of a cluster have one id, no two starts of a host one start number (it is on disk before it is used, and follows the
//! clock where the disk was lost; the boot id tells two machines under one name apart), and a counter only grows. So nothing has
//! to be kept for it, and nothing is left to chance. The 12 bytes of the plain cipher have no room for that, and are too few for
//! chance.
//!
//! A datagram is a clear header of 26 bytes, the encrypted plaintext, and a tag of 16 bytes:
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | version: low half the format of this datagram, high half the newest that its sender understands |
//! | 2 | mark of the cluster, from its name |
//! | 1 | mark of the key |
//! | 4 | sender |
//! | 4 | start |
//! | 8 | boot |
//! | 6 | counter |
//!
//! Numbers are little-endian. The version and the cluster's mark keep their places in every version. The tag proves the header
//! too, the cluster's whole name, and the receiver: what is meant for one host means nothing to another.
//!
//! What fails a check is dropped before any dearer check, and before it changes anything.

use super::keys::Keys;
use super::replay::{Replay, Verdict};
use roost_proto::cluster::codec::{MAX_PLAINTEXT, OVERHEAD, Sender};
use roost_proto::cluster::{Datagram, HostId, Incarnation, MAX_DATAGRAM, fnv1a};
use roost_proto::link::Versions;
use std::collections::BTreeMap;

/// Bytes of the clear header.
const HEADER: usize = 26;
/// Bytes of the tag.
const TAG: usize = 16;
const _: () = assert!(HEADER + TAG == OVERHEAD);
/// The greatest counter: six bytes. At 4,000 datagrams a second it is reached after 2,200 years.
const MAX_COUNTER: u64 = (1 << 48) - 1;

/// What was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Who said it.
    pub from: HostId,
    /// In which life.
    pub incarnation: Incarnation,
    /// What.
    pub datagram: Datagram,
}

/// Why bytes were not opened, or not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// They are shorter or longer than any datagram, or are nothing that Roost sends.
    Garbage,
    /// They are of a format that is not understood here.
    OtherVersion(u8),
    /// They are another cluster's.
    OtherCluster,
    /// The sender is none of the cluster's hosts.
    UnknownSender(HostId),
    /// They are sealed with a key that is not known here.
    NoKey(HostId),
    /// The key does not open them: they were changed, are cut off, or are for another host.
    Forged(HostId),
    /// They were here already: a copy over another path, or doubled by the network.
    Copy(HostId),
    /// They are far older than what the sender says now.
    Replayed(HostId),
    /// They are of a life of the sender that is over.
    OldLife(HostId),
    /// They are of the older one of two lives of the sender that both go on.
    Twin(HostId),
    /// They are genuine, and make no sense.
    Malformed(HostId),
}

/// What is known of another host.
#[derive(Debug, Default)]
struct Peer {
    replay: Replay,
    /// The newest format that it understands, as its newest life shows.
    newest: Option<u8>,
}

/// Seals and opens for one host.
#[derive(Debug)]
pub struct Seal {
    me: HostId,
    incarnation: Incarnation,
    cluster: String,
    mark: [u8; 2],
    versions: Versions,
    keys: Keys,
    peers: BTreeMap<HostId, Peer>,
    counter: u64,
}

/// What the header says. It is a claim until the tag is checked.
struct Header {
    version: u8,
    key: u8,
    sender: HostId,
    incarnation: Incarnation,
    counter: u64,
}

impl Header {
    fn nonce(&self) -> [u8; 24] {
        let mut nonce = [0; 24];
        nonce[..4].copy_from_slice(&self.sender.0.to_le_bytes());
        nonce[4..12].copy_from_slice(&self.incarnation.boot.to_le_bytes());
        nonce[12..16].copy_from_slice(&self.incarnation.start.to_le_bytes());
        nonce[16..].copy_from_slice(&self.counter.to_le_bytes());
        nonce
    }

    fn encode(&self, mark: [u8; 2]) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = self.version;
        bytes[1..3].copy_from_slice(&mark);
        bytes[3] = self.key;
        bytes[4..8].copy_from_slice(&self.sender.0.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.incarnation.start.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.incarnation.boot.to_le_bytes());
        bytes[20..].copy_from_slice(&self.counter.to_le_bytes()[..6]);
        bytes
    }

    fn decode(bytes: &[u8; HEADER]) -> Self {
        let number = |from: usize, len: usize| {
            let mut wide = [0; 8];
            wide[..len].copy_from_slice(&bytes[from..from + len]);
            u64::from_le_bytes(wide)
        };
        let narrow = |from| u32::try_from(number(from, 4)).expect("four bytes");
        Self {
            version: bytes[0],
            key: bytes[3],
            sender: HostId(narrow(4)),
            incarnation: Incarnation { start: narrow(8), boot: number(12, 8) },
            counter: number(20, 6),
        }
    }
}

/// What tells a cluster's datagrams from another's, in two bytes.
fn mark_of(cluster: &str) -> [u8; 2] {
    let hash = fnv1a(cluster.as_bytes());
    let [a, b, c, d] = hash.to_le_bytes();
    [a ^ c, b ^ d]
}

impl Seal {
    /// For the host `me` in this life. A host writes and reads the formats of `versions`, which is
    /// [`roost_proto::cluster::DATAGRAM_VERSIONS`] except in tests.
    pub fn new(me: HostId, incarnation: Incarnation, cluster: &str, versions: Versions, keys: Keys) -> Self {
        assert!(
            (1..=15).contains(&versions.oldest) && (versions.oldest..=15).contains(&versions.newest),
            "two formats share a byte"
        );
        let mark = mark_of(cluster);
        let (cluster, peers) = (cluster.to_owned(), BTreeMap::new());
        Self { me, incarnation, cluster, mark, versions, keys, peers, counter: 0 }
    }

    /// Takes other keys from now on, and returns those before.
    pub fn set_keys(&mut self, keys: Keys) -> Keys {
        core::mem::replace(&mut self.keys, keys)
    }

    /// Hears these hosts from now on; what those that stay have said is remembered.
    pub fn set_peers(&mut self, hosts: impl IntoIterator<Item = HostId>) {
        let mut before = core::mem::take(&mut self.peers);
        self.peers = hosts.into_iter().map(|host| (host, before.remove(&host).unwrap_or_default())).collect();
    }

    /// The format for `to`: the newest that both understand, and the oldest as long as it has not been heard.
    fn format_for(&self, to: HostId) -> u8 {
        let newest = self.peers.get(&to).and_then(|peer| peer.newest).map_or(self.versions.oldest, u16::from);
        half(newest.clamp(self.versions.oldest, self.versions.newest))
    }

    /// Seals `datagram` for `to`. The same bytes may go out on several paths.
    pub fn seal(&mut self, to: HostId, datagram: &Datagram) -> Vec<u8> {
        let plain = datagram.encode();
        assert!(plain.len() <= MAX_PLAINTEXT, "a datagram of {} bytes was not packed", plain.len());
        assert!(self.counter < MAX_COUNTER, "the counter would come again");
        self.counter += 1;
        let key = self.keys.first();
        let header = Header {
            version: half(self.versions.newest) << 4 | self.format_for(to),
            key: key.mark(),
            sender: self.me,
            incarnation: self.incarnation,
            counter: self.counter,
        };
        let clear = header.encode(self.mark);
        let mut bytes = Vec::with_capacity(HEADER + plain.len() + TAG);
        bytes.extend_from_slice(&clear);
        bytes.extend_from_slice(&plain);
        let tag = key.seal(header.nonce(), &proven(clear, to, &self.cluster), &mut bytes[HEADER..]);
        bytes.extend_from_slice(&tag);
        bytes
    }

    /// Opens what came in.
    pub fn open(&mut self, bytes: &[u8]) -> Result<Opened, Refused> {
        if bytes.len() > MAX_DATAGRAM {
            return Err(Refused::Garbage);
        }
        let (clear, rest) = bytes.split_first_chunk::<HEADER>().ok_or(Refused::Garbage)?;
        let (sealed, tag) = rest.split_last_chunk::<TAG>().ok_or(Refused::Garbage)?;
        let header = Header::decode(clear);
        self.check_origin(header.version, [clear[1], clear[2]])?;
        let from = header.sender;
        let peer = self.peers.get_mut(&from).ok_or(Refused::UnknownSender(from))?;
        let repeats = peer.replay.repeats(header.incarnation, header.counter);
        if let Some(refused) = repeats.and_then(|verdict| refused(verdict, from)) {
            return Err(refused);
        }
        let with = proven(*clear, self.me, &self.cluster);
        let mut tried = Err(Refused::NoKey(from));
        for key in self.keys.marked(header.key) {
            let mut plain = sealed.to_vec();
            if key.open(header.nonce(), &with, &mut plain, *tag) {
                tried = Ok(plain);
                break;
            }
            tried = Err(Refused::Forged(from));
        }
        let plain = tried?;
        let verdict = peer.replay.admit(header.incarnation, header.counter);
        if let Some(refused) = refused(verdict, from) {
            return Err(refused);
        }
        peer.newest = Some(header.version >> 4); // the same in a whole life, so a latecomer changes nothing
        let later = u16::from(header.version >> 4) > self.versions.newest;
        let sender = if later { Sender::Later } else { Sender::Known };
        let datagram = Datagram::decode_from(&plain, sender).map_err(|_| Refused::Malformed(from))?;
        Ok(Opened { from, incarnation: header.incarnation, datagram })
    }

    /// The newest format that a host understands, as its newest life shows.
    pub fn newest(&self, host: HostId) -> Option<u16> {
        self.peers.get(&host)?.newest.map(u16::from)
    }

    /// The older life of a host, if what was opened last shows that it goes on beside a newer one.
    pub fn rival(&self, host: HostId) -> Option<Incarnation> {
        self.peers.get(&host)?.replay.rival()
    }

    /// Whether it is of this cluster and of a format that is understood. Bytes that are wrong in both are nobody's.
    fn check_origin(&self, version: u8, mark: [u8; 2]) -> Result<(), Refused> {
        let format = version & 0xf;
        let known = (self.versions.oldest..=self.versions.newest).contains(&u16::from(format));
        let sound = format != 0 && format <= version >> 4;
        match (mark == self.mark, known && sound) {
            (true, true) => Ok(()),
            (true, false) if sound => Err(Refused::OtherVersion(format)),
            (false, true) => Err(Refused::OtherCluster),
            (true | false, false) => Err(Refused::Garbage),
        }
    }
}

/// What is refused by its place in its sender's life.
const fn refused(verdict: Verdict, from: HostId) -> Option<Refused> {
    match verdict {
        Verdict::New => None,
        Verdict::Again => Some(Refused::Copy(from)),
        Verdict::Late => Some(Refused::Replayed(from)),
        Verdict::OldLife => Some(Refused::OldLife(from)),
        Verdict::Twin => Some(Refused::Twin(from)),
    }
}

/// A version as half a byte.
fn half(version: u16) -> u8 {
    u8::try_from(version).ok().filter(|half| *half < 16).expect("checked when made")
}

/// What the tag proves beside the plaintext.
fn proven(clear: [u8; HEADER], to: HostId, cluster: &str) -> Vec<u8> {
    [&clear[..], &to.0.to_le_bytes(), cluster.as_bytes()].concat()
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
