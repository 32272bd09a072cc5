//! POD-05, POD-06 and POD-15: images that come, go and change.

use std::time::Duration;

use harness::{
    diagnosis::{self, Symptom},
    engine::{Case, CaseKind, Context, Inside, PodHandle},
    verdict::{CaseResult, Failure, Level, SignatureId},
    workload::Command,
};
use probe::ProcessIdentity;

use super::{expect_error, need_program, remove};
use crate::{
    fixtures::NESTED_POD,
    steps::{BUILD_DEADLINE, podman, podman_run, scratch_image, shell_image},
    suite::NESTED,
};

/// Packs the probe into an archive with this owner, and imports that as an image.
pub(super) fn import_of(owner: &str, image: &str) -> Command {
    let script = "
        tar --create --dereference --numeric-owner --owner=\"$1\" --group=\"$1\" \
            --directory=/nestcheck probe | podman import --quiet - \"$2\"
    ";
    Command::shell(format!("import a file of user {owner}"), script, [owner, image])
}

inventory::submit!(Case {
    id: "POD-05A",
    suite: "podman",
    name: "unpacks_files_of_high_ids",
    title: "An image with files of user 60000 is unpacked with that owner, and runs as that user",
    why: "Images of databases and web servers contain files with high owner ids. The user's range \
          must include them, or the pull ends with an error about lchown.",
    fix: "Give the user a range of about 64,000 ids in /etc/subuid and /etc/subgid that stays \
          below 65536, such as `user:1001:64535`.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(2),
    kind: CaseKind::Live(|cx| Box::pin(unpacks_files_of_high_ids(cx))),
    ..Case::DEFAULT
});

async fn unpacks_files_of_high_ids(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = "localhost/nestcheck/pod-05a";
    workspace.output(&import_of("60000", image)).await?;
    let script = "
        directory=$(podman image mount \"$1\")
        stat -c %u:%g \"$directory/probe\"
        podman image unmount \"$1\" > /dev/null
    ";
    let unshare = ["podman", "unshare", "sh", "-euc", script, "look", image];
    let owner = workspace.output(&Command::new(unshare)).await?;
    cx.check_equal("owner of the unpacked file", "60000:60000", &owner)?;
    let run = podman_run(&["--user=60000:60000"], image, &["/probe", "id"]);
    let identity = workspace.output(&run).await?;
    let identity: ProcessIdentity = serde_json::from_str(&identity)
        .map_err(|error| Failure::harness(format!("the probe printed `{identity}`: {error}")))?;
    let identity = format!("{}:{}", identity.uid, identity.gid);
    cx.check_equal("identity in the container", "60000:60000", &identity)
}

inventory::submit!(Case {
    id: "POD-05B",
    suite: "podman",
    name: "refuses_files_beyond_the_range",
    title: "An image with a file owner outside the user's range is refused with an error that \
        names the id",
    why: "A file cannot belong to an id that the pod does not have. The error must name the id, \
          and nestcheck must recognize it, so that nobody suspects the registry.",
    fix: "If the import succeeds, podman ignores owners: remove `ignore_chown_errors` from \
          storage.conf. Otherwise the message of this podman version is new: report it to \
          nestcheck.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    kind: CaseKind::Live(|cx| Box::pin(refuses_files_beyond_the_range(cx))),
    ..Case::DEFAULT
});

async fn refuses_files_beyond_the_range(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    // No range inside of a pod's 65536 ids goes so far.
    let output = workspace.run(&import_of("70000", "localhost/nestcheck/pod-05b")).await?;
    let words = ["insufficient UIDs or GIDs available", "70000:70000"];
    expect_error(&cx, "import of a file of user 70000", &output, &words)?;
    let written = String::from_utf8_lossy(&output.stderr);
    let diagnosis = diagnosis::diagnose(Symptom::Output(&written), Some(workspace.facts()));
    let holds = diagnosis.is_some_and(|diagnosis| diagnosis.id == SignatureId::F06);
    let diagnosis = diagnosis.map(|diagnosis| diagnosis.to_string()).unwrap_or_default();
    cx.check("its diagnosis", "F06", diagnosis, holds)
}

inventory::submit!(Case {
    id: "POD-06A",
    suite: "podman",
    name: "builds_with_buildah",
    title: "`buildah bud` builds an image without containers, with BUILDAH_ISOLATION=chroot",
    why: "Pipelines build with buildah rather than podman. Workspace images set \
          BUILDAH_ISOLATION=chroot, which runs RUN without a container.",
    fix: "Install buildah. If RUN fails, see ID-05 and ID-06, because chroot needs the user's ids \
          too.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(5),
    kind: CaseKind::Live(|cx| Box::pin(builds_with_buildah(cx))),
    ..Case::DEFAULT
});

async fn builds_with_buildah(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    need_program(&workspace, "buildah", "install buildah in the workspace image").await?;
    let base = shell_image(&workspace).await?;
    let image = "localhost/nestcheck/pod-06a";
    let script = "
        context=$(mktemp -d)
        trap 'rm -rf \"$context\"' EXIT
        cat > \"$context/Containerfile\"
        BUILDAH_ISOLATION=chroot buildah bud --quiet --no-cache --tag \"$1\" \"$context\"
    ";
    let recipe = format!(
        "FROM {base}\nRUN id -u > /srv/user && chown 1234:4321 /srv/user\nUSER 1234:4321\n\
         RUN id -u > /tmp/user\n"
    );
    let build = Command::shell("buildah bud", script, [image]);
    workspace.output(&build.with_stdin(recipe).within(BUILD_DEADLINE)).await?;
    let look = "cat /srv/user /tmp/user; stat -c %u:%g /srv/user /tmp/user";
    let files = workspace.output(&podman_run(&[], image, &["sh", "-c", look])).await?;
    cx.check_equal("files that the build made", "0\n1234\n1234:4321\n1234:4321", &files)
}

async fn image_id(workspace: &PodHandle, image: &str) -> Result<String, Failure> {
    workspace.output(&podman(&["image", "inspect", "--format={{.Id}}", image])).await
}

inventory::submit!(Case {
    id: "POD-15A",
    suite: "podman",
    name: "saves_and_loads_an_image",
    title: "An image is saved to an archive, removed, and loaded unchanged",
    why: "Without a registry, images travel as archives. They must come back unchanged, in both \
          formats.",
    fix: "See POD-05A if unpacking fails. Check the free disk space of the directory for \
          temporary files (`TMPDIR`).",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(6),
    kind: CaseKind::Live(|cx| Box::pin(saves_and_loads_an_image(cx))),
    ..Case::DEFAULT
});

async fn saves_and_loads_an_image(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    // Of its own, so that it can be removed.
    let image = "localhost/nestcheck/pod-15a";
    workspace.output(&import_of("0", image)).await?;
    let before = image_id(&workspace, image).await?;
    let script = "
        directory=$(mktemp -d)
        trap 'rm -rf \"$directory\"' EXIT
        for format in docker-archive oci-archive; do
            podman save --quiet --format \"$format\" --output \"$directory/$format\" \"$1\"
        done
        podman image rm \"$1\" > /dev/null
        if podman image exists \"$1\"; then echo still there; fi
        podman load --quiet --input \"$directory/docker-archive\"
        podman image inspect --format '{{.Id}}' \"$1\"
        podman image rm \"$1\" > /dev/null
        podman load --quiet --input \"$directory/oci-archive\"
    ";
    let loaded = workspace.output(&Command::shell("save and load", script, [image])).await?;
    let line = format!("Loaded image: {image}:latest");
    let expected = format!("{line}\n{before}\n{line}");
    cx.check_equal("image after `save`, `rm` and `load`", &expected, &loaded)?;
    cx.check_equal(
        "id of the image from the OCI archive",
        &before,
        &image_id(&workspace, image).await?,
    )?;
    let print = podman_run(&[], image, &["/probe", "print", "loaded"]);
    cx.check_equal("container of the loaded image", "loaded", &workspace.output(&print).await?)
}

/// Runs a container to its end that changed files, and keeps it.
async fn changed_container(workspace: &PodHandle, name: &str) -> Result<(), Failure> {
    let image = shell_image(workspace).await?;
    let script = "echo new > /srv/new && chown 1234:4321 /srv/new && rm /bin/touch";
    let run = ["run", "--replace", "--network=none", "--name", name, &image, "sh", "-c", script];
    workspace.output(&podman(&run)).await.map(drop)
}

inventory::submit!(Case {
    id: "POD-15B",
    suite: "podman",
    name: "commits_what_a_container_changed",
    title: "A container's changes can be listed, copied out and in, and committed to a new image",
    why: "To debug a container, developers look at its changes and copy files in and out; \
          `commit` keeps the result.",
    fix: "Copying uses mounts in podman's own namespace: see POD-01A and ID-07.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(6),
    kind: CaseKind::Live(|cx| Box::pin(commits_what_a_container_changed(cx))),
    ..Case::DEFAULT
});

async fn commits_what_a_container_changed(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let (name, image) = ("pod-15b", "localhost/nestcheck/pod-15b");
    changed_container(&workspace, name).await?;
    let changes = workspace.output(&podman(&["diff", name])).await?;
    let mut lines: Vec<_> = changes.lines().collect();
    lines.sort_unstable();
    let are_all = ["A /srv/new", "C /srv", "D /bin/touch"].iter().all(|line| lines.contains(line));
    cx.check("changes", "/srv/new is added and /bin/touch deleted", lines.join(", "), are_all)?;
    let script = "
        file=$(mktemp -d)/file
        podman cp \"$1:/srv/new\" \"$file\"
        cat \"$file\"
        echo from outside > \"$file\"
        podman cp \"$file\" \"$1:/srv/copied\"
        podman commit --quiet \"$1\" \"$2\" > /dev/null
    ";
    let copied = workspace.output(&Command::shell("cp and commit", script, [name, image])).await?;
    cx.check_equal("file that was copied out", "new", &copied)?;
    let look = "cat /srv/new /srv/copied; stat -c %u:%g /srv/new; command -v touch || echo gone";
    let committed = workspace.output(&podman_run(&[], image, &["sh", "-c", look])).await?;
    let expected = "new\nfrom outside\n1234:4321\ngone";
    cx.check_equal("files of the committed image", expected, &committed)?;
    remove(&workspace, &[name]).await
}

inventory::submit!(Case {
    id: "POD-15C",
    suite: "podman",
    name: "exports_and_imports_a_container",
    title: "A container's files are exported, and imported as an image with their owners",
    why: "`export` and `import` create root file systems for other tools. They must keep the \
          owners.",
    fix: "See POD-05A for owners, and POD-01A if podman cannot read its own files.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(4),
    kind: CaseKind::Live(|cx| Box::pin(exports_and_imports_a_container(cx))),
    ..Case::DEFAULT
});

async fn exports_and_imports_a_container(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let (name, image) = ("pod-15c", "localhost/nestcheck/pod-15c");
    changed_container(&workspace, name).await?;
    let script = "podman export \"$1\" | podman import --quiet - \"$2\"";
    workspace.output(&Command::shell("export and import", script, [name, image])).await?;
    let look = "cat /srv/new; stat -c %u:%g /srv/new; command -v touch || echo gone";
    let imported = workspace.output(&podman_run(&[], image, &["sh", "-c", look])).await?;
    cx.check_equal("files of the imported image", "new\n1234:4321\ngone", &imported)?;
    remove(&workspace, &[name]).await
}

inventory::submit!(Case {
    id: "POD-15D",
    suite: "podman",
    name: "copies_with_skopeo",
    title: "skopeo copies an image from podman's storage to an OCI directory, and podman pulls it \
         from there",
    why: "Pipelines copy and inspect images with skopeo, which must find the images of the same \
          user's podman.",
    fix: "Install skopeo. It must read the same storage.conf as podman \
          (`CONTAINERS_STORAGE_CONF`, `~/.config/containers`).",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(2),
    kind: CaseKind::Live(|cx| Box::pin(copies_with_skopeo(cx))),
    ..Case::DEFAULT
});

async fn copies_with_skopeo(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    need_program(&workspace, "skopeo", "install skopeo in the workspace image").await?;
    let image = scratch_image(&workspace).await?;
    let script = "
        directory=$(mktemp -d)/oci
        skopeo copy --quiet \"containers-storage:$1\" \"oci:$directory:pod-15d\"
        skopeo inspect --format '{{.Os}}' \"oci:$directory:pod-15d\"
        podman pull --quiet \"oci:$directory:pod-15d\"
    ";
    let copied = workspace.output(&Command::shell("copy and pull", script, [&image])).await?;
    let expected = format!("linux\n{}", image_id(&workspace, &image).await?);
    cx.check_equal("system and id of the image that came back", &expected, &copied)
}
