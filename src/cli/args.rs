//! The command line. Every flag here is in roost(8), or a test fails.

use super::completions::Shell;
use super::since::Since;
use crate::driver::udp::keys::KEY_FILE;
use clap::{Args, Parser, Subcommand, ValueEnum};
use roost_proto::control::Level;
use std::path::PathBuf;

/// Where `roostd` listens unless told otherwise.
pub const SOCKET: &str = "/run/roost/roostd.sock";
/// The configuration that `roostd` reads unless told otherwise.
pub const CONFIG: &str = "/etc/roost/roost.toml";

/// Keeps virtual machines, and the applications inside them, running
#[derive(Debug, Parser)]
#[command(name = "roost", version, arg_required_else_help = false)]
#[command(
    after_help = "Exit status: 0 as wanted, 1 degraded, 2 broken, 64 and more: an error. See roost(8)."
)]
pub struct Cli {
    /// The socket of roostd
    #[arg(long, global = true, value_name = "PATH", default_value = SOCKET)]
    pub socket: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show every host and every group of the cluster: its condition, since when, and why
    Status {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show the same, and go on showing it; q ends it
    Watch {
        /// Print one JSON object a line, now and after each change
        #[arg(long)]
        json: bool,
    },
    /// Explain why a group is where it is, and not elsewhere, or how a host stands, and what the next failure would do
    Explain {
        /// The group, or the host
        #[arg(value_name = "GROUP|HOST")]
        subject: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Work out where groups would go if hosts were lost, and whether they fit
    Plan(Plan),
    /// Show what happened, oldest first
    Events(Events),
    /// Print metrics of this host, in OpenMetrics' text format
    Metrics,
    /// Keep a group online; one that was given up on is tried afresh
    Online(Order),
    /// Take a group offline, and leave it so until `roost online`
    Offline(Order),
    /// Watch a group, and touch nothing of it until `roost thaw`
    Freeze {
        /// The group
        group: String,
    },
    /// Take care of a frozen group again
    Thaw {
        /// The group
        group: String,
    },
    /// Move a group to another host, or an application to another target
    Switch(Switch),
    /// Move a group home: to the first host, or target, of its `on` that can take it
    Failback(Failback),
    /// Practise: treat a group as failed where it is, so that it is stopped there and started elsewhere
    Fail {
        /// The group
        group: String,
        /// Wait until it is there; Ctrl-C ends the waiting, not the move
        #[arg(long)]
        wait: bool,
    },
    /// Empty a host and give it nothing new (on), or use it again (off)
    Maintenance {
        /// The host
        host: String,
        /// Whether it begins or ends
        #[arg(value_enum)]
        state: OnOff,
    },
    /// Confirm that an evicted host runs nothing, after you have made certain of it: its groups start elsewhere
    Fence {
        /// The host
        host: String,
        /// You have made certain: it has no power, or is cut off from storage and network for good
        #[arg(long, required = true)]
        confirm: bool,
    },
    /// Take Roost's hands off the whole cluster, for work on its network: nothing is started, stopped, moved or fenced
    Disarm,
    /// Have the cluster act again after `roost disarm`
    Arm,
    /// Have roostd read its configuration again; nothing is restarted for it
    Reload {
        /// Only tell what would change, or what is wrong with the file
        #[arg(long)]
        dry_run: bool,
    },
    /// Check a configuration; needs no daemon
    Check {
        /// The configuration
        #[arg(default_value = CONFIG)]
        file: PathBuf,
    },
    /// Make a key for the cluster, in a new file; needs no daemon
    Keygen {
        /// The file; what exists is never overwritten
        #[arg(default_value = KEY_FILE)]
        file: PathBuf,
    },
    /// Print what a shell reads to complete this command's lines; packages install it already
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Which hosts are lost.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("lost").required(true).args(["without", "any"])))]
pub struct Plan {
    /// These hosts, together
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub without: Vec<String>,
    /// Any one host, each by itself
    #[arg(long, value_name = "1", value_parser = clap::value_parser!(u8).range(1..=1))]
    pub any: Option<u8>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Which events, and how.
#[derive(Debug, Args)]
pub struct Events {
    /// Go on with each new event
    #[arg(long)]
    pub follow: bool,
    /// Only events of this last while (10m), since this time (14:30, or 2026-11-26T10:00), or after this number
    #[arg(long, value_name = "DURATION|TIME|SEQ")]
    pub since: Option<Since>,
    /// Only events of this group
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// Only events that are at least so bad
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub level: Option<AtLeast>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Which group goes where, and how.
#[derive(Debug, Args)]
pub struct Switch {
    /// The group
    pub group: String,
    /// The host that it goes to, or the target of an application (HOST, or vm:GROUP); the best but its own if left out
    #[arg(long, value_name = "TARGET")]
    pub to: Option<String>,
    /// How.
    #[command(flatten)]
    pub manner: Manner,
}

/// Which group goes home, and how.
#[derive(Debug, Args)]
pub struct Failback {
    /// The group
    pub group: String,
    /// How.
    #[command(flatten)]
    pub manner: Manner,
}

/// How a group is moved, and how far.
#[derive(Debug, Args)]
pub struct Manner {
    /// By which method.
    #[command(flatten)]
    pub method: Method,
    /// Wait until it is there, or stays; Ctrl-C ends the waiting, not the move
    #[arg(long)]
    pub wait: bool,
    /// Only tell what would be done, step by step, or why it cannot be
    #[arg(long, conflicts_with_all = ["live", "suspend", "cold", "wait"])]
    pub dry_run: bool,
}

/// How a group is moved; the first of its own `moves` if none is asked for.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct Method {
    /// It runs on, but for a moment
    #[arg(long)]
    pub live: bool,
    /// Its memory is saved to the cluster's `save_dir`, and restored there
    #[arg(long)]
    pub suspend: bool,
    /// It is shut down, and started there
    #[arg(long)]
    pub cold: bool,
}

/// Whether something begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    /// It begins
    On,
    /// It ends
    Off,
}

/// Whom to order.
#[derive(Debug, Args)]
pub struct Order {
    /// The group
    pub group: String,
    /// Wait until it is so, or cannot become so
    #[arg(long)]
    pub wait: bool,
}

/// How bad an event must be to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AtLeast {
    /// Every event
    Info,
    /// What is worth a look, and what failed
    Warning,
    /// What failed
    Error,
}

impl AtLeast {
    /// As the events have it.
    pub const fn level(self) -> Level {
        match self {
            Self::Info => Level::Info,
            Self::Warning => Level::Warning,
            Self::Error => Level::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
