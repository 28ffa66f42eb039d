//! Killing a VM without libvirt: its QEMU is found by its command line, and held by a descriptor while it is killed.
//!
//! libvirt starts each QEMU with `-name guest=NAME,...` and `-uuid UUID`. What is not certain is an error, never a guess:
//! of two processes that could be the VM none is killed, and that there is none counts only where every process
//! can be seen. For who asked takes the VM for dead then.
//!
//! What is not seen: a QEMU outside this PID namespace. So `roostd` does not belong into a container.

use super::error::CallError;
use crate::driver::clock;
use crate::sys::process::{ends_within, pidfd_open, pidfd_send_signal};
use core::time::Duration;
use nix::sys::signal::Signal;
use roost_proto::time::Instant;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The longest that a process is waited for after SIGKILL. What takes longer is stuck in the kernel, as on a disk that does
/// not answer. It is told before the order's own limit is over, and the host's watchdog may be waiting for it.
const GONE_WITHIN: Duration = Duration::from_secs(3);
/// What is read of a command line, in bytes: a QEMU with hundreds of devices has a tenth of it.
const MAX_COMMAND: u64 = 1024 * 1024;
/// The kernel's own threads have this among their flags (`PF_KTHREAD` of linux/sched.h).
const KERNEL_THREAD: u64 = 0x0020_0000;
/// A thread that ends has this (`PF_EXITING`).
const EXITING: u64 = 4;

/// Where the VMs of a connection URI run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// As QEMUs on this machine.
    Here,
    /// On another machine, or they are no QEMUs.
    No,
}

fn reach(uri: &str) -> Reach {
    let Some((scheme, rest)) = uri.split_once("://") else { return Reach::No };
    match scheme {
        "qemu" | "qemu+unix" if rest.starts_with('/') => Reach::Here,
        _ => Reach::No,
    }
}

/// Kills the QEMU of domain `name`, with this UUID if it is known, and waits for its end. `AlreadySo`: there is none.
pub fn kill(uri: &str, name: &str, uuid: Option<&str>, deadline: Instant) -> Result<(), CallError> {
    if reach(uri) == Reach::No {
        let words =
            format!("only a QEMU of this machine can be killed without libvirt, and '{uri}' has none");
        return Err(CallError::Failed(words));
    }
    let deadline = deadline.min(clock::now() + GONE_WITHIN);
    kill_in(Path::new("/proc"), name, uuid, deadline)
}

fn kill_in(proc: &Path, name: &str, uuid: Option<&str>, deadline: Instant) -> Result<(), CallError> {
    let mut result = Err(CallError::AlreadySo);
    // Until a look finds none: whoever started it may have started it again.
    loop {
        let pid = match find(proc, name, uuid)? {
            Seen::Nothing => return result,
            Seen::Qemu(pid) => pid,
            Seen::Dying(pid) => {
                if await_end(pid, deadline)? {
                    continue;
                }
                return Err(CallError::Failed(format!(
                    "process {pid} dies and does not end: it is stuck in the kernel, and may be the QEMU of '{name}'"
                )));
            }
        };
        if clock::now() >= deadline {
            let words =
                format!("process {pid}, the QEMU of '{name}', is there again each time that it was killed");
            return Err(CallError::Failed(words));
        }
        let Some(process) = hold(proc, pid, name)? else { continue };
        match pidfd_send_signal(process.as_fd(), Signal::SIGKILL) {
            Ok(()) => {}
            Err(error) if is_gone(&error) => continue,
            Err(error) => {
                return Err(CallError::Failed(format!(
                    "process {pid}, the QEMU of '{name}', cannot be killed: {error}; roostd needs to be root, with CAP_KILL"
                )));
            }
        }
        if !ends(&process, deadline) {
            return Err(CallError::Failed(format!(
                "process {pid}, the QEMU of '{name}', was killed and does not end: it is stuck in the kernel, as on a disk \
                 that does not answer"
            )));
        }
        result = Ok(());
    }
}

/// Waits for the end of a process.
fn await_end(pid: i32, deadline: Instant) -> Result<bool, CallError> {
    Ok(open(pid)?.is_none_or(|process| ends(&process, deadline)))
}

/// Holds whatever process has this number, if there is one.
fn open(pid: i32) -> Result<Option<OwnedFd>, CallError> {
    match pidfd_open(pid) {
        Ok(process) => Ok(Some(process)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(CallError::Failed(format!("process {pid} cannot be held: {error}"))),
    }
}

/// Holds process `pid`, if it still is the QEMU of `name`: its number may be another's by now.
fn hold(proc: &Path, pid: i32, name: &str) -> Result<Option<OwnedFd>, CallError> {
    let Some(process) = open(pid)? else { return Ok(None) };
    let command = command(&proc.join(pid.to_string()));
    let same =
        command.ok().flatten().is_some_and(|command| guest(&command).as_deref() == Some(name.as_bytes()));
    Ok(same.then_some(process))
}

/// Whether it ended in time.
fn ends(process: &OwnedFd, deadline: Instant) -> bool {
    ends_within(process.as_fd(), deadline.since(clock::now())).unwrap_or(false)
}

/// What is seen of a VM among the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It is certain that there is none of it.
    Nothing,
    /// The one process that is its QEMU.
    Qemu(i32),
    /// A process that dies, and has no command line any more by which it could be told from a QEMU.
    Dying(i32),
}

/// Looks for the QEMU of `name`.
fn find(proc: &Path, name: &str, uuid: Option<&str>) -> Result<Seen, CallError> {
    let failed = |words: String| Err(CallError::Failed(words));
    let unreadable =
        |error: io::Error| CallError::Failed(format!("'{}' cannot be read: {error}", proc.display()));
    let mut found = Vec::new();
    let mut dying = None;
    for entry in fs::read_dir(proc).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        match command(&entry.path()) {
            Ok(Some(command)) if guest(&command).as_deref() == Some(name.as_bytes()) => {
                found.push((pid, command));
            }
            Ok(Some(_)) => {}
            Ok(None) if dies(&entry.path()) => dying = Some(pid),
            Ok(None) => {}
            Err(error) if is_gone(&error) || error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return failed(format!("the command line of process {pid} cannot be read: {error}"));
            }
        }
    }
    match found.as_slice() {
        [] => match hides(proc) {
            Ok(false) => Ok(dying.map_or(Seen::Nothing, Seen::Dying)),
            Ok(true) => failed(
                "/proc hides other users' processes ('hidepid', or a unit's ProtectProc=), so that no QEMU is seen does \
                 not say that there is none"
                    .to_owned(),
            ),
            Err(error) => failed(format!("whether /proc hides processes cannot be read: {error}")),
        },
        [(pid, command)] => match (uuid, value(command, b"-uuid")) {
            (Some(wanted), Some(is)) if !wanted.as_bytes().eq_ignore_ascii_case(is) => failed(format!(
                "process {pid} is the QEMU of another '{name}', with UUID {}: nothing was killed",
                String::from_utf8_lossy(is)
            )),
            (Some(_), None) => {
                failed(format!("process {pid}, a QEMU of '{name}', has no UUID: nothing was killed"))
            }
            _ => Ok(Seen::Qemu(*pid)),
        },
        more => {
            let pids: Vec<String> = more.iter().map(|(pid, _)| pid.to_string()).collect();
            failed(format!(
                "processes {} are all QEMUs of '{name}': nothing was killed; kill the right one by hand",
                pids.join(", ")
            ))
        }
    }
}

/// The arguments of a process. None: it has none, as the kernel's threads and the dead.
fn command(process: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(process.join("cmdline"))?.take(MAX_COMMAND).read_to_end(&mut bytes)?;
    Ok((!bytes.is_empty()).then_some(bytes))
}

/// What follows the argument `option`.
fn value<'a>(command: &'a [u8], option: &[u8]) -> Option<&'a [u8]> {
    let mut arguments = command.split(|&byte| byte == 0);
    arguments.find(|argument| *argument == option)?;
    arguments.next()
}

/// The domain's name in `-name guest=NAME,...`; QEMU has commas doubled.
fn guest(command: &[u8]) -> Option<Vec<u8>> {
    let mut rest = value(command, b"-name")?.strip_prefix(b"guest=")?.iter().copied().peekable();
    let mut name = Vec::new();
    while let Some(byte) = rest.next() {
        if byte == b',' && rest.next_if_eq(&b',').is_none() {
            break;
        }
        name.push(byte);
    }
    Some(name)
}

/// Whether a process without arguments is one that dies: its first thread has let its memory go, and it, or another, is not
/// at its end yet.
fn dies(process: &Path) -> bool {
    let Ok(stat) = fs::read_to_string(process.join("stat")) else { return false };
    // The name, in parentheses, may hold anything; see proc_pid_stat(5) for the rest.
    let Some((_, rest)) = stat.rsplit_once(") ") else { return false };
    let fields: Vec<&str> = rest.split(' ').collect();
    let number =
        |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
    let (flags, threads) = (number(6), number(17));
    let is_zombie = fields.first() == Some(&"Z");
    flags & KERNEL_THREAD == 0 && flags & EXITING != 0 && (!is_zombie || threads > 1)
}

/// Whether other users' processes are hidden from whoever looks there; see proc(5), `hidepid`.
fn hides(proc: &Path) -> io::Result<bool> {
    let mounts = fs::read_to_string(proc.join("self/mountinfo"))?;
    // The last one at a place is what is seen there.
    let of_proc = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/proc"));
    let options = of_proc.and_then(|line| line.rsplit(' ').next()).ok_or(io::ErrorKind::NotFound)?;
    let how = options.split(',').find_map(|option| option.strip_prefix("hidepid="));
    Ok(!matches!(how, None | Some("0" | "off")))
}

fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const UUID: &str = "5f0e0000-0000-4000-8000-000000000061";
    const OTHER: &str = "5f0e0000-0000-4000-8000-000000000062";

    /// A folder like /proc.
    struct Proc(PathBuf);

    impl Proc {
        fn new(test: &str, options: &str) -> Self {
            let path = std::env::temp_dir().join(format!("roost-kill-{test}-{}", std::process::id()));
            let this = Self(path);
            let line = format!("22 26 0:20 / /proc rw,nosuid shared:5 - proc proc rw{options}\n");
            this.file("self/mountinfo", line.as_bytes());
            this.file("uptime", b"1");
            this
        }

        fn file(&self, name: &str, content: &[u8]) {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
            fs::write(path, content).expect("writable");
        }

        fn qemu(&self, pid: i32, name: &str, uuid: &str) {
            let command =
                format!("/usr/bin/qemu\0-name\0guest={name},debug-threads=on\0-m\01024\0-uuid\0{uuid}\0-x\0");
            self.file(&format!("{pid}/cmdline"), command.as_bytes());
        }

        fn find(&self, name: &str, uuid: Option<&str>) -> Result<Seen, String> {
            find(&self.0, name, uuid).map_err(|error| error.to_string())
        }

        fn refuses(&self, name: &str, uuid: Option<&str>) -> String {
            self.find(name, uuid).expect_err("it is not certain")
        }
    }

    impl Drop for Proc {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn names_are_read_as_qemu_reads_them() {
        let name = |argument: &str| {
            let command = format!("qemu\0-S\0-name\0{argument}\0-uuid\0x\0");
            guest(command.as_bytes()).map(|name| String::from_utf8(name).expect("text"))
        };
        assert_eq!(name("guest=web1,debug-threads=on").as_deref(), Some("web1"));
        assert_eq!(name("guest=web1").as_deref(), Some("web1"));
        assert_eq!(name("guest=a,,b,process=qemu:a,,b").as_deref(), Some("a,b"));
        assert_eq!(name("guest=a,,,debug-threads=on").as_deref(), Some("a,"));
        assert_eq!(name("web1"), None);
        assert_eq!(guest(b"qemu\0guest=web1\0"), None);
        assert_eq!(guest(b"qemu\0-name\0"), None);
    }

    #[test]
    fn the_one_process_is_found_and_no_other() {
        let proc = Proc::new("one", "");
        proc.qemu(70, "web", UUID);
        proc.qemu(71, "web1", OTHER);
        proc.file("72/cmdline", b"grep\0guest=web,\0");
        assert_eq!(proc.find("web", Some(UUID)), Ok(Seen::Qemu(70)));
        assert_eq!(proc.find("web", Some(&UUID.to_uppercase())), Ok(Seen::Qemu(70)));
        assert_eq!(proc.find("web", None), Ok(Seen::Qemu(70)));
        assert_eq!(proc.find("we", None), Ok(Seen::Nothing));
    }

    #[test]
    fn what_is_not_certain_is_refused() {
        let proc = Proc::new("uncertain", "");
        proc.qemu(70, "web", UUID);
        assert!(proc.refuses("web", Some(OTHER)).contains("another 'web'"));
        proc.qemu(71, "web", UUID);
        assert!(
            proc.refuses("web", Some(UUID)).contains("70, 71")
                || proc.refuses("web", None).contains("71, 70")
        );
        proc.file("80/cmdline", b"qemu\0-name\0guest=bare\0");
        assert!(proc.refuses("bare", Some(UUID)).contains("no UUID"));
    }

    #[test]
    fn none_counts_only_where_all_can_be_seen() {
        assert_eq!(Proc::new("seen", ",hidepid=off").find("web", None), Ok(Seen::Nothing));
        for hidden in [",hidepid=2", ",hidepid=invisible", ",hidepid=noaccess"] {
            assert!(Proc::new("hidden", hidden).refuses("web", None).contains("ProtectProc"));
        }
        let nowhere = Proc::new("nowhere", "");
        fs::remove_file(nowhere.0.join("self/mountinfo")).expect("it is there");
        assert!(nowhere.refuses("web", None).contains("cannot be read"));
    }

    #[test]
    fn one_that_dies_slowly_is_not_gone() {
        let stat = |state: &str, flags: u64, threads: u32| {
            format!("90 (a) b) {state} 1 90 90 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 {threads} 0 5 0 0\n")
        };
        let found = |stat: String| {
            let proc = Proc::new("slow", "");
            proc.file("90/cmdline", b"");
            proc.file("90/stat", stat.as_bytes());
            proc.find("web", None)
        };
        assert_eq!(found(stat("Z", 0x40_0044, 3)), Ok(Seen::Dying(90)), "another thread of it is left");
        assert_eq!(found(stat("D", 0x40_0004, 1)), Ok(Seen::Dying(90)));
        assert_eq!(found(stat("Z", 0x40_0044, 1)), Ok(Seen::Nothing), "its parent may never wait for it");
        assert_eq!(found(stat("S", 0x40_0000, 1)), Ok(Seen::Nothing), "it was started without arguments");
        assert_eq!(found(stat("S", KERNEL_THREAD | 0x44, 1)), Ok(Seen::Nothing));
    }

    #[test]
    fn a_number_that_means_another_by_now_is_not_killed() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().expect("a child");
        let pid = child.id().cast_signed();
        // What was found is the child's number; what is there now is a sleep.
        assert!(hold(Path::new("/proc"), pid, "web").expect("it is our own child").is_none());
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        assert!(hold(Path::new("/proc"), pid, "web").expect("it is gone").is_none());
    }

    #[test]
    fn a_process_that_does_not_end_is_an_error() {
        let child = std::process::Command::new("sleep").arg("100").spawn();
        let mut child = child.expect("a child");
        let process = pidfd_open(child.id().cast_signed()).expect("our own child");
        let begun = clock::now();
        assert!(!ends(&process, begun + Duration::from_millis(30)));
        assert!(clock::now() >= begun + Duration::from_millis(30));
        child.kill().expect("it runs");
        assert!(ends(&process, clock::now() + Duration::from_secs(20)));
        child.wait().expect("it ended");
    }

    #[test]
    fn only_qemus_of_this_machine_are_within_reach() {
        for uri in [
            "qemu:///system",
            "qemu:///session",
            "qemu+unix:///system?socket=/run/x",
            "qemu:///embed?root=/x",
        ] {
            assert_eq!(reach(uri), Reach::Here, "{uri}");
        }
        for uri in [
            "qemu://hv2/system",
            "qemu+ssh://root@hv2/system",
            "qemu+tcp://hv2/system",
            "test:///default",
            "xen:///",
        ] {
            assert_eq!(reach(uri), Reach::No, "{uri}");
        }
        let said = kill("test:///default", "test", None, clock::now() + Duration::from_secs(9));
        assert!(said.is_err_and(|error| error.to_string().contains("test:///default")));
    }
}
