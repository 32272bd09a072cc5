//! How a command or a container in a pod was lost: the one place that knows the answers of API
//! servers, kubelets and container runtimes.
//!
//! Between nestcheck and a command stand the API server, the kubelet and the container runtime. Each
//! of them words its own errors, and passes on those of the next. None of them says whether the
//! command began, and a stream that is lost behind the API server looks like success (client-go,
//! `tools/remotecommand/errorstream.go`, `watchErrorStream`; kubernetes/kubectl#1726).

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::{Error as KubeError, client::UpgradeConnectionError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_unreached;

/// What was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lost {
    /// The API server, or what stands before it.
    ApiServer,
    /// The node: its kubelet, its container runtime, or the network between it and the API server.
    Node,
    /// The pod or its container: it ended, restarted or was deleted.
    Pod,
    /// This connection, for a reason that only the other side knows.
    Connection,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ApiServer => "the API server",
            Self::Node => "the node",
            Self::Pod => "the pod",
            Self::Connection => "the connection",
        })
    }
}

/// What a loss means for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecLoss {
    /// It did not begin, so it may be started again.
    NotBegun(Lost),
    /// It began, or may have, and nobody knows whether and how it ended.
    EndUnknown(Lost),
}

impl ExecLoss {
    /// What was lost.
    #[must_use]
    pub fn who(self) -> Lost {
        match self {
            Self::NotBegun(who) | Self::EndUnknown(who) => who,
        }
    }

    /// Whether the command may be started again: it did not begin, and what is away comes back as it
    /// was. A pod does not: a container that restarts has lost its files and processes.
    #[must_use]
    pub fn may_start_again(self) -> bool {
        matches!(self, Self::NotBegun(who) if who != Lost::Pod)
    }

    /// The same loss of a command that is known to have begun.
    #[must_use]
    pub fn after_begin(self) -> Self {
        Self::EndUnknown(self.who())
    }
}

impl fmt::Display for ExecLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBegun(who) => write!(f, "{who} was lost before it began"),
            Self::EndUnknown(who) => write!(f, "{who} was lost, so its end is unknown"),
        }
    }
}

/// What the status object says that ends an exec stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecStatus {
    /// The command exited with this code. By itself this proves nothing: a lost stream is a success
    /// too.
    Exited(i32),
    /// The container runtime can't start the command.
    Refused,
    /// Something was lost.
    Lost(ExecLoss),
}

/// Who was lost, and the words by which their answers are known. The first row that fits decides.
type Row = (&'static str, ExecStatus);

const fn not_begun(who: Lost) -> ExecStatus {
    ExecStatus::Lost(ExecLoss::NotBegun(who))
}

const fn end_unknown(who: Lost) -> ExecStatus {
    ExecStatus::Lost(ExecLoss::EndUnknown(who))
}

/// The answers. The container runtime begins a command only when the streams are there, which the API
/// server opens once its request to the kubelet was upgraded, so whatever goes wrong until then
/// goes wrong before the command begins.
const ANSWERS: &[Row] = &[
    // The container is not there any more. From the kubelet (`pkg/kubelet/kubelet_pods.go`) …
    ("container not found (", not_begun(Lost::Pod)),
    ("cannot exec into a container in a completed pod", not_begun(Lost::Pod)),
    // … containerd (`internal/cri/server/container_exec.go`, `task.go`) …
    ("container is in CONTAINER_", not_begun(Lost::Pod)),
    ("no running task found", not_begun(Lost::Pod)),
    // … CRI-O (`server/container_exec.go`) …
    ("container is not created or running", not_begun(Lost::Pod)),
    // … runc and crun.
    ("cannot exec in a stopped ", not_begun(Lost::Pod)),
    ("cannot exec a container that has", not_begun(Lost::Pod)),
    ("is not running", not_begun(Lost::Pod)),
    ("code = NotFound", not_begun(Lost::Pod)),
    // The kubelet refuses the API server: somebody configured it so.
    ("unable to upgrade connection: Unauthorized", ExecStatus::Refused),
    ("unable to upgrade connection: Forbidden", ExecStatus::Refused),
    // The kubelet says no, or nobody does. A kubelet that has just started does not know its pods
    // yet: "unable to upgrade connection: pod does not exist".
    ("unable to upgrade connection", not_begun(Lost::Node)),
    ("error sending request:", not_begun(Lost::Node)),
    ("error dialing backend", not_begun(Lost::Node)),
    // Something behind the API server broke while a command ran.
    ("error reading from error stream", end_unknown(Lost::Node)),
    ("ttrpc: closed", end_unknown(Lost::Node)),
    ("code = Unavailable", end_unknown(Lost::Node)),
    ("code = Canceled", end_unknown(Lost::Node)),
    ("code = DeadlineExceeded", end_unknown(Lost::Node)),
    ("context canceled", end_unknown(Lost::Node)),
    ("context deadline exceeded", end_unknown(Lost::Node)),
    // The container runtime can't start the command.
    ("OCI runtime exec failed", ExecStatus::Refused),
    ("unable to start container process", ExecStatus::Refused),
    ("executable file", ExecStatus::Refused),
];

/// How a kubelet says that the runtime is away or has just come back, where it tells why a container
/// does not start; the words of [`ANSWERS`] for a loss belong to it too.
const RUNTIME_AWAY: &[&str] = &[
    // gRPC to the runtime's socket …
    "dial unix ",
    "error reading from server: EOF",
    // … and the runtime to its shim, which is gone.
    "shim disconnected",
    // A call that a restart cut goes on behind the kubelet's back, and holds the name that the next call
    // asks for. containerd (`internal/registrar/registrar.go`) …
    "is reserved for \"",
    // … and CRI-O (`internal/registrar/registrar.go`, `server/container_create.go`).
    "name is reserved",
    "Kubelet may be retrying requests that are timing out in CRI-O",
];

/// What a pull's message has that comes from a registry: its errors are in the same words.
const REGISTRY: &[&str] = &["http://", "https://", "dial tcp"];

/// The reasons of containers that ended when nobody looked: the kubelet
/// (`pkg/kubelet/kubelet_pods.go`) and containerd (`internal/cri/server/helpers.go`) found them gone
/// after a restart, and their exit codes, 137 and 255, are made up.
const FOUND_GONE: [&str; 2] = ["ContainerStatusUnknown", "Unknown"];

/// The words before the message of a network plugin, of containerd (`internal/cri/server/sandbox_run.go`)
/// and CRI-O (`server/sandbox_network.go`).
const NETWORK_PLUGIN: [&str; 3] = ["plugin type=", "setup network for sandbox", "to CNI network"];

/// Whether a message about a container that does not start says that its node or its pod's sandbox was
/// lost: then the kubelet tries again.
#[must_use]
pub fn is_start_lost(message: &str) -> bool {
    let is_lost = matches!(of_words(message), Some(ExecStatus::Lost(_)));
    // A network plugin that fails is the cluster's doing, whatever words it has for it.
    let is_of_network = NETWORK_PLUGIN.iter().any(|words| message.contains(words));
    (is_lost && !is_of_network) || is_runtime_away(message)
}

/// Whether a message about an image that can't be pulled says that its node was lost: then the kubelet
/// tries again.
#[must_use]
pub fn is_pull_lost(message: &str) -> bool {
    let is_lost = of_words(message) == Some(end_unknown(Lost::Node)) || is_runtime_away(message);
    is_lost && !REGISTRY.iter().any(|words| message.contains(words))
}

fn is_runtime_away(message: &str) -> bool {
    RUNTIME_AWAY.iter().any(|words| message.contains(words))
}

/// Whether a container that ended with this reason was lost, so that its exit code says nothing.
#[must_use]
pub fn is_end_lost(reason: &str) -> bool {
    FOUND_GONE.contains(&reason)
}

/// Decides from the status object that ends an exec stream (remotecommand protocol v4 and newer). An
/// answer that nobody knows is a loss: then it is not known how the command ended.
#[must_use]
pub fn of_status(status: &Status) -> ExecStatus {
    if status.status.as_deref() == Some("Success") {
        return ExecStatus::Exited(0);
    }
    if let Some(code) = exit_code(status) {
        return ExecStatus::Exited(code);
    }
    let message = status.message.as_deref().unwrap_or_default();
    of_words(message).unwrap_or(end_unknown(Lost::Node))
}

/// Decides from an HTTP answer in place of an upgraded connection. None where it is a refusal of what
/// was asked.
#[must_use]
pub fn of_response(code: u16, message: &str) -> Option<ExecLoss> {
    match of_words(message) {
        Some(ExecStatus::Lost(loss)) => return Some(loss),
        Some(_) => return None,
        None => {}
    }
    match code {
        429 | 503 => Some(ExecLoss::NotBegun(Lost::ApiServer)),
        // From an API server that can't reach the kubelet.
        500 => Some(ExecLoss::NotBegun(Lost::Node)),
        // From something before the API server that has not understood its answer, or not waited for
        // it: the request may have arrived (RFC 9110, 15.6.3 and 15.6.5).
        502 | 504 => Some(ExecLoss::EndUnknown(Lost::ApiServer)),
        _ => None,
    }
}

/// Decides from an error in place of a connection. None where it is a refusal of what was asked.
#[must_use]
pub fn of_error(error: &KubeError) -> Option<ExecLoss> {
    match error {
        KubeError::Api(status) => of_response(status.code, &status.message),
        KubeError::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(code)) => {
            of_response(code.as_u16(), "")
        }
        error if is_unreached(error) => Some(ExecLoss::NotBegun(Lost::ApiServer)),
        // The request may have arrived.
        KubeError::Service(_)
        | KubeError::HyperError(_)
        | KubeError::UpgradeConnection(UpgradeConnectionError::GetPendingUpgrade(_)) => {
            Some(ExecLoss::EndUnknown(Lost::Connection))
        }
        _ => None,
    }
}

fn of_words(message: &str) -> Option<ExecStatus> {
    ANSWERS.iter().find(|(words, _)| message.contains(words)).map(|(_, means)| *means)
}

/// The exit code of a command that failed: reason `NonZeroExitCode` with a cause `ExitCode`.
fn exit_code(status: &Status) -> Option<i32> {
    let causes = status.details.as_ref()?.causes.as_ref()?;
    let code = causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"))?;
    code.message.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests;
