//! `bench`: the whole comparison, of this program's ways and of peers, interleaved and in random order.
//!
//! `plan` says what is compared, `contender` who takes part (`ours`, `postgres_tools`, and `programs`, which `peers` installs),
//! `measured` runs one command, `server` keeps the tables, and `report` is the document.

mod contender;
mod machine;
mod measured;
mod ours;
mod peers;
mod plan;
mod postgres_tools;
mod processes;
mod programs;
pub(crate) mod report;
mod server;
mod tally;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postgres_etl::postgres::Database;
use postgres_etl::{Error, ErrorKind, Progress, Result, blocking, dataset};
use rand::seq::SliceRandom as _;
use rand::{SeedableRng as _, rngs::StdRng};

use crate::cli::bench::contender::{Contender, LoadJob, QueryFigures, QueryJob, QueryLoad};
use crate::cli::bench::measured::{Measured, measure};
use crate::cli::bench::ours::{OurQuery, Ours};
use crate::cli::bench::peers::PeerDirectory;
pub(crate) use crate::cli::bench::plan::BenchOptions;
use crate::cli::bench::plan::{QUERIED_ROWS, QUERY_SECONDS, Question, Work};
use crate::cli::bench::postgres_tools::{Pgbench, PsqlCopy, ServerCopy, ServerLoop};
use crate::cli::bench::programs::{MODULE, PYTHON, ParallelCopy, PgLoader, PythonScript, RUST, RustProgram};
use crate::cli::bench::report::{BenchReport, ContenderInfo, ContendersReport, Machine, Run};
use crate::cli::bench::server::{BenchServer, LOADED, QUERIED};
use crate::cli::bench::tally::Tally;
use crate::cli::render::units::counted;

/// What ended a comparison that Ctrl-C ended.
pub(crate) const INTERRUPTED: &str = "interrupted";

/// Everyone who can take part, the missing ones too.
fn all_contenders(peers: &PeerDirectory) -> Vec<Box<dyn Contender + Send + Sync>> {
    let mut all: Vec<Box<dyn Contender + Send + Sync>> = Vec::new();
    all.extend(Ours::all().map(|ours| Box::new(ours) as _));
    all.push(Box::new(OurQuery));
    all.push(Box::new(PsqlCopy));
    all.extend(PYTHON.iter().map(|script| Box::new(PythonScript::new(script, peers)) as _));
    all.extend(RUST.iter().map(|program| Box::new(RustProgram::new(program, peers)) as _));
    all.push(Box::new(PgLoader));
    all.push(Box::new(ParallelCopy));
    all.push(Box::new(Pgbench { pipeline: None }));
    all.push(Box::new(Pgbench { pipeline: Some(256) }));
    all.extend([Box::new(ServerCopy) as _, Box::new(ServerLoop) as _]);
    all
}

/// Install the peers into their private directory.
///
/// # Errors
/// When the directory cannot be written.
pub(crate) async fn install_peers(note: impl Fn(&str) + Send + Sync + 'static) -> Result<()> {
    let peers = PeerDirectory::locate()?;
    let scripts = PYTHON.iter().map(|peer| (peer.script, peer.source)).chain([("people.py", MODULE)]);
    let scripts: Vec<_> = scripts.collect();
    blocking(move || peers.install(&scripts, &note)).await
}

/// Everyone who can take part, with their terms, and why some do not.
///
/// # Errors
/// When there is no directory for the peers.
pub(crate) async fn list() -> Result<ContendersReport> {
    let peers = PeerDirectory::locate()?;
    let infos =
        blocking(move || Ok(all_contenders(&peers).iter().map(|contender| contender.info()).collect()));
    Ok(ContendersReport { command: "bench", contenders: infos.await? })
}

/// A comparison that is ready to begin.
pub(crate) struct Bench<'a> {
    options: &'a BenchOptions,
    server: BenchServer,
    contenders: Vec<Arc<dyn Contender + Send + Sync>>,
    infos: Vec<ContenderInfo>,
    files: Files,
    progress: &'a Arc<Progress>,
    tally: Tally,
}

/// The files to load, and what tables are to hold afterwards.
struct Files {
    directory: tempfile::TempDir,
    /// The directory of the files that the server reads, as another user; `None` until one is needed.
    server_directory: Option<tempfile::TempDir>,
    /// Rows, path, bytes, and the digest of the table that the server's own COPY fills.
    sizes: Vec<(u64, PathBuf, u64, String)>,
}

impl Files {
    /// The file of `rows` rows that the server reads by itself, where it is or is to be.
    fn for_server(&self, rows: u64) -> Option<PathBuf> {
        Some(self.server_directory.as_ref()?.path().join(format!("{rows}.bin")))
    }
}

/// Why no contender can load a file of `least_rows` rows or more that the `server` reads; `None` if one may.
fn cannot_have_file(options: &BenchOptions, server: &BenchServer, least_rows: u64) -> Option<String> {
    if server.postmaster.is_none() {
        return Some("it needs a server on this machine".to_owned());
    }
    let is_small = options.rows.iter().all(|rows| *rows < least_rows);
    is_small.then(|| format!("it needs --rows {least_rows} or more"))
}

/// A new directory, which everybody may read if it is `public`.
fn new_directory(public: bool) -> Result<tempfile::TempDir> {
    let failed = |error| Error::new(ErrorKind::Output, format!("failed to create a directory: {error}"));
    let directory = tempfile::tempdir().map_err(failed)?;
    if public {
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).map_err(failed)?;
    }
    Ok(directory)
}

impl<'a> Bench<'a> {
    /// Find the contenders, generate the files, and make the tables; `show` is told what is done.
    ///
    /// # Errors
    /// When a name in `options` is unknown, or the server refuses to make a table.
    pub(crate) async fn prepare(
        options: &'a BenchOptions,
        database: &Database,
        url: Option<String>,
        progress: &'a Arc<Progress>,
        show: impl Fn(&str),
    ) -> Result<Bench<'a>> {
        options.check()?;
        let peers = PeerDirectory::locate()?;
        let all = all_contenders(&peers);
        let (contenders, mut infos) = blocking(move || {
            let infos: Vec<ContenderInfo> = all.iter().map(|contender| contender.info()).collect();
            Ok((all.into_iter().map(Arc::from).collect::<Vec<Arc<dyn Contender + Send + Sync>>>(), infos))
        })
        .await?;
        check_names(options, &infos)?;
        let server = BenchServer::open(database, url).await?;
        for (contender, info) in contenders.iter().zip(&mut infos) {
            let too_old = contender.least_server().and_then(|major| server.is_older_than(major));
            let least_rows = contender.least_server_rows();
            let no_file = least_rows.and_then(|least| cannot_have_file(options, &server, least));
            info.missing = too_old.or(no_file).or(info.missing.take());
        }
        check_baseline(options, &infos)?;
        server.make_schema().await?;
        let mut bench = Bench {
            options,
            server,
            contenders,
            infos,
            files: Files { directory: new_directory(false)?, server_directory: None, sizes: Vec::new() },
            progress,
            tally: Tally::new(options),
        };
        let ready = bench.fill(show).await.and_then(|()| check_baseline(options, &bench.infos));
        if let Err(error) = ready {
            bench.server.close().await.ok();
            return Err(error);
        }
        Ok(bench)
    }

    /// Generate the files, load each with the server's own COPY, and fill the table that is queried.
    async fn fill(&mut self, show: impl Fn(&str)) -> Result<()> {
        let title = |rows: u64| counted(rows, "row");
        for &rows in &self.options.rows {
            show(&format!("preparing · generating {}", title(rows)));
            let (path, bytes) = self.generate(rows).await?;
            show(&format!("preparing · copying {}, to compare tables with", title(rows)));
            self.server.fresh_table(LOADED).await?;
            self.server.copy(LOADED, &path).await?;
            let digest = self.server.digest(LOADED).await?;
            self.files.sizes.push((rows, path, bytes, digest));
            self.export(rows).await?;
        }
        show(&format!("preparing · generating and copying {}, to be queried", title(QUERIED_ROWS)));
        let (path, _) = self.generate(QUERIED_ROWS).await?;
        self.server.fresh_table(QUERIED).await?;
        self.server.copy(QUERIED, &path).await
    }

    /// Write the `rows` rows of the table to a file that the server can read, if a contender needs one.
    async fn export(&mut self, rows: u64) -> Result<()> {
        let takes_part = |info: &ContenderInfo| info.missing.is_none() && self.options.wants(&info.name);
        let contenders = self.contenders.iter().zip(&self.infos);
        let needs =
            |contender: &dyn Contender| contender.least_server_rows().is_some_and(|least| rows >= least);
        let Some(reader) =
            contenders.clone().position(|(contender, info)| takes_part(info) && needs(&**contender))
        else {
            return Ok(());
        };
        if self.files.server_directory.is_none() {
            self.files.server_directory = Some(new_directory(true)?);
        }
        let Some(file) = self.files.for_server(rows) else { return Ok(()) };
        let exported = self.server.export(LOADED, &file).await;
        self.infos[reader].missing = match exported {
            Ok(()) => self.server.cannot_read(LOADED, &file).await,
            // The others can go on without the file.
            Err(error) if error.kind() == ErrorKind::Output => Some(error.to_string()),
            Err(error) => return Err(error),
        };
        Ok(())
    }

    /// The file of `rows` people.
    async fn generate(&self, rows: u64) -> Result<(PathBuf, u64)> {
        let path = self.files.directory.path().join(format!("{rows}.csv"));
        let plan = dataset::DatasetOptions { rows, seed: 1, unicode: false, threads: None };
        let (progress, file) = (Arc::clone(self.progress), path.clone());
        let size = blocking(move || dataset::write_csv(&plan, &file, &progress)).await?;
        Ok((path, size.bytes))
    }

    /// Run everything, a round at a time, in random order within each section; `show` is told what runs.
    ///
    /// # Errors
    /// When the server is lost. A contender that fails is reported, and so is an interruption or the end of the time.
    pub(crate) async fn run(mut self, show: impl Fn(&str)) -> Result<BenchReport> {
        let (started, started_at) = (Instant::now(), tally::now());
        let machine = Machine::this();
        let mut random = StdRng::seed_from_u64(self.options.seed);
        let mut taking_part = Vec::new();
        for (section, work) in self.tally.works().iter().enumerate() {
            taking_part.push(self.taking_part(work)?);
            self.tally.expect(section, &taking_part[section], self.too_slow(work));
        }
        let round = |_| {
            let mut round: Vec<(usize, usize)> = Vec::new();
            for (section, order) in taking_part.iter_mut().enumerate() {
                order.shuffle(&mut random);
                round.extend(order.iter().map(|contender| (section, *contender)));
            }
            round
        };
        let rounds: Vec<Vec<(usize, usize)>> = (0..=self.options.runs).map(round).collect();
        let all: usize = rounds.iter().map(Vec::len).sum();
        let (mut done, mut ended_by, mut lost_server) = (0, None, false);
        'rounds: for (number, round) in rounds.iter().enumerate() {
            for &(section, contender) in round {
                if let Some(why) = self.stop(started) {
                    ended_by = Some(why);
                    break 'rounds;
                }
                let work = self.tally.works()[section];
                let what = format!("{} · {}", work.title(), self.infos[contender].title);
                show(&tally::position(done, all, (started.elapsed(), self.options.time_limit), &what));
                if !self.tally.has_failed(section, contender) {
                    let outcome = self.one(section, contender, number == 0).await;
                    if let Err(error) = &outcome
                        && matches!(error.kind(), ErrorKind::Database | ErrorKind::Connect)
                    {
                        // The contenders' own failures are of another kind.
                        (ended_by, lost_server) = (Some(error.to_string()), true);
                        break 'rounds;
                    }
                    self.tally.add(section, contender, outcome, number == 0, self.progress.is_cancelled());
                }
                done += 1;
            }
        }
        let report = self.tally.report(&self.infos, self.server.settings(), machine, started_at);
        let seconds = started.elapsed().as_secs_f64();
        if let (Err(error), false) = (self.server.close().await, lost_server) {
            return Err(error);
        }
        Ok(BenchReport { seconds, ended_by, lost_server, ..report })
    }

    /// Why no further run begins; `None` to go on.
    fn stop(&self, started: Instant) -> Option<String> {
        if self.progress.is_cancelled() {
            return Some(INTERRUPTED.to_owned());
        }
        let is_over = self.options.time_limit.is_some_and(|limit| started.elapsed() >= limit);
        is_over.then(|| "the time limit was reached".to_owned())
    }

    /// The contenders that do `work`.
    fn taking_part(&self, work: &Work) -> Result<Vec<usize>> {
        let mut taking_part = Vec::new();
        for (index, (contender, info)) in self.contenders.iter().zip(&self.infos).enumerate() {
            if info.missing.is_some() || !self.options.wants(&info.name) {
                continue;
            }
            let does = match work {
                Work::Query(_, QueryLoad::Fastest) => !contender.settings().is_empty(),
                _ => self.command(&**contender, work)?.is_some(),
            };
            taking_part.extend(does.then_some(index));
        }
        Ok(taking_part)
    }

    /// The contenders that could do `work`, but for which it is too much.
    fn too_slow(&self, work: &Work) -> Vec<usize> {
        let Work::Load(rows) = *work else { return Vec::new() };
        let is_too_slow = |index: &usize| {
            let info = &self.infos[*index];
            let takes_part = info.missing.is_none() && self.options.wants(&info.name);
            takes_part && self.contenders[*index].is_too_slow_for(rows)
        };
        (0..self.contenders.len()).filter(is_too_slow).collect()
    }

    /// The setting with which `contender` is fastest at `question`, found by a run of each of its settings.
    async fn fastest(
        &self,
        contender: &dyn Contender,
        question: &'static Question,
        limit: Duration,
    ) -> Result<QueryLoad> {
        let mut fastest = (QueryLoad::Fastest, f64::NEG_INFINITY);
        for setting in contender.settings() {
            let command = self.command(contender, &Work::Query(question, setting))?;
            let command = command.expect("every contender queries with its own settings");
            let run = self.one_query(contender, command, limit).await?;
            if run.rate > fastest.1 {
                fastest = (setting, run.rate);
            }
        }
        Ok(fastest.0)
    }

    /// The command with which `contender` does `work`.
    fn command(&self, contender: &dyn Contender, work: &Work) -> Result<Option<std::process::Command>> {
        match work {
            Work::Load(rows) => {
                let Some((_, file, ..)) = self.files.sizes.iter().find(|(size, ..)| size == rows) else {
                    return Ok(None);
                };
                let (url, scratch) = (self.server.url.as_str(), self.files.directory.path());
                let least = contender.least_server_rows();
                let server_file =
                    self.files.for_server(*rows).filter(|_| least.is_some_and(|least| *rows >= least));
                let server_file = server_file.as_deref();
                contender.load(&LoadJob { url, table: LOADED, file, server_file, rows: *rows, scratch })
            }
            Work::Query(question, load) => contender.query(&self.question(question, &question.sql(), *load)),
        }
    }

    fn question<'b>(&'b self, question: &Question, sql: &'b str, load: QueryLoad) -> QueryJob<'b> {
        QueryJob {
            url: &self.server.url,
            sql,
            numbers: question.numbers,
            load,
            seconds: QUERY_SECONDS,
            seed: self.options.seed,
            scratch: self.files.directory.path(),
        }
    }

    /// Let a contender do the work of `section` once, and check what it did; its answers only in the first round.
    async fn one(&mut self, section: usize, index: usize, is_first: bool) -> Result<Run> {
        let contender = Arc::clone(&self.contenders[index]);
        let limit = self.tally.run_limit(section, index);
        let work = match self.tally.works()[section] {
            Work::Query(question, QueryLoad::Fastest) => {
                if is_first {
                    let fastest = self.fastest(&*contender, question, limit).await?;
                    self.tally.choose(index, fastest);
                }
                Work::Query(question, self.tally.chosen(index))
            }
            work => work,
        };
        let command = self.command(&*contender, &work)?.expect("only those take part that have one");
        match work {
            Work::Load(rows) => self.one_load(&*contender, command, rows, limit).await,
            Work::Query(question, load) => {
                if is_first {
                    self.check_answers(&*contender, question, load, limit).await?;
                }
                self.one_query(&*contender, command, limit).await
            }
        }
    }

    async fn one_load(
        &self,
        contender: &dyn Contender,
        command: std::process::Command,
        rows: u64,
        limit: Duration,
    ) -> Result<Run> {
        self.server.fresh_table(LOADED).await?;
        let before = self.server.wal_position().await?;
        let measured = self.measure(command, limit).await?;
        let wal_bytes = self.server.wal_position().await?.saturating_sub(before);
        let (.., bytes, expected) =
            self.files.sizes.iter().find(|(size, ..)| *size == rows).expect("the file was generated");
        let found = self.server.digest(LOADED).await?;
        if found != *expected {
            let message = format!("WRONG TABLE: it holds {found}, where COPY stores {expected}");
            return Err(Error::new(ErrorKind::Input, message));
        }
        let rate = rows as f64 / measured.seconds;
        let bytes_per_second = Some(*bytes as f64 / measured.seconds);
        let run = Run { phases: contender.phases(&measured.stdout), ..run(&measured, rate, wal_bytes) };
        Ok(Run { bytes_per_second, ..run })
    }

    async fn one_query(
        &self,
        contender: &dyn Contender,
        command: std::process::Command,
        limit: Duration,
    ) -> Result<Run> {
        let before = self.server.wal_position().await?;
        let measured = self.measure(command, limit).await?;
        let wal_bytes = self.server.wal_position().await?.saturating_sub(before);
        let figures = if contender.counts_in_server() {
            let queries = self.server.loop_answers().await?;
            QueryFigures {
                queries,
                seconds: QUERY_SECONDS as f64,
                latency_us: std::collections::BTreeMap::new(),
            }
        } else {
            contender.figures(&measured.stdout)?
        };
        let rate = figures.queries / figures.seconds;
        Ok(Run { latency_us: figures.known_latency_us(), ..run(&measured, rate, wal_bytes) })
    }

    /// Check that the answers of `contender` are the server's own, as far as it can print them or check them itself.
    async fn check_answers(
        &self,
        contender: &dyn Contender,
        question: &Question,
        load: QueryLoad,
        limit: Duration,
    ) -> Result<()> {
        let sql = question.sql();
        let job = self.question(question, &sql, load);
        if let Some(command) = contender.check(&job)? {
            self.measure(command, limit).await?;
        }
        let Some(command) = contender.answers(&job)? else { return Ok(()) };
        let printed = self.measure(command, limit).await?.stdout;
        let found = if contender.answers_in_server() { self.server.kept_answers().await? } else { printed };
        let expected = self.server.answers(&job).await?;
        if found.trim_end() == expected.trim_end() {
            return Ok(());
        }
        let differs = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
        let (found, expected) = differs.unwrap_or(("too few answers", "more"));
        let message = format!("WRONG ANSWERS: {found}, where the server answers {expected}");
        Err(Error::new(ErrorKind::Input, message))
    }

    async fn measure(&self, command: std::process::Command, limit: Duration) -> Result<Measured> {
        let (postmaster, progress) = (self.server.postmaster, Arc::clone(self.progress));
        let measured = blocking(move || measure(command, postmaster, &progress, limit)).await;
        if measured.is_err() {
            self.server.end_sessions().await?;
        }
        measured
    }
}

/// A run with the figures that every contender has.
fn run(measured: &Measured, rate: f64, wal_bytes: u64) -> Run {
    Run {
        seconds: measured.seconds,
        rate,
        bytes_per_second: None,
        client_cpu_seconds: measured.cpu_seconds,
        server_cpu_seconds: measured.server_cpu_seconds,
        client_peak_bytes: measured.peak_bytes,
        server_peak_bytes: measured.server_peak_bytes,
        wal_bytes: Some(wal_bytes),
        phases: std::collections::BTreeMap::new(),
        latency_us: std::collections::BTreeMap::new(),
    }
}

/// Check that `options` name contenders that there are.
fn check_names(options: &BenchOptions, infos: &[ContenderInfo]) -> Result<()> {
    let names: Vec<&str> = infos.iter().map(|info| info.name.as_str()).collect();
    for (flag, name) in options
        .only
        .iter()
        .map(|name| ("--only", name))
        .chain(options.baseline.iter().map(|name| ("--baseline", name)))
    {
        if !names.contains(&name.as_str()) {
            return Err(Error::usage(format!("{flag}: there is no contender {name}"))
                .with_help(format!("the contenders are {}", names.join(", "))));
        }
    }
    Ok(())
}

/// Check that the baseline that `options` name can take part.
fn check_baseline(options: &BenchOptions, infos: &[ContenderInfo]) -> Result<()> {
    let Some(baseline) = &options.baseline else { return Ok(()) };
    if !options.wants(baseline) {
        return Err(Error::usage(format!("--baseline: --only leaves {baseline} out"))
            .with_help(format!("add {baseline} to --only, or name a contender there as the baseline")));
    }
    let missing = infos.iter().find(|info| info.name == *baseline).and_then(|info| info.missing.as_ref());
    match missing {
        Some(why) => Err(Error::usage(format!("--baseline: {baseline} cannot take part: {why}")).with_help(
            "provide what this baseline needs, or name another; `bench --list` shows which contenders are installed",
        )),
        None => Ok(()),
    }
}
