//! What a cluster costs as it grows: clusters of several sizes are founded, start their groups, and are then measured while
//! nothing happens.

use crate::world::World;
use crate::world::host::{Domain, NEED};
use crate::world::meter::{Cost, Meter};
use core::time::Duration;
use roost::config::{Config, Timing};
use roost::engine::ledger::{Effect, Ledger};
use roost_proto::cluster::Incarnation;
use roost_proto::cluster::decision::{Decision, Entry, Proof};
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;

/// The sizes, in hosts.
const SIZES: [usize; 5] = [3, 16, 64, 256, 1000];
/// Groups of each host.
const GROUPS: usize = 20;
/// Hosts that may run a group: its own, and the next ones.
const ON: usize = 3;
/// Voters in all but the smallest cluster.
const VOTERS: usize = 5;
/// Larger clusters than this one are not founded, which takes long to play: they begin with all hosts admitted and all VMs running.
const FOUNDED: usize = 256;
/// All groups of any size run within so long.
const SETTLES: Duration = Duration::from_secs(600);
/// What their starts have left behind is over by then.
const CALMS: Duration = Duration::from_secs(20);
/// So long is measured.
const MEASURED: Duration = Duration::from_secs(20);
/// So many hosts are played together while it is measured, in as many clusters as that takes. So each finds as little of its own in
/// the processor's caches, whatever the size of its cluster; alone on its machine it finds less.
const TOGETHER: usize = 1000;
/// One cluster goes on for so long, then the next one.
const SLICE: Duration = Duration::from_millis(1);

/// Measures one size, or all, and prints a table.
pub fn measure(hosts: Option<usize>) -> ExitCode {
    println!(
        "| hosts | all run after | leader | other voters | members | leader, of a core | mean of all hosts |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for hosts in hosts.map_or(SIZES.to_vec(), |hosts| vec![hosts]) {
        match one(hosts) {
            Ok(line) => println!("{line}"),
            Err(error) => {
                eprintln!("roost-sim: {hosts} hosts: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn one(hosts: usize) -> Result<String, String> {
    let mut worlds: Vec<World> =
        (0..(TOGETHER / hosts).max(1)).map(|nth| begin(hosts, nth as u64 + 1)).collect();
    let began = worlds[0].now;
    let mut settled = Vec::new();
    for world in &mut worlds {
        while !all_run(world) {
            if world.now >= began.after(SETTLES) {
                let (running, all, limit) = (running(world), hosts * GROUPS, SETTLES.as_secs());
                return Err(format!("{running} of {all} groups run after {limit} s"));
            }
            world.run(world.now.after(Duration::from_secs(1)));
            said(world)?;
        }
        settled.push(world.now.since(began));
        world.run(world.now.after(CALMS));
        world.meter = Some(Meter::new(hosts));
    }
    for _ in 0..MEASURED.div_duration_f64(SLICE) as u32 {
        worlds.iter_mut().for_each(|world| world.run(world.now.after(SLICE)));
    }
    worlds.iter().try_for_each(said)?;
    table_line(&worlds, settled.into_iter().max().unwrap_or_default())
}

/// A cluster of so many hosts.
fn begin(hosts: usize, seed: u64) -> World {
    let mut world = World::new(config(hosts), seed, false);
    world.check.off = true;
    if hosts > FOUNDED {
        go_on(&mut world);
    }
    world
}

/// A cluster that was founded before: its daemons start, all at once, in lives that are admitted, beside their VMs.
fn go_on(world: &mut World) {
    let mut ledger = Ledger::default();
    let mut index = 1;
    let mut decide = |decision| {
        index += 1;
        assert_eq!(ledger.apply(index, &Entry { asked: None, decision }), Effect::Done);
    };
    let millis = |time: Duration| u32::try_from(time.as_millis()).expect("seconds");
    let Timing { watchdog, lease, .. } = Timing::DEFAULT;
    let proof = Proof::Watchdog { timeout_ms: millis(watchdog), lease_ms: millis(lease) };
    let life = |host: usize| Incarnation { start: 1, boot: world.hosts[host].boot << 8 | host as u64 };
    for (nth, host) in world.hosts.iter().enumerate() {
        let (name, machine) = (host.name.clone(), nth as u64 + 1);
        decide(Decision::Admit { host: host.id, name, incarnation: life(nth), machine, proof });
    }
    for (nth, group) in world.config.groups.iter().enumerate() {
        let (group, to, need) = (group.name.clone(), world.hosts[nth / GROUPS].id, NEED);
        decide(Decision::Assign { group, epoch: 0, to, incarnation: life(nth / GROUPS), need });
    }
    for (nth, group) in Arc::clone(&world.config).groups.iter().enumerate() {
        world.starts(nth / GROUPS, &group.vm, false);
    }
    world.preload(&ledger, index);
}

/// What the world found wrong, if anything: it turns without end, say.
fn said(world: &World) -> Result<(), String> {
    world.check.violation.clone().map_or(Ok(()), Err)
}

fn running(world: &World) -> usize {
    world.hosts.iter().map(|host| host.domains.values().filter(|domain| Domain::lives(domain)).count()).sum()
}

fn all_run(world: &World) -> bool {
    running(world) == world.config.groups.len()
}

fn table_line(worlds: &[World], settled: Duration) -> Result<String, String> {
    let (mut leaders, mut voters, mut members) = (Vec::new(), Vec::new(), Vec::new());
    for world in worlds {
        let costs = world.meter.as_ref().map(Meter::costs).unwrap_or_default();
        for (nth, host) in world.hosts.iter().enumerate() {
            let leads = host.daemon.as_ref().is_some_and(|daemon| daemon.engine.leader().is_some());
            let of = match (leads, world.config.hosts[nth].votes) {
                (true, _) => &mut leaders,
                (false, true) => &mut voters,
                (false, false) => &mut members,
            };
            of.push(costs[nth]);
        }
    }
    let leader = per_beat(&leaders).ok_or("nobody leads")?;
    let share = leader.0 / 1e4 / Timing::DEFAULT.beat.as_secs_f64();
    let hosts = worlds[0].hosts.len();
    let words = |cost: Option<(f64, f64)>| {
        cost.map_or_else(|| "-".to_owned(), |(micros, bytes)| format!("{micros:.0} µs, {bytes:.0} B"))
    };
    Ok(format!(
        "| {hosts} | {} | {} | {} | {} | {share:.2} % | {} |",
        if hosts > FOUNDED { "-".to_owned() } else { format!("{} s", settled.as_secs()) },
        words(Some(leader)),
        words(per_beat(&voters)),
        words(per_beat(&members)),
        words(per_beat(&[leaders, voters, members].concat()))
    ))
}

/// Engine time in microseconds, and bytes sent, of one host in one beat: the mean of these.
fn per_beat(costs: &[Cost]) -> Option<(f64, f64)> {
    let beats = MEASURED.as_secs_f64() / Timing::DEFAULT.beat.as_secs_f64() * costs.len() as f64;
    let micros = costs.iter().map(|cost| cost.engine.as_secs_f64() * 1e6).sum::<f64>();
    let bytes = costs.iter().map(|cost| cost.bytes as f64).sum::<f64>();
    (!costs.is_empty()).then(|| (micros / beats, bytes / beats))
}

/// A cluster of so many hosts, each with its groups.
fn config(hosts: usize) -> Config {
    let voters = if hosts < VOTERS { hosts.min(3) } else { VOTERS };
    let mut text = "[cluster]\nname = \"sim\"\n".to_owned();
    for nth in 0..hosts {
        let _ = writeln!(
            text,
            "[[host]]\nname = \"h{nth}\"\naddress = \"10.0.{}.{}\"\nwatchdog = \"/dev/watchdog\"\nvotes = {}",
            nth / 200,
            nth % 200 + 1,
            nth < voters
        );
    }
    for nth in 0..hosts * GROUPS {
        let on: Vec<String> =
            (0..ON.min(hosts)).map(|next| format!("\"h{}\"", (nth / GROUPS + next) % hosts)).collect();
        let _ = writeln!(
            text,
            "[[group]]\nname = \"g{nth}\"\nvm = \"v{nth}\"\napps = [\"site\"]\non = [{}]",
            on.join(", ")
        );
    }
    roost::config::parse(&text).expect("a good configuration")
}
