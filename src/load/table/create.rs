//! Creates tables, either as `[table]` describes them or with types inferred from the files.

use tokio_postgres::GenericClient;

use crate::catalog::{Table, TableName, TableSpec};
use crate::csv::{Files, InputFormat, Inputs};
use crate::error::ErrorKind;
use crate::load::mapping::other_delimiter;
use crate::load::table::infer::Inference;
use crate::progress::Progress;
use crate::sql::quote;
use crate::{Error, Result};

/// A table to create with types inferred from the files.
#[derive(Debug, Clone)]
pub(crate) struct NewTable {
    /// Its final name.
    pub name: TableName,
    /// The statement that creates it under that name, without a semicolon.
    pub ddl: String,
    /// Whether it replaces an existing table.
    pub replaces: bool,
    inference: Inference,
}

impl NewTable {
    /// A note for each column that only one value made text, with its position.
    pub(crate) fn text_notes(&self) -> &[String] {
        &self.inference.text_notes
    }

    /// Describe the table `name` with the columns of `inference`.
    pub(crate) fn new(name: TableName, inference: Inference) -> Self {
        NewTable { ddl: inference.ddl(&name), name, replaces: false, inference }
    }

    /// Its name while it is loaded. A temporary name lets others read the old table until the final swap.
    fn working_name(&self) -> TableName {
        if !self.replaces {
            return self.name.clone();
        }
        // PostgreSQL truncates names at 63 bytes.
        let stem: String = self.name.table.chars().take(12).collect();
        TableName { table: format!("{stem}_postgres_etl_new"), ..self.name.clone() }
    }

    /// Create the table under its working name.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn create(&self, client: &impl GenericClient) -> Result<Table> {
        let name = self.working_name();
        let created = client.batch_execute(&self.inference.ddl(&name)).await;
        created.map_err(|error| Error::database(&format!("create table {}", self.name), error))?;
        find(client, &name).await
    }

    /// Drop the old table, if there is one, and give this one its name.
    ///
    /// # Errors
    /// When another object depends on the old table.
    pub(crate) async fn replace_old(&self, client: &impl GenericClient) -> Result<()> {
        if !self.replaces {
            return Ok(());
        }
        let sql = format!(
            "DROP TABLE {}; ALTER TABLE {} RENAME TO {}",
            self.name.sql(),
            self.working_name().sql(),
            quote(&self.name.table)
        );
        let swapped = client.batch_execute(&sql).await;
        swapped.map_err(|error| {
            Error::database(&format!("replace the old {} by the new one", self.name), error)
                .with_help("drop the objects that depend on the old table, or load into it with --truncate")
        })
    }
}

/// After so many records their number is shown, and a cancellation seen.
const COUNT_EVERY: u64 = 1024;

/// Infer the types of the columns from the first `max_rows` records of each file, or from all.
///
/// # Errors
/// When `progress` is cancelled, when the files cannot be read, or cannot be read twice, and when nothing names the columns.
pub(crate) fn infer(
    inputs: &Inputs,
    format: &InputFormat,
    columns: Option<&[String]>,
    max_rows: Option<u64>,
    progress: &Progress,
) -> Result<Inference> {
    if !inputs.can_be_read_again() {
        return Err(Error::usage("--create reads the input twice, which is not possible for a pipe")
            .with_help("save it to a file first"));
    }
    let mut files = Files::open(inputs.reopened(), format.clone())?;
    files.settle_header(&[])?;
    let names: Vec<String> = match (columns, files.header()) {
        (Some(columns), _) => columns.to_vec(),
        (None, Some(header)) => header.names.iter().map(|name| name.trim().to_owned()).collect(),
        (None, None) => {
            return Err(Error::input(format!(
                "{}: nothing names the columns of the new table",
                files.name()
            ))
            .with_help("name them with --columns"));
        }
    };
    if let Some(help) = other_delimiter(&names).filter(|_| columns.is_none()) {
        let message = format!("{}: the header is one name, {}", files.name(), names[0]);
        return Err(Error::input(message).with_help(help));
    }
    let mut inference = Inference::new(&names)?;
    let inputs = files.inputs().clone();
    let (mut scratch, mut rows, mut input, mut read) = (Vec::new(), 0, 0, 0_u64);
    while files.has_next()? {
        if files.current() != input {
            (input, rows) = (files.current(), 0);
        }
        let Some((record, name)) = files.next_named()? else { break };
        rows += 1;
        read += 1;
        if read.is_multiple_of(COUNT_EVERY) {
            if progress.is_cancelled() {
                return Err(Error::interrupted());
            }
            progress.add(COUNT_EVERY, inputs.consumed().saturating_sub(progress.bytes()));
        }
        if max_rows.is_some_and(|max_rows| rows > max_rows) {
            if inputs.iter().len() == 1 {
                break;
            }
            continue;
        }
        for index in 0..record.len() {
            let place = || format!("{name}, line {}", record.line);
            inference.observe(index, record.field(index, &mut scratch), place);
        }
    }
    Ok(inference)
}

/// The error for a table that neither exists nor is described under `[table]`.
pub fn no_such_table(name: &TableName) -> Error {
    Error::new(ErrorKind::Database, format!("there is no table {name}")).with_help(
        "create it, let --create do so from the file, or describe its columns under [table] in config.toml",
    )
}

/// Create the table that the configuration describes, unless another session creates it first. Return the table, and
/// whether this session created it.
///
/// # Errors
/// When the configuration describes no table, or the server refuses.
pub(crate) async fn create_configured(
    client: &impl GenericClient,
    spec: &TableSpec,
) -> Result<(Table, bool)> {
    let TableSpec { name, create, .. } = spec;
    if create.is_empty() {
        return Err(no_such_table(name));
    }
    let failed = |error| Error::database(&format!("create table {name}"), error);
    // Held until the end of the transaction: even with IF NOT EXISTS, concurrent creation of the same table can fail.
    let lock = "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext($1))";
    client.execute(lock, &[&format!("postgres-etl creates {}", name.sql())]).await.map_err(failed)?;
    if let Some(table) = Table::find(client, name).await? {
        return Ok((table, false));
    }
    client.batch_execute(&create.join(";")).await.map_err(failed)?;
    Ok((find(client, name).await?, true))
}

async fn find(client: &impl GenericClient, name: &TableName) -> Result<Table> {
    Table::find(client, name).await?.ok_or_else(|| {
        Error::new(ErrorKind::Database, format!("table {name} does not exist although it was just created"))
    })
}
