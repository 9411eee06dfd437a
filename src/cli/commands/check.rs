//! `check`: whether a load and the queries would work, without touching any data.

use postgres_etl::catalog::Table;
use postgres_etl::csv::{Files, Inputs};
use postgres_etl::load::check::{
    MappedField, MappingReport, check_can_load, map, no_such_table, settle_header,
};
use postgres_etl::load::{ColumnLoaded, InputOptions, Mode};
use postgres_etl::postgres::{Database, HostChoice, ServerFacts};
use postgres_etl::{Error, Result, blocking};
use schemars::JsonSchema;
use serde::Serialize;
use tokio_postgres::Client;

use crate::cli::args;
use crate::cli::commands::Context;
use crate::cli::config::InputCommand;
use crate::cli::render::Report;
use crate::cli::render::units;

/// The result of a check.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct CheckReport {
    /// `check`.
    pub command: &'static str,
    /// Whether there is no problem.
    pub ok: bool,
    /// The server's address.
    pub address: String,
    /// The server, and its settings that affect timings.
    pub server: ServerFacts,
    /// Why the server accepts no rows, which a query does not mind; `None` if it accepts them.
    pub read_only: Option<Problem>,
    /// The table.
    pub table: CheckedItem,
    /// The file, or files.
    pub file: CheckedFile,
    /// Every configured statement.
    pub queries: Vec<CheckedItem>,
}

/// One item that was checked.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct CheckedItem {
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub problem: Option<String>,
    /// What to do about the problem.
    pub help: Option<String>,
    /// What it is, when nothing is wrong.
    pub detail: String,
}

/// What a load would make of the files.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(super) struct CheckedFile {
    /// The path, or paths.
    pub name: String,
    /// Every problem that would stop a load.
    pub problems: Vec<Problem>,
    /// Why no fields are listed, when nothing is wrong.
    pub detail: String,
    /// The fields that go to a column.
    pub fields: Vec<MappedField>,
    /// Columns of the table that the files do not have, and that take their defaults.
    pub columns_defaulted: Vec<String>,
    /// Names in the header that are skipped, as `--ignore-extra` allows.
    pub columns_ignored: Vec<String>,
}

/// A problem that a load would stop at.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Problem {
    /// The message.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Run the command.
///
/// # Errors
/// When the flags are wrong, or the server cannot be reached. Anything else that is wrong is in the report, and
/// the exit code is 1.
pub(super) async fn run(context: &Context<'_>, flags: &args::Check) -> Result<u8> {
    let input = context.config.input(&flags.input, &flags.format)?;
    let is_configured = flags.input.files.is_empty();
    let database = context.database().await?;
    let report = check(context, input, is_configured, &database).await;
    let closed = database.close().await;
    let report = report?;
    closed?;
    context.print(&report, report.ok)?;
    Ok(u8::from(!report.ok))
}

async fn check(
    context: &Context<'_>,
    input: InputCommand,
    is_configured: bool,
    database: &Database,
) -> Result<CheckReport> {
    let InputCommand { options: settings, generate } = input;
    // The server that a load would use, or else one for queries.
    let connect = || database.connection_to(HostChoice::PreferPrimary);
    let mut client = connect().await?;
    let server = database.server_facts(&client).await?;
    let read_only = database.refusal_to_write(&client).await?.as_ref().map(Problem::from);
    let can_begin = database.check_transactions(&client).await;
    if client.is_closed() {
        client = connect().await?;
    }
    let can_begin = can_begin.and_then(|()| database.check_mode(settings.mode == Mode::Copy));
    let found = match can_begin {
        Ok(()) => Table::find(&**client, &settings.table.name).await,
        Err(error) => Err(error),
    };
    let queries = checked_queries(context, &client).await?;
    let name = settings.table.name.to_string();
    let (table, found) = match found {
        Ok(Some(table)) => (describe(&table, settings.mode), Some(table)),
        Ok(None) if settings.table.create.is_empty() => {
            (Err(no_such_table(&**client, &settings.table.name).await), None)
        }
        // A type that only the server knows leaves the header alone to look at.
        Ok(None) => {
            let described = Table::from_spec(&settings.table).ok();
            (Ok("missing; `postgres-etl load` creates it".into()), described)
        }
        Err(error) => (Err(error), None),
    };
    let table = CheckedItem::new(name, table);
    let file = match open(context, &settings, generate.is_some(), is_configured).await {
        Ok(files) => blocking(move || Ok(look_into(files, found.as_ref(), &settings))).await?,
        Err(file) => file,
    };
    let items_are_fine = [&table].into_iter().chain(&queries).all(|item| item.problem.is_none());
    let ok = items_are_fine && file.problems.is_empty();
    let address = database.describe();
    Ok(CheckReport { command: "check", ok, address, server, read_only, table, file, queries })
}

/// Every configured workload, prepared, or why it cannot be. Those that need the configured table are not, as long as
/// there is no such table.
async fn checked_queries(context: &Context<'_>, client: &Client) -> Result<Vec<CheckedItem>> {
    let table = context.config.table_name()?;
    // A table that cannot be looked up is reported where it is the one to load into.
    let is_missing = matches!(Table::find(client, &table).await, Ok(None));
    let mut queries = Vec::new();
    for (name, workload) in context.config.workloads() {
        let prepared = match workload {
            Ok(workload) if is_missing && workload.needs(&table) => {
                Ok(format!("not checked, because {table} does not exist yet"))
            }
            Ok(workload) => workload
                .prepare(client)
                .await
                .map(|_| workload.statements.into_iter().map(|text| text.sql).collect::<Vec<_>>().join("; ")),
            Err(error) => Err(error),
        };
        queries.push(CheckedItem::new(name.to_owned(), prepared));
    }
    Ok(queries)
}

/// The columns and their types, or why nothing can be loaded into them.
fn describe(table: &Table, mode: Mode) -> Result<String> {
    check_can_load(table, mode, &[])?;
    let columns = table.columns.iter().map(|column| format!("{} {}", column.name, column.type_name));
    let distribution = table.distribution.iter().map(|distribution| format!("; {distribution}"));
    Ok(columns.collect::<Vec<_>>().join(", ") + &distribution.collect::<String>())
}

/// Open the files, or report why they are not checked.
async fn open(
    context: &Context<'_>,
    settings: &InputOptions,
    will_generate: bool,
    is_configured: bool,
) -> Result<Files, CheckedFile> {
    let name = settings.describe();
    let skipped = |detail: String| CheckedFile { name: name.clone(), detail, ..CheckedFile::default() };
    let refused = |error: &Error| CheckedFile {
        name: name.clone(),
        problems: vec![Problem::from(error)],
        ..CheckedFile::default()
    };
    let inputs = match Inputs::resolve(&settings.paths) {
        Ok(inputs) => inputs,
        Err(_) if will_generate => {
            return Err(skipped("missing; `postgres-etl load` generates it".into()));
        }
        // The file was not named by the user, who may only be interested in the statements.
        Err(_) if is_configured && !settings.paths.iter().any(|input| input.exists()) => {
            return Err(skipped("missing, and so not checked".into()));
        }
        Err(error) => return Err(refused(&error)),
    };
    let format = settings.file_format();
    let files = blocking(|| Files::open(inputs, format)).await.map_err(|error| refused(&error))?;
    if let Some(sniffed) = files.sniffed() {
        context.note(&format!("sniffed: {sniffed}"));
    }
    Ok(files)
}

/// What a load of `files` into `table` would start with.
fn look_into(mut files: Files, table: Option<&Table>, settings: &InputOptions) -> CheckedFile {
    let name = files.inputs().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if let Err(error) = settle_header(&mut files, table, settings) {
        return CheckedFile { name, problems: vec![Problem::from(&error)], ..CheckedFile::default() };
    }
    let detail = match (files.header(), table) {
        _ if files.is_empty() => "it is empty".to_owned(),
        (_, Some(_)) => String::new(),
        (Some(header), None) => format!("its columns are {}", header.names.join(", ")),
        (None, None) => "it has no header".to_owned(),
    };
    let MappingReport { fields, columns_defaulted, columns_ignored, problems } = match table {
        Some(table) => map(files, table, settings),
        None => MappingReport::default(),
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

impl Report for CheckReport {
    fn value_column(&self) -> usize {
        INDENT.len()
    }

    fn text(&self) -> String {
        let mut lines = vec![format!("server     ok   {}", units::server(&self.server))];
        lines.extend(
            self.read_only.iter().flat_map(|Problem { message, help }| {
                marked_lines("server", "WARN", message, help.as_deref())
            }),
        );
        lines.extend(checked_item("table", &self.table));
        lines.extend(checked_file(&self.file));
        lines.extend(self.queries.iter().flat_map(|query| checked_item("query", query)));
        lines.join("\n")
    }
}

/// What stands under the name of something that was checked.
const INDENT: &str = "                ";

fn checked_item(what: &str, item: &CheckedItem) -> Vec<String> {
    let CheckedItem { name, problem, help, detail } = item;
    match problem {
        // Every message names what it is about.
        Some(problem) => problem_lines(what, problem, help.as_deref()),
        None => vec![format!("{what:<10} ok   {name}: {detail}")],
    }
}

fn checked_file(file: &CheckedFile) -> Vec<String> {
    let CheckedFile { name, problems, detail, fields, columns_defaulted, columns_ignored } = file;
    let mut lines = Vec::new();
    for Problem { message, help } in problems {
        lines.extend(problem_lines("file", message, help.as_deref()));
    }
    match (detail.as_str(), problems.is_empty()) {
        ("", true) => lines.push(format!("file       ok   {name}")),
        (_, true) => lines.push(format!("file       ok   {name}: {detail}")),
        _ => {}
    }
    for MappedField { field, header, column } in fields {
        let ColumnLoaded { name, type_name, format, text_from } = column;
        let header = header.as_ref().map_or_else(String::new, |header| format!(" {header}"));
        let reader = match (*format, text_from) {
            ("binary", _) => "binary".to_owned(),
            (_, Some(switch)) => format!("text, read by the server for {}", switch.value),
            _ => "text, read by the server".to_owned(),
        };
        lines.push(format!("{INDENT}field {field}{header} -> {name} {type_name}, {reader}"));
    }
    if !columns_defaulted.is_empty() {
        lines.push(format!("{INDENT}default {}: not in the file", columns_defaulted.join(", ")));
    }
    if !columns_ignored.is_empty() {
        lines.push(format!("{INDENT}ignored {}: not in the table", columns_ignored.join(", ")));
    }
    lines
}

/// A problem with its remedy; what stands in further lines of `message` is a part of it.
fn problem_lines(what: &str, message: &str, help: Option<&str>) -> Vec<String> {
    marked_lines(what, "BAD", message, help)
}

/// As [`problem_lines`], with another `mark`.
fn marked_lines(what: &str, mark: &str, message: &str, help: Option<&str>) -> Vec<String> {
    let mut lines = vec![format!("{what:<10} {mark:<4} {}", message.replace('\n', &format!("\n{INDENT}")))];
    lines.extend(help.map(|help| format!("{INDENT}  help: {help}")));
    lines
}
