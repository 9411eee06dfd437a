//! `load --import-id --defer-indexes always`: the indexes are dropped when the import begins, and rebuilt when it is finished,
//! by whichever run or process does so.

use rustix::process::{Pid, Signal, kill_process};

use super::imports::at_commit;
use super::indexes::indexes;
use crate::support::load::{wait_for_no_session, wait_until};
use crate::support::proxy::{Fate, Plan, Proxy, is_query};
use crate::support::workplace::{ProgramOutput, Workplace};
use crate::support::{self, TestDb};

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE INDEX by_v ON t (v)";

/// What the import dropped.
const NAMES: [&str; 2] = ["t_pkey", "by_v"];

/// The load, without its files.
const IMPORT: [&str; 9] =
    ["load", "-t", "t", "--import-id", "i", "--chunk-rows", "2", "--defer-indexes", "always"];

/// Four records, which make two chunks.
const CSV: &str = "id,v\n1,a\n2,b\n3,c\n4,d\n";

/// As [`CSV`], with a key twice.
const WITH_DUPLICATE: &str = "id,v\n1,a\n2,b\n3,c\n1,d\n";

/// The import of data.csv.
fn import<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    [&IMPORT[..], &["data.csv"], flags].concat()
}

/// The number of indexes that `t` has.
async fn index_count(workplace: &Workplace) -> i64 {
    workplace.value("SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass").await
}

/// The end of the import: the first statement that rebuilds an index.
fn at_rebuild(fate: Fate) -> Plan {
    Plan { trigger: |message| is_query(message, "CREATE UNIQUE INDEX"), ..at_commit(0, fate) }
}

/// A workplace behind a proxy that carries out `plan`, with [`TABLE`] and [`CSV`].
async fn behind(plan: Plan) -> (TestDb, Proxy, Workplace) {
    let database = support::database().await;
    database.connect().await.batch_execute(TABLE).await.unwrap();
    let proxy = Proxy::start(&database, plan);
    let workplace = proxy.workplace(&database).await.csv("data.csv", CSV);
    (database, proxy, workplace)
}

#[tokio::test]
async fn an_import_drops_its_indexes_at_its_beginning_and_rebuilds_them_at_its_end() {
    let workplace = Workplace::with_sql(
        "CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 2 * $1';
         CREATE TABLE t (id int PRIMARY KEY, v text UNIQUE DEFERRABLE);
         CREATE INDEX doubled ON t (twice(id)); COMMENT ON INDEX doubled IS 'it''s \\n one'",
    )
    .await
    .csv("data.csv", "id,v\n1,a\n2,b\nx,c\n");
    let before = indexes(&workplace).await.0;
    let load = |table| ["load", "data.csv", "-t", table, "--import-id", "i", "--chunk-rows", "2"];
    let error = workplace.fail(&[&load("t")[..], &["--defer-indexes", "always"]].concat(), 1);
    let missing = "indexes of t are missing until the import is finished: t_pkey, t_v_key, doubled";
    assert!(error.contains(missing), "{error}");
    assert_eq!(index_count(&workplace).await, 0);
    let listed = workplace.succeed(&["imports", "--json"]).json();
    assert_eq!(listed["imports"][0]["indexes_to_rebuild"][2], "doubled", "{listed:#}");
    let listed = workplace.succeed(&["imports"]).stdout;
    assert!(listed.contains("  indexes t_pkey, t_v_key, doubled: to be rebuilt"), "{listed}");

    // The next run finds other tables and functions by a name alone, and does not need to be told.
    workplace.write("data.csv", "id,v\n1,a\n2,b\n3,c\n");
    let mut command = workplace.command(&[&load("public.t")[..], &["--json"]].concat());
    command.env("PGOPTIONS", "-c search_path=elsewhere");
    let ran = ProgramOutput::from_command(command);
    assert!(ran.status.success(), "{ran:#?}");
    assert!(ran.stderr.contains("import i began with --defer-indexes always"), "{ran:#?}");
    let report = ran.json();
    assert_eq!(report["indexes_deferred"].as_array().unwrap().len(), 3, "{report:#}");
    assert!(report["phases"]["finish_seconds"].as_f64() > Some(0.0), "{report:#}");
    assert_eq!(indexes(&workplace).await.0, before);
    let listed = workplace.succeed(&["imports", "--json"]).json();
    assert_eq!(listed["imports"][0]["state"], "finished", "{listed:#}");
    assert_eq!(listed["imports"][0]["indexes_to_rebuild"].as_array().unwrap().len(), 0, "{listed:#}");
    let again = workplace.succeed(&[&load("t")[..], &["--defer-indexes", "always"]].concat());
    assert!(!again.stdout.contains("  indexes"), "{again:#?}");
}

/// After the import has begun, between two chunks, before the first index, and before the last COMMIT.
#[tokio::test]
async fn an_import_that_was_killed_rebuilds_its_indexes_in_the_next_run() {
    let plans = [
        at_commit(0, Fate::Hold),
        at_commit(1, Fate::Hold),
        at_rebuild(Fate::Hold),
        at_commit(3, Fate::Hold),
    ];
    for (number, plan) in plans.into_iter().enumerate() {
        let (database, proxy, workplace) = behind(plan).await;
        let before = indexes(&workplace).await.0;
        let mut load = workplace.start(&import(&[]));
        proxy.wait_for_strike();
        load.kill().unwrap();
        load.wait().unwrap();
        let workplace = workplace.at(database.url());
        let report = workplace.succeed(&import(&["--json"])).json();
        let was_committed = number == 3;
        let rebuilt = report["indexes_deferred"].as_array().unwrap().len();
        assert_eq!(rebuilt, if was_committed { 0 } else { NAMES.len() }, "plan {number}: {report:#}");
        assert_eq!(indexes(&workplace).await.0, before, "plan {number}");
        assert_eq!(workplace.count("t").await, 4, "plan {number}");
    }
}

#[tokio::test]
async fn an_import_that_loses_its_connection_while_it_rebuilds_its_indexes_completes_itself() {
    for plan in [at_rebuild(Fate::Cut), at_commit(3, Fate::CutBefore), at_commit(3, Fate::Cut)] {
        let (_database, _proxy, workplace) = behind(plan.clone()).await;
        let before = indexes(&workplace).await.0;
        let ran = workplace.succeed(&import(&["--json"]));
        assert!(ran.stderr.contains("trying again"), "{plan:?}: {ran:#?}");
        assert_eq!(ran.json()["indexes_deferred"], serde_json::json!(NAMES), "{plan:?}");
        assert_eq!(indexes(&workplace).await.0, before, "{plan:?}");
        assert_eq!(workplace.count("t").await, 4, "{plan:?}");
    }
}

#[tokio::test]
async fn of_the_processes_that_share_an_import_one_rebuilds_its_indexes() {
    let workplace = Workplace::with_sql(TABLE).await;
    let before = indexes(&workplace).await.0;
    let rows: Vec<String> = (0..1000).map(|id| format!("{id},v{id}\n")).collect();
    workplace.write("data.csv", format!("id,v\n{}", rows.concat()));
    let flags = import(&["--share", "--json", "--chunk-rows", "20"]);
    let flags: Vec<&str> = [&flags[..5], &flags[7..]].concat();
    let processes = [workplace.start(&flags), workplace.start(&flags), workplace.start(&flags)];
    let rebuilt = processes.map(|process| {
        let ran = ProgramOutput::from_child(process);
        assert!(ran.status.success(), "{ran:#?}");
        ran.json()["indexes_deferred"].as_array().unwrap().len()
    });
    assert_eq!(rebuilt.iter().sum::<usize>(), NAMES.len(), "{rebuilt:?}");
    assert_eq!(indexes(&workplace).await.0, before);
    assert_eq!(workplace.count("t").await, 1000);
}

#[tokio::test]
async fn a_process_that_dies_while_it_rebuilds_indexes_is_replaced_by_one_that_waits() {
    let (database, proxy, workplace) = behind(at_rebuild(Fate::Hold)).await;
    let before = indexes(&workplace).await.0;
    let mut dead = workplace.start(&import(&["--share"]));
    proxy.wait_for_strike();
    let workplace = workplace.at(database.url());
    let other = workplace.start(&import(&["--share", "--json"]));
    // Between two looks at what the first one has locked.
    let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity
                 WHERE datname = current_database() AND state = 'idle' AND query = 'ROLLBACK')";
    wait_until("that the other process waits", async || workplace.value::<bool>(waits).await).await;
    dead.kill().unwrap();
    dead.wait().unwrap();
    let ran = ProgramOutput::from_child(other);
    assert!(ran.status.success(), "{ran:#?}");
    assert!(ran.stderr.contains("another process is finishing import i: waiting for it"), "{ran:#?}");
    assert_eq!(ran.json()["indexes_deferred"], serde_json::json!(NAMES));
    assert_eq!(indexes(&workplace).await.0, before);
    assert_eq!(workplace.count("t").await, 4);
}

/// All rows are committed by then, and the server rebuilds the indexes; only the program does not learn of it.
#[tokio::test]
async fn a_signal_while_the_answer_to_the_last_commit_is_outstanding_says_what_is_not_known() {
    for (is_forgotten, passing, unknown, next) in [
        (
            false,
            3,
            "all rows are committed, and whether their indexes are rebuilt is not known here",
            "run the same command again: the ledger knows",
        ),
        (
            true,
            2,
            "whether the import is forgotten is not known",
            "postgres-etl imports lists it if it is not",
        ),
    ] {
        let (database, proxy, workplace) = behind(at_commit(passing, Fate::Hold)).await;
        let before = indexes(&workplace).await.0;
        if is_forgotten {
            workplace.write("data.csv", "id,v\n1,a\n2,b\nx,c\n");
            workplace.fail(&import(&[]), 1);
        }
        let whole = import(&["--receipt", "receipt.json"]);
        let run = workplace.start(if is_forgotten { &["imports", "--forget", "i"] } else { &whole[..] });
        proxy.wait_for_strike();
        kill_process(Pid::from_child(&run), Signal::INT).unwrap();
        let ran = ProgramOutput::from_child(run);
        assert_eq!(ran.status.code(), Some(6), "{ran:#?}");
        assert!(ran.stderr.contains(unknown) && ran.stderr.contains(next), "{ran:#?}");
        let workplace = workplace.at(database.url());
        wait_for_no_session(workplace.client()).await;
        assert_eq!(indexes(&workplace).await.0, before);
        if is_forgotten {
            assert_eq!(workplace.succeed(&["imports"]).stdout, "no imports\n");
        } else {
            let receipt = workplace.read_json("receipt.json");
            assert_eq!((&receipt["outcome"], &receipt["rows_loaded"]), (&"unknown".into(), &4.into()));
            let ran = workplace.succeed(&import(&[]));
            assert!(ran.stderr.contains("import i was finished at"), "{ran:#?}");
        }
    }
}

#[tokio::test]
async fn a_duplicate_key_is_named_at_the_end_of_an_import_and_the_next_run_rebuilds_the_indexes() {
    let workplace = Workplace::with_sql(TABLE).await.csv("data.csv", WITH_DUPLICATE);
    let before = indexes(&workplace).await.0;
    for _ in 0..2 {
        let error = workplace.fail(&import(&[]), 1);
        for says in [
            "t_pkey",
            "Key (id)=(1) is duplicated",
            "all rows are loaded",
            "2 chunks of import i, with 4 records, are committed and stay",
            "indexes of t are missing until the import is finished: t_pkey, by_v",
            "help: remove the duplicates from t, then run the same command again",
            "imports --forget i",
        ] {
            assert!(error.contains(says), "{says}: {error}");
        }
        assert_eq!((workplace.count("t").await, index_count(&workplace).await), (4, 0));
    }
    workplace.execute("DELETE FROM t WHERE v = 'd'").await;
    let ran = workplace.succeed(&import(&[]));
    assert!(ran.stdout.contains("loaded 0 rows into t"), "{ran:#?}");
    assert!(ran.stdout.contains("  indexes t_pkey, by_v: rebuilt after loading"), "{ran:#?}");
    assert_eq!(indexes(&workplace).await.0, before);
    assert_eq!(workplace.csv_of("SELECT * FROM t ORDER BY id").await, "1,a\n2,b\n3,c\n");
}

#[tokio::test]
async fn an_import_is_forgotten_together_with_its_indexes_only_if_the_table_is_dropped() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text, day date);
         CREATE INDEX recent ON t (v) WHERE day > DATE '2026-02-01'",
    )
    .await
    .csv("data.csv", "id,v\n1,a\n2,b\nx,c\n");
    let before = indexes(&workplace).await.0;
    let forget = ["imports", "--forget", "i"];
    // The dates of definitions are in the order of the session.
    let begin = || {
        let mut command = workplace.command(&import(&[]));
        command.env("PGDATESTYLE", "SQL, DMY");
        let ran = ProgramOutput::from_command(command);
        assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    };
    begin();
    assert_eq!(index_count(&workplace).await, 0);
    let forgotten = workplace.succeed(&forget).stdout;
    assert_eq!(
        forgotten,
        "forgot import i; the rows that it loaded stay; rebuilt its indexes: t_pkey, recent\n"
    );
    assert_eq!(indexes(&workplace).await.0, before);
    workplace.execute("TRUNCATE t").await;
    begin();
    let document = workplace.succeed(&[&forget[..], &["--json"]].concat()).json();
    assert_eq!(document["indexes_rebuilt"][1], "recent", "{document:#}");

    workplace.execute("TRUNCATE t").await;
    begin();
    workplace.execute("DROP TABLE t").await;
    assert_eq!(workplace.succeed(&forget).stdout, "forgot import i; the rows that it loaded stay\n");
    assert_eq!(workplace.succeed(&["imports"]).stdout, "no imports\n");
}

/// The statements that rebuild them have the old name, under which there may be another table.
#[tokio::test]
async fn a_table_that_was_renamed_keeps_an_import_from_rebuilding_its_indexes() {
    let workplace = Workplace::with_sql(TABLE).await.csv("data.csv", "id,v\n1,a\n2,b\nx,c\n");
    let before = indexes(&workplace).await.0;
    workplace.fail(&import(&[]), 1);
    workplace.write("data.csv", "id,v\n1,a\n2,b\n3,c\n");
    workplace.execute("ALTER TABLE t RENAME TO u; CREATE TABLE t (id int, v text)").await;
    let into_u = ["load", "data.csv", "-t", "u", "--import-id", "i"];
    for run in [&["imports", "--forget", "i"][..], &into_u] {
        let error = workplace.fail(run, 2);
        assert!(
            error.contains("the import dropped indexes of \"public\".\"t\", which is called u now"),
            "{error}"
        );
        assert!(error.contains("rename it back, and try again"), "{error}");
    }
    workplace.execute("DROP TABLE t; ALTER TABLE u RENAME TO t").await;
    workplace.succeed(&import(&[]));
    assert_eq!(indexes(&workplace).await.0, before);
}

#[tokio::test]
async fn the_indexes_of_a_partitioned_table_stay_during_an_import() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY HASH (id);
         CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    )
    .await
    .csv("data.csv", CSV);
    let error = workplace.fail(&import(&[]), 2);
    assert!(error.contains("t is partitioned, and the indexes of its partitions have to stay"), "{error}");
    assert_eq!(workplace.succeed(&["imports"]).stdout, "no imports\n");
}

/// A server that is at work does not read, and so does not notice by itself that its client is gone.
#[tokio::test]
async fn a_server_notices_that_an_import_was_killed_while_it_builds_an_index() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int, v text);
         CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
             'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN $1; END';
         CREATE INDEX slowly ON t (slow(id))",
    )
    .await
    .csv("data.csv", CSV);
    let other = workplace.client();
    other.execute("SELECT pg_advisory_lock(1)", &[]).await.unwrap();
    let builder = "SELECT COALESCE(max(pid), 0) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event = 'advisory' AND query LIKE 'CREATE INDEX%'";
    let mut killed = workplace.start(&import(&[]));
    wait_until("that the index is built", async || workplace.value::<i32>(builder).await > 0).await;
    let pid: i32 = workplace.value(builder).await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    let next = workplace.start(&import(&["--json"]));
    let session = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}");
    wait_until("that the server ends the session", async || workplace.value::<i64>(&session).await == 0)
        .await;
    other.execute("SELECT pg_advisory_unlock(1)", &[]).await.unwrap();
    let ran = ProgramOutput::from_child(next);
    assert!(ran.status.success(), "{ran:#?}");
    assert_eq!(ran.json()["indexes_deferred"], serde_json::json!(["slowly"]), "{ran:#?}");
}

#[tokio::test]
async fn indexes_that_cannot_be_rebuilt_keep_an_import_from_being_forgotten_and_their_statements_are_printed()
{
    let workplace = Workplace::with_sql(TABLE).await.csv("data.csv", WITH_DUPLICATE);
    let before = indexes(&workplace).await.0;
    workplace.fail(&import(&[]), 1);
    let error = workplace.fail(&["imports", "--forget", "i"], 1);
    assert!(error.contains("Key (id)=(1) is duplicated"), "{error}");
    assert!(error.contains("import i was not forgotten"), "{error}");
    let listed = workplace.succeed(&["imports", "--json"]).json();
    assert_eq!(listed["imports"][0]["indexes_to_rebuild"], serde_json::json!(NAMES), "{listed:#}");
    let script = &error[error.find("BEGIN;").unwrap()..];
    workplace.execute("DELETE FROM t WHERE v = 'd'").await;
    workplace.execute(script).await;
    assert_eq!(indexes(&workplace).await.0, before);
    let forgotten = workplace.succeed(&["imports", "--forget", "i"]).stdout;
    assert_eq!(forgotten, "forgot import i; the rows that it loaded stay\n");
}

#[tokio::test]
async fn what_the_first_run_did_with_the_indexes_counts_for_the_others() {
    let workplace = Workplace::with_sql(TABLE).await.csv("data.csv", "id,v\n1,a\n2,b\nx,c\n");
    let kept = |when: &str, id: &str| {
        let load = ["load", "data.csv", "-t", "t", "--import-id", id, "--truncate"];
        let report = workplace.succeed(&[&load[..], &["--json", "--defer-indexes", when]].concat()).json();
        assert_eq!(report["indexes_deferred"].as_array().unwrap().len(), 0, "{report:#}");
        report["indexes_kept_because"].as_str().map(str::to_owned)
    };
    let in_place = ["load", "data.csv", "-t", "t", "--import-id", "in place", "--truncate"];
    workplace.fail(&[&in_place[..], &["--chunk-rows", "2"]].concat(), 1);
    assert_eq!(index_count(&workplace).await, 2);
    workplace.fail(&import(&[]), 1);
    let error = workplace.fail(&[&import(&[])[..7], &["data.csv", "--max-rejects", "1"]].concat(), 2);
    assert!(error.contains("--max-rejects needs the indexes for every row"), "{error}");
    workplace.execute("TRUNCATE t").await;
    workplace.succeed(&["imports", "--forget", "i"]);

    workplace.write("data.csv", "id,v\n1,a\n2,b\n3,c\n");
    workplace.execute("INSERT INTO t VALUES (1, 'a'), (2, 'b')").await;
    assert_eq!(kept("always", "in place").as_deref(), Some("the import began with them in place"));
    assert_eq!(workplace.count("t").await, 3);
    let others = "others use them during an import, unless it begins with --defer-indexes always";
    assert_eq!(kept("auto", "by default").as_deref(), Some(others));
    assert_eq!(kept("never", "never"), None);
    assert_eq!(kept("always", "never"), None, "it is finished");
}

#[tokio::test]
async fn a_ledger_of_an_earlier_version_keeps_indexes_too() {
    let workplace = Workplace::with_sql(TABLE).await.csv("data.csv", CSV);
    let before = indexes(&workplace).await.0;
    workplace.succeed(&["load", "data.csv", "-t", "t", "--import-id", "earlier"]);
    workplace.execute("ALTER TABLE postgres_etl.ledger_imports DROP COLUMN indexes; TRUNCATE t").await;
    let listed = workplace.succeed(&["imports", "--json"]).json();
    assert_eq!(listed["imports"][0]["indexes_to_rebuild"].as_array().unwrap().len(), 0, "{listed:#}");
    workplace.succeed(&["load", "data.csv", "-t", "t", "--import-id", "earlier"]);
    workplace.succeed(&["imports", "--forget", "earlier"]);
    let report = workplace.succeed(&import(&["--json"])).json();
    assert_eq!(report["indexes_deferred"], serde_json::json!(NAMES), "{report:#}");
    assert_eq!(indexes(&workplace).await.0, before);
}
