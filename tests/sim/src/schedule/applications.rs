//! Applications of a world: physical primaries, the standby VMs of them, and what befalls these.

use super::{LASTS, isolate, pairs};
use crate::random::Random;
use crate::world::World;
use crate::world::apps::Place;
use crate::world::clock::Time;
use crate::world::controller::Nature;
use crate::world::event::{Deed, Event};
use core::fmt::Write;
use core::time::Duration;
use roost::config::{Config, Role, Target};
use roost::engine::{Command, Destination};
use roost_proto::cluster::GroupOrder;
use roost_proto::control::Intent;

/// A failover or a switch takes about so long.
const GOES: Duration = Duration::from_secs(40);

/// Physical hosts with applications in one world, at most.
const PRIMARIES: usize = 3;
/// What a seed's applications are drawn from, and its watched machines.
const SEED: u64 = 0xa995;
const WATCHED: u64 = 0x3a7c;

/// What applications are drawn from.
pub struct Apps {
    pub random: Random,
    /// Apart, so that worlds without watched machines are what they are.
    pub watched: Random,
    /// Which primaries have no `roostd`, and for how many seconds each may be silent.
    machines: [Option<u64>; PRIMARIES],
}

impl Apps {
    pub fn new(seed: u64) -> Self {
        let mut watched = Random::new(seed ^ WATCHED);
        let mut machines = [None; PRIMARIES];
        if watched.once_in(2) {
            for _ in 0..2 {
                machines[watched.index(PRIMARIES)] = Some(5 + watched.below(8));
            }
        }
        Self { random: Random::new(seed ^ SEED), watched, machines }
    }
}

/// Writes one to three physical hosts, some of them watched, and an application for each or for all of them, with standby VMs that
/// several may share.
pub fn configure(text: &mut String, apps: &mut Apps, first: usize) {
    let Apps { random, machines, .. } = apps;
    let primaries = 1 + random.index(PRIMARIES);
    for (nth, watched) in (1..=primaries).zip(*machines) {
        let at = first + nth;
        let _ = writeln!(text, "[[host]]\nname = \"p{nth}\"");
        let _ = match watched {
            Some(silence) => writeln!(
                text,
                "role = \"watched\"\nkey = \"/key\"\nsilence = \"{silence}s\"\n[[host.fence]]\nagent = \"fence_sim\""
            ),
            None => {
                writeln!(text, "address = \"10.0.{}.{}\"\nrole = \"application\"", at / 200, at % 200 + 1)
            }
        };
    }
    let standbys = 1 + random.index(2);
    let each = random.once_in(2);
    let applications = if each { primaries } else { 1 };
    let mut used = vec![false; standbys];
    let mut apps = String::new();
    for nth in 1..=applications {
        let mut targets = if each { vec![format!("p{nth}")] } else { Vec::new() };
        if !each {
            targets.extend((1..=primaries).map(|nth| format!("p{nth}")));
        }
        let vm = random.index(standbys);
        let both = random.once_in(4);
        for standby in (0..standbys).filter(|standby| both || *standby == vm) {
            used[standby] = true;
            targets.push(format!("vm:s{}", standby + 1));
        }
        let targets: Vec<String> = targets.iter().map(|target| format!("\"{target}\"")).collect();
        let _ = write!(
            apps,
            "[[group]]\nname = \"a{nth}\"\napp = \"db{nth}\"\non = [{}]\nstop_timeout = \"20s\"\npriority = {}\n",
            targets.join(", "),
            random.below(3) + 1
        );
        if random.once_in(3) {
            apps += "failback = \"auto\"\nfailback_after = \"15s\"\n";
        }
    }
    for (nth, used) in used.iter().enumerate() {
        let cold = if *used && random.once_in(2) { "standby = \"cold\"\n" } else { "" };
        let guest = if random.once_in(3) { "apps = [\"site\"]\n" } else { "" };
        let _ = writeln!(text, "[[group]]\nname = \"s{0}\"\nvm = \"sv{0}\"\n{cold}{guest}", nth + 1);
    }
    *text += &apps;
}

/// The hosts that act for an application are those of its targets.
pub fn follow(config: &mut Config) {
    let vms = config.groups.clone();
    for group in &mut config.groups {
        let Some(app) = &group.app else { continue };
        let mut on: Vec<String> = Vec::new();
        for target in &app.targets {
            match target {
                Target::Host(name) => on.push(name.clone()),
                Target::Vm(name) => {
                    on.extend(vms.iter().find(|vm| vm.name == *name).iter().flat_map(|vm| vm.on.to_vec()));
                }
            }
        }
        let mut seen = Vec::new();
        on.retain(|name| {
            !seen.contains(name) && {
                seen.push(name.clone());
                true
            }
        });
        group.on = on.into();
        group.recovery.backoff.first = Duration::from_secs(1);
        group.recovery.backoff.max = Duration::from_secs(8);
    }
}

/// Whether an application has a group's VM among its targets.
pub fn is_standby(config: &Config, nth: usize) -> bool {
    let target = Target::Vm(config.groups[nth].name.clone());
    config.groups.iter().filter_map(|group| group.app.as_ref()).any(|app| app.targets.contains(&target))
}

/// A host is no target any more, and no VM that had only that one.
pub fn without(config: &mut Config, host: &str) {
    let gone: Vec<Target> = (config.groups.iter())
        .filter(|group| group.app.is_none() && group.on.is_empty())
        .map(|group| Target::Vm(group.name.clone()))
        .chain([Target::Host(host.to_owned())])
        .collect();
    for group in &mut config.groups {
        if let Some(app) = &mut group.app {
            app.targets.retain(|target| !gone.contains(target));
            if app.targets.is_empty() {
                group.on = [].into();
            }
        }
    }
}

/// What is so from the beginning.
pub fn prepare(world: &mut World, random: &mut Random) {
    let groups: Vec<String> = world.applications().map(|(group, _)| group.to_owned()).collect();
    world.keepers = groups.into_iter().filter(|_| random.once_in(4)).collect();
}

/// Whether a machine runs applications itself.
fn is_primary(world: &World, host: usize) -> bool {
    matches!(world.config.hosts[host].role, Role::Application | Role::Watched)
}

/// What befalls applications, beside all else.
pub fn plan(world: &mut World, random: &mut Random, over: Time) {
    let span = over.since(world.now).saturating_sub(Duration::from_secs(20));
    for _ in 0..random.index(8) {
        let from = world.now.after(random.time(Duration::ZERO, span));
        let until = from.after(random.time(LASTS.0, LASTS.1)).min(over);
        befall(world, random, from, until);
    }
}

fn befall(world: &mut World, random: &mut Random, from: Time, until: Time) {
    let groups: Vec<(String, Vec<Target>)> =
        world.applications().map(|(group, app)| (group.to_owned(), app.targets.clone())).collect();
    let (group, targets) = random.pick(&groups).clone();
    let target = random.pick(&targets).clone();
    let hosts = world.hosts.len();
    let place = |target: &Target, world: &World| match target {
        Target::Host(name) => Place::Machine(
            world.hosts.iter().position(|host| host.name == *name).expect("targets are hosts of the file"),
        ),
        Target::Vm(group) => Place::Vm(world.check.vm_of(group).unwrap_or_default()),
    };
    let primaries: Vec<usize> = (0..hosts).filter(|nth| is_primary(world, *nth)).collect();
    let primary = *random.pick(&primaries);
    let other = random.index(hosts);
    let order = |command| Deed::Order(other, command);
    let intent = |intent| order(Command::Group { group: group.clone(), order: GroupOrder::Intent(intent) });
    let going = |to| order(Command::Move { group: group.clone(), to, method: None });
    let here = place(&target, world);
    let mut at = |time: Time, deed: Deed| world.queue.push(time, Event::Deed(deed));
    match random.below(16) {
        // The primary dies; and, while its standby takes over, something else does.
        0 | 1 => {
            at(from, Deed::PowerOff(primary));
            at(until, Deed::PowerOn(primary));
            let when = from.after(random.time(Duration::ZERO, GOES));
            if random.once_in(2) {
                at(when, Deed::PowerOff(other));
                at(when.after(random.time(Duration::ZERO, GOES)), Deed::PowerOn(other));
            }
        }
        2 => {
            at(from, Deed::Freeze(primary));
            at(until, Deed::Thaw(primary));
        }
        3 => isolate(&mut at, hosts, primary, from, until),
        // The two sites hear nothing of each other.
        4 => {
            for (a, b) in pairs(hosts).filter(|(a, b)| primaries.contains(a) != primaries.contains(b)) {
                at(from, Deed::Cut(a, b));
                at(until, Deed::Mend(a, b));
            }
        }
        5 => {
            at(from, going(Destination::Host(target.to_string())));
            at(until, going(Destination::Home));
        }
        6 => {
            // A switch, and something befalls somebody at any moment of it.
            at(from, going(if random.once_in(2) { Destination::Home } else { Destination::Elsewhere }));
            let when = from.after(random.time(Duration::ZERO, GOES));
            let whom = if random.once_in(2) { primary } else { other };
            let deed = match random.below(4) {
                0 => Deed::PowerOff(whom),
                1 => Deed::Freeze(whom),
                2 => Deed::Kill(whom, Some(random.time(Duration::from_millis(50), LASTS.1))),
                _ => Deed::ApplicationFails(group.clone()),
            };
            at(when, deed);
            at(until.max(when), Deed::PowerOn(whom));
            at(until.max(when), Deed::Thaw(whom));
        }
        7 => at(from, going(Destination::Failover)),
        8 => at(from, Deed::ApplicationFails(group.clone())),
        9 | 10 => {
            let mut nature = Nature::default();
            match random.below(5) {
                0 => nature.refuses = true,
                1 => nature.faulty = true,
                2 => nature.unready = true,
                3 => nature.stuck = true,
                _ => nature.unclean = true,
            }
            let only = random.once_in(2).then_some(target);
            at(from, Deed::Nature(group.clone(), only.clone(), nature));
            at(from, Deed::ApplicationFails(group.clone()));
            at(until, Deed::Nature(group.clone(), only, Nature::default()));
        }
        11 => at(from, Deed::ControllerDies(here)),
        12 => {
            at(from, Deed::ControllerLies(here.clone(), true));
            at(until, Deed::ControllerLies(here, false));
        }
        13 => {
            at(from, intent(Intent::Offline));
            at(until, intent(Intent::Online));
        }
        14 => {
            at(from, Deed::Kill(primary, None));
            at(until, Deed::Run(primary));
        }
        _ => {
            if let Place::Vm(vm) = here {
                at(from, Deed::VmCrash(vm));
            } else {
                at(
                    from,
                    Deed::Kill(primary, Some(random.time(Duration::from_millis(50), Duration::from_secs(3)))),
                );
            }
        }
    }
}
