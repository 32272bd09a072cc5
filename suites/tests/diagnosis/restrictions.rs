//! Quotas, LimitRanges and NetworkPolicies that somebody else puts into the run's namespace: each is
//! named where it matters, and is a fact of the report where it does not.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command as HostCommand,
    time::Duration,
};

use harness::{
    cluster::Answer,
    engine::{Case, CaseKind, Context},
    report::directory::ReportDir,
    sandbox::Grant,
    verdict::{Attribution, CaseResult, Place, SignatureId, Verdict, event::EventKind},
    workload::Command,
};
use k8s_openapi::api::{
    core::v1::{LimitRange, Pod, ResourceQuota},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, DynamicObject, PostParams},
    core::ApiResource,
};
use serde_json::{Value, json};
use suites::{
    fixtures::{NEIGHBOUR, NESTED_POD},
    steps::expect_kept,
};
use test_support::{InProcessRun, Live, finished};

/// Creates an object in a namespace, as somebody who is not nestcheck.
async fn create<K>(cx: &Context, namespace: &str, name: &str, spec: Value) -> Api<DynamicObject>
where
    K: Resource<DynamicType = ()>,
{
    let resource = ApiResource::erase::<K>(&());
    let admin = cx.sandbox().admin().clone();
    let api: Api<DynamicObject> = Api::namespaced_with(admin, namespace, &resource);
    let object = DynamicObject::new(name, &resource).data(json!({"spec": spec}));
    api.create(&PostParams::default(), &object).await.expect("it can be created");
    api
}

/// Waits until the API server does this to a pod.
async fn await_effect(cx: &Context, pod: &Pod, is_done: impl Fn(&Answer<Pod>) -> bool) {
    for _ in 0..200 {
        if is_done(&cx.admission().dry_run(pod).await.expect("the API server answers")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the API server did not take it up within 10 s");
}

fn refuses(words: &str) -> impl Fn(&Answer<Pod>) -> bool {
    move |answer| answer.as_ref().is_err_and(|refusal| refusal.message.contains(words))
}

/// A quota without room for another pod.
async fn asks_beyond_a_quota(cx: Context) -> CaseResult {
    let pod = cx.manifest(&NESTED_POD)?;
    let (namespace, full) = (cx.sandbox().namespace(), json!({"hard": {"pods": "0"}}));
    let quotas = create::<ResourceQuota>(&cx, namespace, "compute", full).await;
    await_effect(&cx, &pod, refuses("exceeded quota")).await;
    let provisioned = cx.provision_pod(&NESTED_POD, &pod).await;
    quotas.delete("compute", &DeleteParams::default()).await.expect("it is there");
    provisioned.map(drop)
}

/// A LimitRange that asks for limits which the pod does not have.
async fn asks_beyond_a_limit_range(cx: Context) -> CaseResult {
    let namespace = cx.provision_namespace(Grant::UseScc).await?;
    let mut pod = cx.manifest(&NESTED_POD)?;
    pod.metadata.namespace = Some(namespace.clone());
    let limits = json!([{"type": "Pod", "max": {"memory": "1Gi"}}]);
    create::<LimitRange>(&cx, &namespace, "small", json!({"limits": limits})).await;
    await_effect(&cx, &pod, refuses("maximum memory usage per Pod")).await;
    expect_kept(&cx, &NESTED_POD, &pod).await
}

/// A LimitRange whose default is too little for what is done in the pod.
async fn needs_more_than_a_default(cx: Context) -> CaseResult {
    let pod = cx.manifest(&NESTED_POD)?;
    let limits = json!([{"type": "Container", "default": {"memory": "64Mi"}}]);
    let (namespace, range) = (cx.sandbox().namespace(), json!({"limits": limits}));
    let ranges = create::<LimitRange>(&cx, namespace, "defaults", range).await;
    await_effect(&cx, &pod, |answer| {
        answer
            .as_ref()
            .is_ok_and(|pod| pod.annotations().contains_key("kubernetes.io/limit-ranger"))
    })
    .await;
    let provisioned = cx.provision_pod(&NESTED_POD, &pod).await;
    ranges.delete("defaults", &DeleteParams::default()).await.expect("it is there");
    // Without a line's end, tail keeps all of it.
    let script = "head -c 300M /dev/zero | tail > /dev/null";
    let greedy = Command::shell("use 300 MB of memory", script, [""; 0]);
    provisioned?.output(&greedy).await.map(drop)
}

/// Restrictions that restrict nothing of what is done.
async fn has_room(cx: Context) -> CaseResult {
    let (namespace, roomy) = (cx.sandbox().namespace(), json!({"hard": {"pods": "100"}}));
    create::<ResourceQuota>(&cx, namespace, "roomy", roomy).await;
    cx.check("a quota", "has room", "has room", true)
}

/// A policy for all pods, as administrators put it into each namespace.
async fn deny(cx: &Context, name: &str) {
    let spec = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
    create::<NetworkPolicy>(cx, cx.sandbox().namespace(), name, spec).await;
}

/// Does what a case of nestcheck does.
async fn act(id: &str, cx: Context) -> CaseResult {
    let case = suites::cases().into_iter().find(|case| case.id == id).expect("a case");
    let CaseKind::Live(act) = case.kind else { panic!("{id} is live") };
    act(cx).await
}

/// The local cluster has no DNS, as a pod has none that a policy shuts off.
async fn has_no_dns(cx: Context) -> CaseResult {
    deny(&cx, "deny-dns").await;
    act("POD-NET-01C", cx).await
}

/// The local cluster does not enforce policies, so the network of the pod is cut off instead.
async fn reaches_nobody(cx: Context) -> CaseResult {
    let neighbour = cx.pod(&NEIGHBOUR).await?;
    deny(&cx, "deny-pods").await;
    let process = process_of(&neighbour.object().uid().expect("a uid"));
    let mut cut = HostCommand::new("nsenter");
    cut.arg(format!("--net={}", process.join("ns/net").display()));
    cut.args(["ip", "link", "set", "eth0", "down"]);
    let cut = cut.output().expect("nsenter");
    assert!(cut.status.success(), "{}", String::from_utf8_lossy(&cut.stderr));
    act("POD-NET-01A", cx).await
}

/// A process of this machine that runs in a pod: the name of its control group has the pod's uid.
fn process_of(uid: &str) -> PathBuf {
    let is_in_pod = |process: &PathBuf| {
        let groups = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
        groups.replace('_', "-").contains(uid)
    };
    let mut processes =
        fs::read_dir("/proc").expect("processes").flatten().map(|entry| entry.path());
    processes.find(is_in_pod).expect("a process of the pod")
}

/// A case that begins only once the pods of the run are there, so that it keeps none of them out.
const fn case(id: &'static str, kind: CaseKind) -> Case {
    let pods = &[&NESTED_POD, &NEIGHBOUR];
    Case { id, suite: "restricted", name: id, title: "It works", kind, pods, ..Case::DEFAULT }
}

fn cases() -> Vec<Case> {
    vec![
        case("QUOTA", CaseKind::Live(|cx| Box::pin(asks_beyond_a_quota(cx)))),
        case("RANGE", CaseKind::Live(|cx| Box::pin(asks_beyond_a_limit_range(cx)))),
        case("DEFAULT", CaseKind::Live(|cx| Box::pin(needs_more_than_a_default(cx)))),
        case("ROOM", CaseKind::Live(|cx| Box::pin(has_room(cx)))),
        case("DNS", CaseKind::Live(|cx| Box::pin(has_no_dns(cx)))),
        case("PODS", CaseKind::Live(|cx| Box::pin(reaches_nobody(cx)))),
    ]
}

/// What a case came to: the verdict's name, its cause and all that it says.
fn ended(verdict: &Verdict) -> (&'static str, Option<&Attribution>, String) {
    let said = match verdict {
        Verdict::Fail { message, hint, .. } => {
            format!("{message}; {}", hint.as_deref().unwrap_or_default())
        }
        Verdict::Blocked { reason, remedy, .. } => format!("{reason}; {remedy}"),
        other => format!("{other:?}"),
    };
    (verdict.name(), verdict.cause(), said)
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn what_somebody_else_puts_into_the_namespace_is_named_where_it_matters() {
    let cluster = Live::take();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut report = ReportDir::create(directory.path()).expect("the directory can be written to");

    // One after the other: each has the namespace for itself.
    let run = InProcessRun::of("restricted", cases()).jobs(1);
    let kubeconfig = Path::new(cluster.kubeconfig());
    let (_, events) = runtime.block_on(run.make(kubeconfig, &mut report, |_| {}));

    for (id, name, signature, words) in [
        ("QUOTA", "blocked", SignatureId::F60, "ResourceQuota `compute`: pods "),
        ("RANGE", "blocked", SignatureId::F61, "LimitRange `small`: Pod maximum memory 1Gi"),
        ("DEFAULT", "fail", SignatureId::F61, "the memory of container `tools` to 64Mi"),
        ("DNS", "blocked", SignatureId::F62, "NetworkPolicy `deny-dns` restricts egress"),
        ("PODS", "blocked", SignatureId::F62, "NetworkPolicy `deny-pods` restricts ingress"),
    ] {
        let (verdict, cause, said) = ended(&finished(&events, id).verdict);
        assert_eq!(verdict, name, "{id}: {said}");
        let cause = cause.unwrap_or_else(|| panic!("{id} has no cause: {said}"));
        assert_eq!(
            (cause.signature, cause.place),
            (Some(signature), Place::Policy),
            "{id}: {said}"
        );
        assert!(said.contains(words), "{id}: {said}");
    }
    assert_eq!(finished(&events, "ROOM").verdict, Verdict::Pass, "a quota with room");
    let read = events.iter().find_map(|event| match &*event.event {
        EventKind::RunFinished { namespace, .. } => Some(namespace.clone()),
        _ => None,
    });
    let read = read.expect("the end of the run");
    for words in ["ResourceQuota `roomy`: pods ", "NetworkPolicy `deny-dns`: all pods, no ingress"]
    {
        assert!(read.iter().any(|(_, value)| value.contains(words)), "{words} is not in {read:?}");
    }
    cluster.is_clean();
}
