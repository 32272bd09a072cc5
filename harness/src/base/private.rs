//! Files and directories that only their owner may open.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// Opens an empty file that only its owner can read, whatever the umask. What is there is removed first.
///
/// # Errors
///
/// A directory that is missing or cannot be written to, or something there that is not a file.
pub fn private_file(path: &Path) -> io::Result<File> {
    remove(path)?;
    // `create_new` follows no link that somebody else may have put in the way.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes a directory that only its owner can look into, or makes one so that is there. Its parent's
/// permissions are as they were.
pub(crate) fn private_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    // Not through a link, which would lead out of the report.
    if !fs::symlink_metadata(path)?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is not a directory"));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Makes a file private that an earlier run has left and this one continues, if there is one.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.is_file() => fs::set_permissions(path, fs::Permissions::from_mode(0o600)),
        // What is in the way there is none of ours, and would be written through.
        Ok(_) => remove(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes a file that may be missing.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
