//! What a page shows of a run of `query`.

use std::collections::BTreeMap;

use postgres_etl::statistics::median;
use serde_json::Value;

use crate::cli::page::charts::latency::{LatencyChart, LatencyCurve};
use crate::cli::page::charts::ratio::{RatioBar, RatioChart, RatioGroup};
use crate::cli::page::charts::runs::RunsChart;
use crate::cli::page::charts::timeline::{Second, TimelineChart};
use crate::cli::page::document::{
    Basis, ComparisonPart, Content, Document, HostPart, Percentiles, QueryDocument, Range, RatioPart,
    RunsPart, TablePart, WorkloadPart, middle_run,
};
use crate::cli::page::html::Page;
use crate::cli::page::table::{NOTHING, Table};
use crate::cli::page::units::{count, counted, micros, rate, ratio};
use crate::cli::render::units::seconds;

impl QueryDocument {
    /// The names of its workloads.
    pub(super) fn named(&self) -> String {
        self.workloads.iter().map(|workload| workload.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// What it is called beside another side: the statement, if that has no name but that of its flag.
    fn side(&self) -> String {
        match self.workloads.as_slice() {
            [WorkloadPart { name, statements, .. }] if name.starts_with("--") && statements.len() == 1 => {
                statements[0].sql.split_whitespace().collect::<Vec<_>>().join(" ")
            }
            _ => self.named(),
        }
    }

    /// The curve of its response times: complete, if it was saved with them.
    fn response(&self, name: String) -> Option<LatencyCurve> {
        let complete = LatencyCurve::from_counts(name.clone(), &self.response_ns);
        if !complete.percentiles.is_empty() {
            return Some(complete);
        }
        Some(curve(name, self.response_us.as_ref()?, self.queries - self.errors.min(self.queries)))
    }
}

/// The curve of a summary of `queries` latencies: one percentile at least has to be exceeded by some of them.
fn curve(name: String, latency: &Percentiles, queries: u64) -> LatencyCurve {
    let known = [
        (0.5, latency.p50),
        (0.9, latency.p90),
        (0.95, latency.p95),
        (0.99, latency.p99),
        (0.999, latency.p999),
    ];
    let all = known.into_iter().chain(latency.p9999.map(|p9999| (0.9999, p9999)));
    let is_known = |(share, _): &(f64, f64)| queries as f64 * (1.0 - share) >= 5.0;
    LatencyCurve { name, percentiles: all.filter(is_known).collect() }
}

/// Add the charts that compare the runs among `documents`, if there are several.
pub(super) fn compare(page: &mut Page, documents: &[Document]) {
    let run = |document: &Document| match &document.content {
        Content::Query(run) => run.response(document.name.clone()),
        _ => None,
    };
    let curves: Vec<LatencyCurve> = documents.iter().filter_map(run).collect();
    if curves.len() > 1 {
        page.figure(&LatencyChart { title: "Response times compared, by percentile".to_owned(), curves });
    }
}

/// Add what is shown of `run`, and of the runs for which it stands.
pub(super) fn add(page: &mut Page, run: &QueryDocument) {
    if run.interrupted {
        page.notice("Interrupted: the figures are those of the results until then.");
    }
    if let Some(error) = &run.ended_by {
        page.notice(&format!("The run ended early: {error}"));
    }
    if let Some(series) = &run.series_of_runs {
        add_series(page, run, series);
        add_comparison(page, run);
        page.subheading("The run with the median rate");
    }
    if run.errors > 0 {
        page.notice(&format!("{} of {} queries failed.", count(run.errors), count(run.queries)));
    }
    page.facts(&facts(run));
    let curves = curves(run);
    if !curves.is_empty() {
        page.figure(&LatencyChart { title: "Response times by percentile".to_owned(), curves });
    }
    let seconds: Vec<Second> = run
        .series
        .iter()
        .map(|second| Second {
            answered: second.answered,
            errors: second.errors,
            p99_us: second.p99_us.unwrap_or_default(),
        })
        .collect();
    if let Some(chart) = TimelineChart::new("The run over time".to_owned(), &seconds, run.seconds) {
        page.figure(&chart);
    }
    if run.series_of_runs.is_none() {
        add_comparison(page, run);
    }
    page.table(&workloads(&run.workloads), None);
    if let Some(parts) = &run.hosts {
        page.table(&hosts(parts), None);
    }
    page.table(&server(&run.server), Some("The server and its settings"));
}

/// Add how `run`, or the runs for which it stands, compare with others.
fn add_comparison(page: &mut Page, run: &QueryDocument) {
    if let Some(comparison) = run.comparison.as_ref().filter(|comparison| !comparison.ratios.is_empty()) {
        page.figure(&against(comparison));
        if !comparison.different_settings.is_empty() {
            page.notice(&format!("Settings differ: {}.", comparison.different_settings.join("; ")));
        }
    }
}

/// Add what all runs of a `series` say together; `middle` is the one with the median rate.
fn add_series(page: &mut Page, middle: &QueryDocument, series: &RunsPart) {
    if let Some(requested) = series.requested_runs.filter(|requested| *requested > series.runs.len() as u64) {
        page.notice(&format!("{} of {} runs are complete.", series.runs.len(), count(requested)));
    }
    let own = (middle.side(), series.runs.as_slice());
    let other = series.against.as_ref().map(|(name, runs)| (name.clone(), runs.as_slice()));
    let sides: Vec<(String, &[QueryDocument])> = [own].into_iter().chain(other).collect();
    let failed: u64 = sides.iter().flat_map(|(_, runs)| *runs).map(|run| run.errors).sum();
    if failed > 0 {
        page.notice(&format!("{} queries failed in all runs together.", count(failed)));
    }
    let rates = |runs: &[QueryDocument]| runs.iter().map(|run| run.queries_per_second).collect::<Vec<_>>();
    let spreads: Vec<String> = sides
        .iter()
        .map(|(name, runs)| {
            let spread = spread(&rates(runs));
            if sides.len() > 1 { format!("{name}: {spread}") } else { spread }
        })
        .collect();
    let verdict = spreads.join("; ") + ".";
    let sides_of_chart = sides.iter().map(|(name, runs)| (name.clone(), rates(runs))).collect();
    page.figure(&RunsChart { sides: sides_of_chart, verdict, figures: figures(&sides) });
    let curve = |(name, runs): &(String, &[QueryDocument])| middle_run(runs)?.response(name.clone());
    let curves: Vec<LatencyCurve> = sides.iter().filter_map(curve).collect();
    if curves.len() > 1 {
        page.figure(&LatencyChart { title: "Response times of each side, by percentile".to_owned(), curves });
    }
}

/// `5 runs: median 1,000 queries/s (900 to 1,100)`.
fn spread(rates: &[f64]) -> String {
    let runs = counted(rates.len() as u64, "run");
    let Some(middle) = median(rates) else { return runs };
    let (least, most) =
        (rates.iter().copied().fold(f64::INFINITY, f64::min), rates.iter().copied().fold(0.0, f64::max));
    format!("{runs}: median {} queries/s ({} to {})", rate(middle), rate(least), rate(most))
}

/// A figure of a run.
type FigureOf = fn(&QueryDocument) -> Option<f64>;

/// The figures of the runs of all `sides`, and of each side their median, minimum and maximum.
fn figures(sides: &[(String, &[QueryDocument])]) -> Table {
    const FIGURES: [FigureOf; 7] = [
        |run| Some(run.queries_per_second),
        |run| Some(run.response_us?.mean),
        |run| Some(run.response_us?.p50),
        |run| Some(run.response_us?.p90),
        |run| Some(run.response_us?.p95),
        |run| Some(run.response_us?.p99),
        |run| Some(run.response_us?.p999),
    ];
    let head = ["", "queries/s", "mean", "p50", "p90", "p95", "p99", "p99.9"];
    let mut table = Table::new("The figures of each run", head);
    for (side, runs) in sides {
        let name = |row: &str| if sides.len() > 1 { format!("{side}, {row}") } else { row.to_owned() };
        let mut row = |row: &str, value: &dyn Fn(FigureOf) -> Option<f64>| {
            let shown = |(index, figure): (usize, &FigureOf)| match value(*figure) {
                Some(value) if index == 0 => rate(value),
                Some(value) => micros(value),
                None => NOTHING.to_owned(),
            };
            table.rows.push([name(row)].into_iter().chain(FIGURES.iter().enumerate().map(shown)).collect());
        };
        for (index, run) in runs.iter().enumerate() {
            row(&format!("run {}", index + 1), &|figure| figure(run));
        }
        let known = |figure: FigureOf| runs.iter().filter_map(figure).collect::<Vec<f64>>();
        row("median", &|figure| median(&known(figure)));
        row("minimum", &|figure| known(figure).into_iter().reduce(f64::min));
        row("maximum", &|figure| known(figure).into_iter().reduce(f64::max));
    }
    table
}

fn facts(run: &QueryDocument) -> Vec<(&'static str, String)> {
    let interval = |Range { low, high }| format!(" (95 % interval {}–{})", rate(low), rate(high));
    let per_second =
        rate(run.queries_per_second) + " queries/s" + &run.rate_interval.map_or_else(String::new, interval);
    let setting = |name: &str| run.load.get(name).map(text).unwrap_or_default();
    let (connections, depth) = (setting("connections"), setting("pipeline_depth"));
    let offered = match run.load.get("rate").and_then(Value::as_f64) {
        Some(offered) => format!("{} queries/s", rate(offered)),
        None => String::new(),
    };
    vec![
        ("Rate", per_second),
        ("Offered rate", offered),
        ("Queries", format!("{} in {}", count(run.queries), seconds(run.seconds))),
        ("Connections", connections),
        ("In flight on each", depth),
        ("Table", run.table.as_ref().map_or_else(String::new, table_fact)),
        ("Bounded by", run.bound.as_ref().map_or_else(String::new, |bound| bound.sentence.clone())),
        ("Measured", run.saved_at.clone().unwrap_or_default()),
    ]
}

/// The curves of the response time and of its parts.
fn curves(run: &QueryDocument) -> Vec<LatencyCurve> {
    let answered = run.queries - run.errors.min(run.queries);
    let parts = [("service", &run.service_us), ("waiting", &run.waiting_us), ("server", &run.server_us)];
    let parts =
        parts.into_iter().filter_map(|(name, part)| Some(curve(name.to_owned(), part.as_ref()?, answered)));
    let all = run.response("response".to_owned()).into_iter().chain(parts);
    all.filter(|curve| curve.percentiles.len() > 1).collect()
}

/// The chart of the ratios to saved runs, or to those of another side.
fn against(comparison: &ComparisonPart) -> RatioChart {
    let then = if comparison.basis == Some(Basis::Pairs) { "the other" } else { "before" };
    let figure = |part: &RatioPart, value: f64| match part.figure.as_str() {
        "rate" => rate(value) + " queries/s",
        _ => micros(value),
    };
    let bar = |part: &RatioPart| RatioBar {
        name: part.figure.clone(),
        ratio: Some(part.ratio),
        interval: part.interval.map(|interval| (interval.low, interval.high)),
        is_ours: part.significant,
        is_limit: false,
        figure: format!("{}, {then} {}", figure(part, part.now), figure(part, part.baseline)),
        note: None,
    };
    let named: Vec<String> = comparison
        .ratios
        .iter()
        .filter(|part| part.significant)
        .map(|part| format!("{} {}×", part.figure, ratio(part.ratio)))
        .collect();
    let is_one_run = comparison.basis == Some(Basis::WithinRuns);
    let verdict = match named.as_slice() {
        // What differs from run to run is not known.
        _ if is_one_run => {
            "One run: not enough to tell change from noise. The intervals cover this run only.".to_owned()
        }
        [] => "No figure differs significantly from the baseline.".to_owned(),
        named => format!("Significantly different from the baseline: {}.", named.join(", ")),
    };
    let ComparisonPart { runs, baseline_runs, .. } = comparison;
    let what = match comparison.basis {
        Some(Basis::BetweenRuns) => format!(", {runs} runs with {baseline_runs}"),
        Some(Basis::Pairs) => format!(", {runs} pairs of runs"),
        Some(Basis::WithinRuns) | None => String::new(),
    };
    RatioChart {
        title: format!("Against {}{what}", comparison.baseline),
        verdict,
        of: "baseline".to_owned(),
        groups: vec![RatioGroup { name: String::new(), bars: comparison.ratios.iter().map(bar).collect() }],
        unit: "figures",
        colours: if is_one_run { ["", ""] } else { ["significant", "not significant"] },
    }
}

fn workloads(workloads: &[WorkloadPart]) -> Table {
    let mut table = Table::new(
        "What was asked",
        ["workload", "answered", "failed", "mean", "p50", "p99", "max", "statements"],
    );
    for workload in workloads {
        let time = |of: fn(&Percentiles) -> f64| {
            workload.response_us.as_ref().map_or_else(|| NOTHING.to_owned(), |latency| micros(of(latency)))
        };
        let statements: Vec<String> = workload
            .statements
            .iter()
            .map(|statement| statement.sql.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        table.row([
            workload.name.clone(),
            count(workload.answered),
            count(workload.errors),
            time(|latency| latency.mean),
            time(|latency| latency.p50),
            time(|latency| latency.p99),
            time(|latency| latency.max),
            statements.join("; "),
        ]);
    }
    table
}

/// The hosts over which the connections were spread.
fn hosts(hosts: &[HostPart]) -> Table {
    let mut table = Table::new(
        "Each host",
        ["host", "role", "answered", "failed", "queries/s", "mean", "p50", "p99", "behind by", "bounded by"],
    );
    for host in hosts {
        let time = |of: fn(&Percentiles) -> f64| {
            host.response_us.as_ref().map_or_else(|| NOTHING.to_owned(), |latency| micros(of(latency)))
        };
        let lag = host.lag.as_ref().map_or_else(
            || NOTHING.to_owned(),
            |lag| format!("{}, at most {}", seconds(lag.mean_seconds), seconds(lag.max_seconds)),
        );
        let bound = host.bound.as_ref().map(|bound| bound.sentence.clone());
        let unused = host.problem.as_ref().map(|problem| format!("not used: {problem}"));
        table.row([
            host.endpoint.to_string(),
            host.role.clone().unwrap_or_else(|| NOTHING.to_owned()),
            count(host.queries - host.errors.min(host.queries)),
            count(host.errors),
            rate(host.queries_per_second),
            time(|latency| latency.mean),
            time(|latency| latency.p50),
            time(|latency| latency.p99),
            lag,
            unused.or(bound).unwrap_or_else(|| NOTHING.to_owned()),
        ]);
    }
    table
}

pub(super) fn table_fact(table: &TablePart) -> String {
    format!("{}, {}", table.name, counted(table.rows, "row"))
}

/// The server's settings, one a row.
pub(super) fn server(facts: &BTreeMap<String, Value>) -> Table {
    let mut table = Table::new("As the server reported them", ["setting", "value"]);
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_null()) {
        table.row([name.clone(), text(value)]);
    }
    table
}

/// A value as a reader expects it.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Null => NOTHING.to_owned(),
        other => other.to_string(),
    }
}
