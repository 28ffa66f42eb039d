use super::*;
use crate::engine::keeper::vm::{Happened, Off, Paused, Progress, Run};

const PERIOD: Duration = Duration::from_secs(2);

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn up(run: Run, life: u32) -> Basics {
    Basics { run, life: Some(life), autostart: false }
}

const fn off(why: Off) -> Basics {
    Basics { run: Run::Off(why), life: None, autostart: false }
}

fn look(basics: Basics) -> Result<Answer, CallError> {
    let cpu_ns = u64::from(basics.life.unwrap_or_default()) * 1000;
    Ok(Answer::One(Some(Look { basics, cpu_ns, cid: basics.life.map(|_| 7), need: None })))
}

fn all(domains: &[(&str, Basics)]) -> Result<Answer, CallError> {
    Ok(Answer::All(domains.iter().map(|(name, basics)| ((*name).to_owned(), *basics)).collect()))
}

fn named(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Asks as long as there is something to ask; the slots and the questions.
fn asks(watch: &mut Watch, now: Instant) -> Vec<(usize, Ask)> {
    core::iter::from_fn(|| watch.poll_ask(now)).collect()
}

fn ask(watch: &mut Watch, now: Instant) -> (usize, Ask) {
    let mut asked = asks(watch, now);
    assert_eq!(asked.len(), 1, "{asked:?}");
    asked.remove(0)
}

fn one(name: &str) -> Ask {
    Ask::One(name.to_owned())
}

fn count(names: &[&str]) -> Ask {
    Ask::Count(names.iter().map(|name| (*name).to_owned()).collect())
}

fn outputs(watch: &mut Watch) -> Vec<Output> {
    core::iter::from_fn(|| watch.poll_output()).collect()
}

/// What is told of domains: name, run, life, what happened.
fn told(watch: &mut Watch) -> Vec<(String, Run, Option<u32>, Option<Happened>)> {
    outputs(watch)
        .into_iter()
        .filter_map(|output| match output {
            Output::Domain(LibvirtInput::Domain { name, view, happened }) => {
                Some((name, view.run, view.life, happened))
            }
            _ => None,
        })
        .collect()
}

/// Answers whatever is asked, from what the domains are, until nothing more is asked.
fn serve(watch: &mut Watch, now: Instant, domains: &[(&str, Basics)]) {
    let find = |name: &str| domains.iter().find(|(n, _)| *n == name).map(|(_, basics)| *basics);
    loop {
        let asked = asks(watch, now);
        if asked.is_empty() {
            return;
        }
        for (slot, ask) in asked {
            let answer = match &ask {
                Ask::All(_) => all(domains),
                Ask::One(name) => find(name).map_or(Ok(Answer::One(None)), look),
                Ask::Count(names) => Ok(Answer::Count(names.iter().map(|name| (name.clone(), 5)).collect())),
                Ask::Ping => Ok(Answer::Ping),
                Ask::Probe(..) => Ok(Answer::Probe(Job::None, Some(1))),
            };
            watch.answered(slot, answer);
        }
    }
}

/// A watch that is connected and has seen these domains.
fn watching(domains: &[(&str, Basics)]) -> Watch {
    let mut watch = Watch::new(PERIOD);
    watch.watch(domains.iter().map(|(name, _)| (*name).to_owned()).collect());
    watch.link_up(at(0));
    serve(&mut watch, at(0), domains);
    outputs(&mut watch);
    watch
}

#[test]
fn everything_is_found_by_listing() {
    let mut watch = Watch::new(PERIOD);
    watch.watch(named(&["a", "b", "c"]));
    assert_eq!(asks(&mut watch, at(0)), []);
    watch.link_up(at(0));
    let domains = [("a", up(Run::Running, 3)), ("b", off(Off::Unknown)), ("other", up(Run::Running, 9))];
    serve(&mut watch, at(0), &domains);
    let said = outputs(&mut watch);
    assert_eq!(said[0], Output::Answers);
    let mut seen: Vec<_> = said
        .iter()
        .filter_map(|output| match output {
            Output::Domain(LibvirtInput::Domain { name, view, .. }) => {
                Some((name.as_str(), view.run, view.cid))
            }
            _ => None,
        })
        .collect();
    seen.sort_by_key(|(name, ..)| *name);
    seen.dedup();
    let (b, c) = (("b", Run::Off(Off::Unknown), None), ("c", Run::Undefined, None));
    assert_eq!(seen, [("a", Run::Running, Some(7)), b, c]);
}

#[test]
fn an_event_leads_to_a_look_at_once_and_its_cause_comes_with_it() {
    let mut watch = watching(&[("a", up(Run::Running, 3))]);
    watch.event("a", Cue::Happened(Happened::Stopped(Off::Destroyed)));
    watch.event("unknown", Cue::Changed);
    let (slot, asked) = ask(&mut watch, at(100));
    assert_eq!(asked, one("a"));
    watch.answered(slot, look(off(Off::Destroyed)));
    let stopped = Some(Happened::Stopped(Off::Destroyed));
    assert_eq!(told(&mut watch), [("a".to_owned(), Run::Off(Off::Destroyed), None, stopped)]);
}

#[test]
fn no_cause_is_lost_while_a_look_is_under_way() {
    let mut watch = watching(&[("a", up(Run::Running, 3))]);
    watch.event("a", Cue::Happened(Happened::Stopped(Off::Destroyed)));
    let (slot, _) = ask(&mut watch, at(100));
    watch.event("a", Cue::Happened(Happened::Started));
    assert_eq!(asks(&mut watch, at(100)), []);
    watch.answered(slot, look(off(Off::Destroyed)));
    let stopped = Some(Happened::Stopped(Off::Destroyed));
    assert_eq!(told(&mut watch), [("a".to_owned(), Run::Off(Off::Destroyed), None, stopped)]);
    // The second event wants a look of its own: the first began before it.
    let (slot, asked) = ask(&mut watch, at(100));
    assert_eq!(asked, one("a"));
    watch.answered(slot, look(up(Run::Running, 4)));
    assert_eq!(told(&mut watch), [("a".to_owned(), Run::Running, Some(4), Some(Happened::Started))]);
}

#[test]
fn causes_that_came_together_are_told_one_by_one() {
    let mut watch = watching(&[("a", up(Run::Running, 3))]);
    watch.event("a", Cue::Happened(Happened::Stopped(Off::Destroyed)));
    watch.event("a", Cue::Happened(Happened::Started));
    let (slot, _) = ask(&mut watch, at(100));
    watch.answered(slot, look(up(Run::Running, 4)));
    let causes: Vec<_> = told(&mut watch).into_iter().map(|(.., happened)| happened).collect();
    assert_eq!(causes, [Some(Happened::Stopped(Off::Destroyed)), Some(Happened::Started)]);
}

#[test]
fn a_start_is_no_resumption() {
    let mut watch = watching(&[("a", off(Off::Unknown)), ("b", up(Run::Paused(Paused::User), 7))]);
    for name in ["a", "b"] {
        watch.event(name, Cue::Happened(Happened::Resumed));
        let (slot, _) = ask(&mut watch, at(100));
        watch.answered(slot, look(up(Run::Running, 7)));
        let happened = told(&mut watch).remove(0).3;
        assert_eq!(happened, (name == "b").then_some(Happened::Resumed));
        serve(&mut watch, at(100), &[]);
        outputs(&mut watch);
    }
}

#[test]
fn a_cause_does_not_come_with_a_view_from_before_it() {
    let mut watch = watching(&[("a", up(Run::Running, 3))]);
    watch.handle_timeout(at(2000));
    let (slot, _) = ask(&mut watch, at(2000));
    watch.answered(slot, all(&[("a", up(Run::Running, 3))]));
    let (slot, _) = ask(&mut watch, at(2000));
    let stopped = Happened::Stopped(Off::Failed);
    watch.event("a", Cue::Happened(stopped));
    watch.answered(slot, Ok(Answer::Count(vec![("a".to_owned(), 99)])));
    assert_eq!(told(&mut watch), [("a".to_owned(), Run::Running, Some(3), None)]);
    let looked = asks(&mut watch, at(2000)).into_iter().find(|(_, ask)| *ask == one("a")).expect("a look");
    watch.answered(looked.0, look(off(Off::Crashed)));
    // The event knows better than the state why it is off.
    assert_eq!(told(&mut watch), [("a".to_owned(), Run::Off(Off::Failed), None, Some(stopped))]);
    serve(&mut watch, at(4000), &[("a", off(Off::Crashed))]);
    watch.handle_timeout(at(4000));
    serve(&mut watch, at(4000), &[("a", off(Off::Crashed))]);
    assert_eq!(told(&mut watch).last().map(|(_, run, ..)| *run), Some(Run::Off(Off::Failed)));
}

#[test]
fn causes_are_bounded() {
    let mut watch = watching(&[("a", up(Run::Running, 3))]);
    (0..100).for_each(|_| watch.event("a", Cue::Happened(Happened::Rebooted)));
    let (slot, _) = ask(&mut watch, at(100));
    watch.answered(slot, look(up(Run::Running, 3)));
    assert_eq!(told(&mut watch).len(), 16);
}

#[test]
fn a_signal_to_qemu_is_not_the_guests_shutdown() {
    let mut watch = watching(&[("a", up(Run::Running, 3))]);
    watch.event("a", Cue::EndedFromHost);
    let (slot, _) = ask(&mut watch, at(100));
    watch.answered(slot, look(up(Run::ShuttingDown, 3)));
    watch.event("a", Cue::Happened(Happened::Stopped(Off::Shutdown)));
    outputs(&mut watch);
    serve(&mut watch, at(100), &[("a", off(Off::Shutdown))]);
    let pulled = ("a".to_owned(), Run::Off(Off::Destroyed), None, Some(Happened::Stopped(Off::Destroyed)));
    assert_eq!(told(&mut watch), [pulled]);
    // The next life's own shutdown is one.
    serve(&mut watch, at(2000), &[("a", up(Run::Running, 4))]);
    watch.handle_timeout(at(2000));
    serve(&mut watch, at(2000), &[("a", up(Run::Running, 4))]);
    outputs(&mut watch);
    watch.event("a", Cue::Happened(Happened::Stopped(Off::Shutdown)));
    serve(&mut watch, at(2100), &[("a", off(Off::Shutdown))]);
    let down = ("a".to_owned(), Run::Off(Off::Shutdown), None, Some(Happened::Stopped(Off::Shutdown)));
    assert_eq!(told(&mut watch), [down]);
    // And so is the state of a life whose end no event told.
    for (now, basics) in [(4000, up(Run::Running, 5)), (6000, off(Off::Crashed))] {
        watch.handle_timeout(at(now));
        serve(&mut watch, at(now), &[("a", basics)]);
    }
    assert_eq!(told(&mut watch).last().map(|(_, run, ..)| *run), Some(Run::Off(Off::Crashed)));
}

#[test]
fn a_poll_tells_of_every_domain_and_looks_closer_at_what_changed() {
    let before = [("a", up(Run::Running, 3)), ("b", up(Run::Running, 4)), ("c", off(Off::Unknown))];
    let mut watch = watching(&before);
    assert_eq!(watch.poll_timeout(), Some(at(2000)));
    watch.handle_timeout(at(2000));
    let (slot, asked) = ask(&mut watch, at(2000));
    assert_eq!(asked, Ask::All(Arc::new(named(&["a", "b", "c"]))));
    let after =
        [("a", up(Run::Running, 3)), ("b", up(Run::Paused(Paused::User), 4)), ("c", off(Off::Unknown))];
    watch.answered(slot, all(&after));
    assert_eq!(told(&mut watch).len(), 1); // "c", of which there is no more to know
    let (slot, asked) = ask(&mut watch, at(2000));
    assert_eq!(asked, one("b"));
    watch.answered(slot, look(up(Run::Paused(Paused::User), 4)));
    let asked = asks(&mut watch, at(2000));
    assert!(asked.iter().any(|(_, ask)| *ask == count(&["a"])), "{asked:?}");
}

/// One poll of a domain that runs, in which its vCPUs' time is `cpu_ns`; what it is probed for, and then has this job.
fn poll(watch: &mut Watch, now: u64, cpu_ns: u64, job: Job) -> Option<Disks> {
    watch.handle_timeout(at(now));
    let (slot, _) = ask(watch, at(now));
    watch.answered(slot, all(&[("a", up(Run::Running, 3))]));
    let (slot, asked) = ask(watch, at(now));
    assert_eq!(asked, count(&["a"]));
    watch.answered(slot, Ok(Answer::Count(vec![("a".to_owned(), cpu_ns)])));
    let (slot, asked) = asks(watch, at(now)).pop()?;
    watch.answered(slot, Ok(Answer::Probe(job, Some(1))));
    match asked {
        Ask::Probe(_, Some(3), disks) => Some(disks),
        other => panic!("{other:?}"),
    }
}

#[test]
fn disks_are_asked_about_when_vcpus_stand_still() {
    let mut watch = watching(&[("a", up(Run::Running, 3))]);
    assert_eq!(poll(&mut watch, 2000, 10, Job::None), None);
    assert_eq!(poll(&mut watch, 4000, 10, Job::None), None);
    assert_eq!(poll(&mut watch, 6000, 10, Job::None), Some(Disks::Due));
    assert_eq!(poll(&mut watch, 8000, 10, Job::None), Some(Disks::Due));
    assert_eq!(poll(&mut watch, 10_000, 20, Job::None), None);
}

#[test]
fn jobs_are_asked_about_each_third_poll_and_each_while_there_is_one() {
    let mut watch = watching(&[("a", up(Run::Running, 3))]);
    let known = Some(Disks::Known);
    assert_eq!(poll(&mut watch, 2000, 10, Job::None), None);
    assert_eq!(poll(&mut watch, 4000, 20, Job::None), None);
    assert_eq!(poll(&mut watch, 6000, 30, Job::Migration), known);
    assert_eq!(poll(&mut watch, 8000, 40, Job::Migration), known);
    assert_eq!(poll(&mut watch, 10_000, 50, Job::None), known);
    assert_eq!(poll(&mut watch, 12_000, 60, Job::None), None);
}

#[test]
fn a_probe_of_an_earlier_life_tells_nothing() {
    let mut watch = Watch::new(PERIOD);
    watch.watch(named(&["a"]));
    watch.link_up(at(0));
    let (slot, _) = ask(&mut watch, at(0));
    watch.answered(slot, all(&[("a", up(Run::Running, 3))]));
    let (slot, _) = ask(&mut watch, at(0));
    watch.answered(slot, look(up(Run::Running, 3)));
    let (probe, asked) = ask(&mut watch, at(0));
    assert_eq!(asked, Ask::Probe("a".to_owned(), Some(3), Disks::Due));
    watch.event("a", Cue::Happened(Happened::Started));
    let (slot, _) = ask(&mut watch, at(1));
    watch.answered(slot, look(up(Run::Running, 4)));
    outputs(&mut watch);
    watch.answered(probe, Ok(Answer::Probe(Job::Migration, Some(99))));
    assert_eq!(outputs(&mut watch), []);
}

#[test]
fn a_stuck_qemu_blinds_nothing_but_its_own_probe() {
    let domains = [("a", up(Run::Running, 3)), ("b", up(Run::Running, 4))];
    let mut watch = watching(&domains);
    let mut stuck = None;
    for round in 1..5_u64 {
        let now = at(2000 * round);
        watch.handle_timeout(now);
        let mut seen = BTreeSet::new();
        loop {
            let asked = asks(&mut watch, now);
            if asked.is_empty() {
                break;
            }
            for (slot, ask) in asked {
                match ask {
                    Ask::Probe(name, ..) if name == "a" => {
                        assert_eq!(stuck, None, "a second probe joins the first");
                        stuck = Some(slot);
                    }
                    Ask::Probe(..) => watch.answered(slot, Ok(Answer::Probe(Job::None, Some(round)))),
                    Ask::All(_) => watch.answered(slot, all(&domains)),
                    Ask::Count(names) => {
                        seen.extend(names.iter().cloned());
                        watch.answered(
                            slot,
                            Ok(Answer::Count(names.into_iter().map(|name| (name, 5)).collect())),
                        );
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(seen, named(&["a", "b"]));
    }
    let notes = outputs(&mut watch).into_iter().filter(|output| matches!(output, Output::Note(_))).count();
    assert_eq!(notes, 1);
    watch.answered(stuck.expect("it was probed"), Ok(Answer::Probe(Job::Migration, Some(9))));
    assert_eq!(outputs(&mut watch), [], "what it says is too old");
}

#[test]
fn many_stuck_qemus_leave_room_for_what_is_safe() {
    let names = ["a", "b", "c", "d", "e"];
    let domains = names.map(|name| (name, up(Run::Running, 3)));
    let mut watch = Watch::new(PERIOD);
    watch.watch(named(&names));
    watch.link_up(at(0));
    let mut probes = Vec::new();
    for round in 0..4_u64 {
        let now = at(2000 * round);
        watch.handle_timeout(now);
        loop {
            let asked = asks(&mut watch, now);
            if asked.is_empty() {
                break;
            }
            for (slot, ask) in asked {
                match ask {
                    Ask::Probe(name, ..) => probes.push(name),
                    Ask::All(_) => watch.answered(slot, all(&domains)),
                    Ask::One(_) => watch.answered(slot, look(up(Run::Running, 3))),
                    Ask::Count(names) => {
                        watch.answered(
                            slot,
                            Ok(Answer::Count(names.into_iter().map(|name| (name, round)).collect())),
                        );
                    }
                    Ask::Ping => panic!("nothing safe is late"),
                }
            }
        }
        let seen: BTreeSet<_> = told(&mut watch).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(seen, named(&names));
    }
    assert_eq!(probes, ["a", "b"]);
}

#[test]
fn a_domain_that_libvirt_holds_locked_blinds_nothing_but_itself() {
    let domains = [("a", up(Run::Running, 3)), ("b", up(Run::Running, 4))];
    let mut watch = watching(&domains);
    watch.handle_timeout(at(2000));
    let (listing, _) = ask(&mut watch, at(2000));
    watch.handle_timeout(at(3000));
    let (slot, asked) = ask(&mut watch, at(3000));
    assert_eq!(asked, Ask::Ping);
    watch.answered(slot, Ok(Answer::Ping));
    watch.handle_timeout(at(4000));
    let (locked, asked) = ask(&mut watch, at(4000));
    assert_eq!(asked, one("a"));
    outputs(&mut watch);
    for round in 5..20_u64 {
        let now = at(1000 * round);
        watch.handle_timeout(now);
        serve(&mut watch, now, &domains);
    }
    let said = outputs(&mut watch);
    let about = |name: &str| {
        said.iter()
            .filter(|o| matches!(o, Output::Domain(LibvirtInput::Domain { name: n, .. }) if n == name))
            .count()
    };
    assert!(!said.iter().any(|output| matches!(output, Output::Mute(_))));
    assert_eq!(about("a"), 0);
    assert!(about("b") >= 5, "{said:?}");
    // It is let go.
    watch.answered(locked, look(up(Run::Running, 3)));
    watch.answered(listing, all(&domains));
    serve(&mut watch, at(20_000), &domains);
    assert!(told(&mut watch).iter().any(|(name, ..)| name == "a"));
}

#[test]
fn counters_that_hang_on_one_domain_are_had_of_the_others() {
    let names: Vec<String> = (0..10).map(|n| format!("vm{n}")).collect();
    let domains: Vec<_> = names.iter().map(|name| (name.as_str(), up(Run::Running, 3))).collect();
    let mut watch = watching(&domains);
    watch.handle_timeout(at(2000));
    let (slot, _) = ask(&mut watch, at(2000));
    watch.answered(slot, all(&domains));
    let (_, asked) = ask(&mut watch, at(2000));
    assert!(matches!(&asked, Ask::Count(names) if names.len() == COUNTED_AT_ONCE), "{asked:?}");
    watch.handle_timeout(at(3000));
    outputs(&mut watch);
    let mut locked = None;
    let mut seen = BTreeSet::new();
    for round in 3..8_u64 {
        watch.handle_timeout(at(1000 * round));
        loop {
            let asked = asks(&mut watch, at(1000 * round));
            if asked.is_empty() {
                break;
            }
            for (slot, ask) in asked {
                match ask {
                    Ask::One(name) if name == "vm0" => {
                        assert_eq!(locked.replace(slot), None, "it is asked for again");
                    }
                    Ask::One(_) => watch.answered(slot, look(up(Run::Running, 3))),
                    Ask::Count(names) => {
                        assert!(!names.contains(&"vm0".to_owned()), "it would hang as well");
                        watch.answered(slot, Ok(Answer::Count(Vec::new())));
                    }
                    Ask::All(_) => watch.answered(slot, all(&domains)),
                    Ask::Ping => watch.answered(slot, Ok(Answer::Ping)),
                    Ask::Probe(..) => watch.answered(slot, Ok(Answer::Probe(Job::None, None))),
                }
            }
        }
        seen.extend(told(&mut watch).into_iter().map(|(name, ..)| name));
    }
    assert_eq!(seen, names[1..].iter().cloned().collect());
}

#[test]
fn a_libvirt_that_answers_nothing_is_mute_within_its_limit() {
    let mut watch = watching(&[("a", up(Run::Running, 3))]);
    let mut calls = Vec::new();
    let mut now = at(0);
    let mut mute = None;
    while mute.is_none() && now < at(10_000) {
        now = watch.poll_timeout().expect("a mute libvirt is timed");
        watch.handle_timeout(now);
        calls.extend(asks(&mut watch, now));
        mute = outputs(&mut watch).into_iter().any(|output| matches!(output, Output::Mute(_))).then_some(now);
    }
    assert_eq!(mute, Some(Instant::default() + PERIOD + SAFE_LIMIT + PING_LIMIT));
    assert_eq!(calls.len(), 2, "no more is asked of it: {calls:?}");
    assert_eq!(watch.poll_timeout(), None);
    watch.event("a", Cue::Changed);
    assert_eq!(asks(&mut watch, now), []);
    // It goes on: the late answers are not believed, and everything is asked for.
    for (slot, ask) in calls {
        let late = if ask == Ask::Ping { Ok(Answer::Ping) } else { all(&[("a", off(Off::Unknown))]) };
        watch.answered(slot, late);
    }
    let (slot, asked) = ask(&mut watch, at(9000));
    assert_eq!(asked, Ask::Ping);
    watch.answered(slot, Ok(Answer::Ping));
    let (slot, asked) = ask(&mut watch, at(9000));
    assert_eq!(asked, one("a"), "nothing that was known before holds");
    watch.answered(slot, look(up(Run::Running, 3)));
    serve(&mut watch, at(9000), &[("a", up(Run::Running, 3))]);
    let said = outputs(&mut watch);
    assert_eq!(said[0], Output::Answers);
    assert!(
        !said
            .iter()
            .any(|o| matches!(o, Output::Domain(LibvirtInput::Domain { view, .. }) if view.life.is_none()))
    );
}

#[test]
fn a_libvirt_that_never_lists_is_served_domain_by_domain() {
    let mut watch = Watch::new(PERIOD);
    watch.watch(named(&["a"]));
    watch.link_up(at(0));
    ask(&mut watch, at(0));
    watch.handle_timeout(at(1000));
    serve(&mut watch, at(1000), &[("a", up(Run::Running, 3))]);
    let said = outputs(&mut watch);
    assert_eq!(said[0], Output::Answers);
    assert!(matches!(&said[1], Output::Domain(_)));
}

#[test]
fn a_listing_that_is_refused_is_told() {
    let mut watch = Watch::new(PERIOD);
    watch.link_up(at(0));
    let (slot, _) = ask(&mut watch, at(0));
    watch.answered(slot, Err(CallError::Denied("no".to_owned())));
    let said = outputs(&mut watch);
    assert!(matches!(&said[..], [Output::Mute(reason)] if reason.starts_with("no")), "{said:?}");
    watch.handle_timeout(at(2000));
    assert!(matches!(ask(&mut watch, at(2000)).1, Ask::All(_)));
}

#[test]
fn a_connection_that_went_away_takes_what_was_known_with_it() {
    let mut watch = watching(&[("a", up(Run::Running, 3))]);
    watch.handle_timeout(at(2000));
    let (slot, _) = ask(&mut watch, at(2000));
    watch.link_down(at(2100));
    assert_eq!(asks(&mut watch, at(2100)), []);
    assert_eq!(watch.poll_timeout(), None);
    watch.link_up(at(2200));
    let (second, _) = ask(&mut watch, at(2200));
    assert_ne!(slot, second, "the old call has its slot still");
    watch.answered(slot, Err(CallError::Gone("eof".to_owned())));
    assert_eq!(outputs(&mut watch), [], "it says nothing of the new connection");
    watch.answered(second, Err(CallError::Gone("eof".to_owned())));
    assert_eq!(outputs(&mut watch), [Output::Gone("eof".to_owned())]);
}

#[test]
fn a_life_begins_with_fresh_counters() {
    let mut watch = watching(&[("a", up(Run::Running, 3))]);
    watch.event("a", Cue::Happened(Happened::Started));
    let (slot, _) = ask(&mut watch, at(100));
    watch.answered(slot, look(up(Run::Running, 4)));
    let said = outputs(&mut watch);
    let Some(Output::Domain(LibvirtInput::Domain { view, .. })) = said.first() else { panic!("{said:?}") };
    assert_eq!(view.progress, Progress { cpu_ns: 4000, disk_requests: 0 });
}

#[test]
fn what_is_watched_can_change() {
    let mut watch = watching(&[("a", up(Run::Running, 3))]);
    watch.watch(named(&["b"]));
    let (slot, asked) = ask(&mut watch, at(100));
    assert_eq!(asked, one("b"));
    watch.event("a", Cue::Changed);
    watch.answered(slot, Ok(Answer::One(None)));
    assert_eq!(told(&mut watch), [("b".to_owned(), Run::Undefined, None, None)]);
    assert_eq!(asks(&mut watch, at(100)), []);
}
