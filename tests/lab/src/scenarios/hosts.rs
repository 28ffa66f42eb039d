//! What goes wrong with hosts and their network.

use super::{QUIET, Scenario, seconds};
use crate::lab::{HOSTS, HYPERVISORS, Lab, Outcome, SETTLING, VMS};
use crate::record::{Fact, Moment};
use std::thread;
use std::time::Duration;

pub const ALL: &[Scenario] = &[
    Scenario {
        name: "power-loss",
        must: "IPMI says that the host is off, and its VM starts elsewhere",
        play: power_loss,
        chaos: true,
    },
    Scenario {
        name: "leader-power-loss",
        must: "another host leads, and the lost one's VM starts elsewhere",
        play: leader_power_loss,
        chaos: true,
    },
    Scenario {
        name: "frozen-host",
        must: "a host that stands still is switched off by IPMI, and its VM starts elsewhere",
        play: frozen,
        chaos: true,
    },
    Scenario {
        name: "frozen-host-returns",
        must: "with its BMC unreachable its groups are blocked; when it goes on after 30 s no group has run twice",
        play: frozen_returns,
        chaos: true,
    },
    Scenario { name: "one-cable", must: "nothing happens", play: one_cable, chaos: true },
    Scenario {
        name: "both-cables",
        must: "its VM stands still when its lease is over, IPMI switches it off, and the VM starts elsewhere",
        play: both_cables,
        chaos: true,
    },
    Scenario {
        name: "all-cables",
        must: "for 25 s: all VMs stand still and go on, and none is restarted",
        play: all_cables,
        chaos: true,
    },
    Scenario {
        name: "watchdog",
        must: "a host whose roostd hangs unseen by systemd, and whose BMC cannot be reached, is reset; its VM starts elsewhere",
        play: watchdog,
        chaos: true,
    },
    Scenario {
        name: "bmc-unreachable",
        must: "nothing starts elsewhere until an operator says that the host is off",
        play: bmc_unreachable,
        chaos: true,
    },
    Scenario {
        name: "leader-lost-in-failover",
        must: "the next leader finishes what the last one began",
        play: leader_lost_in_failover,
        chaos: true,
    },
    Scenario { name: "witness-lost", must: "nothing happens", play: witness_lost, chaos: true },
    Scenario {
        name: "whole-cluster-power-cycle",
        must: "every group starts once, by itself",
        play: power_cycle,
        chaos: true,
    },
];

/// The VM that is at home on a host, and is not a standby.
fn vm_of(host: &str) -> &'static str {
    VMS.iter().find(|(_, home)| *home == host).expect("each hypervisor has one").0
}

/// The VMs that are not at home on a host.
fn others_of(host: &str) -> Vec<&'static str> {
    VMS.iter().filter(|(_, home)| *home != host).map(|(group, _)| *group).collect()
}

/// A hypervisor that does not lead.
fn follower(lab: &Lab) -> Result<&'static str, String> {
    let leader = lab.leader()?;
    Ok(*HYPERVISORS.iter().rev().find(|host| **host != leader).expect("there are three"))
}

/// The hypervisor that leads; when the witness does, one is made to.
fn leading_hypervisor(lab: &Lab) -> Result<&'static str, String> {
    if lab.leader()? == "w" {
        lab.deed("roostd on w, which leads, is restarted");
        lab.host("w").run("systemctl restart roostd")?;
        lab.until("a hypervisor leads", seconds(30), || lab.leader().is_ok_and(|leader| leader != "w"))?;
        lab.until("all are up", seconds(30), || lab.all_up())?;
    }
    lab.leader()
}

/// Waits until the VM of a lost host is started elsewhere and answers, and writes down how long that took.
fn elsewhere(lab: &Lab, lost: &str, from: Moment, what: &str, most: Option<Duration>) -> Outcome {
    let vm = vm_of(lost);
    let (fenced, _) = lab.told(from, seconds(60), &HOSTS, &format!("'{lost}' runs nothing"))?;
    let (started, _) = lab.told(fenced, seconds(60), &HOSTS, &format!("{vm}: starting VM"))?;
    lab.figure(&format!("{what} -> known to run nothing"), fenced - from, None)?;
    lab.figure(&format!("{what} -> its VM started elsewhere"), started - from, most)?;
    let (fell, ()) = lab.silenced(vm, from, seconds(30))?;
    let (rose, ()) = lab.answered(vm, fell, seconds(120))?;
    lab.figure(&format!("{what}: the VM's client was not answered for"), rose - fell, None)
}

fn power_loss(lab: &Lab) -> Outcome {
    let (lives, lost) = (lab.lives(), follower(lab)?);
    let from = lab.record.now();
    lab.host(lost).power(false)?;
    elsewhere(lab, lost, from, "host lost its power", Some(seconds(15)))?;
    lab.unchanged(&lives, &others_of(lost))
}

fn leader_power_loss(lab: &Lab) -> Outcome {
    let (lives, lost) = (lab.lives(), leading_hypervisor(lab)?);
    let from = lab.record.now();
    lab.host(lost).power(false)?;
    elsewhere(lab, lost, from, "leader lost its power", None)?;
    lab.unchanged(&lives, &others_of(lost))
}

fn frozen(lab: &Lab) -> Outcome {
    let (lives, lost) = (lab.lives(), follower(lab)?);
    let from = lab.record.now();
    lab.host(lost).frozen(true)?;
    elsewhere(lab, lost, from, "host stood still", None)?;
    lab.without_power(lost, from, Duration::ZERO)?;
    lab.unchanged(&lives, &others_of(lost))
}

fn frozen_returns(lab: &Lab) -> Outcome {
    let (lives, lost) = (lab.lives(), follower(lab)?);
    lab.host(lost).bmc(false)?;
    let from = lab.record.now();
    lab.host(lost).frozen(true)?;
    let blocked =
        lab.told(from, seconds(30), &HOSTS, &format!("'{lost}' is evicted: its groups are blocked"));
    thread::sleep(seconds(30).saturating_sub(lab.record.now() - from)); // that is the story
    let early = lab.told(from, Duration::ZERO, &HOSTS, &format!("{}: starting VM", vm_of(lost)));
    let back = lab.record.now();
    lab.host(lost).frozen(false)?;
    blocked?;
    if early.is_ok() {
        return Err("its VM was started elsewhere, while nothing proved that it did not run".to_owned());
    }
    let (rose, _) = lab.told(back, seconds(60), &HOSTS, &format!("{}: starting VM", vm_of(lost)))?;
    lab.figure("host went on -> its VM started again", rose - back, None)?;
    lab.host(lost).bmc(true)?;
    lab.unchanged(&lives, &others_of(lost))
}

fn one_cable(lab: &Lab) -> Outcome {
    let lives = lab.lives();
    lab.host("h1").cable(1, false)?;
    thread::sleep(QUIET);
    let up = lab.all_up();
    lab.host("h1").cable(1, true)?;
    if !up {
        return Err("a host is not up, though one of its cables is whole".to_owned());
    }
    lab.nothing_restarted(&lives)
}

fn both_cables(lab: &Lab) -> Outcome {
    let (lives, lost) = (lab.lives(), follower(lab)?);
    let from = lab.record.now();
    lab.host(lost).cable(1, false)?;
    lab.host(lost).cable(0, false)?;
    elsewhere(lab, lost, from, "host cut off", None)?;
    lab.without_power(lost, from, Duration::ZERO)?;
    lab.unchanged(&lives, &others_of(lost))
}

fn all_cables(lab: &Lab) -> Outcome {
    let lives = lab.lives();
    let from = lab.deed("all cables are cut");
    for up in [false, true] {
        if up {
            thread::sleep(seconds(25).saturating_sub(lab.record.now() - from)); // longer than a lease
        }
        for machine in lab.hosts() {
            machine.cable(0, up)?;
            machine.cable(1, up)?;
        }
    }
    lab.until("all are up", seconds(60), || lab.all_up())?;
    for (vm, _) in VMS {
        lab.answers_now(vm, seconds(60))?;
    }
    thread::sleep(QUIET);
    lab.nothing_restarted(&lives)
}

fn watchdog(lab: &Lab) -> Outcome {
    let (lives, lost) = (lab.lives(), follower(lab)?);
    lab.host(lost).bmc(false)?;
    let boot = lab.host(lost).run("cat /proc/sys/kernel/random/boot_id")?;
    let from = lab.deed(format!("roostd on {lost} hangs, and systemd does not restart it"));
    lab.host(lost).run("systemctl service-watchdogs no && systemctl kill --signal=STOP roostd")?;
    let reset = lab.until("its watchdog resets it, and it boots again", seconds(150), || {
        lab.host(lost).run("cat /proc/sys/kernel/random/boot_id").is_ok_and(|now| now != boot)
    });
    lab.host(lost).bmc(true)?;
    reset?;
    // A VM stands still for a moment now and then; the last time before the boot was the reset.
    let still = |(at, fact)| match fact {
        Fact::Runs { group, host, runs: false } if group == vm_of(lost) && host == lost => Some(at),
        _ => None,
    };
    let gone = lab.record.since(from).into_iter().rev().find_map(still);
    let gone = gone.ok_or("its VM was not seen to end with it")?;
    lab.figure("roostd hung -> its watchdog reset the host", gone - from, Some(seconds(30)))?;
    elsewhere(lab, lost, from, "roostd hung, BMC unreachable", None)?;
    lab.unchanged(&lives, &others_of(lost))
}

fn bmc_unreachable(lab: &Lab) -> Outcome {
    let (lives, lost) = (lab.lives(), follower(lab)?);
    lab.host(lost).bmc(false)?;
    let from = lab.record.now();
    lab.host(lost).power(false)?;
    // An agent waits long for a BMC, and several times.
    lab.told(from, seconds(120), &HOSTS, "could not be fenced")?;
    thread::sleep(QUIET);
    if lab.told(from, Duration::ZERO, &HOSTS, &format!("{}: starting VM", vm_of(lost))).is_ok() {
        return Err("its VM was started elsewhere, while nothing proved that it did not run".to_owned());
    }
    let confirmed = lab.record.now();
    lab.order(&format!("roost fence {lost} --confirm"))?;
    let (started, _) = lab.told(confirmed, seconds(20), &HOSTS, &format!("{}: starting VM", vm_of(lost)))?;
    lab.figure("operator confirmed -> its VM started elsewhere", started - confirmed, None)?;
    lab.host(lost).bmc(true)?;
    lab.unchanged(&lives, &others_of(lost))
}

fn leader_lost_in_failover(lab: &Lab) -> Outcome {
    let (lost, leader) = (follower(lab)?, lab.leader()?);
    let from = lab.record.now();
    lab.host(lost).power(false)?;
    lab.told(from, seconds(30), &[leader], "evicted")?;
    lab.deed(format!("roostd on {leader}, the leader, is killed"));
    lab.host(leader).run("systemctl kill --signal=KILL roostd")?;
    elsewhere(lab, lost, from, "host lost its power, the leader died", None)
}

fn witness_lost(lab: &Lab) -> Outcome {
    let lives = lab.lives();
    lab.host("w").power(false)?;
    thread::sleep(QUIET);
    lab.until("a host leads", seconds(30), || lab.leader().is_ok_and(|leader| leader != "w"))?;
    lab.nothing_restarted(&lives)
}

fn power_cycle(lab: &Lab) -> Outcome {
    lab.deed("the whole room loses its power");
    for machine in lab.hosts() {
        machine.power(false)?;
    }
    let from = lab.deed("and has it again");
    for machine in lab.hosts() {
        machine.power(true)?;
    }
    for (vm, _) in VMS {
        let (rose, ()) = lab.answered(vm, from, SETTLING)?;
        lab.figure(&format!("power was back -> '{vm}' answered"), rose - from, None)?;
        let boots = lab.boots(vm, from).saturating_sub(lab.rebooted(vm, from));
        if boots != 1 {
            return Err(format!("'{vm}' was started {boots} times"));
        }
    }
    Ok(())
}
