//! The table, made ready to take rows.

use std::sync::Arc;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient};

use crate::catalog::Table;
use crate::csv::{Files, Inputs};
use crate::load::mapping::ColumnMapping;
use crate::load::options::DeferIndexes;
use crate::load::settings::LoadSettings;
use crate::load::table::can_load::check_can_load;
use crate::load::table::create::{NewTable, create_configured};
use crate::load::table::indexes::Indexes;
use crate::{Error, Result};

/// The table, ready to take rows.
pub(crate) struct Prepared {
    pub(crate) table: Table,
    pub(crate) targets: Arc<ColumnMapping>,
    pub(crate) created: bool,
    /// Whether it is to be emptied: not when it is new, nor for a file that is empty altogether.
    pub(crate) truncate: bool,
    pub(crate) indexes: Indexes,
    /// What the files are written in.
    pub(crate) encoding: &'static str,
}

impl Prepared {
    /// Empty the table, if it is to be.
    pub(crate) async fn empty(&self, client: &impl GenericClient) -> Result<()> {
        if !self.truncate {
            return Ok(());
        }
        let name = &self.table.name;
        // Rows of children are not those of the table; rows of partitions are.
        let only = if self.table.is_partitioned { "" } else { "ONLY " };
        client.batch_execute(&format!("TRUNCATE {only}{}", name.sql())).await.map_err(|error| {
            let refusal = Error::database(&format!("empty {name}"), &error);
            // Not the owner, or a foreign key of another table.
            match error.code().map(SqlState::code) {
                Some("42501" | "0A000") => refusal.with_help("use --append to add to the table instead"),
                _ => refusal,
            }
        })
    }
}

/// Create the table if need be, and see that it takes the file's columns.
pub(crate) async fn prepare_table(
    client: &impl GenericClient,
    settings: &LoadSettings,
    files: &Files,
    new_table: Option<&NewTable>,
) -> Result<Prepared> {
    let spec = &settings.input.table;
    let (table, created) = match new_table {
        Some(new_table) => (new_table.create(client).await?, true),
        None => match Table::find(client, &spec.name).await? {
            Some(table) => (table, false),
            None => create_configured(client, spec).await?,
        },
    };
    // Before its columns are of interest.
    check_can_load(&table, settings.input.mode, &[])?;
    let is_empty = files.is_empty();
    let targets = if is_empty {
        ColumnMapping::default()
    } else {
        ColumnMapping::find(files.header(), files.name(), &settings.input.naming, &table)?
    };
    check_can_load(&table, settings.input.mode, &targets.names().collect::<Vec<_>>())?;
    let truncate = settings.truncate && !created && !is_empty;
    let (targets, indexes, encoding) = (targets.into(), Indexes::default(), files.encoding().name());
    Ok(Prepared { table, targets, created, truncate, indexes, encoding })
}

/// Drop the indexes until the rows are written, if that is asked for or likely to be faster.
pub(crate) async fn defer_indexes(
    client: &Client,
    settings: &LoadSettings,
    prepared: &Prepared,
    inputs: &Inputs,
) -> Result<Indexes> {
    let Prepared { table, targets, .. } = prepared;
    let defer = settings.defer_indexes;
    if defer == DeferIndexes::Never || targets.columns.is_empty() {
        return Ok(Indexes::default());
    }
    if defer == DeferIndexes::Auto {
        let is_empty = prepared.truncate || prepared.created || lock_if_empty(client, table).await?;
        if !is_empty {
            return Ok(Indexes::default());
        }
    }
    let reason = "the input cannot be read again to see which row breaks them";
    Indexes::defer(client, table, defer, Some(reason).filter(|_| !inputs.can_be_read_again())).await
}

/// Whether `table` has no rows; if so nobody else can add any before the transaction ends.
async fn lock_if_empty(client: &Client, table: &Table) -> Result<bool> {
    let failed = |error| Error::database(&format!("see whether {} is empty", table.name), &error);
    let name = table.name.sql();
    let none = format!("SELECT NOT EXISTS (SELECT FROM {name})");
    client.batch_execute("SAVEPOINT look").await.map_err(failed)?;
    let looked = async {
        // Nobody is kept waiting for a table that turns out to have rows, and nobody is waited for.
        let lock = format!("LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE NOWAIT");
        let is_empty = client.query_one(&none, &[]).await?.get(0);
        if is_empty {
            client.batch_execute(&lock).await?;
        }
        Ok::<bool, tokio_postgres::Error>(is_empty && client.query_one(&none, &[]).await?.get(0))
    };
    // No privilege to look or to lock is as good as rows.
    let is_empty = looked.await.unwrap_or(false);
    let end = if is_empty { "RELEASE look" } else { "ROLLBACK TO look; RELEASE look" };
    client.batch_execute(end).await.map_err(failed)?;
    Ok(is_empty)
}
