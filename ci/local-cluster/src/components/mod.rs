//! The components of a cluster: command lines and configuration texts, made by pure functions.

pub mod control_plane;
pub mod device_plugin;
pub mod kubelet;
pub mod openshift;

/// The name of the first node of a cluster.
pub const NODE_NAME: &str = "node";

/// Configuration, in the node.
pub const CONFIG: &str = "/etc/local-cluster";

/// The programs of the control plane and the kubelet, in the node.
pub const KUBERNETES: &str = "/opt/local-cluster/kubernetes";

/// The programs of a real cluster that take the place of those, in the node.
pub const REAL: &str = "/opt/local-cluster/real";

/// The archives of images that are to be loaded, in the node.
pub const LOAD: &str = "/opt/local-cluster/load";

/// Their folder in the cluster's data.
pub const LOAD_DATA: &str = "load";

/// Addresses of services. The API server has the first one.
pub const SERVICE_SUBNET: &str = "10.96.0.0/16";

/// The address of the API server's service: the first one of services.
pub const API_SERVICE: &str = "10.96.0.1";

/// The port of the API server.
pub const API_PORT: u16 = 6443;

/// The controller manager's port (its default).
pub const CONTROLLER_MANAGER_PORT: u16 = 10257;

/// The scheduler's port (its default).
pub const SCHEDULER_PORT: u16 = 10259;
