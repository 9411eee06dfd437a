//! The options of a load, as a caller sets them.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::AsyncRead;

use crate::catalog::{TableName, TableSpec};
use crate::csv::InputFormat;
use crate::csv::input::InputReader;
use crate::load::spelling::Spelling;
use crate::{Error, Result};

pub use crate::load::choices::{
    Connections, DateStyle, DeferIndexes, Infer, Mode, OnConflict, PartitionRouting, RejectLimit,
};
pub use crate::load::naming::{AddedValue, Naming};

/// Rows in each INSERT of [`Mode::Batch`], unless [`LoadOptions::batch_size`] says otherwise.
pub(super) const BATCH_SIZE: usize = 1000;

/// Statements in flight on each connection, unless [`LoadOptions::pipeline_depth`] says otherwise: four groups of
/// [`SYNC_EVERY`].
pub(super) const PIPELINE_DEPTH: usize = 1024;

/// INSERTs that share a Sync, unless [`LoadOptions::sync_every`] says otherwise.
pub(super) const SYNC_EVERY: NonZero<usize> = NonZero::new(256).expect("256 is not 0");

/// How to create the table from the files when it does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CreateOptions {
    /// Records of each file to infer the types from; `None` for all of them.
    pub infer_rows: Option<u64>,
    /// What may be inferred.
    pub infer: Infer,
    /// Columns, each with its type in SQL, which is not inferred.
    pub types: Vec<(String, String)>,
    /// Replace an existing table, once the new one is loaded.
    pub replace: bool,
}

impl CreateOptions {
    /// Infer the types from the first `rows` records of each file only; at least 1.
    #[must_use]
    pub fn infer_rows(mut self, rows: u64) -> Self {
        self.infer_rows = Some(rows);
        self
    }

    /// What may be inferred.
    #[must_use]
    pub fn infer(mut self, infer: Infer) -> Self {
        self.infer = infer;
        self
    }

    /// Give `column` the type `sql_type` instead of inferring it.
    #[must_use]
    pub fn column_type(mut self, column: impl Into<String>, sql_type: impl Into<String>) -> Self {
        self.types.push((column.into(), sql_type.into()));
        self
    }

    /// Replace an existing table, once the new one is loaded.
    #[must_use]
    pub fn replace(mut self) -> Self {
        self.replace = true;
        self
    }
}

/// A load in chunks that are committed one by one, each together with its row in a ledger: killed anywhere and run
/// again, it continues, and every row is loaded exactly once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportOptions {
    /// What tells this import from others in the ledger.
    pub id: String,
    /// Records in each chunk, at least 1; `None` for chunks of 32 MiB.
    pub chunk_rows: Option<u64>,
    /// The table of committed chunks, which is created if it does not exist; two others stand beside it.
    pub ledger: TableName,
    /// Divide the chunks among all processes that run this import.
    pub share: bool,
    /// How many times in a row to try again to reach the server, and to load a chunk after a lost connection, a deadlock or a
    /// serialization failure.
    pub retries: u32,
}

/// How many times something is tried again, unless [`ImportOptions::retries`] says otherwise: for about 45 seconds, in
/// which a server can restart.
const RETRIES: u32 = 10;

impl ImportOptions {
    /// The import `id`, in chunks of 32 MiB, with the ledger `postgres_etl.ledger`.
    pub fn new(id: impl Into<String>) -> Self {
        let ledger = TableName { schema: Some("postgres_etl".into()), table: "ledger".into() };
        ImportOptions { id: id.into(), chunk_rows: None, ledger, share: false, retries: RETRIES }
    }

    /// Commit chunks of `rows` records; at least 1. A rerun keeps the chunks of the first run.
    #[must_use]
    pub fn chunk_rows(mut self, rows: u64) -> Self {
        self.chunk_rows = Some(rows);
        self
    }

    /// Keep the ledger in `table`.
    #[must_use]
    pub fn ledger(mut self, table: TableName) -> Self {
        self.ledger = table;
        self
    }

    /// Divide the chunks among all processes that run this import with this option, on machines that read the same
    /// files.
    #[must_use]
    pub fn share(mut self) -> Self {
        self.share = true;
        self
    }

    /// Try again this many times in a row to reach the server, or to load a chunk; 0 for never.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }
}

/// What is read, and the table it is for. Loading and checking share these options.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct InputOptions {
    /// CSV files, glob patterns, and `-` for standard input; at least one unless there is a reader.
    pub paths: Vec<PathBuf>,
    /// A reader to load from instead of `paths`.
    pub(crate) reader: Option<InputReader>,
    /// How the files are written.
    pub format: InputFormat,
    /// Which field goes to which column.
    pub naming: Naming,
    /// How numbers and booleans are spelled.
    pub spelling: Spelling,
    /// How to read dates such as `08.10.2026`; `None` for the way of the session, and a warning.
    pub date_style: Option<DateStyle>,
    /// The table to fill.
    pub table: TableSpec,
    /// How to write.
    pub mode: Mode,
    /// The number of threads that encode, at least 1.
    pub threads: usize,
}

impl InputOptions {
    /// Whether the files are NDJSON, as far as their format and the name of the first one tell.
    #[must_use]
    pub fn is_ndjson_by_name(&self) -> bool {
        let name = self.paths.first().map(|path| path.to_string_lossy()).unwrap_or_default();
        self.format.is_ndjson_by_name(&name)
    }

    /// `paths` for `table`, in the default dialect.
    pub fn new(paths: Vec<PathBuf>, table: TableSpec) -> Self {
        InputOptions {
            paths,
            reader: None,
            format: InputFormat::default(),
            naming: Naming::default(),
            spelling: Spelling::default(),
            date_style: None,
            table,
            mode: Mode::default(),
            threads: 1,
        }
    }

    /// How the files are written, with the keys that the names of the columns stand for, and the style of their names.
    pub fn file_format(&self) -> InputFormat {
        let keys = self.naming.columns.clone().unwrap_or_default();
        let ignore_other_keys = self.naming.ignore_extra && !keys.is_empty();
        InputFormat { keys, ignore_other_keys, names: self.naming.style, ..self.format.clone() }
    }

    /// The inputs as errors and reports call them, separated by commas.
    pub fn describe(&self) -> String {
        let paths = self.paths.iter().map(|path| path.display().to_string());
        let reader = self.reader.iter().map(|reader| reader.name().to_owned());
        paths.chain(reader).collect::<Vec<_>>().join(", ")
    }
}

/// What a [`Loader`](crate::load::Loader) is to do.
///
/// Every option has a default, so that [`LoadOptions::new`] alone describes a complete load: binary COPY over one
/// connection in one transaction, added to the table's rows, failing at the first bad record.
///
/// ```
/// use postgres_etl::load::{LoadOptions, Mode, OnConflict};
///
/// let options = LoadOptions::new(["people.csv"], "persons")?
///     .mode(Mode::Rows)
///     .on_conflict(OnConflict::Update(vec!["id".into()]));
/// options.check()?;
/// # Ok::<(), postgres_etl::Error>(())
/// ```
///
/// Options that contradict each other are reported by [`LoadOptions::check`], and by
/// [`Loader::new`](crate::load::Loader::new); the errors name options as the command line spells them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadOptions {
    /// What is read, and the table it is for.
    pub input: InputOptions,
    /// Create the table if it does not exist.
    pub create: Option<CreateOptions>,
    /// Do everything, and roll it back.
    pub dry_run: bool,
    /// Limit of bad rows to set aside.
    pub max_rejects: RejectLimit,
    /// Where bad rows go: this file gets their bytes, its companion `.log.jsonl` the reasons.
    pub rejects: PathBuf,
    /// What to do with rows whose key already exists in the table; `None` makes them errors.
    pub on_conflict: Option<OnConflict>,
    /// Empty the table first, in the same transaction.
    pub truncate: bool,
    /// When to drop the table's indexes and rebuild them after loading.
    pub defer_indexes: DeferIndexes,
    /// How rows reach the partitions of a partitioned table.
    pub partitions: PartitionRouting,
    /// ANALYZE the table afterwards, if the load changed more than a tenth of it.
    pub analyze: bool,
    /// Rows in each INSERT of [`Mode::Batch`]; at least 1.
    pub batch_size: usize,
    /// Statements in flight on each connection, from 1 to 65,536; `None` for 1,024, or 1 with
    /// `autocommit`.
    pub pipeline_depth: Option<usize>,
    /// INSERTs that share a Sync in [`Mode::Rows`], but no more than half of those in flight; `None` for 256 where rows can
    /// share one, otherwise 1.
    pub sync_every: Option<usize>,
    /// Commit every row separately.
    pub autocommit: bool,
    /// Connections to write over.
    pub connections: Connections,
    /// Commit in chunks, recorded in a ledger; `None` to commit everything as one.
    pub import: Option<ImportOptions>,
    /// How long to wait, after the commit, until the standbys have replayed the load; `None` not to wait.
    pub wait_for_replicas: Option<Duration>,
}

impl LoadOptions {
    /// Load the CSV files `paths`, glob patterns, or `-` for standard input, into `table`: `name` or `schema.name`,
    /// read as SQL reads it.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) when `table` is not the name of a table.
    pub fn new(paths: impl IntoIterator<Item = impl Into<PathBuf>>, table: &str) -> Result<Self> {
        let table = TableSpec::named(TableName::parse(table)?);
        Ok(LoadOptions::from_input(InputOptions::new(paths.into_iter().map(Into::into).collect(), table)))
    }

    /// Load what `reader` yields into `table`; errors and reports call it `name`.
    ///
    /// A reader cannot be read twice, so some errors name a range of lines instead of one.
    ///
    /// # Errors
    /// As [`LoadOptions::new`].
    pub fn from_reader(
        reader: impl AsyncRead + Send + Unpin + 'static,
        name: &str,
        table: &str,
    ) -> Result<Self> {
        let mut options = LoadOptions::new(Vec::<PathBuf>::new(), table)?;
        options.input.reader = Some(InputReader::new(reader, name));
        Ok(options)
    }

    /// Load `input`, with every other option at its default.
    pub fn from_input(input: InputOptions) -> Self {
        LoadOptions {
            input,
            create: None,
            dry_run: false,
            max_rejects: RejectLimit::default(),
            rejects: "rejects.csv".into(),
            on_conflict: None,
            truncate: false,
            defer_indexes: DeferIndexes::default(),
            partitions: PartitionRouting::default(),
            analyze: true,
            batch_size: BATCH_SIZE,
            pipeline_depth: None,
            sync_every: None,
            autocommit: false,
            connections: Connections::default(),
            import: None,
            wait_for_replicas: None,
        }
    }

    /// How rows reach the server.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.input.mode = mode;
        self
    }

    /// How the files are written.
    #[must_use]
    pub fn format(mut self, format: InputFormat) -> Self {
        self.input.format = format;
        self
    }

    /// The columns in the order of the fields, whatever the header says.
    #[must_use]
    pub fn columns(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.input.naming.columns = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// Load the field that the header calls `name` into `column`.
    #[must_use]
    pub fn map(mut self, name: impl Into<String>, column: impl Into<String>) -> Self {
        self.input.naming.map.push((name.into(), column.into()));
        self
    }

    /// How to read dates that do not begin with their year.
    #[must_use]
    pub fn date_style(mut self, style: DateStyle) -> Self {
        self.input.date_style = Some(style);
        self
    }

    /// Skip names in the header that the table does not have.
    #[must_use]
    pub fn ignore_extra(mut self) -> Self {
        self.input.naming.ignore_extra = true;
        self
    }

    /// Load only the fields called `names`.
    #[must_use]
    pub fn select(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.input.naming.select = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Give `column`, which is not in the files, a `value`.
    #[must_use]
    pub fn add_column(mut self, column: impl Into<String>, value: AddedValue) -> Self {
        self.input.naming.added.push((column.into(), value));
        self
    }

    /// How numbers and booleans are spelled.
    #[must_use]
    pub fn spelling(mut self, spelling: Spelling) -> Self {
        self.input.spelling = spelling;
        self
    }

    /// Create the table with the types of the files' values if it does not exist.
    #[must_use]
    pub fn create(mut self, create: CreateOptions) -> Self {
        self.create = Some(create);
        self
    }

    /// Do everything, and roll it back.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// Set up to `limit` bad rows aside in the file `rejects`, and load the others.
    #[must_use]
    pub fn max_rejects(mut self, limit: RejectLimit, rejects: impl Into<PathBuf>) -> Self {
        self.max_rejects = limit;
        self.rejects = rejects.into();
        self
    }

    /// What to do with rows whose key already exists in the table.
    #[must_use]
    pub fn on_conflict(mut self, on_conflict: OnConflict) -> Self {
        self.on_conflict = Some(on_conflict);
        self
    }

    /// Empty the table first, in the same transaction.
    #[must_use]
    pub fn truncate(mut self) -> Self {
        self.truncate = true;
        self
    }

    /// When to drop the table's indexes and rebuild them after loading.
    #[must_use]
    pub fn defer_indexes(mut self, when: DeferIndexes) -> Self {
        self.defer_indexes = when;
        self
    }

    /// How rows reach the partitions of a partitioned table.
    #[must_use]
    pub fn partitions(mut self, routing: PartitionRouting) -> Self {
        self.partitions = routing;
        self
    }

    /// Whether to ANALYZE the table after a load that changed more than a tenth of it.
    #[must_use]
    pub fn analyze(mut self, analyze: bool) -> Self {
        self.analyze = analyze;
        self
    }

    /// Rows in each INSERT of [`Mode::Batch`]; at least 1.
    #[must_use]
    pub fn batch_size(mut self, rows: usize) -> Self {
        self.batch_size = rows;
        self
    }

    /// Statements in flight on each connection, from 1 to 65,536.
    #[must_use]
    pub fn pipeline_depth(mut self, statements: usize) -> Self {
        self.pipeline_depth = Some(statements);
        self
    }

    /// INSERTs that share a Sync in [`Mode::Rows`]; 1 for a Sync each.
    #[must_use]
    pub fn sync_every(mut self, statements: usize) -> Self {
        self.sync_every = Some(statements);
        self
    }

    /// Commit every row separately; after an error the committed rows stay.
    #[must_use]
    pub fn autocommit(mut self) -> Self {
        self.autocommit = true;
        self
    }

    /// Connections to write over.
    #[must_use]
    pub fn connections(mut self, connections: Connections) -> Self {
        self.connections = connections;
        self
    }

    /// Encode with this many threads; at least 1.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.input.threads = threads;
        self
    }

    /// Commit in chunks, recorded in a ledger.
    #[must_use]
    pub fn import(mut self, import: ImportOptions) -> Self {
        self.import = Some(import);
        self
    }

    /// After the commit, wait for up to `patience` until the standbys that are connected to the server have replayed the
    /// load.
    #[must_use]
    pub fn wait_for_replicas(mut self, patience: Duration) -> Self {
        self.wait_for_replicas = Some(patience);
        self
    }
}

/// Check that `value`, which the message calls `what`, is at least 1.
pub(crate) fn at_least_one(what: &str, value: usize) -> Result<()> {
    match value {
        0 => Err(Error::usage(format!("the {what} is 0")).with_help("give a number from 1 up")),
        _ => Ok(()),
    }
}
