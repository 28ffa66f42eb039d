//! A script, line by line: what goes wrong, when, and what is expected. `tests/scenarios/README.md` is its manual.

use super::action::{self, Action};
use super::condition::{self, Condition};
use super::names::{Names, Who};
use core::time::Duration;
use roost::config::Mistake;

/// Bytes of a script, at most; a person reads it whole.
pub const MAX_SCRIPT: usize = 64 * 1024;
/// Lines of a script, at most.
const MAX_LINES: usize = 1000;
/// The latest time in a script: a run takes seconds, and its log is read whole.
const MAX_TIME: Duration = Duration::from_secs(24 * 3600);
/// So long after the last thing in the script it ends, if it does not say when.
const GOES_ON: Duration = Duration::from_secs(20);
/// The most memory of a host or VM, in MiB: 16 TiB.
const MAX_MEMORY: u32 = 16 * 1024 * 1024;
/// The most processors of a host or VM.
const MAX_CPUS: u16 = 4096;
/// The most that a clock may be off, in parts in a million: what the design counts on.
const MAX_DRIFT: i64 = 5000;

/// When the script's time begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// All hosts are in the cluster, and all groups are well.
    Settled,
    /// All hosts get their power for the first time.
    Cold,
    /// So long after they got it.
    After(Duration),
}

/// What is so before anything runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setup {
    HostMemory(usize, u32),
    HostCpus(usize, u16),
    HostOff(usize),
    Clock(usize, i64),
    VmMemory(usize, u32),
    VmCpus(usize, u16),
}

/// When something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    At(Duration),
    End,
    /// So long after it was first so, from this moment on.
    Once(Condition, Duration, Duration),
}

/// For how long something is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    Then,
    Within(Duration),
    For(Duration),
}

/// What a line wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wants {
    Do(Action),
    Expect(Condition, Span),
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub number: usize,
    /// As it was written, without comment.
    pub text: String,
    pub when: When,
    pub wants: Wants,
}

/// The whole script.
#[derive(Clone, Debug)]
pub struct Script {
    pub seed: u64,
    pub begin: Begin,
    pub setup: Vec<Setup>,
    pub lines: Vec<Line>,
    pub end: Duration,
}

/// What is being read.
struct Reader<'a> {
    names: &'a mut Names,
    script: Script,
    /// The time of the line before.
    now: When,
    end: Option<Duration>,
    timed: bool,
}

/// Reads a script; all mistakes are told together.
pub fn read(text: &str, names: &mut Names) -> Result<Script, Vec<Mistake>> {
    let whole = |message: String| vec![Mistake { line: 1, message }];
    if text.len() > MAX_SCRIPT {
        return Err(whole(format!(
            "the script has {} bytes, and {MAX_SCRIPT} are read: make it shorter",
            text.len()
        )));
    }
    if text.lines().count() > MAX_LINES {
        return Err(whole(format!("the script has more than {MAX_LINES} lines: make it shorter")));
    }
    let script =
        Script { seed: 1, begin: Begin::Settled, setup: Vec::new(), lines: Vec::new(), end: Duration::ZERO };
    let mut reader = Reader { names, script, now: When::At(Duration::ZERO), end: None, timed: false };
    let mut mistakes = Vec::new();
    for (nth, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
        if let Err(message) = reader.line(nth + 1, line) {
            mistakes.push(Mistake { line: nth + 1, message });
        }
    }
    let last = reader.script.lines.iter().map(last).max().unwrap_or_default();
    let end = reader.end.unwrap_or(last + GOES_ON);
    if end < last {
        let end = show(end);
        let message = format!(
            "the script ends at {end}, and its last line needs until {}: write 'end {}'",
            show(last),
            show(last)
        );
        let line =
            reader.script.lines.iter().max_by_key(|line| self::last(line)).map_or(1, |line| line.number);
        mistakes.push(Mistake { line, message });
    }
    reader.script.end = end;
    if mistakes.is_empty() { Ok(reader.script) } else { Err(mistakes) }
}

/// Until when a line needs the script to go on.
fn last(line: &Line) -> Duration {
    let from = match &line.when {
        When::At(at) => *at,
        When::End | When::Once(..) => Duration::ZERO,
    };
    match line.wants {
        Wants::Expect(_, Span::Within(span) | Span::For(span)) => from + span,
        Wants::Expect(_, Span::Then) | Wants::Do(_) => from,
    }
}

impl Reader<'_> {
    fn line(&mut self, number: usize, text: &str) -> Result<(), String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        if self.general(&words)? {
            return Ok(());
        }
        if let Some(setup) = self.setup(&words)? {
            if self.timed {
                return Err("this is so from the beginning: write it above all lines with a time".to_owned());
            }
            self.script.setup.push(setup);
            return Ok(());
        }
        let (when, rest): (When, Vec<&str>) = match words.as_slice() {
            ["at", "end", rest @ ..] => (When::End, rest.to_vec()),
            ["at", time, "when", ..] => self.once(text, self.moment(time)?)?,
            ["at", time, rest @ ..] => (When::At(self.moment(time)?), rest.to_vec()),
            ["when", ..] => self.once(text, Duration::ZERO)?,
            _ => (self.now.clone(), words),
        };
        let wants = self.wants(&rest)?;
        if matches!((&when, &wants), (When::End, Wants::Do(_))) {
            return Err(
                "at the end nothing is done any more, only expected: give it a time, as in 'at 30s ...'"
                    .to_owned(),
            );
        }
        if matches!((&when, &wants), (When::End, Wants::Expect(_, Span::Within(_) | Span::For(_)))) {
            return Err("after the end there is no more time: leave out 'within' or 'for', or give it a time, as in 'at 30s ...'".to_owned());
        }
        if !matches!(when, When::Once(..)) {
            self.now = when.clone();
        }
        self.timed = true;
        let text = text.to_owned();
        self.script.lines.push(Line { number, text, when, wants });
        Ok(())
    }

    /// What is about the whole script.
    fn general(&mut self, words: &[&str]) -> Result<bool, String> {
        match words {
            ["seed", number] => {
                self.script.seed =
                    number.parse().map_err(|_| format!("'{number}' is no whole number: write 'seed 7'"))?;
            }
            ["begin", "settled"] => self.script.begin = Begin::Settled,
            ["begin", "cold"] => self.script.begin = Begin::Cold,
            ["begin", "after", time] => self.script.begin = Begin::After(duration(time)?),
            ["begin", ..] => {
                return Err("write 'begin settled', 'begin cold' or 'begin after 60s'".to_owned());
            }
            ["end", time] => self.end = Some(duration(time)?),
            ["wait", time] => {
                let wait = duration(time)?;
                match &self.now {
                    When::At(at) => self.now = When::At(limited(*at + wait)?),
                    When::End | When::Once(..) => {
                        return Err(
                            "there is nothing to wait for after the end: write a time, as in 'at 30s ...'"
                                .to_owned(),
                        );
                    }
                }
                self.timed = true;
            }
            ["seed" | "end" | "wait", ..] => {
                return Err(format!("write '{} 10{}'", words[0], if words[0] == "seed" { "" } else { "s" }));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn setup(&self, words: &[&str]) -> Result<Option<Setup>, String> {
        Ok(Some(match words {
            ["host", host, "memory", number] => Setup::HostMemory(self.names.host(host)?, memory(number)?),
            ["host", host, "cpus", number] => Setup::HostCpus(self.names.host(host)?, cpus(number)?),
            ["host", host, "has", "no", "power"] => Setup::HostOff(self.names.host(host)?),
            ["vm", vm, "memory", number] => Setup::VmMemory(self.names.vm(vm)?, memory(number)?),
            ["vm", vm, "cpus", number] => Setup::VmCpus(self.names.vm(vm)?, cpus(number)?),
            ["clock", "of", host, drift, how @ ("fast" | "slow")] => {
                let wrong = || {
                    format!("'{drift}' is no share of time up to 0.5%: write 'clock of {host} 0.3% {how}'")
                };
                let percent: f64 = drift.strip_suffix('%').and_then(|n| n.parse().ok()).ok_or_else(wrong)?;
                let ppm = (percent * 10_000.0).round();
                if !(0.0..=MAX_DRIFT as f64).contains(&ppm) {
                    return Err(wrong());
                }
                let ppm = ppm as i64;
                Setup::Clock(self.names.host(host)?, if *how == "fast" { ppm } else { -ppm })
            }
            ["clock", ..] => return Err("write 'clock of HOST 0.3% fast' or '... slow'".to_owned()),
            _ => return Ok(None),
        }))
    }

    fn moment(&self, word: &str) -> Result<Duration, String> {
        let Some(later) = word.strip_prefix('+') else { return limited(duration(word)?) };
        match &self.now {
            When::At(at) => limited(*at + duration(later)?),
            When::End | When::Once(..) => {
                Err("'+' counts from the line before, which has no time: write the time itself".to_owned())
            }
        }
    }

    /// `[at TIME] when CONDITION, [after TIME] ...`
    fn once<'t>(&self, text: &'t str, from: Duration) -> Result<(When, Vec<&'t str>), String> {
        let (condition, rest) = text
            .split_once(',')
            .ok_or("put a comma after the condition: 'when h2 is evicted, power off h3'")?;
        let words = condition.split_whitespace().skip_while(|word| *word != "when").skip(1);
        let words: Vec<&str> = words.collect();
        let condition = condition::read(&words, self.names)?;
        let rest: Vec<&str> = rest.split_whitespace().collect();
        Ok(match rest.as_slice() {
            ["after", time, rest @ ..] => (When::Once(condition, duration(time)?, from), rest.to_vec()),
            rest => (When::Once(condition, Duration::ZERO, from), rest.to_vec()),
        })
    }

    fn wants(&mut self, words: &[&str]) -> Result<Wants, String> {
        match words {
            ["expect", rest @ .., "within", time] => {
                Ok(Wants::Expect(condition::read(rest, self.names)?, Span::Within(duration(time)?)))
            }
            ["expect", rest @ .., "for", time] => {
                Ok(Wants::Expect(condition::read(rest, self.names)?, Span::For(duration(time)?)))
            }
            ["expect", rest @ ..] => Ok(Wants::Expect(condition::read(rest, self.names)?, Span::Then)),
            ["let", name, "be", rest @ ..] => {
                let who: Who = self.names.who(rest)?;
                self.names.add_alias(name)?;
                Ok(Wants::Do(Action::Let((*name).to_owned(), who)))
            }
            words => Ok(Wants::Do(action::read(words, self.names)?)),
        }
    }
}

fn memory(word: &str) -> Result<u32, String> {
    word.parse().ok().filter(|n| (1..=MAX_MEMORY).contains(n)).ok_or_else(|| {
        format!(
            "'{word}' is no memory in MiB, from 1 to {MAX_MEMORY}: write a plain number, as in 'memory 4096'"
        )
    })
}

fn cpus(word: &str) -> Result<u16, String> {
    word.parse()
        .ok()
        .filter(|n| (1..=MAX_CPUS).contains(n))
        .ok_or_else(|| format!("'{word}' is no number of processors, from 1 to {MAX_CPUS}"))
}

fn limited(time: Duration) -> Result<Duration, String> {
    if time > MAX_TIME {
        return Err(format!("{} is later than a script may go on, {}", show(time), show(MAX_TIME)));
    }
    Ok(time)
}

/// `10s`, `2.5s`, `250ms`, `2m`, `1h`.
pub fn duration(word: &str) -> Result<Duration, String> {
    let wrong = || format!("'{word}' is no time: write for instance 10s, 2.5s, 250ms, 2m or 1h");
    let at = word.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
    let (number, unit) = word.split_at(at);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(wrong()),
    };
    // Through whole microseconds, so that 2.3s is what it says.
    limited(Duration::from_micros((seconds * 1e6).round() as u64))
}

/// Seconds, as they are told.
pub fn show(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}
