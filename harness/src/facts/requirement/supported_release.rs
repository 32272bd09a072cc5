//! A release with nested containers.

use super::{Decision, Requirement};
use crate::{
    base::repair::Repair,
    facts::{FIRST_DEFAULT, FIRST_OPENSHIFT, Facts, Flavour},
};

/// The release is one whose vendor has nested containers in it: OpenShift 4.19, MicroShift
/// 4.20 or newer. Kubernetes meets it by its gates alone.
#[derive(Clone, Copy, Debug)]
pub struct SupportedRelease;

impl SupportedRelease {
    /// What `nestcheck preflight` calls it.
    pub const TITLE: &str = "a release that can have nested containers";
}

impl Requirement for SupportedRelease {
    fn describe(&self) -> String {
        "a release with nested containers".to_owned()
    }

    fn decide(&self, facts: &Facts) -> Decision {
        let Some((flavour, (major, minor))) = first_release(facts) else { return Decision::Met };
        match (facts.installed(), facts.release.source()) {
            (Some(release), Some(source)) if !release.at_least(major, minor) => {
                let product = flavour.product();
                let (default_major, default_minor) = FIRST_DEFAULT;
                Decision::unmet(
                    format!(
                        "{product} {release} is older than {major}.{minor}, the first release \
                         with nested containers (read from: {source})"
                    ),
                    format!("use {product} {default_major}.{default_minor} or newer"),
                )
            }
            _ => Decision::Met,
        }
    }

    fn unknown(&self, facts: &Facts) -> Option<String> {
        let (_, first) = first_release(facts)?;
        let unconfirmed = facts.is_at_least(first).is_none();
        facts.release.why_unknown().filter(|_| unconfirmed).map(str::to_owned)
    }

    fn repairs(&self, _: &Facts) -> Vec<Repair> {
        vec![Repair::Upgrade]
    }

    fn concerns(&self, facts: &Facts) -> bool {
        facts.flavour.value() != Some(&Flavour::Kubernetes)
    }
}

/// The first release of the flavour that has nested containers in it.
fn first_release(facts: &Facts) -> Option<(Flavour, (u32, u32))> {
    match *facts.flavour.value()? {
        Flavour::Kubernetes => None,
        flavour @ Flavour::OpenShift => Some((flavour, FIRST_OPENSHIFT)),
        flavour @ Flavour::MicroShift => Some((flavour, FIRST_DEFAULT)),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};
    use crate::facts::{Fact, Release};

    fn installed(flavour: Flavour, release: &str) -> Facts {
        Facts {
            flavour: Fact::known(flavour, "test"),
            release: Fact::known(Release::parse(release), "test"),
            ..able()
        }
    }

    #[test]
    fn each_product_has_its_first_release() {
        for (flavour, release, words) in [
            (Flavour::OpenShift, "4.18.20", "OpenShift 4.18.20 is older than 4.19"),
            (Flavour::MicroShift, "4.19.7", "MicroShift 4.19.7 is older than 4.20"),
            (Flavour::OpenShift, "4.19.7", "met"),
            (Flavour::MicroShift, "4.20.1", "met"),
        ] {
            let reported = reason(SupportedRelease.decide(&installed(flavour, release)));
            assert!(reported.starts_with(words), "{reported}");
        }
        assert_eq!(SupportedRelease.decide(&able()), Decision::Met);
        assert!(!SupportedRelease.concerns(&able()), "Kubernetes has no such release");
    }

    #[test]
    fn the_version_of_kubernetes_may_stand_in_for_a_release_that_was_not_read() {
        let unread =
            Facts { release: Fact::unknown("403"), ..installed(Flavour::OpenShift, "4.19.7") };
        assert_eq!(SupportedRelease.unknown(&unread), None, "1.32 is OpenShift 4.19");
        let unread = Facts { flavour: Fact::known(Flavour::MicroShift, "test"), ..unread };
        assert_eq!(SupportedRelease.unknown(&unread).as_deref(), Some("403"));
    }
}
