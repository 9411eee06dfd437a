//! Where the records go that a load rejects.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::catalog::TableName;
use crate::error::{ErrorKind, Location};
use crate::escape::escape_path;
use crate::load::chunk::rejected::{Reason, Reject};
use crate::load::options::RejectLimit;
use crate::load::refusal::with_remedy;
use crate::load::reject::files::{RejectFiles, log_path};
use crate::load::run::stop::Stopped;
use crate::load::totals::LoadTotals;
use crate::progress::Progress;
use crate::{Error, Result};

/// Takes the records that are rejected.
pub(crate) trait RejectSink: Send {
    /// Take `rejects`, in the order of their file, whose header is `header`, empty if it has none; `totals` are those of the
    /// load, with these.
    ///
    /// # Errors
    /// When they are too many, or cannot be kept.
    fn take(&mut self, rejects: Vec<Reject>, header: &[u8], totals: &LoadTotals) -> Result<()>;
}

/// Writes them to the rejects files of a load that is all or nothing.
#[derive(Debug)]
pub(crate) struct FileSink {
    pub files: RejectFiles,
    pub limit: RejectLimit,
    pub progress: Arc<Progress>,
}

impl RejectSink for FileSink {
    fn take(&mut self, rejects: Vec<Reject>, header: &[u8], totals: &LoadTotals) -> Result<()> {
        self.progress.reject(rejects.len() as u64);
        for reject in rejects {
            self.files.write(header, &reject)?;
        }
        self.check_limit(totals, false)
    }
}

/// Ends a load that may reject no record at the first one, after a search for it by the means of those that may.
#[derive(Debug)]
pub(crate) struct FirstReject<'a> {
    pub table: &'a TableName,
}

impl RejectSink for FirstReject<'_> {
    fn take(&mut self, rejects: Vec<Reject>, _: &[u8], _: &LoadTotals) -> Result<()> {
        let Some(first) = rejects.into_iter().next() else { return Ok(()) };
        let Reason { reason, detail, sqlstate: Some(code), constraint, worker, .. } = &first.reason else {
            return Err(first.into_error());
        };
        let constraint = constraint.as_ref().map_or_else(String::new, |name| format!(", constraint {name}"));
        let detail =
            detail.as_ref().map_or_else(String::new, |detail| format!("; {}", detail.trim_end_matches('.')));
        let worker = worker.as_ref().map_or_else(String::new, |worker| format!("; on the worker {worker}"));
        let (Reject { file, first_line, .. }, table) = (&first, self.table);
        let message = format!(
            "failed to load {file}, line {first_line} into {table}: {reason} (SQLSTATE {code}{constraint}){detail}{worker}"
        );
        let error = Error::new(ErrorKind::Database, message).with_sqlstate(code.as_str());
        Err(with_remedy(error.at(Location::on_line(file, *first_line))))
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
        let log = log_path(self.files.path());
        let rejects = self.files.finish()?;
        let mut totals = written.map_err(|stopped| match stopped {
            Stopped::Error(error) if error.kind() == ErrorKind::Input && !rejects.is_empty() => {
                error.with_help(rejects_help(&rejects, &log)).into()
            }
            stopped => stopped,
        })?;
        totals.rejects = rejects.iter().map(|path| path.display().to_string()).collect();
        Ok(totals)
    }

    fn check_limit(&self, totals: &LoadTotals, at_end: bool) -> Result<()> {
        if !self.limit.is_exceeded(totals.rejected, totals.read, at_end) {
            return Ok(());
        }
        Err(too_many_rejects(totals.rejected, totals.read, self.limit).and("nothing was loaded"))
    }
}

/// That the rejected rows are in the files `rejects`, and the reasons in `log`.
pub(crate) fn rejects_help(rejects: &[PathBuf], log: &Path) -> String {
    let paths: Vec<_> = rejects.iter().map(|path| escape_path(path)).collect();
    format!("the rejected rows are in {}, the reasons in {}", paths.join(", "), escape_path(log))
}

/// The error that `rejected` of `read` rows are more than `limit` allows.
pub(crate) fn too_many_rejects(rejected: u64, read: u64, limit: RejectLimit) -> Error {
    Error::new(
        ErrorKind::Input,
        format!("{rejected} of {read} rows were rejected, and --max-rejects allows {limit}"),
    )
}
