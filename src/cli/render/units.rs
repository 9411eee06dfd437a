//! Numbers, times and sizes for people.

use postgres_etl::postgres::{ServerFacts, ServerWarnings};
use postgres_etl::query::Interval;

/// A count with what is counted, of which one is called `noun`: `1 row`, `2,000 rows`, `3 queries`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let number_shown = count(number);
    match noun.strip_suffix('y') {
        _ if number == 1 => format!("{number_shown} {noun}"),
        Some(stem) => format!("{number_shown} {stem}ies"),
        None => format!("{number_shown} {noun}s"),
    }
}

/// What is counted is called this, one of it and several.
pub(crate) fn queries_or_transactions(counts_transactions: bool) -> (&'static str, &'static str) {
    if counts_transactions { ("transaction", "transactions") } else { ("query", "queries") }
}

/// 1234567 as "1,234,567".
pub(crate) fn count(number: u64) -> String {
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

pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        0.0 => "0".to_owned(),
        ..1.0 => format!("{per_second:.3}"),
        ..100.0 => format!("{per_second:.1}"),
        _ => count(per_second.round() as u64),
    }
}

/// A ratio with three significant digits at most.
pub(crate) fn ratio(value: f64) -> String {
    match value {
        ..0.095 => format!("{value:.3}"),
        ..9.95 => format!("{value:.2}"),
        ..99.5 => format!("{value:.1}"),
        _ if value < 1e15 => count(value.round() as u64),
        _ => format!("{value:.1e}"),
    }
}

/// A large number with three significant digits: `123 k`.
pub(crate) fn compact(number: f64) -> String {
    let (number, unit) = match number {
        ..999.5 => (number, ""),
        ..999_500.0 => (number / 1e3, " k"),
        ..999_500_000.0 => (number / 1e6, " M"),
        _ => (number / 1e9, " G"),
    };
    let digits = match number {
        _ if (number - number.round()).abs() < 1e-9 => format!("{number:.0}"),
        ..9.995 => format!("{number:.2}"),
        ..99.95 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    };
    digits + unit
}

pub(crate) fn seconds(seconds: f64) -> String {
    match seconds {
        ..0.001 => format!("{:.0} µs", seconds * 1e6),
        ..1.0 => format!("{:.0} ms", seconds * 1e3),
        _ => format!("{seconds:.2} s"),
    }
}

pub(crate) fn micros(micros: f64) -> String {
    match micros {
        ..1e3 => format!("{micros:.0} µs"),
        ..1e4 => format!("{:.2} ms", micros / 1e3),
        ..1e6 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

pub(crate) fn server(server: &ServerFacts) -> String {
    let ServerFacts {
        standby,
        pooler,
        pooler_version,
        pool_mode,
        named_statements,
        version,
        fsync,
        synchronous_commit,
        full_page_writes,
        wal_level,
        shared_buffers,
        synchronous_standby_names,
        ..
    } = server;
    let standbys = match synchronous_standby_names.as_str() {
        "" => String::new(),
        names => format!(", synchronous_standby_names {names}"),
    };
    let through = match (pooler, pooler_version, pool_mode) {
        (false, ..) => String::new(),
        (true, Some(version), Some(mode)) => format!(" behind {version}, pool mode {mode}"),
        (true, Some(version), None) => format!(" behind {version}, pool mode unknown"),
        (true, None, _) => {
            " behind a connection pooler, which does not tell its version and pool mode".to_owned()
        }
    };
    let statements = if *named_statements { "" } else { ", unnamed statements" };
    let standby = if *standby { ", a standby," } else { "" };
    format!(
        "PostgreSQL {version}{standby} at {}{through}{statements}; fsync {fsync}, synchronous_commit {synchronous_commit}, full_page_writes \
         {full_page_writes}, wal_level {wal_level}, shared_buffers {shared_buffers}{standbys}",
        server.url()
    )
}

/// What the server warned of, a line each.
pub(crate) fn warnings(warnings: &ServerWarnings) -> Vec<String> {
    let mut lines: Vec<String> =
        warnings.messages.iter().map(|message| format!("  WARNING from the server: {message}")).collect();
    let more = warnings.count - warnings.messages.len() as u64;
    if more > 0 {
        lines.push(format!("  and {} more warnings from the server", count(more)));
    }
    lines
}

/// Indents what continues a line.
pub(crate) const INDENT: &str = "           ";

/// An interval after its figure: " (1 to 2)", or nothing.
pub(crate) fn interval(interval: Option<Interval>, show: impl Fn(f64) -> String) -> String {
    interval
        .map_or_else(String::new, |interval| format!(" ({} to {})", show(interval.low), show(interval.high)))
}

/// A statement in one line.
pub(crate) fn one_line(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
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
