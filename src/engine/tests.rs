//! The joined engine of one host, with the test as its disk and its libvirt. More hosts are the simulator's.

mod apps;
mod strange;
mod three;
mod watched;

use super::keeper::vm::LibvirtInput;
use super::ledger::Effect;
use super::watchdog::WatchdogOrder;
use super::*;
use crate::config;
use roost_proto::cluster::decision::{FencedBy, HostMode, RecallReason};
use roost_proto::cluster::raft::{Payload, StorageId};
use roost_proto::cluster::{Datagram, GroupOrder, LedgerId};
use roost_proto::control::Intent;
use roost_proto::state::Saved;
use std::path::PathBuf;

const CONFIG: &str =
    "[cluster]\nname = \"lab\"\n[[host]]\nname = \"hv1\"\n[[group]]\nname = \"web\"\nvm = \"web1\"\n";

struct Alone {
    engine: Engine,
    now: Instant,
    /// Writes that are not durable yet.
    writes: Vec<u64>,
    answers: Vec<Result<String, (Refusal, String)>>,
    events: Vec<String>,
}

impl Alone {
    fn new() -> Self {
        Self::of(CONFIG)
    }

    fn of(text: &str) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let start = Start {
            host: "hv1".to_owned(),
            incarnation: Incarnation { start: 1, boot: 1 },
            machine: 1,
            boot_id: "1".to_owned(),
            saved: Saved::default(),
            stored: raft::Stored { storage: StorageId(1), ..raft::Stored::default() },
            lease_until: None,
            seed: 1,
            screenshots: PathBuf::from("/screens"),
        };
        let engine = Engine::new(config::parse(text).expect("good"), start, now);
        let mut alone = Self { engine, now, writes: Vec::new(), answers: Vec::new(), events: Vec::new() };
        alone.drain();
        alone
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Write(write) => self.writes.push(write.number),
                Output::Answer { answer, .. } => self.answers.push(answer),
                Output::Keeper(keeper::Output::Event(event)) => self.events.push(event.text),
                _ => {}
            }
        }
    }

    fn handle(&mut self, input: Input) {
        self.engine.handle(self.now, input);
        self.drain();
    }

    /// Everything that was written is durable.
    fn sync(&mut self) {
        while let Some(number) = self.writes.pop() {
            self.writes.clear();
            self.handle(Input::Written { number });
        }
    }

    fn order(&mut self, group: &str, order: GroupOrder) {
        let command = Command::Group { group: group.to_owned(), order };
        self.handle(Input::Operator { request: RequestId(1), who: "root".to_owned(), command });
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.engine.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }
}

#[test]
fn an_order_that_is_not_on_disk_does_not_hold() {
    let mut alone = Alone::new();
    alone.sync();
    alone.order("web", GroupOrder::Intent(Intent::Offline));
    assert!(!alone.writes.is_empty() && alone.answers.is_empty());
    alone.pass(Duration::from_secs(5));
    assert_eq!((alone.engine.ledger().group("web").intent, alone.answers.len()), (Intent::Online, 0));
    for _ in 0..5 {
        alone.sync(); // a leader whose disk does not answer steps down, and leads again when it does
        alone.pass(Duration::from_millis(500));
    }
    assert_eq!(alone.engine.ledger().group("web").intent, Intent::Offline);
    assert!(matches!(alone.answers[..], [Ok(_)]), "{:?}", alone.answers);
}

#[test]
fn an_order_that_cannot_be_stored_is_told_so() {
    let mut alone = Alone::new();
    alone.sync();
    alone.handle(Input::LedgerDisk(Err("no space left on device".to_owned())));
    alone.order("web", GroupOrder::Intent(Intent::Offline));
    alone.pass(Duration::from_secs(11));
    assert!(matches!(&alone.answers[..], [Err((Refusal::NotStored, _))]), "{:?}", alone.answers);
    assert!(alone.engine.status(alone.now, 0).warnings.iter().any(|text| text.contains("no space")));
}

#[test]
fn what_keeps_the_state_from_being_stored_is_told_once_each_and_that_it_is_over() {
    let mut alone = Alone::new();
    alone.events.clear();
    for result in [Err("full"), Err("full"), Err("read-only"), Ok(()), Ok(())] {
        alone.handle(Input::Stored(result.map_err(str::to_owned)));
    }
    let told: Vec<_> = alone.events.iter().filter(|text| text.contains("stored")).collect();
    assert!(
        matches!(&told[..], [full, read_only, again]
            if full.contains(": full;") && read_only.contains(": read-only;") && again.contains("is stored again")),
        "{told:?}"
    );
}

#[test]
fn unknown_names_are_answered_with_the_nearest() {
    let mut alone = Alone::new();
    alone.sync();
    alone.order("wbe", GroupOrder::Freeze);
    let command = Command::ConfirmFenced { host: "hv2".to_owned() };
    alone.handle(Input::Operator { request: RequestId(2), who: "root".to_owned(), command });
    let near = |answer: &Result<String, (Refusal, String)>, code, hint: &str| matches!(answer, Err((refusal, why)) if *refusal == code && why.contains(hint));
    assert!(near(&alone.answers[0], Refusal::UnknownGroup, "did you mean 'web'?"), "{:?}", alone.answers);
    assert!(near(&alone.answers[1], Refusal::UnknownHost, "did you mean 'hv1'?"), "{:?}", alone.answers);
}

#[test]
fn nothing_is_decided_that_a_host_does_not_know() {
    let mut alone = Alone::new();
    alone.sync();
    let (older, before) = (HostId(9), alone.engine.raft.last_index());
    alone.engine.voters.insert(older, StorageId(9));
    alone.handle(Input::Knows { host: older, newest: 0 });
    alone.order("web", GroupOrder::Freeze);
    let [Err((Refusal::NotDone, why))] = &alone.answers[..] else { panic!("{:?}", alone.answers) };
    assert!(why.contains("upgrade it first"), "{why}");
    let decision = Decision::Forgive { group: "web".to_owned(), epoch: 0 };
    let entry = Entry { asked: None, decision };
    assert!(!alone.engine.propose(alone.now, &entry));
    assert_eq!(alone.engine.raft.last_index(), before, "whoever leads, and whoever asks");
    alone.handle(Input::Knows { host: older, newest: 1 });
    assert!(alone.engine.propose(alone.now, &entry));
}
