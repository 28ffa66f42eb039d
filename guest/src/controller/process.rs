//! Operations on `process` resources: nothing runs between the controller and the process.

use super::Controller;
use super::KILL_PATIENCE;
use super::unit::{Doing, Force};
use crate::child::{Child, Remains, kill_remains, signal_group};
use crate::config::{Output, Process};
use crate::kinds::{Seen, not_started, words};
use crate::process::{Capture, gone, last_output, start};
use crate::procfs;
use crate::spawn::{SpawnError, reason};
use crate::subcluster::{Action, Input, Outcome, ResourceId};

/// Members of a group that end while they are looked for, before the group is taken for one that makes processes faster than they
/// can be counted.
const MAX_LOOKS: usize = 64;

impl Controller {
    pub(super) fn go_process(&mut self, id: ResourceId, process: &Process, action: Action) {
        match action {
            Action::Monitor => {
                let is_running = self.units[&id].child.is_some();
                self.finish(id, if is_running { Outcome::Running } else { Outcome::Stopped });
            }
            Action::Start if self.units[&id].child.is_some() => self.finish(id, Outcome::Running),
            Action::Start => self.clear_remains(id),
            Action::Stop => match &self.units[&id].child {
                Some(child) => {
                    let group = child.id().pid;
                    // One that is stopped does not hear a signal until it goes on.
                    let _ = child.signal(process.stop_signal).and_then(|()| child.signal(libc::SIGCONT));
                    self.doing(id, Doing::Group { group, member: None, force: Force::Asked });
                }
                None => self.clear_remains(id),
            },
        }
    }

    /// Kills what an ended leader has left behind, then goes on.
    fn clear_remains(&mut self, id: ResourceId) {
        let remains = self.units.get_mut(&id).and_then(|unit| unit.remains.take());
        match remains.map(|group| (group, kill_remains(group))) {
            Some((group, Remains::Dying)) => {
                self.doing(id, Doing::Group { group, member: None, force: Force::Killed });
                self.wait_for_group(id, group);
            }
            Some((_, Remains::Nothing)) | None => self.group_ended(id),
        }
    }

    /// The leader is gone: waits for one of the others, if there are any.
    pub(super) fn wait_for_group(&mut self, id: ResourceId, group: i32) {
        for _ in 0..MAX_LOOKS {
            let is_others = procfs::stat(group).is_some_and(|stat| !stat.is_dead());
            let Some(pid) = procfs::member_of(group).filter(|_| !is_others) else {
                self.group_ended(id);
                return;
            };
            let member = procfs::identify(pid).and_then(|pid| Child::adopted(&mut self.reactor, pid));
            if let Some(child) = member {
                if let Some(work) = self.units.get_mut(&id).and_then(|unit| unit.work.as_mut())
                    && let Doing::Group { member, .. } = &mut work.stage
                {
                    *member = Some(child);
                }
                return;
            }
        }
        let _ = signal_group(group, libc::SIGKILL); // it may have ended at last
        self.finish(id, Outcome::Failed(words("its process group grows faster than it can be waited for")));
    }

    /// Nothing of the process group is left.
    fn group_ended(&mut self, id: ResourceId) {
        match self.units[&id].work.as_ref().map(|work| work.action) {
            Some(Action::Start) => self.start_process(id),
            _ => self.finish(id, Outcome::Stopped),
        }
    }

    fn start_process(&mut self, id: ResourceId) {
        let config = self.config.clone();
        let crate::config::Kind::Process(process) = &config.groups[id.group].resources[id.resource].kind
        else {
            unreachable!("only processes are started so")
        };
        let outcome = match self.spawn_process(id, process) {
            Ok(()) => Outcome::Running,
            Err(error) => not_started(error),
        };
        self.finish(id, outcome);
    }

    fn spawn_process(&mut self, id: ResourceId, process: &Process) -> Result<(), SpawnError> {
        let (note, pipe) = (self.note_path(id), self.pipe_path(id));
        let failed =
            |what: &str, error: &std::io::Error| SpawnError::Failed(format!("{what}: {}", reason(error)));
        let unit = self.units.get_mut(&id).expect("each resource has a unit");
        if process.output == Output::Capture {
            match &mut unit.capture {
                Some(capture) => capture.clear(),
                None => {
                    let capture = Capture::open(&mut self.reactor, &pipe);
                    unit.capture =
                        Some(capture.map_err(|error| failed("cannot capture its output", &error))?);
                }
            }
        }
        let pid = start(&self.origin, process, &note, &pipe)?;
        match Child::started(&mut self.reactor, pid) {
            Ok(child) => {
                unit.child = Some(child);
                self.state.touch();
                Ok(())
            }
            Err(error) => {
                crate::agent::disown(pid);
                Err(failed("cannot watch it", &error))
            }
        }
    }

    /// The process itself has ended.
    pub(super) fn process_ended(&mut self, id: ResourceId, process: &Process) {
        let unit = self.units.get_mut(&id).expect("each resource has a unit");
        let Some(child) = unit.child.take() else { return };
        let group = child.id().pid;
        let output = last_output(process, unit.capture.as_mut());
        let exit = child.end();
        self.state.touch();
        match unit.work.as_ref().map(|work| &work.stage) {
            Some(Doing::Group { .. }) => self.wait_for_group(id, group),
            _ => {
                unit.remains = Some(group);
                unit.seen = Seen::NotUp;
                self.machine.handle(self.now, Input::Gone { id, cause: gone(exit, output) });
            }
        }
    }

    /// The time of a process group to end is over.
    pub(super) fn group_is_due(&mut self, id: ResourceId) {
        let now = self.now;
        let Some(work) = self.units.get_mut(&id).and_then(|unit| unit.work.as_mut()) else { return };
        let Doing::Group { group, force, .. } = &mut work.stage else { return };
        match force {
            Force::Asked => {
                let _ = signal_group(*group, libc::SIGKILL); // it may have ended at last
                *force = Force::Killed;
                work.deadline = now + KILL_PATIENCE;
            }
            Force::Killed => {
                let reason =
                    format!("process group {group} was killed and has not ended: it may wait for a device");
                self.units.get_mut(&id).expect("it was just there").remains = Some(*group);
                self.finish(id, Outcome::Failed(words(reason)));
            }
        }
    }
}
