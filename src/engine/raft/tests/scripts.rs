//! Stories of what went wrong elsewhere, or could: catching up, snapshots, hung disks, clusters of one.

use super::*;

#[test]
fn one_voter_alone_leads_at_once_and_commits_what_is_on_its_disk() {
    let mut net = Net::new(&[1], &[], 1);
    let now = net.now;
    net.raft(1).handle_timeout(now);
    net.drain(host(1));
    assert!(net.raft(1).is_leader());
    net.disk(1, Disk::Hangs);
    net.propose(host(1), "alone");
    assert!(!net.has_applied(1, "alone"));
    net.disk(1, Disk::Prompt);
    net.drain(host(1));
    assert!(net.has_applied(1, "alone"));
}

#[test]
fn a_ledger_is_founded_by_one_and_taken_over_by_the_others() {
    let mut net = Net::new(&[], &[1, 2, 3], 1);
    net.ticks(20);
    assert_eq!(net.leaders_now(), [], "nobody votes without a ledger");
    let now = net.now;
    net.raft(1).found(now, LedgerId(5), Arc::from(&b"new"[..]));
    net.drain(host(1));
    assert!(net.raft(1).is_leader());
    net.raft(1).set_learners([1, 2, 3].into_iter().map(host).collect());
    net.ticks(8);
    for number in [2, 3] {
        assert_eq!(net.raft(number).ledger(), LedgerId(5));
        let now = net.now;
        let more = voters(if number == 2 { &[1, 2] } else { &[1, 2, 3] });
        net.raft(1).change_voters(now, more).expect("one comes");
        net.drain(host(1));
        net.deliver();
        net.ticks(4);
    }
    net.crash(1);
    let leader = net.elect();
    assert_ne!(leader, host(1));
}

#[test]
fn entries_reach_everybody_and_are_applied_without_waiting_for_a_beat() {
    let mut net = Net::new(&[1, 2, 3], &[4], 1);
    net.elect_this(1);
    net.raft(1).set_learners(BTreeSet::from([host(4)]));
    net.ticks(8);
    net.propose(host(1), "at once");
    net.deliver();
    for number in 1..=4 {
        assert!(net.has_applied(number, "at once"), "host {number}");
    }
}

#[test]
fn who_was_away_gets_what_it_missed_and_by_snapshot_what_is_gone() {
    for compacted in [false, true] {
        let mut net = Net::new(&[1, 2, 3], &[], 1);
        net.elect_this(1);
        net.isolate(3);
        let mut last = 0;
        for nth in 0..100 {
            last = net.propose(host(1), &format!("entry {nth}"));
            net.deliver();
        }
        if compacted {
            let now = net.now;
            let data: Arc<[u8]> = vec![42; 20_000].into();
            net.raft(1).compact(now, last, data);
            net.drain(host(1));
            net.propose(host(1), "after");
        }
        net.mend();
        net.ticks(8);
        assert_eq!(net.raft(3).commit(), net.raft(1).commit());
        assert_eq!(net.raft(3).log.base().index, if compacted { last } else { 1 });
        assert!(compacted || net.has_applied(3, "entry 99"));
        assert!(!compacted || net.has_applied(3, "after"));
    }
}

#[test]
fn a_snapshot_arrives_though_half_of_its_pages_are_lost() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.elect_this(1);
    net.isolate(3);
    let last = net.propose(host(1), "gone");
    net.deliver();
    let now = net.now;
    net.raft(1).compact(now, last, vec![42; 50_000].into());
    net.drain(host(1));
    net.mend();
    let mut jitter = Jitter::new(3);
    for _ in 0..400 {
        net.now = net.now + BEAT;
        let now = net.now;
        for number in 1..=3 {
            net.raft(number).handle_timeout(now);
            net.raft(number).beat(now);
            net.drain(host(number));
        }
        while !net.wires.is_empty() {
            let (from, to, message) = net.wires.remove(0);
            let page = matches!(message, RaftMessage::Page { .. } | RaftMessage::PageHeard { .. });
            if !page || (jitter.draw() >> 20).is_multiple_of(2) {
                net.give(from, to, message);
            }
        }
        if net.raft(3).log.base().index == last {
            return;
        }
    }
    panic!("the snapshot never arrived");
}

#[test]
fn a_leader_whose_disk_hangs_makes_way() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.elect_this(1);
    net.ticks(4);
    net.disk(1, Disk::Hangs);
    net.propose(host(1), "others can");
    net.ticks(40);
    let leaders = net.leaders_now();
    assert!(leaders.len() == 1 && leaders[0] != host(1), "{leaders:?}");
    assert!(net.has_applied(2, "others can") && net.has_applied(3, "others can"));
}

#[test]
fn a_follower_tells_nothing_that_is_not_on_its_disk() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.elect_this(1);
    net.ticks(4);
    net.isolate(3);
    net.disk(2, Disk::Hangs);
    net.propose(host(1), "on one disk");
    net.ticks(2);
    assert!(!net.has_applied(1, "on one disk"));
    net.disk(2, Disk::Prompt);
    net.drain(host(2));
    net.deliver();
    assert!(net.has_applied(1, "on one disk"));
}

#[test]
fn leadership_goes_over_on_purpose_without_a_wait() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.elect_this(1);
    net.ticks(4);
    net.raft(1).transfer(host(2));
    net.drain(host(1));
    net.deliver();
    assert_eq!(net.leaders_now(), [host(2)]);
}

#[test]
fn a_learner_never_votes_nor_counts() {
    let mut net = Net::new(&[1, 2, 3], &[4], 1);
    net.elect_this(1);
    net.raft(1).set_learners(BTreeSet::from([host(4)]));
    net.ticks(8);
    net.isolate(2);
    net.isolate(3);
    net.propose(host(1), "two of four, one of three");
    net.deliver();
    assert!(!net.has_applied(1, "two of four, one of three"));
    net.ticks(40);
    assert_eq!(net.leaders_now(), []);
}

#[test]
fn a_leader_that_leaves_the_voters_goes_once_the_others_have_it() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.elect_this(1);
    net.ticks(4);
    let now = net.now;
    net.raft(1).change_voters(now, voters(&[2, 3])).expect("it goes");
    net.drain(host(1));
    net.deliver();
    assert!(!net.raft(1).is_leader());
    let leader = net.elect();
    assert_ne!(leader, host(1));
}

#[test]
fn what_is_too_long_or_more_than_one_is_refused() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    let now = net.now;
    assert_eq!(net.raft(1).propose(now, vec![0]), Err(Refused::NotLeader));
    net.elect_this(1);
    net.ticks(2);
    let now = net.now;
    assert_eq!(net.raft(1).propose(now, vec![0; MAX_DATA + 1]), Err(Refused::TooLong));
    assert_eq!(net.raft(1).change_voters(now, voters(&[1])), Err(Refused::NotOne));
    assert_eq!(net.raft(1).change_voters(now, voters(&[1, 2, 3])), Err(Refused::NotOne));
}

#[test]
fn messages_that_come_again_a_minute_late_change_nothing() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.elect_this(1);
    let mut old = Vec::new();
    for nth in 0..20 {
        net.propose(host(1), &format!("entry {nth}"));
        old.extend(net.wires.iter().cloned());
        net.deliver();
        net.tick();
    }
    net.ticks(240);
    let (term, commit) = (net.raft(1).term(), net.raft(1).commit());
    for (from, to, message) in old.into_iter().rev() {
        net.give(from, to, message);
        net.deliver();
    }
    assert_eq!((net.raft(1).term(), net.raft(1).commit()), (term, commit));
    assert_eq!(net.leaders_now(), [host(1)]);
}

#[test]
fn a_majority_that_can_talk_again_has_a_leader_within_a_beat() {
    let mut net = Net::new(&[1, 2, 3], &[], 5);
    net.elect_this(1);
    net.crash(1);
    net.cut_off(2, 3);
    net.ticks(20); // both ask in vain
    net.mend();
    net.tick_alone(2); // hosts do not beat in the same instant
    net.deliver();
    assert!(net.raft(2).is_leader(), "{}", net.describe());
}

#[test]
fn a_leader_that_lost_its_majority_leads_again_within_a_beat_of_its_return() {
    let mut net = Net::new(&[1, 2], &[], 5);
    net.elect_this(1);
    net.cut_off(1, 2);
    for _ in 0..20 {
        if net.raft(1).is_leader() {
            net.tick();
        }
    }
    assert_eq!(net.leaders_now(), [], "it knows that nobody answers");
    net.mend();
    net.tick_alone(1);
    net.deliver();
    assert_eq!(net.leaders_now(), [host(1)], "{}", net.describe());
}

#[test]
fn answers_that_wait_for_a_disk_that_hangs_have_a_limit() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.elect_this(1);
    net.ticks(2);
    net.disk(2, Disk::Hangs);
    net.propose(host(1), "it waits");
    net.ticks(4 * 3600);
    assert_eq!((net.raft(2).held.len(), net.leaders_now()), (MAX_HELD, vec![host(1)]));
    net.disk(2, Disk::Prompt);
    net.drain(host(2));
    net.ticks(4);
    net.propose(host(1), "it works again");
    net.deliver();
    assert!(net.has_applied(2, "it works again") && net.raft(2).held.is_empty());
}
