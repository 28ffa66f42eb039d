//! What a script can do to the world, in words.

use super::names::{Names, Who};
use super::script::duration;
use crate::world::host::{Agent, Libvirt};
use crate::world::travel::End;
use core::time::Duration;
use roost::config::Target;
use roost_proto::cluster::decision::Arms;
use roost_proto::control::MoveMethod;
use roost_proto::text::nearest;

/// The first words of every action, for whoever mistyped one.
const VERBS: [&str; 33] = [
    "at",
    "when",
    "expect",
    "wait",
    "let",
    "end",
    "seed",
    "begin",
    "power",
    "freeze",
    "thaw",
    "daemon",
    "leave",
    "maintenance",
    "cut",
    "mend",
    "split",
    "loss",
    "delay",
    "online",
    "offline",
    "move",
    "fail",
    "reload",
    "confirm",
    "vm",
    "app",
    "agent",
    "disarm",
    "arm",
    "failback",
    "controller",
    "connection",
];

/// What is done to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    PowerOff,
    PowerOn,
    Freeze,
    Thaw,
    DaemonKill,
    DaemonDown,
    DaemonStart,
    DaemonSigstop,
    DaemonSigcont,
    Leave,
    DiskFails,
    DiskWorks,
    DiskLost,
    DiskTorn,
    Libvirt(Libvirt),
    Agent(Agent),
    /// Its connection to the host that watches it.
    ConnectionBreaks,
}

/// What is done to a VM or its applications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vm {
    Crash,
    /// Some seconds after each start; or not any more.
    Fragile(bool),
    Hang,
    Lie,
    AppFault,
    /// Whenever it comes up there; everywhere if nowhere in particular. Or not any more.
    AppFaults(Option<Who>, bool),
    BadStarts(Option<Who>, u32),
    Stuck(bool),
    Deaf(bool),
    Unmovable(bool),
    ShutDownInside,
    /// Where it runs, if nowhere in particular.
    DestroyedByHand(Option<Who>),
    StartedByHand(Who),
    PausedByHand,
    ResumedByHand,
}

/// What is done to an application, or what it is like on a target, or on all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Application {
    Fault,
    AlwaysFaults(Option<Target>),
    Refuses(Option<Target>),
    Unready(Option<Target>),
    Stuck(Option<Target>),
    Unclean(Option<Target>),
    StartsIn(Duration),
    StopsIn(Duration),
    /// All of it works again.
    Works(Option<Target>),
}

/// What is done to a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controlled {
    Dies,
    Lies(bool),
}

/// Whose controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    Host(Who),
    Vm(usize),
}

/// What an operator orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    Online(usize),
    Offline(usize),
    Freeze(usize),
    Thaw(usize),
    Move(usize, Whither, Option<MoveMethod>),
    Maintenance(Who, bool),
    Confirm(Who),
    Arm(Arms),
}

/// Where a group is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whither {
    Host(Who),
    /// Of an application.
    Target(Target),
    Elsewhere,
    Home,
    Failover,
}

/// Between whom: nothing of the first hosts gets to the second ones; in both directions or in this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ways {
    pub from: Vec<Who>,
    /// All others, if it is nobody in particular.
    pub to: Vec<Who>,
    pub both: bool,
}

/// What is done to links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Cut,
    Mend,
    /// Per mille.
    Loss(u32),
    Delay(Duration),
}

/// Something that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Machine(Machine, Vec<Who>),
    Vm(Vm, usize),
    Application(Application, usize),
    Controller(Controlled, Whose),
    Order(Order, Option<Who>),
    Link(Link, Ways),
    /// Every cut, loss and delay ends.
    MendAll,
    Reload(usize, Vec<Who>),
    Let(String, Who),
    /// How the next migration or saving of a VM ends.
    Migration(usize, End),
    /// How long each migration or saving of a VM takes.
    Takes(usize, Duration),
    /// Whether files can be removed from the storage that all hosts see.
    Storage(bool),
}

/// Reads an action.
pub fn read(words: &[&str], names: &Names) -> Result<Action, String> {
    let machine = |what, hosts: &[&str]| Ok(Action::Machine(what, names.whom(hosts)?));
    match words {
        ["power", "off", hosts @ ..] => machine(Machine::PowerOff, hosts),
        ["power", "on", hosts @ ..] => machine(Machine::PowerOn, hosts),
        ["power", ..] => Err("write 'power off HOST' or 'power on HOST'".to_owned()),
        ["freeze", "group", group, rest @ ..] => order(Order::Freeze(names.group(group)?), rest, names),
        ["thaw", "group", group, rest @ ..] => order(Order::Thaw(names.group(group)?), rest, names),
        ["freeze", group, rest @ ..] if is_group(group, names) => {
            order(Order::Freeze(names.group(group)?), rest, names)
        }
        ["thaw", group, rest @ ..] if is_group(group, names) => {
            order(Order::Thaw(names.group(group)?), rest, names)
        }
        ["freeze", hosts @ ..] => machine(Machine::Freeze, hosts),
        ["thaw", hosts @ ..] => machine(Machine::Thaw, hosts),
        ["daemon", what, hosts @ ..] => machine(daemon(what)?, hosts),
        ["leave", hosts @ ..] => machine(Machine::Leave, hosts),
        ["cut" | "mend" | "split" | "loss" | "delay", ..] => link(words, names),
        ["online", group, rest @ ..] => order(Order::Online(names.group(group)?), rest, names),
        ["offline", group, rest @ ..] => order(Order::Offline(names.group(group)?), rest, names),
        ["move", group, rest @ ..] => moves(names.group(group)?, rest, names),
        ["fail", group, rest @ ..] => {
            order(Order::Move(names.group(group)?, Whither::Failover, None), rest, names)
        }
        ["maintenance", how @ ("on" | "off"), host, rest @ ..] => {
            order(Order::Maintenance(names.who(&[host])?, *how == "on"), rest, names)
        }
        ["maintenance", ..] => Err("write 'maintenance on HOST' or 'maintenance off HOST'".to_owned()),
        ["confirm", "fenced", host, rest @ ..] => order(Order::Confirm(names.who(&[host])?), rest, names),
        ["disarm", rest @ ..] => order(Order::Arm(Arms::Disarmed), rest, names),
        ["arm", rest @ ..] => order(Order::Arm(Arms::Armed), rest, names),
        ["confirm", ..] => Err("write 'confirm fenced HOST'".to_owned()),
        ["reload", file] => Ok(Action::Reload(names.file(file)?, names.whom(&["all"])?)),
        ["reload", file, "on", hosts @ ..] => Ok(Action::Reload(names.file(file)?, names.whom(hosts)?)),
        ["reload", ..] => Err("write 'reload FILE.toml', or 'reload FILE.toml on HOST'".to_owned()),
        ["vm", vm, rest @ ..] => Ok(Action::Vm(self::vm(rest, names, vm)?, names.vm(vm)?)),
        ["failback", group, rest @ ..] => {
            order(Order::Move(names.application(group)?, Whither::Home, None), rest, names)
        }
        ["app", group, rest @ ..] if *group != "of" => {
            let nth = names.application(group)?;
            Ok(Action::Application(application(nth, rest, names)?, nth))
        }
        ["controller", "of", place, rest @ ..] => controller(place, rest, names),
        ["connection", "of", host, "breaks"] => machine(Machine::ConnectionBreaks, &[host]),
        ["connection", ..] => Err("write 'connection of HOST breaks'".to_owned()),
        ["app", "of", vm, rest @ ..] => app(vm, rest, names),
        ["agent", "of", host, rest @ ..] => agent(host, rest, names),
        ["disk", "of", host, rest @ ..] => machine(disk(rest)?, &[host]),
        ["libvirt", "of" | "on", host, rest @ ..] => machine(Machine::Libvirt(libvirt(rest)?), &[host]),
        ["migration", "of", vm, "takes", time] => Ok(Action::Takes(names.vm(vm)?, duration(time)?)),
        ["storage", "keeps", "its", "files"] => Ok(Action::Storage(true)),
        ["storage", "works"] => Ok(Action::Storage(false)),
        ["storage", ..] => {
            Err("write 'storage keeps its files' (nothing can be removed) or 'storage works'".to_owned())
        }
        ["migration", "of", vm, rest @ ..] => Ok(Action::Migration(names.vm(vm)?, migration(rest)?)),
        [verb, ..] => Err(unknown(verb, words)),
        [] => Err("what is to be done is missing".to_owned()),
    }
}

fn unknown(verb: &str, words: &[&str]) -> String {
    match nearest(verb, VERBS.into_iter().chain(["disk", "libvirt", "host", "clock", "migration", "storage"]))
    {
        Some(known) if known != verb => format!("'{verb}' is no word of the script: did you mean '{known}'?"),
        _ => format!(
            "'{}' is not understood: see tests/scenarios/README.md for what can be written",
            words.join(" ")
        ),
    }
}

fn is_group(word: &str, names: &Names) -> bool {
    names.group(word).is_ok() && names.host(word).is_err()
}

fn order(order: Order, rest: &[&str], names: &Names) -> Result<Action, String> {
    match rest {
        [] => Ok(Action::Order(order, None)),
        ["from", host @ ..] => Ok(Action::Order(order, Some(names.who(host)?))),
        rest => Err(format!(
            "'{}' is too much: write nothing more, or 'from HOST' for where it is ordered",
            rest.join(" ")
        )),
    }
}

/// `[to HOST | home] [live | suspend | cold] [from HOST]`.
fn moves(group: usize, words: &[&str], names: &Names) -> Result<Action, String> {
    let (words, from) = match words {
        [words @ .., "from", from] => (words, Some(names.who(&[from])?)),
        words => (words, None),
    };
    let (words, method) = match words {
        [words @ .., "live"] => (words, Some(MoveMethod::Live)),
        [words @ .., "suspend"] => (words, Some(MoveMethod::Suspend)),
        [words @ .., "cold"] => (words, Some(MoveMethod::Cold)),
        words => (words, None),
    };
    let whither = match words {
        [] => Whither::Elsewhere,
        ["home"] => Whither::Home,
        ["to", to] if !names.groups[group].targets.is_empty() => Whither::Target(names.target(group, to)?),
        ["to", to @ ..] => Whither::Host(names.who(to)?),
        _ => return Err("write 'move GROUP', 'move GROUP to HOST' or 'move GROUP home', and 'live', 'suspend' or 'cold' after it".to_owned()),
    };
    Ok(Action::Order(Order::Move(group, whither, method), from))
}

fn migration(words: &[&str]) -> Result<End, String> {
    Ok(match words {
        ["works"] => End::Well,
        ["fails"] => End::Fails,
        ["ends", "unheard"] => End::Unheard,
        ["ends", "standing", "still"] => End::Still,
        ["ends", "in", "error"] => End::WellButError,
        _ => {
            return Err("write 'migration of VM takes 5s', 'fails', 'works', 'ends unheard' (it arrives, and runs on where it was), 'ends \
                        standing still' (it arrives, and stands still where it was) or 'ends in error' (it arrives)"
                .to_owned());
        }
    })
}

fn daemon(what: &str) -> Result<Machine, String> {
    Ok(match what {
        "kill" | "restart" => Machine::DaemonKill,
        "down" => Machine::DaemonDown,
        "start" => Machine::DaemonStart,
        "sigstop" => Machine::DaemonSigstop,
        "sigcont" => Machine::DaemonSigcont,
        other => {
            return Err(format!(
                "'daemon {other}' is unknown: write kill or restart (systemd starts it again after 1 s), down (it stays away), \
                 start, sigstop (it stands still) or sigcont"
            ));
        }
    })
}

fn disk(words: &[&str]) -> Result<Machine, String> {
    Ok(match words {
        ["fails"] | ["is", "full"] => Machine::DiskFails,
        ["works"] => Machine::DiskWorks,
        ["is", "lost"] => Machine::DiskLost,
        ["tears", "its", "next", "write"] | ["is", "torn"] => Machine::DiskTorn,
        _ => {
            return Err(
                "write 'disk of HOST fails', 'is full', 'works', 'is lost' or 'tears its next write'"
                    .to_owned(),
            );
        }
    })
}

fn libvirt(words: &[&str]) -> Result<Libvirt, String> {
    Ok(match words {
        ["hangs"] => Libvirt::Hung,
        ["is", "down"] => Libvirt::Down,
        ["works"] | ["is", "up"] => Libvirt::Up,
        _ => return Err("write 'libvirt of HOST hangs', 'is down' or 'works'".to_owned()),
    })
}

fn agent(host: &str, words: &[&str], names: &Names) -> Result<Action, String> {
    let nth = names.host(host)?;
    if !names.fenced[nth] {
        return Err(format!("'{host}' has no fence agent: give it a [[host.fence]] in roost.toml"));
    }
    let what = match words {
        ["works"] => Agent::Works,
        ["fails"] | ["is", "missing"] => Agent::Fails,
        ["takes", time] => Agent::Slow(duration(time)?.as_secs()),
        ["tells", time, "late"] => Agent::Late(duration(time)?.as_secs()),
        _ => {
            return Err(
                "write 'agent of HOST works', 'fails', 'takes 20s' or 'tells 20s late' (it acts at once)"
                    .to_owned(),
            );
        }
    };
    Ok(Action::Machine(Machine::Agent(what), vec![Who::Host(nth)]))
}

fn vm(words: &[&str], names: &Names, vm: &str) -> Result<Vm, String> {
    let at = |host: &str| {
        let who = names.who(&[host])?;
        if let (Who::Host(nth), Ok(group)) = (&who, names.vm(vm))
            && !names.groups[group].on[*nth]
        {
            return Err(format!("'{vm}' is not on '{host}': its group's 'on' does not name that host"));
        }
        Ok(who)
    };
    let times = |word: &str| {
        word.parse::<u32>().map_err(|_| format!("'{word}' is no number: write 'fails to start 3 times'"))
    };
    Ok(match words {
        ["crashes"] => Vm::Crash,
        ["always", "crashes"] => Vm::Fragile(true),
        ["crashes", "no", "more"] => Vm::Fragile(false),
        ["hangs"] => Vm::Hang,
        ["lies"] => Vm::Lie,
        ["fails", "to", "start", count, "times" | "time"] => Vm::BadStarts(None, times(count)?),
        ["fails", "to", "start", count, "times" | "time", "on", host] => {
            Vm::BadStarts(Some(at(host)?), times(count)?)
        }
        ["never", "starts"] => Vm::BadStarts(None, u32::MAX),
        ["never", "starts", "on", host] => Vm::BadStarts(Some(at(host)?), u32::MAX),
        ["starts", "again"] => Vm::BadStarts(None, 0),
        ["starts", "again", "on", host] => Vm::BadStarts(Some(at(host)?), 0),
        ["cannot", "be", "stopped"] => Vm::Stuck(true),
        ["can", "be", "stopped"] => Vm::Stuck(false),
        ["cannot", "be", "moved"] => Vm::Unmovable(true),
        ["can", "be", "moved"] => Vm::Unmovable(false),
        ["ignores", "shutdown"] => Vm::Deaf(true),
        ["hears", "shutdown"] => Vm::Deaf(false),
        ["shuts", "down", "from", "inside"] => Vm::ShutDownInside,
        ["is", "destroyed", "by", "hand"] => Vm::DestroyedByHand(None),
        ["is", "destroyed", "by", "hand", "on", host] => Vm::DestroyedByHand(Some(at(host)?)),
        ["is", "started", "by", "hand", "on", host] => Vm::StartedByHand(at(host)?),
        ["is", "paused", "by", "hand"] => Vm::PausedByHand,
        ["is", "resumed", "by", "hand"] => Vm::ResumedByHand,
        _ => {
            return Err(
                "of a VM write: crashes, always crashes, crashes no more, hangs, lies, fails to start 3 times [on HOST], never starts [on HOST], starts again, \
                 cannot be stopped, can be stopped, cannot be moved, can be moved, ignores shutdown, hears shutdown, shuts down from inside, is destroyed by \
                 hand, is started by hand on HOST, is paused by hand, is resumed by hand"
                    .to_owned(),
            );
        }
    })
}

fn app(vm: &str, words: &[&str], names: &Names) -> Result<Action, String> {
    let group = names.vm(vm)?;
    if !names.groups[group].controlled {
        return Err(format!(
            "the guest of '{vm}' has no controller in this world: write apps = [\"site\"] in its [[group]]"
        ));
    }
    let what = match words {
        ["faults"] => Vm::AppFault,
        ["always", "faults"] => Vm::AppFaults(None, true),
        ["always", "faults", "on", host] => Vm::AppFaults(Some(names.who(&[host])?), true),
        ["works"] => Vm::AppFaults(None, false),
        ["works", "on", host] => Vm::AppFaults(Some(names.who(&[host])?), false),
        _ => {
            return Err(
                "write 'app of VM faults' (once), 'always faults', 'always faults on HOST' or 'works'"
                    .to_owned(),
            );
        }
    };
    Ok(Action::Vm(what, group))
}

fn application(group: usize, words: &[&str], names: &Names) -> Result<Application, String> {
    let (words, on) = match words {
        [words @ .., "on", target] => (words, Some(names.target(group, target)?)),
        words => (words, None),
    };
    Ok(match (words, on) {
        (["faults"], None) => Application::Fault,
        (["takes", time, "to", "start"], None) => Application::StartsIn(duration(time)?),
        (["takes", time, "to", "stop"], None) => Application::StopsIn(duration(time)?),
        (["always", "faults"], on) => Application::AlwaysFaults(on),
        (["refuses", "to", "start"], on) => Application::Refuses(on),
        (["is", "not", "ready"], on) => Application::Unready(on),
        (["cannot", "be", "stopped"], on) => Application::Stuck(on),
        (["cannot", "be", "cleaned", "up"], on) => Application::Unclean(on),
        (["works"], on) => Application::Works(on),
        _ => {
            return Err(
                "of an application write: faults, takes 5s to start, takes 5s to stop; always faults, refuses to start, is not ready,                  cannot be stopped, cannot be cleaned up, works, each also with 'on TARGET'"
                    .to_owned(),
            );
        }
    })
}

fn controller(place: &str, words: &[&str], names: &Names) -> Result<Action, String> {
    let whose = match names.vm(place) {
        Ok(nth) if names.groups[nth].controlled => Whose::Vm(nth),
        Ok(_) => return Err(format!("the guest of '{place}' has no controller in this world")),
        Err(_) => Whose::Host(names.who(&[place])?),
    };
    let what = match words {
        ["dies"] => Controlled::Dies,
        ["lies"] => Controlled::Lies(true),
        ["is", "honest"] => Controlled::Lies(false),
        _ => {
            return Err(
                "write 'controller of HOST dies' (it is started again), 'lies' or 'is honest'; also of a VM"
                    .to_owned(),
            );
        }
    };
    Ok(Action::Controller(what, whose))
}

fn link(words: &[&str], names: &Names) -> Result<Action, String> {
    match words {
        ["mend", "all"] => Ok(Action::MendAll),
        ["cut", rest @ ..] => Ok(Action::Link(Link::Cut, ways("cut", rest, names)?)),
        ["mend", rest @ ..] => Ok(Action::Link(Link::Mend, ways("mend", rest, names)?)),
        ["split", rest @ ..] => {
            let mut sides = rest.split(|word| *word == "|");
            let (Some(one), Some(other), None) = (sides.next(), sides.next(), sides.next()) else {
                return Err("write the two sides with a bar between them: 'split h1 h2 | h3'".to_owned());
            };
            let (from, to) = (names.whom(one)?, names.whom(other)?);
            Ok(Action::Link(Link::Cut, Ways { from, to, both: true }))
        }
        ["loss", share, rest @ ..] => {
            let percent = share.strip_suffix('%').and_then(|n| n.parse::<u32>().ok()).filter(|n| *n <= 100);
            let percent = percent.ok_or(format!("'{share}' is no share: write 'loss 30% HOST'"))?;
            Ok(Action::Link(Link::Loss(percent * 10), ways("loss 30%", rest, names)?))
        }
        ["delay", time, rest @ ..] => {
            Ok(Action::Link(Link::Delay(duration(time)?), ways("delay 100ms", rest, names)?))
        }
        _ => Err("between whom is missing".to_owned()),
    }
}

/// `HOST...`: between these and all others. `HOST... from HOST...`: between these and those. `HOST... -> HOST...`: from these
/// to those only.
fn ways(verb: &str, words: &[&str], names: &Names) -> Result<Ways, String> {
    let all = |words: &[&str]| if words == ["all"] { Ok(Vec::new()) } else { names.whom(words) };
    if let Some(at) = words.iter().position(|word| *word == "->") {
        let (from, to) = (&words[..at], &words[at + 1..]);
        // All others on the one side: of those on the other.
        if from == ["all"] {
            return Ok(Ways { from: names.whom(from)?, to: names.whom(to)?, both: false });
        }
        return Ok(Ways { from: names.whom(from)?, to: all(to)?, both: false });
    }
    if let Some(at) = words.iter().position(|word| *word == "from") {
        return Ok(Ways { from: names.whom(&words[..at])?, to: all(&words[at + 1..])?, both: true });
    }
    let from = names.whom(words)?;
    if from.len() > 1 && words != ["all"] {
        return Err(format!(
            "'{verb} {0}' can be meant in two ways: write '{verb} {1} from {2}' for the link between them, or a line for each",
            words.join(" "),
            words[0].trim_end_matches(','),
            words[words.len() - 1]
        ));
    }
    Ok(Ways { from, to: Vec::new(), both: true })
}
