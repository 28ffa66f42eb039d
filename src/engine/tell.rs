//! What is recorded of an applied decision, on the hosts that it concerns.

use super::ledger::{Effect, Ledger};
use roost_proto::cluster::decision::{Arms, Decision, FencedBy, HostMode, RecallReason};
use roost_proto::cluster::{GroupOrder, HostId};
use roost_proto::control::{EventKind, Intent, Level};

/// An event: how bad, what, about which group, in words.
pub type Told = (Level, EventKind, Option<String>, String);

/// What `me` records of a decision that was just applied to `ledger`. What a leader tells when it decides is not told again.
pub fn tell(ledger: &Ledger, me: HostId, decision: &Decision, effect: Effect) -> Option<Told> {
    if effect != Effect::Done {
        return None;
    }
    let name =
        |host: &HostId| ledger.host(*host).map_or_else(|| format!("{host:?}"), |record| record.name.clone());
    let owner = |group: &str| ledger.group(group).owner == Some(me);
    let host_event = |level, kind, text| Some((level, kind, None, text));
    match decision {
        Decision::Admit { host, incarnation, .. } => {
            let text = format!("'{}' is in the cluster (start {})", name(host), incarnation.start);
            host_event(Level::Info, EventKind::HostAdmitted, text)
        }
        Decision::Evict { host, .. } => {
            let text = format!(
                "'{}' is evicted: its groups are blocked until it is known to run nothing",
                name(host)
            );
            host_event(Level::Error, EventKind::HostLost, text)
        }
        Decision::Fenced { host, by, .. } => {
            let how = match by {
                FencedBy::Agent => "its fence agents say that it is off",
                FencedBy::Time => "lease and watchdog have run out",
                FencedBy::Itself => "it says so itself",
                FencedBy::Operator => "an operator says so",
            };
            let text = format!("'{}' runs nothing: {how}; its groups are free", name(host));
            host_event(Level::Warning, EventKind::HostFenced, text)
        }
        Decision::Leave { host, .. } => {
            let text = format!("'{}' left the cluster in order", name(host));
            host_event(Level::Info, EventKind::HostLeft, text)
        }
        Decision::Mode { host, mode, by } => {
            let what = match mode {
                HostMode::Active => "may be used again",
                HostMode::Maintenance => "is in maintenance",
                HostMode::Quarantined => "gets no new groups for a while",
            };
            host_event(Level::Info, EventKind::HostMode, format!("'{}' {what} ({by})", name(host)))
        }
        Decision::Assign { group, to, .. } if *to == me => {
            let text = format!("it is this host's from now on (epoch {})", ledger.group(group).epoch);
            Some((Level::Info, EventKind::Assigned, Some(group.clone()), text))
        }
        Decision::AssignInside { group, to, inside, .. } if *to == me => {
            let epoch = ledger.group(group).epoch;
            let text = format!("it is to run in the VM of '{inside}', which is this host's (epoch {epoch})");
            Some((Level::Info, EventKind::Assigned, Some(group.clone()), text))
        }
        Decision::Recall { group, to, why, .. } if owner(group) => {
            let why_text = match why {
                RecallReason::Failed => "it could not be kept up here",
                RecallReason::Emptied => "this host is to be emptied",
                RecallReason::Moved => "an operator wants it elsewhere",
                RecallReason::Displaced => "others need its place",
                RecallReason::Kept => "this host is shut down, and it is kept for it",
                RecallReason::Home => "it goes home",
                RecallReason::Unneeded => "no application needs it",
            };
            let text = match why {
                RecallReason::Kept | RecallReason::Unneeded => format!("it is to be stopped: {why_text}"),
                _ => {
                    let to = to
                        .map_or_else(|| "elsewhere".to_owned(), |to| format!("to '{}'", target(ledger, to)));
                    format!("it is to go {to}: {why_text}")
                }
            };
            Some((Level::Warning, EventKind::Recalled, Some(group.clone()), text))
        }
        Decision::Order { group, order, by } => {
            let what = match order {
                GroupOrder::Intent(Intent::Online) => "wants it online",
                GroupOrder::Intent(Intent::Offline) => "wants it offline",
                GroupOrder::Freeze => "froze it",
                GroupOrder::Thaw => "thawed it",
            };
            Some((Level::Info, EventKind::Operator, Some(group.clone()), format!("{by} {what}")))
        }
        Decision::Arm { arms, by } => {
            let (level, text) = match arms {
                Arms::Armed => (Level::Info, format!("the cluster is armed again ({by})")),
                Arms::Disarmed => (
                    Level::Warning,
                    format!(
                        "the cluster is disarmed ({by}): nothing is started, stopped, moved or fenced until `roost arm`"
                    ),
                ),
            };
            host_event(level, EventKind::Operator, text)
        }
        Decision::Assign { .. }
        | Decision::AssignInside { .. }
        | Decision::Prepare { .. }
        | Decision::Recall { .. }
        | Decision::Release { .. }
        | Decision::GiveUp { .. }
        | Decision::Forgive { .. }
        | Decision::Renew { .. }
        | Decision::MoveBegin { .. }
        | Decision::MoveEnd { .. } => None, // see `moves`
    }
}

/// The name of where a group goes: a host, or the VM of another group.
fn target(ledger: &Ledger, to: HostId) -> String {
    let host = ledger.host(to).map(|record| record.name.clone());
    let vm = || ledger.groups().map(|(name, _)| name).find(|name| HostId::of_vm(name) == to);
    host.or_else(|| Some(format!("vm:{}", vm()?))).unwrap_or_else(|| format!("{to:?}"))
}
