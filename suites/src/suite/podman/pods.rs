//! POD-13 and POD-K8S: containers that share a pod of podman's.

use std::time::Duration;

use harness::{
    engine::{Case, CaseKind, Context, Inside},
    verdict::{CaseResult, Level},
};

use crate::{
    fixtures::NESTED_POD,
    steps::{podman, probe_command, scratch_image},
    suite::{NESTED, WITH_DEVICES},
};

inventory::submit!(Case {
    id: "POD-13",
    suite: "podman",
    name: "shares_a_network_in_a_pod",
    title: "The containers of a podman pod share a network, which a container of podman's own \
        image holds",
    why: "Podman's pods are the local counterpart of Kubernetes pods. Podman builds the image of \
          the container that holds the shared network from a program named catatonit, so it \
          needs no registry.",
    fix: "Install `catatonit` in the workspace image, or set `infra_image` in containers.conf to \
          an image that podman can pull.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(6),
    kind: CaseKind::Live(|cx| Box::pin(shares_a_network_in_a_pod(cx))),
    ..Case::DEFAULT
});

async fn shares_a_network_in_a_pod(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = scratch_image(&workspace).await?;
    let name = "pod-13";
    workspace
        .output(&podman(&["pod", "create", "--replace", "--network=none", "--name", name]))
        .await?;
    let server = ["/probe", "serve", "--port", "8080", "--text", "a neighbour"];
    let detach = ["run", "--detach", "--pod", name, "--name=pod-13-server", &image];
    workspace.output(&podman(&[&detach[..], &server].concat())).await?;
    let get = ["run", "--rm", "--pod", name, &image, "/probe", "get", "http://127.0.0.1:8080/"];
    let answer = workspace.output(&podman(&get)).await?;
    cx.check_equal("answer at the pod's loopback", "a neighbour", &answer)?;
    let format = "--format={{.State}} {{len .Containers}} {{.SharedNamespaces}}";
    let state = workspace.output(&podman(&["pod", "inspect", name, format])).await?;
    cx.check(
        "state of the pod",
        "Running, with the server and the container that holds the shared network",
        &state,
        state.starts_with("Running 2 ") && state.contains("net"),
    )?;
    let list = podman(&["ps", "--all", "--filter=name=pod-13-", "--format={{.Names}}"]);
    let before = workspace.output(&list).await?;
    cx.check_equal("containers before `pod rm`", "pod-13-server", &before)?;
    workspace.output(&podman(&["pod", "rm", "--force", "--time=0", name])).await?;
    cx.check_equal("containers after `pod rm`", "", &workspace.output(&list).await?)
}

/// As people write it for Kubernetes, but with an image that is only here.
const MANIFEST: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: pod-k8s}
spec:
  containers:
  - name: server
    image: IMAGE
    imagePullPolicy: Never
    command: [/probe, serve, --port, "8080", --file, /data/record]
    env: [{name: GREETING, value: hello from a manifest}]
    ports: [{containerPort: 8080, hostPort: 18110}]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, emptyDir: {}}]
"#;

inventory::submit!(Case {
    id: "POD-K8S",
    suite: "podman",
    name: "plays_a_kubernetes_manifest",
    title: "`podman kube play` runs a pod from a manifest with its port and volume, and `kube \
         down` ends it",
    why: "Developers test a manifest with `podman kube play` before they apply it to the cluster. \
          Ports, environment and volumes must match the manifest.",
    fix: "Install `catatonit` for the pod's first container, and see POD-NET-02 for its port.",
    level: Level::Extended,
    requires: WITH_DEVICES,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(5),
    kind: CaseKind::Live(|cx| Box::pin(plays_a_kubernetes_manifest(cx))),
    ..Case::DEFAULT
});

async fn plays_a_kubernetes_manifest(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = scratch_image(&workspace).await?;
    let manifest = MANIFEST.replace("IMAGE", &image);
    let play = podman(&["kube", "play", "--replace", "-"]).with_stdin(manifest.clone());
    workspace.output(&play).await?;
    let url = "http://127.0.0.1:18110/";
    let environment =
        workspace.output(&probe_command(&["get", &format!("{url}env/GREETING")])).await?;
    cx.check_equal("environment of the container", "hello from a manifest", &environment)?;
    workspace.output(&probe_command(&["put", url, "written"])).await?;
    let record = workspace.output(&probe_command(&["get", url])).await?;
    cx.check_equal("file in the manifest's volume", "written", &record)?;
    let list = podman(&["ps", "--all", "--filter=name=pod-k8s", "--format={{.Names}}"]);
    let before = workspace.output(&list).await?;
    let is_there = before.lines().any(|name| name == "pod-k8s-server");
    cx.check("containers before `kube down`", "pod-k8s-server among them", before, is_there)?;
    workspace.output(&podman(&["kube", "down", "-"]).with_stdin(manifest)).await?;
    cx.check_equal("containers after `kube down`", "", &workspace.output(&list).await?)?;
    let rest = workspace.run(&podman(&["pod", "exists", "pod-k8s"])).await?.exit_code;
    cx.check_equal("exit code of `pod exists` after `kube down`", "1", &rest.to_string())
}
