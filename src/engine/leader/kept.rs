//! Groups of a host that was shut down, and for which they are kept, with `on_shutdown = "stay"`: it gave them back in order, so
//! nothing has to be fenced, and nothing runs.

use super::super::ledger::Standing;
use super::groups::{Why, is_active, is_leaving};
use super::reports::Reports;
use super::{Leader, View};
use crate::config::{self, OnShutdown};
use core::time::Duration;
use roost_proto::cluster::HostId;
use roost_proto::cluster::raft::Index;
use roost_proto::time::{Instant, Span};

/// A host that is back may take so long to get its lease and an answer of libvirt: after that, what is kept for it goes elsewhere.
const BACK_TAKES: Duration = Duration::from_secs(60);

/// How long a group has been kept for a host, as this leader has seen it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeping {
    /// As of which decision about the group.
    changed: Index,
    since: Instant,
    /// Since when the host is back.
    back: Option<Instant>,
}

impl Leader {
    /// Whether a free group is kept for nobody: the host that stopped it, because it was shut down, can take it, or did not come
    /// for so long. That is counted by this leader, from when it first saw it: by the next one anew.
    pub(super) fn is_given(
        &mut self,
        view: &View<'_>,
        reports: &Reports,
        group: &config::Group,
    ) -> Result<(), Why> {
        let record = view.ledger.group(&group.name);
        let on = |host: HostId| group.on.iter().any(|name| HostId::of(name) == host);
        let Some(host) = record.kept.filter(|host| on(*host) && stays(view, *host)) else {
            self.kept.remove(&group.name);
            return Ok(());
        };
        let new = Keeping { changed: record.changed, since: view.now, back: None };
        let keeping = self.kept.entry(group.name.clone()).or_insert(new);
        if keeping.changed != record.changed {
            *keeping = new;
        }
        let is_in = matches!(view.ledger.standing(host), Standing::In(_));
        let back = is_in && !is_leaving(view, host);
        keeping.back = keeping.back.or(Some(view.now)).filter(|_| back);
        let until = match (view.ledger.standing(host), keeping.back) {
            (_, Some(_)) if !is_active(view, host) => return Ok(()),
            (_, Some(_)) if view.has_lease(host) && (group.app.is_some() || reports.room(host).is_some()) => {
                return Ok(());
            }
            (_, Some(since)) => since + BACK_TAKES,
            (Standing::Out | Standing::In(_), None) => keeping.since + view.config.cluster.stay_for,
            (Standing::Evicted(_), None) => return Ok(()), // it was back, and was lost
        };
        if view.now >= until {
            return Ok(());
        }
        self.wake(until);
        let name = view.name(host);
        Err(Why::Kept(match back {
            true => format!("kept for '{name}', which is back, and takes it in a moment"),
            false => format!(
                "kept for '{name}', which was shut down, until it is back, for {} at the most: `roost online {}` starts it elsewhere",
                Span(view.config.cluster.stay_for),
                group.name
            ),
        }))
    }
}

/// Whether a host's groups are kept for it when it is shut down.
pub(super) fn stays(view: &View<'_>, host: HostId) -> bool {
    on_shutdown(view, host) == Some(OnShutdown::Stay)
}

/// What becomes of a host's groups when it is shut down, if the file names it.
pub(super) fn on_shutdown(view: &View<'_>, host: HostId) -> Option<OnShutdown> {
    view.config.host_by_id(host).map(|host| host.on_shutdown)
}
