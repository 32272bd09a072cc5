//! The objects that a run would create, for a dry run: a pure function, which creates none of them.

use std::fmt;

use kube::ResourceExt;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    EDIT, GRANT, LEASE_NAMESPACE, PULL_SECRET, SandboxConfig, UNGRANTED_USER, USER,
    given::KINDS,
    ledger::{Intent, fits},
    namespace_of,
    pod_template::{PodTemplate, RenderContext},
    scc,
};
use crate::Result;

/// Who creates an object of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Creator {
    /// The run itself, before its cases begin.
    Run,
    /// A case, when it needs the object; what a case needs is known only then, so this is a limit.
    Case,
}

/// An object, or objects of a kind, that a run creates.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct PlannedObject {
    /// The kind, such as `Pod`.
    pub kind: String,
    /// The namespace, or the beginning of it followed by `*`; left out outside of namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name, or the beginning of it followed by `*`.
    pub name: String,
    /// The image of its containers; left out where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Who creates it.
    pub creator: Creator,
}

impl fmt::Display for PlannedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl PlannedObject {
    /// Whether this object of a ledger is meant.
    #[must_use]
    pub fn covers(&self, intent: &Intent) -> bool {
        let is_namespace = match (&self.namespace, &intent.namespace) {
            (None, None) => true,
            (Some(pattern), Some(namespace)) => fits(pattern, namespace),
            _ => false,
        };
        self.kind == intent.kind && is_namespace && fits(&self.name, &intent.name)
    }
}

/// The objects of a run with this configuration, whose cases share the pods of these templates.
/// `with_workspaces` says whether cases create workspaces.
///
/// # Errors
///
/// A manifest of a template with a document that is not an object.
pub fn planned_objects(
    config: &SandboxConfig,
    templates: &[&PodTemplate],
    with_workspaces: bool,
) -> Result<Vec<PlannedObject>> {
    if let Some(namespace) = config.home.given() {
        return in_given(config, namespace, templates);
    }
    let namespace = namespace_of(&config.run);
    let inside = |kind: &str, name: &str| object(kind, Some(&namespace), name, Creator::Run);
    let outside = |kind: &str, name: &str| object(kind, None, name, Creator::Run);
    let mut objects = vec![
        object("Lease", Some(LEASE_NAMESPACE), &namespace, Creator::Run),
        outside("Namespace", &namespace),
        inside("ServiceAccount", USER),
        inside("RoleBinding", EDIT),
    ];
    objects.extend(config.maps().map(|(name, _)| inside("ConfigMap", &name)));
    if config.scc.is_some() {
        objects.push(outside(scc::KIND, &namespace));
        objects.push(outside("ClusterRole", &namespace));
        objects.push(inside("RoleBinding", GRANT));
    }
    if config.placement.pull_secret.is_some() {
        objects.push(inside("Secret", PULL_SECRET));
    }
    for template in templates {
        objects.extend(of_template(config, &namespace, template)?);
    }
    objects.extend(of_cases(config, &namespace, with_workspaces));
    Ok(objects)
}

/// As [`planned_objects`], of a run in a given namespace, which creates nothing outside of it.
fn in_given(
    config: &SandboxConfig,
    namespace: &str,
    templates: &[&PodTemplate],
) -> Result<Vec<PlannedObject>> {
    let run = namespace_of(&config.run);
    let inside = |kind: &str, name: &str| object(kind, Some(namespace), name, Creator::Run);
    let mut objects = vec![inside("Lease", &run)];
    objects.extend(config.maps().map(|(name, _)| inside("ConfigMap", &name)));
    if config.placement.pull_secret.is_some() {
        objects.push(inside("Secret", PULL_SECRET));
    }
    for template in templates.iter().filter(|template| !template.is_workspace()) {
        objects.extend(of_template(config, namespace, template)?);
    }
    for object in &mut objects {
        if object.kind != "Lease" {
            object.name = config.name_of(&object.name);
        }
    }
    for kind in KINDS {
        let image = (kind == "Pod").then(|| config.image.clone());
        let of_case = object(kind, Some(namespace), &format!("{run}-*"), Creator::Case);
        objects.push(PlannedObject { image, ..of_case });
    }
    Ok(objects)
}

/// The pod of a template with the objects that it needs, or the workspace whose pod the operator makes.
fn of_template(
    config: &SandboxConfig,
    namespace: &str,
    template: &PodTemplate,
) -> Result<Vec<PlannedObject>> {
    let planned = |kind: &str, name: &str| PlannedObject {
        image: Some(config.image.clone()),
        ..object(kind, Some(namespace), name, Creator::Run)
    };
    if template.is_workspace() {
        return Ok(vec![planned("DevWorkspace", template.name)]);
    }
    let render = RenderContext {
        namespace,
        run: &config.run,
        image: &config.image,
        device_route: None,
        files: &[],
        scc: None,
        entry_point: config.entry_point,
        placement: &config.placement,
    };
    let mut objects = vec![planned("Pod", template.name)];
    for needed in template.supporting_objects(&render)? {
        let kind = needed.types.as_ref().map_or_else(String::new, |types| types.kind.clone());
        objects.push(object(&kind, Some(namespace), &needed.name_any(), Creator::Run));
    }
    Ok(objects)
}

/// What cases may create for themselves: in namespaces of the run alone.
fn of_cases(config: &SandboxConfig, namespace: &str, with_workspaces: bool) -> Vec<PlannedObject> {
    let by_case = |kind: &str, namespace: &str, name: &str| {
        object(kind, Some(namespace), name, Creator::Case)
    };
    let further = format!("{namespace}-*");
    let mut objects = vec![
        object("Namespace", None, &further, Creator::Case),
        by_case("ServiceAccount", namespace, UNGRANTED_USER),
        by_case("ServiceAccount", &further, USER),
        by_case("RoleBinding", &further, EDIT),
        by_case("PersistentVolumeClaim", namespace, "*"),
        by_case("NetworkPolicy", namespace, "*"),
    ];
    if config.scc.is_some() {
        objects.push(by_case("RoleBinding", &further, GRANT));
    }
    if config.placement.pull_secret.is_some() {
        objects.push(by_case("Secret", &further, PULL_SECRET));
    }
    for namespace in [namespace, &further] {
        let image = Some(config.image.clone());
        objects.push(PlannedObject { image, ..by_case("Pod", namespace, "*") });
    }
    if with_workspaces {
        for kind in ["DevWorkspace", "DevWorkspaceOperatorConfig", "ConfigMap", "RoleBinding"] {
            objects.push(by_case(kind, namespace, "*"));
        }
    }
    objects
}

fn object(kind: &str, namespace: Option<&str>, name: &str, creator: Creator) -> PlannedObject {
    PlannedObject {
        kind: kind.to_owned(),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
        image: None,
        creator,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::RunConfig,
        sandbox::{Home, Placement, PullSecret},
    };

    fn config() -> SandboxConfig {
        let config = RunConfig::new(Some("localhost/workspace:1".to_owned()), Vec::new());
        SandboxConfig { run: "ID".to_owned(), ..config.sandbox }
    }

    fn intent(kind: &str, namespace: Option<&str>, name: &str) -> Intent {
        Intent { kind: kind.into(), namespace: namespace.map(Into::into), name: name.into() }
    }

    #[test]
    fn only_namespaces_of_the_run_and_its_own_names_are_covered() {
        let objects = planned_objects(&config(), &[], false)
            .expect("no template has a manifest that can be wrong");
        let covers = |it: &Intent| objects.iter().any(|object| object.covers(it));
        for good in [
            intent("Namespace", None, "nestcheck-ID"),
            intent("Namespace", None, "nestcheck-ID-restricted"),
            intent("Pod", Some("nestcheck-ID"), "keeper-1"),
            intent("Pod", Some("nestcheck-ID-gate-02"), "x"),
            intent("Lease", Some("default"), "nestcheck-ID"),
        ] {
            assert!(covers(&good), "{good}");
        }
        for bad in [
            intent("Namespace", None, "nestcheck-IDX"),
            intent("Pod", Some("default"), "x"),
            intent("Pod", None, "x"),
            intent("SecurityContextConstraints", None, "nestcheck-ID"),
            intent("DevWorkspace", Some("nestcheck-ID"), "x"),
        ] {
            assert!(!covers(&bad), "{bad}");
        }
    }

    #[test]
    fn a_run_in_a_given_namespace_plans_nothing_elsewhere() {
        let home = Home::Given { namespace: "team-a".to_owned(), scc: None };
        let secret = PullSecret::parse("test", br#"{"auths": {}}"#).expect("it is good");
        let placement = Placement { pull_secret: Some(secret), ..Placement::NONE };
        let config = SandboxConfig { home, placement, ..config() };

        let objects = planned_objects(&config, &[], true)
            .expect("no template has a manifest that can be wrong");

        assert!(objects.iter().all(|it| it.namespace.as_deref() == Some("team-a")), "{objects:?}");
        let (intents, lease) = (config.intents(), intent("Lease", Some("team-a"), "nestcheck-ID"));
        for object in &objects {
            let name = object.name.replace('*', "x");
            let is_intended = intents.contains(&object.kind, Some("team-a"), &name);
            assert!(is_intended || object.covers(&lease), "{object:?}");
        }
        assert!(objects.iter().any(|it| it.kind == "Secret"), "{objects:?}");
    }

    #[test]
    fn all_that_a_sandbox_may_create_outside_of_namespaces_is_planned() {
        let config = config();
        let objects = planned_objects(&config, &[], true)
            .expect("no template has a manifest that can be wrong");
        let outside = objects.iter().filter(|object| object.namespace.is_none());
        for object in outside {
            let name = object.name.replace('*', "x");
            assert!(
                config.intents().contains(&object.kind, object.namespace.as_deref(), &name),
                "{object:?}"
            );
        }
    }
}
