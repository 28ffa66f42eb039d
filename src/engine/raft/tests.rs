//! A small network of voters in which anything may be lost, doubled, late, or forgotten by a crash; and what must always
//! hold, checked after each step.

mod danger;
mod known;
mod scripts;
mod walk;

use super::*;
use roost_proto::cluster::raft::{Ballot, Position};

const BEAT: Duration = Duration::from_millis(250);
const ELECTION: Duration = Duration::from_millis(1000);

/// One host: its consensus, its disk, and what it applied.
struct Node {
    raft: Raft,
    /// What is on its disk.
    disk: Stored,
    /// Ordered and not yet durable.
    unwritten: VecDeque<Write>,
    applied: BTreeMap<Index, (Term, Payload)>,
    up: bool,
    writes: Disk,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Disk {
    Prompt,
    Hangs,
}

/// The network.
struct Net {
    now: Instant,
    nodes: BTreeMap<HostId, Node>,
    wires: Vec<(HostId, HostId, RaftMessage)>,
    cut: BTreeSet<(HostId, HostId)>,
    leaders: BTreeMap<Term, HostId>,
    committed: BTreeMap<Index, (Term, Payload)>,
    seed: u64,
}

const fn host(number: u32) -> HostId {
    HostId(number)
}

const fn storage(number: u32) -> StorageId {
    StorageId(number * 100)
}

fn voters(numbers: &[u32]) -> Voters {
    numbers.iter().map(|n| (host(*n), storage(*n))).collect()
}

fn snapshot(voting: &[u32]) -> Snapshot {
    Snapshot {
        ledger: LedgerId(7),
        index: 1,
        term: 1,
        voters: voters(voting),
        data: Arc::from(&b"begin"[..]),
    }
}

fn settings(me: HostId) -> Settings {
    Settings { me, election: ELECTION, beat: BEAT, max_message: 300, reads: |_| true }
}

/// Puts records where a disk would have them.
fn store(disk: &mut Stored, write: &Write) {
    for record in &write.records {
        match record {
            Record::Vote { term, voted_for } => (disk.term, disk.voted_for) = (*term, *voted_for),
            Record::Append { first, entries } => {
                let base = disk.snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
                disk.entries.truncate((first - base - 1) as usize);
                disk.entries.extend(entries.iter().cloned());
            }
            Record::Snapshot { snapshot, keep } => {
                let base = disk.snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
                if *keep {
                    disk.entries.drain(..(snapshot.index - base) as usize);
                } else {
                    disk.entries.clear();
                }
                disk.snapshot = Some(snapshot.clone());
            }
        }
    }
}

/// What a message promises must be on the disk already.
fn promised(me: HostId, disk: &Stored, to: HostId, message: &RaftMessage) {
    match message {
        RaftMessage::Vote { term, ballot: Ballot::Election | Ballot::Transfer, granted: true, .. } => {
            assert_eq!((disk.term, disk.voted_for), (*term, Some(to)), "{me:?}'s vote could be forgotten");
        }
        RaftMessage::Matched { index, .. } => {
            let base = disk.snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
            let end = base + disk.entries.len() as u64;
            assert!(*index <= end, "{me:?} says that it has {index}, and its disk ends at {end}");
        }
        RaftMessage::AskVote { .. }
        | RaftMessage::Vote { .. }
        | RaftMessage::Append { .. }
        | RaftMessage::Differs { .. }
        | RaftMessage::Page { .. }
        | RaftMessage::PageHeard { .. }
        | RaftMessage::StandNow { .. } => {}
    }
}

impl Net {
    /// Voters `voting`, and `others` that have nothing yet.
    fn new(voting: &[u32], others: &[u32], seed: u64) -> Self {
        let mut net = Self {
            now: Instant::from_nanos(1_000_000_000),
            nodes: BTreeMap::new(),
            wires: Vec::new(),
            cut: BTreeSet::new(),
            leaders: BTreeMap::new(),
            committed: BTreeMap::new(),
            seed,
        };
        for number in voting.iter().chain(others) {
            let founded = voting.contains(number);
            let disk = Stored {
                storage: storage(*number),
                term: u64::from(founded),
                snapshot: founded.then(|| snapshot(voting)),
                ..Stored::default()
            };
            net.boot(host(*number), disk);
        }
        net
    }

    fn boot(&mut self, me: HostId, disk: Stored) {
        self.seed += 1;
        let seed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let raft = Raft::new(settings(me), disk.clone(), seed, self.now);
        let node = Node {
            raft,
            disk,
            unwritten: VecDeque::new(),
            applied: BTreeMap::new(),
            up: true,
            writes: Disk::Prompt,
        };
        self.nodes.insert(me, node);
        self.drain(me);
    }

    /// Power is lost: what was not durable is gone.
    fn crash(&mut self, number: u32) {
        self.nodes.get_mut(&host(number)).expect("it exists").up = false;
    }

    fn restart(&mut self, number: u32) {
        let disk = self.nodes[&host(number)].disk.clone();
        self.boot(host(number), disk);
    }

    fn raft(&mut self, number: u32) -> &mut Raft {
        &mut self.nodes.get_mut(&host(number)).expect("it exists").raft
    }

    fn drain(&mut self, me: HostId) {
        let now = self.now;
        loop {
            let node = self.nodes.get_mut(&me).expect("it exists");
            while let Some(output) = node.raft.poll_output() {
                match output {
                    Output::Send { to, message, .. } => {
                        promised(me, &node.disk, to, &message);
                        self.wires.push((me, to, message));
                    }
                    Output::Write(write) => node.unwritten.push_back(write),
                    Output::Apply { index, term, payload } => {
                        let before = self.committed.entry(index).or_insert_with(|| (term, payload.clone()));
                        assert_eq!(*before, (term, payload.clone()), "index {index} was committed twice");
                        assert!(node.applied.insert(index, (term, payload)).is_none(), "{index} told twice");
                    }
                    Output::Unreadable { from } => panic!("{from:?} sent what {me:?} cannot read"),
                    Output::Restore(snapshot) => {
                        assert!(
                            node.applied.last_key_value().is_none_or(|(last, _)| *last <= snapshot.index),
                            "a snapshot takes back what was applied"
                        );
                    }
                }
            }
            if node.writes == Disk::Hangs || node.unwritten.is_empty() {
                break;
            }
            let write = node.unwritten.pop_front().expect("it is not empty");
            store(&mut node.disk, &write);
            node.raft.written(now, write.number);
        }
        self.check(me);
    }

    /// What must hold of one host, seen with all others.
    fn check(&mut self, me: HostId) {
        let node = &self.nodes[&me];
        if node.raft.is_leader() {
            let term = node.raft.term();
            let leader = *self.leaders.entry(term).or_insert(me);
            assert_eq!(leader, me, "two leaders in term {term}");
            for (index, (committed_in, payload)) in &self.committed {
                if *committed_in < term && *index > node.raft.log.base().index {
                    let own =
                        node.raft.log.entry(*index).unwrap_or_else(|| panic!("{me:?} leads without {index}"));
                    assert_eq!((own.term, &own.payload), (*committed_in, payload), "leader completeness");
                }
            }
        }
        for other in self.nodes.values() {
            let (a, b) = (&node.raft.log, &other.raft.log);
            let mut index = a.last().index.min(b.last().index);
            let floor = a.base().index.max(b.base().index);
            while index > floor && a.term(index) != b.term(index) {
                index -= 1;
            }
            for index in floor + 1..=index {
                assert_eq!(a.entry(index), b.entry(index), "log matching at {index}");
            }
        }
    }

    /// Delivers what is on the wires, and what follows from it.
    fn deliver(&mut self) {
        for _ in 0..10_000 {
            if self.wires.is_empty() {
                return;
            }
            let (from, to, message) = self.wires.remove(0);
            self.give(from, to, message);
        }
        panic!("they never stop talking");
    }

    fn give(&mut self, from: HostId, to: HostId, message: RaftMessage) {
        let now = self.now;
        if self.cut.contains(&(from, to)) {
            return;
        }
        if let Some(node) = self.nodes.get_mut(&to).filter(|node| node.up) {
            node.raft.handle(now, from, message);
            self.drain(to);
        }
    }

    /// One beat's time passes for everybody; messages arrive at once.
    fn tick(&mut self) {
        self.now = self.now + BEAT;
        let hosts: Vec<HostId> = self.nodes.keys().copied().collect();
        for me in hosts {
            let now = self.now;
            let node = self.nodes.get_mut(&me).expect("it exists");
            if node.up {
                node.raft.handle_timeout(now);
                node.raft.beat(now);
                self.drain(me);
            }
        }
        self.deliver();
    }

    fn ticks(&mut self, count: u32) {
        (0..count).for_each(|_| self.tick());
    }

    fn leaders_now(&self) -> Vec<HostId> {
        self.nodes
            .iter()
            .filter(|(_, node)| node.up && node.raft.is_leader())
            .map(|(host, _)| *host)
            .collect()
    }

    /// Lets time pass until one host leads, and all its peers can follow it.
    fn elect(&mut self) -> HostId {
        for _ in 0..80 {
            self.tick();
            let leaders = self.leaders_now();
            if let [leader] = leaders.as_slice() {
                return *leader;
            }
        }
        panic!("no leader within 20 s:\n{}", self.describe());
    }

    /// All hosts, a line each, for a person.
    fn describe(&self) -> String {
        let line = |(host, node): (&HostId, &Node)| {
            let raft = &node.raft;
            format!(
                "{host:?} {:?} term {} base {:?} last {:?} commit {} durable {} voters {:?} writes {}\n",
                raft.role,
                raft.term,
                raft.log.base(),
                raft.log.last(),
                raft.commit,
                raft.log.durable,
                raft.log.voters().keys(),
                raft.pending.len()
            )
        };
        self.nodes.iter().map(line).collect()
    }

    /// Makes a certain host lead.
    fn elect_this(&mut self, number: u32) {
        let now = self.now;
        self.raft(number).stand(now, Ballot::Transfer);
        self.raft(number).finish(now);
        self.drain(host(number));
        self.deliver();
        assert!(self.raft(number).is_leader());
    }

    /// The same, and nothing but votes reaches anybody.
    fn elect_quietly(&mut self, number: u32) {
        let now = self.now;
        self.raft(number).stand(now, Ballot::Transfer);
        self.raft(number).finish(now);
        self.drain(host(number));
        while let Some(nth) = self.wires.iter().position(|(_, _, message)| {
            matches!(message, RaftMessage::AskVote { .. } | RaftMessage::Vote { .. })
        }) {
            let (from, to, message) = self.wires.remove(nth);
            self.give(from, to, message);
        }
        self.wires.clear();
        assert!(self.raft(number).is_leader());
    }

    /// A beat of one host.
    fn tick_alone(&mut self, number: u32) {
        let now = self.now;
        self.raft(number).beat(now);
        self.drain(host(number));
    }

    fn disk(&mut self, number: u32, disk: Disk) {
        self.nodes.get_mut(&host(number)).expect("it exists").writes = disk;
    }

    fn propose(&mut self, leader: HostId, text: &str) -> Index {
        let now = self.now;
        let node = self.nodes.get_mut(&leader).expect("it exists");
        let index = node.raft.propose(now, text.as_bytes().to_vec()).expect("it leads");
        self.drain(leader);
        index
    }

    fn has_applied(&self, number: u32, text: &str) -> bool {
        let wanted = Payload::Data(text.as_bytes().to_vec());
        self.nodes[&host(number)].applied.values().any(|(_, payload)| *payload == wanted)
    }

    fn cut_off(&mut self, a: u32, b: u32) {
        self.cut.extend([(host(a), host(b)), (host(b), host(a))]);
    }

    fn isolate(&mut self, number: u32) {
        let others: Vec<u32> = self.nodes.keys().map(|id| id.0).filter(|other| *other != number).collect();
        others.into_iter().for_each(|other| self.cut_off(number, other));
    }

    fn mend(&mut self) {
        self.cut.clear();
    }
}
