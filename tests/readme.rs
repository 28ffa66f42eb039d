//! The README: what it names exists, and what it shows is good.

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("the README")
}

/// The Rust files below `folder`.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() && !entry.ends_with("target") {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|kind| kind == "rs") {
            found.push(entry);
        }
    }
}

/// What stands in backquotes in `text`.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Each thing that always holds names the tests that hold it, or a file.
#[test]
fn every_invariant_is_held_by_tests_that_exist() {
    let mut files = Vec::new();
    for folder in ["src", "proto", "guest", "tests"] {
        sources(&root().join(folder), &mut files);
    }
    let code: String = files.iter().map(|file| std::fs::read_to_string(file).expect("a source")).collect();
    let readme = readme();
    let (_, table) = readme.split_once("| what | where |\n").expect("the table of what always holds");
    let rows: Vec<&str> = table.lines().skip(1).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() >= 10, "where has the table gone?");
    for row in rows {
        let place = row.split('|').nth(2).expect("a second column");
        let names = quoted(place);
        assert!(!names.is_empty(), "nothing holds this: {row}");
        for name in names {
            let exists = match name.contains(['/', '.']) {
                true => root().join(name).exists(),
                false => {
                    code.contains(&format!("\n    #[test]\n    fn {name}("))
                        || code.contains(&format!("#[test]\nfn {name}("))
                }
            };
            assert!(exists, "there is no test '{name}', which the README names");
        }
    }
}

#[test]
fn the_configurations_in_it_are_good() {
    let readme = readme();
    let blocks: Vec<&str> =
        readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 2, "one for the host and one for the guest");
    roost::config::parse(blocks[0]).unwrap_or_else(|error| panic!("{error}"));
    roost_guest::config::parse(blocks[1]).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_files_in_it_exist() {
    let readme = readme();
    let shell: String = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let words = shell.split_whitespace().chain(quoted(&readme).into_iter().flat_map(str::split_whitespace));
    let ours = ["tests/", "man/", "systemd/", "src/", "guest/", "proto/"];
    let files: Vec<&str> = words.filter(|word| ours.iter().any(|folder| word.starts_with(folder))).collect();
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        assert!(root().join(file).exists(), "there is no '{file}', which the README names");
    }
}
