//! Whether what the operators set is what nested containers need.

use serde_json::{Value, json};

use super::{
    super::{
        DEVICE_ANNOTATIONS, DEVICE_PATHS, Flavour, allowed_capabilities,
        device::{self, devices_in, devices_value},
    },
    CheCluster, PodSettings,
    finding::{Findings, SettingsOfPods, Severity},
};
use crate::base::subset_diff;

/// The capabilities without which `newuidmap` and `newgidmap` can't write a map.
const CAPABILITIES: [&str; 2] = ["SETUID", "SETGID"];

/// The field that makes an SCC require a user namespace, and its value.
const LEVEL: (&str, &str) = ("userNamespaceLevel", "RequirePodLevel");

impl Findings {
    pub(super) fn of_scc(&mut self, che: &CheCluster, name: &str, scc: &Value, pods: &PodSettings) {
        let wanted = json!({
            LEVEL.0: LEVEL.1,
            "allowPrivilegedContainer": false,
            "allowPrivilegeEscalation": true,
            "seLinuxContext": {"seLinuxOptions": {"type": "container_engine_t"}},
        });
        for difference in subset_diff::between(&wanted, scc) {
            let finding = format!("in the SCC `{name}` of {che}, {difference}");
            match difference.field.as_str() {
                field if field == LEVEL.0 => self.add(
                    Severity::Danger,
                    finding,
                    "set it, or turn the toggle off where the cluster's schema has no such field: \
                     pods without a user namespace get SETUID, SETGID and container_engine_t by it",
                ),
                "allowPrivilegedContainer" => self.add(
                    Severity::Danger,
                    finding,
                    "name an SCC of its own: any workspace may be privileged by this one",
                ),
                _ => self.warning(finding, "compare it with the operator's `container-run`"),
            }
        }
        let allowed = allowed_capabilities(scc);
        let is_allowed = |capability: &&String| {
            allowed.iter().any(|allowed| *allowed == "*" || allowed == capability)
        };
        let refused: Vec<_> =
            pods.capabilities.iter().filter(|capability| !is_allowed(capability)).collect();
        if !refused.is_empty() {
            self.warning(
                format!(
                    "{che} gives workspaces capabilities that its SCC \
                     `{name}` does not allow: {}",
                    list(&refused)
                ),
                "allow them in the SCC or take them from `containerSecurityContext`: \
                 workspaces are refused as it is",
            );
        }
    }

    /// How pods are made, against what nested containers need.
    pub(super) fn of_pods(
        &mut self,
        of: &SettingsOfPods<'_>,
        flavour: Option<Flavour>,
        runtimes: &[String],
    ) {
        let SettingsOfPods { object, place, path, pods } = of;
        let container = format!("`{path}.containerSecurityContext`");
        self.of_devices(of, flavour, runtimes);
        if pods.proc_mount.as_deref() != Some("Unmasked") {
            self.add_of(
                object,
                Severity::Warning,
                format!("{place} leaves /proc masked: inner containers can't mount theirs"),
                format!("set `procMount: Unmasked` in {container}"),
            );
        }
        for (field, is_set, what) in [
            ("privileged", pods.privileged, "the SCC refuses them"),
            (
                "readOnlyRootFilesystem",
                pods.read_only_root_filesystem,
                "an image can't set up its user",
            ),
        ] {
            if is_set == Some(true) {
                self.add_of(
                    object,
                    Severity::Warning,
                    format!("{place} sets `{field}: true` for containers: {what}"),
                    format!("take it out of {container}"),
                );
            }
        }
        let has = |capability: &str| pods.capability(capability, flavour);
        let lacking: Vec<_> = CAPABILITIES.iter().filter(|capability| !has(capability)).collect();
        if !lacking.is_empty() {
            self.add_of(
                object,
                Severity::Warning,
                format!("{place} gives containers no {}: `newuidmap` can't write", list(&lacking)),
                format!("add them to `capabilities.add` in {container}"),
            );
        } else if !has("CHOWN") {
            self.add_of(
                object,
                Severity::Note,
                format!("{place} gives containers no CHOWN, as Che 7.111 to 7.115 did"),
                "nothing, unless systemd runs in inner containers: Che 7.116 adds it",
            );
        }
        let escalates =
            pods.allow_privilege_escalation.unwrap_or(flavour == Some(Flavour::Kubernetes));
        if !escalates {
            self.add_of(
                object,
                Severity::Warning,
                format!("{place} does not allow privilege escalation: `newuidmap` gains nothing"),
                format!("set `allowPrivilegeEscalation: true` in {container}"),
            );
        }
    }

    /// The annotations for devices, against those that the cluster's nodes honour.
    fn of_devices(
        &mut self,
        of: &SettingsOfPods<'_>,
        flavour: Option<Flavour>,
        runtimes: &[String],
    ) {
        let SettingsOfPods { object, place, pods, .. } = of;
        let value = devices_value();
        for (name, without) in pods.lacking_devices(flavour, runtimes) {
            let other = DEVICE_ANNOTATIONS
                .into_iter()
                .find(|other| *other != name && pods.not_asked_for(other).is_empty())
                .map_or_else(String::new, |other| format!("; `{other}` alone gives none"));
            self.add_of(
                object,
                Severity::Warning,
                format!("{place} gives pods no {}: not in `{name}`{other}", list(&without)),
                format!("add the annotation `{name}: {value}`"),
            );
        }
        if let Some(name) = device::recommended_name(flavour, runtimes)
            && !pods.not_asked_for(name).is_empty()
        {
            self.add_of(
                object,
                Severity::Note,
                format!("{place} asks for devices by the old name only"),
                format!(
                    "add the annotation `{name}: {value}` beside it: CRI-O 1.35 and newer \
                         allow it by default"
                ),
            );
        }
    }
}

impl PodSettings {
    /// The annotations that the nodes honour, with the devices that podman needs and the annotation
    /// does not ask for; only those that lack one.
    #[must_use]
    pub fn lacking_devices(
        &self,
        flavour: Option<Flavour>,
        runtimes: &[String],
    ) -> Vec<(&'static str, Vec<&'static str>)> {
        let needed = device::needed_names(flavour, runtimes).into_iter();
        let lacking = needed.map(|name| (name, self.not_asked_for(name)));
        lacking.filter(|(_, without)| !without.is_empty()).collect()
    }

    /// The devices that podman needs and that an annotation does not ask for.
    fn not_asked_for(&self, annotation: &str) -> Vec<&'static str> {
        let value = self.annotations.get(annotation).map_or("", String::as_str);
        let asked: Vec<_> = devices_in(value).collect();
        DEVICE_PATHS.into_iter().filter(|path| !asked.contains(path)).collect()
    }

    /// Whether containers have a capability. The DevWorkspace Operator drops all by default and
    /// forbids privilege escalation on OpenShift, and changes nothing of what the runtime gives on
    /// other Kubernetes (`pkg/config/defaults.go`).
    fn capability(&self, capability: &str, flavour: Option<Flavour>) -> bool {
        let is_in = |list: &[String]| list.iter().any(|item| item == capability || item == "ALL");
        is_in(&self.capabilities)
            || flavour == Some(Flavour::Kubernetes) && !is_in(&self.dropped_capabilities)
    }
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            finding::tests::{container_run, found_with, is_one, on_able, sccs},
            tests::{che_on, config_on, of},
        },
        *,
    };
    use crate::facts::{Fact, Sccs, support::Support};

    #[test]
    fn an_scc_that_lost_its_level_is_a_danger() {
        let mut scc = container_run();
        scc.as_object_mut().and_then(|fields| fields.remove("userNamespaceLevel"));
        let devspaces = of(&[che_on()], &[config_on()]);
        let found = found_with(&devspaces, &Support::Supported, &sccs(scc));
        is_one(&found, "Danger", &["`userNamespaceLevel` is absent", "`container-run`"]);
    }

    #[test]
    fn an_scc_that_is_missing_or_other_is_named() {
        let devspaces = of(&[che_on()], &[config_on()]);
        let none = Fact::known(Sccs::new(), "test");
        let found = found_with(&devspaces, &Support::Supported, &none);
        is_one(&found, "Warning", &["`container-run`", "does not exist"]);

        let mut scc = container_run();
        scc["seLinuxContext"] = json!({"type": "RunAsAny"});
        scc["allowedCapabilities"] = json!(["SETUID", "SETGID"]);
        let found = found_with(&devspaces, &Support::Supported, &sccs(scc));
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found[0].contains("seLinuxContext"), "{found:?}");
        assert!(found[1].ends_with("does not allow: CHOWN"), "{found:?}");

        let mut che = che_on();
        che["spec"]["devEnvironments"]["containerRunConfiguration"]
            .as_object_mut()
            .and_then(|fields| fields.remove("openShiftSecurityContextConstraint"));
        is_one(&on_able(&[che], &[config_on()]), "Warning", &["names no"]);
    }

    #[test]
    fn settings_with_which_nothing_runs_in_a_workspace_are_warnings() {
        let with = |pointer: &str, value: Value| {
            let mut config = config_on();
            *config.pointer_mut(pointer).expect("it is there") = value;
            on_able(&[che_on()], &[config])
        };
        let workspace = "/config/workspace";
        let context = "/config/workspace/containerSecurityContext";
        let privileged = json!({"procMount": "Unmasked", "allowPrivilegeEscalation": true,
            "capabilities": {"add": ["SETGID", "SETUID", "CHOWN"]}, "privileged": true});
        is_one(&with(context, privileged), "Warning", &["`privileged: true`"]);
        let no_devices = with(&format!("{workspace}/podAnnotations"), json!({}));
        is_one(&no_devices, "Warning", &["no /dev/fuse, /dev/net/tun"]);
        let one = json!({"io.kubernetes.cri-o.Devices": "/dev/fuse:/dev/fuse:rwm"});
        is_one(&with(&format!("{workspace}/podAnnotations"), one), "Warning", &["no /dev/net/tun"]);
        // CRI-O takes a blank for a part of the path, and refuses that device.
        let blank = json!({"io.kubernetes.cri-o.Devices": "/dev/fuse, /dev/net/tun"});
        is_one(
            &with(&format!("{workspace}/podAnnotations"), blank),
            "Warning",
            &["no /dev/net/tun"],
        );
        let new = json!({"devices.crio.io": "/dev/net/tun,/dev/fuse"});
        let words = ["no /dev/fuse, /dev/net/tun", "`devices.crio.io` alone gives none"];
        is_one(&with(&format!("{workspace}/podAnnotations"), new), "Warning", &words);
        let both = json!({"devices.crio.io": "/dev/net/tun,/dev/fuse",
                          "io.kubernetes.cri-o.Devices": "/dev/fuse,/dev/net/tun"});
        assert_eq!(with(&format!("{workspace}/podAnnotations"), both), [""; 0]);
        is_one(&with(&format!("{context}/procMount"), json!("Default")), "Warning", &["masked"]);
        let escalation = format!("{context}/allowPrivilegeEscalation");
        is_one(&with(&escalation, json!(false)), "Warning", &["privilege escalation"]);
        let capabilities = format!("{context}/capabilities/add");
        is_one(&with(&capabilities, json!(["SETUID"])), "Warning", &["no SETGID"]);
        let before = with(&capabilities, json!(["SETUID", "SETGID"]));
        is_one(&before, "Note", &["CHOWN", "7.115"]);
    }

    #[test]
    fn the_runtime_decides_which_name_of_the_annotation_is_good() {
        let found = |name: &str, flavour, runtime: &str| {
            let mut config = config_on();
            config["config"]["workspace"]["podAnnotations"] =
                json!({name: "/dev/fuse,/dev/net/tun"});
            let devspaces = of(&[che_on()], &[config]);
            let known = sccs(container_run());
            let runtimes = [runtime.to_owned()];
            let findings =
                devspaces.findings(&Support::Supported, Some(flavour), &known, &runtimes);
            findings.into_iter().map(|it| (it.severity, it.remedy)).collect::<Vec<_>>()
        };
        let (old, new) = ("io.kubernetes.cri-o.Devices", "devices.crio.io");
        let (before, since) = ("cri-o://1.34.2", "cri-o://1.35.6");
        assert_eq!(found(old, Flavour::OpenShift, before), []);
        let other = found(old, Flavour::OpenShift, since);
        assert!(matches!(&other[..], [(Severity::Note, it)] if it.contains(new)), "{other:?}");
        for (name, flavour, runtime, needed) in [
            (new, Flavour::OpenShift, since, old),
            (new, Flavour::OpenShift, before, old),
            (new, Flavour::MicroShift, before, old),
            (old, Flavour::MicroShift, since, new),
        ] {
            let found = found(name, flavour, runtime);
            let names = |it: &str| it.contains(&format!("`{needed}: /dev/fuse,/dev/net/tun`"));
            assert!(
                matches!(&found[..], [(Severity::Warning, it), ..] if names(it)),
                "{name} {flavour} {runtime}: {found:?}"
            );
        }
        assert_eq!(found(new, Flavour::MicroShift, since), []);
    }

    #[test]
    fn elsewhere_the_runtime_gives_what_nobody_drops() {
        let mut config = config_on();
        config["config"]["workspace"] = json!({"hostUsers": false,
            "containerSecurityContext": {"procMount": "Unmasked"}});
        let none = Fact::unknown("test");
        let found = |config: &Value| {
            let devspaces = of(&[], std::slice::from_ref(config));
            devspaces.findings(&Support::Supported, Some(Flavour::Kubernetes), &none, &[])
        };
        assert_eq!(found(&config), []);
        config["config"]["workspace"]["containerSecurityContext"]["capabilities"] =
            json!({"drop": ["ALL"]});
        let findings = found(&config);
        assert!(findings[0].finding.contains("no SETUID, SETGID"), "{findings:?}");
    }
}
