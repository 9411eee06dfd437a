//! `check`: every problem is reported, and no data is touched.

use crate::support::workplace::Workplace;

/// The only workload, as the shipped ones query a table that need not exist.
const WORKLOAD: &str = "[query.one]\nsql = \"SELECT 1\"\n";

/// What `check` with `args` prints after the line about the server, which differs between servers.
fn report(workplace: &Workplace, args: &[&str], exit_code: i32) -> String {
    let ran = workplace.run(&[&["check"], args].concat());
    assert_eq!(ran.status.code(), Some(exit_code), "{ran:#?}");
    let (server, rest) = ran.stdout.split_once('\n').unwrap();
    assert!(server.starts_with("server     ok   "), "{server}");
    rest.to_owned()
}

const TABLE: &str = "CREATE TABLE t (
    id int, name varchar(20), span tsrange, twice int GENERATED ALWAYS AS (id * 2) STORED, note text DEFAULT '-')";

#[tokio::test]
async fn every_field_is_shown_with_its_column() {
    let workplace =
        Workplace::with_sql(TABLE).await.config(WORKLOAD).csv("rows.csv", "ID,Nome,extra\n1,Ada,x\n");
    let args = ["rows.csv", "--table", "t", "--map", "Nome=name", "--ignore-extra"];
    insta::assert_snapshot!(report(&workplace, &args, 0), @r"
    table      ok   t: id integer, name character varying(20), span tsrange, twice integer, note text
    file       ok   rows.csv
                    field 1 ID -> id integer, binary
                    field 2 Nome -> name character varying(20), binary
                    default span, note: not in the file
                    ignored extra: not in the table
    query      ok   one: SELECT 1
    ");
    // A COPY has one format for all columns.
    workplace.write("spans.csv", "id,span\n1,empty\n");
    insta::assert_snapshot!(report(&workplace, &["spans.csv", "--table", "t"], 0), @r"
    table      ok   t: id integer, name character varying(20), span tsrange, twice integer, note text
    file       ok   spans.csv
                    field 1 id -> id integer, text, read by the server
                    field 2 span -> span tsrange, text, read by the server
                    default name, note: not in the file
    query      ok   one: SELECT 1
    ");
    let args = ["spans.csv", "--table", "t", "--mode", "rows", "--json"];
    let document = workplace.succeed(&[&["check"], &args[..]].concat()).json();
    assert_eq!(document["file"]["fields"][0]["format"], "binary", "{document:#}");
    assert_eq!(document["file"]["fields"][1]["format"], "text", "{document:#}");
    assert_eq!(document["file"]["columns_defaulted"], serde_json::json!(["name", "note"]));
    assert_eq!(workplace.count("t").await, 0, "nothing was loaded");
}

#[tokio::test]
async fn all_problems_are_reported_at_once_in_the_words_of_load() {
    let workplace = Workplace::with_sql(TABLE)
        .await
        .config(WORKLOAD)
        .config("[query.broken]\nsql = \"SELECT nothing\"\n")
        .csv("bad.csv", "id,twice,colour,ID,\n1,2,3,4,5\n");
    insta::assert_snapshot!(report(&workplace, &["bad.csv", "--table", "t"], 1), @r#"
    table      ok   t: id integer, name character varying(20), span tsrange, twice integer, note text
    file       BAD  bad.csv, line 1, column 2: twice is a generated column, which the server computes
                      help: leave it out of the file, or skip it with --ignore-extra and --map
    file       BAD  bad.csv, line 1, column 4: the header names id twice, as id and as ID
                      help: every column can be loaded only once: give the fields other names with --columns; if the first line is data, use --header no
    file       BAD  bad.csv, line 1, column 5: the header has no name here
                      help: the first line has to name the table's columns; --ignore-extra skips fields without a name
    file       BAD  bad.csv, line 1: the header names "colour", which t does not have
                      help: its columns are id, name, span, twice, note; rename with --map, or skip with --ignore-extra
                    field 1 id -> id integer, binary
                    default name, span, note: not in the file
    query      BAD  cannot prepare [query.broken]: column "nothing" does not exist (SQLSTATE 42703)
                      |
                    1 | SELECT nothing
                      |        ^
                      help: correct the statement of [query.broken] in config.toml
    "#);
    for (content, flags) in [
        ("id,colour\n1,2\n", &[][..]),
        ("id,twice\n1,2\n", &[]),
        ("id,id\n1,2\n", &[]),
        ("id,name\n1\n", &[]),
        ("id,name\nx,y\n", &[]),
        ("id,name\n1,2\n", &["--map", "colour=name"]),
        ("id,name\n1,\"2\n", &[]),
        ("1,2\n", &["--no-header"]),
    ] {
        workplace.write("bad.csv", content);
        let args = [&["bad.csv", "--table", "t", "--json"], flags].concat();
        let checked = workplace.run(&[&["check"], &args[..]].concat());
        assert_eq!(checked.status.code(), Some(1), "{content:?}: {checked:#?}");
        let loaded = workplace.run(&[&["load"], &args[..]].concat()).json();
        let problem = &checked.json()["file"]["problems"][0];
        assert_eq!(problem["message"], loaded["error"]["message"], "{content:?}");
        assert_eq!(problem["help"], loaded["error"]["help"], "{content:?}");
    }
}

#[tokio::test]
async fn each_of_several_files_is_checked() {
    let workplace = Workplace::with_sql(TABLE)
        .await
        .config(WORKLOAD)
        .csv("1.csv", "id,name\n1,a\n")
        .csv("2.csv", "id,name\n1,b,c\n")
        .csv("3.csv", "id,note\n");
    insta::assert_snapshot!(report(&workplace, &["[123].csv", "--table", "t"], 1), @r#"
    table      ok   t: id integer, name character varying(20), span tsrange, twice integer, note text
    file       BAD  2.csv, line 2: 3 fields, where 2 were expected
                      help: put values that contain the delimiter in quotes: "Washington, D.C."
    file       BAD  3.csv, line 1: the header is id,note, but that of 1.csv is id,name
                      help: files loaded together must have the same columns, in any order; --union-by-name also loads those that only some of the files have
                    field 1 id -> id integer, binary
                    field 2 name -> name character varying(20), binary
                    default span, note: not in the file
    query      ok   one: SELECT 1
    "#);
}

#[tokio::test]
async fn what_load_creates_itself_is_no_problem() {
    let workplace = Workplace::new().await.config(WORKLOAD);
    insta::assert_snapshot!(report(&workplace, &[], 0), @r"
    table      ok   persons: missing; `postgres-etl load` creates it
    file       ok   data/persons.csv: missing, and so not checked
    query      ok   one: SELECT 1
    ");
    workplace.write("config.toml", "[generate]\nrows = 5\n[query.one]\nsql = \"SELECT 1\"\n");
    insta::assert_snapshot!(report(&workplace, &[], 0), @r"
    table      ok   persons: missing; `postgres-etl load` creates it
    file       ok   data/persons.csv: missing; `postgres-etl load` generates it
    query      ok   one: SELECT 1
    ");
    // The file is checked against the columns that the table would have.
    workplace.write("people.csv", "id,age,colour\n1,old,red\n");
    insta::assert_snapshot!(report(&workplace, &["people.csv"], 1), @r#"
    table      ok   persons: missing; `postgres-etl load` creates it
    file       BAD  people.csv, line 1: the header names "colour", which persons does not have
                      help: its columns are id, name, age, ismarried, city, state, country; rename with --map, or skip with --ignore-extra
    file       BAD  people.csv, line 2, column 2 (age): cannot read "old" as smallint: expected a whole number from -32768 to 32767
                      help: correct the value, or leave it empty for NULL
                    field 1 id -> id integer, binary
                    field 2 age -> age smallint, binary
                    default name, ismarried, city, state, country: not in the file
    query      ok   one: SELECT 1
    "#);
    let table_exists: bool = workplace.value("SELECT to_regclass('persons') IS NOT NULL").await;
    assert!(!table_exists && !workplace.path("data/persons.csv").exists(), "nothing was created");
    // What the user names must exist.
    insta::assert_snapshot!(report(&workplace, &["none.csv", "--table", "none"], 1), @r"
    table      BAD  there is no table none
                      help: create it, let --create do so from the file, or describe its columns under [table] in config.toml
    file       BAD  failed to open none.csv: No such file or directory (os error 2)
                      help: check the path, which is relative to the current directory; - is standard input
    query      ok   one: SELECT 1
    ");
}

#[tokio::test]
async fn the_table_and_the_statements_are_checked_too() {
    let workplace = Workplace::with_sql("CREATE VIEW v AS SELECT 1 AS id")
        .await
        .config(WORKLOAD)
        .config("[query.broken]\nsql = \"SELECT nothing\"\n[query.fine]\nsql = \"SELECT 1\"\n");
    let ran = workplace.run(&["check", "--json", "--table", "v"]);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    let report = ran.json();
    assert_eq!(report["ok"], false);
    assert_eq!(report["table"]["problem"], "v is a view without an INSTEAD OF INSERT trigger");
    assert!(report["queries"][0]["problem"].as_str().unwrap().contains("SQLSTATE 42703"), "{report:#}");
    assert_eq!(report["queries"][1]["problem"], serde_json::Value::Null);
    workplace.execute("CREATE TABLE persons (id int)").await;
    workplace.write("config.toml", WORKLOAD);
    let ran = workplace.succeed(&["check"]);
    assert!(ran.stdout.contains("table      ok   persons: id integer\n"), "{ran:#?}");
}
