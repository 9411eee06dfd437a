//! A chunk under construction.

use std::borrow::Cow;
use std::sync::Arc;

use crate::csv::layout::OwnHeader;
use crate::csv::{Files, Record};
use crate::load::chunk::rejected::Reject;
use crate::load::chunk::{Chunk, LineMap, OriginalRecords, RecordSpan};
use crate::load::mapping::ValueFormat;
use crate::load::options::Mode;

/// A chunk is complete at this size, in bytes. A COPY sends it as one message, which the server copies twice: at this
/// size the second copy is still in the processor's cache.
const CHUNK_BYTES: usize = 64 * 1024;

/// Size of a complete chunk, in bytes, where bad rows are set aside: each chunk then has its own savepoint, so that
/// fewer and larger chunks are faster.
const CHUNK_BYTES_REJECTING: usize = 1024 * 1024;

/// Size of a complete chunk, in bytes, where nothing is sent: waking the thread that counts its rows takes as long as
/// encoding a hundred of them.
const CHUNK_BYTES_UNSENT: usize = 256 * 1024;

/// A tuple that is already encoded, with which the next chunk begins.
#[derive(Debug)]
pub(super) struct CarriedTuple {
    pub(super) tuple: Vec<u8>,
    pub(super) source: SourceRecord<'static>,
}

/// The position of a tuple's record in its file, and the record's bytes.
#[derive(Debug)]
pub(super) struct SourceRecord<'a> {
    /// The line on which it begins, from 1.
    line: u64,
    /// The line on which it ends.
    last_line: u64,
    /// Bytes before it in the file.
    offset: u64,
    raw: Cow<'a, [u8]>,
}

impl<'a> SourceRecord<'a> {
    pub(super) fn new(record: &Record<'a>) -> Self {
        let raw = Cow::Borrowed(record.raw());
        SourceRecord { line: record.line, last_line: record.last_line, offset: record.offset, raw }
    }

    /// A copy that outlives the record.
    pub(super) fn into_owned(self) -> SourceRecord<'static> {
        SourceRecord { raw: Cow::Owned(self.raw.into_owned()), ..self }
    }
}

/// A [`Chunk`] under construction.
pub(super) struct ChunkBuilder {
    pub(super) tuples: Vec<u8>,
    pub(super) file: Arc<str>,
    pub(super) formats: Arc<[ValueFormat]>,
    ends: Vec<usize>,
    lines: LineMap,
    /// The records; `None` where no row can be rejected.
    originals: Option<UnsharedRecords>,
    rejects: Vec<Reject>,
    rejected_bytes: usize,
    /// The size at which it is complete, in bytes.
    max_bytes: usize,
}

/// [`OriginalRecords`] under construction.
#[derive(Default)]
struct UnsharedRecords {
    bytes: Vec<u8>,
    spans: Vec<RecordSpan>,
    header: Arc<OwnHeader>,
}

impl ChunkBuilder {
    /// An empty chunk of the file that `files` are at, for `mode`; `rejecting` says whether rows can be rejected.
    pub(super) fn new(files: &Files, formats: &Arc<[ValueFormat]>, mode: Mode, rejecting: bool) -> Self {
        let max_bytes = match mode {
            _ if rejecting => CHUNK_BYTES_REJECTING,
            Mode::Null => CHUNK_BYTES_UNSENT,
            _ => CHUNK_BYTES,
        };
        let header = Arc::clone(files.own_header());
        ChunkBuilder {
            tuples: Vec::with_capacity(max_bytes + max_bytes / 8),
            file: files.name().into(),
            formats: Arc::clone(formats),
            ends: Vec::new(),
            lines: LineMap::default(),
            originals: rejecting.then(|| UnsharedRecords { header, ..UnsharedRecords::default() }),
            rejects: Vec::new(),
            rejected_bytes: 0,
            max_bytes,
        }
    }

    /// Number of tuples and rejects.
    pub(super) fn records(&self) -> usize {
        self.ends.len() + self.rejects.len()
    }

    /// Whether it has no tuple.
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether it has reached its size, or a number of records.
    pub(super) fn is_full(&self, max_records: usize) -> bool {
        let originals = self.originals.as_ref().map_or(0, |originals| originals.bytes.len());
        self.tuples.len() + originals + self.rejected_bytes >= self.max_bytes || self.records() >= max_records
    }

    /// Record the end of the tuple just appended; `false` if its line is too far from the last one for this chunk.
    pub(super) fn add(&mut self, source: &SourceRecord<'_>) -> bool {
        let SourceRecord { line, last_line, offset, raw } = source;
        if !self.lines.push(*line) {
            return false;
        }
        self.ends.push(self.tuples.len());
        if let Some(UnsharedRecords { bytes, spans, .. }) = &mut self.originals {
            bytes.extend_from_slice(raw);
            spans.push(RecordSpan { end: bytes.len(), last_line: *last_line, offset: *offset });
        }
        true
    }

    /// Set a record aside, whose tuple was removed.
    pub(super) fn add_reject(&mut self, reject: Reject) {
        self.rejected_bytes += reject.raw.len();
        self.rejects.push(reject);
    }

    pub(super) fn finish(self) -> Chunk {
        let ChunkBuilder { tuples, ends, lines, file, formats, originals, rejects, .. } = self;
        let originals = originals.map(|UnsharedRecords { bytes, spans, header }| OriginalRecords {
            bytes: bytes.into(),
            spans,
            header,
        });
        Chunk { tuples: tuples.into(), ends, lines, file, formats, originals, rejects }
    }
}
