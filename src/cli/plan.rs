//! `roost plan`: who goes where if hosts are lost, and who would not fit.

use super::show::{Ink, Look, wrap};
use roost_proto::insight::{PlanCase, PlanReport};
use roost_proto::text::printable;

/// All cases.
pub fn render(plan: &PlanReport, look: Look) -> String {
    let mut text = String::new();
    for case in &plan.cases {
        let head = format!("without {}, as of {}, the leader: ", case.without.join(", "), plan.leader);
        let (words, ink) = verdict(case);
        text += &format!("{}{}\n{}", printable(&head), look.paint(ink, &words), render_case(case, look));
    }
    if plan.cases.len() > 1 {
        let bad = plan.cases.iter().filter(|case| !fits(case)).count();
        text += &match bad {
            0 => look.paint(Ink::Good, "any one host may be lost: everything would run again\n"),
            1 => look.paint(Ink::Bad, "not every host may be lost: 1 loss would leave groups down\n"),
            bad => look.paint(
                Ink::Bad,
                &format!("not every host may be lost: {bad} losses would leave groups down\n"),
            ),
        };
    }
    text
}

const fn fits(case: &PlanCase) -> bool {
    case.quorum && case.stuck.is_empty()
}

fn verdict(case: &PlanCase) -> (String, Ink) {
    let moves = match case.moves.len() {
        0 => "nothing moves".to_owned(),
        1 => "1 group moves".to_owned(),
        moves => format!("{moves} groups move"),
    };
    match (case.quorum, case.stuck.len()) {
        (false, _) => ("no majority would be left, and nothing would run".to_owned(), Ink::Bad),
        (true, 0) => (format!("{moves}, everything fits"), Ink::Good),
        (true, 1) => (format!("{moves}, 1 group would not run"), Ink::Bad),
        (true, stuck) => (format!("{moves}, {stuck} groups would not run"), Ink::Bad),
    }
}

/// The moves of one case in order, what stays down, and what has to be done by hand.
pub fn render_case(case: &PlanCase, look: Look) -> String {
    let mut text = String::new();
    if case.quorum && case.moves.is_empty() && case.stuck.is_empty() {
        text += "  nothing: no group runs there\n";
    }
    let name = case.moves.iter().map(|one| one.group.chars().count()).max().unwrap_or(0);
    for one in &case.moves {
        let from = one.from.as_deref().unwrap_or("nowhere");
        let host = one.host.as_ref().map(|host| format!(" ({host})")).unwrap_or_default();
        let memory = if one.memory_mib > 0 { format!("  {} MiB", one.memory_mib) } else { String::new() };
        let needed = one.needed_by.join(", ");
        let needed = if needed.is_empty() { needed } else { format!("  for {needed}") };
        let line = format!(
            "  step {:>2}  {:<name$}  {from} -> {}{host}{memory}{needed}",
            one.step, one.group, one.to
        );
        text += &(printable(&line) + "\n");
    }
    // Without a majority each has the same reason.
    let mut told = "";
    for one in &case.stuck {
        let reason = if told == one.reason { "the same" } else { one.reason.as_str() };
        told = one.reason.as_str();
        let lines = wrap(&printable(&format!("{} stays down: {reason}", one.group)), 4, look.width);
        for (nth, line) in lines.lines().enumerate() {
            let line = if nth == 0 { format!("! {}", line.trim_start()) } else { line.to_owned() };
            text += &(look.paint(Ink::Bad, &line) + "\n");
        }
    }
    for host in &case.unfenced {
        let words = format!(
            "'{host}' has neither a fence agent nor a watchdog: nothing of this happens before it is back, or \
             `roost fence {host} --confirm` says that it is off"
        );
        for line in wrap(&printable(&words), 2, look.width).lines() {
            text += &(look.paint(Ink::Doubtful, line) + "\n");
        }
    }
    text
}
