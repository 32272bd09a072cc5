//! The ways in which a workspace pod is broken.

use harness::sandbox::File;
use k8s_openapi::{
    api::core::v1::{
        ConfigMapVolumeSource, Container, EmptyDirVolumeSource, EnvVar, HostPathVolumeSource,
        KeyToPath, Pod, PodSpec, ResourceRequirements, SeccompProfile, SecurityContext, Volume,
        VolumeMount,
    },
    apimachinery::pkg::api::resource::Quantity,
};

/// A RuntimeClass of a handler that containerd lists without user namespaces.
pub const CLASS_WITHOUT_USER_NAMESPACES: &str = "nestcheck-test-no-user-namespaces";

/// The texts that replace a file of the image, by name.
const TEXTS: &[(&str, &str)] = &[
    ("usual-range", "user:10000:65536\n"),
    ("far-range", "user:20000:65536\n"),
    ("overlapping-ranges", "user:1001:2000\nuser:2000:2000\n"),
    ("duplicate-ranges", "user:1001:2000\nuser:1001:2000\n"),
    ("own-id", "user:1000:64536\n"),
    ("no-range", "\n"),
    ("range-of-another", "somebody:1001:64535\n"),
    ("tiny-range", "user:1001:10\n"),
    ("short-range", "user:1001:2000\n"),
    ("passwd-without-user", "root:x:0:0:root:/root:/bin/sh\n"),
    ("vfs", "[storage]\ndriver = \"vfs\"\n"),
    (
        "mount-program",
        "[storage]\ndriver = \"overlay\"\n[storage.options.overlay]\nmount_program = \
         \"/usr/bin/fuse-overlayfs\"\n",
    ),
    ("nothing", "\n"),
    ("two-ranges", "user:1001:30000\nuser:40000:25000\n"),
    ("few-locks", "[engine]\nnum_locks = 4\n"),
    ("btrfs", "[storage]\ndriver = \"btrfs\"\n"),
    ("invalid-toml", "[engine\nthis is not TOML\n"),
    ("other-runtime", "[engine]\nruntime = \"nonesuch\"\n"),
    (
        "journal",
        "[engine]\nevents_logger = \"journald\"\n[containers]\nlog_driver = \"journald\"\n",
    ),
    ("systemd", "[engine]\ncgroup_manager = \"systemd\"\n"),
    (
        "unwritable-storage",
        "[storage]\ndriver = \"overlay\"\ngraphroot = \"/var/lib/containers/storage\"\n\
         rootless_storage_path = \"/var/lib/containers/storage\"\n",
    ),
    (
        "failing-nft",
        "#!/bin/sh
         echo 'internal:0:0-0: Error: Could not process rule: No such file or directory' >&2
         exit 1
        ",
    ),
];

/// The image of every container: of an init container the template's is not replaced.
const IMAGE: &str = "localhost/workspace:1";

/// The files that the fixtures need besides those of every pod.
pub fn files() -> Vec<File> {
    let file = |(name, text): &(&str, &str)| File {
        path: format!("broken/{name}"),
        content: text.as_bytes().to_vec(),
        architecture: None,
    };
    TEXTS.iter().map(file).collect()
}

pub fn spec(pod: &mut Pod) -> &mut PodSpec {
    pod.spec.get_or_insert_default()
}

fn container(pod: &mut Pod) -> &mut Container {
    &mut spec(pod).containers[0]
}

pub fn context(pod: &mut Pod) -> &mut SecurityContext {
    container(pod).security_context.get_or_insert_default()
}

fn add_volume(pod: &mut Pod, volume: Volume) {
    let volumes = spec(pod).volumes.get_or_insert_default();
    if volumes.iter().all(|known| known.name != volume.name) {
        volumes.push(volume);
    }
}

fn mount(pod: &mut Pod, volume: &str, path: &str, sub_path: Option<&str>) {
    add_mount(pod, mount_of(volume, path, sub_path));
}

fn add_mount(pod: &mut Pod, mount: VolumeMount) {
    container(pod).volume_mounts.get_or_insert_default().push(mount);
}

fn mount_of(volume: &str, path: &str, sub_path: Option<&str>) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        sub_path: sub_path.map(str::to_owned),
        ..VolumeMount::default()
    }
}

/// Puts one of the texts over a file of the image. It can be read but not executed, so a program
/// that gets the text `nothing` is as good as missing.
fn replace(pod: &mut Pod, path: &str, text: &str) {
    let items = TEXTS.iter().map(|(name, _)| KeyToPath {
        key: format!("broken__{name}"),
        path: (*name).to_owned(),
        ..KeyToPath::default()
    });
    let source = ConfigMapVolumeSource {
        name: "nestcheck".to_owned(),
        default_mode: Some(0o444),
        items: Some(items.collect()),
        ..ConfigMapVolumeSource::default()
    };
    let name = "broken".to_owned();
    add_volume(pod, Volume { name, config_map: Some(source), ..Volume::default() });
    mount(pod, "broken", path, Some(text));
}

/// Functions that do the same to a pod, each with its text or path.
macro_rules! changes {
    ($change:ident: $($function:ident $argument:literal,)*) => {
        $(pub fn $function(pod: &mut Pod) {
            $change(pod, $argument);
        })*
    };
}

fn ranges(pod: &mut Pod, text: &str) {
    replace(pod, "/etc/subuid", text);
    replace(pod, "/etc/subgid", text);
}

changes! { ranges:
    usual_range "usual-range",
    far_range "far-range",
    overlapping_ranges "overlapping-ranges",
    duplicate_ranges "duplicate-ranges",
    own_id "own-id",
    no_range "no-range",
    range_of_another "range-of-another",
    tiny_range "tiny-range",
    short_range "short-range",
    two_ranges "two-ranges",
}

/// Only the groups are wrong.
pub fn usual_range_of_groups(pod: &mut Pod) {
    replace(pod, "/etc/subgid", "usual-range");
}

fn hide(pod: &mut Pod, path: &str) {
    replace(pod, path, "nothing");
}

changes! { hide:
    no_newuidmap "/usr/bin/newuidmap",
    no_nft "/usr/sbin/nft",
    no_aardvark "/usr/lib/podman/aardvark-dns",
    no_newgidmap "/usr/bin/newgidmap",
    no_pasta "/usr/bin/pasta",
    no_conmon "/usr/bin/conmon",
    no_runtime "/usr/bin/crun",
    no_netavark "/usr/lib/podman/netavark",
}

/// Puts a program over one of the image.
fn replace_program(pod: &mut Pod, path: &str, text: &str) {
    mount(pod, "nestcheck", path, Some(&format!("broken/{text}")));
}

pub fn failing_nft(pod: &mut Pod) {
    replace_program(pod, "/usr/sbin/nft", "failing-nft");
}

fn containers_conf(pod: &mut Pod, text: &str) {
    replace(pod, "/home/user/.config/containers/containers.conf", text);
}

changes! { containers_conf:
    invalid_containers_conf "invalid-toml",
    other_runtime "other-runtime",
    journal_without_systemd "journal",
    cgroups_by_systemd "systemd",
    few_locks "few-locks",
}

fn storage_conf(pod: &mut Pod, text: &str) {
    replace(pod, "/home/user/.config/containers/storage.conf", text);
}

changes! { storage_conf:
    vfs "vfs",
    btrfs "btrfs",
    invalid_storage_conf "invalid-toml",
    unwritable_storage "unwritable-storage",
}

pub fn invalid_registries_conf(pod: &mut Pod) {
    replace(pod, "/etc/containers/registries.conf", "invalid-toml");
}

pub fn read_only_root(pod: &mut Pod) {
    context(pod).read_only_root_filesystem = Some(true);
}

fn set_variable(pod: &mut Pod, name: &str, value: &str) {
    container(pod).env.get_or_insert_default().push(EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..EnvVar::default()
    });
}

pub fn absent_home(pod: &mut Pod) {
    set_variable(pod, "HOME", "/nonexistent");
}

pub fn absent_runtime_directory(pod: &mut Pod) {
    set_variable(pod, "XDG_RUNTIME_DIR", "/run/user/1000");
}

/// Puts an empty directory that can't be written there.
fn read_only(pod: &mut Pod, path: &str) {
    let volume = Volume {
        name: "read-only".to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    };
    add_volume(pod, volume);
    let mount = mount_of("read-only", path, None);
    add_mount(pod, VolumeMount { read_only: Some(true), ..mount });
}

changes! { read_only:
    read_only_tmp "/tmp",
    read_only_var_tmp "/var/tmp",
    read_only_shm "/dev/shm",
}

pub fn home_at_the_root(pod: &mut Pod) {
    set_variable(pod, "HOME", "/");
}

/// A volume that is full from the beginning.
pub fn full_storage(pod: &mut Pod) {
    for volume in spec(pod).volumes.iter_mut().flatten().filter(|it| it.name == "storage") {
        volume.empty_dir = Some(EmptyDirVolumeSource {
            medium: Some("Memory".to_owned()),
            size_limit: Some(Quantity("64Ki".to_owned())),
            ..EmptyDirVolumeSource::default()
        });
    }
}

pub fn one_capability(pod: &mut Pod) {
    let capabilities = context(pod).capabilities.get_or_insert_default();
    capabilities.add = Some(vec!["SETUID".to_owned()]);
}

pub fn user_without_name(pod: &mut Pod) {
    context(pod).run_as_user = Some(2000);
}

pub fn user_outside_of_the_map(pod: &mut Pod) {
    context(pod).run_as_user = Some(1_000_740_000);
}

pub fn group_outside_of_the_map(pod: &mut Pod) {
    let context = spec(pod).security_context.get_or_insert_default();
    context.fs_group = Some(1_000_740_000);
}

/// Limits with room, as a `LimitRange` or a quota brings them.
pub fn limits_with_room(pod: &mut Pod) {
    let limits = [("cpu", "2"), ("memory", "2Gi")];
    let limits = limits.map(|(name, value)| (name.to_owned(), Quantity(value.to_owned())));
    container(pod).resources = Some(ResourceRequirements {
        limits: Some(limits.into()),
        ..ResourceRequirements::default()
    });
}

pub fn storage_in_memory(pod: &mut Pod) {
    for volume in spec(pod).volumes.iter_mut().flatten().filter(|it| it.name == "storage") {
        let medium = Some("Memory".to_owned());
        volume.empty_dir = Some(EmptyDirVolumeSource { medium, ..EmptyDirVolumeSource::default() });
    }
}

pub fn other_environment(pod: &mut Pod) {
    set_variable(pod, "LANG", "de_DE.UTF-8");
    set_variable(pod, "container", "oci");
    spec(pod).hostname = Some("another".to_owned());
}

pub fn unchanged(_pod: &mut Pod) {}

pub fn no_capabilities(pod: &mut Pod) {
    context(pod).capabilities.get_or_insert_default().add = None;
}

pub fn no_new_privileges(pod: &mut Pod) {
    context(pod).allow_privilege_escalation = Some(false);
}

/// Replaces newuidmap by a copy, which has no file capabilities, after `change` as root.
fn copy_helper(pod: &mut Pod, user: i64, script: &str) {
    let name = "helper".to_owned();
    let empty = Some(EmptyDirVolumeSource::default());
    add_volume(pod, Volume { name: name.clone(), empty_dir: empty, ..Volume::default() });
    mount(pod, &name, "/usr/bin/newuidmap", Some("newuidmap"));
    let copier = Container {
        name: "copy".to_owned(),
        image: Some(IMAGE.to_owned()),
        command: Some(["sh", "-euc", script].map(str::to_owned).to_vec()),
        security_context: Some(SecurityContext {
            run_as_user: Some(user),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![VolumeMount {
            name,
            mount_path: "/helper".to_owned(),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    };
    spec(pod).init_containers = Some(vec![copier]);
}

pub fn helper_without_capabilities(pod: &mut Pod) {
    copy_helper(pod, 1000, "cp /usr/bin/newuidmap /helper");
}

pub fn setuid_helper(pod: &mut Pod) {
    copy_helper(pod, 0, "cp /usr/bin/newuidmap /helper; chmod 4755 /helper/newuidmap");
}

pub fn nameless_user(pod: &mut Pod) {
    replace(pod, "/etc/passwd", "passwd-without-user");
}

pub fn default_seccomp(pod: &mut Pod) {
    let context = spec(pod).security_context.get_or_insert_default();
    let profile = SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None };
    context.seccomp_profile = Some(profile);
}

pub fn masked_proc(pod: &mut Pod) {
    context(pod).proc_mount = None;
}

pub fn no_devices(pod: &mut Pod) {
    spec(pod).runtime_class_name = None;
}

fn needs_fuse(pod: &mut Pod) {
    storage_conf(pod, "mount-program");
}

pub fn no_fuse(pod: &mut Pod) {
    no_devices(pod);
    needs_fuse(pod);
}

/// Mounts what [`super::node::NodeDevices`] has made on the node.
fn mount_from_node(pod: &mut Pod, name: &str, source: &str, path: &str) {
    let source = HostPathVolumeSource {
        path: format!("{}/{source}", super::node::DIRECTORY),
        ..HostPathVolumeSource::default()
    };
    let volume = Volume { name: name.to_owned(), host_path: Some(source), ..Volume::default() };
    add_volume(pod, volume);
    mount(pod, name, path, None);
}

fn node_devices(pod: &mut Pod, directory: &str) {
    no_devices(pod);
    mount_from_node(pod, "fuse", &format!("{directory}/fuse"), "/dev/fuse");
    mount_from_node(pod, "tun", &format!("{directory}/tun"), "/dev/net/tun");
}

pub fn private_fuse(pod: &mut Pod) {
    node_devices(pod, "private");
    needs_fuse(pod);
}

pub fn forbidden_fuse(pod: &mut Pod) {
    node_devices(pod, "public");
    needs_fuse(pod);
}

pub fn private_tun(pod: &mut Pod) {
    node_devices(pod, "private");
}

fn storage(pod: &mut Pod) -> &mut VolumeMount {
    let mounts = container(pod).volume_mounts.get_or_insert_default();
    mounts.iter_mut().find(|mount| mount.name == "storage").expect("the workspace has storage")
}

pub fn read_only_storage(pod: &mut Pod) {
    storage(pod).read_only = Some(true);
}

pub fn storage_of_another(pod: &mut Pod) {
    container(pod).volume_mounts.get_or_insert_default().retain(|mount| mount.name != "storage");
    mount_from_node(pod, "of-root", "directory", "/home/user/.local/share/containers");
}

/// Without fuse-overlayfs, which podman would use on its own where it is.
pub fn storage_on_overlay(pod: &mut Pod) {
    container(pod).volume_mounts.get_or_insert_default().retain(|mount| mount.name != "storage");
    replace(pod, "/usr/bin/fuse-overlayfs", "nothing");
}

pub fn config_of_another(pod: &mut Pod) {
    let volume = Volume {
        name: "config".to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    };
    add_volume(pod, volume);
    mount(pod, "config", "/home/user/.config", None);
}

pub fn volume_without_idmap(pod: &mut Pod) {
    let source =
        HostPathVolumeSource { path: "/sys".to_owned(), ..HostPathVolumeSource::default() };
    let volume = Volume { name: "sysfs".to_owned(), host_path: Some(source), ..Volume::default() };
    add_volume(pod, volume);
    mount(pod, "sysfs", "/mnt", None);
}

pub fn runtime_without_user_namespaces(pod: &mut Pod) {
    spec(pod).runtime_class_name = Some(CLASS_WITHOUT_USER_NAMESPACES.to_owned());
}

pub fn no_such_program(pod: &mut Pod) {
    container(pod).command = Some(vec!["/no/such/program".to_owned()]);
}
