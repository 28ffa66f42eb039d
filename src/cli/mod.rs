//! `roost`, the operator's command: it asks `roostd` over its control socket, and shows the answers. It decides
//! nothing and touches no VM.

pub mod args;
mod check;
mod client;
mod completions;
mod error;
mod events;
mod explain;
mod keygen;
mod order;
mod plan;
mod screen;
mod show;
mod since;
mod status;
mod travel;
mod watch;

use args::{Cli, Command, OnOff};
use clap::Parser;
use clap::error::ErrorKind;
use client::Client;
use error::Error;
use roost_proto::control::{Ask, Intent, Reply};
use roost_proto::exit::Exit;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// The whole program.
pub fn main() -> ExitCode {
    match completions::answer() {
        Ok(false) => {}
        Ok(true) => return Exit::Ok.into(),
        Err(error) => return usage(&error),
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match run(&cli) {
        Ok(exit) => exit.into(),
        Err(error) => error.report(),
    }
}

/// Tells what the command line lacks, or what help or version it asked for.
fn usage(error: &clap::Error) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    match error.print() {
        Err(error) => Error::Output(error).report(),
        Ok(()) if asked => Exit::Ok.into(),
        Ok(()) => Exit::Usage.into(),
    }
}

fn run(cli: &Cli) -> Result<Exit, Error> {
    let socket = &cli.socket;
    let out = &mut io::stdout().lock();
    match &cli.command {
        Command::Status { json } => status(cli, *json, out),
        Command::Metrics => metrics(socket, out),
        Command::Watch { json } => watch::run(socket, *json, out),
        Command::Explain { subject, json } => {
            let answer = client::explain(socket, subject)?;
            let exit = explain::exit(&answer);
            print(&answer, *json, explain::render, exit, out)
        }
        Command::Plan(wanted) => {
            let ask = Ask::Plan { without: wanted.without.clone(), any: wanted.any.is_some() };
            let answer = client::plan(socket, ask)?;
            let exit = if answer.fits { Exit::Ok } else { Exit::Degraded };
            print(&answer, wanted.json, plan::render, exit, out)
        }
        Command::Events(wanted) => events::run(socket, wanted, out).map(|()| Exit::Ok),
        Command::Online(wanted) => order::intent(socket, wanted, Intent::Online, out),
        Command::Offline(wanted) => order::intent(socket, wanted, Intent::Offline, out),
        Command::Freeze { group } => {
            order::run(socket, Ask::Freeze { group: group.clone() }, Some(group), out)
        }
        Command::Fence { host, confirm: _ } => {
            order::run(socket, Ask::Fenced { host: host.clone() }, Some(host), out)
        }
        Command::Thaw { group } => order::run(socket, Ask::Thaw { group: group.clone() }, Some(group), out),
        Command::Switch(wanted) => travel::switch(socket, wanted, out),
        Command::Failback(wanted) => travel::failback(socket, wanted, out),
        Command::Fail { group, wait } => travel::fail(socket, group, *wait, out),
        Command::Maintenance { host, state } => travel::maintenance(socket, host, *state == OnOff::On, out),
        Command::Disarm => order::arm(socket, Ask::Disarm, out),
        Command::Arm => order::arm(socket, Ask::Arm, out),
        Command::Reload { dry_run } => {
            order::run(socket, if *dry_run { Ask::WouldReload } else { Ask::Reload }, None, out)
        }
        Command::Check { file } => check::run(file, out),
        Command::Keygen { file } => keygen::run(file, out),
        Command::Completions { shell } => completions::run(*shell, out),
    }
}

/// Prints what the daemon tells, once it has told all of it: half of it would be taken for the whole.
fn metrics(socket: &Path, out: &mut impl Write) -> Result<Exit, Error> {
    let mut client = Client::ask(socket, Ask::Metrics)?;
    let mut text = String::new();
    loop {
        match client.next_reply()? {
            Reply::Metrics { text: more } => text += &more,
            Reply::End => break,
            _ => return Err(client::unexpected()),
        }
    }
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::Output)?;
    Ok(Exit::Ok)
}

fn status(cli: &Cli, json: bool, out: &mut impl Write) -> Result<Exit, Error> {
    let answer = client::status(&cli.socket)?;
    let exit = status::exit(answer.health);
    print(&answer, json, |status, look| status::render(status, &show::Clock::now(), look), exit, out)
}

/// Prints an answer, for people or for programs.
fn print<T: serde::Serialize>(
    answer: &T,
    json: bool,
    render: impl FnOnce(&T, show::Look) -> String,
    exit: Exit,
    out: &mut impl Write,
) -> Result<Exit, Error> {
    let text = if json {
        serde_json::to_string(answer).expect("an answer is plain data") + "\n"
    } else {
        render(answer, show::Look::of_stdout())
    };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::Output)?;
    Ok(exit)
}
