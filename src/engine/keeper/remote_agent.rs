//! One guest as its controller describes it: whether it speaks, and how its groups are.
//!
//! The guest is not trusted. What it says is checked against the protocol's limits, what it makes the host record is
//! rationed, and all that it can bring about is its own VM's recovery.

use core::time::Duration;
use roost_proto::control::{AppStatus, ResourceStatus};
use roost_proto::link::{
    BadReport, Fault, GroupReport, GroupState, GuestMessage, MAX_GROUPS, MAX_REASON, ManagedReport,
    ORDERS_SINCE, Readiness, ResourceState, Wanted,
};
use roost_proto::name::is_name;
use roost_proto::text::printable;
use roost_proto::time::Instant;
use std::collections::BTreeMap;

/// What the guest link tells the engine about one guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestInput {
    /// A controller said `Hello` and was welcomed; it replaces any that was there.
    Connected {
        /// The guest kernel's boot id.
        boot_id: [u8; 16],
        /// The controller's name and version.
        software: String,
        /// The version of the link that both speak.
        version: u16,
    },
    /// It said something.
    Message(GuestMessage),
    /// The connection ended.
    Lost {
        /// Why.
        reason: String,
    },
    /// A peer was cut off before it was welcomed, or for breaking the protocol.
    Refused {
        /// Why.
        reason: String,
    },
}

/// What changed, for the group to act upon and to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The controller speaks.
    Connected {
        /// Its name and version.
        software: String,
        /// It is another boot of the guest than the one before.
        rebooted: bool,
    },
    /// It speaks for a boot that recovery ends: it is to be cut off, and may try again.
    Past,
    /// The connection ended.
    Lost {
        /// Why.
        reason: String,
    },
    /// A group of the guest changed its state.
    App {
        /// Its name.
        name: String,
        /// What it is now.
        state: GroupState,
        /// How long it was not well, if it is well again.
        outage: Option<Duration>,
        /// The resources that are not running, for people.
        trouble: String,
        /// Whose orders it obeys.
        kept: Kept,
    },
    /// More changed than is recorded: the rest of this minute's changes is not.
    TooMuch,
}

/// Changes of one guest that are recorded each minute, at most: a guest cannot fill the event file.
pub const NEWS_PER_MINUTE: u32 = 60;
/// How long a boot that recovery ends is not listened to. A guest that still speaks then has not gone down, or libvirt told so
/// late that another boot was meant; either way what it says counts again.
const CONDEMNED_FOR: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);

/// Whether the controller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// It was not heard in this life of the VM.
    Awaited,
    /// It is connected.
    Connected,
    /// It was connected, and may come back.
    Gone,
}

/// How much of a guest's first account is here.
#[derive(Debug)]
enum Snapshot {
    Missing,
    /// So many groups are announced, and these came.
    Filling(usize, BTreeMap<String, (GroupReport, Kept)>),
    Whole,
}

/// Whose orders a group obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nobody's: its controller keeps it up by itself.
    ByItself,
    /// Its host's.
    ToOrder(Obedience),
}

/// What a managed group was ordered, as its controller told: see [`ManagedReport`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obedience {
    /// What was ordered last.
    pub wanted: Wanted,
    /// The greatest epoch of an order.
    pub epoch: u64,
    /// The number of the newest order on this connection that it obeys.
    pub obeys: Option<u32>,
}

#[derive(Debug)]
struct App {
    report: GroupReport,
    kept: Kept,
    unwell_since: Option<Instant>,
}

impl App {
    /// Whether what becomes of it is its guest's matter, and so its VM's.
    const fn is_the_guests(&self) -> bool {
        matches!(self.kept, Kept::ByItself)
    }
}

/// What is known of one guest's controller.
#[derive(Debug)]
pub struct RemoteAgent {
    voice: Voice,
    /// When it was last heard; before that, when it was first waited for.
    heard: Instant,
    boot: Option<[u8; 16]>,
    /// A boot that recovery ends: what is still said in it counts for nothing.
    condemned: Option<([u8; 16], Instant)>,
    apps: BTreeMap<String, App>,
    snapshot: Snapshot,
    /// Connections so far: what is ordered is ordered anew on each.
    connections: u64,
    /// The version of the link that both speak on this one.
    version: u16,
    /// The newest answer of each managed group to whether it is ready, with the question's number.
    answers: BTreeMap<String, (u32, Readiness)>,
    minute: (Instant, u32),
}

impl RemoteAgent {
    /// Waits for a controller, from `now`.
    pub const fn new(now: Instant) -> Self {
        Self {
            voice: Voice::Awaited,
            heard: now,
            boot: None,
            condemned: None,
            apps: BTreeMap::new(),
            snapshot: Snapshot::Missing,
            connections: 0,
            version: 0,
            answers: BTreeMap::new(),
            minute: (now, 0),
        }
    }

    /// This life of the guest ends: what was said is past, and what its boot still says does not count.
    pub fn end_life(&mut self, now: Instant) {
        self.condemned = self.boot.map(|boot| (boot, now + CONDEMNED_FOR)).or(self.condemned);
        self.apps.clear();
        self.snapshot = Snapshot::Missing;
        self.heard = now;
        self.voice = Voice::Awaited;
    }

    /// The VM has come here with its memory: its guest comes anew, in the boot that it was in.
    pub fn arrive(&mut self, now: Instant) {
        self.end_life(now);
        self.condemned = None;
        self.boot = None;
    }

    /// The VM stood still, or libvirt was busy with it: silence counts from now on.
    pub const fn excuse(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Takes in what the link says; an error is a breach of the protocol, for which the guest is cut off.
    pub fn handle(&mut self, now: Instant, input: GuestInput) -> Result<Vec<News>, String> {
        match input {
            GuestInput::Connected { boot_id, software, version } => {
                Ok(self.connected(now, boot_id, software, version))
            }
            GuestInput::Lost { reason } | GuestInput::Refused { reason }
                if self.voice == Voice::Connected =>
            {
                self.voice = Voice::Gone;
                self.snapshot = Snapshot::Missing;
                Ok(vec![News::Lost { reason }])
            }
            GuestInput::Lost { .. } | GuestInput::Refused { .. } => Ok(Vec::new()),
            GuestInput::Message(_) if self.voice != Voice::Connected => Ok(Vec::new()),
            GuestInput::Message(message) => {
                self.heard = now;
                self.said(now, message)
            }
        }
    }

    fn connected(&mut self, now: Instant, boot_id: [u8; 16], software: String, version: u16) -> Vec<News> {
        if self.condemned.is_some_and(|(boot, until)| boot == boot_id && now < until) {
            return vec![News::Past];
        }
        self.condemned = None;
        let rebooted = self.boot.is_some_and(|boot| boot != boot_id);
        if rebooted {
            self.apps.clear();
        }
        self.boot = Some(boot_id);
        self.snapshot = Snapshot::Missing;
        self.connections += 1;
        self.version = version;
        self.answers.clear();
        self.heard = now;
        self.voice = Voice::Connected;
        vec![News::Connected { software: printable(&software), rebooted }]
    }

    fn said(&mut self, now: Instant, message: GuestMessage) -> Result<Vec<News>, String> {
        match message {
            GuestMessage::Hello(_) => Err("a second greeting".to_owned()),
            GuestMessage::Beat => Ok(Vec::new()),
            GuestMessage::Snapshot { groups } if usize::from(groups) > MAX_GROUPS => {
                Err(format!("it announced {groups} groups (at most {MAX_GROUPS} are allowed)"))
            }
            GuestMessage::Snapshot { groups } => {
                self.snapshot = Snapshot::Filling(usize::from(groups), BTreeMap::new());
                Ok(self.end_snapshot(now))
            }
            GuestMessage::Group(report) => self.group(now, report, Kept::ByItself),
            GuestMessage::Managed(_) | GuestMessage::Ready { .. } if !self.takes_orders() => {
                Err("a message of a newer version than was agreed upon".to_owned())
            }
            GuestMessage::Managed(ManagedReport { report, wanted, epoch, obeys }) => {
                self.group(now, report, Kept::ToOrder(Obedience { wanted, epoch, obeys }))
            }
            GuestMessage::Ready { group, number, readiness } => self.answered(group, number, readiness),
        }
    }

    fn answered(&mut self, group: String, number: u32, readiness: Readiness) -> Result<Vec<News>, String> {
        if !is_name(&group) {
            return Err(BadReport::Name.to_string());
        }
        if matches!(&readiness, Readiness::NotReady { reason } if reason.len() > MAX_REASON) {
            return Err(BadReport::Limit.to_string());
        }
        if self.managed(&group).is_some() {
            self.answers.insert(group, (number, readiness));
        }
        Ok(Vec::new())
    }

    fn group(&mut self, now: Instant, report: GroupReport, kept: Kept) -> Result<Vec<News>, String> {
        report.check().map_err(|error| error.to_string())?;
        match &mut self.snapshot {
            Snapshot::Filling(_, seen) if seen.contains_key(&report.name) => {
                Err("a snapshot that names a group twice".to_owned())
            }
            Snapshot::Filling(_, seen) => {
                seen.insert(report.name.clone(), (report, kept));
                Ok(self.end_snapshot(now))
            }
            Snapshot::Whole if self.apps.contains_key(&report.name) => {
                Ok(self.change(now, report, kept).into_iter().collect())
            }
            Snapshot::Whole | Snapshot::Missing => Err("a group that no snapshot announced".to_owned()),
        }
    }

    fn end_snapshot(&mut self, now: Instant) -> Vec<News> {
        let Snapshot::Filling(expected, seen) = &mut self.snapshot else { return Vec::new() };
        if seen.len() < *expected {
            return Vec::new();
        }
        let seen = core::mem::take(seen);
        self.snapshot = Snapshot::Whole;
        self.apps.retain(|name, _| seen.contains_key(name));
        self.answers.retain(|name, _| seen.contains_key(name));
        seen.into_values().filter_map(|(report, kept)| self.change(now, report, kept)).collect()
    }

    fn change(&mut self, now: Instant, report: GroupReport, kept: Kept) -> Option<News> {
        let well = matches!(report.state, GroupState::Online | GroupState::Degraded);
        let idle = matches!(kept, Kept::ToOrder(_)) && report.state == GroupState::Offline;
        let before = self.apps.remove(&report.name);
        let unwell_since = before.as_ref().and_then(|app| app.unwell_since);
        let changed = before.as_ref().is_none_or(|app| app.report.state != report.state);
        let news = changed.then(|| News::App {
            name: report.name.clone(),
            state: report.state.clone(),
            outage: unwell_since.filter(|_| well).map(|since| now.since(since)),
            trouble: trouble(&report),
            kept,
        });
        let unwell_since = if well || idle { None } else { unwell_since.or(Some(now)) };
        self.apps.insert(report.name.clone(), App { report, kept, unwell_since });
        news.and_then(|news| self.ration(now, news))
    }

    fn ration(&mut self, now: Instant, news: News) -> Option<News> {
        if now.since(self.minute.0) >= MINUTE {
            self.minute = (now, 0);
        }
        self.minute.1 = self.minute.1.saturating_add(1);
        match self.minute.1.cmp(&NEWS_PER_MINUTE) {
            core::cmp::Ordering::Less => Some(news),
            core::cmp::Ordering::Equal => Some(News::TooMuch),
            core::cmp::Ordering::Greater => None,
        }
    }

    /// Whether it speaks.
    pub const fn voice(&self) -> Voice {
        self.voice
    }

    /// When it was last heard, or first waited for.
    pub const fn heard(&self) -> Instant {
        self.heard
    }

    /// Which connection this is, counted from the first.
    pub const fn connection(&self) -> u64 {
        self.connections
    }

    /// Whether the controller knows of managed groups.
    pub const fn takes_orders(&self) -> bool {
        self.version >= ORDERS_SINCE
    }

    /// A managed group of a controller that is connected and has told of all its groups.
    pub fn managed(&self, name: &str) -> Option<(&GroupReport, Obedience)> {
        let app = self.apps.get(name).filter(|_| self.is_told())?;
        match app.kept {
            Kept::ByItself => None,
            Kept::ToOrder(obedience) => Some((&app.report, obedience)),
        }
    }

    /// What a managed group answered to the question with this number, if it has.
    pub fn answer(&self, name: &str, number: u32) -> Option<&Readiness> {
        self.answers.get(name).filter(|(answered, _)| *answered == number).map(|(_, readiness)| readiness)
    }

    /// The first of the groups that `counts` which was given up on, with its fault. Managed groups are their own applications'
    /// matter, here as in what follows.
    pub fn fault(&self, counts: impl Fn(&str) -> bool) -> Option<(&str, &Fault)> {
        self.its_own(counts).filter(|(_, app)| !app.report.frozen).find_map(|(name, app)| {
            match &app.report.state {
                GroupState::Faulted(fault) => Some((name.as_str(), fault)),
                _ => None,
            }
        })
    }

    /// The first of the groups that `counts` which is not wholly online, and what it is doing.
    pub fn unwell(&self, counts: impl Fn(&str) -> bool) -> Option<(&str, String)> {
        self.its_own(counts)
            .find(|(_, app)| app.report.state != GroupState::Online)
            .map(|(name, app)| (name.as_str(), describe(&app.report.state, &trouble(&app.report))))
    }

    /// Whether all groups that `count` run.
    pub fn is_up(&self, counts: impl Fn(&str) -> bool) -> bool {
        let mut apps = self.its_own(counts);
        apps.all(|(_, app)| matches!(app.report.state, GroupState::Online | GroupState::Degraded))
    }

    fn its_own(&self, counts: impl Fn(&str) -> bool) -> impl Iterator<Item = (&String, &App)> {
        self.apps.iter().filter(move |(name, app)| app.is_the_guests() && counts(name))
    }

    /// Whether the guest has told of all its groups, and this one is among them.
    pub fn knows(&self, name: &str) -> bool {
        self.apps.contains_key(name)
    }

    /// Whether the connected guest has told of all its groups.
    pub const fn is_told(&self) -> bool {
        matches!((self.voice, &self.snapshot), (Voice::Connected, Snapshot::Whole))
    }

    /// Its groups, for people.
    pub fn apps(&self, counts: impl Fn(&str) -> bool) -> Vec<AppStatus> {
        self.apps
            .values()
            .map(|app| app_status(&app.report, app.is_the_guests() && counts(&app.report.name)))
            .collect()
    }
}

/// A group inside, for people.
pub fn app_status(report: &GroupReport, counts: bool) -> AppStatus {
    AppStatus {
        name: report.name.clone(),
        counts,
        frozen: report.frozen,
        state: clean(&report.state),
        not_running: not_running(report),
    }
}

/// A state in words, with what is not running.
pub fn describe(state: &GroupState, trouble: &str) -> String {
    let word = match state {
        GroupState::Offline => "offline",
        GroupState::Starting => "starting",
        GroupState::Online => return "online".to_owned(),
        GroupState::Degraded => "degraded",
        GroupState::Recovering => "recovering",
        GroupState::Stopping => "stopping",
        GroupState::Faulted(fault) => {
            return format!("faulted: {}: {}", printable(&fault.resource), printable(&fault.reason));
        }
    };
    if trouble.is_empty() { word.to_owned() } else { format!("{word} ({trouble})") }
}

/// What is not running, in words.
pub fn trouble(report: &GroupReport) -> String {
    let first = not_running(report).into_iter().find(|r| !r.detail.is_empty());
    first.map(|r| format!("{}: {}", r.name, r.detail)).unwrap_or_default()
}

fn not_running(report: &GroupReport) -> Vec<ResourceStatus> {
    let rest = report.resources.iter().filter(|r| r.state != ResourceState::Running);
    rest.map(|r| ResourceStatus { name: r.name.clone(), state: r.state, detail: printable(&r.detail) })
        .collect()
}

fn clean(state: &GroupState) -> GroupState {
    match state {
        GroupState::Faulted(fault) => GroupState::Faulted(Fault {
            resource: printable(&fault.resource),
            reason: printable(&fault.reason),
            exit: fault.exit,
            output: printable(&fault.output),
        }),
        other => other.clone(),
    }
}
