//! All that a run writes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use test_support::{Finished, TestDir};

/// What `nestcheck report` can make of a directory.
const REPORTS: [&[&str]; 7] = [
    &["--format", "junit", "--dialect", "jenkins"],
    &["--format", "junit", "--dialect", "gitlab"],
    &["--format", "junit", "--dialect", "openshift"],
    &["--format", "json"],
    &["--format", "html"],
    &["--format", "markdown"],
    &["--format", "prometheus"],
];

/// Every file below a directory.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("it can be listed") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Every directory below a directory, and itself.
pub fn directories(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    for entry in fs::read_dir(directory).expect("it can be listed") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            found.extend(directories(&path));
        }
    }
    found
}

/// Each output of a run with its name: the files of the report, and the reports that can be made
/// of it again.
pub fn outputs(dir: &TestDir, directory: &Path) -> Vec<(String, String)> {
    let text = |path: PathBuf| {
        let content = fs::read(&path).expect("it can be read");
        (path.display().to_string(), String::from_utf8(content).expect("it is text"))
    };
    let mut all: Vec<_> = files(directory).into_iter().map(text).collect();
    for arguments in REPORTS {
        let path = directory.display().to_string();
        let written = dir.nestcheck(["report", &path, "--exit-zero"].iter().chain(arguments));
        written.exits(0);
        all.push((format!("report {arguments:?}"), written.stdout.clone()));
        all.push((format!("standard error of report {arguments:?}"), written.stderr.clone()));
    }
    all
}

/// What a command said.
pub fn said(finished: &Finished) -> [(String, String); 2] {
    [
        ("standard output".to_owned(), finished.stdout.clone()),
        ("standard error".to_owned(), finished.stderr.clone()),
    ]
}

/// Expects that none of these is in an output.
#[track_caller]
pub fn assert_absent(outputs: &[(String, String)], canaries: &[&str]) {
    assert!(!outputs.is_empty());
    for (name, text) in outputs {
        for canary in canaries {
            let Some(at) = text.find(canary) else { continue };
            let start = text.floor_char_boundary(at.saturating_sub(200));
            panic!("{name} has `{canary}`: …{}…", &text[start..at + canary.len()]);
        }
    }
}
