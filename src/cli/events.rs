//! `roost events`: what happened, oldest first; with `--follow`, as it happens.

use super::args::{AtLeast, Events};
use super::client::{Client, unexpected};
use super::error::Error;
use super::show::{Clock, Ink, Look, wrap};
use super::since::Since;
use super::status::output;
use roost_proto::control::{Ask, Event, Level, Reply};
use roost_proto::text::printable;
use std::io::Write;
use std::path::Path;

/// Shows the events that `wanted` names.
pub fn run(socket: &Path, wanted: &Events, out: &mut impl Write) -> Result<(), Error> {
    let (clock, look) = (Clock::now(), Look::of_stdout());
    let (after, not_before) = match wanted.since {
        None => (0, 0),
        Some(Since::Seq(seq)) => (seq, 0),
        Some(Since::Time(time)) => (0, time.at_ms(&clock).map_err(Error::Usage)?),
    };
    let level = wanted.level.map_or(Level::Info, AtLeast::level);
    let ask = Ask::Events { after, group: wanted.group.clone(), follow: wanted.follow };
    let mut client = Client::ask(socket, ask)?;
    if wanted.follow {
        client.wait_for(None)?;
    }
    loop {
        match client.poll()? {
            Some(Reply::Event(event)) if event.at_ms < not_before || event.level < level => {}
            Some(Reply::Event(event)) if wanted.json => {
                let json = serde_json::to_string(&event).expect("an event is plain data");
                writeln!(out, "{json}").and_then(|()| out.flush()).map_err(Error::Output)?;
            }
            Some(Reply::Event(event)) => {
                write!(out, "{}", render(&event, &clock, look))
                    .and_then(|()| out.flush())
                    .map_err(Error::Output)?;
            }
            Some(Reply::End) => return Ok(()),
            Some(_) => return Err(unexpected()),
            None if wanted.follow => {} // a signal came, and did not end us
            None => return Err(Error::NoAnswer { after: super::client::PATIENCE }),
        }
    }
}

/// One event: number, time, level, group, what happened; and below it the output that belongs to it.
pub fn render(event: &Event, clock: &Clock, look: Look) -> String {
    let (level, ink) = match event.level {
        Level::Info => ("", Ink::Plain),
        Level::Warning => ("warning: ", Ink::Doubtful),
        Level::Error => ("error: ", Ink::Bad),
    };
    let group = event.group.as_ref().map(|group| format!("{}: ", printable(group))).unwrap_or_default();
    let start = format!("{:>6}  {}  ", event.seq, clock.exact(event.at_ms));
    let indent = start.chars().count();
    let words = wrap(&printable(&format!("{level}{group}{}", event.text)), indent, look.width);
    let mut text = String::new();
    for (nth, line) in words.lines().enumerate() {
        let words = look.paint(ink, line.trim_start());
        text += &if nth == 0 { format!("{start}{words}\n") } else { format!("{:indent$}{words}\n", "") };
    }
    if words.is_empty() {
        text = format!("{}\n", start.trim_end());
    }
    text + &output(&event.output, usize::MAX, look)
}
