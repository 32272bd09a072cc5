//! Pods: creation as the ordinary user, readiness by watch, commands inside, proof of isolation.

mod attempt;
pub mod cleanup;
mod command;
mod deletion;
pub(crate) mod disruption;
mod exec;
pub(crate) mod health;
pub(crate) mod heartbeat;
mod image_group;
pub mod machine;
pub mod mutation;
mod out_of_memory;
pub(crate) mod programs;
mod progress;
mod proof;
mod ready;
pub mod restricted;
mod start_failures;
pub mod truth;
pub mod workspace;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub use command::{COMMAND_DEADLINE, Command};
pub(crate) use deletion::{delete_pod, end_object, end_pod};
use exec::NoObserver;
pub use exec::{Observer, Output};
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::{
    Api, ResourceExt,
    api::DynamicObject,
    core::{ApiResource, GroupVersionKind},
};
use tokio::sync::OnceCell;

use self::{disruption::LOOK_DEADLINE, machine::Machine, truth::PodCheck};
use crate::{
    cluster::{Refusal, ask, call_within, describe, exec_error::Lost, retry},
    diagnosis,
    diagnosis::Symptom,
    sandbox::{
        Sandbox, Timeouts, create_or_find,
        pod_template::{Isolation, PodTemplate},
    },
    verdict::{Failure, event::TruthCheck},
};

/// How long the entrypoint of an image may take until it starts the pod's program.
const ENTRYPOINT_LIMIT: Duration = Duration::from_secs(60);

/// What to do about an entrypoint that does not start the pod's program.
const ENTRYPOINT_HINT: &str = "the entrypoint of an image must execute its arguments, as in \
     `exec \"$@\"`; `--entrypoint skip` starts pods without it";

/// The volume of templates that podman stores images and containers on.
const STORAGE_VOLUME: &str = "storage";

/// Where the files of nestcheck are in every pod, on a volume of the kubelet's.
pub(crate) const FILES_DIRECTORY: &str = "/nestcheck";

/// Where the probe is in every pod.
pub const PROBE: &str = "/nestcheck/probe";

/// A pod that is ready, and proven to be what its template promises.
#[derive(Debug)]
pub struct Workload {
    /// The pod as the server stores it, once it was ready.
    pub pod: Pod,
    /// What the probe found inside.
    pub facts: Arc<probe::Facts>,
    /// The proofs that the pod is what was asked for.
    pub truth: Vec<TruthCheck>,
    backend: Backend,
    /// The container in which commands run that name none.
    container: Option<String>,
    /// How long its commands may take and wait.
    timeouts: Timeouts,
    /// What cases prepared in the pod for all of them. A lock, because the cases of a pod find
    /// out only while they run which of them comes first; held for a look-up, never for the work.
    preparations: Mutex<BTreeMap<&'static str, Arc<OnceCell<String>>>>,
}

/// What runs the commands of a pod.
#[derive(Debug)]
enum Backend {
    /// The API, in a pod of the cluster.
    Pod(Api<Pod>),
    /// The machine of nestcheck itself, which stands in for the pod.
    Machine(Machine),
}

impl Workload {
    /// The preparation of this name, done or not.
    pub(crate) fn preparation(&self, name: &'static str) -> Arc<OnceCell<String>> {
        let mut preparations = self.preparations.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(preparations.entry(name).or_default())
    }

    /// The pod's name.
    #[must_use]
    pub fn name(&self) -> String {
        self.pod.name_any()
    }

    /// The pod's node, once it was scheduled.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        node_of(&self.pod)
    }

    /// Runs a command in the pod.
    ///
    /// # Errors
    ///
    /// A command that did not begin, whose end is not known, or that does not end in time. A command
    /// that needs a program which the image lacks is not run, and the case is blocked.
    pub async fn run(
        &self,
        command: &Command,
        observer: &impl Observer,
    ) -> Result<Output, Failure> {
        if let Some(blocked) = programs::block(command.arguments(), &self.facts) {
            return Err(blocked);
        }
        let limit = self.timeouts.disruption;
        let command = command.clone().or_in_container(self.container.as_deref());
        let command = command.slower(self.timeouts.factor);
        let output = match &self.backend {
            Backend::Pod(api) => exec::run(api, &self.pod, &command, limit, observer).await?,
            Backend::Machine(machine) => machine.run(&command, &self.pod).await?,
        };
        let own = command.container_in(&self.pod).unwrap_or_default();
        let blame = programs::blame(command.arguments(), &self.facts)
            .or_else(|| restricted::killed_process(&self.pod, own, &output))
            .map(Box::new);
        Ok(Output { facts: Some(Arc::clone(&self.facts)), blame, ..output })
    }

    /// Deletes the pod.
    pub(crate) async fn delete(&self) {
        if let Backend::Pod(api) = &self.backend {
            deletion::delete(api, &self.name()).await;
        }
    }

    /// Waits until the pod answers, and ends the commands of these nonces in it. A pod that is gone
    /// has ended them.
    ///
    /// # Errors
    ///
    /// It does not answer within `--disruption-timeout`.
    pub(crate) async fn verify(&self, nonces: &[String]) -> Result<(), Failure> {
        let Backend::Pod(api) = &self.backend else { return Ok(()) };
        let end: Vec<&str> = nonces.iter().map(String::as_str).collect();
        let arguments =
            if end.is_empty() { vec!["id"] } else { [&["end-exec"], &end[..]].concat() };
        let command = Command::new([&[PROBE], &arguments[..]].concat())
            .within(LOOK_DEADLINE)
            .or_in_container(self.container.as_deref());
        let is_away = |failure: &Failure| is_away(failure).then_some(Duration::ZERO);
        let ask = || run_in(api, &self.pod, &command);
        match retry::with_backoff(self.timeouts.disruption, is_away, ask).await {
            Err(failure) if self::is_away(&failure) => Err(failure),
            _ => Ok(()),
        }
    }
}

/// The node of a pod of the ordinary user's, if it is there and was scheduled.
pub(crate) async fn node_of_named(sandbox: &Sandbox, name: &str) -> Option<String> {
    let api: Api<Pod> = Api::namespaced(sandbox.user().clone(), sandbox.namespace());
    let pod = call_within(LOOK_DEADLINE, "look at the pod", || api.get_opt(name)).await;
    pod.ok().flatten().as_ref().and_then(node_of).map(str::to_owned)
}

/// The node that a pod runs on.
fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// Whether a pod did not answer at all. One that is gone, or a command that ends badly, is an
/// answer.
fn is_away(failure: &Failure) -> bool {
    match failure {
        Failure::Lost(loss) => loss.who != Lost::Pod,
        Failure::Timeout { .. } => true,
        _ => false,
    }
}

/// Runs a command in a pod that need not be proven to be anything. Its deadline counts twice: until it
/// begins, and until it ends.
pub(crate) async fn run_in(
    api: &Api<Pod>,
    pod: &Pod,
    command: &Command,
) -> Result<Output, Failure> {
    exec::run(api, pod, command, command.deadline(), &NoObserver).await
}

/// Creates a pod of a template as the ordinary user, waits until it is ready, and proves that it is
/// what was asked for.
///
/// # Errors
///
/// A failure of the product: the pod is refused, can't start for a reason that is the cluster's
/// doing, or is not what was asked for. A failure of the harness: the image is missing, no node
/// has room, the API broke.
pub async fn provision(
    sandbox: &Sandbox,
    template: &PodTemplate,
) -> Result<Arc<Workload>, Failure> {
    if template.is_workspace() {
        return Box::pin(workspace::provision(sandbox, template)).await.map(Arc::new);
    }
    provision_pod(sandbox, template, &sandbox.pod(template)?).await.map(Arc::new)
}

/// As [`provision`], with a pod that was changed from its template's.
///
/// # Errors
///
/// As [`provision`].
pub async fn provision_pod(
    sandbox: &Sandbox,
    template: &PodTemplate,
    pod: &Pod,
) -> Result<Workload, Failure> {
    for supporting_object in sandbox.supporting_objects(template)? {
        create_supporting_object(sandbox, &supporting_object).await?;
    }
    let api = api_of(sandbox, template);
    let created = match create(sandbox, &api, pod).await {
        // The pod that was refused may not be the pod that was sent.
        Err(failure @ Failure::Product { .. }) => {
            let explained = mutation::explain_refusal(sandbox, pod, failure.message()).await;
            return Err(match explained {
                Some(explanation) => explanation.added_to(failure),
                None => failure,
            });
        }
        created => created?,
    };
    let failure = match stored_truth(sandbox, template, &created) {
        Ok(_) => match verify_ready(sandbox, template, &created).await {
            Err(failure) if !mutation::added(pod, &created).is_empty() => failure,
            verified => return verified,
        },
        Err(failure) => failure,
    };
    // Only now it is of interest who did it.
    Err(match mutation::explain(sandbox, pod, &created).await {
        Some(explanation) => explanation.added_to(failure),
        None => failure,
    })
}

/// Waits until a pod that exists in the run's namespace is ready, and proves that it is what its
/// template promises.
///
/// # Errors
///
/// As [`provision`].
pub async fn verify_ready(
    sandbox: &Sandbox,
    template: &PodTemplate,
    created: &Pod,
) -> Result<Workload, Failure> {
    let (user, namespace) = (sandbox.user(), sandbox.namespace());
    let api = api_of(sandbox, template);
    let mut truth = stored_truth(sandbox, template, created)?;
    let own = template.own_containers();
    let timeouts = sandbox.timeouts();
    let ready = ready::await_ready(user, namespace, created, &own, timeouts.pod).await;
    let ready = ready.map_err(|failure| restricted::explain_start(created, failure))?;
    let container = template.container_of(&ready);
    let facts = probe_facts(&api, &ready, container, timeouts).await?;
    truth.extend(truth::of_inside(template, &facts));
    require(template, &truth)?;
    let truth = truth.into_iter().map(TruthCheck::from).collect();
    let container = container.map(|container| container.name.clone());
    Ok(Workload {
        pod: ready,
        facts: Arc::new(facts),
        truth,
        backend: Backend::Pod(api),
        container,
        timeouts,
        preparations: Mutex::default(),
    })
}

/// Who makes a template's pods and runs commands in them: the ordinary user. Where pods are admitted
/// by SCCs, that user may not use the one that a privileged pod needs, nor run commands in
/// such a pod (apiserver-library-go, `sccadmission/scc_exec.go`).
fn api_of(sandbox: &Sandbox, template: &PodTemplate) -> Api<Pod> {
    let by_admin = template.isolation == Isolation::Privileged && sandbox.scc().is_some();
    let client = if by_admin { sandbox.admin() } else { sandbox.user() };
    Api::namespaced(client.clone(), sandbox.namespace())
}

/// What the stored object must say. A pod that lost its isolation need not even start.
fn stored_truth(
    sandbox: &Sandbox,
    template: &PodTemplate,
    stored: &Pod,
) -> Result<Vec<PodCheck>, Failure> {
    let mut truth = truth::of_object(template, stored);
    if let Some(scc) = sandbox.scc() {
        truth.extend(truth::of_admission(template, stored, scc));
    }
    require(template, &truth)?;
    Ok(truth)
}

/// Creates what a pod needs beside it as the ordinary user.
pub(crate) async fn create_supporting_object(
    sandbox: &Sandbox,
    object: &DynamicObject,
) -> Result<(), Failure> {
    let resource = resource_of(object)?;
    let (user, namespace) = (sandbox.user(), sandbox.namespace());
    let api: Api<DynamicObject> = Api::namespaced_with(user.clone(), namespace, &resource);
    sandbox.ledger().intend(&resource.kind, Some(namespace), &object.name_any()).await?;
    let what = format!("create {} `{}`", resource.kind, object.name_any());
    let answer = ask(&what, || sandbox.as_granted(|| create_or_find(&api, object)));
    let Err(error) = answer.await? else { return Ok(()) };
    let restricted = match Refusal::from_error(&error) {
        Some(Refusal { message, .. }) => {
            let object = format!("the {} `{}`", resource.kind, object.name_any());
            restricted::explain_refusal(user, namespace, &object, &message).await
        }
        None => None,
    };
    Err(restricted.unwrap_or_else(|| describe(&what, &error).into()))
}

/// The kind of an object, as the API serves it.
///
/// # Errors
///
/// A text that names no kind.
pub(crate) fn resource_of(object: &DynamicObject) -> Result<ApiResource, Failure> {
    let types = object.types.clone().unwrap_or_default();
    let kind = GroupVersionKind::try_from(&types).map_err(|error| {
        Failure::harness(format!("`{}` is not an object: {error}", object.name_any()))
    })?;
    Ok(ApiResource::from_gvk(&kind))
}

async fn create(sandbox: &Sandbox, api: &Api<Pod>, pod: &Pod) -> Result<Pod, Failure> {
    let name = pod.name_any();
    sandbox.ledger().intend("Pod", api.namespace(), &name).await?;
    let what = format!("create pod `{name}`");
    let answer = ask(&what, || sandbox.as_granted(|| create_or_find(api, pod)));
    let error = match answer.await? {
        Ok(created) => return Ok(created),
        Err(error) => error,
    };
    // A refusal of the pod's content is the product's; anything else is not.
    Err(match Refusal::from_error(&error) {
        Some(Refusal { message, .. }) => {
            refused_pod(sandbox, api.namespace().unwrap_or_default(), &name, &message).await
        }
        None => Failure::from(describe(&what, &error)),
    })
}

/// The failure of a pod that is refused, which the message calls by this name: the product's, or that of
/// a quota or LimitRange of the namespace.
pub(crate) async fn refused_pod(
    sandbox: &Sandbox,
    namespace: &str,
    name: &str,
    message: &str,
) -> Failure {
    let pod = format!("the pod `{name}`");
    let restricted = restricted::explain_refusal(sandbox.user(), namespace, &pod, message);
    let in_given = || sandbox.given().and_then(|_| restricted::refusal_in_given(&pod, message));
    if let Some(blocked) = restricted.await.or_else(in_given) {
        return blocked;
    }
    let hint = diagnosis::explain(Symptom::Refusal(message), None);
    Failure::product(format!("{pod} is refused: {message}")).with_hint(hint)
}

async fn probe_facts(
    api: &Api<Pod>,
    pod: &Pod,
    container: Option<&Container>,
    timeouts: Timeouts,
) -> Result<probe::Facts, Failure> {
    // It only reads, so one that was lost is run again.
    let lost = |failure: &Failure| matches!(failure, Failure::Lost(_)).then_some(Duration::ZERO);
    // What an entrypoint sets up is there only once it has started the pod's program.
    let seconds = ENTRYPOINT_LIMIT.as_secs().to_string();
    let directories = storage_directories(container);
    let arguments = [PROBE, "ready", &seconds].into_iter();
    let command = Command::new(arguments.chain(directories.iter().map(String::as_str)))
        .within(ENTRYPOINT_LIMIT + COMMAND_DEADLINE)
        .or_in_container(container.map(|container| container.name.as_str()));
    let command = command.slower(timeouts.factor);
    let limit = timeouts.disruption;
    let read = || exec::run(api, pod, &command, limit, &NoObserver);
    let output = retry::with_backoff(limit, lost, read).await?;
    let output = output.exits(0).map_err(|failure| failure.with_hint(Some(ENTRYPOINT_HINT)))?;
    serde_json::from_slice(&output.stdout).map_err(|error| {
        Failure::harness(format!(
            "failed to understand the probe in pod `{}`: {error}",
            pod.name_any()
        ))
    })
}

/// Where podman's storage begins on the volume that a template has for it.
fn storage_directories(container: Option<&Container>) -> Vec<String> {
    let mounts = container.into_iter().flat_map(|it| it.volume_mounts.iter().flatten());
    mounts
        .filter(|mount| mount.name == STORAGE_VOLUME)
        .map(|mount| format!("{}/storage", mount.mount_path))
        .collect()
}

/// Fails where a truth check does not hold: the pod runs, but is not what was asked for.
fn require(template: &PodTemplate, checks: &[PodCheck]) -> Result<(), Failure> {
    let broken: Vec<_> = checks.iter().filter(|check| !check.holds).collect();
    if broken.is_empty() {
        return Ok(());
    }
    let known = broken.iter().filter_map(|check| Some((check.name.id?, &check.observed)));
    let hint = known
        .min_by_key(|(id, _)| *id)
        .and_then(|(id, observed)| diagnosis::explain(Symptom::Check { id, observed }, None));
    let broken: Vec<_> = broken.into_iter().map(ToString::to_string).collect();
    Err(Failure::product(format!(
        "the pod `{}` differs from its template: {}",
        template.name,
        broken.join("; ")
    ))
    .with_hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{diagnosis::CheckId, sandbox::pod_template::TemplateKind, verdict::SignatureId};

    const TEMPLATE: PodTemplate = PodTemplate {
        name: "p",
        file: "p.yaml",
        manifest: "",
        kind: TemplateKind::Pod,
        isolation: Isolation::Nested,
        devices: false,
        shared: true,
    };

    fn broken(name: impl Into<diagnosis::CheckName<'static>>, expected: &str) -> PodCheck {
        let (expected, observed) = (expected.to_owned(), "absent".to_owned());
        PodCheck { name: name.into(), expected, observed, holds: false }
    }

    #[test]
    fn the_first_known_cause_of_broken_checks_is_the_hint() {
        let checks = [
            broken(CheckId::AdmittedBy, "nestcheck-abc"),
            broken(CheckId::StoredHostUsers, "false"),
        ];

        let failure = require(&TEMPLATE, &checks).expect_err("two checks are broken");

        let Failure::Product { message, hint, .. } = failure else { panic!("the product's") };
        assert_eq!(
            message,
            "the pod `p` differs from its template: openshift.io/scc: expected nestcheck-abc, \
             observed absent; stored hostUsers: expected false, observed absent"
        );
        assert_eq!(hint.and_then(|hint| hint.signature()), Some(SignatureId::F25));
    }

    #[test]
    fn a_broken_control_has_no_hint() {
        let checks = [broken(CheckId::StoredHostUsers.name(), "not false")];

        let failure = require(&TEMPLATE, &checks).expect_err("a check is broken");

        assert!(matches!(failure, Failure::Product { hint: None, .. }), "{failure:?}");
    }
}
