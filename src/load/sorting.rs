//! A load that sets bad rows aside.

use std::sync::Arc;

use tokio_postgres::Client;

use super::bisect::Bisection;
use super::feed::Stream;
use super::rejects::{Reject, RejectFiles};
use super::report::Outcome;
use super::rows::Rows;
use super::target::Targets;
use super::writer::Writer;
use crate::config::LoadSettings;
use crate::error::Kind;
use crate::source::{Dialect, Field, Records};
use crate::table::Table;
use crate::{Error, Result};

/// What it needs.
pub(super) struct Sorting<'a> {
    pub client: &'a Client,
    pub settings: &'a LoadSettings,
    pub table: &'a Table,
    pub targets: &'a Arc<Targets>,
    /// How the files are written.
    pub dialect: Dialect,
    /// The first record of the file, if it is a header.
    pub header: Vec<u8>,
}

impl Sorting<'_> {
    /// Write what can be written, chunk by chunk, or `singly` where that is better; the rejects files are complete whatever happens.
    pub(super) async fn insert(
        &self,
        writer: &mut Writer,
        singly: Option<Rows>,
        stream: &Stream,
    ) -> Result<Outcome> {
        let path = &self.settings.rejects;
        let mut files = RejectFiles::create(path, self.dialect.encoding)?;
        let sorted = self.sort(writer, singly, stream, &mut files).await;
        let kept = files.finish()?;
        let mut outcome = sorted.map_err(|error| match (&kept, error.kind()) {
            (Some(path), Kind::Input) => {
                let log = super::rejects::log_path(path);
                let help =
                    format!("the rejected rows are in {}, the reasons in {}", path.display(), log.display());
                error.with_help(help)
            }
            _ => error,
        })?;
        outcome.rejects = kept.map(|path| path.display().to_string());
        Ok(outcome)
    }

    async fn sort(
        &self,
        writer: &mut Writer,
        singly: Option<Rows>,
        stream: &Stream,
        files: &mut RejectFiles,
    ) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let mut bisection = Bisection::new(
            self.client,
            writer,
            singly,
            self.table,
            self.targets,
            self.settings.on_conflict.is_some(),
        );
        while let Some(mut chunk) = stream.next().await? {
            let mut rejects = std::mem::take(&mut chunk.rejects);
            outcome.read += (chunk.rows() + rejects.len()) as u64;
            outcome.encoded += chunk.rows() as u64;
            let (counts, refused) = bisection.write(&chunk).await?;
            outcome.counts += counts;
            rejects.extend(refused.into_iter().map(|reject| self.with_value(reject)));
            rejects.sort_by_key(|reject| reject.byte_offset);
            outcome.rejected += rejects.len() as u64;
            stream.reject(rejects.len() as u64);
            for reject in rejects {
                files.write(&self.header, &reject)?;
            }
            self.check_limit(&outcome, false)?;
        }
        self.check_limit(&outcome, true)?;
        Ok(outcome)
    }

    fn check_limit(&self, outcome: &Outcome, at_end: bool) -> Result<()> {
        let limit = self.settings.max_rejects;
        if !limit.is_exceeded(outcome.rejected, outcome.read, at_end) {
            return Ok(());
        }
        Err(Error::input(format!(
            "{} of {} rows were rejected, more than --max-rejects {limit}; nothing was loaded",
            outcome.rejected, outcome.read
        )))
    }

    /// With the value of the field that the server named, which only the record still has.
    fn with_value(&self, mut reject: Reject) -> Reject {
        let Some(field) = reject.reason.field.filter(|_| reject.reason.value.is_none()) else {
            return reject;
        };
        let mut record = Records::new(&reject.raw[..], "", self.dialect.clone(), usize::MAX);
        let mut scratch = Vec::new();
        if let Ok(Some(record)) = record.next()
            && field <= record.len()
            && let Field::Value(value) = record.field(field - 1, &mut scratch)
        {
            reject.reason.value = Some(crate::source::excerpt(value));
        }
        reject
    }
}
