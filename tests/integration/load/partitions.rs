//! `load`: into partitioned tables, and into tables that an extension distributes over other servers.

use serde_json::Value;

use crate::support::citus::CATALOG;
use crate::support::load::{MODES, counts, wait_until};
use crate::support::workplace::{ProgramOutput, Workplace};

/// A table that is partitioned by hash, and one of its partitions by list, with every kind of index.
const TREE: &str = r#"
    CREATE SCHEMA "Odd one";
    CREATE TABLE t (id int NOT NULL, a int NOT NULL, kind text COLLATE "C" NOT NULL) PARTITION BY HASH (id);
    CREATE TABLE t_0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE "Odd one"."t 1" PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1) PARTITION BY LIST (kind);
    CREATE TABLE "Odd one".x PARTITION OF "Odd one"."t 1" FOR VALUES IN ('x');
    CREATE TABLE others PARTITION OF "Odd one"."t 1" DEFAULT;
    ALTER TABLE t ADD CONSTRAINT "the key" UNIQUE (id, kind) INCLUDE (a) WITH (fillfactor = 70)
        DEFERRABLE INITIALLY DEFERRED;
    CREATE UNIQUE INDEX identity ON t (id, a, kind);
    CREATE INDEX somewhat ON t (lower(kind) DESC NULLS LAST) WHERE a > 0;
    CREATE INDEX alone ON "Odd one".x (a, id);
    -- Built by hand, with settings of its own, then attached.
    CREATE INDEX by_a ON ONLY t (a);
    CREATE INDEX first ON t_0 (a) WITH (fillfactor = 50);
    CREATE INDEX second ON "Odd one"."t 1" (a);
    ALTER INDEX by_a ATTACH PARTITION first;
    ALTER INDEX by_a ATTACH PARTITION "Odd one".second;
    ALTER TABLE t_0 ADD PRIMARY KEY (id);
    ALTER INDEX "Odd one".x_a_idx RENAME TO "re named";
    ALTER TABLE t_0 CLUSTER ON first;
    ALTER TABLE t_0 REPLICA IDENTITY USING INDEX t_0_id_a_kind_idx;
    COMMENT ON INDEX by_a IS 'it''s one';
    COMMENT ON INDEX "Odd one"."re named" IS 'part';
    COMMENT ON CONSTRAINT "the key" ON t IS 'whole';
    COMMENT ON CONSTRAINT t_0_id_kind_a_key ON t_0 IS 'part of it'"#;

/// Everything that the catalog says of the indexes of `t` and its partitions except their OIDs, and the OIDs.
async fn indexes(workplace: &Workplace) -> (Vec<String>, Vec<u32>) {
    let sql = "
        SELECT c.oid, concat_ws(' | ', i.indrelid::regclass, c.relname, pg_get_indexdef(c.oid), s.spcname, c.relowner,
                   c.reloptions, i.indisclustered, i.indisreplident, i.indisvalid, i.indisready, i.indimmediate,
                   obj_description(c.oid, 'pg_class'), c.relispartition,
                   (SELECT inhparent::regclass FROM pg_inherits WHERE inhrelid = c.oid),
                   n.conname, pg_get_constraintdef(n.oid), obj_description(n.oid, 'pg_constraint'), n.conislocal,
                   n.coninhcount, (SELECT conname FROM pg_constraint WHERE oid = n.conparentid), t.relreplident,
                   (SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute
                    WHERE attrelid = t.oid AND attnotnull AND attnum > 0))
        FROM pg_partition_tree('t') JOIN pg_index i ON i.indrelid = relid JOIN pg_class c ON c.oid = i.indexrelid
             JOIN pg_class t ON t.oid = i.indrelid LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
             LEFT JOIN pg_constraint n ON n.conindid = c.oid AND n.conrelid = t.oid
        ORDER BY i.indrelid, c.oid";
    let rows = workplace.client().query(sql, &[]).await.unwrap();
    (rows.iter().map(|row| row.get(1)).collect(), rows.iter().map(|row| row.get(0)).collect())
}

#[tokio::test]
async fn indexes_of_partitions_are_rebuilt_exactly() {
    let workplace =
        Workplace::with_sql(TREE).await.csv("data.csv", "id,a,kind\n1,1,x\n2,2,y\n3,3,x\n4,4,y\n");
    if workplace.value::<i32>("SELECT current_setting('server_version_num')::int").await >= 150_000 {
        // Tablespaces belong to the whole server, so the name must be unique.
        let name: String = workplace.value("SELECT 'parts_of_' || current_database()").await;
        workplace.execute("SET allow_in_place_tablespaces = on").await;
        workplace.execute(&format!("CREATE TABLESPACE {name} LOCATION ''")).await;
        workplace.execute(&format!("CREATE INDEX spaced ON t (kind) TABLESPACE {name}")).await;
        workplace.execute("ALTER INDEX t_0_kind_idx SET TABLESPACE pg_default").await;
    }
    let (before, mut oids) = indexes(&workplace).await;
    let flags = ["load", "data.csv", "-t", "t", "--json", "--mode"];
    for mode in MODES {
        let report = workplace.succeed(&[&flags[..], &[mode, "--truncate"]].concat()).json();
        assert_eq!(report["indexes_kept_because"], Value::Null, "{mode}: {report}");
        let names = report["indexes_deferred"].as_array().unwrap();
        for name in ["the key", "identity", "somewhat", "by_a", "alone", "t_0_pkey"] {
            assert!(names.contains(&name.into()), "{mode}: {name}: {report}");
        }
        assert!(!names.contains(&"first".into()), "{mode}: it goes with by_a: {report}");
        let (after, new_oids) = indexes(&workplace).await;
        assert_eq!(after, before, "{mode}");
        assert!(new_oids.iter().all(|oid| !oids.contains(oid)), "{mode}: they were not deferred");
        oids = new_oids;
        assert_eq!(workplace.csv_of("TABLE t ORDER BY 1").await, "1,1,x\n2,2,y\n3,3,x\n4,4,y\n", "{mode}");
    }
    workplace.succeed(&[&flags[..], &["copy", "--truncate", "--dry-run"]].concat());
    assert_eq!(indexes(&workplace).await.1, oids, "a dry run leaves everything");
}

#[tokio::test]
async fn indexes_that_cannot_be_attached_again_are_kept() {
    let cases = [
        ("CREATE INDEX part ON ONLY t (a)", "part: it is not valid"),
        (
            "CREATE UNIQUE INDEX u ON ONLY t (id, a); ALTER TABLE t_0 ADD CONSTRAINT c UNIQUE (id, a);
             ALTER TABLE t_1 ADD UNIQUE (id, a); ALTER INDEX u ATTACH PARTITION c;
             ALTER INDEX u ATTACH PARTITION t_1_id_a_key",
            "t_1_id_a_key: its constraint is not part of that of the partitioned table",
        ),
        (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             CREATE TRIGGER g AFTER INSERT ON t_1 FOR EACH ROW EXECUTE FUNCTION f()",
            "partition t_1: the table has triggers, which may need them",
        ),
        (
            "CREATE VIEW v AS SELECT id, a FROM t_0 GROUP BY id",
            "t_0_pkey: rule _RETURN on view v depends on it",
        ),
        (
            "CREATE TABLE other (id int REFERENCES t)",
            "t_pkey: constraint other_id_fkey on table other depends",
        ),
    ];
    for (sql, reason) in cases {
        let workplace = Workplace::with_sql(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, a int) PARTITION BY HASH (id);
             CREATE TABLE t_0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
             CREATE TABLE t_1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1); {sql}"
        ))
        .await
        .csv("data.csv", "id,a\n1,1\n2,2\n");
        let before = indexes(&workplace).await;
        let ran = workplace.succeed(&["load", "data.csv", "-t", "t"]);
        let stdout = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(stdout.contains(&format!("kept: {reason}")), "{sql}: {ran:#?}");
        assert_eq!(indexes(&workplace).await, before, "{sql}");
        assert_eq!(workplace.count("t").await, 2, "{sql}");
    }
}

#[tokio::test]
async fn indexes_of_many_or_foreign_partitions_are_kept() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int, a int) PARTITION BY LIST (id);
         DO $$ BEGIN
             FOR i IN 0..32 LOOP
                 EXECUTE format('CREATE TABLE t_%s PARTITION OF t FOR VALUES IN (%s)', i, i);
             END LOOP;
         END $$;
         CREATE INDEX ON t (a)",
    )
    .await
    .csv("data.csv", "id,a\n1,1\n");
    let load = ["load", "data.csv", "-t", "t", "--truncate", "--json"];
    let reason = |report: &Value| report["indexes_kept_because"].as_str().map(str::to_owned);
    assert_eq!(reason(&workplace.succeed(&load).json()), None, "34 are few");
    workplace.execute("CREATE INDEX ON t (id)").await;
    let kept = reason(&workplace.succeed(&load).json());
    assert!(kept.as_ref().is_some_and(|kept| kept.starts_with("there are 68, ")), "{kept:?}");
    let report = workplace.succeed(&[&load[..], &["--defer-indexes", "always"]].concat()).json();
    assert_eq!(report["indexes_deferred"], serde_json::json!(["t_a_idx", "t_id_idx"]));
    if workplace.value::<i64>("SELECT count(*) FROM pg_available_extensions WHERE name = 'file_fdw'").await
        > 0
    {
        let sql = "CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
                   CREATE FOREIGN TABLE away PARTITION OF t DEFAULT SERVER files OPTIONS (filename '/nowhere')";
        workplace.execute(sql).await;
        let load = ["load", "data.csv", "-t", "t", "--append", "--defer-indexes", "always"];
        let error = workplace.fail(&load, 2);
        assert!(error.contains("stay in place: partition away: it is a foreign table"), "{error}");
    }
}

/// A concurrent change to the index of a partitioned table, which only that index is locked for, is not undone.
#[tokio::test]
async fn a_concurrent_change_to_a_partitioned_index_survives() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int, b text) PARTITION BY LIST (id); CREATE TABLE t_1 PARTITION OF t DEFAULT;
         CREATE INDEX b ON t (b)",
    )
    .await
    .csv("data.csv", "id,b\n1,x\n");
    workplace.execute("BEGIN; COMMENT ON INDEX b IS 'precious'").await;
    let load = workplace.start(&["load", "data.csv", "-t", "t"]);
    let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'b'::regclass)";
    wait_until("that the load waits for the change", async || workplace.value::<bool>(waits).await).await;
    workplace.execute("COMMIT").await;
    let ran: ProgramOutput = load.wait_with_output().unwrap().into();
    assert!(ran.stdout.contains("rebuilt after loading"), "{ran:#?}");
    assert_eq!(
        workplace.value::<String>("SELECT obj_description('b'::regclass, 'pg_class')").await,
        "precious"
    );
}

/// The lines of the log of rejects.
fn log(workplace: &Workplace) -> Vec<Value> {
    workplace.read("rejects.log.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn duplicates_are_found_in_whichever_partition_they_are() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY HASH (id);
         CREATE TABLE t_0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1) PARTITION BY HASH (id);
         CREATE TABLE t_1_0 PARTITION OF t_1 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE t_1_1 PARTITION OF t_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    )
    .await;
    let rows = |ids: std::ops::Range<u32>| ids.fold(String::new(), |csv, id| csv + &format!("{id},0\n"));
    workplace.write("once.csv", format!("id,v\n{}7,1\n", rows(0..500)));
    workplace.write("twice.csv", format!("id,v\n{}{}", rows(0..500), rows(0..100)));
    for mode in MODES {
        // The index is deferred, and the line is found nevertheless.
        let load = ["load", "once.csv", "-t", "t", "--truncate", "--mode", mode];
        let error = workplace.fail(&load, 1);
        assert!(error.contains("once.csv, line 502 into t:"), "{mode}: {error}");
        assert!(error.contains("Key (id)=(7) already exists"), "{mode}: {error}");

        // All are found by queries for the key of the whole table, however the partition's index is called.
        workplace.execute("TRUNCATE t; INSERT INTO t VALUES (400, 9), (401, 9), (402, 9), (403, 9)").await;
        let flags = ["-t", "t", "--append", "--max-rejects", "104", "--mode", mode, "-vv"];
        let ran = workplace.run(&[&["load", "twice.csv"], &flags[..]].concat());
        assert_eq!(ran.status.code(), Some(3), "{mode}: {ran:#?}");
        assert!(ran.stderr.contains("row_number() OVER"), "{mode}: {}", ran.stderr);
        assert_eq!(workplace.count("t").await, 500, "{mode}");
        let log = log(&workplace);
        assert_eq!(log.len(), 104, "{mode}");
        for reject in &log {
            let id = reject["value"].as_str().unwrap();
            assert_eq!(reject["constraint"], "t_pkey", "{mode}: {reject}");
            assert_eq!(reject["detail"], format!("Key (id)=({id}) already exists."), "{mode}: {reject}");
            let reason = "duplicate key value violates unique constraint \"t_pkey\"";
            assert_eq!(reject["reason"], reason, "{mode}: {reject}");
        }
    }
}

/// A trigger of a single partition may change the key before it is stored.
#[tokio::test]
async fn triggers_of_partitions_are_reckoned_with() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int, k int, UNIQUE (id, k)) PARTITION BY LIST (id);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1);
         CREATE FUNCTION negate() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF NEW.k = 0 THEN RETURN NULL; END IF; NEW.k := -NEW.k; RETURN NEW; END';
         CREATE TRIGGER negate BEFORE INSERT ON t_1 FOR EACH ROW EXECUTE FUNCTION negate()",
    )
    .await
    .csv("data.csv", "id,k\n1,1\n1,-1\n")
    .csv("zero.csv", "id,k\n1,0\n");
    for mode in MODES {
        workplace
            .execute("TRUNCATE t; ALTER TABLE t_1 DISABLE TRIGGER USER; INSERT INTO t VALUES (1, -1)")
            .await;
        workplace.execute("ALTER TABLE t_1 ENABLE TRIGGER USER").await;
        let load = ["load", "data.csv", "-t", "t", "--mode", mode, "--max-rejects", "2", "--append"];
        let ran = workplace.run(&load);
        assert_eq!(ran.status.code(), Some(3), "{mode}: {ran:#?}");
        assert_eq!(workplace.csv_of("TABLE t ORDER BY k").await, "1,-1\n1,1\n", "{mode}");
        assert_eq!(log(&workplace)[0]["first_line"], 2, "{mode}");
        let error = workplace.fail(&["load", "zero.csv", "-t", "t", "--mode", mode, "--append"], 1);
        assert!(error.contains("check the table's BEFORE INSERT triggers: negate"), "{mode}: {error}");
    }
}

#[tokio::test]
async fn rows_of_partitioned_tables_are_skipped_and_rejected() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10);
         CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20)",
    )
    .await
    .csv("data.csv", "id,n\n1,10\n2,20\n12,30\n12,31\n")
    .csv("beyond.csv", "id,n\n1,10\n99,0\n12,20\n");
    let ways = MODES.map(|mode| vec!["--mode", mode]);
    for way in ways.into_iter().chain([vec!["--mode", "rows", "--autocommit"]]) {
        workplace.execute("TRUNCATE t; INSERT INTO t VALUES (2, 0)").await;
        let load = |flags: &[&str]| workplace.run(&[&["load", "-t", "t"], flags, &way[..]].concat());
        let report = load(&["data.csv", "--on-conflict", "skip", "--json"]).json();
        let counts = counts(&report, ["rows_read", "rows_inserted", "rows_updated", "rows_skipped"]);
        assert_eq!(counts, [4, 2, 0, 2], "{way:?}");
        assert_eq!(workplace.csv_of("TABLE t ORDER BY 1").await, "1,10\n2,0\n12,30\n", "{way:?}");
        workplace.execute("TRUNCATE t").await;

        let ran = load(&["beyond.csv"]);
        assert_eq!(ran.status.code(), Some(1), "{way:?}: {ran:#?}");
        assert!(ran.stderr.contains("beyond.csv, line 3 into t: no partition of relation \"t\""), "{ran:#?}");
        assert!(ran.stderr.contains("Partition key of the failing row contains (id) = (99)"), "{ran:#?}");
        if way.len() > 2 {
            continue;
        }
        let ran = load(&["beyond.csv", "--max-rejects", "1"]);
        assert_eq!(ran.status.code(), Some(3), "{way:?}: {ran:#?}");
        assert_eq!(workplace.csv_of("TABLE t ORDER BY 1").await, "1,10\n12,20\n", "{way:?}");
        assert_eq!(workplace.read("rejects.csv"), "id,n\n99,0\n", "{way:?}");
        let reject = &log(&workplace)[0];
        assert_eq!(reject["sqlstate"], "23514", "{way:?}: {reject}");
        assert_eq!(reject["reason"], "no partition of relation \"t\" found for row", "{way:?}");
    }
}

/// The server would refuse a row in a partition to which it does not belong, and the load would be repeated.
#[tokio::test]
async fn several_connections_send_rows_to_their_partitions() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (n int, b bigint, s smallint, txt text, v varchar(40), u uuid, ok boolean, d date,
                         at timestamp, tz timestamptz) PARTITION BY HASH (tz, b, txt, u, ok, d, at, s, n, v);
         CREATE TABLE t_0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES WITH (MODULUS 4, REMAINDER 1) PARTITION BY LIST (ok);
         CREATE TABLE t_1_true PARTITION OF t_1 FOR VALUES IN (true);
         CREATE TABLE t_1_others PARTITION OF t_1 DEFAULT;
         CREATE SCHEMA \"Odd one\";
         CREATE TABLE \"Odd one\".t_3 PARTITION OF t FOR VALUES WITH (MODULUS 8, REMAINDER 3);
         CREATE TABLE t_7 (tz timestamptz, gone int, at timestamp, d date, ok boolean, u uuid, v varchar(40), txt text,
                           s smallint, b bigint, n int);
         ALTER TABLE t_7 DROP COLUMN gone;
         ALTER TABLE t ATTACH PARTITION t_7 FOR VALUES WITH (MODULUS 8, REMAINDER 7);
         CREATE INDEX ON t (n)",
    )
    .await;
    let rows = "SELECT g * 7919 - 100000000, g * 99999999989::bigint - 1000000000000000, g % 60000 - 30000,
                       repeat(md5(g::text), g % 3) || substr('é, \"x\"', 1, g % 7), substr(md5(g::text), 1, g % 14),
                       md5(g::text)::uuid, (ARRAY[true, false, NULL])[g % 3 + 1], date '1970-01-01' + g,
                       timestamp '1999-12-31' + g * interval '7 minutes', CASE WHEN g % 5 > 0 THEN to_timestamp(g * 1e5) END
                FROM generate_series(1, 30000) g";
    let csv = workplace.csv_of(rows).await;
    workplace.write("data.csv", format!("n,b,s,txt,v,u,ok,d,at,tz\n{csv}"));
    let load = ["load", "data.csv", "-t", "t", "--append", "--connections", "3"];
    let directly = [&load[..], &["--partitions", "auto"]].concat();
    let content = async || workplace.csv_of("SELECT tableoid::regclass, * FROM t ORDER BY n").await;
    let through_root = workplace.succeed(&[&load[..], &["--json"]].concat()).json();
    assert_eq!(through_root["partitions_written"], Value::Null);
    assert_eq!(through_root["partitions_not_written_because"], Value::Null);
    let expected = content().await;
    workplace.execute("TRUNCATE t").await;
    let ran = workplace.succeed(&directly);
    assert!(ran.stdout.contains("added to, rows sent to its 4 partitions directly"), "{ran:#?}");
    assert!(!ran.stderr.contains("second attempt"), "{ran:#?}");
    assert!(content().await == expected, "the rows differ, or are in other partitions");

    workplace.execute("TRUNCATE t").await;
    let ran = workplace.config("[load]\npartitions = \"auto\"\n").succeed(&load);
    assert!(ran.stdout.contains("rows sent to its 4 partitions directly"), "{ran:#?}");
}

#[tokio::test]
async fn rows_that_partitions_refuse_are_named() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int PRIMARY KEY, day date) PARTITION BY HASH (id);
         CREATE TABLE t_0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    )
    .await;
    let csv = (0..30_000).fold("id,day\n".to_owned(), |csv, id| {
        // From here on, the server parses the rows, and finds their partitions.
        csv + &format!("{id},{}\n", if id == 15_000 { "12/31/2021" } else { "2021-01-02" })
    });
    workplace.write("data.csv", &csv);
    workplace.write("twice.csv", csv + "7,2021-01-02\n");
    let flags = ["-t", "t", "--append", "--connections", "2", "--partitions", "auto", "--json"];
    let load = |file: &str| workplace.run(&[&["load", file], &flags[..]].concat());
    let error = load("twice.csv").stderr;
    assert!(error.contains("twice.csv, line 30002 into t: duplicate key"), "{error}");
    assert_eq!(workplace.count("t").await, 0);
    let report = load("data.csv").json();
    assert_eq!(
        (&report["rows_loaded"], &report["partitions_written"]),
        (&30_000.into(), &2.into()),
        "{report}"
    );
    let counts = "SELECT count(*), count(DISTINCT id), max(day) FROM t";
    assert_eq!(workplace.csv_of(counts).await, "30000,30000,2021-12-31\n");
    let error = load("data.csv").stderr;
    assert!(error.contains("data.csv, line 2 into t: duplicate key"), "{error}");

    workplace.execute("TRUNCATE t; DROP TABLE t_1; CREATE TABLE t_1 PARTITION OF t FOR VALUES WITH (MODULUS 4, REMAINDER 1)").await;
    let error = load("data.csv").stderr;
    assert!(error.contains("into t: no partition of relation \"t\" found for row"), "{error}");
    assert!(error.contains("data.csv, line "), "{error}");
    assert_eq!(workplace.count("t").await, 0);
}

#[tokio::test]
async fn rows_are_sent_to_the_partitioned_table_where_partitions_may_differ() {
    let two = "CREATE TABLE p_0 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 0);
               CREATE TABLE p_1 PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER 1);";
    let hash = |rest: &str| format!("PARTITION BY HASH (id); {two} {rest}");
    let cases = [
        (
            "CREATE TABLE p (id int, v text) PARTITION BY LIST (id); CREATE TABLE p_0 PARTITION OF p DEFAULT"
                .to_owned(),
            "it is not partitioned by hash",
        ),
        (
            format!("CREATE TABLE p (id int, v text) PARTITION BY HASH ((id + 1)); {two}"),
            "its partition key has an expression",
        ),
        (
            format!("CREATE TABLE p (id numeric, v text) {}", hash("")),
            "the type of its partition key is not one whose hash is known here",
        ),
        (
            format!("CREATE TABLE p (id int, v int4range) {}", hash("")),
            "the server reads the values of a column",
        ),
        (
            format!("CREATE TABLE p (id int, v text, w int DEFAULT 1) {}", hash("")),
            "the files do not fill all columns",
        ),
        (
            format!(
                "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
                     CREATE TABLE p (id int, v text) {}",
                hash("CREATE TRIGGER g AFTER INSERT ON p EXECUTE FUNCTION f()")
            ),
            "it or a partition has triggers",
        ),
        (
            "CREATE TABLE p (id int, v text) PARTITION BY HASH (id);
             CREATE TABLE p_0 PARTITION OF p FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
                .to_owned(),
            "it has fewer than two partitions",
        ),
        (
            format!(
                "CREATE COLLATION c (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
                     CREATE TABLE p (id text COLLATE c, v text) {}",
                hash("")
            ),
            "its partition key has its own operator class, or a collation for which different texts are equal",
        ),
    ];
    let workplace = Workplace::with_sql("").await.csv("data.csv", "id,v\n1,\n2,\n3,\n4,\n");
    for (sql, reason) in cases {
        workplace.execute(&sql).await;
        let flags = ["-t", "p", "--append", "--connections", "2", "--partitions", "auto", "--json"];
        let report = workplace.succeed(&[&["load", "data.csv"], &flags[..]].concat()).json();
        assert_eq!(report["partitions_not_written_because"], reason, "{sql}");
        assert_eq!(report["partitions_written"], Value::Null, "{sql}");
        assert_eq!(workplace.count("p").await, 4, "{sql}");
        workplace.execute("DROP TABLE p").await;
    }
}

#[tokio::test]
async fn one_connection_sends_rows_to_the_partitioned_table_and_says_so() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY HASH (id);
         CREATE TABLE t_0 PARTITION OF t FOR VALUES WITH (MODULUS 4, REMAINDER 0);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES WITH (MODULUS 4, REMAINDER 1);
         CREATE TABLE plain (LIKE t)",
    )
    .await
    .csv("data.csv", (0..40).fold("id,v\n".to_owned(), |csv, id| csv + &format!("{id},\n")));
    let load = |table, flags: &[&str]| {
        let all = ["load", "data.csv", "-t", table, "--receipt", "receipt.json", "--max-rejects", "40"];
        let ran = workplace.run(&[&all, flags].concat());
        assert!(matches!(ran.status.code(), Some(0 | 3)), "{flags:?}: {ran:#?}");
        let because = workplace.read_json("receipt.json")["partitions_not_written_because"].clone();
        (ran, because)
    };
    for (table, flags, reason) in [
        ("t", &["--append", "--partitions", "auto"][..], Some("the load uses one connection")),
        ("t", &["--truncate", "--partitions", "auto"], Some("the load uses one connection")),
        (
            "t",
            &["--truncate", "--partitions", "auto", "--mode", "batch"],
            Some("the load uses one connection"),
        ),
        ("t", &["--truncate", "--partitions", "root"], None),
        ("plain", &["--truncate", "--partitions", "auto"], None),
    ] {
        let (ran, because) = load(table, flags);
        assert_eq!(because.as_str(), reason, "{flags:?}");
        let line = "rows sent to the partitioned table: the load uses one connection";
        assert_eq!(ran.stdout.contains(line), reason.is_some(), "{flags:?}: {ran:#?}");
        if table == "t" {
            // Half of the hashes have no partition.
            let stored = workplace.count("t").await;
            let rejects = log(&workplace);
            assert!(stored < 40 && stored + rejects.len() as i64 == 40, "{flags:?}: {rejects:?}");
            assert!(
                rejects.iter().all(|reject| reject["reason"]
                    .as_str()
                    .unwrap()
                    .contains("no partition of relation \"t\" found for row")),
                "{flags:?}: {rejects:?}"
            );
            workplace.execute("TRUNCATE t").await;
        }
    }
    // Over several, no row can be rejected.
    let several = ["load", "data.csv", "-t", "t", "--append", "--partitions", "auto", "--max-rejects", "5"];
    let error = workplace.fail(&[&several[..], &["--connections", "2"]].concat(), 2);
    assert!(error.contains("--connections 2 cannot be combined with --max-rejects"), "{error}");
    workplace
        .execute(
            "CREATE TABLE t_2 PARTITION OF t FOR VALUES WITH (MODULUS 4, REMAINDER 2);
             CREATE TABLE t_3 PARTITION OF t FOR VALUES WITH (MODULUS 4, REMAINDER 3)",
        )
        .await;
    let by_row = ["--append", "--partitions", "auto", "--mode", "rows", "--autocommit", "--json"];
    let ran = workplace.succeed(&[&["load", "data.csv", "-t", "t"], &by_row[..]].concat());
    let because = &ran.json()["partitions_not_written_because"];
    assert_eq!(because, "--autocommit commits each row by itself");
}

#[tokio::test]
async fn only_an_ordinary_table_is_replaced() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE whole (id int) PARTITION BY LIST (id); CREATE TABLE part PARTITION OF whole DEFAULT;
         CREATE VIEW seen AS TABLE whole; CREATE TABLE spread (id int)",
    )
    .await
    .csv("data.csv", "id\n1\n");
    workplace.execute(&format!("{CATALOG} INSERT INTO pg_dist_partition VALUES ('spread')")).await;
    if workplace.value::<i64>("SELECT count(*) FROM pg_available_extensions WHERE name = 'file_fdw'").await
        > 0
    {
        let sql = "CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
                   CREATE FOREIGN TABLE away (id int) SERVER files OPTIONS (filename '/nowhere')";
        workplace.execute(sql).await;
        let error = workplace.fail(&["load", "data.csv", "-t", "away", "--create", "--replace"], 2);
        assert!(error.contains("make away, which is a foreign table, an ordinary table"), "{error}");
    }
    let before: Vec<String> =
        workplace.values("SELECT oid::text || relname::text FROM pg_class ORDER BY oid").await;
    for (table, kind) in [
        ("whole", "partitioned"),
        ("part", "a partition of another table"),
        ("seen", "a view without an INSTEAD OF INSERT trigger"),
        ("spread", "distributed by Citus"),
    ] {
        let error = workplace.fail(&["load", "data.csv", "-t", table, "--create", "--replace"], 2);
        let message = format!("--create --replace would make {table}, which is {kind}, an ordinary table");
        assert!(error.contains(&message), "{error}");
        assert!(error.contains("drop it first"), "{error}");
    }
    let after: Vec<String> =
        workplace.values("SELECT oid::text || relname::text FROM pg_class ORDER BY oid").await;
    assert_eq!(after, before);
}

/// Citus names a shard's index, or none, and refuses subqueries that refer to what it does not distribute.
#[tokio::test]
async fn duplicates_are_found_where_shards_have_indexes_of_their_own() {
    let workplace = Workplace::with_sql(
        r#"CREATE TABLE t (k0 int, ord int, PRIMARY KEY (k0, ord));
           CREATE FUNCTION "while executing command on worker-1:9701"() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN
               RAISE unique_violation USING
                   MESSAGE = 'duplicate key value violates unique constraint "t_pkey_102008"',
                   DETAIL = 'Key (k0, ord)=(0, 0) already exists.';
           END $$"#,
    )
    .await;
    workplace.execute(&format!("{CATALOG} INSERT INTO pg_dist_partition VALUES ('t')")).await;
    let rows = (0..300).fold(String::new(), |csv, row| csv + &format!("{},{}\n", row % 100, row % 7));
    workplace.write("data.csv", format!("k0,ord\n{rows}"));
    workplace.execute("CREATE TABLE expected (LIKE t INCLUDING ALL)").await;
    let rejected = async |table: &str, mode: &str| {
        workplace.execute(&format!("TRUNCATE {table}; INSERT INTO {table} VALUES (5, 5), (6, 6)")).await;
        let flags = ["data.csv", "-t", table, "--append", "--max-rejects", "300", "--mode", mode, "-vv"];
        let ran = workplace.run(&[&["load"], &flags[..]].concat());
        assert_eq!(ran.status.code(), Some(3), "{mode}: {ran:#?}");
        assert_eq!(ran.stderr.contains("t JOIN unnest("), table == "t", "{mode}: {}", ran.stderr);
        (workplace.content(table).await, workplace.read("rejects.csv"))
    };
    for mode in MODES {
        assert_eq!(rejected("t", mode).await, rejected("expected", mode).await, "{mode}");
    }
    workplace
        .execute(
            r#"TRUNCATE t; CREATE TRIGGER shard AFTER INSERT ON t FOR EACH ROW WHEN (NEW.k0 = 3)
               EXECUTE FUNCTION "while executing command on worker-1:9701"()"#,
        )
        .await;
    workplace.write("data.csv", "k0,ord\n1,1\n3,3\n4,4\n");
    for mode in MODES {
        let load = ["load", "data.csv", "-t", "t", "--append", "--mode", mode];
        let error = workplace.fail(&load, 1);
        assert!(error.contains("data.csv, line 3 into t: duplicate key"), "{mode}: {error}");
        assert!(error.contains("; on the worker worker-1:9701"), "{mode}: {error}");
        let ran = workplace.run(&[&load[..], &["--max-rejects", "1"]].concat());
        assert_eq!(ran.status.code(), Some(3), "{mode}: {ran:#?}");
        let reject = &log(&workplace)[0];
        assert_eq!((&reject["first_line"], &reject["constraint"]), (&3.into(), &"t_pkey".into()), "{mode}");
        assert_eq!(reject["reason"], "duplicate key value violates unique constraint \"t_pkey\"", "{mode}");
        assert_eq!(reject["column"], "k0, ord", "{mode}");
        workplace.execute("TRUNCATE t").await;
    }
}
