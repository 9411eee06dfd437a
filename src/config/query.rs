//! What `query` is to do.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use super::{Config, Workload, file, in_depth, sync_every};
use crate::cli;
use crate::postgres::pool::Session;
use crate::query;
use crate::query::ask::Protocol;
use crate::query::compare::Threshold;
use crate::query::pace::{Arrivals, Limits};
use crate::query::search::{Axis, RATES, Search, Setting};
use crate::query::workload::{MOST_WEIGHT, Script};
use crate::table::TableSpec;
use crate::{Error, Result};

/// What `query` is to do.
#[derive(Debug)]
pub struct QuerySettings {
    /// The workloads; at least one.
    pub scripts: Vec<Script>,
    /// Where the files that they name are.
    pub base: PathBuf,
    /// The table whose rows are counted first.
    pub table: TableSpec,
    /// When to stop.
    pub limits: Limits,
    /// How long to ask before anything is measured.
    pub warm_up: Duration,
    /// Connections; at least 1.
    pub connections: usize,
    /// Queries on the way at once on each connection; at least 1.
    pub pipeline_depth: usize,
    /// Queries to a Sync. When it is more than 1 they run read-only, because only what is read stays read when a
    /// later query of the same Sync fails.
    pub sync_every: NonZero<usize>,
    /// How statements are given to the server.
    pub protocol: Protocol,
    /// Where the arguments start.
    pub seed: u64,
    /// Queries a second, in an open loop.
    pub rate: Option<f64>,
    /// How they are spread over time.
    pub arrivals: Arrivals,
    /// How often a query is sent again after a serialization failure or a deadlock.
    pub retries: u64,
    /// Stop, and fail, when there are more errors.
    pub max_errors: Option<u64>,
    /// Compare every answer with that of a quiet connection.
    pub verify: bool,
    /// How many rows every answer has.
    pub expect_rows: Option<u64>,
    /// What the first value of every answer is.
    pub expect_value: Option<String>,
    /// Take the time of every query.
    pub takes_times: bool,
    /// Report each connection.
    pub per_connection: bool,
    /// Have the plans of the slowest arguments explained.
    pub explain: bool,
    /// Make several runs, in search of something.
    pub search: Option<Search>,
    /// Keep the run here.
    pub save: Option<PathBuf>,
    /// Compare it with the run that is kept here.
    pub baseline: Option<PathBuf>,
    /// Fail if it is so much worse.
    pub fail_if: Vec<Threshold>,
}

impl QuerySettings {
    /// What its connections are for.
    pub fn session(&self) -> Session {
        Session { sync_every: self.sync_every, read_only: self.sync_every.get() > 1 }
    }

    /// Whether answers are looked at.
    pub fn checks(&self) -> bool {
        self.verify || self.expect_rows.is_some() || self.expect_value.is_some()
    }
}

impl Config {
    /// # Errors
    /// When there is no such workload, a value is out of range, or flags contradict each other.
    pub fn query(&self, flags: &cli::Query) -> Result<QuerySettings> {
        let file = &self.file.query;
        let scripts = self.scripts(flags)?;
        let queries = flags.queries.unwrap_or(file.queries);
        if queries == 0 {
            let what = if flags.queries.is_some() { "-n 0" } else { "[query] queries = 0" };
            return Err(
                Error::usage(format!("{what} asks for no queries")).with_help("give a number from 1 up")
            );
        }
        let search = match (&flags.sweep[..], flags.ramp, flags.find_max) {
            ([], None, false) => None,
            ([], Some(ramp), false) => Some(Search::Ramp(ramp)),
            ([], None, true) => {
                let bound = flags.p99.ok_or_else(|| {
                    Error::usage("--find-max needs a bound").with_help("add --p99 5ms, or what is wanted")
                })?;
                Some(Search::FindMax(bound))
            }
            (axes, ..) => Some(Search::Sweep(self.axes(axes)?)),
        };
        // Where neither is given, a search takes so long for each run, and everything else so many queries.
        let limits = match (flags.queries, flags.duration) {
            (None, None) if search.is_some() => Limits { queries: None, duration: Some(query::SEARCH_STEP) },
            (None, None) => Limits { queries: Some(queries), duration: None },
            (queries, duration) => Limits { queries, duration },
        };
        if flags.verify && limits.queries.is_none() {
            return Err(Error::usage(
                "--verify asks every query beforehand, and so has to know how many there are",
            )
            .with_help("add -n, with --duration too if that is to end it earlier"));
        }
        let sweeps_rate = matches!(&search, Some(Search::Sweep(axes))
            if axes.iter().any(|axis| axis.setting == Setting::Rate));
        if sweeps_rate && flags.rate.is_some() {
            return Err(Error::usage("--rate and --sweep rate=… both say which rate")
                .with_help("leave one of them out"));
        }
        let is_open = flags.rate.is_some()
            || sweeps_rate
            || matches!(search, Some(Search::Ramp(_) | Search::FindMax(_)));
        if flags.arrivals.is_some() && !is_open {
            return Err(Error::usage("--arrivals is for an open loop, in which queries are due at a rate")
                .with_help("add --rate"));
        }
        if !flags.fail_if.is_empty() && flags.baseline.is_none() {
            return Err(
                Error::usage("--fail-if compares with a run that was kept").with_help("add --baseline FILE")
            );
        }
        let single_run = [
            ("--save", flags.save.is_some()),
            ("--baseline", flags.baseline.is_some()),
            ("--explain", flags.explain),
            ("--per-connection", flags.per_connection),
        ];
        if let (Some(_), Some((flag, _))) = (&search, single_run.iter().find(|(_, given)| *given)) {
            return Err(
                Error::usage(format!("{flag} is for a single run")).with_help("leave one of them out")
            );
        }
        if !flags.args.is_empty() && flags.sql.is_none() {
            return Err(
                Error::usage("--arg is for a statement of --sql").with_help("leave it or the names out")
            );
        }
        let expects = flags.expect_rows.is_some() || flags.expect_value.is_some();
        if expects && flags.sql.is_none() {
            return Err(Error::usage("--expect-rows and --expect-value are for a statement of --sql")
                .with_help("use --verify for workloads"));
        }
        if flags.no_latency
            && (flags.save.is_some()
                || flags.baseline.is_some()
                || flags.explain
                || search.is_some()
                || is_open)
        {
            return Err(
                Error::usage("--no-latency takes no times, which are needed here").with_help("leave it out")
            );
        }
        let connections = flags.connections.unwrap_or(file.connections);
        // In an open loop a query that is due should find an idle connection before it queues behind another.
        let pipeline_depth = flags.pipeline_depth.unwrap_or(if is_open { 1 } else { file.pipeline_depth });
        self.fits_the_pool(connections)?;
        in_depth(pipeline_depth)?;
        let protocol = flags.protocol.unwrap_or(Protocol::Prepared);
        // Of queries that are answered together nobody can say which was slowest.
        let is_safe =
            protocol == Protocol::Prepared && !flags.explain && scripts.iter().all(Script::only_reads);
        let sync_every = sync_every(flags.sync_every, file.sync_every, is_safe, "[query]")?;
        if sync_every.get() > 1 && protocol != Protocol::Prepared {
            return Err(Error::usage(
                "--sync-every is for prepared statements; others end with a Sync of their own",
            )
            .with_help("leave it or --protocol out"));
        }
        if sync_every.get() > 1 && flags.explain {
            return Err(Error::usage(
                "--explain has to know which query is slowest, and those that share a Sync end together",
            )
            .with_help("leave --sync-every out"));
        }
        Ok(QuerySettings {
            scripts,
            base: self.base.clone(),
            table: self.table()?,
            limits,
            warm_up: flags.warm_up.unwrap_or_default(),
            connections,
            pipeline_depth,
            sync_every,
            protocol,
            seed: flags.seed.unwrap_or(file.seed),
            rate: flags.rate,
            arrivals: flags.arrivals.unwrap_or(Arrivals::Poisson),
            retries: flags.retries.unwrap_or(0),
            max_errors: flags.max_errors,
            verify: flags.verify,
            expect_rows: flags.expect_rows,
            expect_value: flags.expect_value.clone(),
            takes_times: !flags.no_latency,
            per_connection: flags.per_connection,
            explain: flags.explain,
            search,
            save: flags.save.clone(),
            baseline: flags.baseline.clone(),
            fail_if: flags.fail_if.clone(),
        })
    }

    /// The workloads that `flags` ask for.
    fn scripts(&self, flags: &cli::Query) -> Result<Vec<Script>> {
        let file = &self.file.query;
        if let Some(sql) = &flags.sql {
            let workload = Workload { sql: sql.clone(), args: flags.args.clone(), ..Workload::default() };
            return Ok(vec![Script::at("--sql", "--sql", &workload, &self.base)?]);
        }
        let default = [file.workload.clone()];
        let names = if flags.names.is_empty() { &default[..] } else { &flags.names };
        let mut scripts: Vec<Script> = Vec::new();
        for name in names {
            let Some(workload) = file.workloads.get(name) else {
                let known = || file.workloads.keys().map(String::as_str);
                let list = known().collect::<Vec<_>>().join(", ");
                let help = match file::nearest(name, known()) {
                    Some(near) => format!("did you mean `{near}`? There are: {list}"),
                    None => format!("there are: {list}; add [query.{name}] to config.toml for another"),
                };
                return Err(Error::usage(format!("there is no workload `{name}`")).with_help(help));
            };
            if scripts.iter().any(|script| script.name == *name) {
                return Err(Error::usage(format!("workload {name} is named twice"))
                    .with_help("give it a weight in config.toml to have it come more often"));
            }
            scripts.push(Script::new(name, workload, &self.base)?);
        }
        let weight: u64 = scripts.iter().map(|script| u64::from(script.weight)).sum();
        if weight > MOST_WEIGHT {
            return Err(Error::config(format!("the weights of the mix add up to {weight}"))
                .with_help(format!("give numbers that add up to {MOST_WEIGHT} at most")));
        }
        Ok(scripts)
    }

    fn axes(&self, axes: &[Axis]) -> Result<Vec<Axis>> {
        if axes.len() > 2 || (axes.len() == 2 && axes[0].setting == axes[1].setting) {
            return Err(Error::usage("--sweep maps one setting, or two different ones")
                .with_help("for example --sweep connections=1,2,4 pipeline-depth=1,8"));
        }
        for Axis { setting, values } in axes {
            for value in values {
                match setting {
                    Setting::Connections => self.fits_the_pool(*value)?,
                    Setting::PipelineDepth => in_depth(*value)?,
                    Setting::Rate if RATES.contains(&(*value as f64)) => {}
                    Setting::Rate => {
                        return Err(Error::usage(format!(
                            "--sweep rate={value} is more than can be asked for"
                        ))
                        .with_help("give rates from 1 to 100000000"));
                    }
                }
            }
        }
        Ok(axes.to_vec())
    }

    /// Every workload, or what is wrong with it, by name.
    pub fn workloads(&self) -> impl Iterator<Item = (&str, Result<Script>)> {
        self.file
            .query
            .workloads
            .iter()
            .map(|(name, workload)| (name.as_str(), Script::new(name, workload, &self.base)))
    }
}
