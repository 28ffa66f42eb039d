//! The host of a walk at random: what it ordered, and what must hold of that.

use super::walk::Key;
use core::time::Duration;
use roost_guest::config::{Config, Group, Hook, OnLostHost};
use roost_guest::subcluster::Input;
use roost_proto::link::{Cause, Circumstances, GroupState, ManagedReport, Order, Wanted};
use roost_proto::local::Runtime;
use roost_proto::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// What every order allows.
pub const LEASE: Duration = Duration::from_secs(30);

/// A managed group, as the host and its commands know it.
#[derive(Clone, Debug, Default)]
struct Managed {
    wanted: Wanted,
    epoch: u64,
    obeys: Option<u32>,
    /// An order gave it a lease.
    is_leased: bool,
    /// `before_online` has succeeded since it was down or faulted.
    is_prepared: bool,
    /// Something was begun since `after_offline` succeeded last.
    is_used: bool,
    /// Questions without an answer.
    asked: BTreeSet<u32>,
}

pub struct Host {
    groups: BTreeMap<String, Managed>,
    pub silent: bool,
    pub heard: Instant,
    /// The last order or question of this connection.
    number: u32,
    /// What a person started in a frozen group.
    pub strays: BTreeSet<Key>,
}

/// The keys of a group that is managed, now and then.
pub fn draw_managed(below: &mut impl FnMut(u64) -> u64) -> String {
    if below(2) == 0 {
        return String::new();
    }
    let mut text = "managed = true\nhook_timeout = \"5s\"\n".to_owned();
    for hook in Hook::ALL {
        if below(3) > 0 {
            text += &format!("{} = [\"/h\"]\n", hook.key());
        }
    }
    if below(3) == 0 {
        text += "on_lost_host = \"keep\"\n";
    }
    text
}

impl Host {
    pub const fn new(now: Instant) -> Self {
        Self { groups: BTreeMap::new(), silent: false, heard: now, number: 0, strays: BTreeSet::new() }
    }

    pub fn boot(&mut self, config: &Config) {
        let managed = config.groups.iter().filter(|group| group.managed.is_some());
        self.groups = managed.map(|group| (group.name.clone(), Managed::default())).collect();
    }

    pub fn manages(&self, name: &str) -> bool {
        self.groups.contains_key(name)
    }

    pub fn groups(&self) -> Vec<String> {
        self.groups.keys().cloned().collect()
    }

    pub fn pick(&self, draw: u64) -> Option<String> {
        let at = usize::try_from(draw).expect("small") % self.groups.len().max(1);
        self.groups.keys().nth(at).cloned()
    }

    pub fn wants_up(&self, name: &str) -> bool {
        self.groups.get(name).is_none_or(|group| group.wanted == Wanted::Online)
    }

    pub const fn speaks(&self) -> bool {
        !self.silent
    }

    fn group(&mut self, name: &str) -> &mut Managed {
        self.groups.get_mut(name).expect("a managed group")
    }

    /// An order, of an epoch that may be too old.
    pub fn order(&mut self, name: &str, draw: u64) -> Input {
        self.number += u32::from(draw & 12 != 0);
        let number = self.number;
        let wanted = if draw & 16 == 0 { Wanted::Online } else { Wanted::Offline };
        let group = self.group(name);
        let epoch = match draw & 3 {
            0 => group.epoch.saturating_sub(1),
            1 | 2 => group.epoch,
            _ => group.epoch + 1,
        };
        if epoch >= group.epoch {
            (group.wanted, group.epoch, group.obeys) = (wanted, epoch, Some(number));
            group.is_leased = true;
        }
        Input::Order(Order {
            group: name.to_owned(),
            number,
            epoch,
            wanted,
            lease_ms: u32::try_from(LEASE.as_millis()).expect("small"),
            circumstances: circumstances(),
        })
    }

    pub fn ask(&mut self, name: &str) -> Input {
        self.number += 1;
        let number = self.number;
        self.group(name).asked.insert(number);
        Input::AskReady { group: name.to_owned(), number, circumstances: circumstances() }
    }

    pub fn answered(&mut self, name: &str, number: u32) {
        let asked = &mut self.groups.get_mut(name).expect("only managed groups are asked about").asked;
        assert!(asked.remove(&number), "{number} was not asked on this connection, or is answered twice");
    }

    pub fn check_answers(&self) {
        for (name, group) in &self.groups {
            assert_eq!(group.asked, BTreeSet::new(), "questions about {name} were not answered");
        }
    }

    pub fn meet(&mut self) {
        self.number = 0;
        for group in self.groups.values_mut() {
            group.obeys = None;
            group.asked.clear();
        }
    }

    /// The machine tells of a managed group; says whether its lease has just ended.
    pub fn told(&mut self, now: Instant, config: &Config, report: &ManagedReport) -> bool {
        let silence = now.since(self.heard);
        let name = &report.report.name;
        let plan = config.groups.iter().find(|group| group.name == *name).expect("it is configured");
        let plan = plan.managed.as_ref().expect("it is managed");
        let group = self.groups.get_mut(name).expect("a managed group");
        let has_expired = group.wanted == Wanted::Online && report.wanted == Wanted::Offline;
        if has_expired {
            assert!(group.is_leased && plan.on_lost_host == OnLostHost::Stop, "nobody ended it");
            assert!(silence >= LEASE, "the lease of {name} ended after {silence:?}");
            (group.wanted, group.obeys) = (Wanted::Offline, None);
        }
        assert_eq!(
            (report.wanted, report.epoch, report.obeys),
            (group.wanted, group.epoch, group.obeys),
            "{name} is told otherwise than it was ordered"
        );
        if report.report.state == GroupState::Offline {
            assert!(!group.is_used || plan.after_offline.is_empty(), "{name} is not cleaned up");
            (group.is_used, group.is_prepared) = (false, false);
        }
        has_expired
    }

    pub fn check_leases(&self, now: Instant, config: &Config) {
        for plan in &config.groups {
            let Some(managed) = &plan.managed else { continue };
            let group = &self.groups[&plan.name];
            let may_end = managed.on_lost_host == OnLostHost::Stop && group.is_leased;
            let runs = may_end && group.wanted == Wanted::Online;
            assert!(!runs || now.since(self.heard) < LEASE, "{} outlives its host", plan.name);
        }
    }

    pub fn check_start(&mut self, plan: &Group) {
        let Some(managed) = &plan.managed else { return };
        let group = self.group(&plan.name);
        assert_eq!(group.wanted, Wanted::Online, "{} is started, and not wanted", plan.name);
        assert!(group.is_prepared || managed.before_online.is_empty(), "{} is not prepared", plan.name);
        group.is_used = true;
        group.is_prepared = true;
    }

    pub fn hook_begun(&mut self, name: &str, hook: Hook) {
        let group = self.group(name);
        match hook {
            Hook::BeforeOnline => {
                assert_eq!(group.wanted, Wanted::Online, "{name} is prepared, and not wanted");
                (group.is_used, group.is_prepared) = (true, false);
            }
            Hook::AfterOffline => {}
            Hook::Ready => assert!(!group.asked.is_empty(), "nobody has asked"),
        }
    }

    pub fn hook_ended(&mut self, name: &str, hook: Hook, is_good: bool) {
        let group = self.group(name);
        match hook {
            Hook::BeforeOnline => group.is_prepared = is_good,
            Hook::AfterOffline if is_good => group.is_used = false,
            Hook::AfterOffline | Hook::Ready => {}
        }
    }

    /// A new configuration counts.
    pub fn switch(&mut self, old: &Config, new: &Config) {
        let before = core::mem::take(&mut self.groups);
        for plan in new.groups.iter().filter(|plan| plan.managed.is_some()) {
            let old = old.groups.iter().find(|old| old.name == plan.name);
            let group = match (before.get(&plan.name), old) {
                (Some(group), Some(old)) => group.carried(old),
                (None, Some(_)) => Managed::running(),
                (_, None) => Managed::default(),
            };
            self.groups.insert(plan.name.clone(), group);
        }
    }

    /// A controller starts anew with what was kept, and perhaps with a new configuration.
    pub fn crash(&mut self, now: Instant, old: &Config, new: &Config, kept: &Runtime) {
        self.meet();
        self.heard = now;
        self.strays.clear();
        let before = core::mem::take(&mut self.groups);
        for plan in new.groups.iter().filter(|plan| plan.managed.is_some()) {
            let kept = kept.groups.iter().find(|kept| kept.name == plan.name);
            let group = match kept.map(|kept| &kept.managed) {
                None => Managed::default(),
                Some(None) => Managed::running(),
                Some(Some(kept)) => {
                    let group = &before[&plan.name];
                    assert_eq!((kept.wanted, kept.epoch), (group.wanted, group.epoch), "told, and not kept");
                    let old = old.groups.iter().find(|old| old.name == plan.name);
                    group.carried(old.expect("what was kept was configured"))
                }
            };
            self.groups.insert(plan.name.clone(), group);
        }
    }

    /// Groups whose lease is over.
    pub fn expired(&self, now: Instant) -> Vec<String> {
        if now.since(self.heard) < LEASE { Vec::new() } else { self.groups() }
    }
}

impl Managed {
    /// The same under another plan than `old`: it may be up or down by now without the command that it has from here on.
    fn carried(&self, old: &Group) -> Self {
        let had = |hook: Hook| old.managed.as_ref().is_some_and(|managed| !managed.command(hook).is_empty());
        let is_up = self.wanted == Wanted::Online;
        Self {
            is_prepared: self.is_prepared || (is_up && !had(Hook::BeforeOnline)),
            is_used: self.is_used && (is_up || had(Hook::AfterOffline)),
            ..self.clone()
        }
    }

    /// One that ran before it was managed.
    fn running() -> Self {
        Self { wanted: Wanted::Online, is_prepared: true, is_used: true, ..Self::default() }
    }
}

fn circumstances() -> Circumstances {
    Circumstances { target: "vm:a".to_owned(), previous: "b".to_owned(), reason: Cause::Switchover }
}
