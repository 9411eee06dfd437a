//! `load`: into tables of `postgres_fdw`, each of whose servers commits by itself.

use std::ops::RangeInclusive;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::support::load::{MODES, counts};
use crate::support::own_server::OwnServer;
use crate::support::pgbouncer::COMPLETE;
use crate::support::workplace::{ProgramOutput, Workplace};

/// Whether the server of `workplace` does not have `postgres_fdw`, so that a test has to be skipped.
///
/// # Panics
/// When it is missing although no test is to be skipped, as in continuous integration.
pub(super) async fn are_missing(workplace: &Workplace) -> bool {
    let available = "SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'";
    let are_missing = workplace.value::<i64>(available).await == 0;
    if are_missing {
        let note = "postgres_fdw is not installed (it is part of PostgreSQL's contrib)";
        assert!(std::env::var_os(COMPLETE).is_none(), "{note}, but {COMPLETE} is set");
        eprintln!("skipped: {note}");
    }
    are_missing
}

/// The version of the server, as `server_version_num` has it.
async fn version(workplace: &Workplace) -> i32 {
    workplace.value("SELECT current_setting('server_version_num')::int").await
}

/// The rows of a file, with a name for each of `ids`.
fn lines(ids: RangeInclusive<u32>) -> String {
    ids.fold(String::new(), |lines, id| lines + &format!("{id},name {id}\n"))
}

/// A table `t` whose hash partitions are foreign tables on `servers`, and the databases of these.
async fn sharded_over(servers: &[OwnServer; 2]) -> (Workplace, [Workplace; 2]) {
    const STORED: &str = "CREATE TABLE stored (id int PRIMARY KEY, name text NOT NULL)";
    let workplace = Workplace::new().await;
    let shards = [Workplace::on(&servers[0].database()).await, Workplace::on(&servers[1].database()).await];
    workplace
        .execute(
            "CREATE EXTENSION postgres_fdw; CREATE TABLE t (id int NOT NULL, name text NOT NULL) PARTITION BY HASH (id);
             CREATE INDEX by_name ON t (name)",
        )
        .await;
    for (number, shard) in shards.iter().enumerate() {
        shard.execute(STORED).await;
        let server: Config = shard.database_url().parse().unwrap();
        let [Host::Unix(directory)] = server.get_hosts() else { panic!("the server has one socket") };
        workplace
            .execute(&format!(
                "CREATE SERVER s_{number} FOREIGN DATA WRAPPER postgres_fdw
                     OPTIONS (host '{}', port '{}', dbname '{}');
                 CREATE USER MAPPING FOR CURRENT_USER SERVER s_{number} OPTIONS (user '{}');
                 CREATE FOREIGN TABLE t_{number} PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER {number})
                     SERVER s_{number} OPTIONS (table_name 'stored')",
                directory.display(),
                server.get_ports()[0],
                server.get_dbname().unwrap(),
                server.get_user().unwrap()
            ))
            .await;
    }
    (workplace, shards)
}

#[tokio::test]
async fn rows_are_sharded_over_foreign_servers() {
    if are_missing(&Workplace::new().await).await {
        return;
    }
    let servers = [OwnServer::start(), OwnServer::start()];
    let (workplace, shards) = sharded_over(&servers).await;
    let version = version(&workplace).await;
    workplace.write("data.csv", format!("id,name\n{}", lines(1..=200)));
    workplace.write("more.csv", format!("id,name\n{}5,again\n{}", lines(201..=220), lines(221..=230)));
    workplace.write("bad.csv", format!("id,name\n{}5,again\n231,\n{}", lines(201..=220), lines(221..=230)));
    for batches in [false, true] {
        if batches && version < 140_000 {
            break;
        }
        if batches {
            // An option of the server is as good as one of the table.
            workplace.execute("ALTER FOREIGN TABLE t_0 OPTIONS (ADD batch_size '50')").await;
            workplace.execute("ALTER SERVER s_1 OPTIONS (ADD batch_size '50')").await;
        }
        for mode in MODES {
            let way = format!("{mode}, batches: {batches}");
            for shard in &shards {
                shard.execute("TRUNCATE stored").await;
            }
            let load = |file, flags: &[&str]| {
                let receipt = ["--receipt", "receipt.json"];
                workplace.run(
                    &[&["load", file, "-t", "t", "--mode", mode, "--json"], &receipt[..], flags].concat(),
                )
            };
            let receipt = || workplace.read_json("receipt.json");
            let emptying = if version < 140_000 { "--append" } else { "--truncate" };
            let ran = load("data.csv", &[emptying]);
            assert!(ran.status.success(), "{way}: {ran:#?}");
            assert_eq!(counts(&ran.json(), ["rows_read", "rows_loaded"]), [200, 200], "{way}");
            let written = receipt();
            assert_eq!(counts(&written, ["rows_read", "rows_loaded"]), [200, 200], "{way}: {written}");
            assert_eq!(written["outcome"], "committed", "{way}: {written}");
            assert_eq!(written["transactions"].as_array().map(Vec::len), Some(1), "{way}: {written}");
            let (note, is_alone) =
                (slow_note(&ran.stderr), mode == "rows" || mode == "copy" && version < 160_000);
            assert_eq!(
                note.contains("mode batch sends many"),
                version >= 140_000 && is_alone,
                "{way}: {note}"
            );
            let remedy =
                "ALTER FOREIGN TABLE t_0 OPTIONS (ADD batch_size '1000'), and the same for the other";
            assert_eq!(note.contains(remedy), version >= 140_000 && !batches, "{way}: {note}");
            let stored = workplace.csv_of("SELECT count(*), sum(id), min(name) FROM t").await;
            assert_eq!(stored, "200,20100,name 1\n", "{way}");

            // The shards have the keys: the other server refuses.
            let error = load("bad.csv", &["--append"]);
            assert_eq!(error.status.code(), Some(1), "{way}: {error:#?}");
            assert!(
                error.stderr.contains("bad.csv, line 22 into t: duplicate key value"),
                "{way}: {error:#?}"
            );
            assert_eq!(workplace.count("t").await, 200, "{way}");
            // It refuses before the COMMIT, so no server keeps any of them.
            let written = receipt();
            assert_eq!(written["outcome"], "rolled back", "{way}: {written}");
            assert_eq!(counts(&written, ["rows_loaded", "rows_loaded_at_most"]), [0, 0], "{way}: {written}");
            let ran = load("bad.csv", &["--append", "--max-rejects", "2"]);
            assert_eq!(ran.status.code(), Some(3), "{way}: {ran:#?}");
            assert_eq!(counts(&ran.json(), ["rows_loaded", "rows_rejected"]), [30, 2], "{way}");
            let written = receipt();
            assert_eq!(counts(&written, ["rows_loaded", "rows_rejected"]), [30, 2], "{way}: {written}");
            assert_eq!(workplace.read("rejects.csv"), "id,name\n5,again\n231,\n", "{way}");
            workplace.execute("DELETE FROM t WHERE id > 200").await;
            let skipped = load("more.csv", &["--on-conflict", "skip"]);
            assert_eq!(counts(&skipped.json(), ["rows_inserted", "rows_skipped"]), [30, 1], "{way}");
            let written = receipt();
            assert_eq!(counts(&written, ["rows_inserted", "rows_skipped"]), [30, 1], "{way}: {written}");
            // Mode copy inserts them from a temporary table.
            let is_slow = version >= 140_000 && (mode == "rows" || !batches);
            assert_eq!(!slow_note(&skipped.stderr).is_empty(), is_slow, "{way}: {skipped:#?}");
            let kept = workplace.csv_of("SELECT count(*), sum(id), min(name) FROM t").await;
            assert_eq!(kept, "230,26565,name 1\n", "{way}");
        }
    }
    let update = ["load", "more.csv", "-t", "t", "--on-conflict", "update"];
    let error = workplace.fail(&update, 2);
    assert!(error.contains("t is partitioned, and the server cannot tell inserted from updated"), "{error}");
    workplace.write("new.csv", "id,name\n901,a\n902,b\n903,c\n");
    let two = workplace.succeed(&["load", "new.csv", "-t", "t", "--append", "--connections", "2"]);
    assert!(two.stderr.contains("transactions that write to foreign tables cannot be prepared"), "{two:#?}");
    assert_eq!(workplace.count("t").await, 233);
    let checked = workplace.run(&["check", "data.csv", "-t", "t"]);
    assert!(checked.stdout.contains("id integer, name text"), "{checked:#?}");
    let query = ["query", "--sql", "SELECT name FROM t WHERE id = $1", "--arg", "uniform:1:230"];
    workplace.succeed(&[&query[..], &["-n", "50", "-c", "2", "--expect-rows", "1"]].concat());
}

/// The line of `stderr` that says how rows are sent to foreign servers; empty if there is none.
fn slow_note(stderr: &str) -> &str {
    stderr.lines().find(|line| line.contains("is sent to a foreign server by itself")).unwrap_or_default()
}

/// A function that refuses with the SQLSTATE 23514, or that of a lost connection, and a trigger that calls it at COMMIT.
fn refusal_at_commit(is_lost: bool) -> String {
    let code = if is_lost { "08006" } else { "23514" };
    format!(
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE 'too late' USING ERRCODE = '{code}'; END $$;
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON stored DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
}

/// Of several servers, some have committed when another one refuses.
#[tokio::test]
async fn a_commit_that_a_foreign_server_refuses_has_an_unknown_outcome() {
    if are_missing(&Workplace::new().await).await {
        return;
    }
    let servers = [OwnServer::start(), OwnServer::start()];
    let (workplace, shards) = sharded_over(&servers).await;
    workplace.write("data.csv", format!("id,name\n{}", lines(1..=200)));
    let load = |flags: &[&str]| {
        let all = ["load", "data.csv", "-t", "t", "--json", "--receipt", "receipt.json"];
        workplace.run(&[&all, flags].concat())
    };
    let ways = [
        &["--mode", "copy"][..],
        &["--mode", "batch"],
        &["--mode", "rows"],
        &["--connections", "2"],
        &["--on-conflict", "skip"],
    ];
    let mut kept = 0;
    for (number, way) in ways.iter().enumerate() {
        // Which of the servers commits first is not known.
        for (failing, shard) in shards.iter().enumerate() {
            shard.execute(&refusal_at_commit((number + failing) % 2 == 0)).await;
            let ran = load(way);
            let case = format!("{way:?}, {failing}: {ran:#?}");
            assert_unknown(&ran, &workplace, 200);
            assert_eq!(shard.count("stored").await, 0, "{case}");
            kept += shards[1 - failing].count("stored").await;
            shard.execute("DROP TRIGGER late ON stored").await;
            // What the message advises.
            let again = load(&["--on-conflict", "skip"]);
            assert!(again.status.success(), "{again:#?}");
            assert_eq!(workplace.csv_of("SELECT count(*), sum(id) FROM t").await, "200,20100\n", "{case}");
            for shard in &shards {
                shard.execute("TRUNCATE stored").await;
            }
        }
    }
    assert!(kept > 0, "no server had committed before the other one refused");
}

/// Check that `ran` says that the servers of its table may have kept up to `rows` rows, and so does its receipt.
fn assert_unknown(ran: &ProgramOutput, workplace: &Workplace, rows: u64) {
    assert_eq!(ran.status.code(), Some(6), "{ran:#?}");
    assert!(
        ran.stderr.contains("the servers s_0, s_1 each commit by themselves, and may have kept"),
        "{ran:#?}"
    );
    assert!(ran.stderr.contains("--on-conflict skip"), "{ran:#?}");
    assert!(!ran.stderr.contains("nothing was loaded"), "{ran:#?}");
    assert_eq!(ran.json()["error"]["kind"], "outcome_unknown", "{ran:#?}");
    let receipt = workplace.read_json("receipt.json");
    assert_eq!(receipt["outcome"], "unknown", "{receipt}");
    assert_eq!(counts(&receipt, ["rows_loaded", "rows_loaded_at_most"]), [0, rows], "{receipt}");
    let message = receipt["error"]["message"].as_str().unwrap();
    assert!(message.contains("s_0, s_1"), "{receipt}");
}

#[tokio::test]
async fn rows_committed_one_by_one_to_foreign_servers_are_counted() {
    if are_missing(&Workplace::new().await).await {
        return;
    }
    let servers = [OwnServer::start(), OwnServer::start()];
    let (workplace, shards) = sharded_over(&servers).await;
    workplace.write("data.csv", format!("id,name\n{}", lines(1..=20)));
    let load = |flags: &[&str]| {
        let all = ["load", "data.csv", "-t", "t", "--mode", "rows", "--autocommit", "--json"];
        workplace.run(&[&all[..], &["--receipt", "receipt.json"], flags].concat())
    };
    for is_lost in [false, true] {
        shards[0].execute(&refusal_at_commit(is_lost)).await;
        let ran = load(&["--append"]);
        let (kept, receipt) = (workplace.count("t").await as u64, workplace.read_json("receipt.json"));
        // A row is on one server, whose refusal is known to undo it, unless the answer was lost.
        assert_eq!(ran.status.code(), Some(if is_lost { 6 } else { 1 }), "{ran:#?}");
        let most = kept + u64::from(is_lost);
        assert_eq!(counts(&receipt, ["rows_loaded", "rows_loaded_at_most"]), [kept, most], "{receipt}");
        shards[0].execute("DROP TRIGGER late ON stored").await;
        for shard in &shards {
            shard.execute("TRUNCATE stored").await;
        }
    }
    // TRUNCATE reaches foreign tables from PostgreSQL 14 on.
    if version(&workplace).await < 140_000 {
        return;
    }
    load(&["--append"]);
    shards[1]
        .execute(&format!(
            "CREATE TABLE log (at timestamp);
             CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN INSERT INTO public.log VALUES (now()); RETURN NULL; END $$;
             CREATE TRIGGER log AFTER TRUNCATE ON stored EXECUTE FUNCTION log(); {}",
            refusal_at_commit(false).replace("INSERT ON stored", "INSERT ON log")
        ))
        .await;
    assert_unknown(&load(&["--truncate"]), &workplace, 0);
    assert!(shards[1].count("stored").await > 0, "it has not emptied its table");
}

/// The ledger would not know of the rows that a foreign server has committed, and the next run would load them again.
#[tokio::test]
async fn an_import_refuses_a_table_with_foreign_partitions() {
    if are_missing(&Workplace::new().await).await {
        return;
    }
    let servers = [OwnServer::start(), OwnServer::start()];
    let (workplace, shards) = sharded_over(&servers).await;
    workplace
        .execute(
            "CREATE TABLE u (id int, name text) PARTITION BY LIST (id);
             CREATE TABLE u_rest PARTITION OF u DEFAULT;
             CREATE TABLE u_7 PARTITION OF u FOR VALUES IN (7) PARTITION BY LIST (name);
             CREATE FOREIGN TABLE u_7_away PARTITION OF u_7 DEFAULT SERVER s_1 OPTIONS (table_name 'stored')",
        )
        .await;
    workplace.write("data.csv", format!("id,name\n{}", lines(1..=5_000)));
    shards[0].execute(&refusal_at_commit(false)).await;
    for (table, expected) in [
        ("t", "the partitions t_0 and t_1 of t are foreign tables"),
        ("u", "the partition u_7_away of u is a foreign table"),
        ("t_0", "t_0 is a foreign table"),
    ] {
        let flags = ["load", "data.csv", "-t", table, "--import-id", "x", "--chunk-rows", "5000"];
        let error = workplace.fail(&flags, 1);
        assert!(error.contains(expected) && error.contains("without the ledger"), "{error}");
        assert!(error.contains("load it without --import-id"), "{error}");
        for shard in &shards {
            assert_eq!(shard.count("stored").await, 0, "{table}");
        }
    }
}
