//! `--defer-indexes`: what is dropped for a load is there again afterwards, exactly.

use std::io::Write as _;
use std::process::Stdio;

use tokio_postgres::Client;

use crate::support::cli::{Ran, Workplace};
use crate::support::load::{MODES, workplace};

/// All that the catalog says of the indexes of `t`, but for their OIDs; and these.
async fn indexes(client: &Client) -> (Vec<String>, Vec<u32>) {
    let sql = "
        SELECT c.oid, concat_ws(' | ', c.relname, pg_get_indexdef(c.oid), s.spcname, c.relowner,
                   array_to_string(c.reloptions, ','), i.indisclustered, i.indisreplident, i.indisvalid,
                   i.indimmediate, obj_description(c.oid, 'pg_class'),
                   n.conname, pg_get_constraintdef(n.oid), obj_description(n.oid, 'pg_constraint'),
                   t.relreplident,
                   (SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute
                    WHERE attrelid = t.oid AND attnotnull AND attnum > 0))
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
             LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
             LEFT JOIN pg_constraint n ON n.conindid = c.oid AND n.conrelid = t.oid
        WHERE i.indrelid = 't'::regclass ORDER BY c.relname";
    let rows = client.query(sql, &[]).await.unwrap();
    (rows.iter().map(|row| row.get(1)).collect(), rows.iter().map(|row| row.get(0)).collect())
}

async fn count(client: &Client) -> i64 {
    client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn indexes_are_put_back_exactly() {
    let (workplace, client) = workplace(
        r#"CREATE SCHEMA "Odd ""one";
           SET search_path = "Odd ""one";
           CREATE TABLE t (id int NOT NULL, a int NOT NULL, "B c" text COLLATE "C", d int4range,
               CONSTRAINT "the key" PRIMARY KEY (id) INCLUDE (a) WITH (fillfactor = 70),
               CONSTRAINT later UNIQUE (a, "B c") DEFERRABLE INITIALLY DEFERRED,
               CONSTRAINT may_be_later UNIQUE ("B c") DEFERRABLE);
           CREATE UNIQUE INDEX identity ON t (a);
           ALTER TABLE t REPLICA IDENTITY USING INDEX identity;
           CREATE INDEX somewhat ON t (lower("B c") DESC NULLS LAST) WHERE a > 0;
           CREATE INDEX ranges ON t USING gist (d);
           ALTER TABLE t CLUSTER ON "the key";
           CREATE STATISTICS pair ON a, id FROM t;
           COMMENT ON INDEX somewhat IS 'it''s \n one';
           COMMENT ON CONSTRAINT later ON t IS 'E''quoted''';"#,
        "id,a,B c,d\n1,1,x,\"[1,2)\"\n2,2,y,empty\n",
    )
    .await;
    let version: i32 =
        client.query_one("SELECT current_setting('server_version_num')::int", &[]).await.unwrap().get(0);
    if version >= 150_000 {
        // A tablespace is the whole server's, so its name must be nobody else's.
        let name: String =
            client.query_one("SELECT 'space_of_' || current_database()", &[]).await.unwrap().get(0);
        client.batch_execute("SET allow_in_place_tablespaces = on").await.unwrap();
        client.batch_execute(&format!("CREATE TABLESPACE {name} LOCATION ''")).await.unwrap();
        client.batch_execute(&format!("CREATE INDEX spaced ON t (d) TABLESPACE {name}")).await.unwrap();
        client.batch_execute("CREATE UNIQUE INDEX alike ON t (a, id) NULLS NOT DISTINCT").await.unwrap();
    }
    let (before, mut oids) = indexes(&client).await;
    for mode in MODES {
        let flags = ["load", "data.csv", "-t", r#""Odd ""one".t"#, "--truncate", "--mode", mode, "--json"];
        let report = workplace.succeed(&flags).json();
        assert_eq!(report["indexes_kept_because"], serde_json::Value::Null);
        assert_eq!(report["indexes_deferred"].as_array().unwrap().len(), before.len(), "{report}");
        let (after, new_oids) = indexes(&client).await;
        assert_eq!(after, before, "{mode}");
        assert!(new_oids.iter().all(|oid| !oids.contains(oid)), "{mode}: they were not deferred");
        oids = new_oids;
        assert_eq!(count(&client).await, 2);
    }
    let statistics = client.query("SELECT FROM pg_statistic_ext WHERE stxname = 'pair'", &[]).await.unwrap();
    assert_eq!(statistics.len(), 1);
}

#[tokio::test]
async fn a_key_that_is_there_twice_is_found_all_the_same() {
    let (workplace, client) =
        workplace("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (9)", "id\n1\n2\n1\n").await;
    let before = indexes(&client).await;
    for mode in MODES {
        let error = workplace.fail(&["load", "data.csv", "-t", "t", "--truncate", "--mode", mode], 1);
        assert!(error.contains("data.csv, line 4 into"), "{mode}: {error}");
        assert!(error.contains("Key (id)=(1) already exists"), "{mode}: {error}");
        assert_eq!(indexes(&client).await, before, "{mode}");
        assert_eq!(count(&client).await, 1, "{mode}");
    }
    // Without a file to go back to, the server's word has to do.
    let ran = with_stdin(&workplace, &["load", "-", "-t", "t", "--truncate", "--defer-indexes", "always"]);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert!(ran.stderr.contains("Key (id)=(1) is duplicated"), "{ran:#?}");
    assert!(ran.stderr.contains("use --defer-indexes never to find out which row it is"), "{ran:#?}");
    assert_eq!(indexes(&client).await, before);
    assert_eq!(count(&client).await, 1);
}

fn with_stdin(workplace: &Workplace, args: &[&str]) -> Ran {
    let mut child = workplace
        .command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"id\n1\n2\n1\n").unwrap();
    child.wait_with_output().unwrap().into()
}

#[tokio::test]
async fn indexes_that_something_needs_stay() {
    let needs = [
        (
            "CREATE TABLE other (id int REFERENCES t)",
            "t_pkey: constraint other_id_fkey on table other depends",
        ),
        (
            "CREATE VIEW other AS SELECT id, a FROM t GROUP BY id",
            "t_pkey: rule _RETURN on view other depends",
        ),
        (
            "ALTER TABLE t ADD EXCLUDE USING gist (r WITH &&)",
            "t_r_excl: it belongs to an exclusion constraint",
        ),
        (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
            "the table has triggers, which may need them",
        ),
        (
            "CREATE INDEX expressed ON t ((a + 1)); ALTER INDEX expressed ALTER COLUMN 1 SET STATISTICS 7",
            "expressed: its columns have their own settings",
        ),
    ];
    for (sql, reason) in needs {
        let (workplace, client) = workplace(
            &format!("CREATE TABLE t (id int PRIMARY KEY, a int, r int4range); {sql}"),
            "id\n1\n2\n",
        )
        .await;
        let before = indexes(&client).await;
        let ran = workplace.succeed(&["load", "data.csv", "-t", "t"]);
        assert!(ran.stdout.contains(&format!("indexes in place: {reason}")), "{sql}: {ran:#?}");
        assert_eq!(indexes(&client).await, before, "{sql}");
        assert_eq!(count(&client).await, 2, "{sql}");
        let refused = workplace.fail(&["load", "data.csv", "-t", "t", "--defer-indexes", "always"], 2);
        assert!(refused.contains(&format!("have to stay in place: {reason}")), "{sql}: {refused}");
    }
}

#[tokio::test]
async fn a_table_with_rows_keeps_its_indexes_unless_told_otherwise() {
    let (workplace, client) = workplace("CREATE TABLE t (id int PRIMARY KEY)", "id\n1\n2\n").await;
    let was_deferred = async |flags: &[&str]| {
        let before = indexes(&client).await;
        let report = workplace.succeed(&[&["load", "-t", "t", "--json"], flags].concat()).json();
        let after = indexes(&client).await;
        assert_eq!(after.0, before.0, "{flags:?}");
        assert_eq!(after.1 != before.1, report["indexes_deferred"][0] == "t_pkey", "{flags:?}: {report}");
        after.1 != before.1
    };
    assert!(!was_deferred(&["data.csv", "--defer-indexes", "never"]).await);
    client.batch_execute("TRUNCATE t").await.unwrap();
    assert!(was_deferred(&["data.csv"]).await, "it was empty");
    workplace.write("more.csv", "id\n3\n");
    assert!(!was_deferred(&["more.csv"]).await, "it has rows");
    workplace.write("more.csv", "id\n4\n");
    assert!(was_deferred(&["more.csv", "--defer-indexes", "always"]).await);
    assert!(!was_deferred(&["data.csv", "--on-conflict", "skip", "--truncate"]).await);
    assert!(!was_deferred(&["data.csv", "--max-rejects", "1", "--truncate"]).await);
    for needs in [["--on-conflict", "skip"], ["--max-rejects", "1"]] {
        let flags = [&["load", "data.csv", "-t", "t", "--defer-indexes", "always"], &needs[..]].concat();
        let error = workplace.fail(&flags, 2);
        assert!(
            error.contains(&format!("{} cannot be combined with --defer-indexes always", needs[0])),
            "{error}"
        );
    }
    assert_eq!(count(&client).await, 2);
    let before = indexes(&client).await;
    let dry = workplace.succeed(&["load", "data.csv", "-t", "t", "--truncate", "--dry-run", "--json"]).json();
    assert_eq!(dry["indexes_deferred"][0], "t_pkey");
    assert_eq!(indexes(&client).await, before, "a dry run leaves everything");
}

/// Nobody waits for a reader of an empty table, nor makes it wait.
#[tokio::test]
async fn an_empty_table_that_is_in_use_keeps_its_indexes() {
    let (workplace, client) = workplace("CREATE TABLE t (id int PRIMARY KEY)", "id\n1\n2\n").await;
    client.batch_execute("BEGIN; SELECT FROM t").await.unwrap();
    let report = workplace.succeed(&["load", "data.csv", "-t", "t", "--json"]).json();
    assert_eq!(report["indexes_deferred"].as_array().unwrap().len(), 0);
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(count(&client).await, 2);
}

/// A COPY into a table that the load emptied itself leaves nothing for VACUUM.
#[tokio::test]
async fn rows_copied_into_an_emptied_table_are_frozen() {
    let (workplace, client) = workplace(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (7)",
        &(0..1000).fold("id\n".to_owned(), |csv, id| csv + &format!("{id}\n")),
    )
    .await;
    // The visibility map, which VACUUM would write, and here nobody but FREEZE.
    let visible = async || -> bool {
        client.query_one("SELECT pg_relation_size('t', 'vm') > 0", &[]).await.unwrap().get(0)
    };
    workplace.succeed(&["load", "data.csv", "-t", "t", "--truncate", "--mode", "batch"]);
    assert!(!visible().await);
    workplace.succeed(&["load", "data.csv", "-t", "t", "--truncate"]);
    let version: i32 =
        client.query_one("SELECT current_setting('server_version_num')::int", &[]).await.unwrap().get(0);
    // Before 14, FREEZE left the visibility map alone.
    assert_eq!(visible().await, version >= 140_000);
    assert_eq!(count(&client).await, 1000);
}

/// The planner's knowledge follows a load that changes much
#[tokio::test]
async fn a_table_that_is_largely_new_is_analyzed() {
    let (workplace, client) = workplace(
        "CREATE TABLE t (id int PRIMARY KEY)",
        &(0..1000).fold("id\n".to_owned(), |csv, id| csv + &format!("{id}\n")),
    )
    .await;
    let known = async || -> f32 {
        client.query_one("SELECT reltuples FROM pg_class WHERE relname = 't'", &[]).await.unwrap().get(0)
    };
    let load = |flags: &[&str]| {
        let ran = workplace.succeed(&[&["load", "-t", "t", "--json"], flags].concat());
        ran.json()["phases"]["analyze_seconds"].as_f64().unwrap() > 0.0
    };
    assert!(!load(&["data.csv", "--no-analyze", "--defer-indexes", "never", "--mode", "rows"]));
    assert!(known().await <= 0.0);
    assert!(load(&["data.csv", "--truncate"]));
    assert!((known().await - 1000.0).abs() < 0.5);
    workplace.write("more.csv", "id\n1000\n");
    assert!(!load(&["more.csv"]), "one row in a thousand");
    assert!(!load(&["data.csv", "--truncate", "--dry-run"]));
}

/// What somebody changes at the very moment is not undone by putting back what was read before.
#[tokio::test]
async fn a_change_that_is_under_way_is_kept() {
    let (workplace, client) =
        workplace("CREATE TABLE t (id int PRIMARY KEY, b text); CREATE INDEX b ON t (b)", "id,b\n1,x\n")
            .await;
    client
        .batch_execute("BEGIN; COMMENT ON INDEX b IS 'precious'; ALTER INDEX b SET (fillfactor = 50)")
        .await
        .unwrap();
    let load = workplace.start(&["load", "data.csv", "-t", "t"]);
    let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'b'::regclass)";
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !client.query_one(waits, &[]).await.unwrap().get::<_, bool>(0) {
        assert!(std::time::Instant::now() < deadline, "the load never waits for the change");
        tokio::task::yield_now().await;
    }
    client.batch_execute("COMMIT").await.unwrap();
    let ran: Ran = load.wait_with_output().unwrap().into();
    assert!(ran.status.success(), "{ran:#?}");
    assert!(ran.stdout.contains("rebuilt after loading"), "{ran:#?}");
    let row = client
        .query_one(
            "SELECT obj_description(oid, 'pg_class'), reloptions::text FROM pg_class WHERE relname = 'b'",
            &[],
        )
        .await
        .unwrap();
    assert_eq!((row.get(0), row.get(1)), (Some("precious"), Some("{fillfactor=50}")));
}
