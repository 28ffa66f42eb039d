//! Right: what follows from whose the group is, and from whether the lease holds.

use super::super::vm::{Paused, Run};
use super::{
    Doing, EventKind, Group, Hold, Instant, Intent, Journey, Killed, Level, OnQuorumLoss, OnStray, Outbox,
    Output, Phase, Place, Right, Silence, Wanted, ladder,
};
use core::time::Duration;
use roost_proto::cluster::{GroupOrder, GroupReport, GroupState, MAX_REASON};
use roost_proto::text::clip;

/// How long a VM must be seen to run without right before its plug is pulled: what migrates is on two hosts for a moment.
const STRAY_FOR: Duration = Duration::from_secs(3);
/// How long a pause may wait for the disk, so that a daemon that dies right then takes it for no person's. A disk takes milliseconds;
/// the watchdog waits for 2 s at the least.
const NOTED_WITHIN: Duration = Duration::from_millis(100);
/// The wait before the ledger is asked again for what is wished.
const WISH_AGAIN: Duration = Duration::from_secs(5);

impl Group {
    /// The ledger's word, or the lease, changed.
    pub fn set_right(&mut self, now: Instant, right: Right, out: &mut Outbox) {
        if right == self.right {
            return;
        }
        let (before, before_hold) = (self.wanted(), self.right.hold);
        self.right = right;
        self.expect_memory(now, out);
        self.look_for_stray(now, out);
        if right.ordered > self.saved.ordered {
            self.saved.ordered = right.ordered;
            self.begin_afresh(now, out);
        }
        if right.hold == Hold::Owned && right.epoch != self.saved.epoch {
            self.saved.epoch = right.epoch;
            self.config.vm.clone_into(&mut self.saved.vm);
            self.begin_afresh(now, out);
            if matches!(right.journey, Journey::Taken { .. }) {
                self.remote.arrive(now);
            }
            self.saved.start_pending = true;
        }
        if before_hold == Hold::Disarmed
            && let Some(Run::Off(why)) = self.vm.run()
        {
            self.found_off(now, why, out); // whoever shut it down meanwhile is respected as if it had been now
        }
        if self.wanted() != before {
            self.held_until = None;
            self.remote.excuse(now);
            self.silence = Silence::Heard;
            let shared = |wanted| matches!(wanted, Wanted::Up | Wanted::Down);
            let goes_down =
                matches!(self.phase, Phase::Stopping { .. }) && shared(before) && shared(self.wanted());
            if !goes_down && !matches!(self.phase, Phase::GivenUp) {
                self.phase = Phase::Idle;
            }
        }
    }

    /// What was tried before counts no more.
    fn begin_afresh(&mut self, now: Instant, out: &mut Outbox) {
        ladder::clear(&mut self.saved);
        self.saved.start_pending = self.right.intent == Intent::Online;
        self.wish = None;
        self.remote.excuse(now);
        self.silence = Silence::Heard;
        if !matches!(self.phase, Phase::Stopping { .. }) {
            self.phase = Phase::Idle;
        }
        out.dirty = true;
    }

    /// What is to become of the VM.
    pub(super) fn wanted(&self) -> Wanted {
        match self.right.hold {
            Hold::Unknown | Hold::Disarmed => Wanted::Nothing,
            Hold::Elsewhere if self.saved.suspended.is_some() => Wanted::Gone,
            Hold::Elsewhere | Hold::Owned | Hold::Recalled if self.is_stale() => Wanted::Gone,
            Hold::Elsewhere if matches!(self.right.journey, Journey::Comes { .. }) && !self.is_stray() => {
                Wanted::Expected
            }
            Hold::Elsewhere if self.is_stray() && self.on_stray == OnStray::Stop => Wanted::Gone,
            Hold::Elsewhere => Wanted::Nothing,
            Hold::Lost => Wanted::Gone,
            Hold::Suspended => Wanted::Still,
            // What was paused in an earlier epoch is as old as that: its disks are newer than its memory.
            Hold::Owned | Hold::Recalled if self.saved.suspended.is_some_and(|at| at != self.right.epoch) => {
                Wanted::Gone
            }
            Hold::Owned | Hold::Recalled if matches!(self.right.journey, Journey::Taken { .. }) => {
                Wanted::Taken
            }
            Hold::Recalled => Wanted::Down,
            Hold::Owned if matches!(self.right.journey, Journey::Goes { .. }) => Wanted::Sent,
            Hold::Owned if self.is_only_watched() => Wanted::Nothing,
            Hold::Owned if self.right.intent == Intent::Offline => Wanted::Down,
            Hold::Owned => Wanted::Up,
        }
    }

    /// Whether it is this host's, and is neither started nor stopped by it.
    fn is_only_watched(&self) -> bool {
        self.right.frozen || self.wish.is_some() || self.place == Place::LeftOut
    }

    fn is_stray(&self) -> bool {
        self.stray.is_some()
    }

    /// When a stray has been seen for long enough.
    pub(super) fn stray_deadline(&self) -> Option<Instant> {
        let watched = self.right.hold == Hold::Elsewhere && self.on_stray == OnStray::Stop;
        self.stray.filter(|_| watched && self.order.is_none()).map(|since| since + STRAY_FOR)
    }

    /// Notes whether the VM runs without right, and tells of it once.
    pub(super) fn look_for_stray(&mut self, now: Instant, out: &mut Outbox) {
        let elsewhere = self.right.hold == Hold::Elsewhere && self.right.epoch > 0; // what nobody ever had is given first
        let runs = elsewhere && self.vm.run().is_some_and(lives) && !self.vm.busy();
        if !runs || self.saved.suspended.is_some() {
            self.stray = None;
        } else if self.stray.is_none() {
            self.stray = Some(now);
            let then = match self.on_stray {
                OnStray::Report => "stop it here, or let the ledger give it to this host",
                OnStray::Stop => "its plug is pulled",
            };
            let text = format!("VM '{}' runs here, and the group is not this host's: {then}", self.config.vm);
            self.event(out, Level::Error, EventKind::Stray, text);
        }
    }

    /// Asks the ledger for what was done about the VM and is respected.
    pub(super) fn wish_again(&mut self, now: Instant, out: &mut Outbox) {
        let group = self.config.name.clone();
        if let Some((why, at)) = self.wish.as_mut().filter(|(_, at)| now >= *at) {
            *at = now + WISH_AGAIN;
            let order = GroupOrder::Intent(Intent::Offline);
            out.push(Output::Wish { group, order, why: why.clone() });
        }
    }

    /// Whether the VM stands still because this host made it, or sent it.
    pub(super) fn is_ours_to_resume(&self, run: Run) -> bool {
        let still = match run {
            Run::Paused(Paused::User | Paused::Unknown) => true,
            // As what was to be moved or saved is left by a libvirt before 9.2 that could not let it go on.
            Run::Paused(Paused::Busy) => !self.vm.busy(),
            _ => false,
        };
        still && self.saved.suspended == Some(self.right.epoch)
    }

    pub(super) fn order_resume(&mut self, now: Instant, out: &mut Outbox) -> bool {
        self.remote.excuse(now);
        self.order(Doing::Resume, out)
    }

    /// The lease ran out: nothing of the group may run. What does not obey is destroyed, then killed.
    pub(super) fn hold_still(&mut self, now: Instant, out: &mut Outbox) -> bool {
        let pausing = matches!(self.order, Some((_, Doing::Suspend | Doing::Wipe | Doing::Kill)));
        if pausing || !self.may_run() || self.held_until.is_some_and(|at| now < at) {
            return false;
        }
        // A pause does not last in the middle of a migration or saving: if that fails, libvirt lets the VM go on by itself, even
        // half a minute later on a host that is cut off.
        let hard = self.on_quorum_loss == OnQuorumLoss::Stop || self.may_go_on_by_itself();
        match self.vm.run() {
            None if self.shown_by.is_some_and(|at| now < at) => false, // it may stand still since the life before
            None => self.order(Doing::Kill, out),
            Some(Run::Off(_) | Run::Undefined) => false, // what may appear is looked at when it does
            Some(_) if hard => self.order(Doing::Wipe, out),
            Some(_) => {
                // It may have become this host's since it runs, without a lease yet: what runs now is as new as that.
                let epoch = self.saved.epoch.max(self.right.epoch);
                if self.saved.suspended.replace(epoch) != Some(epoch) {
                    out.dirty = true;
                    // What ran on while the host stood still may be another's by now: that waits for nothing.
                    self.noted_by = (self.awoke != Some(now)).then(|| now + NOTED_WITHIN);
                }
                if self.noted_by.is_some_and(|at| now < at) {
                    return false;
                }
                self.remote.excuse(now);
                self.order(Doing::Suspend, out)
            }
        }
    }

    /// Nothing of the VM may be left here.
    pub(super) fn wipe(&mut self, now: Instant, out: &mut Outbox) -> bool {
        if self.right.hold == Hold::Elsewhere
            && self.saved.suspended.is_none()
            && !self.is_stale()
            && self.stray.is_none_or(|since| now.since(since) < STRAY_FOR)
        {
            return false;
        }
        if matches!(self.order, Some((_, Doing::Wipe | Doing::Kill)))
            || self.held_until.is_some_and(|at| now < at)
        {
            return false;
        }
        match self.vm.run() {
            Some(Run::Off(_) | Run::Undefined) => {
                let had = self.saved.suspended.take().is_some();
                out.dirty |= had;
                had
            }
            None if self.killed == Killed::Yes || !self.was_here() => false,
            None => self.order(Doing::Kill, out),
            Some(_) => self.order(Doing::Wipe, out),
        }
    }

    /// Whether libvirt's silence may hide something of this group: it was this host's once in this boot.
    pub fn was_here(&self) -> bool {
        self.saved.epoch > 0
    }

    /// Whether its vCPUs may run: by what libvirt shows, and by what may still come.
    pub fn may_run(&self) -> bool {
        let begins = matches!(
            self.order,
            Some((_, Doing::Start | Doing::Restart | Doing::Resume | Doing::Reset | Doing::Reboot))
        );
        let shown = match self.vm.run() {
            None => self.was_here() && self.killed == Killed::No,
            Some(Run::Off(_) | Run::Undefined) => false,
            Some(Run::Paused(_)) if self.may_go_on_by_itself() => true,
            Some(Run::Paused(
                Paused::User | Paused::Unknown | Paused::IoError | Paused::Crashed | Paused::Watchdog,
            )) => false,
            Some(Run::Paused(Paused::Busy)) => self.saved.incoming.is_none(), // what comes stands still until it is let go on
            Some(Run::Paused(Paused::Starting)) => true,
            Some(Run::Running | Run::ShuttingDown | Run::Asleep | Run::Crashed) => true,
        };
        // What is not this host's by any right is reported, but does not make this host unsafe to leave alone.
        self.right_matters() && (shown || begins || self.may_appear())
    }

    /// Whether it may be seen to run though nothing more is ordered.
    pub(super) const fn may_appear(&self) -> bool {
        self.late.is_some() || self.begun.is_some()
    }

    fn right_matters(&self) -> bool {
        match self.right.hold {
            Hold::Owned | Hold::Suspended | Hold::Recalled | Hold::Disarmed | Hold::Lost => true,
            Hold::Unknown | Hold::Elsewhere => self.was_here(),
        }
    }

    /// Whether something of it is left here, running or not.
    pub fn is_left(&self) -> bool {
        let shown = match self.vm.run() {
            None => self.was_here() && self.killed == Killed::No,
            Some(run) => lives(run) || matches!(run, Run::Paused(_)),
        };
        shown || self.order.is_some() || self.is_sending() || self.may_appear()
    }

    /// What the leader is told.
    pub fn report(&self, now: Instant) -> GroupReport {
        GroupReport {
            group: self.config.name.clone(),
            changed: self.right.changed,
            state: self.reported(now),
            need: self.vm.need(),
        }
    }

    fn reported(&self, now: Instant) -> GroupState {
        let Some(run) = self.vm.run() else { return GroupState::Unknown };
        let off = matches!(run, Run::Off(_) | Run::Undefined);
        let undefined = run == Run::Undefined && self.config.xml.is_none();
        let quiet = off && self.order.is_none() && !self.is_sending() && !self.may_appear();
        match self.right.hold {
            Hold::Elsewhere if self.saved.incoming.is_some() && matches!(run, Run::Paused(_)) => {
                GroupState::Unwell
            }
            Hold::Elsewhere | Hold::Unknown if !off => GroupState::Stray,
            Hold::Elsewhere | Hold::Unknown if undefined => GroupState::Undefined,
            Hold::Elsewhere | Hold::Unknown | Hold::Recalled | Hold::Lost if quiet => GroupState::Down,
            Hold::Elsewhere | Hold::Unknown | Hold::Recalled | Hold::Lost => GroupState::Unwell,
            Hold::Suspended if off => GroupState::Coming,
            Hold::Suspended => GroupState::Suspended,
            Hold::Owned if self.reported_journey().is_some() => {
                self.reported_journey().unwrap_or(GroupState::Unknown)
            }
            Hold::Owned if matches!(self.right.journey, Journey::Goes { .. }) => {
                self.reported_alive(now, run)
            }
            Hold::Disarmed if off => GroupState::Unwell, // somebody may start it any moment
            Hold::Disarmed => self.reported_alive(now, run),
            Hold::Owned if self.right.intent == Intent::Offline => {
                if quiet {
                    GroupState::Down
                } else {
                    GroupState::Unwell
                }
            }
            Hold::Owned if self.place == Place::LeftOut && quiet => GroupState::Down,
            Hold::Owned if self.is_only_watched() => self.reported_alive(now, run),
            Hold::Owned if undefined => GroupState::Undefined,
            Hold::Owned => match &self.phase {
                Phase::GivenUp => {
                    let reason = self.saved.given_up.as_deref().unwrap_or_default();
                    GroupState::GivenUp { reason: clip(reason, MAX_REASON).to_owned() }
                }
                Phase::Idle | Phase::Stopping { .. } if !off => self.reported_alive(now, run),
                _ => GroupState::Coming,
            },
        }
    }

    fn reported_alive(&self, now: Instant, run: Run) -> GroupState {
        if self.is_well(now, run) { GroupState::Well } else { GroupState::Unwell }
    }
}

/// Whether a domain that does this has vCPUs that run, or may at any moment.
const fn lives(run: Run) -> bool {
    match run {
        Run::Undefined | Run::Off(_) | Run::Paused(_) => false,
        Run::Running | Run::ShuttingDown | Run::Asleep | Run::Crashed => true,
    }
}
