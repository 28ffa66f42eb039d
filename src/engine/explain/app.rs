//! What is to be said of applications, and of the VMs that are their cold standbys.

use crate::config::{App, Failback, Group, Standby, Target};
use crate::engine::Engine;
use crate::engine::leader::apps::{Able, by_preference, judge_targets, needed};
use crate::engine::leader::placement::Plan;
use crate::engine::leader::reports::Reports;
use crate::engine::leader::{Leader, View};
use crate::engine::ledger::GroupRecord;
use roost_proto::cluster::HostId;
use roost_proto::cluster::decision::RecallReason;
use roost_proto::insight::{HostVerdict, Verdict};
use roost_proto::time::Span;

impl Engine {
    /// Why an application is where it is, and when it goes home.
    pub(super) fn why_on_target(&self, group: &Group, app: &App, record: &GroupRecord) -> Vec<String> {
        let mut why = Vec::new();
        if let Some(preparing) = self.ledger.preparing(&group.name) {
            let what = match preparing.why {
                RecallReason::Home => "it is to go home",
                RecallReason::Emptied => "its host is to be emptied, and it is to go",
                _ => "it is to go",
            };
            let to = self.target_name(group, preparing.to);
            why.push(format!("{what} to '{to}', which is made ready while it runs on"));
        }
        let (Some(owner), Some(home)) = (record.owner, app.targets.first()) else { return why };
        let at = self.ledger.target(&group.name).map(|at| self.target_name(group, at)).unwrap_or_default();
        let host = self.name(owner);
        if self.is_evicted(owner) {
            why.push(format!("it was on '{at}', and may still run there"));
        } else if at == home.to_string() {
            why.push(format!("'{at}' is its home, the first of its targets in 'on'"));
        } else {
            why.push(format!(
                "its home is '{home}'; it stays on '{at}' until it fails, is moved, or loses its host"
            ));
            why.push(goes_home(group, app));
        }
        if let Some(vm) = self.ledger.inside(&group.name) {
            why.push(format!("it runs in the VM of '{vm}', which is on '{host}'"));
        }
        why
    }

    /// Which applications a group's VM is on for, as far as that is why it is on.
    pub(super) fn needs_of(&self, leader: &Leader, view: &View<'_>, group: &Group) -> Vec<String> {
        let mut told = Vec::new();
        let inside: Vec<&str> = self.ledger.apps_in(&group.name).collect();
        match inside.len() {
            0 => {}
            1 => told.push(format!("the application {} runs in its VM", quoted(&inside))),
            _ => told.push(format!("the applications {} run in its VM", quoted(&inside))),
        }
        if group.standby == Standby::Cold {
            let needed = needed(view, leader.reports());
            let apps: Vec<&str> = needed.get(&group.name).into_iter().flatten().map(String::as_str).collect();
            told.push(match apps.as_slice() {
                [] => "a cold standby: it is off until an application needs it, and none does".to_owned(),
                apps => format!("a cold standby: it is on for {}", quoted(apps)),
            });
        }
        told
    }

    /// What is to be said of each target of an application.
    pub(super) fn target_verdicts(
        &self,
        view: &View<'_>,
        reports: Option<&Reports>,
        plan: &Plan<'_>,
        (group, app): (&Group, &App),
    ) -> Vec<HostVerdict> {
        let at = self.ledger.target(&group.name);
        let none = Reports::default();
        let heard = reports.unwrap_or(&none);
        let ranked = by_preference(view, heard, plan, group, app);
        let others = || ranked.iter().filter(|(target, _)| Some(target.id()) != at);
        let now = others().find(|(_, able)| matches!(able, Able::Now(_)));
        let next = now.or_else(|| others().find(|(_, able)| matches!(able, Able::Starting(_))));
        let next = next.map(|(target, _)| target.id());
        let verdict = |(target, able): (&Target, Able)| {
            let id = target.id();
            let word = if next == Some(id) { Verdict::Next } else { Verdict::Could };
            let (verdict, reason) = match able {
                _ if at == Some(id) => {
                    let evicted =
                        self.ledger.group(&group.name).owner.is_some_and(|owner| self.is_evicted(owner));
                    let reason = if evicted { "it may still run there" } else { "it is there" };
                    (Verdict::Owner, reason.to_owned())
                }
                _ if reports.is_none() => {
                    (Verdict::Unknown, "only a leader knows whether it could go there".to_owned())
                }
                Able::Now(_) => (word, "it can take it now".to_owned()),
                Able::Starting(why) => (word, why),
                Able::Settling(why) | Able::NoRoom(why) | Able::Failed(why) | Able::No(why) => {
                    (Verdict::Cannot, why)
                }
            };
            HostVerdict { host: target.to_string(), verdict, reason, switch: None }
        };
        judge_targets(view, heard, plan, group, app).into_iter().map(verdict).collect()
    }

    /// The number of a place that a verdict names.
    pub(super) fn target_id(&self, group: &Group, name: &str) -> HostId {
        let mut targets = group.app.iter().flat_map(|app| &app.targets);
        targets.find(|target| target.to_string() == name).map_or_else(|| HostId::of(name), Target::id)
    }
}

/// When an application that is away goes home.
fn goes_home(group: &Group, app: &App) -> String {
    match app.failback {
        Failback::Manual => format!("it goes home when somebody says `roost failback {}`", group.name),
        Failback::Auto { after, window } => {
            let window = window.map(|window| format!(", and it is {window}")).unwrap_or_default();
            format!("it goes home by itself when its home could have taken it for {}{window}", Span(after))
        }
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}
