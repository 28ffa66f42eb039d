//! What goes wrong with a host's own disk.

use super::{QUIET, Scenario, seconds};
use crate::lab::{Lab, Outcome};
use std::thread;

pub const ALL: &[Scenario] = &[
    Scenario { name: "disk-full", must: "it is told, and no VM is touched", play: disk_full, chaos: true },
    Scenario {
        name: "disk-read-only",
        must: "it is told, no VM runs twice, and those of other hosts are not touched",
        play: disk_read_only,
        chaos: true,
    },
];

const HOST: &str = "h1";

fn disk_full(lab: &Lab) -> Outcome {
    let lives = lab.lives();
    lab.deed(format!("the disk of {HOST} is filled"));
    // What is kept for root is written as well.
    lab.host(HOST).run(
        "fallocate -l $(df --output=avail -B1 / | tail -n 1) /var/lib/filled; dd if=/dev/zero of=/var/lib/filled2 bs=1M 2>/dev/null; sync",
    )?;
    // Decisions are made meanwhile, which it cannot keep.
    let from = lab.record.now();
    let order = lab.order_on("h2", "roost freeze gamma && roost thaw gamma");
    let told = lab.told(from, seconds(20), &[HOST], "could not be stored: No space");
    thread::sleep(QUIET);
    lab.deed("it has room again");
    lab.host(HOST).run("rm -f /var/lib/filled /var/lib/filled2; sync")?;
    order?;
    told?;
    lab.until("all are up", seconds(60), || lab.all_up())?;
    lab.nothing_restarted(&lives)
}

fn disk_read_only(lab: &Lab) -> Outcome {
    let seen = with_read_only_disk(lab);
    // It is made well by being switched off and on, as all hosts are afterwards that have no power.
    lab.host(HOST).power(false)?;
    seen
}

fn with_read_only_disk(lab: &Lab) -> Outcome {
    let (lives, host) = (lab.lives(), lab.host(HOST));
    let from = lab.deed(format!("the disk of {HOST} is read-only, as after an error"));
    host.run("echo u >/proc/sysrq-trigger")?; // which does not wait until it is done
    lab.until("it is read-only", seconds(30), || host.run("grep -q ' / ext4 ro' /proc/mounts").is_ok())?;
    lab.order_on("h2", "roost freeze gamma && roost thaw gamma")?;
    lab.told(from, seconds(20), &[HOST], "could not be stored: Read-only")?;
    thread::sleep(QUIET);
    lab.unchanged(&lives, &["beta", "gamma"])
}
