//! Nothing of a run stays, and nothing that was there before is changed.

use harness::{
    case::{Body, CASE_DEADLINE, Case, Judgement},
    event::TruthCheck,
    outcome::{Level, Verdict},
    sandbox::{Audit, Change},
};

use super::EVERYWHERE;

/// The cases that judge what a run has left.
pub(crate) const AUDITS: &[Case] = &[
    audit(
        "END-01",
        "leaves_nothing_behind",
        "Nothing that the run created is left in the cluster",
        Level::Core,
        leaves_nothing_behind,
    ),
    audit(
        "END-03",
        "changes_nothing_of_others",
        "Constraints, runtime classes and operators' configurations are as they were before the run",
        Level::Extended,
        changes_nothing_of_others,
    ),
];

const fn audit(
    id: &'static str,
    name: &'static str,
    title: &'static str,
    level: Level,
    judge: fn(&Audit) -> Judgement,
) -> Case {
    Case {
        id,
        suite: "teardown",
        name,
        title,
        level,
        flavours: EVERYWHERE,
        requires: &[],
        shapes: &[],
        deadline: CASE_DEADLINE,
        body: Body::Audits(judge),
    }
}

fn leaves_nothing_behind(audit: &Audit) -> Judgement {
    if let Some(failure) = &audit.failure {
        let verdict = Verdict::Fail {
            message: format!("the teardown failed: {failure}"),
            hint: Some("`nestcheck sweep` removes what is left once the cause is gone".to_owned()),
        };
        return Judgement::without_checks(verdict);
    }
    let kinds: Vec<_> = audit.kinds.iter().map(String::as_str).collect();
    Judgement::of(
        vec![
            check(
                "objects that the ledger names",
                "at least one",
                format!("{} of kinds {}", audit.created, kinds.join(", ")),
                audit.created > 0,
            ),
            check(
                &format!("objects with the run's label, of kinds {}", audit.looked_for.join(", ")),
                "none",
                list(&audit.left),
                audit.left.is_empty(),
            ),
            check(
                "objects that the ledger names outside of the run's namespaces",
                "none that outlives them",
                list(&audit.astray),
                audit.astray.is_empty(),
            ),
        ],
        "`nestcheck sweep` removes what is the run's; what only carries its label is somebody else's",
    )
}

fn changes_nothing_of_others(audit: &Audit) -> Judgement {
    if let Some(failure) = &audit.failure {
        let message = format!("nothing was compared, for the teardown failed: {failure}");
        return Judgement::without_checks(Verdict::Error { message });
    }
    if !audit.unread.is_empty() {
        let verdict = Verdict::Blocked {
            reason: audit.unread.join("; "),
            remedy: "use a kubeconfig whose user may list these objects".to_owned(),
        };
        return Judgement::without_checks(verdict);
    }
    // An administrator may be at work meanwhile; that is no fault of the run.
    let (others, ours): (Vec<&Change>, Vec<&Change>) =
        audit.changes.iter().partition(|change| is_anothers(change));
    Judgement::of(
        vec![
            check(
                "objects that the run changed",
                "none",
                list(&ours.into_iter().map(tell).collect::<Vec<_>>()),
                audit.changes.iter().all(is_anothers),
            ),
            check(
                "objects that were compared before and after",
                "all that are there",
                match others.as_slice() {
                    [] => format!("{}, all as they were", audit.compared),
                    others => {
                        let told: Vec<_> = others.iter().map(|change| tell(change)).collect();
                        format!("{}; by others: {}", audit.compared, list(&told))
                    }
                },
                true,
            ),
        ],
        "restore the object; a run is to change nothing that it has not created",
    )
}

/// Whether somebody else wrote it: the object names another writer than this program.
fn is_anothers(change: &Change) -> bool {
    change.manager.as_deref().is_some_and(|manager| manager != "nestcheck")
}

fn tell(change: &Change) -> String {
    let by = change.manager.as_ref().map_or_else(String::new, |who| format!(" (by `{who}`)"));
    format!("{}: {}{by}", change.object, change.what)
}

fn list(texts: &[String]) -> String {
    if texts.is_empty() { "none".to_owned() } else { texts.join("; ") }
}

fn check(name: &str, expected: &str, observed: String, holds: bool) -> TruthCheck {
    TruthCheck { name: name.to_owned(), expected: expected.to_owned(), observed, holds }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean() -> Audit {
        Audit {
            created: 3,
            kinds: ["Namespace".to_owned()].into(),
            looked_for: vec!["Namespace"],
            compared: 2,
            ..Audit::default()
        }
    }

    fn change(manager: Option<&str>) -> Change {
        Change {
            object: "RuntimeClass `nested`".into(),
            what: "it differs in `content.handler`".into(),
            manager: manager.map(Into::into),
        }
    }

    fn message(judgement: &Judgement) -> &str {
        judgement.verdict.message().unwrap_or_default()
    }

    #[test]
    fn a_clean_end_passes() {
        assert_eq!(leaves_nothing_behind(&clean()).verdict, Verdict::Pass);
        assert_eq!(changes_nothing_of_others(&clean()).verdict, Verdict::Pass);
    }

    #[test]
    fn whatever_is_left_fails_and_is_named() {
        let left = Audit { left: vec!["Namespace `nestcheck-abc`".into()], ..clean() };
        assert!(message(&leaves_nothing_behind(&left)).contains("Namespace `nestcheck-abc`"));
        let astray = Audit { astray: vec!["ConfigMap `default/files`".into()], ..clean() };
        assert!(message(&leaves_nothing_behind(&astray)).contains("ConfigMap `default/files`"));
        let failed = Audit::failed("namespace `x` is still there".into());
        assert!(message(&leaves_nothing_behind(&failed)).contains("still there"));
    }

    #[test]
    fn an_audit_of_nothing_proves_nothing() {
        let nothing = Audit { created: 0, ..clean() };
        assert!(matches!(leaves_nothing_behind(&nothing).verdict, Verdict::Fail { .. }));
    }

    #[test]
    fn a_change_by_the_run_or_by_nobody_known_fails() {
        for manager in [Some("nestcheck"), None] {
            let changed = Audit { changes: vec![change(manager)], ..clean() };
            let judgement = changes_nothing_of_others(&changed);
            assert!(message(&judgement).contains("RuntimeClass `nested`"), "{judgement:?}");
        }
    }

    #[test]
    fn a_change_by_somebody_else_is_told_and_passes() {
        let changed = Audit { changes: vec![change(Some("kubectl-edit"))], ..clean() };
        let judgement = changes_nothing_of_others(&changed);
        assert_eq!(judgement.verdict, Verdict::Pass);
        assert!(judgement.checks[1].observed.contains("`kubectl-edit`"), "{judgement:?}");
    }

    #[test]
    fn what_can_not_be_compared_blocks() {
        let unread = Audit { unread: vec!["forbidden".into()], ..clean() };
        assert!(matches!(changes_nothing_of_others(&unread).verdict, Verdict::Blocked { .. }));
    }
}
