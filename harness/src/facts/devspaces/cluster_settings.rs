//! The settings that the cluster's own workspaces have: a run may take them in place of its own.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::{CONFIG_OF_CHE, DevSpaces, PodSettings, Switch, WorkspaceConfig};
use crate::{Error, Result};

/// The configuration that the DevWorkspace Operator takes for every workspace, in its own namespace
/// (devworkspace-operator, `pkg/config/sync.go`).
pub(crate) const GLOBAL_CONFIG: &str = "devworkspace-operator-config";

/// The settings of the cluster's own workspaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct ClusterSettings {
    /// The object that lets workspaces run containers.
    pub place: String,
    /// Whether that object is Che's, which names an SCC for its workspaces.
    pub is_of_che: bool,
    /// The `DevWorkspaceOperatorConfig` that workspaces name.
    pub config: ConfigName,
    /// Whether that object exists: Che's operator may not have written it.
    pub is_written: bool,
    /// The SCC that workspaces ask for.
    pub scc: Option<String>,
    /// The image of Che's default component, where Che names one.
    pub image: Option<String>,
    /// What pods get as `hostUsers`; none for nothing.
    pub host_users: Option<bool>,
    /// How pods are made: the workspaces' own configuration over that of all workspaces.
    pub pods: PodSettings,
    /// How the CheCluster wants pods to be made; none where it says nothing. Its operator writes this
    /// to the configuration sooner or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<PodSettings>,
}

/// The name of a `DevWorkspaceOperatorConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct ConfigName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ClusterSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConfigName { namespace, name } = &self.config;
        write!(f, "DevWorkspaceOperatorConfig `{namespace}/{name}`")?;
        match &self.scc {
            Some(scc) => write!(f, " with SCC `{scc}`, as {} says", self.place),
            None => f.write_str(" with the run's own SCC"),
        }
    }
}

impl ClusterSettings {
    /// Each object that says how pods are made, with what it says.
    #[must_use]
    pub fn sources(&self) -> Vec<(String, &PodSettings)> {
        let ConfigName { namespace, name } = &self.config;
        let written = (format!("DevWorkspaceOperatorConfig `{namespace}/{name}`"), &self.pods);
        let written = Some(written).filter(|_| self.is_written);
        let wanted = self.wanted.as_ref().map(|pods| (self.place.clone(), pods));
        written.into_iter().chain(wanted).collect()
    }
}

impl DevSpaces {
    /// Finds the settings of the cluster's own workspaces: those of Che, or else those of the
    /// DevWorkspace Operator.
    ///
    /// # Errors
    ///
    /// Settings that could not be read, or that let no workspace run containers.
    pub fn find_cluster_settings(&self) -> Result<ClusterSettings> {
        if let Some(reason) = self.che.why_unknown().or(self.configs.why_unknown()) {
            return Err(Error::infrastructure(format!(
                "the settings of the cluster's workspaces could not be read: {reason}"
            ))
            .with_hint("see `nestcheck preflight --print-rbac`"));
        }
        let che = self.che.value().map(Vec::as_slice).unwrap_or_default();
        let configs = self.configs.value().map(Vec::as_slice).unwrap_or_default();
        // Which one is the operator's own, its namespace says.
        let may_be_global = configs.iter().any(|config| config.name == GLOBAL_CONFIG);
        if let Some(reason) = self.operator.why_unknown().filter(|_| may_be_global) {
            return Err(Error::infrastructure(format!(
                "the DevWorkspace Operator, whose namespace has settings of all workspaces, could not \
                 be read: {reason}"
            ))
            .with_hint("see `nestcheck preflight --print-rbac`"));
        }
        let global = configs.iter().find(|config| self.is_global(config));
        let on = che.iter().find_map(|che| match &che.run {
            Switch::On(run) => Some((che, run)),
            Switch::Off | Switch::Missing => None,
        });
        if let Some((che, run)) = on {
            let own = che.config(configs);
            return Ok(ClusterSettings {
                place: che.to_string(),
                is_of_che: true,
                scc: run.scc.clone(),
                image: che.image.clone(),
                wanted: Some(run.pods.clone()).filter(|pods| *pods != PodSettings::default()),
                // Without the operator's configuration only Che's own word is left.
                ..of_config(own, global).unwrap_or_else(|| ClusterSettings {
                    config: ConfigName {
                        namespace: che.namespace.clone(),
                        name: CONFIG_OF_CHE.to_owned(),
                    },
                    pods: run.pods.clone(),
                    ..ClusterSettings::default()
                })
            });
        }
        if let Some(che) = che.first() {
            return Err(Error::usage(format!(
                "workspaces run no containers: the toggle is off in {che}"
            ))
            .with_hint("set `spec.devEnvironments.disableContainerRunCapabilities: false`"));
        }
        let nested = configs.iter().find(|config| config.host_users == Some(false));
        of_config(nested.or(global), global).ok_or_else(|| {
            Error::usage(format!(
                "this cluster has no settings for workspaces: neither a CheCluster with a \
                 `{CONFIG_OF_CHE}` nor a DevWorkspaceOperatorConfig with `hostUsers: false`"
            ))
            .with_hint("leave `--as-configured` out: the run then brings settings of its own")
        })
    }

    fn is_global(&self, config: &WorkspaceConfig) -> bool {
        let operator = self.operator.value();
        config.name == GLOBAL_CONFIG
            && operator.is_some_and(|operator| operator.namespace == config.namespace)
    }
}

/// What a workspace gets that names a configuration: the operator lays it over the global one.
fn of_config(
    own: Option<&WorkspaceConfig>,
    global: Option<&WorkspaceConfig>,
) -> Option<ClusterSettings> {
    let own = own?;
    Some(ClusterSettings {
        place: own.to_string(),
        config: ConfigName { namespace: own.namespace.clone(), name: own.name.clone() },
        is_written: true,
        host_users: own.host_users.or(global.and_then(|global| global.host_users)),
        pods: global.map_or_else(|| own.pods.clone(), |global| own.pods.over(&global.pods)),
        ..ClusterSettings::default()
    })
}

impl PodSettings {
    /// These settings laid over others, as the operator does it: a list replaces a list, an
    /// annotation one of the same name.
    fn over(&self, base: &Self) -> Self {
        let list = |own: &[String], base: &[String]| {
            if own.is_empty() { base.to_vec() } else { own.to_vec() }
        };
        let mut annotations = base.annotations.clone();
        annotations.extend(self.annotations.clone());
        Self {
            annotations,
            proc_mount: self.proc_mount.clone().or_else(|| base.proc_mount.clone()),
            allow_privilege_escalation: self
                .allow_privilege_escalation
                .or(base.allow_privilege_escalation),
            capabilities: list(&self.capabilities, &base.capabilities),
            dropped_capabilities: list(&self.dropped_capabilities, &base.dropped_capabilities),
            privileged: self.privileged.or(base.privileged),
            read_only_root_filesystem: self
                .read_only_root_filesystem
                .or(base.read_only_root_filesystem),
            run_as_user: self.run_as_user.or(base.run_as_user),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::{
            tests::{che_on, config_on, of},
            *,
        },
        *,
    };

    fn with_operator(devspaces: DevSpaces) -> DevSpaces {
        let operator = WorkspaceOperator {
            namespace: "operators".to_owned(),
            account: "controller".to_owned(),
            image: "controller:v0.42.0".to_owned(),
            version: Some((0, 42)),
            is_available: true,
        };
        DevSpaces { operator: Fact::known(operator, "Deployments"), ..devspaces }
    }

    fn global(workspace: &Value) -> Value {
        json!({
            "metadata": {"namespace": "operators", "name": GLOBAL_CONFIG},
            "config": {"workspace": workspace},
        })
    }

    #[test]
    fn che_names_the_configuration_the_scc_and_the_image() {
        let mut che = che_on();
        che["spec"]["devEnvironments"]["defaultComponents"] =
            json!([{"name": "tools", "container": {"image": "registry.example/udi:1"}}]);

        let settings = of(&[che], &[config_on()]).find_cluster_settings().expect("settings");

        assert_eq!(settings.place, "CheCluster `eclipse-che/eclipse-che`");
        let name = &settings.config;
        assert_eq!((&*name.namespace, &*name.name), ("eclipse-che", CONFIG_OF_CHE));
        assert_eq!(settings.scc.as_deref(), Some("container-run"));
        assert_eq!(settings.image.as_deref(), Some("registry.example/udi:1"));
        assert_eq!(settings.host_users, Some(false));
        assert_eq!(settings.pods.capabilities, ["SETGID", "SETUID", "CHOWN"]);
        let places: Vec<_> = settings.sources().into_iter().map(|(place, _)| place).collect();
        let written = "DevWorkspaceOperatorConfig `eclipse-che/devworkspace-config`";
        assert_eq!(places, [written, "CheCluster `eclipse-che/eclipse-che`"]);
    }

    #[test]
    fn the_named_configuration_lies_over_that_of_all_workspaces() {
        let of_all = json!({
            "hostUsers": true,
            "podAnnotations": {"devices.crio.io": "/dev/fuse", "kept": "yes"},
            "containerSecurityContext": {"runAsUser": 1234, "capabilities": {"add": ["KILL"]}},
        });
        let devspaces = with_operator(of(&[che_on()], &[global(&of_all), config_on()]));

        let settings = devspaces.find_cluster_settings().expect("settings");

        assert_eq!(settings.host_users, Some(false));
        assert_eq!(settings.pods.capabilities, ["SETGID", "SETUID", "CHOWN"]);
        assert_eq!(settings.pods.run_as_user, Some(1234), "nobody says otherwise");
        assert_eq!(settings.pods.annotations["kept"], "yes");
        assert_eq!(settings.pods.annotations.len(), 3);
    }

    #[test]
    fn without_its_configuration_only_the_word_of_che_is_left() {
        let settings = of(&[che_on()], &[]).find_cluster_settings().expect("settings");

        assert_eq!((settings.is_written, settings.host_users), (false, None));
        assert_eq!(settings.config.name, CONFIG_OF_CHE);
        assert_eq!(settings.pods.proc_mount.as_deref(), Some("Unmasked"));
    }

    #[test]
    fn without_che_the_operators_own_configuration_counts() {
        let devspaces = with_operator(of(&[], &[global(&json!({}))]));
        let settings = devspaces.find_cluster_settings().expect("settings");
        assert_eq!(settings.config.name, GLOBAL_CONFIG);
        assert!(!settings.is_of_che && settings.scc.is_none());

        let both = with_operator(of(&[], &[global(&json!({})), config_on()]));
        let settings = both.find_cluster_settings().expect("settings");
        assert_eq!(settings.config.name, CONFIG_OF_CHE);
    }

    #[test]
    fn what_is_off_absent_or_unread_is_an_error_that_says_so() {
        let error = |devspaces: DevSpaces| {
            devspaces.find_cluster_settings().expect_err("there are no settings").to_string()
        };
        let mut off = che_on();
        off["spec"]["devEnvironments"]["disableContainerRunCapabilities"] = json!(true);
        assert!(error(of(&[off], &[config_on()])).contains("the toggle is off in CheCluster"));
        assert!(error(of(&[], &[])).contains("no settings for workspaces"));
        assert!(error(DevSpaces::absent()).contains("no settings for workspaces"));
        let unread = DevSpaces { configs: Fact::unknown("403"), ..of(&[che_on()], &[]) };
        assert!(error(unread).contains("could not be read: 403"));
    }
}
