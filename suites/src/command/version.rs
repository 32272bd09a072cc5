//! What `nestcheck --version` prints: the version, and the probes.

use std::fmt::Write as _;

use harness::base::build;

use crate::fixtures::{MISSING_PROBES, PROBES};

/// The version, the architectures of nodes that this program has a probe for, and why it lacks the others.
pub(super) fn long_version() -> String {
    let probes = PROBES.iter().map(|probe| probe.architecture);
    let missing = MISSING_PROBES.iter().map(|probe| (probe.architecture, probe.reason));
    text(build::version(), &probes.collect::<Vec<_>>(), &missing.collect::<Vec<_>>())
}

fn text(version: &str, probes: &[&str], missing: &[(&str, &str)]) -> String {
    let mut text = format!("{version}\nprobes for nodes of: {}", probes.join(", "));
    for (architecture, reason) in missing {
        // Writing to a string can't fail.
        let _ = write!(text, "\nno probe for {architecture}: {reason}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_that_lacks_a_probe_says_which_and_why() {
        assert_eq!(text("1.0", &["amd64", "arm64"], &[]), "1.0\nprobes for nodes of: amd64, arm64");
        let lacking = text("1.0", &["amd64"], &[("arm64", "no compiler")]);
        assert_eq!(lacking, "1.0\nprobes for nodes of: amd64\nno probe for arm64: no compiler");
    }
}
