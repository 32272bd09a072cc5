//! The files that a cluster's components read, written before any of them runs.

use std::{fs, path::Path, process::Command};

use crate::{
    artifacts::Artifacts,
    command,
    components::{
        API_PORT, CONFIG, KUBERNETES, LOAD, LOAD_DATA, REAL, control_plane, kubelet, openshift,
    },
    error::Error,
    kubeconfig,
    network::{Subnet, link_batch, node_batch},
    node::{
        init::LOGS,
        place::Place,
        protocol::{Bind, Disk, NodeSpec},
    },
    operator::Operator,
    paths::StateFolder,
    pki::{self, Identity, Pki},
    runtime::{Options, network_config},
    selinux,
    settings::{Distribution, RealProgram, User},
    state::{State, replace},
    storage::{VOLUMES, VOLUMES_DATA},
};

/// The file with what `ip -batch` is to do in a node.
pub const NETWORK: &str = "network";

/// The file with what it is to do in the first node about the others.
pub const LINKS: &str = "links";

/// The size of a disk of the kubelet's data: what pods write in a run of all cases, and to spare.
const DISK_BYTES: u64 = 4 << 30;

/// Writes certificates, kubeconfigs and configuration.
pub fn write(folder: &StateFolder, state: &State, subnet: Subnet) -> Result<(), Error> {
    let folders = [
        folder.config(),
        folder.logs(),
        folder.data("etcd"),
        folder.data(LOAD_DATA),
        folder.data(VOLUMES_DATA),
    ];
    for path in &folders {
        fs::create_dir_all(path).map_err(|source| Error::path("make", path, source))?;
    }
    if state.settings.with.own_disk {
        make_disk(&folder.disk())?;
    }
    let services = Operator::of(state.settings).map_or(&[][..], Operator::services);
    let places: Vec<_> = Place::all(state.settings).collect();
    let names: Vec<_> = places.iter().map(|it| (it.name(), it.address(subnet))).collect();
    let pki = Pki::generate(&names, subnet, services)?;
    pki.write(&folder.pki())?;
    write_kubeconfigs(folder, state, subnet, &pki)?;
    write_configuration(folder, cluster_configuration(state, subnet))?;
    for (place, identity) in places.into_iter().zip(&pki.nodes) {
        write_for_node(folder, state, subnet, place, (&pki.authority, identity))?;
    }
    Ok(())
}

/// Writes what the runtime and the kubelet of a node read, with the identity of the kubelet and the
/// authority that has signed it.
fn write_for_node(
    folder: &StateFolder,
    state: &State,
    subnet: Subnet,
    place: Place,
    (authority, identity): (&Identity, &Identity),
) -> Result<(), Error> {
    let own = place.folder(folder);
    let etc = own.node("upper").join("etc");
    for path in [&own.config().join("cni"), &own.data("kubelet"), &etc] {
        fs::create_dir_all(path).map_err(|source| Error::path("make", path, source))?;
    }
    pki::write_node(authority, identity, &own.pki())?;
    let (name, server) = (place.name(), server(subnet));
    let text =
        kubeconfig::render(state.name.as_str(), &server, &authority.certificate, &name, identity);
    replace(&own.config().join(kubelet::KUBECONFIG), text.as_bytes(), 0o600)?;
    write_node_files(&etc, place, subnet, &state.id)?;
    write_configuration(&own, node_configuration(state, subnet, place))
}

fn write_configuration(
    folder: &StateFolder,
    files: impl IntoIterator<Item = (&'static str, String)>,
) -> Result<(), Error> {
    for (name, text) in files {
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

/// The configuration files of a node, by name.
fn node_configuration(state: &State, subnet: Subnet, place: Place) -> Vec<(&'static str, String)> {
    let settings = state.settings;
    let gates = if place.is_first() { settings.gates } else { settings.gates_of_others() };
    let version = settings.distribution.kubernetes();
    let runtime = settings.runtime();
    let (address, group) = (place.address(subnet), place.cgroup(&state.cgroup_name()));
    let mut texts = vec![
        ("kubelet.json", kubelet::config(address, &group, gates.kubelet(), version, runtime)),
        ("cni/10-bridge.conflist", network_config(&place.pods())),
        // Nothing answers there: a cluster has no DNS of its own.
        ("resolv.conf", "nameserver 127.0.0.1\n".to_owned()),
        (NETWORK, node_batch(place, subnet)),
    ];
    let devices = settings.devices();
    let options = Options { devices: devices.as_ref(), selinux: state.selinux };
    texts.extend((runtime.files)(options));
    texts
}

/// The configuration files of the control plane, by name.
fn cluster_configuration(state: &State, subnet: Subnet) -> Vec<(&'static str, String)> {
    let settings = &state.settings;
    let gates = settings.gates;
    let links = Place::others(*settings).map(|other| link_batch(other, subnet));
    let mut texts =
        vec![("audit-policy.json", control_plane::audit_policy()), (LINKS, links.collect())];
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
    let server = server(subnet);
    let files = [
        (folder.kubeconfig(User::Admin), User::Admin.as_str(), &pki.admin),
        (folder.kubeconfig(User::Dev), User::Dev.as_str(), &pki.developer),
        (folder.config().join(control_plane::KUBECONFIG), User::Admin.as_str(), &pki.admin),
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

fn server(subnet: Subnet) -> String {
    format!("https://{}:{API_PORT}", subnet.node())
}

/// Files that lie over those of the node's tree.
fn write_node_files(etc: &Path, place: Place, subnet: Subnet, id: &str) -> Result<(), Error> {
    let (name, address) = (place.name(), place.address(subnet));
    let files = [
        ("hosts", format!("127.0.0.1 localhost\n{address} {name}\n")),
        ("hostname", format!("{name}\n")),
        ("resolv.conf", "nameserver 127.0.0.1\n".to_owned()),
        // machine-id(5): 32 hexadecimal digits.
        ("machine-id", format!("{id:0<31}{}\n", place.index())),
    ];
    for (name, text) in files {
        let path = etc.join(name);
        fs::write(&path, text).map_err(|source| Error::path("write", &path, source))?;
    }
    Ok(())
}

/// What a node is made of.
pub fn node_spec(
    folder: &StateFolder,
    state: &State,
    artifacts: &Artifacts,
    place: Place,
) -> NodeSpec {
    let own = place.folder(folder);
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
        Some(bind(&own.data("kubelet"), kubelet::DATA, false))
    };
    let real = artifacts.real.as_deref().map(|real| bind(real, REAL, true));
    let policy = Path::new(selinux::POLICY);
    let policy = state.selinux.then(|| bind(policy, selinux::POLICY, true));
    let etcd =
        place.is_first().then(|| bind(&folder.data("etcd"), control_plane::ETCD_DATA, false));
    let binds = vec![
        bind(&own.config(), CONFIG, true),
        bind(&folder.logs(), LOGS, false),
        bind(&artifacts.kubernetes, KUBERNETES, true),
        bind(&artifacts.runtime, runtime.programs, true),
        // Overlay can't hold overlay: what containers write is on the disk.
        bind(&own.data(runtime.name), runtime.root, false),
        bind(&folder.data(LOAD_DATA), LOAD, true),
        bind(&folder.data(VOLUMES_DATA), VOLUMES, false),
    ];
    NodeSpec {
        hostname: place.name(),
        root: own.node("root"),
        lower: artifacts.node_tree.clone(),
        upper: own.node("upper"),
        work: own.node("work"),
        binds: binds.into_iter().chain(etcd).chain(kubelet).chain(real).chain(policy).collect(),
        disks,
        hierarchies: state.hierarchies.clone(),
        selinux: state.selinux,
        cgroup: state.cgroup.as_deref().map(|group| place.cgroup(group)),
    }
}
