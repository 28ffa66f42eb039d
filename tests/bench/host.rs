//! `cargo bench --bench host`: what a `roostd` that watches 100 VMs costs, on libvirt's test driver, each VM with a
//! guest that beats. Prints its resident memory and its processor time.

#[path = "../common/mod.rs"]
mod common;

use common::{Bed, Guest};
use roost_proto::control::Condition;
use roost_proto::link::{GroupState, GuestMessage};
use std::time::{Duration, Instant};

const VMS: usize = 100;
const MEASURED: Duration = Duration::from_secs(30);

fn main() {
    let bed = Bed::new("");
    let node = bed.dir.join("node.xml");
    std::fs::write(&node, node_xml()).expect("writable");
    bed.configure(&config(&node.display().to_string()));
    let mut bed = bed;
    bed.run();
    let mut guests: Vec<Guest> =
        (0..VMS).map(|n| Guest::greet(&bed.dir.join(format!("vm{n}.vsock")), 1)).collect();
    guests.iter_mut().for_each(|guest| guest.tell("app", GroupState::Online));
    bed.until("all are online", |bed| {
        bed.status().groups.iter().all(|group| group.condition == Condition::Online).then_some(())
    });
    beat(&mut guests, Duration::from_secs(5));
    let before = cpu_ticks(bed.pid());
    beat(&mut guests, MEASURED);
    let ticks = cpu_ticks(bed.pid()) - before;
    let hertz =
        nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().expect("Linux has a tick");
    let seconds = ticks as f64 / hertz as f64;
    println!("roostd, {VMS} VMs with guests, {} s:", MEASURED.as_secs());
    println!(
        "  resident memory  {} KiB (of which its own, not shared: {} KiB)",
        kib(bed.pid(), "VmRSS"),
        kib(bed.pid(), "RssAnon")
    );
    println!("  processor        {:.2} % of one core", 100.0 * seconds / MEASURED.as_secs_f64());
}

/// Plays the guests: each beats once a second, and reads what it is sent.
fn beat(guests: &mut [Guest], time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        let round = Instant::now();
        for guest in guests.iter_mut() {
            guest.say(&GuestMessage::Beat);
            guest.hear();
        }
        std::thread::sleep(Duration::from_secs(1).saturating_sub(round.elapsed())); // the beat itself
    }
}

fn config(node: &str) -> String {
    let mut text =
        format!("[cluster]\nname = \"bench\"\n[[host]]\nname = \"hv1\"\nlibvirt = \"test://{node}\"\n");
    for n in 0..VMS {
        text += &format!("[[group]]\nname = \"g{n}\"\nvm = \"vm{n}\"\nlink = \"hybrid:DIR/vm{n}.vsock\"\n");
    }
    text
}

/// A host for libvirt's test driver: see <https://libvirt.org/drvtest.html>.
fn node_xml() -> String {
    let mut text = String::from("<node>\n");
    for n in 0..VMS {
        text += &format!(
            "<domain type='test'><name>vm{n}</name><memory>65536</memory><os><type>hvm</type></os></domain>\n"
        );
    }
    text + "</node>\n"
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name in brackets").1.split_whitespace().collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

fn kib(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find(|line| line.starts_with(field)).expect("the kernel tells");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}
