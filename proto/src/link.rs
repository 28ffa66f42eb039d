//! The link between a sub-cluster controller and its host: what each says to the other.
//!
//! The guest connects and says [`GuestMessage::Hello`]; the host answers [`HostMessage::Welcome`] with the version that
//! both speak, or [`HostMessage::Refused`] and closes. Then the guest sends a [`GuestMessage::Snapshot`] and a
//! [`GuestMessage::Group`] for each group, a `Group` again at once whenever one changes, and a `Beat` when it has
//! been quiet for a beat interval. The host sends a `Beat` each interval; a guest that owes one soon answers with it, so
//! that an idle pair wakes once a second and not twice.
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

/// Source ports below this are root's alone; the host accepts no other over AF_VSOCK.
pub const PRIVILEGED_PORTS: u32 = 1024;

/// The oldest and newest version of the link that this build speaks.
pub const LINK_VERSIONS: Versions = Versions { oldest: 1, newest: 1 };

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
