//! What goes wrong with libvirt and `roostd`: nothing that runs may notice.

use super::{QUIET, Scenario, seconds};
use crate::lab::{HOSTS, HYPERVISORS, Lab, Outcome};
use std::thread;
use std::time::Duration;

pub const ALL: &[Scenario] = &[
    Scenario { name: "libvirtd-killed", must: "no VM is touched", play: libvirtd_killed, chaos: true },
    Scenario {
        name: "libvirtd-stopped",
        must: "it is told, and no VM is touched",
        play: libvirtd_stopped,
        chaos: true,
    },
    Scenario {
        name: "libvirtd-hung",
        must: "it is told, beats go on, and no VM is touched",
        play: libvirtd_hung,
        chaos: true,
    },
    Scenario {
        name: "roostd-killed",
        must: "it is back within seconds, and no VM is touched",
        play: roostd_killed,
        chaos: true,
    },
    Scenario {
        name: "roostd-stopped",
        must: "for a moment: no VM is touched",
        play: roostd_stopped,
        chaos: true,
    },
    Scenario {
        name: "roostd-upgraded",
        must: "no VM is touched, on any host",
        play: roostd_upgraded,
        chaos: true,
    },
    Scenario {
        name: "busy-host",
        must: "other services compute all they can, roostd is restarted beside them, and no VM is touched",
        play: busy_host,
        chaos: true,
    },
];

const HOST: &str = "h1";
/// How many compute beside `roostd` on a busy host: beside eight it took 8 s to start, when it had no share of its own.
const LOOPS: u32 = 32;

fn libvirtd_killed(lab: &Lab) -> Outcome {
    let (lives, from) = (lab.lives(), lab.deed(format!("libvirtd on {HOST} is killed")));
    lab.host(HOST).run("systemctl kill --signal=KILL libvirtd")?;
    lab.told(from, seconds(60), &[HOST], "libvirt answers")?;
    thread::sleep(QUIET); // nothing has no event
    lab.nothing_restarted(&lives)
}

fn libvirtd_stopped(lab: &Lab) -> Outcome {
    let (lives, from) = (lab.lives(), lab.deed(format!("libvirtd on {HOST} is stopped for 20 s")));
    lab.host(HOST).run("systemctl stop libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd")?;
    lab.told(from, seconds(30), &[HOST], "libvirt does not answer")?;
    thread::sleep(seconds(20));
    let back = lab.deed("and started again");
    lab.host(HOST).run("systemctl start libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket")?;
    lab.told(back, seconds(60), &[HOST], "libvirt answers")?;
    lab.nothing_restarted(&lives)
}

fn libvirtd_hung(lab: &Lab) -> Outcome {
    let (lives, from) = (lab.lives(), lab.deed(format!("libvirtd on {HOST} hangs for 40 s")));
    lab.host(HOST).run("systemctl kill --signal=STOP libvirtd")?;
    let told = lab.told(from, seconds(40), &[HOST], "libvirt does not answer");
    thread::sleep(seconds(40).saturating_sub(lab.record.now() - from));
    let back = lab.deed("and goes on");
    lab.host(HOST).run("systemctl kill --signal=CONT libvirtd")?;
    told?;
    lab.told(back, seconds(60), &[HOST], "libvirt answers")?;
    thread::sleep(QUIET);
    lab.nothing_restarted(&lives)
}

/// Kills `roostd` on a host, and says how long it took until it watched again.
fn kill_roostd(lab: &Lab, host: &str) -> Result<Duration, String> {
    let from = lab.deed(format!("roostd on {host} is killed"));
    lab.host(host).run("systemctl kill --signal=KILL roostd")?;
    let (back, _) = lab.told(from, seconds(30), &[host], "watches")?;
    Ok(back - from)
}

fn roostd_killed(lab: &Lab) -> Outcome {
    let lives = lab.lives();
    for host in HYPERVISORS {
        lab.figure("roostd killed -> started again", kill_roostd(lab, host)?, None)?;
        lab.until("it is up again", seconds(60), || lab.all_up())?;
    }
    lab.nothing_restarted(&lives)
}

fn roostd_stopped(lab: &Lab) -> Outcome {
    let lives = lab.lives();
    lab.deed(format!("roostd on {HOST} is restarted in order"));
    lab.host(HOST).run("systemctl restart roostd")?;
    lab.until("it is up again", seconds(60), || lab.all_up())?;
    thread::sleep(QUIET);
    lab.nothing_restarted(&lives)
}

fn roostd_upgraded(lab: &Lab) -> Outcome {
    let lives = lab.lives();
    for host in HOSTS {
        lab.deed(format!("the package on {host} is upgraded"));
        lab.host(host).run("dpkg --install /srv/shared/provision/roost_*.deb")?;
        lab.until("it is up again", seconds(60), || lab.all_up())?;
    }
    thread::sleep(QUIET);
    lab.nothing_restarted(&lives)
}

/// With no more right to a processor than each of so many loops, `roostd` would be away for longer than `evict_after`.
fn busy_host(lab: &Lab) -> Outcome {
    let lives = lab.lives();
    lab.deed(format!("{LOOPS} processes of another service on {HOST} compute all they can"));
    // It ends by itself too, if this host can no longer be reached.
    lab.host(HOST).run(&format!(
        "systemd-run --quiet --collect --unit=busy --property=RuntimeMaxSec=120 \
         sh -c 'for n; do while :; do :; done & done; wait' sh $(seq {LOOPS})"
    ))?;
    let away = kill_roostd(lab, HOST);
    let stopped = lab.host(HOST).run("systemctl stop busy");
    lab.figure("roostd killed on a busy host -> started again", away?, None)?;
    lab.until("it is up again", seconds(60), || lab.all_up())?;
    thread::sleep(QUIET);
    lab.nothing_restarted(&lives)?;
    stopped.map(drop)
}
