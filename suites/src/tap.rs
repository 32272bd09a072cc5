//! What a program says in the Test Anything Protocol, version 13, as bats writes it.

/// The results of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results {
    /// How many tests were to run; none where the run did not get so far.
    pub planned: Option<usize>,
    /// The tests that ran, in their order.
    pub tests: Vec<Test>,
}

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// What it is about.
    pub name: String,
    /// What it came to.
    pub result: TestResult,
}

/// What a test came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestResult {
    /// It passed.
    Passed,
    /// It was left out, for this reason.
    Skipped(String),
    /// It failed, and said this about it.
    Failed(String),
}

impl Results {
    /// Reads the results in a text; what belongs to no test is left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut results = Self::default();
        for line in text.lines() {
            if let Some(test) = Test::parse(line) {
                results.tests.push(test);
            } else if let Some(count) = line.strip_prefix("1..") {
                results.planned = count.split_whitespace().next().and_then(|c| c.parse().ok());
            } else if let Some(comment) = line.strip_prefix('#')
                && let Some(Test { result: TestResult::Failed(said), .. }) =
                    results.tests.last_mut()
            {
                if !said.is_empty() {
                    said.push('\n');
                }
                said.push_str(comment.trim());
            }
        }
        results
    }

    /// Whether every test that was planned has a result.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.planned == Some(self.tests.len())
    }
}

impl Test {
    /// Reads `ok 1 name`, `ok 2 name # skip reason` or `not ok 3 name`.
    fn parse(line: &str) -> Option<Self> {
        let (rest, failed) = match line.strip_prefix("not ok ") {
            Some(rest) => (rest, true),
            None => (line.strip_prefix("ok ")?, false),
        };
        let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        number.parse::<usize>().ok()?;
        let (name, directive) = rest.split_once(" # ").unwrap_or((rest, ""));
        let reason = match directive.split_at_checked(4) {
            Some((word, reason)) if word.eq_ignore_ascii_case("skip") => Some(reason.trim()),
            _ => None,
        };
        let (name, result) = match reason {
            _ if failed => (rest, TestResult::Failed(String::new())),
            Some(reason) => (name, TestResult::Skipped(reason.to_owned())),
            None => (rest, TestResult::Passed),
        };
        Some(Self { name: name.trim().to_owned(), result })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "1..4
# setup(): removing stray image
ok 1 [001] podman version emits reasonable output
# Arch:amd64 OS:debian13
ok 2 [001] podman --context # skip only applicable on podman-remote
not ok 3 [020] podman tag # twice
# (in test file 020-tag.bats, line 12)
#   `run_podman tag' failed
ok 4 with a # in it
";

    fn test(name: &str, result: TestResult) -> Test {
        Test { name: name.to_owned(), result }
    }

    #[test]
    fn every_kind_of_result_is_read() {
        let said = "(in test file 020-tag.bats, line 12)\n`run_podman tag' failed";
        let results = Results::parse(TEXT);
        let expected = vec![
            test("[001] podman version emits reasonable output", TestResult::Passed),
            test(
                "[001] podman --context",
                TestResult::Skipped("only applicable on podman-remote".into()),
            ),
            test("[020] podman tag # twice", TestResult::Failed(said.into())),
            test("with a # in it", TestResult::Passed),
        ];
        assert_eq!(results, Results { planned: Some(4), tests: expected });
        assert!(results.is_complete());
    }

    #[test]
    fn a_run_that_broke_off_is_not_complete() {
        assert!(!Results::parse("").is_complete());
        assert!(!Results::parse("1..2\nok 1 a\n").is_complete());
        assert!(!Results::parse("ok 1 a\n").is_complete(), "no plan");
        assert!(!Results::parse("1..x\nok 1 a\n").is_complete());
    }

    #[test]
    fn what_is_no_result_is_none() {
        for line in ["ok", "ok x name", "okay 1 name", "not ok", "Bail out!", " ok 1 name", "ok é"]
        {
            assert_eq!(Results::parse(line).tests, [], "{line}");
        }
        assert_eq!(Results::parse("ok 1").tests, [test("", TestResult::Passed)]);
        assert_eq!(
            Results::parse("ok 1 a # éé").tests,
            [test("a # éé", TestResult::Passed)],
            "not cut inside of a letter"
        );
    }
}
