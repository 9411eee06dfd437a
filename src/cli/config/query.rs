//! What `query` measures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use postgres_etl::escape::escape_path;
use postgres_etl::query::{Limits, MeterOptions, PgbenchTables, Search, Workload, WorkloadSpec};
use postgres_etl::suggest::nearest;
use postgres_etl::{Error, ErrorKind, Result};

use crate::cli::args;
use crate::cli::config::Config;

/// What `query` is to do.
#[derive(Debug)]
pub(crate) struct QueryCommand {
    pub(crate) options: MeterOptions,
    /// The file to save the runs in.
    pub(crate) save: Option<PathBuf>,
    /// The URL of the other server; `None` if all runs are on the same.
    pub(crate) against: Option<String>,
    /// The file to write the page to.
    pub(crate) html: Option<PathBuf>,
    /// The file to write the metrics to.
    pub(crate) metrics: Option<PathBuf>,
}

/// The tables that `--init` asks for; `None` without it.
///
/// # Errors
/// When other flags are given, which are for a run.
pub(crate) fn pgbench_tables(flags: &args::Query) -> Result<Option<PgbenchTables>> {
    if flags.init.is_none() {
        return Ok(None);
    }
    let args::Query { init, scale, replace, .. } = *flags;
    if *flags != (args::Query { init, scale, replace, ..args::Query::default() }) {
        return Err(Error::usage("--init creates tables and runs no queries; of the other options, only --scale and --replace are for it")
            .with_help("run the workload in a second command: postgres-etl query tpcb"));
    }
    Ok(Some(PgbenchTables { scale: scale.unwrap_or(1), replace }))
}

impl Config {
    /// # Errors
    /// When there is no such workload, a value is out of range, or flags contradict each other.
    pub(crate) fn query(&self, flags: &args::Query) -> Result<QueryCommand> {
        let file = &self.file.query;
        let queries = flags.queries.unwrap_or(file.queries);
        if queries == 0 {
            let what = if flags.queries.is_some() { "-n 0" } else { "[query] queries = 0" };
            return Err(
                Error::usage(format!("{what} asks for no queries")).with_help("give a number from 1 up")
            );
        }
        let mut options = MeterOptions::new(self.requested_workloads(flags)?, self.table()?);
        options.against = self.other_workloads(flags, &options.workloads)?;
        options.base.clone_from(&self.base);
        options.search = search(flags)?;
        options.limits = match (flags.queries, flags.duration) {
            // A search has a default of its own.
            (None, None) if options.search.is_some() => None,
            (None, None) => Some(Limits { queries: Some(queries), duration: None }),
            (queries, duration) => Some(Limits { queries, duration }),
        };
        options.warm_up = flags.warm_up.unwrap_or_default();
        options.connections = flags.connections.unwrap_or(file.connections);
        options.rate = flags.rate;
        options.arrivals = flags.arrivals.map(Into::into);
        // pgbench waits for the result of each statement before it sends the next: so do its workloads, to be
        // compared with it.
        let is_one_by_one =
            flags.pipeline_depth.is_none() && options.workloads.iter().all(Workload::is_built_in);
        // The defaults of a closed loop, and of statements that only read, do not apply to others.
        let depth = if is_one_by_one { 1 } else { file.pipeline_depth };
        options.pipeline_depth = flags.pipeline_depth.or((!options.is_open_loop()).then_some(depth));
        options.protocol = flags.protocol.map_or(options.protocol, Into::into);
        options.explain = flags.explain;
        let sync_every = if is_one_by_one { 1 } else { file.sync_every };
        options.sync_every = flags.sync_every.or(options.can_share_syncs().then_some(sync_every));
        options.seed = flags.seed.unwrap_or(file.seed);
        options.retries = flags.retries.unwrap_or(0);
        options.max_errors = flags.max_errors;
        options.verify = flags.verify;
        options.expect_rows = flags.expect_rows;
        options.expect_value.clone_from(&flags.expect_value);
        options.takes_times = !flags.no_latency;
        options.per_connection = flags.per_connection;
        options.runs = flags.runs;
        options.read_from = flags.nodes.map(Into::into).or(flags.read_from.map(Into::into));
        options.wait_for_lsn.clone_from(&flags.wait_for_lsn);
        options.wait_timeout = flags.wait_timeout.unwrap_or(options.wait_timeout);
        options.baseline.clone_from(&flags.baseline);
        options.fail_if.clone_from(&flags.fail_if);
        refuse_flags(flags, options.search.is_some())?;
        options.check()?;
        let (save, html, against) = (flags.save.clone(), flags.html.clone(), flags.against.clone());
        let metrics = flags.metrics_file.clone();
        Ok(QueryCommand { options, save, against, html, metrics })
    }

    /// The workloads that `flags` ask for.
    fn requested_workloads(&self, flags: &args::Query) -> Result<Vec<Workload>> {
        let file = &self.file.query;
        let args = flags.args.clone();
        if let Some(sql) = &flags.sql {
            let workload = WorkloadSpec { sql: sql.clone(), args, ..WorkloadSpec::default() };
            return Ok(vec![Workload::at("--sql", "--sql", &workload, &self.base)?]);
        }
        if let Some(path) = &flags.file {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let workload = WorkloadSpec { sql: read_statement(path)?, args, ..WorkloadSpec::default() };
            return Ok(vec![Workload::at(&name, "--file", &workload, &self.base)?]);
        }
        let default = [file.workload.clone()];
        let names = if flags.names.is_empty() { &default[..] } else { &flags.names };
        let mut workloads: Vec<Workload> = Vec::new();
        for name in names {
            let configured =
                file.workloads.get(name).map(|workload| Workload::new(name, workload, &self.base));
            let Some(workload) = configured.or_else(|| Workload::built_in(name).map(Ok)).transpose()? else {
                return Err(no_such_workload(name, &file.workloads));
            };
            if workloads.iter().any(|earlier| earlier.name == workload.name) {
                return Err(Error::usage(format!("workload {name} is named twice"))
                    .with_help("give it a weight in config.toml to have it come more often"));
            }
            workloads.push(workload);
        }
        Ok(workloads)
    }

    /// The workloads of the other side, given those of this one; `None` if there is no other side.
    fn other_workloads(&self, flags: &args::Query, workloads: &[Workload]) -> Result<Option<Vec<Workload>>> {
        let Some(sql) = &flags.against_sql else {
            return Ok(flags.against.is_some().then(|| workloads.to_vec()));
        };
        let is_typed = flags.sql.is_some() || flags.file.is_some();
        let args = match (is_typed, workloads) {
            (true, _) => flags.args.clone(),
            (false, [workload]) if workload.begin.is_none() && workload.statements.len() == 1 => {
                workload.arguments_of(&workload.statements[0]).cloned().collect()
            }
            (false, _) => {
                return Err(Error::usage(
                    "--against-sql is for a single statement, not a mix or a transaction",
                )
                .with_help("name one workload, or use --sql"));
            }
        };
        let workload = WorkloadSpec { sql: sql.clone(), args, ..WorkloadSpec::default() };
        // The arguments are drawn by name, too.
        let name = &workloads[0].name;
        Ok(Some(vec![Workload::at(name, "--against-sql", &workload, &self.base)?]))
    }

    /// Every workload, or what is wrong with it, by name.
    pub(crate) fn workloads(&self) -> impl Iterator<Item = (&str, Result<Workload>)> {
        self.file
            .query
            .workloads
            .iter()
            .map(|(name, workload)| (name.as_str(), Workload::new(name, workload, &self.base)))
    }
}

/// The error about a workload that is neither among those `configured` nor built in.
fn no_such_workload(name: &str, configured: &BTreeMap<String, WorkloadSpec>) -> Error {
    let known = || known_workloads(configured);
    let list = known().collect::<Vec<_>>().join(", ");
    let help = match nearest(name, known()) {
        _ if name.contains(char::is_whitespace) => format!("if it is a statement: --sql \"{name}\""),
        Some(near) => format!("did you mean `{near}`? There are: {list}"),
        None => format!(
            "there are: {list}; [query.{name}] in config.toml defines another, and --dbname names a database"
        ),
    };
    Error::usage(format!("there is no workload `{name}`")).with_help(help)
}

/// The names of all workloads: those of `configured`, and those that are built in.
fn known_workloads(configured: &BTreeMap<String, WorkloadSpec>) -> impl Iterator<Item = &str> {
    configured.keys().map(String::as_str).chain(Workload::BUILT_IN)
}

/// The statement in the file at `path`.
fn read_statement(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::io(ErrorKind::Input, "read the statement", path, error))
        .map_err(|error| {
            error.with_help("check the path of --file, or give the statement itself with --sql")
        })?;
    match text.lines().map(str::trim).find(|line| line.starts_with('\\')) {
        // pgbench's scripts have such commands, and psql's.
        Some(command) => Err(Error::usage(format!(
            "--file: {} contains {}, but SQL is expected",
            escape_path(path),
            command.split_whitespace().next().unwrap_or_default()
        ))
        .with_help(
            "write :name as $1 and give its values with --arg, or define a transaction as [query.NAME] in config.toml",
        )),
        None => Ok(text),
    }
}

fn search(flags: &args::Query) -> Result<Option<Search>> {
    Ok(match (&flags.sweep[..], flags.ramp, flags.find_max) {
        ([], None, false) => None,
        ([], Some(ramp), false) => Some(Search::Ramp(ramp)),
        ([], None, true) => {
            let bound = flags.p99.ok_or_else(|| {
                Error::usage("--find-max needs a bound").with_help("add --p99 5ms, or the bound you need")
            })?;
            Some(Search::FindMax(bound))
        }
        (axes, ..) => Some(Search::Sweep(axes.to_vec())),
    })
}

/// What only flags can contradict.
fn refuse_flags(flags: &args::Query, is_search: bool) -> Result<()> {
    let has_no_statement = flags.sql.is_none() && flags.file.is_none();
    let expects = flags.expect_rows.is_some() || flags.expect_value.is_some();
    let has_several =
        flags.runs.is_some_and(|runs| runs > 1) || flags.against.is_some() || flags.against_sql.is_some();
    let contradictions = [
        (
            flags.save.is_some() && is_search,
            "--save is for runs with equal settings, not those of a search",
            "leave one of them out",
        ),
        (
            flags.save.is_some() && (flags.against.is_some() || flags.against_sql.is_some()),
            "--save is for runs to be compared later, but those of --against are compared at once",
            "leave it out; --json reports every run",
        ),
        (
            !flags.args.is_empty() && has_no_statement,
            "--arg is for a statement of --sql",
            "leave it or the names out",
        ),
        (
            expects && has_no_statement,
            "--expect-rows and --expect-value are for a statement of --sql",
            "use --verify for workloads",
        ),
        (
            flags.metrics_file.is_some() && (is_search || has_several),
            "--metrics-file is for a single run",
            "leave it out; --json reports every run",
        ),
        (
            flags.save.is_some() && flags.no_latency,
            "--no-latency measures no latencies, which are needed here",
            "leave it out",
        ),
    ];
    match contradictions.into_iter().find(|(is_there, ..)| *is_there) {
        Some((_, message, help)) => Err(Error::usage(message).with_help(help)),
        None => Ok(()),
    }
}
