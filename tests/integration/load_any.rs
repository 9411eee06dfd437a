//! `load` into tables of all sorts: types, columns by name, places of errors, several connections.

use std::pin::pin;

use crate::support::cli::Ran;
use crate::support::load::{MODES, csv_of, workplace};

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
        assert!(
            ran.stdout.contains("data.csv, line 24690 on, because of \"12/31/2021\""),
            "{mode}: {ran:#?}"
        );
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

/// Names that differ in their capitals only are columns of their own where the table has both, in either order.
#[tokio::test]
async fn names_that_fold_to_the_same_one_are_told_apart_or_refused() {
    let (workplace, client) =
        workplace(r#"CREATE TABLE t (id int); CREATE TABLE cased (id int, "ID" int)"#, "Id,ID\n1,2\n").await;
    let error = workplace.fail(&["load", "data.csv", "-t", "t"], 1);
    assert!(
        error.contains("data.csv, line 1, column 2: the header names id twice, as Id and as ID"),
        "{error}"
    );
    let error = workplace.fail(&["load", "data.csv", "-t", "new", "--create"], 1);
    assert!(error.contains("column 2 of the new table is called id, as column 1 is: Id and ID"), "{error}");
    for header in ["Id,ID", "id,ID"] {
        workplace.write("data.csv", format!("{header}\n1,2\n"));
        workplace.succeed(&["load", "data.csv", "-t", "cased"]);
    }
    workplace.write("data.csv", "ID,id\n2,1\n");
    workplace.succeed(&["load", "data.csv", "-t", "cased"]);
    assert_eq!(csv_of(&client, "SELECT DISTINCT * FROM cased").await, "1,2\n");
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
        assert!(message.contains("only COPY can load interval year[] into column b of t"), "{message}");
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
    assert!(ran.stdout.contains("copy, one transaction each, committed together, 3 connections"), "{ran:#?}");
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
        (&["--max-rejects", "1"], "cannot be combined with --max-rejects"),
        (&["--on-conflict", "skip"], "cannot be combined with --on-conflict"),
    ] {
        let ran = load(flags);
        assert_eq!(ran.status.code(), Some(2), "{ran:#?}");
        assert!(ran.stderr.contains(why), "{ran:#?}");
    }
    workplace.write("people.csv", "id\n1\n");
    let absent = workplace.fail(&["load", "people.csv", "--append", "--connections", "3"], 2);
    assert!(absent.contains("--connections 3 needs an existing table"), "{absent}");
}

/// `--connections auto` takes two for many rows that join others, and one wherever that is faster, or all there can be.
#[tokio::test]
async fn auto_takes_two_connections_where_that_is_faster() {
    let long = "x".repeat(9_000);
    let file = |first: u32| {
        let rows = (first..first + 1_000).map(|id| format!("{id},{long}"));
        std::iter::once("id,name".to_owned()).chain(rows).collect::<Vec<_>>().join("\n")
    };
    let (workplace, client) = workplace("CREATE TABLE t (id int PRIMARY KEY, name text)", &file(1)).await;
    workplace.write("small.csv", "id,name\n0,x\n");
    workplace.write("more.csv", file(2_001));
    let connections = |file: &str, flags: &[&str]| {
        let load = ["load", file, "-t", "t", "--connections", "auto", "--json"];
        workplace.succeed(&[&load, flags].concat()).json()["connections"].as_u64().unwrap()
    };
    assert_eq!(connections("data.csv", &["--dry-run"]), 1, "the table is empty, and its key deferred");
    assert_eq!(connections("data.csv", &["--dry-run", "--defer-indexes", "never"]), 2);
    assert_eq!(connections("data.csv", &[]), 1);
    assert_eq!(connections("small.csv", &[]), 1, "it is small");
    assert_eq!(connections("more.csv", &["--dry-run", "--max-rejects", "1"]), 1, "it needs one transaction");
    assert_eq!(connections("more.csv", &["--dry-run", "--mode", "batch"]), 1);
    assert_eq!(connections("more.csv", &[]), 2);
    assert_eq!(csv_of(&client, "SELECT count(*), max(id) FROM t").await, "2001,3000\n");
    let wrong = workplace.fail(&["load", "more.csv", "-t", "t", "--connections", "many"], 2);
    assert!(wrong.contains("expected a number, or auto"), "{wrong}");
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
