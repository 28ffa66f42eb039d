//! libvirt's numbers in the engine's words (libvirt-domain.h).

use crate::engine::keeper::vm::{Happened, Job, Off, Paused, Run};
use virt_sys as ffi;

/// What a domain does, from its `virDomainState` and reason. `active` tells whether it has a number of libvirt's.
pub fn run(state: u32, reason: u32, active: bool) -> Run {
    match state {
        ffi::VIR_DOMAIN_PAUSED if reason == ffi::VIR_DOMAIN_PAUSED_SHUTTING_DOWN => Run::ShuttingDown,
        ffi::VIR_DOMAIN_PAUSED => Run::Paused(paused(reason)),
        ffi::VIR_DOMAIN_SHUTDOWN => Run::ShuttingDown,
        ffi::VIR_DOMAIN_SHUTOFF => Run::Off(off(reason)),
        ffi::VIR_DOMAIN_CRASHED if active => Run::Crashed,
        ffi::VIR_DOMAIN_CRASHED => Run::Off(Off::Crashed),
        ffi::VIR_DOMAIN_PMSUSPENDED => Run::Asleep,
        // RUNNING, BLOCKED, NOSTATE, and what a later libvirt may add.
        _ if active => Run::Running,
        _ => Run::Off(Off::Unknown),
    }
}

const fn paused(reason: u32) -> Paused {
    match reason {
        // A restored snapshot of a paused VM stays paused until somebody resumes it.
        ffi::VIR_DOMAIN_PAUSED_USER | ffi::VIR_DOMAIN_PAUSED_FROM_SNAPSHOT => Paused::User,
        ffi::VIR_DOMAIN_PAUSED_MIGRATION
        | ffi::VIR_DOMAIN_PAUSED_SAVE
        | ffi::VIR_DOMAIN_PAUSED_DUMP
        | ffi::VIR_DOMAIN_PAUSED_SNAPSHOT
        | ffi::VIR_DOMAIN_PAUSED_POSTCOPY
        // Half of its memory is on the other host: only a person can end that well.
        | ffi::VIR_DOMAIN_PAUSED_POSTCOPY_FAILED => Paused::Busy,
        ffi::VIR_DOMAIN_PAUSED_IOERROR => Paused::IoError,
        ffi::VIR_DOMAIN_PAUSED_WATCHDOG => Paused::Watchdog,
        ffi::VIR_DOMAIN_PAUSED_CRASHED => Paused::Crashed,
        ffi::VIR_DOMAIN_PAUSED_STARTING_UP => Paused::Starting,
        _ => Paused::Unknown,
    }
}

const fn off(reason: u32) -> Off {
    match reason {
        ffi::VIR_DOMAIN_SHUTOFF_SHUTDOWN => Off::Shutdown,
        ffi::VIR_DOMAIN_SHUTOFF_DESTROYED => Off::Destroyed,
        ffi::VIR_DOMAIN_SHUTOFF_CRASHED => Off::Crashed,
        ffi::VIR_DOMAIN_SHUTOFF_MIGRATED => Off::Migrated,
        ffi::VIR_DOMAIN_SHUTOFF_SAVED => Off::Saved,
        ffi::VIR_DOMAIN_SHUTOFF_FAILED | ffi::VIR_DOMAIN_SHUTOFF_DAEMON => Off::Failed,
        ffi::VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT => Off::Snapshot,
        _ => Off::Unknown,
    }
}

/// The job of a `virDomainJobOperation`. A backup runs for hours beside the guest and disturbs it in nothing, so it is
/// no job that would excuse a guest's silence.
pub const fn job(operation: Option<u32>) -> Job {
    match operation {
        None | Some(ffi::VIR_DOMAIN_JOB_OPERATION_BACKUP) => Job::None,
        Some(ffi::VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN | ffi::VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT) => {
            Job::Migration
        }
        Some(ffi::VIR_DOMAIN_JOB_OPERATION_SAVE | ffi::VIR_DOMAIN_JOB_OPERATION_RESTORE) => Job::Save,
        Some(_) => Job::Other,
    }
}

/// What a lifecycle event tells beyond that the domain changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cue {
    /// Nothing.
    Changed,
    /// This happened.
    Happened(Happened),
    /// QEMU was told from the host to end, by a signal: that the guest "shut down", as libvirt will say, is not so.
    EndedFromHost,
}

/// Reads a lifecycle event.
pub const fn cue(event: u32, detail: u32) -> Cue {
    match (event, detail) {
        (ffi::VIR_DOMAIN_EVENT_STARTED, ffi::VIR_DOMAIN_EVENT_STARTED_WAKEUP) => {
            Cue::Happened(Happened::Resumed)
        }
        // Of a confidential guest's reboot libvirt makes a new QEMU; the life's number tells what came of it.
        (ffi::VIR_DOMAIN_EVENT_STARTED, ffi::VIR_DOMAIN_EVENT_STARTED_RECREATED)
        | (ffi::VIR_DOMAIN_EVENT_STOPPED, ffi::VIR_DOMAIN_EVENT_STOPPED_RECREATED) => Cue::Changed,
        (ffi::VIR_DOMAIN_EVENT_STARTED, _) => Cue::Happened(Happened::Started),
        // The guest's own shutdown ends in this pause for a moment.
        (ffi::VIR_DOMAIN_EVENT_SUSPENDED, ffi::VIR_DOMAIN_EVENT_SUSPENDED_GUEST_SHUTDOWN) => Cue::Changed,
        (ffi::VIR_DOMAIN_EVENT_SUSPENDED, detail) => Cue::Happened(Happened::Paused(suspended(detail))),
        (ffi::VIR_DOMAIN_EVENT_RESUMED, _) => Cue::Happened(Happened::Resumed),
        (ffi::VIR_DOMAIN_EVENT_STOPPED, detail) => Cue::Happened(Happened::Stopped(stopped(detail))),
        (ffi::VIR_DOMAIN_EVENT_SHUTDOWN, ffi::VIR_DOMAIN_EVENT_SHUTDOWN_HOST) => Cue::EndedFromHost,
        (ffi::VIR_DOMAIN_EVENT_CRASHED, _) => Cue::Happened(Happened::Panicked),
        _ => Cue::Changed,
    }
}

const fn suspended(detail: u32) -> Paused {
    match detail {
        ffi::VIR_DOMAIN_EVENT_SUSPENDED_PAUSED
        | ffi::VIR_DOMAIN_EVENT_SUSPENDED_RESTORED
        | ffi::VIR_DOMAIN_EVENT_SUSPENDED_FROM_SNAPSHOT => Paused::User,
        ffi::VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED
        | ffi::VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY
        | ffi::VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY_FAILED => Paused::Busy,
        ffi::VIR_DOMAIN_EVENT_SUSPENDED_IOERROR => Paused::IoError,
        ffi::VIR_DOMAIN_EVENT_SUSPENDED_WATCHDOG => Paused::Watchdog,
        _ => Paused::Unknown,
    }
}

const fn stopped(detail: u32) -> Off {
    match detail {
        ffi::VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN => Off::Shutdown,
        ffi::VIR_DOMAIN_EVENT_STOPPED_DESTROYED => Off::Destroyed,
        ffi::VIR_DOMAIN_EVENT_STOPPED_CRASHED => Off::Crashed,
        ffi::VIR_DOMAIN_EVENT_STOPPED_MIGRATED => Off::Migrated,
        ffi::VIR_DOMAIN_EVENT_STOPPED_SAVED => Off::Saved,
        ffi::VIR_DOMAIN_EVENT_STOPPED_FAILED => Off::Failed,
        ffi::VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT => Off::Snapshot,
        _ => Off::Unknown,
    }
}

/// A `virConnectCloseReason` in words.
pub const fn closed(reason: u32) -> &'static str {
    match reason {
        ffi::VIR_CONNECT_CLOSE_REASON_EOF => "libvirtd closed the connection",
        ffi::VIR_CONNECT_CLOSE_REASON_KEEPALIVE => "libvirtd stopped answering the connection's keepalive",
        ffi::VIR_CONNECT_CLOSE_REASON_CLIENT => "the connection was closed here",
        _ => "the connection failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_with_their_reasons() {
        assert_eq!(run(1, 1, true), Run::Running);
        assert_eq!(run(2, 0, true), Run::Running);
        assert_eq!(run(3, 1, true), Run::Paused(Paused::User));
        assert_eq!(run(3, 2, true), Run::Paused(Paused::Busy));
        assert_eq!(run(3, 5, true), Run::Paused(Paused::IoError));
        assert_eq!(run(3, 8, true), Run::ShuttingDown);
        assert_eq!(run(3, 11, true), Run::Paused(Paused::Starting));
        assert_eq!(run(4, 0, true), Run::ShuttingDown);
        assert_eq!(run(5, 1, false), Run::Off(Off::Shutdown));
        assert_eq!(run(5, 2, false), Run::Off(Off::Destroyed));
        assert_eq!(run(5, 3, false), Run::Off(Off::Crashed));
        assert_eq!(run(5, 5, false), Run::Off(Off::Saved));
        assert_eq!(run(5, 6, false), Run::Off(Off::Failed));
        assert_eq!(run(6, 1, true), Run::Crashed);
        assert_eq!(run(6, 1, false), Run::Off(Off::Crashed));
        assert_eq!(run(7, 0, true), Run::Asleep);
    }

    #[test]
    fn a_state_of_a_later_libvirt_is_no_reason_to_act() {
        assert_eq!(run(99, 0, true), Run::Running);
        assert_eq!(run(3, 99, true), Run::Paused(Paused::Unknown));
        assert_eq!(run(5, 99, false), Run::Off(Off::Unknown));
        assert_eq!(cue(99, 0), Cue::Changed);
    }

    #[test]
    fn events_keep_their_cause() {
        assert_eq!(cue(2, 0), Cue::Happened(Happened::Started));
        assert_eq!(cue(2, 4), Cue::Happened(Happened::Resumed));
        assert_eq!(cue(3, 2), Cue::Happened(Happened::Paused(Paused::IoError)));
        assert_eq!(cue(5, 0), Cue::Happened(Happened::Stopped(Off::Shutdown)));
        assert_eq!(cue(5, 5), Cue::Happened(Happened::Stopped(Off::Failed)));
        assert_eq!(cue(6, 1), Cue::Changed);
        assert_eq!(cue(6, 2), Cue::EndedFromHost);
        assert_eq!(cue(8, 0), Cue::Happened(Happened::Panicked));
    }

    #[test]
    fn a_backup_is_no_excuse() {
        assert_eq!(job(None), Job::None);
        assert_eq!(job(Some(5)), Job::Migration);
        assert_eq!(job(Some(2)), Job::Save);
        assert_eq!(job(Some(8)), Job::Other);
        assert_eq!(job(Some(9)), Job::None);
    }
}
