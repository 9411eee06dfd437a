//! What a command is to do, resolved once: flags, then environment, then `config.toml`, then defaults.
//!
//! Each `*Settings` is complete and checked: a command needs to look nowhere else.

pub mod arg;
pub mod file;
mod query;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

pub use arg::{Arg, Bound, Drawn};
pub use file::{DeferIndexes, Mode, Setting, Workload};
pub use query::QuerySettings;

use crate::cli;
use crate::load::conflict::OnConflict;
use crate::load::rejects::RejectLimit;
use crate::load::target::Naming;
use crate::people;
use crate::postgres::conninfo::{self, Conninfo};
use crate::postgres::embedded;
use crate::postgres::pool::{Session, Timeouts};
use crate::source::{self, Dialect, dialect};
use crate::table::{TableName, TableSpec};
use crate::{Error, Result};

/// The file that is read when `--config` names none.
const DEFAULT_FILE: &str = "config.toml";

/// Reads an environment variable; a function so that tests need not change the process's own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The configuration file and where its relative paths start.
#[derive(Debug)]
pub struct Config {
    file: file::File,
    base: PathBuf,
}

/// Which server to use, and how to reach it.
#[derive(Debug)]
pub struct DatabaseSettings {
    /// The server that somebody named, or ours.
    pub server: ServerChoice,
    /// Connections that the pool may hold.
    pub pool_size: usize,
    /// How long to wait for it.
    pub timeouts: Timeouts,
}

/// Which server to use.
#[derive(Debug)]
pub enum ServerChoice {
    /// One that was named by flag, environment or file.
    Named(Box<Conninfo>),
    /// The one that we start.
    Embedded(embedded::Options),
}

/// What `generate` is to do.
#[derive(Debug, Clone)]
pub struct GenerateSettings {
    /// What to write.
    pub plan: people::Plan,
    /// Where to; `-` is standard output.
    pub output: PathBuf,
    /// The output's directory, which is created unless somebody named the output: a misspelt path is not a wish.
    pub default_dir: Option<PathBuf>,
}

/// Which files are for which table, and how; `load` and `check` mean the same by the same flags.
#[derive(Debug, Clone)]
pub struct InputSettings {
    /// The CSV files, patterns, and `-`; at least one.
    pub inputs: Vec<PathBuf>,
    /// How they are written.
    pub format: source::Format,
    /// Set when the input is not there and is to be generated, because it is the output of `[generate]`.
    pub generate: Option<GenerateSettings>,
    /// Which field goes to which column.
    pub naming: Naming,
    /// The table to fill.
    pub table: TableSpec,
    /// How to write.
    pub mode: Mode,
}

/// What `load` is to do.
#[derive(Debug, Clone)]
pub struct LoadSettings {
    /// What is loaded, and where to.
    pub input: InputSettings,
    /// Create the table from the file, if it is not there.
    pub create: Option<CreateSettings>,
    /// Roll everything back at the end.
    pub dry_run: bool,
    /// How many bad rows may be set aside.
    pub max_rejects: RejectLimit,
    /// Where they go.
    pub rejects: PathBuf,
    /// What to do with keys that are there.
    pub on_conflict: Option<OnConflict>,
    /// Where the report is kept, as JSON.
    pub receipt: Option<PathBuf>,
    /// Empty the table first.
    pub truncate: bool,
    /// Drop its indexes, and build them again behind the rows.
    pub defer_indexes: DeferIndexes,
    /// ANALYZE the table after the load, if it has changed much.
    pub analyze: bool,
    /// Rows in each INSERT of mode `batch`; at least 1.
    pub batch_size: usize,
    /// Statements on the way at once on each connection; at least 1.
    pub pipeline_depth: usize,
    /// INSERTs to a Sync in mode `rows`; 1 in every other, and with `autocommit`.
    pub sync_every: NonZero<usize>,
    /// Commit every row by itself.
    pub autocommit: bool,
    /// Connections to write over; at least 1.
    pub connections: usize,
    /// Whether two may be taken instead of one, if that is faster for this table and these files.
    pub may_use_two: bool,
}

/// How many connections to write over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// So many.
    Exactly(usize),
    /// As many as are fastest.
    Auto,
}

impl FromStr for Connections {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(number) => Ok(Connections::Exactly(number)),
            Err(_) if text == "auto" => Ok(Connections::Auto),
            Err(_) => Err("expected a number, or auto".into()),
        }
    }
}

/// How to create a table from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreateSettings {
    /// Look at so many records of each file; at all of them if `None`.
    pub infer_rows: Option<u64>,
    /// Put it into the place of the table that is there.
    pub replace: bool,
    /// Print the statement, and do nothing.
    pub ddl_only: bool,
}

impl LoadSettings {
    /// What its connections are for.
    pub fn session(&self) -> Session {
        Session { sync_every: self.sync_every, read_only: false }
    }
}

impl Config {
    /// Read the file that `flags` name, or `./config.toml`, or nothing when that is not there.
    ///
    /// # Errors
    /// When the file is named and missing, cannot be read, or is not valid.
    pub fn read(flags: &cli::Global) -> Result<Self> {
        let path = match &flags.config {
            Some(path) if !path.exists() => {
                return Err(Error::config(format!("there is no configuration file {}", path.display()))
                    .with_help(
                        "leave --config out to use ./config.toml, or the defaults if that is missing",
                    ));
            }
            Some(path) => path.as_path(),
            None if Path::new(DEFAULT_FILE).exists() => Path::new(DEFAULT_FILE),
            None => return Ok(Config { file: file::File::default(), base: PathBuf::new() }),
        };
        let base = path.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Config { file: file::read(path)?, base })
    }

    /// Which server: the flag, then `DATABASE_URL` and the `PG*` variables, then the file, then our own.
    ///
    /// # Errors
    /// When what names the server cannot be understood.
    pub fn database(&self, flags: &cli::Global, env: Environment<'_>) -> Result<DatabaseSettings> {
        let file = &self.file.database;
        at_least_one("[database] pool_size", file.pool_size)?;
        if file.pool_size > LARGEST_POOL {
            return Err(Error::config(format!("[database] pool_size is {}", file.pool_size))
                .with_help(format!("give a number from 1 to {LARGEST_POOL}")));
        }
        let database_url = env("DATABASE_URL").filter(|url| !url.is_empty());
        let url = match (&flags.database_url, &database_url) {
            (Some(url), _) => Some((url.as_str(), "--database-url")),
            (None, Some(url)) => Some((url.as_str(), "DATABASE_URL")),
            (None, None) => None,
        };
        let mut named = conninfo::resolve(url, env)?;
        if named.is_none() && !file.url.is_empty() {
            named = conninfo::resolve(Some((&file.url, "config.toml [database] url")), env)?;
        }
        let server = match named {
            Some(conninfo) if conninfo.has_connect_timeout() => ServerChoice::Named(Box::new(conninfo)),
            Some(conninfo) => {
                let limit = Duration::from_secs(file.connect_timeout_s.max(1));
                ServerChoice::Named(Box::new(conninfo.with_connect_timeout(limit)))
            }
            None => ServerChoice::Embedded(self.embedded(env)),
        };
        let timeouts = Timeouts {
            connect: None,
            wait: Duration::from_secs(file.wait_timeout_s.max(1)),
            ..Timeouts::default()
        };
        Ok(DatabaseSettings { server, pool_size: file.pool_size, timeouts })
    }

    /// The server of our own, whether or not another is named.
    pub fn embedded(&self, env: Environment<'_>) -> embedded::Options {
        let file = &self.file.server;
        let directory = match env("POSTGRES_ETL_SERVER_DIR").filter(|dir| !dir.is_empty()) {
            Some(directory) => PathBuf::from(directory),
            None => self.path(&file.directory),
        };
        let settings: BTreeMap<_, _> =
            file.settings.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
        embedded::Options {
            dir: Some(directory).filter(|dir| !dir.as_os_str().is_empty()),
            bin_dir: Some(self.path(&file.bin_directory)).filter(|dir| !dir.as_os_str().is_empty()),
            settings,
            keep: file.keep,
            search: None,
        }
    }

    /// # Errors
    /// When a value is out of range.
    pub fn generate(&self, flags: &cli::Generate) -> Result<GenerateSettings> {
        let file = self.file.generate.clone().unwrap_or_default();
        let rows = flags.rows.unwrap_or(file.rows);
        if rows == 0 {
            let what = if flags.rows.is_some() { "-n 0" } else { "[generate] rows = 0" };
            return Err(
                Error::usage(format!("{what} asks for no people")).with_help("give a number from 1 up")
            );
        }
        Ok(GenerateSettings {
            plan: people::Plan {
                rows,
                seed: flags.seed.unwrap_or(file.seed),
                unicode: flags.unicode || file.unicode,
                threads: None,
            },
            default_dir: match &flags.output {
                None => self.path(&file.output).parent().map(Path::to_owned),
                Some(_) => None,
            },
            output: flags.output.clone().unwrap_or_else(|| self.path(&file.output)),
        })
    }

    /// # Errors
    /// When a value is out of range, or flags contradict each other.
    pub fn load(&self, flags: &cli::Load) -> Result<LoadSettings> {
        let file = &self.file.load;
        let mut input = self.input(&flags.input, &flags.format)?;
        let mode = input.mode;
        if mode == Mode::Null {
            input.table = self.table_without_server(flags, &input.table.name)?;
        }
        let autocommit = flags.autocommit || (file.autocommit && mode == Mode::Rows);
        let connections = match flags.connections {
            Some(Connections::Exactly(number)) => number,
            _ if autocommit => file.connections,
            _ => 1,
        };
        let batch_size = flags.batch_size.unwrap_or(file.batch_size);
        // One by one, as those who commit row by row mostly do; and so no row behind a refused one is committed.
        let default_depth = if autocommit { 1 } else { file.pipeline_depth };
        let pipeline_depth = flags.pipeline_depth.unwrap_or(default_depth);
        at_least_one("batch size", batch_size)?;
        if flags.infer_rows == Some(0) {
            return Err(Error::usage("--infer-rows 0 leaves nothing to infer types from")
                .with_help("give a number from 1 up, or leave it out to look at all rows"));
        }
        in_depth(pipeline_depth)?;
        self.fits_the_pool(connections)?;
        if autocommit && mode != Mode::Rows {
            return Err(Error::usage(format!("--autocommit commits row by row, which mode {mode} cannot"))
                .with_help("use --mode rows with it, or leave it out"));
        }
        if autocommit && (flags.max_rejects.allows_any() || flags.dry_run) {
            let what = if flags.dry_run { "--dry-run" } else { "--max-rejects" };
            return Err(Error::usage(format!(
                "{what} does not go with --autocommit: it needs a transaction"
            ))
            .with_help("leave one of them out"));
        }
        if autocommit && (flags.create || flags.ddl_only) {
            return Err(Error::usage("--create does not go with --autocommit: it needs a transaction")
                .with_help("leave one of them out"));
        }
        // What the file says of its own table it does not say of any other.
        let truncate = flags.truncate || (file.truncate && !flags.append && flags.input.table.is_none());
        let is_auto = flags.connections == Some(Connections::Auto);
        let mut may_use_two = false;
        if (connections > 1 || is_auto) && !autocommit {
            let needs = [
                (mode != Mode::Copy, "needs --mode copy, or --mode rows --autocommit"),
                (truncate, "needs --append: a table that is emptied is locked until that is committed"),
                (
                    flags.create,
                    "does not go with --create: a table that is new is seen by one connection only",
                ),
                (flags.max_rejects.allows_any(), "does not go with --max-rejects: it needs one transaction"),
                (flags.on_conflict.is_some(), "does not go with --on-conflict: it needs one transaction"),
                (
                    flags.defer_indexes == Some(DeferIndexes::Always),
                    "does not go with --defer-indexes always: others cannot write while they are gone",
                ),
            ];
            match needs.iter().find(|(hit, _)| *hit) {
                // One more looks after the others.
                None if is_auto => may_use_two = self.fits_the_pool(3).is_ok(),
                None => self.fits_the_pool(connections + 1)?,
                Some(_) if is_auto => {}
                Some((_, why)) => {
                    return Err(Error::usage(format!("--connections {connections} {why}"))
                        .with_help("change one of them, or leave --connections out"));
                }
            }
        }
        let defer_indexes = flags.defer_indexes.unwrap_or(file.defer_indexes);
        // A key that is there already is only told of while its index is.
        let needs_indexes = [
            ("--autocommit", autocommit),
            ("--max-rejects", flags.max_rejects.allows_any()),
            ("--on-conflict", flags.on_conflict.is_some()),
        ];
        let defer_indexes = match needs_indexes.iter().find(|(_, given)| *given) {
            Some((what, _)) if flags.defer_indexes == Some(DeferIndexes::Always) => {
                return Err(Error::usage(format!(
                    "{what} does not go with --defer-indexes always: it needs them for every row"
                ))
                .with_help("leave one of them out"));
            }
            Some(_) => DeferIndexes::Never,
            None => defer_indexes,
        };
        let batches = mode == Mode::Rows && !autocommit;
        let sync_every = sync_every(flags.sync_every, file.sync_every, batches, "[load]")?;
        if sync_every.get() > 1 && !batches {
            let (cannot, why) = if autocommit {
                ("--autocommit", "rows that share a Sync are committed together, or not at all")
            } else {
                ("any mode but rows", "only it sends a statement a row")
            };
            return Err(Error::usage(format!("--sync-every {sync_every} does not go with {cannot}: {why}"))
                .with_help("leave --sync-every out, or use --mode rows without --autocommit"));
        }
        Ok(LoadSettings {
            create: (flags.create || flags.ddl_only).then_some(CreateSettings {
                infer_rows: flags.infer_rows,
                replace: flags.replace,
                ddl_only: flags.ddl_only,
            }),
            dry_run: flags.dry_run,
            max_rejects: flags.max_rejects,
            rejects: flags.rejects.clone().unwrap_or_else(|| "rejects.csv".into()),
            on_conflict: flags.on_conflict.clone(),
            receipt: flags.receipt.clone(),
            truncate: truncate && mode != Mode::Null,
            input,
            defer_indexes,
            analyze: file.analyze && !flags.no_analyze,
            batch_size,
            pipeline_depth,
            sync_every,
            autocommit,
            connections,
            may_use_two,
        })
    }

    /// The table that mode `null` encodes for, called `wanted`.
    fn table_without_server(&self, flags: &cli::Load, wanted: &TableName) -> Result<TableSpec> {
        let for_servers = [
            ("--append", flags.append),
            ("--truncate", flags.truncate),
            ("--defer-indexes", flags.defer_indexes.is_some()),
            ("--on-conflict", flags.on_conflict.is_some()),
            ("--max-rejects", flags.max_rejects.allows_any()),
            ("--dry-run", flags.dry_run),
            ("--create", flags.create),
            ("--ddl-only", flags.ddl_only),
            ("--autocommit", flags.autocommit),
            ("--connections", flags.connections.is_some()),
        ];
        if let Some((flag, _)) = for_servers.iter().find(|(_, given)| *given) {
            return Err(Error::usage(format!(
                "{flag} does not go with --mode null, which writes nothing and asks no server"
            ))
            .with_help("leave one of them out"));
        }
        let table = self.table()?;
        let help = "use --mode copy, rows or batch, which ask the server for the columns, or describe them under \
                    [table] in config.toml";
        if wanted.to_string() != table.name.to_string() {
            return Err(Error::usage(format!(
                "--mode null asks no server, and so encodes for the table that [table] describes, {}, not for {wanted}",
                table.name
            ))
            .with_help(help));
        }
        if table.columns.is_empty() {
            return Err(Error::config(format!(
                "[table] has no columns for {wanted}, and --mode null asks no server for them"
            ))
            .with_help(help));
        }
        Ok(table)
    }

    /// # Errors
    /// When a value is out of range, or is no name.
    pub fn input(&self, flags: &cli::Input, format: &cli::Format) -> Result<InputSettings> {
        let file = &self.file.load;
        let inputs = match flags.files.as_slice() {
            [] => vec![self.path(&file.input)],
            files => files.to_owned(),
        };
        let same = |a: &Path, b: &Path| {
            a == b || a.strip_prefix(".").unwrap_or(a) == b.strip_prefix(".").unwrap_or(b)
        };
        let is_generated =
            |output: &Path| matches!(inputs.as_slice(), [input] if same(input, output) && !input.exists());
        let generated =
            self.file.generate.as_ref().filter(|generate| is_generated(&self.path(&generate.output)));
        let no_flags = cli::Generate { rows: None, seed: None, output: None, unicode: false };
        Ok(InputSettings {
            generate: generated.map(|_| self.generate(&no_flags)).transpose()?,
            inputs,
            format: self.format(format)?,
            naming: Naming {
                columns: flags.columns.clone(),
                map: flags.map.clone(),
                ignore_extra: flags.ignore_extra,
            },
            table: match &flags.table {
                Some(name) => TableSpec::named(TableName::parse(name)?),
                None => self.table()?,
            },
            mode: flags.mode.unwrap_or(file.mode),
        })
    }

    /// How the files are written.
    fn format(&self, flags: &cli::Format) -> Result<source::Format> {
        let file = &self.file.load;
        let quote = dialect::byte("--quote", flags.quote.as_ref().unwrap_or(&file.quote))?;
        let optional = |flag: &str, text: &String| match text.as_str() {
            "" => Ok(None),
            text => dialect::byte(flag, text).map(Some),
        };
        let dialect = Dialect {
            delimiter: dialect::byte("--delimiter", flags.delimiter.as_ref().unwrap_or(&file.delimiter))?,
            quote,
            escape: optional("--escape", flags.escape.as_ref().unwrap_or(&file.escape))?.unwrap_or(quote),
            null: flags.null.as_ref().unwrap_or(&file.null).as_bytes().into(),
            comment: optional("--comment", flags.comment.as_ref().unwrap_or(&file.comment))?,
            header: file.header && !flags.no_header,
            encoding: dialect::encoding(flags.encoding.as_ref().unwrap_or(&file.encoding))?,
        };
        dialect.check()?;
        let max_record_bytes = flags.max_record_bytes.unwrap_or(file.max_record_bytes);
        at_least_one("longest record", max_record_bytes)?;
        if max_record_bytes > source::MOST_RECORD_BYTES {
            return Err(Error::usage(format!(
                "a longest record of {max_record_bytes} bytes is more than 1 GiB"
            ))
            .with_help("PostgreSQL's fields end there too"));
        }
        let cli::Format { delimiter, quote, escape, comment, encoding, no_header, .. } = flags;
        let told =
            [delimiter, quote, escape, comment, encoding].iter().any(|flag| flag.is_some()) || *no_header;
        Ok(source::Format { dialect, sniff: flags.sniff || (file.sniff && !told), max_record_bytes })
    }

    /// The configured table.
    ///
    /// # Errors
    /// When a name in it is not one.
    pub fn table(&self) -> Result<TableSpec> {
        TableSpec::from_config(&self.file.table)
    }

    fn fits_the_pool(&self, connections: usize) -> Result<()> {
        at_least_one("number of connections", connections)?;
        let pool_size = self.file.database.pool_size;
        if connections > pool_size {
            return Err(Error::usage(format!(
                "--connections {connections} is more than the pool holds, {pool_size}"
            ))
            .with_help("ask for fewer, or raise [database] pool_size in config.toml"));
        }
        Ok(())
    }

    fn path(&self, path: &Path) -> PathBuf {
        if path.as_os_str().is_empty() { PathBuf::new() } else { self.base.join(path) }
    }
}

/// The flag; else the file's, where sharing a Sync cannot change what is done.
fn sync_every(flag: Option<usize>, file: usize, is_safe: bool, section: &str) -> Result<NonZero<usize>> {
    at_least_one("number of rows to a Sync", flag.unwrap_or(1))?;
    at_least_one(&format!("{section} sync_every"), file)?;
    let default = if is_safe { file } else { 1 };
    Ok(NonZero::new(flag.unwrap_or(default)).expect("neither is 0"))
}

/// More statements on the way than this wait in our own memory, not in the server's.
const DEEPEST: usize = 65_536;

fn in_depth(pipeline_depth: usize) -> Result<()> {
    at_least_one("pipeline depth", pipeline_depth)?;
    match pipeline_depth {
        ..=DEEPEST => Ok(()),
        _ => Err(Error::usage(format!("a pipeline depth of {pipeline_depth} is too deep"))
            .with_help(format!("give a number from 1 to {DEEPEST}"))),
    }
}

/// PostgreSQL itself takes no more connections than fit a 18-bit number.
const LARGEST_POOL: usize = 262_143;

fn at_least_one(what: &str, value: usize) -> Result<()> {
    match value {
        0 => Err(Error::usage(format!("the {what} is 0, by a flag or in config.toml"))
            .with_help("give a number from 1 up")),
        _ => Ok(()),
    }
}
