//! Choices by weight, with exact shares.
//!
//! A draw would be right on average only: of a hundred requests, five percent are between one and ten.
//! So requests take turns. Of as many in a row as the weights amount to, each choice gets its weight,
//! and its turns are spread over the round, so that a client with a rhythm of its own meets all.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
pub(super) struct Shares {
    /// The sum of the weights up to each choice.
    ends: Vec<u64>,
    /// From one turn to the next, around the round. Has no divisor in common with its length, so that
    /// every place is met once.
    stride: u64,
    turn: AtomicU64,
}

impl Shares {
    /// The weights are not all 0.
    pub(super) fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let mut sum = 0;
        let weights = weights.into_iter();
        let ends: Vec<u64> = weights
            .map(|weight| {
                sum += u64::from(weight);
                sum
            })
            .collect();
        // By the golden ratio: whatever the length, turns in a row are far apart.
        let most = sum * 618 / 1_000;
        let stride = (1..=most).rev().find(|&step| divisor(step, sum) == 1);
        Self {
            ends,
            stride: stride.unwrap_or(1),
            turn: AtomicU64::new(0),
        }
    }

    /// The choice of the next request.
    pub(super) fn next(&self) -> usize {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let total = self.total();
        self.at(turn % total * self.stride % total)
    }

    /// The choice of a hash. Equal hashes have equal choices.
    pub(super) fn of(&self, hash: u64) -> usize {
        self.at(hash % self.total())
    }

    fn total(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0).max(1)
    }

    fn at(&self, place: u64) -> usize {
        let choice = self.ends.iter().position(|&end| place < end);
        choice.unwrap_or(0)
    }
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(shares: &Shares, draws: u64, draw: impl Fn(u64) -> usize) -> Vec<u64> {
        let mut counts = vec![0; shares.ends.len()];
        for index in 0..draws {
            counts[draw(index)] += 1;
        }
        counts
    }

    /// Exactly, in every window of a whole round, wherever it begins.
    #[test]
    fn every_round_has_the_weights() {
        let cases: [&[u32]; 8] = [
            &[95, 5],
            &[1],
            &[1, 1],
            &[0, 7],
            &[1, 0, 2],
            &[999, 1],
            &[3, 2, 1, 4],
            &[1000, 1000, 1000],
        ];
        for weights in cases {
            let shares = Shares::new(weights.iter().copied());
            let total: u32 = weights.iter().sum();
            let expected: Vec<u64> = weights.iter().map(|&weight| weight.into()).collect();
            for _ in 0..3 {
                let round = counts(&shares, total.into(), |_| shares.next());
                assert_eq!(round, expected, "{weights:?}");
                shares.next();
            }
        }
    }

    /// Turns are spread: any ten of a hundred requests in a row meet a tenth at most twice.
    #[test]
    fn turns_are_spread_over_the_round() {
        let shares = Shares::new([90, 10]);
        let drawn: Vec<usize> = (0..300).map(|_| shares.next()).collect();
        for ten in drawn.windows(10) {
            assert!((0..=2).contains(&ten.iter().sum::<usize>()), "{ten:?}");
        }
    }

    #[test]
    fn hashes_keep_their_choice() {
        let shares = Shares::new([1, 3]);
        assert_eq!(
            counts(&shares, 4_000, |hash| shares.of(hash)),
            [1_000, 3_000]
        );
        assert_eq!(shares.of(17), shares.of(17));
    }
}
