//! Shards of one selection, and their joined report.

use std::collections::BTreeSet;

use serde_json::Value;
use test_support::{Live, TestDir};

/// Cases for three shards.
const SHARDED: [&str; 6] = ["ID-01", "ID-05", "ID-06", "ID-07", "ISO-01", "ISO-04"];

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn three_shards_at_once_are_joined_into_one_verdict() {
    let (cluster, dir) = (Live::take(), TestDir::new());
    let shards = ["1/3", "2/3", "3/3"].map(|shard| {
        let run = ["run", "--kubeconfig", cluster.kubeconfig(), "--shard", shard];
        let options = ["--report-dir", &shard.replace('/', "-of-")];
        dir.start(run.iter().chain(&options).chain(&SHARDED))
    });
    for shard in shards {
        shard.finish().exits(0);
    }
    let joined = ["report", "1-of-3", "2-of-3", "3-of-3", "--format", "json"];
    let printed = dir.nestcheck(joined);
    printed.exits(0);
    let report: Value = serde_json::from_str(&printed.stdout).expect("JSON");
    let cases = report["cases"].as_array().expect("cases");
    let ids: BTreeSet<_> = cases.iter().filter_map(|case| case["id"].as_str()).collect();
    assert_eq!(ids.len(), cases.len(), "each case once");
    assert_eq!(ids, BTreeSet::from(SHARDED), "{printed}");
    assert_eq!(report["counts"]["pass"], SHARDED.len(), "{printed}");
    assert_eq!(report["run"]["is_part"], true, "the profile has more cases");
    // One alone is a report of other cases: nothing got worse, and nothing better.
    let compared = dir.nestcheck(["compare", "1-of-3", "2-of-3"]);
    compared.exits(0);
    dir.nestcheck(["report", "1-of-3", "1-of-3"]).exits(2).says(&["reports of the same run"]);
    cluster.is_clean();
}
