//! `roostd`: the reactor that turns descriptors into the engine's inputs, and its outputs into deeds.

mod ending;
mod measure;

use crate::config::{self, Config, Role};
use crate::driver::clock;
use crate::driver::control::{Asked, Control};
use crate::driver::disk::{self, Disk, Done};
use crate::driver::fencer::Fencer;
use crate::driver::guest_link::{self, GuestLinks, Peer as Controlled};
use crate::driver::hooks::{self, Hooks};
use crate::driver::ledger_disk::{self, LedgerDisk};
use crate::driver::libvirt::Libvirt;
use crate::driver::life::{Life, LifeError};
use crate::driver::machine;
use crate::driver::shutdown::{Ending, Shutdown};
use crate::driver::systemd::Systemd;
use crate::driver::udp::keys::{self, KeyError, Keys};
use crate::driver::udp::{Peer, Setup, Udp};
use crate::driver::watchdog::Watchdog;
use crate::engine::keeper::vm::LibvirtInput;
use crate::engine::keeper::{self, EventDraft, RequestId, draft};
use crate::engine::watchdog::WatchdogInput;
use crate::engine::watchdog::WatchdogOrder;
use crate::engine::{Command, Destination, Engine, Input, Output, Start};
use crate::store::{OpenError, OsFolder, Store};
use core::fmt;
use core::time::Duration;
use ending::Way;
use measure::Measure;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use roost_proto::cluster::decision::{Arms, HostMode};
use roost_proto::cluster::raft::StorageId;
use roost_proto::cluster::{GroupOrder, HostId, Incarnation};
use roost_proto::control::{Ask, Event, EventKind, Level, Refusal, Reply};
use roost_proto::key::Secret;
use roost_proto::link::WATCHED_PORT;
use roost_proto::time::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// How often libvirt is asked for every domain, behind its events.
const LIBVIRT_POLL: Duration = Duration::from_secs(2);
/// Where fence agents are.
const AGENTS: &str = "/usr/sbin";

/// What `roostd` is told on its command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// Which of its hosts this is; by default the one with the machine's name.
    pub host: Option<String>,
    /// Where state, events and screenshots are kept.
    pub state_dir: PathBuf,
    /// Where the control socket is.
    pub run_dir: PathBuf,
}

/// Why `roostd` cannot run.
#[derive(Debug)]
pub enum StartError {
    /// The configuration is not good.
    Config(String),
    /// What is kept on disk is not good.
    State(disk::StateError),
    /// The stored ledger is not good.
    Ledger {
        /// Its folder.
        dir: PathBuf,
        /// Why.
        error: OpenError,
    },
    /// A new life cannot begin.
    Life(LifeError),
    /// The system refused something.
    System {
        /// What was being done.
        what: String,
        /// Why it failed.
        error: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(words) => write!(f, "{words}"),
            Self::State(error) => write!(f, "{error}"),
            Self::Ledger { dir, error } => write!(f, "the ledger in '{}': {error}", dir.display()),
            Self::Life(error) => write!(f, "{error}"),
            Self::System { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl core::error::Error for StartError {}

/// This machine's entry in the configuration.
fn host_name(options: &Options, config: &Config) -> Result<String, String> {
    let name = match &options.host {
        Some(name) => name.clone(),
        None => nix::unistd::gethostname().map_err(|error| error.to_string())?.to_string_lossy().into_owned(),
    };
    let known = config.host(&name).or_else(|error| match name.split_once('.') {
        Some((short, _)) => config.host(short).map_err(|_| error),
        None => Err(error),
    });
    Ok(known.map_err(|error| error.to_string())?.name.clone())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
enum Source {
    Signals,
    Libvirt,
    Guests,
    Control,
    Disk,
    Ledger,
    Fencer,
    Network,
    Shutdown,
    Hooks,
    Metrics,
}

/// How many of them there are.
const SOURCES: usize = Source::Metrics as usize + 1;

/// How a daemon's run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// It gave its groups back first, or ran out of time for it.
    Left,
    /// The cluster went on without this life: the daemon is to begin anew.
    Anew,
}

/// The daemon.
pub struct Daemon {
    options: Options,
    config: Config,
    host: String,
    engine: Engine,
    /// Of a host that runs VMs.
    libvirt: Option<Libvirt>,
    guests: GuestLinks,
    control: Control,
    disk: Disk,
    ledger: LedgerDisk,
    fencer: Fencer,
    hooks: Hooks,
    watchdog: Option<Watchdog>,
    /// Other hosts, if there are any.
    network: Option<Udp>,
    /// The version that each of them knows, as the engine was told.
    known: BTreeMap<HostId, u16>,
    life: Life,
    signals: SignalFd,
    systemd: Systemd,
    shutdown: Shutdown,
    way: Way,
    epoll: Epoll,
    events: VecDeque<Event>,
    next_seq: u64,
    ended: Option<Ended>,
    next_watchdog: Option<Instant>,
    /// When the next minute begins.
    next_minute: Instant,
    measure: Measure,
}

impl Daemon {
    /// Sets everything up. Signals are blocked from here on, in every thread.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let config = config::load(&options.config).map_err(|error| StartError::Config(error.to_string()))?;
        let host = host_name(&options, &config).map_err(StartError::Config)?;
        let uri = config.hosts.iter().find(|h| h.name == host).map(|h| h.libvirt.clone()).unwrap_or_default();
        // Before any thread starts, since a thread has the mask of the one that started it.
        let mut mask = SigSet::empty();
        [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGPWR]
            .into_iter()
            .for_each(|signal| mask.add(signal));
        mask.thread_block().map_err(system("cannot block signals"))?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(system("cannot wait for signals"))?;
        let screenshots = options.state_dir.join("screenshots");
        for dir in [&options.run_dir, &options.state_dir, &screenshots] {
            std::fs::create_dir_all(dir)
                .map_err(system(format!("cannot make the folder '{}'", dir.display())))?;
        }
        let socket = options.run_dir.join("roostd.sock");
        let control =
            Control::listen(&socket).map_err(system(format!("cannot listen at '{}'", socket.display())))?;
        let saved = disk::load_state(&options.state_dir).map_err(StartError::State)?;
        let events = disk::load_events(&options.state_dir);
        let life = Life::begin(&options.state_dir, &options.run_dir).map_err(StartError::Life)?;
        let dir = options.state_dir.join("ledger");
        let folder =
            OsFolder::new(&dir).map_err(system(format!("cannot make the folder '{}'", dir.display())))?;
        let storage = clock::seed().map_err(system("cannot draw a random number"))? >> 33;
        let storage = StorageId(u32::try_from(storage).unwrap_or(0) + 1);
        let (store, stored) =
            Store::open(folder, storage).map_err(|error| StartError::Ledger { dir, error })?;
        let ledger = LedgerDisk::start(store).map_err(system("cannot start the ledger's thread"))?;
        let network = network(&config, &host, life.incarnation)?;
        let machines = machines(&config).map_err(|error| StartError::Config(error.to_string()))?;
        let fencer = Fencer::new(Path::new(AGENTS)).map_err(system("cannot set the fencer up"))?;
        let setup = hooks_setup(&options, &config, &host);
        let hooks = Hooks::start(setup, &events).map_err(system("cannot start the hooks' thread"))?;
        let seed = clock::seed().map_err(system("cannot draw a random number"))?;
        let disk = Disk::start(options.state_dir.clone()).map_err(system("cannot start the disk thread"))?;
        let start = Start {
            host: host.clone(),
            incarnation: life.incarnation,
            machine: life.machine,
            boot_id: life.boot_id.clone(),
            saved,
            stored,
            lease_until: life.lease_before,
            seed,
            screenshots,
        };
        let engine = Engine::new(&config, start, clock::now());
        // A host that is there for applications, or only votes, has none.
        let libvirt = engine.keeper().uses_libvirt().then(|| Libvirt::start(&uri, LIBVIRT_POLL));
        let libvirt = libvirt.transpose().map_err(system("cannot start the libvirt threads"))?;
        let guests = GuestLinks::new(&host).map_err(system("cannot set the guest link up"))?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(system("cannot make an epoll"))?;
        let next_seq = events.back().map_or(1, |event| event.seq + 1);
        let systemd = Systemd::from_environment();
        let shutdown = Shutdown::new().map_err(system("cannot make a descriptor"))?;
        let next_watchdog = systemd.beat().map(|_| clock::now());
        let measure = Measure::start().map_err(system("cannot start the metrics' thread"))?;
        let mut daemon = Self {
            options,
            config,
            host,
            engine,
            libvirt,
            guests,
            control,
            disk,
            ledger,
            fencer,
            hooks,
            watchdog: None,
            network,
            known: BTreeMap::new(),
            life,
            signals,
            systemd,
            shutdown,
            way: Way::Staying,
            epoll,
            events,
            next_seq,
            ended: None,
            next_watchdog,
            next_minute: clock::now(),
            measure,
        };
        daemon.listen().map_err(system("cannot watch a descriptor"))?;
        daemon.apply_config(machines);
        Ok(daemon)
    }

    fn listen(&self) -> io::Result<()> {
        let readable = |source| EpollEvent::new(EpollFlags::EPOLLIN, source as u64);
        self.epoll.add(&self.signals, readable(Source::Signals))?;
        if let Some(libvirt) = &self.libvirt {
            self.epoll.add(libvirt.fd(), readable(Source::Libvirt))?;
        }
        self.epoll.add(&self.guests.fd().0, readable(Source::Guests))?;
        self.epoll.add(&self.control.fd().0, readable(Source::Control))?;
        self.epoll.add(self.disk.fd(), readable(Source::Disk))?;
        self.epoll.add(self.ledger.fd(), readable(Source::Ledger))?;
        self.epoll.add(self.fencer.fd(), readable(Source::Fencer))?;
        self.epoll.add(self.shutdown.fd(), readable(Source::Shutdown))?;
        self.epoll.add(self.hooks.fd(), readable(Source::Hooks))?;
        self.epoll.add(self.measure.fd(), readable(Source::Metrics))?;
        if let Some(network) = &self.network {
            self.epoll.add(network.fd(), readable(Source::Network))?;
        }
        Ok(())
    }

    /// Runs until a signal ends it, or the cluster went on without it. VMs run on.
    pub fn run(mut self) -> io::Result<Ended> {
        self.record(draft(
            Level::Info,
            EventKind::DaemonStarted,
            None,
            format!(
                "roostd {} watches {} groups on '{}'",
                env!("CARGO_PKG_VERSION"),
                self.config.groups.len(),
                self.host
            ),
        ));
        self.open_watchdog();
        self.systemd.say("READY=1");
        self.drain();
        let ended = loop {
            if let Some(ended) = self.ended {
                break ended;
            }
            self.wait()?;
            self.drain();
        };
        let text = match ended {
            Ended::Left if self.config.hosts.len() > 1 => "roostd ends; this host gave its groups back",
            Ended::Stopped | Ended::Left => "roostd ends; VMs run on, and are not watched",
            Ended::Anew => "roostd begins anew: the cluster went on without it",
        };
        if ended != Ended::Anew {
            self.systemd.say("STOPPING=1");
            self.put_watchdog_away();
        }
        self.hooks.stop(); // the next life tells them of the end
        self.record(draft(Level::Info, EventKind::DaemonStopped, None, text.to_owned()));
        self.disk.finish();
        Ok(ended)
    }

    fn wait(&mut self) -> io::Result<()> {
        let now = clock::now();
        let asking = self.way.deadline();
        let metrics = self.config.cluster.metrics_file.as_ref().map(|_| self.measure.next());
        let next = [
            self.engine.poll_timeout(),
            Some(self.guests.poll_timeout()),
            self.next_watchdog,
            Some(self.next_minute).filter(|_| self.config.has_hours()),
            asking,
            metrics,
        ];
        let until = next.into_iter().flatten().min().map_or(Duration::from_secs(1), |at| at.since(now));
        let millis = u16::try_from(until.as_nanos().div_ceil(1_000_000)).unwrap_or(u16::MAX);
        let mut ready = [EpollEvent::empty(); SOURCES];
        let count = match self.epoll.wait(&mut ready, EpollTimeout::from(millis)) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in &ready[..count] {
            self.serve(event.data());
        }
        self.tick(clock::now());
        Ok(())
    }

    fn serve(&mut self, source: u64) {
        let now = clock::now();
        if source == Source::Signals as u64 {
            self.take_signals();
        } else if source == Source::Libvirt as u64 {
            while let Some(input) = self.libvirt.as_mut().and_then(Libvirt::poll) {
                if let LibvirtInput::Done { result, .. } = &input {
                    self.measure.meter.ordered(result);
                }
                self.engine.handle(now, Input::Libvirt(input));
                self.drain();
            }
        } else if source == Source::Guests as u64 {
            self.guests.handle(now);
        } else if source == Source::Control as u64 {
            for asked in self.control.handle(now) {
                self.asked(asked, now);
            }
        } else if source == Source::Disk as u64 {
            while let Some(done) = self.disk.poll() {
                self.disk_says(done, now);
            }
        } else if source == Source::Ledger as u64 {
            while let Some(done) = self.ledger.poll() {
                let input = match done {
                    ledger_disk::Done::Written(number) => Input::Written { number },
                    ledger_disk::Done::Works(result) => Input::LedgerDisk(result),
                };
                self.engine.handle(now, input);
                self.drain();
            }
        } else if source == Source::Fencer as u64 {
            while let Some((ticket, result)) = self.fencer.poll() {
                self.measure.meter.fenced(&result);
                self.engine.handle(now, Input::Fence { ticket, result });
                self.drain();
            }
        } else if source == Source::Shutdown as u64 {
            while let Some(ending) = self.shutdown.poll() {
                self.systemd_says(ending);
            }
        } else if source == Source::Hooks as u64 {
            while let Some(hooks::Word { level, text, output }) = self.hooks.poll() {
                self.record(EventDraft { output, ..draft(level, EventKind::Hook, None, text) });
            }
        } else if source == Source::Metrics as u64 {
            self.metrics_say();
        } else if source == Source::Network as u64 {
            while let Some(opened) = self.network.as_mut().and_then(Udp::poll) {
                let (from, incarnation) = (opened.from, opened.incarnation);
                self.look_at_version(from);
                self.engine
                    .handle(clock::now(), Input::Datagram { from, incarnation, datagram: opened.datagram });
                self.drain();
            }
        }
    }

    fn tick(&mut self, now: Instant) {
        self.guests.handle_timeout(now);
        self.control.handle_timeout(now);
        for (who, input) in self.guests.take_events() {
            let input = match who {
                Controlled::Here(keeper::Controller::Machine) => Input::Machine(input),
                Controlled::Here(keeper::Controller::Guest(group)) => Input::Guest { group, input },
                Controlled::Watched(host) => Input::Watched { host, input },
            };
            self.engine.handle(now, input);
            self.drain();
        }
        for complaint in self.guests.take_complaints() {
            self.record(draft(Level::Warning, EventKind::ControllerRefused, None, complaint));
        }
        let complaints = self.network.as_mut().map(|network| network.take_complaints(now));
        for complaint in complaints.into_iter().flatten() {
            self.record(draft(Level::Warning, EventKind::HostRefused, None, complaint.to_string()));
        }
        if matches!(self.way, Way::Asking { until } if now >= until) {
            self.systemd_says(Ending::Daemon);
        }
        if now >= self.next_minute && self.config.has_hours() {
            let (minute, left) = clock::minute_of_week();
            self.next_minute = now + left;
            self.engine.handle(now, Input::Minute(minute));
        }
        self.engine.handle_timeout(now);
        self.guests.set_watches(self.engine.watches());
        self.guests.set_knows_cids(self.engine.keeper().sees_vms());
        self.life.keep_lease(self.engine.lease_until());
        self.write_metrics(now);
        if self.next_watchdog.is_some_and(|at| now >= at) {
            self.systemd.say("WATCHDOG=1");
            self.next_watchdog = self.systemd.beat().map(|beat| now + beat);
        }
    }

    /// Tells the engine what another host knows, when that changed.
    fn look_at_version(&mut self, host: HostId) {
        let newest = self.network.as_ref().and_then(|network| network.newest(host));
        if let Some(newest) = newest.filter(|newest| self.known.insert(host, *newest) != Some(*newest)) {
            self.engine.handle(clock::now(), Input::Knows { host, newest });
            self.drain();
        }
    }

    /// Carries out what the engine decided.
    fn drain(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Keeper(output) => self.keep(output),
                Output::Watched { host, output } => self.keep_watched(host, output),
                Output::Write(write) => self.ledger.write(write),
                Output::Answer { request, answer } => {
                    let reply = match answer {
                        Ok(text) => Reply::Done { text },
                        Err((code, reason)) => Reply::Refused { code, reason },
                    };
                    self.control.answer(request, &reply);
                }
                Output::Reply { request, reply } => {
                    let reply = match *reply {
                        Reply::Status(status) => Reply::Status(self.with_own_warnings(status)),
                        reply => reply,
                    };
                    self.control.answer(request, &reply);
                }
                Output::Send { to, datagram } => {
                    if let Some(network) = &mut self.network {
                        network.send(to, &datagram);
                    }
                }
                Output::Fence(order) => {
                    self.measure.meter.fence(order.action);
                    self.fencer.order(order);
                }
                Output::WithdrawFence(ticket) => self.fencer.withdraw(ticket),
                Output::Watchdog(order) => self.feed(order),
                Output::BeginAnew => self.ended = Some(Ended::Anew),
                Output::Left => self.ended = Some(Ended::Left),
            }
        }
    }

    /// Opens the watchdog device, which arms it: last, so that nothing can fail any more and leave it unfed.
    fn open_watchdog(&mut self) {
        let Some(host) = self.config.hosts.iter().find(|host| host.name == self.host) else { return };
        if let Some(path) = &host.watchdog {
            let open = self.watchdog.as_ref().and_then(Watchdog::state);
            let said = open.unwrap_or_else(|| {
                let (watchdog, said) = Watchdog::open(path, self.config.cluster.timing.watchdog);
                self.watchdog = watchdog;
                said
            });
            let said = match said {
                WatchdogInput::Working { timeout } if machine::is_virtual() && !host.trust_watchdog => {
                    WatchdogInput::Virtual { timeout }
                }
                said => said,
            };
            self.engine.handle(clock::now(), Input::Watchdog(said));
            self.drain();
        } else if self.watchdog.is_some() {
            let reason = "the configuration names no watchdog any more".to_owned();
            self.engine.handle(clock::now(), Input::Watchdog(WatchdogInput::Missing { reason }));
            self.drain();
        }
    }

    fn feed(&mut self, order: WatchdogOrder) {
        if order == WatchdogOrder::Open {
            self.open_watchdog();
            return;
        }
        if let Some(Err(text)) = self.watchdog.as_mut().map(|watchdog| watchdog.order(order)) {
            self.record(draft(Level::Error, EventKind::Watchdog, None, text));
        }
    }

    /// Carries out what is to be done with this host's own groups.
    fn keep(&mut self, output: keeper::Output) {
        match output {
            keeper::Output::Order(order) => {
                self.measure.meter.order(&order.action);
                if let Some(libvirt) = &self.libvirt {
                    libvirt.order(order);
                }
            }
            keeper::Output::Store(saved) => {
                if let Err(error) = self.disk.store(saved) {
                    self.engine.handle(clock::now(), Input::Stored(Err(error)));
                }
            }
            keeper::Output::Event(event) => self.record(event),
            keeper::Output::Drop(controller) => self.guests.drop_controller(&Controlled::Here(controller)),
            keeper::Output::Say { to, message } => self.guests.say(&Controlled::Here(to), &message),
            keeper::Output::Hush { group, hush } => self.guests.hush(&group, hush),
            keeper::Output::Cid { group, cid } => self.guests.set_cid(&group, cid),
            keeper::Output::Wish { .. } => {} // the engine keeps it
        }
    }

    /// Carries out what is to be said to a machine that this host watches.
    fn keep_watched(&mut self, host: String, output: keeper::Output) {
        let who = Controlled::Watched(host);
        match output {
            keeper::Output::Drop(_) => self.guests.drop_controller(&who),
            keeper::Output::Say { message, .. } => self.guests.say(&who, &message),
            keeper::Output::Order(_)
            | keeper::Output::Store(_)
            | keeper::Output::Event(_)
            | keeper::Output::Hush { .. }
            | keeper::Output::Cid { .. }
            | keeper::Output::Wish { .. } => {} // it has no VMs, and the engine keeps the rest
        }
    }

    fn record(&mut self, event: EventDraft) {
        let EventDraft { level, kind, group, text, output } = event;
        let about = group.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        match level {
            Level::Info => log::info!("{about}{text}"),
            Level::Warning => log::warn!("{about}{text}"),
            Level::Error => log::error!("{about}{text}"),
        }
        self.measure.meter.event(level);
        let event = Event { seq: self.next_seq, at_ms: clock::wall_ms(), level, kind, group, text, output };
        self.next_seq += 1;
        if self.events.len() == disk::EVENTS_IN_MEMORY {
            self.events.pop_front();
        }
        self.control.publish(&event);
        self.hooks.give(&event);
        self.disk.append(event.clone());
        self.events.push_back(event);
    }

    fn disk_says(&mut self, done: Done, now: Instant) {
        let (level, text) = match done {
            Done::Stored(result) => {
                self.engine.handle(now, Input::Stored(result));
                return;
            }
            Done::EventsFail(error) => (
                Level::Error,
                format!("events cannot be written to disk: {error}; they are kept in memory for now"),
            ),
            Done::EventsWork { lost } => {
                (Level::Warning, format!("events are written to disk again; {lost} are missing there"))
            }
        };
        self.record(draft(level, EventKind::Storage, None, text));
    }

    fn asked(&mut self, asked: Asked, now: Instant) {
        let Asked { request, who, ask } = asked;
        match ask {
            Ask::Status => {
                let status = self.engine.status(now, clock::wall_ms());
                self.control.answer(request, &Reply::Status(self.with_own_warnings(status)));
            }
            Ask::Metrics => self.tell_metrics(request, now),
            Ask::Events { after, group, follow } => self.tell_events(request, after, group, follow),
            Ask::Intent { group, intent } => {
                self.order(now, request, who, group, GroupOrder::Intent(intent));
            }
            Ask::Freeze { group } => self.order(now, request, who, group, GroupOrder::Freeze),
            Ask::Fenced { host } => self.command(now, request, who, Command::ConfirmFenced { host }),
            Ask::Thaw { group } => self.order(now, request, who, group, GroupOrder::Thaw),
            Ask::Switch { group, to, method } => {
                let to = to.map_or(Destination::Elsewhere, Destination::Host);
                self.command(now, request, who, Command::Move { group, to, method });
            }
            Ask::Failback { group, method } => {
                let to = Destination::Home;
                self.command(now, request, who, Command::Move { group, to, method });
            }
            Ask::Fail { group } => {
                let to = Destination::Failover;
                self.command(now, request, who, Command::Move { group, to, method: None });
            }
            Ask::Maintenance { host, on } => {
                let mode = if on { HostMode::Maintenance } else { HostMode::Active };
                self.command(now, request, who, Command::Mode { host, mode });
            }
            ask @ (Ask::Cluster | Ask::Explain { .. } | Ask::Plan { .. }) => {
                let now_ms = clock::wall_ms();
                self.engine.handle(now, Input::Ask { request, ask, now_ms });
            }
            Ask::Disarm | Ask::Arm => {
                let command = Command::Arm(if ask == Ask::Arm { Arms::Armed } else { Arms::Disarmed });
                self.command(now, request, who, command);
            }
            Ask::Reload | Ask::WouldReload => {
                let done = if ask == Ask::Reload { self.reload() } else { self.would_reload() };
                let reply = match done {
                    Ok(text) => Reply::Done { text },
                    Err(reason) => Reply::Refused { code: Refusal::BadConfiguration, reason },
                };
                self.control.answer(request, &reply);
            }
        }
    }

    fn with_own_warnings(&self, mut status: roost_proto::control::Status) -> roost_proto::control::Status {
        if self.disk.not_taken() > 0 {
            let text = format!("the disk hangs; {} events are not on it", self.disk.not_taken());
            status.warnings.push(text);
            status.health = status.health.max(roost_proto::control::Health::Degraded);
        }
        status
    }

    fn order(&mut self, now: Instant, request: RequestId, who: String, group: String, order: GroupOrder) {
        self.command(now, request, who, Command::Group { group, order });
    }

    fn command(&mut self, now: Instant, request: RequestId, who: String, command: Command) {
        self.engine.handle(now, Input::Operator { request, who, command });
    }

    fn tell_events(&mut self, request: RequestId, after: u64, group: Option<String>, follow: bool) {
        let wanted = |event: &&Event| event.seq > after && (group.is_none() || event.group == group);
        for event in self.events.iter().filter(wanted) {
            self.control.reply(request, &Reply::Event(event.clone()));
        }
        if follow {
            self.control.follow(request, group);
        } else {
            self.control.answer(request, &Reply::End);
        }
    }

    /// The configuration as it is in its file now, if it can be read in place of the one in force.
    fn load_again(&self) -> Result<Config, String> {
        let config = config::load(&self.options.config).map_err(|error| error.to_string())?;
        let host = host_name(&self.options, &config)?;
        if host != self.host {
            return Err(format!("this host was '{}' and cannot become '{host}'", self.host));
        }
        Ok(config)
    }

    /// What would change if the configuration were read again.
    fn would_reload(&self) -> Result<String, String> {
        let config = self.load_again()?;
        let changes = self.config.changes(&config);
        if changes.is_empty() {
            return Ok("nothing changes".to_owned());
        }
        Ok(changes.join("\n"))
    }

    fn reload(&mut self) -> Result<String, String> {
        match self.load_again() {
            Ok(config) => {
                let mut changes = self.config.changes(&config);
                let uri = |config: &Config| {
                    let host = config.hosts.iter().find(|h| h.name == self.host);
                    host.map(|h| (h.libvirt.clone(), h.role == Role::Hypervisor))
                };
                let same_uri = uri(&config) == uri(&self.config);
                let network = self.reload_network(&config);
                let machines = machines(&config);
                self.config = config;
                self.engine.reload(&self.config, clock::now());
                self.control.reload();
                self.measure.reload();
                let mut hint = if same_uri {
                    ""
                } else {
                    "; the new libvirt address, or role, is used after a restart of roostd"
                }
                .to_owned();
                match machines {
                    Ok(machines) => {
                        changes.extend(changed_keys(&self.guests.machines(), &machines));
                        self.apply_config(machines);
                    }
                    Err(error) => {
                        hint += &format!("; the keys of watched machines stay as they were: {error}");
                        self.apply_config(self.guests.machines());
                    }
                }
                match network {
                    Ok(keys) => changes.extend(keys),
                    Err(why) => hint += &format!("; the network between hosts stays as it was: {why}"),
                }
                let changes =
                    if changes.is_empty() { "nothing changes".to_owned() } else { changes.join("; ") };
                let others = self.engine.other_files();
                if !others.is_empty() {
                    hint += &format!(
                        "; another file is in force on {}: copy this one there and say `roost reload` on each",
                        others.join(", ")
                    );
                }
                let groups = self.config.groups.len();
                let text = format!("the configuration was read again: {groups} groups; {changes}{hint}");
                self.record(draft(Level::Info, EventKind::Reloaded, None, text.clone()));
                Ok(text)
            }
            Err(reason) => {
                let text =
                    format!("the configuration is not good, and the one before stays in force: {reason}");
                self.record(draft(Level::Error, EventKind::Reloaded, None, text.clone()));
                Err(text)
            }
        }
    }

    /// Takes keys, hosts and addresses of a new configuration, and tells whether the keys are others; or leaves all as it was.
    fn reload_network(&mut self, config: &Config) -> Result<Option<String>, String> {
        let peers = peers(config, &self.host);
        let Some(network) = &mut self.network else {
            if peers.is_empty() {
                return Ok(None);
            }
            let network =
                network(config, &self.host, self.life.incarnation).map_err(|error| error.to_string())?;
            if let Some(network) = &network {
                let event = EpollEvent::new(EpollFlags::EPOLLIN, Source::Network as u64);
                self.epoll.add(network.fd(), event).map_err(|error| error.to_string())?;
            }
            self.network = network;
            return Ok(None);
        };
        let keys = if peers.is_empty() {
            None
        } else {
            Some(Keys::read_all(&config.cluster.keys).map_err(|error| error.to_string())?)
        };
        let own = config.hosts.iter().find(|own| own.name == self.host);
        network
            .set_addresses(own.map_or(&[], |own| own.addresses.as_slice()))
            .map_err(|error| error.to_string())?;
        let told = keys.and_then(|keys| {
            let after = keys.marks();
            let before = network.set_keys(keys);
            let seals =
                if before.first() == after.first() { "the same one seals" } else { "another one seals" };
            (before != after).then(|| {
                let are = if after.len() == 1 { "is" } else { "are" };
                format!("the keys changed: {} {are} in force, {seals}", after.len())
            })
        });
        network.set_peers(peers);
        Ok(told)
    }

    /// Tells the drivers what the configuration wants watched; with the keys of machines that have no roostd.
    fn apply_config(&mut self, mut machines: Machines) {
        if let Some(libvirt) = &self.libvirt {
            libvirt.watch(self.engine.domains());
        }
        let here: Vec<config::Group> =
            self.config.groups.iter().filter(|g| g.on.contains(&self.host)).cloned().collect();
        let known = |name: &String| {
            self.config.hosts.iter().any(|host| host.role == Role::Watched && host.name == *name)
        };
        machines.retain(|name, _| known(name));
        let own = self.config.hosts.iter().find(|own| own.name == self.host);
        let addresses = own.map_or(&[][..], |own| &own.addresses);
        let addresses = addresses.iter().map(|address| SocketAddr::new(address.ip(), WATCHED_PORT)).collect();
        let watched = guest_link::Watched { addresses, machines };
        self.guests.listen(&here, &self.options.run_dir.join("guest.sock"), watched);
    }
}

/// Hooks are beside the configuration, in `hooks.d`; they are run in another folder than this process.
fn hooks_setup(options: &Options, config: &Config, host: &str) -> hooks::Setup {
    let file = std::path::absolute(&options.config).unwrap_or_else(|_| options.config.clone());
    hooks::Setup {
        folder: file.with_file_name("hooks.d"),
        position: options.state_dir.join("hooks.seq"),
        cluster: config.cluster.name.clone(),
        host: host.to_owned(),
        limit: hooks::HOOK_LIMIT,
    }
}

/// The keys of machines that are watched, by their names.
type Machines = BTreeMap<String, Vec<Secret>>;

/// Reads the keys of the machines that the configuration has watched.
fn machines(config: &Config) -> Result<Machines, KeyError> {
    let keys = config.hosts.iter().filter_map(|host| Some((host, host.key.as_ref()?)));
    keys.map(|(host, key)| Ok((host.name.clone(), keys::secrets(key)?))).collect()
}

/// Which machines that stay have other keys, for people.
fn changed_keys(before: &Machines, after: &Machines) -> Option<String> {
    let changed = after.iter().filter(|(name, keys)| before.get(*name).is_some_and(|before| before != *keys));
    let changed: Vec<&str> = changed.map(|(name, _)| name.as_str()).collect();
    (!changed.is_empty()).then(|| format!("the keys of {} changed", changed.join(", ")))
}

/// The other hosts of a configuration, those that run a roostd.
fn peers(config: &Config, host: &str) -> Vec<Peer> {
    let others = config.hosts.iter().filter(|other| other.name != host && other.role != Role::Watched);
    others
        .map(|other| Peer {
            id: HostId::of(&other.name),
            name: other.name.clone(),
            addresses: other.addresses.clone(),
        })
        .collect()
}

/// The network between hosts, if there is more than one.
fn network(config: &Config, host: &str, incarnation: Incarnation) -> Result<Option<Udp>, StartError> {
    let peers = peers(config, host);
    if peers.is_empty() {
        return Ok(None);
    }
    let keys = Keys::read_all(&config.cluster.keys).map_err(|error| StartError::Config(error.to_string()))?;
    let own = config.hosts.iter().find(|own| own.name == host);
    let addresses = own.map(|own| own.addresses.clone()).unwrap_or_default();
    let (name, cluster) = (host.to_owned(), config.cluster.name.clone());
    let setup = Setup { name, cluster, incarnation, keys, addresses, peers };
    Udp::new(setup).map(Some).map_err(system("cannot set the network between hosts up"))
}

fn system<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> StartError {
    let what = what.into();
    move |error| StartError::System { what, error: error.into() }
}

/// Writes messages to standard error: with the priorities of sd-daemon(3) under systemd, with times elsewhere. `RUST_LOG`
/// chooses what is written, as `RUST_LOG=debug`.
pub fn start_logging() {
    let filter = env_logger::Env::default().default_filter_or("info");
    let mut builder = env_logger::Builder::from_env(filter);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.format(|out, record| {
            use std::io::Write;
            let priority = match record.level() {
                log::Level::Error => 3,
                log::Level::Warn => 4,
                log::Level::Info => 6,
                log::Level::Debug | log::Level::Trace => 7,
            };
            writeln!(out, "<{priority}>{}", record.args())
        });
    } else {
        builder.format_target(false).format_timestamp_millis();
    }
    builder.init();
}
