//! A default `StorageClass`.

use super::{Decision, Requirement};
use crate::facts::{Fact, Facts};

/// A PVC without a `storageClassName` gets a volume.
#[derive(Clone, Copy, Debug)]
pub struct DefaultStorageClass;

impl Requirement for DefaultStorageClass {
    fn describe(&self) -> String {
        "a default StorageClass".to_owned()
    }

    fn decide(&self, facts: &Facts) -> Decision {
        match &facts.default_storage {
            Fact::Known { value: None, source } => Decision::unmet(
                format!(
                    "the cluster has no default StorageClass, so PVCs get no volume (read from: \
                     {source})"
                ),
                "install a provisioner whose volumes lie on ext4, xfs or btrfs, and annotate its \
                 class with `storageclass.kubernetes.io/is-default-class: \"true\"`",
            ),
            _ => Decision::Met,
        }
    }

    fn unknown(&self, facts: &Facts) -> Option<String> {
        facts.default_storage.why_unknown().map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};

    #[test]
    fn no_default_class_is_unmet_and_an_unknown_one_is_not() {
        let facts = Facts { default_storage: Fact::known(None, "test"), ..able() };
        assert!(reason(DefaultStorageClass.decide(&facts)).contains("StorageClass"));
        let facts = Facts { default_storage: Fact::unknown("403"), ..able() };
        assert_eq!(DefaultStorageClass.decide(&facts), Decision::Met);
        assert_eq!(DefaultStorageClass.unknown(&facts).as_deref(), Some("403"));
    }
}
