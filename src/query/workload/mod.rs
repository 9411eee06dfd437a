//! Workloads: their statements, where the arguments come from, and which of several comes when.

pub(crate) mod spec;
pub(crate) mod template;
pub(crate) mod values;

use std::path::Path;
use std::sync::Arc;

use postgres_types::Type;
use tokio_postgres::{Client, Statement};

use crate::catalog::{Table, TableName};
use crate::error::ErrorKind;
use crate::query::workload::spec::{ArgSpec, Distribution, WorkloadSpec};
use crate::query::workload::values::{Argument, Source, Stream};
use crate::sql::quote;
use crate::{Error, Result};

/// A workload as it is configured: one statement, or several as a transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// What it is called.
    pub name: String,
    /// Where users find it: `[query.NAME]`, or `--sql`.
    pub place: String,
    /// Its statements; at least one.
    pub statements: Vec<WorkloadStatement>,
    /// What its transaction begins with; `None` for one statement by itself.
    pub begin: Option<String>,
    /// How often it comes, compared with the others.
    pub weight: u32,
    /// What is drawn for each run of it.
    values: Vec<ArgSpec>,
}

/// A statement, and which of the values that are drawn are its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadStatement {
    /// With `$1`, `$2` … for its parameters.
    pub sql: String,
    /// For each parameter the value's number.
    args: Vec<usize>,
}

/// What a transaction may begin with; PostgreSQL reads uncommitted as read committed.
const ISOLATIONS: [&str; 5] = ["", "read uncommitted", "read committed", "repeatable read", "serializable"];

impl Workload {
    /// The workload `[query.NAME]`, whose files are named from `base` on.
    ///
    /// # Errors
    /// When a key contradicts another, a file cannot be read, or an argument is drawn by a name that is not there.
    pub fn new(name: &str, workload: &WorkloadSpec, base: &Path) -> Result<Workload> {
        let place = format!("[query.{name}]");
        Workload::at(name, &place, workload, base)
            .map_err(|error| if error.help().is_some() { error } else { error.with_help("see config.toml") })
    }

    /// A workload that stands at `place`.
    ///
    /// # Errors
    /// As [`Workload::new`].
    pub fn at(name: &str, place: &str, workload: &WorkloadSpec, base: &Path) -> Result<Workload> {
        let WorkloadSpec { sql, file, args, transaction, draw, isolation, weight } = workload;
        let error = |what: &str, help: &str| Error::config(format!("{place} {what}")).with_help(help);
        let wrong = |what: &str, help: &str| Err(error(what, help));
        if *weight == 0 {
            return wrong("has weight 0", "give a number from 1 up, or leave the workload out of the mix");
        }
        let is_transaction = !transaction.is_empty();
        let is_single = !sql.is_empty() || !file.as_os_str().is_empty() || !args.is_empty();
        if is_transaction && is_single {
            return wrong("has sql and transaction", "put all its statements into transaction");
        }
        let is_for_many = !draw.is_empty() || !isolation.is_empty();
        if is_for_many && !is_transaction {
            return wrong(
                "has draw or isolation, which are for a transaction",
                "write transaction = [{ sql = \"…\" }]",
            );
        }
        let mut values: Vec<ArgSpec> = draw.values().cloned().collect();
        let named = |arg: &ArgSpec| match arg {
            ArgSpec::Distribution(Distribution::Shared(name)) => {
                match draw.keys().position(|key| key == name) {
                    Some(index) => Ok(Some(index)),
                    None => Err(Error::config(format!(
                        "{place} has an argument drawn as {name}, which draw has not"
                    ))
                    .with_help(format!("write draw = {{ {name} = … }}"))),
                }
            }
            _ => Ok(None),
        };
        for value in draw.values() {
            if named(value)?.is_some() {
                return wrong("draws a name by a name", "say under draw what it is drawn from");
            }
        }
        let mut text = |sql: &str, file: &Path, args: &[ArgSpec]| -> Result<WorkloadStatement> {
            let sql = match (sql, file.as_os_str().is_empty()) {
                (sql, true) => sql.to_owned(),
                ("", false) => {
                    let path = base.join(file);
                    std::fs::read_to_string(&path)
                        .map_err(|error| Error::io(ErrorKind::Config, "read the statement", &path, &error))?
                }
                _ => return Err(error("has sql and file for one statement", "leave one of them out")),
            };
            if sql.trim_matches(|c: char| c.is_whitespace() || c == ';').is_empty() {
                return Err(error("sql is empty", "write a statement there"));
            }
            let mut indexes = Vec::with_capacity(args.len());
            for arg in args {
                let index = if let Some(index) = named(arg)? {
                    index
                } else {
                    values.push(arg.clone());
                    values.len() - 1
                };
                indexes.push(index);
            }
            Ok(WorkloadStatement { sql, args: indexes })
        };
        let statements = if is_transaction {
            transaction.iter().map(|step| text(&step.sql, &step.file, &step.args)).collect::<Result<_>>()?
        } else {
            vec![text(sql, file, args)?]
        };
        if !ISOLATIONS.iter().any(|level| isolation.eq_ignore_ascii_case(level)) {
            return wrong(
                &format!("has the isolation `{isolation}`, which there is not"),
                "write read committed, repeatable read or serializable",
            );
        }
        let begin = is_transaction.then(|| match isolation.as_str() {
            "" => "BEGIN".to_owned(),
            level => format!("BEGIN ISOLATION LEVEL {level}"),
        });
        Ok(Workload { name: name.into(), place: place.into(), statements, begin, weight: *weight, values })
    }

    /// Where the arguments of a statement come from.
    pub fn arguments_of<'a>(&'a self, statement: &'a WorkloadStatement) -> impl Iterator<Item = &'a ArgSpec> {
        statement.args.iter().map(|value| &self.values[*value])
    }

    /// Whether it most likely reads only. Where it does not, because of what it calls, a read-only session tells.
    pub fn only_reads(&self) -> bool {
        self.statements.iter().all(|statement| only_reads(&statement.sql))
    }

    /// Whether what it asks depends on how many rows the configured `table` has, or on there being any.
    pub fn needs(&self, table: &TableName) -> bool {
        let name = table.to_string().to_lowercase();
        let name = name.rsplit('.').next().unwrap_or_default().trim_matches('"').to_owned();
        let mentions = |sql: &str| {
            let sql = sql.to_lowercase();
            sql.match_indices(&name).any(|(at, found)| {
                let is_word =
                    |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$');
                !is_word(sql[..at].chars().next_back()) && !is_word(sql[at + found.len()..].chars().next())
            })
        };
        let counts = |arg: &ArgSpec| match arg {
            ArgSpec::Distribution(drawn) => drawn.counts_rows(),
            ArgSpec::Constant(_) => false,
        };
        self.statements.iter().any(|statement| mentions(&statement.sql)) || self.values.iter().any(counts)
    }

    /// Prepare its statements, and see that each has as many parameters as arguments.
    ///
    /// # Errors
    /// The server's refusal, or the two numbers.
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
                let refusal = Error::statement(&self.place, sql, &error);
                let file = if is_configured { " in config.toml" } else { "" };
                let remedy = if error.as_db_error().is_some_and(|error| error.message().contains("multiple commands")) {
                    "list them as transaction = [{ sql = \"…\" }, { sql = \"…\" }] under [query.NAME] in config.toml".to_owned()
                } else {
                    format!("correct the statement of {}{file}", self.place)
                };
                if refusal.help().is_some() { refusal } else { refusal.with_help(remedy) }
            })?;
            let (parameters, args) = (statement.params().len(), args.len());
            if parameters != args {
                let (given, help) = if is_configured {
                    ("args has", format!("give {} one entry of args for each of $1, $2 …", self.place))
                } else {
                    ("is given", "give one --arg for each of $1, $2 …".to_owned())
                };
                return Err(Error::config(format!(
                    "query {} has {} and {given} {}: {sql}",
                    self.name,
                    count(parameters, "parameter", "parameters"),
                    count(args, "entry", "entries"),
                ))
                .with_help(help));
            }
            prepared.push(statement);
        }
        Ok(prepared)
    }

    /// Settle what the values are drawn from: bounds, columns of tables and of files.
    ///
    /// # Errors
    /// When a range is empty, there is no such column, or nothing in it.
    pub async fn resolve(
        &self,
        client: &Client,
        table: &TableName,
        rows: u64,
        seed: u64,
        base: &Path,
    ) -> Result<Arguments> {
        let mut sources = Vec::with_capacity(self.values.len());
        for (index, value) in self.values.iter().enumerate() {
            let source = match value {
                ArgSpec::Constant(value) => Ok(Source::Constant(value.to_string())),
                ArgSpec::Distribution(Distribution::Column(column)) => {
                    sample(client, column, table, seed).await
                }
                ArgSpec::Distribution(Distribution::Csv(file, column)) => {
                    values::lines(&base.join(file), column)
                }
                ArgSpec::Distribution(drawn) => Source::of(drawn, rows),
            };
            sources.push(source.map_err(|error| {
                let told =
                    Error::new(error.kind(), format!("{}: argument {} {error}", self.place, index + 1));
                match error.help() {
                    Some(help) => told.with_help(help),
                    None => told,
                }
            })?);
        }
        // The name is part of the seed, so that a workload asks the same whatever it is mixed with.
        let named = self.name.bytes().fold(seed, |seed, byte| Stream::new(seed, u64::from(byte), 0).below(0));
        Ok(Arguments { seed: named, sources: sources.into() })
    }

    /// The arguments of statement number `statement` in run `index` of the workload.
    pub fn draw<'a>(
        &'a self,
        arguments: &'a Arguments,
        statement: usize,
        index: u64,
    ) -> impl ExactSizeIterator<Item = Argument<'a>> {
        self.statements[statement]
            .args
            .iter()
            .map(move |&value| arguments.sources[value].draw(arguments.seed, index, value))
    }

    /// Have the server read some arguments as the types of the parameters, without running the statements.
    ///
    /// # Errors
    /// The first that it does not take.
    pub async fn check_arguments(
        &self,
        client: &Client,
        arguments: &Arguments,
        prepared: &[Statement],
    ) -> Result<()> {
        const LOOKED_AT: u64 = 100;
        const MOST_LOOKED_AT: u64 = 10_000;
        for (number, statement) in prepared.iter().enumerate() {
            let types = statement.params();
            for (at, type_) in types.iter().enumerate() {
                // Some types, such as those that functions alone know, cannot be selected; they are left to the run.
                let Ok(reader) = client.prepare_typed("SELECT $1", std::slice::from_ref(type_)).await else {
                    continue;
                };
                // What a file has is known.
                let looked_at = match &arguments.sources[self.statements[number].args[at]] {
                    Source::Lines(values) => MOST_LOOKED_AT.min(values.len() as u64),
                    _ => LOOKED_AT,
                };
                for index in 0..looked_at {
                    let argument =
                        self.draw(arguments, number, index).nth(at).expect("one for each parameter");
                    let read = client.query_raw(&reader, [argument]).await;
                    if let Err(error) = read {
                        let doing = format!("read {argument} as ${} ({type_}) of {}", at + 1, self.place);
                        return Err(Error::database(&doing, &error)
                            .with_help("change the argument, or cast the parameter: $1::text"));
                    }
                    let source = &arguments.sources[self.statements[number].args[at]];
                    if matches!(source, Source::Constant(_)) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether `sql` begins like a statement that reads; WITH may write further on.
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

/// `sql` from its first word on.
fn without_comments(sql: &str) -> &str {
    let sql = sql.trim_start();
    let rest = match (sql.strip_prefix("--"), sql.strip_prefix("/*")) {
        (Some(comment), _) => comment.split_once('\n').map_or("", |(_, rest)| rest),
        (_, Some(comment)) => comment.split_once("*/").map_or("", |(_, rest)| rest),
        _ => return sql,
    };
    without_comments(rest)
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// What a workload's values are drawn from, all of it settled.
#[derive(Debug, Clone, PartialEq)]
pub struct Arguments {
    seed: u64,
    sources: Arc<[Source]>,
}

/// Values of `column`, "column" of `table` or "table.column": up to about so many, as often as they are there.
const SAMPLED: u32 = 20_000;

async fn sample(client: &Client, column: &str, table: &TableName, seed: u64) -> Result<Source> {
    let (table, column) = match column.rsplit_once('.') {
        Some((table, column)) => (TableName::parse(table)?, column),
        None => (table.clone(), column),
    };
    let none = |what: String, help: &str| Err(Error::new(ErrorKind::Database, what).with_help(help));
    let Some(found) = Table::find(client, &table).await? else {
        return none(
            format!("is a column of {table}, and there is no such table"),
            "correct the name, or load it first: postgres-etl load",
        );
    };
    let Some(column) = found.column_by_sql_name(column) else {
        let known: Vec<&str> = found.columns.iter().map(|column| column.name.as_str()).collect();
        return none(
            format!("is column {column} of {table}, which has none of that name"),
            &format!("its columns are {}", known.join(", ")),
        );
    };
    let (from, name) = (found.name.sql(), quote(&column.name));
    let ask = |error| Error::database(&format!("sample {}.{}", found.name, column.name), &error);
    let rows = client.query_one(&format!("SELECT count({name}) FROM {from}"), &[]).await.map_err(ask)?;
    let rows = rows.get::<_, i64>(0);
    // Every n-th of the sorted values, so that the same rows make the same sample however they lie in the table.
    let every = (rows / i64::from(SAMPLED)).max(1);
    let first = (seed % every.unsigned_abs()) as i64;
    let sql = format!(
        "SELECT value FROM (SELECT value, pg_catalog.row_number() OVER (ORDER BY value COLLATE \"C\") AS number
                            FROM (SELECT {name}::text AS value FROM {from}) AS all_values
                            WHERE value IS NOT NULL) AS numbered
         WHERE number % {every} = {first} ORDER BY number"
    );
    let values: Vec<String> =
        client.query(&sql, &[]).await.map_err(ask)?.iter().map(|row| row.get(0)).collect();
    if values.is_empty() {
        return none(
            format!("is column {} of {}, which has no values", column.name, found.name),
            "load it first: postgres-etl load",
        );
    }
    Ok(Source::Choice(values.into()))
}

/// Which workload comes when.
///
/// In every round each comes as often as its weight says, in an order drawn from the seed: a mix is exact, and which
/// run of which workload a query is depends on nothing but its number.
#[derive(Debug)]
pub(super) struct Mix {
    /// The workloads.
    pub workloads: Vec<Workload>,
    /// What each is drawn from.
    pub arguments: Vec<Arguments>,
    /// For each query of a round, which workload it runs, and for which time in this round.
    round: Vec<(u32, u32)>,
    /// How often each comes in a round.
    per_round: Vec<u64>,
}

/// Rounds are at least so long, so that their order does not repeat soon.
const ROUND: usize = 4096;

/// The weights of a mix add up to so much at most.
pub(super) const MOST_WEIGHT: u64 = 100_000;

impl Mix {
    /// A mix of `workloads`, at least one, each with its arguments.
    pub(super) fn new(workloads: Vec<Workload>, arguments: Vec<Arguments>, seed: u64) -> Mix {
        let pack: Vec<u32> = (0u32..)
            .zip(&workloads)
            .flat_map(|(workload, Workload { weight, .. })| std::iter::repeat_n(workload, *weight as usize))
            .collect();
        let (mut round, mut per_round) = (Vec::new(), vec![0; workloads.len()]);
        let packs = if workloads.len() == 1 { 1 } else { ROUND.div_ceil(pack.len()) };
        for number in 0..packs {
            let mut pack = pack.clone();
            for left in (1..pack.len()).rev() {
                let other = Stream::new(seed, number as u64, left).below(left as u64 + 1);
                pack.swap(left, other as usize);
            }
            for workload in pack {
                let times: &mut u64 = &mut per_round[workload as usize];
                round.push((workload, *times as u32));
                *times += 1;
            }
        }
        Mix { workloads, arguments, round, per_round }
    }

    /// Which workload query `index` runs, and for which time.
    pub(super) fn at(&self, index: u64) -> (usize, u64) {
        let length = self.round.len() as u64;
        let (workload, time) = self.round[(index % length) as usize];
        (workload as usize, (index / length) * self.per_round[workload as usize] + u64::from(time))
    }

    /// The arguments of statement `number` of workload `workload`, run for the `time`-th time.
    pub(super) fn arguments(
        &self,
        workload: usize,
        number: usize,
        time: u64,
    ) -> impl ExactSizeIterator<Item = Argument<'_>> {
        self.workloads[workload].draw(&self.arguments[workload], number, time)
    }

    fn all_arguments(&self, workload: usize, time: u64) -> impl Iterator<Item = Argument<'_>> {
        let statements = 0..self.workloads[workload].statements.len();
        statements.flat_map(move |number| self.arguments(workload, number, time))
    }

    /// All arguments of such a run, for people.
    pub(super) fn describe(&self, workload: usize, time: u64) -> String {
        let arguments = self.all_arguments(workload, time);
        let arguments = arguments.map(|argument| argument.to_string()).collect::<Vec<_>>().join(", ");
        with_arguments(&self.workloads[workload].name, &arguments)
    }

    /// All arguments of such a run, so that others have another key.
    pub(super) fn key(&self, workload: usize, time: u64) -> String {
        let arguments = self.all_arguments(workload, time);
        arguments.map(|argument| format!("{argument:?}")).collect::<Vec<_>>().join(",")
    }
}

/// `name`, with its `arguments` in parentheses if it has any.
pub fn with_arguments(name: &str, arguments: &str) -> String {
    if arguments.is_empty() { name.to_owned() } else { format!("{name} ({arguments})") }
}

/// `argument` as a literal of `type_`, for statements that take no parameters.
pub(super) fn literal(argument: Argument<'_>, type_: &Type) -> String {
    let text = match argument {
        Argument::Null => return format!("NULL::{}.{}", quote(type_.schema()), quote(type_.name())),
        other => other.to_string(),
    };
    let escape = if text.contains('\\') { "E" } else { "" };
    let text = text.replace('\\', "\\\\").replace('\'', "''");
    format!("{escape}'{text}'::{}.{}", quote(type_.schema()), quote(type_.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::workload::spec::Scalar;

    fn workload(name: &str, weight: u32) -> Workload {
        let workload = WorkloadSpec { sql: "SELECT 1".into(), weight, ..WorkloadSpec::default() };
        Workload::new(name, &workload, Path::new("")).unwrap()
    }

    fn refusal(workload: &WorkloadSpec) -> String {
        Workload::new("x", workload, Path::new("")).unwrap_err().to_string()
    }

    #[test]
    fn what_begins_as_a_read_is_taken_for_one() {
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
    fn a_mix_is_exact_and_counts_the_runs_of_each() {
        let empty = || Arguments { seed: 0, sources: [].into() };
        let mix = Mix::new(vec![workload("a", 3), workload("b", 1)], vec![empty(), empty()], 1);
        let mut times = [0, 0];
        for index in 0..10_000 {
            let (workload, time) = mix.at(index);
            assert_eq!(time, times[workload], "query {index}");
            times[workload] += 1;
        }
        assert_eq!(times, [7500, 2500]);
        let order = |seed| {
            let mix = Mix::new(vec![workload("a", 3), workload("b", 1)], vec![empty(), empty()], seed);
            (0..100).map(|index| mix.at(index).0).collect::<Vec<_>>()
        };
        assert_ne!(order(1), order(2));
    }

    #[test]
    fn statements_of_a_transaction_share_what_is_drawn_by_name() {
        let step = |args| crate::query::workload::spec::StepSpec {
            sql: "SELECT $1".into(),
            args,
            ..Default::default()
        };
        let drawn = |name: &str| ArgSpec::Distribution(Distribution::Shared(name.into()));
        let constant = ArgSpec::Constant(Scalar::Integer(7));
        let spec = WorkloadSpec {
            transaction: vec![step(vec![drawn("a")]), step(vec![constant.clone()]), step(vec![drawn("a")])],
            draw: [("a".to_owned(), ArgSpec::Distribution(Distribution::Choice(vec![])))].into(),
            isolation: "serializable".into(),
            ..WorkloadSpec::default()
        };
        let workload = Workload::new("x", &spec, Path::new("")).unwrap();
        let args: Vec<_> = workload.statements.iter().map(|text| text.args.clone()).collect();
        assert_eq!(args, [vec![0], vec![1], vec![0]]);
        assert_eq!(workload.begin.as_deref(), Some("BEGIN ISOLATION LEVEL serializable"));
        let unknown = WorkloadSpec { transaction: vec![step(vec![drawn("b")])], ..spec.clone() };
        assert_eq!(refusal(&unknown), "[query.x] has an argument drawn as b, which draw has not");
        let both = WorkloadSpec { sql: "SELECT 1".into(), ..spec };
        assert_eq!(refusal(&both), "[query.x] has sql and transaction");
    }

    #[test]
    fn literals_are_what_they_say() {
        assert_eq!(literal(Argument::Number(5), &Type::INT4), r#"'5'::"pg_catalog"."int4""#);
        assert_eq!(literal(Argument::Text(r"a'\b"), &Type::TEXT), r#"E'a''\\b'::"pg_catalog"."text""#);
        assert_eq!(literal(Argument::Null, &Type::TEXT), r#"NULL::"pg_catalog"."text""#);
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
    }
}
