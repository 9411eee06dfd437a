//! Comparisons for people.

use std::collections::BTreeMap;

use crate::cli::bench::report::{BenchReport, ContenderResult, Run, Section};
use crate::cli::render::Report;
use crate::cli::render::units::{bytes, rate, seconds};

impl Report for BenchReport {
    fn text(&self) -> String {
        let machine = &self.machine;
        let mut lines = vec![
            format!(
                "{} runs of each, in random order, {} in all; load average {:.2} at the start",
                self.runs,
                seconds(self.seconds),
                machine.load_average
            ),
            format!("{} cores, {}, {}", machine.cores, machine.processor, machine.kernel),
            self.server.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", "),
        ];
        for section in &self.sections {
            lines.push(String::new());
            lines.extend(table(self, section));
        }
        let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for info in &self.contenders {
            if let Some(why) = &info.missing {
                missing.entry(why).or_default().push(&info.title);
            }
        }
        if !missing.is_empty() {
            lines.push(String::new());
            lines.extend(missing.iter().map(|(why, who)| format!("missing: {} ({why})", who.join(", "))));
        }
        if let Some(why) = &self.ended_by {
            lines.push(String::new());
            lines.push(format!("NOT FINISHED: {why}"));
        }
        lines.join("\n")
    }
}

/// The results of `section`, the fastest first.
fn table(report: &BenchReport, section: &Section) -> Vec<String> {
    let unit = if section.kind == "load" { "rows/s" } else { "queries/s" };
    let baseline = report.title_of(&section.baseline);
    let mut lines = vec![
        format!("{} (compared with {baseline})", section.title),
        format!(
            "  {:<30} {:>11} {:>23}  {:<20} {:>9} {:>10} {:>9} {:>9}",
            "", unit, "least to most", "ratio", "CPU", "server CPU", "memory", "WAL"
        ),
    ];
    for result in &section.results {
        let name = report.name_of(result);
        if let Some(why) = &result.failed {
            lines.push(format!("  {name:<30} FAILED: {why}"));
        } else if !result.runs.is_empty() {
            lines.push(row(&name, result));
        }
    }
    lines
}

/// The tables of `report` in Markdown, with when and where it was measured.
pub(crate) fn markdown(report: &BenchReport) -> String {
    let machine = &report.machine;
    let setting = |name: &str| report.server.get(name).map_or("", String::as_str);
    let mut lines = vec![format!(
        "Measured at {} with PostgreSQL {} on {} cores ({}): medians of {} runs in random order.",
        report.started_at,
        setting("server_version"),
        machine.cores,
        machine.processor,
        report.runs
    )];
    for section in &report.sections {
        let unit = if section.kind == "load" { "rows/s" } else { "queries/s" };
        let baseline = report.title_of(&section.baseline);
        lines.extend([
            String::new(),
            format!(
                "| {} | {unit} | least to most | × {baseline} | client CPU | server CPU | memory |",
                section.title
            ),
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |".to_owned(),
        ]);
        for result in &section.results {
            let name = report.name_of(result);
            lines.push(match &result.failed {
                Some(why) => format!("| {name} | FAILED: {} | | | | | |", why.replace('|', "\\|")),
                None => format!("| {name} | {} |", cells(result)[..6].join(" | ")),
            });
        }
    }
    lines.join("\n") + "\n"
}

/// Rate, range, ratio, CPU of client and server, memory and WAL.
fn cells(result: &ContenderResult) -> [String; 7] {
    let ratio = match (result.ratio, result.ratio_interval) {
        (None, _) => "1".to_owned(),
        (Some(ratio), None) => format!("{ratio:.2}"),
        (Some(ratio), Some((low, high))) => format!("{ratio:.2} ({low:.2} to {high:.2})"),
    };
    // The system counts in steps of 10 ms.
    let cpu = |of: fn(&Run) -> Option<f64>| match middle(result, of) {
        None => "-".to_owned(),
        Some(used) if used < 0.01 => "< 10 ms".to_owned(),
        Some(used) => seconds(used),
    };
    let size = |of: fn(&Run) -> Option<f64>| {
        middle(result, of).map_or_else(|| "-".to_owned(), |size| bytes(size as u64))
    };
    [
        rate(result.rate.median),
        format!("{} to {}", rate(result.rate.min), rate(result.rate.max)),
        ratio,
        cpu(|run| run.client_cpu_seconds),
        cpu(|run| run.server_cpu_seconds),
        size(|run| run.client_peak_bytes.map(|size| size as f64)),
        size(|run| Some(run.wal_bytes as f64)),
    ]
}

fn row(name: &str, result: &ContenderResult) -> String {
    let [rate, range, ratio, cpu, server_cpu, memory, wal] = cells(result);
    format!("  {name:<30} {rate:>11} {range:>23}  {ratio:<20} {cpu:>9} {server_cpu:>10} {memory:>9} {wal:>9}")
}

/// The median of a figure over the runs that have it.
fn middle(result: &ContenderResult, of: fn(&Run) -> Option<f64>) -> Option<f64> {
    let values: Vec<f64> = result.runs.iter().filter_map(of).collect();
    postgres_etl::statistics::median(&values)
}
