//! `roost online|offline|freeze|thaw|disarm|arm|reload`: orders, and waiting until they are carried out.

use super::args;
use super::client::{self, Client, unexpected};
use super::error::Error;
use super::events;
use super::show::{Clock, Look};
use core::time::Duration;
use roost_proto::control::{Ask, Condition, GroupStatus, Intent, Reply};
use roost_proto::exit::Exit;
use roost_proto::text::printable;
use std::io::Write;
use std::path::Path;

/// How often the state is asked for when no event tells of a change: one that changes without an event is seen too.
pub const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How often it is looked whether every host has heard of an order: about as often as hosts beat.
const HEARS_WITHIN: Duration = Duration::from_millis(250);

/// Orders something, and tells what the daemon makes of it.
pub fn run(socket: &Path, ask: Ask, group: Option<&str>, out: &mut impl Write) -> Result<Exit, Error> {
    let text = client::order(socket, ask)?;
    say(out, &group.map_or_else(|| text.clone(), |group| format!("{group}: {text}")))?;
    Ok(Exit::Ok)
}

/// Disarms the cluster or arms it, and waits until every host has heard of it.
pub fn arm(socket: &Path, ask: Ask, out: &mut impl Write) -> Result<Exit, Error> {
    run(socket, ask, None, out)?;
    let begun = std::time::Instant::now();
    loop {
        let unaware = client::status(socket)?.unaware;
        if unaware.is_empty() {
            say(out, "every host that this one hears lives by it")?;
            return Ok(Exit::Ok);
        }
        if begun.elapsed() >= client::PATIENCE {
            say(
                out,
                &format!(
                    "not heard of it yet: {}: wait until `roost status` shows that they have",
                    unaware.join(", ")
                ),
            )?;
            return Ok(Exit::Degraded);
        }
        std::thread::sleep(HEARS_WITHIN); // what other hosts have applied is told by their beats, and makes no event
    }
}

/// Orders that a group be online or offline, and waits if wanted.
pub fn intent(
    socket: &Path,
    wanted: &args::Order,
    intent: Intent,
    out: &mut impl Write,
) -> Result<Exit, Error> {
    let group = &wanted.group;
    let seen = if wanted.wait { last_event(socket, group)? } else { 0 };
    run(socket, Ask::Intent { group: group.clone(), intent }, Some(group), out)?;
    if wanted.wait { wait(socket, group, intent, seen, out) } else { Ok(Exit::Ok) }
}

/// The number of the newest event of `group`.
pub fn last_event(socket: &Path, group: &str) -> Result<u64, Error> {
    let ask = Ask::Events { after: 0, group: Some(group.to_owned()), follow: false };
    let mut client = Client::ask(socket, ask)?;
    let mut seen = 0;
    loop {
        match client.next_reply()? {
            Reply::Event(event) => seen = seen.max(event.seq),
            Reply::End => return Ok(seen),
            _ => return Err(unexpected()),
        }
    }
}

/// Shows what happens to `group` until it is as wanted, or cannot become so.
fn wait(socket: &Path, group: &str, intent: Intent, seen: u64, out: &mut impl Write) -> Result<Exit, Error> {
    let ask = Ask::Events { after: seen, group: Some(group.to_owned()), follow: true };
    let mut client = Client::ask(socket, ask)?;
    client.wait_for(Some(LOOK_AGAIN))?;
    let (clock, look) = (Clock::now(), Look::of_stdout());
    loop {
        // The order itself is the first event. What happened together is shown together, before it is judged.
        match client.poll()? {
            Some(Reply::Event(event)) => {
                let text = events::render(&event, &clock, look);
                write!(out, "{text}").and_then(|()| out.flush()).map_err(Error::Output)?;
            }
            Some(_) => return Err(unexpected()),
            None => {}
        }
        if client.has_more() {
            continue;
        }
        if let Some((exit, text)) = verdict(&find(socket, group)?, intent) {
            say(out, &text)?;
            return Ok(exit);
        }
    }
}

fn find(socket: &Path, group: &str) -> Result<GroupStatus, Error> {
    let status = client::status(socket)?;
    status.groups.into_iter().find(|status| status.name == group).ok_or_else(|| Error::Refused {
        code: roost_proto::control::Refusal::UnknownGroup,
        reason: format!("group '{group}' is gone from the configuration; its VM is left as it is"),
    })
}

/// Whether waiting is over, and how it ended.
fn verdict(group: &GroupStatus, intent: Intent) -> Option<(Exit, String)> {
    let name = &group.name;
    let because = if group.reason.is_empty() { String::new() } else { format!(": {}", group.reason) };
    if group.intent != intent {
        return Some((Exit::Degraded, format!("{name}: somebody else has ordered otherwise meanwhile")));
    }
    match (intent, group.condition) {
        (Intent::Online, Condition::Online) => Some((Exit::Ok, format!("{name} is online"))),
        (Intent::Online, Condition::Offline) if group.standby => {
            Some((Exit::Ok, format!("{name} is a standby: it is online while an application needs it")))
        }
        (Intent::Offline, Condition::Offline) => Some((Exit::Ok, format!("{name} is offline"))),
        (_, Condition::GivenUp) => Some((Exit::Broken, format!("{name} is given up on{because}"))),
        (_, Condition::LeftAlone) => Some((Exit::Degraded, format!("{name} is left alone{because}"))),
        _ if group.frozen => {
            Some((Exit::Degraded, format!("{name} is frozen; 'roost thaw {name}' ends that")))
        }
        _ => None,
    }
}

/// Prints a line.
pub fn say(out: &mut impl Write, text: &str) -> Result<(), Error> {
    writeln!(out, "{}", printable(text)).and_then(|()| out.flush()).map_err(Error::Output)
}
