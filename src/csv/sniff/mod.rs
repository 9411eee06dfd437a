//! Detects the dialect in which a file is most likely written, or refuses to.
//!
//! The beginning of the file is split in every plausible dialect. The one whose records agree best on the number of
//! fields, and whose fields look most plausible, wins, if it does so clearly: if another dialect that reads other values is
//! about as likely, or none is likely, the error shows the two best readings side by side. Detection happens only on request,
//! and its result is printed as the equivalent flags, so that it can be checked, corrected and reused.

mod alignment;
mod choice;
mod encoding;
mod header;
mod levels;
mod reading;
mod rows;
pub(crate) mod same;
mod sample;
mod value;

use std::fmt;
use std::rc::Rc;

use encoding_rs::UTF_8;
use memchr::memchr;

use crate::csv::dialect::{Dialect, StrayQuotes};
use crate::csv::sniff::choice::{choose, percent, shown};
use crate::csv::sniff::encoding::detect_encoding;
use crate::csv::sniff::header::{HeaderFinding, detect_header};
use crate::csv::sniff::levels::MOST_LEVELS;
use crate::csv::sniff::reading::Reading;
use crate::csv::sniff::rows::{Row, Rows};
use crate::csv::sniff::sample::{Sample, decode, plural};
use crate::{Error, Result};

pub use crate::csv::sniff::header::HeaderVerdict;
pub(crate) use crate::csv::sniff::header::NUMBERS_MAY_BE_NAMES;
pub use crate::csv::sniff::sample::Detect;

/// The size of the sample, in bytes.
pub(crate) const SAMPLE_BYTES: usize = 1024 * 1024;

/// The delimiters tried, and the prior weight of each: the last ones are common in text, or rare in CSV.
const DELIMITERS: [(u8, f64); 9] = [
    (b',', 1.0),
    (b';', 1.0),
    (b'\t', 1.0),
    (b'|', 1.0),
    (0x1f, 1.0),
    (b'^', 0.9),
    (b'~', 0.9),
    (b':', 0.7),
    (b' ', 0.7),
];

/// The weight of a single column.
const SINGLE_COLUMN: f64 = 0.75;

/// The number of values in apostrophes that may be quotes although they protect nothing.
const FEWEST_IN_APOSTROPHES: usize = 3;

/// A detected dialect, and the evidence for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sniffed {
    /// The dialect.
    pub dialect: Dialect,
    /// The line ending of the first line: `LF`, `CRLF`, `CR` or `none`.
    pub line_end: &'static str,
    /// The most common number of fields per record.
    pub fields: usize,
    /// Records examined, comments not counted.
    pub records: usize,
    /// From 0 to 1: the share of records with that number of fields, times the mean plausibility of the fields, reduced for
    /// an uncommon delimiter or a single column.
    pub confidence: f64,
    /// What the records say of a header; `Yes` or `No` if it was not to be detected.
    pub header: HeaderVerdict,
    /// Why the first record is, or is not, taken for a header.
    pub header_reason: &'static str,
    /// Whether the sample has quotes that do not enclose their fields, as this dialect reads it.
    pub(crate) has_stray_quotes: bool,
    /// The beginning of the file: its first records.
    first_rows: Rows,
    /// Where several records seem to have names: the last line of them.
    names_end: Option<u64>,
}

/// As flags, followed by the evidence as a shell comment.
impl fmt::Display for Sniffed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sniffed { dialect, line_end, fields, records, confidence, header, header_reason, .. } = self;
        let percent = percent(*confidence);
        let (fields, records) = (plural(*fields, "field"), plural(*records, "record"));
        let verdict = match header {
            HeaderVerdict::Yes => "header",
            HeaderVerdict::No => "no header",
            HeaderVerdict::Unclear => "header unclear",
        };
        write!(
            f,
            "{dialect}  # {fields} in {records}, {percent} % confidence; {verdict}: {header_reason}; line ending {line_end}"
        )
    }
}

impl Sniffed {
    /// Decide whether the first record of the file `name` is a header, by `names`, those that a header may have, and by the
    /// records. Return the reason.
    ///
    /// # Errors
    /// When neither tells.
    pub(crate) fn decide_header(&mut self, name: &str, names: &[&str]) -> Result<&'static str> {
        if let Some(line) = self.names_end {
            return Err(self.several_levels(name, line));
        }
        let spelling = |name: &str| name.trim().to_ascii_lowercase();
        let known: Vec<String> = names.iter().map(|name| spelling(name)).collect();
        let first = || self.first_rows.iter().take(1).flat_map(Row::iter);
        let words = first().filter(|cell| !cell.text.trim().is_empty()).count();
        let found = first().filter(|cell| known.contains(&spelling(cell.text))).count();
        let is_header = match self.header {
            _ if found > 0 && found == words => true,
            HeaderVerdict::Yes => return Ok(self.settle(true, self.header_reason)),
            HeaderVerdict::Unclear if found > 0 && found * 2 >= words => true,
            HeaderVerdict::No if found < 2 || found * 2 < words => {
                return Ok(self.settle(false, self.header_reason));
            }
            _ => false,
        };
        if is_header {
            return Ok(self.settle(true, "the first record has the names of the table's columns"));
        }
        Err(Error::input(format!(
            "{name}: whether the first record is a header cannot be told, because {}:{}",
            self.header_reason,
            self.shown_rows(2)
        ))
        .with_help("say so: add --header yes, or --header no"))
    }

    /// The error for the file `name`, in which the records up to `line` seem to have names.
    fn several_levels(&self, name: &str, line: u64) -> Error {
        let (message, fields) = (self.header_reason, self.fields);
        Error::input(format!("{name}: {message}:{}", self.shown_rows(MOST_LEVELS + 1))).with_help(format!(
            "only one record can be the header; if all of these are names, skip them, and give {fields} names yourself: \
             --skip-lines {line} --header no --columns NAME,…; if only the first has names: --header yes; if none has: \
             --header no"
        ))
    }

    /// The first `count` records, each on a line.
    fn shown_rows(&self, count: usize) -> String {
        let rows = self.first_rows.iter().take(count).map(|row| shown(row, 100));
        rows.fold(String::new(), |lines, row| lines + "\n  " + &row)
    }

    fn settle(&mut self, is_header: bool, reason: &'static str) -> &'static str {
        self.dialect.header = is_header;
        self.header = if is_header { HeaderVerdict::Yes } else { HeaderVerdict::No };
        self.header_reason = reason;
        reason
    }
}

/// Detect those properties of the dialect of the file `name` that `detect` names; the others are as in `given`. `sample`
/// is the beginning of the file.
///
/// # Errors
/// When the file is not CSV, or the dialect cannot be told.
pub(crate) fn sniff(name: &str, sample: &[u8], given: &Dialect, detect: Detect) -> Result<Sniffed> {
    let is_cut = sample.len() >= SAMPLE_BYTES;
    sniff_sample(name, &sample[..sample.len().min(SAMPLE_BYTES)], is_cut, given, detect)
}

/// As [`sniff`]; `is_cut` tells whether the file goes on after `sample`.
fn sniff_sample(name: &str, sample: &[u8], is_cut: bool, given: &Dialect, detect: Detect) -> Result<Sniffed> {
    let encoding = if detect.encoding { detect_encoding(name, sample, is_cut)? } else { given.encoding };
    let text = decode(encoding, sample);
    if detect.delimiter {
        check_is_csv(name, &text)?;
    }
    let base = Dialect { encoding: UTF_8, ..given.clone() };
    let read = |dialect| Reading::new(name, &text, dialect, is_cut);
    // What no program may have written is needed only if there is nothing else.
    let (mut possible, mut impossible) = (Vec::new(), Vec::new());
    // The delimiters with which apostrophes, taken for quotes, would protect nothing.
    let mut needless = Vec::new();
    for (weight, dialect) in candidates(&text, &base, detect) {
        let mut reading = read(dialect);
        // What COPY would remove is most likely a part of the value, as an inch or a nickname.
        let has_strays = reading.strays > 0 || reading.broken.is_some();
        if detect.quote && detect.stray_quotes && has_strays {
            let kept = read(Dialect { stray_quotes: StrayQuotes::Keep, ..reading.dialect.clone() });
            reading = if kept.strays > 0 && kept.score() >= reading.score() { kept } else { reading };
        }
        if has_clean_apostrophes(&reading) && !reading.protects {
            needless.push(reading.dialect.delimiter);
        }
        let others = || possible.iter().chain(&impossible);
        let same = others().find(|(_, other): &&(f64, Reading)| other.rows == reading.rows);
        if let Some((_, same)) = same {
            reading.rows = Rc::clone(&same.rows);
        }
        if is_possible(&reading, detect) {
            impossible = Vec::new();
            possible.push((weight, reading));
        } else if possible.is_empty() {
            impossible.push((weight, reading));
        }
    }
    let is_possible = !possible.is_empty();
    let mut readings = if is_possible { possible } else { impossible };
    if detect.quote {
        forgive_apostrophes(&mut readings, &needless);
    }
    let superseded: Vec<bool> = readings
        .iter()
        .map(|(_, reading)| readings.iter().any(|(_, other)| is_superseded(reading, other)))
        .collect();
    let kept = readings.into_iter().zip(superseded).filter(|(_, superseded)| !superseded);
    let mut readings: Vec<(f64, Reading)> =
        kept.map(|((weight, reading), _)| (weigh(weight, &reading) * reading.score(), reading)).collect();
    // Stable: of equal scores, the first wins.
    readings.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let sample = Sample { name, encoding, detect, is_possible, read: &read };
    let (confidence, reading) = choose(&sample, readings)?;
    let given_header = |verdict| HeaderFinding { verdict, reason: "it is given", levels: 1 };
    let HeaderFinding { verdict: header, reason: header_reason, levels } = match (detect.header, given.header)
    {
        (true, _) => detect_header(&reading.rows),
        (false, true) => given_header(HeaderVerdict::Yes),
        (false, false) => given_header(HeaderVerdict::No),
    };
    let below = reading.first_lines.get(levels).filter(|_| levels > 1);
    let is_header = header != HeaderVerdict::No;
    let has_stray_quotes = reading.strays > 0;
    // A blank line would be read as the header, or as a record of one field. A single column may begin with NULL.
    let skips_blanks = reading.fields > 1 || header == HeaderVerdict::Yes;
    let blank_start = detect.lines_to_skip(&reading).filter(|_| skips_blanks);
    let skip_lines = blank_start.map_or(reading.dialect.skip_lines, |(_, lines)| lines);
    Ok(Sniffed {
        names_end: below.map(|line| line - 1),
        first_rows: reading.rows.head(levels.max(1) + 1),
        dialect: Dialect { encoding, header: is_header, skip_lines, ..reading.dialect },
        line_end: detect_line_end(&text),
        fields: reading.fields,
        records: reading.records,
        confidence: confidence.clamp(0.0, 1.0),
        header,
        header_reason,
        has_stray_quotes,
    })
}

/// Check that `text`, the beginning of the file `name`, is not in another format.
fn check_is_csv(name: &str, text: &[u8]) -> Result<()> {
    let refuse = |what: &str, help: &str| {
        Err(Error::input(format!("{name} looks like {what}, not like CSV")).with_help(help))
    };
    if memchr(0, text).is_some() {
        return refuse("binary data", "name its encoding with --encoding if it is text");
    }
    let trimmed = text.trim_ascii_start();
    let lower = String::from_utf8_lossy(&trimmed[..trimmed.len().min(64)]).to_ascii_lowercase();
    if ["<!doctype", "<html", "<?xml"].iter().any(|start| lower.starts_with(start)) {
        return refuse("a page or XML", "load a file with records separated by line ends");
    }
    if is_json(trimmed) {
        return refuse("JSON", "convert it to CSV first, for example with jq and @csv");
    }
    Ok(())
}

/// Whether `text` begins with a JSON object or array that takes whole lines.
fn is_json(text: &[u8]) -> bool {
    if !matches!(text, [b'{' | b'[', ..]) {
        return false;
    }
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<serde::de::IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => {
            let rest = &text[values.byte_offset()..];
            let rest = &rest[rest.iter().take_while(|byte| b" \t".contains(byte)).count()..];
            matches!(rest, [] | [b'\n' | b'\r', ..])
        }
        // A long document goes on after the sample.
        Some(Err(error)) => error.is_eof(),
        None => false,
    }
}

/// The dialects to try for `text`, and the prior weight of each. Of dialects that cannot differ, only the first is among
/// them.
fn candidates(text: &[u8], given: &Dialect, detect: Detect) -> Vec<(f64, Dialect)> {
    let present = |byte| memchr(byte, text).is_some();
    let mut quotes = vec![(given.quote, given.escape)];
    if detect.quote {
        quotes = vec![(Some(b'"'), b'"')];
        let escaped = [(b'"', b'\\'), (b'\'', b'\''), (b'\'', b'\\')];
        let occurs = |(quote, escape): &(u8, u8)| present(*quote) && (quote == escape || present(*escape));
        quotes.extend(escaped.into_iter().filter(occurs).map(|(quote, escape)| (Some(quote), escape)));
        if present(b'"') && may_be_unquoted(given, detect) {
            quotes.push((None, b'"'));
        }
    }
    let mut comments = vec![given.comment];
    let has_comments =
        || text.split(|byte| *byte == b'\n' || *byte == b'\r').any(|line| line.starts_with(b"#"));
    if detect.comment {
        comments = vec![None];
        comments.extend(has_comments().then_some(Some(b'#')));
    }
    let mut delimiters = vec![(given.delimiter, 1.0)];
    if detect.delimiter {
        delimiters = DELIMITERS.into_iter().filter(|(delimiter, _)| present(*delimiter)).collect();
        // For a single column, one that does not occur.
        let absent =
            DELIMITERS.into_iter().map(|(delimiter, _)| delimiter).find(|delimiter| !present(*delimiter));
        delimiters.extend(absent.map(|delimiter| (delimiter, SINGLE_COLUMN)));
    }
    let mut found = Vec::new();
    for comment in comments {
        for &(quote, escape) in &quotes {
            for &(delimiter, weight) in &delimiters {
                let dialect = Dialect { delimiter, quote, escape, comment, ..given.clone() };
                found.extend(dialect.check().is_ok().then_some((weight, dialect)));
            }
        }
    }
    found
}

/// Whether there may be no quote in `dialect`: without one, no stray quotes are removed or rejected, as may be given.
fn may_be_unquoted(dialect: &Dialect, detect: Detect) -> bool {
    detect.stray_quotes || dialect.stray_quotes == StrayQuotes::Keep
}

/// Whether a program may have written what `reading` reads.
fn is_possible(reading: &Reading, detect: Detect) -> bool {
    let Dialect { delimiter, quote, .. } = reading.dialect;
    // Prose has spaces, colons and apostrophes too, but rarely the same number on every line.
    let is_odd = detect.delimiter && matches!(delimiter, b' ' | b':' | b'^' | b'~');
    if is_odd && reading.fields > 1 && reading.agreeing < 1.0 {
        return false;
    }
    match quote {
        Some(b'\'') if detect.quote => {
            // A value or two in apostrophes may well be meant to have them, but hardly a name.
            let has_quoted_name = reading.rows.first().is_some_and(|row| row.iter().any(|cell| cell.quoted));
            let are_quotes = reading.protects || has_quoted_name || reading.enclosed >= FEWEST_IN_APOSTROPHES;
            has_clean_apostrophes(reading) && are_quotes
        }
        // Without quotes around any field, there is no quote, unless it is said what quotes elsewhere mean.
        Some(_) if detect.quote => {
            reading.strays == 0 || reading.enclosed > 0 || !may_be_unquoted(&reading.dialect, detect)
        }
        // What encloses most of the fields in which it occurs is a quote.
        None if detect.quote => {
            let cells = || reading.rows.iter().flat_map(Row::iter).map(|cell| cell.text);
            let is_enclosed = |text: &&str| text.len() > 1 && text.starts_with('"') && text.ends_with('"');
            let quoted = cells().filter(|text| text.contains('"')).count();
            quoted == 0 || cells().filter(is_enclosed).count() * 2 < quoted
        }
        _ => true,
    }
}

/// Whether apostrophes can be the quotes of all that `reading` reads.
fn has_clean_apostrophes(reading: &Reading) -> bool {
    reading.dialect.quote == Some(b'\'')
        && reading.is_clean()
        && reading.agreeing >= 1.0
        && reading.plausible >= 0.95
}

/// Take apostrophes around values for parts of these where the delimiter is one of `needless`: taken for quotes, they would
/// protect nothing.
fn forgive_apostrophes(readings: &mut [(f64, Reading)], needless: &[u8]) {
    for (_, reading) in readings {
        if reading.dialect.quote != Some(b'\'') && needless.contains(&reading.dialect.delimiter) {
            reading.forgive_apostrophes();
        }
    }
}

/// Whether `reading` need not be considered beside `other`, which differs only in its quotes or its comments.
fn is_superseded(reading: &Reading, other: &Reading) -> bool {
    let (this, that) = (&reading.dialect, &other.dialect);
    if this.delimiter != that.delimiter || other.agreeing < reading.agreeing || other.broken.is_some() {
        return false;
    }
    let is_better = other.agreeing > reading.agreeing;
    if (this.quote, this.escape) == (that.quote, that.escape) {
        return this.comment != that.comment && (is_better || that.comment.is_none());
    }
    if this.comment != that.comment || !other.is_clean() {
        return false;
    }
    match (that.quote, that.escape) {
        (Some(b'"'), b'"') => this.quote == that.quote || this.quote.is_none(),
        (Some(b'"'), _) => !reading.is_clean() && this.quote != Some(b'\''),
        _ => is_better,
    }
}

/// The weight of a reading with a delimiter of that weight.
fn weigh(weight: f64, reading: &Reading) -> f64 {
    match reading.dialect.delimiter {
        // Columns of numbers do not arise by chance.
        b' ' | b':' if reading.fields > 1 && reading.has_typed_column() => 0.9,
        _ => weight,
    }
}

/// The line ending of the first line of `text`.
fn detect_line_end(text: &[u8]) -> &'static str {
    match text.iter().position(|byte| b"\r\n".contains(byte)) {
        None => "none",
        Some(at) if text[at..].starts_with(b"\r\n") => "CRLF",
        Some(at) if text[at] == b'\r' => "CR",
        Some(_) => "LF",
    }
}

#[cfg(test)]
mod tests;
