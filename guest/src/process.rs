//! Supervised processes: what a `process` resource is started with, and where its output goes.
//!
//! Captured output goes through a named pipe in the run directory. The process holds both of its ends, so it never sees it
//! break when the controller dies; a restarted controller opens it by its name and reads on.

use crate::config::{Output, Process};
use crate::kinds::words;
use crate::reactor::{Interest, Key, Reactor, Watched};
use crate::spawn::{Identity, Origin, SpawnError, Spec, reason};
use crate::subcluster::Cause;
use crate::tail::Tail;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{fchown, mkfifo, read};
use roost_proto::link::{Exit, MAX_OUTPUT};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The controller's end of a captured output.
#[derive(Debug)]
pub struct Capture {
    pipe: Watched,
    tail: Tail,
}

struct Pipe<'a>(&'a Watched);

impl Read for Pipe<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(read(self.0, buffer)?)
    }
}

impl Capture {
    /// Opens the named pipe at `path`, or makes it.
    pub fn open(reactor: &mut Reactor, path: &Path) -> io::Result<Self> {
        // Open for writing too, so that it does not report an end whenever no process has it open.
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let pipe = open_pipe(path, flags)?;
        Ok(Self { pipe: reactor.watch(pipe, Interest::EPOLLIN)?, tail: Tail::default() })
    }

    /// Whether `key` is its pipe's.
    pub fn owns(&self, key: Key) -> bool {
        self.pipe.key() == key
    }

    /// Reads what was written, up to a turn.
    pub fn read(&mut self) {
        let _ = self.tail.fill(Pipe(&self.pipe)); // a pipe that is open at both ends does not fail
    }

    /// A new life of the process begins.
    pub fn clear(&mut self) {
        self.read();
        self.tail.clear();
    }
}

fn open_pipe(path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    match mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let fd = open(path, flags | OFlag::O_NOFOLLOW, Mode::empty())?;
    let is_pipe = SFlag::from_bits_truncate(fstat(&fd)?.st_mode) & SFlag::S_IFMT == SFlag::S_IFIFO;
    if is_pipe { Ok(fd) } else { Err(ErrorKind::AlreadyExists.into()) }
}

/// Starts `process`; its note goes to `note`, captured output through `pipe`.
pub fn start(origin: &Origin, process: &Process, note: &Path, pipe: &Path) -> Result<i32, SpawnError> {
    let user = process.user.as_deref().map(Identity::of).transpose()?;
    let output = match &process.output {
        Output::Capture => capture_end(pipe, user.as_ref()),
        Output::File(path) => file_end(path),
    }?;
    let spec = Spec {
        command: process.command.clone(),
        directory: process.directory.clone(),
        environment: process.environment.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        user,
        note: Some(note.to_owned()),
    };
    origin.spawn(&spec, output)
}

fn capture_end(pipe: &Path, user: Option<&Identity>) -> Result<OwnedFd, SpawnError> {
    let failed = |error: &io::Error| {
        SpawnError::Failed(format!("cannot open '{}' for its output: {}", pipe.display(), reason(error)))
    };
    let fd = open_pipe(pipe, OFlag::O_RDWR | OFlag::O_CLOEXEC).map_err(|error| failed(&error))?;
    if let Some(user) = user {
        // Some programs open /dev/stderr by its name.
        let (uid, gid) = user.owner();
        fchown(&fd, Some(uid), Some(gid)).map_err(|error| failed(&error.into()))?;
    }
    Ok(fd)
}

fn file_end(path: &Path) -> Result<OwnedFd, SpawnError> {
    let open =
        OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(libc::O_NONBLOCK).open(path);
    let file = open.map_err(|error| {
        let reason = format!("cannot open '{}' for its output: {}", path.display(), reason(&error));
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::IsADirectory => {
                SpawnError::Misconfigured(reason)
            }
            _ => SpawnError::Failed(reason),
        }
    })?;
    if !file.metadata().is_ok_and(|data| data.is_file()) {
        return Err(SpawnError::Misconfigured(format!("'{}' is no file to write output to", path.display())));
    }
    Ok(file.into())
}

/// Why a process that was not asked to end is gone.
pub fn gone(exit: Exit, output: String) -> Cause {
    let reason = match exit {
        Exit::Code(code) => format!("it ended with exit status {code}"),
        Exit::Signal(signal) => format!("it was killed by signal {signal}"),
        Exit::Unknown => "it ended".to_owned(),
    };
    Cause { exit, output, ..words(reason) }
}

/// The last lines of its output.
pub fn last_output(process: &Process, capture: Option<&mut Capture>) -> String {
    match (&process.output, capture) {
        (Output::Capture, Some(capture)) => {
            capture.read();
            capture.tail.text()
        }
        (Output::Capture, None) => String::new(),
        (Output::File(path), _) => file_tail(path).unwrap_or_default(),
    }
}

fn file_tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    // Two of it, so that the tail knows that something was before.
    file.seek(SeekFrom::Start(size.saturating_sub(2 * MAX_OUTPUT as u64)))?;
    let mut tail = Tail::default();
    tail.fill(file)?;
    Ok(tail.text())
}

/// Removes what belonged to a resource that is no more.
pub fn forget(note: &Path, pipe: &Path) {
    for path in [note, pipe] {
        let _ = fs::remove_file(path); // as a rule only one of them is there
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn scratch(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("roost-process-{}-{name}", std::process::id()))
    }

    #[test]
    fn output_outlives_the_reader_and_the_writer() {
        let path = scratch("pipe");
        let mut reactor = Reactor::new().expect("epoll");
        let mut writer = File::from(capture_end(&path, None).expect("a pipe"));
        writer.write_all(b"before anybody reads\n").expect("room");
        let mut capture = Capture::open(&mut reactor, &path).expect("opened");
        capture.read();
        assert_eq!(capture.tail.text(), "before anybody reads");
        drop(capture); // the controller dies
        writer.write_all(b"while nobody reads\n").expect("no broken pipe");
        let mut capture = Capture::open(&mut reactor, &path).expect("opened");
        drop(writer);
        capture.read();
        assert_eq!(capture.tail.text(), "while nobody reads");
        let mut ready = Vec::new();
        reactor.wait(Some(core::time::Duration::ZERO), &mut ready).expect("no wait");
        assert!(ready.is_empty(), "no writer is no event");
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn a_file_in_the_place_of_the_pipe_is_not_written_to() {
        let path = scratch("file");
        fs::write(&path, "precious").expect("written");
        assert!(matches!(capture_end(&path, None), Err(SpawnError::Failed(_))));
        assert_eq!(fs::read(&path).expect("read"), b"precious");
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn the_end_of_a_long_file_is_read_and_not_all_of_it() {
        let path = scratch("log");
        fs::write(&path, "line\n".repeat(1_000_000) + "last\n").expect("written");
        let text = file_tail(&path).expect("read");
        assert!(text.ends_with("line\nlast") && text.len() <= MAX_OUTPUT);
        fs::remove_file(&path).expect("removed");
    }
}
