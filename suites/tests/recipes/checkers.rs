//! What the programs of others say about the recipes: kind's own code, a linter for GitHub, and a runner
//! of GitLab's jobs.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};
use test_support::{Finished, Running, TestDir, go_program, npm_program, test_go_module};

use super::systems::{GITHUB, GITLAB, path, read, text, yaml};

#[test]
fn kinds_own_code_reads_the_cluster_and_gives_nodes_the_handler() {
    let said = test_go_module("kind");
    assert_eq!(said.matches("\n--- PASS: ").count(), 3, "{said}");
}

/// The example in the documentation below a heading.
#[track_caller]
fn example(heading: &str) -> String {
    let page = text("docs/how-to/ci.md");
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).expect("the section is there");
    let lines = section.lines().skip_while(|line| !line.starts_with("    "));
    let lines = lines.map_while(|line| line.strip_prefix("    "));
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn run_in(dir: &TestDir, program: &Path, arguments: &[&str]) -> Finished {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(dir.path("")).env("HOME", dir.path(""));
    Running::start(command).finish()
}

/// A repository with these files.
#[track_caller]
fn repository(files: &[(&str, &str)]) -> TestDir {
    let dir = TestDir::new();
    for (name, content) in files {
        dir.write(name, content);
    }
    let git: [&[&str]; 4] = [
        &["init", "--quiet"],
        &["add", "."],
        &["-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "-m", "a"],
        &["remote", "add", "origin", "https://gitlab.example.com/a/b.git"],
    ];
    for arguments in git {
        run_in(&dir, Path::new("git"), arguments).exits(0);
    }
    dir
}

/// What actionlint says about a workflow with these steps, beside the action.
#[track_caller]
fn lint(trigger: &Value, steps: &Value) -> Finished {
    let job = json!({"runs-on": "ubuntu-latest", "steps": steps});
    // JSON is YAML.
    let workflow = json!({"on": trigger, "jobs": {"nestcheck": job}}).to_string();
    let dir =
        repository(&[(".github/workflows/test.yml", &workflow), (GITHUB.file, &text(GITHUB.file))]);
    run_in(&dir, &go_program("github.com/rhysd/actionlint/cmd/actionlint"), &["-no-color"])
}

/// The steps of the documentation, with the action of this repository.
fn documented_steps() -> Value {
    let example = example("GitHub").replace("OWNER/nestcheck/ci/github@COMMIT", "./ci/github");
    harness::base::manifest::parse("docs/how-to/ci.md", &example).expect("it is YAML")
}

#[test]
fn a_linter_of_github_accepts_the_action_as_it_is_documented() {
    let mut steps = documented_steps();
    steps[0]["id"] = json!("test");
    let later =
        json!({"run": "exit \"$CODE\"", "env": {"CODE": "${{ steps.test.outputs.exit-code }}"}});
    steps.as_array_mut().expect("a list").push(later);
    lint(&json!("push"), &steps).exits(0);
    // It looks at the inputs and outputs.
    steps[0]["with"]["imag"] = json!("x");
    steps[1]["env"]["CODE"] = json!("${{ steps.test.outputs.exitcode }}");
    let finished = lint(&json!("push"), &steps);
    finished.exits(1);
    for word in ["input \"imag\" is not defined", "property \"exitcode\" is not defined"] {
        assert!(finished.stdout.contains(word), "{finished}");
    }
}

#[test]
fn a_linter_of_github_accepts_the_steps_of_the_action() {
    let action = yaml(GITHUB.file);
    let inputs = action["inputs"].as_object().expect("an object").keys();
    let inputs: Value = inputs.map(|name| (name.clone(), json!({"type": "string"}))).collect();
    let called = json!({"workflow_call": {"inputs": inputs}});
    lint(&called, &action["runs"]["steps"]).exits(0);
    // It knows which inputs there are.
    let mut steps = action["runs"]["steps"].clone();
    steps[0]["env"]["IMAGE"] = json!("${{ inputs.imag }}");
    let finished = lint(&called, &steps);
    finished.exits(1);
    assert!(finished.stdout.contains("\"imag\" is not defined"), "{finished}");
}

#[test]
fn a_runner_of_gitlab_passes_warns_and_fails_as_it_is_documented() {
    let mut file: Value =
        harness::base::manifest::parse("docs/how-to/ci.md", &example("GitLab")).expect("YAML");
    let mut job = file["nestcheck"].take();
    // Without an image the runner needs no containers.
    job.as_object_mut().expect("an object").remove("image");
    let stub = path("suites/tests/recipes/stub").canonicalize().expect("it is there");
    let homes = [("green", 0), ("partial", 3), ("failed", 1)].map(|(name, code)| {
        let home = TestDir::new();
        home.write("code", &code.to_string());
        home.write("signal", "none");
        let mut job = job.clone();
        job["variables"]["NESTCHECK"] = json!(stub);
        job["variables"]["HOME"] = json!(home.path(""));
        job["artifacts"] = json!({"paths": [GITLAB.junit]});
        file[name] = job;
        (name, home)
    });
    file.as_object_mut().expect("an object").remove("nestcheck");
    let recipe = Path::new(GITLAB.file).file_name().and_then(|name| name.to_str()).expect("a name");
    let dir = repository(&[(".gitlab-ci.yml", &file.to_string()), (recipe, &text(GITLAB.file))]);
    let runner = npm_program("gitlab", "gitlab-ci-local");

    // One after the other: here they share their directory.
    let finished = run_in(&dir, &runner, &["--concurrency", "1"]);

    // The runner itself ends well where a job fails that `allow_failure` may excuse.
    for line in [" PASS  green", " WARN  partial", " FAIL  failed"] {
        assert!(finished.stdout.contains(line), "`{line}` is not in {finished}");
    }
    for (name, home) in &homes {
        let junit = read(&dir, &format!(".gitlab-ci-local/artifacts/{name}/{}", GITLAB.junit));
        assert!(junit.contains("--dialect gitlab"), "{name}: {junit}{finished}");
        assert_eq!(read(home, "calls").matches("[run]").count(), 1, "{name}: {finished}");
    }
    // The runner compares the file with the schema of GitLab.
    let wrong = text(GITLAB.file).replace("paths:", "path:");
    fs::write(dir.path(recipe), wrong).expect("it can be written");
    let refused = run_in(&dir, &runner, &["--list"]);
    assert_ne!(refused.code, Some(0), "{refused}");
}
