//! What a mutant is: one thing that is broken, and the cases that must fail because of it.

use harness::facts::Facts;

use crate::inputs::Fault;

/// One broken thing: an image, a pod, a fixture, a setting of the cluster, or what is read of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mutant {
    /// Its name, for the table.
    pub(crate) name: &'static str,
    /// What is broken, as a sentence without a period.
    pub(crate) breaks: &'static str,
    /// The cases that must fail because of it.
    pub(crate) kills: &'static [Kill],
}

/// The id of a case that a mutant must make fail, and words that its message and its hint must
/// have. In the words ` … ` stands for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kill(pub(crate) &'static str, pub(crate) &'static str);

/// One run in which several unrelated things are broken, so that each red case belongs to one of
/// them.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    /// Its name, for `--only`.
    pub(crate) name: &'static str,
    /// What the cases look at.
    pub(crate) target: Target,
    /// What is broken on it.
    pub(crate) faults: &'static [&'static dyn Fault],
    /// The cases that run besides a sample of all, as filters of `nestcheck run`. Every case if
    /// empty.
    pub(crate) cases: &'static [&'static str],
    /// Who must notice.
    pub(crate) mutants: &'static [Mutant],
    /// Killed static checks that are blocked instead of failing, because this fault can only block
    /// them.
    pub(crate) blocked: &'static [&'static str],
    /// Further cases that are red because they need what is broken.
    pub(crate) also_affected: &'static [&'static str],
}

impl Scenario {
    /// An empty scenario, for `..Scenario::NEW`.
    pub(crate) const NEW: Self = Self {
        name: "",
        target: Target::Cluster,
        faults: &[],
        cases: &[],
        mutants: &[],
        blocked: &[],
        also_affected: &[],
    };
}

/// What the cases of a scenario look at.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// The cluster itself.
    Cluster,
    /// Another cluster of this name. Cases run although its preflight blocks them.
    OtherCluster(&'static str),
    /// The facts of the cluster, changed after they were read. Only static checks run.
    Facts(fn(&mut Facts)),
}
