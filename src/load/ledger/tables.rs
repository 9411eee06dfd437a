//! The tables of a ledger.

use tokio_postgres::{Client, Error as PgError};

use crate::catalog::TableName;
use crate::load::ledger::locks::{LockName, poll};
use crate::progress::Progress;
use crate::{Error, Result};

/// The names of a ledger's tables, as SQL.
#[derive(Debug, Clone)]
pub(crate) struct LedgerTables {
    /// The name of the ledger, as the user knows it.
    pub name: TableName,
    /// A row for each committed chunk.
    pub chunks: String,
    /// A row for each import.
    pub imports: String,
    /// A row for each rejected record.
    pub rejects: String,
}

impl LedgerTables {
    /// The tables of the ledger called `name`.
    pub(crate) fn new(name: &TableName) -> Self {
        let beside = |ending: &str| {
            TableName { table: format!("{}{ending}", name.table), schema: name.schema.clone() }.sql()
        };
        LedgerTables {
            name: name.clone(),
            chunks: name.sql(),
            imports: beside("_imports"),
            rejects: beside("_rejects"),
        }
    }

    /// Whether they exist.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn exist(&self, client: &Client) -> Result<bool, PgError> {
        let sql = "SELECT pg_catalog.to_regclass($1) IS NOT NULL";
        Ok(client.query_one(sql, &[&self.rejects]).await?.get(0))
    }

    /// Create them if they do not exist, in the open transaction of `client`, once no other session is about to.
    ///
    /// # Errors
    /// When the server refuses, as without the privilege to create the schema, and when `progress` is cancelled.
    pub(crate) async fn create(&self, client: &Client, progress: &Progress) -> Result<()> {
        let failed = |error| {
            Error::database(&format!("create the ledger {}", self.name), error).and_help(
                "the ledger needs a schema in which the session's role may create tables: name another with --ledger",
            )
        };
        if self.exist(client).await.map_err(failed)? {
            return Ok(());
        }
        // Held until the end of the transaction: even with IF NOT EXISTS, concurrent creation can fail.
        let lock = LockName::of_creation(&self.chunks);
        let locked = async || Ok(lock.try_for_transaction(client).await.map_err(failed)?.then_some(()));
        poll(progress, locked).await?;
        let created = async {
            if !self.exist(client).await? {
                // Even if the schema exists, IF NOT EXISTS needs the privilege to create one.
                let sql = "SELECT pg_catalog.to_regnamespace($1) IS NULL";
                if let Some(schema) = self.name.schema.as_deref().map(crate::sql::quote)
                    && client.query_one(sql, &[&schema]).await?.get(0)
                {
                    client.batch_execute(&format!("CREATE SCHEMA {schema}")).await?;
                }
                client.batch_execute(&self.statements()).await?;
            }
            Ok(())
        };
        created.await.map_err(failed)
    }

    /// Give a ledger that an earlier version created the column for the indexes of its imports, in the open transaction of
    /// `client`.
    ///
    /// # Errors
    /// When the server refuses: only the owner of the ledger may do so.
    pub(crate) async fn add_indexes_column(&self, client: &Client) -> Result<()> {
        let failed = |error| Error::database(&format!("add a column to the ledger {}", self.name), error);
        // Even if the column exists, IF NOT EXISTS locks the table, and needs the privilege to alter it.
        let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_attribute
                                  WHERE attrelid = pg_catalog.to_regclass($1) AND attname = 'indexes'
                                    AND NOT attisdropped)";
        if !client.query_one(sql, &[&self.imports]).await.map_err(failed)?.get::<_, bool>(0) {
            let add = format!("ALTER TABLE {} ADD COLUMN IF NOT EXISTS indexes jsonb", self.imports);
            client.batch_execute(&add).await.map_err(failed)?;
        }
        Ok(())
    }

    fn statements(&self) -> String {
        let LedgerTables { chunks, imports, rejects, .. } = self;
        format!(
            "CREATE TABLE {imports} (
                 import bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                 id text NOT NULL UNIQUE,
                 table_name text NOT NULL,
                 table_oid oid NOT NULL,
                 options jsonb NOT NULL,
                 chunk_rows bigint NOT NULL,
                 chunk_bytes bigint NOT NULL,
                 files jsonb NOT NULL,
                 program_version text NOT NULL,
                 started timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
                 finished timestamptz,
                 indexes jsonb
             );
             CREATE TABLE {chunks} (
                 import bigint NOT NULL REFERENCES {imports} ON DELETE CASCADE,
                 chunk bigint NOT NULL,
                 file text NOT NULL,
                 first_line bigint NOT NULL,
                 last_line bigint NOT NULL,
                 first_byte bigint NOT NULL,
                 end_byte bigint NOT NULL,
                 input_bytes bigint NOT NULL,
                 sha256 text NOT NULL,
                 rows_read bigint NOT NULL,
                 rows_inserted bigint NOT NULL,
                 rows_updated bigint NOT NULL,
                 rows_skipped bigint NOT NULL,
                 rows_rejected bigint NOT NULL,
                 seconds double precision NOT NULL,
                 committed timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
                 loaded_by text NOT NULL,
                 program_version text NOT NULL,
                 PRIMARY KEY (import, chunk)
             );
             CREATE TABLE {rejects} (
                 import bigint NOT NULL,
                 chunk bigint NOT NULL,
                 number bigint NOT NULL,
                 header bytea NOT NULL,
                 record bytea NOT NULL,
                 reason json NOT NULL,
                 PRIMARY KEY (import, chunk, number),
                 FOREIGN KEY (import, chunk) REFERENCES {chunks} ON DELETE CASCADE
             );
             COMMENT ON TABLE {imports} IS 'Imports of postgres-etl; one row each';
             COMMENT ON TABLE {chunks} IS
                 'Committed chunks of imports; each row was committed together with the rows it counts. Lines count from 1; first_byte and end_byte are offsets in the decompressed file, input_bytes those of all files read by then, as stored';
             COMMENT ON TABLE {rejects} IS 'Records that imports rejected, byte for byte, the headers of their files, and the reasons'"
        )
    }
}
