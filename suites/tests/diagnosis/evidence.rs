//! The files about the broken workspaces.

use std::{fs, path::Path};

use harness::verdict::event::{Event, EventKind, EvidenceCollected};
use test_support::mode_of;

use crate::table::{Act, Breakage};

/// The most that the files of a case may hold.
const CASE_LIMIT: usize = 512 * 1024;

/// What can be seen of a pod that runs.
const RUNNING: &[&str] = &[
    "nodes.json",
    "pod-1.events.txt",
    "pod-1.ids.txt",
    "pod-1.mounts.txt",
    "pod-1.object.json",
    "pod-1.podman-info.json",
    "pod-1.probe.json",
    "pod-1.processes.txt",
];

/// What can be seen of a pod that does not start.
const NOT_STARTED: &[&str] = &["nodes.json", "pod-1.events.txt", "pod-1.object.json"];

/// What can be seen where there is no pod.
const NO_POD: &[&str] = &["nodes.json"];

/// Expects that the files that the log names are there, private and as long as it says, and that
/// they show what the case was about.
#[track_caller]
pub fn is_there(report: &Path, events: &[Event], id: &str, breakage: &Breakage) {
    let evidence = of(events, id);
    let directory = report.join("diagnostics").join(id);
    assert_eq!(evidence.directory, format!("diagnostics/{id}"));
    assert_eq!(mode_of(&directory), 0o700, "{}", directory.display());
    let mut total = 0;
    for file in &evidence.files {
        let path = directory.join(&file.name);
        assert_eq!(mode_of(&path), 0o600, "{}", path.display());
        assert_eq!(fs::metadata(&path).map_or(0, |data| data.len()), file.bytes as u64);
        total += file.bytes;
    }
    assert!(total <= CASE_LIMIT, "{id}: {total} bytes");
    let in_directory = fs::read_dir(&directory).expect("it can be listed").count();
    assert_eq!(in_directory, evidence.files.len(), "{id}: the log names every file");
    let names: Vec<_> = evidence.files.iter().map(|file| file.name.as_str()).collect();
    let shows = match breakage.act {
        Some(Act::Starts) => NOT_STARTED,
        Some(Act::IsRefused) => NO_POD,
        Some(Act::Script(_)) | None => RUNNING,
    };
    for name in shows {
        assert!(names.contains(name), "{id} {}: {name} is not in {evidence:?}", breakage.pod.name);
    }
}

fn of<'a>(events: &'a [Event], id: &str) -> &'a EvidenceCollected {
    let mut collected = events.iter().filter_map(|event| match &*event.event {
        EventKind::EvidenceCollected(evidence) if evidence.id == id => Some(evidence),
        _ => None,
    });
    let evidence = collected.next();
    assert!(collected.next().is_none(), "{id} has evidence twice");
    evidence.unwrap_or_else(|| panic!("{id} has no evidence"))
}

/// Expects that every report says where a case's files are.
#[track_caller]
pub fn is_reported(report: &Path, id: &str) {
    let directory = format!("diagnostics/{id}");
    for name in ["junit.xml", "report.json", "index.html"] {
        let text = fs::read_to_string(report.join(name)).expect("the report is there");
        assert!(text.contains(&directory), "{name} does not mention {directory}");
    }
}

/// Expects that no file has a token in it, such as the ordinary user's.
#[track_caller]
pub fn has_no_secret(directory: &Path) {
    for entry in fs::read_dir(directory).expect("it can be listed") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            has_no_secret(&path);
        } else {
            let text = fs::read_to_string(&path).expect("it is text");
            assert!(!text.contains("eyJhbGciOi"), "a token is in {}", path.display());
        }
    }
}
