//! The connection to a cluster: clients, deadlines, and errors in words.

mod api;
mod client;
mod connect;
pub mod exec_error;
mod exec_plugin;
mod in_cluster;
mod no_proxy;
mod nowhere;
pub mod permission;
mod proxy;
mod refusal;
pub mod retry;
mod tokens;
mod tunnel;
mod watch;

pub use api::{
    API_DEADLINE, FIRST_CONTACT_DEADLINE, ask, call, call_within, describe, is_forbidden, is_loss,
    is_unreached, status_code,
};
pub use connect::{Cluster, ConnectOptions};
pub use in_cluster::{is_in_pod, namespace_of_pod};
pub use refusal::{Answer, Refusal};
pub use watch::{NotSeen, watch_until};
