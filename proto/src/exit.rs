//! How Roost's programs end: one table for `roostd`, `roost` and `roost-guest`, the same in every manual page. The numbers
//! from 64 up are those of sysexits(3), so that none of them can be taken for a state.

/// An exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Done; or all is as wanted.
    Ok = 0,
    /// Something is on its way, not known, or needs a look.
    Degraded = 1,
    /// Something that should run was given up on, or nothing can be decided.
    Broken = 2,
    /// The command line is none that the program knows.
    Usage = 64,
    /// There is no group of that name.
    UnknownGroup = 65,
    /// The daemon, or the controller, does not run or does not answer.
    Unavailable = 69,
    /// The operating system refused something that is needed.
    System = 71,
    /// Not done, and nothing changed: try again.
    TryAgain = 75,
    /// The two sides do not understand each other; as a rule they are of different versions.
    Protocol = 76,
    /// The caller may not do that.
    NotPermitted = 77,
    /// The configuration was refused, or cannot be read.
    Configuration = 78,
}

/// The whole table, with the words of the manual pages.
pub const TABLE: [(Exit, &str); 11] = [
    (Exit::Ok, "Done; or all is as wanted."),
    (Exit::Degraded, "Something is on its way, not known, or needs a look."),
    (Exit::Broken, "Something that should run was given up on, or nothing can be decided."),
    (Exit::Usage, "The command line was not understood."),
    (Exit::UnknownGroup, "There is no group of that name."),
    (Exit::Unavailable, "The daemon, or the controller, does not run or does not answer."),
    (Exit::System, "The operating system refused something that is needed."),
    (Exit::TryAgain, "Not done, and nothing changed; try again."),
    (Exit::Protocol, "The two sides do not understand each other; compare their versions."),
    (Exit::NotPermitted, "The caller may not do that."),
    (Exit::Configuration, "The configuration was refused, or cannot be read."),
];

impl Exit {
    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
