//! The reports of a supervisor to the `up` that started it: one JSON object per line on stdout.

use std::{
    fs::File,
    io::{self, Write},
};

use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// News of a cluster that starts.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "report", rename_all = "camelCase")]
pub enum Report {
    /// The next step started.
    Step {
        /// What is being done, such as `starting the kubelet`.
        text: String,
    },
    /// The cluster is ready.
    Ready,
    /// The cluster could not be started and was given back.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// Sends a report, which is lost if `up` has ended.
pub fn send(report: &Report) {
    if let Ok(mut line) = serde_json::to_vec(report) {
        line.push(b'\n');
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
    }
}

/// Lets go of the pipe to `up`, which may end now.
pub fn hang_up() {
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdout(null);
    }
}
