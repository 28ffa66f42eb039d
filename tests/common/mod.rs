//! A `roostd` of its own for each test, on libvirt's in-process test driver, with its guests on hybrid vsock sockets.
//! No AF_VSOCK socket is ever opened: every group of these configurations has `link = "hybrid:…"`.

#![allow(dead_code)] // each test program uses its part

use roost_proto::control::{Ask, CONTROL_VERSION, Event, GroupStatus, Reply, Request, Status};
use roost_proto::frame::{Decoder, encode};
use roost_proto::link::{GroupReport, GroupState, GuestMessage, Hello, HostMessage, LINK_VERSIONS, MAGIC};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A generous bound for what should take milliseconds, on a machine that does other things too.
pub const SOON: Duration = Duration::from_secs(30);

/// The configuration of most tests: libvirt's test driver has one domain, `test`, which runs.
pub const CONFIG: &str = r#"
[cluster]
name = "lab"
[[host]]
name = "hv1"
libvirt = "test:///default"
[[group]]
name = "web"
vm = "test"
link = "hybrid:DIR/web.vsock"
"#;

/// A folder, and what runs in it; both go when it is dropped.
pub struct Bed {
    pub dir: PathBuf,
    pub host: String,
    /// Set for the daemon beside the test's own environment.
    pub environment: Vec<(String, String)>,
    daemon: Option<Child>,
}

impl Bed {
    /// A folder with this configuration, `DIR` standing for the folder.
    pub fn new(config: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("roost-bed-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).expect("a fresh folder");
        let bed = Self { dir, host: "hv1".to_owned(), environment: Vec::new(), daemon: None };
        bed.configure(config);
        bed
    }

    /// The same for another host of a configuration; `/proc/self/cwd` is the daemon's own folder in it.
    pub fn of_host(host: &str, config: &str) -> Self {
        let mut bed = Self::new(config);
        host.clone_into(&mut bed.host);
        bed
    }

    /// A bed in which `roostd` runs.
    pub fn start(config: &str) -> Self {
        let mut bed = Self::new(config);
        bed.run();
        bed
    }

    pub fn configure(&self, config: &str) {
        let text = config.replace("DIR", self.dir.to_str().expect("a plain path"));
        std::fs::write(self.dir.join("roost.toml"), text).expect("writable");
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roostd"));
        command.arg("--config").arg(self.dir.join("roost.toml")).args(["--host", &self.host]);
        command.current_dir(&self.dir).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.arg("--state-dir").arg(self.dir.join("state")).arg("--run-dir").arg(self.dir.join("run"));
        command
    }

    /// Starts the daemon, and waits until it answers.
    pub fn run(&mut self) {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("log")).expect("a log");
        let child = self.command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.daemon = Some(child.expect("roostd runs"));
        self.until("roostd answers", |bed| UnixStream::connect(bed.socket()).ok());
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("run/roostd.sock")
    }

    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("it runs").id()
    }

    /// Ends the daemon with a signal, and waits for it.
    pub fn end(&mut self, signal: nix::sys::signal::Signal) {
        self.signal(signal);
        self.ends();
    }

    /// Waits for the daemon to end by itself.
    pub fn ends(&mut self) {
        let child = self.daemon.as_mut().expect("it runs");
        let begun = Instant::now();
        while child.try_wait().expect("our own child").is_none() {
            assert!(begun.elapsed() < SOON, "it does not end");
            std::thread::sleep(Duration::from_millis(5)); // between two looks; the bound above judges
        }
        self.daemon = None;
    }

    /// Whether the daemon runs.
    pub fn runs(&self) -> bool {
        self.daemon.is_some()
    }

    /// Sends a signal to the daemon.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.pid().cast_signed());
        nix::sys::signal::kill(pid, signal).expect("it lives");
    }

    /// Waits for something to be so.
    pub fn until<T>(&self, what: &str, mut found: impl FnMut(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            assert!(start.elapsed() < SOON, "not within {SOON:?}: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5)); // between two looks; the bound above judges
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Asks the daemon, and returns its replies.
    pub fn ask(&self, ask: Ask) -> Vec<Reply> {
        let request = Request { version: CONTROL_VERSION, ask };
        self.ask_text(&serde_json::to_string(&request).expect("plain data"))
    }

    pub fn ask_text(&self, line: &str) -> Vec<Reply> {
        let mut socket = UnixStream::connect(self.socket()).expect("roostd listens");
        socket.set_read_timeout(Some(SOON)).expect("a socket option");
        socket.write_all(format!("{line}\n").as_bytes()).expect("roostd reads");
        let lines = BufReader::new(socket).lines();
        lines.map(|line| serde_json::from_str(&line.expect("whole lines")).expect("a reply")).collect()
    }

    pub fn status(&self) -> Status {
        match self.ask(Ask::Status).pop() {
            Some(Reply::Status(status)) => status,
            other => panic!("no status: {other:?}"),
        }
    }

    pub fn group(&self, name: &str) -> GroupStatus {
        let status = self.status();
        status.groups.into_iter().find(|group| group.name == name).expect("it is configured")
    }

    pub fn events(&self) -> Vec<Event> {
        let replies = self.ask(Ask::Events { after: 0, group: None, follow: false });
        let events = replies.into_iter().filter_map(|reply| match reply {
            Reply::Event(event) => Some(event),
            _ => None,
        });
        events.collect()
    }

    /// Waits for an event with these words.
    pub fn event(&self, words: &str) -> Event {
        self.until(words, |bed| bed.events().into_iter().find(|event| event.text.contains(words)))
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of roostd on '{}'\n{}", self.host, self.log());
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A guest's end of the link.
pub struct Guest {
    pub socket: UnixStream,
    decoder: Decoder,
}

impl Guest {
    /// Connects to `PATH_961` of a hybrid vsock path.
    pub fn connect(vsock: &Path) -> Self {
        let path = format!("{}_961", vsock.display());
        let start = Instant::now();
        let socket = loop {
            match UnixStream::connect(&path) {
                Ok(socket) => break socket,
                Err(error) => assert!(start.elapsed() < SOON, "nobody listens at {path}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(5)); // between two tries
        };
        socket.set_read_timeout(Some(SOON)).expect("a socket option");
        Self { socket, decoder: Decoder::default() }
    }

    /// Connects, greets, and is welcomed.
    pub fn greet(vsock: &Path, boot: u8) -> Self {
        let mut guest = Self::connect(vsock);
        guest.say(&GuestMessage::Hello(hello(boot)));
        match guest.hear() {
            Some(HostMessage::Welcome { .. }) => guest,
            other => panic!("not welcomed: {other:?}"),
        }
    }

    /// Tells that its only group is in this state.
    pub fn tell(&mut self, name: &str, state: GroupState) {
        self.say(&GuestMessage::Snapshot { groups: 1 });
        let report = GroupReport { name: name.to_owned(), state, frozen: false, resources: Vec::new() };
        self.say(&GuestMessage::Group(report));
    }

    pub fn say(&mut self, message: &GuestMessage) {
        let mut bytes = Vec::new();
        encode(message, &mut bytes).expect("small");
        self.socket.write_all(&bytes).expect("the host reads");
    }

    /// The next message; `None` when the host closed the link.
    pub fn hear(&mut self) -> Option<HostMessage> {
        loop {
            if let Some(message) = self.decoder.next().expect("the host speaks the protocol") {
                return Some(message);
            }
            let mut bytes = [0; 1024];
            match self.socket.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.decoder.push(&bytes[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the host is silent: {error}"),
            }
        }
    }

    /// Reads on until the host closes the link.
    pub fn is_cut_off(&mut self) {
        let start = Instant::now();
        while self.hear().is_some() {
            assert!(start.elapsed() < SOON, "the host does not cut it off");
        }
    }
}

pub fn hello(boot: u8) -> Hello {
    let software = "roost-guest test".to_owned();
    Hello { magic: MAGIC, versions: LINK_VERSIONS, software, boot_id: [boot; 16], starts: 1 }
}
