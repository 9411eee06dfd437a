//! The server's side of a comparison: tables of the same definition, what is in them, and what was written.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{BufWriter, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bytes::Bytes;
use futures::{SinkExt as _, TryStreamExt as _};
use postgres_etl::postgres::{Database, ServerFacts};
use postgres_etl::{Error, ErrorKind, Result};

use crate::cli::bench::contender::{ANSWERS, QueryJob};
use crate::cli::bench::processes::parent;

/// The schema of all tables of a comparison; it is dropped at the end.
const SCHEMA: &str = "postgres_etl_bench";

/// The table that is loaded.
pub(super) const LOADED: &str = "postgres_etl_bench.persons";

/// The table that is queried.
pub(super) const QUERIED: &str = "postgres_etl_bench.asked";

/// The table in which loops in the server count their answers.
pub(super) const LOOP_ANSWERS: &str = "postgres_etl_bench.answered";

/// The table in which those contenders leave their answers that cannot print them: the number asked about, and the answer.
pub(super) const KEPT_ANSWERS: &str = "postgres_etl_bench.answers";

/// What marks the schema as ours to drop.
const COMMENT: &str = "made by postgres-etl bench, which drops it";

/// The server, over a connection that none of the contenders uses.
pub(super) struct BenchServer {
    client: deadpool_postgres::Object,
    /// The server as a URL, for the contenders.
    pub(super) url: String,
    /// Its first process; `None` on another machine.
    pub(super) postmaster: Option<i32>,
    facts: ServerFacts,
}

fn failed(doing: &str) -> impl Fn(tokio_postgres::Error) -> Error {
    move |error| {
        let message = match error.as_db_error() {
            Some(db) => db.message().to_owned(),
            None => error.to_string(),
        };
        Error::new(ErrorKind::Database, format!("failed to {doing}: {message}"))
    }
}

impl BenchServer {
    /// Connect. `url` is what the user named; a URL is made up for a server named otherwise.
    ///
    /// # Errors
    /// When there is no connection, or the server refuses.
    pub(super) async fn open(database: &Database, url: Option<String>) -> Result<BenchServer> {
        let client = database.connection().await?;
        let facts = database.server_facts(&client).await?;
        let url = url.unwrap_or_else(|| url_of(&facts));
        let pid = client
            .query_one("SELECT pg_catalog.pg_backend_pid()", &[])
            .await
            .map_err(failed("ask the server"))?;
        let is_local = facts.address.is_none_or(|address| address.is_loopback());
        let postmaster = parent(pid.get(0)).filter(|_| is_local);
        Ok(BenchServer { client, url, postmaster, facts })
    }

    /// Make the schema.
    ///
    /// # Errors
    /// When it exists and is not that of an earlier comparison, or cannot be made.
    pub(super) async fn make_schema(&self) -> Result<()> {
        let client = &self.client;
        let comment = "SELECT pg_catalog.obj_description(oid, 'pg_namespace') FROM pg_catalog.pg_namespace
                       WHERE nspname = $1";
        let found = client.query_opt(comment, &[&SCHEMA]).await.map_err(failed("look for the schema"))?;
        if found.is_some_and(|row| row.get::<_, Option<String>>(0).as_deref() != Some(COMMENT)) {
            return Err(Error::new(ErrorKind::Database, format!("the schema {SCHEMA} exists already"))
                .with_help("drop or rename it: the tables of a comparison are made in it"));
        }
        let make = format!(
            "SET client_min_messages = warning; DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA};
             COMMENT ON SCHEMA {SCHEMA} IS '{COMMENT}'; CREATE TABLE {LOOP_ANSWERS} (answered bigint);
             CREATE TABLE {KEPT_ANSWERS} (number int, answer text)"
        );
        client.batch_execute(&make).await.map_err(failed("make the schema of the comparison"))
    }

    /// Why a contender that needs this major version cannot take part; `None` if it can.
    pub(super) fn is_older_than(&self, major: u32) -> Option<String> {
        let version = &self.facts.version;
        let digits =
            version.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok());
        let is_older = digits.is_some_and(|found: u32| found < major);
        is_older.then(|| format!("it needs PostgreSQL {major}, and the server is {version}"))
    }

    /// Drop everything that was made.
    pub(super) async fn close(&self) -> Result<()> {
        let dropped = self.client.batch_execute(&format!("DROP SCHEMA {SCHEMA} CASCADE")).await;
        dropped.map_err(failed("drop the schema of the comparison"))
    }

    /// Its version and settings, by name.
    pub(super) fn settings(&self) -> BTreeMap<String, String> {
        let facts = &self.facts;
        let settings = [
            ("server_version", &facts.version),
            ("fsync", &facts.fsync),
            ("synchronous_commit", &facts.synchronous_commit),
            ("full_page_writes", &facts.full_page_writes),
            ("wal_level", &facts.wal_level),
            ("shared_buffers", &facts.shared_buffers),
            ("max_wal_size", &facts.max_wal_size),
        ];
        settings.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect()
    }

    /// Make the table `name` anew, and write out what others have left to be written.
    pub(super) async fn fresh_table(&self, name: &str) -> Result<()> {
        let make = format!(
            "DROP TABLE IF EXISTS {name}; CREATE TABLE {name} (id integer PRIMARY KEY, name text, age smallint,
             ismarried boolean, city text, state text, country text)"
        );
        self.client.batch_execute(&make).await.map_err(failed("make the table of the comparison"))?;
        self.checkpoint().await
    }

    /// End the sessions that still use the tables: that of a contender that was killed goes on until it has something to send,
    /// and keeps its locks.
    pub(super) async fn end_sessions(&self) -> Result<()> {
        let end = format!(
            "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
             WHERE backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()
               AND datname = pg_catalog.current_database()
               AND pid IN (SELECT pid FROM pg_catalog.pg_locks WHERE relation IN (
                   SELECT oid FROM pg_catalog.pg_class
                   WHERE relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = '{SCHEMA}')))"
        );
        self.client.batch_execute(&end).await.map_err(failed("end the sessions of a contender"))
    }

    /// A CHECKPOINT, if the role may make one.
    pub(super) async fn checkpoint(&self) -> Result<()> {
        match self.client.batch_execute("CHECKPOINT").await {
            Err(error) if error.code().is_none_or(|code| code.code() != "42501") => {
                Err(failed("make a checkpoint")(error))
            }
            _ => Ok(()),
        }
    }

    /// Fill the table `name` by the server's own COPY of the file.
    pub(super) async fn copy(&self, name: &str, file: &Path) -> Result<()> {
        let copy = format!("COPY {name} FROM STDIN (FORMAT csv, HEADER)");
        let unreadable = |error| Error::io(ErrorKind::Input, "read", file, error);
        let mut text = File::open(file).map_err(unreadable)?;
        let sink = self.client.copy_in::<_, Bytes>(&copy).await.map_err(failed("copy the file"))?;
        let mut sink = std::pin::pin!(sink);
        // A message may have a gigabyte at most.
        let mut block = vec![0; 256 * 1024];
        loop {
            let read = text.read(&mut block).map_err(unreadable)?;
            if read == 0 {
                break;
            }
            sink.send(Bytes::copy_from_slice(&block[..read])).await.map_err(failed("copy the file"))?;
        }
        sink.finish().await.map_err(failed("copy the file"))?;
        let rest = format!("VACUUM ANALYZE {name}");
        self.client.batch_execute(&rest).await.map_err(failed("analyze the table"))
    }

    /// Write the table `name` to `file`, in the format of a binary COPY.
    pub(super) async fn export(&self, name: &str, file: &Path) -> Result<()> {
        let unwritable = |error| Error::io(ErrorKind::Output, "write", file, error);
        let created = File::create(file).map_err(unwritable)?;
        // The server has a user of its own, and the umask may keep that out.
        created.set_permissions(Permissions::from_mode(0o644)).map_err(unwritable)?;
        let mut binary = BufWriter::new(created);
        let copy = format!("COPY {name} TO STDOUT (FORMAT binary)");
        let rows = self.client.copy_out(&copy).await.map_err(failed("export the table"))?;
        let mut rows = std::pin::pin!(rows);
        while let Some(block) = rows.try_next().await.map_err(failed("export the table"))? {
            binary.write_all(&block).map_err(unwritable)?;
        }
        binary.flush().map_err(unwritable)
    }

    /// Why the server cannot read `file`, an [export](BenchServer::export) of a table like `name`, by itself; `None` if it
    /// can.
    pub(super) async fn cannot_read(&self, name: &str, file: &Path) -> Option<String> {
        let file = file.display().to_string().replace('\'', "''");
        let read = format!("BEGIN; TRUNCATE {name}; COPY {name} FROM '{file}' (FORMAT binary); ROLLBACK");
        let refused = self.client.batch_execute(&read).await.map_err(failed("read the file")).err()?;
        self.client.batch_execute("ROLLBACK").await.ok();
        Some(format!("the server {refused}"))
    }

    /// What is in the table `name`, and what makes it durable and unique: equal for equal rows in any order.
    pub(super) async fn digest(&self, name: &str) -> Result<String> {
        let digest = format!(
            "SELECT pg_catalog.concat(count(*), ' rows, ', sum(pg_catalog.hashtextextended(t::text, 0)),
                 (SELECT CASE relpersistence WHEN 'p' THEN ', logged' ELSE ', unlogged' END
                  FROM pg_catalog.pg_class WHERE oid = '{name}'::regclass),
                 (SELECT pg_catalog.concat(', ', count(*), ' valid index')
                  FROM pg_catalog.pg_index WHERE indrelid = '{name}'::regclass AND indisvalid)) FROM {name} t"
        );
        Ok(self.client.query_one(&digest, &[]).await.map_err(failed("compare the tables"))?.get(0))
    }

    /// The server's own answers to the first questions of `job`, one a line.
    pub(super) async fn answers(&self, job: &QueryJob<'_>) -> Result<String> {
        let low = job.numbers.0;
        let statement = self.client.prepare(&job.sql.replace("$1", "$1::text::int")).await;
        let statement = statement.map_err(failed("prepare the statement"))?;
        let mut answers = String::new();
        for number in low..low + ANSWERS {
            let rows = self.client.query_raw(&statement, [number.to_string()]).await;
            let rows: Vec<_> = rows.map_err(failed("ask"))?.try_collect().await.map_err(failed("ask"))?;
            let text = rows.first().map(|row| match row.try_get::<_, String>(0) {
                Ok(name) => name,
                Err(_) => row.get::<_, i64>(0).to_string(),
            });
            answers += &text.unwrap_or_default();
            answers.push('\n');
        }
        Ok(answers)
    }

    /// The answers left in the server since this was called last, one a line, in the order of the numbers.
    pub(super) async fn kept_answers(&self) -> Result<String> {
        let taken = format!(
            "WITH taken AS (DELETE FROM {KEPT_ANSWERS} RETURNING *)
             SELECT coalesce(string_agg(answer, E'\n' ORDER BY number), '') FROM taken"
        );
        Ok(self.client.query_one(&taken, &[]).await.map_err(failed("read the answers"))?.get(0))
    }

    /// The position in the write-ahead log, in bytes.
    pub(super) async fn wal_position(&self) -> Result<u64> {
        let position = "SELECT (pg_catalog.pg_current_wal_insert_lsn() - '0/0')::text";
        let row =
            self.client.query_one(position, &[]).await.map_err(failed("read the position of the WAL"))?;
        Ok(row.get::<_, String>(0).parse().unwrap_or_default())
    }

    /// How many answers the loops in the server have had since this was called last.
    pub(super) async fn loop_answers(&self) -> Result<f64> {
        let taken = format!(
            "WITH taken AS (DELETE FROM {LOOP_ANSWERS} RETURNING answered)
                             SELECT coalesce(sum(answered), 0)::float8 FROM taken"
        );
        let row =
            self.client.query_one(&taken, &[]).await.map_err(failed("count the answers of the server"))?;
        Ok(row.get(0))
    }
}

/// A URL for a server that was not named by one.
fn url_of(facts: &ServerFacts) -> String {
    let encode = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let (user, database, port) = (encode(&facts.role), encode(&facts.database), facts.port);
    match facts.address {
        // Not every library reads a URL with a user and no host.
        None => format!("postgresql:///{database}?host={}&port={port}&user={user}", encode(&facts.host)),
        Some(address) => format!("postgresql://{user}@{address}:{port}/{database}"),
    }
}
