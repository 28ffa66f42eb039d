//! Hooks, with real scripts.

use nix::poll::{PollFd, PollFlags, poll};
use roost::driver::hooks::{Counts, HOOK_LIMIT, Hooks, MAX_WAITING, Setup, Word};
use roost_proto::control::{Event, EventKind, Level};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A generous bound for what should take milliseconds, on a machine that does other things too.
const SOON: Duration = Duration::from_secs(30);

/// A folder with hooks and what they leave behind; it goes when it is dropped.
struct Bed {
    dir: PathBuf,
}

impl Bed {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("roost-hooks-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("hooks.d")).expect("a fresh folder");
        let bed = Self { dir };
        bed.mode("hooks.d", 0o755);
        bed
    }

    fn mode(&self, file: &str, mode: u32) {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.dir.join(file), permissions).expect("ours");
    }

    /// A hook; `DIR` in it stands for the folder.
    fn hook(&self, name: &str, script: &str) {
        let script = script.replace("DIR", self.dir.to_str().expect("a plain path"));
        let file = format!("hooks.d/{name}");
        std::fs::write(self.dir.join(&file), format!("#!/bin/sh\n{script}\n")).expect("writable");
        self.mode(&file, 0o755);
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.dir.join(file)).unwrap_or_default()
    }

    fn setup(&self, limit: Duration) -> Setup {
        Setup {
            folder: self.dir.join("hooks.d"),
            position: self.dir.join("hooks.seq"),
            cluster: "lab".to_owned(),
            host: "hv1".to_owned(),
            limit,
        }
    }

    fn start(&self, limit: Duration) -> Hooks {
        Hooks::start(self.setup(limit), []).expect("a thread")
    }

    /// Waits for something to be so.
    fn until(&self, what: &str, found: impl Fn() -> bool) {
        let begun = Instant::now();
        while !found() {
            assert!(begun.elapsed() < SOON, "not within {SOON:?}: {what}");
            std::thread::sleep(Duration::from_millis(5)); // between two looks; the bound above judges
        }
    }

    /// Waits until this event was told to all hooks.
    fn told(&self, seq: u64) {
        self.until(&format!("event {seq} is told"), || self.read("hooks.seq") == format!("{seq}\n"));
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn event(seq: u64) -> Event {
    Event {
        seq,
        at_ms: 1_790_000_000_123,
        level: Level::Warning,
        kind: EventKind::VmFailed,
        group: Some("web".to_owned()),
        text: format!("event {seq}"),
        output: String::new(),
    }
}

/// The next thing that people are told.
fn word(hooks: &Hooks) -> Word {
    loop {
        if let Some(word) = hooks.poll() {
            return word;
        }
        let mut fds = [PollFd::new(hooks.fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, 30_000u16), Ok(1), "nothing is told");
    }
}

/// Everything that people were told so far.
fn words(hooks: &Hooks) -> Vec<Word> {
    std::iter::from_fn(|| hooks.poll()).collect()
}

#[test]
fn every_hook_hears_every_event_in_order() {
    let bed = Bed::new();
    bed.hook("20-second", "echo second $ROOST_SEQ >> DIR/log");
    bed.hook("10-first", "echo first $ROOST_SEQ >> DIR/log");
    let hooks = bed.start(HOOK_LIMIT);
    (1..=3).for_each(|seq| hooks.give(&event(seq)));
    bed.told(3);
    assert_eq!(bed.read("log"), "first 1\nsecond 1\nfirst 2\nsecond 2\nfirst 3\nsecond 3\n");
    assert_eq!(hooks.counts(), Counts { runs: 6, failures: 0, dropped: 0 });
    bed.hook("30-third", "echo third $ROOST_SEQ >> DIR/log");
    std::fs::remove_file(bed.dir.join("hooks.d/10-first")).expect("ours");
    hooks.give(&event(4));
    bed.told(4);
    assert!(bed.read("log").ends_with("first 3\nsecond 3\nsecond 4\nthird 4\n"), "no reload is needed");
    assert_eq!(words(&hooks), []);
}

#[test]
fn a_hook_gets_the_event_as_json_and_as_environment() {
    let bed = Bed::new();
    bed.hook("all", "cat > DIR/json; env | LC_ALL=C sort > DIR/env; pwd > DIR/where");
    let hooks = bed.start(HOOK_LIMIT);
    let told =
        Event { text: "it's \"odd\" \0\x1b[2J\nand $HOME".to_owned(), output: "x\ny".into(), ..event(7) };
    hooks.give(&told);
    bed.told(7);
    let json = bed.read("json");
    assert!(json.ends_with("}\n") && json.matches('\n').count() == 1, "one line: {json}");
    let object: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((object["host"].as_str(), object["cluster"].as_str()), (Some("hv1"), Some("lab")));
    assert_eq!(serde_json::from_value::<Event>(object).expect("an event"), told);
    let environment = bed.read("env");
    let lines: Vec<&str> = environment.lines().filter(|line| !line.starts_with("PWD=")).collect();
    let expected = [
        "LC_ALL=C.UTF-8",
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        "ROOST_AT=2026-09-21T14:13:20.123Z",
        "ROOST_CLUSTER=lab",
        "ROOST_GROUP=web",
        "ROOST_HOST=hv1",
        "ROOST_KIND=vm-failed",
        "ROOST_LEVEL=warning",
        "ROOST_SEQ=7",
        "ROOST_TEXT=it's \"odd\" \u{fffd}\u{fffd}[2J",
        "and $HOME", // the text's second line
    ];
    assert_eq!(lines, expected, "nothing of roostd's own environment");
    assert_eq!(bed.read("where"), "/\n");
}

#[test]
fn a_hook_that_hangs_is_killed_with_all_that_it_started_and_the_next_is_run() {
    let bed = Bed::new();
    bed.hook("10-hangs", "echo I wait for $ROOST_SEQ; sleep 1000 & echo $! > DIR/pid; wait");
    bed.hook("20-goes", "echo $ROOST_SEQ >> DIR/log");
    let hooks = bed.start(Duration::from_secs(2));
    hooks.give(&event(1));
    let Word { level, text, output } = word(&hooks);
    assert_eq!(level, Level::Warning);
    assert_eq!(text, "hook '10-hangs', told of event 1, did not end within 2 s, and was killed");
    assert_eq!(output, "I wait for 1");
    bed.told(1);
    assert_eq!(bed.read("log"), "1\n");
    let pid = bed.read("pid").trim().to_owned();
    let gone = || match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.contains(") Z "), // whoever is its parent now may not have looked after it yet
        Err(_) => true,
    };
    bed.until("what it started is gone", gone);
}

#[test]
fn what_a_hook_leaves_behind_is_killed_and_holds_nobody_up() {
    let bed = Bed::new();
    bed.hook("leaves", "sleep 1000 & echo $! > DIR/pid"); // it holds the output open
    let hooks = bed.start(HOOK_LIMIT);
    let begun = Instant::now();
    hooks.give(&event(1));
    bed.told(1);
    assert!(begun.elapsed() < HOOK_LIMIT);
    let pid = bed.read("pid").trim().to_owned();
    bed.until("it is gone", || {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
    });
    assert_eq!(words(&hooks), []);
}

#[test]
fn events_that_a_hook_holds_up_are_dropped_from_the_oldest_and_that_is_told() {
    let bed = Bed::new();
    bed.hook("slow", "echo $ROOST_SEQ >> DIR/log; while [ ! -e DIR/go ]; do sleep 0.05; done");
    let hooks = bed.start(HOOK_LIMIT);
    hooks.give(&event(1));
    bed.until("it hangs", || bed.read("log") == "1\n");
    let last = 1 + MAX_WAITING as u64 + 10;
    (2..=last).for_each(|seq| hooks.give(&event(seq))); // returns at once, though nobody reads
    assert_eq!((hooks.waiting(), hooks.counts().dropped), (MAX_WAITING, 10));
    assert!(word(&hooks).text.contains("hooks do not keep up"), "told while it hangs");
    std::fs::write(bed.dir.join("go"), "").expect("writable");
    assert_eq!(word(&hooks).text, "hooks keep up again; 10 events were not told to them");
    bed.told(last);
    let log = bed.read("log");
    let told: Vec<u64> = log.lines().map(|line| line.parse().expect("a number")).collect();
    let expected: Vec<u64> = std::iter::once(1).chain(12..=last).collect();
    assert_eq!(told, expected);
}

#[test]
fn a_hook_that_fails_is_told_of_once_with_its_last_words_and_again_when_it_works() {
    let bed = Bed::new();
    bed.hook("mail", "seq 1 200; echo no route to mail server >&2; exit 3");
    let hooks = bed.start(HOOK_LIMIT);
    (1..=3).for_each(|seq| hooks.give(&event(seq)));
    bed.told(3);
    let told = words(&hooks);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].text, "hook 'mail', told of event 1, failed (exit status: 3)");
    let lines: Vec<&str> = told[0].output.lines().collect();
    assert_eq!(
        (lines.len(), lines[0], lines[9]),
        (10, "192", "no route to mail server"),
        "both outputs, in order"
    );
    bed.hook("mail", "exit 0");
    hooks.give(&event(4));
    assert_eq!(word(&hooks).text, "hook 'mail' works again, after it failed 3 times");
    assert_eq!(hooks.counts(), Counts { runs: 4, failures: 3, dropped: 0 });
}

#[test]
fn what_cannot_be_run_says_what_to_do() {
    let bed = Bed::new();
    bed.hook("lost", "");
    std::fs::write(bed.dir.join("hooks.d/lost"), "#!/nowhere/python\n").expect("writable");
    bed.hook("plain", "");
    std::fs::write(bed.dir.join("hooks.d/plain"), "\x01\x02").expect("writable");
    bed.hook("shared", "echo $ROOST_SEQ >> DIR/log");
    bed.mode("hooks.d/shared", 0o775);
    let hooks = bed.start(HOOK_LIMIT);
    hooks.give(&event(1));
    hooks.give(&event(2));
    bed.told(2);
    let told = words(&hooks);
    let texts: Vec<&str> = told.iter().map(|word| word.text.as_str()).collect();
    assert_eq!(texts.len(), 3, "each once: {texts:?}");
    assert_eq!(texts[0], "hook 'shared' is not run: it may be written by others (mode 0775): chmod go-w");
    assert!(
        texts[1].starts_with("hook 'lost', told of event 1, cannot be run: ")
            && texts[1].contains("first line")
    );
    assert!(
        texts[2].starts_with("hook 'plain', told of event 1, cannot be run: ")
            && texts[2].contains("#!/bin/sh")
    );
    assert_eq!(bed.read("log"), "", "what others may write was not run");
    bed.mode("hooks.d/shared", 0o755);
    hooks.give(&event(3));
    bed.told(3);
    assert_eq!(bed.read("log"), "3\n");
}

#[test]
fn no_hook_hears_of_hooks() {
    let bed = Bed::new();
    bed.hook("all", "echo $ROOST_SEQ >> DIR/log");
    let hooks = bed.start(HOOK_LIMIT);
    hooks.give(&Event { kind: EventKind::Hook, ..event(1) });
    hooks.give(&event(2));
    bed.told(2);
    assert_eq!(bed.read("log"), "2\n");
}

#[test]
fn what_one_life_did_not_tell_the_next_one_tells() {
    let bed = Bed::new();
    bed.hook("all", "echo $ROOST_SEQ >> DIR/log");
    let events: Vec<Event> = (1..=4).map(event).collect();
    let hooks = Hooks::start(bed.setup(HOOK_LIMIT), &events).expect("a thread");
    hooks.give(&event(5));
    bed.told(5);
    assert_eq!(bed.read("log"), "5\n", "who is new is not told of old times");
    hooks.stop();
    hooks.give(&event(6)); // as roostd ends
    drop(hooks);
    let events: Vec<Event> = (4..=6).map(event).collect();
    let hooks = Hooks::start(bed.setup(HOOK_LIMIT), &events).expect("a thread");
    hooks.give(&event(7));
    bed.told(7);
    assert_eq!(bed.read("log"), "5\n6\n7\n");
}

#[test]
fn a_hook_ends_with_roostd_and_its_event_is_told_again() {
    let bed = Bed::new();
    bed.hook("hangs", "echo $$ $ROOST_SEQ >> DIR/log; exec sleep 60");
    let hooks = bed.start(HOOK_LIMIT);
    hooks.give(&event(1));
    bed.until("it hangs", || bed.read("log").ends_with(" 1\n"));
    hooks.stop();
    let log = bed.read("log");
    let pid = log.split(' ').next().expect("its number");
    bed.until("it is gone", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(words(&hooks), [], "that is no failure of the hook's");
    bed.hook("hangs", "echo $ROOST_SEQ >> DIR/second");
    let again = Hooks::start(bed.setup(HOOK_LIMIT), &[event(1)]).expect("a thread");
    bed.told(1);
    assert_eq!((bed.read("second").as_str(), again.counts().runs), ("1\n", 1));
}
