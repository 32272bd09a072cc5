//! The verbs that cases are written with, and the arithmetic of id ranges.

mod pvcs;

use std::time::Duration;

use harness::{
    cluster::{Answer, ask, call, describe, is_forbidden},
    engine::{Context, PodHandle},
    sandbox::{
        Identity,
        pod_template::{PodTemplate, REQUIRED_SCC},
    },
    verdict::{CaseResult, Failure},
    workload::{
        Command, PROBE, restricted,
        truth::{self, show_map, show_reading},
    },
};
use k8s_openapi::api::core::v1::Pod;
use probe::{IdRange, Reading, SubordinateRanges};
pub use pvcs::{delete_pod, is_nfs, keep_on, on_node, on_node_of, pvc, wait_for_end};

/// How long a build of an image may take.
pub(crate) const BUILD_DEADLINE: Duration = Duration::from_secs(180);

/// A podman command.
///
/// ```
/// let version = suites::steps::podman(&["version", "--format", "{{.Client.Version}}"]);
/// assert_eq!(version.display(), "podman version --format {{.Client.Version}}");
/// ```
#[must_use]
pub fn podman(arguments: &[&str]) -> Command {
    Command::new(["podman"].iter().chain(arguments).copied())
}

/// `podman run` of an image that goes away when it ends and has no network, so that it needs no
/// device of the node.
///
/// ```
/// use suites::steps::podman_run;
///
/// let command = podman_run(&["--user=1"], "image", &["id", "-u"]);
/// assert_eq!(command.display(), "podman run --rm --network=none --user=1 image id -u");
/// ```
#[must_use]
pub fn podman_run(options: &[&str], image: &str, command: &[&str]) -> Command {
    let fixed = ["podman", "run", "--rm", "--network=none"];
    Command::new(fixed.iter().chain(options).copied().chain([image]).chain(command.iter().copied()))
}

/// Builds the image of the directory `name` below `images` and returns its reference.
///
/// # Errors
///
/// The build fails.
pub async fn build(workspace: &PodHandle, name: &str, tag: &str) -> Result<String, Failure> {
    build_with(workspace, name, tag, &[]).await
}

/// As [`build`], with more options for `podman build`.
///
/// # Errors
///
/// The build fails.
pub async fn build_with(
    workspace: &PodHandle,
    name: &str,
    tag: &str,
    options: &[&str],
) -> Result<String, Failure> {
    let image = format!("localhost/nestcheck/{tag}");
    // A ConfigMap's files are links, which an image must not contain, so they are copied out.
    let script = "
        context=$(mktemp -d)
        trap 'rm -rf \"$context\"' EXIT
        cp -L \"$1\"/* /nestcheck/probe \"$context\"
        if [ -e \"$context/make-root.sh\" ]; then sh \"$context/make-root.sh\" \"$context/root\"; fi
        image=$2
        shift 2
        podman build --quiet --tag \"$image\" \"$@\" \"$context\"
    ";
    let directory = crate::fixtures::context(&format!("images/{name}"));
    let arguments = [directory.as_str(), image.as_str()].into_iter().chain(options.iter().copied());
    let title = format!("podman build {name}");
    let command = Command::shell(title, script, arguments).within(BUILD_DEADLINE);
    workspace.run(&command).await?.exits(0)?;
    Ok(image)
}

/// An image of one static program, the probe. Built once a pod, for the cases that need an image
/// but are not about building it.
///
/// # Errors
///
/// The build fails.
pub async fn scratch_image(workspace: &PodHandle) -> Result<String, Failure> {
    workspace.once("scratch image", || build(workspace, "scratch", "scratch")).await
}

/// An image with a shell, made from the workspace's own files. Built once a pod.
///
/// # Errors
///
/// The build fails.
pub async fn shell_image(workspace: &PodHandle) -> Result<String, Failure> {
    workspace.once("shell image", || build(workspace, "shell", "shell")).await
}

/// Expects that the server refuses a pod, with this status and all these words.
///
/// # Errors
///
/// It accepts the pod, or refuses it for another reason.
pub async fn expect_refusal(
    cx: &Context,
    name: &str,
    pod: &Pod,
    code: u16,
    words: &[&str],
) -> CaseResult {
    let answer = cx.admission().dry_run(pod).await?;
    evaluate_refusal(cx, name, answer, code, words)
}

/// As [`expect_refusal`], but to somebody in particular.
///
/// # Errors
///
/// As [`expect_refusal`].
pub async fn expect_refusal_as(
    cx: &Context,
    identity: Identity,
    name: &str,
    pod: &Pod,
    code: u16,
    words: &[&str],
) -> CaseResult {
    let answer = cx.admission().dry_run_as(identity, pod).await?;
    evaluate_refusal(cx, name, answer, code, words)
}

/// Expects that the API server itself refuses a pod, with this status and all these words. Where
/// there are SCCs, the run's would refuse such a pod first, so the administrator asks for one that
/// allows everything.
///
/// # Errors
///
/// As [`expect_refusal`].
pub async fn expect_refusal_by_server(
    cx: &Context,
    name: &str,
    pod: &Pod,
    code: u16,
    words: &[&str],
) -> CaseResult {
    let answer = dry_run_past_scc(cx, pod).await?;
    evaluate_refusal(cx, name, answer, code, words)
}

/// Dry-runs a pod so that no SCC stands in its way.
///
/// # Errors
///
/// As [`harness::engine::Admission::dry_run`].
pub async fn dry_run_past_scc(cx: &Context, pod: &Pod) -> Result<Answer<Pod>, Failure> {
    if cx.sandbox().scc().is_none() {
        return cx.admission().dry_run(pod).await;
    }
    let mut pod = pod.clone();
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(REQUIRED_SCC.to_owned(), "privileged".to_owned());
    cx.admission().dry_run_as(Identity::Administrator, &pod).await
}

/// Reads what a run can do without: who may not read it is blocked.
///
/// # Errors
///
/// It can't be read.
pub async fn readable<T, F, Fut>(what: &str, operation: F) -> Result<T, Failure>
where
    F: FnMut() -> Fut + Send,
    Fut: Future<Output = Result<T, kube::Error>> + Send,
{
    ask(what, operation).await?.map_err(|error| {
        let described = describe(what, &error);
        if is_forbidden(&error) {
            let remedy = "use a kubeconfig whose user may read it";
            Failure::blocked(described.to_string(), remedy)
        } else {
            described.into()
        }
    })
}

/// Expects that an answer is a refusal with this status and all these words.
///
/// # Errors
///
/// It is not.
pub fn evaluate_refusal(
    cx: &Context,
    name: &str,
    answer: Answer<Pod>,
    code: u16,
    words: &[&str],
) -> CaseResult {
    if let Err(refusal) = &answer
        && let Some(blocked) = restricted::refusal("the pod", &refusal.message)
    {
        return Err(blocked);
    }
    let (observed, holds) = match answer {
        Ok(_) => ("accepted".to_owned(), false),
        Err(refusal) => {
            let holds =
                refusal.code == code && words.iter().all(|word| refusal.message.contains(word));
            (format!("{}: {}", refusal.code, refusal.message), holds)
        }
    };
    cx.check(name, &format!("{code} with “{}”", words.join("”, “")), observed, holds)
}

/// Asks the API for something that is not what the case is about, so that not getting it is
/// nobody's failure but the infrastructure's.
///
/// # Errors
///
/// The server refuses, or does not answer in time.
pub async fn request<T, F, Fut>(what: &str, operation: F) -> Result<T, Failure>
where
    F: FnMut() -> Fut + Send,
    Fut: Future<Output = Result<T, kube::Error>> + Send,
{
    Ok(call(what, operation).await?)
}

/// Expects that the server would store a template's pod as it is asked for.
///
/// # Errors
///
/// It refuses the pod, or drops a field that its isolation needs.
pub async fn expect_kept(cx: &Context, template: &PodTemplate, pod: &Pod) -> CaseResult {
    let stored = match cx.admission().dry_run(pod).await? {
        Ok(stored) => stored,
        Err(refusal) => return Err(cx.admission().refused(pod, template.name, &refusal).await),
    };
    for check in truth::of_object(template, &stored) {
        cx.check(check.name, &check.expected, check.observed, check.holds)?;
    }
    Ok(())
}

/// A reading that a case can't do without.
///
/// # Errors
///
/// It could not be read.
pub fn known<T>(reading: &Reading<T>) -> Result<&T, Failure> {
    reading.known().ok_or_else(|| {
        Failure::product(format!(
            "a fact can't be read in the pod: {}",
            show_reading(reading, |_| String::new())
        ))
    })
}

/// Proves, after something was refused, that what it is refused by still works: otherwise a server, a
/// pod or a connection that was lost meanwhile would look like a refusal.
///
/// # Errors
///
/// A loss where the control does not succeed any more.
pub async fn still_works(
    what: &str,
    control: impl Future<Output = CaseResult> + Send,
) -> CaseResult {
    control.await.map_err(|failure| {
        let reported = failure.message();
        Failure::lost(format!("after the refusal {what} does not work any more: {reported}"))
    })
}

/// The probe's path in a pod, followed by arguments.
#[must_use]
pub fn probe_command(arguments: &[&str]) -> Command {
    Command::new([PROBE].iter().chain(arguments).copied())
}

/// Whether two ranges have an outer id in common.
#[must_use]
pub fn overlap(a: IdRange, b: IdRange) -> bool {
    let end = |range: IdRange| u64::from(range.outside) + u64::from(range.count);
    u64::from(a.outside) < end(b) && u64::from(b.outside) < end(a)
}

/// Expects that two pods have ids of their own on the node.
///
/// # Errors
///
/// They have some in common, or it can't be read which they have.
pub fn differ(cx: &Context, first: &PodHandle, second: &PodHandle) -> CaseResult {
    let (one, other) = (known(&first.facts().uid_map)?, known(&second.facts().uid_map)?);
    let observed = format!("{} and {}", show_map(one), show_map(other));
    let holds = !one.iter().any(|a| other.iter().any(|b| overlap(*a, *b)));
    cx.check("ranges of the two pods", "disjoint", observed, holds)
}

/// What is wrong with a user's ranges in /etc/subuid or /etc/subgid (subuid(5)). There may be
/// several, which newuidmap(1) takes in order. Each must be inside the pod's map, without id 0 and
/// the user's own, and share no id with another; together they must be long enough for an image's
/// usual ids.
#[must_use]
pub fn subordinate_problem(
    ranges: &SubordinateRanges,
    user: &str,
    own: u32,
    map: &[IdRange],
) -> Option<String> {
    let mine = ranges.ranges.iter().filter(|range| range.owner == user);
    let mut mine: Vec<_> = mine
        .map(|range| (u64::from(range.start), u64::from(range.start) + u64::from(range.count)))
        .collect();
    mine.sort_unstable();
    let is_covered = |&(first, end): &(u64, u64)| {
        map.iter().any(|map| {
            u64::from(map.inside) <= first && end <= u64::from(map.inside) + u64::from(map.count)
        })
    };
    let is_taken = |(first, end): &(u64, u64)| *first == 0 || (*first..*end).contains(&own.into());
    if mine.is_empty() {
        Some(format!("no range of user `{user}`"))
    } else if !mine.iter().all(is_covered) {
        Some("not inside the pod's map, so newuidmap is refused".to_owned())
    } else if mine.iter().any(is_taken) {
        Some("it holds id 0 or the user's own id".to_owned())
    } else if mine.windows(2).any(|pair| pair[1].0 < pair[0].1) {
        Some("two ranges overlap".to_owned())
    } else if mine.iter().map(|(first, end)| end - first).sum::<u64>() < 1000 {
        Some("too short: fewer than 1000 ids".to_owned())
    } else {
        None
    }
}

/// The map that podman must make for a user: its own id to 0, then its subordinate ids.
#[must_use]
pub fn inner_map(ranges: &SubordinateRanges, user: &str, own: u32) -> Vec<IdRange> {
    let mut map = vec![IdRange { inside: 0, outside: own, count: 1 }];
    let mut inside = 1;
    for range in ranges.ranges.iter().filter(|range| range.owner == user) {
        map.push(IdRange { inside, outside: range.start, count: range.count });
        inside += range.count;
    }
    map
}

/// Where the ids of an inner map lie outside the outer one; none where the outer map does not
/// cover one of them.
///
/// ```
/// use probe::IdRange;
/// use suites::steps::compose;
///
/// let pod = [IdRange { inside: 0, outside: 131_072, count: 65_536 }];
/// let container = [IdRange { inside: 0, outside: 1000, count: 1 }];
///
/// let on_node = compose(&container, &pod).expect("ids of the pod");
/// assert_eq!(on_node, [IdRange { inside: 0, outside: 132_072, count: 1 }]);
/// ```
#[must_use]
pub fn compose(inner: &[IdRange], outer: &[IdRange]) -> Option<Vec<IdRange>> {
    inner
        .iter()
        .map(|range| {
            let last = range.outside.checked_add(range.count - 1)?;
            let through = outer.iter().find(|map| {
                map.to_outside(range.outside).is_some() && map.to_outside(last).is_some()
            })?;
            Some(IdRange { outside: through.to_outside(range.outside)?, ..*range })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use probe::parse_subordinate_ranges;

    use super::*;

    fn range(inside: u32, outside: u32, count: u32) -> IdRange {
        IdRange { inside, outside, count }
    }

    const POD: [IdRange; 1] = [IdRange { inside: 0, outside: 131_072, count: 65_536 }];

    fn problem(text: &str) -> Option<String> {
        subordinate_problem(&parse_subordinate_ranges(text), "user", 1000, &POD)
    }

    #[test]
    fn the_pattern_of_workspace_images_is_good() {
        assert_eq!(problem("user:1001:64535\n"), None);
        assert_eq!(problem("other:1:999\nuser:1001:64535\n"), None);
        // As quay.io/podman/stable has them: below and above the user's own id.
        assert_eq!(problem("user:1:999\nuser:1001:64535\n"), None);
        assert_eq!(problem("user:2000:600\nuser:1001:600\n"), None, "in any order");
    }

    #[test]
    fn each_broken_pattern_is_named() {
        let reported = |text: &str| problem(text).unwrap_or_default();
        assert!(reported("user:10000:65536\n").contains("not inside the pod's map"));
        assert!(reported("user:1000:64536\n").contains("own id"));
        assert!(reported("user:0:999\n").contains("id 0"));
        assert!(reported("user:1001:10\n").contains("too short"));
        assert!(reported("").contains("no range of user `user`"));
        assert!(reported("user:1001:2000\nuser:3000:2000\n").contains("overlap"));
        assert!(reported("user:1:999\nuser:1001:65535\n").contains("not inside the pod's map"));
        assert!(reported("user:1:1000\nuser:1001:64535\n").contains("own id"));
        assert!(reported("user:1:499\nuser:1001:499\n").contains("too short"));
    }

    #[test]
    fn ranges_overlap_only_where_they_share_an_id() {
        assert!(!overlap(range(0, 65_536, 65_536), range(0, 131_072, 65_536)));
        assert!(overlap(range(0, 65_536, 65_537), range(0, 131_072, 65_536)));
        assert!(overlap(range(0, 0, u32::MAX), range(0, 131_072, 65_536)));
    }

    #[tokio::test]
    async fn a_control_that_fails_after_a_refusal_is_a_loss() {
        for failure in [
            Failure::product("expected reached, observed nothing"),
            Failure::timeout("`get`", Duration::from_secs(1)),
            Failure::lost("the node was lost"),
        ] {
            let lost = still_works("the server", async { Err(failure) }).await;
            let failure = lost.expect_err("the control failed");
            assert!(matches!(failure, Failure::Lost { .. }), "{failure:?}");
            assert!(failure.message().contains("the server does not work"), "{failure:?}");
        }
        assert_eq!(still_works("the server", async { Ok(()) }).await, Ok(()));
    }

    #[test]
    fn the_inner_map_is_the_user_and_its_subordinate_ids() {
        let ranges = parse_subordinate_ranges("user:1001:64535\n");
        assert_eq!(inner_map(&ranges, "user", 1000), [range(0, 1000, 1), range(1, 1001, 64_535)]);
    }

    #[test]
    fn composed_maps_end_outside_the_pod() {
        let inner = [range(0, 1000, 1), range(1, 1001, 64_535)];
        assert_eq!(
            compose(&inner, &POD),
            Some(vec![range(0, 132_072, 1), range(1, 132_073, 64_535)])
        );
        assert_eq!(compose(&[range(0, 65_535, 2)], &POD), None, "not covered");
    }
}
