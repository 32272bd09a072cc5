//! Devices that a pod asked for and started without.
//!
//! CRI-O says nothing where it drops an annotation: the pod starts, and there is no event. The pod
//! and its runtime's version tell which name to allow (cri-o v1.35.0, `pkg/config/workloads.go`).

use k8s_openapi::api::core::v1::Pod;
use probe::{DeviceState, Facts};

use super::Diagnosis;
use crate::{
    facts::{
        CDI_ANNOTATION, DEVICE_ANNOTATIONS, DEVICE_PATHS, DeviceRoute, Knows, devices_in,
        show_runtime,
    },
    verdict::{Place, SignatureId},
};

const ID: SignatureId = SignatureId::F37;

/// What is wrong where the annotation did nothing.
const IGNORED: &str = "the node's runtime silently drops the annotation for devices";

pub(super) const OLD_NAME: Diagnosis = Diagnosis {
    id: ID,
    place: Place::Node,
    cause: IGNORED,
    fix: "list `io.kubernetes.cri-o.Devices` in `allowed_annotations` of the pod's runtime handler \
          in crio.conf; not `devices.crio.io`, with which CRI-O 1.34 and older does not start",
};

pub(super) const BOTH_NAMES: Diagnosis = Diagnosis {
    id: ID,
    place: Place::Node,
    cause: IGNORED,
    fix: "list `io.kubernetes.cri-o.Devices` and `devices.crio.io` in `allowed_annotations` of the \
          pod's runtime handler in crio.conf; CRI-O 1.35 and newer allow only `devices.crio.io` by \
          default, and a drop-in that sets the list replaces the default",
};

pub(super) const SOME_NAME: Diagnosis = Diagnosis {
    id: ID,
    place: Place::Node,
    cause: IGNORED,
    fix: "list `io.kubernetes.cri-o.Devices` in `allowed_annotations` of the pod's runtime handler \
          in crio.conf, and `devices.crio.io` beside it where CRI-O is 1.35 or newer: older ones \
          do not start with it",
};

const ANOTHER_RUNTIME: Diagnosis = Diagnosis {
    id: ID,
    place: Place::Node,
    cause: IGNORED,
    fix: "only CRI-O has `allowed_annotations`; let a plugin of this runtime honour the \
          annotation, or give the devices by a RuntimeClass and run with `--devices \
          runtime-class:NAME`",
};

const NO_DEVICES_BY_CDI: Diagnosis = Diagnosis {
    id: ID,
    place: Place::Node,
    cause: "the node's runtime takes no notice of a pod's CDI annotation, or the devices are others",
    fix: "list both devices in the CDI spec on the node, and turn CDI on in the runtime; containerd \
          knows only the CDI devices that a device plugin names, so offer them as an extended \
          resource there and run with `--devices resource:NAME`",
};

const NO_DEVICES_BY_RESOURCE: Diagnosis = Diagnosis {
    id: ID,
    place: Place::Node,
    cause: "the device plugin of the extended resource gives other devices",
    fix: "let the plugin give /dev/fuse and /dev/net/tun, or name other resources with `--devices \
          resource:NAME,NAME`",
};

pub(super) const NO_DEVICES_IN_CLASS: Diagnosis = Diagnosis {
    id: ID,
    place: Place::Node,
    cause: "the handler of the RuntimeClass adds no devices",
    fix: "put both devices into the handler's base spec, and allow them in its cgroup rules; or \
          name another class with `--devices runtime-class:NAME`",
};

/// Devices that a pod asked for and started without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    /// How the pod asked, where it runs, and what is absent.
    pub reason: String,
    /// The cause and the cure.
    pub diagnosis: Diagnosis,
}

impl Absence {
    /// What a pod that runs lacks of the devices that it asked for: none where it asked for none,
    /// where all are there, or where the probe could not look.
    ///
    /// `pod` is the pod as the server stores it, so an annotation that admission removed was not
    /// asked. `route` tells which RuntimeClass gives devices; `runtime` is that of the pod's node, such as `cri-o://1.33.4`.
    #[must_use]
    pub fn of(
        pod: &Pod,
        facts: &Facts,
        route: Option<&DeviceRoute>,
        runtime: Option<&str>,
    ) -> Option<Self> {
        let by_annotation = asked_by_annotation(pod, runtime);
        let (asked, how, diagnosis) = by_annotation.or_else(|| asked_by_route(pod, route?))?;
        let absent: Vec<_> = asked.into_iter().filter(|path| is_absent(facts, path)).collect();
        if absent.is_empty() {
            return None;
        }
        let runtime =
            runtime.map_or_else(|| "a runtime that is not known".to_owned(), show_runtime);
        let reason = format!(
            "device requested by {how}, pod started, device absent: {} (runtime: {runtime})",
            absent.join(", ")
        );
        Some(Self { reason, diagnosis })
    }
}

type Asked = (Vec<&'static str>, String, Diagnosis);

fn asked_by_annotation(pod: &Pod, runtime: Option<&str>) -> Option<Asked> {
    let annotations = pod.metadata.annotations.as_ref()?;
    let carried: Vec<_> = DEVICE_ANNOTATIONS
        .into_iter()
        .filter_map(|name| annotations.get(name).map(|value| (name, value)))
        .collect();
    if carried.is_empty() {
        return None;
    }
    let is_asked = |path: &&str| {
        carried.iter().any(|(_, value)| devices_in(value).any(|device| device == *path))
    };
    let asked = DEVICE_PATHS.into_iter().filter(is_asked).collect();
    let names: Vec<_> = carried.iter().map(|(name, _)| format!("`{name}`")).collect();
    let how = format!("annotation ({})", names.join(", "));
    let diagnosis = match Knows::of(runtime.unwrap_or("cri-o://")) {
        Knows::OldName => OLD_NAME,
        Knows::BothNames => BOTH_NAMES,
        Knows::SomeName => SOME_NAME,
        Knows::Nothing => ANOTHER_RUNTIME,
    };
    Some((asked, how, diagnosis))
}

fn asked_by_route(pod: &Pod, route: &DeviceRoute) -> Option<Asked> {
    let spec = pod.spec.as_ref()?;
    let (asks, diagnosis) = match route {
        DeviceRoute::Annotation => return None,
        DeviceRoute::RuntimeClass(class) => {
            (spec.runtime_class_name.as_ref() == Some(class), NO_DEVICES_IN_CLASS)
        }
        DeviceRoute::Cdi(names) => {
            let annotations = pod.metadata.annotations.as_ref();
            let asked = annotations.and_then(|annotations| annotations.get(CDI_ANNOTATION));
            (asked == Some(names), NO_DEVICES_BY_CDI)
        }
        DeviceRoute::Resource(names) => {
            let mut limits = spec.containers.iter().filter_map(|it| it.resources.as_ref());
            let asks = limits.any(|resources| {
                let limits = resources.limits.as_ref();
                names.split(',').all(|name| limits.is_some_and(|it| it.contains_key(name)))
            });
            (asks, NO_DEVICES_BY_RESOURCE)
        }
    };
    asks.then(|| (DEVICE_PATHS.to_vec(), route.to_string(), diagnosis))
}

fn is_absent(facts: &Facts, path: &str) -> bool {
    let state = facts.device(path).and_then(|device| device.state.known());
    matches!(state, Some(DeviceState::Absent))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::tests::facts, *};

    fn pod(annotations: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"annotations": annotations},
            "spec": {"containers": [], "runtimeClassName": "nested"},
        }))
        .expect("it is a pod")
    }

    fn without(number: usize) -> Facts {
        facts(&format!("/devices/{number}/state"), json!({"known": "absent"}))
    }

    fn both() -> serde_json::Value {
        json!({"io.kubernetes.cri-o.Devices": "/dev/fuse,/dev/net/tun",
               "devices.crio.io": "/dev/fuse,/dev/net/tun"})
    }

    fn absence(runtime: Option<&str>) -> Absence {
        let route = DeviceRoute::Annotation;
        Absence::of(&pod(&both()), &without(1), Some(&route), runtime).expect("it is absent")
    }

    #[test]
    fn a_device_that_was_asked_for_and_is_absent_is_reported_with_the_runtime() {
        let found = absence(Some("cri-o://1.35.6"));
        assert_eq!(
            found.reason,
            "device requested by annotation (`io.kubernetes.cri-o.Devices`, `devices.crio.io`), \
             pod started, device absent: /dev/net/tun (runtime: CRI-O 1.35.6)"
        );
    }

    #[test]
    fn the_runtime_decides_which_name_to_allow() {
        for (runtime, fix) in [
            (Some("cri-o://1.34.1"), OLD_NAME.fix),
            (Some("cri-o://1.35.6"), BOTH_NAMES.fix),
            (Some("cri-o://?"), SOME_NAME.fix),
            (None, SOME_NAME.fix),
            (Some("containerd://2.4.2"), ANOTHER_RUNTIME.fix),
        ] {
            let found = absence(runtime).diagnosis;
            assert_eq!((found.id, found.fix), (ID, fix), "{runtime:?}");
            assert!(found.fix.contains("allowed_annotations"), "{runtime:?}");
        }
    }

    #[test]
    fn what_was_not_asked_for_or_is_there_is_no_absence() {
        let route = DeviceRoute::Annotation;
        let find = |annotations: serde_json::Value, facts: &Facts| {
            Absence::of(&pod(&annotations), facts, Some(&route), None)
        };
        let whole = facts("/devices/0/open_read_write", json!("opened"));
        assert_eq!(find(both(), &whole), None, "all are there");
        assert_eq!(find(json!({}), &without(0)), None, "nothing was asked for");
        let other = json!({"devices.crio.io": "/dev/kmsg"});
        assert_eq!(find(other, &without(0)), None, "another device was asked for");
        let fuse = json!({"devices.crio.io": "/dev/fuse:/dev/fuse:rwm"});
        assert_eq!(find(fuse.clone(), &without(1)), None, "the tunnel was not asked for");
        assert!(find(fuse, &without(0)).is_some(), "one name is enough to ask");
        let elsewhere = json!({"io.kubernetes.cri-o.Devices": "/dev/fuse:/dev/myfuse"});
        assert_eq!(find(elsewhere, &without(0)), None, "it was asked for at another path");
        let unread = facts("/devices/0/state", json!({"unknown": "EACCES"}));
        assert_eq!(find(both(), &unread), None, "the probe could not look");
        let workspace = Absence::of(&pod(&both()), &without(0), None, None);
        assert!(workspace.is_some(), "an operator may have asked");
    }

    #[test]
    fn a_runtime_class_that_gives_nothing_is_named() {
        let route = DeviceRoute::RuntimeClass("nested".to_owned());
        let runtime = Some("containerd://2.4.2");
        let found = Absence::of(&pod(&json!({})), &without(0), Some(&route), runtime);
        let found = found.expect("it is absent");
        assert!(found.reason.contains("RuntimeClass `nested`"), "{found:?}");
        assert_eq!(found.diagnosis, NO_DEVICES_IN_CLASS);
        let another = DeviceRoute::RuntimeClass("other".to_owned());
        assert_eq!(Absence::of(&pod(&json!({})), &without(0), Some(&another), runtime), None);
    }

    #[test]
    fn a_plugin_or_cdi_device_that_gives_nothing_is_named() {
        let cdi = DeviceRoute::Cdi("example.com/nested=all".to_owned());
        let asking = pod(&json!({"cdi.k8s.io/nestcheck": "example.com/nested=all"}));
        let found = Absence::of(&asking, &without(0), Some(&cdi), None).expect("it is absent");
        assert_eq!(found.diagnosis, NO_DEVICES_BY_CDI);
        assert!(found.reason.contains("example.com/nested=all"), "{found:?}");
        let bare = pod(&json!({}));
        assert_eq!(Absence::of(&bare, &without(0), Some(&cdi), None), None, "it did not ask");

        let resource = DeviceRoute::Resource("example.com/fuse,example.com/tun".to_owned());
        assert_eq!(Absence::of(&bare, &without(0), Some(&resource), None), None, "nor here");
        let asking: Pod = serde_json::from_value(json!({"spec": {"containers": [{"name": "tools",
            "resources": {"limits": {"example.com/fuse": "1", "example.com/tun": "1"}}}]}}))
        .expect("it is a pod");
        let found = Absence::of(&asking, &without(0), Some(&resource), None);
        assert_eq!(found.expect("it is absent").diagnosis, NO_DEVICES_BY_RESOURCE);
    }
}
