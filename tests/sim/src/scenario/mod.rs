//! Scenarios: a folder with a question, a cluster and a script of what goes wrong, played in the simulator's world and told.
//! `tests/scenarios/README.md` is for whoever writes one.

mod act;
mod action;
mod compare;
mod condition;
mod judge;
mod names;
mod play;
mod report;
mod script;
#[cfg(test)]
mod tests;
mod watch;

use compare::difference;
use names::Names;
use play::Play;
use report::Report;
use roost::config::{Config, Group};
use script::Script;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Bytes of one configuration file of a scenario, at most.
const MAX_CONFIG: u64 = 1024 * 1024;
/// Configuration files of one scenario, at most.
const MAX_FILES: usize = 16;
/// Machines of one scenario, at most: as many as the simulator plays otherwise.
const MAX_HOSTS: usize = 64;
/// Groups of one scenario, at most.
const MAX_GROUPS: usize = 500;
/// The configuration that all hosts begin with.
const FIRST: &str = "roost.toml";

/// What is wanted of scenarios.
#[derive(Clone, Debug)]
pub struct Options {
    pub folder: PathBuf,
    pub json: bool,
    pub trace: bool,
    pub bless: bool,
    /// So many seeds from this one, in place of the script's own.
    pub seeds: Option<(u64, u64)>,
}

/// A folder, read.
pub struct Scenario {
    pub name: String,
    folder: PathBuf,
    names: Names,
    script: Script,
    files: Vec<Arc<Config>>,
    union: Config,
}

impl Scenario {
    /// Reads a folder; all that is wrong with one file is told together.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let path = folder.canonicalize().map_err(|error| format!("'{}': {error}", folder.display()))?;
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let mut found = vec![FIRST.to_owned()];
        let entries = fs::read_dir(folder).map_err(|error| format!("'{}': {error}", folder.display()))?;
        let mut others: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.ends_with(".toml") && name != FIRST)
            .collect();
        others.sort();
        found.extend(others);
        if found.len() > MAX_FILES {
            return Err(format!("'{}' has more than {MAX_FILES} configuration files", folder.display()));
        }
        let mut files = Vec::new();
        for name in &found {
            files.push(Arc::new(configuration(&folder.join(name))?));
        }
        let union = union(&files);
        if union.hosts.len() > MAX_HOSTS || union.groups.len() > MAX_GROUPS {
            return Err(format!(
                "a scenario has at most {MAX_HOSTS} hosts and {MAX_GROUPS} groups: write fewer"
            ));
        }
        let mut names = Names::new(&union, found)?;
        let path = folder.join("script");
        let text = text(&path, script::MAX_SCRIPT as u64)?;
        let script = script::read(&text, &mut names).map_err(|mistakes| {
            let lines: Vec<String> =
                mistakes.iter().map(|mistake| format!("'{}', {mistake}", path.display())).collect();
            lines.join("\n")
        })?;
        Ok(Self { name, folder: folder.to_owned(), names, script, files, union })
    }

    /// Plays it.
    pub fn play(&self, seed: Option<u64>, trace: bool) -> Result<(Report, Vec<String>), String> {
        let seed = seed.unwrap_or(self.script.seed);
        let mut play = Play::new((&self.script, &self.names), self.union.clone(), &self.files, seed, trace);
        let played = play.run();
        let trace = play.world.trace.take().unwrap_or_default();
        match played {
            Ok(()) => Ok((Report::new(&self.name, seed, &play), trace)),
            Err(why) => {
                trace.iter().for_each(|line| println!("{line}"));
                Err(why)
            }
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.join("expected.log")
    }
}

fn text(path: &Path, limit: u64) -> Result<String, String> {
    let told = |error: std::io::Error| format!("'{}': {error}", path.display());
    let size = fs::metadata(path).map_err(told)?.len();
    if size > limit {
        return Err(format!("'{}' has {size} bytes, and {limit} are read: make it shorter", path.display()));
    }
    fs::read_to_string(path).map_err(told)
}

fn configuration(path: &Path) -> Result<Config, String> {
    let text = text(path, MAX_CONFIG)?;
    roost::config::parse(&text).map_err(|error| {
        let lines: Vec<String> =
            error.mistakes().iter().map(|mistake| format!("'{}', {mistake}", path.display())).collect();
        lines.join("\n")
    })
}

/// All machines and groups that any of the files names: the world has them from the beginning.
fn union(files: &[Arc<Config>]) -> Config {
    let mut union = Config::clone(&files[0]);
    for file in &files[1..] {
        for host in &file.hosts {
            if union.host_id(&host.name).is_none() {
                union.hosts.push(host.clone());
            }
        }
        for group in &file.groups {
            let known: Option<&mut Group> = union.groups.iter_mut().find(|known| known.name == group.name);
            match known {
                None => union.groups.push(group.clone()),
                Some(known) => {
                    let more = group.on.iter().filter(|host| !known.on.contains(host));
                    known.on = known.on.iter().chain(more).cloned().collect();
                }
            }
        }
    }
    union
}

/// Runs what is asked for: one folder, or each one in a folder of them.
pub fn run(options: &Options) -> ExitCode {
    let many = !options.folder.join("script").exists() && !options.folder.join(FIRST).exists();
    let folders = if many { folders(&options.folder) } else { Ok(vec![options.folder.clone()]) };
    let folders = match folders {
        Ok(folders) => folders,
        Err(why) => return refused(&why),
    };
    let mut worst = 0;
    for folder in &folders {
        worst = worst.max(match one(folder, options, many) {
            Ok(true) => 0,
            Ok(false) => 1,
            Err(why) => {
                eprintln!("roost-sim: {}", why.replace('\n', "\nroost-sim: "));
                2
            }
        });
    }
    ExitCode::from(worst)
}

fn refused(why: &str) -> ExitCode {
    eprintln!("roost-sim: {why}");
    ExitCode::from(2)
}

/// The scenarios in a folder.
pub fn folders(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("'{}': {error}", folder.display()))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("script").is_file())
        .collect();
    found.sort();
    if found.is_empty() {
        return Err(format!(
            "'{}' is no scenario and holds none: a scenario is a folder with the files 'roost.toml' and 'script'",
            folder.display()
        ));
    }
    Ok(found)
}

/// Plays one folder; whether all is as expected.
fn one(folder: &Path, options: &Options, many: bool) -> Result<bool, String> {
    let scenario = Scenario::read(folder)?;
    if let Some((first, count)) = options.seeds {
        return seeds(&scenario, first, count, options);
    }
    let (report, trace) =
        scenario.play(None, options.trace).map_err(|why| format!("{}: {why}", scenario.name))?;
    trace.iter().for_each(|line| println!("{line}"));
    let text = report.text();
    if options.json {
        println!("{}", serde_json::to_string(&report).map_err(|error| error.to_string())?);
    } else if many {
        println!("{}  {}", if report.held { "ok    " } else { "FAILED" }, scenario.name);
        if !report.held {
            print!("{text}");
        }
    } else {
        print!("{text}");
    }
    let log = scenario.log();
    if options.bless {
        fs::write(&log, &text).map_err(|error| format!("'{}': {error}", log.display()))?;
    } else if let Ok(expected) = fs::read_to_string(&log)
        && let Some(what) = difference(&expected, &text)
    {
        eprintln!("roost-sim: {} is not as in its expected.log: {what}", scenario.name);
    }
    Ok(report.held)
}

/// Plays it from many seeds.
fn seeds(scenario: &Scenario, first: u64, count: u64, options: &Options) -> Result<bool, String> {
    let mut bad = 0;
    for seed in first..first.saturating_add(count) {
        let (report, _) = scenario
            .play(Some(seed), false)
            .map_err(|why| format!("{}, seed {seed}: {why}", scenario.name))?;
        if options.json {
            println!("{}", serde_json::to_string(&report).map_err(|error| error.to_string())?);
        } else if !report.held {
            println!("{}", report.text());
        }
        bad += u64::from(!report.held);
    }
    if !options.json {
        println!("{}: {} of {count} seeds from {first} are as expected", scenario.name, count - bad);
    }
    Ok(bad == 0)
}
