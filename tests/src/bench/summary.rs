//! What the rounds of one line say: medians, and ours against theirs.
use super::{lines::Unit, measurement::Measurement};

/// The rounds of one line on one server.
#[derive(Clone, Debug, Default)]
pub struct Rounds(pub Vec<Measurement>);

impl Rounds {
    /// Throughput of each round.
    pub fn rates(&self, unit: Unit) -> Vec<f64> {
        self.0.iter().map(|measured| unit.rate_of(measured)).collect()
    }

    /// Processor time per unit, of each round.
    pub fn costs(&self, unit: Unit) -> Vec<f64> {
        self.0.iter().map(|measured| unit.cost_of(measured)).collect()
    }
}

/// The middle value, or the mean of the two in the middle; 0 of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.get(middle) {
        None => 0.0,
        Some(&upper) if sorted.len() % 2 == 1 => upper,
        Some(&upper) => (sorted[middle - 1] + upper) / 2.0,
    }
}

/// A ratio of each round's two neighbours, and its spread over the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Of the rounds' ratios.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

impl Ratio {
    /// Round by round, so that what slows the machine down for a while is in both numbers.
    pub fn of(above: &[f64], below: &[f64]) -> Self {
        let ratios: Vec<f64> =
            above.iter().zip(below).map(|(above, below)| above / below).collect();
        Self {
            median: median(&ratios),
            least: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            most: ratios.iter().copied().fold(0.0, f64::max),
        }
    }
}

/// Ours against one of theirs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Their throughput.
    pub rate: f64,
    /// Their processor time per unit.
    pub cost: f64,
    /// Our throughput by theirs: above 1, we are faster.
    pub speed: Ratio,
    /// Their processor time by ours: above 1, we take less.
    pub thrift: Ratio,
}

impl Comparison {
    /// Compares.
    pub fn of(unit: Unit, ours: &Rounds, theirs: &Rounds) -> Self {
        let (rates, costs) = (theirs.rates(unit), theirs.costs(unit));
        Self {
            rate: median(&rates),
            cost: median(&costs),
            speed: Ratio::of(&ours.rates(unit), &rates),
            thrift: Ratio::of(&costs, &ours.costs(unit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // The machine is half as fast in the second round.
        let ratio = Ratio::of(&[10.0, 5.0, 12.0], &[5.0, 2.5, 4.0]);
        assert!((ratio.median - 2.0).abs() < 1e-9);
        assert!((ratio.least - 2.0).abs() < 1e-9 && (ratio.most - 3.0).abs() < 1e-9);
    }

    #[test]
    fn more_is_better_in_both_comparisons() {
        let measured = |seconds, server_cpu_seconds| Measurement {
            operations: 1000,
            bytes: 0,
            begun: 0.0,
            seconds,
            first_seconds: 0.0,
            errors: 0,
            p50_us: 0.0,
            p99_us: 0.0,
            server_cpu_seconds,
        };
        let (ours, theirs) = (Rounds(vec![measured(1.0, 0.5)]), Rounds(vec![measured(2.0, 1.5)]));
        let comparison = Comparison::of(Unit::Calls, &ours, &theirs);
        assert!((comparison.rate - 500.0).abs() < 1e-9 && (comparison.cost - 1.5).abs() < 1e-9);
        assert!((comparison.speed.median - 2.0).abs() < 1e-9);
        assert!((comparison.thrift.median - 3.0).abs() < 1e-9);
    }
}
