//! Who is admitted and evicted, and what proves that an evicted host runs nothing.

use super::*;

const AGENT: &str = "[[host.fence]]\nagent = \"fence_ipmilan\"\n";

fn with_agent() -> Office {
    Office::new(config(AGENT, &group("web", "on = [\"c\", \"b\"]")))
}

impl Office {
    fn answer(&mut self, order: &FenceOrder, result: &FenceResult) {
        let acts = self.leader.fenced(self.now, order.ticket, result);
        self.acts.extend(acts);
        self.settle();
    }

    /// `b` says that it answered `c` last so long ago.
    fn answered(&mut self, ago: Duration) {
        let ago = u64::try_from(ago.as_millis()).expect("short");
        self.leader.last_answered(self.now, id(B), id(C), self.lives[&id(C)], ago);
    }
}

/// `c` is evicted, and its agents were asked to take its power.
fn switching() -> (Office, FenceOrder) {
    let mut office = with_agent();
    office.settle();
    office.lose_c(Duration::from_millis(3100));
    let off = office.fences().pop().expect("it is ordered");
    assert_eq!(off.action, FenceAction::Off);
    (office, off)
}

/// The agents of `c` were asked, `c` was heard after that, and then they say that it is off.
fn called_off_too_late() -> Office {
    let mut office = with_agent();
    office.settle();
    office.lose_c(Duration::from_millis(1600));
    let status = office.fences().remove(0);
    office.now = office.now + BEAT;
    office.beat(C);
    office.answer(&status, &FenceResult::Off);
    office
}

#[test]
fn a_host_is_evicted_when_a_majority_misses_it_for_so_long_and_not_before() {
    let mut office = Office::of(&[]);
    office.pass(Duration::from_secs(30), &[B]); // the leader alone misses it
    assert_eq!(office.standing(C), "in");
    let mut office = Office::of(&[]);
    office.lose_c(Duration::from_millis(2900));
    assert_eq!(office.standing(C), "in");
    office.lose_c(Duration::from_millis(200));
    assert_eq!(office.standing(C), "in", "b said that it heard it meanwhile");
    let mut office = Office::of(&[]);
    office.lose_c(Duration::from_millis(3100));
    assert_eq!(office.standing(C), "evicted");
}

#[test]
fn what_a_voter_said_counts_only_while_it_says_it() {
    let mut office = Office::of(&[]);
    office.lose_c(Duration::from_millis(2000));
    office.pass(Duration::from_secs(10), &[B]);
    assert_eq!(office.standing(C), "in", "b hears it again, and so says nothing");
}

#[test]
fn a_host_without_power_is_evicted_as_soon_as_it_is_suspect() {
    let mut office = with_agent();
    office.settle();
    office.lose_c(Duration::from_millis(1600));
    let orders = office.fences();
    assert_eq!(orders.iter().map(|order| order.action).collect::<Vec<_>>(), [FenceAction::Status]);
    office.agrees(Duration::from_millis(1600));
    office.answer(&orders[0], &FenceResult::Off);
    assert_eq!((office.standing(C), office.owner("web")), ("out", B), "that it is off is the proof, too");
    let orders = office.fences();
    assert_eq!(orders.iter().map(|order| order.action).collect::<Vec<_>>(), [FenceAction::On]);
}

#[test]
fn a_host_with_power_is_evicted_later_and_its_power_taken() {
    let mut office = with_agent();
    office.settle();
    office.lose_c(Duration::from_millis(1600));
    let status = office.fences().remove(0);
    office.agrees(Duration::from_millis(1600));
    office.answer(&status, &FenceResult::On);
    assert_eq!(office.standing(C), "in");
    office.lose_c(Duration::from_millis(3100));
    let orders = office.fences();
    assert_eq!(orders.last().map(|order| order.action), Some(FenceAction::Off));
    assert_eq!((office.standing(C), office.owner("web")), ("evicted", C));
    let off = orders.last().expect("it was ordered").clone();
    let strange = FenceOrder { ticket: FenceTicket(9999), ..off.clone() };
    office.answer(&strange, &FenceResult::Off);
    assert_eq!(office.standing(C), "evicted", "an answer to nothing that was asked");
    office.answer(&off, &FenceResult::Off);
    assert_eq!((office.standing(C), office.owner("web")), ("out", B));
}

#[test]
fn a_status_that_hangs_does_not_keep_the_power_from_being_taken() {
    let mut office = with_agent();
    office.settle();
    office.lose_c(Duration::from_millis(1900));
    let status = office.fences().remove(0);
    assert_eq!(status.action, FenceAction::Status);
    office.lose_c(Duration::from_millis(3100));
    let off = office.fences().pop().expect("it is ordered off");
    assert_eq!((off.action, office.standing(C)), (FenceAction::Off, "evicted"));
    office.answer(&status, &FenceResult::On);
    assert!(office.fences().is_empty());
    office.answer(&off, &FenceResult::Off);
    assert_eq!(office.standing(C), "out");
}

/// A slow agent would take the power of what the operator has switched on meanwhile.
#[test]
fn an_order_to_take_its_power_is_withdrawn_when_the_host_is_known_to_run_nothing() {
    for by in [FencedBy::Operator, FencedBy::Time, FencedBy::Itself] {
        let (mut office, off) = switching();
        office.apply(Decision::Fenced { host: id(C), incarnation: office.lives[&id(C)], by });
        assert_eq!(office.withdrawn(), [off.ticket]);
        office.settle();
        assert_eq!((office.standing(C), office.owner("web")), ("out", B));
        office.answer(&off, &FenceResult::Off);
        assert!(office.fences().is_empty(), "its answer says nothing any more");
    }
}

#[test]
fn an_order_to_take_its_power_that_was_withdrawn_is_given_again_when_it_is_wanted_again() {
    let (mut office, off) = switching();
    let arm = |arms| Decision::Arm { arms, by: "root".to_owned() };
    office.apply(arm(Arms::Disarmed));
    assert_eq!(office.leader.spares_all(), [Act::WithdrawFence(off.ticket)]);
    office.settle();
    assert!(office.fences().is_empty() && office.standing(C) == "evicted");
    office.apply(arm(Arms::Armed));
    office.pass(Duration::from_secs(60), &[B]);
    assert_eq!(office.fences().pop().map(|order| order.action), Some(FenceAction::Off), "it is wanted again");
}

/// An agent that is wrong once is not to be believed when `roostd` is restarted there.
#[test]
fn off_is_no_proof_against_a_later_life_in_the_same_boot() {
    let mut office = called_off_too_late();
    office.lose_c(Duration::from_millis(3100));
    assert_eq!(office.standing(C), "evicted");
    let before = office.lives[&id(C)];
    office.comes_again(C, Incarnation { start: before.start + 1, ..before }, Running::Something);
    office.settle();
    assert_eq!(office.standing(C), "evicted", "its VMs run on");
}

#[test]
fn agents_that_fail_are_tried_again_and_the_groups_stay_blocked() {
    let mut office = with_agent();
    office.settle();
    office.lose_c(Duration::from_millis(3100));
    let mut failures = 0;
    // Without a word of `b` about its last answers time proves nothing here.
    for _ in 0..200 {
        for order in office.fences() {
            if order.action == FenceAction::Off {
                failures += 1;
            }
            office.answer(&order, &FenceResult::Failed { reason: "no route to the BMC".to_owned() });
        }
        if failures == 1 {
            assert!(office.told("could not be fenced: no route to the BMC"), "{:?}", office.acts);
            assert!(office.told("roost fence c --confirm"));
        }
        office.pass(Duration::from_secs(2), &[B]);
    }
    assert_eq!((office.standing(C), office.owner("web")), ("evicted", C));
    assert!((6..20).contains(&failures), "{failures} tries in 400 s: after 5 s at first, then once a minute");
}

#[test]
fn off_that_was_asked_before_the_host_was_heard_last_proves_nothing() {
    let mut office = called_off_too_late();
    office.lose_c(Duration::from_millis(2000));
    assert_eq!(office.standing(C), "in", "it has to be asked again");
}

#[test]
fn time_is_a_proof_from_the_newest_answer_of_a_majority_and_for_a_host_with_a_watchdog() {
    for watched in [true, false] {
        let mut office = Office::of(&[group("web", "on = [\"c\", \"b\"]")]);
        let next = Incarnation { start: 2, boot: 1 };
        office.lives.insert(id(C), next);
        office.admit(C, if watched { WATCHDOG } else { Proof::None });
        office.reports.remove(&id(C));
        office.beat(C);
        office.room(C, 10_000);
        office.settle();
        assert_eq!(office.owner("web"), C);
        office.lose_c(Duration::from_millis(3100));
        office.pass(Duration::from_secs(20), &[B]);
        assert_eq!(office.standing(C), "evicted", "one of three voters is no majority");
        // Lease and watchdog take 8 s, on a clock that may be slow by 1 in 100, and half a second is kept.
        office.answered(Duration::from_secs(2));
        office.pass(Duration::from_millis(6500), &[B]);
        assert_eq!(office.standing(C), "evicted");
        office.pass(Duration::from_millis(150), &[B]);
        assert_eq!(office.standing(C), if watched { "out" } else { "evicted" });
        assert!(watched || office.told("neither a fence agent nor a watchdog"));
    }
}

#[test]
fn a_host_that_is_back_proves_it_by_another_boot_or_by_running_nothing() {
    let cases = [
        (Incarnation { start: 2, boot: 1 }, Running::Unknown, "evicted"),
        (Incarnation { start: 2, boot: 1 }, Running::Something, "evicted"),
        (Incarnation { start: 2, boot: 1 }, Running::Nothing, "in"),
        (Incarnation { start: 2, boot: 2 }, Running::Unknown, "in"),
    ];
    for (life, running, standing) in cases {
        let mut office = Office::of(&[group("web", "on = [\"c\", \"b\"]")]);
        office.settle();
        office.lose_c(Duration::from_millis(3100));
        assert_eq!(office.standing(C), "evicted");
        office.comes_again(C, life, running.clone());
        office.settle();
        assert_eq!(office.standing(C), standing, "{life:?} {running:?}");
    }
}

#[test]
fn a_machine_is_not_let_in_while_its_power_is_being_taken() {
    let mut office = with_agent();
    office.settle();
    office.lose_c(Duration::from_millis(1600));
    let status = office.fences().remove(0);
    office.answer(&status, &FenceResult::On);
    office.lose_c(Duration::from_millis(3100));
    let off = office.fences().pop().expect("it is ordered off");
    office.comes_again(C, Incarnation { start: 2, boot: 2 }, Running::Nothing);
    office.settle();
    assert_eq!(office.standing(C), "evicted");
    office.answer(&off, &FenceResult::On);
    office.settle();
    assert_eq!(office.standing(C), "in");
}

#[test]
fn two_machines_with_one_name_are_not_let_in() {
    let mut office = Office::of(&[]);
    // The life before is heard beside the new one.
    let before = office.lives[&id(C)];
    office.comes_again(C, Incarnation { start: 2, ..before }, Running::Nothing);
    let now = office.now;
    assert!(!office.member.listens(now, id(C), before, LedgerId(7)));
    office.settle();
    assert!(office.ledger.admits(id(C), before));
    assert!(office.told("two daemons call themselves 'c'"));
    // And another machine waits until the one before is fenced.
    let mut office = Office::of(&[]);
    office.comes_again(C, Incarnation { start: 2, boot: 2 }, Running::Nothing);
    let hello = Hello { machine: 2, ..office.hello(C, Running::Nothing) };
    office.member.hello(id(C), hello);
    office.settle();
    assert!(office.ledger.admits(id(C), before));
    assert!(office.told("another machine has come under the name 'c'"));
    office.pass(Duration::from_secs(4), &[B, C]);
    assert_eq!(office.standing(C), "evicted");
}

#[test]
fn a_host_that_was_back_for_a_moment_only_is_evicted_for_all_that() {
    let mut office = Office::of(&[]);
    let before = office.lives[&id(C)];
    office.comes_again(C, Incarnation { start: 2, boot: 2 }, Running::Nothing);
    office.settle();
    assert!(office.ledger.admits(id(C), before), "after another boot it is waited for a rival");
    office.lose_c(Duration::from_millis(3100));
    assert_eq!(office.standing(C), "evicted");
}

#[test]
fn hosts_that_lost_their_power_together_are_waited_for() {
    let mut office = Office::of(&[]);
    let now = office.now;
    // A leader that has heard nobody since it started, as after a power cut.
    office.member = Member::new(id(A), office.lives[&id(A)], BEAT, Duration::from_secs(3), None, now);
    office.leader = Leader::new(now, 1);
    for _ in 0..(29 * 4) {
        office.now = office.now + BEAT;
        office.beat(B);
        let silent = [Silent { host: id(C), incarnation: None, ago_ms: 40_000 }];
        office.leader.silent(office.now, id(B), &silent);
        office.settle();
    }
    assert_eq!(office.standing(C), "in");
    for _ in 0..8 {
        office.now = office.now + BEAT;
        office.beat(B);
        let silent = [Silent { host: id(C), incarnation: None, ago_ms: 40_000 }];
        office.leader.silent(office.now, id(B), &silent);
        office.settle();
    }
    assert_eq!(office.standing(C), "evicted");
}

#[test]
fn a_host_that_leaves_goes_when_it_owns_nothing() {
    let mut office = Office::of(&[group("web", "on = [\"c\", \"b\"]\nmoves = [\"cold\"]")]);
    office.settle();
    office.well("web");
    office.now = office.now + BEAT;
    office.beat_as(C, Life::Leaving);
    office.settle();
    assert!(office.ledger.group("web").recalled.is_some());
    assert_eq!(office.standing(C), "in");
    office.tell(C, "web", GroupState::Down, 1000, 1);
    office.settle();
    assert_eq!((office.standing(C), office.owner("web")), ("out", B), "without waiting for any fence");
}

#[test]
fn voters_change_one_at_a_time_when_everybody_knows_of_the_change_before() {
    let mut office = Office::of(&[]);
    for host in [B, C] {
        office.member.hello(id(host), office.hello(host, Running::Nothing));
    }
    office.voters = [A, B].map(|host| (id(host), StorageId(id(host).0))).into();
    let asked = |office: &mut Office| {
        let acts = core::mem::take(&mut office.acts);
        acts.into_iter().find_map(|act| if let Act::Voters(voters) = act { Some(voters) } else { None })
    };
    office.settle();
    assert_eq!(asked(&mut office), None, "c does not have the log yet");
    office.caught_up.insert(id(C));
    office.settle();
    assert_eq!(asked(&mut office).map(|voters| voters.len()), Some(3));
    // It was decided, and the disk of b is another one since: that change has to wait.
    office.index += 1;
    office.voters_since = office.index;
    office.voters.insert(id(C), StorageId(id(C).0));
    office.pass(BEAT, &[B, C]);
    office.member.hello(id(B), Hello { storage: StorageId(999), ..office.hello(B, Running::Nothing) });
    office.pass(Duration::from_millis(3400), &[B]);
    assert_eq!(asked(&mut office), None, "leases by the voters before may run still");
    office.index += 1;
    office.pass(Duration::from_millis(500), &[B, C]);
    let voters = asked(&mut office).expect("now it may");
    assert_eq!(voters.keys().copied().collect::<BTreeSet<_>>(), BTreeSet::from([id(A), id(C)]));
}

/// The lease of the life before is carried over a restart of the daemon: that nobody answered the new life yet proves nothing.
#[test]
fn time_counts_from_the_answers_to_the_life_before_too() {
    let mut office = Office::of(&[group("web", "on = [\"c\", \"b\"]")]);
    office.settle();
    // The leader answers the first life, as c does itself; then comes the next one, and is cut off at once.
    office.member.beat_for(office.now, id(C), true, 1, Life::Leased);
    office.now = office.now + BEAT;
    office.comes_again(C, Incarnation { start: 2, boot: 1 }, Running::Unknown);
    office.settle();
    assert!(office.ledger.admits(id(C), Incarnation { start: 2, boot: 1 }));
    office.lose_c(Duration::from_millis(3100));
    assert_eq!(office.standing(C), "evicted");
    office.answered(Duration::from_secs(60)); // b never answered it since it started
    office.settle();
    assert_eq!(office.standing(C), "evicted", "the lease that it may have, and its watchdog, are not over");
    office.pass(Duration::from_secs(6), &[B]);
    assert_eq!(office.standing(C), "out");
}

/// A copy of the machine, with its name and its id, says that it was booted; and the one that was evicted is heard still.
#[test]
fn a_copy_of_a_machine_proves_nothing_while_the_other_is_heard() {
    let mut office = Office::of(&[group("web", "on = [\"c\", \"b\"]")]);
    office.settle();
    office.lose_c(Duration::from_millis(3100));
    let before = office.lives[&id(C)];
    office.comes_again(C, Incarnation { start: 2, boot: 2 }, Running::Nothing);
    for _ in 0..20 {
        let now = office.now;
        assert!(!office.member.listens(now, id(C), before, LedgerId(7)));
        office.pass(BEAT, &[B, C]);
    }
    assert_eq!((office.standing(C), office.owner("web")), ("evicted", C));
    office.pass(Duration::from_secs(4), &[B, C]);
    assert_eq!(office.standing(C), "in", "it is silent now");
}

#[test]
fn while_the_cluster_is_disarmed_silence_is_nobodys_business_and_none_of_it_counts_afterwards() {
    let arm = |arms| Decision::Arm { arms, by: "root".to_owned() };
    let mut office = with_agent();
    office.apply(arm(Arms::Disarmed));
    office.lose_c(Duration::from_secs(3600));
    assert_eq!(office.standing(C), "in");
    assert_eq!(office.fences(), [], "its agents are not asked");
    office.apply(arm(Arms::Armed));
    office.armed = Some(office.now);
    for (after, standing) in [(0, "in"), (2900, "in"), (200, "evicted")] {
        office.now = office.now + Duration::from_millis(after);
        office.beat(B);
        office.agrees(Duration::from_secs(3600));
        office.settle();
        assert_eq!(office.standing(C), standing, "the silence before that does not count");
    }
}

#[test]
fn a_host_that_lives_under_its_lease_again_proves_something_again_and_none_that_said_so_before() {
    let arm = |arms| Decision::Arm { arms, by: "root".to_owned() };
    let proof = |office: &Office| match office.ledger.standing(id(C)) {
        Standing::In(member) => member.proof,
        Standing::Out | Standing::Evicted(_) => panic!("it is in the cluster"),
    };
    let mut office = Office::of(&[]);
    assert_eq!(proof(&office), WATCHDOG);
    office.apply(arm(Arms::Disarmed));
    office.apply(arm(Arms::Armed));
    office.settle();
    assert_eq!(proof(&office), Proof::None, "what it said is older");
    let hello = Hello { armed: office.index, ..office.hello(C, Running::Nothing) };
    office.member.hello(id(C), Hello { proof: Proof::None, ..hello.clone() });
    office.settle();
    assert_eq!(proof(&office), Proof::None, "its watchdog is not open yet");
    office.member.hello(id(C), hello);
    office.settle();
    assert_eq!(proof(&office), WATCHDOG);
}
