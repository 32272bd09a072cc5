//! What the nodes are, one by one.

use harness::{
    engine::{Case, CaseKind, CheckResult},
    facts::{Facts, Node, requirement::UserNamespaces},
    verdict::Level,
    workload::truth::check,
};

use crate::suite::static_checks::{always, at_rest, nodes, unread, version};

/// The first kernel on which all that a pod's volumes lie on can be mapped, tmpfs last (KEP-127).
const FIRST_KERNEL: (u32, u32) = (6, 3);

/// The build of kernel 5.14 that came with Red Hat Enterprise Linux 9.4, which has it too.
const FIRST_BUILD_OF_9: u32 = 427;

// A kernel may have more than its number says, so what happens in pods counts.
inventory::submit!(Case {
    id: "PRE-04",
    suite: "preflight",
    name: "has_kernels_that_map_ids_of_mounts",
    title: "The kernel of each node can map the ids of a pod's volumes",
    why: "The kubelet mounts a pod's volumes with id-mapped mounts. If the kernel cannot id-map \
          overlayfs or tmpfs, every pod with a user namespace hangs in `ContainerCreating`.",
    fix: "Update the nodes to Linux 6.3 or newer, or to a kernel of Red Hat Enterprise Linux 9.4 \
          or newer, which has the changes under an older version number.",
    level: Level::Informing,
    kind: CaseKind::Static(has_kernels_that_map_ids_of_mounts),
    ..Case::DEFAULT
});

fn has_kernels_that_map_ids_of_mounts(facts: &Facts) -> CheckResult {
    always(|| {
        let checks = nodes(facts)?.iter().map(|node| {
            let name = format!("kernel of node `{}`", node.name);
            let expected = "6.3 or newer, or of Red Hat Enterprise Linux 9.4 or newer";
            check(&name, expected, &node.kernel, maps_mounts(&node.kernel))
        });
        Ok(CheckResult::of(checks.collect(), "update the node's operating system"))
    })
}

/// Whether a kernel of this release can map the ids of mounts.
fn maps_mounts(release: &str) -> bool {
    let is_new = version(release).is_some_and(|version| version >= FIRST_KERNEL);
    is_new || is_backported(release)
}

/// Red Hat's kernels keep a number and get the features: `5.14.0-427.13.1.el9_4.x86_64`, or
/// `5.14.0-427.el9.x86_64` where no minor release is told.
fn is_backported(release: &str) -> bool {
    let number = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        text[..end].parse::<u32>().ok()
    };
    let Some((before, after)) = release.split_once(".el") else { return false };
    let build = before.split_once('-').and_then(|(_, build)| number(build));
    let minor = after.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix('_');
    let minor = minor.and_then(number);
    match (number(after), minor) {
        (Some(major), _) if major > 9 => true,
        (Some(9), Some(minor)) => minor >= 4,
        (Some(9), None) => build.is_some_and(|build| build >= FIRST_BUILD_OF_9),
        _ => false,
    }
}

inventory::submit!(Case {
    id: "PRE-05",
    suite: "preflight",
    name: "has_runtimes_with_user_namespaces",
    title: "The container runtime of each node has a version with user namespaces",
    why: "Older container runtimes do not know the kubelet's request for a user namespace. Some \
          ignore it silently, and the pod shares the node's ids.",
    fix: "Update the node to CRI-O 1.25 or containerd 2.0, or newer.",
    level: Level::Extended,
    requires: &[&UserNamespaces],
    kind: CaseKind::Static(has_runtimes_with_user_namespaces),
    ..Case::DEFAULT
});

fn has_runtimes_with_user_namespaces(facts: &Facts) -> CheckResult {
    at_rest(facts, || {
        let mut checks = Vec::new();
        for node in nodes(facts)? {
            let (first, holds) = evaluate_runtime(node).ok_or_else(|| {
                unread(format!(
                    "nothing is known of the runtime `{}` of node `{}`",
                    node.runtime, node.name
                ))
            })?;
            let name = format!("runtime of node `{}`", node.name);
            checks.push(check(&name, first, &node.runtime, holds));
        }
        let hint = "older versions silently ignore `hostUsers: false`: update the runtime";
        Ok(CheckResult::of(checks, hint))
    })
}

/// What a node's runtime must be, and whether it is.
fn evaluate_runtime(node: &Node) -> Option<(&'static str, bool)> {
    let (name, text) = node.runtime.split_once("://")?;
    let version = version(text)?;
    match name {
        "cri-o" => Some(("CRI-O 1.25 or newer", version >= (1, 25))),
        "containerd" => Some(("containerd 2.0 or newer", version >= (2, 0))),
        _ => None,
    }
}

inventory::submit!(Case {
    id: "PRE-06",
    suite: "preflight",
    name: "has_handlers_with_user_namespaces",
    title: "The default runtime handler of each node reports support for user namespaces",
    why: "For each handler, the runtime reports to the kubelet whether it supports user \
          namespaces. It does not if the OCI runtime is too old or the kernel lacks id-mapped \
          mounts. The kubelet then refuses the pod.",
    fix: "Update crun to 1.9 or newer, or runc to 1.2 or newer, on the named node, and restart \
          the container runtime.",
    requires: &[&UserNamespaces],
    kind: CaseKind::Static(has_handlers_with_user_namespaces),
    ..Case::DEFAULT
});

/// A node whose runtime can't is blocked as a requirement that is unmet.
fn has_handlers_with_user_namespaces(facts: &Facts) -> CheckResult {
    at_rest(facts, || {
        let mut checks = Vec::new();
        for node in nodes(facts)? {
            let reason = node.user_namespaces.why_unknown();
            let able = node.user_namespaces.value().ok_or_else(|| {
                unread(format!("node `{}`: {}", node.name, reason.unwrap_or("not known")))
            })?;
            let name = format!("default runtime handler of node `{}`", node.name);
            let observed = if *able { "with user namespaces" } else { "without" };
            checks.push(check(&name, "with user namespaces", observed, *able));
        }
        Ok(CheckResult::of(checks, "update the node's container runtime and its OCI runtime"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_new_or_backported() {
        for (release, maps) in [
            ("6.3.0", true),
            ("6.18.5-fc-v20", true),
            ("7.0", true),
            ("6.2.16", false),
            ("5.14.0-427.13.1.el9_4.x86_64", true),
            ("5.14.0-570.12.1.el9_6.x86_64+rt", true),
            ("5.14.0-362.8.1.el9_3.x86_64", false),
            ("5.14.0-503.el9.x86_64", true),
            ("5.14.0-362.el9.x86_64", false),
            ("6.12.0-55.9.1.el10_0.x86_64", true),
            ("4.18.0-553.el8_10.x86_64", false),
            ("5.15.0-1050-azure", false),
            ("", false),
        ] {
            assert_eq!(maps_mounts(release), maps, "{release}");
        }
    }
}
