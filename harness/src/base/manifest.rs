//! The only user of `serde_yaml`: YAML text into typed objects, strictly.
//!
//! `serde_yaml` is deprecated and was asked for by name. It stays behind this module;
//! `serde-saphyr`, which kube already pulls in, can take its place.
//!
//! Kubernetes types ignore fields that they don't know, so `hostUser: false` would silently mean
//! nothing. A manifest is therefore serialised again after reading, and every field that got lost
//! on the way is an error.

use std::{fmt::Display, ops::Range};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_yaml::{Deserializer, Value};

use crate::{Error, Result};

/// Reads one object from YAML. `file` names the text in errors.
///
/// ```
/// use harness::base::manifest;
/// use k8s_openapi::api::core::v1::Pod;
///
/// let text = "apiVersion: v1\nkind: Pod\nspec: {hostUser: false, containers: []}";
///
/// let error = manifest::parse::<Pod>("pod.yaml", text).expect_err("a misspelt field");
/// assert!(error.to_string().contains("unknown field `spec.hostUser` at line 3"));
/// ```
///
/// # Errors
///
/// Text that is not YAML, or that has several documents; a field of the wrong type, or a field that
/// the type does not have, with file, line and field.
pub fn parse<T: Serialize + DeserializeOwned>(file: &str, text: &str) -> Result<T> {
    // Read from the text rather than from the value: only then an error has its line.
    let object = serde_yaml::from_str(text).map_err(|error| malformed(file, error))?;
    let source = serde_yaml::from_str(text).map_err(|error| malformed(file, error))?;
    complete(file, text, &source, object)
}

/// Reads the object in the first document of a YAML text.
///
/// # Errors
///
/// As [`parse`], but for further documents.
pub fn parse_first<T: Serialize + DeserializeOwned>(file: &str, text: &str) -> Result<T> {
    let first = documents(file, text, 0..1)?.pop();
    first.ok_or_else(|| malformed(file, "it has no document"))
}

/// Reads the objects in the documents after the first one of a YAML text.
///
/// # Errors
///
/// As [`parse`], for each document.
pub fn parse_rest<T: Serialize + DeserializeOwned>(file: &str, text: &str) -> Result<Vec<T>> {
    documents(file, text, 1..usize::MAX)
}

/// Reads a type of our own from YAML. Unlike the types of Kubernetes, it refuses fields that it does
/// not know by itself.
///
/// # Errors
///
/// Text that is not YAML, or not of the type: what is wrong, with its line.
pub fn parse_own<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_yaml::from_str(text).map_err(|error| error.to_string())
}

fn documents<T: Serialize + DeserializeOwned>(
    file: &str,
    text: &str,
    wanted: Range<usize>,
) -> Result<Vec<T>> {
    let each = || Deserializer::from_str(text).skip(wanted.start).take(wanted.len());
    each()
        .zip(each())
        .map(|(document, again)| {
            let object = T::deserialize(document).map_err(|error| malformed(file, error))?;
            let source = Value::deserialize(again).map_err(|error| malformed(file, error))?;
            complete(file, text, &source, object)
        })
        .collect()
}

fn malformed(file: &str, problem: impl Display) -> Error {
    Error::usage(format!("failed to read manifest `{file}`: {problem}"))
        .with_hint("`kubectl explain` shows the fields that exist")
}

/// The object, if it has every field of its source.
fn complete<T: Serialize>(file: &str, text: &str, source: &Value, object: T) -> Result<T> {
    let kept = serde_yaml::to_value(&object).map_err(|error| malformed(file, error))?;
    match lost_field(source, &kept, "") {
        None => Ok(object),
        Some(field) => Err(match line_of(text, &field) {
            Some(line) => malformed(file, format_args!("unknown field `{field}` at line {line}")),
            None => malformed(file, format_args!("unknown field `{field}`")),
        }),
    }
}

/// Writes an object as YAML, for evidence.
///
/// # Errors
///
/// An object that YAML can't hold, such as a map with a map as its key.
pub fn print<T: Serialize>(object: &T) -> Result<String> {
    serde_yaml::to_string(object)
        .map_err(|error| Error::infrastructure(format!("failed to write YAML: {error}")))
}

/// The path of the first field of `source` that `kept` lacks; null counts as absent.
///
/// Unlike [`subset_diff::between`](super::subset_diff::between) it does not compare values: a typed
/// object may rightly write one otherwise (a quantity `1` becomes `"1"`).
fn lost_field(source: &Value, kept: &Value, path: &str) -> Option<String> {
    match (source, kept) {
        (Value::Mapping(source), Value::Mapping(kept)) => {
            source.iter().filter(|(_, value)| !value.is_null()).find_map(|(key, value)| {
                let name = key.as_str().unwrap_or("?");
                let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                match kept.get(key) {
                    Some(kept) => lost_field(value, kept, &path),
                    None if is_empty(value) => None,
                    None => Some(path),
                }
            })
        }
        (Value::Sequence(source), Value::Sequence(kept)) => {
            source.iter().zip(kept).enumerate().find_map(|(index, (source, kept))| {
                lost_field(source, kept, &format!("{path}[{index}]"))
            })
        }
        _ => None,
    }
}

/// Whether a value may rightly vanish when it is written again.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Mapping(mapping) => mapping.is_empty(),
        Value::Sequence(sequence) => sequence.is_empty(),
        _ => false,
    }
}

/// The line, from 1, on which the last name of a field's path first stands as a key.
fn line_of(text: &str, field: &str) -> Option<usize> {
    let name = field.rsplit('.').next()?.split('[').next()?;
    text.lines()
        .position(|line| {
            line.trim_start_matches([' ', '-', '{'])
                .strip_prefix(name)
                .is_some_and(|rest| rest.trim_start().starts_with(':'))
                || line.contains(&format!("{{{name}:"))
                || line.contains(&format!(" {name}:"))
        })
        .map(|index| index + 1)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Pod, Secret};

    use super::*;

    #[test]
    fn a_misspelt_field_is_named_with_file_and_line() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec:\n  hostUser: false\n  \
                    containers: []\n";
        let error = parse::<Pod>("pods/workspace.yaml", text).expect_err("hostUser is no field");
        let message = error.to_string();
        assert!(message.contains("pods/workspace.yaml"), "{message}");
        assert!(message.contains("`spec.hostUser` at line 5"), "{message}");
    }

    #[test]
    fn a_field_of_the_wrong_type_is_named_with_its_line() {
        let text = "apiVersion: v1\nkind: Pod\nspec:\n  hostUsers: maybe\n  containers: []\n";
        let message = parse::<Pod>("pods/x.yaml", text).expect_err("not a boolean").to_string();
        assert!(message.contains("hostUsers") && message.contains("line 4"), "{message}");
    }

    #[test]
    fn text_that_is_not_yaml_is_refused_with_its_line() {
        let message = parse::<Pod>("pods/x.yaml", "a: [\n").expect_err("torn").to_string();
        assert!(message.contains("pods/x.yaml") && message.contains("line"), "{message}");
    }

    #[test]
    fn a_good_manifest_is_read() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec:\n  hostUsers: false\n  \
                    containers:\n  - name: a\n    image: b\n    securityContext: {procMount: \
                    Unmasked}\n  volumes: [{name: t, emptyDir: {}}]\n";
        let pod: Pod = parse("x.yaml", text).expect("the manifest is good");
        assert_eq!(pod.spec.and_then(|spec| spec.host_users), Some(false));
    }

    const SEVERAL: &str = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: a\n    args:\n    \
                           - |\n      first\n      ---\n      last\n--- # a comment\napiVersion: \
                           v1\nkind: Secret\nmetadata:\n  name: s\n...\n---\napiVersion: v1\nkind: \
                           Secret\nmetadata:\n  name: t\n";

    #[test]
    fn documents_end_where_yaml_says() {
        let pod: Pod = parse_first("x.yaml", SEVERAL).expect("the manifest is good");
        let containers = pod.spec.unwrap_or_default().containers;
        assert_eq!(containers[0].args.as_deref(), Some(&["first\n---\nlast\n".to_owned()][..]));

        let rest: Vec<Secret> = parse_rest("x.yaml", SEVERAL).expect("the manifest is good");
        let names: Vec<_> = rest.into_iter().filter_map(|secret| secret.metadata.name).collect();
        assert_eq!(names, ["s", "t"]);
    }

    #[test]
    fn a_misspelt_field_of_a_later_document_is_named() {
        let text = SEVERAL.replace("  name: t", "  name: t\ntyp: Opaque");
        let error = parse_rest::<Secret>("x.yaml", &text).expect_err("typ is not a field");
        assert!(error.to_string().contains("unknown field `typ` at line 22"), "{error}");
    }

    #[test]
    fn a_single_object_is_not_read_from_several_documents() {
        assert!(parse::<Pod>("x.yaml", SEVERAL).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,200}") {
            let _ = parse::<Pod>("x.yaml", &text);
            let _ = parse_rest::<Pod>("x.yaml", &text);
        }
    }
}
