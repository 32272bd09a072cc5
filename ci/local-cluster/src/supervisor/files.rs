//! The files that a cluster's components read, written before any of them runs.

use std::{fs, path::Path, process::Command};

use crate::{
    artifacts::Artifacts,
    command,
    components::{
        API_PORT, CONFIG, KUBERNETES, LOAD, LOAD_DATA, NODE_NAME, REAL, control_plane, kubelet,
        openshift,
    },
    error::Error,
    kubeconfig,
    network::{Subnet, node_batch},
    node::{
        init::LOGS,
        protocol::{Bind, Disk, NodeSpec},
    },
    operator::Operator,
    paths::StateFolder,
    pki::Pki,
    runtime::network_config,
    settings::{Distribution, RealProgram, User},
    state::{State, replace},
    storage::{VOLUMES, VOLUMES_DATA},
};

/// The size of a disk of the kubelet's data: what pods write in a run of all cases, and to spare.
const DISK_BYTES: u64 = 4 << 30;

/// Writes certificates, kubeconfigs and configuration.
pub fn write(folder: &StateFolder, state: &State, subnet: Subnet) -> Result<(), Error> {
    let folders = [
        folder.config().join("cni"),
        folder.logs(),
        folder.data("etcd"),
        folder.data("kubelet"),
        folder.data(LOAD_DATA),
        folder.data(VOLUMES_DATA),
        folder.node("upper").join("etc"),
    ];
    for path in &folders {
        fs::create_dir_all(path).map_err(|source| Error::path("make", path, source))?;
    }
    if state.settings.with.own_disk {
        make_disk(&folder.disk())?;
    }
    let services = Operator::of(state.settings).map_or(&[][..], Operator::services);
    let pki = Pki::generate(NODE_NAME, subnet, services)?;
    pki.write(&folder.pki())?;
    write_kubeconfigs(folder, state, subnet, &pki)?;
    write_node_files(&folder.node("upper").join("etc"), subnet, &state.id)?;
    for (name, text) in configuration(state, subnet) {
        // Those that are programs are scripts.
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        replace(&folder.config().join(name), text.as_bytes(), mode)?;
    }
    Ok(())
}

/// Makes an empty file system in a file, which takes as much of the machine's disk as is written.
fn make_disk(path: &Path) -> Result<(), Error> {
    let file = fs::File::create(path).map_err(|source| Error::path("make", path, source))?;
    file.set_len(DISK_BYTES).map_err(|source| Error::path("write", path, source))?;
    let mut command = Command::new("mkfs.ext4");
    // Without blocks for root only: the kubelet is root.
    command.args(["-q", "-m", "0"]).arg(path);
    command::output(&mut command).map(drop)
}

/// The configuration files by name.
fn configuration(state: &State, subnet: Subnet) -> Vec<(&'static str, String)> {
    let settings = &state.settings;
    let gates = settings.gates;
    let version = settings.distribution.kubernetes();
    let runtime = settings.runtime();
    let kubelet = kubelet::config(subnet, &state.cgroup_name(), gates.kubelet(), version, runtime);
    let mut texts = vec![
        ("audit-policy.json", control_plane::audit_policy()),
        ("kubelet.json", kubelet),
        ("cni/10-bridge.conflist", network_config()),
        // Nothing answers there: a cluster has no DNS of its own.
        ("resolv.conf", "nameserver 127.0.0.1\n".to_owned()),
        ("network", node_batch(subnet)),
    ];
    let devices = settings.devices();
    texts.extend((runtime.files)(devices.as_ref()));
    let Distribution::Openshift { release, .. } = settings.distribution else {
        return texts;
    };
    texts.push(if settings.real.has(RealProgram::Apiserver) {
        let config = openshift::apiserver_config(subnet, gates.apiserver(), release, settings.with);
        (openshift::APISERVER_CONFIG, config)
    } else {
        (openshift::ADMISSION_CONFIG, openshift::admission_config())
    });
    texts
}

fn write_kubeconfigs(
    folder: &StateFolder,
    state: &State,
    subnet: Subnet,
    pki: &Pki,
) -> Result<(), Error> {
    let server = format!("https://{}:{API_PORT}", subnet.node());
    let files = [
        (folder.kubeconfig(User::Admin), User::Admin.as_str(), &pki.admin),
        (folder.kubeconfig(User::Dev), User::Dev.as_str(), &pki.developer),
        (folder.config().join(control_plane::KUBECONFIG), User::Admin.as_str(), &pki.admin),
        (folder.config().join(kubelet::KUBECONFIG), NODE_NAME, &pki.node),
    ];
    for (path, user, identity) in files {
        let text = kubeconfig::render(
            state.name.as_str(),
            &server,
            &pki.authority.certificate,
            user,
            identity,
        );
        replace(&path, text.as_bytes(), 0o600)?;
    }
    Ok(())
}

/// Files that lie over those of the node's tree.
fn write_node_files(etc: &Path, subnet: Subnet, id: &str) -> Result<(), Error> {
    let files = [
        ("hosts", format!("127.0.0.1 localhost\n{} {NODE_NAME}\n", subnet.node())),
        ("hostname", format!("{NODE_NAME}\n")),
        ("resolv.conf", "nameserver 127.0.0.1\n".to_owned()),
        // machine-id(5): 32 hexadecimal digits.
        ("machine-id", format!("{id:0<32}\n")),
    ];
    for (name, text) in files {
        let path = etc.join(name);
        fs::write(&path, text).map_err(|source| Error::path("write", &path, source))?;
    }
    Ok(())
}

/// What the node is made of.
pub fn node_spec(folder: &StateFolder, state: &State, artifacts: &Artifacts) -> NodeSpec {
    let runtime = state.settings.runtime();
    let bind = |source: &Path, target: &str, read_only: bool| Bind {
        source: source.to_owned(),
        target: target.into(),
        read_only,
    };
    let mut disks = Vec::new();
    let kubelet = if state.settings.with.own_disk {
        disks.push(Disk { file: folder.disk(), target: kubelet::DATA.into() });
        None
    } else {
        Some(bind(&folder.data("kubelet"), kubelet::DATA, false))
    };
    let real = artifacts.real.as_deref().map(|real| bind(real, REAL, true));
    let binds = vec![
        bind(&folder.config(), CONFIG, true),
        bind(&folder.logs(), LOGS, false),
        bind(&artifacts.kubernetes, KUBERNETES, true),
        bind(&artifacts.runtime, runtime.programs, true),
        // Overlay can't hold overlay: what containers write is on the disk.
        bind(&folder.data(runtime.name), runtime.root, false),
        bind(&folder.data(LOAD_DATA), LOAD, true),
        bind(&folder.data(VOLUMES_DATA), VOLUMES, false),
        bind(&folder.data("etcd"), control_plane::ETCD_DATA, false),
    ];
    NodeSpec {
        hostname: NODE_NAME.to_owned(),
        root: folder.node("root"),
        lower: artifacts.node_tree.clone(),
        upper: folder.node("upper"),
        work: folder.node("work"),
        binds: binds.into_iter().chain(kubelet).chain(real).collect(),
        disks,
        hierarchies: state.hierarchies.clone(),
        cgroup: state.cgroup.clone(),
    }
}
