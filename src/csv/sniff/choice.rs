//! Chooses the reading of a sample, or refuses with the best two side by side and what may help.

use crate::csv::dialect::Dialect;
use crate::csv::sniff::alignment::misfit;
use crate::csv::sniff::header::{HeaderVerdict, detect_header};
use crate::csv::sniff::reading::Reading;
use crate::csv::sniff::rows::Row;
use crate::csv::sniff::sample::{Sample, plural};
use crate::{Error, Result};

/// The least confidence with which a file is read.
const LEAST_CONFIDENCE: f64 = 0.72;

/// The share of agreeing records from which no other explanation is looked for.
pub(super) const BEYOND_DOUBT: f64 = 0.97;

/// The largest ratio of the confidence in the second best reading to that in the best one.
const LARGEST_RATIO: f64 = 0.92;

/// What to do if the dialect cannot be told.
const DESCRIBE: &str = "say how it is written, with --delimiter, --quote (or --quote none), --comment or --skip-lines, beside --sniff or without it";

/// What to do if quotes have blanks around them.
const TRIM: &str = "if the blanks around quotes are not part of the values, add --trim";

/// The best of `readings`, which are sorted by their confidence, with that.
///
/// # Errors
/// When it is not good enough, or not clearly the best.
pub(super) fn choose(sample: &Sample<'_>, readings: Vec<(f64, Reading)>) -> Result<(f64, Reading)> {
    let Sample { name, detect, .. } = sample;
    let mut readings = readings.into_iter();
    let Some((confidence, best)) = readings.next() else {
        return Err(Error::input(format!("{name}: no dialect fits")).with_help(DESCRIBE));
    };
    let is_empty = best.records == 0 && best.broken.is_none();
    if !(detect.delimiter || detect.quote || detect.comment) || is_empty {
        return Ok((confidence, best));
    }
    let mut others: Vec<(f64, Reading)> = readings.collect();
    let begins_late = |reading: &&Reading| reading.fields > 1 && reading.begins_late();
    let late = [&best].into_iter().chain(others.iter().map(|(_, other)| other)).find(begins_late);
    let is_doubted = best.agreeing < BEYOND_DOUBT || best.fields == 1 || best.begins_late();
    if let Some(late) = late.filter(|_| is_doubted && sample.is_possible) {
        return Err(preamble(name, late));
    }
    let second =
        others.iter().position(|(_, other)| other.rows != best.rows).map(|index| others.swap_remove(index));
    // What fails in every dialect has a reason of its own.
    if let Some(error) = best.broken {
        return Err(error);
    }
    let rival = second.as_ref().is_some_and(|(other, _)| *other > LARGEST_RATIO * confidence);
    let misfit = misfit(&best, *detect);
    let needs_trim = needs_trim(sample, &best);
    let (reason, mut help) = if let Some((reason, help)) = misfit {
        (reason.to_owned(), help.unwrap_or(DESCRIBE).to_owned())
    } else if confidence < LEAST_CONFIDENCE || !sample.is_possible {
        ("no dialect fits well enough".to_owned(), DESCRIBE.to_owned())
    } else if rival {
        ("two dialects fit about equally well".to_owned(), DESCRIBE.to_owned())
    } else if needs_trim && best.strays * 2 > best.enclosed {
        ("most quotes have blanks before them".to_owned(), DESCRIBE.to_owned())
    } else {
        return Ok((confidence, best));
    };
    let mut odd = String::new();
    if misfit.is_none() && needs_trim {
        help = TRIM.into();
    } else if misfit.is_none() && is_ragged(&best) {
        let (count, line) = best.odd.unwrap_or_default();
        let blank =
            detect.lines_to_skip(&best).map_or(String::new(), |(line, _)| format!("; line {line} is blank"));
        odd =
            format!("{blank}; line {line} has {}, most records have {}", plural(count, "field"), best.fields);
        help = ragged_help(&best, sample, (count, line));
    }
    let mut shown = vec![(confidence, &best)];
    shown.extend(second.as_ref().map(|(confidence, reading)| (*confidence, reading)));
    Err(Error::input(format!("{name}: {reason}{odd}{}", table(&shown))).with_help(help))
}

/// Whether the quotes of `best` that enclose no field would do so without the blanks around them.
fn needs_trim(sample: &Sample<'_>, best: &Reading) -> bool {
    if !sample.detect.quote || best.dialect.trim || best.strays == 0 {
        return false;
    }
    let default = Dialect::default();
    let Dialect { quote, escape, stray_quotes, .. } = default;
    let trimmed = Dialect { trim: true, quote, escape, stray_quotes, ..best.dialect.clone() };
    let trimmed = (sample.read)(trimmed);
    trimmed.is_clean() && trimmed.agreeing >= best.agreeing && trimmed.agreeing >= BEYOND_DOUBT
}

/// Whether nothing but the number of fields in some records speaks against `reading`.
fn is_ragged(reading: &Reading) -> bool {
    reading.fields > 1 && reading.agreeing < 1.0 && reading.score() >= 0.9 * reading.agreeing
}

/// What to do about records with another number of fields than most, of which the first is on `line` and has `count`.
fn ragged_help(reading: &Reading, sample: &Sample<'_>, (count, line): (usize, u64)) -> String {
    let Sample { encoding, detect, .. } = *sample;
    // What sniffing would do is to be said without it.
    let skip_lines = detect.lines_to_skip(reading).map_or(reading.dialect.skip_lines, |(_, lines)| lines);
    let is_header = if detect.header {
        detect_header(&reading.rows).verdict != HeaderVerdict::No
    } else {
        reading.dialect.header
    };
    let flags = Dialect { encoding, skip_lines, header: is_header, ..reading.dialect.clone() };
    if reading.first_line > line {
        header_help(reading, (count, line))
    } else if reading.is_widest {
        format!(
            "if fields are missing at the ends of short records, leave out --sniff, and let NULL take their place: \
             {flags} --pad"
        )
    } else {
        format!("mend line {line}, or leave out --sniff, and reject such records: {flags} --max-rejects 10")
    }
}

/// What to do about a first record on `line` that has `count` fields, which is not that of the others.
fn header_help(reading: &Reading, (count, line): (usize, u64)) -> String {
    let Reading { fields, .. } = reading;
    let is_one_short = count + 1 == *fields && reading.first_lines.first() == Some(&line);
    let row_names = if is_one_short { " (R writes none above the names of rows)" } else { "" };
    format!(
        "if line {line} is the header, mend it, or give all {fields} names yourself{row_names}: --skip-lines {line} \
         --header no --columns; if it is neither a header nor a record, skip it: --skip-lines {line}"
    )
}

/// The error for a file that begins with something else than its records, as `reading` reads them.
fn preamble(name: &str, reading: &Reading) -> Error {
    let fields = plural(reading.fields, "field");
    let (message, help) = match reading.before {
        // What has several fields itself may be the header.
        Some((count, line)) if count > 1 => (
            format!(
                "line {line} has {}, and all records below it have {}",
                plural(count, "field"),
                reading.fields
            ),
            header_help(reading, (count, reading.first_line - 1)),
        ),
        _ => (
            format!("all records have {fields}, but not the first ones"),
            format!(
                "if the file begins with something else, skip that: --skip-lines {}",
                reading.first_line - 1
            ),
        ),
    };
    Error::input(format!("{name}: {message}{}", table(&[(reading.score(), reading)]))).with_help(help)
}

/// `confidence` in percent, rounded down: what is refused is not shown as enough.
pub(super) fn percent(confidence: f64) -> f64 {
    // 0.7 is a little less than 70 %.
    (confidence * 100.0 + 1e-9).floor()
}

/// The `readings` and the confidence in each, side by side.
pub(super) fn table(readings: &[(f64, &Reading)]) -> String {
    let byte = |byte: u8| match byte {
        b'\t' => "tab".to_owned(),
        b' ' => "space".to_owned(),
        0x1f => "0x1f".to_owned(),
        byte => char::from(byte).to_string(),
    };
    let mut rows = vec![
        ["delimiter", "quote", "escape", "header", "columns", "confidence", "first record"]
            .map(str::to_owned),
    ];
    for (confidence, reading) in readings {
        let Dialect { delimiter, quote, escape, .. } = reading.dialect;
        let header = match detect_header(&reading.rows).verdict {
            HeaderVerdict::Yes => "yes",
            HeaderVerdict::No => "no",
            HeaderVerdict::Unclear => "unclear",
        };
        rows.push([
            byte(delimiter),
            quote.map_or("none".to_owned(), byte),
            quote.map_or(String::new(), |_| byte(escape)),
            header.to_owned(),
            reading.fields.to_string(),
            format!("{} %", percent(*confidence)),
            reading.rows.first().map_or(String::new(), |row| shown(row, 60)),
        ]);
    }
    let widths: Vec<usize> =
        (0..7).map(|index| rows.iter().map(|row| row[index].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("\n  {}", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// The values of `row`, shortened to about `most` characters.
pub(super) fn shown(row: Row<'_>, most: usize) -> String {
    let values = row.iter().map(|cell| crate::escape::escape(cell.text)).collect::<Vec<_>>().join(" | ");
    let mut characters = values.chars();
    let shown: String = characters.by_ref().take(most).collect();
    if characters.next().is_some() { shown + "…" } else { shown }
}
