//! `config.toml`: every key, its type and its default.
//!
//! Unknown keys and wrong types are errors that name file, line and the nearest valid key.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use postgres_etl::postgres::Prepare;
use postgres_etl::query::{ArgSpec, Bound, Distribution, RowsKeyword, Scalar, WorkloadSpec};
use postgres_etl::suggest::nearest;
use postgres_etl::{Error, Result};
use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor};

use crate::cli::config::load_section::Load;

/// The whole file. A missing section or key has the default that the shipped `config.toml` shows.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct File {
    /// How to reach a server that is already running.
    pub database: Database,
    /// The embedded server, which is started when no other is named.
    pub server: Server,
    /// The table that `load` fills and `query` reads.
    pub table: Table,
    /// Defaults of `load`.
    pub load: Load,
    /// Defaults of `query`, and its workloads.
    pub query: Query,
    /// What `generate` writes; `load` generates a missing input only if this section is present, or no file at all.
    pub generate: Option<Generate>,
}

/// `[database]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Database {
    /// A URL or conninfo string; empty for none.
    pub url: String,
    /// Connections that the pool may hold.
    pub pool_size: usize,
    /// Seconds to wait for a new connection.
    pub connect_timeout_s: u64,
    /// Seconds to wait for a free connection of the pool.
    pub wait_timeout_s: u64,
    /// Whether statements are prepared under names.
    pub prepare: Prepare,
}

impl Default for Database {
    fn default() -> Self {
        Database {
            url: String::new(),
            pool_size: 64,
            connect_timeout_s: 10,
            wait_timeout_s: 30,
            prepare: Prepare::Auto,
        }
    }
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Server {
    /// Directory of cluster, socket and log; empty for the default.
    pub directory: PathBuf,
    /// Directory of `initdb` and `postgres`; empty to search.
    pub bin_directory: PathBuf,
    /// Whether it keeps running after its last user has left.
    pub keep: bool,
    /// More lines for its `postgresql.conf`.
    pub settings: BTreeMap<String, Scalar>,
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

/// `[table]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
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
    /// The column by which Citus distributes the table that is created; empty for none.
    #[serde(default)]
    pub distribute_by: String,
    /// Number of its shards; 0 for Citus's own default.
    #[serde(default)]
    pub shards: u32,
    /// The table on whose nodes its rows are kept; empty for none.
    #[serde(default)]
    pub colocate_with: String,
    /// Whether Citus keeps all of its rows on every node.
    #[serde(default)]
    pub reference: bool,
}

/// One entry of `[table] columns`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Column {
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
            distribute_by: String::new(),
            shards: 0,
            colocate_with: String::new(),
            reference: false,
        }
    }
}

/// `[generate]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Generate {
    /// The file to write.
    pub output: PathBuf,
    /// Number of people.
    pub rows: u64,
    /// Seed of the random numbers.
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
pub(crate) struct Query {
    /// The workload to run when none is named.
    pub workload: String,
    /// Number of queries.
    pub queries: u64,
    /// Number of connections.
    pub connections: usize,
    /// Queries in flight on each connection.
    pub pipeline_depth: usize,
    /// Queries that share a Sync, for statements that only read.
    pub sync_every: usize,
    /// Seed of the random arguments.
    pub seed: u64,
    /// `[query.NAME]`, by name.
    pub workloads: BTreeMap<String, WorkloadSpec>,
}

impl Default for Query {
    fn default() -> Self {
        let uniform = |low, high| ArgSpec::Distribution(Distribution::Uniform([low, high]));
        let id = || uniform(Bound::Number(1), Bound::Rows(RowsKeyword::Rows));
        let age = || uniform(Bound::Number(22), Bound::Number(65));
        let workload = |sql: &str, args| WorkloadSpec { sql: sql.into(), args, ..WorkloadSpec::default() };
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
    type Value = WorkloadSpec;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<WorkloadSpec, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for WorkloadCalled<'_> {
    type Value = WorkloadSpec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a workload: a table with sql and args")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WorkloadSpec, A::Error> {
        WorkloadSpec::deserialize(de::value::MapAccessDeserializer::new(map))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<WorkloadSpec, E> {
        Err(E::unknown_field(self.0, QUERY_KEYS))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<WorkloadSpec, E> {
        Err(E::unknown_field(self.0, QUERY_KEYS))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<WorkloadSpec, E> {
        Err(E::unknown_field(self.0, QUERY_KEYS))
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<WorkloadSpec, E> {
        Err(E::unknown_field(self.0, QUERY_KEYS))
    }
}

/// Read and check the file at `path`.
///
/// # Errors
/// [`postgres_etl::ErrorKind::Config`] when it cannot be read or is not what this module describes.
pub(crate) fn read(path: &Path) -> Result<File> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::io(postgres_etl::ErrorKind::Config, "read the configuration", path, error))?;
    parse(&text, path)
}

/// Whether `text` is recognisably a configuration of this program, although perhaps not a valid one: it has a section that
/// only this program has or, in one that any program may have, a key that only this program has.
pub(crate) fn is_ours(text: &str) -> bool {
    let mut section = "";
    text.lines().map(str::trim).any(|line| {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_start_matches('[').split([']', '.']).next().unwrap_or_default().trim();
            return matches!(section, "load" | "query" | "generate" | "table");
        }
        let key = line.split('=').next().unwrap_or_default().trim();
        match section {
            "server" => matches!(key, "directory" | "bin_directory" | "keep" | "settings"),
            "database" => matches!(key, "pool_size" | "connect_timeout_s" | "wait_timeout_s" | "prepare"),
            _ => false,
        }
    })
}

/// Check `text`, which stands in the file at `path`.
///
/// # Errors
/// As [`read`].
pub(crate) fn parse(text: &str, path: &Path) -> Result<File> {
    toml::from_str(text).map_err(|error| explain(&error, text, path))
}

/// "config.toml, line 3: unknown key `batchsize`" with the nearest valid key as the remedy.
fn explain(error: &toml::de::Error, text: &str, path: &Path) -> Error {
    let unknown = unknown_name(error.message());
    let place = match error.span() {
        Some(span) => {
            let start = text.get(..span.start).map_or(0, str::len);
            // Inside a workload the span is that of the whole table.
            let name = unknown.as_ref().and_then(|unknown| text[start..].find(unknown.name)).unwrap_or(0);
            let line = text[..start + name].matches('\n').count() + 1;
            format!("{}, line {line}", path.display())
        }
        None => path.display().to_string(),
    };
    let Some(Unknown { what, name, valid }) = unknown else {
        let message = error.message().replace('\n', "; ");
        // The names of Rust's types are those of nobody else.
        let types = ["expected usize", "expected u64", "expected u32"];
        let message =
            types.iter().fold(message, |message, name| message.replace(name, "expected a whole number"));
        return Error::config(format!("{place}: {message}"))
            .with_help("the config.toml that comes with postgres-etl shows every key with its type");
    };
    let error = Error::config(format!("{place}: unknown {what} `{name}`"));
    let list = valid.join(", ");
    match nearest(name, valid.iter().copied()) {
        Some(near) => error.with_help(format!("did you mean `{near}`? Valid here: {list}")),
        None => error.with_help(format!("valid here: {list}")),
    }
}

/// A name that is not one of those that are valid.
struct Unknown<'a> {
    what: &'static str,
    name: &'a str,
    valid: Vec<&'a str>,
}

/// The name and the valid ones, out of serde's "unknown field `a`, expected one of `b`, `c`".
fn unknown_name(message: &str) -> Option<Unknown<'_>> {
    let kinds = [("unknown field ", "key"), ("unknown variant ", "value")];
    let (rest, what) = kinds.iter().find_map(|(start, what)| Some((message.strip_prefix(start)?, *what)))?;
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let name = quoted.next()?;
    let valid: Vec<&str> = quoted.collect();
    // A distribution is the key of a table of its own.
    let what = if valid.contains(&"uniform") { "distribution" } else { what };
    Some(Unknown { what, name, valid })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> (String, String) {
        let error = parse(text, Path::new("config.toml")).unwrap_err();
        (error.to_string(), error.help().unwrap_or_default().to_owned())
    }

    #[test]
    fn files_of_other_programs_are_recognised() {
        let hugo = "baseURL = 'https://example.org/'\ntitle = 'x'\n[params]\nload = 1\n[server]\nport = 1\n";
        for other in ["", "x = [", "[database]\nurl = \"u\"\n", "[tables]\n", hugo] {
            assert!(!is_ours(other), "{other}");
        }
        for ours in [
            "[load]\nmode = [",
            "[query.a]\nsql = 1",
            "[ generate ]",
            "[server]\nkeep=false",
            include_str!("../../../config.toml"),
        ] {
            assert!(is_ours(ours), "{ours}");
        }
    }

    #[test]
    fn the_shipped_file_shows_the_defaults() {
        let shipped = parse(include_str!("../../../config.toml"), Path::new("config.toml")).unwrap();
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
        assert_eq!(message, "config.toml, line 2: unknown value `fast`");
        let (message, _) =
            error("[query.mine]\nsql = \"SELECT $1\"\nargs = [{ uniform = [1, \"lines\"] }]\n");
        assert!(message.starts_with("config.toml, line 3: "), "{message}");
    }

    #[test]
    fn a_wrong_argument_is_told_what_is_wrong_with_it() {
        let wrong = |args: &str| error(&format!("[query.mine]\nsql = \"SELECT $1\"\nargs = [{args}]\n"));
        let (message, help) = wrong("{ unifrm = [1, 2] }");
        assert_eq!(message, "config.toml, line 3: unknown distribution `unifrm`");
        assert!(help.starts_with("did you mean `uniform`? Valid here: uniform, gaussian, "), "{help}");
        for (args, expected) in [
            ("{ uniform = [1] }", "invalid length 1, expected an array of length 2"),
            ("{ gaussian = 7 }", "invalid type: integer `7`, expected"),
            (
                "[1, 2]",
                "invalid type: sequence, expected a constant, or a distribution such as { uniform = [1, 100] }",
            ),
        ] {
            let (message, _) = wrong(args);
            assert!(message.starts_with(&format!("config.toml, line 3: {expected}")), "{message}");
        }
    }

    #[test]
    fn arguments_of_the_command_line_are_those_of_the_file() {
        let workload = |args: &str| {
            let text = format!("[query.x]\nsql = \"SELECT\"\nargs = [{args}]\n");
            parse(&text, Path::new("config.toml")).unwrap().query.workloads["x"].args[0].clone()
        };
        for (flag, file) in [
            ("uniform:1:rows", "{ uniform = [1, \"rows\"] }"),
            ("uniform:-1.5:2", "{ uniform = [-1.5, 2] }"),
            ("gaussian:1:9:2.5", "{ gaussian = [1, 9, 2.5] }"),
            ("exponential:1:9:5", "{ exponential = [1, 9, 5] }"),
            ("zipfian:1:rows:1.1", "{ zipfian = [1, \"rows\", 1.1] }"),
            ("sequence:1:9", "{ sequence = [1, 9] }"),
            ("choice:a,b", "{ choice = [\"a\", \"b\"] }"),
            ("column:persons.city", "{ column = \"persons.city\" }"),
            ("csv:a:b.csv:city", "{ csv = [\"a:b.csv\", \"city\"] }"),
            ("text:uniform:1:2", "\"uniform:1:2\""),
            ("12:30", "\"12:30\""),
        ] {
            assert_eq!(flag.parse::<ArgSpec>().unwrap(), workload(file), "{flag}");
        }
        for wrong in ["uniform:1", "uniform:a:b", "zipfian:1:2", "csv:file"] {
            assert!(wrong.parse::<ArgSpec>().is_err(), "{wrong}");
        }
    }
}
