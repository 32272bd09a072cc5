//! Which verdict each case has in each environment of the tests.
//!
//! An environment is a cluster of the tests and the options of the run. Each has one file in
//! `suites/tests/expectations`; its `README.md` describes the format. The tests of good and broken
//! clusters and the mutants read these files, and nothing else lists the
//! verdicts of whole runs.

mod file;
mod verdicts;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use file::File;
use harness::{
    Error, Result,
    engine::{Case, Profile},
    verdict::Verdict,
};
pub use verdicts::Verdicts;

/// The directory of the files.
#[must_use]
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../suites/tests/expectations")
}

/// The expected verdicts of one environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectations {
    environment: String,
    verdicts: BTreeMap<&'static str, Verdicts>,
}

impl Expectations {
    /// Reads the file of an environment, such as `kubernetes`, and the files that it is based on.
    /// `cases` are all registered cases.
    ///
    /// # Errors
    ///
    /// An unreadable file, an unknown case, an entry that the profile does not have, and an entry
    /// that changes nothing: each with the file, the entry and what to do.
    pub fn read(environment: &str, cases: &[Case]) -> Result<Self> {
        Self::read_from(&directory(), environment, cases)
    }

    fn read_from(directory: &Path, environment: &str, cases: &[Case]) -> Result<Self> {
        let (_, verdicts) = resolve(directory, environment, cases, &mut Vec::new())?;
        Ok(Self { environment: environment.to_owned(), verdicts })
    }

    /// The expected verdict of a case, or the verdicts that it may have. None for a case that the
    /// profile does not have.
    #[must_use]
    pub fn of(&self, id: &str) -> Option<&Verdicts> {
        self.verdicts.get(id)
    }

    /// The cases that must have this verdict, sorted.
    #[must_use]
    pub fn with(&self, verdict: &str) -> Vec<&'static str> {
        self.filter(|verdicts| verdicts.is_only(&[verdict]))
    }

    /// The cases that must fail or be blocked, sorted.
    #[must_use]
    pub fn red(&self) -> Vec<&'static str> {
        self.filter(|verdicts| verdicts.is_only(&["fail", "blocked"]))
    }

    fn filter(&self, is_kept: impl Fn(&Verdicts) -> bool) -> Vec<&'static str> {
        let kept = self.verdicts.iter().filter(|(_, verdicts)| is_kept(verdicts));
        kept.map(|(id, _)| *id).collect()
    }

    /// Compares the verdicts of a whole run. Returns each difference as a sentence: another
    /// verdict, a case without a verdict, and a verdict of a case that is not expected here.
    #[must_use]
    pub fn deviations<'a>(
        &self,
        observed: impl IntoIterator<Item = (&'a str, &'a Verdict)>,
    ) -> Vec<String> {
        let observed: BTreeMap<_, _> = observed.into_iter().collect();
        let missing = self.verdicts.iter().filter(|(id, _)| !observed.contains_key(**id));
        let missing = missing
            .map(|(id, expected)| (*id, format!("{id}: expected {expected}, it did not run")));
        let differing = observed.iter().filter_map(|(id, verdict)| {
            let expected = self.of(id);
            let name = verdict.name();
            match expected {
                Some(expected) if expected.has(name) => None,
                Some(expected) => {
                    let message = verdict.message().unwrap_or_default();
                    Some((*id, format!("{id}: expected {expected}, observed {name}: {message}")))
                }
                None => Some((*id, format!("{id}: the profile does not have it, observed {name}"))),
            }
        });
        let mut deviations: Vec<_> = missing.chain(differing).collect();
        deviations.sort();
        let environment = &self.environment;
        deviations.into_iter().map(|(_, text)| format!("{environment}: {text}")).collect()
    }
}

/// A profile and the verdicts of its cases.
type Resolved = (Profile, BTreeMap<&'static str, Verdicts>);

/// Reads a file and applies it to its base. `above` are the files that led here.
fn resolve(
    directory: &Path,
    environment: &str,
    cases: &[Case],
    above: &mut Vec<String>,
) -> Result<Resolved> {
    let name = format!("{environment}.yaml");
    if above.contains(&name) {
        return Err(Error::usage(format!("`{name}` is based on itself"))
            .with_hint(format!("change `base` in one of `{}`", above.join("`, `"))));
    }
    let text = fs::read_to_string(directory.join(&name)).map_err(|error| {
        let from = above.last().map(|file| format!(", the base of `{file}`")).unwrap_or_default();
        Error::usage(format!("cannot read `{name}`{from}: {error}"))
            .with_hint(format!("the files are in `{}`", directory.display()))
    })?;
    let file = File::parse(&name, &text)?;
    above.push(name.clone());
    let (profile, mut verdicts) = match file.base(&name)? {
        file::Base::Environment(base) => resolve(directory, base, cases, above)?,
        file::Base::Default(profile, default) => {
            let cases = cases.iter().filter(|case| profile.has(case));
            (profile, cases.map(|case| (case.id, default.clone())).collect())
        }
    };
    file.apply(&name, profile, cases, &mut verdicts)?;
    Ok((profile, verdicts))
}
