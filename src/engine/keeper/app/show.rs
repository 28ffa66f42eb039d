//! Showing: an application in an operator's words.

use super::super::remote_agent::{app_status, describe, trouble};
use super::seat::{Account, Around, Seat};
use super::{App, Condition, Hold, Instant, Intent, Phase, Plan, ladder};
use core::time::Duration;
use roost_proto::control::{ControllerStatus, GroupStatus};
use roost_proto::link::{self, Cause, Wanted};
use roost_proto::time::Span;

impl App {
    /// Its state for `roost status`, at `now`, which is `now_ms` of Unix time.
    pub fn status(&self, now: Instant, around: &Around<'_>, now_ms: u64) -> GroupStatus {
        let (condition, reason) = self.condition(now, around);
        let ago = u64::try_from(now.since(self.shown.1).as_millis()).unwrap_or(u64::MAX);
        let seat = self.at().or_else(|| self.seats.iter().find(|seat| seat.is_here(around)));
        let account = seat.map(|seat| seat.account(around, &self.app.name));
        let apps = match &account {
            Some(Account::Told(report, _)) => vec![app_status(report, true)],
            _ => Vec::new(),
        };
        let targets: Vec<String> = self.app.targets.iter().map(ToString::to_string).collect();
        GroupStatus {
            name: self.config.name.clone(),
            vm: String::new(),
            owner: None,
            intent: self.right.intent,
            frozen: self.right.frozen,
            condition,
            reason,
            since_ms: now_ms.saturating_sub(ago),
            controller: match account {
                Some(Account::Off) => ControllerStatus::Off,
                Some(Account::Silent) => ControllerStatus::Awaited,
                Some(Account::Undefined | Account::Told(..)) => ControllerStatus::Connected,
                None => ControllerStatus::Unknown,
            },
            apps,
            recoveries: ladder::count(&self.config.recovery, &self.saved, now),
            dangers: Vec::new(),
            moving: None,
            target: self.at().map(|seat| seat.target().to_string()),
            home: targets.first().cloned(),
            targets,
            preparing: None,
            standby: false,
        }
    }

    pub(super) fn describe(report: &link::GroupReport) -> String {
        describe(&report.state, &trouble(report))
    }

    /// What it is doing, and why.
    pub(super) fn condition(&self, now: Instant, around: &Around<'_>) -> (Condition, String) {
        if let Some(why) = self.stuck(around) {
            return (Condition::Stopping, why);
        }
        match self.right.hold {
            Hold::Elsewhere => self.condition_elsewhere(around),
            Hold::Unknown => {
                (Condition::Unknown, "it is not known yet whose it is; nothing is done".to_owned())
            }
            Hold::Lost => {
                let runs = self.seats.iter().any(|seat| seat.is_metal() && self.runs(around, seat));
                match runs {
                    true => (Condition::Stopping, "this host was evicted: it is taken offline".to_owned()),
                    false => (Condition::Elsewhere, String::new()),
                }
            }
            Hold::Suspended => {
                let text = "this host has no lease: no majority of voters answers".to_owned();
                (Condition::Suspended, text)
            }
            Hold::Owned | Hold::Recalled | Hold::Disarmed => match self.at() {
                Some(seat) => self.condition_at(now, around, seat),
                None => {
                    let text = "the configuration does not have its target on this host any more".to_owned();
                    (Condition::LeftAlone, text)
                }
            },
        }
    }

    fn runs(&self, around: &Around<'_>, seat: &Seat) -> bool {
        match seat.account(around, &self.app.name) {
            Account::Told(report, _) => report.state != link::GroupState::Offline,
            Account::Off | Account::Silent | Account::Undefined => false,
        }
    }

    fn condition_elsewhere(&self, around: &Around<'_>) -> (Condition, String) {
        let stray = self.seats.iter().find(|seat| seat.is_here(around) && self.runs(around, seat));
        match stray {
            Some(seat) => {
                let target = seat.target();
                (
                    Condition::Degraded,
                    format!("it runs on '{target}', where it is not to, and is taken offline"),
                )
            }
            None => (Condition::Elsewhere, String::new()),
        }
    }

    fn condition_at(&self, now: Instant, around: &Around<'_>, seat: &Seat) -> (Condition, String) {
        let target = seat.target();
        let (plan, account) = (self.plan(seat), seat.account(around, &self.app.name));
        let down = seat.is_down(&account);
        let (report, obedience) = match &account {
            Account::Off if matches!(plan, Plan::Offline(_)) => return (Condition::Offline, String::new()),
            Account::Off => return (Condition::Starting, "its VM is off".to_owned()),
            Account::Silent if matches!(plan, Plan::Offline(Cause::Stop)) && self.is_at_rest(seat) => {
                return (Condition::Offline, format!("the roost-guest of '{target}' is not connected"));
            }
            Account::Silent => {
                return (Condition::Unknown, format!("the roost-guest of '{target}' is not connected"));
            }
            Account::Undefined => {
                let app = &self.app.name;
                let text = format!(
                    "the roost-guest of '{target}' has no group '{app}' with 'managed = true', or is too old to know of such"
                );
                return (Condition::GivenUp, text);
            }
            Account::Told(report, obedience) => (report, obedience),
        };
        let words = Self::describe(report);
        match (plan, &self.phase) {
            (Plan::Offline(_), _) if down && self.right.hold == Hold::Recalled => {
                (Condition::Stopping, "it is to go elsewhere".to_owned())
            }
            (Plan::Offline(_), _) if down => (Condition::Offline, String::new()),
            (Plan::Offline(_), _) => (Condition::Stopping, format!("it is {words}")),
            (Plan::Nothing, _) if self.right.hold == Hold::Disarmed => self.seen(report),
            (Plan::Nothing, _) if down && self.right.intent == Intent::Offline => {
                (Condition::Offline, String::new())
            }
            (Plan::Nothing, _) if self.right.frozen && down => {
                (Condition::LeftAlone, "off, and frozen".to_owned())
            }
            (Plan::Nothing, _) if self.right.frozen => self.seen(report),
            (Plan::Nothing, _) => {
                let text = "the configuration does not have it on this host any more".to_owned();
                (Condition::LeftAlone, text)
            }
            (Plan::Online, Phase::GivenUp) => {
                (Condition::GivenUp, self.saved.given_up.clone().unwrap_or_default())
            }
            (Plan::Online, Phase::Waiting { until, failure }) => {
                let wait = Span(Duration::from_secs(until.since(now).as_secs()));
                (Condition::Recovering, format!("{failure}; will be brought online afresh in {wait}"))
            }
            (Plan::Online, _) if report.frozen => (Condition::LeftAlone, format!("frozen there, {words}")),
            (Plan::Online, _) if obedience.epoch > self.right.epoch => {
                let text = format!(
                    "its controller has seen epoch {}, and obeys no order of epoch {}: restart the machine '{target}', or its VM",
                    obedience.epoch, self.right.epoch
                );
                (Condition::Degraded, text)
            }
            (Plan::Online, _) if obedience.wanted == Wanted::Offline => {
                (Condition::Starting, "about to be brought online".to_owned())
            }
            (Plan::Online, _) => self.seen(report),
        }
    }

    /// Whether nothing of it can run at a target whose controller says nothing.
    fn is_at_rest(&self, seat: &Seat) -> bool {
        seat.is_metal() && self.saved.app.is_none()
    }

    fn seen(&self, report: &link::GroupReport) -> (Condition, String) {
        let words = Self::describe(report);
        match report.state {
            link::GroupState::Online => (Condition::Online, String::new()),
            link::GroupState::Degraded => (Condition::Degraded, words),
            link::GroupState::Offline | link::GroupState::Starting => (Condition::Starting, words),
            link::GroupState::Recovering | link::GroupState::Faulted(_) => (Condition::Recovering, words),
            link::GroupState::Stopping => (Condition::Stopping, words),
        }
    }
}
