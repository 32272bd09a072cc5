//! One file or folder a suite.

pub(crate) mod admission;
pub(crate) mod compose;
pub(crate) mod gate;
pub(crate) mod identity;
pub(crate) mod isolation;
pub(crate) mod node_runtimes;
pub(crate) mod podman;
pub(crate) mod preflight;
pub(crate) mod root;
pub(crate) mod scc;
mod selinux;
mod static_checks;
pub(crate) mod teardown;
pub(crate) mod upgrade;
pub(crate) mod upstream;
pub(crate) mod volumes;
pub(crate) mod workspace;

use harness::{case::Case, facts::Flavour, outcome::Level, requirement::Requirement};

/// Every kind of cluster.
const EVERYWHERE: &[Flavour] = &[Flavour::OpenShift, Flavour::MicroShift, Flavour::Kubernetes];

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

/// Declares a core case of every flavour that acts; its name is the name of its function.
macro_rules! core_case {
    ($id:literal, $suite:literal, $function:ident, $title:literal, $requires:expr, $templates:expr) => {
        harness::case::Case {
            id: $id,
            suite: $suite,
            name: stringify!($function),
            title: $title,
            level: harness::outcome::Level::Core,
            flavours: crate::suite::EVERYWHERE,
            requires: $requires,
            templates: $templates,
            deadline: harness::case::CASE_DEADLINE,
            body: harness::case::Body::Live(|context| Box::pin($function(context))),
        }
    };
}
use core_case;

/// As [`core_case`], but not needed for conformance.
macro_rules! extended_case {
    ($($argument:tt)*) => {
        crate::suite::weighing(
            crate::suite::core_case!($($argument)*),
            harness::outcome::Level::Extended,
        )
    };
}
use extended_case;

/// Declares a core case of every flavour that judges facts; its name is the name of its function.
macro_rules! judging_case {
    ($id:literal, $suite:literal, $function:ident, $title:literal, $requires:expr) => {
        harness::case::Case {
            id: $id,
            suite: $suite,
            name: stringify!($function),
            title: $title,
            level: harness::outcome::Level::Core,
            flavours: crate::suite::EVERYWHERE,
            requires: $requires,
            templates: &[],
            deadline: harness::case::CASE_DEADLINE,
            body: harness::case::Body::Static($function),
        }
    };
}
use judging_case;

/// The same case, about these kinds of cluster only.
const fn on(case: Case, flavours: &'static [Flavour]) -> Case {
    Case { flavours, ..case }
}

/// The same case, with another weight.
const fn weighing(case: Case, level: Level) -> Case {
    Case { level, ..case }
}
