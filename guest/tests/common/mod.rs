//! The real program with real processes, in a directory of its own.

#![allow(dead_code)] // each test program uses its part

use roost_proto::frame::{Decoder, encode};
use roost_proto::link::{Fault, GroupReport, GroupState};
use roost_proto::local::{LinkStatus, Reply, Request};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a machine that does much else.
pub const LONG: Duration = Duration::from_secs(40);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A controller, its directory, and everything that it started: all gone when this is dropped.
pub struct Bed {
    pub dir: PathBuf,
    controller: Option<Child>,
    /// Programs that are put before those of the system.
    path: String,
    /// Mounts and PIDs of its own.
    inside: Vec<String>,
}

impl Bed {
    pub fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "these tests start services and mount: run them as root");
        let name = format!("roost-guest-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(dir.join("bin")).expect("a directory");
        let path = format!("{}/bin:{}", dir.display(), std::env::var("PATH").expect("a PATH"));
        Self { dir, controller: None, path, inside: Vec::new() }
    }

    /// Has the controller run by this command.
    pub fn inside(mut self, command: &[&str]) -> Self {
        self.inside = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Writes a configuration: `DIR` in it is the bed's directory. Without a link unless it names one.
    pub fn configure(&self, text: &str) {
        let text = text.replace("DIR", &self.dir.display().to_string());
        let head = if text.contains("[controller]") { "" } else { "[controller]\nlink = \"none\"\n" };
        fs::write(self.path("guest.toml"), format!("{head}{text}")).expect("written");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// An executable script.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        let text = format!("#!/bin/sh\n{}", text.replace("DIR", &self.dir.display().to_string()));
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
        path
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_roost-guest");
        let mut command = match self.inside.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.arg("--config").arg(self.path("guest.toml")).arg("--run-dir").arg(self.path("run"));
        command.args(args).env("PATH", &self.path).stdin(Stdio::null());
        command
    }

    /// Starts the controller; its messages go to the file `log`.
    pub fn start(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).expect("a log");
        let copy = log.try_clone().expect("a copy");
        self.controller = Some(self.command(&["run"]).stdout(log).stderr(copy).spawn().expect("it runs"));
    }

    /// Writes the configuration and starts the controller.
    pub fn run(&mut self, text: &str) {
        self.configure(text);
        self.start();
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.controller.as_ref().expect("it runs").id()).expect("a pid")
    }

    pub fn signal(&self, signal: i32) {
        kill(self.pid(), signal);
    }

    /// Ends the controller with `signal`, and waits until it has.
    pub fn end(&mut self, signal: i32) -> std::process::ExitStatus {
        self.signal(signal);
        self.controller.take().expect("it runs").wait().expect("it ends")
    }

    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.controller.take().expect("it runs").wait().expect("it ends")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Asks the controller, as its own client does.
    pub fn ask(&self, request: &Request) -> Option<Vec<Reply>> {
        let mut socket = UnixStream::connect(self.path("run/control.sock")).ok()?;
        socket.set_read_timeout(Some(LONG)).ok()?;
        let mut out = Vec::new();
        encode(request, &mut out).expect("small");
        socket.write_all(&out).ok()?;
        let mut decoder = Decoder::default();
        let mut replies = Vec::new();
        let mut piece = [0; 4096];
        loop {
            match socket.read(&mut piece).ok()? {
                0 => return Some(replies),
                count => decoder.push(&piece[..count]),
            }
            while let Some(reply) = decoder.next::<Reply>().expect("a good stream") {
                replies.push(reply);
            }
        }
    }

    pub fn groups(&self) -> Vec<GroupReport> {
        let replies = self.ask(&Request::Status).unwrap_or_default();
        replies
            .into_iter()
            .filter_map(|reply| if let Reply::Group(group) = reply { Some(group) } else { None })
            .collect()
    }

    pub fn link(&self) -> Option<LinkStatus> {
        let replies = self.ask(&Request::Status)?;
        replies.into_iter().find_map(|reply| if let Reply::End(link) = reply { Some(link) } else { None })
    }

    /// Waits until `of` gives something.
    pub fn await_some<T>(&self, what: &str, mut of: impl FnMut(&Self) -> Option<T>) -> T {
        let until = Instant::now() + LONG;
        loop {
            if let Some(found) = of(self) {
                return found;
            }
            assert!(
                Instant::now() < until,
                "not within {LONG:?}: {what}\n{:?}\n{}",
                self.groups(),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5)); // between two looks at what has no event
        }
    }

    pub fn await_true(&self, what: &str, mut is: impl FnMut(&Self) -> bool) {
        self.await_some(what, |bed| is(bed).then_some(()));
    }

    /// Waits until the first group is in `state`.
    pub fn await_state(&self, state: &GroupState) {
        self.await_true(&format!("{state:?}"), |bed| {
            bed.groups().first().is_some_and(|group| group.state == *state)
        });
    }

    pub fn await_online(&self) {
        self.await_state(&GroupState::Online);
    }

    pub fn await_fault(&self) -> Fault {
        self.await_some("a fault", |bed| {
            bed.groups().into_iter().find_map(|group| match group.state {
                GroupState::Faulted(fault) => Some(fault),
                _ => None,
            })
        })
    }

    /// Waits for a number in a file.
    pub fn await_pid(&self, name: &str) -> i32 {
        self.await_some(name, |bed| read_pid(&bed.path(name)))
    }

    /// Waits for another number in a file than `old`.
    pub fn await_other_pid(&self, name: &str, old: i32) -> i32 {
        self.await_some(name, |bed| read_pid(&bed.path(name)).filter(|&pid| pid != old))
    }

    /// Everything that lives with this bed's directory in its environment or command line.
    fn inhabitants(&self) -> Vec<i32> {
        let mark = format!("{}/", self.dir.display()); // so that one bed's name is not the beginning of another's
        let numbers = fs::read_dir("/proc").expect("/proc").flatten();
        let pids = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let me = i32::try_from(std::process::id()).expect("a pid");
        let is_ours = |pid: &i32| {
            let of = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let holds = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).contains(&mark);
            *pid != me && (holds(of("environ")) || holds(of("cmdline")))
        };
        pids.filter(is_ours).collect()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(mut controller) = self.controller.take() {
            let _ = controller.kill();
            let _ = controller.wait();
        }
        for _ in 0..100 {
            let left = self.inhabitants();
            if left.is_empty() {
                break;
            }
            left.into_iter().for_each(|pid| kill(pid, libc::SIGKILL));
            std::thread::sleep(Duration::from_millis(10)); // until they are reaped by whoever is their parent
        }
        if std::thread::panicking() {
            eprintln!("--- log of the controller\n{}", self.log());
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub fn kill(pid: i32, signal: i32) {
    let signal = nix::sys::signal::Signal::try_from(signal).expect("a signal");
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal); // it may be gone by now
}

pub fn is_alive(pid: i32) -> bool {
    roost_guest::procfs::stat(pid).is_some_and(|stat| !stat.is_dead())
}

pub fn read_pid(path: &Path) -> Option<i32> {
    let text = fs::read_to_string(path).ok()?;
    text.ends_with('\n').then(|| text.trim().parse().ok())?
}

/// A process that writes its number to the file `NAME.pid` and goes on.
pub fn service(name: &str, more: &str) -> String {
    format!(
        "[[group.resource]]\nname = \"{name}\"\nkind = \"process\"\n\
         command = [\"/bin/sh\", \"-c\", \"echo $$ > DIR/{name}.new; mv DIR/{name}.new DIR/{name}.pid; exec sleep 1000\"]\n\
         {more}\n"
    )
}
