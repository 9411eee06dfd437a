//! `load`: columns of every type, encoded by the program or parsed by the server.

use crate::support::load::{MODES, copy_csv, try_copy_csv};
use crate::support::workplace::{ProgramOutput, Workplace};

/// Every mode stores what the server's own COPY stores, and reports in which format each column was sent.
#[tokio::test]
async fn every_type_loads_as_copy_loads_it() {
    let table = "(i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric, n2 numeric(8,2), b bool, t text,
        v varchar(5), c char(6), nm name, by bytea, d date, tm time, tz timetz, ts timestamp, tstz timestamptz,
        iv interval, u uuid, j json, jb jsonb, ip inet, ci cidr, mac macaddr, mood mood, dom positive,
        ia int[], ta text[], nested int[], r int4range, p point, x xml, m money, mb mood[], dd date)";
    let workplace = Workplace::with_sql(&format!(
        "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
             CREATE DOMAIN positive AS numeric CHECK (VALUE > 0);
             CREATE TABLE t {table}; CREATE TABLE reference {table};"
    ))
    .await;
    let rows = [
        "i2,i4,i8,f4,f8,n,n2,b,t,v,c,nm,by,d,tm,tz,ts,tstz,iv,u,j,jb,ip,ci,mac,mood,dom,ia,ta,nested,r,p,x,m,mb,dd",
        r#"-1,2,3,1.5,-1e-300,123456789012345678901234567890.10,1.005,yes,"a ""b""",abc,xy,some,\x00ff,2020-02-29,12:34:56.789,12:00+02,2021-01-02 03:04:05.6,2021-01-02T03:04:05Z,1 year 2 mons -3 days 04:05:06,A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11,"{""a"": 1}","{""b"":  [1, 2]}",10.0.0.1/8,10.0.0.0/8,08:00:2b:01:02:03,ok,7.5,"{1,NULL,3}","{a,""b,c"",NULL,""NULL""}","{{1,2},{3,4}}","[1,5)","(1,2)",<a/>,$1.50,"{sad,happy}",2021-03-04"#,
        r#",,,NaN,Infinity,NaN,-0.004,f,"","","  ",,\\x5c,-infinity,24:00:00,,infinity,0001-01-01 00:00:00 BC,P1DT2H,,null,true,::1,::/0,,happy,0.001,{},{},"[2:3]={7,8}",empty,,,,{},03/04/2021"#,
        r#"0,0,0,0,0,0,0,0,x,y,z,w,a\\b,2021-12-31,00:00,00:00Z,2021-12-31,2021-12-31 12:00:00.123456+05:30,@ 3 days ago,{a0eebc999c0b4ef8bb6d6bb9bd380a11},[],"""s""",192.168.1.0/24,192.168.1.0/24,0800.2b01.0203,sad,1,,,,"[1,1]","(0,0)",text,2,{ok},2021-12-31"#,
    ];
    let csv = rows.join("\n") + "\n";
    workplace.write("data.csv", &csv);
    copy_csv(&workplace, "reference", csv.as_bytes()).await;
    let reference = workplace.csv_of("SELECT * FROM reference").await;
    for mode in MODES {
        let report = workplace
            .succeed(&["load", "data.csv", "--table", "t", "--truncate", "--mode", mode, "--json"])
            .json();
        assert_eq!(workplace.csv_of("SELECT * FROM t").await, reference, "{mode}");
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
async fn a_copy_changes_its_format_midway() {
    let mut csv = "id,day,note\n".to_owned();
    for id in 1..=20_000 {
        let day = if id == 12_345 { "12/31/2021" } else { "2021-01-02" };
        csv += &format!("{id},{day},\"tab\t, back\\slash, \n line {id}\"\n");
    }
    let workplace = Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY, day date, note text)")
        .await
        .csv("data.csv", csv);
    for mode in MODES {
        let ran = workplace.succeed(&["load", "data.csv", "-t", "t", "--truncate", "--mode", mode]);
        assert!(
            ran.stdout.contains("from line 24690 of data.csv on, because of \"12/31/2021\""),
            "{mode}: {ran:#?}"
        );
        let sums =
            "SELECT count(*), count(*) FILTER (WHERE note = E'tab\\t, back\\\\slash, \\n line ' || id),
            count(*) FILTER (WHERE day = '2021-12-31') FROM t";
        assert_eq!(workplace.csv_of(sums).await, "20000,20000,1\n", "{mode}");
    }
}

/// The failed batch is reported even when the next one needs another statement.
#[tokio::test]
async fn a_refused_row_before_a_change_of_format_is_reported() {
    let mut csv = "id,day\n1,2021-01-02\n1,2021-01-02\n".to_owned();
    for id in 3..6000 {
        csv += &format!("{id},{}\n", if id == 20 { "12/31/2021" } else { "2021-01-02" });
    }
    let workplace =
        Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY, day date)").await.csv("data.csv", csv);
    for mode in MODES {
        let error = workplace.fail(&["load", "data.csv", "-t", "t", "--mode", mode], 1);
        assert!(error.contains("Key (id)=(1) already exists"), "{mode}: {error}");
    }
}

/// `5` is five years in an `interval year`, and five seconds where the input function does not know the fields.
#[tokio::test]
async fn short_intervals_and_numbers_are_read_with_their_modifiers() {
    let table = "CREATE TABLE t (a interval year, b interval year[], c numeric(5,1), d numeric(5,1)[])";
    let rows = r#"1 year,{1 year},1,{1}
5,"{5,NULL}",1e-20000,"[0:1]={1e-20000,2.25}"
"#;
    let workplace = Workplace::with_sql(table).await.csv("data.csv", format!("a,b,c,d\n{rows}"));
    for mode in MODES {
        workplace.succeed(&["load", "data.csv", "-t", "t", "--truncate", "--mode", mode]);
        let found = workplace.csv_of("SELECT * FROM t").await;
        let expected = "1 year,\"{\"\"1 year\"\"}\",1.0,{1.0}\n5 years,\"{\"\"5 years\"\",NULL}\",0.0,\"[0:1]={0.0,2.3}\"\n";
        assert_eq!(found, expected, "{mode}");
    }
}

/// Without `array_nulls` the array of a batch could not contain NULL.
#[tokio::test]
async fn batches_need_array_nulls() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int, words text[])")
        .await
        .csv("data.csv", "id,words\n1,\"{NULL,b}\"\n,\n");
    for (mode, code) in [("copy", 0), ("rows", 0), ("batch", 1)] {
        let mut command = workplace.command(&["load", "data.csv", "-t", "t", "--truncate", "--mode", mode]);
        command.env("PGOPTIONS", "-c array_nulls=off");
        let ran = ProgramOutput::from_command(command);
        assert_eq!(ran.status.code(), Some(code), "{mode}: {ran:#?}");
        if code == 0 {
            assert_eq!(workplace.csv_of("SELECT id, words[1] = 'NULL' FROM t").await, "1,t\n,\n", "{mode}");
        } else {
            assert!(ran.stderr.contains("array_nulls is off"), "{ran:#?}");
            assert!(ran.stderr.contains("use --mode copy or --mode rows"), "{ran:#?}");
        }
    }
}

/// What `08.10.2026` means depends on `DateStyle`, so the report names the setting and how to change it.
#[tokio::test]
async fn dates_that_depend_on_datestyle_are_reported() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int, day date)")
        .await
        .csv("data.csv", "id,day\n1,08.10.2026\n");
    let ran = workplace.succeed(&["load", "data.csv", "-t", "t"]);
    assert!(ran.stdout.contains("dates   read with DateStyle ISO, MDY: day"), "{ran:#?}");
    workplace.write("data.csv", "id,day\n1,20.10.2026\n");
    let error = workplace.fail(&["load", "data.csv", "-t", "t"], 1);
    assert!(error.contains("PGOPTIONS='-c datestyle=DMY'"), "{error}");
    let mut command = workplace.command(&["load", "data.csv", "-t", "t", "--truncate"]);
    command.env("PGOPTIONS", "-c datestyle=DMY");
    let ran = ProgramOutput::from_command(command);
    assert!(ran.stdout.contains("DateStyle ISO, DMY"), "{ran:#?}");
    assert_eq!(workplace.csv_of("SELECT day FROM t").await, "2026-10-20\n");
}

/// Every mode stores the bytes that the server's own COPY stores, or all of them refuse the value: for each built-in
/// type, and for domains, enums, composites, ranges and arrays, where a cast from text differs from the input function.
#[tokio::test]
async fn every_value_is_read_by_the_types_own_input_function() {
    let workplace = Workplace::with_sql(
        r#"CREATE DOMAIN years AS interval year; CREATE DOMAIN more_years AS years;
           CREATE DOMAIN price AS numeric(6,2); CREATE DOMAIN short AS varchar(3); CREATE DOMAIN bits AS bit(4);
           CREATE DOMAIN instant AS timestamptz(0); CREATE DOMAIN prices AS numeric(6,2)[]; CREATE DOMAIN area AS box;
           CREATE DOMAIN relation AS regclass; CREATE DOMAIN small AS int CHECK (VALUE < 10);
           CREATE TYPE mood AS ENUM ('ok', 'a,"b\c'); CREATE TYPE pair AS (a numeric(6,2), b years);
           CREATE DOMAIN positive_pair AS pair CHECK ((VALUE).a > 0);
           CREATE TYPE prices_between AS RANGE (subtype = price);
           CREATE FUNCTION sent(r record) RETURNS bytea LANGUAGE plpgsql AS $$
           BEGIN RETURN record_send(r); EXCEPTION WHEN undefined_function THEN RETURN NULL; END $$"#,
    )
    .await;
    let base = "SELECT format_type(oid, NULL) FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace
                AND typtype IN ('b', 'r', 'm') 
                AND typelem NOT IN (SELECT oid FROM pg_type WHERE typtype IN ('c', 'p')) ORDER BY oid";
    let declared =
        "years more_years price short bits instant prices area relation small mood pair positive_pair
        prices_between years[] price[] mood[] pair[] numeric(6,2) numeric(6,2)[] bit(4) varchar(3) char(3) time(1) box[]";
    let built_in: Vec<String> = workplace.values(base).await;
    let declared = declared.split_whitespace().map(str::to_owned);
    let types: Vec<String> = declared
        .chain(["interval year", "interval year[]", "interval(2)", "timestamp(0)"].map(str::to_owned))
        .chain(built_in)
        .collect();
    for (index, sql_type) in types.iter().enumerate() {
        // All arrays are read in the same way, whatever their elements are: each in one of the modes.
        let modes = if sql_type.ends_with("[]") { &MODES[index % 3..][..1] } else { &MODES };
        check_literals(&workplace, sql_type, modes).await;
    }
}

/// Literals of many types, each of which is loaded into a column of every type.
const LITERALS: &[&str] = &[
    "44",
    "1259",
    "1e-20000",
    "pg_class",
    "abs",
    "ok",
    r#"a,"b\c"#,
    "NULL",
    "",
    " ",
    "{}",
    "{5}",
    "{1e-20000}",
    "{NULL,1}",
    "(1,5)",
    "(1e-20000,)",
    "[1,2)",
    "{[1,2)}",
    "1.005",
    "1010",
    "t",
    "((1,2),(3,4))",
    "{(1,2),(3,4)}",
    "2021-01-02 03:04:05.678",
    "1 year 2 mons",
    "04:05:06.789",
    "abcd",
    "abc  ",
    r#"{"a": 1}"#,
    "$.a",
    "a & b",
    "1:2",
    "10.0.0.1",
    "0/16",
    "<a/>",
    "\\x00ff",
];

/// Load every literal into a table with a column of `sql_type`, with each mode and with COPY.
async fn check_literals(workplace: &Workplace, sql_type: &str, modes: &[&str]) {
    workplace.execute(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t (id int, v {sql_type})")).await;
    let header = "id,v\n";
    // With a NULL among the values.
    let mut all = format!("{header}100,\n");
    let mut accepted = all.clone();
    copy_csv(workplace, "t", all.as_bytes()).await;
    for (id, literal) in LITERALS.iter().enumerate() {
        let row = format!("{id},\"{}\"\n", literal.replace('"', "\"\""));
        all += &row;
        if try_copy_csv(workplace, "t", format!("{header}{row}").as_bytes()).await.is_ok() {
            accepted += &row;
        }
    }
    let stored = "SELECT id, v, pg_column_size(v), sent(t) FROM t ORDER BY id";
    let reference = workplace.csv_of(stored).await;
    workplace.write("all.csv", &all);
    workplace.write("accepted.csv", &accepted);
    for mode in modes {
        // Without a refused row in it, a batch is not repeated row by row.
        let load = ["-t", "t", "--truncate", "--no-analyze", "--mode", mode];
        workplace.succeed(&[&["load", "accepted.csv"], &load[..]].concat());
        assert_eq!(workplace.csv_of(stored).await, reference, "{mode}, {sql_type}: {accepted}");
        let rejecting = ["--max-rejects", "100%", "--rejects", "bad.csv"];
        workplace.run(&[&["load", "all.csv"], &load[..], &rejecting[..]].concat());
        assert_eq!(workplace.csv_of(stored).await, reference, "{mode}, {sql_type}, rejecting: {accepted}");
    }
}
