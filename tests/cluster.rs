//! Several real `roostd` that form a cluster on loopback addresses, each with a libvirt of its own (its test driver).

mod common;
#[path = "common/cluster.rs"]
mod lab;

use common::Bed;
use lab::{Cluster, HOSTS, host_state, new_key, node, roost, words};
use nix::sys::signal::Signal;
use roost_proto::control::{
    Ask, Condition, Event, EventKind, GroupStatus, HostState, Intent, Refusal, Reply, Status,
};
use roost_proto::insight::QuorumState;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn a_lost_leader_is_replaced_and_its_groups_are_blocked_until_it_is_fenced() {
    let mut cluster = Cluster::founded();
    let leader = cluster.leader();
    let follower = (leader + 1) % 3;
    // An order that is given on a follower is seen on all.
    let replies = cluster.hosts[follower].ask(Ask::Freeze { group: "web2".to_owned() });
    assert!(matches!(replies[..], [Reply::Done { .. }]), "{replies:?}");
    cluster.all("the group is frozen", |bed| bed.group("web2").frozen);
    cluster.hosts[follower].ask(Ask::Thaw { group: "web2".to_owned() });
    cluster.all("the group is taken care of", |bed| !bed.group("web2").frozen);
    cluster.nothing_happened();

    let lost = HOSTS[leader];
    let orphan = format!("web{}", leader + 1);
    cluster.hosts[leader].end(Signal::SIGKILL);
    assert_ne!(cluster.leader(), leader);
    cluster.all("it is blocked", |bed| host_state(bed, leader) == HostState::Blocked);
    cluster.all("its group waits, and says why", |bed| {
        let group = bed.group(&orphan);
        group.condition == Condition::Waiting && group.reason.contains("blocked")
    });
    let shown = roost(&cluster.hosts[follower], &["status"]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        text.contains(&format!("`roost fence {lost} --confirm`")) && shown.status.code() == Some(1),
        "{text}"
    );
    let starts = format!("starting VM '{orphan}'");
    assert_eq!(cluster.count(&starts), 0, "nobody knows yet that it runs nothing");
    // Only what was evicted can be confirmed.
    let other = HOSTS[follower];
    let refused = roost(&cluster.hosts[follower], &["fence", other, "--confirm"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is in the cluster"), "{refused:?}");

    let done = roost(&cluster.hosts[follower], &["fence", lost, "--confirm"]);
    assert!(done.status.success(), "{done:?}");
    cluster.all("its group is another's", |bed| bed.group(&orphan).owner.is_some_and(|owner| owner != lost));
    let owner = cluster.hosts[follower].group(&orphan).owner.expect("it was just seen");
    let owner = cluster.hosts.iter().find(|bed| bed.host == owner).expect("one of them");
    owner.until("it runs", |bed| (bed.group(&orphan).condition == Condition::Online).then_some(()));
    assert_eq!(cluster.count(&starts), 1, "{:#?}", cluster.events());
    // The lost host comes back without its VM, as after a boot, and is taken in again.
    let back = &mut cluster.hosts[leader];
    fs::write(back.dir.join("node.xml"), node(&[])).expect("writable");
    back.run();
    cluster.all("it is back", |bed| host_state(bed, leader) == HostState::Up);
    assert_eq!(cluster.count(&starts), 1);
}

#[test]
fn restarts_of_the_daemons_restart_nothing() {
    let mut cluster = Cluster::founded();
    // One after another, as an upgrade does; the leader is one of them.
    for nth in 0..3 {
        cluster.hosts[nth].end(Signal::SIGTERM);
        cluster.hosts[nth].run();
        cluster.is_whole();
    }
    // And one that dies, the leader, and is started again at once.
    let leader = cluster.leader();
    cluster.hosts[leader].end(Signal::SIGKILL);
    cluster.hosts[leader].run();
    cluster.is_whole();
    cluster.nothing_happened();
}

#[test]
fn a_host_that_leaves_gives_its_groups_away_without_fencing() {
    let mut cluster = Cluster::founded();
    let leader = cluster.leader();
    let group = format!("web{}", leader + 1);
    let begun = Instant::now();
    cluster.hosts[leader].signal(Signal::SIGPWR);
    cluster.hosts[leader].ends();
    println!("left after {:?}", begun.elapsed());
    let log = cluster.hosts[leader].log();
    assert!(log.contains("this host gave its groups back"), "{log}");
    cluster.all("it is out", |bed| host_state(bed, leader) == HostState::Out);
    cluster.all("its group is another's", |bed| {
        bed.group(&group).owner.is_some_and(|owner| owner != HOSTS[leader])
    });
    let new_owner = cluster.running().find(|bed| bed.group(&group).owner.as_ref() == Some(&bed.host));
    let new_owner = new_owner.expect("it was just seen");
    new_owner.until("it runs there", |bed| (bed.group(&group).condition == Condition::Online).then_some(()));
    assert_eq!(cluster.count(&format!("starting VM '{group}'")), 1, "{:#?}", cluster.events());
    let lost =
        |(_, event): &(String, Event)| event.kind == EventKind::HostLost && event.text.contains("silent");
    assert!(!cluster.events().iter().any(lost), "{:#?}", cluster.events());
}

/// A `systemctl` that answers with what a file says.
fn systemd_of(bed: &mut Bed) -> (UnixDatagram, PathBuf) {
    let bin = bed.dir.join("bin");
    fs::create_dir(&bin).expect("a folder");
    let answer = bed.dir.join("answer");
    let program = bin.join("systemctl");
    fs::write(&program, format!("#!/bin/sh\ncat {}\n", answer.display())).expect("writable");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("our own");
    let notify = bed.dir.join("notify");
    let socket = UnixDatagram::bind(&notify).expect("a socket");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("there is one"));
    bed.environment = vec![
        ("PATH".to_owned(), path),
        ("NOTIFY_SOCKET".to_owned(), notify.to_str().expect("a plain path").to_owned()),
    ];
    (socket, answer)
}

#[test]
fn only_a_shutdown_of_the_machine_moves_groups_and_a_second_signal_ends_at_once() {
    let mut cluster = Cluster::new();
    let systemd = systemd_of(&mut cluster.hosts[2]);
    cluster.hosts.iter_mut().for_each(Bed::run);
    cluster.is_whole();
    fs::write(&systemd.1, "running\n").expect("writable");
    cluster.hosts[2].end(Signal::SIGTERM);
    assert!(cluster.hosts[2].log().contains("VMs run on"));
    cluster.hosts[2].run();
    cluster.is_whole();
    cluster.nothing_happened();

    fs::write(&systemd.1, "stopping\n").expect("writable");
    cluster.hosts[2].end(Signal::SIGTERM);
    assert!(cluster.hosts[2].log().contains("the machine is being shut down"));
    assert!(cluster.hosts[2].log().contains("this host gave its groups back"));
    cluster.all("it is out", |bed| host_state(bed, 2) == HostState::Out);
    cluster.all("its group is another's", |bed| bed.group("web3").owner.is_some_and(|owner| owner != "hv3"));

    // Without an answer to wait for, and told so twice: it ends, whatever it still has.
    let bed = &mut cluster.hosts[1];
    let before = bed.events().len();
    bed.signal(Signal::SIGPWR);
    bed.until("it is on its way", |bed| bed.log().contains("roostd was told to leave").then_some(()));
    assert!(before > 0);
    bed.signal(Signal::SIGTERM);
    bed.signal(Signal::SIGTERM);
    bed.ends();
}

/// A daemon on a machine that differs in this file.
struct Elsewhere(std::process::Child);

impl Elsewhere {
    fn run(bed: &Bed, file: &str, content: &str) -> Self {
        let own = bed.dir.join("its-own");
        fs::write(&own, content).expect("writable");
        let roostd = bed.command();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg("mount --bind \"$0\" \"$1\" && shift && exec \"$@\"").arg(&own).arg(file);
        command.arg(roostd.get_program()).args(roostd.get_args()).current_dir(&bed.dir);
        let log = fs::File::create(bed.dir.join("log")).expect("a log");
        Self(command.stderr(log).spawn().expect("it runs"))
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Cluster {
    /// A second machine says that it is hv2, from an address of its own.
    fn second_hv2(&self) -> Bed {
        let config = self.config().replace(&format!("{}.2:", self.net), &format!("{}.9:", self.net));
        self.host(2, &config)
    }

    /// Neither of the two was thrown out, and nothing was taken from the one that was there first.
    fn hv2_keeps_its_own(&self) {
        for bed in self.running().filter(|bed| bed.host != "hv2") {
            assert!(
                matches!(host_state(bed, 1), HostState::Up | HostState::Silent),
                "{:?}",
                bed.status().hosts
            );
            assert_eq!(bed.group("web2").owner.as_deref(), Some("hv2"));
        }
        for words in ["starting VM", "it is evicted", "thrown out"] {
            assert_eq!(self.count(words), 0, "{:#?}", self.events());
        }
    }
}

#[test]
fn two_machines_with_one_name_are_told_of_and_the_second_gets_nothing() {
    let cluster = Cluster::founded();
    let twin = cluster.second_hv2();
    let _daemon = Elsewhere::run(&twin, "/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    cluster.told("another machine has come under the name 'hv2'");
    let told = cluster.told("two hosts go by the name 'hv2'");
    assert!(told.contains("give one another name"), "{told}");
    cluster.hv2_keeps_its_own();
}

#[test]
fn a_copy_of_a_machine_is_not_taken_for_its_reboot() {
    let cluster = Cluster::founded();
    let copy = cluster.second_hv2();
    let boot = "01234567-89ab-4cde-8f01-23456789abcd\n";
    let _daemon = Elsewhere::run(&copy, "/proc/sys/kernel/random/boot_id", boot);
    cluster.told("two daemons call themselves 'hv2'");
    cluster.told("two hosts go by the name 'hv2'");
    cluster.hv2_keeps_its_own();
}

#[test]
fn files_that_differ_are_shown() {
    let mut cluster = Cluster::new();
    cluster.hosts.iter_mut().for_each(Bed::run);
    cluster.is_whole();
    let config = format!("{}priority = 7\n", cluster.config());
    cluster.hosts[2].end(Signal::SIGTERM);
    cluster.hosts[2].configure(&config);
    cluster.hosts[2].run();
    let bed = &cluster.hosts[0];
    bed.until("it is shown", |bed| {
        let shown = roost(bed, &["status"]);
        String::from_utf8_lossy(&shown.stdout).contains("its configuration file differs").then_some(())
    });
    bed.event("'hv3': its configuration file is another than this host's");
    assert_eq!(cluster.count("starting VM"), 0);
}

#[test]
fn who_has_another_key_or_another_clusters_name_is_not_let_in() {
    let mut cluster = Cluster::new();
    let other_key = cluster.folder.join("other-key");
    new_key(&other_key);
    fs::copy(&other_key, cluster.hosts[1].dir.join("key")).expect("writable");
    cluster.hosts[2].configure(&cluster.config().replace("name = \"lab\"", "name = \"lob\""));
    cluster.hosts.iter_mut().for_each(Bed::run);
    let bed = &cluster.hosts[0];
    bed.event("host 'hv2' has a key that is not in the key file here");
    let told = bed.event("it sends datagrams of another cluster");
    assert!(told.text.starts_with(&format!("{}.3: ", cluster.net)), "{}", told.text);
    let warned = bed.status().warnings.join("; ");
    assert!(warned.contains("not founded yet"), "{warned}");
    assert!(bed.status().hosts.iter().all(|host| host.state == HostState::Out));
    assert_eq!(cluster.count("starting VM"), 0);
    assert_eq!(bed.group("web1").intent, Intent::Online);
    // With the right files they are let in.
    fs::copy(cluster.folder.join("key"), cluster.hosts[1].dir.join("key")).expect("writable");
    for nth in 1..3 {
        cluster.hosts[nth].end(Signal::SIGTERM);
        cluster.hosts[nth].configure(&cluster.config());
        cluster.hosts[nth].run();
    }
    cluster.is_whole();
}

/// What the whole cluster looks like, asked on this host.
fn cluster(bed: &Bed) -> Status {
    match bed.ask(Ask::Cluster).pop() {
        Some(Reply::Status(status)) => status,
        other => panic!("no status: {other:?}"),
    }
}

#[test]
fn any_host_tells_of_all_explains_and_plans() {
    let cluster_of_three = Cluster::founded();
    let leader = HOSTS[cluster_of_three.leader()];
    for bed in &cluster_of_three.hosts {
        bed.until("it tells of all, as the leader knows it", |bed| {
            let status = cluster(bed);
            let well = |group: &GroupStatus| {
                group.condition == Condition::Online && group.since_ms > 0 && group.owner.is_some()
            };
            let all = status.groups.len() == 3 && status.groups.iter().all(well);
            (all && status.host == bed.host && status.leader.as_deref() == Some(leader)).then_some(())
        });
        let shown = roost(bed, &["status"]);
        assert_eq!(words(&shown).matches("  online  ").count(), 3, "{}", words(&shown));
        // Each group, wherever it is asked about: its own host tells how it is, the leader where it could go.
        for nth in 1..=3 {
            let told = words(&roost(bed, &["explain", &format!("web{nth}")]));
            for part in [
                format!("online on hv{nth}"),
                format!("hv{nth}  is there"),
                format!("it is online on 'hv{nth}', for "),
                "  next      it has room: ".to_owned(),
                format!("restart the VM on 'hv{nth}' (0 of 3 within 1h made)"),
                format!("not protected from the loss of 'hv{nth}', which has neither"),
                "its guest never had a controller".to_owned(),
            ] {
                assert!(told.contains(&part), "{part}: {told}");
            }
        }
        let told = words(&roost(bed, &["explain", "hv2"]));
        for part in [
            "it is in the cluster",
            "its own is 1 group: web2",
            "neither a fence agent nor a watchdog",
            "web2  hv2 -> hv",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        let plan = roost(bed, &["plan", "--any", "1"]);
        assert_eq!(plan.status.code(), Some(0), "{}", words(&plan));
        assert!(words(&plan).contains("any one host may be lost"), "{}", words(&plan));
        let plan = roost(bed, &["plan", "--without", "hv1,hv3"]);
        assert_eq!(plan.status.code(), Some(1), "{}", words(&plan));
        assert!(words(&plan).contains("no majority would be left"), "{}", words(&plan));
        for (asked, told) in [("wbe1", "did you mean 'web1'?"), ("hv9", "did you mean 'hv1'?")] {
            let refused = roost(bed, &["explain", asked]);
            assert!(refused.status.code() == Some(65) && words(&refused).contains(told), "{refused:?}");
        }
        assert_eq!(roost(bed, &["plan", "--without", "hv9"]).status.code(), Some(65));
    }
}

#[test]
fn without_a_majority_it_is_said_at_once_what_that_means() {
    let mut cluster_of_three = Cluster::founded();
    for nth in [1, 2] {
        cluster_of_three.hosts[nth].end(Signal::SIGKILL);
    }
    let bed = &cluster_of_three.hosts[0];
    // An order that is given right now is refused as well, before a person wonders; the old bound was 10 s.
    let begun = Instant::now();
    let refused = roost(bed, &["freeze", "web1"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(refused.status.code(), Some(75), "{refused:?}");
    for part in ["no majority: 1 of 3 voters are heard, and it takes 2", "'hv2'", "'hv3'", "start roostd on"]
    {
        assert!(words(&refused).contains(part), "{part}: {}", words(&refused));
    }
    let begun = Instant::now();
    let shown = roost(bed, &["status"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(shown.status.code(), Some(2), "{}", words(&shown));
    for part in [
        "as far as it alone knows",
        "NO MAJORITY: 1 of 3 voters heard, 2 needed",
        "roost fence HOST --confirm",
        "to do: ",
    ] {
        assert!(words(&shown).contains(part), "{part}: {}", words(&shown));
    }
    let explained = roost(bed, &["explain", "web1"]);
    assert_eq!(explained.status.code(), Some(2), "{}", words(&explained));
    assert!(words(&explained).contains("as far as hv1 alone knows"), "{}", words(&explained));
    for arguments in [&["plan", "--any", "1"][..], &["fence", "hv2", "--confirm"], &["online", "web2"]] {
        let refused = roost(bed, arguments);
        assert_eq!(refused.status.code(), Some(75), "{arguments:?}: {}", words(&refused));
    }
    // One voter more is enough.
    cluster_of_three.hosts[1].run();
    let bed = &cluster_of_three.hosts[0];
    bed.until("there is a majority again", |bed| {
        cluster(bed).quorum.is_some_and(|quorum| quorum.state == QuorumState::Held).then_some(())
    });
    assert!(roost(bed, &["freeze", "web1"]).status.success());
}

/// An operator's tool of before, by hand, and one of a later version.
#[test]
fn older_and_newer_tools_are_answered() {
    let cluster_of_three = Cluster::founded();
    let bed = &cluster_of_three.hosts[0];
    let old = bed.ask_text("{\"version\":1,\"ask\":\"status\"}");
    assert!(matches!(old[..], [Reply::Status(_)]), "{old:?}");
    for line in ["{\"version\":2,\"ask\":\"status\"}", "{\"version\":1,\"ask\":\"sing\"}"] {
        let refused = bed.ask_text(line);
        let [Reply::Refused { code: Refusal::BadRequest, reason }] = &refused[..] else {
            panic!("{refused:?}")
        };
        assert!(reason.contains("roostd"), "{reason}");
    }
}
