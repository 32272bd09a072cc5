//! One file or folder a suite.

mod admission;
mod compose;
mod gate;
mod identity;
mod isolation;
mod node_runtimes;
mod podman;
mod preflight;
mod root;
mod scc;
mod selinux;
mod static_checks;
mod teardown;
mod upgrade;
mod upstream;
mod volumes;
pub(crate) mod workspace;

use harness::{facts::Flavour, requirement::Requirement};

/// What a nested pod needs. Controls need it too: without the real thing to compare with, a
/// control proves nothing.
const NESTED: &[Requirement] = &[Requirement::UserNamespaces, Requirement::UnmaskedProc];

/// What a nested pod needs that asks for /dev/fuse and /dev/net/tun, whether or not it gets them.
const ASKING_FOR_DEVICES: &[Requirement] =
    &[Requirement::UserNamespaces, Requirement::UnmaskedProc, Requirement::DeviceRoute];

/// What a nested pod with /dev/fuse and /dev/net/tun needs.
const WITH_DEVICES: &[Requirement] =
    &[Requirement::UserNamespaces, Requirement::UnmaskedProc, Requirement::Devices];

/// The kinds of cluster that admit pods by SCCs.
const WITH_SCCS: &[Flavour] = &[Flavour::OpenShift, Flavour::MicroShift];

/// OpenShift itself, with its configuration API.
const OPENSHIFT: &[Flavour] = &[Flavour::OpenShift];
