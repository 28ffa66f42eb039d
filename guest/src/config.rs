//! The controller's configuration, `/etc/roost/guest.toml`: read, checked whole, or refused with line and remedy.

use core::time::Duration;
use roost_proto::retry::Backoff;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

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
    /// Not at all: the controller works for itself.
    None,
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
    /// Its resources, in starting order: each stands after all that it needs.
    pub resources: Vec<Resource>,
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
