//! `roost` as an operator runs it: the real binary, against a daemon of paper.

use roost_proto::control::{
    AppStatus, Ask, CONTROL_VERSION, Condition, ControllerStatus, Event, EventKind, GroupStatus, Health,
    HostState, HostStatus, Intent, Level, LibvirtStatus, MAX_LINE, MoveMethod, Recoveries, Refusal, Reply,
    Request, ResourceStatus, Status,
};
use roost_proto::insight::{
    Explanation, FencingBy, GroupExplained, HostExplained, HostVerdict, PlanCase, PlanReport, PlannedMove,
    Quorum, QuorumState, Stuck, Subject, Trial, Verdict,
};
use roost_proto::link::{Exit, Fault, GroupState, ResourceState};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

const ROOST: &str = env!("CARGO_BIN_EXE_roost");
const NOBODY: u32 = 65_534;

/// A folder that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let nth = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("roost-cli-{}-{nth}", std::process::id()));
        std::fs::create_dir(&folder).expect("a new folder");
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).expect("open to all");
        Self(folder)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let file = self.0.join(name);
        std::fs::write(&file, content).expect("a file in a new folder");
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the daemon of paper was asked, and where it answers.
struct Daemon {
    folder: Folder,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Daemon {
    /// A daemon that answers each request by what `answer` writes.
    fn start(answer: impl Fn(&Ask, &mut UnixStream) + Send + Sync + 'static) -> Self {
        let folder = Folder::new();
        let listener = UnixListener::bind(folder.0.join("roostd.sock")).expect("a socket in a new folder");
        let asked: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (record, answer) = (Arc::clone(&asked), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let (record, answer) = (Arc::clone(&record), Arc::clone(&answer));
                thread::spawn(move || {
                    let mut line = String::new();
                    BufReader::new(&stream).read_line(&mut line).expect("a request");
                    let request: Request = serde_json::from_str(&line).expect("a request");
                    record.lock().expect("no test panics with it").push(request.clone());
                    answer(&request.ask, &mut stream);
                });
            }
        });
        Self { folder, asked }
    }

    /// One that gives the same answer to everything.
    fn answering(reply: Reply) -> Self {
        Self::start(move |_, stream| say(stream, &reply))
    }

    /// One that sends these bytes whatever it is asked.
    fn sending(bytes: &'static [u8]) -> Self {
        Self::start(move |_, stream| {
            let _ = stream.write_all(bytes);
        })
    }

    fn socket(&self) -> PathBuf {
        self.folder.0.join("roostd.sock")
    }

    fn roost(&self, arguments: &[&str]) -> Command {
        roost(&self.socket(), arguments)
    }

    fn asked(&self) -> Vec<Ask> {
        self.asked.lock().expect("no test panics with it").iter().map(|request| request.ask.clone()).collect()
    }
}

fn say(stream: &mut UnixStream, reply: &Reply) {
    let mut line = serde_json::to_vec(reply).expect("plain data");
    line.push(b'\n');
    let _ = stream.write_all(&line); // it may have had enough
}

fn roost(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(ROOST);
    command.arg("--socket").arg(socket).args(arguments).env("TZ", "UTC").stdin(Stdio::null());
    command
}

/// Runs it, and gives exit status, standard output and standard error.
fn run(mut command: Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("roost runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code().unwrap_or_else(|| panic!("ended by a signal: {status}")), text(stdout), text(stderr))
}

/// Runs it on a terminal of 80 columns, and gives what stands there.
fn on_terminal(daemon: &Daemon, arguments: &str, environment: &[(&str, &str)]) -> String {
    let line = format!("{ROOST} --socket {} {arguments}", daemon.socket().display());
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env_remove("NO_COLOR").env("TERM", "xterm").env("TZ", "UTC");
    script.envs(environment.iter().copied()).stdin(Stdio::null());
    String::from_utf8(script.output().expect("script(1) of bsdutils").stdout)
        .expect("text")
        .replace("\r\n", "\n")
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_millis()
        .try_into()
        .expect("before the end")
}

fn group(name: &str, condition: Condition, reason: &str) -> GroupStatus {
    GroupStatus {
        name: name.into(),
        vm: format!("{name}1"),
        owner: None,
        intent: Intent::Online,
        frozen: false,
        condition,
        reason: reason.into(),
        since_ms: now_ms() - 200_000,
        controller: ControllerStatus::Connected,
        apps: vec![app("site", GroupState::Online)],
        recoveries: Recoveries::default(),
        dangers: vec![],
        moving: None,
        target: None,
        home: None,
        targets: vec![],
        preparing: None,
        standby: false,
    }
}

fn app(name: &str, state: GroupState) -> AppStatus {
    AppStatus { name: name.into(), counts: true, frozen: false, state, not_running: vec![] }
}

fn status(health: Health, groups: Vec<GroupStatus>) -> Status {
    Status {
        version: CONTROL_VERSION,
        software: "roost 0.1.0".into(),
        cluster: "lab".into(),
        host: "hv1".into(),
        health,
        libvirt: LibvirtStatus::Connected,
        hosts: vec![],
        groups,
        warnings: vec![],
        leader: None,
        quorum: None,
        disarmed: None,
        unaware: vec![],
    }
}

/// All that can go wrong, at once.
fn trouble() -> Status {
    let mut web = group(
        "web",
        Condition::Recovering,
        "the guest gave up on 'site': httpd: it ends as soon as it is started; will ask the guest to reboot in 4s",
    );
    let fault = Fault {
        resource: "httpd".into(),
        reason: "it ends as soon as it is started".into(),
        exit: Exit::Code(1),
        output: "line 1\nline 2\nline 3\nline 4\nline 5\nbind: address in use\n".into(),
    };
    let mut site = app("site", GroupState::Faulted(fault));
    site.not_running = vec![ResourceStatus {
        name: "httpd".into(),
        state: ResourceState::Failed,
        detail: "3 restarts".into(),
    }];
    let mut mail = app("mail", GroupState::Online);
    (mail.frozen, mail.counts) = (true, false);
    web.apps = vec![site, mail, app("quiet", GroupState::Online)];
    web.recoveries = Recoveries { reboot: 1, reset: 0, restart: 2 };
    web.dangers = vec!["libvirt starts 'web1' by itself when the host boots".into()];
    let mut db = group("db", Condition::LeftAlone, "somebody paused the VM; `virsh resume` ends it");
    db.frozen = true;
    let mut old = group("old", Condition::Online, "");
    (old.controller, old.apps) = (ControllerStatus::Never, vec![]);
    let mut status = status(Health::Broken, vec![db, old, web]);
    status.warnings = vec!["the state cannot be stored: no space left on device".into()];
    status
}

fn event(seq: u64, text: &str) -> Event {
    Event {
        seq,
        at_ms: now_ms(),
        level: Level::Error,
        kind: EventKind::VmFailed,
        group: Some("web".into()),
        text: text.into(),
        output: String::new(),
    }
}

/// A daemon with these events, which ends when it has told them.
fn recorded(events: Vec<Event>) -> Daemon {
    Daemon::start(move |_, stream| {
        for event in &events {
            say(stream, &Reply::Event(event.clone()));
        }
        say(stream, &Reply::End);
    })
}

#[test]
fn a_healthy_host_is_one_line_a_group() {
    let mut off = group("mail", Condition::Offline, "");
    (off.intent, off.controller) = (Intent::Offline, ControllerStatus::Off);
    let daemon = Daemon::answering(Reply::Status(status(
        Health::Healthy,
        vec![off, group("web", Condition::Online, "")],
    )));
    let (exit, out, err) = run(daemon.roost(&["status"]));
    assert_eq!((exit, err.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("cluster lab, host hv1: healthy  ") && lines[0].ends_with(" UTC"), "{out}");
    assert_eq!(
        lines[1..],
        [
            "  GROUP  VM     CONDITION    SINCE  WHY",
            "  mail   mail1  offline      3m20s",
            "  web    web1   online       3m20s",
        ]
    );
    assert_eq!(daemon.asked(), [Ask::Cluster]);
    assert_eq!(daemon.asked.lock().expect("ours").first().map(|r| r.version), Some(CONTROL_VERSION));
}

#[test]
fn twenty_groups_fit_a_screen() {
    let conditions = [Condition::Online, Condition::Starting, Condition::LeftAlone];
    let groups = (0..20).map(|n| group(&format!("group-with-name-{n:02}"), conditions[n % 3], "")).collect();
    let daemon = Daemon::answering(Reply::Status(status(Health::Degraded, groups)));
    let screen = on_terminal(&daemon, "status", &[("NO_COLOR", "1")]);
    assert!(screen.lines().count() <= 23, "no room for the prompt:\n{screen}");
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "too wide:\n{screen}");
}

#[test]
fn trouble_is_told_whole_and_in_place() {
    let daemon = Daemon::answering(Reply::Status(trouble()));
    let (exit, out, err) = run(daemon.roost(&["status"]));
    assert_eq!((exit, err.as_str()), (2, ""));
    let lines: Vec<&str> = out.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "  GROUP  VM    CONDITION    SINCE  WHY",
            "! db     db1   left alone   3m20s  frozen; somebody paused the VM; `virsh resume` ends it",
            "  old    old1  online       3m20s  no controller: only the VM is watched",
            "! web    web1  recovering   3m20s  the guest gave up on 'site': httpd: it ends as soon as it is started; will ask the guest to reboot in 4s; recent recoveries: 1 reboot, 2 restarts",
            "  site: faulted",
            "    httpd: it ends as soon as it is started (exit status 1)",
            "    | line 2",
            "    | line 3",
            "    | line 4",
            "    | line 5",
            "    | bind: address in use",
            "    httpd failed: 3 restarts",
            "  mail: online, frozen in the guest, does not count",
            "danger: web: libvirt starts 'web1' by itself when the host boots",
            "warning: the state cannot be stored: no space left on device",
        ]
    );
    let screen = on_terminal(&daemon, "status", &[("NO_COLOR", "1")]);
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "too wide:\n{screen}");
    assert!(screen.contains("    the guest gave up on 'site': httpd: it ends as soon as it is started; will\n    ask the guest"), "{screen}");
}

#[test]
fn libvirt_that_does_not_answer_is_the_first_thing_told() {
    let mut lost =
        status(Health::Degraded, vec![group("web", Condition::Unknown, "libvirt does not answer")]);
    lost.libvirt = LibvirtStatus::Lost { reason: "connection refused".into() };
    let (exit, out, _) = run(Daemon::answering(Reply::Status(lost)).roost(&["status"]));
    assert_eq!(exit, 1);
    let second = out.lines().nth(1);
    assert_eq!(second, Some("libvirt does not answer: connection refused; VMs run on, and are not touched"));
}

#[test]
fn long_names_are_never_cut() {
    let name = "n".repeat(64);
    let daemon = Daemon::answering(Reply::Status(status(
        Health::Healthy,
        vec![group(&name, Condition::Online, ""), group("web", Condition::Online, "")],
    )));
    let screen = on_terminal(&daemon, "status", &[("NO_COLOR", "1")]);
    assert!(screen.contains(&name), "{screen}");
    assert!(
        screen.contains("\n  web    web1  online"),
        "one long name does not widen the others' columns:\n{screen}"
    );
}

#[test]
fn a_host_without_groups_says_so() {
    let (exit, out, _) =
        run(Daemon::answering(Reply::Status(status(Health::Healthy, vec![]))).roost(&["status"]));
    assert_eq!((exit, out.lines().nth(1)), (0, Some("the configuration has no group")));
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let daemon = Daemon::answering(Reply::Status(trouble()));
    assert!(on_terminal(&daemon, "status", &[]).contains("\x1b[31mrecovering\x1b[0m"));
    assert!(!on_terminal(&daemon, "status", &[("NO_COLOR", "1")]).contains('\x1b'));
    assert!(
        on_terminal(&daemon, "status", &[("NO_COLOR", "")]).contains('\x1b'),
        "an empty NO_COLOR says nothing"
    );
    assert!(!on_terminal(&daemon, "status", &[("TERM", "dumb")]).contains('\x1b'));
    let mut piped = daemon.roost(&["status"]);
    piped.env("TERM", "xterm").env_remove("NO_COLOR");
    assert!(!run(piped).1.contains('\x1b'));
}

#[test]
fn what_a_guest_sends_cannot_touch_the_terminal() {
    let mut status = trouble();
    status.groups[2].apps[0].name = "si\x1b[2Jte".into();
    status.groups[2].reason = "bell\x07".into();
    let GroupState::Faulted(fault) = &mut status.groups[2].apps[0].state else { panic!("it is faulted") };
    fault.output = "\x1b]0;title\x07\n\x1b[31mred".into();
    let mut told = event(1, "\x1b[2J");
    told.output = "\x1b[31m\rred".into();
    let (_, out, _) = run(Daemon::answering(Reply::Status(status)).roost(&["status"]));
    let (_, events, _) = run(recorded(vec![told]).roost(&["events"]));
    for text in [out, events] {
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    }
}

#[test]
fn json_is_the_protocols_own_object() {
    let daemon = Daemon::answering(Reply::Status(trouble()));
    let (exit, out, _) = run(daemon.roost(&["status", "--json"]));
    assert_eq!(exit, 2);
    assert_eq!(out.lines().count(), 1);
    assert_eq!(serde_json::from_str::<Status>(&out).expect("a status").groups.len(), 3);

    let events = vec![event(7, "one"), event(8, "two")];
    let (exit, out, _) = run(recorded(events.clone()).roost(&["events", "--json"]));
    assert_eq!(exit, 0);
    let told: Vec<Event> = out.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    assert_eq!(told, events);
}

#[test]
fn events_are_told_with_number_time_and_output() {
    let mut fault = event(1041, "the guest gave up on 'site'");
    (fault.at_ms, fault.output) = (1_790_000_000_123, "one\ntwo".into());
    let mut own = event(1042, "roostd started");
    (own.at_ms, own.level, own.group) = (1_790_000_001_000, Level::Info, None);
    let (exit, out, err) = run(recorded(vec![fault, own]).roost(&["events"]));
    assert_eq!((exit, err.as_str()), (0, ""));
    assert_eq!(
        out,
        "  1041  2026-09-21 14:13:20.123  error: web: the guest gave up on 'site'\n    | one\n    | two\n  \
         1042  2026-09-21 14:13:21.000  roostd started\n"
    );
}

#[test]
fn events_can_be_narrowed() {
    let mut old = event(1, "old");
    old.at_ms -= 3_600_000;
    let daemon = recorded(vec![old, event(2, "new")]);
    let (_, out, _) = run(daemon.roost(&["events", "--since", "10m", "--group", "web"]));
    assert!(out.contains("new") && !out.contains("old"), "{out}");
    run(daemon.roost(&["events", "--since", "41"]));
    let (exit, _, err) = run(daemon.roost(&["events", "--since", "yesterday"]));
    assert!(exit == 64 && err.contains("'yesterday' is neither a while ago"), "{exit} {err}");
    let (exit, _, err) = run(daemon.roost(&["events", "--since", "2999-01-01"]));
    assert!(exit == 64 && err.contains("has not come yet"), "{exit} {err}");
    let (_, out, _) = run(daemon.roost(&["events", "--since", "1970-01-01T00:00"]));
    assert!(out.contains("new") && out.contains("old"), "{out}");
    let events = |after, group| Ask::Events { after, group, follow: false };
    assert_eq!(daemon.asked(), [events(0, Some("web".into())), events(41, None), events(0, None)]);
}

#[test]
fn events_can_be_narrowed_to_what_is_bad() {
    let of = |seq, level, text| Event { level, ..event(seq, text) };
    let told = vec![of(1, Level::Info, "fine"), of(2, Level::Warning, "odd"), of(3, Level::Error, "broken")];
    let daemon = recorded(told);
    for (level, shown) in [("info", 3), ("warning", 2), ("error", 1)] {
        let (_, out, _) = run(daemon.roost(&["events", "--level", level]));
        assert_eq!(out.lines().count(), shown, "{level}: {out}");
        assert!(out.contains("broken"), "{out}");
    }
    let (exit, _, err) = run(daemon.roost(&["events", "--level", "bad"]));
    assert!(exit == 64 && err.contains("info, warning, error"), "{exit} {err}");
}

/// A daemon that tells, to whoever follows, what the test sends.
fn live() -> (Daemon, Sender<Reply>) {
    let (sender, receiver): (Sender<Reply>, Receiver<Reply>) = channel();
    let receiver = Mutex::new(receiver);
    let daemon = Daemon::start(move |_, stream| {
        for reply in receiver.lock().expect("one follower").iter() {
            say(stream, &reply);
        }
    });
    (daemon, sender)
}

fn spawn(mut command: Command) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("roost runs");
    let out = BufReader::new(child.stdout.take().expect("piped"));
    (child, out)
}

#[test]
fn events_are_followed_as_they_happen() {
    let (daemon, tell) = live();
    let (mut child, mut out) = spawn(daemon.roost(&["events", "--follow"]));
    for text in ["first", "second"] {
        tell.send(Reply::Event(event(1, text))).expect("it follows");
        let mut line = String::new();
        out.read_line(&mut line).expect("the event, before the next is sent");
        assert!(line.contains(text), "{line}");
    }
    drop(tell);
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("the end");
    let output = child.wait_with_output_of();
    assert_eq!(output.0, 69, "a follower is told that the daemon went away");
    assert!(output.1.contains("roostd hung up"), "{}", output.1);
    assert_eq!(daemon.asked(), [Ask::Events { after: 0, group: None, follow: true }]);
}

/// Waiting for a child whose standard output is read elsewhere.
trait WaitWithOutput {
    fn wait_with_output_of(&mut self) -> (i32, String);
}

impl WaitWithOutput for Child {
    fn wait_with_output_of(&mut self) -> (i32, String) {
        let mut err = String::new();
        self.stderr.take().expect("piped").read_to_string(&mut err).expect("text");
        (self.wait().expect("it ends").code().unwrap_or(-1), err)
    }
}

#[test]
fn output_that_nobody_reads_ends_it_quietly() {
    let (daemon, tell) = live();
    let (mut child, out) = spawn(daemon.roost(&["events", "--follow"]));
    drop(out);
    tell.send(Reply::Event(event(1, "unheard"))).expect("it follows");
    assert_eq!(child.wait_with_output_of(), (141, String::new()));

    let daemon = Daemon::answering(Reply::Status(trouble()));
    for arguments in [&["status"][..], &["--help"][..]] {
        let mut full = daemon.roost(arguments);
        full.stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full"));
        let (exit, _, err) = run(full);
        assert_eq!(exit, 71, "{err}");
        assert!(err.starts_with("roost: standard output cannot be written: "), "{err}");
    }
}

#[test]
fn orders_say_what_will_happen() {
    let daemon = Daemon::answering(Reply::Done { text: "it is so".into() });
    for (arguments, told) in [
        (&["online", "web"][..], "web: it is so\n"),
        (&["offline", "web"][..], "web: it is so\n"),
        (&["freeze", "web"][..], "web: it is so\n"),
        (&["thaw", "web"][..], "web: it is so\n"),
        (&["fence", "hv2", "--confirm"][..], "hv2: it is so\n"),
        (&["reload"][..], "it is so\n"),
        (&["switch", "web"][..], "web: it is so\n"),
        (&["switch", "web", "--to", "hv2", "--cold"][..], "web: it is so\n"),
        (&["failback", "web", "--live"][..], "web: it is so\n"),
        (&["fail", "web"][..], "web: it is so\n"),
        (&["maintenance", "hv2", "on"][..], "hv2: it is so\n"),
        (&["maintenance", "hv2", "off"][..], "hv2: it is so\n"),
    ] {
        assert_eq!(run(daemon.roost(arguments)), (0, told.to_owned(), String::new()));
    }
    let web = || "web".to_owned();
    assert_eq!(
        daemon.asked(),
        [
            Ask::Intent { group: web(), intent: Intent::Online },
            Ask::Intent { group: web(), intent: Intent::Offline },
            Ask::Freeze { group: web() },
            Ask::Thaw { group: web() },
            Ask::Fenced { host: "hv2".to_owned() },
            Ask::Reload,
            Ask::Switch { group: web(), to: None, method: None },
            Ask::Switch { group: web(), to: Some("hv2".to_owned()), method: Some(MoveMethod::Cold) },
            Ask::Failback { group: web(), method: Some(MoveMethod::Live) },
            Ask::Fail { group: web() },
            Ask::Maintenance { host: "hv2".to_owned(), on: true },
            Ask::Maintenance { host: "hv2".to_owned(), on: false },
        ]
    );
}

#[test]
fn a_group_goes_in_one_way_only() {
    let daemon = Daemon::answering(Reply::Done { text: "it is so".to_owned() });
    let (status, _, error) = run(daemon.roost(&["switch", "web", "--live", "--cold"]));
    assert!(status == 64 && error.contains("--cold"), "{status}: {error}");
    assert_eq!(daemon.asked(), []);
}

#[test]
fn a_host_is_not_confirmed_by_mistake() {
    let daemon = Daemon::answering(Reply::Done { text: "it is so".to_owned() });
    let (status, _, error) = run(daemon.roost(&["fence", "hv2"]));
    assert!(status == 64 && error.contains("--confirm"), "{status}: {error}");
    assert_eq!(daemon.asked(), []);
}

#[test]
fn hosts_are_shown_when_there_are_several() {
    let host = |name: &str, state, leads, reason: &str| HostStatus {
        name: name.into(),
        state,
        leads,
        votes: true,
        reason: reason.into(),
        groups: 2,
    };
    let mut web = group("web", Condition::Elsewhere, "");
    web.owner = Some("hv2".into());
    let mut shown = status(Health::Degraded, vec![web]);
    shown.hosts = vec![
        host("hv1", HostState::Up, true, ""),
        host("hv2", HostState::Blocked, false, "evicted, and not known to be off"),
    ];
    let daemon = Daemon::answering(Reply::Status(shown));
    let (code, text, _) = run(daemon.roost(&["status"]));
    assert_eq!(code, 1);
    assert!(text.contains("hv1   up                2  leads\n"), "{text}");
    assert!(text.contains("hv2   blocked           2  evicted, and not known to be off\n"), "{text}");
    assert!(text.contains("  web    hv2   elsewhere    3m20s  whose it is did not say how it is"), "{text}");
    assert!(text.contains("\n! hv2 ") && text.contains("\n  hv1 "), "{text}");
}

/// A daemon that takes an order, whose group is first `on_the_way` and then, told by an event, as `ends`.
fn obeying(on_the_way: GroupStatus, ends: GroupStatus) -> Daemon {
    let reached = Mutex::new(false);
    Daemon::start(move |ask, stream| match ask {
        Ask::Intent { .. } => say(stream, &Reply::Done { text: "it is done".into() }),
        Ask::Events { follow: false, .. } => {
            say(stream, &Reply::Event(event(5, "long ago")));
            say(stream, &Reply::End);
        }
        Ask::Events { after, .. } => {
            assert_eq!(*after, 5, "what was before the order is not shown");
            *reached.lock().expect("ours") = true;
            let both = [event(6, "on its way"), event(7, "there")]
                .map(|event| serde_json::to_string(&Reply::Event(event)).expect("plain data") + "\n");
            let _ = stream.write_all(both.concat().as_bytes()); // at once, as they happened
            let _ = stream.read(&mut [0]); // until the other side hangs up
        }
        Ask::Cluster => {
            let group = if *reached.lock().expect("ours") { &ends } else { &on_the_way };
            say(stream, &Reply::Status(status(Health::Degraded, vec![group.clone()])));
        }
        other => panic!("nobody asks {other:?}"),
    })
}

#[test]
fn waiting_ends_when_it_is_so() {
    let daemon = obeying(group("web", Condition::Starting, ""), group("web", Condition::Online, ""));
    let (exit, out, err) = run(daemon.roost(&["online", "web", "--wait"]));
    assert_eq!((exit, err.as_str()), (0, ""));
    assert!(out.starts_with("web: it is done\n") && out.ends_with("web is online\n"), "{out}");
    assert!(
        out.contains("on its way") && out.contains("there"),
        "what happened together is shown together: {out}"
    );
    assert!(!out.contains("long ago"), "{out}");
}

#[test]
fn waiting_ends_when_it_cannot_become_so() {
    let ends = |wanted: &str, ends: GroupStatus| {
        let mut way = group("web", Condition::Starting, "");
        way.intent = if wanted == "online" { Intent::Online } else { Intent::Offline };
        let (exit, out, _) = run(obeying(way, ends).roost(&[wanted, "web", "--wait"]));
        (exit, out.lines().last().unwrap_or_default().to_owned())
    };
    let with = |condition, intent, frozen| {
        let mut group = group("web", condition, "because");
        (group.intent, group.frozen) = (intent, frozen);
        group
    };
    for (wanted, group, exit, told) in [
        ("offline", with(Condition::Offline, Intent::Offline, false), 0, "web is offline"),
        ("online", with(Condition::GivenUp, Intent::Online, false), 2, "web is given up on: because"),
        ("online", with(Condition::LeftAlone, Intent::Online, false), 1, "web is left alone: because"),
        (
            "online",
            with(Condition::Starting, Intent::Online, true),
            1,
            "web is frozen; 'roost thaw web' ends that",
        ),
        (
            "online",
            with(Condition::Stopping, Intent::Offline, false),
            1,
            "web: somebody else has ordered otherwise meanwhile",
        ),
    ] {
        assert_eq!(ends(wanted, group), (exit, told.to_owned()));
    }
}

#[test]
fn refusals_have_their_own_exit_status() {
    for (code, exit) in [
        (Refusal::UnknownGroup, 65),
        (Refusal::NotPermitted, 77),
        (Refusal::BadConfiguration, 78),
        (Refusal::NotStored, 75),
        (Refusal::Busy, 75),
    ] {
        let reason = "there is no group 'wbe' on this host (did you mean 'web'?)";
        let daemon = Daemon::answering(Reply::Refused { code, reason: reason.into() });
        assert_eq!(
            run(daemon.roost(&["freeze", "wbe"])),
            (exit, String::new(), format!("roost: {reason}\n"))
        );
    }
    let daemon = Daemon::answering(Reply::Refused {
        code: Refusal::BadRequest,
        reason: "version 1 is not spoken here".into(),
    });
    let (exit, _, err) = run(daemon.roost(&["status"]));
    assert_eq!(exit, 76);
    assert!(err.contains("version 1 is not spoken here; compare with 'roostd --version'"), "{err}");
}

#[test]
fn a_daemon_that_does_not_run_is_told_with_what_to_do() {
    let folder = Folder::new();
    let missing = folder.0.join("roostd.sock");
    let (exit, out, err) = run(roost(&missing, &["status"]));
    assert_eq!((exit, out.as_str()), (69, ""));
    assert!(
        err.starts_with(&format!("roost: roostd does not answer on '{}': No such file", missing.display())),
        "{err}"
    );
    assert!(err.contains("systemctl status roostd"), "{err}");

    drop(UnixListener::bind(&missing).expect("a socket that nobody listens on"));
    let (exit, _, err) = run(roost(&missing, &["status"]));
    assert!(exit == 69 && err.contains("Connection refused"), "{exit} {err}");
}

#[test]
fn a_socket_that_may_not_be_opened_is_told_with_what_to_do() {
    let daemon = Daemon::answering(Reply::End);
    std::fs::set_permissions(daemon.socket(), std::fs::Permissions::from_mode(0o600)).expect("ours");
    // A copy, for the build folder may be closed to others.
    let program = daemon.folder.0.join("roost");
    std::fs::copy(ROOST, &program).expect("a copy");
    let mut command = Command::new(program);
    command.arg("--socket").arg(daemon.socket()).arg("status").uid(NOBODY).gid(NOBODY);
    let (exit, _, err) = run(command);
    assert_eq!(exit, 77);
    assert!(err.ends_with("may not be opened: be root, or a member of the group 'roost'\n"), "{err}");
}

#[test]
fn daemons_that_talk_nonsense_are_not_believed() {
    for nonsense in
        [&b"hello\n"[..], b"{}\n", b"{\"reply\":\"status\"}\n", b"\xff\xfe\n", b"{\"reply\":\"end\"}\n"]
    {
        let (exit, out, err) = run(Daemon::sending(nonsense).roost(&["status"]));
        assert_eq!((exit, out.as_str()), (76, ""), "{err}");
        assert!(err.contains("compare with 'roostd --version'"), "{err}");
    }
    for half in [&b""[..], b"{\"reply\":"] {
        let (exit, _, err) = run(Daemon::sending(half).roost(&["status"]));
        assert!(exit == 69 && err.contains("roostd hung up before it had answered"), "{exit} {err}");
    }
    let endless = Daemon::start(|_, stream| {
        let _ = stream.write_all(&vec![b'x'; MAX_LINE + 1]);
        let _ = stream.read(&mut [0]);
    });
    let (exit, _, err) = run(endless.roost(&["status"]));
    assert!(exit == 76 && err.contains("a line of more than 1048576 bytes"), "{exit} {err}");
}

#[test]
fn a_newer_daemon_that_says_more_is_understood() {
    let mut json = serde_json::to_value(Reply::Status(status(Health::Healthy, vec![]))).expect("plain data");
    json["mood"] = "sunny".into();
    let line = format!("{json}\n");
    let daemon = Daemon::start(move |_, stream| {
        let _ = stream.write_all(line.as_bytes());
    });
    assert_eq!(run(daemon.roost(&["status"])).0, 0);
}

/// A later daemon, by hand: a reply of a kind that is not known here, and a later version of one that is.
#[test]
fn a_daemon_that_is_too_new_is_told_with_what_to_upgrade() {
    let later: [&[u8]; 2] =
        [b"{\"reply\":\"sing\"}\n", b"{\"reply\":\"status\",\"version\":2,\"mood\":\"sunny\"}\n"];
    for told in later {
        let (exit, out, err) = run(Daemon::sending(told).roost(&["status"]));
        assert_eq!((exit, out.as_str()), (76, ""), "{err}");
        assert!(
            err.contains("roostd is newer than this roost") && err.ends_with(": upgrade roost\n"),
            "{err}"
        );
    }
    let mut whole = status(Health::Healthy, vec![]);
    whole.version = CONTROL_VERSION + 1;
    let (exit, _, err) = run(Daemon::answering(Reply::Status(whole)).roost(&["status"]));
    assert!(exit == 76 && err.contains("upgrade roost"), "{exit} {err}");
}

/// An older daemon, by hand: it refuses what it does not know, in the words that it always had.
#[test]
fn a_daemon_that_is_too_old_is_told_with_what_to_upgrade() {
    let reason = "'{\"version\":1,\"ask\":\"cluster\"}' is no request that roostd 0.0.9 knows (unknown variant `cluster`); are roost and \
                  roostd of one version?";
    let old = || Daemon::answering(Reply::Refused { code: Refusal::BadRequest, reason: reason.into() });
    for arguments in [&["status"][..], &["explain", "web"], &["plan", "--any", "1"]] {
        let (exit, out, err) = run(old().roost(arguments));
        assert_eq!((exit, out.as_str()), (76, ""));
        assert!(err.contains("roostd 0.0.9") && err.contains("roostd is the older, so upgrade it"), "{err}");
    }
}

fn host(name: &str, state: HostState, leads: bool, groups: u32, reason: &str) -> HostStatus {
    HostStatus { name: name.into(), state, leads, votes: true, reason: reason.into(), groups }
}

fn quorum(state: QuorumState) -> Quorum {
    Quorum { state, voters: 3, heard: 3, needed: 2, silent: vec![], means: vec![], remedy: vec![] }
}

/// Three hosts with twenty groups, of which one is in trouble, as any of them shows it.
fn busy() -> Status {
    let owners = ["hv1", "hv2", "hv3"];
    let mut groups: Vec<GroupStatus> = (0..20)
        .map(|nth| {
            let mut group = group(&format!("application-{nth:02}"), Condition::Online, "");
            group.owner = Some(owners[nth % 3].into());
            group
        })
        .collect();
    groups[4].condition = Condition::Recovering;
    groups[4].reason =
        "the guest gave up on 'site': httpd: it ends as soon as it is started; will reset the VM in 4s"
            .into();
    (groups[7].condition, groups[7].since_ms) = (Condition::Unknown, 0);
    groups[7].reason = "'hv2' is not heard".into();
    let mut status = status(Health::Degraded, groups);
    status.leader = Some("hv3".into());
    status.quorum = Some(quorum(QuorumState::Held));
    status.hosts = vec![
        host("hv1", HostState::Up, false, 7, ""),
        host("hv2", HostState::Silent, false, 7, "not heard for 2 s"),
        host("hv3", HostState::Up, true, 6, ""),
    ];
    status
}

#[test]
fn a_cluster_is_one_screen_with_what_is_wrong_marked() {
    let (exit, out, _) = run(Daemon::answering(Reply::Status(busy())).roost(&["status"]));
    assert_eq!(exit, 1);
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("cluster lab, host hv1, as of hv3, the leader: degraded  "), "{out}");
    assert_eq!(
        lines[1..11],
        [
            "  HOST  STATE        GROUPS  WHY",
            "  hv1   up                7",
            "! hv2   silent            7  not heard for 2 s",
            "  hv3   up                6  leads",
            "  GROUP           HOST  CONDITION    SINCE  WHY",
            "  application-00  hv1   online       3m20s",
            "  application-01  hv2   online       3m20s",
            "  application-02  hv3   online       3m20s",
            "  application-03  hv1   online       3m20s",
            "! application-04  hv2   recovering   3m20s  the guest gave up on 'site': httpd: it ends as soon as it is started; will reset the VM in 4s",
        ]
    );
    assert_eq!(lines[13], "! application-07  hv2   unknown          -  'hv2' is not heard");
    assert_eq!(lines.len(), 26);
    let screen = on_terminal(&Daemon::answering(Reply::Status(busy())), "status", &[("NO_COLOR", "1")]);
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "too wide:\n{screen}");
}

#[test]
fn without_a_majority_it_is_the_first_thing_told_with_what_can_be_done() {
    let mut status = busy();
    status.leader = None;
    status.health = Health::Broken;
    status.quorum = Some(Quorum {
        heard: 1,
        silent: vec!["hv2".into(), "hv3".into()],
        means: vec!["the groups of this host run on".into(), "nothing is decided".into()],
        remedy: vec!["one more voter must be heard".into()],
        ..quorum(QuorumState::Lost)
    });
    let (exit, out, _) = run(Daemon::answering(Reply::Status(status)).roost(&["status"]));
    assert_eq!(exit, 2);
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("cluster lab, host hv1, as far as it alone knows: broken  "), "{out}");
    assert_eq!(
        lines[1..6],
        [
            "NO MAJORITY: 1 of 3 voters heard, 2 needed; not heard: hv2, hv3",
            "  the groups of this host run on",
            "  nothing is decided",
            "  to do: one more voter must be heard",
            "  HOST  STATE        GROUPS  WHY",
        ]
    );
}

fn explained(subject: Subject) -> Explanation {
    Explanation {
        version: CONTROL_VERSION,
        host: "hv1".into(),
        leader: Some("hv3".into()),
        quorum: quorum(QuorumState::Held),
        subject,
    }
}

fn case() -> PlanCase {
    let moved = |group: &str, to: &str, step| PlannedMove {
        group: group.into(),
        from: Some("hv1".into()),
        to: to.into(),
        step,
        memory_mib: 2048,
        host: None,
        needed_by: vec![],
    };
    PlanCase {
        without: vec!["hv1".into()],
        quorum: true,
        moves: vec![moved("db", "hv2", 1), moved("web", "hv3", 2)],
        stuck: vec![Stuck {
            group: "mail".into(),
            from: Some("hv1".into()),
            reason:
                "no host that may run it has room: no room on 'hv2': it needs 4096 MiB, and 2048 MiB are left"
                    .into(),
        }],
        unfenced: vec![],
    }
}

fn verdict(host: &str, verdict: Verdict, reason: &str) -> HostVerdict {
    HostVerdict { host: host.into(), verdict, reason: reason.into(), switch: None }
}

#[test]
fn a_group_is_explained() {
    let mut group = GroupExplained {
        name: "web".into(),
        vm: "web1".into(),
        intent: Intent::Online,
        condition: Condition::Online,
        owner: Some("hv1".into()),
        why: vec!["it is wanted online".into()],
        problems: vec![],
        hosts: vec![
            verdict("hv1", Verdict::Owner, "it is there"),
            verdict("hv2", Verdict::Cannot, "'hv2' is in maintenance"),
            verdict("hv3", Verdict::Next, "it has room: 4096 MiB are left"),
        ],
        next: vec!["if its VM stops or crashes: restart the VM on 'hv1' (0 of 3 within 1h made)".into()],
        app: None,
        target: None,
        switch: None,
        failback: None,
    };
    let tell = |group: &GroupExplained, json: bool| {
        let daemon = Daemon::answering(Reply::Explanation(explained(Subject::Group(group.clone()))));
        let arguments = if json { &["explain", "web", "--json"][..] } else { &["explain", "web"] };
        let (exit, out, _) = run(daemon.roost(arguments));
        assert_eq!(daemon.asked(), [Ask::Explain { subject: "web".into() }]);
        (exit, out)
    };
    let (exit, out) = tell(&group, false);
    assert_eq!(exit, 0);
    assert_eq!(
        out,
        "group web, VM web1: online on hv1, as of hv3, the leader\n\
         why\n  \
           it is wanted online\n\
         its hosts\n  \
           hv1  is there  it is there\n  \
           hv2  cannot    'hv2' is in maintenance\n  \
           hv3  next      it has room: 4096 MiB are left\n\
         what the next failure would do\n  \
           if its VM stops or crashes: restart the VM on 'hv1' (0 of 3 within 1h made)\n"
    );
    group.problems = vec!["not protected from the loss of 'hv1'".into()];
    let (exit, out) = tell(&group, false);
    assert!(
        exit == 1 && out.contains("\nproblems\n! not protected from the loss of 'hv1'\nits hosts\n"),
        "{out}"
    );
    group.condition = Condition::GivenUp;
    assert_eq!(tell(&group, false).0, 2);
    let (exit, json) = tell(&group, true);
    let told: Explanation = serde_json::from_str(&json).expect("its own object");
    assert_eq!((exit, told), (2, explained(Subject::Group(group))));
}

#[test]
fn a_host_is_explained() {
    let host = HostExplained {
        name: "hv1".into(),
        state: HostState::Up,
        why: vec!["it is in the cluster (start 5); it votes".into()],
        problems: vec![],
        fencing: FencingBy::Agent,
        fencing_words: "fence agents (fence_ipmilan) switch it off".into(),
        lost: Some(case()),
    };
    let daemon = Daemon::answering(Reply::Explanation(explained(Subject::Host(host))));
    let (exit, out, _) = run(daemon.roost(&["explain", "hv1"]));
    assert_eq!(exit, 0);
    assert_eq!(
        out,
        "host hv1: up, as of hv3, the leader\n\
         how it stands\n  \
           it is in the cluster (start 5); it votes\n\
         how it is known to run nothing when it is lost\n  \
           fence agents (fence_ipmilan) switch it off\n\
         if it were lost now\n  \
           step  1  db   hv1 -> hv2  2048 MiB\n  \
           step  2  web  hv1 -> hv3  2048 MiB\n\
         ! mail stays down: no host that may run it has room: no room on 'hv2': it needs 4096 MiB, and 2048 MiB are left\n"
    );
    let screen = on_terminal(&daemon, "explain hv1", &[("NO_COLOR", "1")]);
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "too wide:\n{screen}");
}

#[test]
fn a_plan_tells_who_goes_where_and_who_would_not_fit() {
    let report = |fits, cases| PlanReport { version: CONTROL_VERSION, leader: "hv3".into(), fits, cases };
    let mut good = case();
    good.stuck.clear();
    let daemon = Daemon::answering(Reply::Plan(report(true, vec![good.clone()])));
    let (exit, out, _) = run(daemon.roost(&["plan", "--without", "hv1,hv2"]));
    assert_eq!(exit, 0);
    assert_eq!(
        out,
        "without hv1, as of hv3, the leader: 2 groups move, everything fits\n  \
           step  1  db   hv1 -> hv2  2048 MiB\n  \
           step  2  web  hv1 -> hv3  2048 MiB\n"
    );
    assert_eq!(daemon.asked(), [Ask::Plan { without: vec!["hv1".into(), "hv2".into()], any: false }]);

    let mut bad = case();
    bad.unfenced = vec!["hv1".into()];
    let daemon = Daemon::answering(Reply::Plan(report(false, vec![bad, good])));
    let (exit, out, _) = run(daemon.roost(&["plan", "--any", "1"]));
    assert_eq!(exit, 1);
    for words in [
        "2 groups move, 1 group would not run",
        "! mail stays down: no host that may run it has room",
        "'hv1' has neither a fence agent nor a watchdog",
        "not every host may be lost: 1 loss would leave groups down",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
    assert_eq!(daemon.asked(), [Ask::Plan { without: vec![], any: true }]);
    let (exit, json, _) = run(daemon.roost(&["plan", "--any", "1", "--json"]));
    let told: PlanReport = serde_json::from_str(&json).expect("its own object");
    assert!(exit == 1 && told.cases.len() == 2);
    for wrong in [&["plan"][..], &["plan", "--any", "2"], &["plan", "--any", "1", "--without", "hv1"]] {
        assert_eq!(run(daemon.roost(wrong)).0, 64, "{wrong:?}");
    }
}

/// A terminal on which `roost watch` runs: what is typed, and what comes out until it ends.
#[test]
fn watching_redraws_what_changed_and_gives_the_terminal_back() {
    let (looks, happens) = (Mutex::new(0), Mutex::new(None));
    let (tell, told) = channel::<()>();
    *happens.lock().expect("ours") = Some(told);
    let daemon = Daemon::start(move |ask, stream| match ask {
        Ask::Cluster => {
            let mut looks = looks.lock().expect("ours");
            *looks += 1;
            let mut shown = busy();
            if *looks > 1 {
                shown.groups[4].condition = Condition::Online;
                shown.groups[4].reason.clear();
            }
            say(stream, &Reply::Status(shown));
        }
        Ask::Events { after: u64::MAX, group: None, follow: true } => {
            let told = happens.lock().expect("ours").take();
            if told.is_some_and(|told| told.recv().is_ok()) {
                say(stream, &Reply::Event(event(1, "it is well again")));
            }
            let _ = stream.read(&mut [0]); // until the other side hangs up
        }
        other => panic!("nobody asks {other:?}"),
    });
    let line = format!(
        "stty rows 40 cols 100; stty -a > {0}/before; {ROOST} --socket {1} watch; echo ended $?; stty -a > {0}/after",
        daemon.folder.0.display(),
        daemon.socket().display()
    );
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env("NO_COLOR", "1").env("TERM", "xterm").env("TZ", "UTC");
    let mut child =
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script(1) of bsdutils");
    let mut out = child.stdout.take().expect("piped");
    let mut keys = child.stdin.take().expect("piped");
    let mut seen = String::new();
    let mut until = |words: &str, seen: &mut String| {
        let mut bytes = [0; 4096];
        while !seen.contains(words) {
            let count = out.read(&mut bytes).expect("the terminal");
            assert!(count > 0, "it ended before {words:?}: {seen:?}");
            *seen += &String::from_utf8_lossy(&bytes[..count]);
        }
    };
    until("q ends this", &mut seen);
    tell.send(()).expect("it follows");
    until("application-04  hv2   online", &mut seen);
    keys.write_all(b"q").expect("it reads");
    until("ended 0", &mut seen);
    let _ = child.wait();
    assert!(seen.starts_with("\x1b[?1049h") && seen.contains("\x1b[?1049l"), "{seen:?}");
    assert_eq!(seen.matches("\x1b[2J").count(), 2, "cleared at the start and never again: {seen:?}");
    assert_eq!(seen.matches("application-00").count(), 1, "what did not change is not drawn again: {seen:?}");
    let stty = |name: &str| std::fs::read_to_string(daemon.folder.0.join(name)).expect("it was written");
    assert_eq!(stty("before"), stty("after"));
}

#[test]
fn watching_without_a_terminal_is_refused_and_programs_get_lines() {
    let daemon = Daemon::answering(Reply::Status(busy()));
    let (exit, out, err) = run(daemon.roost(&["watch"]));
    assert!(exit == 64 && out.is_empty() && err.contains("needs a terminal"), "{exit} {err}");
    let daemon = Daemon::start(|ask, stream| match ask {
        Ask::Cluster => say(stream, &Reply::Status(busy())),
        _ => {
            say(stream, &Reply::Event(event(1, "something")));
        }
    });
    let (exit, out, err) = run(daemon.roost(&["watch", "--json"]));
    assert!(
        exit == 69 && err.contains("roostd hung up"),
        "a follower is told that the daemon went away: {err}"
    );
    assert_eq!(out.lines().count(), 1, "nothing changed: {out}");
    assert_eq!(serde_json::from_str::<Status>(&out).expect("a status").groups.len(), 20);
}

/// It is refused before it has said a word, as a daemon that is too busy does it.
#[test]
fn an_answer_that_comes_first_is_read() {
    let folder = Folder::new();
    let socket = folder.0.join("roostd.sock");
    let listener = UnixListener::bind(&socket).expect("a socket in a new folder");
    let daemon = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        say(&mut stream, &Reply::Refused { code: Refusal::Busy, reason: "too many are asking".into() });
    });
    let (exit, _, err) = run(roost(&socket, &["status"]));
    daemon.join().expect("it answered");
    assert_eq!((exit, err.as_str()), (75, "roost: too many are asking\n"));
}

#[test]
fn a_daemon_that_hangs_is_not_waited_for_for_ever() {
    let daemon = Daemon::start(|_, stream| {
        let _ = stream.read(&mut [0]); // until the other side hangs up
    });
    let (exit, _, err) = run(daemon.roost(&["status"]));
    assert!(exit == 69 && err.contains("roostd did not answer within 10s"), "{exit} {err}");
}

#[test]
fn the_command_line_is_refused_with_64() {
    let daemon = Daemon::answering(Reply::End);
    for arguments in
        [&[][..], &["--sockets"], &["stauts"], &["online"], &["status", "web"], &["freeze", "a", "b"]]
    {
        let (exit, out, err) = run(daemon.roost(arguments));
        assert_eq!((exit, out.as_str()), (64, ""), "{arguments:?}: {err}");
        assert!(!err.is_empty());
    }
    assert!(run(daemon.roost(&["stauts"])).2.contains("'status'"), "the nearest command is named");
    let (exit, out, _) = run(daemon.roost(&["--help"]));
    assert!(exit == 0 && out.contains("offline"), "{out}");
    let (exit, out, _) = run(daemon.roost(&["--version"]));
    assert_eq!((exit, out), (0, format!("roost {}\n", env!("CARGO_PKG_VERSION"))));
    assert!(daemon.asked().is_empty());
}

#[test]
fn a_good_configuration_is_told_what_may_be_overlooked() {
    let folder = Folder::new();
    let host = nix::unistd::gethostname().expect("a name").into_string().expect("text");
    let base = |host: &str| {
        format!(
            "[cluster]\nname = \"lab\"\n[[host]]\nname = \"{host}\"\n[[group]]\nname = \"web\"\nvm = \"web1\"\n"
        )
    };
    let none = folder.0.join("roostd.sock");
    let check = |file: &Path| run(roost(&none, &["check", file.to_str().expect("text")]));

    let file = folder.file("good.toml", base(&host));
    let good = format!("'{}' is good: cluster 'lab', 1 host, 1 group\n", file.display());
    assert_eq!(check(&file), (0, good, String::new()));

    let file = folder.file("odd.toml", base("elsewhere") + "xml = \"/no/such.xml\"\nboot_grace = \"15m\"\n");
    let (exit, out, _) = check(&file);
    let notes: Vec<&str> = out.lines().skip(1).collect();
    assert_eq!((exit, notes.len()), (0, 3), "{out}");
    assert!(notes[0].contains("as this machine is: roostd starts here with '--host NAME' only"), "{out}");
    assert!(notes[1].contains("'xml' names '/no/such.xml': No such file"), "{out}");
    assert!(notes[2].contains("is recovered for ever"), "{out}");
}

#[test]
fn a_bad_configuration_is_refused_with_file_and_line() {
    let folder = Folder::new();
    let none = folder.0.join("roostd.sock");
    let check = |file: &Path| run(roost(&none, &["check", file.to_str().expect("text")]));
    let file = folder.file(
        "bad.toml",
        "[cluster]\nname = \"lab\"\n[[host]]\nname = \"hv1\"\n[[group]]\nname = \"web\"\nwm = \"web1\"\n",
    );
    let (exit, out, err) = check(&file);
    assert_eq!((exit, out.as_str()), (78, ""));
    let at = file.display();
    assert_eq!(
        err,
        format!(
            "{at}:5: [[group]] has no 'vm': write the libvirt domain's name, as in vm = \"web1\"; or, of an application, app = \"postgres\"\n{at}:7: unknown key 'wm' (did you mean 'vm'?)\n"
        )
    );
    let (exit, _, err) = check(&folder.0.join("none.toml"));
    assert!(exit == 78 && err.contains("none.toml: cannot be read: No such file"), "{exit} {err}");
    let (exit, _, err) = check(&folder.file("latin1.toml", b"[cluster]\nname = \"\xe4\"\n"));
    assert!(
        exit == 78 && err.ends_with("latin1.toml: cannot be read: it is not UTF-8 text\n"),
        "{exit} {err}"
    );
    let (exit, _, err) = check(Path::new("/dev/zero"));
    assert!(
        exit == 78 && err.contains("/dev/zero:1: the file has 8388609 bytes, and may have 8388608"),
        "{exit} {err}"
    );
}

/// An application whose home is `db1`, with a VM of `hv1` and `hv2` as its standby.
fn application(condition: Condition, target: Option<&str>) -> GroupStatus {
    let mut orders = group("orders", condition, "");
    orders.vm = String::new();
    orders.target = target.map(str::to_owned);
    orders.owner = target.map(|target| if target.starts_with("vm:") { "hv1" } else { target }.to_owned());
    orders.home = Some("db1".to_owned());
    orders.targets = vec!["db1".to_owned(), "vm:db1-standby".to_owned()];
    orders
}

fn cold_standby() -> GroupStatus {
    let mut vm = group("db1-standby", Condition::Offline, "");
    (vm.standby, vm.since_ms) = (true, 0);
    vm
}

/// Where its columns are, a cluster of three hosts has these groups.
fn cluster(groups: Vec<GroupStatus>) -> Status {
    let mut status = status(Health::Healthy, groups);
    let host = |name: &str| HostStatus {
        name: name.into(),
        state: HostState::Up,
        leads: name == "hv1",
        votes: true,
        reason: String::new(),
        groups: 1,
    };
    status.hosts = ["db1", "hv1", "hv2"].map(host).into();
    status.leader = Some("hv1".into());
    status
}

#[test]
fn an_application_is_shown_on_its_target_and_a_cold_standby_without_a_mark() {
    let lines = |groups| {
        let daemon = Daemon::answering(Reply::Status(cluster(groups)));
        let (exit, out, _) = run(daemon.roost(&["status"]));
        assert_eq!(exit, 0);
        out.lines().skip(5).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        lines(vec![cold_standby(), application(Condition::Online, Some("db1"))]),
        [
            "  GROUP        HOST  CONDITION    SINCE  WHY",
            "  db1-standby  -     standby          -",
            "  orders       db1   online       3m20s",
        ]
    );
    let mut away = application(Condition::Online, Some("vm:db1-standby"));
    assert_eq!(
        lines(vec![away.clone()])[1],
        "  orders  vm:db1-standby (hv1)  online       3m20s  home db1",
        "its host is named where there is room"
    );
    away.preparing = Some("db1".to_owned());
    assert!(lines(vec![away.clone()])[1].ends_with("  home db1; goes to db1, which is made ready"));
    (away.target, away.owner) = (Some("vm:a-standby-with-a-long-name".to_owned()), Some("hv1".to_owned()));
    assert!(lines(vec![away])[1].starts_with("  orders  vm:a-standby-with-a-long-name  online"));
}

#[test]
fn twenty_groups_with_applications_fit_a_screen() {
    let mut groups: Vec<GroupStatus> =
        (0..19).map(|n| group(&format!("group-{n:02}"), Condition::Online, "")).collect();
    groups.push(application(Condition::Online, Some("vm:db1-standby")));
    let daemon = Daemon::answering(Reply::Status(cluster(groups)));
    let screen = on_terminal(&daemon, "status", &[("NO_COLOR", "1")]);
    assert!(screen.lines().count() <= 27, "three hosts, a line for each group, and no more:\n{screen}");
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "too wide:\n{screen}");
}

#[test]
fn waiting_for_a_cold_standby_to_be_online_ends_though_it_is_off() {
    let (exit, out, _) =
        run(obeying(cold_standby(), cold_standby()).roost(&["online", "db1-standby", "--wait"]));
    assert_eq!(exit, 0);
    assert!(out.ends_with("db1-standby is a standby: it is online while an application needs it\n"), "{out}");
}

/// A daemon that begins to move an application, which is shown like each of these in turn, and like the last from then on.
fn moving(shown: Vec<GroupStatus>) -> Daemon {
    let next = Mutex::new(0);
    Daemon::start(move |ask, stream| match ask {
        Ask::Failback { .. } | Ask::Switch { .. } => say(stream, &Reply::Done { text: "it is so".into() }),
        Ask::Events { follow: false, .. } => say(stream, &Reply::End),
        Ask::Events { .. } => {
            let mut about = event(6, "it is to go");
            (about.group, about.kind) = (Some("orders".into()), EventKind::MoveBegun);
            for _ in 0..4 {
                say(stream, &Reply::Event(about.clone()));
                thread::sleep(std::time::Duration::from_millis(50)); // each is a reason to look
            }
            let _ = stream.read(&mut [0]);
        }
        Ask::Cluster => {
            let mut next = next.lock().expect("ours");
            say(stream, &Reply::Status(cluster(vec![shown[*next].clone()])));
            *next = (*next + 1).min(shown.len() - 1);
        }
        other => panic!("nobody asks {other:?}"),
    })
}

#[test]
fn an_application_that_goes_home_is_followed_until_it_is_online_there() {
    let away = application(Condition::Online, Some("vm:db1-standby"));
    let mut readied = away.clone();
    readied.preparing = Some("db1".to_owned());
    let stops = application(Condition::Stopping, Some("vm:db1-standby"));
    let comes = application(Condition::Starting, Some("db1"));
    let home = application(Condition::Online, Some("db1"));
    let daemon = moving(vec![away, readied, stops, comes, home]);
    let (exit, out, err) = run(daemon.roost(&["failback", "orders", "--wait"]));
    assert_eq!((exit, err.as_str()), (0, ""), "{out}");
    let told: Vec<&str> = out.lines().filter(|line| line.starts_with("orders")).collect();
    assert_eq!(
        told,
        [
            "orders: it is so",
            "orders: 'db1' is made ready",
            "orders: goes offline on 'vm:db1-standby'",
            "orders: goes online on 'db1'",
            "orders is on 'db1'"
        ]
    );
}

#[test]
fn an_application_whose_new_target_does_not_get_ready_stays_and_the_waiting_ends() {
    let away = application(Condition::Online, Some("vm:db1-standby"));
    let mut readied = away.clone();
    readied.preparing = Some("db1".to_owned());
    let daemon = moving(vec![away.clone(), readied, away]);
    let (exit, out, _) = run(daemon.roost(&["switch", "orders", "--to", "db1", "--wait"]));
    assert_eq!(exit, 1, "{out}");
    assert!(out.contains("orders stays on 'vm:db1-standby'"), "{out}");
    assert_eq!(
        daemon.asked().into_iter().find(|ask| matches!(ask, Ask::Switch { .. })),
        Some(Ask::Switch { group: "orders".into(), to: Some("db1".into()), method: None })
    );
}

#[test]
fn a_dry_run_tells_the_steps_and_orders_nothing() {
    let done = |to: &str| Trial::Done { to: to.into(), steps: vec!["the one".into(), "the other".into()] };
    let mut home = verdict("db1", Verdict::Next, "it can take it now");
    home.switch = Some(done("db1"));
    let mut standby = verdict("vm:db1-standby", Verdict::Owner, "it is there");
    standby.switch = Some(Trial::Refused { reason: "it is on 'vm:db1-standby' already".into() });
    let group = GroupExplained {
        name: "orders".into(),
        vm: String::new(),
        intent: Intent::Online,
        condition: Condition::Online,
        owner: Some("hv1".into()),
        why: vec![],
        problems: vec![],
        hosts: vec![home, standby],
        next: vec![],
        app: Some("postgres".into()),
        target: Some("vm:db1-standby".into()),
        switch: Some(done("elsewhere")),
        failback: Some(done("db1")),
    };
    let daemon = Daemon::answering(Reply::Explanation(explained(Subject::Group(group))));
    let steps = |to: &str| format!("orders would go to '{to}':\n  1. the one\n  2. the other\n");
    let told = |arguments: &[&str]| {
        let (exit, out, err) = run(daemon.roost(arguments));
        (exit, out + &err)
    };
    assert_eq!(told(&["failback", "orders", "--dry-run"]), (0, steps("db1")));
    assert_eq!(told(&["switch", "orders", "--dry-run"]), (0, steps("elsewhere")));
    assert_eq!(told(&["switch", "orders", "--to", "db1", "--dry-run"]), (0, steps("db1")));
    let already = "roost: it is on 'vm:db1-standby' already\n".to_owned();
    assert_eq!(told(&["switch", "orders", "--to", "vm:db1-standby", "--dry-run"]), (75, already));
    let unknown = "roost: 'orders' cannot be on 'hv9': its 'on' names 'db1', 'vm:db1-standby'\n".to_owned();
    assert_eq!(told(&["switch", "orders", "--to", "hv9", "--dry-run"]), (65, unknown));
    assert!(daemon.asked().iter().all(|ask| matches!(ask, Ask::Explain { .. })), "{:?}", daemon.asked());
    let (exit, out) = told(&["explain", "orders"]);
    assert!(
        out.starts_with("group orders, application postgres: online on vm:db1-standby (hv1), "),
        "{exit}: {out}"
    );
    assert!(out.contains("\nits targets\n  db1             next "), "{out}");
}

#[test]
fn a_plan_names_targets_and_what_is_started_for_whom() {
    let mut case = case();
    case.stuck.clear();
    case.without = vec!["db1".into()];
    let moved = |group: &str, from: Option<&str>, to: &str, step| PlannedMove {
        group: group.into(),
        from: from.map(str::to_owned),
        to: to.into(),
        step,
        memory_mib: 0,
        host: None,
        needed_by: vec![],
    };
    let mut vm = moved("db1-standby", None, "hv1", 1);
    (vm.memory_mib, vm.needed_by) = (4096, vec!["orders".into()]);
    let mut orders = moved("orders", Some("db1"), "vm:db1-standby", 2);
    orders.host = Some("hv1".into());
    case.moves = vec![vm, orders];
    let report = PlanReport { version: CONTROL_VERSION, leader: "hv3".into(), fits: true, cases: vec![case] };
    let (exit, out, _) = run(Daemon::answering(Reply::Plan(report)).roost(&["plan", "--without", "db1"]));
    assert_eq!(exit, 0);
    assert_eq!(
        out,
        "without db1, as of hv3, the leader: 2 groups move, everything fits\n  \
           step  1  db1-standby  nowhere -> hv1  4096 MiB  for orders\n  \
           step  2  orders       db1 -> vm:db1-standby (hv1)\n"
    );
}
