//! CMP-04 and CMP-05: what compose builds, and what it must leave to podman.

use std::time::Duration;

use harness::{
    engine::{Case, CaseKind, Context, Inside, PodHandle},
    verdict::{CaseResult, Failure, Level},
    workload::Command,
};

use crate::{
    fixtures::NESTED_POD,
    steps::{podman, probe_command, scratch_image},
    suite::{NESTED, WITH_DEVICES, podman::need_program},
};

/// Copies the project to a directory of its own, which it returns: a ConfigMap's files are links,
/// which no build takes.
async fn copy_project(workspace: &PodHandle) -> Result<String, Failure> {
    let script = "
        directory=$(mktemp -d)
        cp -L \"$1\"/* /nestcheck/probe \"$directory\"
        echo \"$directory\"
    ";
    let project = crate::fixtures::context("compose/build");
    workspace.output(&Command::shell("copy the project", script, [project])).await
}

inventory::submit!(Case {
    id: "CMP-04",
    suite: "compose",
    name: "builds_an_image",
    title: "A service's image is built from the project's own directory, with the arguments of the \
         compose file",
    why: "A compose file builds a project's own services with `build:`. The directory beside the \
          file must be the build context, and the build arguments must arrive.",
    fix: "See POD-03 and POD-06: podman-compose runs `podman build`.",
    level: Level::Extended,
    requires: WITH_DEVICES,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(9),
    kind: CaseKind::Live(|cx| Box::pin(builds_an_image(cx))),
    ..Case::DEFAULT
});

async fn builds_an_image(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let file = format!("{}/compose.yaml", copy_project(&workspace).await?);
    let compose = async |arguments: &[&str]| {
        let program = ["env", "NESTCHECK_PORT=18130", "podman-compose"];
        let project = ["--project-name=cmp-04", "--file", &file];
        let command = program.iter().chain(&project).chain(arguments).copied();
        workspace.output(&Command::new(command)).await
    };
    compose(&["up", "--detach", "--build"]).await?;
    let url = "http://127.0.0.1:18130/env/GREETING";
    let greeting = workspace.output(&probe_command(&["get", url])).await?;
    cx.check_equal("argument of the build, in the container", "built by compose", &greeting)?;
    let format = "--format={{.ImageName}}";
    let image = workspace.output(&podman(&["inspect", format, "cmp-04_web_1"])).await?;
    let is_own = image.starts_with("localhost/cmp-04_web");
    cx.check("image of the service", "one of the project's own", &image, is_own)?;
    compose(&["down", "--volumes", "--timeout=1"]).await?;
    workspace.output(&podman(&["image", "rm", &image])).await.map(drop)
}

/// The wrapper of the Universal Developer Image (devfile/developer-images, `base/ubi9`).
const WRAPPER: &str = "podman.wrapper";

inventory::submit!(Case {
    id: "CMP-05",
    suite: "compose",
    name: "routes_only_some_verbs_to_kubedock",
    title: "With KUBEDOCK_ENABLED the image's wrapper sends containers to kubedock and keeps \
        images local",
    why: "With KUBEDOCK_ENABLED set, the Universal Developer Image has a wrapper that sends \
          containers to kubedock, which runs them as pods beside the workspace. Builds and \
          images must stay local even then.",
    fix: "Use the wrapper of the current image, and leave KUBEDOCK_ENABLED unset if containers \
          should run in the pod.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    kind: CaseKind::Live(|cx| Box::pin(routes_only_some_verbs_to_kubedock(cx))),
    ..Case::DEFAULT
});

async fn routes_only_some_verbs_to_kubedock(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let remedy = "nothing needs it where containers run in the pod; the Universal Developer Image \
                  has both";
    need_program(&workspace, "kubedock", remedy).await?;
    need_program(&workspace, WRAPPER, remedy).await?;
    let image = scratch_image(&workspace).await?;
    let wrapped = |arguments: &[&str]| {
        let fixed = ["env", "KUBEDOCK_ENABLED=true", WRAPPER];
        Command::new(fixed.iter().chain(arguments).copied())
    };
    let exists = workspace.run(&wrapped(&["image", "exists", &image])).await?.exit_code;
    cx.check_equal("exit code of `image exists`, which stays here", "0", &exists.to_string())?;
    // Nobody listens on kubedock's port, so that what is sent there fails.
    let list = workspace.run(&wrapped(&["ps"])).await?;
    let reported = String::from_utf8_lossy(&list.stderr);
    let is_sent = list.exit_code != 0 && reported.contains("2475");
    let observed = format!("exit code {}: {}", list.exit_code, reported.trim_end());
    cx.check("`ps`, which goes to kubedock", "no connection to port 2475", observed, is_sent)
}
