//! Rows that only the server can refuse: found and set aside, so that the others can be loaded.
//!
//! Every piece is written under a savepoint. When the server refuses it, the piece is rolled back, and a smaller
//! one tried: the rows before the guilty one where the server says which that is, otherwise half. What is good makes
//! the next pieces longer again. Where they would be of a few rows only, because bad rows stand close together,
//! each row has a savepoint of its own, all sent without waiting for answers: searching would take longer.
//!
//! A key that is there already is the most common reason, and mostly not a lonely one, so all rows of a piece that
//! break the same unique index are asked for at once.

use crate::load::refusal::is_about_rows;
use std::ops::Range;
use std::sync::Arc;

use tokio_postgres::{Client, Error as PgError};

use crate::catalog::Table;
use crate::load::chunk::rejected::{Reason, Reject};
use crate::load::chunk::stream::ChunkFeed;
use crate::load::chunk::{CHUNK_ROWS, Chunk};
use crate::load::mapping::{ColumnMapping, ValueFormat};
use crate::load::reject::duplicates::UniqueIndex;
use crate::load::write::Writer;
use crate::load::write::outcome::{Counts, Failed};
use crate::load::write::rows::Rows;
use crate::{Error, Result};

/// Rows that are sooner written one by one than searched for the guilty ones.
const FEW: usize = 32;

/// Writes pieces, and sets aside the rows that the server refuses.
#[derive(Debug)]
pub(crate) struct RejectIsolator<'a> {
    client: &'a Client,
    writer: &'a mut Writer,
    /// Writes row by row; `None` where an INSERT would not read what a COPY reads.
    row_writer: Option<Rows>,
    table: &'a Table,
    targets: &'a Arc<ColumnMapping>,
    /// Whether a key that is in the table already is a fault, and surely the one that would be stored.
    keys_are_final: bool,
    /// The unique indexes that were broken so far; `None` where one cannot be asked about.
    indexes: Vec<(String, Option<UniqueIndex>)>,
    /// How many rows the next piece has, after what became of the last ones.
    reach: usize,
    /// How many rows are written one by one before that is thought over.
    stretch: usize,
}

/// What became of some rows.
#[derive(Debug, Default)]
struct Written {
    counts: Counts,
    rejects: Vec<Reject>,
}

impl<'a> RejectIsolator<'a> {
    /// Write over `client`, which is inside a transaction; `row_writer` does so row by row, if that is the same.
    pub(crate) fn new(
        client: &'a Client,
        writer: &'a mut Writer,
        row_writer: Option<Rows>,
        table: &'a Table,
        targets: &'a Arc<ColumnMapping>,
        updates_keys: bool,
    ) -> Self {
        // A trigger may change them.
        let keys_are_final = !updates_keys && table.before_insert_triggers.is_empty();
        let (indexes, reach, stretch) = (Vec::new(), CHUNK_ROWS, FEW);
        RejectIsolator { client, writer, row_writer, table, targets, keys_are_final, indexes, reach, stretch }
    }

    /// Write `chunk`; returns what was written, and what was not, in order.
    ///
    /// # Errors
    /// When the failure is not that of a row: a lost connection, a full disk, a deadlock.
    pub(crate) async fn write(&mut self, chunk: &Chunk) -> Result<(Counts, Vec<Reject>)> {
        let mut written = Written::default();
        let mut start = 0;
        while start < chunk.rows() {
            let length = if self.reach <= FEW { self.stretch } else { self.reach };
            let piece = start..chunk.rows().min(start + length);
            if self.reach <= FEW || piece.len() == 1 {
                let before = written.rejects.len();
                self.write_singly(chunk, piece.clone(), &mut written).await?;
                let rejected = written.rejects.len() - before;
                if rejected == 0 {
                    self.reach = (self.reach * 2).min(CHUNK_ROWS);
                }
                // The longer, the less often all answers are waited for.
                let is_dense = rejected * 16 > piece.len();
                self.stretch = if is_dense { (self.stretch * 2).min(8 * FEW) } else { FEW };
                start = piece.end;
                continue;
            }
            let refusal = match self.attempt(chunk.slice(piece.clone())).await? {
                Ok(counts) => {
                    written.counts += counts;
                    self.reach = (self.reach * 2).min(CHUNK_ROWS);
                    start = piece.end;
                    continue;
                }
                Err(refusal) => refusal,
            };
            let duplicates = self.duplicates(chunk, &piece, &refusal.error).await?;
            if let Some(duplicates) = &duplicates
                && let Ok(counts) = self.attempt(chunk.without(piece.clone(), duplicates)).await?
            {
                written.counts += counts;
                let reason = self.reason(&refusal.error);
                written.rejects.extend(duplicates.iter().map(|&row| chunk.reject(row, reason.clone())));
                start = piece.end;
                continue;
            }
            self.reach = (piece.len() / 2).max(FEW);
            // With duplicates something else is wrong too, and they would be asked for at each of them.
            let good = refusal.good.filter(|&good| good < piece.len() && duplicates.is_none());
            let Some(good) = good else { continue };
            // Of the rows behind the guilty one about as many may be good; more do little harm.
            self.reach = (good * 8).clamp(FEW, CHUNK_ROWS);
            if self.reach == FEW {
                continue;
            }
            let guilty = start + good;
            if let Ok(counts) = self.attempt(chunk.slice(start..guilty)).await? {
                written.counts += counts;
                self.write_singly(chunk, guilty..guilty + 1, &mut written).await?;
                start = guilty + 1;
            } else {
                self.reach = (good / 2).max(FEW);
            }
        }
        Ok((written.counts, written.rejects))
    }

    /// Write each of `rows` or set it aside.
    async fn write_singly(&mut self, chunk: &Chunk, rows: Range<usize>, written: &mut Written) -> Result<()> {
        let answers = if let Some(row_writer) = &mut self.row_writer {
            row_writer.insert_each(self.client, chunk, rows.clone()).await?
        } else {
            let mut answers = Vec::with_capacity(rows.len());
            for row in rows.clone() {
                let answer = self.attempt(chunk.slice(row..row + 1)).await?;
                answers.push(answer.map_err(|refusal| refusal.error));
            }
            answers
        };
        for (row, answer) in rows.zip(answers) {
            match answer {
                Ok(counts) => written.counts += counts,
                Err(error) if is_about_rows(&error, self.table) => {
                    self.index(&error).await?;
                    let detail = error.as_db_error().and_then(|db| db.detail()).map(str::to_owned);
                    let reason = Reason { detail, ..self.reason(&error) };
                    written.rejects.push(chunk.reject(row, reason));
                }
                Err(error) => return Err(self.not_about_rows(&error)),
            }
        }
        Ok(())
    }

    /// Write `piece` whole or not at all.
    async fn attempt(&mut self, piece: Chunk) -> Result<Result<Counts, Refusal>> {
        self.run("SAVEPOINT piece").await?;
        let mut feed = ChunkFeed::piece(piece);
        match self.writer.write(self.client, &mut feed).await {
            Ok(counts) => {
                self.run("RELEASE piece").await?;
                Ok(Ok(counts))
            }
            Err(Failed::Input(error)) => Err(error),
            Err(Failed::Server { error, rows }) => {
                if !is_about_rows(&error, self.table) {
                    return Err(self.not_about_rows(&error));
                }
                self.run("ROLLBACK TO piece; RELEASE piece").await?;
                let good = rows.filter(|(first, last)| first == last).map(|(row, _)| row as usize);
                Ok(Err(Refusal { error, good }))
            }
        }
    }

    /// The rows of `piece` that break the unique index which `error` is about.
    async fn duplicates(
        &mut self,
        chunk: &Chunk,
        piece: &Range<usize>,
        error: &PgError,
    ) -> Result<Option<Vec<usize>>> {
        let RejectIsolator { client, table, targets, keys_are_final, .. } = *self;
        let Some(index) = self.index(error).await?.filter(|_| keys_are_final) else { return Ok(None) };
        if index.columns.iter().any(|&column| chunk.formats[column] == ValueFormat::Text) {
            return Ok(None);
        }
        let rows = index.duplicates(client, table, targets, chunk, piece.clone()).await?;
        // If it finds none, somebody else's transaction holds the key.
        Ok(Some(rows).filter(|rows| !rows.is_empty()))
    }

    /// The unique index that `error` is about, looked up when it is met first; for the log it has to be known too.
    async fn index(&mut self, error: &PgError) -> Result<Option<&UniqueIndex>> {
        let db = error.as_db_error().filter(|db| db.code().code() == "23505");
        let Some(name) = db.and_then(|db| db.constraint()) else { return Ok(None) };
        if !self.indexes.iter().any(|(known, _)| known == name) {
            let index = UniqueIndex::find(self.client, self.table, name, self.targets).await?;
            self.indexes.push((name.to_owned(), index));
        }
        Ok(self.indexes.iter().find(|(known, _)| known == name).and_then(|(_, index)| index.as_ref()))
    }

    /// What the server said, for the log, as far as it is true of every row that breaks the same constraint.
    fn reason(&self, error: &PgError) -> Reason {
        let Some(db) = error.as_db_error() else { return Reason::new(error.to_string()) };
        let constraint = db.constraint().map(str::to_owned);
        let reason = Reason {
            sqlstate: Some(db.code().code().to_owned()),
            constraint: constraint.clone(),
            ..Reason::new(db.message().to_owned())
        };
        let by_name = db.column().and_then(|name| self.targets.names().position(|loaded| loaded == name));
        let index = self.indexes.iter().find(|(name, _)| constraint.as_ref() == Some(name));
        let of_index = index.and_then(|(_, index)| index.as_ref()).map(|index| &index.columns[..]);
        let targets = &self.targets.columns;
        match by_name.as_ref().map(std::slice::from_ref).or(of_index) {
            Some(&[column]) => Reason {
                column: Some(targets[column].column.name.clone()),
                field: Some(targets[column].field + 1),
                ..reason
            },
            Some(columns) => {
                let key: Vec<&str> =
                    columns.iter().map(|&column| targets[column].column.name.as_str()).collect();
                Reason { column: Some(key.join(", ")), ..reason }
            }
            None => reason,
        }
    }

    /// What ends the load, whatever rows are left out.
    fn not_about_rows(&self, error: &PgError) -> Error {
        crate::load::refusal::refused(&format!("load rows into {}", self.table.name), error)
    }

    async fn run(&self, sql: &str) -> Result<()> {
        let done = self.client.batch_execute(sql).await;
        done.map_err(|error| {
            Error::database(&format!("set a savepoint while loading {}", self.table.name), &error)
        })
    }
}

/// Why a piece was not written.
struct Refusal {
    error: PgError,
    /// How many rows of the piece come before the one that it is about, if the server says which it is.
    good: Option<usize>,
}
