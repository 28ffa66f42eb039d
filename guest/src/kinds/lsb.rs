//! Init scripts. Arguments and exit statuses are those of the Linux Standard Base, "Init Script Actions" (LSB Core, Generic,
//! chapter 22.2).

use super::{cause, last_line, word};
use crate::agent::End;
use crate::spawn::Spec;
use crate::subcluster::{Action, Outcome};
use roost_proto::link::Exit;

/// The command line of an action.
pub fn command(script: &str, action: Action) -> Spec {
    let argument = match action {
        Action::Start => "start",
        Action::Stop => "stop",
        Action::Monitor => "status",
    };
    Spec { command: vec![format!("/etc/init.d/{script}"), argument.to_owned()], ..Spec::default() }
}

/// What its end means.
pub fn outcome(action: Action, end: End) -> Outcome {
    match (action, end.exit) {
        (Action::Start | Action::Monitor, Exit::Code(0)) => Outcome::Running,
        (Action::Stop, Exit::Code(0)) | (Action::Monitor, Exit::Code(3)) => Outcome::Stopped,
        (Action::Monitor, Exit::Code(1)) => failed("is dead, and its pid file exists", end),
        (Action::Monitor, Exit::Code(2)) => failed("is dead, and its lock file exists", end),
        // Invalid arguments, not implemented, no right, not installed, not configured.
        (Action::Start, Exit::Code(code @ 2..=6)) => Outcome::Misconfigured(cause(
            &format!("start says that it is set up wrongly (exit status {code})"),
            end,
        )),
        (_, exit) => {
            let said = last_line(&end.output).map(|line| format!(": {line}")).unwrap_or_default();
            failed(&format!("{} failed: {exit}{said}", word(action)), end)
        }
    }
}

fn failed(reason: &str, end: End) -> Outcome {
    Outcome::Failed(cause(reason, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_mean_what_the_standard_says() {
        let of = |action, code| outcome(action, End { exit: Exit::Code(code), output: "why\n".to_owned() });
        assert_eq!(of(Action::Start, 0), Outcome::Running);
        assert_eq!(of(Action::Monitor, 0), Outcome::Running);
        assert_eq!(of(Action::Monitor, 3), Outcome::Stopped);
        assert_eq!(of(Action::Stop, 0), Outcome::Stopped);
        assert!(matches!(of(Action::Monitor, 1), Outcome::Failed(_)));
        assert!(matches!(of(Action::Monitor, 4), Outcome::Failed(_)));
        assert!(matches!(of(Action::Start, 5), Outcome::Misconfigured(_)));
        assert!(
            matches!(of(Action::Start, 1), Outcome::Failed(cause) if cause.reason.ends_with("exit status 1: why"))
        );
        assert!(matches!(of(Action::Stop, 5), Outcome::Failed(_)));
        assert_eq!(command("x", Action::Monitor).command, ["/etc/init.d/x", "status"]);
    }
}
