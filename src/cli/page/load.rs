//! What a page shows of a load.

use std::collections::BTreeMap;

use crate::cli::page::charts::cost::{CostChart, CostOfWay};
use crate::cli::page::charts::phases::{PhasesChart, PhasesOfLoad};
use crate::cli::page::document::{Content, Document, LoadDocument};
use crate::cli::page::html::Page;
use crate::cli::page::query::server;
use crate::cli::page::table::Table;
use crate::cli::page::units::{count, rate};
use crate::cli::render::units::{bytes, seconds};

impl LoadDocument {
    /// Its mode, as flags name it.
    fn way(&self) -> String {
        if self.autocommit { format!("{} --autocommit", self.mode) } else { self.mode.clone() }
    }

    /// The rows that it dealt with.
    fn rows(&self) -> u64 {
        if self.mode == "null" { self.rows_encoded } else { self.rows_loaded }
    }

    fn phases(&self, name: String) -> PhasesOfLoad {
        PhasesOfLoad::new(name, |phase| self.phases.get(&format!("{phase}_seconds")).copied())
    }
}

/// Add the charts that compare the loads among `documents`, if there are several.
pub(super) fn compare(page: &mut Page, documents: &[Document]) {
    let loads: Vec<(&Document, &LoadDocument)> = documents
        .iter()
        .filter_map(|document| match &document.content {
            Content::Load(load) => Some((document, &**load)),
            _ => None,
        })
        .collect();
    if loads.len() < 2 {
        return;
    }
    let mut costs: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (_, load) in loads.iter().filter(|(_, load)| load.rows() > 0) {
        let rows = load.rows() as f64;
        costs.entry(load.way()).or_default().push((rows, load.seconds * 1e6 / rows));
    }
    let ways = cost_of_ways(costs);
    if !ways.is_empty() {
        page.figure(&CostChart { title: "Cost of a row by number of rows".to_owned(), ways });
    }
    let loads: Vec<PhasesOfLoad> = loads
        .into_iter()
        .map(|(document, load)| load.phases(format!("{} ({})", document.name, load.way())))
        .collect();
    let compared = loads.len();
    page.figure(&PhasesChart { title: "Where the time of the loads went".to_owned(), loads, compared });
}

/// The ways among `costs` that were measured with several numbers of rows.
pub(super) fn cost_of_ways(costs: impl IntoIterator<Item = (String, Vec<(f64, f64)>)>) -> Vec<CostOfWay> {
    let way = |(name, mut costs): (String, Vec<(f64, f64)>)| {
        costs.sort_by(|a, b| a.0.total_cmp(&b.0));
        CostOfWay { name, is_ours: false, costs }
    };
    let has_sizes = |way: &CostOfWay| match way.costs.as_slice() {
        [first, .., last] => first.0 < last.0,
        _ => false,
    };
    costs.into_iter().map(way).filter(has_sizes).collect()
}

/// Add what is shown of `load`.
pub(super) fn add(page: &mut Page, load: &LoadDocument) {
    for failed in &load.failed_afterwards {
        page.notice(&format!("Failed after the commit: {failed}"));
    }
    if load.rows_rejected > 0 {
        page.notice(&format!("{} rows were rejected.", count(load.rows_rejected)));
    }
    if load.dry_run {
        page.notice("A dry run: everything was rolled back.");
    }
    page.facts(&facts(load));
    page.figure(&PhasesChart {
        title: "Where the time went".to_owned(),
        loads: vec![load.phases(load.way())],
        compared: 1,
    });
    if !load.files.is_empty() {
        let mut files = Table::new("Files", ["file", "size", "SHA-256"]);
        for file in &load.files {
            let hash = file.sha256.clone().unwrap_or_else(|| "not read to its end".to_owned());
            files.row([file.path.clone(), bytes(file.bytes), hash]);
        }
        page.table(&files, None);
    }
    if !load.columns.is_empty() {
        let mut columns = Table::new("Columns", ["column", "type", "parsed"]);
        for column in &load.columns {
            let parsed = if column.format == "text" { "by the server" } else { "by this program" };
            columns.row([column.name.clone(), column.type_name.clone(), parsed.to_owned()]);
        }
        page.table(&columns, Some("The columns"));
    }
    if let Some(facts) = &load.server {
        page.table(&server(facts), Some("The server and its settings"));
    }
}

fn facts(load: &LoadDocument) -> Vec<(&'static str, String)> {
    let rows = load.rows();
    let taken = load.seconds.max(1e-9);
    let skipped = if load.rows_skipped > 0 { count(load.rows_skipped) } else { String::new() };
    vec![
        ("Rows", format!("{} of {} in {}", count(rows), count(load.rows_read), seconds(load.seconds))),
        (
            "Rate",
            match load.bytes_read {
                Some(read) => {
                    let speed = bytes((read as f64 / taken) as u64);
                    format!("{} rows/s, {speed}/s", rate(rows as f64 / taken))
                }
                None => format!("{} rows/s", rate(rows as f64 / taken)),
            },
        ),
        ("Skipped", skipped),
        ("Outcome", load.outcome.clone()),
        ("Table", load.table.clone()),
        ("Mode", load.way()),
        ("Connections", load.connections.map(|number| number.to_string()).unwrap_or_default()),
        ("Files", load.path.clone()),
        ("Indexes rebuilt", load.indexes_deferred.join(", ")),
    ]
}
