//! The sockets on which components say that they are ready: the protocol of `sd_notify(3)`, which
//! etcd, containerd, the API server and the kubelet speak.

use std::{
    fs,
    io::ErrorKind,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixDatagram,
    },
    path::PathBuf,
};

use crate::error::Error;

/// Where the sockets are in the node.
const FOLDER: &str = "/run/local-cluster";

/// The socket of one component.
#[derive(Debug)]
pub struct Notifications {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Notifications {
    /// Makes the socket of the component `name`.
    pub fn listen(name: &str) -> Result<Self, Error> {
        let path = PathBuf::from(FOLDER).join(format!("{name}.notify"));
        let refused = |source| Error::path("listen on", &path, source);
        fs::create_dir_all(FOLDER).map_err(refused)?;
        // An earlier process of the component has left its own.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(refused(error)),
            _ => {}
        }
        let socket = UnixDatagram::bind(&path).map_err(refused)?;
        socket.set_nonblocking(true).map_err(refused)?;
        Ok(Self { socket, path })
    }

    /// The value of `NOTIFY_SOCKET`.
    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Reads all waiting messages and returns whether one of them says that the component is ready.
    pub fn ready(&self) -> bool {
        let mut buffer = [0_u8; 4096];
        let mut ready = false;
        while let Ok(length) = self.socket.recv(&mut buffer) {
            ready |= is_ready(&buffer[..length]);
        }
        ready
    }
}

impl AsFd for Notifications {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn is_ready(message: &[u8]) -> bool {
    message.split(|&byte| byte == b'\n').any(|line| line == b"READY=1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ready_line_means_ready() {
        assert!(is_ready(b"READY=1"));
        assert!(is_ready(b"STATUS=up\nREADY=1\n"));
        assert!(!is_ready(b"STOPPING=1"));
        assert!(!is_ready(b"STATUS=READY=1"));
    }
}
