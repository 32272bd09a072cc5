//! What a conformance case is.

use std::{cmp::Reverse, future::Future, pin::Pin, time::Duration};

use crate::{
    context::Context,
    event::TruthCheck,
    facts::{Facts, Flavour},
    outcome::{Level, Verdict},
    pod_template::PodTemplate,
    profile::Profile,
    requirement::Requirement,
    sandbox::Audit,
};

/// A case that runs.
pub type CaseFuture = Pin<Box<dyn Future<Output = CaseResult> + Send>>;

/// What a case returns: nothing where its assertion holds.
pub type CaseResult = Result<(), Failure>;

/// One assertion about a cluster.
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
    /// The profiles that it belongs to besides those of its flavours.
    pub profiles: &'static [Profile],
    /// What it needs of the cluster.
    pub requires: &'static [Requirement],
    /// The pods that it looks at; cases share them.
    pub pods: &'static [&'static PodTemplate],
    /// How long it takes on a small cluster, to the second. Longer cases start earlier.
    pub expected: Duration,
    /// How long it may run, once its pods are ready.
    pub deadline: Duration,
    /// The assertion.
    pub kind: CaseKind,
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
    /// case is settled when the plan is made, so it has a verdict on an unsupported cluster too.
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
    #[must_use]
    pub fn of(checks: Vec<TruthCheck>, hint: &str) -> Self {
        let broken = checks.iter().find(|check| !check.holds).map(|check| {
            format!("{}: expected {}, observed {}", check.name, check.expected, check.observed)
        });
        let verdict = broken.map_or(Verdict::Pass, |message| Verdict::Fail {
            message,
            hint: Some(hint.to_owned()),
        });
        Self { checks, verdict }
    }

    /// The facts that decide it could not be read, or the assertion has no meaning here.
    #[must_use]
    pub fn without_checks(verdict: Verdict) -> Self {
        Self { checks: Vec::new(), verdict }
    }
}

impl Case {
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
        profiles: &[],
        requires: &[],
        pods: &[],
        expected: Duration::from_secs(1),
        deadline: Duration::from_secs(120),
        kind: CaseKind::Static(|_| {
            CheckResult::without_checks(Verdict::Error {
                message: "the case declares no assertion".to_owned(),
            })
        }),
    };

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

/// Why a case did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The product does not do what the case asserts.
    Product {
        /// What was expected and what was seen.
        message: String,
        /// The cause and its cure, where they are known.
        hint: Option<String>,
    },
    /// The harness, the node or the API broke; the product was not judged.
    Harness {
        /// What broke.
        message: String,
    },
    /// A connection, the API server or a node was lost; the product was not judged, and may be if
    /// the case is tried again.
    Lost {
        /// What was lost.
        message: String,
    },
    /// Only the pod could tell that a requirement is unmet, so nothing was judged.
    Blocked {
        /// Which requirement, and where that was seen.
        reason: String,
        /// What would meet it.
        remedy: String,
    },
    /// Only the pod could tell that the assertion has no meaning here.
    NotApplicable {
        /// Why.
        reason: String,
    },
    /// The product does not do what the case asserts, for a cause that is known and accepted.
    KnownIssue {
        /// The identifier of the signature, such as `F28`.
        signature: String,
        /// What was seen.
        message: String,
    },
}

impl Failure {
    /// The product does not do what was asserted.
    #[must_use]
    pub fn product(message: impl Into<String>) -> Self {
        Self::Product { message: message.into(), hint: None }
    }

    /// Something other than the product broke.
    #[must_use]
    pub fn harness(message: impl Into<String>) -> Self {
        Self::Harness { message: message.into() }
    }

    /// A connection, the API server or a node was lost.
    #[must_use]
    pub fn lost(message: impl Into<String>) -> Self {
        Self::Lost { message: message.into() }
    }

    /// A requirement is unmet, which only the pod could tell.
    #[must_use]
    pub fn blocked(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Blocked { reason: reason.into(), remedy: remedy.into() }
    }

    /// The assertion has no meaning here, which only the pod could tell.
    #[must_use]
    pub fn not_applicable(reason: impl Into<String>) -> Self {
        Self::NotApplicable { reason: reason.into() }
    }

    /// A failure whose cause is known and accepted. Return it only where the cause was seen: any
    /// other failure is the product's.
    #[must_use]
    pub fn known_issue(signature: impl Into<String>, message: impl Into<String>) -> Self {
        Self::KnownIssue { signature: signature.into(), message: message.into() }
    }

    /// What was expected and what was seen, or why nothing was judged.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::Product { message, .. }
            | Self::Harness { message }
            | Self::Lost { message }
            | Self::KnownIssue { message, .. } => message,
            Self::Blocked { reason, .. } | Self::NotApplicable { reason } => reason,
        }
    }

    /// Adds more of what was seen to a failure of the product.
    #[must_use]
    pub fn adding(self, more: &str) -> Self {
        match self {
            Self::Product { message, hint } => {
                Self::Product { message: format!("{message}; {more}"), hint }
            }
            other => other,
        }
    }

    /// Adds the cause and its cure to a failure of the product.
    #[must_use]
    pub fn with_hint(self, hint: Option<impl Into<String>>) -> Self {
        match self {
            Self::Product { message, .. } => Self::Product { message, hint: hint.map(Into::into) },
            other => other,
        }
    }
}

impl From<crate::Error> for Failure {
    fn from(error: crate::Error) -> Self {
        let message = error.to_string();
        if error.is_loss() { Self::lost(message) } else { Self::harness(message) }
    }
}

impl From<Failure> for Verdict {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Product { message, hint } => Self::Fail { message, hint },
            Failure::Harness { message } | Failure::Lost { message } => Self::Error { message },
            Failure::Blocked { reason, remedy } => Self::Blocked { reason, remedy },
            Failure::NotApplicable { reason } => Self::NotApplicable { reason },
            Failure::KnownIssue { signature, message } => Self::KnownIssue { signature, message },
        }
    }
}

/// Fails the case unless `holds`; the message says what was expected and what was seen.
///
/// # Errors
///
/// A failure of the product with the message.
pub fn ensure(holds: bool, message: impl FnOnce() -> String) -> CaseResult {
    if holds { Ok(()) } else { Err(Failure::product(message())) }
}
