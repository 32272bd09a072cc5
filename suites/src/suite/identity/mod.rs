//! ID: who the user is, inside and outside.

mod node;

use std::time::Duration;

use harness::{
    diagnosis::{CheckId, Symptom, diagnose, explain},
    engine::{Case, CaseKind, Context, Inside, Profile, parse_probe},
    verdict::{CaseResult, Failure, Level, SignatureId},
    workload::{
        Command, PROBE,
        truth::{is_pod_map, show_map, show_reading},
    },
};
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, DownwardAPIVolumeSource, ObjectFieldSelector, Pod, Volume, VolumeMount,
};
use probe::{Capability, CapabilitySet, HelperBinary};

use super::NESTED;
use crate::{
    fixtures::{HOST_USERS, NEIGHBOUR, NESTED_POD},
    steps::{inner_map, known, overlap, subordinate_problem},
};

inventory::submit!(Case {
    id: "ID-01",
    suite: "identity",
    name: "maps_ids_to_a_range_of_its_own",
    title: "A nested pod's user and group ids map to its own range above the node's ids",
    why: "The pod's own id range is the whole protection: if root escapes from the pod, it is an \
          id on the node that owns nothing. The kubelet assigns ranges of 65536 ids above the \
          node's own ids.",
    fix: "If the map is `0 0 4294967295`, the API server dropped the field `hostUsers`: see \
          GATE-01 and GATE-06. Another length comes from `userNamespaces.idsPerPod` in the \
          kubelet's configuration, or from the ranges of the user `kubelet` in /etc/subuid on \
          the node.",
    profiles: &[Profile::Smoke],
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    kind: CaseKind::Live(|cx| Box::pin(maps_ids_to_a_range_of_its_own(cx))),
    ..Case::DEFAULT
});

async fn maps_ids_to_a_range_of_its_own(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    // Asked again by a process of its own: the pod's truth checks were made when it started.
    let facts: probe::Facts = workspace.probe(&["facts"]).await?;
    for (name, map) in [("user ids", &facts.uid_map), ("group ids", &facts.gid_map)] {
        let holds = map.known().is_some_and(|map| is_pod_map(map));
        let observed = show_reading(map, |map| show_map(map));
        cx.check(name, "0 H 65536 with H a multiple of 65536 above 0", observed, holds)?;
    }
    Ok(())
}

inventory::submit!(Case {
    id: "ID-02",
    suite: "identity",
    name: "gives_each_pod_another_range",
    title: "Two pods on one node have disjoint ranges, and the containers of one pod share a range",
    why: "If two pods shared a range, a process that escapes from one could signal and trace the \
          other's processes and read its files.",
    fix: "Look at the kubelet's log for `userns`, and at the ranges of the user `kubelet` in \
          /etc/subuid on the node. If they overlap there, they overlap in pods.",
    requires: NESTED,
    pods: &[&NESTED_POD, &NEIGHBOUR],
    kind: CaseKind::Live(|cx| Box::pin(gives_each_pod_another_range(cx))),
    ..Case::DEFAULT
});

async fn gives_each_pod_another_range(cx: Context) -> CaseResult {
    let (workspace, neighbour) = futures::try_join!(cx.pod(&NESTED_POD), cx.pod(&NEIGHBOUR))?;
    if workspace.node().is_none() || workspace.node() != neighbour.node() {
        return Err(Failure::harness(
            "the two pods are not on one node, so their ranges can't be compared",
        ));
    }
    let second = Command::new([PROBE, "facts"]).in_container("second");
    let second: probe::Facts = parse_probe(&neighbour.run(&second).await?.exits(0)?)?;
    let (mine, theirs) = (workspace.facts(), neighbour.facts());
    for (ids, mine, theirs, second) in [
        ("user ids", &mine.uid_map, &theirs.uid_map, &second.uid_map),
        ("group ids", &mine.gid_map, &theirs.gid_map, &second.gid_map),
    ] {
        let (mine, theirs) = (known(mine)?, known(theirs)?);
        cx.check(
            &format!("ranges of two pods on one node, {ids}"),
            "disjoint",
            format!("{} and {}", show_map(mine), show_map(theirs)),
            !mine.iter().any(|a| theirs.iter().any(|b| overlap(*a, *b))),
        )?;
        let name = format!("map of the pod's second container, {ids}");
        let second = show_reading(second, |map| show_map(map));
        cx.check_equal(&name, &show_map(theirs), &second)?;
    }
    Ok(())
}

inventory::submit!(Case {
    id: "ID-03",
    suite: "identity",
    name: "leaves_other_pods_in_the_node_user_namespace",
    title: "A pod that does not request a user namespace has the node's own ids",
    why: "A control for ID-01. If every pod had its own map, the field would not make the \
          difference, and ID-01 would prove nothing about it.",
    fix: "The node itself may run in a user namespace, as in some rootless clusters. Read the \
          maps relative to the node's map.",
    requires: NESTED,
    pods: &[&NESTED_POD, &HOST_USERS],
    kind: CaseKind::Live(|cx| Box::pin(leaves_other_pods_in_the_node_user_namespace(cx))),
    ..Case::DEFAULT
});

async fn leaves_other_pods_in_the_node_user_namespace(cx: Context) -> CaseResult {
    // A cluster without user namespaces would pass too; this proves that asking matters.
    cx.pod(&NESTED_POD).await?;
    let control = cx.pod(&HOST_USERS).await?;
    let facts: probe::Facts = control.probe(&["facts"]).await?;
    let observed = show_reading(&facts.uid_map, |map| show_map(map));
    cx.check_equal("map of the control", "0 0 4294967295", &observed)
}

inventory::submit!(Case {
    id: "ID-04",
    suite: "identity",
    name: "runs_as_the_user_that_was_asked_for",
    title: "A nested pod runs as user 1000 and the image's group for it, with the fsGroup among its \
        groups",
    why: "Files, /etc/passwd and /etc/subuid of a workspace image belong to one user. Another \
          user has no subordinate ids for podman and does not own the home directory. The pod \
          requests no group, so its group is that of user 1000 in the image's /etc/passwd, or \
          group 0 if the image has no such user.",
    fix: "Set `runAsUser: 1000` and `fsGroup` in the pod or in the SCC; see SCC-P02.",
    requires: NESTED,
    pods: &[&NESTED_POD, &NEIGHBOUR],
    kind: CaseKind::Live(|cx| Box::pin(runs_as_the_user_that_was_asked_for(cx))),
    ..Case::DEFAULT
});

async fn runs_as_the_user_that_was_asked_for(cx: Context) -> CaseResult {
    let (workspace, neighbour) = futures::try_join!(cx.pod(&NESTED_POD), cx.pod(&NEIGHBOUR))?;
    let facts = workspace.facts();
    let uids = format!("real {}, effective {}", facts.real_uid, facts.effective_uid);
    cx.check_equal("user id", "real 1000, effective 1000", &uids)?;
    let passwd = workspace.output(&Command::new(["cat", "/etc/passwd"])).await?;
    let group = primary_group(&passwd, 1000).unwrap_or(0);
    let gids = format!("real {}, effective {}", facts.real_gid, facts.effective_gid);
    cx.check_equal("group id", &format!("real {group}, effective {group}"), &gids)?;
    let groups = known(&facts.groups)?;
    cx.check("groups", "1000 among them", format!("{groups:?}"), groups.contains(&1000))?;
    // Runtimes put the user's own group among them; the neighbour's fsGroup is another one.
    let groups = known(&neighbour.facts().groups)?;
    let observed = format!("{groups:?}");
    cx.check("groups with fsGroup 2000", "2000 among them", observed, groups.contains(&2000))
}

/// The group of a user in /etc/passwd (passwd(5)).
fn primary_group(passwd: &str, uid: u32) -> Option<u32> {
    passwd.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        (fields.get(2)?.parse() == Ok(uid)).then(|| fields.get(3)?.parse().ok()).flatten()
    })
}

inventory::submit!(Case {
    id: "ID-05",
    suite: "identity",
    name: "has_subordinate_ids_inside_the_pod_range",
    title: "The user's ranges in the image's /etc/subuid and /etc/subgid are inside the pod's map",
    why: "Podman maps the ids of its containers to the user's ranges in /etc/subuid and \
          /etc/subgid. newuidmap refuses a range outside the pod's 65536 ids, such as the usual \
          `user:10000:65536`.",
    fix: "Write `NAME:1001:64535` into /etc/subuid and /etc/subgid of the image for user 1000, \
          or several ranges that share no id. With the Universal Developer Image, set HOST_USERS=false; \
          DevWorkspace Operator 0.40 and newer set it.",
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Anywhere,
    kind: CaseKind::Live(|cx| Box::pin(has_subordinate_ids_inside_the_pod_range(cx))),
    ..Case::DEFAULT
});

async fn has_subordinate_ids_inside_the_pod_range(cx: Context) -> CaseResult {
    let facts = cx.pod(&NESTED_POD).await?.facts().clone();
    check_subordinate_ids(&cx, &facts, "")
}

/// Checks the files that give the user its ids; `of` says whose they are.
pub(super) fn check_subordinate_ids(cx: &Context, facts: &probe::Facts, of: &str) -> CaseResult {
    let user = known(&facts.user_name)?.clone().ok_or_else(|| {
        let observed = format!("/etc/passwd has no name for user {}", facts.effective_uid);
        let symptom = Symptom::Check { id: CheckId::SubordinateIds, observed: &observed };
        let hint = explain(symptom, Some(facts));
        Failure::product(observed).with_hint(hint)
    })?;
    for (file, ranges, map) in [
        ("/etc/subuid", &facts.subordinate_uids, &facts.uid_map),
        ("/etc/subgid", &facts.subordinate_gids, &facts.gid_map),
    ] {
        let ranges = known(ranges)?;
        let problem = subordinate_problem(ranges, &user, facts.effective_uid, known(map)?);
        let lines: Vec<_> = ranges
            .ranges
            .iter()
            .map(|range| format!("{}:{}:{}", range.owner, range.start, range.count))
            .collect();
        let observed = match &problem {
            None => lines.join(", "),
            Some(problem) => format!("{} ({problem})", lines.join(", ")),
        };
        let expected = "ranges of the user's, inside the pod's map, without its own id";
        let name = format!("{file}{of}");
        let name = CheckId::SubordinateIds.named(&name);
        cx.check_in_pod(facts, name, expected, observed, problem.is_none())?;
    }
    Ok(())
}

inventory::submit!(Case {
    id: "ID-06",
    suite: "identity",
    name: "has_map_helpers_with_the_right_to_map",
    title: "newuidmap and newgidmap may write id maps, with file capabilities or as setuid root",
    why: "An ordinary user cannot write the id map; newuidmap and newgidmap write it. They lose \
          their file capabilities when a tool that ignores extended attributes copies, squashes \
          or unpacks the image. Setuid root does not help in most pods: the helper then runs as \
          the pod's root, which has only SETUID and SETGID and cannot open the map. A setuid \
          helper therefore counts only if podman creates a namespace with it.",
    fix: "In the image run `setcap cap_setuid+ep /usr/bin/newuidmap && setcap cap_setgid+ep \
          /usr/bin/newgidmap`, or reinstall shadow-utils or uidmap. Build the image with a tool \
          that keeps extended attributes.",
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Anywhere,
    kind: CaseKind::Live(|cx| Box::pin(has_map_helpers_with_the_right_to_map(cx))),
    ..Case::DEFAULT
});

async fn has_map_helpers_with_the_right_to_map(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let facts = workspace.facts();
    for (name, helper, capability) in [
        ("newuidmap", &facts.newuidmap, Capability::SETUID),
        ("newgidmap", &facts.newgidmap, Capability::SETGID),
    ] {
        let helper = known(helper)?.as_ref();
        let mut observed = helper.map_or("not on PATH".to_owned(), describe_helper);
        let mut holds = helper.is_some_and(|helper| may_map_by_its_file(helper, capability));
        if !holds && helper.is_some_and(is_setuid_root) {
            // As the pod's root it has the bounding set and no more, with which shadow's programs
            // may fail to open the map. Only podman can tell whether these do with it.
            let tried = workspace.run(&Command::new(["podman", "unshare", "true"])).await?;
            let reported = String::from_utf8_lossy(&tried.stderr);
            let reported = reported.trim_end();
            observed =
                format!("{observed}; `podman unshare` exits with {} {reported}", tried.exit_code);
            holds = tried.exit_code == 0;
        }
        let expected = format!(
            "{}=ep, or setuid root with which podman works",
            CapabilitySet::from(capability).names().join(",")
        );
        let checked =
            cx.check_in_pod(facts, CheckId::IdHelpers.named(name), &expected, observed, holds);
        checked.map_err(|failure| failure.or_with_hint(workspace.lacks(name)))?;
    }
    Ok(())
}

fn may_map_by_its_file(helper: &HelperBinary, capability: Capability) -> bool {
    let capabilities = helper.file_capabilities.known().and_then(Option::as_ref);
    capabilities.is_some_and(|file| file.effective && file.permitted.contains(capability))
}

fn is_setuid_root(helper: &HelperBinary) -> bool {
    helper.mode.is_setuid() && helper.owner_uid == 0
}

fn describe_helper(helper: &HelperBinary) -> String {
    let capabilities = show_reading(&helper.file_capabilities, |file| match file {
        None => "no file capabilities".to_owned(),
        Some(file) => {
            let effective = if file.effective { "ep" } else { "p" };
            format!("{}={effective}", file.permitted.names().join(","))
        }
    });
    format!("{} mode {} owner {}, {capabilities}", helper.path, helper.mode, helper.owner_uid)
}

inventory::submit!(Case {
    id: "ID-07",
    suite: "identity",
    name: "maps_inner_ids_as_the_subordinate_ranges_say",
    title: "Podman's user namespace maps exactly the user and its subordinate ids",
    why: "The owners of files in a container's volumes are predictable only if podman uses the \
          map in the files.",
    fix: "Compare /etc/subuid with `podman unshare cat /proc/self/uid_map`. `podman system \
          migrate` makes podman discard an older map.",
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Anywhere,
    kind: CaseKind::Live(|cx| Box::pin(maps_inner_ids_as_the_subordinate_ranges_say(cx))),
    ..Case::DEFAULT
});

async fn maps_inner_ids_as_the_subordinate_ranges_say(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let inner = Command::new(["podman", "unshare", PROBE, "facts"]);
    let inner: probe::Facts = parse_probe(&workspace.run(&inner).await?.exits(0)?)?;
    check_inner_maps(&cx, workspace.facts(), &inner, "")
}

/// Checks the maps of a namespace that podman made against the ids that the user has around it; `of`
/// says whose they are.
pub(super) fn check_inner_maps(
    cx: &Context,
    facts: &probe::Facts,
    inner: &probe::Facts,
    of: &str,
) -> CaseResult {
    let user = known(&facts.user_name)?.clone().unwrap_or_default();
    for (name, ranges, own, observed) in [
        ("inner uid_map", &facts.subordinate_uids, facts.effective_uid, &inner.uid_map),
        ("inner gid_map", &facts.subordinate_gids, facts.effective_gid, &inner.gid_map),
    ] {
        let expected = inner_map(known(ranges)?, &user, own);
        let observed = show_reading(observed, |map| show_map(map));
        cx.check_equal(&format!("{name}{of}"), &show_map(&expected), &observed)?;
    }
    Ok(())
}

/// The range that most images have, of which a pod's 65536 ids do not cover the end.
const USUAL_RANGE: (u32, u32) = (10_000, 65_536);

// It is about nestcheck as much as about the cluster.
inventory::submit!(Case {
    id: "ID-08",
    suite: "identity",
    name: "tells_a_range_beyond_the_pod",
    title: "Subordinate ids outside the pod's range are refused, and nestcheck recognizes the \
        refusal (F01)",
    why: "An image with the usual `user:10000:65536` is the most common reason for a broken \
          podman in a pod, and newuidmap only prints `Operation not permitted`. This case \
          creates a pod with that range and proves two things: the kernel refuses ids outside \
          the pod's range, and nestcheck identifies the failure as F01. You can then trust the \
          same hint elsewhere.",
    fix: "If podman works with this range, the pod has more than 65536 ids: see ID-01. If \
          nestcheck reports another failure, read podman's output; the signature may need its \
          new message.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    expected: Duration::from_secs(2),
    kind: CaseKind::Live(|cx| Box::pin(reports_a_range_beyond_the_pod(cx))),
    ..Case::DEFAULT
});

async fn reports_a_range_beyond_the_pod(cx: Context) -> CaseResult {
    let shared = cx.pod(&NESTED_POD).await?;
    let user = known(&shared.facts().user_name)?.clone().unwrap_or_default();
    let (start, count) = USUAL_RANGE;
    let covered = known(&shared.facts().uid_map)?.iter().any(|range| range.count > start + count);
    if covered {
        return Err(Failure::not_applicable(format!(
            "pods get so many ids here that {start}:{count} is among them"
        )));
    }
    let mut pod = cx.manifest(&NESTED_POD)?;
    pod.metadata.name = Some("id-08".to_owned());
    give_subordinate_ids(&mut pod, &format!("{user}:{start}:{count}\n"));
    let broken = cx.provision_pod(&NESTED_POD, &pod).await?;
    let output = broken.run(&Command::new(["podman", "unshare", "true"])).await?;
    let reported = String::from_utf8_lossy(&output.stderr);
    let reported = format!("exit code {}: {}", output.exit_code, reported.trim_end());
    cx.check("podman with these ids", "refused", &reported, output.exit_code != 0)?;
    let diagnosis = diagnose(Symptom::Output(&reported), Some(broken.facts()));
    let id = diagnosis.map_or("none".to_owned(), |diagnosis| diagnosis.id.to_string());
    cx.check_equal("signature of the failure", &SignatureId::F01.to_string(), &id)
}

/// Puts a text over the image's /etc/subuid and /etc/subgid. It comes by an annotation, as it has
/// the user's name, which is not known before the run.
fn give_subordinate_ids(pod: &mut Pod, text: &str) {
    const NAME: &str = "subordinate-ids";
    let annotation = format!("nestcheck/{NAME}");
    let field_path = format!("metadata.annotations['{annotation}']");
    pod.metadata.annotations.get_or_insert_default().insert(annotation, text.to_owned());
    let item = DownwardAPIVolumeFile {
        path: NAME.to_owned(),
        field_ref: Some(ObjectFieldSelector { field_path, api_version: None }),
        ..DownwardAPIVolumeFile::default()
    };
    let spec = pod.spec.get_or_insert_default();
    spec.volumes.get_or_insert_default().push(Volume {
        name: NAME.to_owned(),
        downward_api: Some(DownwardAPIVolumeSource {
            default_mode: Some(0o444),
            items: Some(vec![item]),
            ..DownwardAPIVolumeSource::default()
        }),
        ..Volume::default()
    });
    for container in &mut spec.containers {
        let mounts = container.volume_mounts.get_or_insert_default();
        mounts.extend(["/etc/subuid", "/etc/subgid"].map(|path| VolumeMount {
            name: NAME.to_owned(),
            mount_path: path.to_owned(),
            sub_path: Some(NAME.to_owned()),
            read_only: Some(true),
            ..VolumeMount::default()
        }));
    }
}
