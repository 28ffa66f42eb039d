//! What an operator wants to understand: whether there is a quorum, why something is as it is, and what would become of it.
//! Said by [`crate::control`], as JSON; the same rules about fields hold.

use crate::control::{Condition, HostState, Intent};
use serde::{Deserialize, Serialize};

/// Whether the cluster can decide, as one host sees it, and what follows if not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorum {
    /// How it stands.
    pub state: QuorumState,
    /// The hosts that vote.
    pub voters: u32,
    /// Of these, how many are heard, the host itself counted.
    pub heard: u32,
    /// How many of them it takes.
    pub needed: u32,
    /// The voters that are not heard, by name.
    #[serde(default)]
    pub silent: Vec<String>,
    /// What follows, for people; empty while it can decide.
    #[serde(default)]
    pub means: Vec<String>,
    /// What can be done, for people; empty while it can decide.
    #[serde(default)]
    pub remedy: Vec<String>,
}

/// Whether the cluster can decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuorumState {
    /// A host leads, and a majority of the voters hears it.
    Held,
    /// A majority is heard, and no host leads yet.
    Electing,
    /// No majority is heard.
    Lost,
    /// There is no cluster yet: all voters must be up, once.
    Unfounded,
}

/// Why a group or a host is as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// [`crate::control::CONTROL_VERSION`].
    pub version: u16,
    /// The host that answers.
    pub host: String,
    /// The leader whose word it is; none when it is only what the answering host knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// Whether the cluster can decide.
    pub quorum: Quorum,
    /// What is explained.
    pub subject: Subject,
}

/// What is explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "subject", rename_all = "kebab-case")]
pub enum Subject {
    /// A group.
    Group(GroupExplained),
    /// A host.
    Host(HostExplained),
}

/// Why a group is as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupExplained {
    /// Its name.
    pub name: String,
    /// Its VM; empty for an application.
    pub vm: String,
    /// What is wanted.
    pub intent: Intent,
    /// What is.
    pub condition: Condition,
    /// Whose it is, if anybody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// How it is and why it is there, for people.
    pub why: Vec<String>,
    /// What keeps it from running, or from being protected, for people.
    #[serde(default)]
    pub problems: Vec<String>,
    /// Each host that may run it, or each target of an application, in the order of the file.
    pub hosts: Vec<HostVerdict>,
    /// What the next failures would do, in order, for people.
    #[serde(default)]
    pub next: Vec<String>,
    /// Of an application: the service group's name in the `roost-guest` of each target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Of an application: where it is, if anywhere: a host, or `vm:` and the group of the VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What it would mean to move it to the best place but its own now; none when only a leader could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<Trial>,
    /// What it would mean to move it home now; none when only a leader could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failback: Option<Trial>,
}

/// What would be done if somebody asked for it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "trial", rename_all = "kebab-case")]
pub enum Trial {
    /// This.
    Done {
        /// Where it would go: a host, or a target of an application.
        to: String,
        /// What would be done, in order, for people.
        steps: Vec<String>,
    },
    /// Nothing.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
}

/// What is to be said of a group on one of its hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostVerdict {
    /// The host; of an application the target.
    pub host: String,
    /// In one word.
    pub verdict: Verdict,
    /// Why, for people.
    pub reason: String,
    /// What it would mean to move it there now; none when only a leader could tell, and of very many not told of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<Trial>,
}

/// Whether a group is, or could be, on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is its owner.
    Owner,
    /// It would be taken next.
    Next,
    /// It could have it.
    Could,
    /// It cannot.
    Cannot,
    /// Nobody who knows was heard.
    Unknown,
}

/// Why a host is as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostExplained {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: HostState,
    /// How it stands and why, for people: in the cluster or not, its lease, its room.
    pub why: Vec<String>,
    /// What is wrong, for people.
    #[serde(default)]
    pub problems: Vec<String>,
    /// How it would be known to run nothing, were it lost.
    pub fencing: FencingBy,
    /// The same, for people.
    pub fencing_words: String,
    /// What would happen if it were lost now; none when only a leader could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<PlanCase>,
}

/// How a host that is lost becomes known to run nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FencingBy {
    /// Its fence agents say so.
    Agent,
    /// Its lease and its watchdog have run out.
    Time,
    /// Nothing does; an operator has to.
    None,
}

/// What would become of the groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanReport {
    /// [`crate::control::CONTROL_VERSION`].
    pub version: u16,
    /// The leader who worked it out.
    pub leader: String,
    /// Whether every group would run in every case.
    pub fits: bool,
    /// What was asked about: one case, or one for each host.
    pub cases: Vec<PlanCase>,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanCase {
    /// The hosts that are lost in it.
    pub without: Vec<String>,
    /// Whether a majority of the voters would be left; without one nothing moves.
    pub quorum: bool,
    /// Which groups go where, in order.
    pub moves: Vec<PlannedMove>,
    /// Which groups would run nowhere.
    pub stuck: Vec<Stuck>,
    /// Hosts that nothing but an operator's word would free, so that their groups stay blocked until then.
    #[serde(default)]
    pub unfenced: Vec<String>,
}

/// A group that goes somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedMove {
    /// The group.
    pub group: String,
    /// From where, if it is anybody's: a host, or of an application a target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Where to: a host, or of an application a target.
    pub to: String,
    /// The moves of one step are made together; the next step waits for them.
    pub step: u32,
    /// What it takes there, in MiB; 0 for an application.
    pub memory_mib: u32,
    /// Of an application that goes into a VM: where that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Of a cold standby: the applications for which it is started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needed_by: Vec<String>,
}

/// A group that would run nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stuck {
    /// The group.
    pub group: String,
    /// From where, if it is anybody's now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Why, for people.
    pub reason: String,
}
