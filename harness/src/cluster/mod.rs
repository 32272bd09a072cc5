//! The connection to a cluster: clients, deadlines, and errors in words.

mod api;
mod connect;

pub use api::{API_DEADLINE, call, describe, is_forbidden, status_code};
pub use connect::{Cluster, ConnectOptions};
