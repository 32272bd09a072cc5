//! `local-cluster up`.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use super::lock;
use crate::{
    artifacts::{self, Artifacts, Source},
    command::describe_status,
    console,
    error::{Error, last_lines},
    host,
    paths::{Cache, StateFolder},
    process::ProcessIdentity,
    settings::{ClusterName, Settings, User},
    state::{Phase, State},
    supervisor::{Request, report::Report},
    teardown,
    timeout::scaled,
};

/// How long the whole start may take. Each step has a shorter limit of its own, with a better
/// message.
const START: Duration = Duration::from_secs(300);

/// Starts a cluster unless it runs already.
pub fn run(name: &ClusterName, settings: Settings, source: &Source) -> Result<(), Error> {
    let cache = Cache::locate()?;
    host::check(&cache, artifacts::missing(&cache, source)?)?;
    let artifacts = artifacts::ensure(&cache, source)?;
    let folder = cache.cluster(name);
    let _lock = lock::take(&folder)?;
    if let Some(state) = State::read(&folder)? {
        if is_running(&state, settings)? {
            console::progress(format_args!("cluster `{name}` is already running ({settings})"));
            show(&folder);
            return Ok(());
        }
        console::progress(format_args!("removing leftovers of an earlier cluster `{name}`"));
        teardown::end(&folder)?;
    }
    teardown::forget(&folder)?;
    let started = Instant::now();
    console::progress(format_args!("starting cluster `{name}` ({settings})"));
    start(&folder, name, settings, artifacts)?;
    console::progress(format_args!("ready in {:.1} s", started.elapsed().as_secs_f64()));
    show(&folder);
    Ok(())
}

/// Whether there is nothing to do.
fn is_running(state: &State, settings: Settings) -> Result<bool, Error> {
    // A live supervisor in another phase has lost its `up` and is about to end.
    if state.running_supervisor().is_none() || state.phase != Phase::Ready {
        return Ok(false);
    }
    let name = &state.name;
    let hint = format!("run `local-cluster down --name {name}` first");
    if state.settings != settings {
        return Err(Error::other(format!(
            "cluster `{name}` is running with other settings: {}",
            state.settings
        ))
        .with_hint(hint));
    }
    match state.dead_component() {
        None => Ok(true),
        Some((component, outcome)) => {
            let message = format!(
                "cluster `{name}` is running without {component}, which ended with {outcome}"
            );
            Err(Error::other(message).with_hint(hint))
        }
    }
}

fn show(folder: &StateFolder) {
    console::progress(format_args!(
        "use it with `export KUBECONFIG={}`",
        folder.kubeconfig(User::Admin).display()
    ));
}

fn start(
    folder: &StateFolder,
    name: &ClusterName,
    settings: Settings,
    artifacts: Artifacts,
) -> Result<(), Error> {
    fs::create_dir_all(folder.logs())
        .map_err(|source| Error::path("make", &folder.logs(), source))?;
    let kubectl = artifacts.kubernetes.join("kubectl");
    let mut state = State::new(name, settings, kubectl)?;
    state.write(folder)?;
    let mut supervisor = spawn_supervisor(folder, name)?;
    // The supervisor waits for the order, so it is written down in time.
    state.supervisor = Some(ProcessIdentity::of(supervisor.id())?);
    state.write(folder)?;
    let request = Request { folder: folder.root().to_owned(), artifacts };
    let outcome = send(&mut supervisor, &request).and_then(|()| follow(&mut supervisor));
    match outcome {
        Ok(()) => Ok(()),
        Err(error) => {
            // It gives everything back by itself when its stdin ends; if it was killed, this does
            // it.
            drop(supervisor.stdin.take());
            end_failed(folder)?;
            let _ = supervisor.wait();
            Err(error)
        }
    }
}

fn spawn_supervisor(folder: &StateFolder, name: &ClusterName) -> Result<Child, Error> {
    let path = folder.log("supervisor");
    let log = File::create(&path).map_err(|source| Error::path("write", &path, source))?;
    // The link stays valid when the program's file was replaced meanwhile.
    Command::new("/proc/self/exe")
        .arg0("local-cluster")
        .args(["supervise", name.as_str()])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(|source| Error::io("start", "the supervisor", source))
}

fn send(supervisor: &mut Child, request: &Request) -> Result<(), Error> {
    let mut line = serde_json::to_vec(request)
        .map_err(|error| Error::other(format!("can't give the order: {error}")))?;
    line.push(b'\n');
    // The pipe stays open: its end means that this command has ended.
    match &mut supervisor.stdin {
        Some(stdin) => {
            stdin.write_all(&line).map_err(|source| Error::io("write to", "the supervisor", source))
        }
        None => Err(Error::other("the supervisor has no stdin")),
    }
}

/// Shows the supervisor's reports until the cluster is ready.
fn follow(supervisor: &mut Child) -> Result<(), Error> {
    let Some(stdout) = supervisor.stdout.take() else {
        return Err(Error::other("the supervisor has no stdout"));
    };
    let (sender, reports) = mpsc::channel();
    // A pipe has no read with a deadline, a channel has.
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let Ok(report) = serde_json::from_str::<Report>(&line) else {
                continue;
            };
            if sender.send(report).is_err() {
                return;
            }
        }
    });
    let limit = scaled(START);
    let deadline = Instant::now() + limit;
    loop {
        match reports.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Report::Step { text }) => console::progress(text),
            Ok(Report::Ready) => return Ok(()),
            Ok(Report::Failed { failure }) => return Err(failure.into()),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                return Err(Error::deadline("cluster not ready", limit));
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(lost(supervisor)),
        }
    }
}

fn lost(supervisor: &mut Child) -> Error {
    let outcome = match supervisor.wait() {
        Ok(status) => describe_status(status),
        Err(error) => error.to_string(),
    };
    Error::component("the supervisor", outcome)
}

/// Gives back what a failed start has left and keeps the logs.
fn end_failed(folder: &StateFolder) -> Result<(), Error> {
    let Some(mut state) = teardown::end(folder)? else {
        return Ok(());
    };
    if state.phase != Phase::Failed {
        // A supervisor that was killed could not say so.
        let details = last_lines(&folder.log("supervisor"), 5);
        let error =
            Error::other("the supervisor ended while the cluster started").with_details(details);
        state.phase = Phase::Failed;
        state.failure = Some(error.to_failure());
        state.write(folder)?;
    }
    Ok(())
}
