//! What a conformance case is.

use std::{cmp::Reverse, future::Future, pin::Pin, time::Duration};

use crate::{
    engine::{Context, Profile},
    facts::{
        Facts, Flavour,
        requirement::{self, Requirement},
    },
    sandbox::{Audit, pod_template::PodTemplate},
    verdict::{CaseResult, Level, Verdict, event::TruthCheck},
};

/// A case that runs.
pub type CaseFuture = Pin<Box<dyn Future<Output = CaseResult> + Send>>;

/// One assertion about a cluster.
///
/// A declaration names the fields that differ from [`Case::DEFAULT`]:
///
/// ```
/// use harness::{
///     engine::{Case, CaseKind, CheckResult},
///     facts::Facts,
///     workload::truth::check,
/// };
///
/// const NEW_SERVER: Case = Case {
///     id: "PRE-90",
///     suite: "preflight",
///     name: "server_is_new_enough",
///     title: "The API server has version 1.33 or newer",
///     why: "Older API servers drop `hostUsers: false` by default.",
///     fix: "Update the cluster to Kubernetes 1.33 or newer.",
///     kind: CaseKind::Static(server_is_new_enough),
///     ..Case::DEFAULT
/// };
///
/// fn server_is_new_enough(facts: &Facts) -> CheckResult {
///     let version = &facts.version;
///     let holds = version.minor >= 33;
///     CheckResult::of(vec![check("version", "1.33 or newer", &version.full, holds)], "update it")
/// }
///
/// assert_eq!(NEW_SERVER.path(), "preflight::server_is_new_enough");
/// ```
#[derive(Clone, Copy)]
pub struct Case {
    /// Its id in the catalogue, such as `POD-03`.
    pub id: &'static str,
    /// Its suite, such as `podman`.
    pub suite: &'static str,
    /// Its name, which reads after its suite: `podman::builds_and_runs_a_scratch_image`.
    pub name: &'static str,
    /// What it asserts, as a sentence without a period.
    pub title: &'static str,
    /// Why it matters: Markdown, one paragraph or a few.
    pub why: &'static str,
    /// What to do when it fails: Markdown, one paragraph.
    pub fix: &'static str,
    /// Whether conformance depends on it.
    pub level: Level,
    /// The kinds of cluster that it applies to.
    pub flavours: &'static [Flavour],
    /// Whether it belongs to the profiles of its flavours.
    pub by_flavour: bool,
    /// The profiles that it belongs to besides those of its flavours.
    pub profiles: &'static [Profile],
    /// What it needs of the cluster.
    pub requires: &'static [&'static dyn Requirement],
    /// The pods that it looks at; cases share them.
    pub pods: &'static [&'static PodTemplate],
    /// Pods that its function asks for and gets others instead of: so a case about the run's own pod
    /// becomes a case about a workspace.
    pub stand_ins: &'static [StandIn],
    /// Whether and where `nestcheck inside` runs it.
    pub inside: Inside,
    /// Whether it is about a node.
    pub of_node: OfNode,
    /// How long it takes on a small cluster, to the second. Longer cases start earlier.
    pub expected: Duration,
    /// How long it may run, once its pods are ready.
    pub deadline: Duration,
    /// The assertion.
    pub kind: CaseKind,
}

/// Where a case can run that has no API server: on the machine of nestcheck itself. A case that says
/// more than [`Inside::Never`] looks at the run's own nested pod only, and asks the API for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// Nowhere: it needs the API of a cluster.
    Never,
    /// In a pod with a user namespace of its own: its assertion is about that pod, or holds only there.
    Pod,
    /// Wherever /proc is unmasked: it checks the image by its containers.
    Unmasked,
    /// Everywhere: it checks the image by its files and programs.
    Anywhere,
}

/// Whether a case is about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfNode {
    /// It is about the cluster.
    No,
    /// With `--every-node`, each node has a case of its own like this one, which itself never runs.
    Each,
    /// It is about this node.
    This(&'static ProvenNode),
}

/// The node that a case is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenNode {
    /// The node's name.
    pub name: String,
    /// Its number among those of the run.
    pub number: usize,
}

/// The id of the case that every node has one like: `NODE-01` of `NODE-01.worker-3`. No other id has
/// a period.
#[must_use]
pub fn base_id(id: &str) -> &str {
    id.split_once('.').map_or(id, |(base, _)| base)
}

/// A pod that a case gets instead of the one that its function asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandIn {
    /// The name of the pod template that the function asks for.
    pub asked: &'static str,
    /// The name of the pod template, listed in [`Case::pods`], whose pod it gets.
    pub given: &'static str,
}

inventory::collect!(Case);

/// The cases that the linked crates have registered with `inventory::submit!`, the longest first
/// (so that none of them runs alone at the end), then by id.
#[must_use]
pub fn registered() -> Vec<Case> {
    let mut cases: Vec<Case> = inventory::iter::<Case>.into_iter().copied().collect();
    cases.sort_by_key(|case| (Reverse(case.expected), case.id));
    cases
}

/// How a case finds out whether its assertion holds.
#[derive(Clone, Copy)]
pub enum CaseKind {
    /// It acts in the cluster, inside the run's sandbox.
    Live(fn(Context) -> CaseFuture),
    /// It judges what was read about the cluster: a pure function, which needs no sandbox. Such a
    /// case is evaluated when the run starts, so it has a verdict on an unsupported cluster too.
    Static(fn(&Facts) -> CheckResult),
    /// It judges what the run has left, once everything is torn down: a pure function.
    PostRun(fn(&Audit) -> CheckResult),
}

/// What a case made of the facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    /// What was expected and what was read; a pass needs at least one that holds.
    pub checks: Vec<TruthCheck>,
    /// What it comes to.
    pub verdict: Verdict,
}

impl CheckResult {
    /// A pass if every check holds; otherwise a failure that names the first that does not.
    ///
    /// ```
    /// use harness::{engine::CheckResult, verdict::Verdict, workload::truth::check};
    ///
    /// let checks = vec![
    ///     check("uid", "1000", "1000", true),
    ///     check("procMount", "Unmasked", "Default", false),
    /// ];
    /// let result = CheckResult::of(checks, "enable the gate `ProcMountType`");
    ///
    /// let expected = "procMount: expected Unmasked, observed Default";
    /// assert!(matches!(result.verdict, Verdict::Fail { message, .. } if message == expected));
    /// ```
    #[must_use]
    pub fn of(checks: Vec<TruthCheck>, hint: &str) -> Self {
        let broken = checks.iter().find(|check| !check.holds).map(|check| {
            format!("{}: expected {}, observed {}", check.name, check.expected, check.observed)
        });
        let fail = |message: String| Verdict::fail(message, Some(hint));
        let verdict = broken.map_or(Verdict::Pass, fail);
        Self { checks, verdict }
    }

    /// The facts that decide it could not be read, or the assertion has no meaning here.
    #[must_use]
    pub fn without_checks(verdict: Verdict) -> Self {
        Self { checks: Vec::new(), verdict }
    }
}

impl Case {
    /// The name of the pod that the case gets where it asks for this one.
    #[must_use]
    pub fn given<'a>(&self, asked: &'a str) -> &'a str {
        self.stand_ins.iter().find(|it| it.asked == asked).map_or(asked, |it| it.given)
    }

    /// A core case of every flavour that needs nothing. A declaration names the fields that differ,
    /// and always `id`, `suite`, `name`, `title`, `why`, `fix` and `kind`.
    pub const DEFAULT: Self = Self {
        id: "",
        suite: "",
        name: "",
        title: "",
        why: "",
        fix: "",
        level: Level::Core,
        flavours: &[Flavour::OpenShift, Flavour::MicroShift, Flavour::Kubernetes],
        by_flavour: true,
        profiles: &[],
        requires: &[],
        pods: &[],
        stand_ins: &[],
        inside: Inside::Never,
        of_node: OfNode::No,
        expected: Duration::from_secs(1),
        deadline: Duration::from_secs(240),
        kind: CaseKind::Static(|_| {
            CheckResult::without_checks(Verdict::Error {
                message: "the case declares no assertion".to_owned(),
            })
        }),
    };

    /// Whether it needs an `R` of the cluster.
    #[must_use]
    pub fn needs<R: Requirement>(&self) -> bool {
        requirement::includes::<R>(self.requires)
    }

    /// Its id for the names of objects. The name of a node may be longer than they can be.
    #[must_use]
    pub fn object_name(&self) -> String {
        let base = base_id(self.id).to_ascii_lowercase();
        match self.of_node {
            OfNode::This(node) => format!("{base}-{}", node.number),
            OfNode::No | OfNode::Each => base,
        }
    }

    /// The name path, `suite::name`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}::{}", self.suite, self.name)
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Case({} {})", self.id, self.path())
    }
}
