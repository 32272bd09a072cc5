//! A report directory as one stream of bytes, for where no directory outlives the run.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use tar::{Builder, EntryType, Header};

/// The directory in the archive, whatever its name was outside.
const NAME: &str = "nestcheck-report";

/// What every line of an archive in a log begins with. A pod's log mixes standard output with the
/// lines of standard error, whose order is not certain.
pub const ARCHIVE_LINE: &str = "report.tar.gz ";

/// Writes a report directory as a tar archive, compressed with gzip. All is in one directory,
/// `nestcheck-report`, in the order of the names, and only its owner can read it.
///
/// # Errors
///
/// A file that cannot be read, or a stream that cannot be written to.
pub fn write_archive<W: Write>(directory: &Path, out: W) -> io::Result<W> {
    write_archive_without(directory, "", out)
}

/// As [`write_archive`], without the file or directory of this name in the report directory.
///
/// # Errors
///
/// As [`write_archive`].
pub fn write_archive_without<W: Write>(directory: &Path, without: &str, out: W) -> io::Result<W> {
    let mut archive = Builder::new(GzEncoder::new(out, Compression::default()));
    let left_out = Path::new(NAME).join(without);
    add_directory(&mut archive, directory, Path::new(NAME), &left_out)?;
    archive.into_inner()?.finish()
}

fn add_directory(
    archive: &mut Builder<impl Write>,
    from: &Path,
    name: &Path,
    left_out: &Path,
) -> io::Result<()> {
    let mut head = header(EntryType::Directory, 0o700, 0);
    archive.append_data(&mut head, name, io::empty())?;
    let entries = fs::read_dir(from)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    for path in paths {
        let name = name.join(path.file_name().unwrap_or_default());
        if name == left_out {
            continue;
        }
        let kind = fs::symlink_metadata(&path)?.file_type();
        if kind.is_dir() {
            add_directory(archive, &path, &name, left_out)?;
        } else if kind.is_file() {
            // Read whole: one that grows would break the archive.
            let content = fs::read(&path)?;
            let mut head = header(EntryType::Regular, 0o600, content.len());
            archive.append_data(&mut head, &name, content.as_slice())?;
        }
    }
    Ok(())
}

fn header(kind: EntryType, mode: u32, length: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(length as u64);
    header
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read};

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn an_archive_has_every_file_and_is_the_same_each_time() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let inner = directory.path().join("diagnostics/POD-01");
        fs::create_dir_all(&inner).expect("it can be made");
        let long = "x".repeat(150);
        for (path, text) in [("report.json", "{}"), ("diagnostics/POD-01/pod.log", &long)] {
            fs::write(directory.path().join(path), text).expect("it can be written");
        }
        fs::write(inner.join(&long), "long").expect("it can be written");
        std::os::unix::fs::symlink("/etc/passwd", inner.join("link")).expect("it can be made");

        let archive = write_archive(directory.path(), Vec::new()).expect("it can be written");

        let again = write_archive(directory.path(), Vec::new()).expect("it can be written");
        assert_eq!(archive, again);
        let mut files = BTreeMap::new();
        let mut read = tar::Archive::new(GzDecoder::new(archive.as_slice()));
        for entry in read.entries().expect("it is an archive") {
            let mut entry = entry.expect("it is an entry");
            let (path, mode) = (entry.path().expect("a path").into_owned(), entry.header().mode());
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("it is text");
            let is_directory = entry.header().entry_type().is_dir();
            assert_eq!(mode.expect("a mode"), if is_directory { 0o700 } else { 0o600 });
            files.insert(path.display().to_string(), text);
        }
        let of = |name: &str| files.get(&format!("nestcheck-report/{name}")).map(String::as_str);
        assert_eq!(of("report.json"), Some("{}"));
        assert_eq!(of("diagnostics/POD-01/pod.log"), Some(long.as_str()));
        assert_eq!(of(&format!("diagnostics/POD-01/{long}")), Some("long"));
        assert_eq!(of("diagnostics/POD-01/link"), None);
        let less = write_archive_without(directory.path(), "diagnostics", Vec::new());
        let less = less.expect("it can be written");
        let mut read = tar::Archive::new(GzDecoder::new(less.as_slice()));
        let paths = read.entries().expect("it is an archive").map(|entry| {
            let entry = entry.expect("it is an entry");
            entry.path().expect("a path").display().to_string()
        });
        let paths: Vec<_> = paths.collect();
        assert_eq!(paths, ["nestcheck-report", "nestcheck-report/report.json"]);
    }
}
