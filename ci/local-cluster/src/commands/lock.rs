//! One command at a time starts or ends a cluster.

use std::{
    fs::{self, File},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::{console, error::Error, paths::StateFolder};

/// How long another command may take: longer than a slow `up`.
const LIMIT: Duration = Duration::from_secs(300);

/// Takes the lock of a cluster, which ends with the returned file.
pub fn take(folder: &StateFolder) -> Result<File, Error> {
    let path = folder.lock_file();
    let refused = |source| Error::path("lock", &path, source);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(refused)?;
    }
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(refused)?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    console::progress("waiting for another command on this cluster");
    // flock(2) can't be given a deadline, so a thread blocks in it. If the limit is exceeded, the
    // program ends and the thread with it.
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let locked = file.lock().map(|()| file);
        let _ = sender.send(locked);
    });
    match receiver.recv_timeout(LIMIT) {
        Ok(locked) => locked.map_err(refused),
        Err(_) => Err(Error::deadline("another command on this cluster is not done", LIMIT)),
    }
}
