//! PRE: what kind of cluster it is, and whether it has what nested containers need.

mod cluster;
mod live;
mod nodes;

#[cfg(test)]
mod tests {
    use harness::facts::{Fact, Facts, FeatureSet, Flavour, KubernetesVersion, Release};

    use crate::suite::static_checks::tests::{
        expect, kubernetes, node, openshift, openshift_4_19, updating, with_nodes,
    };

    fn with_kubelet(kubelet: &str) -> Facts {
        let mut two = node("two");
        two.kubelet = kubelet.into();
        with_nodes(kubernetes(), vec![node("one"), two])
    }

    fn with_runtime(runtime: &str) -> Facts {
        let mut two = node("two");
        two.runtime = runtime.into();
        with_nodes(kubernetes(), vec![node("one"), two])
    }

    #[test]
    fn the_kind_is_reported_and_fits_the_release() {
        expect("PRE-01", &kubernetes(), "pass", "");
        expect("PRE-01", &openshift_4_19(), "pass", "");
        let odd = Facts { flavour: Fact::known(Flavour::OpenShift, "test"), ..kubernetes() };
        expect("PRE-01", &odd, "fail", "release of OpenShift or MicroShift");
        let unread = Facts { release: Fact::unknown("403"), ..odd };
        expect("PRE-01", &unread, "pass", "");
        expect("PRE-01", &Facts { flavour: Fact::unknown("403"), ..unread }, "blocked", "403");
    }

    #[test]
    fn kubelets_are_three_minor_versions_older_at_most_and_never_newer() {
        for kubelet in ["v1.33.9", "v1.32.5", "v1.30.0"] {
            expect("PRE-02", &with_kubelet(kubelet), "pass", "");
        }
        for kubelet in ["v1.34.0", "v1.29.9"] {
            expect("PRE-02", &with_kubelet(kubelet), "fail", "kubelet of node `two`");
        }
        expect("PRE-02", &with_kubelet("unknown"), "blocked", "`unknown`");
        let unread = Facts { nodes: Fact::unknown("403"), ..kubernetes() };
        expect("PRE-02", &unread, "blocked", "403");
    }

    #[test]
    fn a_version_out_of_scope_blocks() {
        let version = KubernetesVersion { minor: 29, full: "v1.29.1".into() };
        expect("PRE-02", &Facts { version, ..kubernetes() }, "blocked", "older than 1.30");
        let release = Fact::known(Release::parse("4.18.9"), "test");
        let old = Facts { release, ..openshift_4_19() };
        expect("PRE-02", &old, "blocked", "4.18.9 is older than 4.19");
        expect("PRE-02", &openshift_4_19(), "pass", "");
        expect("PRE-02", &updating(openshift_4_19()), "blocked", "being updated");
    }

    #[test]
    fn a_rollout_is_inconclusive() {
        expect("PRE-03", &openshift_4_19(), "pass", "");
        expect("PRE-03", &updating(openshift_4_19()), "blocked", "updated to 4.20.1");
        let unread = Facts { rollout: Fact::unknown("403"), ..openshift_4_19() };
        expect("PRE-03", &unread, "blocked", "403");
        expect("PRE-03", &kubernetes(), "not-applicable", "kubernetes");
    }

    #[test]
    fn each_nodes_kernel_and_runtime_are_evaluated() {
        expect("PRE-04", &kubernetes(), "pass", "");
        let mut two = node("two");
        two.kernel = "5.15.0-1050-azure".into();
        let old = with_nodes(kubernetes(), vec![node("one"), two]);
        expect("PRE-04", &old, "fail", "kernel of node `two`");
        for runtime in ["containerd://2.4.2", "containerd://2.0.0-rc.1", "cri-o://1.25.0"] {
            expect("PRE-05", &with_runtime(runtime), "pass", "");
        }
        for runtime in ["containerd://1.7.27", "cri-o://1.24.6"] {
            expect("PRE-05", &with_runtime(runtime), "fail", "runtime of node `two`");
        }
        expect("PRE-05", &with_runtime("docker://28.0"), "blocked", "`docker://28.0`");
        expect("PRE-05", &openshift_4_19(), "blocked", "UserNamespacesSupport");
    }

    #[test]
    fn a_handler_that_says_nothing_blocks() {
        expect("PRE-06", &kubernetes(), "pass", "");
        let mut two = node("two");
        two.user_namespaces = Fact::unknown("it lists no features");
        let silent = with_nodes(kubernetes(), vec![node("one"), two.clone()]);
        expect("PRE-06", &silent, "blocked", "node `two`: it lists no features");
        two.user_namespaces = Fact::known(false, "test");
        let unable = with_nodes(kubernetes(), vec![node("one"), two]);
        expect("PRE-06", &unable, "blocked", "can't make user namespaces");
    }

    #[test]
    fn a_schema_without_the_field_fails_only_a_release_that_has_it() {
        let without = |version| Facts {
            scc_schema: Fact::known(false, "schema"),
            ..openshift(version, FeatureSet::Default)
        };
        expect("PRE-07", &openshift("4.20.1", FeatureSet::Default), "pass", "");
        expect("PRE-07", &without("4.20.1"), "fail", "`userNamespaceLevel`");
        expect("PRE-07", &without("4.19.7"), "blocked", "lacks `userNamespaceLevel`");
        let unread = Facts { scc_schema: Fact::unknown("403"), ..openshift_4_19() };
        expect("PRE-07", &unread, "blocked", "403");
        expect("PRE-07", &updating(without("4.20.1")), "blocked", "being updated");
    }

    #[test]
    fn operators_that_are_not_there_are_not_evaluated() {
        expect("PRE-08", &kubernetes(), "not-applicable", "neither Che");
        let mut unread = kubernetes();
        unread.devspaces.che = Fact::unknown("403");
        expect("PRE-08", &unread, "blocked", "403");
        let mut off = kubernetes();
        off.devspaces.configs = Fact::known(Vec::new(), "test");
        expect("PRE-08", &off, "pass", "");
        let mut dangerous = openshift_4_19();
        dangerous.devspaces.che = Fact::known(
            vec![harness::facts::CheCluster {
                namespace: "che".into(),
                name: "che".into(),
                version: None,
                image: None,
                run: harness::facts::Switch::On(harness::facts::RunConfiguration::default()),
                build: None,
                network_policies: None,
            }],
            "test",
        );
        expect("PRE-08", &dangerous, "fail", "toggle is on");
    }
}
