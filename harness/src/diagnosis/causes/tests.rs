use proptest::prelude::*;

use super::*;
use crate::{
    cluster::exec_error::Lost,
    diagnosis::tests::case,
    verdict::{Disruption, Failure},
};

fn known(wrong: &str) -> Failure {
    Failure::product("`podman run` exited with 125").with_hint(Some(Attribution {
        signature: Some(SignatureId::F02),
        wrong: wrong.to_owned(),
        place: Place::Image,
        fix: Some("rebuild the image".to_owned()),
        ..Attribution::default()
    }))
}

#[test]
fn a_failure_that_differs_only_in_what_differs_each_time_is_the_same() {
    for (one, other) in [
        ("`id` printed `0`, expected `1000`", "`id` printed `65534`, expected `1000`"),
        ("sandbox \"0123456789abcdef\": no", "sandbox \"fedcba9876543210\": no"),
        ("dial tcp 10.0.0.1:10250: refused", "dial tcp 10.128.12.7:443: refused"),
        ("pod web-7f9c6bd4d5-xkqzv is gone", "pod web-5d4db6c9f7-bcdfg is gone"),
        ("at 2026-11-24T09:30:14Z it broke", "at 2026-12-01T00:00:00.5Z it broke"),
        ("nestcheck-kvxqmabc is stuck", "nestcheck-abcdefgh is stuck"),
        ("open /tmp/tmp.AbCdEf: no", "open /tmp/tmp.XyZuVw: no"),
        (
            "uid 3f2b8c1a-9d4e-4f6a-8b7c-1d2e3f4a5b6c is not",
            "uid 00000000-1111-4222-8333-444444444444 is not",
        ),
    ] {
        assert_eq!(normalised(one), normalised(other));
    }
    for (one, other) in [
        ("could not find pasta", "could not find conmon"),
        ("expected refused, observed allowed", "expected allowed, observed refused"),
        ("open /etc/subuid: no", "open /etc/subgid: no"),
    ] {
        assert_ne!(normalised(one), normalised(other));
    }
}

#[test]
fn a_signature_is_one_cause_for_each_thing_that_is_wrong() {
    let cases = [
        case("POD-01", Level::Core, known("newuidmap has lost its capabilities")),
        case("POD-02", Level::Extended, known("newuidmap has lost its capabilities")),
        case("POD-03", Level::Extended, known("no_new_privs is on")),
        case("POD-04", Level::Core, Verdict::Pass),
    ];

    let both = causes(&cases);
    let one = causes(&cases[..2]);

    assert_eq!(one.len(), 1);
    assert_eq!((one[0].id.as_str(), one[0].core), ("F02", 1));
    assert_eq!(one[0].cases, ["POD-01", "POD-02"]);
    assert_eq!(one[0].place, Place::Image);
    assert_eq!(one[0].fix.as_deref(), Some("rebuild the image"));
    assert_eq!(one[0].evidence, "`podman run` exited with 125");
    assert!(both.iter().all(|cause| cause.id.starts_with("F02-")), "{both:?}");
    assert_eq!(both[0].cases, one[0].cases, "it explains a core case");
}

#[test]
fn the_exact_id_of_a_cause_is_of_no_other() {
    let [one, other, of_run]: [Verdict; 3] = [
        known("newuidmap has lost its capabilities of pid 7").into(),
        known("no_new_privs is on").into(),
        known("newuidmap has lost its capabilities of pid 8").into(),
    ];
    let id = exact_cause(&one).expect("a cause");
    let key = CauseKey::parse(&id).expect("an id");
    let includes = |verdict| key.includes(&attribution(verdict).expect("a cause"));
    assert!(includes(&one) && includes(&of_run) && !includes(&other), "{id}");
    let alone = causes(&[case("POD-01", Level::Core, one)]);
    assert_eq!(alone[0].id, "F02", "as reports print it");
    let unknown = Verdict::fail("denied", None);
    let alone = causes(&[case("POD-01", Level::Core, unknown.clone())]);
    assert_eq!(exact_cause(&unknown).as_ref(), Some(&alone[0].id));
    assert_eq!(exact_cause(&Verdict::Pass), None);
}

#[test]
fn what_a_program_said_is_the_cause_and_not_who_called_it() {
    let failed = |command: &str| {
        let message = format!("`{command}` exited with 127, expected 0: no conmon");
        Failure::product(message).having_said("no conmon")
    };

    let found = causes(&[
        case("CMP-01", Level::Extended, failed("podman-compose up")),
        case("POD-01", Level::Core, failed("podman run")),
    ]);

    assert_eq!(found.len(), 1);
    assert_eq!(found[0].wrong, "no conmon");
    assert_eq!(found[0].evidence, "`podman-compose up` exited with 127, expected 0: no conmon");
}

#[test]
fn several_requirements_that_are_not_met_are_all_said() {
    let gates = ["UserNamespacesSupport", "ProcMountType"].map(|gate| {
        format!("the feature gate {gate} is off on the API server (read from: dry-run create)")
    });
    let reason = format!("{}; {}; {}", gates[0], "x".repeat(300), gates[1]);
    let blocked = Verdict::blocked(reason.clone(), "use OpenShift 4.20 or newer");
    assert_eq!(causes(&[case("POD-01", Level::Core, blocked)])[0].wrong, reason);
}

#[test]
fn what_disruptions_leave_undecided_is_one_cause() {
    let at = |time: &str| Some(time.parse().expect("a time"));
    let node = Disruption {
        lost: Some(Lost::Node),
        node: Some("worker-1".to_owned()),
        since: at("2026-11-24T09:30:00Z"),
        until: at("2026-11-24T09:30:12Z"),
        reason: "no sign of life for 5 s".to_owned(),
    };
    let server = Disruption { lost: Some(Lost::ApiServer), node: None, ..node.clone() };
    let gone = Disruption { until: None, ..node.clone() };
    let again = format!("it was retried and lost again: first {node}: a; then {server}: b");
    let messages = [format!("{node}: a"), format!("{server}: b"), format!("{gone}: c"), again];
    let ids = ["POD-01", "POD-02", "POD-03", "POD-04"];
    let cases: Vec<_> = ids
        .into_iter()
        .zip(messages)
        .map(|(id, message)| case(id, Level::Core, Verdict::Error { message }))
        .collect();

    let found = causes(&cases);

    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].id.as_str(), found[0].place), ("F56", Place::Cluster));
    assert_eq!(found[0].cases, ids);
}

#[test]
fn what_blocks_and_what_fails_by_the_same_signature_is_one_cause() {
    let Failure::Product { hint: Some(hint), .. } = known("a") else { panic!("a hint") };
    let cause = *hint.cause.expect("an attribution");
    let blocked = Failure::blocked_by("no devices", cause);

    let found = causes(&[
        case("ISO-04", Level::Extended, known("a")),
        case("POD-01", Level::Core, blocked),
    ]);

    assert_eq!(found.len(), 1);
    assert_eq!((found[0].cases.len(), found[0].core), (2, 1));
}

#[test]
fn an_image_that_is_missing_is_one_cause_however_the_kubelet_puts_it() {
    let error = |reason: &str| Verdict::Error {
        message: format!("the image `localhost/nowhere:1` can't be had ({reason}): no such host"),
    };

    let found = causes(&[
        case("POD-01", Level::Core, error("ErrImagePull")),
        case("POD-02", Level::Extended, error("ImagePullBackOff")),
    ]);

    assert_eq!(found.len(), 1);
    assert_eq!((found[0].id.as_str(), found[0].place), ("F55", Place::Image));
    assert!(found[0].fix.as_ref().is_some_and(|fix| fix.contains("`--image`")), "{found:?}");
    assert!(found[0].evidence.contains("localhost/nowhere:1"), "{found:?}");
}

#[test]
fn two_missing_images_are_two_causes() {
    let error = |image: &str| Verdict::Error {
        message: crate::diagnosis::missing_image(image, "ErrImagePull", "no such host"),
    };
    let cases = [
        case("POD-01", Level::Core, error("localhost/a:1")),
        case("POD-02", Level::Core, error("localhost/a:2")),
        case("POD-03", Level::Extended, error("localhost/a:1")),
    ];

    let found = causes(&cases);

    let wrong: Vec<_> = found.iter().map(|cause| (&*cause.wrong, cause.cases.len())).collect();
    let expected = [
        ("the node can't pull the image: `localhost/a:1`", 2),
        ("the node can't pull the image: `localhost/a:2`", 1),
    ];
    assert_eq!(wrong, expected);
    assert!(found.iter().all(|cause| cause.id.starts_with("F55-")), "{found:?}");
    let exact = exact_cause(&cases[1].verdict).expect("a cause");
    assert_eq!(found[1].id, exact);
    assert!(
        is_cause_of(&found[1], &cases[1].verdict) && !is_cause_of(&found[0], &cases[1].verdict)
    );
}

/// The words of CRI-O for a registry that lets nobody in (openshift/image-registry issue 416,
/// rhdemo/2019-demo4-optaplanner issue 19), for an image of the internal registry.
#[test]
fn an_image_of_another_project_has_the_command_that_grants_it() {
    let image = "image-registry.openshift-image-registry.svc:5000/team-b/workspace";
    for words in [
        "authentication required",
        "unauthorized: authentication required",
        "errors: denied: requested access to the resource is denied unauthorized: \
         authentication required",
    ] {
        let message = format!(
            "the image `{image}:1` can't be had (ErrImagePull): rpc error: code = Unknown desc = \
             Error reading manifest 1 in {image}: {words}"
        );
        let found = causes(&[case("POD-01", Level::Core, Verdict::Error { message })]);
        assert_eq!((found[0].signature, found[0].place), (Some(SignatureId::F55), Place::Policy));
        assert!(found[0].wrong.contains("internal registry"), "{found:?}");
        let fix = found[0].fix.clone().unwrap_or_default();
        let command = "`oc policy add-role-to-group system:image-puller system:serviceaccounts -n \
                       PROJECT`";
        assert!(fix.contains(command), "{fix}");
    }
    let elsewhere = "the image `registry.example/a/b:1` can't be had (ErrImagePull): unauthorized";
    let message = elsewhere.to_owned();
    let found = causes(&[case("POD-01", Level::Core, Verdict::Error { message })]);
    assert_eq!(found[0].place, Place::Image);
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let text = || prop::sample::select(vec!["no conmon", "no pasta", "pid 7", "pid 8", ""]);
    prop_oneof![
        Just(Verdict::Pass),
        Just(Verdict::Interrupted),
        text().prop_map(|text| Verdict::fail(text, None)),
        text().prop_map(|text| known(text).into()),
        text().prop_map(|text| Verdict::blocked(text, "install it")),
        text().prop_map(|text| Verdict::NotApplicable { reason: text.to_owned() }),
        text().prop_map(|text| Verdict::Error { message: text.to_owned() }),
        text().prop_map(|text| Verdict::known_issue(SignatureId::F28, text)),
    ]
}

fn cases() -> impl Strategy<Value = Vec<CaseFinished>> {
    let level = prop_oneof![Just(Level::Core), Just(Level::Extended), Just(Level::Informing)];
    prop::collection::vec((level, verdict()), 0..12).prop_map(|cases| {
        let cases = cases.into_iter().enumerate();
        cases.map(|(n, (level, verdict))| case(&format!("X-{n:02}"), level, verdict)).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn each_case_that_did_not_pass_has_one_cause(cases in cases()) {
        let found = causes(&cases);

        let mut explained: Vec<_> = found.iter().flat_map(|it| it.cases.clone()).collect();
        explained.sort();
        let is_explained = |case: &&CaseFinished| {
            !matches!(case.verdict, Verdict::Pass | Verdict::NotApplicable { .. })
        };
        let expected = cases.iter().filter(is_explained).map(|case| case.id.clone());
        prop_assert_eq!(explained, expected.collect::<Vec<_>>());
        let core = cases.iter().filter(is_explained).filter(|it| it.level == Level::Core);
        prop_assert_eq!(found.iter().map(|it| it.core).sum::<usize>(), core.count());
        let ids: BTreeSet<_> = found.iter().map(|cause| &cause.id).collect();
        prop_assert_eq!(ids.len(), found.len(), "an id is of one cause");
    }

    #[test]
    fn the_order_in_which_cases_end_does_not_matter(cases in cases()) {
        let found = causes(&cases);

        prop_assert_eq!(&causes(cases.iter().rev()), &found);
        prop_assert!(found.is_sorted_by_key(order));
    }
}
