//! Where the records go that a load rejects.

use std::path::Path;
use std::sync::Arc;

use crate::error::ErrorKind;
use crate::escape::escape_path;
use crate::load::chunk::rejected::Reject;
use crate::load::options::RejectLimit;
use crate::load::reject::files::{RejectFiles, log_path};
use crate::load::run::stop::Stopped;
use crate::load::totals::LoadTotals;
use crate::progress::Progress;
use crate::{Error, Result};

/// Takes the records that are rejected.
pub(crate) trait RejectSink: Send {
    /// Take `rejects`, in the order of the file; `totals` are those of the load, with these.
    ///
    /// # Errors
    /// When they are too many, or cannot be kept.
    fn take(&mut self, rejects: Vec<Reject>, totals: &LoadTotals) -> Result<()>;
}

/// Writes them to the rejects files of a load that is all or nothing.
#[derive(Debug)]
pub(crate) struct FileSink {
    pub files: RejectFiles,
    /// The header of the file, as it is in the file; empty if there is none.
    pub header: Vec<u8>,
    pub limit: RejectLimit,
    pub progress: Arc<Progress>,
}

impl RejectSink for FileSink {
    fn take(&mut self, rejects: Vec<Reject>, totals: &LoadTotals) -> Result<()> {
        self.progress.reject(rejects.len() as u64);
        for reject in rejects {
            self.files.write(&self.header, &reject)?;
        }
        self.check_limit(totals, false)
    }
}

impl FileSink {
    /// Complete the files, even after an error, once all rows are `written`.
    ///
    /// # Errors
    /// As `written`, and when too many rows were rejected, or the files cannot be completed.
    pub(crate) fn finish(self, written: Result<LoadTotals, Stopped>) -> Result<LoadTotals, Stopped> {
        let written = written.and_then(|totals| {
            self.check_limit(&totals, true)?;
            Ok(totals)
        });
        let rejects_path = self.files.finish()?;
        let mut totals = written.map_err(|stopped| match (&rejects_path, stopped) {
            (Some(path), Stopped::Error(error)) if error.kind() == ErrorKind::Input => {
                error.with_help(rejects_help(path)).into()
            }
            (_, stopped) => stopped,
        })?;
        totals.rejects_path = rejects_path.map(|path| path.display().to_string());
        Ok(totals)
    }

    fn check_limit(&self, totals: &LoadTotals, at_end: bool) -> Result<()> {
        if !self.limit.is_exceeded(totals.rejected, totals.read, at_end) {
            return Ok(());
        }
        Err(too_many_rejects(totals.rejected, totals.read, self.limit).and("nothing was loaded"))
    }
}

/// Where the rejected rows are, and why they were rejected.
pub(crate) fn rejects_help(path: &Path) -> String {
    let (path, log) = (escape_path(path), escape_path(&log_path(path)));
    format!("the rejected rows are in {path}, the reasons in {log}")
}

/// The error that `rejected` of `read` rows are more than `limit` allows.
pub(crate) fn too_many_rejects(rejected: u64, read: u64, limit: RejectLimit) -> Error {
    Error::new(
        ErrorKind::Input,
        format!("{rejected} of {read} rows were rejected, and --max-rejects allows {limit}"),
    )
}
