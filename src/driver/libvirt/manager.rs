//! The driver's decisions as a whole: when to connect, what to ask, what to carry out, what to tell the engine. Pure.

use super::error::CallError;
use super::gauge::Gauges;
use super::orders::Orders;
use super::view::{self, Cue};
use super::watch::{self, Answer, Ask, Watch};
use crate::engine::keeper::vm::{ActionError, Happened, LibvirtInput, Order};
use crate::sys::libvirt::What;
use core::time::Duration;
use roost_proto::retry::Backoff;
use roost_proto::time::Instant;
use std::collections::{BTreeSet, VecDeque};

/// The wait between attempts to connect. The first is made at once, so that a libvirtd which was restarted is found
/// again within its own start; at most each 5 s a host without libvirtd is asked in vain.
const RETRY: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) };
/// The time that connecting may take before libvirt is said not to answer. The attempt goes on.
const OPEN_LIMIT: Duration = Duration::from_secs(5);

/// Which connection; a later one has a larger number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// What the shell reports.
#[derive(Clone, Debug)]
pub enum Fact {
    /// Connecting ended.
    Opened(Result<(), CallError>),
    /// A connection ended, because of this.
    Closed(LinkId, String),
    /// libvirt told of a domain.
    Notice(LinkId, String, What),
    /// More was told than could be kept.
    Missed,
    /// An answer to a question.
    Answer(usize, Result<Answer, CallError>),
    /// How long a domain stood still in a migration, whose end follows.
    StoodStill(usize, Duration),
    /// The end of an action.
    Ended(usize, Result<(), ActionError>),
    /// How far a migration or saving came, in per cent, if that is known.
    Gauged(usize, Option<u8>),
    /// The domains to watch.
    Watch(BTreeSet<String>),
    /// An order.
    Order(Order),
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Close what is open, and connect.
    Open(LinkId),
    /// Ask in this slot.
    Ask(usize, Ask),
    /// Act in this slot.
    Act(usize, Order),
    /// Ask in this slot how far the migration or saving of this domain came.
    Gauge(usize, String),
    /// Tell the engine.
    Tell(LibvirtInput),
    /// Write to the log.
    Note(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    Closed { retry_at: Instant },
    Opening { since: Instant },
    Open,
}

/// What the engine was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Connected,
    Lost,
}

/// The driver's decisions.
#[derive(Debug)]
pub struct Manager {
    session: Session,
    link: LinkId,
    /// Attempts to connect since libvirt last answered.
    attempts: u32,
    told: Told,
    watch: Watch,
    orders: Orders,
    gauges: Gauges,
    out: VecDeque<Deed>,
}

impl Manager {
    /// Not connected, and about to.
    pub fn new(now: Instant, period: Duration) -> Self {
        Self {
            session: Session::Closed { retry_at: now },
            link: LinkId(0),
            attempts: 0,
            told: Told::Nothing,
            watch: Watch::new(period),
            orders: Orders::new(),
            gauges: Gauges::default(),
            out: VecDeque::new(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, fact: Fact) {
        match fact {
            Fact::Opened(Ok(())) => {
                self.session = Session::Open;
                self.watch.link_up(now);
            }
            Fact::Opened(Err(error)) => self.closed(now, error.to_string()),
            Fact::Closed(link, reason) => {
                if link == self.link && self.session == Session::Open {
                    self.closed(now, reason);
                }
            }
            Fact::Notice(link, name, what) => {
                if link == self.link {
                    self.watch.event(&name, cue(what));
                }
            }
            Fact::Missed => self.watch.missed(),
            Fact::Answer(slot, answer) => self.watch.answered(slot, answer),
            Fact::StoodStill(slot, time) => self.orders.stood_still(slot, time),
            Fact::Ended(slot, result) => self.orders.ended(slot, result),
            Fact::Gauged(slot, percent) => self.gauges.answered(now, slot, percent),
            Fact::Watch(names) => self.watch.watch(names),
            Fact::Order(order) => self.orders.submit(now, order),
        }
        self.settle(now);
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.session {
            Session::Closed { retry_at } if now >= retry_at => {
                self.link.0 += 1;
                self.attempts = self.attempts.saturating_add(1);
                self.session = Session::Opening { since: now };
                self.out.push_back(Deed::Open(self.link));
            }
            Session::Opening { since } if now >= since + OPEN_LIMIT => {
                self.lost("libvirtd takes the connection and does not answer".to_owned());
            }
            _ => {}
        }
        self.watch.handle_timeout(now);
        self.orders.handle_timeout(now);
        self.settle(now);
    }

    /// When to call [`Manager::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let session = match self.session {
            Session::Closed { retry_at } => Some(retry_at),
            Session::Opening { since } if self.told != Told::Lost => Some(since + OPEN_LIMIT),
            Session::Opening { .. } | Session::Open => None,
        };
        let parts =
            [session, self.watch.poll_timeout(), self.orders.poll_timeout(), self.gauges.poll_timeout()];
        parts.into_iter().flatten().min()
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Deed> {
        self.out.pop_front()
    }

    fn closed(&mut self, now: Instant, reason: String) {
        self.session = Session::Closed { retry_at: now + RETRY.wait(self.attempts, 0) };
        self.watch.link_down(now);
        self.lost(reason);
    }

    fn lost(&mut self, reason: String) {
        self.orders.link_down();
        if self.told != Told::Lost {
            self.told = Told::Lost;
            self.out.push_back(Deed::Tell(LibvirtInput::Lost { reason }));
        }
    }

    fn connected(&mut self) {
        self.attempts = 0;
        self.told = Told::Connected;
        self.orders.link_up();
        self.out.push_back(Deed::Tell(LibvirtInput::Connected));
    }

    /// Carries on until nothing more follows from what is known.
    fn settle(&mut self, now: Instant) {
        while let Some(output) = self.watch.poll_output() {
            match output {
                watch::Output::Domain(input) => self.out.push_back(Deed::Tell(input)),
                watch::Output::Answers => self.connected(),
                watch::Output::Mute(reason) => self.lost(reason),
                watch::Output::Gone(reason) => {
                    if self.session == Session::Open {
                        self.closed(now, reason);
                    }
                }
                watch::Output::Note(text) => self.out.push_back(Deed::Note(text)),
            }
        }
        while let Some(input) = self.orders.poll_output() {
            self.out.push_back(Deed::Tell(input));
        }
        while let Some((slot, ask)) = self.watch.poll_ask(now) {
            self.out.push_back(Deed::Ask(slot, ask));
        }
        while let Some((slot, order)) = self.orders.poll_order(now) {
            self.out.push_back(Deed::Act(slot, order));
        }
        self.gauges.follow(now, self.orders.moving());
        while let Some(input) = self.gauges.poll_output() {
            self.out.push_back(Deed::Tell(input));
        }
        while let Some((slot, domain)) = self.gauges.poll_ask(now) {
            self.out.push_back(Deed::Gauge(slot, domain));
        }
    }
}

const fn cue(what: What) -> Cue {
    match what {
        What::Lifecycle { event, detail } => view::cue(event, detail),
        What::Reboot => Cue::Happened(Happened::Rebooted),
        What::Watchdog => Cue::Happened(Happened::Watchdog),
        What::IoError => Cue::Happened(Happened::IoError),
        What::Changed => Cue::Changed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::keeper::vm::{Ticket, VmAction};
    use std::collections::BTreeMap;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn deeds(manager: &mut Manager) -> Vec<Deed> {
        core::iter::from_fn(|| manager.poll_output()).collect()
    }

    fn absent() -> CallError {
        CallError::Absent("no such file".to_owned())
    }

    fn connected() -> Manager {
        let mut manager = Manager::new(at(0), Duration::from_secs(2));
        manager.handle_timeout(at(0));
        manager.handle(at(0), Fact::Opened(Ok(())));
        manager.handle(at(0), Fact::Answer(0, Ok(Answer::All(BTreeMap::new()))));
        assert_eq!(deeds(&mut manager).last(), Some(&Deed::Tell(LibvirtInput::Connected)));
        manager
    }

    fn reason(deed: &Deed) -> &str {
        match deed {
            Deed::Tell(LibvirtInput::Lost { reason }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_absent_libvirt_is_told_of_once_and_tried_ever_less_often() {
        let mut manager = Manager::new(at(0), Duration::from_secs(2));
        let mut waits = Vec::new();
        let mut told = Vec::new();
        let mut now = at(0);
        for _ in 0..9 {
            manager.handle_timeout(now);
            assert!(deeds(&mut manager).iter().any(|deed| matches!(deed, Deed::Open(_))));
            manager.handle(now, Fact::Opened(Err(absent())));
            told.extend(deeds(&mut manager));
            let next = manager.poll_timeout().expect("it is tried again");
            waits.push(next.since(now).as_millis());
            now = next;
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        assert_eq!(told.len(), 1);
        assert!(reason(&told[0]).contains("start libvirtd"));
    }

    #[test]
    fn a_connection_that_ends_is_opened_again_at_once() {
        let mut manager = connected();
        manager.handle(at(5000), Fact::Closed(LinkId(1), "gone".to_owned()));
        assert_eq!(reason(&deeds(&mut manager)[0]), "gone");
        assert_eq!(manager.poll_timeout(), Some(at(5000)));
        manager.handle_timeout(at(5000));
        assert_eq!(deeds(&mut manager), [Deed::Open(LinkId(2))]);
        // The other callback of the old connection comes late.
        manager.handle(at(5001), Fact::Opened(Ok(())));
        manager.handle(at(5001), Fact::Answer(0, Ok(Answer::All(BTreeMap::new()))));
        deeds(&mut manager);
        manager.handle(at(5002), Fact::Closed(LinkId(1), "gone too".to_owned()));
        assert_eq!(deeds(&mut manager), []);
    }

    #[test]
    fn a_libvirt_that_takes_connections_and_drops_them_is_not_tried_without_pause() {
        let mut manager = connected();
        manager.handle(at(10), Fact::Closed(LinkId(1), "gone".to_owned()));
        manager.handle_timeout(at(10));
        manager.handle(at(10), Fact::Opened(Ok(())));
        manager.handle(at(10), Fact::Closed(LinkId(2), "gone".to_owned()));
        assert_eq!(manager.poll_timeout(), Some(at(110)));
    }

    #[test]
    fn a_libvirt_that_does_not_let_in_is_lost_and_waited_for() {
        let mut manager = Manager::new(at(0), Duration::from_secs(2));
        manager.handle_timeout(at(0));
        deeds(&mut manager);
        assert_eq!(manager.poll_timeout(), Some(at(5000)));
        manager.handle_timeout(at(5000));
        assert!(reason(&deeds(&mut manager)[0]).contains("does not answer"));
        assert_eq!(manager.poll_timeout(), None);
        manager.handle(at(90_000), Fact::Opened(Ok(())));
        assert!(matches!(deeds(&mut manager)[..], [Deed::Ask(0, Ask::All(_))]));
    }

    #[test]
    fn orders_are_taken_while_libvirt_answers() {
        let order = Order {
            ticket: Ticket(1),
            domain: "a".to_owned(),
            action: VmAction::Start,
            limit: Duration::from_secs(9),
        };
        let mut manager = Manager::new(at(0), Duration::from_secs(2));
        manager.handle(at(0), Fact::Order(order.clone()));
        let refused = LibvirtInput::Done { ticket: Ticket(1), result: Err(ActionError::NotConnected) };
        assert_eq!(deeds(&mut manager), [Deed::Tell(refused.clone())]);
        let mut manager = connected();
        manager.handle(at(0), Fact::Order(order.clone()));
        assert_eq!(deeds(&mut manager), [Deed::Act(0, order.clone())]);
        manager.handle(at(0), Fact::Closed(LinkId(1), "gone".to_owned()));
        deeds(&mut manager);
        manager.handle(at(0), Fact::Order(order));
        assert_eq!(deeds(&mut manager), [Deed::Tell(refused)]);
    }

    #[test]
    fn how_far_a_migration_came_is_told_until_it_is_over() {
        let mut manager = connected();
        let action = VmAction::Migrate { to: "qemu+ssh://hv2/system".to_owned() };
        let order =
            Order { ticket: Ticket(1), domain: "a".to_owned(), action, limit: Duration::from_secs(600) };
        manager.handle(at(0), Fact::Order(order));
        let Some(Deed::Act(slot, _)) = deeds(&mut manager).pop() else { panic!("it is carried out") };
        manager.handle_timeout(at(1000));
        assert_eq!(deeds(&mut manager), [Deed::Gauge(0, "a".to_owned())]);
        manager.handle(at(1001), Fact::Gauged(0, Some(40)));
        let progress = LibvirtInput::Progress { ticket: Ticket(1), percent: 40 };
        assert_eq!(deeds(&mut manager), [Deed::Tell(progress)]);
        manager.handle(at(1500), Fact::StoodStill(slot, Duration::from_millis(60)));
        manager.handle(at(1500), Fact::Ended(slot, Ok(())));
        let downtime = LibvirtInput::Downtime { ticket: Ticket(1), time: Duration::from_millis(60) };
        let done = LibvirtInput::Done { ticket: Ticket(1), result: Ok(()) };
        assert_eq!(deeds(&mut manager), [Deed::Tell(downtime), Deed::Tell(done)]);
        assert_eq!(manager.poll_timeout(), Some(at(2000)), "that is the next poll");
    }
}
