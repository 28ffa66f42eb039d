//! The example configurations that packages bring: people copy them, so the real parsers must find nothing in them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Those of hosts.
const HOSTS: [&str; 5] = [
    "one-host.toml",
    "two-hosts-and-a-witness.toml",
    "three-hosts-ipmi.toml",
    DATABASE,
    "postgresql/roost.toml",
];
/// A physical primary with a standby VM.
const DATABASE: &str = "physical-database.toml";
/// Those of guests, and of machines with applications of their own.
const GUESTS: [&str; 4] =
    ["guest.toml", "physical-database-guest.toml", "standby-vm-guest.toml", "postgresql/guest.toml"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("man/examples")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect("the example")
}

#[test]
fn every_example_is_looked_at_here() {
    let in_folder = |inner: &str| -> Vec<String> {
        let entries = std::fs::read_dir(folder().join(inner)).expect("the examples");
        let names = entries.map(|entry| entry.expect("a file").file_name().into_string().expect("text"));
        names.filter(|name| name.ends_with(".toml")).map(|name| format!("{inner}{name}")).collect()
    };
    let mut found = [in_folder(""), in_folder("postgresql/")].concat();
    let mut known: Vec<&str> = HOSTS.into_iter().chain(GUESTS).collect();
    found.sort();
    known.sort_unstable();
    assert_eq!(found, known);
}

/// The notes that an example cannot avoid: nobody's machine is called as its hosts are, and its files are not here.
#[test]
fn roost_check_finds_nothing_in_the_hosts_examples() {
    for name in HOSTS {
        let output = Command::new(env!("CARGO_BIN_EXE_roost"))
            .arg("check")
            .arg(folder().join(name))
            .output()
            .expect("roost runs");
        let (said, wrong) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && wrong.is_empty(), "{name}: {said}{wrong}");
        let unexpected: Vec<&str> = said
            .lines()
            .filter(|line| line.starts_with("note: "))
            .filter(|line| !line.contains("as this machine is") && !line.contains("'xml' names"))
            .collect();
        assert!(unexpected.is_empty(), "{name}: {unexpected:?}");
    }
}

/// The file that cloud-init is told to write in roost-guest(8).
#[test]
fn the_guests_files_are_good() {
    let good =
        |text: &str| roost_guest::config::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let [_, primary, standby, _] = GUESTS.map(|name| good(&read(name)));
    let config = roost::config::parse(&read(DATABASE)).expect("good");
    let app = config.groups.iter().find_map(|group| group.app.as_ref()).expect("it is about one");
    for guest in [primary, standby] {
        let group = guest.groups.iter().find(|group| group.name == app.name).expect("as roost.toml has it");
        assert!(group.managed.is_some(), "the host orders it about");
    }
    let page = std::fs::read_to_string(folder().join("../roost-guest.8")).expect("the page");
    let (_, rest) = page.split_once("    content: |\n").expect("cloud-init's file");
    let text: String =
        rest.lines().map_while(|line| line.strip_prefix("      ")).map(|line| format!("{line}\n")).collect();
    assert_eq!(good(&text).groups.len(), 1, "{text}");
}
