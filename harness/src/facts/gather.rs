//! Reads the facts: the groups of the API first, then all that they tell to ask for at once, the
//! nodes' metrics last. Nothing is written.

use futures::FutureExt as _;
use k8s_openapi::apimachinery::pkg::{apis::meta::v1::APIGroupList, version::Info};
use kube::Client;
use serde_json::Value;

use super::{
    Fact, Facts, Flavour, Gate, KubernetesVersion, Release, cluster_id,
    devspaces::{self, read_devspaces},
    dry_run, feature_gate, kubelets,
    lookup::{Lookup, get_request, metrics_page, read},
    metrics, node,
    pod_admission::{Labels, Plugin, PodAdmission},
    release, rollout, scc, storage, webhook,
};
use crate::{
    Result,
    cluster::{
        Cluster, FIRST_CONTACT_DEADLINE, call, call_within,
        permission::{Need, Rule, Rules, Target},
    },
};

/// To read what every cluster has, in the order of roles. Each reader says what it needs.
pub(crate) const PERMISSIONS: &[Rules] = &[
    CONTACT,
    node::PERMISSIONS,
    storage::PERMISSIONS,
    webhook::PERMISSIONS,
    dry_run::PERMISSIONS,
    devspaces::PERMISSIONS,
];

/// To read the feature gates of the kubelets, which is more power than it seems.
pub(crate) const PERMISSIONS_OF_KUBELETS: Rules = kubelets::PERMISSIONS;

/// To read what else OpenShift has.
pub(crate) const PERMISSIONS_ON_OPENSHIFT: &[Rules] =
    &[release::ON_OPENSHIFT, feature_gate::PERMISSIONS, rollout::PERMISSIONS];

/// To read what else MicroShift has.
pub(crate) const PERMISSIONS_ON_MICROSHIFT: &[Rules] = &[release::ON_MICROSHIFT];

/// The gate that lets a pod share the node's network although it has a user namespace (KEP-5607).
const HOST_NETWORK_GATE: &str = "UserNamespacesHostNetworkSupport";

const CONTACT: Rules = &[Rule {
    need: Need::Read,
    why: "Reads what the cluster is, and the feature gates of its API server.",
    verbs: &["get"],
    targets: &[Target::Url("/apis"), Target::Url("/version"), Target::Url("/metrics")],
}];

/// Reads what the cluster is and can do. Writes nothing: its one create is a dry run.
///
/// # Errors
///
/// A cluster that can't be reached or does not accept the caller at all; whatever else can't be
/// read is an unknown fact.
pub async fn gather(cluster: &Cluster) -> Result<Facts> {
    gather_in(cluster, None).await
}

/// As [`gather`], for a user who may create pods only in this namespace: the dry run is there.
///
/// # Errors
///
/// As [`gather`].
pub async fn gather_in(cluster: &Cluster, namespace: Option<&str>) -> Result<Facts> {
    let namespace = namespace.unwrap_or(dry_run::NAMESPACE);
    gather_as(cluster.admin(), cluster.server(), namespace).await
}

/// As [`gather_in`], with a client of the server.
async fn gather_as(client: &Client, server: String, place: &str) -> Result<Facts> {
    // One request that fails for every caller who is not let in, before the others fan out.
    let contact = format!("reach the cluster at {server}");
    let ask = || async { client.request(get_request("/apis")?).await };
    let groups: APIGroupList = call_within(FIRST_CONTACT_DEADLINE, &contact, ask).boxed().await?;
    let groups = Groups(groups);
    let flavour = groups.flavour();
    let (version, namespace, server_metrics, dry_run, nodes, openshift, sccs, classes, devspaces) = tokio::join!(
        read_version(client).boxed(),
        read(client, cluster_id::WHAT, cluster_id::PATH),
        metrics_page(client, "/metrics"),
        dry_run::ask(client, place),
        node::read_nodes(client, flavour).boxed(),
        read_openshift(client, &groups).boxed(),
        read_sccs(client, &groups).boxed(),
        read(client, "StorageClasses", "/apis/storage.k8s.io/v1/storageclasses"),
        read_devspaces(client, |group| groups.has(group)).boxed(),
    );
    let version = version?;
    let server_gate = |gate| metrics::fact(&server_metrics, gate, "API server");
    let release = openshift.release();
    let facts = Facts {
        server,
        cluster_id: cluster_id::cluster_id(&namespace),
        flavour: Fact::known(openshift.flavour, "API groups"),
        keeps_host_users: dry_run::keeps_host_users(&dry_run, version.minor),
        keeps_proc_mount: dry_run::keeps_proc_mount(&dry_run),
        version,
        feature_set: feature_gate::feature_set(&openshift.feature_gate),
        configured_gates: feature_gate::configured_gates(&openshift.feature_gate, &release),
        release,
        upgradeable: release::upgradeable(&openshift.cluster_version),
        rollout: rollout::rollout(&openshift.cluster_version, openshift.pools.as_ref()),
        scc_schema: scc::scc_schema(&sccs.schema),
        sccs: scc::sccs(&sccs.list),
        server_user_namespaces_gate: server_gate(Gate::UserNamespacesSupport),
        server_proc_mount_gate: server_gate(Gate::ProcMountType),
        server_pod_security_gate: server_gate(Gate::UserNamespacesPodSecurityStandards),
        server_host_network_gate: metrics::fact_of(
            &server_metrics,
            HOST_NETWORK_GATE,
            "API server",
        ),
        nodes: nodes.schedulable,
        unschedulable_nodes: nodes.unschedulable,
        architecture: None,
        device_route: nodes.device_route,
        default_storage: storage::default_class(&classes),
        devspaces,
    };
    Ok(name_changers(client, facts, place).await)
}

/// Where the dry-run pod lost a field although the API server's gate is on, names who may have
/// changed the pod on its way: the policies whose text has the field, or all that change pods.
async fn name_changers(client: &Client, mut facts: Facts, place: &str) -> Facts {
    let is_odd = |gate: Gate| {
        let is_on = facts.is_locked(gate) || facts.server_gate(gate).value() == Some(&true);
        is_on && facts.behaviour(gate).and_then(Fact::value) == Some(&false)
    };
    let (users, proc_mount) = (is_odd(Gate::UserNamespacesSupport), is_odd(Gate::ProcMountType));
    if !users && !proc_mount {
        return facts;
    }
    let admission = PodAdmission::read(client).boxed().await;
    let namespace = ("kubernetes.io/metadata.name".to_owned(), place.to_owned());
    let namespace = Labels::from([namespace]);
    let changes = |it: &&Plugin| it.kind.changes() && it.sees(Some(&namespace), None);
    let changing: Vec<_> = admission.plugins.iter().filter(changes).collect();
    let name = |fact: &mut Fact<bool>, words: &[&str]| {
        let naming = changing.iter().filter(|it| it.names(words)).map(ToString::to_string);
        let mut who: Vec<_> = naming.collect();
        if who.is_empty() {
            who = changing.iter().map(ToString::to_string).collect();
        }
        if let (Fact::Known { source, .. }, false) = (fact, who.is_empty()) {
            *source = format!("{source}; new pods are changed by {}", who.join(", "));
        }
    };
    if users {
        name(&mut facts.keeps_host_users, &["hostUsers"]);
    }
    if proc_mount {
        name(&mut facts.keeps_proc_mount, &["procMount", "securityContext"]);
    }
    facts
}

/// The groups of APIs that the cluster serves.
struct Groups(APIGroupList);

impl Groups {
    fn has(&self, name: &str) -> bool {
        self.0.groups.iter().any(|group| group.name == name)
    }

    /// MicroShift serves routes and SCCs but not OpenShift's configuration.
    fn flavour(&self) -> Flavour {
        if self.has("config.openshift.io") {
            Flavour::OpenShift
        } else if self.has("security.openshift.io") && self.has("route.openshift.io") {
            Flavour::MicroShift
        } else {
            Flavour::Kubernetes
        }
    }
}

async fn read_version(client: &Client) -> Result<KubernetesVersion> {
    let ask = || async { client.request(get_request("/version")?).await };
    Ok(parse_version(&call::<Info, _, _>("read the cluster's version", ask).await?))
}

fn parse_version(info: &Info) -> KubernetesVersion {
    let digits: String = info.minor.chars().take_while(char::is_ascii_digit).collect();
    KubernetesVersion { minor: digits.parse().unwrap_or_default(), full: info.git_version.clone() }
}

/// What only OpenShift and MicroShift have.
struct OpenShift {
    /// What the cluster is, once more than the groups is known.
    flavour: Flavour,
    cluster_version: Lookup<Value>,
    microshift_version: Lookup<Value>,
    feature_gate: Lookup<Value>,
    /// None where the API is not served: a hosted control plane has no pools.
    pools: Option<Lookup<Value>>,
}

impl OpenShift {
    fn without_configuration(flavour: Flavour, microshift_version: Lookup<Value>) -> Self {
        let none = || Lookup::NotApplicable(format!("{flavour} clusters have none"));
        Self {
            flavour,
            cluster_version: none(),
            microshift_version,
            feature_gate: none(),
            pools: None,
        }
    }

    fn release(&self) -> Fact<Option<Release>> {
        match self.flavour {
            Flavour::OpenShift => release::of_cluster_version(&self.cluster_version),
            Flavour::MicroShift => release::of_microshift(&self.microshift_version),
            Flavour::Kubernetes => Fact::known(None, "API groups"),
        }
    }
}

async fn read_openshift(client: &Client, groups: &Groups) -> OpenShift {
    let flavour = groups.flavour();
    match flavour {
        Flavour::OpenShift => {}
        Flavour::MicroShift => {
            return OpenShift::without_configuration(flavour, read_microshift(client).await);
        }
        Flavour::Kubernetes => {
            let none = Lookup::NotApplicable(format!("{flavour} clusters have none"));
            return OpenShift::without_configuration(flavour, none);
        }
    }
    let config = "/apis/config.openshift.io/v1";
    let (version_path, gate_path) =
        (format!("{config}/clusterversions/version"), format!("{config}/featuregates/cluster"));
    let pools_path = "/apis/machineconfiguration.openshift.io/v1/machineconfigpools";
    let has_pools = groups.has("machineconfiguration.openshift.io");
    let pools = async {
        if has_pools { Some(read(client, "MachineConfigPools", pools_path).await) } else { None }
    };
    let (cluster_version, feature_gate, pools) = tokio::join!(
        read(client, "ClusterVersion `version`", &version_path),
        read(client, "FeatureGate `cluster`", &gate_path),
        pools,
    );
    // An operator may bring a single API of the group to MicroShift.
    if cluster_version == Lookup::Absent {
        let microshift = read_microshift(client).await;
        if matches!(microshift, Lookup::Found(_)) {
            return OpenShift::without_configuration(Flavour::MicroShift, microshift);
        }
    }
    let microshift_version = Lookup::NotApplicable(format!("{flavour} clusters have none"));
    OpenShift { flavour, cluster_version, microshift_version, feature_gate, pools }
}

async fn read_microshift(client: &Client) -> Lookup<Value> {
    let path = "/api/v1/namespaces/kube-public/configmaps/microshift-version";
    read(client, "ConfigMap `kube-public/microshift-version`", path).await
}

/// The SCCs and their schema.
struct SccLookups {
    schema: Lookup<Value>,
    list: Lookup<Value>,
}

async fn read_sccs(client: &Client, groups: &Groups) -> SccLookups {
    // Not by the group alone: OpenShift's API server lists it only with the help of an operator,
    // and admits by SCCs all the same.
    if groups.flavour() == Flavour::Kubernetes && !groups.has("security.openshift.io") {
        let none = || Lookup::NotApplicable("the cluster has no such API".to_owned());
        return SccLookups { schema: none(), list: none() };
    }
    let schema_path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/\
                       securitycontextconstraints.security.openshift.io";
    let list_path = "/apis/security.openshift.io/v1/securitycontextconstraints";
    let (schema, list) = tokio::join!(
        read(client, "the schema of SecurityContextConstraints", schema_path),
        read(client, "SecurityContextConstraints", list_path),
    );
    SccLookups { schema, list }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIGroup;

    use super::*;

    fn groups(names: &[&str]) -> Groups {
        let group = |name: &&str| APIGroup { name: (*name).to_owned(), ..APIGroup::default() };
        Groups(APIGroupList { groups: names.iter().map(group).collect() })
    }

    #[test]
    fn a_flavour_is_known_by_its_api_groups() {
        let openshift = ["apps", "config.openshift.io", "security.openshift.io"];
        assert_eq!(groups(&openshift).flavour(), Flavour::OpenShift);
        let microshift = ["apps", "route.openshift.io", "security.openshift.io"];
        assert_eq!(groups(&microshift).flavour(), Flavour::MicroShift);
        assert_eq!(groups(&["apps"]).flavour(), Flavour::Kubernetes);
    }

    #[test]
    fn a_minor_version_may_carry_a_plus() {
        let info = Info { minor: "32+".into(), git_version: "v1.32.5".into(), ..Info::default() };
        assert_eq!(parse_version(&info).minor, 32);
    }
}
