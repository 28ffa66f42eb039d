//! The controller's configuration, `/etc/roost/guest.toml`: read, checked whole, or refused with line and remedy.
//!
//! Nothing here looks at the machine: whether a program, an agent or a user exists is the shell's business.

mod fields;
mod fingerprint;
mod kind;
pub mod order;
mod read;
mod timing;

use core::fmt;
use core::time::Duration;
use roost_proto::retry::Backoff;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The largest file that is read, in bytes; the largest sensible configuration is a tenth of it.
pub const MAX_FILE: usize = 256 * 1024;
/// Bytes of any one text in the file, at most; a path of the system's own limit fits.
pub const MAX_TEXT: usize = 4095;
/// Words of a command, at most.
pub const MAX_ARGUMENTS: usize = 256;
/// Variables of a process, or parameters of an agent, at most.
pub const MAX_VARIABLES: usize = 128;
/// Bytes of a Unix socket's path, at most; the system's own limit, without the final zero.
pub const MAX_SOCKET_PATH: usize = 107;
/// Mistakes that are told at once, at most: a person mends a few and looks again.
pub const MAX_MISTAKES: usize = 20;
/// Addresses of hosts, at most: a cluster has at most 7 that may lead, with up to four addresses each.
pub const MAX_HOSTS: usize = 28;
/// The least of every duration but an `interval` of zero. What is shorter would be over before a busy machine has
/// done anything, and `backoff` is what keeps a resource that dies at once from being started in a tight loop.
pub const MIN_TIME: Duration = Duration::from_millis(100);

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How the host is reached.
    pub link: Link,
    /// The service groups, in the order of the file.
    pub groups: Vec<Group>,
}

/// How the host is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// AF_VSOCK to CID 2.
    Vsock,
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP, to whichever host leads.
    Tcp(Tcp),
    /// Not at all: the controller works for itself.
    None,
}

/// How hosts are reached over TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Those of the cluster that may lead, in the order in which they are tried.
    pub hosts: Vec<SocketAddr>,
    /// The file with the key that is this machine's alone.
    pub key: PathBuf,
    /// What the hosts' configuration calls this machine; by default as it calls itself, up to the first dot.
    pub machine: Option<String>,
}

/// A service group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name, unique in the guest.
    pub name: String,
    /// Whole-group restarts within `window` before the group is faulted.
    pub restarts: u32,
    /// The window that `restarts` counts in.
    pub window: Duration,
    /// How it obeys its host, if that orders it online and offline; else it is kept running always.
    pub managed: Option<Managed>,
    /// Its resources, in starting order: each stands after all that it needs.
    pub resources: Vec<Resource>,
}

/// What belongs to a group that its host orders online and offline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Managed {
    /// What becomes of it when its host is not heard any more.
    pub on_lost_host: OnLostHost,
    /// Run before anything is started, after an order to go online; empty if there is nothing to run.
    pub before_online: Vec<String>,
    /// Run when everything is stopped; empty if there is nothing to run.
    pub after_offline: Vec<String>,
    /// Exits 0 when it could be brought online here; empty if it always could.
    pub ready: Vec<String>,
    /// The longest that each of these commands may take.
    pub hook_timeout: Duration,
}

/// What a managed group does when its host was not heard for as long as the host's last order allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLostHost {
    /// It goes offline: somebody else may run it.
    Stop,
    /// It goes on: whatever it works on admits one at a time, by itself.
    Keep,
}

/// The commands of a managed group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// Before it goes online.
    BeforeOnline,
    /// After it went offline.
    AfterOffline,
    /// Whether it could go online.
    Ready,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::BeforeOnline, Self::AfterOffline, Self::Ready];

    /// Its key; a fault names it so.
    pub const fn key(self) -> &'static str {
        match self {
            Self::BeforeOnline => "before_online",
            Self::AfterOffline => "after_offline",
            Self::Ready => "ready",
        }
    }
}

impl Managed {
    /// The command of `hook`; empty if there is none.
    pub fn command(&self, hook: Hook) -> &[String] {
        match hook {
            Hook::BeforeOnline => &self.before_online,
            Hook::AfterOffline => &self.after_offline,
            Hook::Ready => &self.ready,
        }
    }
}

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its name, unique in the group.
    pub name: String,
    /// What it is, with its parameters.
    pub kind: Kind,
    /// Indices (into the group's `resources`) of what must run before it; all smaller than its own.
    pub needs: Vec<usize>,
    /// Time between two monitors; zero: events only.
    pub interval: Duration,
    /// The longest one monitor may take.
    pub timeout: Duration,
    /// The longest a start may take.
    pub start_timeout: Duration,
    /// The longest a stop may take before it is forced.
    pub stop_timeout: Duration,
    /// Restarts within `window` before the group's turn.
    pub attempts: u32,
    /// The window that `attempts` counts in.
    pub window: Duration,
    /// The wait between restarts.
    pub backoff: Backoff,
}

/// What a resource is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A supervised child.
    Process(Process),
    /// A unit of the guest's systemd.
    Systemd {
        /// With its suffix, as `nginx.service`.
        unit: String,
    },
    /// An OCF 1.1 agent, `/usr/lib/ocf/resource.d/PROVIDER/TYPE`.
    Ocf {
        /// The provider, as `heartbeat`.
        provider: String,
        /// The type, as `Filesystem`.
        agent: String,
        /// Passed as `OCF_RESKEY_NAME`.
        parameters: BTreeMap<String, String>,
    },
    /// An init script, `/etc/init.d/NAME`.
    Lsb {
        /// The script's name.
        script: String,
    },
    /// Three commands.
    Exec {
        /// Starts it, and ends.
        start: Vec<String>,
        /// Stops it, and ends.
        stop: Vec<String>,
        /// Exits 0 when it runs, 7 or 3 when it is stopped.
        monitor: Vec<String>,
    },
    /// A TCP port that accepts.
    Tcp {
        /// Where.
        address: SocketAddr,
    },
    /// An HTTP/1.1 GET that is answered well.
    Http(Http),
    /// A file that changes at least each `max_age`.
    File {
        /// The file.
        path: PathBuf,
        /// The longest time without a change.
        max_age: Duration,
    },
    /// A mounted file system.
    Mount {
        /// What is mounted, as mount(8) takes it.
        source: String,
        /// Where.
        target: PathBuf,
        /// Its type; empty: mount(8) finds out.
        fstype: String,
        /// Options, as mount(8) takes them after `-o`; may be empty.
        options: String,
    },
}

/// A supervised child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The program's absolute path, and its arguments.
    pub command: Vec<String>,
    /// Its working directory; `/` by default.
    pub directory: PathBuf,
    /// The user, by name, that it runs as; root's own by default.
    pub user: Option<String>,
    /// Added to the controller's environment.
    pub environment: BTreeMap<String, String>,
    /// Where its output goes.
    pub output: Output,
    /// The signal that asks it to end.
    pub stop_signal: i32,
}

/// Where the output of a process goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To the controller, which keeps the last lines.
    Capture,
    /// Appended to a file; the last lines are read from there when they are wanted.
    File(PathBuf),
}

/// A web page to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where.
    pub address: SocketAddr,
    /// What the `Host` header says.
    pub host: String,
    /// The path and query.
    pub path: String,
    /// The only status that will do; by default any of 200 to 399.
    pub status: Option<u16>,
}

impl Kind {
    /// Whether it is a probe: it looks, and starts and stops nothing.
    pub const fn is_probe(&self) -> bool {
        matches!(self, Self::Tcp { .. } | Self::Http(_) | Self::File { .. })
    }
}

impl Group {
    /// Whether a fault can be that of `name`: one of its resources, or one of its commands.
    pub fn has(&self, name: &str) -> bool {
        let is_hook = self.managed.is_some() && Hook::ALL.iter().any(|hook| hook.key() == name);
        is_hook || self.resources.iter().any(|resource| resource.name == name)
    }
}

impl Resource {
    /// A digest of what is started, and of nothing else: timings, and how it is watched or stopped, may change while it
    /// runs. A reload, or a controller of another version, restarts what has another digest than it was started with.
    pub fn fingerprint(&self) -> u64 {
        fingerprint::of(&self.kind)
    }
}

/// A table of the file, or a kind of resource, with every key that it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// As it stands in the file; for a kind, its first word.
    pub header: &'static str,
    /// The keys.
    pub keys: &'static [&'static str],
}

/// Every table and key there is. What is not here is refused, and what is here is in roost-guest.toml(5).
pub const KEYS: [Section; 4 + KINDS.len()] = [
    FILE, CONTROLLER, GROUP, RESOURCE, KINDS[0], KINDS[1], KINDS[2], KINDS[3], KINDS[4], KINDS[5], KINDS[6],
    KINDS[7], KINDS[8],
];

const FILE: Section = Section { header: "", keys: &["controller", "group"] };
const CONTROLLER: Section = Section { header: "[controller]", keys: &["link", "hosts", "key", "machine"] };
const GROUP: Section = Section {
    header: "[[group]]",
    keys: &[
        "name",
        "restarts",
        "window",
        "managed",
        "on_lost_host",
        "before_online",
        "after_offline",
        "ready",
        "hook_timeout",
        "resource",
    ],
};
const RESOURCE: Section = Section {
    header: "[[group.resource]]",
    keys: &[
        "name",
        "kind",
        "needs",
        "interval",
        "timeout",
        "start_timeout",
        "stop_timeout",
        "attempts",
        "window",
        "backoff",
        "backoff_max",
    ],
};

/// The kinds of resources, by the first word of `kind`, with the keys that each has besides those of all.
pub const KINDS: [Section; 9] = [
    Section {
        header: "process",
        keys: &["command", "directory", "user", "environment", "output", "stop_signal"],
    },
    Section { header: "systemd", keys: &[] },
    Section { header: "ocf", keys: &["parameters"] },
    Section { header: "lsb", keys: &[] },
    Section { header: "exec", keys: &["start", "stop", "monitor"] },
    Section { header: "tcp", keys: &["address"] },
    Section { header: "http", keys: &["url", "status"] },
    Section { header: "file", keys: &["path", "max_age"] },
    Section { header: "mount", keys: &["source", "target", "fstype", "options"] },
];

/// Reads a configuration. At most one mistake of each table is told, and every unknown key. Never panics, whatever
/// `text` holds.
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    read::read(text)
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
