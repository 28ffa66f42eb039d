//! What groups ask of each other: `together`, `apart` and `needs` must be possible, at any remove.

use super::MAX_MISTAKES;
use super::check::hint;
use super::fields::{Mistakes, Placed, some_quoted};
use super::read::ReadGroup;
use std::collections::{BTreeMap, BTreeSet};

/// Checks them all. Takes time with the number of groups and of names in their lists, however they are tied.
pub(super) fn check(groups: &[ReadGroup], mistakes: &mut Mistakes<'_>) {
    let numbers: BTreeMap<&str, usize> =
        groups.iter().enumerate().map(|(nth, read)| (read.group.name.as_str(), nth)).collect();
    let mut edges = |key: &str, list: fn(&ReadGroup) -> &[Placed<String>]| -> Vec<Vec<Edge>> {
        let mut all = Vec::with_capacity(groups.len());
        for (nth, read) in groups.iter().enumerate() {
            let known = list(read).iter().filter_map(|name| edge(key, nth, name, &numbers, mistakes));
            all.push(known.collect());
        }
        all
    };
    let together = edges("together", |read| &read.together);
    let apart = edges("apart", |read| &read.apart);
    let needs = edges("needs", |read| &read.needs);

    let mut sets = Sets((0..groups.len()).collect());
    for (nth, edges) in together.iter().enumerate() {
        for edge in edges {
            sets.join(nth, edge.to);
        }
    }
    for (nth, edges) in apart.iter().enumerate() {
        for edge in edges.iter().filter(|edge| sets.of(nth) == sets.of(edge.to)) {
            mistakes.note(
                edge.at,
                format!(
                    "'apart' names '{}', and 'together', of the two or of groups between them, keeps it on the host of \
                     '{}': leave one out",
                    groups[edge.to].group.name, groups[nth].group.name
                ),
            );
        }
    }
    share_a_host(groups, &mut sets, mistakes);
    no_cycle(groups, &needs, mistakes);
}

/// A name in a list: where it stands, and the group that it is.
struct Edge {
    at: usize,
    to: usize,
}

fn edge(
    key: &str,
    from: usize,
    name: &Placed<String>,
    numbers: &BTreeMap<&str, usize>,
    mistakes: &mut Mistakes<'_>,
) -> Option<Edge> {
    match numbers.get(name.value.as_str()) {
        Some(&to) if to == from => {
            mistakes.note(name.at, format!("'{key}' of '{}' names itself: leave it out", name.value));
            None
        }
        Some(&to) => Some(Edge { at: name.at, to }),
        None => {
            let hint = hint(&name.value, || numbers.keys().copied(), mistakes);
            mistakes.note(
                name.at,
                format!("'{key}' names '{}', and no [[group]] is called so{hint}", name.value),
            );
            None
        }
    }
}

/// Sets of groups that stay together: each points to another of its set, the last one to itself.
struct Sets(Vec<usize>);

impl Sets {
    fn of(&mut self, mut nth: usize) -> usize {
        while self.0[nth] != nth {
            self.0[nth] = self.0[self.0[nth]]; // halves the way, so that the next look is short
            nth = self.0[nth];
        }
        nth
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of(one), self.of(other));
        self.0[one.max(other)] = one.min(other);
    }
}

/// Groups that stay together need a host that may run each of them. One without `on` runs anywhere.
fn share_a_host(groups: &[ReadGroup], sets: &mut Sets, mistakes: &mut Mistakes<'_>) {
    // By set: the hosts left, and the groups that left only them.
    let mut left: BTreeMap<usize, (BTreeSet<&str>, Vec<&str>)> = BTreeMap::new();
    for (nth, read) in groups.iter().enumerate() {
        let Some(on) = &read.on else { continue };
        let on = || on.iter().map(|name| name.value.as_str());
        let name = read.group.name.as_str();
        let Some((hosts, mates)) = left.get_mut(&sets.of(nth)) else {
            left.insert(sets.of(nth), (on().collect(), vec![name]));
            continue;
        };
        // An empty set was told about already.
        if hosts.is_empty() {
            continue;
        }
        *hosts = on().filter(|host| hosts.contains(host)).collect();
        if hosts.is_empty() {
            mistakes.note(
                read.on_at,
                format!(
                    "'{name}' must be together with {}, and no host is in 'on' of all of them: let them share one",
                    some_quoted(mates)
                ),
            );
        }
        mates.push(name);
    }
}

/// Where a group stands in the search for cycles.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Not,
    OnThePath,
    Done,
}

/// Groups that need each other in a circle would wait for ever. The path is kept in a list and not on the stack, for it may be
/// as long as there are groups.
fn no_cycle(groups: &[ReadGroup], needs: &[Vec<Edge>], mistakes: &mut Mistakes<'_>) {
    let mut seen = vec![Seen::Not; groups.len()];
    for start in 0..groups.len() {
        if seen[start] != Seen::Not {
            continue;
        }
        seen[start] = Seen::OnThePath;
        let mut path = vec![(start, 0)];
        while let Some((at, next)) = path.last_mut() {
            let Some(edge) = needs[*at].get(*next) else {
                seen[*at] = Seen::Done;
                path.pop();
                continue;
            };
            *next += 1;
            match seen[edge.to] {
                Seen::Done => {}
                Seen::Not => {
                    seen[edge.to] = Seen::OnThePath;
                    path.push((edge.to, 0));
                }
                Seen::OnThePath => {
                    // Each costs a walk back along the path, and no more are told.
                    if mistakes.count() >= MAX_MISTAKES {
                        return;
                    }
                    let from = path.iter().position(|(nth, _)| *nth == edge.to).unwrap_or(0);
                    let names: Vec<&str> =
                        path[from..].iter().map(|(nth, _)| groups[*nth].group.name.as_str()).collect();
                    mistakes.note(
                        edge.at,
                        format!(
                            "'needs' goes round in a circle, each needs the next and the last the first: {}; leave one out",
                            some_quoted(&names)
                        ),
                    );
                }
            }
        }
    }
}
