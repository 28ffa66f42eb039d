//! Judging: is something wrong, and is all well?
//!
//! Silence is never judged alone. A guest that does not speak is only silent while libvirt shows it running, not busy
//! with it, and only hung when neither its vCPUs nor its disks moved; a guest that moves is reported first, and
//! recovered only if it is configured so.

use super::super::vm::{Off, Paused, Run};
use super::{Duration, EventKind, Failure, Group, Instant, Level, News, Outbox, Phase, Rung, Voice, seconds};
use crate::config::OnSilence;
use roost_proto::text::printable;

/// A VM whose counters did not move for so long is stuck: three polls of libvirt. An idle guest's timers move
/// them several times a second.
pub const STUCK_AFTER: Duration = Duration::from_secs(6);

/// What was told of a controller's silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Nothing: it speaks, or not for long enough.
    Heard,
    /// That it is silent while the VM makes progress.
    Reported,
}

impl Group {
    /// How long the controller has been silent, if that is too long and nothing excuses it.
    fn silent_for(&self, now: Instant) -> Option<Duration> {
        if self.vm.run() != Some(Run::Running) || !self.saved.had_controller {
            return None; // while libvirt is busy with it, each view excuses the guest
        }
        let silent = now.since(self.remote.heard());
        (silent >= self.silence_limit()).then_some(silent)
    }

    const fn silence_limit(&self) -> Duration {
        match self.remote.voice() {
            Voice::Awaited => self.config.boot_grace,
            Voice::Connected | Voice::Gone => self.config.silence,
        }
    }

    fn is_stuck(&self, now: Instant) -> bool {
        self.vm.last_progress().is_some_and(|at| now.since(at) >= STUCK_AFTER)
    }

    pub(super) fn is_silent(&self, now: Instant) -> bool {
        self.silent_for(now).is_some()
    }

    /// Notices the beginning and the end of a silence, and tells of it once.
    pub(super) fn listen(&mut self, now: Instant, out: &mut Outbox) {
        match (self.silent_for(now), self.silence) {
            (Some(silent), Silence::Heard) if !self.is_stuck(now) => {
                self.silence = Silence::Reported;
                let then = match self.config.on_silence {
                    OnSilence::Recover => {
                        format!("if that lasts {} it is reset", seconds(self.config.silence_patience))
                    }
                    OnSilence::Report => "as configured, that is only reported".to_owned(),
                };
                let text = format!(
                    "the guest's controller is silent for {}, but the VM makes progress; {then}",
                    seconds(silent)
                );
                self.event(out, Level::Warning, EventKind::ControllerLost, text);
            }
            (None, Silence::Reported) => {
                self.silence = Silence::Heard;
                if self.remote.voice() == Voice::Connected {
                    self.tell(News::Connected { software: "it was silent".to_owned(), rebooted: false }, out);
                }
            }
            _ => {}
        }
    }

    /// What is wrong, if something is.
    pub(super) fn failure(&self, now: Instant, run: Run) -> Option<Failure> {
        let vm = &self.config.vm;
        let gone = |text: String| Some(Failure::new(Rung::Restart, EventKind::VmFailed, text));
        match run {
            Run::Running => self.fault().or_else(|| self.hang(now)),
            Run::Off(why) => gone(format!("VM '{vm}' {}", off(why))),
            Run::Crashed | Run::Paused(Paused::Crashed) => gone(format!("the kernel in VM '{vm}' crashed")),
            Run::Paused(Paused::Watchdog) => gone(format!("the watchdog of VM '{vm}' fired")),
            Run::ShuttingDown
                if self.going_down.is_some_and(|at| now.since(at) >= self.config.stop_timeout) =>
            {
                gone(format!("VM '{vm}' is stuck on its way down"))
            }
            Run::Undefined | Run::ShuttingDown | Run::Paused(_) | Run::Asleep => None,
        }
    }

    fn fault(&self) -> Option<Failure> {
        let (app, fault) = self.remote.fault(|app| self.counts(app))?;
        let text =
            format!("the guest gave up on '{app}': {}: {} ({})", fault.resource, fault.reason, fault.exit);
        Some(Failure::new(Rung::Reboot, EventKind::Fault, printable(&text)))
    }

    fn hang(&self, now: Instant) -> Option<Failure> {
        let silent = self.silent_for(now)?;
        let failed = |text| Some(Failure::new(Rung::Reset, EventKind::ControllerLost, text));
        if self.is_stuck(now) {
            return failed(format!(
                "the guest's controller is silent for {}, and neither vCPUs nor disks move",
                seconds(silent)
            ));
        }
        let patient = silent < self.silence_limit() + self.config.silence_patience;
        if self.config.on_silence == OnSilence::Report || patient {
            return None;
        }
        failed(format!(
            "the guest's controller is silent for {}, though the VM makes progress",
            seconds(silent)
        ))
    }

    /// Whether a controller is waited for.
    pub(super) fn expects_controller(&self) -> bool {
        self.saved.had_controller || self.config.apps != super::Apps::All
    }

    /// A controller is expected, and there never was one, though there was time enough.
    pub(super) fn lacks_controller(&self, now: Instant) -> bool {
        self.vm.run() == Some(Run::Running)
            && self.expects_controller()
            && !self.saved.had_controller
            && now.since(self.remote.heard()) >= self.config.boot_grace
    }

    /// Whether all that counts runs.
    pub(super) fn is_well(&self, now: Instant, run: Run) -> bool {
        run == Run::Running
            && (!self.expects_controller()
                || self.silent_for(now).is_none()
                    && self.remote.is_told()
                    && self.remote.is_up(|app| self.counts(app))
                    && self.missing_app().is_none())
    }

    /// An application that the configuration names and the guest does not know.
    pub(super) fn missing_app(&self) -> Option<&str> {
        let super::Apps::Named(names) = &self.config.apps else { return None };
        names.iter().map(String::as_str).find(|name| !self.remote.knows(name))
    }

    /// When the passing of time alone could change a judgement.
    pub(super) fn next_judgement(&self) -> Option<Instant> {
        let going_down = self.going_down.map(|at| at + self.config.stop_timeout);
        let listening = self.vm.run() == Some(Run::Running) && self.saved.had_controller;
        let heard = self.remote.heard();
        let silent = heard + self.silence_limit();
        let next = match (self.silence, self.vm.last_progress()) {
            _ if !listening || matches!(self.phase, Phase::GivenUp) => None,
            (Silence::Heard, _) => Some(silent),
            (Silence::Reported, Some(at)) => {
                Some((at + STUCK_AFTER).max(silent).min(silent + self.config.silence_patience))
            }
            (Silence::Reported, None) => None,
        };
        [going_down, next].into_iter().flatten().min()
    }
}

const fn off(why: Off) -> &'static str {
    match why {
        Off::Unknown => "is off",
        Off::Shutdown => "was shut down from inside",
        Off::Destroyed => "was destroyed by somebody",
        Off::Crashed => "crashed",
        Off::Failed => "failed: its QEMU process ended",
        Off::Migrated => "was moved away",
        Off::Saved => "was saved",
        Off::Snapshot => "was put back to a snapshot",
    }
}
