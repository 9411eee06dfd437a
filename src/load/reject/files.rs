//! The files for rejected rows.
//!
//! `FILE.csv` gets the header and the original bytes of each row, so that it can be loaded with the same options once
//! the rows are corrected; rows of files with their fields in another order go to `FILE.2.csv`, under their own header.
//! `FILE.log.jsonl` gets one JSON object per row, with its position and the reason.

use std::fs::File;
use std::io::{Read as _, Write as _};
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
        let marks = self.marks;
        let (header, header_end) = marks.split_line_end(header);
        let (record, record_end) = marks.split_line_end(raw);
        let own_end = if header_end.is_empty() { record_end } else { header_end };
        let head_end = if own_end.is_empty() { marks.line_feed } else { own_end };
        let index = self.index_under(header, head_end)?;
        let head = self.csv[index].header.is_none().then(|| self.head(header, head_end));
        let csv = &mut self.csv[index];
        if csv.line_end.is_none() && !own_end.is_empty() {
            csv.line_end = Some(own_end.to_owned());
        }
        let mut text = Vec::new();
        if let Some(head) = head {
            text.extend(head);
            csv.header = Some(header.to_owned());
        }
        text.extend([record, csv.line_end.as_deref().unwrap_or(marks.line_feed)].concat());
        csv.file.write_all(&text).map_err(|error| csv.file.failed(error))?;
        writeln!(self.log, "{log_line}").map_err(|error| self.log.failed(error))?;
        self.written += 1;
        Ok(())
    }

    /// What a file under `header`, whose lines end with `line_end`, begins with.
    fn head(&self, header: &[u8], line_end: &[u8]) -> Vec<u8> {
        let mut head = [self.marks.byte_order_mark, &line_end.repeat(self.skipped_lines)].concat();
        if !header.is_empty() {
            head.extend([header, line_end].concat());
        }
        head
    }

    /// The index of the file for rows under `header`, whose lines end with `line_end`; it is created if there is none.
    fn index_under(&mut self, header: &[u8], line_end: &[u8]) -> Result<usize> {
        let is_same = |csv: &RejectCsv| csv.header.as_ref().is_none_or(|own| own == header);
        let known = self.csv.iter().position(is_same);
        let index = known.unwrap_or(self.csv.len());
        if known.is_none() {
            // The user chose only the name of the first one. What exists under the others is replaced if it holds rejects
            // under the same header, as after the first run of an import, and kept otherwise.
            let head = self.head(header, line_end);
            let is_used = |path: &Path| self.csv.iter().any(|csv| csv.path == path);
            let mut numbered = (index + 1..).map(|number| numbered_path(&self.csv[0].path, number));
            let is_same = |path: &Path| !header.is_empty() && begins_with(path, &head);
            let path = numbered.find(|path| !is_used(path) && (!path.exists() || is_same(path)));
            self.csv.push(RejectCsv::create(path.expect("a number is free"))?);
        }
        Ok(index)
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

/// Whether the file at `path` can be read, and begins with `head`.
fn begins_with(path: &Path, head: &[u8]) -> bool {
    let mut own = vec![0; head.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut own)).is_ok() && own == head
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

    #[test]
    fn only_rejects_under_the_same_header_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("bad.2.csv"), "precious\n").unwrap();
        std::fs::write(path("bad.3.csv"), "c\nold\n").unwrap();
        for _ in 0..2 {
            let mut files = RejectFiles::create(&path("bad.csv"), &Dialect::default()).unwrap();
            for header in [&b"a\n"[..], b"b\n", b"c\n"] {
                files.write_record(header, b"1\n", "{}").unwrap();
            }
            assert_eq!(files.finish().unwrap(), ["bad.csv", "bad.4.csv", "bad.3.csv"].map(path));
        }
        let contents = ["bad.csv", "bad.2.csv", "bad.3.csv", "bad.4.csv"]
            .map(|name| std::fs::read_to_string(path(name)).unwrap());
        assert_eq!(contents, ["a\n1\n", "precious\n", "c\n1\n", "b\n1\n"]);
    }
}
