//! Programs of a real cluster, which a user may have and give by `--components`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A program, or a group of programs that are only of use together, that takes the place of what is
/// built or of a stand-in.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RealProgram {
    /// OpenShift's `kube-apiserver`, with its own SCC admission.
    Apiserver,
    /// `kube-controller-manager`.
    ControllerManager,
    /// `kube-scheduler`.
    Scheduler,
    /// `kubelet`.
    Kubelet,
    /// `cluster-policy-controller`.
    PolicyController,
    /// `crio` and `pinns`.
    Crio,
    /// The three programs of the DevWorkspace Operator.
    Operator,
}

impl RealProgram {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Apiserver,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kubelet,
        Self::PolicyController,
        Self::Crio,
        Self::Operator,
    ];

    /// The file names.
    pub fn files(self) -> &'static [&'static str] {
        match self {
            Self::Apiserver => &["kube-apiserver"],
            Self::ControllerManager => &["kube-controller-manager"],
            Self::Scheduler => &["kube-scheduler"],
            Self::Kubelet => &["kubelet"],
            Self::PolicyController => &["cluster-policy-controller"],
            Self::Crio => &["crio", "pinns"],
            Self::Operator => &["devworkspace-controller", "webhook-server", "project-clone"],
        }
    }

    /// Whether the program `hyper` can be called by its name.
    pub fn is_in_hyper(self) -> bool {
        !matches!(self, Self::Crio | Self::Operator)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Some of them.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "Vec<RealProgram>", into = "Vec<RealProgram>")]
pub struct RealPrograms(u8);

impl RealPrograms {
    /// These.
    pub fn of(programs: impl IntoIterator<Item = RealProgram>) -> Self {
        Self(programs.into_iter().fold(0, |bits, program| bits | program.bit()))
    }

    /// Whether `program` is one of them.
    pub fn has(self, program: RealProgram) -> bool {
        self.0 & program.bit() != 0
    }

    /// The others.
    pub fn without(self, program: RealProgram) -> Self {
        Self(self.0 & !program.bit())
    }

    /// Whether there are none.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub fn are_none(&self) -> bool {
        self.0 == 0
    }

    fn iter(self) -> impl Iterator<Item = RealProgram> {
        RealProgram::ALL.into_iter().filter(move |program| self.has(*program))
    }
}

impl From<Vec<RealProgram>> for RealPrograms {
    fn from(programs: Vec<RealProgram>) -> Self {
        Self::of(programs)
    }
}

impl From<RealPrograms> for Vec<RealProgram> {
    fn from(programs: RealPrograms) -> Self {
        programs.iter().collect()
    }
}

impl fmt::Display for RealPrograms {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().flat_map(RealProgram::files).copied().collect();
        formatter.write_str(&names.join(", "))
    }
}
