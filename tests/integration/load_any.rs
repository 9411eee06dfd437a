//! `load` into tables of all sorts: columns by name, types, conflicts, rejects, tables made for a file.

use std::pin::pin;

use futures::StreamExt;
use tokio_postgres::Client;

use crate::support;
use crate::support::cli::{Ran, Workplace};

const MODES: [&str; 3] = ["rows", "batch", "copy"];

/// A workplace on a database of its own, in which `sql` was run, with `csv` as data.csv.
async fn workplace(sql: &str, csv: impl AsRef<[u8]>) -> (Workplace, Client) {
    let database = support::database().await;
    let workplace = Workplace::on(&database);
    workplace.write("data.csv", csv);
    let client = database.connect().await;
    client.batch_execute(sql).await.unwrap();
    (workplace, client)
}

/// What `query` returns, as CSV without quotes where none are needed.
async fn csv_of(client: &Client, query: &str) -> String {
    let mut rows = pin!(client.copy_out(&format!("COPY ({query}) TO STDOUT (FORMAT csv)")).await.unwrap());
    let mut csv = Vec::new();
    while let Some(bytes) = rows.next().await {
        csv.extend_from_slice(&bytes.unwrap());
    }
    String::from_utf8(csv).unwrap()
}

/// Each mode leaves what the server's own reading of the file leaves, and says who read which column.
#[tokio::test]
async fn every_type_is_what_copy_makes_of_it() {
    let table = "(i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric, n2 numeric(8,2), b bool, t text,
        v varchar(5), c char(6), nm name, by bytea, d date, tm time, tz timetz, ts timestamp, tstz timestamptz,
        iv interval, u uuid, j json, jb jsonb, ip inet, ci cidr, mac macaddr, mood mood, dom positive,
        ia int[], ta text[], nested int[], r int4range, p point, x xml, m money, mb mood[], dd date)";
    let (workplace, client) = workplace(
        &format!(
            "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
             CREATE DOMAIN positive AS numeric CHECK (VALUE > 0);
             CREATE TABLE t {table}; CREATE TABLE reference {table};"
        ),
        "",
    )
    .await;
    let rows = [
        "i2,i4,i8,f4,f8,n,n2,b,t,v,c,nm,by,d,tm,tz,ts,tstz,iv,u,j,jb,ip,ci,mac,mood,dom,ia,ta,nested,r,p,x,m,mb,dd",
        r#"-1,2,3,1.5,-1e-300,123456789012345678901234567890.10,1.005,yes,"a ""b""",abc,xy,some,\x00ff,2020-02-29,12:34:56.789,12:00+02,2021-01-02 03:04:05.6,2021-01-02T03:04:05Z,1 year 2 mons -3 days 04:05:06,A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11,"{""a"": 1}","{""b"":  [1, 2]}",10.0.0.1/8,10.0.0.0/8,08:00:2b:01:02:03,ok,7.5,"{1,NULL,3}","{a,""b,c"",NULL,""NULL""}","{{1,2},{3,4}}","[1,5)","(1,2)",<a/>,$1.50,"{sad,happy}",2021-03-04"#,
        r#",,,NaN,Infinity,NaN,-0.004,f,"","","  ",,\\x5c,-infinity,24:00:00,,infinity,0001-01-01 00:00:00 BC,P1DT2H,,null,true,::1,::/0,,happy,0.001,{},{},"[2:3]={7,8}",empty,,,,{},03/04/2021"#,
        r#"0,0,0,0,0,0,0,0,x,y,z,w,a\\b,2021-12-31,00:00,00:00Z,2021-12-31,2021-12-31 12:00:00.123456+05:30,@ 3 days ago,{a0eebc999c0b4ef8bb6d6bb9bd380a11},[],"""s""",192.168.1.0/24,192.168.1.0/24,0800.2b01.0203,sad,1,,,,"[1,1]","(0,0)",text,2,{ok},2021-12-31"#,
    ];
    let csv = rows.join("\n") + "\n";
    workplace.write("data.csv", &csv);
    {
        use futures::SinkExt as _;
        let sql = "COPY reference FROM STDIN (FORMAT csv, HEADER)";
        let mut sink = pin!(client.copy_in::<_, bytes::Bytes>(sql).await.unwrap());
        sink.send(bytes::Bytes::from(csv.into_bytes())).await.unwrap();
        sink.finish().await.unwrap();
    }
    let reference = csv_of(&client, "SELECT * FROM reference").await;
    for mode in MODES {
        let report = workplace
            .succeed(&["load", "data.csv", "--table", "t", "--truncate", "--mode", mode, "--json"])
            .json();
        assert_eq!(csv_of(&client, "SELECT * FROM t").await, reference, "{mode}");
        let column = |name: &str| {
            let columns = report["columns"].as_array().unwrap();
            columns.iter().find(|column| column["name"] == name).unwrap().clone()
        };
        assert_eq!(column("r")["format"], "text", "{mode}");
        assert_eq!(column("p")["format"], "text", "{mode}");
        if mode != "copy" {
            // A COPY has one format for all columns.
            assert_eq!(column("n")["format"], "binary", "{mode}");
            assert_eq!(column("dd")["text_from"]["line"], 3, "{mode}");
            assert_eq!(column("dd")["text_from"]["value"], "\"03/04/2021\"", "{mode}");
        }
    }
}

/// A value that only the server can read turns the rest of a COPY into text, and nothing is lost at the seam.
#[tokio::test]
async fn a_copy_changes_its_format_on_the_way() {
    let mut csv = "id,day,note\n".to_owned();
    for id in 1..=20_000 {
        let day = if id == 12_345 { "12/31/2021" } else { "2021-01-02" };
        csv += &format!("{id},{day},\"tab\t, back\\slash, \n line {id}\"\n");
    }
    let (workplace, client) =
        workplace("CREATE TABLE t (id int PRIMARY KEY, day date, note text)", csv).await;
    for mode in MODES {
        let ran = workplace.succeed(&["load", "data.csv", "-t", "t", "--truncate", "--mode", mode]);
        assert!(ran.stdout.contains("data.csv, line 24690 on, for \"12/31/2021\""), "{mode}: {ran:#?}");
        let wrong =
            "SELECT count(*), count(*) FILTER (WHERE note = E'tab\\t, back\\\\slash, \\n line ' || id),
            count(*) FILTER (WHERE day = '2021-12-31') FROM t";
        assert_eq!(csv_of(&client, wrong).await, "20000,20000,1\n", "{mode}");
    }
}

#[tokio::test]
async fn columns_are_named_renamed_and_left_out() {
    let (workplace, client) = workplace(
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, a int, b int DEFAULT 5, c int GENERATED ALWAYS AS (a) STORED)",
        "x,extra,ID\n1,?,10\n",
    )
    .await;
    let unknown = workplace.fail(&["load", "data.csv", "-t", "t"], 1);
    assert!(unknown.contains("the header names \"x\", \"extra\", which t does not have"), "{unknown}");
    assert!(unknown.contains("its columns are id, a, b, c"), "{unknown}");
    for mode in MODES {
        let flags =
            ["load", "data.csv", "-t", "t", "--map", "x=a", "--ignore-extra", "--truncate", "--mode", mode];
        let ran = workplace.succeed(&flags);
        assert!(ran.stdout.contains("ignored extra: not in the table"), "{ran:#?}");
        assert_eq!(csv_of(&client, "SELECT * FROM t").await, "10,1,5,1\n", "{mode}");
        workplace.write("bare.csv", "7,8\n");
        workplace.succeed(&[
            "load",
            "bare.csv",
            "-t",
            "t",
            "--no-header",
            "--columns",
            "b,a",
            "--truncate",
            "--mode",
            mode,
        ]);
        assert_eq!(csv_of(&client, "SELECT a, b, c FROM t").await, "8,7,8\n", "{mode}");
    }
    workplace.write("generated.csv", "c\n1\n");
    let generated = workplace.fail(&["load", "generated.csv", "-t", "t"], 1);
    assert!(generated.contains("c is a generated column"), "{generated}");
    let map = workplace.fail(&["load", "data.csv", "-t", "t", "--map", "y=a"], 2);
    assert!(map.contains("--map y=… names a column that data.csv does not have"), "{map}");
}

/// Bad rows of every sort, in every mode: set aside as they were, with line and reason; the rest is loaded.
#[tokio::test]
async fn bad_rows_are_set_aside_and_the_rest_is_loaded() {
    let mut csv = "id,parent,n,note\r\n".to_owned();
    for id in 1..=3000 {
        csv += &match id {
            100 => "100,1,x,type\r\n".to_owned(),
            101 => "101,1\r\n".to_owned(),
            500 => "499,1,1,duplicate\r\n".to_owned(),
            1000 => "1000,77,1,\"foreign\r\nkey\"\r\n".to_owned(),
            1500 => "1500,1,-1,check\r\n".to_owned(),
            2000 => "2000,1,1,\r\n".to_owned(),
            2500 => "2500,1,1,raise\r\n".to_owned(),
            _ => format!("{id},1,{id},ok\r\n"),
        };
    }
    let (workplace, client) = workplace(
        "CREATE TABLE parents (id int PRIMARY KEY); INSERT INTO parents VALUES (1);
         CREATE TABLE t (id int PRIMARY KEY, parent int REFERENCES parents, n int CHECK (n > 0), note text NOT NULL);
         CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN IF NEW.note = 'raise' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER raise BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION raise()",
        &csv,
    )
    .await;
    for mode in MODES {
        let ran = workplace.run(&[
            "load",
            "data.csv",
            "-t",
            "t",
            "--truncate",
            "--mode",
            mode,
            "--max-rejects",
            "1%",
            "--rejects",
            "bad.csv",
            "--json",
        ]);
        assert_eq!(ran.status.code(), Some(3), "{mode}: {ran:#?}");
        let report = ran.json();
        let numbers = ["rows_read", "rows_loaded", "rows_rejected"].map(|key| report[key].as_u64().unwrap());
        assert_eq!(numbers, [3000, 2993, 7], "{mode}");
        assert_eq!(
            csv_of(&client, "SELECT count(*), count(DISTINCT id) FROM t").await,
            "2993,2993\n",
            "{mode}"
        );
        assert_eq!(
            std::fs::read_to_string(workplace.path("bad.csv")).unwrap(),
            "id,parent,n,note\r\n100,1,x,type\r\n101,1\r\n499,1,1,duplicate\r\n1000,77,1,\"foreign\r\nkey\"\r\n\
             1500,1,-1,check\r\n2000,1,1,\r\n2500,1,1,raise\r\n",
            "{mode}"
        );
        let log = std::fs::read_to_string(workplace.path("bad.log.jsonl")).unwrap();
        let log: Vec<serde_json::Value> =
            log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let found: Vec<_> = log
            .iter()
            .map(|reject| {
                let text = |key: &str| reject[key].as_str().unwrap_or("-").to_owned();
                (
                    reject["first_line"].as_u64().unwrap(),
                    reject["last_line"].as_u64().unwrap(),
                    text("sqlstate"),
                    text("constraint"),
                    text("column"),
                    text("value"),
                )
            })
            .collect();
        let row = |first, last, sqlstate: &str, constraint: &str, column: &str, value: &str| {
            (first, last, sqlstate.to_owned(), constraint.to_owned(), column.to_owned(), value.to_owned())
        };
        assert_eq!(
            found,
            [
                row(101, 101, "-", "-", "n", "\"x\""),
                row(102, 102, "-", "-", "-", "-"),
                row(501, 501, "23505", "t_pkey", "id", "\"499\""),
                row(1001, 1002, "23503", "t_parent_fkey", "-", "-"),
                row(1502, 1502, "23514", "t_n_check", "-", "-"),
                row(2002, 2002, "23502", "-", "note", "-"),
                row(2502, 2502, "P0001", "-", "-", "-"),
            ],
            "{mode}"
        );
        let offset = log[3]["byte_offset"].as_u64().unwrap() as usize;
        assert!(csv[offset..].starts_with("1000,77,"), "{mode}: {}", &csv[offset..offset + 20]);
    }
}

#[tokio::test]
async fn too_many_rejects_roll_everything_back_and_are_kept() {
    let mut csv = "id\n".to_owned();
    for id in 0..1000 {
        csv += &if id % 10 == 0 { "x\n".to_owned() } else { format!("{id}\n") };
    }
    let (workplace, client) = workplace("CREATE TABLE t (id int); INSERT INTO t VALUES (-1)", csv).await;
    for mode in MODES {
        for limit in ["9", "9%"] {
            let message = workplace.fail(
                &["load", "data.csv", "-t", "t", "--truncate", "--mode", mode, "--max-rejects", limit],
                1,
            );
            assert!(
                message.contains(&format!("were rejected, more than --max-rejects {limit}")),
                "{message}"
            );
            assert!(message.contains("the rejected rows are in rejects.csv"), "{message}");
            assert_eq!(csv_of(&client, "SELECT * FROM t").await, "-1\n", "{mode}");
            assert!(workplace.path("rejects.csv").exists());
        }
    }
    assert_eq!(
        workplace.run(&["load", "data.csv", "-t", "t", "--max-rejects", "100"]).status.code(),
        Some(3)
    );
}

/// Many duplicates in one piece, together with rows that are wrong in another way.
#[tokio::test]
async fn duplicates_are_set_aside_in_any_company() {
    let mut csv = "id,n\n".to_owned();
    for id in 0..2000 {
        csv += &match id % 100 {
            7 => format!("{},1\n", id - 1),
            50 => format!("{id},-1\n"),
            _ => format!("{id},1\n"),
        };
    }
    let (workplace, client) = workplace("CREATE TABLE t (id int UNIQUE, n int CHECK (n > 0))", csv).await;
    for mode in MODES {
        let report = workplace
            .run(&[
                "load",
                "data.csv",
                "-t",
                "t",
                "--truncate",
                "--mode",
                mode,
                "--max-rejects",
                "40",
                "--json",
            ])
            .json();
        assert_eq!((&report["rows_loaded"], &report["rows_rejected"]), (&1960.into(), &40.into()), "{mode}");
        assert_eq!(csv_of(&client, "SELECT count(*) FROM t").await, "1960\n", "{mode}");
    }
}

/// Stretches that are good, and others of which many rows or all are bad, for several reasons: the same ones are set
/// aside in every mode, also where a rule keeps a COPY from becoming INSERTs.
#[tokio::test]
async fn bad_rows_may_stand_close_together() {
    let mut csv = "id,parent,n\n".to_owned();
    let mut expected = csv.clone();
    let mut state = 1_u32;
    for id in 1..=12_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let percent = match id {
            2000..4000 => 20,
            6000..6100 => 100,
            8000.. => 2,
            _ => 0,
        };
        let bad = state >> 16 & 0xfff < 41 * percent;
        let row = match (bad, id % 3) {
            (false, _) => format!("{id},1,1\n"),
            (true, 0) => format!("{id},1,-1\n"),
            (true, 1) => format!("{id},7,1\n"),
            (true, _) => format!("{},1,1\n", id / 10),
        };
        csv += &row;
        expected += if bad { &row } else { "" };
    }
    let table = "(id int PRIMARY KEY, parent int REFERENCES parents, n int CHECK (n > 0))";
    let (workplace, client) = workplace(
        &format!(
            "CREATE TABLE parents (id int PRIMARY KEY); INSERT INTO parents VALUES (1);
             CREATE TABLE t {table}; CREATE TABLE ruled {table};
             CREATE RULE away AS ON INSERT TO ruled DO INSTEAD NOTHING"
        ),
        &csv,
    )
    .await;
    let mut logs = Vec::new();
    for (table, mode) in [("t", "rows"), ("t", "batch"), ("t", "copy"), ("ruled", "copy")] {
        let flags = ["load", "data.csv", "-t", table, "--truncate", "--mode", mode, "--max-rejects", "50%"];
        assert_eq!(workplace.run(&flags).status.code(), Some(3), "{table}, {mode}");
        let rejects = std::fs::read_to_string(workplace.path("rejects.csv")).unwrap();
        assert_eq!(rejects, expected, "{table}, {mode}");
        let sum = format!("SELECT count(*) + {} FROM {table}", expected.lines().count() - 1);
        assert_eq!(csv_of(&client, &sum).await, "12000\n", "{table}, {mode}");
        let log = std::fs::read_to_string(workplace.path("rejects.log.jsonl")).unwrap();
        let reasons: Vec<_> = log
            .lines()
            .map(|line| {
                let reject: serde_json::Value = serde_json::from_str(line).unwrap();
                let constraint = reject["constraint"].as_str().unwrap().replace("ruled", "t");
                (reject["first_line"].clone(), constraint, reject["column"].clone(), reject["value"].clone())
            })
            .collect();
        logs.push(reasons);
    }
    assert!(logs.iter().all(|log| *log == logs[0]));
}

#[tokio::test]
async fn rows_that_are_there_are_skipped_or_updated() {
    let (workplace, client) = workplace(
        "CREATE TABLE t (id int PRIMARY KEY, n int, other text DEFAULT 'kept')",
        "id,n\n1,10\n2,20\n3,30\n3,31\n",
    )
    .await;
    for mode in MODES {
        client.batch_execute("TRUNCATE t; INSERT INTO t VALUES (2, 0, 'old')").await.unwrap();
        let report = |action: &str| {
            let flags = ["load", "data.csv", "-t", "t", "--mode", mode, "--json", "--on-conflict", action];
            let report = workplace.succeed(&flags).json();
            ["rows_read", "rows_inserted", "rows_updated", "rows_skipped"]
                .map(|key| report[key].as_u64().unwrap())
        };
        assert_eq!(report("skip"), [4, 2, 0, 2], "{mode}");
        assert_eq!(
            csv_of(&client, "SELECT * FROM t ORDER BY id").await,
            "1,10,kept\n2,0,old\n3,30,kept\n",
            "{mode}"
        );
        client.batch_execute("DELETE FROM t WHERE id <> 2").await.unwrap();
        assert_eq!(report("update:id"), [4, 2, 2, 0], "{mode}");
        assert_eq!(
            csv_of(&client, "SELECT * FROM t ORDER BY id").await,
            "1,10,kept\n2,20,old\n3,31,kept\n",
            "{mode}"
        );
    }
    let message = workplace.fail(&["load", "data.csv", "-t", "t", "--on-conflict", "update:other"], 2);
    assert!(message.contains("the file has no column other"), "{message}");
}

/// What only the end of the transaction would tell is asked for row by row, once it is known that rows are bad. Then
/// rows that come before what they need are set aside too, and load afterwards.
#[tokio::test]
async fn rows_that_break_deferred_constraints_are_set_aside() {
    let (workplace, client) = workplace(
        "CREATE TABLE t (id int PRIMARY KEY, parent int REFERENCES t DEFERRABLE INITIALLY DEFERRED)",
        "id,parent\n1,2\n2,\n3,99\n4,1\n",
    )
    .await;
    let load = |mode: &str, limit: &str| {
        workplace.run(&["load", "data.csv", "-t", "t", "--truncate", "--mode", mode, "--max-rejects", limit])
    };
    for mode in MODES {
        let ran = load(mode, "3");
        assert_eq!(ran.status.code(), Some(3), "{mode}: {ran:#?}");
        let rejects = std::fs::read_to_string(workplace.path("rejects.csv")).unwrap();
        assert!(rejects.contains("3,99\n"), "{mode}: {rejects}");
        assert_eq!(csv_of(&client, "SELECT count(*) FROM t WHERE parent = 99").await, "0\n", "{mode}");
        let error = workplace.fail(&["load", "data.csv", "-t", "t", "--truncate", "--mode", mode], 1);
        assert!(error.contains("Key (parent)=(99) is not present"), "{mode}: {error}");
    }
    // Without such a row, one may come before the one that it needs.
    workplace.write("data.csv", "id,parent\n1,2\n2,\n");
    for mode in MODES {
        assert_eq!(load(mode, "2").status.code(), Some(0), "{mode}");
    }
}

/// A trigger that returns nothing ends a load; with --on-conflict skip it can only be named.
#[tokio::test]
async fn rows_that_a_trigger_swallows_are_not_passed_over() {
    let (workplace, client) = workplace(
        "CREATE TABLE t (id int PRIMARY KEY);
         CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF NEW.id = 2 THEN RETURN NULL; END IF; RETURN NEW; END';
         CREATE TRIGGER swallow BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION nothing()",
        "id\n1\n2\n3\n",
    )
    .await;
    for mode in MODES {
        let error = workplace.fail(&["load", "data.csv", "-t", "t", "--mode", mode], 1);
        assert!(error.contains("the server inserted 2 of 3 rows into t"), "{mode}: {error}");
        let ran =
            workplace.succeed(&["load", "data.csv", "-t", "t", "--mode", mode, "--on-conflict", "skip"]);
        assert!(ran.stdout.contains("or by a trigger before INSERT: swallow"), "{mode}: {ran:#?}");
        client.batch_execute("DELETE FROM t").await.unwrap();
    }
}

#[tokio::test]
async fn the_log_has_what_the_server_knows_of_the_key() {
    let (workplace, _) = workplace(
        "CREATE TABLE t (a int, b int, PRIMARY KEY (a, b)); INSERT INTO t VALUES (1, 1)",
        "a,b\n1,1\n2,2\n",
    )
    .await;
    for mode in MODES {
        let flags = ["load", "data.csv", "-t", "t", "--mode", mode, "--max-rejects", "1", "--dry-run"];
        assert_eq!(workplace.run(&flags).status.code(), Some(3), "{mode}");
        let log = std::fs::read_to_string(workplace.path("rejects.log.jsonl")).unwrap();
        let log: serde_json::Value = serde_json::from_str(&log).unwrap();
        assert_eq!(log["column"], "a, b", "{mode}");
    }
    // Alone in its piece, a row has all that the server says of it.
    workplace.write("data.csv", "a,b\n1,1\n");
    workplace.run(&["load", "data.csv", "-t", "t", "--max-rejects", "1"]);
    let log = std::fs::read_to_string(workplace.path("rejects.log.jsonl")).unwrap();
    assert!(log.contains(r#""detail":"Key (a, b)=(1, 1) already exists.""#), "{log}");
}

#[tokio::test]
async fn a_failed_load_leaves_a_receipt_too() {
    let (workplace, _) = workplace("CREATE TABLE t (id int)", "id\n1\nx\n").await;
    let error = workplace.fail(&["load", "data.csv", "-t", "t", "--receipt", "receipt.json"], 1);
    let receipt = std::fs::read_to_string(workplace.path("receipt.json")).unwrap();
    let receipt: serde_json::Value = serde_json::from_str(&receipt).unwrap();
    assert_eq!(receipt["command"], "load");
    assert!(error.contains(receipt["error"]["message"].as_str().unwrap()), "{receipt} {error}");
}

/// What comes by a pipe is kept until the table for it is there.
#[tokio::test]
async fn a_table_is_made_for_standard_input() {
    let (workplace, client) = workplace("", "id,day\n1,2021-02-03\n2,\n").await;
    let file = std::fs::File::open(workplace.path("data.csv")).unwrap();
    let mut command = workplace.command(&["load", "-", "-t", "t", "--create", "--json"]);
    command.stdin(file);
    let ran = Ran::of(command);
    assert!(ran.status.success(), "{ran:#?}");
    assert_eq!(ran.json()["path"], "standard input");
    assert_eq!(csv_of(&client, "SELECT day + 1, id FROM t").await, "2021-02-04,1\n,2\n");
}

/// A failed batch is what is said, even when the next one needs another statement.
#[tokio::test]
async fn a_refusal_before_a_change_of_format_is_the_error() {
    let mut csv = "id,day\n1,2021-01-02\n1,2021-01-02\n".to_owned();
    for id in 3..6000 {
        csv += &format!("{id},{}\n", if id == 20 { "12/31/2021" } else { "2021-01-02" });
    }
    let (workplace, _) = workplace("CREATE TABLE t (id int PRIMARY KEY, day date)", csv).await;
    for mode in MODES {
        let error = workplace.fail(&["load", "data.csv", "-t", "t", "--mode", mode], 1);
        assert!(error.contains("Key (id)=(1) already exists"), "{mode}: {error}");
    }
}

#[tokio::test]
async fn a_table_is_made_for_the_file() {
    let (workplace, client) = workplace(
        "",
        "Id,zip,amount,day,at,ok,\"Full name\"\n1,01234,1.50,2021-01-02,2021-01-02 03:04:05,true,x\n2,98765,-2.25,2021-01-03,,f,\n",
    )
    .await;
    let ddl = workplace.succeed(&["load", "data.csv", "-t", "made", "--ddl-only"]).stdout;
    insta::assert_snapshot!(ddl, @r#"
    CREATE TABLE "made" (
        "id" integer,
        "zip" text,
        "amount" numeric,
        "day" date,
        "at" timestamp,
        "ok" boolean,
        "Full name" text
    );
    "#);
    assert!(workplace.fail(&["load", "data.csv", "-t", "made"], 1).contains("there is no table made"));
    let ran = workplace.succeed(&["load", "data.csv", "-t", "made", "--create"]);
    assert!(ran.stderr.contains("\"zip\" text"), "{ran:#?}");
    assert_eq!(csv_of(&client, "SELECT id, zip, amount FROM made").await, "1,01234,1.50\n2,98765,-2.25\n");
    // It is there now, so it is added to.
    workplace.succeed(&["load", "data.csv", "-t", "made", "--create"]);
    assert_eq!(csv_of(&client, "SELECT count(*) FROM made").await, "4\n");
    workplace.write("data.csv", "only\nx\n");
    workplace.succeed(&["load", "data.csv", "-t", "made", "--create", "--replace"]);
    assert_eq!(csv_of(&client, "SELECT * FROM made").await, "x\n");
    // A load that fails leaves no table behind.
    workplace.write("bad.csv", "a,b\n1,2\n3\n");
    workplace.fail(&["load", "bad.csv", "-t", "gone", "--create"], 1);
    assert_eq!(csv_of(&client, "SELECT to_regclass('gone') IS NULL").await, "t\n");
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_a_receipt_is_kept() {
    let (workplace, client) = workplace("CREATE TABLE t (id int PRIMARY KEY)", "id\n1\n2\n").await;
    for mode in MODES {
        let ran = workplace.succeed(&["load", "data.csv", "-t", "t", "--mode", mode, "--dry-run"]);
        assert!(ran.stdout.starts_with("could load 2 rows into t"), "{ran:#?}");
        assert_eq!(csv_of(&client, "SELECT count(*) FROM t").await, "0\n");
    }
    workplace.succeed(&["load", "data.csv", "-t", "t", "--receipt", "receipt.json"]);
    let receipt: serde_json::Value =
        serde_json::from_slice(&std::fs::read(workplace.path("receipt.json")).unwrap()).unwrap();
    assert_eq!(receipt["rows_loaded"], 2);
    // `printf 'id\n1\n2\n' | sha256sum`
    assert_eq!(
        receipt["files"][0]["sha256"],
        "1d1c91d15ace6e21ea5f551e16e717f326992bdf800f6696628859be29b906bf"
    );
    workplace.fail(&["load", "data.csv", "-t", "t", "--receipt", "no/such/place.json"], 1);
}

/// A rule would change what an INSERT does, and policies what a COPY may do: both are said before.
#[tokio::test]
async fn rules_and_policies_are_not_got_around_silently() {
    let (workplace, client) = workplace(
        "CREATE TABLE t (id int); CREATE TABLE elsewhere (id int);
         CREATE RULE away AS ON INSERT TO t DO INSTEAD INSERT INTO elsewhere VALUES (NEW.id)",
        "id\n1\n",
    )
    .await;
    for mode in ["rows", "batch"] {
        let message = workplace.fail(&["load", "data.csv", "-t", "t", "--mode", mode], 1);
        assert!(message.contains("t has a rule for INSERT"), "{message}");
    }
    workplace.succeed(&["load", "data.csv", "-t", "t"]);
    assert_eq!(csv_of(&client, "SELECT count(*) FROM t").await, "1\n");
}

/// `load` of a pipe that ends badly says on which line; nothing is read twice.
#[tokio::test]
async fn standard_input_keeps_its_line_numbers() {
    let (workplace, _client) = workplace("CREATE TABLE t (id int CHECK (id <> 7))", "").await;
    for mode in ["rows", "copy"] {
        let mut command = workplace.command(&["load", "-", "-t", "t", "--mode", mode]);
        command.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"id\n1\n\"2\n\"\n7\n8\n").unwrap();
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert!(ran.stderr.contains("standard input, line 5 into t"), "{mode}: {ran:#?}");
    }
}

/// The rejects of one load are corrected and loaded again from the file that the next one would write to.
#[tokio::test]
async fn what_is_read_is_never_written_over() {
    let csv = "id\n1\nx\n";
    let (workplace, client) = workplace("CREATE TABLE t (id int)", csv).await;
    workplace.write("rejects.csv", csv);
    for flags in [
        &["rejects.csv", "--max-rejects", "5"][..],
        &["./rejects.csv", "--max-rejects", "5"],
        &["data.csv", "--max-rejects", "5", "--rejects", "data.csv"],
        &["data.csv", "--max-rejects", "5", "--rejects", "out.x", "--receipt", "out.x"],
        &["data.csv", "--receipt", "data.csv"],
        &["data.csv", "--receipt", "/dev/null"],
    ] {
        let message = workplace.fail(&[&["load", "-t", "t"], flags].concat(), 2);
        assert!(message.contains("name another file with --re"), "{flags:?}: {message}");
        assert_eq!(std::fs::read_to_string(workplace.path("data.csv")).unwrap(), csv);
        assert_eq!(std::fs::read_to_string(workplace.path("rejects.csv")).unwrap(), csv);
    }
    // A clean load leaves the rejects of an earlier one where they are.
    workplace.write("clean.csv", "id\n1\n");
    workplace.succeed(&["load", "clean.csv", "-t", "t", "--max-rejects", "5"]);
    assert!(workplace.path("rejects.csv").exists());
    assert_eq!(csv_of(&client, "SELECT count(*) FROM t").await, "1\n");
}

/// `5` is five years in an `interval year`, and five seconds where the input function does not know the fields.
#[tokio::test]
async fn short_intervals_are_read_with_their_fields_or_not_at_all() {
    let table = "CREATE TABLE t (a interval year, b interval year[], c numeric(5,1))";
    let (workplace, client) = workplace(table, "a,c\n1 year,1\n5,1e-20000\n2 years,2\n").await;
    for mode in MODES {
        workplace.succeed(&["load", "data.csv", "-t", "t", "--truncate", "--mode", mode]);
        let found = csv_of(&client, "SELECT a, c FROM t").await;
        assert_eq!(found, "1 year,1.0\n5 years,0.0\n2 years,2.0\n", "{mode}");
    }
    workplace.write("data.csv", "b\n{5}\n");
    workplace.succeed(&["load", "data.csv", "-t", "t", "--truncate", "--mode", "copy"]);
    assert_eq!(csv_of(&client, "SELECT b FROM t").await, "\"{\"\"5 years\"\"}\"\n");
    for mode in ["rows", "batch"] {
        let message = workplace.fail(&["load", "data.csv", "-t", "t", "--mode", mode], 1);
        assert!(message.contains("only COPY can read interval year[] into column b of t"), "{message}");
    }
}

#[tokio::test]
async fn a_dry_run_checks_deferred_constraints_and_an_empty_file_empties_nothing() {
    let (workplace, client) = workplace(
        "CREATE TABLE t (id int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO t VALUES (7)",
        "id\n1\n1\n",
    )
    .await;
    for mode in MODES {
        let message = workplace.fail(&["load", "data.csv", "-t", "t", "--mode", mode, "--dry-run"], 1);
        assert!(message.contains("SQLSTATE 23505"), "{message}");
        workplace.write("empty.csv", "");
        workplace.succeed(&["load", "empty.csv", "-t", "t", "--mode", mode, "--truncate"]);
        assert_eq!(csv_of(&client, "SELECT * FROM t").await, "7\n", "{mode}");
    }
}

/// Each connection has a transaction, and nothing is committed before all of them have their rows.
#[tokio::test]
async fn several_connections_copy_as_one() {
    let mut csv = "id,day\n".to_owned();
    for id in 0..60_000 {
        // The server reads the rest of the days of whichever connections come behind.
        let day = if id == 30_000 { "12/31/2021" } else { "2021-01-02" };
        csv += &format!("{id},{day}\n");
    }
    let (workplace, client) = workplace("CREATE TABLE t (id int PRIMARY KEY, day date)", &csv).await;
    let load = |flags: &[&str]| {
        workplace.run(&[&["load", "data.csv", "-t", "t", "--connections", "3"], flags].concat())
    };
    let count = "SELECT count(*), count(DISTINCT id), min(day), max(day) FROM t";
    let ran = load(&["--dry-run"]);
    assert!(ran.status.success(), "{ran:#?}");
    assert_eq!(csv_of(&client, count).await, "0,0,,\n");
    let ran = load(&[]);
    assert!(ran.stdout.contains("copy, a transaction each, committed together, 3 connections"), "{ran:#?}");
    assert_eq!(csv_of(&client, count).await, "60000,60000,2021-01-02,2021-12-31\n");
    // A key that is there already.
    assert!(load(&[]).stderr.contains("already exists"));
    assert_eq!(csv_of(&client, count).await, "60000,60000,2021-01-02,2021-12-31\n");
    // A key that is twice in the file, so far apart that two transactions get it: one waits for the other.
    client.batch_execute("TRUNCATE t").await.unwrap();
    csv += "5,2021-01-02\n";
    workplace.write("data.csv", &csv);
    let ran = load(&[]);
    assert!(ran.stderr.contains("Key (id)=(5) already exists"), "{ran:#?}");
    assert!(ran.stderr.contains("data.csv, line 60002"), "{ran:#?}");
    assert_eq!(csv_of(&client, count).await, "0,0,,\n");
    for (flags, why) in [
        (&["--truncate"][..], "needs --append"),
        (&["--mode", "batch"], "needs --mode copy, or --mode rows --autocommit"),
        (&["--max-rejects", "1"], "does not go with --max-rejects"),
        (&["--on-conflict", "skip"], "does not go with --on-conflict"),
    ] {
        let ran = load(flags);
        assert_eq!(ran.status.code(), Some(2), "{ran:#?}");
        assert!(ran.stderr.contains(why), "{ran:#?}");
    }
    workplace.write("people.csv", "id\n1\n");
    let absent = workplace.fail(&["load", "people.csv", "--append", "--connections", "3"], 2);
    assert!(absent.contains("--connections 3 needs a table that is there"), "{absent}");
}

/// What `08.10.2026` means depends on a setting, so it is named, with the way to change it.
#[tokio::test]
async fn dates_that_depend_on_a_setting_say_so() {
    let (workplace, client) = workplace("CREATE TABLE t (id int, day date)", "id,day\n1,08.10.2026\n").await;
    let ran = workplace.succeed(&["load", "data.csv", "-t", "t"]);
    assert!(ran.stdout.contains("dates   read with DateStyle ISO, MDY: day"), "{ran:#?}");
    workplace.write("data.csv", "id,day\n1,20.10.2026\n");
    let error = workplace.fail(&["load", "data.csv", "-t", "t"], 1);
    assert!(error.contains("PGOPTIONS='-c datestyle=DMY'"), "{error}");
    let mut command = workplace.command(&["load", "data.csv", "-t", "t", "--truncate"]);
    command.env("PGOPTIONS", "-c datestyle=DMY");
    let ran = Ran::of(command);
    assert!(ran.stdout.contains("DateStyle ISO, DMY"), "{ran:#?}");
    assert_eq!(csv_of(&client, "SELECT day FROM t").await, "2026-10-20\n");
}

#[tokio::test]
async fn a_header_of_one_name_suggests_another_delimiter() {
    let (workplace, _) = workplace("CREATE TABLE t (id int, n int)", "id;n\n1;2\n").await;
    for flags in [&["-t", "t"][..], &["-t", "new", "--create"]] {
        let error = workplace.fail(&[&["load", "data.csv"], flags].concat(), 1);
        assert!(error.contains("--delimiter ';', or --sniff"), "{error}");
    }
    workplace.succeed(&["load", "data.csv", "-t", "new", "--create", "--sniff"]);
    let ran = workplace.succeed(&["load", "data.csv", "-t", "new", "--create", "--sniff"]);
    assert!(ran.stderr.contains("new is there already, so --create has nothing to do"), "{ran:#?}");
}

/// Rows are set aside for their own faults only: a key that is there is none where it is to be updated, where a trigger
/// changes it, or where it is a child's.
#[tokio::test]
async fn no_row_is_set_aside_for_the_fault_of_another() {
    let (workplace, client) = workplace(
        "CREATE TABLE two (id int PRIMARY KEY, b text UNIQUE, v int);
         CREATE TABLE shifted (id int PRIMARY KEY);
         CREATE FUNCTION shift() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN NEW.id := NEW.id + 1000; RETURN NEW; END';
         CREATE TRIGGER shift BEFORE INSERT ON shifted FOR EACH ROW EXECUTE FUNCTION shift();
         CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent)",
        "",
    )
    .await;
    workplace.write("two.csv", "id,b,v\n1,x,10\n2,y,20\n3,z,30\n9,x,90\n");
    workplace.write("ids.csv", (1..10).fold("id\n".to_owned(), |csv, id| csv + &format!("{id}\n")));
    for mode in MODES {
        let load = |flags: &[&str]| {
            let flags = [&["load", "--mode", mode, "--max-rejects", "9", "--json"], flags].concat();
            let report = workplace.run(&flags).json();
            ["rows_inserted", "rows_updated", "rows_skipped", "rows_rejected"]
                .map(|key| report[key].as_u64().unwrap())
        };
        let reset = "TRUNCATE two, shifted, parent, child;
                     INSERT INTO two VALUES (1, 'x', 0), (2, 'y', 0), (3, 'z', 0);
                     ALTER TABLE shifted DISABLE TRIGGER shift;
                     INSERT INTO shifted SELECT generate_series(1, 9); INSERT INTO shifted VALUES (1005);
                     ALTER TABLE shifted ENABLE TRIGGER shift;
                     INSERT INTO child SELECT generate_series(1, 5); INSERT INTO parent VALUES (9)";
        client.batch_execute(reset).await.unwrap();
        assert_eq!(load(&["two.csv", "-t", "two", "--on-conflict", "update"]), [0, 3, 0, 1], "{mode}");
        client.batch_execute(reset).await.unwrap();
        assert_eq!(load(&["two.csv", "-t", "two", "--on-conflict", "skip:id"]), [0, 0, 3, 1], "{mode}");
        assert_eq!(load(&["ids.csv", "-t", "shifted"]), [8, 0, 0, 1], "{mode}");
        assert_eq!(load(&["ids.csv", "-t", "parent"]), [8, 0, 0, 1], "{mode}");
        // To empty a table is not to empty its children.
        assert_eq!(load(&["ids.csv", "-t", "parent", "--truncate"]), [9, 0, 0, 0], "{mode}");
        assert_eq!(csv_of(&client, "SELECT count(*) FROM child").await, "5\n", "{mode}");
    }
}

/// Every row of a key that is twice in the file is written, and so checked, in its order.
#[tokio::test]
async fn a_bad_row_is_not_hidden_by_a_later_one_of_its_key() {
    let (workplace, client) = workplace(
        "CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL CHECK (v > 0))",
        "id,v\n1,-5\n1,\n1,7\n2,3\n1,8\n",
    )
    .await;
    for mode in MODES {
        let flags = ["load", "data.csv", "-t", "t", "--on-conflict", "update", "--mode", mode];
        let error = workplace.fail(&flags, 1);
        assert!(error.contains("t_v_check"), "{mode}: {error}");
        assert_eq!(csv_of(&client, "SELECT count(*) FROM t").await, "0\n", "{mode}");
        let report = workplace.run(&[&flags[..], &["--max-rejects", "2", "--json"]].concat()).json();
        let counts =
            ["rows_inserted", "rows_updated", "rows_rejected"].map(|key| report[key].as_u64().unwrap());
        assert_eq!(counts, [2, 1, 2], "{mode}");
        assert_eq!(csv_of(&client, "SELECT * FROM t ORDER BY id").await, "1,8\n2,3\n", "{mode}");
        client.batch_execute("TRUNCATE t").await.unwrap();
    }
}

/// Who may not do what the load needs is told so, and not that every row is bad.
#[tokio::test]
async fn a_missing_privilege_is_not_the_fault_of_the_rows() {
    let (workplace, client) = workplace("CREATE TABLE t (id int PRIMARY KEY)", "id\n1\n2\n").await;
    let role: String =
        client.query_one("SELECT 'inserter_of_' || current_database()", &[]).await.unwrap().get(0);
    client.batch_execute(&format!("CREATE ROLE {role}; GRANT INSERT ON t TO {role}")).await.unwrap();
    for mode in MODES {
        let mut command = workplace.command(&[
            "load",
            "data.csv",
            "-t",
            "t",
            "--mode",
            mode,
            "--on-conflict",
            "update",
            "--max-rejects",
            "9",
        ]);
        command.env("PGOPTIONS", format!("-c role={role}"));
        let ran = Ran::of(command);
        assert_eq!(ran.status.code(), Some(1), "{mode}: {ran:#?}");
        assert!(ran.stderr.contains("permission denied"), "{mode}: {ran:#?}");
    }
    client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

/// Rejects of a file without a final line end load again.
#[tokio::test]
async fn rejects_end_their_lines_as_the_file_does() {
    let (workplace, _) = workplace("CREATE TABLE t (a int, b text)", "").await;
    for end in ["\n", "\r\n", "\r"] {
        workplace.write("data.csv", format!("a,b{end}1,x{end}bad,y"));
        assert_eq!(
            workplace.run(&["load", "data.csv", "-t", "t", "--max-rejects", "1"]).status.code(),
            Some(3)
        );
        let rejects = std::fs::read_to_string(workplace.path("rejects.csv")).unwrap();
        assert_eq!(rejects, format!("a,b{end}bad,y{end}"));
        workplace.write("again.csv", rejects.replace("bad", "2"));
        workplace.succeed(&["load", "again.csv", "-t", "t"]);
    }
}

/// Whatever the server refuses, the message has the line, even where a COPY or a batch would not tell.
#[tokio::test]
async fn every_refusal_has_its_line() {
    let mut csv = "id,parent\n".to_owned();
    for id in 0..3000 {
        csv += &format!("{id},{}\n", if id == 2000 { 99 } else { 1 });
    }
    let (workplace, client) = workplace(
        "CREATE TABLE parents (id int PRIMARY KEY); INSERT INTO parents VALUES (1);
         CREATE TABLE now (id int, parent int REFERENCES parents);
         CREATE TABLE late (id int, parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)",
        csv,
    )
    .await;
    for mode in MODES {
        for table in ["now", "late"] {
            let error = workplace.fail(&["load", "data.csv", "-t", table, "--mode", mode], 1);
            assert!(error.contains("data.csv, line 2002 into"), "{mode}, {table}: {error}");
            assert!(error.contains("Key (parent)=(99) is not present"), "{mode}, {table}: {error}");
            assert_eq!(csv_of(&client, &format!("SELECT count(*) FROM {table}")).await, "0\n");
        }
    }
}

/// A file that is right as a whole is loaded as a whole, though its rows need those behind them.
#[tokio::test]
async fn rows_may_refer_to_rows_behind_them() {
    let csv = (1..20_000).fold("id,next\n".to_owned(), |csv, id| csv + &format!("{id},{}\n", id + 1));
    let (workplace, client) =
        workplace("CREATE TABLE t (id int PRIMARY KEY, next int REFERENCES t)", csv + "20000,\n").await;
    let report = workplace.succeed(&["load", "data.csv", "-t", "t", "--max-rejects", "1", "--json"]).json();
    assert_eq!((&report["rows_loaded"], &report["rows_rejected"]), (&20_000.into(), &0.into()));
    workplace.write("data.csv", "id,next\n1,\nx,\n2,1\n");
    let flags = ["load", "data.csv", "-t", "t", "--truncate", "--max-rejects", "1"];
    assert_eq!(workplace.run(&flags).status.code(), Some(3));
    assert_eq!(csv_of(&client, "SELECT count(*) FROM t").await, "2\n");
}
