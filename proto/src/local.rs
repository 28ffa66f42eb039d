//! What `roost-guest status|freeze|thaw` and the running controller say to each other over its Unix socket, and what the
//! controller keeps in its run directory so that, restarted, it adopts what runs. Both ends are the same binary.

use crate::link::{Fault, GroupReport};
use crate::retry::Attempts;
use serde::{Deserialize, Serialize};

/// What a person in the guest asks of the controller. One frame a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// How is everything?
    Status,
    /// Watch this group, and touch nothing of it.
    Freeze {
        /// The group.
        group: String,
    },
    /// Take care of this group again, and start afresh if it was faulted.
    Thaw {
        /// The group.
        group: String,
    },
}

/// What the controller answers: any number of `Group`s, then one of the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// A group as it is now.
    Group(GroupReport),
    /// All was said; this is how the link is.
    End(LinkStatus),
    /// Done as asked.
    Done,
    /// Not done, and why.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
}

/// The link as the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkStatus {
    /// The configuration says `link = "none"`.
    None,
    /// Connected and welcome.
    Up {
        /// The host.
        host: String,
        /// The group that the host knows this guest as.
        group: String,
    },
    /// Not connected.
    Down {
        /// Why.
        reason: String,
    },
}

/// The version of [`Runtime`]; a file of another version is not read, and what runs is then found by monitoring.
pub const RUNTIME_VERSION: u16 = 1;

/// The controller's runtime state. Written whole, to a temporary name, and renamed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// [`RUNTIME_VERSION`].
    pub version: u16,
    /// The boot that its moments and processes belong to; of another boot, it says nothing.
    pub boot_id: [u8; 16],
    /// How often the controller was started in this boot.
    pub starts: u32,
    /// The groups.
    pub groups: Vec<GroupRuntime>,
}

/// One group's part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRuntime {
    /// Its name.
    pub name: String,
    /// Frozen by a person.
    pub frozen: bool,
    /// Given up on.
    pub fault: Option<Fault>,
    /// Whole-group restarts.
    pub restarts: Attempts,
    /// Its resources.
    pub resources: Vec<ResourceRuntime>,
}

/// One resource's part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceRuntime {
    /// Its name.
    pub name: String,
    /// A digest of the configuration that it was started with; if that changed since, it is restarted.
    pub fingerprint: u64,
    /// The process that was started for it, if its kind has one.
    pub process: Option<ProcessId>,
    /// Its restarts.
    pub attempts: Attempts,
}

/// A process that can be told from a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its process id.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: when it was started, in clock ticks since boot.
    pub start_ticks: u64,
}
