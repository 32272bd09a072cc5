//! The DevWorkspace Operator in a cluster: a test double that plays back what version 0.42.0 did,
//! or the real one where `--components` has it.

pub mod double;
pub mod real;

use k8s_openapi::api::apps::v1::Deployment;

use crate::settings::{RealProgram, Settings};

/// Which operator a cluster has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operator {
    /// The test double.
    Double,
    /// The real one.
    Real,
}

impl Operator {
    /// The one that these settings ask for, if they do.
    pub fn of(settings: Settings) -> Option<Self> {
        let real = settings.real.has(RealProgram::Operator);
        settings.with.devworkspace_operator.then_some(if real { Self::Real } else { Self::Double })
    }

    /// The services whose servers get certificates of the cluster's authority.
    pub fn services(self) -> &'static [&'static str] {
        match self {
            Self::Double => &[],
            Self::Real => &real::SERVICES,
        }
    }
}

fn is_available(deployment: &Deployment) -> bool {
    let conditions = deployment.status.as_ref().and_then(|status| status.conditions.as_deref());
    conditions.unwrap_or_default().iter().any(|condition| {
        condition.type_.as_deref() == Some("Available")
            && condition.status.as_deref() == Some("True")
    })
}
