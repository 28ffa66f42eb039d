//! The records of the groups, by name and by owner: nobody has to look through all groups of a cluster for those of one host.

use super::GroupRecord;
use core::ops::{Deref, DerefMut};
use roost_proto::cluster::HostId;
use roost_proto::cluster::raft::Index;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};

/// The names by owner follow from the records, and are no part of what is encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "BTreeMap<String, GroupRecord>")]
pub(super) struct Groups {
    records: BTreeMap<String, GroupRecord>,
    /// Hosts that own nothing are not in it.
    owned: Owned,
}

type Owned = BTreeMap<HostId, BTreeSet<String>>;

/// What a host owns that owns nothing.
static NOTHING: BTreeSet<String> = BTreeSet::new();

/// A record that is being changed: if that gives its group to another owner, it is found there as soon as this is dropped.
pub(super) struct Change<'a> {
    name: &'a str,
    before: Option<HostId>,
    record: &'a mut GroupRecord,
    owned: &'a mut Owned,
}

impl Groups {
    pub(super) fn get(&self, name: &str) -> Option<&GroupRecord> {
        self.records.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &GroupRecord)> {
        self.records.iter()
    }

    /// The names of those that a host owns.
    pub(super) fn owned(&self, host: HostId) -> &BTreeSet<String> {
        self.owned.get(&host).unwrap_or(&NOTHING)
    }

    /// The hosts that own something, and what.
    pub(super) fn owners(&self) -> impl Iterator<Item = (HostId, &BTreeSet<String>)> {
        self.owned.iter().map(|(host, names)| (*host, names))
    }

    /// The record of a group, to change it.
    pub(super) fn get_mut<'a>(&'a mut self, name: &'a str) -> Option<Change<'a>> {
        let record = self.records.get_mut(name)?;
        Some(Change { name, before: record.owner, record, owned: &mut self.owned })
    }

    /// The same; of one that nothing was decided about yet, a new one.
    pub(super) fn entry<'a>(&'a mut self, name: &'a str) -> Change<'a> {
        let record = self.records.entry(name.to_owned()).or_default();
        Change { name, before: record.owner, record, owned: &mut self.owned }
    }

    /// Everything that a host owned is nobody's.
    pub(super) fn free_all(&mut self, index: Index, host: HostId) {
        for name in self.owned.remove(&host).unwrap_or_default() {
            self.records.get_mut(&name).expect("what is owned has a record").free(index);
        }
    }
}

impl From<BTreeMap<String, GroupRecord>> for Groups {
    fn from(records: BTreeMap<String, GroupRecord>) -> Self {
        let mut owned = Owned::new();
        for (name, record) in &records {
            if let Some(owner) = record.owner {
                owned.entry(owner).or_default().insert(name.clone());
            }
        }
        Self { records, owned }
    }
}

impl Serialize for Groups {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.records.serialize(serializer)
    }
}

impl Deref for Change<'_> {
    type Target = GroupRecord;

    fn deref(&self) -> &GroupRecord {
        self.record
    }
}

impl DerefMut for Change<'_> {
    fn deref_mut(&mut self) -> &mut GroupRecord {
        self.record
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let now = self.record.owner;
        if now == self.before {
            return;
        }
        if let Some(before) = self.before
            && let Some(names) = self.owned.get_mut(&before)
        {
            names.remove(self.name);
            if names.is_empty() {
                self.owned.remove(&before);
            }
        }
        if let Some(now) = now {
            self.owned.entry(now).or_default().insert(self.name.to_owned());
        }
    }
}
