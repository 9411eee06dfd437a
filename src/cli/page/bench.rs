//! What a page shows of a comparison.

use postgres_etl::statistics;

use crate::cli::bench::report::{BenchReport, ContenderInfo, ContenderResult, Run, Section};
use crate::cli::page::charts::cost::CostChart;
use crate::cli::page::charts::heat::{HeatCell, HeatChart};
use crate::cli::page::charts::latency::{LatencyChart, LatencyCurve};
use crate::cli::page::charts::phases::{PhasesChart, PhasesOfLoad};
use crate::cli::page::charts::ratio::{RatioBar, RatioChart, RatioGroup};
use crate::cli::page::html::Page;
use crate::cli::page::load::cost_of_ways;
use crate::cli::page::table::{NOTHING, Table};
use crate::cli::page::units::{compact, count, micros, rate, ratio};
use crate::cli::render::units::{bytes, seconds};

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
    page.facts(&summary(report));
    let of_kind = |kind: &str| -> Vec<&Section> {
        report.sections.iter().filter(|section| section.kind == kind).collect()
    };
    add_loads(page, report, &of_kind("load"));
    add_queries(page, report, &of_kind("query"));
    page.subheading("Who took part");
    page.table(&contenders(&report.contenders), None);
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

impl BenchReport {
    fn is_ours(&self, name: &str) -> bool {
        self.info(name).is_some_and(|contender| contender.is_ours)
    }
}

impl Section {
    /// The results, those without a failure.
    fn valid(&self) -> impl Iterator<Item = &ContenderResult> {
        self.results.iter().filter(|result| result.failed.is_none() && !result.runs.is_empty())
    }

    /// The name of its workload: the title up to the settings.
    fn workload(&self) -> &str {
        self.title.split(',').next().unwrap_or_default().trim()
    }

    /// The settings, for a group of sections of the same workload.
    fn settings(&self) -> String {
        let connections = match self.connections {
            Some(1) => "1 connection".to_owned(),
            Some(connections) => format!("{connections} connections"),
            None => return self.title.clone(),
        };
        match self.pipeline_depth {
            Some(depth) => format!("{connections} × {depth} in flight"),
            None => connections,
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
    let version = report.server.iter().find(|(name, _)| name.contains("version"));
    vec![
        ("Measured", format!("{}, in {}", report.started_at, duration(report.seconds))),
        (
            "Runs",
            format!(
                "{} of each, in an order shuffled by seed {}, after one warm-up",
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
                format!("PostgreSQL {version}, on the same machine")
            }),
        ),
        ("Machine", format!("{}, {} cores", report.machine.processor, report.machine.cores)),
        ("Missing", missing.join("; ")),
    ]
}

fn machine(report: &BenchReport) -> Vec<(&'static str, String)> {
    let machine = &report.machine;
    vec![
        ("Processor", machine.processor.clone()),
        ("Cores", machine.cores.to_string()),
        ("Memory", bytes(machine.memory_bytes)),
        ("Kernel", machine.kernel.clone()),
        ("Governor", machine.governor.clone().unwrap_or_else(|| "not known".to_owned())),
        ("Load before", format!("{:.2} runnable processes", machine.load_average)),
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
        for result in section.valid() {
            let title = report.title_of(&result.contender);
            let cost =
                (section.rows as f64, median(&result.runs, |run| run.seconds) * 1e6 / section.rows as f64);
            match costs.iter_mut().find(|(name, _)| name == title) {
                Some((_, costs)) => costs.push(cost),
                None => costs.push((title.to_owned(), vec![cost])),
            }
        }
    }
    let ways = cost_of_ways(costs);
    if !ways.is_empty() {
        page.figure(&CostChart { title: "Cost of a row by number of rows".to_owned(), ways });
    }
    if let Some(section) = sections.iter().max_by_key(|section| section.rows) {
        let loads: Vec<PhasesOfLoad> =
            section.valid().filter_map(|result| phases(report.title_of(&result.contender), result)).collect();
        if !loads.is_empty() {
            page.figure(&PhasesChart { title: format!("Where the time went: {}", section.title), loads });
        }
    }
}

/// The medians of the phases of a way to load; `None` if it does not report them.
fn phases(title: &str, result: &ContenderResult) -> Option<PhasesOfLoad> {
    let is_known = result.runs.iter().any(|run| !run.phases.is_empty());
    let seconds =
        |phase: &str| Some(median(&result.runs, |run| run.phases.get(phase).copied().unwrap_or_default()));
    is_known.then(|| PhasesOfLoad::new(title.to_owned(), seconds))
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
            _ => format!("{name}, {} rows", count(rows)),
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
        let latencies = sections.first().map(|section| {
            let settings = if sections.len() > 1 { section.settings() } else { section.title.clone() };
            (settings, curves(report, section))
        });
        if let Some((settings, curves)) = latencies.filter(|(_, curves)| !curves.is_empty()) {
            let of = if sections.len() > 1 { format!("{name}, {settings}") } else { settings };
            let title = match curves.as_slice() {
                [only] => format!("Response times of {} by percentile: {of}", only.name),
                _ => format!("Response times compared, by percentile: {of}"),
            };
            page.figure(&LatencyChart { title, curves });
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
        LatencyCurve { name: report.title_of(&result.contender).to_owned(), percentiles: known.collect() }
    };
    section.valid().map(curve).filter(|curve| curve.percentiles.len() > 1).collect()
}

/// The bars of `sections`, which have the same work.
fn ratios(report: &BenchReport, title: &str, sections: &[&Section]) -> RatioChart {
    let group = |section: &&Section| RatioGroup {
        name: if sections.len() > 1 { section.settings() } else { String::new() },
        bars: section.results.iter().map(|result| bar(report, section, result)).collect(),
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
        verdict: verdict(report, sections),
        of,
        groups: sections.iter().map(group).collect(),
        unit,
        colours: ["postgres-etl", "others"],
    }
}

fn bar(report: &BenchReport, section: &Section, result: &ContenderResult) -> RatioBar {
    let is_baseline = result.contender == section.baseline;
    let has_result = result.failed.is_none() && !result.runs.is_empty();
    let note = match (&result.failed, is_baseline, has_result) {
        (Some(_), ..) => Some("failed".to_owned()),
        (None, _, false) => Some("not measured".to_owned()),
        (None, true, true) => Some("1× baseline".to_owned()),
        (None, false, true) => None,
    };
    RatioBar {
        name: report.title_of(&result.contender).to_owned(),
        ratio: result.ratio.filter(|_| has_result && !is_baseline),
        interval: result.ratio_interval.filter(|_| has_result),
        is_ours: report.is_ours(&result.contender),
        figure: if has_result { rate(result.rate.median) } else { NOTHING.to_owned() },
        note,
    }
}

/// `text` with a capital first letter.
fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// Which contender is the fastest, if the runs can tell.
fn verdict(report: &BenchReport, sections: &[&Section]) -> String {
    match sections {
        [section] => fastest(report, section),
        sections => {
            let winner = |section: &&Section| {
                let best = section.valid().max_by(|a, b| a.rate.median.total_cmp(&b.rate.median))?;
                let mut others = section.valid().filter(|other| other.contender != best.contender);
                let is_sure = !others.any(|other| is_level(section, best, other));
                Some((best.contender.clone(), is_sure, best.ratio, section.settings()))
            };
            let winners: Vec<_> = sections.iter().filter_map(winner).collect();
            let Some((first, ..)) = winners.first() else { return "Nothing was measured.".to_owned() };
            let wins = winners.iter().filter(|(name, is_sure, ..)| name == first && *is_sure).count();
            let sure = winners.iter().filter(|(_, is_sure, ..)| *is_sure);
            let largest = sure.filter_map(|(name, _, ratio, at)| Some((name, (*ratio)?, at)));
            let most = match largest.max_by(|a, b| a.1.total_cmp(&b.1)) {
                Some((name, most, at)) => {
                    format!(
                        "; the largest lead is {}× the baseline, of {} with {at}",
                        ratio(most),
                        report.title_of(name)
                    )
                }
                None => String::new(),
            };
            format!(
                "{} is clearly the fastest in {wins} of {} settings{most}.",
                report.title_of(first),
                winners.len()
            )
        }
    }
}

fn fastest(report: &BenchReport, section: &Section) -> String {
    let mut valid: Vec<&ContenderResult> = section.valid().collect();
    valid.sort_by(|a, b| b.rate.median.total_cmp(&a.rate.median));
    let Some(best) = valid.first() else { return "Nothing was measured.".to_owned() };
    let unit = if section.kind == "load" { "rows/s" } else { "queries/s" };
    let times = match (best.ratio, best.ratio_interval) {
        (Some(value), Some((low, high))) => format!(
            ", {}× {} (95 % interval {}–{})",
            ratio(value),
            report.title_of(&section.baseline),
            ratio(low),
            ratio(high)
        ),
        (Some(value), None) => format!(", {}× {}", ratio(value), report.title_of(&section.baseline)),
        (None, _) => String::new(),
    };
    let (title, figure) = (report.title_of(&best.contender), rate(best.rate.median));
    let level: Vec<&str> = valid[1..]
        .iter()
        .filter(|other| is_level(section, best, other))
        .map(|other| report.title_of(&other.contender))
        .collect();
    match level.as_slice() {
        [] => format!("{title} is the fastest: {figure} {unit}{times}."),
        level => format!(
            "{title} has the highest median, {figure} {unit}{times}, but these runs do not tell it apart from {}.",
            level.join(" or ")
        ),
    }
}

/// Whether the runs of `section` do not tell `best` from `other`: the intervals of their ratios overlap or, without
/// these, the ranges of their runs.
fn is_level(section: &Section, best: &ContenderResult, other: &ContenderResult) -> bool {
    let interval = |result: &ContenderResult| {
        if result.contender == section.baseline { Some((1.0, 1.0)) } else { result.ratio_interval }
    };
    match (interval(best), interval(other)) {
        (Some((low, _)), Some((_, high))) => high >= low,
        _ => other.rate.max >= best.rate.min,
    }
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
        Some(HeatCell { value: result.rate.median, note })
    };
    let cells = down.iter().map(|row| across.iter().map(|column| cell(*row, *column)).collect()).collect();
    let names = |values: &[usize]| values.iter().map(ToString::to_string).collect();
    let baseline = sections.first().map_or("", |section| report.title_of(&section.baseline));
    let mut chart = HeatChart {
        title: format!("{}: {title}", contender.title),
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

fn contenders(contenders: &[ContenderInfo]) -> Table {
    let mut table = Table::new(
        "Contenders, and what is fair to know of each",
        ["contender", "version", "terms", "missing because"],
    );
    for contender in contenders {
        let title =
            if contender.is_ours { format!("{} (ours)", contender.title) } else { contender.title.clone() };
        table.row([
            title,
            contender.version.clone(),
            contender.terms.clone(),
            contender.missing.clone().unwrap_or_default(),
        ]);
    }
    table
}

fn results(report: &BenchReport, section: &Section) -> Table {
    let unit = if section.kind == "load" { "rows/s" } else { "queries/s" };
    let mut table = Table::new(
        format!("Medians of the runs: {}", section.title),
        [
            "contender",
            unit,
            "least",
            "most",
            "ratio",
            "95 % interval",
            "bytes/s",
            "client CPU",
            "server CPU",
            "client memory",
            "server memory",
            "WAL",
            "p50",
            "p99",
            "failed",
        ],
    );
    for result in &section.results {
        table.row(figures(report, result));
    }
    table
}

/// The medians of the runs of a contender.
fn figures(report: &BenchReport, result: &ContenderResult) -> [String; 15] {
    let nothing = || NOTHING.to_owned();
    let runs = &result.runs;
    let known = |of: fn(&Run) -> Option<f64>, text: fn(f64) -> String| {
        let is_known = !runs.is_empty() && runs.iter().all(|run| of(run).is_some());
        if is_known { text(median(runs, |run| of(run).unwrap_or_default())) } else { nothing() }
    };
    let size = |value: f64| bytes(value as u64);
    let times = |value: f64| format!("{}×", ratio(value));
    let interval = result.ratio_interval.map(|(low, high)| format!("{}–{}", ratio(low), times(high)));
    let rates = [result.rate.median, result.rate.min, result.rate.max];
    let [middle, least, most] = rates.map(|value| if runs.is_empty() { nothing() } else { rate(value) });
    [
        report.name_of(result),
        middle,
        least,
        most,
        result.ratio.map_or_else(nothing, times),
        interval.unwrap_or_else(nothing),
        known(|run| run.bytes_per_second, size),
        known(|run| run.client_cpu_seconds, seconds),
        known(|run| run.server_cpu_seconds, seconds),
        known(|run| run.client_peak_bytes.map(|bytes| bytes as f64), size),
        known(|run| run.server_peak_bytes.map(|bytes| bytes as f64), size),
        known(|run| Some(run.wal_bytes as f64), size),
        known(|run| run.latency_us.get("p50").copied(), micros),
        known(|run| run.latency_us.get("p99").copied(), micros),
        result.failed.clone().unwrap_or_default(),
    ]
}
