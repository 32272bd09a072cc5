//! The proofs of nodes in a joined report: each node that one of the parts knew has to be proven by one.
//!
//! Shards list the nodes one by one, and a node may come or go meanwhile. It is then in a part that does
//! not know of it.

use std::collections::{BTreeMap, BTreeSet};

use super::Named;
use crate::{
    engine::base_id,
    report::model::CaseReport,
    verdict::{
        Level, Place, Verdict,
        event::{CaseFinished, RunStarted},
    },
};

/// What helps in either case.
const REMEDY: &str = "prove it with `nestcheck run --every-node NODE-01.NAME` and join that report too; if the node \
     is gone, run all shards again";

/// The proofs that a part lists and that none of them has or planned, each as a blocked case.
pub(super) fn missing(parts: &[Named<'_>], cases: &[CaseReport]) -> Vec<CaseReport> {
    let mut known: BTreeSet<&str> = cases.iter().map(|case| case.case.id.as_str()).collect();
    // What was planned and never began is reported as such.
    known.extend(parts.iter().flat_map(|part| &part.run.planned).map(String::as_str));
    let lists: Vec<BTreeSet<_>> = parts.iter().map(|part| ids(&part.run.proofs)).collect();
    let lists: Vec<_> = lists.into_iter().filter(|list| !list.is_empty()).collect();
    let all: BTreeSet<&str> = lists.iter().flatten().copied().collect();
    let missing = all.into_iter().filter(|id| !known.contains(id));
    let cases: BTreeMap<_, _> = cases.iter().map(|it| (base_id(&it.case.id), &it.case)).collect();
    let blocked = missing.map(|id| {
        let differs = lists.iter().any(|list| !list.contains(id));
        case(id, cases.get(base_id(id)).copied(), differs)
    });
    blocked.collect()
}

fn ids(proofs: &[String]) -> BTreeSet<&str> {
    proofs.iter().map(String::as_str).collect()
}

/// The case of a node that no part proves; `like` is that of another node.
fn case(id: &str, like: Option<&CaseFinished>, differs: bool) -> CaseReport {
    let node = id.strip_prefix(base_id(id)).unwrap_or_default().trim_start_matches('.');
    let reason = if differs {
        "no report proves the node, and not every report knows of it: it came or went between the shards"
    } else {
        "no report proves the node: that of a shard is missing"
    };
    let name = like.and_then(|like| like.name.split_once('[')).map(|(name, _)| name);
    let case = CaseFinished {
        id: id.to_owned(),
        name: name.map_or_else(|| id.to_owned(), |name| format!("{name}[{node}]")),
        suite: like.map_or_else(|| "nodes".to_owned(), |like| like.suite.clone()),
        title: format!("The node is proven: `{node}`"),
        level: Level::Core,
        verdict: Verdict::blocked(reason, REMEDY).at(Place::Nestcheck),
        duration_ms: 0,
    };
    CaseReport::of_end(case)
}

/// Whether all cases of a profile are among these: the proofs of the nodes that this part lists are some
/// of them, and those of other nodes make up for nothing. `proofs` are those of all parts.
pub(super) fn has_all(run: &RunStarted, known: &BTreeSet<&str>, proofs: &BTreeSet<String>) -> bool {
    let listed = ids(&run.proofs);
    let is_proof = |id: &str| base_id(id) != id || proofs.contains(id);
    let count = known.iter().filter(|id| listed.contains(**id) || !is_proof(id)).count();
    run.profile_cases.is_some_and(|cases| cases <= count)
}
