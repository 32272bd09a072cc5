//! The connection to a cluster: clients, deadlines, and errors in words.

mod api;
mod client;
mod connect;
pub mod exec_error;
pub mod permission;
mod refusal;
pub mod retry;
mod watch;

pub use api::{
    API_DEADLINE, FIRST_CONTACT_DEADLINE, ask, call, call_within, describe, is_forbidden, is_loss,
    is_unreached, status_code,
};
pub use connect::{Cluster, ConnectOptions};
pub use refusal::{Answer, Refusal};
pub use watch::{NotSeen, watch_until};
