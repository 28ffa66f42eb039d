//! The application on a physical machine, and its standby VM.

use super::{Scenario, seconds};
use crate::lab::{APP, HOSTS, Lab, Outcome};

pub const ALL: &[Scenario] = &[
    Scenario {
        name: "primary-lost",
        must: "the application of a machine that lost its power is brought online in its standby VM, and goes home when told",
        play: primary_lost,
        chaos: true,
    },
    Scenario {
        name: "primary-switched",
        must: "an operator moves the application to its standby VM and back",
        play: primary_switched,
        chaos: true,
    },
];

fn primary_lost(lab: &Lab) -> Outcome {
    let (app, home, standby) = APP;
    let lives = lab.lives();
    let from = lab.record.now();
    lab.host(home).power(false)?;
    lab.told(from, seconds(30), &HOSTS, &format!("'{home}'"))?;
    let (there, ()) = lab.answered_from(app, standby, from, seconds(60))?;
    lab.figure("primary lost its power -> its application answers in the standby VM", there - from, None)?;
    lab.unchanged(&lives, &["alpha", "beta", "shop"])?;
    lab.host(home).power(true)?;
    lab.until("it is up again", seconds(180), || lab.all_up())?;
    home_again(lab)
}

fn primary_switched(lab: &Lab) -> Outcome {
    let (app, _, standby) = APP;
    let lives = lab.lives();
    let from = lab.record.now();
    lab.order(&format!("roost switch {app} --to {standby} --wait"))?;
    lab.answered_from(app, standby, from, seconds(30))?;
    lab.figure(
        "switched to the standby VM: its client was not answered for",
        lab.longest_silence(app, from),
        None,
    )?;
    home_again(lab)?;
    lab.nothing_restarted(&lives)
}

fn home_again(lab: &Lab) -> Outcome {
    let (app, home, _) = APP;
    let from = lab.record.now();
    lab.order(&format!("roost failback {app} --wait"))?;
    lab.answered_from(app, home, from, seconds(30))?;
    lab.figure("failed back: its client was not answered for", lab.longest_silence(app, from), None)
}
