//! `roost status`: one line for each group that is well, and for each other one all that an operator needs to know
//! at 3 a.m. What is not well has a mark before it; without a majority, what that means stands first. What else is wrong
//! stands where the eye ends: last, next to the prompt, are dangers and warnings.

use super::show::{Clock, Ink, Look, wrap};
use crate::engine::keeper::health;
use core::fmt::Write;
use roost_proto::control::{
    AppStatus, Condition, ControllerStatus, GroupStatus, Health, HostState, HostStatus, Intent,
    LibvirtStatus, MovingStatus, Recoveries, Status,
};
use roost_proto::exit::Exit;
use roost_proto::insight::{Quorum, QuorumState};
use roost_proto::link::{Exit as Ended, Fault, GroupState, ResourceState};
use roost_proto::text::printable;
use std::borrow::Cow;

/// Columns of the names of groups and VMs, at most; a longer name is shown whole, out of line.
const NAME_COLUMNS: usize = 20;
/// Columns of a condition: the longest, "recovering" and "left alone".
const CONDITION_COLUMNS: usize = 10;
/// Columns of a host's state: the longest, "maintenance" and "quarantined".
const STATE_COLUMNS: usize = 11;
/// Columns of a time span.
const SINCE_COLUMNS: usize = 6;
/// Lines of a fault's output that are shown; all of them are in `--json` and in the events.
const OUTPUT_LINES: usize = 5;

/// What stands before what is not well, and before all else.
const MARKS: (&str, &str) = ("! ", "  ");

/// The exit status that tells `health`.
pub const fn exit(health: Health) -> Exit {
    match health {
        Health::Healthy => Exit::Ok,
        Health::Degraded => Exit::Degraded,
        Health::Broken => Exit::Broken,
    }
}

/// The whole screen.
pub fn render(status: &Status, clock: &Clock, look: Look) -> String {
    let mut screen = header(status, clock, look);
    if let LibvirtStatus::Lost { reason } = &status.libvirt {
        let text = format!("libvirt does not answer: {}; VMs run on, and are not touched", printable(reason));
        screen += &painted(look, Ink::Bad, &wrap(&text, 0, look.width));
    }
    if let Some(quorum) = status.quorum.as_ref().filter(|quorum| quorum.state != QuorumState::Held) {
        screen += &render_quorum(quorum, look);
    }
    screen += &render_hosts(&status.hosts, look);
    if status.groups.is_empty() {
        screen += "the configuration has no group\n";
    } else {
        let columns = Columns::of(status);
        let place = if columns.place == Place::Vm { "VM" } else { "HOST" };
        let titles = columns.line(MARKS.1, "GROUP", place, "CONDITION", "SINCE", "WHY");
        screen += &look.paint(Ink::Faint, titles.trim_end());
        screen.push('\n');
        for group in &status.groups {
            screen += &render_group(group, &columns, clock, look);
        }
    }
    screen += &last_words(status, look);
    screen
}

fn header(status: &Status, clock: &Clock, look: Look) -> String {
    let (word, ink) = match status.health {
        Health::Healthy => ("healthy", Ink::Good),
        Health::Degraded => ("degraded", Ink::Doubtful),
        Health::Broken => ("broken", Ink::Bad),
    };
    let whose = match &status.leader {
        _ if status.hosts.len() < 2 => String::new(),
        Some(leader) if *leader == status.host => ", the leader".to_owned(),
        Some(leader) => format!(", as of {leader}, the leader"),
        None => ", as far as it alone knows".to_owned(),
    };
    let of = printable(&format!("cluster {}, host {}{whose}: ", status.cluster, status.host));
    let gap =
        look.width.unwrap_or(0).saturating_sub(of.chars().count() + word.len() + clock.here().len()).max(2);
    format!("{of}{}{:gap$}{}\n", look.paint(ink, word), "", clock.here())
}

/// That nothing can be decided, what it means, and what can be done.
pub fn render_quorum(quorum: &Quorum, look: Look) -> String {
    let word = match quorum.state {
        QuorumState::Held => return String::new(),
        QuorumState::Electing => "no leader yet",
        QuorumState::Lost => "NO MAJORITY",
        QuorumState::Unfounded => "not founded yet",
    };
    let ink = if quorum.state == QuorumState::Electing { Ink::Doubtful } else { Ink::Bad };
    let mut text =
        format!("{word}: {} of {} voters heard, {} needed", quorum.heard, quorum.voters, quorum.needed);
    if !quorum.silent.is_empty() {
        text += &format!("; not heard: {}", quorum.silent.join(", "));
    }
    let mut screen = painted(look, ink, &wrap(&printable(&text), 0, look.width));
    for words in &quorum.means {
        screen += &wrap(&printable(words), 2, look.width);
    }
    for words in &quorum.remedy {
        screen += &wrap(&printable(&format!("to do: {words}")), 2, look.width);
    }
    screen
}

/// One line for each host, when there is more than one.
fn render_hosts(hosts: &[HostStatus], look: Look) -> String {
    if hosts.len() < 2 {
        return String::new();
    }
    let name = hosts.iter().map(|host| host.name.chars().count()).fold(4, usize::max);
    let line = |mark: &str, host: &str, state: &str, groups: &str, why: &str| {
        format!("{mark}{host:<name$}  {state:<STATE_COLUMNS$}  {groups:>6}  {why}")
    };
    let mut text = look.paint(Ink::Faint, line(MARKS.1, "HOST", "STATE", "GROUPS", "WHY").trim_end());
    text.push('\n');
    for host in hosts {
        let (word, ink) = state(host.state);
        let role = match (host.leads, host.votes) {
            (true, _) => "leads",
            (false, true) => "",
            (false, false) => "does not vote",
        };
        let why = [role, host.reason.as_str()];
        let why: Vec<&str> = why.into_iter().filter(|part| !part.is_empty()).collect();
        let name = printable(&host.name);
        let mark = if host.state == HostState::Up { MARKS.1 } else { MARKS.0 };
        let start = line(mark, &name, word, &host.groups.to_string(), "");
        let painted = start.replacen(word, &look.paint(ink, word), 1);
        let painted = if name.contains(word) { start.clone() } else { painted };
        let why = printable(&why.join("; "));
        let room = look.width.unwrap_or(usize::MAX).saturating_sub(start.chars().count());
        if why.chars().count() <= room {
            text += format!("{painted}{why}").trim_end();
            text.push('\n');
        } else {
            text += &format!("{}\n{}", painted.trim_end(), wrap(&why, 4, look.width));
        }
    }
    text
}

/// A host's state in a word.
pub const fn state(state: HostState) -> (&'static str, Ink) {
    match state {
        HostState::Up => ("up", Ink::Good),
        HostState::Silent => ("silent", Ink::Bad),
        HostState::Blocked => ("blocked", Ink::Bad),
        HostState::Out => ("out", Ink::Doubtful),
        HostState::Maintenance => ("maintenance", Ink::Doubtful),
        HostState::Quarantined => ("quarantined", Ink::Doubtful),
    }
}

/// What stands in the second column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The VM: there is one host.
    Vm,
    /// The host.
    Host,
}

impl Place {
    /// Where a group is. An application is at its target, and inside a VM on a host besides, if there is room to say so.
    fn of(self, group: &GroupStatus) -> Cow<'_, str> {
        let Some(target) = &group.target else {
            let owner = group.owner.as_deref().filter(|_| self == Self::Host);
            let vm = Some(group.vm.as_str()).filter(|vm| self == Self::Vm && !vm.is_empty());
            return owner.or(vm).unwrap_or("-").into();
        };
        let host = group.owner.as_ref().filter(|owner| *owner != target && self == Self::Host);
        let whole = host.map(|host| format!("{target} ({host})"));
        match whole.filter(|whole| whole.chars().count() <= NAME_COLUMNS) {
            Some(whole) => whole.into(),
            None => target.into(),
        }
    }
}

/// Widths of the columns of names.
struct Columns {
    group: usize,
    second: usize,
    place: Place,
}

impl Columns {
    fn of(status: &Status) -> Self {
        let place = if status.hosts.len() < 2 { Place::Vm } else { Place::Host };
        let widest = |name: &dyn Fn(&GroupStatus) -> usize, title: usize| {
            status.groups.iter().map(name).filter(|&width| width <= NAME_COLUMNS).fold(title, usize::max)
        };
        Self {
            group: widest(&|group| group.name.chars().count(), 5),
            second: widest(&|group| place.of(group).chars().count(), if place == Place::Vm { 2 } else { 4 }),
            place,
        }
    }

    /// One line, to which `why` may be added.
    fn line(&self, mark: &str, group: &str, second: &str, condition: &str, since: &str, why: &str) -> String {
        format!(
            "{mark}{group:<g$}  {second:<v$}  {condition:<CONDITION_COLUMNS$}  {since:>SINCE_COLUMNS$}  {why}",
            g = self.group,
            v = self.second
        )
    }
}

fn render_group(group: &GroupStatus, columns: &Columns, clock: &Clock, look: Look) -> String {
    let (word, ink) = condition(group.condition);
    let word = if group.standby { "standby" } else { word };
    let why = why(group, columns.place);
    let mark = if health(group) == Health::Healthy { MARKS.1 } else { MARKS.0 };
    let since = if group.since_ms == 0 { "-".to_owned() } else { clock.ago(group.since_ms) };
    let (name, second) = (printable(&group.name), printable(&columns.place.of(group)));
    let start = columns.line(mark, &name, &second, word, &since, "");
    let room = look.width.unwrap_or(usize::MAX).saturating_sub(start.chars().count());
    // The word is unique in the line from the column where it stands, which is after two names of any kind.
    let mut text = match start.rfind(word) {
        Some(at) => format!("{}{}{}", &start[..at], look.paint(ink, word), &start[at + word.len()..]),
        None => start,
    };
    if why.chars().count() <= room {
        text = format!("{}\n", format!("{text}{why}").trim_end());
    } else {
        text = format!("{}\n{}", text.trim_end(), wrap(&why, 4, look.width));
    }
    for app in group.apps.iter().filter(|app| app.state != GroupState::Online || app.frozen) {
        text += &render_app(app, look);
    }
    text
}

/// A condition in a word.
pub const fn condition(condition: Condition) -> (&'static str, Ink) {
    match condition {
        Condition::Offline => ("offline", Ink::Faint),
        Condition::Stopping => ("stopping", Ink::Doubtful),
        Condition::Starting => ("starting", Ink::Doubtful),
        Condition::Online => ("online", Ink::Good),
        Condition::Degraded => ("degraded", Ink::Doubtful),
        Condition::Recovering => ("recovering", Ink::Bad),
        Condition::Unknown => ("unknown", Ink::Doubtful),
        Condition::LeftAlone => ("left alone", Ink::Doubtful),
        Condition::GivenUp => ("given up", Ink::Bad),
        Condition::Waiting => ("waiting", Ink::Bad),
        Condition::Elsewhere => ("elsewhere", Ink::Faint),
        Condition::Suspended => ("suspended", Ink::Bad),
    }
}

fn why(group: &GroupStatus, place: Place) -> String {
    let frozen = if group.frozen { "frozen" } else { "" };
    let unwatched = match (group.controller, group.condition, group.reason.as_str()) {
        (ControllerStatus::Never, Condition::Online, "") if group.home.is_none() => {
            "no controller: only the VM is watched"
        }
        _ => "",
    };
    let recovered = if group.intent == Intent::Online { recoveries(group.recoveries) } else { String::new() };
    let on = match (&group.owner, group.condition) {
        (Some(owner), Condition::Elsewhere) if place == Place::Vm => format!("on '{}'", printable(owner)),
        (Some(_), Condition::Elsewhere) => "whose it is did not say how it is".to_owned(),
        _ => String::new(),
    };
    let moving = group.moving.as_ref().map(moving).unwrap_or_default();
    let away = group.home.as_ref().filter(|home| group.target.as_ref().is_some_and(|at| at != *home));
    let away = away.map(|home| format!("home {}", printable(home))).unwrap_or_default();
    let goes = group.preparing.as_ref().map(|to| format!("goes to {}, which is made ready", printable(to)));
    let goes = goes.unwrap_or_default();
    let parts = [frozen, &on, &away, &goes, &moving, &printable(&group.reason), unwatched, &recovered];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

fn moving(moving: &MovingStatus) -> String {
    let percent = moving.percent.map(|percent| format!(", {percent} %")).unwrap_or_default();
    format!("moves to '{}' ({}{percent})", printable(&moving.to), moving.method.word())
}

fn recoveries(made: Recoveries) -> String {
    let counted = |count: u32, one: &str, many: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {many}")),
    };
    let parts = [
        counted(made.reboot, "reboot", "reboots"),
        counted(made.reset, "reset", "resets"),
        counted(made.restart, "restart", "restarts"),
    ];
    let made: Vec<String> = parts.into_iter().flatten().collect();
    if made.is_empty() { String::new() } else { format!("recent recoveries: {}", made.join(", ")) }
}

fn render_app(app: &AppStatus, look: Look) -> String {
    let (word, ink) = match &app.state {
        GroupState::Offline => ("offline", Ink::Doubtful),
        GroupState::Starting => ("starting", Ink::Doubtful),
        GroupState::Online => ("online", Ink::Plain),
        GroupState::Degraded => ("degraded", Ink::Doubtful),
        GroupState::Recovering => ("recovering", Ink::Bad),
        GroupState::Stopping => ("stopping", Ink::Doubtful),
        GroupState::Faulted(_) => ("faulted", Ink::Bad),
    };
    let frozen = if app.frozen { ", frozen in the guest" } else { "" };
    let counts = if app.counts { "" } else { ", does not count" };
    let name = printable(&app.name);
    let mut text = format!("  {name}: {}{frozen}{counts}\n", look.paint(ink, word));
    if let GroupState::Faulted(fault) = &app.state {
        text += &render_fault(fault, look);
    }
    for resource in &app.not_running {
        let word = match resource.state {
            ResourceState::Stopped => "stopped",
            ResourceState::Starting => "starting",
            ResourceState::Running => "running",
            ResourceState::Degraded => "degraded",
            ResourceState::Stopping => "stopping",
            ResourceState::Waiting => "waiting",
            ResourceState::Failed => "failed",
        };
        let detail =
            if resource.detail.is_empty() { String::new() } else { format!(": {}", resource.detail) };
        text += &wrap(&printable(&format!("{} {word}{detail}", resource.name)), 4, look.width);
    }
    text
}

fn render_fault(fault: &Fault, look: Look) -> String {
    let ended = if fault.exit == Ended::Unknown { String::new() } else { format!(" ({})", fault.exit) };
    let mut text = wrap(&printable(&format!("{}: {}{ended}", fault.resource, fault.reason)), 4, look.width);
    text += &output(&fault.output, OUTPUT_LINES, look);
    text
}

/// The last lines of something's output, set apart so that they cannot be taken for our own words.
pub fn output(output: &str, lines: usize, look: Look) -> String {
    let all: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut text = String::new();
    for line in &all[all.len().saturating_sub(lines)..] {
        let line = format!("    | {}", printable(line).replace('\t', " "));
        let clipped: String = line.chars().take(look.width.unwrap_or(usize::MAX)).collect();
        let _ = writeln!(text, "{}", look.paint(Ink::Faint, clipped.trim_end()));
    }
    text
}

fn last_words(status: &Status, look: Look) -> String {
    let dangers = status.groups.iter().flat_map(|group| {
        group.dangers.iter().map(move |danger| format!("danger: {}: {danger}", group.name))
    });
    let warnings = status.warnings.iter().map(|warning| format!("warning: {warning}"));
    let words: Vec<String> =
        dangers.chain(warnings).map(|text| wrap(&printable(&text), 0, look.width)).collect();
    painted(look, Ink::Doubtful, &words.concat())
}

/// Paints each line by itself, so that a pager which shows some of them shows their colour.
fn painted(look: Look, ink: Ink, lines: &str) -> String {
    lines.lines().map(|line| look.paint(ink, line) + "\n").collect()
}
