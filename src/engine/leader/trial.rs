//! Trial: what moving a group on purpose would mean, as an operator who only asks is told. What is tried is decided as in
//! earnest, and then not proposed.

use super::apps::target_name;
use super::moves::method;
use super::{Leader, View};
use crate::config;
use roost_proto::cluster::decision::{Asked, Decision};
use roost_proto::cluster::{HostId, MoveAsk, Whither};
use roost_proto::control::MoveMethod;
use roost_proto::insight::Trial;
use roost_proto::time::Span;

impl Leader {
    /// What would be done with a group that is to go there, in the first of its own ways; nothing if that is not known yet.
    pub fn try_move(&self, view: &View<'_>, group: &config::Group, whither: Whither) -> Option<Trial> {
        let asked = Asked { host: view.me, start: 0, number: 0 };
        let ask = MoveAsk { asked, group: group.name.clone(), whither, method: None };
        Some(match self.plan_move(view, &ask)? {
            Err(reason) => Trial::Refused { reason },
            Ok(Decision::Prepare { to: Some(to), .. }) => {
                let steps = group.app.iter().flat_map(|app| self.steps(view, (group, app), to)).collect();
                Trial::Done { to: target_name(view, group, to), steps }
            }
            Ok(Decision::MoveBegin { to, carry, .. }) => {
                let (from, to) = (owner(view, group), view.name(to));
                let way = match method(carry) {
                    MoveMethod::Suspend => "is saved on '{from}', and restored on '{to}'",
                    MoveMethod::Live | MoveMethod::Cold => "goes from '{from}' to '{to}', while it runs on",
                };
                let way = way.replace("{from}", &from).replace("{to}", &to);
                let limit = Span(group.move_timeout);
                let steps =
                    vec![format!("its memory {way}, at most {limit}: if that fails, it stays on '{from}'")];
                Trial::Done { to, steps }
            }
            Ok(Decision::Recall { to: Some(to), .. }) => {
                let (from, to) = (owner(view, group), view.name(to));
                let steps = vec![
                    format!(
                        "its guest is asked to shut down on '{from}', at most {}",
                        Span(group.stop_timeout)
                    ),
                    format!("it is started on '{to}'"),
                ];
                Trial::Done { to, steps }
            }
            Ok(_) => return None,
        })
    }
}

fn owner(view: &View<'_>, group: &config::Group) -> String {
    view.ledger.group(&group.name).owner.map(|owner: HostId| view.name(owner)).unwrap_or_default()
}
