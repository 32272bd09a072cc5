//! Ranges of versions.

use std::{cmp::Ordering, fmt, str::FromStr};

/// How many numbers of a version count.
const PARTS: usize = 3;

/// A range of versions, such as `>=4.19 <4.21`.
///
/// A bound compares as many numbers as it has: `<=4.20` includes 4.20.7, and `<4.21` excludes
/// 4.21.0-rc.1. A bound without an operator is `=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Versions {
    text: String,
    bounds: Vec<Bound>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Bound {
    operator: Operator,
    numbers: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    AtLeast,
    AtMost,
    Above,
    Below,
    Equal,
}

impl Operator {
    /// The longer ones first.
    const ALL: [(&str, Self); 5] = [
        (">=", Self::AtLeast),
        ("<=", Self::AtMost),
        (">", Self::Above),
        ("<", Self::Below),
        ("=", Self::Equal),
    ];

    fn permits(self, order: Ordering) -> bool {
        match self {
            Self::AtLeast => order.is_ge(),
            Self::AtMost => order.is_le(),
            Self::Above => order.is_gt(),
            Self::Below => order.is_lt(),
            Self::Equal => order.is_eq(),
        }
    }
}

impl Versions {
    /// Whether a version, such as `v1.33.2` or `4.20.0-rc.1`, is in the range; none where it does
    /// not begin with a number.
    pub(super) fn has(&self, version: &str) -> Option<bool> {
        let version = version.strip_prefix('v').unwrap_or(version);
        let mut numbers = Vec::new();
        for part in version.split('.').take(PARTS) {
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            let Ok(number) = part[..end].parse() else { break };
            numbers.push(number);
            if end < part.len() {
                break;
            }
        }
        (!numbers.is_empty()).then(|| self.permits(&numbers))
    }

    fn permits(&self, numbers: &[u32]) -> bool {
        let part = |index: usize| numbers.get(index).copied().unwrap_or(0);
        self.bounds.iter().all(|Bound { operator, numbers }| {
            let compared = numbers.iter().enumerate().map(|(index, bound)| part(index).cmp(bound));
            operator.permits(compared.fold(Ordering::Equal, Ordering::then))
        })
    }

    /// Whether no version is in the range.
    fn is_empty(&self) -> bool {
        let around = |numbers: &[u32]| {
            let mut after = numbers.to_vec();
            if let Some(last) = after.last_mut() {
                *last = last.saturating_add(1);
            }
            let padded = |with: u32| {
                let mut padded = numbers.to_vec();
                padded.resize(PARTS, with);
                padded
            };
            [padded(0), padded(u32::MAX), after]
        };
        let points = self.bounds.iter().flat_map(|bound| around(&bound.numbers));
        !points.chain([vec![0; PARTS]]).any(|point| self.permits(&point))
    }
}

impl FromStr for Versions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "`{text}` is not a range of versions, such as `>=4.19 <4.21`, `=4.20` or `4.20.3`"
            )
        };
        let is_between = |c: char| c.is_whitespace() || c == ',';
        let mut bounds = Vec::new();
        let mut rest = text.trim_start_matches(is_between);
        while !rest.is_empty() {
            let find = |(sign, operator)| Some((rest.strip_prefix(sign)?, operator));
            let (after, operator) =
                Operator::ALL.into_iter().find_map(find).unwrap_or((rest, Operator::Equal));
            let after = after.trim_start();
            let (version, next) = after.split_at(after.find(is_between).unwrap_or(after.len()));
            let version = version.strip_prefix('v').unwrap_or(version);
            let numbers: Result<Vec<u32>, _> = version.split('.').map(str::parse).collect();
            let numbers = numbers.ok().filter(|it| it.len() <= PARTS).ok_or_else(bad)?;
            bounds.push(Bound { operator, numbers });
            rest = next.trim_start_matches(is_between);
        }
        let range = Self { text: text.to_owned(), bounds };
        if range.bounds.is_empty() {
            Err(bad())
        } else if range.is_empty() {
            Err(format!("no version is in the range `{text}`"))
        } else {
            Ok(range)
        }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bound_compares_as_many_numbers_as_it_has() {
        for (range, inside, outside) in [
            (
                ">=4.19 <4.21",
                &["4.19.0", "4.20.7", "4.20.0-rc.1"][..],
                &["4.18.30", "4.21.0-rc.1"][..],
            ),
            ("<=4.20", &["4.20.7", "4.9.1"], &["4.21.0", "5.0.0"]),
            (">4.20", &["4.21.0", "5.0"], &["4.20.7"]),
            ("4.20", &["4.20.0", "4.20.7", "4.20"], &["4.2.0", "4.21.0"]),
            ("= 4.20.3", &["4.20.3", "4.20.3-okd"], &["4.20.4"]),
            (">=v1.33,<1.35", &["v1.33.2", "1.34.0"], &["v1.35.0", "v1.32.5"]),
            (">=5", &["5.0.1"], &["4.99.9"]),
        ] {
            let parsed: Versions = range.parse().expect(range);
            for version in inside {
                assert_eq!(parsed.has(version), Some(true), "{version} in {range}");
            }
            for version in outside {
                assert_eq!(parsed.has(version), Some(false), "{version} in {range}");
            }
            assert_eq!(parsed.has("unknown"), None);
        }
    }

    #[test]
    fn what_is_not_a_range_is_refused() {
        for text in ["", " ", ">=", "4.x", ">=4.19 <", "4.19-4.21", "~4.19", "1.2.3.4", "==4", "-1"]
        {
            let error = text.parse::<Versions>().expect_err(text);
            assert!(error.contains("is not a range"), "{error}");
        }
        for text in [">=4.21 <4.19", "4.19 4.20", ">4.20 <4.20.5", "<0"] {
            let error = text.parse::<Versions>().expect_err(text);
            assert!(error.contains("no version is in"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_range_or_refused(text in "[v<>=0-9., ]{0,12}|\\PC{0,8}") {
            if let Ok(range) = text.parse::<Versions>() {
                prop_assert_eq!(range.to_string(), text);
            }
        }
    }
}
