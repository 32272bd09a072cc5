//! Makes the calls of a run again, on OpenShift.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use fixtures::{MASKED_PROC, WORKSPACE};
use harness::{
    cluster::status_code,
    sandbox::{GRANT, STRANGER},
    shape::{CRIO_DEVICES, REQUIRED_CONSTRAINT},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    authorization::v1::SelfSubjectAccessReview,
    core::v1::{Pod, PodSecurityContext, SeccompProfile},
    rbac::v1::RoleBinding,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
    runtime::wait::await_condition,
};

use crate::{
    Result,
    calls::{Call, DryRun, Who},
    cluster::Flavour,
    grounds::{Grounds, granted, until},
    objects,
    raw::{Raw, is_ready},
    replay::ReadyPod,
};

/// Where calls are made again.
pub(crate) struct Scene<'a> {
    pub(crate) raw: &'a Raw,
    pub(crate) grounds: &'a Grounds,
    pub(crate) pods: &'a BTreeMap<&'static str, ReadyPod>,
    /// The name of the namespace of the run that is replayed.
    pub(crate) original: &'a str,
    /// The answers with another status than the run's.
    pub(crate) differing: &'a Mutex<Vec<String>>,
}

impl Scene<'_> {
    pub(crate) async fn play(&self, lane: &str, call: &Call) -> Result<()> {
        match call {
            Call::DryRun(call) => Box::pin(self.dry_run(lane, call)).await,
            Call::Replace { pod } => self.replace(lane, pod).await,
            Call::Review => {
                let home = self.raw.namespace();
                let reviews: Api<SelfSubjectAccessReview> = Api::all(self.grounds.user().clone());
                reviews.create(&PostParams::default(), &objects::review(home, home)).await?;
                Ok(())
            }
            Call::Read { uri, who } => {
                let uri = uri.replace(self.original, self.raw.namespace());
                let client = self.grounds.client(*who).await?;
                // A refusal is an answer too: what the case asks for may be forbidden or not served.
                answer(client.request_text(http::Request::get(uri).body(Vec::new())?).await)?;
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
            Call::Pod { name } => self.pod(name).await,
        }
    }

    /// Waits for the pods of the commands: beside another one they would be ready later.
    async fn pods_are_ready(&self) -> Result<()> {
        for pod in self.pods.values() {
            pod.clone().await?;
        }
        Ok(())
    }

    fn workspace(&self) -> Result<Pod> {
        objects::pod(&WORKSPACE, Flavour::OpenShift, self.raw.namespace())
    }

    /// A pod that every level of Pod Security accepts.
    fn hardened(&self) -> Result<Pod> {
        let mut pod = objects::pod(&MASKED_PROC, Flavour::OpenShift, self.raw.namespace())?;
        let spec = pod.spec.get_or_insert_default();
        let profile =
            SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None };
        spec.security_context = Some(PodSecurityContext {
            seccomp_profile: Some(profile),
            ..PodSecurityContext::default()
        });
        for container in &mut spec.containers {
            let context = container.security_context.get_or_insert_default();
            context.run_as_non_root = Some(true);
        }
        Ok(pod)
    }

    fn compare(&self, lane: &str, expected: u16, observed: u16) {
        if observed != expected {
            let differing = format!("{lane}: {expected}, {observed}");
            self.differing.lock().unwrap_or_else(PoisonError::into_inner).push(differing);
        }
    }

    async fn dry_run(&self, lane: &str, call: &DryRun) -> Result<()> {
        let DryRun { suffix, who, code, patient } = call;
        let (who, code, patient) = (*who, *code, *patient);
        let namespace = self.grounds.namespace(suffix).await?;
        let pods: Api<Pod> = Api::namespaced(self.grounds.client(who).await?.clone(), &namespace);
        // As the administrator, nestcheck looks past its SCC to Pod Security.
        let is_hardened = who == Who::Administrator && code == 201;
        let mut pod = if is_hardened { self.hardened()? } else { self.workspace()? };
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
        // Past its SCC, nestcheck looks with one that refuses nothing.
        if code == 422 || is_hardened {
            let annotations = pod.metadata.annotations.get_or_insert_default();
            annotations.insert(REQUIRED_CONSTRAINT.to_owned(), "privileged".to_owned());
        }
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let (params, pod) = (&params, &pod);
        let create = || pods.create(params, pod);
        let given = if patient {
            until(create, kube::Result::is_err).await
        } else if code == 201 {
            granted(self.raw.namespace(), create).await
        } else {
            create().await
        };
        self.compare(lane, code, answer(given)?);
        Ok(())
    }

    async fn replace(&self, lane: &str, name: &str) -> Result<()> {
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
        self.compare(lane, 422, answer(pods.replace(name, &params, &pod).await)?);
        Ok(())
    }

    async fn deploy(&self) -> Result<()> {
        self.pods_are_ready().await?;
        let (name, home) = ("deployed-workspace", self.raw.namespace());
        let user = self.grounds.user();
        let deployments: Api<Deployment> = Api::namespaced(user.clone(), home);
        let (params, deployment) =
            (PostParams::default(), objects::deployment(name, self.workspace()?));
        granted(home, || deployments.create(&params, &deployment)).await?;
        await_condition(deployments, name, is_available).await?;
        let pods: Api<Pod> = Api::namespaced(user.clone(), home);
        pods.list(&ListParams::default().labels(&format!("bench/deployment={name}"))).await?;
        Ok(())
    }

    /// A workspace of another name; the log does not tell what else is different.
    async fn pod(&self, name: &str) -> Result<()> {
        self.pods_are_ready().await?;
        let mut pod = self.workspace()?;
        pod.metadata.name = Some(name.to_owned());
        // ISO-06 asks for a device that nobody may have.
        if name == "forbidden-device" {
            let annotations = pod.metadata.annotations.get_or_insert_default();
            annotations.insert(CRIO_DEVICES.to_owned(), "/dev/kmsg".to_owned());
        }
        self.raw.pod_until(&pod, |pod| is_ready(pod) || is_stuck(pod)).await?;
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
