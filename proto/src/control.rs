//! What `roost` and `roostd` say to each other over `/run/roost/roostd.sock`, and the event record that `roostd` keeps
//! on disk. One JSON object a line: an operator's tool and a daemon of different versions must understand each
//! other, so unknown fields are passed over and missing ones have defaults.
//!
//! `roost --json` prints these very objects; their fields are only ever added to within one
//! [`CONTROL_VERSION`].

use crate::insight::{Explanation, PlanReport, Quorum};
use crate::link::{GroupState, ResourceState};
use serde::{Deserialize, Serialize};

/// The version of everything here.
pub const CONTROL_VERSION: u16 = 1;

/// The longest line either side accepts, in bytes: a status of some hundred groups fits well.
pub const MAX_LINE: usize = 1024 * 1024;

/// What an operator asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`CONTROL_VERSION`] of the asker.
    pub version: u16,
    /// What.
    #[serde(flatten)]
    pub ask: Ask,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    /// The state of everything as this one host sees it: answered by one [`Reply::Status`], at once.
    Status,
    /// What happened: [`Reply::Event`]s, oldest first, then [`Reply::End`], which never comes when `follow` is set.
    Events {
        /// Only events with a greater [`Event::seq`].
        #[serde(default)]
        after: u64,
        /// Only events of this group.
        #[serde(default)]
        group: Option<String>,
        /// Go on with each new event.
        #[serde(default)]
        follow: bool,
    },
    /// Keep a group online, or take it offline and leave it so.
    Intent {
        /// The group.
        group: String,
        /// What is wanted.
        intent: Intent,
    },
    /// Watch a group and touch nothing of it.
    Freeze {
        /// The group.
        group: String,
    },
    /// Take care of a group again.
    Thaw {
        /// The group.
        group: String,
    },
    /// An operator has made certain that an evicted host runs nothing.
    Fenced {
        /// The host.
        host: String,
    },
    /// Read the configuration again; refused, with the reason, when it is not good.
    Reload,
    /// Move a group to another host.
    Switch {
        /// The group.
        group: String,
        /// Where to; the best host but its own if nowhere in particular.
        #[serde(default)]
        to: Option<String>,
        /// How; the first of the group's own ways if not said.
        #[serde(default)]
        method: Option<MoveMethod>,
    },
    /// Move a group to the first of its hosts that can take it.
    Failback {
        /// The group.
        group: String,
        /// How; the first of the group's own ways if not said.
        #[serde(default)]
        method: Option<MoveMethod>,
    },
    /// Treat a group as failed where it is.
    Fail {
        /// The group.
        group: String,
    },
    /// Empty a host and give it nothing new, or use it again.
    Maintenance {
        /// The host.
        host: String,
        /// Whether it begins.
        on: bool,
    },
    /// Metrics for a monitoring system: [`Reply::Metrics`]s, whose texts follow each other, then [`Reply::End`].
    Metrics,
    /// The state of the whole cluster, as its leader and the groups' owners tell it: answered by one [`Reply::Status`], within
    /// two seconds.
    Cluster,
    /// Why a group or a host is as it is: answered by one [`Reply::Explanation`].
    Explain {
        /// The name of either.
        subject: String,
    },
    /// What would become of the groups: answered by one [`Reply::Plan`].
    Plan {
        /// If these hosts were lost together.
        #[serde(default)]
        without: Vec<String>,
        /// If any one host were lost, each by itself.
        #[serde(default)]
        any: bool,
    },
    /// Keep hands off everything in the whole cluster.
    Disarm,
    /// Act again.
    Arm,
    /// What would change if the configuration were read again; nothing does.
    WouldReload,
}

/// How a group is moved on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MoveMethod {
    /// It runs on, but for a moment.
    Live,
    /// Its memory is saved, and restored there.
    Suspend,
    /// It is shut down, and started there.
    Cold,
}

impl MoveMethod {
    /// As in the configuration and on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Suspend => "suspend",
            Self::Cold => "cold",
        }
    }
}

/// A move that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovingStatus {
    /// Where to.
    pub to: String,
    /// How.
    pub method: MoveMethod,
    /// How much of its memory has gone, in per cent, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
}

/// What an operator wants of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Intent {
    /// It shall run.
    #[default]
    Online,
    /// It shall not.
    Offline,
}

/// What `roostd` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// The state of everything.
    Status(Status),
    /// One event.
    Event(Event),
    /// A part of the metrics, in OpenMetrics' text format.
    Metrics {
        /// Whole lines.
        text: String,
    },
    /// No more of the kind.
    End,
    /// It is decided and on disk; being carried out.
    Done {
        /// What will happen now.
        text: String,
    },
    /// It was not done.
    Refused {
        /// What kind of refusal.
        code: Refusal,
        /// Why, and what to do.
        reason: String,
    },
    /// Why something is as it is.
    Explanation(Explanation),
    /// What would become of the groups.
    Plan(PlanReport),
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// No such group.
    UnknownGroup,
    /// The asker is neither root nor in the group `roost`.
    NotPermitted,
    /// The request is none, or of a version that is not spoken here.
    BadRequest,
    /// The configuration is not good.
    BadConfiguration,
    /// It could not be written to disk, and so it does not hold.
    NotStored,
    /// Too many are asking.
    Busy,
    /// No such host.
    UnknownHost,
    /// It did not fit with how things are.
    NotDone,
    /// No majority of the voters is heard, or no host leads: nothing can be decided, or told, meanwhile.
    NoQuorum,
}

/// The state of everything, as one host sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`CONTROL_VERSION`].
    pub version: u16,
    /// The daemon's version.
    pub software: String,
    /// The cluster's name.
    pub cluster: String,
    /// The host that answers.
    pub host: String,
    /// All in one word.
    pub health: Health,
    /// Whether libvirt answers; if not, why.
    pub libvirt: LibvirtStatus,
    /// The cluster's hosts, by name, as this host sees them.
    #[serde(default)]
    pub hosts: Vec<HostStatus>,
    /// The groups, by name.
    pub groups: Vec<GroupStatus>,
    /// What is dangerous or wrong beyond single groups, for people.
    pub warnings: Vec<String>,
    /// The leader whose word it is; none when it is only what the answering host knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// Whether the cluster can decide; not told of a cluster of one host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<Quorum>,
    /// While the cluster is disarmed: who wanted it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disarmed: Option<String>,
    /// Hosts of the cluster that have not heard yet that it was disarmed, or armed again, as far as this host knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unaware: Vec<String>,
}

/// One host of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: HostState,
    /// It leads.
    pub leads: bool,
    /// It votes.
    pub votes: bool,
    /// What is to be known about it, for people; may be empty.
    pub reason: String,
    /// The groups that are its own.
    pub groups: u32,
}

/// How a host stands in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostState {
    /// It is in the cluster, and heard.
    Up,
    /// It is in the cluster, and is not heard.
    Silent,
    /// It was evicted, and is not known to run nothing: its groups start nowhere.
    Blocked,
    /// It is not in the cluster, and runs nothing.
    Out,
    /// It is in the cluster, and is to run nothing.
    Maintenance,
    /// It is in the cluster, and gets no new groups for a while.
    Quarantined,
}

/// All in one word; also the exit status of `roost status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Everything is as wanted.
    Healthy,
    /// Something is on its way, not known, or needs a look.
    Degraded,
    /// Something that should run was given up on.
    Broken,
}

/// libvirt, as the daemon sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum LibvirtStatus {
    /// It answers.
    Connected,
    /// It does not.
    Lost {
        /// Why.
        reason: String,
    },
    /// This host runs no VMs, and does not ask it.
    Unused,
}

/// The state of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Its name.
    pub name: String,
    /// Its VM; empty for an application.
    pub vm: String,
    /// Whose it is, as far as is known here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What is wanted.
    pub intent: Intent,
    /// Watched, not touched.
    pub frozen: bool,
    /// What is.
    pub condition: Condition,
    /// Why it is so, or what is being done; for people, may be empty.
    pub reason: String,
    /// When `condition` last changed, in milliseconds of Unix time; 0 when the host that knows did not answer.
    pub since_ms: u64,
    /// The guest's controller.
    pub controller: ControllerStatus,
    /// The guest's groups.
    pub apps: Vec<AppStatus>,
    /// Recoveries within the group's window, by rung.
    pub recoveries: Recoveries,
    /// What is dangerous about it, for people.
    pub dangers: Vec<String>,
    /// The move that is under way, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<MovingStatus>,
    /// Of an application: where it is, as far as is known here: a host, or `vm:` and the group of the VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Of an application: where it is at home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Of an application: where it may be, home first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// Of an application: the target that is made ready for it, while it runs where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preparing: Option<String>,
    /// Its VM is a cold standby that no application needs now: it is offline until one does.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub standby: bool,
}

/// What a group is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Not running, as wanted.
    Offline,
    /// On its way down, as wanted.
    Stopping,
    /// On its way up.
    Starting,
    /// The VM runs, and all that counts in it.
    Online,
    /// The VM runs, and something about it is not as it should be.
    Degraded,
    /// Failed, and being recovered.
    Recovering,
    /// libvirt does not answer.
    Unknown,
    /// Left alone as a person or libvirt wants it: paused, saved, or shut down from inside.
    LeftAlone,
    /// Every rung of the ladder was spent.
    GivenUp,
    /// It is another host's, or nobody's.
    Elsewhere,
    /// Wanted, and no host has it: it waits for one.
    Waiting,
    /// It stands still: its host has no lease.
    Suspended,
}

/// What is known of a guest's controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControllerStatus {
    /// There never was one: the VM is protected, what is inside is not.
    Never,
    /// Waited for, since the VM started.
    Awaited,
    /// It speaks.
    Connected,
    /// It spoke, and is silent now.
    Silent,
    /// The VM does not run.
    Off,
    /// Only the group's owner knows, and it did not answer.
    Unknown,
}

/// A group inside a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppStatus {
    /// Its name.
    pub name: String,
    /// Whether its fault restarts the VM.
    pub counts: bool,
    /// Frozen inside the guest.
    pub frozen: bool,
    /// Its state.
    pub state: GroupState,
    /// Its resources that are not running, with what is known of them.
    pub not_running: Vec<ResourceStatus>,
}

/// A resource inside a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceStatus {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: ResourceState,
    /// What happened last, for people.
    pub detail: String,
}

/// Recoveries within the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recoveries {
    /// Reboots asked of the guest.
    pub reboot: u32,
    /// Resets.
    pub reset: u32,
    /// Starts, after it had stopped or was stopped for it.
    pub restart: u32,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Grows by one with each event of this host; never used twice.
    pub seq: u64,
    /// When, in milliseconds of Unix time.
    pub at_ms: u64,
    /// How bad it is.
    pub level: Level,
    /// What it is.
    pub kind: EventKind,
    /// The group that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What happened, for people.
    pub text: String,
    /// The last lines of output that belong to it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
}

/// How bad an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As wanted.
    Info,
    /// Worth a look.
    Warning,
    /// Something failed.
    Error,
}

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// `roostd` started.
    DaemonStarted,
    /// `roostd` ends; VMs run on.
    DaemonStopped,
    /// The configuration was read again, or refused.
    Reloaded,
    /// libvirt answers.
    LibvirtConnected,
    /// libvirt does not answer.
    LibvirtLost,
    /// A VM runs.
    VmRunning,
    /// A VM stopped, as wanted.
    VmStopped,
    /// A VM stopped, or is of no use, and was wanted.
    VmFailed,
    /// A VM was paused, saved or shut down by somebody, and is left alone.
    VmLeftAlone,
    /// A guest's controller connected.
    ControllerConnected,
    /// A guest's controller is gone or silent.
    ControllerLost,
    /// A guest's controller broke the protocol and was cut off.
    ControllerRefused,
    /// An application in a guest changed its state.
    App,
    /// An application's controller gave up on it.
    Fault,
    /// A rung of the ladder: what is done to recover.
    Recovery,
    /// What was done to recover did not work.
    RecoveryFailed,
    /// All rungs are spent.
    GivenUp,
    /// The group is well again.
    Recovered,
    /// An operator's order.
    Operator,
    /// Something that endangers a group.
    Danger,
    /// Events, or something else, could not be stored.
    Storage,
    /// A host was taken into the cluster.
    HostAdmitted,
    /// A host is not taken into the cluster.
    HostRefused,
    /// A host is silent, or was evicted.
    HostLost,
    /// An evicted host is known to run nothing.
    HostFenced,
    /// An evicted host may still run its groups: they are not started elsewhere.
    HostBlocked,
    /// A host left the cluster in order.
    HostLeft,
    /// What a host may be used for was changed.
    HostMode,
    /// Starts keep failing on a host.
    HostQuarantined,
    /// What fence agents said.
    Fencing,
    /// A host has another leader, or none.
    Leader,
    /// This host's lease ran out, or it has one again.
    Lease,
    /// A group was given to a host.
    Assigned,
    /// A group's owner is to give it back.
    Recalled,
    /// A group that is wanted is given to nobody.
    Blocked,
    /// A VM runs where it has no right.
    Stray,
    /// Something about the watchdog device.
    Watchdog,
    /// Datagrams were refused.
    Datagrams,
    /// A group is being moved on purpose.
    MoveBegun,
    /// A group was moved on purpose.
    Moved,
    /// A move ended otherwise than it should.
    MoveFailed,
    /// Something about hooks. No hook is told of it.
    Hook,
}
