//! Records → chunks of encoded tuples, on a thread of its own.

use std::sync::Arc;

use tokio::sync::mpsc::Sender;

use crate::csv::{Field, Files, Record, excerpt};
use crate::encode::{Encoder, Refusal};
use crate::load::chunk::rejected::{Reason, Reject};
use crate::load::chunk::{Chunk, LineMap, Originals, Place};
use crate::load::mapping::{ColumnMapping, Target, ValueFormat};
use crate::load::options::Mode;
use crate::progress::Progress;
use crate::{Error, Result};

/// A chunk is handed on when it holds this many bytes: a COPY sends it as one message, which the server copies twice
/// and finds in its cache the second time.
const CHUNK_BYTES: usize = 64 * 1024;

/// Where bad rows are set aside a chunk is a piece with a savepoint of its own, so fewer and larger ones are faster.
const CHUNK_BYTES_REJECTING: usize = 1024 * 1024;

/// How to encode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EncodePlan {
    /// The most rows of a chunk.
    pub chunk_rows: usize,
    /// Who gets the tuples.
    pub mode: Mode,
    /// Whether bad records are handed on; otherwise the first one ends everything.
    pub rejecting: bool,
}

/// Encodes the records of some files.
pub(crate) struct ChunkEncoder {
    files: Files,
    targets: Arc<ColumnMapping>,
    plan: EncodePlan,
    formats: Arc<[ValueFormat]>,
    switched: Vec<TextFallback>,
    carried: Option<Carried>,
    scratch: Vec<u8>,
    /// Records of the chunk that the first bad one, which is the last of them, ended.
    unsent: usize,
}

/// From where on, and why, the server reads a column that we can mostly read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TextFallback {
    /// Which column of the file, from 0.
    #[serde(skip)]
    pub index: usize,
    /// The file.
    pub file: String,
    /// The line of the first record that the server reads.
    pub line: u64,
    /// The value that was not certain.
    pub value: String,
}

/// What happened to a record.
enum RecordOutcome {
    Encoded,
    Rejected(Box<Reject>),
    /// The column at this index has to be read by the server, from this record on.
    NeedsServer(usize, String),
}

impl ChunkEncoder {
    /// Encode `files` for `targets`.
    pub(crate) fn new(files: Files, targets: Arc<ColumnMapping>, plan: EncodePlan) -> Self {
        let formats = targets.formats(plan.mode);
        let (switched, scratch) = (Vec::new(), Vec::new());
        ChunkEncoder { files, targets, plan, formats, switched, carried: None, scratch, unsent: 0 }
    }

    /// Encode everything and send the chunks to `chunks`, the last of them an error if there was one.
    ///
    /// Nobody receiving any more ends it too: whoever stopped knows why. Returns which columns were given up.
    pub(crate) fn run(mut self, counters: &Progress, chunks: &Sender<Result<Chunk>>) -> Vec<TextFallback> {
        loop {
            let chunk = match self.next_chunk() {
                Ok(None) => break,
                Ok(Some(_)) if counters.is_cancelled() => Err(Error::interrupted()),
                Ok(Some(chunk)) => Ok(chunk),
                Err(error) => Err(error),
            };
            let last = chunk.is_err();
            let rows = chunk.as_ref().map_or(self.unsent, |chunk| chunk.rows() + chunk.rejects.len());
            counters.add(rows as u64, self.files.inputs().consumed().saturating_sub(counters.bytes()));
            if chunks.blocking_send(chunk).is_err() || last {
                break;
            }
        }
        self.switched
    }

    /// What is wrong with the first record of each file, and from where on the server reads a column.
    ///
    /// Ends with the first file that cannot be opened, or whose header is another.
    pub(crate) fn check_first_records(mut self) -> (Vec<Error>, Vec<TextFallback>) {
        let mut problems = Vec::new();
        loop {
            problems.extend(self.next_chunk().err());
            match self.files.open_next_file() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    problems.push(error);
                    break;
                }
            }
        }
        (problems, self.switched)
    }

    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// When the input cannot be read, and at the first bad record unless rejects are handed on.
    pub(crate) fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let carried = self.carried.take();
        if carried.is_none() && !self.files.has_next()? {
            return Ok(None);
        }
        let mut chunk = Building::new(self.files.name(), &self.formats);
        if let Some(carried) = carried {
            chunk.tuples = carried.tuple;
            chunk.add(&carried.original);
        }
        let most = if self.plan.rejecting { CHUNK_BYTES_REJECTING } else { CHUNK_BYTES };
        while chunk.tuples.len() + chunk.bytes.len() + chunk.rejected_bytes < most
            && chunk.records() < self.plan.chunk_rows
        {
            let Some(record) = self.files.next_in_file()? else { break };
            let start = chunk.tuples.len();
            let outcome = loop {
                let (formats, tuples) = (&self.formats, &mut chunk.tuples);
                match encode_record(record, &self.targets, formats, &chunk.file, tuples, &mut self.scratch) {
                    RecordOutcome::NeedsServer(index, value) => {
                        chunk.tuples.truncate(start);
                        self.formats = give_up(&self.formats, index, self.plan.mode == Mode::Copy);
                        let file = chunk.file.to_string();
                        self.switched.push(TextFallback { index, file, line: record.line, value });
                    }
                    outcome => break outcome,
                }
            };
            if let RecordOutcome::Rejected(reject) = outcome {
                chunk.tuples.truncate(start);
                if !self.plan.rejecting {
                    self.unsent = chunk.records() + 1;
                    return Err(reject.into_error());
                }
                chunk.rejected_bytes += reject.raw.len();
                chunk.rejects.push(*reject);
                continue;
            }
            if chunk.ends.is_empty() {
                chunk.formats = Arc::clone(&self.formats);
            }
            let original = Original::of(record, self.plan.rejecting);
            if chunk.formats != self.formats || !chunk.add(&original) {
                // It cannot be in this chunk: the next one begins with it.
                self.carried = Some(Carried { tuple: chunk.tuples.split_off(start), original });
                break;
            }
        }
        Ok(Some(chunk.finish(self.plan.rejecting)))
    }
}

/// A tuple that the next chunk begins with.
struct Carried {
    tuple: Vec<u8>,
    original: Original,
}

/// Where a record was, and its bytes where they may be needed.
struct Original {
    line: u64,
    last_line: u64,
    offset: u64,
    raw: Vec<u8>,
}

impl Original {
    fn of(record: Record<'_>, with_bytes: bool) -> Self {
        let raw = if with_bytes { record.raw().to_vec() } else { Vec::new() };
        Original { line: record.line, last_line: record.last_line, offset: record.offset, raw }
    }
}

/// A chunk that is being filled.
struct Building {
    tuples: Vec<u8>,
    ends: Vec<usize>,
    lines: LineMap,
    file: Arc<str>,
    formats: Arc<[ValueFormat]>,
    bytes: Vec<u8>,
    places: Vec<Place>,
    rejects: Vec<Reject>,
    rejected_bytes: usize,
}

impl Building {
    fn new(file: &str, formats: &Arc<[ValueFormat]>) -> Self {
        Building {
            tuples: Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8),
            ends: Vec::new(),
            lines: LineMap::default(),
            file: file.into(),
            formats: Arc::clone(formats),
            bytes: Vec::new(),
            places: Vec::new(),
            rejects: Vec::new(),
            rejected_bytes: 0,
        }
    }

    fn records(&self) -> usize {
        self.ends.len() + self.rejects.len()
    }

    /// Count what was last appended to the tuples as one; `false` if it cannot be in this chunk.
    fn add(&mut self, original: &Original) -> bool {
        if !self.lines.push(original.line) {
            return false;
        }
        self.ends.push(self.tuples.len());
        self.bytes.extend_from_slice(&original.raw);
        let Original { last_line, offset, .. } = *original;
        self.places.push(Place { end: self.bytes.len(), last_line, offset });
        true
    }

    fn finish(self, rejecting: bool) -> Chunk {
        let Building { tuples, ends, lines, file, formats, bytes, places, rejects, .. } = self;
        let originals = rejecting.then(|| Originals { bytes: bytes.into(), places });
        Chunk { tuples: tuples.into(), ends, lines, file, formats, originals, rejects }
    }
}

/// The formats once the server reads column `index`.
fn give_up(formats: &[ValueFormat], index: usize, one_format: bool) -> Arc<[ValueFormat]> {
    let text = |(column, format): (usize, &ValueFormat)| {
        if one_format || column == index { ValueFormat::Text } else { *format }
    };
    formats.iter().enumerate().map(text).collect()
}

/// Append `record` as one tuple; what is appended is void unless it was encoded.
fn encode_record(
    record: Record<'_>,
    targets: &ColumnMapping,
    formats: &[ValueFormat],
    file: &Arc<str>,
    tuples: &mut Vec<u8>,
    scratch: &mut Vec<u8>,
) -> RecordOutcome {
    let reject = |reason: Reason| reject(record, file, reason);
    if record.len() != targets.fields {
        return reject(wrong_field_count(record, targets.fields));
    }
    // A table has at most 1,600 columns.
    tuples.extend_from_slice(&(targets.columns.len() as i16).to_be_bytes());
    for (index, (target, format)) in targets.columns.iter().zip(formats).enumerate() {
        let Field::Value(value) = record.field(target.field, scratch) else {
            tuples.extend_from_slice(&(-1_i32).to_be_bytes());
            continue;
        };
        let length_at = tuples.len();
        tuples.extend_from_slice(&[0; 4]);
        let encoded = match (&target.encoder, format) {
            (Some(encoder), ValueFormat::Binary) => encoder.encode(value, tuples),
            (encoder, _) => as_text(encoder.as_ref(), value, tuples),
        };
        match encoded {
            Ok(()) => {
                let length = (tuples.len() - length_at - 4) as i32;
                tuples[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
            }
            Err(Refusal::NeedsServer) => return RecordOutcome::NeedsServer(index, excerpt(value)),
            Err(Refusal::Invalid(expected)) => return reject(wrong_value(record, target, value, &expected)),
        }
    }
    RecordOutcome::Encoded
}

/// `record`, refused for `reason`.
fn reject(record: Record<'_>, file: &Arc<str>, reason: Reason) -> RecordOutcome {
    RecordOutcome::Rejected(Box::new(Reject {
        file: Arc::clone(file),
        first_line: record.line,
        last_line: record.last_line,
        byte_offset: record.offset,
        reason,
        raw: bytes::Bytes::copy_from_slice(record.raw()),
    }))
}

/// Append `value` for the server to read, unless it is certain that it cannot.
fn as_text(encoder: Option<&Encoder>, value: &[u8], tuples: &mut Vec<u8>) -> Result<(), Refusal> {
    Encoder::Text.encode(value, tuples)?;
    let Some(encoder) = encoder else { return Ok(()) };
    let end = tuples.len();
    let judged = encoder.encode(value, tuples);
    tuples.truncate(end);
    match judged {
        Err(Refusal::Invalid(expected)) => Err(Refusal::Invalid(expected)),
        _ => Ok(()),
    }
}

fn wrong_value(record: Record<'_>, target: &Target, value: &[u8], expected: &str) -> Reason {
    if record.encoding() != encoding_rs::UTF_8 && std::str::from_utf8(value).is_err() {
        return wrong_bytes(record, target, value);
    }
    let (value_bytes, value, type_name) = (value, excerpt(value), &target.column.type_name);
    Reason {
        column: Some(target.column.name.clone()),
        field: Some(target.field + 1),
        help: if std::str::from_utf8(value_bytes).is_err() {
            "say with --encoding what the file is written in, or let --sniff find out".into()
        } else {
            "correct the value, or leave it empty for NULL".into()
        },
        ..Reason::new(format!("cannot read {value} as {type_name}: {expected}"))
    }
    .with_value(value)
}

/// Part of `value` could not be decoded.
fn wrong_bytes(record: Record<'_>, target: &Target, value: &[u8]) -> Reason {
    let (value, encoding) = (excerpt(value), record.encoding().name());
    Reason {
        column: Some(target.column.name.clone()),
        field: Some(target.field + 1),
        help: "correct it, or say with --encoding what the file is written in".into(),
        ..Reason::new(format!("{value} has bytes that are not {encoding}"))
    }
    .with_value(value)
}

fn wrong_field_count(record: Record<'_>, expected: usize) -> Reason {
    let (found, fields) = (record.len(), if record.len() == 1 { "field" } else { "fields" });
    let (reason, help) = if record.is_empty() {
        (format!("the line is empty, where {expected} fields were expected"), "remove the line")
    } else if found > expected {
        (
            format!("{found} {fields}, where {expected} were expected"),
            "put values that hold the delimiter in quotes: \"Washington, D.C.\"",
        )
    } else {
        (
            format!("{found} {fields}, where {expected} were expected"),
            "write every field, and nothing between the delimiters for NULL",
        )
    };
    Reason { help: help.into(), ..Reason::new(reason) }
}
