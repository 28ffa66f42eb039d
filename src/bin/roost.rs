//! `roost`, the operator's command; see roost(8).

fn main() -> std::process::ExitCode {
    roost::cli::main()
}
