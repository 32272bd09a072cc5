//! What is run: profile, filters and shard pick the cases, facts decide which of them can run.
//! All of it before anything is written to the cluster.

use crate::{
    Error, Result,
    case::{Body, Case, Judgement},
    event::TruthCheck,
    facts::{Fact, Facts, Flavour},
    outcome::Verdict,
    requirement::{Decision, Requirement},
    sandbox::Audit,
    shape::Shape,
    support::Support,
};

/// A named set of cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// OpenShift 4.19 and newer.
    OpenShift,
    /// MicroShift 4.20 and newer.
    MicroShift,
    /// Kubernetes, kind included.
    Kubernetes,
    /// The shortest run that shows nested containers at work.
    Smoke,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 4] = [Self::OpenShift, Self::MicroShift, Self::Kubernetes, Self::Smoke];

    /// The ids of the cases of the profile `smoke`.
    const SMOKE: [&str; 6] = ["GATE-01", "GATE-02", "ID-01", "ISO-01", "POD-03", "CMP-02"];

    /// The profile's name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenShift => "openshift",
            Self::MicroShift => "microshift",
            Self::Kubernetes => "kubernetes",
            Self::Smoke => "smoke",
        }
    }

    /// Finds a profile by name.
    ///
    /// # Errors
    ///
    /// A name that no profile has.
    pub fn parse(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name).ok_or_else(|| {
            let names: Vec<_> =
                Self::ALL.iter().map(|profile| format!("`{}`", profile.name())).collect();
            Error::usage(format!("there is no profile `{name}`"))
                .with_hint(format!("the profiles are {}", names.join(", ")))
        })
    }

    /// The profile of a flavour.
    #[must_use]
    pub fn of(flavour: Flavour) -> Self {
        match flavour {
            Flavour::OpenShift => Self::OpenShift,
            Flavour::MicroShift => Self::MicroShift,
            Flavour::Kubernetes => Self::Kubernetes,
        }
    }

    /// Whether a case belongs to the profile.
    #[must_use]
    pub fn has(self, case: &Case) -> bool {
        match self {
            Self::OpenShift => case.flavours.contains(&Flavour::OpenShift),
            Self::MicroShift => case.flavours.contains(&Flavour::MicroShift),
            Self::Kubernetes => case.flavours.contains(&Flavour::Kubernetes),
            Self::Smoke => Self::SMOKE.contains(&case.id),
        }
    }
}

/// One part of the run's cases, for several machines: part `index` of `count`, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: u32,
}

impl Shard {
    /// Reads `I/N`.
    ///
    /// # Errors
    ///
    /// Anything but two numbers with 1 ≤ I ≤ N.
    pub fn parse(text: &str) -> Result<Self> {
        let parsed = text.split_once('/').and_then(|(index, count)| {
            Some(Self { index: index.parse().ok()?, count: count.parse().ok()? })
        });
        parsed.filter(|shard| (1..=shard.count).contains(&shard.index)).ok_or_else(|| {
            Error::usage(format!("`{text}` is not a shard"))
                .with_hint("a shard is `I/N` with I from 1 to N, such as `--shard 1/3`")
        })
    }

    /// Whether a case is in this part. Decided by its id alone, so that a case stays in its part
    /// when others come and go.
    fn has(self, case: &Case) -> bool {
        // FNV-1a, 64 bits: small, stable between releases, and even enough for some hundred ids.
        let hash = case.id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        hash % u64::from(self.count) == u64::from(self.index - 1)
    }
}

/// Picks cases by id, suite, or the beginning of a name path; `!` takes away.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    with: Vec<String>,
    without: Vec<String>,
}

impl Filters {
    /// Reads filters as given on the command line.
    ///
    /// # Errors
    ///
    /// A filter that fits no case.
    pub fn parse(filters: &[String], cases: &[Case]) -> Result<Self> {
        let mut parsed = Self::default();
        for filter in filters {
            let (name, list) = match filter.strip_prefix('!') {
                Some(name) => (name, &mut parsed.without),
                None => (filter.as_str(), &mut parsed.with),
            };
            if !cases.iter().any(|case| fits(name, case)) {
                let suites: std::collections::BTreeSet<_> =
                    cases.iter().map(|case| format!("`{}`", case.suite)).collect();
                let suites: Vec<_> = suites.into_iter().collect();
                return Err(Error::usage(format!("no case fits the filter `{filter}`")).with_hint(
                    format!(
                        "give an id such as `POD-03`, a suite ({}) or the beginning of a name \
                         such as `podman::build`; `nestcheck list` shows all",
                        suites.join(", ")
                    ),
                ));
            }
            list.push(name.to_owned());
        }
        Ok(parsed)
    }

    fn has(&self, case: &Case) -> bool {
        let with = self.with.is_empty() || self.with.iter().any(|name| fits(name, case));
        with && !self.without.iter().any(|name| fits(name, case))
    }
}

fn fits(filter: &str, case: &Case) -> bool {
    !filter.is_empty()
        && (case.id.eq_ignore_ascii_case(filter)
            || case.suite == filter
            || (filter.contains("::") && case.path().starts_with(filter)))
}

/// Which cases are asked for.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The profile; none for the cases of every profile.
    pub profile: Option<Profile>,
    /// The filters.
    pub filters: Filters,
    /// The part of them, if they are split.
    pub shard: Option<Shard>,
}

impl Selection {
    /// The selected cases, in the order of the registry.
    #[must_use]
    pub fn pick(&self, cases: &[Case]) -> Vec<Case> {
        let fits = |case: &&Case| {
            self.profile.is_none_or(|profile| profile.has(case))
                && self.filters.has(case)
                && self.shard.is_none_or(|shard| shard.has(case))
        };
        cases.iter().filter(fits).copied().collect()
    }
}

/// A case, and the verdict that it has before it runs, if any.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The case.
    pub case: Case,
    /// Blocked, not applicable, or judged from the facts; none for a case that can run.
    pub settled: Option<Verdict>,
    /// What a judgement was made from.
    pub checks: Vec<TruthCheck>,
}

impl Entry {
    /// `tries_blocked` lets a case act although a requirement is unmet; a judgement of facts is
    /// made by the facts in any case.
    fn new(case: Case, facts: &Facts, tries_blocked: bool) -> Self {
        match (case.body, settle(&case, facts)) {
            (Body::Acts(_), Some(Verdict::Blocked { .. })) if tries_blocked => {
                Self { case, settled: None, checks: Vec::new() }
            }
            (Body::Judges(judge), None) => {
                let Judgement { checks, verdict } = judge(facts);
                Self { case, settled: Some(verdict), checks }
            }
            (_, settled) => Self { case, settled, checks: Vec::new() },
        }
    }
}

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The cases, in order.
    pub entries: Vec<Entry>,
}

impl Plan {
    /// Makes the plan. With `tries_blocked` (`--no-preflight`) every case that acts is run, and
    /// only the truth checks in the pods decide.
    #[must_use]
    pub fn new(cases: Vec<Case>, facts: &Facts, tries_blocked: bool) -> Self {
        let entry = |case| Entry::new(case, facts, tries_blocked);
        let mut plan = Self { entries: cases.into_iter().map(entry).collect() };
        plan.settle_audits();
        plan
    }

    /// Where all that would act is blocked, nothing is created for the sake of an audit: it is
    /// blocked by what blocks the first of them.
    fn settle_audits(&mut self) {
        let mut acts = self.entries.iter().filter(|entry| matches!(entry.case.body, Body::Acts(_)));
        let is_blocked = |entry: &&Entry| matches!(entry.settled, Some(Verdict::Blocked { .. }));
        let Some(block) = acts.find(is_blocked).and_then(|entry| entry.settled.clone()) else {
            return;
        };
        if self.acting().next().is_some() {
            return;
        }
        let audits = self
            .entries
            .iter_mut()
            .filter(|entry| matches!(entry.case.body, Body::Audits(_)) && entry.settled.is_none());
        audits.for_each(|entry| entry.settled = Some(block.clone()));
    }

    /// Blocks what needs to look at the node from outside of pods, whatever else is tried: that is
    /// not for facts to decide.
    #[must_use]
    pub fn without_node_access(mut self) -> Self {
        let needs = |entry: &&mut Entry| {
            entry.settled.is_none() && entry.case.requires.contains(&Requirement::NodeAccess)
        };
        for entry in self.entries.iter_mut().filter(needs) {
            entry.settled = Some(Verdict::Blocked {
                reason: "it looks at the node by a privileged pod among the node's processes, \
                         which was not allowed to this run"
                    .to_owned(),
                remedy: "allow it with `nestcheck run --node-access`".to_owned(),
            });
        }
        self
    }

    /// The cases that run: they act, or audit what is left.
    pub fn runnable(&self) -> impl Iterator<Item = &Case> {
        self.entries.iter().filter(|entry| entry.settled.is_none()).map(|entry| &entry.case)
    }

    /// The cases that run and act in the cluster.
    pub fn acting(&self) -> impl Iterator<Item = &Case> {
        self.runnable().filter(|case| matches!(case.body, Body::Acts(_)))
    }

    /// The cases that judge what the run has left, with their judge.
    pub fn audits(&self) -> impl Iterator<Item = (&Case, fn(&Audit) -> Judgement)> {
        self.runnable().filter_map(|case| match case.body {
            Body::Audits(judge) => Some((case, judge)),
            Body::Acts(_) | Body::Judges(_) => None,
        })
    }

    /// The pods that the cases need, each once.
    #[must_use]
    pub fn shapes(&self) -> Vec<&'static Shape> {
        let mut shapes: Vec<&'static Shape> = Vec::new();
        for shape in self.acting().flat_map(|case| case.shapes) {
            if shape.shared && !shapes.iter().any(|known| known.name == shape.name) {
                shapes.push(shape);
            }
        }
        shapes
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
    if case.requires.contains(&Requirement::WorkspaceOperator)
        && let Fact::NotApplicable { reason } = &facts.toggle.operator
    {
        return Some(Verdict::NotApplicable { reason: reason.clone() });
    }
    // Elsewhere a case can do without what others need.
    if let (Body::Acts(_) | Body::Audits(_), Some(Flavour::OpenShift | Flavour::MicroShift)) =
        (case.body, facts.flavour.value())
        && let Some((reason, remedy)) = Support::of(facts).block()
    {
        return Some(Verdict::Blocked { reason, remedy });
    }
    case.requires.iter().find_map(|requirement| match requirement.decide(facts) {
        Decision::Met => None,
        Decision::Unmet { reason, remedy } => Some(Verdict::Blocked { reason, remedy }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        case::CASE_DEADLINE,
        facts::{Fact, Release},
        outcome::Level,
        requirement::Requirement,
        requirement::tests::able,
    };

    const fn case(id: &'static str, suite: &'static str, name: &'static str) -> Case {
        Case {
            id,
            suite,
            name,
            title: "",
            level: Level::Core,
            flavours: &[Flavour::Kubernetes],
            requires: &[Requirement::UserNamespaces],
            shapes: &[],
            deadline: CASE_DEADLINE,
            body: Body::Acts(|_| Box::pin(async { Ok(()) })),
        }
    }

    const CASES: [Case; 3] = [
        case("POD-03", "podman", "builds_a_scratch_image"),
        case("POD-06", "podman", "builds_in_layers"),
        case("CMP-02", "compose", "brings_two_services_up"),
    ];

    fn picked(filters: &[&str]) -> Vec<&'static str> {
        let filters: Vec<_> = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let selection = Selection {
            profile: Some(Profile::Kubernetes),
            filters: Filters::parse(&filters, &CASES).expect("the filters fit"),
            shard: None,
        };
        selection.pick(&CASES).iter().map(|case| case.id).collect()
    }

    #[test]
    fn a_filter_is_an_id_a_suite_or_the_beginning_of_a_path() {
        assert_eq!(picked(&[]), ["POD-03", "POD-06", "CMP-02"]);
        assert_eq!(picked(&["pod-03"]), ["POD-03"]);
        assert_eq!(picked(&["podman"]), ["POD-03", "POD-06"]);
        assert_eq!(picked(&["podman::builds_in"]), ["POD-06"]);
        assert_eq!(picked(&["!podman"]), ["CMP-02"]);
        assert_eq!(picked(&["podman", "!POD-06"]), ["POD-03"]);
    }

    #[test]
    fn nothing_is_created_for_an_audit_alone_where_all_else_is_blocked() {
        let audit = Case {
            id: "END-01",
            requires: &[],
            body: Body::Audits(|_| Judgement::without_checks(Verdict::Pass)),
            ..CASES[0]
        };
        let unable = Facts { keeps_host_users: Fact::known(false, "dry run"), ..able() };
        let plan = Plan::new(vec![CASES[0], audit], &unable, false);
        assert_eq!(plan.runnable().count(), 0);
        assert_eq!(plan.entries[1].settled, plan.entries[0].settled);
        assert!(matches!(plan.entries[1].settled, Some(Verdict::Blocked { .. })));
        let able = Plan::new(vec![CASES[0], audit], &able(), false);
        assert_eq!((able.acting().count(), able.audits().count()), (1, 1));
        assert_eq!(Plan::new(vec![audit], &unable, false).audits().count(), 1, "asked for alone");
    }

    #[test]
    fn a_filter_that_fits_nothing_is_an_error_that_names_it() {
        let error = Filters::parse(&["pdoman".to_owned()], &CASES).expect_err("a typo");
        assert_eq!(error.to_string(), "no case fits the filter `pdoman`");
        assert!(error.hint().is_some_and(|hint| hint.contains("`podman`")));
        assert!(Filters::parse(&["!".to_owned()], &CASES).is_err());
    }

    #[test]
    fn shards_are_a_partition() {
        let ids = |text: &str| -> Vec<&str> {
            let selection = Selection {
                profile: Some(Profile::Kubernetes),
                filters: Filters::default(),
                shard: Some(Shard::parse(text).expect("a shard")),
            };
            selection.pick(&CASES).iter().map(|case| case.id).collect()
        };
        let mut all = [ids("1/2"), ids("2/2")].concat();
        all.sort_unstable();
        assert_eq!(all, ["CMP-02", "POD-03", "POD-06"]);
    }

    #[test]
    fn what_is_not_a_shard_is_refused() {
        for text in ["3/2", "0/2", "1/0", "1", "a/b", "-1/2", ""] {
            assert!(Shard::parse(text).is_err(), "{text}");
        }
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
        let looks = Case { requires: &[Requirement::NodeAccess], ..CASES[0] };
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
    fn a_case_about_another_flavour_is_not_applicable() {
        let facts = Facts { flavour: Fact::known(Flavour::OpenShift, "test"), ..able() };
        let plan = Plan::new(CASES.to_vec(), &facts, false);
        assert!(matches!(plan.entries[0].settled, Some(Verdict::NotApplicable { .. })));
    }

    #[test]
    fn an_unsupported_openshift_blocks_what_acts_and_lets_facts_be_judged() {
        let flavours = &[Flavour::OpenShift];
        let acts = Case { flavours, requires: &[], ..CASES[0] };
        let body = Body::Judges(|_| Judgement::without_checks(Verdict::Pass));
        let judges = Case { body, ..acts };
        let facts = Facts {
            flavour: Fact::known(Flavour::OpenShift, "test"),
            release: Fact::known(Release::parse("4.18.20"), "test"),
            ..able()
        };
        let plan = Plan::new(vec![acts, judges], &facts, false);
        let Some(Verdict::Blocked { reason, remedy }) = &plan.entries[0].settled else {
            panic!("{:?}", plan.entries[0])
        };
        assert!(reason.contains("4.18.20"), "{reason}");
        assert!(remedy.contains("4.20"), "{remedy}");
        assert_eq!(plan.entries[1].settled, Some(Verdict::Pass));
    }

    #[test]
    fn a_judgement_is_made_with_the_plan_and_only_where_its_requirements_are_met() {
        let judge = |_: &Facts| {
            let check = crate::truth::check("a fact", "read", "read", true);
            Judgement::of(vec![check], "")
        };
        let case = Case { body: Body::Judges(judge), ..CASES[0] };
        for tries_blocked in [false, true] {
            let plan = Plan::new(vec![case], &able(), tries_blocked);
            assert_eq!(plan.entries[0].settled, Some(Verdict::Pass));
            assert_eq!(plan.entries[0].checks.len(), 1);
            let facts = Facts { keeps_host_users: Fact::known(false, "dry run"), ..able() };
            let plan = Plan::new(vec![case], &facts, tries_blocked);
            assert!(matches!(plan.entries[0].settled, Some(Verdict::Blocked { .. })));
        }
    }

    #[test]
    fn an_unknown_profile_is_an_error_that_names_the_known_ones() {
        let error = Profile::parse("openshit").expect_err("a typo");
        assert!(error.hint().is_some_and(|hint| hint.contains("`openshift`")));
    }
}
