//! Why `roostd` is to end: systemd is asked, by its own program, whether it shuts the machine down.
//!
//! Only a clear word counts: a restart of `roostd` must give no group away. So whatever is late, or not understood, means
//! that the machine stays up.

use super::mailbox::{Mailbox, Teller, mailbox};
use crate::sys::process::{ends_within, pidfd_open};
use core::time::Duration;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Command, Stdio};

/// systemd answers within milliseconds. Whoever restarts `roostd` waits no longer than this for one that does not.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// What is read of the answer, in bytes; it is one word.
const MAX_ANSWER: usize = 64;
/// The thread waits for a program.
const STACK: usize = 128 * 1024;

/// What ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The machine is being shut down, or booted anew.
    Machine,
    /// `roostd` alone, as far as is known.
    Daemon,
}

/// Who asks systemd.
pub struct Shutdown {
    tell: Teller<Ending>,
    told: Mailbox<Ending>,
}

impl Shutdown {
    /// Has asked nothing yet.
    pub fn new() -> io::Result<Self> {
        let (tell, told) = mailbox()?;
        Ok(Self { tell, told })
    }

    /// Readable when [`Shutdown::poll`] has something.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.told.fd()
    }

    /// The answer, if it came.
    pub fn poll(&self) -> Option<Ending> {
        self.told.take()
    }

    /// Asks, in a thread of its own.
    pub fn ask(&self) {
        let tell = self.tell.clone();
        let work = move || tell.tell(ending("systemctl", ANSWER_WITHIN));
        if let Err(error) =
            std::thread::Builder::new().name("shutdown".to_owned()).stack_size(STACK).spawn(work)
        {
            log::warn!("whether the machine is being shut down cannot be asked: {error}");
            self.tell.tell(Ending::Daemon);
        }
    }
}

fn ending(program: &str, limit: Duration) -> Ending {
    match answer(program, limit) {
        Ok(word) if word.trim() == "stopping" => Ending::Machine,
        Ok(_) => Ending::Daemon,
        Err(error) => {
            log::warn!("whether the machine is being shut down cannot be asked: '{program}': {error}");
            Ending::Daemon
        }
    }
}

/// What it writes, once it has ended. Its exit status says nothing: it is 1 for whatever is not "running".
fn answer(program: &str, limit: Duration) -> io::Result<String> {
    let mut child = Command::new(program)
        .arg("is-system-running")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let ended = pidfd_open(child.id().cast_signed()).and_then(|process| {
        if ends_within(process.as_fd(), limit)? { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
    });
    if ended.is_err() {
        let _ = child.kill(); // it may end in this moment
    }
    child.wait()?;
    ended?;
    let mut word = vec![0; MAX_ANSWER];
    let length = child.stdout.take().map_or(Ok(0), |mut stdout| stdout.read(&mut word))?;
    Ok(String::from_utf8_lossy(&word[..length]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    fn asked(name: &str, script: &str, limit: Duration) -> Ending {
        let path = std::env::temp_dir().join(format!("roost-shutdown-{name}-{}", std::process::id()));
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("writable");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("our own");
        let ending = ending(path.to_str().expect("a plain path"), limit);
        std::fs::remove_file(path).expect("our own");
        ending
    }

    #[test]
    fn only_a_clear_word_says_that_the_machine_ends() {
        let limit = Duration::from_secs(20);
        let stopping = "test \"$*\" = is-system-running && echo stopping; exit 1";
        assert_eq!(asked("stopping", stopping, limit), Ending::Machine);
        for (name, script) in [
            ("running", "echo running"),
            ("degraded", "echo degraded; exit 1"),
            ("nothing", "exit 1"),
            ("prose", "echo not stopping"),
        ] {
            assert_eq!(asked(name, script, limit), Ending::Daemon, "{name}");
        }
        assert_eq!(ending("/nowhere/systemctl", limit), Ending::Daemon);
    }

    #[test]
    fn who_does_not_answer_is_not_waited_for() {
        let begun = Instant::now();
        assert_eq!(asked("late", "echo stopping; exec sleep 100", Duration::from_millis(50)), Ending::Daemon);
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
