//! Faults while an import rebuilds the indexes that it has dropped: all rows are committed by then, and stay.

use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::Client;

use crate::endings::{Ending, workplace_on};
use crate::loads::{RECORDS, csv};
use crate::support;
use crate::support::TestDb;
use crate::support::load::{wait_for_no_session, wait_until};
use crate::support::own_server::OwnServer;
use crate::support::workplace::{ProgramOutput, Workplace};

/// A table and its indexes, of which the first is not built while somebody has the advisory lock.
const TABLE: &str = "DROP SCHEMA IF EXISTS postgres_etl CASCADE; DROP TABLE IF EXISTS t;
    CREATE TABLE t (id int, v text);
    CREATE OR REPLACE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN $1; END';
    CREATE INDEX slowly ON t (slow(id)); CREATE UNIQUE INDEX by_v ON t (v)";

const IMPORT: [&str; 10] =
    ["load", "data.csv", "-t", "t", "--import-id", "i", "--chunk-rows", "1000", "--defer-indexes", "always"];

const FORGET: [&str; 3] = ["imports", "--forget", "i"];

/// The backend that builds the first index.
const BUILDER: &str = "SELECT COALESCE(max(pid), 0) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event = 'advisory' AND query LIKE 'CREATE INDEX%'";

const INDEXES: &str = "SELECT pg_get_indexdef(indexrelid) || indisvalid FROM pg_index
    WHERE indrelid = 't'::regclass ORDER BY 1";

/// A program that rebuilds the indexes, until the lock is released that its first index needs.
struct Rebuilding {
    workplace: Workplace,
    child: Child,
    lock: Client,
    /// The backend.
    pid: i32,
}

impl Rebuilding {
    /// Begin an import into a new table of `database`, on whose sessions `settings` act, and wait until it rebuilds.
    async fn begin(database: &TestDb, settings: &str) -> Rebuilding {
        let workplace = Workplace::on(database).await.csv("data.csv", csv(0, RECORDS));
        workplace.execute(TABLE).await;
        Rebuilding::start(workplace, database, &IMPORT, settings).await
    }

    /// Start the program with `arguments`, and wait until it rebuilds.
    async fn start(
        workplace: Workplace,
        database: &TestDb,
        arguments: &[&str],
        settings: &str,
    ) -> Rebuilding {
        let lock = database.connect().await;
        lock.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
        let mut command = workplace.command(arguments);
        command.env("PGOPTIONS", settings);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let is_building = async || workplace.value::<i32>(BUILDER).await > 0;
        wait_until("that the index is built", is_building).await;
        let pid = workplace.value(BUILDER).await;
        Rebuilding { workplace, child, lock, pid }
    }

    /// Send it `signal`, and wait for its end.
    async fn signal(self, signal: Signal) -> (Workplace, ProgramOutput) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.wait().await
    }

    /// Wait for its end; only then could the index be built.
    async fn wait(self) -> (Workplace, ProgramOutput) {
        let ran = ProgramOutput::from_child(self.child);
        release(&self.lock).await;
        (self.workplace, ran)
    }
}

/// Release the lock that `client` holds, if the server has not ended its session.
async fn release(client: &Client) {
    let _ = client.batch_execute("SELECT pg_advisory_unlock_all()").await;
}

/// Check that all rows are in the table, and no index, and nobody else is there.
async fn check_without_indexes(workplace: &Workplace, when: &str) {
    wait_for_no_session(workplace.client()).await;
    let rows = "SELECT count(*), min(id), max(id) FROM t WHERE v = 'v' || id";
    assert_eq!(workplace.csv_of(rows).await, format!("{RECORDS},0,{}\n", RECORDS - 1), "{when}");
    assert_eq!(workplace.values::<String>(INDEXES).await, [""; 0], "{when}");
    let locks = "SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND pid <> pg_backend_pid()";
    assert_eq!(workplace.value::<i64>(locks).await, 0, "{when}");
}

/// Check that the next run rebuilds the indexes, and loads nothing.
async fn check_next_run(workplace: &Workplace, when: &str) {
    let ran = workplace.run(&IMPORT);
    assert_eq!(ran.status.code(), Some(0), "{when}: {ran:#?}");
    for says in ["loaded 0 rows into t", "indexes slowly, by_v: rebuilt after loading"] {
        assert!(ran.stdout.contains(says), "{when}: {says}: {ran:#?}");
    }
    check_complete(workplace, when).await;
}

/// Check that all rows are in the table once, and both indexes.
async fn check_complete(workplace: &Workplace, when: &str) {
    assert_eq!(workplace.count("t").await, i64::from(RECORDS), "{when}");
    let indexes = [
        "CREATE INDEX slowly ON public.t USING btree (slow(id))true",
        "CREATE UNIQUE INDEX by_v ON public.t USING btree (v)true",
    ];
    assert_eq!(workplace.values::<String>(INDEXES).await, indexes, "{when}");
}

/// Check that an import that ended as `ran` says what has happened, and with `says` why.
fn check_said(ran: &ProgramOutput, code: i32, says: &[&str], when: &str) {
    assert_eq!(ran.status.code(), Some(code), "{when}: {ran:#?}");
    let committed = "4 chunks of import i, with 4000 records, are committed and stay";
    let missing = "indexes of t are missing until the import is finished: slowly, by_v";
    for says in [says, &[committed, missing, "run the same command again"]].concat() {
        assert!(ran.stderr.contains(says), "{when}: {says}: {ran:#?}");
    }
}

#[tokio::test]
async fn a_time_out_while_an_import_rebuilds_its_indexes_leaves_that_to_the_next_run() {
    let database = support::database().await;
    let when = "statement_timeout";
    let (workplace, ran) = Rebuilding::begin(&database, "-c statement_timeout=1s").await.wait().await;
    check_said(&ran, 1, &["failed to rebuild the indexes of t", "57014", "all rows are loaded"], when);
    check_without_indexes(&workplace, when).await;
    check_next_run(&workplace, when).await;

    // The table is locked for its indexes, and somebody reads it.
    let when = "lock_timeout";
    let reader = database.connect().await;
    workplace.execute(TABLE).await;
    workplace
        .execute("CREATE OR REPLACE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1'")
        .await;
    // The chunks are loaded beside it.
    workplace.write("part.csv", csv(0, 1000) + "x,y\n");
    let part = [&IMPORT[..1], &["part.csv"], &IMPORT[2..]].concat();
    workplace.fail(&part, 1);
    reader.batch_execute("BEGIN; TABLE t").await.unwrap();
    let mut command = workplace.command(&IMPORT);
    command.env("PGOPTIONS", "-c lock_timeout=1s");
    let ran = ProgramOutput::from_command(command);
    check_said(&ran, 1, &["failed to rebuild the indexes of t", "55P03", "all rows are loaded"], when);
    reader.batch_execute("COMMIT").await.unwrap();
    check_without_indexes(&workplace, when).await;
    check_next_run(&workplace, when).await;
}

#[tokio::test]
async fn a_signal_while_an_import_rebuilds_its_indexes_leaves_that_to_the_next_run() {
    let database = support::database().await;
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let when = format!("{signal:?}");
        let (workplace, ran) = Rebuilding::begin(&database, "").await.signal(signal).await;
        check_said(&ran, code, &["error: interrupted"], &when);
        check_without_indexes(&workplace, &when).await;
        check_next_run(&workplace, &when).await;
    }
}

#[tokio::test]
async fn an_import_whose_server_ends_while_it_rebuilds_its_indexes_rebuilds_them_again() {
    let mut server = OwnServer::start();
    for ending in Ending::ALL {
        let when = format!("{ending:?}");
        drop(workplace_on(&server).await);
        let rebuilding = Rebuilding::begin(&server.database(), "").await;
        ending.happen(&mut server, &rebuilding.workplace, rebuilding.pid).await;
        release(&rebuilding.lock).await;
        let ran = ProgramOutput::from_child(rebuilding.child);
        assert_eq!(ran.status.code(), Some(0), "{when}: {ran:#?}");
        assert!(ran.stderr.contains("trying again"), "{when}: {ran:#?}");
        assert!(ran.stdout.contains("indexes slowly, by_v: rebuilt after loading"), "{when}: {ran:#?}");
        let workplace = workplace_on(&server).await;
        wait_for_no_session(workplace.client()).await;
        check_complete(&workplace, &when).await;
    }
}

#[tokio::test]
async fn an_import_that_cannot_be_forgotten_yet_still_has_its_indexes_to_rebuild() {
    let database = support::database().await;
    for (signal, code) in [(Some(Signal::INT), 130), (Some(Signal::TERM), 143), (None, 1)] {
        let when = format!("{signal:?}");
        let (workplace, _) = Rebuilding::begin(&database, "").await.signal(Signal::INT).await;
        wait_for_no_session(workplace.client()).await;
        let settings = if signal.is_some() { "" } else { "-c statement_timeout=1s" };
        let forgetting = Rebuilding::start(workplace, &database, &FORGET, settings).await;
        let (workplace, ran) = match signal {
            Some(signal) => forgetting.signal(signal).await,
            None => forgetting.wait().await,
        };
        assert_eq!(ran.status.code(), Some(code), "{when}: {ran:#?}");
        let says = if signal.is_some() { "error: interrupted" } else { "57014" };
        assert!(ran.stderr.contains(says), "{when}: {ran:#?}");
        assert!(ran.stderr.contains("import i was not forgotten"), "{when}: {ran:#?}");
        check_without_indexes(&workplace, &when).await;
        let listed = workplace.succeed(&["imports"]).stdout;
        assert!(listed.contains("  indexes slowly, by_v: to be rebuilt"), "{when}: {listed}");
        let forgotten = workplace.succeed(&FORGET).stdout;
        assert!(forgotten.contains("rebuilt its indexes: slowly, by_v"), "{when}: {forgotten}");
        check_complete(&workplace, &when).await;
    }
}
