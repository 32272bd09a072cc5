//! Where what the operators were told, what they made of it, and what the cluster can do
//! contradict each other.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    super::{Fact, Flavour, Sccs},
    CheCluster, ConfigName, DevSpaces, PodSettings, RunConfiguration, State, Switch,
    WorkspaceConfig,
};
use crate::facts::support::Support;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Workspaces have more privileges than intended, or keep restarting.
    Danger,
    /// Workspaces do not start, or containers in them do not work.
    Warning,
    /// Good to know.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Danger => "danger",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// A contradiction, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub finding: String,
    /// What would help.
    pub remedy: String,
    /// The object to change, for `nestcheck remedy`; none where only a person can tell.
    #[serde(skip)]
    #[schemars(skip)]
    pub object: Option<FaultyObject>,
}

/// An object of the operators of workspaces whose settings are not what nested containers need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultyObject {
    /// The CheCluster of this name.
    CheCluster(ConfigName),
    /// The `DevWorkspaceOperatorConfig` of this name.
    Config(ConfigName),
    /// The SCC of this name, which a CheCluster names and which is missing.
    Scc(String),
    /// None: nothing switches container run on.
    Nothing,
}

impl DevSpaces {
    /// What contradicts the toggle or the cluster, the worst first.
    #[must_use]
    pub fn findings(
        &self,
        support: &Support,
        flavour: Option<Flavour>,
        sccs: &Fact<Sccs>,
        runtimes: &[String],
    ) -> Vec<Finding> {
        let mut findings = Findings::default();
        let clusters = self.che.value().map(Vec::as_slice).unwrap_or_default();
        let configs = self.configs.value().map(Vec::as_slice);
        findings.of_support(&self.state(), support, flavour);
        if clusters.len() > 1 {
            findings.warning(
                format!("there are {} CheClusters; the operator allows one", clusters.len()),
                "delete all but one: which of them counts is not defined",
            );
        }
        for che in clusters {
            findings.of_che(che, configs, flavour, sccs, runtimes);
        }
        let written_by_che = |config: &&WorkspaceConfig| {
            clusters.iter().any(|che| che.config(std::slice::from_ref(config)).is_some())
        };
        let configs = configs.unwrap_or_default().iter();
        for config in configs.filter(|config| config.host_users == Some(false)) {
            if !written_by_che(&config) {
                let (namespace, name) = (config.namespace.clone(), config.name.clone());
                let object = FaultyObject::Config(ConfigName { namespace, name });
                findings.of_pods(&SettingsOfPods::of_config(config, object), flavour, runtimes);
            }
        }
        let Findings(mut found) = findings;
        found.sort_by_key(|finding| finding.severity);
        found
    }
}

/// What somebody set for the pods of workspaces, and where.
pub(super) struct SettingsOfPods<'a> {
    /// The object to change.
    pub(super) object: FaultyObject,
    /// The object that has the settings, in words.
    pub(super) place: String,
    /// The field of it.
    pub(super) path: &'static str,
    pub(super) pods: &'a PodSettings,
}

impl<'a> SettingsOfPods<'a> {
    fn of_config(config: &'a WorkspaceConfig, object: FaultyObject) -> Self {
        let place = config.to_string();
        Self { object, place, path: "config.workspace", pods: &config.pods }
    }
}

#[derive(Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn add(
        &mut self,
        severity: Severity,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (finding, remedy) = (finding.into(), remedy.into());
        self.0.push(Finding { severity, finding, remedy, object: None });
    }

    /// Adds what a change of this object repairs.
    pub(super) fn add_of(
        &mut self,
        object: &FaultyObject,
        severity: Severity,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (finding, remedy, object) = (finding.into(), remedy.into(), Some(object.clone()));
        self.0.push(Finding { severity, finding, remedy, object });
    }

    pub(super) fn warning(&mut self, finding: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Warning, finding, remedy);
    }

    /// The toggle against what the cluster can do.
    fn of_support(&mut self, state: &State, support: &Support, flavour: Option<Flavour>) {
        match (state, support) {
            (State::On(place), Support::Unsupported { reasons }) => self.add(
                Severity::Danger,
                format!(
                    "the toggle is on in {place}, but the cluster does not support nested \
                     containers: {}",
                    reasons.first().map_or("", |reason| &reason.reason)
                ),
                "turn it off until the cluster can (`disableContainerRunCapabilities: true` in the \
                 CheCluster, no `hostUsers` in the DevWorkspaceOperatorConfig): workspaces either \
                 stay in Starting forever, or run without a user namespace and keep the capabilities and the \
                 SELinux type of a nested container",
            ),
            (State::Off(place), support) if support.is_supported() => {
                self.add_of(
                    &FaultyObject::Nothing,
                    Severity::Note,
                    format!("the cluster supports nested containers, but the toggle is off ({place})"),
                    turn_on(flavour),
                );
            }
            _ => {}
        }
    }

    fn of_che(
        &mut self,
        che: &CheCluster,
        configs: Option<&[WorkspaceConfig]>,
        flavour: Option<Flavour>,
        sccs: &Fact<Sccs>,
        runtimes: &[String],
    ) {
        let config = configs.map(|configs| che.config(configs));
        let host_users = config.map(|config| config.and_then(|config| config.host_users));
        match &che.run {
            Switch::On(run) => {
                self.of_run(che, run, sccs);
                let (namespace, name) = (che.namespace.clone(), che.name.clone());
                let object = FaultyObject::CheCluster(ConfigName { namespace, name });
                let pods = match config {
                    Some(Some(config)) if config.host_users == Some(false) => {
                        Some(SettingsOfPods::of_config(config, object))
                    }
                    Some(config) => {
                        self.of_unwritten(che, config);
                        None
                    }
                    None => Some(SettingsOfPods {
                        object,
                        place: che.to_string(),
                        path: "spec.devEnvironments.containerRunConfiguration",
                        pods: &run.pods,
                    }),
                };
                if let Some(pods) = pods {
                    self.of_pods(&pods, flavour, runtimes);
                }
            }
            Switch::Off | Switch::Missing if host_users == Some(Some(false)) => self.warning(
                format!("the toggle is off in {che}, but its workspaces get `hostUsers: false`"),
                "see whether the operator runs: it removes the field from \
                 `devworkspace-config` where the toggle is off",
            ),
            Switch::Missing => self.add(
                Severity::Note,
                match &che.version {
                    Some(version) => {
                        format!("{che} of version {version} has no toggle: its operator does not know it")
                    }
                    None => format!("{che} has no toggle: its operator does not know it"),
                },
                "update Che to 7.111 or newer, or OpenShift Dev Spaces to 3.25 or newer",
            ),
            Switch::Off => {}
        }
        if che.build == Some(true) && !matches!(che.run, Switch::On(_)) {
            self.add(
                Severity::Note,
                format!("{che} lets workspaces build images, not run containers"),
                "nothing, if this is intended: builds work without a user namespace",
            );
        }
        if che.network_policies == Some(true) {
            self.add(
                Severity::Note,
                format!(
                    "{che} isolates the namespaces of users with NetworkPolicies: pods of other \
                     namespaces do not reach the ports that workspaces publish"
                ),
                "nothing, if this is intended; otherwise add a NetworkPolicy that admits them, or set \
                 `spec.networking.networkPolicy.enabled: false`",
            );
        }
    }

    /// Che's switch is on, but the operator's configuration does not say so.
    fn of_unwritten(&mut self, che: &CheCluster, config: Option<&WorkspaceConfig>) {
        let finding = match config {
            Some(config) => format!(
                "the toggle is on in {che}, but {config} has no \
                 `hostUsers: false`"
            ),
            None => format!(
                "the toggle is on in {che}, but its namespace has no DevWorkspaceOperatorConfig \
                 `{}`",
                super::CONFIG_OF_CHE
            ),
        };
        self.warning(
            finding,
            "see the log of Che's operator, which writes it, and whether the DevWorkspace Operator \
             is 0.37 or newer: older ones drop the field",
        );
    }

    fn of_run(&mut self, che: &CheCluster, run: &RunConfiguration, sccs: &Fact<Sccs>) {
        let Some(name) = &run.scc else {
            return self.warning(
                format!("{che} names no SCC for workspaces"),
                "set `spec.devEnvironments.containerRunConfiguration.\
                 openShiftSecurityContextConstraint`, such as to `container-run`",
            );
        };
        let Fact::Known { value: sccs, .. } = sccs else { return };
        if let Some(scc) = sccs.get(name) {
            return self.of_scc(che, name, scc, &run.pods);
        }
        self.add_of(
            &FaultyObject::Scc(name.clone()),
            Severity::Warning,
            format!("{che} names the SCC `{name}`, which does not exist"),
            "see the log of Che's operator, which creates it: workspaces are refused without it",
        );
    }
}

fn turn_on(flavour: Option<Flavour>) -> &'static str {
    match flavour {
        // Che's webhook forces the switch off there (`api/v2/checluster_webhook.go`).
        Some(Flavour::Kubernetes | Flavour::MicroShift) => {
            "set `config.workspace.hostUsers: false` in a DevWorkspaceOperatorConfig; Che's own \
             switch stays off outside of OpenShift"
        }
        _ => {
            "set `spec.devEnvironments.disableContainerRunCapabilities: false` in the CheCluster; \
             workspaces that exist already must be created anew"
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::{
        super::tests::{che_on, config_on, of},
        *,
    };
    use crate::facts::support::Reason;

    /// `container-run` as Che's operator makes it
    /// (`pkg/deploy/container-capabilities/container_run.go`).
    pub(in super::super) fn container_run() -> Value {
        json!({
            "metadata": {"name": "container-run"},
            "allowPrivilegeEscalation": true, "allowPrivilegedContainer": false,
            "allowedCapabilities": ["SETUID", "SETGID", "CHOWN"],
            "seLinuxContext":
                {"type": "MustRunAs", "seLinuxOptions": {"type": "container_engine_t"}},
            "userNamespaceLevel": "RequirePodLevel",
        })
    }

    pub(in super::super) fn sccs(scc: Value) -> Fact<Sccs> {
        Fact::known(Sccs::from([("container-run".to_owned(), scc)]), "test")
    }

    pub(in super::super) fn unable() -> Support {
        let reason = Reason {
            reason: "the feature gate UserNamespacesSupport is off".to_owned(),
            remedy: "turn it on".to_owned(),
        };
        Support::Unsupported { reasons: vec![reason] }
    }

    /// What is found on OpenShift, as `severity: finding`.
    pub(in super::super) fn found_with(
        devspaces: &DevSpaces,
        support: &Support,
        sccs: &Fact<Sccs>,
    ) -> Vec<String> {
        let findings = devspaces.findings(support, Some(Flavour::OpenShift), sccs, &[]);
        assert!(findings.iter().all(|finding| !finding.remedy.is_empty()), "{findings:?}");
        let reported = |finding: Finding| format!("{:?}: {}", finding.severity, finding.finding);
        findings.into_iter().map(reported).collect()
    }

    /// As [`found_with`], on an able cluster with Che's own SCC.
    pub(in super::super) fn on_able(che: &[Value], configs: &[Value]) -> Vec<String> {
        found_with(&of(che, configs), &Support::Supported, &sccs(container_run()))
    }

    /// Expects exactly one finding, with these words.
    #[track_caller]
    pub(in super::super) fn is_one(found: &[String], severity: &str, words: &[&str]) {
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with(severity), "{found:?}");
        for word in words {
            assert!(found[0].contains(word), "`{word}` is not in {found:?}");
        }
    }

    pub(in super::super) fn che_off() -> Value {
        let mut che = che_on();
        che["spec"]["devEnvironments"]["disableContainerRunCapabilities"] = json!(true);
        che
    }

    #[test]
    fn where_all_fits_nothing_is_found() {
        assert_eq!(on_able(&[che_on()], &[config_on()]), [""; 0]);
        let unable = found_with(&of(&[che_off()], &[]), &unable(), &sccs(container_run()));
        assert_eq!(unable, [""; 0]);
        let absent = found_with(&DevSpaces::absent(), &Support::Supported, &Fact::unknown("403"));
        assert_eq!(absent, [""; 0]);
    }

    #[test]
    fn a_setting_that_is_on_where_the_cluster_can_not_is_a_danger() {
        let devspaces = of(&[che_on()], &[config_on()]);
        let found = found_with(&devspaces, &unable(), &sccs(container_run()));
        let words = ["`eclipse-che/eclipse-che`", "gate UserNamespacesSupport is off"];
        is_one(&found, "Danger", &words);
        let unknown = found_with(
            &devspaces,
            &Support::Inconclusive { reasons: Vec::new(), rollout: false },
            &sccs(container_run()),
        );
        assert_eq!(unknown, [""; 0]);
    }

    #[test]
    fn a_setting_that_is_off_where_the_cluster_can_is_a_note_with_the_way_on() {
        is_one(&on_able(&[che_off()], &[]), "Note", &["supports", "off"]);
        let devspaces = of(&[], &[]);
        let none = Fact::unknown("test");
        let findings =
            devspaces.findings(&Support::Supported, Some(Flavour::Kubernetes), &none, &[]);
        assert!(findings[0].remedy.contains("hostUsers: false"), "{findings:?}");
    }

    #[test]
    fn a_configuration_that_the_operator_did_not_write_is_a_warning() {
        let mut config = config_on();
        config["config"]["workspace"].as_object_mut().and_then(|fields| fields.remove("hostUsers"));
        is_one(&on_able(&[che_on()], &[config]), "Warning", &["has no `hostUsers: false`"]);
        let mut elsewhere = config_on();
        elsewhere["metadata"]["name"] = json!("devworkspace-operator-config");
        let words = ["has no DevWorkspaceOperatorConfig", "`devworkspace-config`"];
        is_one(&on_able(&[che_on()], &[elsewhere]), "Warning", &words);

        let found =
            found_with(&of(&[che_off()], &[config_on()]), &unable(), &sccs(container_run()));
        is_one(&found, "Warning", &["off", "get `hostUsers: false`"]);
    }

    #[test]
    fn an_old_che_and_a_second_one_are_named() {
        let mut old = che_on();
        old["spec"]["devEnvironments"] = json!({"disableContainerBuildCapabilities": false});
        let found = found_with(&of(&[old], &[]), &unable(), &Fact::unknown("test"));
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found[0].contains("has no toggle") && found[1].contains("build images"));

        let mut second = che_on();
        second["metadata"]["namespace"] = json!("other");
        let mut config = config_on();
        config["metadata"]["namespace"] = json!("other");
        let found = on_able(&[che_on(), second], &[config_on(), config]);
        is_one(&found, "Warning", &["there are 2 CheClusters"]);
    }

    #[test]
    fn an_old_version_of_che_is_named_with_its_missing_switch() {
        let mut old = che_on();
        old["spec"]["devEnvironments"] = json!({});
        old["status"] = json!({"cheVersion": "7.110.0"});
        let found = found_with(&of(&[old], &[]), &unable(), &Fact::unknown("test"));
        is_one(&found, "Note", &["`eclipse-che/eclipse-che` of version 7.110.0 has no toggle"]);
    }

    #[test]
    fn policies_that_isolate_workspaces_are_a_note_with_the_setting_on_or_off() {
        let mut isolated = che_on();
        isolated["spec"]["networking"] = json!({"networkPolicy": {"enabled": true}});
        is_one(&on_able(&[isolated.clone()], &[config_on()]), "Note", &["NetworkPolicies"]);
        isolated["spec"]["devEnvironments"]["disableContainerRunCapabilities"] = json!(true);
        let found = found_with(&of(&[isolated], &[]), &unable(), &Fact::unknown("test"));
        is_one(&found, "Note", &["do not reach the ports that workspaces publish"]);

        let mut open = che_on();
        open["spec"]["networking"] = json!({"networkPolicy": {"enabled": false}});
        assert_eq!(on_able(&[open], &[config_on()]), [""; 0]);
    }

    #[test]
    fn the_worst_comes_first() {
        let mut config = config_on();
        config["config"]["workspace"]["containerSecurityContext"]["procMount"] = Value::Null;
        let devspaces = of(&[che_on()], &[config]);
        let found = found_with(&devspaces, &unable(), &sccs(container_run()));
        assert!(found[0].starts_with("Danger") && found[1].starts_with("Warning"), "{found:?}");
    }
}
