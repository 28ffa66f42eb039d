//! Mounted file systems: mount(8) and umount(8), and `/proc/self/mountinfo` (proc(5)), whose every change is an event.

use super::{Stage, Step, Task, cause, words};
use crate::agent::End;
use crate::config::Kind;
use crate::spawn::Spec;
use crate::subcluster::{Action, Outcome};
use roost_proto::link::Exit;
use std::fs;
use std::path::Path;

/// The first step.
pub fn begin(task: &Task<'_>) -> Step {
    let Kind::Mount { source, target, fstype, options } = &task.resource.kind else {
        unreachable!("only mounts are mounted")
    };
    let place = target.display().to_string();
    match (task.action, state(target, options)) {
        (Action::Monitor, state) => Step::Done(monitor(state, &place)),
        (Action::Start, State::NotMounted) if !target.is_dir() => {
            Step::Done(Outcome::Misconfigured(words(format!("there is no directory '{place}' to mount on"))))
        }
        (Action::Start, State::NotMounted) => {
            let mut command = vec!["mount".to_owned()];
            for (flag, value) in [("-t", fstype), ("-o", options)] {
                if !value.is_empty() {
                    command.extend([flag.to_owned(), value.clone()]);
                }
            }
            command.extend(["--".to_owned(), source.clone(), place]);
            Step::Run(Spec { command, ..Spec::default() }, Stage::Act)
        }
        (Action::Start, state) => Step::Done(monitor(state, &place)),
        (Action::Stop, State::NotMounted) => Step::Done(Outcome::Stopped),
        (Action::Stop, _) => {
            let command = vec!["umount".to_owned(), "--".to_owned(), place];
            Step::Run(Spec { command, ..Spec::default() }, Stage::Act)
        }
    }
}

/// What follows when mount(8) or umount(8) has ended. Only what the kernel says counts.
pub fn ended(task: &Task<'_>, end: End) -> Step {
    let Kind::Mount { target, options, .. } = &task.resource.kind else {
        unreachable!("only mounts are mounted")
    };
    // What follows the first line is advice.
    let said = end.output.lines().next().map(|line| format!(": {line}")).unwrap_or_default();
    let succeeded = end.exit == Exit::Code(0);
    match (task.action, state(target, options)) {
        (Action::Stop, State::NotMounted) => Step::Done(Outcome::Stopped),
        // Something else is mounted below it; each round takes one away.
        (Action::Stop, _) if succeeded => begin(task),
        (Action::Stop, _) => {
            Step::Done(Outcome::Failed(cause(&format!("umount failed ({}){said}", end.exit), end)))
        }
        (_, State::NotMounted) => {
            Step::Done(Outcome::Failed(cause(&format!("mount failed ({}){said}", end.exit), end)))
        }
        (_, state) => Step::Done(monitor(state, &target.display().to_string())),
    }
}

fn monitor(state: State, place: &str) -> Outcome {
    match state {
        State::Mounted => Outcome::Running,
        State::ReadOnly => Outcome::Degraded(words(format!("'{place}' is mounted, but read-only"))),
        State::NotMounted => Outcome::Stopped,
    }
}

/// How a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Something is mounted there.
    Mounted,
    /// It is, but only for reading, which was not asked for: file systems do that to themselves after errors.
    ReadOnly,
    /// Nothing is.
    NotMounted,
}

/// How `target` is now.
pub fn state(target: &Path, options: &str) -> State {
    read_state(&fs::read("/proc/self/mountinfo").unwrap_or_default(), target, options)
}

fn read_state(mountinfo: &[u8], target: &Path, options: &str) -> State {
    let target = target.as_os_str().as_encoded_bytes();
    let target = target.strip_suffix(b"/").filter(|rest| !rest.is_empty()).unwrap_or(target);
    let mut state = State::NotMounted;
    for line in mountinfo.split(|&byte| byte == b'\n') {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        if fields.len() > 5 && unescape(fields[4]) == target {
            let super_options = fields.last().copied().unwrap_or_default();
            let is_ro = [fields[5], super_options]
                .into_iter()
                .any(|list| list.split(|&byte| byte == b',').any(|option| option == b"ro"));
            let is_wanted = options.split(',').any(|option| option == "ro");
            state = if is_ro && !is_wanted { State::ReadOnly } else { State::Mounted };
        }
    }
    state // the last line of a target is the one on top
}

/// Undoes the octal escapes of blanks, tabs, line feeds and backslashes.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut at = 0;
    while let Some(&byte) = field.get(at) {
        let digits = field.get(at + 1..at + 4).and_then(|digits| core::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) if byte == b'\\' => {
                out.push(code);
                at += 4;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &[u8] = b"22 1 0:20 / / rw,relatime - ext4 /dev/vda1 rw\n\
        30 22 0:30 / /srv/a\\040b rw,noatime shared:5 - tmpfs tmpfs rw,size=4k\n\
        31 22 0:31 / /srv/c rw - ext4 /dev/vdb ro,errors=remount-ro\n\
        32 22 0:32 / /srv/d ro - ext4 /dev/vdc rw\n\
        33 32 0:33 / /srv/d rw - ext4 /dev/vdd rw\n";

    #[test]
    fn targets_are_found_under_the_kernels_spelling() {
        let state = |target: &str, options: &str| read_state(INFO, Path::new(target), options);
        assert_eq!(state("/srv/a b", ""), State::Mounted);
        assert_eq!(state("/srv/a b/", ""), State::Mounted);
        assert_eq!(state("/srv/a", ""), State::NotMounted);
        assert_eq!(state("/", ""), State::Mounted);
        assert_eq!(state("/srv/c", ""), State::ReadOnly);
        assert_eq!(state("/srv/c", "noatime,ro"), State::Mounted);
        assert_eq!(state("/srv/d", ""), State::Mounted, "what is on top counts");
        assert_eq!(read_state(b"", Path::new("/"), ""), State::NotMounted);
    }

    #[test]
    fn half_an_escape_is_left_as_it_is() {
        assert_eq!(unescape(b"a\\04"), b"a\\04");
        assert_eq!(unescape(b"\\134"), b"\\");
        assert_eq!(unescape(b"\\999"), b"\\999");
    }
}
