//! `check`: is everything in order, without touching any data?

use serde::Serialize;

use super::Context;
use crate::cli;
use crate::config::{InputSettings, Mode};
use crate::load::check::{MappedField, Mapping, map};
use crate::load::no_such_table;
use crate::postgres::database::{Database, ServerFacts, blocking};
use crate::postgres::pool::Session;
use crate::query::workload::Script;
use crate::source::{Files, Inputs};
use crate::table::Table;
use crate::{Error, Result};

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// `check`.
    pub command: &'static str,
    /// Whether nothing is wrong.
    pub ok: bool,
    /// The server's address.
    pub address: String,
    /// The server, and the settings that a time depends on.
    pub server: ServerFacts,
    /// The table.
    pub table: CheckedItem,
    /// The file, or files.
    pub file: CheckedFile,
    /// Every configured statement.
    pub queries: Vec<CheckedItem>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct CheckedItem {
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub problem: Option<String>,
    /// What to do about that.
    pub help: Option<String>,
    /// What it is, when nothing is wrong.
    pub detail: String,
}

/// What a load would make of the files.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CheckedFile {
    /// The path, or paths.
    pub name: String,
    /// All that a load would stop at.
    pub problems: Vec<Problem>,
    /// Why no fields are listed, when nothing is wrong.
    pub detail: String,
    /// The fields that go to a column.
    pub fields: Vec<MappedField>,
    /// Columns of the table that the files do not have, and that take their defaults.
    pub columns_defaulted: Vec<String>,
    /// Names in the header that are left out as asked for.
    pub columns_ignored: Vec<String>,
}

/// Something that is wrong.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// What.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Run the command.
///
/// # Errors
/// When the flags are wrong, or the server cannot be reached. Anything else that is wrong is in the report, and
/// the exit code is 1.
pub async fn run(context: &Context<'_>, flags: &cli::Check) -> Result<u8> {
    let settings = context.config.input(&flags.input, &flags.format)?;
    let is_configured = flags.input.files.is_empty();
    let database = context.database(Session::default()).await?;
    let report = check(context, settings, is_configured, &database).await;
    let closed = database.close().await;
    let report = report?;
    closed?;
    context.print(&report)?;
    Ok(u8::from(!report.ok))
}

async fn check(
    context: &Context<'_>,
    settings: InputSettings,
    is_configured: bool,
    database: &Database,
) -> Result<CheckReport> {
    let client = database.connection().await?;
    let server = ServerFacts::of(&**client).await?;
    let found = Table::find(&**client, &settings.table.name).await;
    let mut queries = Vec::new();
    for (name, workload) in context.config.workloads() {
        let prepared = match workload {
            Ok(script) => script.prepare(&client).await.map(|_| script),
            Err(error) => Err(error),
        };
        let statements = |script: Script| {
            script.statements.into_iter().map(|text| text.sql).collect::<Vec<_>>().join("; ")
        };
        queries.push(CheckedItem::new(name.to_owned(), prepared.map(statements)));
    }
    let name = settings.table.name.to_string();
    let (table, found) = match found {
        Ok(Some(table)) => (describe(&table, settings.mode), Some(table)),
        Ok(None) if settings.table.create.is_empty() => (Err(no_such_table(&settings.table.name)), None),
        // A type that only the server knows leaves the header alone to look at.
        Ok(None) => {
            let described = Table::described(&settings.table).ok();
            (Ok("not there yet; `postgres-etl load` creates it".into()), described)
        }
        Err(error) => (Err(error), None),
    };
    let table = CheckedItem::new(name, table);
    let file = match open(context, &settings, is_configured).await {
        Ok(files) => blocking(move || Ok(look_into(files, found.as_ref(), &settings))).await?,
        Err(file) => file,
    };
    let items_are_fine = [&table].into_iter().chain(&queries).all(|item| item.problem.is_none());
    let ok = items_are_fine && file.problems.is_empty();
    Ok(CheckReport { command: "check", ok, address: database.describe(), server, table, file, queries })
}

/// The columns and their types, or why nothing can be loaded into them.
fn describe(table: &Table, mode: Mode) -> Result<String> {
    table.check_can_load(mode, &[])?;
    let columns = table.columns.iter().map(|column| format!("{} {}", column.name, column.type_name));
    Ok(columns.collect::<Vec<_>>().join(", "))
}

/// Open the files, or say why they are not looked into.
async fn open(
    context: &Context<'_>,
    settings: &InputSettings,
    is_configured: bool,
) -> Result<Files, CheckedFile> {
    let name = settings.inputs.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let skipped = |detail: String| CheckedFile { name: name.clone(), detail, ..CheckedFile::default() };
    let refused = |error: &Error| CheckedFile {
        name: name.clone(),
        problems: vec![Problem::from(error)],
        ..CheckedFile::default()
    };
    let inputs = match Inputs::resolve(&settings.inputs) {
        Ok(inputs) => inputs,
        Err(_) if settings.generate.is_some() => {
            return Err(skipped("not there yet; `postgres-etl load` generates it".into()));
        }
        // Nobody asked for this file, and the statements may be all that is of interest.
        Err(_) if is_configured && !settings.inputs.iter().any(|input| input.exists()) => {
            return Err(skipped("not there, and so not looked into".into()));
        }
        Err(error) => return Err(refused(&error)),
    };
    let format = settings.format.clone();
    let files = blocking(|| Files::open(inputs, format)).await.map_err(|error| refused(&error))?;
    if let Some(sniffed) = files.sniffed() {
        context.note(&format!("sniffed: {sniffed}"));
    }
    Ok(files)
}

/// What a load of `files` into `table` would begin with.
fn look_into(files: Files, table: Option<&Table>, settings: &InputSettings) -> CheckedFile {
    let name = files.inputs().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let detail = match (files.header(), table) {
        _ if files.is_empty() => "there is nothing in it".to_owned(),
        (_, Some(_)) => String::new(),
        (Some(header), None) => format!("its columns are {}", header.names.join(", ")),
        (None, None) => "it has no header".to_owned(),
    };
    let Mapping { fields, columns_defaulted, columns_ignored, problems } = match table {
        Some(table) => map(files, table, settings),
        None => Mapping::default(),
    };
    let problems = problems.iter().map(Problem::from).collect();
    CheckedFile { name, problems, detail, fields, columns_defaulted, columns_ignored }
}

impl CheckedItem {
    fn new(name: String, found: Result<String>) -> Self {
        match found {
            Ok(detail) => CheckedItem { name, problem: None, help: None, detail },
            Err(error) => {
                let Problem { message, help } = Problem::from(&error);
                CheckedItem { name, problem: Some(message), help, detail: String::new() }
            }
        }
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        Problem { message: error.to_string(), help: error.help().map(str::to_owned) }
    }
}
