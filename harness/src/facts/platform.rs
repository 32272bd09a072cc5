//! The few facts on which it depends how something is changed: they are in the event log too.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Facts, FeatureSet, Flavour, pool};

/// What kind of cluster it is, as far as a remedy depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Platform {
    /// `openshift`, `microshift` or `kubernetes`; left out where it is not known.
    #[schemars(with = "Option<String>")]
    #[serde(deserialize_with = "known_flavour", skip_serializing_if = "Option::is_none")]
    pub flavour: Option<Flavour>,
    /// Major and minor release of OpenShift or MicroShift.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<(u32, u32)>,
    /// The minor version of Kubernetes.
    pub kubernetes_minor: u32,
    /// OpenShift's feature set.
    #[schemars(with = "Option<String>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_set: Option<FeatureSet>,
    /// Whether kind made the cluster.
    pub is_kind: bool,
    /// The container runtimes of the nodes, each once.
    pub runtimes: Vec<String>,
    /// The `MachineConfigPools` of the nodes that take the pods of workspaces; left out where they are not
    /// known, and outside of OpenShift.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<String>,
}

/// Reads a flavour; none where only a newer nestcheck knows it.
fn known_flavour<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Flavour>, D::Error> {
    let name = Option::<String>::deserialize(from)?;
    let all = [Flavour::OpenShift, Flavour::MicroShift, Flavour::Kubernetes];
    Ok(all.into_iter().find(|flavour| name.as_deref() == Some(&flavour.to_string())))
}

impl Platform {
    /// What is known of a cluster.
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        let mut runtimes = facts.runtimes();
        runtimes.sort();
        runtimes.dedup();
        Self {
            flavour: facts.flavour.value().copied(),
            release: facts.installed().map(|release| (release.major, release.minor)),
            kubernetes_minor: facts.version.minor,
            feature_set: facts.feature_set.value().cloned(),
            is_kind: facts.distribution() == Some("kind"),
            runtimes,
            pools: pool::pools(facts),
        }
    }

    /// Whether the nodes have CRI-O.
    #[must_use]
    pub fn has_crio(&self) -> bool {
        let mut runtimes = self.runtimes.iter();
        runtimes.len() > 0 && runtimes.all(|runtime| runtime.starts_with("cri-o://"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_read_as_it_is_written_and_of_a_newer_nestcheck_as_far_as_it_is_known() {
        let platform = Platform {
            flavour: Some(Flavour::OpenShift),
            release: Some((4, 19)),
            kubernetes_minor: 32,
            feature_set: Some(FeatureSet::CustomNoUpgrade),
            is_kind: false,
            runtimes: vec!["cri-o://1.32.4".to_owned()],
            pools: vec!["worker".to_owned()],
        };
        let text = serde_json::to_string(&platform).expect("JSON");
        assert_eq!(serde_json::from_str::<Platform>(&text).expect("a platform"), platform);
        assert!(platform.has_crio() && !Platform::default().has_crio());

        let newer = r#"{"flavour":"k3s","featureSet":"New","more":1}"#;
        let read: Platform = serde_json::from_str(newer).expect("a platform");
        assert_eq!(read.flavour, None);
        assert_eq!(read.feature_set, Some(FeatureSet::Other("New".to_owned())));
    }
}
