//! `roost switch|failback|fail|maintenance`: moving on purpose, and watching how it goes, or only asking how it would.

use super::args::{Failback, Method, Switch};
use super::client::{self, Client, unexpected};
use super::error::Error;
use super::events;
use super::order::{LOOK_AGAIN, last_event, run, say};
use super::show::{Clock, Look};
use roost_proto::control::{Ask, Condition, EventKind, GroupStatus, MoveMethod, Refusal, Reply};
use roost_proto::exit::Exit;
use roost_proto::insight::{Subject, Trial};
use std::io::Write;
use std::path::Path;

/// Progress is told in steps of so many per cent.
const STEP: u8 = 10;
/// An application that was seen so often where it was, a [`LOOK_AGAIN`] apart, stays: what its host and the leader have heard
/// differs for less than that.
const STEADY: u32 = 3;

/// The method that was asked for, if one was.
const fn method(asked: &Method) -> Option<MoveMethod> {
    match asked {
        Method { live: true, .. } => Some(MoveMethod::Live),
        Method { suspend: true, .. } => Some(MoveMethod::Suspend),
        Method { cold: true, .. } => Some(MoveMethod::Cold),
        Method { live: false, suspend: false, cold: false } => None,
    }
}

/// Moves a group to another host, or an application to another target.
pub fn switch(socket: &Path, wanted: &Switch, out: &mut impl Write) -> Result<Exit, Error> {
    if wanted.manner.dry_run {
        return dry_run(
            socket,
            &wanted.group,
            &wanted.to.as_deref().map_or(Whither::Elsewhere, Whither::To),
            out,
        );
    }
    let (group, to) = (wanted.group.clone(), wanted.to.clone());
    let ask = Ask::Switch { group, to, method: method(&wanted.manner.method) };
    order(socket, &wanted.group, ask, wanted.manner.wait, out)
}

/// Moves a group home.
pub fn failback(socket: &Path, wanted: &Failback, out: &mut impl Write) -> Result<Exit, Error> {
    if wanted.manner.dry_run {
        return dry_run(socket, &wanted.group, &Whither::Home, out);
    }
    let ask = Ask::Failback { group: wanted.group.clone(), method: method(&wanted.manner.method) };
    order(socket, &wanted.group, ask, wanted.manner.wait, out)
}

/// Treats a group as failed where it is.
pub fn fail(socket: &Path, group: &str, wait: bool, out: &mut impl Write) -> Result<Exit, Error> {
    order(socket, group, Ask::Fail { group: group.to_owned() }, wait, out)
}

/// Where a group would go.
enum Whither<'a> {
    Elsewhere,
    Home,
    To(&'a str),
}

/// Tells what a move would do, step by step, and does nothing.
fn dry_run(socket: &Path, group: &str, whither: &Whither<'_>, out: &mut impl Write) -> Result<Exit, Error> {
    let refused = |code, reason| Error::Refused { code, reason };
    let explanation = client::explain(socket, group)?;
    let Subject::Group(explained) = explanation.subject else {
        return Err(refused(Refusal::UnknownGroup, format!("there is no group '{group}'")));
    };
    let trial = match whither {
        Whither::Elsewhere => explained.switch,
        Whither::Home => explained.failback,
        Whither::To(to) => {
            let names: Vec<String> =
                explained.hosts.iter().map(|place| format!("'{}'", place.host)).collect();
            let Some(place) = explained.hosts.into_iter().find(|place| place.host == *to) else {
                let reason = format!("'{group}' cannot be on '{to}': its 'on' names {}", names.join(", "));
                return Err(refused(Refusal::UnknownHost, reason));
            };
            place.switch
        }
    };
    match trial {
        Some(Trial::Done { to, steps }) => {
            say(out, &format!("{group} would go to '{to}':"))?;
            for (nth, step) in steps.iter().enumerate() {
                say(out, &format!("  {}. {step}", nth + 1))?;
            }
            Ok(Exit::Ok)
        }
        Some(Trial::Refused { reason }) => Err(refused(Refusal::NotDone, reason)),
        None if explanation.leader.is_none() => {
            Err(refused(Refusal::NoQuorum, "only a leader could tell, and none is heard".to_owned()))
        }
        None => Err(refused(
            Refusal::NotDone,
            "the leader does not know enough yet, or is older than this roost: ask again in some seconds"
                .to_owned(),
        )),
    }
}

fn order(socket: &Path, group: &str, ask: Ask, wait: bool, out: &mut impl Write) -> Result<Exit, Error> {
    if !wait {
        return run(socket, ask, Some(group), out);
    }
    let seen = last_event(socket, group)?;
    let from = find(socket, group)?.and_then(|status| place(&status).map(str::to_owned));
    run(socket, ask, Some(group), out)?;
    watch(socket, group, from.as_deref(), seen, out)
}

/// Where a group is: an application at its target, and another on its host.
fn place(status: &GroupStatus) -> Option<&str> {
    status.target.as_deref().or(status.owner.as_deref())
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
    let (mut told, mut phase, mut steady) = (0, None, 0);
    loop {
        let polled = client.poll()?;
        let waited = polled.is_none();
        match polled {
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
        let now = step(&status);
        if now != phase {
            if let Some(text) = &now {
                say(out, text)?;
            }
            phase = now;
        }
        if let Some((exit, text)) = verdict(&status, from) {
            say(out, &text)?;
            return Ok(exit);
        }
        steady = if waited && stays(&status, from) { steady + 1 } else { 0 };
        if steady >= STEADY {
            say(
                out,
                &format!("{group} stays on '{}'; the leader's events tell why", from.unwrap_or_default()),
            )?;
            return Ok(Exit::Degraded);
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

/// What is done with an application that is on its way.
fn step(status: &GroupStatus) -> Option<String> {
    status.home.as_ref()?;
    let (name, at) = (&status.name, status.target.as_deref());
    match (status.condition, &status.preparing, at) {
        (_, Some(to), _) => Some(format!("{name}: '{to}' is made ready")),
        (Condition::Stopping, None, Some(at)) => Some(format!("{name}: goes offline on '{at}'")),
        (Condition::Starting, None, Some(at)) => Some(format!("{name}: goes online on '{at}'")),
        (Condition::Waiting, None, _) if !status.reason.is_empty() => {
            Some(format!("{name}: waits: {}", status.reason))
        }
        _ => None,
    }
}

/// Whether an application is where it was, and nothing is done to move it.
fn stays(status: &GroupStatus, from: Option<&str>) -> bool {
    let rests = status.preparing.is_none() && status.moving.is_none();
    status.home.is_some() && status.condition == Condition::Online && rests && place(status) == from
}

/// Whether a group that is stopped and started has moved, or cannot: one that keeps its memory tells by its events.
fn verdict(group: &GroupStatus, from: Option<&str>) -> Option<(Exit, String)> {
    let name = &group.name;
    let because = if group.reason.is_empty() { String::new() } else { format!(": {}", group.reason) };
    let at = place(group);
    match group.condition {
        _ if group.moving.is_some() => None,
        Condition::GivenUp => Some((Exit::Broken, format!("{name} is given up on{because}"))),
        Condition::LeftAlone => Some((Exit::Degraded, format!("{name} is left alone{because}"))),
        Condition::Elsewhere if group.home.is_some() => None, // whether it is online there is not known
        Condition::Online | Condition::Elsewhere if at.is_some() && at != from => {
            Some((Exit::Ok, format!("{name} is on '{}'", at.unwrap_or_default())))
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
            preparing: None,
            standby: false,
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
