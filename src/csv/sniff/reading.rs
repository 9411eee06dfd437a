//! A sample split in one dialect, and how well that fits.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::Error;
use crate::csv::dialect::Dialect;
use crate::csv::limits::DEFAULT_MAX_RECORD_BYTES;
use crate::csv::record::{Field, Quoting, Record};
use crate::csv::records::Records;
use crate::csv::sniff::levels::MOST_LEVELS;
use crate::csv::sniff::rows::{Cell, Rows};
use crate::csv::sniff::value::{ValueClass, classify};

/// The number of records whose values are examined; of all others in the sample only the number of fields is.
const EXAMINED_RECORDS: usize = 1000;

/// The number of fields after which no further record is examined, which bounds the memory for wide files.
const EXAMINED_FIELDS: usize = 50_000;

/// The length of the record in which a sample may end, in bytes.
const LONGEST_LAST_RECORD: u64 = 64 * 1024;

/// The plausibility of a field in quotes that the dialect does not take for quotes.
const IN_OTHER_QUOTES: f64 = 0.5;

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
    /// If there are blank lines before the first record, the first of them, and the number of all lines there.
    pub blank_start: Option<(u64, u64)>,
    /// The examined records; readings that have the same share them.
    pub rows: Rc<Rows>,
    /// The lines of the first of them, from 1.
    pub first_lines: Vec<u64>,
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
        if is_cut && broken.is_none() && splitter.records > 1 {
            splitter.remove_last();
        }
        let broken = broken.filter(|_| !is_cut || splitter.records < 2);
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
                && values.all(|cell| matches!(classify(cell.text), ValueClass::Number | ValueClass::Time))
        })
    }
}

/// The records with the same number of fields.
#[derive(Debug)]
struct Counted {
    /// How many there are.
    records: usize,
    /// The index of the first of them among all records, and its line.
    index: usize,
    line: u64,
    /// The record before that one: its number of fields, and its line.
    before: Option<(usize, u64)>,
}

/// Collects what a [`Reading`] consists of.
#[derive(Debug, Default)]
struct Splitter {
    /// What is known of the records with each number of fields.
    by_fields: BTreeMap<usize, Counted>,
    /// The number of records.
    records: usize,
    /// The last record: its number of fields, and its line.
    last: Option<(usize, u64)>,
    /// The line of the first record.
    first_line: Option<u64>,
    rows: Rows,
    /// The sum over the fields of each examined record.
    plausible: Vec<f64>,
    enclosed: usize,
    strays: usize,
    malformed: usize,
    /// Whether quotes enclose what would otherwise have a meaning.
    protects: bool,
    /// Fields in apostrophes that are no quotes.
    in_apostrophes: usize,
    /// The lines of the first records.
    first_lines: Vec<u64>,
    /// The first blank line before the first record.
    blank_line: Option<u64>,
}

impl Splitter {
    fn add(&mut self, record: Record<'_>) {
        // A blank line fits every dialect, or none.
        if record.is_empty() {
            if self.records == 0 {
                self.blank_line.get_or_insert(record.line);
            }
            return;
        }
        self.count(record.len(), record.line);
        self.strays += record.stray_fields().count as usize;
        if record.stray_fields().count > 0 {
            let is_malformed = |index: &usize| {
                let raw = part(record, *index);
                raw.first().copied() == record.dialect.quote && !is_enclosed(raw.trim_ascii(), record.dialect)
            };
            self.malformed += (0..record.len()).filter(is_malformed).count();
        }
        if self.rows.len() == EXAMINED_RECORDS || self.rows.cells() > EXAMINED_FIELDS {
            return;
        }
        let mut scratch = Vec::new();
        let Dialect { delimiter, quote, .. } = record.dialect;
        let is_special = |byte: u8| {
            byte == *delimiter || Some(byte) == *quote || is_delimiter(byte) || b"\r\n".contains(&byte)
        };
        for (index, span) in record.spans.iter().enumerate() {
            let quoted = span.quoting != Quoting::Plain;
            let value = match record.field(index, &mut scratch) {
                Field::Null => &[],
                Field::Value(value) => value,
            };
            self.rows.push(Cell { text: &String::from_utf8_lossy(value), quoted });
            self.enclosed += usize::from(quoted);
            self.protects |= quoted && value.iter().copied().any(is_special);
            let raw = &record.text[span.start as usize..span.end as usize];
            self.in_apostrophes += usize::from(matches!(raw, [b'\'', .., b'\'']) && !quoted);
        }
        self.rows.end_row();
        if self.first_lines.len() < MOST_LEVELS + 1 {
            self.first_lines.push(record.line);
        }
        self.plausible.push((0..record.len()).map(|index| plausibility(record, index)).sum());
    }

    /// Count a record of `fields` fields that begins on `line`.
    fn count(&mut self, fields: usize, line: u64) {
        let (index, before) = (self.records, self.last);
        let first = || Counted { records: 0, index, line, before };
        self.by_fields.entry(fields).or_insert_with(first).records += 1;
        self.first_line.get_or_insert(line);
        self.records += 1;
        self.last = Some((fields, line));
    }

    /// Take back the last record, after which none is added.
    fn remove_last(&mut self) {
        let Some((fields, _)) = self.last.take() else { return };
        if let Some(counted) = self.by_fields.get_mut(&fields) {
            counted.records -= 1;
        }
        self.by_fields.retain(|_, counted| counted.records > 0);
        self.records -= 1;
        if self.records < self.rows.len() {
            self.rows.pop();
            self.plausible.pop();
        }
    }

    fn finish(self, dialect: Dialect, broken: Option<Error>) -> Reading {
        let Splitter { by_fields, records, mut rows, plausible, enclosed, strays, malformed, .. } = self;
        let Splitter { protects, in_apostrophes, first_lines, first_line, blank_line, .. } = self;
        rows.shrink();
        let most = by_fields.iter().max_by_key(|(_, counted)| counted.records);
        let (fields, most) = most.map_or((0, None), |(fields, counted)| (*fields, Some(counted)));
        let agreeing = most.map_or(0, |counted| counted.records);
        let head = most.map_or(records, |counted| counted.index);
        let odd = by_fields.iter().filter(|(count, _)| **count != fields);
        let odd = odd.min_by_key(|(_, counted)| counted.index);
        let share = |part: f64, whole: usize| if whole > 0 { part / whole as f64 } else { 0.0 };
        Reading {
            dialect,
            fields,
            agreeing: share(agreeing as f64, records),
            plausible: share(plausible.iter().sum(), rows.cells()),
            records,
            enclosed,
            strays,
            malformed,
            protects,
            in_apostrophes: share(in_apostrophes as f64, rows.cells()),
            before: most.and_then(|counted| counted.before),
            odd: odd.map(|(count, counted)| (*count, counted.line)),
            is_widest: by_fields.last_key_value().is_none_or(|(count, _)| *count <= fields),
            blank_start: blank_line.zip(first_line).map(|(blank, first)| (blank, first - 1)),
            first_line: most.map_or(1, |counted| counted.line),
            tail: (records - head, agreeing == records - head),
            rows: Rc::new(rows),
            first_lines,
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
