//! Named sets of cases.

use crate::{
    Error, Result,
    engine::{Case, Inside},
    facts::{Facts, Flavour},
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
    /// Workspaces with the settings that the cluster itself has, in place of the run's (OpenShift).
    AsConfigured,
    /// The cases that need no API: `nestcheck inside` runs them where it is itself.
    Inside,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 6] = [
        Self::OpenShift,
        Self::MicroShift,
        Self::Kubernetes,
        Self::Smoke,
        Self::AsConfigured,
        Self::Inside,
    ];

    /// The profile's name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenShift => "openshift",
            Self::MicroShift => "microshift",
            Self::Kubernetes => "kubernetes",
            Self::Smoke => "smoke",
            Self::AsConfigured => "as-configured",
            Self::Inside => "inside",
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

    /// The cluster's own profile; Kubernetes where the flavour could not be read.
    #[must_use]
    pub fn of_cluster(facts: &Facts) -> Self {
        Self::of(facts.flavour.value().copied().unwrap_or(Flavour::Kubernetes))
    }

    /// Whether a case belongs to the profile.
    #[must_use]
    pub fn has(self, case: &Case) -> bool {
        let by_flavour = match self {
            Self::OpenShift => case.flavours.contains(&Flavour::OpenShift),
            Self::MicroShift => case.flavours.contains(&Flavour::MicroShift),
            Self::Kubernetes => case.flavours.contains(&Flavour::Kubernetes),
            Self::Smoke | Self::AsConfigured => false,
            Self::Inside => return case.inside != Inside::Never,
        };
        (case.by_flavour && by_flavour) || case.profiles.contains(&self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_profile_is_an_error_that_names_the_known_ones() {
        let error = Profile::parse("openshit").expect_err("a typo");
        assert!(error.hint().is_some_and(|hint| hint.contains("`openshift`")));
    }
}
