//! What was lost under a case, or under a pod that was being made, so that what was seen says nothing
//! about the product.

use std::time::Instant;

use crate::{
    cluster::exec_error::Lost,
    sandbox::Sandbox,
    verdict::{Failure, Loss},
    workload::{
        disruption::{self, Suspects},
        health::Health,
    },
};

/// Where something failed.
pub(super) struct LossSearch<'a> {
    pub(super) sandbox: &'a Sandbox,
    /// What was lost in this run.
    pub(super) health: &'a Health,
    /// The nodes on which it failed; none if they are not known.
    pub(super) nodes: Option<&'a [String]>,
}

impl LossSearch<'_> {
    /// What was lost since then, if anything was. It has to be asked for as soon as the failure was
    /// seen: what is lost later has nothing to do with it.
    pub(super) async fn find_loss(
        &self,
        failure: &Failure,
        since: Instant,
        suspects: &Suspects,
    ) -> Option<Loss> {
        if let Failure::Lost(loss) = failure {
            return Some(loss.clone());
        }
        if self.sandbox.is_nowhere() {
            // There is neither a node nor an API server that could have been lost.
            return None;
        }
        let is_confirmed = self.health.confirm(Instant::now(), self.nodes).await;
        // A requirement that is not met, or an accepted failure, needs no more than a sign of life.
        let is_sure = match failure {
            Failure::Product { .. } | Failure::Timeout { .. } => false,
            Failure::Harness { .. } => true,
            _ => is_confirmed,
        };
        let found = match self.outage(since) {
            None if !is_sure => {
                disruption::find(self.sandbox, suspects).await.or_else(|| self.outage(since))
            }
            found => found,
        };
        found.map(|loss| {
            let message = format!("{}; until then: {}", loss.message, failure.message());
            Loss { message, ..loss }
        })
    }

    /// The longest outage since then, as a loss.
    fn outage(&self, since: Instant) -> Option<Loss> {
        let disruption = self.health.during(since, self.nodes)?.disruption;
        let who = disruption.lost.unwrap_or(Lost::Node);
        Some(Loss { who, node: disruption.node, message: disruption.reason })
    }
}
