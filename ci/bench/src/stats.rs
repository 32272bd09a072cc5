//! The few numbers that are said about a series.

use serde::Serialize;

/// A series of measurements.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Series(pub(crate) Vec<f64>);

impl Series {
    fn sorted(&self) -> Vec<f64> {
        let mut values = self.0.clone();
        values.sort_by(f64::total_cmp);
        values
    }

    /// The value in the middle; 0 for an empty series.
    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        match (sorted.get(sorted.len().saturating_sub(1) / 2), sorted.get(sorted.len() / 2)) {
            (Some(low), Some(high)) => f64::midpoint(*low, *high),
            _ => 0.0,
        }
    }

    /// `median unit (min–max)`.
    pub(crate) fn show(&self, unit: &str) -> String {
        let sorted = self.sorted();
        let (min, max) = (sorted.first().unwrap_or(&0.0), sorted.last().unwrap_or(&0.0));
        let digits = if *max < 10.0 { 2 } else { 1 };
        format!("{:.digits$}{unit} ({min:.digits$}–{max:.digits$})", self.median())
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_series_is_between_its_middle_two() {
        assert_eq!(Series(vec![4.0, 1.0, 2.0, 3.0]).show(" s"), "2.50 s (1.00–4.00)");
        assert_eq!(Series(vec![30.0, 10.0, 20.0]).show(" ms"), "20.0 ms (10.0–30.0)");
        assert_eq!(Series::default().show(""), "0.00 (0.00–0.00)");
    }
}
