//! One VM as libvirt shows it: a view at a time, and what happened between two.
//!
//! Views come from events and from polls, so the same thing is told twice, or late. The agent tells it on once, and
//! does not believe a view of a life that it saw end.

use super::vm::{DomainView, Happened, Job, Off, Progress, Run};
use core::time::Duration;
use roost_proto::cluster::Need;
use roost_proto::time::Instant;

/// What libvirt knows of one VM.
#[derive(Debug, Default)]
pub struct VmAgent {
    view: Option<DomainView>,
    ended_life: Option<u32>,
    /// When its counters last grew, and what they were.
    progressed: Option<(Instant, Progress)>,
    rebooted: Option<Instant>,
}

/// QEMU resets a machine several times while its firmware comes up; within this time that is one reboot.
const ECHO: Duration = Duration::from_secs(5);

impl VmAgent {
    /// Takes in a view, and returns what happened since the last, oldest first. The first view after libvirt was lost
    /// tells nothing but itself, unless an event brought it or the VM's life is another one.
    pub fn observe(&mut self, now: Instant, view: DomainView, happened: Option<Happened>) -> Vec<Happened> {
        if view.life.is_some() && view.life == self.ended_life {
            return Vec::new();
        }
        let mut news = Vec::new();
        let life_before = self.view.as_ref().and_then(|v| v.life);
        let stopped = match happened {
            // Told late, while the same life is shown still, it is of a life before that one, whose end was seen already.
            Some(Happened::Stopped(why)) if life_before.is_some() && life_before != view.life => Some(why),
            _ if life_before.is_some() && life_before != view.life => Some(match view.run {
                Run::Off(why) => why,
                _ => Off::Unknown,
            }),
            _ => None,
        };
        if let Some(why) = stopped {
            self.ended_life = life_before;
            self.progressed = None;
            news.push(Happened::Stopped(why));
        }
        if view.life.is_some() && (stopped.is_some() || self.view.as_ref().is_some_and(|v| v.life.is_none()))
        {
            news.push(Happened::Started);
        }
        match happened {
            None | Some(Happened::Started | Happened::Stopped(_)) => {}
            Some(Happened::Rebooted) => {
                let echo = self.rebooted.is_some_and(|at| now.since(at) < ECHO);
                self.rebooted = Some(now);
                if !echo {
                    news.push(Happened::Rebooted);
                }
            }
            Some(other) => news.push(other),
        }
        if self.progressed.is_none_or(|(_, progress)| progress != view.progress) && view.life.is_some() {
            self.progressed = Some((now, view.progress));
        }
        self.view = Some(view);
        news
    }

    /// libvirt does not answer: nothing is known.
    pub fn lose(&mut self) {
        *self = Self::default();
    }

    /// What the VM is doing, if libvirt answers.
    pub fn run(&self) -> Option<Run> {
        self.view.as_ref().map(|v| v.run)
    }

    /// Whether libvirt would start it by itself.
    pub fn autostart(&self) -> bool {
        self.view.as_ref().is_some_and(|v| v.autostart)
    }

    /// Whether libvirt is busy with it: migrating, saving, dumping.
    pub fn busy(&self) -> bool {
        self.view.as_ref().is_some_and(|v| v.job != Job::None)
    }

    /// Its vsock CID, while it lives.
    pub fn cid(&self) -> Option<u32> {
        self.view.as_ref().filter(|v| v.life.is_some()).and_then(|v| v.cid)
    }

    /// What it needs of its host, as far as is known.
    pub fn need(&self) -> Option<Need> {
        self.view.as_ref().and_then(|v| v.need)
    }

    /// When its vCPUs or disks were last seen to do something.
    pub fn last_progress(&self) -> Option<Instant> {
        self.progressed.map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::vm::Paused;
    use super::*;

    const NOW: Instant = Instant::from_nanos(1_000_000_000);

    fn view(run: Run, life: Option<u32>) -> DomainView {
        DomainView {
            run,
            life,
            autostart: false,
            progress: Progress::default(),
            job: Job::None,
            cid: Some(3),
            need: None,
        }
    }

    fn agent(run: Run, life: Option<u32>) -> VmAgent {
        let mut agent = VmAgent::default();
        assert_eq!(agent.observe(NOW, view(run, life), None), []);
        agent
    }

    #[test]
    fn a_stop_is_told_once_with_the_cause_that_the_event_gave() {
        let mut vm = agent(Run::Running, Some(1));
        let off = view(Run::Off(Off::Failed), None);
        assert_eq!(
            vm.observe(NOW, off.clone(), Some(Happened::Stopped(Off::Crashed))),
            [Happened::Stopped(Off::Crashed)]
        );
        assert_eq!(vm.observe(NOW, off, None), []);
        assert_eq!(vm.cid(), None);
    }

    #[test]
    fn a_poll_alone_finds_a_stop() {
        let mut vm = agent(Run::Running, Some(1));
        let off = view(Run::Off(Off::Shutdown), None);
        assert_eq!(vm.observe(NOW, off, None), [Happened::Stopped(Off::Shutdown)]);
    }

    #[test]
    fn another_life_is_a_stop_and_a_start() {
        let mut vm = agent(Run::Running, Some(1));
        let next = view(Run::Running, Some(2));
        assert_eq!(vm.observe(NOW, next, None), [Happened::Stopped(Off::Unknown), Happened::Started]);
    }

    #[test]
    fn a_late_view_of_an_ended_life_is_not_believed() {
        let mut vm = agent(Run::Running, Some(1));
        vm.observe(NOW, view(Run::Off(Off::Failed), None), None);
        assert_eq!(vm.observe(NOW, view(Run::Running, Some(1)), None), []);
        assert_eq!(vm.run(), Some(Run::Off(Off::Failed)));
    }

    #[test]
    fn a_stop_that_is_told_late_is_not_the_next_lifes() {
        let mut vm = agent(Run::Running, Some(1));
        let next = view(Run::Paused(Paused::Starting), Some(2));
        vm.observe(NOW, next.clone(), None);
        assert_eq!(vm.observe(NOW, next, Some(Happened::Stopped(Off::Destroyed))), []);
        vm.observe(NOW, view(Run::Running, Some(2)), None);
        assert_eq!(vm.run(), Some(Run::Running), "it is seen on");
    }

    #[test]
    fn after_libvirt_was_lost_a_number_may_come_again() {
        let mut vm = agent(Run::Running, Some(1));
        vm.observe(NOW, view(Run::Off(Off::Failed), None), None);
        vm.lose();
        assert_eq!(vm.run(), None);
        assert_eq!(vm.observe(NOW, view(Run::Running, Some(1)), None), []);
        assert_eq!(vm.run(), Some(Run::Running));
    }

    #[test]
    fn a_start_is_told() {
        let mut vm = agent(Run::Off(Off::Unknown), None);
        assert_eq!(
            vm.observe(NOW, view(Run::Running, Some(4)), Some(Happened::Started)),
            [Happened::Started]
        );
    }

    #[test]
    fn progress_is_dated_by_its_last_change() {
        let mut vm = agent(Run::Running, Some(1));
        let later = Instant::from_nanos(9_000_000_000);
        vm.observe(later, view(Run::Running, Some(1)), None);
        assert_eq!(vm.last_progress(), Some(NOW));
        let mut moved = view(Run::Running, Some(1));
        moved.progress.disk_requests = 1;
        vm.observe(later, moved, None);
        assert_eq!(vm.last_progress(), Some(later));
    }
}
