//! The table: figure, value, target.

use std::fmt;

use comfy_table::{Table, presets};
use serde::Serialize;

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) target: String,
    /// `None` without a target.
    pub(crate) met: Option<bool>,
}

/// The whole table.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures(pub(crate) Vec<Figure>);

impl Figures {
    /// A figure that must not be above its limit.
    pub(crate) fn limited(
        &mut self,
        name: impl Into<String>,
        value: impl Into<String>,
        measured: f64,
        limit: f64,
        unit: &str,
    ) {
        self.0.push(Figure {
            name: name.into(),
            value: value.into(),
            target: format!("≤ {limit}{unit}"),
            met: Some(measured <= limit),
        });
    }

    /// A figure without a limit.
    pub(crate) fn plain(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        self.0.push(Figure { name, value, target: String::new(), met: None });
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.add_rows(self.0.iter().map(|Figure { name, value, target, met }| {
            let met = met.map_or("", |met| if met { "ok" } else { "MISSED" });
            [name.as_str(), value, target, met]
        }));
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        writeln!(f, "{}", table.trim_fmt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_above_its_limit_is_missed_and_all_columns_line_up() {
        let mut figures = Figures::default();
        figures.limited("wall", "1.20 s", 1.2, 1.15, " s");
        figures.limited("longer", "1 s", 1.0, 1.15, " s");
        figures.plain("x", "y");
        let expected =
            "wall    1.20 s  ≤ 1.15 s  MISSED\nlonger  1 s     ≤ 1.15 s  ok\nx       y\n";
        assert_eq!(figures.to_string(), expected);
    }
}
