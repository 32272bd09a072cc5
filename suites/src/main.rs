//! The `nestcheck` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    suites::command::main()
}
