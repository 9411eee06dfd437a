//! Comparisons of runs, for people.

use postgres_etl::query::{Basis, Comparison};

use crate::cli::render::units::{INDENT, interval, micros, one_line, rate};

/// How runs compare with others.
pub(super) fn comparison(comparison: &Comparison) -> Vec<String> {
    let Comparison { baseline, basis, runs, baseline_runs, .. } = comparison;
    let what = match basis {
        Basis::WithinRuns => String::new(),
        Basis::BetweenRuns => format!(", {runs} runs with {baseline_runs}"),
        Basis::Pairs => format!(", {runs} pairs of runs"),
    };
    let mut lines = vec![format!("  against  {}{what}", one_line(baseline))];
    for ratio in &comparison.ratios {
        let spread = interval(ratio.interval, |value| format!("{value:.3}"));
        let verdict = match (ratio.interval, ratio.significant) {
            (None, _) => ", not enough data to tell change from noise",
            (Some(_), false) if *basis != Basis::WithinRuns => ", may be noise",
            (Some(_), _) => "",
        };
        lines.push(format!(
            "{INDENT}{:<6} {:>10} was {:>10}: {:.3} ×{spread}{verdict}",
            ratio.figure,
            figure(ratio.figure, ratio.now),
            figure(ratio.figure, ratio.baseline),
            ratio.ratio
        ));
    }
    lines.extend(comparison.note.iter().map(|note| format!("{INDENT}{note}")));
    lines.extend(
        comparison.different_settings.iter().map(|setting| format!("{INDENT}settings differ: {setting}")),
    );
    lines
}

/// The `value` of the figure of this `name`, with its unit.
pub(super) fn figure(name: &str, value: f64) -> String {
    if name == "rate" { format!("{}/s", rate(value)) } else { micros(value) }
}
