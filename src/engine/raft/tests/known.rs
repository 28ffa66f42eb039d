//! What went wrong in well-known implementations, retold: each names where it was told of.

use super::*;

fn text(words: &str) -> Payload {
    Payload::Data(words.as_bytes().to_vec())
}

fn entry(term: Term, words: &str) -> LogEntry {
    LogEntry { term, payload: text(words) }
}

/// A leader's append.
fn append(term: Term, (before, index): (Term, Index), commit: Index, entries: Vec<LogEntry>) -> RaftMessage {
    RaftMessage::Append { term, previous: Position { term: before, index }, commit, entries }
}

impl Net {
    /// Stands for election, and nobody hears it.
    fn stand_alone(&mut self, number: u32) {
        let now = self.now;
        self.raft(number).stand(now, Ballot::Election);
        self.raft(number).finish(now);
        self.drain(host(number));
        self.wires.retain(|(from, _, _)| *from != host(number));
    }

    /// What a host told, of all that is on the wires; they are empty then.
    fn said(&mut self, number: u32) -> Vec<RaftMessage> {
        self.wires
            .drain(..)
            .filter(|(from, _, _)| *from == host(number))
            .map(|(_, _, message)| message)
            .collect()
    }
}

/// etcd's TestFreeStuckCandidateWithCheckQuorum: a candidate of a newer term that nobody votes for heard no leader any more,
/// since each of them was of an older term.
#[test]
fn a_candidate_of_a_newer_term_is_freed_by_the_leader_that_it_cannot_follow() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.elect_this(1);
    net.isolate(3);
    net.propose(host(1), "it lacks this");
    net.ticks(4);
    (0..5).for_each(|_| net.stand_alone(3));
    let term = net.raft(3).term();
    net.mend();
    net.ticks(20);
    assert_eq!(net.leaders_now().len(), 1);
    assert!(net.leaders_now() != [host(3)] && net.raft(1).term() >= term);
    assert!(net.has_applied(3, "it lacks this"));
}

/// etcd #8243: after a partition the only two that are left have terms far apart, and each passed over the other's trial.
#[test]
fn two_of_terms_far_apart_elect_one_of_them() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.elect_this(1);
    net.isolate(3);
    for leader in [2, 1, 2, 1, 2] {
        net.elect_this(leader);
        net.tick();
    }
    assert!(net.raft(1).term() >= net.raft(3).term() + 4);
    net.crash(2);
    net.mend();
    assert_eq!(net.elect(), host(1), "its log is the newer one");
}

/// openraft #1796, and etcd #8501 before it: the newer log is in an older term, the newer term has the older log; neither wins,
/// and a trial tells nobody of the newer term.
#[test]
fn a_newer_log_of_an_older_term_wins_against_an_older_log_of_a_newer_term() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.elect_this(1);
    net.ticks(2);
    net.crash(3);
    net.isolate(1);
    net.propose(host(1), "on one disk");
    net.wires.clear();
    (0..6).for_each(|_| net.stand_alone(2));
    net.ticks(8);
    net.mend();
    assert_eq!(net.elect(), host(1));
    net.ticks(4);
    assert!(net.has_applied(2, "on one disk"));
}

/// etcd #9586: the leader is gone, and its followers begin their trials in the same moment.
#[test]
fn followers_that_try_in_the_same_moment_get_a_leader() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.elect_this(1);
    net.isolate(1);
    net.now = net.now + ELECTION * 4;
    for number in [2, 3] {
        let now = net.now;
        net.raft(number).try_if_able(now);
        net.raft(number).finish(now);
        net.drain(host(number));
    }
    net.deliver();
    net.ticks(40);
    let leaders: Vec<HostId> = net.leaders_now();
    assert!(leaders == [host(2)] || leaders == [host(3)], "{leaders:?}");
}

/// etcd's TestDuplicateVote: one voter that answers three times is one vote.
#[test]
fn a_vote_that_comes_again_counts_once() {
    let mut net = Net::new(&[1, 2, 3, 4, 5], &[], 1);
    net.isolate(1);
    net.stand_alone(1);
    net.mend();
    let term = net.raft(1).term();
    let vote = RaftMessage::Vote { term, ballot: Ballot::Election, granted: true, storage: storage(2) };
    (0..3).for_each(|_| net.give(host(2), host(1), vote.clone()));
    assert!(!net.raft(1).is_leader(), "two of five");
    net.give(
        host(3),
        host(1),
        RaftMessage::Vote { term, ballot: Ballot::Election, granted: true, storage: storage(3) },
    );
    assert!(net.raft(1).is_leader());
}

/// etcd #10166, #16220, cockroach #25173, dragonboat #254: a commit index beyond the follower's log ended the follower.
#[test]
fn a_commit_index_beyond_what_the_append_reaches_is_believed_up_to_there() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.give(host(1), host(2), append(2, (1, 1), 628, Vec::new()));
    assert_eq!(net.raft(2).commit(), 1);
    net.give(host(1), host(2), append(2, (1, 1), 1, vec![entry(2, "a"), entry(2, "b")]));
    assert_eq!(net.raft(2).commit(), 1);
    // Of what stands behind the append nothing is known: it may be another leader's.
    net.give(host(1), host(2), append(2, (1, 1), 628, vec![entry(2, "a")]));
    assert_eq!((net.raft(2).commit(), net.raft(2).last_index()), (2, 3));
}

/// An append that was late cut off what was acknowledged meanwhile (TigerBeetle's and others' notes on figure 2 of the paper:
/// only a conflict cuts).
#[test]
fn a_late_append_with_less_takes_nothing_back() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    let all = vec![entry(2, "a"), entry(2, "b"), entry(2, "c")];
    net.give(host(1), host(2), append(2, (1, 1), 1, all.clone()));
    net.said(2);
    net.give(host(1), host(2), append(2, (1, 1), 1, all[..1].to_vec()));
    assert_eq!(net.raft(2).last_index(), 4);
    let matched = RaftMessage::Matched { term: 2, index: 2, storage: storage(2) };
    assert_eq!(net.said(2), [matched], "and no more is claimed than was asked");
    // What stood behind it was never compared: another leader's shorter append does not vouch for it.
    net.give(host(3), host(2), append(3, (2, 2), 4, Vec::new()));
    assert_eq!(net.raft(2).commit(), 2);
}

/// etcd/raft #8, the ABA race of asynchronous writes, and etcd #1690: an entry is written, written over by another leader's, and
/// comes again; that the first write is durable says nothing of the third.
#[test]
fn a_write_that_was_written_over_makes_nothing_durable() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.disk(2, Disk::Hangs);
    net.give(host(1), host(2), append(2, (1, 1), 1, vec![entry(2, "a"), entry(2, "b")]));
    let first = net.nodes[&host(2)].unwritten.back().expect("it is ordered").number;
    net.give(host(3), host(2), append(3, (1, 1), 1, vec![entry(3, "x")]));
    net.give(host(1), host(2), append(4, (1, 1), 3, vec![entry(2, "a"), entry(2, "b")]));
    let now = net.now;
    net.raft(2).written(now, first);
    net.drain(host(2));
    assert_eq!(net.said(2), [], "nothing of it is on the disk for certain");
    assert!(!net.has_applied(2, "a"));
    net.disk(2, Disk::Prompt);
    net.drain(host(2));
    assert!(net.has_applied(2, "b"));
    assert!(net.said(2).contains(&RaftMessage::Matched { term: 4, index: 3, storage: storage(2) }));
}

/// etcd's TestRestart tests, raft-java #19: what is on disk is not committed for that, and what was committed is known again
/// only when a leader says it.
#[test]
fn after_a_restart_nothing_is_applied_before_it_is_known_to_be_committed() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.elect_this(1);
    net.ticks(2);
    net.propose(host(1), "everywhere");
    net.deliver();
    net.isolate(2);
    (0..3).for_each(|_| net.stand_alone(2));
    net.give(host(1), host(2), RaftMessage::StandNow { term: 0 });
    net.crash(2);
    net.restart(2);
    assert!(!net.has_applied(2, "everywhere"));
    net.ticks(40);
    assert!(!net.has_applied(2, "everywhere"), "alone it cannot know");
    net.mend();
    net.ticks(12);
    assert!(net.has_applied(2, "everywhere"));
}

/// Three voters, of which the third was cut off until the leader made all that it lacks into a snapshot.
fn behind(size: usize) -> Net {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.elect_this(1);
    net.isolate(3);
    let last = net.propose(host(1), "gone");
    net.deliver();
    let now = net.now;
    net.raft(1).compact(now, last, vec![42; size].into());
    net.drain(host(1));
    net.mend();
    net
}

/// Until some pages of the snapshot are here.
fn until_in_the_midst(net: &mut Net) {
    for _ in 0..8 {
        net.now = net.now + BEAT;
        net.tick_alone(1);
        while !net.wires.is_empty() {
            let (from, to, message) = net.wires.remove(0);
            net.give(from, to, message);
            if net.raft(3).incoming.is_some() && net.wires.len() > 8 {
                return;
            }
        }
    }
    panic!("no page came");
}

/// etcd #10225, dgraph #2707: who died in the midst of a snapshot never got another.
#[test]
fn a_host_that_dies_in_the_midst_of_a_snapshot_gets_it_from_the_beginning() {
    let mut net = behind(20_000);
    until_in_the_midst(&mut net);
    net.crash(3);
    net.restart(3);
    net.ticks(12);
    assert_eq!(net.raft(3).log.base(), net.raft(1).log.base());
}

/// etcd/raft #110 and #84: the leader makes another snapshot while the one before is on its way.
#[test]
fn a_newer_snapshot_in_the_midst_of_one_takes_its_place() {
    let mut net = behind(20_000);
    until_in_the_midst(&mut net);
    let late: Vec<_> = net.wires.drain(..).collect();
    net.cut_off(1, 3);
    let last = net.propose(host(1), "gone as well");
    net.deliver();
    let now = net.now;
    net.raft(1).compact(now, last, vec![43; 15_000].into());
    net.drain(host(1));
    net.mend();
    net.tick();
    net.wires.extend(late); // pages of the old one, and answers about it
    net.deliver();
    net.ticks(8);
    assert_eq!(net.raft(3).log.base().index, last);
    net.propose(host(1), "after");
    net.deliver();
    assert!(net.has_applied(3, "after"));
}

/// etcd #10308: after a snapshot up to the very end of the log the host was asked one message at a time for ever.
#[test]
fn who_is_caught_up_by_a_snapshot_gets_the_next_entry_at_once() {
    let mut net = behind(2000);
    net.ticks(4);
    net.wires.clear();
    net.propose(host(1), "next");
    net.propose(host(1), "and next");
    net.deliver();
    assert!(net.has_applied(3, "next") && net.has_applied(3, "and next"));
}

/// An old snapshot is no news (etcd's TestRestoreIgnoreSnapshot).
#[test]
fn a_snapshot_of_what_is_committed_here_is_not_taken() {
    let mut net = behind(100);
    net.ticks(6);
    net.propose(host(1), "newer");
    net.deliver();
    net.ticks(2);
    let (last, commit) = (net.raft(3).last_index(), net.raft(3).commit());
    let (term, position) = (net.raft(1).term(), net.raft(1).log.base());
    net.give(host(1), host(3), RaftMessage::Page { term, position, total: 4, offset: 0, bytes: vec![9; 4] });
    assert_eq!((net.raft(3).last_index(), net.raft(3).commit()), (last, commit));
    assert!(net.said(3).contains(&RaftMessage::Matched { term, index: commit, storage: storage(3) }));
}

/// etcd's TestMsgAppFlowControlMoveForward and its like: answers that are lost must not fill the window for good.
#[test]
fn answers_that_are_lost_do_not_close_the_window() {
    let mut net = Net::new(&[1, 2], &[], 1);
    net.elect_this(1);
    net.ticks(4);
    for nth in 0..40 {
        net.propose(host(1), &format!("lost {nth}"));
        net.propose(host(1), &format!("heard {nth}"));
        // Of two answers the first is lost.
        let appends: Vec<_> = net.wires.drain(..).collect();
        appends.into_iter().for_each(|(from, to, message)| net.give(from, to, message));
        let first =
            net.wires.iter().position(|(_, _, message)| matches!(message, RaftMessage::Matched { .. }));
        net.wires.remove(first.unwrap_or_else(|| panic!("round {nth}: nothing was sent")));
        net.deliver();
        assert!(net.has_applied(1, &format!("heard {nth}")), "round {nth}");
    }
}

/// Answers that were overtaken must not take a follower's place in the log back (etcd's TestLeaderAppResp, stale rejections).
#[test]
fn an_old_refusal_takes_nothing_back() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.elect_this(1);
    net.ticks(2);
    let matched = net.raft(1).progress[&host(2)].matched;
    let term = net.raft(1).term();
    for at in [0, 1, matched] {
        net.give(host(2), host(1), RaftMessage::Differs { term, at, hint: 0, storage: storage(2) });
        net.give(host(2), host(1), RaftMessage::Matched { term, index: at, storage: storage(2) });
    }
    assert_eq!(net.raft(1).progress[&host(2)].matched, matched);
    assert_eq!(net.said(1), []);
}

/// etcd's TestLeaderTransferToLearner, and to who lags: neither is told to stand.
#[test]
fn leadership_is_not_given_to_a_learner_or_to_who_lags() {
    let mut net = Net::new(&[1, 2, 3], &[4], 1);
    net.elect_this(1);
    net.raft(1).set_learners(BTreeSet::from([host(4)]));
    net.ticks(4);
    net.isolate(3);
    net.propose(host(1), "it lacks this");
    net.deliver();
    net.mend();
    net.wires.clear();
    for number in [3, 4, 9] {
        net.raft(1).transfer(host(number));
        net.drain(host(1));
    }
    assert_eq!(net.said(1), []);
    // And who is told all the same, but does not vote, does not stand.
    let term = net.raft(1).term();
    net.give(host(1), host(4), RaftMessage::StandNow { term });
    assert_eq!(net.raft(4).role(), Role::Follower);
    // Nor does anybody at the word of who does not lead.
    net.give(host(3), host(2), RaftMessage::StandNow { term });
    assert_eq!(net.raft(2).role(), Role::Follower);
}

/// etcd's TestCommitAfterRemoveNode: what waited for a voter that is dead is committed by its removal.
#[test]
fn what_waited_for_a_dead_voter_is_committed_when_it_is_taken_out() {
    let mut net = Net::new(&[1, 2, 3, 4], &[], 1);
    net.elect_this(1);
    net.ticks(2);
    net.crash(3);
    net.crash(4);
    net.propose(host(1), "two of four");
    net.deliver();
    assert!(!net.has_applied(1, "two of four"));
    let now = net.now;
    net.raft(1).change_voters(now, voters(&[1, 2, 3])).expect("one goes");
    net.drain(host(1));
    net.deliver();
    assert!(net.has_applied(1, "two of four"), "two of three");
}

/// Whose vote counts is what the asker's own log says last, committed or not; and who is asked votes though its own log does not
/// know that it may (section 4.2.2; etcd's tests of campaigns during a change).
#[test]
fn a_change_that_is_not_committed_counts_in_an_election() {
    let mut net = Net::new(&[1, 2, 3], &[4], 1);
    net.elect_this(1);
    net.raft(1).set_learners(BTreeSet::from([host(4)]));
    net.ticks(4);
    net.isolate(3);
    net.isolate(4);
    let now = net.now;
    net.raft(1).change_voters(now, voters(&[1, 2, 3, 4])).expect("one comes");
    net.drain(host(1));
    net.deliver(); // to host 2 only
    net.crash(1);
    net.mend();
    net.crash(4);
    net.ticks(60);
    assert_eq!(net.leaders_now(), [], "2 needs three of four, and 3 has not the newest log");
    net.restart(4);
    assert_eq!(net.elect(), host(2));
}

/// A leader whose change of the voters was never committed goes back to the voters before, when another one cuts it off.
#[test]
fn a_change_that_is_cut_off_is_undone() {
    let mut net = Net::new(&[1, 2, 3], &[4], 1);
    net.elect_this(1);
    net.ticks(4);
    net.isolate(1);
    let now = net.now;
    net.raft(1).change_voters(now, voters(&[1, 2])).expect("one goes");
    net.drain(host(1));
    net.wires.clear();
    assert_eq!(net.raft(1).voters().len(), 2);
    net.ticks(40);
    assert!(!net.raft(1).is_leader());
    net.mend();
    net.ticks(12);
    for number in 1..=3 {
        assert_eq!(net.raft(number).voters().len(), 3, "host {number}");
    }
    assert_eq!(net.leaders_now().len(), 1);
}

/// Figure 7 of the paper, after etcd's TestLeaderSyncFollowerLog: followers that lack entries, and have others, and both.
#[test]
fn every_follower_of_figure_7_gets_the_leaders_log() {
    let logs: [&[Term]; 7] = [
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6],
        &[1, 1, 1, 4],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        &[1, 1, 1, 4, 4, 4, 4],
        &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ];
    let mut net = Net::new(&[1, 2, 3, 4, 5, 6, 7], &[], 1);
    for (number, terms) in (1..).zip(logs) {
        let mut disk = net.nodes[&host(number)].disk.clone();
        disk.term = 7;
        let entries = (2_u64..).zip(terms);
        disk.entries = entries.map(|(index, term)| entry(*term, &format!("{index} of {term}"))).collect();
        net.crash(number);
        net.boot(host(number), disk);
    }
    net.elect_this(1);
    net.ticks(12);
    let leader = net.raft(1).last_index();
    assert_eq!(leader, 12, "what it had, and its own first");
    for number in 2..=7 {
        assert_eq!(
            (net.raft(number).commit(), net.raft(number).last_index()),
            (leader, leader),
            "host {number}"
        );
        for index in 2..=leader {
            let (own, its) =
                (net.raft(1).log.entry(index).cloned(), net.raft(number).log.entry(index).cloned());
            assert_eq!(own, its, "host {number} at {index}");
        }
    }
}

/// etcd #10166 once more: a follower whose disk lost what it had acknowledged is asked again from where it is, once it is known
/// to have been restarted; its answers were taken for old ones.
#[test]
fn a_follower_that_lost_the_end_of_its_log_gets_it_again() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.elect_this(1);
    net.ticks(2);
    for nth in 0..5 {
        net.propose(host(1), &format!("entry {nth}"));
        net.deliver();
    }
    net.ticks(2);
    let mut disk = net.nodes[&host(2)].disk.clone();
    disk.entries.truncate(2);
    net.crash(2);
    net.boot(host(2), disk);
    let now = net.now;
    net.raft(1).begins_anew(now, host(2));
    net.ticks(6);
    assert!(net.has_applied(2, "entry 4"));
}

/// Its disk is whole, and its word is good; but what led it is gone, and its followers would wait for it for one to two elections.
#[test]
fn a_leader_that_was_restarted_is_not_waited_for() {
    for seed in 0..20 {
        let mut net = Net::new(&[1, 2, 3], &[], seed);
        net.elect_this(1);
        net.ticks(2);
        net.restart(1);
        let now = net.now;
        for number in [2, 3] {
            net.raft(number).begins_anew(now, host(1));
            assert_eq!(net.raft(number).leader(), None);
        }
        net.ticks(3);
        assert_eq!(net.leaders_now().len(), 1, "{}", net.describe());
    }
}

#[test]
fn a_leader_hears_of_others_that_were_restarted_and_leads_on() {
    let mut net = Net::new(&[1, 2, 3], &[], 1);
    net.elect_this(1);
    net.restart(2);
    let (now, term) = (net.now, net.raft(1).term());
    net.raft(1).begins_anew(now, host(2));
    net.raft(3).begins_anew(now, host(2));
    net.ticks(6);
    assert_eq!((net.leaders_now(), net.raft(1).term()), (vec![host(1)], term));
}
