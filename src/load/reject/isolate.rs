//! Isolates the rows that only the server can refuse, so that the others can be loaded.
//!
//! A chunk is written in pieces, each under a savepoint. If the server refuses a piece, it is rolled back and a smaller
//! one is tried: the rows before the bad one if the server tells which that is, otherwise half of the piece. After a
//! success the pieces become longer again. Where bad rows are so dense that pieces would be very short, searching is
//! slower than writing row by row: each row then gets its own savepoint, and the statements are pipelined.
//!
//! Duplicate keys are the most common reason and rarely occur alone, so one query finds all rows of a piece that
//! violate the same unique index.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error as PgError};

use crate::catalog::Table;
use crate::error::{Location, worker};
use crate::load::chunk::rejected::{Reason, Reject};
use crate::load::chunk::stream::ChunkFeed;
use crate::load::chunk::{CHUNK_ROWS, Chunk};
use crate::load::mapping::{ColumnMapping, ValueFormat};
use crate::load::refusal::{RefusalScope, refusal_error, refused_columns};
use crate::load::reject::duplicates::{DuplicateRow, UniqueIndex};
use crate::load::write::Writer;
use crate::load::write::outcome::{RowCounts, WriteFailure};
use crate::load::write::rows::{RowWriter, read_values};
use crate::{Error, Result};

/// Pieces of at most this number of rows are written one by one, which is faster than to search them for bad rows.
const FEW_ROWS: usize = 32;

/// Writes chunks, and separates the rows that the server refuses.
#[derive(Debug)]
pub(crate) struct RejectIsolator<'a> {
    client: &'a Client,
    writer: &'a mut Writer,
    /// Writes rows one by one; `None` if INSERT and COPY do not accept the same values.
    row_writer: Option<RowWriter>,
    table: &'a Table,
    mapping: &'a Arc<ColumnMapping>,
    /// Whether the load ends with the first row that is refused.
    is_search: bool,
    /// Whether an existing key is an error, and no trigger can change the key before it is stored.
    keys_are_final: bool,
    /// For each violation of a unique key so far, by what the server calls it, the indexes that it may mean and that can be
    /// searched.
    indexes: Vec<(String, Arc<[UniqueIndex]>)>,
    /// Number of rows in the next piece, adapted to the success of the last ones.
    piece_rows: usize,
    /// Rows in the next run: how many are written one by one before the length of a piece is reconsidered.
    run_rows: usize,
    /// Whether the server has accepted any row of the load, which shows that a refusal concerns the refused row.
    any_accepted: bool,
    /// The first refusal that may be about more than its row, until a row is accepted.
    doubtful: Option<Error>,
}

/// Rows written and rows rejected so far.
#[derive(Debug, Default)]
struct WrittenRows {
    counts: RowCounts,
    rejects: Vec<Reject>,
}

impl<'a> RejectIsolator<'a> {
    /// Write over `client`, which has a transaction open. `row_writer` is `None` if INSERT and
    /// COPY do not accept the same values; `is_search` if the load ends with the first row that is refused; `updates_keys` as
    /// for an existing key, and `any_accepted` of the files.
    pub(crate) fn new(
        client: &'a Client,
        writer: &'a mut Writer,
        row_writer: Option<RowWriter>,
        table: &'a Table,
        mapping: &'a Arc<ColumnMapping>,
        (is_search, updates_keys, any_accepted): (bool, bool, bool),
    ) -> Self {
        // A trigger may change the key.
        let keys_are_final = !updates_keys && table.before_insert_triggers.is_empty();
        let (indexes, piece_rows, run_rows) = (Vec::new(), CHUNK_ROWS, FEW_ROWS);
        RejectIsolator {
            client,
            writer,
            row_writer,
            table,
            mapping,
            is_search,
            keys_are_final,
            indexes,
            piece_rows,
            run_rows,
            any_accepted,
            doubtful: None,
        }
    }

    /// Write `rows` of `chunk`; return the server's counts, and the rejected rows in the order of the chunk.
    ///
    /// # Errors
    /// When the error is not about a row (a lost connection, a full disk, a deadlock), or may not be, because no row has
    /// been accepted yet.
    pub(crate) async fn write(
        &mut self,
        chunk: &Chunk,
        rows: Range<usize>,
    ) -> Result<(RowCounts, Vec<Reject>)> {
        let mut written = WrittenRows::default();
        let mut start = rows.start;
        while start < rows.end {
            let row_by_row = self.piece_rows <= FEW_ROWS;
            let length = if row_by_row { self.run_rows } else { self.piece_rows };
            let piece = start..rows.end.min(start + length);
            start = if row_by_row || piece.len() == 1 {
                self.write_run(chunk, piece, &mut written).await?
            } else {
                self.write_piece(chunk, piece, &mut written).await?
            };
        }
        match self.doubtful.take().filter(|_| !self.any_accepted) {
            Some(error) => Err(error),
            None => Ok((written.counts, written.rejects)),
        }
    }

    /// Write the rows `run` one by one, adapt the length of the next piece and run, and return the next row.
    async fn write_run(
        &mut self,
        chunk: &Chunk,
        run: Range<usize>,
        written: &mut WrittenRows,
    ) -> Result<usize> {
        let before = written.rejects.len();
        self.write_row_by_row(chunk, run.clone(), written).await?;
        let rejected = written.rejects.len() - before;
        if rejected == 0 {
            self.piece_rows = (self.piece_rows * 2).min(CHUNK_ROWS);
        }
        // All rows in flight are awaited at the end of a run, so that longer runs are faster.
        let is_dense = rejected * 16 > run.len();
        self.run_rows = if is_dense { (self.run_rows * 2).min(8 * FEW_ROWS) } else { FEW_ROWS };
        Ok(run.end)
    }

    /// Try to write `piece`, adapt the length of the next one, and return the first row that is not dealt with yet.
    async fn write_piece(
        &mut self,
        chunk: &Chunk,
        piece: Range<usize>,
        written: &mut WrittenRows,
    ) -> Result<usize> {
        let refused = match self.attempt(chunk.slice(piece.clone())).await? {
            Ok(counts) => {
                written.counts += counts;
                self.piece_rows = (self.piece_rows * 2).min(CHUNK_ROWS);
                return Ok(piece.end);
            }
            Err(refused) => refused,
        };
        let duplicates = self.duplicates(chunk, &piece, &refused.error).await?;
        if let Some(duplicates) = &duplicates {
            let rows: Vec<usize> = duplicates.keys().copied().collect();
            if let Ok(counts) = self.attempt(chunk.without(piece.clone(), &rows)).await? {
                written.counts += counts;
                if self.is_search && self.refused_alone(chunk, rows[0], written).await? {
                    return Ok(piece.end);
                }
                let rejects = duplicates.iter().map(|(row, reason)| chunk.reject(*row, reason.clone()));
                written.rejects.extend(rejects);
                return Ok(piece.end);
            }
        }
        self.piece_rows = (piece.len() / 2).max(FEW_ROWS);
        // If there are duplicates, something else is wrong too, and each attempt would search for them again.
        let good = refused.good_rows.filter(|&good| good < piece.len() && duplicates.is_none());
        let Some(good) = good else { return Ok(piece.start) };
        // After the bad row, expect about as many good rows as before it; a few more do little harm.
        self.piece_rows = (good * 8).clamp(FEW_ROWS, CHUNK_ROWS);
        if self.piece_rows == FEW_ROWS {
            return Ok(piece.start);
        }
        let bad = piece.start + good;
        if let Ok(counts) = self.attempt(chunk.slice(piece.start..bad)).await? {
            written.counts += counts;
            self.write_row_by_row(chunk, bad..bad + 1, written).await?;
            return Ok(bad + 1);
        }
        self.piece_rows = (good / 2).max(FEW_ROWS);
        Ok(piece.start)
    }

    /// Write `row`, whose key is a duplicate, by itself; whether it was rejected. Its own error names the worker that has the
    /// key, where that of all rows is about any of them, or names none.
    async fn refused_alone(&mut self, chunk: &Chunk, row: usize, written: &mut WrittenRows) -> Result<bool> {
        let before = written.rejects.len();
        self.write_row_by_row(chunk, row..row + 1, written).await?;
        Ok(written.rejects.len() > before)
    }

    /// Write or reject each of `rows`.
    async fn write_row_by_row(
        &mut self,
        chunk: &Chunk,
        rows: Range<usize>,
        written: &mut WrittenRows,
    ) -> Result<()> {
        let results = if let Some(row_writer) = &mut self.row_writer {
            row_writer.insert_each(self.client, chunk, rows.clone()).await?
        } else {
            let mut results = Vec::with_capacity(rows.len());
            for row in rows.clone() {
                let result = self.attempt(chunk.slice(row..row + 1)).await?;
                results.push(result.map_err(|refused| refused.error));
            }
            results
        };
        for (row, result) in rows.zip(results) {
            match result {
                Ok(counts) => {
                    self.any_accepted = true;
                    written.counts += counts;
                }
                Err(error) if RefusalScope::new(&error) != RefusalScope::Session => {
                    let indexes = self.indexes(&error).await?;
                    let index = indexes.first().filter(|_| indexes.len() == 1);
                    let db = error.as_db_error();
                    let detail = db.and_then(|db| db.detail()).map(str::to_owned);
                    let worker = db.and_then(|db| worker(db.where_()?)).map(str::to_owned);
                    let reason = Reason { detail, worker, ..self.reason(&error, index) };
                    written.rejects.push(chunk.reject(row, reason));
                    if RefusalScope::new(&error) == RefusalScope::RowIfOthersPass
                        && !self.any_accepted
                        && self.doubtful.is_none()
                        && !self.refuses_values(chunk, row).await?
                    {
                        self.doubtful = Some(self.refused_row(chunk, row, error));
                    }
                }
                Err(error) => return Err(self.not_about_rows(error)),
            }
        }
        Ok(())
    }

    /// Whether the server refuses the values of `row` even where they are not inserted, so that the table and its triggers
    /// have no part in it.
    async fn refuses_values(&self, chunk: &Chunk, row: usize) -> Result<bool> {
        self.execute("SAVEPOINT reading").await?;
        let read = read_values(self.client, self.mapping, chunk, row).await;
        self.execute("ROLLBACK TO reading; RELEASE reading").await?;
        Ok(read.is_err())
    }

    /// Write `piece` completely, or nothing of it.
    async fn attempt(&mut self, piece: Chunk) -> Result<Result<RowCounts, RefusedPiece>> {
        self.execute("SAVEPOINT piece").await?;
        let mut feed = ChunkFeed::from_chunk(piece);
        match self.writer.write(self.client, &mut feed).await {
            Ok(counts) => {
                self.execute("RELEASE piece").await?;
                self.any_accepted = true;
                Ok(Ok(counts))
            }
            Err(WriteFailure::Input(error)) => Err(error),
            Err(WriteFailure::Server { error, rows }) => {
                if RefusalScope::new(&error) == RefusalScope::Session {
                    return Err(self.not_about_rows(error));
                }
                self.execute("ROLLBACK TO piece; RELEASE piece").await?;
                let good_rows = rows.filter(|(first, last)| first == last).map(|(row, _)| row as usize);
                Ok(Err(RefusedPiece { error, good_rows }))
            }
        }
    }

    /// The rows of `piece` that violate the unique index of `error`, and how; `None` if they cannot be found by a query.
    async fn duplicates(
        &mut self,
        chunk: &Chunk,
        piece: &Range<usize>,
        error: &PgError,
    ) -> Result<Option<BTreeMap<usize, Reason>>> {
        if !self.keys_are_final {
            return Ok(None);
        }
        let indexes = self.indexes(error).await?;
        let RejectIsolator { client, table, mapping, .. } = *self;
        let mut duplicates = BTreeMap::new();
        for index in indexes.iter() {
            if index.columns.iter().any(|&column| chunk.formats[column] == ValueFormat::Text) {
                continue;
            }
            let reason = self.reason(error, Some(index));
            for DuplicateRow { row, detail } in
                index.duplicates(client, table, mapping, chunk, piece.clone()).await?
            {
                duplicates.entry(row).or_insert(Reason { detail: Some(detail), ..reason.clone() });
            }
        }
        // None found: the conflicting row belongs to a transaction that this query cannot see.
        Ok(Some(duplicates).filter(|duplicates| !duplicates.is_empty()))
    }

    /// The unique indexes that `error` may report as violated, looked up the first time; none if it reports another
    /// violation, or an index that cannot be searched.
    async fn indexes(&mut self, error: &PgError) -> Result<Arc<[UniqueIndex]>> {
        // What a node of Citus refuses of a COPY is reported as an internal error, with the node's message.
        let is_distributed = self.table.distribution.is_some();
        let db = error.as_db_error();
        let db = db.filter(|db| {
            db.code() == &SqlState::UNIQUE_VIOLATION
                || is_distributed && db.code() == &SqlState::INTERNAL_ERROR
        });
        let Some(db) = db else { return Ok([].into()) };
        let name = db.constraint().unwrap_or(db.message());
        if let Some((_, known)) = self.indexes.iter().find(|(known, _)| known == name) {
            return Ok(Arc::clone(known));
        }
        let found: Arc<[_]> = UniqueIndex::find(self.client, self.table, db, self.mapping).await?.into();
        self.indexes.push((name.to_owned(), Arc::clone(&found)));
        Ok(found)
    }

    /// The part of `error` that applies to every row that violates the same constraint, which is that of `index`, if any.
    fn reason(&self, error: &PgError, index: Option<&UniqueIndex>) -> Reason {
        let Some(db) = error.as_db_error() else { return Reason::new(error.to_string()) };
        let message = match index {
            Some(index) => with_name(db.message(), db.constraint(), &index.name),
            None => db.message().to_owned(),
        };
        let constraint = index.map(|index| index.name.as_str()).or(db.constraint());
        let reason = Reason {
            sqlstate: Some(index.map_or(db.code(), |_| &SqlState::UNIQUE_VIOLATION).code().to_owned()),
            constraint: constraint.map(str::to_owned),
            ..Reason::new(message)
        };
        let refused = refused_columns(db, self.table);
        let only = if let [name] = refused[..] { Some(name) } else { None };
        let by_name =
            db.column().or(only).and_then(|name| self.mapping.names().position(|loaded| loaded == name));
        let of_index = index.map(|index| &index.columns[..]);
        let columns = &self.mapping.columns;
        match by_name.as_ref().map(std::slice::from_ref).or(of_index) {
            Some(&[column]) => Reason {
                column: Some(columns[column].column.name.clone()),
                field: columns[column].field_number(),
                ..reason
            },
            Some(key) => {
                let key: Vec<&str> = key.iter().map(|&column| columns[column].column.name.as_str()).collect();
                Reason { column: Some(key.join(", ")), ..reason }
            }
            None => reason,
        }
    }

    /// The error for a refusal that is not about a row, so that rejecting rows would not help.
    fn not_about_rows(&self, error: PgError) -> Error {
        refusal_error(&format!("load rows into {}", self.table.name), error)
    }

    /// The error for the refusal of `row` of `chunk`, in a load of which no row was accepted.
    fn refused_row(&self, chunk: &Chunk, row: usize, error: PgError) -> Error {
        let line = chunk.lines.get(row);
        let doing = format!("load {}, line {line} into {}", chunk.file, self.table.name);
        refusal_error(&doing, error).at(Location::on_line(&chunk.file, line))
    }

    async fn execute(&self, sql: &str) -> Result<()> {
        let done = self.client.batch_execute(sql).await;
        done.map_err(|error| {
            Error::database(&format!("set a savepoint while loading {}", self.table.name), error)
        })
    }
}

/// A piece that the server refused.
struct RefusedPiece {
    error: PgError,
    /// Number of rows before the one at fault; `None` if the server does not tell which one that is.
    good_rows: Option<usize>,
}

/// `message` with the `name` of an index in place of the one that the server `reported`, if any, or of the name with a
/// shard's number: the rows that one message is about may be in several partitions or shards.
fn with_name(message: &str, reported: Option<&str>, name: &str) -> String {
    let word = reported.unwrap_or(name);
    let Some(start) = message.rfind(word) else { return message.to_owned() };
    let rest = &message[start + word.len()..];
    let rest = if reported.is_some() {
        rest
    } else {
        rest.trim_start_matches(|c: char| c == '_' || c.is_ascii_digit())
    };
    format!("{}{name}{rest}", &message[..start])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_index_of_the_whole_table() {
        for (reported, expected, message) in [
            (Some("t_1_key"), "unique constraint \"t_key\"", "unique constraint \"t_1_key\""),
            (None, "unique constraint \"t_key\"", "unique constraint \"t_key_102008\""),
            (None, "no name", "no name"),
        ] {
            assert_eq!(with_name(message, reported, "t_key"), expected);
        }
    }
}
