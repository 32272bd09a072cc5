//! SCC: who may use an SCC, what it gives a pod, and what it refuses.

mod admission;
mod grants;
mod reference;
mod refusal;
mod shipped;

use harness::{
    engine::Context,
    facts::requirement::{Administrator, Requirement, UnmaskedProc, UserNamespaces},
    sandbox::AppliedScc,
    verdict::{CaseResult, Failure},
    workload::truth,
};
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::fixtures::NESTED_POD;

/// What a case about the run's SCC needs.
const WITH_OWN_SCC: &[&dyn Requirement] =
    &[&UserNamespaces, &UnmaskedProc, &Administrator("an SCC of the run's own")];

/// The run's SCC, stored as it was applied: with a field lost, what it still refuses or gives proves
/// nothing about it.
fn scc(cx: &Context) -> Result<&AppliedScc, Failure> {
    let scc = cx.sandbox().scc().ok_or_else(|| Failure::harness("the run brought no SCC along"))?;
    let check = truth::of_stored_scc(scc);
    cx.check(check.name, &check.expected, check.observed, check.holds)?;
    Ok(scc)
}

/// The workspace pod, for a case to change.
fn workspace(cx: &Context) -> Result<Pod, Failure> {
    cx.manifest(&NESTED_POD)
}

/// The workspace's own container, which need not be the first one of a stored pod.
fn container(pod: &mut Pod) -> &mut Container {
    let own = NESTED_POD.container_of(pod).map(|it| it.name.clone());
    let containers = &mut pod.spec.get_or_insert_default().containers;
    if containers.is_empty() {
        containers.push(Container::default());
    }
    let place = containers.iter().position(|it| Some(&it.name) == own.as_ref());
    &mut containers[place.unwrap_or_default()]
}

/// Adds to a failure which field of the SCC decides.
fn decided_by(field: &str, must_be: &str, result: CaseResult) -> CaseResult {
    result.map_err(|failure| {
        let hint = format!("the SCC's field `{field}` decides this: it must be {must_be}");
        failure.with_hint(Some(hint))
    })
}
