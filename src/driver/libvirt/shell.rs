//! The threads of the driver: one that runs the manager, one for libvirt's event loop, and workers for the calls.
//!
//! A worker that hangs in libvirt hangs alone. Workers are started when they are first needed, and there are never more
//! than the manager has slots.

use super::calls::{Line, Link};
use super::error::CallError;
use super::kill::kill;
use super::manager::{Deed, Fact, LinkId, Manager};
use super::orders::{self, Lane, lane};
use super::outbox::Outbox;
use super::{gauge, moves, view, watch};
use crate::driver::clock;
use crate::engine::keeper::vm::{ActionError, LibvirtInput, Order, VmAction};
use crate::sys::libvirt::{Notice, Sink};
use crate::sys::memory::release_code;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread;

/// The stack of each thread. Only what is used of it takes memory; libvirt's client uses a few KiB, its QEMU driver,
/// which runs in the callers' threads for `qemu:///embed`, far more.
const STACK: usize = 512 * 1024;
/// Facts that wait for the manager, at most. It never blocks, so that more wait only when libvirt tells of thousands
/// of things at once; then all domains are looked at instead.
const MAX_FACTS: usize = 1024;
/// The wait after libvirt's event loop failed, so that a failure that stays does not take a whole core.
const LOOP_RETRY: Duration = Duration::from_secs(1);

/// What the manager's thread is told.
pub enum Message {
    /// Connecting ended.
    Opened(Result<Arc<Link>, CallError>),
    /// Anything else.
    Fact(Fact),
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Message>,
    missed: Missed,
    life: Life,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Missed {
    #[default]
    Nothing,
    Notices,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Life {
    #[default]
    Running,
    Ending,
}

/// The way to the manager's thread.
#[derive(Default)]
pub struct Inbox {
    waiting: Mutex<Waiting>,
    ready: Condvar,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no thread panics while it holds this")
    }

    /// Adds a message. Notices that are too many are dropped, and the manager is told so.
    pub fn push(&self, message: Message) {
        let mut waiting = self.lock();
        if waiting.messages.len() >= MAX_FACTS && matches!(message, Message::Fact(Fact::Notice(..))) {
            waiting.missed = Missed::Notices;
        } else {
            waiting.messages.push_back(message);
        }
        self.ready.notify_one();
    }

    /// Ends the manager's thread.
    pub fn end(&self) {
        self.lock().life = Life::Ending;
        self.ready.notify_one();
    }

    /// What waits, or nothing after `wait`; none when it is to end.
    fn take(&self, wait: Option<Duration>) -> Option<VecDeque<Message>> {
        let mut waiting = self.lock();
        let idle =
            |w: &mut Waiting| w.messages.is_empty() && w.missed == Missed::Nothing && w.life == Life::Running;
        let poisoned = "no thread panics while it holds this";
        waiting = match wait {
            Some(wait) => self.ready.wait_timeout_while(waiting, wait, idle).expect(poisoned).0,
            None => self.ready.wait_while(waiting, idle).expect(poisoned),
        };
        if waiting.life == Life::Ending {
            return None;
        }
        let mut messages = core::mem::take(&mut waiting.messages);
        if core::mem::take(&mut waiting.missed) == Missed::Notices {
            messages.push_back(Message::Fact(Fact::Missed));
        }
        Some(messages)
    }
}

/// What a worker has of its own: its connection, and to which link that belongs.
type Own = Option<(LinkId, Line)>;
type Job = Box<dyn FnOnce(&mut Own) + Send>;

/// Threads that run one job at a time each.
struct Crew {
    name: &'static str,
    workers: Vec<Option<Sender<Job>>>,
}

impl Crew {
    fn new(name: &'static str, size: usize) -> Self {
        Self { name, workers: (0..size).map(|_| None).collect() }
    }

    /// Gives a job to a worker, which is idle.
    fn run(&mut self, worker: usize, job: Job) -> io::Result<()> {
        let jobs = match &self.workers[worker] {
            Some(jobs) => jobs,
            None => {
                let (jobs, todo) = channel::<Job>();
                let name = format!("libvirt-{}{worker}", self.name);
                thread::Builder::new().name(name).stack_size(STACK).spawn(move || {
                    let mut own = None;
                    todo.iter().for_each(|job| job(&mut own));
                })?;
                self.workers[worker].insert(jobs)
            }
        };
        jobs.send(job).expect("a worker ends only when its sender is dropped");
        Ok(())
    }
}

/// How far the process came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StartUp {
    /// Nothing was asked yet.
    Begun,
    /// Everything was asked for once.
    Asked,
    /// What the start alone needed was let go.
    Over,
}

/// Carries the manager's decisions out.
struct Shell {
    uri: String,
    manager: Manager,
    inbox: Arc<Inbox>,
    outbox: Arc<Outbox>,
    link: Option<Arc<Link>>,
    id: LinkId,
    start_up: StartUp,
    openers: Crew,
    askers: Crew,
    actors: Crew,
    movers: Crew,
    killers: Crew,
    removers: Crew,
    gauges: Crew,
    uuids: Uuids,
}

/// The domains' UUIDs, as libvirt last showed them.
type Uuids = Arc<Mutex<BTreeMap<String, String>>>;

/// Starts the threads. They end when the inbox is told to, and a call that hangs ends them no sooner than it does.
pub fn start(uri: &str, period: Duration, inbox: Arc<Inbox>, outbox: Arc<Outbox>) -> io::Result<()> {
    run_event_loop()?;
    let mut shell = Shell {
        uri: uri.to_owned(),
        manager: Manager::new(clock::now(), period),
        inbox,
        outbox,
        link: None,
        id: LinkId(0),
        start_up: StartUp::Begun,
        openers: Crew::new("open", 1),
        askers: Crew::new("ask", watch::SLOTS),
        actors: Crew::new("act", orders::CALL_SLOTS),
        movers: Crew::new("move", orders::MOVE_SLOTS),
        killers: Crew::new("kill", orders::KILL_SLOTS),
        removers: Crew::new("file", orders::FILE_SLOTS),
        gauges: Crew::new("gauge", gauge::SLOTS),
        uuids: Uuids::default(),
    };
    thread::Builder::new().name("libvirt".to_owned()).stack_size(STACK).spawn(move || shell.run())?;
    Ok(())
}

/// libvirt has one event loop for the whole process, which is never taken down.
fn run_event_loop() -> io::Result<()> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let started = STARTED.get_or_init(|| {
        virt::error::clear_error_callback(); // it would write every error to standard error
        virt::event::event_register_default_impl().map_err(|error| error.to_string())?;
        let events = || loop {
            if let Err(error) = virt::event::event_run_default_impl() {
                log::error!("libvirt's event loop failed and is run again: {error}");
                thread::sleep(LOOP_RETRY);
            }
        };
        let thread = thread::Builder::new().name("libvirt-events".to_owned()).stack_size(STACK).spawn(events);
        thread.map(drop).map_err(|error| error.to_string())
    });
    started.clone().map_err(io::Error::other)
}

impl Shell {
    fn run(&mut self) {
        loop {
            let wait = self.manager.poll_timeout().map(|at| at.since(clock::now()));
            let Some(messages) = self.inbox.take(wait) else { return };
            for message in messages {
                let fact = match message {
                    Message::Fact(fact) => fact,
                    Message::Opened(result) => Fact::Opened(result.map(|link| self.link = Some(link))),
                };
                self.manager.handle(clock::now(), fact);
            }
            self.manager.handle_timeout(clock::now());
            while let Some(deed) = self.manager.poll_output() {
                self.carry_out(deed);
            }
        }
    }

    fn carry_out(&mut self, deed: Deed) {
        match deed {
            Deed::Open(id) => self.open(id),
            Deed::Ask(slot, ask) => self.ask(slot, ask),
            Deed::Act(slot, order) => self.act(slot, order),
            Deed::Gauge(slot, domain) => self.gauge(slot, domain),
            Deed::Tell(input) => self.outbox.push(input),
            Deed::Note(text) => log::warn!("{text}"),
        }
    }

    fn open(&mut self, id: LinkId) {
        let before = self.link.take();
        self.id = id;
        let (uri, inbox) = (self.uri.clone(), Arc::clone(&self.inbox));
        let sink = self.sink(id);
        let job = move |_: &mut Own| {
            drop(before); // here, because it may take its time
            inbox.push(Message::Opened(Link::open(&uri, &sink).map(Arc::new)));
        };
        if let Err(error) = self.openers.run(0, Box::new(job)) {
            self.inbox.push(Message::Opened(Err(no_thread(&error))));
        }
    }

    fn sink(&self, id: LinkId) -> Sink {
        let (uri, inbox) = (self.uri.clone(), Arc::clone(&self.inbox));
        Arc::new(move |notice| {
            inbox.push(Message::Fact(match notice {
                Notice::Domain { name, what } => Fact::Notice(id, name, what),
                Notice::Closed { reason } => Fact::Closed(id, format!("{} ('{uri}')", view::closed(reason))),
            }));
        })
    }

    fn ask(&mut self, slot: usize, ask: watch::Ask) {
        if matches!(ask, watch::Ask::All(_)) {
            self.start_up = self.start_up.next();
        }
        let (way, inbox, outbox) = (self.way(), Arc::clone(&self.inbox), Arc::clone(&self.outbox));
        let uuids = Arc::clone(&self.uuids);
        let job = move |own: &mut Own| {
            let begun = clock::now();
            let answer = way.follow(own, |line| line.ask(&ask));
            outbox.answered(clock::now().since(begun));
            if let (Ok(watch::Answer::All(_)), Some((_, line))) = (&answer, &*own)
                && let Some(room) = line.room()
            {
                outbox.push(LibvirtInput::Room(room));
            }
            if let (Ok(watch::Answer::All(_) | watch::Answer::One(_)), Some((_, line))) = (&answer, &*own) {
                // What it holds of others may be older.
                let asked = |name: &str| !matches!(&ask, watch::Ask::One(one) if one != name);
                let seen = line.uuids().filter(|(name, _)| asked(name));
                uuids.lock().expect("no thread panics while it holds this").extend(seen);
            }
            inbox.push(Message::Fact(Fact::Answer(slot, answer)));
        };
        if let Err(error) = self.askers.run(slot, Box::new(job)) {
            self.inbox.push(Message::Fact(Fact::Answer(slot, Err(no_thread(&error)))));
        }
    }

    fn act(&mut self, slot: usize, order: Order) {
        let (lane, worker) = lane(slot);
        let job = match lane {
            Lane::Call | Lane::Move => self.call(slot, order),
            Lane::Kill => self.kill(slot, order),
            Lane::File => self.remove(slot, order),
        };
        let crew = match lane {
            Lane::Call => &mut self.actors,
            Lane::Move => &mut self.movers,
            Lane::Kill => &mut self.killers,
            Lane::File => &mut self.removers,
        };
        if let Err(error) = crew.run(worker, job) {
            self.inbox.push(Message::Fact(Fact::Ended(slot, Err(no_thread(&error).into()))));
        }
    }

    fn call(&self, slot: usize, order: Order) -> Job {
        let (way, inbox) = (self.way(), Arc::clone(&self.inbox));
        let deadline = clock::now() + order.limit;
        Box::new(move |own| {
            let mut stood_still = None;
            let result = way.follow(own, |line| line.act(&order, deadline, &mut stood_still));
            if let Some(time) = stood_still {
                inbox.push(Message::Fact(Fact::StoodStill(slot, time)));
            }
            inbox.push(Message::Fact(Fact::Ended(slot, result.map_err(ActionError::from))));
        })
    }

    /// Kills a VM's process, whatever libvirt does.
    fn kill(&self, slot: usize, order: Order) -> Job {
        let (uri, inbox) = (self.uri.clone(), Arc::clone(&self.inbox));
        let deadline = clock::now() + order.limit;
        let name = order.domain;
        let uuid = self.uuids.lock().expect("no thread panics while it holds this").get(&name).cloned();
        Box::new(move |_| {
            let result = kill(&uri, &name, uuid.as_deref(), deadline);
            inbox.push(Message::Fact(Fact::Ended(slot, result.map_err(ActionError::from))));
        })
    }

    /// Takes a file away, whatever libvirt does.
    fn remove(&self, slot: usize, order: Order) -> Job {
        let inbox = Arc::clone(&self.inbox);
        Box::new(move |_| {
            let VmAction::Forget { file } = &order.action else {
                unreachable!("no other order is in this lane")
            };
            let result = moves::forget(file);
            inbox.push(Message::Fact(Fact::Ended(slot, result.map_err(ActionError::from))));
        })
    }

    fn gauge(&mut self, slot: usize, domain: String) {
        let (way, inbox) = (self.way(), Arc::clone(&self.inbox));
        let job = move |own: &mut Own| {
            // What it does not say now it may say the next time.
            let percent = way.follow(own, |line| line.gauge(&domain)).unwrap_or_default();
            inbox.push(Message::Fact(Fact::Gauged(slot, percent)));
        };
        if self.gauges.run(slot, Box::new(job)).is_err() {
            self.inbox.push(Message::Fact(Fact::Gauged(slot, None)));
        }
    }

    fn way(&self) -> Way {
        Way { uri: self.uri.clone(), id: self.id, link: self.link.clone() }
    }
}

impl StartUp {
    /// A poll begins.
    fn next(self) -> Self {
        match self {
            Self::Begun => Self::Asked,
            Self::Asked => {
                if let Err(error) = release_code() {
                    log::debug!("code that is not needed stays in memory: {error}");
                }
                Self::Over
            }
            Self::Over => Self::Over,
        }
    }
}

/// How a worker gets to libvirt.
struct Way {
    uri: String,
    id: LinkId,
    link: Option<Arc<Link>>,
}

impl Way {
    /// Makes a call on the worker's own connection, which is opened for it if it has none to this libvirt.
    fn follow<T>(
        self,
        own: &mut Own,
        call: impl FnOnce(&mut Line) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let gone = || CallError::Gone("it was closed".to_owned());
        let link = self.link.ok_or_else(gone)?;
        if own.as_ref().is_none_or(|(id, _)| *id != self.id) {
            *own = None; // the old one first, so that there is never one too many
            let line = Line::open(&self.uri, &link).map_err(|error| CallError::Gone(error.to_string()))?;
            *own = Some((self.id, line));
        }
        drop(link);
        let (_, line) = own.as_mut().ok_or_else(gone)?;
        let result = call(line);
        if matches!(result, Err(CallError::Gone(_))) {
            *own = None;
        }
        result
    }
}

fn no_thread(error: &io::Error) -> CallError {
    CallError::Failed(format!("no thread could be started: {error}; raise the service's TasksMax"))
}
