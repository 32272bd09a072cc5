//! What a run in a given namespace can't do: its user has no permissions outside of it.

use std::any::Any;

use super::Case;
use crate::{
    facts::requirement::{Administrator, InstalledWorkspaceOperator, ReadyWorkspaceOperator},
    verdict::{Failure, Place, Verdict},
};

/// What unblocks such a case.
const REMEDY: &str = "run it without `--namespace`, as a user with the permissions that \
                      `nestcheck preflight --print-rbac` prints";

/// What a case does that a plain user of one namespace can't; none where it does nothing of that kind.
fn need(case: &Case) -> Option<&'static str> {
    let own = case.requires.iter().find_map(|&requirement| {
        let requirement: &dyn Any = requirement;
        requirement.downcast_ref::<Administrator>()
    });
    let is_workspace =
        case.needs::<InstalledWorkspaceOperator>() || case.needs::<ReadyWorkspaceOperator>();
    own.map(|Administrator(what)| *what)
        .or(is_workspace.then_some("configurations of the DevWorkspace Operator"))
}

fn reason(namespace: &str, what: &str) -> String {
    format!("it needs {what}, and this run is confined to namespace `{namespace}`")
}

/// The verdict of a case that a plain user of this namespace can't have judged; none where the case
/// needs no more than that.
pub(super) fn settle(case: &Case, namespace: &str) -> Option<Verdict> {
    let what = need(case)?;
    Some(Verdict::blocked(reason(namespace, what), REMEDY).at(Place::Nestcheck))
}

/// As [`settle`], for a case that only finds it out when it runs.
pub(crate) fn blocked(namespace: &str, what: &str) -> Failure {
    Failure::blocked(reason(namespace, what), REMEDY).at(Place::Nestcheck)
}
