//! The nestcheck harness: everything that is not about one conformance case.
//!
//! Data flows one way. A kubeconfig becomes a [`cluster`] connection, which is read into
//! [`facts`] and decided; the [`engine`] makes a plan, runs it in a [`sandbox`] (throwaway
//! namespaces) on [`workload`]s (pods), and writes each [`verdict`] to the event log; every
//! [`report`] is a pure function of that log. A module uses only those below it; `tests/rooms.rs`
//! has their order and checks it.

pub mod base;
pub mod cluster;
pub mod diagnosis;
pub mod engine;
pub mod facts;
pub mod remedy;
pub mod report;
pub mod sandbox;
pub mod verdict;
pub mod workload;

pub use base::error::{Error, ErrorKind, Result};
