//! How a pod gets /dev/fuse and /dev/net/tun.
//!
//! A `RuntimeClass` can be read. CRI-O's annotation can't: whether the node's handler honours it
//! is in the node's own configuration (`allowed_annotations`), and a handler that does not allow
//! it drops it silently. So the annotation is only a candidate, which the run tries in a pod. The
//! rule for choosing the candidate is in [`candidate`].

use std::str::FromStr;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Fact, Flavour};
use crate::base::names::is_subdomain;

/// The annotation of CRI-O 1.34 and older; newer ones know it too (cri-o `pkg/annotations`).
pub const DEVICES_V1: &str = "io.kubernetes.cri-o.Devices";

/// The annotation of CRI-O 1.35 and newer; older ones ignore it on a pod (cri-o
/// `pkg/annotations/v2`).
pub const DEVICES_V2: &str = "devices.crio.io";

/// Both annotations. A pod carries both, because which of them a node honours can't be read.
pub const DEVICE_ANNOTATIONS: [&str; 2] = [DEVICES_V1, DEVICES_V2];

/// The devices that podman needs.
pub const DEVICE_PATHS: [&str; 2] = ["/dev/fuse", "/dev/net/tun"];

/// The first CRI-O that knows both annotations. Its built-in handler allows only the new one (cri-o
/// v1.35.0, `pkg/config/config.go`; v1.34.0 allows only the old one).
const FIRST_WITH_BOTH: (u32, u32) = (1, 35);

/// The value by which a pod asks for the devices that podman needs.
#[must_use]
pub fn devices_value() -> String {
    DEVICE_PATHS.join(",")
}

/// How a pod gets /dev/fuse and /dev/net/tun here.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceRoute {
    /// CRI-O's annotation, by both its names. Only a pod can tell whether the node honours it.
    Annotation,
    /// A RuntimeClass whose handler adds them.
    RuntimeClass(String),
    /// An annotation of the Container Device Interface (CDI) with this value: qualified names such
    /// as `vendor.example/class=name`, separated by commas. Only a pod can tell whether the node's
    /// runtime has such devices.
    Cdi(String),
    /// Extended resources of device plugins with these names, separated by commas. A container gets
    /// one of each.
    Resource(String),
}

/// The annotation by which a pod asks for CDI devices: the prefix is CDI's, the rest is the asker's
/// (containerd, `internal/cri/opts`; cri-o, `server/container_create`).
pub const CDI_ANNOTATION: &str = "cdi.k8s.io/nestcheck";

impl std::fmt::Display for DeviceRoute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Annotation => write!(f, "annotation `{DEVICES_V1}` or `{DEVICES_V2}`"),
            Self::RuntimeClass(name) => write!(f, "RuntimeClass `{name}`"),
            Self::Cdi(names) => write!(f, "CDI annotation `{CDI_ANNOTATION}: {names}`"),
            Self::Resource(names) => write!(f, "extended resource `{names}`"),
        }
    }
}

/// The route that a person chose with `--devices`; none where pods are to ask for no devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenRoute(pub Option<DeviceRoute>);

impl ChosenRoute {
    /// The choice as a fact, which replaces what was read. Of the annotation it says what is known
    /// of these runtimes.
    #[must_use]
    pub fn fact(self, runtimes: &[String]) -> Fact<Option<DeviceRoute>> {
        const OPTION: &str = "option `--devices`";
        let source = match self.0 {
            Some(DeviceRoute::Annotation) if !runtimes.is_empty() => {
                format!("{OPTION}; {}", describe_all(runtimes))
            }
            _ => OPTION.to_owned(),
        };
        Fact::known(self.0, source)
    }
}

impl FromStr for ChosenRoute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = |names: &str, is_good: fn(&str) -> bool| names.split(',').all(is_good);
        match text.split_once([':', '=']) {
            None if text == "annotation" => Ok(Self(Some(DeviceRoute::Annotation))),
            None if text == "none" => Ok(Self(None)),
            Some(("runtime-class", name)) if is_subdomain(name) => {
                Ok(Self(Some(DeviceRoute::RuntimeClass(name.to_owned()))))
            }
            Some(("cdi", names)) if all(names, is_cdi_name) => {
                Ok(Self(Some(DeviceRoute::Cdi(names.to_owned()))))
            }
            Some(("resource", names)) if all(names, is_resource_name) => {
                Ok(Self(Some(DeviceRoute::Resource(names.to_owned()))))
            }
            _ => Err("not a way to get devices\nhint: write `annotation`, `runtime-class:NAME`, \
                      `cdi:VENDOR/CLASS=NAME`, `resource:DOMAIN/NAME` or `none`"
                .to_owned()),
        }
    }
}

/// Whether a text can be the qualified name of a CDI device: `vendor/class=name`.
fn is_cdi_name(text: &str) -> bool {
    let is_part = |part: &str| {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(is_allowed)
    };
    let parts =
        text.split_once('/').and_then(|(vendor, rest)| Some((vendor, rest.split_once('=')?)));
    parts.is_some_and(|(vendor, (class, name))| [vendor, class, name].into_iter().all(is_part))
}

/// Whether a text can be the name of an extended resource: a domain, then a name.
fn is_resource_name(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.split_once('/').is_some_and(|(domain, name)| {
        is_subdomain(domain) && !name.is_empty() && name.chars().all(is_allowed)
    })
}

/// Which of the annotations a container runtime knows. A property of the runtime's version, not a
/// fact that may be unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knows {
    /// CRI-O 1.34 and older.
    OldName,
    /// CRI-O 1.35 and newer.
    BothNames,
    /// CRI-O, of a version that can't be read.
    SomeName,
    /// Another runtime: neither name, unless a plugin of the runtime does.
    Nothing,
}

impl Knows {
    /// Reads a runtime as nodes tell it, such as `cri-o://1.33.4`.
    #[must_use]
    pub fn of(runtime: &str) -> Self {
        let Some(version) = runtime.strip_prefix("cri-o://") else { return Self::Nothing };
        let mut numbers = version.splitn(3, '.').map(str::parse::<u32>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < FIRST_WITH_BOTH => Self::OldName,
            (Some(Ok(_)), Some(Ok(_))) => Self::BothNames,
            _ => Self::SomeName,
        }
    }
}

/// A runtime as people write it: `CRI-O 1.33.4`.
#[must_use]
pub fn show_runtime(runtime: &str) -> String {
    let (name, version) = runtime.split_once("://").unwrap_or((runtime, ""));
    let name = if name == "cri-o" { "CRI-O" } else { name };
    format!("{name} {version}").trim().to_owned()
}

/// What is known of a runtime, in words.
fn describe(runtime: &str) -> String {
    let knows = match Knows::of(runtime) {
        Knows::OldName => format!("knows only `{DEVICES_V1}`"),
        Knows::BothNames => {
            format!("knows both names, and by its built-in default allows only `{DEVICES_V2}`")
        }
        Knows::SomeName => format!("knows `{DEVICES_V1}`, and from 1.35 on `{DEVICES_V2}` too"),
        Knows::Nothing => "knows neither name by itself".to_owned(),
    };
    format!("{} {knows}", show_runtime(runtime))
}

/// What is known of the nodes' runtimes, each once.
fn describe_all(runtimes: &[String]) -> String {
    let mut described: Vec<_> = runtimes.iter().map(|runtime| describe(runtime)).collect();
    described.sort();
    described.dedup();
    described.join("; ")
}

/// The annotation, where pods should try it. The source says what is known of the runtime.
///
/// On OpenShift and MicroShift that is always so, whatever runtime the nodes report: the annotation
/// is how these products give devices, and a plugin can honour it for another runtime. On other
/// Kubernetes it is so where every node runs CRI-O; elsewhere nothing speaks for the annotation, and
/// a RuntimeClass must give the devices. `--devices` overrides the rule.
pub(super) fn candidate(
    flavour: Flavour,
    runtimes: Option<&[String]>,
) -> Option<Fact<DeviceRoute>> {
    let runtimes = runtimes.unwrap_or_default();
    let is_crio = |runtime: &String| Knows::of(runtime) != Knows::Nothing;
    let all_crio = !runtimes.is_empty() && runtimes.iter().all(is_crio);
    let source = match flavour {
        Flavour::Kubernetes if !all_crio => return None,
        _ if runtimes.is_empty() => format!("{flavour}; the nodes' runtime is not known"),
        _ => describe_all(runtimes),
    };
    Some(Fact::known(DeviceRoute::Annotation, source))
}

/// The extended resources that give both devices, among those that every node offers. A device
/// plugin chooses the names; those of plugins for single devices end with the device's name, as
/// `MicroShift`'s generic device plugin and others have them.
pub(super) fn resource_route(offered: &[Vec<String>]) -> Option<DeviceRoute> {
    let (first, others) = offered.split_first()?;
    let is_everywhere = |name: &&String| others.iter().all(|names| names.contains(name));
    let gives = |name: &str, device: &str| {
        let name = name.rsplit('/').next().unwrap_or_default();
        name.split(['-', '_', '.']).any(|word| word == device)
    };
    let extended = || first.iter().filter(|name| name.contains('/')).filter(is_everywhere);
    let fuse = extended().find(|name| gives(name, "fuse"))?;
    let tun = extended().find(|name| gives(name, "tun"))?;
    let names = if fuse == tun { fuse.clone() } else { format!("{fuse},{tun}") };
    Some(DeviceRoute::Resource(names))
}

/// Why only a pod can tell whether the devices come; none where reading tells.
pub(super) fn why_to_try(route: &Fact<Option<DeviceRoute>>) -> Option<String> {
    match route {
        Fact::Known { value: Some(DeviceRoute::Annotation), source } => {
            Some(format!("devices by annotation: to be tried in a pod ({source})"))
        }
        Fact::Known {
            value: Some(route @ (DeviceRoute::Cdi(_) | DeviceRoute::Resource(_))),
            source,
        } => Some(format!("devices by {route}: to be tried in a pod ({source})")),
        _ => None,
    }
}

/// The names without which pods get no devices, as far as reading tells; empty where devices may
/// come by another way.
///
/// OpenShift's machine config allows the old name in every release (machine-config-operator,
/// `templates/*/01-*-container-runtime`). MicroShift leaves CRI-O's built-in default, so CRI-O's
/// version decides.
pub(super) fn needed_names(flavour: Option<Flavour>, runtimes: &[String]) -> Vec<&'static str> {
    match flavour {
        Some(Flavour::Kubernetes) => Vec::new(),
        Some(Flavour::MicroShift) => {
            let newer = |runtime: &String| Knows::of(runtime) == Knows::BothNames;
            let all_newer = !runtimes.is_empty() && runtimes.iter().all(newer);
            let old = (!all_newer).then_some(DEVICES_V1);
            let new = runtimes.iter().any(newer).then_some(DEVICES_V2);
            old.into_iter().chain(new).collect()
        }
        Some(Flavour::OpenShift) | None => vec![DEVICES_V1],
    }
}

/// The new name, where pods need the old one and a node knows both: its CRI-O allows the new one by
/// itself, so it is good to have beside the old one.
pub(super) fn recommended_name(
    flavour: Option<Flavour>,
    runtimes: &[String],
) -> Option<&'static str> {
    let knows_both = runtimes.iter().any(|runtime| Knows::of(runtime) == Knows::BothNames);
    (needed_names(flavour, runtimes) == [DEVICES_V1] && knows_both).then_some(DEVICES_V2)
}

/// The devices that a value of the annotation asks for, by their paths in the pod. Each may be
/// `PATH`, `PATH:PERMISSIONS`, `PATH:PATH` or `PATH:PATH:PERMISSIONS`, where the second path is the
/// one in the pod (cri-o, `internal/config/device`). A blank is part of a path: CRI-O refuses it.
pub fn devices_in(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(|device| {
        let mut parts = device.split(':');
        let on_node = parts.next().unwrap_or_default();
        parts.next().filter(|second| second.starts_with('/')).unwrap_or(on_node)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(runtimes: &[&str]) -> Vec<String> {
        runtimes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_version_of_cri_o_reports_which_names_it_knows() {
        for (runtime, knows) in [
            ("cri-o://1.29.1", Knows::OldName),
            ("cri-o://1.34.7", Knows::OldName),
            ("cri-o://1.35.0", Knows::BothNames),
            ("cri-o://1.36.0-rc.1", Knows::BothNames),
            ("cri-o://2.0.0", Knows::BothNames),
            ("cri-o://unknown", Knows::SomeName),
            ("cri-o://", Knows::SomeName),
            ("containerd://2.4.2", Knows::Nothing),
            ("", Knows::Nothing),
        ] {
            assert_eq!(Knows::of(runtime), knows, "{runtime}");
        }
    }

    #[test]
    fn the_annotation_is_a_candidate_on_openshift_and_where_all_nodes_run_cri_o() {
        let crio = list(&["cri-o://1.32.4"]);
        let mixed = list(&["cri-o://1.32.4", "containerd://2.1.3"]);
        let containerd = list(&["containerd://2.4.2"]);
        for (flavour, runtimes, expected) in [
            (Flavour::Kubernetes, Some(&crio), true),
            (Flavour::Kubernetes, Some(&mixed), false),
            (Flavour::Kubernetes, Some(&containerd), false),
            (Flavour::Kubernetes, Some(&Vec::new()), false),
            (Flavour::Kubernetes, None, false),
            (Flavour::OpenShift, Some(&crio), true),
            (Flavour::OpenShift, Some(&containerd), true),
            (Flavour::OpenShift, None, true),
            (Flavour::MicroShift, Some(&mixed), true),
            (Flavour::MicroShift, Some(&Vec::new()), true),
        ] {
            let found = candidate(flavour, runtimes.map(Vec::as_slice));
            assert_eq!(found.is_some(), expected, "{flavour} {runtimes:?}");
        }
    }

    #[test]
    fn what_is_to_be_tried_says_what_is_known_of_each_runtime_once() {
        let reported = |runtimes: &[&str]| {
            let route = candidate(Flavour::OpenShift, Some(&list(runtimes))).map(|it| it.map(Some));
            why_to_try(&route.expect("it is a candidate")).expect("a pod must tell")
        };
        let old = reported(&["cri-o://1.33.4", "cri-o://1.33.4"]);
        let expected = "devices by annotation: to be tried in a pod (CRI-O 1.33.4 knows only \
                        `io.kubernetes.cri-o.Devices`)";
        assert_eq!(old, expected);
        let new = reported(&["cri-o://1.35.6"]);
        assert!(new.contains("built-in default allows only `devices.crio.io`"), "{new}");
        let other = reported(&["containerd://2.4.2"]);
        assert!(other.contains("containerd 2.4.2 knows neither name by itself"), "{other}");
        let class = Fact::known(Some(DeviceRoute::RuntimeClass("nested".into())), "RuntimeClasses");
        assert_eq!(why_to_try(&class), None);
        assert_eq!(why_to_try(&Fact::unknown("403")), None);
    }

    #[test]
    fn openshift_needs_the_old_name_and_microshift_that_of_its_runtime() {
        let old = list(&["cri-o://1.34.2"]);
        let new = list(&["cri-o://1.35.6"]);
        let both = list(&["cri-o://1.34.2", "cri-o://1.35.6"]);
        for (flavour, runtimes, needed, recommended) in [
            (Flavour::OpenShift, &old, &[DEVICES_V1][..], None),
            (Flavour::OpenShift, &new, &[DEVICES_V1], Some(DEVICES_V2)),
            (Flavour::OpenShift, &Vec::new(), &[DEVICES_V1], None),
            (Flavour::MicroShift, &old, &[DEVICES_V1], None),
            (Flavour::MicroShift, &new, &[DEVICES_V2], None),
            (Flavour::MicroShift, &both, &[DEVICES_V1, DEVICES_V2], None),
            (Flavour::MicroShift, &Vec::new(), &[DEVICES_V1], None),
            (Flavour::Kubernetes, &new, &[], None),
        ] {
            assert_eq!(needed_names(Some(flavour), runtimes), needed, "{flavour} {runtimes:?}");
            let found = recommended_name(Some(flavour), runtimes);
            assert_eq!(found, recommended, "{flavour} {runtimes:?}");
        }
    }

    #[test]
    fn a_chosen_route_is_one_of_five() {
        let read = |text: &str| text.parse::<ChosenRoute>().map(|chosen| chosen.0);
        assert_eq!(read("annotation"), Ok(Some(DeviceRoute::Annotation)));
        assert_eq!(read("none"), Ok(None));
        let class = DeviceRoute::RuntimeClass("nested.devices-2".into());
        assert_eq!(read("runtime-class:nested.devices-2"), Ok(Some(class.clone())));
        assert_eq!(read("runtime-class=nested.devices-2"), Ok(Some(class)), "as before");
        let cdi = DeviceRoute::Cdi("example.com/nested=all,example.com/net=tun".into());
        assert_eq!(read("cdi:example.com/nested=all,example.com/net=tun"), Ok(Some(cdi)));
        let resource = DeviceRoute::Resource("example.com/fuse,example.com/tun".into());
        assert_eq!(read("resource:example.com/fuse,example.com/tun"), Ok(Some(resource)));
        for bad in [
            "",
            "None",
            "runtime-class",
            "runtime-class=",
            "runtime-class=A",
            "cdi=x",
            "cdi:",
            "cdi:example.com/nested",
            "cdi:example.com/nested=a,",
            "resource:fuse",
            "resource:example.com/",
            "annotation=x",
            "runtime-class=a..b",
            "runtime-class=-a",
        ] {
            let error = read(bad).expect_err(bad);
            assert!(error.contains("hint: write `annotation`"), "{error}");
        }
    }

    #[test]
    fn extended_resources_of_every_node_are_a_route() {
        let found = |nodes: &[&[&str]]| {
            let offered: Vec<_> = nodes.iter().map(|names| list(names)).collect();
            resource_route(&offered)
        };
        let both = &["cpu", "device.microshift.io/fuse", "device.microshift.io/tun"][..];
        let names = "device.microshift.io/fuse,device.microshift.io/tun";
        assert_eq!(found(&[both]), Some(DeviceRoute::Resource(names.into())));
        let one = &["example.com/fuse-tun"][..];
        assert_eq!(found(&[one]), Some(DeviceRoute::Resource("example.com/fuse-tun".into())));
        assert_eq!(found(&[both, one]), None, "no node has the other's");
        assert_eq!(found(&[&["example.com/fuse"]]), None, "a tunnel is needed too");
        assert_eq!(found(&[&["example.com/refuse", "example.com/fortune"]]), None);
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn devices_are_known_by_their_paths_in_the_pod() {
        for (value, expected) in [
            ("/dev/fuse:/dev/fuse:rwm,/dev/net/tun", DEVICE_PATHS),
            ("/dev/fuse:rw,/dev/net/tun::rw", DEVICE_PATHS),
            ("/dev/fuse:/dev/f,/dev/null:/dev/net/tun:r", ["/dev/f", "/dev/net/tun"]),
            // CRI-O looks for a device of this very name.
            ("/dev/fuse, /dev/net/tun", ["/dev/fuse", " /dev/net/tun"]),
        ] {
            let all: Vec<_> = devices_in(value).collect();
            assert_eq!(all, expected, "{value}");
        }
        assert_eq!(devices_value(), "/dev/fuse,/dev/net/tun");
    }
}
