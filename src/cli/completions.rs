//! `roost completions`: what a shell needs to complete `roost`'s command line, and the answers when it asks.
//!
//! The script that a shell reads is short: at each Tab it runs `roost` itself, with [`ASKED`] set. So what is completed is
//! always what this `roost` understands, and groups and hosts can be completed by their names. Nothing that goes wrong
//! here is told: a person who presses Tab is in the middle of a line.

use super::args::{CONFIG, Cli, SOCKET};
use super::client::Client;
use super::error::Error;
use crate::config::load;
use clap::{Arg, Command, CommandFactory, ValueEnum};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};
use core::time::Duration;
use roost_proto::control::{Ask, Reply};
use roost_proto::exit::Exit;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

/// The variable with which a shell's script asks; its value is the shell.
const ASKED: &str = "ROOST_COMPLETE";
/// How long a daemon may take for the names: who presses Tab waits for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// A shell that can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash(1), version 4.4 or later
    Bash,
    /// zsh(1)
    Zsh,
    /// fish(1)
    Fish,
}

/// Answers a shell's question, if this is one.
pub fn answer() -> Result<bool, clap::Error> {
    CompleteEnv::with_factory(command).var(ASKED).try_complete(std::env::args_os(), None)
}

/// Prints what `shell` is to read.
pub fn run(shell: Shell, out: &mut impl Write) -> Result<Exit, Error> {
    out.write_all(&script(shell)).and_then(|()| out.flush()).map_err(Error::Output)?;
    Ok(Exit::Ok)
}

fn script(shell: Shell) -> Vec<u8> {
    let adapter: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let mut script = Vec::new();
    adapter
        .write_registration(ASKED, "roost", "roost", "roost", &mut script)
        .expect("memory takes what is written");
    if shell == Shell::Zsh {
        // zsh loads the file at the first Tab, as the function that is to complete.
        script.extend(b"\n[[ ${funcstack[1]} == _roost ]] && _clap_dynamic_completer_roost \"$@\"\n");
    }
    script
}

/// The command line, with what can be said where a group or a host is named. Which these are, their value names tell.
fn command() -> Command {
    Cli::command().mut_subcommands(|command| command.mut_args(named))
}

fn named(arg: Arg) -> Arg {
    let candidates = match arg.get_value_names().and_then(|names| names.first()).map(|name| name.as_str()) {
        Some("GROUP") => ArgValueCandidates::new(|| candidates(Names::here().groups)),
        Some("HOST") => ArgValueCandidates::new(|| candidates(Names::here().hosts)),
        Some("TARGET") => ArgValueCandidates::new(|| {
            let names = Names::here();
            candidates(names.hosts.into_iter().chain(names.targets).collect())
        }),
        Some("GROUP|HOST") => ArgValueCandidates::new(|| {
            let names = Names::here();
            candidates(names.groups.into_iter().chain(names.hosts).collect())
        }),
        _ => return arg,
    };
    arg.add(candidates)
}

fn candidates(names: Vec<String>) -> Vec<CompletionCandidate> {
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// What can be named.
#[derive(Debug, Default)]
struct Names {
    groups: Vec<String>,
    hosts: Vec<String>,
    /// VMs where applications may be, as `vm:` and the group.
    targets: Vec<String>,
}

impl Names {
    /// As the daemon knows them; without one, as the configuration does.
    fn here() -> Self {
        Self::of_daemon(Path::new(SOCKET)).or_else(|| Self::of_file(Path::new(CONFIG))).unwrap_or_default()
    }

    fn of_daemon(socket: &Path) -> Option<Self> {
        let mut client = Client::ask(socket, Ask::Status).ok()?;
        client.wait_for(Some(PATIENCE)).ok()?;
        let Reply::Status(status) = client.poll().ok()?? else { return None };
        let targets = status.groups.iter().flat_map(|group| group.targets.iter().cloned());
        Some(Self {
            targets: inside(targets),
            groups: status.groups.into_iter().map(|group| group.name).collect(),
            hosts: status.hosts.into_iter().map(|host| host.name).collect(),
        })
    }

    fn of_file(file: &Path) -> Option<Self> {
        let config = load(file).ok()?;
        let apps = config.groups.iter().filter_map(|group| group.app.as_ref());
        let targets = apps.flat_map(|app| app.targets.iter().map(ToString::to_string));
        Some(Self {
            targets: inside(targets),
            groups: config.groups.into_iter().map(|group| group.name).collect(),
            hosts: config.hosts.into_iter().map(|host| host.name).collect(),
        })
    }
}

/// The targets that are no hosts, each once.
fn inside(targets: impl Iterator<Item = String>) -> Vec<String> {
    let vms: BTreeSet<String> = targets.filter(|target| target.starts_with("vm:")).collect();
    vms.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap_complete::engine::complete;

    fn completed(words: &[&str]) -> Vec<String> {
        let words: Vec<_> = words.iter().map(Into::into).collect();
        let last = words.len() - 1;
        let found = complete(&mut command(), words, last, None).expect("no path is looked for");
        found.iter().map(|one| one.get_value().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn commands_and_flags_are_completed() {
        assert_eq!(completed(&["roost", "onl"]), ["online"]);
        assert_eq!(completed(&["roost", "events", "--fol"]), ["--follow"]);
        assert_eq!(completed(&["roost", "completions", "z"]), ["zsh"]);
    }

    /// A new argument that names a group under another value name would not be completed.
    #[test]
    fn every_group_and_host_is_completed_by_name() {
        let mut asked = 0;
        for command in command().get_subcommands() {
            for arg in command.get_arguments() {
                let is_name =
                    matches!(arg.get_id().as_str(), "group" | "host" | "to" | "without" | "subject");
                assert_eq!(
                    arg.get::<ArgValueCandidates>().is_some(),
                    is_name,
                    "{} {arg}",
                    command.get_name()
                );
                asked += usize::from(is_name);
            }
        }
        assert!(asked >= 6, "where have the names gone? {asked}");
    }

    #[test]
    fn without_a_daemon_the_configuration_is_asked() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/examples/one-host.toml");
        let names = Names::of_file(&file).expect("a good configuration");
        assert!(!names.groups.is_empty() && !names.hosts.is_empty(), "{names:?}");
        assert!(Names::of_daemon(Path::new("/nonexistent/roostd.sock")).is_none());
        assert!(Names::of_file(Path::new("/nonexistent/roost.toml")).is_none());
    }
}
