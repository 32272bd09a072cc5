//! The end of a sandbox.

use kube::Client;

use super::{
    Audit, Entry, Intents, OwnedObject, SandboxConfig, find, given, lease, ledger, secrets,
    teardown::{self, teardown},
    volumes,
};
use crate::Result;

/// Deletes everything of a run, looks at what is left, and strikes the run from the ledger if that
/// is nothing.
///
/// # Errors
///
/// What could not be removed. The run stays in the ledger then, for `nestcheck sweep`.
pub async fn close(admin: &Client, config: &SandboxConfig) -> Result<Audit> {
    let (run, intents) = (&config.run, config.intents());
    teardown(admin, run, &intents, config.timeouts).await?;
    // What was in flight when the run was cut off may have been stored after the list was made.
    let mut left = look(admin, run, &intents).await?;
    if left.iter().any(|found| found.is_recorded) {
        teardown(admin, run, &intents, config.timeouts).await?;
        left = look(admin, run, &intents).await?;
    }
    let kinds = teardown::KINDS.into_iter().chain(given::KINDS).chain([ledger::SECRET]);
    let looked_for = kinds.filter(|kind| intents.has(kind)).collect();
    let mut audit = Audit::of(run, &config.home, config.ledger.intended(), looked_for, &left);
    if audit.kinds.contains(volumes::PVC) {
        let limit = config.timeouts.teardown;
        audit.volumes = Some(volumes::await_reclaimed(admin, run, &config.home, limit).await);
    }
    if left.iter().any(|found| found.is_recorded) {
        tracing::debug!(run, left = left.len(), "keeps the run's record: it has leftovers");
        return Ok(audit);
    }
    if let Some(record) = lease::record_of(admin, config.home.lease_namespace(), run).await? {
        lease::forget(admin, &record).await?;
    }
    if let Err(error) = config.ledger.write(Entry::Closed { run: run.clone() }).await {
        // Everything is gone; that the ledger does not say so only makes a sweep find nothing.
        tracing::warn!(%error, "the end of the run is not in the ledger");
    }
    Ok(audit)
}

/// What is there of a run: what carries its label, and the Secrets that have no such list.
async fn look(admin: &Client, run: &str, intents: &Intents) -> Result<Vec<OwnedObject>> {
    let mut found = find(admin, run, intents).await?;
    found.extend(secrets::secrets_there(admin, intents).await?);
    Ok(found)
}
