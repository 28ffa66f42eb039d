//! What operators do.

use super::{Scenario, seconds};
use crate::lab::{HYPERVISORS, Lab, Outcome};

pub const ALL: &[Scenario] = &[
    Scenario {
        name: "live-migration",
        must: "it goes on, in the same boot, and its link with it",
        play: live,
        chaos: true,
    },
    Scenario { name: "save-and-restore", must: "it goes on, in the same boot", play: suspend, chaos: true },
    Scenario { name: "cold-move", must: "it is shut down, and started there", play: cold, chaos: true },
    Scenario { name: "drain", must: "a host is emptied, and no VM restarted", play: drain, chaos: true },
    Scenario {
        name: "drain-and-upgrade",
        must: "each host in its turn is emptied, upgraded, and used again; no VM is restarted",
        play: rolling,
        chaos: false,
    },
];

/// Moves a VM away from where it is, and says where it went.
fn moved(lab: &Lab, group: &str, how: &str) -> Result<&'static str, String> {
    let from = lab.owner(group)?;
    let to = Lab::others(from)[0];
    let begun = lab.record.now();
    lab.order(&format!("roost switch {group} --to {to} {how} --wait"))?;
    let now = lab.owner(group)?;
    if now != to {
        return Err(format!("'{group}' is on {now}, and should be on {to}"));
    }
    lab.answers_now(group, seconds(60))?;
    lab.figure(&format!("moved {how}: ordered -> there"), lab.record.now() - begun, None)?;
    lab.figure(
        &format!("moved {how}: its client was not answered for"),
        lab.longest_silence(group, begun),
        None,
    )?;
    Ok(to)
}

fn live(lab: &Lab) -> Outcome {
    let lives = lab.lives();
    moved(lab, "alpha", "--live")?;
    lab.connected("alpha")?;
    lab.nothing_restarted(&lives)
}

fn suspend(lab: &Lab) -> Outcome {
    let lives = lab.lives();
    moved(lab, "beta", "--suspend")?;
    lab.connected("beta")?;
    lab.nothing_restarted(&lives)
}

fn cold(lab: &Lab) -> Outcome {
    let lives = lab.lives();
    moved(lab, "gamma", "--cold")?;
    lab.unchanged(&lives, &["alpha", "beta", "shop"])?;
    if lab.unchanged(&lives, &["gamma"]).is_ok() {
        return Err("'gamma' was not booted, so it was not moved cold".to_owned());
    }
    Ok(())
}

fn drain(lab: &Lab) -> Outcome {
    let lives = lab.lives();
    empty(lab, "h1")?;
    lab.order("roost maintenance h1 off")?;
    lab.nothing_restarted(&lives)
}

/// Has a host emptied, and waits until nothing is left on it.
fn empty(lab: &Lab, host: &str) -> Outcome {
    let from = lab.record.now();
    lab.order(&format!("roost maintenance {host} on"))?;
    let done = lab.until(&format!("{host} is empty"), seconds(300), || lab.groups_of(host) == Some(0))?;
    lab.figure("maintenance ordered -> the host is empty", done - from, None)
}

fn rolling(lab: &Lab) -> Outcome {
    let lives = lab.lives();
    for host in HYPERVISORS {
        empty(lab, host)?;
        lab.deed(format!("the package on {host} is upgraded"));
        lab.host(host).run("dpkg --install /srv/shared/provision/roost_*.deb")?;
        lab.until("roostd runs", seconds(60), || lab.host(host).run("systemctl is-active roostd").is_ok())?;
        lab.order(&format!("roost maintenance {host} off"))?;
        lab.until("all are up", seconds(60), || lab.all_up())?;
    }
    lab.nothing_restarted(&lives)
}
