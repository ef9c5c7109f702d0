//! The scenarios, with a runner of their own: `--help` says how to choose among them.

fn main() -> std::process::ExitCode {
    tests_scenarios::runner::main(&tests_scenarios::scenarios())
}
