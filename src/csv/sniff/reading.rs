//! A sample split in one dialect, and how well that fits.

use std::collections::BTreeMap;

use crate::Error;
use crate::csv::dialect::Dialect;
use crate::csv::limits::DEFAULT_MAX_RECORD_BYTES;
use crate::csv::record::{Field, Quoting, Record};
use crate::csv::records::Records;
use crate::csv::sniff::value::{ValueClass, classify};

/// The number of records whose values are examined; of all others in the sample only the number of fields is.
const EXAMINED_RECORDS: usize = 1000;

/// The number of fields after which no further record is examined, which bounds the memory for wide files.
const EXAMINED_FIELDS: usize = 50_000;

/// The length of the record in which a sample may end, in bytes.
const LONGEST_LAST_RECORD: u64 = 64 * 1024;

/// The plausibility of a field in quotes that the dialect does not take for quotes.
const IN_OTHER_QUOTES: f64 = 0.5;

/// A field of an examined record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    /// The value, unquoted; empty for NULL.
    pub text: String,
    /// Whether quotes enclose it.
    pub quoted: bool,
}

/// A sample as one dialect reads it.
#[derive(Debug)]
pub(super) struct Reading {
    /// The dialect.
    pub dialect: Dialect,
    /// The most common number of fields per record.
    pub fields: usize,
    /// The share of records with that number, from 0 to 1.
    pub agreeing: f64,
    /// Mean plausibility of the examined fields, from 0 to 1.
    pub plausible: f64,
    /// Records in the sample.
    pub records: usize,
    /// Fields in quotes among the examined ones.
    pub enclosed: usize,
    /// Fields in the sample with quotes that do not enclose them.
    pub strays: usize,
    /// Those that nevertheless begin with one.
    pub malformed: usize,
    /// Whether quotes enclose a delimiter, a quote or a line end in any of the examined fields.
    pub protects: bool,
    /// The share of the examined fields that are in apostrophes which this dialect does not take for quotes.
    in_apostrophes: f64,
    /// The line of the first record with the most common number of fields, from 1.
    pub first_line: u64,
    /// The last record before that: its number of fields, and its line.
    pub before: Option<(usize, u64)>,
    /// The first record with another number of fields: that number, and its line.
    pub odd: Option<(usize, u64)>,
    /// Whether no record has more fields than most have.
    pub is_widest: bool,
    /// The number of lines before the first record, if any of them is blank.
    pub blank_start: Option<u64>,
    /// The examined records.
    pub rows: Vec<Vec<Cell>>,
    /// The number of records from that line on, and whether all of them have that number of fields.
    pub tail: (usize, bool),
    /// Why the sample could not be split to its end.
    pub broken: Option<Error>,
}

impl Reading {
    /// Split `sample` of the file `name` in `dialect`; `is_cut` tells whether the file goes on after it.
    pub(super) fn new(name: &str, sample: &[u8], dialect: Dialect, is_cut: bool) -> Reading {
        let mut splitter = Splitter::default();
        let mut records = Records::new(sample, name, dialect.clone(), DEFAULT_MAX_RECORD_BYTES);
        let broken = loop {
            match records.next() {
                Ok(Some(record)) => splitter.add(record),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        // The sample may end inside a record, which is then incomplete and may have an unclosed quote; but a quote that
        // takes much of it is most likely none.
        let is_cut = is_cut && sample.len() as u64 - records.offset() < LONGEST_LAST_RECORD;
        if is_cut && broken.is_none() && splitter.counts.len() > 1 {
            splitter.remove_last();
        }
        let broken = broken.filter(|_| !is_cut || splitter.counts.len() < 2);
        splitter.finish(dialect, broken)
    }

    /// How well the dialect fits, from 0 to 1.
    pub(super) fn score(&self) -> f64 {
        let whole = if self.broken.is_some() || self.malformed > 0 { 0.5 } else { 1.0 };
        whole * self.agreeing * self.plausible
    }

    /// Take apostrophes around fields for parts of them.
    pub(super) fn forgive_apostrophes(&mut self) {
        self.plausible += (1.0 - IN_OTHER_QUOTES) * self.in_apostrophes;
    }

    /// Whether the first records have another number of fields than all that follow them.
    pub(super) fn begins_late(&self) -> bool {
        self.tail.0 > 1 && self.tail.1 && self.tail.0 < self.records
    }

    /// Whether quotes enclose fields, and occur nowhere else.
    pub(super) fn is_clean(&self) -> bool {
        self.enclosed > 0 && self.strays == 0 && self.broken.is_none()
    }

    /// Whether a column of several values has only numbers, or only dates and times.
    pub(super) fn has_typed_column(&self) -> bool {
        (0..self.fields).any(|index| {
            let mut values = self.rows.iter().skip(1).filter_map(|row| row.get(index)).peekable();
            values.peek().is_some()
                && values.all(|cell| matches!(classify(&cell.text), ValueClass::Number | ValueClass::Time))
        })
    }
}

/// Collects what a [`Reading`] consists of.
#[derive(Debug, Default)]
struct Splitter {
    /// The number of fields of each record, and its line.
    counts: Vec<(usize, u64)>,
    rows: Vec<Vec<Cell>>,
    /// The sum over the fields of each examined record.
    plausible: Vec<f64>,
    /// The number of fields in `rows`.
    cells: usize,
    enclosed: usize,
    strays: usize,
    malformed: usize,
    /// Whether quotes enclose what would otherwise have a meaning.
    protects: bool,
    /// Fields in apostrophes that are no quotes.
    in_apostrophes: usize,
    /// Whether the first line that is no comment is blank.
    begins_blank: bool,
}

impl Splitter {
    fn add(&mut self, record: Record<'_>) {
        // A blank line fits every dialect, or none.
        if record.is_empty() {
            self.begins_blank |= self.counts.is_empty();
            return;
        }
        self.counts.push((record.len(), record.line));
        self.strays += record.stray_fields().count as usize;
        if record.stray_fields().count > 0 {
            let is_malformed = |index: &usize| {
                let raw = part(record, *index);
                raw.first().copied() == record.dialect.quote && !is_enclosed(raw.trim_ascii(), record.dialect)
            };
            self.malformed += (0..record.len()).filter(is_malformed).count();
        }
        if self.rows.len() == EXAMINED_RECORDS || self.cells > EXAMINED_FIELDS {
            return;
        }
        self.cells += record.len();
        let mut scratch = Vec::new();
        let cell = |index: usize| {
            let text = match record.field(index, &mut scratch) {
                Field::Null => String::new(),
                Field::Value(value) => String::from_utf8_lossy(value).into_owned(),
            };
            Cell { text, quoted: record.spans[index].quoting != Quoting::Plain }
        };
        let cells: Vec<Cell> = (0..record.len()).map(cell).collect();
        let Dialect { delimiter, quote, .. } = record.dialect;
        let is_special = |byte: u8| {
            byte == *delimiter || Some(byte) == *quote || is_delimiter(byte) || b"\r\n".contains(&byte)
        };
        for (cell, span) in cells.iter().zip(record.spans) {
            self.enclosed += usize::from(cell.quoted);
            self.protects |= cell.quoted && cell.text.bytes().any(is_special);
            let raw = &record.text[span.start as usize..span.end as usize];
            let is_in_apostrophes = matches!(raw, [b'\'', .., b'\'']) && span.quoting == Quoting::Plain;
            self.in_apostrophes += usize::from(is_in_apostrophes);
        }
        self.rows.push(cells);
        self.plausible.push((0..record.len()).map(|index| plausibility(record, index)).sum());
    }

    fn remove_last(&mut self) {
        self.counts.pop();
        if self.counts.len() < self.rows.len() {
            self.rows.pop();
            self.plausible.pop();
        }
    }

    fn finish(self, dialect: Dialect, broken: Option<Error>) -> Reading {
        let blank_start = self.counts.first().filter(|_| self.begins_blank).map(|(_, line)| line - 1);
        let Splitter {
            counts, rows, plausible, enclosed, strays, malformed, protects, in_apostrophes, ..
        } = self;
        let mut by_count = BTreeMap::<usize, usize>::new();
        for (count, _) in &counts {
            *by_count.entry(*count).or_default() += 1;
        }
        let (fields, agreeing) = by_count.into_iter().max_by_key(|&(_, number)| number).unwrap_or_default();
        let head = counts.iter().take_while(|(count, _)| *count != fields).count();
        let tail = &counts[head..];
        let share = |part: f64, whole: usize| if whole > 0 { part / whole as f64 } else { 0.0 };
        Reading {
            dialect,
            fields,
            agreeing: share(agreeing as f64, counts.len()),
            plausible: share(plausible.iter().sum(), rows.iter().map(Vec::len).sum()),
            records: counts.len(),
            enclosed,
            strays,
            malformed,
            protects,
            in_apostrophes: share(in_apostrophes as f64, rows.iter().map(Vec::len).sum()),
            before: head.checked_sub(1).map(|last| counts[last]),
            odd: counts.iter().find(|(count, _)| *count != fields).copied(),
            is_widest: counts.iter().all(|(count, _)| *count <= fields),
            blank_start,
            first_line: tail.first().map_or(1, |(_, line)| *line),
            tail: (tail.len(), tail.iter().all(|(count, _)| *count == fields)),
            rows,
            broken,
        }
    }
}

/// How plausible field `index` is: 1 for what a program would write as a field, less for what looks like several fields
/// or like part of one.
fn plausibility(record: Record<'_>, index: usize) -> f64 {
    let (span, raw) = (record.spans[index], part(record, index));
    let is_split = index > 0
        && match record.dialect.delimiter {
            b':' => is_time_split(part(record, index - 1), raw),
            b' ' => is_date(part(record, index - 1)) && raw.contains(&b':'),
            _ => false,
        };
    if is_split {
        return 0.0;
    }
    match span.quoting {
        // Quotes that do not enclose the field.
        Quoting::Mixed if !is_enclosed(raw.trim_ascii(), record.dialect) => 0.2,
        // With blanks around them.
        Quoting::Mixed if !is_enclosed(raw, record.dialect) => 0.4,
        Quoting::Mixed | Quoting::Enclosed | Quoting::Missing | Quoting::Verbatim => 1.0,
        Quoting::Plain => match raw {
            [] => 1.0,
            _ if classify(&String::from_utf8_lossy(raw)) != ValueClass::Text => 1.0,
            // In quotes that this dialect does not take for quotes.
            [first @ (b'"' | b'\''), .., last] if first == last => IN_OTHER_QUOTES,
            [b'"' | b'\'', ..] | [.., b'"' | b'\''] => 0.3,
            _ if raw.windows(2).any(|pair| is_delimiter(pair[0]) && pair != b", ") => 0.5,
            _ if raw.contains(&b',') => 0.9,
            _ => 1.0,
        },
    }
}

/// Whether `byte` delimits the fields of most files.
fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b',' | b';' | b'\t' | b'|')
}

/// The bytes of field `index`.
fn part(record: Record<'_>, index: usize) -> &[u8] {
    let span = record.spans[index];
    &record.text[span.start as usize..span.end as usize]
}

/// Whether a colon between `before` and `after` stands inside a time or an address such as `https://x`.
fn is_time_split(before: &[u8], after: &[u8]) -> bool {
    let ends = matches!(before, [.., a] if a.is_ascii_digit())
        && !matches!(before, [.., a, b, c] if a.is_ascii_digit() && b.is_ascii_digit() && c.is_ascii_digit());
    let begins = matches!(after, [a, b, rest @ ..] if a.is_ascii_digit() && b.is_ascii_digit()
        && rest.first().is_none_or(|next| !next.is_ascii_digit()));
    (ends && begins) || after.starts_with(b"//")
}

/// Whether `text` has the shape of a date.
fn is_date(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"\"").unwrap_or(text);
    let separators = text.iter().filter(|byte| b"-/.".contains(byte)).count();
    separators == 2 && text.iter().all(|byte| byte.is_ascii_digit() || b"-/.".contains(byte))
}

/// Whether the first and the last byte are quotes, and all others are escaped.
fn is_enclosed(raw: &[u8], dialect: &Dialect) -> bool {
    let ([first, inner @ .., last], Some(quote)) = (raw, dialect.quote) else { return false };
    let escape = dialect.escape;
    let mut rest = inner.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if byte == escape && rest.peek().is_some_and(|&next| next == quote || next == escape) {
            rest.next();
        } else if byte == quote {
            return false;
        }
    }
    (*first, *last) == (quote, quote)
}
