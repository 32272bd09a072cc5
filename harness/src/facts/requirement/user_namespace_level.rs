//! The field `userNamespaceLevel` of SCCs.

use super::{Decision, Requirement, gate::remedy};
use crate::{
    base::repair::Repair,
    facts::{FIRST_DEFAULT, Fact, Facts, Flavour},
};

/// An SCC can require a user namespace, where there are SCCs.
/// Without it an SCC that is meant for nested containers admits pods in the node's own
/// user namespace with the same capabilities.
#[derive(Clone, Copy, Debug)]
pub struct UserNamespaceLevel;

impl UserNamespaceLevel {
    /// What `nestcheck preflight` calls it.
    pub const TITLE: &str = "SCCs that require user namespaces";
}

impl Requirement for UserNamespaceLevel {
    fn describe(&self) -> String {
        "the field `userNamespaceLevel` of SCCs".to_owned()
    }

    fn decide(&self, facts: &Facts) -> Decision {
        let Fact::Known { value: false, source } = &facts.scc_schema else { return Decision::Met };
        // MicroShift never ships one.
        let lacks_one = facts.flavour.value() == Some(&Flavour::OpenShift)
            && facts.sccs.value().is_some_and(|all| !all.contains_key("nested-container"));
        let shipped = if lacks_one { ", and none for nested containers is shipped" } else { "" };
        Decision::unmet(
            format!(
                "the schema of SCCs lacks `userNamespaceLevel`, so none can \
                 require a user namespace{shipped} (read from: {source})"
            ),
            remedy(facts, "the API server"),
        )
    }

    fn repairs(&self, _: &Facts) -> Vec<Repair> {
        vec![Repair::Gates]
    }

    fn unknown(&self, facts: &Facts) -> Option<String> {
        match facts.is_at_least(FIRST_DEFAULT) {
            Some(true) => None,
            _ => facts.scc_schema.why_unknown().map(str::to_owned),
        }
    }

    fn concerns(&self, facts: &Facts) -> bool {
        !matches!(facts.scc_schema, Fact::NotApplicable { .. })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{super::tests::*, *};

    #[test]
    fn only_a_schema_without_the_field_is_unmet() {
        let facts = Facts { scc_schema: off(), ..able() };
        let reported = reason(UserNamespaceLevel.decide(&facts));
        assert!(reported.contains("lacks `userNamespaceLevel`, so none"), "{reported}");
        assert!(!reported.contains("is shipped"), "{reported}");
        let openshift = Facts {
            flavour: Fact::known(Flavour::OpenShift, "test"),
            sccs: Fact::known(BTreeMap::new(), "test"),
            ..facts
        };
        let reported = reason(UserNamespaceLevel.decide(&openshift));
        assert!(reported.contains("and none for nested containers is shipped"), "{reported}");
        let unread = Facts { scc_schema: Fact::unknown("403"), ..able() };
        assert_eq!(UserNamespaceLevel.decide(&unread), Decision::Met);
        assert_eq!(UserNamespaceLevel.unknown(&unread).as_deref(), Some("403"));
    }

    #[test]
    fn it_concerns_clusters_with_sccs() {
        assert!(!UserNamespaceLevel.concerns(&able()));
        assert!(UserNamespaceLevel.concerns(&Facts { scc_schema: off(), ..able() }));
    }
}
