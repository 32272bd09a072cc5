//! The core cases of podman, compose, ids and isolation, inside a workspace: the same cases, with
//! the workspace's pod in place of the pod that the run makes itself.

use std::sync::OnceLock;

use harness::{
    engine::{Case, Inside, StandIn},
    facts::{Flavour, requirement::Devices},
    sandbox::pod_template::PodTemplate,
    verdict::Level,
};

use super::{NESTED, WITH_DEVICES, WITH_WORKSPACES, configured::AS_CONFIGURED};
use crate::{
    fixtures::{DEVWORKSPACE, NEIGHBOUR, NESTED_POD},
    suite::OPENSHIFT,
};

/// The ids of the fact sheet whose cases run inside a workspace; a case of one of these may have a
/// letter more.
const IDS: [&str; 13] = [
    "ID-01",
    "ID-05",
    "ID-07",
    "ISO-01",
    "ISO-04",
    "ISO-07",
    "ISO-09",
    "POD-01",
    "POD-03",
    "POD-06",
    "POD-07",
    "POD-12",
    "POD-NET-02",
];

/// Of compose, which has one id for its whole way.
const COMPOSE: &str = "CMP-02";

/// Why it matters inside a workspace; the case of the plain pod has a text of its own.
const WHY: &str = "The core cases of podman, compose, ids and isolation, inside a workspace's own \
     container instead of the run's own pod: `WS-07-POD-03` is `POD-03` there. A feature that \
     works in a pod may not work in a workspace, because the operator decides about its volumes, \
     its limits and its environment.";

/// What to do when it fails only inside a workspace.
const FIX: &str = "If the case of the same name fails in the pod too, fix that one first. \
     Otherwise compare the two pods: memory limits of the component, volumes at \
     `/home/user/.local/share/containers`, and the settings that `WS-06A` to `WS-06D` check.";

/// The cases, of all others. Their texts are made once: an id lives as long as the program.
pub(crate) fn cases(all: &[Case]) -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| all.iter().filter(|case| is_selected(case)).map(moved).collect())
}

fn is_selected(case: &Case) -> bool {
    let id = case.id.trim_end_matches(|letter: char| letter.is_ascii_uppercase());
    // A case with a letter may be about more than the core of its id.
    let is_core = case.level == Level::Core || case.id == id;
    is_core && pods(case).is_some() && (IDS.contains(&id) || id == COMPOSE)
}

/// The pods of a case that is moved; none where it is about other pods than the workspace, or a
/// workspace and its neighbour. That one is put beside the pod, so the pod must be there too.
fn pods(case: &Case) -> Option<&'static [&'static PodTemplate]> {
    let names: Vec<_> = case.pods.iter().map(|template| template.name).collect();
    if names == [NESTED_POD.name] {
        Some(&[&DEVWORKSPACE])
    } else if names == [NESTED_POD.name, NEIGHBOUR.name] {
        Some(&[&DEVWORKSPACE, &NEIGHBOUR, &NESTED_POD])
    } else {
        None
    }
}

/// The workspace's pod in place of the run's own.
const STAND_INS: &[StandIn] = &[StandIn { asked: NESTED_POD.name, given: DEVWORKSPACE.name }];

fn moved(case: &Case) -> Case {
    let name = format!("inside_{}_{}", case.suite, case.name);
    let needs_devices = case.needs::<Devices>();
    Case {
        id: Box::leak(format!("WS-07-{}", case.id).into_boxed_str()),
        suite: "workspace",
        name: Box::leak(name.into_boxed_str()),
        title: Box::leak(format!("Inside a workspace: {}", case.title).into_boxed_str()),
        why: WHY,
        fix: FIX,
        flavours: if case.flavours.contains(&Flavour::Kubernetes) {
            WITH_WORKSPACES
        } else {
            OPENSHIFT
        },
        requires: if needs_devices { WITH_DEVICES } else { NESTED },
        pods: pods(case).unwrap_or_default(),
        stand_ins: STAND_INS,
        inside: Inside::Never,
        profiles: AS_CONFIGURED,
        ..*case
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_of_each_suite_is_there() {
        let all = crate::cases();
        let ids: Vec<_> = all.iter().map(|case| case.id).collect();
        for id in ["WS-07-ID-01", "WS-07-ISO-01", "WS-07-POD-03", "WS-07-CMP-02"] {
            assert!(ids.contains(&id), "{id} is not in {ids:?}");
        }
    }

    #[test]
    fn a_case_that_asks_for_the_runs_pod_gets_the_workspace_and_its_neighbour_stays() {
        let cases = crate::cases();
        let case = cases.iter().find(|case| case.id == "WS-07-POD-03").expect("it is there");
        assert_eq!(case.given(NESTED_POD.name), DEVWORKSPACE.name);
        assert_eq!(case.given(NEIGHBOUR.name), NEIGHBOUR.name);
        let plain = cases.iter().find(|case| case.id == "POD-03").expect("it is there");
        assert_eq!(plain.given(NESTED_POD.name), NESTED_POD.name);
    }
}
