//! `roost-guest check`: whether the configuration is good, and whether what it names is there.

use crate::config::{Config, Hook, Kind, Link, Resource};
use crate::kinds::ocf;
use crate::link::key;
use crate::load::load;
use crate::spawn::{Identity, SpawnError};
use roost_proto::exit::Exit;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Checks the configuration at `path`, and prints what it finds. What is missing may come later, so it is only a warning.
pub fn check(path: &Path) -> Exit {
    let config = match load(path) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return Exit::Configuration;
        }
    };
    let warnings = warnings(&config);
    for warning in &warnings {
        println!("warning: {warning}");
    }
    let resources: usize = config.groups.iter().map(|group| group.resources.len()).sum();
    println!(
        "'{}' is good: {}, {}",
        path.display(),
        count(config.groups.len(), "group"),
        count(resources, "resource")
    );
    if warnings.is_empty() { Exit::Ok } else { Exit::Degraded }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Everything that is named and not there.
fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Link::Tcp(tcp) = &config.link {
        warnings.extend(key::read(&tcp.key).err());
    }
    for group in &config.groups {
        let hooks =
            group.managed.iter().flat_map(|managed| Hook::ALL.map(|hook| (hook, managed.command(hook))));
        for (hook, command) in hooks {
            let missing = command.first().and_then(|path| program(Path::new(path)));
            warnings.extend(missing.map(|what| format!("{}/{}: {what}", group.name, hook.key())));
        }
        for resource in &group.resources {
            let place = format!("{}/{}", group.name, resource.name);
            warnings.extend(missing(resource).into_iter().map(|what| format!("{place}: {what}")));
        }
    }
    warnings
}

fn missing(resource: &Resource) -> Vec<String> {
    let program = |path: &str| program(Path::new(path));
    match &resource.kind {
        Kind::Process(process) => {
            let directory = (!process.directory.is_dir())
                .then(|| format!("there is no directory '{}'", process.directory.display()));
            let user = process.user.as_deref().and_then(|user| match Identity::of(user) {
                Ok(_) => None,
                Err(SpawnError::Misconfigured(reason) | SpawnError::Failed(reason)) => Some(reason),
            });
            let command = process.command.first().and_then(|path| program(path));
            [command, directory, user].into_iter().flatten().collect()
        }
        Kind::Ocf { provider, agent, .. } => program(&ocf::path(provider, agent)).into_iter().collect(),
        Kind::Lsb { script } => program(&format!("/etc/init.d/{script}")).into_iter().collect(),
        Kind::Exec { start, stop, monitor } => {
            let programs = [start, stop, monitor].into_iter().filter_map(|command| command.first());
            programs.filter_map(|path| program(path)).collect()
        }
        Kind::Systemd { .. } => on_path("systemctl"),
        Kind::Mount { target, .. } => {
            let mut missing = on_path("mount");
            missing.extend(on_path("umount"));
            if !target.is_dir() {
                missing.push(format!("there is no directory '{}' to mount on", target.display()));
            }
            missing
        }
        Kind::Tcp { .. } | Kind::Http(_) | Kind::File { .. } => Vec::new(),
    }
}

fn program(path: &Path) -> Option<String> {
    let is_program = |data: &std::fs::Metadata| data.is_file() && data.permissions().mode() & 0o111 != 0;
    match path.metadata() {
        Ok(data) if is_program(&data) => None,
        Ok(_) => Some(format!("'{}' cannot be executed", path.display())),
        Err(_) => Some(format!("there is no program '{}'", path.display())),
    }
}

fn on_path(name: &str) -> Vec<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|dir| program(&dir.join(name)).is_none());
    if is_there { Vec::new() } else { vec![format!("there is no program '{name}' in PATH")] }
}
