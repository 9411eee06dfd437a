//! What the readers of all formats have in common.

use encoding_rs::Encoding;

use crate::Result;
use crate::csv::layout::Layout;
use crate::csv::record::Record;

/// Reads the records of one file, in the format in which it is written.
pub(crate) trait RecordReader: Send {
    /// The name of the input, for messages.
    fn name(&self) -> &str;

    /// The encoding of the input. A byte order mark may change it when the first record is read.
    fn encoding(&self) -> &'static Encoding;

    /// The names of the fields; `None` when there is no record.
    ///
    /// # Errors
    /// As [`RecordReader::read`], and when a name is not valid in the encoding.
    fn header(&mut self) -> Result<Option<Header>>;

    /// Whether there is another record.
    ///
    /// # Errors
    /// As [`RecordReader::read`].
    fn has_next(&mut self) -> Result<bool>;

    /// Read the next record; `false` at the end of the input.
    ///
    /// # Errors
    /// When reading fails, and where the bytes cannot be divided into records.
    fn read(&mut self) -> Result<bool>;

    /// The record that was read last. It is made where it is used, because a function that returned it with an error, as
    /// [`RecordReader::next_named`] does, would copy it several times.
    fn record(&self) -> Record<'_>;

    /// The next record, and the name of the input; `None` at its end.
    ///
    /// # Errors
    /// As [`RecordReader::read`].
    fn next_named(&mut self) -> Result<Option<(Record<'_>, &str)>> {
        Ok(if self.read()? { Some((self.record(), self.name())) } else { None })
    }

    /// Put the fields of all records from now on into the order of `layout`.
    fn set_layout(&mut self, layout: Layout);

    /// Return the JSON text of the values of `fields` from now on, with the quotes of strings. A format without JSON has
    /// none.
    fn keep_json(&mut self, fields: &[usize]);
}

/// The first record of a file, which names the columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The names as written, unquoted; an empty string where a name is missing.
    pub names: Vec<String>,
    /// The line on which it begins, from 1.
    pub line: u64,
    /// Its bytes as in the file, including the line ending.
    pub raw: Vec<u8>,
}
