//! The world: machines, links and what happens on them. The engine in each daemon is the real one, its log is in the real
//! store; everything around them is played here, and one seed decides all of it.

pub mod apps;
pub mod calls;
pub mod check;
pub mod clock;
pub mod controller;
pub mod deeds;
pub mod disk;
pub mod event;
pub mod fence;
pub mod host;
pub mod libvirt;
pub mod meter;
pub mod net;
pub mod question;
pub mod rights;
pub mod said;
pub mod travel;

use crate::random::Random;
use apps::Natures;
use calls::Calls;
use check::Check;
use clock::{Clock, Time};
use controller::{Controller, Seat};
use core::time::Duration;
use disk::Disk;
use event::{Event, Queue};
use host::{Agent, Daemon, Domain, Host, Libvirt};
use meter::Meter;
use net::Net;
use roost::config::{App, Config, Failback, Role};
use roost::engine::ledger::Ledger;
use roost::engine::raft::{self, Record, Snapshot};
use roost::engine::watchdog::{WatchdogInput, WatchdogOrder};
use roost::engine::{Engine, Input, Output, Start, keeper};
use roost::store::Store;
use roost_proto::cluster::raft::{Index, StorageId, Voters};
use roost_proto::cluster::{DATAGRAM_VERSIONS, Datagram, HostId, Incarnation, LedgerId};
use roost_proto::state::Saved;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use travel::Travels;

/// A machine needs so long from power to its daemon.
const BOOT: (Duration, Duration) = (Duration::from_secs(8), Duration::from_secs(25));
/// systemd starts a daemon that began anew.
const ANEW: Duration = Duration::from_millis(100);
/// A usual write is durable after so long.
const WRITE: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(4));
/// A write that failed is tried again after so long, as the driver does.
const WRITE_AGAIN: Duration = Duration::from_secs(1);
/// Steps of one host in one second; more would be a loop without end.
const BUSIEST: u64 = 20_000;
/// A watchdog device is open after so long.
const OPENS: Duration = Duration::from_millis(2);
/// Minutes of a week.
const MINUTES: u64 = 7 * 24 * 60;
/// What a stopped daemon's socket holds, in datagrams.
const SOCKET: usize = 256;

/// What a daemon told, or answered to an operator.
#[derive(Debug)]
pub struct Told {
    pub at: Time,
    pub what: Word,
}

/// What was told.
#[derive(Clone, Debug)]
pub enum Word {
    Event(keeper::EventDraft),
    Answer(keeper::RequestId, Result<String, String>),
}

/// The world.
#[derive(Debug)]
pub struct World {
    pub now: Time,
    pub steps: u64,
    /// Steps in this second.
    busy: u64,
    pub config: Arc<Config>,
    pub hosts: Vec<Host>,
    pub ids: BTreeMap<HostId, usize>,
    pub queue: Queue,
    pub net: Net,
    pub random: Random,
    pub check: Check,
    pub travels: Travels,
    /// Every controller that has managed groups.
    pub seats: BTreeMap<Seat, Controller>,
    pub natures: Natures,
    /// The connections of machines that are watched.
    calls: Calls,
    /// Applications that go on without their host.
    pub keepers: BTreeSet<String>,
    /// What happened, in words, if it is wanted.
    pub trace: Option<Vec<String>>,
    pub sent: u64,
    /// What daemons tell and answer, if it is wanted.
    pub told: Option<Vec<Told>>,
    /// Some host lost its disk, or will.
    pub disk_lost: bool,
    /// Some file names other voters for a while, or will.
    pub voters_change: bool,
    /// Counts what the engines cost, if that is wanted.
    pub meter: Option<Meter>,
}

impl World {
    /// All machines of a configuration, about to boot.
    pub fn new(config: Config, seed: u64, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let file = Arc::new(config.clone());
        let hosts: Vec<Host> = config.hosts.iter().map(|host| machine(host, &file, &mut random)).collect();
        let ids = hosts.iter().enumerate().map(|(nth, host)| (host.id, nth)).collect();
        let mut world = Self {
            now: Time(1_000_000_000),
            steps: 0,
            busy: 0,
            check: Check::new(&config),
            travels: Travels::default(),
            seats: BTreeMap::new(),
            natures: Natures::new(),
            calls: Calls::default(),
            keepers: BTreeSet::new(),
            config: Arc::new(config),
            hosts,
            ids,
            queue: Queue::default(),
            net: Net::default(),
            random,
            trace: trace.then(Vec::new),
            sent: 0,
            told: None,
            disk_lost: false,
            voters_change: false,
            meter: None,
        };
        for host in 0..world.hosts.len() {
            world.power_on(host);
        }
        world
    }

    /// Something for the trace; `words` is called only if there is one.
    pub fn say(&mut self, words: impl FnOnce(&Self) -> String) {
        let text = self.trace.is_some().then(|| format!("{}  {}", self.now, words(self)));
        if let (Some(trace), Some(text)) = (&mut self.trace, text) {
            trace.push(text);
        }
    }

    pub fn push(&mut self, after: Duration, event: Event) {
        self.queue.push(self.now.after(after), event);
    }

    /// Does what is due next, if anything is before `end`; false when nothing is.
    pub fn step(&mut self, end: Time) -> bool {
        if self.queue.next().is_none_or(|at| at > end) {
            self.now = end;
            return false;
        }
        let Some((at, event)) = self.queue.pop() else { return false };
        if at.0 / 1_000_000_000 != self.now.0 / 1_000_000_000 {
            self.busy = 0;
        }
        self.now = at;
        self.steps += 1;
        self.busy += 1;
        if self.busy > BUSIEST * self.hosts.len() as u64 {
            self.violated(format!("it turns without end: {event:?}"));
        }
        self.happen(event);
        true
    }

    /// Runs until then, or until something is violated.
    pub fn run(&mut self, end: Time) {
        while self.check.violation.is_none() && self.step(end) {}
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Timer { host, life } => {
                if self.is_alive(host, life) && self.hold(host, || Event::Timer { host, life }) {
                    self.timer(host);
                }
            }
            Event::Deliver { to, from, incarnation, datagram } => {
                self.deliver(to, from, incarnation, datagram);
            }
            Event::Tell { host, life, input } => {
                if self.is_alive(host, life)
                    && self.hold(host, || Event::Tell { host, life, input: input.clone() })
                {
                    self.tell(host, *input);
                }
            }
            Event::Written { host, life } => {
                if self.is_alive(host, life) && self.hold(host, || Event::Written { host, life }) {
                    self.written(host);
                }
            }
            Event::Boot { host, boot } => {
                let it = &self.hosts[host];
                if it.powered && it.boot == boot && it.daemon.is_none() {
                    self.start(host); // nobody was faster
                }
            }
            Event::Start { host, life } => {
                let it = &self.hosts[host];
                if it.powered && it.life == life && it.daemon.is_none() && !it.kept_down {
                    self.start(host);
                }
            }
            Event::Reload { host, life, file } => {
                if self.is_alive(host, life)
                    && self.hold(host, || Event::Reload { host, life, file: file.clone() })
                {
                    self.reload(host, &file);
                }
            }
            Event::Watchdog { host, boot } => self.watchdog(host, boot),
            Event::Deed(deed) => self.deed(deed),
            Event::Seat { seat } => self.seat_beats(seat),
            Event::Turn { seat, group, turn } => self.turn(seat, group, turn),
            Event::Said { seat, connection, message } => self.said(&seat, connection, *message),
            Event::Line { seat } => self.line_timer(&seat),
            Event::Dialled { call } => self.dialled(call),
            Event::Carried { call, to } => self.carried(call, to),
            Event::Beats { call } => self.beats(call),
            Event::Ready { seat, connection, group, number } => self.ready(&seat, connection, group, number),
            Event::Minute { host, life } => {
                if self.is_alive(host, life) && self.hold(host, || Event::Minute { host, life }) {
                    self.minute(host);
                }
            }
            Event::Job { id } => self.job(id),
            Event::Agent { order, by, life } => self.agent_acts(*order, by, life),
            Event::Answer { order, by, life, result } => self.agent_answers(&order, by, life, result),
            Event::Effect { .. }
            | Event::Late { .. }
            | Event::Limit { .. }
            | Event::View { .. }
            | Event::Poll { .. }
            | Event::Link { .. }
            | Event::GuestUp { .. }
            | Event::GuestBeat { .. }
            | Event::GuestDown { .. } => self.libvirt_event(event),
        }
    }

    /// Whether this life of the daemon still runs.
    pub fn is_alive(&self, host: usize, life: u64) -> bool {
        let host = &self.hosts[host];
        host.powered && host.life == life && host.daemon.is_some()
    }

    /// Whether the daemon can take something now; what it cannot is kept for it.
    pub fn hold(&mut self, host: usize, event: impl FnOnce() -> Event) -> bool {
        let it = &mut self.hosts[host];
        if it.frozen || it.stopped {
            it.held.push_back(event());
            return false;
        }
        true
    }

    fn deliver(&mut self, to: usize, from: usize, incarnation: Incarnation, datagram: Box<Datagram>) {
        let it = &mut self.hosts[to];
        if !it.powered {
            return;
        }
        if it.frozen || it.stopped {
            let waiting = it.held.iter().filter(|event| matches!(event, Event::Deliver { .. })).count();
            if waiting < SOCKET {
                it.held.push_back(Event::Deliver { to, from, incarnation, datagram });
            }
            return;
        }
        let Some(daemon) = &mut it.daemon else { return };
        // As the sealing does: nothing of an older life once a newer one was heard.
        let newest = daemon.heard.entry(from).or_insert(0);
        if incarnation.start < *newest {
            return;
        }
        let new = core::mem::replace(newest, incarnation.start) != incarnation.start;
        let from = self.hosts[from].id;
        if new {
            self.tell(to, Input::Knows { host: from, newest: DATAGRAM_VERSIONS.newest });
        }
        self.tell(to, Input::Datagram { from, incarnation, datagram: *datagram });
    }

    fn timer(&mut self, host: usize) {
        let now = self.hosts[host].clock.show(self.now);
        let due =
            |it: &Host| it.daemon.as_ref().and_then(|d| d.engine.poll_timeout()).is_some_and(|at| at <= now);
        if let Some(daemon) = &mut self.hosts[host].daemon {
            daemon.timer = None;
        }
        if due(&self.hosts[host]) {
            self.engine(host, |engine| engine.handle_timeout(now));
            self.drain(host);
        }
        self.wind(host);
    }

    /// Sets the daemon's timer to when the engine wants it.
    fn wind(&mut self, host: usize) {
        let Some(Some(at)) = self.engine(host, |engine| engine.poll_timeout()) else { return };
        let it = &mut self.hosts[host];
        let Some(daemon) = &mut it.daemon else { return };
        let at = it.clock.when(at).max(self.now);
        if daemon.timer.is_none_or(|timer| at < timer) {
            daemon.timer = Some(at);
            self.queue.push(at, Event::Timer { host, life: it.life });
        }
    }

    /// A daemon reads its configuration again; a file that does not name this host is refused.
    fn reload(&mut self, host: usize, file: &Arc<Config>) {
        let it = &mut self.hosts[host];
        let now = it.clock.show(self.now);
        let Some(daemon) = &mut it.daemon else { return };
        if file.host_id(&it.name).is_none() {
            self.say(|w| format!("{}: the new configuration does not name it", w.hosts[host].name));
            return;
        }
        daemon.engine.reload(file, now);
        daemon.shown.clear();
        daemon.room = None;
        self.say(|w| format!("{}: the configuration was read again", w.hosts[host].name));
        self.drain(host);
        self.wind(host);
    }

    /// Tells a daemon something, and does what it wants done.
    pub fn tell(&mut self, host: usize, input: Input) {
        let it = &mut self.hosts[host];
        if let (Input::Stored(Ok(())), Some(daemon)) = (&input, &mut it.daemon)
            && let Some(saved) = daemon.storing.take()
        {
            it.saved = saved;
        }
        let now = it.clock.show(self.now);
        if self.engine(host, |engine| engine.handle(now, input)).is_none() {
            return;
        }
        self.drain(host);
        self.wind(host);
    }

    /// Calls a host's engine, if its daemon runs; what it takes is counted, if that is wanted.
    fn engine<T>(&mut self, host: usize, call: impl FnOnce(&mut Engine) -> T) -> Option<T> {
        let engine = &mut self.hosts[host].daemon.as_mut()?.engine;
        Some(match &mut self.meter {
            Some(meter) => meter.engine(host, || call(engine)),
            None => call(engine),
        })
    }

    fn drain(&mut self, host: usize) {
        while let Some(output) = self.engine(host, Engine::poll_output).flatten() {
            self.carry_out(host, output);
            if self.hosts[host].daemon.is_none() {
                return; // it ended
            }
        }
        let it = &mut self.hosts[host];
        if let Some(until) = it.daemon.as_ref().and_then(|daemon| daemon.engine.lease_until()) {
            it.lease = Some((it.boot, until));
        }
        self.hang_up(host);
        self.check_host(host);
        self.check_answered(host);
    }

    fn carry_out(&mut self, host: usize, output: Output) {
        let life = self.hosts[host].life;
        match output {
            Output::Watched { host: name, output } => self.keep_watched(host, &name, output),
            Output::Keeper(output) => self.keep(host, output),
            Output::Send { to, datagram } => self.send(host, to, datagram),
            Output::Write(write) => {
                let Some(daemon) = &mut self.hosts[host].daemon else { return };
                daemon.writes.push_back(write);
                if daemon.writes.len() == 1 {
                    let after = self.random.time(WRITE.0, WRITE.1);
                    self.push(after, Event::Written { host, life });
                }
            }
            Output::Fence(order) => self.fence_ordered(host, order),
            Output::WithdrawFence(ticket) => {
                self.hosts[host].withdrawn.insert((life, ticket));
            }
            Output::Watchdog(WatchdogOrder::Feed) if self.hosts[host].put_away => {}
            Output::Watchdog(WatchdogOrder::Feed) => {
                self.check_fed(host);
                self.feed(host);
            }
            Output::Watchdog(WatchdogOrder::Disarm) => {
                self.hosts[host].fed = None;
                self.hosts[host].put_away = true;
            }
            Output::Watchdog(WatchdogOrder::Open) => {
                self.hosts[host].put_away = false;
                if self.hosts[host].has_watchdog {
                    self.feed(host); // to open it is to arm it
                }
                let input = Box::new(Input::Watchdog(self.device(host)));
                self.push(OPENS, Event::Tell { host, life, input });
            }
            Output::Answer { request, answer } => {
                self.say(|w| format!("{}: order {} answered: {answer:?}", w.hosts[host].name, request.0));
                self.note(Word::Answer(request, answer.map_err(|(_, why)| why)));
            }
            Output::Reply { request, reply } => self.replied(host, request, &reply),
            Output::BeginAnew => {
                self.say(|w| format!("{}: begins anew", w.hosts[host].name));
                self.end_daemon(host);
                let life = self.hosts[host].life;
                self.push(ANEW, Event::Start { host, life });
            }
            Output::Left => {
                self.say(|w| format!("{}: has left", w.hosts[host].name));
                self.end_daemon(host);
                self.hosts[host].kept_down = true;
            }
        }
    }

    fn feed(&mut self, host: usize) {
        let armed = self.hosts[host].fed.replace(self.now).is_some();
        if !armed {
            let after = self.config.cluster.timing.watchdog;
            let boot = self.hosts[host].boot;
            self.push(after, Event::Watchdog { host, boot });
        }
    }

    /// What a daemon finds when it opens the watchdog.
    fn device(&self, host: usize) -> WatchdogInput {
        let timeout = self.config.cluster.timing.watchdog;
        match (self.hosts[host].has_watchdog, self.hosts[host].is_virtual) {
            (true, true) => WatchdogInput::Virtual { timeout },
            (true, false) => WatchdogInput::Working { timeout },
            (false, _) => WatchdogInput::Missing { reason: "there is none".to_owned() },
        }
    }

    fn keep(&mut self, host: usize, output: keeper::Output) {
        let life = self.hosts[host].life;
        match output {
            keeper::Output::Order(order) => self.ordered(host, order),
            keeper::Output::Store(saved) => {
                let Some(daemon) = &mut self.hosts[host].daemon else { return };
                daemon.storing = Some(saved);
                let input = Box::new(Input::Stored(Ok(())));
                self.push(WRITE.1, Event::Tell { host, life, input });
            }
            keeper::Output::Event(event) => {
                self.say(|w| {
                    let group = event.group.as_ref().map(|group| format!("{group}: ")).unwrap_or_default();
                    format!("{}: {group}{}", w.hosts[host].name, event.text)
                });
                self.note(Word::Event(event));
            }
            keeper::Output::Drop(keeper::Controller::Guest(group)) => self.drop_guest(host, &group),
            keeper::Output::Drop(keeper::Controller::Machine) => self.drop_machine(host),
            keeper::Output::Say { to, message } => self.says(host, &to, message),
            keeper::Output::Wish { .. } | keeper::Output::Hush { .. } | keeper::Output::Cid { .. } => {}
        }
    }

    fn send(&mut self, from: usize, to: HostId, datagram: Datagram) {
        self.check_said(from, to, &datagram);
        self.check_asked(from, &datagram);
        let Some(to) = self.ids.get(&to).copied() else { return };
        self.sent += 1;
        let Some(daemon) = &self.hosts[from].daemon else { return };
        let incarnation = daemon.incarnation;
        if let Some(meter) = &mut self.meter {
            meter.sent(from, datagram.encode().len());
        }
        if self.sent.is_multiple_of(64) {
            let bytes = datagram.encode();
            let same = Datagram::decode(&bytes).is_ok_and(|again| again == datagram);
            if !same {
                self.violated(format!("a datagram is another after its encoding: {datagram:?}"));
            }
        }
        if let Some(after) = self.net.doubles(from, to, &mut self.random) {
            let datagram = Box::new(datagram.clone());
            self.push(after, Event::Deliver { to, from, incarnation, datagram });
        }
        if let Some(after) = self.net.send(from, to, &mut self.random) {
            self.push(after, Event::Deliver { to, from, incarnation, datagram: Box::new(datagram) });
        }
    }

    /// The first write that waits is made.
    fn written(&mut self, host: usize) {
        let life = self.hosts[host].life;
        let Some(daemon) = &mut self.hosts[host].daemon else { return };
        let Some(write) = daemon.writes.front() else { return };
        let number = write.number;
        match daemon.store.write(write) {
            Ok(()) => {
                for record in &write.records {
                    self.check.wrote(host, record);
                    if let Record::Vote { term, voted_for } = record {
                        self.check.voted(host, *term, *voted_for);
                    }
                }
                daemon.writes.pop_front();
                let more = !daemon.writes.is_empty();
                let failed = core::mem::take(&mut daemon.disk_told);
                if more {
                    let after = self.random.time(WRITE.0, WRITE.1);
                    self.push(after, Event::Written { host, life });
                }
                if failed {
                    self.tell(host, Input::LedgerDisk(Ok(())));
                }
                if self.is_alive(host, life) {
                    self.tell(host, Input::Written { number });
                }
            }
            Err(error) => {
                let told = core::mem::replace(&mut daemon.disk_told, true);
                self.push(WRITE_AGAIN, Event::Written { host, life });
                if !told {
                    self.tell(host, Input::LedgerDisk(Err(error.to_string())));
                }
            }
        }
    }

    fn watchdog(&mut self, host: usize, boot: u64) {
        let it = &self.hosts[host];
        let (Some(fed), true) = (it.fed, it.powered && it.boot == boot) else { return };
        if it.frozen && it.is_virtual {
            return; // it goes on with the machine
        }
        let due = fed.after(self.config.cluster.timing.watchdog);
        if due > self.now {
            self.queue.push(due, Event::Watchdog { host, boot });
            return;
        }
        self.say(|w| format!("{}: reset by its watchdog", w.hosts[host].name));
        self.power_off(host);
        self.power_on(host);
    }

    /// The machine gets power, and boots.
    pub fn power_on(&mut self, host: usize) {
        if self.hosts[host].powered || self.hosts[host].broken {
            return;
        }
        let base = self.random.below(5_000_000_000) + 1_000_000_000;
        let it = &mut self.hosts[host];
        it.powered = true;
        it.boot += 1;
        it.life += 1;
        it.clock = Clock::new(self.now, base, it.drift);
        it.libvirt = Libvirt::Up;
        it.kept_down = false;
        let boot = it.boot;
        let after = self.random.time(BOOT.0, BOOT.1);
        if !self.hosts[host].is_watched {
            self.push(after, Event::Boot { host, boot });
        }
        self.seat_begins(Seat::Machine { host, boot });
    }

    /// The machine has no power from now on.
    pub fn power_off(&mut self, host: usize) {
        if !self.hosts[host].powered {
            return;
        }
        self.end_daemon(host);
        let it = &mut self.hosts[host];
        it.powered = false;
        it.frozen = false;
        it.stopped = false;
        it.fed = None;
        it.lease = None;
        it.parked.clear();
        it.held.clear();
        for domain in it.domains.values_mut() {
            let (boot, bad_starts, life, nature) =
                (domain.boot, domain.bad_starts, domain.life, domain.nature);
            *domain = Domain { boot: boot + 1, bad_starts, life, nature, ..Domain::new() };
        }
        self.machine_ends(host);
        self.check_runs();
    }

    /// The daemon is no more. What it had not synced is there, lost or torn.
    pub fn end_daemon(&mut self, host: usize) {
        let it = &mut self.hosts[host];
        it.life += 1;
        it.held.clear();
        it.open.clear();
        it.stopped = false;
        let Some(mut daemon) = it.daemon.take() else { return };
        self.called_ends(host);
        let it = &mut self.hosts[host];
        for domain in it.domains.values_mut() {
            domain.link = None;
        }
        if let Some(saved) = daemon.storing.take()
            && self.random.once_in(2)
        {
            it.saved = saved;
        }
        let whole = if daemon.writes.is_empty() { 0 } else { self.random.index(daemon.writes.len() + 1) };
        for (nth, write) in daemon.writes.iter().enumerate() {
            if nth < whole {
                if daemon.store.write(write).is_err() {
                    break;
                }
            } else {
                if self.random.once_in(2) {
                    let bytes = self.random.index(200);
                    it.disk.tear_at(bytes);
                    let _ = daemon.store.write(write); // it is torn
                }
                break;
            }
        }
    }

    /// A life of the daemon begins, if the machine has one.
    fn start(&mut self, host: usize) {
        if self.hosts[host].is_watched {
            return;
        }
        if self.hosts[host].file.host_id(&self.hosts[host].name).is_none() {
            self.say(|w| {
                format!("{}: roostd does not start: its configuration does not name it", w.hosts[host].name)
            });
            return;
        }
        let seed = self.random.draw();
        let storage = StorageId((self.random.draw() >> 33) as u32 + 1);
        let it = &mut self.hosts[host];
        it.life += 1;
        it.start += 1;
        let (boot, life) = (it.boot, it.life);
        let (store, stored) = match Store::open(it.disk.clone(), storage) {
            Ok(opened) => opened,
            Err(error) => {
                if self.hosts[host].disk.fails() {
                    self.push(WRITE_AGAIN, Event::Start { host, life });
                } else {
                    self.violated(format!("the ledger of {} cannot be read: {error}", self.hosts[host].name));
                }
                return;
            }
        };
        let incarnation = Incarnation { start: it.start, boot: boot << 8 | host as u64 };
        let now = it.clock.show(self.now);
        let start = Start {
            host: it.name.clone(),
            incarnation,
            machine: host as u64 + 1,
            boot_id: format!("{boot}"),
            saved: it.saved.clone(),
            stored,
            lease_until: it.lease.filter(|(of, _)| *of == boot).map(|(_, until)| until),
            seed,
            screenshots: PathBuf::from("/screens"),
        };
        self.check.restarted(host, &start.stored);
        let engine = Engine::new(Arc::clone(&it.file), start, now);
        let it = &mut self.hosts[host];
        it.daemon = Some(Daemon {
            engine,
            incarnation,
            store,
            writes: VecDeque::new(),
            disk_told: false,
            storing: None,
            timer: None,
            connected: false,
            heard: BTreeMap::new(),
            room: None,
            shown: BTreeSet::new(),
        });
        self.say(|w| format!("{}: roostd starts ({}, boot {boot})", w.hosts[host].name, incarnation.start));
        self.hosts[host].put_away = false;
        self.tell(host, Input::Watchdog(self.device(host)));
        if self.tells_time() {
            self.minute(host);
        }
        if !self.hosts[host].has_libvirt {
            return;
        }
        let after = self.random.time(Duration::from_millis(5), Duration::from_millis(200));
        self.push(after, Event::Link { host, life });
        self.push(after + Duration::from_millis(1), Event::Poll { host, life });
    }

    /// Every host has this ledger on its disk, and its daemon, whose first life is admitted in it, starts.
    pub fn preload(&mut self, ledger: &Ledger, index: Index) {
        let data: Arc<[u8]> = postcard::to_allocvec(ledger).expect("a ledger can be encoded").into();
        let storage = |nth: usize| StorageId(u32::try_from(nth).expect("few hosts") + 1);
        let voting = self.config.hosts.iter().enumerate().filter(|(_, host)| host.votes);
        let voters: Voters = voting.map(|(nth, _)| (self.hosts[nth].id, storage(nth))).collect();
        for (nth, host) in self.hosts.iter_mut().enumerate() {
            let snapshot =
                Snapshot { ledger: LedgerId(1), index, term: 1, voters: voters.clone(), data: data.clone() };
            let records =
                vec![Record::Vote { term: 1, voted_for: None }, Record::Snapshot { snapshot, keep: false }];
            let (mut store, _) = Store::open(host.disk.clone(), storage(nth)).expect("an empty disk");
            store.write(&raft::Write { number: 1, records }).expect("a disk that works");
        }
        for host in 0..self.hosts.len() {
            self.start(host);
        }
    }

    /// Whether daemons have to know what time it is.
    fn tells_time(&self) -> bool {
        let windowed = |app: &App| matches!(app.failback, Failback::Auto { window: Some(_), .. });
        self.applications().any(|(_, app)| windowed(app))
    }

    /// A daemon is told which minute of the week it is; the world began on a Monday.
    fn minute(&mut self, host: usize) {
        let minute = u16::try_from(self.now.0 / 60_000_000_000 % MINUTES).expect("few minutes in a week");
        let life = self.hosts[host].life;
        self.push(Duration::from_secs(60), Event::Minute { host, life });
        self.tell(host, Input::Minute(minute));
    }

    fn note(&mut self, what: Word) {
        let at = self.now;
        self.told.iter_mut().for_each(|told| told.push(Told { at, what: what.clone() }));
    }

    /// Something must never be, and is.
    pub fn violated(&mut self, what: String) {
        if self.check.violation.is_none() {
            self.say(|_| format!("VIOLATION: {what}"));
            self.check.violation = Some(what);
        }
    }
}

fn machine(host: &roost::config::Host, file: &Arc<Config>, random: &mut Random) -> Host {
    let vms = file.groups.iter().filter(|group| group.app.is_none());
    let groups = vms.filter(|group| group.on.contains(&host.name));
    let drift = i64::try_from(random.below(10_001)).unwrap_or(0) - 5000;
    Host {
        name: host.name.clone(),
        file: file.clone(),
        id: HostId::of(&host.name),
        has_libvirt: host.role == Role::Hypervisor,
        has_watchdog: host.watchdog.is_some(),
        is_watched: host.role == Role::Watched,
        is_virtual: false,
        powered: false,
        boot: 0,
        clock: Clock::new(Time(0), 0, drift),
        drift,
        frozen: false,
        stopped: false,
        life: 0,
        start: 0,
        daemon: None,
        broken: false,
        kept_down: false,
        held: VecDeque::new(),
        open: BTreeMap::new(),
        disk: Disk::default(),
        saved: Saved::default(),
        lease: None,
        fed: None,
        put_away: false,
        libvirt: Libvirt::Up,
        parked: Vec::new(),
        agent: Agent::Works,
        withdrawn: BTreeSet::new(),
        domains: groups.map(|group| (group.vm.clone(), Domain::new())).collect(),
        memory: 64 * 1024,
        cpus: 32,
    }
}
