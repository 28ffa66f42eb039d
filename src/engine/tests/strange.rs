//! Whatever an authentic host says, and however late, an engine neither panics nor grows without end: hosts of other versions,
//! and hosts that have lost their way, hold the key too.

use super::*;
use roost_proto::cluster::decision::{Asked, Proof};
use roost_proto::cluster::raft::{Ballot, LogEntry, Position, RaftMessage};
use roost_proto::cluster::{
    Beat, Echo, GroupReport, Hello, Life, MAX_REASON, Need, Report, Room, Running, Silent, Stamp,
};

const THREE: &str = r#"
[cluster]
name = "lab"
[[host]]
name = "hv1"
address = "192.0.2.1"
watchdog = "/dev/watchdog"
[[host]]
name = "hv2"
address = "192.0.2.2"
watchdog = "/dev/watchdog"
[[host]]
name = "hv3"
address = "192.0.2.3"
[[group]]
name = "web"
vm = "web1"
[[group]]
name = "db"
vm = "db1"
together = ["web"]
"#;

/// Draws what another host could say.
struct Strange(Jitter);

impl Strange {
    fn below(&mut self, limit: u64) -> u64 {
        (self.0.draw() >> 11) % limit
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let nth = usize::try_from(self.below(from.len() as u64)).expect("short");
        from[nth].clone()
    }

    /// Small numbers mostly, and those at which sums go wrong.
    fn number(&mut self) -> u64 {
        match self.below(12) {
            0 => self.pick(&[u64::MAX, u64::MAX - 1, 1 << 63, 1 << 62, (1 << 62) + 1, u64::from(u32::MAX)]),
            1 => self.below(1 << 20),
            _ => self.below(12),
        }
    }

    fn short(&mut self) -> u32 {
        u32::try_from(self.number() & u64::from(u32::MAX)).expect("masked")
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    fn host(&mut self) -> HostId {
        let name = self.pick(&["hv1", "hv2", "hv2", "hv3", "hv3", "hv9"]);
        HostId::of(name)
    }

    fn storage(&mut self) -> StorageId {
        let number = self.pick(&[1, 2, 3, 3, 77]);
        StorageId(number)
    }

    fn life(&mut self) -> Incarnation {
        Incarnation { start: self.short(), boot: self.below(3) }
    }

    fn position(&mut self) -> Position {
        Position { term: self.number(), index: self.number() }
    }

    fn group(&mut self) -> String {
        self.pick(&["web", "db", "", "a-group-that-is-not"]).to_owned()
    }

    fn reason(&mut self) -> String {
        "\u{fffd}".repeat(usize::try_from(self.below(200)).expect("short"))
    }

    fn need(&mut self) -> Need {
        Need { memory_mib: self.short(), cpus: 3 }
    }

    fn proof(&mut self) -> Proof {
        let (timeout_ms, lease_ms) = (self.short(), self.short());
        if self.flip() { Proof::None } else { Proof::Watchdog { timeout_ms, lease_ms } }
    }

    fn decision(&mut self) -> Decision {
        let (host, incarnation, group, epoch) = (self.host(), self.life(), self.group(), self.number());
        match self.below(13) {
            0 | 1 => {
                let (machine, proof) = (self.below(2), self.proof());
                Decision::Admit { host, name: "x".to_owned(), incarnation, machine, proof }
            }
            2 => Decision::Evict { host, incarnation },
            3 => {
                Decision::Fenced { host, incarnation, by: self.pick(&[FencedBy::Agent, FencedBy::Operator]) }
            }
            4 => Decision::Leave { host, incarnation },
            5 => {
                let mode = self.pick(&[HostMode::Active, HostMode::Quarantined]);
                Decision::Mode { host, mode, by: String::new() }
            }
            6 => Decision::Assign { group, epoch, to: host, incarnation, need: self.need() },
            7 => {
                let why = self.pick(&[RecallReason::Failed, RecallReason::Moved]);
                Decision::Recall { group, epoch, to: Some(host), why }
            }
            8 => Decision::Release { group, epoch, changed: self.number() },
            9 => {
                let order = self.pick(&[GroupOrder::Freeze, GroupOrder::Intent(Intent::Online)]);
                Decision::Order { group, order, by: self.reason() }
            }
            10 => Decision::GiveUp { group, epoch, reason: self.reason() },
            11 => {
                let (inside, inside_epoch) = (self.group(), self.number());
                Decision::AssignInside { group, epoch, to: host, incarnation, inside, inside_epoch }
            }
            _ => {
                let to = Some(host).filter(|_| self.flip());
                Decision::Prepare { group, epoch, to, why: RecallReason::Home, by: self.reason() }
            }
        }
    }

    fn entry(&mut self) -> Entry {
        let asked = Asked { host: self.host(), start: self.short(), number: self.number() };
        Entry { asked: Some(asked).filter(|_| self.flip()), decision: self.decision() }
    }

    fn log_entry(&mut self) -> LogEntry {
        let payload = match self.below(6) {
            0 => Payload::Blank,
            1 => {
                let count = self.below(4);
                Payload::Voters((0..count).map(|_| (self.host(), self.storage())).collect())
            }
            2 => Payload::Data(self.reason().into_bytes()),
            _ => Payload::Data(postcard::to_allocvec(&self.entry()).expect("it can be encoded")),
        };
        LogEntry { term: self.number(), payload }
    }

    fn page(&mut self) -> RaftMessage {
        let (term, position) = (self.number(), self.position());
        let mut ledger = Ledger::default();
        for index in 1..self.below(8) {
            let _ = ledger.apply(index, &self.entry());
        }
        let data: Vec<u8> = match self.below(4) {
            0 => self.reason().into_bytes(),
            _ => postcard::to_allocvec(&ledger).expect("it can be encoded"),
        };
        let voters: Voters = (0..self.below(4)).map(|_| (self.host(), self.storage())).collect();
        let snapshot = (self.pick(&[LedgerId(7), LedgerId(8)]), position.index, position.term, voters, data);
        let bytes = postcard::to_allocvec(&snapshot).expect("it can be encoded");
        let total =
            if self.below(4) == 0 { self.short() } else { u32::try_from(bytes.len()).expect("short") };
        RaftMessage::Page { term, position, total, offset: if self.flip() { 0 } else { self.short() }, bytes }
    }

    fn raft(&mut self) -> RaftMessage {
        let (term, storage) = (self.number(), self.storage());
        let ballot = self.pick(&[Ballot::Trial, Ballot::Election, Ballot::Transfer]);
        match self.below(10) {
            0 => RaftMessage::AskVote { term, ballot, last: self.position(), storage },
            1 => RaftMessage::Vote { term, ballot, granted: self.flip(), storage },
            2..=4 => {
                let entries = (0..self.below(4)).map(|_| self.log_entry()).collect();
                RaftMessage::Append { term, previous: self.position(), commit: self.number(), entries }
            }
            5 => RaftMessage::Matched { term, index: self.number(), storage },
            6 => RaftMessage::Differs { term, at: self.number(), hint: self.number(), storage },
            7 => self.page(),
            8 => RaftMessage::PageHeard { term, index: self.number(), next: self.short(), storage },
            _ => RaftMessage::StandNow { term },
        }
    }

    fn report(&mut self) -> Report {
        let state = match self.below(5) {
            0 => GroupState::Down,
            1 => GroupState::Stray,
            2 => GroupState::GivenUp { reason: self.reason() },
            3 => GroupState::Undefined,
            _ => GroupState::Well,
        };
        let need = Some(self.need()).filter(|_| self.flip());
        let groups = vec![GroupReport { group: self.group(), changed: self.number(), state, need }];
        let room = Room { memory_mib: self.short(), memory_total_mib: self.short(), cpus: 4 };
        let after = Some(self.number()).filter(|_| self.flip());
        Report { number: self.number(), after, newest: self.number(), room: Some(room), groups }
    }

    fn message(&mut self) -> Message {
        let (host, incarnation, ago_ms) = (self.host(), self.life(), self.number());
        match self.below(12) {
            0..=5 => Message::Raft(self.raft()),
            6 => {
                let running = self.pick(&[Running::Unknown, Running::Nothing, Running::Something]);
                let (machine, proof) = (self.below(2), self.proof());
                Message::Hello(Hello {
                    machine,
                    proof,
                    storage: self.storage(),
                    config: 1,
                    running,
                    armed: 0,
                })
            }
            7 => {
                let silent = Silent { host, incarnation: Some(incarnation).filter(|_| self.flip()), ago_ms };
                Message::Silent(vec![silent; usize::try_from(self.below(20)).expect("short")])
            }
            8 => Message::LastAnswered { host, incarnation, ago_ms },
            9 => Message::Report(self.report()),
            10 => Message::ReportHeard { term: ago_ms, start: incarnation.start, number: self.number() },
            _ => Message::Ask(self.entry()),
        }
    }

    fn datagram(&mut self) -> Datagram {
        let echo = Echo { start: 1, stamp: Stamp(self.number()), admitted: self.flip() };
        let life = self.pick(&[Life::Leased, Life::Unleased, Life::Leaving]);
        let echo = Some(echo).filter(|_| self.flip());
        let beat = Beat { stamp: Stamp(self.number()), echo, applied: self.number(), life };
        let messages = (0..self.below(5)).map(|_| self.message()).collect();
        let ledger = self.pick(&[LedgerId::NONE, LedgerId(7), LedgerId(7), LedgerId(8)]);
        Datagram { ledger, beat: Some(beat).filter(|_| self.flip()), messages }
    }
}

fn stored() -> raft::Stored {
    let voters = Voters::from([1, 2, 3].map(|n| (HostId::of(&format!("hv{n}")), StorageId(n))));
    let data = postcard::to_allocvec(&Ledger::default()).expect("it can be encoded").into();
    let snapshot = raft::Snapshot { ledger: LedgerId(7), index: 1, term: 1, voters, data };
    raft::Stored { storage: StorageId(1), term: 1, snapshot: Some(snapshot), ..raft::Stored::default() }
}

/// What a host answers that follows: with it this one comes to lead, and to see its entries committed.
fn answer(message: &Message) -> Option<RaftMessage> {
    let Message::Raft(message) = message else { return None };
    match message {
        RaftMessage::AskVote { term, ballot, storage, .. } => {
            Some(RaftMessage::Vote { term: *term, ballot: *ballot, granted: true, storage: *storage })
        }
        RaftMessage::Append { term, previous, entries, .. } => {
            let index = previous.index + entries.len() as u64;
            Some(RaftMessage::Matched { term: *term, index, storage: StorageId(2) })
        }
        _ => None,
    }
}

/// What became of one walk: the highest index that was applied, and whether the host led.
fn walk(seed: u64) -> (Index, bool) {
    let mut strange = Strange(Jitter::new(seed));
    let stored = if seed.is_multiple_of(4) {
        raft::Stored { storage: StorageId(1), ..raft::Stored::default() }
    } else {
        stored()
    };
    let mut now = Instant::from_nanos(1_000_000_000);
    let start = Start {
        host: "hv1".to_owned(),
        incarnation: Incarnation { start: 1, boot: 1 },
        machine: 1,
        boot_id: "1".to_owned(),
        saved: Saved::default(),
        stored,
        lease_until: None,
        seed,
        screenshots: PathBuf::from("/screens"),
    };
    let mut engine = Engine::new(config::parse(THREE).expect("good"), start, now);
    let (mut written, mut led, mut answers) = (0, false, Vec::new());
    for _ in 0..400 {
        match strange.below(10) {
            0 => {
                now = now + Duration::from_millis(strange.below(1500));
                engine.handle_timeout(now);
            }
            1 => engine.handle(now, Input::Written { number: written }),
            _ => {
                let (from, datagram) = (strange.host(), strange.datagram());
                let start = u32::try_from(strange.below(3)).expect("small");
                let incarnation = Incarnation { start, boot: strange.below(2) };
                // Only what can be sent at all: a datagram is no longer than that.
                let bytes = datagram.encode();
                let Ok(datagram) = Datagram::decode(&bytes) else { continue };
                engine.handle(now, Input::Datagram { from, incarnation, datagram });
            }
        }
        while let Some(output) = engine.poll_output() {
            match output {
                Output::Write(write) => written = write.number,
                Output::Send { to, datagram } => {
                    assert_eq!(Datagram::decode(&datagram.encode()).as_ref(), Ok(&datagram), "seed {seed}");
                    answers.extend(datagram.messages.iter().filter_map(answer).map(|answer| (to, answer)));
                }
                _ => {}
            }
        }
        for (from, message) in answers.drain(..).filter(|_| strange.below(3) == 0).collect::<Vec<_>>() {
            let incarnation = Incarnation { start: 2, boot: 1 };
            let datagram =
                Datagram { ledger: LedgerId(7), beat: None, messages: vec![Message::Raft(message)] };
            engine.handle(now, Input::Datagram { from, incarnation, datagram });
        }
        led |= engine.leader().is_some();
        let waiting: usize = [&engine.mail.now, &engine.mail.later]
            .into_iter()
            .flat_map(|mail| mail.values().map(Vec::len))
            .sum();
        assert!(waiting < 500, "seed {seed}: {waiting} messages wait");
    }
    (engine.applied(), led)
}

#[test]
fn nothing_that_a_host_may_say_ends_this_one() {
    let walks: Vec<(Index, bool)> = (0..400).map(walk).collect();
    // Otherwise it all was thrown away at the door.
    assert!(walks.iter().filter(|(applied, _)| *applied > 1).count() > 20, "nothing was taken in");
    assert!(walks.iter().filter(|(_, led)| *led).count() > 5, "it never led");
}

/// A guest that says as much as it may, on a host with the longest names: the report fits a datagram all the same.
#[test]
fn the_longest_reason_fits_a_datagram_and_an_entry() {
    let reason = "\u{fffd}".repeat(MAX_REASON / 3);
    let name = "g".repeat(roost_proto::name::MAX_NAME);
    let decision = Decision::GiveUp { group: name.clone(), epoch: u64::MAX, reason: reason.clone() };
    let asked = Some(Asked { host: HostId(u32::MAX), start: u32::MAX, number: u64::MAX });
    let entry = postcard::to_allocvec(&Entry { asked, decision }).expect("it can be encoded");
    assert!(entry.len() <= raft::MAX_DATA, "{}", entry.len());
    let mut reporter = Reporter::default();
    let need = Some(Need { memory_mib: u32::MAX, cpus: u16::MAX });
    reporter.group(GroupReport {
        group: name,
        changed: u64::MAX,
        state: GroupState::GivenUp { reason },
        need,
    });
    roost_proto::cluster::codec::pack(LedgerId(1), None, reporter.messages(1));
}
