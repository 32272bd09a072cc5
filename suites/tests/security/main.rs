//! What must never be written, what a pod must not be able to do to a report, and who nestcheck is to a
//! cluster and how it gets there. Some of it needs a cluster on which everything works (`NESTCHECK_TEST_KUBECONFIG`, made by `ci/test`).

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

mod credentials;
mod given_namespace;
mod guard;
mod hostile;
mod in_cluster;
mod networks;
mod node;
mod outputs;
mod permissions;
mod placement;
mod registry;
mod secrets;
