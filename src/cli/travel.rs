//! `roost switch|failback|fail|maintenance`: moving on purpose, and watching how it goes.

use super::args::{Method, Switch};
use super::client::{self, Client, unexpected};
use super::error::Error;
use super::events;
use super::order::{LOOK_AGAIN, last_event, run, say};
use super::show::{Clock, Look};
use roost_proto::control::{Ask, Condition, EventKind, GroupStatus, MoveMethod, Reply};
use roost_proto::exit::Exit;
use std::io::Write;
use std::path::Path;

/// Progress is told in steps of so many per cent.
const STEP: u8 = 10;

/// The method that was asked for, if one was.
const fn method(asked: &Method) -> Option<MoveMethod> {
    match asked {
        Method { live: true, .. } => Some(MoveMethod::Live),
        Method { suspend: true, .. } => Some(MoveMethod::Suspend),
        Method { cold: true, .. } => Some(MoveMethod::Cold),
        Method { live: false, suspend: false, cold: false } => None,
    }
}

/// Moves a group to another host.
pub fn switch(socket: &Path, wanted: &Switch, out: &mut impl Write) -> Result<Exit, Error> {
    let (group, to) = (wanted.group.clone(), wanted.to.clone());
    let ask = Ask::Switch { group, to, method: method(&wanted.method) };
    order(socket, &wanted.group, ask, wanted.wait, out)
}

/// Moves a group home.
pub fn failback(
    socket: &Path,
    group: &str,
    asked: &Method,
    wait: bool,
    out: &mut impl Write,
) -> Result<Exit, Error> {
    let ask = Ask::Failback { group: group.to_owned(), method: method(asked) };
    order(socket, group, ask, wait, out)
}

/// Treats a group as failed where it is.
pub fn fail(socket: &Path, group: &str, wait: bool, out: &mut impl Write) -> Result<Exit, Error> {
    order(socket, group, Ask::Fail { group: group.to_owned() }, wait, out)
}

fn order(socket: &Path, group: &str, ask: Ask, wait: bool, out: &mut impl Write) -> Result<Exit, Error> {
    if !wait {
        return run(socket, ask, Some(group), out);
    }
    let seen = last_event(socket, group)?;
    let from = find(socket, group)?.and_then(|status| status.owner);
    run(socket, ask, Some(group), out)?;
    watch(socket, group, from.as_deref(), seen, out)
}

/// Shows what happens to a group until it has moved, or stays.
fn watch(
    socket: &Path,
    group: &str,
    from: Option<&str>,
    seen: u64,
    out: &mut impl Write,
) -> Result<Exit, Error> {
    let ask = Ask::Events { after: seen, group: Some(group.to_owned()), follow: true };
    let mut client = Client::ask(socket, ask)?;
    client.wait_for(Some(LOOK_AGAIN))?;
    let (clock, look) = (Clock::now(), Look::of_stdout());
    let mut told = 0;
    loop {
        match client.poll()? {
            Some(Reply::Event(event)) => {
                let text = events::render(&event, &clock, look);
                write!(out, "{text}").and_then(|()| out.flush()).map_err(Error::Output)?;
                match event.kind {
                    EventKind::Moved => return Ok(Exit::Ok),
                    EventKind::MoveFailed => return Ok(Exit::Degraded),
                    _ => {}
                }
            }
            Some(_) => return Err(unexpected()),
            None => {}
        }
        if client.has_more() {
            continue;
        }
        let Some(status) = find(socket, group)? else { continue };
        if let Some(text) = progress(&status, &mut told) {
            say(out, &text)?;
        }
        if let Some((exit, text)) = verdict(&status, from) {
            say(out, &text)?;
            return Ok(exit);
        }
    }
}

/// The group as the host sees it that is asked, if the group may run there.
fn find(socket: &Path, group: &str) -> Result<Option<GroupStatus>, Error> {
    Ok(client::status(socket)?.groups.into_iter().find(|status| status.name == group))
}

/// How far the memory came, if that is a step further than what was `told`.
fn progress(status: &GroupStatus, told: &mut u8) -> Option<String> {
    let moving = status.moving.as_ref()?;
    let percent = moving.percent.filter(|percent| *percent >= told.saturating_add(STEP))?;
    *told = percent / STEP * STEP;
    Some(format!("{}: {percent} % of its memory has gone to '{}'", status.name, moving.to))
}

/// Whether a group that is stopped and started has moved, or cannot: one that keeps its memory tells by its events.
fn verdict(group: &GroupStatus, from: Option<&str>) -> Option<(Exit, String)> {
    let name = &group.name;
    let because = if group.reason.is_empty() { String::new() } else { format!(": {}", group.reason) };
    let owner = group.owner.as_deref();
    match group.condition {
        _ if group.moving.is_some() => None,
        Condition::GivenUp => Some((Exit::Broken, format!("{name} is given up on{because}"))),
        Condition::LeftAlone => Some((Exit::Degraded, format!("{name} is left alone{because}"))),
        Condition::Online | Condition::Elsewhere if owner.is_some() && owner != from => {
            Some((Exit::Ok, format!("{name} is on '{}'", owner.unwrap_or_default())))
        }
        _ => None,
    }
}

/// Empties a host, or uses it again.
pub fn maintenance(socket: &Path, host: &str, on: bool, out: &mut impl Write) -> Result<Exit, Error> {
    run(socket, Ask::Maintenance { host: host.to_owned(), on }, Some(host), out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use roost_proto::control::{ControllerStatus, Intent, MovingStatus, Recoveries};

    fn group(condition: Condition, owner: Option<&str>, percent: Option<u8>) -> GroupStatus {
        let moving = percent.map(|percent| MovingStatus {
            to: "h2".to_owned(),
            method: MoveMethod::Live,
            percent: Some(percent),
        });
        GroupStatus {
            name: "web".to_owned(),
            vm: "web1".to_owned(),
            owner: owner.map(str::to_owned),
            intent: Intent::Online,
            frozen: false,
            condition,
            reason: String::new(),
            since_ms: 0,
            controller: ControllerStatus::Connected,
            apps: Vec::new(),
            recoveries: Recoveries::default(),
            dangers: Vec::new(),
            moving,
            target: None,
            home: None,
            targets: Vec::new(),
        }
    }

    #[test]
    fn progress_is_told_in_steps() {
        let mut told = 0;
        let mut at = |percent| progress(&group(Condition::Online, Some("h1"), Some(percent)), &mut told);
        assert_eq!(at(9), None);
        assert_eq!(at(23).as_deref(), Some("web: 23 % of its memory has gone to 'h2'"));
        assert_eq!(at(29), None);
        assert!(at(31).is_some());
    }

    #[test]
    fn a_group_has_moved_when_it_is_up_at_another_host() {
        let verdict = |condition, owner, percent| verdict(&group(condition, owner, percent), Some("h1"));
        assert_eq!(verdict(Condition::Online, Some("h1"), None), None, "it has not gone yet");
        assert_eq!(verdict(Condition::Waiting, None, None), None);
        assert_eq!(verdict(Condition::Elsewhere, Some("h2"), Some(100)), None, "it is being taken over");
        assert_eq!(verdict(Condition::Elsewhere, Some("h2"), None).map(|(exit, _)| exit), Some(Exit::Ok));
        assert_eq!(verdict(Condition::GivenUp, None, None).map(|(exit, _)| exit), Some(Exit::Broken));
    }
}
