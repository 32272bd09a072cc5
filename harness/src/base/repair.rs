//! What has to change for a cause to go, as a name that programs know.

use serde::{Deserialize, Serialize};

/// A change that makes a cause go. `nestcheck remedy` prints what makes it on the cluster at hand, if
/// there is a way.
///
/// The log has the names. A name that only a newer nestcheck knows is [`Self::Unknown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repair {
    /// The image gets podman.
    Podman,
    /// The image gets conmon.
    Conmon,
    /// The image gets an OCI runtime.
    OciRuntime,
    /// The image gets newuidmap and newgidmap.
    IdHelpers,
    /// The image gets pasta.
    Pasta,
    /// The image gets netavark.
    Netavark,
    /// The image gets aardvark-dns.
    AardvarkDns,
    /// The image gets nft.
    Nftables,
    /// The image gets catatonit.
    Catatonit,
    /// The image gets podman-compose.
    PodmanCompose,
    /// The image gets fuse-overlayfs.
    FuseOverlayfs,
    /// The image's user gets a line in /etc/passwd.
    NamedUser,
    /// The image's user gets ranges in /etc/subuid and /etc/subgid that fit a pod.
    SubordinateIds,
    /// newuidmap and newgidmap get their file capabilities.
    HelperCapabilities,
    /// podman gets the storage driver `overlay`.
    StorageDriver,
    /// Another release of the product is installed.
    Upgrade,
    /// The feature gates are on in all components.
    Gates,
    /// The feature gate is on in the kubelets.
    KubeletGate,
    /// Pods can get /dev/fuse and /dev/net/tun.
    Devices,
    /// CRI-O honours the annotation for devices.
    CrioAnnotations,
    /// CRI-O allows the devices.
    CrioDevices,
    /// The nodes allow user namespaces.
    UserNamespaceLimit,
    /// The nodes allow more kernel keys.
    KernelKeys,
    /// The nodes have the kernel modules of netavark's rules.
    NetavarkModules,
    /// Pods may have more processes.
    PodProcesses,
    /// An SCC allows nested containers, and the user may use it.
    Scc,
    /// The namespace admits nested pods.
    PodSecurityLevel,
    /// One that only a newer nestcheck knows.
    #[serde(other)]
    Unknown,
}
