//! What a good file may still lack.

use super::fields::some_quoted;
use super::{Config, Role};

pub(super) fn advice(config: &Config) -> Vec<String> {
    let mut advice = Vec::new();
    if config.hosts.len() < 2 {
        return advice;
    }
    let voters: Vec<&str> = config.voters().map(|host| host.name.as_str()).collect();
    match voters.as_slice() {
        [only] => advice.push(format!(
            "only '{only}' votes: without it no other host keeps its lease; let three hosts vote, or add a [[host]] with \
             role = \"witness\""
        )),
        [one, other] => advice.push(format!(
            "only '{one}' and '{other}' vote: neither survives the other's loss, for one of two is no majority; add a third \
             [[host]], if only with role = \"witness\""
        )),
        voters if voters.len().is_multiple_of(2) => advice.push(format!(
            "{} hosts vote, and survive the loss of {}, as {} would: let one more vote, or write 'votes = false' for one",
            voters.len(),
            voters.len() / 2 - 1,
            voters.len() - 1
        )),
        _ => {}
    }
    let unproven: Vec<&str> = config
        .hosts
        .iter()
        .filter(|host| host.role != Role::Witness && host.fence.is_empty() && host.watchdog.is_none())
        .map(|host| host.name.as_str())
        .collect();
    if !unproven.is_empty() {
        advice.push(format!(
            "without a fence agent and a watchdog: {}; when such a host is lost its groups stay blocked until somebody makes \
             sure that it is off and says 'roost fence HOST --confirm'",
            some_quoted(&unproven)
        ));
    }
    advice
}
