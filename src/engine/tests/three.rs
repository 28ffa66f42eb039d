//! One host of three, `hv1`, with the test as the other two.

use super::*;
use keeper::vm::{DomainView, Job, Paused, Progress, Run, VmAction};
use roost_proto::cluster::decision::Proof;
use roost_proto::cluster::raft::{LogEntry, Position, RaftMessage};
use roost_proto::cluster::{Beat, Echo, Life, Need, Stamp};
use roost_proto::state::{STATE_VERSION, SavedGroup};

const LIFE: Incarnation = Incarnation { start: 1, boot: 1 };
const BEAT: Duration = Duration::from_millis(250);

fn config(on_quorum_loss: &str) -> Config {
    config_with(on_quorum_loss, "web")
}

fn config_with(on_quorum_loss: &str, group: &str) -> Config {
    let mut text = format!("[cluster]\nname = \"lab\"\non_quorum_loss = \"{on_quorum_loss}\"\n");
    for nth in 1..=3 {
        text += &format!("[[host]]\nname = \"hv{nth}\"\naddress = \"192.0.2.{nth}\"\n");
        text += "watchdog = \"/dev/watchdog\"\n[[host.fence]]\nagent = \"fence_ipmilan\"\n";
    }
    config::parse(&(text + &format!("[[group]]\nname = \"{group}\"\nvm = \"web1\"\n"))).expect("good")
}

fn id(nth: u32) -> HostId {
    HostId::of(&format!("hv{nth}"))
}

/// The ledger in which all three are admitted, `web` is this host's, and a fourth came and went.
fn ledger(proof: Proof) -> Ledger {
    let gone = HostId::of("gone");
    let admit = |host, name: String| Decision::Admit { host, name, incarnation: LIFE, machine: 1, proof };
    let mut decisions: Vec<Decision> = (1..=3).map(|nth| admit(id(nth), format!("hv{nth}"))).collect();
    decisions.push(admit(gone, "gone".to_owned()));
    decisions.push(Decision::Leave { host: gone, incarnation: LIFE });
    let (group, need) = ("web".to_owned(), Need::default());
    decisions.push(Decision::Assign { group, epoch: 0, to: id(1), incarnation: LIFE, need });
    let mut ledger = Ledger::default();
    for decision in decisions {
        assert_eq!(ledger.apply(1, &Entry { asked: None, decision }), Effect::Done);
    }
    ledger
}

struct Trio {
    engine: Engine,
    now: Instant,
    sent: Vec<(HostId, Datagram)>,
    actions: Vec<keeper::vm::Order>,
    fed: usize,
    disarmed: bool,
}

impl Trio {
    fn new(on_quorum_loss: &str, entries: Vec<LogEntry>) -> Self {
        Self::admitted(on_quorum_loss, Proof::None, entries)
    }

    fn admitted(on_quorum_loss: &str, proof: Proof, entries: Vec<LogEntry>) -> Self {
        Self::begun(&config(on_quorum_loss), Saved::default(), proof, entries)
    }

    fn begun(config: &Config, saved: Saved, proof: Proof, entries: Vec<LogEntry>) -> Self {
        let voters = (1..=3).map(|nth| (id(nth), StorageId(nth))).collect();
        let data = postcard::to_allocvec(&ledger(proof)).expect("it can be encoded").into();
        let snapshot = Some(raft::Snapshot { ledger: LedgerId(7), index: 1, term: 1, voters, data });
        let now = Instant::from_nanos(1_000_000_000_000);
        let start = Start {
            host: "hv1".to_owned(),
            incarnation: LIFE,
            machine: 1,
            boot_id: "1".to_owned(),
            saved,
            stored: raft::Stored { storage: StorageId(1), term: 1, voted_for: None, snapshot, entries },
            lease_until: None,
            seed: 1,
            screenshots: PathBuf::from("/screens"),
        };
        let engine = Engine::new(Arc::new(config.clone()), start, now);
        let mut trio = Self { engine, now, sent: Vec::new(), actions: Vec::new(), fed: 0, disarmed: false };
        trio.drain();
        trio
    }

    fn drain(&mut self) {
        let mut written = None;
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Write(write) => written = Some(write.number),
                Output::Send { to, datagram } => self.sent.push((to, datagram)),
                Output::Watchdog(WatchdogOrder::Feed) => self.fed += 1,
                Output::Watchdog(WatchdogOrder::Disarm) => self.disarmed = true,
                Output::Keeper(keeper::Output::Order(order)) => self.actions.push(order),
                Output::Keeper(keeper::Output::Store(_)) => {
                    self.engine.handle(self.now, Input::Stored(Ok(())));
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

    /// A host beats, and answers this host's beats of now if it `grants`.
    fn hear(&mut self, nth: u32, grants: bool, messages: Vec<Message>) {
        let stamp = Stamp(self.now.as_nanos() / 1_000_000);
        let echo = Some(Echo { start: 1, stamp, admitted: grants });
        let beat = Some(Beat { stamp, echo, applied: 1, life: Life::Leased });
        let datagram = Datagram { ledger: LedgerId(7), beat, messages };
        self.handle(Input::Datagram { from: id(nth), incarnation: LIFE, datagram });
    }

    fn beat(&mut self) {
        self.now = self.now + BEAT;
        self.engine.handle_timeout(self.now);
        self.drain();
    }

    /// How often the watchdog was fed in so many beats.
    fn fed_in(&mut self, beats: usize) -> usize {
        self.fed = 0;
        (0..beats).for_each(|_| self.beat());
        self.fed
    }

    fn see(&mut self, run: Run) {
        let view = DomainView {
            run,
            life: Some(1),
            autostart: false,
            progress: Progress::default(),
            job: Job::None,
            cid: None,
            need: None,
        };
        self.handle(Input::Libvirt(LibvirtInput::Domain { name: "web1".to_owned(), view, happened: None }));
    }

    /// Whether the newest beat to a host answers for its lease.
    fn grants(&self, nth: u32) -> bool {
        let mut beats =
            self.sent.iter().filter(|(to, _)| *to == id(nth)).filter_map(|(_, datagram)| datagram.beat);
        beats.next_back().and_then(|beat| beat.echo).is_some_and(|echo| echo.admitted)
    }
}

fn running(on_quorum_loss: &str) -> Trio {
    shown(Trio::new(on_quorum_loss, Vec::new()))
}

/// Its watchdog works, libvirt shows its VM, and a majority of the voters answered once.
fn shown(mut trio: Trio) -> Trio {
    trio.handle(Input::Watchdog(WatchdogInput::Working { timeout: Duration::from_secs(5) }));
    trio.handle(Input::Libvirt(LibvirtInput::Connected));
    trio.hear(2, true, Vec::new());
    trio.see(Run::Running);
    trio
}

#[test]
fn the_watchdog_is_fed_under_the_lease_or_when_what_is_owned_stands_still() {
    let mut trio = running("pause");
    assert_eq!(trio.fed_in(4), 4, "two of three voters answer, with this host itself");
    assert!(trio.actions.is_empty());
    trio.beat();
    let left = trio.engine.lease_until().expect("it had one").since(trio.now);
    let beats = usize::try_from(left.as_millis().div_ceil(BEAT.as_millis())).expect("short");
    assert!(trio.fed_in(beats.saturating_sub(1)) > 0);
    assert_eq!(trio.fed_in(8), 0, "the lease is over, and the VM runs");
    assert_eq!(trio.actions.pop().map(|order| order.action), Some(VmAction::Suspend));
    trio.see(Run::Paused(Paused::User));
    assert_eq!(trio.fed_in(4), 4, "it stands still");
    trio.see(Run::Running);
    assert_eq!(trio.fed_in(4), 0, "somebody resumed it");
}

/// A host that is itself a VM: what is told of its watchdog, and how bad that is.
fn told_of_a_virtual_watchdog(config: &Config) -> Level {
    let mut trio = Trio::new("pause", Vec::new());
    trio.engine.reload(config, trio.now);
    trio.drain();
    trio.engine.handle(trio.now, Input::Watchdog(WatchdogInput::Virtual { timeout: Duration::from_secs(5) }));
    let told = core::iter::from_fn(|| trio.engine.poll_output()).find_map(|output| match output {
        Output::Keeper(keeper::Output::Event(event)) if event.kind == EventKind::Watchdog => {
            Some(event.level)
        }
        _ => None,
    });
    told.expect("it is told")
}

#[test]
fn a_virtual_watchdog_is_a_danger_only_where_no_fence_agent_is() {
    assert_eq!(told_of_a_virtual_watchdog(&config("pause")), Level::Info);
    let mut bare = config("pause");
    bare.hosts.iter_mut().for_each(|host| host.fence.clear());
    assert_eq!(told_of_a_virtual_watchdog(&bare), Level::Warning);
}

#[test]
fn a_host_that_runs_on_without_a_quorum_is_not_reset_for_it() {
    let mut trio = running("keep");
    trio.fed_in(40);
    assert_eq!(trio.fed_in(4), 4);
    assert!(trio.actions.is_empty(), "{:?}", trio.actions);
}

/// The file gives its VM to a group of another name, and the ledger does not: it stands still all the same.
#[test]
fn what_the_file_forgot_stands_still_without_a_lease() {
    let mut trio = running("pause");
    trio.engine.reload(&config_with("pause", "another"), trio.now);
    trio.see(Run::Running);
    assert!(trio.fed_in(4) > 0, "its lease holds");
    assert!(trio.actions.is_empty());
    trio.fed_in(12);
    assert_eq!(trio.actions.pop().map(|order| order.action), Some(VmAction::Suspend));
    assert_eq!(trio.fed_in(4), 0, "it runs still");
    trio.see(Run::Paused(Paused::User));
    assert!(trio.fed_in(4) > 0);
}

/// What an earlier build saved of a group does not name its VM, and neither does the file: nobody makes it stand still, only
/// the watchdog can.
#[test]
fn a_host_whose_file_forgot_what_it_owns_is_not_safe_without_a_lease() {
    let group = SavedGroup { epoch: 1, ..SavedGroup::default() };
    let groups = [("web".to_owned(), group)].into();
    let saved = Saved { version: STATE_VERSION, boot_id: "1".to_owned(), groups, disarmed: None };
    let forgetful = config_with("pause", "another");
    let mut trio = shown(Trio::begun(&forgetful, saved, Proof::None, Vec::new()));
    assert!(trio.fed_in(4) > 0, "its lease holds");
    trio.fed_in(12);
    trio.sent.clear();
    assert_eq!(trio.fed_in(60), 0);
    let warnings = trio.engine.status(trio.now, 0).warnings;
    assert!(warnings.iter().any(|text| text.contains("group 'web' is this host's")), "{warnings:?}");
    trio.see(Run::Off(keeper::vm::Off::Unknown)); // of the other group's VM
    assert_eq!(trio.engine.hello().running, roost_proto::cluster::Running::Unknown);
    trio.engine.reload(&config("pause"), trio.now);
    trio.see(Run::Paused(Paused::User));
    assert!(trio.fed_in(4) > 0, "it is watched again");
}

/// The file was changed to "keep" and read again, and the others still take time for a proof.
#[test]
fn a_host_that_was_admitted_as_one_that_stops_does_not_run_on() {
    let proof = Proof::Watchdog { timeout_ms: 5000, lease_ms: 3000 };
    let mut trio = shown(Trio::admitted("pause", proof, Vec::new()));
    trio.engine.reload(&config("keep"), trio.now);
    trio.drain();
    trio.fed_in(16);
    assert_eq!(trio.fed_in(4), 0);
    assert_eq!(trio.actions.pop().map(|order| order.action), Some(VmAction::Suspend));
}

/// The end of the log that was found on disk was never committed, and a newer leader has cut it off.
#[test]
fn a_voter_answers_again_though_what_it_had_written_was_cut_off() {
    let blank = |term| LogEntry { term, payload: Payload::Blank };
    let mut trio = Trio::new("pause", vec![blank(1); 5]);
    trio.hear(3, false, Vec::new());
    trio.beat();
    assert!(!trio.grants(3), "its ledger may be older than what it told in the life before");
    let previous = Position { term: 1, index: 2 };
    let append = RaftMessage::Append { term: 2, previous, commit: 3, entries: vec![blank(2)] };
    trio.hear(2, false, vec![Message::Raft(append)]);
    assert_eq!((trio.engine.raft().last_index(), trio.engine.applied()), (3, 3));
    trio.beat();
    assert!(trio.grants(3));
}

#[test]
fn a_leader_keeps_nothing_for_hosts_that_are_gone() {
    let mut trio = Trio::new("pause", Vec::new());
    for _ in 0..400 {
        trio.beat();
        trio.hear(3, true, Vec::new());
        let sent = core::mem::take(&mut trio.sent);
        for (_, datagram) in sent.into_iter().filter(|(to, _)| *to == id(2)) {
            for message in datagram.messages {
                let Message::Raft(message) = message else { continue };
                let answer = match message {
                    RaftMessage::AskVote { term, ballot, storage, .. } => {
                        RaftMessage::Vote { term, ballot, granted: true, storage }
                    }
                    RaftMessage::Append { term, previous, entries, .. } => {
                        let index = previous.index + entries.len() as u64;
                        RaftMessage::Matched { term, index, storage: StorageId(2) }
                    }
                    _ => continue,
                };
                trio.hear(2, true, vec![Message::Raft(answer)]);
            }
        }
    }
    assert!(trio.engine.leader().is_some(), "it leads");
    let waiting: usize = [&trio.engine.mail.now, &trio.engine.mail.later]
        .into_iter()
        .flat_map(|mail| mail.values().map(Vec::len))
        .sum();
    assert!(waiting < 10, "{waiting} messages wait");
    assert!(trio.sent.iter().all(|(to, _)| *to != HostId::of("gone")));
}

/// A host that stood still for a minute: whatever it is told first, it knows before that its lease is over.
#[test]
fn a_host_that_stood_still_begins_nothing_when_it_goes_on() {
    let first: [fn(&mut Trio); 4] = [
        |trio| trio.see(Run::Off(keeper::vm::Off::Crashed)),
        |trio| trio.handle(Input::Libvirt(LibvirtInput::Connected)),
        |trio| trio.hear(2, false, Vec::new()),
        Trio::beat,
    ];
    for tell in first {
        let mut trio = running("pause");
        trio.fed_in(4);
        assert!(trio.engine.lease_until().is_some_and(|until| trio.now < until));
        trio.now = trio.now + Duration::from_secs(60);
        trio.fed = 0;
        tell(&mut trio);
        let actions: Vec<VmAction> = trio.actions.drain(..).map(|order| order.action).collect();
        assert!(actions.iter().all(|action| *action == VmAction::Suspend), "{actions:?}");
        trio.beat();
        let stopped = trio.engine.keeper().may_run();
        assert_eq!(trio.fed == 0, stopped, "it is fed only if nothing runs");
    }
}

/// An answer to a beat from before it stood still is as old as that beat.
#[test]
fn an_answer_that_comes_after_a_standstill_gives_no_new_lease() {
    let mut trio = running("pause");
    trio.beat();
    let stamp = Stamp(trio.now.as_nanos() / 1_000_000);
    trio.now = trio.now + Duration::from_secs(60);
    let echo = Some(Echo { start: 1, stamp, admitted: true });
    for nth in [2, 3] {
        let beat = Some(Beat {
            stamp: Stamp(trio.now.as_nanos() / 1_000_000),
            echo,
            applied: 1,
            life: Life::Leased,
        });
        let datagram = Datagram { ledger: LedgerId(7), beat, messages: Vec::new() };
        trio.handle(Input::Datagram { from: id(nth), incarnation: LIFE, datagram });
    }
    assert!(trio.engine.lease_until().is_some_and(|until| until < trio.now));
    assert_eq!(trio.actions.last().map(|order| &order.action), Some(&VmAction::Suspend));
}

/// It is evicted while it leaves, and an operator's word is taken for the proof: its own VM has to go before the watchdog is put away.
#[test]
fn a_host_that_leaves_and_was_evicted_meanwhile_puts_its_watchdog_away_last() {
    let mut trio = running("pause");
    trio.handle(Input::Leave);
    let data = |decision| {
        let entry = postcard::to_allocvec(&Entry { asked: None, decision }).expect("it can be encoded");
        LogEntry { term: 2, payload: Payload::Data(entry) }
    };
    let (host, incarnation, by) = (id(1), LIFE, FencedBy::Operator);
    let entries =
        vec![data(Decision::Evict { host, incarnation }), data(Decision::Fenced { host, incarnation, by })];
    let append =
        RaftMessage::Append { term: 2, previous: Position { term: 1, index: 1 }, commit: 3, entries };
    trio.hear(2, false, vec![Message::Raft(append)]);
    assert_eq!((trio.engine.applied(), trio.engine.ledger().standing(host)), (3, Standing::Out));
    assert_eq!(trio.actions.pop().map(|order| order.action), Some(VmAction::Destroy));
    trio.beat();
    assert!(!trio.disarmed, "its VM runs");
    trio.see(Run::Off(keeper::vm::Off::Destroyed));
    let ticket = keeper::vm::Ticket(1);
    trio.handle(Input::Libvirt(LibvirtInput::Done { ticket, result: Ok(()) }));
    trio.beat();
    assert!(trio.disarmed);
}

#[test]
fn a_host_that_the_file_does_not_name_any_more_can_be_confirmed() {
    let trio = Trio::new("pause", Vec::new());
    let confirm = |host: &str| {
        let command = Command::ConfirmFenced { host: host.to_owned() };
        trio.engine.decision("somebody", command).expect_err("neither is evicted").0
    };
    assert_eq!(confirm("gone"), Refusal::NotDone, "it is known, and known to run nothing");
    assert_eq!(confirm("gine"), Refusal::UnknownHost);
}
