//! The records of the groups, by name and by owner: nobody has to look through all groups of a cluster for those of one host.

use super::GroupRecord;
use core::ops::{Deref, DerefMut};
use roost_proto::cluster::HostId;
use roost_proto::cluster::raft::Index;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};

/// What is kept beside the records follows from them, and is no part of what is encoded or compared.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "BTreeMap<String, GroupRecord>")]
pub(super) struct Groups {
    records: BTreeMap<String, GroupRecord>,
    rows: Rows,
}

/// The names of the groups, by owner.
#[derive(Clone, Debug, Default)]
struct Rows {
    /// Hosts that own nothing are not in it.
    owned: BTreeMap<HostId, Row>,
    free: BTreeSet<String>,
}

/// What one host owns.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// The groups, by name.
    pub groups: BTreeSet<String>,
    /// The index of the last decision about one of them. It may be greater, after one about a group that was its own.
    pub changed: Index,
}

/// What a host owns that owns nothing.
static NOTHING: BTreeSet<String> = BTreeSet::new();

/// A record that is being changed: if that gives its group to another owner, it is found there as soon as this is dropped.
pub(super) struct Change<'a> {
    name: &'a str,
    before: Option<HostId>,
    record: &'a mut GroupRecord,
    rows: &'a mut Rows,
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
        self.rows.owned.get(&host).map_or(&NOTHING, |row| &row.groups)
    }

    /// The hosts that own something, and what.
    pub(super) fn owners(&self) -> impl Iterator<Item = (HostId, &Row)> {
        self.rows.owned.iter().map(|(host, row)| (*host, row))
    }

    /// The names of those that nobody owns.
    pub(super) const fn free(&self) -> &BTreeSet<String> {
        &self.rows.free
    }

    /// The record of a group, to change it.
    pub(super) fn get_mut<'a>(&'a mut self, name: &'a str) -> Option<Change<'a>> {
        let record = self.records.get_mut(name)?;
        Some(Change { name, before: record.owner, record, rows: &mut self.rows })
    }

    /// The same; of one that nothing was decided about yet, a new one.
    pub(super) fn entry<'a>(&'a mut self, name: &'a str) -> Change<'a> {
        let record = self.records.entry(name.to_owned()).or_insert_with(|| {
            self.rows.free.insert(name.to_owned());
            GroupRecord::default()
        });
        Change { name, before: record.owner, record, rows: &mut self.rows }
    }
}

impl Rows {
    fn of(&mut self, owner: HostId) -> &mut Row {
        self.owned.entry(owner).or_default()
    }

    fn remove(&mut self, name: &str, owner: Option<HostId>) {
        match owner {
            Some(owner) => {
                let row = self.of(owner);
                row.groups.remove(name);
                if row.groups.is_empty() {
                    self.owned.remove(&owner);
                }
            }
            None => {
                self.free.remove(name);
            }
        }
    }

    /// Notes when something was decided about an owned group.
    fn note(&mut self, record: &GroupRecord) {
        if let Some(owner) = record.owner {
            let row = self.of(owner);
            row.changed = row.changed.max(record.changed);
        }
    }

    fn add(&mut self, name: &str, owner: Option<HostId>) {
        let groups = match owner {
            Some(owner) => &mut self.of(owner).groups,
            None => &mut self.free,
        };
        groups.insert(name.to_owned());
    }
}

impl From<BTreeMap<String, GroupRecord>> for Groups {
    fn from(records: BTreeMap<String, GroupRecord>) -> Self {
        let mut rows = Rows::default();
        for (name, record) in &records {
            rows.add(name, record.owner);
            rows.note(record);
        }
        Self { records, rows }
    }
}

impl PartialEq for Groups {
    fn eq(&self, other: &Self) -> bool {
        self.records == other.records
    }
}

impl Eq for Groups {}

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
        if now != self.before {
            self.rows.remove(self.name, self.before);
            self.rows.add(self.name, now);
        }
        self.rows.note(self.record);
    }
}
