//! `local-cluster status`, `kubeconfig` and `logs`.

use std::{
    fs::{self, File},
    io,
};

use serde_json::json;

use crate::{
    cli::Output,
    components::API_PORT,
    console,
    error::Error,
    node::place::Place,
    paths::{Cache, StateFolder},
    process::ProcessIdentity,
    settings::{ClusterName, Distribution, User},
    state::{Phase, State},
};

/// What a cluster is doing, as found and not as written down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Condition {
    /// Everything runs.
    Running,
    /// `up` is under way.
    Starting,
    /// A component has ended.
    Degraded,
    /// `up` has failed.
    Failed,
    /// The supervisor was killed or the machine rebooted.
    Dead,
}

impl Condition {
    fn of(state: &State) -> Self {
        let alive = state.running_supervisor().is_some();
        match state.phase {
            Phase::Failed => Self::Failed,
            _ if !alive => Self::Dead,
            Phase::Starting => Self::Starting,
            Phase::Ready if state.dead_component().is_some() => Self::Degraded,
            Phase::Ready => Self::Running,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Starting => "starting",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Dead => "dead",
        }
    }
}

/// Prints a cluster's state.
pub fn status(name: &ClusterName, output: Output) -> Result<(), Error> {
    let (folder, state) = find(name)?;
    let condition = Condition::of(&state);
    match output {
        Output::Json => console::data(format_args!("{:#}", as_json(&folder, &state, condition)))?,
        Output::Text => print_text(&folder, &state, condition)?,
    }
    if condition == Condition::Running {
        return Ok(());
    }
    Err(explain(&folder, &state, condition))
}

fn as_json(folder: &StateFolder, state: &State, condition: Condition) -> serde_json::Value {
    let distribution = state.settings.distribution;
    let (release, feature_set) = match distribution {
        Distribution::Kubernetes { .. } => (None, None),
        Distribution::Openshift { release, feature_set, .. } => (Some(release), Some(feature_set)),
    };
    json!({
        "name": state.name,
        "state": condition.as_str(),
        "flavour": distribution.flavour(),
        "kubernetes": distribution.kubernetes(),
        "release": release,
        "featureSet": feature_set,
        "kubernetesOfRelease": release.map(|release| format!("1.{}", release.kubernetes_minor())),
        "standIns": state.settings.stand_ins(),
        "realPrograms": state.settings.real,
        "gates": state.settings.gates,
        "with": state.settings.with,
        "server": server(state),
        "kubeconfig": folder.kubeconfig(User::Admin),
        "devKubeconfig": folder.kubeconfig(User::Dev),
        "kubectl": state.kubectl,
        "auditLog": folder.audit_log(),
        "logs": folder.logs(),
        "directory": folder.root(),
        "cgroupVersion": state.hierarchies.version(),
        "cgroup": state.cgroup,
        "interface": state.interface,
        "supervisor": state.supervisor.map(|process| process.pid),
        "nodeInit": state.node.map(|process| process.pid),
        "nodes": nodes(state),
        "components": state.components,
        "failure": state.failure,
    })
}

fn print_text(folder: &StateFolder, state: &State, condition: Condition) -> Result<(), Error> {
    let server = server(state).unwrap_or_else(|| "none".to_owned());
    let lines = [
        ("cluster", format!("{} {}", state.name, condition.as_str())),
        ("settings", state.settings.to_string()),
        ("server", server),
        ("kubeconfig", folder.kubeconfig(User::Admin).display().to_string()),
        ("audit log", folder.audit_log().display().to_string()),
        ("logs", folder.logs().display().to_string()),
    ];
    for (title, value) in lines {
        console::data(format_args!("{title:<11} {value}"))?;
    }
    if !state.settings.others.are_none() {
        let places = Place::all(state.settings);
        let names = places.map(Place::name).collect::<Vec<_>>().join(", ");
        console::data(format_args!("{:<11} {names}", "nodes"))?;
    }
    let stand_ins = state.settings.stand_ins();
    if !stand_ins.is_empty() {
        console::data(format_args!("{:<11} {}", "stand-ins", stand_ins.join(", ")))?;
    }
    for (name, component) in &state.components {
        let how = component.ended.as_deref().unwrap_or("running");
        console::data(format_args!("{name:<23} {how}"))?;
    }
    Ok(())
}

/// The nodes, with the process of each one's init.
fn nodes(state: &State) -> Vec<serde_json::Value> {
    let places = Place::all(state.settings);
    let inits = state.node.iter().chain(&state.other_nodes);
    let nodes = places.zip(inits.map(Some).chain(std::iter::repeat(None)));
    let node = |(place, init): (Place, Option<&ProcessIdentity>)| json!({"name": place.name(), "init": init.map(|process| process.pid)});
    nodes.map(node).collect()
}

fn server(state: &State) -> Option<String> {
    state.subnet.map(|subnet| format!("https://{}:{API_PORT}", subnet.node()))
}

fn explain(folder: &StateFolder, state: &State, condition: Condition) -> Error {
    let name = &state.name;
    let again =
        format!("run `local-cluster down --name {name}` and `local-cluster up --name {name}`");
    match condition {
        Condition::Degraded => {
            let (component, outcome) =
                state.dead_component().unwrap_or(("a component", "an unknown status"));
            let log = folder.log(component);
            Error::component(component, outcome)
                .with_details(crate::error::last_lines(&log, 12))
                .with_hint(format!("the whole log is `{}`; to start over, {again}", log.display()))
        }
        Condition::Failed => state
            .failure
            .clone()
            .map_or_else(|| Error::other(format!("cluster `{name}` has failed")), Error::from),
        Condition::Dead => {
            Error::other(format!("the supervisor of cluster `{name}` has ended")).with_hint(again)
        }
        Condition::Starting | Condition::Running => {
            Error::other(format!("cluster `{name}` is still starting"))
        }
    }
}

/// Prints the path of a user's kubeconfig.
pub fn kubeconfig(name: &ClusterName, user: User) -> Result<(), Error> {
    let (folder, state) = find(name)?;
    let path = folder.kubeconfig(user);
    match Condition::of(&state) {
        Condition::Running | Condition::Degraded => console::data(path.display()),
        other => Err(explain(&folder, &state, other)),
    }
}

/// Prints a component's log.
pub fn logs(name: &ClusterName, component: &str) -> Result<(), Error> {
    let (folder, _) = find(name)?;
    let known = known_logs(&folder);
    // Only a name from the list becomes a path.
    if !known.iter().any(|known| known == component) {
        return Err(Error::usage(format!("cluster `{name}` has no log of `{component}`"))
            .with_hint(format!("there are {}", known.join(", "))));
    }
    let path = folder.log(component);
    let mut file = File::open(&path).map_err(|source| Error::path("read", &path, source))?;
    match io::copy(&mut file, &mut io::stdout().lock()) {
        // As with `| head`: the reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        copied => copied.map(drop).map_err(|source| Error::path("print", &path, source)),
    }
}

fn known_logs(folder: &StateFolder) -> Vec<String> {
    let entries = fs::read_dir(folder.logs()).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".log")?.to_owned()))
        .collect();
    names.sort();
    names
}

/// The cluster, if it exists.
pub fn find(name: &ClusterName) -> Result<(StateFolder, State), Error> {
    let folder = Cache::locate()?.cluster(name);
    match State::read(&folder)? {
        Some(state) => Ok((folder, state)),
        None => Err(Error::other(format!("there is no cluster `{name}`"))
            .with_hint(format!("run `local-cluster up --name {name}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{settings::Settings, state::ComponentState};

    fn state(phase: Phase) -> State {
        let mut state =
            State::new(&"test".parse().unwrap(), Settings::default(), "/kubectl".into()).unwrap();
        state.phase = phase;
        state.supervisor = Some(ProcessIdentity::of(std::process::id()).unwrap());
        state
    }

    #[test]
    fn a_cluster_without_a_supervisor_is_dead() {
        let mut state = state(Phase::Ready);
        assert_eq!(Condition::of(&state), Condition::Running);
        state.supervisor = None;
        assert_eq!(Condition::of(&state), Condition::Dead);
    }

    #[test]
    fn a_cluster_with_an_ended_component_is_degraded() {
        let mut state = state(Phase::Ready);
        let ended = ComponentState { pid: 9, ended: Some("signal 9".into()) };
        state.components.insert("kube-scheduler".into(), ended);
        assert_eq!(Condition::of(&state), Condition::Degraded);
        let folder = StateFolder::at("/nonexistent".into());
        let error = explain(&folder, &state, Condition::Degraded);
        assert_eq!(error.to_string(), "kube-scheduler ended with signal 9");
    }

    #[test]
    fn status_names_the_audit_log() {
        let folder = StateFolder::at("/x".into());
        let json = as_json(&folder, &state(Phase::Ready), Condition::Running);
        assert_eq!(json["auditLog"], "/x/logs/audit.log");
    }
}
