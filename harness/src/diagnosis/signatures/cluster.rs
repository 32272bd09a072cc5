//! Failures of the cluster: what the API server refuses, why a pod does not start, and what is not
//! as it was asked for.

use super::{ANYTHING, Signature, daily_use, operator, pod};
use crate::{
    diagnosis::{CheckId, Diagnosis},
    verdict::{Place, SignatureId},
};

const REFUSED_BY_SCC: &str = "unable to validate against any security context";

/// What a ResourceQuota refuses (apiserver, `pkg/admission/plugin/resourcequota/controller.go`).
pub(super) const BY_QUOTA: Signature = Signature::new(
    SignatureId::F60,
    Place::Policy,
    &[
        &["is forbidden: exceeded quota: "],
        &["is forbidden: failed quota: "],
        &["is forbidden: status unknown for quota: "],
    ],
    "a ResourceQuota of the run's namespace refuses what nestcheck creates, the one that the message \
     names",
    "raise the quota, or let whatever creates it leave out namespaces with the label \
     `app.kubernetes.io/managed-by: nestcheck`",
);

/// What a LimitRange refuses (kubernetes, `plugin/pkg/admission/limitranger`).
pub(super) const BY_LIMIT_RANGE: Signature = Signature::new(
    SignatureId::F61,
    Place::Policy,
    &[
        &["is forbidden", " usage per Container is "],
        &["is forbidden", " usage per Pod is "],
        &["is forbidden", " usage per PersistentVolumeClaim is "],
        &["is forbidden", " limit to request ratio per "],
    ],
    "a LimitRange of the run's namespace refuses what nestcheck creates",
    "change the LimitRange, or let whatever creates it leave out namespaces with the label \
     `app.kubernetes.io/managed-by: nestcheck`",
);

/// What the API server refuses.
pub(super) const REFUSALS: &[Signature] = &[
    // The wrapper of the API server; what is in it is the policy's own.
    Signature::new(
        SignatureId::F41,
        Place::Policy,
        &[&["ValidatingAdmissionPolicy '", "denied request"]],
        "an admission policy of the cluster refuses the pod, the one that the message names",
        "exempt pods with `hostUsers: false` from it, or these namespaces in its binding",
    ),
    Signature::new(
        SignatureId::F41,
        Place::Policy,
        &[&["admission webhook \"", "denied the request"]],
        "an admission webhook of the cluster refuses it, the one that the message names",
        "exempt pods with `hostUsers: false` from its policy, or these namespaces in its \
         configuration",
    ),
    BY_QUOTA,
    BY_LIMIT_RANGE,
    Signature::new(
        SignatureId::F21,
        Place::Policy,
        &[&[REFUSED_BY_SCC, "capability may not be added"]],
        "the SCC's field `allowedCapabilities` lacks a capability",
        "it must list SETUID and SETGID",
    ),
    Signature::new(
        SignatureId::F21,
        Place::Policy,
        &[&[REFUSED_BY_SCC, "Host Users must be set"]],
        "the SCC requires a user namespace (`userNamespaceLevel`), and the pod reached \
         admission without one",
        "set `hostUsers: false`, and look for a webhook that removes it",
    ),
    Signature::new(
        SignatureId::F21,
        Place::Policy,
        &[&[REFUSED_BY_SCC, "allowPrivilegeEscalation"]],
        "the SCC's field `allowPrivilegeEscalation` is not true",
        "set it, or newuidmap gains no capability",
    ),
    Signature::new(
        SignatureId::F21,
        Place::Policy,
        &[&["not usable by user or serviceaccount"]],
        "neither the user nor the pod's service account may `use` the SCC",
        "bind a role that allows it",
    ),
    Signature::new(
        SignatureId::F30,
        Place::Policy,
        &[&["violates PodSecurity"]],
        "the namespace enforces a Pod Security level that a nested pod exceeds",
        "label the namespace `pod-security.kubernetes.io/enforce: privileged`",
    ),
];

pub(in crate::diagnosis) const NO_FURTHER_NAMESPACE: Diagnosis = Diagnosis {
    id: SignatureId::F08,
    place: Place::Node,
    cause: "the node allows no further user namespace: `user.max_user_namespaces` is 0 or used up",
    fix: "set `user.max_user_namespaces` on the node to 65536 or more (Talos: `machine.sysctls`; \
          Bottlerocket: `settings.kernel.sysctl`)",
};

/// Why a pod does not start.
pub(super) const STARTS: &[Signature] = &[
    operator::NO_HOST_SUFFIX,
    // Of a controller that can't create the pod.
    BY_QUOTA,
    BY_LIMIT_RANGE,
    Signature::of(
        NO_FURTHER_NAMESPACE,
        &[
            &["failed to start noop process", "no space left on device"],
            &["Failed to unshare namespaces", "No space left on device"],
        ],
    ),
    Signature::new(
        SignatureId::F08,
        Place::Node,
        &[
            &["failed to start noop process", "operation not permitted"],
            &["Failed to unshare namespaces", "Operation not permitted"],
        ],
        "the node's container runtime may not make user namespaces",
        "run kubelet and runtime as root of the machine (rootless Kubernetes is not supported), \
         and without a seccomp, AppArmor or SELinux profile that forbids clone(2)",
    ),
    Signature::new(
        SignatureId::F08,
        Place::Node,
        &[
            &["failed to start noop process", "invalid argument"],
            &["Failed to unshare namespaces", "Invalid argument"],
        ],
        "the node's kernel refuses the user namespace: it has none, or the runtime is in a user \
         namespace that lacks the ids",
        "use a kernel with CONFIG_USER_NS, and run kubelet and runtime as root of the machine",
    ),
    Signature::new(
        SignatureId::F40,
        Place::Policy,
        &[
            &["setresuid", "nvalid argument"],
            &["setresgid", "nvalid argument"],
            &["setgroups", "nvalid argument"],
            &["unable to setup user", "nvalid argument"],
            // containerd, before it asks crun or runc.
            &["cannot be mapped to a host ID"],
        ],
        "the pod's user or a group is outside of its user namespace, which has the ids 0 to 65535",
        "set `runAsUser`, `runAsGroup` and `fsGroup` below 65536; on OpenShift ask for an SCC with \
         such ids, as `restricted-v3` has, instead of `restricted-v2`",
    ),
    Signature::new(
        SignatureId::F37,
        Place::Node,
        &[&["unresolvable CDI devices"]],
        "the node's runtime has no CDI device of the name that the pod asks for",
        "put its CDI spec into /etc/cdi on the node, or name another with `--devices cdi:NAME`",
    ),
    Signature::new(
        SignatureId::F17,
        Place::Node,
        &[&["does not support user namespaces"]],
        "the node's runtime can't make user namespaces",
        "use a runtime handler that can, of containerd 2.0 or CRI-O 1.25 or newer",
    ),
    Signature::new(
        SignatureId::F18,
        Place::Node,
        &[&["UserNamespacesSupport", "is disabled", "HostUsers"]],
        "the feature gate UserNamespacesSupport is off on the node's kubelet",
        "turn it on there too, or finish the rollout of the machine config",
    ),
    Signature::new(
        SignatureId::F16,
        Place::Node,
        &[
            &["MOUNT_ATTR_IDMAP"],
            &["support idmap mounts"],
            &["create mapped mount for"],
            &["idmapped mounts"],
        ],
        "the kernel can't map the ids of a volume's file system",
        "use a volume of ext4, xfs or tmpfs, and Linux 6.3 or newer",
    ),
    Signature::new(
        SignatureId::F19,
        Place::Node,
        &[&["sysfs", "operation not permitted"], &["mount-product-files.sh"]],
        "kind's node image can't start pods with user namespaces",
        "use kind 0.32 or newer",
    ),
    Signature::new(
        SignatureId::F20,
        Place::Node,
        &[&["mkdirat", "permission denied"]],
        "the runtime can't make a directory in a volume that the image declares, such as /run",
        "use an image without that `VOLUME`, or a containerd with the fix of its issue 11852",
    ),
    Signature::new(
        SignatureId::F54,
        Place::Image,
        &[
            &["/dev/console", "operation not permitted"],
            &["/dev/console", "permission denied"],
            &["/dev/console", "no such file or directory"],
        ],
        "the runtime can't put /dev/console into the container: the image has no such file, and the \
         pod's root may not make one there",
        "add an empty file /dev/console to the image; on GKE, turn image streaming off",
    ),
    Signature::new(
        SignatureId::F38,
        Place::Node,
        &[&["is not in allowed_devices"]],
        "the node does not allow a device that the pod asks for by annotation",
        "list /dev/fuse and /dev/net/tun in `allowed_devices` of crio.conf, and ask for no others",
    ),
    Signature::new(
        SignatureId::F35,
        Place::Image,
        &[&["executable file", "not found"], &["exec: \"", "no such file or directory"]],
        "the image lacks the program that the pod starts",
        "correct the pod's command, or the image",
    ),
];

/// Why cases have no verdict on the product: the kubelet's words for a pod that gets no image
/// (kubernetes, `pkg/kubelet/images/types.go`).
pub(super) const ERRORS: &[Signature] = &[
    BY_QUOTA,
    BY_LIMIT_RANGE,
    OTHER_PROJECT,
    Signature::new(
        SignatureId::F55,
        Place::Image,
        &[
            &["(ErrImagePull)"],
            &["(ImagePullBackOff)"],
            &["(ErrImageNeverPull)"],
            &["(InvalidImageName)"],
        ],
        "the node can't pull the image",
        "name an image that the nodes can pull with `--image`: check its name and tag, the nodes' \
         way to the registry, and that it is made for the node's architecture. If the registry wants \
         a password, give it with `--pull-secret`",
    ),
    // As a disruption shows itself (`crate::verdict::Disruption`).
    Signature::new(
        SignatureId::F56,
        Place::Cluster,
        &[&["was lost from ", " UTC ("], &["was lost at ", " UTC: "]],
        "the API server, a node, a pod or a connection was lost while the case ran, and again in its \
         retry or for too long",
        "see when what was lost in the list of disruptions, and run these cases again once the \
         cluster is stable",
    ),
];

/// OpenShift's own registry gives the images of a project to its service accounts alone, by RoleBindings
/// to `system:image-puller` (openshift/image-registry, `pkg/dockerregistry/server/auth.go`; "Allowing pods to
/// reference images across projects" in the documentation of `OpenShift`). The words are those of
/// containers/image (`docker/errors.go`) and of the registry, which hides whether the image exists.
const OTHER_PROJECT: Signature = Signature::new(
    SignatureId::F55,
    Place::Policy,
    &[
        &["image-registry.openshift-image-registry.svc:5000/", "authentication required"],
        &["image-registry.openshift-image-registry.svc:5000/", "unauthorized"],
        &[
            "image-registry.openshift-image-registry.svc:5000/",
            "requested access to the resource is denied",
        ],
    ],
    "the image is in OpenShift's internal registry, in a project from which the pods of the run may not \
     pull",
    "let its project give it to the run with `oc policy add-role-to-group system:image-puller \
     system:serviceaccounts -n PROJECT`, PROJECT being the first part of the image's name after the host; \
     for a run with `--namespace NS` the group `system:serviceaccounts:NS` is enough; or give a pull \
     secret with `--pull-secret FILE`",
);

/// What a check of the pod, or of its object, shows where it does not hold.
pub(super) const fn checks(id: CheckId) -> &'static [Signature] {
    match id {
        CheckId::StorageDriver => STORAGE_DRIVER,
        CheckId::StoredScc => STORED_SCC,
        CheckId::StoredHostUsers => STORED_HOST_USERS,
        CheckId::StoredProcMount => STORED_PROC_MOUNT,
        CheckId::UidMap => UID_MAP,
        CheckId::AdmittedBy => ADMITTED_BY,
        CheckId::PodmanSubnets => daily_use::OVERLAPPING_SUBNETS,
        CheckId::SubordinateIds => pod::SUBORDINATE_IDS,
        CheckId::IdHelpers => pod::ID_HELPERS,
        CheckId::BoundingCapabilities => pod::BOUNDING_CAPABILITIES,
        CheckId::NoNewPrivs => pod::PRIVILEGE_ESCALATION,
        CheckId::Proc => pod::PROC,
        CheckId::InnerNamespace => pod::INNER_NAMESPACE,
        CheckId::Fuse => pod::FUSE,
        CheckId::Tun => pod::TUN,
        CheckId::WorkspaceDeletion => operator::CLEANUP,
    }
}

const STORAGE_DRIVER: &[Signature] = &[Signature::new(
    SignatureId::F34,
    Place::Image,
    &[&["`vfs`"]],
    "podman stores images with the driver `vfs`, which copies every layer",
    "set `driver = \"overlay\"` in storage.conf and remove the old storage; the overlay needs an \
     emptyDir on ~/.local/share/containers, or /dev/fuse",
)];

const STORED_SCC: &[Signature] = &[Signature::of(DROPPED_SCC_FIELD, ANYTHING)];

pub(in crate::diagnosis) const DROPPED_SCC_FIELD: Diagnosis = Diagnosis {
    id: SignatureId::F25,
    place: Place::Cluster,
    cause: "the API server dropped a field of the SCC, so it does not require what it says",
    fix: "`userNamespaceLevel` is in the schema from OpenShift 4.20 on, or with a feature set other \
          than Default",
};

const STORED_HOST_USERS: &[Signature] = &[Signature::of(DROPPED_HOST_USERS, ANYTHING)];

pub(in crate::diagnosis) const DROPPED_HOST_USERS: Diagnosis = Diagnosis {
    id: SignatureId::F25,
    place: Place::Cluster,
    cause: "the API server dropped `hostUsers`",
    fix: "turn the feature gate UserNamespacesSupport on there",
};

const STORED_PROC_MOUNT: &[Signature] = &[Signature::of(DROPPED_PROC_MOUNT, ANYTHING)];

pub(in crate::diagnosis) const DROPPED_PROC_MOUNT: Diagnosis = Diagnosis {
    id: SignatureId::F25,
    place: Place::Cluster,
    cause: "the API server dropped `procMount`",
    fix: "turn the feature gate ProcMountType on there",
};

const UID_MAP: &[Signature] = &[Signature::new(
    SignatureId::F25,
    Place::Node,
    ANYTHING,
    "the runtime ignored `hostUsers`",
    "check the runtime's version and the kubelet's gate",
)];

const ADMITTED_BY: &[Signature] = &[Signature::new(
    SignatureId::F22,
    Place::Policy,
    ANYTHING,
    "another SCC than the one that was asked for admitted the pod",
    "ask for it by the annotation `openshift.io/required-scc`, and look for a webhook that \
     removes it",
)];
