//! A small model of `roost-guest`, as far as its host orders it about: the managed groups of one machine or one guest, in one
//! boot of that.

use super::clock::Time;
use core::time::Duration;
use roost::config::Target;
use roost_proto::link::{
    Exit, Fault, GroupReport, GroupState, HostMessage, ManagedReport, Order, ResourceReport, ResourceState,
    Wanted,
};
use std::collections::{BTreeMap, VecDeque};

/// An `after_offline` command that failed is tried again by itself so often.
const TRIES: u32 = 3;

/// Where a controller lives: it is gone with that boot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seat {
    Machine {
        host: usize,
        boot: u64,
    },
    /// In the guest of a VM, wherever that is; `kernel` is [`super::host::Domain::kernel`].
    Guest {
        vm: String,
        kernel: u64,
    },
}

/// What an application is like on one of its targets, whatever is done with it there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nature {
    /// `before_online` fails.
    pub refuses: bool,
    /// It faults whenever it is started.
    pub faulty: bool,
    /// `ready` fails.
    pub unready: bool,
    /// Nothing ends it.
    pub stuck: bool,
    /// `after_offline` fails.
    pub unclean: bool,
    /// It starts, and stops, in so long; by chance if it does not say.
    pub starts_in: Option<Duration>,
    pub stops_in: Option<Duration>,
}

/// What becomes of a managed group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Offline,
    /// `before_online` runs.
    Promoting,
    Starting,
    Online,
    Stopping,
    /// `after_offline` runs.
    Demoting,
    Faulted {
        of: &'static str,
        /// Something of it runs all the same.
        runs: bool,
    },
}

impl Phase {
    /// Whether something else has to follow by itself.
    pub const fn passes(self) -> bool {
        matches!(self, Self::Promoting | Self::Starting | Self::Stopping | Self::Demoting)
    }
}

/// A managed group.
#[derive(Clone, Debug)]
pub struct Managed {
    /// The application that it is, by the cluster's name.
    pub app: String,
    pub phase: Phase,
    pub wanted: Wanted,
    pub epoch: u64,
    pub obeys: Option<u32>,
    /// It may go on so long after its host was heard.
    pub lease: Duration,
    /// It is not stopped when its host is not heard.
    pub keeps: bool,
    /// Counts its phases, so that what was to follow an earlier one is passed over.
    pub turn: u64,
    /// `after_offline` has something to do.
    used: bool,
    tries: u32,
}

/// A controller.
#[derive(Clone, Debug)]
pub struct Controller {
    pub target: Target,
    /// By their names in `guest.toml`.
    pub groups: BTreeMap<String, Managed>,
    /// When its host was heard last.
    pub heard: Time,
    /// The host, and the life of its daemon, that it is connected to.
    pub link: Option<(usize, u64)>,
    /// Counts its connections: what was said on an earlier one is lost.
    pub connection: u64,
    /// It died, and is to be started again then.
    pub dead_until: Option<Time>,
    /// It says what it likes.
    pub lies: bool,
    /// What came while it stood still.
    pub inbox: VecDeque<HostMessage>,
}

impl Managed {
    pub const fn new(app: String, keeps: bool) -> Self {
        Self {
            app,
            phase: Phase::Offline,
            wanted: Wanted::Offline,
            epoch: 0,
            obeys: None,
            lease: Duration::MAX,
            keeps,
            turn: 0,
            used: false,
            tries: 0,
        }
    }

    /// Whether anything of it runs, if its machine does.
    pub const fn executes(&self) -> bool {
        match self.phase {
            Phase::Offline => false,
            Phase::Faulted { runs, .. } => runs,
            Phase::Promoting | Phase::Starting | Phase::Online | Phase::Stopping | Phase::Demoting => true,
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.turn += 1;
    }

    /// Its host orders something. An epoch that is over is refused.
    pub fn order(&mut self, order: &Order) {
        if order.epoch < self.epoch {
            return;
        }
        self.epoch = order.epoch;
        self.obeys = Some(order.number);
        self.lease = Duration::from_millis(u64::from(order.lease_ms));
        self.want(order.wanted);
    }

    /// It was wanted so, or otherwise, and is wanted so from now on.
    pub fn want(&mut self, wanted: Wanted) {
        self.wanted = wanted;
        match (wanted, self.phase) {
            (Wanted::Online, Phase::Offline | Phase::Faulted { .. }) => self.enter(Phase::Promoting),
            (Wanted::Offline, Phase::Promoting | Phase::Starting | Phase::Online) => {
                self.enter(Phase::Stopping);
            }
            (Wanted::Offline, Phase::Faulted { .. }) => {
                self.tries = 0;
                self.enter(Phase::Stopping);
            }
            // What stops is started again when it is down.
            (Wanted::Online, Phase::Promoting | Phase::Starting | Phase::Online)
            | (_, Phase::Stopping | Phase::Demoting)
            | (Wanted::Offline, Phase::Offline) => {}
        }
    }

    /// A phase is over.
    pub fn goes_on(&mut self, nature: Nature, runs: bool) {
        let faulted = |of, runs| Phase::Faulted { of, runs };
        match self.phase {
            Phase::Promoting => {
                self.used = true;
                self.enter(if nature.refuses { faulted("before_online", false) } else { Phase::Starting });
            }
            Phase::Starting => self.enter(if nature.faulty { faulted("app", runs) } else { Phase::Online }),
            Phase::Stopping if nature.stuck => self.enter(Phase::Stopping),
            Phase::Stopping if self.used => self.enter(Phase::Demoting),
            Phase::Demoting if nature.unclean => {
                self.tries += 1;
                let again = self.tries <= TRIES;
                self.enter(if again { Phase::Demoting } else { faulted("after_offline", false) });
            }
            Phase::Stopping | Phase::Demoting => {
                (self.used, self.tries) = (false, 0);
                self.enter(Phase::Offline);
                self.want(self.wanted);
            }
            Phase::Offline | Phase::Online | Phase::Faulted { .. } => {}
        }
    }

    /// The controller gives up on it, if it is online.
    pub fn fault(&mut self, runs: bool) -> bool {
        let online = self.phase == Phase::Online;
        if online {
            self.enter(Phase::Faulted { of: "app", runs });
        }
        online
    }

    /// All of it ends at once, and nothing is known of it any more.
    pub fn forget(&mut self) {
        let turn = self.turn + 1;
        *self = Self { turn, ..Self::new(core::mem::take(&mut self.app), self.keeps) };
    }

    /// What is told of it.
    pub fn report(&self, name: &str) -> ManagedReport {
        let (state, resource) = match self.phase {
            Phase::Offline => (GroupState::Offline, ResourceState::Stopped),
            Phase::Promoting | Phase::Starting => (GroupState::Starting, ResourceState::Starting),
            Phase::Online => (GroupState::Online, ResourceState::Running),
            Phase::Stopping | Phase::Demoting => (GroupState::Stopping, ResourceState::Stopping),
            Phase::Faulted { of, .. } => {
                let fault = Fault {
                    resource: of.to_owned(),
                    reason: "it failed".to_owned(),
                    exit: Exit::Code(1),
                    output: String::new(),
                };
                (GroupState::Faulted(fault), ResourceState::Failed)
            }
        };
        let resource =
            ResourceReport { name: "app".to_owned(), state: resource, restarts: 0, detail: String::new() };
        let report = GroupReport { name: name.to_owned(), state, frozen: false, resources: vec![resource] };
        ManagedReport { report, wanted: self.wanted, epoch: self.epoch, obeys: self.obeys }
    }
}

impl Controller {
    pub fn new(target: Target, groups: BTreeMap<String, Managed>, now: Time) -> Self {
        Self {
            target,
            groups,
            heard: now,
            link: None,
            connection: 0,
            dead_until: None,
            lies: false,
            inbox: VecDeque::new(),
        }
    }

    /// A connection begins.
    pub fn connected(&mut self, to: (usize, u64)) {
        self.link = Some(to);
        self.connection += 1;
        self.inbox.clear();
        self.groups.values_mut().for_each(|group| group.obeys = None);
    }

    /// Groups whose host was not heard for too long, of those that do not go on all the same.
    pub fn overdue(&self, silent: Duration) -> Vec<String> {
        let over = |group: &Managed| group.wanted == Wanted::Online && !group.keeps && silent > group.lease;
        self.groups.iter().filter(|(_, group)| over(group)).map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roost_proto::link::{Cause, Circumstances};

    fn order(number: u32, epoch: u64, wanted: Wanted) -> Order {
        let circumstances =
            Circumstances { target: "db1".to_owned(), previous: String::new(), reason: Cause::Start };
        Order { group: "pg".to_owned(), number, epoch, wanted, lease_ms: 30_000, circumstances }
    }

    fn online() -> Managed {
        let mut group = Managed::new("orders".to_owned(), false);
        group.order(&order(1, 5, Wanted::Online));
        while group.phase.passes() {
            group.goes_on(Nature::default(), false);
        }
        assert_eq!(group.phase, Phase::Online);
        group
    }

    #[test]
    fn it_is_down_only_when_its_last_command_has_ended() {
        let mut group = online();
        group.order(&order(2, 5, Wanted::Offline));
        assert_eq!((group.phase, group.obeys), (Phase::Stopping, Some(2)));
        group.goes_on(Nature::default(), false);
        assert!(group.executes());
        group.goes_on(Nature::default(), false);
        assert_eq!(group.phase, Phase::Offline);
    }

    #[test]
    fn an_epoch_that_is_over_is_refused() {
        let mut group = online();
        group.order(&order(2, 4, Wanted::Offline));
        assert_eq!((group.phase, group.obeys, group.epoch), (Phase::Online, Some(1), 5));
    }

    #[test]
    fn what_is_wanted_again_while_it_stops_starts_when_it_is_down() {
        let mut group = online();
        group.order(&order(2, 5, Wanted::Offline));
        group.order(&order(3, 6, Wanted::Online));
        assert_eq!(group.phase, Phase::Stopping);
        group.goes_on(Nature::default(), false);
        group.goes_on(Nature::default(), false);
        assert_eq!(group.phase, Phase::Promoting);
    }

    #[test]
    fn a_command_that_fails_is_a_fault_and_not_offline() {
        let mut group = online();
        let unclean = Nature { unclean: true, ..Nature::default() };
        group.order(&order(2, 5, Wanted::Offline));
        while group.phase.passes() {
            group.goes_on(unclean, false);
        }
        assert_eq!(group.phase, Phase::Faulted { of: "after_offline", runs: false });
        group.order(&order(3, 5, Wanted::Offline));
        while group.phase.passes() {
            group.goes_on(Nature::default(), false);
        }
        assert_eq!(group.phase, Phase::Offline);
    }

    #[test]
    fn a_host_that_is_not_heard_ends_what_does_not_keep_on() {
        let mut controller =
            Controller::new(Target::Host("db1".to_owned()), [("pg".to_owned(), online())].into(), Time(0));
        assert!(controller.overdue(Duration::from_secs(30)).is_empty());
        assert_eq!(controller.overdue(Duration::from_secs(31)), ["pg"]);
        controller.groups.insert("pg".to_owned(), Managed { keeps: true, ..online() });
        assert!(controller.overdue(Duration::from_secs(31)).is_empty());
    }
}
