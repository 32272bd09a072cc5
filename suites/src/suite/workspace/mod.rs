//! WS: workspaces of a real DevWorkspace Operator. What needs Che itself is not here: WS-01, WS-03,
//! WS-13, WS-14, WS-18, WS-19 and Che's part of WS-17.

mod configured;
mod create;
mod delete;
mod nested;
mod operator;
mod refusal;
mod restart;
mod run;

use harness::facts::{
    Flavour,
    requirement::{
        DeviceRequests, Devices, InstalledWorkspaceOperator, ReadyWorkspaceOperator, Requirement,
        UnmaskedProc, UserNamespaces,
    },
};
pub(crate) use nested::cases as nested;

/// The kinds of cluster on which the operator works. What only an SCC can show is OpenShift's alone.
const WITH_WORKSPACES: &[Flavour] = &[Flavour::OpenShift, Flavour::Kubernetes];

/// What the operator itself needs.
const INSTALLED: &[&dyn Requirement] = &[&InstalledWorkspaceOperator];

/// What a nested workspace needs that asks for devices, whether or not it gets them.
const NESTED: &[&dyn Requirement] = &[
    &InstalledWorkspaceOperator,
    &ReadyWorkspaceOperator,
    &UserNamespaces,
    &UnmaskedProc,
    &DeviceRequests,
];

/// What a nested workspace with devices needs.
const WITH_DEVICES: &[&dyn Requirement] = &[
    &InstalledWorkspaceOperator,
    &ReadyWorkspaceOperator,
    &UserNamespaces,
    &UnmaskedProc,
    &Devices,
];

/// The text at a JSON pointer, or the value as JSON; `absent` where there is none.
fn at(value: &serde_json::Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(serde_json::Value::Null) => "absent".to_owned(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
