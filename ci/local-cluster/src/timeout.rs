//! The factor of this program's timeouts, for machines that are slower than its own: a virtual machine
//! that emulates its processors takes about 15 times as long.

use std::{env, sync::OnceLock, time::Duration};

use tokio::time::Instant;

use crate::error::Error;

/// The variable with the factor, a whole number.
pub const FACTOR_VARIABLE: &str = "LOCAL_CLUSTER_TIMEOUT_FACTOR";

/// The largest factor.
const LARGEST: u32 = 100;

static FACTOR: OnceLock<u32> = OnceLock::new();

/// Reads the factor, once and before anything waits.
pub fn read_factor() -> Result<(), Error> {
    let factor = match env::var(FACTOR_VARIABLE) {
        Ok(text) => parse(&text)?,
        Err(env::VarError::NotPresent) => 1,
        Err(env::VarError::NotUnicode(text)) => parse(&text.to_string_lossy())?,
    };
    FACTOR.get_or_init(|| factor);
    Ok(())
}

fn parse(text: &str) -> Result<u32, Error> {
    let factor = text.parse().ok().filter(|factor| (1..=LARGEST).contains(factor));
    factor.ok_or_else(|| {
        Error::usage(format!("`{FACTOR_VARIABLE}` is `{text}`"))
            .with_hint(format!("set it to a whole number from 1 to {LARGEST}, or unset it"))
    })
}

/// A time limit on this machine.
pub fn scaled(limit: Duration) -> Duration {
    limit * FACTOR.get().copied().unwrap_or(1)
}

/// A time limit that has begun.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    /// When it is over.
    pub at: Instant,
    /// How long it is, on this machine.
    pub limit: Duration,
}

impl Deadline {
    /// Begins a limit, multiplied by the factor.
    pub fn begin(limit: Duration) -> Self {
        let limit = scaled(limit);
        Self { at: Instant::now() + limit, limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_is_a_whole_number() {
        assert_eq!(parse("15").unwrap(), 15);
        for text in ["", "0", "-1", "1.5", "101", "x"] {
            assert_eq!(parse(text).unwrap_err().exit_code(), 2, "{text}");
        }
    }
}
