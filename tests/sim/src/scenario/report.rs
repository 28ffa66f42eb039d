//! How a scenario ended: for people, and as JSON. `tests/scenarios/README.md` says what the keys mean.

use super::condition::By;
use super::names::Names;
use super::play::Play;
use super::watch::{self, leader, newest};
use crate::world::clock::Time;
use core::fmt::Write;
use roost_proto::control::Intent;
use serde::Serialize;

/// The whole outcome.
#[derive(Debug, Serialize)]
pub struct Report {
    pub scenario: String,
    pub seed: u64,
    /// Whether every expectation held, everything was done, and nothing was violated.
    pub held: bool,
    pub ended_ms: u64,
    /// What must always hold and did not.
    pub violation: Option<String>,
    pub hosts: Vec<Host>,
    pub fencings: Vec<Fencing>,
    pub groups: Vec<Group>,
    pub expectations: Vec<Expectation>,
    /// What could not be done, or never came.
    pub undone: Vec<Undone>,
}

#[derive(Debug, Serialize)]
pub struct Host {
    pub name: String,
    /// `in`, `out`, `evicted`, `maintenance`, `quarantined` or `unknown`.
    pub state: &'static str,
    pub leads: bool,
    pub power: bool,
    /// `running`, `stopped`, `frozen` or `none`.
    pub daemon: &'static str,
}

#[derive(Debug, Serialize)]
pub struct Fencing {
    pub host: String,
    pub evicted_ms: u64,
    pub fenced_ms: Option<u64>,
    /// `agent`, `time`, `itself` or `operator`.
    pub by: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub struct Group {
    pub name: String,
    pub vm: String,
    /// `online` or `offline`.
    pub wanted: &'static str,
    pub owner: Option<String>,
    /// Of an application that is in a VM: the VM's group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside: Option<String>,
    pub state: &'static str,
    pub reason: String,
    pub started: usize,
    pub runs: Vec<Run>,
}

#[derive(Debug, Serialize)]
pub struct Run {
    pub host: String,
    /// Of an application that ran in a VM: the VM's group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside: Option<String>,
    /// 0 if it ran before the script began.
    pub from_ms: u64,
    pub to_ms: Option<u64>,
    /// `paused`, `frozen`, `power`, `shutdown`, `destroyed`, `crashed`, `killed` or `other`.
    pub end: Option<&'static str>,
    #[serde(skip)]
    before: bool,
}

#[derive(Debug, Serialize)]
pub struct Expectation {
    pub line: usize,
    pub text: String,
    pub held: bool,
    pub at_ms: u64,
    /// What was so instead, if it did not hold.
    pub found: String,
}

#[derive(Debug, Serialize)]
pub struct Undone {
    pub line: usize,
    pub text: String,
}

const fn by(by: By) -> &'static str {
    match by {
        By::Agent => "agent",
        By::Time => "time",
        By::Itself => "itself",
        By::Operator => "operator",
    }
}

impl Report {
    /// What a play came to.
    pub fn new(name: &str, seed: u64, play: &Play<'_>) -> Self {
        let violation = play.world.check.violation.clone();
        let held = violation.is_none() && play.undone.is_empty() && play.verdicts.iter().all(|v| v.held);
        Self {
            scenario: name.to_owned(),
            seed,
            held,
            ended_ms: ms(play, play.world.now),
            violation,
            hosts: (0..play.names.hosts.len()).map(|nth| host(play, nth)).collect(),
            fencings: fencings(play),
            groups: (0..play.names.groups.len()).map(|nth| group(play, nth)).collect(),
            expectations: play
                .verdicts
                .iter()
                .map(|verdict| Expectation {
                    line: verdict.line,
                    text: verdict.text.clone(),
                    held: verdict.held,
                    at_ms: u64::try_from(verdict.at.as_millis()).unwrap_or(u64::MAX),
                    found: verdict.found.clone(),
                })
                .collect(),
            undone: play
                .undone
                .iter()
                .map(|(line, text)| Undone { line: *line, text: text.clone() })
                .collect(),
        }
    }

    /// The same for people: also what `expected.log` holds.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{}: {} hosts, {} groups, seed {}, ended at {}",
            self.scenario,
            self.hosts.len(),
            self.groups.len(),
            self.seed,
            seconds(self.ended_ms)
        );
        out += "\nhosts\n";
        let width = self.hosts.iter().map(|host| host.name.len()).max().unwrap_or(0);
        for host in &self.hosts {
            let also = match (host.power, host.daemon) {
                (false, _) => ", no power",
                (_, "none") => ", no daemon",
                (_, "watched") => ", watched",
                (_, "frozen") => ", frozen",
                (_, "stopped") => ", its daemon stands still",
                _ if host.leads => ", leads",
                _ => "",
            };
            let _ = writeln!(out, "  {:width$}  {}{also}", host.name, host.state);
        }
        out += "\nfenced\n";
        if self.fencings.is_empty() {
            out += "  nobody\n";
        }
        for fencing in &self.fencings {
            let then = match (fencing.fenced_ms, fencing.by) {
                (None, _) => "not fenced".to_owned(),
                (Some(at), Some(by)) => format!("fenced at {} by {by}", seconds(at)),
                (Some(at), None) => format!("fenced at {}", seconds(at)),
            };
            let _ = writeln!(
                out,
                "  {:width$}  evicted at {}, {then}",
                fencing.host,
                seconds(fencing.evicted_ms)
            );
        }
        out += "\ngroups\n";
        for group in &self.groups {
            let whose = group.owner.as_ref().map_or("nobody's".to_owned(), |owner| format!("{owner}'s"));
            let whose = group.inside.as_ref().map_or(whose.clone(), |vm| format!("{whose} in {vm}"));
            let reason = if group.reason.is_empty() { String::new() } else { format!(" ({})", group.reason) };
            let _ = writeln!(
                out,
                "  {}: {}{reason}; wanted {}, {whose}, started {} times",
                group.name, group.state, group.wanted, group.started
            );
            for run in &group.runs {
                let from = if run.before { "before".to_owned() } else { seconds(run.from_ms) };
                let to = match (run.to_ms, run.end) {
                    (Some(to), Some(end)) => format!("{} {end}", seconds(to)),
                    _ => "end".to_owned(),
                };
                let inside = run.inside.as_ref().map_or_else(String::new, |vm| format!(", in {vm}"));
                let _ = writeln!(out, "    {:width$}  {from} - {to}{inside}", run.host);
            }
        }
        self.judgement(&mut out);
        out
    }

    fn judgement(&self, out: &mut String) {
        *out += "\nexpected\n";
        if self.expectations.is_empty() {
            *out += "  nothing\n";
        }
        for it in &self.expectations {
            let (word, found) =
                if it.held { ("held  ", String::new()) } else { ("FAILED", format!(": {}", it.found)) };
            let _ = writeln!(out, "  {word}  line {}, {}: {}{found}", it.line, seconds(it.at_ms), it.text);
        }
        for it in &self.undone {
            let _ = writeln!(out, "  NOT DONE  line {}: {}", it.line, it.text);
        }
        if let Some(what) = &self.violation {
            let _ = writeln!(out, "\nVIOLATED at {}: {what}", seconds(self.ended_ms));
        }
        let bad = self.expectations.iter().filter(|it| !it.held).count() + self.undone.len();
        let _ = match (self.held, bad) {
            (true, _) => writeln!(out, "\nresult: all is as expected, and nothing was violated"),
            (false, 0) => writeln!(out, "\nresult: what must always hold was violated"),
            (false, n) => writeln!(out, "\nresult: {n} lines are not as expected"),
        };
    }
}

/// A time as it is told.
fn seconds(ms: u64) -> String {
    format!("{}.{}s", ms / 1000, ms % 1000 / 100)
}

/// The script's time.
fn ms(play: &Play<'_>, at: Time) -> u64 {
    u64::try_from(at.since(play.origin).as_millis()).unwrap_or(u64::MAX)
}

fn host(play: &Play<'_>, nth: usize) -> Host {
    let it = &play.world.hosts[nth];
    let daemon = match &it.daemon {
        None if it.is_watched => "watched",
        None => "none",
        Some(_) if it.frozen => "frozen",
        Some(_) if it.stopped => "stopped",
        Some(_) => "running",
    };
    Host {
        name: it.name.clone(),
        state: watch::standing(&play.world, nth),
        leads: leader(&play.world) == Some(nth),
        power: it.powered,
        daemon,
    }
}

fn fencings(play: &Play<'_>) -> Vec<Fencing> {
    let evictions = play.watch.evictions.iter();
    evictions
        .filter(|eviction| eviction.fenced.is_none_or(|(at, _)| at >= play.origin))
        .map(|eviction| Fencing {
            host: play.names.hosts[eviction.host].clone(),
            evicted_ms: ms(play, eviction.at),
            fenced_ms: eviction.fenced.map(|(at, _)| ms(play, at)),
            by: eviction.fenced.and_then(|(_, how)| how).map(by),
        })
        .collect()
}

fn group(play: &Play<'_>, nth: usize) -> Group {
    let judge = play.judge();
    let names: &Names = play.names;
    let (state, reason) = judge.state(nth);
    let wanted = newest(&play.world).map(|ledger| ledger.group(&names.groups[nth].name).intent);
    let ran = play.watch.ran.iter().filter(|ran| ran.group == nth);
    let runs = ran.filter(|ran| ran.to.is_none_or(|(to, _)| to > play.origin)).map(|ran| Run {
        host: names.hosts[ran.host].clone(),
        inside: ran.inside.clone(),
        from_ms: ms(play, ran.from),
        to_ms: ran.to.map(|(to, _)| ms(play, to)),
        end: ran.to.map(|(_, end)| end.word()),
        before: ran.from < play.origin,
    });
    let started = |(at, of, mark): &&(Time, usize, watch::Mark)| {
        *of == nth && *at >= play.origin && *mark == watch::Mark::Started
    };
    Group {
        name: names.groups[nth].name.clone(),
        vm: names.groups[nth].vm.clone(),
        wanted: if wanted == Some(Intent::Offline) { "offline" } else { "online" },
        owner: judge.owner(nth).map(|host| names.hosts[host].clone()),
        inside: newest(&play.world).and_then(|l| l.inside(&names.groups[nth].name)).map(str::to_owned),
        state,
        reason,
        started: play.watch.marks.iter().filter(started).count(),
        runs: runs.collect(),
    }
}
