use super::*;
use roost_proto::cluster::raft::StorageId;

const ME: HostId = HostId(1);
const LEASE: Duration = Duration::from_secs(3);
const LIFE: Incarnation = Incarnation { start: 7, boot: 9 };

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn member() -> Member {
    Member::new(ME, LIFE, Duration::from_millis(250), LEASE, None, at(1000))
}

fn voters(ids: &[u32]) -> Voters {
    ids.iter().map(|id| (HostId(*id), StorageId(*id))).collect()
}

fn answer(member: &mut Member, now: u64, from: u32, echo: Echo) {
    let life = Incarnation { start: 1, boot: u64::from(from) };
    assert!(member.listens(at(now), HostId(from), life, LedgerId(1)));
    let beat = Beat { stamp: Stamp(now), echo: Some(echo), applied: 0, life: Life::Leased };
    member.beat(at(now), HostId(from), &beat);
}

fn echo(stamp: u64) -> Echo {
    Echo { start: low(LIFE), stamp: Stamp(stamp), admitted: true }
}

#[test]
fn the_lease_runs_from_the_stamp_that_a_majority_answered() {
    let mut member = member();
    let voters = voters(&[2, 3, 4]);
    assert_eq!(member.lease_until(&voters), None);
    answer(&mut member, 2000, 2, echo(1900));
    assert_eq!(member.lease_until(&voters), None, "one of three is no majority");
    answer(&mut member, 2000, 3, echo(1500));
    assert_eq!(member.lease_until(&voters), Some(at(1500) + LEASE));
    answer(&mut member, 2000, 4, echo(1800));
    assert_eq!(member.lease_until(&voters), Some(at(1800) + LEASE));
    answer(&mut member, 2100, 4, echo(1200));
    assert_eq!(member.lease_until(&voters), Some(at(1800) + LEASE), "an old answer takes nothing back");
}

#[test]
fn of_an_even_number_more_than_half_must_answer() {
    let mut member = member();
    member.answer_self(at(2000));
    assert_eq!(member.lease_until(&voters(&[1])), Some(at(2000) + LEASE));
    assert_eq!(member.lease_until(&voters(&[1, 2])), None);
    answer(&mut member, 2000, 2, echo(1700));
    assert_eq!(member.lease_until(&voters(&[1, 2])), Some(at(1700) + LEASE));
    assert_eq!(member.lease_until(&voters(&[1, 2, 3, 4])), None);
}

#[test]
fn answers_to_another_life_from_the_future_or_without_admission_count_for_nothing() {
    let mut member = member();
    let voters = voters(&[2]);
    answer(&mut member, 2000, 2, Echo { start: low(LIFE) - 1, ..echo(1900) });
    answer(&mut member, 2000, 2, echo(2001));
    answer(&mut member, 2000, 2, Echo { admitted: false, ..echo(1900) });
    assert_eq!(member.lease_until(&voters), None);
}

#[test]
fn what_the_life_before_had_left_counts_until_there_is_more() {
    let mut member = Member::new(ME, LIFE, Duration::from_millis(250), LEASE, Some(at(3500)), at(1000));
    assert_eq!(member.lease_until(&voters(&[2])), Some(at(3500)));
    answer(&mut member, 2000, 2, echo(1900));
    assert_eq!(member.lease_until(&voters(&[2])), Some(at(1900) + LEASE));
}

#[test]
fn a_voter_knows_when_it_answered_last_and_after_a_restart_takes_its_start_for_it() {
    let mut member = member();
    let (host, life) = (HostId(2), Incarnation { start: 1, boot: 2 });
    assert_eq!(member.last_answered(host), at(1000));
    answer(&mut member, 2000, 2, echo(1900));
    member.beat_for(at(2100), host, false, 0, Life::Leased);
    assert_eq!(member.last_answered(host), at(1000), "an echo without admission is no answer");
    member.beat_for(at(2200), host, true, 0, Life::Leased);
    member.beat_for(at(2900), host, true, 0, Life::Leased);
    assert_eq!(member.last_answered(host), at(2000), "the beat that was answered came then");
    // The next life has carried that lease over, though this voter may never answer it.
    let next = Incarnation { start: 2, boot: 2 };
    assert!(member.listens(at(3000), host, next, LedgerId(1)));
    assert_eq!(member.last_answered(host), at(2000), "a new life hides nothing");
    assert!(!member.listens(at(3000), host, life, LedgerId(1)), "the life before is over");
}

#[test]
fn a_host_that_hears_nothing_is_as_good_as_silent() {
    let mut member = member();
    let host = HostId(2);
    assert_eq!(member.silence(at(1600), host), Silence { age: Duration::from_millis(600), life: None });
    answer(&mut member, 2000, 2, echo(2000));
    for now in (2250..=8000).step_by(250) {
        answer(&mut member, now, 2, echo(2000)); // its beats come, and ours do not arrive there
    }
    assert_eq!(member.silence(at(8000), host).age, Duration::from_millis(5000));
    for now in (8250..=9000).step_by(250) {
        answer(&mut member, now, 2, echo(now - 500));
    }
    assert_eq!(member.silence(at(9000), host).age, Duration::ZERO);
}

#[test]
fn what_a_voter_granted_lasts_across_its_restart() {
    let mut member = member();
    let voters = voters(&[2]);
    answer(&mut member, 2000, 2, echo(1900));
    assert!(member.listens(at(2100), HostId(2), Incarnation { start: 2, boot: 2 }, LedgerId(1)));
    assert_eq!(member.lease_until(&voters), Some(at(1900) + LEASE));
}
