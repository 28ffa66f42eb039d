//! `roost.toml`: what is read, with which defaults, and how each mistake is refused.

use roost::config::{
    App, Apps, Config, Failback, GuestLink, Host, KEYS, MAX_DOMAIN, MAX_FILE, MAX_GROUPS, MAX_HOSTS,
    MAX_MISTAKES, MAX_SOCKET_PATH, OnGuestShutdown, OnQuorumLoss, OnShutdown, OnSilence, OnStray, Role,
    Standby, Target, Timing, parse,
};
use roost_proto::cluster::HostId;
use roost_proto::control::MoveMethod;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Line 1 is `[cluster]`, 2 its name, 3 `[[host]]`, 4 its name, 5 `[[group]]`, 6 its name, 7 its VM.
const SMALL: &str =
    "[cluster]\nname = \"lab\"\n[[host]]\nname = \"hv1\"\n[[group]]\nname = \"web\"\nvm = \"web1\"\n";

/// Line 8 of [`SMALL`] onwards, as a group's keys.
fn with(lines: &str) -> String {
    format!("{SMALL}{lines}\n")
}

/// Line 8 is `[group.recovery]`, 9 the first of `lines`.
fn with_recovery(lines: &str) -> String {
    with(&format!("[group.recovery]\n{lines}"))
}

/// Hosts `hv1` and on, 3 lines each from line 3, and then `more`.
fn cluster(hosts: usize, more: &str) -> String {
    let mut text = "[cluster]\nname = \"lab\"\n".to_owned();
    for n in 1..=hosts {
        writeln!(text, "[[host]]\nname = \"hv{n}\"\naddress = \"10.0.{}.{}\"", n / 250, n % 250 + 1)
            .expect("memory");
    }
    text + more
}

/// `lines` as keys of `[cluster]`, from line 3, of a cluster of three.
fn with_cluster(lines: &str) -> String {
    cluster(3, "").replacen("[[host]]", &format!("{lines}\n[[host]]"), 1)
}

/// `lines` as keys of the first host of three, from line 5; its own address is after them.
fn with_host(lines: &str) -> String {
    cluster(3, "").replacen("address", &format!("{lines}\naddress"), 1)
}

/// Groups, each with its own keys, on line 12 and after, below a cluster of three; each begins with 3 lines.
fn with_groups(groups: &[(&str, &str)]) -> String {
    let mut text = cluster(3, "");
    for (name, lines) in groups {
        writeln!(text, "[[group]]\nname = \"{name}\"\nvm = \"{name}\"\n{lines}").expect("memory");
    }
    text
}

fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|error| panic!("refused:\n{error}\n{text}"))
}

/// What `text` is refused with, which must be one mistake.
fn refusal(text: &str) -> String {
    let error = parse(text).expect_err(text);
    assert_eq!(error.mistakes().len(), 1, "{error}");
    error.to_string()
}

#[test]
fn defaults_are_those_of_the_manual() {
    let config = good(SMALL);
    assert_eq!(config.cluster.name, "lab");
    let cluster = &config.cluster;
    assert_eq!(cluster.timing, Timing::DEFAULT);
    assert_eq!((cluster.on_quorum_loss, cluster.on_stray), (OnQuorumLoss::Pause, OnStray::Report));
    assert!(cluster.keys.is_empty(), "one host speaks to nobody");
    assert_eq!((cluster.starts_at_once, cluster.quarantine.as_secs()), (4, 600));
    assert_eq!(cluster.save_dir, None);
    let host = &config.hosts[0];
    assert_eq!(host.libvirt, "qemu:///system");
    assert_eq!((host.role, host.votes, &host.watchdog, host.reserve_mib), (Role::Hypervisor, true, &None, 0));
    assert!(host.addresses.is_empty() && host.fence.is_empty());
    let group = &config.groups[0];
    assert_eq!((group.name.as_str(), group.vm.as_str()), ("web", "web1"));
    assert_eq!(group.xml, None);
    assert_eq!(group.moves, [MoveMethod::Live, MoveMethod::Cold]);
    assert_eq!(group.move_timeout.as_secs(), 600);
    assert_eq!(*group.on, ["hv1"]);
    assert_eq!(group.apps, Apps::All);
    assert_eq!(group.link, GuestLink::Vsock);
    assert_eq!(group.on_guest_shutdown, OnGuestShutdown::Restart);
    assert_eq!(group.on_silence, OnSilence::Recover);
    let seconds =
        [group.silence, group.boot_grace, group.silence_patience, group.stop_timeout].map(|d| d.as_secs());
    assert_eq!(seconds, [10, 120, 60, 120]);
    let recovery = &group.recovery;
    assert_eq!((recovery.reboot, recovery.reset, recovery.restart, recovery.hosts), (1, 1, 3, 3));
    let seconds = [recovery.window, recovery.backoff.first, recovery.backoff.max, recovery.reboot_timeout];
    assert_eq!(seconds.map(|d| d.as_secs()), [3600, 5, 300, 60]);
}

#[test]
fn every_key_is_read() {
    let config = good(
        r#"
        [cluster]
        name = "lab"
        timing = "fast"
        beat = "50ms"
        suspect_after = "400ms"
        evict_after = "2s"
        lease = "1500ms"
        watchdog = "10s"
        on_quorum_loss = "keep"
        key = ["/etc/roost/new", "/etc/roost/old"]
        on_stray = "stop"
        starts_at_once = 2
        quarantine = "20m"
        metrics_file = "/var/lib/node_exporter/textfile_collector/roost.prom"
        save_dir = "/srv/roost/"
        [[host]]
        name = "hv1"
        libvirt = "test:///default"
        address = ["10.0.0.1", "[fd00::1]:1961"]
        role = "hypervisor"
        votes = false
        watchdog = "/dev/watchdog0"
        trust_watchdog = true
        reserve_mib = 1024
        libvirt_remote = "qemu+tls://10.0.0.1/system"
        [[host.fence]]
        level = 2
        agent = "fence_apc"
        [[host.fence]]
        agent = "fence_ipmilan"
        options = { ip = "10.9.0.1", username = "x", lanplus = true, verbose = false, port = 0x10 }
        delay = "1s"
        timeout = "30s"
        retries = 0
        [[host.fence]]
        level = 2
        agent = "fence_pdu2"
        [[host]]
        name = "hv2"
        address = ["10.0.0.2:7000", "fd00::2"]
        [[host.fence]]
        agent = "fence_virsh"
        [[host]]
        name = "w"
        address = ["10.0.0.3", "[fd00::3]"]
        role = "witness"
        [[group]]
        name = "web"
        vm = "web 1 (old)"
        xml = "/etc/roost/vms/web1.xml"
        on = ["hv2"]
        apps = ["site", "mail"]
        link = "hybrid:/run/web1.vsock"
        on_guest_shutdown = "offline"
        silence = "2s"
        boot_grace = "3m"
        on_silence = "report"
        silence_patience = "0s"
        stop_timeout = "30s"
        priority = 7
        moves = ["suspend", "live"]
        move_timeout = "90s"
        together = ["db"]
        apart = ["mail"]
        needs = ["db", "mail"]
        [group.recovery]
        hosts = 5
        reboot = 0
        reset = 2
        restart = 0x10
        window = "1d"
        backoff = "100ms"
        backoff_max = "1m"
        reboot_timeout = "90s"
        [[group]]
        name = "db"
        vm = "db1"
        apps = []
        [[group]]
        name = "mail"
        vm = "mail1"
        on = ["hv1"]
        "#,
    );
    let cluster = &config.cluster;
    let timing = cluster.timing;
    let times = [timing.beat, timing.suspect_after, timing.evict_after, timing.lease, timing.watchdog];
    assert_eq!(times.map(|d| d.as_millis()), [50, 400, 2000, 1500, 10_000]);
    assert_eq!((cluster.on_quorum_loss, cluster.on_stray), (OnQuorumLoss::Keep, OnStray::Stop));
    assert_eq!(cluster.keys, [PathBuf::from("/etc/roost/new"), PathBuf::from("/etc/roost/old")]);
    assert_eq!((cluster.starts_at_once, cluster.quarantine.as_secs()), (2, 1200));
    let file = "/var/lib/node_exporter/textfile_collector/roost.prom";
    assert_eq!(cluster.metrics_file.as_deref(), Some(std::path::Path::new(file)));
    assert_eq!(cluster.save_dir.as_deref(), Some(Path::new("/srv/roost")));
    assert_eq!(config.hosts[0].libvirt_remote, "qemu+tls://10.0.0.1/system");
    assert_eq!(config.hosts[1].libvirt_remote, "qemu+ssh://hv2/system");
    assert_eq!(config.groups[0].moves, [MoveMethod::Suspend, MoveMethod::Live]);
    assert_eq!(config.groups[0].move_timeout.as_secs(), 90);
    let [one, two, witness] = config.hosts.as_slice() else { panic!("three hosts") };
    let addresses = |host: &Host| host.addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(addresses(one), ["10.0.0.1:961", "[fd00::1]:1961"]);
    assert_eq!(addresses(two), ["10.0.0.2:7000", "[fd00::2]:961"]);
    assert_eq!(addresses(witness), ["10.0.0.3:961", "[fd00::3]:961"]);
    assert_eq!([one.role, two.role, witness.role], [Role::Hypervisor, Role::Hypervisor, Role::Witness]);
    assert_eq!([one.votes, two.votes, witness.votes], [false, true, true]);
    assert_eq!((one.watchdog.as_deref(), one.reserve_mib), (Some(Path::new("/dev/watchdog0")), 1024));
    assert!(one.trust_watchdog);
    let agents: Vec<Vec<&str>> =
        one.fence.iter().map(|level| level.agents.iter().map(|a| a.agent.as_str()).collect()).collect();
    assert_eq!(agents, [vec!["fence_ipmilan"], vec!["fence_apc", "fence_pdu2"]], "by level");
    let agent = &one.fence[0].agents[0];
    assert_eq!((agent.delay.as_secs(), agent.timeout.as_secs(), agent.retries), (1, 30, 0));
    let options: Vec<String> = agent.options.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(options, ["ip=10.9.0.1", "lanplus=1", "port=16", "username=x", "verbose=0"]);
    assert_eq!(config.hosts[0].libvirt, "test:///default");
    let group = &config.groups[0];
    assert_eq!(group.vm, "web 1 (old)");
    assert_eq!(group.xml, Some(PathBuf::from("/etc/roost/vms/web1.xml")));
    assert_eq!(*group.on, ["hv2"]);
    assert_eq!(group.apps, Apps::Named(vec!["site".into(), "mail".into()]));
    assert_eq!(group.link, GuestLink::Hybrid(PathBuf::from("/run/web1.vsock")));
    assert_eq!(group.on_guest_shutdown, OnGuestShutdown::Offline);
    assert_eq!(group.on_silence, OnSilence::Report);
    let times = [group.silence, group.boot_grace, group.silence_patience, group.stop_timeout];
    assert_eq!(times.map(|d| d.as_secs()), [2, 180, 0, 30]);
    let recovery = &group.recovery;
    assert_eq!((recovery.reboot, recovery.reset, recovery.restart, recovery.hosts), (0, 2, 16, 5));
    assert_eq!(
        (group.priority, &group.together[..], &group.apart[..]),
        (7, &["db".into()][..], &["mail".into()][..])
    );
    assert_eq!(group.needs, ["db", "mail"]);
    let times = [recovery.window, recovery.backoff.first, recovery.backoff.max, recovery.reboot_timeout];
    assert_eq!(times.map(|d| d.as_millis()), [86_400_000, 100, 60_000, 90_000]);
    assert_eq!(*config.groups[1].on, ["hv1", "hv2"], "every host, when 'on' is left out");
    assert_eq!(config.groups[1].apps, Apps::Named(vec![]));
    assert!(
        !config.groups[1].apps.counts("site")
            && config.groups[0].apps.counts("mail")
            && Apps::All.counts("x")
    );
}

/// A key that `KEYS` names and the parser forgot, or the other way round, would be a key that no manual page explains.
#[test]
fn every_key_of_the_table_is_known_to_the_parser() {
    for section in &KEYS[1..] {
        for key in section.keys {
            let number = format!("{key} = 3.5");
            let text = match section.header {
                "[cluster]" => {
                    format!("[cluster]\n{number}\n{}", SMALL.replace("[cluster]\nname = \"lab\"\n", ""))
                }
                "[[host]]" => format!("[cluster]\nname = \"lab\"\n[[host]]\n{number}\n"),
                "[[host.fence]]" => {
                    format!("[cluster]\nname = \"lab\"\n[[host]]\nname = \"hv1\"\n[[host.fence]]\n{number}\n")
                }
                "[[group]]" if key.starts_with("failback") || *key == "app_lease" => {
                    application("", &format!("{ON}\n{number}"))
                }
                "[[group]]" => {
                    format!("[cluster]\nname = \"lab\"\n[[host]]\nname = \"hv1\"\n[[group]]\n{number}\n")
                }
                "[group.recovery]" => with_recovery(&number),
                other => panic!("this test does not know the table '{other}'"),
            };
            let error = parse(&text).expect_err("no key takes a fraction").to_string();
            assert!(error.contains(&format!("'{key}' is a number with a fraction")), "{error}");
        }
    }
}

#[test]
fn a_host_is_found_or_the_names_are_told() {
    let config = good(&cluster(2, ""));
    assert_eq!(config.host("hv2").map(|host| host.name.as_str()), Ok("hv2"));
    assert_eq!(
        config.host("hv9").expect_err("not in the file").to_string(),
        "no [[host]] is called 'hv9'; the file names 'hv1', 'hv2': add one, or start roostd with '--host NAME'"
    );
}

#[test]
fn broken_toml_is_refused_with_its_line() {
    let error = refusal("[cluster]\nname = \"lab\n");
    assert!(error.starts_with("line 2: "), "{error}");
    let error = refusal(&with("silence = \"10s\"\nsilence = \"20s\""));
    assert_eq!(error, "line 9: duplicate key");
}

#[test]
fn unknown_keys_are_refused_with_the_nearest() {
    for (text, wanted) in [
        (format!("[clutser]\n{SMALL}"), "line 1: unknown key 'clutser' (did you mean 'cluster'?)"),
        (
            SMALL.replace("[[host]]\n", "[[host]]\nlibvrit = \"qemu:///system\"\n"),
            "line 4: unknown key 'libvrit' (did you mean 'libvirt'?)",
        ),
        (with("silense = \"10s\""), "line 8: unknown key 'silense' (did you mean 'silence'?)"),
        (with_recovery("resets = 1"), "line 9: unknown key 'resets' (did you mean 'reset'?)"),
        (
            with_recovery("colour = 1"),
            "line 9: unknown key 'colour'; [group.recovery] may hold 'reboot', 'reset', 'restart', 'window', 'backoff', 'backoff_max', 'reboot_timeout', 'hosts'",
        ),
        (
            SMALL.replace("name = \"lab\"", "name = \"lab\"\ncolour = 1"),
            "line 3: unknown key 'colour'; [cluster] may hold 'name', 'timing', 'beat', 'suspect_after', 'evict_after', 'lease', 'watchdog', 'on_quorum_loss', 'key', 'on_stray', 'starts_at_once', 'quarantine', 'save_dir', 'metrics_file', 'on_shutdown', 'stay_for'",
        ),
    ] {
        assert_eq!(refusal(&text), wanted);
    }
}

#[test]
fn wrong_types_are_refused_with_the_right_one() {
    for (text, wanted) in [
        (
            with("xml = 5"),
            "line 8: 'xml' is a whole number: write a text, as in xml = \"/etc/roost/vms/web1.xml\"",
        ),
        (with("on = \"hv1\""), "line 8: 'on' is a text: write a list of names, as in on = [\"hv1\"]"),
        (
            with("apps = [\"site\",\n 7]"),
            "line 9: 'apps' is a whole number: write names in quotes, as in apps = [\"site\"]",
        ),
        (
            with("silence = 10"),
            "line 8: 'silence' has no unit: write a whole number and ms, s, m, h or d in quotes, as in silence = \"10s\"",
        ),
        (with("silence = true"), "line 8: 'silence' is true or false: write a text, as in silence = \"10s\""),
        (
            with("on_silence = 1"),
            "line 8: 'on_silence' is a whole number: write a text, as in on_silence = \"recover\" or \"report\"",
        ),
        (
            with_recovery("reboot = \"1\""),
            "line 9: 'reboot' is a text: write a whole number, as in reboot = 1",
        ),
        (with("recovery = 3"), "line 8: 'recovery' is a whole number: write [group.recovery], a table"),
        (SMALL.replace("[[host]]", "[host]"), "line 3: 'host' is a table: write [[host]], with two brackets"),
        (SMALL.replace("[cluster]", "[[cluster]]"), "line 1: 'cluster' is a list: write [cluster], a table"),
        (
            format!("group = [1]\n{}", SMALL.split("[[group]]").next().expect("a start")),
            "line 1: 'group' holds a whole number: write each as [[group]]",
        ),
    ] {
        assert_eq!(refusal(&text), wanted);
    }
}

#[test]
fn what_must_be_there_is_asked_for() {
    let host = "[[host]]\nname = \"hv1\"\n";
    for (text, wanted) in [
        (
            host.to_owned(),
            "line 1: the file has no 'cluster': write [cluster], and below it name = \"the cluster's name\"",
        ),
        (
            "[cluster]\nname = \"lab\"\n".to_owned(),
            "line 1: the file has no 'host': write [[host]], and below it name = \"the machine's host name\"",
        ),
        (format!("[cluster]\n{host}"), "line 1: [cluster] has no 'name': write name = \"lab\""),
        (
            SMALL.replace("name = \"hv1\"\n", ""),
            "line 3: [[host]] has no 'name': write name = \"the machine's host name\"",
        ),
        (SMALL.replace("name = \"web\"\n", ""), "line 5: [[group]] has no 'name': write name = \"web\""),
        (
            SMALL.replace("vm = \"web1\"\n", ""),
            "line 5: [[group]] has no 'vm': write the libvirt domain's name, as in vm = \"web1\"; or, of an application, \
             app = \"postgres\"",
        ),
    ] {
        assert_eq!(refusal(&text), wanted);
    }
    assert!(
        good(&format!("[cluster]\nname = \"lab\"\n{host}")).groups.is_empty(),
        "a host may start without groups"
    );
}

#[test]
fn names_are_checked() {
    let error = refusal(&SMALL.replace("\"web\"", "\"-web\""));
    assert_eq!(
        error,
        "line 6: '-web' is no name: a name is 1 to 64 letters, digits, '.', '_' or '-', and starts with a letter or digit"
    );
    assert!(refusal(&SMALL.replace("\"lab\"", "\"la b\"")).starts_with("line 2: 'la b' is no name"));
    assert!(refusal(&SMALL.replace("\"hv1\"", "\"\"")).starts_with("line 4: '' is no name"));
    assert!(refusal(&with("apps = [\"a/b\"]")).starts_with("line 8: 'a/b' is no name"));
}

#[test]
fn a_terminal_is_safe_from_what_is_quoted() {
    let error = refusal(&SMALL.replace("\"web\"", "\"\\u001b[31m\\n\\u0007\""));
    assert!(!error.contains(|c: char| c.is_control()), "{error:?}");
    let error = refusal(&SMALL.replace("\"web\"", &format!("\"{}\"", "ä".repeat(5000))));
    assert!(error.len() < 400, "{} bytes", error.len());
}

#[test]
fn domain_names_are_libvirts() {
    for name in ["web 1", "größe", "a", "a:b*c?", &"x".repeat(MAX_DOMAIN)] {
        assert_eq!(good(&SMALL.replace("web1", name)).groups[0].vm, name);
    }
    for name in ["a/b", "a\\nb", "", " ", "a\\u0000", &"x".repeat(MAX_DOMAIN + 1)] {
        let error = refusal(&SMALL.replace("web1", name));
        assert!(
            error.starts_with("line 7: 'vm' is '") && error.contains("1 to 200 bytes without '/'"),
            "{error}"
        );
    }
}

#[test]
fn connection_uris_are_checked() {
    let libvirt = |uri: &str| SMALL.replace("\"hv1\"\n", &format!("\"hv1\"\nlibvirt = \"{uri}\"\n"));
    for uri in [
        "qemu:///system",
        "qemu:///embed?root=/tmp/a",
        "test:///default",
        "qemu+unix:///system?socket=/run/x",
    ] {
        assert_eq!(good(&libvirt(uri)).hosts[0].libvirt, uri);
    }
    for uri in ["", "system", "://x", "qemu:///a b", "qemu:///\\u0007"] {
        let error = refusal(&libvirt(uri));
        assert!(error.starts_with("line 5: 'libvirt' is '"), "{error}");
        assert!(
            error.ends_with("no connection URI: write one, as in libvirt = \"qemu:///system\""),
            "{error}"
        );
    }
}

#[test]
fn duplicates_are_refused() {
    let second =
        |name: &str, vm: &str, more: &str| format!("[[group]]\nname = \"{name}\"\nvm = \"{vm}\"\n{more}\n");
    for (text, wanted) in [
        (
            format!("{}[[host]]\nname = \"hv1\"\naddress = \"10.0.0.9\"\n", cluster(1, "")),
            "line 7: two [[host]] are called 'hv1': give each its own name",
        ),
        (
            format!("{SMALL}{}", second("web", "other", "")),
            "line 9: two [[group]] are called 'web': give each its own name",
        ),
        (
            format!("{SMALL}{}", second("two", "web1", "")),
            "line 10: 'web1' is the VM of the groups 'web' and 'two': a VM belongs to one group",
        ),
        (
            format!(
                "{}{}",
                with("link = \"hybrid:/run/v\""),
                second("two", "other", "link = \"hybrid:/run/v\"")
            ),
            "line 12: '/run/v' is the link of the groups 'web' and 'two': a guest is known by its socket, so give each its own",
        ),
        (with("apps = [\"a\", \"b\", \"a\"]"), "line 8: 'apps' names 'a' twice: leave one out"),
        (with("on = [\"hv1\", \"hv1\"]"), "line 8: 'on' names 'hv1' twice: leave one out"),
    ] {
        assert_eq!(refusal(&text), wanted);
    }
}

#[test]
fn groups_run_on_hosts_that_exist() {
    assert_eq!(
        refusal(&with("on = [\"hv2\"]")),
        "line 8: 'on' names 'hv2', and no [[host]] is called so (did you mean 'hv1'?)"
    );
    assert_eq!(
        refusal(&with("on = [\"hv1\", \"mars\"]")),
        "line 8: 'on' names 'mars', and no [[host]] is called so; the file names 'hv1'"
    );
    assert_eq!(
        refusal(&with("on = []")),
        "line 8: 'on' names no host: name one, or leave 'on' out for every host"
    );
}

#[test]
fn paths_are_absolute_and_name_files() {
    for (path, wrong) in [
        ("vms/web1.xml", "which is not absolute: write the whole path, from '/'"),
        ("", "which is not absolute: write the whole path, from '/'"),
        ("/etc/roost/", "which is a directory: write a file's path"),
        ("/", "which is a directory: write a file's path"),
        ("/etc/..", "which is a directory: write a file's path"),
        ("/etc/a\\nb", "which holds a control character: choose a path without"),
    ] {
        let error = refusal(&with(&format!("xml = \"{path}\"")));
        assert!(error.starts_with("line 8: 'xml' names '") && error.ends_with(wrong), "{error}");
    }
    let error = refusal(&with(&format!("xml = \"/{}\"", "x".repeat(4095))));
    assert!(error.ends_with("which is too long: a path has at most 4095 bytes"), "{error}");
    assert_eq!(
        refusal(&with("link = \"hybrid:web1.vsock\"")),
        "line 8: 'link' names 'web1.vsock', which is not absolute: write the whole path, from '/'"
    );
}

#[test]
fn links_are_of_a_known_kind_and_fit_a_socket() {
    assert_eq!(
        refusal(&with("link = \"vsok\"")),
        "line 8: 'link' is 'vsok': write link = \"vsock\" or link = \"hybrid:/run/web1.vsock\""
    );
    let longest = format!("/{}", "v".repeat(MAX_SOCKET_PATH - "_961".len() - 1));
    let group = good(&with(&format!("link = \"hybrid:{longest}\""))).groups.remove(0);
    assert_eq!(group.link, GuestLink::Hybrid(PathBuf::from(&longest)));
    let error = refusal(&with(&format!("link = \"hybrid:{longest}v\"")));
    assert!(error.starts_with("line 8: 'link' needs a socket of 108 bytes, '/vvv"), "{error}");
    assert!(error.ends_with(": choose a path of at most 103 bytes"), "{error}");
}

#[test]
fn words_are_of_those_known() {
    assert_eq!(
        refusal(&with("on_silence = \"recovr\"")),
        "line 8: 'on_silence' is 'recovr': write \"recover\" or \"report\""
    );
    assert_eq!(
        refusal(&with("on_guest_shutdown = \"stop\"")),
        "line 8: 'on_guest_shutdown' is 'stop': write \"restart\" or \"offline\""
    );
}

#[test]
fn durations_and_counts_are_within_their_limits() {
    for (text, wanted) in [
        (
            with("silence = \"10 s\""),
            "line 8: 'silence': '10 s' is not a duration: write a whole number and a unit (ms, s, m, h, d), at most 366d, as in \"10s\"",
        ),
        (
            with("silence = \"1999ms\""),
            "line 8: 'silence' is 1999ms: write at least \"2s\"; the default is \"10s\"",
        ),
        (
            with("stop_timeout = \"0s\""),
            "line 8: 'stop_timeout' is 0s: write at least \"100ms\"; the default is \"2m\"",
        ),
        (
            with_recovery("backoff = \"0s\""),
            "line 9: 'backoff' is 0s: write at least \"100ms\"; the default is \"5s\"",
        ),
        (
            with_recovery("reboot_timeout = \"0s\""),
            "line 9: 'reboot_timeout' is 0s: write at least \"100ms\"; the default is \"1m\"",
        ),
        (
            with_recovery("window = \"0s\""),
            "line 9: 'window' is 0s: write at least \"100ms\"; the default is \"1h\"",
        ),
        (with_recovery("reboot = -1"), "line 9: 'reboot' is -1: write a whole number from 0 to 1000"),
        (with_recovery("reset = 1001"), "line 9: 'reset' is 1001: write a whole number from 0 to 1000"),
        (
            with_recovery("restart = 99999999999999999999"),
            "line 9: 'restart' is 99999999999999999999: write a whole number from 0 to 1000",
        ),
    ] {
        assert_eq!(refusal(&text), wanted);
    }
    assert_eq!(good(&with_recovery("reset = 1000")).groups[0].recovery.reset, 1000);
    assert_eq!(good(&with("silence = \"2s\"")).groups[0].silence, Duration::from_secs(2));
}

#[test]
fn timing_that_contradicts_itself_is_refused() {
    for (text, wanted) in [
        (
            with("silence = \"3m\""),
            "line 8: 'boot_grace' is 2m and 'silence' is 3m: a guest that boots is quiet for longer than one that runs; write boot_grace = \"3m\" or more",
        ),
        (
            with("silence = \"20s\"\nboot_grace = \"19s\""),
            "line 9: 'boot_grace' is 19s and 'silence' is 20s: a guest that boots is quiet for longer than one that runs; write boot_grace = \"20s\" or more",
        ),
        (
            with_recovery("backoff = \"6m\""),
            "line 9: 'backoff' is 6m and 'backoff_max' is 5m: the first wait cannot be longer than the longest; write backoff_max = \"6m\" or more",
        ),
        (
            with_recovery("backoff_max = \"1s\""),
            "line 9: 'backoff' is 5s and 'backoff_max' is 1s: the first wait cannot be longer than the longest; write backoff_max = \"5s\" or more",
        ),
        (
            with_recovery("window = \"7m\""),
            "line 9: 'window' is 7m and one recovery can take 7m ('backoff_max', and the longer of 'boot_grace' and 'reboot_timeout'): each would be forgotten before the next and the ladder would never end; write a longer window, or shorten the others",
        ),
        (
            with_recovery("reboot_timeout = \"55m\""),
            "line 9: 'window' is 1h and one recovery can take 1h ('backoff_max', and the longer of 'boot_grace' and 'reboot_timeout'): each would be forgotten before the next and the ladder would never end; write a longer window, or shorten the others",
        ),
        (
            with("boot_grace = \"2h\""),
            "line 8: 'window' is 1h and one recovery can take 125m ('backoff_max', and the longer of 'boot_grace' and 'reboot_timeout'): each would be forgotten before the next and the ladder would never end; write a longer window, or shorten the others",
        ),
    ] {
        assert_eq!(refusal(&text), wanted);
    }
    good(&with_recovery("window = \"421s\""));
    good(&with("silence = \"20s\"\nboot_grace = \"20s\""));
}

#[test]
fn several_mistakes_are_told_together_by_line() {
    let error = parse(&with("silence = 3\nlink = \"tcp\"\non = [\"hv1\"\n]\nvmm = 1\n[[host]]\nname = 1"))
        .expect_err("five mistakes");
    let lines: Vec<usize> = error.mistakes().iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [8, 9, 12, 14], "{error}");
    let text = error.to_string();
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.lines().all(|line| line.starts_with("line ")), "{text}");
}

#[test]
fn there_is_an_end_to_everything() {
    let many: String = (0..2 * MAX_MISTAKES).map(|n| format!("k{n} = 1\n")).collect();
    assert_eq!(parse(&with(&many)).expect_err("mistakes").mistakes().len(), MAX_MISTAKES);

    good(&cluster(MAX_HOSTS, ""));
    let error = refusal(&cluster(MAX_HOSTS + 1, ""));
    assert_eq!(error, "line 3075: there are more than 1024 [[host]]: split the cluster");

    let groups = |count: usize| -> String {
        (0..count).map(|n| format!("[[group]]\nname = \"g{n}\"\nvm = \"v{n}\"\n")).collect()
    };
    let base = "[cluster]\nname = \"lab\"\n[[host]]\nname = \"hv1\"\n";
    assert_eq!(good(&format!("{base}{}", groups(MAX_GROUPS))).groups.len(), MAX_GROUPS);
    assert!(refusal(&format!("{base}{}", groups(MAX_GROUPS + 1))).contains("more than 20480 [[group]]"));

    let error = refusal(&format!("{SMALL}#{}", "x".repeat(MAX_FILE)));
    assert!(error.contains("and may have 8388608"), "{error}");
    parse(&format!("a = {}", "[".repeat(100_000))).expect_err("nested too deeply");

    let names = |count: usize| (0..count).map(|n| format!("\"a{n}\"")).collect::<Vec<_>>().join(", ");
    good(&with(&format!("apps = [{}]", names(64))));
    assert_eq!(
        refusal(&with(&format!("apps = [{}]", names(65)))),
        "line 8: 'apps' holds 65 names, and may hold 64"
    );
}

#[test]
fn times_of_the_cluster_that_cannot_be_safe_are_refused() {
    assert_eq!(good(&with_cluster("timing = \"fast\"")).cluster.timing, Timing::FAST);
    assert_eq!(good(&with_cluster("timing = \"default\"")).cluster.timing, Timing::DEFAULT);
    for (lines, wanted) in [
        ("beat = \"49ms\"", "'beat' is 49ms: write at least \"50ms\"; the default is \"250ms\""),
        ("beat = \"11s\"", "'beat' is 11s: write at most \"10s\"; the default is \"250ms\""),
        ("lease = \"61s\"", "'lease' is 61s: write at most \"1m\"; the default is \"3s\""),
        ("evict_after = \"11m\"", "'evict_after' is 11m: write at most \"10m\"; the default is \"3s\""),
        ("watchdog = \"1s\"", "'watchdog' is 1s: write at least \"2s\"; the default is \"5s\""),
        ("watchdog = \"6m\"", "'watchdog' is 6m: write at most \"5m\"; the default is \"5s\""),
        (
            "watchdog = \"2500ms\"",
            "'watchdog' is 2500ms, and watchdog devices count whole seconds: write watchdog = \"3s\"",
        ),
        (
            "suspect_after = \"999ms\"",
            "'suspect_after' is 999ms and 'beat' is 250ms: one lost beat is no silence; write suspect_after = \"1s\" or more, or shorten 'beat'",
        ),
        (
            "beat = \"376ms\"",
            "'suspect_after' is 1500ms and 'beat' is 376ms: one lost beat is no silence; write suspect_after = \"1504ms\" or more, or shorten 'beat'",
        ),
        (
            "evict_after = \"1499ms\"",
            "'evict_after' is 1499ms and 'suspect_after' is 1500ms: a host is suspected before it is evicted; write evict_after = \"1500ms\" or more, or shorten 'suspect_after'",
        ),
        (
            "lease = \"1999ms\"",
            "'lease' is 1999ms and 'suspect_after' is 1500ms: a silence that nobody suspects, and two beats for the answer, must not end a lease; write lease = \"2s\" or more, or shorten 'suspect_after'",
        ),
    ] {
        assert_eq!(refusal(&with_cluster(lines)), format!("line 3: {wanted}"));
    }
    let slow = "beat = \"1s\"\nsuspect_after = \"4s\"\nevict_after = \"4s\"\nlease = \"6s\"\nwatchdog = ";
    good(&with_cluster(&format!("{slow}\"4s\"")));
    assert_eq!(
        refusal(&with_cluster(&format!("{slow}\"3s\""))),
        "line 7: 'watchdog' is 3s and 'beat' is 1s: it is fed with each beat, and one may be late; write watchdog = \"4s\" or more, or shorten 'beat'"
    );
    let unread = refusal(&with_cluster("metrics_file = \"/tmp/roost.txt\""));
    assert!(unread.contains("'/tmp/roost.txt'") && unread.contains("'.prom'"), "{unread}");
    assert!(refusal(&with_cluster("metrics_file = \"roost.prom\"")).contains("not absolute"));
    assert!(refusal(&with_cluster("starts_at_once = 0")).ends_with("write a whole number from 1 to 100"));
}

#[test]
fn addresses_name_each_host_to_all_others() {
    for (address, wanted) in [
        ("hv1.example", "no IP address: write one"),
        ("10.0.0.1:0", "no port that can be reached"),
        ("10.0.0.1:70000", "no IP address"),
        ("0.0.0.0", "no address that names one host"),
        ("224.0.0.1", "no address that names one host"),
        ("255.255.255.255:961", "no address that names one host"),
        ("fe80::1", "no address that names one host"),
        ("[fd00::1%2]:961", "no IP address"),
        ("::", "no address that names one host"),
        ("", "no IP address"),
    ] {
        let error = refusal(&cluster(3, "").replacen("10.0.0.2", address, 1));
        assert!(error.starts_with(&format!("line 5: 'address' names '{address}', {wanted}")), "{error}");
    }
    for (address, wanted) in [
        ("\"10.0.0.3\"", "line 8: '10.0.0.3:961' is an address of 'hv1' and of 'hv2': give each its own"),
        (
            "\"::ffff:10.0.0.3\"",
            "line 8: '10.0.0.3:961' is an address of 'hv1' and of 'hv2': give each its own",
        ),
        (
            "[]",
            "line 5: 'address' holds 0, and must hold 1 to 4, as in address = [\"10.0.0.1\", \"10.1.0.1\"]",
        ),
        (
            "[\"10.0.0.1\", 7]",
            "line 5: 'address' is a whole number: write texts in quotes, as in address = [\"10.0.0.1\", \"10.1.0.1\"]",
        ),
    ] {
        assert_eq!(refusal(&cluster(3, "").replacen("\"10.0.0.2\"", address, 1)), wanted);
    }
    for (address, host) in [("\"fd00::9\"", "hv3"), ("[\"10.0.0.9\", \"10.1.0.9\"]", "hv3")] {
        assert_eq!(
            refusal(&cluster(3, "").replacen("\"10.0.0.4\"", address, 1)),
            format!(
                "line 11: 'address' of '{host}' does not match that of 'hv1': every host has one on each network, IPv4 or IPv6 alike, in the same order"
            )
        );
    }
    assert_eq!(
        refusal(&cluster(2, "[[host]]\nname = \"hv3\"\n")),
        "line 9: host 'hv3' has no 'address', by which the others reach it: write address = \"10.0.0.1\""
    );
    good(&cluster(3, "").replacen("10.0.0.2", "10.0.0.3:962", 1));
}

#[test]
fn an_odd_number_of_hosts_votes_unless_told_otherwise() {
    let voters = |text: &str| good(text).voters().map(|host| host.name.clone()).collect::<Vec<_>>().join(" ");
    for (hosts, wanted) in [
        (1, "hv1"),
        (2, "hv1 hv2"),
        (3, "hv1 hv2 hv3"),
        (4, "hv1 hv2 hv3"),
        (6, "hv1 hv2 hv3 hv4 hv5"),
        (8, "hv1 hv2 hv3 hv4 hv5 hv6 hv7"),
    ] {
        assert_eq!(voters(&cluster(hosts, "")), wanted, "{hosts} hosts");
    }
    let witness = "[[host]]\nname = \"w\"\naddress = \"10.9.0.1\"\nrole = \"witness\"\n";
    assert_eq!(voters(&cluster(2, witness)), "hv1 hv2 w");
    assert_eq!(voters(&cluster(3, witness)), "hv1 hv2 w");
    assert_eq!(voters(&with_host("votes = false")), "hv2 hv3");
    assert_eq!(voters(&cluster(4, "votes = true\n")), "hv1 hv2 hv4");
    assert_eq!(voters(&cluster(3, "").replace("address", "votes = true\naddress")), "hv1 hv2 hv3");
    assert_eq!(
        refusal(&cluster(8, "").replace("address", "votes = true\naddress")),
        "line 33: 8 hosts vote, and at most 7 may: leave 'votes = true' or witnesses out"
    );
    assert_eq!(
        refusal(&cluster(2, "").replace("address", "votes = false\naddress")),
        "line 5: no host votes, and nothing could be decided: leave a 'votes = false' out"
    );
    assert_eq!(
        refusal(&cluster(2, &format!("{witness}votes = false\n"))),
        "line 13: a witness that does not vote does nothing: leave 'votes' out, or the host"
    );
    assert!(refusal(&with_host("votes = 1")).contains("write true or false, without quotes"));
}

#[test]
fn ways_to_move_are_what_they_can_be() {
    assert!(refusal(&with("moves = [\"suspend\"]")).contains("no 'save_dir'"));
    assert!(refusal(&with("moves = [\"warm\"]")).contains("write some of 'live', 'suspend', 'cold'"));
    assert!(refusal(&with("moves = [\"live\", \"live\"]")).contains("twice"));
    assert!(refusal(&with("moves = []")).contains("must hold 1 to 3"));
    let saves = SMALL.replacen("name = \"lab\"", "name = \"lab\"\nsave_dir = \"/srv/roost\"", 1);
    let every = [MoveMethod::Live, MoveMethod::Suspend, MoveMethod::Cold];
    assert_eq!(good(&saves).groups[0].moves, every);
    for (dir, words) in [("srv", "not absolute"), ("/", "name one below it")] {
        let text = SMALL.replacen("name = \"lab\"", &format!("name = \"lab\"\nsave_dir = \"{dir}\""), 1);
        assert!(refusal(&text).contains(words), "{dir}");
    }
    for uri in ["h1", "qemu:///system", "qemu+ssh://"] {
        let error = refusal(&with_host(&format!("libvirt_remote = \"{uri}\"")));
        assert!(error.contains("that another host could use"), "{error}");
    }
}

#[test]
fn a_witness_runs_nothing() {
    let witness = |lines: &str| {
        cluster(2, &format!("[[host]]\nname = \"w\"\naddress = \"10.9.0.1\"\nrole = \"witness\"\n{lines}"))
    };
    for (lines, key) in [
        ("libvirt = \"qemu:///system\"", "libvirt"),
        ("watchdog = \"/dev/watchdog\"", "watchdog"),
        ("trust_watchdog = true", "trust_watchdog"),
        ("reserve_mib = 1", "reserve_mib"),
        ("libvirt_remote = \"qemu+ssh://w/system\"", "libvirt_remote"),
        ("[[host.fence]]\nagent = \"fence_x\"", "fence"),
    ] {
        let error = refusal(&witness(lines));
        assert!(error.contains(&format!("'{key}' means nothing for a witness, which runs no VM")), "{error}");
    }
    let group = "[[group]]\nname = \"web\"\nvm = \"web1\"\n";
    assert_eq!(*good(&witness(group)).groups[0].on, ["hv1", "hv2"]);
    assert_eq!(
        refusal(&witness(&format!("{group}on = [\"hv1\", \"w\"]\n"))),
        "line 16: 'on' names 'w', which is a witness and runs nothing: leave it out"
    );
    let all = "[cluster]\nname = \"lab\"\n[[host]]\nname = \"w\"\nrole = \"witness\"\n";
    assert_eq!(
        refusal(&format!("{all}{group}")),
        "line 7: no host may run it, for each is a witness: add a [[host]] that is none"
    );
}

#[test]
fn fence_agents_are_what_they_can_be() {
    let fence = |lines: &str| {
        with_host("").replacen(
            "[[host]]\nname = \"hv2\"",
            &format!("[[host.fence]]\n{lines}\n[[host]]\nname = \"hv2\""),
            1,
        )
    };
    good(&fence("agent = \"fence_xvm\""));
    for (lines, wanted) in [
        ("level = 1", "[[host.fence]] has no 'agent': write agent = \"fence_ipmilan\""),
        (
            "agent = \"../bin/sh\"",
            "'agent' is '../bin/sh', no fence agent: write the name of one in /usr/sbin",
        ),
        ("agent = \"fence_\"", "'agent' is 'fence_', no fence agent"),
        ("agent = \"fence_x/../y\"", "'agent' is 'fence_x/../y', no fence agent"),
        ("agent = \"fence_x\"\nlevel = 0", "'level' is 0: write a whole number from 1 to 8"),
        ("agent = \"fence_x\"\nretries = 11", "'retries' is 11: write a whole number from 0 to 10"),
        ("agent = \"fence_x\"\ntimeout = \"999ms\"", "'timeout' is 999ms: write at least \"1s\""),
        ("agent = \"fence_x\"\ndelay = \"11m\"", "'delay' is 11m: write at most \"10m\""),
        (
            "agent = \"fence_x\"\noptions = 1",
            "'options' is a whole number: write options = { ip = \"10.9.0.1\" }, a table",
        ),
        ("agent = \"fence_x\"\noptions = { action = \"off\" }", "the option 'action' is Roost's own"),
        ("agent = \"fence_x\"\noptions = { Option = \"off\" }", "the option 'Option' is Roost's own"),
        (
            "agent = \"fence_x\"\noptions = { \"a=b\" = \"off\" }",
            "the option 'a=b' has no name that an agent reads",
        ),
        ("agent = \"fence_x\"\noptions = { a = \"secret\\naction=on\" }", "the option 'a' holds a line feed"),
        ("agent = \"fence_x\"\noptions = { a = \"secret \" }", "the option 'a' begins or ends with a blank"),
        ("agent = \"fence_x\"\noptions = { a = 1.5 }", "the option 'a' is a number with a fraction"),
    ] {
        let error = refusal(&fence(lines));
        assert!(error.contains(wanted), "{lines}: {error}");
        assert!(!error.contains("secret"), "a password is in no message: {error}");
    }
    let many = "[[host.fence]]\nagent = \"fence_x\"\n".repeat(16);
    assert!(
        refusal(&fence(&format!("agent = \"fence_x\"\n{many}")))
            .contains("more than 16 [[host.fence]]: leave some out")
    );
    assert!(refusal(&with_host("watchdog = \"/tmp/dog\"")).contains("'watchdog' is '/tmp/dog', no device"));
    assert!(refusal(&with_host("watchdog = \"/dev/\"")).contains("which is a directory"));
    assert!(refusal(&with_host("trust_watchdog = true")).contains("it has none: name it in 'watchdog'"));
    assert_eq!(
        refusal(&with_cluster("on_quorum_loss = \"keep\"")),
        "line 3: 'on_quorum_loss' is 'keep', and only a fence agent can stop a host that runs on: give 'hv1', 'hv2', 'hv3' a [[host.fence]], or write on_quorum_loss = \"pause\""
    );
}

#[test]
fn more_than_one_host_has_a_key() {
    assert_eq!(good(&cluster(2, "")).cluster.keys, [PathBuf::from("/etc/roost/key")]);
    assert_eq!(good(&with_cluster("key = \"/k\"")).cluster.keys, [PathBuf::from("/k")]);
    assert_eq!(
        refusal(&with_cluster("key = [\"/k\", \"/k\"]")),
        "line 3: 'key' names '/k' twice: leave one out"
    );
    assert!(refusal(&with_cluster("key = \"k\"")).contains("which is not absolute"));
    assert!(refusal(&with_cluster("key = []")).contains("'key' holds 0, and must hold 1 to 4"));
}

/// Two names with one number, found by trying.
const COLLISION: (&str, &str) = ("hv7e84a", "hv10a5a9");

#[test]
fn two_hosts_never_have_one_number() {
    let (one, other) = COLLISION;
    assert_eq!(HostId::of(one), HostId::of(other));
    let text = cluster(2, "").replace("hv1", one).replace("hv2", other);
    assert_eq!(
        refusal(&text),
        format!(
            "line 7: the names '{one}' and '{other}' have the same number among hosts, by chance: give one another name"
        )
    );
}

#[test]
fn what_groups_ask_of_each_other_is_possible() {
    good(&with_groups(&[
        ("a", "together = [\"b\"]\nneeds = [\"b\"]"),
        ("b", "apart = [\"c\"]"),
        ("c", "needs = [\"b\"]"),
    ]));
    for (groups, wanted) in [
        (
            &[("a", "needs = [\"bee\"]"), ("be", "")][..],
            "line 15: 'needs' names 'bee', and no [[group]] is called so (did you mean 'be'?)",
        ),
        (
            &[("a", "apart = [\"mars\"]")],
            "line 15: 'apart' names 'mars', and no [[group]] is called so; the file names 'a'",
        ),
        (&[("a", "together = [\"a\"]")], "line 15: 'together' of 'a' names itself: leave it out"),
        (
            &[("a", "together = [\"b\"]"), ("b", "apart = [\"a\"]")],
            "line 19: 'apart' names 'a', and 'together', of the two or of groups between them, keeps it on the host of 'b': leave one out",
        ),
        (
            &[("a", "together = [\"b\"]"), ("b", ""), ("c", "together = [\"b\"]\napart = [\"a\"]")],
            "line 24: 'apart' names 'a', and 'together', of the two or of groups between them, keeps it on the host of 'c': leave one out",
        ),
        (
            &[
                ("a", "together = [\"b\"]\non = [\"hv1\", \"hv2\"]"),
                ("b", ""),
                ("c", "together = [\"b\"]\non = [\"hv3\"]"),
            ],
            "line 25: 'c' must be together with 'a', and no host is in 'on' of all of them: let them share one",
        ),
        (
            &[
                ("x", "needs = [\"a\"]"),
                ("a", "needs = [\"b\"]"),
                ("b", "needs = [\"c\"]"),
                ("c", "needs = [\"a\"]"),
            ],
            "line 27: 'needs' goes round in a circle, each needs the next and the last the first: 'a', 'b', 'c'; leave one out",
        ),
    ] {
        assert_eq!(refusal(&with_groups(groups)), wanted);
    }
    let names: Vec<String> = (0..3).map(|n| format!("\"hv{}\"", n + 1)).collect();
    let each: Vec<(String, String)> = (0..3)
        .map(|n| (format!("g{n}"), format!("on = [{}]\ntogether = [\"g0\"]", names[..=n].join(", "))))
        .collect();
    let each: Vec<(&str, &str)> = each.iter().map(|(name, lines)| (name.as_str(), lines.as_str())).collect();
    let text = with_groups(&each).replacen("together = [\"g0\"]\n", "", 1);
    good(&text);
}

/// As many groups as there may be, each tied to the next in every way: it is checked in no time, and without a deep stack.
#[test]
fn long_chains_are_walked() {
    let chain = |last: &str| {
        let mut text = cluster(3, "");
        for n in 0..MAX_GROUPS {
            let next = if n + 1 < MAX_GROUPS { format!("g{}", n + 1) } else { last.to_owned() };
            writeln!(
                text,
                "[[group]]\nname = \"g{n}\"\nvm = \"v{n}\"\nneeds = [\"{next}\"]\ntogether = [\"{next}\"]"
            )
            .expect("memory");
        }
        text
    };
    let error = refusal(&chain("g0"));
    assert!(error.contains("'g6', 'g7' and 20472 more; leave one out"), "{error}");
}

#[test]
fn what_a_cluster_does_not_survive_is_told() {
    let advice = |text: &str| good(text).advice();
    let dog = |text: String| text.replace("address", "watchdog = \"/dev/watchdog\"\naddress");
    let witness = "[[host]]\nname = \"w\"\naddress = \"10.9.0.1\"\nrole = \"witness\"\n";
    assert!(advice(SMALL).is_empty());
    assert!(advice(&dog(cluster(3, ""))).is_empty());
    assert!(advice(&(dog(cluster(2, "")) + witness)).is_empty());
    let told = advice(&dog(cluster(2, "")));
    assert!(
        told.len() == 1
            && told[0].contains("only 'hv1' and 'hv2' vote: neither survives")
            && told[0].contains("witness"),
        "{told:?}"
    );
    let told = advice(&dog(cluster(4, "")).replace("watchdog =", "votes = true\nwatchdog ="));
    assert!(
        told.len() == 1 && told[0].starts_with("4 hosts vote, and survive the loss of 1, as 3 would"),
        "{told:?}"
    );
    let told = advice(&dog(cluster(2, "votes = false\n")));
    assert!(told.len() == 1 && told[0].starts_with("only 'hv1' votes"), "{told:?}");
    let told = advice(&cluster(11, ""));
    assert!(
        told.len() == 1
            && told[0].contains("'hv8' and 3 more; ")
            && told[0].contains("'roost fence HOST --confirm'"),
        "{told:?}"
    );
}

#[test]
fn files_have_one_number_when_they_say_the_same() {
    let number = |text: &str| good(text).number;
    let base = number(SMALL);
    assert_eq!(
        base,
        number(&format!("# a comment\n\n{}", SMALL.replace(" = ", "=").replace('\n', "  # more\n")))
    );
    let swapped = SMALL.replace("name = \"web\"\nvm = \"web1\"", "vm = 'web1'\nname = \"\\u0077eb\"");
    assert_eq!(base, number(&swapped));
    assert_eq!(number(&with_recovery("restart = 16")), number(&with_recovery("restart = 0x10")));
    assert_ne!(base, number(&SMALL.replace("lab", "lap")));
    assert_ne!(number(&cluster(2, "")), number(&cluster(3, "")));
    let secret = |word: &str| {
        with_host("").replacen("[[host]]\nname = \"hv2\"", &format!("[[host.fence]]\nagent = \"fence_x\"\noptions = {{ password = \"{word}\" }}\n[[host]]\nname = \"hv2\""), 1)
    };
    assert_ne!(number(&secret("a")), number(&secret("b")), "secrets count");
    assert_ne!(number(&with("apps = [\"ab\", \"c\"]")), number(&with("apps = [\"a\", \"bc\"]")));
    // Alike when the length of a text, or of a list, did not count.
    assert_ne!(number(&with("apps = [\"a\", \"b\"]")), number(&with("apps = [\"asb\"]")));
}

/// A seed that is refused would teach the fuzzer nothing; one that lacks a key, not that key.
#[test]
fn the_seed_of_the_fuzzer_holds_every_key() {
    let seed = include_str!("fuzz/seeds/host.toml");
    good(seed);
    for section in &KEYS {
        for key in section.keys {
            let is_there = [format!("{key} = "), format!("[{key}]"), format!(".{key}]")]
                .iter()
                .any(|form| seed.contains(form));
            assert!(is_there, "'{key}' of '{}'", section.header);
        }
    }
}

#[test]
fn hosts_and_groups_are_found() {
    let config = good(&with_groups(&[("web", ""), ("db", "")]));
    let id = config.host_id("hv2").expect("in the file");
    assert_eq!(config.host_by_id(id).map(|host| host.name.as_str()), Some("hv2"));
    assert_eq!(config.host_id("hv9"), None);
    assert_eq!(config.host_by_id(HostId::of("hv9")), None);
    assert_eq!(config.group("db").map(|group| group.vm.as_str()), Some("db"));
    assert_eq!(config.group("hv2"), None);
}

proptest::proptest! {
    /// Whatever stands in the file, the parser answers; and what it refuses, it refuses with a line of that file.
    #[test]
    fn nothing_makes_the_parser_panic(
        pieces in proptest::collection::vec(proptest::sample::select(vec![
            "[cluster]", "[[host]]", "[[host.fence]]", "[[group]]", "[group.recovery]", "options", "address", "votes", "needs", "name", "vm", "=", "\"x\"", "\"hv1\"", "\n", "[", "]", "{",
            "}", ",", "1", "-1", "\"10s\"", "on", "apps", "silence", "link", "\"hybrid:/a\"", ".", "'", "#", "\u{0}", "ä", "\"",
        ]), 0..60)
    ) {
        let text = pieces.join(" ");
        if let Err(error) = parse(&text) {
            let lines = text.lines().count().max(1) + 1;
            proptest::prop_assert!(!error.mistakes().is_empty());
            proptest::prop_assert!(error.mistakes().iter().all(|m| (1..=lines).contains(&m.line)), "{}", error);
        }
    }
}

#[test]
fn what_becomes_of_groups_at_a_shutdown_is_the_clusters_or_the_hosts_own() {
    let text = |cluster: &str, host: &str| {
        let hosts = format!(
            "[[host]]\nname = \"a\"\naddress = \"192.0.2.1\"\n{host}\n[[host]]\nname = \"b\"\naddress = \"192.0.2.2\"\n"
        );
        format!("[cluster]\nname = \"lab\"\n{cluster}\n{hosts}")
    };
    let both = |cluster: &str, host: &str| {
        let config = parse(&text(cluster, host)).expect("it is good");
        [config.hosts[0].on_shutdown, config.hosts[1].on_shutdown]
    };
    assert_eq!(both("", ""), [OnShutdown::Move, OnShutdown::Move]);
    assert_eq!(both("on_shutdown = \"stay\"", ""), [OnShutdown::Stay, OnShutdown::Stay]);
    assert_eq!(
        both("on_shutdown = \"stay\"", "on_shutdown = \"stop\""),
        [OnShutdown::Stop, OnShutdown::Stay]
    );
    let config = parse(&text("stay_for = \"2h\"", "")).expect("it is good");
    assert_eq!(config.cluster.stay_for, Duration::from_secs(7200));
    let error = parse(&text("on_shutdown = \"wait\"", "")).expect_err("it is none of them").to_string();
    assert!(error.contains("line 3") && error.contains("\"move\" or \"stop\" or \"stay\""), "{error}");
    let error = parse(&text("", "role = \"witness\"\non_shutdown = \"stay\""))
        .expect_err("it runs nothing")
        .to_string();
    assert!(error.contains("'on_shutdown' means nothing for a witness"), "{error}");
}

#[test]
fn what_changes_between_two_files_is_told_by_table_and_key() {
    let host = |name: &str, nth: u8, more: &str| {
        format!("[[host]]\nname = \"{name}\"\naddress = \"192.0.2.{nth}\"\n{more}\n")
    };
    let group = |name: &str, more: &str| format!("[[group]]\nname = \"{name}\"\nvm = \"{name}\"\n{more}\n");
    let file = |cluster: &str, tables: &[String]| {
        parse(&format!("[cluster]\nname = \"lab\"\n{cluster}\n{}", tables.concat())).expect("it is good")
    };
    let before =
        file("", &[host("a", 1, ""), host("b", 2, ""), host("c", 3, ""), group("web", ""), group("db", "")]);
    assert!(before.changes(&before).is_empty());
    let after = file(
        "lease = \"4s\"",
        &[host("a", 1, "reserve_mib = 5"), host("b", 2, ""), group("web", "priority = 3"), group("mail", "")],
    );
    assert_eq!(
        before.changes(&after),
        [
            "cluster: timing (used after a restart of roostd, on every host)",
            "host 'c' is removed (empty it first, by `roost maintenance c on`: what it owns stays there, and is blocked \
             when it is silent)",
            "host 'a': reserve_mib",
            "voters: a, b; they were a, b, c",
            "group 'db' is removed (its VM is left as it is: if it is to stop, say `roost offline db` first)",
            "group 'web': on, priority",
            "group 'mail' is added",
        ]
    );
}

/// A cluster of three and of the machine `db1`, whose address is on line 14 and which has `host` after that; the cold standby
/// VM `s` with 4 lines; and the application `orders` with its `on` and then `lines`.
fn application(host: &str, lines: &str) -> String {
    let db1 = "[[host]]\nname = \"db1\"\naddress = \"10.0.9.1\"\nrole = \"application\"\n";
    let vm = "[[group]]\nname = \"s\"\nvm = \"s1\"\nstandby = \"cold\"\n";
    let orders = "[[group]]\nname = \"orders\"\napp = \"postgres\"\n";
    cluster(3, &format!("{db1}{host}\n{vm}{orders}{lines}\n"))
}

const ON: &str = "on = [\"db1\", \"hv3\", \"vm:s\"]";

fn app(config: &Config) -> &App {
    let orders = config.group("orders").expect("it is there");
    orders.app.as_ref().expect("it is an application")
}

#[test]
fn an_application_has_targets_and_the_hosts_that_act_for_them() {
    let config = good(&application("", ON));
    let (db1, orders) = (config.host("db1").expect("a host"), config.group("orders").expect("a group"));
    assert_eq!(db1.role, Role::Application);
    let targets = [Target::Host("db1".into()), Target::Host("hv3".into()), Target::Vm("s".into())];
    let defaults = App {
        name: "postgres".into(),
        targets: targets.into(),
        failback: Failback::Manual,
        lease: Duration::from_secs(30),
    };
    assert_eq!(app(&config), &defaults);
    assert_eq!(*orders.on, ["db1", "hv3", "hv1", "hv2"], "each once, in the order of its targets");
    assert_eq!((orders.vm.as_str(), orders.ranked, &orders.moves[..]), ("", true, &[MoveMethod::Cold][..]));
    assert_eq!((orders.recovery.restart, orders.recovery.hosts), (1, 3));
    assert_eq!(config.group("s").map(|vm| vm.standby), Some(Standby::Cold));
    assert_eq!(*config.groups[0].on, ["hv1", "hv2", "hv3"], "no VM is on a machine for applications");
    assert_eq!(good(SMALL).groups[0].standby, Standby::Warm);

    let lines = format!(
        "{ON}\nfailback = \"auto\"\nfailback_after = \"1h\"\nfailback_window = \"Sat 02:00-04:00\"\napp_lease = \"2s\"\n\
         stop_timeout = \"5m\"\npriority = 3\nneeds = [\"s\"]\n[group.recovery]\nrestart = 4"
    );
    let config = good(&application("", &lines));
    let window = Some("Sat 02:00-04:00".parse().expect("a window"));
    assert_eq!(app(&config).failback, Failback::Auto { after: Duration::from_secs(3600), window });
    assert_eq!(app(&config).lease, Duration::from_secs(2));
    let orders = config.group("orders").expect("a group");
    assert_eq!((orders.stop_timeout.as_secs(), orders.priority, orders.recovery.restart), (300, 3, 4));
}

#[test]
fn what_is_wrong_with_an_application_is_told_by_line() {
    let refused = |host: &str, lines: &str| refusal(&application(host, lines));
    for (lines, wanted) in [
        (String::new(), "[[group]] has no 'on': write where the application may run, home first"),
        ("on = []".into(), "'on' holds 0, and must hold 1 to"),
        ("on = [\"db1\", \"vm:s\", \"db1\"]".into(), "'on' names 'db1' twice: leave one out"),
        (
            "on = [\"db1\", \"vm:\", \"vm:s\"]".into(),
            "'on' names 'vm:', no target: write a host, or vm: and a group",
        ),
        (
            "on = [\"db1\", \"db3\", \"vm:s\"]".into(),
            "'on' names 'db3', and no [[host]] is called so (did you mean 'db1'?)",
        ),
        (
            "on = [\"db1\", \"vm:t\", \"vm:s\"]".into(),
            "'on' names 'vm:t', and no [[group]] with a 'vm' is called 't'",
        ),
        (
            "on = [\"vm:orders\", \"vm:s\"]".into(),
            "'on' names 'vm:orders', and no [[group]] with a 'vm' is called 'orders'",
        ),
        (format!("{ON}\nfailback = \"never\""), "'failback' is 'never'"),
        (
            format!("{ON}\nfailback_after = \"5m\""),
            "'failback_after' is about an automatic failback: leave it out, or write failback = \"auto\"",
        ),
        (
            format!("{ON}\nfailback = \"auto\"\nfailback_window = \"Sat 2-4\""),
            "'failback_window' is 'Sat 2-4': write a day or two with '-' between them, if not every day, and the time from and to",
        ),
        (format!("{ON}\napp_lease = \"1s\""), "'app_lease' is 1s"),
        (
            format!("{ON}\nxml = \"/etc/roost/vms/x.xml\""),
            "'xml' is about a VM, and this group is an application: leave it out, or leave 'app' out",
        ),
        (format!("{ON}\nvm = \"x\""), "'vm' is about a VM, and this group is an application"),
        (format!("{ON}\nmoves = [\"live\"]"), "'moves' is about a VM"),
        (format!("{ON}\nstandby = \"cold\""), "'standby' is about a VM"),
    ] {
        let said = refused("", &lines);
        assert!(said.starts_with("line ") && said.contains(wanted), "{lines}: {said}");
    }
    let said = refused("", &ON.replace("vm:s", "hv2"));
    assert!(said.contains("'s' is a cold standby, and no application has it among its targets"), "{said}");
    let name = refusal(&application("", ON).replace("\"postgres\"", "\"post gres\""));
    assert!(name.contains("'app' is 'post gres', no name of a service group"), "{name}");
    let said = refusal(&with("failback = \"auto\""));
    assert!(said.contains("'failback' is about an application, and this group is a VM"), "{said}");
    for key in ["app_lease = \"30s\"", "failback_window = \"02:00-03:00\""] {
        let said = refusal(&with(key));
        assert!(said.starts_with("line 8: ") && said.contains("is about an application"), "{said}");
    }
}

#[test]
fn a_machine_for_applications_runs_no_vm() {
    for key in
        ["libvirt = \"qemu:///system\"", "reserve_mib = 1024", "libvirt_remote = \"qemu+ssh://db1/system\""]
    {
        let said = refusal(&application(key, ON));
        assert!(said.contains("means nothing for a host that runs no VM"), "{said}");
    }
    good(&application("watchdog = \"/dev/watchdog0\"\nvotes = true\non_shutdown = \"stay\"", ON));
    let on = with_groups(&[("web", "on = [\"db1\"]")]);
    let on = on.replacen(
        "[[group]]",
        "[[host]]\nname = \"db1\"\naddress = \"10.0.9.1\"\nrole = \"application\"\n[[group]]",
        1,
    );
    assert!(refusal(&on).contains("'on' names 'db1', which runs applications and no VM: leave it out"));
    let witness = application("", ON).replace("\"application\"", "\"witness\"");
    assert!(refusal(&witness).contains("'on' names 'db1', which is a witness and runs nothing"));
}

#[test]
fn a_machine_without_roostd_has_a_key_and_a_fence_agent() {
    let watched = |host: &str| {
        let text = application(host, ON).replace("address = \"10.0.9.1\"\n", "");
        text.replace("\"application\"", "\"watched\"")
    };
    let fence = "[[host.fence]]\nagent = \"fence_ipmilan\"";
    let config = good(&watched(&format!("key = \"/etc/roost/db1.key\"\n{fence}")));
    let db1 = config.host("db1").expect("a host");
    assert_eq!((db1.role, db1.votes, db1.silence.as_secs()), (Role::Watched, false, 10));
    assert_eq!(db1.key.as_deref(), Some(Path::new("/etc/roost/db1.key")));
    let whole = |lines: &str| watched(&format!("key = \"/etc/roost/db1.key\"\n{lines}\n{fence}"));
    assert_eq!(good(&whole("silence = \"5s\"")).host("db1").map(|host| host.silence.as_secs()), Ok(5));
    assert!(refusal(&whole("silence = \"4s\"")).contains("'silence' is 4s"));
    assert!(
        refusal(&whole("watchdog = \"/dev/watchdog0\"")).contains("'watchdog' is about a host with roostd")
    );
    assert!(refusal(&watched(fence)).contains("has no 'key'"));
    assert!(refusal(&watched("key = \"/etc/roost/db1.key\"")).contains("has no 'fence'"));
    for key in ["key = \"/etc/roost/db1.key\"", "silence = \"10s\""] {
        let said = refusal(&application(key, ON));
        assert!(said.contains("is about a host without roostd"), "{said}");
    }
}

#[test]
fn what_changes_of_an_application_is_told_by_its_keys() {
    let before = good(&application("", ON));
    let changes = |text: &str| before.changes(&good(text));
    assert_eq!(changes(&application("", ON)), [""; 0]);
    let same = application("", &format!("{ON}\nfailback = \"manual\""));
    assert_eq!(changes(&same), [""; 0], "a default that is written");
    assert_eq!(
        changes(&application("", &format!("{ON}\nfailback = \"auto\""))),
        ["group 'orders': failback"]
    );
    assert_eq!(
        changes(&application("", &format!("{ON}\napp_lease = \"1m\""))),
        ["group 'orders': app_lease"]
    );
    assert_eq!(changes(&application("", "on = [\"hv3\", \"db1\", \"vm:s\"]")), ["group 'orders': on"]);
    let renamed = application("", ON).replace("\"postgres\"", "\"pg\"");
    assert_eq!(
        changes(&renamed),
        [
            "group 'orders': app (take the group offline first: what runs under the old name is guarded no more)"
        ]
    );
    let warm = application("", ON).replace("standby = \"cold\"\n", "");
    assert_eq!(changes(&warm), ["group 's': standby"]);
}
