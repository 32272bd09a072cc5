//! Programs that come before the image's own in PATH, and spoil one command each.

use std::fmt::Write;

use harness::{Result, sandbox::pod_template::Isolation};

use super::EditPod;
use crate::{
    inputs::{Fault, RunInputs},
    scenario::{Kill, Mutant},
};

/// The mutants of the image: each hits the command of one case only.
pub(crate) const PROGRAMS: [Mutant; SPOILED.len()] = mutants();

/// Lets the containers of a manifest find the programs below /nestcheck/mutants first.
const PATH: &[(&str, &str)] = &[(
    "    env:\n",
    "    env:\n    - {name: PATH, value: \"/nestcheck/mutants:/usr/local/sbin:/usr/local/bin:\
     /usr/sbin:/usr/bin:/sbin:/bin\"}\n",
)];

/// Puts all spoiled programs into a pod.
#[derive(Debug)]
pub(crate) struct SpoilPrograms(EditPod);

impl SpoilPrograms {
    /// Of the nested pod.
    pub(crate) const NESTED_POD: Self =
        Self(EditPod { isolation: Some(Isolation::Nested), ..EditPod::new("workspace", PATH) });

    /// Of the workspaces.
    pub(crate) const WORKSPACE: Self = Self(EditPod::new("devworkspace", PATH));
}

/// A command of a program that is spoiled.
struct Spoiled {
    mutant: Mutant,
    program: Program,
    /// A pattern of sh(1) for all arguments, joined by spaces.
    arguments: &'static str,
    /// What happens instead, in sh(1); `$real` is the image's own program. What does not exit goes
    /// on to it.
    instead: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    Podman,
    PodmanCompose,
}

const NAMES: [(&str, Program); 2] =
    [("podman", Program::Podman), ("podman-compose", Program::PodmanCompose)];

/// Declares a spoiled command of podman.
macro_rules! podman {
    ($name:literal, $breaks:literal, $arguments:literal => $instead:literal, $id:literal, $words:literal) => {
        Spoiled {
            mutant: Mutant { name: $name, breaks: $breaks, kills: &[Kill($id, $words)] },
            program: Program::Podman,
            arguments: $arguments,
            instead: $instead,
        }
    };
}

const SPOILED: &[Spoiled] = &[
    podman!(
        "reports-vfs",
        "`podman info` says that storage is vfs",
        "info --format=json" => r#""$real" "$@" | sed 's/"graphDriverName": "overlay"/"graphDriverName": "vfs"/'; exit"#,
        "POD-01",
        "storage driver: expected"
    ),
    podman!(
        "swallows-exit-code",
        "`podman run` ends with 0, whatever the container ended with",
        "run *pod-03 /probe exit 42" => r#""$real" "$@"; exit 0"#,
        "POD-03",
        "exit code: expected"
    ),
    podman!(
        "loses-owners",
        "The files of an image's layers belong to root",
        "run *pod-06-oci sh -c stat*" => r#""$real" "$@" | sed 's/^2345:5432/0:0/'; exit"#,
        "POD-06",
        "owners with isolation oci"
    ),
    podman!(
        "keeps-root-from-giving-files-away",
        "`chown` by root inside has no effect",
        "run *chown 1234:4321 /srv/mine*" => r"printf '0:0\n0\n'; exit",
        "POD-07",
        "owner of a file given away"
    ),
    podman!(
        "forgets-keep-id",
        "`--userns=keep-id` is ignored",
        "run *--userns=keep-id*/probe id" => r#"exec "$real" run --rm --network=none localhost/nestcheck/scratch /probe id"#,
        "POD-08",
        "identity with --userns=keep-id"
    ),
    podman!(
        "kills-instead-of-stopping",
        "`podman stop` kills at once",
        "stop --time=5 pod-09" => r#""$real" kill pod-09; "$real" wait pod-09 >/dev/null; exit 0"#,
        "POD-09",
        "state after stop"
    ),
    podman!(
        "publishes-to-the-loopback-only",
        "A published port is open at the pod's loopback, and not at its address",
        "run *--name pod-net-02 *" => r#"
            for argument; do
                shift
                case "$argument" in 18102:8080) argument=127.0.0.1:18102:8080 ;; esac
                set -- "$@" "$argument"
            done"#,
        "POD-NET-02",
        ":18102/: Connection refused"
    ),
    podman!(
        "puts-all-into-one-network",
        "A container gets another network than was asked for",
        "run *--network=pod-net-04-other *" => r#"
            for argument; do
                shift
                case "$argument" in --network=*) argument=--network=pod-net-04 ;; esac
                set -- "$@" "$argument"
            done"#,
        "POD-NET-04",
        "look-up in another network of the server's name"
    ),
    podman!(
        "makes-networks-of-the-cluster",
        "A new network has the addresses of the cluster's services",
        "network create *pod-net-08a" => r#"
            set -- network create --ignore --subnet "${KUBERNETES_SERVICE_HOST%.*}.0/24" pod-net-08a"#,
        "POD-NET-08A",
        "podman's networks and the cluster's addresses: expected"
    ),
    podman!(
        "shuts-the-output-of-other-users",
        "A container of another user cannot open its output",
        "run *--name=iso-14 --user=1234 *" => "echo 'sh: 1: cannot create /dev/stdout: Permission denied' >&2; exit 2",
        "ISO-14",
        "/dev/stdout: Permission denied"
    ),
    podman!(
        "uses-up-keys",
        "No container starts after the 200th",
        "unshare *run 250 containers*" => "echo 'create keyring `nestcheck-200`: Disk quota exceeded' >&2; exit 1",
        "POD-17",
        "Disk quota exceeded"
    ),
    Spoiled {
        mutant: Mutant {
            name: "forgets-that-containers-ended",
            breaks: "podman reports a container as running whose pod or workspace container ended",
            kills: &[
                Kill("POD-16A", "state after: expected"),
                Kill("POD-16B", "state after: expected"),
            ],
        },
        program: Program::Podman,
        arguments: "inspect *pod-16[ab]",
        instead: "echo running; exit",
    },
    podman!(
        "reports-vfs-in-other-stores",
        "`podman info` says that another store's driver is vfs",
        "--root=*/nestcheck-pod-01a/root * info *" => "echo vfs; exit",
        "POD-01A",
        "storage driver: expected"
    ),
    podman!(
        "keeps-volumes",
        "`podman volume rm` removes nothing",
        "volume rm pod-12a" => "exit 0",
        "POD-12A",
        "after rm: expected"
    ),
    podman!(
        "maps-another-owner",
        "A container's user 1234 is another one outside",
        "run *nestcheck-pod-12b:/data *" => r#"
            for argument; do
                shift
                set -- "$@" "$(printf '%s\n' "$argument" | sed s/1234:4321/1235:4321/)"
            done"#,
        "POD-12B",
        "seen outside"
    ),
    podman!(
        "writes-nothing-to-a-relabelled-folder",
        "What a container writes to a directory with :Z is not in the workspace",
        "run *nestcheck-pod-12c:/data:Z *" => "echo outside; exit",
        "POD-12C",
        "file written with :Z"
    ),
    podman!(
        "ignores-the-size-of-a-tmpfs",
        "A tmpfs has another size than was asked for",
        "run *--name=pod-12d *" => r#"
            for argument; do
                shift
                case "$argument" in --tmpfs=*) argument=--tmpfs=/memory:size=2m ;; esac
                set -- "$@" "$argument"
            done"#,
        "POD-12D",
        "mount at /memory"
    ),
    podman!(
        "drops-read-only",
        "A read-only volume can be written",
        "run *pod-12e:/volume:ro *" => r#"
            for argument; do
                shift
                case "$argument" in pod-12e:/volume:ro) argument=pod-12e:/volume ;; esac
                set -- "$@" "$argument"
            done"#,
        "POD-12E",
        "what is read-only"
    ),
    podman!(
        "makes-no-namespace",
        "`podman unshare` runs the program in the pod's own user namespace",
        "unshare /nestcheck/probe facts" => r#"shift; exec "$@""#,
        "ID-07",
        "inner uid_map"
    ),
    podman!(
        "publishes-no-port",
        "Ports of a project's services are not published",
        "*--name=cmp-02_web_1*" => r#"
            for argument; do
                shift
                case "$argument" in -p) skip=yes ;; *) if [ -z "$skip" ]; then set -- "$@" "$argument"; fi; skip= ;; esac
            done"#,
        "CMP-02",
        ":18080/: Connection refused"
    ),
    podman!(
        "keeps-networks",
        "`podman network rm` removes nothing",
        "network rm *cmp-03*" => "exit 0",
        "CMP-03",
        "objects after `down`"
    ),
    Spoiled {
        mutant: Mutant {
            name: "lacks-podman-compose",
            breaks: "`podman-compose version` says nothing",
            kills: &[Kill("CMP-01", "podman-compose version: expected")],
        },
        program: Program::PodmanCompose,
        arguments: "version",
        instead: "exit 0",
    },
    // Half of the attacks from each place: a case dies of the first place that allows one.
    Spoiled {
        mutant: Mutant {
            name: "roots-with-power",
            breaks: "What is refused to the pod is allowed to root in its containers",
            kills: &[
                Kill("ROOT-02", "as root in a container: expected … observed allowed"),
                Kill("ROOT-03", "as root in a container: expected … observed allowed"),
                Kill("ROOT-04B", "as root in a container: expected … observed allowed"),
                Kill("ROOT-04C", "as root in a container: expected … observed allowed"),
                Kill("ROOT-04D", "as root in a container: expected … observed allowed"),
                Kill("ROOT-09", "as root in a container: expected … observed allowed"),
            ],
        },
        program: Program::Podman,
        arguments: "run --rm --network=none localhost/nestcheck/scratch /probe attempt *",
        instead: r#""$real" "$@" | sed -E 's/("name":"(mknod-block|write-core-pattern|list-bpf-programs|measure-kernel|reboot|signal-other-pods)","target":"[^"]*","outcome":)\{"refused":\{[^}]*\}\}/\1"allowed"/g'; exit"#,
    },
    Spoiled {
        mutant: Mutant {
            name: "privileges-with-power",
            breaks: "What is refused to root in a container is allowed with all privileges",
            kills: &[
                Kill("ROOT-04E", "as root with all privileges: expected … observed allowed"),
                Kill("ROOT-04F", "as root with all privileges: expected … observed allowed"),
                Kill("ROOT-05A", "as root with all privileges: expected … observed allowed"),
                Kill("ROOT-05B", "as root with all privileges: expected … observed allowed"),
                Kill("ROOT-07B", "as root with all privileges: expected … observed allowed"),
                Kill("ROOT-08A", "as root with all privileges: expected … observed allowed"),
            ],
        },
        program: Program::Podman,
        arguments: "run *--cap-add=all*/probe attempt *",
        instead: r#""$real" "$@" | sed -E 's/("name":"(set-host-name|set-clock|mount-block-device|enter-mount-namespace-of-process-1|enter-parent-user-namespace|open-disk)","target":"[^"]*","outcome":)\{"refused":\{[^}]*\}\}/\1"allowed"/g'; exit"#,
    },
];

const fn mutants() -> [Mutant; SPOILED.len()] {
    let mut mutants = [SPOILED[0].mutant; SPOILED.len()];
    let mut index = 0;
    while index < SPOILED.len() {
        mutants[index] = SPOILED[index].mutant;
        index += 1;
    }
    mutants
}

impl Fault for SpoilPrograms {
    fn apply(&self, inputs: &mut RunInputs) -> Result<()> {
        for (name, program) in NAMES {
            inputs.put_file(&format!("mutants/{name}"), wrapper(name, program));
        }
        self.0.apply(inputs)
    }
}

fn wrapper(name: &str, program: Program) -> String {
    let mut text = format!("#!/bin/sh\nreal=/usr/bin/{name}\n");
    for spoiled in SPOILED.iter().filter(|spoiled| spoiled.program == program) {
        let pattern = spoiled.arguments.replace(' ', "\\ ");
        // Writing to a string can't fail.
        let _ = writeln!(text, "case \"$*\" in\n{pattern})\n{}\n;;\nesac", spoiled.instead);
    }
    text.push_str("exec \"$real\" \"$@\"\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapper_is_a_script_that_the_shell_can_read() {
        for (name, program) in NAMES {
            let text = wrapper(name, program);
            let checked = std::process::Command::new("sh").args(["-n", "-c", &text]).status();
            assert!(checked.is_ok_and(|status| status.success()), "{text}");
        }
    }
}
