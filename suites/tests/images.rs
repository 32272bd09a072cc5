//! The command against images that are wrong in one way, whose recipes are in
//! `fixtures/images/broken`: exactly the cases that are about it are red, and say what is wrong. Against
//! images that are right in another way (`fixtures/images/variants`) all of them are green. The images
//! are made without a registry, on a cluster of the test's own.
//!
//! Images that lack programs (`fixtures/images/lacking`) have one cause, which lists all of them.

#![expect(clippy::expect_used, reason = "a test ends where something is not as it must be")]

#[path = "remedies/images.rs"]
mod remedies;

use std::{collections::BTreeSet, fs, path::PathBuf};

use harness::verdict::{Outcome, Place};
use test_support::{LocalCluster, Report, TestDir};

/// What a broken image must be found out by.
struct Broken {
    /// The recipe's name.
    recipe: &'static str,
    /// The case that is about it, and words that its message must have.
    reported: (&'static str, &'static str),
    /// The cases that are red because of that.
    also_affected: &'static [&'static str],
}

/// podman refuses to make a user namespace of ids that it may not map.
const NO_NAMESPACE: &[&str] = &["ID-07"];

const BROKEN: [Broken; 7] = [
    Broken {
        recipe: "another-name",
        reported: ("ID-05", "no range of user `user`"),
        also_affected: &[],
    },
    Broken {
        recipe: "no-capabilities",
        reported: ("ID-06", "no file capabilities"),
        also_affected: NO_NAMESPACE,
    },
    Broken {
        recipe: "no-files",
        reported: ("ID-05", "no range of user `user`"),
        also_affected: &[],
    },
    Broken {
        recipe: "no-ranges",
        reported: ("ID-05", "no range of user `user`"),
        also_affected: &[],
    },
    Broken {
        recipe: "old-pattern",
        reported: (
            "ID-05",
            "user:100000:65536 (not inside the pod's map, so newuidmap is refused)",
        ),
        also_affected: NO_NAMESPACE,
    },
    Broken {
        recipe: "own-id",
        reported: ("ID-05", "user:1000:64536 (it holds id 0 or the user's own id)"),
        also_affected: NO_NAMESPACE,
    },
    Broken {
        recipe: "setuid-helpers",
        reported: ("ID-06", "`podman unshare` exits with 125"),
        also_affected: NO_NAMESPACE,
    },
];

/// The image of the cluster, which is right.
const GOOD: &str = "localhost/workspace:1";

/// The cases about an image's ids.
const CASES: [&str; 3] = ["ID-05", "ID-06", "ID-07"];

/// The cases that depend on how an image sets its user up, and a sample of those that work with it.
const SET_UP: [&str; 8] =
    ["identity", "isolation", "root", "POD-01", "POD-02", "POD-03", "POD-06", "CMP-02"];

/// What an image lacks, and what comes of it.
struct Lacking {
    /// The recipe's name.
    recipe: &'static str,
    /// The programs that the cause lists.
    wrong: &'static str,
    /// The cases that are blocked; the others pass, but for [`Lacking::fails`].
    blocked: &'static [&'static str],
    /// The cases that are about it.
    fails: &'static [&'static str],
}

/// The cases that are run in images that lack programs.
const NEEDING: [&str; 5] = ["CMP-02", "ID-05", "POD-01", "POD-03", "POD-NET-01A"];

const LACKING: [Lacking; 3] = [
    Lacking {
        recipe: "no-runtime",
        wrong: "the image lacks `conmon` and `crun` or `runc`",
        blocked: &["CMP-02", "POD-03", "POD-NET-01A"],
        fails: &["POD-01"],
    },
    Lacking {
        recipe: "no-pasta",
        wrong: "the image lacks `pasta`",
        blocked: &["CMP-02", "POD-NET-01A"],
        fails: &[],
    },
    Lacking {
        recipe: "no-nft",
        wrong: "the image lacks `nft` or `iptables`",
        blocked: &["CMP-02"],
        fails: &[],
    },
];

/// Expects that an image's one cause is that it lacks programs.
fn is_found_lacking(cluster: &LocalCluster, lacking: &Lacking, image: &str) {
    let (finished, report) = cluster.run(&[&["--image", image], &NEEDING[..]].concat());
    finished.exits(if lacking.fails.is_empty() { 3 } else { 1 });
    assert_eq!(report.ids("blocked"), lacking.blocked, "{image}");
    assert_eq!(report.ids("fail"), lacking.fails, "{image}");
    assert_eq!(report.causes().len(), 1, "{image}: {:?}", report.causes());
    let cause = report.causes().first().expect("a cause");
    assert_eq!((cause.id.as_str(), cause.place), ("F43", Place::Image), "{image}");
    assert_eq!(cause.wrong, lacking.wrong, "{image}");
    assert!(cause.fix.as_ref().is_some_and(|fix| fix.contains("apt-get install")), "{cause:?}");
    finished.says(&["CAUSE the image lacks", "(F43, image)"]);
}

/// Expects of an image without fuse-overlayfs that a pod without a volume for podman's storage has that
/// one cause.
fn needs_fuse_overlayfs(cluster: &LocalCluster) {
    let image = cluster.derive(&recipes_of("lacking", &["no-fuse-overlayfs"])).remove(0);
    let (finished, report) = cluster.run(&["--image", &image, "POD-01A", "POD-19"]);
    finished.exits(1);
    assert_eq!((report.ids("pass"), report.ids("fail")), (vec!["POD-01A"], vec!["POD-19"]));
    let cause = report.causes().first().expect("a cause");
    assert_eq!(cause.id, "F31", "{cause:?}");
    assert!(cause.fix.as_ref().is_some_and(|fix| fix.contains("fuse-overlayfs")), "{cause:?}");
}

/// Expects that an image which is nowhere is one cause, and that little is written about it.
fn is_found_missing(cluster: &LocalCluster) {
    let (finished, report) = cluster.run(&["--image", "localhost/nowhere:1"]);
    finished.exits(4);
    let cause = report.causes().first().expect("a cause");
    assert_eq!((cause.id.as_str(), cause.place), ("F55", Place::Image));
    finished.says(&["CAUSE the node can't pull the image: `", "`--image`"]);
    let lines = finished.stderr.lines().count();
    assert!(lines <= 25, "{lines} lines: {finished}");
}

/// A person accepts the failure of a broken image until it is fixed: then the run says that the entry can
/// go, and the comparison that the image got better.
fn is_accepted_until_it_is_fixed(cluster: &LocalCluster, broken: &str) {
    let dir = TestDir::new();
    let entry = "- {case: ID-05, message: no range of user, reason: https://issues.example/7}\n";
    let known = dir.write("known.yaml", entry);
    let run = |image: &str, directory: &str, more: &[&str]| {
        let fixed = ["run", "--kubeconfig", cluster.kubeconfig(), "--image", image];
        let options = ["--report-dir", directory];
        dir.nestcheck(fixed.iter().chain(&options).chain(more))
    };
    let cases = [&CASES[..], &["--expect", &known]].concat();
    run(broken, "broken", &cases).exits(3).says(&["https://issues.example/7"]);
    let accepted = Report::read(&dir.path("broken"));
    assert_eq!((accepted.ids("known-issue"), accepted.ids("fail")), (vec!["ID-05"], vec![]));

    let strict = [&cases[..], &["--strict"]].concat();
    run(GOOD, "good", &strict).exits(1).says(&["stale: ID-05 passes"]);
    assert_eq!(Report::read(&dir.path("good")).ids("pass"), CASES);
    let compared = dir.nestcheck(["compare", "broken", "good"]);
    compared.exits(0);
    assert!(compared.stdout.contains("ID-05"), "{compared}");
    dir.nestcheck(["compare", "good", "broken"]).exits(1);

    // Without the entry it failed; only what failed is run again.
    run(broken, "failed", &CASES).exits(1);
    run(GOOD, "again", &["--rerun", "failed"]).exits(0);
    assert_eq!(Report::read(&dir.path("again")).ids("pass"), ["ID-05"]);
}

fn recipes_of(directory: &str, names: &[&str]) -> Vec<PathBuf> {
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/images");
    names.iter().map(|name| PathBuf::from(format!("{images}/{directory}/{name}.sh"))).collect()
}

fn recipes() -> Vec<PathBuf> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/images/broken");
    let entries = fs::read_dir(directory).expect("there are recipes of broken images");
    let mut recipes: Vec<_> =
        entries.map(|entry| entry.expect("the directory can be read").path()).collect();
    recipes.sort();
    recipes
}

fn run(cluster: &LocalCluster, image: &str, code: i32) -> Report {
    run_with(cluster, image, &CASES, code)
}

fn run_with(cluster: &LocalCluster, image: &str, more: &[&str], code: i32) -> Report {
    let (finished, report) = cluster.run(&[&["--image", image], more].concat());
    finished.exits(code);
    report
}

#[test]
fn every_recipe_of_a_broken_image_is_tried() {
    let names: BTreeSet<_> = recipes()
        .iter()
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    let tried: BTreeSet<_> = BROKEN.iter().map(|broken| broken.recipe.to_owned()).collect();
    assert_eq!(names, tried);
}

#[test]
#[ignore = "makes its own cluster: run with --ignored --test-threads=1"]
fn each_broken_image_is_reported_by_its_case_and_the_good_one_is_green() {
    let cluster = LocalCluster::up("images", &[]);
    let images = cluster.derive(&recipes());
    let expected: Vec<_> =
        BROKEN.iter().map(|broken| format!("localhost/{}:1", broken.recipe)).collect();
    assert_eq!(images, expected);
    for (broken, image) in BROKEN.iter().zip(&images) {
        let report = run(&cluster, image, 1);
        assert_eq!(report.outcome(), Outcome::NotConformant, "{image}");
        let (id, words) = broken.reported;
        let red: BTreeSet<_> = report.ids("fail").into_iter().collect();
        let about: BTreeSet<_> = broken.also_affected.iter().copied().chain([id]).collect();
        assert_eq!(red, about, "{image}");
        let message = report.verdict(id).message().unwrap_or_default();
        assert!(message.contains(words), "{image}: {message}");
    }
    is_accepted_until_it_is_fixed(&cluster, &images[0]);
    let report = run(&cluster, GOOD, 0);
    assert_eq!(report.ids("pass"), CASES);
    assert_eq!(report.causes(), []);
    let lacking = LACKING.each_ref().map(|lacking| lacking.recipe);
    let images = cluster.derive(&recipes_of("lacking", &lacking));
    for (lacking, image) in LACKING.iter().zip(&images) {
        is_found_lacking(&cluster, lacking, image);
    }
    needs_fuse_overlayfs(&cluster);
    remedies::a_missing_runtime_class_is_repaired(&cluster);
    is_found_missing(&cluster);
    cluster.is_clean();
}

#[test]
#[ignore = "makes its own cluster: run with --ignored --test-threads=1"]
fn every_case_passes_in_an_image_that_its_entrypoint_sets_up() {
    let cluster = LocalCluster::up("whole-entrypoint", &[]);
    let image = cluster.derive(&recipes_of("variants", &["udi-like"])).remove(0);
    let report = run_with(&cluster, &image, &[], 0);
    assert_eq!(report.outcome(), Outcome::Conformant);
    assert!(report.ids("pass").contains(&"POD-02"), "the entrypoint is there");
    cluster.is_clean();
}

#[test]
#[ignore = "makes its own cluster: run with --ignored --test-threads=1"]
fn an_image_that_its_entrypoint_sets_up_is_conformant() {
    let cluster = LocalCluster::up("entrypoint", &[]);
    let images = cluster.derive(&recipes_of("variants", &["udi-like", "udi-before-host-users"]));
    let [image, before] = &images[..] else { panic!("{images:?}") };
    let report = run_with(&cluster, image, &SET_UP, 0);
    assert_eq!(report.outcome(), Outcome::Conformant);
    assert!(report.ids("pass").contains(&"POD-02"), "the entrypoint is there");
    // Past its entrypoint the image has no name and no ids for the user.
    let skipped = [&CASES[..], &["--entrypoint", "skip"]].concat();
    let report = run_with(&cluster, image, &skipped, 1);
    assert_eq!(report.ids("fail"), ["ID-05"]);
    // An entrypoint that does not look at HOST_USERS leaves ids that the pod does not have.
    let report = run(&cluster, before, 1);
    assert_eq!(report.ids("fail"), ["ID-05", "ID-07"]);
    let message = report.verdict("ID-05").message().unwrap_or_default();
    assert!(message.contains("10000:65536 (not inside the pod's map"), "{message}");
    cluster.is_clean();
}
