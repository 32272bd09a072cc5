//! The command of `ci/mutants/run`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;

fn main() -> ExitCode {
    match mutants::main(&mutants::Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            if let Some(hint) = error.hint() {
                let _ = writeln!(io::stderr(), "hint: {hint}");
            }
            ExitCode::from(error.kind().exit_code())
        }
    }
}
