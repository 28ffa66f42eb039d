//! `roost check`: whether a configuration is good, before a daemon reads it.

use super::error::Error;
use crate::config::{Config, Group, load};
use crate::driver::udp::keys::secrets;
use core::time::Duration;
use roost_proto::exit::Exit;
use roost_proto::text::printable;
use roost_proto::time::Span;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Checks `file`, and tells what a person may have overlooked.
pub fn run(file: &Path, out: &mut impl Write) -> Result<Exit, Error> {
    let config = load(file).map_err(Error::Configuration)?;
    let mut text = format!(
        "'{}' is good: cluster '{}', {}, {}\n",
        file.display(),
        config.cluster.name,
        counted(config.hosts.len(), "host"),
        counted(config.groups.len(), "group")
    );
    for note in notes(&config) {
        text += &format!("note: {note}\n");
    }
    write!(out, "{}", printable(&text)).and_then(|()| out.flush()).map_err(Error::Output)?;
    Ok(Exit::Ok)
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// What is right, and perhaps not meant.
fn notes(config: &Config) -> Vec<String> {
    let mut notes = config.advice();
    let here = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    if config.host(&here).is_err() {
        notes.push(format!(
            "no [[host]] is called '{here}', as this machine is: roostd starts here with '--host NAME' only"
        ));
    }
    for (host, key) in config.hosts.iter().filter_map(|host| Some((host, host.key.as_ref()?))) {
        if let Err(error) = secrets(key) {
            notes.push(format!("host '{}': {error}; roostd does not start without it", host.name));
        }
    }
    for group in &config.groups {
        if let Some(xml) = &group.xml
            && let Err(error) = File::open(xml)
        {
            notes.push(format!("group '{}': 'xml' names '{}': {error}", group.name, xml.display()));
        }
        if let Some(least) = spends_never(group) {
            notes.push(format!(
                "group '{}': its recoveries can take {}, longer than 'window': a VM that never becomes well is \
                 recovered for ever, and not given up on",
                group.name,
                Span(Duration::from_secs(least.as_secs()))
            ));
        }
    }
    notes
}

/// How long it takes to spend every rung on a VM that never becomes well, when that is longer than the window.
fn spends_never(group: &Group) -> Option<Duration> {
    let recovery = &group.recovery;
    let each = group.boot_grace.max(recovery.reboot_timeout);
    let rungs = recovery.reboot + recovery.reset + recovery.restart;
    let all = (0..rungs).map(|made| recovery.backoff.wait(made, 0).saturating_add(each)).sum::<Duration>();
    (all >= recovery.window).then_some(all)
}
