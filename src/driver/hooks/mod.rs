//! Hooks: programs of the operator's in `hooks.d`, which are told each event of this host. They run in a thread of their
//! own, one after the other, each for so long at most; nothing waits for them. When they do not keep up, the oldest events are
//! dropped, and that is told.
//!
//! An event counts as told when every hook has ended. What was not told when `roostd` ended is told by its next life, which
//! finds it in the event file: so each event is told at least once. What hooks themselves fail at is told to people, and
//! never to hooks.

mod folder;
mod run;

use super::leash::Leash;
use super::mailbox::{Mailbox, Teller, mailbox};
use core::time::Duration;
use jiff::Timestamp;
use roost_proto::control::{Event, EventKind, Level};
use roost_proto::text::{clip, printable};
use run::{Ran, Variable};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// How long one hook may take for one event: enough for a mail server or a web service that is slow, and what stands behind it
/// waits no longer.
pub const HOOK_LIMIT: Duration = Duration::from_secs(30);
/// Events that wait for hooks, at most: more than the loss of a whole host makes on another, and at most some MiB of memory.
pub const MAX_WAITING: usize = 256;
/// Bytes of one environment variable, at most. The kernel takes 128 KiB; what people read is far shorter, and the JSON has it
/// whole.
const MAX_VARIABLE: usize = 4096;
/// The thread formats JSON, reads a folder and waits.
const STACK: usize = 256 * 1024;

/// What hooks are to know, and where they are.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Their folder. Read at each event; it need not exist.
    pub folder: PathBuf,
    /// The file that keeps the number of the newest event that was told.
    pub position: PathBuf,
    /// The cluster's name.
    pub cluster: String,
    /// This host's.
    pub host: String,
    /// How long one hook may take for one event.
    pub limit: Duration,
}

/// Something about hooks that people are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// How bad it is.
    pub level: Level,
    /// What it is.
    pub text: String,
    /// The last lines that a hook wrote.
    pub output: String,
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs of one hook for one event.
    pub runs: u64,
    /// Those of them that did not end well.
    pub failures: u64,
    /// Events that were dropped.
    pub dropped: u64,
}

#[derive(Default)]
struct Counters {
    runs: AtomicU64,
    failures: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Life {
    #[default]
    Running,
    Ending,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Event>,
    /// Dropped since that was last told.
    dropped: u64,
    life: Life,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    ready: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no thread panics while it holds this")
    }

    /// The next event, and how many before it were dropped; none when the thread is to end.
    fn take(&self) -> Option<(Event, u64)> {
        let waiting = self.lock();
        let idle = |w: &mut Waiting| w.events.is_empty() && w.life == Life::Running;
        let mut waiting = self.ready.wait_while(waiting, idle).expect("no thread panics while it holds this");
        if waiting.life == Life::Ending {
            return None;
        }
        let event = waiting.events.pop_front()?;
        Some((event, core::mem::take(&mut waiting.dropped)))
    }
}

/// The hooks, from outside.
pub struct Hooks {
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    leash: Arc<Leash>,
    tell: Teller<Word>,
    told: Mailbox<Word>,
}

impl Hooks {
    /// Starts the thread. Of `events`, which are those of the lives before, those that were not told yet are told first.
    pub fn start<'a>(setup: Setup, events: impl IntoIterator<Item = &'a Event>) -> io::Result<Self> {
        let (tell, told) = mailbox()?;
        let (queue, counters) = (Arc::<Queue>::default(), Arc::<Counters>::default());
        let leash = Arc::<Leash>::default();
        let mut thread = HookThread {
            setup,
            counters: Arc::clone(&counters),
            leash: Arc::clone(&leash),
            tell: tell.clone(),
            failing: BTreeMap::new(),
            refused: BTreeMap::new(),
        };
        let hooks = Self { queue: Arc::clone(&queue), counters, leash, tell, told };
        let (mut newest, mut untold) = (0, Vec::new());
        let position = position(&thread.setup.position);
        for event in events {
            newest = event.seq;
            untold.extend(position.filter(|told| event.seq > *told).map(|_| event));
        }
        untold.into_iter().for_each(|event| hooks.give(event));
        let work = move || {
            if position.is_none() {
                thread.keep_position(newest); // hooks are not told of what was before there could be any
            }
            thread.run(&queue);
        };
        std::thread::Builder::new().name("hooks".to_owned()).stack_size(STACK).spawn(work)?;
        Ok(hooks)
    }

    /// Tells the hooks of an event, in their time. What is about hooks is not for them.
    pub fn give(&self, event: &Event) {
        if event.kind == EventKind::Hook {
            return;
        }
        let mut waiting = self.queue.lock();
        if waiting.events.len() == MAX_WAITING {
            waiting.events.pop_front();
            waiting.dropped += 1;
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            if waiting.dropped == 1 {
                let text = format!(
                    "hooks do not keep up: {MAX_WAITING} events wait for them, and the oldest are dropped from now on"
                );
                self.tell.tell(Word { level: Level::Warning, text, output: String::new() });
            }
        }
        waiting.events.push_back(event.clone());
        self.queue.ready.notify_one();
    }

    /// Readable when [`Hooks::poll`] has something.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.told.fd()
    }

    /// Something that people are to be told, if there is anything.
    pub fn poll(&self) -> Option<Word> {
        self.told.take()
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        Counts {
            runs: self.counters.runs.load(Ordering::Relaxed),
            failures: self.counters.failures.load(Ordering::Relaxed),
            dropped: self.counters.dropped.load(Ordering::Relaxed),
        }
    }

    /// Events that wait.
    pub fn waiting(&self) -> usize {
        self.queue.lock().events.len()
    }

    /// Begins no event any more; what waits is for the next life. So is what is being told: the hook that runs is killed.
    pub fn stop(&self) {
        self.queue.lock().life = Life::Ending;
        self.leash.cut();
        self.queue.ready.notify_one();
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The number of the newest event that was told, if any was.
fn position(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// An event, with what an event alone does not say.
#[derive(Serialize)]
struct Told<'a> {
    cluster: &'a str,
    host: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

struct HookThread {
    setup: Setup,
    counters: Arc<Counters>,
    leash: Arc<Leash>,
    tell: Teller<Word>,
    /// Hooks whose last run did not end well, and how often in a row they did not.
    failing: BTreeMap<String, u64>,
    /// What is not run, and why, as people were told.
    refused: BTreeMap<String, String>,
}

impl HookThread {
    fn run(&mut self, queue: &Queue) {
        while let Some((event, dropped)) = queue.take() {
            if dropped > 0 {
                let text = format!("hooks keep up again; {dropped} events were not told to them");
                self.say(Level::Warning, text, String::new());
            }
            self.event(&event);
            if self.leash.is_cut() {
                return;
            }
            self.keep_position(event.seq);
        }
    }

    fn say(&self, level: Level, text: String, output: String) {
        self.tell.tell(Word { level, text, output });
    }

    /// Without it the next life tells less, which is no reason to tell nothing now.
    fn keep_position(&self, seq: u64) {
        let file = &self.setup.position;
        let new = file.with_extension("new");
        if let Err(error) =
            std::fs::write(&new, format!("{seq}\n")).and_then(|()| std::fs::rename(&new, file))
        {
            log::debug!("'{}' cannot be written: {error}", file.display());
        }
    }

    fn event(&mut self, event: &Event) {
        let found = folder::read(&self.setup.folder);
        self.tell_refused(found.refused);
        let names: Vec<&String> = found.hooks.iter().map(|(name, _)| name).collect();
        self.failing.retain(|name, _| names.contains(&name));
        if found.hooks.is_empty() {
            return;
        }
        let told = Told { cluster: &self.setup.cluster, host: &self.setup.host, event };
        let mut json = serde_json::to_vec(&told).expect("an event is plain data");
        json.push(b'\n');
        let variables = variables(&self.setup, event);
        for (name, path) in &found.hooks {
            self.counters.runs.fetch_add(1, Ordering::Relaxed);
            let ran = run::run(&self.leash, path, &json, &variables, self.setup.limit);
            if self.leash.is_cut() {
                return;
            }
            self.judge(name, event, ran);
        }
    }

    /// A hook that begins to fail is told of, with its last words, and one that works again; not each failure between.
    fn judge(&mut self, name: &str, event: &Event, ran: Ran) {
        match ran {
            Ran::Well => {
                if let Some(times) = self.failing.remove(name) {
                    let text = match times {
                        1 => format!("hook '{name}' works again"),
                        times => format!("hook '{name}' works again, after it failed {times} times"),
                    };
                    self.say(Level::Info, text, String::new());
                }
            }
            Ran::Badly { why, output } => {
                self.counters.failures.fetch_add(1, Ordering::Relaxed);
                let times = self.failing.entry(name.to_owned()).or_default();
                *times += 1;
                if *times == 1 {
                    let text = format!("hook '{name}', told of event {}, {why}", event.seq);
                    self.say(Level::Warning, text, output);
                }
            }
        }
    }

    /// What is not run is told of once, and again when the reason is another.
    fn tell_refused(&mut self, refused: BTreeMap<String, (Level, String)>) {
        for (name, (level, why)) in &refused {
            if self.refused.get(name) != Some(why) {
                self.say(*level, why.clone(), String::new());
            }
        }
        self.refused = refused.into_iter().map(|(name, (_, why))| (name, why)).collect();
    }
}

/// The event as environment variables, for scripts that read no JSON.
fn variables(setup: &Setup, event: &Event) -> Vec<Variable> {
    let word = |value: serde_json::Result<serde_json::Value>| {
        value.ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let at = i64::try_from(event.at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    [
        ("ROOST_CLUSTER", setup.cluster.clone()),
        ("ROOST_HOST", setup.host.clone()),
        ("ROOST_SEQ", event.seq.to_string()),
        ("ROOST_AT", at.map(|at| format!("{at:.3}")).unwrap_or_default()),
        ("ROOST_LEVEL", word(serde_json::to_value(event.level))),
        ("ROOST_KIND", word(serde_json::to_value(event.kind))),
        ("ROOST_GROUP", event.group.clone().unwrap_or_default()),
        ("ROOST_TEXT", event.text.clone()),
    ]
    .into_iter()
    .map(|(name, value)| (name, clip(&printable(&value), MAX_VARIABLE).to_owned()))
    .collect()
}
