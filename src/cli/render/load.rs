//! Reports for people.

use std::path::Path;

use postgres_etl::escape::{escape, escape_path};
use postgres_etl::load::{
    AmbiguousDate, AmbiguousDates, ColumnAdded, ColumnLoaded, Confirmation, FieldPlace,
    FieldsWithStrayQuotes, ImportReport, InferredColumn, LoadReport, MadeName, Mode, SpellingChange,
    StandbyReport, TextCause, log_path,
};

use crate::cli::render::Report;
use crate::cli::render::units::{bytes, count, counted, rate, seconds, server, warnings};

/// The number of ignored columns that are named.
const MOST_NAMES: usize = 20;

impl Report for LoadReport {
    fn value_column(&self) -> usize {
        "  server  ".len()
    }

    fn text(&self) -> String {
        let mut lines = vec![headline(self), format!("  rows    {}", sum(self))];
        if !self.skipping_triggers.is_empty() {
            let triggers = self.skipping_triggers.join(", ");
            lines
                .push(format!("  skipped because the key exists, or because a trigger dropped the row (BEFORE INSERT: {triggers})"));
        }
        if let Some(rejects) = &self.rejects {
            let log = log_path(Path::new(rejects));
            let paths: Vec<_> =
                [rejects].into_iter().chain(&self.rejects_reordered).map(|path| escape(path)).collect();
            lines.push(format!("  rejects {}, reasons in {}", paths.join(", "), escape_path(&log)));
        }
        lines.extend(self.import.as_ref().map(import));
        for file in &self.files {
            let (path, size) = (escape(&file.path), bytes(file.bytes));
            lines.push(match &file.sha256 {
                Some(hash) => format!("  file    {path}, {size}, sha256 {hash:.16}…"),
                None => format!("  file    {path}, {size} read, up to the limit"),
            });
        }
        if self.encoding != "UTF-8" {
            lines.push(format!("  encoding {} (WHATWG Encoding Standard)", self.encoding));
        }
        lines.extend(writing(self));
        lines.extend(read_by_server(self));
        lines.extend(ambiguous_dates(self).map(|warning| format!("  WARNING {warning}")));
        lines.extend(stray_quotes(self));
        if self.rows_padded > 0 {
            lines.push(format!(
                "  padded  {} with NULL for the fields missing at the end",
                counted(self.rows_padded, "row")
            ));
        }
        if !self.columns_defaulted.is_empty() {
            lines.push(format!("  default {} (not in the file)", self.columns_defaulted.join(", ")));
        }
        if !self.columns_ignored.is_empty() {
            let (first, more) = some(&self.columns_ignored);
            lines.push(format!("  ignored {first}{more} (not in the table)"));
        }
        lines.extend(columns(self));
        lines.extend(self.server.as_ref().map(|facts| format!("  server  {}", server(facts))));
        lines.extend(commits(self));
        lines.extend(self.replication.iter().flat_map(|replication| &replication.standbys).map(standby));
        lines.extend(warnings(&self.warnings));
        lines.extend(
            self.failed_afterwards.iter().map(|failed| format!("  FAILED  after the commit: {failed}")),
        );
        lines.join("\n")
    }
}

/// What of the columns is not as in the files.
fn columns(report: &LoadReport) -> Vec<String> {
    let mut lines = Vec::new();
    if !report.columns_unselected.is_empty() {
        let (first, more) = some(&report.columns_unselected);
        lines.push(format!("  left out {first}{more} (not selected)"));
    }
    let added = report.columns_added.iter();
    lines.extend(added.map(|ColumnAdded { name, value }| format!("  added   {name} = {}", escape(value))));
    for MadeName { field, name, column, because } in report.names_made.iter().take(MOST_NAMES) {
        let what = match *because {
            "empty" => "has no name".to_owned(),
            "long" => format!("has a name longer than PostgreSQL's, {}", escape(name)),
            _ => format!("has the name of another, {}", escape(name)),
        };
        lines.push(format!("  names   field {field} {what}: its column is {column}"));
    }
    if let more @ 1.. = report.names_made.len().saturating_sub(MOST_NAMES) {
        lines.push(format!("  names   {more} more such fields"));
    }
    for InferredColumn { column, sql_type, dates, changes, text_because, text_help } in &report.inferred {
        let dates = dates.map_or_else(String::new, |order| format!(", read as {order}"));
        let cause = text_because.iter().map(|TextCause { value, file, line, until_then }| {
            format!("the first value that is not {until_then} is {value} in {}, line {line}", escape(file))
        });
        let said: Vec<String> = changes.iter().map(change).chain(cause).chain(text_help.clone()).collect();
        lines.push(format!("  inferred {column} {sql_type}{dates}: {}", said.join("; ")));
    }
    lines
}

/// Which values are spelled otherwise than PostgreSQL prints them.
fn change(change: &SpellingChange) -> String {
    let SpellingChange { what, values, first, file, line } = change;
    let values =
        if *values == 1 { "1 value has".to_owned() } else { format!("{} values have", count(*values)) };
    format!("{values} {what}, first {first} in {}, line {line}", escape(file))
}

/// The first of `names`, and how many more there are.
fn some(names: &[String]) -> (String, String) {
    let (first, more) = names.split_at(names.len().min(MOST_NAMES));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    (first.join(", "), more)
}

/// What was loaded, in how long.
fn headline(report: &LoadReport) -> String {
    let took = seconds(report.seconds);
    if report.mode == Mode::Null {
        return format!(
            "encoded {} for {} in {took}: {}/s, {} rows/s; nothing was sent",
            counted(report.rows_encoded, "row"),
            report.table,
            bytes(report.bytes_per_second as u64),
            rate(report.rows_encoded as f64 / report.seconds)
        );
    }
    let verb = if report.dry_run { "dry run: would load" } else { "loaded" };
    let (loaded, per_second) = (counted(report.rows_loaded, "row"), rate(report.rows_per_second));
    format!("{verb} {loaded} into {} in {took}: {per_second} rows/s", report.table)
}

/// The import that the rows are part of.
fn import(import: &ImportReport) -> String {
    let ImportReport { id, retries, .. } = import;
    let by = match (import.was_finished, import.chunks - import.chunks_loaded) {
        (true, _) => ", finished before: nothing was left to load".to_owned(),
        (false, 0) => String::new(),
        (false, before) => format!(", {} of them by other runs", count(before)),
    };
    let retries = if *retries == 0 { String::new() } else { format!(", after {retries} retries") };
    format!(
        "  import  {}, {}{by}{retries}; in all {} read = {} loaded + {} skipped + {} rejected",
        escape(id),
        counted(import.chunks, "chunk"),
        count(import.rows_read),
        count(import.rows_loaded),
        count(import.rows_skipped),
        count(import.rows_rejected)
    )
}

/// How a standby followed.
fn standby(standby: &StandbyReport) -> String {
    let name = standby.describe();
    let name = escape(&name);
    let state = standby.sync_state.as_ref().map_or_else(String::new, |state| format!(", {state}"));
    match (standby.replayed_after_seconds, &standby.problem) {
        (Some(after), _) => {
            format!("  standby {name}{state}: had replayed the load {} after the commit", seconds(after))
        }
        (None, problem) => {
            let problem = problem.as_deref().unwrap_or_default();
            format!("  standby {name}{state}: NOT KNOWN to have replayed the load: {problem}")
        }
    }
}

/// When the rows were committed, and in which transactions.
fn commits(report: &LoadReport) -> Option<String> {
    let last = report.transactions.last()?;
    let ids =
        report.transactions.iter().map(|transaction| transaction.id.as_str()).collect::<Vec<_>>().join(", ");
    let several = report.transactions.len() > 1;
    let known = match (&last.committed_at, last.confirmed_by) {
        (Some(at), _) if several => format!("the last at {at} (server clock)"),
        (Some(at), _) => format!("at {at} (server clock)"),
        (None, Confirmation::PgXactStatus) => "confirmed by the server after its answer was lost".to_owned(),
        (None, Confirmation::Answer) => "time unknown".to_owned(),
    };
    Some(format!("  commit  transaction{} {ids}, {known}", if several { "s" } else { "" }))
}

/// The rows read, and what happened to them.
fn sum(report: &LoadReport) -> String {
    let mut sum = vec![match report.mode {
        Mode::Null => format!("{} encoded", count(report.rows_encoded)),
        _ => format!("{} loaded", count(report.rows_loaded)),
    }];
    if report.rows_updated > 0 {
        let (inserted, updated) = (count(report.rows_inserted), count(report.rows_updated));
        sum = vec![format!("{inserted} inserted"), format!("{updated} updated")];
    }
    if report.on_conflict.is_some() {
        sum.push(format!("{} skipped", count(report.rows_skipped)));
    }
    sum.push(format!("{} rejected", count(report.rows_rejected)));
    let read = format!("{} read = {}", count(report.rows_read), sum.join(" + "));
    let passed_over = match report.rows_passed_over {
        0 => String::new(),
        rows => format!("; {} before them passed over", count(rows)),
    };
    let is_full = report.limit.is_some_and(|limit| report.rows_read == limit);
    let limit = if is_full { "; --limit reached" } else { "" };
    format!("{read}{passed_over}{limit}")
}

/// The columns whose values the server read, and how it reads dates.
fn read_by_server(report: &LoadReport) -> Vec<String> {
    let columns: Vec<&ColumnLoaded> =
        report.columns.iter().filter(|column| column.format == "text").collect();
    if columns.is_empty() {
        return Vec::new();
    }
    let names = |columns: &[&ColumnLoaded]| {
        columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    // Columns that share the reason, as all of a COPY do, share the line.
    let same_reason = |a: &&ColumnLoaded, b: &&ColumnLoaded| a.text_from == b.text_from;
    let mut sorted = columns.clone();
    sorted
        .sort_by_key(|column| column.text_from.as_ref().map(|since| (&since.file, since.line, &since.value)));
    let mut lines: Vec<String> = sorted
        .chunk_by(same_reason)
        .map(|group| {
            let since = group[0].text_from.as_ref().map_or_else(String::new, |since| {
                format!(", from line {} of {} on, because of {}", since.line, since.file, since.value)
            });
            format!("  text    parsed by the server: {}{since}", names(group))
        })
        .collect();
    // The meaning of a date may depend on it, and no other line says so.
    let is_date = |column: &&ColumnLoaded| {
        column.type_name.starts_with("date") || column.type_name.starts_with("timestamp")
    };
    let dates: Vec<&ColumnLoaded> = columns.into_iter().filter(is_date).collect();
    if let (Some(style), false) = (&report.date_style, dates.is_empty()) {
        lines.push(format!("  dates   read with DateStyle {style}: {}", names(&dates)));
    }
    lines
}

/// The warning of dates that might mean something else; `None` if there are none.
pub(crate) fn ambiguous_dates(report: &LoadReport) -> Option<String> {
    let AmbiguousDates { count: dates, certain, first } = &report.ambiguous_dates;
    let AmbiguousDate { file, line, column, value, read_as, order, other, other_order } = first.as_ref()?;
    let (file, what) = (escape(file), if *dates == 1 { "date" } else { "dates" });
    let others = match certain {
        0 => String::new(),
        more => format!(" ({} more can be read only with {order})", count(*more)),
    };
    let (own, other_way) = (order.to_ascii_lowercase(), other_order.to_ascii_lowercase());
    let decides = if report.autocommit {
        format!("PGDATESTYLE={own} or {other_way} in the environment decides")
    } else {
        format!("--date-style {own} or {other_way} decides")
    };
    Some(format!(
        "{} {what} can be read in two ways: {value} in {file}, line {line}, column {column}, was read as {read_as} \
         ({order}), and would be {other} with {other_order}{others}; {decides}",
        count(*dates)
    ))
}

/// The quotes that do not enclose a field.
fn stray_quotes(report: &LoadReport) -> Option<String> {
    let FieldsWithStrayQuotes { count: fields, first, kept } = &report.stray_quotes;
    let FieldPlace { file, line, field } = first.as_ref()?;
    let what = if *fields == 1 { "field has" } else { "fields have" };
    let outcome = if *kept { "they were kept" } else { "they were removed, see --stray-quotes" };
    Some(format!(
        "  quotes  {} {what} quotes inside, the first in {}, line {line}, field {field}; {outcome}",
        count(*fields),
        escape(file)
    ))
}

/// How the rows were written, and what became of the table.
fn writing(report: &LoadReport) -> Vec<String> {
    if report.mode == Mode::Null {
        return vec!["  mode    null, no server".into()];
    }
    let transactions = match (report.autocommit, report.connections, report.atomic) {
        (true, _, _) => "one transaction per row",
        _ if report.import.is_some() => "one transaction per chunk",
        (false, 1, _) => "one transaction",
        (false, _, true) => "one transaction each, committed together",
        (false, _, false) => "one transaction each, committed one after another",
    };
    let connections = counted(report.connections as u64, "connection");
    let syncs = match (report.mode, report.sync_every.get()) {
        (Mode::Rows, 1) => ", one Sync per row".to_owned(),
        (Mode::Rows, many) => format!(", up to {many} rows per Sync"),
        _ => String::new(),
    };
    let table = match (report.created, report.truncated) {
        _ if report.into_view => "a view, whose INSTEAD OF trigger decides what is stored",
        (true, _) if report.replaced => "replaced",
        (true, _) => "created",
        (false, true) => "emptied first",
        (false, false) => "added to",
    };
    let analyzed = if report.phases.analyze_seconds > 0.0 { ", analyzed afterwards" } else { "" };
    let distribution = report.distribution.as_ref();
    let distribution = distribution.map_or_else(String::new, |distribution| format!(", {distribution}"));
    let partitions = match (report.partitions_written, &report.partitions_not_written_because) {
        (Some(count), _) => format!(", rows sent to its {count} partitions directly"),
        (None, Some(reason)) => format!(", rows sent to the partitioned table: {reason}"),
        (None, None) => String::new(),
    };
    let undone = if report.dry_run { "; then rolled back" } else { "" };
    let driver = report.through_driver.map(|reason| format!(", through the driver, as {reason}"));
    let driver = driver.unwrap_or_default();
    let mut lines = vec![
        format!("  mode    {}, {transactions}, {connections}{syncs}{driver}", report.mode),
        format!("  table   {table}{distribution}{partitions}{analyzed}{undone}"),
    ];
    if !report.indexes_deferred.is_empty() {
        lines.push(format!("  indexes {}: rebuilt after loading", report.indexes_deferred.join(", ")));
    }
    if let Some(reason) = &report.indexes_kept_because {
        lines.push(format!("  indexes kept: {reason}"));
    }
    lines
}
