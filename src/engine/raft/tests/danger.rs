//! The dangers that the paper and the dissertation show in figures.

use super::*;

/// Figure 8 of the paper: an entry of an older term that is on a majority is not committed by that, and may be written over.
#[test]
fn an_entry_of_an_older_term_is_not_committed_by_counting() {
    let mut net = Net::new(&[1, 2, 3, 4, 5], &[], 1);
    net.elect_this(1);
    // (a) the first leader gets its entry to host 2 only.
    [3, 4, 5].into_iter().for_each(|other| net.cut_off(1, other));
    let index = net.propose(host(1), "two");
    net.deliver();
    assert!(!net.has_applied(1, "two"));
    // (b) it dies; host 5 leads by the votes of 3 and 4, and takes in another entry that reaches nobody.
    net.crash(1);
    net.mend();
    net.isolate(2);
    net.now = net.now + ELECTION * 3;
    net.elect_quietly(5);
    net.propose(host(5), "three");
    net.crash(5);
    net.wires.clear();
    // (c) the first is back, leads, and gets the old entry to a majority.
    net.mend();
    net.restart(1);
    net.now = net.now + ELECTION * 3;
    [4, 5].into_iter().for_each(|other| net.cut_off(1, other));
    net.isolate(4);
    let now = net.now;
    net.raft(1).stand(now, Ballot::Transfer); // in the term in which the others voted for host 5
    net.elect_quietly(1);
    // Of what follows only the old entry, and not the leader's own first, reaches host 3.
    net.tick_alone(1);
    while let Some((from, to, message)) = (!net.wires.is_empty()).then(|| net.wires.remove(0)) {
        let message = match message {
            RaftMessage::Append { term, previous, commit, entries } => RaftMessage::Append {
                term,
                previous,
                commit,
                entries: entries.into_iter().filter(|entry| entry.term < term).collect(),
            },
            other => other,
        };
        net.give(from, to, message);
    }
    let have = [1, 2, 3].into_iter().filter(|n| net.nodes[&host(*n)].raft.log.entry(index).is_some()).count();
    assert_eq!(have, 3, "the old entry is on a majority");
    assert!(net.raft(1).commit() < index, "and is not committed for it");
    // (d) so host 5 may lead again, and writes it over; the checks see that nothing that was committed is lost.
    net.crash(1);
    net.mend();
    net.restart(5);
    net.now = net.now + ELECTION * 3;
    net.elect();
    net.ticks(8);
}

#[test]
fn a_restarted_voter_remembers_its_vote() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    let ask = |last| RaftMessage::AskVote { term: 5, ballot: Ballot::Election, last, storage: storage(1) };
    let last = Position { term: 9, index: 9 };
    net.give(host(2), host(1), ask(last));
    let granted = |net: &mut Net| {
        net.wires.drain(..).any(|(_, _, message)| matches!(message, RaftMessage::Vote { granted: true, .. }))
    };
    assert!(granted(&mut net));
    net.crash(1);
    net.restart(1);
    net.give(host(3), host(1), ask(last));
    assert!(!granted(&mut net), "it voted for another in that term");
    net.give(host(2), host(1), ask(last));
    assert!(granted(&mut net), "the same vote may be told again");
}

#[test]
fn a_vote_leaves_only_once_it_is_on_disk() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.disk(1, Disk::Hangs);
    let last = Position { term: 9, index: 9 };
    net.give(
        host(2),
        host(1),
        RaftMessage::AskVote { term: 5, ballot: Ballot::Election, last, storage: storage(1) },
    );
    assert!(net.wires.is_empty(), "a vote that a crash would forget");
    net.disk(1, Disk::Prompt);
    net.drain(host(1));
    assert!(matches!(net.wires.as_slice(), [(_, _, RaftMessage::Vote { granted: true, .. })]));
}

#[test]
fn an_answer_that_was_held_for_the_disk_is_dropped_in_a_newer_term() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.elect_this(1);
    net.ticks(2);
    net.disk(2, Disk::Hangs);
    net.propose(host(1), "late");
    net.deliver();
    let last = Position { term: 9, index: 9 };
    net.now = net.now + ELECTION * 2;
    let term = net.raft(1).term() + 1;
    net.give(
        host(3),
        host(2),
        RaftMessage::AskVote { term, ballot: Ballot::Transfer, last, storage: storage(2) },
    );
    net.wires.clear();
    net.disk(2, Disk::Prompt);
    net.drain(host(2));
    let stale = net.wires.iter().any(|(_, _, message)| matches!(message, RaftMessage::Matched { .. }));
    assert!(!stale, "it has promised not to follow that leader any more");
}

/// Section 4.2.3: servers that are out, or were cut off, do not depose a leader that works.
#[test]
fn a_voter_that_was_cut_off_disturbs_nobody_when_it_is_back() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.elect_this(1);
    net.ticks(4);
    let term = net.raft(1).term();
    net.isolate(3);
    net.ticks(40);
    assert_eq!(net.raft(3).term(), term, "a trial changes no term");
    net.mend();
    net.ticks(20);
    assert_eq!(net.leaders_now(), [host(1)]);
    assert_eq!(net.raft(1).term(), term);
}

#[test]
fn a_removed_voter_disturbs_nobody() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.elect_this(1);
    net.ticks(4);
    net.isolate(3);
    let now = net.now;
    net.raft(1).change_voters(now, voters(&[1, 2])).expect("one goes");
    net.drain(host(1));
    net.deliver();
    net.mend();
    let term = net.raft(1).term();
    net.ticks(40); // it was never told, and still believes that it votes
    assert_eq!((net.leaders_now(), net.raft(1).term()), (vec![host(1)], term));
}

/// Hosts 1 and 2 cannot hear each other; both hear 3.
#[test]
fn a_partial_partition_leaves_the_leader_that_works() {
    for leader in [1, 3] {
        let mut net = Net::new(&[1, 2, 3], &[], u64::from(leader));
        net.elect_this(leader);
        net.ticks(4);
        let term = net.raft(leader).term();
        net.cut_off(1, 2);
        net.ticks(80);
        assert_eq!((net.leaders_now(), net.raft(leader).term()), (vec![host(leader)], term));
    }
}

/// The leader is cut off from all but one, who alone hears everybody (the case that stops protocols in which a leader is
/// believed as long as anybody hears it).
#[test]
fn a_majority_that_only_one_hears_gets_a_leader() {
    let mut net = Net::new(&[1, 2, 3, 4, 5], &[], 3);
    net.elect_this(1);
    net.ticks(4);
    for (a, b) in [(1, 2), (1, 4), (1, 5), (2, 4), (2, 5), (4, 5)] {
        net.cut_off(a, b);
    }
    net.ticks(60);
    assert_eq!(net.leaders_now(), [host(3)], "it alone reaches a majority");
}

#[test]
fn a_leader_without_a_majority_knows_it_within_the_election_timeout() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.elect_this(1);
    net.ticks(4);
    net.isolate(1);
    net.ticks(8); // twice the least election timeout
    assert!(!net.raft(1).is_leader());
    assert_eq!(net.raft(1).leader(), None);
}

/// The bug of the single-server change (Ongaro, raft-dev, 2015): two leaders, each with a change that the other does not
/// know, must not both commit.
#[test]
fn voters_change_only_after_the_leader_committed_in_its_term() {
    let mut net = Net::new(&[1, 2, 3, 4], &[5], 1);
    net.elect_this(1);
    net.isolate(1);
    let now = net.now;
    let lonely = net.raft(1).term() + 1;
    net.raft(1).stand(now, Ballot::Transfer);
    net.raft(1).finish(now);
    net.drain(host(1));
    net.wires.clear();
    for other in [2, 3] {
        let vote = RaftMessage::Vote {
            term: lonely,
            ballot: Ballot::Transfer,
            granted: true,
            storage: storage(other),
        };
        net.raft(1).handle(now, host(other), vote);
    }
    net.drain(host(1));
    assert!(net.raft(1).is_leader());
    assert_eq!(net.raft(1).change_voters(now, voters(&[1, 2, 3, 4, 5])), Err(Refused::NotYet));
    net.mend();
    net.ticks(2);
    let now = net.now;
    assert!(net.raft(1).change_voters(now, voters(&[1, 2, 3, 4, 5])).is_ok());
    assert_eq!(net.raft(1).change_voters(now, voters(&[1, 2, 3])), Err(Refused::NotYet), "one is under way");
}

#[test]
fn a_voter_that_lost_its_disk_does_not_vote_until_it_is_taken_in_again() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.elect_this(1);
    net.isolate(3);
    net.propose(host(1), "kept");
    net.deliver();
    assert!(net.has_applied(1, "kept"));
    net.crash(2);
    net.boot(host(2), Stored { storage: StorageId(999), ..Stored::default() });
    net.mend();
    net.crash(1); // what was committed is on no disk that may vote but the one that is down
    net.ticks(60);
    assert_eq!(net.leaders_now(), [], "host 3 and the empty host 2 must not elect anybody");
    net.restart(1);
    let leader = net.elect();
    assert_eq!(leader, host(1));
    net.ticks(8);
    let now = net.now;
    net.raft(1).change_voters(now, voters(&[1, 3])).expect("it goes");
    net.drain(host(1));
    net.deliver();
    let now = net.now;
    net.raft(1).set_learners(BTreeSet::from([host(2)]));
    net.ticks(8);
    assert!(net.raft(1).caught_up(host(2)));
    let mut back = voters(&[1, 3]);
    back.insert(host(2), StorageId(999));
    net.raft(1).change_voters(now, back).expect("it comes");
    net.drain(host(1));
    net.deliver();
    net.ticks(4);
    assert!(net.raft(2).is_voter());
}
