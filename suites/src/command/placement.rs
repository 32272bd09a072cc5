//! The options about where the pods of a run go, and what they ask for.

use std::{collections::BTreeMap, fs, path::Path};

use clap::Args;
use harness::{
    Error, Result,
    base::names::{is_label, is_subdomain},
    engine::plan::NodeScope,
    sandbox::{Placement, PullSecret, SecretName},
};
use k8s_openapi::{api::core::v1::Toleration, apimachinery::pkg::api::resource::Quantity};

/// Where the pods go, and what they ask for.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pods")]
pub(super) struct PlacementArguments {
    /// Run in this existing namespace, with the permissions of a plain user: nestcheck creates its pods
    /// there and nothing elsewhere. Cases that need more are blocked
    #[arg(long, short, value_name = "NAME", value_parser = namespace,
        conflicts_with_all = ["as_configured", "node_access"])]
    pub(super) namespace: Option<String>,
    /// A label that the nodes of the pods must have; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    node_selector: Vec<(String, String)>,
    /// A taint that the pods tolerate, such as `dedicated=workspaces:NoSchedule`; may be given several
    /// times
    #[arg(long, value_name = "KEY[=VALUE][:EFFECT]", value_parser = toleration)]
    toleration: Vec<Toleration>,
    /// Prove each node too: on each that takes pods, a nested pod starts, is isolated, and builds and
    /// runs an image (NODE-01). `kinds` proves one node of each kind. Every report has a row for each
    #[arg(
        long,
        value_name = "WHICH",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "all",
        value_parser = str::parse::<NodeScope>
    )]
    pub(super) every_node: Option<NodeScope>,
    /// The `PriorityClass` of the pods
    #[arg(long, value_name = "NAME", value_parser = name)]
    priority_class: Option<String>,
    /// What each container requests, such as cpu=100m,memory=256Mi
    #[arg(long, value_name = "RESOURCES", value_delimiter = ',', value_parser = quantity)]
    requests: Vec<(String, Quantity)>,
    /// What each container may use, such as cpu=2,memory=2Gi
    #[arg(long, value_name = "RESOURCES", value_delimiter = ',', value_parser = quantity)]
    limits: Vec<(String, Quantity)>,
    /// What the image is pulled with: a file of type dockerconfigjson, or NAMESPACE/NAME of such a Secret
    #[arg(long, value_name = "SECRET", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pull_secret: Option<String>,
}

impl PlacementArguments {
    /// Reads what can be read without a cluster; and the name of a secret that only the cluster has.
    pub(super) fn read(self) -> Result<(Placement, Option<SecretName>)> {
        let requests: BTreeMap<_, _> = self.requests.into_iter().collect();
        let limits: BTreeMap<_, _> = self.limits.into_iter().collect();
        for (resource, request) in &requests {
            let Some(limit) = limits.get(resource) else { continue };
            if amount(&request.0) > amount(&limit.0) {
                return Err(Error::usage(format!(
                    "the request {resource}={} is more than the limit {resource}={}",
                    request.0, limit.0
                ))
                .with_hint("give `--limits` that are at least `--requests`"));
            }
        }
        let (pull_secret, of_cluster) = match self.pull_secret.as_deref().map(secret) {
            None => (None, None),
            Some(Source::Cluster(name)) => (None, Some(name)),
            Some(Source::File(file)) => (Some(read_file(file)?), None),
        };
        let placement = Placement {
            node_selector: self.node_selector.into_iter().collect(),
            tolerations: self.toleration,
            priority_class: self.priority_class,
            requests,
            limits,
            pull_secret,
        };
        Ok((placement, of_cluster))
    }
}

/// Where the pull secret is.
#[derive(Debug, PartialEq, Eq)]
enum Source<'a> {
    File(&'a str),
    Cluster(SecretName),
}

/// A file that exists, or else a namespace and a name.
fn secret(text: &str) -> Source<'_> {
    let (namespace, of_namespace) = text.split_once('/').unwrap_or_default();
    if !Path::new(text).exists() && is_subdomain(namespace) && is_subdomain(of_namespace) {
        let (namespace, name) = (namespace.to_owned(), of_namespace.to_owned());
        return Source::Cluster(SecretName { namespace, name });
    }
    Source::File(text)
}

fn read_file(file: &str) -> Result<PullSecret> {
    let content = fs::read(file).map_err(|error| {
        Error::usage(format!("failed to read pull secret `{file}`: {error}"))
            .with_hint("give a readable file, or NAMESPACE/NAME of a Secret")
    })?;
    PullSecret::parse(file, &content)
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, " "));
    if is_key(key) && (value.is_empty() || is_label_value(value)) {
        return Ok((key.to_owned(), value.to_owned()));
    }
    Err("not a label\nhint: write it as `KEY=VALUE`, such as `pool=workspaces`".to_owned())
}

fn toleration(text: &str) -> Result<Toleration, String> {
    const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    let (taint, effect) = match text.split_once(':') {
        Some((taint, effect)) => (taint, Some(effect)),
        None => (text, None),
    };
    let (key, value) = match taint.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (taint, None),
    };
    let is_good = is_key(key)
        && value.is_none_or(|value| value.is_empty() || is_label_value(value))
        && effect.is_none_or(|effect| EFFECTS.contains(&effect));
    if !is_good {
        return Err("not a toleration\nhint: write it as `KEY`, `KEY=VALUE`, `KEY:EFFECT` or \
                    `KEY=VALUE:EFFECT`, EFFECT being NoSchedule, NoExecute or PreferNoSchedule"
            .to_owned());
    }
    Ok(Toleration {
        key: Some(key.to_owned()),
        operator: Some(if value.is_some() { "Equal" } else { "Exists" }.to_owned()),
        value: value.map(str::to_owned),
        effect: effect.map(str::to_owned),
        toleration_seconds: None,
    })
}

/// The name of a namespace (RFC 1123, a label).
pub(super) fn namespace(text: &str) -> Result<String, String> {
    if is_label(text) {
        return Ok(text.to_owned());
    }
    Err("not the name of a namespace\nhint: `kubectl get namespaces` shows those that there are"
        .to_owned())
}

pub(super) fn name(text: &str) -> Result<String, String> {
    if is_subdomain(text) {
        Ok(text.to_owned())
    } else {
        Err("not the name of an object".to_owned())
    }
}

fn quantity(text: &str) -> Result<(String, Quantity), String> {
    const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
    match text.split_once('=') {
        Some((resource, quantity))
            if RESOURCES.contains(&resource) && amount(quantity).is_some() =>
        {
            Ok((resource.to_owned(), Quantity(quantity.to_owned())))
        }
        _ => Err("not an amount of a resource\nhint: write `cpu=500m`, `memory=1Gi` or \
                  `ephemeral-storage=5Gi`, several with commas"
            .to_owned()),
    }
}

/// How much a quantity of Kubernetes is; none where it is not a quantity above zero. Exact enough to
/// compare two of them.
fn amount(quantity: &str) -> Option<f64> {
    let end = quantity.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(quantity.len());
    let (number, suffix) = quantity.split_at(end);
    let factor = match suffix {
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "Pi" => 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    (number > 0.0).then_some(number * factor)
}

/// Whether a text is the key of a label or a taint: a name, after a domain and a slash or alone.
fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((domain, name)) => is_subdomain(domain) && is_label_value(name),
        None => is_label_value(text),
    }
}

fn is_label_value(text: &str) -> bool {
    let is_end = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63
        && text.starts_with(is_end)
        && text.ends_with(is_end)
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_kubectl_writes_them() {
        let pair = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        assert_eq!(label("pool=a"), pair("pool", "a"));
        assert_eq!(
            label("node-role.kubernetes.io/worker="),
            pair("node-role.kubernetes.io/worker", "")
        );
        for bad in ["", "pool", "=a", "pool=a b", "pool=-a", "/pool=a", "A.b/pool=a", "a/b/c=d"] {
            assert!(label(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_namespace_is_a_label_and_no_path() {
        assert_eq!(namespace("team-a"), Ok("team-a".to_owned()));
        for bad in ["", "Team", "a.b", "a/b", "../x", "-a", "a b", &"a".repeat(64)] {
            assert!(namespace(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_toleration_without_a_value_is_for_any_value() {
        let read = |text: &str| {
            let it = toleration(text).expect(text);
            (it.key, it.operator, it.value, it.effect)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read("a"), (some("a"), some("Exists"), None, None));
        assert_eq!(read("a=b"), (some("a"), some("Equal"), some("b"), None));
        assert_eq!(read("a:NoExecute"), (some("a"), some("Exists"), None, some("NoExecute")));
        let full = (some("x.y/a"), some("Equal"), some("b"), some("NoSchedule"));
        assert_eq!(read("x.y/a=b:NoSchedule"), full);
        for bad in ["", ":NoSchedule", "a:Never", "a=b c", "=b", "a:"] {
            assert!(toleration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn quantities_are_compared_by_their_amount() {
        for (less, more) in [("100m", "1"), ("1Gi", "2Gi"), ("1G", "1Gi"), ("1000m", "1.5")] {
            assert!(amount(less) < amount(more), "{less} {more}");
        }
        for bad in ["cpu", "cpu=", "cpu=0", "cpu=-1", "cpu=1x", "disk=1", "memory=1 Gi", "cpu=.."] {
            assert!(quantity(bad).is_err(), "{bad}");
        }
        assert!(quantity("memory=1.5Gi").is_ok());
    }

    #[test]
    fn a_secret_is_a_file_that_exists_or_an_object() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("pull.json");
        fs::write(&file, "{}").expect("it can be written");
        let path = file.to_str().expect("it is text");
        assert_eq!(secret(path), Source::File(path));
        let of_cluster = SecretName { namespace: "ci".to_owned(), name: "pull".to_owned() };
        assert_eq!(secret("ci/pull"), Source::Cluster(of_cluster));
        for neither in ["pull.json", "./ci/pull", "Ci/pull", "ci/"] {
            assert_eq!(secret(neither), Source::File(neither), "{neither}");
        }
    }
}
