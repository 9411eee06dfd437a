//! Several files read as one: opened in turn, each with the header of the first.

use std::io::{Cursor, Read as _};

use encoding_rs::Encoding;

use crate::csv::decompress::ByteSource;
use crate::csv::dialect::Dialect;
use crate::csv::input::Inputs;
use crate::csv::record::Record;
use crate::csv::records::{Header, Records};
use crate::csv::sniff::{SAMPLE_BYTES, Sniffed, sniff};
use crate::error::Location;
use crate::escape::escape;
use crate::{Error, Result};

/// How to read the input files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFormat {
    /// The dialect of the files. With `sniff`, only its null text is used.
    pub dialect: Dialect,
    /// Detect the dialect from the beginning of the first file.
    pub sniff: bool,
    /// Refuse longer records, in bytes.
    pub max_record_bytes: usize,
}

/// Reads the records of all files, one file after another.
pub struct Files {
    inputs: Inputs,
    format: InputFormat,
    /// The index of the input being read.
    current: usize,
    records: Records<ByteSource>,
    /// The first header, and the name of the file it comes from.
    header: Option<(Header, String)>,
    sniffed: Option<Sniffed>,
}

impl Files {
    /// Open the first of `inputs` and read its header. Empty files before the first header are skipped.
    ///
    /// # Errors
    /// When `inputs` is empty, when the detected dialect contradicts the null text, and as [`Files::next_named`].
    pub fn open(inputs: Inputs, mut format: InputFormat) -> Result<Self> {
        if inputs.iter().len() == 0 {
            return Err(Error::usage("no input file given").with_help("name a file, or - for standard input"));
        }
        let mut source = inputs.open(0)?;
        let mut sniffed = None;
        if format.sniff {
            let mut sample = Vec::new();
            let name = inputs.name(0);
            let read = source.by_ref().take(SAMPLE_BYTES as u64).read_to_end(&mut sample);
            read.map_err(|error| Error::input(format!("failed to read {name}: {error}")))?;
            let found = sniff(&sample);
            format.dialect = Dialect { null: format.dialect.null, ..found.dialect.clone() };
            format.dialect.check()?;
            sniffed = Some(found);
            source = Box::new(Cursor::new(sample).chain(source));
        }
        let records = records(source, &inputs, 0, &format);
        let mut files = Files { inputs, format, current: 0, records, header: None, sniffed };
        files.read_header()?;
        while files.header.is_none() && files.format.dialect.header && files.open_next_file()? {}
        Ok(files)
    }

    /// The header; `None` when the dialect has none or all files opened so far are empty.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref().map(|(header, _)| header)
    }

    /// Whether a header is expected but no file has one, which means that all files are empty.
    pub fn is_empty(&self) -> bool {
        self.format.dialect.header && self.header.is_none()
    }

    /// The dialect detected in the first file; `None` without [`InputFormat::sniff`].
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

    /// Whether any file has another record. Opens the next file where one ends.
    ///
    /// # Errors
    /// As [`Files::next_named`].
    #[inline]
    pub fn has_next(&mut self) -> Result<bool> {
        while !self.records.has_next()? {
            self.inputs.check_unchanged(self.current)?;
            if !self.open_next_file()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The next record of any file, and the name of that file; `None` after the last record of the last file.
    ///
    /// # Errors
    /// As [`Records::next`], when a file cannot be opened, and when its header differs from the first.
    #[inline]
    pub fn next_named(&mut self) -> Result<Option<(Record<'_>, &str)>> {
        if !self.has_next()? {
            return Ok(None);
        }
        self.records.next_named()
    }

    /// The next record of the file being read; `None` at its end.
    ///
    /// # Errors
    /// As [`Records::next`].
    #[inline]
    pub fn next_in_file(&mut self) -> Result<Option<Record<'_>>> {
        self.records.next()
    }

    /// Skip the rest of this file and open the next one; `false` when this is the last.
    ///
    /// # Errors
    /// When it cannot be opened, and when its header differs from the first.
    pub fn open_next_file(&mut self) -> Result<bool> {
        let next = self.current + 1;
        if next == self.inputs.iter().len() {
            return Ok(false);
        }
        self.records = records(self.inputs.open(next)?, &self.inputs, next, &self.format);
        self.current = next;
        self.read_header()?;
        Ok(true)
    }

    fn read_header(&mut self) -> Result<()> {
        if !self.format.dialect.header {
            return Ok(());
        }
        let Some(header) = self.records.header()? else { return Ok(()) };
        match &self.header {
            None => self.header = Some((header, self.records.name().to_owned())),
            Some((first, first_file)) if header.names != first.names => {
                return Err(Error::input(format!(
                    "{}, line {}: the header is {}, but that of {first_file} is {}",
                    self.records.name(),
                    header.line,
                    header.names.join(","),
                    first.names.join(",")
                ))
                .with_help("files loaded together must have the same columns in the same order")
                .at(Location::on_line(self.records.name(), header.line)));
            }
            Some(_) => {}
        }
        Ok(())
    }
}

fn records(source: ByteSource, inputs: &Inputs, index: usize, format: &InputFormat) -> Records<ByteSource> {
    Records::new(source, &escape(&inputs.name(index)), format.dialect.clone(), format.max_record_bytes)
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
