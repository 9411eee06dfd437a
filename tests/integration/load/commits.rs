//! What a load reports when the answer to COMMIT is lost: what the server did, and never a guess.

use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::load::{MODES, counts, signal_until_it_ends, wait_for_no_session, wait_until};
use crate::support::pgbouncer::{self, PgBouncer, PoolMode};
use crate::support::proxy::{Fate, Plan, Proxy, is_query};
use crate::support::workplace::{ProgramOutput, Workplace};
use crate::support::{self, TestDb};

/// The exit code of a load whose outcome could not be found out.
const UNKNOWN: i32 = 6;

/// The exit code of a load after whose commit something failed.
const LOADED_BUT: i32 = 5;

/// A proxy that does `fate` to the connection of the first COMMIT.
fn losing(fate: Fate) -> Plan {
    Plan { trigger: |message| is_query(message, "COMMIT"), passing: 0, fate, then_closes: false }
}

/// A workplace behind a proxy that carries out `plan`, with the table `t` and a file of 1,000 rows for it.
async fn behind(plan: Plan) -> (TestDb, Proxy, Workplace) {
    let database = support::database().await;
    database.connect().await.batch_execute("CREATE TABLE t (id int)").await.unwrap();
    let proxy = Proxy::start(&database, plan);
    let rows = (0..1000).map(|id| id.to_string()).collect::<Vec<_>>().join("\n");
    let workplace = proxy.workplace(&database).await.csv("data.csv", format!("id\n{rows}\n"));
    workplace.write("receipt.json", r#"{"of": "an earlier load"}"#);
    (database, proxy, workplace)
}

const LOAD: [&str; 7] = ["load", "data.csv", "-t", "t", "--append", "--receipt", "receipt.json"];

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found_out_to_have_happened() {
    for (fate, mode) in [(Fate::Cut, MODES[0]), (Fate::Reset, MODES[1]), (Fate::Cut, MODES[2])] {
        let (_database, _proxy, workplace) = behind(losing(fate)).await;
        let ran = workplace.succeed(&[&LOAD[..], &["--mode", mode]].concat());
        assert_eq!(workplace.count("t").await, 1000);
        assert!(ran.stdout.starts_with("loaded 1,000 rows into t"), "{ran:#?}");
        assert!(ran.stderr.contains("the answer to COMMIT was lost"), "{ran:#?}");
        let receipt = workplace.read_json("receipt.json");
        assert_eq!(receipt["rows_loaded"], 1000);
        assert_eq!(receipt["transactions"][0]["confirmed_by"], "pg_xact_status", "{receipt:#}");
        let id = receipt["transactions"][0]["id"].as_str().unwrap();
        let status: String = workplace.value(&format!("SELECT pg_xact_status('{id}')")).await;
        assert_eq!(status, "committed");
    }
}

#[tokio::test]
async fn a_commit_that_the_server_did_not_receive_is_found_out_not_to_have_happened() {
    let (_database, _proxy, workplace) = behind(losing(Fate::CutBefore)).await;
    let error = workplace.fail(&LOAD, 4);
    assert!(error.contains("the server rolled back transaction"), "{error}");
    assert!(error.contains("nothing was loaded"), "{error}");
    assert_eq!(workplace.count("t").await, 0);
    let receipt = workplace.read_json("receipt.json");
    assert_eq!(counts(&receipt, ["rows_loaded", "rows_loaded_at_most"]), [0, 0], "{receipt:#}");
    assert_eq!(receipt["outcome"], "rolled back");
}

#[tokio::test]
async fn a_commit_whose_server_is_gone_has_an_unknown_outcome() {
    let (_database, proxy, workplace) = behind(Plan { then_closes: true, ..losing(Fate::Cut) }).await;
    // A second signal ends the search for the outcome.
    let load = workplace.start(&LOAD);
    proxy.wait_for_strike();
    signal_until_it_ends(&load, Signal::INT);
    let ran = ProgramOutput::from_child(load);
    assert_eq!(ran.status.code(), Some(UNKNOWN), "{ran:#?}");
    check_unknown(&workplace, &ran.stderr).await;
}

#[tokio::test]
async fn a_signal_while_the_answer_is_outstanding_does_not_claim_that_nothing_was_committed() {
    let (_database, proxy, workplace) = behind(losing(Fate::Hold)).await;
    let load = workplace.start(&LOAD);
    proxy.wait_for_strike();
    interrupt(&load);
    let ran = ProgramOutput::from_child(load);
    // The commit was found out to have happened; only the ANALYZE was left out.
    assert_eq!(ran.status.code(), Some(LOADED_BUT), "{ran:#?}");
    assert!(ran.stderr.contains("interrupted: the table was not analyzed"), "{ran:#?}");
    assert_eq!(workplace.count("t").await, 1000);
    assert_eq!(workplace.read_json("receipt.json")["rows_loaded"], 1000);
}

#[tokio::test]
async fn a_second_signal_while_the_answer_is_outstanding_says_that_the_outcome_is_unknown() {
    let (_database, proxy, workplace) = behind(losing(Fate::Hold)).await;
    let load = workplace.start(&LOAD);
    proxy.wait_for_strike();
    signal_until_it_ends(&load, Signal::INT);
    let ran = ProgramOutput::from_child(load);
    assert_eq!(ran.status.code(), Some(UNKNOWN), "{ran:#?}");
    assert!(ran.stderr.contains("the connections were dropped at the second signal"), "{ran:#?}");
    check_unknown(&workplace, &ran.stderr).await;
}

#[tokio::test]
async fn rows_committed_one_by_one_are_counted_exactly_or_as_a_range() {
    for fate in [Fate::Cut, Fate::CutBefore, Fate::Hold] {
        let plan = Plan { trigger: |message| message[0] == b'E', passing: 300, fate, then_closes: false };
        let (_database, proxy, workplace) = behind(plan).await;
        let autocommit = [&LOAD[..], &["--mode", "rows", "--autocommit"]].concat();
        let load = workplace.start(&autocommit);
        proxy.wait_for_strike();
        if fate == Fate::Hold {
            signal_until_it_ends(&load, Signal::INT);
        }
        let ran = ProgramOutput::from_child(load);
        assert_eq!(ran.status.code(), Some(UNKNOWN), "{fate:?}: {ran:#?}");
        let receipt = workplace.read_json("receipt.json");
        let [least, most] = counts(&receipt, ["rows_loaded", "rows_loaded_at_most"]);
        assert!(ran.stderr.contains(&format!("between {least} and {most} rows were committed")), "{ran:#?}");
        let there = workplace.count("t").await as u64;
        assert!((least..=most).contains(&there), "{fate:?}: {there} rows are not {least} to {most}");
        // As many as are in flight on a connection.
        assert!(most - least <= 256, "{least} to {most}");
        assert_eq!(receipt["outcome"], "unknown");
    }
}

/// As Pgpool-II does in clustering mode `raw`: every row would be reported as loaded, and none would be.
#[tokio::test]
async fn a_transaction_that_another_program_began_is_noticed_before_the_first_row() {
    let is_insert =
        |message: &[u8]| message[0] == b'P' && message.windows(11).any(|part| part == b"INSERT INTO");
    let plan = Plan { trigger: is_insert, passing: 0, fate: Fate::Begin, then_closes: false };
    let (_database, proxy, workplace) = behind(plan).await;
    let error = workplace.fail(&[&LOAD[..], &["--mode", "rows", "--autocommit"]].concat(), 1);
    assert!(proxy.seen() > 0 && error.contains("has begun a transaction of its own"), "{error}");
    assert!(error.contains("backend_clustering_mode"), "{error}");
    assert_eq!(workplace.count("t").await, 0);
}

/// The flags that load over two connections.
const TWO: [&str; 4] = ["--mode", "copy", "--connections", "2"];

async fn left_prepared(workplace: &Workplace) -> Vec<String> {
    workplace.values("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()").await
}

#[tokio::test]
async fn two_transactions_are_committed_as_one_whatever_answer_is_lost() {
    for (statement, passing, is_loaded) in [
        (is_prepare as fn(&[u8]) -> bool, 0, false),
        (is_prepare, 1, false),
        (is_commit_prepared, 0, true),
        (is_commit_prepared, 1, true),
    ] {
        for fate in [Fate::Cut, Fate::CutBefore] {
            let plan = Plan { trigger: statement, passing, fate, then_closes: false };
            let (_database, _proxy, workplace) = behind(plan).await;
            let ran = workplace.run(&[&LOAD[..], &TWO].concat());
            assert_eq!(
                ran.status.code(),
                Some(if is_loaded { 0 } else { 4 }),
                "{fate:?} {passing}: {ran:#?}"
            );
            assert_eq!(workplace.count("t").await, if is_loaded { 1000 } else { 0 });
            assert_eq!(left_prepared(&workplace).await, [""; 0]);
        }
    }
}

fn is_prepare(message: &[u8]) -> bool {
    is_query(message, "PREPARE TRANSACTION")
}

fn is_commit_prepared(message: &[u8]) -> bool {
    is_query(message, "COMMIT PREPARED")
}

#[tokio::test]
async fn prepared_transactions_of_a_lost_server_are_named() {
    let plan = Plan { trigger: is_commit_prepared, passing: 0, fate: Fate::CutBefore, then_closes: true };
    let (_database, proxy, workplace) = behind(plan).await;
    let load = workplace.start(&[&LOAD[..], &TWO].concat());
    proxy.wait_for_strike();
    signal_until_it_ends(&load, Signal::INT);
    let ran = ProgramOutput::from_child(load);
    assert_eq!(ran.status.code(), Some(UNKNOWN), "{ran:#?}");
    let question = ran.stderr.split_once("ask the server: ").unwrap().1.split_once(" (and run").unwrap().0;
    // The other transaction may have been committed before the server was lost, and its session may still be at it.
    wait_for_no_session(workplace.client()).await;
    let left: Vec<String> = workplace.values(question).await;
    assert!(!left.is_empty() && left == left_prepared(&workplace).await, "{left:?}");
    for name in left {
        workplace.execute(&format!("COMMIT PREPARED '{name}'")).await;
    }
    assert_eq!(workplace.count("t").await, 1000);
}

/// One signal is enough, and leaves no transaction prepared: neither before the load is decided nor afterwards.
#[tokio::test]
async fn a_signal_during_a_two_phase_commit_ends_it() {
    for (trigger, code, rows, outcome) in
        [(is_prepare as fn(&[u8]) -> bool, 130, 0, "rolled back"), (is_commit_prepared, 0, 1000, "committed")]
    {
        let plan = Plan { trigger, passing: 0, fate: Fate::Hold, then_closes: false };
        let (_database, proxy, workplace) = behind(plan).await;
        let load = workplace.start(&[&LOAD[..], &TWO, &["--no-analyze"]].concat());
        proxy.wait_for_strike();
        interrupt(&load);
        let ran = ProgramOutput::from_child(load);
        assert_eq!(ran.status.code(), Some(code), "{ran:#?}");
        assert_eq!(workplace.count("t").await, rows);
        assert_eq!(left_prepared(&workplace).await, [""; 0]);
        let receipt = workplace.read_json("receipt.json");
        assert_eq!((&receipt["outcome"], &receipt["rows_loaded"]), (&outcome.into(), &rows.into()));
        assert_eq!(
            receipt["transactions"].as_array().unwrap().len(),
            if rows > 0 { 2 } else { 0 },
            "{receipt:#}"
        );
        assert_eq!(receipt["server"]["host"], "127.0.0.1", "{receipt:#}");
    }
}

/// Before all transactions are prepared nothing is decided, and the remedy must not commit a part of the load.
#[tokio::test]
async fn transactions_that_an_impatient_user_leaves_prepared_are_to_be_rolled_back() {
    let plan = Plan { trigger: is_prepare, passing: 0, fate: Fate::Hold, then_closes: true };
    let (_database, proxy, workplace) = behind(plan).await;
    let load = workplace.start(&[&LOAD[..], &TWO].concat());
    proxy.wait_for_strike();
    signal_until_it_ends(&load, Signal::INT);
    let ran = ProgramOutput::from_child(load);
    assert_eq!(ran.status.code(), Some(130), "{ran:#?}");
    assert!(ran.stderr.contains("ROLLBACK PREPARED") && !ran.stderr.contains("COMMIT PREPARED"), "{ran:#?}");
    let receipt = workplace.read_json("receipt.json");
    assert_eq!(receipt["outcome"], "rolled back", "{receipt:#}");
    assert_eq!(counts(&receipt, ["rows_loaded", "rows_loaded_at_most"]), [0, 0], "{receipt:#}");
    // Its sessions may still be preparing them.
    wait_for_no_session(workplace.client()).await;
    for name in left_prepared(&workplace).await {
        workplace.execute(&format!("ROLLBACK PREPARED '{name}'")).await;
    }
}

/// What follows a commit can be interrupted, and cannot hang: neither changes what the report says of the rows.
#[tokio::test]
async fn an_interruption_after_the_commit_is_not_one_of_the_load() {
    let is_analyze: fn(&[u8]) -> bool = |message| is_query(message, "ANALYZE");
    let asks_time: fn(&[u8]) -> bool =
        |message| message[0] == b'P' && message.windows(15).any(|part| part == b"clock_timestamp");
    for (trigger, signals, code) in
        [(is_analyze, 1, 5), (is_analyze, 2, 5), (asks_time, 0, 0), (asks_time, 2, 5)]
    {
        let plan = Plan { trigger, passing: 0, fate: Fate::Hold, then_closes: false };
        let (_database, proxy, workplace) = behind(plan).await;
        let load = workplace.start(&LOAD);
        proxy.wait_for_strike();
        match signals {
            0 => {}
            1 => interrupt(&load),
            _ => signal_until_it_ends(&load, Signal::INT),
        }
        let ran = ProgramOutput::from_child(load);
        assert_eq!(ran.status.code(), Some(code), "{signals} signals: {ran:#?}");
        let receipt = workplace.read_json("receipt.json");
        assert_eq!((&receipt["outcome"], &receipt["rows_loaded"]), (&"committed".into(), &1000.into()));
        assert!(receipt["transactions"][0]["id"].is_string(), "{receipt:#}");
        assert_eq!(workplace.count("t").await, 1000);
    }
}

#[tokio::test]
async fn a_server_without_prepared_transactions_is_said_to_commit_one_after_another() {
    let workplace =
        Workplace::with_embedded_server("keep = false\nsettings = { max_prepared_transactions = 0 }")
            .csv("data.csv", "id\n1\n2\n");
    workplace.succeed(&["load", "data.csv", "-t", "t", "--create"]);
    let load = ["load", "data.csv", "-t", "t", "--append", "--connections", "2"];
    let ran = workplace.succeed(&load);
    assert!(ran.stderr.contains("so the 2 transactions are committed one after another"), "{ran:#?}");
    assert!(ran.stdout.contains("one transaction each, committed one after another"), "{ran:#?}");
    assert!(ran.stdout.starts_with("loaded 2 rows into t"), "{ran:#?}");
}

#[tokio::test]
async fn what_fails_after_the_commit_has_its_own_exit_code_and_a_receipt() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int);
         CREATE FUNCTION picky(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
         BEGIN
             IF current_query() ~ 'ANALYZE' THEN RAISE 'not today'; END IF;
             RETURN $1;
         END $$;
         CREATE INDEX ON t (picky(id))",
    )
    .await
    .csv("data.csv", "id\n1\n2\n");
    let ran = workplace.run(&LOAD);
    assert_eq!(ran.status.code(), Some(LOADED_BUT), "{ran:#?}");
    assert!(ran.stdout.starts_with("loaded 2 rows into t"), "{ran:#?}");
    assert!(ran.stderr.contains("not today"), "{ran:#?}");
    assert!(ran.stderr.contains("the rows are loaded and committed; only this failed"), "{ran:#?}");
    assert!(!ran.stdout.contains("analyzed"), "{ran:#?}");
    assert_eq!(workplace.count("t").await, 2);
    let receipt = workplace.read_json("receipt.json");
    assert_eq!((&receipt["outcome"], &receipt["rows_loaded"]), (&"committed".into(), &2.into()));
    assert!(receipt["failed_afterwards"][0].as_str().unwrap().contains("not today"), "{receipt:#}");

    workplace.write("receipt.json", "{}");
    let mut command = workplace.command(&[&LOAD[..], &["--no-analyze"]].concat());
    command.stdout(std::fs::File::create("/dev/full").unwrap()).stderr(Stdio::piped());
    let ran = ProgramOutput::from_child(command.spawn().unwrap());
    assert_eq!(ran.status.code(), Some(LOADED_BUT), "{ran:#?}");
    assert!(ran.stderr.contains("No space left on device"), "{ran:#?}");
    assert_eq!(workplace.read_json("receipt.json")["rows_loaded"], 2);
}

#[tokio::test]
async fn a_session_terminated_while_its_commit_waits_for_a_standby_is_committed() {
    let settings = "wal_level = 'replica', max_wal_senders = 2, synchronous_standby_names = 'nobody'";
    let workplace = Workplace::with_embedded_server(&format!("settings = {{ {settings} }}"))
        .csv("data.csv", "id\n1\n2\n");
    let url = workplace.succeed(&["server", "url"]).stdout;
    let client = support::connect(url.trim()).await;
    client.batch_execute("SET synchronous_commit = local; CREATE TABLE t (id int)").await.unwrap();
    // ANALYZE would wait for the standby as well.
    let load = workplace.start(&[&LOAD[..], &["--no-analyze"]].concat());
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let is_ended = async || !client.query(end, &[]).await.unwrap().is_empty();
    wait_until("that the commit waits", is_ended).await;
    let ran = ProgramOutput::from_child(load);
    let receipt = workplace.read_json("receipt.json");
    workplace.succeed(&["server", "stop"]);
    assert_eq!((&receipt["outcome"], &receipt["rows_loaded"]), (&"committed".into(), &2.into()), "{ran:#?}");
    assert_eq!(receipt["transactions"][0]["confirmed_by"], "pg_xact_status");
}

/// Check that error and receipt say that the outcome is unknown, and how to look.
async fn check_unknown(workplace: &Workplace, stderr: &str) {
    assert!(stderr.contains("whether the load was committed is not known"), "{stderr}");
    let receipt = workplace.read_json("receipt.json");
    assert_eq!(receipt["outcome"], "unknown", "{receipt:#}");
    assert_eq!(counts(&receipt, ["rows_loaded", "rows_loaded_at_most"]), [0, 1000], "{receipt:#}");
    let statement = stderr.split_once("SELECT pg_xact_status(").unwrap().1.split_once(')').unwrap().0;
    let status = format!("SELECT pg_xact_status({statement})");
    // What the proxy took for the answer may have been that to a message shortly before.
    let has_ended = async || workplace.value::<String>(&status).await != "in progress";
    wait_until("the end of the transaction", has_ended).await;
    assert_eq!(workplace.value::<String>(&status).await, "committed");
}

fn interrupt(load: &Child) {
    kill_process(Pid::from_child(load), Signal::INT).unwrap();
}

#[tokio::test]
async fn a_role_without_privileges_finds_out_too() {
    let (_database, _proxy, workplace) = behind(losing(Fate::Cut)).await;
    let role: String = workplace.value("SELECT 'loader_of_' || current_database()").await;
    workplace.execute(&format!("CREATE ROLE {role}; GRANT INSERT ON t TO {role}")).await;
    let mut command = workplace.command(&[&LOAD[..], &["--no-analyze"]].concat());
    command.env("PGOPTIONS", format!("-c role={role}"));
    let ran = ProgramOutput::from_command(command);
    assert!(ran.status.success(), "{ran:#?}");
    assert_eq!(workplace.read_json("receipt.json")["transactions"][0]["confirmed_by"], "pg_xact_status");
    workplace.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn the_outcome_is_found_out_behind_a_pooler_too() {
    if pgbouncer::is_missing() {
        return;
    }
    let database = support::database().await;
    database.connect().await.batch_execute("CREATE TABLE t (id int)").await.unwrap();
    let pooler = PgBouncer::start(&database, PoolMode::Transaction, 4);
    let tries = [
        (losing(Fate::Cut), &[][..], 0),
        (losing(Fate::CutBefore), &[][..], 4),
        (Plan { trigger: is_commit_prepared, ..losing(Fate::Cut) }, &TWO[..], 0),
        (Plan { trigger: is_prepare, ..losing(Fate::Cut) }, &TWO[..], 4),
    ];
    for (number, (plan, flags, exit_code)) in tries.into_iter().enumerate() {
        let proxy = Proxy::start(pooler.database(), plan);
        let workplace = proxy.workplace(&database).await.csv("data.csv", "id\n1\n2\n");
        workplace.execute("TRUNCATE t").await;
        let ran = workplace.run(&[&LOAD[..], flags].concat());
        assert_eq!(ran.status.code(), Some(exit_code), "{number}: {ran:#?}");
        assert_eq!(workplace.count("t").await, if exit_code == 0 { 2 } else { 0 }, "{number}");
        assert_eq!(left_prepared(&workplace).await, [""; 0], "{number}");
    }
}
