//! PostgreSQL's own programs: psql and pgbench.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use postgres_etl::{Error, ErrorKind, Result};

use crate::cli::bench::contender::{
    ANSWERS, Contender, LoadJob, QueryFigures, QueryJob, QueryLoad, REBUILT, Terms, WAL_OR_TABLE, cores,
};
use crate::cli::bench::report::ContenderInfo;
use crate::cli::bench::server::{KEPT_ANSWERS, LOOP_ANSWERS};

/// Write the script `name` for a program to read.
fn script(scratch: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = scratch.join(name);
    fs::write(&path, text).map_err(|error| Error::io(ErrorKind::Output, "write", &path, error))?;
    Ok(path)
}

/// The contender `name`, which is missing unless `program` runs.
pub(super) fn info(name: &str, title: &str, program: &str, terms: Terms) -> ContenderInfo {
    let version = version_of(Command::new(program).arg("--version"));
    let missing = version.is_none().then(|| format!("{program} is not installed"));
    terms.peer(name, title, version, missing)
}

/// psql's `\copy`.
#[derive(Debug, Clone, Copy)]
pub(super) struct PsqlCopy;

impl Contender for PsqlCopy {
    fn info(&self) -> ContenderInfo {
        let terms = Terms {
            durability: WAL_OR_TABLE,
            ..Terms::load(
                "text COPY of the file as it is",
                "1 connection",
                "one for all, which empties the table first",
            )
        };
        info("psql-copy", r"psql \copy", "psql", terms)
    }

    fn load(&self, job: &LoadJob<'_>) -> Result<Option<Command>> {
        let LoadJob { url, table, file, scratch, .. } = job;
        // Truncating first, as `load` does, lets the server leave out WAL where wal_level is minimal.
        let file = file.display().to_string().replace('\'', "''");
        let text = format!("TRUNCATE {table};\n\\copy {table} from '{file}' csv header\n");
        let script = script(scratch, "copy.sql", &text)?;
        Ok(Some(psql_in_transaction(url, &script)))
    }
}

/// The server's part of mode copy, with a binary file that it reads without a client.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerCopy;

/// Fewer rows take less time than the start of psql, and than the rebuild of the key.
const FEWEST_ROWS_IN_SERVER: u64 = 100_000;

impl Contender for ServerCopy {
    fn info(&self) -> ContenderInfo {
        let terms = Terms {
            durability: WAL_OR_TABLE,
            indexes: REBUILT,
            ..Terms::load(
                "binary COPY of a file that the server reads by itself",
                "1 connection, which waits",
                "one for all, which empties the table first",
            )
        };
        ContenderInfo { is_limit: true, ..info("server-copy", "COPY in the server", "psql", terms) }
    }

    fn least_server_rows(&self) -> Option<u64> {
        Some(FEWEST_ROWS_IN_SERVER)
    }

    fn load(&self, job: &LoadJob<'_>) -> Result<Option<Command>> {
        let LoadJob { url, table, server_file, scratch, .. } = job;
        let Some(file) = server_file else { return Ok(None) };
        let file = file.display().to_string().replace('\'', "''");
        let text = format!(
            "TRUNCATE {table};\n\
             ALTER TABLE {table} DROP CONSTRAINT persons_pkey;\n\
             COPY {table} FROM '{file}' (FORMAT binary, FREEZE);\n\
             ALTER TABLE {table} ADD PRIMARY KEY (id);\n"
        );
        let script = script(scratch, "server-copy.sql", &text)?;
        Ok(Some(psql_in_transaction(url, &script)))
    }
}

/// The command that executes `script` by psql, in one transaction.
fn psql_in_transaction(url: &str, script: &Path) -> Command {
    let mut command = Command::new("psql");
    command.args(["-qX", url, "-v", "ON_ERROR_STOP=1", "-1", "-f"]).arg(script);
    command
}

/// pgbench, with `\startpipeline` around this number of statements, or without pipelines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pgbench {
    pub(super) pipeline: Option<usize>,
}

impl Contender for Pgbench {
    fn info(&self) -> ContenderInfo {
        let connections = "as many as the section says, or 1 to 8 for each core; a thread for each core";
        if self.pipeline.is_none() {
            let terms = Terms::query("prepared statements, one at a time", connections);
            return info("pgbench", "pgbench", "pgbench", terms);
        }
        let terms = Terms {
            transactions: "one per pipeline",
            ..Terms::query("prepared statements in pipelines with one Sync", connections)
        };
        info("pgbench-pipeline", "pgbench, pipelines", "pgbench", terms)
    }

    fn settings(&self) -> Vec<QueryLoad> {
        match self.pipeline {
            None => QueryLoad::settings([2, 4, 8, 16].map(|times| times * cores() / 2), 1),
            Some(depth) => QueryLoad::settings([cores(), 2 * cores()], depth),
        }
    }

    fn query(&self, job: &QueryJob<'_>) -> Result<Option<Command>> {
        let (connections, depth) = match (job.load, self.pipeline) {
            (QueryLoad::Shape { connections, depth: 1 }, None) => (connections, 1),
            (QueryLoad::Shape { connections, depth }, Some(_)) if depth > 1 => (connections, depth),
            (QueryLoad::Setting { connections, depth }, _) => (connections, depth),
            _ => return Ok(None),
        };
        let (low, high) = job.numbers;
        let one = format!("\\set x random({low}, {high})\n{};\n", job.sql.replace("$1", ":x"));
        let text = match depth {
            1 => one,
            many => format!("\\startpipeline\n{}\\endpipeline\n", one.repeat(many)),
        };
        let script = script(job.scratch, &format!("pgbench-{depth}.sql"), &text)?;
        let mut command = Command::new("pgbench");
        command.args(["-n", "-M", "prepared", "-c", &connections.to_string()]);
        command.args(["-j", &cores().min(connections).to_string(), "-T", &job.seconds.to_string()]);
        command.args(["--random-seed", &job.seed.to_string(), "-f"]).arg(script).arg(job.url);
        Ok(Some(command))
    }

    fn answers(&self, job: &QueryJob<'_>) -> Result<Option<Command>> {
        // Inside a pipeline it keeps no answers.
        let one = job.sql.replacen(" FROM ", " AS answer FROM ", 1).replace("$1", ":x");
        let text =
            format!("\\set x :x + 1\n{one} \\gset\nINSERT INTO {KEPT_ANSWERS} VALUES (:x, :answer);\n");
        let script = script(job.scratch, "answers.sql", &text)?;
        let mut command = Command::new("pgbench");
        command.args(["-n", "-M", "prepared", "-c", "1", "-t", &ANSWERS.to_string()]);
        command.args(["-D", &format!("x={}", job.numbers.0 - 1), "-f"]).arg(script).arg(job.url);
        Ok(Some(command))
    }

    fn answers_in_server(&self) -> bool {
        true
    }

    fn figures(&self, stdout: &str) -> Result<QueryFigures> {
        let queries = statements(stdout)
            .ok_or_else(|| Error::new(ErrorKind::Input, format!("pgbench printed no rate: {stdout}")))?;
        Ok(QueryFigures { queries, seconds: 1.0, latency_us: BTreeMap::new() })
    }
}

/// The statements per second, of which each transaction of a script has as many as the script's name says.
fn statements(stdout: &str) -> Option<f64> {
    let field = |name: &str| stdout.lines().find_map(|line| line.trim().strip_prefix(name));
    let script = field("transaction type: ")?;
    let depth: f64 = script.strip_suffix(".sql")?.rsplit_once('-')?.1.parse().ok()?;
    let transactions: f64 = field("tps = ")?.split_whitespace().next()?.parse().ok()?;
    Some(transactions * depth)
}

/// The command that executes `text`, in a script of this `name`, once on each of some connections. What else is to run
/// later has another name.
fn run_once(job: &QueryJob<'_>, name: &str, text: &str, connections: usize) -> Result<Command> {
    let script = script(job.scratch, name, text)?;
    let mut command = Command::new("pgbench");
    command.args(["-n", "-t", "1", "-c", &connections.to_string()]);
    command.args(["-j", &cores().min(connections).to_string(), "-f"]).arg(script).arg(job.url);
    Ok(command)
}

/// The statement in a loop inside the server: no client can be faster than that.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerLoop;

impl Contender for ServerLoop {
    fn info(&self) -> ContenderInfo {
        let terms = Terms {
            transactions: "one for the whole loop",
            ..Terms::query(
                "a loop in PL/pgSQL, without a client between two statements",
                "as many as the section says",
            )
        };
        ContenderInfo { is_limit: true, ..info("server-loop", "loop in the server", "pgbench", terms) }
    }

    fn query(&self, job: &QueryJob<'_>) -> Result<Option<Command>> {
        let QueryLoad::Shape { connections, depth: 1 } = job.load else { return Ok(None) };
        let (low, high) = job.numbers;
        // The number is drawn before the statement: inside it, random() would be evaluated for each row.
        let (selected, rest) = job.sql.split_once(" FROM ").unwrap_or((job.sql, ""));
        let text = format!(
            "DO $$ DECLARE x int; answer text; answered bigint := 0; end_at timestamptz := clock_timestamp() + '{} s';\n\
             BEGIN\n\
             WHILE clock_timestamp() < end_at LOOP\n\
             x := {low} + floor(random() * {});\n\
             {selected} INTO answer FROM {};\n\
             answered := answered + 1;\n\
             END LOOP;\n\
             INSERT INTO {LOOP_ANSWERS} VALUES (answered);\n\
             END $$;\n",
            job.seconds,
            high - low + 1,
            rest.replace("$1", "x"),
        );
        run_once(job, "loop.sql", &text, connections).map(Some)
    }

    fn answers(&self, job: &QueryJob<'_>) -> Result<Option<Command>> {
        let low = job.numbers.0;
        let (selected, rest) = job.sql.split_once(" FROM ").unwrap_or((job.sql, ""));
        let text = format!(
            "DO $$ DECLARE answer text;\n\
             BEGIN\n\
             FOR x IN {low} .. {} LOOP\n\
             {selected} INTO answer FROM {};\n\
             INSERT INTO {KEPT_ANSWERS} VALUES (x, answer);\n\
             END LOOP;\n\
             END $$;\n",
            low + ANSWERS - 1,
            rest.replace("$1", "x"),
        );
        run_once(job, "loop-answers.sql", &text, 1).map(Some)
    }

    fn answers_in_server(&self) -> bool {
        true
    }

    fn counts_in_server(&self) -> bool {
        true
    }
}

/// What `command` prints of its version; `None` if it does not run.
pub(super) fn version_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_of_the_answers_leaves_the_script_of_the_run_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let load = QueryLoad::Shape { connections: 1, depth: 1 };
        let job = QueryJob {
            url: "postgresql:///postgres",
            sql: "SELECT name FROM persons WHERE id = $1",
            numbers: (1, 1000),
            load,
            seconds: 1,
            seed: 1,
            scratch: scratch.path(),
        };
        let contenders: [&dyn Contender; 2] = [&Pgbench { pipeline: None }, &ServerLoop];
        for contender in contenders {
            let run = contender.query(&job).unwrap().unwrap();
            let script = |command: &Command| {
                let mut arguments = command.get_args().skip_while(|argument| *argument != "-f");
                std::fs::read_to_string(arguments.nth(1).unwrap()).unwrap()
            };
            let before = script(&run);
            let check = contender.answers(&job).unwrap().unwrap();
            assert_eq!(script(&run), before);
            assert_ne!(script(&check), before);
        }
    }
}
