//! Where a run is: in namespaces that it creates, or in one that somebody gave it.
//!
//! In a given namespace a run has the permissions of a plain user. Its objects stand beside those of
//! others, so each of them has a name that begins as the run's namespace would be called.

use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, Volume};

use super::{LEASE_NAMESPACE, RUN_LABEL, USER, namespace_of};

/// The names of ConfigMap objects that every namespace has (kubernetes `pkg/controller/certificates/rootcacertpublisher`,
/// openshift/service-ca-operator).
const OF_THE_CLUSTER: [&str; 2] = ["kube-root-ca.crt", "openshift-service-ca.crt"];

/// Where a run is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Home {
    /// In namespaces of its own, which an administrator may create.
    #[default]
    Own,
    /// In a namespace that was there before, with the permissions of a plain user.
    Given {
        /// The namespace.
        namespace: String,
        /// The SCC of the cluster that the pods ask for, where pods are admitted by SCCs.
        scc: Option<String>,
    },
}

impl Home {
    /// The namespace that somebody gave.
    #[must_use]
    pub fn given(&self) -> Option<&str> {
        match self {
            Self::Own => None,
            Self::Given { namespace, .. } => Some(namespace),
        }
    }

    /// The namespace of the pods.
    #[must_use]
    pub fn namespace(&self, run: &str) -> String {
        self.given().map_or_else(|| namespace_of(run), str::to_owned)
    }

    /// The namespace of the run's Lease.
    #[must_use]
    pub fn lease_namespace(&self) -> &str {
        self.given().unwrap_or(LEASE_NAMESPACE)
    }

    /// The name of an object of the run: in a given namespace others may have one of the short name.
    #[must_use]
    pub fn name_of(&self, run: &str, name: &str) -> String {
        match self {
            Self::Given { .. } if !is_name_of(run, name) => format!("{}-{name}", namespace_of(run)),
            _ => name.to_owned(),
        }
    }

    /// Gives a pod its name in this place, and every object of the run that it refers to. Done twice, it
    /// changes nothing more.
    pub(super) fn adopt(&self, run: &str, pod: &mut Pod) {
        if self.given().is_none() {
            return;
        }
        let rename = |name: &mut String| {
            if !OF_THE_CLUSTER.contains(&name.as_str()) {
                *name = self.name_of(run, name);
            }
        };
        pod.metadata.name.iter_mut().for_each(rename);
        let Some(spec) = &mut pod.spec else { return };
        // The account of the run's ordinary user does not exist here.
        spec.service_account_name.take_if(|account| account == USER);
        spec.image_pull_secrets.iter_mut().flatten().for_each(|secret| rename(&mut secret.name));
        for volume in spec.volumes.iter_mut().flatten() {
            references(volume).into_iter().for_each(rename);
        }
        let affinity = spec.affinity.iter_mut().filter_map(|it| it.pod_affinity.as_mut());
        let terms = affinity
            .flat_map(|it| {
                it.required_during_scheduling_ignored_during_execution.iter_mut().flatten()
            })
            .filter_map(|term: &mut PodAffinityTerm| term.label_selector.as_mut());
        for selector in terms {
            // Pods of another run in this namespace have the same template.
            let labels = selector.match_labels.get_or_insert_default();
            labels.insert(RUN_LABEL.to_owned(), run.to_owned());
        }
    }
}

/// Whether a name is one that a run gives in a given namespace.
pub(super) fn is_name_of(run: &str, name: &str) -> bool {
    name.strip_prefix(&namespace_of(run)).is_some_and(|rest| rest.starts_with('-'))
}

/// The names of the objects that a volume refers to.
fn references(volume: &mut Volume) -> Vec<&mut String> {
    let mut names = Vec::new();
    names.extend(volume.config_map.iter_mut().map(|it| &mut it.name));
    names.extend(volume.secret.iter_mut().filter_map(|it| it.secret_name.as_mut()));
    names.extend(volume.persistent_volume_claim.iter_mut().map(|it| &mut it.claim_name));
    let projected = volume.projected.iter_mut().filter_map(|it| it.sources.as_mut()).flatten();
    for source in projected {
        names.extend(source.config_map.iter_mut().map(|it| &mut it.name));
        names.extend(source.secret.iter_mut().map(|it| &mut it.name));
    }
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn given() -> Home {
        Home::Given { namespace: "team-a".to_owned(), scc: None }
    }

    fn pod() -> Pod {
        let selector = json!({"matchExpressions": []});
        let affinity = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": selector},
        ]}});
        serde_json::from_value(json!({
            "metadata": {"name": "workspace"},
            "spec": {
                "containers": [], "serviceAccountName": USER, "affinity": affinity,
                "imagePullSecrets": [{"name": "pull"}],
                "volumes": [
                    {"name": "a", "configMap": {"name": "files"}},
                    {"name": "b", "secret": {"secretName": "word"}},
                    {"name": "c", "persistentVolumeClaim": {"claimName": "kept"}},
                    {"name": "d", "projected": {"sources": [
                        {"configMap": {"name": "files"}}, {"secret": {"name": "word"}},
                        {"configMap": {"name": "kube-root-ca.crt"}},
                    ]}},
                    {"name": "e", "emptyDir": {}},
                ],
            },
        }))
        .expect("a pod")
    }

    #[test]
    fn a_run_with_namespaces_of_its_own_keeps_every_name() {
        let mut kept = pod();
        Home::Own.adopt("abc", &mut kept);
        assert_eq!(kept, pod());
        assert_eq!(Home::Own.namespace("abc"), "nestcheck-abc");
        assert_eq!(Home::Own.lease_namespace(), LEASE_NAMESPACE);
        assert_eq!(Home::Own.name_of("abc", "files"), "files");
    }

    #[test]
    fn in_a_given_namespace_each_name_is_the_runs_own() {
        let mut adopted = pod();
        given().adopt("abc", &mut adopted);

        let text = serde_json::to_string(&adopted).expect("it is JSON");
        for name in ["workspace", "pull", "files", "word", "kept"] {
            assert!(text.contains(&format!("\"nestcheck-abc-{name}\"")), "{name}: {text}");
            assert!(!text.contains(&format!("\"{name}\"")), "{name}: {text}");
        }
        assert!(text.contains("\"kube-root-ca.crt\"") && !text.contains(USER), "{text}");
        assert!(text.contains(r#""matchLabels":{"nestcheck/run":"abc"}"#), "{text}");
        assert_eq!(given().namespace("abc"), "team-a");
        assert_eq!(given().lease_namespace(), "team-a");
        let mut again = adopted.clone();
        given().adopt("abc", &mut again);
        assert_eq!(again, adopted, "a second time changes nothing");
    }

    #[test]
    fn another_runs_name_is_not_taken_for_its_own() {
        assert_eq!(given().name_of("abc", "nestcheck-abcd-x"), "nestcheck-abc-nestcheck-abcd-x");
        assert!(is_name_of("abc", "nestcheck-abc-x") && !is_name_of("abc", "nestcheck-abc"));
    }
}
