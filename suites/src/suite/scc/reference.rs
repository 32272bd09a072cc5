//! The SCCs that the cluster ships, compared with what the vendor ships.

use harness::{
    engine::{Case, CaseKind, CheckResult},
    facts::{Facts, Flavour, Release, Sccs},
    sandbox::Scc,
    verdict::{Level, event::TruthCheck},
    workload::truth::check,
};
use serde_json::Value;

use crate::{
    fixtures::{NESTED_CONTAINER, RESTRICTED_V3, SccText},
    suite::{
        WITH_SCCS,
        static_checks::{Evaluated, at_rest, known, not_applicable, unread},
    },
};

/// An SCC that a release ships.
struct Shipped {
    name: &'static str,
    reference: SccText,
}

const NESTED: Shipped = Shipped { name: "nested-container", reference: NESTED_CONTAINER };
const RESTRICTED: Shipped = Shipped { name: "restricted-v3", reference: RESTRICTED_V3 };

/// What a release ships (cluster-kube-apiserver-operator, `bindata/bootkube/scc-manifests`;
/// microshift, `assets/controllers/openshift-default-scc-manager`).
fn shipped(flavour: Flavour, release: &Release) -> &'static [Shipped] {
    match flavour {
        Flavour::OpenShift if release.at_least(4, 20) => &[NESTED, RESTRICTED],
        Flavour::MicroShift if release.at_least(4, 21) => &[RESTRICTED],
        _ => &[],
    }
}

// The run brings an SCC of its own, so a cluster can do without these.
inventory::submit!(Case {
    id: "SCC-01",
    suite: "scc",
    name: "ships_constraints_as_the_vendor_does",
    title: "The shipped SCCs `nested-container` and `restricted-v3` are as the vendor ships them",
    why: "Everything else builds on the shipped SCCs. An SCC that somebody edited by hand, or \
          that an update did not replace, may allow more than its name promises.",
    fix: "The message lists the fields that differ. Let the cluster version operator restore the \
          object, and put changes into an SCC with another name.",
    level: Level::Extended,
    flavours: WITH_SCCS,
    kind: CaseKind::Static(ships_sccs_as_the_vendor_does),
    ..Case::DEFAULT
});

fn ships_sccs_as_the_vendor_does(facts: &Facts) -> CheckResult {
    at_rest(facts, || {
        let flavour = *known(&facts.flavour)?;
        let Some(release) = known(&facts.release)? else {
            return Err(unread("the release is not known"));
        };
        let shipped = shipped(flavour, release);
        if shipped.is_empty() {
            return Err(not_applicable(format!("{flavour} {release} ships neither")));
        }
        compare(shipped, known(&facts.sccs)?)
    })
}

fn compare(shipped: &[Shipped], sccs: &Sccs) -> Evaluated {
    let mut checks = Vec::new();
    let mut changed = false;
    for Shipped { name, reference } in shipped {
        let reference = Scc::parse(reference.file, reference.text)
            .map_err(|error| unread(error.to_string()))?;
        checks.extend(compare_one(name, &reference, sccs.get(*name)));
        let fixed = sccs.get(*name).map(|stored| as_fixed_later(stored, &reference));
        let later = compare_one(name, &reference, fixed.as_ref());
        changed |= later.iter().any(|check| !check.holds);
    }
    let hint = if changed { CHANGED } else { SHIPPED_SO };
    Ok(CheckResult::of(checks, hint))
}

const CHANGED: &str = "somebody changed an SCC that the cluster brings along: restore it, and make \
                       one of another name for what is wanted";

const SHIPPED_SO: &str = "nobody changed it: early z-streams ship it without its user ids \
                          (OCPBUGS-77004) or without volumes of type `image`. Update to a later \
                          z-stream, or make an SCC of another name that has them";

/// An SCC as later z-streams ship it, if it is as an early one did: the manifest had the user ids in
/// a field that the API drops, and the volume type `image` came later
/// (cluster-kube-apiserver-operator, `bindata/bootkube/scc-manifests`).
fn as_fixed_later(stored: &Value, reference: &Scc) -> Value {
    let mut fixed = stored.clone();
    let user = fixed.get_mut("runAsUser").and_then(Value::as_object_mut);
    let ids = reference.field("runAsUser").and_then(Value::as_object);
    if let (Some(user), Some(ids)) = (user, ids)
        && !["uidRangeMin", "uidRangeMax"].iter().any(|id| user.contains_key(*id))
    {
        user.extend(
            ids.iter().filter(|(field, _)| *field != "type").map(|(k, v)| (k.clone(), v.clone())),
        );
    }
    let volumes = fixed.get_mut("volumes").and_then(Value::as_array_mut);
    if let Some(volumes) = volumes.filter(|volumes| !volumes.contains(&Value::from("image"))) {
        volumes.push(Value::from("image"));
    }
    fixed
}

fn compare_one(name: &str, reference: &Scc, stored: Option<&Value>) -> Vec<TruthCheck> {
    let fields = format!("fields of `{name}`");
    let Some(stored) = stored else {
        return vec![check(&fields, "as shipped", "there is no such SCC", false)];
    };
    let differences = reference.differences(&with_lower_ends(stored));
    let reported: Vec<_> = differences.iter().map(ToString::to_string).collect();
    let observed = if reported.is_empty() { "as shipped".to_owned() } else { reported.join("; ") };
    let users = ["users", "groups"].iter().filter_map(|field| stored.get(field)?.as_array());
    let users: Vec<_> = users.flatten().map(ToString::to_string).collect();
    let named = if users.is_empty() { "nobody".to_owned() } else { users.join(", ") };
    vec![
        check(&fields, "as shipped", observed, reported.is_empty()),
        check(&format!("who may use `{name}` by its own lists"), "nobody", named, users.is_empty()),
    ]
}

/// The SCC with the lower ends of its ranges of groups: e of 0 is not stored
/// (openshift/api, `security/v1`, `IDRange`).
fn with_lower_ends(stored: &Value) -> Value {
    let mut stored = stored.clone();
    for field in ["fsGroup", "supplementalGroups"] {
        let ranges = stored.pointer_mut(&format!("/{field}/ranges")).and_then(Value::as_array_mut);
        for range in ranges.into_iter().flatten().filter_map(Value::as_object_mut) {
            range.entry("min").or_insert_with(|| Value::from(0));
        }
    }
    stored
}

#[cfg(test)]
mod tests {
    use harness::facts::{Fact, FeatureSet};
    use serde_json::json;

    use super::*;
    use crate::suite::static_checks::tests::{expect, openshift, openshift_4_19, updating};

    fn stored(text: SccText) -> Value {
        let mut object: Value =
            harness::base::manifest::parse(text.file, text.text).expect("it is YAML");
        // What the server fills in.
        object["users"] = json!([]);
        object["groups"] = json!([]);
        object["allowedFlexVolumes"] = Value::Null;
        object
    }

    fn with(change: impl FnOnce(&mut Sccs)) -> Facts {
        let mut sccs = Sccs::from([
            ("nested-container".to_owned(), stored(NESTED_CONTAINER)),
            ("restricted-v3".to_owned(), stored(RESTRICTED_V3)),
        ]);
        change(&mut sccs);
        let sccs = Fact::known(sccs, "test");
        Facts { sccs, ..openshift("4.20.1", FeatureSet::Default) }
    }

    fn microshift(version: &str, facts: Facts) -> Facts {
        Facts {
            flavour: Fact::known(Flavour::MicroShift, "test"),
            release: Fact::known(Release::parse(version), "test"),
            ..facts
        }
    }

    fn evaluate(facts: &Facts, name: &str, words: &str) {
        expect("SCC-01", facts, name, words);
    }

    #[test]
    fn what_is_shipped_passes_with_the_servers_defaults() {
        evaluate(&with(|_| ()), "pass", "");
    }

    #[test]
    fn a_range_from_0_is_stored_without_its_lower_end() {
        let with_min = |min: Option<u32>| {
            with(|all| {
                let object = all.get_mut("nested-container").expect("it is there");
                object["fsGroup"]["ranges"] = json!([{"max": 65534}]);
                if let Some(min) = min {
                    object["fsGroup"]["ranges"][0]["min"] = json!(min);
                }
            })
        };
        evaluate(&with_min(None), "pass", "");
        evaluate(&with_min(Some(1)), "fail", "`fsGroup.ranges[0].min` is 1, not 0");
    }

    #[test]
    fn every_changed_field_is_named() {
        let lost = with(|all| {
            let object = all.get_mut("nested-container").expect("it is there");
            object["userNamespaceLevel"] = json!("AllowHostLevel");
            object["runAsUser"]["uidRangeMax"] = json!(100_000);
        });
        evaluate(
            &lost,
            "fail",
            "`userNamespaceLevel` is \"AllowHostLevel\", not \"RequirePodLevel\"",
        );
        evaluate(&lost, "fail", "`runAsUser.uidRangeMax` is 100000");
        let more = with(|all| {
            let object = all.get_mut("restricted-v3").expect("it is there");
            object["allowedCapabilities"] = json!(["NET_BIND_SERVICE", "SYS_ADMIN"]);
        });
        evaluate(&more, "fail", "fields of `restricted-v3`");
    }

    /// The verdict of SCC-01 with its hint.
    fn verdict(facts: &Facts) -> String {
        format!("{:?}", ships_sccs_as_the_vendor_does(facts).verdict)
    }

    #[test]
    fn the_forms_of_early_z_streams_are_not_taken_for_somebodys_change() {
        let early = |all: &mut Sccs| {
            for object in all.values_mut() {
                object["runAsUser"] = json!({"type": "MustRunAsRange"});
                let volumes = object["volumes"].as_array_mut().expect("it is a list");
                volumes.retain(|volume| volume != "image");
            }
        };
        evaluate(&with(early), "fail", "`runAsUser.uidRangeMin` is absent, not 0");
        assert!(verdict(&with(early)).contains("Update to a later z-stream"));
        let only_volumes = with(|all| {
            all.get_mut("restricted-v3").expect("it is there")["volumes"] = json!([
                "configMap",
                "csi",
                "downwardAPI",
                "emptyDir",
                "ephemeral",
                "persistentVolumeClaim",
                "projected",
                "secret",
            ]);
        });
        assert!(verdict(&only_volumes).contains("Update to a later z-stream"));
        for change in [
            json!({"runAsUser": {"type": "RunAsAny"}}),
            json!({"runAsUser": {"type": "MustRunAsRange", "uidRangeMin": 0}}),
            json!({"userNamespaceLevel": "AllowHostLevel"}),
            json!({"volumes": ["secret"]}),
            json!({"groups": ["system:authenticated"]}),
        ] {
            let changed = with(|all| {
                early(all);
                let object = all.get_mut("nested-container").expect("it is there");
                for (field, value) in change.as_object().expect("it is an object") {
                    object[field] = value.clone();
                }
            });
            assert!(verdict(&changed).contains("somebody changed"), "{change}");
        }
    }

    #[test]
    fn one_that_is_missing_or_given_to_somebody_is_named() {
        evaluate(&with(|all| drop(all.remove("restricted-v3"))), "fail", "`restricted-v3`");
        let given = with(|all| {
            let object = all.get_mut("nested-container").expect("it is there");
            object["groups"] = json!(["system:authenticated"]);
        });
        evaluate(&given, "fail", "system:authenticated");
    }

    #[test]
    fn only_releases_that_ship_them_are_evaluated() {
        evaluate(&openshift_4_19(), "not-applicable", "4.19.7 ships neither");
        let tech_preview = openshift("4.19.7", FeatureSet::TechPreviewNoUpgrade);
        evaluate(&tech_preview, "not-applicable", "4.19.7");
        let without_nested = |all: &mut Sccs| drop(all.remove("nested-container"));
        evaluate(&microshift("4.20.0", with(without_nested)), "not-applicable", "4.20.0");
        evaluate(&microshift("4.21.0", with(without_nested)), "pass", "");
    }

    #[test]
    fn what_is_not_known_is_not_evaluated() {
        let unread = Facts { sccs: Fact::unknown("403"), ..with(|_| ()) };
        evaluate(&unread, "blocked", "403");
        evaluate(&Facts { release: Fact::unknown("404"), ..with(|_| ()) }, "blocked", "404");
        evaluate(&updating(with(|all| drop(all.remove("restricted-v3")))), "blocked", "updated");
    }
}
