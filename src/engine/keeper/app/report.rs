//! What the leader is told of an application.

use super::seat::{Account, Around, Compliance, Seat};
use super::{App, Hold, Phase, Plan};
use roost_proto::cluster::{GroupReport, GroupState, MAX_REASON};
use roost_proto::link::{self, Readiness, Wanted};
use roost_proto::text::{clip, printable};

impl App {
    /// What the leader is told.
    pub fn report(&self, around: &Around<'_>) -> GroupReport {
        GroupReport {
            group: self.config.name.clone(),
            changed: self.right.changed,
            state: self.reported(around),
            need: None,
        }
    }

    fn reported(&self, around: &Around<'_>) -> GroupState {
        match self.right.hold {
            Hold::Owned | Hold::Recalled | Hold::Suspended | Hold::Disarmed => {
                self.at().map_or(GroupState::Unknown, |seat| self.reported_at(around, seat))
            }
            Hold::Elsewhere | Hold::Unknown | Hold::Lost => self.reported_free(around),
        }
    }

    /// Where it belongs.
    fn reported_at(&self, around: &Around<'_>, seat: &Seat) -> GroupState {
        let account = seat.account(around, &self.app.name);
        let down = seat.is_down(&account);
        let (report, obedience) = match &account {
            Account::Off if matches!(self.plan(seat), Plan::Offline(_)) => return GroupState::Down,
            Account::Off => return GroupState::Coming,
            Account::Silent => return GroupState::Unknown,
            Account::Undefined => return GroupState::Undefined,
            Account::Told(report, obedience) => (report, obedience),
        };
        match self.plan(seat) {
            _ if self.right.hold == Hold::Suspended => {
                if down {
                    GroupState::Coming
                } else {
                    GroupState::Suspended
                }
            }
            Plan::Offline(_) if down => GroupState::Down,
            Plan::Offline(_) => GroupState::Unwell,
            Plan::Nothing if down && self.place == super::Place::LeftOut => GroupState::Down,
            Plan::Nothing => well(report),
            Plan::Online => match &self.phase {
                Phase::GivenUp => {
                    let reason = self.saved.given_up.as_deref().unwrap_or_default();
                    GroupState::GivenUp { reason: clip(reason, MAX_REASON).to_owned() }
                }
                Phase::Waiting { .. } | Phase::Due => GroupState::Coming,
                Phase::Kept => {
                    let obeys = match seat.complies(Wanted::Online, self.right.epoch, obedience) {
                        Compliance::Obeyed => true,
                        Compliance::NotOrdered | Compliance::Unheard => obedience.obeys.is_none(),
                    };
                    match report.state {
                        _ if !obeys || obedience.wanted == Wanted::Offline => GroupState::Coming,
                        link::GroupState::Offline
                        | link::GroupState::Starting
                        | link::GroupState::Stopping => GroupState::Coming,
                        _ => well(report),
                    }
                }
            },
        }
    }

    /// Where it is not this host's, or not any more: whether it could be.
    fn reported_free(&self, around: &Around<'_>) -> GroupState {
        let app = self.app.name.as_str();
        let here = || self.seats.iter().filter(|seat| seat.is_here(around));
        let runs = |seat: &&Seat| {
            let account = seat.account(around, app);
            matches!(&account, Account::Told(report, _) if report.state != link::GroupState::Offline)
        };
        if here().any(|seat| runs(&seat)) {
            return if self.right.hold == Hold::Lost { GroupState::Unwell } else { GroupState::Stray };
        }
        let preparing = self.right.preparing;
        let made_ready = here().find(|seat| preparing.is_some_and(|preparing| preparing.to == seat.id()));
        let is_down = |seat: &Seat| seat.is_down(&seat.account(around, app));
        let Some(seat) = made_ready.or_else(|| here().find(|seat| is_down(seat))).or_else(|| here().next())
        else {
            return GroupState::Unknown;
        };
        let account = seat.account(around, app);
        match &account {
            Account::Silent | Account::Off => GroupState::Unknown,
            Account::Undefined => GroupState::Undefined,
            Account::Told(..) if !seat.is_down(&account) => GroupState::Unwell,
            Account::Told(..) => {
                let asked = preparing.filter(|preparing| preparing.to == seat.id());
                match asked.and_then(|asked| seat.readiness(around, app, asked.begun)) {
                    None => GroupState::Down,
                    Some(Readiness::Ready) => GroupState::Ready,
                    Some(Readiness::NotReady { reason }) => {
                        let reason = printable(reason);
                        GroupState::NotReady { reason: clip(&reason, MAX_REASON).to_owned() }
                    }
                }
            }
        }
    }
}

const fn well(report: &link::GroupReport) -> GroupState {
    match report.state {
        link::GroupState::Online | link::GroupState::Degraded => GroupState::Well,
        _ => GroupState::Unwell,
    }
}
