//! One group's policy on its host: what is wanted, what libvirt and the guest say, and what is done about it.
//!
//! Inputs change what is known; then [`Group::step`] takes at most one decision at a time until none is left. At most
//! one order to libvirt is under way for a group.

mod act;
mod judge;
mod right;
mod show;
mod travel;

use super::ladder::{self, Rung, Step};
use super::remote_agent::{GuestInput, Kept, News, RemoteAgent, Voice, describe};
use super::right::{Hold, Journey, Right};
use super::vm::{DomainView, Happened, Off, Paused, Run, Ticket};
use super::vm_agent::VmAgent;
use super::{Controller, Hush, Outbox, Output, draft};
use crate::config::{self, Apps, OnGuestShutdown, OnQuorumLoss, OnStray};
use act::SEEN_WITHIN;
use core::time::Duration;
use judge::Silence;
use roost_proto::cluster::raft::Index;
use roost_proto::control::{Condition, EventKind, Intent, Level};
use roost_proto::link::GroupState;
use roost_proto::retry::Jitter;
use roost_proto::state::SavedGroup;
use roost_proto::time::{Instant, Span};
use travel::{Sending, Taking};

/// Decisions after one input, at most; more would be a loop.
const MAX_STEPS: usize = 16;
/// How long libvirt may take to show a VM after the daemon started. Without a lease the watchdog goes hungry meanwhile: it waits
/// for 2 s at the least.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);

/// What the group is in the middle of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing.
    Idle,
    /// The guest was asked to shut down; its plug is pulled when the time is over.
    Stopping { until: Instant },
    /// A rung will be taken.
    Waiting { rung: Rung, until: Instant, failure: Failure, count: Count },
    /// The guest was asked to reboot; the next rung is taken when the time is over.
    Rebooting { until: Instant },
    /// libvirt said that it started the VM, and it is not seen running yet.
    Starting { until: Instant, rise: Rise },
    /// It is up, and has yet to become well.
    Settling { rise: Rise },
    /// Every rung was spent.
    GivenUp,
}

/// What is to become of the VM, by right and by order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// It is to run, and to be well.
    Up,
    /// It is to be shut down.
    Down,
    /// It is to stand still.
    Still,
    /// Nothing of it is to be left.
    Gone,
    /// Its memory is to go to another host.
    Sent,
    /// Its memory has come, and is to run.
    Taken,
    /// Its memory comes, and is not this host's yet.
    Expected,
    /// Nothing is to be done about it.
    Nothing,
}

/// Why a VM comes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rise {
    /// It was wanted.
    First,
    /// It had failed.
    Again,
}

/// Whether a pause of ours may still happen, long after it was given up: it is no person's, then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LatePause {
    /// It may not.
    No,
    /// libvirt has not answered this order yet.
    Pending(Ticket),
    /// It was answered; what it did is seen until then.
    SeenUntil(Instant),
}

/// Whether the VM's process was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Killed {
    No,
    Yes,
}

/// Whether the configuration has the group on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    InTheFile,
    /// Not any more: its VM is left as it is. But while it is this host's it stands still without a lease like any other, for
    /// else it would run on when time has proven that nothing of it does.
    LeftOut,
}

/// Whether taking a rung is still to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    Due,
    Done,
}

/// What is wrong, and so how gently recovery may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    gentlest: Rung,
    kind: EventKind,
    text: String,
}

/// The order that libvirt is carrying out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Define,
    /// A start that no failure asked for.
    Start,
    Shutdown,
    /// The plug is pulled because the group shall be offline.
    Destroy,
    /// A picture is taken before the rung.
    Screenshot(Rung),
    Reboot,
    Reset,
    /// The plug is pulled so that a start can follow.
    Clear,
    /// A start that a failure asked for.
    Restart,
    /// It is made to stand still, for want of a lease.
    Suspend,
    /// It goes on.
    Resume,
    /// Whatever is left of it is destroyed: it has no right to be here, or does not stand still.
    Wipe,
    /// The same, without libvirt.
    Kill,
    /// Its memory is not to go after all.
    Abort,
    /// Its memory is taken from the file of this move.
    Restore(Index),
    /// The file of this move is taken away.
    Forget(Index),
}

/// One group.
#[derive(Debug)]
pub struct Group {
    config: config::Group,
    place: Place,
    saved: SavedGroup,
    right: Right,
    /// What was done about the VM by somebody and is respected, until the ledger has it as an order: why, and when the
    /// ledger is asked for it again.
    wish: Option<(String, Instant)>,
    /// Calls that may still start or resume the VM, though they were answered as timed out.
    late: Option<Ticket>,
    late_pause: LatePause,
    /// Until when a pause waits for the disk to have it that it is this host's.
    noted_by: Option<Instant>,
    /// When this host last went on after it stood still.
    awoke: Option<Instant>,
    /// Since when it has been seen to run without right.
    stray: Option<Instant>,
    /// Its process was killed, and libvirt has not shown it since.
    killed: Killed,
    on_stray: OnStray,
    on_quorum_loss: OnQuorumLoss,
    vm: VmAgent,
    remote: RemoteAgent,
    phase: Phase,
    order: Option<(Ticket, Doing)>,
    /// Memory that was sent away, the last time.
    sending: Option<Sending>,
    /// Memory that came here, the last time.
    taking: Option<Taking>,
    /// The move whose file of memory was taken away.
    forgotten: Option<Index>,
    /// After libvirt could not take an order on: none is given before this.
    held_until: Option<Instant>,
    /// libvirt refused to define it; not that it was late, or had too much to do.
    undefinable: bool,
    /// When a start ended of which nothing was seen yet: it may show any moment.
    begun: Option<Instant>,
    /// Until when a daemon that has just started waits to be shown the VM, before it judges without libvirt.
    shown_by: Option<Instant>,
    /// When it was last decided what to do.
    stepped: Instant,
    silence: Silence,
    /// Since when the VM has been shutting down, if it is.
    going_down: Option<Instant>,
    shown: (Condition, Instant),
    dangers: Vec<String>,
    cid: Option<u32>,
    hush: Hush,
    jitter: Jitter,
}

impl Group {
    /// A group of the configuration, with what was saved of it.
    pub fn new(
        config: config::Group,
        cluster: &config::Cluster,
        saved: SavedGroup,
        jitter: Jitter,
        now: Instant,
    ) -> Self {
        let phase = if saved.given_up.is_some() { Phase::GivenUp } else { Phase::Idle };
        let (ordered, epoch) = (saved.ordered, saved.epoch);
        Self {
            config,
            place: Place::InTheFile,
            saved,
            right: Right { epoch, ordered, ..Right::UNKNOWN },
            wish: None,
            late: None,
            late_pause: LatePause::No,
            noted_by: None,
            awoke: None,
            stray: None,
            killed: Killed::No,
            on_stray: cluster.on_stray,
            on_quorum_loss: cluster.on_quorum_loss,
            vm: VmAgent::default(),
            remote: RemoteAgent::new(now),
            phase,
            order: None,
            sending: None,
            taking: None,
            forgotten: None,
            held_until: None,
            undefinable: false,
            shown_by: Some(now + SHOWN_WITHIN),
            stepped: now,
            begun: (epoch > 0).then_some(now), // a start of the daemon's life before may be under way still
            silence: Silence::Heard,
            going_down: None,
            shown: (Condition::Unknown, now),
            dangers: Vec::new(),
            cid: None,
            hush: Hush::Speak,
            jitter,
        }
    }

    /// Its settings.
    pub const fn config(&self) -> &config::Group {
        &self.config
    }

    /// What is to be saved of it.
    pub const fn saved(&self) -> &SavedGroup {
        &self.saved
    }

    /// What is to be saved of it is on disk, or cannot be.
    pub const fn noted(&mut self) {
        self.noted_by = None;
    }

    /// Takes new settings; nothing is restarted for it.
    pub fn reload(&mut self, config: config::Group, cluster: &config::Cluster) {
        self.config = config;
        self.place = Place::InTheFile;
        self.on_stray = cluster.on_stray;
        self.on_quorum_loss = cluster.on_quorum_loss;
    }

    /// The configuration does not have it on this host any more.
    pub fn leave_out(&mut self, cluster: &config::Cluster, out: &mut Outbox) {
        self.on_stray = OnStray::Report;
        self.on_quorum_loss = cluster.on_quorum_loss;
        if core::mem::replace(&mut self.place, Place::LeftOut) == Place::InTheFile {
            let text = "the configuration does not have it on this host any more: its VM is left as it is, and is watched only \
                        so that it never runs without right";
            self.event(out, Level::Warning, EventKind::VmLeftAlone, text.to_owned());
        }
    }

    /// Whether it may be forgotten: it was left out, and is not this host's, or nothing of it is left.
    pub fn is_done_with(&self) -> bool {
        let elsewhere = self.right.hold == Hold::Elsewhere && self.saved.suspended.is_none();
        self.place == Place::LeftOut && elsewhere && self.order.is_none()
    }

    /// It was this host's once in this boot, and nothing follows from that any more; whether that was news.
    pub const fn forget_epoch(&mut self) -> bool {
        core::mem::replace(&mut self.saved.epoch, 0) != 0
    }

    /// What its VM is doing, if libvirt answers.
    pub fn run(&self) -> Option<Run> {
        self.vm.run()
    }

    /// Whether it is seen to be off.
    pub fn is_off(&self) -> bool {
        matches!(self.vm.run(), Some(Run::Off(_) | Run::Undefined))
    }

    /// What its guest's controller says.
    pub const fn remote(&self) -> &RemoteAgent {
        &self.remote
    }

    /// Whether its guest can be told something, and this host is the one to do it.
    pub fn is_heard_inside(&self) -> bool {
        let ours = matches!(self.right.hold, Hold::Owned | Hold::Recalled);
        ours && self.hush == Hush::Speak && self.vm.run() == Some(Run::Running)
    }

    /// Something in the guest does not stop, and must not go on: this life of the VM ends. Whether that was begun.
    pub fn end_by_force(&mut self, now: Instant, text: String, out: &mut Outbox) -> bool {
        let free = matches!(self.phase, Phase::Idle | Phase::Settling { .. }) && self.order.is_none();
        let Some(run) = self.vm.run().filter(|_| free && self.may_recover()) else { return false };
        let failure = Failure::new(Rung::Reset, EventKind::RecoveryFailed, text);
        match ladder::next(&self.config.recovery, &self.saved, Rung::Reset, now, &mut self.jitter) {
            Step::Take(rung, _) => {
                self.take_rung(now, rung, run, Count::Due, failure, out);
                true
            }
            Step::GiveUp => false,
        }
    }

    /// What it may do.
    pub const fn right(&self) -> &Right {
        &self.right
    }

    /// Whether the end of this order matters to it.
    pub fn awaits(&self, ticket: Ticket) -> bool {
        self.late == Some(ticket)
            || self.late_pause == LatePause::Pending(ticket)
            || self.sends(ticket)
            || self.order.is_some_and(|(current, _)| current == ticket)
    }

    /// libvirt does not answer: nothing is known, and nothing is done.
    pub fn libvirt_lost(&mut self) {
        self.vm.lose();
        self.going_down = None;
    }

    /// libvirt showed the domain.
    pub fn observe(&mut self, now: Instant, view: DomainView, happened: Option<Happened>, out: &mut Outbox) {
        let before = self.vm.run();
        let first = before.is_none();
        self.shown_by = None;
        self.seen_since();
        self.killed = Killed::No;
        let ended = matches!(happened, Some(Happened::Started | Happened::Stopped(_)));
        if ended || !matches!(view.run, Run::Off(_) | Run::Undefined) {
            self.begun = None;
        }
        let ran = !matches!(before, Some(Run::Paused(_)));
        let news = self.vm.observe(now, view, happened);
        self.look_for_what_comes(before, out);
        if ran && matches!(self.vm.run(), Some(Run::Paused(Paused::User))) && self.paused_late(now) {
            self.saved.suspended = Some(self.saved.epoch);
            out.dirty = true;
        }
        let stood_still = matches!(before, Some(Run::Paused(_) | Run::Asleep));
        if first || stood_still {
            self.remote.excuse(now);
        }
        if let (true, Some(Run::Off(why))) = (first, self.vm.run()) {
            self.found_off(now, why, out);
        }
        for happened in news {
            self.happened(now, happened, out);
        }
        if self.vm.run() != Some(Run::Running) || self.vm.busy() {
            self.remote.excuse(now);
        }
        self.going_down = match self.vm.run() {
            Some(Run::ShuttingDown) => self.going_down.or(Some(now)),
            _ => None,
        };
        if self.vm.cid() != self.cid {
            self.cid = self.vm.cid();
            out.push(Output::Cid { group: self.config.name.clone(), cid: self.cid });
        }
        let still = self.vm.run().is_some_and(|run| run.is_left_alone() || matches!(run, Run::Paused(_)));
        let hush = if still { Hush::Quiet } else { Hush::Speak };
        if hush != self.hush {
            self.hush = hush;
            out.push(Output::Hush { group: self.config.name.clone(), hush });
        }
        if self.vm.run() == Some(Run::Running) && matches!(self.right.journey, Journey::Taken { .. }) {
            self.held_until = None; // that is told at once
        }
        let suspending = matches!(self.order, Some((_, Doing::Suspend)));
        let ours = matches!(self.right.hold, Hold::Owned | Hold::Disarmed);
        if self.vm.run() == Some(Run::Running) && ours && !suspending {
            out.dirty |= self.saved.suspended.take().is_some();
            self.late = None;
        }
        self.look_for_stray(now, out);
        self.look_for_dangers(now, out);
    }

    /// Whether the pause that is seen is one of ours that came late; once.
    fn paused_late(&mut self, now: Instant) -> bool {
        match core::mem::replace(&mut self.late_pause, LatePause::No) {
            LatePause::No => false,
            LatePause::Pending(_) => true,
            LatePause::SeenUntil(until) => now < until,
        }
    }

    fn happened(&mut self, now: Instant, happened: Happened, out: &mut Outbox) {
        match happened {
            Happened::Started => {
                if self.remote.voice() != Voice::Connected {
                    self.remote.excuse(now); // else libvirt tells late, and the guest was faster
                }
                let came = self.saved.incoming.is_some() && matches!(self.vm.run(), Some(Run::Paused(_)));
                if !came {
                    let text = format!("VM '{}' runs", self.config.vm);
                    self.event(out, Level::Info, EventKind::VmRunning, text);
                }
                self.begun_anew();
            }
            Happened::Stopped(why) => self.stopped(now, why, out),
            Happened::Rebooted => {
                self.end_life(now, out);
                self.event(out, Level::Info, EventKind::VmRunning, "the guest rebooted".to_owned());
                self.begun_anew();
            }
            Happened::Panicked => {
                self.event(out, Level::Error, EventKind::VmFailed, "the guest's kernel panicked".to_owned());
            }
            Happened::Watchdog => {
                self.event(out, Level::Error, EventKind::VmFailed, "the guest's watchdog fired".to_owned());
            }
            Happened::IoError => {
                let text = "a disk of the VM failed; see its log in /var/log/libvirt/qemu".to_owned();
                self.event(out, Level::Error, EventKind::Danger, text);
            }
            Happened::Paused(Paused::User) if self.saved.suspended.is_some() => {} // this host did
            Happened::Paused(Paused::User) if self.saved.incoming.is_some() || self.saved.sent.is_some() => {} // libvirt did
            Happened::Paused(Paused::User) => {
                let text = "somebody paused the VM; it is left alone until somebody resumes it".to_owned();
                self.event(out, Level::Warning, EventKind::VmLeftAlone, text);
            }
            Happened::Paused(_) => {}
            Happened::Resumed => {
                self.event(out, Level::Info, EventKind::VmRunning, "the VM's vCPUs run again".to_owned());
            }
        }
    }

    /// The guest boots: whatever recovery waited for, or had given up on, is judged anew.
    fn begun_anew(&mut self) {
        if matches!(self.phase, Phase::Rebooting { .. } | Phase::Waiting { .. } | Phase::GivenUp)
            && self.order.is_none()
        {
            self.phase = Phase::Settling { rise: Rise::Again };
        }
    }

    /// What the guest said is past, and its connection leads nowhere.
    fn end_life(&mut self, now: Instant, out: &mut Outbox) {
        if self.remote.voice() == Voice::Connected {
            out.push(Output::Drop(Controller::Guest(self.config.name.clone())));
        }
        self.remote.end_life(now);
    }

    /// The VM was seen to stop.
    fn stopped(&mut self, now: Instant, why: Off, out: &mut Outbox) {
        self.end_life(now, out);
        let ours = matches!(self.order, Some((_, Doing::Shutdown | Doing::Destroy | Doing::Clear)))
            || matches!(self.phase, Phase::Stopping { .. });
        if matches!(self.phase, Phase::Starting { .. } | Phase::Settling { .. } | Phase::Rebooting { .. }) {
            self.phase = Phase::Idle; // what was begun has failed; the next step judges anew
        }
        if self.wanted() != Wanted::Up {
            self.event(out, Level::Info, EventKind::VmStopped, format!("VM '{}' is off", self.config.vm));
        } else if !ours {
            self.found_off(now, why, out);
        }
    }

    /// The VM is off, and no order of ours made it so. What a person did is respected.
    fn found_off(&mut self, now: Instant, why: Off, out: &mut Outbox) {
        if self.wanted() != Wanted::Up || self.saved.start_pending {
            return;
        }
        if self.was_sent(why) {
            self.saved.start_pending = true;
            out.dirty = true;
            return;
        }
        let respected = match why {
            Off::Shutdown if self.config.on_guest_shutdown == OnGuestShutdown::Offline => {
                "was shut down from inside"
            }
            Off::Saved => "was saved by somebody",
            Off::Snapshot => "was put back to a snapshot by somebody",
            Off::Migrated => "was moved to another host by somebody",
            _ => return,
        };
        self.wish = Some((format!("the VM {respected}"), now));
        let name = &self.config.name;
        let text = format!("the VM {respected} and is left so; `roost online {name}` brings it back");
        self.event(out, Level::Warning, EventKind::VmLeftAlone, text);
    }

    /// The guest link has something to tell.
    pub fn guest(&mut self, now: Instant, input: GuestInput, out: &mut Outbox) {
        if let GuestInput::Refused { reason } = &input {
            let text = format!("a peer on the guest's link was cut off: {reason}");
            self.event(out, Level::Warning, EventKind::ControllerRefused, text);
        }
        match self.remote.handle(now, input) {
            Ok(news) => news.into_iter().for_each(|news| self.tell(news, out)),
            Err(breach) => {
                let text = format!("the guest's controller was cut off: {breach}");
                self.event(out, Level::Warning, EventKind::ControllerRefused, text);
                out.push(Output::Drop(Controller::Guest(self.config.name.clone())));
            }
        }
    }

    fn tell(&mut self, news: News, out: &mut Outbox) {
        match news {
            News::Connected { software, rebooted } => {
                if !self.saved.had_controller {
                    self.saved.had_controller = true;
                    out.dirty = true;
                }
                if rebooted {
                    self.begun_anew();
                }
                let after = if rebooted { " after a reboot of the guest" } else { "" };
                let text = format!("the guest's controller is connected{after} ({software})");
                self.event(out, Level::Info, EventKind::ControllerConnected, text);
            }
            News::Past => out.push(Output::Drop(Controller::Guest(self.config.name.clone()))),
            News::Lost { reason } => {
                let text = format!("the link to the guest's controller ended: {reason}");
                self.event(out, Level::Warning, EventKind::ControllerLost, text);
            }
            News::TooMuch => {
                let text =
                    "the guest's groups change too often; the rest of this minute is not recorded".to_owned();
                self.event(out, Level::Warning, EventKind::App, text);
            }
            News::App { name, state: GroupState::Faulted(fault), .. } => {
                let reason = format!("{}: {} ({})", fault.resource, fault.reason, fault.exit);
                let text =
                    roost_proto::text::printable(&format!("'{name}' in the guest was given up on: {reason}"));
                let name = Some(self.config.name.clone());
                let mut event = draft(Level::Error, EventKind::Fault, name, text);
                event.output = roost_proto::text::printable(&fault.output);
                out.push(Output::Event(event));
            }
            News::App { name, state, outage, trouble, kept } => {
                let ordered = matches!(kept, Kept::ToOrder(_)) && state == GroupState::Offline;
                let level = if ordered || state == GroupState::Online { Level::Info } else { Level::Warning };
                let after = outage.map(|time| format!(" after {} ms", time.as_millis())).unwrap_or_default();
                let text = format!("'{name}' in the guest is {}{after}", describe(&state, &trouble));
                self.event(out, level, EventKind::App, text);
            }
        }
    }

    /// Whether a guest's group counts for this one.
    fn counts(&self, app: &str) -> bool {
        match &self.config.apps {
            Apps::All => true,
            Apps::Named(names) => names.iter().any(|name| name == app),
        }
    }

    fn event(&self, out: &mut Outbox, level: Level, kind: EventKind, text: String) {
        out.push(Output::Event(draft(level, kind, Some(self.config.name.clone()), text)));
    }

    /// Whether recovery may go on.
    fn may_recover(&self) -> bool {
        let left_alone = self.vm.run().is_some_and(Run::is_left_alone);
        self.wanted() == Wanted::Up && !left_alone
    }

    /// This host stood still until now: what its guest did not say meanwhile is not the guest's fault.
    pub const fn awoke(&mut self, now: Instant) {
        self.awoke = Some(now);
        self.remote.excuse(now);
    }

    /// Decides until there is nothing more to decide now.
    pub fn step(&mut self, now: Instant, out: &mut Outbox) {
        self.stepped = now;
        self.begun = self.begun.filter(|at| now.since(*at) < SEEN_WITHIN);
        for _ in 0..MAX_STEPS {
            if !self.step_once(now, out) {
                break;
            }
        }
        let condition = self.condition(now).0;
        if condition != self.shown.0 {
            self.shown = (condition, now);
        }
    }

    /// Takes one decision; returns whether another may follow from it.
    fn step_once(&mut self, now: Instant, out: &mut Outbox) -> bool {
        self.wish_again(now, out);
        match self.wanted() {
            Wanted::Still => return self.hold_still(now, out),
            Wanted::Gone => return self.wipe(now, out),
            Wanted::Up | Wanted::Down | Wanted::Nothing | Wanted::Sent | Wanted::Taken | Wanted::Expected => {
            }
        }
        let Some(run) = self.vm.run() else { return false };
        self.listen(now, out);
        if self.order.is_some() || self.held_until.is_some_and(|until| now < until) {
            return false;
        }
        self.held_until = None;
        self.settle_memory(run, out);
        self.settle_sent(now, run, out);
        if self.is_sending() && self.wanted() != Wanted::Sent {
            let ours = matches!(self.right.hold, Hold::Owned | Hold::Recalled | Hold::Disarmed);
            return ours && self.call_back(now, out);
        }
        if self.right.hold != Hold::Disarmed && self.clear_up(out) {
            return false;
        }
        match self.wanted() {
            Wanted::Sent => self.send(now, run, out),
            Wanted::Taken => self.take(now, run, out),
            Wanted::Expected => {
                run == Run::Undefined && self.config.xml.is_some() && self.order(Doing::Define, out)
            }
            Wanted::Up if self.is_ours_to_resume(run) => self.order_resume(now, out),
            // What this host made stand still it lets go on, even if it is to be left alone otherwise.
            Wanted::Nothing
                if matches!(self.right.hold, Hold::Owned | Hold::Disarmed) && self.is_ours_to_resume(run) =>
            {
                self.order_resume(now, out)
            }
            Wanted::Up => self.keep_up(now, run, out),
            Wanted::Down => self.take_down(now, run, out),
            Wanted::Still | Wanted::Gone | Wanted::Nothing => false,
        }
    }

    fn take_down(&mut self, now: Instant, run: Run, out: &mut Outbox) -> bool {
        match (run, &self.phase) {
            (Run::Off(_) | Run::Undefined, Phase::Idle) => false,
            (Run::Off(_) | Run::Undefined, _) => {
                self.phase = Phase::Idle;
                true
            }
            (run, _) if self.is_ours_to_resume(run) => self.order(Doing::Wipe, out), // it hears no request
            (_, Phase::Stopping { until }) if now < *until => false,
            (Run::Crashed | Run::Paused(Paused::Crashed), _) | (_, Phase::Stopping { .. }) => {
                self.order_destroy(now, out)
            }
            _ => self.order_shutdown(now, out),
        }
    }

    fn keep_up(&mut self, now: Instant, run: Run, out: &mut Outbox) -> bool {
        let lives = !matches!(run, Run::Off(_) | Run::Undefined);
        match self.phase.clone() {
            Phase::Stopping { until } => {
                let over = !lives || now >= until;
                if over {
                    self.phase = Phase::Idle;
                }
                over
            }
            Phase::Waiting { count: Count::Due, .. } if self.is_well(now, run) => self.recovered(out),
            Phase::Waiting { .. } if run.is_left_alone() => {
                self.phase = Phase::Settling { rise: Rise::Again }; // judged anew when it runs again
                true
            }
            Phase::Waiting { until, .. } if now < until => false,
            Phase::Waiting { rung, failure, count, .. } => {
                self.take_rung(now, rung, run, count, failure, out)
            }
            Phase::Rebooting { until } if now < until => false,
            Phase::Rebooting { .. } => {
                let waited = Span(self.config.recovery.reboot_timeout);
                let text = format!("the guest did not reboot within {waited} of being asked to");
                self.fail(now, Failure::new(Rung::Reset, EventKind::RecoveryFailed, text), out)
            }
            Phase::Starting { rise, .. } if lives => {
                self.phase = Phase::Settling { rise };
                true
            }
            Phase::Starting { until, .. } if now < until => false,
            Phase::Starting { .. } => {
                let text = format!("VM '{}' was started and is not running", self.config.vm);
                self.fail(now, Failure::new(Rung::Restart, EventKind::RecoveryFailed, text), out)
            }
            Phase::GivenUp => self.is_well(now, run) && self.recovered(out),
            Phase::Settling { .. } | Phase::Idle => self.watch(now, run, out),
        }
    }

    /// Nothing is under way: is all as it should be?
    fn watch(&mut self, now: Instant, run: Run, out: &mut Outbox) -> bool {
        match run {
            Run::Undefined => self.order_define(out),
            Run::Off(_) if self.saved.start_pending => self.order_start(now, out),
            _ => {
                if !matches!(run, Run::Off(_)) && core::mem::take(&mut self.saved.start_pending) {
                    out.dirty = true;
                }
                if let Some(failure) = self.failure(now, run) {
                    return self.fail(now, failure, out);
                }
                matches!(self.phase, Phase::Settling { .. }) && self.is_well(now, run) && self.recovered(out)
            }
        }
    }

    fn recovered(&mut self, out: &mut Outbox) -> bool {
        self.phase = Phase::Idle;
        if self.saved.given_up.take().is_some() {
            out.dirty = true;
        }
        self.event(out, Level::Info, EventKind::Recovered, "all is well".to_owned());
        true
    }

    /// Something is wrong: which rung, and when?
    fn fail(&mut self, now: Instant, failure: Failure, out: &mut Outbox) -> bool {
        if failure.kind != EventKind::Fault {
            self.event(out, Level::Error, failure.kind, failure.text.clone()); // a fault was told when it came
        }
        match ladder::next(&self.config.recovery, &self.saved, failure.gentlest, now, &mut self.jitter) {
            Step::Take(rung, wait) => {
                if !wait.is_zero() {
                    let text = format!("will {} in {} ms", self.words(rung), wait.as_millis());
                    self.event(out, Level::Info, EventKind::Recovery, text);
                }
                self.phase = Phase::Waiting { rung, until: now + wait, failure, count: Count::Due };
            }
            Step::GiveUp => {
                let name = &self.config.name;
                let text =
                    format!("{}; nothing is left to try: mend it, then `roost online {name}`", failure.text);
                self.event(out, Level::Error, EventKind::GivenUp, text);
                out.made.given_up += 1;
                self.saved.given_up = Some(failure.text);
                self.phase = Phase::GivenUp;
                out.dirty = true;
            }
        }
        true
    }

    /// When to look again, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Stopping { until }
            | Phase::Waiting { until, .. }
            | Phase::Rebooting { until }
            | Phase::Starting { until, .. } => Some(until),
            Phase::Idle | Phase::Settling { .. } | Phase::GivenUp => None,
        };
        let free = self.order.is_none() && self.wanted() != Wanted::Nothing && self.vm.run().is_some();
        let stray = self.stray_deadline();
        let wish = self.wish.as_ref().map(|(_, at)| *at);
        let judged = self.next_judgement().filter(|_| self.wanted() == Wanted::Up);
        let begun = self.begun.map(|at| at + SEEN_WITHIN);
        let travel = self.travel_deadline(self.stepped);
        let due = [
            travel,
            phase.filter(|_| free),
            self.held_until,
            self.shown_by,
            self.noted_by,
            judged,
            stray,
            wish,
            begun,
        ];
        due.into_iter().flatten().filter(|at| *at > self.stepped).min() // what was due then was looked at
    }
}

impl Failure {
    fn new(gentlest: Rung, kind: EventKind, text: String) -> Self {
        Self { gentlest, kind, text }
    }
}

/// A duration for people, in whole seconds.
fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}
