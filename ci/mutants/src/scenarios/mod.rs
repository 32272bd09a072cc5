//! The table of scenarios: what is broken, and which cases notice.

mod admission;
mod facts;
mod pods;
mod scc;
mod volumes;
mod workspace;

use expectations::Expectations;
use harness::Result;

use crate::{
    Place,
    faults::{PROGRAMS, SpoilPrograms},
    scenario::{Kill, Mutant, Scenario, Target},
};

/// The cases that are red on the local cluster as it is, without anything broken: the image has no
/// such program, or the node no such thing.
///
/// # Errors
///
/// An invalid file of expectations.
pub(crate) fn red_without_mutant(place: Place) -> Result<Vec<&'static str>> {
    let environment = match place {
        Place::Kubernetes => "kubernetes",
        Place::Openshift => "openshift-4.19-with-workspaces",
    };
    Ok(Expectations::read(environment, &suites::cases())?.red())
}

/// Core cases of all suites, which run in every scenario with a cluster: most scenarios have
/// nothing to do with most of them.
pub(crate) const SAMPLE: &[&str] = &[
    "ADM-02", "CMP-01", "END-01", "GATE-01", "ID-01", "ISO-01", "POD-03", "PRE-09", "ROOT-01",
    "SCC-P02", "VOL-01", "WS-02",
];

/// The scenarios of a kind of cluster.
///
/// # Errors
///
/// An invalid file of expectations.
pub(crate) fn of(place: Place) -> Result<Vec<Scenario>> {
    Ok(match place {
        Place::Kubernetes => {
            let first = [IMAGE, without_gates()?];
            [&first[..], pods::ALL, volumes::ALL, facts::ALL, admission::EVERYWHERE].concat()
        }
        Place::Openshift => {
            let first = [KERNEL_LOG, workspace::image()];
            [&first[..], scc::ALL, workspace::ALL, admission::ALL].concat()
        }
    })
}

/// All spoiled programs in one image.
const IMAGE: Scenario = Scenario {
    name: "image",
    faults: &[&SpoilPrograms::NESTED_POD],
    mutants: &PROGRAMS,
    ..Scenario::NEW
};

/// The cluster without gates is an environment of `suites/tests/expectations` as well: the cases that
/// are red there, and not on the good cluster, are affected.
fn without_gates() -> Result<Scenario> {
    let environment = "kubernetes-without-gates-no-preflight";
    let red = Expectations::read(environment, &suites::cases())?.red().into_iter();
    let known = red_without_mutant(Place::Kubernetes)?;
    let kills: Vec<_> =
        WITHOUT_GATES.mutants.iter().flat_map(|mutant| mutant.kills).map(|kill| kill.0).collect();
    let is_affected = |id: &&str| !known.contains(id) && !kills.contains(id);
    let also_affected = red.filter(is_affected).collect::<Vec<_>>().leak();
    Ok(Scenario { also_affected, ..WITHOUT_GATES })
}

/// The API server drops both fields without a word, and asks for nothing that has to do with them.
const WITHOUT_GATES: Scenario = Scenario {
    name: "gates",
    target: Target::OtherCluster("without-gates"),
    cases: &["admission", "gate", "preflight"],
    mutants: &[Mutant {
        name: "drops-fields",
        breaks: "The feature gates are off on the API server, the kubelet and in Pod Security",
        kills: &[
            Kill("ADM-01", "answer to Unmasked"),
            Kill("ADM-02", "answer to hostNetwork with hostUsers false: expected"),
            Kill("GATE-01", "hostUsers as it would be stored"),
            Kill("GATE-02", "procMount as it would be stored"),
        ],
    }],
    ..Scenario::NEW
};

/// A node gives more devices than the two.
const KERNEL_LOG: Scenario = Scenario {
    name: "devices",
    target: Target::OtherCluster("kernel-log"),
    cases: &["isolation"],
    mutants: &[Mutant {
        name: "gives-the-kernel-log",
        breaks: "Pods that ask for the kernel's log get it",
        kills: &[Kill("ISO-06", "/dev/kmsg is there")],
    }],
    ..Scenario::NEW
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::inputs::RunInputs;

    fn all() -> Vec<Scenario> {
        let of = |place| of(place).expect("valid expectations");
        [of(Place::Kubernetes), of(Place::Openshift)].concat()
    }

    #[test]
    fn no_case_has_two_mutants_in_one_scenario() {
        for scenario in all() {
            let mut seen = BTreeSet::new();
            for Kill(id, words) in scenario.mutants.iter().flat_map(|mutant| mutant.kills) {
                assert!(seen.insert(id), "{}: two mutants kill {id}", scenario.name);
                assert!(!words.is_empty(), "{}: any message kills {id}", scenario.name);
            }
            for id in scenario.also_affected {
                assert!(seen.insert(id), "{}: {id} is killed and depends", scenario.name);
            }
        }
    }

    #[test]
    fn a_cluster_without_gates_affects_who_needs_a_nested_pod() {
        let affected = without_gates().expect("valid expectations").also_affected;
        assert!(affected.contains(&"POD-03") && affected.contains(&"GATE-06"), "{affected:?}");
        assert!(!affected.contains(&"GATE-01"), "a mutant kills it");
        assert!(!affected.contains(&"ADM-03"), "it is red on the good cluster");
        assert!(!affected.contains(&"PRE-01"), "it passes");
    }

    /// Whether the mutants do kill them is seen on clusters; this is known at once.
    #[test]
    fn every_core_case_has_a_mutant() {
        for place in [Place::Kubernetes, Place::Openshift] {
            let scenarios = of(place).expect("valid expectations");
            let mutants = scenarios.iter().flat_map(|scenario| scenario.mutants);
            let killed: BTreeSet<_> =
                mutants.flat_map(|mutant| mutant.kills).map(|kill| kill.0).collect();
            let core = |case: &&harness::engine::Case| {
                // Proofs of nodes have a cluster of several nodes to fail on: `suites/tests/nodes`.
                case.level == harness::verdict::Level::Core
                    && case.of_node == harness::engine::OfNode::No
                    && place.has(case)
            };
            for case in suites::cases().iter().filter(core) {
                assert!(killed.contains(case.id), "{place:?}: no mutant kills {}", case.id);
            }
        }
    }

    #[test]
    fn every_case_that_is_named_exists() {
        let cases: BTreeSet<_> = suites::cases().iter().map(|case| case.id).collect();
        for scenario in all() {
            let kills = scenario.mutants.iter().flat_map(|mutant| mutant.kills);
            for id in kills.map(|kill| kill.0).chain(scenario.also_affected.iter().copied()) {
                assert!(cases.contains(id), "{}: there is no {id}", scenario.name);
            }
        }
    }

    #[test]
    fn a_mutant_may_block_only_static_checks() {
        let cases = suites::cases();
        for scenario in all() {
            for id in scenario.blocked {
                let case = cases.iter().find(|case| case.id == *id).expect(id);
                assert!(
                    matches!(case.kind, harness::engine::CaseKind::Static(_)),
                    "{id} is not a static check"
                );
                let mut kills = scenario.mutants.iter().flat_map(|mutant| mutant.kills);
                assert!(kills.any(|kill| kill.0 == *id), "{}: {id} is not killed", scenario.name);
            }
        }
    }

    #[test]
    fn every_fault_finds_what_it_breaks() {
        for scenario in all() {
            let inputs = RunInputs::with(scenario.faults);
            assert!(inputs.is_ok(), "{}: {inputs:?}", scenario.name);
        }
    }

    #[test]
    fn names_are_unique() {
        let names: Vec<_> = all()
            .iter()
            .flat_map(|scenario| {
                scenario.mutants.iter().map(|mutant| mutant.name).chain([scenario.name])
            })
            .collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    }
}
