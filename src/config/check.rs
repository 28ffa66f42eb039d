//! What must hold between settings: within a group's timing, and between groups and hosts.

use super::fields::{Fields, Mistakes, quoted};
use super::read::{ReadGroup, ReadHost};
use super::{Group, GuestLink, RECOVERY};
use core::time::Duration;
use roost_proto::text::nearest;
use roost_proto::time::Span;

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

/// Checks groups and hosts against each other, and fills in the hosts of groups that name none.
pub(super) fn between(hosts: &[ReadHost], groups: &mut [ReadGroup], mistakes: &mut Mistakes<'_>) {
    for (nth, read) in hosts.iter().enumerate() {
        if hosts[..nth].iter().any(|earlier| earlier.host.name == read.host.name) {
            mistakes.note(
                read.at,
                format!("two [[host]] are called '{}': give each its own name", read.host.name),
            );
        }
    }
    for nth in 0..groups.len() {
        let (earlier, rest) = groups.split_at_mut(nth);
        let read = &mut rest[0];
        if earlier.iter().any(|other| other.group.name == read.group.name) {
            mistakes.note(
                read.at,
                format!("two [[group]] are called '{}': give each its own name", read.group.name),
            );
        }
        if let Some(other) = earlier.iter().find(|other| other.group.vm == read.group.vm) {
            mistakes.note(
                read.vm_at,
                format!(
                    "'{}' is the VM of the groups '{}' and '{}': a VM belongs to one group",
                    read.group.vm, other.group.name, read.group.name
                ),
            );
        }
        if let GuestLink::Hybrid(path) = &read.group.link
            && let Some(other) = earlier.iter().find(|other| other.group.link == read.group.link)
        {
            mistakes.note(
                read.link_at,
                format!(
                    "'{}' is the link of the groups '{}' and '{}': a guest is known by its socket, so give each its own",
                    path.display(),
                    other.group.name,
                    read.group.name
                ),
            );
        }
        read.group.on = on(read, hosts, mistakes);
    }
}

fn on(read: &ReadGroup, hosts: &[ReadHost], mistakes: &mut Mistakes<'_>) -> Vec<String> {
    let known: Vec<&str> = hosts.iter().map(|host| host.host.name.as_str()).collect();
    let Some(on) = &read.on else { return known.into_iter().map(str::to_owned).collect() };
    for name in on.iter().filter(|name| !known.contains(&name.value.as_str())) {
        let hint = match nearest(&name.value, known.iter().copied()) {
            Some(near) => format!(" (did you mean '{near}'?)"),
            None => format!("; the file names {}", quoted(&known)),
        };
        mistakes.note(name.at, format!("'on' names '{}', and no [[host]] is called so{hint}", name.value));
    }
    on.iter().map(|name| name.value.clone()).collect()
}
