//! Reports for people.

use std::path::Path;

use postgres_etl::load::{ColumnLoaded, LoadReport, Mode, log_path};

use crate::cli::render::Report;
use crate::cli::render::units::{bytes, count, rate, rows, seconds, server};

impl Report for LoadReport {
    fn text(&self) -> String {
        let verb = if self.dry_run { "could load" } else { "loaded" };
        let mut lines = vec![match self.mode {
            Mode::Null => format!(
                "encoded {} for {} in {}: {}/s, {} rows/s; nothing was sent",
                rows(self.rows_encoded),
                self.table,
                seconds(self.seconds),
                bytes(self.bytes_per_second as u64),
                rate(self.rows_encoded as f64 / self.seconds)
            ),
            _ => format!(
                "{verb} {} into {} in {}: {} rows/s",
                rows(self.rows_loaded),
                self.table,
                seconds(self.seconds),
                rate(self.rows_per_second)
            ),
        }];
        let mut sum = vec![match self.mode {
            Mode::Null => format!("{} encoded", count(self.rows_encoded)),
            _ => format!("{} loaded", count(self.rows_loaded)),
        }];
        if self.rows_updated > 0 {
            let (inserted, updated) = (count(self.rows_inserted), count(self.rows_updated));
            sum = vec![format!("{inserted} inserted"), format!("{updated} updated")];
        }
        if self.on_conflict.is_some() {
            sum.push(format!("{} skipped", count(self.rows_skipped)));
        }
        sum.push(format!("{} rejected", count(self.rows_rejected)));
        lines.push(format!("  rows    {} read = {}", count(self.rows_read), sum.join(" + ")));
        if !self.skipping_triggers.is_empty() {
            let triggers = self.skipping_triggers.join(", ");
            lines
                .push(format!("  skipped by a key that is there, or by a trigger before INSERT: {triggers}"));
        }
        if let Some(rejects) = &self.rejects {
            let log = log_path(Path::new(rejects));
            lines.push(format!("  rejects {rejects}, reasons in {}", log.display()));
        }
        for file in &self.files {
            lines.push(format!(
                "  file    {}, {}, sha256 {:.16}…",
                file.path,
                bytes(file.bytes),
                file.sha256
            ));
        }
        if self.encoding != "UTF-8" {
            lines
                .push(format!("  bytes   read as {}, as the WHATWG Encoding Standard has it", self.encoding));
        }
        lines.extend(writing(self));
        let by_server: Vec<&ColumnLoaded> =
            self.columns.iter().filter(|column| column.format == "text").collect();
        if !by_server.is_empty() {
            let names: Vec<&str> = by_server.iter().map(|column| column.name.as_str()).collect();
            let since = by_server
                .iter()
                .find_map(|column| column.text_from.as_ref())
                .map_or_else(String::new, |switch| {
                    format!(", from {}, line {} on, for {}", switch.file, switch.line, switch.value)
                });
            lines.push(format!("  format  text, read by the server: {}{since}", names.join(", ")));
            // What a date means may depend on it, and nobody else will say.
            let is_date = |column: &&&ColumnLoaded| {
                column.type_name.starts_with("date") || column.type_name.starts_with("timestamp")
            };
            let dates: Vec<&str> =
                by_server.iter().filter(is_date).map(|column| column.name.as_str()).collect();
            if let (Some(style), false) = (&self.date_style, dates.is_empty()) {
                lines.push(format!("  dates   read with DateStyle {style}: {}", dates.join(", ")));
            }
        }
        if !self.columns_defaulted.is_empty() {
            lines.push(format!("  default {}: not in the file", self.columns_defaulted.join(", ")));
        }
        if !self.columns_ignored.is_empty() {
            lines.push(format!("  ignored {}: not in the table", self.columns_ignored.join(", ")));
        }
        lines.extend(self.server.as_ref().map(|facts| format!("  server  {}", server(facts))));
        lines.join("\n")
    }
}

/// How the rows were written, and what became of the table.
fn writing(report: &LoadReport) -> Vec<String> {
    if report.mode == Mode::Null {
        return vec!["  mode    null, no server".into()];
    }
    let transactions = match (report.autocommit, report.connections) {
        (true, _) => "a transaction a row",
        (false, 1) => "one transaction",
        (false, _) => "a transaction each, committed together",
    };
    let connections = match report.connections {
        1 => "1 connection".to_owned(),
        more => format!("{more} connections"),
    };
    let syncs = match (report.mode, report.sync_every.get()) {
        (Mode::Rows, 1) => ", a Sync a row".to_owned(),
        (Mode::Rows, many) => format!(", up to {many} rows to a Sync"),
        _ => String::new(),
    };
    let table = match (report.created, report.truncated) {
        (true, _) => "created",
        (false, true) => "emptied first",
        (false, false) => "added to",
    };
    let analyzed = if report.phases.analyze_seconds > 0.0 { ", analyzed afterwards" } else { "" };
    let undone = if report.dry_run { "; all of it was rolled back" } else { "" };
    let mut lines = vec![
        format!("  mode    {}, {transactions}, {connections}{syncs}", report.mode),
        format!("  table   {table}{analyzed}{undone}"),
    ];
    if !report.indexes_deferred.is_empty() {
        lines.push(format!("  indexes {}: built behind the rows", report.indexes_deferred.join(", ")));
    }
    if let Some(reason) = &report.indexes_kept_because {
        lines.push(format!("  indexes in place: {reason}"));
    }
    lines
}
