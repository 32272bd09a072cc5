//! The report of a run as a ConfigMap of the cluster, for whoever may read neither the log nor the files
//! of the pod in which nestcheck was.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use harness::{
    Error, Result,
    cluster::{Cluster, call, is_forbidden, namespace_of_pod, status_code},
    report::{directory, headline, markdown, summarize, write_archive, write_archive_without},
    sandbox::report_labels,
};
use k8s_openapi::{ByteString, api::core::v1::ConfigMap};
use kube::{
    Api, ResourceExt,
    api::{ObjectMeta, PostParams},
};

use super::placement;

/// The most that the values of a ConfigMap have together, in bytes (kubernetes
/// `pkg/apis/core/validation`, `MaxSecretSize`), less room for the keys.
const LIMIT: usize = 1024 * 1024 - 4096;

/// The part of a report that is left out first.
const DIAGNOSTICS: &str = "diagnostics";

/// The key that says what is left out.
const LEFT_OUT: &str = "left-out";

/// A ConfigMap's name, and its namespace where somebody said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    namespace: Option<String>,
    name: String,
}

impl Target {
    /// Understands `NAME` and `NAMESPACE/NAME`.
    ///
    /// # Errors
    ///
    /// A text that is neither.
    pub(super) fn parse(text: &str) -> std::result::Result<Self, String> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(placement::namespace(namespace)?), name),
            None => (None, text),
        };
        let name = placement::name(name).map_err(|problem| {
            format!("{problem}\nhint: write it as `NAME` or `NAMESPACE/NAME`")
        })?;
        Ok(Self { namespace, name })
    }

    /// Decides where the ConfigMap is: in the namespace that somebody named, else in that of the run, else
    /// in that of the pod in which nestcheck is.
    ///
    /// # Errors
    ///
    /// None of them is known.
    pub(super) fn locate(self, given: Option<&str>) -> Result<Place> {
        let namespace =
            self.namespace.or_else(|| given.map(str::to_owned)).or_else(namespace_of_pod);
        let namespace = namespace.ok_or_else(|| {
            Error::usage(format!("the namespace of ConfigMap `{}` is not known", self.name))
                .with_hint("write it as `--report-configmap NAMESPACE/NAME`: this is not a pod")
        })?;
        Ok(Place { namespace, name: self.name })
    }
}

/// Where the report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    namespace: String,
    name: String,
}

impl Place {
    /// Writes that the run has not ended. So a run of many minutes does not end without its report, and
    /// the report of an earlier run never stands for this one, however it ends.
    ///
    /// # Errors
    ///
    /// A ConfigMap of somebody else with this name, or a missing permission.
    pub(super) async fn begin(&self, cluster: &Cluster) -> Result<()> {
        let text = "the run has not ended\n".to_owned();
        self.put(cluster, BTreeMap::from([("outcome".to_owned(), text)]), BTreeMap::new()).await
    }

    /// Writes the report of a directory. Returns what a person should know of it.
    ///
    /// # Errors
    ///
    /// A report that cannot be read, or a server that refuses it.
    pub(super) async fn write(
        &self,
        cluster: &Cluster,
        report: &Path,
        exit_code: u8,
    ) -> Result<String> {
        let parts = parts_of(report, exit_code)?;
        let Chosen { texts, archives, left_out } = choose(parts, LIMIT);
        self.put(cluster, texts, archives).await?;
        let mut said = format!("report in ConfigMap `{}/{}`\n", self.namespace, self.name);
        if !left_out.is_empty() {
            // Writing to a string can't fail.
            let _ = writeln!(said, "warning: left out of it: {}", left_out.join("; "));
        }
        Ok(said)
    }

    /// Creates the ConfigMap, or replaces one that is a report too.
    async fn put(
        &self,
        cluster: &Cluster,
        texts: BTreeMap<String, String>,
        archives: BTreeMap<String, ByteString>,
    ) -> Result<()> {
        let api: Api<ConfigMap> = Api::namespaced(cluster.admin().clone(), &self.namespace);
        let params = PostParams { dry_run: false, field_manager: Some("nestcheck".to_owned()) };
        let object = ConfigMap {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(report_labels()),
                ..ObjectMeta::default()
            },
            data: Some(texts),
            binary_data: Some(archives),
            ..ConfigMap::default()
        };
        let what = format!("write the report to ConfigMap `{}/{}`", self.namespace, self.name);
        let put = call(&what, || async {
            match api.create(&params, &object).await {
                Err(error) if status_code(&error) == Some(409) => {}
                Err(error) if is_forbidden(&error) => return Ok(Put::Forbidden),
                created => return created.map(|_| Put::Done),
            }
            let there = match api.get(&self.name).await {
                Err(error) if is_forbidden(&error) => return Ok(Put::Forbidden),
                there => there?,
            };
            if !report_labels().iter().all(|(key, value)| there.labels().get(key) == Some(value)) {
                return Ok(Put::OfOthers);
            }
            // If somebody makes it anew meanwhile, the server refuses.
            let mut object = object.clone();
            object.metadata.resource_version = there.resource_version();
            match api.replace(&self.name, &params, &object).await {
                Err(error) if is_forbidden(&error) => Ok(Put::Forbidden),
                replaced => replaced.map(|_| Put::Done),
            }
        });
        match put.await? {
            Put::Done => Ok(()),
            Put::Forbidden => Err(Error::infrastructure(format!("failed to {what}: forbidden"))
                .with_hint(
                    "let an administrator grant `create`, `get` and `update` of ConfigMaps in this \
                     namespace, as `deploy/report-configmap.yaml` does",
                )),
            Put::OfOthers => Err(Error::usage(format!(
                "ConfigMap `{}/{}` is not a report of nestcheck",
                self.namespace, self.name
            ))
            .with_hint("give another name with `--report-configmap NAME`: it stays as it is")),
        }
    }
}

/// What became of the ConfigMap.
enum Put {
    Done,
    Forbidden,
    OfOthers,
}

/// A value of the ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Text(String),
    Archive(Vec<u8>),
}

impl Value {
    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Archive(bytes) => bytes.len(),
        }
    }
}

/// A part of the report under its key; where it is too large, what is in its place.
#[derive(Clone, Debug)]
struct Part {
    key: &'static str,
    value: Value,
    smaller: Option<(Value, &'static str)>,
}

/// The parts of a report, the most important first.
fn parts_of(report: &Path, exit_code: u8) -> Result<Vec<Part>> {
    let events = directory::load(report)?;
    let summary = summarize(&events);
    let part = |key, text: String| Part { key, value: Value::Text(text), smaller: None };
    let unread = |path: PathBuf, error: std::io::Error| {
        Error::infrastructure(format!("failed to read the report `{}`: {error}", path.display()))
    };
    let file = |name: &str| {
        let path = report.join(name);
        fs::read_to_string(&path).map_err(|error| unread(path, error))
    };
    let archived =
        |bytes: std::io::Result<Vec<u8>>| bytes.map_err(|error| unread(report.to_owned(), error));
    let whole = archived(write_archive(report, Vec::new()))?;
    let smaller = archived(write_archive_without(report, DIAGNOSTICS, Vec::new()))?;
    Ok(vec![
        part("outcome", format!("{} (exit code {exit_code})\n", headline(&summary))),
        part("junit.xml", file("junit.xml")?),
        part("summary.md", markdown(&summary)),
        Part {
            key: "report.tar.gz",
            value: Value::Archive(whole),
            smaller: Some((Value::Archive(smaller), "its directory `diagnostics`")),
        },
        part("report.json", file("report.json")?),
    ])
}

/// What fits into a ConfigMap, and what does not.
#[derive(Debug, Default, PartialEq, Eq)]
struct Chosen {
    texts: BTreeMap<String, String>,
    archives: BTreeMap<String, ByteString>,
    left_out: Vec<String>,
}

/// Takes parts as long as there is room, in their order; the others are named. A pure function.
fn choose(parts: Vec<Part>, limit: usize) -> Chosen {
    let mut chosen = Chosen::default();
    // The names of what is left out need room too.
    let mut room = limit.saturating_sub(1024);
    for Part { key, value, smaller } in parts {
        let size = value.len();
        let fits = |value: &Value| value.len() <= room;
        let value = if fits(&value) {
            Some(value)
        } else if let Some((smaller, without)) = smaller.filter(|(smaller, _)| fits(smaller)) {
            chosen.left_out.push(format!("{without} of `{key}` ({size} bytes)"));
            Some(smaller)
        } else {
            chosen.left_out.push(format!("`{key}` ({size} bytes)"));
            None
        };
        let Some(value) = value else { continue };
        room -= value.len();
        match value {
            Value::Text(text) => drop(chosen.texts.insert(key.to_owned(), text)),
            Value::Archive(bytes) => {
                drop(chosen.archives.insert(key.to_owned(), ByteString(bytes)));
            }
        }
    }
    if !chosen.left_out.is_empty() {
        let text = format!("{}\n", chosen.left_out.join("\n"));
        chosen.texts.insert(LEFT_OUT.to_owned(), text);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(key: &'static str, size: usize) -> Part {
        Part { key, value: Value::Text("x".repeat(size)), smaller: None }
    }

    fn archive(size: usize, smaller: usize) -> Part {
        let bytes = |size| Value::Archive(vec![0; size]);
        Part { key: "a", value: bytes(size), smaller: Some((bytes(smaller), "its `d`")) }
    }

    #[test]
    fn a_target_is_a_name_with_or_without_a_namespace() {
        let target = |namespace: Option<&str>, name: &str| {
            Ok(Target { namespace: namespace.map(str::to_owned), name: name.to_owned() })
        };
        assert_eq!(Target::parse("nightly"), target(None, "nightly"));
        assert_eq!(Target::parse("ci/nightly.1"), target(Some("ci"), "nightly.1"));
        for bad in ["", "/", "a/", "/a", "a/b/c", "A", "../x", "a b"] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_namespace_is_the_named_one_or_that_of_the_run() {
        let locate = |text: &str, given| Target::parse(text).expect("a target").locate(given);
        assert_eq!(locate("ci/x", Some("team-a")).expect("a place").namespace, "ci");
        assert_eq!(locate("x", Some("team-a")).expect("a place").namespace, "team-a");
        let error = locate("x", None).expect_err("nobody said it");
        assert_eq!(error.kind().exit_code(), 2);
        assert!(error.hint().is_some_and(|hint| hint.contains("NAMESPACE/NAME")));
    }

    #[test]
    fn what_does_not_fit_is_named_and_the_archive_gets_smaller_first() {
        let parts = || vec![text("one", 10), archive(5000, 100), text("two", 20)];
        let all = choose(parts(), 10_000);
        assert_eq!((all.texts.len(), all.left_out.len()), (2, 0));
        assert_eq!(all.archives["a"].0.len(), 5000);
        let less = choose(parts(), 1024 + 200);
        assert_eq!(less.left_out, ["its `d` of `a` (5000 bytes)"]);
        assert_eq!((less.archives["a"].0.len(), less.texts["two"].len()), (100, 20));
        assert_eq!(less.texts[LEFT_OUT], "its `d` of `a` (5000 bytes)\n");
        let none = choose(parts(), 1024 + 50);
        assert_eq!(none.left_out, ["`a` (5000 bytes)"]);
        assert_eq!(none.texts["two"].len(), 20, "what is after it may fit");
    }

    proptest! {
        #[test]
        fn the_values_never_exceed_the_limit(
            sizes in prop::collection::vec((0_usize..5000, 0_usize..5000), 0..5),
            limit in 1024_usize..12_000,
        ) {
            let keys = ["a", "b", "c", "d", "e"];
            let parts = keys.into_iter().zip(&sizes).map(|(key, (size, smaller))| {
                Part { key, ..archive(*size, *smaller.min(size)) }
            });
            let count = sizes.len();
            let chosen = choose(parts.collect(), limit);
            let texts = chosen.texts.values().map(String::len);
            let archives = chosen.archives.values().map(|bytes| bytes.0.len());
            prop_assert!(texts.chain(archives).sum::<usize>() <= limit);
            let named = chosen.left_out.iter().filter(|it| it.starts_with('`')).count();
            prop_assert_eq!(chosen.archives.len() + named, count);
        }
    }
}
