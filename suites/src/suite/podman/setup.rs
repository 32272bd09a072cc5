//! POD-02 and POD-04: what a workspace does before its user's first container runs.

use std::time::Duration;

use harness::{
    engine::{Case, CaseKind, Context, Inside, PodHandle},
    verdict::{CaseResult, Failure, Level},
    workload::{Command, PROBE},
};

use super::{expect_error, images::import_of, need_program};
use crate::{
    fixtures::NESTED_POD,
    steps::{known, podman, podman_run, probe_command, still_works},
    suite::NESTED,
};

/// The entrypoint of the Universal Developer Image (devfile/developer-images, `base/ubi9`).
const ENTRYPOINT: &str = "/entrypoint.sh";

inventory::submit!(Case {
    id: "POD-02",
    suite: "podman",
    name: "is_set_up_by_the_entrypoint",
    title: "The image's entrypoint configures podman's storage for /dev/fuse, and the user's ids \
        for the pod",
    why: "The Universal Developer Image chooses podman's storage driver and the user's ids when \
          it starts. If it chooses wrongly, the kernel refuses newuidmap, or podman copies whole \
          images. The case reads the two files of ids and storage.conf after the entrypoint has \
          run. It does not read the line about uid_map in the pod's log.",
    fix: "Use an image from September 2025 or newer, whose entrypoint reads HOST_USERS. Delete a \
          persisted `~/.config/containers`: the entrypoint does not overwrite it.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    kind: CaseKind::Live(|cx| Box::pin(is_set_up_by_the_entrypoint(cx))),
    ..Case::DEFAULT
});

async fn is_set_up_by_the_entrypoint(cx: Context) -> CaseResult {
    let shared = cx.pod(&NESTED_POD).await?;
    let remedy = "nothing needs it where the image is set up when it is built; see ID-05 and POD-01 \
                  for what it is set up to";
    need_program(&shared, ENTRYPOINT, remedy).await?;
    // A pod of its own: with `--entrypoint skip` the others are started past the entrypoint.
    let mut pod = cx.manifest(&NESTED_POD)?;
    pod.metadata.name = Some("pod-02".to_owned());
    for container in &mut pod.spec.get_or_insert_default().containers {
        container.command = Some([ENTRYPOINT, PROBE, "pause"].map(str::to_owned).to_vec());
        container.args = None;
    }
    let workspace = cx.provision_pod(&NESTED_POD, &pod).await?;
    let facts: probe::Facts = workspace.probe(&["facts"]).await?;
    let uid = facts.effective_uid;
    let name = known(&facts.user_name)?.clone().unwrap_or_default();
    let expected = format!("{name}:{}:{}", uid + 1, 65_535 - uid);
    for file in ["/etc/subuid", "/etc/subgid"] {
        let ranges = workspace.output(&Command::new(["cat", file])).await?;
        cx.check_equal(file, &expected, &ranges)?;
    }
    let script = "
        if [ -c /dev/fuse ] && [ -e /usr/bin/fuse-overlayfs ]; then echo fuse; else echo none; fi
        cat ~/.config/containers/storage.conf
    ";
    let look = Command::shell("look at podman's storage", script, [""; 0]);
    let seen = workspace.output(&look).await?;
    let (device, storage) = seen.split_once('\n').unwrap_or_default();
    let (expected, holds) = match device {
        "fuse" => ("overlay with fuse-overlayfs", storage.contains("/usr/bin/fuse-overlayfs")),
        _ => ("no fuse-overlayfs", !storage.contains("fuse-overlayfs")),
    };
    cx.check("podman's storage.conf", expected, storage, holds)
}

/// Moves an image from podman's storage to a registry in the pod, on this port, which is there as
/// long as the pod is; returns the digest of its manifest.
async fn serve_registry(workspace: &PodHandle, image: &str, port: &str) -> Result<String, Failure> {
    let script = "
        directory=$(mktemp -d)/layout
        podman save --quiet --format oci-dir --output \"$directory\" \"$1\"
        podman image rm \"$1\" > /dev/null
        python3 /nestcheck/registry/serve.py \"$directory\" \"$2\" > \"$directory/log\" 2>&1 &
        python3 -c 'import json, sys; print(json.load(sys.stdin)[\"manifests\"][0][\"digest\"])' \
            < \"$directory/index.json\"
        until /nestcheck/probe get \"http://127.0.0.1:$2/v2/\" > /dev/null; do
            kill -0 $! || { cat \"$directory/log\" >&2; exit 1; }
        done
    ";
    let serve = Command::shell("serve an image as a registry", script, [image, port]);
    workspace.output(&serve).await
}

inventory::submit!(Case {
    id: "POD-04",
    suite: "podman",
    name: "pulls_from_a_registry",
    title: "An image is pulled from a registry by its digest and runs, and another digest is not \
         found",
    why: "Users pull nearly every image. The case serves a registry inside the pod, so it tests \
          pulling without the internet: podman downloads the layers, unpacks them, and checks \
          the requested digest.",
    fix: "Read the output of `podman --log-level=debug pull`. Look at proxies in the pod's \
          environment (`HTTP_PROXY`, `NO_PROXY`), at policy.json and registries.conf. The case \
          does not test a real registry's certificate and login.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(5),
    kind: CaseKind::Live(|cx| Box::pin(pulls_from_a_registry(cx))),
    ..Case::DEFAULT
});

async fn pulls_from_a_registry(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let remedy = "install python3, which podman-compose needs too: the case's registry is a script";
    need_program(&workspace, "python3", remedy).await?;
    // With an owner that no other image has: a layer that is here is not pulled.
    let local = "localhost/nestcheck/pod-04";
    workspace.output(&import_of("404", local)).await?;
    let digest = serve_registry(&workspace, local, "18140").await?;
    let repository = "127.0.0.1:18140/nestcheck/pod-04";
    let image = format!("{repository}@{digest}");
    let pull = ["pull", "--quiet", "--tls-verify=false"];
    let id = workspace.output(&podman(&[&pull[..], &[&image]].concat())).await?;
    let digests = podman(&["image", "inspect", "--format={{.RepoDigests}}", &id]);
    let digests = workspace.output(&digests).await?;
    cx.check("digests of the pulled image", &image, &digests, digests.contains(&image))?;
    let run = podman_run(&["--pull=never"], &image, &["/probe", "print", "pulled"]);
    cx.check_equal("container of the pulled image", "pulled", &workspace.output(&run).await?)?;
    let other = format!("{repository}@sha256:{}", "0".repeat(64));
    let refused = workspace.run(&podman(&[&pull[..], &[&other]].concat())).await?;
    expect_error(&cx, "pull of another digest", &refused, &["127.0.0.1:18140", "0000"])?;
    // A registry that ended would be refused in the same words.
    let answers = async {
        let answer =
            workspace.output(&probe_command(&["get", "http://127.0.0.1:18140/v2/"])).await?;
        cx.check_equal("answer of the registry after the refusal", "{}", &answer)
    };
    still_works("the registry", answers).await
}
