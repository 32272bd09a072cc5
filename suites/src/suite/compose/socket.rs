//! Podman's API on a socket, and docker-compose through it.

use std::time::Duration;

use harness::{
    engine::{Case, CaseKind, Context, Inside, PodHandle},
    verdict::{CaseResult, Failure, Level},
    workload::Command,
};

use crate::{
    fixtures::NESTED_POD,
    steps::{podman, probe_command, scratch_image},
    suite::{
        NESTED, WITH_DEVICES,
        podman::{need_program, remove},
    },
};

/// The address of podman's API, which is served from then on as long as the pod is there.
async fn socket(workspace: &PodHandle) -> Result<String, Failure> {
    let script = "
        directory=$(mktemp -d)
        podman system service --time=0 \"unix://$directory/podman.sock\" > \"$directory/log\" 2>&1 &
        server=$!
        until [ -S \"$directory/podman.sock\" ]; do
            kill -0 $server 2> /dev/null || { cat \"$directory/log\" >&2; exit 1; }
            sleep 0.05
        done
        echo \"unix://$directory/podman.sock\"
    ";
    let serve = Command::shell("start `podman system service`", script, [""; 0]);
    workspace.once("podman's socket", || workspace.output(&serve)).await
}

inventory::submit!(Case {
    id: "CMP-01A",
    suite: "compose",
    name: "answers_on_its_socket",
    title: "Podman's API answers on a socket, and podman itself sees the containers that it runs",
    why: "Development tools (Testcontainers, IDE extensions, docker-compose) use podman's API \
          instead of its command. The user's socket must answer and show the same containers.",
    fix: "Run `podman system service --time=0 unix://PATH` by hand and read its output. The user \
          must own the directory of the socket, and its path must be shorter than 108 \
          characters.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(3),
    kind: CaseKind::Live(|cx| Box::pin(answers_on_its_socket(cx))),
    ..Case::DEFAULT
});

async fn answers_on_its_socket(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = scratch_image(&workspace).await?;
    let url = format!("--url={}", socket(&workspace).await?);
    let version = workspace.output(&podman(&["version", "--format={{.Client.Version}}"])).await?;
    let served = podman(&[&url, "version", "--format={{.Server.Version}}"]);
    cx.check_equal("version of the API", &version, &workspace.output(&served).await?)?;
    let name = "cmp-01a";
    let run = [&url, "run", "--detach", "--replace", "--network=none", "--name", name, &image];
    workspace.output(&podman(&run)).await?;
    let list = ["ps", "--filter=name=cmp-01a", "--format={{.Names}} {{.State}}"];
    for (way, options) in [("without", &[][..]), ("through", &[url.as_str()])] {
        let seen = workspace.output(&podman(&[options, &list[..]].concat())).await?;
        let what = format!("container, listed {way} the socket");
        cx.check_equal(&what, "cmp-01a running", &seen)?;
    }
    remove(&workspace, &[name]).await
}

inventory::submit!(Case {
    id: "CMP-01B",
    suite: "compose",
    name: "serves_docker_compose",
    title: "docker-compose connects, publishes and removes two services through podman's socket",
    why: "Many projects start with docker-compose. Their users point DOCKER_HOST at podman's \
          socket.",
    fix: "Install docker-compose 2 in the workspace image. See CMP-01A for the socket, POD-NET-02 \
          and POD-NET-04 for the network.",
    level: Level::Extended,
    requires: WITH_DEVICES,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(9),
    kind: CaseKind::Live(|cx| Box::pin(serves_docker_compose(cx))),
    ..Case::DEFAULT
});

async fn serves_docker_compose(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let remedy = "nothing needs it where podman-compose is there; else install docker-compose, \
                  version 2";
    need_program(&workspace, "docker-compose", remedy).await?;
    let host = format!("DOCKER_HOST={}", socket(&workspace).await?);
    let image = format!("NESTCHECK_IMAGE={}", scratch_image(&workspace).await?);
    let file = format!("{}/compose.yaml", crate::fixtures::context("compose/two-services"));
    let compose = async |arguments: &[&str]| {
        let variables = ["env", host.as_str(), image.as_str(), "NESTCHECK_PORT=18120"];
        let fixed = ["docker-compose", "--project-name=cmp-01b", "--file", file.as_str()];
        let command = variables.iter().chain(&fixed).chain(arguments).copied();
        workspace.output(&Command::new(command)).await
    };
    compose(&["up", "--detach"]).await?;
    let published = probe_command(&["get", "http://127.0.0.1:18120/"]);
    let answer = workspace.output(&published).await?;
    cx.check_equal("answer at the published port", "the web service", &answer)?;
    let put = ["exec", "-T", "web", "/probe", "put", "http://database:8080/", "record 1"];
    compose(&put).await?;
    let get = ["exec", "-T", "web", "/probe", "get", "http://database:8080/"];
    cx.check_equal("answer by service name", "record 1", &compose(&get).await?)?;

    let label = "--filter=label=com.docker.compose.project=cmp-01b";
    let list = podman(&["ps", "--all", "--sort=names", label, "--format={{.Names}}"]);
    let names = workspace.output(&list).await?;
    cx.check_equal("containers before `down`", "cmp-01b-database-1\ncmp-01b-web-1", &names)?;
    compose(&["down", "--volumes", "--timeout=1"]).await?;
    let script = "
        podman ps --all \"$1\" --format 'container {{.Names}}'
        podman network ls \"$1\" --format 'network {{.Name}}'
        podman volume ls \"$1\" --format 'volume {{.Name}}'
    ";
    let leftovers = Command::shell("list what the project has", script, [label]);
    cx.check_equal("objects after `down`", "", &workspace.output(&leftovers).await?)
}
