//! The only place that writes to the terminal: data to stdout, everything else to stderr.

use std::{
    fmt::Display,
    io::{self, Write},
};

use crate::error::Error;

/// Writes one line of data to stdout.
pub fn data(line: impl Display) -> Result<(), Error> {
    writeln!(io::stdout().lock(), "{line}").map_err(|source| Error::io("write", "stdout", source))
}

/// Writes one line about what is being done to stderr.
pub fn progress(line: impl Display) {
    // A failure to print progress must not fail the work.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Writes an error and what can be done about it to stderr.
pub fn error(error: &Error) {
    let mut stderr = io::stderr().lock();
    let _ = writeln!(stderr, "error: {error}");
    for detail in error.details() {
        let _ = writeln!(stderr, "  {detail}");
    }
    if let Some(hint) = error.hint() {
        let _ = writeln!(stderr, "hint: {hint}");
    }
}
