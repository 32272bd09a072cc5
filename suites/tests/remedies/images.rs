//! Broken images that are repaired with exactly what `nestcheck remedy` prints: the lines for the
//! Containerfile are run as the recipe of a new image, after what broke it. A RuntimeClass too, which
//! is applied.

use std::{fs, path::PathBuf, time::Duration};

use test_support::{LocalCluster, Report, TestDir};

use super::{CASES, recipes_of};

/// An image that is broken in one way.
struct Row {
    name: &'static str,
    /// What breaks it: a script, or a recipe of `fixtures/images/broken`.
    script: Option<&'static str>,
    /// The cases that it does not pass, among those that are run.
    red: &'static [&'static str],
    /// The cases that are run.
    cases: &'static [&'static str],
    /// What the remedies are called, a part of each.
    titles: &'static [&'static str],
}

const RANGES: &[&str] = &["ranges of ids"];
const CAPABILITIES: &[&str] = &["file capabilities"];
const PACKAGES: &[&str] = &["Install what the image lacks"];

const fn recipe(
    name: &'static str,
    red: &'static [&'static str],
    titles: &'static [&'static str],
) -> Row {
    Row { name, script: None, red, cases: &CASES, titles }
}

const fn script(
    name: &'static str,
    script: &'static str,
    red: &'static [&'static str],
    cases: &'static [&'static str],
    titles: &'static [&'static str],
) -> Row {
    Row { name, script: Some(script), red, cases, titles }
}

/// One of each kind: ids, capabilities and packages.
const FIRST: [Row; 3] = [
    recipe("old-pattern", &["ID-05", "ID-07"], RANGES),
    recipe("no-capabilities", &["ID-06", "ID-07"], CAPABILITIES),
    script(
        "purged-pasta",
        "dpkg --purge --force-depends passt",
        &["POD-NET-01A"],
        &["POD-01A", "POD-NET-01A"],
        PACKAGES,
    ),
];

const OTHERS: [Row; 11] = [
    recipe("another-name", &["ID-05"], RANGES),
    recipe("no-files", &["ID-05"], RANGES),
    recipe("no-ranges", &["ID-05"], RANGES),
    recipe("own-id", &["ID-05", "ID-07"], RANGES),
    recipe("setuid-helpers", &["ID-06", "ID-07"], CAPABILITIES),
    script(
        "purged-runtime",
        "dpkg --purge --force-depends conmon crun",
        &["POD-01", "POD-03"],
        &["POD-01", "POD-03"],
        PACKAGES,
    ),
    script(
        "purged-nft",
        "dpkg --purge --force-depends nftables; rm -f /usr/sbin/iptables*",
        &["CMP-02"],
        &["CMP-02", "ID-05"],
        PACKAGES,
    ),
    script(
        "purged-helpers",
        "dpkg --purge --force-depends uidmap",
        &["ID-06", "ID-07", "POD-03"],
        &["ID-05", "ID-06", "ID-07", "POD-03"],
        PACKAGES,
    ),
    script(
        "purged-fuse",
        "dpkg --purge --force-depends fuse-overlayfs",
        &["POD-19"],
        &["POD-01A", "POD-19"],
        PACKAGES,
    ),
    script(
        "vfs",
        "sed -i s/overlay/vfs/ /home/user/.config/containers/storage.conf",
        &["POD-01"],
        &["ID-05", "POD-01"],
        &["overlay driver"],
    ),
    script(
        "nameless",
        "sed -i /^user:/d /etc/passwd",
        &["ID-05"],
        &["ID-05", "ID-06"],
        &["a name and a home directory", "ranges of ids"],
    ),
];

impl Row {
    fn breaking(&self) -> String {
        if let Some(script) = self.script {
            return format!("{script}\n");
        }
        let path = recipes_of("broken", &[self.name]).remove(0);
        fs::read_to_string(path).expect("the recipe can be read")
    }
}

/// Lines of a Containerfile as a script: what they run as root.
fn script_of(lines: &str) -> String {
    let run = |line: &str| line.strip_prefix("RUN ").unwrap_or(line).to_owned() + "\n";
    lines.lines().filter(|line| !line.starts_with("USER ")).map(run).collect()
}

/// Makes images of scripts, and returns their names.
fn make(cluster: &LocalCluster, dir: &TestDir, scripts: &[(String, String)]) -> Vec<String> {
    let write = |(name, text): &(String, String)| dir.write(&format!("{name}.sh"), text);
    let recipes: Vec<_> = scripts.iter().map(|it| PathBuf::from(write(it))).collect();
    cluster.derive(&recipes)
}

fn run(cluster: &LocalCluster, dir: &TestDir, image: &str, to: &str, cases: &[&str]) -> Report {
    let fixed = ["run", "--kubeconfig", cluster.kubeconfig(), "--image", image, "--report-dir", to];
    dir.nestcheck(fixed.iter().chain(cases)).exits_as_documented();
    Report::read(&dir.path(to))
}

/// The cases that were to pass and did not.
fn red(report: &Report) -> Vec<&str> {
    let mut red = [report.ids("fail"), report.ids("blocked"), report.ids("error")].concat();
    red.sort_unstable();
    red
}

/// Breaks images, prints what repairs them, does exactly that, and expects that they pass.
fn are_repaired(cluster: &LocalCluster, rows: &[Row]) {
    let dir = TestDir::new();
    let broken: Vec<_> = rows.iter().map(|row| (row.name.to_owned(), row.breaking())).collect();
    let images = make(cluster, &dir, &broken);
    let mut repaired = Vec::new();
    for (row, image) in rows.iter().zip(&images) {
        let report = run(cluster, &dir, image, row.name, row.cases);
        assert_eq!(red(&report), row.red, "{}", row.name);
        let printed = dir.nestcheck(["remedy", row.name]);
        printed.exits(0);
        for title in row.titles {
            assert!(printed.stdout.contains(title), "{}: `{title}` is not in {printed}", row.name);
        }
        let lines = dir.nestcheck(["remedy", row.name, "-o", "containerfile"]);
        lines.exits(0);
        assert!(printed.stdout.contains("Containerfile"), "{printed}");
        let script = row.breaking() + &script_of(&lines.stdout);
        repaired.push((format!("{}-repaired", row.name), script));
    }
    let images = make(cluster, &dir, &repaired);
    for (row, image) in rows.iter().zip(&images) {
        let to = format!("{}-repaired", row.name);
        let report = run(cluster, &dir, image, &to, row.cases);
        assert_eq!(report.ids("pass"), row.cases, "{to}");
        assert_eq!(report.outcome().exit_code(), 0, "{to}");
        let nothing = dir.nestcheck(["remedy", &to]);
        assert_eq!(nothing.stdout, "nothing is unmet, and nothing failed\n", "{nothing}");
    }
}

/// Without the RuntimeClass pods get no devices; the one that is printed gives them.
pub fn a_missing_runtime_class_is_repaired(cluster: &LocalCluster) {
    let dir = TestDir::new();
    let kubeconfig = cluster.kubeconfig();
    cluster.delete("/apis/node.k8s.io/v1/runtimeclasses/nested", Duration::from_secs(10));
    let (finished, report) = cluster.run(&["ISO-04"]);
    finished.exits(3);
    assert_eq!(report.ids("blocked"), ["ISO-04"]);
    let printed = dir.nestcheck(["remedy", "--kubeconfig", kubeconfig, "-o", "yaml"]);
    printed.exits(0);
    cluster.apply(&printed.stdout);
    let (finished, report) = cluster.run(&["ISO-04"]);
    finished.exits(0);
    assert_eq!(report.ids("pass"), ["ISO-04"]);
    let nothing = dir.nestcheck(["remedy", "--kubeconfig", kubeconfig]);
    assert_eq!(nothing.stdout, "nothing is unmet, and nothing failed\n", "{nothing}");
}

/// All other rows.
#[test]
#[ignore = "makes its own cluster: run with --ignored --test-threads=1"]
fn every_broken_image_is_repaired_by_what_is_printed() {
    let cluster = LocalCluster::up("repaired", &[]);
    are_repaired(&cluster, &FIRST);
    are_repaired(&cluster, &OTHERS);
    a_missing_runtime_class_is_repaired(&cluster);
    cluster.is_clean();
}
