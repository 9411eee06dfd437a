//! One record: its fields, its bytes, and where it was.

use encoding_rs::Encoding;
use memchr::memchr2;

use crate::csv::dialect::Dialect;

/// One record of a file.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    pub(super) text: &'a [u8],
    pub(super) raw: &'a [u8],
    pub(super) spans: &'a [Span],
    pub(super) dialect: &'a Dialect,
    /// The line it begins on, from 1.
    pub line: u64,
    /// The line it ends on; another one when a quoted field holds line ends.
    pub last_line: u64,
    /// How many bytes of the file stand before it, counted after unpacking and before decoding.
    pub offset: u64,
}

/// The value of a field, as `COPY` would take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// The null text, which is nothing by default, without quotes.
    Null,
    /// The bytes without their quotes.
    Value(&'a [u8]),
}

/// Where a field stands in its record; records are shorter than 4 GiB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) shape: Shape,
}

/// What has to be done to get at a field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nothing: no quote was seen.
    Plain,
    /// Take the first and the last byte off; they are the only quotes, and nothing is escaped.
    Enclosed,
    /// Go through it byte by byte.
    Mixed,
}

impl<'a> Record<'a> {
    /// How many fields it has; at least 1.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether it is a line with nothing on it.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Its bytes exactly as the file has them, before decoding, with the line end if there is one.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// What the file is written in.
    pub fn encoding(&self) -> &'static Encoding {
        self.dialect.encoding
    }

    /// Field `index`, unquoted; `scratch` is where a value is put together that does not stand in one piece.
    ///
    /// # Panics
    /// When there is no such field.
    #[inline]
    pub fn field<'b>(&self, index: usize, scratch: &'b mut Vec<u8>) -> Field<'b>
    where
        'a: 'b,
    {
        let value = self.value(index, scratch);
        if self.spans[index].shape == Shape::Plain && value == &*self.dialect.null {
            return Field::Null;
        }
        Field::Value(value)
    }

    /// As [`Record::field`], but without taking any text for NULL.
    #[inline]
    pub(super) fn value<'b>(&self, index: usize, scratch: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        let Span { start, end, shape } = self.spans[index];
        let raw = &self.text[start as usize..end as usize];
        match shape {
            Shape::Plain => raw,
            Shape::Enclosed => &raw[1..raw.len() - 1],
            Shape::Mixed => {
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
