//! All that the lab saw and did, in the order of one clock: the one outside of its hosts.

use std::fmt;
use std::io::Write;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A moment: the time since the lab began.
pub type Moment = Duration;

/// Something that was seen or done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A scenario begins.
    Scenario(String),
    /// It ended, well or with what was wrong.
    Ended(Result<(), String>),
    /// The lab did this.
    Deed(String),
    /// A machine has power, or lost it.
    Power { host: String, on: bool },
    /// `roostd` said so.
    Event { host: String, level: String, kind: String, group: Option<String>, text: String },
    /// A VM or service began to run on a host, or stands still, by the processes there.
    Runs { group: String, host: String, runs: bool },
    /// A guest of a new boot writes to its disk, or none does any more.
    Beats { group: String, boot: Option<String> },
    /// A service answers its client, from there, or does not any more.
    Answers { service: String, from: Option<String> },
    /// What must never be.
    Wrong(String),
    /// Something measured, and what it may be at most.
    Figure { what: String, is: Duration, most: Option<Duration> },
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scenario(title) => write!(f, "--- {title}"),
            Self::Ended(Ok(())) => f.write_str("    as it should be"),
            Self::Ended(Err(why)) => write!(f, "    FAILED: {why}"),
            Self::Deed(what) => write!(f, "  * {what}"),
            Self::Power { host, on } => {
                write!(f, "    {host} {}", if *on { "has power" } else { "has no power" })
            }
            Self::Event { host, level, group, text, .. } => {
                let group = group.as_ref().map(|group| format!("{group}: ")).unwrap_or_default();
                let level = if level == "info" { String::new() } else { format!("{level}: ") };
                write!(f, "    {host} says: {level}{group}{text}")
            }
            Self::Runs { group, host, runs } => {
                write!(f, "    {group} {} on {host}", if *runs { "runs" } else { "stands still" })
            }
            Self::Beats { group, boot: Some(boot) } => {
                write!(f, "    {group} writes to its disk, boot {boot}")
            }
            Self::Beats { group, boot: None } => write!(f, "    {group} writes no more"),
            Self::Answers { service, from: Some(from) } => write!(f, "    {service} answers, from {from}"),
            Self::Answers { service, from: None } => write!(f, "    {service} does not answer"),
            Self::Wrong(what) => write!(f, "!!! {what}"),
            Self::Figure { what, is, most } => {
                write!(f, "  = {what}: {:.2} s", is.as_secs_f64())?;
                most.map_or(Ok(()), |most| write!(f, " (at most {:.1} s)", most.as_secs_f64()))
            }
        }
    }
}

/// The record. Everybody writes to it, and waits for what others write.
pub struct Record {
    begun: Instant,
    facts: Mutex<Vec<(Moment, Fact)>>,
    grown: Condvar,
}

impl Record {
    /// An empty one, whose clock begins now.
    pub fn new() -> Self {
        Self { begun: Instant::now(), facts: Mutex::new(Vec::new()), grown: Condvar::new() }
    }

    /// Now.
    pub fn now(&self) -> Moment {
        self.begun.elapsed()
    }

    fn facts(&self) -> MutexGuard<'_, Vec<(Moment, Fact)>> {
        self.facts.lock().expect("nobody panics while writing a line")
    }

    /// Writes it down, and tells who looks on.
    pub fn note(&self, fact: Fact) -> Moment {
        let mut facts = self.facts();
        let now = self.begun.elapsed();
        let _ = writeln!(std::io::stdout(), "{:8.2} s  {fact}", now.as_secs_f64()); // nobody may look on
        facts.push((now, fact));
        drop(facts);
        self.grown.notify_all();
        now
    }

    /// All of it from a moment on.
    pub fn since(&self, from: Moment) -> Vec<(Moment, Fact)> {
        let facts = self.facts();
        facts[facts.partition_point(|(at, _)| *at < from)..].to_vec()
    }

    /// What `wanted` makes of the newest fact that it selects.
    pub fn newest<T>(&self, wanted: impl Fn(&Fact) -> Option<T>) -> Option<T> {
        self.facts().iter().rev().find_map(|(_, fact)| wanted(fact))
    }

    /// Waits until something that `wanted` selects was seen at `from` or later, and says when it was, and what it made of it.
    /// None when that is not so after `bound`.
    pub fn wait<T>(
        &self,
        from: Moment,
        bound: Duration,
        wanted: impl Fn(&Fact) -> Option<T>,
    ) -> Option<(Moment, T)> {
        let end = Instant::now() + bound;
        let mut facts = self.facts();
        let mut next = facts.partition_point(|(at, _)| *at < from);
        loop {
            while let Some((at, fact)) = facts.get(next) {
                if let Some(made) = wanted(fact) {
                    return Some((*at, made));
                }
                next += 1;
            }
            let left = end.checked_duration_since(Instant::now())?;
            facts = self.grown.wait_timeout(facts, left).expect("nobody panics while writing a line").0;
        }
    }

    /// What was seen that must never be.
    pub fn wrongs(&self, from: Moment) -> Vec<String> {
        let wrong = |(_, fact)| if let Fact::Wrong(what) = fact { Some(what) } else { None };
        self.since(from).into_iter().filter_map(wrong).collect()
    }
}
