//! Scales: which value is drawn where, and which values are marked.

/// How values are spread along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScaleKind {
    /// Equal differences are equally long.
    Linear,
    /// Equal ratios are equally long; only values above 0 have a place.
    Log,
}

/// The axis from the value `low`, drawn at `from`, to the value `high`, drawn at `to`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    kind: ScaleKind,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

/// Larger values are not measured, and smaller ones than its reciprocal neither; their axes would have no ends.
const LARGEST: f64 = 1e100;

/// Number of marks for which the ends of an axis are rounded.
const USUAL_TICKS: f64 = 5.0;

/// A logarithmic axis whose ends have a smaller ratio is marked at equal differences.
const FEWEST_DECADES: f64 = 0.7;

impl Scale {
    /// A scale of `kind` that has a place for all `values`, drawn from `from` to `to`. A linear one begins at 0.
    pub(super) fn new(kind: ScaleKind, values: impl IntoIterator<Item = f64>, from: f64, to: f64) -> Scale {
        let values: Vec<f64> = values.into_iter().filter(|value| kind.has_place(*value)).collect();
        let least = values.iter().copied().reduce(f64::min).unwrap_or(1.0);
        let most = values.iter().copied().reduce(f64::max).unwrap_or(1.0);
        let (low, high) = match kind {
            ScaleKind::Linear => {
                let step = nice_step((most - least.min(0.0)).max(f64::MIN_POSITIVE) / USUAL_TICKS);
                (round_down(least.min(0.0), step), round_up(most, step))
            }
            ScaleKind::Log => log_ends(least, most),
        };
        let (low, high) = if low < high && (high - low).is_finite() { (low, high) } else { (1.0, 2.0) };
        Scale { kind, low, high, from, to }
    }

    /// The scale from exactly `low` to `high`.
    pub(super) fn exact(low: f64, high: f64, from: f64, to: f64) -> Scale {
        let high = if high > low { high } else { low + 1.0 };
        Scale { kind: ScaleKind::Linear, low, high, from, to }
    }

    /// Where `value` is drawn; values outside are drawn at the nearer end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = match self.kind {
            ScaleKind::Linear => (value - self.low) / (self.high - self.low),
            ScaleKind::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        self.from + share * (self.to - self.from)
    }

    /// Whether `value` lies between its ends.
    pub(super) fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// The values to mark, at most `most`, in ascending order.
    pub(super) fn ticks(&self, most: usize) -> Vec<f64> {
        let most = most.max(2);
        let decades = (self.high / self.low).log10();
        if self.kind == ScaleKind::Log && decades >= FEWEST_DECADES {
            return log_ticks(self.low, self.high, most);
        }
        let step = nice_step((self.high - self.low) / (most - 1) as f64);
        let first = (self.low / step - 1e-9).ceil();
        let ticks = (0..most).map(|tick| (first + tick as f64) * step);
        ticks.filter(|tick| *tick <= self.high + step * 1e-9).collect()
    }
}

impl ScaleKind {
    /// Whether such an axis has a place for `value`.
    pub(super) fn has_place(self, value: f64) -> bool {
        value.abs() < LARGEST && (self == ScaleKind::Linear || value > 1.0 / LARGEST)
    }
}

/// The least of 1, 2, 5, 10 … times a power of ten that is not below `step`.
fn nice_step(step: f64) -> f64 {
    let power = 10f64.powf(step.max(1e-300).log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    power * factors.into_iter().find(|factor| factor * power >= step * (1.0 - 1e-9)).unwrap_or(10.0)
}

/// The rounded ends of a logarithmic axis with places for `least` and `most`.
fn log_ends(least: f64, most: f64) -> (f64, f64) {
    let (least, most) = if most / least < 1.02 { (least / 1.1, most * 1.1) } else { (least, most) };
    if (most / least).log10() >= FEWEST_DECADES {
        let up = nice_step(most);
        // What is rounded up, of the reciprocal, is rounded down.
        return (1.0 / nice_step(1.0 / least), up);
    }
    let step = nice_step((most - least) / USUAL_TICKS);
    let low = round_down(least, step);
    (if low > 0.0 { low } else { least }, round_up(most, step))
}

/// `value` as a multiple of `step`; one that is only just above it stays what it is.
fn round_down(value: f64, step: f64) -> f64 {
    (value / step + 1e-9).floor() * step
}

fn round_up(value: f64, step: f64) -> f64 {
    (value / step - 1e-9).ceil() * step
}

/// 1, 2, 5, 10 … from `low` to `high`, or powers of ten only where these are more than `most`.
fn log_ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let is_inside = |tick: &f64| *tick >= low * (1.0 - 1e-9) && *tick <= high * (1.0 + 1e-9);
    let multiples = |factors: &[f64]| -> Vec<f64> {
        let of_power = |power: i32| factors.iter().map(move |factor| factor * 10f64.powi(power));
        powers.clone().flat_map(of_power).filter(is_inside).collect()
    };
    let fine = multiples(&[1.0, 2.0, 5.0]);
    if fine.len() <= most {
        return fine;
    }
    let coarse = multiples(&[1.0]);
    let every = coarse.len().div_ceil(most);
    coarse.into_iter().step_by(every).collect()
}

/// `places`, in their order, moved apart so that neighbours are `gap` apart and all lie between `low` and `high`, if
/// there is room for them.
pub(super) fn spread(places: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|a, b| places[*a].total_cmp(&places[*b]));
    let mut spread = places.to_vec();
    let mut free = low;
    for &index in &order {
        spread[index] = spread[index].max(free);
        free = spread[index] + gap;
    }
    let mut free = high;
    for &index in order.iter().rev() {
        spread[index] = spread[index].min(free);
        free = spread[index] - gap;
    }
    spread
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(kind: ScaleKind, values: &[f64], most: usize) -> Vec<f64> {
        let rounded = |tick: f64| (tick * 1e6).round() / 1e6;
        let scale = Scale::new(kind, values.iter().copied(), 0.0, 100.0);
        scale.ticks(most).into_iter().map(rounded).collect()
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(ScaleKind::Linear, &[3.0, 97.0], 6), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(ticks(ScaleKind::Linear, &[0.3], 4), [0.0, 0.1, 0.2, 0.3]);
        assert_eq!(ticks(ScaleKind::Log, &[1.3, 34.0], 9), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0]);
        assert_eq!(ticks(ScaleKind::Log, &[1.0, 1e6], 4), [1.0, 100.0, 10_000.0, 1e6]);
        assert_eq!(ticks(ScaleKind::Log, &[0.95, 1.2], 6), [0.95, 1.0, 1.05, 1.1, 1.15, 1.2]);
    }

    #[test]
    fn values_are_where_their_scale_puts_them() {
        let linear = Scale::new(ScaleKind::Linear, [50.0], 100.0, 0.0);
        assert_eq!([0.0, 25.0, 50.0, 70.0].map(|value| linear.at(value) as i32), [100, 50, 0, 0]);
        let log = Scale::new(ScaleKind::Log, [1.0, 100.0], 0.0, 50.0);
        assert_eq!([1.0, 10.0, 100.0, -1.0].map(|value| log.at(value).round() as i32), [0, 25, 50, 0]);
    }

    /// Documents may be written by anyone.
    #[test]
    fn absurd_values_have_a_finite_place_and_few_ticks() {
        let absurd = [f64::NAN, f64::INFINITY, 0.0, -1.0, 1e308, -1e308, 5e-324, 1e-300];
        for kind in [ScaleKind::Linear, ScaleKind::Log] {
            for one in absurd {
                for other in absurd {
                    let scale = Scale::new(kind, [one, other], 0.0, 100.0);
                    let ticks = scale.ticks(6);
                    assert!(ticks.len() <= 6, "{kind:?} {one} {other}: {ticks:?}");
                    let places = ticks.into_iter().chain([one, other]).map(|value| scale.at(value));
                    assert!(places.into_iter().all(|place| (0.0..=100.0).contains(&place)), "{one} {other}");
                }
            }
        }
    }

    #[test]
    fn labels_are_moved_apart_and_keep_their_order() {
        assert_eq!(spread(&[10.0, 11.0, 50.0], 15.0, 0.0, 100.0), [10.0, 25.0, 50.0]);
        assert_eq!(spread(&[99.0, 98.0], 15.0, 0.0, 100.0), [100.0, 85.0]);
    }
}
