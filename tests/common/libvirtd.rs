//! The libvirt driver of a test, and a libvirtd of its own with QEMU guests.
//!
//! The libvirtd runs in a mount namespace with its own `/run`, `/etc/libvirt` and `/var/lib/libvirt`, so it needs root,
//! libvirtd and QEMU; a test fails when they are not there.

#![allow(dead_code)] // each test program uses its part

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use roost::driver::libvirt::Libvirt;
use roost::engine::keeper::vm::{
    ActionError, DomainView, Happened, LibvirtInput, Order, Run, Ticket, VmAction,
};
use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub const PERIOD: Duration = Duration::from_secs(2);
/// A generous bound for what should take milliseconds, on a machine that does other things too.
pub const SOON: Duration = Duration::from_secs(30);

pub struct Driver {
    pub libvirt: Libvirt,
    tickets: Cell<u64>,
}

impl Driver {
    pub fn start(uri: &str, domains: &[&str]) -> Self {
        let libvirt = Libvirt::start(uri, PERIOD).expect("threads");
        libvirt.watch(domains.iter().map(|name| (*name).to_owned()));
        Self { libvirt, tickets: Cell::new(0) }
    }

    pub fn next(&mut self, until: Instant) -> Option<LibvirtInput> {
        loop {
            if let Some(input) = self.libvirt.poll() {
                return Some(input);
            }
            let left = until.checked_duration_since(Instant::now())?;
            let wait = PollTimeout::try_from(left.as_millis() + 1).expect("short");
            let mut fds = [PollFd::new(self.libvirt.fd(), PollFlags::POLLIN)];
            poll(&mut fds, wait).expect("a poll");
        }
    }

    /// What `pick` makes of the first input of which it makes something; all that came before is dropped.
    pub fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(LibvirtInput) -> Option<T>) -> T {
        let until = Instant::now() + SOON;
        let mut seen = Vec::new();
        while let Some(input) = self.next(until) {
            seen.push(format!("{input:?}"));
            if let Some(found) = pick(input) {
                return found;
            }
        }
        panic!("{what} did not come within {SOON:?}; what came: {seen:#?}");
    }

    pub fn view(&mut self, domain: &str, what: &str, is: impl Fn(&DomainView) -> bool) -> DomainView {
        self.wait(what, |input| match input {
            LibvirtInput::Domain { name, view, .. } if name == domain && is(&view) => Some(view),
            _ => None,
        })
    }

    pub fn happened(&mut self, domain: &str, wanted: Happened) -> DomainView {
        self.wait(&format!("{wanted:?} of '{domain}'"), |input| match input {
            LibvirtInput::Domain { name, view, happened } if name == domain && happened == Some(wanted) => {
                Some(view)
            }
            _ => None,
        })
    }

    pub fn connected(&mut self) {
        self.wait("a connection", |input| (input == LibvirtInput::Connected).then_some(()));
    }

    pub fn lost(&mut self) -> String {
        self.wait("a loss", |input| match input {
            LibvirtInput::Lost { reason } => Some(reason),
            _ => None,
        })
    }

    pub fn order(&self, domain: &str, action: VmAction, limit: Duration) -> Ticket {
        let ticket = Ticket(self.tickets.replace(self.tickets.get() + 1));
        self.libvirt.order(Order { ticket, domain: domain.to_owned(), action, limit });
        ticket
    }

    pub fn done(&mut self, wanted: Ticket) -> Result<(), ActionError> {
        self.wait(&format!("the answer to {wanted:?}"), |input| match input {
            LibvirtInput::Done { ticket, result } if ticket == wanted => Some(result),
            _ => None,
        })
    }

    pub fn act(&mut self, domain: &str, action: VmAction) -> Result<(), ActionError> {
        let ticket = self.order(domain, action, SOON);
        self.done(ticket)
    }
}

/// A folder that goes when it is dropped.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("roost-libvirt-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("a fresh folder");
        Self(path)
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, text).expect("writable");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const LIBVIRTD_CONF: &str = r#"
unix_sock_dir = "DIR/socket"
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
log_outputs = "3:file:DIR/libvirtd.log"
host_uuid = "UUID"
"#;

const QEMU_CONF: &str = concat!(include_str!("../bed/qemu.conf"), "migration_host = \"10.0.0.1\"\n");

/// Runs a libvirtd with private folders for each line that it reads, one after another. It is the first process of a PID
/// namespace: it reaps the QEMUs, as libvirt waits for somebody to do, and takes them with it when it ends. The cache is
/// shared by all tests: to ask QEMU what it can takes seconds.
const RUN_LIBVIRTD: &str = r#"
set -e
for pair in run:/run lib:/var/lib/libvirt log:/var/log/libvirt etc:/etc/libvirt cache:/var/cache/libvirt; do
    mkdir -p "$1/${pair%%:*}" "${pair#*:}"
    mount --bind "$1/${pair%%:*}" "${pair#*:}"
done
while read -r line; do
    libvirtd -f "$1/libvirtd.conf" -p "$1/run/libvirtd.pid" &
    wait $! || true
done
"#;

/// What a libvirtd and its guests are connected to.
pub enum Lan {
    /// The machine's own network.
    None,
    /// A loopback of their own, on which several libvirtds reach one another, by an address that is no loopback's, which
    /// libvirt would not take. It goes when this is dropped and they are gone.
    Loopback(Child),
}

impl Lan {
    pub fn new() -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--net", "sh", "-c"]);
        command.arg("ip link set lo up && ip address add 10.0.0.1 dev lo && echo up && read -r line");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        let mut line = String::new();
        let out = child.stdout.as_mut().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("it tells");
        assert_eq!(line, "up\n", "a network of its own needs root, and 'ip': install the package iproute2");
        Self::Loopback(child)
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        if let Self::Loopback(child) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub struct Libvirtd {
    pub folder: Folder,
    namespace: Child,
}

impl Libvirtd {
    /// A libvirtd that does not run yet, and knows these domains, as (name, definition).
    pub fn new(domains: &[(&str, String)], lan: &Lan) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "a libvirtd of one's own needs root: run the tests as root"
        );
        for (program, package) in [
            ("libvirtd", "libvirt-daemon-system"),
            ("qemu-system-x86_64", "qemu-system-x86"),
            ("setpriv", "util-linux"),
        ] {
            let found =
                Command::new("sh").args(["-c", "command -v \"$0\"", program]).output().expect("a shell");
            assert!(found.status.success(), "this test needs '{program}': install the package {package}");
        }
        let folder = Folder::new();
        let dir = folder.0.to_str().expect("a plain path").to_owned();
        // Two with the machine's own would be the same host to libvirt, which moves nothing from a host to itself.
        let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").expect("the kernel makes them");
        let conf = LIBVIRTD_CONF.replace("DIR", &dir).replace("UUID", uuid.trim());
        folder.file("libvirtd.conf", &conf);
        folder.file("etc/qemu.conf", QEMU_CONF);
        fs::create_dir(folder.0.join("socket")).expect("a folder");
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libvirt-cache");
        fs::create_dir_all(&cache).expect("a folder");
        std::os::unix::fs::symlink(cache, folder.0.join("cache")).expect("a link");
        for (name, xml) in domains {
            folder.file(&format!("etc/qemu/{name}.xml"), xml);
        }
        let log = fs::File::create(folder.0.join("out.log")).expect("a log");
        let mut command = match lan {
            Lan::None => Command::new("setpriv"),
            Lan::Loopback(child) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/proc/{}/ns/net", child.id())).arg("setpriv");
                command
            }
        };
        command.args(["--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["--mount", "--propagation", "private", "sh", "-c", RUN_LIBVIRTD, "sh"]).arg(&folder.0);
        let out = log.try_clone().expect("a descriptor");
        let namespace = command.stdin(Stdio::piped()).stdout(out).stderr(log).spawn().expect("a process");
        Self { folder, namespace }
    }

    pub fn start(&mut self) {
        self.namespace.stdin.as_mut().expect("it is a pipe").write_all(b"start\n").expect("the shell reads");
    }

    pub fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}/socket/libvirt-sock", self.folder.0.display())
    }

    /// Sends it a signal. After SIGSTOP it stands still: its threads are stopped one by one, and a call that came meanwhile
    /// would be answered.
    pub fn signal(&self, signal: Signal) -> Pid {
        let pid = self.pid("libvirtd.pid");
        kill(pid, signal).expect("libvirtd runs");
        while signal == Signal::SIGSTOP && !stands_still(pid) {
            std::thread::sleep(Duration::from_millis(1));
        }
        pid
    }

    /// Kills libvirtd; guests run on.
    pub fn kill(&mut self) {
        let pid = self.signal(Signal::SIGKILL);
        while kill(pid, None).is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The QEMU of a domain that runs.
    pub fn qemu(&self, domain: &str) -> Pid {
        self.pid(&format!("libvirt/qemu/{domain}.pid"))
    }

    /// The process that a file names by its number in the namespace.
    pub fn pid(&self, file: &str) -> Pid {
        let inner = fs::read_to_string(self.folder.0.join("run").join(file)).expect("it runs");
        let own = self.namespace.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).expect("unshare runs");
        let namespace = fs::read_link(format!("/proc/{}/ns/pid", children.trim())).expect("the shell runs");
        let is_it = |pid: &Pid| {
            fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|ns| ns == namespace)
                && fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| {
                    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
                    ids.split_whitespace().last() == Some(inner.trim())
                })
        };
        let all = fs::read_dir("/proc").expect("it is mounted").flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))
            .find(is_it)
            .unwrap_or_else(|| panic!("there is no process {inner} in the namespace"))
    }
}

/// Whether no thread of a process runs, or can before it is let go on.
fn stands_still(pid: Pid) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it exists");
    tasks.flatten().all(|task| {
        // Gone meanwhile, or stopped.
        fs::read_to_string(task.path().join("stat")).map_or(true, |stat| stat.contains(") T "))
    })
}

impl Drop for Libvirtd {
    fn drop(&mut self) {
        let _ = self.namespace.kill(); // all in it ends with it
        let _ = self.namespace.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.0.join("libvirtd.log")).unwrap_or_default();
            eprintln!("libvirtd said:\n{log}");
        }
    }
}

/// A driver that has seen these domains start.
pub fn running(libvirtd: &Libvirtd, domains: &[&str]) -> Driver {
    let mut driver = Driver::start(&libvirtd.uri(), domains);
    driver.connected();
    for name in domains {
        assert_eq!(driver.act(name, VmAction::Start), Ok(()));
        driver.view(name, "a running guest", |view| view.run == Run::Running);
    }
    driver
}
