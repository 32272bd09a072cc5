//! The ledger in the cluster: one Lease a run, with its owner, its expiry and its intents, so that
//! another machine can sweep what this one has left.

use std::{os::unix::fs::MetadataExt, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions},
};

use super::{
    MANAGED_BY, MANAGER, RUN_LABEL, create::create, labels, ledger::Intents, namespace_of,
};
use crate::{
    Error, Result,
    cluster::{call, status_code},
};

/// The namespace of the Leases: one that every cluster has, and that no run ends.
pub const LEASE_NAMESPACE: &str = "default";

/// The annotation with the intents.
const INTENTS: &str = "nestcheck/intents";

/// How much longer than a run may take its Lease and its users' tokens last: its teardown, and clocks
/// that differ.
pub(super) const MARGIN: Duration = Duration::from_secs(15 * 60);

/// A run as its Lease tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    /// Its id.
    pub run: String,
    /// Who made it: user and machine.
    pub owner: String,
    /// When it is over at the latest.
    pub expires: Timestamp,
    /// What it may have created.
    pub intents: Intents,
    /// The Lease's namespace.
    namespace: String,
    /// The Lease's UID.
    uid: String,
}

impl RunRecord {
    /// Whether the run is over at the latest by then.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires <= now
    }

    /// Reads a Lease; none where it has not what a run's has. It begins when the server says that
    /// it was made: the clock of the machine that made it may have been wrong.
    fn of(lease: &Lease) -> Option<Self> {
        let run = lease.labels().get(RUN_LABEL)?.clone();
        let spec = lease.spec.as_ref()?;
        let begun = lease.metadata.creation_timestamp.as_ref()?.0;
        let run_timeout = u64::try_from(spec.lease_duration_seconds?).ok()?;
        let namespace = lease.namespace()?;
        // Whoever may write Leases and no Secrets must not name one by a label.
        lease.metadata.name.as_ref().filter(|name| **name == namespace_of(&run))?;
        Some(Self {
            owner: spec.holder_identity.clone().unwrap_or_default(),
            expires: begun.checked_add(Duration::from_secs(run_timeout)).ok()?,
            intents: Intents::parse(&run, &namespace, lease.annotations().get(INTENTS)?)?,
            namespace,
            uid: lease.uid()?,
            run,
        })
    }
}

/// Who makes runs here: user and machine.
#[must_use]
pub fn owner() -> String {
    let user = std::env::var("USER").ok().filter(|user| !user.is_empty());
    // A job of a CI system often has no name, but always a number.
    let number = || std::fs::metadata("/proc/self").map_or(0, |process| process.uid());
    let user = user.unwrap_or_else(|| format!("uid {}", number()));
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{user}@{}", machine.trim())
}

fn leases(admin: &Client, namespace: &str) -> Api<Lease> {
    Api::namespaced(admin.clone(), namespace)
}

/// Writes down in the cluster what a run may create, before it does.
pub(super) fn lease(run: &str, namespace: &str, run_timeout: Duration, intents: &Intents) -> Lease {
    let seconds = (run_timeout + MARGIN).as_secs();
    let now = MicroTime(Timestamp::now());
    Lease {
        metadata: ObjectMeta {
            name: Some(namespace_of(run)),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels(run)),
            annotations: Some([(INTENTS.to_owned(), intents.to_text())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(owner()),
            lease_duration_seconds: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    }
}

/// Creates the Lease of a run, and returns it as the owner of other objects. Done again after an answer
/// that got lost, it finds its own.
pub(super) async fn record(admin: &Client, lease: &Lease) -> Result<Option<OwnerReference>> {
    let api = leases(admin, lease.metadata.namespace.as_deref().unwrap_or(LEASE_NAMESPACE));
    let made = create(&api, lease, "record the run in the cluster").await?;
    Ok(made.owner_ref(&()))
}

/// What time it is for the server, by the creation of a Lease that is not stored. A machine whose
/// clock is ahead would otherwise sweep runs that still go on.
pub(super) async fn server_time(admin: &Client, namespace: &str) -> Result<Timestamp> {
    let api = leases(admin, namespace);
    let lease = Lease {
        metadata: ObjectMeta { name: Some("nestcheck-time".to_owned()), ..ObjectMeta::default() },
        ..Lease::default()
    };
    let params = PostParams { dry_run: true, field_manager: Some("nestcheck".to_owned()) };
    let made = call("ask the server for its time", || api.create(&params, &lease)).await?;
    made.metadata.creation_timestamp.map(|time| time.0).ok_or_else(|| {
        Error::infrastructure("failed to ask the server for its time: its answer has none")
    })
}

/// The runs that the cluster knows of by Leases of a namespace.
///
/// # Errors
///
/// What the server refuses.
pub async fn records(admin: &Client, namespace: &str) -> Result<Vec<RunRecord>> {
    let ours = ListParams::default().labels(&format!("{MANAGED_BY}={MANAGER},{RUN_LABEL}"));
    let api = leases(admin, namespace);
    let list = call("list the runs that the cluster knows of", || api.list(&ours)).await?;
    Ok(list.items.iter().filter_map(RunRecord::of).collect())
}

/// The record of one run, if the cluster has it.
///
/// # Errors
///
/// What the server refuses.
pub async fn record_of(admin: &Client, namespace: &str, run: &str) -> Result<Option<RunRecord>> {
    let api = leases(admin, namespace);
    let name = namespace_of(run);
    let found = call("read the run's record", || api.get_opt(&name)).await?;
    Ok(found.as_ref().and_then(RunRecord::of).filter(|record| record.run == run))
}

/// Deletes the record of a run: everything of it is gone.
///
/// # Errors
///
/// What the server refuses.
pub async fn forget(admin: &Client, record: &RunRecord) -> Result<()> {
    let api = leases(admin, &record.namespace);
    let name = namespace_of(&record.run);
    let uid = Some(record.uid.clone());
    let params =
        DeleteParams::default().preconditions(Preconditions { uid, resource_version: None });
    call("delete the run's record", || async {
        match api.delete(&name, &params).await {
            // Gone already, or the name is another's by now.
            Err(error) if matches!(status_code(&error), Some(404 | 409)) => Ok(()),
            other => other.map(drop),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    impl RunRecord {
        pub(crate) fn for_test(run: &str, owner: &str, expires: Timestamp) -> Self {
            let intents = Intents::of_run(run, false);
            let (run, owner, namespace) = (run.into(), owner.into(), LEASE_NAMESPACE.into());
            Self { run, owner, expires, intents, namespace, uid: "u".into() }
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let intents = Intents::of_run("abc", true);
        let mut lease = lease("abc", LEASE_NAMESPACE, Duration::from_secs(1800), &intents);
        lease.metadata.uid = Some("u".into());
        lease.metadata.creation_timestamp = Some(Time(Timestamp::now()));
        let record = RunRecord::of(&lease).expect("it is a run's");
        assert_eq!((record.run.as_str(), record.owner.clone()), ("abc", owner()));
        assert_eq!(record.intents, intents);
        assert!(!record.is_expired(Timestamp::now()));
        assert!(record.is_expired(record.expires));
        lease.metadata.annotations = None;
        assert_eq!(RunRecord::of(&lease), None, "somebody else's");
    }
}
