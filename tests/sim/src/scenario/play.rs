//! Plays a script: does what it says when it says so, and looks after every step whether what is expected is so.

use super::condition::Condition;
use super::judge::Judge;
use super::names::Names;
use super::script::{Begin, Script, Setup, Span, Wants, When, show};
use super::watch::Watch;
use crate::world::World;
use crate::world::clock::{Clock, Time};
use core::time::Duration;
use roost::config::Config;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All machines boot, found their cluster and start their groups within so long, or it is told that they do not.
const SETTLES: Duration = Duration::from_secs(240);
/// All is well for so long before the script begins: no start is under way any more.
const QUIET: Duration = Duration::from_secs(5);

/// Whether one expectation held.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub line: usize,
    pub text: String,
    pub held: bool,
    pub at: Duration,
    /// What was so instead.
    pub found: String,
}

/// An expectation that is not decided yet.
struct Pending {
    line: usize,
    until: Time,
    /// It must hold until then; or once until then.
    throughout: bool,
}

/// What is being played.
pub struct Play<'a> {
    pub world: World,
    pub watch: Watch,
    pub names: &'a Names,
    pub script: &'a Script,
    pub files: &'a [Arc<Config>],
    pub aliases: BTreeMap<String, usize>,
    pub origin: Time,
    pub verdicts: Vec<Verdict>,
    /// What could not be done, by line.
    pub undone: Vec<(usize, String)>,
    pub cuts: BTreeSet<(usize, usize)>,
    pub quality: BTreeMap<(usize, usize), (u32, Duration)>,
    pub orders: u64,
    pub last_order: Option<u64>,
    pending: Vec<Pending>,
    /// Lines that wait for a condition.
    waiting: Vec<usize>,
    /// Lines that are due.
    due: BTreeMap<(Time, usize), ()>,
}

impl<'a> Play<'a> {
    /// A world for the script: `union` has all machines and groups that any of `files` names, of which the first is the one
    /// that they start with.
    pub fn new(
        (script, names): (&'a Script, &'a Names),
        union: Config,
        files: &'a [Arc<Config>],
        seed: u64,
        trace: bool,
    ) -> Self {
        let mut world = World::new(union, seed, trace);
        world.told = Some(Vec::new());
        for host in &mut world.hosts {
            host.file = files[0].clone();
        }
        let watch = Watch::new(&world, names);
        let mut play = Self {
            origin: world.now,
            world,
            watch,
            names,
            script,
            files,
            aliases: BTreeMap::new(),
            verdicts: Vec::new(),
            undone: Vec::new(),
            cuts: BTreeSet::new(),
            quality: BTreeMap::new(),
            orders: 0,
            last_order: None,
            pending: Vec::new(),
            waiting: Vec::new(),
            due: BTreeMap::new(),
        };
        play.set_up();
        play
    }

    fn set_up(&mut self) {
        for host in 0..self.world.hosts.len() {
            if !self.files[0].hosts.iter().any(|known| known.name == self.names.hosts[host]) {
                self.world.power_off(host); // another file will name it
            }
        }
        for setup in &self.script.setup {
            match *setup {
                Setup::HostMemory(host, mib) => self.world.hosts[host].memory = mib,
                Setup::HostCpus(host, cpus) => self.world.hosts[host].cpus = cpus,
                Setup::HostOff(host) => self.world.power_off(host),
                Setup::Clock(host, drift) => {
                    let it = &mut self.world.hosts[host];
                    it.drift = drift;
                    it.clock = Clock::new(self.world.now, 1_000_000_000, drift);
                }
                Setup::VmMemory(group, mib) => self.each_copy(group, |need| need.memory_mib = mib),
                Setup::VmCpus(group, cpus) => self.each_copy(group, |need| need.cpus = cpus),
            }
        }
    }

    fn each_copy(&mut self, group: usize, change: impl Fn(&mut roost_proto::cluster::Need)) {
        let vm = &self.names.groups[group].vm;
        let copies = self.world.hosts.iter_mut().filter_map(|host| host.domains.get_mut(vm));
        copies.for_each(|copy| change(&mut copy.nature.need));
    }

    /// Who judges now.
    pub fn judge(&self) -> Judge<'_> {
        Judge {
            world: &self.world,
            watch: &self.watch,
            names: self.names,
            aliases: &self.aliases,
            origin: self.origin,
            last_order: self.last_order,
        }
    }

    /// The script's time.
    pub fn time(&self) -> Duration {
        self.world.now.since(self.origin)
    }

    /// Plays all of it.
    pub fn run(&mut self) -> Result<(), String> {
        self.begin()?;
        for (nth, line) in self.script.lines.iter().enumerate() {
            match &line.when {
                When::At(at) => _ = self.due.insert((self.origin.after(*at), nth), ()),
                When::Once(..) => self.waiting.push(nth),
                When::End => {}
            }
        }
        let end = self.origin.after(self.script.end);
        while self.world.check.violation.is_none() {
            let due = self.due.first_key_value().map(|(key, ())| *key);
            match due {
                Some((at, nth)) if at <= self.world.now => {
                    self.due.pop_first();
                    self.want(nth);
                    self.watch.look(&mut self.world);
                    self.settle();
                }
                _ if self.world.now >= end => break,
                due => {
                    let deadline = self.pending.iter().map(|pending| pending.until).min();
                    let until = [due.map(|(at, _)| at), deadline, Some(end)].into_iter().flatten().min();
                    self.advance(until.unwrap_or(end));
                }
            }
        }
        self.finish();
        Ok(())
    }

    fn begin(&mut self) -> Result<(), String> {
        match self.script.begin {
            Begin::Cold => {}
            Begin::After(time) => self.advance(self.world.now.after(time)),
            Begin::Settled => {
                let limit = self.world.now.after(SETTLES);
                let mut well: Option<Time> = None;
                while well.is_none_or(|since| self.world.now.since(since) < QUIET) {
                    if self.world.check.violation.is_some() {
                        break;
                    }
                    if self.world.now >= limit {
                        let what = self.judge().all_well().err().unwrap_or_default();
                        return Err(format!(
                            "the cluster is not well {} s after all hosts got their power: {what}; if that is meant, write \
                             'begin after 60s' in the script",
                            SETTLES.as_secs()
                        ));
                    }
                    self.advance(self.world.now.after(Duration::from_millis(500)));
                    let now = self.world.now;
                    well = if self.judge().all_well().is_ok() { well.or(Some(now)) } else { None };
                }
            }
        }
        self.origin = self.world.now;
        self.world.say(|_| "--- the script begins".to_owned());
        Ok(())
    }

    /// The world goes on until then, or until something is violated.
    fn advance(&mut self, until: Time) {
        while self.world.check.violation.is_none() {
            let more = self.world.step(until);
            self.watch.look(&mut self.world);
            self.settle();
            if !more || self.due.first_key_value().is_some_and(|((at, _), ())| *at <= self.world.now) {
                return;
            }
        }
    }

    /// Decides what can be decided now.
    fn settle(&mut self) {
        let mut decided = Vec::new();
        for (nth, pending) in self.pending.iter().enumerate() {
            let Wants::Expect(condition, _) = &self.script.lines[pending.line].wants else { continue };
            let holds = self.judge().holds(condition);
            let over = self.world.now >= pending.until;
            let held = match (&holds, pending.throughout) {
                (Ok(true), false) => true,
                (Ok(true), true) if over => true,
                (Ok(false) | Err(_), true) => false,
                (Ok(false) | Err(_), false) if over => false,
                _ => continue,
            };
            decided.push((nth, held));
        }
        for (nth, held) in decided.into_iter().rev() {
            let pending = self.pending.remove(nth);
            self.decide(pending.line, held);
        }
        let fire: Vec<usize> = self.waiting.iter().copied().filter(|nth| self.fires(*nth)).collect();
        for nth in fire {
            self.waiting.retain(|waiting| *waiting != nth);
            let When::Once(_, after, _) = &self.script.lines[nth].when else { continue };
            self.due.insert((self.world.now.after(*after), nth), ());
        }
    }

    fn fires(&self, nth: usize) -> bool {
        let When::Once(condition, _, from) = &self.script.lines[nth].when else { return false };
        self.time() >= *from && self.judge().holds(condition) == Ok(true)
    }

    /// Does what a line wants.
    fn want(&mut self, nth: usize) {
        let line = &self.script.lines[nth];
        match &line.wants {
            Wants::Do(action) => {
                self.world.say(|_| format!("--- line {}: {}", line.number, line.text));
                if let Err(why) = self.act(action) {
                    self.undone.push((line.number, format!("{}: {why}", line.text)));
                }
            }
            Wants::Expect(condition, Span::Then) => {
                let held = self.judge().holds(condition) == Ok(true);
                self.decide(nth, held);
            }
            Wants::Expect(_, Span::Within(span)) => {
                self.pending.push(Pending {
                    line: nth,
                    until: self.world.now.after(*span),
                    throughout: false,
                });
            }
            Wants::Expect(_, Span::For(span)) => {
                self.pending.push(Pending {
                    line: nth,
                    until: self.world.now.after(*span),
                    throughout: true,
                });
            }
        }
    }

    fn decide(&mut self, nth: usize, held: bool) {
        let line = &self.script.lines[nth];
        let Wants::Expect(condition, _) = &line.wants else { return };
        let found = if held { String::new() } else { self.found(condition) };
        let at = self.time();
        if !held {
            self.world.say(|_| format!("--- line {} does not hold: {}: {found}", line.number, line.text));
        }
        self.verdicts.push(Verdict { line: line.number, text: line.text.clone(), held, at, found });
    }

    fn found(&self, condition: &Condition) -> String {
        let judge = self.judge();
        match judge.holds(condition) {
            Err(why) => why,
            Ok(_) => judge.found(condition),
        }
    }

    /// The end: what is expected of it, and what never came.
    fn finish(&mut self) {
        let violated = self.world.check.violation.is_some();
        for pending in core::mem::take(&mut self.pending) {
            self.decide(pending.line, pending.throughout && !violated);
        }
        let at_end = |line: &super::script::Line| line.when == When::End;
        for nth in (0..self.script.lines.len()).filter(|nth| at_end(&self.script.lines[*nth])) {
            self.want(nth);
        }
        for nth in core::mem::take(&mut self.waiting) {
            let line = &self.script.lines[nth];
            self.undone.push((line.number, format!("{}: it never was so", line.text)));
        }
        for ((at, nth), ()) in core::mem::take(&mut self.due) {
            let line = &self.script.lines[nth];
            let when = show(at.since(self.origin));
            self.undone.push((line.number, format!("{}: it was over before {when}", line.text)));
        }
        self.verdicts.sort_by_key(|verdict| verdict.line);
        self.undone.sort();
    }
}
