//! Redaction of untrusted text.

use harness::base::redact::{clean, clean_arguments, clean_json};
use serde_json::Value;

use crate::assert_harmless;

/// A limit that cuts longer inputs, and has room for the notice.
const LIMIT: usize = 256;

/// Cleans a text, arguments and a JSON document. What comes out is harmless, within its bound, and
/// stays as it is when it is cleaned again.
pub fn redaction(data: &[u8]) {
    let whole = clean(data, usize::MAX);
    assert_harmless(&whole);
    assert_eq!(clean(whole.as_bytes(), usize::MAX), whole, "cleaned again, it changes");

    let bounded = clean(data, LIMIT);
    assert_harmless(&bounded);
    assert!(bounded.len() <= LIMIT, "{} bytes", bounded.len());

    let text = String::from_utf8_lossy(data);
    let arguments: Vec<String> = text.split(' ').map(str::to_owned).collect();
    let cleaned = clean_arguments(&arguments, LIMIT);
    assert_eq!(cleaned.len(), arguments.len());
    for argument in &cleaned {
        assert_harmless(argument);
        assert!(argument.len() <= LIMIT, "{} bytes", argument.len());
    }

    if let Ok(mut document) = serde_json::from_slice::<Value>(data) {
        clean_json(&mut document);
        assert_texts_harmless(&document);
        let once = document.clone();
        clean_json(&mut document);
        assert_eq!(document, once, "cleaned again, it changes");
    }
}

fn assert_texts_harmless(document: &Value) {
    match document {
        Value::String(text) => assert_harmless(text),
        Value::Array(items) => items.iter().for_each(assert_texts_harmless),
        Value::Object(fields) => fields.values().for_each(assert_texts_harmless),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
