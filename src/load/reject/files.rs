//! The files for rejected rows.
//!
//! `FILE.csv` gets the header and the original bytes of each row, so that it can be loaded with the same options once
//! the rows are corrected; rows of files with their fields in another order go to `FILE.2.csv`, under their own header.
//! `FILE.log.jsonl` gets one JSON object per row, with its position and the reason.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};

use crate::Result;
use crate::csv::Dialect;
use crate::load::chunk::rejected::Reject;
use crate::output_file::AtomicFile;

/// Writes rejected rows to files that appear under their names once complete, and only if a row was rejected.
#[derive(Debug)]
pub(crate) struct RejectFiles {
    /// One per header; the first, which exists from the beginning, is that of the first row.
    csv: Vec<RejectCsv>,
    log: AtomicFile,
    marks: EncodedMarks,
    /// Blank lines before each header, in place of those that `--skip-lines` skips.
    skipped_lines: usize,
    /// Number of rows written.
    written: u64,
}

/// The rejected rows that stand under one header.
#[derive(Debug)]
struct RejectCsv {
    file: AtomicFile,
    path: PathBuf,
    /// Without its line ending; `None` before the first row.
    header: Option<Vec<u8>>,
    /// The line ending of the first record that has one, which all records get: input files may differ, but within a
    /// file all are to be the same. `None` before that record.
    line_end: Option<Vec<u8>>,
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
    /// Create `csv_path`, for rows in the encoding of `dialect`, and its log, before anything is loaded, so that a bad path
    /// fails early.
    ///
    /// # Errors
    /// When one of them cannot be created.
    pub(crate) fn create(csv_path: &Path, dialect: &Dialect) -> Result<Self> {
        Ok(RejectFiles {
            csv: vec![RejectCsv::create(csv_path.to_owned())?],
            log: create(&log_path(csv_path))?,
            marks: EncodedMarks::new(dialect.encoding),
            skipped_lines: usize::try_from(dialect.skip_lines).unwrap_or(usize::MAX),
            written: 0,
        })
    }

    /// Write `reject` under `header`.
    ///
    /// # Errors
    /// When writing fails, for example because the disk is full.
    pub(crate) fn write(&mut self, header: &[u8], reject: &Reject) -> Result<()> {
        self.write_record(header, &reject.raw, &reject.log_line())
    }

    /// Write the bytes of a rejected record under `header`, and its line of the log.
    ///
    /// # Errors
    /// As [`RejectFiles::write`].
    pub(crate) fn write_record(&mut self, header: &[u8], raw: &[u8], log_line: &str) -> Result<()> {
        let (marks, skipped_lines) = (self.marks, self.skipped_lines);
        let (header, header_end) = marks.split_line_end(header);
        let (record, record_end) = marks.split_line_end(raw);
        let csv = self.under(header)?;
        let own_end = if header_end.is_empty() { record_end } else { header_end };
        if csv.line_end.is_none() && !own_end.is_empty() {
            csv.line_end = Some(own_end.to_owned());
        }
        let end = csv.line_end.as_deref().unwrap_or(marks.line_feed);
        let mut text = Vec::new();
        if csv.header.is_none() {
            text.extend_from_slice(marks.byte_order_mark);
            text.extend(end.repeat(skipped_lines));
            if !header.is_empty() {
                text.extend([header, end].concat());
            }
            csv.header = Some(header.to_owned());
        }
        text.extend([record, end].concat());
        csv.file.write_all(&text).map_err(|error| csv.file.failed(error))?;
        writeln!(self.log, "{log_line}").map_err(|error| self.log.failed(error))?;
        self.written += 1;
        Ok(())
    }

    /// The file for rows under `header`, which is created if there is none.
    fn under(&mut self, header: &[u8]) -> Result<&mut RejectCsv> {
        let is_same = |csv: &RejectCsv| csv.header.as_ref().is_none_or(|own| own == header);
        let known = self.csv.iter().position(is_same);
        let index = known.unwrap_or(self.csv.len());
        if known.is_none() {
            // None that exists is replaced: only the name of the first one was chosen by the user.
            let mut numbered = (index + 1..).map(|number| numbered_path(&self.csv[0].path, number));
            let path = numbered.find(|path| !path.exists()).expect("a number is free");
            self.csv.push(RejectCsv::create(path)?);
        }
        Ok(&mut self.csv[index])
    }

    /// The path of the first one.
    pub(crate) fn path(&self) -> &Path {
        &self.csv[0].path
    }

    /// Complete the files, and return the paths of those with rows; no files if no row was rejected.
    ///
    /// # Errors
    /// When writing fails.
    pub(crate) fn finish(self) -> Result<Vec<PathBuf>> {
        if self.written == 0 {
            return Ok(Vec::new());
        }
        let mut paths = Vec::with_capacity(self.csv.len());
        for RejectCsv { file, path, .. } in self.csv {
            file.finish()?;
            paths.push(path);
        }
        self.log.finish()?;
        Ok(paths)
    }
}

impl RejectCsv {
    fn create(path: PathBuf) -> Result<RejectCsv> {
        Ok(RejectCsv { file: create(&path)?, path, header: None, line_end: None })
    }
}

fn create(path: &Path) -> Result<AtomicFile> {
    AtomicFile::create_private("rejects file", path)
        .map_err(|error| error.with_help("choose another path with --rejects"))
}

/// `path` with `number` before its extension: `rejects.2.csv`.
fn numbered_path(path: &Path, number: usize) -> PathBuf {
    let extension = path.extension().map(|extension| extension.to_string_lossy().into_owned());
    path.with_extension(extension.map_or_else(|| number.to_string(), |own| format!("{number}.{own}")))
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
        let dialect = Dialect { skip_lines: 1, ..Dialect::default() };
        let files = RejectFiles::create(&path, &dialect).unwrap();
        assert!(files.finish().unwrap().is_empty());
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);

        let mut files = RejectFiles::create(&path, &dialect).unwrap();
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
            files.write(b"age,id\n", &reject).unwrap();
        }
        let second = dir.path().join("bad.2.csv");
        assert_eq!(files.finish().unwrap(), [path.clone(), second.clone()]);
        assert_eq!(std::fs::read(&second).unwrap(), b"\nage,id\n1,\"a\nb\"\n2,\xff\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"\r\nid,age\r\n1,\"a\nb\"\r\n2,\xff\r\n");
        let log = std::fs::read_to_string(dir.path().join("bad.log.jsonl")).unwrap();
        let first: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
        assert_eq!(
            (&first["file"], &first["last_line"], &first["column"]),
            (&"f.csv".into(), &4.into(), &"age".into())
        );
        assert_eq!(log.lines().count(), 4);
    }
}
