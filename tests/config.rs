//! `roost.toml`: what is read, with which defaults, and how each mistake is refused.

use roost::config::{
    Apps, Config, GuestLink, KEYS, MAX_DOMAIN, MAX_FILE, MAX_GROUPS, MAX_HOSTS, MAX_MISTAKES,
    MAX_SOCKET_PATH, OnGuestShutdown, OnSilence, parse,
};
use std::path::PathBuf;
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
    assert_eq!(config.hosts[0].libvirt, "qemu:///system");
    let group = &config.groups[0];
    assert_eq!((group.name.as_str(), group.vm.as_str()), ("web", "web1"));
    assert_eq!(group.xml, None);
    assert_eq!(group.on, ["hv1"]);
    assert_eq!(group.apps, Apps::All);
    assert_eq!(group.link, GuestLink::Vsock);
    assert_eq!(group.on_guest_shutdown, OnGuestShutdown::Restart);
    assert_eq!(group.on_silence, OnSilence::Recover);
    let seconds =
        [group.silence, group.boot_grace, group.silence_patience, group.stop_timeout].map(|d| d.as_secs());
    assert_eq!(seconds, [10, 120, 60, 120]);
    let recovery = &group.recovery;
    assert_eq!((recovery.reboot, recovery.reset, recovery.restart), (1, 1, 3));
    let seconds = [recovery.window, recovery.backoff.first, recovery.backoff.max, recovery.reboot_timeout];
    assert_eq!(seconds.map(|d| d.as_secs()), [3600, 5, 300, 60]);
}

#[test]
fn every_key_is_read() {
    let config = good(
        r#"
        [cluster]
        name = "lab"
        [[host]]
        name = "hv1"
        libvirt = "test:///default"
        [[host]]
        name = "hv2"
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
        [group.recovery]
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
        "#,
    );
    assert_eq!(config.hosts[0].libvirt, "test:///default");
    let group = &config.groups[0];
    assert_eq!(group.vm, "web 1 (old)");
    assert_eq!(group.xml, Some(PathBuf::from("/etc/roost/vms/web1.xml")));
    assert_eq!(group.on, ["hv2"]);
    assert_eq!(group.apps, Apps::Named(vec!["site".into(), "mail".into()]));
    assert_eq!(group.link, GuestLink::Hybrid(PathBuf::from("/run/web1.vsock")));
    assert_eq!(group.on_guest_shutdown, OnGuestShutdown::Offline);
    assert_eq!(group.on_silence, OnSilence::Report);
    let times = [group.silence, group.boot_grace, group.silence_patience, group.stop_timeout];
    assert_eq!(times.map(|d| d.as_secs()), [2, 180, 0, 30]);
    let recovery = &group.recovery;
    assert_eq!((recovery.reboot, recovery.reset, recovery.restart), (0, 2, 16));
    let times = [recovery.window, recovery.backoff.first, recovery.backoff.max, recovery.reboot_timeout];
    assert_eq!(times.map(|d| d.as_millis()), [86_400_000, 100, 60_000, 90_000]);
    assert_eq!(config.groups[1].on, ["hv1", "hv2"], "every host, when 'on' is left out");
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
    let config = good(&format!("{SMALL}[[host]]\nname = \"hv2\"\n"));
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
            "line 9: unknown key 'colour'; [group.recovery] may hold 'reboot', 'reset', 'restart', 'window', 'backoff', 'backoff_max', 'reboot_timeout'",
        ),
        (
            SMALL.replace("name = \"lab\"", "name = \"lab\"\ncolour = 1"),
            "line 3: unknown key 'colour'; [cluster] may hold 'name'",
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
            "line 5: [[group]] has no 'vm': write the libvirt domain's name, as in vm = \"web1\"",
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
            format!("{SMALL}[[host]]\nname = \"hv1\"\n"),
            "line 9: two [[host]] are called 'hv1': give each its own name",
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

    let hosts =
        |count: usize| -> String { (0..count).map(|n| format!("[[host]]\nname = \"h{n}\"\n")).collect() };
    good(&format!("[cluster]\nname = \"lab\"\n{}", hosts(MAX_HOSTS)));
    let error = refusal(&format!("[cluster]\nname = \"lab\"\n{}", hosts(MAX_HOSTS + 1)));
    assert_eq!(error, "line 259: there are more than 128 [[host]]: split the cluster");

    let groups = |count: usize| -> String {
        (0..count).map(|n| format!("[[group]]\nname = \"g{n}\"\nvm = \"v{n}\"\n")).collect()
    };
    let base = "[cluster]\nname = \"lab\"\n[[host]]\nname = \"hv1\"\n";
    assert_eq!(good(&format!("{base}{}", groups(MAX_GROUPS))).groups.len(), MAX_GROUPS);
    assert!(refusal(&format!("{base}{}", groups(MAX_GROUPS + 1))).contains("more than 512 [[group]]"));

    let error = refusal(&format!("{SMALL}#{}", "x".repeat(MAX_FILE)));
    assert!(error.contains("and may have 1048576"), "{error}");
    parse(&format!("a = {}", "[".repeat(100_000))).expect_err("nested too deeply");

    let names = |count: usize| (0..count).map(|n| format!("\"a{n}\"")).collect::<Vec<_>>().join(", ");
    good(&with(&format!("apps = [{}]", names(64))));
    assert_eq!(
        refusal(&with(&format!("apps = [{}]", names(65)))),
        "line 8: 'apps' holds 65 names, and may hold 64"
    );
}

proptest::proptest! {
    /// Whatever stands in the file, the parser answers; and what it refuses, it refuses with a line of that file.
    #[test]
    fn nothing_makes_the_parser_panic(
        pieces in proptest::collection::vec(proptest::sample::select(vec![
            "[cluster]", "[[host]]", "[[group]]", "[group.recovery]", "name", "vm", "=", "\"x\"", "\"hv1\"", "\n", "[", "]", "{",
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
