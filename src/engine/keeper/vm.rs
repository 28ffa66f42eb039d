//! What libvirt says about a VM, and what can be asked of libvirt: the words between the engine and the libvirt driver.

use core::fmt;
use core::time::Duration;
use roost_proto::cluster::{Need, Room};
use std::path::PathBuf;

/// A domain as libvirt shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainView {
    /// What it is doing.
    pub run: Run,
    /// libvirt's number for this life of the domain; another number is another life.
    pub life: Option<u32>,
    /// libvirt starts it by itself when the host boots: a danger for a protected VM.
    pub autostart: bool,
    /// How far it came; tells a hang from a quiet guest.
    pub progress: Progress,
    /// The job that libvirt has under way for it.
    pub job: Job,
    /// Its vsock CID, from the live domain.
    pub cid: Option<u32>,
    /// What it needs of its host.
    pub need: Option<Need>,
}

/// What a domain is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// libvirt does not know the domain.
    Undefined,
    /// Defined and not running.
    Off(Off),
    /// Running.
    Running,
    /// On its way down.
    ShuttingDown,
    /// Its vCPUs stand still.
    Paused(Paused),
    /// The guest suspended itself (ACPI S3).
    Asleep,
    /// The guest's kernel panicked, and the domain is kept as it was.
    Crashed,
}

impl Run {
    /// Whether a person, the guest or libvirt itself wants it to stand still, so that nobody else should touch it.
    pub const fn is_left_alone(self) -> bool {
        match self {
            Self::Asleep => true,
            Self::Paused(why) => {
                matches!(why, Paused::Unknown | Paused::User | Paused::Busy | Paused::Starting)
            }
            Self::Undefined | Self::Off(_) | Self::Running | Self::ShuttingDown | Self::Crashed => false,
        }
    }
}

/// Why a domain is not running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// libvirt does not say; as after a boot of the host.
    Unknown,
    /// The guest shut down, by itself or because it was asked to.
    Shutdown,
    /// Somebody pulled its plug.
    Destroyed,
    /// The guest crashed.
    Crashed,
    /// QEMU ended or could not start.
    Failed,
    /// It lives on another host now.
    Migrated,
    /// Its memory was saved, to be restored.
    Saved,
    /// A snapshot of a stopped domain was restored.
    Snapshot,
}

/// Why a domain is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paused {
    /// libvirt does not say.
    Unknown,
    /// Somebody paused it.
    User,
    /// It is being migrated, saved, dumped, or put into a snapshot.
    Busy,
    /// A disk failed.
    IoError,
    /// Its watchdog fired.
    Watchdog,
    /// The guest's kernel panicked.
    Crashed,
    /// It is about to start.
    Starting,
}

/// How far a VM came. Counters since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// vCPU time, nanoseconds.
    pub cpu_ns: u64,
    /// Disk requests.
    pub disk_requests: u64,
}

/// What libvirt is doing with a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Nothing.
    None,
    /// Migrating it.
    Migration,
    /// Saving or restoring its memory.
    Save,
    /// Dumping its core, or taking a snapshot.
    Other,
}

/// What happened to a domain, which its state later may not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It was started or resumed from a saved state.
    Started,
    /// It stopped.
    Stopped(Off),
    /// The guest rebooted.
    Rebooted,
    /// The guest's kernel panicked.
    Panicked,
    /// Its watchdog fired.
    Watchdog,
    /// A disk failed.
    IoError,
    /// Its vCPUs were stopped.
    Paused(Paused),
    /// Its vCPUs go on.
    Resumed,
}

/// What the libvirt driver tells the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LibvirtInput {
    /// libvirt answers. A view of every watched domain follows.
    Connected,
    /// libvirt does not answer; nothing is known about any domain until `Connected`.
    Lost {
        /// Why.
        reason: String,
    },
    /// A domain as it is now.
    Domain {
        /// Its name.
        name: String,
        /// How it is.
        view: DomainView,
        /// What happened, if an event brought this.
        happened: Option<Happened>,
    },
    /// What the host has room for.
    Room(Room),
    /// An action that was answered as timed out has ended after all: it does nothing any more.
    Ended {
        /// Which.
        ticket: Ticket,
    },
    /// An action ended.
    Done {
        /// Which.
        ticket: Ticket,
        /// How.
        result: Result<(), ActionError>,
    },
    /// How far a migration or saving came.
    Progress {
        /// Which.
        ticket: Ticket,
        /// Memory moved so far, of what is to be moved, in per cent: at most 99.
        percent: u8,
    },
    /// A migration is over, and the VM stood still for so long, by libvirt's count.
    Downtime {
        /// Which.
        ticket: Ticket,
        /// How long.
        time: Duration,
    },
}

/// What tells one action from another; never used twice in one life of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What can be asked of libvirt. Each action is answered once, within its limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The name of this order.
    pub ticket: Ticket,
    /// The domain.
    pub domain: String,
    /// What to do.
    pub action: VmAction,
    /// The longest it may take.
    pub limit: Duration,
}

/// What can be done with a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmAction {
    /// Define it from this file; its `<name>` must be the domain's.
    Define {
        /// The file.
        xml: PathBuf,
    },
    /// Start it.
    Start,
    /// Ask the guest to reboot.
    Reboot,
    /// Push the reset button.
    Reset,
    /// Ask the guest to shut down.
    Shutdown,
    /// Pull the plug.
    Destroy,
    /// Stop its vCPUs, and let its disks come to rest.
    Suspend,
    /// Let its vCPUs go on.
    Resume,
    /// Kill its process, without libvirt.
    Kill,
    /// Move it, running, to the libvirt at this address. It is left paused there: who may run it there lets it go on. Here it is
    /// off as migrated once this is done.
    Migrate {
        /// The other libvirt, as this host's libvirt reaches it.
        to: String,
    },
    /// Write its memory to this file and stop it. The disks are at rest then.
    Save {
        /// The file, on storage that the other host sees too.
        file: PathBuf,
    },
    /// Take its memory from this file; it is left paused, and the file stays.
    Restore {
        /// The file.
        file: PathBuf,
    },
    /// End the migration or saving that is under way: it runs on here.
    Abort,
    /// Take away a file of saved memory: what is paused from it may go on only after this.
    Forget {
        /// The file.
        file: PathBuf,
    },
    /// Keep a picture of its console, in the image format that QEMU gives.
    Screenshot {
        /// Where to.
        file: PathBuf,
    },
}

/// Why an action did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionError {
    /// It took longer than its limit. It may still happen.
    TimedOut,
    /// libvirt does not answer; nothing was done, as far as is known.
    NotConnected,
    /// Too much is under way; nothing was done.
    Busy,
    /// The domain is already as wanted.
    AlreadySo,
    /// There is no such domain.
    NoDomain,
    /// libvirt's own words, or the system's.
    Failed(String),
}

impl fmt::Display for ActionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => write!(f, "libvirt did not finish in time"),
            Self::NotConnected => write!(f, "libvirt does not answer"),
            Self::Busy => write!(f, "too many libvirt calls are under way"),
            Self::AlreadySo => write!(f, "nothing to do"),
            Self::NoDomain => {
                write!(f, "libvirt knows no such domain; define it, or name its file with 'xml'")
            }
            Self::Failed(words) => write!(f, "{words}"),
        }
    }
}

impl core::error::Error for ActionError {}
