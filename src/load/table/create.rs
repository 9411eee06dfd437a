//! Creates tables, either as `[table]` describes them or with types inferred from the files.

use tokio_postgres::GenericClient;

use crate::catalog::{DistributionSpec, Table, TableName, TableSpec, similar_table};
use crate::csv::{Field, Files, Inputs, Notation};
use crate::error::ErrorKind;
use crate::escape::escape;
use crate::load::date_order::DateOrder;
use crate::load::mapping::{JSON_HELP, looks_like_json, other_delimiter};
use crate::load::names::sql_name;
use crate::load::options::{AddedValue, CreateOptions, DateStyle, Infer, InputOptions, Naming};
use crate::load::planned::PlannedFields;
use crate::load::spelling::Spelling;
use crate::load::table::distribute::distribute;
use crate::load::table::execute_each;
use crate::load::table::infer::{Inference, InferredColumn, NewColumn, ddl};
use crate::progress::Progress;
use crate::sql::quote;
use crate::{Error, Result};

/// A table to create with types inferred from the files.
#[derive(Debug, Clone)]
pub(crate) struct NewTable {
    /// Its final name.
    pub name: TableName,
    /// The statements that create it under that name.
    pub ddl: String,
    /// Whether it replaces an existing table.
    pub replaces: bool,
    /// What of the files goes into it.
    pub planned: PlannedFields,
    /// What there is to say about the types of its columns.
    pub inferred: Vec<InferredColumn>,
    /// A note for each column that only one value made text, with its position.
    pub text_notes: Vec<String>,
    /// A note for each column of dates that are text because they can be read in two orders.
    pub ambiguous_notes: Vec<String>,
    columns: Vec<NewColumn>,
    distribution: Option<DistributionSpec>,
}

impl NewTable {
    /// Describe the table of `options` with the columns of `inference`, and those that the options add.
    fn new(
        options: &InputOptions,
        planned: PlannedFields,
        inference: &Inference,
        types: &[(String, String)],
    ) -> Self {
        let InputOptions { naming, spelling, table, .. } = options;
        let TableSpec { name, distribution, .. } = table;
        let mut columns = inference.columns();
        columns.extend(
            naming
                .added
                .iter()
                .map(|(name, value)| added_column(naming.added_name(name), value, types, spelling)),
        );
        let statements =
            [Some(ddl(name, &columns)), distribution.as_ref().map(|how| how.statement(&name.sql()))];
        let ddl: Vec<String> = statements.into_iter().flatten().map(|sql| format!("{sql};")).collect();
        NewTable {
            ddl: ddl.join("\n"),
            name: name.clone(),
            replaces: false,
            planned,
            inferred: inference.report(),
            text_notes: inference.text_notes().collect(),
            ambiguous_notes: inference.ambiguous_notes().collect(),
            columns,
            distribution: distribution.clone(),
        }
    }

    /// The columns whose dates are to be read in an order of their own.
    pub(crate) fn date_orders(&self) -> Vec<(&str, DateOrder)> {
        self.columns.iter().filter_map(|column| Some((column.name.as_str(), column.order?))).collect()
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
        let created = client.batch_execute(&ddl(&name, &self.columns)).await;
        created.map_err(|error| {
            let error = Error::database(&format!("create table {}", self.name), error);
            match (error.sqlstate(), &name.schema) {
                (Some("3F000"), Some(schema)) => {
                    let help = format!("create the schema first: CREATE SCHEMA {}", quote(schema));
                    error.with_help(help)
                }
                _ => error,
            }
        })?;
        let table = find(client, &name).await?;
        let Some(distribution) = &self.distribution else { return Ok(table) };
        distribute(client, &table, distribution).await?;
        find(client, &name).await
    }

    /// Check that nothing but rows, indexes and privileges is lost if a new table, distributed as in `spec`, replaces `old`.
    ///
    /// # Errors
    /// When `old` is neither an ordinary table by itself nor distributed like the new one.
    pub(crate) fn check_can_replace(old: &Table, spec: Option<&DistributionSpec>) -> Result<()> {
        let is_alike = old.distribution.as_ref().is_some_and(|old| spec.is_some_and(|spec| spec.fits(old)));
        let kind = match old {
            Table { other_kind: Some(kind), .. } => *kind,
            Table { is_view: true, .. } => "a view",
            Table { distribution: Some(_), .. } if !is_alike => "distributed by Citus",
            Table { is_partitioned: true, .. } => "partitioned",
            Table { is_stored: false, .. } => "a foreign table",
            Table { is_partition: true, .. } => "a partition of another table",
            _ => return Ok(()),
        };
        let name = &old.name;
        let message = format!("--create --replace would make {name}, which is {kind}, an ordinary table");
        Err(Error::usage(message).with_help(
            "keep it, and load with --truncate or --append; or drop it first, and load with --create",
        ))
    }

    /// Drop the old table, if there is one, and give this one its name.
    ///
    /// # Errors
    /// When another object depends on the old table.
    pub(crate) async fn replace_old(&self, client: &impl GenericClient) -> Result<()> {
        if !self.replaces {
            return Ok(());
        }
        let (old, new) = (self.name.sql(), self.working_name().sql());
        let swap =
            [format!("DROP TABLE {old}"), format!("ALTER TABLE {new} RENAME TO {}", quote(&self.name.table))];
        let swapped = execute_each(client, &swap).await;
        swapped.map_err(|error| {
            Error::database(&format!("replace the old {} by the new one", self.name), error)
                .with_help("drop the objects that depend on the old table, or load into it with --truncate")
        })
    }
}

/// The number of records after which progress is shown and a cancellation noticed.
const COUNT_EVERY: u64 = 1024;

/// A column that is not in the files: its type is declared in `types`, or that of its `value`, a constant in `spelling`.
fn added_column(
    name: String,
    value: &AddedValue,
    types: &[(String, String)],
    spelling: &Spelling,
) -> NewColumn {
    let declared = types.iter().find(|(column, _)| sql_name(column) == name);
    let sql_type = match (declared, value) {
        (Some((_, declared)), _) => declared.as_str(),
        (None, AddedValue::Now) => "timestamptz",
        (None, AddedValue::Line) => "bigint",
        (None, AddedValue::File) => "text",
        (None, AddedValue::Constant(text)) => {
            let mut inference = Inference::new(Infer::Exact, None, spelling);
            inference.add(Some(name), None);
            inference.observe(0, Field::Value(text.as_bytes()), Notation::Text, ("", 0));
            return inference.columns().remove(0);
        }
    };
    NewColumn { name, sql_type: sql_type.to_owned(), order: None }
}

/// Plan a table for `inputs`, with types inferred from the first records of each file, or from all.
///
/// # Errors
/// When `progress` is cancelled, when the files cannot be read, or cannot be read twice, and when nothing names the columns.
pub(crate) fn infer(
    inputs: &Inputs,
    options: &InputOptions,
    create: &CreateOptions,
    progress: &Progress,
) -> Result<NewTable> {
    if !inputs.can_be_read_again() {
        return Err(Error::usage("--create reads the input twice, which is not possible for a pipe")
            .with_help("save it to a file first"));
    }
    let InputOptions { naming, spelling, format, .. } = options;
    let mut files = Files::open(inputs.reopened(), format.clone())?;
    files.settle_header(&[])?;
    let planned = PlannedFields::new(files.header(), files.name(), naming)?;
    let planned = planned.ok_or_else(|| {
        Error::input(format!("{}: nothing names the columns of the new table", files.name()))
            .with_help("name them with --columns")
    })?;
    let header = files.header().map(|header| header.names.as_slice()).unwrap_or_default();
    if looks_like_json(header) && naming.columns.is_none() {
        let message = format!("{}: the first name in the header is {}", files.name(), escape(&header[0]));
        return Err(Error::input(message).with_help(JSON_HELP));
    }
    if let Some(help) = other_delimiter(header).filter(|_| naming.columns.is_none()) {
        let message = format!("{}: the header is one name, {}", files.name(), header[0]);
        return Err(Error::input(message).with_help(help));
    }
    let order = options.date_style.map(|style| match style {
        DateStyle::Dmy => DateOrder::Dmy,
        DateStyle::Mdy => DateOrder::Mdy,
        DateStyle::Iso | DateStyle::Ymd => DateOrder::Ymd,
    });
    let mut inference = Inference::new(create.infer, order, spelling);
    let declared = |name: &String| {
        let found = create.types.iter().find(|(column, _)| sql_name(column) == *name);
        found.map(|(_, sql_type)| sql_type.clone())
    };
    for name in &planned.columns {
        inference.add(name.clone(), name.as_ref().and_then(declared));
    }
    check_declared(&create.types, &planned, naming)?;
    planned.check_added(naming)?;
    observe(&mut files, &mut inference, create.infer_rows, progress)?;
    Ok(NewTable::new(options, planned, &inference, &create.types))
}

/// Check that each column whose type is declared is one of the new table's.
fn check_declared(types: &[(String, String)], planned: &PlannedFields, naming: &Naming) -> Result<()> {
    let added = naming.added.iter().map(|(name, _)| naming.added_name(name));
    let columns: Vec<String> = planned.columns.iter().flatten().cloned().chain(added).collect();
    match types.iter().find(|(column, _)| !columns.contains(&sql_name(column))) {
        None => Ok(()),
        Some((column, sql_type)) => {
            let message =
                format!("--type {column}={sql_type} names a column that the new table does not have");
            Err(Error::usage(message).with_help(format!("it has {}", columns.join(", "))))
        }
    }
}

/// Take the values of the first `max_rows` records of each file into account, or of all.
fn observe(
    files: &mut Files,
    inference: &mut Inference,
    max_rows: Option<u64>,
    progress: &Progress,
) -> Result<()> {
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
            let field = record.field(index, &mut scratch);
            inference.observe(index, field, record.notation(index), (name, record.line));
        }
    }
    Ok(())
}

/// The error for a table that neither exists nor is described under `[table]`. It names a similar one.
pub async fn no_such_table(client: &impl GenericClient, name: &TableName) -> Error {
    let similar = similar_table(client, name).await.map(|table| format!("{table} exists; or "));
    Error::new(ErrorKind::Database, format!("there is no table {name}")).with_help(format!(
        "{}create it, let --create do so from the file, or describe its columns under [table] in config.toml",
        similar.unwrap_or_default(),
    ))
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
    let TableSpec { name, create, distribution, .. } = spec;
    if create.is_empty() {
        return Err(no_such_table(client, name).await);
    }
    let failed = |error| Error::database(&format!("create table {name}"), error);
    // Held until the end of the transaction: even with IF NOT EXISTS, concurrent creation of the same table can fail.
    let lock = "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext($1))";
    client.execute(lock, &[&format!("postgres-etl creates {}", name.sql())]).await.map_err(failed)?;
    if let Some(table) = Table::find(client, name).await? {
        return Ok((table, false));
    }
    execute_each(client, create).await.map_err(failed)?;
    let table = find(client, name).await?;
    let Some(distribution) = distribution else { return Ok((table, true)) };
    distribute(client, &table, distribution).await?;
    Ok((find(client, name).await?, true))
}

async fn find(client: &impl GenericClient, name: &TableName) -> Result<Table> {
    Table::find(client, name).await?.ok_or_else(|| {
        Error::new(ErrorKind::Database, format!("table {name} does not exist although it was just created"))
    })
}
