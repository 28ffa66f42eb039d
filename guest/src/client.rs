//! `roost-guest status`, `freeze` and `thaw`: what a person in the guest asks the running controller.

use core::fmt::Write;
use core::time::Duration;
use roost_proto::exit::Exit;
use roost_proto::frame::{Decoder, encode};
use roost_proto::link::{GroupReport, GroupState, ManagedReport, ResourceState, Wanted};
use roost_proto::local::{LinkStatus, Reply, Request};
use roost_proto::text::printable;
use std::io::{self, ErrorKind, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A controller answers at once, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of asking.
struct Trouble {
    exit: Exit,
    text: String,
}

/// Asks the controller whose run directory is `run_dir`, and prints what it says.
pub fn ask(run_dir: &Path, request: &Request) -> Exit {
    match converse(&run_dir.join("control.sock"), request) {
        Ok(replies) => show(replies),
        Err(trouble) => {
            eprintln!("roost-guest: {}", trouble.text);
            trouble.exit
        }
    }
}

fn converse(path: &Path, request: &Request) -> Result<Vec<Reply>, Trouble> {
    let place = path.display();
    let unreachable = |error: io::Error| match error.kind() {
        ErrorKind::PermissionDenied => {
            Trouble { exit: Exit::NotPermitted, text: format!("'{place}' is root's alone: try it as root") }
        }
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => Trouble {
            exit: Exit::Unavailable,
            text: format!("no controller listens at '{place}': is roost-guest running?"),
        },
        _ => Trouble {
            exit: Exit::Unavailable,
            text: format!("the controller at '{place}' does not answer: {}", crate::spawn::reason(&error)),
        },
    };
    let garbled = |error: &dyn core::fmt::Display| Trouble {
        exit: Exit::Protocol,
        text: format!("the controller at '{place}' was not understood ({error}): is it of another version?"),
    };
    let mut socket = UnixStream::connect(path).map_err(unreachable)?;
    let set = socket.set_read_timeout(Some(PATIENCE)).and_then(|()| socket.set_write_timeout(Some(PATIENCE)));
    set.map_err(unreachable)?;
    let mut out = Vec::new();
    encode(request, &mut out).map_err(|error| garbled(&error))?;
    socket.write_all(&out).map_err(unreachable)?;

    let mut decoder = Decoder::default();
    let mut replies = Vec::new();
    let mut piece = [0; 4096];
    loop {
        while let Some(reply) = decoder.next::<Reply>().map_err(|error| garbled(&error))? {
            let is_last = !matches!(reply, Reply::Group(_) | Reply::Managed { .. });
            replies.push(reply);
            if is_last {
                return Ok(replies);
            }
        }
        match socket.read(&mut piece).map_err(unreachable)? {
            0 => return Err(garbled(&"its answer ends in the middle")),
            count => decoder.push(&piece[..count]),
        }
    }
}

fn show(replies: Vec<Reply>) -> Exit {
    let mut text = String::new();
    let mut exit = Exit::Ok;
    let width = replies.iter().map(|reply| match reply {
        Reply::Group(group) | Reply::Managed { report: ManagedReport { report: group, .. }, .. } => {
            group.name.len()
        }
        Reply::End(_) | Reply::Done | Reply::Refused { .. } => 0,
    });
    let width = width.max().unwrap_or(0).max("link".len());
    for reply in replies {
        match reply {
            Reply::Group(group) => {
                exit = exit.max(condition(&group, Wanted::Online));
                show_group(&mut text, &group, width, "");
            }
            Reply::Managed { report, heard_ms } => {
                exit = exit.max(condition(&report.report, report.wanted));
                show_group(&mut text, &report.report, width, &managed_words(&report, heard_ms));
            }
            Reply::End(link) => line(&mut text, "link", width, &link_words(&link)),
            Reply::Done => {}
            Reply::Refused { reason } => {
                eprintln!("roost-guest: {}", printable(&reason));
                return if reason.starts_with("there is no group") {
                    Exit::UnknownGroup
                } else {
                    Exit::TryAgain
                };
            }
        }
    }
    // Whoever has enough of it closes the pipe; that is no failure.
    let _ = io::stdout().write_all(text.as_bytes());
    exit
}

fn condition(group: &GroupReport, wanted: Wanted) -> Exit {
    match (&group.state, wanted) {
        (GroupState::Online, Wanted::Online) | (GroupState::Offline, Wanted::Offline) => Exit::Ok,
        (GroupState::Faulted(_), _) => Exit::Broken,
        _ => Exit::Degraded,
    }
}

/// What the host wants of a group, and whether it is there.
fn managed_words(managed: &ManagedReport, heard_ms: Option<u64>) -> String {
    let wanted = match managed.wanted {
        Wanted::Online => "online",
        Wanted::Offline => "offline",
    };
    let heard = heard_ms.map_or_else(
        || "host not heard yet".to_owned(),
        |ms| format!("host heard {}.{} s ago", ms / 1000, ms % 1000 / 100),
    );
    format!("managed: wanted {wanted}, epoch {}, {heard}", managed.epoch)
}

fn line(text: &mut String, name: &str, width: usize, words: &str) {
    writeln!(text, "{name:width$}  {}", printable(words).replace('\n', " "))
        .expect("a string takes everything");
}

fn link_words(link: &LinkStatus) -> String {
    match link {
        LinkStatus::None => "none: the controller works for itself".to_owned(),
        LinkStatus::Up { host, group } => {
            format!("connected to host {host}, which knows this guest as {group}")
        }
        LinkStatus::Down { reason } => format!("down: {reason}"),
    }
}

fn show_group(text: &mut String, group: &GroupReport, width: usize, managed: &str) {
    let frozen = if group.frozen { " (frozen: watched, not touched)" } else { "" };
    let state = match &group.state {
        GroupState::Offline => "offline".to_owned(),
        GroupState::Starting => "starting".to_owned(),
        GroupState::Online => "online".to_owned(),
        GroupState::Degraded => "degraded".to_owned(),
        GroupState::Recovering => "recovering".to_owned(),
        GroupState::Stopping => "stopping".to_owned(),
        GroupState::Faulted(fault) => {
            format!("FAULTED: {}: {} ({})", fault.resource, fault.reason, fault.exit)
        }
    };
    line(text, &group.name, width, &format!("{state}{frozen}"));
    if !managed.is_empty() {
        line(text, "", width, managed);
    }
    for resource in &group.resources {
        let is_as_wanted = match group.state {
            GroupState::Offline => resource.state == ResourceState::Stopped,
            _ => resource.state == ResourceState::Running,
        };
        if !is_as_wanted || resource.restarts > 0 {
            let restarts = match resource.restarts {
                0 => String::new(),
                1 => ", restarted once of late".to_owned(),
                times => format!(", restarted {times} times of late"),
            };
            let detail =
                if resource.detail.is_empty() { String::new() } else { format!(": {}", resource.detail) };
            line(text, "", width, &format!("{} {}{restarts}{detail}", resource.name, word(resource.state)));
        }
    }
    if let GroupState::Faulted(fault) = &group.state {
        for said in fault.output.lines() {
            line(text, "", width, &format!("| {said}"));
        }
    }
}

const fn word(state: ResourceState) -> &'static str {
    match state {
        ResourceState::Stopped => "is stopped",
        ResourceState::Starting => "is starting",
        ResourceState::Running => "runs",
        ResourceState::Degraded => "is degraded",
        ResourceState::Stopping => "is stopping",
        ResourceState::Waiting => "waits",
        ResourceState::Failed => "failed",
    }
}
