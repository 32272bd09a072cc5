//! Which cases are asked for.

use crate::{
    Error, Result,
    engine::{Case, OfNode, Profile, base_id},
    verdict::Level,
};

/// The variable by which a pod of an Indexed Job knows its index, from 0 (kubernetes.io, "Jobs",
/// "Completion mode").
const INDEX_OF_POD: &str = "JOB_COMPLETION_INDEX";

/// One part of the run's cases, for several machines: part `index` of `count`, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: u32,
}

impl Shard {
    /// Reads `I/N`, or `job/N` in a pod of an Indexed Job: there the part is that of the pod.
    ///
    /// # Errors
    ///
    /// Anything but two numbers with 1 ≤ I ≤ N; `job` elsewhere.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_in_job(text, std::env::var(INDEX_OF_POD).ok().as_deref())
    }

    /// As [`Self::parse`], in a pod with this index, from 0.
    fn parse_in_job(text: &str, index_of_pod: Option<&str>) -> Result<Self> {
        if text.starts_with("job/") && index_of_pod.is_none() {
            return Err(Error::usage(format!(
                "`{text}` has a meaning only in a pod of an Indexed Job"
            ))
            .with_hint(format!("run it where `{INDEX_OF_POD}` is set, or write `I/N`")));
        }
        let parsed = text.split_once('/').and_then(|(index, count)| {
            let index: u32 = match index {
                "job" => index_of_pod?.parse::<u32>().ok()?.checked_add(1)?,
                index => index.parse().ok()?,
            };
            Some(Self { index, count: count.parse().ok()? })
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
    let has_id = match case.of_node {
        OfNode::No => case.id.eq_ignore_ascii_case(filter),
        // The nodes are not known yet.
        OfNode::Each => case.id.eq_ignore_ascii_case(base_id(filter)),
        OfNode::This(_) => {
            [case.id, base_id(case.id)].iter().any(|id| id.eq_ignore_ascii_case(filter))
        }
    };
    !filter.is_empty()
        && (has_id
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
        let fits =
            |case: &&Case| self.profile.is_none_or(|profile| profile.has(case)) && self.has(case);
        cases.iter().filter(fits).copied().collect()
    }

    /// Whether a case is selected, whatever its profiles are.
    #[must_use]
    pub fn has(&self, case: &Case) -> bool {
        self.filters.has(case)
            && (self.levels.is_empty() || self.levels.contains(&case.level))
            && self.shard.is_none_or(|shard| shard.has(case))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::CASES, *};
    use crate::engine::ProvenNode;

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
    fn a_pod_of_an_indexed_job_takes_its_own_shard() {
        let parse = |text: &str, index| Shard::parse_in_job(text, index).ok();
        assert_eq!(parse("job/4", Some("0")), Some(Shard { index: 1, count: 4 }));
        assert_eq!(parse("job/4", Some("3")), Some(Shard { index: 4, count: 4 }));
        assert_eq!(parse("2/4", Some("3")), Some(Shard { index: 2, count: 4 }), "as asked for");
        for (text, index) in [
            ("job/4", Some("4")),
            ("job/4", Some("-1")),
            ("job/4", Some("4294967295")),
            ("job/x", Some("0")),
            ("job/4", None),
        ] {
            assert_eq!(parse(text, index), None, "{text} {index:?}");
        }
        let error = Shard::parse_in_job("job/4", None).expect_err("no job");
        assert!(error.to_string().contains("Indexed Job"), "{error}");
    }

    #[test]
    fn a_filter_may_name_a_node() {
        let each = Case { id: "NODE-01", suite: "nodes", of_node: OfNode::Each, ..CASES[0] };
        let node = ProvenNode { name: "worker-3".to_owned(), number: 0 };
        let of_node = OfNode::This(Box::leak(Box::new(node)));
        let one = Case { id: "NODE-01.worker-3", of_node, ..each };
        let cases = [CASES[0], each];
        for (filter, expected) in [
            ("NODE-01", true),
            ("nodes", true),
            ("NODE-01.worker-3", true),
            ("NODE-01.worker-4", false),
            ("!nodes", false),
            ("POD-03", false),
        ] {
            let filters = Filters::parse(&[filter.to_owned()], &cases).expect(filter);
            assert_eq!(filters.has(&one), expected, "{filter}");
        }
        assert!(Filters::parse(&["POD-03.worker-3".to_owned()], &cases).is_err());
    }

    #[test]
    fn what_is_not_a_shard_is_refused() {
        for text in ["3/2", "0/2", "1/0", "1", "a/b", "-1/2", ""] {
            assert!(Shard::parse(text).is_err(), "{text}");
        }
    }
}
