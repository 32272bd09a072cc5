//! The steps of a replay: what a run did in each case, its commands and requests in order.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    calls::{Address, Call, Calls, pod_of, shared_template},
    recording::{Command, Recording},
};

/// What is done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Command(Command),
    Call(Call),
}

impl Action {
    fn at(&self) -> Timestamp {
        match self {
            Self::Command(command) => command.began,
            Self::Call(call) => call.at,
        }
    }
}

/// An action, and the preparations that must be done before it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) action: Action,
    pub(crate) needs: Vec<String>,
}

/// What a case did, in order; or requests of one kind, where no log tells the case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) steps: Vec<Step>,
}

impl Case {
    /// How long its commands took, and its own pods until they were used; `ends` is its end.
    fn milliseconds(&self, ends: Option<&Timestamp>) -> i64 {
        let of_step = |(index, step): (usize, &Step)| match &step.action {
            Action::Command(command) => command.milliseconds,
            Action::Call(call) if call.makes_pod() => {
                let next = self.steps.get(index + 1).map(|next| next.action.at());
                next.or(ends.copied()).map_or(0, |next| {
                    i64::try_from(next.duration_since(call.at).as_millis()).unwrap_or_default()
                })
            }
            Action::Call(_) => 0,
        };
        self.steps.iter().enumerate().map(of_step).sum()
    }

    /// The pods that it has commands in.
    pub(crate) fn pods(&self) -> BTreeSet<&str> {
        self.steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::Command(command) => Some(command.pod.as_str()),
                Action::Call(_) => None,
            })
            .collect()
    }
}

/// All that is done in a replay.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// The run's id.
    pub(crate) run: String,
    /// The name of its own namespace.
    pub(crate) home: String,
    /// The longest first.
    pub(crate) cases: Vec<Case>,
    /// What cases prepare for each other. nestcheck does each once, in the case that comes first.
    pub(crate) shared: BTreeMap<String, Command>,
    /// The requests of no known case, by kind.
    pub(crate) lanes: Vec<Case>,
    /// Those that make the pods that cases share.
    pub(crate) pods: Vec<Call>,
    /// The suffixes of the run's other namespaces, and whether the user may use the SCC there.
    pub(crate) namespaces: BTreeMap<String, bool>,
    /// Those that make the namespace ready for workspaces.
    pub(crate) for_workspaces: Vec<Call>,
    /// The names of the workspaces by their ids.
    pub(crate) workspaces: BTreeMap<String, String>,
    /// The addresses of the run's pods.
    pub(crate) addresses: Vec<Address>,
    /// The cases of the commands that can't be replayed: an entry for each command.
    pub(crate) left_out: Vec<String>,
}

impl Script {
    /// What a run did, by its two logs.
    pub(crate) fn of(mut recording: Recording, calls: Calls) -> Self {
        for command in &mut recording.commands {
            command.pod = pod_of(&calls.workspaces, &command.pod);
        }
        let recording = &recording;
        let mut script = Self {
            run: recording.run.clone(),
            home: calls.home,
            pods: calls.pods,
            namespaces: calls.namespaces,
            addresses: calls.addresses,
            for_workspaces: calls.for_workspaces,
            workspaces: calls.workspaces,
            ..Self::default()
        };
        script.shared = script.preparations(&recording.commands);
        let mut cases: BTreeMap<String, Vec<Action>> = BTreeMap::new();
        for command in &recording.commands {
            if !script.shared.contains_key(&key(command)) {
                let case = cases.entry(command.case.clone()).or_default();
                case.push(Action::Command(command.clone()));
            }
        }
        let mut lanes: BTreeMap<String, Vec<Action>> = BTreeMap::new();
        for call in calls.in_order {
            let place = match owner(&call, recording) {
                Some(id) => cases.entry(id).or_default(),
                None => lanes.entry(lane(&call)).or_default(),
            };
            place.push(Action::Call(call));
        }
        let made: BTreeSet<_> = cases.values().flat_map(|actions| own_pods(actions)).collect();
        let mut left_out = Vec::new();
        for (id, actions) in cases {
            let case = script.case(id, actions, &made, &mut left_out);
            script.cases.push(case);
        }
        script.cases.retain(|case| !case.steps.is_empty());
        script.cases.sort_by_key(|case| {
            std::cmp::Reverse(case.milliseconds(recording.cases.get(&case.id)))
        });
        for (id, actions) in lanes {
            let lane = script.case(id, actions, &made, &mut left_out);
            script.lanes.push(lane);
        }
        script.left_out = left_out;
        script
    }

    /// The steps of a case. What reads an input can't be replayed, and what follows it in its case
    /// may depend on it; nor can what ran in a pod that is not made again.
    fn case(
        &self,
        id: String,
        mut actions: Vec<Action>,
        made: &BTreeSet<String>,
        left_out: &mut Vec<String>,
    ) -> Case {
        actions.sort_by_key(Action::at);
        let mut case = Case { id, steps: Vec::new() };
        let mut is_whole = true;
        for action in actions {
            if let Action::Command(command) = &action {
                let is_there = made.contains(&command.pod)
                    || self.pods.iter().any(|pod| pod.name == command.pod);
                is_whole &= is_there && !command.has_input;
                if !is_whole {
                    left_out.push(case.id.clone());
                    continue;
                }
            }
            let needs = match &action {
                Action::Command(command) => self.needs(command),
                Action::Call(_) => Vec::new(),
            };
            case.steps.push(Step { action, needs });
        }
        case
    }

    /// The commands on which those of other cases depend.
    fn preparations(&self, commands: &[Command]) -> BTreeMap<String, Command> {
        let is_shared = |command: &&Command| {
            let mut others = commands.iter().filter(|other| other.case != command.case);
            shared_template(&command.pod).is_some()
                && others.any(|other| self.depends(other, command))
        };
        let shared = commands.iter().filter(is_shared);
        shared.map(|command| (key(command), command.clone())).collect()
    }

    /// The preparations that a command can't do without.
    pub(crate) fn needs(&self, command: &Command) -> Vec<String> {
        let shared = self.shared.iter().filter(|(_, by)| self.depends(command, by));
        shared.map(|(key, _)| key.clone()).collect()
    }

    /// Whether a command can't do without another one, which builds an image or starts a server.
    fn depends(&self, user: &Command, by: &Command) -> bool {
        if let Some(image) = builds(by) {
            return user.pod == by.pod && needs_image(user, image);
        }
        let is_server = script_of(by).is_some_and(|name| name.starts_with("start `"));
        let named = |text: &str| user.arguments.iter().any(|argument| contains(argument, text));
        if !is_server || key(user) == key(by) {
            false
        } else if by.told.contains("://") {
            // It tells where it is to be found.
            named(&by.told)
        } else {
            let mut addresses = self.addresses.iter().filter(|it| it.pod == by.pod);
            addresses.any(|it| named(&it.ip))
        }
    }

    /// How many commands there are.
    pub(crate) fn commands(&self) -> usize {
        let steps = self.cases.iter().flat_map(|case| &case.steps);
        let own = steps.filter(|step| matches!(step.action, Action::Command(_))).count();
        own + self.shared.len()
    }
}

/// Whether a text has another one in it, and not only the beginning or the end of a longer number:
/// 10.0.0.1 is not in 10.0.0.12.
pub(crate) fn contains(text: &str, part: &str) -> bool {
    text.match_indices(part).any(|(start, _)| is_whole(text, start, part))
}

/// Whether the part of a text that begins at `start` is not cut out of a longer number.
pub(crate) fn is_whole(text: &str, start: usize, part: &str) -> bool {
    let is_digit = |character: Option<char>| character.is_some_and(|it| it.is_ascii_digit());
    let before = is_digit(text[..start].chars().next_back()) && is_digit(part.chars().next());
    let after =
        is_digit(text[start + part.len()..].chars().next()) && is_digit(part.chars().next_back());
    !before && !after
}

/// The name of a script that a command runs (`harness::workload::Command::shell`).
fn script_of(command: &Command) -> Option<&str> {
    let head: Vec<_> = command.arguments.iter().map(String::as_str).take(4).collect();
    match head[..] {
        ["sh", "-euc", _, name] => Some(name),
        _ => None,
    }
}

/// The name of a preparation.
fn key(command: &Command) -> String {
    format!("{} in {}", command.arguments.join(" "), command.pod)
}

/// The image that a command builds: `suites/src/toolbox.rs` calls its script `podman build FOLDER`
/// and gives it the folder and the image.
fn builds(command: &Command) -> Option<&str> {
    script_of(command).filter(|name| name.starts_with("podman build "))?;
    command.arguments.get(5).map(String::as_str)
}

/// Whether a command can't do without an image: it names it, or builds on it.
fn needs_image(command: &Command, image: &str) -> bool {
    let own = builds(command);
    let names = |argument: &String| {
        argument == image || argument.strip_suffix(image).is_some_and(|head| head.ends_with('='))
    };
    let uses = own != Some(image) && command.arguments.iter().any(names);
    let folder = command.arguments.get(4).filter(|_| own.is_some());
    uses || folder.is_some_and(|folder| base_of(folder).as_deref() == Some(image))
}

/// The image on which the Containerfile of a folder below /nestcheck builds.
fn base_of(folder: &str) -> Option<String> {
    let path = format!("{folder}/Containerfile");
    let files = fixtures::files();
    let file = files.iter().find(|file| path.ends_with(&format!("/{}", file.path)))?;
    let text = String::from_utf8_lossy(&file.content).into_owned();
    let from = text.lines().find_map(|line| line.strip_prefix("FROM "))?;
    Some(from.trim().to_owned())
}

/// The names of the pods that are made in actions.
fn own_pods(actions: &[Action]) -> impl Iterator<Item = String> {
    actions.iter().filter_map(|action| match action {
        Action::Call(call) if call.makes_pod() && call.is_accepted() => Some(call.name.clone()),
        _ => None,
    })
}

/// The case that made a request: the one after which its object or its namespace is called, or
/// which has commands in the pod.
fn owner(call: &Call, recording: &Recording) -> Option<String> {
    let name = call.name.strip_prefix("dry-run-").unwrap_or(&call.name);
    let of_name = |name: &str| {
        let is_called = |id: &&String| {
            let rest = name.strip_prefix(&id.to_ascii_lowercase());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        recording.cases.keys().filter(is_called).max_by_key(|id| id.len()).cloned()
    };
    let of_pod = || {
        let is_pod = call.kind.starts_with("create pods") && shared_template(name).is_none();
        let runs = |command: &&Command| is_pod && command.pod == name;
        recording.commands.iter().find(runs).map(|command| command.case.clone())
    };
    of_name(name).or_else(|| of_name(&call.suffix)).or_else(of_pod)
}

/// What a request of no known case is grouped by.
fn lane(call: &Call) -> String {
    if call.kind.starts_with("create pods") { call.name.clone() } else { call.kind.clone() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::calls::Who;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn command(case: &str, second: i64, milliseconds: i64, arguments: &[&str]) -> Command {
        Command {
            case: case.into(),
            pod: "workspace".into(),
            container: None,
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            has_input: false,
            began: at(second),
            milliseconds,
            exit: 0,
            told: String::new(),
        }
    }

    fn build(case: &str, folder: &str, image: &str) -> Command {
        let name = format!("podman build {folder}");
        let folder = format!("/nestcheck/images/{folder}");
        command(case, 1, 1, &["sh", "-euc", "script", &name, &folder, image])
    }

    fn call(second: i64, kind: &str, name: &str) -> Call {
        Call {
            at: at(second),
            who: Who::User,
            verb: kind.split(' ').next().unwrap_or_default().into(),
            kind: kind.into(),
            uri: format!("/{kind}/{name}"),
            suffix: String::new(),
            name: name.into(),
            body: Some(json!({})),
            code: 201,
            patient: false,
        }
    }

    fn script(commands: Vec<Command>, calls: Vec<Call>) -> Script {
        let cases = commands.iter().map(|command| command.case.clone());
        let cases = cases.chain(["VOL-04".into(), "VOL-06".into()]);
        let cases = cases.map(|case| (case, at(5))).collect();
        let recording = Recording { cases, commands, ..Recording::default() };
        let templates = ["workspace", "neighbour"];
        let address = Address { pod: "neighbour".into(), at: at(0), ip: "10.0.0.1".into() };
        let calls = Calls {
            in_order: calls,
            pods: templates.map(|name| call(0, "create pods", name)).into(),
            addresses: vec![address],
            ..Calls::default()
        };
        Script::of(recording, calls)
    }

    fn told(case: &Case) -> Vec<String> {
        let tell = |step: &Step| match &step.action {
            Action::Command(command) => command.arguments.join(" "),
            Action::Call(call) => format!("{} {}", call.kind, call.name),
        };
        case.steps.iter().map(tell).collect()
    }

    #[test]
    fn a_shared_build_is_told_from_a_cases_own() {
        let (scratch, shell) = ("localhost/nestcheck/scratch", "localhost/nestcheck/shell");
        let own = "localhost/nestcheck/pod-06";
        let script = script(
            vec![
                build("CMP-02", "scratch", scratch),
                command("CMP-02", 2, 5, &["env", &format!("NESTCHECK_IMAGE={scratch}"), "up"]),
                build("POD-07", "shell", shell),
                command("POD-07", 2, 1, &["podman", "run", shell]),
                command("POD-07", 3, 1, &["podman", "run", scratch]),
                build("POD-06", "layers", own),
                command("POD-06", 2, 9, &["podman", "run", own]),
            ],
            vec![],
        );
        let built: Vec<_> = script.shared.values().filter_map(builds).collect();
        assert_eq!(built, [scratch, shell]);
        let order: Vec<_> = script.cases.iter().map(|case| case.id.as_str()).collect();
        assert_eq!(order, ["POD-06", "CMP-02", "POD-07"]);
        let needs = |case: usize, step: usize| {
            let keys = script.cases[case].steps[step].needs.iter();
            keys.filter_map(|key| builds(&script.shared[key])).collect::<Vec<_>>()
        };
        assert_eq!(needs(0, 0), [shell]);
        assert!(needs(0, 1).is_empty());
        assert_eq!(needs(1, 0), [scratch]);
        assert_eq!(script.commands(), 7);
    }

    #[test]
    fn a_server_is_there_before_who_asks_it() {
        let start = |told: &str, pod: &str| Command {
            told: told.into(),
            pod: pod.into(),
            ..command("NET-1", 1, 1, &["sh", "-euc", "script", "start `x`", told])
        };
        let script = script(
            vec![
                start("listening", "neighbour"),
                start("unix:///tmp/x/sock", "workspace"),
                command("NET-1", 2, 9, &["get", "http://10.0.0.1:80/"]),
                command("NET-2", 3, 5, &["get", "http://10.0.0.1:80/"]),
                command("NET-3", 3, 4, &["get", "http://10.0.0.12:80/"]),
                command("NET-4", 3, 3, &["podman", "--url=unix:///tmp/x/sock"]),
            ],
            vec![],
        );
        assert_eq!(script.shared.len(), 2);
        let needs: Vec<_> = script.cases.iter().map(|case| case.steps[0].needs.len()).collect();
        assert_eq!(needs, [1, 1, 0, 1]);
    }

    #[test]
    fn a_case_is_its_requests_and_commands_in_order() {
        let in_pod = |second, text: &str| Command {
            pod: "vol-04".into(),
            ..command("VOL-04", second, 100, &[text])
        };
        let script = script(
            vec![in_pod(5, "write"), in_pod(9, "read"), command("POD-01", 1, 2500, &["podman"])],
            vec![
                call(1, "create persistentvolumeclaims", "vol-04"),
                call(2, "create pods", "vol-04"),
                call(6, "delete pods", "vol-04"),
                call(7, "create pods", "vol-04"),
                call(4, "create pods", "vol-06"),
                call(3, "create pods (dry run)", "dry-run-vol-06"),
                call(3, "create selfsubjectreviews", ""),
                call(4, "create pods", "forbidden-device"),
            ],
        );
        let order: Vec<_> = script.cases.iter().map(|case| case.id.as_str()).collect();
        assert_eq!(order, ["VOL-04", "POD-01", "VOL-06"], "pods count: 3 s and 2 s, 1 s");
        assert_eq!(
            told(&script.cases[0]),
            [
                "create persistentvolumeclaims vol-04",
                "create pods vol-04",
                "write",
                "delete pods vol-04",
                "create pods vol-04",
                "read",
            ]
        );
        let lanes: Vec<_> = script.lanes.iter().map(|lane| lane.id.as_str()).collect();
        assert_eq!(lanes, ["create selfsubjectreviews", "forbidden-device"]);
    }

    #[test]
    fn what_can_not_be_replayed_is_left_out_with_what_follows_it() {
        let command = |case: &str, second, text: &str| command(case, second, 1, &[text]);
        let script = script(
            vec![
                command("POD-1", 1, "before"),
                Command { has_input: true, ..command("POD-1", 2, "kube play -") },
                command("POD-1", 3, "after"),
                Command { pod: "nobody-made-it".into(), ..command("POD-2", 1, "lost") },
            ],
            vec![],
        );
        assert_eq!(script.left_out, ["POD-1", "POD-1", "POD-2"]);
        let [case] = &script.cases[..] else { panic!("{:?}", script.cases) };
        assert_eq!(told(case), ["before"]);
    }
}
