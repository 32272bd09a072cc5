//! What a run's namespace needs so that the DevWorkspace Operator can make workspaces in it, and the
//! workspaces themselves.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::{
        core::v1::ConfigMap,
        rbac::v1::{RoleBinding, RoleRef, Subject},
    },
};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ObjectMeta},
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{
    File, Placement,
    create::{Creator, create},
    labels,
    workspace_settings::{PodAuthority, nested_settings},
};
use crate::{
    Error, Result,
    base::manifest,
    facts::{ConfigName, DeviceRoute, Facts, WorkspaceOperator},
    sandbox::pod_template::{EntryPoint, PodTemplate},
};

/// The name of the configuration that makes workspaces nested.
pub const NESTED_CONFIG: &str = "nested";

/// The attribute by which a workspace asks for an SCC.
pub const SCC_ATTRIBUTE: &str = "controller.devfile.io/scc";

/// The attribute by which a workspace asks for a configuration of the operator.
pub const CONFIG_ATTRIBUTE: &str = "controller.devfile.io/devworkspace-config";

/// The label that the operator gives to everything of a workspace.
pub const WORKSPACE_ID_LABEL: &str = "controller.devfile.io/devworkspace_id";

/// The kind of workspaces.
#[must_use]
pub fn workspace_resource() -> ApiResource {
    resource("workspace.devfile.io", "v1alpha2", "DevWorkspace", "devworkspaces")
}

/// The same kind in its old version.
#[must_use]
pub fn old_workspace_resource() -> ApiResource {
    resource("workspace.devfile.io", "v1alpha1", "DevWorkspace", "devworkspaces")
}

/// The kind of the operator's configurations.
#[must_use]
pub fn config_resource() -> ApiResource {
    let (kind, plural) = ("DevWorkspaceOperatorConfig", "devworkspaceoperatorconfigs");
    resource("controller.devfile.io", "v1alpha1", kind, plural)
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: format!("{group}/{version}"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// The workspaces of the DevWorkspace Operator in the run's main namespace.
pub struct DevWorkspaces {
    creator: Creator,
    namespace: String,
    operator: Option<WorkspaceOperator>,
    scc: Option<String>,
    route: Option<DeviceRoute>,
    /// The cluster's own configuration, where the run takes it in place of [`NESTED_CONFIG`].
    cluster_config: Option<ConfigName>,
    /// The group that the image gives its user, where no SCC decides.
    group: OnceCell<u32>,
    prepared: OnceCell<()>,
}

impl DevWorkspaces {
    pub(super) fn new(creator: Creator, facts: &Facts, scc: Option<String>) -> Self {
        let settings = facts.devspaces.cluster_settings.as_ref();
        Self {
            namespace: creator.name(),
            creator,
            operator: facts.devspaces.operator.value().cloned(),
            scc,
            route: facts.device_route.value().cloned().flatten(),
            cluster_config: settings.map(|settings| settings.config.clone()),
            group: OnceCell::new(),
            prepared: OnceCell::new(),
        }
    }

    /// Makes the run's namespace ready for workspaces, once: the operator may let its service
    /// accounts use the run's SCC, the configuration [`NESTED_CONFIG`] is there unless the cluster's
    /// own is taken, and the files of every pod come into workspaces too. `read_group` reads the group
    /// that the image gives its user, once, where no SCC decides.
    ///
    /// # Errors
    ///
    /// What the server refuses, that the operator is not known, or what `read_group` does.
    pub(crate) async fn prepare<E: From<Error>>(
        &self,
        read_group: impl Future<Output = std::result::Result<u32, E>>,
    ) -> std::result::Result<(), E> {
        if self.scc.is_none() && self.cluster_config.is_none() {
            self.group.get_or_try_init(|| read_group).await?;
        }
        let prepare = || async {
            tokio::try_join!(self.let_operator_use_scc(), self.make_config(), self.mount_files(),)
                .map(drop)
        };
        self.prepared.get_or_try_init(|| Box::pin(prepare())).await?;
        Ok(())
    }

    /// What makes the operator's pods nested ones in this run, once it is prepared; see
    /// [`nested_settings`].
    #[must_use]
    pub fn nested_settings(&self) -> Value {
        let authority = match self.group.get() {
            Some(group) if self.scc.is_none() => PodAuthority::Configuration { group: *group },
            _ => PodAuthority::Scc,
        };
        nested_settings(self.route.as_ref(), authority)
    }

    async fn make_config(&self) -> Result<()> {
        if self.cluster_config.is_some() {
            return Ok(());
        }
        self.config(NESTED_CONFIG, self.nested_settings()).await.map(drop)
    }

    /// Creates a configuration of the operator in the run's namespace, as the administrator.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub async fn config(&self, name: &str, workspace: Value) -> Result<DynamicObject> {
        let mut config = DynamicObject::new(name, &config_resource()).within(&self.namespace);
        config.metadata.labels = Some(labels(&self.creator.config.run));
        config.data = json!({"config": {"workspace": workspace}});
        self.creator
            .config
            .ledger
            .intend("DevWorkspaceOperatorConfig", Some(&self.namespace), name)
            .await?;
        create(
            &self.configs_of(&self.creator.admin),
            &config,
            &format!("create DevWorkspaceOperatorConfig `{name}`"),
        )
        .await
    }

    /// The operator's configurations in the run's namespace, to whoever has the client.
    #[must_use]
    pub fn configs_of(&self, client: &Client) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), &self.namespace, &config_resource())
    }

    /// The workspaces of the run's namespace, to whoever has the client.
    #[must_use]
    pub fn of(&self, client: &Client) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), &self.namespace, &workspace_resource())
    }

    /// The workspace of a devfile, with the run's image and SCC and a configuration of this name; with
    /// the cluster's own in place of [`NESTED_CONFIG`], where the run takes it.
    ///
    /// # Errors
    ///
    /// A text that is no devfile.
    pub fn manifest(
        &self,
        template: &PodTemplate,
        name: &str,
        config: &str,
    ) -> Result<DynamicObject> {
        let mut spec: Value = manifest::parse(template.file, template.manifest)?;
        let Some(fields) = spec.as_object_mut() else {
            return Err(Error::usage(format!("`{}` is not a devfile", template.file)));
        };
        // A DevWorkspace's template has every field of a devfile but these two.
        fields.remove("schemaVersion");
        fields.remove("metadata");
        let attributes = &mut spec["attributes"];
        attributes[CONFIG_ATTRIBUTE] = match &self.cluster_config {
            Some(of_cluster) if config == NESTED_CONFIG => {
                json!({"name": of_cluster.name, "namespace": of_cluster.namespace})
            }
            _ => json!({"name": config, "namespace": self.namespace}),
        };
        if let Some(scc) = &self.scc {
            attributes[SCC_ATTRIBUTE] = template.scc(scc).into();
        }
        place(&mut spec, &self.creator.config.placement);
        for component in spec["components"].as_array_mut().into_iter().flatten() {
            if let Some(container) = component.get_mut("container") {
                container["image"] = self.creator.config.image.clone().into();
                if self.creator.config.entry_point == EntryPoint::Image {
                    keep_entry_point(container);
                }
                self.override_resources(component);
            }
        }
        let mut workspace = DynamicObject::new(name, &workspace_resource()).within(&self.namespace);
        workspace.metadata.labels = Some(labels(&self.creator.config.run));
        // Only who has made it may enter it, whoever else may use the namespace.
        workspace.metadata.annotations =
            Some(pairs(&[("controller.devfile.io/restricted-access", "true")]));
        workspace.data = json!({"spec": {"started": true, "template": spec}});
        Ok(workspace)
    }

    /// Lets a container ask for devices where they are extended resources: the operator's
    /// configuration has no field for these.
    fn override_resources(&self, component: &mut Value) {
        // The cluster's own configuration asks for devices itself.
        let Some(DeviceRoute::Resource(names)) =
            self.route.as_ref().filter(|_| self.cluster_config.is_none())
        else {
            return;
        };
        let limits = &mut component["attributes"]["container-overrides"]["resources"]["limits"];
        for name in names.split(',') {
            limits[name] = "1".into();
        }
    }

    /// The operator gives each workspace's service account a role to use the SCC, and nobody can
    /// give what he has not.
    async fn let_operator_use_scc(&self) -> Result<()> {
        let operator = self.operator.as_ref().ok_or_else(|| {
            Error::infrastructure("the DevWorkspace Operator's Deployment is not known")
        })?;
        let Some(scc) = &self.scc else { return Ok(()) };
        let name = "workspace-operator-scc";
        let binding = RoleBinding {
            metadata: self.creator.metadata(name),
            role_ref: RoleRef {
                api_group: Some("rbac.authorization.k8s.io".to_owned()),
                kind: "ClusterRole".to_owned(),
                name: scc.clone(),
            },
            subjects: Some(vec![Subject {
                kind: "ServiceAccount".to_owned(),
                name: operator.account.clone(),
                namespace: Some(operator.namespace.clone()),
                ..Subject::default()
            }]),
        };
        self.creator.config.ledger.intend("RoleBinding", Some(&self.namespace), name).await?;
        let api = Api::namespaced(self.creator.admin.clone(), &self.namespace);
        let what = "bind the DevWorkspace Operator to the use of the SCC";
        create(&api, &binding, what).await.map(drop)
    }

    /// Brings the files into every workspace of the namespace: the operator mounts each `ConfigMap` with
    /// its label. It knows no paths, so that each directory takes one of its own, and mounts file by
    /// file, so that a directory may hold another.
    async fn mount_files(&self) -> Result<()> {
        let api: Api<ConfigMap> = Api::namespaced(self.creator.admin.clone(), &self.namespace);
        let files: Vec<_> = self.creator.config.own_files().cloned().collect();
        for mut map in maps_of_workspaces(&files) {
            map.metadata.labels.get_or_insert_default().extend(labels(&self.creator.config.run));
            self.creator
                .config
                .ledger
                .intend("ConfigMap", Some(&self.namespace), &map.name_any())
                .await?;
            create(&api, &map, "create a ConfigMap that workspaces mount").await?;
        }
        Ok(())
    }
}

/// Lets a devfile's container run the image's entrypoint, which gets the command as its arguments.
fn keep_entry_point(container: &mut Value) {
    let command = container.as_object_mut().and_then(|container| container.remove("command"));
    if let Some(command) = command {
        container["args"] = command;
    }
}

/// The `ConfigMap`s by which files come into workspaces.
#[must_use]
pub fn maps_of_workspaces(files: &[File]) -> Vec<ConfigMap> {
    let map = |(index, (directory, files)): (usize, (String, _))| {
        let metadata = ObjectMeta {
            name: Some(format!("workspace-files-{index}")),
            labels: Some(pairs(&[
                ("controller.devfile.io/mount-to-devworkspace", "true"),
                ("controller.devfile.io/watch-configmap", "true"),
            ])),
            annotations: Some(pairs(&[
                ("controller.devfile.io/mount-path", &format!("/nestcheck{directory}")),
                ("controller.devfile.io/mount-as", "subpath"),
                ("controller.devfile.io/mount-access-mode", "0555"),
            ])),
            ..ObjectMeta::default()
        };
        ConfigMap { metadata, binary_data: Some(files), ..ConfigMap::default() }
    };
    by_directory(files).into_iter().enumerate().map(map).collect()
}

/// Asks the operator to place the pod of a workspace. What the devfile decides itself stays.
fn place(template: &mut Value, placement: &Placement) {
    if let Some(overrides) = placement.pod_overrides() {
        template["attributes"]["pod-overrides"] = overrides;
    }
    for component in template["components"].as_array_mut().into_iter().flatten() {
        let Some(container) = component.get_mut("container").and_then(Value::as_object_mut) else {
            continue;
        };
        for (field, quantity) in placement.container_fields() {
            container.entry(field).or_insert_with(|| quantity.into());
        }
    }
}

fn pairs(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The files of each directory by their names; a directory is empty or begins with a slash.
fn by_directory(files: &[File]) -> BTreeMap<String, BTreeMap<String, ByteString>> {
    let mut directories: BTreeMap<String, BTreeMap<String, ByteString>> = BTreeMap::new();
    for file in files {
        let (directory, name) = match file.path.rsplit_once('/') {
            Some((directory, name)) => (format!("/{directory}"), name),
            None => (String::new(), file.path.as_str()),
        };
        let content = ByteString(file.content.clone());
        directories.entry(directory).or_default().insert(name.to_owned(), content);
    }
    directories
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

    use super::*;

    #[test]
    fn a_workspace_is_placed_by_what_the_operator_takes() {
        let mut template = json!({
            "attributes": {"own": "stays"},
            "components": [{"name": "home", "volume": {}},
                           {"name": "ide", "container": {"memoryLimit": "2Gi"}}],
        });
        let quantity = |text: &str| Quantity(text.to_owned());
        let placement = Placement {
            node_selector: pairs(&[("pool", "workspaces")]),
            limits: [("memory", "1Gi"), ("cpu", "2")]
                .map(|(name, text)| (name.to_owned(), quantity(text)))
                .into(),
            ..Placement::NONE
        };

        place(&mut template, &placement);

        let overrides = json!({"spec": {"nodeSelector": {"pool": "workspaces"}}});
        assert_eq!(template["attributes"], json!({"own": "stays", "pod-overrides": overrides}));
        let container = json!({"memoryLimit": "2Gi", "cpuLimit": "2"});
        assert_eq!(template["components"][1]["container"], container);
        let before = template.clone();
        place(&mut template, &Placement::NONE);
        assert_eq!(template, before);
    }

    #[test]
    fn the_entrypoint_of_the_image_gets_the_command_of_the_devfile() {
        let mut container = json!({"image": "i", "command": ["/probe", "pause"]});
        keep_entry_point(&mut container);
        assert_eq!(container, json!({"image": "i", "args": ["/probe", "pause"]}));
        let mut container = json!({"image": "i"});
        keep_entry_point(&mut container);
        assert_eq!(container, json!({"image": "i"}));
    }

    #[test]
    fn files_are_kept_apart_by_their_directories() {
        let file =
            |path: &str| File { path: path.to_owned(), content: Vec::new(), architecture: None };
        let directories = by_directory(&[file("probe"), file("images/a/x"), file("images/a/y")]);
        assert_eq!(directories.keys().collect::<Vec<_>>(), ["", "/images/a"]);
        assert_eq!(directories["/images/a"].keys().collect::<Vec<_>>(), ["x", "y"]);
    }
}
