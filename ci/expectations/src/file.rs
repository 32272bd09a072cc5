//! The file of an environment.

use std::collections::BTreeMap;

use harness::{
    Error, Result,
    base::manifest,
    engine::{Case, CaseKind, Profile},
    verdict::Level,
};
use serde::{Deserialize, Serialize};

use crate::Verdicts;

/// The content of a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// The environment that this one differs from.
    base: Option<String>,
    /// The profile of the runs. Only without a base.
    profile: Option<String>,
    /// The verdict of each case that has no entry. Only without a base.
    default: Option<Verdicts>,
    /// Verdicts of groups of cases. A later group wins.
    #[serde(default)]
    groups: Vec<Group>,
    /// Verdicts of single cases, by id. They win over groups.
    #[serde(default)]
    cases: BTreeMap<String, Entry>,
}

/// The verdict of a case.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    verdict: Verdicts,
    /// Why it differs, for the reader.
    reason: String,
}

/// The verdict of the cases that fit all selectors.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    suite: Option<String>,
    level: Option<Level>,
    kind: Option<Kind>,
    verdict: Verdicts,
    /// Why it differs, for the reader.
    reason: String,
}

/// How a case finds its verdict; see [`CaseKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Live,
    Static,
    PostRun,
}

impl Kind {
    fn of(case: &Case) -> Self {
        match case.kind {
            CaseKind::Live(_) => Self::Live,
            CaseKind::Static(_) => Self::Static,
            CaseKind::PostRun(_) => Self::PostRun,
        }
    }
}

impl Group {
    fn has(&self, case: &Case) -> bool {
        self.suite.as_ref().is_none_or(|suite| suite == case.suite)
            && self.level.is_none_or(|level| level == case.level)
            && self.kind.is_none_or(|kind| kind == Kind::of(case))
    }
}

/// Where the verdicts of a file begin.
pub(crate) enum Base<'a> {
    /// The verdicts of another environment.
    Environment(&'a str),
    /// The same verdicts for each case of a profile.
    Default(Profile, &'a Verdicts),
}

impl File {
    /// Reads the text of a file.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self> {
        // The hint of a manifest is about Kubernetes objects.
        manifest::parse(name, text).map_err(|error| {
            let hint = "correct the entry; `suites/tests/expectations/README.md` has the fields";
            error.with_hint(hint)
        })
    }

    pub(crate) fn base(&self, name: &str) -> Result<Base<'_>> {
        match (&self.base, &self.profile, &self.default) {
            (Some(base), None, None) => Ok(Base::Environment(base)),
            (None, Some(profile), Some(default)) => {
                let profile = Profile::parse(profile).map_err(|error| {
                    let hint = error.hint().unwrap_or_default().to_owned();
                    Error::usage(format!("`{name}`, `profile`: {error}")).with_hint(hint)
                })?;
                Ok(Base::Default(profile, default))
            }
            _ => Err(Error::usage(format!("`{name}` does not say where its verdicts begin"))
                .with_hint("give either `base`, or `profile` and `default`")),
        }
    }

    /// Applies the entries to the verdicts of the base.
    pub(crate) fn apply(
        &self,
        name: &str,
        profile: Profile,
        cases: &[Case],
        verdicts: &mut BTreeMap<&'static str, Verdicts>,
    ) -> Result<()> {
        for (index, group) in self.groups.iter().enumerate() {
            let entry = format!("`{name}`, group {}", index + 1);
            has_reason(&entry, &group.reason)?;
            let mut is_changed = false;
            for case in cases.iter().filter(|case| group.has(case)) {
                if let Some(verdict) = verdicts.get_mut(case.id) {
                    is_changed |= *verdict != group.verdict;
                    verdict.clone_from(&group.verdict);
                }
            }
            if !is_changed {
                return Err(Error::usage(format!("{entry} changes the verdict of no case"))
                    .with_hint("remove the group, or correct its selectors"));
            }
        }
        for (id, Entry { verdict, reason }) in &self.cases {
            let entry = format!("`{name}`, case `{id}`");
            has_reason(&entry, reason)?;
            let Some(expected) = verdicts.get_mut(id.as_str()) else {
                return Err(unknown_case(&entry, id, profile, cases));
            };
            if expected == verdict {
                return Err(Error::usage(format!("{entry}: it is {verdict} without this entry"))
                    .with_hint("remove the entry"));
            }
            expected.clone_from(verdict);
        }
        Ok(())
    }
}

fn has_reason(entry: &str, reason: &str) -> Result<()> {
    if reason.trim().is_empty() {
        return Err(Error::usage(format!("{entry} has an empty `reason`"))
            .with_hint("say why the verdict differs here"));
    }
    Ok(())
}

fn unknown_case(entry: &str, id: &str, profile: Profile, cases: &[Case]) -> Error {
    if cases.iter().any(|case| case.id == id) {
        Error::usage(format!("{entry}: profile `{}` does not have this case", profile.name()))
            .with_hint("remove the entry, or add the flavour to the case")
    } else {
        Error::usage(format!("{entry}: there is no such case"))
            .with_hint("remove the entry, or correct the id; `nestcheck list` prints all ids")
    }
}
