//! The times of the cluster: read, and checked against each other.

use super::fields::Fields;
use super::{MIN_WAIT, Timing};
use core::time::Duration;
use roost_proto::time::Span;

/// The least `beat`: with less, how late a busy machine wakes a process would count as silence.
const MIN_BEAT: Duration = Duration::from_millis(50);
/// The longest `beat`; the longest lease holds a few of them.
const MAX_BEAT: Duration = Duration::from_secs(10);
/// The longest `lease`: for so long an evicted host may go on before time alone proves that it stopped, and as long is a
/// failover without a fence agent at the least.
const MAX_LEASE: Duration = Duration::from_secs(60);
/// The longest `evict_after`. A host that is away for longer is away.
const MAX_EVICT_AFTER: Duration = Duration::from_secs(600);
/// The least `watchdog`: devices count whole seconds, and one second is shorter than the pauses of a healthy machine.
const MIN_WATCHDOG: Duration = Duration::from_secs(2);
/// The longest `watchdog`: many devices know no longer one, and each second of it delays the failover without fence agents.
const MAX_WATCHDOG: Duration = Duration::from_secs(300);
/// Beats that fit into `suspect_after`, and into `watchdog`, which is fed with each beat: three may be lost or late in a row
/// before anything follows from it.
const SPARE_BEATS: u32 = 4;
/// Beats that an answer may take beside its way: the host's own next one carries the stamp, the voter's next the answer.
const ANSWER_BEATS: u32 = 2;

/// The times of `[cluster]`: those of `timing`, and what the file says otherwise.
pub(super) fn read(cluster: &mut Fields<'_, '_, '_>) -> Timing {
    let before = cluster.mistakes.count();
    let named = [("default", Timing::DEFAULT), ("fast", Timing::FAST)];
    let base = cluster.choice("timing", &named, Timing::DEFAULT);
    let timing = Timing {
        beat: cluster.span_to("beat", MIN_BEAT, MAX_BEAT, base.beat),
        suspect_after: cluster.span_to("suspect_after", MIN_WAIT, MAX_LEASE, base.suspect_after),
        evict_after: cluster.span_to("evict_after", MIN_WAIT, MAX_EVICT_AFTER, base.evict_after),
        lease: cluster.span_to("lease", MIN_WAIT, MAX_LEASE, base.lease),
        watchdog: cluster.span_to("watchdog", MIN_WATCHDOG, MAX_WATCHDOG, base.watchdog),
    };
    // What follows from each other means something only when each was read well.
    if cluster.mistakes.count() == before {
        check(timing, cluster);
    }
    timing
}

fn check(timing: Timing, cluster: &mut Fields<'_, '_, '_>) {
    let Timing { beat, suspect_after, evict_after, lease, watchdog } = timing;
    if watchdog.subsec_nanos() != 0 {
        let whole = Duration::from_secs(watchdog.as_secs() + 1);
        let at = cluster.place("watchdog");
        cluster.mistakes.note(
            at,
            format!(
                "'watchdog' is {}, and watchdog devices count whole seconds: write watchdog = \"{}\"",
                Span(watchdog),
                Span(whole)
            ),
        );
    }
    let spare = beat * SPARE_BEATS;
    least(cluster, ("suspect_after", suspect_after), ("beat", beat), spare, "one lost beat is no silence");
    least(
        cluster,
        ("watchdog", watchdog),
        ("beat", beat),
        spare,
        "it is fed with each beat, and one may be late",
    );
    least(
        cluster,
        ("evict_after", evict_after),
        ("suspect_after", suspect_after),
        suspect_after,
        "a host is suspected before it is evicted",
    );
    least(
        cluster,
        ("lease", lease),
        ("suspect_after", suspect_after),
        suspect_after + beat * ANSWER_BEATS,
        "a silence that nobody suspects, and two beats for the answer, must not end a lease",
    );
}

/// Notes that `key` is too short beside `other`. It stands where the file says the one or the other.
fn least(
    cluster: &mut Fields<'_, '_, '_>,
    (key, is): (&str, Duration),
    (other, of): (&str, Duration),
    wanted: Duration,
    why: &str,
) {
    if is >= wanted {
        return;
    }
    let said = [key, other, "beat", "timing"].into_iter().find(|key| cluster.value(key).is_some());
    let at = cluster.place(said.unwrap_or(key));
    cluster.mistakes.note(
        at,
        format!(
            "'{key}' is {} and '{other}' is {}: {why}; write {key} = \"{}\" or more, or shorten '{other}'",
            Span(is),
            Span(of),
            Span(wanted)
        ),
    );
}
