//! What differs between an object as it was meant and an object as the server stores it.

use serde_json::Value;

/// A field that is not as it was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The field's path, such as `runAsUser.type`.
    pub field: String,
    /// What was expected, as JSON.
    pub expected: String,
    /// What is there, as JSON, or `absent`.
    pub observed: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` is {}, not {}", self.field, self.observed, self.expected)
    }
}

/// The fields of `expected` that `observed` does not have or has otherwise. What only `observed` has
/// is no difference: the server fills in defaults.
///
/// Null and an empty list are both nothing. A list of texts or numbers is a set, as capabilities
/// and volume types are; a list of objects is compared one by one.
///
/// ```
/// use harness::base::subset_diff;
/// use serde_json::json;
///
/// let sent = json!({"hostUsers": false, "runtimeClassName": "nested"});
/// let stored = json!({"runtimeClassName": "nested", "restartPolicy": "Always"});
///
/// let [dropped] = &subset_diff::between(&sent, &stored)[..] else { panic!("one field") };
/// assert_eq!(dropped.to_string(), "`hostUsers` is absent, not false");
/// ```
#[must_use]
pub fn between(expected: &Value, observed: &Value) -> Vec<Difference> {
    let mut differences = Vec::new();
    compare("", expected, Some(observed), &mut differences);
    differences
}

fn compare(path: &str, expected: &Value, observed: Option<&Value>, into: &mut Vec<Difference>) {
    if is_nothing(expected) && observed.is_none_or(is_nothing) {
        return;
    }
    match (expected, observed) {
        (Value::Object(expected), Some(Value::Object(observed))) => {
            for (field, expected) in expected {
                let path = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
                compare(&path, expected, observed.get(field), into);
            }
        }
        (Value::Array(expected), Some(Value::Array(observed)))
            if expected.len() == observed.len() && expected.iter().all(Value::is_object) =>
        {
            for (index, (expected, observed)) in expected.iter().zip(observed).enumerate() {
                compare(&format!("{path}[{index}]"), expected, Some(observed), into);
            }
        }
        (Value::Array(expected), Some(Value::Array(observed)))
            if expected.len() == observed.len()
                && expected.iter().all(|item| observed.contains(item)) => {}
        (expected, Some(observed)) if expected == observed => {}
        (expected, observed) => into.push(Difference {
            field: path.to_owned(),
            expected: expected.to_string(),
            observed: observed.map_or_else(|| "absent".to_owned(), ToString::to_string),
        }),
    }
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn differing(expected: &Value, observed: &Value) -> Vec<String> {
        between(expected, observed).into_iter().map(|difference| difference.field).collect()
    }

    #[test]
    fn each_field_that_differs_is_named() {
        let scc = json!({
            "userNamespaceLevel": "RequirePodLevel", "allowedCapabilities": ["SETUID", "SETGID"],
            "requiredDropCapabilities": null, "runAsUser": {"type": "MustRunAs", "uid": 1000},
        });
        let whole = json!({
            "userNamespaceLevel": "RequirePodLevel", "allowedCapabilities": ["SETGID", "SETUID"],
            "runAsUser": {"type": "MustRunAs", "uid": 1000}, "requiredDropCapabilities": [],
            "readOnlyRootFilesystem": false,
        });
        assert_eq!(differing(&scc, &whole), Vec::<String>::new());
        let mut stored = whole.clone();
        stored["userNamespaceLevel"] = Value::Null;
        stored["allowedCapabilities"] = json!(["SETUID", "SETGID", "MKNOD"]);
        stored["runAsUser"] = json!({"type": "RunAsAny"});
        assert_eq!(
            differing(&scc, &stored),
            ["allowedCapabilities", "runAsUser.type", "runAsUser.uid", "userNamespaceLevel"]
        );
        stored = whole;
        stored["requiredDropCapabilities"] = json!(["KILL"]);
        assert_eq!(differing(&scc, &stored), ["requiredDropCapabilities"]);
    }

    #[test]
    fn objects_in_lists_are_compared_one_by_one() {
        let sent = json!({"containers": [{"name": "a"}, {"name": "b", "procMount": "Unmasked"}]});
        let stored = json!({"containers": [{"name": "a", "x": 1}, {"name": "b"}]});
        assert_eq!(differing(&sent, &stored), ["containers[1].procMount"]);
        assert_eq!(differing(&sent, &json!({"containers": []})), ["containers"]);
    }
}
