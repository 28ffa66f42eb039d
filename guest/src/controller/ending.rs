//! How the controller ends. A service just goes, and leaves the applications running. Process 1 stops the groups, ends
//! everything else, and has the kernel restart, halt or power off the machine.

use super::{Controller, Role};
use crate::agent::Agent;
use crate::log::Level;
use crate::notify;
use crate::spawn::Spec;
use core::time::Duration;
use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, sync};
use roost_proto::exit::Exit;
use roost_proto::time::Instant;
use std::path::Path;

/// How long what is no resource may take to end after SIGTERM, before it is killed: a shell of a person, a daemon of no group.
const FAREWELL: Duration = Duration::from_secs(2);

/// An end that was asked for.
#[derive(Debug)]
pub(super) enum Ending {
    /// A service goes at once.
    Leave,
    /// Process 1 stops the groups.
    Groups(RebootMode),
    /// All else was asked to end, and is killed then.
    Rest(RebootMode, Instant),
}

impl Ending {
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Rest(_, until) => Some(*until),
            Self::Leave | Self::Groups(_) => None,
        }
    }
}

impl Controller {
    /// `signal` asks the controller to end. Process 1 follows the usage of other inits of small systems: SIGTERM and SIGINT
    /// (which the kernel sends for Ctrl-Alt-Del) restart the machine, SIGUSR1 halts it, SIGUSR2 powers it off.
    pub(super) fn end_by(&mut self, signal: i32) {
        let mode = match signal {
            libc::SIGUSR1 => RebootMode::RB_HALT_SYSTEM,
            libc::SIGUSR2 => RebootMode::RB_POWER_OFF,
            _ => RebootMode::RB_AUTOBOOT,
        };
        self.ending = match (self.role, self.ending.take()) {
            (Role::Service, _) => Some(Ending::Leave),
            (Role::Init, None) => {
                self.log
                    .line(Level::Info, format_args!("told to end by signal {signal}: stopping all groups"));
                self.machine.shut_down(self.now);
                Some(Ending::Groups(mode))
            }
            // Asked twice: whoever asks does not want to wait.
            (Role::Init, Some(_)) => Some(Ending::Rest(mode, self.now)),
        };
    }

    /// Ends if all is done that is to be done before.
    pub(super) fn end_if_due(&mut self) -> Option<Exit> {
        match self.ending.as_ref()? {
            Ending::Leave => {
                notify::tell(notify::State::Stopping);
                self.leave_a_drain();
                self.log.line(Level::Info, format_args!("ends; applications run on"));
                Some(Exit::Ok)
            }
            Ending::Groups(mode) if self.machine.is_down() => {
                let mode = *mode;
                let _ = kill(Pid::from_raw(-1), Signal::SIGTERM); // there may be nobody else
                self.ending = Some(Ending::Rest(mode, self.now + FAREWELL));
                None
            }
            Ending::Groups(_) => None,
            Ending::Rest(mode, until) => {
                let mode = *mode;
                let is_alone = kill(Pid::from_raw(-1), None) == Err(Errno::ESRCH);
                if is_alone || *until <= self.now { Some(self.end_machine(mode)) } else { None }
            }
        }
    }

    fn end_machine(&self, mode: RebootMode) -> Exit {
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL); // there may be nobody left
        sync();
        let error = match reboot(mode) {
            Ok(never) => match never {},
            Err(error) => error,
        };
        self.log.line(Level::Error, format_args!("the kernel does not end the machine: {error}"));
        Exit::System
    }

    /// Applications whose output was captured would stand still once their pipe is full. While no controller reads, somebody
    /// else has to; the next controller ends it.
    fn leave_a_drain(&mut self) {
        if !self.units.values().any(|unit| unit.capture.is_some() && unit.child.is_some()) {
            return;
        }
        // By its name, which people then see; by the kernel's link if the file was replaced.
        let program = std::env::current_exe().ok().filter(|path| path.exists());
        let program = program.map_or_else(|| "/proc/self/exe".to_owned(), |path| path.display().to_string());
        let command = [&program, "--run-dir", &self.run_dir.display().to_string(), "drain"];
        let spec = Spec {
            command: command.map(str::to_owned).to_vec(),
            note: Some(drain_note(&self.run_dir)),
            ..Spec::default()
        };
        if let Err(error) = Agent::start(&mut self.reactor, &self.origin, &spec) {
            self.log.line(
                Level::Warning,
                format_args!(
                    "applications that write more than 64 KiB will wait for the next controller: {error:?}"
                ),
            );
        }
    }
}

/// Where a drain tells of itself.
pub(super) fn drain_note(run_dir: &Path) -> std::path::PathBuf {
    run_dir.join("drain")
}
