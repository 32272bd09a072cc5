//! The table of cases and mutants.

use std::{collections::BTreeMap, fmt::Write};

use comfy_table::{Table, presets};
use harness::{engine::Case, verdict::Level};

use crate::{evaluate::Mark, scenario::Mutant};

/// A column of the table: a mutant, and its mark for each case that ran with it.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// The mutant.
    pub(crate) mutant: Mutant,
    /// The marks, by the case's id.
    pub(crate) marks: BTreeMap<String, Mark>,
}

/// The core cases that no mutant kills.
#[must_use]
pub(crate) fn survivors(cases: &[Case], columns: &[Column]) -> Vec<&'static str> {
    let is_killed = |case: &&Case| {
        columns.iter().any(|column| column.marks.get(case.id) == Some(&Mark::Killed))
    };
    cases
        .iter()
        .filter(|case| case.level == Level::Core && !is_killed(case))
        .map(|case| case.id)
        .collect()
}

/// The table: a row per case, a column per mutant, and a legend of the mutants.
#[must_use]
pub(crate) fn render(cases: &[Case], columns: &[Column]) -> String {
    let ran = |case: &&Case| columns.iter().any(|column| column.marks.contains_key(case.id));
    let mut rows: Vec<_> =
        cases.iter().filter(|case| case.level == Level::Core || ran(case)).collect();
    rows.sort_by_key(|case| case.id);
    let mut table = Table::new();
    // Downwards, as a column is one character wide.
    let number = |index: usize| {
        let index = index + 1;
        format!("{}\n{}\n{}", index / 100, index / 10 % 10, index % 10)
    };
    table
        .load_style(presets::NOTHING)
        .set_header(["", ""].map(str::to_owned).into_iter().chain((0..columns.len()).map(number)));
    for case in rows {
        let marks = columns.iter().map(|column| match column.marks.get(case.id) {
            Some(Mark::Killed) => "X",
            Some(Mark::AlsoAffected) => "d",
            Some(Mark::Alive) => ".",
            None => "",
        });
        let level = if case.level == Level::Core { "core" } else { "" };
        table.add_row([case.id, level].into_iter().chain(marks));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, [2, 1].get(index).copied().unwrap_or_default()));
    }
    let mut text = format!(
        "X killed by the mutant · d red as its dependent · . not red · (blank) did not run\n\n{}\n",
        table.trim_fmt()
    );
    // Writing to a string can't fail.
    text.push('\n');
    for (index, column) in columns.iter().enumerate() {
        let Mutant { name, breaks, .. } = column.mutant;
        let _ = writeln!(text, "{:03}  {name}: {breaks}", index + 1);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Kill;

    fn column(id: &str, mark: Mark) -> Column {
        let mutant =
            Mutant { name: "lies", breaks: "It lies", kills: &[Kill("POD-03", "exit code")] };
        Column { mutant, marks: BTreeMap::from([(id.to_owned(), mark)]) }
    }

    fn cases() -> Vec<Case> {
        let cases = suites::cases().into_iter();
        cases.filter(|case| ["POD-01", "POD-03"].contains(&case.id)).collect()
    }

    #[test]
    fn a_case_that_no_mutant_kills_survives() {
        assert_eq!(survivors(&cases(), &[column("POD-03", Mark::Killed)]), ["POD-01"]);
        let columns = [column("POD-03", Mark::AlsoAffected), column("POD-01", Mark::Killed)];
        assert_eq!(survivors(&cases(), &columns), ["POD-03"], "a dependent is not killed");
    }

    #[test]
    fn the_table_has_a_row_per_case_and_a_column_per_mutant() {
        let columns = [column("POD-03", Mark::Alive), column("POD-03", Mark::Killed)];
        let table = render(&cases(), &columns);
        assert!(table.contains("\nPOD-01  core\n"), "{table}");
        assert!(table.contains("\nPOD-03  core .X\n"), "{table}");
        assert!(table.contains("\n001  lies: It lies\n"), "{table}");
    }
}
