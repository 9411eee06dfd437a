//! What a ledger tells of its imports, and how one is forgotten.

use serde::Serialize;
use tokio_postgres::{Client, Error as PgError, Row};

use crate::catalog::TableName;
use crate::load::ledger::import::Import;
use crate::load::ledger::locks::{LockName, in_use};
use crate::load::ledger::tables::LedgerTables;
use crate::load::options::ImportOptions;
use crate::load::table::indexes::DeferredIndexes;
use crate::postgres::connect_error::is_answer_lost;
use crate::postgres::server::Database;
use crate::postgres::target_session::HostChoice;
use crate::progress::{Progress, Unanswered};
use crate::sql::literal;
use crate::{Error, ErrorKind, Result};

/// What is not known until the COMMIT of a transaction is answered that forgets an import.
const UNANSWERED: Unanswered = Unanswered {
    unknown: "whether the import is forgotten is not known",
    help: "postgres-etl imports lists it if it is not",
};

/// The ledger of the imports into the tables of a database; see [`ImportOptions`].
#[derive(Debug, Clone)]
pub struct Ledger {
    tables: LedgerTables,
}

/// An import in a ledger. Units are in the names of the fields; counts are those of committed chunks.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ImportStatus {
    /// Its ID.
    pub id: String,
    /// The table that it loads.
    pub table: String,
    /// Whether it is finished, or being worked on.
    pub state: ImportState,
    /// The sessions that work on it; empty also where they go through a connection pooler.
    pub sessions: Vec<String>,
    /// Chunks.
    pub chunks: u64,
    /// Records read.
    pub rows_read: u64,
    /// Rows inserted or updated.
    pub rows_loaded: u64,
    /// Records left out because their key existed.
    pub rows_skipped: u64,
    /// Records rejected.
    pub rows_rejected: u64,
    /// How far into its input the last chunk is, in percent; `None` if the size of the input is not known.
    pub percent: Option<f64>,
    /// Records per second that a process spent on chunks; `None` before the first chunk.
    pub rows_per_second: Option<f64>,
    /// Time since it began.
    pub age_seconds: f64,
    /// When it began, by the server's clock.
    pub started: String,
    /// When the last chunk was committed; `None` if none was.
    pub last_commit: Option<String>,
    /// When it was finished; `None` if it was not.
    pub finished: Option<String>,
    /// Indexes of the table that it dropped when it began, and rebuilds when it is finished; empty if there are none.
    pub indexes_to_rebuild: Vec<String>,
}

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ImportState {
    /// All its chunks are committed, and the indexes rebuilt that it dropped.
    Finished,
    /// A session works on it.
    Running,
    /// It is not finished, and no session is known to work on it.
    Unfinished,
}

impl Default for Ledger {
    /// The ledger `postgres_etl.ledger`.
    fn default() -> Self {
        Ledger::new(&ImportOptions::new("").ledger)
    }
}

impl Ledger {
    /// The ledger in the table `name`.
    pub fn new(name: &TableName) -> Self {
        Ledger { tables: LedgerTables::new(name) }
    }

    /// Its imports, the latest first; empty if there is no ledger.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses.
    pub async fn imports(&self, database: &Database) -> Result<Vec<ImportStatus>> {
        // Only there do imports hold their locks.
        let client = database.connection_to(HostChoice::PreferPrimary).await?;
        let failed = |error| Error::database(&format!("list the imports of {}", self.tables.name), error);
        if !self.tables.exist(&client).await.map_err(failed)? {
            return Ok(Vec::new());
        }
        let rows = client.query(&self.query(), &[]).await.map_err(failed)?;
        let mut imports: Vec<ImportStatus> = rows.iter().map(ImportStatus::from_row).collect();
        for import in &mut imports {
            let holders = LockName::of_import(&import.id).holders(&client).await.map_err(failed)?;
            import.sessions = holders.into_iter().map(|holder| holder.described).collect();
            if import.state == ImportState::Unfinished && !import.sessions.is_empty() {
                import.state = ImportState::Running;
            }
        }
        Ok(imports)
    }

    /// Forget the import `id`: its rows stay in the table, and a load with this ID begins anew. First rebuild the indexes that it
    /// dropped and has not rebuilt, and return their names. Once [`Progress::is_committing`], nothing should cancel it.
    ///
    /// # Errors
    /// When there is none, a session works on it, or an index cannot be rebuilt;
    /// [`ErrorKind::OutcomeUnknown`] when the answer to the COMMIT was lost.
    pub async fn forget(&self, database: &Database, id: &str, progress: &Progress) -> Result<Vec<String>> {
        let client = database.connection_to(HostChoice::Primary).await?;
        let failed = |error| Error::database(&format!("forget import {id}"), error);
        let unknown = || {
            Error::usage(format!("there is no import {id} in {}", self.tables.name))
                .with_help("postgres-etl imports lists them")
        };
        if !self.tables.exist(&client).await.map_err(failed)? {
            return Err(unknown());
        }
        client.batch_execute("BEGIN").await.map_err(failed)?;
        let forgotten = self.delete(&client, id).await;
        let Ok(Some(rebuilt)) = forgotten else {
            drop(client.batch_execute("ROLLBACK").await);
            return Err(match forgotten {
                // Other errors are then its consequence.
                Err(_) if progress.is_cancelled() => {
                    Error::interrupted().and(&format!("import {id} was not forgotten"))
                }
                Err(error) => error,
                Ok(_) => unknown(),
            });
        };
        progress.begin_step(UNANSWERED);
        progress.uncancelled(client.batch_execute("COMMIT")).await.map_err(|error| {
            if is_answer_lost(&error) {
                let error = failed(error).with_kind(ErrorKind::OutcomeUnknown);
                return error.and(UNANSWERED.unknown).with_help(UNANSWERED.help);
            }
            failed(error)
        })?;
        progress.settle_step();
        Ok(rebuilt)
    }

    /// Delete the import `id` after its indexes are rebuilt, and return their names; `None` if there is no such import.
    async fn delete(&self, client: &Client, id: &str) -> Result<Option<Vec<String>>> {
        let failed = |error| Error::database(&format!("forget import {id}"), error);
        let lock = LockName::of_import(id);
        if !lock.try_for_transaction(client).await.map_err(failed)? {
            return Err(in_use(id, &lock.holders(client).await.map_err(failed)?));
        }
        let Some(import) = Import::find(client, &self.tables, id).await? else { return Ok(None) };
        let mut rebuilt = Vec::new();
        if !import.indexes.is_empty() {
            let locked = import.try_lock(client, &self.tables).await?;
            // Behind a pooler, a run that rebuilds them has locked nothing else.
            let indexes = locked.ok_or_else(|| in_use(id, &[]))?;
            if !indexes.is_empty() && import.has_indexed_table(client).await? {
                indexes.restore(client).await.map_err(|error| self.by_hand(id, &indexes, error))?;
                rebuilt = indexes.deferred;
            }
        }
        let sql = format!("DELETE FROM {} WHERE import = $1", self.tables.imports);
        client.execute(&sql, &[&import.number]).await.map_err(failed)?;
        Ok(Some(rebuilt))
    }

    /// `error`, at which `indexes` of the import `id` cannot be rebuilt, with the statements with which a user can rebuild them,
    /// or decide not to.
    fn by_hand(&self, id: &str, indexes: &DeferredIndexes, error: PgError) -> Error {
        let statements = indexes.statements().join(";\n");
        let imports = &self.tables.imports;
        let cleared = format!("UPDATE {imports} SET indexes = NULL WHERE id = {}", literal(id));
        Error::database("rebuild the indexes that the import dropped", error)
            .and(&format!("import {id} was not forgotten"))
            .with_help(format!(
                "remove the cause, and try again; or execute those of these statements that you want, and try again:\n\
                 BEGIN;\n{statements};\n{cleared};\nCOMMIT;"
            ))
    }

    fn query(&self) -> String {
        let LedgerTables { imports, chunks, .. } = &self.tables;
        format!(
            "SELECT id, table_name, finished::text, started::text,
                    EXTRACT(epoch FROM pg_catalog.clock_timestamp() - started)::float8,
                    (SELECT CASE WHEN pg_catalog.count(*) = pg_catalog.count(size)
                                 THEN pg_catalog.sum(size)::float8 END
                     FROM pg_catalog.jsonb_to_recordset(files) AS f (size bigint)),
                    pg_catalog.count(chunk), COALESCE(pg_catalog.sum(rows_read), 0)::bigint,
                    COALESCE(pg_catalog.sum(rows_inserted + rows_updated), 0)::bigint,
                    COALESCE(pg_catalog.sum(rows_skipped), 0)::bigint,
                    COALESCE(pg_catalog.sum(rows_rejected), 0)::bigint,
                    pg_catalog.sum(seconds), pg_catalog.max(input_bytes)::float8, pg_catalog.max(committed)::text,
                    -- A ledger of an earlier version has no such column.
                    ARRAY(SELECT pg_catalog.jsonb_array_elements_text(pg_catalog.to_jsonb(i) #> '{{indexes,names}}'))
             FROM {imports} AS i LEFT JOIN {chunks} AS c ON c.import = i.import
             GROUP BY i.import ORDER BY started DESC"
        )
    }
}

impl ImportStatus {
    fn from_row(row: &Row) -> Self {
        let count = |column: usize| row.get::<_, i64>(column) as u64;
        let (finished, rows_read): (Option<String>, _) = (row.get(2), count(7));
        let (size, read): (Option<f64>, Option<f64>) = (row.get(5), row.get(12));
        let percent = match (size, read.unwrap_or(0.0)) {
            _ if finished.is_some() => Some(100.0),
            (Some(size), read) if size > 0.0 => Some((read * 100.0 / size).min(100.0)),
            _ => None,
        };
        let seconds = row.get::<_, Option<f64>>(11).filter(|seconds| *seconds > 0.0);
        ImportStatus {
            id: row.get(0),
            table: row.get(1),
            state: if finished.is_some() { ImportState::Finished } else { ImportState::Unfinished },
            sessions: Vec::new(),
            chunks: count(6),
            rows_read,
            rows_loaded: count(8),
            rows_skipped: count(9),
            rows_rejected: count(10),
            percent,
            rows_per_second: seconds.map(|seconds| rows_read as f64 / seconds),
            age_seconds: row.get(4),
            started: row.get(3),
            last_commit: row.get(13),
            finished,
            indexes_to_rebuild: row.get(14),
        }
    }
}
