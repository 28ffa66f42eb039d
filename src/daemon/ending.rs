//! How `roostd` ends: at once, or after this host has left the cluster.

use super::{Daemon, Ended};
use crate::config::OnShutdown;
use crate::driver::clock;
use crate::driver::shutdown::{self, Ending};
use crate::engine::Input;
use crate::engine::keeper::draft;
use crate::engine::watchdog::WatchdogOrder;
use nix::sys::signal::Signal;
use roost_proto::control::{EventKind, Level};
use roost_proto::time::{Instant, Span};

/// How far `roostd` is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Not on it.
    Staying,
    /// It was told to end, and asks whether the machine does: until then.
    Asking { until: Instant },
    /// It gives this host's groups back first; who told it so.
    Leaving(ToldBy),
}

/// Who told `roostd` to give its groups back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ToldBy {
    /// SIGPWR: it may be told to end besides.
    Operator,
    /// What tells it to end, too: told so once more, it does at once.
    Shutdown,
}

impl Way {
    /// When it is not waited any longer.
    pub(super) const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Asking { until } => Some(until),
            Self::Staying | Self::Leaving(_) => None,
        }
    }
}

impl Daemon {
    /// A host on which nothing can run any more needs no watchdog, nor does one whose VMs nobody else could start. With it,
    /// the machine would be reset while it is shut down.
    pub(super) fn put_watchdog_away(&mut self) {
        let keeper = self.engine.keeper();
        if self.config.hosts.len() == 1 || !(keeper.may_run() || keeper.is_left()) {
            self.feed(WatchdogOrder::Disarm);
        }
    }

    pub(super) fn take_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            match Signal::try_from(signal.ssi_signo.cast_signed()) {
                Ok(Signal::SIGHUP) => {
                    if let Err(reason) = self.reload() {
                        log::error!("{reason}");
                    }
                }
                Ok(Signal::SIGPWR) => match self.way {
                    Way::Staying => self.leave(ToldBy::Operator),
                    Way::Asking { .. } => self.leave(ToldBy::Shutdown),
                    Way::Leaving(_) => {}
                },
                _ => self.told_to_end(),
            }
        }
    }

    /// A restart of `roostd` must move nothing, and a shutdown of the machine must: systemd knows which it is.
    fn told_to_end(&mut self) {
        match self.way {
            Way::Staying if self.systemd.is_there() && self.config.hosts.len() > 1 => {
                self.way = Way::Asking { until: clock::now() + shutdown::ANSWER_WITHIN };
                self.shutdown.ask();
            }
            Way::Leaving(ToldBy::Operator) => self.way = Way::Leaving(ToldBy::Shutdown),
            Way::Staying | Way::Asking { .. } | Way::Leaving(ToldBy::Shutdown) => {
                self.ended = Some(Ended::Stopped);
            }
        }
    }

    pub(super) fn systemd_says(&mut self, ending: Ending) {
        match (self.way, ending) {
            (Way::Asking { .. }, Ending::Machine) => self.leave(ToldBy::Shutdown),
            (Way::Asking { .. }, Ending::Daemon) => self.ended = Some(Ended::Stopped),
            (Way::Staying | Way::Leaving(_), _) => {} // it comes too late
        }
    }

    /// Has this host's groups go elsewhere, and then ends.
    fn leave(&mut self, told_by: ToldBy) {
        self.way = Way::Leaving(told_by);
        let why = match told_by {
            ToldBy::Operator => "roostd was told to leave",
            ToldBy::Shutdown => "the machine is being shut down",
        };
        let own = self.config.hosts.iter().find(|host| host.name == self.host).map(|host| host.on_shutdown);
        let then = match own {
            Some(OnShutdown::Stay) => {
                format!("they are kept for it, for {} at the most", Span(self.config.cluster.stay_for))
            }
            Some(OnShutdown::Move | OnShutdown::Stop) | None => "they start elsewhere".to_owned(),
        };
        let text = format!("{why}: this host gives its groups back, and {then}");
        self.record(draft(Level::Info, EventKind::DaemonStopped, None, text));
        self.engine.handle(clock::now(), Input::Leave);
        self.drain();
    }
}
