//! One record: its fields, its bytes and its position.

use encoding_rs::Encoding;
use memchr::memchr2;

use crate::csv::dialect::Dialect;

/// One record of a file, borrowed from the reader's buffer.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The text that the spans refer to, and what happens to lie behind it.
    pub(super) text: &'a [u8],
    pub(super) raw: &'a [u8],
    pub(super) spans: &'a [FieldSpan],
    pub(super) strays: StrayFields,
    /// For each field, its index in the file's record; `None` if the fields are in that order.
    pub(super) positions: Option<&'a [Option<usize>]>,
    pub(super) misfit: Option<usize>,
    pub(super) is_short: bool,
    pub(super) is_blank: bool,
    pub(super) dialect: &'a Dialect,
    /// Why it has no fields; `None` if it has.
    pub(super) defect: Option<&'a Defect>,
    /// The line on which it begins, from 1.
    pub line: u64,
    /// The line on which it ends: later than `line` when a quoted field contains line endings.
    pub last_line: u64,
    /// Its byte offset in the file, counted after decompression and before decoding.
    pub offset: u64,
}

/// What is wrong with a record that cannot be divided into fields, although the next one can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    /// What is wrong.
    pub message: String,
    /// The remedy.
    pub help: &'static str,
}

/// What a format says about the type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// Nothing.
    Text,
    /// It is a string.
    String,
    /// It is a number or a boolean.
    Scalar,
    /// It is an object or an array.
    Nested,
}

/// The value of a field, as `COPY` reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// An unquoted field equal to one of the dialect's null texts, by default an empty one.
    Null,
    /// The bytes of the value, unquoted, in UTF-8.
    Value(&'a [u8]),
}

/// The fields of a record with stray quotes; see [`StrayQuotes`](crate::csv::StrayQuotes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StrayFields {
    /// Their number.
    pub count: u32,
    /// The position in the file's record of the first one, from 1; 0 if there is none.
    pub first: u32,
}

impl StrayFields {
    /// Add the field at `index`, from 0.
    pub(super) fn add(&mut self, index: usize) {
        self.count += 1;
        if self.first == 0 {
            self.first = index as u32 + 1;
        }
    }
}

/// The position of a field in its record. Offsets fit into 32 bits because records are shorter than 4 GiB.
#[derive(Debug, Clone, Copy)]
pub(super) struct FieldSpan {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) quoting: Quoting,
    pub(super) notation: Notation,
}

impl FieldSpan {
    /// The field that a record does not have.
    pub(super) const MISSING: FieldSpan =
        FieldSpan { start: 0, end: 0, quoting: Quoting::Missing, notation: Notation::Text };
}

/// How a field is quoted, and so how to extract its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quoting {
    /// No quotes: the value is the field itself.
    Plain,
    /// The first and the last byte are the only quotes, and nothing is escaped: strip both.
    Enclosed,
    /// Anything else: unquote byte by byte.
    Mixed,
    /// There is no value, which is NULL: the file has no such field, or JSON says so.
    Missing,
    /// The value is the field itself, and not NULL. Not of CSV.
    Verbatim,
}

impl<'a> Record<'a> {
    /// What the format says about the type of field `index`, counted from 0.
    ///
    /// # Panics
    /// When the record has no such field.
    pub fn notation(&self, index: usize) -> Notation {
        self.spans[index].notation
    }

    /// Why it has no fields; `None` if it has.
    pub fn defect(&self) -> Option<&'a Defect> {
        self.defect
    }

    /// The number of fields; 0 if it has a defect.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether it is a blank line.
    pub fn is_empty(&self) -> bool {
        self.is_blank
    }

    /// Its fields with stray quotes.
    #[inline]
    pub fn stray_fields(&self) -> StrayFields {
        self.strays
    }

    /// The number of fields that the header of its own file demands, if it has another number of them and that header
    /// differs from the first file's.
    pub(crate) fn misfit(&self) -> Option<usize> {
        self.misfit
    }

    /// Whether it has fewer fields than the header of its own file, and that differs from the first file's.
    pub(crate) fn is_short(&self) -> bool {
        self.is_short
    }

    /// The position in the file's record of field `index`, from 1.
    pub(crate) fn position(&self, index: usize) -> usize {
        let position = self.positions.and_then(|positions| positions.get(index).copied().flatten());
        position.unwrap_or(index) + 1
    }

    /// Its bytes exactly as in the file, before decoding, including the line ending if it has one.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The encoding of the file.
    pub fn encoding(&self) -> &'static Encoding {
        self.dialect.encoding
    }

    /// Field `index`, counted from 0, unquoted. A value that is not contiguous in the record is assembled in
    /// `scratch`.
    ///
    /// # Panics
    /// When the record has no such field.
    #[expect(
        clippy::inline_always,
        reason = "the compiler does not do it unasked, and every field of a load is read here"
    )]
    #[inline(always)]
    pub fn field<'b>(&self, index: usize, scratch: &'b mut Vec<u8>) -> Field<'b>
    where
        'a: 'b,
    {
        let FieldSpan { start, end, quoting, .. } = self.spans[index];
        // Most fields, for which a branch is faster than the table of jumps for all kinds.
        if matches!(quoting, Quoting::Plain) {
            let value = &self.text[start as usize..end as usize];
            return if self.dialect.is_null(value) { Field::Null } else { Field::Value(value) };
        }
        match quoting {
            Quoting::Missing => Field::Null,
            _ => Field::Value(self.value(index, scratch)),
        }
    }

    /// The `N` bytes that begin with the value of field `index`, counted from 0, whatever its length; `None` if they are not
    /// at hand.
    ///
    /// # Panics
    /// When the record has no such field.
    #[inline]
    pub(crate) fn window<const N: usize>(&self, index: usize) -> Option<&'a [u8; N]> {
        let FieldSpan { start, quoting, .. } = self.spans[index];
        let start = match quoting {
            Quoting::Plain => start as usize,
            Quoting::Enclosed => start as usize + 1,
            _ => return None,
        };
        self.text.get(start..)?.first_chunk()
    }

    /// As [`Record::field`], but the null texts are ordinary values.
    #[inline]
    pub(super) fn value<'b>(&self, index: usize, scratch: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        let FieldSpan { start, end, quoting, .. } = self.spans[index];
        let raw = &self.text[start as usize..end as usize];
        match quoting {
            Quoting::Plain | Quoting::Missing | Quoting::Verbatim => raw,
            Quoting::Enclosed => &raw[1..raw.len() - 1],
            Quoting::Mixed => {
                scratch.clear();
                unquote(raw, self.dialect, scratch);
                scratch
            }
        }
    }
}

/// Append `raw` to `value` without its quotes and escapes.
fn unquote(raw: &[u8], dialect: &Dialect, value: &mut Vec<u8>) {
    let Dialect { quote, escape, .. } = *dialect;
    let quote = quote.unwrap_or(escape);
    let (mut rest, mut in_quotes) = (raw, false);
    while let Some(at) = memchr2(quote, escape, rest) {
        value.extend_from_slice(&rest[..at]);
        let (byte, next) = (rest[at], rest.get(at + 1).copied());
        rest = &rest[at + 1..];
        match next {
            Some(next) if in_quotes && byte == escape && (next == quote || next == escape) => {
                value.push(next);
                rest = &rest[1..];
            }
            _ if byte == quote => in_quotes = !in_quotes,
            _ => value.push(byte),
        }
    }
    value.extend_from_slice(rest);
}
