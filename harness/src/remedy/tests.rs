use proptest::prelude::*;
use serde_json::json;

use super::{problem::WorkspaceObject, *};
use crate::{
    base::manifest,
    facts::{
        CheCluster, Fact, Facts, FeatureSet, Flavour, Release, Rollout, RunConfiguration, Switch,
        requirement::tests::able,
    },
    verdict::{Cause, Level, Verdict, event::CaseFinished},
};

fn declarations() -> Declarations {
    Declarations {
        scc: json!({"kind": "SecurityContextConstraints", "metadata": {"name": "nested-podman-scc"}}),
        runtime_class: json!({"kind": "RuntimeClass", "metadata": {"name": "nested"}}),
        kind_cluster: json!({
            "kind": "Cluster",
            "containerdConfigPatches": ["[plugins]\n"],
            "nodes": [{"extraMounts": [{"hostPath": "ci/kind/nested.json"}]}],
        }),
        base_specification: json!({"ociVersion": "1.3.0"}),
    }
}

fn platform(flavour: Flavour, release: Option<(u32, u32)>) -> Platform {
    Platform {
        flavour: Some(flavour),
        release,
        kubernetes_minor: 32,
        feature_set: (flavour == Flavour::OpenShift).then_some(FeatureSet::Default),
        ..Platform::default()
    }
}

fn circumstances(platform: Platform, declarations: &Declarations) -> Circumstances<'_> {
    Circumstances { platform, devices: None, scc: None, access: None, declarations }
}

fn problem(repairs: &[Repair]) -> Problem {
    Problem {
        wrong: "something is wrong".to_owned(),
        source: "test".to_owned(),
        hint: Some("correct it".to_owned()),
        cause: None,
        cases: Vec::new(),
        needs: repairs.iter().copied().map(Need::Repair).collect(),
    }
}

/// The remedies of changes on a kind of cluster.
fn of(repairs: &[Repair], platform: Platform) -> Remedies {
    let declarations = declarations();
    remedies(vec![problem(repairs)], &circumstances(platform, &declarations))
}

fn openshift(minor: u32) -> Platform {
    platform(Flavour::OpenShift, Some((4, minor)))
}

fn kubernetes(minor: u32) -> Platform {
    Platform { kubernetes_minor: minor, ..platform(Flavour::Kubernetes, None) }
}

fn objects(remedies: &Remedies) -> Vec<&Value> {
    let steps = remedies.remedies.iter().flat_map(|remedy| &remedy.steps);
    steps
        .filter_map(|step| match step {
            Step::Manifest { object } => Some(object),
            _ => None,
        })
        .collect()
}

#[test]
fn the_gates_of_openshift_are_a_feature_set_on_4_19_alone() {
    let found = of(&[Repair::Gates], openshift(19));
    assert_eq!(objects(&found)[0]["spec"], json!({"featureSet": "TechPreviewNoUpgrade"}));
    assert!(found.remedies[0].costs.contains(&Cost::NoUpgrade));
    assert!(found.without.is_empty());
    for minor in [18, 20] {
        let found = of(&[Repair::Gates], openshift(minor));
        assert_eq!((found.remedies.len(), found.without.len()), (0, 1), "4.{minor}");
    }
    let chosen = Platform { feature_set: Some(FeatureSet::CustomNoUpgrade), ..openshift(19) };
    let found = of(&[Repair::Gates], chosen);
    assert_eq!(objects(&found), Vec::<&Value>::new(), "it would replace a list of somebody's own");
}

#[test]
fn the_gates_of_kubernetes_are_flags_and_on_kind_a_new_cluster() {
    let printed = text(&of(&[Repair::Gates], kubernetes(32))).expect("text");
    for words in [
        "--feature-gates=UserNamespacesSupport=true,ProcMountType=true",
        "featureGates:\n  UserNamespacesSupport: true",
        "systemctl restart kubelet",
    ] {
        assert!(printed.contains(words), "{printed}");
    }
    let kubelet = text(&of(&[Repair::KubeletGate], kubernetes(32))).expect("text");
    assert!(!kubelet.contains("kube-apiserver"), "{kubelet}");
    let kind = of(&[Repair::Gates], Platform { is_kind: true, ..kubernetes(32) });
    assert_eq!(kind.remedies[0].costs, [Cost::NewCluster]);
    let printed = text(&kind).expect("text");
    assert!(printed.contains("  UserNamespacesSupport: true"), "{printed}");
    // Older ones lack them, newer ones lock them on.
    for minor in [29, 36] {
        assert_eq!(of(&[Repair::Gates], kubernetes(minor)).without.len(), 1, "1.{minor}");
    }
}

#[test]
fn only_an_upgrade_helps_an_old_release() {
    let declarations = declarations();
    let problems = vec![problem(&[Repair::Upgrade]), problem(&[Repair::Gates, Repair::Scc])];
    let found = remedies(problems, &circumstances(openshift(18), &declarations));
    assert_eq!((found.remedies.len(), found.without.len()), (0, 2));
}

#[test]
fn an_image_gets_all_packages_in_one_line_before_anything_else() {
    let found = of(&[Repair::SubordinateIds, Repair::Pasta, Repair::Nftables], kubernetes(34));
    let titles: Vec<_> = found.remedies.iter().map(|remedy| remedy.title.as_str()).collect();
    assert_eq!(
        titles,
        ["Install what the image lacks", "Give the image's user ranges of ids that fit a pod"]
    );
    let lines = containerfile(&found);
    assert!(lines.contains("--no-install-recommends passt nftables;"), "{lines}");
    assert!(lines.starts_with("USER root\n") && lines.ends_with("\nUSER 1000\n"), "{lines}");
    assert_eq!(manifests(&found).expect("YAML").lines().count(), 1, "a comment alone");

    let helpers = containerfile(&of(&[Repair::IdHelpers], kubernetes(34)));
    assert!(helpers.contains("setcap cap_setuid+ep"), "Debian ships them setuid: {helpers}");
}

#[test]
fn crio_gets_the_names_that_its_version_knows() {
    let with = |runtime: &str, flavour| {
        let runtimes = vec![runtime.to_owned()];
        of(&[Repair::CrioAnnotations], Platform { runtimes, ..platform(flavour, Some((4, 20))) })
    };
    let old = with("cri-o://1.33.4", Flavour::MicroShift);
    let printed = text(&old).expect("text");
    assert!(!printed.contains("devices.crio.io"), "1.34 and older do not start with it: {printed}");
    assert!(printed.contains("systemctl restart crio microshift"), "{printed}");
    let new = text(&with("cri-o://1.35.6", Flavour::MicroShift)).expect("text");
    assert!(new.contains("\"devices.crio.io\","), "{new}");
    let openshift = with("cri-o://1.33.4", Flavour::OpenShift);
    let object = objects(&openshift)[0];
    assert_eq!(object["kind"], "MachineConfig");
    let source = object.pointer("/spec/config/storage/files/0/contents/source");
    let source = source.and_then(Value::as_str).expect("a URL");
    let content = percent_encoding::percent_decode_str(&source["data:,".len()..]).decode_utf8();
    assert!(content.expect("text").contains("\"io.kubernetes.cri-o.LinkLogs\",\n]\n"), "{source}");
    assert_eq!(openshift.remedies[0].costs, [Cost::NodeReboot]);
    let containerd = with("containerd://2.2.0", Flavour::MicroShift);
    assert_eq!(containerd.without.len(), 1, "it has no such setting");
}

#[test]
fn a_pods_processes_and_the_settings_of_the_kernel_are_machine_configs_on_openshift() {
    let found =
        of(&[Repair::PodProcesses, Repair::KernelKeys, Repair::NetavarkModules], openshift(20));
    let kinds: Vec<_> = objects(&found).iter().map(|it| it["kind"].clone()).collect();
    assert_eq!(kinds, ["MachineConfig", "MachineConfig", "KubeletConfig"], "in their order");
    let names: std::collections::BTreeSet<_> =
        objects(&found).iter().map(|it| it["metadata"]["name"].to_string()).collect();
    assert_eq!(names.len(), 3, "one does not replace another");
}

#[test]
fn a_user_gets_a_role_for_one_scc_in_one_namespace() {
    let declarations = declarations();
    let access = Access {
        namespace: "work".to_owned(),
        user: Some("system:serviceaccount:work:builder".to_owned()),
    };
    let given = Circumstances {
        access: Some(access),
        scc: Some("nested-container".to_owned()),
        ..circumstances(openshift(20), &declarations)
    };
    let found = remedies(vec![problem(&[Repair::Scc])], &given);
    let [role, binding] = objects(&found)[..] else { panic!("{found:?}") };
    assert_eq!(role["rules"][0]["resourceNames"], json!(["nested-container"]));
    assert_eq!(binding["metadata"]["namespace"], "work");
    assert_eq!(binding["subjects"][0]["kind"], "ServiceAccount");

    let lacking = Circumstances { scc: None, access: None, ..given };
    let found = remedies(vec![problem(&[Repair::Scc])], &lacking);
    assert_eq!(objects(&found), [&declarations.scc]);
    assert!(text(&found).expect("text").contains("`--user NAME --namespace NAMESPACE`"));
}

fn che(name: &str, run: Switch) -> CheCluster {
    CheCluster {
        namespace: "devspaces".to_owned(),
        name: name.to_owned(),
        version: None,
        image: None,
        run,
        build: None,
        network_policies: None,
    }
}

#[test]
fn a_che_cluster_keeps_what_it_has_and_its_name_is_checked() {
    let declarations = declarations();
    let of_che = |che: CheCluster| {
        let needs = vec![Need::Workspaces(Box::new(WorkspaceObject::CheCluster(che)))];
        let problem = Problem { needs, ..problem(&[]) };
        remedies(vec![problem], &circumstances(openshift(20), &declarations))
    };
    let mut run = RunConfiguration { scc: Some("own".to_owned()), ..RunConfiguration::default() };
    run.pods.capabilities = vec!["AUDIT_WRITE".to_owned()];
    let found = of_che(che("devspaces", Switch::On(run)));
    let configured = &objects(&found)[0]["spec"]["devEnvironments"]["containerRunConfiguration"];
    assert_eq!(configured["openShiftSecurityContextConstraint"], "own");
    let add = &configured["containerSecurityContext"]["capabilities"]["add"];
    assert_eq!(*add, json!(["AUDIT_WRITE", "SETGID", "SETUID", "CHOWN"]));

    let off = of_che(che("devspaces", Switch::Off));
    assert_eq!(off.remedies[0].costs, [Cost::NewWorkspaces]);
    let hostile = of_che(che("a\nspec: {}", Switch::Off));
    assert_eq!((hostile.remedies.len(), hostile.without.len()), (0, 1));
}

#[test]
fn facts_show_what_is_unmet_and_a_rollout_comes_alone() {
    assert_eq!(of_facts(&able(), false), []);
    let nothing = remedies(Vec::new(), &circumstances(openshift(20), &declarations()));
    assert_eq!(text(&nothing).expect("text"), "nothing is unmet, and nothing failed\n");
    let unable = Facts {
        flavour: Fact::known(Flavour::OpenShift, "test"),
        release: Fact::known(Release::parse("4.19.7"), "test"),
        feature_set: Fact::known(FeatureSet::Default, "test"),
        keeps_host_users: Fact::known(false, "dry run"),
        ..able()
    };
    let problems = of_facts(&unable, false);
    assert!(problems[0].needs(Repair::Gates), "{problems:?}");
    let what = vec!["the MachineConfigPool `worker` is updating".to_owned()];
    let changing =
        Facts { rollout: Fact::known(Rollout::InProgress { what }, "pools"), ..unable.clone() };
    let problems = of_facts(&changing, false);
    assert_eq!((problems.len(), problems[0].needs.len()), (1, 0));
    let old = Facts { release: Fact::known(Release::parse("4.18.3"), "test"), ..unable };
    assert!(of_facts(&old, false).iter().any(|problem| problem.needs(Repair::Upgrade)));
}

fn finished(id: &str, verdict: Verdict) -> CaseFinished {
    CaseFinished {
        id: id.to_owned(),
        name: "a::b".to_owned(),
        suite: "a".to_owned(),
        title: "It works".to_owned(),
        level: Level::Core,
        verdict,
        duration_ms: 1,
    }
}

#[test]
fn a_known_issue_needs_no_remedy() {
    let known = Verdict::known_issue(crate::verdict::SignatureId::F28, "no cgroup");
    let all = [finished("POD-14", known), finished("POD-03", Verdict::fail("it broke", None))];
    let causes = crate::diagnosis::causes(&all);
    let problems = of_causes("report", &causes, &all);
    let ids: Vec<_> = problems.iter().flat_map(|problem| &problem.cases).collect();
    assert_eq!(ids, ["POD-03"]);
}

proptest! {
    /// What a report or a cluster says stays in comments, whatever it is.
    #[test]
    fn no_text_of_a_report_becomes_a_line_of_its_own(wrong in ".{0,80}(\n|\r|\u{1b})?.{0,80}") {
        let cause = Cause {
            id: "F07".to_owned(),
            signature: None,
            wrong: wrong.clone(),
            place: Place::Image,
            evidence: String::new(),
            fix: Some(wrong.clone()),
            repairs: vec![Repair::SubordinateIds, Repair::Scc],
            cases: vec!["POD-03".to_owned()],
            core: 1,
        };
        let all = [finished("POD-03", Verdict::fail(wrong.as_str(), None))];
        let problems = of_causes(&wrong, &[cause], &all);
        let declarations = declarations();
        let found = remedies(problems, &circumstances(openshift(20), &declarations));
        let clean = of(&[Repair::SubordinateIds, Repair::Scc], openshift(20));
        prop_assert_eq!(containerfile(&found), containerfile(&clean));
        let objects = |text: &str| -> Vec<Value> {
            text.split("---\n").map(|it| manifest::parse("printed", it).expect("YAML")).collect()
        };
        let printed = manifests(&found).expect("YAML");
        prop_assert_eq!(objects(&printed), objects(&manifests(&clean).expect("YAML")));
        let bare = text(&found).expect("text").replace('\n', "");
        prop_assert!(!bare.chars().any(char::is_control), "{bare:?}");
    }
}

#[test]
fn each_pool_of_the_nodes_gets_its_own_configuration() {
    let with = |pools: &[&str]| {
        let pools = pools.iter().map(|pool| (*pool).to_owned()).collect();
        let platform = Platform { pools, ..openshift(20) };
        of(&[Repair::KernelKeys, Repair::PodProcesses], platform)
    };
    let names = |remedies: &Remedies| {
        let name = |object: &&Value| object["metadata"]["name"].as_str().map(str::to_owned);
        objects(remedies).iter().filter_map(name).collect::<Vec<_>>()
    };

    let found = with(&["gpu", "master"]);
    let mut expected = ["99-gpu-nestcheck-kernel-keys", "99-master-nestcheck-kernel-keys"].to_vec();
    expected.extend(["nestcheck-processes-gpu", "nestcheck-processes-master"]);
    let mut sorted = names(&found);
    sorted.sort();
    assert_eq!(sorted, expected, "and none for `worker`");
    let labels = json!({"machineconfiguration.openshift.io/role": "gpu"});
    assert!(objects(&found).iter().any(|object| object["metadata"]["labels"] == labels));

    // Where a report does not say them, or says nonsense.
    for unknown in [&[][..], &["a\nb", "../x"]] {
        let mut sorted = names(&with(unknown));
        sorted.sort();
        assert_eq!(sorted, ["99-worker-nestcheck-kernel-keys", "nestcheck-processes"]);
    }
}
