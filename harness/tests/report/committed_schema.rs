//! The JSON Schemas in `docs/schemas`, which must be those of the types.

use std::{env, fs};

use jsonschema::Validator;
use schemars::Schema;
use serde_json::Value;

/// Compares `docs/schemas/NAME.json` with the schema of the types, or writes it where
/// `UPDATE_SCHEMAS` is set. Returns what validates documents.
pub fn committed_schema(name: &str, schema: &Schema) -> Validator {
    let path = format!("{}/../docs/schemas/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let generated = serde_json::to_string_pretty(schema).expect("a schema is JSON") + "\n";
    if env::var_os("UPDATE_SCHEMAS").is_some() {
        fs::write(&path, &generated).expect("the directory is there");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "docs/schemas/{name}.json differs from the types\nhint: run `UPDATE_SCHEMAS=1 cargo test --workspace --test report --test \
         recorded schema`, and check the change against docs/reports.md"
    );
    jsonschema::validator_for(schema.as_value()).expect("a valid schema")
}

/// Asserts that a document has the form that the schema describes.
pub fn assert_valid(validator: &Validator, document: &Value) {
    let errors: Vec<_> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{document:#}");
}
