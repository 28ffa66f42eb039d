//! The host daemon.

use roost::daemon::{Daemon, Ended, Options, StartError};
use roost_proto::exit::Exit;
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
roostd keeps the VMs of /etc/roost/roost.toml running, and the applications inside them.

Usage: roostd [OPTIONS]

  --config FILE     the configuration [/etc/roost/roost.toml]
  --host NAME       which [[host]] this machine is [the machine's name]
  --state-dir DIR   where state, events and screenshots are kept [/var/lib/roost]
  --run-dir DIR     where the control socket is [/run/roost]
  --version         print the version
  --help            print this

SIGHUP reads the configuration again. SIGTERM ends roostd; VMs run on.
See roostd(8) and roost.toml(5).
";

enum Wish {
    Run(Options),
    Print(String),
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Wish, String> {
    let mut options = Options {
        config: PathBuf::from("/etc/roost/roost.toml"),
        host: None,
        state_dir: PathBuf::from("/var/lib/roost"),
        run_dir: PathBuf::from("/run/roost"),
    };
    while let Some(arg) = args.next() {
        let (flag, mut value) = match arg.split_once('=') {
            Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
            None => (arg, None),
        };
        let mut value = || value.take().or_else(|| args.next()).ok_or(format!("'{flag}' needs a value"));
        match flag.as_str() {
            "--config" => options.config = value()?.into(),
            "--host" => options.host = Some(value()?),
            "--state-dir" => options.state_dir = value()?.into(),
            "--run-dir" => options.run_dir = value()?.into(),
            "--help" | "-h" => return Ok(Wish::Print(HELP.to_owned())),
            "--version" | "-V" => {
                return Ok(Wish::Print(concat!("roostd ", env!("CARGO_PKG_VERSION"), "\n").to_owned()));
            }
            other => return Err(format!("unknown argument '{other}'")),
        }
    }
    Ok(Wish::Run(options))
}

/// Becomes a new process in this one's place; returns only if it cannot.
fn again() -> std::io::Error {
    use std::os::unix::process::CommandExt;
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    std::process::Command::new("/proc/self/exe").arg0(name).args(args).exec()
}

fn main() -> ExitCode {
    // One that began anew was called after /proc/self/exe. The name is for people alone, so that it cannot be set is no matter.
    let _ = nix::sys::prctl::set_name(c"roostd");
    let options = match parse(std::env::args().skip(1)) {
        Ok(Wish::Run(options)) => options,
        Ok(Wish::Print(text)) => {
            print!("{text}");
            return Exit::Ok.into();
        }
        Err(error) => {
            eprintln!("roostd: {error}; try 'roostd --help'");
            return Exit::Usage.into();
        }
    };
    roost::daemon::start_logging();
    let ended = Daemon::start(options).and_then(|daemon| {
        daemon.run().map_err(|error| StartError::System { what: "cannot wait for events".to_owned(), error })
    });
    match ended {
        Ok(Ended::Stopped | Ended::Left) => Exit::Ok.into(),
        Ok(Ended::Anew) => {
            let error = again();
            log::error!("roostd cannot begin anew: {error}; start it");
            Exit::System.into()
        }
        Err(error) => {
            log::error!("roostd cannot run: {error}");
            match error {
                StartError::Config(_) => Exit::Configuration.into(),
                StartError::State(_)
                | StartError::Ledger { .. }
                | StartError::Life(_)
                | StartError::System { .. } => Exit::System.into(),
            }
        }
    }
}
