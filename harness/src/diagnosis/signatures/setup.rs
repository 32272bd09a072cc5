//! Failures of podman's setup: its configuration files, and the directories that it needs.

use super::Signature;
use crate::verdict::{Place, SignatureId};

/// What a command in the pod wrote.
pub(super) const OUTPUTS: &[Signature] = &[
    Signature::new(
        SignatureId::F57,
        Place::Image,
        &[
            &["Failed to obtain podman configuration", "toml:"],
            &["loading registries configuration", "toml:"],
        ],
        "a configuration file of podman's is not valid TOML: containers.conf, storage.conf or \
         registries.conf",
        "correct it at the line that the message names, or remove it: podman has defaults",
    ),
    Signature::new(
        SignatureId::F57,
        Place::Image,
        &[
            &["configure storage", "prerequisites for driver not satisfied"],
            &["unsupported network backend"],
        ],
        "podman's configuration names a storage driver or a network backend that does not work here",
        "set `driver = \"overlay\"` in storage.conf, and leave `network_backend` out of \
         containers.conf",
    ),
    Signature::new(
        SignatureId::F58,
        Place::Image,
        &[&["Failed to obtain podman configuration", "lstat", "no such file or directory"]],
        "XDG_RUNTIME_DIR names a directory that is not there",
        "create it in the entrypoint for the pod's user, or unset the variable: podman then uses \
         /tmp/storage-run-UID",
    ),
    Signature::new(
        SignatureId::F58,
        Place::Image,
        &[
            &["cannot resolve /", "lstat", "no such file or directory"],
            &["stat /", "/.config: permission denied"],
            &["stat /.config: no such file or directory"],
        ],
        "the user's home directory, which HOME or /etc/passwd names, is not there or belongs to \
         somebody else",
        "create it in the image for the pod's user, or set HOME to a directory of the user's own",
    ),
    Signature::new(
        SignatureId::F58,
        Place::Image,
        &[
            &["exists and it is not writeable only by the current user"],
            &["Failed to obtain podman configuration: mkdir", "permission denied"],
            &["mktemp: failed to create", "/tmp/", "Read-only file system"],
        ],
        "podman can't make its runtime directory: /tmp, or the directory of XDG_RUNTIME_DIR, is \
         read-only or of another user",
        "mount an emptyDir there; with `readOnlyRootFilesystem: true` the user's home needs one too",
    ),
    Signature::new(
        SignatureId::F58,
        Place::Image,
        &[&["creating a temporary directory", "/var/tmp"]],
        "podman can't write to /var/tmp, where it keeps layers while it builds and pulls",
        "create it in the image with mode 1777, or set `image_copy_tmp_dir = \"/tmp\"` in \
         containers.conf",
    ),
    Signature::new(
        SignatureId::F58,
        Place::Cluster,
        &[
            &["failed to open", " locks in ", "ermission denied"],
            &["failed to create", " locks in ", "ermission denied"],
            &["failed to create", " locks in ", "ead-only file system"],
            &["failed to create", " locks in ", "o space left"],
        ],
        "podman can't make its locks in /dev/shm, which is full, read-only or of another user",
        "mount an emptyDir with `medium: Memory` on /dev/shm, or set `lock_type = \"file\"` in \
         containers.conf",
    ),
    Signature::new(
        SignatureId::F59,
        Place::Cluster,
        &[&["containers/storage", "no space left on device"], &["database or disk is full"]],
        "the volume of podman's storage is full",
        "use a larger one, or remove what is not needed with `podman system prune`",
    ),
];

#[cfg(test)]
mod tests {
    use crate::{
        diagnosis::{Symptom, diagnose},
        verdict::SignatureId,
    };

    #[test]
    fn a_setup_that_podman_refuses_is_known_by_podmans_words() {
        // podman 5.4.2.
        for (output, expected, words) in [
            (
                "Failed to obtain podman configuration: reading system config \"/c.conf\": decode \
                 configuration /c.conf: toml: line 2: expected '.' or ']' to end table name",
                SignatureId::F57,
                "TOML",
            ),
            (
                "Error: loading registries configuration \"/etc/containers/registries.conf\": toml: \
                 line 2: expected '.' or ']' to end table name, but got '\\n' instead",
                SignatureId::F57,
                "TOML",
            ),
            (
                "Failed to obtain podman configuration: lstat /run/user: no such file or directory",
                SignatureId::F58,
                "XDG_RUNTIME_DIR",
            ),
            (
                "cannot resolve /nonexistent: lstat /nonexistent: no such file or directory",
                SignatureId::F58,
                "home",
            ),
            (
                "Error: configure storage: \"/s/btrfs\" is not on a btrfs filesystem: prerequisites \
                 for driver not satisfied (wrong filesystem?)",
                SignatureId::F57,
                "driver",
            ),
            (
                "Error: cni support is not enabled in this build, only netavark. Got unsupported \
                 network backend \"cni\"",
                SignatureId::F57,
                "backend",
            ),
            ("stat /.config: no such file or directory", SignatureId::F58, "home"),
            ("stat /home/user/.config: permission denied", SignatureId::F58, "home"),
            (
                "Failed to obtain podman configuration: mkdir /run/user/1000/libpod: permission \
                 denied",
                SignatureId::F58,
                "XDG_RUNTIME_DIR",
            ),
            (
                "localhost/t:latest: creating a temporary directory: stat /var/tmp: no such file or \
                 directory",
                SignatureId::F58,
                "/var/tmp",
            ),
            (
                "Error: failed to open 2048 locks in /libpod_rootless_lock_1000: permission denied",
                SignatureId::F58,
                "/dev/shm",
            ),
            ("Error: committing transaction: database or disk is full", SignatureId::F59, "full"),
            (
                "mkdir /home/user/.local/share/containers/storage/libpod: no space left on device",
                SignatureId::F59,
                "full",
            ),
            (
                "path \"/tmp/storage-run-1000\" exists and it is not writeable only by the current \
                 user",
                SignatureId::F58,
                "/tmp",
            ),
        ] {
            let found = diagnose(Symptom::Output(output), None).expect(output);
            assert_eq!(found.id, expected, "{output}");
            assert!(found.cause.contains(words), "{found}");
        }
    }
}
