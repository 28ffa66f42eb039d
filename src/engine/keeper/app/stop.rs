//! Applications that do not stop, though they must: it is told, and in a VM its life is ended.

use super::super::right::Hold;
use super::seat::{Account, Around, Seat};
use super::{App, EventKind, Level, Outbox, Plan};
use roost_proto::time::{Instant, Span};

/// A VM in which the application does not stop: its life is to end, for this reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Force {
    /// The group of the VM.
    pub vm: String,
    /// Why.
    pub why: String,
}

/// It is to be offline at a target, and is not known to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stopping {
    /// Not for too long yet.
    Within { until: Instant },
    /// For too long, which was told.
    Overdue,
}

impl Stopping {
    pub(super) const fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Within { until } => Some(*until),
            Self::Overdue => None,
        }
    }
}

impl App {
    /// The target here where it is to be offline, and is not known to be, and why that is so.
    fn unstopped(&self, around: &Around<'_>) -> Option<(&Seat, String)> {
        let ours = self.at().map(Seat::id);
        self.seats.iter().filter(|seat| seat.is_here(around)).find_map(|seat| {
            let Plan::Offline(_) = self.plan(seat) else { return None };
            let account = seat.account(around, &self.app.name);
            let may_run = seat.is_metal() && (self.saved.app.is_some() || ours == Some(seat.id()));
            let why = match &account {
                Account::Off => return None,
                _ if seat.is_down(&account) => return None,
                Account::Silent | Account::Undefined if !may_run => return None,
                Account::Silent => {
                    "the machine's own roost-guest is not connected, or says nothing".to_owned()
                }
                Account::Undefined => {
                    format!("the machine's own roost-guest has no managed group '{}'", self.app.name)
                }
                Account::Told(report, _) if report.frozen => "it is frozen there".to_owned(),
                Account::Told(report, obedience) if obedience.epoch > self.right.epoch => format!(
                    "it is {}, and obeys no order of an epoch before {}",
                    Self::describe(report),
                    obedience.epoch
                ),
                Account::Told(report, _) => format!("it is {}", Self::describe(report)),
            };
            Some((seat, why))
        })
    }

    /// Notes how long it takes to stop; tells when that is too long, and has its VM ended.
    pub(super) fn look_for_stuck(
        &mut self,
        now: Instant,
        around: &Around<'_>,
        out: &mut Outbox,
    ) -> Option<Force> {
        let Some((seat, why)) = self.unstopped(around) else {
            self.stopping = None;
            return None;
        };
        let until = match self.stopping {
            None => now + self.config.stop_timeout,
            Some(Stopping::Within { until }) => until,
            Some(Stopping::Overdue) => return None,
        };
        if now < until {
            self.stopping = Some(Stopping::Within { until });
            return None;
        }
        let (target, limit) = (seat.target(), Span(self.config.stop_timeout));
        let frozen =
            matches!(seat.account(around, &self.app.name), Account::Told(report, _) if report.frozen);
        let (force, then) = match seat.vm() {
            Some(vm) if !frozen => {
                let app = &self.config.name;
                let why = format!("application '{app}' does not stop within {limit}: {why}");
                (Some(Force { vm: vm.to_owned(), why }), "its VM's life is ended".to_owned())
            }
            Some(_) => (None, "thaw it there".to_owned()),
            None if self.right.hold == Hold::Elsewhere => (None, "stop it there".to_owned()),
            None => {
                let then = format!(
                    "it starts nowhere else until it does: stop it there, or switch the machine off and say `roost fence {target} --confirm`"
                );
                (None, then)
            }
        };
        let text = format!("it does not stop on '{target}' within {limit}: {why}; {then}");
        self.event(out, Level::Error, EventKind::RecoveryFailed, text);
        // A VM that begins anew has as long again.
        self.stopping = Some(match &force {
            Some(_) => Stopping::Within { until: now + self.config.stop_timeout },
            None => Stopping::Overdue,
        });
        force
    }

    /// Why it does not stop, once that takes too long.
    pub(super) fn stuck(&self, around: &Around<'_>) -> Option<String> {
        let overdue = self.stopping == Some(Stopping::Overdue);
        self.unstopped(around).filter(|_| overdue).map(|(_, why)| format!("it does not stop: {why}"))
    }
}
