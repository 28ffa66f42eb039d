//! Three commands. Exit statuses: 0 is success, and for a monitor "runs"; 7 (as OCF has it) and 3 (as LSB has it) are "stopped".

use super::{cause, word};
use crate::agent::End;
use crate::subcluster::{Action, Outcome};
use roost_proto::link::Exit;

/// What the end of a command means.
pub fn outcome(action: Action, end: End) -> Outcome {
    match (action, end.exit) {
        (Action::Start | Action::Monitor, Exit::Code(0)) => Outcome::Running,
        (Action::Stop, Exit::Code(0)) | (Action::Monitor, Exit::Code(3 | 7)) => Outcome::Stopped,
        (_, exit) => Outcome::Failed(cause(&format!("{} failed: {exit}", word(action)), end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_mean_what_the_manual_says() {
        let of = |action, exit| outcome(action, End { exit, output: String::new() });
        assert_eq!(of(Action::Start, Exit::Code(0)), Outcome::Running);
        assert_eq!(of(Action::Monitor, Exit::Code(0)), Outcome::Running);
        assert_eq!(of(Action::Monitor, Exit::Code(3)), Outcome::Stopped);
        assert_eq!(of(Action::Monitor, Exit::Code(7)), Outcome::Stopped);
        assert_eq!(of(Action::Stop, Exit::Code(0)), Outcome::Stopped);
        for (action, exit) in [
            (Action::Start, Exit::Code(7)),
            (Action::Stop, Exit::Code(7)),
            (Action::Monitor, Exit::Code(1)),
            (Action::Monitor, Exit::Signal(9)),
        ] {
            assert!(matches!(of(action, exit), Outcome::Failed(_)), "{action:?} {exit:?}");
        }
    }
}
