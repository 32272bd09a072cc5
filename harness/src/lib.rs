//! The nestcheck harness: everything that is not about one conformance case.
//!
//! Data flows one way. A kubeconfig becomes a [`cluster`] connection, which is read into
//! [`facts`]; [`requirement`]s and a [`plan`] are pure functions of those; the [`engine`] runs the
//! plan in a [`sandbox`] (throwaway namespaces) on [`workload`]s (pods) and writes the [`event`]
//! log; every [`report`] is a pure function of that log.

pub mod case;
pub mod cluster;
pub mod context;
pub mod diagnosis;
pub mod engine;
pub mod error;
pub mod event;
pub mod facts;
pub mod manifest;
pub mod outcome;
pub mod plan;
pub mod pod_template;
pub mod profile;
pub mod rbac;
pub mod redact;
pub mod report;
pub mod report_dir;
pub mod requirement;
pub mod retry;
pub mod sandbox;
pub mod subset_diff;
pub mod support;
pub mod truth;
pub mod workload;

pub use error::{Error, ErrorKind, Result};
