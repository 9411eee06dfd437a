//! The settings of a load: its options with the defaults filled in and contradictions refused.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use crate::load::options::{
    Connections, CreateOptions, DeferIndexes, ImportOptions, InputOptions, LoadOptions, Mode, OnConflict,
    PIPELINE_DEPTH, PartitionRouting, RejectLimit, SYNC_EVERY, at_least_one,
};
use crate::postgres::options::{SessionOptions, check_depth};
use crate::postgres::target_session::HostChoice;
use crate::{Error, Result};

/// The complete and consistent settings of a load; see [`LoadOptions`] for the fields.
#[derive(Debug, Clone)]
pub(crate) struct LoadSettings {
    pub(crate) input: InputOptions,
    pub(crate) create: Option<CreateOptions>,
    pub(crate) dry_run: bool,
    pub(crate) max_rejects: RejectLimit,
    pub(crate) rejects: PathBuf,
    pub(crate) on_conflict: Option<OnConflict>,
    pub(crate) truncate: bool,
    pub(crate) defer_indexes: DeferIndexes,
    pub(crate) partitions: PartitionRouting,
    pub(crate) analyze: bool,
    pub(crate) batch_size: usize,
    pub(crate) pipeline_depth: usize,
    /// Number of INSERTs that share a Sync, at most half of those in flight; 1 where they cannot share one.
    pub(crate) sync_every: NonZero<usize>,
    pub(crate) autocommit: bool,
    pub(crate) connections: usize,
    /// Whether two connections may be used instead of one, if that is faster for this table and these files.
    pub(crate) may_use_two: bool,
    pub(crate) import: Option<ImportOptions>,
    pub(crate) wait_for_replicas: Option<Duration>,
}

impl LoadOptions {
    /// Whether the indexes have to stay in place, because duplicate keys must be found at every row.
    pub fn needs_indexes(&self) -> bool {
        needing_indexes(self).is_some()
    }

    /// Check that the options fit together.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage), with the remedy, at the first contradiction and the first value
    /// out of range.
    pub fn check(&self) -> Result<()> {
        LoadSettings::new(self).map(drop)
    }
}

/// A contradiction between options: whether it applies, the message, and the remedy.
type Contradiction = (bool, String, &'static str);

fn refuse_first(contradictions: impl IntoIterator<Item = Contradiction>) -> Result<()> {
    match contradictions.into_iter().find(|(applies, ..)| *applies) {
        Some((_, message, help)) => Err(Error::usage(message).with_help(help)),
        None => Ok(()),
    }
}

/// The option that needs the indexes in place: a duplicate key is only reported while its index exists.
pub(crate) fn needing_indexes(options: &LoadOptions) -> Option<&'static str> {
    let needs = [
        ("--autocommit", options.autocommit),
        ("--max-rejects", options.max_rejects.allows_any()),
        ("--on-conflict", options.on_conflict.is_some()),
    ];
    needs.into_iter().find(|(_, is_set)| *is_set).map(|(option, _)| option)
}

impl LoadSettings {
    /// Check `options`, and fill in the defaults.
    ///
    /// # Errors
    /// At the first contradiction, and the first value out of range.
    pub(crate) fn new(options: &LoadOptions) -> Result<LoadSettings> {
        let LoadOptions { input, create, dry_run, max_rejects, autocommit, .. } = options;
        let mode = input.mode;
        at_least_one("batch size", options.batch_size)?;
        at_least_one("number of threads", input.threads)?;
        if input.threads > MOST_THREADS {
            let message = format!("{} threads are too many", input.threads);
            return Err(Error::usage(message).with_help(format!("give a number up to {MOST_THREADS}")));
        }
        // One at a time, so that no row after a refused one is committed.
        let default_depth = if *autocommit { 1 } else { PIPELINE_DEPTH };
        let pipeline_depth = options.pipeline_depth.unwrap_or(default_depth);
        check_depth(pipeline_depth)?;
        let leave_out = "leave one of them out";
        refuse_first([
            (
                create.as_ref().is_some_and(|create| create.infer_rows == Some(0)),
                "--infer-rows 0 leaves nothing to infer types from".into(),
                "give a number from 1 up, or leave it out to use all rows",
            ),
            (
                *autocommit && mode != Mode::Rows,
                format!("--autocommit commits row by row, which mode {mode} cannot"),
                "use --mode rows with it, or leave it out",
            ),
            (
                *autocommit && *dry_run,
                "--dry-run cannot be combined with --autocommit: it needs a transaction".into(),
                leave_out,
            ),
            (
                *autocommit && max_rejects.allows_any(),
                "--max-rejects cannot be combined with --autocommit: it needs a transaction".into(),
                leave_out,
            ),
            (
                *autocommit && input.date_style.is_some_and(|style| style.order().is_some()),
                "--date-style cannot be combined with --autocommit: it is set for one transaction".into(),
                "set PGDATESTYLE=dmy in the environment, or DateStyle for the role or the database",
            ),
            (
                *autocommit && create.is_some(),
                "--create cannot be combined with --autocommit: it needs a transaction".into(),
                leave_out,
            ),
            (
                input.threads > 1 && (*autocommit || options.import.is_some()),
                format!(
                    "--threads {} needs a load in one piece, and this one is committed in parts",
                    input.threads
                ),
                "leave it out, or --autocommit or --import-id",
            ),
            (
                options.wait_for_replicas.is_some() && (*dry_run || mode == Mode::Null),
                "--wait-for-replicas is for rows that are committed, and this load commits none".into(),
                "leave it out, or --dry-run or --mode null",
            ),
        ])?;
        if let Some(import) = &options.import {
            check_import(options, import)?;
        }
        input.spelling.check()?;
        let (connections, may_use_two) = connections(options)?;
        Ok(LoadSettings {
            input: input.clone(),
            create: create.clone(),
            dry_run: *dry_run,
            max_rejects: *max_rejects,
            rejects: options.rejects.clone(),
            on_conflict: options.on_conflict.clone(),
            truncate: options.truncate && mode != Mode::Null,
            defer_indexes: defer_indexes(options)?,
            partitions: options.partitions,
            analyze: options.analyze,
            batch_size: options.batch_size,
            pipeline_depth,
            sync_every: sync_every(options, pipeline_depth)?,
            autocommit: *autocommit,
            connections,
            may_use_two,
            import: options.import.clone(),
            wait_for_replicas: options.wait_for_replicas,
        })
    }

    /// The options of its sessions.
    pub(crate) fn session(&self) -> SessionOptions {
        let (sync_every, host_choice) = (self.sync_every, HostChoice::Primary);
        SessionOptions { sync_every, host_choice, ..SessionOptions::default() }
    }

    /// Number of connections open at the same time.
    pub(crate) fn connections_needed(&self) -> usize {
        // One more watches the others for deadlocks.
        if self.connections > 1 && !self.autocommit { self.connections + 1 } else { self.connections }
    }
}

/// The longest ID of an import, in bytes.
const LONGEST_ID: usize = 200;

/// The most threads that encode, of which each holds some megabytes.
const MOST_THREADS: usize = 1024;

/// The longest name of a ledger, in bytes: the server cuts names off after 63, and two tables add an ending to it.
const LONGEST_LEDGER: usize = 55;

/// Check that `import` fits the other `options`.
fn check_import(options: &LoadOptions, import: &ImportOptions) -> Result<()> {
    let LoadOptions { input, autocommit, dry_run, create, connections, .. } = options;
    let reads_stdin = input.reader.is_some() || input.paths.iter().any(|path| path.as_os_str() == "-");
    let leave_out = "leave one of them out";
    let cannot = |option: &str, why: &str| format!("{option} cannot be combined with --import-id: {why}");
    let share_cannot = |option: &str, why: &str| format!("{option} cannot be combined with --share: {why}");
    refuse_first([
        (
            import.id.is_empty() || import.id.len() > LONGEST_ID || import.id.contains(char::is_control),
            "--import-id is empty, longer than 200 bytes, or has control characters".into(),
            "name the import so that you recognise it, such as orders-2026-11-29",
        ),
        (
            import.chunk_rows == Some(0),
            "--chunk-rows 0 leaves chunks without rows".into(),
            "give a number from 1 up",
        ),
        (
            import.ledger.table.len() > LONGEST_LEDGER,
            format!("--ledger: the name {} is longer than {LONGEST_LEDGER} bytes", import.ledger.table),
            "name a shorter one",
        ),
        (
            *autocommit,
            cannot("--autocommit", "a chunk and its row in the ledger are committed together"),
            "use --chunk-rows 1 to commit every row by itself",
        ),
        (
            *dry_run,
            cannot("--dry-run", "chunks are committed while the load goes on"),
            "try it without --import-id, which then rolls back",
        ),
        (
            create.as_ref().is_some_and(|create| create.replace),
            cannot("--replace", "the old table is dropped when all rows are loaded as one"),
            "drop the old table first, or load into it with --truncate",
        ),
        (
            *connections != Connections::Auto && *connections != Connections::Exactly(1),
            cannot("--connections", "each process has one"),
            "run several processes with --share",
        ),
        (input.mode == Mode::Null, cannot("--mode null", "it contacts no server"), leave_out),
        (
            import.share && reads_stdin,
            share_cannot("standard input", "every process has to read all of the input"),
            "save it to a file that all processes see",
        ),
        (
            import.share && options.on_conflict.is_some(),
            share_cannot(
                "--on-conflict",
                "chunks are loaded in any order, and so is a key that occurs in two of them",
            ),
            leave_out,
        ),
    ])
}

/// The number of connections, and whether two may be used instead of one.
fn connections(options: &LoadOptions) -> Result<(usize, bool)> {
    let (connections, is_auto) = match options.connections {
        Connections::Exactly(connections) => (connections, false),
        Connections::Auto => (1, true),
    };
    at_least_one("number of connections", connections)?;
    if options.autocommit || options.import.is_some() || (connections == 1 && !is_auto) {
        return Ok((connections, false));
    }
    let needs = [
        (options.input.mode != Mode::Copy, "needs --mode copy, or --mode rows --autocommit"),
        (options.truncate, "needs --append: a table that is emptied stays locked until the commit"),
        (
            options.create.is_some(),
            "cannot be combined with --create: only one connection sees a table that is not yet committed",
        ),
        (
            options.max_rejects.allows_any(),
            "cannot be combined with --max-rejects, which needs a single transaction",
        ),
        (
            options.on_conflict.is_some(),
            "cannot be combined with --on-conflict, which needs a single transaction",
        ),
        (
            options.defer_indexes == DeferIndexes::Always,
            "cannot be combined with --defer-indexes always: other connections cannot write while the indexes are gone",
        ),
    ];
    match needs.into_iter().find(|(applies, _)| *applies) {
        None if is_auto => Ok((1, true)),
        None => Ok((connections, false)),
        Some(_) if is_auto => Ok((1, false)),
        Some((_, why)) => Err(Error::usage(format!("--connections {connections} {why}"))
            .with_help("change one of them, or leave --connections out")),
    }
}

fn defer_indexes(options: &LoadOptions) -> Result<DeferIndexes> {
    match needing_indexes(options) {
        Some(option) if options.defer_indexes == DeferIndexes::Always => Err(Error::usage(format!(
            "{option} cannot be combined with --defer-indexes always: it needs the indexes for every row"
        ))
        .with_help("leave one of them out")),
        Some(_) => Ok(DeferIndexes::Never),
        None => Ok(options.defer_indexes),
    }
}

/// The number of INSERTs that share a Sync, of which `depth` are in flight.
fn sync_every(options: &LoadOptions, depth: usize) -> Result<NonZero<usize>> {
    let can_share = options.input.mode == Mode::Rows && !options.autocommit;
    let default = if can_share { SYNC_EVERY.get() } else { 1 };
    let statements = options.sync_every.unwrap_or(default);
    at_least_one("number of rows per Sync", statements)?;
    if statements > 1 && !can_share {
        let (option, why) = if options.autocommit {
            ("--autocommit", "rows that share a Sync are committed together or not at all")
        } else {
            ("any mode but rows", "only that mode sends a statement per row")
        };
        return Err(Error::usage(format!(
            "--sync-every {statements} cannot be combined with {option}: {why}"
        ))
        .with_help("leave --sync-every out, or use --mode rows without --autocommit"));
    }
    // With at least two groups in flight, the server works on one while another is made. Four make a load faster by a few
    // percent, sixteen do not.
    Ok(NonZero::new(statements.min(depth / 2)).unwrap_or(NonZero::<usize>::MIN))
}
