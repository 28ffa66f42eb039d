//! The simulator's command line; see tests/sim/README.md.

mod args;
mod growth;
mod random;
mod scenario;
mod schedule;
mod world;

use args::{Args, Wish};
use schedule::Outcome;
use std::cell::Cell;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

thread_local! {
    /// The seed that this thread plays, for a panic to name.
    static SEED: Cell<u64> = const { Cell::new(0) };
}

fn main() -> ExitCode {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        eprintln!("seed {} panics:", SEED.get());
        usual(panic);
    }));
    let args = match args::parse(std::env::args().skip(1)) {
        Ok(Wish::Run(args)) => args,
        Ok(Wish::Growth(hosts)) => return growth::measure(hosts),
        Ok(Wish::Help) => {
            print!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("roost-sim: {error}; try 'roost-sim --help'");
            return ExitCode::from(2);
        }
    };
    if let Some(scenario) = args.scenario() {
        return scenario::run(&scenario);
    }
    if let Some(seed) = args.replay {
        return replay(&args, seed);
    }
    seeds(&args)
}

/// Runs one seed again, and prints all of it.
fn replay(args: &Args, seed: u64) -> ExitCode {
    SEED.set(seed);
    let outcome = schedule::run(args.shape(), seed, true);
    for line in &outcome.trace {
        println!("{line}");
    }
    verdict(seed, &outcome)
}

fn verdict(seed: u64, outcome: &Outcome) -> ExitCode {
    match &outcome.violation {
        Some(what) => {
            println!("seed {seed}, step {}: {what}", outcome.steps);
            ExitCode::FAILURE
        }
        None => {
            println!(
                "seed {seed}: {} steps, {} s, nothing violated",
                outcome.steps,
                outcome.simulated.as_secs()
            );
            ExitCode::SUCCESS
        }
    }
}

/// Runs many seeds, on all processors.
fn seeds(args: &Args) -> ExitCode {
    let next = AtomicU64::new(args.first);
    let end = args.first + args.seeds;
    let bad = AtomicU64::new(u64::MAX);
    let begun = Instant::now();
    let run = || {
        let (mut hours, mut steps) = (0.0, 0_u64);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end || seed > bad.load(Ordering::Relaxed) {
                return (hours, steps);
            }
            SEED.set(seed);
            let outcome = schedule::run(args.shape(), seed, false);
            hours += outcome.simulated.as_secs_f64() / 3600.0;
            steps += outcome.steps;
            if outcome.violation.is_some() {
                bad.fetch_min(seed, Ordering::Relaxed);
            }
        }
    };
    let done: Vec<(f64, u64)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..args.jobs).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a seed that panics prints why")).collect()
    });
    let (hours, steps) = done.iter().fold((0.0, 0), |(h, s), (hours, n)| (h + hours, s + n));
    let took = begun.elapsed().as_secs_f64();
    let bad = bad.into_inner();
    if bad < u64::MAX {
        let outcome = schedule::run(args.shape(), bad, true);
        let from = outcome.trace.len().saturating_sub(args.lines);
        for line in &outcome.trace[from..] {
            println!("{line}");
        }
        println!("all of it: roost-sim --replay {bad}{}", args.shape_words());
        return verdict(bad, &outcome);
    }
    println!(
        "{} seeds from {}, {steps} steps, {hours:.1} cluster-hours in {took:.1} s: nothing violated",
        args.seeds, args.first
    );
    ExitCode::SUCCESS
}
