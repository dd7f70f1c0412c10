//! Alternating rounds, and their medians.

use crate::bench::Bench;
use crate::plan::Pace;

/// A server that used less of its core was not the bottleneck.
const BUSY: f64 = 0.9;

/// What was measured in one round of one row, or the medians of several rounds. NaN is unknown.
#[derive(Clone, Copy, Debug)]
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

impl Round {
    /// Of which nothing else is known.
    pub(crate) fn of_rate(requests: u64, per_second: f64) -> Self {
        Self {
            requests,
            per_second,
            p50_ms: f64::NAN,
            p99_ms: f64::NAN,
            cpu_micros: f64::NAN,
            busy: f64::NAN,
            resident_mb: f64::NAN,
        }
    }

    /// With the percentiles of the time that each request took.
    pub(crate) fn with_times(self, mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        let last = micros.len().saturating_sub(1);
        let percentile = |percent| micros.get(last * percent / 100).copied();
        let ms = |percent| percentile(percent).map_or(f64::NAN, |it| f64::from(it) / 1e3);
        Self {
            p50_ms: ms(50),
            p99_ms: ms(99),
            ..self
        }
    }
}

/// All rounds of one row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds(Vec<Round>);

impl Rounds {
    pub(crate) fn medians(&self) -> Round {
        let of = |value: fn(&Round) -> f64| median(self.0.iter().map(value).collect());
        Round {
            requests: self.0.iter().map(|round| round.requests).sum(),
            per_second: of(|round| round.per_second),
            p50_ms: of(|round| round.p50_ms),
            p99_ms: of(|round| round.p99_ms),
            cpu_micros: of(|round| round.cpu_micros),
            busy: of(|round| round.busy),
            resident_mb: of(|round| round.resident_mb),
        }
    }

    /// Median, and in parentheses the lowest and the highest.
    pub(crate) fn per_second(&self) -> String {
        let rates = || self.0.iter().map(|round| round.per_second);
        let lowest = rates().fold(f64::NAN, f64::min);
        let highest = rates().fold(f64::NAN, f64::max);
        let digits = usize::from(lowest < 1000.0);
        let median = median(rates().collect());
        format!("{median:.digits$} ({lowest:.digits$}-{highest:.digits$})")
    }

    /// Median of the ratios within one round each: what slows down the whole machine cancels out.
    pub(crate) fn ratio_to(&self, other: &Self) -> f64 {
        let pairs = self.0.iter().zip(&other.0);
        median(pairs.map(|(a, b)| a.per_second / b.per_second).collect())
    }
}

/// One row of a table: a name, and how to measure it for some seconds.
pub(crate) struct Row<'r> {
    name: &'static str,
    run: Box<dyn Fn(u32) -> anyhow::Result<Round> + 'r>,
}

impl<'r> Row<'r> {
    pub(crate) fn new(name: &'static str, run: impl Fn(u32) -> anyhow::Result<Round> + 'r) -> Self {
        let run = Box::new(run);
        Self { name, run }
    }
}

/// The rounds of each row.
pub(crate) struct Results(pub(crate) Vec<(&'static str, Rounds)>);

/// Runs each row for a moment: caches and connections of servers are then as they stay.
pub(crate) fn warm_up(rows: &[Row<'_>]) -> anyhow::Result<()> {
    rows.iter().try_for_each(|row| (row.run)(1).map(drop))
}

/// Runs everything once per round, each round in a different order.
pub(crate) fn alternate(bench: &Bench, pace: Pace, rows: &[Row<'_>]) -> anyhow::Result<Results> {
    let mut all: Vec<_> = rows
        .iter()
        .map(|row| (row.name, Rounds::default()))
        .collect();
    for number in 0..pace.rounds {
        println!("  round {} of {}", number + 1, pace.rounds);
        for step in 0..rows.len() {
            bench.require_running()?;
            let index = (number + step) % rows.len();
            all[index].1.0.push((rows[index].run)(pace.seconds)?);
        }
    }
    Ok(Results(all))
}

impl Results {
    /// None if the row is missing: all that is computed from it is NaN.
    fn find(&self, name: &str) -> Rounds {
        let row = self.0.iter().find(|(known, _)| *known == name);
        row.map(|(_, rounds)| rounds.clone()).unwrap_or_default()
    }

    pub(crate) fn medians(&self, name: &str) -> Round {
        self.find(name).medians()
    }

    pub(crate) fn ratio(&self, name: &str, other: &str) -> f64 {
        self.find(name).ratio_to(&self.find(other))
    }

    /// Rows whose server was not the bottleneck.
    pub(crate) fn not_busy(&self) -> impl Iterator<Item = &'static str> {
        let rows = self.0.iter();
        let idle = rows.filter(|(_, rounds)| rounds.medians().busy < BUSY);
        idle.map(|(name, _)| *name)
    }
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
        let rounds = rates.iter().map(|&rate| Round::of_rate(1, rate));
        Rounds(rounds.collect())
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

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let round = Round::of_rate(1, 1.0).with_times((1..=1000).rev().collect());
        assert!((round.p50_ms - 0.5).abs() < 1e-9 && (round.p99_ms - 0.99).abs() < 1e-9);
        assert_eq!(rounds(&[99.0, 98.0, 97.0]).per_second(), "98.0 (97.0-99.0)");
    }
}
