//! Bad rows: how many there may be, and the two files that they go to.
//!
//! `FILE.csv` gets the header and the original bytes of each, so that it loads again with the same options once
//! they are corrected; `FILE.log.jsonl` gets one JSON object a row that says where it was and why it was refused.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bytes::Bytes;
use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};
use serde::{Serialize, Serializer};
use tempfile::NamedTempFile;

use crate::error::Kind;
use crate::{Error, Result};

/// How many bad rows a load may have before it is rolled back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RejectLimit {
    /// So many.
    Rows(u64),
    /// So many of a hundred rows read, over the whole load.
    Percent(f64),
}

impl RejectLimit {
    /// Whether `rejected` of `read` rows are too many; a percentage is of the whole file, so it can only be told
    /// `at_end`.
    pub fn is_exceeded(self, rejected: u64, read: u64, at_end: bool) -> bool {
        match self {
            RejectLimit::Rows(limit) => rejected > limit,
            RejectLimit::Percent(limit) => at_end && rejected as f64 * 100.0 > limit * read as f64,
        }
    }

    /// Whether any row may be rejected.
    pub fn allows_any(self) -> bool {
        match self {
            RejectLimit::Rows(limit) => limit > 0,
            RejectLimit::Percent(limit) => limit > 0.0,
        }
    }
}

impl FromStr for RejectLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected a number of rows, such as 100, or a percentage, such as 1%".to_owned();
        match text.strip_suffix('%') {
            Some(percent) => {
                let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
                (0.0..=100.0).contains(&percent).then_some(RejectLimit::Percent(percent)).ok_or_else(wrong)
            }
            None => text.parse().map(RejectLimit::Rows).map_err(|_| wrong()),
        }
    }
}

impl std::fmt::Display for RejectLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RejectLimit::Rows(rows) => write!(f, "{rows}"),
            RejectLimit::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// Why a row was not loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The column it is about, if it is about one.
    pub column: Option<String>,
    /// Which field of the record that is, from 1.
    #[serde(skip)]
    pub field: Option<usize>,
    /// The value it is about, shortened and printable.
    pub value: Option<String>,
    /// In words.
    pub reason: String,
    /// What the server says besides: the key that is there already, the row that breaks the constraint.
    pub detail: Option<String>,
    /// The remedy.
    #[serde(skip)]
    pub help: String,
    /// The server's code; `None` when the row was never sent.
    pub sqlstate: Option<String>,
    /// The constraint that it breaks.
    pub constraint: Option<String>,
}

impl Reason {
    /// Nothing but words.
    pub fn new(reason: String) -> Self {
        Reason { reason, ..Reason::default() }
    }

    /// About `value`, which is printable.
    #[must_use]
    pub fn with_value(self, value: String) -> Self {
        Reason { value: Some(value), ..self }
    }
}

/// A row that was not loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reject {
    /// The file that it was in.
    #[serde(serialize_with = "as_text")]
    pub file: std::sync::Arc<str>,
    /// The line that it begins on, from 1.
    pub first_line: u64,
    /// The line that it ends on.
    pub last_line: u64,
    /// Bytes before it in the file, decompressed.
    pub byte_offset: u64,
    /// Why.
    #[serde(flatten)]
    pub reason: Reason,
    /// Its bytes, with its line end.
    #[serde(skip)]
    pub raw: Bytes,
}

fn as_text<S: Serializer>(text: &std::sync::Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

impl Reject {
    /// The error for a load that may not have any.
    pub fn into_error(self) -> Error {
        let Reject { file, first_line, reason, .. } = self;
        let Reason { column, field, reason, help, .. } = reason;
        let place = match (field, column) {
            (Some(field), Some(column)) => format!(", column {field} ({column})"),
            _ => String::new(),
        };
        Error::input(format!("{file}, line {first_line}{place}: {reason}")).with_help(help)
    }
}

/// Writes bad rows to their two files, which appear when they are complete, and only if there are any.
#[derive(Debug)]
pub struct RejectFiles {
    csv: BufWriter<NamedTempFile>,
    log: BufWriter<NamedTempFile>,
    csv_path: PathBuf,
    log_path: PathBuf,
    script: Script,
    /// How the last record ended that had a line end.
    line_end: Vec<u8>,
    written: u64,
}

/// What has to be written besides the rows, as the bytes of an encoding.
#[derive(Debug, Clone, Copy)]
struct Script {
    /// Says in which order the two bytes of a character are, where that may be unclear.
    mark: &'static [u8],
    line_feed: &'static [u8],
    carriage_return: &'static [u8],
}

impl Script {
    fn of(encoding: &'static Encoding) -> Self {
        let (mark, line_feed, carriage_return): (&[u8], &[u8], &[u8]) = if encoding == UTF_16LE {
            (b"\xff\xfe", b"\n\0", b"\r\0")
        } else if encoding == UTF_16BE {
            (b"\xfe\xff", b"\0\n", b"\0\r")
        } else {
            (b"", b"\n", b"\r")
        };
        Script { mark, line_feed, carriage_return }
    }

    /// What `record` ends with, if it ends with its line.
    fn line_end(self, record: &[u8]) -> Option<&[u8]> {
        let line = record.strip_suffix(self.line_feed).unwrap_or(record);
        let line = line.strip_suffix(self.carriage_return).unwrap_or(line);
        Some(&record[line.len()..]).filter(|end| !end.is_empty())
    }
}

impl RejectFiles {
    /// Create `csv_path`, for rows in `encoding`, and its companion, so that a bad path fails before anything is
    /// loaded.
    ///
    /// # Errors
    /// When one of them cannot be written.
    pub fn create(csv_path: &Path, encoding: &'static Encoding) -> Result<Self> {
        let log_path = log_path(csv_path);
        let create = |path: &Path| {
            crate::report::temporary_beside(path).map(BufWriter::new).map_err(|error| {
                Error::io(Kind::Output, "create the rejects file", path, &error)
                    .with_help("name another with --rejects")
            })
        };
        Ok(RejectFiles {
            csv: create(csv_path)?,
            log: create(&log_path)?,
            csv_path: csv_path.to_owned(),
            log_path,
            script: Script::of(encoding),
            line_end: Script::of(encoding).line_feed.to_owned(),
            written: 0,
        })
    }

    /// Write `reject`; `header` is the file's first record, which the first reject has to follow.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn write(&mut self, header: &[u8], reject: &Reject) -> Result<()> {
        let raw = &reject.raw;
        for record in [header, raw] {
            if let Some(line_end) = self.script.line_end(record) {
                line_end.clone_into(&mut self.line_end);
            }
        }
        // The last record of a file may have no line end, but another may follow it here.
        let end = if self.script.line_end(raw).is_some() { &[][..] } else { &self.line_end };
        let before = if self.written == 0 { [self.script.mark, header] } else { [&[][..]; 2] };
        let csv = [before[0], before[1], raw, end].iter().try_for_each(|part| self.csv.write_all(part));
        csv.map_err(|error| Error::io(Kind::Output, "write to", &self.csv_path, &error))?;
        serde_json::to_writer(&mut self.log, reject)
            .map_err(std::io::Error::from)
            .and_then(|()| self.log.write_all(b"\n"))
            .map_err(|error| Error::io(Kind::Output, "write to", &self.log_path, &error))?;
        self.written += 1;
        Ok(())
    }

    /// Complete the files, if anything was written. Returns the CSV's path.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn finish(self) -> Result<Option<PathBuf>> {
        let RejectFiles { csv, log, csv_path, log_path, written, .. } = self;
        if written == 0 {
            return Ok(None);
        }
        for (file, path) in [(csv, &csv_path), (log, &log_path)] {
            let failed = |error: &std::io::Error| Error::io(Kind::Output, "write to", path, error);
            let file = file.into_inner().map_err(|error| failed(error.error()))?;
            file.persist(path).map_err(|error| failed(&error.error))?;
        }
        Ok(Some(csv_path))
    }
}

/// The companion of the rejects file `csv_path`.
pub fn log_path(csv_path: &Path) -> PathBuf {
    csv_path.with_extension("log.jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_rows_or_percentages() {
        assert_eq!("5".parse(), Ok(RejectLimit::Rows(5)));
        assert_eq!("0.5%".parse(), Ok(RejectLimit::Percent(0.5)));
        for text in ["", "-1", "101%", "x", "%", "1.5", "NaN%"] {
            assert!(text.parse::<RejectLimit>().is_err(), "{text}");
        }
        assert!(!RejectLimit::Rows(5).is_exceeded(5, 5, true));
        assert!(RejectLimit::Rows(5).is_exceeded(6, 600, false));
        assert!(!RejectLimit::Percent(1.0).is_exceeded(50, 100, false));
        assert!(RejectLimit::Percent(1.0).is_exceeded(2, 100, true));
        assert!(!RejectLimit::Percent(1.0).is_exceeded(1, 100, true));
    }

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
