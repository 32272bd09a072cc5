//! What the fuzz targets do: each function reads one input and panics where an invariant does not
//! hold. cargo-fuzz runs them on nightly (`fuzz/fuzz_targets`), and `tests/corpus.rs` on stable.

// It includes modules of the probe by their path. Their unit tests belong to the probe.
#![cfg(not(test))]
#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a broken invariant is a panic, for which a fuzzer looks"
)]

mod kubeconfig;
mod log;
mod probe_documents;
mod probe_messages;
mod redaction;

pub use kubeconfig::kubeconfig;
pub use log::{event_log, tap};
pub use probe_documents::probe_documents;
pub use probe_messages::probe_messages;
pub use redaction::redaction;

/// A fuzz target: it reads an input, and panics where an invariant does not hold.
pub type Target = fn(&[u8]);

/// Every target with its name, which is that of its corpus.
pub const TARGETS: [(&str, Target); 6] = [
    ("probe_documents", probe_documents),
    ("probe_messages", probe_messages),
    ("redaction", redaction),
    ("event_log", event_log),
    ("tap", tap),
    ("kubeconfig", kubeconfig),
];

/// Asserts that a text neither steers a terminal nor deceives its reader.
fn assert_harmless(text: &str) {
    assert_eq!(harness::base::text::harmless(text), text, "a text is not harmless");
}
