//! The group that an image gives the user of its pods.

use super::provision;
use crate::{
    sandbox::{
        Sandbox,
        pod_template::{Isolation, PodTemplate, TemplateKind},
    },
    verdict::Failure,
};

/// A pod that names a user and no group.
const TEMPLATE: PodTemplate = PodTemplate {
    name: "image-group",
    file: "image-group.yaml",
    manifest: MANIFEST,
    kind: TemplateKind::Pod,
    isolation: Isolation::UserNamespace,
    devices: false,
    shared: false,
};

const MANIFEST: &str = "
apiVersion: v1
kind: Pod
spec:
  hostUsers: false
  automountServiceAccountToken: false
  enableServiceLinks: false
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: tools
    image: workspace
    command: [/nestcheck/probe, pause]
    securityContext:
      runAsUser: 1000
      runAsNonRoot: true
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL]}
    volumeMounts:
    - {name: nestcheck, mountPath: /nestcheck, readOnly: true}
  volumes:
  - name: nestcheck
";

/// Reads in a pod which group user 1000 gets: the runtime takes it from /etc/passwd of the image, and 0
/// where that has no such user (containerd, `pkg/oci/spec_opts.go`, `WithUserID`).
///
/// # Errors
///
/// A pod that does not start.
pub(super) async fn read(sandbox: &Sandbox) -> Result<u32, Failure> {
    let pod = Box::pin(provision(sandbox, &TEMPLATE)).await?;
    let group = pod.facts.real_gid;
    pod.delete().await;
    Ok(group)
}
