//! What goes wrong in a guest, or with its QEMU.

use super::{Scenario, seconds};
use crate::lab::{Lab, Outcome};
use crate::record::Moment;

pub const ALL: &[Scenario] = &[
    Scenario {
        name: "application-killed",
        must: "the guest's controller restarts it, and no VM is touched",
        play: application_killed,
        chaos: true,
    },
    Scenario {
        name: "application-fault",
        must: "the guest gives up on its application, and its VM is restarted where it is",
        play: application_fault,
        chaos: true,
    },
    Scenario { name: "guest-panic", must: "the VM is started again at once", play: guest_panic, chaos: true },
    Scenario {
        name: "guest-hang",
        must: "a guest whose vCPUs are stuck is found out by its silence, and restarted",
        play: guest_hang,
        chaos: true,
    },
    Scenario { name: "qemu-killed", must: "the VM is started again at once", play: qemu_killed, chaos: true },
];

const SITE: &str = "alpha";

fn application_killed(lab: &Lab) -> Outcome {
    let lives = lab.lives();
    let from = lab.in_guest(SITE, "kill -9 $(cat /run/serve.8080.pid)")?;
    let (rose, ()) = lab.answered(SITE, from, seconds(20))?;
    lab.figure("application killed -> another process answers", rose - from, None)?;
    lab.nothing_restarted(&lives)
}

fn application_fault(lab: &Lab) -> Outcome {
    let lives = lab.lives();
    let from = lab.in_guest(SITE, "touch /run/broken; kill -9 $(cat /run/serve.8080.pid)")?;
    let owner = lab.owner(SITE)?;
    let (fault, _) = lab.told(from, seconds(30), &[owner], "given up on")?;
    let (begun, _) = lab.told(fault, seconds(30), &[owner], "restart the VM now")?;
    lab.figure("application fault told -> VM restart begun", begun - fault, Some(seconds(1)))?;
    back(lab, "application fault", SITE, (from, fault), owner)?;
    lab.unchanged(&lives, &["beta", "gamma", "shop"])
}

fn guest_panic(lab: &Lab) -> Outcome {
    let (lives, owner) = (lab.lives(), lab.owner(SITE)?);
    let from = lab.in_guest(SITE, "echo c >/proc/sysrq-trigger")?;
    let (begun, _) = lab.told(from, seconds(30), &[owner], "restart the VM now")?;
    lab.figure("guest panicked -> VM restart begun", begun - from, None)?;
    back(lab, "guest panicked", SITE, (from, from), owner)?;
    lab.unchanged(&lives, &["beta", "gamma", "shop"])
}

fn guest_hang(lab: &Lab) -> Outcome {
    let (lives, owner) = (lab.lives(), lab.owner("beta")?);
    let from = lab.in_guest("beta", "echo c >/proc/sysrq-trigger")?;
    let (begun, _) = lab.told(from, seconds(120), &[owner], "restart the VM now")?;
    lab.figure("guest hung -> VM restart begun", begun - from, Some(seconds(100)))?;
    back(lab, "guest hung", "beta", (from, from), owner)?;
    lab.unchanged(&lives, &["alpha", "gamma", "shop"])
}

fn qemu_killed(lab: &Lab) -> Outcome {
    let (lives, owner) = (lab.lives(), lab.owner(SITE)?);
    let from = lab.deed(format!("the QEMU of {SITE} on {owner} is killed"));
    lab.host(owner).run(&format!("pkill -KILL -f '[g]uest={SITE},'"))?;
    let (begun, _) = lab.told(from, seconds(20), &[owner], "restart the VM now")?;
    lab.figure("QEMU killed -> VM restart begun", begun - from, None)?;
    back(lab, "QEMU killed", SITE, (from, from), owner)?;
    lab.unchanged(&lives, &["beta", "gamma", "shop"])
}

/// The VM answers again, where it was: its client was not answered after the first moment, and is answered after the second.
fn back(lab: &Lab, what: &str, group: &str, (from, since): (Moment, Moment), owner: &str) -> Outcome {
    let (fell, ()) = lab.silenced(group, from, seconds(60))?;
    let (rose, ()) = lab.answered(group, fell.max(since), seconds(120))?;
    lab.figure(&format!("{what}: the VM's client was not answered for"), rose - fell, None)?;
    let now = lab.owner(group)?;
    if now == owner { Ok(()) } else { Err(format!("'{group}' is on {now}, and was on {owner}")) }
}
