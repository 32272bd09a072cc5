//! What is refused: to whom an SCC is not given, what is not his, and what would change another's
//! pod.

use harness::{
    base::text::one_line,
    cluster::{Answer, ask, exec_error, status_code},
    engine::{Case, CaseKind, Context, PodHandle},
    sandbox::{Identity, NESTED_CONFIG, SCC_ATTRIBUTE},
    verdict::{CaseResult, Failure, Level},
    workload::workspace::{Settled, answered, create, prepare, settle},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{AttachParams, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{NESTED, WITH_WORKSPACES, configured::AS_CONFIGURED};
use crate::{
    fixtures::DEVWORKSPACE,
    steps::{probe_command, still_works},
    suite::OPENSHIFT,
};

/// How long the operator may take to refuse what its webhook lets through.
const SETTLES: std::time::Duration = std::time::Duration::from_secs(60);

inventory::submit!(Case {
    id: "WS-10A",
    suite: "workspace",
    name: "refuses_a_constraint_that_the_user_may_not_use",
    title: "A workspace with an SCC that its user may not use is refused",
    why: "Administrators grant an SCC with SETUID and SETGID to some users only. If the webhook \
          let any user name it, the operator would give users what no administrator granted.",
    fix: "The webhook configuration `controller.devfile.io` must exist and answer (`WS-04`). Look \
          for a binding that gives `system:authenticated` the `use` of the SCC.",
    flavours: OPENSHIFT,
    requires: NESTED,
    kind: CaseKind::Live(|cx| Box::pin(refuses_an_scc_that_the_user_may_not_use(cx))),
    ..Case::DEFAULT
});

async fn refuses_an_scc_that_the_user_may_not_use(cx: Context) -> CaseResult {
    let sandbox = cx.sandbox();
    let workspace = sandbox.workspaces().manifest(&DEVWORKSPACE, "ws-10a", NESTED_CONFIG)?;
    let params = PostParams { dry_run: true, ..PostParams::default() };
    for (who, identity) in
        [("the ungranted user", Identity::Ungranted), ("the user", Identity::User)]
    {
        let api = sandbox.workspaces().of(sandbox.client(identity).await?);
        let what = "dry-run the creation of a DevWorkspace";
        let answer = ask(what, || sandbox.as_granted(|| api.create(&params, &workspace))).await?;
        let answer = answered(what, answer)?;
        let name = format!("a workspace of {who}, who asks for the run's SCC");
        match identity {
            // Without this one it might be refused for whatever else is wrong with it.
            Identity::User => {
                let reported = describe(&answer);
                cx.check(&name, "accepted", reported, answer.is_ok())?;
            }
            _ => refused(&cx, &name, &answer, &["user is not permitted", "SCC"])?,
        }
    }
    Ok(())
}

inventory::submit!(Case {
    id: "WS-10B",
    suite: "workspace",
    name: "refuses_another_constraint",
    title: "A workspace's SCC can't be changed afterwards",
    why: "The operator creates a role for the SCC of a workspace and removes it with the \
          workspace. If users could replace the SCC, the role for the first one would remain.",
    fix: "Update the DevWorkspace Operator. Check whether its webhook configuration covers UPDATE \
          of `devworkspaces`.",
    flavours: OPENSHIFT,
    profiles: AS_CONFIGURED,
    requires: NESTED,
    pods: &[&DEVWORKSPACE],
    kind: CaseKind::Live(|cx| Box::pin(refuses_another_scc(cx))),
    ..Case::DEFAULT
});

async fn refuses_another_scc(cx: Context) -> CaseResult {
    cx.pod(&DEVWORKSPACE).await?;
    let words = ["attribute cannot be modified after being set"];
    let answer = change_scc(&cx, &json!("restricted-v2")).await?;
    refused(&cx, "another SCC for a workspace that has one", &answer, &words)
}

inventory::submit!(Case {
    id: "WS-10C",
    suite: "workspace",
    name: "records_what_removing_the_constraint_does",
    title: "The result of removing a workspace's SCC is recorded",
    why: "A user may try to remove a workspace's SCC and to set another one in a second step. \
          DevWorkspace Operator 0.42 permits the removal. The case records what this version \
          does.",
    fix: "The case checks nothing. If you rely on `WS-10B`, note that it covers a change in one \
          step only.",
    level: Level::Informing,
    flavours: OPENSHIFT,
    requires: NESTED,
    pods: &[&DEVWORKSPACE],
    kind: CaseKind::Live(|cx| Box::pin(records_what_removing_the_scc_does(cx))),
    ..Case::DEFAULT
});

async fn records_what_removing_the_scc_does(cx: Context) -> CaseResult {
    cx.pod(&DEVWORKSPACE).await?;
    let answer = change_scc(&cx, &Value::Null).await?;
    // The webhook of 0.42 only looks at what a workspace asks for, so it lets this pass.
    cx.check("removing the SCC of a workspace", "an answer", describe(&answer), true)
}

/// Changes the attribute as a dry run; null removes it.
async fn change_scc(cx: &Context, value: &Value) -> Result<Answer<DynamicObject>, Failure> {
    let api = cx.sandbox().workspaces().of(cx.sandbox().user());
    let attributes = json!({ SCC_ATTRIBUTE: value });
    let patch = json!({"spec": {"template": {"attributes": attributes}}});
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    let what = "dry-run a change of a DevWorkspace";
    let patch = Patch::Merge(&patch);
    answered(what, ask(what, || api.patch(DEVWORKSPACE.name, &params, &patch)).await?)
}

inventory::submit!(Case {
    id: "WS-10D",
    suite: "workspace",
    name: "refuses_containers_in_overrides_of_the_pod",
    title: "A workspace whose pod-overrides add containers is refused",
    why: "`pod-overrides` may change much of a pod. Containers that it adds would have neither \
          the operator's environment nor its security context.",
    fix: "Update the DevWorkspace Operator. It must refuse the override with `cannot use \
          pod-overrides to override pod containers`.",
    flavours: WITH_WORKSPACES,
    requires: NESTED,
    kind: CaseKind::Live(|cx| Box::pin(refuses_containers_in_overrides_of_the_pod(cx))),
    ..Case::DEFAULT
});

async fn refuses_containers_in_overrides_of_the_pod(cx: Context) -> CaseResult {
    let overrides = json!({"spec": {"containers": [{"name": "extra", "image": "unused"}]}});
    let settled = overridden(&cx, "ws-10d", |template| {
        template["attributes"]["pod-overrides"] = overrides;
    });
    let words = "cannot use pod-overrides to override pod containers";
    fails_with(&cx, "containers in pod-overrides", &settled.await?, words)
}

inventory::submit!(Case {
    id: "WS-10E",
    suite: "workspace",
    name: "refuses_an_image_in_overrides_of_the_container",
    title: "A workspace whose container-overrides change the image is refused",
    why: "`container-overrides` may change much of a container, but not what runs in it: \
          reviewers read the devfile.",
    fix: "Update the DevWorkspace Operator. It must refuse the override with `cannot use \
          container-overrides to override container image`.",
    flavours: WITH_WORKSPACES,
    requires: NESTED,
    kind: CaseKind::Live(|cx| Box::pin(refuses_an_image_in_overrides_of_the_container(cx))),
    ..Case::DEFAULT
});

async fn refuses_an_image_in_overrides_of_the_container(cx: Context) -> CaseResult {
    let settled = overridden(&cx, "ws-10e", |template| {
        template["components"][0]["attributes"]["container-overrides"]["image"] = "unused".into();
    });
    let words = "cannot use container-overrides to override container image";
    fails_with(&cx, "an image in container-overrides", &settled.await?, words)
}

/// Makes a workspace that was changed, and waits what becomes of it.
async fn overridden(
    cx: &Context,
    name: &str,
    change: impl FnOnce(&mut Value) + Send,
) -> Result<Result<Settled, String>, Failure> {
    let sandbox = cx.sandbox();
    prepare(sandbox).await?;
    let mut workspace = sandbox.workspaces().manifest(&DEVWORKSPACE, name, NESTED_CONFIG)?;
    change(&mut workspace.data["spec"]["template"]);
    match create(sandbox, &workspace).await? {
        Err(refusal) => Ok(Err(refusal.message)),
        Ok(created) => {
            Ok(Ok(settle(sandbox, &created, SETTLES * sandbox.timeouts().factor).await?))
        }
    }
}

/// Either the webhook refuses it, or the operator fails it: in both cases it says why.
fn fails_with(
    cx: &Context,
    name: &str,
    became: &Result<Settled, String>,
    words: &str,
) -> CaseResult {
    let (observed, holds) = match became {
        Err(refusal) => (format!("refused: {refusal}"), refusal.contains(words)),
        Ok(settled) => {
            (settled.describe(), settled.phase == "Failed" && settled.message.contains(words))
        }
    };
    cx.check(name, &format!("refused or Failed with “{words}”"), observed, holds)
}

inventory::submit!(Case {
    id: "WS-15",
    suite: "workspace",
    name: "keeps_others_out",
    title: "Another user of the namespace can neither enter nor change a workspace with restricted \
         access",
    why: "Users may share a namespace. A workspace with the annotation \
          `controller.devfile.io/restricted-access` belongs to its creator alone: nobody else \
          may run commands in it, and so in its containers, or change what it runs. The case \
          tests another user of the same namespace. It does not test two users with a namespace \
          each, or what the operator's own account may bind beyond them.",
    fix: "The webhooks `validate-exec` and `mutate` of the configuration `controller.devfile.io` \
          must exist and answer (`WS-04`).",
    level: Level::Extended,
    flavours: WITH_WORKSPACES,
    requires: NESTED,
    pods: &[&DEVWORKSPACE],
    kind: CaseKind::Live(|cx| Box::pin(keeps_others_out(cx))),
    ..Case::DEFAULT
});

async fn keeps_others_out(cx: Context) -> CaseResult {
    let workspace = cx.pod(&DEVWORKSPACE).await?;
    let sandbox = cx.sandbox();
    let ungranted_user = sandbox.client(Identity::Ungranted).await?;
    let api = sandbox.workspaces().of(ungranted_user);
    let patch = json!({"spec": {"template": {"attributes": {"nestcheck": "changed"}}}});
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    let what = "dry-run a change of a DevWorkspace";
    let patch = Patch::Merge(&patch);
    let answer = ask(what, || sandbox.as_granted(|| api.patch(DEVWORKSPACE.name, &params, &patch)));
    let answer = answered(what, answer.await?)?;
    let words = ["can only be modified by its creator"];
    refused(&cx, "a change by another user who may edit workspaces", &answer, &words)?;

    // The creator's own commands show that the pod can be entered, before the refusal and after it.
    enters(&cx, "before", &workspace).await?;
    let of_creator = may_enter(&cx, sandbox.user(), &workspace.name()).await?;
    let holds = of_creator.as_ref().is_err_and(|answer| answer.code == 400);
    let name = "a request of the creator's to enter, which asks for no stream";
    cx.check(name, "400: only its parameters are refused", describe(&of_creator), holds)?;
    let of_other = may_enter(&cx, ungranted_user, &workspace.name()).await?;
    let name = "the same request by another user who may edit workspaces";
    refused(&cx, name, &of_other, &["devworkspace creator has exec access"])?;
    is_shut_out(&cx, ungranted_user, &workspace.name()).await?;
    still_works("the creator's own command", enters(&cx, "after", &workspace)).await
}

/// Runs a command in the workspace as its creator.
async fn enters(cx: &Context, when: &str, workspace: &PodHandle) -> CaseResult {
    let said = workspace.output(&probe_command(&["print", "entered"])).await?;
    let name = format!("a command in the workspace by its creator, {when} the refusal");
    cx.check_equal(&name, "entered", &said)
}

/// Asks to enter a pod, but not for any stream, so that nothing begins: whoever may enter hears that a
/// parameter is missing, and the others why they may not. The handshake of a stream hides these words.
async fn may_enter(cx: &Context, user: &Client, pod: &str) -> Result<Answer<Value>, Failure> {
    let pods: Api<Pod> = Api::namespaced(user.clone(), cx.sandbox().namespace());
    let params = PostParams::default();
    let (what, nothing) = ("ask to enter a pod", json!({}));
    let asked = ask(what, || {
        cx.sandbox().as_granted(|| pods.create_subresource("exec", pod, &params, &nothing))
    });
    answered(what, asked.await?)
}

/// Expects that a command of this user is refused as the words said.
async fn is_shut_out(cx: &Context, user: &Client, pod: &str) -> CaseResult {
    let pods: Api<Pod> = Api::namespaced(user.clone(), cx.sandbox().namespace());
    let parameters = AttachParams::default();
    let entered = pods.exec(pod, ["true"], &parameters);
    let limit = harness::cluster::API_DEADLINE;
    let entered = tokio::time::timeout(limit, entered).await.map_err(|_elapsed| {
        Failure::lost("the API server does not answer a request to enter a pod")
    })?;
    let (observed, holds) = match entered {
        Ok(_) => ("entered".to_owned(), false),
        Err(error) => {
            let reported = one_line(&error.to_string());
            let holds = status_code(&error) == Some(403);
            if !holds && let Some(loss) = exec_error::of_error(&error) {
                let message = format!("failed to run a command in pod `{pod}`: {loss}: {reported}");
                return Err(Failure::lost(message));
            }
            (reported, holds)
        }
    };
    cx.check("a command in the workspace by another user", "403", observed, holds)
}

fn describe<T>(answer: &Answer<T>) -> String {
    match answer {
        Ok(_) => "accepted".to_owned(),
        Err(refusal) => format!("{}: {}", refusal.code, refusal.message),
    }
}

fn refused<T>(cx: &Context, name: &str, answer: &Answer<T>, words: &[&str]) -> CaseResult {
    let holds = answer.as_ref().is_err_and(|refusal| {
        refusal.code == 403 && words.iter().all(|word| refusal.message.contains(word))
    });
    cx.check(name, &format!("403 with “{}”", words.join("”, “")), describe(answer), holds)
}
