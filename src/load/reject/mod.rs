//! A load that sets bad rows aside.

pub(crate) mod duplicates;
pub(crate) mod files;
pub(crate) mod isolate;

use std::sync::Arc;

use tokio_postgres::Client;

use crate::catalog::Table;
use crate::csv::{Dialect, Field, Records};
use crate::error::ErrorKind;
use crate::load::chunk::rejected::Reject;
use crate::load::chunk::stream::ChunkStream;
use crate::load::mapping::ColumnMapping;
use crate::load::reject::files::RejectFiles;
use crate::load::reject::isolate::RejectIsolator;
use crate::load::settings::LoadSettings;
use crate::load::totals::LoadTotals;
use crate::load::write::Writer;
use crate::load::write::rows::Rows;
use crate::{Error, Result};

/// What it needs.
pub(crate) struct RejectingLoad<'a> {
    pub client: &'a Client,
    pub settings: &'a LoadSettings,
    pub table: &'a Table,
    pub targets: &'a Arc<ColumnMapping>,
    /// How the files are written.
    pub dialect: Dialect,
    /// The first record of the file, if it is a header.
    pub header: Vec<u8>,
}

impl RejectingLoad<'_> {
    /// Write what can be written, chunk by chunk, or `row_writer` where that is better; the rejects files are complete whatever happens.
    pub(crate) async fn insert(
        &self,
        writer: &mut Writer,
        row_writer: Option<Rows>,
        stream: &ChunkStream,
    ) -> Result<LoadTotals> {
        let path = &self.settings.rejects;
        let mut files = RejectFiles::create(path, self.dialect.encoding)?;
        let sorted = self.sort(writer, row_writer, stream, &mut files).await;
        let kept = files.finish()?;
        let mut outcome = sorted.map_err(|error| match (&kept, error.kind()) {
            (Some(path), ErrorKind::Input) => {
                let log = crate::load::reject::files::log_path(path);
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
        row_writer: Option<Rows>,
        stream: &ChunkStream,
        files: &mut RejectFiles,
    ) -> Result<LoadTotals> {
        let mut outcome = LoadTotals::default();
        let mut bisection = RejectIsolator::new(
            self.client,
            writer,
            row_writer,
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

    fn check_limit(&self, outcome: &LoadTotals, at_end: bool) -> Result<()> {
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
            reject.reason.value = Some(crate::csv::excerpt(value));
        }
        reject
    }
}
