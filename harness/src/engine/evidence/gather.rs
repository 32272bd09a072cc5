//! What is looked at.

use std::{fmt::Write as _, time::Duration};

use futures::future::join_all;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::{
    Api,
    api::{ListParams, LogParams},
};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use super::{FILE_LIMIT, Piece};
use crate::{
    base::redact,
    cluster::call_within,
    facts::Facts,
    sandbox::Sandbox,
    verdict::Failure,
    workload::{self, Command, Output, PROBE, Workload, disruption::LOOK_DEADLINE},
};

/// The most events about a pod that are listed.
const MOST_EVENTS: u32 = 100;

/// How long one command of the evidence may take: `podman info` in one of forty pods on two busy
/// processors takes more than 5 s.
const COMMAND_DEADLINE: Duration = Duration::from_secs(20);

/// What the user and its helpers may do: the maps, the ranges and the capabilities that decide
/// whether podman can make a user namespace.
const IDS: &str = "
    for file in /proc/self/uid_map /proc/self/gid_map /etc/subuid /etc/subgid; do
        echo \"== $file\"; cat \"$file\"
    done
    echo '== /proc/self/status'
    grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp)' /proc/self/status
    echo '== newuidmap and newgidmap'
    export PATH=\"$PATH:/usr/sbin:/sbin\"
    for helper in newuidmap newgidmap; do
        path=$(command -v $helper) && ls -ln \"$path\" && getcap \"$path\"
    done
    echo '== devices'
    ls -ln /dev/fuse /dev/net/tun
";

/// Which processes there are, their state, and where in the kernel they wait: this shows who holds a
/// lock when podman itself does not answer any more. Not their arguments, which may be secrets.
const PROCESSES: &str = "
    for process in /proc/[0-9]*; do
        name=$(cat \"$process/comm\" 2> /dev/null) || continue
        state=$(grep -s '^State' \"$process/status\" | cut -f 2)
        place=$(cat \"$process/wchan\" 2> /dev/null) || place=unknown
        echo \"${process#/proc/} $name: $state at $place\"
    done
";

/// Sends all that can be seen of the `number`th pod of a case.
pub(super) async fn pod(
    sandbox: &Sandbox,
    name: &str,
    number: usize,
    pieces: &UnboundedSender<Piece>,
) {
    let send = |part: &str, text: Result<String, String>| {
        // Whoever waits for it has given up where the channel is closed.
        let _ = pieces.send(Piece { name: format!("pod-{number}.{part}"), text });
    };
    let api: Api<Pod> = Api::namespaced(sandbox.user().clone(), sandbox.namespace());
    let inside = async {
        let pod = call_within(LOOK_DEADLINE, "read the pod", || api.get(name)).await;
        let pod = match pod {
            Ok(pod) => pod,
            Err(error) => return send("object.json", Err(error.to_string())),
        };
        send("object.json", object(&pod));
        let logs = wanted_logs(&pod);
        tokio::join!(
            async {
                if is_running(&pod) && !is_privileged(&pod) {
                    join_all(commands().map(|(part, command)| async {
                        send(part, output(&api, &pod, command).await);
                    }))
                    .await;
                }
            },
            join_all(logs.iter().map(|log| async {
                send(&log.part(), log.read(&api, name).await);
            })),
        );
    };
    tokio::join!(inside, async { send("events.txt", events(sandbox, name).await) });
}

/// Sends all that can be seen of the machine of nestcheck itself, which is the `number`th pod of a case.
pub(super) async fn machine(machine: &Workload, number: usize, pieces: &UnboundedSender<Piece>) {
    let looks = commands().map(|(part, command)| async move {
        let text = text_of(machine.look(&command.within(COMMAND_DEADLINE)).await);
        // Whoever waits for it has given up where the channel is closed.
        let _ = pieces.send(Piece { name: format!("pod-{number}.{part}"), text });
    });
    join_all(looks).await;
}

/// The nodes, as they were read when the run began.
pub(super) fn nodes(facts: &Facts) -> Piece {
    Piece { name: "nodes.json".to_owned(), text: pretty(&facts.nodes) }
}

fn commands() -> impl Iterator<Item = (&'static str, Command)> {
    let none: [&str; 0] = [];
    [
        ("probe.json", Command::new([PROBE, "facts"])),
        ("ids.txt", Command::shell("look at ids", IDS, none)),
        ("mounts.txt", Command::new(["cat", "/proc/self/mountinfo"])),
        ("processes.txt", Command::shell("look at processes", PROCESSES, none)),
        ("podman-info.json", Command::new(["podman", "info", "--format=json"])),
    ]
    .into_iter()
}

/// What a command wrote; that it failed is evidence too.
async fn output(api: &Api<Pod>, pod: &Pod, command: Command) -> Result<String, String> {
    text_of(workload::run_in(api, pod, &command.within(COMMAND_DEADLINE)).await)
}

fn text_of(output: Result<Output, Failure>) -> Result<String, String> {
    let output = output.map_err(|failure| failure.message().to_owned())?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.exit_code != 0 {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let _ = write!(text, "\nexit code {}\n{stderr}", output.exit_code);
    }
    Ok(text)
}

/// Whether what runs in the pod has the power of the node's root: nothing of the image that is
/// tested is to run there, not even `podman info`.
fn is_privileged(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut contexts = containers.filter_map(|container| container.security_context.as_ref());
    contexts.any(|context| context.privileged == Some(true))
}

fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

/// A log of a container that ended, or that ended before.
struct Log {
    /// The container's place in the pod; its name comes from the server.
    number: usize,
    container: String,
    previous: bool,
}

fn wanted_logs(pod: &Pod) -> Vec<Log> {
    let status = pod.status.clone().unwrap_or_default();
    let initial = status.init_container_statuses.unwrap_or_default();
    let statuses = initial.into_iter().chain(status.container_statuses.unwrap_or_default());
    let log = |(status, number): (ContainerStatus, usize)| {
        let has_ended = |state: Option<&k8s_openapi::api::core::v1::ContainerState>| {
            state.is_some_and(|state| state.terminated.is_some())
        };
        let previous = status.restart_count > 0 && has_ended(status.last_state.as_ref());
        let wanted = previous || has_ended(status.state.as_ref());
        wanted.then_some(Log { number, container: status.name, previous })
    };
    statuses.zip(1..).filter_map(log).collect()
}

impl Log {
    fn part(&self) -> String {
        let kind = if self.previous { "previous" } else { "last" };
        format!("container-{}.{kind}.log", self.number)
    }

    async fn read(&self, api: &Api<Pod>, pod: &str) -> Result<String, String> {
        let parameters = LogParams {
            container: Some(self.container.clone()),
            previous: self.previous,
            limit_bytes: i64::try_from(FILE_LIMIT).ok(),
            tail_lines: Some(1000),
            ..LogParams::default()
        };
        call_within(LOOK_DEADLINE, "read the log", || api.logs(pod, &parameters))
            .await
            .map_err(|error| error.to_string())
    }
}

/// The events about a pod, one a line, the oldest first.
async fn events(sandbox: &Sandbox, pod: &str) -> Result<String, String> {
    let api: Api<Event> = Api::namespaced(sandbox.user().clone(), sandbox.namespace());
    let about = ListParams::default()
        .fields(&format!("involvedObject.kind=Pod,involvedObject.name={pod}"))
        .limit(MOST_EVENTS);
    let listed = call_within(LOOK_DEADLINE, "list the events", || api.list(&about)).await;
    let mut lines: Vec<String> =
        listed.map_err(|error| error.to_string())?.items.iter().map(line).collect();
    lines.sort();
    Ok(lines.concat())
}

fn line(event: &Event) -> String {
    let at = event.last_timestamp.as_ref().map(|time| time.0.to_string());
    let at = at.or_else(|| event.event_time.as_ref().map(|time| time.0.to_string()));
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!(
        "{} {} {} ×{}: {}\n",
        at.unwrap_or_default(),
        text(&event.type_),
        text(&event.reason),
        event.count.unwrap_or(1),
        crate::base::text::one_line(&text(&event.message))
    )
}

/// A pod as the server has it, without what may hold secrets and what nobody reads.
fn object(pod: &Pod) -> Result<String, String> {
    let mut value = serde_json::to_value(pod).map_err(|error| error.to_string())?;
    strip(&mut value);
    redact::clean_json(&mut value);
    pretty(&value)
}

/// Takes out who manages which field, what `kubectl` remembers, and the values of environment
/// variables and of secret options: a webhook may have put a password there.
fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("managedFields");
            fields.remove("kubectl.kubernetes.io/last-applied-configuration");
            if let Some(Value::Array(variables)) = fields.get_mut("env") {
                for value in variables.iter_mut().filter_map(|variable| variable.get_mut("value")) {
                    *value = Value::from("[redacted]");
                }
            }
            for name in ["args", "command"] {
                if let Some(words) = fields.get_mut(name) {
                    strip_arguments(words);
                }
            }
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// A value that stands behind its option is no secret by its own form.
fn strip_arguments(words: &mut Value) {
    let texts: Option<Vec<String>> = words
        .as_array()
        .and_then(|words| words.iter().map(|word| word.as_str().map(str::to_owned)).collect());
    if let Some(texts) = texts {
        *words = redact::clean_arguments(&texts, FILE_LIMIT).into();
    }
}

fn pretty(value: &impl Serialize) -> Result<String, String> {
    serde_json::to_string_pretty(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_loses_what_may_be_secret() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": "w",
                "managedFields": [{"manager": "m"}],
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "canary"},
            },
            "spec": {
                "containers": [{"name": "tools", "args": ["serve", "--token", "canary"], "env": [{"name": "PASSWORD", "value": "canary"}]}],
                "initContainers": [{"name": "first", "env": [{"name": "KEY", "value": "canary"}]}],
            },
        }))
        .expect("it is a pod");
        let text = object(&pod).expect("it is JSON");
        assert!(!text.contains("canary") && !text.contains("managedFields"), "{text}");
        assert!(text.contains("PASSWORD") && text.contains("serve"), "{text}");
    }

    #[test]
    fn nothing_is_run_where_it_would_be_root_of_the_node() {
        let pod = |context: Value| -> Pod {
            let container = json!({"name": "tools", "securityContext": context});
            serde_json::from_value(json!({"spec": {"containers": [container]}}))
                .expect("it is a pod")
        };
        assert!(is_privileged(&pod(json!({"privileged": true}))));
        assert!(!is_privileged(&pod(json!({"privileged": false}))));
        assert!(!is_privileged(&pod(json!({}))));
    }

    #[test]
    fn logs_are_of_what_has_ended_and_are_named_by_number() {
        let pod: Pod = serde_json::from_value(json!({
            "spec": {"containers": []},
            "status": {"containerStatuses": [
                {"name": "../runs", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                 "state": {"running": {}}},
                {"name": "../ended", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                 "state": {"terminated": {"exitCode": 1}}},
                {"name": "../again", "image": "i", "imageID": "", "ready": false, "restartCount": 3,
                 "state": {"waiting": {}}, "lastState": {"terminated": {"exitCode": 1}}},
            ]},
        }))
        .expect("it is a pod");
        let parts: Vec<_> = wanted_logs(&pod).iter().map(Log::part).collect();
        assert_eq!(parts, ["container-2.last.log", "container-3.previous.log"]);
    }
}
