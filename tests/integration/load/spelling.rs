//! Values, names and columns that are not in the file as the table wants them.

use crate::support::load::{MODES, counts};
use crate::support::workplace::Workplace;

/// Every way to write, as flags.
const WAYS: [&[&str]; 5] = [
    &["--mode", "rows"],
    &["--mode", "rows", "--autocommit", "--connections", "2"],
    &["--mode", "batch"],
    &["--mode", "copy"],
    &["--mode", "copy", "--append", "--connections", "2"],
];

/// Loads `file` in every way, each into a table of its own like `t`, and checks its rows.
async fn load_in_every_way(workplace: &Workplace, file: &str, flags: &[&str], query: &str, expected: &str) {
    for (way, number) in WAYS.iter().zip(1..) {
        let table = format!("t{number}");
        workplace.execute(&format!("DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (LIKE t)")).await;
        workplace.succeed(&[&["load", file, "-t", &table], *way, flags].concat());
        let query = query.replace(" t ", &format!(" {table} "));
        assert_eq!(workplace.csv_of(&query).await, expected, "{way:?}");
    }
}

#[tokio::test]
async fn values_are_converted_in_every_way() {
    let csv = "number;whole;Is it;word;other\n\
               passed;over;by;the;flag\n\
               1.234.567,50;1.000; JA ;  a b  ;x\n\
               NA;-; nein ;\" c \";x\n\
               -0,5;7;t;;x\n\
               not;even;read;at;all\n";
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (number numeric, whole int, is_it boolean, word text, f text, line int, batch smallint,
                         at timestamptz, day date)",
    )
    .await
    .csv("data.csv", csv);
    let flags = [
        "--delimiter",
        ";",
        "--decimal",
        ",",
        "--thousands",
        ".",
        "--true",
        "ja",
        "--false",
        "nein",
        "--trim",
        "--null",
        "NA",
        "--null",
        "-",
        "--select",
        "number,whole,IS IT,word",
        "--names",
        "snake_case",
        "--skip-rows",
        "1",
        "--limit",
        "3",
        "--add-column",
        "f=@file",
        "--add-column",
        "line=@line",
        "--add-column",
        "batch=7",
        "--add-column",
        "at=now()",
        "--add-column",
        "day=now()",
    ];
    let query = "SELECT number, whole, is_it, word, f, line, batch, at = max(at) OVER (), at > now() - interval '1 h',
                        day = at::date FROM t ORDER BY line";
    let expected = "1234567.50,1000,t,a b,data.csv,3,7,t,t,t\n\
                    ,,f, c ,data.csv,4,7,t,t,t\n\
                    -0.5,7,t,\"\",data.csv,5,7,t,t,t\n";
    load_in_every_way(&workplace, "data.csv", &flags, query, expected).await;
    let report = workplace.succeed(&[&["load", "data.csv", "-t", "t", "--json"], &flags[..]].concat()).json();
    assert_eq!(counts(&report, ["rows_read", "rows_passed_over", "limit", "rows_loaded"]), [3, 1, 3, 3]);
    assert_eq!(report["columns_unselected"][0], "other");
    assert_eq!(report["columns_added"][2]["value"], "7");
    let text = workplace.succeed(&[&["load", "data.csv", "-t", "t"], &flags[..]].concat()).stdout;
    for line in [
        "  rows    3 read = 3 loaded + 0 rejected; 1 before them passed over; --limit reached\n",
        "  left out other (not selected)\n",
        "  added   f = @file\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

/// A hash says nothing of a file that was not read to its end.
#[tokio::test]
async fn a_limit_leaves_the_rest_unread() {
    let csv = "id\n".to_owned() + &"1\n".repeat(1_000_000);
    let workplace = Workplace::with_sql("CREATE TABLE t (id int)").await.csv("data.csv", &csv);
    let load = |flags: &[&str]| {
        workplace.succeed(&[&["load", "data.csv", "-t", "t", "--json"], flags].concat()).json()
    };
    let report = load(&["--limit", "2"]);
    assert!(report["files"][0]["sha256"].is_null(), "{report}");
    assert!(report["files"][0]["bytes"].as_u64().unwrap() < csv.len() as u64, "{report}");
    let report = load(&["--skip-rows", "999999"]);
    assert!(report["files"][0]["sha256"].is_string(), "{report}");
    assert_eq!(workplace.count("t").await, 3);
    let ran = workplace.succeed(&["load", "data.csv", "-t", "t", "--skip-rows", "1000001"]);
    assert!(
        ran.stderr.contains("data.csv has no rows after those passed over: no rows were loaded"),
        "{ran:#?}"
    );
}

/// Rows that cannot be converted are rejected byte for byte; those that the server refuses, too.
#[tokio::test]
async fn rejects_of_converted_values_can_be_loaded_again() {
    let csv = "n;day\n1.000,5;x\n1.00,5;x\n2,5;y\nabc;x\n3;x\n";
    let workplace =
        Workplace::with_sql("CREATE TABLE t (n numeric CHECK (n <> 2.5), day text, line int, f text)")
            .await
            .csv("data.csv", csv);
    for mode in MODES {
        let flags = [
            "load",
            "data.csv",
            "-t",
            "t",
            "--truncate",
            "--mode",
            mode,
            "--delimiter",
            ";",
            "--decimal",
            ",",
            "--thousands",
            ".",
            "--add-column",
            "line=@line",
            "--add-column",
            "f=@file",
            "--max-rejects",
            "3",
        ];
        let ran = workplace.run(&flags);
        assert_eq!(ran.status.code(), Some(3), "{mode}: {ran:#?}");
        assert_eq!(
            workplace.csv_of("SELECT n, line FROM t ORDER BY line").await,
            "1000.5,2\n3,6\n",
            "{mode}"
        );
        assert_eq!(workplace.read("rejects.csv"), "n;day\n1.00,5;x\n2,5;y\nabc;x\n", "{mode}");
        let log = workplace.read("rejects.log.jsonl");
        let expected = "cannot read \\\"1.00,5\\\" as numeric: expected a number such as 1.234,5";
        assert!(log.lines().next().unwrap().contains(expected), "{mode}: {log}");
    }
}

/// The whole column is read by the server from a value on that only it can read, and conversions go on.
#[tokio::test]
async fn conversions_outlive_the_change_to_text() {
    let csv = "n;at\n1,5;2021-01-02\n2,5;2 Jan 2021\n3,5;2021-01-04\n";
    let workplace =
        Workplace::with_sql("CREATE TABLE t (n numeric, at date, s text)").await.csv("data.csv", csv);
    let flags = ["--delimiter", ";", "--decimal", ",", "--add-column", "s=a\\b"];
    let expected = "1.5,2021-01-02,a\\b\n2.5,2021-01-02,a\\b\n3.5,2021-01-04,a\\b\n";
    load_in_every_way(&workplace, "data.csv", &flags, "SELECT * FROM t ORDER BY n", expected).await;
}

#[tokio::test]
async fn flags_that_do_not_fit_are_refused_with_a_remedy() {
    let workplace =
        Workplace::with_sql("CREATE TABLE t (id int, s text, g int GENERATED ALWAYS AS (id + 1) STORED)")
            .await
            .csv("data.csv", "id,s\n1,a\n");
    for (flags, expected) in [
        (
            &["--add-column", "x=1"][..],
            "--add-column x=1: t has no such column\n  help: its columns are id, s, g",
        ),
        (&["--add-column", "id=1"], "--add-column id=1: the column is already loaded"),
        (&["--add-column", "g=1"], "--add-column g=1: it is a generated column"),
        (
            &["--select", "s", "--add-column", "id=x"],
            "--add-column id=x: cannot be read as integer: expected a whole",
        ),
        (&["--select", "s", "--add-column", "id=now()"], "failed to add id as now(): cannot cast type"),
        (&["--add-column", "s=@row"], "expected now(), @file, @line or a constant"),
        (&["--select", "id,nme"], "--select names nme, which data.csv does not have\n  help: it has id, s"),
        (&["--decimal", ",", "--thousands", ","], "--decimal and --thousands are both ,"),
        (&["--true", "x", "--false", "X"], "x is both a --true and a --false word"),
        (&["--null", "a,b"], "--null 'a,b' contains the delimiter"),
        (
            &["--create", "--replace", "--type", "no=int"],
            "--type no=int names a column that the new table does not",
        ),
        (&["--create", "--type", "id"], "expected COLUMN=SQLTYPE, such as price=numeric(10,2)"),
    ] {
        let ran = workplace.run(&[&["load", "data.csv", "-t", "t"], flags].concat());
        assert!(
            matches!(ran.status.code(), Some(1 | 2)) && ran.stderr.contains(expected),
            "{flags:?}: {ran:#?}"
        );
    }
    assert_eq!(workplace.count("t").await, 0);
}

/// The help for a value that cannot be read is the flag that reads it.
#[tokio::test]
async fn the_help_for_a_value_fits_it() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int, n numeric, b boolean, d date)").await;
    for (csv, flags, help, remedy) in [
        (
            "n\n\"1.234,56\"\n",
            &[][..],
            "--decimal , --thousands .",
            &["--decimal", ",", "--thousands", "."][..],
        ),
        ("n\n\"1,5\"\n", &[], "--decimal ,", &["--decimal", ","]),
        ("n\n\"1,234.5\"\n", &[], "--thousands ,", &["--thousands", ","]),
        ("id\nNA\n", &[], "--null '' --null 'NA'", &["--null", "", "--null", "NA"]),
        ("d\n-\n", &[], "--null '' --null '-'", &["--null", "", "--null", "-"]),
        ("b\nja\n", &[], "--true 'ja' or --false 'ja'", &["--true", "ja"]),
        ("d\n2026-01-02\n", &["--no-header", "--columns", "d"], "leave --no-header out", &[]),
        ("2026-01-02,1\n", &[], "use --no-header", &["--no-header", "--columns", "d,id"]),
    ] {
        workplace.write("data.csv", csv);
        let error = workplace.fail(&[&["load", "data.csv", "-t", "t"], flags].concat(), 1);
        assert!(error.contains(help), "{csv}: {error}");
        workplace.succeed(&[&["load", "data.csv", "-t", "t"], remedy].concat());
    }
    // The words of the flags come before those of PostgreSQL, which remain.
    workplace.write("data.csv", "id,b\n1,n\n2,no\n3,t\n");
    workplace.succeed(&["load", "data.csv", "-t", "t", "--truncate", "--true", "n"]);
    assert_eq!(workplace.csv_of("SELECT b FROM t ORDER BY id").await, "t\nf\nt\n");
}
