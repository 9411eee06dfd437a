//! Several files as one: opened in turn, each with the header of the first.

use std::io::{Cursor, Read as _};

use encoding_rs::Encoding;

use crate::csv::dialect::Dialect;
use crate::csv::input::{Inputs, Source};
use crate::csv::record::Record;
use crate::csv::records::{Header, Records};
use crate::csv::sniff::{SAMPLE_BYTES, Sniffed, sniff};
use crate::{Error, Result};

/// How files are to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// How they are written; where `sniff` is set, only its null text counts.
    pub dialect: Dialect,
    /// Find out from the first file how they are written.
    pub sniff: bool,
    /// The longest record, in bytes.
    pub max_record_bytes: usize,
}

/// The records of all files, one file at a time.
pub struct Files {
    inputs: Inputs,
    format: Format,
    /// Which of the inputs is being read.
    current: usize,
    records: Records<Source>,
    /// The first header, and the file that has it.
    header: Option<(Header, String)>,
    sniffed: Option<Sniffed>,
}

impl Files {
    /// Open the first of `inputs` and read its header; where it is empty, the next one.
    ///
    /// # Errors
    /// When there are no inputs, and as [`Files::next_named`].
    pub fn open(inputs: Inputs, mut format: Format) -> Result<Self> {
        if inputs.iter().len() == 0 {
            return Err(
                Error::usage("there is no file to read").with_help("name one, or - for standard input")
            );
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
        while files.header.is_none() && files.format.dialect.header && files.open_next()? {}
        Ok(files)
    }

    /// The names of the columns; `None` when there is no header, because none is expected or all files are
    /// empty.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref().map(|(header, _)| header)
    }

    /// Whether no file has the header that is expected, and so no file has anything.
    pub fn is_empty(&self) -> bool {
        self.format.dialect.header && self.header.is_none()
    }

    /// What was found out about the first file, if that was asked for.
    pub fn sniffed(&self) -> Option<&Sniffed> {
        self.sniffed.as_ref()
    }

    /// What is read.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// How it is read.
    pub fn format(&self) -> &Format {
        &self.format
    }

    /// What errors call the file that is being read.
    pub fn name(&self) -> &str {
        self.records.name()
    }

    /// What the file that is being read is written in, which its byte order mark may have said.
    pub fn encoding(&self) -> &'static Encoding {
        self.records.encoding()
    }

    /// Which of the inputs is being read, from 0.
    pub fn current(&self) -> usize {
        self.current
    }

    /// Whether there is another record in any file; opens the next file where one ends.
    ///
    /// # Errors
    /// As [`Files::next_named`].
    #[inline]
    pub fn has_next(&mut self) -> Result<bool> {
        while !self.records.has_next()? {
            if !self.open_next()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The next record of any file, and what errors call that file.
    ///
    /// # Errors
    /// As [`Records::next`], when a file cannot be opened, and when its header is not that of the first.
    #[inline]
    pub fn next_named(&mut self) -> Result<Option<(Record<'_>, &str)>> {
        if !self.has_next()? {
            return Ok(None);
        }
        self.records.next_named()
    }

    /// The next record of the file that is being read; `None` at its end.
    ///
    /// # Errors
    /// As [`Records::next`].
    #[inline]
    pub fn next_here(&mut self) -> Result<Option<Record<'_>>> {
        self.records.next()
    }

    /// Go on with the next file, whatever is left of this one; `false` when there is none.
    ///
    /// # Errors
    /// When it cannot be opened, and when its header is not that of the first.
    pub fn open_next(&mut self) -> Result<bool> {
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
                .with_help("files that are loaded together have the same columns in the same order"));
            }
            Some(_) => {}
        }
        Ok(())
    }
}

fn records(source: Source, inputs: &Inputs, index: usize, format: &Format) -> Records<Source> {
    Records::new(source, &inputs.name(index), format.dialect.clone(), format.max_record_bytes)
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
