//! Sections: consecutive records of one file that are encoded, and committed, as one chunk of an import.

use sha2::{Digest as _, Sha256};

use crate::csv::Record;
use crate::csv::input::hex;

/// Where a section ends, if its file does not end before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SectionLimit {
    /// After this many records.
    pub rows: u64,
    /// After the record with which the section reaches this size, in bytes of the decompressed file.
    pub bytes: u64,
}

/// What was read of the input as one section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// Name of the file, as errors give it.
    pub file: String,
    /// Number of records.
    pub rows: u64,
    /// The line on which the first record begins, from 1.
    pub first_line: u64,
    /// The line on which the last record ends.
    pub last_line: u64,
    /// Bytes before the first record, in the decompressed file.
    pub first_byte: u64,
    /// Bytes up to the end of the last record.
    pub end_byte: u64,
    /// SHA-256 of the records' bytes, in hexadecimal.
    pub sha256: String,
}

/// A section while it is being read.
#[derive(Debug)]
pub(crate) struct OpenSection {
    limit: SectionLimit,
    file: String,
    rows: u64,
    bytes: u64,
    lines: (u64, u64),
    offsets: (u64, u64),
    hash: Sha256,
}

impl OpenSection {
    /// A section of `file` without records.
    pub(crate) fn new(file: &str, limit: SectionLimit) -> Self {
        OpenSection {
            limit,
            file: file.to_owned(),
            rows: 0,
            bytes: 0,
            lines: (0, 0),
            offsets: (0, 0),
            hash: Sha256::new(),
        }
    }

    /// Whether no further record belongs to it.
    pub(crate) fn is_full(&self) -> bool {
        self.rows >= self.limit.rows || self.bytes >= self.limit.bytes
    }

    /// Whether it has no record yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Add the next record of the file.
    pub(crate) fn add(&mut self, record: Record<'_>) {
        let raw = record.raw();
        if self.rows == 0 {
            (self.lines.0, self.offsets.0) = (record.line, record.offset);
        }
        (self.lines.1, self.offsets.1) = (record.last_line, record.offset + raw.len() as u64);
        self.rows += 1;
        self.bytes += raw.len() as u64;
        self.hash.update(raw);
    }

    /// The section, once it is full or its file has ended.
    pub(crate) fn finish(self) -> Section {
        let OpenSection { file, rows, lines, offsets, hash, .. } = self;
        Section {
            file,
            rows,
            first_line: lines.0,
            last_line: lines.1,
            first_byte: offsets.0,
            end_byte: offsets.1,
            sha256: hex(&hash.finalize()),
        }
    }
}
