//! CMP: compose as an ordinary user, by podman-compose and through podman's API.

mod build;
mod socket;

use std::time::Duration;

use harness::{
    engine::{Case, CaseKind, Context, Inside, PodHandle, Profile},
    verdict::{CaseResult, Failure, Level},
    workload::Command,
};

use crate::{
    fixtures::NESTED_POD,
    steps::{podman, probe_command, scratch_image},
    suite::{NESTED, WITH_DEVICES},
};

/// A compose project in the workspace.
struct Project<'a> {
    workspace: &'a PodHandle,
    name: &'static str,
    image: String,
    port: &'static str,
}

impl Project<'_> {
    /// A podman-compose command on the project.
    async fn compose(&self, arguments: &[&str]) -> Result<String, Failure> {
        let file = format!("{}/compose.yaml", crate::fixtures::context("compose/two-services"));
        let image = format!("NESTCHECK_IMAGE={}", self.image);
        let port = format!("NESTCHECK_PORT={}", self.port);
        let fixed =
            ["env", &image, &port, "podman-compose", "--project-name", self.name, "--file", &file];
        let command = Command::new(fixed.iter().chain(arguments).copied());
        self.workspace.output(&command).await
    }

    /// The name that podman-compose gives a service's container.
    fn container(&self, service: &str) -> String {
        format!("{}_{service}_1", self.name)
    }

    /// Runs the probe in a service's container.
    async fn probe_in(&self, service: &str, arguments: &[&str]) -> Result<String, Failure> {
        let container = self.container(service);
        let fixed = ["exec", &container, "/probe"];
        let all: Vec<_> = fixed.iter().chain(arguments).copied().collect();
        self.workspace.output(&podman(&all)).await
    }
}

inventory::submit!(Case {
    id: "CMP-01",
    suite: "compose",
    name: "is_there",
    title: "The image contains podman-compose, which finds podman",
    why: "podman-compose is not part of podman. An image without it can run containers but not a \
          project.",
    fix: "Install podman-compose in the image, from the distribution or with pip, in a directory \
          of PATH.",
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    kind: CaseKind::Live(|cx| Box::pin(is_there(cx))),
    ..Case::DEFAULT
});

async fn is_there(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let version = workspace.output(&Command::new(["podman-compose", "version"])).await?;
    cx.check(
        "podman-compose version",
        "its own version and podman's",
        &version,
        version.contains("podman-compose version") && version.contains("podman version"),
    )
}

inventory::submit!(Case {
    id: "CMP-02",
    suite: "compose",
    name: "connects_two_services",
    title: "Two services find each other by name, one publishes a port, and a named volume keeps \
        its data",
    why: "The smallest real project is a web service that finds its database by name, listens on \
          a published port and keeps its data in a volume. It needs a bridge network, name \
          resolution and a way out of the network namespace.",
    fix: "Provide /dev/net/tun (ISO-04), and install netavark, aardvark-dns, nftables and passt \
          in the image. The diagnosis names the missing part.",
    profiles: &[Profile::Smoke],
    requires: WITH_DEVICES,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(23),
    kind: CaseKind::Live(|cx| Box::pin(connects_two_services(cx))),
    ..Case::DEFAULT
});

async fn connects_two_services(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = scratch_image(&workspace).await?;
    let project = Project { workspace: &workspace, name: "cmp-02", image, port: "18080" };
    project.compose(&["up", "--detach"]).await?;

    let published = ["get", "http://127.0.0.1:18080/"];
    let answer = workspace.output(&probe_command(&published)).await?;
    cx.check_equal("answer at the published port", "the web service", &answer)?;
    let published = ["get", "http://127.0.0.1:18080/env/GREETING"];
    let answer = workspace.output(&probe_command(&published)).await?;
    cx.check_equal("environment of the service", "hello from compose", &answer)?;

    project.probe_in("web", &["put", "http://database:8080/", "record 1"]).await?;
    let answer = project.probe_in("web", &["get", "http://database:8080/"]).await?;
    cx.check_equal("answer by service name", "record 1", &answer)?;

    // New containers, the old volume: an anonymous one would be lost with its container.
    let inspect = ["inspect", "--format={{.Id}}", &project.container("database")];
    let before = workspace.output(&podman(&inspect)).await?;
    project.compose(&["down", "--timeout", "1"]).await?;
    project.compose(&["up", "--detach"]).await?;
    let after = workspace.output(&podman(&inspect)).await?;
    let containers = format!("{before}, {after}");
    cx.check("container after `down` and `up`", "another one", containers, before != after)?;
    let answer = project.probe_in("web", &["get", "http://database:8080/"]).await?;
    cx.check_equal("record in the named volume after `down` and `up`", "record 1", &answer)?;
    project.compose(&["down", "--volumes", "--timeout", "1"]).await.map(drop)
}

inventory::submit!(Case {
    id: "CMP-03",
    suite: "compose",
    name: "removes_what_it_made",
    title: "Services can be listed, entered and their logs read, and `down` removes everything \
        that `up` created",
    why: "If `down` does not remove everything that `up` created, ports, names and disk space \
          stay in use, and the second start fails.",
    fix: "Update podman-compose. Find the objects in the message with `podman ps --all`, `podman \
          network ls` and `podman volume ls`.",
    requires: WITH_DEVICES,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(16),
    kind: CaseKind::Live(|cx| Box::pin(removes_what_it_made(cx))),
    ..Case::DEFAULT
});

async fn removes_what_it_made(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = scratch_image(&workspace).await?;
    let project = Project { workspace: &workspace, name: "cmp-03", image, port: "18081" };
    project.compose(&["up", "--detach"]).await?;
    let listed = project.compose(&["ps"]).await?;
    let (web, database) = (project.container("web"), project.container("database"));
    cx.check("listed services", "both", &listed, {
        listed.contains(&web) && listed.contains(&database)
    })?;
    let logs = project.compose(&["logs", "database"]).await?;
    cx.check("logs of a service", "what it printed", &logs, logs.contains("listening on"))?;
    let entered = project.compose(&["exec", "-T", "web", "/probe", "print", "inside"]).await?;
    cx.check_equal("answer to an exec inside", "inside", &entered)?;

    let before = leftovers(&workspace, project.name).await?;
    cx.check(
        "objects before `down`",
        "containers, a network and a volume",
        &before,
        ["container ", "network ", "volume "].iter().all(|kind| before.contains(kind)),
    )?;
    project.compose(&["down", "--volumes", "--timeout", "1"]).await?;
    cx.check_equal("objects after `down`", "", &leftovers(&workspace, project.name).await?)
}

inventory::submit!(Case {
    id: "CMP-03A",
    suite: "compose",
    name: "restarts_one_service",
    title: "One service is restarted, stopped and started again while the other one continues",
    why: "Developers restart the one service that they work on. The other services, above all the \
          database, must keep running.",
    fix: "See POD-09. If another service restarts too, update podman-compose.",
    level: Level::Extended,
    requires: WITH_DEVICES,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(16),
    kind: CaseKind::Live(|cx| Box::pin(restarts_one_service(cx))),
    ..Case::DEFAULT
});

async fn restarts_one_service(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = scratch_image(&workspace).await?;
    let project = Project { workspace: &workspace, name: "cmp-03a", image, port: "18082" };
    project.compose(&["up", "--detach"]).await?;
    let (web, database) = (project.container("web"), project.container("database"));
    let processes = podman(&["inspect", "--format={{.State.Pid}}", &web, &database]);
    let before = workspace.output(&processes).await?;
    project.compose(&["restart", "--timeout=1", "web"]).await?;
    let after = workspace.output(&processes).await?;
    let (web_before, database_before) = before.split_once('\n').unwrap_or_default();
    let (web_after, database_after) = after.split_once('\n').unwrap_or_default();
    let observed = format!("{web_before}, then {web_after}");
    let is_another = web_after != web_before && web_after != "0";
    cx.check("process of the restarted service", "another one", observed, is_another)?;
    cx.check_equal("process of the other service", database_before, database_after)?;
    let url = ["get", "http://127.0.0.1:18082/"];
    let answer = workspace.output(&probe_command(&url)).await?;
    cx.check_equal("answer after `restart`", "the web service", &answer)?;

    project.compose(&["stop", "--timeout=1", "web"]).await?;
    let state = podman(&["inspect", "--format={{.State.Status}}", &web, &database]);
    let stopped = workspace.output(&state).await?;
    cx.check_equal("states after `stop`", "exited\nrunning", &stopped)?;
    project.compose(&["start", "web"]).await?;
    let answer = workspace.output(&probe_command(&url)).await?;
    cx.check_equal("answer after `start`", "the web service", &answer)?;
    project.compose(&["down", "--volumes", "--timeout=1"]).await.map(drop)
}

/// All containers, pods, networks and volumes of a project, one a line with its kind.
async fn leftovers(workspace: &PodHandle, project: &str) -> Result<String, Failure> {
    let script = "
        label=io.podman.compose.project=$1
        podman ps --all --filter label=$label --format 'container {{.Names}}'
        podman pod ls --filter 'name=^pod_'$1'$' --format 'pod {{.Name}}'
        podman network ls --filter label=$label --format 'network {{.Name}}'
        podman volume ls --filter label=$label --format 'volume {{.Name}}'
    ";
    workspace.output(&Command::shell("list what the project has", script, [project])).await
}
