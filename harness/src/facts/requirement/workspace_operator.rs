//! The DevWorkspace Operator.

use super::{Decision, Place, Requirement};
use crate::facts::{Fact, Facts};

/// The first version of the DevWorkspace Operator that tells workspaces of their user namespace
/// (`HOST_USERS`), after which images choose their subordinate ids.
const FIRST_WITH_HOST_USERS: (u32, u32) = (0, 40);

/// The DevWorkspace Operator is installed, in a version that can make nested workspaces.
#[derive(Clone, Copy, Debug)]
pub struct InstalledWorkspaceOperator;

impl Requirement for InstalledWorkspaceOperator {
    fn place(&self) -> Place {
        Place::Operator
    }

    fn describe(&self) -> String {
        "the DevWorkspace Operator 0.40 or newer".to_owned()
    }

    fn decide(&self, facts: &Facts) -> Decision {
        let (major, minor) = FIRST_WITH_HOST_USERS;
        match &facts.devspaces.operator {
            Fact::Known { value: operator, source }
                if operator.version.is_some_and(|version| version < FIRST_WITH_HOST_USERS) =>
            {
                Decision::unmet(
                    format!(
                        "the DevWorkspace Operator `{}` is older than {major}.{minor}, the first \
                         that sets HOST_USERS (read from: {source})",
                        operator.image
                    ),
                    format!("use DevWorkspace Operator {major}.{minor} or newer"),
                )
            }
            Fact::NotApplicable { reason } => {
                Decision::unmet(reason.clone(), "install the DevWorkspace Operator, or Che with it")
            }
            // Its service account must be known: it needs a right to use the run's SCC.
            Fact::Unknown { reason } => Decision::unmet(
                format!("the DevWorkspace Operator's Deployment can't be found: {reason}"),
                "let the caller list Deployments, see `nestcheck preflight --print-rbac`",
            ),
            Fact::Known { .. } => Decision::Met,
        }
    }

    fn unknown(&self, facts: &Facts) -> Option<String> {
        facts.devspaces.operator.why_unknown().map(str::to_owned)
    }

    fn concerns(&self, facts: &Facts) -> bool {
        !matches!(facts.devspaces.operator, Fact::NotApplicable { .. })
    }
}

/// The DevWorkspace Operator is at work.
#[derive(Clone, Copy, Debug)]
pub struct ReadyWorkspaceOperator;

impl Requirement for ReadyWorkspaceOperator {
    fn place(&self) -> Place {
        Place::Operator
    }

    fn describe(&self) -> String {
        "a ready pod of the DevWorkspace Operator".to_owned()
    }

    fn decide(&self, facts: &Facts) -> Decision {
        match &facts.devspaces.operator {
            Fact::Known { value: operator, source } if !operator.is_available => Decision::unmet(
                format!(
                    "the DevWorkspace Operator in namespace `{}` has no ready pod, so nobody makes \
                     workspaces (read from: {source})",
                    operator.namespace
                ),
                "see its Deployment's events and its pod's log",
            ),
            _ => InstalledWorkspaceOperator.decide(facts),
        }
    }

    fn unknown(&self, facts: &Facts) -> Option<String> {
        InstalledWorkspaceOperator.unknown(facts)
    }

    fn concerns(&self, facts: &Facts) -> bool {
        InstalledWorkspaceOperator.concerns(facts)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};
    use crate::facts::{DevSpaces, WorkspaceOperator};

    fn operated(version: (u32, u32), is_available: bool) -> Facts {
        let operator = WorkspaceOperator {
            namespace: "devworkspace-controller".into(),
            account: "devworkspace-controller-serviceaccount".into(),
            image: "devworkspace-controller:test".into(),
            version: Some(version),
            is_available,
        };
        with_operator(Fact::known(operator, "Deployments"))
    }

    fn with_operator(operator: Fact<WorkspaceOperator>) -> Facts {
        Facts { devspaces: DevSpaces { operator, ..DevSpaces::absent() }, ..able() }
    }

    #[test]
    fn an_old_operator_is_not_enough_and_one_without_a_pod_makes_no_workspaces() {
        let facts = operated((0, 40), true);
        assert_eq!(InstalledWorkspaceOperator.decide(&facts), Decision::Met);
        assert_eq!(ReadyWorkspaceOperator.decide(&facts), Decision::Met);
        for is_available in [true, false] {
            let old = operated((0, 39), is_available);
            let reported = reason(InstalledWorkspaceOperator.decide(&old));
            assert!(reported.contains("is older than 0.40"), "{reported}");
        }
        let reported = reason(ReadyWorkspaceOperator.decide(&operated((0, 39), true)));
        assert!(reported.contains("is older than 0.40"), "{reported}");
        let idle = operated((0, 40), false);
        assert_eq!(InstalledWorkspaceOperator.decide(&idle), Decision::Met);
        let reported = reason(ReadyWorkspaceOperator.decide(&idle));
        assert!(reported.contains("has no ready pod"), "{reported}");
    }

    #[test]
    fn an_operator_that_could_not_be_read_is_unmet_unlike_other_facts() {
        let facts = with_operator(Fact::unknown("403"));
        let reported = reason(InstalledWorkspaceOperator.decide(&facts));
        assert!(reported.contains("can't be found: 403"), "{reported}");
        assert_eq!(ReadyWorkspaceOperator.unknown(&facts).as_deref(), Some("403"));
        assert!(!InstalledWorkspaceOperator.concerns(&able()), "there is no such API");
        assert!(ReadyWorkspaceOperator.concerns(&facts));
    }
}
