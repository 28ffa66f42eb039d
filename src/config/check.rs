//! What must hold between settings: within a group's timing, and between groups and hosts.

use super::cluster::ReadCluster;
use super::fields::{Fields, Mistakes, Placed, some_quoted};
use super::host::ReadHost;
use super::read::ReadGroup;
use super::{Group, GuestLink, Host, KEY_FILE, MAX_MISTAKES, MAX_VOTERS, OnQuorumLoss, RECOVERY, Role};
use core::net::SocketAddr;
use core::time::Duration;
use roost_proto::cluster::HostId;
use roost_proto::control::MoveMethod;
use roost_proto::text::nearest;
use roost_proto::time::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// Checks the durations of one group against each other.
pub(super) fn timing(group: &Group, fields: &mut Fields<'_, '_, '_>) {
    if group.boot_grace < group.silence {
        let at = if fields.value("boot_grace").is_some() {
            fields.place("boot_grace")
        } else {
            fields.place("silence")
        };
        fields.mistakes.note(
            at,
            format!(
                "'boot_grace' is {} and 'silence' is {}: a guest that boots is quiet for longer than one that runs; \
                 write boot_grace = \"{}\" or more",
                Span(group.boot_grace),
                Span(group.silence),
                Span(group.silence)
            ),
        );
    }
    recovery_timing(group, fields);
}

fn recovery_timing(group: &Group, fields: &mut Fields<'_, '_, '_>) {
    let recovery = &group.recovery;
    let table = fields.table("recovery", RECOVERY.header);
    let group_at = fields.at;
    let place = |keys: &[&str]| {
        let (table, at) = table?;
        Some(keys.iter().find_map(|&key| table.get(key)).map_or(at, |value| value.span().start))
    };
    if recovery.backoff.first > recovery.backoff.max {
        fields.mistakes.note(
            place(&["backoff", "backoff_max"]).unwrap_or(group_at),
            format!(
                "'backoff' is {} and 'backoff_max' is {}: the first wait cannot be longer than the longest; write \
                 backoff_max = \"{}\" or more",
                Span(recovery.backoff.first),
                Span(recovery.backoff.max),
                Span(recovery.backoff.first)
            ),
        );
        return;
    }
    let cycle = longest_cycle(group);
    if recovery.window <= cycle {
        fields.mistakes.note(
            place(&["window", "backoff_max", "reboot_timeout"]).unwrap_or_else(|| fields.place("boot_grace")),
            format!(
                "'window' is {} and one recovery can take {} ('backoff_max', and the longer of 'boot_grace' and \
                 'reboot_timeout'): each would be forgotten before the next and the ladder would never end; write a \
                 longer window, or shorten the others",
                Span(recovery.window),
                Span(cycle)
            ),
        );
    }
}

/// The longest time from one failure to the next that still is the same trouble: the wait before a recovery, and the
/// time that it is given to show whether it worked.
fn longest_cycle(group: &Group) -> Duration {
    let shown = group.boot_grace.max(group.recovery.reboot_timeout);
    group.recovery.backoff.max.saturating_add(shown)
}

/// Checks the hosts against each other and the cluster, and fills in what follows from all of them: who votes, and the key.
pub(super) fn hosts(cluster: &mut ReadCluster, hosts: &mut [ReadHost], mistakes: &mut Mistakes<'_>) {
    names(hosts, mistakes);
    votes(hosts, mistakes);
    for read in hosts.iter_mut() {
        read.host.on_shutdown = read.on_shutdown.unwrap_or(cluster.cluster.on_shutdown);
    }
    addresses(hosts, mistakes);
    if hosts.len() < 2 {
        return;
    }
    if cluster.cluster.keys.is_empty() {
        cluster.cluster.keys.push(PathBuf::from(KEY_FILE));
    }
    let unfenced = hosts.iter().map(|read| &read.host);
    let unfenced = unfenced.filter(|host| host.role != Role::Witness && host.fence.is_empty());
    let unfenced: Vec<&str> = unfenced.map(|host| host.name.as_str()).collect();
    if cluster.cluster.on_quorum_loss == OnQuorumLoss::Keep && !unfenced.is_empty() {
        mistakes.note(
            cluster.quorum_at,
            format!(
                "'on_quorum_loss' is 'keep', and only a fence agent can stop a host that runs on: give {} a \
                 [[host.fence]], or write on_quorum_loss = \"pause\"",
                some_quoted(&unfenced)
            ),
        );
    }
}

fn names(hosts: &[ReadHost], mistakes: &mut Mistakes<'_>) {
    let mut numbers: BTreeMap<HostId, &str> = BTreeMap::new();
    for read in hosts {
        let name = read.host.name.as_str();
        match numbers.insert(HostId::of(name), name) {
            Some(other) if other == name => {
                mistakes.note(read.at, format!("two [[host]] are called '{name}': give each its own name"));
            }
            Some(other) => mistakes.note(
                read.at,
                format!(
                    "the names '{other}' and '{name}' have the same number among hosts, by chance: give one another name"
                ),
            ),
            None => {}
        }
    }
}

/// Who votes: witnesses, who is told to, and then the first hosts that are not told otherwise, up to an odd number. Of two
/// hosts both: with one voter, the other could not go on without it either, and the one would not be known to be gone.
fn votes(hosts: &mut [ReadHost], mistakes: &mut Mistakes<'_>) {
    for read in hosts.iter_mut() {
        let said = read.votes.map(|votes| votes.value);
        read.host.votes = read.host.role == Role::Witness || said == Some(true);
    }
    let mut voting = hosts.iter().filter(|read| read.host.votes).count();
    let may = |read: &ReadHost| read.host.role != Role::Watched && read.votes.is_none_or(|votes| votes.value);
    let able = hosts.iter().filter(|read| may(read)).count();
    let wanted = match able.min(MAX_VOTERS) {
        2 => 2,
        able => able.saturating_sub(1) / 2 * 2 + able.min(1),
    };
    let silent = hosts.iter_mut().filter(|read| read.votes.is_none() && read.host.role != Role::Watched);
    for read in silent {
        if !read.host.votes && voting < wanted {
            read.host.votes = true;
            voting += 1;
        }
    }
    if voting == 0 && !hosts.is_empty() {
        let at = hosts.iter().find_map(|read| read.votes).map_or(0, |votes| votes.at);
        mistakes
            .note(at, "no host votes, and nothing could be decided: leave a 'votes = false' out".to_owned());
    }
    if let Some(read) = hosts.iter().filter(|read| read.host.votes).nth(MAX_VOTERS) {
        mistakes.note(
            read.votes.map_or(read.at, |votes| votes.at),
            format!(
                "{voting} hosts vote, and at most {MAX_VOTERS} may: leave 'votes = true' or witnesses out"
            ),
        );
    }
}

/// Hosts of a cluster reach each other on the same networks, each of which has the same place in every list.
fn addresses(hosts: &[ReadHost], mistakes: &mut Mistakes<'_>) {
    let mut owners: BTreeMap<SocketAddr, &str> = BTreeMap::new();
    let first = hosts.iter().map(|read| &read.host).find(|host| !host.addresses.is_empty());
    for read in hosts {
        let host = &read.host;
        for (address, at) in host.addresses.iter().zip(&read.addresses_at) {
            if let Some(other) = owners.insert(*address, &host.name) {
                mistakes.note(
                    *at,
                    format!(
                        "'{address}' is an address of '{other}' and of '{}': give each its own",
                        host.name
                    ),
                );
            }
        }
        if hosts.len() < 2 {
            continue;
        }
        if host.role == Role::Watched {
            continue;
        }
        if host.addresses.is_empty() {
            mistakes.note(
                read.address_at,
                format!(
                    "host '{}' has no 'address', by which the others reach it: write address = \"10.0.0.1\"",
                    host.name
                ),
            );
            continue;
        }
        let Some(first) = first else { continue };
        let families = |host: &Host| host.addresses.iter().map(SocketAddr::is_ipv4).collect::<Vec<_>>();
        if families(host) != families(first) {
            mistakes.note(
                read.address_at,
                format!(
                    "'address' of '{}' does not match that of '{}': every host has one on each network, IPv4 or IPv6 \
                     alike, in the same order",
                    host.name, first.name
                ),
            );
        }
    }
}

/// Checks groups against each other and the hosts, and fills in the hosts of groups that name none.
pub(super) fn groups(
    cluster: &ReadCluster,
    hosts: &[ReadHost],
    groups: &mut [ReadGroup],
    mistakes: &mut Mistakes<'_>,
) {
    let mut names = BTreeSet::new();
    let (mut vms, mut links) = (BTreeMap::new(), BTreeMap::new());
    for read in groups.iter() {
        let name = read.group.name.as_str();
        if !names.insert(name) {
            mistakes.note(read.at, format!("two [[group]] are called '{name}': give each its own name"));
        }
        if read.app.is_some() {
            continue;
        }
        if let Some(other) = vms.insert(read.group.vm.as_str(), name) {
            mistakes.note(
                read.vm_at,
                format!(
                    "'{}' is the VM of the groups '{other}' and '{name}': a VM belongs to one group",
                    read.group.vm
                ),
            );
        }
        if let GuestLink::Hybrid(path) = &read.group.link
            && let Some(other) = links.insert(path, name)
        {
            mistakes.note(
                read.link_at,
                format!(
                    "'{}' is the link of the groups '{other}' and '{name}': a guest is known by its socket, so give each its own",
                    path.display()
                ),
            );
        }
    }
    let roles: BTreeMap<&str, Role> =
        hosts.iter().map(|read| (read.host.name.as_str(), read.host.role)).collect();
    let hypervisors = hosts.iter().filter(|read| read.host.role == Role::Hypervisor);
    let every: Arc<[String]> = hypervisors.map(|read| read.host.name.clone()).collect();
    for read in groups.iter_mut().filter(|read| read.app.is_none()) {
        read.group.moves = moves(cluster, read, mistakes);
        read.group.ranked = read.on.is_some();
        read.group.on = match &read.on {
            Some(on) => chosen(on, &roles, mistakes),
            None => {
                if every.is_empty() {
                    let message = "no host may run it, for each is a witness: add a [[host]] that is none";
                    mistakes.note(read.at, message.to_owned());
                }
                Arc::clone(&every)
            }
        };
    }
}

/// How a group may be moved: as the file says, or in every way that there is.
fn moves(cluster: &ReadCluster, read: &ReadGroup, mistakes: &mut Mistakes<'_>) -> Vec<MoveMethod> {
    let saves = cluster.cluster.save_dir.is_some();
    let Some(moves) = &read.moves else {
        let mut every = vec![MoveMethod::Live, MoveMethod::Suspend, MoveMethod::Cold];
        every.retain(|method| *method != MoveMethod::Suspend || saves);
        return every;
    };
    if let Some((at, _)) = moves.iter().find(|(_, method)| *method == MoveMethod::Suspend && !saves) {
        let message = "'moves' names 'suspend', and [cluster] has no 'save_dir' where memory could be saved: name a directory \
                       that every host sees, as in save_dir = \"/srv/shared/roost\", or leave 'suspend' out";
        mistakes.note(*at, message.to_owned());
    }
    moves.iter().map(|(_, method)| *method).collect()
}

fn chosen(on: &[Placed<String>], roles: &BTreeMap<&str, Role>, mistakes: &mut Mistakes<'_>) -> Arc<[String]> {
    for name in on {
        match roles.get(name.value.as_str()) {
            Some(Role::Hypervisor) => {}
            Some(Role::Application | Role::Watched) => mistakes.note(
                name.at,
                format!("'on' names '{}', which runs applications and no VM: leave it out", name.value),
            ),
            Some(Role::Witness) => mistakes.note(
                name.at,
                format!("'on' names '{}', which is a witness and runs nothing: leave it out", name.value),
            ),
            None => {
                let hint = hint(&name.value, || roles.keys().copied(), mistakes);
                mistakes.note(
                    name.at,
                    format!("'on' names '{}', and no [[host]] is called so{hint}", name.value),
                );
            }
        }
    }
    on.iter().map(|name| name.value.clone()).collect()
}

/// What may have been meant by `name`. Not looked for any more when more mistakes are found than are told: with thousands of
/// names and thousands of mistakes that would take minutes.
pub(super) fn hint<'a, I: Iterator<Item = &'a str>>(
    name: &str,
    known: impl Fn() -> I,
    mistakes: &Mistakes<'_>,
) -> String {
    if mistakes.count() >= MAX_MISTAKES {
        return String::new();
    }
    match nearest(name, known()) {
        Some(near) => format!(" (did you mean '{near}'?)"),
        None => format!("; the file names {}", some_quoted(&known().collect::<Vec<_>>())),
    }
}
