//! More than a plain user of one namespace may do.

use super::{Decision, Requirement};
use crate::facts::Facts;

/// The run creates this, or acts as somebody who may: namespaces, users, objects of the cluster. No
/// fact decides that; a run in a given namespace (`nestcheck run --namespace`) does not do it.
#[derive(Clone, Copy, Debug)]
pub struct Administrator(pub &'static str);

impl Requirement for Administrator {
    fn describe(&self) -> String {
        format!("an administrator's permissions, for {}", self.0)
    }

    fn decide(&self, _facts: &Facts) -> Decision {
        Decision::Met
    }
}
