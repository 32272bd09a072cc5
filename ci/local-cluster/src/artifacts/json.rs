//! Files of objects: YAML of others, and JSON of our own.

use std::{fs, path::Path};

use serde_json::Value;

use crate::error::Error;

pub(super) fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::path("read", path, source))
}

/// Reads one document of YAML.
pub(super) fn read_yaml(path: &Path) -> Result<Value, Error> {
    serde_saphyr::from_str(&read(path)?)
        .map_err(|error| Error::other(format!("`{}` is not YAML: {error}", path.display())))
}

/// Writes a file of JSON.
pub(super) fn write_json(path: &Path, value: &Value) -> Result<(), Error> {
    fs::write(path, format!("{value}\n")).map_err(|source| Error::path("write", path, source))
}

/// Reads a file that [`write_json`] has written.
pub fn read_json(path: &Path) -> Result<Value, Error> {
    serde_json::from_str(&read(path)?)
        .map_err(|error| Error::other(format!("`{}` is not JSON: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_keeps_its_types() {
        let path = std::env::temp_dir().join(format!("local-cluster-yaml-{}", std::process::id()));
        fs::write(&path, "a: \"true\"\nb: true\nc: 7\nd:\ne: ['1']\nf: |\n  x\n  y\n").unwrap();
        let value = read_yaml(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let expected = serde_json::json!({
            "a": "true", "b": true, "c": 7, "d": null, "e": ["1"], "f": "x\ny\n",
        });
        assert_eq!(value, expected);
    }
}
