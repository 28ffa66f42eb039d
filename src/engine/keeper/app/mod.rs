//! An application's policy on a host that gives its orders: what is wanted at each of its targets here, what their controllers
//! say, and what they are told.
//!
//! A host may act for several targets of one application: itself, and VMs that are its own. The application belongs at the one
//! that the ledger names, if it belongs here at all; everywhere else it is to be offline. Nothing is believed to be offline but
//! what its controller confirmed: see [`seat`].

mod report;
pub mod seat;
mod show;
mod stop;

use super::ladder::{self, Rung, Step};
use super::remote_agent::Obedience;
use super::right::{Hold, Right};
use super::{Controller, Outbox, Output, draft};
use crate::config::{self, Failback, Target};
use core::time::Duration;
use roost_proto::cluster::HostId;
use roost_proto::cluster::decision::RecallReason;
use roost_proto::control::{Condition, EventKind, Intent, Level};
use roost_proto::link::{self, Cause, Circumstances, GroupState, Wanted};
use roost_proto::retry::Jitter;
use roost_proto::state::SavedGroup;
use roost_proto::text::printable;
use roost_proto::time::Instant;
use seat::{Account, Around, Compliance, Seat};
pub use stop::Force;
use stop::Stopping;

/// How long a daemon that has just started waits for the machine's own controller before it says that nothing runs here which it
/// does not know of: controllers connect within a second.
const SEEN_WITHIN: Duration = Duration::from_secs(10);
/// How long an application that the configuration does not name any more may go on without hearing this host.
const APP_LEASE: Duration = Duration::from_secs(30);
/// The wait before an order is repeated to a controller that forgot it.
const REPEAT_AFTER: Duration = Duration::from_secs(1);
/// The wait before a controller that could not stop a group is ordered to once more.
const STOP_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// What becomes of the application where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// It is to be ordered online, whatever was ordered before.
    Due,
    /// It was ordered online, and is watched.
    Kept,
    /// It failed, and is ordered online afresh.
    Waiting { until: Instant, failure: String },
    /// That was tried often enough.
    GivenUp,
}

/// What is wanted at one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Online,
    Offline(Cause),
    Nothing,
}

/// Whether the configuration has the application on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    InTheFile,
    /// Not any more: it is left as it is while this host may run it.
    LeftOut,
}

/// One application.
#[derive(Debug)]
pub struct App {
    config: config::Group,
    app: config::App,
    place: Place,
    saved: SavedGroup,
    right: Right,
    /// Those for which this host may act, the better before the worse.
    seats: Vec<Seat>,
    phase: Phase,
    stopping: Option<Stopping>,
    /// The target that it was last seen to be made ready for, and why: what it comes for there.
    expected: Option<(HostId, RecallReason)>,
    /// Until when the machine's own controller is waited for.
    seen_by: Option<Instant>,
    /// When it was last decided what to do.
    stepped: Instant,
    shown: (Condition, Instant),
    jitter: Jitter,
}

impl App {
    /// An application of the configuration, with what was saved of it; `vms` are the groups whose VMs may be on `host`.
    pub fn new(
        (config, app): (config::Group, config::App),
        host: &str,
        vms: &[&str],
        saved: SavedGroup,
        jitter: Jitter,
        now: Instant,
    ) -> Self {
        let phase = match (&saved.given_up, saved.start_pending) {
            (Some(_), _) => Phase::GivenUp,
            (None, true) => Phase::Due,
            (None, false) => Phase::Kept,
        };
        let (epoch, ordered) = (saved.epoch, saved.ordered);
        let mut new = Self {
            config,
            app,
            place: Place::InTheFile,
            saved,
            right: Right { epoch, ordered, ..Right::UNKNOWN },
            seats: Vec::new(),
            phase,
            stopping: None,
            expected: None,
            seen_by: Some(now + SEEN_WITHIN),
            stepped: now,
            shown: (Condition::Unknown, now),
            jitter,
        };
        new.take_seats(host, vms);
        new
    }

    /// One that the configuration does not name any more, and that the machine's own controller may run.
    pub fn bare(name: &str, app: String, host: &str) -> (config::Group, config::App) {
        let targets = vec![Target::Host(host.to_owned())];
        let app = config::App { name: app, targets, failback: Failback::Manual, lease: APP_LEASE };
        (config::Group::bare(name.to_owned(), String::new()), app)
    }

    fn take_seats(&mut self, host: &str, vms: &[&str]) {
        let mut before = core::mem::take(&mut self.seats);
        let ours = |target: &&Target| match target {
            Target::Host(name) => name == host,
            Target::Vm(group) => vms.contains(&group.as_str()),
        };
        for target in self.app.targets.iter().filter(ours) {
            let known = before.iter().position(|seat| seat.target() == target);
            self.seats.push(known.map_or_else(|| Seat::new(target.clone()), |at| before.swap_remove(at)));
        }
        if self.saved.app.is_some() && self.metal().is_none() {
            let left = before.into_iter().find(Seat::is_metal); // it may run on
            self.seats.push(left.unwrap_or_else(|| Seat::new(Target::Host(host.to_owned()))));
        }
    }

    /// Its settings.
    pub const fn config(&self) -> &config::Group {
        &self.config
    }

    /// The service group's name.
    pub fn name(&self) -> &str {
        &self.app.name
    }

    /// What is to be saved of it.
    pub const fn saved(&self) -> &SavedGroup {
        &self.saved
    }

    /// What may be done with it.
    pub const fn right(&self) -> &Right {
        &self.right
    }

    /// Whether this controller has it at one of its targets.
    pub fn is_for(&self, who: &Controller) -> bool {
        self.seats.iter().any(|seat| seat.controller() == who)
    }

    /// Takes new settings; nothing is restarted for it.
    pub fn reload(&mut self, config: config::Group, app: config::App, host: &str, vms: &[&str]) {
        self.config = config;
        self.app = app;
        self.place = Place::InTheFile;
        self.take_seats(host, vms);
    }

    /// The configuration does not have it on this host any more.
    pub fn leave_out(&mut self, out: &mut Outbox) {
        if core::mem::replace(&mut self.place, Place::LeftOut) == Place::InTheFile {
            let text = "the configuration does not have it on this host any more: it is left as it is, and is watched only so that \
                        it never runs without right";
            self.event(out, Level::Warning, EventKind::VmLeftAlone, text.to_owned());
        }
    }

    /// Whether it may be forgotten: it was left out, and the machine's own controller does not run it.
    pub fn is_done_with(&self) -> bool {
        self.place == Place::LeftOut && self.right.hold == Hold::Elsewhere && self.saved.app.is_none()
    }

    /// It was this host's once in this boot, and nothing follows from that any more; whether that was news.
    pub fn forget_epoch(&mut self) -> bool {
        let had = self.saved.app.take().is_some();
        core::mem::replace(&mut self.saved.epoch, 0) != 0 || had
    }

    /// The ledger's word, or the lease, changed.
    pub fn set_right(&mut self, right: Right, out: &mut Outbox) {
        if right == self.right {
            return;
        }
        self.right = right;
        if let Some(preparing) = right.preparing {
            self.expected = Some((preparing.to, preparing.why));
        }
        if right.ordered > self.saved.ordered {
            self.saved.ordered = right.ordered;
            self.begin_afresh(out);
        }
        if right.hold == Hold::Owned && right.epoch != self.saved.epoch {
            self.saved.epoch = right.epoch;
            self.begin_afresh(out);
        }
    }

    /// What was tried before counts no more.
    fn begin_afresh(&mut self, out: &mut Outbox) {
        ladder::clear(&mut self.saved);
        self.saved.start_pending = true;
        self.phase = Phase::Due;
        out.dirty = true;
    }

    /// What is wanted at a target.
    fn plan(&self, seat: &Seat) -> Plan {
        let here = self.right.target == Some(seat.id());
        match self.right.hold {
            Hold::Unknown | Hold::Disarmed => Plan::Nothing,
            // A VM stands still, and what is in it with it.
            Hold::Suspended if !seat.is_metal() => Plan::Nothing,
            Hold::Suspended | Hold::Elsewhere | Hold::Lost => Plan::Offline(Cause::Lease),
            Hold::Owned | Hold::Recalled if !here => Plan::Offline(Cause::Lease),
            Hold::Recalled => Plan::Offline(match self.right.recalled {
                Some(RecallReason::Home) => Cause::Failback,
                Some(RecallReason::Failed) => Cause::Failover,
                _ => Cause::Switchover,
            }),
            Hold::Owned if self.is_only_watched() => Plan::Nothing,
            Hold::Owned if self.right.intent == Intent::Offline => Plan::Offline(Cause::Stop),
            Hold::Owned => Plan::Online,
        }
    }

    fn is_only_watched(&self) -> bool {
        self.right.frozen || self.place == Place::LeftOut
    }

    /// The target where it belongs, if that is here.
    fn at(&self) -> Option<&Seat> {
        let held = matches!(
            self.right.hold,
            Hold::Owned | Hold::Recalled | Hold::Suspended | Hold::Disarmed | Hold::Lost
        );
        self.seats.iter().find(|seat| held && self.right.target == Some(seat.id()))
    }

    fn metal(&self) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.is_metal())
    }

    /// Why it is brought online at a target.
    fn cause(&self, now: Instant, at: HostId) -> Cause {
        let again = ladder::count(&self.config.recovery, &self.saved, now).restart > 0;
        match (self.right.last, self.expected) {
            _ if again => Cause::Recovery,
            (None, _) => Cause::Start,
            (Some(last), _) if last == at => Cause::Start,
            (Some(_), Some((to, RecallReason::Home))) if to == at => Cause::Failback,
            (Some(_), Some((to, _))) if to == at => Cause::Switchover,
            (Some(_), _) => Cause::Failover,
        }
    }

    fn circumstances(&self, target: &Target, reason: Cause) -> Circumstances {
        let last = |known: &&Target| Some(known.id()) == self.right.last;
        let previous = self.app.targets.iter().find(last).map(Target::to_string).unwrap_or_default();
        Circumstances { target: target.to_string(), previous, reason }
    }

    fn event(&self, out: &mut Outbox, level: Level, kind: EventKind, text: String) {
        out.push(Output::Event(draft(level, kind, Some(self.config.name.clone()), text)));
    }

    /// Decides what there is to decide now. A VM in which it does not stop may have to be ended by force.
    pub fn step(&mut self, now: Instant, around: &Around<'_>, out: &mut Outbox) -> Option<Force> {
        self.stepped = now;
        let mut seats = core::mem::take(&mut self.seats);
        for seat in &mut seats {
            seat.meet(around);
            let account = seat.account(around, &self.app.name);
            match (self.plan(seat), &account) {
                (Plan::Offline(cause), Account::Told(_, obedience))
                    if seat.listens(around, &self.app.name) =>
                {
                    self.take_offline(now, seat, &account, obedience, cause, out);
                }
                (Plan::Online, Account::Told(report, obedience)) => {
                    let listens = seat.listens(around, &self.app.name);
                    self.keep_online(now, (seat, listens), report, obedience, out);
                }
                _ => {}
            }
            self.make_ready(around, seat, &account, out);
        }
        self.seats = seats;
        self.look_for_rest(now, around, out);
        let force = self.look_for_stuck(now, around, out);
        let condition = self.condition(now, around).0;
        if condition != self.shown.0 {
            self.shown = (condition, now);
        }
        force
    }

    fn give(&self, now: Instant, seat: &mut Seat, wanted: Wanted, cause: Cause, out: &mut Outbox) {
        let circumstances = self.circumstances(seat.target(), cause);
        let words = match wanted {
            Wanted::Online => {
                format!("to be brought online on '{}' ({})", circumstances.target, cause.word())
            }
            Wanted::Offline => {
                format!("to be taken offline on '{}' ({})", circumstances.target, cause.word())
            }
        };
        self.event(out, Level::Info, EventKind::Recovery, words);
        let what = (wanted, self.right.epoch);
        seat.order(now, &self.app.name, what, self.app.lease, circumstances, out);
    }

    fn take_offline(
        &self,
        now: Instant,
        seat: &mut Seat,
        account: &Account<'_>,
        obedience: &Obedience,
        cause: Cause,
        out: &mut Outbox,
    ) {
        if seat.is_down(account) {
            return;
        }
        let failed =
            matches!(account, Account::Told(report, _) if matches!(report.state, GroupState::Faulted(_)));
        let after = |wait| seat.repeats_at(wait).is_none_or(|at| now >= at);
        let due = match seat.complies(Wanted::Offline, self.right.epoch, obedience) {
            Compliance::NotOrdered => true,
            Compliance::Unheard => false,
            Compliance::Obeyed if obedience.wanted == Wanted::Online => after(REPEAT_AFTER),
            Compliance::Obeyed => failed && after(STOP_AGAIN_AFTER),
        };
        if due {
            self.give(now, seat, Wanted::Offline, cause, out);
        }
    }

    fn keep_online(
        &mut self,
        now: Instant,
        (seat, listens): (&mut Seat, bool),
        report: &link::GroupReport,
        obedience: &Obedience,
        out: &mut Outbox,
    ) {
        let epoch = self.right.epoch;
        let compliance = seat.complies(Wanted::Online, epoch, obedience);
        let runs = matches!(report.state, GroupState::Online | GroupState::Degraded);
        // What it was ordered on a connection before counts, for it goes on by it.
        let stands = obedience.wanted == Wanted::Online
            && match compliance {
                Compliance::Obeyed => true,
                Compliance::NotOrdered => obedience.epoch == epoch && obedience.obeys.is_none(),
                Compliance::Unheard => false,
            };
        let fault = match &report.state {
            GroupState::Faulted(fault) if stands && !report.frozen => Some(fault),
            _ => None,
        };
        if compliance == Compliance::Obeyed && core::mem::take(&mut self.saved.start_pending) {
            out.dirty = true;
        }
        match &self.phase {
            Phase::Waiting { .. } | Phase::GivenUp if runs && stands => self.recovered(out),
            Phase::Waiting { .. } | Phase::GivenUp | Phase::Due => {}
            Phase::Kept => {
                if let Some(fault) = fault {
                    let text = format!("{}: {} ({})", fault.resource, fault.reason, fault.exit);
                    self.fail(now, printable(&text), out);
                }
            }
        }
        if matches!(self.phase, Phase::Waiting { until, .. } if now >= until) {
            ladder::take(&self.config.recovery, &mut self.saved, Rung::Restart, now);
            out.dirty = true;
            out.made.restarts += 1;
            self.phase = Phase::Due;
        }
        let due = match self.phase {
            Phase::Due => true,
            Phase::Kept => match compliance {
                Compliance::NotOrdered => true,
                Compliance::Unheard => false,
                // It has not heard this host for too long.
                Compliance::Obeyed => {
                    obedience.wanted == Wanted::Offline
                        && seat.repeats_at(REPEAT_AFTER).is_none_or(|at| now >= at)
                }
            },
            Phase::Waiting { .. } | Phase::GivenUp => false,
        };
        if due && listens {
            self.phase = Phase::Kept;
            if seat.is_metal() && self.saved.app.as_ref() != Some(&self.app.name) {
                self.saved.app = Some(self.app.name.clone());
                out.dirty = true;
            }
            let cause = self.cause(now, seat.id());
            self.give(now, seat, Wanted::Online, cause, out);
        }
    }

    fn fail(&mut self, now: Instant, failure: String, out: &mut Outbox) {
        match ladder::next(&self.config.recovery, &self.saved, Rung::Restart, now, &mut self.jitter) {
            Step::Take(_, wait) => {
                if !wait.is_zero() {
                    let text = format!("it will be brought online afresh in {} ms", wait.as_millis());
                    self.event(out, Level::Info, EventKind::Recovery, text);
                }
                self.phase = Phase::Waiting { until: now + wait, failure };
            }
            Step::GiveUp => {
                let text = format!("{failure}; nothing is left to try here");
                self.event(out, Level::Error, EventKind::GivenUp, text);
                out.made.given_up += 1;
                self.saved.given_up = Some(failure);
                self.phase = Phase::GivenUp;
            }
        }
        out.dirty = true;
    }

    fn recovered(&mut self, out: &mut Outbox) {
        self.phase = Phase::Kept;
        out.dirty |= self.saved.given_up.take().is_some();
        self.event(out, Level::Info, EventKind::Recovered, "all is well".to_owned());
    }

    /// Asks whether it could be brought online where it is to go.
    fn make_ready(&self, around: &Around<'_>, seat: &mut Seat, account: &Account<'_>, out: &mut Outbox) {
        let Some(preparing) = self.right.preparing.filter(|preparing| preparing.to == seat.id()) else {
            return;
        };
        let acts = self.right.hold == Hold::Elsewhere && seat.is_here(around);
        if acts && seat.is_down(account) && seat.listens(around, &self.app.name) {
            let cause = match preparing.why {
                RecallReason::Home => Cause::Failback,
                _ => Cause::Switchover,
            };
            let target = self.app.targets.iter().find(|known| Some(known.id()) == self.right.target);
            let previous = target.map(Target::to_string).unwrap_or_default();
            let circumstances = Circumstances { previous, ..self.circumstances(seat.target(), cause) };
            seat.ask(&self.app.name, preparing.begun, circumstances, out);
        }
    }

    /// Notes that the machine's own controller runs nothing of it any more.
    fn look_for_rest(&mut self, now: Instant, around: &Around<'_>, out: &mut Outbox) {
        let Some(seat) = self.metal() else {
            self.seen_by = None;
            out.dirty |= self.saved.app.take().is_some();
            return;
        };
        let account = seat.account(around, &self.app.name);
        let (told, down) = (!matches!(account, Account::Silent), seat.is_down(&account));
        let online = self.plan(seat) == Plan::Online;
        if down && !online {
            out.dirty |= self.saved.app.take().is_some();
        }
        self.seen_by = self.seen_by.filter(|by| !told && now < *by);
    }

    /// Whether the machine's own controller has been heard, or waited for in vain and has nothing to tell.
    pub fn is_seen(&self, around: &Around<'_>) -> bool {
        let told = |seat: &Seat| !matches!(seat.account(around, &self.app.name), Account::Silent);
        self.metal().is_none_or(|seat| told(seat) || (self.seen_by.is_none() && self.saved.app.is_none()))
    }

    /// Whether it may run on the machine itself. Of what runs in a VM, the VM gives account.
    pub fn may_run(&self, around: &Around<'_>) -> bool {
        let Some(seat) = self.metal() else { return false };
        let ours = match self.right.hold {
            Hold::Owned | Hold::Suspended | Hold::Recalled | Hold::Disarmed | Hold::Lost => true,
            Hold::Unknown | Hold::Elsewhere => false,
        };
        match seat.account(around, &self.app.name) {
            Account::Off => false,
            Account::Silent | Account::Undefined => self.saved.app.is_some(),
            account @ Account::Told(..) => (ours || self.saved.app.is_some()) && !seat.is_down(&account),
        }
    }

    /// Whether nothing of it runs on the machine itself, by the word of its controller, whoever it belongs to.
    pub fn is_idle(&self, around: &Around<'_>) -> bool {
        let idle = |seat: &Seat| match seat.account(around, &self.app.name) {
            Account::Undefined => true,
            account @ (Account::Off | Account::Silent | Account::Told(..)) => seat.is_down(&account),
        };
        self.metal().is_none_or(idle)
    }

    /// Whether it was this host's since this machine booted, and may be still.
    pub const fn was_here(&self) -> bool {
        self.saved.app.is_some()
    }

    /// When to look again, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let waiting = match self.phase {
            Phase::Waiting { until, .. } => Some(until),
            Phase::Due | Phase::Kept | Phase::GivenUp => None,
        };
        let stopping = self.stopping.as_ref().and_then(Stopping::deadline);
        let repeats = self
            .seats
            .iter()
            .flat_map(|seat| [seat.repeats_at(REPEAT_AFTER), seat.repeats_at(STOP_AGAIN_AFTER)]);
        let due = [waiting, stopping, self.seen_by].into_iter().flatten();
        due.chain(repeats.flatten()).filter(|at| *at > self.stepped).min() // what was due then was looked at
    }
}
