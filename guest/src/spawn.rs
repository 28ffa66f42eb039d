//! Starting programs: directly, never through a shell, each the leader of a process group of its own, with nothing of the
//! controller's but its environment.

use crate::{procfs, sys};
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::signal::SigSet;
use nix::unistd::{Gid, Uid, User, getgrouplist, setgid, setgroups, setuid};
use roost_proto::local::ProcessId;
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where programs are looked for when the controller was told nothing, as process 1 of a small guest.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What systemd says to the controller alone.
const NOT_FOR_CHILDREN: [&str; 10] = [
    "NOTIFY_SOCKET",
    "JOURNAL_STREAM",
    "INVOCATION_ID",
    "SYSTEMD_EXEC_PID",
    "MANAGERPID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// A program to be started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// The program and its arguments. A program without a slash is looked for in `PATH`.
    pub command: Vec<String>,
    /// Where it starts; `/` when empty.
    pub directory: PathBuf,
    /// Added to the controller's environment.
    pub environment: Vec<(String, String)>,
    /// Whom it runs as; root when `None`.
    pub user: Option<Identity>,
    /// Where the child writes down who it is, before it becomes the program.
    pub note: Option<PathBuf>,
}

/// A user with all groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    name: String,
    home: PathBuf,
}

/// Why nothing was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpawnError {
    /// Trying again helps nothing.
    Misconfigured(String),
    /// The system could not just now.
    Failed(String),
}

impl Identity {
    /// The user `name`, as `/etc/passwd` and `/etc/group` have it.
    pub fn of(name: &str) -> Result<Self, SpawnError> {
        let failed = |error: nix::errno::Errno| {
            SpawnError::Failed(format!("cannot look up user '{name}': {}", io::Error::from(error)))
        };
        let user = User::from_name(name)
            .map_err(failed)?
            .ok_or_else(|| SpawnError::Misconfigured(format!("there is no user '{name}'")))?;
        let c_name = CString::new(name)
            .map_err(|_| SpawnError::Misconfigured(format!("'{name}' can be no user's name")))?;
        let groups = getgrouplist(&c_name, user.gid).map_err(failed)?;
        Ok(Self { uid: user.uid, gid: user.gid, groups, name: user.name, home: user.dir })
    }

    /// For what is made for this user.
    pub const fn owner(&self) -> (Uid, Gid) {
        (self.uid, self.gid)
    }

    fn assume(&self) -> io::Result<()> {
        setgroups(&self.groups)?;
        setgid(self.gid)?;
        Ok(setuid(self.uid)?)
    }
}

/// What the controller has changed for itself and gives back to its children.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    boot_id: [u8; 16],
    /// Soft and hard limit of open descriptors, as they were.
    descriptors: Option<(rlim_t, rlim_t)>,
    /// The controller is spared when memory runs out; its applications are not.
    is_spared: bool,
}

impl Origin {
    /// Readies this process: descriptors that it inherited stay with it alone, and it may open as many as it is ever allowed to
    /// (a full configuration has thousands of processes, with two each).
    pub fn prepare() -> io::Result<Self> {
        sys::default_signals();
        sys::close_on_exec_from(3)?;
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).ok();
        if let Some((_, hard)) = descriptors {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        }
        let score: i32 = fs::read_to_string("/proc/self/oom_score_adj")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        Ok(Self { boot_id: procfs::boot_id(), descriptors, is_spared: score < 0 })
    }

    /// This boot.
    pub const fn boot_id(&self) -> [u8; 16] {
        self.boot_id
    }

    fn give_back(&self) -> io::Result<()> {
        if self.is_spared {
            fs::write("/proc/self/oom_score_adj", "0")?;
        }
        if let Some((soft, hard)) = self.descriptors {
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
        }
        Ok(())
    }

    /// Starts `spec` with its output and errors going to `output`; returns the process id.
    pub fn spawn(&self, spec: &Spec, output: OwnedFd) -> Result<i32, SpawnError> {
        let program =
            spec.command.first().ok_or_else(|| SpawnError::Misconfigured("no command".to_owned()))?;
        let errors = output.try_clone().map_err(|error| failed(program, &error))?;
        let mut command = Command::new(program);
        command.args(&spec.command[1..]).process_group(0);
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let root = Path::new("/");
        command.current_dir(if spec.directory.as_os_str().is_empty() { root } else { &spec.directory });
        self.set_environment(&mut command, spec);
        let (origin, user, note) = (*self, spec.user.clone(), spec.note.clone());
        sys::before_exec(&mut command, move || {
            if let Some(note) = &note {
                let _ = write_note(note, origin.boot_id); // without it the controller's own record has to do
            }
            // The controller receives its signals through a descriptor, and has them blocked for that.
            SigSet::empty().thread_set_mask()?;
            origin.give_back()?;
            user.as_ref().map_or(Ok(()), Identity::assume)
        });
        match command.spawn() {
            Ok(child) => Ok(i32::try_from(child.id()).expect("process ids are positive ints")),
            Err(error) => Err(refusal(spec, program, &error)),
        }
    }

    fn set_environment(&self, command: &mut Command, spec: &Spec) {
        for name in NOT_FOR_CHILDREN {
            command.env_remove(name);
        }
        if std::env::var_os("PATH").is_none() {
            command.env("PATH", PATH);
        }
        if let Some(user) = &spec.user {
            command.env("USER", &user.name).env("LOGNAME", &user.name).env("HOME", &user.home);
        }
        command.envs(spec.environment.iter().map(|(name, value)| (name, value)));
    }
}

fn failed(program: &str, error: &io::Error) -> SpawnError {
    SpawnError::Failed(format!("cannot start '{program}': {}", reason(error)))
}

fn refusal(spec: &Spec, program: &str, error: &io::Error) -> SpawnError {
    if !spec.directory.as_os_str().is_empty() && !spec.directory.is_dir() {
        return SpawnError::Misconfigured(format!("there is no directory '{}'", spec.directory.display()));
    }
    if error.kind() == ErrorKind::NotFound && Path::new(program).exists() {
        return SpawnError::Misconfigured(format!("the interpreter of '{program}' does not exist"));
    }
    match error.kind() {
        ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::ArgumentListTooLong
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidFilename => {
            SpawnError::Misconfigured(format!("cannot start '{program}': {}", reason(error)))
        }
        _ if error.raw_os_error() == Some(libc::ENOEXEC) => {
            SpawnError::Misconfigured(format!("'{program}' is no program: it has no '#!' line"))
        }
        _ => failed(program, error),
    }
}

/// The system's words for an error, without its number, in the case of our own messages.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    let mut letters = words.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().collect::<String>() + letters.as_str())
}

/// What a child leaves behind about itself. It is written by the child, so that no moment is left in which the controller could
/// die and forget what it has just started.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    boot_id: [u8; 16],
    process: ProcessId,
}

fn write_note(path: &Path, boot_id: [u8; 16]) -> io::Result<()> {
    let pid = i32::try_from(std::process::id()).map_err(|_| ErrorKind::InvalidData)?;
    let process = procfs::identify(pid).ok_or(ErrorKind::NotFound)?;
    let bytes = postcard::to_allocvec(&Note { boot_id, process }).map_err(|_| ErrorKind::InvalidData)?;
    fs::write(path, bytes)
}

/// The process that a note tells of, if it was written in this boot and that process lives.
pub fn read_note(path: &Path, boot_id: [u8; 16]) -> Option<ProcessId> {
    let note: Note = postcard::from_bytes(&fs::read(path).ok()?).ok()?;
    (note.boot_id == boot_id && procfs::is_alive(note.process)).then_some(note.process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_like_our_own() {
        let error = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(reason(&error), "no such file or directory");
    }

    #[test]
    fn users_are_found_with_their_groups_or_refused() {
        let root = Identity::of("root").expect("every system has root");
        assert_eq!(root.uid, Uid::from_raw(0));
        assert!(root.groups.contains(&Gid::from_raw(0)));
        assert_eq!(
            Identity::of("nobody-of-that-name"),
            Err(SpawnError::Misconfigured("there is no user 'nobody-of-that-name'".to_owned()))
        );
    }
}
