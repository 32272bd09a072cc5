//! Which release of OpenShift or MicroShift is installed.

use std::{cmp::Ordering, fmt};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{Fact, Lookup, items, text};
use crate::cluster::permission::{Need, Rule, Rules, Scope, named};

/// The API group of OpenShift's configuration.
pub(super) const CONFIG_GROUP: &str = "config.openshift.io";

/// Roles list these permissions with those of the feature gates and of the rollout.
pub(super) const WHY: &str =
    "Reads the release, its feature gates, and whether a rollout is in progress.";

pub(super) const ON_OPENSHIFT: Rules = &[Rule {
    need: Need::Read,
    why: WHY,
    verbs: &["get"],
    targets: &[named(Scope::Cluster, CONFIG_GROUP, "clusterversions", "version")],
}];

/// MicroShift has no API for its release.
pub(super) const ON_MICROSHIFT: Rules = &[Rule {
    need: Need::Read,
    why: "Reads the release.",
    verbs: &["get"],
    targets: &[named(Scope::Namespace("kube-public"), "", "configmaps", "microshift-version")],
}];

/// A release of OpenShift or MicroShift, such as 4.19.3.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Release {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The whole version, such as `4.20.0-rc.1`.
    pub full: String,
}

impl Release {
    /// Reads a version, such as `4.19.3`; none where it does not begin with two numbers.
    #[must_use]
    pub fn parse(version: &str) -> Option<Self> {
        let (major, minor, _) = numbers(version)?;
        Some(Self { major, minor, full: version.to_owned() })
    }

    /// Whether it is this release or a later one. A candidate of a release counts as the release.
    #[must_use]
    pub fn at_least(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

/// By their three numbers. Two builds of the same numbers have no order, as with `4.20.0` and a
/// candidate of it.
impl PartialOrd for Release {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match numbers(&self.full).cmp(&numbers(&other.full)) {
            Ordering::Equal if self.full != other.full => None,
            order => Some(order),
        }
    }
}

fn numbers(version: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = version.splitn(3, '.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse().ok()
    });
    Some((numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

const CLUSTER_VERSION: &str = "ClusterVersion `status.history`";

/// The newest release that was installed completely. Not `desired`: during an update that is the
/// one that is not there yet (openshift/api, `config/v1/types_cluster_version.go`).
pub(super) fn of_cluster_version(reading: &Lookup<Value>) -> Fact<Option<Release>> {
    reading.fact("ClusterVersion `version`", |object| {
        let mut history = items(object, "/status/history");
        let completed = history.find(|entry| text(entry, "/state") == Some("Completed"));
        match completed.and_then(|entry| text(entry, "/version")) {
            Some(version) => match Release::parse(version) {
                Some(release) => Fact::known(Some(release), CLUSTER_VERSION),
                None => Fact::unknown(format!("{CLUSTER_VERSION} has the version `{version}`")),
            },
            None => Fact::unknown(format!("{CLUSTER_VERSION} has no completed entry yet")),
        }
    })
}

/// MicroShift writes its version into a `ConfigMap` (microshift, `pkg/controllers/version.go`).
pub(super) fn of_microshift(reading: &Lookup<Value>) -> Fact<Option<Release>> {
    const PLACE: &str = "ConfigMap `kube-public/microshift-version`";
    reading.fact(PLACE, |object| {
        let part = |name: &str| text(object, &format!("/data/{name}"));
        let whole = part("version").and_then(Release::parse).or_else(|| {
            let patch = part("patch").unwrap_or("0");
            Release::parse(&format!("{}.{}.{patch}", part("major")?, part("minor")?))
        });
        match whole {
            Some(release) => Fact::known(Some(release), PLACE),
            None => Fact::unknown(format!("{PLACE} has no version")),
        }
    })
}

/// Whether the cluster may be updated. The operator that updates it takes a missing condition for
/// yes, and unknown too (openshift/api, `config/v1/types_cluster_operator.go`).
pub(super) fn upgradeable(reading: &Lookup<Value>) -> Fact<bool> {
    const PLACE: &str = "ClusterVersion condition `Upgradeable`";
    reading.fact("ClusterVersion `version`", |object| match condition(object, "Upgradeable") {
        Some(condition) if text(condition, "/status") == Some("False") => {
            let said: Vec<_> =
                ["/reason", "/message"].iter().filter_map(|path| text(condition, path)).collect();
            Fact::known(false, format!("{PLACE}: {}", said.join(": ")))
        }
        Some(_) => Fact::known(true, PLACE),
        None => Fact::known(true, format!("no {PLACE}")),
    })
}

/// A condition of an object's status, by its type.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(object, "/status/conditions").find(|condition| text(condition, "/type") == Some(kind))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn release(version: &str) -> Release {
        Release::parse(version).expect("a version")
    }

    #[test]
    fn a_version_is_read_with_all_that_hangs_on_it() {
        for (version, numbers) in [
            ("4.19.3", (4, 19)),
            ("4.20.0-rc.1", (4, 20)),
            ("4.21.0-0.nightly-2025-10-15-095338", (4, 21)),
            ("4.19.0-okd-scos.3", (4, 19)),
            ("5.0", (5, 0)),
        ] {
            let release = release(version);
            assert_eq!((release.major, release.minor), numbers);
            assert_eq!(release.to_string(), version);
        }
        for version in ["", "4", "four.19", ".19"] {
            assert_eq!(Release::parse(version), None, "{version}");
        }
    }

    #[test]
    fn releases_are_ordered_by_numbers() {
        assert!(release("4.9.0") < release("4.19.0"));
        assert!(release("4.19.9") < release("4.19.10"));
        assert!(release("4.23.1") < release("5.0.0"));
        assert_eq!(release("4.20.0").partial_cmp(&release("4.20.0-rc.1")), None);
        assert!(release("4.20.0-rc.1").at_least(4, 20));
        assert!(release("5.0.0").at_least(4, 20));
        assert!(!release("4.19.9").at_least(4, 20));
    }

    #[test]
    fn the_installed_release_is_the_newest_completed_one() {
        let object = json!({"status": {"desired": {"version": "4.20.1"}, "history": [
            {"state": "Partial", "version": "4.20.1"},
            {"state": "Completed", "version": "4.19.7"},
            {"state": "Completed", "version": "4.18.2"},
        ]}});
        let fact = of_cluster_version(&Lookup::Found(object));
        assert_eq!(fact.value(), Some(&Some(release("4.19.7"))));

        let installing =
            json!({"status": {"history": [{"state": "Partial", "version": "4.20.1"}]}});
        assert_eq!(of_cluster_version(&Lookup::Found(installing)).value(), None);
        assert_eq!(of_cluster_version(&Lookup::Absent).value(), None);
    }

    #[test]
    fn microshift_says_its_version_in_whole_or_in_parts() {
        for data in [
            json!({"version": "4.20.0", "major": "4", "minor": "20", "patch": "0"}),
            json!({"major": "4", "minor": "20"}),
        ] {
            let fact = of_microshift(&Lookup::Found(json!({"data": data})));
            assert_eq!(fact.value(), Some(&Some(release("4.20.0"))));
        }
        assert_eq!(of_microshift(&Lookup::Found(json!({}))).value(), None);
    }

    #[test]
    fn only_a_false_condition_speaks_against_an_update() {
        let with =
            |conditions| upgradeable(&Lookup::Found(json!({"status": {"conditions": conditions}})));
        assert_eq!(with(json!([])).value(), Some(&true));
        let unknown = json!([{"type": "Upgradeable", "status": "Unknown"}]);
        assert_eq!(with(unknown).value(), Some(&true));
        let no = json!([{"type": "Upgradeable", "status": "False", "reason": "FeatureGates_Restricted",
            "message": "TechPreviewNoUpgrade does not allow updates"}]);
        let Fact::Known { value: false, source } = with(no) else { panic!("it is false") };
        assert!(source.contains("FeatureGates_Restricted: TechPreviewNoUpgrade"), "{source}");
    }
}
