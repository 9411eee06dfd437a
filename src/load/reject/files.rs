//! The two files for rejected rows.
//!
//! `FILE.csv` gets the header and the original bytes of each row, so that it can be loaded with the same options once
//! the rows are corrected; `FILE.log.jsonl` gets one JSON object per row, with its position and the reason.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};

use crate::Result;
use crate::load::chunk::rejected::Reject;
use crate::output_file::AtomicFile;

/// Writes rejected rows to two files, which appear under their names once complete, and only if a row was rejected.
#[derive(Debug)]
pub(crate) struct RejectFiles {
    csv: AtomicFile,
    log: AtomicFile,
    csv_path: PathBuf,
    marks: EncodedMarks,
    /// The line ending of the first record that has one, which all records get: input files may differ, but within a
    /// file all are to be the same. `None` before that record.
    line_end: Option<Vec<u8>>,
    /// Number of rows written.
    written: u64,
}

/// The byte order mark and line ending characters in an encoding.
#[derive(Debug, Clone, Copy)]
struct EncodedMarks {
    /// Empty except in UTF-16.
    byte_order_mark: &'static [u8],
    line_feed: &'static [u8],
    carriage_return: &'static [u8],
}

impl EncodedMarks {
    fn new(encoding: &'static Encoding) -> Self {
        let (byte_order_mark, line_feed, carriage_return): (&[u8], &[u8], &[u8]) = if encoding == UTF_16LE {
            (b"\xff\xfe", b"\n\0", b"\r\0")
        } else if encoding == UTF_16BE {
            (b"\xfe\xff", b"\0\n", b"\0\r")
        } else {
            (b"", b"\n", b"\r")
        };
        EncodedMarks { byte_order_mark, line_feed, carriage_return }
    }

    /// Split `record` into its content and its line ending, which is empty if it has none, as in the last record of a file.
    fn split_line_end(self, record: &[u8]) -> (&[u8], &[u8]) {
        let line = record.strip_suffix(self.line_feed).unwrap_or(record);
        let line = line.strip_suffix(self.carriage_return).unwrap_or(line);
        record.split_at(line.len())
    }
}

impl RejectFiles {
    /// Create `csv_path`, for rows in `encoding`, and its log, before anything is loaded, so that a bad path fails
    /// early.
    ///
    /// # Errors
    /// When one of them cannot be created.
    pub(crate) fn create(csv_path: &Path, encoding: &'static Encoding) -> Result<Self> {
        let create = |path: &Path| {
            AtomicFile::create_private("rejects file", path)
                .map_err(|error| error.with_help("choose another path with --rejects"))
        };
        Ok(RejectFiles {
            csv: create(csv_path)?,
            log: create(&log_path(csv_path))?,
            csv_path: csv_path.to_owned(),
            marks: EncodedMarks::new(encoding),
            line_end: None,
            written: 0,
        })
    }

    /// Write `reject`, after `header` if it is the first one.
    ///
    /// # Errors
    /// When writing fails, for example because the disk is full.
    pub(crate) fn write(&mut self, header: &[u8], reject: &Reject) -> Result<()> {
        self.write_record(header, &reject.raw, &reject.log_line())
    }

    /// Write the bytes of a rejected record, after `header` if it is the first one, and its line of the log.
    ///
    /// # Errors
    /// As [`RejectFiles::write`].
    pub(crate) fn write_record(&mut self, header: &[u8], raw: &[u8], log_line: &str) -> Result<()> {
        let (header, header_end) = self.marks.split_line_end(header);
        let (record, record_end) = self.marks.split_line_end(raw);
        let own_end = if header_end.is_empty() { record_end } else { header_end };
        if self.line_end.is_none() && !own_end.is_empty() {
            self.line_end = Some(own_end.to_owned());
        }
        let end = self.line_end.as_deref().unwrap_or(self.marks.line_feed);
        let mut parts = vec![record, end];
        if self.written == 0 {
            let header = if header.is_empty() { [header, header] } else { [header, end] };
            parts = [&[self.marks.byte_order_mark][..], &header, &parts].concat();
        }
        let csv = parts.iter().try_for_each(|part| self.csv.write_all(part));
        csv.map_err(|error| self.csv.failed(error))?;
        writeln!(self.log, "{log_line}").map_err(|error| self.log.failed(error))?;
        self.written += 1;
        Ok(())
    }

    /// Complete the files, and return the path of the CSV; `None`, and no files, if no row was rejected.
    ///
    /// # Errors
    /// When writing fails.
    pub(crate) fn finish(self) -> Result<Option<PathBuf>> {
        if self.written == 0 {
            return Ok(None);
        }
        self.csv.finish()?;
        self.log.finish()?;
        Ok(Some(self.csv_path))
    }
}

/// The path of the log that accompanies the rejects file `csv_path`: the same, with the extension `log.jsonl`.
pub fn log_path(csv_path: &Path) -> PathBuf {
    csv_path.with_extension("log.jsonl")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::load::chunk::rejected::Reason;

    #[test]
    fn rejects_keep_their_bytes_and_leave_no_empty_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.csv");
        let files = RejectFiles::create(&path, encoding_rs::UTF_8).unwrap();
        assert_eq!(files.finish().unwrap(), None);
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);

        let mut files = RejectFiles::create(&path, encoding_rs::UTF_8).unwrap();
        let reason = Reason { column: Some("age".into()), ..Reason::new("expected a number".into()) };
        for raw in [&b"1,\"a\nb\"\r\n"[..], b"2,\xff"] {
            let raw = Bytes::copy_from_slice(raw);
            let reject = Reject {
                file: "f.csv".into(),
                first_line: 3,
                last_line: 4,
                byte_offset: 9,
                reason: reason.clone(),
                raw,
            };
            files.write(b"id,age\r\n", &reject).unwrap();
        }
        assert_eq!(files.finish().unwrap(), Some(path.clone()));
        assert_eq!(std::fs::read(&path).unwrap(), b"id,age\r\n1,\"a\nb\"\r\n2,\xff\r\n");
        let log = std::fs::read_to_string(dir.path().join("bad.log.jsonl")).unwrap();
        let first: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
        assert_eq!(
            (&first["file"], &first["last_line"], &first["column"]),
            (&"f.csv".into(), &4.into(), &"age".into())
        );
        assert_eq!(log.lines().count(), 2);
    }
}
