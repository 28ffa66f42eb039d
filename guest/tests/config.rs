//! The controller's configuration: what is read, and every way to be refused.

use core::time::Duration;
use roost_guest::config::{
    Config, ConfigError, Group, Hook, Http, KEYS, Kind, Link, MAX_ARGUMENTS, MAX_FILE, MAX_HOSTS,
    MAX_MISTAKES, MAX_TEXT, MAX_VARIABLES, Managed, OnLostHost, Output, Process, Resource, Tcp, parse,
};
use roost_proto::link::{MAX_GROUPS, MAX_RESOURCES};
use roost_proto::retry::{Backoff, MAX_ATTEMPTS};
use std::collections::BTreeMap;
use std::path::PathBuf;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What is said about a bad file.
#[track_caller]
fn bad(text: &str) -> String {
    parse(text).expect_err("a bad file").to_string()
}

/// A group "site", whose only resource "web" has the lines `keys`; the first of them is line 6.
fn resource(keys: &str) -> String {
    format!("[[group]]\nname = \"site\"\n\n[[group.resource]]\nname = \"web\"\n{keys}\n")
}

/// The same with a good kind; the first of `keys` is line 8.
fn process(keys: &str) -> String {
    resource(&format!("kind = \"process\"\ncommand = [\"/bin/d\"]\n{keys}"))
}

fn first(text: &str) -> Resource {
    good(text).groups.remove(0).resources.remove(0)
}

#[test]
fn a_whole_file_is_read() {
    let text = r#"
[controller]
link = "unix:/run/roost/guest.sock"

[[group]]
name = "site"
restarts = 2
window = "2h"

[[group.resource]]
name = "web"
kind = "process"
command = ["/usr/sbin/nginx", "-g", "daemon off;"]
needs = ["data", "address"]
directory = "/srv/web"
user = "www-data"
environment = { PORT = "80", LANG = "C" }
output = "/var/log/web.log"
stop_signal = "QUIT"
interval = "5s"
timeout = "3s"
start_timeout = "30s"
stop_timeout = "40s"
attempts = 4
window = "20m"
backoff = "500ms"
backoff_max = "30s"

[[group.resource]]
name = "data"
kind = "mount"
source = "/dev/vdb"
target = "/srv"
fstype = "ext4"
options = "ro,noatime"

[[group.resource]]
name = "address"
kind = "ocf:heartbeat:IPaddr2"
parameters = { ip = "192.0.2.10" }
"#;
    let config = good(text);
    assert_eq!(config.link, Link::Unix(PathBuf::from("/run/roost/guest.sock")));
    let Group { name, restarts, window, managed, resources } = &config.groups[0];
    assert_eq!(*managed, None);
    assert_eq!((name.as_str(), *restarts, *window), ("site", 2, seconds(7200)));
    let names: Vec<&str> = resources.iter().map(|resource| resource.name.as_str()).collect();
    assert_eq!(names, ["data", "address", "web"], "each after what it needs");
    assert_eq!(
        resources[2],
        Resource {
            name: "web".into(),
            kind: Kind::Process(Process {
                command: vec!["/usr/sbin/nginx".into(), "-g".into(), "daemon off;".into()],
                directory: "/srv/web".into(),
                user: Some("www-data".into()),
                environment: BTreeMap::from([("LANG".into(), "C".into()), ("PORT".into(), "80".into())]),
                output: Output::File("/var/log/web.log".into()),
                stop_signal: libc::SIGQUIT,
            }),
            needs: vec![0, 1],
            interval: seconds(5),
            timeout: seconds(3),
            start_timeout: seconds(30),
            stop_timeout: seconds(40),
            attempts: 4,
            window: seconds(1200),
            backoff: Backoff { first: Duration::from_millis(500), max: seconds(30) },
        }
    );
    assert_eq!(
        resources[0].kind,
        Kind::Mount {
            source: "/dev/vdb".into(),
            target: "/srv".into(),
            fstype: "ext4".into(),
            options: "ro,noatime".into(),
        }
    );
    assert_eq!(
        resources[1].kind,
        Kind::Ocf {
            provider: "heartbeat".into(),
            agent: "IPaddr2".into(),
            parameters: BTreeMap::from([("ip".into(), "192.0.2.10".into())]),
        }
    );
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = good(&process(""));
    assert_eq!(config.link, Link::Vsock);
    let group = &config.groups[0];
    assert_eq!((group.restarts, group.window), (1, seconds(3600)));
    assert_eq!(
        group.resources[0],
        Resource {
            name: "web".into(),
            kind: Kind::Process(Process {
                command: vec!["/bin/d".into()],
                directory: "/".into(),
                user: None,
                environment: BTreeMap::new(),
                output: Output::Capture,
                stop_signal: libc::SIGTERM,
            }),
            needs: Vec::new(),
            interval: seconds(10),
            timeout: seconds(20),
            start_timeout: seconds(60),
            stop_timeout: seconds(60),
            attempts: 3,
            window: seconds(600),
            backoff: Backoff { first: seconds(1), max: seconds(60) },
        }
    );
    assert_eq!(good(""), Config { link: Link::Vsock, groups: Vec::new() });
}

#[test]
fn a_managed_group_is_read() {
    let managed = |keys: &str| {
        let text = process("").replacen("name =", &format!("managed = true\n{keys}\nname ="), 1);
        good(&text).groups.remove(0).managed.expect("it is managed")
    };
    let plain = Managed {
        on_lost_host: OnLostHost::Stop,
        before_online: vec![],
        after_offline: vec![],
        ready: vec![],
        hook_timeout: seconds(60),
    };
    assert_eq!(managed(""), plain);
    let keys = "on_lost_host = \"keep\"\nbefore_online = [\"/sbin/promote\", \"now\"]\n\
                after_offline = [\"/sbin/demote\"]\nready = [\"/sbin/lag\"]\nhook_timeout = \"5m\"";
    let full = managed(keys);
    assert_eq!((full.on_lost_host, full.hook_timeout), (OnLostHost::Keep, seconds(300)));
    let words = Hook::ALL.map(|hook| full.command(hook).join(" "));
    assert_eq!(words, ["/sbin/promote now", "/sbin/demote", "/sbin/lag"]);
    let off = process("").replacen("name =", "managed = false\nname =", 1);
    assert_eq!(good(&off).groups[0].managed, None);
}

#[test]
fn mistakes_in_the_keys_of_a_managed_group() {
    let with = |keys: &str| bad(&process("").replacen("name =", &format!("{keys}\nname ="), 1));
    for (keys, message) in [
        ("managed = \"yes\"", "'managed' holds a text: write managed = true"),
        (
            "managed = true\non_lost_host = \"die\"",
            "'on_lost_host' is 'die': write on_lost_host = \"stop\" or \"keep\"",
        ),
        ("managed = true\nready = []", "'ready' is empty: write the program's path and its arguments"),
        (
            "managed = true\nbefore_online = [\"promote\"]",
            "'before_online' names 'promote', which is not absolute",
        ),
        ("managed = true\nhook_timeout = \"1ms\"", "'hook_timeout' is 1ms: write \"100ms\" or more"),
        (
            "ready = [\"/bin/true\"]",
            "'ready' belongs to a group that its host orders online and offline: write managed = true beside it",
        ),
        ("managed = false\nhook_timeout = \"1m\"", "'hook_timeout' belongs to a group that its host orders"),
    ] {
        let told = with(keys);
        assert!(told.contains(message), "{keys}: {told}");
    }
    let alone = format!("[controller]\nlink = \"none\"\n{}", process(""));
    let told = bad(&alone.replacen("name =", "managed = true\nname =", 1));
    assert!(told.contains("nobody could order it online"), "{told}");
    assert!(told.starts_with("line 4: "), "{told}");
}

#[test]
fn every_link_is_read() {
    assert_eq!(good("[controller]\nlink = \"vsock\"").link, Link::Vsock);
    assert_eq!(good("[controller]\nlink = \"none\"").link, Link::None);
    assert_eq!(good("[controller]\nlink = \"unix:/s\"").link, Link::Unix("/s".into()));
    assert_eq!(good("[controller]").link, Link::Vsock);
    let head = "[controller]\nlink = \"tcp\"\nkey = \"/k\"\n";
    let hosts =
        ["10.0.0.1:962", "10.0.0.2:963", "[fd00::1]:962"].map(|host| host.parse().expect("an address"));
    let tcp = Tcp { hosts: hosts.to_vec(), key: "/k".into(), machine: None };
    let text = format!("{head}hosts = [\"10.0.0.1\", \"10.0.0.2:963\", \"fd00::1\"]\n");
    assert_eq!(good(&text).link, Link::Tcp(tcp.clone()));
    let named = Tcp { machine: Some("db3".to_owned()), ..tcp };
    assert_eq!(good(&(text + "machine = \"db3\"")).link, Link::Tcp(named));
}

#[test]
fn a_link_over_tcp_has_hosts_and_a_key_and_no_other_link_has() {
    let all: Vec<String> = (0..=MAX_HOSTS).map(|nth| format!("\"10.0.0.{nth}\"")).collect();
    let many = format!("link = \"tcp\"\nkey = \"/k\"\nhosts = [{}]", all.join(", "));
    for (keys, message) in [
        ("link = \"tcp\"\nkey = \"/k\"", "[controller] has no 'hosts': write hosts = [\"10.0.0.1\""),
        (
            "link = \"tcp\"\nhosts = [\"10.0.0.1\"]",
            "[controller] has no 'key': write key = \"/etc/roost/guest.key\"",
        ),
        ("link = \"tcp\"\nhosts = []\nkey = \"/k\"", "'hosts' names none"),
        ("link = \"tcp\"\nhosts = [\"hv1\"]\nkey = \"/k\"", "'hosts' names 'hv1', which is no address"),
        ("link = \"tcp\"\nhosts = [\"10.0.0.1\", \"10.0.0.1:962\"]\nkey = \"/k\"", "'10.0.0.1:962' twice"),
        ("link = \"tcp\"\nhosts = [\"10.0.0.1\"]\nkey = \"k\"", "'key' names 'k', which is not absolute"),
        ("link = \"tcp\"\nhosts = [\"10.0.0.1\"]\nkey = \"/k\"\nmachine = \"a b\"", "'a b' is no name"),
        ("key = \"/k\"", "'key' belongs to a link over TCP: write link = \"tcp\" beside it"),
        ("link = \"vsock\"\nmachine = \"db3\"", "'machine' belongs to a link over TCP"),
        (many.as_str(), "'hosts' has 29 addresses, and may have 28"),
    ] {
        let told = bad(&format!("[controller]\n{keys}\n"));
        assert!(told.contains(message), "{keys}: {told}");
    }
}

#[test]
fn every_kind_is_read() {
    let kind = |keys: &str| first(&resource(keys)).kind;
    assert_eq!(
        kind("kind = \"systemd:postgresql@15-main.service\""),
        Kind::Systemd { unit: "postgresql@15-main.service".into() }
    );
    assert_eq!(kind("kind = \"lsb:nginx\""), Kind::Lsb { script: "nginx".into() });
    assert_eq!(
        kind("kind = \"exec\"\nstart = [\"/a\", \"1\"]\nstop = [\"/b\"]\nmonitor = [\"/c\"]"),
        Kind::Exec {
            start: vec!["/a".into(), "1".into()],
            stop: vec!["/b".into()],
            monitor: vec!["/c".into()]
        }
    );
    for address in ["127.0.0.1:80", "[::1]:8080"] {
        let wanted = Kind::Tcp { address: address.parse().expect("an address") };
        assert_eq!(kind(&format!("kind = \"tcp\"\naddress = \"{address}\"")), wanted);
    }
    assert_eq!(
        kind("kind = \"file\"\npath = \"/run/beat\"\nmax_age = \"5m\""),
        Kind::File { path: "/run/beat".into(), max_age: seconds(300) }
    );
    assert_eq!(
        kind("kind = \"mount\"\nsource = \"tmpfs\"\ntarget = \"/mnt/x\""),
        Kind::Mount {
            source: "tmpfs".into(),
            target: "/mnt/x".into(),
            fstype: String::new(),
            options: String::new()
        }
    );
}

#[test]
fn urls_are_taken_apart() {
    let http = |url: &str| match first(&resource(&format!("kind = \"http\"\nurl = \"{url}\""))).kind {
        Kind::Http(http) => http,
        other => panic!("{other:?}"),
    };
    let is = |url: &str, address: &str, host: &str, path: &str| {
        let wanted = Http {
            address: address.parse().expect("an address"),
            host: host.into(),
            path: path.into(),
            status: None,
        };
        assert_eq!(http(url), wanted);
    };
    is("http://127.0.0.1/", "127.0.0.1:80", "127.0.0.1", "/");
    is("http://127.0.0.1", "127.0.0.1:80", "127.0.0.1", "/");
    is("http://localhost:8080/a/b?c=d", "127.0.0.1:8080", "localhost:8080", "/a/b?c=d");
    is("http://localhost?x", "127.0.0.1:80", "localhost", "/?x");
    is("http://[::1]:81/", "[::1]:81", "[::1]:81", "/");
    is("http://[::1]/x:y", "[::1]:80", "[::1]", "/x:y");
    let status = first(&resource("kind = \"http\"\nurl = \"http://localhost\"\nstatus = 204")).kind;
    assert!(matches!(status, Kind::Http(Http { status: Some(204), .. })));
}

#[test]
fn signals_may_be_written_in_full() {
    for (written, signal) in [("TERM", libc::SIGTERM), ("SIGHUP", libc::SIGHUP), ("KILL", libc::SIGKILL)] {
        let Kind::Process(process) = first(&process(&format!("stop_signal = \"{written}\""))).kind else {
            panic!("a process")
        };
        assert_eq!(process.stop_signal, signal);
    }
}

/// Each mistake with the whole of what is said about it.
#[test]
fn mistakes_are_told_with_their_line_and_what_to_write_instead() {
    let name_rule = "a name is 1 to 64 letters, digits, '.', '_' or '-', and starts with a letter or digit";
    let kinds = "\"process\", \"systemd:UNIT\", \"ocf:PROVIDER:TYPE\", \"lsb:NAME\", \"exec\", \"tcp\", \"http\", \
                 \"file\" or \"mount\"";
    let cases: &[(&str, &str)] = &[
        // The file and its tables.
        ("[[groups]]", "line 1: unknown key 'groups' (did you mean 'group'?)"),
        ("\ncolour = 1", "line 2: unknown key 'colour'; the file may hold controller, group"),
        ("[controller]\nlnk = 1", "line 2: unknown key 'lnk' (did you mean 'link'?)"),
        ("controller = 1", "line 1: 'controller' is no table: write [controller], and below it"),
        ("group = 1", "line 1: 'group' is a whole number: write [[group]], with two brackets"),
        ("[group]\nname = \"x\"", "line 1: 'group' is a table: write [[group]], with two brackets"),
        ("group = [1]", "line 1: 'group' holds a whole number: write each as [[group]]"),
        (
            "[[group]]\nname = \"x\"",
            "line 1: a group without resources keeps nothing running: write [[group.resource]] below it, or leave it out",
        ),
        (
            "[[group]]\nname = \"x\"\nresource = 1",
            "line 3: 'resource' is a whole number: write [[group.resource]], with two brackets",
        ),
        // The link.
        (
            "[controller]\nlink = \"udp\"",
            "line 2: 'link' is 'udp': write link = \"vsock\", \"unix:/run/roost/guest.sock\", \"tcp\" or \"none\"",
        ),
        (
            "[controller]\nlink = 1",
            "line 2: 'link' holds a whole number: write link = \"vsock\", \"unix:/run/roost/guest.sock\", \"tcp\" or \"none\"",
        ),
        (
            "[controller]\nlink = \"unix:run/x\"",
            "line 2: 'link' names 'run/x', which is not absolute: write the whole path, from '/'",
        ),
    ];
    for (text, said) in cases {
        assert_eq!(&bad(text), said, "{text}");
    }
    let long = format!("[controller]\nlink = \"unix:/{}\"", "x".repeat(107));
    assert_eq!(bad(&long), "line 2: 'link' names a socket of 108 bytes: choose a path of at most 107");

    // Keys of a group; the resource is good.
    let group =
        |keys: &str| format!("[[group]]\n{keys}\n[[group.resource]]\nname = \"r\"\nkind = \"lsb:r\"\n");
    let cases: &[(&str, &str)] = &[
        ("", "line 1: [[group]] has no 'name': write name = \"site\""),
        ("name = 1", "line 2: 'name' holds a whole number: write name = \"site\""),
        ("name = \"x\"\nrestarts = -1", "line 3: 'restarts' is -1: write a whole number from 0 to 1000"),
        ("name = \"x\"\nrestarts = 1001", "line 3: 'restarts' is 1001: write a whole number from 0 to 1000"),
        ("name = \"x\"\nrestarts = \"1\"", "line 3: 'restarts' holds a text: write restarts = 0"),
        ("name = \"x\"\nrestart = 1", "line 3: unknown key 'restart' (did you mean 'restarts'?)"),
        (
            "name = \"x\"\ntimeout = \"3s\"",
            "line 3: 'timeout' belongs to [[group.resource]], not to [[group]]: put it below that",
        ),
        (
            "name = \"x\"\nwindow = \"60\"",
            "line 3: 'window': '60' is not a duration: write a whole number and a unit (ms, s, m, h, d), at most 366d, \
             as in \"10s\"",
        ),
        (
            "name = \"x\"\nwindow = \"5m\"",
            "line 3: 'window' is 5m, and restarts = 1 with the attempts of the resources takes 563s when all end at their limits: the first would be forgotten before the last, and no fault ever raised; write window = \
             \"10m\" or more",
        ),
    ];
    for (keys, said) in cases {
        assert_eq!(&bad(&group(keys)), said, "{keys}");
    }
    assert_eq!(bad(&group("name = \"a b\"")), format!("line 2: 'a b' is no name: {name_rule}"));

    // The kind.
    let cases: &[(&str, String)] = &[
        ("", "line 4: [[group.resource]] has no 'kind': write kind = \"process\"".into()),
        ("kind = 1", "line 6: 'kind' holds a whole number: write kind = \"process\"".into()),
        ("kind = \"proces\"", format!("line 6: 'kind' is 'proces' (did you mean 'process'?): write {kinds}")),
        ("kind = \"thing\"", format!("line 6: 'kind' is 'thing': write {kinds}")),
        ("kind = \"process:x\"", format!("line 6: 'kind' is 'process:x': write {kinds}")),
        ("kind = \"systemd\"", format!("line 6: 'kind' is 'systemd': write {kinds}")),
        (
            "kind = \"systemd:nginx\"",
            "line 6: 'nginx' does not say what kind of unit it is: write kind = \"systemd:nginx.service\"".into(),
        ),
        (
            "kind = \"systemd:-x.service\"",
            "line 6: '-x.service' is no unit's name: write it as systemctl shows it, as in kind = \
             \"systemd:nginx.service\""
                .into(),
        ),
        (
            "kind = \"ocf:Dummy\"",
            "line 6: 'ocf:Dummy' names no agent: write kind = \"ocf:PROVIDER:TYPE\", as in \"ocf:heartbeat:Filesystem\""
                .into(),
        ),
        (
            "kind = \"ocf:../x:y\"",
            "line 6: 'ocf:../x:y' names no agent: write kind = \"ocf:PROVIDER:TYPE\", as in \"ocf:heartbeat:Filesystem\""
                .into(),
        ),
        (
            "kind = \"lsb:../../bin/sh\"",
            "line 6: '../../bin/sh' is no init script's name: write that of a file in /etc/init.d, as in kind = \
             \"lsb:nginx\""
                .into(),
        ),
        (
            "kind = \"tcp\"\naddress = \"127.0.0.1:1\"\ncommand = [\"/x\"]",
            "line 8: 'command' belongs to kind process and not to tcp, which has address: leave it out".into(),
        ),
        (
            "kind = \"lsb:x\"\nurl = \"http://localhost\"",
            "line 7: 'url' belongs to kind http and not to lsb, which has no keys of its own: leave it out".into(),
        ),
        (
            "kind = \"lsb:x\"\nintervall = \"1s\"",
            "line 7: unknown key 'intervall' (did you mean 'interval'?)".into(),
        ),
    ];
    for (keys, said) in cases {
        assert_eq!(&bad(&resource(keys)), said, "{keys}");
    }
}

#[test]
fn mistakes_in_the_keys_of_all_kinds() {
    let cases: &[(&str, &str)] = &[
        (
            "interval = 10",
            "'interval' has no unit: write a whole number and ms, s, m, h or d in quotes, as in interval = \"10s\"",
        ),
        ("interval = \"50ms\"", "'interval' is 50ms: write \"100ms\" or more, as in interval = \"10s\""),
        ("interval = true", "'interval' holds true or false: write interval = \"10s\""),
        ("timeout = \"0s\"", "'timeout' is 0s: write \"100ms\" or more, as in timeout = \"20s\""),
        (
            "start_timeout = \"0s\"",
            "'start_timeout' is 0s: write \"100ms\" or more, as in start_timeout = \"1m\"",
        ),
        (
            "stop_timeout = \"0s\"",
            "'stop_timeout' is 0s: write \"100ms\" or more, as in stop_timeout = \"1m\"",
        ),
        ("backoff = \"1ms\"", "'backoff' is 1ms: write \"100ms\" or more, as in backoff = \"1s\""),
        ("window = \"0s\"", "'window' is 0s: write \"100ms\" or more, as in window = \"10m\""),
        ("attempts = 1.5", "'attempts' holds a number with a fraction: write attempts = 0"),
        ("attempts = 4000", "'attempts' is 4000: write a whole number from 0 to 1000"),
        (
            "backoff = \"2m\"",
            "'backoff' is 2m and 'backoff_max' is 1m: the first wait cannot be longer than the longest; write backoff_max \
             = \"2m\" or more",
        ),
        (
            "backoff = \"5s\"\nbackoff_max = \"1s\"",
            "'backoff' is 5s and 'backoff_max' is 1s: the first wait cannot be longer than the longest; write backoff_max \
             = \"5s\" or more",
        ),
        (
            "attempts = 100",
            "'window' is 10m, and attempts = 100 takes 5643s when each ends at its limits: the first would be forgotten before \
             the last, and no fault ever raised; write window = \"95m\" or more",
        ),
        (
            "attempts = 1000\nbackoff_max = \"366d\"",
            "'window' is 10m, and attempts = 1000 takes 30833772031s when each ends at its limits: the first would be forgotten \
             before the last, and no fault ever raised; fewer attempts or shorter times are needed",
        ),
        ("needs = \"db\"", "'needs' holds a text: write needs = [\"data\"]"),
        ("needs = [1]", "'needs' holds a whole number: write needs = [\"data\"]"),
        (
            "needs = [\"\"]",
            "'' is no name: a name is 1 to 64 letters, digits, '.', '_' or '-', and starts with a letter or digit",
        ),
        ("needs = [\"db\"]", "'needs' names 'db', and group 'site' has no such resource; there are web"),
        (
            "needs = [\"wbe\"]",
            "'needs' names 'wbe', and group 'site' has no such resource (did you mean 'web'?)",
        ),
        ("needs = [\"web\"]", "'needs' goes in a circle: web -> web: take one of them out"),
        ("needs = [\"web\", \"web\"]", "'needs' names 'web' twice: leave one out"),
    ];
    for (keys, said) in cases {
        assert_eq!(bad(&process(keys)), format!("line 8: {said}"), "{keys}");
    }
}

#[test]
fn mistakes_in_the_keys_of_each_kind() {
    let exec = "kind = \"exec\"\nstart = [\"/a\"]\nstop = [\"/b\"]\nmonitor = [\"/c\"]";
    let ocf = "kind = \"ocf:heartbeat:Dummy\"";
    let cases: &[(usize, String, &str)] = &[
        (
            4,
            "kind = \"process\"".into(),
            "[[group.resource]] has no 'command': write command = [\"/usr/sbin/nginx\", \"-g\", \"daemon off;\"]",
        ),
        (
            7,
            "kind = \"process\"\ncommand = \"/x\"".into(),
            "'command' holds a text: write command = [\"/usr/sbin/nginx\", \"-g\", \"daemon off;\"]",
        ),
        (
            7,
            "kind = \"process\"\ncommand = []".into(),
            "'command' is empty: write the program's path and its arguments",
        ),
        (
            7,
            "kind = \"process\"\ncommand = [\"nginx\"]".into(),
            "'command' names 'nginx', which is not absolute: write the whole path, from '/'",
        ),
        (
            7,
            "kind = \"process\"\ncommand = [\"/x\", 1]".into(),
            "'command' holds a whole number: write command = [\"/usr/sbin/nginx\", \"-g\", \"daemon off;\"]",
        ),
        (
            7,
            "kind = \"process\"\ncommand = [\"/x\", \"a\\u0000b\"]".into(),
            "'command' holds a zero byte, which no program could be given: leave it out",
        ),
        (
            8,
            "kind = \"process\"\ncommand = [\"/x\"]\ndirectory = \"srv\"".into(),
            "'directory' names 'srv', which is not absolute: write the whole path, from '/'",
        ),
        (
            8,
            "kind = \"process\"\ncommand = [\"/x\"]\ndirectory = \"/a\\nb\"".into(),
            "'directory' names '/a b', with a control character in it: choose a path without",
        ),
        (
            8,
            "kind = \"process\"\ncommand = [\"/x\"]\nuser = \"\"".into(),
            "'user' is '', no user's name: write one, as in user = \"www-data\"",
        ),
        (
            8,
            "kind = \"process\"\ncommand = [\"/x\"]\nuser = \"a:b\"".into(),
            "'user' is 'a:b', no user's name: write one, as in user = \"www-data\"",
        ),
        (
            8,
            "kind = \"process\"\ncommand = [\"/x\"]\nuser = 1000".into(),
            "'user' holds a whole number: write user = \"www-data\"",
        ),
        (
            8,
            "kind = \"process\"\ncommand = [\"/x\"]\nenvironment = [\"A=B\"]".into(),
            "'environment' holds a list: write environment = { PORT = \"80\" }",
        ),
        (
            8,
            "kind = \"process\"\ncommand = [\"/x\"]\nenvironment = { 1A = \"x\" }".into(),
            "'1A' in 'environment' is no name of a variable: write letters, digits and '_', the first no digit",
        ),
        (
            8,
            "kind = \"process\"\ncommand = [\"/x\"]\nenvironment = { A = 1 }".into(),
            "'A' holds a whole number: write A = \"80\"",
        ),
        (
            8,
            "kind = \"process\"\ncommand = [\"/x\"]\noutput = \"file\"".into(),
            "'output' is 'file': write output = \"capture\" or \"/var/log/web.log\"",
        ),
        (
            8,
            "kind = \"process\"\ncommand = [\"/x\"]\noutput = \"/var/log/\"".into(),
            "'output' is '/var/log/': write output = \"capture\" or \"/var/log/web.log\"",
        ),
        (
            8,
            "kind = \"process\"\ncommand = [\"/x\"]\nstop_signal = \"SEGV\"".into(),
            "'stop_signal' is 'SEGV': write one of TERM, INT, QUIT, HUP, USR1, USR2, WINCH, PWR, KILL",
        ),
        (
            8,
            "kind = \"process\"\ncommand = [\"/x\"]\nstop_signal = 15".into(),
            "'stop_signal' holds a whole number: write stop_signal = \"TERM\"",
        ),
        (
            4,
            exec.replace("stop = [\"/b\"]\n", ""),
            "[[group.resource]] has no 'stop': write stop = [\"/usr/sbin/nginx\", \"-g\", \"daemon off;\"]",
        ),
        (
            4,
            exec.replace("monitor = [\"/c\"]", ""),
            "[[group.resource]] has no 'monitor': write monitor = [\"/usr/sbin/nginx\", \"-g\", \"daemon off;\"]",
        ),
        (
            10,
            format!("{exec}\ninterval = \"0s\""),
            "'interval' is 0s, and the kernel tells nothing about this kind: it would never be looked at; write interval = \"10s\"",
        ),
        (
            7,
            format!("{ocf}\nparameters = 1"),
            "'parameters' holds a whole number: write parameters = { ip = \"192.0.2.10\" }",
        ),
        (
            7,
            format!("{ocf}\nparameters = {{ a-b = \"x\" }}"),
            "'a-b' in 'parameters' is no name of a parameter: write letters, digits and '_', the first no digit",
        ),
        (
            7,
            format!("{ocf}\nparameters = {{ CRM_meta_timeout = \"1\" }}"),
            "'parameters' holds 'CRM_meta_timeout', which the controller sets itself: leave it out",
        ),
        (4, "kind = \"tcp\"".into(), "[[group.resource]] has no 'address': write address = \"127.0.0.1:80\""),
        (
            7,
            "kind = \"tcp\"\naddress = \"localhost:80\"".into(),
            "'address' is 'localhost:80': write an IP address and a port, as in address = \"127.0.0.1:80\" or \"[::1]:80\"",
        ),
        (
            7,
            "kind = \"tcp\"\naddress = \"127.0.0.1:0\"".into(),
            "'address' is '127.0.0.1:0': write an IP address and a port, as in address = \"127.0.0.1:80\" or \"[::1]:80\"",
        ),
        (
            4,
            "kind = \"http\"".into(),
            "[[group.resource]] has no 'url': write url = \"http://127.0.0.1:80/health\"",
        ),
        (
            7,
            "kind = \"http\"\nurl = \"127.0.0.1\"".into(),
            "'url' is '127.0.0.1': write a URL with http, as in url = \"http://127.0.0.1:80/health\"",
        ),
        (
            7,
            "kind = \"http\"\nurl = \"https://127.0.0.1\"".into(),
            "'url' is 'https://127.0.0.1', and TLS is not spoken: write a URL with http, or a check of kind exec, as in url = \"http://127.0.0.1:80/health\"",
        ),
        (
            7,
            "kind = \"http\"\nurl = \"http://example.com/\"".into(),
            "'url' is 'http://example.com/': write an IP address or localhost as its host, for names are not looked up, as in url = \"http://127.0.0.1:80/health\"",
        ),
        (
            7,
            "kind = \"http\"\nurl = \"http://::1/\"".into(),
            "'url' is 'http://::1/': write an IP address or localhost as its host, for names are not looked up, as in url = \"http://127.0.0.1:80/health\"",
        ),
        (
            7,
            "kind = \"http\"\nurl = \"http://127.0.0.1:0/\"".into(),
            "'url' is 'http://127.0.0.1:0/': write an IP address or localhost as its host, for names are not looked up, as in url = \"http://127.0.0.1:80/health\"",
        ),
        (
            7,
            "kind = \"http\"\nurl = \"http://127.0.0.1/a b\"".into(),
            "'url' is 'http://127.0.0.1/a b': write a URL without spaces, '#', '@' and letters that are not ASCII, as in url = \"http://127.0.0.1:80/health\"",
        ),
        (
            7,
            "kind = \"http\"\nurl = \"http://me@127.0.0.1/\"".into(),
            "'url' is 'http://me@127.0.0.1/': write a URL without spaces, '#', '@' and letters that are not ASCII, as in url = \"http://127.0.0.1:80/health\"",
        ),
        (
            8,
            "kind = \"http\"\nurl = \"http://localhost\"\nstatus = 99".into(),
            "'status' is 99: write a whole number from 200 to 599",
        ),
        (
            8,
            "kind = \"http\"\nurl = \"http://localhost\"\ninterval = \"0s\"".into(),
            "'interval' is 0s, and the kernel tells nothing about this kind: it would never be looked at; write interval = \"10s\"",
        ),
        (
            4,
            "kind = \"file\"\nmax_age = \"5m\"".into(),
            "[[group.resource]] has no 'path': write path = \"/run/app/heartbeat\"",
        ),
        (
            4,
            "kind = \"file\"\npath = \"/x\"".into(),
            "[[group.resource]] has no 'max_age': write max_age = \"5m\"",
        ),
        (
            8,
            "kind = \"file\"\npath = \"/x\"\nmax_age = 300".into(),
            "'max_age' has no unit: write a whole number and ms, s, m, h or d in quotes, as in max_age = \"5m\"",
        ),
        (
            8,
            "kind = \"file\"\npath = \"/x\"\nmax_age = \"5s\"".into(),
            "'max_age' is 5s and the file is looked at each 10s: write max_age = \"10s\" or more, or interval = \"5s\" or less",
        ),
        (
            4,
            "kind = \"mount\"\ntarget = \"/srv\"".into(),
            "[[group.resource]] has no 'source': write source = \"/dev/vdb\"",
        ),
        (
            4,
            "kind = \"mount\"\nsource = \"x\"".into(),
            "[[group.resource]] has no 'target': write target = \"/srv\"",
        ),
        (
            7,
            "kind = \"mount\"\nsource = \"\"\ntarget = \"/srv\"".into(),
            "'source' is empty: write what is mounted, as in source = \"/dev/vdb\"",
        ),
        (
            7,
            "kind = \"mount\"\nsource = \"-a\"\ntarget = \"/srv\"".into(),
            "'source' is '-a': write it without a '-' in front and without control characters",
        ),
        (
            8,
            "kind = \"mount\"\nsource = \"x\"\ntarget = \"srv\"".into(),
            "'target' names 'srv', which is not absolute: write the whole path, from '/'",
        ),
        (
            8,
            "kind = \"mount\"\nsource = \"x\"\ntarget = \"/srv/\"".into(),
            "'target' is '/srv/', and is compared with what the kernel shows: write it without '.', '..', '//' and a '/' at its end, as in target = \"/srv\"",
        ),
        (
            8,
            "kind = \"mount\"\nsource = \"x\"\ntarget = \"/\"".into(),
            "'target' is '/', and is compared with what the kernel shows: write it without '.', '..', '//' and a '/' at its end, as in target = \"/srv\"",
        ),
        (
            9,
            "kind = \"mount\"\nsource = \"x\"\ntarget = \"/srv\"\nfstype = \"-t\"".into(),
            "'fstype' is '-t': write it without a '-' in front and without control characters",
        ),
        (
            9,
            "kind = \"mount\"\nsource = \"x\"\ntarget = \"/srv\"\noptions = \"-o\"".into(),
            "'options' is '-o': write it without a '-' in front and without control characters",
        ),
    ];
    for (line, keys, said) in cases {
        assert_eq!(bad(&resource(keys)), format!("line {line}: {said}"), "{keys}");
    }
    let no_name = "[[group]]\nname = \"g\"\n[[group.resource]]\nkind = \"lsb:x\"";
    assert_eq!(bad(no_name), "line 3: [[group.resource]] has no 'name': write name = \"web\"");
}

#[test]
fn plain_targets_of_mounts() {
    for target in ["/srv", "/srv/www-data", "/a b"] {
        good(&resource(&format!("kind = \"mount\"\nsource = \"x\"\ntarget = \"{target}\"")));
    }
    for target in ["/a//b", "/a/./b", "/a/../b", "/a/."] {
        assert!(
            bad(&resource(&format!("kind = \"mount\"\nsource = \"x\"\ntarget = \"{target}\"")))
                .contains("//")
        );
    }
}

#[test]
fn names_are_unique() {
    let r = |name: &str| format!("[[group.resource]]\nname = \"{name}\"\nkind = \"lsb:x\"\n");
    let text = format!("[[group]]\nname = \"a\"\n{}{}", r("one"), r("one"));
    assert_eq!(bad(&text), "line 7: two resources of group 'a' are called 'one': give each its own name");
    let text = format!("[[group]]\nname = \"a\"\n{}[[group]]\nname = \"a\"\n{}", r("one"), r("one"));
    assert_eq!(bad(&text), "line 7: two groups are called 'a': give each its own name");
    let text = format!("[[group]]\nname = \"a\"\n{}[[group]]\nname = \"b\"\n{}", r("one"), r("one"));
    assert_eq!(good(&text).groups.len(), 2, "names of resources are those of their group");
}

#[test]
fn a_circle_is_named() {
    let r = |name: &str, needs: &str| {
        format!("[[group.resource]]\nname = \"{name}\"\nkind = \"lsb:x\"\nneeds = [{needs}]\n")
    };
    let text = format!(
        "[[group]]\nname = \"a\"\n{}{}{}{}",
        r("front", "\"web\""),
        r("web", "\"free\", \"db\""),
        r("db", "\"web\""),
        r("free", "")
    );
    assert_eq!(bad(&text), "line 10: 'needs' goes in a circle: web -> db -> web: take one of them out");
}

#[test]
fn mistakes_of_toml_itself_have_their_line() {
    assert!(bad("a = 1\na = 2").starts_with("line 2: duplicate key"), "{}", bad("a = 1\na = 2"));
    assert!(bad("[controller\n").starts_with("line 1: "), "{}", bad("[controller\n"));
    assert!(bad("x = \"open\n").starts_with("line 1: "));
}

#[test]
fn several_mistakes_are_told_together_by_line() {
    let text = "[controller]\nlink = 1\ncolour = 2\n[[group]]\nname = \"a\"\nrestarts = -1\n\
                [[group.resource]]\nname = \"one\"\nkind = \"process\"\ncommnd = [\"/x\"]\ntimeout = 3\n\
                [[group.resource]]\nname = \"two\"\nkind = \"lsb:x\"\ntimeout = 4\n";
    let error: ConfigError = parse(text).expect_err("bad");
    let lines: Vec<usize> = error.mistakes().iter().map(|mistake| mistake.line).collect();
    // The process has no command (told at its header, line 7), and an unknown key.
    assert_eq!(lines, [2, 3, 6, 7, 10, 15], "{error}");
    assert_eq!(error.to_string().lines().count(), 6);
    let many: String = (0..100).map(|nth| format!("key{nth} = 1\n")).collect();
    assert_eq!(parse(&many).expect_err("bad").mistakes().len(), MAX_MISTAKES);
}

#[test]
fn one_mistake_makes_no_others() {
    let text = "[[group]]\nname = \"a\"\n[[group.resource]]\nname = \"db\"\nkind = \"lsb:x\"\ntimeout = 3\n\
                [[group.resource]]\nname = \"web\"\nkind = \"lsb:x\"\nneeds = [\"db\"]\n";
    assert_eq!(bad(text).lines().count(), 1, "{}", bad(text));
}

#[test]
fn limits_are_exact() {
    let lines = |count: usize, name: &str, rest: &str| -> String {
        (0..count).map(|nth| format!("{name}\nname = \"r{nth}\"\n{rest}")).collect()
    };
    let group = |resources: usize| {
        format!("[[group]]\nname = \"a\"\n{}", lines(resources, "[[group.resource]]", "kind = \"lsb:x\"\n"))
    };
    assert_eq!(good(&group(MAX_RESOURCES)).groups[0].resources.len(), MAX_RESOURCES);
    assert_eq!(
        bad(&group(MAX_RESOURCES + 1)),
        "line 195: there are more than 64 [[group.resource]] here: leave some out"
    );
    let groups = |count| lines(count, "[[group]]", "[[group.resource]]\nname = \"x\"\nkind = \"lsb:x\"\n");
    assert_eq!(good(&groups(MAX_GROUPS)).groups.len(), MAX_GROUPS);
    assert!(bad(&groups(MAX_GROUPS + 1)).contains("there are more than 64 [[group]] here"));

    let words =
        |count: usize| resource(&format!("kind = \"process\"\ncommand = [{}]", "\"/x\", ".repeat(count)));
    good(&words(MAX_ARGUMENTS));
    assert!(bad(&words(MAX_ARGUMENTS + 1)).contains("'command' has 257 words, and may have 256"));

    let variables = |count: usize| {
        let all: Vec<String> = (0..count).map(|nth| format!("A{nth} = \"x\"")).collect();
        process(&format!("environment = {{ {} }}", all.join(", ")))
    };
    good(&variables(MAX_VARIABLES));
    assert!(bad(&variables(MAX_VARIABLES + 1)).contains("'environment' holds 129 values, and may hold 128"));

    let text = |length: usize| process(&format!("environment = {{ A = \"{}\" }}", "x".repeat(length)));
    good(&text(MAX_TEXT));
    assert!(bad(&text(MAX_TEXT + 1)).contains("'A' has 4096 bytes, and may have 4095"));

    let file = |length: usize| "#".repeat(length);
    good(&file(MAX_FILE));
    assert_eq!(bad(&file(MAX_FILE + 1)), "line 1: the file has 262145 bytes, and may have 262144");

    let attempts = |count: u32| process(&format!("attempts = {count}\nwindow = \"2d\"\nbackoff = \"100ms\""));
    let text = attempts(MAX_ATTEMPTS).replacen("name = \"site\"", "name = \"site\"\nwindow = \"9d\"", 1);
    assert_eq!(first(&text).attempts, MAX_ATTEMPTS);
}

#[test]
fn a_name_in_a_message_is_cut_and_defused() {
    let text = format!("\"\\u001b[31m{}\" = 1", "x".repeat(200));
    let said = bad(&text);
    assert!(said.len() < 200 && !said.contains('\u{1b}'), "{said}");
}

#[test]
fn what_is_started_has_its_own_fingerprint_which_never_changes() {
    let of = |keys: &str| first(&resource(keys)).fingerprint();
    let process = "kind = \"process\"\ncommand = [\"/bin/d\", \"-x\"]\n";
    let found = [
        of(process),
        of("kind = \"systemd:a.service\""),
        of("kind = \"ocf:heartbeat:Dummy\"\nparameters = { a = \"b\" }"),
        of("kind = \"lsb:a\""),
        of("kind = \"exec\"\nstart = [\"/a\"]\nstop = [\"/b\"]\nmonitor = [\"/c\"]"),
        of("kind = \"tcp\"\naddress = \"127.0.0.1:80\""),
        of("kind = \"mount\"\nsource = \"/dev/vdb\"\ntarget = \"/srv\""),
    ];
    // Frozen: with another number, an upgraded controller restarts the applications that it finds.
    let frozen = [
        0x847f_baca_dde4_5364,
        0x82cf_89d4_fcfe_da5e,
        0xa9bd_6448_588f_bf03,
        0x73d4_0f60_7f1b_3ba9,
        0x31d4_bc44_1148_9237,
        0xaf63_bb4c_8601_b479,
        0x7a6b_a7e5_3693_b707,
    ];
    assert_eq!(found, frozen, "{found:#018x?}");
}

#[test]
fn only_what_is_started_changes_the_fingerprint() {
    let of = |keys: &str| first(&process(keys)).fingerprint();
    let plain = of("");
    for same in [
        "interval = \"3s\"",
        "timeout = \"3s\"",
        "start_timeout = \"3s\"",
        "stop_timeout = \"3s\"",
        "attempts = 1",
        "window = \"20m\"",
        "backoff = \"2s\"",
        "backoff_max = \"70s\"",
        "stop_signal = \"INT\"",
        "output = \"capture\"",
        "directory = \"/\"",
    ] {
        assert_eq!(of(same), plain, "{same}");
    }
    let mut all = vec![plain];
    for other in [
        "directory = \"/srv\"",
        "user = \"nobody\"",
        "environment = { A = \"b\" }",
        "environment = { A = \"\", b = \"\" }",
        "environment = { Ab = \"\" }",
        "output = \"/log\"",
    ] {
        all.push(of(other));
    }
    for command in
        ["[\"/bin/d\", \"\"]", "[\"/bin/d\", \"a\", \"b\"]", "[\"/bin/d\", \"ab\"]", "[\"/bin/da\", \"b\"]"]
    {
        all.push(first(&resource(&format!("kind = \"process\"\ncommand = {command}"))).fingerprint());
    }
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);

    let exec = "kind = \"exec\"\nstart = [\"/a\"]\nstop = [\"/b\"]\nmonitor = [\"/c\"]";
    let of = |keys: &str| first(&resource(keys)).fingerprint();
    assert_eq!(of(exec), of(&exec.replace("/b", "/x").replace("/c", "/y")));
    assert_ne!(of(exec), of(&exec.replace("/a", "/x")));
    assert_eq!(
        of("kind = \"tcp\"\naddress = \"127.0.0.1:80\""),
        of("kind = \"http\"\nurl = \"http://localhost\""),
        "a probe starts nothing"
    );
}

#[test]
fn every_key_of_the_tables_is_one_that_the_parser_knows() {
    for section in &KEYS {
        for key in section.keys {
            let text = match section.header {
                "" => format!("{key} = true"),
                "[controller]" => format!("[controller]\n{key} = true"),
                "[[group]]" => format!("[[group]]\n{key} = true"),
                "[[group.resource]]" => {
                    format!("[[group]]\n[[group.resource]]\nkind = \"lsb:x\"\n{key} = true")
                }
                kind => {
                    let rest = match kind {
                        "systemd" => ":a.service",
                        "ocf" => ":a:b",
                        "lsb" => ":a",
                        _ => "",
                    };
                    format!("[[group]]\n[[group.resource]]\nkind = \"{kind}{rest}\"\n{key} = true")
                }
            };
            assert!(!bad(&text).contains("unknown key"), "{key}: {}", bad(&text));
        }
    }
}

#[test]
fn any_text_is_read_or_refused_and_never_panics() {
    use proptest::prelude::*;
    let words = [
        "[[group]]",
        "[[group.resource]]",
        "[controller]",
        "name",
        "kind",
        "needs",
        "window",
        "=",
        "\"a\"",
        "\"5s\"",
        "\"process\"",
        "\"ocf:a:b\"",
        "\"http\"",
        "url",
        "\"http://[::1]:\"",
        "\"http://:\"",
        "command",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\n",
        "1",
        "-9999999999999999999999",
        "0x_",
        "1979-05-27",
        "true",
        "nan",
        ".",
        "'",
        "\"",
        "\u{0}",
        "ä",
        "environment",
        "attempts",
        "1000",
        "\"366d\"",
        "backoff_max",
        "#",
        "\\",
    ];
    let any_words = proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..60);
    proptest!(|(words in any_words)| {
        let _ = parse(&words.concat());
        let _ = parse(&words.join(" "));
    });
    proptest!(|(text in ".{0,200}")| {
        let _ = parse(&text);
    });
}
