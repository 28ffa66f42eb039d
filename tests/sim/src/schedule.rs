//! A world from a seed: its machines, its groups, and what befalls them.

mod applications;
mod watched;

use crate::random::Random;
use crate::world::World;
use crate::world::clock::Time;
use crate::world::event::{Deed, Event};
use crate::world::host::{Agent, Libvirt};
use applications::Apps;
use core::time::Duration;
use roost::config::{
    Config, FenceAgent, FenceLevel, MAX_VOTERS, OnQuorumLoss, OnShutdown, Role, Standby, Timing,
};
use roost::engine::{Command, Destination};
use roost_proto::cluster::GroupOrder;
use roost_proto::cluster::decision::{Arms, HostMode};
use roost_proto::control::{Intent, MoveMethod};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// All machines boot, found the cluster and start their groups within so long.
const SETTLES: Duration = Duration::from_secs(90);
/// Faults begin within so long after that.
const FAULTS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(180));
/// One fault lasts so long.
const LASTS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));
/// Between two orders of operators in a hurry: as long as a start or a stop takes, at most.
const HURRY: Duration = Duration::from_millis(1500);
/// A move takes about so long.
const MOVES: Duration = Duration::from_secs(8);
/// After all faults ended, everything is well again within so long: the longest wait of a ladder, a boot, a cold start.
const HEALS: Duration = Duration::from_secs(240);

/// In one of so many worlds operators ask questions all the time.
const CURIOUS: u64 = 3;
/// Groups are kept so long for a host that was shut down: some are back within it, some are not.
const KEPT_FOR: Duration = Duration::from_secs(40);

/// What the command line decides of a world.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub hosts: Option<usize>,
    pub groups: Option<usize>,
    /// With applications and standby VMs.
    pub apps: bool,
}

/// How it ended.
pub struct Outcome {
    pub steps: u64,
    pub simulated: Duration,
    pub violation: Option<String>,
    pub trace: Vec<String>,
}

/// What can go wrong in one world; each world has its own mixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Loss,
    Isolation,
    Split,
    Pair,
    OneWay,
    Flap,
    AllOut,
    Power,
    PowerAll,
    Daemon,
    DaemonAway,
    Stop,
    Freeze,
    Leave,
    Disk,
    DiskLost,
    Libvirt,
    VmCrash,
    GuestHang,
    AppFault,
    GuestLies,
    BadStarts,
    Stuck,
    Agent,
    Operator,
    Hurry,
    Maintenance,
    Move,
    MoveAndLose,
    Unmovable,
    Reload,
    LeaveAll,
    Disarm,
}

const KINDS: [Kind; 34] = [
    Kind::Loss,
    Kind::Isolation,
    Kind::Split,
    Kind::Pair,
    Kind::OneWay,
    Kind::Flap,
    Kind::AllOut,
    Kind::Power,
    Kind::PowerAll,
    Kind::Daemon,
    Kind::DaemonAway,
    Kind::Stop,
    Kind::Freeze,
    Kind::Leave,
    Kind::Disk,
    Kind::DiskLost,
    Kind::Libvirt,
    Kind::VmCrash,
    Kind::GuestHang,
    Kind::AppFault,
    Kind::GuestLies,
    Kind::BadStarts,
    Kind::Stuck,
    Kind::Agent,
    Kind::Operator,
    Kind::Hurry,
    Kind::Maintenance,
    Kind::Move,
    Kind::MoveAndLose,
    Kind::MoveAndLose,
    Kind::Unmovable,
    Kind::Reload,
    Kind::LeaveAll,
    Kind::Disarm,
];

/// Runs the world of a seed.
pub fn run(shape: Shape, seed: u64, trace: bool) -> Outcome {
    let mut random = Random::new(seed);
    // Of the worlds whose shape nobody says, every second one has them. Drawn apart, so that the others are what they are without.
    let usual = shape.hosts.is_none() && shape.groups.is_none() && !seed.is_multiple_of(2);
    let mut apps = (shape.apps || usual).then(|| Apps::new(seed));
    let config = config(shape, &mut random, apps.as_mut());
    let settles = config.cluster.timing.suspect_after * 4 + SETTLES;
    let mut world = World::new(config, random.draw(), trace);
    if let Some(apps) = &mut apps {
        applications::prepare(&mut world, &mut apps.random);
    }
    if random.once_in(4) {
        for host in &mut world.hosts {
            host.is_virtual = random.once_in(2);
        }
    }
    if random.once_in(6) {
        run_before(&mut world, &mut random);
    }
    let began = world.now;
    let settled = world.now.after(settles);
    world.run(settled);
    if world.check.violation.is_none()
        && let Err(what) = world.recovered()
    {
        world.violated(format!("recovery: {what}, {} s after all booted", settles.as_secs()));
    }
    world.check.calm_from = None;
    world.check.forgiven.clear();
    let from = world.now;
    let over = match random.below(12) {
        0 | 1 => small_faults(&mut world, &mut random),
        2 => network_work(&mut world, &mut random),
        _ => {
            let over = plan(&mut world, &mut random);
            if let Some(apps) = &mut apps {
                applications::plan(&mut world, &mut apps.random, over);
                watched::plan(&mut world, &mut apps.watched, over);
            }
            over
        }
    };
    if seed.is_multiple_of(CURIOUS) {
        // Drawn apart, so that the other worlds are what they are without questions.
        world.be_curious(&mut Random::new(!seed), from, over);
    }
    world.run(over);
    if world.check.violation.is_none() {
        heal(&mut world, over);
    }
    Outcome {
        steps: world.steps,
        simulated: world.now.since(began),
        violation: world.check.violation.take(),
        trace: world.trace.take().unwrap_or_default(),
    }
}

/// All VMs run already when the cluster is founded, as where it is installed anew: it takes them over, and restarts none.
fn run_before(world: &mut World, random: &mut Random) {
    for group in Arc::clone(&world.config).groups.iter() {
        if group.app.is_some() || group.standby == Standby::Cold {
            continue;
        }
        let name = random.pick(&group.on);
        if let Some(host) = world.hosts.iter().position(|host| host.name == *name) {
            world.starts(host, &group.vm, false);
        }
    }
    world.check.calm_from = Some(world.now);
}

fn heal(world: &mut World, over: Time) {
    world.deed(Deed::Heal);
    if let Some(host) = breaks(world) {
        world.say(|w| format!("--- but {} breaks, and the others must do without it", w.hosts[host].name));
        world.hosts[host].broken = true;
        world.deed(Deed::PowerOff(host));
        recovers(world, over, Some(host));
        world.hosts[host].broken = false;
        world.deed(Deed::PowerOn(host));
    }
    let from = world.now;
    recovers(world, from, None);
}

/// A host that the others can do without, sometimes.
fn breaks(world: &mut World) -> Option<usize> {
    let voters = world.config.hosts.iter().filter(|host| host.votes).count();
    let host = world.random.index(world.hosts.len());
    let calm = world.check.calm_from.is_some();
    let spared = !calm && (!world.config.hosts[host].votes || voters >= 3);
    (world.random.once_in(3) && spared && world.hosts.len() > 1 && !world.disk_lost && !world.voters_change)
        .then_some(host)
}

/// Waits until all is well. An operator tells of the host that is broken if nothing else can.
fn recovers(world: &mut World, from: Time, broken: Option<usize>) {
    let end = from.after(HEALS);
    while world.check.violation.is_none() && world.now < end {
        world.end_maintenance();
        world.end_disarming();
        for host in (0..world.hosts.len()).filter(|host| world.hosts[*host].kept_down) {
            world.queue.push(world.now, Event::Deed(Deed::Run(host))); // it left only now
        }
        for host in (0..world.hosts.len()).filter(|host| Some(*host) != broken && !world.hosts[*host].powered)
        {
            world.queue.push(world.now, Event::Deed(Deed::PowerOn(host))); // a fence agent was slower than the operator
        }
        if let Some(host) = broken {
            let at = world.random.index(world.hosts.len());
            world.deed(Deed::Confirm { at, host });
        }
        let next = world.now.after(Duration::from_secs(1)).min(end);
        world.run(next);
        if world.recovered().is_ok() {
            return;
        }
    }
    if world.check.violation.is_none()
        && let Err(what) = world.recovered()
    {
        world.violated(format!("recovery: {what}, {} s after all faults were over", HEALS.as_secs()));
    }
}

/// A cluster.
fn config(shape: Shape, random: &mut Random, apps: Option<&mut Apps>) -> Config {
    let voters = 1 + random.index(7);
    let more = if random.once_in(20) { random.index(57) } else { random.index(3) };
    let hosts = shape.hosts.unwrap_or(voters + more);
    let voters = voters.min(hosts).max(if shape.hosts.is_some() { hosts.min(3) } else { 1 });
    let groups = shape.groups.unwrap_or_else(|| 1 + random.index(12));
    let mut text = "[cluster]\nname = \"sim\"\n".to_owned();
    for nth in 1..=hosts {
        let _ =
            writeln!(text, "[[host]]\nname = \"h{nth}\"\naddress = \"10.0.{}.{}\"", nth / 200, nth % 200 + 1);
    }
    for nth in 1..=groups {
        let _ = writeln!(text, "[[group]]\nname = \"g{nth}\"\nvm = \"v{nth}\"");
        if random.once_in(3) {
            text += "apps = [\"site\"]\n";
        }
    }
    if let Some(apps) = apps {
        applications::configure(&mut text, apps, hosts + 1);
    }
    let mut config = roost::config::parse(&text).expect("a good configuration");
    if random.once_in(4) {
        config.cluster.timing = Timing::FAST;
    }
    let witnesses = if hosts >= 3 && random.once_in(4) { 1 } else { 0 };
    let (fenced, watched) = match random.below(5) {
        0 => (true, false),
        1 => (false, true),
        2 => (false, false),
        _ => (true, true),
    };
    for (nth, host) in config.hosts.iter_mut().enumerate() {
        host.votes = nth < voters;
        let agent = FenceAgent {
            agent: "fence_sim".to_owned(),
            options: BTreeMap::new(),
            delay: Duration::ZERO,
            timeout: Duration::from_secs(60),
            retries: 0,
        };
        let watched_over = host.role == Role::Watched;
        host.fence =
            if fenced || watched_over { vec![FenceLevel { agents: vec![agent] }] } else { Vec::new() };
        host.watchdog = (watched && !watched_over).then(|| PathBuf::from("/dev/watchdog"));
        if nth < witnesses {
            host.role = Role::Witness;
        }
    }
    if random.once_in(6) {
        config.cluster.on_quorum_loss = OnQuorumLoss::Stop;
    } else if fenced && random.once_in(8) {
        config.cluster.on_quorum_loss = OnQuorumLoss::Keep;
    }
    config.cluster.stay_for = KEPT_FOR;
    for host in &mut config.hosts {
        host.on_shutdown = *random.pick(&[OnShutdown::Move, OnShutdown::Stop, OnShutdown::Stay]);
    }
    let able: Vec<String> = config
        .hosts
        .iter()
        .filter(|host| host.role == Role::Hypervisor)
        .map(|host| host.name.clone())
        .collect();
    if random.once_in(2) {
        config.cluster.save_dir = Some(PathBuf::from("/save"));
    }
    let saves = config.cluster.save_dir.is_some();
    for group in config.groups.iter_mut().filter(|group| group.app.is_none()) {
        group.moves = match random.below(5) {
            0 => vec![MoveMethod::Cold],
            1 => vec![MoveMethod::Live],
            2 if saves => vec![MoveMethod::Suspend, MoveMethod::Cold],
            3 if saves => vec![MoveMethod::Live, MoveMethod::Suspend, MoveMethod::Cold],
            _ => vec![MoveMethod::Live, MoveMethod::Cold],
        };
        group.move_timeout = random.time(Duration::from_secs(2), Duration::from_secs(40));
        let from = random.index(able.len());
        let count = if random.once_in(3) { 1 + random.index(able.len()) } else { able.len() };
        group.ranked = random.once_in(2);
        group.on = able.iter().cycle().skip(from).take(count).cloned().collect();
        group.recovery.backoff.first = Duration::from_secs(1);
        group.recovery.backoff.max = Duration::from_secs(8);
    }
    applications::follow(&mut config);
    config
}

/// Faults that no restart may follow from, one after the other: blips shorter than an eviction takes, some loss, restarts of
/// daemons, and outages of the whole network.
fn small_faults(world: &mut World, random: &mut Random) -> Time {
    world.say(|_| "--- only small faults: nothing may be started or stopped".to_owned());
    (world.check.calm_from, world.check.apps_calm) = (Some(world.now), true);
    let hosts = world.hosts.len();
    let timing = world.config.cluster.timing;
    // One voter alone is a majority, and evicts whom it does not hear.
    let voters = world.config.hosts.iter().filter(|host| host.votes).count();
    let pauses = world.config.cluster.on_quorum_loss == OnQuorumLoss::Pause && voters > 1;
    let mut time = world.now;
    for _ in 0..=random.index(6) {
        let host = random.index(hosts);
        let from = time.after(Duration::from_secs(20));
        let mut at = |time: Time, deed: Deed| world.queue.push(time, Event::Deed(deed));
        let mut until = from;
        match random.below(4) {
            0 => {
                // Without either of two voters there is no majority, and a lease may end sooner than an eviction takes.
                let longest =
                    if voters == 2 { timing.suspect_after } else { timing.evict_after - timing.beat * 2 };
                until = from.after(random.time(Duration::ZERO, longest));
                isolate(&mut at, hosts, host, from, until);
            }
            1 => {
                until = from.after(random.time(Duration::ZERO, LASTS.1));
                for (a, b) in pairs(hosts) {
                    at(from, Deed::Worsen(a, b, 30, timing.beat / 5));
                    at(until, Deed::Worsen(a, b, 0, Duration::ZERO));
                }
            }
            2 => at(from, Deed::Kill(host, Some(random.time(timing.beat / 5, timing.suspect_after)))),
            _ if pauses => {
                until = from.after(random.time(Duration::ZERO, Duration::from_secs(30)));
                for (a, b) in pairs(hosts) {
                    at(from, Deed::Cut(a, b));
                    at(until, Deed::Mend(a, b));
                }
            }
            _ => {}
        }
        time = until;
    }
    time.after(Duration::from_secs(20))
}

/// The cluster is disarmed, and the network is worked on: whatever becomes of it, and whichever daemons are restarted meanwhile,
/// nothing may be started or stopped, and nothing when the cluster is armed again after it.
fn network_work(world: &mut World, random: &mut Random) -> Time {
    world.say(|_| {
        "--- the network is worked on while the cluster is disarmed: nothing may be started or stopped"
            .to_owned()
    });
    (world.check.calm_from, world.check.apps_calm) = (Some(world.now), true);
    let hosts = world.hosts.len();
    let with_daemon: Vec<usize> = (0..hosts).filter(|host| !world.hosts[*host].is_watched).collect();
    let at = *random.pick(&with_daemon);
    let deed = |arms| Event::Deed(Deed::Order(at, Command::Arm(arms)));
    world.queue.push(world.now, deed(Arms::Disarmed));
    // Until every host has heard of it.
    let from = world.now.after(Duration::from_secs(10));
    let lasts = random.time(Duration::from_secs(5), Duration::from_secs(180));
    let until = from.after(lasts);
    for _ in 0..1 + random.index(12) {
        let (host, other) = (random.index(hosts), random.index(hosts));
        let begins = from.after(random.time(Duration::ZERO, lasts));
        let ends = begins.after(random.time(Duration::ZERO, lasts)).min(until);
        let mut at = |time: Time, deed: Deed| world.queue.push(time, Event::Deed(deed));
        match random.below(5) {
            0 => isolate(&mut at, hosts, host, begins, ends),
            1 => {
                for (a, b) in [(host, other), (other, host)] {
                    at(begins, Deed::Cut(a, b));
                    at(ends, Deed::Mend(a, b));
                }
            }
            2 => {
                for (a, b) in pairs(hosts) {
                    at(begins, Deed::Cut(a, b));
                    at(ends, Deed::Mend(a, b));
                }
            }
            3 => at(begins, Deed::Kill(host, Some(random.time(Duration::ZERO, Duration::from_secs(20))))),
            _ => {
                at(begins, Deed::Stop(host));
                at(ends, Deed::Continue(host));
            }
        }
    }
    // Every daemon that was killed is back, and every host is in the cluster again.
    let armed = until.after(Duration::from_secs(60));
    for nth in 0..3 {
        let when = armed.after(Duration::from_secs(15) * nth); // an order that is lost is given again
        world.queue.push(when, deed(Arms::Armed));
    }
    armed.after(Duration::from_secs(60))
}

/// What befalls a world; when it is over.
fn plan(world: &mut World, random: &mut Random) -> Time {
    let kinds: Vec<Kind> = {
        let count = 1 + random.index(6);
        (0..count).map(|_| *random.pick(&KINDS)).collect()
    };
    world.say(|_| format!("--- what befalls it: {kinds:?}"));
    let span = random.time(FAULTS.0, FAULTS.1);
    let count = 1 + random.index(14);
    for _ in 0..count {
        let kind = *random.pick(&kinds);
        let from = world.now.after(random.time(Duration::ZERO, span));
        let until = from.after(random.time(LASTS.0, LASTS.1).min(span / 2));
        befall(world, random, kind, from, until);
    }
    world.now.after(span + span / 2)
}

fn befall(world: &mut World, random: &mut Random, kind: Kind, from: Time, until: Time) {
    let hosts = world.hosts.len();
    let host = random.index(hosts);
    let other = random.index(hosts);
    let vm = |random: &mut Random, world: &World| {
        let vms: Vec<&str> =
            world.config.groups.iter().filter(|g| g.app.is_none()).map(|g| g.vm.as_str()).collect();
        vms.get(random.index(vms.len().max(1))).map_or(String::new(), |vm| (*vm).to_owned())
    };
    let group = |random: &mut Random, world: &World| {
        world
            .config
            .groups
            .get(random.index(world.config.groups.len().max(1)))
            .map_or(String::new(), |g| g.name.clone())
    };
    let mut at = |time: Time, deed: Deed| world.queue.push(time, Event::Deed(deed));
    match kind {
        Kind::Loss => {
            let loss = u32::try_from(random.below(400)).unwrap_or(0);
            let delay = random.time(Duration::ZERO, Duration::from_millis(400));
            for to in 0..hosts {
                at(from, Deed::Worsen(host, to, loss, delay));
                at(from, Deed::Worsen(to, host, loss, delay));
                at(until, Deed::Worsen(host, to, 0, Duration::ZERO));
                at(until, Deed::Worsen(to, host, 0, Duration::ZERO));
            }
        }
        Kind::Isolation => isolate(&mut at, hosts, host, from, until),
        Kind::Split => {
            let side: Vec<bool> = (0..hosts).map(|_| random.once_in(2)).collect();
            for (a, b) in pairs(hosts).filter(|(a, b)| side[*a] != side[*b]) {
                at(from, Deed::Cut(a, b));
                at(until, Deed::Mend(a, b));
            }
        }
        Kind::Pair => {
            for (a, b) in [(host, other), (other, host)] {
                at(from, Deed::Cut(a, b));
                at(until, Deed::Mend(a, b));
            }
        }
        Kind::OneWay => {
            let outward = random.once_in(2);
            for to in (0..hosts).filter(|to| *to != host) {
                let (a, b) = if outward { (host, to) } else { (to, host) };
                at(from, Deed::Cut(a, b));
                at(until, Deed::Mend(a, b));
            }
        }
        Kind::Flap => {
            let mut time = from;
            while time < until {
                let back = time.after(random.time(Duration::from_millis(100), Duration::from_secs(4)));
                isolate(&mut at, hosts, host, time, back);
                time = back.after(random.time(Duration::from_millis(100), Duration::from_secs(4)));
            }
        }
        Kind::AllOut => {
            for (a, b) in pairs(hosts) {
                at(from, Deed::Cut(a, b));
                at(until, Deed::Mend(a, b));
            }
        }
        Kind::Power => {
            at(from, Deed::PowerOff(host));
            if random.once_in(3) {
                at(from.after(Duration::from_secs(2)), Deed::Confirm { at: other, host });
            }
            at(until, Deed::PowerOn(host));
        }
        Kind::PowerAll => {
            for host in 0..hosts {
                at(from.after(random.time(Duration::ZERO, Duration::from_millis(500))), Deed::PowerOff(host));
                at(until.after(random.time(Duration::ZERO, Duration::from_secs(20))), Deed::PowerOn(host));
            }
        }
        Kind::Daemon => {
            let again = random.time(Duration::from_millis(50), Duration::from_millis(800));
            at(from, Deed::Kill(host, Some(again)));
            if random.once_in(4) {
                // It is cut off soon after it is back: the lease of its life before still runs.
                let cut = from.after(again + random.time(Duration::ZERO, Duration::from_secs(2)));
                isolate(&mut at, hosts, host, cut, until.max(cut));
            }
        }
        Kind::DaemonAway => {
            at(from, Deed::Kill(host, None));
            at(until, Deed::Run(host));
        }
        Kind::Stop => {
            at(from, Deed::Stop(host));
            at(until, Deed::Continue(host));
        }
        Kind::Freeze => {
            at(from, Deed::Freeze(host));
            at(until, Deed::Thaw(host));
        }
        Kind::Leave => {
            at(from, Deed::Leave(host));
            at(until, Deed::Run(host));
        }
        Kind::LeaveAll => {
            for host in 0..hosts {
                let moment = random.time(Duration::ZERO, Duration::from_secs(3));
                at(from.after(moment), Deed::Leave(host));
                at(until.after(moment), Deed::Run(host));
            }
        }
        Kind::Disk => {
            at(from, Deed::DiskFails(host, true));
            at(until, Deed::DiskFails(host, false));
        }
        Kind::DiskLost => {
            // One of at least three: what a majority forgot is lost.
            let voters = world.config.hosts.iter().filter(|host| host.votes).count();
            if voters >= 3 && !world.voters_change && !core::mem::replace(&mut world.disk_lost, true) {
                world.queue.push(from, Event::Deed(Deed::DiskLost(host)));
            }
        }
        Kind::Libvirt => {
            let how = *random.pick(&[Libvirt::Hung, Libvirt::Down]);
            at(from, Deed::Libvirt(host, how));
            at(until, Deed::Libvirt(host, Libvirt::Up));
        }
        Kind::VmCrash => {
            let vm = vm(random, world);
            world.queue.push(from, Event::Deed(Deed::VmCrash(vm)));
        }
        Kind::GuestHang => {
            let vm = vm(random, world);
            world.queue.push(from, Event::Deed(Deed::GuestHang(vm)));
        }
        Kind::AppFault => {
            let vm = vm(random, world);
            world.queue.push(from, Event::Deed(Deed::AppFault(vm)));
        }
        Kind::GuestLies => {
            let vm = vm(random, world);
            world.queue.push(from, Event::Deed(Deed::GuestLies(vm)));
        }
        Kind::BadStarts => {
            let vm = vm(random, world);
            let deed = Deed::BadStarts {
                host: random.once_in(2).then_some(host),
                vm: vm.clone(),
                count: 1 + u32::try_from(random.below(8)).unwrap_or(0),
            };
            world.queue.push(from, Event::Deed(deed));
            world.queue.push(from.after(Duration::from_millis(10)), Event::Deed(Deed::VmCrash(vm)));
        }
        Kind::Stuck => {
            let vm = vm(random, world);
            world.queue.push(from, Event::Deed(Deed::Stuck(vm.clone(), true)));
            world.queue.push(until, Event::Deed(Deed::Stuck(vm, false)));
        }
        Kind::Agent => {
            let seconds = random.below(40);
            let how = *random.pick(&[Agent::Fails, Agent::Slow(seconds), Agent::Late(seconds)]);
            // One host's, or the network that all of them are on.
            let which = if random.once_in(2) { host..host + 1 } else { 0..hosts };
            for host in which {
                at(from, Deed::Agent(host, how));
                at(until, Deed::Agent(host, Agent::Works));
            }
        }
        Kind::Operator => {
            let group = group(random, world);
            let there = GroupOrder::Intent(Intent::Online);
            let orders = match random.below(3) {
                0 => [GroupOrder::Intent(Intent::Offline), there],
                1 => [GroupOrder::Freeze, GroupOrder::Thaw],
                _ => [GroupOrder::Intent(Intent::Offline), GroupOrder::Intent(Intent::Offline)],
            };
            for (time, order) in [from, until].into_iter().zip(orders) {
                let command = Command::Group { group: group.clone(), order };
                world.queue.push(time, Event::Deed(Deed::Order(random.index(hosts), command)));
            }
        }
        Kind::Hurry => {
            // Several operators, or one who does not wait to see: orders cross what they lead to.
            let group = group(random, world);
            let names: Vec<String> = (0..hosts).map(|host| destination(world, &group, host)).collect();
            let cold = world.config.group(&group).is_some_and(|group| group.app.is_some());
            let mut at = |time: Time, deed: Deed| world.queue.push(time, Event::Deed(deed));
            let mut time = from;
            for _ in 0..3 + random.index(8) {
                let command = match random.below(4) {
                    0 => Command::Group { group: group.clone(), order: GroupOrder::Intent(Intent::Offline) },
                    1 => Command::Group { group: group.clone(), order: GroupOrder::Intent(Intent::Online) },
                    _ => {
                        let to = Destination::Host(names[random.index(hosts)].clone());
                        let method = way(random);
                        Command::Move { group: group.clone(), to, method: method.filter(|_| !cold) }
                    }
                };
                at(time, Deed::Order(random.index(hosts), command));
                time = time.after(random.time(Duration::ZERO, HURRY));
            }
            let command = Command::Group { group, order: GroupOrder::Intent(Intent::Online) };
            at(until.max(time), Deed::Order(random.index(hosts), command));
        }
        Kind::Maintenance => {
            for (time, mode) in [(from, HostMode::Maintenance), (until, HostMode::Active)] {
                let command = Command::Mode { host: world.hosts[host].name.clone(), mode };
                world.queue.push(time, Event::Deed(Deed::Order(other, command)));
            }
        }
        Kind::Move => {
            let group = group(random, world);
            let command = move_order(world, random, group, host);
            world.queue.push(from, Event::Deed(Deed::Order(other, command)));
        }
        Kind::MoveAndLose => {
            // Something befalls one of those who have to do with it, at any moment of it.
            let group = group(random, world);
            let command = move_order(world, random, group, host);
            world.queue.push(from, Event::Deed(Deed::Order(other, command)));
            let when = from.after(random.time(Duration::ZERO, MOVES));
            let ends = when.after(random.time(Duration::from_millis(100), Duration::from_secs(20)));
            let whom = if random.once_in(2) { host } else { random.index(hosts) };
            let mut at = |time: Time, deed: Deed| world.queue.push(time, Event::Deed(deed));
            match random.below(7) {
                0 => {
                    at(when, Deed::PowerOff(whom));
                    at(ends, Deed::PowerOn(whom));
                }
                1 => at(when, Deed::Kill(whom, Some(random.time(Duration::from_millis(50), LASTS.1)))),
                // Longer than libvirt waits for the other host.
                2 => isolate(&mut at, hosts, whom, when, when.after(random.time(Duration::ZERO, LASTS.1))),
                3 => {
                    at(when, Deed::Freeze(whom));
                    at(ends, Deed::Thaw(whom));
                }
                4 => {
                    at(when, Deed::Libvirt(whom, *random.pick(&[Libvirt::Hung, Libvirt::Down])));
                    at(ends, Deed::Libvirt(whom, Libvirt::Up));
                }
                5 => {
                    for (a, b) in pairs(hosts) {
                        at(when, Deed::Cut(a, b));
                        at(ends, Deed::Mend(a, b));
                    }
                }
                _ => {
                    at(when, Deed::Leave(whom));
                    at(ends, Deed::Run(whom));
                }
            }
        }
        Kind::Unmovable => {
            let vm = vm(random, world);
            world.queue.push(from, Event::Deed(Deed::Unmovable(vm.clone(), true)));
            world.queue.push(until, Event::Deed(Deed::Unmovable(vm, false)));
            if random.once_in(3) {
                world.queue.push(from, Event::Deed(Deed::KeepsFiles(true)));
                world.queue.push(until, Event::Deed(Deed::KeepsFiles(false)));
            }
        }
        Kind::Reload => reload(world, random, from, until),
        Kind::Disarm => {
            for (time, arms) in [(from, Arms::Disarmed), (until, Arms::Armed)] {
                world.queue.push(time, Event::Deed(Deed::Order(random.index(hosts), Command::Arm(arms))));
            }
            if random.once_in(2) {
                // A host is cut off before the cluster is armed, and hears of that only later.
                let mut at = |time: Time, deed: Deed| world.queue.push(time, Event::Deed(deed));
                let cut = from.after(random.time(Duration::ZERO, LASTS.1).min(until.since(from)));
                isolate(&mut at, hosts, host, cut, until.after(random.time(Duration::ZERO, LASTS.1)));
            }
        }
    }
}

fn way(random: &mut Random) -> Option<MoveMethod> {
    *random.pick(&[None, Some(MoveMethod::Live), Some(MoveMethod::Suspend), Some(MoveMethod::Cold)])
}

fn move_order(world: &World, random: &mut Random, group: String, host: usize) -> Command {
    let to = match random.below(8) {
        0 => Destination::Home,
        1 => Destination::Failover,
        2 | 3 => Destination::Elsewhere,
        _ => Destination::Host(destination(world, &group, host)),
    };
    let method = way(random);
    let cold = world.config.group(&group).is_some_and(|group| group.app.is_some());
    Command::Move { group, to, method: method.filter(|_| !cold) }
}

/// A host as a place for a group to go to; of an application, one of its targets.
fn destination(world: &World, group: &str, host: usize) -> String {
    let targets = world.config.group(group).and_then(|group| group.app.as_ref()).map(|app| &app.targets);
    targets
        .map_or_else(|| world.hosts[host].name.clone(), |targets| targets[host % targets.len()].to_string())
}

/// The files of all hosts, or of some, become others for a while.
fn reload(world: &mut World, random: &mut Random, from: Time, until: Time) {
    let mut file = (*world.config).clone();
    let host = random.index(file.hosts.len());
    match random.below(5) {
        4 => {
            let fenced = file.hosts.iter().all(|host| !host.fence.is_empty());
            let ways = [OnQuorumLoss::Pause, OnQuorumLoss::Stop, OnQuorumLoss::Keep];
            file.cluster.on_quorum_loss = *random.pick(&ways[..if fenced { 3 } else { 2 }]);
        }
        0 if !file.groups.is_empty() => {
            let nth = random.index(file.groups.len());
            if !applications::is_standby(&file, nth) {
                file.groups.remove(nth);
            }
        }
        1 if !file.groups.is_empty() => {
            let nth = random.index(file.groups.len());
            let on = &file.groups[nth].on;
            if file.groups[nth].app.is_none() {
                file.groups[nth].on = on[..1 + random.index(on.len())].into();
            }
        }
        // Of fewer voters than the file had, one that loses its disk may be too many.
        2 | 3 if world.disk_lost => return,
        2 if file.hosts[host].role == Role::Watched => return,
        2 if file.hosts.iter().filter(|other| other.votes).count() > 1 || !file.hosts[host].votes => {
            file.hosts[host].votes =
                !file.hosts[host].votes && file.hosts.iter().filter(|other| other.votes).count() < MAX_VOTERS;
        }
        _ if file.hosts.len() > 2 => {
            if random.once_in(2) {
                world.queue.push(from, Event::Deed(Deed::Leave(host)));
                world.queue.push(until.after(Duration::from_secs(1)), Event::Deed(Deed::Run(host)));
            }
            let gone = file.hosts.remove(host).name;
            for group in &mut file.groups {
                group.on = group.on.iter().filter(|name| **name != gone).cloned().collect();
            }
            applications::without(&mut file, &gone);
            file.groups.retain(|group| !group.on.is_empty());
            if !file.hosts.iter().any(|other| other.votes) {
                let Some(able) = file.hosts.iter_mut().find(|other| other.role != Role::Watched) else {
                    return;
                };
                able.votes = true;
            }
        }
        _ => return,
    }
    applications::follow(&mut file);
    world.voters_change |= file.hosts.iter().filter(|host| host.votes).count()
        != world.config.hosts.iter().filter(|host| host.votes).count();
    file.number = u32::try_from(random.below(1 << 31)).unwrap_or(0);
    let (new, old) = (Arc::new(file), Arc::clone(&world.config));
    let all = random.once_in(2);
    for host in 0..world.hosts.len() {
        if all || random.once_in(2) {
            let moment = random.time(Duration::ZERO, Duration::from_secs(2));
            world.queue.push(from.after(moment), Event::Deed(Deed::Reload(host, Arc::clone(&new))));
            world.queue.push(until.after(moment), Event::Deed(Deed::Reload(host, Arc::clone(&old))));
        }
    }
}

fn pairs(hosts: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..hosts).flat_map(move |a| (0..hosts).filter(move |b| *b != a).map(move |b| (a, b)))
}

/// A host hears nobody, and nobody hears it.
fn isolate(at: &mut impl FnMut(Time, Deed), hosts: usize, host: usize, from: Time, until: Time) {
    for other in (0..hosts).filter(|other| *other != host) {
        for (a, b) in [(host, other), (other, host)] {
            at(from, Deed::Cut(a, b));
            at(until, Deed::Mend(a, b));
        }
    }
}
