//! Evidence on the disk: private, and only where it belongs.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use crate::{
    event::{EVIDENCE_FOLDER, EvidenceCollected, is_plain},
    report_dir::{private_file, private_folder},
};

/// Writes a file of a case.
pub(super) fn write(folder: &Path, case: &str, name: &str, text: &str) -> io::Result<()> {
    if !is_plain(case) || !is_plain(name) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a name of a file"));
    }
    private_folder(folder)?;
    let folder = folder.join(case);
    private_folder(&folder)?;
    private_file(&folder.join(name))?.write_all(text.as_bytes())
}

/// Removes what an earlier run has written into a report folder, as its log tells. Other files
/// stay, and so do the folders that they are in.
pub(crate) fn remove<'a>(report: &Path, earlier: impl Iterator<Item = &'a EvidenceCollected>) {
    for evidence in earlier {
        let Some(case) = evidence.case_folder() else { continue };
        let folder = report.join(EVIDENCE_FOLDER).join(case);
        for file in evidence.files.iter().filter(|file| is_plain(&file.name)) {
            let _ = fs::remove_file(folder.join(&file.name));
        }
        let _ = fs::remove_dir(folder);
    }
    let _ = fs::remove_dir(report.join(EVIDENCE_FOLDER));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::event::EvidenceFile;

    #[test]
    fn evidence_is_private_and_stays_in_its_folder() {
        let report = tempfile::tempdir().expect("a temporary folder");
        let folder = report.path().join(EVIDENCE_FOLDER);
        write(&folder, "POD-03", "pod-1.json", "{}").expect("it can be written");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode();
        assert_eq!(mode(&folder) & 0o777, 0o700);
        assert_eq!(mode(&folder.join("POD-03")) & 0o777, 0o700);
        assert_eq!(mode(&folder.join("POD-03/pod-1.json")) & 0o777, 0o600);
        for (case, name) in [("..", "x"), ("POD-03", "../x"), ("a/b", "x"), ("POD-03", "")] {
            assert!(write(&folder, case, name, "").is_err(), "{case} {name}");
        }
        let outside = report.path().join("outside");
        fs::create_dir(&outside).expect("it can be made");
        std::os::unix::fs::symlink(&outside, folder.join("POD-04")).expect("a link can be made");
        assert!(write(&folder, "POD-04", "pod-1.json", "{}").is_err(), "it would leave the report");
        fs::set_permissions(folder.join("POD-03"), fs::Permissions::from_mode(0o777))
            .expect("it is ours");
        write(&folder, "POD-03", "pod-2.json", "{}").expect("it can be written");
        assert_eq!(mode(&folder.join("POD-03")) & 0o777, 0o700, "as if it were new");
    }

    #[test]
    fn only_what_the_log_names_is_removed() {
        let report = tempfile::tempdir().expect("a temporary folder");
        let folder = report.path().join(EVIDENCE_FOLDER);
        for (case, name) in [("POD-03", "pod-1.json"), ("POD-04", "pod-1.json")] {
            write(&folder, case, name, "{}").expect("it can be written");
        }
        fs::write(folder.join("POD-04/mine.txt"), "").expect("it can be written");
        let outside = report.path().join("outside.txt");
        fs::write(&outside, "").expect("it can be written");
        let evidence = |folder: &str, name: &str| EvidenceCollected {
            id: "POD-03".into(),
            folder: folder.into(),
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
        assert!(!folder.join("POD-03").exists() && !folder.join("POD-04/pod-1.json").exists());
        assert!(folder.join("POD-04/mine.txt").exists() && outside.exists());
    }
}
