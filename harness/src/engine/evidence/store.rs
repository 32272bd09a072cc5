//! Evidence on the disk: private, and only where it belongs.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use crate::{
    base::private::{private_directory, private_file},
    verdict::event::{EVIDENCE_DIRECTORY, EvidenceCollected, is_plain},
};

/// Writes a file of a case.
pub(super) fn write(directory: &Path, case: &str, name: &str, text: &str) -> io::Result<()> {
    if !is_plain(case) || !is_plain(name) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a name of a file"));
    }
    private_directory(directory)?;
    let directory = directory.join(case);
    private_directory(&directory)?;
    private_file(&directory.join(name))?.write_all(text.as_bytes())
}

/// Removes what an earlier run has written into a report directory, as its log tells. Other files
/// stay, and so do the directories that they are in.
pub(crate) fn remove<'a>(report: &Path, earlier: impl Iterator<Item = &'a EvidenceCollected>) {
    for evidence in earlier {
        let Some(case) = evidence.case_directory() else { continue };
        let directory = report.join(EVIDENCE_DIRECTORY).join(case);
        for file in evidence.files.iter().filter(|file| is_plain(&file.name)) {
            let _ = fs::remove_file(directory.join(&file.name));
        }
        let _ = fs::remove_dir(directory);
    }
    let _ = fs::remove_dir(report.join(EVIDENCE_DIRECTORY));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::verdict::event::EvidenceFile;

    #[test]
    fn evidence_is_private_and_stays_in_its_directory() {
        let report = tempfile::tempdir().expect("a temporary directory");
        let directory = report.path().join(EVIDENCE_DIRECTORY);
        write(&directory, "POD-03", "pod-1.json", "{}").expect("it can be written");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode();
        assert_eq!(mode(&directory) & 0o777, 0o700);
        assert_eq!(mode(&directory.join("POD-03")) & 0o777, 0o700);
        assert_eq!(mode(&directory.join("POD-03/pod-1.json")) & 0o777, 0o600);
        for (case, name) in [("..", "x"), ("POD-03", "../x"), ("a/b", "x"), ("POD-03", "")] {
            assert!(write(&directory, case, name, "").is_err(), "{case} {name}");
        }
        let outside = report.path().join("outside");
        fs::create_dir(&outside).expect("it can be made");
        std::os::unix::fs::symlink(&outside, directory.join("POD-04")).expect("a link can be made");
        assert!(
            write(&directory, "POD-04", "pod-1.json", "{}").is_err(),
            "it would leave the report"
        );
        fs::set_permissions(directory.join("POD-03"), fs::Permissions::from_mode(0o777))
            .expect("it is ours");
        write(&directory, "POD-03", "pod-2.json", "{}").expect("it can be written");
        assert_eq!(mode(&directory.join("POD-03")) & 0o777, 0o700, "as if it were new");
    }

    #[test]
    fn only_what_the_log_names_is_removed() {
        let report = tempfile::tempdir().expect("a temporary directory");
        let directory = report.path().join(EVIDENCE_DIRECTORY);
        for (case, name) in [("POD-03", "pod-1.json"), ("POD-04", "pod-1.json")] {
            write(&directory, case, name, "{}").expect("it can be written");
        }
        fs::write(directory.join("POD-04/mine.txt"), "").expect("it can be written");
        let outside = report.path().join("outside.txt");
        fs::write(&outside, "").expect("it can be written");
        let evidence = |directory: &str, name: &str| EvidenceCollected {
            id: "POD-03".into(),
            directory: directory.into(),
            files: vec![EvidenceFile { name: name.into(), bytes: 2 }],
            missing: Vec::new(),
            duration_ms: 0,
        };
        let earlier = [
            evidence("diagnostics/POD-03", "pod-1.json"),
            evidence("diagnostics/POD-04", "pod-1.json"),
            evidence("diagnostics/..", "outside.txt"),
            evidence("diagnostics/POD-04", "../../outside.txt"),
        ];
        remove(report.path(), earlier.iter());
        assert!(
            !directory.join("POD-03").exists() && !directory.join("POD-04/pod-1.json").exists()
        );
        assert!(directory.join("POD-04/mine.txt").exists() && outside.exists());
    }
}
