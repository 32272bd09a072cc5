//! The templates of pods that cases look at, and how a template becomes a pod on this cluster.

use std::str::FromStr;

use k8s_openapi::{
    DeepMerge,
    api::core::v1::{ConfigMapVolumeSource, Container, EnvVar, KeyToPath, Pod},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::api::{DynamicObject, ObjectMeta};
use serde_json::Value;

use crate::{
    Error, Result,
    base::manifest,
    facts::{CDI_ANNOTATION, DEVICE_ANNOTATIONS, DeviceRoute, devices_value},
    sandbox::{self, Placement},
};

/// How a pod is kept apart from its node. It decides which truth checks the pod must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// A user namespace and an unmasked /proc: what nested containers need.
    Nested,
    /// A user namespace, and /proc masked as usual: a control.
    UserNamespace,
    /// The node's own user namespace, and /proc masked as usual: a control.
    HostUsers,
    /// The node's own user namespace, and all power that a pod can have: a control for what is
    /// refused elsewhere. A cluster may refuse to make such a pod, and cases do without it then.
    Privileged,
    /// Whatever becomes of it: the case that asks for the pod looks for itself.
    Unchecked,
}

/// What a template is, and so who makes its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateKind {
    /// The manifest of a pod, with other objects after it that the pod needs.
    Pod,
    /// A devfile, from which the DevWorkspace Operator makes the pod of a workspace.
    DevWorkspace,
}

/// Whether a pod runs the entrypoint of its image. Images such as the Universal Developer Image set up
/// the user's name, its subordinate ids and podman's storage there (devfile/developer-images,
/// `base/ubi9/entrypoint.sh`), and the DevWorkspace Operator runs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntryPoint {
    /// The image's entrypoint runs first, and starts the probe.
    #[default]
    Image,
    /// The probe is started in its place.
    Skip,
}

impl FromStr for EntryPoint {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "image" => Ok(Self::Image),
            "skip" => Ok(Self::Skip),
            _ => Err("expected `image` or `skip`".to_owned()),
        }
    }
}

/// The variable by which the DevWorkspace Operator tells an image that its pod has a user namespace.
const HOST_USERS: &str = "HOST_USERS";

/// A pod that cases share.
#[derive(Clone, Copy, Debug)]
pub struct PodTemplate {
    /// The pod's name.
    pub name: &'static str,
    /// The manifest's file, for errors.
    pub file: &'static str,
    /// The manifest's text.
    pub manifest: &'static str,
    /// What the manifest is.
    pub kind: TemplateKind,
    /// How the pod is kept apart.
    pub isolation: Isolation,
    /// Whether the pod gets /dev/fuse and /dev/net/tun, where the cluster offers a way.
    pub devices: bool,
    /// Whether cases share one pod. Of another template each case makes pods of its own.
    pub shared: bool,
}

/// What a template is made into a pod with.
#[derive(Clone, Debug)]
pub struct RenderContext<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The run's id, for the labels.
    pub run: &'a str,
    /// The image of its containers.
    pub image: &'a str,
    /// How pods get devices here.
    pub device_route: Option<&'a DeviceRoute>,
    /// The files of the volume `nestcheck`: key and path.
    pub files: &'a [(String, String)],
    /// The name of the SCC that pods ask for, where the cluster admits pods so.
    pub scc: Option<&'a str>,
    /// Whether containers run the entrypoint of the image.
    pub entry_point: EntryPoint,
    /// Where the pod goes, and what it asks for.
    pub placement: &'a Placement,
}

/// The volume, ConfigMap and mount that bring the probe and the fixtures into a pod.
pub const FILES_VOLUME: &str = "nestcheck";

/// The label that carries the template's name, for pods that want to be near another.
pub(crate) const TEMPLATE_LABEL: &str = "nestcheck/template";

/// The annotations by which a pod asks CRI-O for devices: both names, for which of them a node
/// honours can't be read. The name that a node does not know or allow does no harm on a pod.
pub fn ask_for_devices(paths: &str) -> impl Iterator<Item = (String, String)> + use<> {
    let paths = paths.to_owned();
    DEVICE_ANNOTATIONS.into_iter().map(move |name| (name.to_owned(), paths.clone()))
}

/// The annotation by which a pod asks for an SCC (openshift/api, `security/v1`,
/// `RequiredSCCAnnotation`).
pub const REQUIRED_SCC: &str = "openshift.io/required-scc";

/// The annotation that says which SCC admitted a pod (openshift/api, `security/v1`,
/// `ValidatedSCCAnnotation`).
pub const ADMITTED_BY: &str = "openshift.io/scc";

/// The SCC that every user may use on OpenShift since 4.11: enough for a control that asks for
/// nothing.
const COMMON_SCC: &str = "restricted-v2";

/// The SCC that allows everything (cluster-kube-apiserver-operator,
/// `bindata/bootkube/scc-manifests`); only who administers the cluster may use it.
pub const PRIVILEGED_SCC: &str = "privileged";

impl PodTemplate {
    /// Whether the DevWorkspace Operator makes the pod.
    #[must_use]
    pub fn is_workspace(&self) -> bool {
        self.kind == TemplateKind::DevWorkspace
    }

    /// Whether cases can do without the pod: they look for themselves whether there is one.
    #[must_use]
    pub fn is_optional(&self) -> bool {
        self.isolation == Isolation::Privileged
    }

    /// Whether pods of this template run the image's entrypoint: those that stand for a workspace do.
    /// The tools of a privileged pod are the probe's and the image's, with nothing to set up.
    #[must_use]
    pub fn entry_point(&self, chosen: EntryPoint) -> EntryPoint {
        if self.is_optional() { EntryPoint::Skip } else { chosen }
    }

    /// The names of the template's own containers, the one for commands first; none where the
    /// manifest can't be read. A stored pod may have others, which somebody added on its way.
    #[must_use]
    pub fn own_containers(&self) -> Vec<String> {
        match self.kind {
            TemplateKind::Pod => {
                let pod =
                    manifest::parse_first::<Pod>(self.file, self.manifest).unwrap_or_default();
                pod.spec.into_iter().flat_map(|spec| spec.containers).map(|it| it.name).collect()
            }
            TemplateKind::DevWorkspace => {
                let spec: Value = manifest::parse(self.file, self.manifest).unwrap_or_default();
                let components = spec.pointer("/components").and_then(Value::as_array);
                let components = components.into_iter().flatten();
                let of_containers = components.filter(|it| it.get("container").is_some());
                of_containers.filter_map(|it| Some(it.get("name")?.as_str()?.to_owned())).collect()
            }
        }
    }

    /// The container of a stored pod in which commands run: the template's own, wherever it is in
    /// the list, or the first one.
    #[must_use]
    pub fn container_of<'a>(&self, pod: &'a Pod) -> Option<&'a Container> {
        let containers = &pod.spec.as_ref()?.containers;
        let own = self.own_containers();
        let ours = own.first().and_then(|name| containers.iter().find(|it| it.name == *name));
        ours.or_else(|| containers.first())
    }

    /// The image that the node runs in that container, as the container runtime names it.
    #[must_use]
    pub fn image_id_of(&self, pod: &Pod) -> Option<String> {
        let own = &self.container_of(pod)?.name;
        let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
        let status = statuses.iter().find(|status| status.name == *own)?;
        Some(status.image_id.clone()).filter(|id| !id.is_empty())
    }

    /// The SCC that a pod of this template asks for, where there are any. `nested` is the one that
    /// requires a user namespace, so the controls without one need others.
    #[must_use]
    pub fn scc<'a>(&self, nested: &'a str) -> &'a str {
        match self.isolation {
            Isolation::Nested | Isolation::UserNamespace | Isolation::Unchecked => nested,
            Isolation::HostUsers => COMMON_SCC,
            Isolation::Privileged => PRIVILEGED_SCC,
        }
    }

    /// The pod of this template.
    ///
    /// # Errors
    ///
    /// A manifest that is not a pod, with file, line and field.
    pub fn pod(&self, render: &RenderContext<'_>) -> Result<Pod> {
        let mut pod: Pod = manifest::parse_first(self.file, self.manifest)?;
        let mut labels = sandbox::labels(render.run);
        labels.insert(TEMPLATE_LABEL.to_owned(), self.name.to_owned());
        pod.metadata.merge_from(ObjectMeta {
            name: Some(self.name.to_owned()),
            namespace: Some(render.namespace.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        });
        let spec = pod.spec.as_mut().ok_or_else(|| {
            Error::usage(format!("failed to read manifest `{}`: no field `spec`", self.file))
        })?;
        spec.service_account_name = Some(sandbox::USER.to_owned());
        let has_user_namespace = spec.host_users == Some(false);
        let entry_point = self.entry_point(render.entry_point);
        for container in &mut spec.containers {
            container.image = Some(render.image.to_owned());
            if has_user_namespace {
                let variable = EnvVar {
                    name: HOST_USERS.to_owned(),
                    value: Some("false".to_owned()),
                    ..EnvVar::default()
                };
                container.env.get_or_insert_default().push(variable);
            }
            if entry_point == EntryPoint::Image {
                container.args = container.command.take();
            }
        }
        render.placement.apply(spec);
        for volume in spec.volumes.iter_mut().flatten() {
            if volume.name == FILES_VOLUME {
                volume.config_map = Some(files_volume(render.files));
            }
        }
        if let Some(nested) = render.scc {
            constrain(&mut pod, self.scc(nested));
        }
        self.add_devices(&mut pod, render.device_route);
        Ok(pod)
    }

    /// The objects that the pod needs beside it, which the manifest has after the pod itself.
    ///
    /// # Errors
    ///
    /// A document that is not an object, with file, line and field.
    pub fn supporting_objects(&self, render: &RenderContext<'_>) -> Result<Vec<DynamicObject>> {
        let mut objects: Vec<DynamicObject> = manifest::parse_rest(self.file, self.manifest)?;
        for object in &mut objects {
            object.metadata.namespace = Some(render.namespace.to_owned());
            object.metadata.labels = Some(sandbox::labels(render.run));
        }
        Ok(objects)
    }

    fn add_devices(&self, pod: &mut Pod, route: Option<&DeviceRoute>) {
        if self.devices {
            match route {
                Some(DeviceRoute::RuntimeClass(name)) => {
                    pod.spec.get_or_insert_default().runtime_class_name = Some(name.clone());
                }
                Some(DeviceRoute::Annotation) => {
                    let annotations = pod.metadata.annotations.get_or_insert_default();
                    annotations.extend(ask_for_devices(&devices_value()));
                }
                Some(DeviceRoute::Cdi(names)) => {
                    let annotations = pod.metadata.annotations.get_or_insert_default();
                    annotations.insert(CDI_ANNOTATION.to_owned(), names.clone());
                }
                Some(DeviceRoute::Resource(names)) => {
                    for container in &mut pod.spec.get_or_insert_default().containers {
                        let resources = container.resources.get_or_insert_default();
                        let limits = resources.limits.get_or_insert_default();
                        let one = || Quantity("1".to_owned());
                        limits.extend(names.split(',').map(|name| (name.to_owned(), one())));
                    }
                }
                None => {}
            }
        }
    }
}

/// Makes a pod ask for an SCC, and leaves to the SCC what it decides.
fn constrain(pod: &mut Pod, scc: &str) {
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(REQUIRED_SCC.to_owned(), scc.to_owned());
    let Some(spec) = &mut pod.spec else { return };
    // An SCC that lists no profiles admits no pod that names one; CRI-O needs neither.
    if let Some(context) = &mut spec.security_context {
        context.seccomp_profile = None;
        context.app_armor_profile = None;
    }
    if scc == COMMON_SCC {
        // Its users come from a range of the namespace's own.
        for context in spec.containers.iter_mut().filter_map(|c| c.security_context.as_mut()) {
            context.run_as_user = None;
            context.run_as_group = None;
        }
    }
}

fn files_volume(files: &[(String, String)]) -> ConfigMapVolumeSource {
    let items = files.iter().map(|(key, path)| KeyToPath {
        key: key.clone(),
        path: path.clone(),
        ..KeyToPath::default()
    });
    ConfigMapVolumeSource {
        name: FILES_VOLUME.to_owned(),
        // Readable and executable by any user, whatever owner the mapping gives the files.
        default_mode: Some(0o555),
        items: Some(items.collect()),
        ..ConfigMapVolumeSource::default()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodSpec;

    use super::*;

    const TEMPLATE: PodTemplate = PodTemplate {
        name: "workspace",
        file: "pods/test.yaml",
        manifest: "apiVersion: v1\nkind: Pod\nspec:\n  hostUsers: false\n  containers:\n  - name: \
                   tools\n    image: workspace\n  volumes: [{name: nestcheck}]\n",
        kind: TemplateKind::Pod,
        isolation: Isolation::Nested,
        devices: true,
        shared: true,
    };

    const RENDER: RenderContext<'static> = RenderContext {
        namespace: "ns",
        run: "abc",
        image: "localhost/workspace:1",
        device_route: None,
        files: &[],
        scc: None,
        entry_point: EntryPoint::Image,
        placement: &Placement::NONE,
    };

    fn pod(route: Option<&DeviceRoute>) -> Pod {
        let files = &[("probe".into(), "probe".into())];
        let render = RenderContext { device_route: route, files, ..RENDER };
        TEMPLATE.pod(&render).expect("the manifest is good")
    }

    #[test]
    fn a_pod_asks_for_the_scc_and_leaves_the_profiles_to_it() {
        let text = format!(
            "{}  securityContext: {{seccompProfile: {{type: Unconfined}}}}\n",
            TEMPLATE.manifest
        );
        let manifest: &'static str = text.leak();
        let admitted = |isolation| {
            let render = RenderContext { scc: Some("nestcheck-abc"), ..RENDER };
            let template = PodTemplate { manifest, isolation, ..TEMPLATE };
            template.pod(&render).expect("the manifest is good")
        };
        let nested = admitted(Isolation::Nested);
        let annotations = nested.metadata.annotations.unwrap_or_default();
        assert_eq!(annotations[REQUIRED_SCC], "nestcheck-abc");
        let context = nested.spec.and_then(|spec| spec.security_context).unwrap_or_default();
        assert_eq!(context.seccomp_profile, None);
        let control = admitted(Isolation::HostUsers).metadata.annotations.unwrap_or_default();
        assert_eq!(control[REQUIRED_SCC], "restricted-v2");
        let powerful = admitted(Isolation::Privileged).metadata.annotations.unwrap_or_default();
        assert_eq!(powerful[REQUIRED_SCC], "privileged");
    }

    #[test]
    fn a_pod_runs_the_images_entrypoint_unless_it_is_skipped() {
        let text = TEMPLATE.manifest.replace(
            "    image: workspace\n",
            "    image: workspace\n    command: [/nestcheck/probe, pause]\n",
        );
        let manifest: &'static str = text.leak();
        let container = |isolation, entry_point| {
            let render = RenderContext { entry_point, ..RENDER };
            let template = PodTemplate { manifest, isolation, ..TEMPLATE };
            let pod = template.pod(&render).expect("the manifest is good");
            pod.spec.unwrap_or_default().containers.remove(0)
        };
        let probe = Some(vec!["/nestcheck/probe".to_owned(), "pause".to_owned()]);
        let workspace = container(Isolation::Nested, EntryPoint::Image);
        assert_eq!((workspace.command, workspace.args), (None, probe.clone()));
        let variables: Vec<_> = workspace.env.unwrap_or_default();
        assert!(
            variables.iter().any(|v| v.name == "HOST_USERS" && v.value.as_deref() == Some("false"))
        );
        for (isolation, chosen) in [
            (Isolation::Nested, EntryPoint::Skip),
            // Its program is started in place of whatever the image does.
            (Isolation::Privileged, EntryPoint::Image),
        ] {
            let skipped = container(isolation, chosen);
            assert_eq!((skipped.command, skipped.args), (probe.clone(), None));
        }
    }

    #[test]
    fn devices_come_by_the_way_that_the_cluster_offers() {
        let class = DeviceRoute::RuntimeClass("nested".into());
        let spec = pod(Some(&class)).spec.unwrap_or_default();
        assert_eq!(spec.runtime_class_name.as_deref(), Some("nested"));
        let annotations = pod(Some(&DeviceRoute::Annotation)).metadata.annotations;
        let annotations = annotations.unwrap_or_default();
        for name in ["io.kubernetes.cri-o.Devices", "devices.crio.io"] {
            assert_eq!(annotations[name], "/dev/fuse,/dev/net/tun");
        }
        let cdi = DeviceRoute::Cdi("example.com/nested=all".into());
        let annotations = pod(Some(&cdi)).metadata.annotations.unwrap_or_default();
        assert_eq!(annotations["cdi.k8s.io/nestcheck"], "example.com/nested=all");
        let resources = DeviceRoute::Resource("example.com/fuse,example.com/tun".into());
        let container = pod(Some(&resources)).spec.unwrap_or_default().containers.remove(0);
        let limits = container.resources.and_then(|it| it.limits).unwrap_or_default();
        let asked: Vec<_> = limits.iter().map(|(name, count)| (&**name, &*count.0)).collect();
        assert_eq!(asked, [("example.com/fuse", "1"), ("example.com/tun", "1")]);
        let bare = pod(None);
        assert_eq!(bare.metadata.annotations, None);
        assert_eq!(bare.spec.unwrap_or_default().runtime_class_name, None);
    }

    #[test]
    fn the_own_container_is_found_wherever_it_is_in_the_list() {
        assert_eq!(TEMPLATE.own_containers(), ["tools"]);
        let devfile = "components:\n- {name: home, volume: {}}\n- {name: ide, container: {image: \
                       x}}\n";
        let workspace =
            PodTemplate { kind: TemplateKind::DevWorkspace, manifest: devfile, ..TEMPLATE };
        assert_eq!(workspace.own_containers(), ["ide"]);
        let stored = |names: &[&str]| {
            let containers = names
                .iter()
                .map(|name| Container { name: (*name).to_owned(), ..Container::default() });
            let spec = PodSpec { containers: containers.collect(), ..PodSpec::default() };
            Pod { spec: Some(spec), ..Pod::default() }
        };
        let name = |pod: &Pod| TEMPLATE.container_of(pod).map(|it| it.name.clone());
        assert_eq!(name(&stored(&["proxy", "tools"])).as_deref(), Some("tools"));
        assert_eq!(name(&stored(&["renamed"])).as_deref(), Some("renamed"));
        assert_eq!(name(&Pod::default()), None);
    }

    #[test]
    fn what_follows_the_pod_is_its_supporting_object() {
        let text = format!(
            "{}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n",
            TEMPLATE.manifest
        );
        let template = PodTemplate { manifest: text.leak(), ..TEMPLATE };
        assert!(template.pod(&RENDER).is_ok());
        let supporting_objects =
            template.supporting_objects(&RENDER).expect("the manifest is good");
        let [secret] = &supporting_objects[..] else { panic!("{supporting_objects:?}") };
        assert_eq!(secret.metadata.namespace.as_deref(), Some("ns"));
        let labels = secret.metadata.labels.clone().unwrap_or_default();
        assert_eq!(labels["nestcheck/run"], "abc");
    }

    #[test]
    fn a_pod_carries_the_runs_labels_image_and_files() {
        let pod = pod(None);
        assert_eq!(pod.metadata.labels.unwrap_or_default()["nestcheck/run"], "abc");
        let spec = pod.spec.unwrap_or_default();
        assert_eq!(spec.containers[0].image.as_deref(), Some("localhost/workspace:1"));
        let volumes = spec.volumes.unwrap_or_default();
        let items = volumes[0].config_map.clone().and_then(|map| map.items).unwrap_or_default();
        assert_eq!(items[0].path, "probe");
    }
}
