//! What hosts say to each other: one datagram, its beat, and the messages that ride in it.
//!
//! A datagram's plaintext is the fixed part of [`Datagram`] and then its messages, each with its own length, so that a
//! host passes over a kind of message that it does not know: two adjacent versions understand each other.

pub mod codec;
pub mod decision;
pub mod raft;

use crate::control::{Intent, MoveMethod};
use crate::link::Versions;
use core::fmt;
use decision::Proof;
use serde::{Deserialize, Serialize};

/// The largest UDP payload, in bytes: what an IPv6 path carries without fragments (1,280 less 40 and 8).
pub const MAX_DATAGRAM: usize = 1232;
/// The UDP port of hosts whose address names none: below 1024, so that no other user of a host can take it.
pub const CLUSTER_PORT: u16 = 961;
/// The formats of datagrams that this version reads and writes. Each is at most 15: two of them share a byte. A host understands
/// two adjacent ones at least, and writes the newest that the receiver has shown to understand.
///
/// Whatever is added to what hosts say or decide (a message, a variant, a field at an end) makes the newest one greater by
/// one, even where the bytes of all else stay: by it hosts know what the others know. See also
/// [`decision::Decision::since`].
pub const DATAGRAM_VERSIONS: Versions = Versions { oldest: 1, newest: 2 };

/// Bytes of the reason for which a group was given up, at most, in reports and in the ledger. libvirt passes on QEMU's last
/// words, and a guest says what it likes: longer ones would fit no datagram and no entry.
pub const MAX_REASON: usize = 400;

/// A host, by a number that follows from its name (FNV-1a, 32 bits). A configuration in which two names have one number is
/// refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HostId(pub u32);

impl HostId {
    /// The number of the host called `name`.
    pub fn of(name: &str) -> Self {
        Self(fnv1a(name.as_bytes()))
    }

    /// The number of the VM of `group` as a target of applications. No host has it, for no name holds a colon.
    pub fn of_vm(group: &str) -> Self {
        Self(fnv1a(format!("vm:{group}").as_bytes()))
    }
}

/// FNV-1a, 32 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>): names things in few bytes; keeps nobody out.
pub fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

impl fmt::Debug for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "h{:08x}", self.0)
    }
}

/// One life of one `roostd`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    /// The number of this start: greater than that of every start before it on this host.
    pub start: u32,
    /// The boot, from the kernel's boot id.
    pub boot: u64,
}

/// A ledger, from its founding on: a random number that is not zero. Zero stands for a host that has none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LedgerId(pub u32);

impl LedgerId {
    /// No ledger yet.
    pub const NONE: Self = Self(0);
}

/// A moment of the sender's own clock, in whole milliseconds since its boot, rounded down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp(pub u64);

/// What one host sends another, before it is sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Datagram {
    /// The ledger that the sender keeps.
    pub ledger: LedgerId,
    /// Present in the datagrams that keep time; the others only carry messages.
    pub beat: Option<Beat>,
    /// What else there is to say. Messages are kept in order within a datagram; datagrams are not.
    pub messages: Vec<Message>,
}

/// A sign of life. Hosts send it to every voter, and voters to every host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// When it was made.
    pub stamp: Stamp,
    /// The newest beat that the sender has of the receiver.
    pub echo: Option<Echo>,
    /// How much of the ledger the sender has applied.
    pub applied: u64,
    /// What of the sender's own reports the leader has not acknowledged yet, or what the sender is; see [`Life`].
    pub life: Life,
}

/// The answer to a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// The low bits of the start number of the life that sent it: an answer to an earlier life is worth nothing. Start
    /// numbers follow the seconds, so these come again after 18 hours at the soonest.
    pub start: u16,
    /// Its stamp.
    pub stamp: Stamp,
    /// Whether the sender is a voter in whose applied ledger that life is admitted: only then the answer counts for the
    /// lease.
    pub admitted: bool,
}

/// How the sender of a beat is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Life {
    /// It holds its lease.
    #[default]
    Leased,
    /// It has none: it was not admitted yet, or a majority is silent; nothing that it owns runs.
    Unleased,
    /// It holds its lease, and is about to leave: its groups are to go elsewhere.
    Leaving,
}

/// What rides in a datagram beside the beat. New kinds are added at the end; hosts pass over what they do not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Consensus.
    Raft(raft::RaftMessage),
    /// To every voter, while the sender's incarnation is not admitted: who it is.
    Hello(Hello),
    /// From a voter to the leader: the hosts that it does not hear.
    Silent(Vec<Silent>),
    /// From a voter to the leader: it has applied an eviction, and answered that incarnation last so long ago.
    LastAnswered {
        /// The host.
        host: HostId,
        /// Which life of it.
        incarnation: Incarnation,
        /// Milliseconds of the sender's clock, rounded down.
        ago_ms: u64,
    },
    /// From a host to the leader: how its groups are.
    Report(Report),
    /// From the leader to a host: reports up to this number have arrived.
    ReportHeard {
        /// The leader's term: another leader has to be told again.
        term: u64,
        /// The life of the host that told them, by its start number: another one has told nothing yet.
        start: u32,
        /// [`Report::number`].
        number: u64,
    },
    /// From a host to the leader: decide this. Sent again until it is seen in the ledger or the sender gives up.
    Ask(decision::Entry),
    /// From a host to the leader: an operator wants a group elsewhere. What the leader makes of it is seen in the ledger, under
    /// the same name; if it is nothing, [`Message::Refused`] tells why. Sent again until then.
    AskMove(MoveAsk),
    /// From the leader to a host: what it asked for is not done.
    Refused {
        /// What.
        asked: decision::Asked,
        /// Why, in at most [`MAX_REASON`] bytes.
        reason: String,
    },
    /// Somebody at the sender wants to know something. Sent again until all of the answer is there or the time for it is over.
    Question {
        /// The sender's life, by its start number.
        start: u32,
        /// The how many-th of that life.
        number: u32,
        /// The first page that the sender lacks.
        first: u16,
        /// Which of the 32 pages from that one on it lacks: the lowest bit is the first.
        lacks: u32,
        /// What.
        question: Question,
    },
    /// A page of the answer.
    Answer {
        /// As in the question.
        start: u32,
        /// As in the question.
        number: u32,
        /// Which answer it is a page of: a question that is asked again may be answered anew.
        edition: u32,
        /// Which page, from 0.
        page: u16,
        /// How many there are.
        pages: u16,
        /// What it says: a part of a JSON text.
        bytes: Vec<u8>,
    },
}

/// What an operator wants of the place of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveAsk {
    /// Who asks, and the how many-th.
    pub asked: decision::Asked,
    /// The group.
    pub group: String,
    /// Where it shall go.
    pub whither: Whither,
    /// How; the first of the group's own ways if not said.
    pub method: Option<MoveMethod>,
}

/// Where a group shall go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Whither {
    /// To this host.
    Host(HostId),
    /// To the best host but its own.
    Elsewhere,
    /// To the first of its hosts that can take it.
    Home,
    /// Wherever it would go if it failed where it is: it counts as failed there.
    Failover,
}

/// What one host asks another for an operator. New kinds are added at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// Of the leader: how all hosts and groups are.
    Cluster,
    /// Of any host: how its own groups are.
    Own,
    /// Of the leader: why a group or a host, by name, is as it is.
    Explain(String),
    /// Of the leader: what would become of the groups without these hosts.
    Without(Vec<HostId>),
    /// Of the leader: the same of each host by itself.
    WithoutAny,
}

/// [`DATAGRAM_VERSIONS`] that know [`Message::Question`], from this one on.
pub const QUESTIONS_SINCE: u16 = 1;

/// Who a host is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The machine, from its machine id: two machines with one name are told apart by it.
    pub machine: u64,
    /// What a leader may conclude from its silence.
    pub proof: Proof,
    /// The storage of its ledger; a host whose disk was lost comes back with another one.
    pub storage: raft::StorageId,
    /// A number that follows from its configuration file.
    pub config: u32,
    /// The groups of which it cannot say that they do not run here: their VMs run, or libvirt has not answered.
    pub running: Running,
    /// The index of the newest arming of the cluster that it has applied, and lives by; 0 if there never was one.
    pub armed: u64,
}

/// What a host that was evicted, and came back, still runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Running {
    /// libvirt has not told yet.
    Unknown,
    /// None of the groups that the ledger gave to it.
    Nothing,
    /// Some of them.
    Something,
}

/// A host that a voter does not hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silent {
    /// The host.
    pub host: HostId,
    /// Which life was heard last, if one was since the voter started.
    pub incarnation: Option<Incarnation>,
    /// Milliseconds since, or since the voter started; rounded down.
    pub ago_ms: u64,
}

/// How some groups of a host are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Grows with each change.
    pub number: u64,
    /// It follows upon the report with this number, and says nothing to who has not heard that one; the first follows upon
    /// none.
    pub after: Option<u64>,
    /// The number of the host's newest report: with it, all has been told.
    pub newest: u64,
    /// What the host has room for; nothing is known of that while libvirt is silent.
    pub room: Option<Room>,
    /// The groups that changed. Of a group that was never told of nothing runs here, and it is not this host's.
    pub groups: Vec<GroupReport>,
}

/// What a host has room for, as libvirt says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Free memory, in MiB.
    pub memory_mib: u32,
    /// All memory, in MiB.
    pub memory_total_mib: u32,
    /// CPUs.
    pub cpus: u16,
}

/// What a group needs of its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// Memory, in MiB.
    pub memory_mib: u32,
    /// vCPUs.
    pub cpus: u16,
}

/// How one group is on the host that reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReport {
    /// The group.
    pub group: String,
    /// The ledger's newest word about the group that the host acted upon: an index.
    pub changed: u64,
    /// How it is.
    pub state: GroupState,
    /// What it needs, as far as libvirt here knows it.
    pub need: Option<Need>,
}

/// How a group is on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupState {
    /// libvirt does not tell.
    Unknown,
    /// Its VM is off, nothing that could start it is under way, and it is not started before the ledger says more than
    /// [`GroupReport::changed`].
    Down,
    /// On its way up, or being recovered here.
    Coming,
    /// It runs, and all that counts in it is well.
    Well,
    /// It runs, and is not well; nothing more than that is known or done.
    Unwell,
    /// It stands still because the lease ran out.
    Suspended,
    /// Every rung here was spent.
    GivenUp {
        /// Why.
        reason: String,
    },
    /// libvirt here does not know its VM, and nothing says what to define it from.
    Undefined,
    /// Its VM runs here without right.
    Stray,
    /// It is being moved away: its memory has left this host, and nothing of it runs here any more.
    Gone {
        /// How long it had stood still by then, in milliseconds.
        still_ms: u32,
    },
    /// It was to be moved away, and is still here.
    Stayed {
        /// Why.
        reason: String,
    },
    /// Its memory came here and was taken over: it runs.
    Taken,
    /// Its memory should have come here, and cannot be taken over.
    NotTaken {
        /// Why.
        reason: String,
    },
    /// An application that is down here, and could be brought online: its new target has been made ready. Of
    /// [`DATAGRAM_VERSIONS`] 2.
    Ready,
    /// An application that is down here, and could not be brought online. Of [`DATAGRAM_VERSIONS`] 2.
    NotReady {
        /// Why.
        reason: String,
    },
}

/// What an operator orders, as the ledger takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupOrder {
    /// Be online, or offline.
    Intent(Intent),
    /// Be watched and not touched.
    Freeze,
    /// Be taken care of again.
    Thaw,
}
