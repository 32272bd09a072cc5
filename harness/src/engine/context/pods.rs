//! The pods of a case.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{BoxFuture, Shared};
use k8s_openapi::api::core::v1::Pod;
use kube::core::ApiResource;

use super::{Context, PodHandle};
use crate::{
    diagnosis::Absence,
    engine::deadline::DeadlinePause,
    facts::requirement::Devices,
    sandbox::pod_template::{PodTemplate, TEMPLATE_LABEL},
    verdict::Failure,
    workload,
    workload::Workload,
};

/// A pod that is being made; every case that waits for it gets the same one.
pub type SharedWorkload = Shared<BoxFuture<'static, Result<Arc<Workload>, Failure>>>;

/// The pods that a case made for itself, for whoever looks at them when it fails. A lock, because the
/// case and its executor both have it; held to add or take a pod.
#[derive(Clone, Default)]
pub(crate) struct PodsOfCase(Arc<Mutex<Vec<OwnPod>>>);

/// A pod that a case made for itself.
struct OwnPod {
    name: String,
    /// Its node, once it was ready.
    node: Option<String>,
}

/// The other objects that a case made in the run's namespace, by kind and name. A lock, as
/// [`PodsOfCase`] has.
#[derive(Clone, Default)]
pub(crate) struct ObjectsOfCase(Arc<Mutex<Vec<(ApiResource, String)>>>);

impl ObjectsOfCase {
    pub(super) fn add(&self, resource: ApiResource, name: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((resource, name));
    }

    /// Hands all of them over.
    pub(crate) fn take(&self) -> Vec<(ApiResource, String)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PodsOfCase {
    fn add(&self, pod: &Pod) {
        let Some(name) = pod.metadata.name.clone() else { return };
        let mut pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A pod that takes the place of another one may be on another node.
        pods.retain(|known| known.name != name);
        pods.push(OwnPod { name, node: None });
    }

    fn is_ready(&self, workload: &Workload) {
        let name = workload.name();
        let mut pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for pod in pods.iter_mut().filter(|pod| pod.name == name) {
            pod.node = workload.node().map(str::to_owned);
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pods.iter().map(|pod| pod.name.clone()).collect()
    }

    /// The node of each of these pods; none where it is not known.
    pub(crate) fn nodes(&self) -> Vec<Option<String>> {
        let pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pods.iter().map(|pod| pod.node.clone()).collect()
    }
}

impl Context {
    /// The pod of a template, ready and proven, or of its stand-in ([`crate::engine::Case::stand_ins`]). Cases that
    /// ask for the same template share it.
    ///
    /// # Errors
    ///
    /// Why there is no such pod, or that it lacks the devices that the case needs.
    pub async fn pod(&self, template: &PodTemplate) -> Result<PodHandle, Failure> {
        let shared =
            self.workloads.get(self.case.given(template.name)).cloned().ok_or_else(|| {
                Failure::harness(format!(
                    "{} asks for the pod `{}`, which its registry entry does not list",
                    self.case.id, template.name
                ))
            })?;
        self.hand_out(shared.await?)
    }

    /// A pod of this case's own, changed from a template's, ready and proven.
    ///
    /// # Errors
    ///
    /// Why there is no such pod.
    pub async fn provision_pod(
        &self,
        template: &PodTemplate,
        pod: &Pod,
    ) -> Result<PodHandle, Failure> {
        let mut pod = pod.clone();
        self.sandbox.adopt(&mut pod);
        self.pods.add(&pod);
        let template = self.listed(template);
        let provision = Box::pin(workload::provision_pod(&self.sandbox, template, &pod));
        let workload = self.outside_deadline(provision).await?;
        self.pods.is_ready(&workload);
        self.hand_out(Arc::new(workload))
    }

    /// The template of this name that the case's registry entry lists, which may have been changed from
    /// the one that the case knows.
    fn listed<'a>(&self, template: &'a PodTemplate) -> &'a PodTemplate {
        self.case
            .pods
            .iter()
            .copied()
            .find(|listed| listed.name == template.name)
            .unwrap_or(template)
    }

    /// A pod of the run's namespace that somebody else created, ready and proven to be of a template.
    ///
    /// # Errors
    ///
    /// It never gets ready, or is not what the template promises.
    pub async fn verify_ready(
        &self,
        template: &PodTemplate,
        pod: &Pod,
    ) -> Result<PodHandle, Failure> {
        self.pods.add(pod);
        let verify_ready = Box::pin(workload::verify_ready(&self.sandbox, template, pod));
        let workload = self.outside_deadline(verify_ready).await?;
        self.pods.is_ready(&workload);
        self.hand_out(Arc::new(workload))
    }

    /// Waits for what the cluster makes for this case alone, by a deadline of its own: the case's does
    /// not go on meanwhile. How soon a cluster pulls an image is not what cases are about.
    pub async fn outside_deadline<T>(&self, wait: impl Future<Output = T>) -> T {
        let _paused = DeadlinePause::begin(&self.pauses);
        wait.await
    }

    /// Gives a pod to the case, unless the case needs devices that the pod asked for and lacks: what
    /// would fail then has one cause, which ISO-04 reports as a failure.
    fn hand_out(&self, workload: Arc<Workload>) -> Result<PodHandle, Failure> {
        for check in &workload.truth {
            self.recorder.record(check.clone());
        }
        let absence = self.absence(&workload);
        let pod = PodHandle {
            workload,
            recorder: self.recorder.clone(),
            pauses: self.pauses.clone(),
            commands: self.commands.clone(),
            health: self.health.clone(),
            absence,
        };
        if self.case.needs::<Devices>() {
            pod.has_devices()?;
        }
        Ok(pod)
    }

    /// What a pod lacks of the devices that it asked for.
    fn absence(&self, workload: &Workload) -> Option<Absence> {
        let route = self.sandbox.device_route();
        let mut nodes = self.facts.nodes.value().into_iter().flatten();
        let node = nodes.find(|node| Some(node.name.as_str()) == workload.node());
        let runtime = node.map(|node| node.runtime.as_str());
        Absence::of(&workload.pod, &workload.facts, route, runtime)
    }

    /// The pod of a template as it would be created, for a case to change, and to dry-run or create.
    /// It has a name and a label of its own: the template's name may be taken by a pod of the run, and
    /// pods that want to be near that one look for its label.
    ///
    /// # Errors
    ///
    /// A manifest that is not a pod.
    pub fn manifest(&self, template: &PodTemplate) -> Result<Pod, Failure> {
        Ok(self.renamed(self.sandbox.pod(self.listed(template))?, template))
    }

    /// As [`Self::manifest`], with the probe for this node, whose architecture may not be that of the run.
    ///
    /// # Errors
    ///
    /// A manifest that is not a pod.
    pub fn manifest_for_node(&self, template: &PodTemplate, node: &str) -> Result<Pod, Failure> {
        let pod = self.sandbox.pod_for_node(self.listed(template), node)?;
        Ok(self.renamed(pod, template))
    }

    fn renamed(&self, mut pod: Pod, template: &PodTemplate) -> Pod {
        let id = self.case.object_name();
        pod.metadata.name = Some(self.sandbox.name_of(&format!("dry-run-{id}")));
        let labels = pod.metadata.labels.get_or_insert_default();
        labels.insert(TEMPLATE_LABEL.to_owned(), format!("{}-of-{id}", template.name));
        pod
    }
}
