//! Acting: orders to libvirt, and what follows from their ends.

use super::super::vm::{ActionError, Order, Run, Ticket, VmAction};
use super::{
    Count, Doing, Duration, EventKind, Failure, Group, Hold, Instant, Journey, LatePause, Level, Outbox,
    Output, Phase, Rise, Rung, Wanted,
};
use super::{ladder, seconds};

/// The longest a start may take: QEMU has to open its disks, perhaps over a slow network.
const START_LIMIT: Duration = Duration::from_secs(60);
/// The longest a forced stop may take: libvirt itself waits 15 s for QEMU to obey SIGTERM, then kills it.
const DESTROY_LIMIT: Duration = Duration::from_secs(30);
/// The longest any other order may take.
const SHORT_LIMIT: Duration = Duration::from_secs(10);
/// The longest that a VM may take to stand still: the watchdog does not wait longer than some seconds.
const SUSPEND_LIMIT: Duration = Duration::from_secs(2);
/// The longest that a VM that must go may take, before its process is killed.
const WIPE_LIMIT: Duration = Duration::from_secs(5);
/// How soon after libvirt's word a domain must be seen as it said: five polls.
pub(super) const SEEN_WITHIN: Duration = Duration::from_secs(10);
/// The wait before libvirt is asked again for what it could not take on.
pub(super) const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The wait before a definition file, or a stop that did not work, is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// Screenshots kept of each group; the oldest is written over.
const SCREENSHOTS: u64 = 10;

impl Group {
    pub(super) fn order(&mut self, doing: Doing, out: &mut Outbox) -> bool {
        let (action, limit) = match doing {
            Doing::Define => match &self.config.xml {
                Some(xml) => (VmAction::Define { xml: xml.clone() }, SHORT_LIMIT),
                None => return false,
            },
            Doing::Start | Doing::Restart => (VmAction::Start, START_LIMIT),
            Doing::Shutdown => (VmAction::Shutdown, SHORT_LIMIT),
            Doing::Destroy | Doing::Clear => (VmAction::Destroy, DESTROY_LIMIT),
            Doing::Screenshot(_) => {
                let slot = self.saved.recoveries % SCREENSHOTS;
                let file = out.screenshots.join(format!("{}-{slot}.screenshot", self.config.name));
                (VmAction::Screenshot { file }, SHORT_LIMIT)
            }
            Doing::Reboot => (VmAction::Reboot, SHORT_LIMIT),
            Doing::Reset => (VmAction::Reset, SHORT_LIMIT),
            Doing::Suspend => (VmAction::Suspend, SUSPEND_LIMIT),
            Doing::Resume => (VmAction::Resume, SHORT_LIMIT),
            Doing::Wipe => (VmAction::Destroy, WIPE_LIMIT),
            Doing::Kill => (VmAction::Kill, SHORT_LIMIT),
            Doing::Abort => (VmAction::Abort, SHORT_LIMIT),
            Doing::Restore(begun) => match self.memory_file(begun, out) {
                Some(file) => (VmAction::Restore { file }, self.config.move_timeout),
                None => return false,
            },
            Doing::Forget(begun) => match self.memory_file(begun, out) {
                Some(file) => (VmAction::Forget { file }, SHORT_LIMIT),
                None => return false,
            },
        };
        if let Some((ticket, Doing::Start | Doing::Restart | Doing::Resume | Doing::Restore(_))) = self.order
        {
            self.late = Some(ticket); // it goes on, whatever is ordered over it
        }
        if doing == Doing::Define {
            self.undefinable = false;
        }
        let ticket = out.ticket();
        self.order = Some((ticket, doing));
        out.push(Output::Order(Order { ticket, domain: self.config.vm.clone(), action, limit }));
        false
    }

    pub(super) fn order_define(&mut self, out: &mut Outbox) -> bool {
        self.saved.start_pending = true;
        self.order(Doing::Define, out)
    }

    pub(super) fn order_start(&mut self, now: Instant, out: &mut Outbox) -> bool {
        let text = format!("starting VM '{}'", self.config.vm);
        self.event(out, Level::Info, EventKind::Recovery, text);
        self.phase = Phase::Starting { until: now + START_LIMIT, rise: Rise::First };
        self.order(Doing::Start, out)
    }

    pub(super) fn order_shutdown(&mut self, now: Instant, out: &mut Outbox) -> bool {
        self.phase = Phase::Stopping { until: now + self.config.stop_timeout };
        self.order(Doing::Shutdown, out)
    }

    pub(super) fn order_destroy(&mut self, now: Instant, out: &mut Outbox) -> bool {
        let text = format!("VM '{}' did not shut down; its plug is pulled", self.config.vm);
        self.event(out, Level::Warning, EventKind::VmStopped, text);
        self.phase = Phase::Stopping { until: now + SEEN_WITHIN };
        self.order(Doing::Destroy, out)
    }

    /// The time for a rung has come.
    pub(super) fn take_rung(
        &mut self,
        now: Instant,
        rung: Rung,
        run: Run,
        count: Count,
        failure: Failure,
        out: &mut Outbox,
    ) -> bool {
        if count == Count::Due {
            ladder::take(&self.config.recovery, &mut self.saved, rung, now);
            out.dirty = true;
            match rung {
                Rung::Reboot => out.made.reboots += 1,
                Rung::Reset => out.made.resets += 1,
                Rung::Restart => out.made.restarts += 1,
            }
            let made = ladder::count(&self.config.recovery, &self.saved, now);
            let limits = &self.config.recovery;
            let (nth, most) = match rung {
                Rung::Reboot => (made.reboot, limits.reboot),
                Rung::Reset => (made.reset, limits.reset),
                Rung::Restart => (made.restart, limits.restart),
            };
            let text =
                format!("{} now ({nth} of {most} within {})", self.words(rung), seconds(limits.window));
            self.event(out, Level::Warning, EventKind::Recovery, text);
        }
        let silent = failure.kind == EventKind::ControllerLost;
        self.phase = Phase::Waiting { rung, until: now, failure, count: Count::Done };
        let off = matches!(run, Run::Off(_) | Run::Undefined);
        match rung {
            _ if off => self.order(Doing::Restart, out),
            Rung::Reboot => self.order(Doing::Reboot, out),
            Rung::Reset | Rung::Restart if silent && count == Count::Due => {
                self.order(Doing::Screenshot(rung), out)
            }
            Rung::Reset => self.order_reset(now, out),
            Rung::Restart => self.order(Doing::Clear, out),
        }
    }

    /// An order ended.
    pub fn done(&mut self, now: Instant, ticket: Ticket, result: Result<(), ActionError>, out: &mut Outbox) {
        if self.sends(ticket) {
            self.sent(now, ticket, &result);
            return;
        }
        if self.late == Some(ticket) && result != Err(ActionError::TimedOut) {
            self.late = None;
            self.begun = Some(now);
        }
        let Some((_, doing)) = self.order.take_if(|(current, _)| *current == ticket) else { return };
        if matches!(doing, Doing::Start | Doing::Restart | Doing::Resume) {
            match result {
                Err(ActionError::TimedOut) => self.late = Some(ticket),
                Ok(()) | Err(ActionError::AlreadySo) => self.begun = Some(now),
                Err(_) => {}
            }
        }
        if doing == Doing::Suspend && result == Err(ActionError::TimedOut) {
            self.late_pause = LatePause::Pending(ticket);
        }
        if matches!(doing, Doing::Suspend | Doing::Wipe | Doing::Kill | Doing::Resume) {
            self.by_right(now, doing, &result, out);
            return;
        }
        if matches!(doing, Doing::Abort | Doing::Restore(_) | Doing::Forget(_)) {
            self.travelled(now, ticket, doing, &result, out);
            return;
        }
        match result {
            Err(ActionError::NotConnected | ActionError::Busy) => self.hold(now, AGAIN_AFTER, doing),
            Ok(()) | Err(ActionError::AlreadySo) => self.succeeded(now, doing, out),
            Err(ActionError::TimedOut) if matches!(doing, Doing::Start | Doing::Restart) => {
                self.phase = Phase::Starting { until: now + RETRY_AFTER, rise: rise(doing) }; // it may still come up
            }
            Err(error) => self.refused(now, doing, &error, out),
        }
    }

    /// A call that was answered as timed out has ended.
    pub fn ended(&mut self, now: Instant, ticket: Ticket) {
        if self.sends(ticket) {
            self.sending_ended(now);
        }
        if self.late.take_if(|late| *late == ticket).is_some() {
            self.begun = Some(now);
        }
        if self.late_pause == LatePause::Pending(ticket) {
            self.late_pause = LatePause::SeenUntil(now + SEEN_WITHIN);
        }
    }

    /// An order that follows from right ended: what does not obey is ordered harder.
    fn by_right(&mut self, now: Instant, doing: Doing, result: &Result<(), ActionError>, out: &mut Outbox) {
        let worked = matches!(result, Ok(()) | Err(ActionError::AlreadySo));
        let vm = &self.config.vm;
        match (doing, result) {
            (Doing::Resume, _) if worked => {
                let why = match self.right.journey {
                    _ if self.right.hold == Hold::Disarmed => "the cluster is disarmed",
                    Journey::Taken { .. } => "here, with its memory",
                    Journey::Goes { .. } => "here: it was not moved",
                    Journey::None | Journey::Comes { .. } => "it may run here",
                };
                let text = format!("VM '{vm}' goes on: {why}");
                self.event(out, Level::Info, EventKind::VmRunning, text);
                self.phase = Phase::Settling { rise: Rise::Again };
                self.held_until = Some(now + AGAIN_AFTER / 2); // libvirt shows it soon
            }
            (Doing::Resume, Err(error)) => {
                let text = format!("VM '{vm}' could not go on, and is tried again: {error}");
                self.event(out, Level::Error, EventKind::RecoveryFailed, text);
                self.held_until = Some(now + AGAIN_AFTER);
            }
            (Doing::Suspend, _) if worked => {
                let text = format!("VM '{vm}' stands still: this host has no lease");
                self.event(out, Level::Warning, EventKind::VmLeftAlone, text);
                self.held_until = Some(now + AGAIN_AFTER / 2); // libvirt shows it soon
            }
            // The cluster was disarmed meanwhile.
            (Doing::Suspend | Doing::Wipe | Doing::Kill, Err(error)) if self.wanted() == Wanted::Nothing => {
                let text = format!("VM '{vm}' was not made to stand still, and is left so: {error}");
                self.event(out, Level::Warning, EventKind::VmLeftAlone, text);
            }
            (Doing::Suspend, Err(error)) => {
                let text = format!("VM '{vm}' does not stand still ({error}): its plug is pulled");
                self.event(out, Level::Error, EventKind::RecoveryFailed, text);
                self.order(Doing::Wipe, out);
            }
            (Doing::Wipe, _) if worked => {
                let text = format!("VM '{vm}' was destroyed: nothing of it may be left here");
                self.event(out, Level::Warning, EventKind::VmStopped, text);
                self.held_until = Some(now + AGAIN_AFTER / 2); // libvirt shows it soon
            }
            (Doing::Wipe, Err(error)) => {
                let text = format!("VM '{vm}' could not be destroyed ({error}): its process is killed");
                self.event(out, Level::Error, EventKind::RecoveryFailed, text);
                self.order(Doing::Kill, out);
            }
            (Doing::Kill, _) if worked => {
                self.killed = super::Killed::Yes;
                self.held_until = Some(now + AGAIN_AFTER); // something may begin late, and is killed then
                let (level, text) = match result {
                    Err(_) => {
                        (Level::Info, format!("no process of VM '{vm}' is here, whatever libvirt says"))
                    }
                    Ok(()) => {
                        (Level::Warning, format!("the process of VM '{vm}' was killed, without libvirt"))
                    }
                };
                self.event(out, level, EventKind::VmStopped, text);
            }
            (Doing::Kill, Err(error)) => {
                let text =
                    format!("the process of VM '{vm}' could not be killed, and is tried again: {error}");
                self.event(out, Level::Error, EventKind::RecoveryFailed, text);
                self.held_until = Some(now + AGAIN_AFTER);
            }
            _ => {}
        }
    }

    /// Waits before the same is decided again.
    fn hold(&mut self, now: Instant, wait: Duration, doing: Doing) {
        self.held_until = Some(now + wait);
        if doing == Doing::Start {
            self.phase = Phase::Idle;
        }
        if doing == Doing::Shutdown {
            self.phase = Phase::Idle;
        }
    }

    fn succeeded(&mut self, now: Instant, doing: Doing, out: &mut Outbox) {
        let wanted = self.may_recover();
        match doing {
            Doing::Suspend | Doing::Resume | Doing::Wipe | Doing::Kill => {} // see `by_right`
            Doing::Abort | Doing::Restore(_) | Doing::Forget(_) => {}        // see `travelled`
            // What was known of it is past, unless libvirt's event was faster than the order's end; else the next view tells.
            Doing::Define if self.vm.run() == Some(Run::Undefined) => self.vm.lose(),
            Doing::Define => {}
            Doing::Shutdown | Doing::Destroy => {}
            Doing::Start | Doing::Restart => {
                self.phase = Phase::Starting { until: now + SEEN_WITHIN, rise: rise(doing) };
            }
            _ if !wanted => self.phase = Phase::Idle,
            Doing::Screenshot(rung) => {
                let slot = self.saved.recoveries % SCREENSHOTS;
                let file = out.screenshots.join(format!("{}-{slot}.screenshot", self.config.name));
                let text = format!("a picture of its console is in '{}'", file.display());
                self.event(out, Level::Info, EventKind::Recovery, text);
                self.after_screenshot(now, rung, out);
            }
            Doing::Reboot => {
                self.end_life(now, out);
                self.phase = Phase::Rebooting { until: now + self.config.recovery.reboot_timeout };
            }
            Doing::Reset => self.phase = Phase::Settling { rise: Rise::Again },
            Doing::Clear => {
                self.order(Doing::Restart, out);
            }
        }
    }

    fn after_screenshot(&mut self, now: Instant, rung: Rung, out: &mut Outbox) {
        if rung == Rung::Reset {
            self.order_reset(now, out);
        } else {
            self.order(Doing::Clear, out);
        }
    }

    /// The guest is hung up on before: a machine that was just reset cannot be told that a connection of its past ended.
    fn order_reset(&mut self, now: Instant, out: &mut Outbox) -> bool {
        self.end_life(now, out);
        self.order(Doing::Reset, out)
    }

    fn refused(&mut self, now: Instant, doing: Doing, error: &ActionError, out: &mut Outbox) {
        let vm = &self.config.vm;
        let wanted = self.may_recover();
        let failed = |gentlest, text| Failure::new(gentlest, EventKind::RecoveryFailed, text);
        let failure = match doing {
            Doing::Start | Doing::Restart => {
                failed(Rung::Restart, format!("VM '{vm}' could not be started: {error}"))
            }
            Doing::Reboot => failed(Rung::Reset, format!("the guest could not be asked to reboot: {error}")),
            Doing::Reset => failed(Rung::Restart, format!("VM '{vm}' could not be reset: {error}")),
            Doing::Clear => failed(Rung::Restart, format!("VM '{vm}' could not be stopped: {error}")),
            Doing::Screenshot(rung) => {
                self.event(
                    out,
                    Level::Info,
                    EventKind::Recovery,
                    format!("no picture of its console: {error}"),
                );
                if wanted {
                    self.after_screenshot(now, rung, out);
                } else {
                    self.phase = Phase::Idle;
                }
                return;
            }
            Doing::Define => {
                // What was only late may be there soon, and libvirt is busy with it until then.
                self.undefinable = *error != ActionError::TimedOut;
                self.held_until = Some(now + if self.undefinable { RETRY_AFTER } else { AGAIN_AFTER });
                let text = format!("VM '{vm}' could not be defined: {error}");
                self.event(out, Level::Error, EventKind::RecoveryFailed, text);
                return;
            }
            Doing::Suspend | Doing::Resume | Doing::Wipe | Doing::Kill => return, // see `by_right`
            Doing::Abort | Doing::Restore(_) | Doing::Forget(_) => return,        // see `travelled`
            Doing::Shutdown => {
                let text = format!("VM '{vm}' could not be asked to shut down: {error}");
                self.event(out, Level::Warning, EventKind::VmStopped, text);
                return; // its plug is pulled in time
            }
            Doing::Destroy => {
                let text = format!("VM '{vm}' could not be stopped, and is tried again: {error}");
                self.event(out, Level::Error, EventKind::RecoveryFailed, text);
                self.phase = Phase::Stopping { until: now + RETRY_AFTER };
                return;
            }
        };
        if wanted {
            self.fail(now, failure, out);
        } else {
            self.phase = Phase::Idle;
        }
    }
}

fn rise(doing: Doing) -> Rise {
    if doing == Doing::Start { Rise::First } else { Rise::Again }
}
