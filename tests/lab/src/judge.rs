//! Whether a group ran twice, by what was seen of it from outside. It asks nobody of Roost.
//!
//! A *runner* is one life of a group at one place: a QEMU process, or a guest's boot. When a newer runner has run, the older one
//! must never run again: a group that two run shows as runners that take turns.

use crate::record::Moment;
use std::collections::BTreeMap;
use std::time::Duration;

/// The runners of all groups.
pub struct Judge {
    /// How much later than it was a sight may come in.
    late: Duration,
    groups: BTreeMap<String, BTreeMap<String, Runner>>,
}

/// One runner of a group.
struct Runner {
    /// When it was first seen to have run.
    first: Moment,
    /// When a newer one was first seen to have run.
    followed: Option<Moment>,
}

impl Judge {
    /// One of sights that come in up to `late` after they were so.
    pub const fn new(late: Duration) -> Self {
        Self { late, groups: BTreeMap::new() }
    }

    /// `runner` ran between `from` and `to`. Says what is wrong with it.
    pub fn ran(&mut self, group: &str, runner: &str, from: Moment, to: Moment) -> Option<String> {
        let runners = self.groups.entry(group.to_owned()).or_default();
        if let Some(known) = runners.get(runner) {
            let followed = known.followed.filter(|followed| from > *followed + self.late)?;
            let newer =
                runners.iter().filter(|(_, other)| other.first >= followed).map(|(name, _)| name.as_str());
            return Some(format!(
                "'{group}' runs twice: {runner} ran until {:.2} s, but {} has run since {:.2} s",
                to.as_secs_f64(),
                newer.collect::<Vec<_>>().join(" and "),
                followed.as_secs_f64(),
            ));
        }
        for older in runners.values_mut().filter(|older| older.followed.is_none()) {
            older.followed = Some(to);
        }
        runners.insert(runner.to_owned(), Runner { first: to, followed: None });
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Moment {
        Duration::from_millis(ms)
    }

    #[test]
    fn one_after_the_other_is_well() {
        let mut judge = Judge::new(Duration::ZERO);
        assert_eq!(judge.ran("web", "h1", at(0), at(1)), None);
        assert_eq!(judge.ran("web", "h1", at(1), at(2)), None);
        assert_eq!(judge.ran("web", "h2", at(3), at(4)), None);
        assert_eq!(judge.ran("web", "h2", at(4), at(5)), None);
        assert_eq!(judge.ran("db", "h1", at(4), at(5)), None, "another group is another matter");
    }

    #[test]
    fn taking_turns_is_running_twice() {
        let mut judge = Judge::new(Duration::ZERO);
        judge.ran("web", "h1", at(0), at(1));
        judge.ran("web", "h2", at(2), at(3));
        let wrong = judge.ran("web", "h1", at(4), at(5)).expect("the older one ran again");
        assert!(wrong.contains("'web' runs twice: h1") && wrong.contains("but h2 has"), "{wrong}");
        assert_eq!(judge.ran("web", "h2", at(5), at(6)), None, "of the two, the older one is wrong");
    }

    #[test]
    fn what_comes_in_late_is_not_held_against_it() {
        let mut judge = Judge::new(at(500));
        judge.ran("web", "h1", at(0), at(200));
        judge.ran("web", "h2", at(200), at(400));
        assert_eq!(judge.ran("web", "h1", at(800), at(1000)), None);
        assert!(judge.ran("web", "h1", at(1000), at(1200)).is_some());
    }
}
