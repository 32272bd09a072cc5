//! Which cases are asked for.

use crate::{
    Error, Result,
    engine::{Case, Profile},
    verdict::Level,
};

/// One part of the run's cases, for several machines: part `index` of `count`, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: u32,
}

impl Shard {
    /// Reads `I/N`.
    ///
    /// # Errors
    ///
    /// Anything but two numbers with 1 ≤ I ≤ N.
    pub fn parse(text: &str) -> Result<Self> {
        let parsed = text.split_once('/').and_then(|(index, count)| {
            Some(Self { index: index.parse().ok()?, count: count.parse().ok()? })
        });
        parsed.filter(|shard| (1..=shard.count).contains(&shard.index)).ok_or_else(|| {
            Error::usage(format!("`{text}` is not a shard"))
                .with_hint("a shard is `I/N` with I from 1 to N, such as `--shard 1/3`")
        })
    }

    /// Whether a case is in this part. Decided by its id alone, so that a case stays in its part
    /// when others come and go.
    fn has(self, case: &Case) -> bool {
        // FNV-1a, 64 bits: small, stable between releases, and even enough for some hundred ids.
        let hash = case.id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        hash % u64::from(self.count) == u64::from(self.index - 1)
    }
}

/// Picks cases by id, suite, or the beginning of a name path; `!` excludes.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    with: Vec<String>,
    without: Vec<String>,
}

impl Filters {
    /// Reads filters as given on the command line.
    ///
    /// # Errors
    ///
    /// A filter that fits no case.
    pub fn parse(filters: &[String], cases: &[Case]) -> Result<Self> {
        let mut parsed = Self::default();
        for filter in filters {
            let (name, list) = match filter.strip_prefix('!') {
                Some(name) => (name, &mut parsed.without),
                None => (filter.as_str(), &mut parsed.with),
            };
            if !cases.iter().any(|case| fits(name, case)) {
                let suites: std::collections::BTreeSet<_> =
                    cases.iter().map(|case| format!("`{}`", case.suite)).collect();
                let suites: Vec<_> = suites.into_iter().collect();
                return Err(Error::usage(format!("no case fits the filter `{filter}`")).with_hint(
                    format!(
                        "give an id such as `POD-03`, a suite ({}) or the beginning of a name \
                         such as `podman::build`; `nestcheck list` shows all",
                        suites.join(", ")
                    ),
                ));
            }
            list.push(name.to_owned());
        }
        Ok(parsed)
    }

    fn has(&self, case: &Case) -> bool {
        let with = self.with.is_empty() || self.with.iter().any(|name| fits(name, case));
        with && !self.without.iter().any(|name| fits(name, case))
    }
}

fn fits(filter: &str, case: &Case) -> bool {
    !filter.is_empty()
        && (case.id.eq_ignore_ascii_case(filter)
            || case.suite == filter
            || (filter.contains("::") && case.path().starts_with(filter)))
}

/// Which cases are asked for. The default is all of them.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// The profile; none for the cases of every profile.
    pub profile: Option<Profile>,
    /// The filters.
    pub filters: Filters,
    /// The levels; none of them for every level.
    pub levels: Vec<Level>,
    /// The part of them, if they are split.
    pub shard: Option<Shard>,
}

impl Selection {
    /// Makes sure that the levels leave something of what the filters pick. The cluster may still have
    /// another profile, and a shard may be empty.
    ///
    /// # Errors
    ///
    /// No case that the filters pick has one of the levels.
    pub fn check_levels(&self, cases: &[Case]) -> Result<()> {
        let picked = Self { profile: self.profile, shard: None, ..self.clone() }.pick(cases);
        if !picked.is_empty() || self.levels.is_empty() {
            return Ok(());
        }
        let levels: Vec<_> = self.levels.iter().map(|level| level.name()).collect();
        let message = format!("no selected case has the level {}", levels.join(" or "));
        Err(Error::usage(message)
            .with_hint("`nestcheck list -o json` shows the level of each case"))
    }

    /// The selected cases, in the order of the registry.
    #[must_use]
    pub fn pick(&self, cases: &[Case]) -> Vec<Case> {
        let fits = |case: &&Case| {
            self.profile.is_none_or(|profile| profile.has(case))
                && self.filters.has(case)
                && (self.levels.is_empty() || self.levels.contains(&case.level))
                && self.shard.is_none_or(|shard| shard.has(case))
        };
        cases.iter().filter(fits).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::CASES, *};

    fn picked(filters: &[&str]) -> Vec<&'static str> {
        let filters: Vec<_> = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let selection = Selection {
            profile: Some(Profile::Kubernetes),
            filters: Filters::parse(&filters, &CASES).expect("the filters fit"),
            ..Selection::default()
        };
        selection.pick(&CASES).iter().map(|case| case.id).collect()
    }

    #[test]
    fn a_filter_is_an_id_a_suite_or_the_beginning_of_a_path() {
        assert_eq!(picked(&[]), ["POD-03", "POD-06", "CMP-02"]);
        assert_eq!(picked(&["pod-03"]), ["POD-03"]);
        assert_eq!(picked(&["podman"]), ["POD-03", "POD-06"]);
        assert_eq!(picked(&["podman::builds_in"]), ["POD-06"]);
        assert_eq!(picked(&["!podman"]), ["CMP-02"]);
        assert_eq!(picked(&["podman", "!POD-06"]), ["POD-03"]);
    }

    #[test]
    fn a_filter_that_fits_nothing_is_an_error_that_names_it() {
        let error = Filters::parse(&["pdoman".to_owned()], &CASES).expect_err("a typo");
        assert_eq!(error.to_string(), "no case fits the filter `pdoman`");
        assert!(error.hint().is_some_and(|hint| hint.contains("`podman`")));
        assert!(Filters::parse(&["!".to_owned()], &CASES).is_err());
    }

    #[test]
    fn levels_are_a_partition_and_an_empty_choice_is_refused() {
        let cases = [
            CASES[0],
            Case { level: Level::Extended, ..CASES[1] },
            Case { level: Level::Informing, ..CASES[2] },
        ];
        let of = |levels: &[Level]| Selection { levels: levels.to_vec(), ..Selection::default() };
        let ids = |levels: &[Level]| -> Vec<&str> {
            of(levels).pick(&cases).iter().map(|case| case.id).collect()
        };
        assert_eq!(ids(&[]), ["POD-03", "POD-06", "CMP-02"]);
        assert_eq!(ids(&[Level::Core]), ["POD-03"]);
        assert_eq!(ids(&[Level::Informing, Level::Extended]), ["POD-06", "CMP-02"]);

        let all = of(&[Level::Extended]);
        assert!(all.check_levels(&cases).is_ok() && of(&[]).check_levels(&[]).is_ok());
        let error = all.check_levels(&cases[..1]).expect_err("there is only a core case");
        assert_eq!(error.to_string(), "no selected case has the level extended");
        let wrong = "Core".parse::<Level>().expect_err("names are in lower case");
        assert!(wrong.hint().is_some_and(|hint| hint.contains("informing")), "{wrong:?}");
    }

    #[test]
    fn shards_are_a_partition() {
        let ids = |text: &str| -> Vec<&str> {
            let selection = Selection {
                profile: Some(Profile::Kubernetes),
                shard: Some(Shard::parse(text).expect("a shard")),
                ..Selection::default()
            };
            selection.pick(&CASES).iter().map(|case| case.id).collect()
        };
        let mut all = [ids("1/2"), ids("2/2")].concat();
        all.sort_unstable();
        assert_eq!(all, ["CMP-02", "POD-03", "POD-06"]);
    }

    #[test]
    fn what_is_not_a_shard_is_refused() {
        for text in ["3/2", "0/2", "1/0", "1", "a/b", "-1/2", ""] {
            assert!(Shard::parse(text).is_err(), "{text}");
        }
    }
}
