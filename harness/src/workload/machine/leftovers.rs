//! Processes that outlive their command: servers, and those that podman leaves for the next one.

use std::{fs, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

/// How often the processes are looked through: one that is killed may have just made another.
const ROUNDS: u32 = 10;

/// How long killed processes have to end before the next look.
const PAUSE: Duration = Duration::from_millis(50);

/// Kills the processes of this user that have this variable with this value in their environment.
pub(super) async fn end_processes(name: &str, value: &str) {
    let entry = format!("{name}={value}");
    for _ in 0..ROUNDS {
        let found = processes(entry.as_bytes());
        if found.is_empty() {
            return;
        }
        for process in found {
            // It may have ended meanwhile.
            let _ = kill_process(process, Signal::KILL);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The processes with this entry in their environment. That of another user cannot be read.
fn processes(entry: &[u8]) -> Vec<Pid> {
    let has_entry = |name: &str| {
        let environment = fs::read(format!("/proc/{name}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|it| it == entry)
    };
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    names
        .filter_map(|directory| {
            let name = directory.file_name().into_string().ok()?;
            let process = Pid::from_raw(name.parse().ok()?)?;
            has_entry(&name).then_some(process)
        })
        .collect()
}
