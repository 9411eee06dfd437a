//! Encoded records: tuples back to back, in chunks.
//!
//! A tuple is what binary COPY calls one: a 16-bit field count, then for each field a 32-bit length (−1 for
//! NULL) and the value. The same length and bytes make a Bind parameter and an array element, so every sink
//! slices these chunks and none encodes anything itself.

pub(crate) mod encoder;
pub(crate) mod rejected;
pub(crate) mod stream;

use crate::load::mapping::ValueFormat;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::load::chunk::rejected::{Reason, Reject};

/// Rows of a chunk.
pub(crate) const CHUNK_ROWS: usize = 8192;

/// Tuples of consecutive records of one file.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    /// The tuples, back to back.
    pub tuples: Bytes,
    /// Where each tuple ends.
    pub ends: Vec<usize>,
    /// Where the records were.
    pub lines: LineMap,
    /// What errors call the file.
    pub file: Arc<str>,
    /// Who reads each column; the same for all tuples.
    pub formats: Arc<[ValueFormat]>,
    /// The records themselves, where they may have to be written back.
    pub originals: Option<Originals>,
    /// Records between these that could not be encoded.
    pub rejects: Vec<Reject>,
}

/// The bytes and places of a chunk's records.
#[derive(Debug, Clone, Default)]
pub(super) struct Originals {
    /// The records with their line ends, back to back.
    pub bytes: Bytes,
    /// One for each.
    pub places: Vec<Place>,
}

/// Where one record was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Where it ends in [`Originals::bytes`].
    pub end: usize,
    /// The line it ends on.
    pub last_line: u64,
    /// Bytes before it in the file.
    pub offset: u64,
}

/// The lines that records begin on, which mostly follow each other.
#[derive(Debug, Clone, Default)]
pub(super) struct LineMap {
    first: u64,
    last: u64,
    /// From each line to the next; empty while all are 1.
    steps: Vec<u16>,
    count: usize,
    /// Whether the steps were given up.
    coarse: bool,
}

impl LineMap {
    /// Add `line`; `false` if it is too far from the last one, and another `LineMap` has to begin with it.
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

    /// How much memory they take, beyond a few words.
    pub(super) fn bytes(&self) -> usize {
        self.steps.capacity() * size_of::<u16>()
    }

    /// Keep no more than the first and the last, whatever is between.
    pub(super) fn coarsen(&mut self) {
        self.coarse |= !self.steps.is_empty();
        self.steps = Vec::new();
    }

    /// The first and the last line that record `index`, from 0, may begin on.
    pub(super) fn range(&self, index: usize) -> (u64, u64) {
        if self.coarse { (self.first, self.last) } else { (self.get(index), self.get(index)) }
    }

    /// Line `index`, from 0, while they are not coarse.
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
    /// How many tuples.
    pub(super) fn rows(&self) -> usize {
        self.ends.len()
    }

    /// How many bytes tuple `row` has.
    pub(super) fn bytes(&self, row: usize) -> usize {
        self.ends[row] - self.start(row)
    }

    /// Where tuple `index` begins; for the number of tuples, where the last one ends.
    fn start(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.ends[index - 1] }
    }

    /// The tuples of `rows` alone; whoever takes them apart knows where they were.
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

    /// The tuples of `rows` but for those `left_out`, which are in order.
    pub(super) fn without(&self, rows: Range<usize>, left_out: &[usize]) -> Chunk {
        let mut kept = self.slice(rows.start..rows.start);
        let mut tuples = Vec::with_capacity(self.start(rows.end) - self.start(rows.start));
        for row in rows {
            if left_out.binary_search(&row).is_err() {
                tuples.extend_from_slice(&self.tuples[self.start(row)..self.ends[row]]);
                kept.ends.push(tuples.len());
            }
        }
        kept.tuples = tuples.into();
        kept
    }

    /// The tuples one by one.
    pub(super) fn iter(&self) -> impl Iterator<Item = Tuple> + '_ {
        (0..self.rows()).map(|row| self.tuple(row))
    }

    /// Record `row`, from 0, refused for `reason`.
    pub(super) fn reject(&self, row: usize, reason: Reason) -> Reject {
        let first_line = self.lines.get(row);
        let Some(originals) = &self.originals else {
            let (file, raw) = (Arc::clone(&self.file), Bytes::new());
            return Reject { file, first_line, last_line: first_line, byte_offset: 0, reason, raw };
        };
        let Place { end, last_line, offset } = originals.places[row];
        let start = if row == 0 { 0 } else { originals.places[row - 1].end };
        let raw = originals.bytes.slice(start..end);
        Reject { file: Arc::clone(&self.file), first_line, last_line, byte_offset: offset, reason, raw }
    }

    /// Tuple `row`, from 0.
    pub(super) fn tuple(&self, row: usize) -> Tuple {
        let mut rest = self.tuples.slice(self.start(row)..self.ends[row]);
        Tuple { fields: usize::from(rest.get_u16()), rest }
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
    fn lines_are_kept_whatever_their_steps() {
        for expected in [&[5, 6, 7, 8][..], &[1, 2, 5, 6], &[1, 4, 5], &[9], &[1, 65_536]] {
            let mut lines = LineMap::default();
            assert!(expected.iter().all(|&line| lines.push(line)), "{expected:?}");
            let found: Vec<u64> = (0..expected.len()).map(|index| lines.get(index)).collect();
            assert_eq!(found, expected);
            let (first, last) = (expected[0], expected[expected.len() - 1]);
            let follow = last - first == expected.len() as u64 - 1;
            lines.coarsen();
            assert_eq!(lines.bytes(), 0);
            let range = if follow { (last, last) } else { (first, last) };
            assert_eq!(lines.range(expected.len() - 1), range);
        }
        let mut lines = LineMap::default();
        assert!(lines.push(1) && !lines.push(65_537));
    }
}
