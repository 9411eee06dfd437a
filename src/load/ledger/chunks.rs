//! The rows of committed chunks, and the records that they rejected.

use std::collections::BTreeMap;
use std::pin::pin;

use futures::TryStreamExt as _;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error as PgError, Row};

use crate::load::chunk::rejected::Reject;
use crate::load::chunk::section::Section;
use crate::load::ledger::import::{Import, changed_input};
use crate::load::ledger::locks::poll;
use crate::load::ledger::tables::LedgerTables;
use crate::load::reject::files::RejectFiles;
use crate::load::totals::LoadTotals;
use crate::progress::Progress;
use crate::{Error, Result};

/// A committed chunk, as far as a later run has to know it.
#[derive(Debug, Clone)]
pub(crate) struct CommittedChunk {
    pub(crate) chunk: u64,
    file: String,
    lines: (u64, u64),
    pub(crate) rows: u64,
    sha256: String,
    committed: String,
    /// Who loaded it.
    pub(crate) loaded_by: String,
}

impl CommittedChunk {
    const COLUMNS: &'static str =
        "chunk, file, first_line, last_line, rows_read, sha256, committed::text, loaded_by";

    fn from_row(row: &Row) -> Self {
        let number = |column: usize| row.get::<_, i64>(column) as u64;
        CommittedChunk {
            chunk: number(0),
            file: row.get(1),
            lines: (number(2), number(3)),
            rows: number(4),
            sha256: row.get(5),
            committed: row.get(6),
            loaded_by: row.get(7),
        }
    }

    /// Check that `section` is what was loaded as this chunk of the import `id`.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn check(&self, id: &str, section: &Section) -> Result<()> {
        if self.sha256 == section.sha256 && self.rows == section.rows {
            return Ok(());
        }
        let ((first, last), Section { file, first_line, last_line, .. }) = (self.lines, section);
        Err(changed_input(
            id,
            &format!(
                "lines {first_line} to {last_line} of {file} differ from what was loaded at {} as lines {first} to {last} \
                 of {}",
                self.committed, self.file
            ),
        ))
    }

    /// The error that the input of the import `id` ends before this chunk.
    pub(crate) fn missing(&self, id: &str) -> Error {
        let (first, last) = self.lines;
        changed_input(
            id,
            &format!("it ends before what was loaded as lines {first} to {last} of {}", self.file),
        )
    }
}

/// The rows of all committed chunks of an import.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ImportTotals {
    pub chunks: u64,
    pub read: u64,
    pub inserted: u64,
    pub updated: u64,
    pub skipped: u64,
    pub rejected: u64,
}

/// The committed chunks of one import.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkLedger<'a> {
    pub tables: &'a LedgerTables,
    pub import: &'a Import,
}

/// What is recorded of a chunk besides its section.
pub(crate) struct LoadedChunk<'a> {
    pub chunk: u64,
    pub section: &'a Section,
    pub totals: &'a LoadTotals,
    pub rejects: &'a [Reject],
    /// The header of its file; empty if there is none.
    pub header: &'a [u8],
    /// Stored bytes of the input read by then.
    pub input_bytes: u64,
    pub seconds: f64,
    /// Who loads it.
    pub loaded_by: &'a str,
}

impl ChunkLedger<'_> {
    /// All chunks, by their numbers.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn all(&self, client: &Client) -> Result<BTreeMap<u64, CommittedChunk>> {
        let sql = format!(
            "SELECT {} FROM {} WHERE import = $1 ORDER BY chunk",
            CommittedChunk::COLUMNS,
            self.tables.chunks
        );
        let rows = client.query(&sql, &[&self.import.number]).await.map_err(self.failed("read"))?;
        Ok(rows.iter().map(CommittedChunk::from_row).map(|chunk| (chunk.chunk, chunk)).collect())
    }

    /// Chunk `chunk`; `None` if it is not committed.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn find(&self, client: &Client, chunk: u64) -> Result<Option<CommittedChunk>> {
        let sql = format!(
            "SELECT {} FROM {} WHERE import = $1 AND chunk = $2",
            CommittedChunk::COLUMNS,
            self.tables.chunks
        );
        let found = client.query_opt(&sql, &[&self.import.number, &(chunk as i64)]).await;
        Ok(found.map_err(self.failed("read"))?.as_ref().map(CommittedChunk::from_row))
    }

    /// The totals of all chunks.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn totals(&self, client: &Client) -> Result<ImportTotals> {
        let sum = |column: &str| format!("COALESCE(pg_catalog.sum({column}), 0)::bigint");
        let sums = ["rows_read", "rows_inserted", "rows_updated", "rows_skipped", "rows_rejected"].map(sum);
        let sql = format!(
            "SELECT pg_catalog.count(*), {} FROM {} WHERE import = $1",
            sums.join(", "),
            self.tables.chunks
        );
        let row = client.query_one(&sql, &[&self.import.number]).await.map_err(self.failed("read"))?;
        let number = |column: usize| row.get::<_, i64>(column) as u64;
        Ok(ImportTotals {
            chunks: number(0),
            read: number(1),
            inserted: number(2),
            updated: number(3),
            skipped: number(4),
            rejected: number(5),
        })
    }

    /// Let no other transaction commit rejects of this import before the one of `client`, once those that are about to have
    /// done so, and return the totals so far.
    ///
    /// # Errors
    /// When the server refuses, and when `progress` is cancelled.
    pub(crate) async fn lock_rejects(&self, client: &Client, progress: &Progress) -> Result<ImportTotals> {
        poll(progress, async || self.import.try_lock(client, self.tables).await).await?;
        self.totals(client).await
    }

    /// Add a chunk with its rejected records, in the transaction of `client` that loads it.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn add(&self, client: &Client, loaded: &LoadedChunk<'_>) -> Result<()> {
        let LoadedChunk { chunk, section, totals, rejects, header, input_bytes, seconds, loaded_by } = loaded;
        let sql = format!(
            "INSERT INTO {} (import, chunk, file, first_line, last_line, first_byte, end_byte, input_bytes, sha256,
                             rows_read, rows_inserted, rows_updated, rows_skipped, rows_rejected, seconds, loaded_by,
                             program_version)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
            self.tables.chunks
        );
        let number = |number: u64| number as i64;
        let chunk = number(*chunk);
        let numbers = [
            number(section.first_line),
            number(section.last_line),
            number(section.first_byte),
            number(section.end_byte),
            number(*input_bytes),
        ];
        let rows = [
            number(totals.read),
            number(totals.counts.inserted),
            number(totals.counts.updated),
            number(totals.skipped),
            number(totals.rejected),
        ];
        let mut values: Vec<&(dyn ToSql + Sync)> = vec![&self.import.number, &chunk, &section.file];
        values.extend(numbers.iter().map(|number| number as &(dyn ToSql + Sync)));
        values.push(&section.sha256);
        values.extend(rows.iter().map(|number| number as &(dyn ToSql + Sync)));
        let version = env!("CARGO_PKG_VERSION");
        values.extend([seconds as &(dyn ToSql + Sync), loaded_by, &version]);
        client.execute(&sql, &values).await.map_err(self.failed("write"))?;
        self.add_rejects(client, chunk, (header, rejects)).await.map_err(self.failed("write"))
    }

    async fn add_rejects(
        &self,
        client: &Client,
        chunk: i64,
        (header, rejects): (&[u8], &[Reject]),
    ) -> Result<(), PgError> {
        if rejects.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "INSERT INTO {} (import, chunk, number, header, record, reason)
             SELECT $1::bigint, $2::bigint, n, $3::bytea, record, reason::json
             FROM unnest($4::bytea[], $5::text[]) WITH ORDINALITY u (record, reason, n)",
            self.tables.rejects
        );
        let records: Vec<&[u8]> = rejects.iter().map(|reject| &reject.raw[..]).collect();
        let reasons: Vec<String> = rejects.iter().map(Reject::log_line).collect();
        client.execute(&sql, &[&self.import.number, &chunk, &header, &records, &reasons]).await.map(drop)
    }

    /// Write all rejected records to `files`, in the order of the input.
    ///
    /// # Errors
    /// When the server refuses, or the files cannot be written.
    pub(crate) async fn write_rejects(&self, client: &Client, files: &mut RejectFiles) -> Result<()> {
        let sql = format!(
            "SELECT header, record, reason::text FROM {} WHERE import = $1 ORDER BY chunk, number",
            self.tables.rejects
        );
        let rows = client.query_raw(&sql, [&self.import.number]).await.map_err(self.failed("read"))?;
        let mut rows = pin!(rows);
        while let Some(row) = rows.try_next().await.map_err(self.failed("read"))? {
            files.write_record(row.get(0), row.get(1), row.get(2))?;
        }
        Ok(())
    }

    fn failed(&self, what: &str) -> impl Fn(PgError) -> Error {
        let doing = format!("{what} the ledger {}", self.tables.name);
        move |error| Error::database(&doing, error)
    }
}
