//! What must hold between durations: a ladder whose attempts are forgotten sooner than they can be spent has no end.

use super::fields::{Fields, Placed, Read};
use super::{Group, Kind, Resource};
use core::time::Duration;
use roost_proto::time::{MAX_SPAN, Span};

/// Checks the durations of one resource against each other.
pub(super) fn resource(resource: &Resource, fields: &Fields<'_>) -> Read<()> {
    let refuse = |keys: &[&str], message| Err(Placed { at: fields.place(keys), value: message });
    if resource.interval.is_zero() && !has_events(&resource.kind) {
        return refuse(
            &["interval"],
            "'interval' is 0s, and the kernel tells nothing about this kind: it would never be looked at; write \
             interval = \"10s\""
                .to_owned(),
        );
    }
    if let Kind::File { max_age, .. } = &resource.kind
        && *max_age < resource.interval
    {
        let (age, interval) = (Span(*max_age), Span(resource.interval));
        return refuse(
            &["max_age"],
            format!(
                "'max_age' is {age} and the file is looked at each {interval}: write max_age = \"{interval}\" or more, \
                 or interval = \"{age}\" or less"
            ),
        );
    }
    if resource.backoff.first > resource.backoff.max {
        let (first, max) = (Span(resource.backoff.first), Span(resource.backoff.max));
        return refuse(
            &["backoff", "backoff_max"],
            format!(
                "'backoff' is {first} and 'backoff_max' is {max}: the first wait cannot be longer than the longest; \
                 write backoff_max = \"{first}\" or more"
            ),
        );
    }
    let spent = spending(resource);
    if resource.window <= spent {
        return refuse(
            &["window", "attempts", "backoff_max", "start_timeout", "stop_timeout"],
            format!(
                "'window' is {}, and attempts = {} takes {} when each ends at its limits: the first would be forgotten \
                 before the last, and no fault ever raised; {}",
                Span(resource.window),
                resource.attempts,
                Span(whole_seconds(spent)),
                longer_window(spent)
            ),
        );
    }
    Ok(())
}

/// Checks a group's durations against those of its resources.
pub(super) fn group(group: &Group, fields: &Fields<'_>) -> Read<()> {
    let longest = group.resources.iter().map(|resource| spending(resource) + cycle(resource)).max();
    let spent = longest.unwrap_or_default().saturating_mul(group.restarts);
    if group.window > spent {
        return Ok(());
    }
    Err(Placed {
        at: fields.place(&["window", "restarts"]),
        value: format!(
            "'window' is {}, and restarts = {} with the attempts of the resources takes {} when all end at their limits: \
             the first would be forgotten before the last, and no fault ever raised; {}",
            Span(group.window),
            group.restarts,
            Span(whole_seconds(spent)),
            longer_window(spent)
        ),
    })
}

/// Whether the end of such a resource is an event of the kernel.
const fn has_events(kind: &Kind) -> bool {
    matches!(kind, Kind::Process(_) | Kind::Systemd { .. } | Kind::Mount { .. })
}

/// The longest that one attempt takes until it is known to have failed, and what is left of it is stopped. A process
/// is started at once, and dead at once if it fails.
fn cycle(resource: &Resource) -> Duration {
    match &resource.kind {
        Kind::Process(_) => Duration::ZERO,
        kind if kind.is_probe() => resource.start_timeout,
        _ => resource.start_timeout + resource.timeout + resource.stop_timeout,
    }
}

/// The longest that all attempts take, the waits between them included.
fn spending(resource: &Resource) -> Duration {
    (0..resource.attempts)
        .map(|made| resource.backoff.wait(made, 0).saturating_add(cycle(resource)))
        .fold(Duration::ZERO, Duration::saturating_add)
}

fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}

fn longer_window(spent: Duration) -> String {
    let minutes = Duration::from_secs((spent.as_secs() / 60 + 1) * 60);
    if minutes > MAX_SPAN {
        "fewer attempts or shorter times are needed".to_owned()
    } else {
        format!("write window = \"{}\" or more", Span(minutes))
    }
}
