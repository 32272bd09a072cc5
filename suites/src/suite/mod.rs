//! One file or directory a suite.

mod admission;
mod compose;
mod gate;
mod identity;
mod isolation;
mod node_runtimes;
mod nodes;
mod podman;
mod preflight;
mod root;
mod scc;
mod selinux;
mod static_checks;
mod teardown;
mod upgrade;
mod upstream;
mod volumes;
pub(crate) mod workspace;

use harness::facts::{
    Flavour,
    requirement::{
        Administrator, DeviceRequests, Devices, Requirement, UnmaskedProc, UserNamespaces,
    },
};

/// The suites in the order of the catalogue, with what their cases have in common.
pub(crate) const SUITES: [(&str, &str); 15] = [
    (
        "preflight",
        "What the cluster is. nestcheck reads it before it writes anything. These cases explain \
         why other cases are blocked, and they stop a run on a cluster that nestcheck does not \
         understand.",
    ),
    (
        "gate",
        "The feature gates, as the API server and the kubelets behave. A server with a gate off \
         drops the field silently, so these cases compare what it reports with what it does.",
    ),
    ("admission", "What the API server itself must refuse, for every user and every SCC."),
    (
        "scc",
        "Security context constraints on OpenShift and MicroShift: what the run's own SCC admits \
         and refuses, and whether the shipped SCCs are as the vendor made them.",
    ),
    (
        "identity",
        "Who the user is, inside the pod and on the node, and whether the ids match those that \
         the image expects.",
    ),
    (
        "isolation",
        "What the pod sees of the kernel and of the node's devices: enough for containers inside, \
         and nothing more.",
    ),
    (
        "podman",
        "Rootless podman in the pod, as an ordinary user: what a developer does with it every \
         day. No case needs a registry. The cases build their images from files in the pod.",
    ),
    (
        "compose",
        "podman-compose as an ordinary user: a developer's project with several services that \
         find each other.",
    ),
    ("upstream", "Podman's own tests, in the place where a developer runs podman."),
    (
        "volumes",
        "A pod's volumes, seen through its user namespace. The kernel maps the ids of each mount, \
         so owners are the same as without a user namespace.",
    ),
    (
        "root",
        "Root inside a container has no power over the node. Each case tries attacks, and the \
         kernel must refuse them: as the user in the pod, as root in a container, and as root in \
         a container with every capability that it may request. The report shows the error of \
         each attack.\n\n\
         Only an error that means missing permission is a refusal: EPERM, EACCES, EROFS, and \
         ESRCH for a signal. Any other error, such as EINVAL or EBUSY, is a failure that names \
         it.\n\n\
         A refused attack proves something only if the same attack succeeds without protection. \
         The run therefore tries all attacks in a control too: a privileged pod without a user \
         namespace. The report shows the control's answers. An attack that succeeds causes no \
         harm: the restart lacks its magic numbers, the clock is set to an invalid tick, and \
         files are opened but not written. If the cluster refuses the control pod, the cases \
         report that and run without it.",
    ),
    (
        "workspace",
        "Workspaces of a real DevWorkspace Operator, created as the ordinary user from a devfile. \
         Without the operator these cases are not applicable. They do not test what Che itself \
         creates.",
    ),
    (
        "nodes",
        "Each node by itself. Without `--every-node` this suite does not run: the other cases use one \
         node or two. With it, each node that takes pods has a case, whose id ends with the name of the \
         node, and `--every-node=kinds` proves one node of each kind.",
    ),
    ("teardown", "What a run leaves behind, and which existing objects it changes: none."),
    (
        "upgrade",
        "Old clusters, clusters during an update, and clusters that report false facts: none of \
         them may look green.",
    ),
];

/// What a nested pod needs. Controls need it too: without the real thing to compare with, a
/// control proves nothing.
const NESTED: &[&dyn Requirement] = &[&UserNamespaces, &UnmaskedProc];

/// What a nested pod needs in a second namespace.
const NESTED_ELSEWHERE: &[&dyn Requirement] =
    &[&UserNamespaces, &UnmaskedProc, &Administrator("another namespace of the run's own")];

/// What a nested pod needs that asks for /dev/fuse and /dev/net/tun, whether or not it gets them.
const ASKING_FOR_DEVICES: &[&dyn Requirement] = &[&UserNamespaces, &UnmaskedProc, &DeviceRequests];

/// What a nested pod with /dev/fuse and /dev/net/tun needs.
const WITH_DEVICES: &[&dyn Requirement] = &[&UserNamespaces, &UnmaskedProc, &Devices];

/// The kinds of cluster that admit pods by SCCs.
const WITH_SCCS: &[Flavour] = &[Flavour::OpenShift, Flavour::MicroShift];

/// OpenShift itself, with its configuration API.
const OPENSHIFT: &[Flavour] = &[Flavour::OpenShift];
