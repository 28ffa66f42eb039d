//! The manual pages: sound, complete, and true where that can be checked.

use clap::{CommandFactory, Parser};
use roost_proto::exit::TABLE;
use std::path::{Path, PathBuf};
use std::process::Command;

const PAGES: [&str; 8] = [
    "roost.8",
    "roostd.8",
    "roost-guest.8",
    "roost.toml.5",
    "roost-guest.toml.5",
    "roost.7",
    "roost-procedures.7",
    "roost-protocol.7",
];

fn path(page: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("man").join(page)
}

fn source(page: &str) -> String {
    std::fs::read_to_string(path(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// The page as a person reads it.
fn text(page: &str) -> String {
    let output = Command::new("mandoc").args(["-T", "ascii", "-O", "width=1000"]).arg(path(page)).output();
    let text = String::from_utf8(output.expect("mandoc(1)").stdout).expect("text");
    let mut plain: Vec<char> = Vec::new();
    for c in text.chars() {
        if c == '\u{8}' {
            plain.pop(); // bold is a letter, a step back, and the letter again
        } else {
            plain.push(c);
        }
    }
    plain.into_iter().collect()
}

#[test]
fn mandoc_finds_nothing_to_complain_about() {
    let output =
        Command::new("mandoc").args(["-T", "lint"]).args(PAGES.map(path)).output().expect("mandoc(1)");
    // Which other manuals this machine has says nothing about ours.
    let complaints: Vec<String> = String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
        .lines()
        .filter(|line| !line.contains("referenced manual not found") && !line.contains("outdated mandoc.db"))
        .map(str::to_owned)
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn pages_refer_to_pages_that_exist() {
    for page in PAGES {
        for line in source(page).lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let Some(at) = words.iter().position(|word| *word == "Xr" || *word == ".Xr")
                && words[at + 1].starts_with("roost")
            {
                let other = format!("{}.{}", words[at + 1], words[at + 2]);
                assert!(PAGES.contains(&other.as_str()), "{page}: there is no page {other}");
            }
        }
    }
}

#[test]
fn every_page_has_the_usual_sections() {
    for page in PAGES {
        let source = source(page);
        let explains = page.ends_with(".7"); // no program and no file is told of by it
        let others = if explains { &[][..] } else { &["FILES", "EXIT STATUS"] };
        for section in ["NAME", "DESCRIPTION", "EXAMPLES", "SEE ALSO"].iter().chain(others) {
            assert!(
                source.lines().any(|line| line == format!(".Sh {section}")),
                "{page} has no section {section}"
            );
        }
    }
}

#[test]
fn the_exit_statuses_are_the_same_everywhere() {
    let table: String =
        TABLE.iter().map(|(exit, words)| format!(".It {}\n{words}\n", exit.code())).collect::<String>()
            + ".El\n";
    for page in ["roost.8", "roostd.8", "roost-guest.8"] {
        let source = source(page);
        let section = source.split(".Sh EXIT STATUS\n").nth(1).expect("the section");
        let (_, list) = section.split_once("-compact\n").expect("the table");
        assert!(list.starts_with(&table), "{page} has another table than roost_proto::exit");
    }
}

/// The flags in a page: `.It Fl -name` and its like. A flag of the page that a program does not have is as bad as one that is
/// not in the page.
fn documented_flags(page: &str) -> Vec<String> {
    let mut flags: Vec<String> = Vec::new();
    for line in source(page).lines().filter(|line| line.starts_with(".It Fl ") || line.starts_with(".Fl ")) {
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            let word = if word == ".It" { words.next().unwrap_or_default() } else { word };
            if (word == "Fl" || word == ".Fl")
                && let Some(flag) = words.next()
            {
                flags.push(format!("-{flag}"));
            } else if word == "|"
                && let Some(flag) = words.next()
                && flag.starts_with('-')
            {
                flags.push(format!("-{flag}"));
            }
        }
    }
    flags.sort();
    flags.dedup();
    flags
}

/// The flags that a program's `--help` names.
fn flags_in_help(help: &str) -> Vec<String> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
    let mut flags: Vec<String> =
        help.split(word).filter(|word| word.starts_with("--") && word.len() > 2).map(str::to_owned).collect();
    flags.sort();
    flags.dedup();
    flags
}

#[test]
fn every_flag_of_roost_is_in_its_page() {
    let mut flags = vec!["--help".to_owned(), "--version".to_owned()];
    let cli = roost::cli::args::Cli::command();
    for command in core::iter::once(&cli).chain(cli.get_subcommands()) {
        flags.extend(
            command
                .get_arguments()
                .filter_map(|argument| argument.get_long().map(|flag| format!("--{flag}"))),
        );
    }
    flags.sort();
    flags.dedup();
    assert_eq!(documented_flags("roost.8"), flags);

    let page = source("roost.8");
    for command in cli.get_subcommands() {
        let item = format!(".It Cm {}", command.get_name());
        assert!(
            page.lines().any(|line| line == item || line.starts_with(&format!("{item} "))),
            "no '{item}'"
        );
        for argument in command.get_arguments().filter_map(|argument| argument.get_long()) {
            let section: String = page.split(&item).nth(1).unwrap_or_default().to_owned();
            let named = section.split(".It Cm ").next().unwrap_or_default();
            assert!(
                named.contains(&format!("Fl -{argument}")) || named.contains(&format!("| -{argument}")),
                "'{argument}' is not explained below '{item}'"
            );
        }
    }
}

#[test]
fn every_flag_of_roostd_is_in_its_page() {
    let output = Command::new(env!("CARGO_BIN_EXE_roostd")).arg("--help").output().expect("roostd runs");
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).expect("text");
    assert_eq!(documented_flags("roostd.8"), flags_in_help(&help), "{help}");
}

#[test]
fn every_flag_of_roost_guest_is_in_its_page() {
    let help = roost_guest::HELP;
    assert_eq!(documented_flags("roost-guest.8"), flags_in_help(help), "{help}");
    let (_, commands) = help.split_once("commands:\n").expect("the commands");
    let commands = commands.split("\n\n").next().unwrap_or_default().lines();
    let page = source("roost-guest.8");
    for command in commands.filter_map(|line| line.split_whitespace().next()) {
        let item = format!(".It Cm {command}");
        assert!(
            page.lines().any(|line| line == item || line.starts_with(&format!("{item} "))),
            "no '{item}'"
        );
    }
}

/// Keys of the page: `.It Ic key No = Ar type`, under the heading of their table.
fn documented_keys(page: &str, heading: impl Fn(&str) -> bool) -> Vec<String> {
    let source = source(page);
    let mut keys = Vec::new();
    let mut inside = false;
    for line in source.lines() {
        if let Some(title) = line.strip_prefix(".Ss ").or_else(|| line.strip_prefix(".Sh ")) {
            inside = heading(title);
        }
        if inside && let Some(rest) = line.strip_prefix(".It Ic ") {
            keys.push(rest.split(' ').next().unwrap_or_default().to_owned());
        }
    }
    keys
}

#[test]
fn every_key_of_roost_toml_is_in_its_page() {
    for section in roost::config::KEYS.iter().filter(|section| !section.header.is_empty()) {
        let title = format!("{}\\&", section.header);
        let mut wanted: Vec<&str> =
            section.keys.iter().copied().filter(|key| !["recovery", "fence"].contains(key)).collect();
        let mut documented = documented_keys("roost.toml.5", |heading| heading == title);
        wanted.sort_unstable();
        documented.sort_unstable();
        assert_eq!(documented, wanted, "{}", section.header);
    }
}

/// The heading of a kind begins with its name: `.Ss ocf: Ns Ar provider ...`.
#[test]
fn every_key_of_guest_toml_is_in_its_page() {
    let kinds = roost_guest::config::KINDS.map(|kind| kind.header);
    for section in roost_guest::config::KEYS.iter().filter(|section| !section.header.is_empty()) {
        let is_kind = kinds.contains(&section.header);
        let title = |heading: &str| match heading.split([':', ' ']).next() {
            Some(word) if is_kind => word == section.header,
            _ => heading == format!("{}\\&", section.header),
        };
        let headings = source("roost-guest.toml.5");
        let mut headings = headings.lines().filter_map(|line| line.strip_prefix(".Ss "));
        assert!(headings.any(title), "nothing about {}", section.header);
        let mut wanted: Vec<&str> = section.keys.iter().copied().filter(|key| *key != "resource").collect();
        let mut documented = documented_keys("roost-guest.toml.5", title);
        wanted.sort_unstable();
        documented.sort_unstable();
        assert_eq!(documented, wanted, "{}", section.header);
    }
}

/// Examples that are configurations: `.Bd -literal` blocks with a table in them.
fn examples(page: &str) -> Vec<String> {
    let source = source(page);
    let blocks =
        source.split(".Bd -literal -offset indent\n").skip(1).filter_map(|rest| rest.split(".Ed").next());
    blocks.filter(|block| block.contains("[[group]]")).map(|block| block.replace("\\&", "")).collect()
}

#[test]
fn the_examples_of_the_configurations_are_good() {
    let hosts = examples("roost.toml.5");
    assert_eq!(hosts.len(), 5);
    for example in &hosts[2..] {
        let advice = roost::config::parse(example).expect("good").advice();
        assert!(advice.is_empty(), "the worked clusters lack nothing: {advice:?}");
    }
    for example in hosts {
        let start = if example.contains("[cluster]") {
            ""
        } else {
            "[cluster]\nname = \"lab\"\n[[host]]\nname = \"hv1\"\n"
        };
        roost::config::parse(&format!("{start}{example}"))
            .unwrap_or_else(|error| panic!("{error}\n{example}"));
    }
    let guests = examples("roost-guest.toml.5");
    assert_eq!(guests.len(), 3);
    for example in guests {
        roost_guest::config::parse(&example).unwrap_or_else(|error| panic!("{error}\n{example}"));
    }
}

/// The commands that pages show, in their examples and elsewhere, are understood.
#[test]
fn every_command_in_an_example_is_one() {
    let mut seen = 0;
    for page in PAGES {
        let source = source(page);
        let blocks = source.split(".Bd -literal").skip(1).filter_map(|rest| rest.split(".Ed\n").next());
        let inline = source.lines().filter_map(|line| line.strip_prefix(".Dl "));
        let shown = blocks.flat_map(str::lines).chain(inline);
        let commands = shown.flat_map(|line| line.split(['|', ';', '&', '(', ')', '>']));
        for command in commands.map(|command| command.trim().trim_start_matches(['$', '#', ' '])) {
            let words: Vec<&str> = command.split_whitespace().collect();
            if words.first() == Some(&"roost") && words.get(1).is_some_and(|word| !word.starts_with('/')) {
                roost::cli::args::Cli::try_parse_from(&words)
                    .unwrap_or_else(|error| panic!("{page}: {command}: {error}"));
                seen += 1;
            }
        }
    }
    assert!(seen > 12, "where have the examples gone? {seen}");
}

/// What a newcomer is shown works, and the times that are told are the default ones.
#[test]
fn the_introduction_is_true() {
    let shown = source("roost.7");
    let (_, transcript) = shown.split_once("# cat /etc/roost/roost.toml\n").expect("a configuration");
    let host = transcript.split("\n# ").next().unwrap_or_default();
    let config = roost::config::parse(host).unwrap_or_else(|error| panic!("{error}\n{host}"));
    let guest = examples("roost.7").pop().expect("a configuration");
    roost_guest::config::parse(&guest).unwrap_or_else(|error| panic!("{error}\n{guest}"));
    let (times, text) = (config.cluster.timing, text("roost.7"));
    for (words, span) in [
        ("after {} s", times.suspect_after),
        ("after {} s", times.evict_after),
        ("some {} seconds after it was heard last", times.lease + times.watchdog),
    ] {
        let words = words.replace("{}", &span.as_secs_f64().to_string());
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(&words), "'{words}' is not in the page");
    }
}

#[test]
fn defaults_in_the_page_are_those_of_the_parser() {
    let config = roost::config::parse(&examples("roost.toml.5")[0]).expect("good");
    let fence = "[cluster]\nname = \"c\"\n[[host]]\nname = \"h\"\n[[host.fence]]\nagent = \"fence_x\"\n";
    let fence = roost::config::parse(fence).expect("good").hosts.remove(0).fence.remove(0).agents.remove(0);
    let (cluster, times, group) = (&config.cluster, config.cluster.timing, &config.groups[0]);
    let span = |span| format!("\"{}\"", roost_proto::time::Span(span));
    let recovery = group.recovery;
    let app = "[[group]]\nname = \"a\"\napp = \"a\"\non = [\"hv1\"]\nfailback = \"auto\"\n";
    let app = format!("[cluster]\nname = \"c\"\n[[host]]\nname = \"hv1\"\n{app}");
    let app = roost::config::parse(&app).expect("good").groups.remove(0).app.expect("an application");
    let roost::config::Failback::Auto { after, window: None } = app.failback else { panic!("{app:?}") };
    let host = [
        ("beat", span(times.beat)),
        ("suspect_after", span(times.suspect_after)),
        ("evict_after", span(times.evict_after)),
        ("lease", span(times.lease)),
        ("watchdog", span(times.watchdog)),
        ("starts_at_once", cluster.starts_at_once.to_string()),
        ("quarantine", span(cluster.quarantine)),
        ("libvirt", format!("\"{}\"", config.hosts[0].libvirt)),
        ("trust_watchdog", config.hosts[0].trust_watchdog.to_string()),
        ("reserve_mib", config.hosts[0].reserve_mib.to_string()),
        ("delay", span(fence.delay)),
        ("timeout", span(fence.timeout)),
        ("retries", fence.retries.to_string()),
        ("priority", group.priority.to_string()),
        ("hosts", recovery.hosts.to_string()),
        ("silence", span(config.hosts[0].silence)),
        ("silence", span(group.silence)),
        ("failback_after", span(after)),
        ("app_lease", span(app.lease)),
        ("boot_grace", span(group.boot_grace)),
        ("silence_patience", span(group.silence_patience)),
        ("stop_timeout", span(group.stop_timeout)),
        ("window", span(recovery.window)),
        ("backoff", span(recovery.backoff.first)),
        ("backoff_max", span(recovery.backoff.max)),
        ("reboot_timeout", span(recovery.reboot_timeout)),
        ("reboot", recovery.reboot.to_string()),
        ("reset", recovery.reset.to_string()),
        ("restart", recovery.restart.to_string()),
    ];
    tells_defaults("roost.toml.5", &host);

    let least = "[[group]]\nname = \"g\"\n[[group.resource]]\nname = \"r\"\nkind = \"process\"\ncommand = [\"/bin/true\"]\n";
    let group = roost_guest::config::parse(least).expect("good").groups.remove(0);
    let resource = &group.resources[0];
    let managed = least.replacen("[[group]]", "[[group]]\nmanaged = true", 1);
    let managed =
        roost_guest::config::parse(&managed).expect("good").groups.remove(0).managed.expect("managed");
    let on_lost_host = match managed.on_lost_host {
        roost_guest::config::OnLostHost::Stop => "\"stop\"",
        roost_guest::config::OnLostHost::Keep => "\"keep\"",
    };
    let guest = [
        ("restarts", group.restarts.to_string()),
        ("managed", group.managed.is_some().to_string()),
        ("on_lost_host", on_lost_host.to_owned()),
        ("hook_timeout", span(managed.hook_timeout)),
        ("window", span(group.window)),
        ("window", span(resource.window)),
        ("interval", span(resource.interval)),
        ("timeout", span(resource.timeout)),
        ("start_timeout", span(resource.start_timeout)),
        ("stop_timeout", span(resource.stop_timeout)),
        ("attempts", resource.attempts.to_string()),
        ("backoff", span(resource.backoff.first)),
        ("backoff_max", span(resource.backoff.max)),
    ];
    tells_defaults("roost-guest.toml.5", &guest);
}

/// Each key's item, in the order of the page where a key comes twice, tells its default.
fn tells_defaults(page: &str, defaults: &[(&str, String)]) {
    let page = text(page);
    for (nth, (key, default)) in defaults.iter().enumerate() {
        let earlier = defaults[..nth].iter().filter(|(other, _)| other == key).count();
        let item =
            page.split(&format!("     {key} = ")).nth(1 + earlier).unwrap_or_else(|| panic!("no {key}"));
        let item =
            item.split("\n\n").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        let told = item.to_lowercase().contains(&format!("default is {default}"));
        assert!(told, "'{key}' has the default {default}; its page says: {item}");
    }
}
