//! Metrics: what a daemon tells is good OpenMetrics, by rules that are checked here; and it is what its manual page says.

mod common;

use common::{Bed, CONFIG, Guest};
use roost::driver::hooks;
use roost::driver::udp::Stats;
use roost::driver::udp::complaints::Kind as Refusal;
use roost::engine::keeper::Made;
use roost::engine::tally::Tally;
use roost::metrics::meter::{Histogram, Meter};
use roost::metrics::text::Dialect;
use roost::metrics::{Consensus, Facts, MAX_GROUPS, render};
use roost_proto::control::{
    CONTROL_VERSION, Condition, ControllerStatus, GroupStatus, Health, HostState, HostStatus, Intent,
    LibvirtStatus, Recoveries, Status,
};
use roost_proto::link::GroupState;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

/// Names and values, in order.
type Labels = Vec<(String, String)>;
/// One sample: its labels and its value.
type Sample = (Labels, f64);

/// A family, as its lines tell it.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    unit: String,
    help: String,
    /// By the suffix behind the family's name.
    samples: Vec<(String, Sample)>,
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Reads `{name="value",…}`; returns the labels and what follows.
fn labels(text: &str) -> Result<(Labels, &str), String> {
    let Some(mut rest) = text.strip_prefix('{') else { return Ok((Vec::new(), text)) };
    let mut labels = Labels::new();
    loop {
        let (name, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        if !is_name(name) || labels.iter().any(|(known, _)| known == name) {
            return Err(format!("the label '{name}' is no name, or comes twice"));
        }
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().ok_or("a label's value does not end")? {
                (at, '"') => break at,
                (_, '\\') => match chars.next().map(|(_, c)| c) {
                    Some('n') => value.push('\n'),
                    Some(c @ ('\\' | '"')) => value.push(c),
                    other => return Err(format!("{other:?} behind a backslash")),
                },
                (_, c) => value.push(c),
            }
        };
        labels.push((name.to_owned(), value));
        rest = &after[end + 1..];
        match rest.as_bytes().first() {
            Some(b',') => rest = &rest[1..],
            Some(b'}') => return Ok((labels, &rest[1..])),
            _ => return Err("labels do not end".to_owned()),
        }
    }
}

/// The suffixes that samples of a kind have.
fn suffixes(kind: &str) -> Result<&'static [&'static str], String> {
    match kind {
        "gauge" | "stateset" => Ok(&[""]),
        "counter" => Ok(&["_total"]),
        "info" => Ok(&["_info"]),
        "histogram" => Ok(&["_bucket", "_count", "_sum"]),
        other => Err(format!("'{other}' is no kind")),
    }
}

/// Reads a text by the rules of OpenMetrics 1.0: order of lines, names, suffixes, units, escapes, what each kind may hold, the end.
fn openmetrics(text: &str) -> Result<BTreeMap<String, Family>, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("it does not end with # EOF and a line feed")?;
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in body.split_terminator('\n') {
        read_line(line, &mut current, &mut families).map_err(|why| format!("{why}, in: {line}"))?;
    }
    for (name, family) in &families {
        check(name, family).map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(families)
}

fn read_line(
    line: &str,
    current: &mut String,
    families: &mut BTreeMap<String, Family>,
) -> Result<(), String> {
    if let Some(comment) = line.strip_prefix("# ") {
        let (word, rest) = comment.split_once(' ').ok_or("a comment of no kind")?;
        let (name, value) = rest.split_once(' ').ok_or("nothing is said of the family")?;
        if name != *current {
            if families.contains_key(name) {
                return Err("the family's lines do not stand together".to_owned());
            }
            if !is_name(name) {
                return Err("no name".to_owned());
            }
            families.insert(name.to_owned(), Family::default());
            name.clone_into(current);
        }
        let family = families.get_mut(name).ok_or("no family")?;
        if !family.samples.is_empty() {
            return Err("it is said after samples".to_owned());
        }
        let place = match word {
            "HELP" => &mut family.help,
            "TYPE" => &mut family.kind,
            "UNIT" => &mut family.unit,
            _ => return Err("a comment of no kind".to_owned()),
        };
        if !place.is_empty() {
            return Err("it is said twice".to_owned());
        }
        value.clone_into(place);
        return Ok(());
    }
    let family = families.get_mut(current).ok_or("a sample before any family")?;
    let end = line.find(['{', ' ']).ok_or("a sample without a value")?;
    let suffix = line[..end].strip_prefix(current.as_str()).ok_or("a sample of another family")?;
    if !suffixes(&family.kind)?.contains(&suffix) {
        return Err(format!("the suffix '{suffix}' is none of a {}", family.kind));
    }
    let (labels, rest) = labels(&line[end..])?;
    let value = rest.strip_prefix(' ').ok_or("no blank before the value")?;
    let good = value.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    let value: f64 = value.parse().ok().filter(|_| good).ok_or("no number, or something behind it")?;
    family.samples.push((suffix.to_owned(), (labels, value)));
    Ok(())
}

fn check(name: &str, family: &Family) -> Result<(), String> {
    if family.help.is_empty() || !family.help.ends_with('.') {
        return Err("nothing helps to understand it".to_owned());
    }
    if !family.unit.is_empty() && !name.ends_with(&format!("_{}", family.unit)) {
        return Err("its name does not end with its unit".to_owned());
    }
    if ["_total", "_info", "_count", "_sum", "_bucket", "_created"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
    {
        return Err("its name ends as samples do".to_owned());
    }
    let mut seen = BTreeSet::new();
    for (suffix, (labels, value)) in &family.samples {
        let mut sorted = labels.clone();
        sorted.sort();
        if !seen.insert((suffix, sorted)) {
            return Err(format!("the sample {labels:?} comes twice"));
        }
        let whole = value.fract() == 0.0 && *value >= 0.0;
        match family.kind.as_str() {
            "info" if *value != 1.0 => return Err("its value is not 1".to_owned()),
            "stateset" if *value != 0.0 && *value != 1.0 => {
                return Err("a state is neither 0 nor 1".to_owned());
            }
            "stateset" if !labels.iter().any(|(label, _)| label == name) => {
                return Err("no label has the family's name".to_owned());
            }
            "counter" if *value < 0.0 => return Err("it counts down".to_owned()),
            "histogram" if suffix != "_sum" && !whole => return Err("a count is no whole number".to_owned()),
            _ => {}
        }
    }
    if family.kind == "stateset" {
        check_states(name, family)?;
    }
    if family.kind == "histogram" { check_buckets(family) } else { Ok(()) }
}

/// Of one set exactly one state is the case: what this project means by one.
fn check_states(name: &str, family: &Family) -> Result<(), String> {
    let mut sets: BTreeMap<Vec<&(String, String)>, f64> = BTreeMap::new();
    for (_, (labels, value)) in &family.samples {
        *sets.entry(labels.iter().filter(|(label, _)| label != name).collect()).or_default() += value;
    }
    if sets.values().all(|sum| *sum == 1.0) { Ok(()) } else { Err("not one state is the case".to_owned()) }
}

/// Bounds are floats that grow, counts do not fall, the last bound is +Inf, and what it counts is the count.
fn check_buckets(family: &Family) -> Result<(), String> {
    let (mut last, mut bound) = (0.0, f64::NEG_INFINITY);
    for (_, (labels, value)) in family.samples.iter().filter(|(suffix, _)| suffix == "_bucket") {
        let text = match labels.as_slice() {
            [(name, text)] if name == "le" => text,
            _ => return Err("a bucket has other labels than 'le'".to_owned()),
        };
        if text != "+Inf" && !text.contains('.') {
            return Err(format!("the bound '{text}' is not written as a float"));
        }
        let next: f64 =
            text.trim_start_matches('+').parse().map_err(|_| "a bound is no number".to_owned())?;
        if next <= bound || *value < last {
            return Err("bounds or counts fall".to_owned());
        }
        (last, bound) = (*value, next);
    }
    let count = family.samples.iter().find(|(suffix, _)| suffix == "_count");
    if bound.is_finite() || count.is_none_or(|(_, (_, count))| *count != last) {
        return Err("the last bucket is not +Inf with the count".to_owned());
    }
    if family.samples.iter().any(|(suffix, _)| suffix == "_sum") { Ok(()) } else { Err("no sum".to_owned()) }
}

/// What Prometheus's older text format forbids that a page of ours could hold: it knows no other kinds than these, and wants
/// samples to be called as their family, but for histograms.
fn prometheus(text: &str) -> Result<(), String> {
    let mut family = (String::new(), String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("no kind")?;
            if !["gauge", "counter", "histogram"].contains(&kind) {
                return Err(format!("node_exporter refuses the file: {line}"));
            }
            family = (name.to_owned(), kind.to_owned());
        } else if line.starts_with("# HELP ") {
        } else if line.starts_with('#') {
            return Err(format!("of OpenMetrics alone: {line}"));
        } else {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let suffix = name.strip_prefix(&family.0).ok_or(format!("another family: {line}"))?;
            if !suffix.is_empty() && family.1 != "histogram" {
                return Err(format!("not called as its family: {line}"));
            }
        }
    }
    Ok(())
}

fn group(name: &str, owner: Option<&str>, condition: Condition) -> GroupStatus {
    GroupStatus {
        name: name.to_owned(),
        vm: name.to_owned(),
        moving: None,
        target: None,
        home: None,
        targets: vec![],
        preparing: None,
        standby: false,
        owner: owner.map(str::to_owned),
        intent: Intent::Online,
        frozen: false,
        condition,
        reason: String::new(),
        since_ms: 1_790_000_000_250,
        controller: ControllerStatus::Connected,
        apps: Vec::new(),
        recoveries: Recoveries { reboot: 1, reset: 0, restart: 2 },
        dangers: vec!["autostart".to_owned()],
    }
}

fn facts(groups: Vec<GroupStatus>) -> Facts {
    let host = |name: &str, state, leads| HostStatus {
        name: name.to_owned(),
        state,
        leads,
        votes: true,
        reason: String::new(),
        groups: 1,
    };
    let mut libvirt = Histogram::default();
    [0, 3, 40, 20_000].into_iter().for_each(|ms| libvirt.count(Duration::from_millis(ms)));
    let mut network = Stats::default();
    (network.sent.datagrams, network.sent.bytes, network.accepted) = (12, 1200, 9);
    network.refused.insert(Refusal::Forged, 3);
    let mut tally = Tally::default();
    (tally.failovers, tally.fenced.time) = (2, 1);
    Facts {
        status: Status {
            version: CONTROL_VERSION,
            software: "roost 0.1.0".to_owned(),
            cluster: "la\"b".to_owned(),
            host: "hv1".to_owned(),
            health: Health::Degraded,
            libvirt: LibvirtStatus::Connected,
            hosts: vec![host("hv1", HostState::Up, true), host("hv2", HostState::Blocked, false)],
            groups,
            warnings: vec!["beware".to_owned()],
            leader: None,
            quorum: None,
            disarmed: None,
            unaware: Vec::new(),
        },
        started_ms: 1_790_000_000_000,
        consensus: Consensus {
            leader: true,
            quorum: true,
            lease: Duration::from_millis(2750),
            ..Consensus::default()
        },
        tally,
        made: Made { reboots: 1, resets: 0, restarts: 4, given_up: 1 },
        meter: Meter::default(),
        network,
        libvirt,
        hooks: hooks::Counts { runs: 5, failures: 1, dropped: 0 },
        hooks_waiting: 2,
        not_stored: 0,
    }
}

fn some() -> Facts {
    facts(vec![
        group("web", Some("hv1"), Condition::Recovering),
        group("db", Some("hv2"), Condition::Waiting), // its host was evicted
        group("mail", Some("hv2"), Condition::Elsewhere),
    ])
}

#[test]
fn what_is_told_is_good_openmetrics() {
    for facts in [some(), facts(Vec::new())] {
        openmetrics(&render(&facts, Dialect::OpenMetrics)).unwrap_or_else(|why| panic!("{why}"));
        prometheus(&render(&facts, Dialect::Prometheus)).unwrap_or_else(|why| panic!("{why}"));
    }
}

#[test]
fn both_formats_tell_the_same_samples() {
    let samples = |dialect| {
        let text = render(&some(), dialect);
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(samples(Dialect::OpenMetrics), samples(Dialect::Prometheus));
}

#[test]
fn what_is_told_is_what_is() {
    let text = render(&some(), Dialect::OpenMetrics);
    for line in [
        "roost_build_info{version=\"0.1.0\",cluster=\"la\\\"b\",host=\"hv1\"} 1",
        "roost_health 1",
        "roost_leads 1",
        "roost_lease_remaining_seconds 2.75",
        "roost_hosts{state=\"blocked\"} 1",
        "roost_hosts{state=\"silent\"} 0",
        "roost_groups{condition=\"elsewhere\"} 1",
        "roost_controllers{state=\"connected\"} 1",
        "roost_group_condition{group=\"web\",roost_group_condition=\"recovering\"} 1",
        "roost_group_condition{group=\"web\",roost_group_condition=\"online\"} 0",
        "roost_group_condition{group=\"db\",roost_group_condition=\"waiting\"} 1",
        "roost_group_changed_timestamp_seconds{group=\"web\"} 1790000000.25",
        "roost_group_recent_recoveries{group=\"web\",rung=\"restart\"} 2",
        "roost_recoveries_total{rung=\"restart\"} 4",
        "roost_failovers_total 2",
        "roost_hosts_fenced_total{proof=\"time\"} 1",
        "roost_libvirt_answer_seconds_bucket{le=\"0.005\"} 2",
        "roost_libvirt_answer_seconds_bucket{le=\"+Inf\"} 4",
        "roost_libvirt_answer_seconds_sum 20.043",
        "roost_datagrams_refused_total{reason=\"forged\"} 3",
        "roost_network_sent_bytes_total 1200",
        "roost_hook_failures_total 1",
    ] {
        assert!(text.lines().any(|told| told == line), "{line}, in:\n{text}");
    }
    assert!(!text.contains("group=\"mail\""), "another host's group is told there");
}

#[test]
fn there_are_only_so_many_series_whatever_there_is() {
    let many: Vec<GroupStatus> =
        (0..5000).map(|nth| group(&format!("g{nth}"), Some("hv1"), Condition::Online)).collect();
    let text = render(&facts(many), Dialect::OpenMetrics);
    let families = openmetrics(&text).unwrap_or_else(|why| panic!("{why}"));
    let wanted = &families["roost_group_wanted"];
    assert_eq!(wanted.samples.len(), MAX_GROUPS);
    assert!(text.lines().any(|line| line == "roost_groups{condition=\"online\"} 5000"), "sums count all");
    assert!(text.len() < 1024 * 1024, "{}", text.len());
    let labels: BTreeSet<&str> = families
        .values()
        .flat_map(|family| &family.samples)
        .flat_map(|(_, (labels, _))| labels.iter().map(|(name, _)| name.as_str()))
        .collect();
    let known = [
        "action",
        "cluster",
        "condition",
        "group",
        "host",
        "le",
        "level",
        "proof",
        "reason",
        "result",
        "roost_group_condition",
        "rung",
        "state",
        "version",
    ];
    assert_eq!(
        labels.into_iter().collect::<Vec<_>>(),
        known,
        "a new label multiplies what is kept for years"
    );
}

/// Each rule is broken once.
#[test]
fn the_rules_are_seen_to_be_broken() {
    let good = "# HELP a_seconds How.\n# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds{x=\"1\"} 0.5\n\
                # HELP b How.\n# TYPE b counter\nb_total 1\n\
                # HELP h How.\n# TYPE h histogram\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_count 2\nh_sum 0.5\n\
                # HELP s How.\n# TYPE s stateset\ns{s=\"on\"} 1\ns{s=\"off\"} 0\n\
                # HELP i How.\n# TYPE i info\ni_info{v=\"1\"} 1\n# EOF\n";
    openmetrics(good).unwrap_or_else(|why| panic!("{why}"));
    for (from, to, why) in [
        ("# EOF\n", "", "# EOF"),
        ("# EOF\n", "# EOF", "# EOF"),
        ("# UNIT a_seconds seconds", "# UNIT a_seconds bytes", "unit"),
        ("b_total 1", "b 1", "suffix"),
        ("b_total 1", "b_total -1", "counts down"),
        ("b_total 1", "b_total NaN", "no number"),
        ("b_total 1", "b_total 1 1.5 2", "no number"),
        ("b_total 1", "c_total 1", "another family"),
        ("b_total 1", "b_total 1\nb_total 2", "twice"),
        ("# TYPE b counter", "# TYPE b count", "no kind"),
        ("# TYPE b counter", "# TYPE b counter\n# TYPE b counter", "twice"),
        ("# HELP i How.", "# HELP b How.", "stand together"),
        ("# HELP i How.\n", "", "helps"),
        ("x=\"1\"", "x=\"\\1\"", "backslash"),
        ("x=\"1\"", "x=\"1\",x=\"2\"", "twice"),
        ("x=\"1\"", "0x=\"1\"", "no name"),
        ("le=\"1.0\"", "le=\"1\"", "float"),
        ("h_bucket{le=\"1.0\"} 1", "h_bucket{le=\"1.0\"} 3", "fall"),
        ("h_count 2", "h_count 3", "+Inf"),
        ("\nh_sum 0.5", "", "no sum"),
        ("s{s=\"off\"} 0", "s{s=\"off\"} 2", "neither"),
        ("s{s=\"off\"} 0", "s{s=\"off\"} 1", "not one state"),
        ("s{s=\"off\"}", "s{t=\"off\"}", "family's name"),
        ("i_info{v=\"1\"} 1", "i_info{v=\"1\"} 0", "not 1"),
        (
            "# HELP b How.\n# TYPE b counter\nb_total 1",
            "# HELP b_total How.\n# TYPE b_total gauge\nb_total 1",
            "as samples",
        ),
    ] {
        assert!(good.contains(from), "{from}");
        let error = openmetrics(&good.replacen(from, to, 1)).expect_err(to);
        assert!(error.contains(why), "{to}: {error}");
    }
}

/// Names of families, as the page has them: `.It Li NAME`.
#[test]
fn every_metric_is_in_the_manual_page_and_no_other() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/man/roost.8")).expect("the page");
    let documented: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix(".It Li roost_"))
        .filter_map(|rest| rest.split(' ').next())
        .collect();
    let families = openmetrics(&render(&some(), Dialect::OpenMetrics)).unwrap_or_else(|why| panic!("{why}"));
    let told: BTreeSet<&str> =
        families.keys().map(|name| name.strip_prefix("roost_").expect("ours")).collect();
    assert_eq!(documented, told);
    let rules = page.split(".Bd -literal").find(|block| block.contains("alert:")).expect("alert rules");
    let words = rules.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let named: BTreeSet<&str> = words.filter(|word| word.starts_with("roost_")).collect();
    assert!(named.len() > 5, "{named:?}");
    for name in named {
        let family = name.trim_start_matches("roost_").trim_end_matches("_total");
        assert!(told.contains(family), "a rule asks for '{name}', which there is not");
    }
}

#[test]
fn a_daemon_tells_its_metrics_to_everybody_and_writes_them_to_a_file() {
    let config =
        CONFIG.replacen("name = \"lab\"", "name = \"lab\"\nmetrics_file = \"DIR/textfile/roost.prom\"", 1);
    let bed = Bed::start(&config);
    bed.until("it is online", |bed| (bed.group("web").condition == Condition::Online).then_some(()));
    let mut guest = Guest::greet(&bed.dir.join("web.vsock"), 1);
    guest.tell("site", GroupState::Online);
    bed.until("the guest is heard", |bed| {
        (bed.group("web").controller == ControllerStatus::Connected).then_some(())
    });
    let output =
        Command::new(env!("CARGO_BIN_EXE_roost")).arg("--socket").arg(bed.socket()).arg("metrics").output();
    let output = output.expect("roost runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let families = openmetrics(&text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    let value = |family: &str, label: &str| {
        let samples = &families[family].samples;
        let of = |(_, (labels, _)): &&(String, Sample)| {
            label.is_empty() || labels.iter().any(|(_, value)| value == label)
        };
        samples.iter().filter(of).map(|(_, (_, value))| value).sum::<f64>()
    };
    assert_eq!(value("roost_groups", "online"), 1.0);
    assert_eq!(value("roost_controllers", "connected"), 1.0);
    assert_eq!(value("roost_elections_won", ""), 1.0);
    assert_eq!(value("roost_assignments", ""), 1.0);
    assert_eq!(value("roost_libvirt_connected", ""), 1.0);
    assert!(
        value("roost_libvirt_answer_seconds", "+Inf") > 0.0 && value("roost_events", "info") > 3.0,
        "{text}"
    );
    assert!(value("roost_ledger_applied_index", "") > 2.0 && value("roost_quorum", "") == 1.0, "{text}");
    let lease = value("roost_lease_remaining_seconds", "");
    assert!(lease > 0.0 && lease <= 3.0, "{lease}");

    // The folder was not there when it was first written to, and that was told once; a reload changes where to.
    assert!(bed.event("roost.prom' cannot be written").text.contains("sandbox"));
    bed.configure(&config.replace("textfile/roost.prom", "roost.prom"));
    bed.ask(roost_proto::control::Ask::Reload);
    let file = bed.dir.join("roost.prom");
    bed.until("it is written", |_| file.exists().then_some(()));
    let text = std::fs::read_to_string(&file).expect("there");
    prometheus(&text).unwrap_or_else(|why| panic!("{why}"));
    assert!(text.contains("\nroost_groups{condition=\"online\"} 1\n"), "{text}");
    assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o7777, 0o644);
}
