//! What is asked for on the command line.

use crate::scenario::Options;
use crate::schedule::Shape;
use std::path::PathBuf;

/// `--help`.
pub const HELP: &str = "\
roost-sim runs Roost's engine in a simulated world of hosts that fail, and checks what must always hold.

Usage: roost-sim [OPTIONS]

  --seeds N     how many worlds, each from its own seed [100]
  --first S     the first seed [1]
  --hosts H     so many hosts in each [what the seed says]
  --groups G    so many groups in each [what the seed says]
  --apps        with applications on physical hosts, and standby VMs for them, in each [in every second one, where neither
                --hosts nor --groups is said]
  --jobs N      so many at once [the processors]
  --lines N     lines of the trace that are shown of a violation [200]
  --growth      measure what each host costs in clusters of 3 to 1,000 hosts with 20 groups each, or of --hosts, and
                check nothing
  --replay S    run the world of one seed again, and print all of it
  --scenario D  play the scenario in this folder, or each one in a folder of them; see tests/scenarios/README.md
  --json        of a scenario: tell the outcome as JSON
  --trace       of a scenario: print all that happens
  --bless       of a scenario: write its expected.log anew
  --help        print this

With --scenario, --seeds and --first play it from these seeds in place of its own, and tell only what is not as expected.

Exit status: 0 nothing violated and all as expected, 1 not so, 2 usage, or a scenario that cannot be read.
";

/// What is to be done.
pub enum Wish {
    Run(Args),
    /// Measure clusters of so many hosts, or of several sizes.
    Growth(Option<usize>),
    Help,
}

/// Options.
#[derive(Default)]
pub struct Args {
    pub seeds: u64,
    pub first: u64,
    pub hosts: Option<usize>,
    pub groups: Option<usize>,
    pub apps: bool,
    pub jobs: usize,
    pub lines: usize,
    pub replay: Option<u64>,
    scenario: Option<PathBuf>,
    json: bool,
    trace: bool,
    bless: bool,
    /// `--seeds` was given.
    many: bool,
}

impl Args {
    /// What the command line says of each world.
    pub const fn shape(&self) -> Shape {
        Shape { hosts: self.hosts, groups: self.groups, apps: self.apps }
    }

    /// What is wanted of scenarios, if anything.
    pub fn scenario(&self) -> Option<Options> {
        let folder = self.scenario.clone()?;
        let seeds = self.many.then_some((self.first, self.seeds));
        Some(Options { folder, json: self.json, trace: self.trace, bless: self.bless, seeds })
    }

    /// The same, as it is written.
    pub fn shape_words(&self) -> String {
        let hosts = self.hosts.map(|n| format!(" --hosts {n}")).unwrap_or_default();
        let groups = self.groups.map(|n| format!(" --groups {n}")).unwrap_or_default();
        let apps = if self.apps { " --apps" } else { "" };
        format!("{hosts}{groups}{apps}")
    }
}

/// Reads the command line.
pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Wish, String> {
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut args =
        Args { seeds: 100, first: 1, hosts: None, groups: None, jobs, lines: 200, ..Args::default() };
    let mut growth = false;
    while let Some(flag) = words.next() {
        if flag == "--help" {
            return Ok(Wish::Help);
        }
        match flag.as_str() {
            "--growth" => growth = true,
            "--apps" => args.apps = true,
            "--json" => args.json = true,
            "--trace" => args.trace = true,
            "--bless" => args.bless = true,
            _ => valued(&mut args, &flag, words.next())?,
        }
    }
    if growth {
        return Ok(Wish::Growth(args.hosts));
    }
    if args.scenario.is_none() && (args.json || args.trace || args.bless) {
        return Err("'--json', '--trace' and '--bless' go with '--scenario DIR'".to_owned());
    }
    if args.many && (args.trace || args.bless) {
        return Err(
            "'--trace' and '--bless' are for the scenario's own seed: leave out '--seeds' and '--first'"
                .to_owned(),
        );
    }
    Ok(Wish::Run(args))
}

/// Takes a flag with its value.
fn valued(args: &mut Args, flag: &str, value: Option<String>) -> Result<(), String> {
    let value = value.ok_or(format!("'{flag}' needs a value"))?;
    let number = || value.parse::<u64>().map_err(|_| format!("'{flag}' is '{value}', no whole number"));
    let count = || number().map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    match flag {
        "--seeds" | "--first" => {
            args.many = true;
            *(if flag == "--seeds" { &mut args.seeds } else { &mut args.first }) = number()?;
        }
        "--scenario" => args.scenario = Some(PathBuf::from(&value)),
        "--hosts" => args.hosts = Some(count()?.max(1)),
        "--groups" => args.groups = Some(count()?),
        "--jobs" => args.jobs = count()?.max(1),
        "--lines" => args.lines = count()?,
        "--replay" => args.replay = Some(number()?),
        other => return Err(format!("unknown argument '{other}'")),
    }
    Ok(())
}
