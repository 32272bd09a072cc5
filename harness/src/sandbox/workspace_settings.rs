//! What the configuration of the DevWorkspace Operator says, so that its pods are nested ones.

use serde_json::{Value, json};

use super::pod_template::ask_for_devices;
use crate::facts::{CDI_ANNOTATION, DeviceRoute, devices_value};

/// What decides about the user of a workspace's pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodAuthority {
    /// An SCC.
    Scc,
    /// The operator's configuration, with the group that the image gives its user.
    Configuration {
        /// The group's id.
        group: u32,
    },
}

/// What makes the operator's pods nested ones: what the feature request asks for, as Che's operator
/// sets it but for CHOWN, which the run's SCC does not allow.
///
/// Where no SCC decides about pods, the configuration does, with the group that the image gives its
/// user. The operator's own defaults there are user 1234, group 0 and all capabilities of the runtime
/// (devworkspace-operator, `pkg/config/defaults.go`). newuidmap refuses a process whose group is not
/// that of its user in /etc/passwd, and some entrypoints need group 0. A runtime's default profiles
/// forbid unshare(2) and mount(2).
#[must_use]
pub fn nested_settings(route: Option<&DeviceRoute>, authority: PodAuthority) -> Value {
    let (pod_context, capabilities) = match authority {
        PodAuthority::Scc => (json!({"fsGroup": 1000}), json!({"add": ["SETUID", "SETGID"]})),
        PodAuthority::Configuration { group } => (
            json!({
                "fsGroup": 1000,
                "runAsUser": 1000,
                "runAsGroup": group,
                "seccompProfile": {"type": "Unconfined"},
                "appArmorProfile": {"type": "Unconfined"},
            }),
            json!({"add": ["SETUID", "SETGID"], "drop": ["ALL"]}),
        ),
    };
    let mut settings = json!({
        "hostUsers": false,
        "imagePullPolicy": "IfNotPresent",
        "podSecurityContext": pod_context,
        "containerSecurityContext": {
            "procMount": "Unmasked",
            "allowPrivilegeEscalation": true,
            "capabilities": capabilities,
        },
    });
    match route {
        Some(DeviceRoute::Annotation) => {
            settings["podAnnotations"] = asking_for_devices(&devices_value());
        }
        Some(DeviceRoute::Cdi(names)) => {
            settings["podAnnotations"] = json!({ CDI_ANNOTATION: names });
        }
        Some(DeviceRoute::RuntimeClass(name)) => settings["runtimeClassName"] = json!(name),
        // Its containers ask, by overrides of the devfile.
        Some(DeviceRoute::Resource(_)) | None => {}
    }
    settings
}

/// The field `podAnnotations` by which workspaces ask for devices.
#[must_use]
pub fn asking_for_devices(paths: &str) -> Value {
    ask_for_devices(paths).map(|(name, paths)| (name, Value::String(paths))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_asks_for_devices_by_the_runs_route() {
        let asked = |route: Option<DeviceRoute>| {
            let settings = nested_settings(route.as_ref(), ON_KUBERNETES);
            let annotations = settings["podAnnotations"].as_object().cloned().unwrap_or_default();
            let names: Vec<_> = annotations.keys().cloned().collect();
            (names.join(","), settings["runtimeClassName"].as_str().map(str::to_owned))
        };
        let of_crio = "devices.crio.io,io.kubernetes.cri-o.Devices".to_owned();
        assert_eq!(asked(Some(DeviceRoute::Annotation)), (of_crio, None));
        let cdi = DeviceRoute::Cdi("example.com/nested=all".to_owned());
        assert_eq!(asked(Some(cdi)), (CDI_ANNOTATION.to_owned(), None));
        let class = DeviceRoute::RuntimeClass("nested".to_owned());
        assert_eq!(asked(Some(class)), (String::new(), Some("nested".to_owned())));
        let resource = DeviceRoute::Resource("example.com/fuse".to_owned());
        assert_eq!(asked(Some(resource)), (String::new(), None));
        assert_eq!(asked(None), (String::new(), None));
    }

    const ON_KUBERNETES: PodAuthority = PodAuthority::Configuration { group: 0 };

    #[test]
    fn a_configuration_names_the_user_only_where_no_scc_does() {
        let on_kubernetes = nested_settings(None, ON_KUBERNETES);
        let with_scc = nested_settings(None, PodAuthority::Scc);
        let user = |settings: &Value| settings["podSecurityContext"]["runAsUser"].as_i64();
        assert_eq!(user(&on_kubernetes), Some(1000));
        assert_eq!(on_kubernetes["podSecurityContext"]["runAsGroup"], 0);
        assert_eq!(user(&with_scc), None, "an SCC may refuse a pod that asks for a user");
    }

    #[test]
    fn a_configuration_drops_what_no_scc_does() {
        let settings = nested_settings(None, ON_KUBERNETES);
        let capabilities = &settings["containerSecurityContext"]["capabilities"];
        assert_eq!(*capabilities, json!({"add": ["SETUID", "SETGID"], "drop": ["ALL"]}));
    }
}
