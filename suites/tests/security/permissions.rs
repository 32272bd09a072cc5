//! The rights that `nestcheck preflight --print-rbac` prints.

use std::collections::BTreeSet;

use serde_json::Value;
use test_support::{Applied, Live, Request, TestDir, documents, expected};

/// The rights that no request of a run on this cluster uses, and why they are there.
const WITHOUT_REQUEST: [(&str, &str); 8] = [
    ("get priorityclasses.scheduling.k8s.io", "only asked with `--priority-class`"),
    ("get namespaces", "only asked when the answer to the creation of one got lost"),
    ("bind clusterroles.rbac.authorization.k8s.io", "asked by the server when a role is bound"),
    ("watch persistentvolumes", "only asked where a volume outlives its namespace"),
    ("list checlusters.org.eclipse.che", "only asked where Che's operator is"),
    (
        "list devworkspaceoperatorconfigs.controller.devfile.io",
        "only asked where the operator of DevWorkspaces is",
    ),
    ("list deployments.apps", "only asked where the operator of DevWorkspaces is"),
    (
        "create devworkspaceoperatorconfigs.controller.devfile.io",
        "only asked where the operator of DevWorkspaces is",
    ),
];

/// A right as it is granted or used: the verb, the resource or path, and its namespace if it is for
/// this one alone.
pub(crate) type Right = (String, Option<String>);

/// The rights of the printed objects.
pub(crate) fn granted(yaml: &str) -> BTreeSet<Right> {
    let texts = |rule: &Value, field: &str| -> Vec<String> {
        let items = rule[field].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| item.as_str().expect("it is text").to_owned()).collect()
    };
    let mut permissions = BTreeSet::new();
    for object in documents(yaml) {
        let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
        for rule in object["rules"].as_array().into_iter().flatten() {
            let mut targets = texts(rule, "nonResourceURLs");
            for group in texts(rule, "apiGroups") {
                targets.extend(texts(rule, "resources").iter().map(|name| target(name, &group)));
            }
            for verb in texts(rule, "verbs") {
                let right = targets.iter().map(|target| format!("{verb} {target}"));
                permissions.extend(right.map(|right| (right, namespace.map(str::to_owned))));
            }
        }
    }
    permissions
}

fn target(resource: &str, group: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

/// What a request asked for, with its namespace.
pub(crate) fn used(request: &Request) -> Right {
    let parts: Vec<_> = request.path().trim_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] if !rest.is_empty() => ("", rest),
        ["apis", group, _, rest @ ..] if !rest.is_empty() => (*group, rest),
        _ => return (format!("{} {}", request.verb, request.path()), None),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => {
            (Some((*namespace).to_owned()), rest)
        }
        _ => (None, rest),
    };
    let resource = match rest {
        [resource, _, subresource, ..] => format!("{resource}/{subresource}"),
        [resource, ..] => (*resource).to_owned(),
        [] => String::new(),
    };
    (format!("{} {}", request.verb, target(&resource, group)), namespace)
}

#[test]
fn the_permissions_are_printed_without_a_cluster() {
    let dir = TestDir::new();
    for (profile, file) in [
        ("kubernetes", include_str!("../../../ci/kind/rbac.yaml")),
        ("openshift", include_str!("../../../ci/openshift/rbac.yaml")),
    ] {
        let printed = dir.nestcheck(["preflight", "--print-rbac", "--profile", profile]);
        printed.exits(0);
        assert_eq!(printed.stdout, file, "{printed}");
        assert_eq!(printed.stderr, "", "{printed}");
    }
    let user = "--print-rbac=system:serviceaccount:ci:nightly";
    let printed = dir.nestcheck(["preflight", user, "--profile", "microshift"]);
    printed.exits(0);
    let subject = "- kind: ServiceAccount\n  name: nightly\n  namespace: ci\n";
    assert_eq!(printed.stdout.matches(subject).count(), 3, "{printed}");
    assert!(printed.stdout.contains("namespace: kube-public"), "{printed}");
    dir.nestcheck(["preflight", "--profile", "kubernetes"]).refuses(2, &["--print-rbac"]);
    dir.nestcheck(["preflight", "--with", "guard"]).refuses(2, &["--print-rbac"]);
    dir.nestcheck(["preflight", "--print-rbac", "--with", "all"])
        .refuses(2, &["expected `guard` or `kubelet-metrics`"]);
    dir.nestcheck(["preflight", "--print-rbac="]).refuses(2, &["--print-rbac"]);
    dir.nestcheck(["preflight", "--print-rbac"]).refuses(2, &["kubeconfig"]);
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn the_printed_permissions_are_what_a_run_needs_and_no_more() {
    let (cluster, admins) = (Live::take(), TestDir::new());
    let printed =
        admins.nestcheck(["preflight", "--print-rbac", "--kubeconfig", cluster.kubeconfig()]);
    printed.exits(0);

    let _applied = Applied::create(&cluster, &printed.stdout);
    let (dir, token) = (TestDir::new(), cluster.token_of("nestcheck"));
    let path = dir.kubeconfig(&cluster.own_kubeconfig().with_token(&token));
    let start = cluster.now();
    dir.nestcheck(["preflight", "--kubeconfig", &path]).exits(0);
    dir.nestcheck(["run", "--kubeconfig", &path]).exits(0);
    let requests = cluster.requests_since(start);
    dir.report().is_as_expected(&expected("kubernetes-without-kubelet-metrics"));
    cluster.is_clean();

    let account = "system:serviceaccount:default:nestcheck";
    let (own, of_cases): (Vec<_>, Vec<_>) =
        requests.iter().partition(|request| request.user() == account);
    let refused: Vec<_> =
        own.iter().filter(|request| matches!(request.code(), 401 | 403)).collect();
    // The gates of the kubelets: asked once a command, and not needed.
    let (of_kubelets, refused): (Vec<&&Request>, Vec<&&Request>) =
        refused.into_iter().partition(|request| request.path().ends_with("/proxy/metrics"));
    assert!(refused.is_empty() && of_kubelets.len() == 2, "{refused:#?} {of_kubelets:#?}");
    // A case may expect a refusal of Pod Security, and a fresh grant may not be known yet.
    let of_cases: Vec<_> = of_cases.into_iter().filter(|request| request.code() == 403).collect();
    let is_expected = |request: &&Request| used(request).0 == "create pods";
    assert!(of_cases.iter().copied().all(|request| is_expected(&request)), "{of_cases:#?}");

    let used: BTreeSet<Right> = own.iter().copied().map(used).collect();
    let is_used = |(right, namespace): &Right| {
        let without_reason = WITHOUT_REQUEST.iter().all(|(name, _)| name != right);
        let fits = |(other, place): &Right| {
            other == right && namespace.as_ref().is_none_or(|_| namespace == place)
        };
        !without_reason || used.iter().any(fits)
    };
    let granted = granted(&printed.stdout);
    let unused: Vec<_> = granted.iter().filter(|right| !is_used(right)).collect();
    assert!(unused.is_empty(), "granted and not used: {unused:#?}\nused: {used:#?}");
    for (name, _) in WITHOUT_REQUEST {
        assert!(granted.iter().any(|(right, _)| right == name), "{name} is not granted any more");
    }
}
