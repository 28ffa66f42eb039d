//! What this host reports to the leader: its groups and its room, each change numbered, and sent until it is heard.

use roost_proto::cluster::{GroupReport, GroupState, Message, Report, Room};
use std::collections::BTreeMap;

/// Encoded bytes of groups in one report, at most: with its head it fits a datagram.
const PAGE: usize = 900;
/// Free memory changes all the time; by less than this many MiB it is not told.
const ROOM_STEP_MIB: u32 = 256;

/// The reporter.
#[derive(Debug, Default)]
pub struct Reporter {
    newest: u64,
    room: Option<Room>,
    groups: BTreeMap<String, (u64, GroupReport)>,
    /// Which term's leader has heard how much.
    heard: (u64, u64),
}

impl Reporter {
    /// The host's room, as it is now.
    pub fn room(&mut self, room: Option<Room>) {
        let same = match (self.room, room) {
            (Some(told), Some(now)) => {
                told.memory_total_mib == now.memory_total_mib
                    && told.cpus == now.cpus
                    && told.memory_mib.abs_diff(now.memory_mib) < ROOM_STEP_MIB
            }
            (told, now) => told == now,
        };
        if !same || self.newest == 0 {
            self.room = room;
            self.newest += 1;
        }
    }

    /// Whether the leader was ever to be told of a group.
    pub fn tells_of(&self, group: &str) -> bool {
        self.groups.contains_key(group)
    }

    /// A group, as it is now.
    pub fn group(&mut self, report: GroupReport) {
        if self.groups.get(&report.group).is_none_or(|(_, told)| *told != report) {
            self.newest += 1;
            self.groups.insert(report.group.clone(), (self.newest, report));
        }
    }

    /// The leader of that term has heard all up to `number`.
    pub const fn heard(&mut self, term: u64, number: u64) {
        if term > self.heard.0 || (term == self.heard.0 && number > self.heard.1) {
            self.heard = (term, number);
        }
    }

    /// Whether the leader of that term has heard anything yet.
    pub const fn is_heard_in(&self, term: u64) -> bool {
        self.heard.0 == term && self.heard.1 > 0
    }

    /// What the leader of that term has not heard.
    pub fn unheard(&self, term: u64) -> Vec<Report> {
        let heard = if self.heard.0 == term { self.heard.1 } else { 0 };
        if heard >= self.newest {
            return Vec::new();
        }
        let mut changed: Vec<&(u64, GroupReport)> =
            self.groups.values().filter(|(number, _)| *number > heard).collect();
        changed.sort_by_key(|(number, _)| *number);
        let mut pages: Vec<Report> = Vec::new();
        let mut bytes = 0;
        let page =
            |after| Report { number: 0, after, newest: self.newest, room: self.room, groups: Vec::new() };
        let mut current = page((heard > 0).then_some(heard));
        for (number, report) in changed {
            let size = size_of(report);
            if bytes + size > PAGE && !current.groups.is_empty() {
                let next = page(Some(current.number));
                pages.push(core::mem::replace(&mut current, next));
                bytes = 0;
            }
            bytes += size;
            current.number = *number;
            current.groups.push(report.clone());
        }
        current.number = self.newest;
        pages.push(current);
        pages
    }

    /// The same, as messages.
    pub fn messages(&self, term: u64) -> Vec<Message> {
        self.unheard(term).into_iter().map(Message::Report).collect()
    }
}

/// More bytes than a report of a group takes when encoded.
fn size_of(report: &GroupReport) -> usize {
    let reason = match &report.state {
        GroupState::GivenUp { reason } | GroupState::NotReady { reason } => reason.len(),
        _ => 0,
    };
    report.group.len() + reason + 32
}

#[cfg(test)]
mod tests {
    use super::super::leader::reports::Reports;
    use super::*;
    use roost_proto::cluster::{HostId, Incarnation};
    use roost_proto::time::Instant;

    fn report(group: &str, state: GroupState) -> GroupReport {
        GroupReport { group: group.to_owned(), changed: 1, state, need: None }
    }

    #[test]
    fn changes_are_told_in_pages_until_they_are_heard_and_again_to_the_next_leader() {
        let (host, life, now) = (HostId(1), Incarnation::default(), Instant::from_nanos(1));
        let mut reporter = Reporter::default();
        reporter.room(Some(Room { memory_mib: 1000, memory_total_mib: 2000, cpus: 2 }));
        for nth in 0..100 {
            reporter.group(report(&format!("group-number-{nth:03}"), GroupState::Down));
        }
        let mut leader = Reports::default();
        let pages = reporter.unheard(5);
        assert!(pages.len() > 3);
        let mut heard = 0;
        for page in pages.iter().take(2) {
            heard = leader.take(now, host, life, page.clone());
        }
        heard = heard.max(leader.take(now, host, life, pages.last().expect("there are some").clone()));
        assert!(!leader.is_whole(host), "a page is missing");
        reporter.heard(5, heard);
        reporter.group(report("group-number-007", GroupState::Well));
        for page in reporter.unheard(5) {
            heard = leader.take(now, host, life, page);
        }
        assert!(leader.is_whole(host));
        assert_eq!(*leader.state(host, "group-number-007"), GroupState::Well);
        assert_eq!(leader.room(host).map(|room| room.memory_mib), Some(1000));
        reporter.heard(5, heard);
        assert_eq!(reporter.unheard(5), []);
        assert!(reporter.unheard(6).len() > 3, "another leader knows nothing");
        reporter.heard(5, 1);
        assert_eq!(reporter.unheard(5), [], "an old answer takes nothing back");
    }

    #[test]
    fn room_is_told_when_it_changed_by_much() {
        let mut reporter = Reporter::default();
        let room = |memory_mib| Some(Room { memory_mib, memory_total_mib: 4000, cpus: 2 });
        reporter.room(room(2000));
        reporter.heard(1, 1);
        reporter.room(room(1900));
        assert_eq!(reporter.unheard(1), []);
        reporter.room(room(1700));
        assert_eq!(reporter.unheard(1).len(), 1);
        reporter.heard(1, 2);
        reporter.room(None);
        assert_eq!(reporter.unheard(1)[0].room, None);
    }
}
