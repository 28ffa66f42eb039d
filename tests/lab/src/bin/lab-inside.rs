//! What the lab runs inside: in guests the beat that proves that one runs, and the service that a client asks; on hosts the look
//! at processes. It knows nothing of Roost. Static, so that one file serves Debian and an initramfs.

use nix::fcntl::OFlag;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// How often a guest writes that it runs.
const BEAT: Duration = Duration::from_millis(100);
/// How often a host's processes are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How long a client may take to ask.
const ASKING: Duration = Duration::from_secs(1);
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
    let file =
        OpenOptions::new().write(true).custom_flags((OFlag::O_DIRECT | OFlag::O_DSYNC).bits()).open(disk)?;
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

/// Answers whoever asks, over HTTP, in which boot it runs and as which process.
fn serve(port: u16) -> io::Result<()> {
    let text = format!("{} {}\n", boot()?, std::process::id());
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    for client in listener.incoming() {
        let _ = client.and_then(|client| answer(client, &text)); // it may have gone
    }
    Ok(())
}

fn answer(mut client: TcpStream, text: &str) -> io::Result<()> {
    client.set_read_timeout(Some(ASKING))?;
    client.set_write_timeout(Some(ASKING))?;
    let mut asked = [0; 1024];
    let _ = client.read(&mut asked)?;
    let head =
        format!("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", text.len());
    client.write_all((head + text).as_bytes())
}

/// Writes to `place` five times a second which of the lab's processes run, one line for each look:
/// `BOOT UPTIME_MS {VM:PID:NS} {PORT=PID}`, of a VM with the time its first vCPU was on a processor, of a service with its port.
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

/// How long the first vCPU's thread was on a processor, in nanoseconds. It does not grow while the VM is paused.
fn vcpu(pid: u32) -> Option<u64> {
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let comm = fs::read_to_string(thread.path().join("comm")).ok()?;
        if comm.starts_with("CPU 0/") {
            return fs::read_to_string(thread.path().join("schedstat")).ok()?.split(' ').next()?.parse().ok();
        }
    }
    None
}
