//! Loads that set bad rows aside: [`isolate`] finds those that the server refuses, [`files`] writes them out.

pub(crate) mod duplicates;
pub(crate) mod files;
pub(crate) mod isolate;
pub(crate) mod orphans;

use std::io::Cursor;
use std::sync::Arc;

use tokio_postgres::Client;

use crate::catalog::Table;
use crate::csv::layout::OwnHeader;
use crate::csv::reader::RecordReader;
use crate::csv::{Field, InputFormat, shortened};
use crate::error::ErrorKind;
use crate::escape::escape_path;
use crate::load::chunk::rejected::Reject;
use crate::load::chunk::stream::ChunkStream;
use crate::load::mapping::ColumnMapping;
use crate::load::reject::files::{RejectFiles, log_path};
use crate::load::reject::isolate::RejectIsolator;
use crate::load::reject::orphans::Orphans;
use crate::load::settings::LoadSettings;
use crate::load::totals::LoadTotals;
use crate::load::write::Writer;
use crate::load::write::rows::RowWriter;
use crate::{Error, Result};

/// A load that sets bad rows aside.
pub(crate) struct RejectingLoad<'a> {
    pub client: &'a Client,
    pub settings: &'a LoadSettings,
    pub table: &'a Table,
    pub mapping: &'a Arc<ColumnMapping>,
    /// How the input files are written.
    pub format: InputFormat,
    /// Rows known from an earlier try to be rejected.
    pub orphans: Option<&'a Orphans>,
}

impl RejectingLoad<'_> {
    /// Write all good rows, with `writer` or, where many rows are bad, with `row_writer`. The rejects files are
    /// completed even after an error.
    ///
    /// # Errors
    /// When too many rows are rejected, and at any error that is not about a row.
    pub(crate) async fn insert(
        &self,
        writer: &mut Writer,
        row_writer: Option<RowWriter>,
        stream: &ChunkStream,
    ) -> Result<LoadTotals> {
        let path = &self.settings.rejects;
        let mut files = RejectFiles::create(path, &self.format.dialect)?;
        let written = self.write(writer, row_writer, stream, &mut files).await;
        let rejects = files.finish()?;
        let mut totals = written.map_err(|error| {
            if rejects.is_empty() || error.kind() != ErrorKind::Input {
                return error;
            }
            let log = escape_path(&log_path(path));
            let paths: Vec<_> = rejects.iter().map(|path| escape_path(path)).collect();
            error.with_help(format!("the rejected rows are in {}, the reasons in {log}", paths.join(", ")))
        })?;
        totals.rejects = rejects.iter().map(|path| path.display().to_string()).collect();
        Ok(totals)
    }

    /// Write the chunks of `stream`, and their rejected rows to `files`.
    async fn write(
        &self,
        writer: &mut Writer,
        row_writer: Option<RowWriter>,
        stream: &ChunkStream,
        files: &mut RejectFiles,
    ) -> Result<LoadTotals> {
        let mut totals = LoadTotals::default();
        let mut isolator = RejectIsolator::new(
            self.client,
            writer,
            row_writer,
            self.table,
            self.mapping,
            self.settings.on_conflict.is_some(),
        );
        while let Some(mut chunk) = stream.next().await? {
            let mut rejects = std::mem::take(&mut chunk.rejects);
            let header = chunk.originals.as_ref().map(|originals| Arc::clone(&originals.header));
            let header = header.unwrap_or_default();
            totals.read += (chunk.rows() + rejects.len()) as u64;
            totals.encoded += chunk.rows() as u64;
            let orphans = self.orphans.map_or_else(Vec::new, |orphans| orphans.rows(&chunk));
            let mut start = 0;
            for end in orphans.iter().copied().chain([chunk.rows()]) {
                let (counts, refused) = isolator.write(&chunk, start..end).await?;
                totals.counts += counts;
                rejects.extend(refused.into_iter().map(|reject| self.with_value(reject, &header)));
                start = end + 1;
            }
            let reason = self.orphans.map(Orphans::reason);
            rejects.extend(
                orphans
                    .iter()
                    .zip(reason.iter().cycle())
                    .map(|(row, reason)| chunk.reject(*row, reason.clone())),
            );
            rejects.sort_by_key(|reject| reject.byte_offset);
            totals.rejected += rejects.len() as u64;
            stream.reject(rejects.len() as u64);
            for reject in rejects {
                files.write(&header.raw, &reject)?;
            }
            self.check_limit(&totals, false)?;
        }
        self.check_limit(&totals, true)?;
        Ok(totals)
    }

    fn check_limit(&self, totals: &LoadTotals, at_end: bool) -> Result<()> {
        let limit = self.settings.max_rejects;
        if !limit.is_exceeded(totals.rejected, totals.read, at_end) {
            return Ok(());
        }
        Err(Error::input(format!(
            "{} of {} rows were rejected, and --max-rejects allows {limit}; nothing was loaded",
            totals.rejected, totals.read
        )))
    }

    /// Add the value of the column at fault, which the server's error does not contain, from the record.
    fn with_value(&self, mut reject: Reject, header: &OwnHeader) -> Reject {
        let Some(field) = reject.reason.field.filter(|_| reject.reason.value.is_none()) else {
            return reject;
        };
        let mut format = self.format.clone();
        // Of a record by itself, with no lines before it.
        format.dialect.skip_lines = 0;
        let mut records = format.reader(Box::new(Cursor::new(reject.raw.clone())), "");
        if let Some(layout) = &header.layout {
            records.set_layout(layout.clone());
        }
        let mut scratch = Vec::new();
        if let Ok(Some((record, _))) = records.next_named()
            && field <= record.len()
            && let Field::Value(value) = record.field(field - 1, &mut scratch)
        {
            reject.reason.value = Some(shortened(value));
        }
        reject
    }
}
