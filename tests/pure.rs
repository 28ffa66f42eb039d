//! What decides touches nothing of the world: the engine, the protocol and the configuration's rules name no clock, socket, file,
//! thread, process or random order. clippy.toml denies what it lists; this allows what is listed, and nothing else.

use std::path::{Path, PathBuf};

/// All that they may have of the standard library beside `core`: data, in an order of its own.
const ALLOWED: [&str; 8] = [
    "collections::BTreeMap",
    "collections::BTreeSet",
    "collections::VecDeque",
    "net::SocketAddr",
    "path::Path",
    "path::PathBuf",
    "process::ExitCode",
    "sync::Arc",
];
/// The crates that they may use.
const CRATES: [&str; 8] =
    ["roost_proto", "serde", "serde_json", "postcard", "toml", "crc32fast", "chacha20", "chacha20poly1305"];
/// Rooms of this crate that do touch the world.
const ROOMS: [&str; 5] = ["driver", "sys", "store", "daemon", "cli"];
const MACROS: [&str; 6] = ["print!", "println!", "eprint!", "eprintln!", "dbg!", "thread_local!"];
/// The one file among them that reads another, so that the rest need not.
const READS: &str = "src/config/load.rs";

/// The crates that the workspace depends on, as code names them.
fn dependencies() -> Vec<String> {
    let mut names = Vec::new();
    for file in ["Cargo.toml", "proto/Cargo.toml", "guest/Cargo.toml"] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("ours");
        let mut inside = false;
        for line in text.lines() {
            if line.starts_with('[') {
                inside = line.contains("dependencies");
            } else if let Some((name, _)) = line.split_once(['=', '.']).filter(|_| inside) {
                names.push(name.trim().replace('-', "_"));
            }
        }
    }
    assert!(names.iter().any(|name| name == "nix"), "{names:?}");
    names.extend(["libc", "rand", "getrandom"].map(str::to_owned));
    names
}

/// What `code` names after `std::`, one path each.
fn named(code: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (at, _) in code.match_indices("std::") {
        let whole = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let rest = &code[at + 5..];
        let path: &str =
            rest.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).next().unwrap_or("");
        if !whole {
            continue;
        }
        match (path.strip_suffix("::"), rest[path.len()..].strip_prefix('{')) {
            (Some(head), Some(list)) => {
                let list = list.split('}').next().unwrap_or("");
                all.extend(
                    list.split(',')
                        .map(str::trim)
                        .filter(|name| !name.is_empty())
                        .map(|name| if name == "self" { head.to_owned() } else { format!("{head}::{name}") }),
                );
            }
            _ => all.push(path.to_owned()),
        }
    }
    all
}

/// What of `text` touches the world.
fn breaches(text: &str, dependencies: &[String]) -> Vec<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
    let allowed = |path: &String| {
        ALLOWED.iter().any(|allowed| path == allowed || path.starts_with(&format!("{allowed}::")))
    };
    let mut found: Vec<String> = named(code).into_iter().filter(|path| !allowed(path)).collect();
    let words = |wanted: &str| {
        code.match_indices(wanted).any(|(at, _)| {
            !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '.')
        })
    };
    let strange = dependencies.iter().filter(|name| !CRATES.contains(&name.as_str()));
    let strange = strange.filter(|name| !words(&format!("mod {name};"))); // a module of its own
    found.extend(strange.filter(|name| words(&format!("{name}::"))).cloned());
    found.extend(ROOMS.into_iter().map(|room| format!("crate::{room}::")).filter(|room| words(room)));
    found.extend(MACROS.into_iter().filter(|name| words(name)).map(str::to_owned));
    found
}

fn files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a folder of ours") {
        let path = entry.expect("it can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        if path.is_dir() && name != "tests" {
            files(&path, into);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            into.push(path);
        }
    }
}

#[test]
fn what_decides_names_nothing_of_the_world() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    for room in ["src/engine", "src/config", "proto/src"] {
        files(&root.join(room), &mut all);
    }
    assert!(all.len() > 40, "where are they? {all:?}");
    let dependencies = dependencies();
    for path in all.iter().filter(|path| !path.ends_with(READS)) {
        let text = std::fs::read_to_string(path).expect("ours");
        assert_eq!(breaches(&text, &dependencies), [""; 0], "in {}", path.display());
    }
}

#[test]
fn each_way_out_is_seen() {
    let ways = [
        "let now = std::time::Instant::now();",
        "use std::time::SystemTime;",
        "use std::collections::HashMap;",
        "use std::collections::{BTreeMap, HashSet};",
        "use std::{fs, path::PathBuf};",
        "let listener = std::net::TcpListener::bind(address)?;",
        "let file = std::fs::OpenOptions::new();",
        "std::thread::scope(|_| {});",
        "let state = std::collections::hash_map::RandomState::new();",
        "let all = std::env::vars();",
        "let lock = std::sync::Mutex::new(());",
        "let now = nix::time::clock_gettime(clock)?;",
        "let now = crate::driver::clock::now();",
        "use crate::sys::memory;",
        "println!(\"{now:?}\");",
        "log::info!(\"decided\");",
        "let number = rand::random();",
    ];
    let dependencies = dependencies();
    for way in ways {
        assert!(!breaches(way, &dependencies).is_empty(), "'{way}' is not seen");
    }
    let fine = "use std::collections::{BTreeMap, VecDeque};\nuse core::fmt;\nuse std::sync::Arc;\n// println!\nself.log::x();";
    assert_eq!(breaches(fine, &dependencies), [""; 0]);
}
