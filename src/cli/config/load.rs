//! What `load` and `check` read, and what `load` does with it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use postgres_etl::catalog::{TableName, TableSpec};
use postgres_etl::csv::{self, Detect, Dialect, dialect};
use postgres_etl::escape::escape_path;
use postgres_etl::load::{
    Connections, CreateOptions, DeferIndexes, ImportOptions, Infer, InputOptions, LoadOptions, Mode,
    NameStyle, Naming, PartitionRouting, Spelling,
};
use postgres_etl::postgres::check_pool;
use postgres_etl::sql::is_plain;
use postgres_etl::{Error, Result};

use crate::cli::args;
use crate::cli::config::load_section::{Auto, Header, Load};
use crate::cli::config::{Config, GenerateSettings, table};

/// What is read, and the table it is for.
#[derive(Debug)]
pub(crate) struct InputCommand {
    pub(crate) options: InputOptions,
    /// Set when the input does not exist and is to be generated, because it is the output of `[generate]`.
    pub(crate) generate: Option<GenerateSettings>,
}

/// What `load` is to do.
#[derive(Debug)]
pub(crate) struct LoadCommand {
    pub(crate) options: LoadOptions,
    /// As in [`InputCommand`].
    pub(crate) generate: Option<GenerateSettings>,
    /// Print the statement that creates the table, and stop.
    pub(crate) ddl_only: bool,
    /// The file that gets the report, as JSON.
    pub(crate) receipt: Option<PathBuf>,
    /// The file that gets the report, as a page.
    pub(crate) html: Option<PathBuf>,
    /// The file of the rejects if the first bytes of the input tell that it is NDJSON; `None` as the options say.
    pub(crate) ndjson_rejects: Option<PathBuf>,
}

/// The import that `flags` name.
fn import(flags: &args::Load) -> Result<Option<ImportOptions>> {
    let Some(id) = &flags.import_id else { return Ok(None) };
    let mut import = ImportOptions::new(id);
    import.chunk_rows = flags.chunk_rows;
    import.share = flags.share;
    import.retries = flags.retries.unwrap_or(import.retries);
    if let Some(ledger) = &flags.ledger {
        import.ledger = TableName::parse(ledger)?;
    }
    Ok(Some(import))
}

/// Refuse flags that say how a table is created, where none is.
fn refuse_without_create(flags: &args::Load) -> Result<()> {
    let for_create = [
        ("--type", !flags.types.is_empty()),
        ("--infer", flags.infer.is_some()),
        ("--infer-rows", flags.infer_rows.is_some()),
    ];
    let ignored = for_create.into_iter().find(|(_, is_given)| *is_given && !flags.create && !flags.ddl_only);
    match ignored {
        Some((flag, _)) => Err(Error::usage(format!("{flag} is for a table that is created"))
            .with_help(format!("add --create, or leave {flag} out; an existing table has its types"))),
        None => Ok(()),
    }
}

impl Config {
    /// # Errors
    /// When a value is out of range, or flags contradict each other.
    pub(crate) fn load(&self, flags: &args::Load) -> Result<LoadCommand> {
        let file = &self.file.load;
        let InputCommand { options: mut input, generate } = self.input(&flags.input, &flags.format)?;
        if input.mode == Mode::Null {
            input.table = self.table_without_server(flags, &input.table.name)?;
        } else if generate.is_some() && input.table.name.to_string() != self.table()?.name.to_string() {
            let name = &input.table.name;
            return Err(Error::usage(format!("no file is named for table {name}"))
                .with_help(format!("postgres-etl load FILE --table {name}; - is standard input")));
        }
        refuse_without_create(flags)?;
        let distribution = table::distribution(
            flags.distribute_by.as_deref(),
            flags.reference,
            flags.shards,
            flags.colocate_with.as_deref(),
        )?;
        input.table.distribution = distribution.or(input.table.distribution);
        let (mode, is_null) = (input.mode, input.mode == Mode::Null);
        // What the file says of its own table does not apply to any other.
        let is_own = flags.input.table.is_none();
        let mut options = LoadOptions::from_input(input);
        options.autocommit = flags.autocommit || (file.autocommit && mode == Mode::Rows);
        options.create = (flags.create || flags.ddl_only).then(|| {
            let mut create = CreateOptions::default();
            create.infer_rows = flags.infer_rows;
            create.infer = flags.infer.map_or(file.infer, Infer::from);
            create.types = match flags.types.as_slice() {
                [] if is_own => file.types.clone().into_iter().collect(),
                types => types.to_owned(),
            };
            create.replace = flags.replace;
            create
        });
        options.dry_run = flags.dry_run;
        options.input.date_style = flags.date_style.or(file.date_style);
        options.max_rejects = flags.max_rejects;
        let ndjson_rejects = flags.rejects.is_none().then(|| PathBuf::from("rejects.ndjson"));
        options.rejects = match (&flags.rejects, &ndjson_rejects) {
            (Some(path), _) => path.clone(),
            (None, Some(path)) if options.input.is_ndjson_by_name() => path.clone(),
            _ => options.rejects,
        };
        options.on_conflict.clone_from(&flags.on_conflict);
        options.truncate = flags.truncate || (file.truncate && !flags.append && is_own);
        options.defer_indexes = match (flags.defer_indexes, file.defer_indexes) {
            (Some(when), _) => when.into(),
            // A default, unlike a flag, yields.
            (None, DeferIndexes::Always) if options.needs_indexes() => DeferIndexes::Never,
            (None, when) => when,
        };
        options.partitions = flags.partitions.map_or(file.partitions, PartitionRouting::from);
        options.analyze = file.analyze && !flags.no_analyze;
        options.batch_size = flags.batch_size.unwrap_or(file.batch_size);
        options.pipeline_depth =
            flags.pipeline_depth.or((!options.autocommit).then_some(file.pipeline_depth));
        let shares_syncs = mode == Mode::Rows && !options.autocommit;
        options.sync_every = flags.sync_every.or(shares_syncs.then_some(file.sync_every));
        options.connections = match flags.connections {
            Some(connections) => connections,
            None if options.autocommit => Connections::Exactly(file.connections),
            None => Connections::default(),
        };
        options.input.threads = flags.threads.unwrap_or(1);
        options.import = import(flags)?;
        options.wait_for_replicas = flags.wait_for_replicas;
        if !is_null {
            self.refuse_unnamed_table(flags)?;
            options.check()?;
        }
        let (receipt, html) = (flags.receipt.clone(), flags.html.clone());
        Ok(LoadCommand { options, generate, ddl_only: flags.ddl_only, receipt, html, ndjson_rejects })
    }

    /// Refuse to create, for files that are named, the table that the configuration describes for others.
    fn refuse_unnamed_table(&self, flags: &args::Load) -> Result<()> {
        let ([first, ..], None) = (&flags.input.files[..], &flags.input.table) else { return Ok(()) };
        let flag = if flags.create { "--create" } else { "--ddl-only" };
        if !(flags.create || flags.ddl_only) || self.table()?.columns.is_empty() {
            return Ok(());
        }
        let stem = first.file_name().and_then(OsStr::to_str).and_then(|name| name.split('.').next());
        let name = stem.filter(|stem| is_plain(stem)).unwrap_or("NAME");
        Err(Error::usage(format!("{flag} needs the name of the table to create"))
            .with_help(format!("add --table {name}, or another name")))
    }

    /// The table that mode `null` encodes for, called `wanted`.
    fn table_without_server(&self, flags: &args::Load, wanted: &TableName) -> Result<TableSpec> {
        let for_servers = [
            ("--append", flags.append),
            ("--truncate", flags.truncate),
            ("--defer-indexes", flags.defer_indexes.is_some()),
            ("--partitions", flags.partitions.is_some()),
            ("--on-conflict", flags.on_conflict.is_some()),
            ("--max-rejects", flags.max_rejects.allows_any()),
            ("--dry-run", flags.dry_run),
            ("--date-style", flags.date_style.is_some()),
            ("--create", flags.create),
            ("--ddl-only", flags.ddl_only),
            ("--infer", flags.infer.is_some()),
            ("--type", !flags.types.is_empty()),
            ("--distribute-by", flags.distribute_by.is_some()),
            ("--reference", flags.reference),
            ("--autocommit", flags.autocommit),
            ("--connections", flags.connections.is_some()),
            ("--import-id", flags.import_id.is_some()),
        ];
        if let Some((flag, _)) = for_servers.iter().find(|(_, given)| *given) {
            return Err(Error::usage(format!(
                "{flag} cannot be combined with --mode null, which writes nothing and asks no server"
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
    pub(crate) fn input(&self, flags: &args::Input, format: &args::Format) -> Result<InputCommand> {
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
        let no_flags = args::Generate { rows: None, seed: None, output: None, unicode: false };
        let generate = generated.map(|_| self.generate(&no_flags)).transpose()?;
        refuse_table_among_files(flags)?;
        let table = match &flags.table {
            Some(name) => TableSpec::named(TableName::parse(name)?),
            None => self.table()?,
        };
        let mut options = InputOptions::new(inputs, table);
        options.format = self.format(format)?;
        options.naming.columns.clone_from(&flags.columns);
        options.naming.map.clone_from(&flags.map);
        options.naming.ignore_extra = flags.ignore_extra;
        options.naming.select.clone_from(&flags.select);
        options.naming.style = flags.names.map_or(file.names, NameStyle::from);
        options.naming.added.clone_from(&flags.added);
        if flags.table.is_none() {
            name_as_configured(&mut options.naming, file)?;
        }
        options.spelling = spelling(format, file)?;
        options.mode = flags.mode.map_or(file.mode, Mode::from);
        Ok(InputCommand { options, generate })
    }

    /// How the files are written.
    fn format(&self, flags: &args::Format) -> Result<csv::InputFormat> {
        let file = &self.file.load;
        let quote = match flags.quote.as_ref().unwrap_or(&file.quote).as_str() {
            "none" => None,
            quote => Some(dialect::parse_byte("--quote", quote)?),
        };
        if quote.is_none() && flags.escape.is_some() {
            return Err(
                Error::usage("--escape has no meaning with --quote none").with_help("leave one of them out")
            );
        }
        let optional = |flag: &str, text: &String| match text.as_str() {
            "" => Ok(None),
            text => dialect::parse_byte(flag, text).map(Some),
        };
        let dialect = Dialect {
            delimiter: dialect::parse_byte(
                "--delimiter",
                flags.delimiter.as_ref().unwrap_or(&file.delimiter),
            )?,
            quote,
            escape: optional("--escape", flags.escape.as_ref().unwrap_or(&file.escape))?
                .or(quote)
                .unwrap_or(b'"'),
            stray_quotes: flags.stray_quotes.or(file.stray_quotes).unwrap_or_default(),
            skip_lines: flags.skip_lines.unwrap_or(file.skip_lines),
            blank_lines: flags.blank_lines.or(file.blank_lines),
            nulls: match flags.null.as_slice() {
                [] => file.null.all(),
                texts => texts,
            }
            .iter()
            .map(|text| text.as_bytes().into())
            .collect(),
            trim: flags.trim || file.trim,
            comment: optional("--comment", flags.comment.as_ref().unwrap_or(&file.comment))?,
            header: match flags.header {
                Some(header) => header == args::Header::Yes,
                None => file.header != Header::Known(false),
            } && !flags.no_header,
            encoding: dialect::parse_encoding(flags.encoding.as_ref().unwrap_or(&file.encoding))?,
        };
        dialect.check()?;
        let max_record_bytes = flags.max_record_bytes.unwrap_or(file.max_record_bytes);
        if max_record_bytes == 0 {
            return Err(Error::usage("the longest record is 0 bytes").with_help("give a number from 1 up"));
        }
        if max_record_bytes > csv::MAX_RECORD_BYTES_CEILING {
            return Err(Error::usage(format!(
                "a longest record of {max_record_bytes} bytes is more than 1 GiB"
            ))
            .with_help("PostgreSQL's fields end there too"));
        }
        Ok(csv::InputFormat {
            syntax: flags.syntax.map_or(file.format, csv::Syntax::from),
            dialect,
            detect: detect(flags, file),
            max_record_bytes,
            skip_rows: flags.skip_rows.unwrap_or(file.skip_rows),
            limit: flags.limit.or(Some(file.limit).filter(|limit| *limit > 0)),
            pad: flags.pad || file.pad,
            union_by_name: flags.union_by_name || file.union_by_name,
            ..csv::InputFormat::default()
        })
    }

    /// Check that the pool holds `connections`.
    pub(crate) fn check_pool(&self, connections: usize) -> Result<()> {
        check_pool(connections, self.file.database.pool_size)
    }
}

/// How numbers and booleans are spelled.
fn spelling(flags: &args::Format, file: &Load) -> Result<Spelling> {
    let decimal = flags.decimal.map_or_else(|| file.decimal.clone(), String::from);
    let words = |given: &[String], configured: &[String]| {
        if given.is_empty() { configured.to_owned() } else { given.to_owned() }
    };
    let thousands = match (file.thousands.chars().next(), file.thousands.chars().nth(1)) {
        (first, None) => flags.thousands.or(first),
        _ => {
            return Err(Error::config(format!("[load] thousands is {}, not one character", file.thousands))
                .with_help("give a mark, such as \".\", or \"\" for none"));
        }
    };
    if flags.decimal.is_none() && decimal.len() != 1 {
        return Err(Error::config(format!("[load] decimal is \"{decimal}\", not one character"))
            .with_help("give a mark, such as \",\"; without the key it is \".\""));
    }
    let mut spelling = Spelling::default();
    spelling.decimal = Some(dialect::parse_byte("--decimal", &decimal)?);
    spelling.thousands = thousands;
    spelling.true_words = words(&flags.true_words, &file.true_words);
    spelling.false_words = words(&flags.false_words, &file.false_words);
    spelling.check()?;
    Ok(spelling)
}

/// Take over what `file` says of the columns of its own table, unless flags say it.
fn name_as_configured(naming: &mut Naming, file: &Load) -> Result<()> {
    if naming.select.is_none() && !file.select.is_empty() {
        naming.select = Some(file.select.clone());
    }
    if naming.added.is_empty() {
        for (name, value) in &file.add_column {
            let value = value.parse().map_err(|expected| {
                Error::config(format!("[load] add_column {name} = \"{value}\": {expected}"))
                    .with_help("for example, add_column = { loaded_at = \"now()\" }")
            })?;
            naming.added.push((name.clone(), value));
        }
    }
    Ok(())
}

/// What to detect of the dialect.
fn detect(flags: &args::Format, file: &Load) -> Detect {
    let args::Format { delimiter, quote, escape, comment, encoding, no_header, header, .. } = flags;
    let is_described = [delimiter, quote, escape, comment, encoding].iter().any(|flag| flag.is_some())
        || *no_header
        || header.is_some();
    let sniffs = flags.sniff || (file.sniff && !is_described);
    // The flag has precedence over all that the file says. Beside `sniff` in the file, what is not at its default is meant.
    let default = Load::default();
    let is_open = |is_default: bool| sniffs && (flags.sniff || is_default);
    let has_default_quote = file.quote == default.quote && file.escape == default.escape;
    Detect {
        delimiter: is_open(file.delimiter == default.delimiter) && delimiter.is_none(),
        quote: is_open(has_default_quote) && quote.is_none() && escape.is_none(),
        comment: is_open(file.comment == default.comment) && comment.is_none(),
        encoding: is_open(file.encoding == default.encoding) && encoding.is_none(),
        header: match header {
            Some(header) => *header == args::Header::Auto,
            None if file.header == Header::Detected(Auto::Auto) => !no_header,
            None => is_open(file.header == default.header) && !no_header,
        },
        stray_quotes: sniffs && flags.stray_quotes.or(file.stray_quotes).is_none(),
        // Below lines that are skipped, blank ones are as at the beginning of a file; 0 says that the first line counts.
        skip_lines: sniffs && flags.skip_lines != Some(0),
    }
}

/// Refuse a table after the files, as other programs take it: `load orders.csv orders`.
fn refuse_table_among_files(flags: &args::Input) -> Result<()> {
    let ([_, .., last], None) = (&flags.files[..], &flags.table) else { return Ok(()) };
    let extension = |path: &Path| path.extension().map(OsStr::to_owned);
    // A misspelt file looks like the others.
    let is_like_file = extension(last).is_some_and(|last| {
        FILE_EXTENSIONS.iter().any(|known| last.eq_ignore_ascii_case(known))
            || flags.files.iter().rev().skip(1).any(|file| extension(file).as_ref() == Some(&last))
    });
    let name = last.to_str().filter(|name| !name.contains('/') && TableName::parse(name).is_ok());
    let Some(name) = name.filter(|_| !is_like_file && !last.exists() && *last != *"-") else { return Ok(()) };
    let files: Vec<String> = flags.files.iter().rev().skip(1).rev().map(|file| escape_path(file)).collect();
    Err(Error::input(format!("there is no file {name}"))
        .with_help(format!("if it is the table: postgres-etl load {} --table {name}", files.join(" "))))
}

/// Extensions of files that are loaded, or mistaken for those.
const FILE_EXTENSIONS: [&str; 12] =
    ["csv", "tsv", "txt", "dat", "gz", "zst", "bz2", "xz", "json", "jsonl", "ndjson", "parquet"];
