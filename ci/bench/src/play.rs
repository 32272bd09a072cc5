//! Makes the calls of a run again, on OpenShift.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use fixtures::WORKSPACE;
use harness::{
    cluster::status_code,
    sandbox::{GRANT, STRANGER},
    shape::CRIO_DEVICES,
};
use k8s_openapi::api::{
    apps::v1::Deployment, authorization::v1::SelfSubjectAccessReview, core::v1::Pod,
    rbac::v1::RoleBinding,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
    runtime::wait::await_condition,
};

use crate::{
    Result,
    calls::{Call, Who},
    cluster::Flavour,
    grounds::{Grounds, granted, until},
    objects,
    raw::Raw,
    replay::ReadyPod,
};

/// Where calls are made again.
pub(crate) struct Scene<'a> {
    pub(crate) raw: &'a Raw,
    pub(crate) grounds: &'a Grounds,
    pub(crate) pods: &'a BTreeMap<&'static str, ReadyPod>,
    /// The name of the namespace of the run that is replayed.
    pub(crate) original: &'a str,
    /// How many answers had another status than the run's.
    pub(crate) differing: &'a AtomicUsize,
}

impl Scene<'_> {
    pub(crate) async fn play(&self, call: &Call) -> Result<()> {
        match call {
            Call::DryRun { suffix, who, code, patient } => {
                self.dry_run(suffix, *who, *code, *patient).await
            }
            Call::Replace { pod } => self.replace(pod).await,
            Call::Review => {
                let home = self.raw.namespace();
                let reviews: Api<SelfSubjectAccessReview> = Api::all(self.grounds.user().clone());
                reviews.create(&PostParams::default(), &objects::review(home, home)).await?;
                Ok(())
            }
            Call::Read { uri, who } => {
                let uri = uri.replace(self.original, self.raw.namespace());
                let client = self.grounds.client(*who).await?;
                client.request_text(http::Request::get(uri).body(Vec::new())?).await?;
                Ok(())
            }
            Call::Ungrant { suffix } => {
                let admin = self.grounds.client(Who::Administrator).await?;
                let namespace = self.grounds.namespace(suffix).await?;
                let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), &namespace);
                bindings.delete(GRANT, &DeleteParams::default()).await?;
                Ok(())
            }
            Call::Deploy => self.deploy().await,
            Call::Misfit => self.misfit().await,
        }
    }

    fn workspace(&self) -> Result<Pod> {
        objects::pod(&WORKSPACE, Flavour::OpenShift, self.raw.namespace())
    }

    fn compare(&self, expected: u16, observed: u16) {
        if observed != expected {
            self.differing.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn dry_run(&self, suffix: &str, who: Who, code: u16, patient: bool) -> Result<()> {
        let namespace = self.grounds.namespace(suffix).await?;
        let pods: Api<Pod> = Api::namespaced(self.grounds.client(who).await?.clone(), &namespace);
        let mut pod = self.workspace()?;
        pod.metadata.name = Some("dry-run".to_owned());
        let spec = pod.spec.get_or_insert_default();
        if who == Who::Stranger {
            spec.service_account_name = Some(STRANGER.to_owned());
        }
        // The SCC refuses a pod that is silent on its user namespace, and the API server one that
        // is so and wants /proc unmasked.
        if code != 201 && !patient {
            spec.host_users = None;
            for container in &mut spec.containers {
                if code == 403 {
                    container.security_context.get_or_insert_default().proc_mount = None;
                }
            }
        }
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let (params, pod) = (&params, &pod);
        let ask = || async { answer(pods.create(params, pod).await) };
        let fits = |seen: &Result<u16>| match seen {
            Ok(403) if code == 201 => false,
            Ok(201) if patient => false,
            _ => true,
        };
        self.compare(code, until(ask, fits).await?);
        Ok(())
    }

    async fn replace(&self, name: &str) -> Result<()> {
        let ready = self.pods.get(name).ok_or("a pod of no known shape")?;
        let mut pod = Pod::clone(&*ready.clone().await?);
        let spec = pod.spec.get_or_insert_default();
        if spec.host_users == Some(false) {
            for container in &mut spec.containers {
                let context = container.security_context.get_or_insert_default();
                context.proc_mount = Some("Default".to_owned());
            }
        } else {
            spec.host_users = Some(false);
        }
        let pods: Api<Pod> = Api::namespaced(self.grounds.user().clone(), self.raw.namespace());
        let params = PostParams { dry_run: true, ..PostParams::default() };
        self.compare(422, answer(pods.replace(name, &params, &pod).await)?);
        Ok(())
    }

    async fn deploy(&self) -> Result<()> {
        let (name, home) = ("deployed-workspace", self.raw.namespace());
        let user = self.grounds.user();
        let deployments: Api<Deployment> = Api::namespaced(user.clone(), home);
        let (params, deployment) =
            (PostParams::default(), objects::deployment(name, self.workspace()?));
        granted(|| deployments.create(&params, &deployment)).await?;
        await_condition(deployments, name, is_available).await?;
        let pods: Api<Pod> = Api::namespaced(user.clone(), home);
        pods.list(&ListParams::default().labels(&format!("bench/deployment={name}"))).await?;
        Ok(())
    }

    async fn misfit(&self) -> Result<()> {
        let mut pod = self.workspace()?;
        pod.metadata.name = Some("forbidden-device".to_owned());
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.insert(CRIO_DEVICES.to_owned(), "/dev/kmsg".to_owned());
        self.raw.pod_until(&pod, is_stuck).await?;
        Ok(())
    }
}

/// The status of an answer; a broken connection is an error.
fn answer<T>(answer: kube::Result<T>) -> Result<u16> {
    match answer {
        Ok(_) => Ok(201),
        Err(error) => status_code(&error).ok_or_else(|| error.into()),
    }
}

fn is_available(deployment: Option<&Deployment>) -> bool {
    let status = deployment.and_then(|deployment| deployment.status.as_ref());
    let conditions = status.and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| {
        conditions.iter().any(|condition| {
            condition.type_.as_deref() == Some("Available")
                && condition.status.as_deref() == Some("True")
        })
    })
}

/// Whether a container waits for anything but its turn.
fn is_stuck(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let reasons = statuses
        .into_iter()
        .flatten()
        .filter_map(|status| status.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
    reasons.into_iter().any(|reason| !matches!(reason, "ContainerCreating" | "PodInitializing"))
}
