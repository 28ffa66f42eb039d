//! Machines that run no `roostd`, and whose `roost-guest` the leader watches over TCP.
//!
//! To the ledger such a machine is a host: it is admitted, evicted when it is silent, and fenced by its agents before what it
//! owned starts elsewhere. What its own daemon would do the leader does in its place, by a keeper of its own: its controller
//! speaks with whoever leads, and with nobody else. The next leader finds all that there is to know in the ledger and in what
//! the controller says. A leader that is none any more says nothing; the controller stops by itself what it was to run when
//! nobody has spoken with it for an application's lease.

use super::keeper::remote_agent::GuestInput;
use super::keeper::{self, Keeper};
use super::report::Reporter;
use super::rights::{self, Lease, Stand};
use super::{Engine, Flag, Output};
use crate::config::{Config, Role};
use roost_proto::cluster::decision::Proof;
use roost_proto::cluster::raft::StorageId;
use roost_proto::cluster::{Hello, HostId, Incarnation, Running};
use roost_proto::state::Saved;
use roost_proto::time::Instant;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// A machine that this leader watches, since its controller spoke with it first.
#[derive(Debug)]
pub(super) struct Watch {
    name: String,
    life: Incarnation,
    keeper: Keeper,
    reporter: Reporter,
    line: Line,
}

/// Whether its controller is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Up,
    Down,
}

/// The machines of the configuration that are watched.
pub(super) fn watched(config: &Config) -> BTreeSet<HostId> {
    let watched = config.hosts.iter().filter(|host| host.role == Role::Watched);
    watched.map(|host| HostId::of(&host.name)).collect()
}

impl Engine {
    /// Whether this host speaks with the controllers of machines that are watched.
    pub fn watches(&self) -> bool {
        self.leader.is_some() && self.lease == Lease::Held
    }

    /// The controller of a machine that is watched said something.
    pub(super) fn watched_says(&mut self, now: Instant, name: &str, input: GuestInput) {
        let id = HostId::of(name);
        if !self.watches() || !self.watched.contains(&id) {
            self.out.push_back(Output::Watched {
                host: name.to_owned(),
                output: keeper::Output::Drop(keeper::Controller::Machine),
            });
            return;
        }
        if let GuestInput::Connected { boot_id, .. } = &input {
            self.begin_watch(now, name, boot_of(boot_id));
        }
        let Some(watch) = self.watches.get_mut(&id) else { return };
        match input {
            GuestInput::Connected { .. } => watch.line = Line::Up,
            GuestInput::Lost { .. } => watch.line = Line::Down,
            GuestInput::Message(_) | GuestInput::Refused { .. } => {}
        }
        let speaks = matches!(input, GuestInput::Connected { .. } | GuestInput::Message(_));
        watch.keeper.handle(now, keeper::Input::Machine(input));
        if speaks && watch.line == Line::Up {
            let life = watch.life;
            if self.member.silence(now, id).age >= self.config.cluster.timing.suspect_after {
                self.changed.leader = Flag::Unseen;
            }
            self.member.watched(now, id, life);
        }
        self.serve_watch(now, id);
    }

    /// What such a machine's own daemon would say of it.
    fn greet_for(&mut self, id: HostId) {
        let Some(watch) = self.watches.get(&id) else { return };
        // Nothing is kept on that machine of what it had: whatever runs there may be what it had.
        let running = match (watch.keeper.is_seen(), watch.keeper.is_idle()) {
            (false, _) => Running::Unknown,
            (true, false) => Running::Something,
            (true, true) => Running::Nothing,
        };
        let hello = Hello {
            machine: 0,
            proof: Proof::None,
            storage: StorageId(0),
            config: self.config.number,
            running,
            armed: self.ledger.arming().changed,
        };
        if self.member.peer(id).is_some_and(|peer| peer.hello.as_ref() != Some(&hello)) {
            self.changed.leader = Flag::Unseen;
            self.member.hello(id, hello);
        }
    }

    /// A controller has connected: in the life that the ledger knows, or in a new one.
    fn begin_watch(&mut self, now: Instant, name: &str, boot: u64) {
        let id = HostId::of(name);
        let newest = self.ledger.host(id).map_or(0, |record| record.newest);
        let known = match self.ledger.standing(id) {
            super::Standing::In(member) => Some(member.incarnation),
            super::Standing::Evicted(_) | super::Standing::Out => None,
        };
        let known = known.filter(|life| life.boot == boot);
        let before = self.watches.get(&id).map(|watch| watch.life);
        let before = before.filter(|life| life.boot == boot && life.start > newest);
        let life = known.or(before).unwrap_or(Incarnation { start: newest.saturating_add(1), boot });
        if self.watches.get(&id).is_some_and(|watch| watch.life == life) {
            return;
        }
        let (seed, boot) = (self.jitter.draw(), format!("{boot:016x}"));
        let keeper = Keeper::new(&self.config, name, Saved::default(), &boot, seed, PathBuf::new(), now);
        let (name, reporter) = (name.to_owned(), Reporter::default());
        let watch = Watch { name, life, keeper, reporter, line: Line::Down };
        self.watches.insert(id, watch);
        self.changed.leader = Flag::Unseen;
        self.set_watched_rights(now, id);
    }

    /// The ledger or the configuration changed.
    pub(super) fn look_at_watches(&mut self, now: Instant) {
        if !self.watches() {
            for watch in core::mem::take(&mut self.watches).into_values() {
                let output = keeper::Output::Drop(keeper::Controller::Machine);
                self.out.push_back(Output::Watched { host: watch.name, output });
            }
            return;
        }
        let ids: Vec<HostId> = self.watches.keys().copied().collect();
        for id in ids {
            self.set_watched_rights(now, id);
            self.serve_watch(now, id);
        }
    }

    /// Time passed.
    pub(super) fn time_for_watches(&mut self, now: Instant) {
        let due = |watch: &Watch| watch.keeper.poll_timeout().is_some_and(|at| now >= at);
        let ids: Vec<HostId> =
            self.watches.iter().filter(|(_, watch)| due(watch)).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(watch) = self.watches.get_mut(&id) {
                watch.keeper.handle_timeout(now);
            }
            self.serve_watch(now, id);
        }
    }

    /// Whether a group may be on a machine that is watched here.
    pub(super) fn is_watched_for(&self, group: &str) -> bool {
        self.watches.values().any(|watch| watch.keeper.keeps(group))
    }

    /// When a watch is due next.
    pub(super) fn watch_deadline(&self) -> Option<Instant> {
        self.watches.values().filter_map(|watch| watch.keeper.poll_timeout()).min()
    }

    /// Takes the configuration into the watches.
    pub(super) fn reload_watches(&mut self, now: Instant) {
        self.watched = watched(&self.config);
        self.watches.retain(|id, _| self.watched.contains(id));
        self.watches.values_mut().for_each(|watch| watch.keeper.reload(&self.config, now));
    }

    fn set_watched_rights(&mut self, now: Instant, id: HostId) {
        let Some(watch) = self.watches.get_mut(&id) else { return };
        let stand = rights::stand(&self.ledger, id, watch.life, Stand::Waiting);
        if stand == Stand::Over && watch.line == Line::Up {
            // Its connection outlived its silence: it calls again, as the next life, and says what it runs.
            watch.line = Line::Down;
            let output = keeper::Output::Drop(keeper::Controller::Machine);
            self.out.push_back(Output::Watched { host: watch.name.clone(), output });
        }
        let nothing = BTreeSet::new();
        for group in watch.keeper.group_names() {
            let standing = (stand, Lease::Held, self.hands);
            let was_here = watch.keeper.was_here(&group);
            let right = rights::right(&self.ledger, id, &group, standing, &nothing, was_here);
            watch.keeper.set_right(now, &group, right);
        }
    }

    /// Passes on what the watch's keeper wants said, and tells the leader how the machine's groups are.
    fn serve_watch(&mut self, now: Instant, id: HostId) {
        let Some(watch) = self.watches.get_mut(&id) else { return };
        while let Some(output) = watch.keeper.poll_output() {
            match output {
                output @ (keeper::Output::Say { .. } | keeper::Output::Drop(_)) => {
                    self.out.push_back(Output::Watched { host: watch.name.clone(), output });
                }
                keeper::Output::Event(mut event) => {
                    event.text = format!("on '{}': {}", watch.name, event.text);
                    self.out.push_back(Output::Keeper(keeper::Output::Event(event)));
                }
                // What is kept of it is in the ledger.
                keeper::Output::Store(_) => watch.keeper.handle(now, keeper::Input::Stored(Ok(()))),
                keeper::Output::Order(_)
                | keeper::Output::Wish { .. }
                | keeper::Output::Hush { .. }
                | keeper::Output::Cid { .. } => {} // it has no VMs
            }
        }
        watch.reporter.room(None);
        watch.keeper.reports(now).into_iter().for_each(|report| watch.reporter.group(report));
        let term = self.raft.term();
        for report in watch.reporter.unheard(term) {
            let Some(leader) = &mut self.leader else { break };
            let heard = leader.report(now, id, watch.life, report);
            watch.reporter.heard(term, heard);
            self.changed.leader = Flag::Unseen;
        }
        self.greet_for(id);
    }
}

/// A boot, from the kernel's boot id.
fn boot_of(boot_id: &[u8; 16]) -> u64 {
    let (low, high) = boot_id.split_at(8);
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    number(low) ^ number(high)
}
