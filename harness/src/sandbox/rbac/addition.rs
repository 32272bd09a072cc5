//! What is printed with the permissions only where somebody asks for it.

use std::str::FromStr;

/// What `--with` adds to the printed permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addition {
    /// The permission to read the feature gates of the kubelets, which also runs commands in pods.
    KubeletMetrics,
    /// An admission policy that confines the user to the namespaces and objects of runs.
    Guard,
}

impl FromStr for Addition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "kubelet-metrics" => Ok(Self::KubeletMetrics),
            "guard" => Ok(Self::Guard),
            _ => Err("expected `guard` or `kubelet-metrics`".to_owned()),
        }
    }
}
