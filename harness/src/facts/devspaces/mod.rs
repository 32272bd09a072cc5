//! The settings of the workspace operators for nested containers.
//!
//! Eclipse Che and OpenShift Dev Spaces have a switch for it: `CheCluster`
//! `spec.devEnvironments.disableContainerRunCapabilities` (eclipse-che/che-operator,
//! `api/v2/checluster_types.go`). Where it is on, the operator passes its settings on to the
//! DevWorkspace Operator, by the `DevWorkspaceOperatorConfig` named [`CONFIG_OF_CHE`]
//! (`pkg/deploy/devworkspace/dev_workspace_config.go`). That operator alone, without Che, is told
//! directly.

mod cluster_settings;
mod finding;
mod operator;
mod settings;

use std::{collections::BTreeMap, fmt};

pub(crate) use cluster_settings::GLOBAL_CONFIG;
pub use cluster_settings::{ClusterSettings, ConfigName};
pub use finding::{FaultyObject, Finding, Severity};
use kube::Client;
pub(crate) use operator::PERMISSIONS as OF_OPERATOR;
pub use operator::WorkspaceOperator;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{Fact, Lookup, items, lookup::read, text};
use crate::cluster::permission::{Need, Rule, Rules, cluster};

/// The API group of Che's operator.
pub(super) const CHE_GROUP: &str = "org.eclipse.che";

/// The API group of the DevWorkspace Operator.
pub(super) const CONFIG_GROUP: &str = "controller.devfile.io";

const WHY: &str = "Reads the settings of the workspace operators for nested containers.";

pub(super) const PERMISSIONS: Rules = &[
    Rule {
        need: Need::Read,
        why: WHY,
        verbs: &["list"],
        targets: &[cluster(CHE_GROUP, "checlusters")],
    },
    Rule {
        need: Need::Read,
        why: WHY,
        verbs: &["list"],
        targets: &[cluster(CONFIG_GROUP, "devworkspaceoperatorconfigs")],
    },
];

/// The API group of workspaces.
pub(super) const WORKSPACE_GROUP: &str = "workspace.devfile.io";

/// The `DevWorkspaceOperatorConfig` that Che's operator writes, in the namespace of its
/// `CheCluster`.
pub const CONFIG_OF_CHE: &str = "devworkspace-config";

/// What the operators of workspaces were told.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct DevSpaces {
    /// The installations of Che. Not applicable where its API is not served.
    pub che: Fact<Vec<CheCluster>>,
    /// The configurations of the DevWorkspace Operator. Not applicable where its API is not
    /// served.
    pub configs: Fact<Vec<WorkspaceConfig>>,
    /// The DevWorkspace Operator itself. Not applicable where its API is not served.
    pub operator: Fact<WorkspaceOperator>,
    /// The settings of the cluster's own workspaces, where the run takes them in place of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_settings: Option<ClusterSettings>,
}

/// An object of the kind `CheCluster`.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct CheCluster {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The version that its operator made it, of Che or of OpenShift Dev Spaces; none before it has
    /// made one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The image of the default component of its workspaces; none where its operator chooses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Whether workspaces may run containers.
    pub run: Switch,
    /// Whether workspaces may build images, the older ability without a user namespace; none where
    /// the operator decides.
    pub build: Option<bool>,
    /// Whether its operator isolates the namespaces of users with `NetworkPolicies`; none where it
    /// says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_policies: Option<bool>,
}

/// The setting that lets workspaces run containers.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// The stored object has no such field: Che before 7.111, whose schema drops it. The schema
    /// since then sets it to off by default.
    Missing,
    /// It is off.
    Off,
    /// It is on.
    On(RunConfiguration),
}

/// `spec.devEnvironments.containerRunConfiguration`.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct RunConfiguration {
    /// The SCC of the workspaces.
    pub scc: Option<String>,
    /// How the workspaces' pods are made.
    pub pods: PodSettings,
}

/// An object of the kind `DevWorkspaceOperatorConfig`, as far as it is about pods.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct WorkspaceConfig {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What pods get as `hostUsers`; none for nothing. `DevWorkspace` Operator before 0.37 drops
    /// the field.
    pub host_users: Option<bool>,
    /// How the workspaces' pods are made.
    pub pods: PodSettings,
}

/// How the pods of workspaces are made.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct PodSettings {
    /// The pods' annotations.
    pub annotations: BTreeMap<String, String>,
    /// What the containers get as `procMount`.
    pub proc_mount: Option<String>,
    /// What they get as `allowPrivilegeEscalation`.
    pub allow_privilege_escalation: Option<bool>,
    /// The capabilities that they get besides.
    pub capabilities: Vec<String>,
    /// The capabilities that are taken from them.
    pub dropped_capabilities: Vec<String>,
    /// What they get as `privileged`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privileged: Option<bool>,
    /// What they get as `readOnlyRootFilesystem`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_root_filesystem: Option<bool>,
    /// What they get as `runAsUser`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_user: Option<i64>,
}

/// What the toggle comes to.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(tag = "state", content = "detail", rename_all = "lowercase")]
pub enum State {
    /// The cluster has no operator for workspaces.
    Absent,
    /// Workspaces get no containers, as this says.
    Off(String),
    /// Workspaces get containers, as this says.
    On(String),
    /// It could not be read, for this reason.
    Unknown(String),
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("absent: neither Che nor the DevWorkspace Operator"),
            Self::Off(place) => write!(f, "off ({place})"),
            Self::On(place) => write!(f, "on ({place})"),
            Self::Unknown(reason) => write!(f, "unknown: {reason}"),
        }
    }
}

impl fmt::Display for CheCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheCluster `{}/{}`", self.namespace, self.name)
    }
}

impl fmt::Display for WorkspaceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DevWorkspaceOperatorConfig `{}/{}`", self.namespace, self.name)
    }
}

impl CheCluster {
    fn parse(object: &Value) -> Self {
        let of_workspaces = |field: &str| object.pointer(&format!("/spec/devEnvironments/{field}"));
        let disabled = |field: &str| of_workspaces(field).and_then(Value::as_bool);
        let run = match disabled("disableContainerRunCapabilities") {
            None => Switch::Missing,
            Some(true) => Switch::Off,
            Some(false) => {
                let configured = of_workspaces("containerRunConfiguration");
                Switch::On(configured.map(RunConfiguration::parse).unwrap_or_default())
            }
        };
        Self {
            namespace: text(object, "/metadata/namespace").unwrap_or_default().to_owned(),
            name: text(object, "/metadata/name").unwrap_or_default().to_owned(),
            version: text(object, "/status/cheVersion").map(str::to_owned),
            image: items(object, "/spec/devEnvironments/defaultComponents")
                .find_map(|component| text(component, "/container/image"))
                .map(str::to_owned),
            run,
            build: disabled("disableContainerBuildCapabilities").map(|disabled| !disabled),
            network_policies: object
                .pointer("/spec/networking/networkPolicy/enabled")
                .and_then(Value::as_bool),
        }
    }

    /// The configuration that the operator writes for this installation.
    fn config<'a>(&self, configs: &'a [WorkspaceConfig]) -> Option<&'a WorkspaceConfig> {
        configs.iter().find(|config| self.is_written(config))
    }

    fn is_written(&self, config: &WorkspaceConfig) -> bool {
        config.name == CONFIG_OF_CHE && config.namespace == self.namespace
    }
}

impl RunConfiguration {
    fn parse(object: &Value) -> Self {
        Self {
            scc: text(object, "/openShiftSecurityContextConstraint")
                .filter(|name| !name.is_empty())
                .map(str::to_owned),
            pods: PodSettings::parse(object, "/workspacesPodAnnotations"),
        }
    }
}

impl WorkspaceConfig {
    fn parse(object: &Value) -> Self {
        let nothing = Value::Null;
        let workspace = object.pointer("/config/workspace").unwrap_or(&nothing);
        Self {
            namespace: text(object, "/metadata/namespace").unwrap_or_default().to_owned(),
            name: text(object, "/metadata/name").unwrap_or_default().to_owned(),
            host_users: workspace.pointer("/hostUsers").and_then(Value::as_bool),
            pods: PodSettings::parse(workspace, "/podAnnotations"),
        }
    }
}

impl PodSettings {
    fn parse(object: &Value, annotations: &str) -> Self {
        let container = |field: &str| object.pointer(&format!("/containerSecurityContext/{field}"));
        let annotations = object.pointer(annotations).and_then(Value::as_object);
        let capabilities = |change: &str| {
            items(object, &format!("/containerSecurityContext/capabilities/{change}"))
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        };
        Self {
            annotations: annotations
                .into_iter()
                .flatten()
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect(),
            proc_mount: container("procMount").and_then(Value::as_str).map(str::to_owned),
            allow_privilege_escalation: container("allowPrivilegeEscalation")
                .and_then(Value::as_bool),
            capabilities: capabilities("add"),
            dropped_capabilities: capabilities("drop"),
            privileged: container("privileged").and_then(Value::as_bool),
            read_only_root_filesystem: container("readOnlyRootFilesystem").and_then(Value::as_bool),
            run_as_user: container("runAsUser").and_then(Value::as_i64),
        }
    }
}

impl DevSpaces {
    /// A cluster that has neither operator.
    #[must_use]
    pub fn absent() -> Self {
        let nothing = not_served(CONFIG_GROUP);
        devspaces(&not_served(CHE_GROUP), &nothing, &nothing)
    }

    /// What it comes to. Che's own word counts before what its operator made of it.
    #[must_use]
    pub fn state(&self) -> State {
        let che = self.che.value().map(Vec::as_slice).unwrap_or_default();
        let configs = self.configs.value().map(Vec::as_slice).unwrap_or_default();
        if let Some(on) = che.iter().find(|che| matches!(che.run, Switch::On(_))) {
            return State::On(on.to_string());
        }
        let is_of_che = |config: &&WorkspaceConfig| che.iter().any(|che| che.is_written(config));
        let own = |config: &&WorkspaceConfig| !is_of_che(config);
        let mut reported = configs.iter().filter(own);
        if let Some(config) = reported.find(|config| config.host_users == Some(false)) {
            return State::On(config.to_string());
        }
        if let Some(reason) = self.che.why_unknown().or(self.configs.why_unknown()) {
            return State::Unknown(reason.to_owned());
        }
        match (che.first(), &self.configs) {
            (Some(che), _) => State::Off(che.to_string()),
            (None, Fact::Known { .. }) => {
                State::Off("no DevWorkspaceOperatorConfig has `hostUsers: false`".to_owned())
            }
            (None, _) => State::Absent,
        }
    }
}

fn not_served<T>(group: &str) -> Lookup<T> {
    Lookup::NotApplicable(format!("the cluster has no API `{group}`"))
}

/// Lists the objects of both operators, where their APIs are served.
pub(super) async fn read_devspaces(client: &Client, is_served: impl Fn(&str) -> bool) -> DevSpaces {
    let list = async |group: &str, version: &str, resource: &str, kind: &str| {
        if is_served(group) {
            let path = format!("/apis/{group}/{version}/{resource}");
            read::<Value>(client, kind, &path).await
        } else {
            not_served(group)
        }
    };
    let deployments = async {
        if is_served(WORKSPACE_GROUP) {
            read::<Value>(client, "the DevWorkspace Operator", operator::DEPLOYMENTS).await
        } else {
            not_served(WORKSPACE_GROUP)
        }
    };
    let (che, configs, deployments) = tokio::join!(
        list(CHE_GROUP, "v2", "checlusters", "CheClusters"),
        list(
            CONFIG_GROUP,
            "v1alpha1",
            "devworkspaceoperatorconfigs",
            "DevWorkspaceOperatorConfigs"
        ),
        deployments,
    );
    devspaces(&che, &configs, &deployments)
}

fn devspaces(
    che: &Lookup<Value>,
    configs: &Lookup<Value>,
    deployments: &Lookup<Value>,
) -> DevSpaces {
    let place = "API `org.eclipse.che/v2`";
    DevSpaces {
        che: che.fact(place, |list| {
            let clusters = items(list, "/items").map(CheCluster::parse);
            Fact::known(clusters.collect(), "CheClusters")
        }),
        configs: configs.fact("API `controller.devfile.io/v1alpha1`", |list| {
            let configs = items(list, "/items").map(WorkspaceConfig::parse);
            Fact::known(configs.collect(), "DevWorkspaceOperatorConfigs")
        }),
        operator: operator::operator(deployments),
        cluster_settings: None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// What Che's schema makes of a switch that was turned on and nothing else
    /// (`config/crd/bases/org.eclipse.che_checlusters.yaml`).
    pub(in super::super) fn che_on() -> Value {
        json!({
            "metadata": {"namespace": "eclipse-che", "name": "eclipse-che"},
            "spec": {"devEnvironments": {
                "disableContainerRunCapabilities": false,
                "containerRunConfiguration": {
                    "openShiftSecurityContextConstraint": "container-run",
                    "workspacesPodAnnotations":
                        {"io.kubernetes.cri-o.Devices": "/dev/fuse,/dev/net/tun"},
                    "containerSecurityContext": container(),
                },
            }},
        })
    }

    fn container() -> Value {
        json!({"procMount": "Unmasked", "allowPrivilegeEscalation": true,
               "capabilities": {"add": ["SETGID", "SETUID", "CHOWN"]}})
    }

    /// What Che's operator makes of it.
    pub(in super::super) fn config_on() -> Value {
        json!({
            "metadata": {"namespace": "eclipse-che", "name": CONFIG_OF_CHE},
            "config": {"workspace": {
                "hostUsers": false,
                "podAnnotations": {"io.kubernetes.cri-o.Devices": "/dev/fuse,/dev/net/tun"},
                "containerSecurityContext": container(),
            }},
        })
    }

    /// The toggle of a cluster with these objects.
    pub(in super::super) fn of(che: &[Value], configs: &[Value]) -> DevSpaces {
        let list = |objects: &[Value]| Lookup::Found(json!({ "items": objects }));
        devspaces(&list(che), &list(configs), &not_served(WORKSPACE_GROUP))
    }

    #[test]
    fn what_che_was_reported_is_read_whole() {
        let devspaces = of(&[che_on()], &[config_on()]);
        let che = &devspaces.che.value().expect("known")[0];
        let Switch::On(run) = &che.run else { panic!("{che:?}") };
        assert_eq!(run.scc.as_deref(), Some("container-run"));
        assert_eq!(run.pods.proc_mount.as_deref(), Some("Unmasked"));
        assert_eq!(run.pods.capabilities, ["SETGID", "SETUID", "CHOWN"]);
        let config = &devspaces.configs.value().expect("known")[0];
        assert_eq!(config.host_users, Some(false));
        assert_eq!(config.pods, run.pods);
        assert_eq!(devspaces.state().to_string(), "on (CheCluster `eclipse-che/eclipse-che`)");
    }

    #[test]
    fn the_switch_is_off_missing_or_on() {
        let run = |environments: Value| {
            let object = json!({"spec": {"devEnvironments": environments}});
            CheCluster::parse(&object).run
        };
        let field = "disableContainerRunCapabilities";
        assert_eq!(run(json!({field: true})), Switch::Off);
        assert_eq!(run(json!({})), Switch::Missing);
        assert_eq!(run(json!({field: false})), Switch::On(RunConfiguration::default()));
        assert_eq!(CheCluster::parse(&json!({})).run, Switch::Missing);
        let build = CheCluster::parse(
            &json!({"spec": {"devEnvironments": {"disableContainerBuildCapabilities": false}}}),
        );
        assert_eq!(build.build, Some(true));
    }

    #[test]
    fn without_che_the_workspace_operator_decides() {
        let on = of(&[], &[config_on()]);
        assert!(matches!(on.state(), State::On(place) if place.contains(CONFIG_OF_CHE)));
        assert!(matches!(of(&[], &[]).state(), State::Off(_)));
        // What Che's operator left behind is not Che's word.
        let mut off = che_on();
        off["spec"]["devEnvironments"]["disableContainerRunCapabilities"] = json!(true);
        assert!(matches!(of(&[off], &[config_on()]).state(), State::Off(_)));
    }

    #[test]
    fn what_is_not_there_is_absent_and_what_could_not_be_read_is_unknown() {
        assert_eq!(DevSpaces::absent().state(), State::Absent);
        let unread = || Lookup::Failed("403".to_owned());
        let nothing = || Lookup::Found(json!({"items": []}));
        assert_eq!(
            devspaces(&unread(), &nothing(), &nothing()).state(),
            State::Unknown("403".into())
        );
        assert_eq!(
            devspaces(&not_served(CHE_GROUP), &unread(), &nothing()).state(),
            State::Unknown("403".into())
        );
        // What can be read is enough to know that it is on.
        let on = Lookup::Found(json!({"items": [che_on()]}));
        assert!(matches!(devspaces(&on, &unread(), &nothing()).state(), State::On(_)));
        let odd = devspaces(&Lookup::Absent, &nothing(), &nothing()).state().to_string();
        assert!(odd.contains("org.eclipse.che/v2"), "{odd}");
    }
}
