//! `roost explain`: why a group or a host is as it is, as headed lists.

use super::show::{Ink, Look, wrap};
use roost_proto::control::{Condition, HostState};
use roost_proto::exit::Exit;
use roost_proto::insight::{
    Explanation, GroupExplained, HostExplained, HostVerdict, QuorumState, Subject, Verdict,
};
use roost_proto::text::printable;

/// Columns of a verdict: the longest, "unknown" and "could go".
const VERDICT_COLUMNS: usize = 8;

/// What the exit status tells: whether all is well with it.
pub fn exit(explanation: &Explanation) -> Exit {
    let problems = match &explanation.subject {
        Subject::Group(group) if group.condition == Condition::GivenUp => return Exit::Broken,
        Subject::Group(group) => &group.problems,
        Subject::Host(host) => &host.problems,
    };
    match explanation.quorum.state {
        QuorumState::Lost => Exit::Broken,
        QuorumState::Electing | QuorumState::Unfounded => Exit::Degraded,
        QuorumState::Held if problems.is_empty() => Exit::Ok,
        QuorumState::Held => Exit::Degraded,
    }
}

/// All of it.
pub fn render(explanation: &Explanation, look: Look) -> String {
    let whose = match &explanation.leader {
        Some(leader) => format!("as of {leader}, the leader"),
        None => format!("as far as {} alone knows", explanation.host),
    };
    let mut text = match &explanation.subject {
        Subject::Group(group) => render_group(group, &whose, look),
        Subject::Host(host) => render_host(host, &whose, look),
    };
    if explanation.quorum.state != QuorumState::Held {
        text += &super::status::render_quorum(&explanation.quorum, look);
    }
    text
}

fn render_group(group: &GroupExplained, whose: &str, look: Look) -> String {
    let (word, ink) = super::status::condition(group.condition);
    let on = match (&group.target, &group.owner) {
        (Some(target), Some(owner)) if target != owner => format!(" on {target} ({owner})"),
        (Some(on), _) | (None, Some(on)) => format!(" on {on}"),
        (None, None) => String::new(),
    };
    let (kind, what) = match &group.app {
        Some(app) => ("application", app),
        None => ("VM", &group.vm),
    };
    let mut text = format!(
        "group {}, {kind} {}: {}{}, {whose}\n",
        printable(&group.name),
        printable(what),
        look.paint(ink, word),
        printable(&on)
    );
    text += &list("why", &group.why, Ink::Plain, look);
    text += &list("problems", &group.problems, Ink::Bad, look);
    let title = if group.app.is_some() { "its targets" } else { "its hosts" };
    text += &render_hosts(title, &group.hosts, look);
    text += &list("what the next failure would do", &group.next, Ink::Plain, look);
    text
}

fn render_hosts(title: &str, hosts: &[HostVerdict], look: Look) -> String {
    let mut text = head(title, look);
    let name = hosts.iter().map(|host| host.host.chars().count()).max().unwrap_or(0);
    for host in hosts {
        let (word, ink) = match host.verdict {
            Verdict::Owner => ("is there", Ink::Good),
            Verdict::Next => ("next", Ink::Good),
            Verdict::Could => ("could go", Ink::Plain),
            Verdict::Cannot => ("cannot", Ink::Doubtful),
            Verdict::Unknown => ("unknown", Ink::Faint),
        };
        let start = format!("  {:<name$}  ", printable(&host.host));
        let gap = VERDICT_COLUMNS - word.len();
        let at = start.chars().count() + VERDICT_COLUMNS + 2;
        let reason = wrap(&printable(&host.reason), at, look.width);
        text += &format!("{start}{}{:gap$}  {}", look.paint(ink, word), "", reason.trim_start());
    }
    text
}

fn render_host(host: &HostExplained, whose: &str, look: Look) -> String {
    let (word, ink) = super::status::state(host.state);
    let mut text = format!("host {}: {}, {whose}\n", printable(&host.name), look.paint(ink, word));
    text += &list("how it stands", &host.why, Ink::Plain, look);
    text += &list("problems", &host.problems, Ink::Bad, look);
    text += &list(
        "how it is known to run nothing when it is lost",
        core::slice::from_ref(&host.fencing_words),
        Ink::Plain,
        look,
    );
    match &host.lost {
        Some(case) => {
            let words = match host.state {
                HostState::Blocked => "when it is known to run nothing",
                _ => "if it were lost now",
            };
            text += &head(words, look);
            text += &super::plan::render_case(case, look);
        }
        None if host.state == HostState::Out => {}
        None => {
            let words = ["only a leader could tell what would happen if it were lost".to_owned()];
            text += &list("if it were lost now", &words, Ink::Plain, look);
        }
    }
    text
}

fn head(words: &str, look: Look) -> String {
    look.paint(Ink::Faint, words) + "\n"
}

/// A heading and what stands under it; nothing, if there is nothing.
fn list(words: &str, items: &[String], ink: Ink, look: Look) -> String {
    if items.is_empty() {
        return String::new();
    }
    let mark = if ink == Ink::Bad { "! " } else { "  " };
    let mut text = head(words, look);
    for item in items {
        let lines = wrap(&printable(item), 4, look.width);
        text += &format!("{}{}", look.paint(ink, mark), &lines[4..]);
    }
    text
}
