//! What an import is to do, settled in one transaction before its first chunk.

use std::sync::Arc;

use tokio_postgres::{Client, Error as PgError};

use crate::catalog::Table;
use crate::csv::{Files, InputFormat, Inputs};
use crate::error::ErrorKind;
use crate::load::ledger::chunks::ChunkLedger;
use crate::load::ledger::import::{Import, ImportRequest};
use crate::load::ledger::locks::{LockName, poll};
use crate::load::ledger::tables::LedgerTables;
use crate::load::options::{DeferIndexes, ImportOptions};
use crate::load::settings::LoadSettings;
use crate::load::table::create::NewTable;
use crate::load::table::indexes::{DeferredIndexes, has_indexes};
use crate::load::table::prepare::{PreparedTable, defer_indexes, prepare_table};
use crate::progress::Progress;
use crate::{Error, Result};

/// An import that is in the ledger, and all that its chunks have in common.
pub(super) struct ImportPlan<'a> {
    pub(super) settings: &'a LoadSettings,
    pub(super) options: &'a ImportOptions,
    pub(super) tables: LedgerTables,
    pub(super) import: Import,
    pub(super) prepared: PreparedTable,
    pub(super) inputs: Inputs,
    pub(super) format: InputFormat,
    /// How a single record of the input files is written.
    pub(super) record_format: InputFormat,
    /// Who loads its chunks.
    pub(super) loaded_by: String,
}

impl<'a> ImportPlan<'a> {
    /// Find the import in the ledger, or add it, in a transaction of `client`; then create or empty the table, if that is
    /// wanted.
    ///
    /// # Errors
    /// When the import began with something else than `settings` and `files`, or the table cannot be loaded in chunks.
    pub(super) async fn begin(
        settings: &'a LoadSettings,
        options: &'a ImportOptions,
        files: &Files,
        new_table: Option<&NewTable>,
        (client, progress): (&Client, &Progress),
    ) -> Result<ImportPlan<'a>> {
        let (tables, id) = (LedgerTables::new(&options.ledger), &options.id);
        let failed = |error| Error::database(&format!("begin import {id}"), error);
        poll(progress, async || lock_beginning(client, id).await.map_err(failed)).await?;
        tables.create(client, progress).await?;
        let found = Import::find(client, &tables, id).await?;
        let new_table = new_table.filter(|_| found.is_none());
        let mut prepared = prepare_table(client, settings, files, new_table).await?;
        check_table(client, &prepared.table).await?;
        if let Some(import) = &found {
            import.restore(Arc::make_mut(&mut prepared.mapping));
        }
        let request = ImportRequest::new(settings, files, &prepared);
        let import = if let Some(import) = found {
            import.check(id, &request)?;
            check_rejects(settings, id, &import)?;
            if !import.indexes.is_empty() {
                import.has_indexed_table(client).await?;
            }
            prepared.truncate = false;
            import
        } else {
            prepared.empty(client).await?;
            let indexes = match settings.defer_indexes {
                DeferIndexes::Always if prepared.table.is_partitioned => {
                    return Err(keeps_partitioned(&prepared.table));
                }
                DeferIndexes::Always => defer_indexes(client, settings, &prepared, files.inputs()).await?,
                // Others use the table until the import is finished, which may never be.
                DeferIndexes::Auto | DeferIndexes::Never => DeferredIndexes::default(),
            };
            Import::add(client, &tables, options, request, indexes).await?
        };
        prepared.indexes.kept_because = kept_because(client, settings, &import, &prepared.table).await?;
        client.batch_execute("COMMIT").await.map_err(failed)?;
        Ok(ImportPlan {
            settings,
            options,
            tables,
            import,
            prepared,
            inputs: files.inputs().clone(),
            format: files.format().clone(),
            record_format: files.record_format(),
            loaded_by: format!(
                "process {} on {}",
                std::process::id(),
                rustix::system::uname().nodename().to_string_lossy()
            ),
        })
    }

    /// Its committed chunks.
    pub(super) fn ledger(&self) -> ChunkLedger<'_> {
        ChunkLedger { tables: &self.tables, import: &self.import }
    }
}

/// Begin a transaction of `client`, and lock the beginning of the import `id` in it, so that of two runs that begin at the
/// same time the second finds what the first has added; `None`, and no transaction, if another one has locked it.
async fn lock_beginning(client: &Client, id: &str) -> Result<Option<()>, PgError> {
    client.batch_execute("BEGIN").await?;
    if LockName::of_beginning(id).try_for_transaction(client).await? {
        return Ok(Some(()));
    }
    client.batch_execute("ROLLBACK").await?;
    Ok(None)
}

/// The error for a partitioned `table`, whose partitions may be others when its indexes are to be rebuilt.
fn keeps_partitioned(table: &Table) -> Error {
    Error::usage(format!(
        "--defer-indexes always: {} is partitioned, and the indexes of its partitions have to stay in place during an import",
        table.name
    ))
    .with_help("use --defer-indexes auto, or never; or load into the partitions")
}

/// Check that rows need not be rejected because of a key whose index the import has dropped.
fn check_rejects(settings: &LoadSettings, id: &str, import: &Import) -> Result<()> {
    if import.indexes.is_empty() || !settings.max_rejects.allows_any() {
        return Ok(());
    }
    let indexes = import.indexes.deferred.join(", ");
    Err(Error::usage(format!(
        "--max-rejects needs the indexes for every row, and import {id} began with --defer-indexes always: {indexes}"
    ))
    .with_help("leave it out"))
}

/// Why the indexes of `table` stay in place during `import`; `None` if they do not, or nobody would expect anything else.
async fn kept_because(
    client: &Client,
    settings: &LoadSettings,
    import: &Import,
    table: &Table,
) -> Result<Option<String>> {
    let reason = match settings.defer_indexes {
        DeferIndexes::Never => return Ok(None),
        DeferIndexes::Auto => {
            "others use them during an import, unless it begins with --defer-indexes always"
        }
        DeferIndexes::Always => "the import began with them in place",
    };
    let is_over = import.finished.is_some() || !import.indexes.is_empty();
    if is_over || !has_indexes(client, table).await? {
        return Ok(None);
    }
    Ok(import.indexes.kept_because.clone().or_else(|| Some(reason.to_owned())))
}

/// The first of several `names`, or their number where they are many.
fn some_of(names: &[String]) -> String {
    match names {
        [first, second] => format!("{first} and {second}"),
        [first, others @ ..] => format!("{first} and {} others", others.len()),
        [] => String::new(),
    }
}

/// Check that what is committed in `table` stays together with the ledger, and that any part of the rows can be committed
/// before the others.
async fn check_table(client: &Client, table: &Table) -> Result<()> {
    let name = &table.name;
    let refuse = |reason: String, help: &str| {
        Err(Error::new(ErrorKind::Database, format!("--import-id: {reason}")).with_help(help))
    };
    if table.references_itself {
        return refuse(
            format!("{name} references itself, so a row may need one of a later chunk"),
            "load it without --import-id, which commits everything as one",
        );
    }
    if let Some(foreign) = &table.foreign_tables {
        let of_itself = "load it without --import-id, or on the server that stores it";
        let of_partitions =
            "load it without --import-id, or import into each partition on the server that stores it";
        return match &foreign.names[..] {
            _ if !table.is_stored => refuse(
                format!("{name} is a foreign table, whose server may commit a chunk without the ledger"),
                of_itself,
            ),
            [only] => refuse(
                format!(
                    "the partition {only} of {name} is a foreign table, whose server may commit a chunk without the ledger"
                ),
                of_partitions,
            ),
            many => refuse(
                format!(
                    "the partitions {} of {name} are foreign tables, whose servers may commit a chunk without the ledger",
                    some_of(many)
                ),
                of_partitions,
            ),
        };
    }
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class
                              WHERE relpersistence <> 'p'
                                AND (oid = $1 OR oid IN (SELECT relid FROM pg_catalog.pg_partition_tree($1))))";
    let is_volatile = client.query_one(sql, &[&table.oid]).await;
    let failed = |error| Error::database(&format!("look up the persistence of {name}"), error);
    if is_volatile.map_err(failed)?.get(0) {
        return refuse(
            format!(
                "{name} or a partition of it is unlogged or temporary, so its rows do not survive what the ledger survives"
            ),
            "ALTER TABLE … SET LOGGED, or load it without --import-id",
        );
    }
    Ok(())
}
