//! `nestcheck images`: what the nodes pull, for clusters that have no way to the registry.

use harness::{Error, Result};
use oci_spec::distribution::Reference;

use super::{arguments::ImagesArguments, print};

pub(super) fn execute(arguments: &ImagesArguments) -> Result<u8> {
    let image = &arguments.image;
    let text = match &arguments.mirror {
        Some(mirror) => mirror_set(image, mirror)?,
        None => format!("{image}\n"),
    };
    print(text.as_bytes())
}

/// The object that has the nodes of OpenShift pull an image from its mirror: `ImageDigestMirrorSet` of
/// `config.openshift.io/v1`. The nodes use it only for images that are named by their digest.
fn mirror_set(image: &str, mirror: &str) -> Result<String> {
    let source = repository(image)?;
    let mirror = repository(mirror)?;
    if !image.contains('@') {
        let message = format!("`{image}` is not named by its digest, so no mirror would be asked");
        return Err(Error::usage(message).with_hint("write it as `HOST/NAME@sha256:DIGEST`"));
    }
    Ok(format!(
        "apiVersion: config.openshift.io/v1\n\
         kind: ImageDigestMirrorSet\n\
         metadata:\n\
         \x20 name: nestcheck\n\
         spec:\n\
         \x20 imageDigestMirrors:\n\
         \x20 - source: {source}\n\
         \x20   mirrors:\n\
         \x20   - {mirror}\n"
    ))
}

/// An image without its tag and digest. A short name is refused: which registry it means is a setting
/// of the node.
fn repository(image: &str) -> Result<String> {
    let reference: Reference =
        image.parse().map_err(|error| Error::usage(format!("`{image}`: {error}")))?;
    let host = image.split('/').next().unwrap_or_default();
    if !image.contains('/') || !host.contains(['.', ':']) && host != "localhost" {
        return Err(Error::usage(format!("`{image}` does not name its registry"))
            .with_hint("write it as `HOST/NAME`"));
    }
    Ok(format!("{}/{}", reference.registry(), reference.repository()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_digest() -> String {
        format!("registry.example:5000/dev/workspace@sha256:{:0>64}", "abc")
    }

    #[test]
    fn a_mirror_set_names_the_repository_and_its_mirror() {
        let text = mirror_set(&by_digest(), "mirror.example/nested/workspace:1");
        let text = text.expect("both are good");
        assert!(text.contains("  - source: registry.example:5000/dev/workspace\n"), "{text}");
        assert!(text.contains("    mirrors:\n    - mirror.example/nested/workspace\n"), "{text}");
        let object: serde_json::Value =
            harness::base::manifest::parse("mirrors", &text).expect("it is YAML");
        assert_eq!(object["kind"], "ImageDigestMirrorSet");
    }

    #[test]
    fn what_no_mirror_would_serve_is_refused() {
        let refused = |image: &str, mirror: &str, words: &str| {
            let error = mirror_set(image, mirror).expect_err(image);
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.kind().exit_code(), 2);
        };
        refused("registry.example/a:1", "mirror.example/a", "is not named by its digest");
        refused("workspace:1", "mirror.example/a", "`workspace:1` does not name its registry");
        refused(&by_digest(), "dev/a", "`dev/a` does not name its registry");
    }
}
