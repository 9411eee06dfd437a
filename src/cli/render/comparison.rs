//! Comparisons of runs, for people.

use postgres_etl::query::{Basis, Comparison, Condition, ConditionOutcome, Interval, Ratio};

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
    lines.extend(
        comparison.different_settings.iter().map(|setting| format!("{INDENT}settings differ: {setting}")),
    );
    for ratio in &comparison.ratios {
        if ratio.is_vague() {
            lines.push(format!("{}, too few runs to tell", line(ratio)));
            continue;
        }
        let spread = interval(ratio.interval, |value| format!("{value:.3}"));
        let verdict = match (ratio.interval, ratio.significant) {
            (None, _) => ", not enough data to tell change from noise",
            (Some(_), false) if *basis != Basis::WithinRuns => ", may be noise",
            (Some(_), _) => "",
        };
        lines.push(format!("{}{spread}{verdict}", line(ratio)));
    }
    lines.extend(comparison.note.iter().map(|note| format!("{INDENT}{note}")));
    if comparison.ratios.iter().any(Ratio::is_vague) {
        lines.push(format!("{INDENT}make more runs on both sides: --runs 5 at least, better 10"));
    }
    lines.extend(comparison.conditions.iter().map(condition));
    lines
}

/// What a comparison says of a figure, before its interval.
fn line(ratio: &Ratio) -> String {
    format!(
        "{INDENT}{:<6} {:>10} was {:>10}: {:.3} ×",
        ratio.figure,
        figure(ratio.figure, ratio.now),
        figure(ratio.figure, ratio.baseline),
        ratio.ratio
    )
}

/// A condition of `--fail-if`, and its outcome.
fn condition(condition: &Condition) -> String {
    let Condition { condition, figure, outcome, worse_interval, .. } = condition;
    let outcome = match outcome {
        ConditionOutcome::Passed => "passed",
        ConditionOutcome::Failed => "FAILED",
        ConditionOutcome::NotShown => "not shown to be exceeded, nor to be kept; more runs tell",
        ConditionOutcome::NotEnoughData => "not enough data",
    };
    // Beyond this, more digits say no more.
    let percent = |value: f64| match value {
        1000.0.. => "more than 1,000".to_owned(),
        _ => format!("{value:.1}"),
    };
    let spread = worse_interval.map_or_else(String::new, |Interval { low, high }| {
        format!("; {figure} is {} % to {} % worse", percent(low), percent(high))
    });
    format!("{INDENT}--fail-if {condition}: {outcome}{spread}")
}

/// The `value` of the figure of this `name`, with its unit.
pub(super) fn figure(name: &str, value: f64) -> String {
    if name == "rate" { format!("{}/s", rate(value)) } else { micros(value) }
}
