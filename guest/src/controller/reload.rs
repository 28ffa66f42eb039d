//! Reading the configuration again, and changing over to it.

use super::Controller;
use super::unit::{Unit, has_process};
use crate::config::{Config, Kind, Link};
use crate::link::wire::Wire;
use crate::log::Level;
use crate::notify;
use crate::process;
use crate::reactor::{Interest, Watched};
use crate::subcluster::ResourceId;
use roost_proto::local::ProcessId;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

impl Controller {
    /// Reads the configuration again. If it is refused, the one before stays.
    pub(super) fn reload(&mut self) {
        notify::tell(notify::State::Reloading);
        match crate::load::load(&self.config_path) {
            Ok(config) => {
                let config = Arc::new(config);
                self.next = Some(config.clone());
                self.machine.reload(self.now, config);
            }
            Err(error) => {
                self.log.lines(Level::Error, &error.to_string());
                self.log.line(
                    Level::Error,
                    format_args!("not reloaded: the configuration before stays in force"),
                );
                notify::tell(notify::State::Ready);
            }
        }
    }

    /// From here on the new configuration counts. What the shell holds is carried over by name.
    pub(super) fn switch(&mut self) {
        let Some(new) = self.next.take() else { return };
        let old = core::mem::replace(&mut self.config, new);
        let mut held: BTreeMap<(String, String), (Unit, PathBuf, PathBuf)> = BTreeMap::new();
        for (id, unit) in core::mem::take(&mut self.units) {
            let (group, resource) = names(&old, id);
            let paths = (self.path_of(&group, &resource, "pid"), self.path_of(&group, &resource, "out"));
            held.insert((group, resource), (unit, paths.0, paths.1));
        }
        for id in ids(&self.config) {
            let unit = held.remove(&names(&self.config, id)).map(|(unit, _, _)| unit).unwrap_or_default();
            self.units.insert(id, unit);
        }
        for ((group, resource), (unit, note, pipe)) in held {
            if let Some(child) = unit.child {
                let pid = child.id().pid;
                self.log.line(
                    Level::Warning,
                    format_args!(
                        "{group}/{resource}: no longer configured; its process {pid} is left running"
                    ),
                );
            }
            process::forget(&note, &pipe);
        }
        self.take_up(&old);
        self.log.line(Level::Info, format_args!("the new configuration is in force"));
        notify::tell(notify::State::Ready);
    }

    fn take_up(&mut self, old: &Config) {
        if old.link != self.config.link {
            self.wire = self.new_wire();
        } else if let Some(wire) = &mut self.wire {
            wire.renew(&self.machine);
        }
        self.watch_mounts();
        self.prepare_for_agents();
        self.state.touch();
    }

    pub(super) fn new_wire(&self) -> Option<Wire> {
        match &self.config.link {
            Link::None => None,
            link => Some(Wire::new(link.clone(), self.seed, self.now)),
        }
    }

    /// Waits for changes of mounts, while a resource is one.
    pub(super) fn watch_mounts(&mut self) {
        let kinds =
            self.config.groups.iter().flat_map(|group| &group.resources).map(|resource| &resource.kind);
        let is_needed = kinds.into_iter().any(|kind| matches!(kind, Kind::Mount { .. }));
        if !is_needed {
            self.mounts = None;
        } else if self.mounts.is_none() {
            let file = File::open("/proc/self/mountinfo");
            self.mounts = match file.and_then(|file| self.reactor.watch(file, Interest::EPOLLPRI)) {
                Ok(mounts) => Some(mounts) as Option<Watched>,
                Err(error) => {
                    self.log.line(
                        Level::Warning,
                        format_args!("cannot watch '/proc/self/mountinfo': {error}; mounts are looked at each interval only"),
                    );
                    None
                }
            };
        }
    }

    /// OCF agents keep their own notes in a directory that a package of theirs makes at boot, where there is systemd.
    pub(super) fn prepare_for_agents(&self) {
        let kinds =
            self.config.groups.iter().flat_map(|group| &group.resources).map(|resource| &resource.kind);
        if kinds.into_iter().any(|kind| matches!(kind, Kind::Ocf { .. })) {
            let _ = std::fs::create_dir_all("/run/resource-agents"); // an agent that needs it says so
        }
    }

    /// The processes that the runtime file tells of.
    pub(super) fn processes(&self) -> BTreeMap<ResourceId, ProcessId> {
        let processes = self.units.iter().filter_map(|(&id, unit)| {
            let kind = &self.config.groups[id.group].resources[id.resource].kind;
            unit.child.as_ref().filter(|_| has_process(kind)).map(|child| (id, child.id()))
        });
        processes.collect()
    }

    pub(super) fn note_path(&self, id: ResourceId) -> PathBuf {
        let (group, resource) = names(&self.config, id);
        self.path_of(&group, &resource, "pid")
    }

    pub(super) fn pipe_path(&self, id: ResourceId) -> PathBuf {
        let (group, resource) = names(&self.config, id);
        self.path_of(&group, &resource, "out")
    }

    /// No name holds a colon, so no two resources share a file.
    fn path_of(&self, group: &str, resource: &str, what: &str) -> PathBuf {
        self.run_dir.join(format!("{group}:{resource}.{what}"))
    }
}

fn names(config: &Config, id: ResourceId) -> (String, String) {
    let group = &config.groups[id.group];
    (group.name.clone(), group.resources[id.resource].name.clone())
}

/// Every resource of `config`.
pub(super) fn ids(config: &Config) -> Vec<ResourceId> {
    let groups = config.groups.iter().enumerate();
    let ids = groups.flat_map(|(group, plan)| {
        (0..plan.resources.len()).map(move |resource| ResourceId { group, resource })
    });
    ids.collect()
}
