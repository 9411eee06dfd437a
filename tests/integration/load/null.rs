//! `load --mode null`: reading and encoding, without a server.

use serde_json::Value;

use crate::support::workplace::Workplace;

const KINDS: &str = "\
[table]
name = \"kinds\"
columns = [
  { name = \"id\", type = \"bigint GENERATED ALWAYS AS IDENTITY\" },
  { name = \"price\", type = \"numeric(10,2) NOT NULL\" },
  { name = \"seen\", type = \"timestamp with time zone DEFAULT now()\" },
  { name = \"tags\", type = \"varchar(20)[]\" },
  { name = \"span\", type = \"int4range\" },
  { name = \"double\", type = \"bigint GENERATED ALWAYS AS (id * 2) STORED\" },
]
";

#[test]
fn no_server_is_needed_and_nothing_is_written() {
    let workplace = Workplace::without_database();
    workplace.succeed(&["generate", "-n", "20000", "-o", "people.csv"]);
    // No server listens there.
    workplace.write("config.toml", "[database]\nurl = \"host=127.0.0.1 port=1\"\n[load]\ntruncate = true\n");
    let report = workplace.succeed(&["load", "--mode", "null", "people.csv", "--json"]).json();
    for (key, expected) in [("rows_read", 20_000), ("rows_encoded", 20_000), ("rows_loaded", 0)] {
        assert_eq!(report[key], expected, "{report:#}");
    }
    assert_eq!(report["bytes_read"], workplace.path("people.csv").metadata().unwrap().len());
    assert!(report["bytes_per_second"].as_f64().unwrap() > 0.0);
    assert_eq!((&report["server"], &report["truncated"]), (&Value::Null, &Value::Bool(false)));
    let ran = workplace.succeed(&["load", "--mode", "null", "people.csv", "--table", "public.persons"]);
    let (first, rest) = ran.stdout.split_once('\n').unwrap();
    assert!(first.starts_with("encoded 20,000 rows for persons in "), "{first}");
    assert!(first.contains("B/s, ") && first.ends_with(" rows/s; nothing was sent"), "{first}");
    assert!(rest.starts_with("  rows    20,000 read = 20,000 encoded + 0 rejected\n"), "{rest}");
    assert!(rest.ends_with("  mode    null, no server\n"), "{rest}");
}

#[tokio::test]
async fn columns_have_the_formats_of_mode_rows() {
    let workplace = Workplace::new()
        .await
        .config(KINDS)
        .csv("kinds.csv", "price,seen,tags,span\n1.50,2021-12-31 23:59:59+00,\"{a,b}\",\"[1,5)\"\n");
    let report = |mode: &str| workplace.succeed(&["load", "kinds.csv", "--mode", mode, "--json"]).json();
    let (null, rows) = (report("null"), report("rows"));
    let formats = |report: &Value| {
        let columns = report["columns"].as_array().unwrap().iter();
        columns.map(|column| column["format"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(formats(&null), ["binary", "binary", "binary", "text"]);
    assert_eq!(formats(&null), formats(&rows));
    for key in ["rows_encoded", "columns_defaulted", "files"] {
        assert_eq!(null[key], rows[key], "{key}");
    }
    assert_eq!(null["columns_defaulted"], serde_json::json!(["id"]));
}

#[test]
fn the_first_bad_value_fails_as_in_a_load() {
    let workplace = Workplace::without_database().csv("people.csv", "id,age\n1,20\n2,old\n");
    insta::assert_snapshot!(workplace.fail(&["load", "--mode", "null", "people.csv"], 1), @r#"
    error: people.csv, line 3, column 2 (age): cannot read "old" as smallint: expected a whole number from -32768 to 32767
      help: correct the value, or leave it empty for NULL
    "#);
    workplace.write("people.csv", "id,colour\n");
    insta::assert_snapshot!(workplace.fail(&["load", "--mode", "null", "people.csv"], 1), @r#"
    error: people.csv, line 1: the header names "colour", which persons does not have
      help: its columns are id, name, age, ismarried, city, state, country; rename with --map, or skip with --ignore-extra; if the file is not for persons, name its table with --table
    "#);
}

#[test]
fn flags_that_need_a_server_are_refused() {
    let workplace = Workplace::without_database().csv("people.csv", "id\n1\n");
    let fail =
        |flags: &[&str]| workplace.fail(&[&["load", "--mode", "null", "people.csv"], flags].concat(), 2);
    for flags in [
        &["--append"][..],
        &["--truncate"],
        &["--on-conflict", "skip"],
        &["--max-rejects", "5"],
        &["--dry-run"],
        &["--create"],
        &["--ddl-only"],
        &["--autocommit"],
        &["--connections", "2"],
    ] {
        let message = fail(flags);
        let expected = format!("error: {} cannot be combined with --mode null", flags[0]);
        assert!(message.starts_with(&expected), "{message}");
    }
    insta::assert_snapshot!(fail(&["--truncate"]), @r"
    error: --truncate cannot be combined with --mode null, which writes nothing and asks no server
      help: leave one of them out
    ");
    insta::assert_snapshot!(fail(&["--table", "orders"]), @r"
    error: --mode null asks no server, and so encodes for the table that [table] describes, persons, not for orders
      help: use --mode copy, rows or batch, which ask the server for the columns, or describe them under [table] in config.toml
    ");
    workplace.write("config.toml", "[table]\nname = \"orders\"\n");
    insta::assert_snapshot!(fail(&[]), @r"
    error: [table] has no columns for orders, and --mode null asks no server for them
      help: use --mode copy, rows or batch, which ask the server for the columns, or describe them under [table] in config.toml
    ");
    workplace.write(
        "config.toml",
        "[table]\nname = \"moods\"\ncolumns = [{ name = \"id\", type = \"mood NOT NULL\" }]\n",
    );
    insta::assert_snapshot!(fail(&[]), @r"
    error: [table]: the type of column id, mood NOT NULL, is not a built-in type
      help: other types need a server: use --mode copy, rows or batch
    ");
}
