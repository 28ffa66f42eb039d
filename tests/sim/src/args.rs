//! What is asked for on the command line.

use crate::schedule::Shape;

/// `--help`.
pub const HELP: &str = "\
roost-sim runs Roost's engine in a simulated world of hosts that fail, and checks what must always hold.

Usage: roost-sim [OPTIONS]

  --seeds N     how many worlds, each from its own seed [100]
  --first S     the first seed [1]
  --hosts H     so many hosts in each [what the seed says]
  --groups G    so many groups in each [what the seed says]
  --jobs N      so many at once [the processors]
  --lines N     lines of the trace that are shown of a violation [200]
  --growth      measure what each host costs in clusters of 3 to 1,000 hosts with 20 groups each, or of --hosts, and
                check nothing
  --replay S    run the world of one seed again, and print all of it
  --help        print this

Exit status: 0 nothing violated, 1 violated, 2 usage.
";

/// What is to be done.
pub enum Wish {
    Run(Args),
    /// Measure clusters of so many hosts, or of several sizes.
    Growth(Option<usize>),
    Help,
}

/// Options.
pub struct Args {
    pub seeds: u64,
    pub first: u64,
    pub hosts: Option<usize>,
    pub groups: Option<usize>,
    pub jobs: usize,
    pub lines: usize,
    pub replay: Option<u64>,
}

impl Args {
    /// What the command line says of each world.
    pub const fn shape(&self) -> Shape {
        Shape { hosts: self.hosts, groups: self.groups }
    }

    /// The same, as it is written.
    pub fn shape_words(&self) -> String {
        let hosts = self.hosts.map(|n| format!(" --hosts {n}")).unwrap_or_default();
        let groups = self.groups.map(|n| format!(" --groups {n}")).unwrap_or_default();
        format!("{hosts}{groups}")
    }
}

/// Reads the command line.
pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Wish, String> {
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut args = Args { seeds: 100, first: 1, hosts: None, groups: None, jobs, lines: 200, replay: None };
    let mut growth = false;
    while let Some(flag) = words.next() {
        if flag == "--help" {
            return Ok(Wish::Help);
        }
        if flag == "--growth" {
            growth = true;
            continue;
        }
        let value = words.next().ok_or(format!("'{flag}' needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("'{flag}' is '{value}', no whole number"));
        let count = || number().map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        match flag.as_str() {
            "--seeds" => args.seeds = number()?,
            "--first" => args.first = number()?,
            "--hosts" => args.hosts = Some(count()?.max(1)),
            "--groups" => args.groups = Some(count()?),
            "--jobs" => args.jobs = count()?.max(1),
            "--lines" => args.lines = count()?,
            "--replay" => args.replay = Some(number()?),
            other => return Err(format!("unknown argument '{other}'")),
        }
    }
    if growth {
        return Ok(Wish::Growth(args.hosts));
    }
    Ok(Wish::Run(args))
}
