//! Reports of several runs of `query` for people.

use std::collections::BTreeMap;

use postgres_etl::query::{AgainstReport, ErrorCount, FigureSummary, RunReport, RunsReport, Verdict};

use crate::cli::render::Report;
use crate::cli::render::comparison::{comparison, figure};
use crate::cli::render::query::{answers, asked, bounded, load, mix_note, table, unit};
use crate::cli::render::units::{INDENT, count, counted, rate, server, warnings};

/// More runs than this are listed in JSON only.
const MOST_LISTED: usize = 20;

impl Report for RunsReport {
    fn text(&self) -> String {
        let mut lines = vec![headline(self)];
        let Some(first) = self.runs.first() else { return lines.remove(0) };
        lines.extend(asked(&first.workloads));
        lines.extend(mix_note(&first.workloads, &first.load));
        lines.extend(errors("errors", &self.runs));
        lines.extend(figures("run", &self.figures, self.runs.len()));
        if let Some(AgainstReport { figures: other, runs, .. }) = &self.against {
            lines.extend(figures("against", other, runs.len()));
            lines.extend(errors("errors", runs));
        }
        lines.push(format!(
            "  setup    {}; new connections for each run",
            load(&first.load, unit(&first.workloads))
        ));
        let checked = self.runs.iter().filter_map(|run| run.checked.as_ref());
        // The one to look at is one that has a difference.
        let checked = checked.max_by_key(|check| check.different);
        lines.extend(checked.map(|check| format!("  answers  in each run: {}", answers(check))));
        lines.extend(first.table.iter().map(|counted| format!("  table    {}", table(counted))));
        lines.push(format!("  server   {}", server(&first.server)));
        lines.extend(self.runs.last().iter().flat_map(|run| warnings(&run.warnings)));
        lines.extend(bounds(&self.runs));
        lines.extend(self.comparison.iter().flat_map(comparison));
        lines.join("\n")
    }
}

fn headline(report: &RunsReport) -> String {
    let RunsReport { requested_runs, figures, runs, against, .. } = report;
    let requested = match against {
        Some(_) => format!("{} of runs", counted(*requested_runs as u64, "pair")),
        None => counted(*requested_runs as u64, "run"),
    };
    let made = if runs.len() == *requested_runs {
        requested
    } else {
        format!("{} of {requested}", count(runs.len() as u64))
    };
    match figures.iter().find(|figure| figure.figure == "rate") {
        Some(FigureSummary { median, min, max, .. }) => {
            let (_, many) = runs.first().map_or(("query", "queries"), |run| unit(&run.workloads));
            format!("{made}: median {} {many}/s ({} to {})", rate(*median), rate(*min), rate(*max))
        }
        None => format!("{made} complete"),
    }
}

/// The failed queries of all `runs`, by SQLSTATE.
fn errors(title: &str, runs: &[RunReport]) -> Vec<String> {
    let total: u64 = runs.iter().map(|run| run.errors).sum();
    let mut by_code: BTreeMap<&str, (u64, &ErrorCount)> = BTreeMap::new();
    for (code, error) in runs.iter().flat_map(|run| &run.errors_by_sqlstate) {
        by_code.entry(code).or_insert((0, error)).0 += error.count;
    }
    let mut lines = vec![format!("  {title:<8} {}", count(total))];
    for (code, (number, error)) in by_code {
        let first = error.first.replace('\n', &format!("\n{INDENT}"));
        lines.push(format!("  {code:<8} {}; the first: {first}", counted(number, "time")));
        lines.extend(error.help.iter().map(|help| format!("{INDENT}help: {help}")));
    }
    lines
}

/// The table of the figures of each run, and of all.
fn figures(title: &str, figures: &[FigureSummary], runs: usize) -> Vec<String> {
    let heads: Vec<String> = figures.iter().map(|figure| format!("{:>10}", figure.figure)).collect();
    let row = |name: &str, value: &dyn Fn(&FigureSummary) -> Option<f64>| {
        let cell = |summary: &FigureSummary| {
            let shown = value(summary).map_or_else(|| "-".to_owned(), |value| figure(summary.figure, value));
            format!("{shown:>10}")
        };
        format!("  {name:<8} {}", figures.iter().map(cell).collect::<Vec<_>>().join(" "))
    };
    let mut lines = vec![format!("  {title:<8} {}", heads.join(" "))];
    for run in (0..runs).take_while(|_| runs <= MOST_LISTED) {
        lines.push(row(&(run + 1).to_string(), &|summary| summary.values[run]));
    }
    lines.push(row("median", &|summary| Some(summary.median)));
    lines.push(row("min", &|summary| Some(summary.min)));
    lines.push(row("max", &|summary| Some(summary.max)));
    lines
}

/// What bounded the runs: of each kind how many, and the sentence of the most frequent.
fn bounds(runs: &[RunReport]) -> Vec<String> {
    let mut by_kind: BTreeMap<&str, (usize, &Verdict)> = BTreeMap::new();
    for run in runs {
        by_kind.entry(run.bound.by).or_insert((0, &run.bound)).0 += 1;
    }
    let Some((number, usual)) = by_kind.values().max_by_key(|(number, _)| number) else { return Vec::new() };
    let mut lines = bounded(usual);
    if by_kind.len() > 1 {
        let others = by_kind.iter().map(|(kind, (number, _))| format!("{kind} {number}"));
        let others = others.collect::<Vec<_>>().join(", ");
        lines.push(format!("{INDENT}so in {number} of {} runs; bounds: {others}", runs.len()));
    }
    lines
}
