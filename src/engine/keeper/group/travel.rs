//! Moving on purpose: memory that goes from here to another host, and memory that came here.
//!
//! The ledger says which: until it gives the group to the target, the memory is the owner's, and what arrived elsewhere is
//! touched by nobody; from then on it is the target's. The owner says that the memory is gone only when libvirt shows the
//! domain off for that reason. What was saved to a file runs on only after the file is gone, so that the same memory never
//! runs twice. Whatever stands still here after a move to here, and is not taken over, is older than its disks, and goes.

use super::super::right::Journey;
use super::super::vm::{ActionError, Off, Order, Paused, Run, Ticket, VmAction};
use super::act::AGAIN_AFTER;
use super::{Doing, Duration, EventKind, Group, Hold, Instant, Level, Outbox, Output};
use roost_proto::cluster::decision::Carry;
use roost_proto::cluster::raft::Index;
use roost_proto::cluster::{GroupState, MAX_REASON};
use roost_proto::control::Intent;
use roost_proto::text::clip;
use std::path::PathBuf;

/// What libvirt gets for a migration or saving beyond the group's own `move_timeout`, at the end of which it is called back.
const END_WITHIN: Duration = Duration::from_secs(60);
/// How long after a migration ended a view may take to show how: two polls of libvirt.
const SHOWN_AFTER: Duration = Duration::from_secs(5);
/// The wait before libvirt is told once more to end what is under way.
const ABORT_AGAIN: Duration = Duration::from_secs(5);
/// How long a domain that has arrived may take to be shown: five polls of libvirt.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);
/// How long memory that is here may take to run: orders that libvirt did not take on are tried again meanwhile.
const RUNS_WITHIN: Duration = Duration::from_secs(60);
/// In place of the index of a move that is not known here; no decision has it.
const UNKNOWN_MOVE: Index = 0;

/// Memory that was sent away.
#[derive(Debug)]
pub struct Sending {
    begun: Index,
    carry: Carry,
    stage: Stage,
    since: Instant,
    /// Then it is called back.
    until: Instant,
    abort_after: Instant,
    percent: Option<u8>,
    downtime: Option<Duration>,
}

/// How far memory is that was sent away.
#[derive(Debug)]
enum Stage {
    /// libvirt is at it.
    UnderWay(Ticket),
    /// libvirt took too long, and may be at it still.
    Late(Ticket),
    /// It is over, and a view tells how, at the latest then; what libvirt said, if it stayed here.
    Over { words: String, seen: Seen },
    /// It is off here, and is there.
    Gone { still_ms: u32 },
    /// It is here.
    Stayed { reason: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Yes,
    Until(Instant),
}

/// Memory that came here and is taken over.
#[derive(Debug)]
pub struct Taking {
    begun: Index,
    since: Instant,
    stage: Take,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Take {
    /// It is on its way.
    Comes,
    /// It was restored, and libvirt shows it until then.
    Restored(Instant),
    /// Its file is gone, and so it may run.
    Forgotten,
    /// It runs.
    Runs,
    /// It is not to be had.
    Lost { reason: String },
}

impl Sending {
    const fn ticket(&self) -> Option<Ticket> {
        match self.stage {
            Stage::UnderWay(ticket) | Stage::Late(ticket) => Some(ticket),
            Stage::Over { .. } | Stage::Gone { .. } | Stage::Stayed { .. } => None,
        }
    }
}

impl Group {
    /// Whether libvirt is at work to send its memory away.
    pub(super) fn is_sending(&self) -> bool {
        self.sending.as_ref().is_some_and(|sending| sending.ticket().is_some())
    }

    /// Whether libvirt may let its vCPUs go on though they were stopped: so it does when a migration or saving fails, whoever
    /// began it, and whether or not the daemon that did still lives.
    pub(super) fn may_go_on_by_itself(&self) -> bool {
        self.is_sending() || (self.vm.busy() && self.saved.incoming.is_none())
    }

    /// Whether the end of this order is that of its memory's going.
    pub(super) fn sends(&self, ticket: Ticket) -> bool {
        self.sending.as_ref().is_some_and(|sending| sending.ticket() == Some(ticket))
    }

    /// How much of its memory has gone, in per cent.
    pub fn percent(&self) -> Option<u8> {
        self.sending.as_ref().filter(|sending| sending.ticket().is_some())?.percent
    }

    /// How far it came.
    pub fn progressed(&mut self, ticket: Ticket, percent: u8) {
        if let Some(sending) = self.sending.as_mut().filter(|sending| sending.ticket() == Some(ticket)) {
            sending.percent = Some(percent.min(99));
        }
    }

    /// How long it stood still, as libvirt counts.
    pub fn stood_still(&mut self, ticket: Ticket, time: Duration) {
        if let Some(sending) = self.sending.as_mut().filter(|sending| sending.ticket() == Some(ticket)) {
            sending.downtime = Some(time);
        }
    }

    /// Its memory goes to another host.
    pub(super) fn send(&mut self, now: Instant, run: Run, out: &mut Outbox) -> bool {
        let Journey::Goes { begun, .. } = self.right.journey else { return false };
        let known = self.sending.as_ref().filter(|sending| sending.begun == begun);
        let Some(sending) = known else {
            if self.is_sending() {
                return self.call_back(now, out);
            }
            return self.set_out(now, run, out);
        };
        // What is to be offline goes down where it is, unless its memory has left already.
        let overdue = now >= sending.until || self.right.intent == Intent::Offline;
        match &sending.stage {
            Stage::UnderWay(_) | Stage::Late(_) => overdue && self.call_back(now, out),
            Stage::Over { seen: Seen::Until(at), .. } if now < *at => false,
            Stage::Over { .. } if self.vm.busy() => overdue && self.call_back(now, out),
            Stage::Over { words, .. } => {
                let gone = is_gone(run, sending.carry);
                let still = match sending.carry {
                    Carry::Live => sending.downtime.unwrap_or_default(),
                    Carry::Suspend => now.since(sending.since),
                };
                let stage = if gone {
                    Stage::Gone { still_ms: u32::try_from(still.as_millis()).unwrap_or(u32::MAX) }
                } else {
                    Stage::Stayed { reason: clip(words, MAX_REASON).to_owned() }
                };
                self.stage(stage);
                true
            }
            Stage::Stayed { .. } if self.is_ours_to_resume(run) => self.order_resume(now, out),
            Stage::Gone { .. } | Stage::Stayed { .. } => false,
        }
    }

    fn stage(&mut self, stage: Stage) {
        if let Some(sending) = &mut self.sending {
            sending.stage = stage;
        }
    }

    /// Has it sent, or finds that it was: by the daemon's life before this one.
    fn set_out(&mut self, now: Instant, run: Run, out: &mut Outbox) -> bool {
        let Journey::Goes { begun, carry, to } = self.right.journey else { return false };
        let until = now + self.config.move_timeout;
        let seen = Seen::Until(now + SHOWN_AFTER);
        let stayed = |reason: &str| Stage::Stayed { reason: reason.to_owned() };
        let stage = match run {
            // It may have gone with a move before this one, have been started since, and not be shown running yet.
            run if is_gone(run, carry) && self.may_appear() => return false,
            run if is_gone(run, carry) && self.wish.is_none() && self.sending.is_none() => {
                Stage::Gone { still_ms: 0 }
            }
            _ if self.vm.busy() => Stage::Over { words: "libvirt did not say how it ended".to_owned(), seen },
            run if self.is_ours_to_resume(run) => return self.order_resume(now, out),
            _ if self.right.intent == Intent::Offline => stayed("it is wanted offline"),
            Run::Running => {
                let action = match carry {
                    Carry::Live => out.remotes.get(&to).map(|to| VmAction::Migrate { to: to.clone() }),
                    Carry::Suspend => self.memory_file(begun, out).map(|file| VmAction::Save { file }),
                };
                match (action, carry) {
                    (Some(action), _) => {
                        let ticket = out.ticket();
                        let limit = self.config.move_timeout + END_WITHIN;
                        let domain = self.config.vm.clone();
                        out.push(Output::Order(Order { ticket, domain, action, limit }));
                        self.saved.start_pending = true; // what libvirt says of why it is off then is no person's word
                        self.saved.sent = Some(self.right.epoch);
                        out.dirty = true;
                        Stage::UnderWay(ticket)
                    }
                    (None, Carry::Live) => {
                        stayed("the configuration of its host does not name the other one")
                    }
                    (None, Carry::Suspend) => stayed("the configuration of its host has no 'save_dir'"),
                }
            }
            Run::Off(_) | Run::Undefined => stayed("its VM is off"),
            Run::ShuttingDown => stayed("its VM is on its way down"),
            _ => stayed("its VM stands still"),
        };
        self.sending = Some(Sending {
            begun,
            carry,
            stage,
            since: now,
            until,
            abort_after: now,
            percent: None,
            downtime: None,
        });
        true
    }

    /// libvirt is to end what it does to send it away: it stays here.
    pub(super) fn call_back(&mut self, now: Instant, out: &mut Outbox) -> bool {
        let free = self.order.is_none() && self.held_until.is_none_or(|at| now >= at);
        let Some(sending) = self.sending.as_mut().filter(|sending| free && now >= sending.abort_after) else {
            return false;
        };
        sending.abort_after = now + ABORT_AGAIN;
        self.order(Doing::Abort, out)
    }

    /// A migration or saving ended, as libvirt says.
    pub(super) fn sent(&mut self, now: Instant, ticket: Ticket, result: &Result<(), ActionError>) {
        let words = match result {
            Err(ActionError::NotConnected | ActionError::Busy) => {
                self.sending = None; // it is tried again
                self.held_until = Some(now + AGAIN_AFTER);
                return;
            }
            Err(ActionError::TimedOut) => {
                self.stage(Stage::Late(ticket));
                return;
            }
            Ok(()) | Err(ActionError::AlreadySo) => {
                "libvirt says that it has gone, and shows it here".to_owned()
            }
            Err(error) => error.to_string(),
        };
        let overdue = self.sending.as_ref().is_some_and(|sending| now >= sending.until);
        let words = match (result, overdue) {
            (Err(_), true) => {
                format!(
                    "it took longer than {} ('move_timeout'): {words}",
                    super::Span(self.config.move_timeout)
                )
            }
            _ => words,
        };
        let seen = if self.is_off() { Seen::Yes } else { Seen::Until(now + SHOWN_AFTER) };
        self.stage(Stage::Over { words, seen });
    }

    /// What was answered as timed out does nothing any more.
    pub(super) fn sending_ended(&mut self, now: Instant) {
        let words = "libvirt did not finish in time".to_owned();
        self.stage(Stage::Over { words, seen: Seen::Until(now + SHOWN_AFTER) });
    }

    /// libvirt showed the domain since.
    pub(super) fn seen_since(&mut self) {
        if let Some(Sending { stage: Stage::Over { seen, .. }, .. }) = &mut self.sending {
            *seen = Seen::Yes;
        }
    }

    /// What was sent from here may be left standing still, by a libvirt that could not let it go on: it is this host's to let go
    /// on, whether or not the ledger still has the move, or this life of the daemon began it.
    pub(super) fn settle_sent(&mut self, now: Instant, run: Run, out: &mut Outbox) {
        let unseen = self.sending.as_ref().is_some_and(|sending| match sending.stage {
            Stage::UnderWay(_) | Stage::Late(_) => true,
            Stage::Over { seen: Seen::Until(at), .. } => now < at,
            Stage::Over { seen: Seen::Yes, .. } | Stage::Gone { .. } | Stage::Stayed { .. } => false,
        });
        let Some(epoch) = self.saved.sent.take_if(|_| !unseen && !self.vm.busy()) else { return };
        out.dirty = true;
        let left = matches!(run, Run::Paused(Paused::User | Paused::Unknown | Paused::Busy));
        if left && self.saved.incoming.is_none() {
            self.saved.suspended = Some(epoch);
            let text =
                "its memory was to go to another host, and libvirt left it standing still here".to_owned();
            self.event(out, Level::Warning, EventKind::MoveFailed, text);
        }
    }

    /// Whether libvirt's reason for its being off is that this host sent it away: no person did.
    pub(super) fn was_sent(&self, why: Off) -> bool {
        self.sending.is_some() && matches!(why, Off::Migrated | Off::Saved)
    }

    /// Its memory came here, and is this host's now.
    pub(super) fn take(&mut self, now: Instant, run: Run, out: &mut Outbox) -> bool {
        let Journey::Taken { begun, carry } = self.right.journey else { return false };
        if self.taking.as_ref().is_none_or(|taking| taking.begun != begun) {
            self.taking = Some(Taking { begun, since: now, stage: Take::Comes });
        }
        let Some(taking) = &self.taking else { return false };
        let in_time = |limit| now < taking.since + limit;
        let free = carry == Carry::Live || taking.stage == Take::Forgotten;
        // What was restored is shown as what is still coming, but libvirt is not at it any more.
        let restored = carry == Carry::Suspend && !self.vm.busy();
        match (&taking.stage, run) {
            (Take::Runs | Take::Lost { .. }, _) => false,
            (_, Run::Paused(Paused::Busy)) if restored && in_time(RUNS_WITHIN) => {
                if free {
                    self.order_resume(now, out)
                } else {
                    self.order_file(Doing::Forget(begun), begun, out)
                }
            }
            (
                Take::Comes | Take::Restored(_) | Take::Forgotten,
                Run::Running | Run::ShuttingDown | Run::Asleep,
            ) if free => {
                self.take_stage(Take::Runs);
                true
            }
            (_, Run::Paused(Paused::User | Paused::Unknown)) if free && in_time(RUNS_WITHIN) => {
                self.order_resume(now, out)
            }
            (
                _,
                Run::Running | Run::ShuttingDown | Run::Asleep | Run::Paused(Paused::User | Paused::Unknown),
            ) if !free && in_time(RUNS_WITHIN) => self.order_file(Doing::Forget(begun), begun, out),
            (_, Run::Paused(Paused::Busy | Paused::Starting)) if in_time(RUNS_WITHIN) => false,
            (_, Run::Off(_) | Run::Undefined) if carry == Carry::Live && in_time(ARRIVES_WITHIN) => false,
            (Take::Restored(until), Run::Off(_) | Run::Undefined) if now < *until => false,
            (_, Run::Off(_) | Run::Undefined) if carry == Carry::Live => {
                self.not_taken("its memory is not there".to_owned())
            }
            (Take::Comes, Run::Undefined) if self.config.xml.is_some() && in_time(RUNS_WITHIN) => {
                self.order(Doing::Define, out)
            }
            (Take::Comes, Run::Off(_) | Run::Undefined) if in_time(RUNS_WITHIN) => {
                self.order_file(Doing::Restore(begun), begun, out)
            }
            (_, Run::Off(_) | Run::Undefined) => self.not_taken("it ended before it ran".to_owned()),
            _ => self.not_taken("its memory is there, and does not run".to_owned()),
        }
    }

    fn take_stage(&mut self, stage: Take) {
        if let Some(taking) = &mut self.taking {
            taking.stage = stage;
        }
    }

    fn not_taken(&mut self, reason: String) -> bool {
        self.take_stage(Take::Lost { reason: clip(&reason, MAX_REASON).to_owned() });
        true
    }

    fn order_file(&mut self, doing: Doing, begun: Index, out: &mut Outbox) -> bool {
        if self.memory_file(begun, out).is_none() {
            return self.not_taken("the configuration of its host has no 'save_dir'".to_owned());
        }
        self.order(doing, out)
    }

    /// The file for the memory of a move.
    pub(super) fn memory_file(&self, begun: Index, out: &Outbox) -> Option<PathBuf> {
        out.save_dir.as_ref().map(|dir| dir.join(format!("{}-{begun}.memory", self.config.name)))
    }

    /// An order about memory that travels ended.
    pub(super) fn travelled(
        &mut self,
        now: Instant,
        ticket: Ticket,
        doing: Doing,
        result: &Result<(), ActionError>,
        out: &mut Outbox,
    ) {
        let again = matches!(result, Err(ActionError::NotConnected | ActionError::Busy));
        match (doing, result) {
            (Doing::Abort, _) => {} // the end of what was ended is told apart
            _ if again => self.held_until = Some(now + AGAIN_AFTER),
            (Doing::Forget(begun), Ok(()) | Err(ActionError::AlreadySo)) => {
                self.forgotten = Some(begun);
                if let Some(taking) = self.taking.as_mut().filter(|taking| taking.begun == begun) {
                    taking.stage = Take::Forgotten;
                }
            }
            (Doing::Forget(begun), Err(error)) => {
                let taken = matches!(self.right.journey, Journey::Taken { .. });
                let then = if taken { "it stands still until then" } else { "it counts no more" };
                let text =
                    format!("the file of its saved memory could not be taken away, and {then}: {error}");
                self.event(out, Level::Warning, EventKind::MoveFailed, text);
                if taken {
                    self.held_until = Some(now + AGAIN_AFTER);
                } else {
                    self.forgotten = Some(begun);
                }
            }
            (Doing::Restore(_), Ok(()) | Err(ActionError::AlreadySo)) => {
                self.take_stage(Take::Restored(now + ARRIVES_WITHIN));
            }
            (Doing::Restore(_), Err(ActionError::TimedOut)) => {
                self.late = Some(ticket);
                self.not_taken("libvirt did not restore its memory in time".to_owned());
            }
            (Doing::Restore(_), Err(error)) => {
                self.not_taken(format!("its memory could not be restored: {error}"));
            }
            _ => {}
        }
    }

    /// Takes away a file of memory that counts no more.
    pub(super) fn clear_up(&mut self, out: &mut Outbox) -> bool {
        let stale = self.right.left.filter(|_| self.right.journey == Journey::None);
        let Some(begun) = stale.filter(|begun| self.forgotten != Some(*begun)) else { return false };
        if !matches!(self.right.hold, Hold::Owned | Hold::Recalled) || self.memory_file(begun, out).is_none()
        {
            return false;
        }
        self.order(Doing::Forget(begun), out);
        true
    }

    /// Notes what the ledger says of memory that comes here.
    pub(super) fn expect_memory(&mut self, now: Instant, out: &mut Outbox) {
        let comes = match self.right.journey {
            Journey::Comes { begun } | Journey::Taken { begun, .. } => Some(begun),
            Journey::None | Journey::Goes { .. } => None,
        };
        if comes.is_some() && comes != self.saved.incoming {
            self.saved.incoming = comes;
            out.dirty = true;
        }
        if let Some(taking) = &mut self.taking {
            taking.since = now; // what a lease that was away cost does not count
        }
    }

    /// Notes memory that comes here though no move to here is known: the word of that may be late, and its end may come with it.
    pub(super) fn look_for_what_comes(&mut self, before: Option<Run>, out: &mut Outbox) {
        let was_off = matches!(before, Some(Run::Off(_) | Run::Undefined));
        let comes = was_off && self.vm.run() == Some(Run::Paused(Paused::Busy));
        if comes && self.right.hold == Hold::Elsewhere && self.saved.incoming.is_none() {
            self.saved.incoming = Some(UNKNOWN_MOVE);
            out.dirty = true;
        }
    }

    /// Forgets that memory was to come here, once the group runs here by right: until then more of it may appear.
    pub(super) fn settle_memory(&mut self, run: Run, out: &mut Outbox) {
        let own = matches!(self.right.hold, Hold::Owned | Hold::Recalled)
            && matches!(self.right.journey, Journey::None | Journey::Goes { .. });
        let runs = matches!(run, Run::Running | Run::ShuttingDown | Run::Asleep | Run::Crashed);
        if own && runs && self.saved.incoming.take().is_some() {
            out.dirty = true;
        }
    }

    /// Whether what stands still here is memory that came by a move, and was not taken over.
    pub(super) fn is_stale(&self) -> bool {
        let paused = match self.vm.run() {
            Some(Run::Paused(Paused::User | Paused::Unknown)) => true,
            // Perhaps a person moves it, who lets it run here in the end.
            Some(Run::Paused(Paused::Busy)) => self.saved.incoming != Some(UNKNOWN_MOVE),
            _ => false,
        };
        let by_right = matches!(self.right.journey, Journey::Comes { .. } | Journey::Taken { .. });
        let ours = self.saved.suspended == Some(self.right.epoch); // it ran here since
        paused && self.saved.incoming.is_some() && !by_right && !ours
    }

    /// When time alone changes something about memory that travels.
    pub(super) fn travel_deadline(&self, after: Instant) -> Option<Instant> {
        let sending = self
            .sending
            .as_ref()
            .filter(|sending| sending.ticket().is_some() || matches!(sending.stage, Stage::Over { .. }));
        let shown = sending.and_then(|sending| match sending.stage {
            Stage::Over { seen: Seen::Until(at), .. } => Some(at),
            _ => None,
        });
        let aborts = sending.map(|sending| sending.abort_after);
        let until = sending.map(|sending| sending.until);
        let taking = self.taking.as_ref().filter(|_| matches!(self.right.journey, Journey::Taken { .. }));
        let arrives = taking.map(|taking| taking.since + ARRIVES_WITHIN);
        let runs = taking.map(|taking| taking.since + RUNS_WITHIN);
        let restored = taking.and_then(|taking| match taking.stage {
            Take::Restored(until) => Some(until),
            _ => None,
        });
        let all = [shown, aborts, until, arrives, restored, runs].into_iter().flatten();
        all.filter(|at| *at > after).min()
    }

    /// What the leader is told of memory that travels, if that is more than how its VM is.
    pub(super) fn reported_journey(&self) -> Option<GroupState> {
        match self.right.journey {
            Journey::Goes { begun, .. } => {
                let sending = self.sending.as_ref().filter(|sending| sending.begun == begun);
                match sending.map(|sending| &sending.stage) {
                    Some(Stage::Gone { still_ms }) => Some(GroupState::Gone { still_ms: *still_ms }),
                    Some(Stage::Stayed { reason }) => Some(GroupState::Stayed { reason: reason.clone() }),
                    _ => None,
                }
            }
            Journey::Taken { begun, .. } => {
                let taking = self.taking.as_ref().filter(|taking| taking.begun == begun);
                Some(match taking.map(|taking| &taking.stage) {
                    Some(Take::Runs) => GroupState::Taken,
                    Some(Take::Lost { reason }) => GroupState::NotTaken { reason: reason.clone() },
                    _ => GroupState::Coming,
                })
            }
            Journey::None | Journey::Comes { .. } => None,
        }
    }
}

/// Whether a domain is off because its memory has gone that way.
const fn is_gone(run: Run, carry: Carry) -> bool {
    match carry {
        Carry::Live => matches!(run, Run::Off(Off::Migrated)),
        Carry::Suspend => matches!(run, Run::Off(Off::Saved)),
    }
}
