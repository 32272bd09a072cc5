//! /dev/fuse and /dev/net/tun in pods.

use super::{Decision, Place, Requirement};
use crate::{
    base::repair::Repair,
    facts::{Fact, Facts},
};

/// Pods can ask for /dev/fuse and /dev/net/tun.
#[derive(Clone, Copy, Debug)]
pub struct DeviceRequests;

impl Requirement for DeviceRequests {
    fn describe(&self) -> String {
        "a way to ask for /dev/fuse and /dev/net/tun".to_owned()
    }

    fn decide(&self, facts: &Facts) -> Decision {
        match &facts.device_route {
            Fact::Known { value: None, source } => Decision::unmet(
                format!(
                    "the cluster offers no way to give a pod /dev/fuse and /dev/net/tun (read \
                     from: {source})"
                ),
                "add a RuntimeClass with the annotation `nestcheck/devices` whose handler's base \
                 spec has both devices; or, where a plugin of the runtime honours CRI-O's \
                 annotations, run with `--devices annotation`",
            ),
            _ => Decision::Met,
        }
    }

    fn repairs(&self, _: &Facts) -> Vec<Repair> {
        vec![Repair::Devices]
    }

    fn place(&self) -> Place {
        Place::Node
    }

    fn unknown(&self, facts: &Facts) -> Option<String> {
        facts.device_route.why_unknown().map(str::to_owned)
    }
}

/// Pods that ask for /dev/fuse and /dev/net/tun have them. The facts tell whether pods can ask;
/// whether the devices come, only a pod tells: a case that needs them is blocked in a pod that
/// asked and has none, see [`crate::diagnosis::Absence`].
#[derive(Clone, Copy, Debug)]
pub struct Devices;

impl Devices {
    /// What `nestcheck preflight` calls it.
    pub const TITLE: &str = "/dev/fuse and /dev/net/tun for pods";
}

impl Requirement for Devices {
    fn describe(&self) -> String {
        "/dev/fuse and /dev/net/tun in pods that ask for them".to_owned()
    }

    fn decide(&self, facts: &Facts) -> Decision {
        DeviceRequests.decide(facts)
    }

    fn repairs(&self, _: &Facts) -> Vec<Repair> {
        vec![Repair::Devices]
    }

    fn place(&self) -> Place {
        Place::Node
    }

    fn unknown(&self, facts: &Facts) -> Option<String> {
        DeviceRequests.unknown(facts)
    }

    fn to_be_tried(&self, facts: &Facts) -> Option<String> {
        facts.devices_to_try()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};
    use crate::facts::DeviceRoute;

    #[test]
    fn no_device_route_is_unmet_and_an_unknown_one_is_not() {
        let facts = Facts { device_route: Fact::known(None, "test"), ..able() };
        assert!(reason(Devices.decide(&facts)).contains("/dev/fuse"));
        let facts = Facts { device_route: Fact::unknown("403"), ..able() };
        assert_eq!(Devices.decide(&facts), Decision::Met);
    }

    #[test]
    fn an_annotation_is_tried_in_a_pod_and_blocks_nothing_before() {
        let source = "CRI-O 1.35.6 knows both names";
        let route = Fact::known(Some(DeviceRoute::Annotation), source);
        let facts = Facts { device_route: route, ..able() };
        assert_eq!(Devices.decide(&facts), Decision::Met);
        assert_eq!(Devices.unknown(&facts), None);
        let why = Devices.to_be_tried(&facts).expect("a pod must tell");
        assert!(why.contains("to be tried in a pod (CRI-O 1.35.6 knows both names)"), "{why}");
        assert_eq!(DeviceRequests.to_be_tried(&facts), None, "asking needs no pod");
        assert_eq!(Devices.to_be_tried(&able()), None, "a RuntimeClass is read");
    }
}
