//! JSON Schemas of what nestcheck writes for programs, generated from the types that are written.
//!
//! `docs/schemas` holds them for readers; tests compare those files with the types.

use std::sync::LazyLock;

use regex::Regex;
use schemars::{
    JsonSchema, Schema,
    generate::SchemaSettings,
    transform::{RecursiveTransform, Transform},
};
use serde_json::Value;

/// Links of rustdoc, which lead nowhere in a schema: `` [`Name`] `` and `[text](target)`.
static LINK: LazyLock<Result<Regex, regex::Error>> =
    LazyLock::new(|| Regex::new(r"\[(?:(?<name>`[^`\]]+`)\]|(?<text>[^\]]+)\]\([^)]*\))"));

/// Generates the schema of a type as it is written. The docstrings of the type become descriptions.
#[must_use]
pub fn schema_of<T: JsonSchema>(title: &str) -> Schema {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<T>();
    RecursiveTransform(simplify_description).transform(&mut schema);
    schema.insert("title".to_owned(), title.into());
    schema
}

fn simplify_description(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = simplify(description);
    }
}

/// Joins the lines of each paragraph and removes links.
fn simplify(docstring: &str) -> String {
    let paragraphs: Vec<_> = docstring.split("\n\n").map(|it| it.replace('\n', " ")).collect();
    let text = paragraphs.join("\n\n");
    match LINK.as_ref() {
        Ok(link) => link.replace_all(&text, "$name$text").into_owned(),
        Err(_) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_has_no_links_and_no_line_breaks_inside_a_paragraph() {
        let docstring = "What [`Facts`] say\nof [a gate](Gate), [0, 1].\n\nMore\nof it.";
        assert_eq!(simplify(docstring), "What `Facts` say of a gate, [0, 1].\n\nMore of it.");
    }
}
