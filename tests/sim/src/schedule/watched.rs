//! What befalls machines that have no `roostd`, and their connections.

use super::{LASTS, isolate};
use crate::random::Random;
use crate::world::World;
use crate::world::apps::Place;
use crate::world::clock::Time;
use crate::world::event::{Deed, Event};
use crate::world::host::Agent;
use core::time::Duration;

/// A silence, an eviction, a fencing and a failover take about so long.
const GOES: Duration = Duration::from_secs(40);

/// What befalls them, beside all else; nothing if there are none.
pub fn plan(world: &mut World, random: &mut Random, over: Time) {
    let machines: Vec<usize> = (0..world.hosts.len()).filter(|nth| world.hosts[*nth].is_watched).collect();
    if machines.is_empty() {
        return;
    }
    let span = over.since(world.now).saturating_sub(Duration::from_secs(20));
    for _ in 0..=random.index(6) {
        let from = world.now.after(random.time(Duration::ZERO, span));
        let until = from.after(random.time(LASTS.0, LASTS.1).min(span / 2));
        let machine = *random.pick(&machines);
        befall(world, random, machine, from, until);
    }
}

fn befall(world: &mut World, random: &mut Random, machine: usize, from: Time, until: Time) {
    let hosts = world.hosts.len();
    let voters: Vec<usize> = (0..hosts).filter(|nth| world.config.hosts[*nth].votes).collect();
    let voter = *random.pick(&voters);
    let mut at = |time: Time, deed: Deed| world.queue.push(time, Event::Deed(deed));
    if random.once_in(3) {
        // Whoever wants it fenced has to wait, or to do without.
        let seconds = random.below(40);
        let how = *random.pick(&[Agent::Fails, Agent::Slow(seconds), Agent::Late(seconds)]);
        at(from, Deed::Agent(machine, how));
        at(until.after(random.time(Duration::ZERO, GOES)), Deed::Agent(machine, Agent::Works));
    }
    match random.below(8) {
        0 => at(from, Deed::Breaks(machine)),
        1 => at(from, Deed::ControllerDies(Place::Machine(machine))),
        2 => isolate(&mut at, hosts, machine, from, until),
        // It has to find another host, if that is the one which leads.
        3 => {
            for (a, b) in [(machine, voter), (voter, machine)] {
                at(from, Deed::Cut(a, b));
                at(until, Deed::Mend(a, b));
            }
        }
        4 => {
            at(from, Deed::PowerOff(machine));
            at(until, Deed::PowerOn(machine));
        }
        5 => {
            at(from, Deed::Freeze(machine));
            at(until, Deed::Thaw(machine));
        }
        // Who watches it may die at any moment of its silence.
        6 => {
            at(from, Deed::Freeze(machine));
            at(until, Deed::Thaw(machine));
            let when = from.after(random.time(Duration::ZERO, GOES));
            at(when, Deed::PowerOff(voter));
            at(when.after(random.time(Duration::ZERO, GOES)), Deed::PowerOn(voter));
        }
        _ => {
            isolate(&mut at, hosts, machine, from, until);
            let when = from.after(random.time(Duration::ZERO, GOES));
            at(when, Deed::Kill(voter, Some(random.time(Duration::from_millis(50), LASTS.1))));
        }
    }
}
