//! Agents of the Open Cluster Framework, unmodified: environment and exit statuses are those of its Resource Agent API 1.1
//! (<https://github.com/ClusterLabs/OCF-spec/blob/main/ra/1.1/resource-agent-api.md>).

use super::{Seen, Task, cause, last_line, word};
use crate::agent::End;
use crate::config::Kind;
use crate::spawn::Spec;
use crate::subcluster::{Action, Outcome};
use roost_proto::link::Exit;

/// Where agents are, below `resource.d`, and what they include.
pub const ROOT: &str = "/usr/lib/ocf";

/// An agent puts it before the reason that a person should read.
const REASON_PREFIX: &str = "ocf-exit-reason:";

/// The agent's path.
pub fn path(provider: &str, agent: &str) -> String {
    format!("{ROOT}/resource.d/{provider}/{agent}")
}

/// The command line and environment of an action.
pub fn command(task: &Task<'_>) -> Spec {
    let Kind::Ocf { provider, agent, parameters } = &task.resource.kind else {
        unreachable!("only OCF resources have agents")
    };
    let interval = match (task.action, task.seen) {
        (Action::Monitor, Seen::Up) => task.resource.interval.as_millis(),
        _ => 0, // so an agent knows that it is only to find out
    };
    let fixed = [
        ("OCF_ROOT", ROOT.to_owned()),
        ("OCF_RA_VERSION_MAJOR", "1".to_owned()),
        ("OCF_RA_VERSION_MINOR", "1".to_owned()),
        ("OCF_RESOURCE_INSTANCE", task.resource.name.clone()),
        ("OCF_RESOURCE_TYPE", agent.clone()),
        ("OCF_RESOURCE_PROVIDER", provider.clone()),
        ("OCF_EXIT_REASON_PREFIX", REASON_PREFIX.to_owned()),
        ("OCF_RESKEY_CRM_meta_timeout", task.limit.as_millis().to_string()),
        ("OCF_RESKEY_CRM_meta_interval", interval.to_string()),
        ("OCF_RESKEY_CRM_meta_name", word(task.action).to_owned()),
    ];
    let mut environment: Vec<(String, String)> =
        parameters.iter().map(|(name, value)| (format!("OCF_RESKEY_{name}"), value.clone())).collect();
    environment.extend(fixed.map(|(name, value)| (name.to_owned(), value)));
    Spec {
        command: vec![path(provider, agent), word(task.action).to_owned()],
        environment,
        ..Spec::default()
    }
}

/// What its end means.
pub fn outcome(action: Action, end: End) -> Outcome {
    let reason = reason(action, &end);
    match (action, end.exit) {
        (Action::Stop, Exit::Code(0 | 7)) | (Action::Monitor, Exit::Code(7)) => Outcome::Stopped,
        // 8: it runs, and is promoted. That is more than was asked for.
        (Action::Start | Action::Monitor, Exit::Code(0 | 8)) => Outcome::Running,
        (Action::Start | Action::Monitor, Exit::Code(190 | 191)) => Outcome::Degraded(cause(&reason, end)),
        (Action::Start | Action::Monitor, Exit::Code(2..=6)) => Outcome::Misconfigured(cause(&reason, end)),
        _ => Outcome::Failed(cause(&reason, end)),
    }
}

fn reason(action: Action, end: &End) -> String {
    let given = end.output.lines().rev().find_map(|line| line.strip_prefix(REASON_PREFIX)).map(str::trim);
    let said = given.or_else(|| last_line(&end.output)).map(|line| format!(": {line}")).unwrap_or_default();
    let meaning = match end.exit {
        Exit::Code(2) => "says that a parameter is wrong",
        Exit::Code(3) => "is not implemented by the agent",
        Exit::Code(4) => "lacks permission",
        Exit::Code(5) => "says that what it needs is not installed",
        Exit::Code(6) => "says that the resource is configured wrongly",
        Exit::Code(7) => "says that it does not run",
        Exit::Code(9) => "says that it failed while promoted",
        Exit::Code(190 | 191) => "says that it is degraded",
        _ => "failed",
    };
    format!("{} {meaning} ({}){said}", word(action), end.exit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use core::time::Duration;

    fn of(action: Action, code: i32, output: &str) -> Outcome {
        outcome(action, End { exit: Exit::Code(code), output: output.to_owned() })
    }

    #[test]
    fn statuses_mean_what_the_standard_says() {
        use Action::{Monitor, Start, Stop};
        assert_eq!(of(Start, 0, ""), Outcome::Running);
        assert_eq!(of(Monitor, 0, ""), Outcome::Running);
        assert_eq!(of(Monitor, 8, ""), Outcome::Running);
        assert_eq!(of(Monitor, 7, ""), Outcome::Stopped);
        assert_eq!(of(Stop, 0, ""), Outcome::Stopped);
        assert_eq!(of(Stop, 7, ""), Outcome::Stopped);
        assert!(matches!(of(Start, 7, ""), Outcome::Failed(_)));
        assert!(matches!(of(Monitor, 1, ""), Outcome::Failed(_)));
        assert!(matches!(of(Monitor, 9, ""), Outcome::Failed(_)));
        assert!(matches!(of(Stop, 5, ""), Outcome::Failed(_)));
        for code in [190, 191] {
            assert!(matches!(of(Monitor, code, ""), Outcome::Degraded(_)));
        }
        for code in 2..=6 {
            assert!(matches!(of(Start, code, ""), Outcome::Misconfigured(_)));
            assert!(matches!(of(Monitor, code, ""), Outcome::Misconfigured(_)));
        }
    }

    #[test]
    fn the_agents_own_reason_is_told() {
        let output = "starting\nocf-exit-reason:first\nocf-exit-reason:no device '/dev/x'\nbye\n";
        let Outcome::Misconfigured(cause) = of(Action::Start, 5, output) else {
            panic!("5 is misconfigured")
        };
        assert_eq!(
            cause.reason,
            "start says that what it needs is not installed (exit status 5): no device '/dev/x'"
        );
        assert_eq!(cause.output, output);
    }

    #[test]
    fn the_environment_is_that_of_the_standard() {
        let text = "[[group]]\nname = \"g\"\n[[group.resource]]\nname = \"d\"\nkind = \"ocf:heartbeat:Dummy\"\n\
                    parameters = { state = \"/run/x\" }\ninterval = \"7s\"\n";
        let config = parse(text).expect("good");
        let resource = &config.groups[0].resources[0];
        let mut task = Task {
            group: "g",
            resource,
            action: Action::Monitor,
            seen: Seen::NotUp,
            limit: Duration::from_secs(20),
        };
        let value = |task: &Task<'_>, name: &str| {
            command(task).environment.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
        };
        for (name, wanted) in [
            ("OCF_ROOT", "/usr/lib/ocf"),
            ("OCF_RA_VERSION_MAJOR", "1"),
            ("OCF_RA_VERSION_MINOR", "1"),
            ("OCF_RESOURCE_INSTANCE", "d"),
            ("OCF_RESOURCE_TYPE", "Dummy"),
            ("OCF_RESOURCE_PROVIDER", "heartbeat"),
            ("OCF_EXIT_REASON_PREFIX", "ocf-exit-reason:"),
            ("OCF_RESKEY_state", "/run/x"),
            ("OCF_RESKEY_CRM_meta_timeout", "20000"),
            ("OCF_RESKEY_CRM_meta_interval", "0"),
        ] {
            assert_eq!(value(&task, name).as_deref(), Some(wanted), "{name}");
        }
        task.seen = Seen::Up;
        assert_eq!(value(&task, "OCF_RESKEY_CRM_meta_interval").as_deref(), Some("7000"));
        assert_eq!(command(&task).command, ["/usr/lib/ocf/resource.d/heartbeat/Dummy", "monitor"]);
    }
}
