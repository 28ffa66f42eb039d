//! One simulated machine: its power, its daemon, its libvirt and its VMs.

use super::clock::{Clock, Time};
use super::disk::Disk;
use super::event::Event;
use super::question::Open;
use roost::config::Config;
use roost::engine::Engine;
use roost::engine::fence::FenceTicket;
use roost::engine::keeper::vm::{Off, Order, Run};
use roost::engine::raft::Write;
use roost::store::Store;
use roost_proto::cluster::{HostId, Incarnation, Need};
use roost_proto::state::Saved;
use roost_proto::time::Instant;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

/// What a usual VM needs.
pub const NEED: Need = Need { memory_mib: 1024, cpus: 1 };

/// A daemon that runs.
#[derive(Debug)]
pub struct Daemon {
    pub engine: Engine,
    pub incarnation: Incarnation,
    pub store: Store<Disk>,
    /// Writes that are not durable yet, in order; the first is under way.
    pub writes: VecDeque<Write>,
    pub disk_told: bool,
    /// What is being written of its groups; a daemon that dies has written it, or has not.
    pub storing: Option<Saved>,
    /// When its timer fires.
    pub timer: Option<Time>,
    /// Whether it was told that libvirt answers.
    pub connected: bool,
    /// The newest life of each other host that it accepted a datagram of.
    pub heard: BTreeMap<usize, u32>,
    pub room: Option<u32>,
    /// The VMs that it was shown since libvirt answers.
    pub shown: BTreeSet<String>,
}

/// How libvirt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Libvirt {
    Up,
    /// It takes calls and answers none.
    Hung,
    /// It is not there.
    Down,
}

/// How a host's fence agent behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent {
    Works,
    /// It says nothing, and does nothing.
    Fails,
    /// It takes so many seconds.
    Slow(u64),
    /// It does it, and says so only so many seconds later.
    Late(u64),
}

/// What a guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    Booting,
    Well,
    Faulted,
    Hung,
}

/// What a VM is like on one host, whatever becomes of it.
#[derive(Clone, Copy, Debug)]
pub struct Nature {
    pub need: Need,
    /// Its guest hears no request to shut down.
    pub deaf: bool,
    /// It crashes some seconds after each start.
    pub fragile: bool,
    /// Its applications fail whenever it comes up here.
    pub faulty: bool,
    /// Its memory cannot go anywhere.
    pub unmovable: bool,
}

/// A VM's copy on one host.
#[derive(Clone, Debug)]
pub struct Domain {
    pub run: Run,
    /// libvirt's number of its life.
    pub life: u32,
    pub guest: Guest,
    /// Counts its boots, so that what belongs to an earlier one is passed over.
    pub boot: u32,
    /// Its controller is connected to this life of the daemon.
    pub link: Option<u64>,
    /// vCPU time while the guest was not hung, in nanoseconds.
    pub progress: u64,
    /// So many starts fail here.
    pub bad_starts: u32,
    /// It cannot be stopped.
    pub stuck: bool,
    /// Somebody started it past Roost, which is not Roost's doing.
    pub by_hand: bool,
    /// The migration or saving that it is in.
    pub job: Option<u64>,
    /// How new its memory is: as its VM's disk was when this copy ran last.
    pub age: u64,
    /// Which boot of its guest's kernel it is, wherever that is.
    pub kernel: u64,
    /// The file that its memory came from, if it has not run since.
    pub file: Option<(u64, PathBuf)>,
    pub nature: Nature,
}

impl Domain {
    pub const fn new() -> Self {
        Self {
            run: Run::Off(Off::Unknown),
            life: 0,
            guest: Guest::Booting,
            boot: 0,
            link: None,
            progress: 0,
            bad_starts: 0,
            stuck: false,
            by_hand: false,
            job: None,
            age: 0,
            kernel: 0,
            file: None,
            nature: Nature { need: NEED, deaf: false, fragile: false, faulty: false, unmovable: false },
        }
    }

    /// Whether its vCPUs run, if its host does.
    pub const fn lives(&self) -> bool {
        match self.run {
            Run::Undefined | Run::Off(_) | Run::Paused(_) => false,
            Run::Running | Run::ShuttingDown | Run::Asleep | Run::Crashed => true,
        }
    }
}

/// A machine.
#[derive(Debug)]
pub struct Host {
    pub name: String,
    /// Its configuration file.
    pub file: Arc<Config>,
    pub id: HostId,
    /// It is a hypervisor.
    pub has_libvirt: bool,
    pub has_watchdog: bool,
    /// It runs no daemon, and the leader speaks with its controller.
    pub is_watched: bool,
    /// The machine is itself a VM: its watchdog stands still when it does.
    pub is_virtual: bool,
    pub powered: bool,
    /// Counts its boots; names each.
    pub boot: u64,
    pub clock: Clock,
    pub drift: i64,
    /// The whole machine stands still.
    pub frozen: bool,
    /// The daemon alone stands still.
    pub stopped: bool,
    /// Counts starts and ends of the daemon; what belongs to an earlier one is passed over.
    pub life: u64,
    pub start: u32,
    pub daemon: Option<Daemon>,
    /// Power does not bring it back.
    pub broken: bool,
    /// It is not started again by itself.
    pub kept_down: bool,
    /// What came while it stood still.
    pub held: VecDeque<Event>,
    /// What operators asked here and were not answered yet.
    pub open: BTreeMap<u64, Open>,
    pub disk: Disk,
    pub saved: Saved,
    /// What the daemon left in its run folder: the boot, and until when its lease ran.
    pub lease: Option<(u64, Instant)>,
    /// When the watchdog was fed last, if it is armed.
    pub fed: Option<Time>,
    /// The watchdog was put away: whoever feeds it feeds nothing.
    pub put_away: bool,
    pub libvirt: Libvirt,
    /// Orders that a hung libvirt has taken.
    pub parked: Vec<(u64, Order)>,
    pub agent: Agent,
    /// Orders to fence agents that a life of its daemon has withdrawn.
    pub withdrawn: BTreeSet<(u64, FenceTicket)>,
    pub domains: BTreeMap<String, Domain>,
    /// Memory, in MiB.
    pub memory: u32,
    pub cpus: u16,
}

impl Host {
    /// Whether anything of it does anything.
    pub const fn is_awake(&self) -> bool {
        self.powered && !self.frozen
    }

    /// Whether a VM's vCPUs run here.
    pub fn runs(&self, vm: &str) -> bool {
        self.is_awake() && self.domains.get(vm).is_some_and(Domain::lives)
    }
}
