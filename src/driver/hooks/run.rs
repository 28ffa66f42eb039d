//! One run of one hook: the event on its standard input, both outputs in one pipe, a deadline, and its process group killed
//! at the end of it.

use crate::driver::leash::Leash;
use crate::sys::process::pidfd_open;
use core::time::Duration;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::Pid;
use roost_proto::text::printable;
use std::fs::File;
use std::io::{self, PipeReader, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// What is kept of a hook's output, in bytes: its end. The rest is read and thrown away.
const OUTPUT: usize = 2048;
/// Lines of it that are told, at most.
const LINES: usize = 10;
/// Reads after a hook has ended, at most: what left its process group may write for ever.
const LAST_READS: usize = 64;

/// An environment variable's name and value.
pub type Variable = (&'static str, String);

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ran {
    /// With exit status 0, in time.
    Well,
    /// Otherwise.
    Badly {
        /// How, to go on after the hook's name.
        why: String,
        /// The last lines that it wrote.
        output: String,
    },
}

/// Runs the program at `path`. What is left of its process group when it ends, or when `limit` has passed, is killed.
pub fn run(leash: &Leash, path: &Path, input: &[u8], variables: &[Variable], limit: Duration) -> Ran {
    match attempt(leash, path, input, variables, limit) {
        Ok(ran) => ran,
        Err(error) => {
            let help = match error.raw_os_error() {
                Some(libc::ENOEXEC) => "; its first line must name what runs it, as in #!/bin/sh",
                Some(libc::ENOENT) => "; is there what its first line names?",
                _ => "",
            };
            Ran::Badly { why: format!("cannot be run: {error}{help}"), output: String::new() }
        }
    }
}

fn attempt(
    leash: &Leash,
    path: &Path,
    input: &[u8],
    variables: &[Variable],
    limit: Duration,
) -> io::Result<Ran> {
    let (mut output, stdout) = io::pipe()?;
    let stderr = stdout.try_clone()?;
    fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let until = Instant::now() + limit;
    let mut child = Command::new(path)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C.UTF-8")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .process_group(0)
        .stdin(in_memory(input)?)
        .stdout(stdout)
        .stderr(stderr)
        .spawn()?; // our ends of what it writes to are closed with the command
    // roostd is the last to be killed when memory runs out, and what it starts need not be.
    let _ = std::fs::write(format!("/proc/{}/oom_score_adj", child.id()), "0"); // it may have ended
    let mut words = Tail::default();
    leash.hold(Pid::from_raw(child.id().cast_signed()));
    let ended = wait(&child, &mut output, &mut words, until);
    leash.let_go();
    // One that the kernel cannot end is waited for: another beside it would hang as well.
    let status = child.wait()?;
    for _ in 0..LAST_READS {
        if words.read(&mut output) != More::Perhaps {
            break;
        }
    }
    let why = match ended? {
        InTime::Yes if status.success() => return Ok(Ran::Well),
        InTime::Yes => format!("failed ({status})"),
        InTime::No => format!("did not end within {} s, and was killed", limit.as_secs_f32()),
    };
    Ok(Ran::Badly { why, output: words.told() })
}

/// The event, as a file that is nowhere: whether the hook reads it or not, nobody waits.
fn in_memory(bytes: &[u8]) -> io::Result<Stdio> {
    let mut file = File::from(memfd_create(c"event", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InTime {
    Yes,
    No,
}

/// Reads what the child writes until it ends, or its time is over.
fn wait(child: &Child, output: &mut PipeReader, words: &mut Tail, until: Instant) -> io::Result<InTime> {
    let process = pidfd_open(child.id().cast_signed())?;
    let mut more = More::Perhaps;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let millis = left.as_nanos().div_ceil(1_000_000);
        let (ended, readable) = {
            let mut fds = vec![PollFd::new(process.as_fd(), PollFlags::POLLIN)];
            if more != More::No {
                fds.push(PollFd::new(output.as_fd(), PollFlags::POLLIN));
            }
            match poll(&mut fds, PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let any = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
            (any(&fds[0]), fds.get(1).is_some_and(any))
        };
        if ended {
            return Ok(InTime::Yes);
        }
        if left.is_zero() {
            return Ok(InTime::No);
        }
        if readable {
            more = words.read(output);
        }
    }
}

/// Whether there is more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum More {
    Perhaps,
    NotNow,
    No,
}

/// The end of what was written.
#[derive(Debug, Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn read(&mut self, from: &mut PipeReader) -> More {
        let mut buffer = [0; 4096];
        match from.read(&mut buffer) {
            Ok(0) => More::No,
            Ok(count) => {
                self.0.extend_from_slice(&buffer[..count]);
                self.0.drain(..self.0.len().saturating_sub(OUTPUT));
                More::Perhaps
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                More::NotNow
            }
            Err(_) => More::No,
        }
    }

    /// Its last lines, for people.
    fn told(&self) -> String {
        let text = printable(&String::from_utf8_lossy(&self.0));
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}
