//! Feature gates as the components' own metrics show them.

use super::Gate;

/// Reads a gate from a `/metrics` page: the series `kubernetes_feature_enabled` (KEP-1206 style
/// component-base metric). None where the component does not list the gate: a gate that was
/// removed after graduation is on, so absence says nothing.
pub(super) fn gate(page: &str, gate: Gate) -> Option<bool> {
    let name = format!("name=\"{gate}\"");
    page.lines()
        .filter(|line| line.starts_with("kubernetes_feature_enabled{") && line.contains(&name))
        .find_map(|line| match line.rsplit(' ').next() {
            Some("1") => Some(true),
            Some("0") => Some(false),
            _ => None,
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
        assert_eq!(gate(PAGE, Gate::UserNamespacesSupport), Some(true));
        assert_eq!(gate(PAGE, Gate::ProcMountType), Some(false));
        assert_eq!(gate("", Gate::ProcMountType), None);
    }
}
