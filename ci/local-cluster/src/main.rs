//! `local-cluster` starts a real one-node cluster of Kubernetes or OpenShift on this machine, in
//! Linux namespaces and without a container engine.
//!
//! The way through the code, from a command to a running pod:
//!
//! ```text
//! cli -> commands -> artifacts (built once, cached)
//!                 -> supervisor (detached; owns the cluster) -> node (pid 1 of the namespaces)
//!                                                            -> components, runtime (argv and config text)
//!                                                            -> openshift (objects of that flavour's API)
//! ```
//!
//! Everything a cluster acquires on the host is written to its state file before it is acquired, so
//! that `local-cluster down` can give it back even if every process was killed in between: see
//! [`state`] and [`teardown`].

mod artifacts;
mod cgroup;
mod cli;
mod client;
mod command;
mod commands;
mod components;
mod console;
mod disturbance;
mod error;
mod host;
mod image;
mod kubeconfig;
mod network;
mod node;
mod openshift;
mod operator;
mod paths;
mod pki;
mod process;
mod runtime;
mod selection;
mod selinux;
mod settings;
mod state;
mod storage;
mod supervisor;
mod teardown;
mod timeout;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
