//! Workloads: their statements, and where the arguments of these come from.

pub(crate) mod columns;
pub(crate) mod literal;
pub(crate) mod mix;
pub(crate) mod pgbench;
pub(crate) mod random;
pub(crate) mod row_counts;
pub(crate) mod spec;
pub(crate) mod template;
pub(crate) mod values;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio_postgres::{Client, Statement};

use crate::catalog::TableName;
use crate::error::ErrorKind;
use crate::query::workload::random::RandomStream;
use crate::query::workload::row_counts::RowCounts;
use crate::query::workload::spec::{ArgSpec, Distribution, WorkloadSpec};
use crate::query::workload::values::{Argument, ValueSource};
use crate::{Error, Result};

/// A workload as it is configured: one statement, or several as a transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// Where it is defined, for messages: `[query.NAME]`, `--sql`, or `workload NAME` if it is built in.
    pub place: String,
    /// Its statements; at least one.
    pub statements: Vec<WorkloadStatement>,
    /// The statement that begins its transaction; `None` for a single statement outside a transaction block.
    pub begin: Option<String>,
    /// Its weight in a mix, relative to the others.
    pub weight: u32,
    /// The values that are drawn for each iteration.
    values: Vec<ArgSpec>,
}

/// A statement, and which of the workload's values are its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadStatement {
    /// The text, with `$1`, `$2` … for its parameters.
    pub sql: String,
    /// The index of the value for each parameter.
    args: Vec<usize>,
}

/// The isolation levels; empty for the server's default. PostgreSQL treats read uncommitted as read committed.
const ISOLATIONS: [&str; 5] = ["", "read uncommitted", "read committed", "repeatable read", "serializable"];

impl Workload {
    /// The statements as they are sent: its own, with BEGIN and COMMIT around those of a transaction.
    pub(crate) fn sent(&self) -> impl Iterator<Item = &str> {
        let end = self.begin.as_ref().map(|_| "COMMIT");
        let own = self.statements.iter().map(|statement| statement.sql.as_str());
        self.begin.as_deref().into_iter().chain(own).chain(end)
    }

    /// The workload that `[query.NAME]` defines; paths in it are relative to `base`.
    ///
    /// # Errors
    /// When a key contradicts another, a file cannot be read, or an argument refers to a name that `draw` does not
    /// define.
    pub fn new(name: &str, spec: &WorkloadSpec, base: &Path) -> Result<Workload> {
        let place = format!("[query.{name}]");
        Workload::at(name, &place, spec, base)
            .map_err(|error| if error.help().is_some() { error } else { error.with_help("see config.toml") })
    }

    /// The workload that `spec` defines at `place`, which messages name.
    ///
    /// # Errors
    /// As [`Workload::new`].
    pub fn at(name: &str, place: &str, spec: &WorkloadSpec, base: &Path) -> Result<Workload> {
        let WorkloadSpec { sql, file, args, transaction, draw, isolation, weight } = spec;
        check_keys(place, spec)?;
        let values = draw.values().cloned().collect();
        let mut reader = StatementReader { place, draw, base, values };
        let statements = if transaction.is_empty() {
            vec![reader.read(sql, file, args)?]
        } else {
            let statements = transaction.iter().map(|step| reader.read(&step.sql, &step.file, &step.args));
            statements.collect::<Result<_>>()?
        };
        let begin = (!transaction.is_empty()).then(|| match isolation.as_str() {
            "" => "BEGIN".to_owned(),
            level => format!("BEGIN ISOLATION LEVEL {level}"),
        });
        let values = reader.values;
        Ok(Workload { name: name.into(), place: place.into(), statements, begin, weight: *weight, values })
    }

    /// Where the arguments of a statement come from.
    pub fn arguments_of<'a>(&'a self, statement: &'a WorkloadStatement) -> impl Iterator<Item = &'a ArgSpec> {
        statement.args.iter().map(|value| &self.values[*value])
    }

    /// Whether it most likely only reads. If it writes after all, through a function it calls, a read-only session
    /// refuses it.
    pub fn only_reads(&self) -> bool {
        self.statements.iter().all(|statement| only_reads(&statement.sql))
    }

    /// Whether it depends on the rows of the configured `table`: a statement mentions the table, or an argument its
    /// number of rows.
    pub fn needs(&self, table: &TableName) -> bool {
        let name = table.table.to_lowercase();
        let schema = table.schema.as_deref().unwrap_or("public").to_lowercase();
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let mentions = |sql: &str| {
            let sql = sql.to_lowercase();
            sql.match_indices(&name).any(|(at, found)| {
                let (before, after) = (&sql[..at], &sql[at + found.len()..]);
                let is_whole = !before.ends_with(is_word) && !after.starts_with(is_word);
                // A table of this name in another schema is another table.
                let other_schema = before.trim_end_matches('"').strip_suffix('.').is_some_and(|qualified| {
                    let qualified = qualified.trim_end_matches('"');
                    qualified.rsplit(|c| !is_word(c)).next() != Some(&schema)
                });
                is_whole && !other_schema
            })
        };
        let counts = |arg: &ArgSpec| match arg {
            ArgSpec::Distribution(distribution) => distribution.counts_rows(),
            ArgSpec::Constant(_) => false,
        };
        self.statements.iter().any(|statement| mentions(&statement.sql)) || self.values.iter().any(counts)
    }

    /// Prepare its statements, and check that each has as many parameters as arguments.
    ///
    /// # Errors
    /// When the server rejects a statement, a statement is a COPY, or the numbers differ.
    pub async fn prepare(&self, client: &Client) -> Result<Vec<Statement>> {
        let is_configured = self.place.starts_with('[');
        let mut prepared = Vec::with_capacity(self.statements.len());
        for WorkloadStatement { sql, args } in &self.statements {
            let first = without_comments(sql).split(|c: char| !c.is_ascii_alphabetic()).next();
            if first.is_some_and(|word| word.eq_ignore_ascii_case("COPY")) {
                return Err(Error::config(format!("{} is a COPY, which query cannot measure", self.place))
                    .with_help("measure it with load, or with psql and \\timing"));
            }
            let statement = client.prepare(sql).await.map_err(|error| {
                let file = if is_configured { " in config.toml" } else { "" };
                let has_several = error.as_db_error().is_some_and(|error| error.message().contains("multiple commands"));
                let refusal = Error::statement(&self.place, sql, error);
                let elsewhere = ["08", "25", "40", "53", "55", "57", "58"];
                let is_elsewhere = |code: &str| elsewhere.iter().any(|class| code.starts_with(class));
                let remedy = if refusal.sqlstate().is_some_and(is_elsewhere) {
                    return refusal;
                } else if self.is_built_in() {
                    // A table or a column is missing.
                    let is_about_tables = matches!(refusal.sqlstate(), Some("42P01" | "42703"));
                    return if is_about_tables { refusal.with_help(pgbench::CREATE_TABLES) } else { refusal };
                } else if has_several {
                    "list them as transaction = [{ sql = \"…\" }, { sql = \"…\" }] under [query.NAME] in config.toml".to_owned()
                } else {
                    format!("correct the statement of {}{file}", self.place)
                };
                if refusal.help().is_some() { refusal } else { refusal.with_help(remedy) }
            })?;
            let (parameters, args) = (statement.params().len(), args.len());
            if parameters != args {
                let help = if is_configured {
                    format!("give {} one entry of args for each of $1, $2 …", self.place)
                } else {
                    "give one --arg for each of $1, $2 … of the statement, and no other".to_owned()
                };
                return Err(Error::config(format!(
                    "query {} has {} but {}: {sql}",
                    self.name,
                    count(parameters, "parameter", "parameters"),
                    count(args, "argument", "arguments"),
                ))
                .with_help(help));
            }
            prepared.push(statement);
        }
        Ok(prepared)
    }

    /// Resolve the sources of its values: bounds, and columns of tables and files. `rows` is the number of rows of
    /// `table`.
    ///
    /// # Errors
    /// When a range is empty, or a column does not exist or has no values.
    pub(crate) async fn resolve(
        &self,
        client: &Client,
        table: &TableName,
        rows: u64,
        seed: u64,
        base: &Path,
    ) -> Result<Arguments> {
        let mut sources = Vec::with_capacity(self.values.len());
        let mut counts = RowCounts::default();
        for (index, value) in self.values.iter().enumerate() {
            let source = match value {
                ArgSpec::Constant(value) => Ok(ValueSource::Constant(value.to_string())),
                ArgSpec::Distribution(Distribution::Column(column)) => {
                    columns::table_column(client, column, table, seed).await
                }
                ArgSpec::Distribution(Distribution::Csv(file, column)) => {
                    columns::csv_column(&base.join(file), column)
                }
                ArgSpec::Distribution(distribution) => counts
                    .count(client, distribution)
                    .await
                    .and_then(|distribution| ValueSource::new(&distribution, rows)),
            };
            sources.push(source.map_err(|error| {
                let message = format!("{}: argument {} {error}", self.place, index + 1);
                let located = Error::new(error.kind(), message);
                match error.help() {
                    Some(help) => located.with_help(help),
                    None => located,
                }
            })?);
        }
        // The name is part of the seed, so that a workload has the same arguments whatever it is mixed with.
        let named =
            self.name.bytes().fold(seed, |seed, byte| RandomStream::new(seed, u64::from(byte), 0).below(0));
        Ok(Arguments { seed: named, sources: sources.into() })
    }

    /// The arguments of statement number `statement` in an iteration of the workload.
    pub(crate) fn draw<'a>(
        &'a self,
        arguments: &'a Arguments,
        statement: usize,
        iteration: u64,
    ) -> impl ExactSizeIterator<Item = Argument<'a>> {
        self.statements[statement]
            .args
            .iter()
            .map(move |&value| arguments.sources[value].draw(arguments.seed, iteration, value))
    }

    /// Have the server read some arguments as the types of their parameters, without running the statements.
    ///
    /// # Errors
    /// At the first argument that the server does not accept.
    pub(crate) async fn check_arguments(
        &self,
        client: &Client,
        arguments: &Arguments,
        prepared: &[Statement],
    ) -> Result<()> {
        const DRAWN: u64 = 100;
        const MOST_LINES: u64 = 10_000;
        const LONGEST_MESSAGE: usize = 1 << 30;
        for (number, statement) in prepared.iter().enumerate() {
            let types = statement.params();
            let sources = self.statements[number].args.iter().map(|&source| &arguments.sources[source]);
            if sources.map(ValueSource::longest).sum::<usize>() > LONGEST_MESSAGE {
                let message = format!("the arguments of {} may exceed 1 GiB", self.place);
                return Err(Error::usage(message).with_help("the server takes no longer message"));
            }
            for (at, type_) in types.iter().enumerate() {
                // Some types, such as pseudo-types, cannot be selected; they are left to the run.
                let Ok(reader) = client.prepare_typed("SELECT $1", std::slice::from_ref(type_)).await else {
                    continue;
                };
                let source = &arguments.sources[self.statements[number].args[at]];
                let checked = match source {
                    ValueSource::Constant(_) => 1,
                    ValueSource::Lines(values) => MOST_LINES.min(values.len() as u64),
                    _ => DRAWN,
                };
                for iteration in 0..checked {
                    let argument =
                        self.draw(arguments, number, iteration).nth(at).expect("one for each parameter");
                    let read = client.query_raw(&reader, [argument]).await;
                    if let Err(error) = read {
                        let doing = format!("read {argument} as ${} ({type_}) of {}", at + 1, self.place);
                        return Err(Error::database(&doing, error)
                            .with_help("change the argument, or cast the parameter: $1::text"));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Check that the keys of `spec` do not contradict each other.
fn check_keys(place: &str, spec: &WorkloadSpec) -> Result<()> {
    let WorkloadSpec { sql, file, args, transaction, draw, isolation, weight } = spec;
    let is_transaction = !transaction.is_empty();
    let is_single = !sql.is_empty() || !file.as_os_str().is_empty() || !args.is_empty();
    let unknown_isolation = format!("has the unknown isolation level `{isolation}`");
    let contradictions = [
        (*weight == 0, "has weight 0", "give a number from 1 up, or leave the workload out of the mix"),
        (is_transaction && is_single, "has sql and transaction", "put all its statements into transaction"),
        (
            !is_transaction && (!draw.is_empty() || !isolation.is_empty()),
            "has draw or isolation, which are for a transaction",
            "write transaction = [{ sql = \"…\" }]",
        ),
        (
            draw.values().any(|value| matches!(value, ArgSpec::Distribution(Distribution::Shared(_)))),
            "has a name under draw that refers to another name",
            "give each name under draw a distribution or a constant",
        ),
        (
            !ISOLATIONS.iter().any(|level| isolation.eq_ignore_ascii_case(level)),
            &unknown_isolation,
            "write read committed, repeatable read or serializable",
        ),
    ];
    match contradictions.into_iter().find(|(applies, ..)| *applies) {
        Some((_, message, help)) => Err(Error::config(format!("{place} {message}")).with_help(help)),
        None => Ok(()),
    }
}

/// Reads the statements of a workload, and collects the values that their arguments are drawn from.
struct StatementReader<'a> {
    place: &'a str,
    draw: &'a BTreeMap<String, ArgSpec>,
    base: &'a Path,
    /// Those of `draw` first, in its order.
    values: Vec<ArgSpec>,
}

impl StatementReader<'_> {
    /// The statement given as `sql` or in `file`, with its `args`.
    fn read(&mut self, sql: &str, file: &Path, args: &[ArgSpec]) -> Result<WorkloadStatement> {
        let wrong = |what: &str, help: &str| Error::config(format!("{} {what}", self.place)).with_help(help);
        let sql = match (sql, file.as_os_str().is_empty()) {
            (sql, true) => sql.to_owned(),
            ("", false) => {
                let path = self.base.join(file);
                std::fs::read_to_string(&path)
                    .map_err(|error| Error::io(ErrorKind::Config, "read the statement", &path, error))?
            }
            _ => return Err(wrong("has sql and file for one statement", "leave one of them out")),
        };
        if sql.trim_matches(|c: char| c.is_whitespace() || c == ';').is_empty() {
            return Err(wrong("has an empty statement", "write the statement as sql"));
        }
        let args = args.iter().map(|arg| self.value(arg)).collect::<Result<_>>()?;
        Ok(WorkloadStatement { sql, args })
    }

    /// The index of the value that `arg` stands for.
    fn value(&mut self, arg: &ArgSpec) -> Result<usize> {
        let ArgSpec::Distribution(Distribution::Shared(name)) = arg else {
            self.values.push(arg.clone());
            return Ok(self.values.len() - 1);
        };
        self.draw.keys().position(|key| key == name).ok_or_else(|| {
            let message =
                format!("{} has an argument drawn as {name}, which draw does not define", self.place);
            Error::config(message).with_help(format!("write draw = {{ {name} = … }}"))
        })
    }
}

/// Whether `sql` begins like a statement that reads, and, after WITH, contains no keyword that writes.
fn only_reads(sql: &str) -> bool {
    let words = |sql: &str| -> Vec<String> {
        sql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty())
            .map(str::to_ascii_uppercase)
            .collect()
    };
    let words = words(without_comments(sql).trim_start_matches(|c: char| c.is_whitespace() || c == '('));
    match words.first().map_or("", String::as_str) {
        "SELECT" | "VALUES" | "TABLE" => true,
        "WITH" => !words.iter().any(|word| ["INSERT", "UPDATE", "DELETE", "MERGE"].contains(&word.as_str())),
        _ => false,
    }
}

/// `sql` without the whitespace and comments before its first word.
fn without_comments(sql: &str) -> &str {
    let mut rest = sql.trim_start();
    loop {
        let after = match (rest.strip_prefix("--"), rest.strip_prefix("/*")) {
            (Some(comment), _) => comment.split_once('\n'),
            (_, Some(comment)) => comment.split_once("*/"),
            _ => return rest,
        };
        rest = after.map_or("", |(_, rest)| rest.trim_start());
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// What the values of a workload are drawn from, completely resolved.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Arguments {
    seed: u64,
    sources: Arc<[ValueSource]>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::workload::spec::{Scalar, StepSpec};

    fn refusal(spec: &WorkloadSpec) -> String {
        Workload::new("x", spec, Path::new("")).unwrap_err().to_string()
    }

    #[test]
    fn reads_are_told_from_writes_by_their_keywords() {
        for sql in [
            "SELECT 1",
            " \n select 1",
            "(SELECT 1) UNION SELECT 2",
            "VALUES (1)",
            "table t",
            "-- why\n /* and how */ SELECT 1",
            "WITH a AS (SELECT 1) SELECT * FROM a",
        ] {
            assert!(only_reads(sql), "{sql}");
        }
        for sql in
            ["INSERT INTO t SELECT 1", "WITH w AS (DELETE FROM t) SELECT 1", "SELECTION", "", "CALL f()"]
        {
            assert!(!only_reads(sql), "{sql}");
        }
    }

    #[test]
    fn statements_of_a_transaction_share_named_values() {
        let step = |args| StepSpec { sql: "SELECT $1".into(), args, ..StepSpec::default() };
        let shared = |name: &str| ArgSpec::Distribution(Distribution::Shared(name.into()));
        let constant = ArgSpec::Constant(Scalar::Integer(7));
        let spec = WorkloadSpec {
            transaction: vec![step(vec![shared("a")]), step(vec![constant.clone()]), step(vec![shared("a")])],
            draw: [("a".to_owned(), ArgSpec::Distribution(Distribution::Choice(vec![])))].into(),
            isolation: "serializable".into(),
            ..WorkloadSpec::default()
        };
        let workload = Workload::new("x", &spec, Path::new("")).unwrap();
        let args: Vec<_> = workload.statements.iter().map(|text| text.args.clone()).collect();
        assert_eq!(args, [vec![0], vec![1], vec![0]]);
        assert_eq!(workload.begin.as_deref(), Some("BEGIN ISOLATION LEVEL serializable"));
        let unknown = WorkloadSpec { transaction: vec![step(vec![shared("b")])], ..spec.clone() };
        assert_eq!(refusal(&unknown), "[query.x] has an argument drawn as b, which draw does not define");
        let both = WorkloadSpec { sql: "SELECT 1".into(), ..spec };
        assert_eq!(refusal(&both), "[query.x] has sql and transaction");
    }

    #[test]
    fn a_workload_needs_the_table_that_it_mentions() {
        let table = TableName::parse("persons").unwrap();
        let needs = |sql: &str| {
            let workload = WorkloadSpec { sql: sql.into(), ..WorkloadSpec::default() };
            Workload::new("x", &workload, Path::new("")).unwrap().needs(&table)
        };
        assert!(needs("SELECT * FROM persons") && needs("TABLE public.\"persons\""));
        assert!(!needs("SELECT * FROM persons_old") && !needs("SELECT 1"));
        assert!(!needs("SELECT * FROM other.persons") && !needs("TABLE \"Other\".\"persons\""));
    }
}
