//! The host's configuration, `/etc/roost/roost.toml`: read, checked whole, or refused with the line and what to write
//! instead. The same file serves every host of a cluster.
//!
//! Nothing here looks at the machine but for that one file: whether another that is named exists, or a domain, is the
//! daemon's business.

mod address;
mod advice;
mod app;
mod canon;
mod check;
mod cluster;
mod company;
mod compare;
mod fields;
mod host;
mod load;
mod read;
mod timing;

pub use load::{LoadError, load};

use core::fmt;
use core::time::Duration;
use roost_proto::cluster::HostId;
use roost_proto::control::MoveMethod;
use roost_proto::retry::Backoff;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// The largest file that is read, in bytes: room for all the hosts and groups that there may be, at 390 bytes each.
pub const MAX_FILE: usize = 8 * 1024 * 1024;
/// Hosts in one cluster, at most: as many as the growth of the cluster is measured to.
pub const MAX_HOSTS: usize = 1024;
/// Groups in one cluster, at most: 20 for each host.
pub const MAX_GROUPS: usize = 20 * MAX_HOSTS;
/// Hosts that vote, at most: a decision waits for more than half of them, and each further one makes it slower.
pub const MAX_VOTERS: usize = 7;
/// Addresses of one host, at most: every beat goes out on each.
pub const MAX_ADDRESSES: usize = 4;
/// Files with keys, at most: two are needed while a key is rolled, and a datagram that none opens costs one try each.
pub const MAX_KEYS: usize = 4;
/// Where the cluster's key is looked for when there is more than one host and the file does not say.
pub const KEY_FILE: &str = "/etc/roost/key";
/// Fence agents of one host, at most: eight levels of two power supplies each.
pub const MAX_FENCE_AGENTS: usize = 16;
/// The highest fencing level.
pub const MAX_FENCE_LEVEL: u32 = 8;
/// Options of one fence agent, at most; the largest agents know some fifty.
pub const MAX_FENCE_OPTIONS: usize = 64;
/// Bytes of a fence agent's name, of an option's name and of its value, at most; agents read lines.
pub const MAX_FENCE_TEXT: usize = 1024;
/// The longest `delay` and `timeout` of a fence agent: until it has answered, nothing starts elsewhere.
pub const MAX_FENCE_TIME: Duration = Duration::from_secs(600);
/// Further tries of a fence agent, at most: the leader comes back to a host that could not be fenced in any case.
pub const MAX_FENCE_RETRIES: u32 = 10;
/// The most memory that can be kept back from groups, in MiB: 16 TiB, more than a host has.
pub const MAX_RESERVE_MIB: u32 = 16 * 1024 * 1024;
/// The highest `starts_at_once`: more would start on one host without any limit.
pub const MAX_STARTS_AT_ONCE: u32 = 100;
/// The highest `priority`.
pub const MAX_PRIORITY: u32 = 1000;
/// Groups that one may name in each of `together`, `apart` and `needs`, at most.
pub const MAX_RELATIONS: usize = 64;
/// Bytes of a libvirt domain's name, at most: with QEMU's suffixes it must fit a file name of 255.
pub const MAX_DOMAIN: usize = 200;
/// Bytes of a connection URI, at most.
pub const MAX_URI: usize = 1024;
/// Bytes of a path in the configuration, at most; the system's own limit.
pub const MAX_PATH: usize = 4095;
/// Bytes of a Unix socket's path, at most; the system's own limit, without the final zero.
pub const MAX_SOCKET_PATH: usize = 107;
/// Mistakes that are told at once, at most: a person mends a few and looks again.
pub const MAX_MISTAKES: usize = 20;
/// The least `silence`: two beats and their way. A guest that speaks once a second would else be judged by one lost
/// wakeup.
pub const MIN_SILENCE: Duration = Duration::from_secs(2);
/// The least `silence` of a host that is watched: after another host has begun to lead, its controller has to find that one.
pub const MIN_WATCHED_SILENCE: Duration = Duration::from_secs(5);
/// The longest `move_timeout`: the memory of the largest VMs takes hours on slow networks.
pub const MAX_MOVE_TIME: Duration = Duration::from_secs(24 * 3600);
/// The least of the other waits that end in action: shorter ones would be over before libvirt has answered.
pub const MIN_WAIT: Duration = Duration::from_millis(100);

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The cluster.
    pub cluster: Cluster,
    /// The hosts, in the order of the file.
    pub hosts: Vec<Host>,
    /// The groups, in the order of the file.
    pub groups: Vec<Group>,
    /// What tells this file from another: a number that follows from its keys and values, secrets included. Comments, blanks
    /// and the order of keys do not count.
    pub number: u32,
}

impl From<&Config> for Arc<Config> {
    fn from(config: &Config) -> Self {
        Self::new(config.clone())
    }
}

/// The cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// How fast it is.
    pub timing: Timing,
    /// What a host does with its groups when a majority of voters is silent.
    pub on_quorum_loss: OnQuorumLoss,
    /// Files with the cluster's keys: the first seals, any opens.
    pub keys: Vec<PathBuf>,
    /// What is done about a protected VM that runs where it has no right.
    pub on_stray: OnStray,
    /// VMs that one host starts at the same time, at most.
    pub starts_at_once: u32,
    /// How long a host on which starts keep failing gets no new groups.
    pub quarantine: Duration,
    /// The directory, on storage that every host sees, where the memory of VMs is saved that are moved by `suspend`.
    pub save_dir: Option<PathBuf>,
    /// The file that each host writes its metrics to, if any: node_exporter's, for one, whose name ends with `.prom`.
    pub metrics_file: Option<PathBuf>,
    /// What becomes of the groups of a host that is shut down, unless the host's own table says.
    pub on_shutdown: OnShutdown,
    /// How long groups are kept for a host that was shut down and is to be back, with `on_shutdown = "stay"`. From 100 ms to
    /// 366 days.
    pub stay_for: Duration,
}

/// What becomes of the groups of a host whose machine is shut down in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnShutdown {
    /// They go elsewhere by the best method there is.
    Move,
    /// They are shut down, and start elsewhere.
    Stop,
    /// They are shut down, and kept for the host until it is back, or for `stay_for`.
    Stay,
}

/// The times of the cluster. What follows from each other is checked together, in `timing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two beats of a host. From 50 ms to 10 s; at most a quarter of `suspect_after` and of `watchdog`.
    pub beat: Duration,
    /// Without a beat for so long, a host's power is asked for. At least four of `beat`, at most `evict_after`, and two of
    /// `beat` less than `lease`.
    pub suspect_after: Duration,
    /// Without a beat for so long, a host is evicted even if its power seems on. From `suspect_after` to 10 min.
    pub evict_after: Duration,
    /// How long a host may run its groups after a majority of voters answered it. From `suspect_after` and two of `beat`
    /// to 60 s.
    pub lease: Duration,
    /// After how long without food the watchdog resets the machine. Whole seconds, from 2 to 300, and at least four of
    /// `beat`.
    pub watchdog: Duration,
}

impl Timing {
    /// The default: a host is lost after 1.5 to 3 s.
    pub const DEFAULT: Self = Self {
        beat: Duration::from_millis(250),
        suspect_after: Duration::from_millis(1500),
        evict_after: Duration::from_secs(3),
        lease: Duration::from_secs(3),
        watchdog: Duration::from_secs(5),
    };

    /// For networks that never pause: a host is lost after 0.5 to 1 s.
    pub const FAST: Self = Self {
        beat: Duration::from_millis(100),
        suspect_after: Duration::from_millis(500),
        evict_after: Duration::from_secs(1),
        lease: Duration::from_secs(1),
        watchdog: Duration::from_secs(5),
    };
}

/// What a host does with its groups when its lease runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnQuorumLoss {
    /// Pauses their VMs, and resumes them when it has its lease again.
    Pause,
    /// Pulls their plugs.
    Stop,
    /// Runs on. Only fence agents can then tell that an evicted host runs nothing.
    Keep,
}

/// What is done about a protected VM that runs where it has no right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStray {
    /// It is told.
    Report,
    /// Its plug is pulled.
    Stop,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name; as a rule the machine's host name.
    pub name: String,
    /// libvirt's connection URI.
    pub libvirt: String,
    /// Where it is reached: each on a network of its own, if there are several. Empty only in a cluster of one.
    pub addresses: Vec<SocketAddr>,
    /// What it is for.
    pub role: Role,
    /// Whether it votes.
    pub votes: bool,
    /// Its watchdog device, if it has one.
    pub watchdog: Option<PathBuf>,
    /// Whether the watchdog proves something although the machine is itself a VM. Without effect on one that is none.
    pub trust_watchdog: bool,
    /// How it is fenced: levels, of which the next is tried when one failed.
    pub fence: Vec<FenceLevel>,
    /// Memory, in MiB, that groups leave to the host itself.
    pub reserve_mib: u32,
    /// The URI by which the libvirt of another host reaches this one's.
    pub libvirt_remote: String,
    /// What becomes of its groups when it is shut down.
    pub on_shutdown: OnShutdown,
    /// The file with the key that its roost-guest and the cluster know each other by, if it is watched.
    pub key: Option<PathBuf>,
    /// How long its roost-guest may say nothing before it is evicted, if it is watched. At least [`MIN_WATCHED_SILENCE`].
    pub silence: Duration,
}

/// What a host is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It runs VMs.
    Hypervisor,
    /// It runs applications on the machine itself, and no VM.
    Application,
    /// It votes, and runs nothing.
    Witness,
    /// It runs applications and no roostd: the leader watches its roost-guest over TCP.
    Watched,
}

/// Agents that must all succeed, as for a machine with two power supplies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceLevel {
    /// At least one.
    pub agents: Vec<FenceAgent>,
}

/// One fence agent and what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceAgent {
    /// Its name under `/usr/sbin`, as in `fence_ipmilan`.
    pub agent: String,
    /// What it gets on its standard input beside `action`, line by line.
    pub options: BTreeMap<String, String>,
    /// The wait before it is asked to switch off: of two hosts that fence each other, the one with the longer delay lives.
    pub delay: Duration,
    /// The longest that one run of it may take.
    pub timeout: Duration,
    /// Further tries after one that failed.
    pub retries: u32,
}

/// A group: a VM, and what counts in it; or an application, which a `roost-guest` runs on the machine or inside a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The application, if the group is one: then what is about a VM means nothing.
    pub app: Option<App>,
    /// The libvirt domain; empty for an application.
    pub vm: String,
    /// What the domain is defined from when libvirt does not know it.
    pub xml: Option<PathBuf>,
    /// When the VM is on.
    pub standby: Standby,
    /// The hosts that may run it, or give an application's orders; every hypervisor when the file names none. Shared, for a thousand hosts in each of twenty
    /// thousand groups are a gigabyte of names.
    pub on: Arc<[String]>,
    /// The order of `on` is a preference: it was written. Otherwise the host with the most room is preferred.
    pub ranked: bool,
    /// The groups in the guest whose fault is the VM's.
    pub apps: Apps,
    /// How the guest's controller reaches this host.
    pub link: GuestLink,
    /// What a shutdown from inside means.
    pub on_guest_shutdown: OnGuestShutdown,
    /// How long a controller that was connected may say nothing before its silence is judged.
    pub silence: Duration,
    /// How long the controller may take to connect after the VM started.
    pub boot_grace: Duration,
    /// What is done about a controller that stays silent while its VM makes progress.
    pub on_silence: OnSilence,
    /// How long a VM that makes progress may be silent before `on_silence` applies.
    pub silence_patience: Duration,
    /// How long the guest may take to shut down when asked, before its plug is pulled.
    pub stop_timeout: Duration,
    /// The limits of the ladder.
    pub recovery: Recovery,
    /// What goes first when room is short: the greater number.
    pub priority: u32,
    /// Groups on whose host it must be.
    pub together: Vec<String>,
    /// Groups on whose host it must not be.
    pub apart: Vec<String>,
    /// Groups that must be well before it is started.
    pub needs: Vec<String>,
    /// How it may be moved on purpose, the best first.
    pub moves: Vec<MoveMethod>,
    /// How long its memory may take to go to another host before that is ended.
    pub move_timeout: Duration,
}

impl Group {
    /// A group of which nothing is known but its VM.
    pub fn bare(name: String, vm: String) -> Self {
        Self {
            name,
            app: None,
            vm,
            xml: None,
            standby: Standby::Warm,
            on: Arc::default(),
            ranked: false,
            apps: Apps::All,
            link: GuestLink::Vsock,
            on_guest_shutdown: OnGuestShutdown::Restart,
            silence: Duration::from_secs(10),
            boot_grace: Duration::from_secs(120),
            on_silence: OnSilence::Recover,
            silence_patience: Duration::from_secs(60),
            stop_timeout: Duration::from_secs(120),
            recovery: Recovery::default(),
            priority: 0,
            together: Vec::new(),
            apart: Vec::new(),
            needs: Vec::new(),
            moves: vec![MoveMethod::Live, MoveMethod::Cold],
            move_timeout: Duration::from_secs(600),
        }
    }
}

/// An application: a service group of the `roost-guest` on each of its targets, which runs on one of them at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// The service group's name there.
    pub name: String,
    /// Where it may run: home first, and then the better before the worse.
    pub targets: Vec<Target>,
    /// Whether it goes home by itself.
    pub failback: Failback,
    /// How long it may go on after its controller heard its host last. At least [`MIN_SILENCE`].
    pub lease: Duration,
}

/// Where an application may run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// On this host itself.
    Host(String),
    /// Inside the VM of this group.
    Vm(String),
}

impl Target {
    /// The host's name, or the group's.
    pub fn name(&self) -> &str {
        match self {
            Self::Host(name) | Self::Vm(name) => name,
        }
    }

    /// Its number in the ledger. No host has that of a VM, for no name holds a colon.
    pub fn id(&self) -> HostId {
        match self {
            Self::Host(name) => HostId::of(name),
            Self::Vm(group) => HostId::of_vm(group),
        }
    }
}

/// As the file writes it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => write!(f, "{name}"),
            Self::Vm(name) => write!(f, "vm:{name}"),
        }
    }
}

/// Whether an application goes home by itself, once its home can take it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failback {
    /// Only when an operator says so.
    Manual,
    /// By itself.
    Auto {
        /// When its home has been able to take it for so long.
        after: Duration,
        /// Only in these hours, by the local time of the host that leads.
        window: Option<Window>,
    },
}

/// Hours of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first and the last day on which it opens, counted from Monday, 0; the week goes round.
    days: (u16, u16),
    /// When it opens, in minutes since midnight.
    from: u16,
    /// When it closes, in minutes since midnight; of the next day if that is before it opens.
    to: u16,
}

/// When a VM is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standby {
    /// Always.
    Warm,
    /// While an application needs it.
    Cold,
}

/// The groups in a guest that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Apps {
    /// Every one.
    All,
    /// These; none at all when empty.
    Named(Vec<String>),
}

impl Apps {
    /// Whether the fault of the guest's group `app` is the VM's.
    pub fn counts(&self, app: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| name == app),
        }
    }
}

/// How a guest's controller reaches the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestLink {
    /// The host kernel's AF_VSOCK; the guest is known by the CID of the live domain.
    Vsock,
    /// Hybrid vsock: the host listens on this path with `_961` after it.
    Hybrid(PathBuf),
}

/// What it means when a VM was shut down from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnGuestShutdown {
    /// It failed.
    Restart,
    /// It is wanted down.
    Offline,
}

/// What is done about a silent controller whose VM makes progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSilence {
    /// The ladder.
    Recover,
    /// It is told, and no more.
    Report,
}

/// The limits of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Reboots asked of the guest within `window`; 0 skips the rung.
    pub reboot: u32,
    /// Resets within `window`; 0 skips the rung.
    pub reset: u32,
    /// Starts within `window`; 0 skips the rung.
    pub restart: u32,
    /// What the three count in.
    pub window: Duration,
    /// The wait before the next recovery.
    pub backoff: Backoff,
    /// How long a guest that was asked to reboot may take to do it.
    pub reboot_timeout: Duration,
    /// Other hosts that are tried within `window` when this one's rungs are spent; 0 skips the rung.
    pub hosts: u32,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            reboot: 1,
            reset: 1,
            restart: 3,
            window: Duration::from_secs(3600),
            backoff: Backoff { first: Duration::from_secs(5), max: Duration::from_secs(300) },
            reboot_timeout: Duration::from_secs(60),
            hosts: 3,
        }
    }
}

/// A table of the file, with every key that it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// As it stands in the file.
    pub header: &'static str,
    /// The keys.
    pub keys: &'static [&'static str],
}

/// Every table and key there is. What is not here is refused, and what is here is in roost.toml(5).
pub const KEYS: [Section; 6] = [FILE, CLUSTER, HOST, FENCE, GROUP, RECOVERY];

const FILE: Section = Section { header: "", keys: &["cluster", "host", "group"] };
const CLUSTER: Section = Section {
    header: "[cluster]",
    keys: &[
        "name",
        "timing",
        "beat",
        "suspect_after",
        "evict_after",
        "lease",
        "watchdog",
        "on_quorum_loss",
        "key",
        "on_stray",
        "starts_at_once",
        "quarantine",
        "save_dir",
        "metrics_file",
        "on_shutdown",
        "stay_for",
    ],
};
const HOST: Section = Section {
    header: "[[host]]",
    keys: &[
        "name",
        "libvirt",
        "address",
        "role",
        "votes",
        "watchdog",
        "trust_watchdog",
        "reserve_mib",
        "libvirt_remote",
        "on_shutdown",
        "key",
        "silence",
        "fence",
    ],
};
const FENCE: Section =
    Section { header: "[[host.fence]]", keys: &["level", "agent", "options", "delay", "timeout", "retries"] };
const GROUP: Section = Section {
    header: "[[group]]",
    keys: &[
        "name",
        "app",
        "vm",
        "standby",
        "xml",
        "on",
        "apps",
        "link",
        "on_guest_shutdown",
        "silence",
        "boot_grace",
        "on_silence",
        "silence_patience",
        "stop_timeout",
        "priority",
        "together",
        "apart",
        "needs",
        "moves",
        "move_timeout",
        "failback",
        "failback_after",
        "failback_window",
        "app_lease",
        "recovery",
    ],
};
const RECOVERY: Section = Section {
    header: "[group.recovery]",
    keys: &["reboot", "reset", "restart", "window", "backoff", "backoff_max", "reboot_timeout", "hosts"],
};

/// Reads a configuration. All mistakes of one kind are told together: those of TOML itself; if there are none, those of
/// tables, keys and values; if there are none, those between groups and hosts. Never panics, whatever `text` holds.
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    read::read(text)
}

impl Config {
    /// The host called `name`.
    pub fn host(&self, name: &str) -> Result<&Host, UnknownHost> {
        self.hosts.iter().find(|host| host.name == name).ok_or_else(|| UnknownHost {
            name: name.to_owned(),
            known: self.hosts.iter().map(|host| host.name.clone()).collect(),
        })
    }

    /// The number of the host called `name`, if the file names it. Looks through all hosts.
    pub fn host_id(&self, name: &str) -> Option<HostId> {
        self.hosts.iter().any(|host| host.name == name).then(|| HostId::of(name))
    }

    /// The host with the number `id`. Looks through all hosts.
    pub fn host_by_id(&self, id: HostId) -> Option<&Host> {
        self.hosts.iter().find(|host| HostId::of(&host.name) == id)
    }

    /// The group called `name`. Looks through all groups.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// The hosts that vote, in the order of the file; from one to [`MAX_VOTERS`].
    pub fn voters(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.votes)
    }

    /// Whether it matters what time of the week it is: an application goes home by itself at certain hours.
    pub fn has_hours(&self) -> bool {
        let hours = |app: &App| matches!(app.failback, Failback::Auto { window: Some(_), .. });
        self.groups.iter().any(|group| group.app.as_ref().is_some_and(hours))
    }

    /// What changes when `after` is read in place of this one, in words; nothing if nothing does.
    pub fn changes(&self, after: &Self) -> Vec<String> {
        compare::changes(self, after)
    }

    /// What is right, and perhaps not meant: what this cluster will not survive, or not do by itself.
    pub fn advice(&self) -> Vec<String> {
        advice::advice(self)
    }
}

/// A mistake in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// Why a configuration was refused: one mistake or more, by line, at most [`MAX_MISTAKES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    mistakes: Vec<Mistake>,
}

impl ConfigError {
    /// The mistakes, by line; at least one.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

/// One mistake a line.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, mistake) in self.mistakes.iter().enumerate() {
            write!(f, "{}{mistake}", if nth == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl core::error::Error for ConfigError {}

/// A host that the file does not name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownHost {
    name: String,
    known: Vec<String>,
}

impl fmt::Display for UnknownHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no [[host]] is called '{}'; the file names {}: add one, or start roostd with '--host NAME'",
            self.name,
            fields::some_quoted(&self.known)
        )
    }
}

impl core::error::Error for UnknownHost {}
