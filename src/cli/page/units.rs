//! Figures as charts show them.

pub(super) use crate::cli::render::units::{compact, count, counted, micros, rate, ratio};

/// A number as short as it is exact, for those that are round: `1`, `0.95`.
pub(super) fn round(value: f64) -> String {
    match value {
        ..1e3 => ((value * 1e9).round() / 1e9).to_string(),
        ..1e6 => count(value.round() as u64),
        _ => compact(value),
    }
}

/// The time of a tick, which is round, in microseconds.
pub(super) fn round_micros(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        ..1.0 => format!("{} ns", round(value * 1e3)),
        ..1e3 => format!("{} µs", round(value)),
        ..1e6 => format!("{} ms", round(value / 1e3)),
        _ => format!("{} s", round(value / 1e6)),
    }
}

/// Microseconds, with nanoseconds where they are few.
pub(super) fn small_micros(value: f64) -> String {
    match value {
        ..0.9995 => format!("{:.0} ns", value * 1e3),
        ..9.995 => format!("{value:.2} µs"),
        ..99.95 => format!("{value:.1} µs"),
        _ => micros(value),
    }
}

/// With its sign, a minus as long as a plus.
pub(super) fn signed(value: f64) -> String {
    let text = format!("{value:+.2}");
    if text == "-0.00" { "+0.00".to_owned() } else { text.replace('-', "−") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(
            [0.0512, 0.95, 3.456, 34.56, 345.6, 3456.0].map(ratio),
            ["0.051", "0.95", "3.46", "34.6", "346", "3,456"]
        );
        assert_eq!(
            [0.5, 12.0, 1000.0, 123_456.0, 1.5e6].map(compact),
            ["0.50", "12", "1 k", "123 k", "1.50 M"]
        );
        assert_eq!([0.4, 1.5, 12.3, 1234.0].map(small_micros), ["400 ns", "1.50 µs", "12.3 µs", "1.23 ms"]);
        assert_eq!([1.0, 0.1 + 0.2, 0.95, 5e3, 2e6].map(round), ["1", "0.3", "0.95", "5,000", "2 M"]);
        assert_eq!(
            [0.0, 0.5, 20.0, 1500.0, 2e6].map(round_micros),
            ["0", "500 ns", "20 µs", "1.5 ms", "2 s"]
        );
        assert_eq!([0.25, -0.001, -0.5].map(signed), ["+0.25", "+0.00", "−0.50"]);
    }
}
