//! `check`: is everything in order, without touching any data?

use serde::Serialize;

use super::Context;
use crate::Result;
use crate::config::Mode;
use crate::postgres::database::{Database, ServerFacts};
use crate::postgres::pool::Session;
use crate::query;
use crate::table::Table;

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
    /// The configured table.
    pub table: CheckedItem,
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
    /// What it is, when nothing is wrong.
    pub detail: String,
}

/// Run the command.
///
/// # Errors
/// When the server cannot be reached. Anything else that is wrong is in the report, and the exit code is 1.
pub async fn run(context: &Context<'_>) -> Result<u8> {
    let database = context.database(Session::default()).await?;
    let report = check(context, &database).await;
    let closed = database.close().await;
    let report = report?;
    closed?;
    context.print(&report)?;
    Ok(u8::from(!report.ok))
}

async fn check(context: &Context<'_>, database: &Database) -> Result<CheckReport> {
    let client = database.connection().await?;
    let server = ServerFacts::of(&**client).await?;
    let spec = context.config.table()?;
    let table = CheckedItem::new(
        spec.name.to_string(),
        match Table::find(&**client, &spec.name).await {
            Ok(Some(table)) => describe(&table),
            Ok(None) if spec.create.is_empty() => Err("there is no such table".into()),
            Ok(None) => Err("not there yet; `postgres-etl load` creates it".into()),
            Err(error) => Err(error.to_string()),
        },
    );
    let mut queries = Vec::new();
    for (name, workload) in context.config.workloads() {
        let prepared = query::prepare(&client, name, workload).await;
        let found = prepared.map(|_| workload.sql.clone()).map_err(|error| error.to_string());
        queries.push(CheckedItem::new(name.clone(), found));
    }
    let ok = [&table].into_iter().chain(&queries).all(|item| item.problem.is_none());
    Ok(CheckReport { command: "check", ok, address: database.describe(), server, table, queries })
}

/// The columns and their types, or why nothing can be loaded into them.
fn describe(table: &Table) -> Result<String, String> {
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    table.check_can_load(Mode::Copy, &names).map_err(|error| error.to_string())?;
    let columns = table.columns.iter().map(|column| format!("{} {}", column.name, column.type_name));
    Ok(columns.collect::<Vec<_>>().join(", "))
}

impl CheckedItem {
    fn new(name: String, found: Result<String, String>) -> Self {
        let (problem, detail) = match found {
            Ok(detail) => (None, detail),
            Err(problem) => (Some(problem), String::new()),
        };
        CheckedItem { name, problem, detail }
    }
}
