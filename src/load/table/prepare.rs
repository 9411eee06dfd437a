//! Prepares the table for its rows.

use std::sync::Arc;

use tokio_postgres::{Client, GenericClient};

use crate::catalog::{Column, ForeignTables, Table, TableDistribution};
use crate::csv::{Files, Inputs, Syntax};
use crate::load::mapping::{ColumnMapping, ValueFormat, ValueSource};
use crate::load::options::{DateStyle, DeferIndexes, Mode};
use crate::load::settings::LoadSettings;
use crate::load::table::can_load::check_can_load;
use crate::load::table::create::{NewTable, create_configured};
use crate::load::table::distribute::check_distribution;
use crate::load::table::indexes::DeferredIndexes;
use crate::progress::Progress;
use crate::{Error, Result};

/// A table ready to be loaded.
pub(crate) struct PreparedTable {
    pub(crate) table: Table,
    pub(crate) mapping: Arc<ColumnMapping>,
    /// Whether this load created it.
    pub(crate) created: bool,
    /// Whether to empty it first; never if it is new, or if the files are empty.
    pub(crate) truncate: bool,
    pub(crate) indexes: DeferredIndexes,
    /// Format of the files.
    pub(crate) format: Syntax,
    /// Name of the files' character encoding.
    pub(crate) encoding: &'static str,
}

impl PreparedTable {
    /// Note in `progress` what makes the mode of `settings` faster, where each row is sent on to another server by itself: by
    /// Citus in mode rows, and to foreign tables.
    pub(crate) fn note_slow_mode(&self, settings: &LoadSettings, progress: &Progress) {
        let mode = match settings.input.mode {
            // What is copied is a temporary table, from which one statement inserts all rows.
            Mode::Copy if settings.on_conflict.is_some() => Mode::Batch,
            mode => mode,
        };
        let is_remote = self.table.distribution.as_ref().is_some_and(TableDistribution::is_remote);
        if mode == Mode::Rows && is_remote {
            progress.note(&format!(
                "in mode rows, Citus sends each row to a node of {} by itself, and waits for it; modes batch and copy, \
                 which load the same rows, send many at a time",
                self.table.name
            ));
        }
        if let Some(foreign) = &self.table.foreign_tables
            && let Some(note) = slow_foreign_tables(&self.table, foreign, mode)
        {
            progress.note(&note);
        }
    }

    /// Whether the row that the server refuses has to be searched for: Citus does not say which one it is, and takes long
    /// for all of them one by one.
    pub(crate) fn hides_refused_row(&self, settings: &LoadSettings) -> bool {
        let is_many_at_once = settings.input.mode != Mode::Rows && !settings.max_rejects.allows_any();
        is_many_at_once && self.table.distribution.is_some()
    }

    /// Empty the table, if it is to be truncated.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn empty(&self, client: &impl GenericClient) -> Result<()> {
        if !self.truncate {
            return Ok(());
        }
        let name = &self.table.name;
        // Inheritance children keep their rows; partitions are emptied with the table.
        let only = if self.table.is_partitioned { "" } else { "ONLY " };
        client.batch_execute(&format!("TRUNCATE {only}{}", name.sql())).await.map_err(|error| {
            let refusal = Error::database(&format!("empty {name}"), error);
            // The role is not the owner, another table has a foreign key to this one, or it is a view.
            match refusal.sqlstate() {
                Some("42501" | "0A000" | "42809") => {
                    refusal.with_help("use --append to add to the table instead")
                }
                _ => refusal,
            }
        })
    }
}

/// What sends many rows of `table` at a time to its `foreign` tables, if `mode` sends each by itself; otherwise `None`.
fn slow_foreign_tables(table: &Table, foreign: &ForeignTables, mode: Mode) -> Option<String> {
    let (name, version) = (&table.name, table.session.version_num);
    let (how, remedy) = match mode {
        // Earlier versions send every row by itself.
        _ if foreign.of_postgres == 0 || version < 140_000 => return None,
        Mode::Rows => ("in mode rows, ", "mode batch sends many at a time"),
        Mode::Copy if version < 160_000 => {
            ("in a COPY before PostgreSQL 16, ", "mode batch sends many at a time")
        }
        _ if foreign.without_batch_size.is_empty() => return None,
        _ => ("", "many are sent at a time"),
    };
    let once = foreign.without_batch_size.split_first().map(|(first, others)| {
        let others = match others.len() {
            0 => String::new(),
            1 => ", and the same for the other foreign table".to_owned(),
            others => format!(", and the same for the {others} other foreign tables"),
        };
        format!(" after ALTER FOREIGN TABLE {first} OPTIONS (ADD batch_size '1000'){others}")
    });
    let once = once.unwrap_or_default();
    Some(format!(
        "{how}each row of {name} is sent to a foreign server by itself, and waited for; {remedy}{once}"
    ))
}

/// Find or create the table, and check that the columns of the files can be loaded into it.
///
/// # Errors
/// When it neither exists nor can be created, or cannot be loaded.
pub(crate) async fn prepare_table(
    client: &impl GenericClient,
    settings: &LoadSettings,
    files: &Files,
    new_table: Option<&NewTable>,
) -> Result<PreparedTable> {
    let spec = &settings.input.table;
    set_date_style(client, settings).await?;
    let (table, created) = match new_table {
        Some(new_table) => (new_table.create(client).await?, true),
        None => match Table::find(client, &spec.name).await? {
            Some(table) => {
                spec.distribution.as_ref().map_or(Ok(()), |how| check_distribution(&table, how))?;
                (table, false)
            }
            None => create_configured(client, spec).await?,
        },
    };
    // Problems of the whole table first.
    check_can_load(&table, settings.input.mode, &[])?;
    let is_empty = files.is_empty();
    let mut mapping =
        if is_empty { ColumnMapping::default() } else { map(settings, files, new_table, &table)? };
    let orders = new_table.map(NewTable::date_orders).unwrap_or_default();
    mapping.convert(&settings.input, &orders)?;
    tell_time(client, &mut mapping).await?;
    check_can_load(&table, settings.input.mode, &mapping.names().collect::<Vec<_>>())?;
    let truncate = settings.truncate && !created && !is_empty;
    log_table(settings, &table, &mapping, (created, truncate));
    let (mapping, indexes) = (mapping.into(), DeferredIndexes::default());
    let (format, encoding) = (files.format().syntax, files.encoding().name());
    Ok(PreparedTable { table, mapping, created, truncate, indexes, format, encoding })
}

/// Map the fields of `files` to the columns of `table`.
fn map(
    settings: &LoadSettings,
    files: &Files,
    new_table: Option<&NewTable>,
    table: &Table,
) -> Result<ColumnMapping> {
    let naming = &settings.input.naming;
    let planned = match new_table {
        Some(new_table) => ColumnMapping::from_plan(&new_table.planned, naming, table)?,
        None => None,
    };
    planned.map_or_else(|| ColumnMapping::find(files.header(), files.name(), naming, table), Ok)
}

/// Let the server say what `now()` is in the columns that are given it.
async fn tell_time(client: &impl GenericClient, mapping: &mut ColumnMapping) -> Result<()> {
    for mapped in &mut mapping.columns {
        let ValueSource::Now(now) = &mut mapped.source else { continue };
        let Column { name, type_name, .. } = &mapped.column;
        // As JSON, dates and times do not depend on DateStyle.
        let sql = format!("SELECT pg_catalog.to_json(CAST(pg_catalog.now() AS {type_name})) #>> '{{}}'");
        let told = client.query_one(&sql, &[]).await;
        let told = told.map_err(|error| Error::database(&format!("add {name} as now()"), error))?;
        *now = told.get::<_, String>(0).into_bytes().into();
    }
    Ok(())
}

/// Let the server read dates as the settings say, until the end of the transaction.
///
/// # Errors
/// When the server refuses.
pub(crate) async fn set_date_style(client: &impl GenericClient, settings: &LoadSettings) -> Result<()> {
    let Some(order) = settings.input.date_style.and_then(DateStyle::order) else { return Ok(()) };
    let set = client.batch_execute(&format!("SET LOCAL DateStyle = {order}")).await;
    set.map_err(|error| Error::database("set DateStyle", error))
}

/// Log what will happen to the table, and how the values of its columns are sent.
fn log_table(
    settings: &LoadSettings,
    table: &Table,
    mapping: &ColumnMapping,
    (created, truncate): (bool, bool),
) {
    let (name, mode) = (&table.name, settings.input.mode);
    match (created, truncate) {
        (true, _) => tracing::info!("table {name}: created"),
        (false, true) => tracing::info!("table {name}: to be emptied first"),
        (false, false) => tracing::info!("table {name}: to be added to"),
    }
    let formats = mapping.formats(mode);
    for (mapped, format) in mapping.columns.iter().zip(formats.iter()) {
        let column = &mapped.column;
        let how = match (format, &mapped.encoder) {
            (ValueFormat::Binary, _) => "binary",
            (ValueFormat::Text, None) => "text, because only the server can read the type",
            (ValueFormat::Text, Some(_)) => "text, as another column",
        };
        let from =
            mapped.field_number().map_or_else(|| "added".to_owned(), |number| format!("field {number}"));
        tracing::info!("{from} -> {} {}: {how}", column.name, column.type_name);
    }
}

/// Drop the indexes until the rows are written, if the settings demand it, or allow it and it is likely to be faster.
pub(crate) async fn defer_indexes(
    client: &Client,
    settings: &LoadSettings,
    prepared: &PreparedTable,
    inputs: &Inputs,
) -> Result<DeferredIndexes> {
    let PreparedTable { table, mapping, .. } = prepared;
    let defer = settings.defer_indexes;
    if defer == DeferIndexes::Never || mapping.columns.is_empty() || !table.is_stored {
        return Ok(DeferredIndexes::default());
    }
    if defer == DeferIndexes::Auto {
        let is_empty = prepared.truncate || prepared.created || lock_if_empty(client, table).await?;
        if !is_empty {
            tracing::info!("the indexes stay in place, because the table has rows or is in use");
            return Ok(DeferredIndexes::default());
        }
    }
    let indexes = DeferredIndexes::defer(client, table, defer, inputs).await?;
    match &indexes.kept_because {
        Some(reason) => tracing::info!("the indexes stay in place: {reason}"),
        None if indexes.deferred.is_empty() => tracing::info!("the table has no indexes"),
        None => tracing::info!("indexes to be rebuilt after loading: {}", indexes.deferred.join(", ")),
    }
    Ok(indexes)
}

/// Whether `table` has rows.
///
/// # Errors
/// When it cannot be read: a role may be allowed to write a table that it may not read.
pub(crate) async fn has_rows(client: &Client, table: &Table) -> Result<bool, tokio_postgres::Error> {
    // Citus would fetch all rows for EXISTS.
    let first = format!("SELECT 1 FROM {} LIMIT 1", table.name.sql());
    Ok(client.query_opt(&first, &[]).await?.is_some())
}

/// Lock `table` if it is empty, so that it stays empty until the rows are written; return whether it is.
async fn lock_if_empty(client: &Client, table: &Table) -> Result<bool> {
    let failed = |error| Error::database(&format!("check whether {} is empty", table.name), error);
    let name = table.name.sql();
    client.batch_execute("SAVEPOINT lock_if_empty").await.map_err(failed)?;
    let locked = async {
        // A table with rows is not locked, and no other session's lock is waited for.
        let lock = format!("LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE NOWAIT");
        if has_rows(client, table).await? {
            return Ok(false);
        }
        client.batch_execute(&lock).await?;
        Ok::<bool, tokio_postgres::Error>(!has_rows(client, table).await?)
    };
    // Without the privilege to read or to lock it, treat the table as if it had rows.
    let is_empty = locked.await.unwrap_or(false);
    let end =
        if is_empty { "RELEASE lock_if_empty" } else { "ROLLBACK TO lock_if_empty; RELEASE lock_if_empty" };
    client.batch_execute(end).await.map_err(failed)?;
    Ok(is_empty)
}
