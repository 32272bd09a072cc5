//! Feature gates as the components' own metrics show them.

use super::{Fact, Gate, Lookup};

/// Reads a gate from a `/metrics` page: the series `kubernetes_feature_enabled` (KEP-1206 style
/// component-base metric). None where the component does not list the gate: a gate that was
/// removed after graduation is on, so absence says nothing.
fn gate(page: &str, gate: &str) -> Option<bool> {
    let name = format!("name=\"{gate}\"");
    page.lines()
        .filter(|line| line.starts_with("kubernetes_feature_enabled{") && line.contains(&name))
        .find_map(|line| match line.rsplit(' ').next() {
            Some("1") => Some(true),
            Some("0") => Some(false),
            _ => None,
        })
}

/// What a page says of a gate; `component` names whose page it is.
pub(super) fn fact(page: &Lookup<String>, named: Gate, component: &str) -> Fact<bool> {
    fact_of(page, named.name(), component)
}

/// What a page says of a gate by its name.
pub(super) fn fact_of(page: &Lookup<String>, named: &str, component: &str) -> Fact<bool> {
    page.fact("metrics", |page| match gate(page, named) {
        Some(on) => Fact::known(on, format!("{component} metric `kubernetes_feature_enabled`")),
        None => Fact::unknown(format!("the {component}'s metrics don't list the gate")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# TYPE kubernetes_feature_enabled gauge\n\
        kubernetes_feature_enabled{name=\"ProcMountType\",stage=\"BETA\"} 0\n\
        kubernetes_feature_enabled{name=\"UserNamespacesSupport\",stage=\"BETA\"} 1\n";

    #[test]
    fn a_gate_is_on_off_or_not_listed() {
        let found = |page, named: Gate| gate(page, named.name());
        assert_eq!(found(PAGE, Gate::UserNamespacesSupport), Some(true));
        assert_eq!(found(PAGE, Gate::ProcMountType), Some(false));
        assert_eq!(found("", Gate::ProcMountType), None);
    }

    #[test]
    fn what_could_not_be_read_is_unknown_and_never_false() {
        let unread = fact(&Lookup::Failed("403".to_owned()), Gate::ProcMountType, "API server");
        assert_eq!(unread, Fact::unknown("403"));
        let unlisted = fact(&Lookup::Found(String::new()), Gate::ProcMountType, "API server");
        assert_eq!(unlisted.value(), None);
        let off = fact(&Lookup::Found(PAGE.to_owned()), Gate::ProcMountType, "API server");
        assert_eq!(off.value(), Some(&false));
    }
}
