//! POD-NET-07: what the cluster forbids to a pod it forbids to the containers in it.

use std::time::Duration;

use harness::{
    cluster::{ask, describe, status_code},
    engine::{Case, CaseKind, Context, PodHandle},
    sandbox::{RUN_LABEL, labels},
    verdict::{CaseResult, Failure, Level},
    workload::Command,
};
use k8s_openapi::{
    api::networking::v1::{NetworkPolicy, NetworkPolicySpec},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, PostParams},
};

use super::{address, expect_error, network::between_pods, start_server};
use crate::{
    fixtures::{NEIGHBOUR, NESTED_POD},
    steps::{podman, probe_command, request, scratch_image, still_works},
    suite::WITH_DEVICES,
};

/// The name of the pod and of the policy, and the label by which the policy finds the pod.
const NAME: &str = "pod-net-07";
const LABEL: &str = "nestcheck/case";

/// How long a plugin may take until a policy is in force, in seconds. OVN-Kubernetes takes one or
/// two, and more under load.
const ENFORCED: &str = "15";

inventory::submit!(Case {
    id: "POD-NET-07",
    suite: "podman",
    name: "keeps_to_network_policies",
    title: "A NetworkPolicy that isolates the pod from another one isolates its containers too",
    why: "Administrators isolate namespaces with NetworkPolicies, and rely on them for workspaces \
          too. A container's traffic must leave the pod as the pod's own, so that the same \
          policy applies. Otherwise users could bypass the policy. The network plugin must \
          isolate the pod itself within 15 s, or the case can say nothing. Once the policy is \
          removed, the container must reach the other pod again: only then the policy was the \
          reason.",
    fix: "Report it to the maker of the network plugin, with the pod's and the container's \
          addresses. If the case is blocked, the plugin enforces no policies at all, and no \
          workspace is isolated.",
    level: Level::Extended,
    requires: WITH_DEVICES,
    pods: &[&NESTED_POD],
    expected: Duration::from_secs(21),
    kind: CaseKind::Live(|cx| Box::pin(keeps_to_network_policies(cx))),
    ..Case::DEFAULT
});

async fn keeps_to_network_policies(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = scratch_image(&workspace).await?;
    // A pod of its own, for the others must go on reaching the neighbour.
    let mut pod = cx.manifest(&NEIGHBOUR)?;
    pod.metadata.name = Some(NAME.to_owned());
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(LABEL.to_owned(), NAME.to_owned());
    open(&cx).await?;
    let target = cx.provision_pod(&NEIGHBOUR, &pod).await?;
    start_server(&target, &["serve", "--port", "18007", "--text", "reached"]).await?;
    let url = format!("http://{}:18007/", address(&target)?);
    let get = ["get", url.as_str(), "--deadline", "2"];
    let inside = podman(&[&["run", "--rm", "--name", NAME, &image, "/probe"], &get[..]].concat());
    let before = async {
        let before = workspace.output(&inside).await?;
        cx.check_equal("answer to the container before the policy", "reached", &before)
    };
    between_pods(&cx, &workspace, &target, before).await?;

    shut(&cx).await?;
    // Plugins take a moment; the pod itself tells when the policy is in force, if it ever is.
    let script = "
        end=$(($(date +%s) + $2))
        while [ \"$(date +%s)\" -lt \"$end\" ]; do
            /nestcheck/probe get \"$1\" --deadline 1 > /dev/null || exit 0
            sleep 0.3
        done
        exit 1
    ";
    let wait = Command::shell("wait until the pod is shut out", script, [url.as_str(), ENFORCED]);
    if workspace.run(&wait).await?.exit_code != 0 {
        return Err(Failure::blocked(
            "the cluster's network does not enforce NetworkPolicies: the pod itself still reaches \
             another one that a policy shuts off",
            "use a network plugin that enforces them, such as OVN-Kubernetes, Calico or Cilium",
        ));
    }
    let by_pod = workspace.run(&probe_command(&get)).await?;
    expect_error(&cx, "control: the pod's own connection", &by_pod, &[&url])?;
    let refused = workspace.run(&inside).await?;
    expect_error(&cx, "connection of a container in the pod", &refused, &[&url])?;
    still_works("the connection without the policy", reaches_again(&cx, &workspace, &inside, &url))
        .await
}

/// Proves that nothing but the policy shut the target off: without it the pod and its container reach
/// the target again.
async fn reaches_again(
    cx: &Context,
    workspace: &PodHandle,
    inside: &Command,
    url: &str,
) -> CaseResult {
    open(cx).await?;
    let script = "
        end=$(($(date +%s) + $2))
        until /nestcheck/probe get \"$1\" --deadline 1; do
            [ \"$(date +%s)\" -lt \"$end\" ]
            sleep 0.3
        done
    ";
    let wait = Command::shell("wait until the pod is let in again", script, [url, ENFORCED]);
    workspace.output(&wait).await?;
    let after = workspace.output(inside).await?;
    cx.check_equal("answer to the container after the policy", "reached", &after)
}

/// Removes the policy of an earlier try, which was lost.
async fn open(cx: &Context) -> CaseResult {
    let (what, params) = ("delete a NetworkPolicy", DeleteParams::default());
    let (policies, name) = (policies(cx), cx.sandbox().name_of(NAME));
    match ask(what, || cx.sandbox().as_granted(|| policies.delete(&name, &params))).await? {
        Ok(_) => Ok(()),
        Err(error) if status_code(&error) == Some(404) => Ok(()),
        Err(error) => Err(describe(what, &error).into()),
    }
}

fn policies(cx: &Context) -> Api<NetworkPolicy> {
    Api::namespaced(cx.sandbox().user().clone(), cx.sandbox().namespace())
}

/// Makes a policy that lets nobody in.
async fn shut(cx: &Context) -> CaseResult {
    let sandbox = cx.sandbox();
    let (name, run) = (sandbox.name_of(NAME), sandbox.run().to_owned());
    // Of this run alone: the namespace may have others.
    let selected = [(LABEL.to_owned(), NAME.to_owned()), (RUN_LABEL.to_owned(), run)];
    let policy = NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(labels(sandbox.run())),
            ..ObjectMeta::default()
        },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(selected.into()),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ..NetworkPolicySpec::default()
        }),
    };
    let policies = policies(cx);
    let params = PostParams::default();
    sandbox.ledger().intend("NetworkPolicy", Some(sandbox.namespace()), &name).await?;
    request("create a NetworkPolicy", || sandbox.as_granted(|| policies.create(&params, &policy)))
        .await
        .map(drop)
}
