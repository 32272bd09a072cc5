//! What a case acts with: the pods it asked for, the ordinary user's rights, and a record of what
//! it proved.

mod admission;
mod observer;
mod pod_handle;
mod pods;
mod recorder;

use std::{collections::BTreeMap, sync::Arc};

use kube::{ResourceExt, api::DynamicObject};
use tokio::sync::mpsc::UnboundedSender;

pub use self::{
    admission::Admission,
    pod_handle::{PodHandle, parse_probe},
    pods::SharedWorkload,
};
pub(crate) use self::{
    observer::CommandsOfCase,
    pods::{ObjectsOfCase, PodsOfCase},
    recorder::Recorder,
};
use crate::{
    diagnosis::CheckName,
    engine::{Case, OfNode, deadline::Pause},
    facts::Facts,
    sandbox::{self, Grant, Sandbox},
    verdict::{Attribution, CaseResult, Failure},
    workload,
    workload::health::Health,
};

/// What a case acts with.
#[derive(Clone)]
pub struct Context {
    pub(crate) case: Case,
    pub(crate) recorder: Recorder,
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) workloads: Arc<BTreeMap<&'static str, SharedWorkload>>,
    pub(crate) facts: Arc<Facts>,
    pub(crate) pauses: UnboundedSender<Pause>,
    pub(crate) pods: PodsOfCase,
    pub(crate) objects: ObjectsOfCase,
    pub(crate) commands: CommandsOfCase,
    pub(crate) health: Health,
}

impl Context {
    /// What was read about the cluster.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The name of the node that the case is about.
    ///
    /// # Errors
    ///
    /// The case is not about a node.
    pub fn node(&self) -> Result<&'static str, Failure> {
        match self.case.of_node {
            OfNode::This(node) => Ok(&node.name),
            OfNode::No | OfNode::Each => {
                Err(Failure::harness(format!("{} is not about a node", self.case.id)))
            }
        }
    }

    /// The run's sandbox, for a case that acts with more than pods.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
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
        object.metadata.name = Some(self.sandbox.name_of(&object.name_any()));
        self.objects.add(workload::resource_of(&object)?, object.name_any());
        workload::create_supporting_object(&self.sandbox, &object).await
    }

    /// A throwaway namespace of this case's own.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub async fn provision_namespace(&self, grant: Grant) -> Result<String, Failure> {
        Ok(self.sandbox.namespaces().of_case(self.case.id, grant).await?)
    }

    /// Dry runs of pods, for what admission makes of them.
    #[must_use]
    pub fn admission(&self) -> Admission<'_> {
        Admission::of(&self.sandbox)
    }

    /// What NetworkPolicies of somebody else have to do with traffic that fails, from a pod to another
    /// one or from a pod alone: those that select them and restrict it. None where there are none.
    pub async fn policies_between(
        &self,
        from: &PodHandle,
        to: Option<&PodHandle>,
    ) -> Option<Attribution> {
        let to = to.map(PodHandle::object);
        workload::restricted::policies_between(&self.sandbox, from.object(), to).await
    }

    /// Makes and records a truth check, and fails the case where it does not hold.
    ///
    /// # Errors
    ///
    /// The check does not hold.
    pub fn check<'a>(
        &self,
        name: impl Into<CheckName<'a>>,
        expected: &str,
        observed: impl Into<String>,
        holds: bool,
    ) -> CaseResult {
        self.recorder.check(name.into(), expected, observed, holds, None)
    }

    /// As [`Context::check`], of what a pod with these facts is or does: they tell the causes of a
    /// failure apart.
    ///
    /// # Errors
    ///
    /// The check does not hold.
    pub fn check_in_pod<'a>(
        &self,
        facts: &probe::Facts,
        name: impl Into<CheckName<'a>>,
        expected: &str,
        observed: impl Into<String>,
        holds: bool,
    ) -> CaseResult {
        self.recorder.check(name.into(), expected, observed, holds, Some(facts))
    }

    /// Checks that a value is the expected one.
    ///
    /// # Errors
    ///
    /// It is another one.
    pub fn check_equal<'a>(
        &self,
        name: impl Into<CheckName<'a>>,
        expected: &str,
        observed: &str,
    ) -> CaseResult {
        self.check(name, &format!("`{expected}`"), format!("`{observed}`"), expected == observed)
    }
}
