//! What the tests share: they start the command in an empty environment, read its output, and look
//! at the cluster and its audit log.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::panic,
    reason = "only tests call this, and a test ends when something is not as it must be"
)]

mod applied;
mod audit;
mod cluster;
mod command;
mod forward_proxy;
mod in_process_run;
mod kubeconfig;
mod live_cluster;
mod node_pod;
mod operators;
mod program_tree;
mod recorded;
mod report;
mod server;
mod tools;
mod webhook;

pub use applied::{Applied, documents};
pub use audit::{AuditLog, ObjectRef, Request, by_verb};
pub use cluster::Cluster;
pub use command::{Finished, Running, TestDir, mode_of};
use expectations::Expectations;
pub use forward_proxy::{ForwardProxy, ProxyProtocol};
pub use in_process_run::{InProcessRun, finished};
pub use kubeconfig::Kubeconfig;
pub use live_cluster::{Live, LocalCluster};
pub use node_pod::NodePod;
pub use operators::{Operators, default_settings, reports};
pub use program_tree::program_tree;
pub use recorded::{Log, Permissions, Rounds, ServerBehaviour, many_nodes, serve};
pub use report::Report;
pub use server::{HttpRequest, answering_server, closed_address, listener, silent_server};
pub use tools::{go_program, npm_program, test_go_module};
pub use webhook::Webhook;

/// The expected verdicts of an environment: `suites/tests/expectations/ENVIRONMENT.yaml`.
#[track_caller]
pub fn expected(environment: &str) -> Expectations {
    Expectations::read(environment, &suites::cases()).unwrap_or_else(|error| {
        panic!("{error}; hint: {}", error.hint().unwrap_or_default());
    })
}
