//! POD: podman as an ordinary user. One file a subject.

pub(crate) mod bridge;
pub(crate) mod containers;
pub(crate) mod images;
pub(crate) mod limits;
pub(crate) mod network;
pub(crate) mod own_root;
pub(crate) mod pods;
pub(crate) mod policy;
pub(crate) mod repetition;
pub(crate) mod restart;
pub(crate) mod setup;
pub(crate) mod storage;
pub(crate) mod volumes;

use harness::{
    engine::{Context, PodHandle},
    verdict::{CaseResult, Failure, Place},
    workload::{Command, Output, PROBE},
};

use crate::steps::podman;

/// A container's options and the probe that serves a text in it, detached. A container of the same
/// name that an interrupted try has left is replaced.
fn serving<'a>(name: &'a str, options: &[&'a str], image: &'a str, text: &'a str) -> Command {
    let fixed = ["run", "--detach", "--replace", "--name", name];
    let server = [image, "/probe", "serve", "--port", "8080", "--text", text];
    podman(&[&fixed, options, &server].concat())
}

/// Removes containers at once, running or not.
pub(crate) async fn remove(workspace: &PodHandle, names: &[&str]) -> CaseResult {
    let arguments = [&["rm", "--force", "--time=0"], names].concat();
    workspace.output(&podman(&arguments)).await.map(drop)
}

/// Starts the probe as a server in a pod, to run as long as the pod does.
async fn start_server(pod: &PodHandle, arguments: &[&str]) -> Result<String, Failure> {
    // Its streams are elsewhere, so that the command that starts it ends.
    let script = "
        log=$(mktemp)
        \"$@\" > \"$log\" 2>&1 &
        server=$!
        until [ -s \"$log\" ]; do kill -0 $server && sleep 0.02; done
        cat \"$log\"
    ";
    let arguments = [&[PROBE], arguments].concat();
    let command = Command::shell(format!("start `{}`", arguments.join(" ")), script, arguments);
    pod.output(&command).await
}

/// The address by which other pods reach a pod.
fn address(pod: &PodHandle) -> Result<String, Failure> {
    let status = pod.object().status.as_ref();
    status
        .and_then(|status| status.pod_ip.clone())
        .ok_or_else(|| Failure::harness(format!("the pod `{}` has no address", pod.name())))
}

/// Needs a program of the workspace image.
pub(crate) async fn need_program(
    workspace: &PodHandle,
    program: &str,
    remedy: &str,
) -> Result<(), Failure> {
    let search = Command::shell("look for a program", "command -v \"$1\"", [program]);
    match workspace.run(&search).await?.exit_code {
        0 => Ok(()),
        _ => Err(Failure::blocked(format!("the workspace image has no `{program}`"), remedy)
            .at(Place::Image)),
    }
}

/// Expects that a command was refused, in all these words.
fn expect_error(cx: &Context, name: &str, output: &Output, words: &[&str]) -> CaseResult {
    let written = String::from_utf8_lossy(&output.stderr);
    let reported = words.iter().all(|word| written.contains(word));
    cx.check(
        name,
        &format!("a refusal with “{}”", words.join("”, “")),
        format!("exit code {}: {}", output.exit_code, written.trim_end()),
        output.exit_code != 0 && reported,
    )
}
