//! The ids of known failures.

use std::fmt;

use serde::{
    Deserialize, Serialize,
    de::value::{self, StrDeserializer},
};

use super::Attribution;

/// The id of a known failure, as the fact sheet (`docs/fact-sheet.md`) lists it. F23 and F24 have
/// no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SignatureId {
    /// A range in /etc/subuid or /etc/subgid leaves the pod's ids.
    F01,
    /// The pod or the helpers lack the capabilities to write the id map.
    F02,
    /// `AppArmor` or `no_new_privs` stops newuidmap.
    F03,
    /// Ranges overlap, or one holds the user's own id.
    F04,
    /// The image lacks newuidmap or newgidmap.
    F05,
    /// An image has ids beyond the user's range.
    F06,
    /// The user has no range.
    F07,
    /// The node or a profile forbids user namespaces.
    F08,
    /// /proc is masked, so it cannot be mounted again.
    F09,
    /// /proc is masked, so its settings are read-only.
    F10,
    /// `ping_group_range` names groups that are not mapped.
    F11,
    /// The pod has no usable /dev/fuse.
    F12,
    /// The pod has no /dev/net/tun.
    F13,
    /// The pod may not use /dev/net/tun.
    F14,
    /// SELinux keeps pasta from the network namespace.
    F15,
    /// A volume's file system cannot map ids.
    F16,
    /// The runtime cannot make user namespaces.
    F17,
    /// The kubelet's gate is off.
    F18,
    /// The image of the kind node is too old.
    F19,
    /// The runtime cannot make a directory in a volume of the image.
    F20,
    /// An SCC refuses the pod.
    F21,
    /// Another SCC than the requested one admitted the pod.
    F22,
    /// A field was dropped or ignored.
    F25,
    /// A directory of the home belongs to another user.
    F26,
    /// The volume of podman's storage belongs to another user.
    F27,
    /// The pod has no cgroup of its own.
    F28,
    /// A nested container cannot lower `oom_score_adj`.
    F29,
    /// The namespace enforces a stricter Pod Security level.
    F30,
    /// Podman's storage lies on an overlay.
    F31,
    /// Names of containers are not resolved.
    F32,
    /// The image lacks `nft`.
    F33,
    /// The storage driver is `vfs`.
    F34,
    /// The image lacks the program that the pod starts.
    F35,
    /// Podman's storage is read-only.
    F36,
    /// The pod started without a requested device.
    F37,
    /// CRI-O does not allow the device.
    F38,
    /// An early z-stream ships an SCC without its user ids.
    F39,
    /// The pod's user or group is outside of its user namespace.
    F40,
    /// An admission policy or webhook refuses or changes the pod.
    F41,
    /// Somebody else's container in the pod fails.
    F42,
    /// The image lacks programs that containers need.
    F43,
    /// Podman's run-time state outlived its processes, or is of another boot.
    F44,
    /// The user's quota of kernel keys is used up.
    F45,
    /// The pod may have no more processes.
    F46,
    /// The node's kernel lacks a module for netavark's rules.
    F47,
    /// A network of podman's overlaps the cluster's.
    F48,
    /// Podman 6 no longer has it: slirp4netns, or cgroup v1.
    F49,
    /// The volume of podman's storage has no extended attributes.
    F50,
    /// Podman's locks are used up.
    F51,
    /// A container cannot open its own output.
    F52,
    /// Files on a volume belong to ids that the pod does not have.
    F53,
    /// The runtime cannot make /dev/console in the image.
    F54,
    /// The image can't be pulled.
    F55,
    /// What the case needs was lost while it ran.
    F56,
    /// Podman's configuration is invalid, or names what does not work.
    F57,
    /// A directory that podman needs is not there, or can't be written.
    F58,
    /// Podman's storage is full.
    F59,
    /// A ResourceQuota of the namespace refuses the pod.
    F60,
    /// A LimitRange of the namespace refuses the pod, or limits its containers.
    F61,
    /// A NetworkPolicy of somebody else shuts the pod off.
    F62,
    /// The operator can't delete the files of a workspace.
    F63,
    /// The DevWorkspace Operator lacks a setting that it requires on Kubernetes.
    F64,
    /// A failure that only a newer nestcheck knows, in its event log.
    #[serde(other)]
    Unknown,
}

impl SignatureId {
    /// Understands an id, such as `F43`; none where no known failure has it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let reader = StrDeserializer::<value::Error>::new(text);
        Self::deserialize(reader).ok().filter(|id| *id != Self::Unknown)
    }

    /// Every known failure.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..100).filter_map(|number| Self::parse(&format!("F{number:02}")))
    }
}

impl fmt::Display for SignatureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The name of the variant is the id.
        fmt::Debug::fmt(self, f)
    }
}

/// What a failure says about its fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The cause and the fix, for people.
    pub text: String,
    /// What it is about, where that is known.
    pub cause: Option<Box<Attribution>>,
}

impl Hint {
    /// The known failure that was recognized.
    #[must_use]
    pub fn signature(&self) -> Option<SignatureId> {
        self.cause.as_ref()?.signature
    }
}

impl From<Attribution> for Hint {
    fn from(cause: Attribution) -> Self {
        let fix = cause.fix.as_deref().unwrap_or("no fix is known");
        let text = match cause.signature {
            Some(id) => format!("{}: {fix} ({id})", cause.wrong),
            None => format!("{}: {fix}", cause.wrong),
        };
        Self { text, cause: Some(Box::new(cause)) }
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Self { text, cause: None }
    }
}

impl From<&str> for Hint {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Verdict;

    #[test]
    fn an_id_is_written_and_read_as_before() {
        let text = r#"{"verdict":"known-issue","signature":"F28","message":"no cgroup"}"#;

        let read: Verdict = serde_json::from_str(text).expect("it is a verdict");

        let Verdict::KnownIssue { signature, .. } = &read else { panic!("{read:?}") };
        assert_eq!((*signature, signature.to_string()), (SignatureId::F28, "F28".to_owned()));
        assert_eq!(serde_json::to_string(&read).expect("it is JSON"), text);
    }

    #[test]
    fn an_id_is_known_by_its_name() {
        assert_eq!(SignatureId::parse("F43"), Some(SignatureId::F43));
        for unknown in ["F23", "F99", "f43", "F4", "", "Unknown"] {
            assert_eq!(SignatureId::parse(unknown), None, "{unknown}");
        }
        assert_eq!(SignatureId::all().count(), 62);
    }

    #[test]
    fn the_id_of_a_newer_nestcheck_does_not_make_a_log_unreadable() {
        let read: SignatureId = serde_json::from_str("\"F99\"").expect("it is an id");
        assert_eq!(read, SignatureId::Unknown);
    }
}
