//! Encodes records as tuples, in chunks, on a dedicated thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;

use crate::csv::{BlankLines, Dialect, Field, Files, Notation, Record, StrayQuotes, excerpt};
use crate::encode::{Encoder, Refusal, SHORT};
use crate::load::chunk::Chunk;
use crate::load::chunk::builder::{CarriedTuple, ChunkBuilder, SourceRecord};
use crate::load::chunk::findings::{Findings, TextFallback};
use crate::load::chunk::reasons::{stray_quote, wrong_field_count, wrong_value};
use crate::load::chunk::rejected::{Reason, Reject};
use crate::load::chunk::section::{OpenSection, Section, SectionLimit};
use crate::load::mapping::{ColumnMapping, MappedColumn, ValueFormat, ValueSource};
use crate::load::options::{DateStyle, InputOptions, Mode};
use crate::load::spelling::Conversion;
use crate::progress::Progress;
use crate::{Error, Result};

/// How to encode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EncodePlan {
    /// Maximum number of rows in a chunk.
    pub chunk_rows: usize,
    /// How the tuples are written.
    pub mode: Mode,
    /// Whether chunks carry bad records along with their tuples; otherwise the first bad record is an error.
    pub rejecting: bool,
    /// How dates are to be read; `None` as the session does.
    pub date_style: Option<DateStyle>,
    /// What to do with blank lines.
    pub blank_lines: Option<BlankLines>,
    /// What to do with stray quotes.
    pub stray_quotes: StrayQuotes,
    /// Whether the delimiter was detected.
    pub is_detected: bool,
    /// Whether the fields that a short record lacks at its end are NULL.
    pub pad: bool,
    /// The number of threads that encode.
    pub threads: usize,
}

impl EncodePlan {
    /// The plan for `input`.
    pub(crate) fn new(input: &InputOptions, chunk_rows: usize, rejecting: bool) -> EncodePlan {
        let (dialect, pad) = (&input.format.dialect, input.format.pad);
        EncodePlan {
            chunk_rows,
            mode: input.mode,
            rejecting,
            date_style: input.date_style,
            blank_lines: dialect.blank_lines,
            stray_quotes: dialect.stray_quotes,
            is_detected: input.format.is_detected,
            pad,
            threads: input.threads,
        }
    }
}

/// Encodes the records of a load's files.
#[derive(Debug)]
pub(crate) struct ChunkEncoder {
    pub(super) files: Files,
    pub(super) mapping: Arc<ColumnMapping>,
    pub(super) plan: EncodePlan,
    pub(super) formats: Arc<[ValueFormat]>,
    pub(super) findings: Findings,
    /// Whether the server reads dates, in an order of day, month and year that nobody has chosen for this load.
    watches_dates: bool,
    carried: Option<CarriedTuple>,
    scratch: Scratch,
    /// Records in the unfinished chunk, including the bad one that ended it.
    pub(super) unsent: usize,
    /// What is encoded next; `None` to encode everything.
    pub(super) section: Option<OpenSection>,
    /// Time spent reading and decompressing what was encoded.
    pub(super) read_time: Duration,
    /// Time spent splitting and encoding records; of several threads, their mean.
    pub(super) encode_time: Duration,
}

/// Values that are not in the record as the encoders need them.
#[derive(Debug, Default)]
struct Scratch {
    unquoted: Vec<u8>,
    converted: Vec<u8>,
}

/// What an encoder tells at its end.
#[derive(Debug, Default)]
pub(crate) struct EncoderSummary {
    /// What was noticed in the files.
    pub findings: Findings,
    /// Time spent reading and decompressing, in seconds.
    pub read_seconds: f64,
    /// Time spent splitting and encoding records, in seconds. The rest of its life it waited for the writers.
    pub encode_seconds: f64,
    /// Time from the end of the chunks until the server had confirmed all rows, in seconds; 0 where that is not known.
    pub confirm_seconds: f64,
}

/// The result of encoding a record.
enum RecordOutcome {
    Encoded,
    Rejected(Box<Reject>),
    /// From this record on, the server has to parse the column at this index, because of this value.
    NeedsServer(usize, String),
}

impl ChunkEncoder {
    /// Prepare to encode `files` as `mapping` and `plan` say.
    pub(crate) fn new(mut files: Files, mapping: Arc<ColumnMapping>, plan: EncodePlan) -> Self {
        files.keep_json(&mapping.json_fields());
        let formats = mapping.formats(plan.mode);
        ChunkEncoder::with_formats(files, mapping, plan, formats)
    }

    /// As [`ChunkEncoder::new`], with these `formats` from the first record on.
    pub(super) fn with_formats(
        files: Files,
        mapping: Arc<ColumnMapping>,
        plan: EncodePlan,
        formats: Arc<[ValueFormat]>,
    ) -> Self {
        // As the files are read, which may have been detected.
        let format = files.format();
        let Dialect { blank_lines, stray_quotes, .. } = format.dialect;
        let plan = EncodePlan { blank_lines, stray_quotes, is_detected: format.is_detected, ..plan };
        let watches_dates = watches_dates(&mapping, &formats, plan);
        ChunkEncoder {
            files,
            mapping,
            plan,
            formats,
            findings: Findings::default(),
            watches_dates,
            carried: None,
            scratch: Scratch::default(),
            unsent: 0,
            section: None,
            read_time: Duration::ZERO,
            encode_time: Duration::ZERO,
        }
    }

    /// Write the tuples in these `formats` from now on.
    pub(super) fn use_formats(&mut self, formats: Arc<[ValueFormat]>) {
        self.formats = formats;
        self.watches_dates = watches_dates(&self.mapping, &self.formats, self.plan);
    }

    /// What it tells at its end.
    pub(crate) fn into_summary(self) -> EncoderSummary {
        EncoderSummary {
            findings: self.findings,
            read_seconds: self.read_time.as_secs_f64(),
            encode_seconds: self.encode_time.as_secs_f64(),
            confirm_seconds: 0.0,
        }
    }

    /// Begin a section at the next record, to which encoding is then limited; `false` at the end of the input.
    ///
    /// # Errors
    /// When the input cannot be read.
    pub(crate) fn begin_section(&mut self, limit: SectionLimit) -> Result<bool> {
        self.section = None;
        let has_next = self.files.has_next()?;
        self.section = has_next.then(|| OpenSection::new(self.files.name(), limit));
        Ok(has_next)
    }

    /// Read the section that was begun to its end, without encoding it.
    ///
    /// # Errors
    /// When the input cannot be read, or `progress` is cancelled.
    pub(crate) fn skip_section(&mut self, progress: &Progress) -> Result<Section> {
        while self.has_next()? {
            if let (Some(record), Some(section)) = (self.files.next_in_file()?, &mut self.section) {
                section.add(record);
            }
            if progress.is_cancelled() {
                return Err(Error::interrupted());
            }
        }
        progress.add(0, self.files.inputs().consumed().saturating_sub(progress.bytes()));
        Ok(self.end_section())
    }

    /// The section that was begun and has been read.
    pub(crate) fn end_section(&mut self) -> Section {
        self.section.take().expect("a section was begun").finish()
    }

    /// Whether there is another record to encode. Opens the next file where one ends, unless a section ends there.
    fn has_next(&mut self) -> Result<bool> {
        match &self.section {
            Some(section) if section.is_full() => Ok(false),
            Some(section) if !section.is_empty() => self.files.has_next_in_file(),
            _ => self.files.has_next(),
        }
    }

    /// Encode all records, or those of the section that was begun, and send the chunks to `chunks`; after an error
    /// nothing follows. Return the encoder, for the next section.
    ///
    /// Also end when the receiver is dropped, which then knows the reason.
    pub(crate) fn run(mut self, progress: &Progress, chunks: &Sender<Result<Chunk>>) -> Self {
        // What several threads cannot, one does.
        if !self.is_parallel() || self.encode_in_parallel(progress, chunks) {
            self.encode_alone(progress, chunks);
        }
        self
    }

    /// As [`ChunkEncoder::run`], on this thread.
    fn encode_alone(&mut self, progress: &Progress, chunks: &Sender<Result<Chunk>>) {
        let (started, mut waited) = (Instant::now(), Duration::ZERO);
        let read_before = self.files.inputs().read_time();
        loop {
            let chunk = match self.next_chunk() {
                Ok(None) => break,
                Ok(Some(_)) if progress.is_cancelled() => Err(Error::interrupted()),
                Ok(Some(chunk)) => Ok(chunk),
                Err(error) => Err(error),
            };
            let last = chunk.is_err();
            let rows = chunk.as_ref().map_or(self.unsent, |chunk| chunk.rows() + chunk.rejects.len());
            progress.add(rows as u64, self.files.inputs().consumed().saturating_sub(progress.bytes()));
            let sending = Instant::now();
            let is_closed = chunks.blocking_send(chunk).is_err();
            waited += sending.elapsed();
            if is_closed || last {
                break;
            }
        }
        let read = self.files.inputs().read_time().saturating_sub(read_before);
        self.read_time += read;
        self.encode_time += started.elapsed().saturating_sub(waited + read);
    }

    /// Encode the first record of each file; return the errors, and the columns that the server has to parse.
    ///
    /// End at the first file that cannot be opened, or whose header differs.
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
        (problems, self.findings.text_fallbacks)
    }

    /// Encode the next chunk; `None` at the end of the input.
    ///
    /// # Errors
    /// When the input cannot be read, and at the first bad record unless the plan is to set it aside.
    pub(crate) fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let carried = self.carried.take();
        if carried.is_none() && !self.has_next()? {
            return Ok(None);
        }
        let mut chunk = ChunkBuilder::new(&self.files, &self.formats, self.plan.mode, self.plan.rejecting);
        if let Some(carried) = carried {
            chunk.tuples = carried.tuple;
            chunk.add(&carried.source);
        }
        while !chunk.is_full(self.plan.chunk_rows) && !self.section.as_ref().is_some_and(OpenSection::is_full)
        {
            let Some(record) = self.files.next_in_file()? else { break };
            if let Some(section) = &mut self.section {
                section.add(record);
            }
            let start = chunk.tuples.len();
            let rules = RecordRules { mapping: &self.mapping, plan: &self.plan, file: &chunk.file };
            let outcome = loop {
                match rules.encode(&record, &self.formats, &mut chunk.tuples, &mut self.scratch) {
                    RecordOutcome::NeedsServer(index, value) => {
                        chunk.tuples.truncate(start);
                        self.formats = fall_back_to_text(&self.formats, index, self.plan.mode == Mode::Copy);
                        self.watches_dates = watches_dates(&self.mapping, &self.formats, self.plan);
                        let file = chunk.file.to_string();
                        let fallback = TextFallback { index, file, line: record.line, value };
                        self.findings.text_fallbacks.push(fallback);
                    }
                    outcome => break outcome,
                }
            };
            if record.stray_fields().count > 0 {
                let are_kept = self.plan.stray_quotes != StrayQuotes::Postgres;
                self.findings.stray_quotes.add(&record, &chunk.file, are_kept);
            }
            if let RecordOutcome::Rejected(reject) = outcome {
                chunk.tuples.truncate(start);
                if !self.plan.rejecting {
                    self.unsent = chunk.records() + 1;
                    return Err(reject.into_error());
                }
                chunk.add_reject(*reject);
                continue;
            }
            self.findings.padded += u64::from(record.len() < self.mapping.fields || record.is_short());
            if self.watches_dates {
                self.findings.ambiguous_dates.observe(&record, &chunk.file, &self.mapping, &self.formats);
            }
            if chunk.is_empty() {
                chunk.formats = Arc::clone(&self.formats);
            }
            let source = SourceRecord::new(&record);
            if chunk.formats != self.formats || !chunk.add(&source) {
                // It does not fit this chunk: the next one begins with it.
                let source = source.into_owned();
                self.carried = Some(CarriedTuple { tuple: chunk.tuples.split_off(start), source });
                break;
            }
        }
        Ok(Some(chunk.finish()))
    }
}

/// `formats` with text for column `index`, or for all columns if they must have one format.
fn fall_back_to_text(formats: &[ValueFormat], index: usize, one_format: bool) -> Arc<[ValueFormat]> {
    let text = |(column, format): (usize, &ValueFormat)| {
        if one_format || column == index { ValueFormat::Text } else { *format }
    };
    formats.iter().enumerate().map(text).collect()
}

/// Whether the server reads dates of `mapping`, because `formats` says so, in an order that `plan` leaves to the session.
fn watches_dates(mapping: &ColumnMapping, formats: &[ValueFormat], plan: EncodePlan) -> bool {
    let is_watched =
        |(mapped, format): (&MappedColumn, &ValueFormat)| *format == ValueFormat::Text && mapped.is_date();
    plan.date_style.is_none()
        && plan.mode != Mode::Null
        && mapping.columns.iter().zip(formats).any(is_watched)
}

/// How the records of a file are encoded.
struct RecordRules<'a> {
    mapping: &'a ColumnMapping,
    plan: &'a EncodePlan,
    file: &'a Arc<str>,
}

impl RecordRules<'_> {
    /// Append `record` to `tuples`; unless it is encoded, the caller has to truncate what was appended.
    fn encode(
        &self,
        record: &Record<'_>,
        formats: &[ValueFormat],
        tuples: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> RecordOutcome {
        let RecordRules { mapping, file, .. } = self;
        let reject = |reason: Reason| reject(record, file, reason);
        if let Some(reason) = self.refuse(record) {
            return reject(reason);
        }
        // A table has at most 1,600 columns.
        tuples.extend_from_slice(&(mapping.columns.len() as i16).to_be_bytes());
        for (index, (mapped, format)) in mapping.columns.iter().zip(formats).enumerate() {
            let Scratch { unquoted, converted } = scratch;
            let field = match &mapped.source {
                ValueSource::Field(field) if *field < record.len() => record.field(*field, unquoted),
                ValueSource::Field(_) => Field::Null,
                added => Field::Value(added_value(added, record, file, unquoted)),
            };
            let Field::Value(value) = field else {
                tuples.extend_from_slice(&(-1_i32).to_be_bytes());
                continue;
            };
            let usual = match &mapped.conversion {
                None => {
                    if let (ValueSource::Field(field), Some(encoder), ValueFormat::Binary) =
                        (&mapped.source, &mapped.encoder, format)
                        && let Some(window) = record.window::<SHORT>(*field)
                        && encoder.encode_short(window, value.len(), tuples)
                    {
                        continue;
                    }
                    value
                }
                Some(conversion) => match convert(conversion, record, &mapped.source, value, converted) {
                    Ok(usual) => usual,
                    Err(expected) => return reject(wrong_value(record, mapped, value, &expected)),
                },
            };
            let length_at = tuples.len();
            tuples.extend_from_slice(&[0; 4]);
            let encoded = match (&mapped.encoder, format) {
                (Some(encoder), ValueFormat::Binary) => encoder.encode(usual, tuples),
                (encoder, _) => encode_as_text(encoder.as_ref(), usual, tuples),
            };
            match encoded {
                Ok(()) => {
                    // A long array may be several times as long when it is encoded.
                    let Ok(length) = i32::try_from(tuples.len() - length_at - 4) else {
                        return reject(wrong_value(record, mapped, value, "a value of less than 2 GiB"));
                    };
                    tuples[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
                }
                Err(Refusal::NeedsServer) => return RecordOutcome::NeedsServer(index, excerpt(value)),
                Err(Refusal::Invalid(expected)) => {
                    return reject(wrong_value(record, mapped, value, &expected));
                }
            }
        }
        RecordOutcome::Encoded
    }

    /// Why `record` as a whole is refused; `None` if it is not.
    #[inline]
    fn refuse(&self, record: &Record<'_>) -> Option<Reason> {
        let is_usual = record.len() == self.mapping.fields
            && record.misfit().is_none()
            && !record.is_empty()
            && record.stray_fields().count == 0;
        if is_usual { None } else { self.refuse_unusual(record) }
    }

    /// As [`RecordRules::refuse`], of a record that something is special about.
    #[inline(never)]
    fn refuse_unusual(&self, record: &Record<'_>) -> Option<Reason> {
        let RecordRules { mapping, plan, .. } = self;
        let is_short = record.len() < mapping.fields || record.is_short();
        // Nobody who asks for padding means every blank line.
        let may_be_short =
            plan.pad && record.defect().is_none() && !(record.is_empty() && plan.blank_lines.is_none());
        let is_wrong = record.len() > mapping.fields || record.misfit().is_some();
        if is_wrong || (is_short && !may_be_short) {
            let expected = record.misfit().unwrap_or(mapping.fields);
            let reason = wrong_field_count(record, expected, mapping.is_positional, plan.is_detected);
            return Some(reason);
        }
        if record.is_empty() && plan.blank_lines == Some(BlankLines::Error) {
            let help = "remove the line, or choose --blank-lines row or skip".into();
            return Some(Reason { help, ..Reason::new("the line is blank".into()) });
        }
        if record.stray_fields().count > 0 && plan.stray_quotes == StrayQuotes::Reject {
            return Some(stray_quote(record));
        }
        None
    }
}

/// The value of a column that is not in the file, for `record` of `file`.
#[cold]
fn added_value<'a>(
    source: &'a ValueSource,
    record: &Record<'_>,
    file: &'a str,
    scratch: &'a mut Vec<u8>,
) -> &'a [u8] {
    match source {
        ValueSource::File => file.as_bytes(),
        ValueSource::Constant(text) | ValueSource::Now(text) => text,
        ValueSource::Line | ValueSource::Field(_) => {
            scratch.clear();
            scratch.extend_from_slice(itoa::Buffer::new().format(record.line).as_bytes());
            scratch
        }
    }
}

/// The `value` of a field of `record`, from `source`, in the spelling that the encoders read. Kept out of the loop over the
/// fields, because few columns have a conversion.
#[inline(never)]
fn convert<'a>(
    conversion: &Conversion,
    record: &Record<'_>,
    source: &ValueSource,
    value: &'a [u8],
    converted: &'a mut Vec<u8>,
) -> Result<&'a [u8], String> {
    match source {
        // Numbers of JSON have one spelling, whatever that of other values is.
        ValueSource::Field(field) if record.notation(*field) == Notation::Scalar => Ok(value),
        _ => conversion.apply(value, converted),
    }
}

/// The rejection of `record` for `reason`.
fn reject(record: &Record<'_>, file: &Arc<str>, reason: Reason) -> RecordOutcome {
    RecordOutcome::Rejected(Box::new(Reject {
        file: Arc::clone(file),
        first_line: record.line,
        last_line: record.last_line,
        byte_offset: record.offset,
        reason,
        raw: bytes::Bytes::copy_from_slice(record.raw()),
    }))
}

/// Append `value` as text for the server to parse, unless `encoder` is certain that it is invalid.
fn encode_as_text(encoder: Option<&Encoder>, value: &[u8], tuples: &mut Vec<u8>) -> Result<(), Refusal> {
    Encoder::Text.encode(value, tuples)?;
    let Some(encoder) = encoder else { return Ok(()) };
    let end = tuples.len();
    let checked = encoder.encode(value, tuples);
    tuples.truncate(end);
    match checked {
        Err(Refusal::Invalid(expected)) => Err(Refusal::Invalid(expected)),
        _ => Ok(()),
    }
}
