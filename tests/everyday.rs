//! The page `tests/everyday.md` shows how everyday tasks are done. It is played here, from top to bottom, on real daemons: so
//! what it shows is what a person sees, and a task that takes more than it should is noticed by whoever writes it down.
//!
//! What a line of the page must be is told in the page itself. What befalls the cluster stands in comments there, which a reader
//! of the page does not see; [`Play::befall`] knows them.

mod common;
#[path = "common/cluster.rs"]
mod lab;

use common::{Bed, SOON};
use lab::{Cluster, HOSTS, node};
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const PAGE: &str = include_str!("everyday.md");

/// Commands that only look: they are asked again until they show what the page says. An order is given once.
const LOOKS: [&str; 5] = ["status", "explain", "plan", "events", "metrics"];

/// More kinds of command than this make a task too long for every day.
const MAX_COMMANDS: usize = 2;

/// A command of the page, and what it must show.
#[derive(Debug)]
struct Shown {
    host: String,
    arguments: Vec<String>,
    lines: Vec<String>,
    exit: i32,
}

impl Shown {
    fn subcommand(&self) -> &str {
        self.arguments.first().map_or("", String::as_str)
    }
}

#[derive(Debug)]
enum Step {
    /// The comment's words.
    Befall(String),
    Show(Shown),
}

/// A heading, and what is done below it.
#[derive(Debug)]
struct Task {
    question: String,
    steps: Vec<Step>,
}

/// The tasks of the page.
fn read(page: &str) -> Vec<Task> {
    let mut tasks: Vec<Task> = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(question) = line.strip_prefix("## ") {
            tasks.push(Task { question: question.to_owned(), steps: Vec::new() });
        } else if let Some(comment) = line.strip_prefix("<!-- ") {
            let mut words = comment.to_owned();
            while !words.ends_with("-->") {
                words = words + "\n" + lines.next().expect("a comment ends");
            }
            let words = words.trim_end_matches("-->").trim_end().to_owned();
            tasks.last_mut().expect("a comment below a heading").steps.push(Step::Befall(words));
        } else if line == "```console" {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let task = tasks.last_mut().expect("a block below a heading");
            task.steps.extend(read_block(&block).into_iter().map(Step::Show));
        }
    }
    tasks
}

fn read_block(lines: &[&str]) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    for line in lines {
        if let Some((host, command)) = line.split_once("$ roost ").filter(|(host, _)| HOSTS.contains(host)) {
            let arguments = command.split_whitespace().map(str::to_owned).collect();
            shown.push(Shown { host: host.to_owned(), arguments, lines: Vec::new(), exit: 0 });
            continue;
        }
        let last = shown.last_mut().unwrap_or_else(|| panic!("a block begins with a command: {line}"));
        match line.strip_prefix("(exit ").and_then(|rest| rest.strip_suffix(')')) {
            Some(exit) => last.exit = exit.parse().expect("a number"),
            None if *line == "…" => {} // lines may always be left out; this one tells the reader so
            None => last.lines.push((*line).to_owned()),
        }
    }
    shown
}

/// Whether a line of output is as the page has it: blanks count once, and `…` is anything, at the end also nothing.
fn fits(pattern: &str, line: &str) -> bool {
    let nothing_more = |pattern: &str| fits_whole(pattern, line);
    fits_whole(pattern, line) || pattern.trim_end().strip_suffix(" …").is_some_and(nothing_more)
}

fn fits_whole(pattern: &str, line: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (pattern, line) = (plain(pattern), plain(line));
    let mut parts = pattern.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    false
}

/// The first line that the page has and the output has not, in order.
fn missing<'a>(lines: &'a [String], output: &str) -> Option<&'a str> {
    let mut output = output.lines();
    lines.iter().find(|wanted| !output.any(|line| fits(wanted, line))).map(String::as_str)
}

struct Play {
    cluster: Cluster,
    /// The file that all have.
    config: String,
}

impl Play {
    fn bed(&self, host: &str) -> &Bed {
        self.cluster.hosts.iter().find(|bed| bed.host == host).unwrap_or_else(|| panic!("no host '{host}'"))
    }

    fn run(&self, shown: &Shown) -> Output {
        let bed = self.bed(&shown.host);
        let mut command = Command::new(env!("CARGO_BIN_EXE_roost"));
        command.arg("--socket").arg(bed.socket()).args(&shown.arguments).current_dir(&bed.dir);
        command.output().expect("roost runs")
    }

    /// Types a command, and sees what the page shows.
    fn show(&self, shown: &Shown) {
        let begun = Instant::now();
        loop {
            let output = self.run(shown);
            let text = lab::words(&output);
            let missing = missing(&shown.lines, &text);
            if missing.is_none() && output.status.code() == Some(shown.exit) {
                return;
            }
            let again = LOOKS.contains(&shown.subcommand()) && begun.elapsed() < SOON;
            assert!(
                again,
                "{}$ roost {}: exit status {:?}, the page says {}; not shown: {missing:?}\n{text}",
                shown.host,
                shown.arguments.join(" "),
                output.status.code(),
                shown.exit
            );
            std::thread::sleep(Duration::from_millis(100)); // between two looks; the bound above judges
        }
    }

    /// What befalls the cluster, in the words of the page's comments.
    fn befall(&mut self, comment: &str) {
        let (word, rest) = comment.split_once([' ', '\n']).unwrap_or((comment, ""));
        match (word, rest) {
            // The machine loses its power: its daemon is gone, and its VMs are not there when it is back.
            ("kill", host) => {
                let bed = self.bed_mut(host);
                bed.end(Signal::SIGKILL);
                fs::write(bed.dir.join("node.xml"), node(&[])).expect("writable");
            }
            // The machine is shut down.
            ("leave", host) => {
                let bed = self.bed_mut(host);
                bed.signal(Signal::SIGPWR);
                bed.ends();
                fs::write(bed.dir.join("node.xml"), node(&[])).expect("writable");
            }
            ("boot", host) => self.bed_mut(host).run(),
            // A file lies beside the configuration.
            ("write", file) => {
                let (name, content) = file.split_once('\n').expect("a name, and lines");
                fs::write(self.bed("hv2").dir.join(name), content).expect("writable");
            }
            // A machine that was not there before, without VMs of its own.
            ("machine", host) => {
                let nth = 1 + HOSTS.iter().position(|name| *name == host).expect("one of the names");
                let bed = self.cluster.host(nth, &self.config);
                fs::write(bed.dir.join("node.xml"), node(&[])).expect("writable");
                self.cluster.hosts.push(bed);
            }
            // The file on all hosts gets these lines at its end.
            ("file", "hv4") => {
                self.config += &self.cluster.host_table(4);
                self.distribute();
            }
            ("file", lines) => {
                self.config = format!("{}{lines}\n", self.config);
                self.distribute();
            }
            // The line of a new key in all key files: at the end, at the top, or alone.
            ("key", place) => {
                let new = fs::read_to_string(self.bed("hv2").dir.join("key.new")).expect("it was made");
                for bed in &self.cluster.hosts {
                    let file = bed.dir.join("key");
                    let old = fs::read_to_string(self.cluster.folder.join("key")).expect("it is there");
                    let text = match place {
                        "end" => old + &new,
                        "top" => new.clone() + &old,
                        "alone" => new.clone(),
                        other => panic!("no place '{other}' for a key"),
                    };
                    fs::write(file, text).expect("writable");
                }
            }
            _ => panic!("nobody knows what befalls here: {comment}"),
        }
    }

    fn bed_mut(&mut self, host: &str) -> &mut Bed {
        self.cluster.hosts.iter_mut().find(|bed| bed.host == host).expect("one of the hosts")
    }

    fn distribute(&self) {
        self.cluster.hosts.iter().for_each(|bed| bed.configure(&self.config));
    }
}

#[test]
fn everyday_tasks_are_done_as_the_page_tells() {
    let cluster = Cluster::new();
    let mut config = cluster.config();
    for (nth, others) in [(1, "\"hv2\", \"hv3\""), (2, "\"hv3\", \"hv1\""), (3, "\"hv1\", \"hv2\"")] {
        let vm = format!("vm = \"web{nth}\"\n");
        config = config.replace(&vm, &format!("{vm}on = [\"hv{nth}\", {others}]\nmoves = [\"cold\"]\n"));
    }
    let mut play = Play { cluster, config };
    play.distribute();
    play.cluster.hosts.iter_mut().for_each(Bed::run);
    play.cluster.is_whole();
    for task in read(PAGE) {
        println!("## {}", task.question); // shown when it fails: how far it came
        for step in &task.steps {
            match step {
                Step::Befall(comment) => play.befall(comment),
                Step::Show(shown) => play.show(shown),
            }
        }
    }
}

#[test]
fn every_task_is_a_question_with_a_command_or_two_that_help_tells_of() {
    let help = Command::new(env!("CARGO_BIN_EXE_roost")).arg("--help").output().expect("roost runs");
    let help = String::from_utf8(help.stdout).expect("text");
    let commands = help.split("Commands:\n").nth(1).expect("a list of commands");
    // A command stands at two blanks; what explains it stands further in.
    let known: BTreeSet<&str> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let tasks = read(PAGE);
    assert!(tasks.len() >= 15, "only {} tasks", tasks.len());
    for task in tasks {
        assert!(task.question.ends_with('?'), "'{}' is no question", task.question);
        let used: BTreeSet<&str> = task
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Show(shown) => Some(shown.subcommand()),
                Step::Befall(_) => None,
            })
            .collect();
        assert!(
            (1..=MAX_COMMANDS).contains(&used.len()),
            "'{}' takes {} commands: {used:?}",
            task.question,
            used.len()
        );
        for command in used {
            assert!(
                known.contains(command),
                "'{}': `roost {command}` is not in `roost --help`",
                task.question
            );
        }
    }
}

#[test]
fn a_line_of_the_page_is_the_whole_line_but_for_what_it_leaves_out() {
    for (pattern, line, wanted) in [
        ("web1  hv1", "  web1   hv1 ", true),
        ("web1", "web1 hv1", false),
        ("hv1", "web1 hv1", false),
        ("web1 …", "web1 hv1", true),
        ("… hv1", "web1 hv1", true),
        ("web1 … up … 1", "web1 is up for 1", true),
        ("web1 … up … 2", "web1 is up for 1", false),
        ("web1 …", "web1", true),
        ("web1 …", "web12", false),
        ("…", "anything", true),
    ] {
        assert_eq!(fits(pattern, line), wanted, "{pattern}: {line}");
    }
    let page = ["b".to_owned(), "d".to_owned()];
    assert_eq!(missing(&page, "a\nb\nc\nd"), None);
    assert_eq!(missing(&page, "d\nb"), Some("d"), "in order");
}
