//! Feature gates: where they are set depends on who made the cluster.

use serde_json::{Value, json};

use super::{Change, Circumstances, Cost, Machine, Step, node::kubelet_configuration};
use crate::{
    base::manifest,
    facts::{FIRST_DEFAULT, FIRST_OPENSHIFT, FeatureSet, Flavour, Gate},
    verdict::{Place, Repair},
};

/// The first minor version of Kubernetes in which the gates are more than an experiment (KEP-127: beta
/// in 1.30), and the first in which they can't be turned off.
const FREE: std::ops::Range<u32> = 30..36;

/// The gates of nested containers; the third concerns Pod Security alone.
const NEEDED: [Gate; 2] = [Gate::UserNamespacesSupport, Gate::ProcMountType];

/// Turns the gates on. None where only another release helps, where the release locks them on, and where
/// only the cluster's administrator can know why they are off.
pub(super) fn gates(repair: Repair, circumstances: &Circumstances<'_>) -> Option<Change> {
    let platform = &circumstances.platform;
    match platform.flavour? {
        Flavour::OpenShift if repair == Repair::Gates => {
            let is_first =
                platform.release? >= FIRST_OPENSHIFT && platform.release? < FIRST_DEFAULT;
            // Who chose the gates has a list of them, which a manifest would replace.
            let is_default = matches!(platform.feature_set, None | Some(FeatureSet::Default));
            (is_first && is_default).then(feature_set)
        }
        // There the gates come with the release, or with its MachineConfigs.
        Flavour::OpenShift | Flavour::MicroShift => None,
        Flavour::Kubernetes if !FREE.contains(&platform.kubernetes_minor) => None,
        Flavour::Kubernetes if platform.is_kind => kind(circumstances),
        Flavour::Kubernetes => Some(components(repair)),
    }
}

/// The feature set that has the gates on (openshift/api, `config/v1/types_feature.go`).
fn feature_set() -> Change {
    let object = json!({
        "apiVersion": "config.openshift.io/v1",
        "kind": "FeatureGate",
        "metadata": {"name": "cluster"},
        "spec": {"featureSet": FeatureSet::TechPreviewNoUpgrade},
    });
    let steps = vec![Step::Manifest { object }];
    let costs = [Cost::NoUpgrade, Cost::ApiServerRestart, Cost::NodeReboot];
    Change::new("Turn the feature gates on", Place::Cluster, &costs, steps).with_note(
        "an update to OpenShift 4.20, which has the gates on by default, costs none of this",
    )
}

/// kind gives the gates to all components (kind, `pkg/apis/config/v1alpha4/types.go`).
fn kind(circumstances: &Circumstances<'_>) -> Option<Change> {
    let mut cluster = circumstances.declarations.kind_cluster.clone();
    let on = NEEDED.map(|gate| (gate.name().to_owned(), Value::Bool(true)));
    cluster["featureGates"] = on.into_iter().collect();
    let steps = super::node::kind_cluster(&cluster, circumstances)?;
    let title = "Make the kind cluster anew with the feature gates on";
    Some(Change::new(title, Place::Cluster, &[Cost::NewCluster], steps))
}

/// The settings of a cluster whose components are configured one by one, as kubeadm does it.
fn components(repair: Repair) -> Change {
    let kubelet = json!({"featureGates": {(Gate::UserNamespacesSupport.name()): true}});
    let mut steps = kubelet_configuration(&kubelet);
    let mut costs = vec![Cost::KubeletRestart, Cost::EachNode];
    if repair == Repair::Gates {
        let gates: Vec<_> = NEEDED.iter().map(|gate| format!("{gate}=true")).collect();
        let argument = format!("--feature-gates={}", gates.join(","));
        let pod =
            json!({"spec": {"containers": [{"name": "kube-apiserver", "command": [argument]}]}});
        let content = manifest::print(&pod).unwrap_or_default();
        let path = "/etc/kubernetes/manifests/kube-apiserver.yaml";
        steps.insert(0, Step::addition(Machine::ControlPlane, path, content));
        costs.insert(0, Cost::ApiServerRestart);
    }
    Change::new("Turn the feature gates on", Place::Cluster, &costs, steps).with_note(
        "the paths are those of kubeadm; Kubernetes 1.33 and newer have the gates on by default",
    )
}
