//! `load --defer-indexes`: the indexes after the load are exactly those before it.

use crate::support::load::{MODES, wait_until};
use crate::support::workplace::{ProgramOutput, Workplace};

/// Everything that the catalog says of the indexes of `t` except their OIDs, and the OIDs.
pub(super) async fn indexes(workplace: &Workplace) -> (Vec<String>, Vec<u32>) {
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
    let rows = workplace.client().query(sql, &[]).await.unwrap();
    (rows.iter().map(|row| row.get(1)).collect(), rows.iter().map(|row| row.get(0)).collect())
}

#[tokio::test]
async fn indexes_are_rebuilt_exactly() {
    let workplace = Workplace::with_sql(
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
    )
    .await
    .csv("data.csv", "id,a,B c,d\n1,1,x,\"[1,2)\"\n2,2,y,empty\n");
    let version: i32 = workplace.value("SELECT current_setting('server_version_num')::int").await;
    if version >= 150_000 {
        // Tablespaces belong to the whole server, so the name must be unique.
        let name: String = workplace.value("SELECT 'space_of_' || current_database()").await;
        workplace.execute("SET allow_in_place_tablespaces = on").await;
        workplace.execute(&format!("CREATE TABLESPACE {name} LOCATION ''")).await;
        workplace.execute(&format!("CREATE INDEX spaced ON t (d) TABLESPACE {name}")).await;
        workplace.execute("CREATE UNIQUE INDEX alike ON t (a, id) NULLS NOT DISTINCT").await;
    }
    let (before, mut oids) = indexes(&workplace).await;
    for mode in MODES {
        let flags = ["load", "data.csv", "-t", r#""Odd ""one".t"#, "--truncate", "--mode", mode, "--json"];
        let report = workplace.succeed(&flags).json();
        assert_eq!(report["indexes_kept_because"], serde_json::Value::Null);
        assert_eq!(report["indexes_deferred"].as_array().unwrap().len(), before.len(), "{report}");
        let (after, new_oids) = indexes(&workplace).await;
        assert_eq!(after, before, "{mode}");
        assert!(new_oids.iter().all(|oid| !oids.contains(oid)), "{mode}: they were not deferred");
        oids = new_oids;
        assert_eq!(workplace.count("t").await, 2);
    }
    let statistics =
        workplace.client().query("SELECT FROM pg_statistic_ext WHERE stxname = 'pair'", &[]).await.unwrap();
    assert_eq!(statistics.len(), 1);
}

#[tokio::test]
async fn a_duplicate_key_is_found_though_its_index_is_deferred() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (9)")
        .await
        .csv("data.csv", "id\n1\n2\n1\n");
    let before = indexes(&workplace).await;
    for mode in MODES {
        let error = workplace.fail(&["load", "data.csv", "-t", "t", "--truncate", "--mode", mode], 1);
        assert!(error.contains("data.csv, line 4 into"), "{mode}: {error}");
        assert!(error.contains("Key (id)=(1) already exists"), "{mode}: {error}");
        assert_eq!(indexes(&workplace).await, before, "{mode}");
        assert_eq!(workplace.count("t").await, 1, "{mode}");
    }
    // Standard input cannot be read again to find the line, so the server's message is all there is.
    let always = ["load", "-", "-t", "t", "--truncate", "--defer-indexes", "always"];
    let ran = workplace.run_with_input(&always, "id\n1\n2\n1\n");
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert!(ran.stderr.contains("Key (id)=(1) is duplicated"), "{ran:#?}");
    assert!(ran.stderr.contains("load with --defer-indexes never: the error then names the row"), "{ran:#?}");
    assert_eq!(indexes(&workplace).await, before);
    assert_eq!(workplace.count("t").await, 1);
}

/// The server creates no index on a table while checks of its rows are due.
#[tokio::test]
async fn deferred_foreign_keys_are_checked_before_indexes_are_rebuilt() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE parents (id int PRIMARY KEY); INSERT INTO parents VALUES (1);
         CREATE TABLE t (id int PRIMARY KEY, parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)",
    )
    .await
    .csv("data.csv", "id,parent\n1,1\n2,1\n")
    .csv("orphan.csv", "id,parent\n1,1\n2,7\n");
    for mode in MODES {
        let flags = ["-t", "t", "--truncate", "--mode", mode];
        let report = workplace.succeed(&[&["load", "data.csv", "--json"], &flags[..]].concat()).json();
        assert_eq!(report["indexes_deferred"][0], "t_pkey", "{mode}: {report}");
        assert_eq!(workplace.count("t").await, 2, "{mode}");
        let error = workplace.fail(&[&["load", "orphan.csv"], &flags[..]].concat(), 1);
        assert!(error.contains("orphan.csv, line 3 into t:"), "{mode}: {error}");
    }
}

#[tokio::test]
async fn indexes_that_others_depend_on_are_kept() {
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
        let workplace =
            Workplace::with_sql(&format!("CREATE TABLE t (id int PRIMARY KEY, a int, r int4range); {sql}"))
                .await
                .csv("data.csv", "id\n1\n2\n");
        let before = indexes(&workplace).await;
        let ran = workplace.succeed(&["load", "data.csv", "-t", "t"]);
        assert!(ran.stdout.contains(&format!("indexes kept: {reason}")), "{sql}: {ran:#?}");
        assert_eq!(indexes(&workplace).await, before, "{sql}");
        assert_eq!(workplace.count("t").await, 2, "{sql}");
        let refused = workplace.fail(&["load", "data.csv", "-t", "t", "--defer-indexes", "always"], 2);
        assert!(refused.contains(&format!("have to stay in place: {reason}")), "{sql}: {refused}");
    }
}

#[tokio::test]
async fn a_table_with_rows_keeps_its_indexes_by_default() {
    let workplace =
        Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY)").await.csv("data.csv", "id\n1\n2\n");
    let was_deferred = async |flags: &[&str]| {
        let before = indexes(&workplace).await;
        let report = workplace.succeed(&[&["load", "-t", "t", "--json"], flags].concat()).json();
        let after = indexes(&workplace).await;
        assert_eq!(after.0, before.0, "{flags:?}");
        assert_eq!(after.1 != before.1, report["indexes_deferred"][0] == "t_pkey", "{flags:?}: {report}");
        after.1 != before.1
    };
    assert!(!was_deferred(&["data.csv", "--defer-indexes", "never"]).await);
    workplace.execute("TRUNCATE t").await;
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
    assert_eq!(workplace.count("t").await, 2);
    let before = indexes(&workplace).await;
    let dry = workplace.succeed(&["load", "data.csv", "-t", "t", "--truncate", "--dry-run", "--json"]).json();
    assert_eq!(dry["indexes_deferred"][0], "t_pkey");
    assert_eq!(indexes(&workplace).await, before, "a dry run leaves everything");
}

/// The load neither waits for readers of an empty table nor blocks them.
#[tokio::test]
async fn an_empty_table_that_is_in_use_keeps_its_indexes() {
    let workplace =
        Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY)").await.csv("data.csv", "id\n1\n2\n");
    workplace.execute("BEGIN; SELECT FROM t").await;
    let report = workplace.succeed(&["load", "data.csv", "-t", "t", "--json"]).json();
    assert_eq!(report["indexes_deferred"].as_array().unwrap().len(), 0);
    workplace.execute("COMMIT").await;
    assert_eq!(workplace.count("t").await, 2);
}

/// A COPY into a table that the same transaction truncated leaves nothing for VACUUM to do.
#[tokio::test]
async fn rows_copied_into_a_truncated_table_are_frozen() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (7)")
        .await
        .csv("data.csv", (0..1000).fold("id\n".to_owned(), |csv, id| csv + &format!("{id}\n")));
    // Usually VACUUM writes the visibility map; here only FREEZE can have written it.
    let visible = async || -> bool { workplace.value("SELECT pg_relation_size('t', 'vm') > 0").await };
    workplace.succeed(&["load", "data.csv", "-t", "t", "--truncate", "--mode", "batch"]);
    assert!(!visible().await);
    workplace.succeed(&["load", "data.csv", "-t", "t", "--truncate"]);
    let version: i32 = workplace.value("SELECT current_setting('server_version_num')::int").await;
    // Before 14, FREEZE left the visibility map alone.
    assert_eq!(visible().await, version >= 140_000);
    assert_eq!(workplace.count("t").await, 1000);
}

/// The planner's statistics are updated after a load that replaces much of the table.
#[tokio::test]
async fn a_table_that_is_largely_new_is_analyzed() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY)")
        .await
        .csv("data.csv", (0..1000).fold("id\n".to_owned(), |csv, id| csv + &format!("{id}\n")));
    let planned_rows =
        async || -> f32 { workplace.value("SELECT reltuples FROM pg_class WHERE relname = 't'").await };
    let load = |flags: &[&str]| {
        let ran = workplace.succeed(&[&["load", "-t", "t", "--json"], flags].concat());
        ran.json()["phases"]["analyze_seconds"].as_f64().unwrap() > 0.0
    };
    assert!(!load(&["data.csv", "--no-analyze", "--defer-indexes", "never", "--mode", "rows"]));
    assert!(planned_rows().await <= 0.0);
    assert!(load(&["data.csv", "--truncate"]));
    assert!((planned_rows().await - 1000.0).abs() < 0.5);
    workplace.write("more.csv", "id\n1000\n");
    assert!(!load(&["more.csv"]), "one row in a thousand");
    assert!(!load(&["data.csv", "--truncate", "--dry-run"]));
}

/// A concurrent change to an index is not undone when the index is rebuilt.
#[tokio::test]
async fn a_concurrent_change_to_an_index_survives() {
    let workplace =
        Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY, b text); CREATE INDEX b ON t (b)")
            .await
            .csv("data.csv", "id,b\n1,x\n");
    workplace.execute("BEGIN; COMMENT ON INDEX b IS 'precious'; ALTER INDEX b SET (fillfactor = 50)").await;
    let load = workplace.start(&["load", "data.csv", "-t", "t"]);
    let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'b'::regclass)";
    wait_until("that the load waits for the change", async || workplace.value::<bool>(waits).await).await;
    workplace.execute("COMMIT").await;
    let ran: ProgramOutput = load.wait_with_output().unwrap().into();
    assert!(ran.status.success(), "{ran:#?}");
    assert!(ran.stdout.contains("rebuilt after loading"), "{ran:#?}");
    let row = workplace
        .client()
        .query_one(
            "SELECT obj_description(oid, 'pg_class'), reloptions::text FROM pg_class WHERE relname = 'b'",
            &[],
        )
        .await
        .unwrap();
    assert_eq!((row.get(0), row.get(1)), (Some("precious"), Some("{fillfactor=50}")));
    assert_eq!(workplace.csv_of("SELECT * FROM t").await, "1,x\n");
}
