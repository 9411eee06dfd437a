//! Finding the highest rate that holds a bound.

/// Finds the highest rate that holds a bound, by bisection.
///
/// It starts from half the rate that the server reaches in a closed loop, raises it while the bound is held, and then
/// bisects between the highest rate that held it and the lowest that did not.
#[derive(Debug)]
pub(super) struct RateSearch {
    next: f64,
    /// No rate below this is tried.
    lowest: f64,
    /// The highest rate that held the bound.
    held: Option<f64>,
    /// The lowest rate that did not.
    failed: Option<f64>,
    steps: u32,
}

/// The relative precision of the rate found.
const PRECISION: f64 = 0.03;

/// The largest number of runs.
pub(super) const MOST_STEPS: u32 = 16;

impl RateSearch {
    /// Begin at half of `capacity` queries per second, and try no rate below `lowest`.
    pub(super) fn new(capacity: f64, lowest: f64) -> RateSearch {
        RateSearch { next: (capacity / 2.0).max(lowest), lowest, held: None, failed: None, steps: 0 }
    }

    /// The rate to try next; `None` when the search is finished.
    pub(super) fn next(&self) -> Option<f64> {
        let is_near = match (self.held, self.failed) {
            (Some(held), Some(failed)) => failed / held < 1.0 + PRECISION,
            (None, Some(failed)) => failed <= self.lowest,
            _ => false,
        };
        (!is_near && self.steps < MOST_STEPS).then_some(self.next)
    }

    /// Record whether `rate` held the bound.
    pub(super) fn record(&mut self, rate: f64, has_held: bool) {
        self.steps += 1;
        let side = if has_held { &mut self.held } else { &mut self.failed };
        *side = Some(rate);
        self.next = match (self.held, self.failed) {
            (Some(held), Some(failed)) => f64::midpoint(held, failed),
            (Some(held), None) => held * 1.5,
            (None, Some(failed)) => (failed / 4.0).max(self.lowest),
            (None, None) => unreachable!("one of them was just set"),
        };
    }

    /// The highest rate that held the bound; `None` if none did so far.
    pub(super) fn highest(&self) -> Option<f64> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bisection_finds_the_highest_rate() {
        for (capacity, edge) in [(1000.0, 800.0), (1000.0, 2500.0), (1000.0, 3.0), (10.0, 9.0)] {
            let mut search = RateSearch::new(capacity, 1.0);
            while let Some(rate) = search.next() {
                search.record(rate, rate <= edge);
            }
            let found = search.highest().unwrap();
            assert!(found <= edge && found > edge * 0.9, "{found} of {edge}");
        }
        let mut hopeless = RateSearch::new(100.0, 1.0);
        while let Some(rate) = hopeless.next() {
            hopeless.record(rate, false);
        }
        assert_eq!(hopeless.highest(), None);
    }
}
