//! The options that choose a distribution, and what they mean together.

use std::path::PathBuf;

use clap::Args;

use crate::{
    artifacts::{Source, real::Components},
    error::Error,
    settings::{
        Additions, Distribution, Flavour, KubernetesVersion,
        openshift::{FeatureSet, Release, ZStream},
    },
};

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
    /// A folder with programs of a real OpenShift cluster, for flavour `openshift`: each takes the
    /// place of its stand-in [default: the variable `LOCAL_CLUSTER_COMPONENTS`, or none].
    #[arg(long, value_name = "DIR")]
    components: Option<PathBuf>,
}

impl Selection {
    /// The distribution of a cluster.
    pub fn distribution(
        &self,
        feature_set: Option<FeatureSet>,
        z_stream: Option<ZStream>,
    ) -> Result<Distribution, Error> {
        let flavour = self.flavour.unwrap_or_default();
        self.check(flavour, feature_set, z_stream)?;
        Ok(match flavour {
            Flavour::Kubernetes => {
                Distribution::Kubernetes { kubernetes: self.kubernetes.unwrap_or_default() }
            }
            Flavour::Openshift => {
                let release = self.release.unwrap_or_default();
                let z_stream = z_stream.unwrap_or_default();
                release.check(z_stream)?;
                let feature_set = feature_set.unwrap_or_default();
                Distribution::Openshift { release, feature_set, z_stream }
            }
        })
    }

    /// What a distribution is built from.
    pub fn source(&self, distribution: Distribution, with: Additions) -> Result<Source, Error> {
        match distribution {
            Distribution::Kubernetes { kubernetes } => Ok(Source::kubernetes(kubernetes, with)),
            Distribution::Openshift { release, .. } => {
                let components = Components::locate(self.components.as_deref())?;
                Ok(Source::openshift(release, components, with))
            }
        }
    }

    /// What `build` builds: one flavour, or both, with one release or all.
    pub fn sources(&self) -> Result<Vec<Source>, Error> {
        if let Some(flavour) = self.flavour {
            self.check(flavour, None, None)?;
        }
        let mut sources = Vec::new();
        // The operator's definitions cost nothing, and a later `up` may want them.
        let with = Additions { devworkspace_operator: true, ..Additions::default() };
        if self.flavour != Some(Flavour::Openshift) {
            sources.push(Source::kubernetes(self.kubernetes.unwrap_or_default(), with));
        }
        if self.flavour != Some(Flavour::Kubernetes) {
            let components = Components::locate(self.components.as_deref())?;
            let releases = self.release.map_or(Release::ALL.to_vec(), |release| vec![release]);
            let of = |release| Source::openshift(release, components.clone(), with);
            sources.extend(releases.into_iter().map(of));
        }
        Ok(sources)
    }

    fn check(
        &self,
        flavour: Flavour,
        feature_set: Option<FeatureSet>,
        z_stream: Option<ZStream>,
    ) -> Result<(), Error> {
        let (other, stray) = match flavour {
            Flavour::Kubernetes => (
                "openshift",
                vec![
                    ("--release", self.release.is_some()),
                    ("--feature-set", feature_set.is_some()),
                    ("--z-stream", z_stream.is_some()),
                    ("--components", self.components.is_some()),
                ],
            ),
            Flavour::Openshift => ("kubernetes", vec![("--kubernetes", self.kubernetes.is_some())]),
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

    fn openshift(selection: Selection) -> Selection {
        Selection { flavour: Some(Flavour::Openshift), ..selection }
    }

    #[test]
    fn the_defaults_are_those_of_the_help() {
        let kubernetes = Selection::default().distribution(None, None).unwrap();
        assert_eq!(kubernetes.to_string(), "kubernetes 1.32.5");
        let openshift = openshift(Selection::default()).distribution(None, None).unwrap();
        assert!(openshift.to_string().starts_with("openshift 4.20"), "{openshift}");
        assert!(openshift.to_string().ends_with("feature set Default"), "{openshift}");
    }

    #[test]
    fn options_of_the_other_flavour_are_refused() {
        let stray = Selection { release: Some(Release::V4_19), ..Selection::default() };
        let error = stray.distribution(None, None).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert_eq!(error.to_string(), "`--release` is an option of flavour `openshift`");
        let feature_set = Some(FeatureSet::CustomNoUpgrade);
        assert!(Selection::default().distribution(feature_set, None).is_err());
        assert!(Selection::default().distribution(None, Some(ZStream::Early)).is_err());
        let kubernetes = Some(KubernetesVersion::V1_37_2);
        let stray = openshift(Selection { kubernetes, ..Selection::default() });
        assert!(stray.distribution(None, None).is_err());
    }

    #[test]
    fn an_early_z_stream_is_one_of_4_20() {
        let early = Some(ZStream::Early);
        let of = |release| openshift(Selection { release, ..Selection::default() });
        assert!(of(None).distribution(None, early).is_ok());
        let error = of(Some(Release::V4_19)).distribution(None, early).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn a_components_folder_must_be_there_where_it_is_given() {
        let components = Some("/nonexistent".into());
        let given = openshift(Selection { components, ..Selection::default() });
        assert!(given.sources().is_err());
        let kubernetes = Selection { flavour: Some(Flavour::Kubernetes), ..Selection::default() };
        assert_eq!(kubernetes.sources().unwrap().len(), 1);
        let openshift = openshift(Selection::default());
        assert_eq!(openshift.sources().unwrap().len(), Release::ALL.len());
    }
}
