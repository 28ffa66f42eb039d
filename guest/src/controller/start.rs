//! Beginning: the process is readied, the configuration read, and what runs is taken over.

use super::ending::drain_note;
use super::reload::ids;
use super::unit::Unit;
use super::{Controller, Role};
use crate::child::{Child, signal_group};
use crate::clock;
use crate::config::{Config, Kind, Link, Output};
use crate::control::Control;
use crate::load::load;
use crate::log::{Level, Log};
use crate::notify;
use crate::process::Capture;
use crate::reactor::{Interest, Reactor};
use crate::spawn::{Origin, read_note, reason};
use crate::state::StateFile;
use crate::subcluster::{ResourceId, SubCluster};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use roost_proto::exit::Exit;
use roost_proto::link::{Hello, LINK_VERSIONS, MAGIC};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name and version, as the host is told.
pub(crate) const SOFTWARE: &str = concat!("roost-guest ", env!("CARGO_PKG_VERSION"));

/// Why there is no controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    /// What went wrong, and what to do.
    pub text: String,
}

fn system(what: &str) -> impl Fn(&io::Error) -> Failure {
    move |error| Failure { exit: Exit::System, text: format!("{what}: {}", reason(error)) }
}

impl Controller {
    /// A controller for the configuration at `config_path`, with its runtime state in `run_dir`.
    pub fn start(config_path: PathBuf, run_dir: PathBuf, log: Log) -> Result<Self, Failure> {
        let role = if std::process::id() == 1 { Role::Init } else { Role::Service };
        if role == Role::Init {
            crate::init::prepare(log);
        }
        let origin =
            Origin::prepare().map_err(|e| system("cannot ready this process (Linux 5.11 is needed)")(&e))?;
        let config = configuration(&config_path, role, log)?;
        let lock = occupy(&run_dir)?;
        let signals = signals(role).map_err(|e| system("cannot receive signals")(&e.into()))?;
        let mut reactor = Reactor::new().map_err(|e| system("cannot make an epoll")(&e))?;
        let copy = signals.as_fd().try_clone_to_owned().map_err(|e| system("cannot receive signals")(&e))?;
        let signals_key =
            reactor.watch(copy, Interest::EPOLLIN).map_err(|e| system("cannot receive signals")(&e))?;
        let state = StateFile::open(&run_dir, origin.boot_id(), log);
        let now = clock::now();
        let seed = now.as_nanos() ^ u64::from_le_bytes(*origin.boot_id().first_chunk().expect("16 bytes"));
        let machine = SubCluster::new(config.clone(), state.runtime(), seed, now);
        let hello = Hello {
            magic: MAGIC,
            versions: LINK_VERSIONS,
            software: SOFTWARE.to_owned(),
            boot_id: origin.boot_id(),
            starts: state.runtime().starts,
        };
        let mut controller = Self {
            log,
            role,
            origin,
            config_path,
            run_dir,
            _lock: lock,
            reactor,
            signals,
            signals_key,
            mounts: None,
            config,
            next: None,
            machine,
            units: BTreeMap::new(),
            jobs: Vec::new(),
            dying: Vec::new(),
            state,
            hello,
            wire: None,
            control: None,
            seed,
            ending: None,
            now,
        };
        controller.take_over();
        notify::tell(notify::State::Ready);
        Ok(controller)
    }

    /// Takes over what runs, and opens what others speak to.
    fn take_over(&mut self) {
        if let Some(drain) = read_note(&drain_note(&self.run_dir), self.origin.boot_id()) {
            let _ = signal_group(drain.pid, libc::SIGKILL); // we read now
        }
        for id in ids(&self.config) {
            let unit = self.unit_before(id);
            self.units.insert(id, unit);
        }
        let path = self.run_dir.join("control.sock");
        self.control = match Control::open(&mut self.reactor, &path) {
            Ok(control) => Some(control),
            Err(error) => self.without_control(&error),
        };
        self.wire = self.new_wire();
        self.watch_mounts();
        self.prepare_for_agents();
    }

    /// What a controller before this one has left of a resource.
    fn unit_before(&mut self, id: ResourceId) -> Unit {
        let config = self.config.clone();
        let group = &config.groups[id.group];
        let resource = &group.resources[id.resource];
        let before = read_note(&self.note_path(id), self.origin.boot_id())
            .or_else(|| self.state.process(&group.name, &resource.name));
        let mut unit = Unit::default();
        let Some(before) = before else { return unit };
        match &resource.kind {
            Kind::Process(process) => {
                unit.child = Child::adopted(&mut self.reactor, before);
                if process.output == Output::Capture && unit.child.is_some() {
                    let pipe = self.pipe_path(id);
                    unit.capture = Capture::open(&mut self.reactor, &pipe).ok();
                }
                if unit.child.is_some() {
                    let label = self.label(id);
                    self.log.line(
                        Level::Info,
                        format_args!("{label}: process {} runs, and is adopted", before.pid),
                    );
                }
            }
            _ => unit.predecessor = Some(before),
        }
        unit
    }
}

/// The configuration; process 1 must not end, and goes on without one.
fn configuration(path: &Path, role: Role, log: Log) -> Result<Arc<Config>, Failure> {
    match (load(path), role) {
        (Ok(config), _) => Ok(Arc::new(config)),
        (Err(error), Role::Service) => Err(Failure { exit: Exit::Configuration, text: error.to_string() }),
        (Err(error), Role::Init) => {
            log.line(
                Level::Error,
                format_args!("{error}; nothing is kept running until SIGHUP finds a better one"),
            );
            Ok(Arc::new(Config { link: Link::None, groups: Vec::new() }))
        }
    }
}

/// Makes the run directory this controller's.
fn occupy(run_dir: &Path) -> Result<File, Failure> {
    let place = run_dir.display();
    let failed = |error: &io::Error| system(&format!("cannot use the run directory '{place}'"))(error);
    DirBuilder::new().recursive(true).mode(0o700).create(run_dir).map_err(|e| failed(&e))?;
    fs::set_permissions(run_dir, Permissions::from_mode(0o700)).map_err(|e| failed(&e))?;
    let lock = File::open(run_dir).map_err(|e| failed(&e))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Failure {
            exit: Exit::TryAgain,
            text: format!("another controller uses '{place}': end that one first, or name another directory"),
        }),
        Err(TryLockError::Error(error)) => Err(failed(&error)),
    }
}

fn signals(role: Role) -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        set.add(signal);
    }
    if role == Role::Init {
        for signal in [Signal::SIGCHLD, Signal::SIGUSR1, Signal::SIGUSR2] {
            set.add(signal);
        }
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}
