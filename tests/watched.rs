//! A machine without `roostd`: its `roost-guest`, as a whole, over TCP with a `roostd`, as a whole; and whoever else calls there.

#[path = "common/cluster.rs"]
mod cluster;
mod common;
#[path = "common/controller.rs"]
mod controller;

use cluster::{Cluster, new_key};
use common::{Bed, SOON, hello};
use controller::AS_GUEST;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use roost_proto::control::{Ask, Condition, GroupStatus, HostState, Reply, Status};
use roost_proto::frame::{Decoder, encode};
use roost_proto::key::{Secret, parse};
use roost_proto::link::{GuestMessage, HostMessage, WATCHED_PORT};
use roost_proto::sealed::{Caller, Session};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// One host that leads, being alone, and can take over what the watched machine runs.
const CONFIG: &str = r#"
[cluster]
name = "lab"
[[host]]
name = "db1"
role = "application"
address = "ADDRESS:7961"
[[host]]
name = "db3"
role = "watched"
key = "DIR/db3.key"
silence = "5s"
[[host.fence]]
agent = "fence_dummy"
options = { status_file = "DIR/power" }
[[group]]
name = "orders"
app = "postgres"
on = ["db3", "db1"]
"#;

const GUEST: &str = r#"
[controller]
LINK
[[group]]
name = "postgres"
managed = true
[[group.resource]]
name = "db"
kind = "process"
command = ["/bin/sh", "-c", "echo $$ > DIR/pid; exec sleep 1000"]
"#;

/// Not a test: `roost-guest`, when a test starts this program as that.
#[test]
fn controller() {
    controller::main();
}

/// A machine's controller and what it started: gone when it is dropped.
struct Machine {
    dir: PathBuf,
    child: Option<Child>,
}

impl Machine {
    fn start(dir: PathBuf, link: &str) -> Self {
        fs::create_dir_all(&dir).expect("a folder");
        let text = GUEST.replace("LINK", link).replace("DIR", dir.to_str().expect("a plain path"));
        fs::write(dir.join("guest.toml"), text).expect("writable");
        let mut machine = Self { dir, child: None };
        machine.run();
        machine
    }

    fn run(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.dir.join("log")).expect("a log");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "controller", "--nocapture"]).env(AS_GUEST, &self.dir);
        let copy = log.try_clone().expect("a copy");
        self.child = Some(command.stdin(Stdio::null()).stdout(log).stderr(copy).spawn().expect("it runs"));
    }

    /// The application's process, if it runs.
    fn process(&self) -> Option<i32> {
        controller::process(&self.dir)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn crash(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().and_then(|()| child.wait()).expect("it ends");
        }
    }

    /// All of it stops, as when its power fails, and nothing is left in /run.
    fn dies(&mut self) {
        self.crash();
        if let Some(pid) = self.process() {
            kill(Pid::from_raw(pid), Signal::SIGKILL).expect("ours");
        }
        let _ = fs::remove_dir_all(self.dir.join("guest")); // it may have made none yet
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.dies();
        if std::thread::panicking() {
            eprintln!("--- log of roost-guest in '{}'\n{}", self.dir.display(), self.log());
        }
    }
}

/// An address of a test's own on the loopback interface.
fn address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("127.{}.{}.1", 10 + std::process::id() % 240, 100 + number)
}

fn roostd() -> (Bed, String) {
    roostd_with(CONFIG)
}

fn roostd_with(config: &str) -> (Bed, String) {
    let address = address();
    let mut bed = Bed::of_host("db1", &config.replace("ADDRESS", &address));
    new_key(&bed.dir.join("db3.key"));
    fs::write(bed.dir.join("power"), "on").expect("writable");
    bed.run();
    bed.until("it leads, and takes calls", |bed| {
        let mut call = Call::connect(&address);
        let caller = Caller::new(key(bed), "db3", [0; 16]);
        call.socket
            .write_all(caller.greeting())
            .is_ok()
            .then(|| call.receive())
            .filter(|answer| !answer.is_empty())
    });
    (bed, address)
}

/// The watched machine's controller.
fn db3(dir: &Path, hosts: &[&str]) -> Machine {
    let key = dir.join("db3.key");
    let link = format!("link = \"tcp\"\nmachine = \"db3\"\nhosts = {hosts:?}\nkey = \"{}\"", key.display());
    Machine::start(dir.join("db3"), &link)
}

fn key(bed: &Bed) -> Secret {
    let text = fs::read(bed.dir.join("db3.key")).expect("made");
    parse(&text).expect("good").remove(0)
}

fn state(bed: &Bed) -> HostState {
    whole(bed).hosts.iter().find(|host| host.name == "db3").expect("it is configured").state
}

/// What the leader knows.
fn whole(bed: &Bed) -> Status {
    match bed.ask(Ask::Cluster).pop() {
        Some(Reply::Status(status)) => status,
        other => panic!("no status: {other:?}"),
    }
}

fn orders(bed: &Bed) -> Option<GroupStatus> {
    whole(bed).groups.into_iter().find(|group| group.name == "orders")
}

fn runs_on(bed: &Bed, target: &str, machine: &Machine) -> i32 {
    bed.until(&format!("it runs on '{target}'"), |bed| {
        let group = orders(bed)?;
        (group.condition == Condition::Online && group.target.as_deref() == Some(target)).then_some(())
    });
    bed.until("its process", |_| machine.process())
}

/// Somebody who calls, and may or may not be who he says he is.
struct Call {
    socket: TcpStream,
    session: Option<Session>,
    decoder: Decoder,
    /// All that was sent.
    sent: Vec<Vec<u8>>,
}

impl Call {
    fn connect(address: &str) -> Self {
        let begun = Instant::now();
        let socket = loop {
            match TcpStream::connect((address, WATCHED_PORT)) {
                Ok(socket) => break socket,
                Err(error) => assert!(begun.elapsed() < SOON, "nobody listens at {address}: {error}"),
            }
            std::thread::sleep(std::time::Duration::from_millis(5)); // between two tries
        };
        socket.set_read_timeout(Some(SOON)).expect("a socket option");
        Self { socket, session: None, decoder: Decoder::default(), sent: Vec::new() }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.sent.push(bytes.to_vec());
        self.socket.write_all(bytes).expect("the host reads");
    }

    /// What the host sends next; nothing when it has closed the connection.
    fn receive(&mut self) -> Vec<u8> {
        let mut bytes = [0; 1024];
        match self.socket.read(&mut bytes) {
            Ok(count) => bytes[..count].to_vec(),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Vec::new(),
            Err(error) => panic!("the host is silent: {error}"),
        }
    }

    fn greet(&mut self, machine: &str, key: Secret) {
        let random = roost::driver::clock::random().expect("the kernel has some");
        let mut caller = Caller::new(key, machine, random);
        self.send(caller.greeting());
        let answer = self.receive();
        self.session = caller.hear(&answer).expect("a greeting");
        assert!(self.session.is_some(), "{answer:?}");
    }

    fn say(&mut self, message: &GuestMessage) {
        let (mut frame, mut bytes) = (Vec::new(), Vec::new());
        encode(message, &mut frame).expect("small");
        self.session.as_mut().expect("it has greeted").seal(&frame, &mut bytes);
        self.send(&bytes);
    }

    fn hear(&mut self) -> Option<HostMessage> {
        loop {
            if let Some(message) = self.decoder.next().expect("the host speaks the protocol") {
                return Some(message);
            }
            let bytes = self.receive();
            if bytes.is_empty() {
                return None;
            }
            let mut contents = Vec::new();
            self.session.as_mut().expect("it has greeted").open(&bytes, &mut contents).expect("genuine");
            self.decoder.push(&contents);
        }
    }

    fn is_cut_off(&mut self) {
        let begun = Instant::now();
        while !self.receive().is_empty() {
            assert!(begun.elapsed() < SOON, "the host does not cut it off");
        }
    }

    /// Calls, proves to be `db3`, and is welcomed.
    fn genuine(bed: &Bed, address: &str) -> Self {
        let mut call = Self::connect(address);
        call.greet("db3", key(bed));
        call.say(&GuestMessage::Hello(hello(3)));
        assert!(matches!(call.hear(), Some(HostMessage::Welcome { .. })));
        call
    }
}

#[test]
fn what_a_watched_machine_runs_runs_elsewhere_when_it_is_lost_and_fenced() {
    let (bed, address) = roostd();
    let mut db3 = db3(&bed.dir, &["127.0.0.1:1", &address]);
    runs_on(&bed, "db3", &db3);
    let own = bed.dir.join("run/guest.sock");
    let db1 = Machine::start(bed.dir.join("db1"), &format!("link = \"unix:{}\"", own.display()));
    assert_eq!((state(&bed), db1.process()), (HostState::Up, None));
    assert!(!db3.log().contains("no link"), "a host that is not there is no matter: {}", db3.log());

    // Its controller alone crashes, and is there again: nothing happens to the application.
    let pid = db3.process();
    db3.crash();
    db3.run();
    bed.until("its controller calls again", |_| {
        (db3.log().matches("connected to host 'db1'").count() == 2).then_some(())
    });
    assert_eq!((runs_on(&bed, "db3", &db3), state(&bed)), (pid.expect("it runs"), HostState::Up));

    db3.dies();
    runs_on(&bed, "db1", &db1);
    assert_eq!(fs::read_to_string(bed.dir.join("power")).expect("it is there").trim(), "off");
    assert_eq!(state(&bed), HostState::Out);

    // It comes back, runs nothing, and is taken in again.
    fs::write(bed.dir.join("power"), "on").expect("writable");
    db3.run();
    bed.until("it is back", |bed| (state(bed) == HostState::Up).then_some(()));
    runs_on(&bed, "db1", &db1);
    assert_eq!(db3.process(), None);
}

#[test]
fn who_is_not_the_machine_is_cut_off_and_told_once_and_the_machine_does_not_notice() {
    let (bed, address) = roostd_with(&CONFIG.replace("5s", "1m")); // this test says nothing for longer than five seconds
    let mut genuine = Call::genuine(&bed, &address);
    for _ in 0..3 {
        let mut call = Call::connect(&address);
        call.send(b"GET / HTTP/1.0\r\n\r\n");
        call.is_cut_off();
        let mut call = Call::connect(&address);
        call.greet("db3", Secret([7; 32]));
        call.say(&GuestMessage::Hello(hello(3)));
        call.is_cut_off();
        let mut call = Call::connect(&address);
        let caller = Caller::new(key(&bed), "db4", [9; 16]);
        call.send(caller.greeting());
        call.is_cut_off();
    }
    // Those who say nothing, half a greeting, or nothing after it are not waited for.
    let mut slow = [Call::connect(&address), Call::connect(&address), Call::connect(&address)];
    slow[1].send(b"RSTS\x01");
    slow[2].greet("db3", Secret([7; 32]));
    slow.iter_mut().for_each(Call::is_cut_off);
    for words in [
        "no message of this protocol",
        "as the machine 'db3': it has not this machine's key",
        "it is no machine that this cluster watches",
        "watched: it connected and said nothing",
        "sent part of a message",
        "as the machine 'db3': it connected and said nothing",
    ] {
        bed.event(words);
        let told = bed.events().iter().filter(|event| event.text.contains(words)).count();
        assert_eq!(told, 1, "{words}: {:?}", bed.events());
    }
    genuine.say(&GuestMessage::Beat);
    assert!(genuine.hear().is_some());
    assert_eq!(state(&bed), HostState::Up);
}

#[test]
fn more_callers_than_any_cluster_has_do_not_keep_the_machine_out() {
    let (bed, address) = roostd();
    let mut many: Vec<Call> = (0..200).map(|_| Call::connect(&address)).collect();
    Call::genuine(&bed, &address);
    many[0].is_cut_off();
    bed.event("connect over TCP without end");
}

#[test]
fn a_recorded_conversation_opens_nothing() {
    let (bed, address) = roostd();
    let mut genuine = Call::genuine(&bed, &address);
    genuine.say(&GuestMessage::Snapshot { groups: 0 });
    let mut replayed = Call::connect(&address);
    replayed.send(&genuine.sent[0]);
    assert!(!replayed.receive().is_empty(), "a greeting is answered");
    for bytes in &genuine.sent[1..] {
        let _ = replayed.socket.write_all(bytes); // it may be cut off meanwhile
    }
    replayed.is_cut_off();
    bed.event("as the machine 'db3': it has not this machine's key");
    genuine.say(&GuestMessage::Beat);
    assert!(genuine.hear().is_some(), "the machine goes on");
}

#[test]
fn of_two_controllers_of_one_machine_the_newest_is_heard() {
    let (bed, address) = roostd();
    let mut first = Call::genuine(&bed, &address);
    let mut second = Call::genuine(&bed, &address);
    while first.hear().is_some() {}
    second.say(&GuestMessage::Beat);
    assert!(second.hear().is_some());
}

/// A key is replaced without a moment in which the machine is not known: first the host has both.
#[test]
fn a_machines_key_is_read_again_and_may_be_the_old_or_the_new_one() {
    let (bed, address) = roostd();
    let old = fs::read_to_string(bed.dir.join("db3.key")).expect("made");
    let new = Secret([0x22; 32]);
    fs::write(bed.dir.join("db3.key"), format!("{old}roost-key-1 {}\n", "22".repeat(32))).expect("ours");
    bed.signal(Signal::SIGHUP);
    bed.event("the keys of db3 changed");
    Call::genuine(&bed, &address);
    let mut call = Call::connect(&address);
    call.greet("db3", new);
    call.say(&GuestMessage::Hello(hello(3)));
    assert!(matches!(call.hear(), Some(HostMessage::Welcome { .. })));
    // A key that others may read is not taken.
    let permissions = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o644);
    fs::set_permissions(bed.dir.join("db3.key"), permissions).expect("ours");
    bed.signal(Signal::SIGHUP);
    bed.event("the keys of watched machines stay as they were");
    Call::genuine(&bed, &address);
}

#[test]
fn roostd_does_not_start_without_the_key_of_a_machine_and_check_says_so() {
    let bed = Bed::of_host("db1", &CONFIG.replace("ADDRESS", &address()));
    let output = bed.command().output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("db3.key") && told.contains("roost keygen"), "{told}");
    let check = Command::new(env!("CARGO_BIN_EXE_roost")).arg("check").arg(config_of(&bed.dir)).output();
    let told = String::from_utf8_lossy(&check.expect("it runs").stdout).into_owned();
    assert!(told.contains("host 'db3': there is no key") && told.contains("does not start"), "{told}");
}

/// The machine's controller finds whoever leads next, and nothing happens to what it runs.
#[test]
fn another_leader_is_found_before_the_machine_is_taken_for_lost() {
    let mut cluster = Cluster::new();
    let text = "[[host]]\nname = \"db3\"\nrole = \"watched\"\nkey = \"/proc/self/cwd/db3.key\"\n[[host.fence]]\nagent = \"fence_dummy\"\n\
                [[group]]\nname = \"orders\"\napp = \"postgres\"\non = [\"db3\"]\n";
    let config = cluster.config() + text;
    let key = cluster.folder.join("db3.key");
    new_key(&key);
    for bed in &mut cluster.hosts {
        fs::copy(&key, bed.dir.join("db3.key")).expect("writable");
        bed.configure(&config);
        bed.run();
    }
    let addresses: Vec<String> = (1..=3).map(|nth| format!("{}.{nth}", cluster.net)).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let db3 = db3(&cluster.folder, &addresses);
    cluster.all("three vote", |bed| bed.status().hosts.iter().filter(|host| host.votes).count() == 3);
    let first = cluster.leader();
    let pid = runs_on(&cluster.hosts[first], "db3", &db3);
    cluster.hosts[first].end(Signal::SIGKILL);
    let next = &cluster.hosts[cluster.leader()];
    next.until("it is connected there", |bed| {
        db3.log().contains(&format!("connected to host '{}'", bed.host)).then_some(())
    });
    assert_eq!((runs_on(next, "db3", &db3), state(next)), (pid, HostState::Up));
    assert_eq!(cluster.count("'db3' is evicted"), 0);
}

fn config_of(dir: &Path) -> PathBuf {
    dir.join("roost.toml")
}
