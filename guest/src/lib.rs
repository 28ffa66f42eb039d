//! The sub-cluster controller: keeps a machine's applications running, tells the host about them, and raises a fault when it
//! gives up.
//!
//! [`subcluster`] decides; [`controller`] and what it uses carry it out.

pub mod agent;
pub mod args;
pub mod check;
pub mod child;
pub mod client;
pub mod clock;
pub mod config;
pub mod control;
pub mod controller;
pub mod drain;
pub mod init;
pub mod kinds;
pub mod link;
pub mod load;
pub mod log;
pub mod notify;
pub mod probe;
pub mod process;
pub mod procfs;
pub mod reactor;
pub mod spawn;
pub mod state;
pub mod subcluster;
pub mod sys;
pub mod tail;

pub use args::HELP;

use args::Command;
use controller::{Controller, Failure};
use log::{Level, Log};
use roost_proto::exit::Exit;
use std::ffi::OsString;

/// Does what the command line says.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Exit {
    let args = match args::parse(args) {
        Ok(args) => args,
        // The kernel hands process 1 words of its own command line.
        Err(_) if std::process::id() == 1 => args::parse([]).expect("no arguments are good arguments"),
        Err(error) => {
            eprintln!("roost-guest: {error}; 'roost-guest --help' tells more");
            return Exit::Usage;
        }
    };
    match args.command {
        Command::Run => run(args),
        Command::Check => check::check(&args.config),
        Command::Ask(request) => client::ask(&args.run_dir, &request),
        Command::Drain => drain::drain(&args.run_dir),
        Command::Help => print(HELP),
        Command::Version => print(concat!("roost-guest ", env!("CARGO_PKG_VERSION"), "\n")),
    }
}

fn print(text: &str) -> Exit {
    use std::io::Write;
    // Whoever has enough of it closes the pipe; that is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Exit::Ok
}

fn run(args: args::Args) -> Exit {
    let log = Log::new();
    match Controller::start(args.config, args.run_dir, log) {
        Ok(controller) => controller.run(),
        Err(Failure { exit, text }) => {
            log.lines(Level::Error, &text);
            exit
        }
    }
}
