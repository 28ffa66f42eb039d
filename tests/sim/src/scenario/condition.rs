//! What a script can expect or wait for, in words.

use super::names::{Names, Who};
use super::script::duration;
use core::time::Duration;

/// How a group may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupIs {
    /// Its owner says that it is online and all that counts in it is well.
    Online,
    /// It is wanted offline, and runs nowhere.
    Offline,
    GivenUp,
    /// Its host was evicted and is not known to run nothing.
    Blocked,
    /// It is wanted, and nobody's.
    Waiting,
    LeftAlone,
    Frozen,
    /// Its new target is made ready.
    Preparing,
    /// Its owner is to give it back.
    Recalled,
    /// Some copy of it is paused, and none runs.
    Still,
}

/// How a host may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostIs {
    In,
    Out,
    Evicted,
    Maintenance,
    Quarantined,
    Leading,
    Powered,
    /// No VM of the configuration runs there.
    Idle,
    Leased,
}

/// How a host came to be known to run nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Agent,
    Time,
    Itself,
    Operator,
}

/// What is counted of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Started,
    /// Started, rebooted or reset.
    Restarted,
    Rebooted,
    Paused,
    Resumed,
}

/// What is counted of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostWhat {
    Evicted,
    Fenced(Option<By>),
    Booted,
}

/// How many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    Exactly(usize),
    AtMost(usize),
    AtLeast(usize),
}

impl Count {
    pub const fn holds(self, count: usize) -> bool {
        match self {
            Self::Exactly(n) => count == n,
            Self::AtMost(n) => count <= n,
            Self::AtLeast(n) => count >= n,
        }
    }
}

/// What may be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    RunsOn(usize, Vec<Who>),
    /// An application runs inside the VM of this group.
    RunsIn(usize, usize),
    RunsSomewhere(usize),
    RunsNowhere(usize),
    Group(usize, GroupIs),
    /// To nobody, if to nobody in particular.
    Belongs(usize, Option<Who>),
    /// Of one group, or of all together.
    Counted(Option<usize>, What, Count, Duration),
    /// It ran on none but these.
    RanOnlyOn(usize, Vec<Who>, Duration),
    NeverRanOn(usize, Vec<Who>, Duration),
    Host(Who, HostIs),
    /// A machine without `roostd` speaks with that host, or with any.
    Watched(Who, Option<Who>),
    HostCounted(Who, HostWhat, Count, Duration),
    SomebodyLeads,
    AllWell,
    /// The last order of an operator was carried out, or refused.
    LastOrder(bool),
    /// What is checked after every step anyway.
    Always,
    Not(Box<Condition>),
    All(Vec<Condition>),
}

/// Reads a condition.
pub fn read(words: &[&str], names: &Names) -> Result<Condition, String> {
    match words {
        ["never", "two"] => Ok(Condition::Always),
        ["somebody", "leads"] => Ok(Condition::SomebodyLeads),
        ["nobody", "leads"] => Ok(Condition::Not(Box::new(Condition::SomebodyLeads))),
        ["everything", "is", "well"] => Ok(Condition::AllWell),
        ["last", "order", "was", "done"] => Ok(Condition::LastOrder(true)),
        ["last", "order", "was", "refused"] => Ok(Condition::LastOrder(false)),
        ["nothing", "was", rest @ ..] => {
            let (rest, since) = since(rest)?;
            Ok(Condition::Counted(None, verb(rest)?, Count::Exactly(0), since))
        }
        ["every", "group", rest @ ..] => {
            let all: Result<Vec<_>, _> = (0..names.groups.len()).map(|nth| group(nth, rest, names)).collect();
            Ok(Condition::All(all?))
        }
        ["every", "host", rest @ ..] => {
            let all: Result<Vec<_>, _> =
                (0..names.hosts.len()).map(|nth| host(Who::Host(nth), rest, names)).collect();
            Ok(Condition::All(all?))
        }
        ["the", rest @ ..] => read(rest, names),
        ["group" | "vm", name, rest @ ..] => {
            group(names.vm(name).or_else(|_| names.group(name))?, rest, names)
        }
        ["host", "of", name, rest @ ..] => host(Who::HostOf(names.group(name)?), rest, names),
        ["host", name, rest @ ..] => host(names.who(&[name])?, rest, names),
        [name, rest @ ..] => match (names.group(name).or_else(|_| names.vm(name)), names.who(&[name])) {
            (Ok(_), Ok(_)) => {
                Err(format!("'{name}' is a group and a host: write 'group {name} ...' or 'host {name} ...'"))
            }
            (Ok(nth), Err(_)) => group(nth, rest, names),
            (Err(_), Ok(who)) => host(who, rest, names),
            (Err(no_group), Err(no_host)) => Err(format!("{no_host}; and {no_group}")),
        },
        [] => Err("what is expected is missing".to_owned()),
    }
}

/// Takes `since TIME` off the end.
fn since<'a, 'w>(words: &'a [&'w str]) -> Result<(&'a [&'w str], Duration), String> {
    match words {
        [rest @ .., "since", time] => Ok((rest, duration(time)?)),
        rest => Ok((rest, Duration::ZERO)),
    }
}

fn verb(words: &[&str]) -> Result<What, String> {
    Ok(match words {
        ["started"] => What::Started,
        ["restarted"] => What::Restarted,
        ["rebooted"] => What::Rebooted,
        ["paused"] => What::Paused,
        ["resumed"] => What::Resumed,
        other => {
            return Err(format!(
                "'{}' is unknown: write started, restarted (started, rebooted or reset), rebooted, paused or resumed",
                other.join(" ")
            ));
        }
    })
}

fn count(words: &[&str]) -> Result<Count, String> {
    let number = |word: &str| {
        word.parse::<usize>().map_err(|_| format!("'{word}' is no number: write 'exactly 2 times'"))
    };
    Ok(match words {
        [] => Count::AtLeast(1),
        ["once"] => Count::Exactly(1),
        ["twice"] => Count::Exactly(2),
        ["exactly", "once"] => Count::Exactly(1),
        ["at", "most", "once"] => Count::AtMost(1),
        ["at", "least", "once"] => Count::AtLeast(1),
        ["exactly", n, "times" | "time"] | [n, "times" | "time"] => Count::Exactly(number(n)?),
        ["at", "most", n, "times" | "time"] => Count::AtMost(number(n)?),
        ["at", "least", n, "times" | "time"] => Count::AtLeast(number(n)?),
        other => {
            return Err(format!(
                "'{}' is no number of times: write once, exactly 2 times, at most 2 times or at least 2 times",
                other.join(" ")
            ));
        }
    })
}

fn group(nth: usize, words: &[&str], names: &Names) -> Result<Condition, String> {
    let is = |state| Ok(Condition::Group(nth, state));
    match words {
        ["runs", "nowhere"] => Ok(Condition::RunsNowhere(nth)),
        ["runs", "somewhere"] => Ok(Condition::RunsSomewhere(nth)),
        ["runs", "in", vm] => Ok(Condition::RunsIn(nth, names.vm(vm)?)),
        ["does", "not", "run", "in", vm] => {
            Ok(Condition::Not(Box::new(Condition::RunsIn(nth, names.vm(vm)?))))
        }
        ["runs", "on", "one", "of", hosts @ ..] | ["runs", "on", hosts @ ..] => {
            Ok(Condition::RunsOn(nth, names.whom(hosts)?))
        }
        ["does", "not", "run", "on", hosts @ ..] => {
            Ok(Condition::Not(Box::new(Condition::RunsOn(nth, names.whom(hosts)?))))
        }
        ["stands", "still"] => is(GroupIs::Still),
        ["waits"] | ["is", "waiting"] => is(GroupIs::Waiting),
        ["is", "online"] | ["is", "well"] => is(GroupIs::Online),
        ["is", "offline"] => is(GroupIs::Offline),
        ["is", "given", "up"] => is(GroupIs::GivenUp),
        ["is", "blocked"] => is(GroupIs::Blocked),
        ["is", "left", "alone"] => is(GroupIs::LeftAlone),
        ["is", "frozen"] => is(GroupIs::Frozen),
        ["is", "preparing"] => is(GroupIs::Preparing),
        ["is", "recalled"] => is(GroupIs::Recalled),
        ["is", "not", rest @ ..] => {
            let words: Vec<&str> = ["is"].into_iter().chain(rest.iter().copied()).collect();
            Ok(Condition::Not(Box::new(group(nth, &words, names)?)))
        }
        ["belongs", "to", "nobody"] => Ok(Condition::Belongs(nth, None)),
        ["belongs", "to", host @ ..] => Ok(Condition::Belongs(nth, Some(names.who(host)?))),
        ["never", "ran", "on", rest @ ..] => {
            let (hosts, since) = since(rest)?;
            Ok(Condition::NeverRanOn(nth, names.whom(hosts)?, since))
        }
        ["ran", "only", "on", rest @ ..] => {
            let (hosts, since) = since(rest)?;
            Ok(Condition::RanOnlyOn(nth, names.whom(hosts)?, since))
        }
        ["was", "never" | "not", rest @ ..] => {
            let (words, since) = since(rest)?;
            Ok(Condition::Counted(Some(nth), verb(words)?, Count::Exactly(0), since))
        }
        ["was", what, rest @ ..] => {
            let (words, since) = since(rest)?;
            Ok(Condition::Counted(Some(nth), verb(&[what])?, count(words)?, since))
        }
        words => Err(format!(
            "'{}' is not understood of a group: write runs on HOST, runs on one of H1 H2, runs nowhere, runs somewhere, does not \
             run on HOST, stands still, waits, is online, is offline, is given up, is blocked, is left alone, is frozen, is \
             preparing, is recalled, runs in VM, belongs to HOST, belongs to nobody, was started 2 times [since TIME], was never restarted, never ran on HOST, or ran only on \
             HOST",
            words.join(" ")
        )),
    }
}

fn host(who: Who, words: &[&str], names: &Names) -> Result<Condition, String> {
    let is = |who, state| Ok(Condition::Host(who, state));
    let not = |condition| Ok(Condition::Not(Box::new(condition)));
    match words {
        ["is", "in"] | ["is", "in", "the", "cluster"] => is(who, HostIs::In),
        ["is", "out"] => is(who, HostIs::Out),
        ["is", "evicted"] => is(who, HostIs::Evicted),
        ["is", "in", "maintenance"] => is(who, HostIs::Maintenance),
        ["is", "quarantined"] => is(who, HostIs::Quarantined),
        ["is", "watched"] => Ok(Condition::Watched(who, None)),
        ["is", "watched", "by", by @ ..] => Ok(Condition::Watched(who, Some(names.who(by)?))),
        ["leads"] => is(who, HostIs::Leading),
        ["does", "not", "lead"] => not(Condition::Host(who, HostIs::Leading)),
        ["has", "power"] => is(who, HostIs::Powered),
        ["has", "no", "power"] => not(Condition::Host(who, HostIs::Powered)),
        ["runs", "nothing"] => is(who, HostIs::Idle),
        ["has", "its", "lease"] => is(who, HostIs::Leased),
        ["has", "no", "lease"] => not(Condition::Host(who, HostIs::Leased)),
        ["is", "not", rest @ ..] => {
            let words: Vec<&str> = ["is"].into_iter().chain(rest.iter().copied()).collect();
            not(host(who, &words, names)?)
        }
        ["was", "never" | "not", rest @ ..] => {
            let (words, since) = since(rest)?;
            let (what, rest) = host_verb(words)?;
            if !rest.is_empty() {
                return Err(format!("'{}' is too much after 'never'", rest.join(" ")));
            }
            Ok(Condition::HostCounted(who, what, Count::Exactly(0), since))
        }
        ["was", rest @ ..] => {
            let (words, since) = since(rest)?;
            let (what, rest) = host_verb(words)?;
            Ok(Condition::HostCounted(who, what, count(rest)?, since))
        }
        words => Err(format!(
            "'{}' is not understood of a host: write is in, is out, is evicted, is in maintenance, is quarantined, is watched \
             [by HOST], leads, does not lead, has power, has no power, has its lease, has no lease, runs nothing, was evicted, was never evicted, was fenced \
             [by agent|time|itself|operator], or was booted [2 times]",
            words.join(" ")
        )),
    }
}

fn host_verb<'a, 'w>(words: &'a [&'w str]) -> Result<(HostWhat, &'a [&'w str]), String> {
    match words {
        ["evicted", rest @ ..] => Ok((HostWhat::Evicted, rest)),
        ["fenced", "by", by, rest @ ..] => {
            let by = match *by {
                "agent" => By::Agent,
                "time" => By::Time,
                "itself" => By::Itself,
                "operator" => By::Operator,
                other => {
                    return Err(format!(
                        "'by {other}' is unknown: write by agent, by time, by itself or by operator"
                    ));
                }
            };
            Ok((HostWhat::Fenced(Some(by)), rest))
        }
        ["fenced", rest @ ..] => Ok((HostWhat::Fenced(None), rest)),
        ["booted", rest @ ..] => Ok((HostWhat::Booted, rest)),
        other => Err(format!("'{}' is unknown: write evicted, fenced or booted", other.join(" "))),
    }
}
