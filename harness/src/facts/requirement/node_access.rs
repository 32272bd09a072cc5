//! Access to the node.

use super::{Decision, Requirement};
use crate::facts::Facts;

/// Whoever runs nestcheck lets it look at the node from outside of pods. No fact decides that.
#[derive(Clone, Copy, Debug)]
pub struct NodeAccess;

impl Requirement for NodeAccess {
    fn describe(&self) -> String {
        "permission to look at the node (`--node-access`)".to_owned()
    }

    fn decide(&self, _facts: &Facts) -> Decision {
        Decision::Met
    }
}
