//! The libvirt driver against libvirt: its in-process test driver, and a libvirtd with QEMU guests of its own.
//!
//! The second kind needs root, libvirtd and QEMU. The guests are empty machines on TCG.

#[path = "common/libvirtd.rs"]
mod libvirtd;

use libvirtd::{Driver, Folder, Lan, Libvirtd, SOON, running};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use roost::engine::keeper::vm::{ActionError, Happened, Job, LibvirtInput, Off, Paused, Run, VmAction};
use roost::sys::libvirt::{Notice, Sink, Subscription, What};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// libvirt's number for the event of a domain that stopped.
const STOPPED: u32 = virt::sys::VIR_DOMAIN_EVENT_STOPPED;
// The in-process test driver.

/// A fake host with the domains `up` (runs, and has a vsock) and `down`; each connection has its own.
fn fake_host(folder: &Folder) -> String {
    let domain = |name: &str, more: &str| {
        format!(
            "<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'><name>{name}</name>
             <memory>8192</memory><vcpu>2</vcpu><os><type>hvm</type></os>{more}</domain>"
        )
    };
    let up = domain("up", "<devices><vsock model='virtio'><cid auto='no' address='77'/></vsock></devices>");
    let down = domain("down", "<test:runstate>5</test:runstate>");
    let node = folder.file("node.xml", &format!("<node>{up}{down}</node>"));
    format!("test://{}", node.display())
}

#[test]
fn domains_are_found_by_listing() {
    let folder = Folder::new();
    let mut driver = Driver::start(&fake_host(&folder), &["up", "down", "absent"]);
    driver.connected();
    let up = driver.view("up", "a running domain", |view| view.run == Run::Running);
    assert!(up.life.is_some());
    assert_eq!(up.cid, Some(77));
    assert_eq!(up.job, Job::None);
    let mut driver = Driver::start(&fake_host(&folder), &["up", "down", "absent"]);
    let mut off = Vec::new();
    driver.wait("the others", |input| {
        match input {
            LibvirtInput::Domain { name, view, .. } if name != "up" => off.push((name, view.run, view.life)),
            _ => {}
        }
        (off.len() == 2).then_some(())
    });
    let expected = [("absent", Run::Undefined), ("down", Run::Off(Off::Unknown))];
    assert_eq!(off, expected.map(|(name, run)| (name.to_owned(), run, None)));
}

#[test]
fn every_action_is_carried_out_and_answered() {
    let folder = Folder::new();
    let mut driver = Driver::start(&fake_host(&folder), &["up", "new"]);
    driver.connected();
    let first = driver.view("up", "the domain", |view| view.life.is_some());
    assert_eq!(driver.act("up", VmAction::Start), Err(ActionError::AlreadySo));
    assert_eq!(driver.act("up", VmAction::Resume), Err(ActionError::AlreadySo));
    assert_eq!(driver.act("up", VmAction::Suspend), Ok(()));
    assert_eq!(driver.act("up", VmAction::Resume), Ok(()));
    assert_eq!(driver.act("up", VmAction::Reset), Ok(()));
    assert_eq!(driver.act("up", VmAction::Destroy), Ok(()));
    assert_eq!(driver.act("up", VmAction::Destroy), Err(ActionError::AlreadySo));
    assert_eq!(driver.act("up", VmAction::Shutdown), Err(ActionError::AlreadySo));
    assert!(matches!(driver.act("up", VmAction::Reset), Err(ActionError::Failed(_))));
    assert!(matches!(driver.act("up", VmAction::Resume), Err(ActionError::Failed(_))));
    driver.order("up", VmAction::Start, SOON);
    let second = driver.happened("up", Happened::Started);
    assert_ne!(second.life, first.life);
    driver.order("up", VmAction::Destroy, SOON);
    let off = driver.happened("up", Happened::Stopped(Off::Destroyed));
    assert_eq!((off.run, off.life, off.cid), (Run::Off(Off::Destroyed), None, None));
    driver.order("up", VmAction::Start, SOON);
    driver.happened("up", Happened::Started);
    driver.order("up", VmAction::Shutdown, SOON);
    driver.happened("up", Happened::Stopped(Off::Shutdown));
    assert_eq!(driver.act("absent", VmAction::Start), Err(ActionError::NoDomain));
}

#[test]
fn a_missing_domain_is_defined_from_its_file() {
    let folder = Folder::new();
    let mut driver = Driver::start(&fake_host(&folder), &["new"]);
    driver.connected();
    let xml = |name: &str| {
        format!(
            "<domain type='test'><name>{name}</name><memory>8192</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>"
        )
    };
    let mut define = |file: PathBuf| match driver.act("new", VmAction::Define { xml: file }) {
        Err(ActionError::Failed(words)) => words,
        other => format!("{other:?}"),
    };
    let said = define(folder.0.join("absent.xml"));
    assert!(said.contains("absent.xml") && said.contains("No such file"), "{said}");
    let said = define(folder.file("other.xml", &xml("other")));
    assert!(said.contains("defines domain 'other', not 'new'"), "{said}");
    let said = define(folder.file("text.xml", "hello"));
    assert!(said.contains("no domain's XML"), "{said}");
    let said = define(folder.file("broken.xml", "<domain type='test'><name>new</name></domain>"));
    assert!(said.contains("broken.xml"), "{said}");
    let said = define(folder.file("large.xml", &"x".repeat(2 * 1024 * 1024)));
    assert!(said.contains("larger than"), "{said}");
    let good = folder.file("good.xml", &xml("new"));
    driver.order("new", VmAction::Define { xml: good.clone() }, SOON);
    driver.view("new", "the new domain", |view| matches!(view.run, Run::Off(_)));
    assert_eq!(driver.act("new", VmAction::Define { xml: good }), Err(ActionError::AlreadySo));
}

#[test]
fn a_console_is_kept_as_a_picture() {
    let folder = Folder::new();
    let mut driver = Driver::start(&fake_host(&folder), &[]);
    driver.connected();
    let file = folder.file("up.ppm", "the picture before");
    assert_eq!(driver.act("up", VmAction::Screenshot { file: file.clone() }), Ok(()));
    let picture = fs::read(&file).expect("it was kept");
    assert!(picture.starts_with(b"\x89PNG"), "the test driver's console is a PNG");
    assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
    let nowhere = VmAction::Screenshot { file: folder.0.join("absent/up.ppm") };
    let Err(ActionError::Failed(words)) = driver.act("up", nowhere) else {
        panic!("there is no such folder")
    };
    assert!(words.contains("cannot write"), "{words}");
    let unwritable = folder.0.join("folder.ppm");
    fs::create_dir(&unwritable).expect("a folder");
    let said = driver.act("up", VmAction::Screenshot { file: unwritable });
    assert!(matches!(&said, Err(ActionError::Failed(words)) if words.contains("cannot keep")), "{said:?}");
    assert_eq!(driver.act("absent", VmAction::Screenshot { file: file.clone() }), Err(ActionError::NoDomain));
    assert_eq!(fs::read(&file).expect("kept"), picture, "a picture that failed leaves the one before");
    assert_eq!(fs::read_dir(&folder.0).expect("a folder").count(), 3, "nothing half-written is left");
}

#[test]
fn what_somebody_else_does_is_seen() {
    let other = virt::connect::Connect::open(Some("test:///default")).expect("the test driver");
    let mut driver = Driver::start("test:///default", &["test"]);
    driver.view("test", "the domain", |view| view.run == Run::Running);
    let domain = other.lookup_domain_by_name("test").expect("its one domain");
    domain.suspend().expect("it runs");
    driver.happened("test", Happened::Paused(Paused::User));
    domain.resume().expect("it is paused");
    driver.happened("test", Happened::Resumed);
    domain.set_autostart(true).expect("it is persistent");
    driver.view("test", "autostart", |view| view.autostart);
}

#[test]
fn a_uri_that_leads_nowhere_is_told_with_what_to_do() {
    let folder = Folder::new();
    let socket = folder.0.join("absent");
    let mut driver = Driver::start(&format!("qemu+unix:///system?socket={}", socket.display()), &["a"]);
    let reason = driver.lost();
    assert!(reason.contains("start libvirtd") && reason.contains("absent"), "{reason}");
    assert_eq!(driver.act("a", VmAction::Start), Err(ActionError::NotConnected));
}

// A libvirtd of the test's own.

/// An empty machine: its firmware finds nothing to boot, and waits.
fn guest(name: &str) -> String {
    format!(
        "<domain type='qemu'><name>{name}</name><uuid>5f0e0000-0000-4000-8000-{:012x}</uuid><memory unit='MiB'>16</memory><vcpu>1</vcpu>
         <os><type arch='x86_64' machine='pc'>hvm</type></os>
         <devices><emulator>/usr/bin/qemu-system-x86_64</emulator><video><model type='vga'/></video>
         <memballoon model='none'/></devices></domain>",
        name.bytes().fold(0_u64, |sum, byte| sum * 256 + u64::from(byte)),
    )
}

/// A libvirtd that does not run yet, and knows these empty machines.
fn libvirtd(domains: &[&str]) -> Libvirtd {
    let domains: Vec<_> = domains.iter().map(|name| (*name, guest(name))).collect();
    Libvirtd::new(&domains, &Lan::None)
}

fn started(domains: &[&str]) -> Libvirtd {
    let mut libvirtd = libvirtd(domains);
    libvirtd.start();
    libvirtd
}

#[test]
fn the_death_of_qemu_is_told_within_milliseconds() {
    const KILLS: usize = 20;
    let libvirtd = started(&["a"]);
    let mut driver = running(&libvirtd, &["a"]);
    // libvirtd itself waits until the dead QEMU is reaped, and looks for that each 200 ms: so what it takes from its
    // event is measured as well.
    let (events, event) = std::sync::mpsc::channel();
    let sink: Sink = Arc::new(move |notice| {
        if matches!(notice, Notice::Domain { what: What::Lifecycle { event: STOPPED, .. }, .. }) {
            let _ = events.send(Instant::now());
        }
    });
    let other = virt::connect::Connect::open(Some(&libvirtd.uri())).expect("libvirtd runs");
    let subscription = Subscription::new(&other, &sink).expect("it tells of events");
    let mut took = Vec::new();
    for _ in 0..KILLS {
        let qemu = libvirtd.qemu("a");
        let killed = Instant::now();
        kill(qemu, Signal::SIGKILL).expect("QEMU runs");
        let view = driver.happened("a", Happened::Stopped(Off::Failed));
        let told = Instant::now();
        assert_eq!((view.run, view.life), (Run::Off(Off::Failed), None));
        let event = event.recv_timeout(SOON).expect("libvirt tells of it");
        took.push((told - event.min(told), told - killed));
        assert_eq!(driver.act("a", VmAction::Start), Ok(()));
        driver.view("a", "the next life", |view| view.run == Run::Running);
    }
    drop(subscription);
    took.sort();
    let own = took[KILLS / 2].0;
    println!("libvirt's event → told: median {own:?}, longest {:?} of {KILLS}", took[KILLS - 1].0);
    took.sort_by_key(|(_, all)| *all);
    println!("QEMU killed → told: median {:?}, longest {:?}", took[KILLS / 2].1, took[KILLS - 1].1);
    assert!(own < Duration::from_millis(20), "{took:?}");
}

#[test]
fn a_signal_that_ends_qemu_is_not_the_guests_shutdown() {
    let libvirtd = started(&["a"]);
    let mut driver = running(&libvirtd, &["a"]);
    kill(libvirtd.qemu("a"), Signal::SIGTERM).expect("QEMU runs");
    // QEMU says why it goes and goes; a libvirtd that is slow to listen finds its socket closed, and calls it failed.
    let by_hand = |run| matches!(run, Run::Off(Off::Destroyed | Off::Failed));
    let view = driver.view("a", "it stopped", |view| matches!(view.run, Run::Off(_)));
    assert!(by_hand(view.run), "{view:?}");
    let next = driver.view("a", "the next poll", |_| true);
    assert_eq!(next.run, view.run);
}

#[test]
fn a_libvirtd_that_stands_still_is_lost_and_found_again() {
    let libvirtd = started(&["a"]);
    let mut driver = running(&libvirtd, &["a"]);
    let before = driver.view("a", "the guest", |view| view.life.is_some());
    for pause in [Duration::ZERO, Duration::from_secs(8)] {
        libvirtd.signal(Signal::SIGSTOP);
        let stopped = Instant::now();
        let reason = driver.lost();
        let took = stopped.elapsed();
        println!("libvirtd stopped → lost after {took:?}: {reason}");
        assert!(took < Duration::from_secs(6), "{took:?}");
        let asked = Instant::now();
        assert_eq!(driver.act("a", VmAction::Reset), Err(ActionError::NotConnected));
        assert!(asked.elapsed() < Duration::from_secs(1));
        // The second time it stands still until its keepalive has failed, and is connected to anew.
        std::thread::sleep(pause);
        libvirtd.signal(Signal::SIGCONT);
        driver.connected();
        let after = driver.view("a", "the guest", |_| true);
        assert_eq!((after.run, after.life), (Run::Running, before.life));
    }
    assert_eq!(driver.act("a", VmAction::Reset), Ok(()));
}

#[test]
fn what_timed_out_before_libvirtd_began_it_is_not_done_later() {
    let libvirtd = started(&["a"]);
    let mut driver = running(&libvirtd, &["a"]);
    let before = driver.view("a", "the guest", |view| view.life.is_some());
    libvirtd.signal(Signal::SIGSTOP);
    let order = driver.order("a", VmAction::Destroy, Duration::from_millis(500));
    assert_eq!(driver.done(order), Err(ActionError::TimedOut));
    libvirtd.signal(Signal::SIGCONT);
    for _ in 0..3 {
        let after = driver.view("a", "the guest", |_| true);
        assert_eq!((after.run, after.life), (Run::Running, before.life));
    }
}

#[test]
fn a_restart_of_libvirtd_harms_no_guest() {
    let mut libvirtd = started(&["a"]);
    let mut driver = running(&libvirtd, &["a"]);
    let before = driver.view("a", "the guest", |view| view.life.is_some());
    let qemu = libvirtd.qemu("a");
    libvirtd.kill();
    let killed = Instant::now();
    let reason = driver.lost();
    println!("libvirtd killed → lost after {:?}: {reason}", killed.elapsed());
    assert!(killed.elapsed() < Duration::from_secs(1));
    libvirtd.start();
    let restarted = Instant::now();
    driver.connected();
    let after = driver.view("a", "the guest", |_| true);
    println!("libvirtd started → guest seen after {:?}", restarted.elapsed());
    assert_eq!((after.run, after.life), (Run::Running, before.life));
    assert_eq!(libvirtd.qemu("a"), qemu);
    // libvirtd may be about to take the guest over still; then it tells of no event, and the poll finds out.
    kill(qemu, Signal::SIGKILL).expect("QEMU runs");
    driver.view("a", "its end", |view| matches!(view.run, Run::Off(_)) && view.life.is_none());
}

#[test]
fn a_libvirtd_that_comes_late_is_found() {
    let mut libvirtd = libvirtd(&["a"]);
    let mut driver = Driver::start(&libvirtd.uri(), &["a"]);
    driver.lost();
    libvirtd.start();
    driver.connected();
    driver.view("a", "the guest", |view| matches!(view.run, Run::Off(_)));
}

#[test]
fn a_restart_of_the_driver_finds_everything_again() {
    let libvirtd = started(&["a"]);
    let mut driver = running(&libvirtd, &["a"]);
    let before = driver.view("a", "the guest", |view| view.life.is_some());
    drop(driver);
    let mut driver = Driver::start(&libvirtd.uri(), &["a"]);
    driver.connected();
    let after = driver.view("a", "the guest", |_| true);
    assert_eq!((after.run, after.life), (Run::Running, before.life));
}

#[test]
fn a_qemu_that_stands_still_holds_nobody_else_up() {
    let libvirtd = started(&["a", "b", "c"]);
    let mut driver = running(&libvirtd, &["a", "b"]);
    kill(libvirtd.qemu("a"), Signal::SIGSTOP).expect("QEMU runs");
    let stuck = driver.order("a", VmAction::Reset, Duration::from_secs(2));
    assert_eq!(driver.done(stuck), Err(ActionError::TimedOut));
    // Its vCPUs stand still for all to see, and the others are seen to go on.
    let still = driver.view("a", "the stuck guest", |view| view.run == Run::Running);
    let moving = driver.view("b", "the other guest", |view| view.run == Run::Running);
    for _ in 0..3 {
        let view = driver.view("a", "the stuck guest again", |_| true);
        assert_eq!(view.progress.cpu_ns, still.progress.cpu_ns);
    }
    driver.view("b", "progress", |view| view.progress.cpu_ns > moving.progress.cpu_ns);
    assert_eq!(driver.act("c", VmAction::Start), Ok(()));
    let asked = Instant::now();
    assert_eq!(driver.act("a", VmAction::Reboot), Err(ActionError::Busy));
    assert!(asked.elapsed() < Duration::from_secs(5), "it is refused at once");
    assert_eq!(driver.act("a", VmAction::Destroy), Ok(()));
    driver.view("a", "the end of the stuck guest", |view| view.life.is_none());
    assert_eq!(driver.act("a", VmAction::Start), Ok(()));
}

#[test]
fn a_domain_that_libvirtd_holds_locked_holds_nobody_else_up() {
    let libvirtd = libvirtd(&["a", "b"]);
    // A hook that does not end, as a start from a disk that does not answer, keeps the domain locked in libvirtd.
    let hook = "#!/bin/sh\ntest \"$1 $2\" != 'b prepare' || exec sleep 20\n";
    let hook = libvirtd.folder.file("etc/hooks/qemu", hook);
    fs::set_permissions(hook, fs::Permissions::from_mode(0o755)).expect("our own file");
    let mut libvirtd = libvirtd;
    libvirtd.start();
    let mut driver = running(&libvirtd, &["a"]);
    driver.libvirt.watch(["a".to_owned(), "b".to_owned()]);
    let begun = Instant::now();
    let start = driver.order("b", VmAction::Start, Duration::from_secs(1));
    assert_eq!(driver.done(start), Err(ActionError::TimedOut));
    let mut views = 0;
    while begun.elapsed() < Duration::from_secs(14) {
        let name = driver.wait("a view of any domain", |input| match input {
            LibvirtInput::Domain { name, .. } => Some(name),
            LibvirtInput::Lost { reason } => panic!("{reason}"),
            _ => None,
        });
        views += u32::from(name == "a");
    }
    assert!(views >= 4, "{views} views of the other domain");
    driver.view("b", "the guest that started at last", |view| view.run == Run::Running);
}

// Killing without libvirt. All tests see each other's processes: each has domains of its own.

/// A process that has the arguments of a domain's QEMU.
struct Decoy(Child);

impl Decoy {
    fn new(name: &str, uuid: &str) -> Self {
        let mut command = Command::new("sh");
        let name = format!("guest={name},debug-threads=on");
        command.args(["-c", "echo; read -r line", "-name", &name, "-uuid", uuid]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
        let mut byte = [0];
        child.stdout.as_mut().expect("a pipe").read_exact(&mut byte).expect("it is a shell by now");
        Self(child)
    }

    fn runs(&mut self) -> bool {
        self.0.try_wait().expect("our own child").is_none()
    }
}

impl Drop for Decoy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a process has ended, waited for or not.
fn has_ended(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
        || kill(pid, None).is_err()
}

#[test]
fn a_vm_is_killed_though_libvirtd_stands_still_or_is_gone() {
    let mut libvirtd = started(&["k1", "k2"]);
    let mut driver = running(&libvirtd, &["k1", "k2"]);
    let (first, second) = (libvirtd.qemu("k1"), libvirtd.qemu("k2"));
    libvirtd.signal(Signal::SIGSTOP);
    // What hangs in libvirt does not keep a kill waiting.
    driver.order("k1", VmAction::Reset, SOON);
    driver.order("k1", VmAction::Destroy, SOON);
    let asked = Instant::now();
    assert_eq!(driver.act("k1", VmAction::Kill), Ok(()));
    println!("killed without libvirt after {:?}", asked.elapsed());
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert!(has_ended(first) && !has_ended(second));
    assert_eq!(driver.act("k1", VmAction::Kill), Err(ActionError::AlreadySo), "there is none any more");
    libvirtd.signal(Signal::SIGCONT);
    driver.view("k1", "its end", |view| matches!(view.run, Run::Off(_)));
    libvirtd.kill();
    driver.lost();
    assert_eq!(driver.act("k2", VmAction::Kill), Ok(()));
    assert!(has_ended(second));
}

#[test]
fn a_vm_is_killed_by_a_driver_that_never_saw_libvirt() {
    let mut libvirtd = started(&["k3"]);
    drop(running(&libvirtd, &["k3"]));
    let qemu = libvirtd.qemu("k3");
    libvirtd.kill();
    let mut driver = Driver::start(&libvirtd.uri(), &["k3"]);
    driver.lost();
    assert_eq!(driver.act("k3", VmAction::Kill), Ok(()));
    assert!(has_ended(qemu));
}

#[test]
fn a_kill_that_is_not_certain_whom_it_meets_kills_nobody() {
    let libvirtd = started(&["k4"]);
    let mut driver = running(&libvirtd, &["k4"]);
    let qemu = libvirtd.qemu("k4");
    let refused = |driver: &mut Driver, what: &str| match driver.act("k4", VmAction::Kill) {
        Err(ActionError::Failed(words)) => assert!(words.contains(what), "{words}"),
        other => panic!("{other:?}"),
    };
    let other = "5f0e0000-0000-4000-8000-0000000000ff";
    let mut decoy = Decoy::new("k4", other);
    refused(&mut driver, "are all QEMUs of 'k4'");
    assert!(decoy.runs() && !has_ended(qemu));
    // Another libvirt's VM of the same name, and of this one none.
    kill(qemu, Signal::SIGKILL).expect("it runs");
    driver.view("k4", "its end", |view| matches!(view.run, Run::Off(_)));
    let pid = decoy.0.id();
    refused(&mut driver, &format!("process {pid} is the QEMU of another 'k4', with UUID {other}"));
    assert!(decoy.runs());
    drop(decoy);
    assert_eq!(driver.act("k4", VmAction::Kill), Err(ActionError::AlreadySo));
}

#[test]
fn a_real_console_is_kept() {
    let libvirtd = started(&["a"]);
    let mut driver = running(&libvirtd, &["a"]);
    let file = libvirtd.folder.0.join("a.ppm");
    assert_eq!(driver.act("a", VmAction::Screenshot { file: file.clone() }), Ok(()));
    let picture = fs::read(&file).expect("it was kept");
    assert!(picture.starts_with(b"P6") || picture.starts_with(b"\x89PNG"), "{:?}", &picture[..8]);
    assert!(picture.len() > 1000, "{} bytes", picture.len());
}

#[test]
fn a_job_of_libvirts_is_seen() {
    let libvirtd = started(&["a"]);
    let mut driver = running(&libvirtd, &["a"]);
    // A dump into a pipe that nobody reads does not end.
    let pipe = libvirtd.folder.0.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let reader = fs::OpenOptions::new().read(true).write(true).open(&pipe).expect("a pipe can be opened so");
    let uri = libvirtd.uri();
    let dump = std::thread::spawn(move || {
        let other = virt::connect::Connect::open(Some(&uri)).expect("libvirtd runs");
        let domain = other.lookup_domain_by_name("a").expect("it runs");
        let live = virt::sys::VIR_DUMP_LIVE | virt::sys::VIR_DUMP_MEMORY_ONLY;
        domain.core_dump(pipe.to_str().expect("a plain path"), live).is_err()
    });
    let view = driver.view("a", "a job", |view| view.job != Job::None);
    assert_eq!(view.job, Job::Other);
    drop(reader);
    driver.view("a", "the end of the job", |view| view.job == Job::None);
    assert!(dump.join().expect("it does not panic"), "the dump had nowhere to go");
}
