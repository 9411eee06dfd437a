//! Comparisons for people.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::bench::report::{
    BenchReport, ContenderInfo, ContenderResult, ContendersReport, Run, Section, Unfinished,
};
use crate::cli::render::Report;
use crate::cli::render::columns::{self, Row};
use crate::cli::render::units::{bytes, compact, counted, micros, rate, ratio, seconds};

impl Report for BenchReport {
    fn text(&self) -> String {
        let facts = facts(self).into_iter().filter(|(_, fact)| !fact.is_empty());
        let mut lines = vec![headline(self)];
        lines.extend(facts.map(|(name, fact)| format!("  {name:<8} {fact}")));
        for section in &self.sections {
            lines.push(String::new());
            lines.extend(tables(self, section));
        }
        if let Some(why) = &self.ended_by {
            lines.push(String::new());
            lines.push(format!("NOT FINISHED: {why}"));
        }
        lines.join("\n")
    }
}

fn headline(report: &BenchReport) -> String {
    let taking_part = report.contenders.iter().filter(|contender| contender.missing.is_none()).count();
    let contenders = if taking_part == 1 { "contender" } else { "contenders" };
    format!(
        "{taking_part} {contenders}, {} of each in random order after a warm-up, in {}",
        counted(report.runs as u64, "run"),
        seconds(report.seconds)
    )
}

/// What is to be known of all tables.
fn facts(report: &BenchReport) -> [(&'static str, String); 5] {
    let machine = &report.machine;
    let cores = if machine.cores == 1 { "core" } else { "cores" };
    let known = [
        Some(format!("{} {cores}, {}", machine.cores, machine.processor)),
        machine.memory_bytes.map(bytes),
        Some(machine.kernel.clone()),
        machine.governor.as_ref().map(|governor| format!("governor {governor}")),
        machine.load_average.map(|load| format!("load average {load:.2} before")),
    ];
    let setting = |(name, value): (&String, &String)| match name.as_str() {
        "server_version" => format!("PostgreSQL {value}"),
        name => format!("{name} {value}"),
    };
    let mut settings: Vec<String> = report.server.iter().map(setting).collect();
    settings.sort_by_key(|setting| !setting.starts_with("PostgreSQL "));
    let compared = report.sections.iter().filter(|section| section.comparisons > Some(0));
    let has_intervals =
        compared.flat_map(|section| &section.results).any(|result| result.ratio_interval.is_some());
    let ratios = if has_intervals {
        "in each table, all intervals hold together with 95 % (t of log ratios, Bonferroni)"
    } else {
        ""
    };
    [
        ("machine", known.into_iter().flatten().collect::<Vec<_>>().join(", ")),
        ("server", settings.join(", ")),
        ("versions", versions(&report.contenders).join("; ")),
        ("missing", missing(&report.contenders).join("; ")),
        ("ratios", ratios.to_owned()),
    ]
}

/// The versions of those that take part, each once.
fn versions(contenders: &[ContenderInfo]) -> Vec<String> {
    let named = |contender: &ContenderInfo| {
        let ContenderInfo { name, version, .. } = contender;
        // A library's version does not name it.
        let library = name.split('-').next().unwrap_or(name);
        if version.starts_with(|c: char| c.is_ascii_digit()) {
            format!("{library} {version}")
        } else {
            version.clone()
        }
    };
    let is_known = |contender: &&ContenderInfo| contender.missing.is_none() && !contender.version.is_empty();
    let mut seen = BTreeSet::new();
    contenders.iter().filter(is_known).map(named).filter(|version| seen.insert(version.clone())).collect()
}

/// Those that are missing, by the reason.
fn missing(contenders: &[ContenderInfo]) -> Vec<String> {
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for info in contenders {
        if let Some(why) = &info.missing {
            missing.entry(why).or_default().push(&info.title);
        }
    }
    missing.iter().map(|(why, who)| format!("{} ({why})", who.join("; "))).collect()
}

/// What a section lacks because the comparison ended early: `2 of 3 runs of copy`.
pub(crate) fn unfinished(report: &BenchReport, section: &Section) -> Vec<String> {
    let lacks = |Unfinished { contender, runs: measured, requested_runs }: &Unfinished| {
        let lacking = requested_runs.saturating_sub(*measured);
        format!("{lacking} of {} of {}", counted(*requested_runs as u64, "run"), report.title_of(contender))
    };
    section.unfinished.iter().map(lacks).collect()
}

/// Who was not measured in `section` because it would take too long; `None` if that is nobody.
pub(crate) fn too_slow(report: &BenchReport, section: &Section) -> Option<String> {
    let names: Vec<&str> = section.too_slow.iter().map(|name| report.title_of(name)).collect();
    let rows = counted(section.rows, "row");
    let what = format!("not measured with {rows}, which would take too long");
    (!names.is_empty()).then(|| format!("{what}: {}", names.join("; ")))
}

/// The figures, by their place in [`cells`], of how fast contenders are, and of what loads and queries take.
const SPEED: [usize; 6] = [0, 1, 2, 3, 4, 5];
const TAKEN_BY_LOADS: [usize; 5] = [6, 7, 8, 9, 10];
const TAKEN_BY_QUERIES: [usize; 6] = [6, 7, 8, 9, 11, 12];

/// The results of `section`, the fastest first: how fast they are, and what they take.
fn tables(report: &BenchReport, section: &Section) -> Vec<String> {
    let taken: &[usize] = if section.kind == "load" { &TAKEN_BY_LOADS } else { &TAKEN_BY_QUERIES };
    let heads = heads(section);
    let table = |columns: &[usize]| {
        let names: Vec<&str> = columns.iter().map(|column| heads[*column]).collect();
        let row = |result: &ContenderResult| {
            let cells = cells(section, result);
            (report.name_of(result), columns.iter().map(|column| cells[*column].clone()).collect())
        };
        let rows = section.results.iter().filter(|result| !result.runs.is_empty()).map(row);
        columns::table(&names, &rows.collect::<Vec<Row>>())
    };
    let mut lines = vec![if section.has_ratios() {
        format!("{} (ratios to {})", section.title, report.title_of(&section.baseline))
    } else {
        section.title.clone()
    }];
    if section.results.iter().any(|result| !result.runs.is_empty()) {
        lines.extend(table(&SPEED));
        lines.push(String::new());
        lines.extend(table(taken));
    }
    for result in &section.results {
        let failed = result.failed.as_ref();
        lines.extend(failed.map(|why| format!("  FAILED   {}: {why}", report.title_of(&result.contender))));
    }
    let lacking = unfinished(report, section);
    lines.extend((!lacking.is_empty()).then(|| format!("  missing  {}", lacking.join("; "))));
    lines.extend(too_slow(report, section).map(|who| format!("  note     {who}")));
    lines.extend(section.baseline_note.iter().map(|note| format!("  note     {note}")));
    lines
}

/// The tables of `report` in Markdown, with when and where it was measured.
pub(crate) fn markdown(report: &BenchReport) -> String {
    let mut lines = vec![format!("Measured at {}: {}.", report.started_at, headline(report)), String::new()];
    let facts = facts(report).into_iter().filter(|(_, fact)| !fact.is_empty());
    lines.extend(facts.map(|(name, fact)| format!("- {name}: {fact}")));
    let row = |name: &str, cells: &[String]| format!("| {name} | {} |", cells.join(" | "));
    for section in &report.sections {
        let heads = heads(section).map(str::to_owned);
        lines.extend([
            String::new(),
            row(&section.title, &heads),
            format!("| --- |{}", " ---: |".repeat(heads.len())),
        ]);
        for result in &section.results {
            let name = report.name_of(result).replace('|', "\\|");
            let cells = cells(section, result).map(Option::unwrap_or_default);
            lines.push(match &result.failed {
                Some(why) => {
                    let mut cells = cells;
                    cells[0] = format!("FAILED: {}", why.replace('|', "\\|"));
                    row(&name, &cells)
                }
                None => row(&name, &cells),
            });
        }
        let baseline = format!("Ratios to {}.", report.title_of(&section.baseline));
        let lacking = unfinished(report, section);
        let notes = [
            section.has_ratios().then_some(baseline),
            (!lacking.is_empty()).then(|| format!("Missing: {}.", lacking.join("; "))),
            too_slow(report, section).map(|who| format!("N{}.", &who[1..])),
            section.baseline_note.clone(),
        ];
        let notes: Vec<String> = notes.into_iter().flatten().collect();
        lines.extend([String::new(), notes.join(" ")]);
    }
    if let Some(why) = &report.ended_by {
        lines.extend([String::new(), format!("Not finished: {why}.")]);
    }
    lines.join("\n") + "\n"
}

/// The heads of the columns of [`cells`].
pub(crate) fn heads(section: &Section) -> [&'static str; 13] {
    let unit = if section.kind == "load" { "rows/s" } else { "queries/s" };
    [
        unit,
        "least",
        "most",
        "ratio",
        "interval",
        "MB/s",
        "client CPU",
        "server CPU",
        "client memory",
        "server memory",
        "WAL",
        "p50",
        "p99",
    ]
}

/// The figures of a contender, medians of its runs; `None` where they were not measured.
pub(crate) fn cells(section: &Section, result: &ContenderResult) -> [Option<String>; 13] {
    let median = |of: fn(&Run) -> Option<f64>| middle(result, of);
    // The system counts in steps of 10 ms.
    let cpu = |used: f64| if used < 0.01 { "< 10 ms".to_owned() } else { seconds(used) };
    let size = |size: f64| bytes(size as u64);
    // Older documents have a rate of 0 there.
    let speed = result.rate.filter(|_| !result.runs.is_empty());
    let one = (result.contender == section.baseline && section.has_ratios()).then(|| "1".to_owned());
    [
        speed.map(|spread| rate(spread.median)),
        speed.map(|spread| compact(spread.min)),
        speed.map(|spread| compact(spread.max)),
        result.ratio.map(ratio).or(one),
        result.ratio_interval.map(|(low, high)| format!("{}–{}", ratio(low), ratio(high))),
        median(|run| run.bytes_per_second).map(|bytes| format!("{:.1}", bytes / 1e6)),
        median(|run| run.client_cpu_seconds).map(cpu),
        median(|run| run.server_cpu_seconds).map(cpu),
        median(|run| run.client_peak_bytes.map(|bytes| bytes as f64)).map(size),
        median(|run| run.server_peak_bytes.map(|bytes| bytes as f64)).map(size),
        median(|run| run.wal_bytes.map(|bytes| bytes as f64)).map(size),
        median(|run| run.latency_us.get("p50").copied()).map(micros),
        median(|run| run.latency_us.get("p99").copied()).map(micros),
    ]
}

/// The median of a figure over the runs; `None` unless all of them have it.
fn middle(result: &ContenderResult, of: fn(&Run) -> Option<f64>) -> Option<f64> {
    let values: Option<Vec<f64>> = result.runs.iter().map(of).collect();
    postgres_etl::statistics::median(&values?)
}

impl Report for ContendersReport {
    fn text(&self) -> String {
        self.contenders.iter().flat_map(contender).collect::<Vec<_>>().join("\n")
    }

    fn value_column(&self) -> usize {
        "  connections  ".len()
    }
}

/// Who a contender is, and on what terms it works.
fn contender(info: &ContenderInfo) -> Vec<String> {
    let mut lines = vec![format!("{}: {}", info.name, info.title)];
    let mut fact = |name: &str, fact: &str| {
        if !fact.is_empty() {
            lines.push(format!("  {name:<12} {fact}"));
        }
    };
    if let Some(why) = &info.missing {
        fact("MISSING", why);
    }
    fact("version", &info.version);
    fact("method", &info.terms);
    if let Some(terms) = &info.fairness {
        fact("connections", &terms.connections);
        fact("transactions", &terms.transactions);
        fact("durability", &terms.durability);
        fact("indexes", &terms.indexes);
    }
    lines
}
