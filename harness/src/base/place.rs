//! Where a cause is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where something is wrong, and so who can fix it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The image of the workspace.
    Image,
    /// A node: its kernel, settings, devices or container runtime.
    Node,
    /// The API server, a feature gate, a volume, or how the pod is made.
    Cluster,
    /// An operator, such as the DevWorkspace Operator.
    Operator,
    /// An SCC, a Pod Security level, an admission policy or webhook.
    Policy,
    /// nestcheck itself.
    Nestcheck,
    /// Nobody knows.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Place {
    /// The place's name, as the reports print it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Node => "node",
            Self::Cluster => "cluster",
            Self::Operator => "operator",
            Self::Policy => "policy",
            Self::Nestcheck => "nestcheck",
            Self::Unknown => "unknown",
        }
    }
}
