//! What a case acts with: the pods it asked for, the ordinary user's rights, and a record of what
//! it proved.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::{BoxFuture, Shared};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Error as KubeError,
    api::{DynamicObject, PostParams},
};
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    case::{CaseResult, Failure},
    cluster::{ask, describe},
    diagnosis::{self, Absence, Symptom},
    engine::deadline::{DeadlinePause, Pause},
    error::one_line,
    event::{CommandFinished, EventKind, TruthCheck},
    facts::Facts,
    pod_template::{Isolation, PodTemplate, TEMPLATE_LABEL},
    redact,
    requirement::Requirement,
    sandbox::{self, Grant, Identity, PodSecurity, Sandbox},
    truth,
    workload::{self, Command, Output, PROBE, Workload},
};

/// A pod that is being made; every case that waits for it gets the same one.
pub type SharedWorkload = Shared<BoxFuture<'static, Result<Arc<Workload>, Failure>>>;

/// What a case acts with.
#[derive(Clone)]
pub struct Context {
    pub(crate) id: &'static str,
    pub(crate) requires: &'static [Requirement],
    pub(crate) templates: &'static [&'static PodTemplate],
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) workloads: Arc<BTreeMap<&'static str, SharedWorkload>>,
    pub(crate) facts: Arc<Facts>,
    pub(crate) events: UnboundedSender<EventKind>,
    pub(crate) pauses: UnboundedSender<Pause>,
    pub(crate) pods: PodsOfCase,
}

/// The names of the pods that a case made for itself, for whoever looks at them when it fails. A
/// lock, because the case and its executor both have it; held to add or take a name.
#[derive(Clone, Default)]
pub(crate) struct PodsOfCase(Arc<Mutex<Vec<String>>>);

impl PodsOfCase {
    fn add(&self, pod: &Pod) {
        let mut pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = pod.metadata.name.clone().filter(|name| !pods.contains(name));
        pods.extend(new);
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The answer to a request that the server may refuse.
pub type Answer<T> = Result<T, Refusal>;

/// The server's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status, such as 422.
    pub code: u16,
    /// The server's words, on one line.
    pub message: String,
}

impl Context {
    /// The pod of a template, ready and proven. Cases that ask for the same template share it. A case
    /// that lists a workspace gets that one's pod where it asks for a pod of the same isolation
    /// with devices or without: so cases about pods become cases about workspaces.
    ///
    /// # Errors
    ///
    /// Why there is no such pod, or that it lacks the devices that the case needs.
    pub async fn pod(&self, template: &PodTemplate) -> Result<PodHandle, Failure> {
        let is_equal = |listed: &&&'static PodTemplate| {
            let is_proven = listed.isolation != Isolation::Unchecked;
            let is_same =
                listed.isolation == template.isolation && listed.devices == template.devices;
            // One of which nothing is promised stands in for any.
            listed.is_workspace() && (is_same || !is_proven)
        };
        let stand_in = self.templates.iter().find(is_equal);
        let name = stand_in.map_or(template.name, |stand_in| stand_in.name);
        let shared = self.workloads.get(name).cloned().ok_or_else(|| {
            Failure::harness(format!(
                "{} asks for the pod `{}`, which its registry entry does not list",
                self.id, template.name
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
        self.pods.add(pod);
        let template = self.listed(template);
        let provision = Box::pin(workload::provision_pod(&self.sandbox, template, pod));
        let workload = self.outside_deadline(provision).await?;
        self.hand_out(Arc::new(workload))
    }

    /// The template of this name that the case's registry entry lists, which may have been changed from
    /// the one that the case knows.
    fn listed<'a>(&self, template: &'a PodTemplate) -> &'a PodTemplate {
        self.templates
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
            self.record(check.clone());
        }
        let pod = PodHandle { workload, context: self.clone() };
        if self.requires.contains(&Requirement::Devices) {
            pod.has_devices()?;
        }
        Ok(pod)
    }

    /// What was read about the cluster.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The pod of a template as it would be created, for a case to change, and to dry-run or create.
    /// It has a name and a label of its own: the template's name may be taken by a pod of the run, and
    /// pods that want to be near that one look for its label.
    ///
    /// # Errors
    ///
    /// A manifest that is not a pod.
    pub fn manifest(&self, template: &PodTemplate) -> Result<Pod, Failure> {
        let mut pod = self.sandbox.pod(self.listed(template))?;
        let id = self.id.to_ascii_lowercase();
        pod.metadata.name = Some(format!("dry-run-{id}"));
        let labels = pod.metadata.labels.get_or_insert_default();
        labels.insert(TEMPLATE_LABEL.to_owned(), format!("{}-of-{id}", template.name));
        Ok(pod)
    }

    /// The run's sandbox, for a case that acts with more than pods.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Creates a pod as a dry run, as the ordinary user, and returns what would be stored.
    ///
    /// # Errors
    ///
    /// Anything but an answer: a refusal is an answer.
    pub async fn dry_run(&self, pod: &Pod) -> Result<Answer<Pod>, Failure> {
        let api = self.pods_as(self.sandbox.user(), pod);
        let params = dry();
        answered("dry-run the creation of a pod", || {
            self.sandbox.as_granted(|| api.create(&params, pod))
        })
        .await
    }

    /// As [`Self::dry_run`], but as somebody in particular, and without timeouts: a right that was
    /// just granted may not be known yet.
    ///
    /// # Errors
    ///
    /// As [`Self::dry_run`].
    pub async fn dry_run_as(&self, identity: Identity, pod: &Pod) -> Result<Answer<Pod>, Failure> {
        let api = self.pods_as(self.sandbox.client(identity).await?, pod);
        let params = dry();
        answered("dry-run the creation of a pod", || api.create(&params, pod)).await
    }

    /// Replaces a pod as a dry run, as the ordinary user, and returns what would be stored. The
    /// version of the object is left out, so that a status that the kubelet has written meanwhile is
    /// not a conflict (409); its uid is kept, so that another pod of that name is one.
    ///
    /// # Errors
    ///
    /// As [`Self::dry_run`].
    pub async fn dry_run_replace(&self, pod: &Pod) -> Result<Answer<Pod>, Failure> {
        let api = self.pods_as(self.sandbox.user(), pod);
        let mut pod = pod.clone();
        pod.metadata.resource_version = None;
        let name = pod.metadata.name.clone().unwrap_or_default();
        let params = dry();
        answered("dry-run the update of a pod", || api.replace(&name, &params, &pod)).await
    }

    fn pods_as(&self, client: &Client, pod: &Pod) -> Api<Pod> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or(self.sandbox.namespace());
        Api::namespaced(client.clone(), namespace)
    }

    /// Creates an object of the run's namespace as the ordinary user, for pods of this case's own.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub async fn create_in_namespace(&self, object: DynamicObject) -> CaseResult {
        let mut object = object;
        object.metadata.namespace = Some(self.sandbox.namespace().to_owned());
        object.metadata.labels = Some(sandbox::labels(self.sandbox.run()));
        workload::create_supporting_object(&self.sandbox, &object).await
    }

    /// A second throwaway namespace that enforces a Pod Security level; cases that ask for the
    /// same level share it.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub async fn namespace_enforcing(&self, level: PodSecurity) -> Result<String, Failure> {
        Ok(self.sandbox.namespace_enforcing(level).await?)
    }

    /// A throwaway namespace of this case's own.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub async fn provision_namespace(&self, grant: Grant) -> Result<String, Failure> {
        Ok(self.sandbox.namespace_for(self.id, grant).await?)
    }

    /// Makes and records a truth check, and fails the case where it does not hold.
    ///
    /// # Errors
    ///
    /// The check does not hold.
    pub fn check(
        &self,
        name: &str,
        expected: &str,
        observed: impl Into<String>,
        holds: bool,
    ) -> CaseResult {
        let observed = redact::clean(observed.into().as_bytes(), 1024);
        let check = truth::check(name, expected, observed, holds);
        let failure = (!holds).then(|| {
            let message = format!("{name}: expected {expected}, observed {}", check.observed);
            let hint = diagnosis::explain(Symptom::Check(&message), None);
            Failure::product(message).with_hint(hint)
        });
        self.record(check);
        failure.map_or(Ok(()), Err)
    }

    /// Checks that a value is the expected one.
    ///
    /// # Errors
    ///
    /// It is another one.
    pub fn check_equal(&self, name: &str, expected: &str, observed: &str) -> CaseResult {
        self.check(name, &format!("`{expected}`"), format!("`{observed}`"), expected == observed)
    }

    fn record(&self, check: TruthCheck) {
        self.emit(EventKind::TruthChecked { id: self.id.to_owned(), check });
    }

    fn emit(&self, event: EventKind) {
        // The dispatcher is gone only when the run is over; then nobody misses the event.
        let _ = self.events.send(event);
    }
}

fn dry() -> PostParams {
    PostParams { dry_run: true, field_manager: Some("nestcheck".to_owned()) }
}

/// Asks for a dry run. A refusal of what was asked is an answer; a broken API is not.
async fn answered<T, F, Fut>(what: &str, operation: F) -> Result<Answer<T>, Failure>
where
    F: FnMut() -> Fut + Send,
    Fut: Future<Output = Result<T, KubeError>> + Send,
{
    match ask(what, operation).await? {
        Ok(stored) => Ok(Ok(stored)),
        Err(KubeError::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
            Ok(Err(Refusal { code: status.code, message: one_line(&status.message) }))
        }
        Err(error) => Err(describe(what, &error).into()),
    }
}

/// A pod in the hands of a case.
#[derive(Clone)]
pub struct PodHandle {
    workload: Arc<Workload>,
    context: Context,
}

impl PodHandle {
    /// The pod's name.
    #[must_use]
    pub fn name(&self) -> String {
        self.workload.name()
    }

    /// The pod as the server stores it.
    #[must_use]
    pub fn object(&self) -> &Pod {
        &self.workload.pod
    }

    /// The node that it runs on.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.workload.node()
    }

    /// What the probe found in its first container when it became ready.
    #[must_use]
    pub fn facts(&self) -> &probe::Facts {
        &self.workload.facts
    }

    /// What the pod lacks of the devices that it asked for.
    #[must_use]
    pub fn absence(&self) -> Option<Absence> {
        let route = self.context.sandbox.device_route();
        let nodes = self.context.facts.nodes.value().into_iter().flatten();
        let mut nodes = nodes.filter(|node| Some(node.name.as_str()) == self.node());
        let runtime = nodes.next().map(|node| node.runtime.as_str());
        Absence::of(self.object(), self.facts(), route, runtime)
    }

    /// Blocks the case where the pod lacks devices that it asked for.
    ///
    /// # Errors
    ///
    /// The devices that are absent, with the cause and its cure.
    pub fn has_devices(&self) -> CaseResult {
        match self.absence() {
            Some(Absence { reason, diagnosis }) => {
                Err(Failure::blocked(reason, diagnosis.to_string()))
            }
            None => Ok(()),
        }
    }

    /// Runs a command in the pod and records it.
    ///
    /// # Errors
    ///
    /// A stream that broke, or a command that does not end in time. An exit code is no error:
    /// see [`Output::exits`].
    pub async fn run(&self, command: &Command) -> Result<Output, Failure> {
        let pause = || DeadlinePause::begin(&self.context.pauses);
        let output = self.workload.run(command, pause).await?;
        self.context.emit(EventKind::CommandFinished(CommandFinished {
            id: self.context.id.to_owned(),
            pod: self.name(),
            command: redact::clean_arguments(command.arguments(), 4096),
            exit_code: output.exit_code,
            duration_ms: u64::try_from(output.duration.as_millis()).unwrap_or(u64::MAX),
            stdout: redact::clean(&output.stdout, redact::STREAM_LIMIT),
            stderr: redact::clean(&output.stderr, redact::STREAM_LIMIT),
        }));
        Ok(output)
    }

    /// Runs a command that must succeed and returns what it printed, without white space at the
    /// end.
    ///
    /// # Errors
    ///
    /// As [`Self::run`], or another exit code than 0.
    pub async fn output(&self, command: &Command) -> Result<String, Failure> {
        Ok(self.run(command).await?.exits(0)?.text())
    }

    /// Does a preparation of the pod once, however many cases ask for it; the others wait. Its
    /// commands are recorded with the case that came first.
    ///
    /// # Errors
    ///
    /// The preparation's failure; the next case that asks tries again.
    pub async fn once<Fut>(
        &self,
        name: &'static str,
        prepare: impl FnOnce() -> Fut + Send,
    ) -> Result<String, Failure>
    where
        Fut: Future<Output = Result<String, Failure>> + Send,
    {
        self.workload.preparation(name).get_or_try_init(prepare).await.cloned()
    }

    /// Runs the probe in the pod and reads what it says.
    ///
    /// # Errors
    ///
    /// As [`Self::run`], an exit code other than 0, or an answer that is not the probe's.
    pub async fn probe<T: serde::de::DeserializeOwned>(
        &self,
        arguments: &[&str],
    ) -> Result<T, Failure> {
        let command = Command::new([PROBE].iter().chain(arguments).copied());
        parse_probe(&self.run(&command).await?.exits(0)?)
    }
}

/// Reads what the probe printed.
///
/// # Errors
///
/// Text that is not the probe's.
pub fn parse_probe<T: serde::de::DeserializeOwned>(output: &Output) -> Result<T, Failure> {
    serde_json::from_slice(&output.stdout).map_err(|error| {
        Failure::harness(format!("failed to understand `{}`: {error}", output.command))
    })
}
