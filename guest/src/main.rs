//! `roost-guest`, the program.

use std::process::ExitCode;

fn main() -> ExitCode {
    roost_guest::main(std::env::args_os().skip(1)).into()
}
