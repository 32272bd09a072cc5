//! A file that is there only once it is whole.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use harness::base::private::private_file;

/// A file that grows beside the one that it replaces. Without its end nothing is left of it.
#[derive(Debug)]
pub(super) struct NewFile {
    target: PathBuf,
    file: Option<File>,
}

impl NewFile {
    /// Makes sure that it can be written, before there is anything to write: a run of many minutes must
    /// not end without its report.
    ///
    /// # Errors
    ///
    /// A file that cannot be made.
    pub(super) fn create(target: &Path) -> io::Result<Self> {
        let file = private_file(&partial(target))?;
        Ok(Self { target: target.to_owned(), file: Some(file) })
    }

    /// The file that it becomes.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Writes all of it, and puts it in its place.
    ///
    /// # Errors
    ///
    /// A target that cannot be written to. What was there stays.
    pub(super) fn write(
        &mut self,
        put: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        let file = self.file.as_mut().ok_or_else(|| io::Error::other("it is written already"))?;
        put(file)?;
        file.flush()?;
        fs::rename(partial(&self.target), &self.target)?;
        self.file = None;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Nothing ran, or it did not become whole. The error that led here is what matters.
            let _ = fs::remove_file(partial(&self.target));
        }
    }
}

/// The file beside a target in which it grows.
pub(super) fn partial(target: &Path) -> PathBuf {
    let mut name: OsString = target.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    target.with_file_name(name)
}
