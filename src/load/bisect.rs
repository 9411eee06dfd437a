//! Rows that only the server can refuse: found and set aside, so that the others can be loaded.
//!
//! Every piece is written under a savepoint. When the server refuses it, the piece is rolled back and cut: where
//! the server says which row it was, into the rows before it, the row and the rows behind it; otherwise into
//! halves, until the guilty row is alone. A key that is there already is the most common reason, and mostly
//! not a lonely one, so all rows of a piece that break the same unique index are asked for at once.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use tokio_postgres::{Client, Error as PgError};

use super::feed::{Counts, Failed, Feed};
use super::rejects::{Reason, Reject};
use super::target::Targets;
use super::tuples::{Chunk, Format};
use super::unique::UniqueIndex;
use super::writer::Writer;
use crate::table::Table;
use crate::{Error, Result};

/// Writes pieces, and sets aside the rows that the server refuses.
#[derive(Debug)]
pub struct Bisection<'a> {
    client: &'a Client,
    writer: &'a mut Writer,
    table: &'a Table,
    targets: &'a Arc<Targets>,
    /// Whether a key that is in the table already is a fault, and surely the one that would be stored.
    keys_are_final: bool,
    /// The unique indexes that were broken so far; `None` where one cannot be asked about.
    indexes: Vec<(String, Option<UniqueIndex>)>,
}

impl<'a> Bisection<'a> {
    /// Write over `client`, which is inside a transaction; `updates_keys` where rows whose key is there are no error.
    pub fn new(
        client: &'a Client,
        writer: &'a mut Writer,
        table: &'a Table,
        targets: &'a Arc<Targets>,
        updates_keys: bool,
    ) -> Self {
        // A trigger may change them.
        let keys_are_final = !updates_keys && table.before_insert_triggers.is_empty();
        Bisection { client, writer, table, targets, keys_are_final, indexes: Vec::new() }
    }

    /// Write `chunk`; returns what was written, and what was not.
    ///
    /// # Errors
    /// When the failure is not that of a row: a lost connection, a full disk, a deadlock.
    pub async fn write(&mut self, chunk: &Chunk) -> Result<(Counts, Vec<Reject>)> {
        let mut counts = Counts::default();
        let mut rejects = Vec::new();
        let mut pieces = VecDeque::new();
        pieces.push_back(0..chunk.rows());
        while let Some(piece) = pieces.pop_front() {
            if piece.is_empty() {
                continue;
            }
            let refusal = match self.attempt(chunk.slice(piece.clone())).await? {
                Ok(written) => {
                    counts += written;
                    continue;
                }
                Err(refusal) => refusal,
            };
            if piece.len() == 1 {
                let detail = refusal.error.as_db_error().and_then(|db| db.detail()).map(str::to_owned);
                let reason = Reason { detail, ..self.reason(&refusal.error) };
                rejects.push(chunk.reject(piece.start, reason));
                continue;
            }
            let mut guilty = refusal.rows;
            if let Some(duplicates) = self.duplicates(chunk, &piece, &refusal.error).await? {
                let others = chunk.without(piece.clone(), &duplicates);
                if let Ok(written) = self.attempt(others).await? {
                    counts += written;
                    for row in duplicates {
                        rejects.push(chunk.reject(row, self.reason(&refusal.error)));
                    }
                    continue;
                }
                // Something else is wrong too. Cut off one by one, the duplicates would be asked for each time.
                guilty = None;
            }
            for part in cut(&piece, guilty).into_iter().rev() {
                pieces.push_front(part);
            }
        }
        rejects.sort_by_key(|reject| reject.first_line);
        Ok((counts, rejects))
    }

    /// Write `piece` whole or not at all.
    async fn attempt(&mut self, piece: Chunk) -> Result<Result<Counts, Refusal>> {
        self.run("SAVEPOINT piece").await?;
        let mut feed = Feed::piece(piece);
        match self.writer.write(self.client, &mut feed).await {
            Ok(counts) => {
                self.run("RELEASE piece").await?;
                Ok(Ok(counts))
            }
            Err(Failed::Input(error)) => Err(error),
            Err(Failed::Server { error, rows }) => {
                if !is_about_rows(&error, self.table) {
                    return Err(super::refused(&format!("load rows into {}", self.table.name), &error));
                }
                self.run("ROLLBACK TO piece; RELEASE piece").await?;
                Ok(Err(Refusal { error, rows }))
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
        let Some(db) = error.as_db_error().filter(|db| db.code().code() == "23505") else { return Ok(None) };
        let Some(name) = db.constraint().map(str::to_owned) else { return Ok(None) };
        #[expect(clippy::single_match_else, reason = "a map_or_else cannot await")]
        let known = match self.indexes.iter().position(|(known, _)| *known == name) {
            Some(known) => known,
            None => {
                let index = UniqueIndex::find(self.client, self.table, &name, self.targets).await?;
                self.indexes.push((name, index));
                self.indexes.len() - 1
            }
        };
        // Known it is for the log in any case.
        let Some(index) = self.indexes[known].1.as_ref().filter(|_| self.keys_are_final) else {
            return Ok(None);
        };
        if index.columns.iter().any(|&column| chunk.formats[column] == Format::Text) {
            return Ok(None);
        }
        let rows = index.duplicates(self.client, self.table, self.targets, chunk, piece.clone()).await?;
        // If it finds none, somebody else's transaction holds the key.
        Ok(Some(rows).filter(|rows| !rows.is_empty()))
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
    /// The rows of the piece that it may be about.
    rows: Option<(u64, u64)>,
}

/// The parts of `piece` to try next, in order, when the rows `guilty` of it, from 0, are suspected.
fn cut(piece: &Range<usize>, guilty: Option<(u64, u64)>) -> Vec<Range<usize>> {
    let row = |row: u64| (piece.start + row as usize).min(piece.end);
    match guilty {
        Some((first, last)) if row(first) > piece.start || row(last + 1) < piece.end => {
            let (first, end) = (row(first), row(last + 1));
            vec![piece.start..first, first..end, end..piece.end]
        }
        _ => {
            let middle = piece.start + piece.len() / 2;
            vec![piece.start..middle, middle..piece.end]
        }
    }
}

/// Whether leaving out rows of `table` may help. Classes of SQLSTATE are listed in PostgreSQL's appendix A.
pub fn is_about_rows(error: &PgError, table: &Table) -> bool {
    let Some(db) = error.as_db_error() else { return false };
    // Where there is a row security policy, 42501 may be about the row. The others are about a value, because the
    // statement was prepared: a tsvector's syntax, a malformed or unknown name in a regclass or regproc. XX000 is
    // what PostGIS raises for a geometry that it cannot read.
    let code = db.code().code();
    (code == "42501" && table.has_row_security)
        || matches!(code, "42601" | "42602" | "42704" | "42883" | "42P01" | "XX000")
        || !matches!(&code[..2], "08" | "0A" | "25" | "40" | "42" | "53" | "55" | "57" | "58" | "F0" | "XX")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_cut_where_the_guilt_is() {
        assert_eq!(cut(&(10..20), Some((3, 3))), [10..13, 13..14, 14..20]);
        assert_eq!(cut(&(10..20), Some((0, 0))), [10..10, 10..11, 11..20]);
        assert_eq!(cut(&(10..20), Some((2, 5))), [10..12, 12..16, 16..20]);
        assert_eq!(cut(&(10..20), Some((0, 9))), [10..15, 15..20]);
        assert_eq!(cut(&(10..13), None), [10..11, 11..13]);
    }
}
