//! What a reader should know of the printed permissions before applying them.

use std::fmt::Write as _;

use super::{ACCOUNT, Addition};
use crate::facts::Flavour;

/// The width of the comments.
pub(super) const WIDTH: usize = 98;

/// What everybody with the role can do, in plain words: a paragraph each.
const POWERS: [&str; 4] = [
    "What a user with these permissions can do:",
    "- Create a namespace with privileged pods, and so be root on every node that takes pods. Every run \
     does this once: its control pod is privileged.",
    "- Request a token of every service account, bind the ClusterRole `edit` in every namespace, and \
     delete every namespace. RBAC cannot limit this to the namespaces of runs, whose names are not \
     known in advance.",
    "- Read nodes, volumes and settings of the cluster. No permission reads Secrets, but a token of \
     another service account may.",
];

/// What follows from the role alone.
const UNCONFINED: &str = "Together this is as much as `cluster-admin`. `--with guard` adds an admission policy (Kubernetes 1.30 \
     and newer) that refuses everything that the user writes outside of the namespaces of runs.";

/// What follows from the role with the guard.
const CONFINED: &str = "The ValidatingAdmissionPolicy `nestcheck` below confines the user to the namespaces `nestcheck-*` and \
     to objects with such names that a run creates outside of them. It refuses everything else that the \
     user writes, whatever other roles the user has: use a user for nestcheck alone. Root on the nodes \
     remains.";

/// What the kubelets' metrics cost.
const WITH_KUBELETS: &str = "- Run commands in every pod with `get nodes/proxy`, through the API of the kubelets, past the \
     admission of `pods/exec`.";

/// What the kubelets' metrics cost where the guard is.
const WITH_KUBELETS_CONFINED: &str = "- Run commands in every pod with `get nodes/proxy`, through the API of the kubelets. The policy \
     refuses that in the API server, but not to a user who can reach port 10250 of a node.";

/// What a reader should know before the objects.
pub(super) fn preamble(flavour: Flavour, user: &str, additions: &[Addition]) -> String {
    let has_guard = additions.contains(&Addition::Guard);
    let mut text = comment(&format!(
        "The permissions that `nestcheck run` and `nestcheck preflight` need on {}, printed with \
         `nestcheck preflight --print-rbac`. Apply them with `kubectl apply -f FILE`. The cases \
         themselves act as a service account that the run creates, without these permissions.",
        place_of(flavour)
    ));
    text.push_str("#\n");
    let metrics = additions.contains(&Addition::KubeletMetrics).then_some(if has_guard {
        WITH_KUBELETS_CONFINED
    } else {
        WITH_KUBELETS
    });
    let conclusion = if has_guard { CONFINED } else { UNCONFINED };
    for paragraph in POWERS.into_iter().chain(metrics).chain([conclusion]) {
        text.push_str(&comment(paragraph));
    }
    text.push_str("#\n");
    if user == ACCOUNT {
        text.push_str(&comment(
            "They are granted to a new service account. `kubectl create token nestcheck -n default \
             --duration 1h` prints a token for its kubeconfig. For another user: \
             `--print-rbac=USER`.",
        ));
    }
    text
}

fn place_of(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Kubernetes => "any Kubernetes",
        Flavour::MicroShift | Flavour::OpenShift => flavour.product(),
    }
}

/// A text as lines of a comment.
pub(super) fn comment(text: &str) -> String {
    let (mut comment, mut width) = (String::from("#"), 1);
    for word in text.split_whitespace() {
        if width + 1 + word.len() > WIDTH {
            comment.push_str("\n#");
            width = 1;
        }
        // Writing to a string can't fail.
        let _ = write!(comment, " {word}");
        width += 1 + word.len();
    }
    comment.push('\n');
    comment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(additions: &[Addition]) -> String {
        let text = preamble(Flavour::Kubernetes, "alice", additions);
        text.replace("\n# ", " ")
    }

    #[test]
    fn the_power_is_reported_as_it_is_with_and_without_the_guard() {
        let plain = printed(&[]);
        assert!(
            plain.contains("as much as `cluster-admin`") && plain.contains("root on every node")
        );
        assert!(!plain.contains("nodes/proxy"), "{plain}");
        let confined = printed(&[Addition::Guard]);
        assert!(!confined.contains("`cluster-admin`") && confined.contains("Root on the nodes"));
        let metrics = printed(&[Addition::KubeletMetrics]);
        assert!(metrics.contains("Run commands in every pod with `get nodes/proxy`"), "{metrics}");
        let both = printed(&[Addition::KubeletMetrics, Addition::Guard]);
        assert!(both.contains("port 10250"), "{both}");
    }

    #[test]
    fn a_long_comment_is_wrapped() {
        let text = comment(&"word ".repeat(40));
        assert!(text.lines().all(|line| line.starts_with("# ") && line.len() <= WIDTH), "{text}");
        assert_eq!(text.matches("word").count(), 40);
    }
}
