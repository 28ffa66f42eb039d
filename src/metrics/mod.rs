//! Metrics: what `roost status` knows, and what was counted, in the form that monitoring systems read. Each family is in
//! roost(8), or a test fails.
//!
//! Labels are few, and their values bounded: no metric has one for each host, and single groups are told by the host that
//! has them alone, [`MAX_GROUPS`] at most.

pub mod meter;
pub mod text;

use crate::driver::hooks;
use crate::driver::udp::Stats;
use crate::driver::udp::complaints::Kind as Refusal;
use crate::engine::keeper::Made;
use crate::engine::tally::Tally;
use core::time::Duration;
use meter::{Histogram, Meter};
use roost_proto::control::{
    Condition, ControllerStatus, GroupStatus, Health, HostState, Intent, LibvirtStatus, Status,
};
use text::{Dialect, Kind, Page, Unit, Value};

/// Groups that are told one by one, at most: with some 20 lines each they fill some hundred KiB, and a host runs fewer. The
/// sums count all.
pub const MAX_GROUPS: usize = 256;

const CONDITIONS: [(Condition, &str); 12] = [
    (Condition::Offline, "offline"),
    (Condition::Stopping, "stopping"),
    (Condition::Starting, "starting"),
    (Condition::Online, "online"),
    (Condition::Degraded, "degraded"),
    (Condition::Recovering, "recovering"),
    (Condition::Unknown, "unknown"),
    (Condition::LeftAlone, "left-alone"),
    (Condition::GivenUp, "given-up"),
    (Condition::Elsewhere, "elsewhere"),
    (Condition::Waiting, "waiting"),
    (Condition::Suspended, "suspended"),
];
const HOST_STATES: [(HostState, &str); 6] = [
    (HostState::Up, "up"),
    (HostState::Silent, "silent"),
    (HostState::Blocked, "blocked"),
    (HostState::Out, "out"),
    (HostState::Maintenance, "maintenance"),
    (HostState::Quarantined, "quarantined"),
];
const CONTROLLERS: [(ControllerStatus, &str); 5] = [
    (ControllerStatus::Never, "never"),
    (ControllerStatus::Awaited, "awaited"),
    (ControllerStatus::Connected, "connected"),
    (ControllerStatus::Silent, "silent"),
    (ControllerStatus::Off, "off"),
];

/// This host's place in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consensus {
    /// Whether it knows of a leader.
    pub leader: bool,
    /// Whether it hears a majority of the voters.
    pub quorum: bool,
    /// How many vote.
    pub voters: u64,
    /// The term.
    pub term: u64,
    /// Up to which index its ledger is applied.
    pub applied: u64,
    /// The last index of its log.
    pub last: u64,
    /// How long its lease lasts yet.
    pub lease: Duration,
    /// Whether its watchdog works.
    pub watchdog: bool,
}

/// Everything that is told.
#[derive(Clone, Debug)]
pub struct Facts {
    /// As `roost status` shows it.
    pub status: Status,
    /// When the daemon started, in milliseconds of Unix time.
    pub started_ms: u64,
    /// Where it stands in the cluster.
    pub consensus: Consensus,
    /// What was decided.
    pub tally: Tally,
    /// What was done to recover.
    pub made: Made,
    /// What the daemon counted.
    pub meter: Meter,
    /// Datagrams.
    pub network: Stats,
    /// How long libvirt took to answer questions.
    pub libvirt: Histogram,
    /// Hooks.
    pub hooks: hooks::Counts,
    /// Events that wait for hooks.
    pub hooks_waiting: u64,
    /// Events that the disk did not take.
    pub not_stored: u64,
}

/// The metrics of a host.
pub fn render(facts: &Facts, dialect: Dialect) -> String {
    let mut page = Page::new(dialect);
    daemon(&mut page, facts);
    cluster(&mut page, facts);
    sums(&mut page, &facts.status);
    groups(&mut page, &facts.status);
    recovery(&mut page, facts);
    libvirt(&mut page, facts);
    network(&mut page, &facts.network);
    page.finish()
}

fn daemon(page: &mut Page, facts: &Facts) {
    let status = &facts.status;
    let version = status.software.strip_prefix("roost ").unwrap_or(&status.software);
    page.family("roost_build", Kind::Info, Unit::None, "The daemon's version, its cluster and its host.")
        .whole(&[("version", version), ("cluster", &status.cluster), ("host", &status.host)], 1);
    page.family(
        "roost_start_time_seconds",
        Kind::Gauge,
        Unit::Seconds,
        "When the daemon started, in Unix time.",
    )
    .sample(&[], seconds(Duration::from_millis(facts.started_ms)));
    let health = match status.health {
        Health::Healthy => 0,
        Health::Degraded => 1,
        Health::Broken => 2,
    };
    let help =
        "All in one number, as roost status exits: 0 as wanted, 1 needs a look, 2 something was given up on.";
    page.family("roost_health", Kind::Gauge, Unit::None, help).whole(&[], health);
    let warnings = status.warnings.len() as u64;
    page.family("roost_warnings", Kind::Gauge, Unit::None, "Warnings beyond single groups.")
        .whole(&[], warnings);
    let mut events = page.family(
        "roost_events",
        Kind::Counter,
        Unit::None,
        "Events that were recorded, by how bad they are.",
    );
    facts.meter.events().for_each(|(level, count)| _ = events.whole(&[("level", level)], count));
    page.family(
        "roost_events_not_stored",
        Kind::Counter,
        Unit::None,
        "Events that the disk did not take in time.",
    )
    .whole(&[], facts.not_stored);
    let hooks = facts.hooks;
    for (name, help, count) in [
        ("roost_hook_runs", "Runs of one hook for one event.", hooks.runs),
        ("roost_hook_failures", "Runs of hooks that did not end well.", hooks.failures),
        (
            "roost_hook_events_dropped",
            "Events that hooks were not told of, because they do not keep up.",
            hooks.dropped,
        ),
    ] {
        page.family(name, Kind::Counter, Unit::None, help).whole(&[], count);
    }
    page.family(
        "roost_hook_events_waiting",
        Kind::Gauge,
        Unit::None,
        "Events that hooks are yet to be told of.",
    )
    .whole(&[], facts.hooks_waiting);
}

fn cluster(page: &mut Page, facts: &Facts) {
    let Facts { consensus, tally, status, .. } = facts;
    let leads = status.hosts.iter().any(|host| host.leads && host.name == status.host);
    for (name, help, value) in [
        ("roost_leader_known", "1 when a host leads, as far as this one knows.", consensus.leader.into()),
        ("roost_leads", "1 when this host leads.", leads.into()),
        ("roost_quorum", "1 when this host hears a majority of the voters.", consensus.quorum.into()),
        ("roost_voters", "Hosts that vote.", consensus.voters),
        ("roost_term", "The term of consensus.", consensus.term),
        ("roost_ledger_applied_index", "Up to which index the ledger is applied here.", consensus.applied),
        ("roost_ledger_last_index", "The last index of the log here.", consensus.last),
        ("roost_watchdog_working", "1 when this host's watchdog device works.", consensus.watchdog.into()),
    ] {
        page.family(name, Kind::Gauge, Unit::None, help).whole(&[], value);
    }
    let help = "How long this host may run what it owns if no voter answers any more.";
    page.family("roost_lease_remaining_seconds", Kind::Gauge, Unit::Seconds, help)
        .sample(&[], seconds(consensus.lease));
    for (name, help, count) in [
        ("roost_elections_won", "Elections that this host won.", tally.elections_won),
        ("roost_leader_changes", "How often this host had another leader than before.", tally.leader_changes),
        ("roost_leases_lost", "How often this host's lease ran out.", tally.leases_lost),
        ("roost_evictions", "Evictions of any host that this one saw decided.", tally.evictions),
        ("roost_assignments", "Groups that this host was given.", tally.assigned),
        ("roost_failovers", "Groups that this host was given because their host was lost.", tally.failovers),
    ] {
        page.family(name, Kind::Counter, Unit::None, help).whole(&[], count);
    }
    let help = "Evicted hosts that came to be known to run nothing, by how that is known.";
    page.family("roost_hosts_fenced", Kind::Counter, Unit::None, help)
        .whole(&[("proof", "agent")], tally.fenced.agent)
        .whole(&[("proof", "time")], tally.fenced.time)
        .whole(&[("proof", "itself")], tally.fenced.itself)
        .whole(&[("proof", "operator")], tally.fenced.operator);
    let mut orders =
        page.family("roost_fence_orders", Kind::Counter, Unit::None, "Orders of this host to fence agents.");
    facts.meter.fence_orders().for_each(|(action, count)| _ = orders.whole(&[("action", action)], count));
    let mut results =
        page.family("roost_fence_results", Kind::Counter, Unit::None, "What fence agents said in the end.");
    facts.meter.fence_results().for_each(|(result, count)| _ = results.whole(&[("result", result)], count));
}

/// How many there are of each.
fn sums(page: &mut Page, status: &Status) {
    let mut hosts =
        page.family("roost_hosts", Kind::Gauge, Unit::None, "Hosts, by state, as this one sees them.");
    for (state, word) in HOST_STATES {
        hosts.whole(&[("state", word)], count(&status.hosts, |host| host.state == state));
    }
    let help = "Groups that this host may run, by condition.";
    let mut groups = page.family("roost_groups", Kind::Gauge, Unit::None, help);
    for (condition, word) in CONDITIONS {
        groups.whole(&[("condition", word)], count(&status.groups, |group| group.condition == condition));
    }
    let help = "Controllers in the guests of this host's groups, by what is known of them.";
    let mut controllers = page.family("roost_controllers", Kind::Gauge, Unit::None, help);
    let own = |group: &GroupStatus| group.owner.as_ref() == Some(&status.host);
    for (state, word) in CONTROLLERS {
        controllers.whole(
            &[("state", word)],
            count(&status.groups, |group| own(group) && group.controller == state),
        );
    }
}

fn count<T>(all: &[T], what: impl Fn(&T) -> bool) -> u64 {
    all.iter().filter(|one| what(one)).count() as u64
}

/// Whether this host tells of a group by its name: it has it, or nobody that could tell does and somebody should.
fn is_told(group: &GroupStatus, host: &str) -> bool {
    let elsewhere = matches!(group.condition, Condition::Elsewhere | Condition::Offline);
    group.owner.as_deref() == Some(host) || (group.intent == Intent::Online && !elsewhere)
}

fn groups(page: &mut Page, status: &Status) {
    let groups = || status.groups.iter().filter(|group| is_told(group, &status.host)).take(MAX_GROUPS);
    let help = "What a group of this host is doing; also of one that no host has, and that is wanted.";
    let mut family = page.family("roost_group_condition", Kind::StateSet, Unit::None, help);
    for group in groups() {
        for (condition, word) in CONDITIONS {
            let labels = [("group", group.name.as_str()), ("roost_group_condition", word)];
            family.whole(&labels, u64::from(group.condition == condition));
        }
    }
    let help = "When the group's condition last changed, in Unix time.";
    let mut family = page.family("roost_group_changed_timestamp_seconds", Kind::Gauge, Unit::Seconds, help);
    for group in groups() {
        family.sample(&[("group", &group.name)], seconds(Duration::from_millis(group.since_ms)));
    }
    type Of = fn(&GroupStatus) -> u64;
    let each: [(_, _, Of); 3] = [
        ("roost_group_wanted", "1 when the group is wanted online.", |g| {
            u64::from(g.intent == Intent::Online)
        }),
        ("roost_group_frozen", "1 when the group is frozen: watched, and not touched.", |g| {
            u64::from(g.frozen)
        }),
        ("roost_group_dangers", "What is dangerous about the group.", |g| g.dangers.len() as u64),
    ];
    for (name, help, of) in each {
        let mut family = page.family(name, Kind::Gauge, Unit::None, help);
        groups().for_each(|group| _ = family.whole(&[("group", &group.name)], of(group)));
    }
    let help = "Recoveries of the group within its window, by rung.";
    let mut family = page.family("roost_group_recent_recoveries", Kind::Gauge, Unit::None, help);
    for group in groups() {
        let made = group.recoveries;
        for (rung, count) in [("reboot", made.reboot), ("reset", made.reset), ("restart", made.restart)] {
            family.whole(&[("group", &group.name), ("rung", rung)], count.into());
        }
    }
}

fn recovery(page: &mut Page, facts: &Facts) {
    let made = facts.made;
    page.family("roost_recoveries", Kind::Counter, Unit::None, "Recoveries of this host's groups, by rung.")
        .whole(&[("rung", "reboot")], made.reboots)
        .whole(&[("rung", "reset")], made.resets)
        .whole(&[("rung", "restart")], made.restarts);
    page.family(
        "roost_rungs_spent",
        Kind::Counter,
        Unit::None,
        "How often nothing was left to try here for a group.",
    )
    .whole(&[], made.given_up);
}

fn libvirt(page: &mut Page, facts: &Facts) {
    if facts.status.libvirt == LibvirtStatus::Unused {
        return;
    }
    let connected = u64::from(facts.status.libvirt == LibvirtStatus::Connected);
    page.family("roost_libvirt_connected", Kind::Gauge, Unit::None, "1 while libvirt answers.")
        .whole(&[], connected);
    let help = "How long libvirt took to answer a question.";
    let mut times = page.family("roost_libvirt_answer_seconds", Kind::Histogram, Unit::Seconds, help);
    for (bound, count) in facts.libvirt.at_most() {
        // Both formats take a bound for a float, and OpenMetrics wants to see that it is one.
        times.whole(&[("le", &format!("{:?}", bound.as_secs_f64()))], count);
    }
    times.whole(&[("le", "+Inf")], facts.libvirt.total());
    times.sum(facts.libvirt.total(), facts.libvirt.sum().as_secs_f64());
    let mut orders =
        page.family("roost_libvirt_orders", Kind::Counter, Unit::None, "What libvirt was ordered to do.");
    facts.meter.orders().for_each(|(action, count)| _ = orders.whole(&[("action", action)], count));
    let help = "Orders that libvirt did not carry out in time, or refused.";
    page.family("roost_libvirt_orders_failed", Kind::Counter, Unit::None, help)
        .whole(&[], facts.meter.orders_failed);
}

fn network(page: &mut Page, network: &Stats) {
    for (name, help, count) in [
        ("roost_datagrams_sent", "Datagrams sent to other hosts, on all paths.", network.sent.datagrams),
        ("roost_datagrams_not_sent", "Datagrams that the system did not take.", network.not_sent),
        (
            "roost_datagrams_received",
            "Datagrams that came in, whatever they were.",
            network.received.datagrams,
        ),
        ("roost_datagrams_accepted", "Datagrams that were genuine and new.", network.accepted),
        ("roost_datagrams_copies", "Copies of what had come by another path.", network.copies),
    ] {
        page.family(name, Kind::Counter, Unit::None, help).whole(&[], count);
    }
    let help = "Datagrams that were refused, by what is wrong with them.";
    let mut refused = page.family("roost_datagrams_refused", Kind::Counter, Unit::None, help);
    for kind in Refusal::OF_DATAGRAMS {
        let count = network.refused.get(&kind).copied().unwrap_or_default();
        refused.whole(&[("reason", kind.word())], count);
    }
    for (name, help, count) in [
        (
            "roost_network_sent_bytes",
            "Bytes sent to other hosts, Ethernet headers counted.",
            network.sent.bytes,
        ),
        (
            "roost_network_received_bytes",
            "Bytes that came in, Ethernet headers counted.",
            network.received.bytes,
        ),
    ] {
        page.family(name, Kind::Counter, Unit::Bytes, help).whole(&[], count);
    }
}

fn seconds(span: Duration) -> Value {
    Value::Real(span.as_secs_f64())
}
