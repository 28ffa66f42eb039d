//! What goes wrong in the lab, and what must come of it.

mod apps;
mod disks;
mod guests;
mod hosts;
mod operator;
mod services;

use crate::lab::{Lab, Outcome};
use std::time::Duration;

/// Something that goes wrong, or is done, and what must come of it.
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What must come of it, in a sentence.
    pub must: &'static str,
    /// Plays it in a lab that is well; the lab is made well again afterwards.
    pub play: fn(&Lab) -> Outcome,
    /// Whether chaos may play it: it leaves nothing that only it knows how to undo.
    pub chaos: bool,
}

/// All of them, in the order in which they are played.
pub fn all() -> Vec<Scenario> {
    [guests::ALL, services::ALL, operator::ALL, apps::ALL, hosts::ALL, disks::ALL]
        .into_iter()
        .flatten()
        .map(Scenario::copy)
        .collect()
}

impl Scenario {
    const fn copy(&self) -> Self {
        Self { name: self.name, must: self.must, play: self.play, chaos: self.chaos }
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How long is looked whether nothing happens.
const QUIET: Duration = seconds(8);
