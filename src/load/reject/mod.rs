//! Loads that set bad rows aside: [`isolate`] finds those that the server refuses, [`sink`] takes them, [`files`] writes
//! them out.

pub(crate) mod duplicates;
pub(crate) mod files;
pub(crate) mod isolate;
pub(crate) mod orphans;
pub(crate) mod sink;

use std::io::Cursor;
use std::sync::Arc;

use tokio_postgres::Client;

use crate::Result;
use crate::catalog::Table;
use crate::csv::layout::OwnHeader;
use crate::csv::reader::RecordReader;
use crate::csv::{Field, InputFormat, shortened};
use crate::load::chunk::rejected::Reject;
use crate::load::chunk::stream::ChunkStream;
use crate::load::mapping::ColumnMapping;
use crate::load::reject::isolate::RejectIsolator;
use crate::load::reject::orphans::Orphans;
use crate::load::reject::sink::RejectSink;
use crate::load::settings::LoadSettings;
use crate::load::totals::LoadTotals;
use crate::load::write::Writer;
use crate::load::write::rows::RowWriter;

/// A load that sets bad rows aside.
pub(crate) struct RejectingLoad<'a> {
    pub client: &'a Client,
    pub settings: &'a LoadSettings,
    pub table: &'a Table,
    pub mapping: &'a Arc<ColumnMapping>,
    /// How a record of the input files is written.
    pub format: InputFormat,
    /// Rows known from an earlier try to be rejected.
    pub orphans: Option<&'a Orphans>,
    /// Whether the server has accepted rows of the same files before.
    pub any_accepted: bool,
}

impl RejectingLoad<'_> {
    /// Write all good rows of `stream`, with `writer` or, where many rows are bad, with `row_writer`; the others go to
    /// `sink`.
    ///
    /// # Errors
    /// When `sink` takes no more rows, and at any error that is not about a row.
    pub(crate) async fn insert(
        &self,
        writer: &mut Writer,
        row_writer: Option<RowWriter>,
        stream: &ChunkStream,
        sink: &mut dyn RejectSink,
    ) -> Result<LoadTotals> {
        let mut totals = LoadTotals::default();
        let mut isolator = RejectIsolator::new(
            self.client,
            writer,
            row_writer,
            self.table,
            self.mapping,
            (!self.settings.max_rejects.allows_any(), self.settings.on_conflict.is_some(), self.any_accepted),
        );
        while let Some(mut chunk) = stream.next_for(self.client).await? {
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
            sink.take(rejects, &header.raw, &totals)?;
        }
        Ok(totals)
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
