//! The procedures of `roost-procedures(7)` that can be played on loopback, on real daemons, step by step as the page has them:
//! each does what it is for, and touches no VM that it is not about.

mod common;
#[path = "common/controller.rs"]
mod controller;
#[path = "common/cluster.rs"]
mod lab;

use clap::CommandFactory;
use common::Bed;
use controller::{Controller, process};
use lab::{Cluster, HOSTS, group_table, node, roost, words};
use nix::sys::signal::Signal;
use roost_proto::control::{Condition, HostState, Status};
use std::fs;

/// Says something on a host, and has it done.
fn done(bed: &Bed, arguments: &[&str]) -> String {
    let output = roost(bed, arguments);
    assert!(output.status.success(), "{arguments:?} on '{}': {}", bed.host, words(&output));
    words(&output)
}

/// What one more machine begins with: the file and the key, and no VM.
fn machine(cluster: &mut Cluster, nth: usize, config: &str) {
    let bed = cluster.host(nth, config);
    fs::write(bed.dir.join("node.xml"), node(&[])).expect("writable");
    cluster.hosts.push(bed);
}

/// The file is changed on one host, and looked at; then it is copied to all, and read where a daemon runs.
fn distribute(cluster: &Cluster, config: &str) -> Vec<String> {
    let first = cluster.running().next().expect("one runs");
    first.configure(config);
    let told = done(first, &["reload", "--dry-run"]);
    assert!(!told.contains("nothing changes"), "{told}");
    cluster.hosts.iter().for_each(|bed| bed.configure(config));
    let told = cluster.running().map(|bed| done(bed, &["reload"])).collect();
    cluster.all("all have the same file", |bed| bed.status().warnings.is_empty());
    told
}

fn state(status: &Status, host: &str) -> Option<HostState> {
    status.hosts.iter().find(|status| status.name == host).map(|status| status.state)
}

fn votes(status: &Status, host: &str) -> bool {
    status.hosts.iter().any(|status| status.name == host && status.votes)
}

/// The groups are online where they were from the start.
fn are_home(cluster: &Cluster, groups: &[usize]) {
    for nth in groups {
        let bed = &cluster.hosts[nth - 1];
        bed.until("it is online at home", |bed| {
            let group = bed.group(&format!("web{nth}"));
            (group.condition == Condition::Online && group.owner.as_ref() == Some(&bed.host)).then_some(())
        });
    }
}

#[test]
fn a_host_is_added_and_removed() {
    let mut cluster = Cluster::founded();
    // ADD A HOST
    let config = cluster.config() + &cluster.host_table(4);
    machine(&mut cluster, 4, &config);
    for told in distribute(&cluster, &config) {
        assert!(told.contains("host 'hv4' is added"), "{told}");
    }
    cluster.hosts[3].run();
    cluster.all("it is in", |bed| state(&bed.status(), "hv4") == Some(HostState::Up));
    are_home(&cluster, &[1, 2, 3]);
    cluster.nothing_happened();
    done(&cluster.hosts[0], &["switch", "web1", "--to", "hv4", "--cold", "--wait"]);

    // REMOVE A HOST, one that has a group
    let shown = done(&cluster.hosts[0], &["plan", "--without", "hv4"]);
    assert!(shown.contains("everything fits"), "{shown}");
    done(&cluster.hosts[0], &["maintenance", "hv4", "on"]);
    cluster.all("it is empty", |bed| {
        bed.status().hosts.iter().any(|host| host.name == "hv4" && host.groups == 0)
    });
    cluster.hosts[3].signal(Signal::SIGPWR);
    cluster.hosts[3].ends();
    cluster.all("it is out", |bed| state(&bed.status(), "hv4") == Some(HostState::Out));
    let without = cluster.config();
    for told in distribute(&cluster, &without) {
        assert!(told.contains("host 'hv4' is removed"), "{told}");
    }
    cluster.all("nobody speaks of it", |bed| {
        let status = bed.status();
        status.hosts.len() == 3 && status.warnings.is_empty()
    });
    are_home(&cluster, &[2, 3]);
    assert_eq!(cluster.count("starting VM 'web2'") + cluster.count("starting VM 'web3'"), 0);
    cluster.all("web1 is online elsewhere", |bed| {
        let group = bed.group("web1");
        matches!(group.condition, Condition::Online | Condition::Elsewhere)
            && group.owner.is_some_and(|owner| owner != "hv4")
    });
}

#[test]
fn a_host_that_owns_groups_and_is_taken_out_of_the_file_is_told_of_beforehand() {
    let mut cluster = Cluster::founded();
    let config = cluster.config() + &cluster.host_table(4);
    machine(&mut cluster, 4, &config);
    distribute(&cluster, &config);
    cluster.hosts[3].run();
    cluster.all("it is in", |bed| state(&bed.status(), "hv4") == Some(HostState::Up));
    cluster.hosts[0].configure(&cluster.config());
    let told = done(&cluster.hosts[0], &["reload", "--dry-run"]);
    assert!(told.contains("host 'hv4' is removed") && told.contains("`roost maintenance hv4 on`"), "{told}");

    // Who does it all the same, and loses that host, is told of it, and can say that it is off.
    done(&cluster.hosts[0], &["switch", "web1", "--to", "hv4", "--cold", "--wait"]);
    let without = cluster.config();
    for bed in &cluster.hosts[..3] {
        bed.configure(&without);
        done(bed, &["reload"]);
    }
    cluster.hosts[3].end(Signal::SIGKILL);
    cluster.all("its group is blocked", |bed| {
        let group = bed.group("web1");
        group.condition == Condition::Waiting && group.reason.contains("blocked")
    });
    assert_eq!(cluster.count("starting VM 'web1'"), 0);
    done(&cluster.hosts[0], &["fence", "hv4", "--confirm"]);
    cluster.all("it is another's", |bed| bed.group("web1").owner.is_some_and(|owner| owner != "hv4"));
    cluster.told("starting VM 'web1'");
}

#[test]
fn a_group_is_added_gets_another_vm_and_is_removed() {
    let cluster = Cluster::founded();
    // ADD A GROUP
    let config = cluster.config() + &group_table(4);
    let told = distribute(&cluster, &config);
    assert!(told[0].contains("group 'web4' is added"), "{told:?}");
    let online = |bed: &Bed| matches!(bed.group("web4").condition, Condition::Online | Condition::Elsewhere);
    cluster.all("the group is online", |bed| online(bed) && bed.group("web4").owner.is_some());
    assert_eq!(cluster.count("starting VM 'web4'"), 1);

    // CHANGE THE VM OF A GROUP
    let changed = config.replace("vm = \"web4\"", "vm = \"web5\"");
    cluster.hosts[0].configure(&changed);
    let told = done(&cluster.hosts[0], &["reload", "--dry-run"]);
    assert!(told.contains("group 'web4': vm (take the group offline first"), "{told}");
    let owner = cluster.hosts[0].group("web4").owner.expect("it was just seen");
    let at = cluster.hosts.iter().position(|bed| bed.host == owner).expect("one of them");
    done(&cluster.hosts[at], &["offline", "web4", "--wait"]);
    distribute(&cluster, &changed);
    assert_eq!(cluster.count("starting VM 'web5'"), 0, "it is offline still");
    done(&cluster.hosts[at], &["online", "web4", "--wait"]);
    cluster.told("starting VM 'web5'");
    assert_eq!(cluster.count("starting VM 'web4'"), 1, "the old one is left off");

    // REMOVE A GROUP
    let before = cluster.config();
    cluster.hosts[0].configure(&before);
    let told = done(&cluster.hosts[0], &["reload", "--dry-run"]);
    assert!(told.contains("group 'web4' is removed") && told.contains("`roost offline web4`"), "{told}");
    done(&cluster.hosts[at], &["offline", "web4", "--wait"]);
    distribute(&cluster, &before);
    cluster.is_whole();
    are_home(&cluster, &[1, 2, 3]);
    for nth in 1..=3 {
        assert_eq!(cluster.count(&format!("starting VM 'web{nth}'")), 0, "it was not touched");
    }
    assert_eq!(cluster.count("stands still") + cluster.count("thrown out"), 0);
}

#[test]
fn voters_are_added_and_removed() {
    let mut cluster = Cluster::founded();
    let mut config = cluster.config();
    for nth in [4, 5] {
        config += &cluster.host_table(nth);
        machine(&mut cluster, nth, &config);
    }
    // ADD A VOTER: with five hosts, five vote.
    cluster.hosts[3].configure(&config);
    let told = distribute(&cluster, &config);
    assert!(told[0].contains("voters: hv1, hv2, hv3, hv4, hv5; they were hv1, hv2, hv3"), "{told:?}");
    cluster.hosts[3].run();
    cluster.hosts[4].run();
    cluster.all("five vote", |bed| {
        let status = bed.status();
        status.hosts.len() == 5 && status.hosts.iter().all(|host| host.votes && host.state == HostState::Up)
    });
    cluster.nothing_happened();

    // REMOVE A VOTER, and perhaps the one that leads.
    let leader = HOSTS[cluster.leader()];
    let other = if leader == "hv4" { "hv5" } else { "hv4" };
    let mut fewer = config.clone();
    for host in [leader, other] {
        fewer =
            fewer.replace(&format!("name = \"{host}\"\n"), &format!("name = \"{host}\"\nvotes = false\n"));
    }
    distribute(&cluster, &fewer);
    cluster.all("three vote", |bed| {
        let status = bed.status();
        status.hosts.iter().filter(|host| host.votes).count() == 3
            && !votes(&status, leader)
            && !votes(&status, other)
            && status.hosts.iter().any(|host| host.leads && host.votes)
    });
    are_home(&cluster, &[1, 2, 3]);
    cluster.nothing_happened();
    // Three of five are not needed any more: two of the three that vote are a majority.
    let voter = HOSTS.iter().position(|host| *host != leader && *host != other).expect("three of them");
    assert!(roost(&cluster.hosts[voter], &["freeze", "web1"]).status.success());
}

#[test]
fn a_host_that_failed_is_replaced_by_a_new_machine_of_its_name() {
    let mut cluster = Cluster::founded();
    let lost = (cluster.leader() + 1) % 3;
    cluster.hosts[lost].end(Signal::SIGKILL);
    cluster.all("it is blocked", |bed| state(&bed.status(), HOSTS[lost]) == Some(HostState::Blocked));
    let left = (lost + 1) % 3;
    done(&cluster.hosts[left], &["fence", HOSTS[lost], "--confirm"]);
    let group = format!("web{}", lost + 1);
    cluster.all("its group is another's", |bed| {
        let group = bed.group(&group);
        group.owner.is_some_and(|owner| owner != HOSTS[lost])
    });
    // The new machine has the name, the file and the key, and nothing else.
    let config = cluster.config();
    cluster.hosts[lost] = cluster.host(lost + 1, &config);
    fs::write(cluster.hosts[lost].dir.join("node.xml"), node(&[])).expect("writable");
    cluster.hosts[lost].run();
    cluster.all("it is in, and votes", |bed| {
        let status = bed.status();
        status.hosts.iter().all(|host| host.state == HostState::Up && host.votes)
    });
    assert_eq!(cluster.count(&format!("starting VM '{group}'")), 1);
    // It counts as a voter: with it, another may be lost.
    let other = 3 - lost - left;
    cluster.hosts[other].end(Signal::SIGKILL);
    cluster.hosts[left]
        .until("orders are taken", |bed| roost(bed, &["freeze", &group]).status.success().then_some(()));
}

#[test]
fn the_key_is_replaced_while_everything_runs() {
    let cluster = Cluster::founded();
    let file = |bed: &Bed| bed.dir.join("key");
    let new = cluster.hosts[0].dir.join("key.new");
    done(&cluster.hosts[0], &["keygen", new.to_str().expect("a plain path")]);
    let old = fs::read_to_string(cluster.folder.join("key")).expect("the key");
    let new = fs::read_to_string(new).expect("the new key");
    for text in [format!("{old}{new}"), format!("{new}{old}"), new.clone()] {
        for bed in &cluster.hosts {
            fs::write(file(bed), &text).expect("writable");
            let told = done(bed, &["reload"]);
            assert!(told.contains("keys"), "{told}");
            cluster.is_whole();
        }
    }
    cluster.nothing_happened();
}

#[test]
fn the_daemons_are_upgraded_one_after_another() {
    let mut cluster = Cluster::founded();
    for nth in 0..3 {
        cluster.hosts[nth].end(Signal::SIGTERM);
        cluster.hosts[nth].run();
        let bed = &cluster.hosts[nth];
        bed.until("all is well", |bed| roost(bed, &["status"]).status.success().then_some(()));
        cluster.is_whole();
    }
    cluster.nothing_happened();
}

#[test]
fn the_network_is_worked_on_and_nothing_happens() {
    let mut cluster = Cluster::founded();
    let told = done(&cluster.hosts[0], &["disarm"]);
    assert!(told.contains("every host that this one hears lives by it"), "{told}");
    // A host is not heard for longer than it would be evicted after, as if it were behind a switch that is off.
    cluster.hosts[2].end(Signal::SIGKILL);
    cluster.hosts[0].until("it is not heard for longer than 'evict_after'", |bed| {
        let status = bed.status();
        let why = status.hosts.iter().find(|host| host.name == "hv3").map(|host| host.reason.clone());
        why.is_some_and(|why| why.contains("not heard for 4 s")).then_some(())
    });
    cluster.hosts[2].run();
    cluster.all("all are heard", |bed| bed.status().hosts.iter().all(|host| host.state == HostState::Up));
    done(&cluster.hosts[0], &["arm"]);
    cluster.is_whole();
    cluster.nothing_happened();
}

#[test]
fn the_whole_cluster_is_powered_down_and_up() {
    let mut cluster = Cluster::founded();
    for nth in 1..=3 {
        done(&cluster.hosts[nth - 1], &["offline", &format!("web{nth}"), "--wait"]);
    }
    for bed in &mut cluster.hosts {
        bed.signal(Signal::SIGPWR);
        bed.ends();
        fs::write(bed.dir.join("node.xml"), node(&[])).expect("writable");
    }
    cluster.hosts.iter_mut().for_each(Bed::run);
    cluster.all("all are in", |bed| bed.status().hosts.iter().all(|host| host.state == HostState::Up));
    for nth in 1..=3 {
        let group = format!("web{nth}");
        assert_eq!(cluster.count(&format!("starting VM '{group}'")), 0, "nothing starts by itself");
        done(&cluster.hosts[0], &["online", &group, "--wait"]);
        assert_eq!(cluster.count(&format!("starting VM '{group}'")), 1);
    }
}

/// The page names no command that does not exist.
#[test]
fn every_command_of_the_procedures_is_one() {
    let page = include_str!("../man/roost-procedures.7");
    let known: Vec<String> = roost::cli::args::Cli::command()
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    let mut seen = 0;
    for line in page.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        for pair in words.windows(2).filter(|pair| pair[0] == "roost" && !pair[1].starts_with(['7', '8'])) {
            assert!(known.iter().any(|name| name == pair[1]), "`roost {}` is no command: {line}", pair[1]);
            seen += 1;
        }
    }
    assert!(seen > 15, "only {seen} commands were found: how does the page write them?");
}

/// Not a test: `roost-guest`, when a test starts this program as that.
#[test]
fn controller() {
    controller::main();
}

/// A database that is ready as long as there is no file `stale`, and promoted before it starts.
const DATABASE: &str = r#"
[controller]
link = "unix:DIR/LINK"
[[group]]
name = "postgres"
managed = true
before_online = ["/bin/sh", "-c", "echo $ROOST_TARGET $ROOST_REASON >> DIR/promoted"]
ready = ["/bin/sh", "-c", "test ! -e DIR/stale || { echo the replica is behind; exit 1; }"]
[[group.resource]]
name = "db"
kind = "process"
command = ["/bin/sh", "-c", "echo $$ > DIR/pid; exec sleep 1000"]
"#;

/// `hv1` is the physical machine here, and the VM `web2` on `hv2` the standby.
#[test]
fn a_database_is_protected_by_a_standby_vm_and_fails_back() {
    let cluster = Cluster::founded();
    // PROTECT A PHYSICAL DATABASE BY A STANDBY VM
    let (primary, host) = (&cluster.hosts[0], &cluster.hosts[1]);
    let _primary = Controller::start(primary, &DATABASE.replace("LINK", "run/guest.sock"));
    let _standby = Controller::start(host, &DATABASE.replace("LINK", "web2.vsock_961"));
    let orders = "[[group]]\nname = \"orders\"\napp = \"postgres\"\non = [\"hv1\", \"vm:web2\"]\n";
    let config = cluster.config() + orders;
    let told = distribute(&cluster, &config);
    assert!(told[0].contains("group 'orders' is added"), "{told:?}");
    let online = |target: &str| {
        host.until(&format!("it is online on {target}"), |bed| {
            let group = bed.group("orders");
            let there = group.target.as_deref() == Some(target) && group.condition != Condition::Starting;
            there.then(|| roost(bed, &["status"])).filter(|shown| words(shown).contains("orders"))
        })
    };
    online("hv1");
    primary.until("its process", |bed| process(&bed.dir));
    cluster.all("the standby can take it", |bed| {
        words(&roost(bed, &["explain", "orders"])).contains("vm:web2  next      it can take it now")
    });
    let shown = done(host, &["plan", "--without", "hv1"]);
    assert!(shown.contains("orders  hv1 -> vm:web2 (hv2)") && shown.contains("everything fits"), "{shown}");
    let shown = done(host, &["switch", "orders", "--to", "vm:web2", "--dry-run"]);
    assert!(shown.starts_with("orders would go to 'vm:web2':\n  1. 'vm:web2' is asked"), "{shown}");
    assert!(process(&primary.dir).is_some() && process(&host.dir).is_none(), "nothing was done");

    fs::write(host.dir.join("stale"), "").expect("writable");
    let refused = roost(host, &["switch", "orders", "--to", "vm:web2", "--wait"]);
    let said = words(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("stays on 'hv1'"), "{said}");
    assert!(cluster.count("the replica is behind") >= 1, "the leader tells the reason: {said}");
    fs::remove_file(host.dir.join("stale")).expect("ours");
    assert!(process(&primary.dir).is_some(), "it runs on");

    let said = done(host, &["switch", "orders", "--to", "vm:web2", "--wait"]);
    assert!(said.ends_with("orders is on 'vm:web2'\n"), "{said}");
    assert!(process(&primary.dir).is_none() && process(&host.dir).is_some(), "one runner");
    let shown = words(&roost(host, &["status"]));
    assert!(shown.contains("orders  vm:web2 (hv2)  online") && shown.contains("home hv1"), "{shown}");

    // FAIL A DATABASE BACK TO ITS MACHINE
    let shown = done(primary, &["failback", "orders", "--dry-run"]);
    assert!(shown.contains("2. it is taken offline on 'vm:web2', at most 2m"), "{shown}");
    let said = done(primary, &["failback", "orders", "--wait"]);
    assert!(said.ends_with("orders is on 'hv1'\n"), "{said}");
    assert!(process(&primary.dir).is_some() && process(&host.dir).is_none(), "one runner");
    let promoted = |bed: &Bed| fs::read_to_string(bed.dir.join("promoted")).unwrap_or_default();
    assert_eq!(
        (promoted(primary).as_str(), promoted(host).as_str()),
        ("hv1 start\nhv1 failback\n", "vm:web2 switchover\n")
    );
    are_home(&cluster, &[1, 2, 3]);
}
