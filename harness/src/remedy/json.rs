//! Remedies for programs.

use schemars::{JsonSchema, Schema};
use serde::Serialize;

use super::Remedies;
use crate::{
    Result,
    base::{redact, schema::schema_of},
    facts::Platform,
};

/// The version of the format.
const SCHEMA: u32 = 1;

/// What `nestcheck remedy -o json` prints.
#[derive(JsonSchema, Serialize)]
struct Document<'a> {
    /// The version of the format.
    #[schemars(extend("const" = SCHEMA))]
    schema: u32,
    /// What kind of cluster the remedies are for.
    platform: &'a Platform,
    #[serde(flatten)]
    remedies: &'a Remedies,
}

/// Remedies as JSON.
///
/// # Errors
///
/// None in practice: the document is written as JSON.
pub fn json(remedies: &Remedies, platform: &Platform) -> Result<String> {
    redact::clean_document(&Document { schema: SCHEMA, platform, remedies })
}

/// Generates the JSON Schema of `nestcheck remedy -o json`.
#[must_use]
pub fn json_schema() -> Schema {
    schema_of::<Document<'_>>("nestcheck: `nestcheck remedy -o json`")
}
