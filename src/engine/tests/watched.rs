//! A machine without `roostd`, and the one host that leads: what is decided by what the machine's controller says, and when it
//! says nothing.

use super::*;
use crate::engine::fence::{FenceAction, FenceOrder, FenceResult};
use crate::engine::keeper::remote_agent::GuestInput;
use roost_proto::cluster::decision::Arms;
use roost_proto::control::{Condition, HostState};
use roost_proto::link::{GroupReport, GroupState, GuestMessage, HostMessage, ManagedReport, Order, Wanted};

const CONFIG: &str = r#"
[cluster]
name = "lab"
[[host]]
name = "hv1"
role = "application"
address = "192.0.2.1"
[[host]]
name = "db3"
role = "watched"
key = "/etc/roost/db3.key"
[[host.fence]]
agent = "fence_ipmilan"
[[group]]
name = "orders"
app = "postgres"
on = ["db3", "hv1"]
"#;

const SECOND: Duration = Duration::from_secs(1);
const BOOT: u8 = 7;

fn db3() -> HostId {
    HostId::of("db3")
}

/// The host, with the test as the machine's controller, its fence agents and the disk.
struct Watch {
    engine: Engine,
    now: Instant,
    /// What was said to the machine, newest last.
    said: Vec<HostMessage>,
    dropped: usize,
    fences: Vec<FenceOrder>,
    /// What the controller reports, while it is there.
    report: Option<ManagedReport>,
}

impl Watch {
    fn new(stored: raft::Stored) -> Self {
        let now = Instant::from_nanos(1_000_000_000_000);
        let start = Start {
            host: "hv1".to_owned(),
            incarnation: Incarnation { start: 2, boot: 1 },
            machine: 1,
            boot_id: "1".to_owned(),
            saved: Saved::default(),
            stored,
            lease_until: None,
            seed: 1,
            screenshots: PathBuf::from("/screens"),
        };
        let engine = Engine::new(config::parse(CONFIG).expect("good"), start, now);
        let (said, fences) = (Vec::new(), Vec::new());
        let mut watch = Self { engine, now, said, dropped: 0, fences, report: None };
        watch.drain();
        watch.pass(5);
        assert!(watch.engine.watches(), "it leads alone");
        watch
    }

    fn alone() -> Self {
        Self::new(raft::Stored { storage: StorageId(1), ..raft::Stored::default() })
    }

    fn drain(&mut self) {
        let mut written = None;
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Write(write) => written = Some(write.number),
                Output::Fence(order) => self.fences.push(order),
                Output::Watched { host, output } => {
                    assert_eq!(host, "db3");
                    match output {
                        keeper::Output::Say { message, .. } => self.said.push(message),
                        keeper::Output::Drop(_) => self.dropped += 1,
                        other => panic!("{other:?}"),
                    }
                }
                _ => {}
            }
        }
        if let Some(number) = written {
            self.handle(Input::Written { number });
        }
    }

    fn handle(&mut self, input: Input) {
        self.engine.handle(self.now, input);
        self.drain();
    }

    fn hear(&mut self, input: GuestInput) {
        self.handle(Input::Watched { host: "db3".to_owned(), input });
    }

    fn connect(&mut self, state: GroupState, wanted: Wanted, epoch: u64) {
        let (boot_id, software) = ([BOOT; 16], "roost-guest test".to_owned());
        self.hear(GuestInput::Connected { boot_id, software, version: 2 });
        self.hear(GuestInput::Message(GuestMessage::Snapshot { groups: 1 }));
        self.tell(state, wanted, epoch, None);
    }

    fn tell(&mut self, state: GroupState, wanted: Wanted, epoch: u64, obeys: Option<u32>) {
        let report = GroupReport { name: "postgres".to_owned(), state, frozen: false, resources: Vec::new() };
        let report = ManagedReport { report, wanted, epoch, obeys };
        self.report = Some(report.clone());
        self.hear(GuestInput::Message(GuestMessage::Managed(report)));
    }

    /// So many seconds, in each of which the controller beats, if it is there.
    fn pass(&mut self, seconds: u32) {
        for _ in 0..seconds {
            if self.report.is_some() {
                self.hear(GuestInput::Message(GuestMessage::Beat));
            }
            let end = self.now + SECOND;
            while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= end) {
                self.now = self.now.max(at);
                self.engine.handle_timeout(self.now);
                self.drain();
            }
            self.now = end;
        }
    }

    /// It says no more, and its connection is as it was.
    fn falls_silent(&mut self) {
        self.report = None;
    }

    fn orders(&self) -> Vec<&Order> {
        let orders = self.said.iter().filter_map(|message| match message {
            HostMessage::Order(order) => Some(order),
            _ => None,
        });
        orders.collect()
    }

    fn newest(&self) -> Order {
        (*self.orders().last().expect("it was ordered about")).clone()
    }

    fn is_in(&self) -> bool {
        matches!(self.engine.ledger().standing(db3()), Standing::In(_))
    }

    fn owner(&self) -> Option<HostId> {
        self.engine.ledger().group("orders").owner
    }

    /// It is admitted, given the application, and runs it.
    fn running() -> Self {
        let mut watch = Self::alone();
        watch.connect(GroupState::Offline, Wanted::Offline, 0);
        watch.pass(5);
        assert!(watch.is_in(), "its controller speaks");
        assert_eq!(watch.owner(), Some(db3()));
        let order = watch.newest();
        assert_eq!((order.wanted, order.group.as_str()), (Wanted::Online, "postgres"));
        watch.tell(GroupState::Online, Wanted::Online, order.epoch, Some(order.number));
        watch.pass(5);
        assert_eq!((watch.newest(), watch.dropped), (order, 0), "and that is all");
        watch
    }

    /// Within a second its agents answer all that they were asked, so to an order to switch it off.
    fn agents_answer(&mut self, off: &FenceResult) {
        while let Some(order) = self.fences.pop() {
            let result = match order.action {
                FenceAction::Off => off.clone(),
                FenceAction::On | FenceAction::Status => FenceResult::On,
            };
            self.handle(Input::Fence { ticket: order.ticket, result });
        }
        self.pass(1);
    }

    /// It was silent for longer than it may be, and what it had is blocked: its agents have not answered.
    fn evicted() -> (Self, u64) {
        let mut watch = Self::running();
        let epoch = watch.newest().epoch;
        watch.falls_silent();
        watch.pass(8); // it said something a second ago
        assert!(watch.is_in(), "its silence is not over");
        watch.pass(4);
        assert!(!watch.is_in() && watch.owner() == Some(db3()), "it may run still");
        (watch, epoch)
    }
}

#[test]
fn a_machine_is_admitted_when_its_controller_speaks_and_ordered_about() {
    Watch::running();
}

#[test]
fn one_that_beats_is_not_shown_as_silent() {
    let mut watch = Watch::running();
    let state = |watch: &Watch| {
        let status = watch.engine.cluster_status(watch.now, 0);
        let host = status.hosts.iter().find(|host| host.name == "db3").map(|host| host.state);
        let group = status.groups.iter().find(|group| group.name == "orders").map(|group| group.condition);
        (host, group)
    };
    watch.falls_silent();
    watch.pass(3);
    assert_eq!(state(&watch), (Some(HostState::Up), Some(Condition::Online)));
    watch.pass(4);
    assert_eq!(state(&watch), (Some(HostState::Silent), Some(Condition::Unknown)));
    watch.engine.leader = None;
    assert_eq!(state(&watch).0, Some(HostState::Up), "who does not lead does not hear it");
}

#[test]
fn one_that_is_silent_is_evicted_and_fenced_and_what_it_had_is_free() {
    let (mut watch, _) = Watch::evicted();
    (0..3).for_each(|_| watch.agents_answer(&FenceResult::Off));
    assert_eq!(watch.owner(), None, "it is fenced, and nobody else can take it");
}

/// Whatever it may be ordered then.
#[test]
fn one_that_stops_what_it_has_while_the_cluster_is_disarmed_runs_it_until_it_is_down() {
    let (mut watch, epoch) = Watch::evicted();
    let (request, who) = (RequestId(1), "operator".to_owned());
    watch.handle(Input::Operator { request, who, command: Command::Arm(Arms::Disarmed) });
    watch.pass(2);
    assert!(watch.engine.ledger().is_disarmed());
    watch.connect(GroupState::Stopping, Wanted::Offline, epoch);
    let failed = FenceResult::Failed { reason: "no route to host".to_owned() };
    (0..3).for_each(|_| watch.agents_answer(&failed));
    let evicted = |watch: &Watch| matches!(watch.engine.ledger().standing(db3()), Standing::Evicted(_));
    assert!(evicted(&watch), "it stops, and is not down");
    watch.tell(GroupState::Offline, Wanted::Offline, epoch, None);
    (0..3).for_each(|_| watch.agents_answer(&failed));
    assert!(!evicted(&watch));
}

/// Its connection may outlive its silence, and what is said on it is said by a life that is over.
#[test]
fn one_that_is_evicted_is_hung_up_on_so_that_it_calls_anew() {
    let (mut watch, _) = Watch::evicted();
    assert_eq!(watch.dropped, 1);
    let silence = watch.engine.member.silence(watch.now, db3()).age;
    watch.hear(GuestInput::Message(GuestMessage::Beat));
    assert_eq!(watch.engine.member.silence(watch.now, db3()).age, silence, "it is not heard by that");
    watch.connect(GroupState::Offline, Wanted::Offline, 1);
    let failed = FenceResult::Failed { reason: "no route to host".to_owned() };
    (0..5).for_each(|_| watch.agents_answer(&failed));
    assert!(watch.is_in(), "it says that it runs nothing");
    assert_eq!(watch.dropped, 1);
}

#[test]
fn one_that_comes_back_with_its_application_is_told_to_stop_it_and_then_admitted() {
    let (mut watch, epoch) = Watch::evicted();
    let before = watch.engine.ledger().host(db3()).map(|host| host.newest);
    watch.said.clear();
    watch.connect(GroupState::Online, Wanted::Online, epoch);
    let failed = FenceResult::Failed { reason: "no route to host".to_owned() };
    (0..3).for_each(|_| watch.agents_answer(&failed));
    assert!(!watch.is_in() && watch.owner() == Some(db3()), "it runs what it may not");
    let order = watch.newest();
    assert_eq!(order.wanted, Wanted::Offline);
    watch.tell(GroupState::Offline, Wanted::Offline, order.epoch, Some(order.number));
    (0..5).for_each(|_| watch.agents_answer(&failed));
    assert!(watch.is_in());
    assert!(watch.engine.ledger().host(db3()).map(|host| host.newest) > before, "as a life of its own");
    assert_eq!(watch.newest().wanted, Wanted::Online, "and has it again");
}

/// Whoever leads next finds in the ledger, and by what the controller says, all that there is to know.
#[test]
fn another_leader_takes_over_without_a_restart() {
    let running = Watch::running();
    let (epoch, ledger) = (running.newest().epoch, running.engine.ledger().clone());
    let data = postcard::to_allocvec(&ledger).expect("it can be encoded").into();
    let voters = [(HostId::of("hv1"), StorageId(1))].into_iter().collect();
    let snapshot = Some(raft::Snapshot { ledger: LedgerId(7), index: 1, term: 1, voters, data });
    let stored =
        raft::Stored { storage: StorageId(1), term: 1, voted_for: None, snapshot, entries: Vec::new() };
    let mut next = Watch::new(stored);
    next.connect(GroupState::Online, Wanted::Online, epoch);
    next.pass(15);
    assert!(next.is_in() && next.owner() == Some(db3()));
    assert!(next.fences.iter().all(|order| order.action == FenceAction::Status), "{:?}", next.fences);
    let orders = next.orders();
    assert!(
        !orders.is_empty()
            && orders.iter().all(|order| (order.wanted, order.epoch) == (Wanted::Online, epoch)),
        "{orders:?}"
    );
}

/// A controller that connects to a host that does not lead is sent on.
#[test]
fn who_does_not_watch_hangs_up() {
    let mut watch = Watch::running();
    watch.engine.leader = None;
    watch.connect(GroupState::Offline, Wanted::Offline, 0);
    assert!(watch.dropped > 0);
}
