use std::collections::BTreeSet;

use super::*;
use crate::verdicts::NAMES;

/// Files of a test, in a directory that ends with it.
struct Files(PathBuf);

impl Files {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let directory = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory");
        for (file, text) in files {
            fs::write(directory.join(format!("{file}.yaml")), text).expect("a writable directory");
        }
        Self(directory)
    }

    fn read(&self, environment: &str) -> Result<Expectations> {
        Expectations::read_from(&self.0, environment, &suites::cases())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const START: &str = "profile: kubernetes\ndefault: pass\n";

/// The message and the hint of the error about a file with this text.
fn refused(name: &str, text: &str) -> String {
    let files = Files::new(name, &[("bad", text)]);
    let error = files.read("bad").expect_err("an error");
    let message = error.to_string();
    assert!(message.contains("`bad.yaml`"), "{message}");
    format!("{message}; {}", error.hint().expect("a hint"))
}

#[track_caller]
fn refuses(name: &str, text: &str, words: &[&str]) {
    let refused = refused(name, text);
    for word in words {
        assert!(refused.contains(word), "`{word}` is not in `{refused}`");
    }
}

/// The environments that have a file.
fn environments() -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory()).expect("the directory of the files") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            names.push(path.file_stem().expect("a name").to_string_lossy().into_owned());
        }
    }
    names.sort();
    names
}

#[test]
fn every_file_is_valid_and_has_a_row_in_the_readme() {
    let cases = suites::cases();
    let readme = fs::read_to_string(directory().join("README.md")).expect("the README");
    let rows: BTreeSet<_> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name))
        .collect();

    let names = environments();

    assert!(rows.iter().copied().eq(names.iter().map(String::as_str)), "{rows:?}, {names:?}");
    for name in names {
        let expectations = Expectations::read(&name, &cases);
        expectations.unwrap_or_else(|error| panic!("{error}; {:?}", error.hint()));
    }
}

#[test]
fn the_names_are_those_of_verdicts() {
    let text = String::new;
    let verdicts = [
        Verdict::Pass,
        Verdict::fail(text(), None),
        Verdict::blocked(text(), text()),
        Verdict::known_issue(harness::verdict::SignatureId::F28, text()),
        Verdict::NotApplicable { reason: text() },
    ];
    assert_eq!(verdicts.map(|verdict| verdict.name()), NAMES);
}

#[test]
fn a_file_differs_from_its_base_from_top_to_bottom() {
    let base = "profile: kubernetes\ndefault: pass\ncases:\n  \
                POD-01: {verdict: fail, reason: no}\n  POD-03: {verdict: fail, reason: no}\n";
    let other = "base: base\ngroups:\n- {suite: podman, verdict: blocked, reason: no}\n\
                 - {suite: podman, level: extended, verdict: fail, reason: no}\n\
                 - {kind: static, verdict: blocked or pass, reason: no}\n\
                 cases:\n  POD-03: {verdict: pass, reason: yes}\n";
    let files = Files::new("from-its-base", &[("base", base), ("other", other)]);

    let base = files.read("base").expect("a good file");
    let other = files.read("other").expect("a good file");

    assert_eq!(base.with("fail"), ["POD-01", "POD-03"]);
    assert_eq!(base.red(), ["POD-01", "POD-03"]);
    let of = |id| other.of(id).expect(id).to_string();
    assert_eq!(of("POD-01"), "blocked");
    assert_eq!(of("POD-02"), "fail", "it is an extended one");
    assert_eq!(of("POD-03"), "pass");
    assert_eq!(of("PRE-01"), "blocked or pass");
    assert_eq!(of("ID-01"), "pass");
    assert_eq!(other.of("SCC-03"), None, "it is about OpenShift");
    assert!(!other.red().contains(&"PRE-01"), "it may pass");
}

#[test]
fn each_difference_is_a_deviation() {
    let files = Files::new(
        "deviations",
        &[("all", &format!("{START}cases:\n  POD-01: {{verdict: fail, reason: no}}\n"))],
    );
    let expectations = files.read("all").expect("a good file");
    let failed = Verdict::fail("no storage", None);
    let mut observed: BTreeMap<&str, Verdict> =
        expectations.with("pass").into_iter().map(|id| (id, Verdict::Pass)).collect();
    observed.insert("POD-01", failed.clone());
    let deviations = |observed: &BTreeMap<&'static str, Verdict>| {
        expectations.deviations(observed.iter().map(|(id, verdict)| (*id, verdict)))
    };
    assert_eq!(deviations(&observed), [""; 0]);

    observed.insert("POD-01", Verdict::Pass);
    observed.insert("POD-03", failed);
    observed.insert("SCC-03", Verdict::Pass);
    observed.remove("ID-01");

    assert_eq!(
        deviations(&observed),
        [
            "all: ID-01: expected pass, it did not run",
            "all: POD-01: expected fail, observed pass: ",
            "all: POD-03: expected pass, observed fail: no storage",
            "all: SCC-03: the profile does not have it, observed pass",
        ]
    );
}

#[test]
fn an_unknown_case_is_an_error() {
    let text = format!("{START}cases:\n  POD-99: {{verdict: fail, reason: no}}\n");
    refuses("unknown-case", &text, &["case `POD-99`: there is no such case", "`nestcheck list`"]);
}

#[test]
fn a_case_that_the_profile_does_not_have_is_an_error() {
    let text = format!("{START}cases:\n  SCC-03: {{verdict: fail, reason: no}}\n");
    refuses(
        "other-profile",
        &text,
        &["case `SCC-03`: profile `kubernetes` does not have", "remove"],
    );
}

#[test]
fn an_entry_that_changes_nothing_is_an_error() {
    let text = format!("{START}cases:\n  POD-01: {{verdict: pass, reason: no}}\n");
    refuses("same-verdict", &text, &["case `POD-01`: it is pass without this entry", "remove"]);
    let text = format!("{START}groups:\n- {{suite: podmann, verdict: fail, reason: no}}\n");
    refuses("empty-group", &text, &["group 1 changes the verdict of no case", "remove"]);
}

#[test]
fn a_duplicate_is_an_error() {
    let entry = "  POD-01: {verdict: fail, reason: no}\n";
    refuses("duplicate-case", &format!("{START}cases:\n{entry}{entry}"), &["POD-01", "duplicate"]);
    refuses("duplicate-field", &format!("{START}default: fail\n"), &["default", "duplicate"]);
    let text = format!("{START}cases:\n  POD-01: {{verdict: fail or fail, reason: no}}\n");
    refuses("duplicate-verdict", &text, &["`fail or fail` has `fail` twice", "remove"]);
}

#[test]
fn an_unknown_field_or_verdict_is_an_error() {
    refuses("unknown-field", &format!("{START}defaults: pass\n"), &["defaults", "README.md"]);
    let entry = |entry: &str| format!("{START}cases:\n  POD-01: {entry}\n");
    refuses("entry-field", &entry("{verdict: fail, raeson: no}"), &["raeson", "POD-01"]);
    refuses("group-field", &format!("{START}groups:\n- {{suit: podman}}\n"), &["suit"]);
    let words = &["unknown verdict `failed`", "POD-01", "not-applicable"];
    refuses("unknown-verdict", &entry("{verdict: failed, reason: no}"), words);
}

#[test]
fn an_entry_needs_a_reason() {
    let text = format!("{START}cases:\n  POD-01: {{verdict: fail, reason: ' '}}\n");
    refuses("empty-reason", &text, &["case `POD-01` has an empty `reason`", "say why"]);
    let text = format!("{START}cases:\n  POD-01: {{verdict: fail}}\n");
    refuses("no-reason", &text, &["missing field `reason`"]);
}

#[test]
fn a_file_begins_with_one_base_that_exists() {
    let words = &["where its verdicts begin", "either `base`, or `profile` and `default`"];
    refuses("nothing", "profile: kubernetes\n", words);
    refuses("both", &format!("{START}base: kubernetes\n"), words);
    refuses("profile", "profile: plan9\ndefault: pass\n", &["`plan9`", "`kubernetes`"]);
    refuses("missing-base", "base: none\n", &["cannot read `none.yaml`, the base of"]);
    refuses("circle", "base: bad\n", &["is based on itself", "change `base`"]);
}
