//! What a page shows of a comparison.

use std::collections::HashSet;

use postgres_etl::statistics;

use crate::cli::bench::report::{BenchReport, ContenderInfo, ContenderResult, Run, Section};
use crate::cli::page::charts::cost::{CostChart, CostOfWay};
use crate::cli::page::charts::heat::{HeatCell, HeatChart};
use crate::cli::page::charts::latency::{LatencyChart, LatencyCurve};
use crate::cli::page::charts::latency_grid::LatencyGrid;
use crate::cli::page::charts::phases::{PhasesChart, PhasesOfLoad};
use crate::cli::page::charts::ratio::{RatioBar, RatioChart, RatioGroup};
use crate::cli::page::html::Page;
use crate::cli::page::load::cost_of_ways;
use crate::cli::page::table::{NOTHING, Table};
use crate::cli::page::units::{compact, counted, rate, ratio};
use crate::cli::page::{terms, verdicts};
use crate::cli::render::units::{bytes, seconds};
use crate::cli::render::{cells, heads, too_slow, unfinished};

/// Add what is shown of `report`.
pub(super) fn add(page: &mut Page, report: &BenchReport) {
    if let Some(reason) = &report.ended_by {
        page.notice(&format!("The comparison ended early: {reason}"));
    }
    let failures = report.sections.iter().flat_map(|section| {
        let failed = section.results.iter().filter_map(move |result| Some((result, result.failed.as_ref()?)));
        failed.map(move |(result, reason)| (section, result, reason))
    });
    for (section, result, reason) in failures {
        page.notice(&format!("{} failed ({}): {reason}", report.title_of(&result.contender), section.title));
    }
    for section in &report.sections {
        let lacking = unfinished(report, section);
        if !lacking.is_empty() {
            page.notice(&format!("Not complete ({}): {} are missing.", section.title, lacking.join("; ")));
        }
        if let Some(note) = &section.baseline_note {
            page.notice(&format!("{}: {note}", capitalised(&section.title)));
        }
    }
    page.facts(&summary(report));
    let of_kind = |kind: &str| -> Vec<&Section> {
        report.sections.iter().filter(|section| section.kind == kind).collect()
    };
    add_loads(page, report, &of_kind("load"));
    add_queries(page, report, &of_kind("query"));
    page.subheading("Who took part, and on what terms");
    for (summary, table) in terms::tables(report) {
        page.table(&table, Some(summary));
    }
    page.subheading("All figures");
    for section in &report.sections {
        page.table(&results(report, section), Some(&section.title));
    }
    page.subheading("The machine and the server");
    page.facts(&machine(report));
    let mut settings = Table::new("As the server reported them", ["setting", "value"]);
    for (name, value) in &report.server {
        settings.row([name.clone(), value.clone()]);
    }
    page.table(&settings, Some("The server's settings"));
}

impl Section {
    /// The name of its workload: the title up to the settings.
    fn workload(&self) -> &str {
        self.title.split(',').next().unwrap_or_default().trim()
    }

    /// The settings, for a group of sections of the same workload.
    pub(super) fn settings(&self) -> String {
        let Some(connections) = self.connections else {
            let rest = self.title.split_once(", ").map(|(_, rest)| rest);
            return rest.unwrap_or(&self.title).to_owned();
        };
        let connections = counted(connections as u64, "connection");
        match self.pipeline_depth {
            Some(depth) => format!("{connections} × {depth} in flight"),
            None => connections,
        }
    }

    /// The settings as a panel names them: `4 × 64`.
    fn short_settings(&self) -> String {
        match (self.connections, self.pipeline_depth) {
            (Some(connections), Some(depth)) => format!("{connections} × {depth}"),
            _ => "at its fastest".to_owned(),
        }
    }
}

fn summary(report: &BenchReport) -> Vec<(&'static str, String)> {
    let missing: Vec<&str> = report
        .contenders
        .iter()
        .filter(|contender| contender.missing.is_some())
        .map(|contender| contender.title.as_str())
        .collect();
    let mut runs =
        report.sections.iter().flat_map(|section| &section.results).flat_map(|result| &result.runs);
    // Only of a server on this machine is that known.
    let is_local = runs.any(|run| run.server_cpu_seconds.is_some());
    let version = report.server.iter().find(|(name, _)| name.contains("version"));
    let left_out: Vec<String> =
        report.sections.iter().filter_map(|section| Some(capitalised(&too_slow(report, section)?))).collect();
    let mut results = report.sections.iter().flat_map(|section| &section.results);
    let intervals = if results.any(|result| result.ratio_interval.is_some()) {
        "in parentheses, and as thin lines: those of a section hold together with 95 % confidence"
    } else {
        ""
    };
    vec![
        ("Measured", format!("{}, in {}", report.started_at, duration(report.seconds))),
        (
            "Runs",
            format!(
                "{} of each contender, in an order shuffled by seed {}, after one warm-up",
                report.runs, report.seed
            ),
        ),
        (
            "Programs",
            format!(
                "postgres-etl {}, with {} contenders",
                report.version,
                report.contenders.len() - missing.len()
            ),
        ),
        (
            "Server",
            version.map_or_else(String::new, |(_, version)| {
                format!("PostgreSQL {version}{}", if is_local { ", on the same machine" } else { "" })
            }),
        ),
        ("Machine", format!("{}, {} cores", report.machine.processor, report.machine.cores)),
        ("Missing", missing.join("; ")),
        ("Left out", left_out.join(". ")),
        ("Intervals", intervals.to_owned()),
    ]
}

fn machine(report: &BenchReport) -> Vec<(&'static str, String)> {
    let machine = &report.machine;
    let load = machine.load_average.map(|load| format!("{load:.2} runnable processes"));
    vec![
        ("Processor", machine.processor.clone()),
        ("Cores", machine.cores.to_string()),
        ("Memory", machine.memory_bytes.map(bytes).unwrap_or_default()),
        ("Kernel", machine.kernel.clone()),
        ("Governor", machine.governor.clone().unwrap_or_default()),
        ("Load before", load.unwrap_or_default()),
    ]
}

/// A long time, in minutes.
fn duration(taken: f64) -> String {
    if taken < 120.0 { seconds(taken) } else { format!("{:.0} min", taken / 60.0) }
}

fn add_loads(page: &mut Page, report: &BenchReport, sections: &[&Section]) {
    for section in sections {
        page.figure(&ratios(report, &section.title, &[section]));
    }
    let mut costs: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for section in sections.iter().filter(|section| section.rows > 0) {
        for result in section.valid().filter(|result| !report.is_limit(&result.contender)) {
            let cost =
                (section.rows as f64, median(&result.runs, |run| run.seconds) * 1e6 / section.rows as f64);
            match costs.iter_mut().find(|(name, _)| *name == result.contender) {
                Some((_, costs)) => costs.push(cost),
                None => costs.push((result.contender.clone(), vec![cost])),
            }
        }
    }
    let named = |way: CostOfWay| CostOfWay {
        is_ours: report.is_ours(&way.name),
        name: report.title_of(&way.name).to_owned(),
        ..way
    };
    let ways: Vec<CostOfWay> = cost_of_ways(costs).into_iter().map(named).collect();
    if !ways.is_empty() {
        page.figure(&CostChart { title: "Cost of a row by number of rows".to_owned(), ways });
    }
    add_phases(page, report, sections);
}

/// Add where the time of the largest load went, and of those that were too slow for it.
fn add_phases(page: &mut Page, report: &BenchReport, sections: &[&Section]) {
    let mut by_rows = sections.to_vec();
    by_rows.sort_by_key(|section| std::cmp::Reverse(section.rows));
    let (Some(largest), mut seen) = (by_rows.first(), HashSet::new()) else { return };
    let (mut loads, mut compared) = (Vec::new(), 0);
    for section in &by_rows {
        for result in section.valid() {
            let title = report.title_of(&result.contender);
            let name = if section.rows == largest.rows {
                title.to_owned()
            } else {
                format!("{title}, {}", counted(section.rows, "row"))
            };
            let load = phases(&name, result).filter(|_| !seen.contains(&result.contender));
            if let Some(load) = load {
                seen.insert(result.contender.clone());
                loads.push(load);
            }
        }
        if section.rows == largest.rows {
            compared = loads.len();
        }
    }
    if !loads.is_empty() {
        let title = format!("Where the time went: {}", largest.title);
        page.figure(&PhasesChart { title, loads, compared });
    }
}

/// The medians of the phases of a way to load; `None` if it does not report them.
fn phases(title: &str, result: &ContenderResult) -> Option<PhasesOfLoad> {
    let is_known = result.runs.iter().any(|run| !run.phases.is_empty());
    let cpu = |of: fn(&Run) -> Option<f64>| {
        let used: Option<Vec<f64>> = result.runs.iter().map(of).collect();
        statistics::median(&used?)
    };
    let cpu = [cpu(|run| run.client_cpu_seconds), cpu(|run| run.server_cpu_seconds)];
    let seconds = |phase: &str| {
        let is_reported = result.runs.iter().any(|run| run.phases.contains_key(phase));
        is_reported.then(|| median(&result.runs, |run| run.phases.get(phase).copied().unwrap_or_default()))
    };
    is_known.then(|| PhasesOfLoad::new(title.to_owned(), seconds).using(cpu))
}

/// The median of a figure of `runs`; 0 without any.
fn median(runs: &[Run], of: impl Fn(&Run) -> f64) -> f64 {
    let values: Vec<f64> = runs.iter().map(of).collect();
    statistics::median(&values).unwrap_or_default()
}

fn add_queries(page: &mut Page, report: &BenchReport, sections: &[&Section]) {
    let mut workloads: Vec<(&str, u64, Vec<&Section>)> = Vec::new();
    for &section in sections {
        let (name, rows) = (section.workload(), section.rows);
        match workloads.iter_mut().find(|workload| workload.0 == name && workload.1 == rows) {
            Some(workload) => workload.2.push(section),
            None => workloads.push((name, rows, vec![section])),
        }
    }
    for (name, rows, sections) in workloads {
        let title = match sections.as_slice() {
            [section] => section.title.clone(),
            _ => format!("{name}, {}", counted(rows, "row")),
        };
        page.figure(&ratios(report, &title, &sections));
        // Where each is as fast as it can, the settings differ.
        let mapped: Vec<&Section> = sections
            .iter()
            .copied()
            .filter(|section| section.connections.is_some() && section.pipeline_depth.is_some())
            .collect();
        let are_mapped = mapped.len() > 1;
        for contender in report.contenders.iter().filter(|contender| contender.is_ours && are_mapped) {
            let map = map(report, &title, &mapped, contender);
            if map.best().is_some() {
                page.figure(&map);
            }
        }
        add_latencies(page, report, name, &sections);
    }
}

/// Add the response times in all `sections` of the workload `name` in which contenders report them.
fn add_latencies(page: &mut Page, report: &BenchReport, name: &str, sections: &[&Section]) {
    let panels: Vec<(&Section, Vec<LatencyCurve>)> = sections
        .iter()
        .map(|section| (*section, curves(report, section)))
        .filter(|(_, curves)| !curves.is_empty())
        .collect();
    match panels.as_slice() {
        [] => {}
        [(section, curves)] => {
            let of = match sections {
                [_] => section.title.clone(),
                _ => format!("{name}, {}", section.settings()),
            };
            let title = match curves.as_slice() {
                [only] => format!("Response times of {} by percentile: {of}", only.name),
                _ => format!("Response times compared, by percentile: {of}"),
            };
            page.figure(&LatencyChart { title, curves: curves.clone() });
        }
        panels => {
            let panels: Vec<_> =
                panels.iter().map(|(section, curves)| (section.short_settings(), curves.clone())).collect();
            page.figure(&LatencyGrid {
                title: format!("Response times by percentile: {name}, connections × in flight on each"),
                verdict: verdicts::shortest(&panels),
                panels,
            });
        }
    }
}

/// The medians of the percentiles that contenders of `section` report.
fn curves(report: &BenchReport, section: &Section) -> Vec<LatencyCurve> {
    let curve = |result: &ContenderResult| {
        let shares =
            [(0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];
        let known = shares.into_iter().filter_map(|(share, name)| {
            let is_known = result.runs.iter().all(|run| run.latency_us.contains_key(name));
            is_known.then(|| (share, median(&result.runs, |run| run.latency_us[name])))
        });
        LatencyCurve { name: report.spoken(&result.contender), percentiles: known.collect() }
    };
    section.valid().map(curve).filter(|curve| curve.percentiles.len() > 1).collect()
}

/// The bars of `sections`, which have the same work.
fn ratios(report: &BenchReport, title: &str, sections: &[&Section]) -> RatioChart {
    let group = |section: &&Section| RatioGroup {
        name: if sections.len() > 1 { section.settings() } else { String::new() },
        bars: ranked(section).into_iter().map(|result| bar(report, section, result)).collect(),
    };
    let first = sections.first().map_or("", |section| section.baseline.as_str());
    let of = if sections.iter().all(|section| section.baseline == first) {
        format!("rate of {}", report.title_of(first))
    } else {
        "rate of each baseline".to_owned()
    };
    let unit = if sections.iter().any(|section| section.kind == "load") { "rows/s" } else { "queries/s" };
    RatioChart {
        title: capitalised(title),
        verdict: verdicts::fastest(report, sections),
        of,
        groups: sections.iter().map(group).collect(),
        unit,
        colours: ["postgres-etl", "others"],
    }
}

/// The results in the order of what the bars show, the best first; those without any are last.
fn ranked(section: &Section) -> Vec<&ContenderResult> {
    let mut results: Vec<&ContenderResult> = section.results.iter().collect();
    let score = |result: &ContenderResult| {
        if result.failed.is_none() && !result.runs.is_empty() {
            section.score(result)
        } else {
            f64::NEG_INFINITY
        }
    };
    results.sort_by(|a, b| score(b).total_cmp(&score(a)));
    results
}

fn bar(report: &BenchReport, section: &Section, result: &ContenderResult) -> RatioBar {
    let is_baseline = result.contender == section.baseline;
    let has_result = result.failed.is_none() && !result.runs.is_empty();
    let note = match (&result.failed, is_baseline, has_result) {
        (Some(_), ..) => Some("failed".to_owned()),
        (None, _, false) => Some("not measured".to_owned()),
        (None, true, true) if section.has_ratios() => Some("1× baseline".to_owned()),
        (None, _, true) => None,
    };
    RatioBar {
        name: report.name_of(result),
        ratio: result.ratio.filter(|_| has_result && !is_baseline),
        interval: result.ratio_interval.filter(|_| has_result),
        is_ours: report.is_ours(&result.contender),
        is_limit: report.is_limit(&result.contender),
        figure: result.rate.filter(|_| has_result).map_or_else(|| NOTHING.to_owned(), |of| rate(of.median)),
        note,
    }
}

/// `text` with a capital first letter.
fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// The rates of `contender`, with their ratios to the baseline, by connections and depth.
fn map(report: &BenchReport, title: &str, sections: &[&Section], contender: &ContenderInfo) -> HeatChart {
    let sorted = |of: fn(&Section) -> Option<usize>| {
        let mut values: Vec<usize> = sections.iter().filter_map(|section| of(section)).collect();
        values.sort_unstable();
        values.dedup();
        values
    };
    let (down, across) = (sorted(|section| section.connections), sorted(|section| section.pipeline_depth));
    let cell = |connections: usize, depth: usize| {
        let is_here = |section: &&&Section| {
            section.connections == Some(connections) && section.pipeline_depth == Some(depth)
        };
        let section = sections.iter().find(is_here)?;
        let result = section.valid().find(|result| result.contender == contender.name)?;
        let note = result.ratio.map_or_else(String::new, |value| format!("{}×", ratio(value)));
        Some(HeatCell { value: result.median(), note })
    };
    let cells = down.iter().map(|row| across.iter().map(|column| cell(*row, *column)).collect()).collect();
    let names = |values: &[usize]| values.iter().map(ToString::to_string).collect();
    let mut baselines: Vec<String> =
        sections.iter().map(|section| report.spoken(&section.baseline)).collect();
    let mut seen = HashSet::new();
    baselines.retain(|title| seen.insert(title.clone()));
    let baseline = match baselines.as_slice() {
        [one] => one.clone(),
        several => format!("the baseline of each setting: {}", several.join(" or ")),
    };
    let mut chart = HeatChart {
        title: format!("Connections × depth: {}, {title}", contender.title),
        verdict: String::new(),
        settings: ["connections".to_owned(), "in flight on each".to_owned()],
        down: names(&down),
        across: names(&across),
        cells,
        texts: [rate, compact],
        most_is_best: true,
    };
    if let Some((row, column, best)) = chart.best() {
        chart.verdict = format!(
            "Its highest rate is {} queries/s, with {} connections and {} queries in flight on each; × is the ratio to {baseline}.",
            rate(best),
            chart.down[row],
            chart.across[column]
        );
    }
    chart
}

/// What the intervals of `section` are called.
fn interval_name(section: &Section) -> &'static str {
    match section.comparisons {
        Some(comparisons) if comparisons > 1 => "simultaneous 95 % interval",
        _ => "95 % interval",
    }
}

/// All figures of `section`, medians of the runs.
fn results(report: &BenchReport, section: &Section) -> Table {
    let mut table = Table::new(format!("Medians of the runs: {}", section.title), ["contender"]);
    let heads = heads(section).map(|head| if head == "interval" { interval_name(section) } else { head });
    table.head.extend(heads.into_iter().chain(["failed"]).map(str::to_owned));
    for result in &section.results {
        let figures = cells(section, result).map(|cell| cell.unwrap_or_else(|| NOTHING.to_owned()));
        let failed = result.failed.clone().unwrap_or_default();
        table.rows.push([report.name_of(result)].into_iter().chain(figures).chain([failed]).collect());
    }
    table
}
