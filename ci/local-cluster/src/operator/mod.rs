//! The DevWorkspace Operator in a cluster: a test double that plays back what version 0.42.0 did, or
//! the real one where `--components` has it.

mod double;
mod real;

use std::path::Path;

use tokio::sync::watch;

use crate::client::Admin;
use crate::error::Error;
use crate::node::protocol::Program;
use crate::settings::{RealProgram, Settings};

/// The names of the servers that the API server calls, for their certificates.
pub fn services(settings: &Settings) -> &'static [&'static str] {
    if !settings.with.devworkspace_operator {
        &[]
    } else if settings.real.has(RealProgram::Operator) {
        &real::SERVICES
    } else {
        &double::SERVICES
    }
}

/// The component that is the test double, if the cluster has it.
pub fn component(settings: &Settings, subnet: crate::network::Subnet) -> Option<Program> {
    let is_double =
        settings.with.devworkspace_operator && !settings.real.has(RealProgram::Operator);
    is_double.then(|| double::program(subnet))
}

/// Makes the operator's objects. What stands in the way is told through `last`. The caller
/// bounds the wait.
///
/// # Errors
///
/// Fails when an artifact can't be read or the API refuses an object.
pub async fn install(
    admin: &Admin,
    settings: &Settings,
    artifact: &Path,
    pki: &Path,
    last: &watch::Sender<String>,
) -> Result<(), Error> {
    if settings.real.has(RealProgram::Operator) {
        real::install(admin, artifact, pki, last).await
    } else {
        double::install(admin, artifact, pki).await
    }
}
