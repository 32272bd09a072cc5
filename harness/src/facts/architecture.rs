//! Architectures of processors, as Go names them, and so Kubernetes.

use std::{collections::BTreeMap, env::consts, fmt};

/// The label with a node's architecture (kubernetes.io, "Well-Known Labels, Annotations and Taints").
pub const ARCHITECTURE_LABEL: &str = "kubernetes.io/arch";

/// The architecture that this program is built for (Go's names: `go tool dist list`).
#[must_use]
pub fn own_architecture() -> &'static str {
    match consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        other => other,
    }
}

/// The architecture that the pods of a run ask for, because nodes differ in it or are not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AskedArchitecture {
    /// The architecture.
    pub name: String,
    /// How many nodes of each other architecture there are.
    pub others: BTreeMap<String, usize>,
}

impl fmt::Display for AskedArchitecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, others } = self;
        if others.is_empty() {
            return write!(f, "{name}, as long as the nodes are not known");
        }
        let others: Vec<_> =
            others.iter().map(|(name, count)| format!("{name}: {count}")).collect();
        let others = others.join(", ");
        write!(
            f,
            "{name}, not that of other nodes ({others}): `--node-selector {ARCHITECTURE_LABEL}=…` chooses"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_says_which_nodes_a_run_leaves_out() {
        let others = BTreeMap::from([("arm64".to_owned(), 2), ("s390x".to_owned(), 1)]);
        let mixed = AskedArchitecture { name: "amd64".to_owned(), others };
        let text = "amd64, not that of other nodes (arm64: 2, s390x: 1): `--node-selector \
                    kubernetes.io/arch=…` chooses";
        assert_eq!(mixed.to_string(), text);
        let unread = AskedArchitecture { others: BTreeMap::new(), ..mixed };
        assert_eq!(unread.to_string(), "amd64, as long as the nodes are not known");
    }
}
