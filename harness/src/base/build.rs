//! What this program was built from, as `ci/release` says it; a build by hand says nothing.

use std::sync::OnceLock;

/// The commit.
pub const COMMIT: Option<&str> = option_env!("NESTCHECK_COMMIT");

/// When it was committed, as an RFC 3339 date: a build of the same commit has the same date.
pub const DATE: Option<&str> = option_env!("NESTCHECK_BUILD_DATE");

/// `clean`, or `dirty` where files differ from the commit.
pub const TREE_STATE: Option<&str> = option_env!("NESTCHECK_TREE_STATE");

/// nestcheck's version, with the commit and its date where they are known: `0.1.0 (4f2a91c 2026-11-30)`.
#[must_use]
pub fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| version_of(env!("CARGO_PKG_VERSION"), COMMIT, DATE, TREE_STATE))
}

fn version_of(
    version: &str,
    commit: Option<&str>,
    date: Option<&str>,
    tree_state: Option<&str>,
) -> String {
    let Some(commit) = commit.filter(|commit| !commit.is_empty()) else {
        return version.to_owned();
    };
    let short = commit.get(..12).unwrap_or(commit);
    let dirty = if tree_state == Some("dirty") { "-dirty" } else { "" };
    let day = date.and_then(|date| date.get(..10)).map(|day| format!(" {day}"));
    format!("{version} ({short}{dirty}{})", day.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_says_what_was_built_where_that_is_known() {
        assert_eq!(version_of("0.1.0", None, None, None), "0.1.0");
        assert_eq!(version_of("0.1.0", Some(""), Some("x"), None), "0.1.0");
        let commit = Some("0123456789abcdef0123456789abcdef01234567");
        let date = Some("2026-11-30T06:00:00Z");
        let clean = version_of("0.1.0", commit, date, Some("clean"));
        assert_eq!(clean, "0.1.0 (0123456789ab 2026-11-30)");
        assert_eq!(version_of("0.1.0", commit, None, Some("dirty")), "0.1.0 (0123456789ab-dirty)");
    }
}
