//! The SCCs that the cluster ships, compared with what the vendor ships.

use harness::{
    engine::{Case, CaseKind, CheckResult},
    facts::{Facts, Flavour, Release, Sccs},
    sandbox::Scc,
    verdict::{Level, SignatureId, Verdict, event::TruthCheck},
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

/// What the early z-streams of a release ship otherwise than the reference. The reference is what
/// later z-streams ship, and what a release ships that has no early form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EarlyForm {
    /// `runAsUser` without its ids: the manifest had them in a field that the API drops, so the
    /// namespace's ids count (OCPBUGS-77004).
    lacks_ids: bool,
    /// `volumes` without `image`, which later z-streams added.
    lacks_image: bool,
}

/// The early form of a release (cluster-kube-apiserver-operator, history of
/// `bindata/bootkube/scc-manifests` in the branches of the releases; microshift,
/// `assets/controllers/openshift-default-scc-manager`).
fn early_form(flavour: Flavour, release: &Release) -> EarlyForm {
    let (lacks_ids, lacks_image) = match (flavour, release.major, release.minor) {
        (Flavour::OpenShift, 4, 20 | 21) => (true, true),
        (Flavour::OpenShift, 4, 22) => (true, false),
        (Flavour::MicroShift, 4, 21) => (false, true),
        _ => (false, false),
    };
    EarlyForm { lacks_ids, lacks_image }
}

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
          that an update did not replace, may allow more than its name promises.\n\n\
          Early z-streams of OpenShift 4.20, 4.21 and 4.22 ship them without their user ids \
          (OCPBUGS-77004). That is the vendor's bug, so the case reports a known issue there.",
    fix: "The message lists the fields that differ. Let the cluster version operator restore the \
          object, and put changes into an SCC with another name. For the known issue, update to a \
          later z-stream.",
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
        compare(shipped, early_form(flavour, release), known(&facts.sccs)?)
    })
}

fn compare(shipped: &[Shipped], early: EarlyForm, sccs: &Sccs) -> Evaluated {
    let mut checks = Vec::new();
    let mut without_ids = Vec::new();
    for Shipped { name, reference } in shipped {
        let reference = Scc::parse(reference.file, reference.text)
            .map_err(|error| unread(error.to_string()))?;
        let Some(stored) = sccs.get(*name) else {
            checks.push(check(&fields_of(name), AS_SHIPPED, "there is no such SCC", false));
            continue;
        };
        let (fixed, form) = as_fixed_later(stored, &reference, early);
        checks.extend(compare_one(name, &reference, &fixed, form.lacks_image));
        if form.lacks_ids {
            without_ids.push(*name);
        }
    }
    if checks.iter().any(|check| !check.holds) {
        return Ok(CheckResult::of(checks, CHANGED));
    }
    if without_ids.is_empty() {
        return Ok(CheckResult::of(checks, CHANGED));
    }
    let names: Vec<_> = without_ids.iter().map(|name| format!("`{name}`")).collect();
    let message = format!("{}: {EARLY}", names.join(" and "));
    let observed = "absent";
    checks.push(check(&format!("ids of {}", names.join(" and ")), "in the SCC", observed, false));
    Ok(CheckResult { checks, verdict: Verdict::known_issue(SignatureId::F39, message) })
}

const AS_SHIPPED: &str = "as shipped";

fn fields_of(name: &str) -> String {
    format!("fields of `{name}`")
}

const CHANGED: &str = "somebody changed an SCC that the cluster brings along: restore it, and make \
                       one of another name for what is wanted";

/// What is so of the early forms that lack the ids. Nobody changed them.
pub(super) const EARLY: &str = "early z-streams ship it without its user ids, so it takes those of \
                                the namespace, which a pod in a user namespace does not have \
                                (OCPBUGS-77004, fixed in a later z-stream): update the cluster, or \
                                make an SCC of another name that has `uidRangeMin` and \
                                `uidRangeMax`";

/// Whether an SCC has the strategy for user ids of an early z-stream: a range without its ends.
pub(super) fn lacks_ids(stored: &Value) -> bool {
    let user = stored.get("runAsUser");
    user.and_then(|user| user.get("type")).is_some_and(|it| it == "MustRunAsRange")
        && !["uidRangeMin", "uidRangeMax"]
            .iter()
            .any(|id| user.and_then(|user| user.get(*id)).is_some())
}

/// An SCC as later z-streams ship it, if it is as an early one did, and in which way it was.
fn as_fixed_later(stored: &Value, reference: &Scc, early: EarlyForm) -> (Value, EarlyForm) {
    let mut fixed = stored.clone();
    let lacks_ids = early.lacks_ids && lacks_ids(stored);
    let user = fixed.get_mut("runAsUser").and_then(Value::as_object_mut);
    let ids = reference.field("runAsUser").and_then(Value::as_object);
    if let (true, Some(user), Some(ids)) = (lacks_ids, user, ids) {
        let ids = ids.iter().filter(|(field, _)| *field != "type");
        user.extend(ids.map(|(field, id)| (field.clone(), id.clone())));
    }
    let volumes = fixed.get_mut("volumes").and_then(Value::as_array_mut);
    let image = Value::from("image");
    let lacks_image =
        early.lacks_image && volumes.as_ref().is_some_and(|volumes| !volumes.contains(&image));
    if let (true, Some(volumes)) = (lacks_image, volumes) {
        volumes.push(image);
    }
    (fixed, EarlyForm { lacks_ids, lacks_image })
}

/// Compares an SCC in its later form with the reference.
fn compare_one(name: &str, reference: &Scc, stored: &Value, lacks_image: bool) -> Vec<TruthCheck> {
    let differences = reference.differences(&with_lower_ends(stored));
    let reported: Vec<_> = differences.iter().map(ToString::to_string).collect();
    let observed = match (reported.is_empty(), lacks_image) {
        (true, false) => AS_SHIPPED.to_owned(),
        (true, true) => "as an early z-stream shipped it, without volumes of type `image`".into(),
        (false, _) => reported.join("; "),
    };
    let users = ["users", "groups"].iter().filter_map(|field| stored.get(field)?.as_array());
    let users: Vec<_> = users.flatten().map(ToString::to_string).collect();
    let named = if users.is_empty() { "nobody".to_owned() } else { users.join(", ") };
    vec![
        check(&fields_of(name), AS_SHIPPED, observed, reported.is_empty()),
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

    /// The forms that were shipped, by the letters of the vendor's history: ids in a field that is
    /// dropped (A), the same without `image` (B), ids without `image` (D), and that with
    /// `runAsGroup` (E). C is the reference.
    fn form(letter: char) -> impl Fn(&mut Sccs) {
        move |all| {
            for object in all.values_mut() {
                if "AB".contains(letter) {
                    object["runAsUser"] = json!({"type": "MustRunAsRange"});
                }
                if "BDE".contains(letter) {
                    let volumes = object["volumes"].as_array_mut().expect("it is a list");
                    volumes.retain(|volume| volume != "image");
                }
                if letter == 'E' {
                    object["runAsGroup"] = json!({"type": "RunAsAny"});
                }
            }
        }
    }

    #[test]
    fn a_form_without_ids_is_the_vendors_bug_and_not_somebodys_change() {
        for letter in ['A', 'B'] {
            let facts = with(form(letter));
            evaluate(&facts, "known-issue", "OCPBUGS-77004, fixed in a later z-stream");
            evaluate(&facts, "known-issue", "`nested-container` and `restricted-v3`");
            assert!(!verdict(&facts).contains("somebody changed"), "{letter}");
        }
        for letter in ['C', 'D', 'E'] {
            evaluate(&with(form(letter)), "pass", "");
        }
        let microshift_form = |letter| {
            with(move |all| {
                form(letter)(all);
                drop(all.remove("nested-container"));
            })
        };
        evaluate(&microshift("4.21.0", microshift_form('D')), "pass", "");
        evaluate(&microshift("4.21.0", microshift_form('A')), "fail", "uidRangeMin");
    }

    #[test]
    fn a_release_that_never_had_the_early_form_was_changed() {
        let on = |version: &str, letter| Facts {
            release: Fact::known(Release::parse(version), "test"),
            ..with(form(letter))
        };
        evaluate(&on("4.21.3", 'B'), "known-issue", "OCPBUGS-77004");
        evaluate(&on("4.22.0-rc.1", 'A'), "known-issue", "OCPBUGS-77004");
        evaluate(&on("4.22.0", 'D'), "fail", "volumes");
        evaluate(&on("4.23.0", 'A'), "fail", "uidRangeMin");
        evaluate(&on("5.0.0", 'D'), "fail", "volumes");
    }

    #[test]
    fn an_early_form_does_not_hide_a_change() {
        for change in [
            json!({"runAsUser": {"type": "RunAsAny"}}),
            json!({"runAsUser": {"type": "MustRunAsRange", "uidRangeMin": 0}}),
            json!({"userNamespaceLevel": "AllowHostLevel"}),
            json!({"volumes": ["secret"]}),
            json!({"groups": ["system:authenticated"]}),
        ] {
            let changed = with(|all| {
                form('B')(all);
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
