//! WS: workspaces of a real DevWorkspace Operator. What needs Che itself is not here: WS-01, WS-03,
//! WS-13, WS-14, WS-18, WS-19 and Che's part of WS-17.

mod create;
mod nested;
mod operator;
mod refusal;
mod restart;
mod run;

use harness::{
    case::{Body, CASE_DEADLINE, Case, CaseFuture},
    context::Context,
    facts::Flavour,
    outcome::Level,
    pod_template::PodTemplate,
    requirement::Requirement,
};

pub(crate) use create::CASES as CREATE;
pub(crate) use nested::cases as nested;
pub(crate) use operator::CASES as OPERATOR;
pub(crate) use refusal::CASES as REFUSALS;
pub(crate) use restart::CASES as RESTART;
pub(crate) use run::CASES as RUN;

/// The kinds of cluster on which workspaces ask for an SCC.
const WITH_WORKSPACES: &[Flavour] = &[Flavour::OpenShift];

/// What the operator itself needs.
const INSTALLED: &[Requirement] = &[Requirement::WorkspaceOperator];

/// What a nested workspace needs that asks for devices, whether or not it gets them.
const NESTED: &[Requirement] = &[
    Requirement::WorkspaceOperator,
    Requirement::Workspaces,
    Requirement::UserNamespaces,
    Requirement::UnmaskedProc,
    Requirement::DeviceRoute,
];

/// What a nested workspace with devices needs.
const WITH_DEVICES: &[Requirement] = &[
    Requirement::WorkspaceOperator,
    Requirement::Workspaces,
    Requirement::UserNamespaces,
    Requirement::UnmaskedProc,
    Requirement::Devices,
];

/// A case about workspaces.
const fn case(
    id: &'static str,
    name: &'static str,
    title: &'static str,
    templates: &'static [&'static PodTemplate],
    act: fn(Context) -> CaseFuture,
) -> Case {
    Case {
        id,
        suite: "workspace",
        name,
        title,
        level: Level::Core,
        flavours: WITH_WORKSPACES,
        requires: NESTED,
        templates,
        deadline: CASE_DEADLINE,
        body: Body::Live(act),
    }
}

/// The text at a JSON pointer, or the value as JSON; `absent` where there is none.
fn at(value: &serde_json::Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(serde_json::Value::Null) => "absent".to_owned(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
