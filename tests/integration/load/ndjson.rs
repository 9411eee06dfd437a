//! NDJSON: one object on each line.

use crate::support::load::{MODES, counts};
use crate::support::workplace::Workplace;

const PEOPLE: &str = "{\"id\":1,\"name\":\"Ann \\\"A\\\" \\u00e9\\n\",\"score\":1.50,\"tags\":[\"a\", {\"b\":null}],\"ok\":true}\n\
    \n\
    {\"name\":\"\",\"id\":2,\"tags\":\"text\",\"ok\":null,\"extra\":7}\r\n\
    {\"id\":3,\"score\":1e2,\"tags\":null}";

/// Keys as columns, in any order; numbers as they are spelled; a key that is missing is NULL, a column that no line has
/// takes its default.
#[tokio::test]
async fn objects_are_loaded_in_every_mode() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int, name text, score numeric, tags jsonb, ok boolean, extra text, d text DEFAULT 'x')",
    )
    .await
    .csv("people.jsonl", PEOPLE);
    for mode in MODES {
        let load = ["load", "people.jsonl", "-t", "t", "--truncate", "--mode", mode, "--json"];
        let report = workplace.succeed(&load).json();
        assert_eq!(counts(&report, ["rows_read", "rows_loaded"]), [3, 3], "{mode}");
        assert_eq!((&report["format"], &report["columns_defaulted"][0]), (&"ndjson".into(), &"d".into()));
        assert_eq!(
            workplace.csv_of("SELECT * FROM t ORDER BY id").await,
            "1,\"Ann \"\"A\"\" é\n\",1.50,\"[\"\"a\"\", {\"\"b\"\": null}]\",t,,x\n\
             2,\"\",,\"\"\"text\"\"\",,7,x\n\
             3,,100,,,,x\n",
            "{mode}"
        );
    }
    // From a pipe, by its first character; the keys are those of the beginning, or named.
    let flags = ["load", "-", "-t", "t", "--columns", "id,score", "--ignore-extra", "--truncate"];
    let ran = workplace.run_with_input(&flags, PEOPLE);
    assert!(ran.status.success(), "{ran:#?}");
    assert_eq!(
        workplace.csv_of("SELECT id, name, score, d FROM t ORDER BY id").await,
        "1,,1.50,x\n2,,,x\n3,,100,x\n"
    );
}

/// Lines that are no objects, and values of other types, are rejected byte for byte, and loaded again once they are
/// corrected.
#[tokio::test]
async fn bad_lines_are_rejected_unchanged() {
    let lines = [
        "{\"id\":1,\"s\":\"a\"}",
        "{\"id\":2,\"s\":\"a\"",
        "{\"id\":1.5, \"s\":\"b\"}",
        "[1]",
        "{\"id\":1,\"s\":\"duplicate\"}",
        "{\"id\":3,\"id\":4}",
        "{\"id\":5}",
    ];
    let workplace = Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY, s text)")
        .await
        .csv("data.ndjson", lines.join("\n"));
    let error = workplace.fail(&["load", "data.ndjson", "-t", "t"], 1);
    assert_eq!(
        error,
        "error: data.ndjson, line 2: not JSON: expected a comma or the end of the object at byte 16 of the line\n  \
         help: correct the line; there has to be one JSON object on each, as jq -c . writes them\n"
    );
    for mode in MODES {
        let flags = [
            "load",
            "data.ndjson",
            "-t",
            "t",
            "--truncate",
            "--mode",
            mode,
            "--max-rejects",
            "5",
            "--rejects",
            "bad.ndjson",
        ];
        let ran = workplace.run(&flags);
        assert_eq!(ran.status.code(), Some(3), "{mode}: {ran:#?}");
        assert_eq!(workplace.csv_of("SELECT * FROM t ORDER BY id").await, "1,a\n5,\n", "{mode}");
        assert_eq!(workplace.read("bad.ndjson"), lines[1..6].join("\n") + "\n", "{mode}");
        let log = workplace.read("bad.log.jsonl");
        let log: Vec<serde_json::Value> =
            log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&log[1]["column"], &log[1]["value"]), (&"id".into(), &"1.5".into()), "{mode}");
        assert_eq!((&log[3]["sqlstate"], &log[3]["value"]), (&"23505".into(), &"1".into()), "{mode}");
    }
    workplace.write("bad.ndjson", "{\"id\":2,\"s\":\"a\"}\n{\"id\":6}\n");
    workplace.succeed(&["load", "bad.ndjson", "-t", "t"]);
    assert_eq!(workplace.count("t").await, 4);
    workplace.write("blank.ndjson", "junk\n{\"id\":8}\n \n{\"id\":null}\n");
    let blank = |lines| {
        workplace.run(&["load", "blank.ndjson", "-t", "u", "--skip-lines", "1", "--blank-lines", lines])
    };
    workplace.execute("CREATE TABLE u (id int)").await;
    let ran = blank("error");
    assert!(ran.stderr.contains("blank.ndjson, line 3: the line is blank"), "{ran:#?}");
    for (lines, rows) in [("skip", 2), ("row", 5)] {
        assert_eq!(blank(lines).status.code(), Some(0), "{lines}");
        assert_eq!(workplace.count("u").await, rows, "{lines}");
    }
}

#[tokio::test]
async fn tables_are_created_for_objects() {
    let workplace = Workplace::new().await.csv("people.json", PEOPLE);
    let ddl = workplace.succeed(&["load", "people.json", "-t", "made", "--ddl-only"]).stdout;
    insta::assert_snapshot!(ddl, @r#"
    CREATE TABLE "made" (
        "id" integer,
        "name" text,
        "score" double precision,
        "tags" jsonb,
        "ok" boolean,
        "extra" integer
    );
    "#);
    workplace.succeed(&["load", "people.json", "-t", "made", "--create"]);
    assert_eq!(
        workplace.csv_of("SELECT id, score, extra, tags FROM made ORDER BY id LIMIT 2 OFFSET 1").await,
        "2,,7,\"\"\"text\"\"\"\n3,100,,\n"
    );
    // A string of digits is a string.
    workplace.write("zips.ndjson", "{\"Zip\":\"123\",\"day\":\"2021-02-03\",\"\":1}\n");
    let ddl = workplace.succeed(&["load", "zips.ndjson", "-t", "zips", "--ddl-only"]).stdout;
    assert_eq!(
        ddl,
        "CREATE TABLE \"zips\" (\n    \"zip\" text,\n    \"day\" date,\n    \"column3\" integer\n);\n"
    );
}

#[tokio::test]
async fn keys_that_do_not_fit_are_named() {
    let workplace =
        Workplace::with_sql("CREATE TABLE t (id int)").await.csv("data.ndjson", "{\"id\":1,\"nme\":2}\n");
    let error = workplace.fail(&["load", "data.ndjson", "-t", "t"], 1);
    assert!(error.contains("the header names \"nme\", which t does not have"), "{error}");
    workplace.succeed(&["load", "data.ndjson", "-t", "t", "--ignore-extra"]);
    let checked = workplace.run(&["check", "data.ndjson", "-t", "t", "--map", "nme=id", "--select", "nme"]);
    assert!(checked.stdout.contains("field 2 nme -> id integer, binary"), "{checked:#?}");
    // A pipe is read once, so that a key has to be among those of its beginning.
    let late = "{\"id\":1}\n".repeat(200_000) + "{\"id\":1,\"nme\":2}\n";
    let ran = workplace.run_with_input(&["load", "-", "-t", "t"], &late);
    assert!(
        ran.stderr.contains("line 200001: the key \"nme\" is not among those of the first lines"),
        "{ran:#?}"
    );
    assert_eq!(workplace.count("t").await, 1);
}

/// A file without an object has no keys, so that nothing of it would be loaded.
#[tokio::test]
async fn a_file_without_objects_is_refused() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int)").await;
    for (text, reason) in [
        ("[{\"id\":1},{\"id\":2}]\n", "line 1: the line is not a JSON object"),
        ("\n{\n  \"id\": 1\n}\n", "line 2: not JSON"),
        ("id\n1\n", "line 1: the line is not a JSON object"),
        ("{}\n", "line 1: the object has no keys"),
    ] {
        workplace.write("data.ndjson", text);
        for flags in [["-t", "t", "--append"], ["-t", "new", "--create"]] {
            let error = workplace.fail(&[&["load", "data.ndjson"], &flags[..]].concat(), 1);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
    workplace.write("data.ndjson", " \n");
    workplace.succeed(&["load", "data.ndjson", "-t", "t"]);
    assert_eq!(workplace.count("t").await, 0);
}

/// `1.234` is one number and a bit in JSON, whatever it would be in the strings beside it.
#[tokio::test]
async fn numbers_are_not_read_in_the_style_of_strings() {
    let workplace = Workplace::with_sql("CREATE TABLE t (a numeric, b numeric)").await;
    workplace.write("data.ndjson", "{\"a\":1.234,\"b\":\"1.234,5\"}\n");
    let style = ["--decimal", ",", "--thousands", "."];
    for mode in ["rows", "batch", "copy"] {
        let load = ["load", "data.ndjson", "-t", "t", "--truncate", "--mode", mode];
        workplace.succeed(&[&load[..], &style[..]].concat());
        assert_eq!(workplace.value::<String>("SELECT a || ' ' || b FROM t").await, "1.234 1234.5", "{mode}");
    }
    workplace.succeed(&[&["load", "data.ndjson", "-t", "made", "--create"], &style[..]].concat());
    assert_eq!(workplace.value::<String>("SELECT a || ' ' || b FROM made").await, "1.234 1.234,5");
    workplace.execute("CREATE TABLE prices (a money)").await;
    workplace.write("prices.csv", "a\n\"1,50\"\n");
    let error = workplace.fail(&["load", "prices.csv", "-t", "prices", "--decimal", ","], 2);
    assert!(error.contains("--decimal and --thousands do not apply to a, of type money"), "{error}");
}

/// JSON in a file called otherwise makes no table of a single odd column.
#[tokio::test]
async fn json_that_is_called_csv_is_refused() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int)").await;
    for text in ["{\"a\": 1}\n{\"a\": 2}\n", "[\n{\"a\": 1}\n]\n", "[{\"a\": 1, \"b\": 2}]\n"] {
        workplace.write("data.csv", text);
        for flags in [&["-t", "t"][..], &["-t", "new", "--create"]] {
            let error = workplace.fail(&[&["load", "data.csv"], flags].concat(), 1);
            assert!(
                error.contains("help: this looks like JSON: with an object on each line, load it with"),
                "{error}"
            );
        }
    }
}

/// What is rejected is read in the format that the name of its file stands for.
#[tokio::test]
async fn rejects_of_ndjson_are_ndjson() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int)")
        .await
        .csv("data.ndjson", "{\"id\":1}\n{\"id\":\"x\"}\n");
    let load = |file: &str, more: &[&str]| {
        workplace.run(&[&["load", file, "-t", "t", "--max-rejects", "1"], more].concat())
    };
    let ran = load("data.ndjson", &[]);
    assert!(ran.status.code() == Some(3) && ran.stdout.contains("rejects.ndjson"), "{ran:#?}");
    assert_eq!(workplace.read("rejects.ndjson"), "{\"id\":\"x\"}\n");
    workplace.write("fixed.ndjson", workplace.read("rejects.ndjson").replace("\"x\"", "2"));
    assert!(load("fixed.ndjson", &[]).status.success());
    assert_eq!(workplace.count("t").await, 2);
}

/// The first character tells the format of standard input, and so of its rejects.
#[tokio::test]
async fn rejects_of_standard_input_are_named_by_its_format() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int)").await;
    for (input, flags, file) in [
        ("{\"id\":\"x\"}\n{\"id\":1}\n", &[][..], "rejects.ndjson"),
        ("id\nx\n1\n", &[], "rejects.csv"),
        ("{\"id\":\"x\"}\n{\"id\":1}\n", &["--rejects", "bad.csv"], "bad.csv"),
    ] {
        let load = ["load", "-", "-t", "t", "--max-rejects", "1"];
        let ran = workplace.run_with_input(&[&load[..], flags].concat(), input);
        assert!(ran.status.code() == Some(3) && ran.stdout.contains(file), "{ran:#?}");
        assert!(workplace.read(file).contains('x'), "{file}");
    }
}
