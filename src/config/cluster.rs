//! The table `[cluster]`.

use super::fields::{Fields, quote};
use super::{
    CLUSTER, Cluster, MAX_KEYS, MAX_STARTS_AT_ONCE, MIN_WAIT, OnQuorumLoss, OnShutdown, OnStray, timing,
};
use core::time::Duration;
use roost_proto::time::MAX_SPAN;
use std::path::PathBuf;

/// What becomes of groups when their host is shut down, as it is written.
pub(super) const ON_SHUTDOWN: [(&str, OnShutdown); 3] =
    [("move", OnShutdown::Move), ("stop", OnShutdown::Stop), ("stay", OnShutdown::Stay)];

/// What is read of the cluster, with the place that messages need.
pub(super) struct ReadCluster {
    pub(super) quorum_at: usize,
    pub(super) cluster: Cluster,
}

pub(super) fn read(file: &mut Fields<'_, '_, '_>) -> Option<ReadCluster> {
    if file.value("cluster").is_none() {
        file.missing("cluster", "[cluster], and below it name = \"the cluster's name\"");
    }
    let (table, at) = file.table("cluster", CLUSTER.header)?;
    let mut cluster = Fields::open(table, at, &CLUSTER, file.mistakes);
    let name = cluster.name("name = \"lab\"");
    let read = Cluster {
        name: name.map_or_else(String::new, |name| name.value),
        timing: timing::read(&mut cluster),
        on_quorum_loss: cluster.choice(
            "on_quorum_loss",
            &[("pause", OnQuorumLoss::Pause), ("stop", OnQuorumLoss::Stop), ("keep", OnQuorumLoss::Keep)],
            OnQuorumLoss::Pause,
        ),
        keys: keys(&mut cluster),
        on_stray: cluster.choice(
            "on_stray",
            &[("report", OnStray::Report), ("stop", OnStray::Stop)],
            OnStray::Report,
        ),
        starts_at_once: cluster.number("starts_at_once", 1, MAX_STARTS_AT_ONCE, 4),
        on_shutdown: cluster.choice("on_shutdown", &ON_SHUTDOWN, OnShutdown::Move),
        stay_for: cluster.span_to("stay_for", MIN_WAIT, MAX_SPAN, Duration::from_secs(1800)),
        quarantine: cluster.span_to("quarantine", MIN_WAIT, MAX_SPAN, Duration::from_secs(600)),
        save_dir: save_dir(&mut cluster),
        metrics_file: metrics_file(&mut cluster),
    };
    Some(ReadCluster { quorum_at: cluster.place("on_quorum_loss"), cluster: read })
}

fn save_dir(cluster: &mut Fields<'_, '_, '_>) -> Option<PathBuf> {
    let text = cluster.text("save_dir", "save_dir = \"/srv/shared/roost\"")?;
    cluster.directory("save_dir", text)
}

/// The file with metrics, whose name must be one that is read.
fn metrics_file(cluster: &mut Fields<'_, '_, '_>) -> Option<PathBuf> {
    const EXAMPLE: &str = "metrics_file = \"/var/lib/node_exporter/textfile_collector/roost.prom\"";
    let text = cluster.text("metrics_file", EXAMPLE)?;
    let path = cluster.path("metrics_file", text)?;
    if path.extension().is_none_or(|kind| kind != "prom") {
        let given = quote(text.value);
        cluster.mistakes.note(
            text.at,
            format!("'metrics_file' is {given}, and node_exporter reads names that end with '.prom': write {EXAMPLE}"),
        );
        return None;
    }
    Some(path)
}

/// The files with keys, in order; none when the file names none.
fn keys(cluster: &mut Fields<'_, '_, '_>) -> Vec<PathBuf> {
    let mut keys = Vec::new();
    for text in cluster.texts("key", MAX_KEYS, "key = [\"/etc/roost/key\"]").unwrap_or_default() {
        let Some(path) = cluster.path("key", text) else { continue };
        if keys.contains(&path) {
            cluster.mistakes.note(text.at, format!("'key' names {} twice: leave one out", quote(text.value)));
        }
        keys.push(path);
    }
    keys
}
