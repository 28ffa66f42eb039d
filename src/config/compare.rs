//! What changes between two configurations, in words: for whoever is about to have one read in place of the other.

use super::{App, Cluster, Config, Group, Host};
use std::collections::BTreeMap;

/// Changes that are told one by one; of more, the number tells enough.
const TOLD: usize = 40;

/// Each change, or nothing if the two say the same.
pub(super) fn changes(before: &Config, after: &Config) -> Vec<String> {
    let mut told = cluster(&before.cluster, &after.cluster);
    told.extend(tables("host", &before.hosts, &after.hosts, |host| &host.name, host, |name| {
        format!("(empty it first, by `roost maintenance {name} on`: what it owns stays there, and is blocked when it is silent)")
    }));
    let voters = |config: &Config| -> Vec<String> { config.voters().map(|host| host.name.clone()).collect() };
    let (had, has) = (voters(before), voters(after));
    if had != has {
        told.push(format!("voters: {}; they were {}", has.join(", "), had.join(", ")));
    }
    told.extend(tables(
        "group",
        &before.groups,
        &after.groups,
        |group| &group.name,
        group,
        |name| format!("(its VM is left as it is: if it is to stop, say `roost offline {name}` first)"),
    ));
    if told.len() > TOLD {
        let more = told.len() - TOLD;
        told.truncate(TOLD);
        told.push(format!("and {more} more"));
    }
    told
}

/// Tables that came, went, or have other keys.
fn tables<T: PartialEq>(
    kind: &str,
    before: &[T],
    after: &[T],
    name: impl Fn(&T) -> &String,
    keys: impl Fn(&T, &T) -> Vec<&'static str>,
    before_it_goes: impl Fn(&str) -> String,
) -> Vec<String> {
    let known: BTreeMap<&String, &T> = before.iter().map(|table| (name(table), table)).collect();
    let named: BTreeMap<&String, &T> = after.iter().map(|table| (name(table), table)).collect();
    let gone = known.keys().filter(|name| !named.contains_key(*name));
    let mut told: Vec<String> =
        gone.map(|name| format!("{kind} '{name}' is removed {}", before_it_goes(name))).collect();
    for table in after {
        let name = name(table);
        match known.get(name) {
            None => told.push(format!("{kind} '{name}' is added")),
            Some(before) if *before != table => {
                let keys = keys(before, table);
                if !keys.is_empty() {
                    told.push(format!("{kind} '{name}': {}", keys.join(", ")));
                }
            }
            Some(_) => {}
        }
    }
    told
}

/// The keys of which the values differ.
macro_rules! differ {
    ($before:expr, $after:expr, $($field:ident => $words:expr),+ $(,)?) => {
        [$(($before.$field != $after.$field).then_some($words)),+].into_iter().flatten().collect()
    };
}

fn cluster(before: &Cluster, after: &Cluster) -> Vec<String> {
    let keys: Vec<&str> = differ!(before, after,
        name => "name (used after a restart of roostd on every host)",
        timing => "timing (used after a restart of roostd, on every host)",
        on_quorum_loss => "on_quorum_loss (\"keep\" begins with a restart of roostd)",
        keys => "key",
        on_stray => "on_stray",
        starts_at_once => "starts_at_once",
        quarantine => "quarantine",
        save_dir => "save_dir",
        metrics_file => "metrics_file",
        on_shutdown => "on_shutdown",
        stay_for => "stay_for",
    );
    keys.into_iter().map(|key| format!("cluster: {key}")).collect()
}

fn host(before: &Host, after: &Host) -> Vec<&'static str> {
    differ!(before, after,
        libvirt => "libvirt (used after a restart of roostd there)",
        addresses => "address",
        role => "role",
        watchdog => "watchdog (used after a restart of roostd there)",
        trust_watchdog => "trust_watchdog (used after a restart of roostd there)",
        fence => "fence",
        reserve_mib => "reserve_mib",
        libvirt_remote => "libvirt_remote",
        on_shutdown => "on_shutdown",
        key => "key",
        silence => "silence",
    )
}

fn group(before: &Group, after: &Group) -> Vec<&'static str> {
    if let (Some(was), Some(is)) = (&before.app, &after.app) {
        let mut keys = app(was, is);
        // Its hosts follow from its targets, and from the hosts of their VMs.
        keys.extend(common(before, after).into_iter().filter(|key| *key != "on"));
        return keys;
    }
    let mut keys: Vec<&str> = differ!(before, after, app => "app");
    keys.extend(common(before, after));
    keys
}

fn app(before: &App, after: &App) -> Vec<&'static str> {
    differ!(before, after,
        name => "app (take the group offline first: what runs under the old name is guarded no more)",
        targets => "on",
        failback => "failback",
        lease => "app_lease",
    )
}

fn common(before: &Group, after: &Group) -> Vec<&'static str> {
    differ!(before, after,
        standby => "standby",
        vm => "vm (take the group offline first: what runs under the old name is guarded no more)",
        xml => "xml",
        on => "on",
        apps => "apps",
        link => "link",
        on_guest_shutdown => "on_guest_shutdown",
        silence => "silence",
        boot_grace => "boot_grace",
        on_silence => "on_silence",
        silence_patience => "silence_patience",
        stop_timeout => "stop_timeout",
        moves => "moves",
        move_timeout => "move_timeout",
        recovery => "recovery",
        priority => "priority",
        together => "together",
        apart => "apart",
        needs => "needs",
    )
}
