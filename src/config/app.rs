//! Applications: groups that a `roost-guest` runs, on a machine of its own or inside a VM.

use super::fields::{Fields, Mistakes, Placed, quote};
use super::host::ReadHost;
use super::read::ReadGroup;
use super::{App, Failback, MAX_HOSTS, MIN_SILENCE, MIN_WAIT, Role, Standby, Target, Window, check};
use core::time::Duration;
use roost_proto::cluster::HostId;
use roost_proto::control::MoveMethod;
use roost_proto::name::is_name;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Keys of a group that are about a VM.
const OF_VMS: [&str; 12] = [
    "xml",
    "apps",
    "link",
    "on_guest_shutdown",
    "silence",
    "boot_grace",
    "on_silence",
    "silence_patience",
    "moves",
    "move_timeout",
    "standby",
    "vm",
];
/// Keys of a group that are about an application.
const OF_APPS: [&str; 4] = ["failback", "failback_after", "failback_window", "app_lease"];
const ON: &str = "on = [\"db1\", \"vm:db1-standby\"]";
const WINDOW: &str = "failback_window = \"Sat 02:00-04:00\"";
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const DAY: u16 = 24 * 60;
const WEEK: u16 = 7 * DAY;

/// An application's targets, with their places.
pub(super) struct ReadApp {
    pub(super) app: App,
    /// One for each target.
    pub(super) targets_at: Vec<usize>,
}

/// What the group says of its application, if it is one.
pub(super) fn read(group: &mut Fields<'_, '_, '_>) -> Option<ReadApp> {
    if group.value("app").is_none() {
        refuse(
            group,
            &OF_APPS,
            "is about an application, and this group is a VM: leave it out, or name the application in 'app'",
        );
        return None;
    }
    refuse(
        group,
        &OF_VMS,
        "is about a VM, and this group is an application: leave it out, or leave 'app' out",
    );
    let name = group.text("app", "app = \"postgres\"").and_then(|text| checked(group, text));
    let targets = read_targets(group);
    let failback = read_failback(group);
    let lease = group.span("app_lease", MIN_SILENCE, Duration::from_secs(30));
    let (targets_at, targets) = targets.into_iter().map(|target| (target.at, target.value)).unzip();
    Some(ReadApp { app: App { name: name.unwrap_or_default(), targets, failback, lease }, targets_at })
}

/// When a VM is on.
pub(super) fn read_standby(group: &mut Fields<'_, '_, '_>) -> Standby {
    group.choice("standby", &[("warm", Standby::Warm), ("cold", Standby::Cold)], Standby::Warm)
}

fn refuse(group: &mut Fields<'_, '_, '_>, keys: &[&str], why: &str) {
    for key in keys {
        if let Some((_, span)) = group.value(key) {
            group.mistakes.note(span.start, format!("'{key}' {why}"));
        }
    }
}

fn checked(group: &mut Fields<'_, '_, '_>, text: Placed<&str>) -> Option<String> {
    if !is_name(text.value) {
        let message = format!(
            "'app' is {}, no name of a service group: write it as guest.toml does",
            quote(text.value)
        );
        group.mistakes.note(text.at, message);
        return None;
    }
    Some(text.value.to_owned())
}

fn read_targets(group: &mut Fields<'_, '_, '_>) -> Vec<Placed<Target>> {
    if group.value("on").is_none() {
        group.missing("on", &format!("where the application may run, home first, as in {ON}"));
    }
    let mut targets: Vec<Placed<Target>> = Vec::new();
    for text in group.texts("on", MAX_HOSTS, ON).unwrap_or_default() {
        let target = match text.value.strip_prefix("vm:") {
            Some(name) => Target::Vm(name.to_owned()),
            None => Target::Host(text.value.to_owned()),
        };
        if !is_name(target.name()) {
            let message = format!(
                "'on' names {}, no target: write a host, or vm: and a group, as in {ON}",
                quote(text.value)
            );
            group.mistakes.note(text.at, message);
        } else if targets.iter().any(|known| known.value == target) {
            group.mistakes.note(text.at, format!("'on' names '{target}' twice: leave one out"));
        } else {
            targets.push(Placed { at: text.at, value: target });
        }
    }
    targets
}

fn read_failback(group: &mut Fields<'_, '_, '_>) -> Failback {
    let words = [("manual", false), ("auto", true)];
    let auto = group.choice("failback", &words, false);
    let after = group.span("failback_after", MIN_WAIT, Duration::from_secs(600));
    let window = group.text("failback_window", WINDOW).and_then(|text| match text.value.parse() {
        Ok(window) => Some(window),
        Err(()) => {
            let message = format!(
                "'failback_window' is {}: write a day or two with '-' between them, if not every day, and the time from and to, as in {WINDOW}",
                quote(text.value)
            );
            group.mistakes.note(text.at, message);
            None
        }
    });
    if auto {
        return Failback::Auto { after, window };
    }
    refuse(
        group,
        &OF_APPS[1..3],
        "is about an automatic failback: leave it out, or write failback = \"auto\"",
    );
    Failback::Manual
}

/// Checks the targets of all applications, and fills in the hosts that act for them.
pub(super) fn check(hosts: &[ReadHost], groups: &mut [ReadGroup], mistakes: &mut Mistakes<'_>) {
    let roles: BTreeMap<&str, Role> =
        hosts.iter().map(|read| (read.host.name.as_str(), read.host.role)).collect();
    let mut numbers: BTreeMap<HostId, String> =
        roles.keys().map(|name| (HostId::of(name), (*name).to_owned())).collect();
    let vms: BTreeMap<String, Arc<[String]>> = (groups.iter())
        .filter(|read| read.app.is_none())
        .map(|read| (read.group.name.clone(), Arc::clone(&read.group.on)))
        .collect();
    let mut used: BTreeSet<String> = BTreeSet::new();
    for read in groups.iter_mut() {
        let Some(app) = &read.app else { continue };
        let mut on: Vec<String> = Vec::new();
        for (target, at) in app.app.targets.iter().zip(&app.targets_at) {
            if let Some(other) = numbers.insert(target.id(), target.to_string())
                && other != target.to_string()
            {
                let message = format!(
                    "the targets '{other}' and '{target}' have the same number, by chance: give one another name"
                );
                mistakes.note(*at, message);
            }
            let act: &[String] = match target {
                Target::Host(name) => match roles.get(name.as_str()) {
                    Some(Role::Application | Role::Hypervisor | Role::Watched) => core::slice::from_ref(name),
                    Some(Role::Witness) => {
                        let message =
                            format!("'on' names '{name}', which is a witness and runs nothing: leave it out");
                        mistakes.note(*at, message);
                        continue;
                    }
                    None => {
                        let hint = check::hint(name, || roles.keys().copied(), mistakes);
                        mistakes
                            .note(*at, format!("'on' names '{name}', and no [[host]] is called so{hint}"));
                        continue;
                    }
                },
                Target::Vm(name) => match vms.get(name) {
                    Some(on) => {
                        used.insert(name.clone());
                        on
                    }
                    None => {
                        let hint = check::hint(name, || vms.keys().map(String::as_str), mistakes);
                        let message = format!(
                            "'on' names '{target}', and no [[group]] with a 'vm' is called '{name}'{hint}"
                        );
                        mistakes.note(*at, message);
                        continue;
                    }
                },
            };
            on.extend(act.iter().filter(|name| !on.contains(name)).cloned().collect::<Vec<_>>());
        }
        read.group.on = on.into();
        read.group.ranked = true;
        read.group.moves = vec![MoveMethod::Cold];
        read.group.app = Some(app.app.clone());
    }
    for read in groups.iter().filter(|read| read.group.standby == Standby::Cold) {
        if !used.contains(&read.group.name) {
            let message = format!(
                "'{0}' is a cold standby, and no application has it among its targets, so it would never be on: name 'vm:{0}' \
                 in the 'on' of one, or leave 'standby' out",
                read.group.name
            );
            mistakes.note(read.at, message);
        }
    }
}

impl core::str::FromStr for Window {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (days, times) = match text.trim().split_once(' ') {
            Some((days, times)) => (read_days(days)?, times),
            None => ((0, 6), text),
        };
        let (from, to) = times.trim().split_once('-').ok_or(())?;
        let (from, to) = (read_time(from)?, read_time(to)?);
        if from == to {
            return Err(());
        }
        Ok(Self { days, from, to })
    }
}

fn read_days(text: &str) -> Result<(u16, u16), ()> {
    let day = |text: &str| {
        let known = DAYS.iter().position(|day| day.eq_ignore_ascii_case(text));
        known.and_then(|nth| u16::try_from(nth).ok()).ok_or(())
    };
    match text.split_once('-') {
        Some((from, to)) => Ok((day(from)?, day(to)?)),
        None => Ok((day(text)?, day(text)?)),
    }
}

/// Minutes since midnight.
fn read_time(text: &str) -> Result<u16, ()> {
    let (hours, minutes) = text.split_once(':').ok_or(())?;
    let two = |text: &str, most: u16| {
        let number = Some(text).filter(|text| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit()));
        number.and_then(|text| text.parse::<u16>().ok()).filter(|number| *number < most).ok_or(())
    };
    Ok(two(hours, 24)? * 60 + two(minutes, 60)?)
}

impl Window {
    /// Whether it is open at that minute of the week, counted from Monday, 00:00.
    pub fn holds(&self, minute: u16) -> bool {
        let lasts = (DAY + self.to - self.from) % DAY; // over midnight, perhaps
        let (first, last) = self.days;
        let days = (7 + last - first) % 7;
        (0..=days).any(|nth| {
            let opens = (first + nth) % 7 * DAY + self.from;
            (WEEK + minute % WEEK - opens) % WEEK < lasts
        })
    }
}

impl core::fmt::Display for Window {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.days {
            (0, 6) => {}
            (first, last) if first == last => write!(f, "{} ", DAYS[usize::from(first)])?,
            (first, last) => write!(f, "{}-{} ", DAYS[usize::from(first)], DAYS[usize::from(last)])?,
        }
        let (from, to) = (self.from, self.to);
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRIDAY: u16 = 4 * DAY;

    fn window(text: &str) -> Window {
        text.parse().expect("a window")
    }

    #[test]
    fn a_window_opens_on_its_days_and_may_go_over_midnight() {
        let nights = window("Fri-Sun 22:00-02:00");
        assert!(nights.holds(FRIDAY + 22 * 60));
        assert!(nights.holds(FRIDAY + DAY + 119));
        assert!(!nights.holds(FRIDAY + DAY + 120));
        assert!(!nights.holds(FRIDAY + 60), "Thursday night is none of them");
        assert!(nights.holds(60), "the night from Sunday to Monday");
        let daily = window("02:00-04:00");
        assert!((0..7).all(|day| daily.holds(day * DAY + 121) && !daily.holds(day * DAY + 240)));
        let round = window("Sat-Mon 01:00-02:00");
        assert!(round.holds(60) && round.holds(6 * DAY + 60) && !round.holds(DAY + 60));
    }

    #[test]
    fn windows_are_shown_as_they_are_written_and_others_refused() {
        for text in ["Sat 02:00-04:00", "Mon-Fri 22:30-04:05", "00:00-23:59"] {
            assert_eq!(window(text).to_string(), text);
        }
        for text in [
            "",
            "Sat",
            "Sat 2-4",
            "Sat 02:00",
            "Foo 02:00-04:00",
            "Sat 02:00-02:00",
            "25:00-26:00",
            "2:00-4:00",
        ] {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
    }
}
