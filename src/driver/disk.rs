//! The disk: the state document and the event file, written by a thread of their own, since a disk may take its time.
//!
//! `state.json` is written whole to a temporary name, synced, and renamed. `events.jsonl` is appended to and, at
//! [`EVENT_FILE_LIMIT`], renamed to `events.1.jsonl` over the one before. A full disk loses no state and stops no recovery:
//! events that could not be written are counted, and told of once there is room.

use super::mailbox::{Mailbox, Teller, mailbox};
use roost_proto::control::Event;
use roost_proto::state::{STATE_VERSION, Saved};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// The event file is renamed when it is larger; two of them are kept, 2 MiB in all.
pub const EVENT_FILE_LIMIT: u64 = 1024 * 1024;
/// Events kept in memory, for `roost events`.
pub const EVENTS_IN_MEMORY: usize = 1000;
/// Jobs that may wait for the disk; further events are counted as lost on disk.
const MAX_JOBS: usize = 1024;
/// The longest line of the event file that is read back, in bytes.
const MAX_EVENT_LINE: usize = 64 * 1024;
/// The largest state document that is read, in bytes: far above what `MAX_SAVED_GROUPS` make.
const MAX_STATE: u64 = 64 * 1024 * 1024;
/// The disk thread formats JSON and calls write; a small stack does.
const STACK: usize = 128 * 1024;

enum Job {
    State(Saved),
    Event(Event),
}

/// What the disk says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The state document is on disk, or is not.
    Stored(Result<(), String>),
    /// Events cannot be written, as of now; told for each new reason.
    EventsFail(String),
    /// Events can be written again; so many are not on disk.
    EventsWork {
        /// How many.
        lost: u64,
    },
}

/// The disk thread, from outside.
pub struct Disk {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    done: Mailbox<Done>,
    not_taken: u64,
}

/// The thread has too much to do already.
struct Full;

/// Why a folder cannot hold the state.
#[derive(Debug)]
pub struct StateError {
    file: PathBuf,
    what: String,
}

impl core::fmt::Display for StateError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "'{}' {}: put a good copy in its place, or move it away (then every group counts as wanted online)",
            self.file.display(),
            self.what
        )
    }
}

impl core::error::Error for StateError {}

/// Reads the state document; there is none at first.
pub fn load_state(dir: &Path) -> Result<Saved, StateError> {
    let file = dir.join("state.json");
    let wrong = |what: String| StateError { file: file.clone(), what };
    let text = match std::fs::metadata(&file) {
        Ok(meta) if meta.len() > MAX_STATE => {
            return Err(wrong("is too large to be a state document".to_owned()));
        }
        Ok(_) => std::fs::read_to_string(&file).map_err(|error| wrong(format!("cannot be read: {error}")))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Saved::default()),
        Err(error) => return Err(wrong(format!("cannot be read: {error}"))),
    };
    let saved: Saved = serde_json::from_str(&text).map_err(|error| wrong(format!("is damaged ({error})")))?;
    if saved.version > STATE_VERSION {
        return Err(wrong(format!("is of version {}, which a newer roostd wrote", saved.version)));
    }
    Ok(saved)
}

/// Reads the newest events back, oldest first. Lines that are none are passed over.
pub fn load_events(dir: &Path) -> VecDeque<Event> {
    let mut events = VecDeque::new();
    for name in ["events.1.jsonl", "events.jsonl"] {
        let Ok(file) = File::open(dir.join(name)) else { continue };
        for line in BufReader::new(file.take(2 * EVENT_FILE_LIMIT)).split(b'\n').map_while(Result::ok) {
            if line.len() > MAX_EVENT_LINE {
                continue;
            }
            if let Ok(event) = serde_json::from_slice(&line) {
                if events.len() == EVENTS_IN_MEMORY {
                    events.pop_front();
                }
                events.push_back(event);
            }
        }
    }
    events
}

impl Disk {
    /// Starts the thread for the folder `dir`, which exists.
    pub fn start(dir: PathBuf) -> io::Result<Self> {
        let (jobs, todo) = sync_channel(MAX_JOBS);
        let (tell, done) = mailbox()?;
        let work = move || Writer { dir, events: None, lost: 0, failing: None, tell }.run(&todo);
        let thread = std::thread::Builder::new().name("disk".to_owned()).stack_size(STACK).spawn(work)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), done, not_taken: 0 })
    }

    /// Becomes readable when [`Disk::poll`] has something.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.done.fd()
    }

    /// Stores the state document. One at a time; answered by [`Done::Stored`].
    pub fn store(&mut self, saved: Saved) -> Result<(), String> {
        self.take(Job::State(saved)).map_err(|_| "the disk does not keep up".to_owned())
    }

    /// Appends an event to the file.
    pub fn append(&mut self, event: Event) {
        if self.take(Job::Event(event)).is_err() {
            self.not_taken += 1;
        }
    }

    fn take(&self, job: Job) -> Result<(), Full> {
        self.jobs.as_ref().ok_or(Full)?.try_send(job).map_err(|_| Full)
    }

    /// Waits until what was handed over is written; nothing more is taken.
    pub fn finish(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it can only have ended
        }
    }

    /// Events that were not even handed to the thread, because the disk hangs.
    pub const fn not_taken(&self) -> u64 {
        self.not_taken
    }

    /// What the disk says, if anything.
    pub fn poll(&mut self) -> Option<Done> {
        self.done.take()
    }
}

struct Writer {
    dir: PathBuf,
    events: Option<(File, u64)>,
    lost: u64,
    /// Why events cannot be written, while that is so.
    failing: Option<String>,
    tell: Teller<Done>,
}

impl Writer {
    fn run(mut self, todo: &Receiver<Job>) {
        while let Ok(job) = todo.recv() {
            match job {
                Job::State(saved) => {
                    let result = self.store(&saved).map_err(|error| error.to_string());
                    self.tell.tell(Done::Stored(result));
                }
                Job::Event(event) => self.event(&event),
            }
        }
    }

    fn store(&self, saved: &Saved) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(saved)?;
        let new = self.dir.join("state.json.new");
        let mut file = File::create(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&new, self.dir.join("state.json"))?;
        File::open(&self.dir)?.sync_all()
    }

    fn event(&mut self, event: &Event) {
        match self.append(event) {
            Ok(()) if self.failing.is_some() => {
                self.failing = None;
                let lost = core::mem::take(&mut self.lost);
                self.tell.tell(Done::EventsWork { lost });
            }
            Ok(()) => {}
            Err(error) => {
                self.events = None;
                self.lost += 1;
                let why = error.to_string();
                if self.failing.as_ref() != Some(&why) {
                    self.tell.tell(Done::EventsFail(why.clone()));
                    self.failing = Some(why);
                }
            }
        }
    }

    fn append(&mut self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        let path = self.dir.join("events.jsonl");
        if self.events.as_ref().is_some_and(|(_, size)| *size >= EVENT_FILE_LIMIT) {
            self.events = None;
            std::fs::rename(&path, self.dir.join("events.1.jsonl"))?;
        }
        if self.events.is_none() {
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            let size = file.metadata()?.len();
            self.events = Some((file, size));
            line.insert(0, b'\n'); // a line that a crash or a full disk cut off ends here
        }
        let (file, size) = self.events.as_mut().expect("it was opened above");
        file.write_all(&line)?;
        *size += line.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roost_proto::control::{EventKind, Level};

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("roost-disk-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).expect("a fresh folder");
        dir
    }

    fn event(seq: u64, text: &str) -> Event {
        let (level, kind) = (Level::Info, EventKind::App);
        Event { seq, at_ms: 1, level, kind, group: None, text: text.to_owned(), output: String::new() }
    }

    /// The next word of the disk, waited for by its event.
    fn next(disk: &mut Disk) -> Done {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        loop {
            if let Some(done) = disk.poll() {
                return done;
            }
            let ready = poll(&mut [PollFd::new(disk.fd(), PollFlags::POLLIN)], PollTimeout::from(30_000_u16));
            assert_eq!(ready, Ok(1), "the disk says nothing");
        }
    }

    #[test]
    fn state_comes_back_and_damage_is_refused() {
        let dir = folder("state");
        assert_eq!(load_state(&dir).expect("none yet"), Saved::default());
        let mut saved = Saved { version: STATE_VERSION, ..Saved::default() };
        saved.groups.insert("web".to_owned(), roost_proto::state::SavedGroup::default());
        let mut disk = Disk::start(dir.clone()).expect("a thread");
        disk.store(saved.clone()).expect("room");
        assert_eq!(next(&mut disk), Done::Stored(Ok(())));
        assert_eq!(load_state(&dir).expect("whole"), saved);
        std::fs::write(dir.join("state.json"), "{\"version\":1,").expect("writable");
        let error = load_state(&dir).expect_err("damaged").to_string();
        assert!(error.contains("state.json") && error.contains("move it away"), "{error}");
        std::fs::write(dir.join("state.json"), "{\"version\":99,\"boot_id\":\"\",\"groups\":{}}")
            .expect("writable");
        assert!(load_state(&dir).expect_err("newer").to_string().contains("newer roostd"));
        std::fs::remove_dir_all(&dir).expect("ours");
    }

    #[test]
    fn the_event_file_is_bounded_and_survives_a_torn_line() {
        let dir = folder("events");
        std::fs::write(dir.join("events.jsonl"), "{\"seq\":1,\"at_ms\":").expect("writable");
        let mut disk = Disk::start(dir.clone()).expect("a thread");
        let long = "x".repeat(4000);
        let total = 3 * EVENT_FILE_LIMIT / 4000;
        for seq in 1..=total {
            let sent = disk.jobs.as_ref().expect("open").send(Job::Event(event(seq, &long)));
            assert!(sent.is_ok(), "the thread lives");
        }
        disk.store(Saved::default()).expect("room"); // answered after all events were written
        assert_eq!(next(&mut disk), Done::Stored(Ok(())));
        let size = |name: &str| std::fs::metadata(dir.join(name)).expect("exists").len();
        assert!(size("events.jsonl") + size("events.1.jsonl") <= 2 * (EVENT_FILE_LIMIT + 5000));
        let events = load_events(&dir);
        assert_eq!(events.back().map(|e| e.seq), Some(total));
        assert!(events.iter().zip(events.iter().skip(1)).all(|(a, b)| a.seq + 1 == b.seq));
        std::fs::remove_dir_all(&dir).expect("ours");
    }

    #[test]
    fn what_ails_the_disk_is_told_once_each_and_counted() {
        let dir = folder("full");
        std::os::unix::fs::symlink("/dev/full", dir.join("events.jsonl")).expect("a link"); // every write: no space
        let mut disk = Disk::start(dir.clone()).expect("a thread");
        for seq in 1..=3 {
            disk.append(event(seq, "lost"));
        }
        assert!(matches!(next(&mut disk), Done::EventsFail(why) if why.contains("No space")));
        disk.store(Saved::default()).expect("room"); // all three were tried when this is answered
        assert_eq!(next(&mut disk), Done::Stored(Ok(())));
        std::fs::remove_file(dir.join("events.jsonl")).expect("ours");
        std::fs::create_dir(dir.join("events.jsonl")).expect("ours");
        disk.append(event(4, "lost for another reason"));
        assert!(matches!(next(&mut disk), Done::EventsFail(why) if why.contains("directory")));
        std::fs::remove_dir(dir.join("events.jsonl")).expect("ours");
        disk.append(event(5, "there is room"));
        assert_eq!(next(&mut disk), Done::EventsWork { lost: 4 });
        assert_eq!(load_events(&dir).len(), 1);
        std::fs::remove_dir_all(&dir).expect("ours");
    }
}
