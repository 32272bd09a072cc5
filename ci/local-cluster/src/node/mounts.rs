//! The node's file systems and devices: first a plan, made without touching anything, then its
//! execution.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::stat::{Mode, SFlag, makedev, mknod, umask},
    unistd::{chdir, pivot_root},
};

use super::protocol::{Bind, NodeSpec};
use crate::{cgroup::Hierarchies, command, error::Error, selinux};

/// One thing to do on the way to the node's root file system. Paths are those of the host.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    /// Make a folder and those above it.
    Folder(PathBuf),
    /// Mount a file system.
    Mount {
        kind: &'static str,
        target: PathBuf,
        read_only: bool,
        options: String,
        /// Whether the node can do without it.
        optional: bool,
    },
    /// Make a folder of the host visible.
    Bind { source: PathBuf, target: PathBuf, read_only: bool },
    /// Mount the file system that is in a file.
    Disk { file: PathBuf, target: PathBuf },
    /// Make a character device that everybody may use.
    Device { path: PathBuf, major: u64, minor: u64 },
    /// Make a symbolic link.
    Link { to: PathBuf, path: PathBuf },
}

/// Character devices by path below `/dev`, major and minor number (the kernel's
/// `admin-guide/devices.rst`). `fuse` and `net/tun` are usable by everybody as on RHEL: container
/// runtimes copy the mode into pods.
const DEVICES: &[(&str, u64, u64)] = &[
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("kmsg", 1, 11),
    ("tty", 5, 0),
    ("fuse", 10, 229),
    ("net/tun", 10, 200),
];

/// Makes the root file system and moves the calling process into it. The process must be in a mount
/// namespace of its own.
pub fn enter(spec: &NodeSpec) -> Result<(), Error> {
    // From here on nothing that is mounted in this namespace reaches the host.
    change_propagation(MsFlags::MS_PRIVATE)?;
    umask(Mode::empty());
    for step in plan(spec) {
        step.run()?;
    }
    umask(Mode::from_bits_truncate(0o022));
    // pivot_root(2): with both arguments the same, the old root ends up on top of the new one and
    // can be detached at once.
    chdir(&spec.root).map_err(|errno| Error::path("enter", &spec.root, errno))?;
    pivot_root(".", ".").map_err(|errno| Error::path("make a root of", &spec.root, errno))?;
    umount2(".", MntFlags::MNT_DETACH)
        .map_err(|errno| Error::io("detach", "the host's root", errno))?;
    chdir("/").map_err(|errno| Error::io("enter", "the node's root", errno))?;
    // The kubelet passes mounts on to containers through shared propagation.
    change_propagation(MsFlags::MS_SHARED)
}

fn change_propagation(propagation: MsFlags) -> Result<(), Error> {
    mount(None::<&str>, "/", None::<&str>, propagation | MsFlags::MS_REC, None::<&str>)
        .map_err(|errno| Error::io("change the mount propagation of", "`/`", errno))
}

fn plan(spec: &NodeSpec) -> Vec<Step> {
    let inside = |path: &str| spec.root.join(path);
    let mut steps = vec![
        Step::Folder(spec.root.clone()),
        Step::Folder(spec.upper.clone()),
        Step::Folder(spec.work.clone()),
        file_system(
            "overlay",
            spec.root.clone(),
            format!(
                "lowerdir={},upperdir={},workdir={}",
                spec.lower.display(),
                spec.upper.display(),
                spec.work.display()
            ),
        ),
        file_system("proc", inside("proc"), String::new()),
        file_system("sysfs", inside("sys"), String::new()),
        file_system("tmpfs", inside("run"), "mode=755".into()),
        file_system("tmpfs", inside("tmp"), "mode=1777".into()),
    ];
    if spec.selinux {
        steps.push(file_system(
            "selinuxfs",
            in_root(&spec.root, selinux::MOUNT.as_ref()),
            String::new(),
        ));
    }
    steps.extend(devices(&inside("dev")));
    steps.extend(cgroups(&inside("sys/fs/cgroup"), &spec.hierarchies));
    if spec.hierarchies.version() == 1 {
        // hugetlb may be a v2 controller while the kubelet sees huge pages; crun would then want a
        // v1 hierarchy that does not exist. No pages, no wish.
        steps.push(Step::Mount {
            kind: "tmpfs",
            target: inside("sys/kernel/mm/hugepages"),
            read_only: true,
            options: String::new(),
            optional: true,
        });
    }
    steps.extend(spec.binds.iter().flat_map(|bind| bind_steps(&spec.root, bind)));
    for disk in &spec.disks {
        let target = in_root(&spec.root, &disk.target);
        steps.push(Step::Folder(target.clone()));
        steps.push(Step::Disk { file: disk.file.clone(), target });
    }
    steps
}

fn file_system(kind: &'static str, target: PathBuf, options: String) -> Step {
    Step::Mount { kind, target, read_only: false, options, optional: false }
}

fn devices(dev: &Path) -> Vec<Step> {
    let mut steps = vec![file_system("tmpfs", dev.to_owned(), "mode=755".into())];
    let folders = ["pts", "shm", "mqueue", "net"];
    steps.extend(folders.map(|folder| Step::Folder(dev.join(folder))));
    steps.extend(DEVICES.iter().map(|&(path, major, minor)| Step::Device {
        path: dev.join(path),
        major,
        minor,
    }));
    steps.push(file_system("devpts", dev.join("pts"), "newinstance,ptmxmode=0666,mode=620".into()));
    steps.push(file_system("tmpfs", dev.join("shm"), "mode=1777".into()));
    steps.push(Step::Mount {
        kind: "mqueue",
        target: dev.join("mqueue"),
        read_only: false,
        options: String::new(),
        // A kernel without POSIX message queues has no such file system.
        optional: true,
    });
    let links = [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
    ];
    steps.extend(links.map(|(path, to)| Step::Link { to: to.into(), path: dev.join(path) }));
    steps
}

/// crun refuses the hybrid layout, so a v1 node gets the v1 hierarchies and nothing else; a v2 node
/// gets the v2 one.
fn cgroups(target: &Path, hierarchies: &Hierarchies) -> Vec<Step> {
    let mounts = match hierarchies {
        Hierarchies::V2 { .. } => {
            return vec![file_system("cgroup2", target.to_owned(), String::new())];
        }
        Hierarchies::V1 { mounts } => mounts,
    };
    let mut steps = vec![file_system("tmpfs", target.to_owned(), "mode=755".into())];
    for source in mounts {
        let Some(name) = source.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        steps.push(Step::Folder(target.join(name)));
        steps.push(Step::Bind {
            source: source.clone(),
            target: target.join(name),
            read_only: false,
        });
        // Controllers that share a hierarchy are also looked up one by one.
        let parts = name.split(',').filter(|&part| part != name);
        steps.extend(parts.map(|part| Step::Link { to: name.into(), path: target.join(part) }));
    }
    steps
}

fn in_root(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn bind_steps(root: &Path, bind: &Bind) -> [Step; 2] {
    let target = in_root(root, &bind.target);
    [
        Step::Folder(target.clone()),
        Step::Bind { source: bind.source.clone(), target, read_only: bind.read_only },
    ]
}

impl Step {
    fn run(&self) -> Result<(), Error> {
        match self {
            Self::Folder(path) => {
                fs::create_dir_all(path).map_err(|source| Error::path("make", path, source))
            }
            Self::Mount { kind, target, read_only, options, optional } => {
                let flags = if *read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
                let mounted =
                    mount(Some(*kind), target, Some(*kind), flags, Some(options.as_str()));
                match mounted {
                    Err(_) if *optional => Ok(()),
                    other => other.map_err(|errno| Error::path("mount on", target, errno)),
                }
            }
            Self::Bind { source, target, read_only } => bind(source, target, *read_only),
            // mount(8) frees the loop device with the last mount of it, so with the node.
            Self::Disk { file, target } => {
                let mut command = Command::new("mount");
                command.args(["-o", "loop"]).args([file, target]);
                command::output(&mut command).map(drop)
            }
            Self::Device { path, major, minor } => mknod(
                path,
                SFlag::S_IFCHR,
                Mode::from_bits_truncate(0o666),
                makedev(*major, *minor),
            )
            .map_err(|errno| Error::path("make the device", path, errno)),
            Self::Link { to, path } => {
                symlink(to, path).map_err(|source| Error::path("make the link", path, source))
            }
        }
    }
}

fn bind(source: &Path, target: &Path, read_only: bool) -> Result<(), Error> {
    let refused = |errno| Error::path("bind", source, errno);
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(refused)?;
    if read_only {
        // mount(2): a bind mount takes its flags in a second step only.
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, target, None::<&str>, flags, None::<&str>).map_err(refused)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(hierarchies: Hierarchies) -> NodeSpec {
        NodeSpec {
            hostname: "node".into(),
            root: "/s/root".into(),
            lower: "/cache/tree".into(),
            upper: "/s/upper".into(),
            work: "/s/work".into(),
            binds: vec![Bind {
                source: "/s/config".into(),
                target: "/etc/local-cluster".into(),
                read_only: true,
            }],
            disks: Vec::new(),
            hierarchies,
            selinux: false,
            cgroup: None,
        }
    }

    fn v1(mounts: &[&str]) -> Hierarchies {
        Hierarchies::V1 { mounts: mounts.iter().map(PathBuf::from).collect() }
    }

    #[test]
    fn the_cached_tree_is_only_a_lower_layer() {
        let steps = plan(&spec(v1(&[])));
        let written = steps.iter().any(|step| match step {
            Step::Bind { target, .. } | Step::Mount { target, .. } | Step::Disk { target, .. } => {
                target.starts_with("/cache")
            }
            Step::Folder(path) | Step::Device { path, .. } | Step::Link { path, .. } => {
                path.starts_with("/cache")
            }
        });
        assert!(!written);
    }

    #[test]
    fn shared_v1_controllers_have_a_link_each() {
        let steps = plan(&spec(v1(&["/sys/fs/cgroup/cpu,cpuacct"])));
        let link =
            Step::Link { to: "cpu,cpuacct".into(), path: "/s/root/sys/fs/cgroup/cpuacct".into() };
        assert!(steps.contains(&link));
    }

    #[test]
    fn a_v2_node_mounts_cgroup2_and_keeps_its_huge_pages() {
        let steps = plan(&spec(Hierarchies::V2 { mount: "/sys/fs/cgroup".into() }));
        let kinds: Vec<_> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Mount { kind, target, .. } => Some((*kind, target.clone())),
                _ => None,
            })
            .collect();
        assert!(kinds.contains(&("cgroup2", "/s/root/sys/fs/cgroup".into())));
        assert!(!kinds.iter().any(|(_, target)| target.ends_with("hugepages")));
    }

    #[test]
    fn a_node_sees_selinux_where_the_machine_has_it() {
        let mut spec = spec(v1(&[]));
        let target = PathBuf::from("/s/root/sys/fs/selinux");
        let mounted = |spec: &NodeSpec| {
            plan(spec)
                .iter()
                .any(|step| matches!(step, Step::Mount { target: it, .. } if *it == target))
        };
        assert!(!mounted(&spec));
        spec.selinux = true;
        assert!(mounted(&spec));
    }

    #[test]
    fn binds_are_inside_the_root() {
        let steps = plan(&spec(v1(&[])));
        assert!(steps.contains(&Step::Bind {
            source: "/s/config".into(),
            target: "/s/root/etc/local-cluster".into(),
            read_only: true,
        }));
    }
}
