//! The message about an image that a node can't get. A log has the message alone, so the image is read from
//! it again: two images are two causes.

const BEFORE: &str = "the image `";
const AFTER: &str = "` can't be had (";

/// The message about an image that a node can't get: the kubelet's reason, and what it says.
pub(crate) fn missing_image(image: &str, reason: &str, said: &str) -> String {
    format!("{BEFORE}{image}{AFTER}{reason}): {said}")
}

/// The image that such a message is about.
pub(super) fn image_of(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once(BEFORE)?;
    let (image, _) = rest.split_once(AFTER)?;
    Some(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_read_as_it_was_written() {
        let message = missing_image("localhost/a:1", "ErrImagePull", "no such host");
        assert_eq!(message, "the image `localhost/a:1` can't be had (ErrImagePull): no such host");
        assert_eq!(image_of(&message), Some("localhost/a:1"));
        assert_eq!(image_of(&format!("pod `a`: {message}")), Some("localhost/a:1"));
        assert_eq!(image_of("the image `localhost/a:1` is there"), None);
    }
}
