//! What a page shows of a run of `query`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cli::page::charts::latency::{LatencyChart, LatencyCurve};
use crate::cli::page::charts::ratio::{RatioBar, RatioChart, RatioGroup};
use crate::cli::page::charts::timeline::{Second, TimelineChart};
use crate::cli::page::document::{
    ComparisonPart, Content, Document, Percentiles, QueryDocument, Range, RatioPart, TablePart, WorkloadPart,
};
use crate::cli::page::html::Page;
use crate::cli::page::table::{NOTHING, Table};
use crate::cli::page::units::{count, micros, rate, ratio};
use crate::cli::render::units::{rows, seconds};

impl QueryDocument {
    /// The names of its workloads.
    pub(super) fn named(&self) -> String {
        self.workloads.iter().map(|workload| workload.name.as_str()).collect::<Vec<_>>().join(", ")
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

/// Add what is shown of `run`.
pub(super) fn add(page: &mut Page, run: &QueryDocument) {
    if run.interrupted {
        page.notice("Interrupted: the figures are those of the results until then.");
    }
    if let Some(error) = &run.ended_by {
        page.notice(&format!("The run ended early: {error}"));
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
    if let Some(comparison) = run.comparison.as_ref().filter(|comparison| !comparison.ratios.is_empty()) {
        page.figure(&against(comparison));
        if !comparison.different_settings.is_empty() {
            page.notice(&format!("Settings differ: {}.", comparison.different_settings.join("; ")));
        }
    }
    page.table(&workloads(&run.workloads), None);
    page.table(&server(&run.server), Some("The server and its settings"));
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

/// The chart of the ratios to a saved run.
fn against(comparison: &ComparisonPart) -> RatioChart {
    let figure = |part: &RatioPart, value: f64| match part.figure.as_str() {
        "rate" => rate(value) + " queries/s",
        _ => micros(value),
    };
    let bar = |part: &RatioPart| RatioBar {
        name: part.figure.clone(),
        ratio: Some(part.ratio),
        interval: part.interval.map(|interval| (interval.low, interval.high)),
        is_ours: part.significant,
        figure: format!("{}, before {}", figure(part, part.now), figure(part, part.baseline)),
        note: None,
    };
    let named: Vec<String> = comparison
        .ratios
        .iter()
        .filter(|part| part.significant)
        .map(|part| format!("{} {}×", part.figure, ratio(part.ratio)))
        .collect();
    let verdict = match named.as_slice() {
        [] => "No figure differs significantly from the baseline.".to_owned(),
        named => format!("Significantly different from the baseline: {}.", named.join(", ")),
    };
    RatioChart {
        title: format!("Against {}", comparison.baseline),
        verdict,
        of: "baseline".to_owned(),
        groups: vec![RatioGroup { name: String::new(), bars: comparison.ratios.iter().map(bar).collect() }],
        unit: "figures",
        colours: ["significant", "not significant"],
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

pub(super) fn table_fact(table: &TablePart) -> String {
    format!("{}, {}", table.name, rows(table.rows))
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
