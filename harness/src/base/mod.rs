//! What every room uses: errors for people, text that is safe to show, private files, manifests.

pub mod build;
pub mod error;
pub mod manifest;
pub mod names;
pub mod place;
pub mod private;
pub mod redact;
pub mod repair;
pub mod schema;
pub mod subset_diff;
pub mod text;
