//! Reports for people.

use super::Report;
use std::path::Path;

use crate::command::check::{CheckReport, CheckedFile, CheckedItem, Problem};
use crate::command::generate::GenerateReport;
use crate::command::server::ServerReport;
use crate::config::Mode;
use crate::load::check::MappedField;
use crate::load::{ColumnLoaded, LoadReport};
use crate::postgres::database::ServerFacts;

impl Report for GenerateReport {
    fn text(&self) -> String {
        format!(
            "generated {} people, {}, into {} in {}",
            count(self.rows),
            bytes(self.bytes),
            self.path,
            seconds(self.seconds)
        )
    }
}

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
        if !self.swallowers.is_empty() {
            let triggers = self.swallowers.join(", ");
            lines
                .push(format!("  skipped by a key that is there, or by a trigger before INSERT: {triggers}"));
        }
        if let Some(rejects) = &self.rejects {
            let log = crate::load::rejects::log_path(Path::new(rejects));
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
        lines.extend(self.writing());
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

impl LoadReport {
    /// How the rows were written, and what became of the table.
    fn writing(&self) -> Vec<String> {
        if self.mode == Mode::Null {
            return vec!["  mode    null, no server".into()];
        }
        let transactions = match (self.autocommit, self.connections) {
            (true, _) => "a transaction a row",
            (false, 1) => "one transaction",
            (false, _) => "a transaction each, committed together",
        };
        let connections = match self.connections {
            1 => "1 connection".to_owned(),
            more => format!("{more} connections"),
        };
        let syncs = match (self.mode, self.sync_every.get()) {
            (Mode::Rows, 1) => ", a Sync a row".to_owned(),
            (Mode::Rows, many) => format!(", up to {many} rows to a Sync"),
            _ => String::new(),
        };
        let table = match (self.created, self.truncated) {
            (true, _) => "created",
            (false, true) => "emptied first",
            (false, false) => "added to",
        };
        let analyzed = if self.phases.analyze_seconds > 0.0 { ", analyzed afterwards" } else { "" };
        let undone = if self.dry_run { "; all of it was rolled back" } else { "" };
        let mut lines = vec![
            format!("  mode    {}, {transactions}, {connections}{syncs}", self.mode),
            format!("  table   {table}{analyzed}{undone}"),
        ];
        if !self.indexes_deferred.is_empty() {
            lines.push(format!("  indexes {}: built behind the rows", self.indexes_deferred.join(", ")));
        }
        if let Some(reason) = &self.indexes_kept_because {
            lines.push(format!("  indexes in place: {reason}"));
        }
        lines
    }
}

impl Report for CheckReport {
    fn text(&self) -> String {
        let mut lines = vec![format!("server     ok   {}, {}", self.address, server(&self.server))];
        lines.extend(checked_item("table", &self.table));
        lines.extend(checked_file(&self.file));
        lines.extend(self.queries.iter().flat_map(|query| checked_item("query", query)));
        lines.join("\n")
    }
}

/// What stands under the name of something that was checked.
const INDENT: &str = "                ";

fn checked_item(what: &str, item: &CheckedItem) -> Vec<String> {
    let CheckedItem { name, problem, help, detail } = item;
    match problem {
        // Every message names what it is about.
        Some(problem) => problem_lines(what, problem, help.as_deref()),
        None => vec![format!("{what:<10} ok   {name}: {detail}")],
    }
}

fn checked_file(file: &CheckedFile) -> Vec<String> {
    let CheckedFile { name, problems, detail, fields, columns_defaulted, columns_ignored } = file;
    let mut lines = Vec::new();
    for Problem { message, help } in problems {
        lines.extend(problem_lines("file", message, help.as_deref()));
    }
    match (detail.as_str(), problems.is_empty()) {
        ("", true) => lines.push(format!("file       ok   {name}")),
        (_, true) => lines.push(format!("file       ok   {name}: {detail}")),
        _ => {}
    }
    for MappedField { field, header, column } in fields {
        let ColumnLoaded { name, type_name, format, text_from } = column;
        let header = header.as_ref().map_or_else(String::new, |header| format!(" {header}"));
        let reader = match (*format, text_from) {
            ("binary", _) => "binary".to_owned(),
            (_, Some(switch)) => format!("text, read by the server for {}", switch.value),
            _ => "text, read by the server".to_owned(),
        };
        lines.push(format!("{INDENT}field {field}{header} -> {name} {type_name}, {reader}"));
    }
    if !columns_defaulted.is_empty() {
        lines.push(format!("{INDENT}default {}: not in the file", columns_defaulted.join(", ")));
    }
    if !columns_ignored.is_empty() {
        lines.push(format!("{INDENT}ignored {}: not in the table", columns_ignored.join(", ")));
    }
    lines
}

/// A problem with its remedy; what stands in further lines of `message` is a part of it.
fn problem_lines(what: &str, message: &str, help: Option<&str>) -> Vec<String> {
    let mut lines = vec![format!("{what:<10} BAD  {}", message.replace('\n', &format!("\n{INDENT}")))];
    lines.extend(help.map(|help| format!("{INDENT}  help: {help}")));
    lines
}

impl Report for ServerReport {
    fn text(&self) -> String {
        match self {
            ServerReport::Started { url, log, .. } => format!("running at {url}\n  log  {log}"),
            ServerReport::Stopped { was_running: true } => "stopped".into(),
            ServerReport::Stopped { was_running: false } => "it was not running".into(),
            ServerReport::Status(status) => {
                let mut lines = vec![match &status.note {
                    _ if status.running => "running".to_owned(),
                    Some(note) => format!("not reached: {note}"),
                    None => "not running".to_owned(),
                }];
                let mut line = |name: &str, value: Option<String>| {
                    lines.extend(value.map(|value| format!("  {name:<8} {value}")));
                };
                line("version", status.version.clone());
                line("pid", status.pid.map(|pid| pid.to_string()));
                line("url", Some(status.url.clone()));
                line("data", Some(status.data_directory.display().to_string()));
                line("log", Some(status.log.display().to_string()));
                lines.join("\n")
            }
            ServerReport::Url { url } => url.clone(),
        }
    }
}

pub(super) fn server(server: &ServerFacts) -> String {
    let ServerFacts {
        version, fsync, synchronous_commit, full_page_writes, wal_level, shared_buffers, ..
    } = server;
    format!(
        "PostgreSQL {version}; fsync {fsync}, synchronous_commit {synchronous_commit}, full_page_writes \
         {full_page_writes}, wal_level {wal_level}, shared_buffers {shared_buffers}"
    )
}

pub(super) fn rows(number: u64) -> String {
    if number == 1 { "1 row".to_owned() } else { format!("{} rows", count(number)) }
}

/// 1234567 as "1,234,567".
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        0.0 => "0".to_owned(),
        ..1.0 => format!("{per_second:.3}"),
        ..100.0 => format!("{per_second:.1}"),
        _ => count(per_second.round() as u64),
    }
}

pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        ..0.001 => format!("{:.0} µs", seconds * 1e6),
        ..1.0 => format!("{:.0} ms", seconds * 1e3),
        _ => format!("{seconds:.2} s"),
    }
}

pub(super) fn micros(micros: f64) -> String {
    match micros {
        ..1e3 => format!("{micros:.0} µs"),
        ..1e4 => format!("{:.2} ms", micros / 1e3),
        ..1e6 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

pub(super) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([12.34, 1234.5].map(rate), ["12.3", "1,235"]);
        assert_eq!([0.000_25, 0.25, 2.5].map(seconds), ["250 µs", "250 ms", "2.50 s"]);
        assert_eq!(
            [12.4, 1234.0, 12_340.0, 1_234_000.0].map(micros),
            ["12 µs", "1.23 ms", "12 ms", "1.23 s"]
        );
        assert_eq!(
            [12, 1234, 5_600_000, 5_600_000_000].map(bytes),
            ["12 bytes", "1.2 kB", "5.6 MB", "5.60 GB"]
        );
    }
}
