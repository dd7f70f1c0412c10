//! Alternating rounds, and their medians.

use crate::bench::Bench;

/// One round of one server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Round {
    pub(crate) requests: u64,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Processor time of the server per request.
    pub(crate) cpu_micros: f64,
    /// Share of its one core that the server used, 0 to 1.
    pub(crate) busy: f64,
    pub(crate) resident_mb: f64,
}

/// All rounds of one server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds(Vec<Round>);

impl Rounds {
    pub(crate) fn median(&self, value: impl Fn(&Round) -> f64) -> f64 {
        median(self.0.iter().map(value).collect())
    }

    /// Median, and in parentheses the lowest and the highest.
    pub(crate) fn per_second(&self) -> String {
        let mut values: Vec<f64> = self.0.iter().map(|round| round.per_second).collect();
        values.sort_by(f64::total_cmp);
        let lowest = values.first().unwrap_or(&f64::NAN);
        let highest = values.last().unwrap_or(&f64::NAN);
        let digits = usize::from(*lowest < 1000.0);
        let median = median(values.clone());
        format!("{median:.digits$} ({lowest:.digits$}-{highest:.digits$})")
    }

    /// Median of the ratios within one round each: what slows down the whole machine cancels out.
    pub(crate) fn ratio_to(&self, other: &Self) -> f64 {
        let pairs = self.0.iter().zip(&other.0);
        median(pairs.map(|(a, b)| a.per_second / b.per_second).collect())
    }
}

/// Runs everything once per round, each round in a different order.
pub(crate) fn alternate<S>(
    bench: &Bench,
    rounds: usize,
    subjects: &[S],
    mut run: impl FnMut(&S) -> anyhow::Result<Round>,
) -> anyhow::Result<Vec<Rounds>> {
    let mut all = vec![Rounds::default(); subjects.len()];
    for number in 0..rounds {
        println!("  round {} of {rounds}", number + 1);
        for step in 0..subjects.len() {
            bench.require_running()?;
            let index = (number + step) % subjects.len();
            all[index].0.push(run(&subjects[index])?);
        }
    }
    Ok(all)
}

/// NaN if there are no values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::{Round, Rounds, median};

    fn rounds(rates: &[f64]) -> Rounds {
        let round = |&per_second: &f64| Round {
            per_second,
            ..Round::default()
        };
        Rounds(rates.iter().map(round).collect())
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!((median(vec![9.0, 1.0, 5.0]) - 5.0).abs() < 1e-9);
    }

    #[test]
    fn a_slow_moment_of_the_machine_cancels_out() {
        let ratio = rounds(&[100.0, 50.0, 100.0]).ratio_to(&rounds(&[200.0, 100.0, 200.0]));
        assert!((ratio - 0.5).abs() < 1e-9);
    }
}
