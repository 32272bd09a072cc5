//! The nodes of a cluster beyond the first.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Additions, Gates, Settings};
use crate::error::Error;

/// The most nodes that a cluster has. Each takes about 200 MB.
pub const MOST_NODES: u8 = 4;

/// The nodes beyond the first, which has the control plane too.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct OtherNodes {
    /// How many there are.
    pub count: u8,
    /// The gates of their kubelets, where those differ from the first one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates: Option<Gates>,
}

impl OtherNodes {
    /// Whether there are none.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub fn are_none(&self) -> bool {
        self.count == 0
    }
}

/// As it follows the other settings.
impl fmt::Display for OtherNodes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.are_none() {
            write!(formatter, ", {} nodes", self.count.saturating_add(1))?;
        }
        match self.gates {
            Some(gates) => write!(formatter, ", gates {gates} on the others"),
            None => Ok(()),
        }
    }
}

impl Settings {
    /// The same with this number of nodes, and other gates on those beyond the first.
    pub fn with_nodes(self, count: u8, gates: Option<Gates>) -> Result<Self, Error> {
        let others = OtherNodes { count: count.saturating_sub(1), gates };
        if others.are_none() {
            return match gates {
                Some(_) => {
                    Err(Error::usage("`--other-node-gates` is for clusters of several nodes")
                        .with_hint("add `--nodes 2`"))
                }
                None => Ok(self),
            };
        }
        if let Some(gates) = gates
            && gates != Gates::All
            && self.distribution.kubernetes().has_locked_gates()
        {
            return Err(Error::usage(format!(
                "`--other-node-gates {gates}` is not possible: this version of Kubernetes has locked \
                 the feature gates of user namespaces"
            ))
            .with_hint("leave it out, or choose an older version"));
        }
        let Additions { device_plugin, own_disk, .. } = self.with;
        if device_plugin || own_disk {
            return Err(Error::usage(
                "`--with device-plugin` and `--with own-disk` are for clusters of one node",
            )
            .with_hint("leave `--nodes` out"));
        }
        Ok(Self { others, ..self })
    }

    /// The gates of the kubelets beyond the first node.
    pub fn gates_of_others(self) -> Gates {
        self.others.gates.unwrap_or(self.gates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Distribution, KubernetesVersion};

    #[test]
    fn other_nodes_have_the_gates_of_the_first_unless_given() {
        let two = Settings::default().with_nodes(2, None).unwrap();
        assert_eq!((two.others.count, two.gates_of_others()), (1, Gates::All));
        let unlike = Settings::default().with_nodes(2, Some(Gates::None)).unwrap();
        assert_eq!(unlike.gates_of_others(), Gates::None);
        assert!(unlike.to_string().ends_with("2 nodes, gates none on the others"), "{unlike}");
        let text = serde_json::to_string(&unlike).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), unlike, "{text}");
        assert_eq!(Settings::default().with_nodes(1, None).unwrap(), Settings::default());
    }

    #[test]
    fn what_has_no_effect_is_refused() {
        assert!(Settings::default().with_nodes(1, Some(Gates::None)).is_err());
        let with = Additions { own_disk: true, ..Additions::default() };
        assert!(Settings::default().with(with).unwrap().with_nodes(2, None).is_err());
        let newest = Distribution::Kubernetes { kubernetes: KubernetesVersion::V1_37_2 };
        let newest = Settings::new(newest, None).unwrap();
        assert!(newest.with_nodes(2, Some(Gates::NoKubelet)).is_err());
        assert!(newest.with_nodes(2, None).is_ok());
    }
}
