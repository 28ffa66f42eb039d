//! Who needs whom in a group, worked out once.

use crate::config;
use roost_proto::link::MAX_RESOURCES;

const _: () = assert!(MAX_RESOURCES <= u64::BITS as usize, "a set has one bit for each resource of a group");

/// A set of a group's resources, by index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Set(u64);

impl Set {
    pub(super) const fn only(resource: usize) -> Self {
        Self(1 << resource)
    }

    pub(super) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn with(self, resource: usize) -> Self {
        self.union(Self::only(resource))
    }

    pub(super) const fn contains(self, resource: usize) -> bool {
        self.0 & Self::only(resource).0 != 0
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its members, ascending.
    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_RESOURCES).filter(move |&resource| self.contains(resource))
    }
}

impl FromIterator<usize> for Set {
    fn from_iter<I: IntoIterator<Item = usize>>(resources: I) -> Self {
        resources.into_iter().fold(Self::default(), Self::with)
    }
}

/// The relations of one group's resources.
#[derive(Debug)]
pub(super) struct Order {
    needs: Vec<Set>,
    dependents: Vec<Set>,
    mended_by: Vec<Set>,
}

impl Order {
    pub(super) fn new(group: &config::Group) -> Self {
        let count = group.resources.len();
        assert!(count <= MAX_RESOURCES, "a configuration holds at most {MAX_RESOURCES} resources a group");
        let needs: Vec<Set> = group.resources.iter().map(|r| r.needs.iter().copied().collect()).collect();
        let mut dependents = vec![Set::default(); count];
        for resource in (0..count).rev() {
            for need in needs[resource].iter() {
                assert!(need < resource, "a configuration is in starting order");
                dependents[need] = dependents[need].union(dependents[resource]).with(resource);
            }
        }
        let mut mended_by: Vec<Set> = Vec::with_capacity(count);
        for (resource, plan) in group.resources.iter().enumerate() {
            mended_by.push(if plan.kind.is_probe() {
                needs[resource].iter().map(|need| mended_by[need]).fold(Set::default(), Set::union)
            } else {
                Set::only(resource)
            });
        }
        Self { needs, dependents, mended_by }
    }

    /// What must run before `resource` is started.
    pub(super) fn needs(&self, resource: usize) -> Set {
        self.needs[resource]
    }

    /// All that must be stopped before `resource` is, however far away.
    pub(super) fn dependents(&self, resource: usize) -> Set {
        self.dependents[resource]
    }

    /// What is restarted when `resource` fails: itself, or for a probe what it needs, through other probes if need be.
    /// Empty for a probe with nothing behind it.
    pub(super) fn mended_by(&self, resource: usize) -> Set {
        self.mended_by[resource]
    }
}
