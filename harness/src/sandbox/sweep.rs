//! Removes what runs have left that could not remove it themselves.

use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use jiff::Timestamp;
use kube::Client;

use super::{
    Intents, OpenRun, Timeouts,
    lease::{self, RunRecord},
    secrets,
    teardown::{self, OwnedObject},
};
use crate::{Error, Result};

/// How long the garbage collector may take to delete Secrets.
const SECRETS_DEADLINE: Duration = Duration::from_secs(15);

/// How many runs are swept at once: most of the time is the end of their namespaces.
const RUNS_AT_ONCE: usize = 8;

/// Which runs are swept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// One run.
    Run(String),
    /// Runs whose lease has expired.
    Expired,
    /// The runs of this owner that are over at the latest by now.
    ExpiredOf(String),
    /// Every run, also those that still continue.
    All,
}

impl Sweep {
    fn takes(&self, record: &RunRecord, now: Timestamp) -> bool {
        match self {
            Self::Run(run) => record.run == *run,
            Self::Expired => record.is_expired(now),
            Self::ExpiredOf(owner) => record.owner == *owner && record.is_expired(now),
            Self::All => true,
        }
    }
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepResult {
    /// The run.
    pub run: String,
    /// Who made it.
    pub owner: String,
    /// What was removed, or would be.
    pub removed: Vec<OwnedObject>,
    /// What carries the run's label, but is not in its ledger; and Secrets that the record names, and that
    /// do not belong to it. They are left alone.
    pub left_alone: Vec<OwnedObject>,
    /// Why not all of it could be removed; then its record stays, and it can be swept again.
    pub failure: Option<String>,
}

/// Sweeps runs whose Leases are in a namespace: [`super::LEASE_NAMESPACE`], or one that runs were given.
/// `also` are runs that a ledger in a report directory says are not closed; the cluster may know nothing
/// of them.
///
/// Done again it does what was left to do: a run's record goes last.
///
/// # Errors
///
/// The runs can't be listed. What goes wrong with one of them is told with it, and keeps no other
/// from being swept.
pub async fn sweep(
    admin: &Client,
    lease_namespace: &str,
    which: &Sweep,
    also: &[OpenRun],
    is_dry_run: bool,
) -> Result<Vec<SweepResult>> {
    let records = match which {
        // One record is read by its name.
        Sweep::Run(run) => {
            lease::record_of(admin, lease_namespace, run).await?.into_iter().collect()
        }
        _ => lease::records(admin, lease_namespace).await?,
    };
    let now = match which {
        Sweep::Expired | Sweep::ExpiredOf(_) if !records.is_empty() => {
            lease::server_time(admin, lease_namespace).await?
        }
        // Nothing depends on it.
        _ => Timestamp::now(),
    };
    let taken: Vec<_> = records.into_iter().filter(|record| which.takes(record, now)).collect();
    let unrecorded = also.iter().filter(|OpenRun { run, .. }| {
        let is_known = taken.iter().any(|record| record.run == *run);
        let is_selected =
            matches!(which, Sweep::Run(other) if other == run) || *which == Sweep::All;
        !is_known && is_selected
    });
    let recorded = taken
        .iter()
        .map(|record| sweep_recorded(admin, record, is_dry_run, SECRETS_DEADLINE).boxed());
    let unrecorded = unrecorded.map(|OpenRun { run, intents }| {
        sweep_run(admin, run, lease::owner(), intents.clone(), is_dry_run).boxed()
    });
    let sweeps: Vec<_> = recorded.chain(unrecorded).collect();
    Ok(stream::iter(sweeps).buffer_unordered(RUNS_AT_ONCE).collect().await)
}

/// Sweeps a run; its record goes last, so that what is interrupted can be done again. Its Secrets belong to
/// the record and go with it: `limit` is for the garbage collector.
async fn sweep_recorded(
    admin: &Client,
    record: &RunRecord,
    is_dry_run: bool,
    limit: Duration,
) -> SweepResult {
    let (owner, intents) = (record.owner.clone(), record.intents.without_secrets());
    let mut swept = sweep_run(admin, &record.run, owner, intents, is_dry_run).await;
    if is_dry_run || swept.failure.is_some() {
        return swept;
    }
    if let Err(error) = lease::forget(admin, record).await {
        swept.failure = Some(describe(&error));
        return swept;
    }
    match secrets::await_end_of_secrets(admin, &record.intents, limit).await {
        Ok(there) => swept.left_alone.extend(there),
        Err(error) => swept.failure = Some(describe(&error)),
    }
    swept
}

/// An error with what the reader can do, as one text.
fn describe(error: &Error) -> String {
    match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    }
}

async fn sweep_run(
    admin: &Client,
    run: &str,
    owner: String,
    intents: Intents,
    is_dry_run: bool,
) -> SweepResult {
    let (removed, left_alone) = (Vec::new(), Vec::new());
    let mut swept = SweepResult { run: run.to_owned(), owner, removed, left_alone, failure: None };
    let found = match teardown::find(admin, run, &intents).await {
        Ok(found) => found,
        Err(error) => return SweepResult { failure: Some(describe(&error)), ..swept },
    };
    if !is_dry_run {
        let removed = teardown::teardown(admin, run, &intents, Timeouts::default()).await;
        swept.failure = removed.err().map(|error| describe(&error));
    }
    (swept.removed, swept.left_alone) = found.into_iter().partition(|found| found.is_recorded);
    swept
}

#[cfg(test)]
mod tests {
    use http::Request;
    use kube::client::Body;
    use serde_json::json;

    use super::{super::secrets::tests::server, *};

    /// A record that somebody forged, to have a Secret of another team deleted with the rights of whoever
    /// sweeps.
    #[tokio::test]
    async fn a_secret_that_does_not_belong_to_the_record_is_left_alone() {
        let name = "nestcheck-abc-theirs";
        let intents = Intents::in_namespace("abc", "team-a", &["Pod"], &[name.to_owned()]);
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": "nestcheck-abc", "namespace": "team-a", "uid": "u",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": crate::sandbox::labels("abc"),
                "annotations": {"nestcheck/intents": intents.to_text()},
            },
            "spec": {"leaseDurationSeconds": 60, "holderIdentity": "me"},
        });
        let others = move |request: &Request<Body>| {
            let kind = if request.uri().path().ends_with("/pods") { "PodList" } else { "List" };
            let list = json!({"apiVersion": "v1", "kind": kind, "metadata": {}, "items": []});
            let is_lease = request.uri().path().ends_with("/leases/nestcheck-abc");
            Some(if is_lease { lease.clone() } else { list })
        };
        let (admin, asked) = server(&[name], others);

        let record = lease::record_of(&admin, "team-a", "abc").await.expect("an answer");
        let record = record.expect("a record");
        let swept = sweep_recorded(&admin, &record, false, Duration::ZERO).await;

        assert_eq!(swept.failure, None);
        let left: Vec<_> = swept.left_alone.iter().map(ToString::to_string).collect();
        assert_eq!(left, ["Secret `team-a/nestcheck-abc-theirs`"]);
        let asked = asked.lock().expect("nobody panics");
        assert!(!asked.is_empty() && asked.iter().all(|it| it.ends_with("(dry run)")), "{asked:?}");
    }

    #[test]
    fn a_run_that_goes_on_is_swept_only_when_it_is_named_or_all_are() {
        let now = Timestamp::now();
        let later = now + Duration::from_secs(60);
        let record = RunRecord::for_test("abc", "me@here", later);
        assert!(Sweep::Run("abc".into()).takes(&record, now));
        assert!(!Sweep::Run("abcd".into()).takes(&record, now));
        assert!(Sweep::All.takes(&record, now));
        assert!(!Sweep::Expired.takes(&record, now));
        assert!(Sweep::Expired.takes(&record, later));
        assert!(Sweep::ExpiredOf("me@here".into()).takes(&record, later));
        assert!(!Sweep::ExpiredOf("you@there".into()).takes(&record, later));
    }
}
