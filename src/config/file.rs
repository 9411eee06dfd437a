//! `config.toml` as it is written: every key, its type and its default.
//!
//! Unknown keys and wrong types are errors that name file, line and the nearest valid key.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor};

use super::arg::{Arg, Bound, Drawn, Rows};
use crate::{Error, Result};

/// The whole file. A missing section or key has the default that the shipped `config.toml` shows.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// How to reach a server that somebody else runs.
    pub database: Database,
    /// The server that we start when none is named.
    pub server: Server,
    /// The table that `load` fills and `query` asks.
    pub table: Table,
    /// Defaults of `load`.
    pub load: Load,
    /// Defaults of `query`, and its workloads.
    pub query: Query,
    /// What `generate` writes; `load` does it by itself only when this section is there.
    pub generate: Option<Generate>,
}

/// `[database]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// A URL or conninfo string; empty for none.
    pub url: String,
    /// Connections that the pool may hold.
    pub pool_size: usize,
    /// Seconds to wait for a new connection.
    pub connect_timeout_s: u64,
    /// Seconds to wait for a free connection of the pool.
    pub wait_timeout_s: u64,
}

impl Default for Database {
    fn default() -> Self {
        Database { url: String::new(), pool_size: 64, connect_timeout_s: 10, wait_timeout_s: 30 }
    }
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Where cluster, socket and log are kept; empty for the default.
    pub directory: PathBuf,
    /// Where `initdb` and `postgres` are; empty to search.
    pub bin_directory: PathBuf,
    /// Whether it stays up when its last user has gone.
    pub keep: bool,
    /// More lines for its `postgresql.conf`.
    pub settings: BTreeMap<String, Setting>,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            directory: PathBuf::new(),
            bin_directory: PathBuf::new(),
            keep: true,
            settings: BTreeMap::new(),
        }
    }
}

/// The value of a server setting, which TOML may spell as a string, a number or a boolean.
#[derive(Debug, Clone, PartialEq, Deserialize, serde::Serialize)]
#[serde(untagged, expecting = "a string, a number or a boolean")]
pub enum Setting {
    /// `true` or `false`; the server takes these words.
    Boolean(bool),
    /// A whole number, in the setting's own unit.
    Integer(i64),
    /// A fraction.
    Real(f64),
    /// Anything else, as the server reads it.
    Text(String),
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::Boolean(value) => value.fmt(f),
            Setting::Integer(value) => value.fmt(f),
            Setting::Real(value) => value.fmt(f),
            Setting::Text(value) => value.fmt(f),
        }
    }
}

/// `[table]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// `name` or `schema.name`, read as SQL reads it.
    pub name: String,
    /// What to create when the table does not exist; nothing is created when empty.
    #[serde(default)]
    pub columns: Vec<Column>,
    /// Columns of the primary key.
    #[serde(default)]
    pub primary_key: Vec<String>,
    /// Columns of each further index.
    #[serde(default)]
    pub indexes: Vec<Vec<String>>,
}

/// One entry of `[table] columns`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name, read as SQL reads it.
    pub name: String,
    /// Its type, in SQL: `integer`, `numeric(10,2)`, `text NOT NULL`.
    #[serde(rename = "type")]
    pub sql_type: String,
}

impl Default for Table {
    fn default() -> Self {
        let column = |(name, sql_type): (&str, &str)| Column { name: name.into(), sql_type: sql_type.into() };
        Table {
            name: "persons".into(),
            columns: [
                ("id", "integer"),
                ("name", "text"),
                ("age", "smallint"),
                ("isMarried", "boolean"),
                ("city", "text"),
                ("state", "text"),
                ("country", "text"),
            ]
            .map(column)
            .into(),
            primary_key: vec!["id".into()],
            indexes: Vec::new(),
        }
    }
}

/// How `load` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// one prepared INSERT a row, pipelined
    Rows,
    /// one INSERT … SELECT FROM unnest(…) a batch of rows, pipelined
    Batch,
    /// one binary COPY FROM STDIN
    Copy,
    /// nothing is written and no server asked: reads and encodes for the table of config.toml
    Null,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Rows => "rows",
            Mode::Batch => "batch",
            Mode::Copy => "copy",
            Mode::Null => "null",
        })
    }
}

/// When `load` drops the table's indexes, and builds them again behind the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DeferIndexes {
    /// when the table is empty, or emptied by this load, and they can be put back exactly
    Auto,
    /// on a table with rows too; an error if they cannot be put back exactly
    Always,
    /// they stay in place
    Never,
}

/// `[load]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Load {
    /// The CSV file to read, or a pattern for several.
    pub input: PathBuf,
    /// Between fields.
    pub delimiter: String,
    /// Around fields that hold special characters.
    pub quote: String,
    /// Before a quote inside a quoted field; empty for the quote itself.
    pub escape: String,
    /// What an unquoted field is that means NULL.
    pub null: String,
    /// Whether the first record names the columns.
    pub header: bool,
    /// What a comment begins with; empty for none.
    pub comment: String,
    /// What the bytes mean.
    pub encoding: String,
    /// Find out how the first file is written.
    pub sniff: bool,
    /// The longest record.
    pub max_record_bytes: usize,
    /// How to write it.
    pub mode: Mode,
    /// Empty the table first.
    pub truncate: bool,
    /// Drop the indexes, and build them again behind the rows.
    pub defer_indexes: DeferIndexes,
    /// ANALYZE the table after the load.
    pub analyze: bool,
    /// Rows in each INSERT of mode `batch`.
    pub batch_size: usize,
    /// Statements on the way at once on each connection.
    pub pipeline_depth: usize,
    /// Rows to a Sync, in mode `rows` inside the load's transaction.
    pub sync_every: usize,
    /// Commit every row by itself.
    pub autocommit: bool,
    /// Connections to write over.
    pub connections: usize,
}

impl Default for Load {
    fn default() -> Self {
        Load {
            input: "data/persons.csv".into(),
            delimiter: ",".into(),
            quote: "\"".into(),
            escape: String::new(),
            null: String::new(),
            header: true,
            comment: String::new(),
            encoding: "utf-8".into(),
            sniff: false,
            max_record_bytes: crate::source::MAX_RECORD_BYTES,
            mode: Mode::Copy,
            truncate: false,
            defer_indexes: DeferIndexes::Auto,
            analyze: true,
            batch_size: 1000,
            pipeline_depth: 256,
            sync_every: 256,
            autocommit: false,
            connections: 1,
        }
    }
}

/// `[generate]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Generate {
    /// The file to write.
    pub output: PathBuf,
    /// How many people.
    pub rows: u64,
    /// Where the random numbers start.
    pub seed: u64,
    /// Keep non-ASCII place names.
    pub unicode: bool,
}

impl Default for Generate {
    fn default() -> Self {
        Generate { output: "data/persons.csv".into(), rows: 100_000, seed: 1, unicode: false }
    }
}

/// `[query]`: a few keys of its own, and a table for every workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// The workload to run when none is named.
    pub workload: String,
    /// How many queries.
    pub queries: u64,
    /// Connections to ask over.
    pub connections: usize,
    /// Queries on the way at once on each connection.
    pub pipeline_depth: usize,
    /// Queries to a Sync, of statements that only read.
    pub sync_every: usize,
    /// Where the arguments start.
    pub seed: u64,
    /// `[query.NAME]`, by name.
    pub workloads: BTreeMap<String, Workload>,
}

/// `[query.NAME]`: one statement, or several as one transaction.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a workload: a table with sql and args")]
pub struct Workload {
    /// The statement, with `$1`, `$2` … for its parameters.
    pub sql: String,
    /// Where it is kept, instead.
    pub file: PathBuf,
    /// One for each parameter.
    pub args: Vec<Arg>,
    /// The statements of a transaction, instead of `sql` and `args`.
    pub transaction: Vec<Step>,
    /// Values by name, drawn once for a whole transaction.
    pub draw: BTreeMap<String, Arg>,
    /// What its transactions begin with: `serializable` …; the server's default when empty.
    pub isolation: String,
    /// How often it comes in a mix, compared with the others.
    pub weight: u32,
}

impl Default for Workload {
    fn default() -> Self {
        Workload {
            sql: String::new(),
            file: PathBuf::new(),
            args: Vec::new(),
            transaction: Vec::new(),
            draw: BTreeMap::new(),
            isolation: String::new(),
            weight: 1,
        }
    }
}

/// One statement of a transaction.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Step {
    /// The statement.
    pub sql: String,
    /// Where it is kept, instead.
    pub file: PathBuf,
    /// One for each parameter.
    pub args: Vec<Arg>,
}

impl Default for Query {
    fn default() -> Self {
        let uniform = |low, high| Arg::Drawn(Drawn::Uniform([low, high]));
        let id = || uniform(Bound::Number(1), Bound::Rows(Rows::Rows));
        let age = || uniform(Bound::Number(22), Bound::Number(65));
        let workload = |sql: &str, args| Workload { sql: sql.into(), args, ..Workload::default() };
        Query {
            workload: "older-than".into(),
            queries: 100_000,
            connections: 20,
            pipeline_depth: 8,
            sync_every: 256,
            seed: 1,
            workloads: BTreeMap::from([
                ("summary".into(), workload("SELECT COUNT(*) FROM persons", vec![])),
                ("older-than".into(), workload("SELECT COUNT(*) FROM persons WHERE age > $1", vec![age()])),
                ("by-id".into(), workload("SELECT name FROM persons WHERE id = $1", vec![id()])),
                ("set-age".into(), workload("UPDATE persons SET age = $1 WHERE id = $2", vec![age(), id()])),
            ]),
        }
    }
}

/// By hand because serde cannot combine `flatten`, for the workloads, with `deny_unknown_fields`.
impl<'de> Deserialize<'de> for Query {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Section;

        impl<'de> Visitor<'de> for Section {
            type Value = Query;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the table [query]")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Query, A::Error> {
                let mut query = Query::default();
                let mut workloads = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "workload" => query.workload = map.next_value()?,
                        "queries" => query.queries = map.next_value()?,
                        "connections" => query.connections = map.next_value()?,
                        "pipeline_depth" => query.pipeline_depth = map.next_value()?,
                        "sync_every" => query.sync_every = map.next_value()?,
                        "seed" => query.seed = map.next_value()?,
                        _ => {
                            let workload = map.next_value_seed(WorkloadCalled(&key))?;
                            workloads.insert(key, workload);
                        }
                    }
                }
                if !workloads.is_empty() {
                    query.workloads = workloads;
                }
                Ok(query)
            }
        }
        deserializer.deserialize_map(Section)
    }
}

const QUERY_KEYS: &[&str] = &["workload", "queries", "connections", "pipeline_depth", "sync_every", "seed"];

/// The workload under this name; when its value is no table, the name is a misspelt key of `[query]`.
struct WorkloadCalled<'a>(&'a str);

impl<'de> de::DeserializeSeed<'de> for WorkloadCalled<'_> {
    type Value = Workload;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Workload, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for WorkloadCalled<'_> {
    type Value = Workload;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a workload: a table with sql and args")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Workload, A::Error> {
        Workload::deserialize(de::value::MapAccessDeserializer::new(map))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Workload, E> {
        Err(E::unknown_field(self.0, QUERY_KEYS))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Workload, E> {
        Err(E::unknown_field(self.0, QUERY_KEYS))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Workload, E> {
        Err(E::unknown_field(self.0, QUERY_KEYS))
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Workload, E> {
        Err(E::unknown_field(self.0, QUERY_KEYS))
    }
}

/// Read and check the file at `path`.
///
/// # Errors
/// [`crate::error::Kind::Config`] when it cannot be read or is not what this module describes.
pub fn read(path: &Path) -> Result<File> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::io(crate::error::Kind::Config, "read the configuration", path, &error))?;
    parse(&text, path)
}

/// Check `text`, which stands in the file at `path`.
///
/// # Errors
/// As [`read`].
pub fn parse(text: &str, path: &Path) -> Result<File> {
    toml::from_str(text).map_err(|error| explain(&error, text, path))
}

/// "config.toml, line 3: unknown key `batchsize`" with the nearest valid key as the remedy.
fn explain(error: &toml::de::Error, text: &str, path: &Path) -> Error {
    let unknown = unknown_key(error.message());
    let place = match error.span() {
        Some(span) => {
            let start = span.start.min(text.len());
            // Inside a workload the span is that of the whole table.
            let key = unknown.as_ref().and_then(|(key, _)| text[start..].find(key)).unwrap_or(0);
            let line = text[..start + key].matches('\n').count() + 1;
            format!("{}, line {line}", path.display())
        }
        None => path.display().to_string(),
    };
    let Some((unknown, valid)) = unknown else {
        return Error::config(format!("{place}: {}", error.message().replace('\n', "; ")))
            .with_help("the config.toml that comes with postgres-etl shows every key with its type");
    };
    let error = Error::config(format!("{place}: unknown key `{unknown}`"));
    let list = valid.join(", ");
    match nearest(unknown, valid.iter().copied()) {
        Some(near) => error.with_help(format!("did you mean `{near}`? Valid here: {list}")),
        None => error.with_help(format!("valid here: {list}")),
    }
}

/// The key and the valid ones, out of serde's "unknown field `a`, expected one of `b`, `c`".
fn unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    Some((quoted.next()?, quoted.collect()))
}

/// The candidate that `word` was most likely meant to be, if any is close: up to a third of it mistyped.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(mistakes, _)| *mistakes <= word.len().div_ceil(3))
        .min_by_key(|(mistakes, _)| *mistakes)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> (String, String) {
        let error = parse(text, Path::new("config.toml")).unwrap_err();
        (error.to_string(), error.help().unwrap_or_default().to_owned())
    }

    #[test]
    fn the_shipped_file_shows_the_defaults() {
        let shipped = parse(include_str!("../../config.toml"), Path::new("config.toml")).unwrap();
        let mut defaults = File { generate: Some(Generate::default()), ..File::default() };
        assert!(!defaults.load.truncate);
        defaults.load.truncate = true;
        assert_eq!(shipped, defaults);
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        assert_eq!(parse("", Path::new("config.toml")).unwrap(), File::default());
    }

    #[test]
    fn unknown_keys_name_line_and_nearest_key() {
        let (message, help) = error("[load]\nmode = \"copy\"\nbatchsize = 3\n");
        assert_eq!(message, "config.toml, line 3: unknown key `batchsize`");
        assert!(help.starts_with("did you mean `batch_size`?"), "{help}");
        let (message, help) = error("[database]\n\n[qery]\n");
        assert_eq!(message, "config.toml, line 3: unknown key `qery`");
        assert!(help.starts_with("did you mean `query`?"), "{help}");
    }

    #[test]
    fn a_misspelt_key_of_query_is_not_taken_for_a_workload() {
        let (message, help) = error("[query]\nconections = 3\n");
        assert_eq!(message, "config.toml, line 2: unknown key `conections`");
        assert!(help.starts_with("did you mean `connections`?"), "{help}");
    }

    #[test]
    fn a_misspelt_key_of_a_workload_is_named() {
        let (message, help) = error("[query.mine]\nslq = \"SELECT 1\"\n");
        assert_eq!(message, "config.toml, line 2: unknown key `slq`");
        assert!(help.starts_with("did you mean `sql`?"), "{help}");
    }

    #[test]
    fn wrong_types_name_the_line() {
        let (message, _) = error("[load]\nbatch_size = \"many\"\n");
        assert!(message.starts_with("config.toml, line 2: invalid type: string \"many\""), "{message}");
        let (message, _) = error("[load]\nmode = \"fast\"\n");
        assert!(message.starts_with("config.toml, line 2: unknown variant `fast`, expected one of `rows`"));
        let (message, _) =
            error("[query.mine]\nsql = \"SELECT $1\"\nargs = [{ uniform = [1, \"lines\"] }]\n");
        assert!(message.starts_with("config.toml, line 3: "), "{message}");
    }
}
