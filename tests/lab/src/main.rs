//! The lab's driver: plays scenarios on real hosts, looks on from outside, and writes a report. `tests/lab/run` builds and starts
//! all that it needs; see tests/lab/README.md.

mod agent;
mod chaos;
mod judge;
mod lab;
mod machine;
mod record;
mod report;
mod scenarios;
mod watch;

use lab::{Lab, Outcome};
use record::Fact;
use scenarios::Scenario;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Where setting up takes longer than this, guests boot too slowly for the scenarios' bounds.
const SET_UP: Duration = Duration::from_secs(300);

const HELP: &str = "\
Usage: roost-lab LAB SCRIPTS [--repeat N] [SCENARIO...]
       roost-lab LAB SCRIPTS --chaos MINUTES SEED
       roost-lab --check [what would follow LAB and SCRIPTS]
       roost-lab --list

LAB is the folder of a lab that is up, SCRIPTS the one of `power`, `bmc` and `provision`; tests/lab/run says both.
Exit status: 0 all as it should be, 1 not so, 2 usage.
";

/// What is to be done.
enum Wish {
    Play { repeat: u32, names: Vec<String> },
    Chaos { minutes: u64, seed: u64 },
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["--list"] {
        for scenario in scenarios::all() {
            println!("{:26} {}", scenario.name, scenario.must);
        }
        return ExitCode::SUCCESS;
    }
    let (place, rest) = match &arguments[..] {
        [check, rest @ ..] if check == "--check" => (None, rest),
        [lab, scripts, rest @ ..] => (Some((lab, scripts)), rest),
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match (wish(rest), place) {
        (Ok(_), None) => ExitCode::SUCCESS,
        (Ok(wish), Some((lab, scripts))) => match work(&PathBuf::from(lab), &PathBuf::from(scripts), wish) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("roost-lab: {why}");
                ExitCode::FAILURE
            }
        },
        (Err(why), _) => {
            eprint!("roost-lab: {why}\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn wish(words: &[String]) -> Result<Wish, String> {
    let number = |word: &String| word.parse().map_err(|_| format!("'{word}' is no number"));
    let (repeat, names) = match words {
        [option, minutes, seed] if option == "--chaos" => {
            return Ok(Wish::Chaos { minutes: number(minutes)?, seed: number(seed)? });
        }
        [option, times, names @ ..] if option == "--repeat" => (number(times)?, names),
        names => (1, names),
    };
    let known = scenarios::all();
    match names.iter().find(|name| !known.iter().any(|scenario| scenario.name == **name)) {
        Some(name) => Err(format!("there is no scenario '{name}'; --list tells those that there are")),
        None => Ok(Wish::Play { repeat: u32::try_from(repeat).unwrap_or(u32::MAX), names: names.to_vec() }),
    }
}

fn work(dir: &Path, scripts: &Path, wish: Wish) -> Outcome {
    let place = dir.join("report.html");
    let lab = Lab::open(dir, scripts)?;
    lab.record.note(Fact::Scenario("the lab is set up".to_owned()));
    let ready = lab.provision().and_then(|()| lab.settle());
    lab.record.note(Fact::Ended(ready.clone()));
    let slow = slow(lab.record.now());
    if let Some(slow) = &slow {
        lab.deed(slow.clone());
    }
    let end = ready.and_then(|()| match wish {
        Wish::Play { repeat, names } => {
            let all = scenarios::all();
            let chosen: Vec<_> = all
                .iter()
                .filter(|one| names.is_empty() || names.iter().any(|name| name == one.name))
                .collect();
            let mut failed = Vec::new();
            for _ in 0..repeat {
                for scenario in &chosen {
                    if let Err(why) = play(&lab, scenario) {
                        failed.push(format!("{}: {why}", scenario.name));
                    }
                    write_report(&lab, &place)?; // if this is cut short, there is one all the same
                }
            }
            if failed.is_empty() {
                Ok(())
            } else {
                Err(format!("not as it should be:\n{}", failed.join("\n")))
            }
        }
        Wish::Chaos { minutes, seed } => chaos::play(&lab, minutes, seed),
    });
    write_report(&lab, &place)?;
    println!("\nthe report is {}", place.display());
    end.map_err(|why| slow.map(|slow| format!("{why}\n{slow}")).unwrap_or(why))
}

/// What is to be said of a machine on which the lab was set up in such a time.
fn slow(took: Duration) -> Option<String> {
    (took > SET_UP).then(|| {
        format!(
            "this machine is slow: to set the lab up took {} s, and may take {} s; what was too late here says nothing of Roost",
            took.as_secs(),
            SET_UP.as_secs()
        )
    })
}

fn write_report(lab: &Lab, place: &Path) -> Outcome {
    fs::write(place, report::html(&lab.record.since(record::Moment::ZERO)))
        .map_err(|error| format!("'{}': {error}", place.display()))
}

/// Plays a scenario, and makes the lab well again.
fn play(lab: &Lab, scenario: &Scenario) -> Outcome {
    lab.record.note(Fact::Scenario(format!("{}: {}", scenario.name, scenario.must)));
    let played = (scenario.play)(lab);
    let mended = lab.mend().and_then(|()| lab.settle());
    let end = played.and(mended);
    lab.record.note(Fact::Ended(end.clone()));
    end
}
