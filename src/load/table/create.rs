//! Tables that are made for a load: as `[table]` describes them, or as the file's own values ask for.

use tokio_postgres::GenericClient;

use crate::catalog::{Table, TableName, TableSpec};
use crate::csv::{Files, InputFormat, Inputs};
use crate::error::ErrorKind;
use crate::load::mapping::other_delimiter;
use crate::load::table::infer::Inference;
use crate::sql::quote;
use crate::{Error, Result};

/// A table to be created from what is in the file.
#[derive(Debug, Clone)]
pub(crate) struct NewTable {
    /// What it is called in the end.
    pub name: TableName,
    /// The statement that creates it, under that name.
    pub ddl: String,
    /// Whether it takes the place of a table that is there.
    pub replaces: bool,
    inference: Inference,
}

impl NewTable {
    /// Which columns are text because of one value, and where that was.
    pub(crate) fn spoiled(&self) -> &[String] {
        &self.inference.spoiled
    }

    /// Create `name` for `inference`.
    pub(crate) fn new(name: TableName, inference: Inference) -> Self {
        NewTable { ddl: inference.ddl(&name), name, replaces: false, inference }
    }

    /// What it is called while it is loaded: readers of the old one wait only for the swap.
    fn working_name(&self) -> TableName {
        if !self.replaces {
            return self.name.clone();
        }
        // Names are cut at 63 bytes.
        let stem: String = self.name.table.chars().take(12).collect();
        TableName { table: format!("{stem}_postgres_etl_new"), ..self.name.clone() }
    }

    /// Create it.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn create(&self, client: &impl GenericClient) -> Result<Table> {
        let name = self.working_name();
        let created = client.batch_execute(&self.inference.ddl(&name)).await;
        created.map_err(|error| Error::database(&format!("create table {}", self.name), &error))?;
        find(client, &name).await
    }

    /// Put it into the place of the old one.
    ///
    /// # Errors
    /// When something depends on the old one.
    pub(crate) async fn put_in_place(&self, client: &impl GenericClient) -> Result<()> {
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
            Error::database(&format!("put the new {} into the place of the old one", self.name), &error)
                .with_help("drop what depends on the old table, or load into it with --truncate")
        })
    }
}

/// Look at the records that `names` lead to, the first `most` of each file or all of them.
///
/// # Errors
/// When they cannot be read, or cannot be read twice.
pub(crate) fn infer(
    inputs: &Inputs,
    format: &InputFormat,
    columns: Option<&[String]>,
    most: Option<u64>,
) -> Result<Inference> {
    if !inputs.can_be_read_again() {
        return Err(Error::usage(
            "to create a table for it, the input is read twice, which a pipe cannot be",
        )
        .with_help("save it to a file first"));
    }
    let mut files = Files::open(inputs.reopened(), format.clone())?;
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
    let (mut scratch, mut seen, mut input) = (Vec::new(), 0, 0);
    while files.has_next()? {
        if files.current() != input {
            (input, seen) = (files.current(), 0);
        }
        let Some((record, name)) = files.next_named()? else { break };
        seen += 1;
        if most.is_some_and(|most| seen > most) {
            if inputs.iter().len() == 1 {
                break;
            }
            continue;
        }
        for index in 0..record.len() {
            let place = || format!("{name}, line {}", record.line);
            inference.see(index, record.field(index, &mut scratch), place);
        }
    }
    Ok(inference)
}

/// There is no table `name`, and nothing says how to create it.
pub fn no_such_table(name: &TableName) -> Error {
    Error::new(ErrorKind::Database, format!("there is no table {name}")).with_help(
        "create it, let --create do so from the file, or describe its columns under [table] in config.toml",
    )
}

/// Create the table that the configuration describes, unless somebody else does so at this moment. Returns the
/// table, and whether we created it.
///
/// # Errors
/// When it describes none, or the server refuses.
pub(crate) async fn create_configured(
    client: &impl GenericClient,
    spec: &TableSpec,
) -> Result<(Table, bool)> {
    let TableSpec { name, create, .. } = spec;
    if create.is_empty() {
        return Err(no_such_table(name));
    }
    let failed = |error| Error::database(&format!("create table {name}"), &error);
    // Held to the end of the transaction: even IF NOT EXISTS fails when two create the same table at once.
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
        Error::new(ErrorKind::Database, format!("table {name} is not there after it was created"))
    })
}
