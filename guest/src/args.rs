//! The command line.

use roost_proto::local::Request;
use std::ffi::OsString;
use std::path::PathBuf;

/// What `--help` prints.
pub const HELP: &str = "\
Keeps this machine's applications running, and says when that fails.

usage: roost-guest [--config FILE] [--run-dir DIR] [COMMAND]

commands:
  run           be the controller (the default)
  status        show the groups of the running controller
  check         check the configuration, and what it names
  freeze GROUP  watch a group, and touch nothing of it
  thaw GROUP    take care of a group again, and forget its fault

options:
  --config FILE  the configuration (/etc/roost/guest.toml)
  --run-dir DIR  runtime state and control socket (/run/roost-guest)
  --help         print this
  --version      print the version

exit status: 0 well or done, 1 not all is well, 2 something was given up;
others are in roost-guest(8)
";

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Be the controller.
    Run,
    /// Check the configuration.
    Check,
    /// Ask the running controller.
    Ask(Request),
    /// Read, and forget, what applications write while no controller runs.
    Drain,
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
}

/// The command line, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// The configuration.
    pub config: PathBuf,
    /// The run directory.
    pub run_dir: PathBuf,
    /// What is to be done.
    pub command: Command,
}

/// Understands `args`, which do not hold the program's name; the error says what was not understood.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Args, String> {
    let (mut config, mut run_dir) =
        (PathBuf::from("/etc/roost/guest.toml"), PathBuf::from("/run/roost-guest"));
    let mut words: Vec<String> = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let arg = arg.into_string().map_err(|arg| format!("'{}' is no text", arg.display()))?;
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(OsString::from(value))),
            _ => (arg.as_str(), None),
        };
        let mut path = || {
            let value = value.clone().or_else(|| args.next()).filter(|value| !value.is_empty());
            value.map(PathBuf::from).ok_or_else(|| format!("'{name}' needs a path"))
        };
        match name {
            "--config" => config = path()?,
            "--run-dir" => run_dir = path()?,
            "--help" | "-h" => words = vec!["--help".to_owned()],
            "--version" | "-V" => words = vec!["--version".to_owned()],
            _ if name.starts_with('-') => return Err(format!("there is no option '{name}'")),
            _ => words.push(arg),
        }
    }
    Ok(Args { config, run_dir, command: command(&words)? })
}

fn command(words: &[String]) -> Result<Command, String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] | ["run"] => Ok(Command::Run),
        ["check"] => Ok(Command::Check),
        ["status"] => Ok(Command::Ask(Request::Status)),
        ["freeze", group] => Ok(Command::Ask(Request::Freeze { group: group.to_owned() })),
        ["thaw", group] => Ok(Command::Ask(Request::Thaw { group: group.to_owned() })),
        ["drain"] => Ok(Command::Drain),
        ["--help", ..] => Ok(Command::Help),
        ["--version", ..] => Ok(Command::Version),
        ["freeze" | "thaw"] => Err(format!("'{}' needs a group", words[0])),
        ["run" | "check" | "status" | "freeze" | "thaw", ..] => Err(format!("too much after '{}'", words[0])),
        [word, ..] => Err(format!("there is no command '{word}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Args, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn commands_are_understood() {
        assert_eq!(of("").map(|args| args.command), Ok(Command::Run));
        assert_eq!(of("status").map(|args| args.command), Ok(Command::Ask(Request::Status)));
        let freeze = Command::Ask(Request::Freeze { group: "site".to_owned() });
        assert_eq!(of("--run-dir /r freeze site").map(|args| args.command), Ok(freeze));
        let args = of("check --config=/c --run-dir /r").expect("good");
        assert_eq!((args.config, args.run_dir), (PathBuf::from("/c"), PathBuf::from("/r")));
        assert_eq!(of("--help").map(|args| args.command), Ok(Command::Help));
        assert_eq!(of("run --version").map(|args| args.command), Ok(Command::Version));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, error) in [
            ("restart", "there is no command 'restart'"),
            ("freeze", "'freeze' needs a group"),
            ("freeze a b", "too much after 'freeze'"),
            ("--conf x", "there is no option '--conf'"),
            ("--config", "'--config' needs a path"),
            ("--config=", "'--config' needs a path"),
        ] {
            assert_eq!(of(line), Err(error.to_owned()), "{line}");
        }
    }
}
