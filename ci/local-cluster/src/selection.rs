//! The options that choose a distribution, and what they mean together.

use std::path::PathBuf;

use clap::Args;

use crate::artifacts::Source;
use crate::artifacts::handover::Components;
use crate::console;
use crate::error::Error;
use crate::settings::openshift::{FeatureSet, Release};
use crate::settings::{Additions, Distribution, Flavour, KubernetesVersion};

/// Which distribution.
#[derive(Args, Clone, Debug, Default)]
pub struct Selection {
    /// The kind of cluster; `up` without it is `kubernetes`, `build` is both.
    #[arg(long, value_enum)]
    flavour: Option<Flavour>,
    /// The version of Kubernetes, for flavour `kubernetes` [default: 1.32.5].
    #[arg(long, value_enum)]
    kubernetes: Option<KubernetesVersion>,
    /// The release of OpenShift, for flavour `openshift` [default: 4.20].
    #[arg(long, value_enum)]
    release: Option<Release>,
    /// The folder with the programs of OpenShift [default: the variable
    /// `LOCAL_CLUSTER_COMPONENTS`, or `shared` beside the checkout].
    #[arg(long, value_name = "DIR")]
    components: Option<PathBuf>,
}

impl Selection {
    /// The distribution of a cluster.
    ///
    /// # Errors
    ///
    /// Fails when an option belongs to the other flavour.
    pub fn distribution(&self, feature_set: Option<FeatureSet>) -> Result<Distribution, Error> {
        let flavour = self.flavour.unwrap_or_default();
        self.check(flavour, feature_set)?;
        Ok(match flavour {
            Flavour::Kubernetes => {
                Distribution::Kubernetes { kubernetes: self.kubernetes.unwrap_or_default() }
            }
            Flavour::Openshift => Distribution::Openshift {
                release: self.release.unwrap_or_default(),
                feature_set: feature_set.unwrap_or_default(),
            },
        })
    }

    /// What a distribution is built from.
    ///
    /// # Errors
    ///
    /// Fails when the components folder lacks something.
    pub fn source(&self, distribution: Distribution, with: Additions) -> Result<Source, Error> {
        match distribution {
            Distribution::Kubernetes { kubernetes } => Ok(Source::Kubernetes(kubernetes)),
            Distribution::Openshift { release, .. } => self.openshift(release, with),
        }
    }

    /// What `build` builds: one flavour, or both if the components are there.
    ///
    /// # Errors
    ///
    /// Fails when an option belongs to the other flavour, or when components lack
    /// that were asked for.
    pub fn sources(&self) -> Result<Vec<Source>, Error> {
        if let Some(flavour) = self.flavour {
            self.check(flavour, None)?;
        }
        let kubernetes = Source::Kubernetes(self.kubernetes.unwrap_or_default());
        let releases = self.release.map_or(Release::ALL.to_vec(), |release| vec![release]);
        let openshift =
            releases.into_iter().map(|release| self.openshift(release, Additions::default()));
        match self.flavour {
            Some(Flavour::Kubernetes) => Ok(vec![kubernetes]),
            Some(Flavour::Openshift) => openshift.collect(),
            None => {
                let openshift: Result<Vec<_>, Error> = openshift.collect();
                let asked = self.release.is_some() || self.components.is_some();
                let openshift = match openshift {
                    Err(error) if !asked => {
                        console::progress(format_args!("leaving out flavour `openshift`: {error}"));
                        Vec::new()
                    }
                    other => other?,
                };
                Ok(std::iter::once(kubernetes).chain(openshift).collect())
            }
        }
    }

    fn openshift(&self, release: Release, with: Additions) -> Result<Source, Error> {
        let mut components = Components::locate(self.components.as_deref(), release)?;
        if with.devworkspace_operator {
            components = components.require_operator()?;
        }
        Ok(Source::Openshift(release, components, with))
    }

    fn check(&self, flavour: Flavour, feature_set: Option<FeatureSet>) -> Result<(), Error> {
        let (other, stray) = match flavour {
            Flavour::Kubernetes => (
                "openshift",
                [
                    ("--release", self.release.is_some()),
                    ("--feature-set", feature_set.is_some()),
                    ("--components", self.components.is_some()),
                ],
            ),
            Flavour::Openshift => (
                "kubernetes",
                [("--kubernetes", self.kubernetes.is_some()), ("", false), ("", false)],
            ),
        };
        match stray.into_iter().find(|&(_, given)| given) {
            None => Ok(()),
            Some((option, _)) => {
                Err(Error::usage(format!("`{option}` is an option of flavour `{other}`"))
                    .with_hint(format!("add `--flavour {other}`, or leave `{option}` out")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_help() {
        let kubernetes = Selection::default().distribution(None).unwrap();
        assert_eq!(kubernetes.to_string(), "kubernetes 1.32.5");
        let openshift = Selection { flavour: Some(Flavour::Openshift), ..Selection::default() };
        let openshift = openshift.distribution(None).unwrap();
        assert_eq!(openshift.to_string(), "openshift 4.20, feature set Default");
    }

    #[test]
    fn options_of_the_other_flavour_are_refused() {
        let stray = Selection { release: Some(Release::V4_19), ..Selection::default() };
        let error = stray.distribution(None).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert_eq!(error.to_string(), "`--release` is an option of flavour `openshift`");
        let feature_set = Some(FeatureSet::CustomNoUpgrade);
        assert!(Selection::default().distribution(feature_set).is_err());
        let stray = Selection {
            flavour: Some(Flavour::Openshift),
            kubernetes: Some(KubernetesVersion::V1_34_4),
            ..Selection::default()
        };
        assert!(stray.distribution(None).is_err());
    }

    #[test]
    fn only_asked_for_components_must_be_there() {
        let nowhere = Some("/nonexistent".into());
        let named = Selection { components: nowhere.clone(), ..Selection::default() };
        assert!(named.sources().is_err());
        let kubernetes = Selection { flavour: Some(Flavour::Kubernetes), ..Selection::default() };
        assert_eq!(kubernetes.sources().unwrap().len(), 1);
    }
}
