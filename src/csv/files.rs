//! Several files read as one: opened in turn, their fields in the order of the first header.

use std::collections::HashSet;
use std::io::Read;
use std::sync::Arc;

use encoding_rs::Encoding;
use memchr::{memchr_iter, memrchr};

use crate::csv::decompress::ByteSource;
use crate::csv::dialect::{Dialect, StrayQuotes};
use crate::csv::format::{FormatReader, InputFormat, Syntax, collect_keys, peek};
use crate::csv::input::Inputs;
use crate::csv::layout::{Layout, OwnHeader, Relation};
use crate::csv::piece::PiecePosition;
use crate::csv::reader::{Header, RecordReader};
use crate::csv::record::Record;
use crate::csv::replay::Replay;
use crate::csv::sniff::same::{check_same, header_differs};
use crate::csv::sniff::{Detect, HeaderVerdict, NUMBERS_MAY_BE_NAMES, SAMPLE_BYTES, Sniffed, sniff};
use crate::error::Location;
use crate::escape::escape;
use crate::{Error, Result};

/// Reads the records of all files, one file after another.
pub struct Files {
    inputs: Inputs,
    format: InputFormat,
    /// The index of the input being read.
    current: usize,
    records: FormatReader,
    /// The first header, or the union of all, and the name of the file it comes from.
    header: Option<(Header, String)>,
    /// Of the file being read.
    own_header: Arc<OwnHeader>,
    sniffed: Option<Sniffed>,
    /// What is known of how the files are written; `None` unless it is detected.
    sniffing: Option<Sniffing>,
    /// The first file, before it is decided whether its first record is a header.
    undecided: Option<ByteSource>,
    /// Fields of which the JSON text is wanted.
    json_fields: Vec<usize>,
    /// Records still to be passed over.
    to_skip: u64,
    /// Records that may still be returned.
    remaining: u64,
}

/// What the dialect of further files is compared with.
struct Sniffing {
    /// As the caller gave it.
    given: Dialect,
    /// What of it was to be detected.
    detect: Detect,
    /// The name of the file in which it was detected.
    first: String,
    /// A further file that has a header, if any.
    with_header: Option<String>,
}

/// The size of the samples of further files, in bytes.
const FURTHER_SAMPLE_BYTES: usize = 64 * 1024;

impl Files {
    /// Open the first of `inputs` and read its header. Empty files before the first header are skipped.
    ///
    /// If it is to be detected whether there is a header, [`Files::settle_header`] has to follow.
    ///
    /// # Errors
    /// When `inputs` is empty, when the dialect cannot be detected or contradicts the rest, and as [`Files::next_named`].
    pub fn open(inputs: Inputs, mut format: InputFormat) -> Result<Self> {
        if inputs.iter().len() == 0 {
            return Err(Error::usage("no input file given").with_help("name a file, or - for standard input"));
        }
        // What is only looked at need not be kept where it can be read again; it is then not counted as read.
        let is_reread = format.detect.is_any() && inputs.can_be_read_again();
        let looked_at = if is_reread { inputs.reopened() } else { inputs.clone() };
        let (mut current, source) = (0, looked_at.open(0)?);
        let mut source = format.detect_syntax(source, &inputs.name(0))?;
        let (mut sniffed, mut sniffing) = (None, None);
        if format.detect.is_any() {
            let sample;
            (current, sample, source) = first_sample(&looked_at, source)?;
            let name = inputs.name(current);
            let name = escape(&name).into_owned();
            let found = sniff(&name, &sample, &format.dialect, format.detect)?;
            let (given, detect) = (format.dialect.clone(), format.detect);
            format.dialect = found.dialect.clone();
            format.is_detected = format.detect.delimiter;
            // Who says to treat stray quotes as COPY does has decided what they are.
            let is_settled = !detect.stray_quotes && given.stray_quotes == StrayQuotes::Postgres;
            format.guards_quotes = detect.quote && !is_settled && !found.has_stray_quotes;
            format.detect = Detect { header: format.detect.header, ..Detect::NONE };
            sniffing = Some(Sniffing { given, detect, first: name, with_header: None });
            format.dialect.check()?;
            sniffed = Some(found);
            if !is_reread {
                source = Box::new(Replay::new(sample, source));
            }
        }
        if is_reread {
            // Those before the current one are empty.
            for index in 0..=current {
                source = inputs.open(index)?;
            }
        }
        let mut undecided = None;
        if format.detect.header {
            undecided = Some(std::mem::replace(&mut source, Box::new(std::io::empty())));
        }
        let records = records(source, &inputs, current, &format);
        let (to_skip, remaining) = (format.skip_rows, format.limit.unwrap_or(u64::MAX));
        let (header, json_fields) = (None, Vec::new());
        let mut files = Files {
            inputs,
            format,
            current,
            records,
            header,
            own_header: Arc::default(),
            sniffed,
            sniffing,
            undecided,
            json_fields,
            to_skip,
            remaining,
        };
        files.check_further_files()?;
        if files.undecided.is_none() {
            files.read_first_header()?;
        }
        Ok(files)
    }

    /// Check that all files that can be read again are written like the first, if it was detected how that is written.
    fn check_further_files(&mut self) -> Result<()> {
        if self.sniffing.is_none() {
            return Ok(());
        }
        // What is read here must not be counted as read.
        let inputs = self.inputs.reopened();
        for index in self.current + 1..inputs.iter().len() {
            if inputs.is_rereadable(index) {
                self.check_dialect(index, inputs.open(index)?)?;
            }
        }
        Ok(())
    }

    /// Check that `source`, the file at `index`, is written like the first, if it was detected how that is written. Return
    /// the source from its beginning.
    fn check_dialect(&mut self, index: usize, source: ByteSource) -> Result<ByteSource> {
        let (Some(sniffing), Some(sniffed)) = (&mut self.sniffing, &self.sniffed) else { return Ok(source) };
        let name = self.inputs.name(index);
        let name = escape(&name);
        let (sample, source) = peek(source, FURTHER_SAMPLE_BYTES, &name)?;
        let is_cut = sample.len() == FURTHER_SAMPLE_BYTES;
        let Sniffing { given, detect, first, with_header } = sniffing;
        let header = check_same((&name, &sample, is_cut), (first, sniffed), given, *detect)?;
        if header == HeaderVerdict::Yes {
            with_header.get_or_insert_with(|| name.into_owned());
        }
        Ok(source)
    }

    /// Decide whether the first record is a header, if that is to be detected: by `names`, those that a header may have, and
    /// by the records. Return what decided it, unless it was decided before.
    ///
    /// # Errors
    /// When nothing decides it, and as [`Files::open`].
    pub fn settle_header(&mut self, names: &[&str]) -> Result<Option<&'static str>> {
        let Some(source) = self.undecided.take() else { return Ok(None) };
        let sniffed = self.sniffed.as_mut().expect("a header is undecided only after sniffing");
        let reason = sniffed.decide_header(&escape(&self.inputs.name(self.current)), names)?;
        self.format.dialect.header = sniffed.dialect.header;
        if let Some(Sniffing { with_header: Some(name), first, .. }) = &self.sniffing
            && !sniffed.dialect.header
        {
            return Err(header_differs(name, first));
        }
        self.format.detect.header = false;
        self.records = records(source, &self.inputs, self.current, &self.format);
        self.read_first_header()?;
        Ok(Some(reason))
    }

    /// The same files, with every key in any of them as a field, if they are NDJSON of which no keys are named, and can be
    /// read again.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn with_all_keys(self) -> Result<Self> {
        if self.format.syntax != Syntax::Ndjson || !self.inputs.can_be_read_again() {
            return Ok(self);
        }
        let inputs = self.inputs.reopened();
        let mut keys = self.format.keys.clone();
        for index in 0..inputs.iter().len() {
            let (more, ended) = collect_keys(inputs.open(index)?, &inputs.name(index), &self.format);
            ended?;
            keys.extend(more);
        }
        let mut seen = HashSet::with_capacity(keys.len());
        keys.retain(|key| seen.insert(key.clone()));
        if keys == self.format.keys {
            return Ok(self);
        }
        Files::open(inputs.reopened(), InputFormat { keys, ..self.format })
    }

    /// Why the first record of the first file seems to be none of names although it is read as a header; `None` if it
    /// does not, or the file is not read as CSV with a header or cannot be read again.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn doubt_of_header(&self) -> Result<Option<&'static str>> {
        // The second part is for long records.
        const SAMPLE_PARTS: [u64; 2] = [16 * 1024, 48 * 1024];
        const SAMPLE_RECORDS: usize = 20;
        let InputFormat { dialect, syntax, detect, .. } = &self.format;
        let is_taken = *syntax == Syntax::Csv && dialect.header && !detect.header && self.sniffed.is_none();
        if !is_taken || self.inputs.iter().len() == 0 || !self.inputs.can_be_read_again() {
            return Ok(None);
        }
        let (inputs, name, mut sample) = (self.inputs.reopened(), self.inputs.name(0), Vec::new());
        let mut input = inputs.open(0)?;
        for bytes in SAMPLE_PARTS {
            let read = input.by_ref().take(bytes).read_to_end(&mut sample);
            let read = read.map_err(|error| Error::input(format!("failed to read {name}: {error}")))?;
            if (read as u64) < bytes || memchr_iter(b'\n', &sample).count() > SAMPLE_RECORDS {
                break;
            }
        }
        // What is cut off would be a short record.
        if sample.len() as u64 >= SAMPLE_PARTS[0]
            && let Some(end) = memrchr(b'\n', &sample)
        {
            sample.truncate(end + 1);
        }
        let detect = Detect { header: true, ..Detect::NONE };
        let sniffed = sniff(&name, &sample, dialect, detect).ok();
        Ok(sniffed.and_then(|sniffed| match (sniffed.header, sniffed.header_reason) {
            (HeaderVerdict::No, reason) => Some(reason),
            (_, NUMBERS_MAY_BE_NAMES) => Some("its numbers stand above numbers"),
            _ => None,
        }))
    }

    /// The header; `None` when the dialect has none or all files opened so far are empty.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref().map(|(header, _)| header)
    }

    /// Whether a header is expected but no file has one, which means that all files are empty.
    pub fn is_empty(&self) -> bool {
        self.format.dialect.header && self.header.is_none()
    }

    /// The dialect detected in the first file; `None` if nothing was to be detected.
    pub fn sniffed(&self) -> Option<&Sniffed> {
        self.sniffed.as_ref()
    }

    /// The inputs.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// The format in effect, including a detected dialect.
    pub fn format(&self) -> &InputFormat {
        &self.format
    }

    /// The format of records of the file being read by themselves, which may have any length.
    pub(crate) fn record_format(&self) -> InputFormat {
        let mut format = InputFormat { max_record_bytes: usize::MAX, ..self.format.clone() };
        format.dialect.encoding = self.encoding();
        format
    }

    /// The name of the file being read, for messages.
    pub fn name(&self) -> &str {
        self.records.name()
    }

    /// The encoding of the file being read. A byte order mark may determine it.
    pub fn encoding(&self) -> &'static Encoding {
        self.records.encoding()
    }

    /// The index of the input being read, from 0.
    pub fn current(&self) -> usize {
        self.current
    }

    /// The header under which the records of the file being read stand.
    pub(crate) fn own_header(&self) -> &Arc<OwnHeader> {
        &self.own_header
    }

    /// Whether any file has another record to return. Opens the next file where one ends, and passes over the records
    /// that are to be skipped.
    ///
    /// # Errors
    /// As [`Files::next_named`].
    #[inline]
    pub fn has_next(&mut self) -> Result<bool> {
        while !self.has_next_in_file()? {
            if self.remaining == 0 || !self.open_next_file()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the file being read has another record to return. Passes over the records that are to be skipped.
    ///
    /// # Errors
    /// As [`Records::next`](crate::csv::Records::next), and when a file that has ended was changed while it was read.
    #[inline]
    pub fn has_next_in_file(&mut self) -> Result<bool> {
        while self.remaining > 0 {
            if !self.records.has_next()? {
                self.inputs.check_unchanged(self.current)?;
                return Ok(false);
            }
            if self.to_skip == 0 {
                return Ok(true);
            }
            self.records.next_named()?;
            self.to_skip -= 1;
            self.inputs.pass_over();
        }
        Ok(false)
    }

    /// The next record of any file, and the name of that file; `None` after the last record of the last file. The fields
    /// are in the order of [`Files::header`].
    ///
    /// # Errors
    /// As [`Records::next`](crate::csv::Records::next), when a file cannot be opened, and when its header has other names than the first.
    #[inline]
    pub fn next_named(&mut self) -> Result<Option<(Record<'_>, &str)>> {
        if !self.has_next()? {
            return Ok(None);
        }
        self.remaining -= 1;
        self.records.next_named()
    }

    /// The next record of the file being read, of which [`Files::has_next`] knows that it may be returned; `None` at its
    /// end, and at the limit.
    ///
    /// # Errors
    /// As [`Records::next`](crate::csv::Records::next).
    #[expect(clippy::inline_always, reason = "each call that is left copies the record")]
    #[inline(always)]
    pub fn next_in_file(&mut self) -> Result<Option<Record<'_>>> {
        if self.remaining == 0 {
            return Ok(None);
        }
        if !self.records.read()? {
            return Ok(None);
        }
        self.remaining -= 1;
        Ok(Some(self.records.record()))
    }

    /// Cut off the next records of the file being read, for another thread to read; `None` if they have to be read here.
    ///
    /// # Errors
    /// When reading fails.
    pub(crate) fn cut_off(&mut self) -> Result<Option<Files>> {
        let FormatReader::Csv(records) = &mut self.records else { return Ok(None) };
        let Some(piece) = records.next_piece()? else { return Ok(None) };
        Ok(Some(Files {
            inputs: self.inputs.alone(self.current),
            format: self.format.clone(),
            current: 0,
            records: FormatReader::Csv(Box::new(records.of_piece(piece))),
            header: None,
            own_header: Arc::clone(&self.own_header),
            sniffed: None,
            sniffing: None,
            undecided: None,
            json_fields: Vec::new(),
            to_skip: 0,
            remaining: u64::MAX,
        }))
    }

    /// Of a piece that was cut off and of which nothing has been read, where it begins.
    pub(crate) fn piece_position(&self) -> PiecePosition {
        match &self.records {
            FormatReader::Csv(records) => records.position(),
            FormatReader::Ndjson(_) => PiecePosition::default(),
        }
    }

    /// Read a piece that was cut off again, from its beginning at `position`.
    pub(crate) fn rewind_piece(&mut self, position: PiecePosition) {
        if let FormatReader::Csv(records) = &mut self.records {
            records.rewind(position);
        }
    }

    /// Return the JSON text of the values of `fields` from now on, where the format is JSON.
    pub(crate) fn keep_json(&mut self, fields: &[usize]) {
        fields.clone_into(&mut self.json_fields);
        self.records.keep_json(fields);
    }

    /// Skip the rest of this file and open the next one; `false` when this is the last.
    ///
    /// # Errors
    /// When it cannot be opened, and when its header has other names than the first.
    pub fn open_next_file(&mut self) -> Result<bool> {
        let next = self.current + 1;
        if next == self.inputs.iter().len() {
            return Ok(false);
        }
        let mut source = self.inputs.open(next)?;
        if !self.inputs.is_rereadable(next) {
            source = self.check_dialect(next, source)?;
        }
        self.records = records(source, &self.inputs, next, &self.format);
        self.records.keep_json(&self.json_fields);
        self.current = next;
        self.read_header()?;
        Ok(true)
    }

    fn read_first_header(&mut self) -> Result<()> {
        if self.format.union_by_name && self.inputs.iter().len() > 1 {
            self.header = union_of_headers(&self.inputs, &self.format)?;
        }
        self.read_header()?;
        while self.header.is_none() && self.format.dialect.header && self.open_next_file()? {}
        Ok(())
    }

    /// Read the header of the file being read, and compare it with the first one.
    fn read_header(&mut self) -> Result<()> {
        if !self.format.dialect.header {
            return Ok(());
        }
        let Some(header) = self.records.header()? else { return Ok(()) };
        let InputFormat { union_by_name, pad, names, .. } = self.format;
        let Some((first, first_file)) = &self.header else {
            self.own_header = OwnHeader { raw: header.raw.clone(), layout: None }.into();
            self.header = Some((header, self.records.name().to_owned()));
            return Ok(());
        };
        match Layout::compare((&first.names, &header.names), names, union_by_name, pad) {
            Relation::Same => {
                // The bytes of a union are those of the first file, which may lack columns that this one has.
                let raw = if union_by_name { header.raw } else { first.raw.clone() };
                self.own_header = OwnHeader { raw, layout: None }.into();
                Ok(())
            }
            Relation::Reordered(layout) => {
                self.own_header = OwnHeader { raw: header.raw, layout: Some(layout.clone()) }.into();
                self.records.set_layout(layout);
                Ok(())
            }
            Relation::Different => Err(Error::input(format!(
                "{}, line {}: the header is {}, but that of {first_file} is {}",
                self.records.name(),
                header.line,
                header.names.join(","),
                first.names.join(",")
            ))
            .with_help(
                "files loaded together must have the same columns, in any order; --union-by-name also loads those that \
                 only some of the files have",
            )
            .at(Location::on_line(self.records.name(), header.line))),
        }
    }
}

/// The beginning of the first of `inputs` that is not empty, if any: its index, the sample, and what follows that. `source`
/// is the first input.
fn first_sample(inputs: &Inputs, mut source: ByteSource) -> Result<(usize, Vec<u8>, ByteSource)> {
    let mut current = 0;
    loop {
        // It would grow to twice its size.
        let mut sample = Vec::with_capacity(SAMPLE_BYTES);
        let read = source.by_ref().take(SAMPLE_BYTES as u64).read_to_end(&mut sample);
        read.map_err(|error| Error::input(format!("failed to read {}: {error}", inputs.name(current))))?;
        if !sample.is_empty() || current + 1 == inputs.iter().len() {
            return Ok((current, sample, source));
        }
        current += 1;
        source = inputs.open(current)?;
    }
}

/// The names in the headers of all `inputs`, each once and in the order in which they appear, and the first file that has
/// a header.
///
/// # Errors
/// When an input cannot be read twice, and as [`Records::header`].
fn union_of_headers(inputs: &Inputs, format: &InputFormat) -> Result<Option<(Header, String)>> {
    if !inputs.can_be_read_again() {
        return Err(Error::usage(
            "--union-by-name reads all headers first, which is not possible for a pipe",
        )
        .with_help("save it to a file first"));
    }
    // What is read here must not be counted as read.
    let inputs = inputs.reopened();
    let mut union: Option<(Header, String)> = None;
    for index in 0..inputs.iter().len() {
        let mut records = records(inputs.open(index)?, &inputs, index, format);
        let Some(header) = records.header()? else { continue };
        let Some((all, _)) = &mut union else {
            union = Some((header, records.name().to_owned()));
            continue;
        };
        for name in header.names {
            let key = format.names.key(&name);
            if !all.names.iter().any(|known| format.names.key(known) == key) {
                all.names.push(name);
            }
        }
    }
    Ok(union)
}

fn records(source: ByteSource, inputs: &Inputs, index: usize, format: &InputFormat) -> FormatReader {
    format.reader(source, &escape(&inputs.name(index)))
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files")
            .field("inputs", &self.inputs)
            .field("format", &self.format)
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}
