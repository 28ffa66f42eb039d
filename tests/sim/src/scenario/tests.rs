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
        ("at 10s connection of h1 brakes", "write 'connection of HOST breaks'"),
        ("at 10s cut h1 h2", "write 'cut h1 from h2'"),
        ("at 10s split h1 h2", "with a bar between them"),
        ("at 10s expect web runs on", "the name of a host is missing"),
        ("at 10s expect web is fine", "not understood of a group"),
        ("at 10s expect h1 is fine", "not understood of a host"),
        ("at 10s expect web was started often", "no number of times"),
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
        ("at 10s app orders faults", "there is no application 'orders'"),
        ("at 10s failback web", "there is no application 'web'"),
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

const README: &str = include_str!("../../../scenarios/README.md");

/// What stands in the manual between this fence and the next.
fn example(begin: &str) -> &'static str {
    let from = README.find(begin).expect("the manual has an example") + begin.len();
    let to = README[from..].find("```").expect("it ends");
    &README[from..from + to]
}

#[test]
fn the_manuals_own_example_is_as_it_says() {
    let folder = std::env::temp_dir().join(format!("roost-scenario-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for a test");
    std::fs::write(folder.join("roost.toml"), example("```toml\n")).expect("a file for a test");
    std::fs::write(folder.join("script"), example("`script`:\n\n```\n")).expect("a file for a test");
    let report = Scenario::read(&folder).and_then(|scenario| scenario.play(None, false));
    std::fs::remove_dir_all(&folder).expect("it was made here");
    let (report, _) = report.expect("a good scenario");
    assert!(report.held, "{}", report.text());
    let json = serde_json::to_value(&report).expect("it can be told");
    let object = json.as_object().expect("an object");
    for key in object.keys() {
        assert!(README.contains(&format!("`{key}`")) || README.contains(&format!("`{key}[]`")), "{key}");
    }
    assert_eq!(json["groups"][0]["runs"][1]["host"], "h3");
}

/// Every form of the manual's tables.
const FORMS: &str = "
seed 7
begin after 60s
host h1 memory 4096
host h1 cpus 8
vm web1 memory 2048
vm web1 cpus 2
host h3 has no power
clock of h2 0.5% fast
clock of h1 0.25% slow
at 10s let L be the leader
let F be a follower
wait 5s
power off L
power on h1 and h2, F
freeze host of web
thaw all
daemon kill h1
daemon restart h1
daemon down h1
daemon start h1
daemon sigstop h1
daemon sigcont h1
leave h1
disk of h1 is full
disk of h1 works
disk of h1 tears its next write
disk of h1 is lost
libvirt of h1 hangs
libvirt on h1 is down
libvirt of h1 works
agent of h1 works
agent of h1 fails
agent of h1 takes 20s
agent of h1 tells 20s late
cut h1
cut h1 from h2
cut h1 h2 from h3
cut h1 -> h2
cut all -> h2
cut h1 -> all
split h1 h2 | h3
cut all
loss 30% h1
loss 30% h1 from h2
delay 200ms h1 -> h2
mend h1
mend h1 from h2
mend all
online web
offline web from h1
freeze web
thaw group web
move web
move web to h2
move web to h2 from h1
maintenance on h1
maintenance off h1 from h2
confirm fenced h1
reload roost.toml
reload roost.toml on h1 h2
vm web1 crashes
vm web always crashes
vm web crashes no more
vm web1 hangs
vm web1 lies
vm web1 fails to start 3 times
vm web1 fails to start 3 times on h2
vm web1 never starts
vm web1 never starts on h2
vm web1 starts again
vm web1 ignores shutdown
vm web1 hears shutdown
vm web1 cannot be stopped
vm web1 can be stopped
vm web1 shuts down from inside
vm web1 is paused by hand
vm web1 is resumed by hand
vm web1 is destroyed by hand
vm web1 is destroyed by hand on h2
vm web1 is started by hand on h2
app of web1 faults
app of web1 always faults
app of web1 always faults on h2
app of web works
migration of web1 fails
at +5s expect web runs on h3
when h2 is evicted, power off leader
when web runs on h1, after 2s expect h2 is out within 5s
expect web runs on one of h2 h3
expect web1 runs somewhere for 5s
expect web runs nowhere
expect web does not run on h2
expect web stands still
expect web is online
expect every group is offline
expect web is given up
expect web is not blocked
expect web waits
expect web is left alone
expect web is frozen
expect web belongs to h3
expect web belongs to nobody
expect web was started exactly once
expect web was restarted 2 times since 30s
expect web was paused at most 3 times
expect web was resumed at least once
expect web was never rebooted
expect nothing was restarted
expect nothing was started since 20s
expect web never ran on h2 since 30s
expect web ran only on h1 h3
expect h2 is in
expect h2 is in the cluster
expect h2 is not out
expect L is evicted
expect h2 is in maintenance
expect h2 is quarantined
expect every host runs nothing
expect h2 was fenced
expect h2 was fenced by agent
expect h2 was fenced by time once
expect h2 was fenced by itself since 5s
expect h2 was never fenced by operator
expect h2 was evicted at most 2 times
expect h2 was booted
expect leader leads
expect h2 does not lead
expect somebody leads
expect nobody leads
expect h2 has power
expect h2 has no power
expect h2 has its lease
expect h2 has no lease
expect everything is well
expect last order was done
expect last order was refused
at end expect never two
end 120s
";

/// Every form of the manual's tables about applications.
const APPLICATIONS: &str = "
at 10s  failback orders
move orders to vm:standby
move orders to db1 from h1
app orders faults
app orders always faults
app orders always faults on vm:standby
app orders refuses to start on db1
app orders is not ready
app orders cannot be stopped
app orders cannot be cleaned up on db1
app orders takes 5s to start
app orders takes 500ms to stop
app orders works
app orders works on vm:standby
controller of db1 dies
controller of standby lies
controller of v1 is honest
at 20s when orders is preparing, power off leader
at 20s when orders is recalled, after 2s expect orders runs in standby within 5s
expect orders runs in v1
expect orders does not run in standby
expect orders runs on db1
expect orders is not preparing
expect orders was never started
";

#[test]
fn every_form_about_applications_is_read() {
    let config = roost::config::parse(
        &CLUSTER
            .replace("name = \"h2\"", "name = \"db1\"\nrole = \"application\"")
            .replace("\"web\"", "\"standby\"")
            .replace(
                "on = [\"h1\"]\n",
                "on = [\"h1\"]\n[[group]]\nname = \"orders\"\napp = \"pg\"\non = [\"db1\", \"vm:standby\"]\n",
            ),
    );
    let config = config.expect("a good configuration");
    let mut names = Names::new(&config, vec!["roost.toml".to_owned()]).expect("good names");
    let script = script::read(APPLICATIONS, &mut names);
    script.unwrap_or_else(|mistakes| panic!("{}", mistakes[0]));
    let mistakes = script::read("move orders to vm:standbi", &mut names).expect_err("no target");
    assert!(mistakes[0].to_string().contains("did you mean 'vm:standby'?"), "{}", mistakes[0]);
}

#[test]
fn every_form_of_the_manual_is_read() {
    let config = roost::config::parse(
        &example("```toml\n")
            .replace("watchdog = \"/dev/watchdog\"\n", "[[host.fence]]\nagent = \"fence_ipmilan\"\n"),
    );
    let config = config.expect("a good configuration");
    let mut names = Names::new(&config, vec!["roost.toml".to_owned()]).expect("good names");
    let script = script::read(FORMS, &mut names);
    let script = script.unwrap_or_else(|mistakes| panic!("{}", mistakes[0]));
    assert_eq!(script.setup.len(), 7);
}
