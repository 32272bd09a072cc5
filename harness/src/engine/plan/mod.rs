//! What is run: profile, filters and shard pick the cases, facts decide which of them can run.
//! All of it before anything is written to the cluster.

mod every_node;
mod selection;

pub use every_node::{EveryNode, NodeScope, Proofs};
pub use selection::{Filters, Selection, Shard};

use std::cmp::Reverse;

use crate::{
    Result,
    engine::{Case, CaseKind, CheckResult, Profile, administrator},
    facts::{
        Fact, Facts, Flavour,
        requirement::{Decision, InstalledWorkspaceOperator, NodeAccess, repairs},
        support::{REQUIREMENTS, Support},
    },
    sandbox::{Audit, pod_template::PodTemplate},
    verdict::{Place, Verdict},
};

/// A case, and the verdict that it has before it runs, if any.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The case.
    pub case: Case,
    /// Blocked or not applicable; none for a case that can be decided.
    pub settled: Option<Verdict>,
}

impl Entry {
    /// The entries of these cases, decided by the facts; see [`Plan::new`].
    #[must_use]
    pub fn all(cases: Vec<Case>, facts: &Facts, tries_blocked: bool) -> Vec<Self> {
        cases.into_iter().map(|case| Self::new(case, facts, tries_blocked)).collect()
    }

    /// `tries_blocked` lets a case act although a requirement is unmet; a static case is blocked in
    /// any case.
    fn new(case: Case, facts: &Facts, tries_blocked: bool) -> Self {
        let settled = match (case.kind, settle(&case, facts)) {
            (CaseKind::Live(_), Some(Verdict::Blocked { .. })) if tries_blocked => None,
            (_, settled) => settled,
        };
        match &settled {
            None => tracing::debug!(case = case.id, "planned"),
            Some(verdict) => tracing::debug!(
                case = case.id,
                verdict = verdict.name(),
                reason = verdict.message(),
                "settled without a run"
            ),
        }
        Self { case, settled }
    }

    /// The result that needs no run: that of a settled case, or what a static case makes of the
    /// facts. None for a case that acts or audits. A pure function.
    #[must_use]
    pub fn evaluate(&self, facts: &Facts) -> Option<CheckResult> {
        match (self.case.kind, &self.settled) {
            (_, Some(verdict)) => Some(CheckResult::without_checks(verdict.clone())),
            (CaseKind::Static(evaluate), None) => Some(evaluate(facts)),
            (CaseKind::Live(_) | CaseKind::PostRun(_), None) => None,
        }
    }
}

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The profile's name, for the report.
    pub profile: String,
    /// Whether the plan has only some of the profile's cases, for the report.
    pub is_part: bool,
    /// How many cases the profile has, for the report; none where nobody said.
    pub profile_cases: Option<usize>,
    /// The ids of the proofs of nodes that all shards together make; none where no node is proven.
    pub proofs: Vec<String>,
    /// The cases, in order.
    pub entries: Vec<Entry>,
}

impl Plan {
    /// Makes the plan, as of the cluster's own profile. With `tries_blocked` (`--no-preflight`) every case that acts is run, and
    /// only the truth checks in the pods decide.
    #[must_use]
    pub fn new(cases: Vec<Case>, facts: &Facts, tries_blocked: bool) -> Self {
        Self::of_entries(Entry::all(cases, facts, tries_blocked), facts)
    }

    /// Makes the plan of entries, the longest cases first.
    #[must_use]
    pub fn of_entries(entries: Vec<Entry>, facts: &Facts) -> Self {
        let mut entries = entries;
        // Stable: the registry has the same order.
        entries.sort_by_key(|entry| Reverse(entry.case.expected));
        let mut plan = Self {
            profile: Profile::of_cluster(facts).name().to_owned(),
            is_part: false,
            profile_cases: None,
            proofs: Vec::new(),
            entries,
        };
        plan.settle_audits();
        plan
    }

    /// Names the profile that the cases were picked from, and tells whether they are only a part
    /// of it.
    #[must_use]
    pub fn of_profile(self, profile: impl Into<String>, is_part: bool) -> Self {
        Self { profile: profile.into(), is_part, ..self }
    }

    /// Where all that would act is blocked, nothing is created for the sake of an audit: it is
    /// blocked by what blocks the first of them.
    fn settle_audits(&mut self) {
        let mut acts =
            self.entries.iter().filter(|entry| matches!(entry.case.kind, CaseKind::Live(_)));
        let is_blocked = |entry: &&Entry| matches!(entry.settled, Some(Verdict::Blocked { .. }));
        let Some(block) = acts.find(is_blocked).and_then(|entry| entry.settled.clone()) else {
            return;
        };
        if self.live().next().is_some() {
            return;
        }
        let post_run = self.entries.iter_mut().filter(|entry| {
            matches!(entry.case.kind, CaseKind::PostRun(_)) && entry.settled.is_none()
        });
        post_run.for_each(|entry| entry.settled = Some(block.clone()));
    }

    /// Says how many cases the profile has: shards that are joined have all of them or do not.
    #[must_use]
    pub fn of_cases(self, profile_cases: usize) -> Self {
        Self { profile_cases: Some(profile_cases), ..self }
    }

    /// Says which proofs of nodes all shards together make: shards that are joined have all of them or do
    /// not.
    #[must_use]
    pub fn of_proofs(self, proofs: Vec<String>) -> Self {
        Self { proofs, ..self }
    }

    /// Blocks what needs to look at the node from outside of pods, whatever else is tried: that is
    /// not for facts to decide.
    #[must_use]
    pub fn without_node_access(mut self) -> Self {
        let needs =
            |entry: &&mut Entry| entry.settled.is_none() && entry.case.needs::<NodeAccess>();
        for entry in self.entries.iter_mut().filter(needs) {
            let reason = "it looks at the node by a privileged pod among the node's processes, \
                          which was not allowed to this run";
            let remedy = "allow it with `nestcheck run --node-access`";
            entry.settled = Some(Verdict::blocked(reason, remedy).at(Place::Nestcheck));
        }
        self
    }

    /// Blocks what a plain user of this namespace can't do, whatever else is tried: the run is given no
    /// other place and no other user.
    #[must_use]
    pub fn in_given_namespace(mut self, namespace: &str) -> Self {
        for entry in self.entries.iter_mut().filter(|entry| entry.settled.is_none()) {
            entry.settled = administrator::settle(&entry.case, namespace);
        }
        self.settle_audits();
        self
    }

    /// Blocks what acts in the cluster where a static case fails, of the plan or not: what acts would
    /// fail for the same reason, or pass although the reason is there.
    #[must_use]
    pub fn without_what_must_fail(mut self, cases: &[Case], facts: &Facts) -> Self {
        let evaluate = |case: &Case| Entry::new(*case, facts, false).evaluate(facts);
        let failure = cases.iter().find_map(|case| match evaluate(case)?.verdict {
            Verdict::Fail { message, .. } => Some((case.id, message)),
            _ => None,
        });
        let Some((id, message)) = failure else { return self };
        let acts = |entry: &&mut Entry| {
            entry.settled.is_none() && matches!(entry.case.kind, CaseKind::Live(_))
        };
        for entry in self.entries.iter_mut().filter(acts) {
            let remedy = format!("see `nestcheck explain {id}`, which says how to fix it");
            let reason = format!("{id} fails: {message}");
            entry.settled = Some(Verdict::blocked(reason, remedy).at(Place::Operator));
        }
        self.settle_audits();
        self
    }

    /// The cases that run: they act, or audit what is left. Static cases need no run.
    pub fn runnable(&self) -> impl Iterator<Item = &Case> {
        let runs = |entry: &&Entry| {
            entry.settled.is_none() && !matches!(entry.case.kind, CaseKind::Static(_))
        };
        self.entries.iter().filter(runs).map(|entry| &entry.case)
    }

    /// The cases that run and act in the cluster.
    pub fn live(&self) -> impl Iterator<Item = &Case> {
        self.runnable().filter(|case| matches!(case.kind, CaseKind::Live(_)))
    }

    /// The cases that judge what the run has left, with their judge.
    pub fn post_run(&self) -> impl Iterator<Item = (&Case, fn(&Audit) -> CheckResult)> {
        self.runnable().filter_map(|case| match case.kind {
            CaseKind::PostRun(evaluate) => Some((case, evaluate)),
            CaseKind::Live(_) | CaseKind::Static(_) => None,
        })
    }

    /// The names of the Secrets that the pods of the cases need.
    ///
    /// # Errors
    ///
    /// A manifest of a pod that is not an object.
    pub fn secrets(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for template in self.live().flat_map(|case| case.pods) {
            names.extend(template.secrets()?);
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// The pods that the cases need, each once.
    #[must_use]
    pub fn templates(&self) -> Vec<&'static PodTemplate> {
        let mut templates: Vec<&'static PodTemplate> = Vec::new();
        for template in self.live().flat_map(|case| case.pods) {
            if template.shared && !templates.iter().any(|known| known.name == template.name) {
                templates.push(template);
            }
        }
        templates
    }
}

fn settle(case: &Case, facts: &Facts) -> Option<Verdict> {
    if let Some(flavour) = facts.flavour.value()
        && !case.flavours.contains(flavour)
    {
        let reason = format!("it is not about {flavour} clusters");
        return Some(Verdict::NotApplicable { reason });
    }
    // Whether there are workspaces at all is a kind of cluster too.
    if case.needs::<InstalledWorkspaceOperator>()
        && let Fact::NotApplicable { reason } = &facts.devspaces.operator
    {
        return Some(Verdict::NotApplicable { reason: reason.clone() });
    }
    // Elsewhere a case can do without what others need.
    if let (
        CaseKind::Live(_) | CaseKind::PostRun(_),
        Some(Flavour::OpenShift | Flavour::MicroShift),
    ) = (case.kind, facts.flavour.value())
        && let Some((reason, remedy)) = Support::of(facts).block()
    {
        let requirements = REQUIREMENTS.iter().map(|(_, requirement)| *requirement);
        let repairs = repairs(requirements, facts);
        return Some(Verdict::blocked(reason, remedy).at(Place::Cluster).repaired_by(repairs));
    }
    case.requires.iter().find_map(|requirement| match requirement.decide(facts) {
        Decision::Met => None,
        Decision::Unmet { reason, remedy } => {
            let repairs = requirement.repairs(facts);
            Some(Verdict::blocked(reason, remedy).at(requirement.place()).repaired_by(repairs))
        }
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::facts::{
        Fact, Release,
        requirement::{Administrator, ReadyWorkspaceOperator, UserNamespaces, tests::able},
    };

    const fn case(id: &'static str, suite: &'static str, name: &'static str) -> Case {
        Case {
            id,
            suite,
            name,
            flavours: &[Flavour::Kubernetes],
            requires: &[&UserNamespaces],
            kind: CaseKind::Live(|_| Box::pin(async { Ok(()) })),
            ..Case::DEFAULT
        }
    }

    pub(in crate::engine::plan) const CASES: [Case; 3] = [
        case("POD-03", "podman", "builds_a_scratch_image"),
        case("POD-06", "podman", "builds_in_layers"),
        case("CMP-02", "compose", "brings_two_services_up"),
    ];

    #[test]
    fn nothing_is_created_for_an_audit_alone_where_all_else_is_blocked() {
        let audit = Case {
            id: "END-01",
            requires: &[],
            kind: CaseKind::PostRun(|_| CheckResult::without_checks(Verdict::Pass)),
            ..CASES[0]
        };
        let unable = Facts { keeps_host_users: Fact::known(false, "dry run"), ..able() };
        let plan = Plan::new(vec![CASES[0], audit], &unable, false);
        assert_eq!(plan.runnable().count(), 0);
        assert_eq!(plan.entries[1].settled, plan.entries[0].settled);
        assert!(matches!(plan.entries[1].settled, Some(Verdict::Blocked { .. })));
        let able = Plan::new(vec![CASES[0], audit], &able(), false);
        assert_eq!((able.live().count(), able.post_run().count()), (1, 1));
        assert_eq!(Plan::new(vec![audit], &unable, false).post_run().count(), 1, "asked for alone");
    }

    #[test]
    fn a_case_is_blocked_before_it_runs_where_a_requirement_is_unmet() {
        let facts = Facts { keeps_host_users: Fact::known(false, "dry run"), ..able() };
        let plan = Plan::new(CASES.to_vec(), &facts, false);
        assert_eq!(plan.runnable().count(), 0);
        assert!(matches!(plan.entries[0].settled, Some(Verdict::Blocked { .. })));
        assert_eq!(Plan::new(CASES.to_vec(), &facts, true).runnable().count(), 3);
    }

    #[test]
    fn the_node_is_looked_at_only_by_leave() {
        let looks = Case { requires: &[&NodeAccess], ..CASES[0] };
        let plan = Plan::new(vec![looks, CASES[1]], &able(), true);
        assert_eq!(plan.runnable().count(), 2);
        let plan = plan.without_node_access();
        assert_eq!(plan.runnable().count(), 1, "whatever is tried");
        let Some(Verdict::Blocked { remedy, .. }) = &plan.entries[0].settled else {
            panic!("{:?}", plan.entries[0])
        };
        assert!(remedy.contains("--node-access"), "{remedy}");
    }

    #[test]
    fn in_a_given_namespace_what_needs_more_is_blocked_and_never_green() {
        let more = Case { requires: &[&Administrator("a second namespace")], ..CASES[0] };
        let operators = Case { requires: &[&ReadyWorkspaceOperator], ..CASES[0] };
        let plan = Plan::new(vec![more, operators, CASES[1]], &able(), true);
        let plan = plan.in_given_namespace("team-a");
        let ids: Vec<_> = plan.runnable().map(|case| case.id).collect();
        assert_eq!(ids, [CASES[1].id]);
        let Some(Verdict::Blocked { reason, remedy, .. }) = &plan.entries[0].settled else {
            panic!("{:?}", plan.entries[0])
        };
        let expected =
            "it needs a second namespace, and this run is confined to namespace `team-a`";
        assert_eq!(reason, expected);
        assert!(remedy.contains("`--namespace`"), "{remedy}");
        let verdicts =
            [(more.level, plan.entries[0].settled.clone()), (more.level, Some(Verdict::Pass))];
        let verdicts = verdicts.iter().filter_map(|(level, it)| Some((*level, it.as_ref()?)));
        let outcome = crate::verdict::decide(verdicts, crate::verdict::Circumstances::default());
        assert_eq!(outcome, crate::verdict::Outcome::Partial);
    }

    #[test]
    fn a_case_about_another_flavour_is_not_applicable() {
        let facts = Facts { flavour: Fact::known(Flavour::OpenShift, "test"), ..able() };
        let plan = Plan::new(CASES.to_vec(), &facts, false);
        assert!(matches!(plan.entries[0].settled, Some(Verdict::NotApplicable { .. })));
    }

    #[test]
    fn an_unsupported_openshift_blocks_what_acts_and_lets_facts_be_evaluated() {
        let flavours = &[Flavour::OpenShift];
        let acts = Case { flavours, requires: &[], ..CASES[0] };
        let kind = CaseKind::Static(|_| CheckResult::without_checks(Verdict::Pass));
        let evaluates = Case { kind, ..acts };
        let facts = Facts {
            flavour: Fact::known(Flavour::OpenShift, "test"),
            release: Fact::known(Release::parse("4.18.20"), "test"),
            ..able()
        };
        let plan = Plan::new(vec![acts, evaluates], &facts, false);
        let Some(Verdict::Blocked { reason, remedy, .. }) = &plan.entries[0].settled else {
            panic!("{:?}", plan.entries[0])
        };
        assert!(reason.contains("4.18.20"), "{reason}");
        assert!(remedy.contains("4.20"), "{remedy}");
        let result = plan.entries[1].evaluate(&facts).expect("nothing blocks it");
        assert_eq!(result.verdict, Verdict::Pass);
        assert_eq!(plan.runnable().count(), 0, "what reads facts needs no run");
    }

    #[test]
    fn a_static_case_is_evaluated_only_where_its_requirements_are_met() {
        let evaluate = |_: &Facts| {
            let check = crate::workload::truth::check("a fact", "read", "read", true);
            CheckResult::of(vec![check], "")
        };
        let case = Case { kind: CaseKind::Static(evaluate), ..CASES[0] };
        for tries_blocked in [false, true] {
            let plan = Plan::new(vec![case], &able(), tries_blocked);
            assert_eq!(plan.entries[0].settled, None, "the plan runs nothing");
            let result = plan.entries[0].evaluate(&able()).expect("nothing blocks it");
            assert_eq!((result.verdict, result.checks.len()), (Verdict::Pass, 1));
            let facts = Facts { keeps_host_users: Fact::known(false, "dry run"), ..able() };
            let plan = Plan::new(vec![case], &facts, tries_blocked);
            assert!(matches!(plan.entries[0].settled, Some(Verdict::Blocked { .. })));
        }
    }
}
