//! Nothing of a run stays, and nothing that was there before is changed.

use harness::{
    engine::{Case, CaseKind, CheckResult},
    facts::requirement::Administrator,
    sandbox::{Audit, Change, Failed, ReclaimStatus},
    verdict::{Level, Verdict, event::TruthCheck},
};

inventory::submit!(Case {
    id: "END-01",
    suite: "teardown",
    name: "leaves_nothing_behind",
    title: "The run leaves no object behind in the cluster",
    why: "Nobody runs a conformance test twice if it leaves objects behind. nestcheck labels \
          every object, records it before creating it, and deletes it at the end.",
    fix: "Remove the leftovers with `nestcheck sweep`. If it cannot remove an object, the object \
          has a finalizer whose controller is not running; the message names it.",
    kind: CaseKind::PostRun(leaves_nothing_behind),
    ..Case::DEFAULT
});

fn leaves_nothing_behind(audit: &Audit) -> CheckResult {
    if let Some(Failed { reason, is_loss: true }) = &audit.failure {
        let message = format!("the leftovers are unknown: {reason}");
        return CheckResult::without_checks(Verdict::Error { message });
    }
    if let Some(failure) = &audit.failure {
        return CheckResult::without_checks(Verdict::fail(
            format!("the teardown failed: {}", failure.reason),
            Some("`nestcheck sweep` removes the leftovers once the cause is gone"),
        ));
    }
    let kinds: Vec<_> = audit.kinds.iter().map(String::as_str).collect();
    CheckResult::of(
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
                "objects that the ledger names where the run's teardown does not go",
                "none that outlives them",
                list(&audit.orphaned),
                audit.orphaned.is_empty(),
            ),
        ],
        "`nestcheck sweep` removes what is the run's; what only carries its label is somebody else's",
    )
}

inventory::submit!(Case {
    id: "END-02",
    suite: "teardown",
    name: "ends_without_stuck_finalizers",
    title: "The run's namespaces end in time, without stuck finalizers",
    why: "A finalizer without a running controller keeps a namespace and everything in it \
          forever. The next run, and anyone who reuses the name, has to wait.",
    fix: "Start the controller that owns the named finalizer, or remove the finalizer by hand.",
    level: Level::Extended,
    requires: &[&Administrator("namespaces of the run's own")],
    kind: CaseKind::PostRun(ends_without_stuck_finalizers),
    ..Case::DEFAULT
});

/// The server says itself what keeps a namespace, and the teardown's reason has its words.
fn ends_without_stuck_finalizers(audit: &Audit) -> CheckResult {
    const NAMESPACE: &str = "Namespace";
    const HINT: &str =
        "start the controller whose finalizer keeps the object, or remove the finalizer";
    if let Some(Failed { reason, is_loss }) = &audit.failure {
        let verdict = if *is_loss {
            let message = format!("whether the namespaces have ended is not known: {reason}");
            Verdict::Error { message }
        } else {
            Verdict::fail(reason, Some(HINT))
        };
        return CheckResult::without_checks(verdict);
    }
    let made = audit.kinds.contains(NAMESPACE);
    let kept: Vec<_> = audit.left.iter().filter(|left| left.kind == NAMESPACE).collect();
    let is_gone = kept.is_empty();
    let observed = if is_gone { "all ended".to_owned() } else { list(&kept) };
    CheckResult::of(
        vec![
            check("namespaces that the run made", "at least one", made.to_string(), made),
            check("the end of the run's namespaces", "all ended", observed, is_gone),
        ],
        HINT,
    )
}

inventory::submit!(Case {
    id: "END-05",
    suite: "teardown",
    name: "leaves_no_volumes",
    title: "The volumes of the run's PVCs are deleted with them",
    why: "A volume belongs to no namespace, so it outlives its PVC. If the provisioner is gone, \
          or the class retains volumes, every deleted workspace leaves a volume with its files.",
    fix: "Delete the named volume and its backing storage. With policy Delete, read the log of \
          the class's provisioner. With Retain, change the policy of the workspaces' class to \
          Delete.",
    level: Level::Extended,
    kind: CaseKind::PostRun(leaves_no_volumes),
    ..Case::DEFAULT
});

/// A volume is the provisioner's, who deletes it after its claim; the run has no right to.
fn leaves_no_volumes(audit: &Audit) -> CheckResult {
    let error = |message: String| CheckResult::without_checks(Verdict::Error { message });
    if let Some(Failed { reason, .. }) = &audit.failure {
        return error(format!("whether volumes remain is unknown: {reason}"));
    }
    match &audit.volumes {
        None => CheckResult::without_checks(Verdict::NotApplicable {
            reason: "the run has made no PersistentVolumeClaim".to_owned(),
        }),
        Some(ReclaimStatus::Unread(reason)) => error(reason.clone()),
        Some(ReclaimStatus::Forbidden(reason)) => CheckResult::without_checks(Verdict::blocked(
            reason,
            "use a kubeconfig whose user may list and watch PersistentVolumes",
        )),
        Some(ReclaimStatus::Left(left)) => CheckResult::of(
            vec![check("volumes of the run's PVCs", "none", list(left), left.is_empty())],
            "delete them by hand; where the policy is Retain nobody else does, where it is Delete \
             see the log of the class's provisioner",
        ),
    }
}

inventory::submit!(Case {
    id: "END-03",
    suite: "teardown",
    name: "changes_nothing_of_others",
    title: "SCCs, runtime classes and operators' configurations are as they were before the run",
    why: "SCCs, runtime classes and operator configurations belong to others. If a run changed \
          one, the next run would test a different cluster. The case compares SCCs, runtime \
          classes, CheClusters and configurations of the DevWorkspace Operator. It does not \
          compare the FeatureGate and the Pod Security labels of other namespaces, because no \
          case writes to them.",
    fix: "Look at `managedFields` of the named object. Somebody changed it during the run; it may \
          not have been nestcheck.",
    level: Level::Extended,
    kind: CaseKind::PostRun(changes_nothing_of_others),
    ..Case::DEFAULT
});

fn changes_nothing_of_others(audit: &Audit) -> CheckResult {
    let error = |message: String| CheckResult::without_checks(Verdict::Error { message });
    let Some(comparison) = &audit.comparison else {
        return error("nothing was compared after the run".to_owned());
    };
    if !comparison.unread.is_empty() {
        return error(comparison.unread.join("; "));
    }
    if !comparison.forbidden.is_empty() {
        return CheckResult::without_checks(Verdict::blocked(
            comparison.forbidden.join("; "),
            "use a kubeconfig whose user may list these objects",
        ));
    }
    let reported = |wanted: fn(&Change) -> bool| {
        let reported = comparison.changes.iter().filter(|change| wanted(change)).map(describe);
        reported.collect::<Vec<_>>()
    };
    let (ours, nobodys) = (
        reported(|change| change.is_ours),
        reported(|change| !change.is_ours && change.manager.is_none()),
    );
    // An object that is gone does not say who deleted it.
    if ours.is_empty() && !nobodys.is_empty() {
        return error(format!(
            "someone else changed objects that existed before the run: {}",
            list(&nobodys)
        ));
    }
    // An administrator may be at work meanwhile; that is no fault of the run.
    let others = reported(|change| !change.is_ours && change.manager.is_some());
    let compared = comparison.compared;
    let observed = if others.is_empty() {
        format!("{compared}, all as they were")
    } else {
        format!("{compared}; changed by others: {}", list(&others))
    };
    CheckResult::of(
        vec![
            check("objects that the run changed", "none", list(&ours), ours.is_empty()),
            check("objects that were compared", "all that are there", observed, true),
        ],
        "restore the object; a run is to change nothing that it has not created",
    )
}

fn describe(change: &Change) -> String {
    let by = change.manager.as_ref().map_or_else(String::new, |who| format!(" (by `{who}`)"));
    format!("{}: {}{by}", change.object, change.what)
}

fn list(items: &[impl ToString]) -> String {
    let texts: Vec<_> = items.iter().map(ToString::to_string).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join("; ") }
}

fn check(name: &str, expected: &str, observed: String, holds: bool) -> TruthCheck {
    TruthCheck { name: name.to_owned(), expected: expected.to_owned(), observed, holds }
}

#[cfg(test)]
mod tests {
    use harness::sandbox::{Comparison, Leftover};

    use super::*;

    fn clean() -> Audit {
        Audit {
            created: 3,
            kinds: ["Namespace".to_owned()].into(),
            looked_for: vec!["Namespace"],
            comparison: Some(Comparison { compared: 2, ..Comparison::default() }),
            ..Audit::default()
        }
    }

    fn changed(is_ours: bool, manager: Option<&str>) -> Audit {
        let change = Change {
            object: "RuntimeClass `nested`".into(),
            what: "it differs in `content.handler`".into(),
            is_ours,
            manager: manager.map(Into::into),
        };
        let comparison = Comparison { changes: vec![change], ..Comparison::default() };
        Audit { comparison: Some(comparison), ..clean() }
    }

    fn leftover(kind: &'static str, name: &str) -> Leftover {
        Leftover { kind, name: name.to_owned() }
    }

    fn message(evaluation: &CheckResult) -> &str {
        evaluation.verdict.message().unwrap_or_default()
    }

    #[test]
    fn a_clean_end_passes() {
        assert_eq!(leaves_nothing_behind(&clean()).verdict, Verdict::Pass);
        assert_eq!(changes_nothing_of_others(&clean()).verdict, Verdict::Pass);
    }

    #[test]
    fn whatever_is_left_fails_and_is_named() {
        let left = Audit { left: vec![leftover("Namespace", "nestcheck-abc")], ..clean() };
        assert!(message(&leaves_nothing_behind(&left)).contains("Namespace `nestcheck-abc`"));
        let orphaned = Audit { orphaned: vec!["ConfigMap `default/files`".into()], ..clean() };
        assert!(message(&leaves_nothing_behind(&orphaned)).contains("ConfigMap `default/files`"));
        let stuck = leaves_nothing_behind(&Audit::failed("`x` is still there".into(), false));
        assert!(matches!(stuck.verdict, Verdict::Fail { .. }), "{stuck:?}");
    }

    #[test]
    fn a_namespace_that_does_not_end_is_reported_with_what_keeps_it() {
        assert_eq!(ends_without_stuck_finalizers(&clean()).verdict, Verdict::Pass);
        let stuck = Audit::failed("`x` is kept by finalizers of ConfigMap".into(), false);
        assert!(
            message(&ends_without_stuck_finalizers(&stuck)).contains("finalizers of ConfigMap")
        );
        let left = Audit { left: vec![leftover("Namespace", "nestcheck-abc")], ..clean() };
        assert!(message(&ends_without_stuck_finalizers(&left)).contains("`nestcheck-abc`"));
        let role = Audit { left: vec![leftover("ClusterRole", "x")], ..clean() };
        assert_eq!(ends_without_stuck_finalizers(&role).verdict, Verdict::Pass);
        let nothing = Audit { kinds: std::collections::BTreeSet::new(), ..clean() };
        let evaluated = ends_without_stuck_finalizers(&nothing);
        assert!(matches!(evaluated.verdict, Verdict::Fail { .. }), "{evaluated:?}");
        let lost = ends_without_stuck_finalizers(&Audit::failed("no answer".into(), true));
        assert!(matches!(lost.verdict, Verdict::Error { .. }), "{lost:?}");
    }

    #[test]
    fn a_lost_server_is_no_leak_of_the_product() {
        let lost = leaves_nothing_behind(&Audit::failed("no answer within 30 s".into(), true));
        assert!(matches!(lost.verdict, Verdict::Error { .. }), "{lost:?}");
    }

    #[test]
    fn a_volume_that_outlives_its_pvc_is_reported() {
        let with = |volumes| leaves_no_volumes(&Audit { volumes, ..clean() }).verdict;
        assert_eq!(with(Some(ReclaimStatus::Left(Vec::new()))), Verdict::Pass);
        let left = with(Some(ReclaimStatus::Left(vec!["PersistentVolume `pvc-1`".into()])));
        assert!(left.message().is_some_and(|reported| reported.contains("`pvc-1`")), "{left:?}");
        assert!(matches!(with(None), Verdict::NotApplicable { .. }));
        let forbidden = with(Some(ReclaimStatus::Forbidden("403".into())));
        assert!(matches!(forbidden, Verdict::Blocked { .. }), "{forbidden:?}");
        assert!(matches!(with(Some(ReclaimStatus::Unread("lost".into()))), Verdict::Error { .. }));
        let failed = leaves_no_volumes(&Audit::failed("no answer".into(), true));
        assert!(matches!(failed.verdict, Verdict::Error { .. }), "{failed:?}");
    }

    #[test]
    fn an_audit_of_nothing_proves_nothing() {
        let nothing = Audit { created: 0, ..clean() };
        assert!(matches!(leaves_nothing_behind(&nothing).verdict, Verdict::Fail { .. }));
        let not_compared = Audit { comparison: None, ..clean() };
        let evaluated = changes_nothing_of_others(&not_compared);
        assert!(matches!(evaluated.verdict, Verdict::Error { .. }), "{evaluated:?}");
    }

    #[test]
    fn a_change_by_the_run_fails_whoever_came_after_it() {
        for manager in [Some("nestcheck"), Some("operator")] {
            let evaluated = changes_nothing_of_others(&changed(true, manager));
            assert!(matches!(evaluated.verdict, Verdict::Fail { .. }), "{evaluated:?}");
            assert!(message(&evaluated).contains("RuntimeClass `nested`"), "{evaluated:?}");
        }
    }

    #[test]
    fn a_change_by_somebody_else_is_reported_and_passes_and_one_by_nobody_is_an_error() {
        let evaluated = changes_nothing_of_others(&changed(false, Some("kubectl-edit")));
        assert_eq!(evaluated.verdict, Verdict::Pass);
        assert!(evaluated.checks[1].observed.contains("`kubectl-edit`"), "{evaluated:?}");
        let evaluated = changes_nothing_of_others(&changed(false, None));
        assert!(matches!(evaluated.verdict, Verdict::Error { .. }), "{evaluated:?}");
    }

    #[test]
    fn what_may_not_be_listed_blocks_and_what_broke_is_an_error() {
        let with = |comparison| Audit { comparison: Some(comparison), ..clean() };
        let forbidden = Comparison { forbidden: vec!["no".into()], ..Comparison::default() };
        let evaluated = changes_nothing_of_others(&with(forbidden));
        assert!(matches!(evaluated.verdict, Verdict::Blocked { .. }), "{evaluated:?}");
        let broken = Comparison { unread: vec!["lost".into()], ..Comparison::default() };
        let evaluated = changes_nothing_of_others(&with(broken));
        assert!(matches!(evaluated.verdict, Verdict::Error { .. }), "{evaluated:?}");
    }
}
