//! `load`: into what is not an ordinary table, but takes rows from COPY.

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::support::load::{MODES, counts};
use crate::support::own_server::OwnServer;
use crate::support::workplace::Workplace;

#[tokio::test]
async fn rows_go_into_a_view_by_way_of_its_trigger() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE stored (id int PRIMARY KEY, name text);
         CREATE VIEW people AS SELECT id, upper(name) AS name FROM stored;
         CREATE FUNCTION store() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF new.name = 'nobody' THEN RETURN NULL; END IF;
             INSERT INTO stored VALUES (new.id, lower(new.name));
             RETURN new;
         END $$;
         CREATE TRIGGER store INSTEAD OF INSERT ON people FOR EACH ROW EXECUTE FUNCTION store()",
    )
    .await
    .csv("people.csv", "id,name\n1,Ann\n2,Bo\n")
    .csv("bad.csv", "id,name\n1,Ann\n1,Bo\n3,Cy\n")
    .csv("dropped.csv", "id,name\n1,Ann\n2,nobody\n");
    for mode in MODES {
        let load = |file, flags: &[&str]| {
            workplace.run(&[&["load", file, "-t", "people", "--append", "--mode", mode], flags].concat())
        };
        let ran = load("people.csv", &[]);
        assert!(ran.status.success(), "{mode}: {ran:#?}");
        assert!(!ran.stdout.contains("WARNING"), "{mode}: {ran:#?}");
        assert!(ran.stdout.contains("whose INSTEAD OF trigger decides what is stored"), "{mode}: {ran:#?}");
        assert_eq!(workplace.csv_of("TABLE stored ORDER BY 1").await, "1,ann\n2,bo\n", "{mode}");
        workplace.execute("TRUNCATE stored").await;

        let ran = load("bad.csv", &["--max-rejects=1"]);
        assert_eq!(ran.status.code(), Some(3), "{mode}: {ran:#?}");
        assert_eq!(workplace.csv_of("TABLE stored ORDER BY 1").await, "1,ann\n3,cy\n", "{mode}");
        workplace.execute("TRUNCATE stored").await;

        // A row that the trigger drops is not silently missing, except that the server's COPY counts it as copied.
        if mode != "copy" {
            assert_eq!(load("dropped.csv", &[]).status.code(), Some(1), "{mode}");
            assert_eq!(workplace.count("stored").await, 0, "{mode}");
        }
    }
    let error = workplace.fail(&["load", "people.csv", "-t", "people", "--truncate"], 1);
    assert!(error.contains("use --append"), "{error}");
    workplace.execute("CREATE VIEW plain AS TABLE stored").await;
    let error = workplace.fail(&["load", "people.csv", "-t", "plain", "--append"], 1);
    assert!(error.contains("plain is a view without an INSTEAD OF INSERT trigger"), "{error}");
}

#[tokio::test]
async fn rows_go_into_a_foreign_table() {
    let workplace = Workplace::new().await.csv("data.csv", "id,day\n1,2026-01-02\n2,\n");
    workplace.write("bad.csv", "id,day\n1,2026-01-02\n-1,\n3,\n");
    let available = "SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'";
    if workplace.value::<i64>(available).await == 0 {
        eprintln!("skipped: postgres_fdw is not installed");
        return;
    }
    workplace
        .execute(
            "CREATE EXTENSION postgres_fdw;
             CREATE TABLE stored (id int CHECK (id > 0), day date);
             DO $$ BEGIN EXECUTE format('CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw
                 OPTIONS (host %L, port %L, dbname %L)', trim('\"' FROM current_setting('unix_socket_directories')),
                 current_setting('port'), current_database()); END $$;
             CREATE USER MAPPING FOR CURRENT_USER SERVER here;
             CREATE FOREIGN TABLE away (id int, day date) SERVER here OPTIONS (table_name 'stored')",
        )
        .await;
    for mode in MODES {
        let load = |file, flags: &[&str]| {
            workplace.run(&[&["load", file, "-t", "away", "--mode", mode], flags].concat())
        };
        let ran = load("data.csv", &["--append"]);
        assert!(ran.status.success(), "{mode}: {ran:#?}");
        assert_eq!(workplace.csv_of("TABLE stored ORDER BY 1").await, "1,2026-01-02\n2,\n", "{mode}");
        // TRUNCATE reaches foreign tables from PostgreSQL 14 on.
        if workplace.value::<i32>("SELECT current_setting('server_version_num')::int").await >= 140_000 {
            let ran = load("data.csv", &["--truncate"]);
            assert!(ran.status.success(), "{mode}: {ran:#?}");
            assert_eq!(workplace.csv_of("TABLE stored ORDER BY 1").await, "1,2026-01-02\n2,\n", "{mode}");
        }
        workplace.execute("TRUNCATE stored").await;
        let ran = load("bad.csv", &["--append", "--max-rejects=1"]);
        assert_eq!(ran.status.code(), Some(3), "{mode}: {ran:#?}");
        assert_eq!(workplace.csv_of("TABLE stored ORDER BY 1").await, "1,2026-01-02\n3,\n", "{mode}");
        workplace.execute("TRUNCATE stored").await;
    }
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
    let available = "SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'";
    if Workplace::new().await.value::<i64>(available).await == 0 {
        eprintln!("skipped: postgres_fdw is not installed");
        return;
    }
    let servers = [OwnServer::start(), OwnServer::start()];
    let (workplace, shards) = sharded_over(&servers).await;
    let version = workplace.value::<i32>("SELECT current_setting('server_version_num')::int").await;
    let lines = |ids: std::ops::RangeInclusive<u32>| {
        ids.fold(String::new(), |lines, id| lines + &format!("{id},name {id}\n"))
    };
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
                workplace.run(&[&["load", file, "-t", "t", "--mode", mode, "--json"], flags].concat())
            };
            let emptying = if version < 140_000 { "--append" } else { "--truncate" };
            let ran = load("data.csv", &[emptying]);
            assert!(ran.status.success(), "{way}: {ran:#?}");
            assert_eq!(counts(&ran.json(), ["rows_read", "rows_loaded"]), [200, 200], "{way}");
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
            let ran = load("bad.csv", &["--append", "--max-rejects", "2"]);
            assert_eq!(ran.status.code(), Some(3), "{way}: {ran:#?}");
            assert_eq!(counts(&ran.json(), ["rows_loaded", "rows_rejected"]), [30, 2], "{way}");
            assert_eq!(workplace.read("rejects.csv"), "id,name\n5,again\n231,\n", "{way}");
            workplace.execute("DELETE FROM t WHERE id > 200").await;
            let skipped = load("more.csv", &["--on-conflict", "skip"]);
            assert_eq!(counts(&skipped.json(), ["rows_inserted", "rows_skipped"]), [30, 1], "{way}");
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
