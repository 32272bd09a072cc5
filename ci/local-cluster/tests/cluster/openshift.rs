//! Clusters of flavour `openshift`: what an ordinary user gets in which release and feature set,
//! and that such a cluster leaves nothing behind either.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test ends when something is not as it must be"
)]

use std::{fs, time::Duration};

use serde_json::Value;

use crate::support::{Cluster, Failed, Machine, Moment, TECH_PREVIEW, cache};

#[test]
#[ignore = "needs root and a built cache"]
fn tech_preview_runs_a_nested_pod_of_an_ordinary_user() {
    let machine = Machine::look();
    let cluster = Cluster::running("test-os-preview", TECH_PREVIEW);
    let status = cluster.status();
    assert_eq!(status["flavour"], "openshift");
    assert_eq!(status["featureSet"], "TechPreviewNoUpgrade");
    assert_eq!(status["kubernetes"], "1.32.5");
    assert_eq!(status["kubernetesOfRelease"], "1.32");
    assert_eq!(status["standIns"].as_array().unwrap().len(), 3);
    assert_eq!(condition_of_version(&cluster, "Upgradeable")["status"], "False");

    let refused = cluster.kubectl_as("dev", &["get", "pods", "--namespace", "default"]);
    assert!(refused.unwrap_err().stderr.contains("cannot list resource"), "`dev` has no rights");

    grant(&cluster);
    run(&cluster).unwrap();
    let pod = pod(&cluster);
    assert_eq!(pod["metadata"]["annotations"]["openshift.io/scc"], "test-nested");
    assert_eq!(pod["spec"]["hostUsers"], false);
    assert_eq!(pod["spec"]["containers"][0]["securityContext"]["procMount"], "Unmasked");
    assert_eq!(pod["spec"]["securityContext"]["seLinuxOptions"]["type"], "container_engine_t");
    assert_ne!(first_host_id(&cluster), "0", "the pod has a user namespace");
    for device in ["/dev/fuse", "/dev/net/tun"] {
        exec(&cluster, &["test", "-w", device]).expect(device);
    }
    let audit = fs::read_to_string(status["auditLog"].as_str().unwrap()).unwrap();
    assert!(audit.contains(r#""username":"dev""#), "the audit log names the user");

    cluster.down_cleanly(&machine);
}

#[test]
#[ignore = "needs root and a built cache"]
fn the_old_default_stores_neither_level_nor_user_namespace() {
    let cluster =
        Cluster::running("test-os-default", &["--flavour", "openshift", "--release", "4.19"]);
    assert_eq!(condition_of_version(&cluster, "Upgradeable"), Value::Null);
    let gates = json(&cluster, &["get", "featuregate", "cluster"]);
    let disabled = gates["status"]["featureGates"][0]["disabled"].as_array().unwrap().clone();
    assert!(disabled.iter().any(|gate| gate["name"] == "UserNamespacesSupport"));

    grant(&cluster);
    let scc = json(&cluster, &["get", "securitycontextconstraints", "test-nested"]);
    assert_eq!(scc["userNamespaceLevel"], Value::Null);
    run(&cluster).unwrap();
    let pod = pod(&cluster);
    assert_eq!(pod["spec"]["hostUsers"], Value::Null);
    assert_eq!(pod["spec"]["containers"][0]["securityContext"]["procMount"], "Default");
    assert_eq!(first_host_id(&cluster), "0", "the pod has the node's users");
}

#[test]
#[ignore = "needs root and a built cache"]
fn the_new_default_ships_sccs_for_user_namespaces() {
    let cluster = Cluster::running("test-os-new", &["--flavour", "openshift"]);
    assert_eq!(cluster.status()["release"], "4.20");
    assert_eq!(cluster.status()["kubernetes"], "1.32.5");
    assert_eq!(cluster.status()["kubernetesOfRelease"], "1.33");
    let text = cluster.command(&["status"]).unwrap();
    assert!(text.contains("on Kubernetes 1.32.5; the real release has 1.33"), "{text}");
    grant(&cluster);
    let scc = json(&cluster, &["get", "securitycontextconstraints", "test-nested"]);
    assert_eq!(scc["userNamespaceLevel"], "RequirePodLevel");

    let use_of = |scc: &str| {
        let resource = format!("securitycontextconstraints/{scc}");
        cluster.kubectl_as("dev", &["auth", "can-i", "use", &resource]).is_ok()
    };
    assert!(use_of("restricted-v3"), "every user may use it");
    assert!(!use_of("nested-container"), "nobody may use it by default");

    run(&cluster).unwrap();
    assert_ne!(first_host_id(&cluster), "0", "the pod has a user namespace");
}

#[test]
#[ignore = "needs root and a built cache"]
fn a_killed_supervisor_takes_running_containers_with_it() {
    let machine = Machine::look();
    let cluster = Cluster::running("test-os-killed", TECH_PREVIEW);
    load_and_run(&cluster);
    cluster.kill_and_clean_up(None, &machine);
}

#[test]
#[ignore = "needs root and a built cache"]
fn a_supervisor_that_is_killed_during_up_leaves_nothing() {
    let machine = Machine::look();
    let cluster = Cluster::new("test-os-early");
    let mut up = cluster.spawn_up(TECH_PREVIEW);
    up.wait_for(Moment::Step("making the objects of OpenShift"));
    cluster.kill_and_clean_up(Some(&mut up), &machine);
}

#[test]
#[ignore = "needs root and a built cache"]
fn the_newest_release_has_locked_gates() {
    let cluster = Cluster::new("test-os-newest");
    let newest = ["--flavour", "openshift", "--release", "5.0"];
    let refused = cluster.up(&[&newest[..], &["--gates", "none"]].concat()).unwrap_err();
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("has locked the feature gates"), "{}", refused.stderr);
    assert!(refused.stderr.contains("hint: "), "{}", refused.stderr);
    assert!(!cluster.folder().exists(), "nothing was made");

    cluster.up(&newest).expect("it starts");
    assert_eq!(cluster.status()["kubernetes"], "1.37.2");
    let gates = json(&cluster, &["get", "featuregate", "cluster"]);
    assert!(!gates.to_string().contains("UserNamespacesSupport"), "it lists no locked gate");
    grant(&cluster);
    run(&cluster).unwrap();
    assert_ne!(first_host_id(&cluster), "0", "the pod has a user namespace");
}

#[test]
#[ignore = "needs root and a built cache"]
fn early_4_20_ships_nested_container_without_a_range_of_users() {
    let cluster = Cluster::running("test-os-z", &["--flavour", "openshift", "--z-stream", "early"]);
    let scc = json(&cluster, &["get", "securitycontextconstraints", "nested-container"]);
    assert_eq!(scc["runAsUser"], serde_json::json!({"type": "MustRunAsRange"}));
    let resource = "securitycontextconstraints/restricted-v3";
    let may = cluster.kubectl_as("dev", &["auth", "can-i", "use", resource]);
    assert!(may.is_err(), "nobody may use it yet");
}

#[test]
#[ignore = "needs root and a built cache"]
fn devices_come_only_by_annotations_that_are_allowed() {
    let options = ["--device-annotations", "v2", "--with", "kernel-log"];
    let cluster = Cluster::running("test-os-devices", &[TECH_PREVIEW, &options].concat());
    grant(&cluster);
    // The pod asks by the first version only, which is dropped without a word.
    run(&cluster).unwrap();
    assert!(exec(&cluster, &["test", "-e", "/dev/fuse"]).is_err(), "there is no device");
    cluster.kubectl_as("dev", &["delete", "pod", "nested", "--namespace=work"]).unwrap();

    let pod = POD.replace("io.kubernetes.cri-o.Devices: ", "devices.crio.io: ");
    cluster.apply("dev", &pod).unwrap();
    until_ready(&cluster).unwrap();
    exec(&cluster, &["test", "-w", "/dev/fuse"]).expect("the second version is allowed");
    cluster.kubectl_as("dev", &["delete", "pod", "nested", "--namespace=work"]).unwrap();

    let pod = pod.replace("/dev/fuse,/dev/net/tun", "/dev/fuse,/dev/mem");
    cluster.apply("dev", &pod).unwrap();
    let waiting =
        r"--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=CreateContainerError";
    cluster.kubectl(&["wait", "--namespace=work", "pod/nested", waiting, "--timeout=60s"]);
    let pod = self::pod(&cluster);
    let message = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"];
    let message = message.as_str().unwrap();
    assert!(message.contains("is specified but is not in allowed_devices"), "{message}");
}

#[test]
#[ignore = "needs root and a built cache"]
fn a_policy_controller_that_dies_is_named_and_gives_no_range_twice() {
    let cluster = Cluster::running("test-os-policy", TECH_PREVIEW);
    let range = |name: &str| {
        cluster.kubectl(&["create", "namespace", name]);
        let given = r"--for=jsonpath={.metadata.annotations.openshift\.io/sa\.scc\.uid-range}";
        let namespace = format!("namespace/{name}");
        cluster.kubectl(&["wait", &namespace, given, "--timeout=30s"]);
        let path = "jsonpath={.metadata.annotations.openshift\\.io/sa\\.scc\\.uid-range}";
        cluster.kubectl(&["get", &namespace, "--output", path])
    };
    let first = range("first");
    cluster.kill_component("cluster-policy-controller");
    let status = cluster.status_when("degraded", Duration::from_secs(10));
    assert_eq!(status["components"]["cluster-policy-controller"]["ended"], "signal 9");
    let shown = cluster.command(&["status"]).unwrap_err();
    let expected = "error: cluster-policy-controller ended with signal 9";
    assert!(shown.stderr.contains(expected), "{}", shown.stderr);
    cluster.command(&["restart", "cluster-policy-controller"]).expect("it starts again");
    let second = range("second");
    assert_ne!(first, second);
    assert!(!first.is_empty() && !second.is_empty());
}

#[test]
#[ignore = "needs root and a built cache"]
fn pods_are_refused_where_sccs_can_not_be_read() {
    let cluster = Cluster::running("test-os-closed", TECH_PREVIEW);
    grant(&cluster);
    // Without the definition the API server has no SCCs to admit by.
    let definition = "customresourcedefinition/securitycontextconstraints.security.openshift.io";
    cluster.kubectl(&["delete", definition, "--timeout=60s"]);
    let refused = run(&cluster).unwrap_err();
    assert!(refused.stderr.contains("is forbidden"), "{}", refused.stderr);
    // Also after a restart, when it has read none.
    cluster.command(&["restart", "kube-apiserver"]).expect("it starts again");
    let refused = run(&cluster).unwrap_err();
    assert!(refused.stderr.contains("orbidden"), "{}", refused.stderr);
}

#[test]
#[ignore = "needs the program only: run with --ignored"]
fn wrong_components_are_named_with_what_was_expected() {
    let cluster = Cluster::new("test-os-missing");
    let refused =
        cluster.up(&["--flavour", "openshift", "--components", "/nonexistent"]).unwrap_err();
    assert_eq!(refused.code, Some(2));
    let expected = "error: can't read the components directory `/nonexistent`";
    assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("hint: give a directory with `kube-apiserver`"),
        "{}",
        refused.stderr
    );
    assert!(!cluster.folder().exists(), "nothing was made");
}

/// Gives `dev` a namespace and the right to use an SCC for nested containers.
fn grant(cluster: &Cluster) {
    cluster.apply("admin", GRANTS).expect("the grants are made");
    // All come from controllers, and without them no such pod is admitted.
    let ranges = r"--for=jsonpath={.metadata.annotations.openshift\.io/sa\.scc\.uid-range}";
    let level =
        r"--for=jsonpath={.metadata.labels.pod-security\.kubernetes\.io/enforce}=privileged";
    for value in [ranges, level] {
        cluster.kubectl(&["wait", "namespace/work", value, "--timeout=30s"]);
    }
    let account = ["wait", "--namespace=work", "serviceaccount/default", "--for=create"];
    cluster.kubectl(&account);
}

/// Makes a pod as `dev` and waits until it runs.
fn run(cluster: &Cluster) -> Result<(), Failed> {
    cluster.apply("dev", POD)?;
    until_ready(cluster)
}

fn until_ready(cluster: &Cluster) -> Result<(), Failed> {
    let wait = ["wait", "--namespace=work", "--for=condition=Ready", "pod/nested", "--timeout=60s"];
    cluster.kubectl_as("dev", &wait).map(drop)
}

/// Loads an image of the pause program and runs it as an ordinary pod.
fn load_and_run(cluster: &Cluster) {
    let artifacts = fs::read_dir(cache().join("artifacts")).unwrap().flatten();
    let pause = artifacts.map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        path.is_dir() && name.starts_with("pause-")
    });
    let pause = pause.expect("the pause program was built");
    let loaded = cluster.command(&["load", "--tag", "localhost/loaded:1", pause.to_str().unwrap()]);
    assert_eq!(loaded.unwrap().trim(), "localhost/loaded:1");
    cluster.apply("admin", LOADED).unwrap();
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/loaded", "--timeout=60s"]);
}

fn pod(cluster: &Cluster) -> Value {
    json(cluster, &["get", "pod", "nested", "--namespace=work"])
}

fn json(cluster: &Cluster, arguments: &[&str]) -> Value {
    let mut arguments = arguments.to_vec();
    arguments.push("--output=json");
    serde_json::from_str(&cluster.kubectl(&arguments)).unwrap()
}

fn condition_of_version(cluster: &Cluster, kind: &str) -> Value {
    let version = json(cluster, &["get", "clusterversion", "version"]);
    assert_eq!(version["status"]["history"][0]["state"], "Completed");
    let conditions = version["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == kind).cloned().unwrap_or_default()
}

/// The id on the node that the pod's root has.
fn first_host_id(cluster: &Cluster) -> String {
    let map = exec(cluster, &["cat", "/proc/self/uid_map"]).unwrap();
    map.split_whitespace().nth(1).unwrap().to_owned()
}

fn exec(cluster: &Cluster, command: &[&str]) -> Result<String, Failed> {
    let mut arguments = vec!["exec", "--namespace=work", "nested", "--"];
    arguments.extend(command);
    cluster.kubectl_as("dev", &arguments)
}

const GRANTS: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: work}
---
apiVersion: security.openshift.io/v1
kind: SecurityContextConstraints
metadata: {name: test-nested}
allowHostDirVolumePlugin: false
allowHostIPC: false
allowHostNetwork: false
allowHostPID: false
allowHostPorts: false
allowPrivilegeEscalation: true
allowPrivilegedContainer: false
allowedCapabilities: [SETUID, SETGID]
defaultAddCapabilities: null
requiredDropCapabilities: null
fsGroup: {type: MustRunAs, ranges: [{min: 1000, max: 65534}]}
supplementalGroups: {type: MustRunAs, ranges: [{min: 1000, max: 65534}]}
runAsUser: {type: MustRunAs, uid: 1000}
seLinuxContext: {type: MustRunAs, seLinuxOptions: {type: container_engine_t}}
priority: null
readOnlyRootFilesystem: false
userNamespaceLevel: RequirePodLevel
volumes: [emptyDir, projected]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: test-nested}
rules:
- apiGroups: [security.openshift.io]
  resources: [securitycontextconstraints]
  resourceNames: [test-nested]
  verbs: [use]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: test-nested, namespace: work}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: test-nested}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: dev}
# The controller that relaxes Pod Security looks at service accounts only.
- {kind: ServiceAccount, name: default, namespace: work}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: edit, namespace: work}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: dev}]
";

const POD: &str = r"
apiVersion: v1
kind: Pod
metadata:
  name: nested
  namespace: work
  annotations:
    openshift.io/required-scc: test-nested
    io.kubernetes.cri-o.Devices: /dev/fuse,/dev/net/tun
spec:
  hostUsers: false
  terminationGracePeriodSeconds: 1
  containers:
  - name: tools
    image: localhost/workspace:1
    imagePullPolicy: Never
    securityContext:
      procMount: Unmasked
      allowPrivilegeEscalation: true
      capabilities: {add: [SETUID, SETGID], drop: [ALL]}
    volumeMounts: [{name: storage, mountPath: /home/user/.local/share/containers}]
  volumes: [{name: storage, emptyDir: {}}]
";

const LOADED: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: loaded, namespace: default}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: pause, image: "localhost/loaded:1", imagePullPolicy: Never, command: [/pause]}
"#;
