//! Broken volumes, and what happens on them.

use crate::{
    faults::{EditPod, PutFile},
    scenario::{Kill, Mutant, Scenario},
};

pub(super) const ALL: &[Scenario] = &[VOLUMES, WITHOUT_GROUP, ROOTFUL];

/// Volumes that differ from what they must be, and a pod with the node's ids.
const VOLUMES: Scenario = Scenario {
    name: "volumes",
    faults: &[
        &BROKEN_VOLUMES,
        &EditPod::unchecked(
            "keeper",
            &[("hostUsers: false", "hostUsers: true"), ("      procMount: Unmasked\n", "")],
        ),
        &PutFile("images/volume/Containerfile", "FROM scratch\nCOPY probe /probe\n"),
    ],
    cases: &["volumes"],
    mutants: &[
        Mutant {
            name: "disk-in-memory",
            breaks: "The emptyDir on the node's disk is in memory",
            kills: &[Kill("VOL-01", "file system: expected")],
        },
        Mutant {
            name: "memory-on-disk",
            breaks: "The emptyDir in memory is on the node's disk",
            kills: &[Kill("VOL-02", "file system: expected")],
        },
        Mutant {
            name: "other-settings",
            breaks: "The files of the ConfigMap, the Secret and the downward API hold something else",
            kills: &[
                Kill("VOL-03A", "content of `greeting`"),
                Kill("VOL-03B", "content of `word`"),
                Kill("VOL-03C", "content of `run`"),
                Kill("VOL-03D", "content of `greeting`"),
            ],
        },
        Mutant {
            name: "same-ids-for-every-pod",
            breaks: "The pod that keeps files has the node's ids, as the next one has",
            kills: &[
                Kill("VOL-04", "ranges of the two pods"),
                Kill("VOL-09", "of a file of user 1000740000"),
            ],
        },
        Mutant {
            name: "another-part",
            breaks: "Another part of the volume is mounted",
            kills: &[Kill("VOL-07A", "seen in the whole volume")],
        },
        Mutant {
            name: "writable",
            breaks: "The read-only mount is not read-only",
            kills: &[Kill("VOL-07B", "write to the file there")],
        },
        Mutant {
            name: "image-without-volumes",
            breaks: "The image declares no volumes",
            kills: &[Kill("VOL-08A", "mounted at /run: expected")],
        },
    ],
    // Two pods with the node's ids share no volume with different ones.
    also_affected: &["VOL-05"],
    ..Scenario::NEW
};

const BROKEN_VOLUMES: EditPod = EditPod::new(
    "volumes",
    &[
        ("{name: disk, emptyDir: {}}", "{name: disk, emptyDir: {medium: Memory}}"),
        ("emptyDir: {medium: Memory, sizeLimit: 16Mi}", "emptyDir: {}"),
        ("key: images__layers__greeting", "key: images__layers__Containerfile"),
        ("word: for the group alone", "word: another"),
        ("metadata.labels['nestcheck/run']", "metadata.name"),
        ("subPath: part}", "subPath: another}"),
        ("mountPath: /volumes/read-only, readOnly: true}", "mountPath: /volumes/read-only}"),
    ],
);

/// Pods that do not ask for a group for their volumes, and one whose files are not on its claim.
const WITHOUT_GROUP: Scenario = Scenario {
    name: "without-group",
    faults: &[
        &EditPod::new("volumes", &[("    fsGroup: 2000\n", "")]),
        &EditPod::new("keeper", &[("persistentVolumeClaim: {claimName: kept}", "emptyDir: {}")]),
    ],
    cases: &["volumes"],
    mutants: &[
        Mutant {
            name: "no-group",
            breaks: "The pod asks for no `fsGroup`",
            kills: &[
                Kill("VOL-01", "owner and group of the directory"),
                Kill("VOL-02", "owner and group of the directory"),
                Kill("VOL-03A", "owner and group"),
                Kill("VOL-03B", "owner and group"),
                Kill("VOL-03C", "owner and group"),
                Kill("VOL-03D", "owner and group"),
            ],
        },
        Mutant {
            name: "kept-in-the-pod",
            breaks: "The kept files are in the pod itself",
            kills: &[Kill("VOL-04", "in the next pod"), Kill("VOL-09", "write to an old file")],
        },
    ],
    // On the same volumes they find another group.
    also_affected: &["VOL-05", "VOL-07A"],
    ..Scenario::NEW
};

/// A pod that runs as root, and in it an engine whose containers are the pod's own root.
const ROOTFUL: Scenario = Scenario {
    name: "rootful",
    faults: &[&ROOTFUL_KEEPER, &ENGINE],
    cases: &["root", "volumes"],
    mutants: &[Mutant {
        name: "containers-as-the-pods-root",
        breaks: "Root in a container is root of the pod, so what it leaves on a volume is root's",
        kills: &[Kill("ROOT-11", "owner on the disk")],
    }],
    // The same pod keeps their files, as root.
    also_affected: &["VOL-04", "VOL-05"],
    ..Scenario::NEW
};

const ROOTFUL_KEEPER: EditPod = EditPod::unchecked(
    "keeper",
    &[
        ("runAsUser: 1000", "runAsUser: 0"),
        ("      runAsNonRoot: true\n", ""),
        (
            "    volumeMounts:\n",
            "    volumeMounts:
    - {name: nestcheck, mountPath: /usr/bin/podman, subPath: mutants/engine, readOnly: true}
",
        ),
    ],
);

/// Builds nothing and runs the command itself.
const ENGINE: PutFile = PutFile(
    "mutants/engine",
    "#!/bin/sh
[ \"$1\" = run ] || exit 0
while [ \"$1\" != sh ]; do shift; done
exec \"$@\"
",
);
