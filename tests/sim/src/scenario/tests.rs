//! Every scenario of the project is as expected, and a bad script is refused with what to write instead.

use super::compare::difference;
use super::names::Names;
use super::script;
use super::{Scenario, folders};
use std::path::Path;

#[test]
fn every_scenario_is_as_expected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut wrong = Vec::new();
    for folder in folders(&root).expect("the project has scenarios") {
        let told = check(&folder).err();
        wrong.extend(told.map(|why| format!("{}: {why}", folder.display())));
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn check(folder: &Path) -> Result<(), String> {
    let scenario = Scenario::read(folder)?;
    let (report, _) = scenario.play(None, false)?;
    let text = report.text();
    if !report.held {
        return Err(text);
    }
    if !folder.join("README.md").is_file() {
        return Err("it has no README.md with its question".to_owned());
    }
    let expected = std::fs::read_to_string(scenario.log())
        .map_err(|error| format!("expected.log: {error}; 'roost-sim --scenario DIR --bless' writes it"))?;
    difference(&expected, &text).map_or(Ok(()), |what| Err(format!("{what}\n{text}")))
}

const CLUSTER: &str = "[cluster]\nname = \"test\"\n[[host]]\nname = \"h1\"\naddress = \"10.0.0.1\"\n[[host]]\nname = \"h2\"\n\
     address = \"10.0.0.2\"\n[[group]]\nname = \"web\"\nvm = \"v1\"\non = [\"h1\"]\n";

fn refused(text: &str) -> String {
    let config = roost::config::parse(CLUSTER).expect("a good configuration");
    let mut names = Names::new(&config, vec!["roost.toml".to_owned()]).expect("good names");
    let mistakes = script::read(text, &mut names).expect_err(text);
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn mistakes_are_told_with_their_line_and_what_to_write() {
    for (text, told) in [
        ("at 10 power off h1", "line 1: '10' is no time: write for instance 10s"),
        ("\nat 10s power of h1", "line 2: write 'power off HOST' or 'power on HOST'"),
        ("at 10s powr off h1", "did you mean 'power'?"),
        ("at 10s power off h11", "there is no host 'h11': did you mean 'h1'?"),
        ("at 10s offline weeb", "there is no group 'weeb': did you mean 'web'?"),
        ("at 10s vm v9 crashes", "there is no VM 'v9': did you mean 'v1'?"),
        ("at 10s vm v1 explodes", "of a VM write: crashes, always crashes"),
        ("at 10s app of v1 faults", "has no controller in this world"),
        ("at 10s agent of h1 fails", "has no fence agent"),
        ("at 10s cut h1 h2", "write 'cut h1 from h2'"),
        ("at 10s split h1 h2", "with a bar between them"),
        ("at 10s expect web runs on", "the name of a host is missing"),
        ("at 10s expect web is fine", "not understood of a group"),
        ("at 10s expect h1 is fine", "not understood of a host"),
        ("at 10s expect web was started some times", "no number of times"),
        ("at end power off h1", "at the end nothing is done any more"),
        ("at end expect web is online within 5s", "after the end there is no more time"),
        ("when h1 is evicted power off h2", "put a comma after the condition"),
        ("at 10s power off h1\nhost h1 memory 4", "line 2: this is so from the beginning"),
        ("clock of h1 2% fast", "no share of time up to 0.5%"),
        ("at 99h power off h1", "later than a script may go on"),
        ("at 20s power off h1\nend 10s", "line 1: the script ends at 10.0s"),
        ("reload other.toml", "there is no configuration file 'other.toml'"),
        ("let h2 be leader", "has a meaning already"),
        ("vm v1 never starts on h2", "its group's 'on' does not name that host"),
        ("host h1 memory 0", "no memory in MiB"),
    ] {
        let said = refused(text);
        assert!(said.contains(told), "{text:?} told {said:?}, and not {told:?}");
    }
}

#[test]
fn a_script_has_limits() {
    assert!(refused(&"# long\n".repeat(10_000)).contains("bytes"));
    assert!(refused(&"\n".repeat(2000)).contains("lines"));
}
