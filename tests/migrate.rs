//! VMs that move with their memory, through the libvirt driver: two libvirtds with QEMU guests of their own, on a loopback
//! of their own.
//!
//! The guest is a boot sector. It counts in its memory, writes the count to each of 2,048 pages, and tells it on its serial
//! port; before it goes on counting it checks that every page holds what it wrote last. So what was told on one host and then
//! on the other is one sequence, or memory was lost, is old, or the guest was restarted.

#[path = "common/libvirtd.rs"]
mod libvirtd;

use libvirtd::{Driver, Lan, Libvirtd, SOON, running};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use roost::engine::keeper::vm::{
    ActionError, DomainView, Job, LibvirtInput, Off, Paused, Run, Ticket, VmAction,
};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// What a migration may move in a second, in MiB, where it is to take its time: the guest writes 8 MiB anew with each count,
/// so it never ends.
const SLOW: u64 = 1;
/// The same, and all of the memory is moved about once in a second.
const BUSY: u64 = 10;
/// As much as it can.
const FAST: u64 = 10_000;

/// Real mode, loaded at 0x7c00; the count is at 0x500, the pages from 1 MiB to 9 MiB. It touches CR0 with each count, so that
/// QEMU's TCG looks anew at each page that is written to: without that QEMU 7.2 was seen to count few of them as written
/// again, and a slow migration ended all the same.
#[rustfmt::skip]
const COUNTER: &[u8] = &[
    0x66, 0x31, 0xc0,                         //         xor   eax, eax
    0x8e, 0xd8,                               //         mov   ds, ax
    0x8e, 0xd0,                               //         mov   ss, ax
    0xbc, 0x00, 0x7c,                         //         mov   sp, 0x7c00
    0x66, 0xa3, 0x00, 0x05,                   //         mov   [0x500], eax
    0xb0, b'B',                               //         mov   al, 'B'            "booted"
    0xe8, 0x83, 0x00,                         //         call  put
    0xb0, b'\n',                              // again:  mov   al, '\n'
    0xe8, 0x7e, 0x00,                         //         call  put
    0x66, 0x8b, 0x1e, 0x00, 0x05,             //         mov   ebx, [0x500]
    0x66, 0x85, 0xdb,                         //         test  ebx, ebx
    0x74, 0x1c,                               //         jz    count
    0x66, 0xbf, 0x00, 0x00, 0x10, 0x00,       //         mov   edi, 0x100000
    0x67, 0x66, 0x39, 0x1f,                   // check:  cmp   [edi], ebx
    0x75, 0x61,                               //         jne   bad
    0x66, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, //         add   edi, 4096
    0x66, 0x81, 0xff, 0x00, 0x00, 0x90, 0x00, //         cmp   edi, 0x900000
    0x75, 0xea,                               //         jne   check
    0x66, 0x43,                               // count:  inc   ebx
    0x66, 0x89, 0x1e, 0x00, 0x05,             //         mov   [0x500], ebx
    0xb1, 0x08,                               //         mov   cl, 8
    0x66, 0xc1, 0xc3, 0x04,                   // digit:  rol   ebx, 4
    0x88, 0xd8,                               //         mov   al, bl
    0x24, 0x0f,                               //         and   al, 15
    0x04, b'0',                               //         add   al, '0'
    0x3c, b'9',                               //         cmp   al, '9'
    0x76, 0x02,                               //         jbe   print
    0x04, 0x27,                               //         add   al, 'a' - '9' - 1
    0xe8, 0x3c, 0x00,                         // print:  call  put
    0xfe, 0xc9,                               //         dec   cl
    0x75, 0xe9,                               //         jnz   digit
    0x0f, 0x20, 0xc0,                         //         mov   eax, cr0
    0x66, 0x35, 0x00, 0x00, 0x01, 0x00,       //         xor   eax, 0x10000       write protection, unused here
    0x0f, 0x22, 0xc0,                         //         mov   cr0, eax
    0x66, 0xbf, 0x00, 0x00, 0x10, 0x00,       //         mov   edi, 0x100000
    0x67, 0x66, 0x89, 0x1f,                   // write:  mov   [edi], ebx
    0x66, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, //         add   edi, 4096
    0x66, 0x81, 0xff, 0x00, 0x00, 0x90, 0x00, //         cmp   edi, 0x900000
    0x75, 0xec,                               //         jne   write
    0xb4, 0x86,                               //         mov   ah, 0x86           the BIOS waits
    0x31, 0xc9,                               //         xor   cx, cx
    0xba, 0x20, 0x4e,                         //         mov   dx, 20000          microseconds
    0xcd, 0x15,                               //         int   0x15
    0xeb, 0x84,                               //         jmp   again
    0xb0, b'X',                               // bad:    mov   al, 'X'
    0xe8, 0x02, 0x00,                         //         call  put
    0xeb, 0xf9,                               //         jmp   bad
    0x50,                                     // put:    push  ax
    0xba, 0xfd, 0x03,                         //         mov   dx, 0x3fd          until the serial port takes one
    0xec,                                     // wait:   in    al, dx
    0xa8, 0x20,                               //         test  al, 0x20
    0x74, 0xfb,                               //         jz    wait
    0x58,                                     //         pop   ax
    0xba, 0xf8, 0x03,                         //         mov   dx, 0x3f8
    0xee,                                     //         out   dx, al
    0xc3,                                     //         ret
];

/// A host without its network: libvirt, its driver, and what its guest told.
struct Host {
    driver: Driver,
    libvirtd: Libvirtd,
}

impl Host {
    fn console(&self) -> PathBuf {
        self.libvirtd.folder.0.join("log/g.console")
    }

    fn told(&self) -> String {
        fs::read_to_string(self.console()).unwrap_or_default()
    }

    /// The newest whole count; 0 if there is none.
    fn count(&self) -> u32 {
        let told = self.told();
        told.split('\n')
            .rev()
            .find(|line| line.len() == 8)
            .map_or(0, |line| u32::from_str_radix(line, 16).expect("a count"))
    }

    /// Waits until it has counted on by ten.
    fn counts_on(&self) -> u32 {
        let (begun, until) = (self.count(), Instant::now() + SOON);
        loop {
            let now = self.count();
            if now >= begun + 10 {
                return now;
            }
            assert!(Instant::now() < until, "the guest stands still at {now}: '{}'", self.told());
            std::thread::sleep(Duration::from_millis(2)); // between two looks; the bound above judges
        }
    }

    fn is(&mut self, what: &str, run: Run) -> DomainView {
        self.driver.view("g", what, |view| view.run == run)
    }

    fn migrate(&self, to: &Self, limit: Duration) -> Ticket {
        self.driver.order("g", VmAction::Migrate { to: to.libvirtd.uri() }, limit)
    }

    /// A slow migration, once it is under way on both sides.
    fn moving(&mut self, to: &mut Self, speed: u64, limit: Duration) -> Ticket {
        self.set_speed(speed);
        let ticket = self.migrate(to, limit);
        self.driver.wait("how far it came", |input| match input {
            LibvirtInput::Progress { ticket: its, percent } if its == ticket => {
                assert!(percent <= 99, "{percent}");
                Some(())
            }
            LibvirtInput::Done { result, .. } => panic!("it never ends: {result:?}"),
            _ => None,
        });
        let coming = to.is("the incoming domain", Run::Paused(Paused::Busy));
        assert!(coming.life.is_some());
        ticket
    }

    /// In MiB for each second.
    fn set_speed(&self, speed: u64) {
        let other = virt::connect::Connect::open(Some(&self.libvirtd.uri())).expect("libvirtd runs");
        let domain = other.lookup_domain_by_name("g").expect("it is defined");
        domain.migrate_set_max_speed(speed, 0).expect("it runs");
    }

    /// It runs in the life that it had, and its libvirt is done with it.
    fn runs_on(&mut self, life: Option<u32>) {
        let is_free = |view: &DomainView| view.run == Run::Running && view.job == Job::None;
        let view = self.driver.view("g", "the guest that runs on", is_free);
        assert_eq!(view.life, life);
        self.counts_on();
    }
}

fn definition(folder: &Path, uuid: &str, disk: &str) -> String {
    format!(
        "<domain type='qemu'><name>g</name><uuid>{uuid}</uuid><memory unit='MiB'>16</memory><vcpu>1</vcpu>
         <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='fd'/></os>
         <cpu mode='custom'><model>qemu64</model></cpu>
         <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
         <disk type='file' device='floppy'><driver name='qemu' type='raw'/><source file='{}'/><target dev='fda'/><readonly/></disk>
         {disk}<controller type='usb' model='none'/>
         <serial type='file'><source path='/var/log/libvirt/g.console' append='on'/></serial>
         <video><model type='vga'/></video><memballoon model='none'/></devices></domain>",
        folder.join("counter.img").display(),
    )
}

const UUID: &str = "5f0e0000-0000-4000-8000-0000000000aa";

/// Two hosts that reach each other, and a guest that runs on the first.
struct Pair {
    here: Host,
    there: Host,
    /// What both see; it goes last.
    shared: libvirtd::Folder,
    _lan: Lan,
}

impl Pair {
    fn new() -> Self {
        Self::with(UUID, "")
    }

    /// There the guest has this UUID, and here this disk.
    fn with(uuid: &str, disk: &str) -> Self {
        let (shared, lan) = (libvirtd::Folder::new(), Lan::new());
        let mut image = COUNTER.to_vec();
        image.resize(510, 0);
        image.extend([0x55, 0xaa]);
        fs::write(shared.0.join("counter.img"), image).expect("writable");
        fs::write(shared.0.join("disk.img"), [0; 65536]).expect("writable");
        let disk = disk.replace("DIR", shared.0.to_str().expect("a plain path"));
        let libvirtd = |uuid, disk| {
            let mut libvirtd = Libvirtd::new(&[("g", definition(&shared.0, uuid, disk))], &lan);
            libvirtd.start();
            libvirtd
        };
        let (here, there) = (libvirtd(UUID, &disk), libvirtd(uuid, ""));
        let mut driver = Driver::start(&there.uri(), &["g"]);
        driver.connected();
        driver.view("g", "the other definition", |view| matches!(view.run, Run::Off(_)));
        let there = Host { driver, libvirtd: there };
        let here = Host { driver: running(&here, &["g"]), libvirtd: here };
        here.counts_on();
        Self { here, there, shared, _lan: lan }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.shared.0.join(name)
    }
}

/// What was told on the hosts that the guest was on, one after another: it was booted once and left out no count.
fn is_one_sequence(told: &[&str]) {
    let all = told.concat();
    let counts = all.strip_prefix("B\n").unwrap_or_else(|| panic!("it was not booted first: '{all}'"));
    // The last line may not be whole.
    let whole = counts.rsplit_once('\n').map_or("", |(whole, _)| whole);
    for (count, line) in (1_u32..).zip(whole.split('\n')) {
        assert_eq!(
            line,
            format!("{count:08x}"),
            "the guest was booted again, or its memory is not what it was: {told:#?}"
        );
    }
}

fn failed(result: Result<(), ActionError>) -> String {
    match result {
        Err(ActionError::Failed(words)) => words,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_vm_moves_while_it_runs_and_moves_back() {
    let Pair { mut here, mut there, shared: _shared, _lan } = Pair::new();
    let mut told = Vec::new();
    for lap in 0..2 {
        let before = here.counts_on();
        let begun = Instant::now();
        // The first time its memory is moved again and again before it stands still, as it writes on meanwhile.
        let ticket = if lap == 0 {
            let ticket = here.moving(&mut there, BUSY, SOON);
            for _ in 0..6 {
                here.counts_on();
            }
            ticket
        } else {
            here.migrate(&there, SOON)
        };
        here.set_speed(FAST);
        let downtime = here.driver.wait("how long it stood still", |input| match input {
            LibvirtInput::Downtime { ticket: its, time } if its == ticket => Some(time),
            LibvirtInput::Done { result, .. } => panic!("it is told before the end: {result:?}"),
            _ => None,
        });
        assert_eq!(here.driver.done(ticket), Ok(()));
        let took = begun.elapsed();
        assert!(here.count() >= before);
        let gone = here.driver.view("g", "the end of it here", |view| view.life.is_none());
        assert_eq!(gone.run, Run::Off(Off::Migrated));
        let arrived = there.is("the domain that arrived", Run::Paused(Paused::User));
        assert!(arrived.life.is_some());
        let left = fs::metadata(here.console()).and_then(|file| file.modified()).expect("it told something");
        let length = there.told().len();
        assert_eq!(there.driver.act("g", VmAction::Suspend), Ok(()), "it does not mind");
        assert_eq!(there.told().len(), length, "it runs before it is told to");
        assert_eq!(there.driver.act("g", VmAction::Resume), Ok(()));
        while there.told().len() == length {
            std::thread::sleep(Duration::from_millis(1));
        }
        let outside = SystemTime::now().duration_since(left).unwrap_or_default();
        there.runs_on(arrived.life);
        told.push(here.told());
        is_one_sequence(&[told.concat().as_str(), &there.told()[if lap == 0 { 0 } else { told[0].len() }..]]);
        println!(
            "move {}: {took:?}; it stood still for {downtime:?} by libvirt's count, for {outside:?} seen from outside, with the wait for its resumption",
            lap + 1
        );
        core::mem::swap(&mut here, &mut there);
    }
}

#[test]
fn a_vm_is_saved_here_and_goes_on_there_once() {
    let mut pair = Pair::new();
    let file = pair.file("g.save");
    let save = |file: &Path| VmAction::Save { file: file.to_path_buf() };
    let restore = |file: &Path| VmAction::Restore { file: file.to_path_buf() };
    let life = pair.here.is("the guest", Run::Running).life;
    let said = failed(pair.here.driver.act("g", save(&pair.file("absent/g.save"))));
    assert!(said.contains("cannot write") && said.contains("absent/g.save"), "{said}");
    pair.here.runs_on(life);
    let begun = Instant::now();
    assert_eq!(pair.here.driver.act("g", save(&file)), Ok(()));
    println!("saved after {:?}, {} bytes", begun.elapsed(), fs::metadata(&file).expect("it is there").len());
    assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
    pair.here.is("the end of it here", Run::Off(Off::Saved));
    let said = failed(pair.there.driver.act("g", restore(&pair.file("absent"))));
    assert!(said.contains("absent"), "{said}");
    let begun = Instant::now();
    assert_eq!(pair.there.driver.act("g", restore(&file)), Ok(()));
    println!("restored after {:?}", begun.elapsed());
    let restored = pair.there.is("the restored domain", Run::Paused(Paused::Busy));
    assert_eq!(restored.job, Job::None, "which tells it from one that is coming in");
    let said = failed(pair.there.driver.act("g", restore(&file)));
    assert!(said.contains("already active"), "{said}");
    assert_eq!(pair.there.told(), "", "it runs before it is told to");
    assert!(file.exists());
    for _ in 0..2 {
        assert_eq!(pair.there.driver.act("g", VmAction::Forget { file: file.clone() }), Ok(()));
        assert!(!file.exists());
    }
    assert_eq!(pair.there.driver.act("g", VmAction::Resume), Ok(()));
    pair.there.runs_on(restored.life);
    is_one_sequence(&[&pair.here.told(), &pair.there.told()]);
    let folder = VmAction::Forget { file: pair.shared.0.clone() };
    assert!(failed(pair.there.driver.act("g", folder)).contains("cannot take away"));
}

/// A pipe in place of the file: what its reader does not read yet keeps the saving under way.
fn pipe(path: &Path) -> File {
    mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).expect("a fresh name");
    File::options().read(true).write(true).open(path).expect("nobody has to be at the other end")
}

const DISK: &str =
    "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='DIR/disk.img'/>
                    <target dev='vda' bus='virtio'/></disk>";

#[test]
fn a_vm_whose_qemu_dies_while_it_is_saved_is_off() {
    let mut pair = Pair::new();
    let file = pair.file("g.save");
    let reader = pipe(&file);
    let ticket = pair.here.driver.order("g", VmAction::Save { file: file.clone() }, SOON);
    let is_saved = |view: &DomainView| view.run == Run::Paused(Paused::Busy) && view.job == Job::Save;
    pair.here.driver.view("g", "the saving", is_saved);
    kill(pair.here.libvirtd.qemu("g"), Signal::SIGKILL).expect("it runs");
    let off = pair.here.driver.view("g", "the end of it", |view| view.life.is_none());
    println!("QEMU killed while it was saved → {:?}", off.run);
    assert!(matches!(off.run, Run::Off(Off::Crashed | Off::Failed)), "{:?}", off.run);
    drop(reader); // else libvirt waits for its own helper, which waits for the reader
    println!("{}", failed(pair.here.driver.done(ticket)));
    assert_eq!(pair.here.driver.act("g", VmAction::Start), Ok(()));
    pair.here.is("the guest, begun anew", Run::Running);
}

/// Whoever sent its memory away relies on it that this is so: no person paused it, and nobody else lets it go on.
#[test]
fn a_vm_that_libvirt_cannot_let_go_on_after_a_saving_that_failed_is_left_paused_as_for_that() {
    let mut pair = Pair::with(UUID, DISK);
    let life = pair.here.is("the guest", Run::Running).life;
    let file = pair.file("g.save");
    let mut reader = pipe(&file);
    // Another that does not share the right to write: QEMU gives its own up when it is done, and needs it again to go on.
    let disk = File::open(pair.file("disk.img")).expect("it is there");
    let range = |kind: libc::c_int, start, len| libc::flock {
        l_type: kind.try_into().expect("small"),
        l_whence: 0,
        l_start: start,
        l_len: len,
        l_pid: 0,
    };
    let lock = |kind| {
        fcntl(&disk, FcntlArg::F_OFD_SETLK(&range(kind, 201, 1))).expect("QEMU's locks are no obstacle");
    };
    let is_in_use = || {
        let mut found = range(libc::F_WRLCK, 100, 200);
        fcntl(&disk, FcntlArg::F_OFD_GETLK(&mut found)).expect("locks are told");
        i32::from(found.l_type) != libc::F_UNLCK
    };
    lock(libc::F_RDLCK);
    assert!(is_in_use());
    let ticket = pair.here.driver.order("g", VmAction::Save { file }, SOON);
    // The saving fails when QEMU is done with it.
    while is_in_use() {
        reader.read_exact(&mut [0; 4096]).expect("it is written");
    }
    drop(reader);
    println!("{}", failed(pair.here.driver.done(ticket)));
    let left = pair.here.driver.view("g", "what is left", |view| view.job == Job::None);
    println!("what could not go on is left as {:?}", left.run);
    assert!(matches!(left.run, Run::Paused(Paused::Busy | Paused::Unknown)), "{:?}", left.run);
    let told = pair.here.told();
    println!("{}", failed(pair.here.driver.act("g", VmAction::Resume)));
    assert_eq!(pair.here.told(), told);
    lock(libc::F_UNLCK);
    assert_eq!(pair.here.driver.act("g", VmAction::Resume), Ok(()));
    pair.here.runs_on(life);
    is_one_sequence(&[&pair.here.told()]);
}

#[test]
fn what_libvirt_refuses_is_told_in_its_words_and_the_vm_runs_on() {
    for (pair, words, advice) in [
        (Pair::with(UUID, DISK), "Migration without shared storage is unsafe", "cache='none'"),
        (
            Pair::with("5f0e0000-0000-4000-8000-0000000000bb", ""),
            "already exists with uuid",
            "the same <uuid>",
        ),
    ] {
        let mut pair = pair;
        let life = pair.here.is("the guest", Run::Running).life;
        let ticket = pair.here.migrate(&pair.there, SOON);
        let said = failed(pair.here.driver.done(ticket));
        println!("{said}");
        assert!(said.contains(words) && said.contains(advice), "{said}");
        pair.here.runs_on(life);
        let said = failed(pair.here.driver.act("g", VmAction::Abort));
        assert!(said.contains("no job is active"), "{said}");
        is_one_sequence(&[&pair.here.told()]);
    }
}

#[test]
fn a_vm_that_is_suspended_on_its_way_arrives_and_stands_still() {
    let Pair { mut here, mut there, shared: _shared, _lan } = Pair::new();
    let ticket = here.moving(&mut there, SLOW, SOON);
    let is_seen = |view: &DomainView| view.job == Job::Migration;
    here.driver.view("g", "the migration", is_seen);
    there.driver.view("g", "the migration that comes in", is_seen);
    let asked = Instant::now();
    assert_eq!(here.driver.act("g", VmAction::Suspend), Ok(()));
    println!("suspended on its way after {:?}", asked.elapsed());
    let stands_at = here.told();
    here.set_speed(FAST);
    assert_eq!(here.driver.done(ticket), Ok(()));
    assert_eq!(here.told(), stands_at);
    there.is("the domain that arrived", Run::Paused(Paused::User));
    assert_eq!(there.told(), "");
    assert_eq!(there.driver.act("g", VmAction::Destroy), Ok(()));
    there.is("its end", Run::Off(Off::Destroyed));
    here.is("its end here", Run::Off(Off::Migrated));
}

/// Whoever suspends a VM that moves relies on it that this is so, or that it changes loudly.
#[test]
fn libvirt_lets_a_suspended_vm_go_on_when_its_migration_is_aborted() {
    let Pair { mut here, mut there, shared: _shared, _lan } = Pair::new();
    let life = here.is("the guest", Run::Running).life;
    let ticket = here.moving(&mut there, SLOW, SOON);
    assert_eq!(here.driver.act("g", VmAction::Suspend), Ok(()));
    assert_eq!(here.driver.act("g", VmAction::Resume), Err(ActionError::Busy));
    assert_eq!(here.driver.act("g", VmAction::Abort), Ok(()));
    let said = failed(here.driver.done(ticket));
    assert!(said.contains("canceled by client"), "{said}");
    here.runs_on(life);
    is_one_sequence(&[&here.told()]);
    there.driver.view("g", "the end of what had come in", |view| view.life.is_none());
    // One that may not run any more is destroyed.
    let ticket = here.moving(&mut there, SLOW, SOON);
    let asked = Instant::now();
    assert_eq!(here.driver.act("g", VmAction::Destroy), Ok(()));
    println!("destroyed on its way after {:?}", asked.elapsed());
    failed(here.driver.done(ticket));
    here.is("its end", Run::Off(Off::Destroyed));
    there.driver.view("g", "the end of what had come in", |view| view.life.is_none());
}

#[test]
fn a_vm_runs_on_when_what_it_moves_to_dies() {
    let Pair { mut here, mut there, shared, _lan } = Pair::new();
    let life = here.is("the guest", Run::Running).life;
    let nowhere = shared.0.join("absent");
    let to = format!("qemu+unix:///system?socket={}", nowhere.display());
    let said = failed(here.driver.act("g", VmAction::Migrate { to }));
    assert!(said.contains("absent"), "{said}");
    let ticket = here.moving(&mut there, SLOW, SOON);
    let asked = Instant::now();
    there.libvirtd.kill();
    let said = failed(here.driver.done(ticket));
    println!("libvirtd killed there → told after {:?}: {said}", asked.elapsed());
    here.runs_on(life);
    there.driver.lost();
    there.libvirtd.start();
    there.driver.connected();
    there.driver.view("g", "nothing of it there", |view| matches!(view.run, Run::Off(_)));
    let ticket = here.moving(&mut there, SLOW, SOON);
    kill(there.libvirtd.qemu("g"), Signal::SIGKILL).expect("it runs");
    let said = failed(here.driver.done(ticket));
    println!("QEMU killed there → {said}");
    here.runs_on(life);
    is_one_sequence(&[&here.told()]);
    assert_eq!(there.told(), "");
}

#[test]
fn a_libvirtd_that_stands_still_there_keeps_nobody_waiting_here() {
    let Pair { mut here, mut there, shared: _shared, _lan } = Pair::new();
    let ticket = here.moving(&mut there, SLOW, Duration::from_secs(4));
    there.libvirtd.signal(Signal::SIGSTOP);
    assert_eq!(here.driver.done(ticket), Err(ActionError::TimedOut));
    assert_eq!(here.driver.act("g", VmAction::Start), Err(ActionError::Busy));
    here.counts_on();
    let asked = Instant::now();
    assert_eq!(here.driver.act("g", VmAction::Destroy), Ok(()));
    println!("destroyed though the other libvirtd stands still, after {:?}", asked.elapsed());
    here.is("its end", Run::Off(Off::Destroyed));
    there.libvirtd.signal(Signal::SIGCONT);
    here.driver
        .wait("that the migration ended", |input| (input == LibvirtInput::Ended { ticket }).then_some(()));
    there.driver.view("g", "the end of what had come in", |view| matches!(view.run, Run::Off(_)));
    // The migration goes by what the driver does, so the other order is possible again.
    assert_eq!(here.driver.act("g", VmAction::Start), Ok(()));
}
