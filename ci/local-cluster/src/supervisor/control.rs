//! How commands ask the supervisor of a running cluster for something: one JSON object a line on a
//! socket in its state folder, a wish there and an answer back.

use std::{
    fs::File,
    io::{BufRead, BufReader as BlockingReader, Write},
    os::{fd::AsRawFd, unix::net::UnixStream as BlockingStream},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc::UnboundedSender, oneshot},
    time::timeout,
};

use crate::{
    disturbance::{Disturbance, LONGEST_DISTURBANCE},
    error::{Error, Failure},
    node::session::Message,
    paths::StateFolder,
};

/// How long a wish may take to arrive: its sender writes it at once.
const ARRIVAL: Duration = Duration::from_secs(5);

/// How much longer than the wish itself its answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// The longest wish.
const LONGEST: u64 = 64 * 1024;

/// How long a wish itself may take: as long as a restart, or a disturbance with its beginning and its
/// end.
const LONGEST_WISH: Duration = Duration::from_secs(2 * LONGEST_DISTURBANCE);

/// The requests.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "wish", rename_all = "camelCase")]
pub enum Wish {
    /// Kill components and start them again.
    Restart {
        /// Their names, in the order in which they are to be started.
        components: Vec<String>,
    },
    /// Disturb the cluster.
    Disturb {
        /// How.
        disturbance: Disturbance,
        /// How long, in seconds.
        seconds: u64,
    },
}

/// What came of it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    failure: Option<Failure>,
}

/// The path of the socket, and what keeps it valid. The kernel takes 107 bytes as a socket's path
/// (unix(7)), which a folder may exceed, so the path leads through a descriptor.
struct Address {
    path: PathBuf,
    _folder: File,
}

impl Address {
    fn of(folder: &StateFolder) -> Result<Self, Error> {
        let root = folder.root();
        let opened = File::open(root).map_err(|source| Error::path("open", root, source))?;
        let name = folder.control();
        let name = name.file_name().unwrap_or_default();
        let path = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd())).join(name);
        Ok(Self { path, _folder: opened })
    }
}

/// Passes wishes on as messages, one after the other, until the process ends.
pub fn listen(folder: &StateFolder, sender: UnboundedSender<Message>) -> Result<(), Error> {
    let address = Address::of(folder)?;
    let listener = UnixListener::bind(&address.path)
        .map_err(|source| Error::path("listen on", &folder.control(), source))?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Who hangs up early wants no answer.
            let _ = serve(stream, &sender).await;
        }
    });
    Ok(())
}

async fn serve(stream: UnixStream, sender: &UnboundedSender<Message>) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(LONGEST));
    timeout(ARRIVAL, reader.read_line(&mut line)).await??;
    let failure = match serde_json::from_str(&line) {
        Ok(wish) => fulfil(wish, sender).await.err(),
        Err(error) => Some(Error::usage(format!("unknown wish: {error}")).to_failure()),
    };
    let mut answer = serde_json::to_vec(&Answer { failure })?;
    answer.push(b'\n');
    timeout(ARRIVAL, writer.write_all(&answer)).await?
}

async fn fulfil(wish: Wish, sender: &UnboundedSender<Message>) -> Result<(), Failure> {
    let (answer, answered) = oneshot::channel();
    let gone = || Error::other("the cluster ends").to_failure();
    let message = match wish {
        Wish::Restart { components } => Message::Restart { names: components, answer },
        Wish::Disturb { disturbance, seconds } => {
            let time = Duration::from_secs(seconds.min(LONGEST_DISTURBANCE));
            Message::Disturb { disturbance, time, answer }
        }
    };
    sender.send(message).map_err(|_| gone())?;
    // The supervisor has a deadline, and drops the answer when it ends.
    answered.await.unwrap_or_else(|_| Err(gone()))
}

/// Asks the supervisor of a cluster and waits until it is done.
pub fn ask(folder: &StateFolder, wish: &Wish) -> Result<(), Error> {
    let path = folder.control();
    let refused = |source| Error::path("ask the supervisor at", &path, source);
    let mut line = serde_json::to_vec(wish)
        .map_err(|error| Error::other(format!("can't say what is wanted: {error}")))?;
    line.push(b'\n');
    let address = Address::of(folder)?;
    let mut stream = BlockingStream::connect(&address.path).map_err(refused)?;
    stream.set_read_timeout(Some(LONGEST_WISH + ANSWER)).map_err(refused)?;
    stream.set_write_timeout(Some(ARRIVAL)).map_err(refused)?;
    stream.write_all(&line).map_err(refused)?;
    let mut answer = String::new();
    BlockingReader::new(stream).read_line(&mut answer).map_err(refused)?;
    let answer: Answer = serde_json::from_str(&answer)
        .map_err(|_| Error::other("the supervisor has ended without an answer"))?;
    answer.failure.map_or(Ok(()), |failure| Err(failure.into()))
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    /// Asks a supervisor that answers as given; what it was asked for, and what the asker heard.
    async fn exchange(answer: Result<(), Failure>) -> (Vec<String>, Result<(), Error>) {
        // Longer than the path of a socket may be.
        let long = format!("local-cluster-{}-{:0>120}", std::process::id(), answer.is_ok());
        let folder = StateFolder::at(std::env::temp_dir().join(long));
        std::fs::create_dir_all(folder.root()).unwrap();
        let (sender, mut messages) = unbounded_channel();
        listen(&folder, sender).unwrap();
        let asked = folder.clone();
        let components = vec!["etcd".to_owned()];
        let asking =
            tokio::task::spawn_blocking(move || ask(&asked, &Wish::Restart { components }));
        let Some(Message::Restart { names, answer: printed }) = messages.recv().await else {
            panic!("no wish arrived");
        };
        printed.send(answer).unwrap();
        let received = asking.await.unwrap();
        std::fs::remove_dir_all(folder.root()).unwrap();
        (names, received)
    }

    #[tokio::test]
    async fn a_wish_arrives_and_its_answer_comes_back() {
        let (names, received) = exchange(Ok(())).await;
        assert_eq!(names, ["etcd"]);
        received.unwrap();
        let failure = Error::other("no such component").with_hint("there are two").to_failure();
        let (_, received) = exchange(Err(failure)).await;
        let error = received.unwrap_err();
        assert_eq!(error.to_string(), "no such component");
        assert_eq!(error.hint(), Some("there are two"));
    }
}
