//! Encoded records: tuples back to back, in chunks.
//!
//! A tuple has the layout of binary COPY: a 16-bit field count, then for each field a 32-bit length (−1 for NULL) and
//! the value. A Bind parameter and an array element have the same length and bytes, so every writer slices these
//! chunks and none encodes anything.
//!
//! [`encoder`] fills the chunks, with a [`builder`] for each, and on several threads by [`parallel`]; [`stream`] hands
//! them to the writers, [`rejected`] describes records that are not among them, [`findings`] and [`dates`] what a reader
//! of the report should know of the others; [`section`] is the part of the input that an import commits as one.

mod builder;
pub(crate) mod dates;
pub(crate) mod encoder;
pub(crate) mod findings;
mod parallel;
mod reasons;
pub(crate) mod rejected;
pub(crate) mod section;
pub(crate) mod stream;

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::csv::layout::OwnHeader;
use crate::load::chunk::rejected::{Reason, Reject};
use crate::load::mapping::ValueFormat;

/// Maximum number of rows in a chunk, unless it reaches its maximum size in bytes first, which [`builder`] sets.
pub(crate) const CHUNK_ROWS: usize = 8192;

/// Tuples of consecutive records of one file.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    /// The tuples, back to back.
    pub tuples: Bytes,
    /// The end of each tuple: bytes from the start of `tuples`.
    pub ends: Vec<usize>,
    /// The line on which each record begins.
    pub lines: LineMap,
    /// Name of the file, as errors give it.
    pub file: Arc<str>,
    /// The format of each column, the same for all tuples.
    pub formats: Arc<[ValueFormat]>,
    /// The records themselves; `None` where no row can be rejected.
    pub originals: Option<OriginalRecords>,
    /// Records from the same part of the file that could not be encoded.
    pub rejects: Vec<Reject>,
}

/// The unencoded records of a chunk.
#[derive(Debug, Clone, Default)]
pub(super) struct OriginalRecords {
    /// The records with their line endings, back to back.
    pub bytes: Bytes,
    /// The position of each record.
    pub spans: Vec<RecordSpan>,
    /// The header under which they stand.
    pub header: Arc<OwnHeader>,
}

/// The position of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordSpan {
    /// Its end in [`OriginalRecords::bytes`].
    pub end: usize,
    /// The line on which it ends, from 1.
    pub last_line: u64,
    /// Bytes before it in the file.
    pub offset: u64,
}

/// The lines on which records begin, compact because most are consecutive.
#[derive(Debug, Clone, Default)]
pub(super) struct LineMap {
    first: u64,
    last: u64,
    /// The difference between each line and the next; empty while all are 1.
    steps: Vec<u16>,
    count: usize,
    /// Whether the steps were dropped.
    coarse: bool,
}

impl LineMap {
    /// Append `line`; `false` if it is too far from the last one, so that a new map has to begin with it.
    pub(super) fn push(&mut self, line: u64) -> bool {
        if self.count == 0 {
            *self = LineMap { first: line, last: line, count: 1, ..LineMap::default() };
            return true;
        }
        let Ok(step) = u16::try_from(line - self.last) else { return false };
        if step != 1 && self.steps.is_empty() {
            self.steps = vec![1; self.count - 1];
        }
        if step != 1 || !self.steps.is_empty() {
            self.steps.push(step);
        }
        self.last = line;
        self.count += 1;
        true
    }

    /// Bytes allocated on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.steps.capacity() * size_of::<u16>()
    }

    /// Free the memory: keep only the first and the last line, unless the lines are consecutive.
    pub(super) fn coarsen(&mut self) {
        self.coarse |= !self.steps.is_empty();
        self.steps = Vec::new();
    }

    /// The first and the last line on which record `index`, from 0, may begin; equal unless the map is coarse.
    pub(super) fn range(&self, index: usize) -> (u64, u64) {
        if self.coarse { (self.first, self.last) } else { (self.get(index), self.get(index)) }
    }

    /// The line of record `index`, from 0; wrong if the map is coarse.
    pub(super) fn get(&self, index: usize) -> u64 {
        match self.steps.get(..index) {
            Some(steps) if !self.steps.is_empty() => {
                self.first + steps.iter().map(|&step| u64::from(step)).sum::<u64>()
            }
            _ => self.first + index as u64,
        }
    }
}

impl Chunk {
    /// Number of tuples.
    pub(super) fn rows(&self) -> usize {
        self.ends.len()
    }

    /// Length of tuple `row`, from 0, in bytes.
    pub(super) fn bytes(&self, row: usize) -> usize {
        self.ends[row] - self.start(row)
    }

    /// Start of tuple `index`, in bytes; if `index` is the number of tuples, the end of the last one.
    fn start(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.ends[index - 1] }
    }

    /// A chunk of the tuples of `rows`, without their lines and original records.
    pub(super) fn slice(&self, rows: Range<usize>) -> Chunk {
        let (from, to) = (self.start(rows.start), self.start(rows.end));
        Chunk {
            tuples: self.tuples.slice(from..to),
            ends: self.ends[rows].iter().map(|end| end - from).collect(),
            lines: LineMap::default(),
            file: Arc::clone(&self.file),
            formats: Arc::clone(&self.formats),
            originals: None,
            rejects: Vec::new(),
        }
    }

    /// As [`Chunk::slice`], but leave out the tuples `excluded`, which are in ascending order.
    pub(super) fn without(&self, rows: Range<usize>, excluded: &[usize]) -> Chunk {
        let mut kept = self.slice(rows.start..rows.start);
        let mut tuples = Vec::with_capacity(self.start(rows.end) - self.start(rows.start));
        for row in rows {
            if excluded.binary_search(&row).is_err() {
                tuples.extend_from_slice(&self.tuples[self.start(row)..self.ends[row]]);
                kept.ends.push(tuples.len());
            }
        }
        kept.tuples = tuples.into();
        kept
    }

    /// The rejection of record `row`, from 0, for `reason`.
    pub(super) fn reject(&self, row: usize, reason: Reason) -> Reject {
        let first_line = self.lines.get(row);
        let Some(originals) = &self.originals else {
            let (file, raw) = (Arc::clone(&self.file), Bytes::new());
            return Reject { file, first_line, last_line: first_line, byte_offset: 0, reason, raw };
        };
        let RecordSpan { end, last_line, offset } = originals.spans[row];
        let start = if row == 0 { 0 } else { originals.spans[row - 1].end };
        let raw = originals.bytes.slice(start..end);
        Reject { file: Arc::clone(&self.file), first_line, last_line, byte_offset: offset, reason, raw }
    }

    /// Tuple `row`, from 0.
    pub(super) fn tuple(&self, row: usize) -> Tuple {
        let mut rest = self.tuples.slice(self.start(row)..self.ends[row]);
        Tuple { fields: usize::from(rest.get_u16()), rest }
    }

    /// The fields of tuple `row`, from 0, where they lie: as [`Chunk::tuple`], but borrowed.
    pub(super) fn fields(&self, row: usize) -> impl Iterator<Item = Option<&[u8]>> {
        let mut rest = &self.tuples[self.start(row)..self.ends[row]];
        (0..rest.get_u16()).map(move |_| {
            let (field, after) = match usize::try_from(rest.get_i32()) {
                Ok(length) => (Some(&rest[..length]), &rest[length..]),
                Err(_) => (None, rest),
            };
            rest = after;
            field
        })
    }
}

/// The fields of one tuple, each as its bytes, or `None` for NULL.
#[derive(Debug, Clone)]
pub(super) struct Tuple {
    fields: usize,
    rest: Bytes,
}

impl Iterator for Tuple {
    type Item = Option<Bytes>;

    fn next(&mut self) -> Option<Option<Bytes>> {
        self.fields = self.fields.checked_sub(1)?;
        let length = self.rest.get_i32();
        Some(usize::try_from(length).ok().map(|length| self.rest.split_to(length)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.fields, Some(self.fields))
    }
}

impl ExactSizeIterator for Tuple {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_exact_until_they_are_coarsened() {
        for expected in [&[5, 6, 7, 8][..], &[1, 2, 5, 6], &[1, 4, 5], &[9], &[1, 65_536]] {
            let mut lines = LineMap::default();
            assert!(expected.iter().all(|&line| lines.push(line)), "{expected:?}");
            let found: Vec<u64> = (0..expected.len()).map(|index| lines.get(index)).collect();
            assert_eq!(found, expected);
            let (first, last) = (expected[0], expected[expected.len() - 1]);
            let are_consecutive = last - first == expected.len() as u64 - 1;
            lines.coarsen();
            assert_eq!(lines.bytes(), 0);
            let range = if are_consecutive { (last, last) } else { (first, last) };
            assert_eq!(lines.range(expected.len() - 1), range);
        }
        let mut lines = LineMap::default();
        assert!(lines.push(1) && !lines.push(65_537));
    }
}
