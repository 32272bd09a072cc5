//! The settings of Eclipse Che, OpenShift Dev Spaces and the DevWorkspace Operator.

use serde_json::{Value, json};

use super::{Change, Circumstances, Cost, Step, problem::WorkspaceObject};
use crate::{
    base::names::is_subdomain,
    facts::{
        CheCluster, DeviceRoute, Flavour, PodSettings, Switch, WorkspaceConfig, devices_value,
    },
    sandbox::{PodAuthority, asking_for_devices, nested_settings},
    verdict::Place,
};

/// The SCC and the capabilities that Che's operator gives workspaces by default (che-operator,
/// `api/v2/checluster_types.go`).
const SCC_OF_CHE: &str = "container-run";
const CAPABILITIES_OF_CHE: [&str; 3] = ["SETGID", "SETUID", "CHOWN"];

/// The group of the images of workspaces that set themselves up.
const GROUP: u32 = 1000;

/// The change of an object. None where its name is not one that Kubernetes allows.
pub(super) fn change(
    object: &WorkspaceObject,
    circumstances: &Circumstances<'_>,
) -> Option<Change> {
    match object {
        WorkspaceObject::CheCluster(che) => che_cluster(che, circumstances),
        WorkspaceObject::Config(config) => operator_config(config, circumstances),
        WorkspaceObject::Scc(name, capabilities) => scc(name, capabilities, circumstances),
    }
}

fn che_cluster(che: &CheCluster, circumstances: &Circumstances<'_>) -> Option<Change> {
    // Its operator turns the switch off elsewhere, and an old one does not know it.
    let is_openshift = circumstances.platform.flavour == Some(Flavour::OpenShift);
    if !is_openshift
        || che.run == Switch::Missing
        || !is_subdomain(&che.name)
        || !is_subdomain(&che.namespace)
    {
        return None;
    }
    let (scc, pods) = match &che.run {
        Switch::On(run) => (run.scc.as_deref(), run.pods.clone()),
        Switch::Off | Switch::Missing => (None, PodSettings::default()),
    };
    let object = json!({
        "apiVersion": "org.eclipse.che/v2",
        "kind": "CheCluster",
        "metadata": {"name": che.name, "namespace": che.namespace},
        "spec": {"devEnvironments": {
            "disableContainerRunCapabilities": false,
            "containerRunConfiguration": {
                "openShiftSecurityContextConstraint": scc.unwrap_or(SCC_OF_CHE),
                "workspacesPodAnnotations": asking_for_devices(&devices_value()),
                "containerSecurityContext": {
                    "procMount": "Unmasked",
                    "allowPrivilegeEscalation": true,
                    "capabilities": {"add": joined(&pods.capabilities, &CAPABILITIES_OF_CHE)},
                },
            },
        }},
    });
    let is_on = matches!(che.run, Switch::On(_));
    let (title, cost) = if is_on {
        ("Correct container run", Cost::WorkspaceRestart)
    } else {
        ("Switch container run on", Cost::NewWorkspaces)
    };
    let title = format!("{title} in the CheCluster `{}/{}`", che.namespace, che.name);
    Some(Change::new(title, Place::Operator, &[cost], vec![Step::Manifest { object }]))
}

/// The capabilities that are there, and those that are needed.
fn joined(present: &[String], needed: &[&str]) -> Vec<String> {
    let mut all = present.to_vec();
    for capability in needed {
        if !all.iter().any(|it| it == capability) {
            all.push((*capability).to_owned());
        }
    }
    all
}

fn operator_config(config: &WorkspaceConfig, circumstances: &Circumstances<'_>) -> Option<Change> {
    if !is_subdomain(&config.name) || !is_subdomain(&config.namespace) {
        return None;
    }
    let is_kubernetes = circumstances.platform.flavour == Some(Flavour::Kubernetes);
    let authority = if is_kubernetes {
        PodAuthority::Configuration { group: GROUP }
    } else {
        PodAuthority::Scc
    };
    let route = match (&circumstances.devices, is_kubernetes) {
        (Some(route), _) => Some(route.clone()),
        (None, false) => Some(DeviceRoute::Annotation),
        (None, true) => None,
    };
    let mut settings = nested_settings(route.as_ref(), authority);
    let fields = settings.as_object_mut()?;
    // What the run sets for itself.
    fields.remove("imagePullPolicy");
    if !is_kubernetes {
        fields.remove("podSecurityContext");
    }
    let context = &mut settings["containerSecurityContext"];
    let add = joined(&config.pods.capabilities, &["SETUID", "SETGID"]);
    context["capabilities"]["add"] = json!(add);
    if config.pods.privileged == Some(true) {
        context["privileged"] = json!(false);
    }
    if config.pods.read_only_root_filesystem == Some(true) {
        context["readOnlyRootFilesystem"] = json!(false);
    }
    let object = json!({
        "apiVersion": "controller.devfile.io/v1alpha1",
        "kind": "DevWorkspaceOperatorConfig",
        "metadata": {"name": config.name, "namespace": config.namespace},
        "config": {"workspace": settings},
    });
    let title = format!(
        "Set container run up in the DevWorkspaceOperatorConfig `{}/{}`",
        config.namespace, config.name
    );
    let costs = [Cost::WorkspaceRestart, Cost::OfOperator];
    Some(Change::new(title, Place::Operator, &costs, vec![Step::Manifest { object }]))
}

/// The SCC that Che's operator would make (che-operator,
/// `pkg/deploy/container-capabilities/container_run.go`), by this name.
fn scc(name: &str, capabilities: &[String], circumstances: &Circumstances<'_>) -> Option<Change> {
    if !is_subdomain(name) {
        return None;
    }
    let mut object: Value = circumstances.declarations.scc.clone();
    object["metadata"] = json!({"name": name});
    object["allowedCapabilities"] = json!(joined(capabilities, &CAPABILITIES_OF_CHE));
    let title = format!("Create the SCC `{name}` of workspaces");
    let costs = [Cost::MorePermissions, Cost::OfOperator];
    let change = Change::new(title, Place::Policy, &costs, vec![Step::Manifest { object }]);
    Some(change.with_note(
        "Che's operator creates it, and the permission to use it, where it works: see its log first",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_objects_get_into_manifests() {
        for good in ["devspaces", "eclipse-che", "a.b-c.1"] {
            assert!(is_subdomain(good), "{good}");
        }
        for bad in ["", "A", "a b", "a\nkind: Pod", "-a", "a-", "a..b", "$(x)", "a/b", "é"] {
            assert!(!is_subdomain(bad), "{bad:?}");
        }
        assert!(!is_subdomain(&"a".repeat(254)));
    }
}
