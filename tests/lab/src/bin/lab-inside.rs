//! What the lab runs inside: in guests the beat that proves that one runs, and the service that a client asks; on hosts the look
//! at processes. It knows nothing of Roost. Static, so that one file serves Debian and an initramfs.

use nix::fcntl::OFlag;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// How often a guest writes that it runs. On an emulated processor each time costs milliseconds, as each look does.
const BEAT: Duration = Duration::from_millis(200);
/// How often a host's processes are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// What a client says, at most, in bytes; see [`serve`].
const QUESTION: usize = 64;
/// The number of the field in a thread's `stat`; those from the third on stand behind its name.
const GUEST_TIME: usize = 43;
/// A disk's sector, of which one holds a beat.
const SECTOR: usize = 512;

/// As the kernel wants memory that it reads a disk's sectors from.
#[repr(align(4096))]
struct Sector([u8; SECTOR]);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let end = match words[..] {
        ["beat", disk] => beat(Path::new(disk)),
        ["serve", port] => match port.parse() {
            Ok(port) => serve(port),
            Err(_) => Err(io::Error::other(format!("'{port}' is no port"))),
        },
        ["watch", place] => watch(Path::new(place)),
        _ => Err(io::Error::other("usage: lab-inside beat DISK | serve PORT | watch FILE")),
    };
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab-inside: {error}");
            ExitCode::FAILURE
        }
    }
}

/// This boot of the machine, as the kernel drew it.
fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Writes boot and number to the first sector of `disk`, for ever, past all caches. Of two that do, each overwrites the other,
/// which the lab sees.
fn beat(disk: &Path) -> io::Result<()> {
    let boot = boot()?;
    let file = OpenOptions::new().write(true).custom_flags(OFlag::O_DIRECT.bits()).open(disk)?;
    for number in 0_u64.. {
        let mut sector = Sector([b' '; SECTOR]);
        let text = format!("{boot} {number}\n");
        sector.0[..text.len()].copy_from_slice(text.as_bytes());
        // A disk that fails now may work again; whoever looks at it sees that the number stands still.
        if let Err(error) = file.write_all_at(&sector.0, 0) {
            eprintln!("lab-inside: beat {number}: {error}");
        }
        thread::sleep(BEAT);
    }
    Ok(())
}

/// Answers whoever asks by a datagram, with what was asked, in which boot it runs and as which process. A datagram is the cheapest
/// of all ways. Who connects to the same port by TCP finds somebody there, and is told nothing.
fn serve(port: u16) -> io::Result<()> {
    let text = format!(" {} {}", boot()?, std::process::id());
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    thread::spawn(move || listener.incoming().for_each(drop));
    let mut asked = [0; QUESTION];
    loop {
        // That an answer found nobody comes back as an error of the next question.
        let Ok((length, client)) = socket.recv_from(&mut asked) else { continue };
        let _ = socket.send_to(&[&asked[..length], text.as_bytes()].concat(), client); // it may have gone
    }
}

/// Writes to `place` twice a second which of the lab's processes run, one line for each look:
/// `BOOT UPTIME_MS {VM:PID:TICKS} {PORT=PID}`, of a VM with the time its first vCPU ran, of a service with its port.
fn watch(place: &Path) -> io::Result<()> {
    let boot = boot()?;
    let mut out = OpenOptions::new().write(true).open(place)?;
    let begun = Instant::now();
    loop {
        let mut line = format!("{boot} {}", begun.elapsed().as_millis());
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            if let Some(word) = seen(pid) {
                line += &format!(" {word}");
            }
        }
        writeln!(out, "{line}")?;
        thread::sleep(LOOK);
    }
}

/// What is to be said of a process: a VM's QEMU, or a service. It may end meanwhile, and is nothing then.
fn seen(pid: u32) -> Option<String> {
    let mut line = Vec::new();
    File::open(format!("/proc/{pid}/cmdline")).ok()?.take(4096).read_to_end(&mut line).ok()?;
    let words: Vec<&str> =
        line.split(|&byte| byte == 0).filter_map(|word| core::str::from_utf8(word).ok()).collect();
    if let [program, "serve", port, ..] = words[..] {
        return program.ends_with("lab-inside").then(|| format!("{port}={pid}"));
    }
    let name = words.iter().find_map(|word| word.strip_prefix("guest="))?.split(',').next()?;
    Some(format!("{name}:{pid}:{}", vcpu(pid)?))
}

/// How long the first vCPU ran what is the guest's own, in hundredths of a second: `guest_time` of its thread, proc(5). It does not
/// grow while the VM is paused, nor while its memory comes in.
fn vcpu(pid: u32) -> Option<u64> {
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
        let (name, fields) = stat.rsplit_once(") ")?;
        if name.contains("(CPU 0/") {
            return fields.split(' ').nth(GUEST_TIME - 3)?.parse().ok();
        }
    }
    None
}
