//! The cases of the table: nestcheck's own, each with another pod in the place of the usual one, and what
//! is done in pods that these do not show to be broken.

use futures::{FutureExt, future::BoxFuture};
use harness::{
    base::manifest,
    engine::{Case, Context, StandIn},
    sandbox::{
        PodSecurity,
        pod_template::{PodTemplate, TemplateKind},
    },
    verdict::{CaseResult, Failure},
    workload::Command,
};
use k8s_openapi::api::core::v1::Pod;
use suites::{fixtures::NESTED_POD, steps::expect_kept};

use crate::table::{ALWAYS, Act, BREAKAGES, Breakage, HEALTHY, IMAGE, PodVariant, SAMPLE};

/// All cases of the table.
pub fn all() -> Vec<Case> {
    let acts = BREAKAGES.iter().filter(|breakage| breakage.act.is_some()).map(of_act);
    let broken = BREAKAGES.iter().flat_map(|breakage| moved(&breakage.pod, &ids(breakage)));
    let healthy = HEALTHY.iter().flat_map(|pod| moved(pod, SAMPLE));
    acts.chain(broken).chain(healthy).collect()
}

/// The cases that run in a broken pod. One that does not start has none, nor one that is like the usual.
fn ids(breakage: &Breakage) -> Vec<&'static str> {
    let is_usual = breakage.pod.name == HEALTHY[0].name;
    if is_usual || matches!(breakage.act, Some(Act::Starts | Act::IsRefused)) {
        return Vec::new();
    }
    let others = breakage.red.iter().filter(|id| !ALWAYS.contains(id));
    ALWAYS.iter().chain(others).copied().collect()
}

/// The ids of the cases that must not pass because of a breakage.
pub fn red(breakage: &Breakage) -> Vec<String> {
    let id = breakage.pod.id;
    let act = breakage.act.iter().map(|_| id.to_owned());
    let others = breakage.other_causes.iter().map(|(case, _)| *case);
    let cases = breakage.red.iter().copied().chain(others);
    act.chain(cases.map(|case| format!("{id}-{case}"))).collect()
}

/// nestcheck's own cases of these ids, with this pod.
fn moved(pod: &PodVariant, ids: &[&str]) -> Vec<Case> {
    let template: &'static PodTemplate = Box::leak(Box::new(template(pod)));
    let stand_in = StandIn { asked: NESTED_POD.name, given: template.name };
    let stand_ins: &'static [StandIn] = Box::leak(Box::new([stand_in]));
    let mut cases = suites::cases();
    cases.retain(|case| ids.contains(&case.id));
    assert_eq!(cases.len(), ids.len(), "there are all of {ids:?}");
    let moved = cases.into_iter().map(|case| {
        let pods =
            case.pods.iter().map(|it| if it.name == NESTED_POD.name { template } else { *it });
        Case {
            id: format!("{}-{}", pod.id, case.id).leak(),
            name: format!("{}_{}", pod.name, case.name).leak(),
            suite: "broken",
            pods: pods.collect::<Vec<_>>().leak(),
            stand_ins,
            ..case
        }
    });
    moved.collect()
}

fn of_act(breakage: &Breakage) -> Case {
    Case {
        id: breakage.pod.id,
        name: breakage.pod.name,
        suite: "broken",
        title: "A broken workspace fails",
        kind: breakage.kind,
        ..Case::DEFAULT
    }
}

/// The template of the usual pod, changed.
fn template(variant: &PodVariant) -> PodTemplate {
    let mut pod: Pod = manifest::parse(NESTED_POD.file, NESTED_POD.manifest).expect("it is a pod");
    (variant.change)(&mut pod);
    let manifest = manifest::print(&pod).expect("a pod is YAML");
    PodTemplate {
        name: variant.id.to_ascii_lowercase().leak(),
        file: NESTED_POD.file,
        manifest: manifest.leak(),
        kind: TemplateKind::Pod,
        isolation: variant.isolation,
        devices: variant.devices,
        shared: true,
    }
}

/// The future of a case, of a type that the table can name: it is in the table that it looks at.
pub fn act(cx: Context, id: &'static str) -> BoxFuture<'static, CaseResult> {
    perform(cx, id).boxed()
}

/// Does in a pod of its own what then fails.
async fn perform(cx: Context, id: &'static str) -> CaseResult {
    let breakage = BREAKAGES.iter().find(|breakage| breakage.pod.id == id);
    let Some(Breakage { pod: variant, act: Some(act), .. }) = breakage else {
        return Err(Failure::harness(format!("{id} does nothing")));
    };
    let template = template(variant);
    let mut pod = cx.manifest(&template)?;
    pod.metadata.name = Some(format!("{}-act", template.name));
    if matches!(act, Act::IsRefused) {
        pod.metadata.namespace =
            Some(cx.sandbox().namespaces().enforcing(PodSecurity::Restricted).await?);
        return expect_kept(&cx, &template, &pod).await;
    }
    let workspace = cx.provision_pod(&template, &pod).await?;
    if let Act::Script(script) = act {
        let script = format!("{IMAGE}{script}");
        workspace.output(&Command::shell("use podman", &script, [""; 0])).await?;
    }
    cx.check("workspace", "works", "works", true)
}
