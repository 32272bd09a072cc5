//! What a CI system makes of its recipe: the script, its variables, and where it looks afterwards.

use std::{
    collections::BTreeMap, fs, os::unix::process::CommandExt, path::PathBuf, process::Command,
};

use harness::base::manifest;
use serde_json::Value;
use test_support::{Finished, Running, TestDir};

/// What people give a recipe, by the names of the inputs in `ci/github/action.yml`.
pub type Inputs<'a> = [(&'a str, &'a str)];

/// The names of these inputs where a recipe has variables instead.
type Names = [(&'static str, &'static str); 4];

/// A CI system.
pub struct System {
    /// Its name.
    pub name: &'static str,
    /// The file with its recipe.
    pub file: &'static str,
    /// Reads the recipe, as the system does in a directory with these inputs.
    recipe: fn(&TestDir, &Inputs) -> Recipe,
    /// The options with which it starts bash.
    options: &'static [&'static str],
    /// The dialect of JUnit that it reads.
    pub dialect: &'static str,
    /// The directory of the report.
    pub report: &'static str,
    /// The JUnit file.
    pub junit: &'static str,
    /// The summary.
    pub summary: &'static str,
}

/// A recipe that is filled in.
pub struct Recipe {
    /// The text of the script.
    pub script: String,
    variables: BTreeMap<String, String>,
}

const REPORT: &str = "nestcheck-report";
const JUNIT: &str = "nestcheck-report/junit.xml";
const SUMMARY: &str = "nestcheck-report/summary.md";

pub const GITHUB: System = System {
    name: "GitHub",
    file: "ci/github/action.yml",
    recipe: github,
    options: &["--noprofile", "--norc", "-eo", "pipefail"],
    dialect: "jenkins",
    report: REPORT,
    junit: JUNIT,
    summary: "github-summary",
};

pub const GITLAB: System = System {
    name: "GitLab",
    file: "ci/gitlab/nestcheck.gitlab-ci.yml",
    recipe: gitlab,
    options: &["-eo", "pipefail"],
    dialect: "gitlab",
    report: REPORT,
    junit: JUNIT,
    summary: SUMMARY,
};

pub const JENKINS: System = System {
    name: "Jenkins",
    file: "ci/jenkins/Jenkinsfile",
    recipe: jenkins,
    options: &[],
    dialect: "jenkins",
    report: REPORT,
    junit: JUNIT,
    summary: SUMMARY,
};

pub const TEKTON: System = System {
    name: "Tekton",
    file: "ci/tekton/task.yaml",
    recipe: tekton,
    options: &[],
    dialect: "jenkins",
    report: REPORT,
    junit: JUNIT,
    summary: SUMMARY,
};

pub const PROW: System = System {
    name: "Prow",
    file: "ci/prow/nestcheck-ref.yaml",
    recipe: prow,
    options: &[],
    dialect: "openshift",
    report: "artifacts/nestcheck",
    junit: "artifacts/junit_nestcheck.xml",
    summary: "artifacts/nestcheck-summary.md",
};

pub const ALL: [System; 5] = [GITHUB, GITLAB, JENKINS, TEKTON, PROW];

impl System {
    /// The script, as the system reads it without inputs.
    pub fn script(&self) -> String {
        (self.recipe)(&TestDir::new(), &[]).script
    }

    /// Runs the recipe in a directory, with programs of its directory `bin` before those of the
    /// machine, and with further variables.
    pub fn run(&self, dir: &TestDir, inputs: &Inputs, variables: &[(&str, &str)]) -> Finished {
        let recipe = (self.recipe)(dir, inputs);
        let script = dir.write("script", &recipe.script);
        let mut command = Command::new("bash");
        command
            .args(self.options)
            .arg(script)
            .env_clear()
            .env("HOME", dir.path("."))
            .env("PATH", format!("{}:/usr/bin:/bin", dir.path("bin").display()))
            .envs(recipe.variables)
            .envs(variables.iter().copied())
            .current_dir(dir.path("."))
            // The stub signals all processes of its group.
            .process_group(0);
        Running::start(command).finish()
    }

    /// The archive of the report.
    pub fn archive(&self) -> String {
        format!("{}.tar.gz", self.report)
    }
}

/// What a file in a directory contains; nothing where it is missing.
pub fn read(dir: &TestDir, name: &str) -> String {
    let bytes = fs::read(dir.path(name)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The path of a file of the repository.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// The text of a file of the repository.
#[track_caller]
pub fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A YAML file of the repository.
#[track_caller]
pub fn yaml(name: &str) -> Value {
    manifest::parse(name, &text(name)).expect("it is YAML")
}

fn string(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn entries(value: &Value) -> impl Iterator<Item = (String, &Value)> {
    value.as_object().expect("an object").iter().map(|(name, value)| (name.clone(), value))
}

/// The items of a list, each with its name.
fn named(value: &Value) -> impl Iterator<Item = (String, &Value)> {
    value.as_array().expect("a list").iter().map(|item| (string(&item["name"]), item))
}

/// A name and its default; without a default it is empty.
fn default((name, value): (String, &Value)) -> (String, String) {
    (name, value.get("default").map(string).unwrap_or_default())
}

/// Puts the value of an expression in its place. Texts begin with one.
#[track_caller]
fn fill(text: &Value, values: &BTreeMap<String, String>) -> String {
    let text = string(text);
    let found = values.iter().find_map(|(expression, value)| {
        Some(format!("{value}{}", text.strip_prefix(expression.as_str())?))
    });
    found.unwrap_or_else(|| panic!("no value for `{text}`"))
}

/// The variables of a recipe whose inputs are variables.
fn variables(
    defaults: impl Iterator<Item = (String, String)>,
    inputs: &Inputs,
    names: &Names,
) -> BTreeMap<String, String> {
    let given = inputs.iter().map(|(input, value)| {
        let found = names.iter().find(|(name, _)| name == input);
        let (_, variable) = found.unwrap_or_else(|| panic!("the recipe has no input {input}"));
        ((*variable).to_owned(), (*value).to_owned())
    });
    defaults.chain(given).collect()
}

/// The values of a recipe's inputs, by the expressions that stand for them in the recipe.
fn values(
    defaults: impl Iterator<Item = (String, String)>,
    inputs: &Inputs,
    expression: impl Fn(&str) -> String,
) -> BTreeMap<String, String> {
    let given = inputs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    defaults.chain(given).map(|(name, value)| (expression(&name), value)).collect()
}

fn github(dir: &TestDir, inputs: &Inputs) -> Recipe {
    let action = yaml(GITHUB.file);
    let defaults = entries(&action["inputs"]).map(default);
    let values = values(defaults, inputs, |name| format!("${{{{ inputs.{name} }}}}"));
    let step = &action["runs"]["steps"][0];
    let files = [("GITHUB_OUTPUT", "github-output"), ("GITHUB_STEP_SUMMARY", GITHUB.summary)]
        .map(|(name, file)| (name.to_owned(), dir.path(file).display().to_string()));
    let variables = entries(&step["env"]).map(|(name, value)| (name, fill(value, &values)));
    Recipe { script: string(&step["run"]), variables: variables.chain(files).collect() }
}

fn gitlab(_: &TestDir, inputs: &Inputs) -> Recipe {
    const NAMES: Names = [
        ("nestcheck", "NESTCHECK"),
        ("image", "NESTCHECK_IMAGE"),
        ("arguments", "NESTCHECK_ARGUMENTS"),
        ("allow-partial", "NESTCHECK_ALLOW_PARTIAL"),
    ];
    let file = yaml(GITLAB.file);
    let job = &file[".nestcheck"];
    let defaults = entries(&job["variables"]).map(|(name, value)| (name, string(value)));
    let variables = variables(defaults, inputs, &NAMES);
    Recipe { script: string(&job["script"][0]), variables }
}

/// Groovy is not read here: the script is its one long text, and each parameter has a line.
fn jenkins(_: &TestDir, inputs: &Inputs) -> Recipe {
    const NAMES: Names = [
        ("nestcheck", "NESTCHECK"),
        ("image", "IMAGE"),
        ("arguments", "ARGUMENTS"),
        ("allow-partial", "ALLOW_PARTIAL"),
    ];
    let file = text(JENKINS.file);
    let [_, script, _] = file.split("'''").collect::<Vec<_>>()[..] else {
        panic!("the Jenkinsfile has one script");
    };
    let after = |line: &str, key: &str| {
        let (_, value) = line.split_once(key)?;
        Some(value.split([',', ')']).next()?.trim().trim_matches('\'').to_owned())
    };
    let parameters = file
        .lines()
        .filter_map(|line| Some((after(line, "(name: ")?, after(line, "defaultValue: ")?)));
    let variables = variables(parameters, inputs, &NAMES);
    Recipe { script: script.to_owned(), variables }
}

fn tekton(dir: &TestDir, inputs: &Inputs) -> Recipe {
    let file = yaml(TEKTON.file);
    let spec = &file["spec"];
    let defaults = named(&spec["params"]).map(default);
    let parameters = values(defaults, inputs, |name| format!("$(params.{name})"));
    let results = named(&spec["results"]).map(|(name, _)| {
        let file = dir.path(&format!("tekton-{name}")).display().to_string();
        (format!("$(results.{name}.path)"), file)
    });
    // Without a Secret the workspace is left out.
    let secret = Some(dir.path("secret")).filter(|path| path.is_dir()).unwrap_or_default();
    let workspaces = [("report", dir.path(".")), ("kubeconfig", secret)]
        .map(|(name, path)| (format!("$(workspaces.{name}.path)"), path.display().to_string()));
    let values: BTreeMap<_, _> = parameters.into_iter().chain(results).chain(workspaces).collect();
    let step = &spec["steps"][0];
    let variables = named(&step["env"]).map(|(name, item)| (name, fill(&item["value"], &values)));
    Recipe { script: string(&step["script"]), variables: variables.collect() }
}

fn prow(dir: &TestDir, inputs: &Inputs) -> Recipe {
    const NAMES: Names = [
        ("nestcheck", "NESTCHECK"),
        ("image", "NESTCHECK_WORKSPACE_IMAGE"),
        ("arguments", "NESTCHECK_ARGUMENTS"),
        ("allow-partial", "NESTCHECK_ALLOW_PARTIAL"),
    ];
    let file = yaml(PROW.file);
    let reference = &file["ref"];
    let directories =
        [("ARTIFACT_DIR", "artifacts"), ("SHARED_DIR", "shared")].map(|(name, path)| {
            let path = dir.path(path);
            fs::create_dir_all(&path).expect("it can be made");
            (name.to_owned(), path.display().to_string())
        });
    let defaults = named(&reference["env"]).map(default).chain(directories);
    let variables = variables(defaults, inputs, &NAMES);
    let commands = format!("ci/prow/{}", string(&reference["commands"]));
    Recipe { script: text(&commands), variables }
}
