//! Words for values.

/// A truth in words.
#[must_use]
pub fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// The state of a feature gate in words.
#[must_use]
pub fn on_or_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
