//! POD-SYS: what podman's own developers test, where the workspace image has their tests.

use std::{collections::BTreeSet, time::Duration};

use harness::{
    engine::{Case, CaseKind, Context, PodHandle},
    verdict::{CaseResult, Failure, Level},
    workload::Command,
};

use crate::{
    fixtures::NESTED_POD,
    suite::{NESTED, podman::need_program},
    tap::{Results, Test, TestResult},
};

/// The files.
const FILES: [&str; 9] = [
    "001-basic.bats",
    "005-info.bats",
    "020-tag.bats",
    "045-start.bats",
    "050-stop.bats",
    "055-rm.bats",
    "110-history.bats",
    "140-diff.bats",
    "300-cli-parsing.bats",
];

/// What the name of a test in them must match, as a regular expression of bash. The others need a
/// registry, systemd, control groups or more of the image than its programs.
const FILTER: &str = "version emits|podman info|podman --root PATH|podman (tag|untag)|start --all|\
                      stop - basic|stop --(all|ignore)|podman rm$|rm - running|from storage|\
                      rm --depend|rm -f|rm --force bogus|history - (custom|json)|podman diff|\
                      quoted args|flag error|env with glob|label-file";

/// How long all of them may take.
const DEADLINE: Duration = Duration::from_secs(600);

/// How long one test may take, in seconds.
const TEST_DEADLINE: &str = "30";

inventory::submit!(Case {
    id: "POD-SYS",
    suite: "upstream",
    name: "passes_podmans_own_tests",
    title: "Podman's own system tests that need neither a registry nor systemd pass in the pod",
    why: "Podman's developers test much more of podman than nestcheck does. If the workspace \
          image contains their tests, this case runs those that need neither a registry nor \
          systemd in a pod. Each test is a check of this case, so you see a regression of podman \
          before a developer does. If podman skips at least as many tests as it runs, the case \
          is blocked and reports the reasons.",
    fix: "Run the failed test alone in the pod: `bats --filter NAME FILE` in the directory of the \
          tests. If the case is blocked, install `podman-tests` and `bats`, or copy \
          `test/system` from podman's source into the image and name the directory in \
          PODMAN_SYSTEM_TESTS.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    deadline: DEADLINE,
    kind: CaseKind::Live(|cx| Box::pin(passes_podmans_own_tests(cx))),
    ..Case::DEFAULT
});

async fn passes_podmans_own_tests(cx: Context) -> CaseResult {
    let shared = cx.pod(&NESTED_POD).await?;
    let directory = directory_of_tests(&shared).await?;
    need_program(&shared, "bats", "install bats").await?;
    // A pod of its own: the tests remove every container and every image that they find.
    let mut pod = cx.manifest(&NESTED_POD)?;
    pod.metadata.name = Some("pod-sys".to_owned());
    let workspace = cx.provision_pod(&NESTED_POD, &pod).await?;
    make_test_image(&workspace).await?;
    let results = run_tests(&workspace, &directory).await?;
    let mut failed = Vec::new();
    for test in &results.tests {
        let (observed, holds) = observed(test);
        // All are recorded; whether one failed is checked at the end.
        let _ = cx.check(&test.name, "ok", observed, holds);
        failed.extend((!holds).then_some(test.name.as_str()));
    }
    let planned = results.planned.map_or_else(|| "no plan".to_owned(), |count| count.to_string());
    let seen = format!("{} of {planned}", results.tests.len());
    cx.check("tests that came to an end", "all of the plan", seen, results.is_complete())?;
    cx.check("tests that failed", "none", failed.join("; "), failed.is_empty())?;
    match too_few(&results.tests) {
        Some(reason) => Err(Failure::blocked(
            reason,
            "give the pod, or its image, what the tests say that they lack",
        )),
        None => Ok(()),
    }
}

/// Why too few of the tests ran to say anything; none where more ran than were left out.
fn too_few(tests: &[Test]) -> Option<String> {
    let reasons: Vec<_> = tests
        .iter()
        .filter_map(|test| match &test.result {
            TestResult::Skipped(reason) => Some(reason.as_str()),
            _ => None,
        })
        .collect();
    let (ran, left_out) = (tests.len() - reasons.len(), reasons.len());
    let reasons: BTreeSet<_> = reasons.into_iter().collect();
    let reasons: Vec<_> = reasons.into_iter().collect();
    (ran <= left_out)
        .then(|| format!("{ran} tests ran, and {left_out} were skipped: {}", reasons.join("; ")))
}

/// Where the image has podman's tests.
async fn directory_of_tests(workspace: &PodHandle) -> Result<String, Failure> {
    let script = "
        directory=${PODMAN_SYSTEM_TESTS:-/usr/share/podman/test/system}
        echo \"$directory\"
        test -e \"$directory/helpers.bash\"
    ";
    let look = Command::shell("look for podman's tests", script, [""; 0]);
    let output = workspace.run(&look).await?;
    let directory = output.text();
    if output.exit_code == 0 {
        return Ok(directory);
    }
    Err(Failure::blocked(
        format!("the workspace image has no tests of podman's own in `{directory}`"),
        "install podman-tests and bats (Fedora, RHEL); or put test/system of podman's source, of the \
         version that is installed, into the image and name the directory in its environment, in \
         PODMAN_SYSTEM_TESTS",
    ))
}

/// The image that the tests use, by the variables that they know it by.
const TEST_IMAGE: [&str; 4] = [
    "PODMAN_TEST_IMAGE_REGISTRY=localhost",
    "PODMAN_TEST_IMAGE_USER=nestcheck",
    "PODMAN_TEST_IMAGE_NAME=testimage",
    "PODMAN_TEST_IMAGE_TAG=1",
];

/// Programs that the tests call in containers.
const PROGRAMS: &str = "sh cat chmod chown cp date dd dirname env expr false find grep head \
                        hostname id ln ls md5sum mkdir mv nproc ps readlink rm sed seq sleep sort \
                        stat tail tee touch tr tty uname wc echo pwd test true";

/// Builds an image that stands in for the one in podman's registry, of the workspace's programs.
async fn make_test_image(workspace: &PodHandle) -> Result<(), Failure> {
    let script = "
        context=$(mktemp -d)
        trap 'rm -rf \"$context\"' EXIT
        cp -L \"$1/Containerfile\" \"$context\"
        shift
        sh /nestcheck/images/shell/make-root.sh \"$context/root\" \"$@\"
        mkdir -p \"$context/root/home/podman\"
        touch \"$context/root/etc/services\"
        echo nestcheck > \"$context/root/home/podman/testimage-id\"
        podman build --quiet --tag localhost/nestcheck/testimage:1 \"$context\"
    ";
    let directory = crate::fixtures::context("images/shell");
    let arguments = [directory.as_str()].into_iter().chain(PROGRAMS.split(' '));
    let build = Command::shell("build the image for podman's tests", script, arguments);
    workspace.output(&build).await.map(drop)
}

/// Runs the chosen tests, those of them that this version of podman has.
async fn run_tests(workspace: &PodHandle, directory: &str) -> Result<Results, Failure> {
    let script = "
        export XDG_RUNTIME_DIR=$(mktemp -d)
        cd \"$1\"
        filter=$2
        shift 2
        for file; do
            shift
            if [ -e \"$file\" ]; then set -- \"$@\" \"$file\"; fi
        done
        bats --tap --filter \"$filter\" \"$@\" || test $? = 1
    ";
    let timeout = format!("BATS_TEST_TIMEOUT={TEST_DEADLINE}");
    let variables = ["env", timeout.as_str()].into_iter().chain(TEST_IMAGE);
    let shell = ["sh", "-euc", script, "bats", directory, FILTER];
    let command = Command::new(variables.chain(shell).chain(FILES)).within(DEADLINE);
    Ok(Results::parse(&workspace.output(&command).await?))
}

/// What a test came to, in words, and whether that is all right.
fn observed(test: &Test) -> (String, bool) {
    match &test.result {
        TestResult::Passed => ("ok".to_owned(), true),
        TestResult::Skipped(reason) => (format!("left out: {reason}"), true),
        TestResult::Failed(said) => (format!("not ok: {said}"), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_test_that_ran_among_many_that_did_not_is_no_pass() {
        let text = "1..3\nok 1 a\nok 2 b # skip no network\nok 3 c # skip no network\n";
        let reason = too_few(&Results::parse(text).tests).unwrap_or_default();
        assert_eq!(reason, "1 tests ran, and 2 were skipped: no network");
        assert!(too_few(&[]).is_some(), "none at all");
        let text = "1..3\nok 1 a\nok 2 b\nok 3 c # skip no network\n";
        assert_eq!(too_few(&Results::parse(text).tests), None);
    }
}
