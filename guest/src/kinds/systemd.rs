//! Units of systemd, by systemctl(1). A unit's main process is watched beside, so its end is an event.

use super::{Step, cause, last_line};
use crate::agent::End;
use crate::spawn::Spec;
use crate::subcluster::{Action, Outcome};
use core::time::Duration;
use roost_proto::link::Exit;

/// Why systemctl or journalctl is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// To start the unit.
    Start,
    /// To see why starting it failed; with what systemctl said.
    Explain(String),
    /// To see how it is. Asked again after the pause if it is on its way.
    Look(Duration),
    /// To stop it.
    Stop,
    /// To see whether it stopped after all; with what systemctl said.
    Confirm(String),
    /// To kill all of it, because it did not stop in time.
    Kill,
    /// To see whether that helped.
    AfterKill(Duration),
    /// To have the last lines of its output for this outcome.
    Journal(Box<Outcome>),
}

/// The pause before a unit on its way is looked at again; it doubles up to [`LONGEST_PAUSE`].
pub const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Lines of a unit's journal in a fault: more than fit are cut.
const JOURNAL_LINES: &str = "20";

const PROPERTIES: &str =
    "--property=LoadState,ActiveState,SubState,MainPID,Result,ExecMainPID,ExecMainCode,ExecMainStatus";

fn run(command: &[&str], stage: Stage) -> Step {
    let command = command.iter().map(|&word| word.to_owned()).collect();
    Step::Run(Spec { command, ..Spec::default() }, super::Stage::Systemd(stage))
}

fn show(unit: &str, stage: Stage) -> Step {
    run(&["systemctl", "show", PROPERTIES, "--", unit], stage)
}

/// The first step.
pub fn begin(unit: &str, action: Action) -> Step {
    match action {
        Action::Start => run(&["systemctl", "start", "--", unit], Stage::Start),
        Action::Stop => run(&["systemctl", "stop", "--", unit], Stage::Stop),
        Action::Monitor => look(unit),
    }
}

/// Asks how the unit is, as often as it is on its way.
pub fn look(unit: &str) -> Step {
    show(unit, Stage::Look(FIRST_PAUSE))
}

/// It did not stop in time: every process of it is killed.
pub fn force(unit: &str) -> Step {
    run(&["systemctl", "kill", "--signal=SIGKILL", "--", unit], Stage::Kill)
}

/// What is asked again after a pause.
pub fn again(unit: &str, stage: Stage) -> Step {
    show(unit, stage)
}

/// What follows when the program of `stage` has ended.
pub fn ended(unit: &str, stage: Stage, end: &End) -> Step {
    match stage {
        Stage::Start if end.exit == Exit::Code(0) => Step::Done(Outcome::Running),
        Stage::Start => show(unit, Stage::Explain(end.output.clone())),
        Stage::Explain(said) => explain(unit, &said, end),
        Stage::Look(pause) => looked(unit, pause, end),
        Stage::Stop if end.exit == Exit::Code(0) => Step::Done(Outcome::Stopped),
        Stage::Stop => show(unit, Stage::Confirm(end.output.clone())),
        Stage::Confirm(said) => confirm(unit, &said, end),
        Stage::Kill => show(unit, Stage::AfterKill(FIRST_PAUSE)),
        Stage::AfterKill(pause) => match Unit::read(&end.output).activity() {
            Activity::Down | Activity::Failed => Step::Done(Outcome::Stopped),
            _ => wait(Stage::AfterKill(longer(pause)), pause),
        },
        Stage::Journal(outcome) => Step::Done(with_output(*outcome, &end.output)),
    }
}

fn wait(stage: Stage, pause: Duration) -> Step {
    Step::Wait(pause, super::Stage::Systemd(stage))
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).min(LONGEST_PAUSE)
}

fn explain(unit: &str, said: &str, end: &End) -> Step {
    let state = Unit::read(&end.output);
    let said = last_line(said).unwrap_or("systemctl said nothing");
    match state.load {
        "loaded" => journal(unit, Outcome::Failed(cause(&format!("start failed: {said}"), state.end()))),
        "" => Step::Done(Outcome::Failed(cause(&format!("start failed: {said}"), end.clone()))),
        _ => Step::Done(state.unusable(unit)),
    }
}

fn looked(unit: &str, pause: Duration, end: &End) -> Step {
    let state = Unit::read(&end.output);
    if end.exit != Exit::Code(0) || state.load.is_empty() {
        let said = last_line(&end.output).unwrap_or("it said nothing");
        return Step::Done(Outcome::Failed(cause(&format!("systemctl failed: {said}"), end.clone())));
    }
    match state.activity() {
        Activity::Up => Step::Done(Outcome::Running),
        Activity::OnItsWay => wait(Stage::Look(longer(pause)), pause),
        _ if state.load != "loaded" => Step::Done(state.unusable(unit)),
        Activity::Down => Step::Done(Outcome::Stopped),
        Activity::Failed => {
            let reason = format!("systemd says that it failed: {} ({})", state.result, state.end().exit);
            journal(unit, Outcome::Failed(cause(&reason, state.end())))
        }
    }
}

fn confirm(unit: &str, said: &str, end: &End) -> Step {
    let state = Unit::read(&end.output);
    let is_down = !state.load.is_empty() && matches!(state.activity(), Activity::Down | Activity::Failed);
    if is_down {
        return Step::Done(Outcome::Stopped);
    }
    let said = last_line(said).unwrap_or("systemctl said nothing");
    journal(unit, Outcome::Failed(cause(&format!("stop failed: {said}"), state.end())))
}

fn journal(unit: &str, outcome: Outcome) -> Step {
    let lines = format!("--lines={JOURNAL_LINES}");
    run(
        &["journalctl", "--quiet", "--no-pager", "--output=cat", &lines, "--unit", unit],
        Stage::Journal(Box::new(outcome)),
    )
}

fn with_output(outcome: Outcome, output: &str) -> Outcome {
    match outcome {
        Outcome::Failed(cause) => {
            Outcome::Failed(crate::subcluster::Cause { output: output.to_owned(), ..cause })
        }
        other => other,
    }
}

/// The main process of the unit that `systemctl show` told of, if it has one.
pub fn main_pid(output: &str) -> Option<i32> {
    Unit::read(output).main_pid.parse().ok().filter(|&pid| pid > 1)
}

/// How a unit is, as `systemctl show` prints it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Unit<'a> {
    load: &'a str,
    active: &'a str,
    main_pid: &'a str,
    result: &'a str,
    exec_code: &'a str,
    exec_status: &'a str,
}

/// What matters of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    Up,
    OnItsWay,
    Down,
    Failed,
}

impl<'a> Unit<'a> {
    fn read(output: &'a str) -> Self {
        let mut unit = Self::default();
        for (key, value) in output.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "LoadState" => unit.load = value,
                "ActiveState" => unit.active = value,
                "MainPID" => unit.main_pid = value,
                "Result" => unit.result = value,
                "ExecMainCode" => unit.exec_code = value,
                "ExecMainStatus" => unit.exec_status = value,
                _ => {}
            }
        }
        unit
    }

    fn activity(self) -> Activity {
        match self.active {
            "active" | "reloading" | "refreshing" => Activity::Up,
            "activating" | "deactivating" => Activity::OnItsWay,
            "inactive" => Activity::Down,
            _ => Activity::Failed,
        }
    }

    /// How its main process ended: `ExecMainCode` is a `si_code` of waitid(2).
    fn end(self) -> End {
        let status = self.exec_status.parse().ok();
        let exit = match (self.exec_code, status) {
            ("1", Some(status)) => Exit::Code(status),
            ("2" | "3", Some(status)) => Exit::Signal(status),
            _ => Exit::Unknown,
        };
        End { exit, output: String::new() }
    }

    fn unusable(self, unit: &str) -> Outcome {
        let reason = match self.load {
            "not-found" => format!("systemd knows no unit '{unit}'"),
            "masked" => format!("unit '{unit}' is masked"),
            load => format!("systemd cannot use unit '{unit}': {load}"),
        };
        Outcome::Misconfigured(cause(&reason, self.end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(load: &str, active: &str, pid: &str) -> End {
        let output = format!(
            "MainPID={pid}\nResult=exit-code\nExecMainCode=1\nExecMainStatus=3\nLoadState={load}\nActiveState={active}\n"
        );
        End { exit: Exit::Code(0), output }
    }

    fn look_at(end: &End) -> Step {
        ended("x.service", Stage::Look(FIRST_PAUSE), end)
    }

    #[test]
    fn a_unit_is_read_as_systemctl_shows_it() {
        assert_eq!(look_at(&shown("loaded", "active", "77")), Step::Done(Outcome::Running));
        assert_eq!(main_pid(&shown("loaded", "active", "77").output), Some(77));
        assert_eq!(main_pid(&shown("loaded", "active", "0").output), None);
        assert_eq!(look_at(&shown("loaded", "inactive", "0")), Step::Done(Outcome::Stopped));
        assert!(matches!(
            look_at(&shown("not-found", "inactive", "0")),
            Step::Done(Outcome::Misconfigured(_))
        ));
        assert!(matches!(look_at(&shown("masked", "inactive", "0")), Step::Done(Outcome::Misconfigured(_))));
        // One that was masked while it ran still runs.
        assert_eq!(look_at(&shown("masked", "active", "77")), Step::Done(Outcome::Running));
        let silent = End { exit: Exit::Code(1), output: "Failed to connect to bus\n".to_owned() };
        assert!(matches!(look_at(&silent), Step::Done(Outcome::Failed(_))));
    }

    #[test]
    fn what_is_on_its_way_is_waited_for_ever_longer() {
        let mut pause = FIRST_PAUSE;
        for _ in 0..10 {
            let step = ended("x", Stage::Look(pause), &shown("loaded", "activating", "0"));
            let Step::Wait(waited, super::super::Stage::Systemd(Stage::Look(next))) = step else {
                panic!("{step:?}")
            };
            assert_eq!(waited, pause);
            assert!(next <= LONGEST_PAUSE && next >= pause);
            pause = next;
        }
        assert_eq!(pause, LONGEST_PAUSE);
    }

    #[test]
    fn a_failed_unit_comes_with_its_exit_and_its_journal() {
        let Step::Run(spec, super::super::Stage::Systemd(stage)) = look_at(&shown("loaded", "failed", "0"))
        else {
            panic!("the journal is asked for")
        };
        assert_eq!(spec.command[0], "journalctl");
        let end = End { exit: Exit::Code(0), output: "no space left\n".to_owned() };
        let Step::Done(Outcome::Failed(cause)) = ended("x", stage, &end) else { panic!("it failed") };
        assert_eq!((cause.exit, cause.output.as_str()), (Exit::Code(3), "no space left\n"));
        assert!(cause.reason.contains("exit-code"), "{}", cause.reason);
    }

    #[test]
    fn a_stop_that_failed_counts_if_the_unit_is_down() {
        let said = End { exit: Exit::Code(5), output: "Unit x not loaded.\n".to_owned() };
        let Step::Run(_, super::super::Stage::Systemd(stage)) = ended("x", Stage::Stop, &said) else {
            panic!("it is looked at")
        };
        assert_eq!(
            ended("x", stage.clone(), &shown("loaded", "inactive", "0")),
            Step::Done(Outcome::Stopped)
        );
        assert!(!matches!(ended("x", stage, &shown("loaded", "active", "7")), Step::Done(Outcome::Stopped)));
    }
}
