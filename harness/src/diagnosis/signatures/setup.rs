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
        &[&["cannot resolve /", "lstat", "no such file or directory"]],
        "the user's home directory, which HOME or /etc/passwd names, is not there",
        "create it in the image for the pod's user, or set HOME to a directory that is there",
    ),
    Signature::new(
        SignatureId::F58,
        Place::Image,
        &[&["exists and it is not writeable only by the current user"]],
        "podman can't make its runtime directory: /tmp, or the directory of XDG_RUNTIME_DIR, is \
         read-only or of another user",
        "mount an emptyDir there; with `readOnlyRootFilesystem: true` the user's home needs one too",
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
