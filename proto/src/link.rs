//! The link between a sub-cluster controller and its host: what each says to the other.
//!
//! The guest connects and says [`GuestMessage::Hello`]; the host answers [`HostMessage::Welcome`] with the version that
//! both speak, or [`HostMessage::Refused`] and closes. Then the guest sends a [`GuestMessage::Snapshot`] and a
//! [`GuestMessage::Group`] for each group, a `Group` again at once whenever one changes, and a `Beat` when it has
//! been quiet for a beat interval. The host sends a `Beat` each interval; a guest that owes one soon answers with it, so
//! that an idle pair wakes once a second and not twice.
//!
//! From version 2 on the host also orders [managed groups](ManagedReport) about: groups that run in one place of the whole
//! cluster, and only where the ledger says.
//!
//! `Hello`, `Welcome` and `Refused` never change; new versions add variants at the ends of the enums, which a peer of
//! an older version is never sent. The guest is not trusted: the host checks every [`GroupReport`] with
//! [`GroupReport::check`] and knows the guest by its CID or socket, never by what it says.

use crate::name::{MAX_NAME, is_name};
use core::fmt;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// The port that hosts listen on: AF_VSOCK port 961 of CID 2, or `PATH_961` with hybrid vsock. Below 1024, so that on
/// either side only root can speak.
pub const LINK_PORT: u32 = 961;

/// The TCP port that hosts listen on for the controllers of machines that they watch without a `roostd` there.
pub const WATCHED_PORT: u16 = 962;

/// Source ports below this are root's alone; the host accepts no other over AF_VSOCK.
pub const PRIVILEGED_PORTS: u32 = 1024;

/// The oldest and newest version of the link that this build speaks.
pub const LINK_VERSIONS: Versions = Versions { oldest: 1, newest: 2 };

/// The version of the link from which on hosts order managed groups about.
pub const ORDERS_SINCE: u16 = 2;

/// How long a side may stay quiet before it sends a beat.
pub const BEAT: Duration = Duration::from_secs(1);

/// The first field of every `Hello`.
pub const MAGIC: [u8; 4] = *b"RST1";

/// Groups in one guest, at most: a guest is one machine, and each group costs the host memory.
pub const MAX_GROUPS: usize = 64;
/// Resources in one group, at most: a full report must fit one frame.
pub const MAX_RESOURCES: usize = 64;
/// Bytes of a resource's [`ResourceReport::detail`], at most.
pub const MAX_DETAIL: usize = 128;
/// Bytes of a [`Fault::reason`], at most.
pub const MAX_REASON: usize = 256;
/// Bytes of a [`Fault::output`], at most: the last lines, enough to see what went wrong.
pub const MAX_OUTPUT: usize = 2048;
/// Bytes of the software's name and version in a `Hello`, at most.
pub const MAX_SOFTWARE: usize = 64;

/// Bytes of the name of a target, as in `db1` or `vm:db1-standby`, at most.
pub const MAX_TARGET: usize = MAX_NAME + 3;

/// A range of versions, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest.
    pub oldest: u16,
    /// The newest.
    pub newest: u16,
}

impl Versions {
    /// The newest version that both ranges hold.
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest && newest >= other.oldest).then_some(newest)
    }
}

/// What the guest says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuestMessage {
    /// The first message on a connection.
    Hello(Hello),
    /// Forget all groups: as many `Group` messages as this says follow, and they are all there are.
    Snapshot {
        /// How many groups.
        groups: u16,
    },
    /// A group as it is now.
    Group(GroupReport),
    /// Nothing changed.
    Beat,
    /// A managed group as it is now; from [`ORDERS_SINCE`] on it takes the place of its [`GuestMessage::Group`], and counts
    /// for the snapshot as that does.
    Managed(ManagedReport),
    /// The answer to [`HostMessage::AskReady`].
    Ready {
        /// The group.
        group: String,
        /// The question's number.
        number: u32,
        /// Whether it could be brought online here.
        readiness: Readiness,
    },
}

/// A group that its host orders online and offline, as it is now. What it does and what it was told travel in one message:
/// apart, an old state could be taken for the answer to a new order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagedReport {
    /// How it is. Offline means that nothing of it runs and that its `after_offline` command, if it has one, succeeded.
    pub report: GroupReport,
    /// What was ordered last, in this boot of the machine; a group that was never ordered online is to be offline.
    pub wanted: Wanted,
    /// The greatest epoch of an order in this boot; 0 if there was none. An order of a smaller one was, and is, refused.
    pub epoch: u64,
    /// The number of the newest order on this connection that it obeys; none before the first. A refused order is not obeyed.
    pub obeys: Option<u32>,
}

/// What is wanted of a managed group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")] // in JSON; on the link only the order of variants counts
pub enum Wanted {
    /// It runs nowhere here.
    #[default]
    Offline,
    /// It runs here.
    Online,
}

/// Whether a group could be brought online.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Readiness {
    /// Its `ready` command succeeded, or it has none.
    Ready,
    /// It could not.
    NotReady {
        /// Why: the last line that the command said, in at most [`MAX_REASON`] bytes.
        reason: String,
    },
}

/// Who connects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// What the guest speaks.
    pub versions: Versions,
    /// Name and version of the software, for people.
    pub software: String,
    /// The guest kernel's boot id; it tells a reboot from a reconnection.
    pub boot_id: [u8; 16],
    /// How often the controller was started in this boot.
    pub starts: u32,
}

/// What the host says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostMessage {
    /// The guest is known and watched.
    Welcome {
        /// The version of all that follows.
        version: u16,
        /// The host's name, for people.
        host: String,
        /// The group that this guest is in, for people.
        group: String,
    },
    /// No common version.
    Refused {
        /// What the host speaks.
        versions: Versions,
    },
    /// The host is there.
    Beat,
    /// A managed group is to go online or offline. From [`ORDERS_SINCE`] on.
    Order(Order),
    /// Whether a managed group could be brought online there. From [`ORDERS_SINCE`] on; each is answered, the newest last.
    AskReady {
        /// The group.
        group: String,
        /// What the answer names.
        number: u32,
        /// For the command's environment.
        circumstances: Circumstances,
    },
}

/// An order about a managed group. The newest on a connection holds; after a connection is made anew, the host repeats it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The group.
    pub group: String,
    /// The how many-th order on this connection, from 1.
    pub number: u32,
    /// The epoch of the group's ownership. An order of a smaller one than the group has seen is refused: who gives it does
    /// not own the group any more.
    pub epoch: u64,
    /// What is wanted.
    pub wanted: Wanted,
    /// How long the group may go on after its host was heard last, in milliseconds; then the controller stops it by itself.
    pub lease_ms: u32,
    /// For the commands' environment.
    pub circumstances: Circumstances,
}

/// In what circumstances a managed group is ordered about; its commands find them in their environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circumstances {
    /// The target as the host's configuration names it, as in `db1` or `vm:db1-standby`.
    pub target: String,
    /// The target that owned the group before; empty if none did.
    pub previous: String,
    /// Why.
    pub reason: Cause,
}

/// Why a managed group goes online or offline, or may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It is wanted, and ran nowhere before.
    Start,
    /// Its target before is lost, or could not keep it up.
    Failover,
    /// An operator moves it.
    Switchover,
    /// It goes home.
    Failback,
    /// It failed here, and is tried again.
    Recovery,
    /// An operator takes it offline.
    Stop,
    /// The host may not run it now: it has no lease, or does not own it any more.
    Lease,
}

impl Cause {
    /// Its word in the environment of commands, and for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Failover => "failover",
            Self::Switchover => "switchover",
            Self::Failback => "failback",
            Self::Recovery => "recovery",
            Self::Stop => "stop",
            Self::Lease => "lease",
        }
    }
}

/// A service group of the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: GroupState,
    /// Whether somebody in the guest froze it: watched, not touched.
    pub frozen: bool,
    /// Its resources, in starting order.
    pub resources: Vec<ResourceReport>,
}

/// The state of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")] // in JSON; on the link only the order of variants counts
pub enum GroupState {
    /// Nothing of it runs, and nothing should.
    Offline,
    /// On its way up for the first time.
    Starting,
    /// All of it runs.
    Online,
    /// All of it runs, some of it below its best (OCF 190 and 191).
    Degraded,
    /// Something failed and is being restarted.
    Recovering,
    /// On its way down.
    Stopping,
    /// The controller gave up.
    Faulted(Fault),
}

/// What made the controller give up on a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The resource that could not be recovered.
    pub resource: String,
    /// Why, in a few words.
    pub reason: String,
    /// How its last process or agent ended.
    pub exit: Exit,
    /// The last lines of its output.
    pub output: String,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")] // in JSON; on the link only the order of variants counts
pub enum Exit {
    /// No process ended, or it was not ours to ask.
    Unknown,
    /// With this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => write!(f, "exit status unknown"),
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
        }
    }
}

/// One resource of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceReport {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: ResourceState,
    /// Restarts within its window.
    pub restarts: u32,
    /// What happened last, for people; may be empty.
    pub detail: String,
}

/// The state of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")] // in JSON; on the link only the order of variants counts
pub enum ResourceState {
    /// Not running.
    Stopped,
    /// Being started, or looked at for the first time.
    Starting,
    /// Running.
    Running,
    /// Running below its best.
    Degraded,
    /// Being stopped.
    Stopping,
    /// Waiting for its next start: backoff, or something that it needs.
    Waiting,
    /// Failed, and not tried again by itself.
    Failed,
}

/// What a guest said that no honest controller says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadReport {
    /// A name that is none.
    Name,
    /// Two resources of one name.
    Duplicate,
    /// More of something, or longer, than its limit.
    Limit,
}

impl fmt::Display for BadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "a report with a bad name",
            Self::Duplicate => "a report that names a resource twice",
            Self::Limit => "a report beyond its limits",
        })
    }
}

impl core::error::Error for BadReport {}

impl GroupReport {
    /// Checks what came from a guest against this module's limits.
    pub fn check(&self) -> Result<(), BadReport> {
        let names = core::iter::once(&self.name).chain(self.resources.iter().map(|r| &r.name));
        if names.into_iter().any(|name| !is_name(name)) {
            return Err(BadReport::Name);
        }
        if self.resources.len() > MAX_RESOURCES || self.resources.iter().any(|r| r.detail.len() > MAX_DETAIL)
        {
            return Err(BadReport::Limit);
        }
        if let GroupState::Faulted(fault) = &self.state
            && (fault.resource.len() > MAX_NAME
                || fault.reason.len() > MAX_REASON
                || fault.output.len() > MAX_OUTPUT)
        {
            return Err(BadReport::Limit);
        }
        let mut seen: Vec<&str> = self.resources.iter().map(|r| r.name.as_str()).collect();
        seen.sort_unstable();
        if seen.windows(2).any(|pair| pair[0] == pair[1]) { Err(BadReport::Duplicate) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn largest() -> GroupReport {
        GroupReport {
            name: "g".repeat(MAX_NAME),
            state: GroupState::Faulted(Fault {
                resource: "r".repeat(MAX_NAME),
                reason: "x".repeat(MAX_REASON),
                exit: Exit::Code(i32::MIN),
                output: "o".repeat(MAX_OUTPUT),
            }),
            frozen: true,
            resources: (0..MAX_RESOURCES)
                .map(|i| ResourceReport {
                    name: format!("{i:0>width$}", width = MAX_NAME),
                    state: ResourceState::Failed,
                    restarts: u32::MAX,
                    detail: "d".repeat(MAX_DETAIL),
                })
                .collect(),
        }
    }

    #[test]
    fn the_largest_report_fits_a_frame() {
        let report = largest();
        assert_eq!(report.check(), Ok(()));
        let mut out = Vec::new();
        crate::frame::encode(&GuestMessage::Group(report), &mut out).expect("it must fit");
    }

    #[test]
    fn reports_beyond_the_limits_are_refused() {
        let with = |change: fn(&mut GroupReport)| {
            let mut report = largest();
            change(&mut report);
            report.check()
        };
        assert_eq!(with(|r| r.name.clear()), Err(BadReport::Name));
        assert_eq!(with(|r| r.resources[3].name = "a b".into()), Err(BadReport::Name));
        assert_eq!(with(|r| r.resources[3].name = r.resources[4].name.clone()), Err(BadReport::Duplicate));
        assert_eq!(with(|r| r.resources[0].detail.push('d')), Err(BadReport::Limit));
        assert_eq!(
            with(|r| {
                let mut extra = r.resources[0].clone();
                extra.name = "extra".into();
                r.resources.push(extra);
            }),
            Err(BadReport::Limit)
        );
        assert_eq!(
            with(|r| match &mut r.state {
                GroupState::Faulted(fault) => fault.output.push('o'),
                _ => unreachable!("largest() is faulted"),
            }),
            Err(BadReport::Limit)
        );
    }

    #[test]
    fn the_newest_common_version_is_chosen() {
        let v = |oldest, newest| Versions { oldest, newest };
        assert_eq!(v(1, 3).common(v(2, 9)), Some(3));
        assert_eq!(v(2, 9).common(v(1, 3)), Some(3));
        assert_eq!(v(1, 2).common(v(3, 4)), None);
        assert_eq!(v(1, 1).common(v(1, 1)), Some(1));
    }
}
