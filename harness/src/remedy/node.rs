//! Settings of nodes: files on each node, or a `MachineConfig` where the Machine Config Operator writes
//! them.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Change, Circumstances, Cost, Machine, Step};
use crate::{
    base::{manifest, names::is_subdomain},
    facts::{DEVICE_PATHS, DEVICES_V1, DEVICES_V2, Flavour, Knows, Platform, WORKER},
    verdict::{Place, Repair},
};

/// The label by which a `MachineConfig` is of a pool.
const ROLE: &str = "machineconfiguration.openshift.io/role";

/// More than `user.max_user_namespaces` needs for one node's pods. The last two are of some distributions
/// only; a leading `-` lets them be absent (sysctl.d(5)).
const NAMESPACES: &str = "\
user.max_user_namespaces = 65536
-kernel.unprivileged_userns_clone = 1
-kernel.apparmor_restrict_unprivileged_userns = 0
";

/// A user's quota of kernel keys is 200 by default; each container takes one (keyrings(7)).
const KERNEL_KEYS: &str = "\
kernel.keys.maxkeys = 5000
kernel.keys.maxbytes = 500000
";

/// What netavark's rules need of the kernel.
const MODULES: [&str; 5] = ["nf_tables", "nft_ct", "nft_fib_inet", "nft_masq", "nft_chain_nat"];

/// Enough processes for a workspace that runs containers.
const PROCESSES: u32 = 16384;

/// A file that nodes need, and what takes it up at once.
struct NodeFile {
    title: &'static str,
    /// Names the `MachineConfig`.
    name: &'static str,
    path: &'static str,
    content: String,
    /// The commands where no `MachineConfig` does it, each fixed.
    commands: Vec<String>,
    cost: Option<Cost>,
}

impl NodeFile {
    fn change(self, platform: &Platform) -> Change {
        let Self { title, name, path, content, commands, cost } = self;
        if platform.flavour == Some(Flavour::OpenShift) {
            let object = |pool| machine_config(pool, name, path, &content);
            let steps = pools(platform).into_iter().map(|it| Step::Manifest { object: object(it) });
            return Change::new(title, Place::Node, &[Cost::NodeReboot], steps.collect());
        }
        let mut steps = vec![Step::file(Machine::Node, path, content)];
        steps.extend(commands.iter().map(|line| Step::command(Machine::Node, line)));
        let costs: Vec<_> = [Cost::EachNode].into_iter().chain(cost).collect();
        Change::new(title, Place::Node, &costs, steps)
    }
}

/// The pools whose nodes are changed: those that workspaces use, or `worker` where they are not known.
fn pools(platform: &Platform) -> Vec<&str> {
    let pools = platform.pools.iter().map(String::as_str).filter(|name| is_subdomain(name));
    let pools: Vec<_> = pools.collect();
    if pools.is_empty() { vec![WORKER] } else { pools }
}

/// The change of the nodes; none where it is not one, or where it is not known how.
pub(super) fn change(repair: Repair, circumstances: &Circumstances<'_>) -> Option<Change> {
    let platform = &circumstances.platform;
    match repair {
        Repair::Devices if platform.has_crio() => crio_annotations(circumstances),
        Repair::Devices => runtime_class(circumstances),
        Repair::CrioAnnotations => crio_annotations(circumstances),
        Repair::CrioDevices => Some(crio_devices(platform)),
        Repair::PodProcesses => Some(pod_processes(platform)),
        Repair::UserNamespaceLimit | Repair::KernelKeys => Some(kernel_settings(repair, platform)),
        Repair::NetavarkModules => {
            let file = NodeFile {
                title: "Load the kernel modules of netavark's rules",
                name: "modules",
                path: "/etc/modules-load.d/99-nestcheck.conf",
                content: MODULES.map(|module| format!("{module}\n")).concat(),
                commands: vec![format!("modprobe --all {}", MODULES.join(" "))],
                cost: None,
            };
            Some(file.change(platform))
        }
        _ => None,
    }
}

fn kernel_settings(repair: Repair, platform: &Platform) -> Change {
    let (title, name, path, content) = if repair == Repair::KernelKeys {
        let path = "/etc/sysctl.d/99-nestcheck-keys.conf";
        ("Allow more kernel keys", "kernel-keys", path, KERNEL_KEYS)
    } else {
        let path = "/etc/sysctl.d/99-nestcheck-user-namespaces.conf";
        ("Allow user namespaces on the nodes", "user-namespaces", path, NAMESPACES)
    };
    let commands = vec!["sysctl --system".to_owned()];
    NodeFile { title, name, path, content: content.to_owned(), commands, cost: None }
        .change(platform)
}

/// A `MachineConfig` of one file (machine-config-operator, `docs/MachineConfiguration.md`; Ignition's
/// specification 3.2, which each release since 4.7 reads).
fn machine_config(pool: &str, name: &str, path: &str, content: &str) -> Value {
    let source = format!("data:,{}", utf8_percent_encode(content, NON_ALPHANUMERIC));
    json!({
        "apiVersion": "machineconfiguration.openshift.io/v1",
        "kind": "MachineConfig",
        "metadata": {
            "name": format!("99-{pool}-nestcheck-{name}"),
            "labels": {ROLE: pool},
        },
        "spec": {"config": {
            "ignition": {"version": "3.2.0"},
            "storage": {"files": [{
                "path": path, "mode": 0o644, "overwrite": true, "contents": {"source": source},
            }]},
        }},
    })
}

/// The annotations by which CRI-O gives devices, as far as the nodes' versions know them: older ones do
/// not start with the new name.
fn annotations(circumstances: &Circumstances<'_>) -> Option<Vec<&'static str>> {
    let runtimes = &circumstances.platform.runtimes;
    let knows = |expected: Knows| runtimes.iter().all(|runtime| Knows::of(runtime) == expected);
    if runtimes.is_empty() || runtimes.iter().any(|runtime| Knows::of(runtime) == Knows::Nothing) {
        return None;
    }
    let names =
        if knows(Knows::BothNames) { vec![DEVICES_V1, DEVICES_V2] } else { vec![DEVICES_V1] };
    Some(names)
}

/// The drop-in by which CRI-O's handler crun honours the annotations; `others` are those that the
/// cluster needs besides.
fn drop_in(fields: &str, names: &[&str], others: &[&str]) -> String {
    let names = ["io.containers.trace-syscall"].iter().chain(names).chain(others);
    let names: Vec<_> = names.map(|name| format!("    \"{name}\",\n")).collect();
    let names = names.concat();
    format!("[crio.runtime.runtimes.crun]\n{fields}allowed_annotations = [\n{names}]\n")
}

fn crio_annotations(circumstances: &Circumstances<'_>) -> Option<Change> {
    const NOTE: &str = "a drop-in replaces the whole table of a runtime: add the other fields that `crio \
                        config` prints for crun on a node";
    let names = annotations(circumstances)?;
    let flavour = circumstances.platform.flavour;
    let is_openshift = flavour == Some(Flavour::OpenShift);
    // What the Machine Config Operator sets there.
    let (fields, others) = if is_openshift {
        ("runtime_root = \"/run/crun\"\n", &["io.kubernetes.cri-o.LinkLogs"][..])
    } else {
        ("", &[][..])
    };
    let file = NodeFile {
        title: "Let CRI-O honour the annotation for devices",
        name: "devices",
        path: "/etc/crio/crio.conf.d/99-nestcheck.conf",
        content: drop_in(fields, &names, others),
        commands: restart_crio(flavour),
        cost: Some(Cost::RuntimeRestart),
    };
    Some(file.change(&circumstances.platform).with_note(NOTE))
}

fn crio_devices(platform: &Platform) -> Change {
    let devices = DEVICE_PATHS.map(|path| format!("\"{path}\"")).join(", ");
    let file = NodeFile {
        title: "Let CRI-O allow the devices",
        name: "allowed-devices",
        path: "/etc/crio/crio.conf.d/99-nestcheck-devices.conf",
        content: format!("[crio.runtime]\nallowed_devices = [{devices}]\n"),
        commands: restart_crio(platform.flavour),
        cost: Some(Cost::RuntimeRestart),
    };
    file.change(platform)
}

fn restart_crio(flavour: Option<Flavour>) -> Vec<String> {
    let services = if flavour == Some(Flavour::MicroShift) { "crio microshift" } else { "crio" };
    vec![format!("systemctl restart {services}")]
}

/// A part of the kubelet's configuration file, and what takes it up.
pub(super) fn kubelet_configuration(part: &Value) -> Vec<Step> {
    let content = manifest::print(part).unwrap_or_default();
    vec![
        Step::addition(Machine::Node, "/var/lib/kubelet/config.yaml", content),
        Step::command(Machine::Node, "systemctl restart kubelet"),
    ]
}

/// A `KubeletConfig` of a pool (machine-config-operator, `docs/KubeletConfigDesign.md`).
fn kubelet_config(pool: &str, setting: &Value) -> Value {
    let selected =
        json!({(format!("pools.operator.machineconfiguration.openshift.io/{pool}")): ""});
    let name = if pool == WORKER { String::new() } else { format!("-{pool}") };
    json!({
        "apiVersion": "machineconfiguration.openshift.io/v1",
        "kind": "KubeletConfig",
        "metadata": {"name": format!("nestcheck-processes{name}")},
        "spec": {
            "machineConfigPoolSelector": {"matchLabels": selected},
            "kubeletConfig": setting,
        },
    })
}

/// The limit of a pod's processes (kubelet.config.k8s.io/v1beta1, `podPidsLimit`).
fn pod_processes(platform: &Platform) -> Change {
    let title = "Allow pods more processes";
    let setting = json!({"podPidsLimit": PROCESSES});
    match platform.flavour {
        Some(Flavour::OpenShift) => {
            let object = |pool| Step::Manifest { object: kubelet_config(pool, &setting) };
            let steps = pools(platform).into_iter().map(object).collect();
            Change::new(title, Place::Node, &[Cost::NodeReboot], steps).with_note(
                "if a KubeletConfig selects one of the pools already, add `podPidsLimit` to that one \
                 instead",
            )
        }
        Some(Flavour::MicroShift) => {
            let content = manifest::print(&json!({"kubelet": setting})).unwrap_or_default();
            let path = "/etc/microshift/config.d/20-nestcheck.yaml";
            let steps = vec![
                Step::file(Machine::Node, path, content),
                Step::command(Machine::Node, "systemctl restart microshift"),
            ];
            Change::new(title, Place::Node, &[Cost::KubeletRestart, Cost::EachNode], steps)
        }
        _ => {
            let costs = [Cost::KubeletRestart, Cost::EachNode];
            Change::new(title, Place::Node, &costs, kubelet_configuration(&setting))
        }
    }
}

/// The RuntimeClass whose handler adds the devices, and the handler.
fn runtime_class(circumstances: &Circumstances<'_>) -> Option<Change> {
    let declarations = circumstances.declarations;
    let class = Step::Manifest { object: declarations.runtime_class.clone() };
    let title = "Give pods the devices by a RuntimeClass";
    if circumstances.platform.is_kind {
        let mut steps = kind_cluster(&declarations.kind_cluster, circumstances)?;
        steps.push(class);
        return Some(Change::new(title, Place::Node, &[Cost::NewCluster], steps));
    }
    let patch = containerd_patch(&declarations.kind_cluster)?;
    let specification = manifest_json(&declarations.base_specification)?;
    let mut steps = vec![
        Step::command(Machine::Node, "modprobe --all fuse tun"),
        Step::file(Machine::Node, SPECIFICATION, specification),
        Step::addition(Machine::Node, "/etc/containerd/config.toml", patch.to_owned()),
        Step::command(Machine::Node, "systemctl restart containerd"),
    ];
    steps.push(class);
    let costs = [Cost::RuntimeRestart, Cost::EachNode];
    let change = Change::new(title, Place::Node, &costs, steps);
    Some(change.with_note(
        "nodes whose containerd has the handler `nested` already need the RuntimeClass alone",
    ))
}

/// Where containerd looks for the specification.
const SPECIFICATION: &str = "/etc/containerd/nested.json";

fn containerd_patch(kind_cluster: &Value) -> Option<&str> {
    kind_cluster.pointer("/containerdConfigPatches/0")?.as_str()
}

fn manifest_json(object: &Value) -> Option<String> {
    Some(serde_json::to_string(object).ok()? + "\n")
}

/// Makes a kind cluster anew with a configuration of its own, which mounts the specification from the
/// current directory.
pub(super) fn kind_cluster(
    cluster: &Value,
    circumstances: &Circumstances<'_>,
) -> Option<Vec<Step>> {
    let mut cluster = cluster.clone();
    *cluster.pointer_mut("/nodes/0/extraMounts/0/hostPath")? = json!("nested.json");
    let host = Machine::Host;
    let specification = manifest_json(&circumstances.declarations.base_specification)?;
    Some(vec![
        Step::file(host, "nested.json", specification),
        Step::file(host, "nestcheck-kind.yaml", manifest::print(&cluster).ok()?),
        Step::command(host, "sudo modprobe --all fuse tun"),
        Step::command(host, "kind delete cluster"),
        Step::command(host, "kind create cluster --config nestcheck-kind.yaml"),
    ])
}
