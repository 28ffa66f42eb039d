//! What `roost-guest status|freeze|thaw` and the running controller say to each other over its Unix socket, and what the
//! controller keeps in its run directory so that, restarted, it adopts what runs. Both ends are the same binary.

use crate::link::{Circumstances, Fault, GroupReport, ManagedReport, Wanted};
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

/// What the controller answers: any number of `Group`s and `Managed`s, then one of the others.
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
    /// A managed group as it is now.
    Managed {
        /// How it is, and what its host wants.
        report: ManagedReport,
        /// How long ago the host said anything, in milliseconds; nothing if it did not in this life of the controller.
        heard_ms: Option<u64>,
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
pub const RUNTIME_VERSION: u16 = 2;

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
    /// What its host ordered, if it is managed.
    pub managed: Option<ManagedRuntime>,
    /// Its resources.
    pub resources: Vec<ResourceRuntime>,
}

/// What the host ordered of a managed group, and how far that came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagedRuntime {
    /// What is wanted of it.
    pub wanted: Wanted,
    /// The greatest epoch of an order; 0 if there was none.
    pub epoch: u64,
    /// How long it may go on without its host, in milliseconds; nothing before the first order.
    pub lease_ms: Option<u32>,
    /// In what circumstances it was ordered about last.
    pub circumstances: Circumstances,
    /// Where it is on its way.
    pub progress: Progress,
}

/// Where a managed group is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// Offline, and its `after_offline` command has nothing left to do.
    Offline,
    /// To go online; its `before_online` command has not succeeded yet.
    Preparing,
    /// Kept running.
    Online,
    /// On its way down; its `after_offline` command has not succeeded yet.
    Leaving,
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
